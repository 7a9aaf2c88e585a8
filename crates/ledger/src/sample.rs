//! Small logs for tests: three integrations, five subjects, four classes, three networks, so that everything collides.

use crate::checkpoint;
use crate::note::{SigningKey, VerifyingKey};
use crate::record::{Draft, NodeEvent, StoredRecord};
use crate::sequencer::Sequencer;
use crate::tile::TileWriter;
use model::{
    AccessRecord, ClassNumber, ClassSet, ClientIp, CredentialId, GrantId, IntegrationId,
    OperationId, OperatorId, Outcome, Pseudonym, Refusal, RequestId, Touch, UnixMicros, VendorId,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(crate) const ORIGIN: &str = "test/node-1/1";

/// Where the clock of sample logs starts.
pub(crate) const START: UnixMicros = UnixMicros(1_790_000_000_000_000);

pub(crate) fn key() -> SigningKey {
    SigningKey::new(ORIGIN, &[7; 32]).unwrap()
}

pub(crate) fn keys() -> Vec<VerifyingKey> {
    vec![key().verifying_key().unwrap()]
}

pub(crate) fn integration(n: u8) -> IntegrationId {
    IntegrationId::from_bytes([n; 16])
}

pub(crate) fn classes(numbers: &[u8]) -> ClassSet {
    numbers.iter().map(|&n| ClassNumber::new(n)).collect()
}

pub(crate) fn touch(subject: u8, numbers: &[u8]) -> Touch {
    Touch { pseudonym: Pseudonym([subject; 16]), classes: classes(numbers) }
}

pub(crate) fn network(n: u8) -> ClientIp {
    ClientIp::from_peer(std::net::IpAddr::from([192, 0, n, 1]))
}

pub(crate) fn access(who: u8, touches: &[Touch]) -> AccessRecord {
    AccessRecord {
        request: RequestId::from_bytes([who; 16]),
        vendor: VendorId::from_bytes([9; 16]),
        integration: integration(who),
        credential: CredentialId::from_bytes([3; 16]),
        grant: Some(GrantId::from_bytes([4; 16])),
        operation: OperationId::new("getAccount"),
        network: network(2),
        contract: [5; 32],
        policy: [6; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 512,
        touches: touches.to_vec(),
    }
}

/// A log that ends in a heads record, and its checkpoint.
pub(crate) struct Log {
    pub(crate) records: Vec<StoredRecord>,
    pub(crate) note: String,
}

impl Log {
    /// Its checkpoint, opened.
    pub(crate) fn checkpoint(&self) -> checkpoint::Checkpoint {
        checkpoint::open(&self.note, &keys()).unwrap()
    }

    /// What it would publish, by path.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut writer = TileWriter::default();
        self.records.iter().for_each(|record| writer.push(&record.entry, record.leaf_hash()));
        writer.take().into_iter().map(|file| (file.path.to_string(), file.bytes)).collect()
    }

    /// The same log as it was at an earlier size, where it need not end in a heads record.
    pub(crate) fn at(&self, size: usize) -> Self {
        let records: Vec<_> = self.records.iter().take(size).cloned().collect();
        let mut sequencer = Sequencer::begin(ORIGIN);
        records.iter().for_each(|record| sequencer.replay(record).unwrap());
        let note = checkpoint::sign(&sequencer.tree(), &key());
        Self { records, note }
    }
}

/// What happens in a sample log.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few steps")]
pub(crate) enum Step {
    Draft(Draft),
    /// Takes back the last access of this integration.
    TakeBack(IntegrationId),
    Heads,
}

/// Runs steps, each so many microseconds after the one before; ends with a heads record.
pub(crate) fn log(steps: &[(u64, Step)]) -> Log {
    let mut sequencer = Sequencer::begin(ORIGIN);
    let mut records = Vec::new();
    let mut now = START;
    let mut last_access = BTreeMap::new();
    for ((after, step), n) in steps.iter().zip(0_u64..) {
        now.0 += after;
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&n.to_be_bytes());
        let sequenced = match step {
            Step::Draft(draft) => sequencer.append(draft, now, salt),
            Step::TakeBack(integration) => {
                let Some((request, leaf)) = last_access.get(integration).copied() else { continue };
                let draft = Draft::NotReleased { integration: *integration, request, leaf };
                sequencer.append(&draft, now, salt)
            }
            Step::Heads => sequencer.heads(now, salt),
        };
        if let Step::Draft(Draft::Access(record)) = step {
            last_access.insert(record.integration, (record.request, sequenced.leaf_hash));
        }
        records.push(sequenced.stored);
    }
    now.0 += 1_000_000;
    records.push(sequencer.heads(now, [0xff; 16]).stored);
    let note = checkpoint::sign(&sequencer.tree(), &key());
    Log { records, note }
}

pub(crate) fn touches() -> impl Strategy<Value = Vec<Touch>> {
    proptest::collection::btree_map(1_u8..6, proptest::collection::vec(0_u8..4, 1..3), 0..4)
        .prop_map(|map| map.iter().map(|(subject, classes)| touch(*subject, classes)).collect())
}

pub(crate) fn accesses() -> impl Strategy<Value = AccessRecord> {
    let outcome = prop_oneof![
        8 => Just(Outcome::Released),
        1 => Just(Outcome::Attempted),
        1 => Just(Outcome::Refused(Refusal::OverBudget)),
    ];
    (1_u8..4, 1_u8..4, touches(), outcome, any::<[u8; 16]>()).prop_map(
        |(who, from, touches, outcome, request)| AccessRecord {
            request: RequestId::from_bytes(request),
            network: network(from),
            outcome,
            ..access(who, &touches)
        },
    )
}

pub(crate) fn drafts() -> impl Strategy<Value = Draft> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        12 => accesses().prop_map(Draft::Access),
        1 => any::<u64>().prop_map(|count| Draft::UnauthenticatedRefusals {
            network: network(3), reason: Refusal::Unauthenticated, second: 5, count
        }),
        1 => bytes().prop_map(|entry| Draft::Posture { entry }),
        1 => bytes().prop_map(|detail| Draft::OperatorAction {
            operator: OperatorId::from_bytes([1; 16]), action: "exposure".into(), detail
        }),
        1 => bytes().prop_map(|detail| Draft::Vetting { integration: integration(1), step: "approved".into(), detail }),
        1 => any::<i64>().prop_map(|step| Draft::Node(NodeEvent::Clock { step })),
        1 => proptest::option::of(bytes()).prop_map(|lost_checkpoint| Draft::Node(NodeEvent::Start { lost_checkpoint })),
        1 => proptest::collection::vec(any::<[u8; 16]>(), 0..3).prop_map(|ids| Draft::Node(NodeEvent::Gap {
            requests: ids.into_iter().map(RequestId::from_bytes).collect()
        })),
        1 => Just(Draft::Node(NodeEvent::Stop)),
    ]
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        10 => drafts().prop_map(Step::Draft),
        1 => (1_u8..4).prop_map(|n| Step::TakeBack(integration(n))),
        2 => Just(Step::Heads),
    ];
    let after = prop_oneof![4 => 1_u64..2_000_000, 1 => Just(61_000_000)];
    proptest::collection::vec((after, step), 0..40)
}
