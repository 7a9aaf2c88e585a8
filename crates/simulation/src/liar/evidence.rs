//! The liar's own writer of bundles: it shows and counts what it likes.

use super::cbor::Value;
use super::{Bound, Keeper, Lie, chain, integration};
use ledger::StoredRecord;
use ledger::bundle::Question;
use ledger::heads::{HeadProof, Place};
use ledger::merkle::Tree;
use ledger::record::Header;
use model::{ClassSet, Digest, Pseudonym};
use std::collections::BTreeMap;

impl Keeper {
    /// The bundle of what integration 1 read in the window, as the keeper would have it.
    pub(super) fn evidence(&self, lower: &Bound, upper: &Bound, note: &str, lie: Lie) -> Vec<u8> {
        let tree = Tree::new(self.records.iter().map(StoredRecord::leaf_hash).collect());
        let question = Question {
            integrations: Some([integration(1)].into()),
            from: self.window.0,
            to: self.window.1,
            classes: None,
            networks: None,
        };
        let mut shown: Vec<&StoredRecord> = Vec::new();
        let between = self.records.get(lower.index + 1..upper.index).unwrap_or_default();
        for record in between {
            let header = Header::decode(&record.entry);
            if header.is_ok_and(|header| header.chain == chain(1)) {
                shown.push(record);
            }
        }
        if matches!(lie, Lie::OffChain | Lie::InventedSum) {
            // What the keeper left off its chain is what another record has the number of.
            shown = without_first_of_a_number(shown);
        }
        if lie == Lie::CutTail {
            shown.pop();
        }
        let heads_at = |bound: &Bound| {
            let record = self.records.get(bound.index).cloned().unwrap_or_default();
            let path = tree.inclusion(bound.index as u64).unwrap_or_default();
            map([
                Value::Uint(bound.index as u64),
                Value::Bytes(record.entry),
                Value::Bytes(record.body),
                Value::Array(path.iter().map(|hash| Value::Bytes(hash.to_vec())).collect()),
            ])
        };
        let run = map([
            Value::Bytes(chain(1).as_bytes().to_vec()),
            proof(&lower.map.prove(&chain(1))),
            proof(&upper.map.prove(&chain(1))),
            Value::Array(shown.iter().map(|record| self.show(record)).collect()),
        ]);
        map([
            Value::Text("portcullis.evidence/1".into()),
            Value::Text("operator-asserted".into()),
            Value::Text(note.to_owned()),
            Value::read(&question.to_bytes()),
            heads_at(lower),
            heads_at(upper),
            Value::Null,
            Value::Array(vec![run]),
            self.answer(&shown),
        ])
        .to_bytes()
    }

    /// A record, whole if it is of the window.
    fn show(&self, record: &StoredRecord) -> Value {
        let facts = if self.is_asked_for(record) {
            let (body, touches) = (record.body.clone(), record.touches.clone());
            Value::Array(vec![Value::Uint(1), Value::Bytes(body), Value::Bytes(touches)])
        } else {
            Value::Null
        };
        map([Value::Bytes(record.entry.clone()), facts])
    }

    fn answer(&self, shown: &[&StoredRecord]) -> Value {
        let mut records = 0;
        let mut subjects: BTreeMap<Pseudonym, (ClassSet, u64, u64, u64)> = BTreeMap::new();
        for record in shown.iter().filter(|record| self.is_asked_for(record)) {
            let Ok(record) = record.decode() else { continue };
            records += 1;
            let time = record.header.time.0;
            for touch in record.touches {
                let seen =
                    subjects.entry(touch.pseudonym).or_insert((touch.classes, time, time, 0));
                seen.0 = seen.0.union(&touch.classes);
                seen.2 = time;
                seen.3 += 1;
            }
        }
        let row = |(pseudonym, (classes, first, last, count)): (Pseudonym, (ClassSet, _, _, _))| {
            Value::Array(vec![
                Value::Bytes(pseudonym.0.to_vec()),
                Value::Bytes(classes.to_bytes()),
                Value::Uint(first),
                Value::Uint(last),
                Value::Uint(count),
            ])
        };
        map([Value::Uint(records), Value::Array(subjects.into_iter().map(row).collect())])
    }

    fn is_asked_for(&self, record: &StoredRecord) -> bool {
        let time = Header::decode(&record.entry).map(|header| header.time);
        time.is_ok_and(|time| self.window.0 <= time && time < self.window.1)
    }
}

fn without_first_of_a_number(shown: Vec<&StoredRecord>) -> Vec<&StoredRecord> {
    let number = |record: &StoredRecord| Header::decode(&record.entry).map_or(0, |h| h.sequence);
    let mut kept: Vec<&StoredRecord> = Vec::new();
    for record in shown {
        if kept.last().is_some_and(|last| number(last) == number(record)) {
            kept.pop();
        }
        kept.push(record);
    }
    kept
}

fn map<const N: usize>(values: [Value; N]) -> Value {
    Value::Map((0..).zip(values).collect())
}

fn proof(proof: &HeadProof) -> Value {
    let optional = |place: &Option<Place>| place.as_ref().map_or(Value::Null, self::place);
    match proof {
        HeadProof::Present(there) => Value::Array(vec![Value::Uint(1), place(there)]),
        HeadProof::Absent { before, after } => {
            Value::Array(vec![Value::Uint(0), optional(before), optional(after)])
        }
    }
}

fn place(place: &Place) -> Value {
    let node =
        |hash: Digest, sum| Value::Array(vec![Value::Bytes(hash.to_vec()), Value::Uint(sum)]);
    map([
        Value::Bytes(place.chain.as_bytes().to_vec()),
        Value::Uint(place.head.count),
        Value::Bytes(place.head.leaf.to_vec()),
        Value::Uint(place.index),
        Value::Array(place.path.iter().map(|sibling| node(sibling.hash, sibling.sum)).collect()),
    ])
}
