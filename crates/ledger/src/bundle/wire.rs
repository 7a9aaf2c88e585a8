//! The bytes of a bundle, as `docs/evidence-format.md` has them.

use super::sealed::{Position, Token, Tokens};
use super::{Answer, Bundle, Facts, HeadsAt, Level, Question, Run, Seal, Seen, Shown};
use crate::heads::{Head, HeadProof, Node, Place};
use crate::record::Chain;
use crate::record::body::{read_network, write_network};
use crate::record::header::{read_classes, write_classes};
use crate::record::wire::{Malformed, Reader, Write as _};
use ipnet::IpNet;
use model::{ClientIp, Digest, IntegrationId, Pseudonym, UnixMicros, VendorId};
use std::collections::BTreeSet;

/// What a bundle that names neither vendor nor recipient is written as.
const SCHEMA_1: &str = "portcullis.evidence/1";
const SCHEMA_2: &str = "portcullis.evidence/2";

impl Bundle {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let first = self.vendor.is_none() && self.seal.is_none();
        out.map(if first { 9 } else { 11 });
        out.uint(0);
        out.text(if first { SCHEMA_1 } else { SCHEMA_2 });
        out.uint(1);
        out.text(self.level.as_str());
        out.uint(2);
        out.text(&self.checkpoint);
        out.uint(3);
        write_question(&mut out, &self.question);
        out.uint(4);
        write_optional(&mut out, self.lower.as_ref(), write_heads);
        out.uint(5);
        write_heads(&mut out, &self.upper);
        out.uint(6);
        write_optional(&mut out, self.system.as_ref(), write_place);
        out.uint(7);
        out.array(self.runs.len());
        for run in &self.runs {
            write_run(&mut out, run);
        }
        out.uint(8);
        match &self.seal {
            None => write_answer(&mut out, &self.answer),
            Some(seal) => write_sealed_answer(&mut out, &self.answer, seal),
        }
        if !first {
            out.uint(9);
            write_optional(&mut out, self.vendor.as_ref(), |out, id| out.bytes(id.as_bytes()));
            out.uint(10);
            write_optional(&mut out, self.seal.as_ref(), |out, seal| {
                out.array(2);
                out.text(&seal.recipient);
                out.bytes(&seal.key);
            });
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (pairs, schema) = if reader.is_map(9) { (9, SCHEMA_1) } else { (11, SCHEMA_2) };
        reader.map(pairs)?;
        reader.key(0)?;
        if reader.text()? != schema {
            return Err(Malformed::Unexpected(schema));
        }
        reader.key(1)?;
        let level = reader.text()?;
        let level = [Level::OperatorAsserted, Level::AuditorCosigned]
            .into_iter()
            .find(|known| known.as_str() == level)
            .ok_or(Malformed::Unexpected("level"))?;
        reader.key(2)?;
        let checkpoint = reader.text()?.to_owned();
        reader.key(3)?;
        let question = read_question(&mut reader)?;
        reader.key(4)?;
        let lower = reader.optional(read_heads)?;
        reader.key(5)?;
        let upper = read_heads(&mut reader)?;
        reader.key(6)?;
        let system = reader.optional(read_place)?;
        reader.key(7)?;
        let runs = read_list(&mut reader, read_run)?;
        reader.key(8)?;
        let (answer, mut tokens) = read_answer(&mut reader)?;
        let (mut vendor, mut seal) = (None, None);
        if pairs == 11 {
            reader.key(9)?;
            vendor = reader.optional(|reader| Ok(VendorId::from_bytes(reader.fixed()?)))?;
            reader.key(10)?;
            seal = reader.optional(|reader| {
                if reader.array()? != 2 {
                    return Err(Malformed::Unexpected("recipient"));
                }
                let recipient = reader.text()?.to_owned();
                let tokens = tokens.take().unwrap_or_default();
                Ok(Seal { recipient, key: reader.fixed()?, tokens })
            })?;
        }
        reader.end()?;
        if tokens.is_some() {
            return Err(Malformed::Unexpected("answer that is not sealed"));
        }
        if seal.is_some() && !answer.subjects.is_empty() {
            return Err(Malformed::Unexpected("answer that is sealed"));
        }
        if seal.is_some() && question.classes.is_some() {
            return Err(Malformed::Unexpected("sealed bundle without a class filter"));
        }
        if pairs == 11 && vendor.is_none() && seal.is_none() {
            return Err(Malformed::Unexpected(SCHEMA_1));
        }
        Ok(Self { level, checkpoint, question, lower, upper, system, runs, answer, vendor, seal })
    }
}

impl Question {
    /// The question's bytes, the same for the same question.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_question(&mut out, self);
        out
    }
}

fn write_question(out: &mut Vec<u8>, question: &Question) {
    out.map(5);
    out.uint(0);
    write_optional(out, question.integrations.as_ref(), |out, ids| {
        out.array(ids.len());
        ids.iter().for_each(|id| out.bytes(id.as_bytes()));
    });
    out.uint(1);
    out.uint(question.from.0);
    out.uint(2);
    out.uint(question.to.0);
    out.uint(3);
    write_optional(out, question.classes.as_ref(), write_classes);
    out.uint(4);
    write_optional(out, question.networks.as_ref(), |out, nets| {
        out.array(nets.len());
        for net in nets {
            out.array(2);
            match net {
                IpNet::V4(net) => out.bytes(&net.network().octets()),
                IpNet::V6(net) => out.bytes(&net.network().octets()),
            }
            out.uint(u64::from(net.prefix_len()));
        }
    });
}

fn read_question(reader: &mut Reader<'_>) -> Result<Question, Malformed> {
    reader.map(5)?;
    reader.key(0)?;
    let integrations = reader.optional(|reader| {
        ascending(read_list(reader, |reader| Ok(IntegrationId::from_bytes(reader.fixed()?)))?)
    })?;
    reader.key(1)?;
    let from = UnixMicros(reader.uint()?);
    reader.key(2)?;
    let to = UnixMicros(reader.uint()?);
    if to < from {
        return Err(Malformed::Unexpected("window that does not end before it begins"));
    }
    reader.key(3)?;
    let classes = reader.optional(read_classes)?;
    reader.key(4)?;
    let networks = reader.optional(|reader| ascending(read_list(reader, read_subnet)?))?;
    Ok(Question { integrations, from, to, classes, networks })
}

fn read_subnet(reader: &mut Reader<'_>) -> Result<IpNet, Malformed> {
    let wrong = Malformed::Unexpected("subnet");
    if reader.array()? != 2 {
        return Err(wrong);
    }
    let bytes = reader.bytes()?;
    let address = <[u8; 4]>::try_from(bytes)
        .map(std::net::IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from))
        .map_err(|_| wrong)?;
    let prefix = u8::try_from(reader.uint()?).map_err(|_| wrong)?;
    let net = IpNet::new(address, prefix).map_err(|_| wrong)?;
    if net == net.trunc() { Ok(net) } else { Err(wrong) }
}

fn write_heads(out: &mut Vec<u8>, heads: &HeadsAt) {
    out.map(4);
    out.uint(0);
    out.uint(heads.index);
    out.uint(1);
    out.bytes(&heads.entry);
    out.uint(2);
    out.bytes(&heads.body);
    out.uint(3);
    out.array(heads.path.len());
    heads.path.iter().for_each(|hash| out.bytes(hash));
}

fn read_heads(reader: &mut Reader<'_>) -> Result<HeadsAt, Malformed> {
    reader.map(4)?;
    reader.key(0)?;
    let index = reader.uint()?;
    reader.key(1)?;
    let entry = reader.bytes()?.to_vec();
    reader.key(2)?;
    let body = reader.bytes()?.to_vec();
    reader.key(3)?;
    let path: Vec<Digest> = read_list(reader, Reader::fixed)?;
    Ok(HeadsAt { index, entry, body, path })
}

fn write_run(out: &mut Vec<u8>, run: &Run) {
    out.map(4);
    out.uint(0);
    out.bytes(run.chain.as_bytes());
    out.uint(1);
    write_optional(out, run.lower.as_ref(), write_proof);
    out.uint(2);
    write_proof(out, &run.upper);
    out.uint(3);
    out.array(run.shown.len());
    for shown in &run.shown {
        out.map(2);
        out.uint(0);
        out.bytes(&shown.entry);
        out.uint(1);
        write_optional(out, shown.facts.as_ref(), write_facts);
    }
}

fn read_run(reader: &mut Reader<'_>) -> Result<Run, Malformed> {
    reader.map(4)?;
    reader.key(0)?;
    let chain = Chain::from_bytes(reader.bytes()?)?;
    reader.key(1)?;
    let lower = reader.optional(read_proof)?;
    reader.key(2)?;
    let upper = read_proof(reader)?;
    reader.key(3)?;
    let shown = read_list(reader, |reader| {
        reader.map(2)?;
        reader.key(0)?;
        let entry = reader.bytes()?.to_vec();
        reader.key(1)?;
        Ok(Shown { entry, facts: reader.optional(read_facts)? })
    })?;
    Ok(Run { chain, lower, upper, shown })
}

fn write_facts(out: &mut Vec<u8>, facts: &Facts) {
    out.array(3);
    match facts {
        Facts::Sealed { body, leaves } => {
            out.uint(2);
            out.bytes(body);
            out.bytes(leaves.as_flattened());
        }
        Facts::Network(network, opening) => {
            out.uint(0);
            write_network(out, *network);
            out.bytes(opening);
        }
        Facts::Whole { body, touches } => {
            out.uint(1);
            out.bytes(body);
            out.bytes(touches);
        }
    }
}

fn read_facts(reader: &mut Reader<'_>) -> Result<Facts, Malformed> {
    let wrong = Malformed::Unexpected("facts of a record");
    if reader.array()? != 3 {
        return Err(wrong);
    }
    match reader.uint()? {
        0 => {
            let network: ClientIp = read_network(reader)?;
            Ok(Facts::Network(network, reader.fixed()?))
        }
        1 => {
            let body = reader.bytes()?.to_vec();
            Ok(Facts::Whole { body, touches: reader.bytes()?.to_vec() })
        }
        2 => {
            let body = reader.bytes()?.to_vec();
            let (leaves, []) = reader.bytes()?.as_chunks::<32>() else { return Err(wrong) };
            Ok(Facts::Sealed { body, leaves: leaves.to_vec() })
        }
        _ => Err(wrong),
    }
}

fn write_proof(out: &mut Vec<u8>, proof: &HeadProof) {
    match proof {
        HeadProof::Present(place) => {
            out.array(2);
            out.uint(1);
            write_place(out, place);
        }
        HeadProof::Absent { before, after } => {
            out.array(3);
            out.uint(0);
            write_optional(out, before.as_ref(), write_place);
            write_optional(out, after.as_ref(), write_place);
        }
    }
}

fn read_proof(reader: &mut Reader<'_>) -> Result<HeadProof, Malformed> {
    match (reader.array()?, reader.uint()?) {
        (2, 1) => Ok(HeadProof::Present(read_place(reader)?)),
        (3, 0) => {
            let before = reader.optional(read_place)?;
            Ok(HeadProof::Absent { before, after: reader.optional(read_place)? })
        }
        _ => Err(Malformed::Unexpected("proof of a head")),
    }
}

fn write_place(out: &mut Vec<u8>, place: &Place) {
    out.map(5);
    out.uint(0);
    out.bytes(place.chain.as_bytes());
    out.uint(1);
    out.uint(place.head.count);
    out.uint(2);
    out.bytes(&place.head.leaf);
    out.uint(3);
    out.uint(place.index);
    out.uint(4);
    out.array(place.path.len());
    for node in &place.path {
        out.array(2);
        out.bytes(&node.hash);
        out.uint(node.sum);
    }
}

fn read_place(reader: &mut Reader<'_>) -> Result<Place, Malformed> {
    reader.map(5)?;
    reader.key(0)?;
    let chain = Chain::from_bytes(reader.bytes()?)?;
    reader.key(1)?;
    let count = reader.uint()?;
    reader.key(2)?;
    let leaf = reader.fixed()?;
    reader.key(3)?;
    let index = reader.uint()?;
    reader.key(4)?;
    let path = read_list(reader, |reader| {
        if reader.array()? != 2 {
            return Err(Malformed::Unexpected("node"));
        }
        let hash = reader.fixed()?;
        Ok(Node { hash, sum: reader.uint()? })
    })?;
    Ok(Place { chain, head: Head { count, leaf }, index, path })
}

fn write_answer(out: &mut Vec<u8>, answer: &Answer) {
    out.map(2);
    out.uint(0);
    out.uint(answer.records);
    out.uint(1);
    out.array(answer.subjects.len());
    for (pseudonym, seen) in &answer.subjects {
        out.array(5);
        out.bytes(&pseudonym.0);
        write_classes(out, &seen.classes);
        out.uint(seen.first.0);
        out.uint(seen.last.0);
        out.uint(seen.count);
    }
}

fn write_sealed_answer(out: &mut Vec<u8>, answer: &Answer, seal: &Seal) {
    out.map(2);
    out.uint(0);
    out.uint(answer.records);
    out.uint(1);
    out.array(seal.tokens.len());
    for (token, positions) in &seal.tokens {
        out.array(2);
        out.bytes(&token.0);
        out.array(positions.len() * 3);
        for Position { run, sequence, touch } in positions {
            out.uint(*run);
            out.uint(*sequence);
            out.uint(*touch);
        }
    }
}

/// The answer, and the tokens if it is sealed: an item then has two parts, not five. One without items is either.
fn read_answer(reader: &mut Reader<'_>) -> Result<(Answer, Option<Tokens>), Malformed> {
    reader.map(2)?;
    reader.key(0)?;
    let records = reader.uint()?;
    reader.key(1)?;
    let mut subjects = Vec::new();
    let mut tokens = Vec::new();
    for _ in 0..reader.array()? {
        match reader.array()? {
            5 => subjects.push(read_subject(reader)?),
            2 => tokens.push(read_token(reader)?),
            _ => return Err(Malformed::Unexpected("subject")),
        }
    }
    let in_order = subjects.is_sorted_by(|(a, _), (b, _)| a < b)
        && tokens.is_sorted_by(|(a, _), (b, _)| a < b)
        && (subjects.is_empty() || tokens.is_empty());
    if !in_order {
        return Err(Malformed::Unexpected("subjects in order"));
    }
    let answer = Answer { records, subjects };
    Ok((answer, (!tokens.is_empty()).then(|| tokens.into_iter().collect())))
}

fn read_subject(reader: &mut Reader<'_>) -> Result<(Pseudonym, Seen), Malformed> {
    let pseudonym = Pseudonym(reader.fixed()?);
    let classes = read_classes(reader)?;
    let first = UnixMicros(reader.uint()?);
    let last = UnixMicros(reader.uint()?);
    let count = reader.uint()?;
    Ok((pseudonym, Seen { classes, first, last, count }))
}

fn read_token(reader: &mut Reader<'_>) -> Result<(Token, Vec<Position>), Malformed> {
    let token = Token(reader.fixed()?);
    let numbers = reader.array()?;
    if !numbers.is_multiple_of(3) {
        return Err(Malformed::Unexpected("positions"));
    }
    let mut positions = Vec::new();
    for _ in 0..numbers / 3 {
        let (run, sequence, touch) = (reader.uint()?, reader.uint()?, reader.uint()?);
        positions.push(Position { run, sequence, touch });
    }
    Ok((token, positions))
}

fn write_optional<T>(out: &mut Vec<u8>, value: Option<&T>, write: impl FnOnce(&mut Vec<u8>, &T)) {
    match value {
        Some(value) => write(out, value),
        None => out.null(),
    }
}

/// The list grows as items are read, so that a length alone takes no memory.
fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut list = Vec::new();
    for _ in 0..reader.array()? {
        list.push(read(reader)?);
    }
    Ok(list)
}

fn ascending<T: Ord>(list: Vec<T>) -> Result<BTreeSet<T>, Malformed> {
    if list.is_sorted_by(|a, b| a < b) {
        Ok(list.into_iter().collect())
    } else {
        Err(Malformed::Unexpected("list in order, each item once"))
    }
}
