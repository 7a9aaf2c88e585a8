//! What an incident's evidence costs: `cargo run --release -p ledger --example evidence_cost`.
//!
//! 1.3 million subjects in 30,000 records, each subject read once or twice; reading the segments is not in it.
#![expect(clippy::print_stdout, reason = "prints its measurement")]
#![expect(
    clippy::disallowed_methods,
    reason = "measures time and reads how much the system counted"
)]

use ledger::bundle::{self, Builder, Form, Question, Recipient};
use ledger::merkle::Tree;
use ledger::note::SigningKey;
use ledger::{Draft, Sequencer, checkpoint};
use model::{
    AccessRecord, ClassNumber, ClientIp, CredentialId, GrantId, IntegrationId, OperationId,
    Outcome, Pseudonym, RequestId, Touch, UnixMicros, VendorId,
};
use std::error::Error;
use std::time::{Duration, Instant};

const RECORDS: u64 = 30_000;
const TOUCHES: u64 = 50;
const SUBJECTS: u64 = 1_300_000;

fn main() -> Result<(), Box<dyn Error>> {
    let key = SigningKey::new("bench/node/1", &[1; 32])?;
    let keys = [key.verifying_key()?];
    let mut sequencer = Sequencer::begin(key.name());
    let heads = sequencer.heads(UnixMicros(1), [0; 16]);
    let state = sequencer.state().clone();
    let mut leaves = vec![heads.leaf_hash];
    let mut records = Vec::new();
    for n in 0..RECORDS {
        let mut salt = [0; 16];
        salt.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
        let time = UnixMicros(1_000 + n * 100_000);
        let appended = sequencer.append(&draft(n), time, salt);
        leaves.push(appended.leaf_hash);
        records.push(appended.stored);
        if n % 10 == 9 {
            let heads = sequencer.heads(time, salt);
            leaves.push(heads.leaf_hash);
            records.push(heads.stored);
        }
    }
    let note = checkpoint::sign(&sequencer.tree(), &key);
    let tree = Tree::new(leaves);
    let question = Question {
        integrations: Some([IntegrationId::from_bytes([3; 16])].into()),
        from: UnixMicros(0),
        to: UnixMicros(1_000 + (RECORDS - 1) * 100_000),
        classes: None,
        networks: None,
    };
    for sealed in [false, true] {
        let recipient = sealed.then(|| Recipient { name: "regulator".into(), key: [7; 32] });
        let form = Form { recipient, ..Form::default() };
        let start = Stopwatch::start();
        let from = if sealed { state.clone() } else { ledger::State::begin() };
        let mut builder = Builder::new(question.clone(), form, &note, &keys, from)?;
        if !sealed {
            builder.push(&heads.stored)?;
        }
        for record in &records {
            if !builder.push(record)? {
                break;
            }
        }
        let bytes = builder.finish(|index| tree.inclusion(index))?;
        let built = start.elapsed();
        let start = Stopwatch::start();
        let verified = bundle::verify(&bytes, &keys, &[])?;
        let subjects = verified.seal.map_or(verified.answer.subjects.len(), |s| s.tokens.len());
        println!(
            "sealed {sealed}: {} records, {subjects} subjects, {} bytes: built in {}, verified in {}",
            verified.answer.records,
            bytes.len(),
            built,
            start.elapsed()
        );
    }
    Ok(())
}

fn draft(n: u64) -> Draft {
    let mut touches: Vec<Touch> = (0..TOUCHES)
        .map(|i| {
            // Spread over all of the pseudonyms as a hash would.
            let subject = (n * TOUCHES + i) % SUBJECTS;
            let spread = subject.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut pseudonym = [0; 16];
            let bytes = spread.to_be_bytes().into_iter().chain(subject.to_be_bytes());
            pseudonym.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            Touch {
                pseudonym: Pseudonym(pseudonym),
                classes: [ClassNumber::new(1), ClassNumber::new(5)].into_iter().collect(),
            }
        })
        .collect();
    touches.sort_unstable_by_key(|touch| touch.pseudonym);
    Draft::Access(AccessRecord {
        request: RequestId::from_bytes([1; 16]),
        vendor: VendorId::from_bytes([2; 16]),
        integration: IntegrationId::from_bytes([3; 16]),
        credential: CredentialId::from_bytes([4; 16]),
        grant: Some(GrantId::from_bytes([5; 16])),
        operation: OperationId::new("listAccounts"),
        network: ClientIp::from_peer([192, 0, 2, 7].into()),
        contract: [6; 32],
        policy: [7; 32],
        class_table: [8; 32],
        outcome: Outcome::Released,
        bytes: 51_200,
        touches,
    })
}

/// The time that goes by, and the processor's: on a busy machine they differ.
struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn elapsed(&self) -> String {
        format!(
            "{} ms ({} ms of processor)",
            self.0.elapsed().as_millis(),
            (cpu() - self.1).as_millis()
        )
    }
}

/// Processor time of this thread so far, as Linux counts it.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
