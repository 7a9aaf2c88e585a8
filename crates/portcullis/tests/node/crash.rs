//! The process is killed, again and again, in the middle of its work.

use crate::origin::Origin;
use crate::process::{employ, kill, kill_at_start, restart, start};
use crate::software::{Answer, Manner};
use crate::support::{Node, Transport, portcullis, said, wait};
use anyhow::{Context, Result, bail, ensure};
use ledger::record::Body;
use model::{Outcome, SubjectId};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::clock;
use storage::embedded::Vault;
use storage::embedded::disk::{KeepSynced, LocalDisk};
use storage::embedded::vault::VaultKeys;
use storage::embedded::view::LogView;

/// Kills on one data directory.
const ROUNDS: u64 = 50;

/// Connections of load; every twelfth reads long answers slowly, so that some are cut in the middle.
const LINES: usize = 24;

/// How long a round goes on at most after data began to flow.
const ROUND: Duration = Duration::from_millis(200);

/// In one round of so many the next process is killed too, at most this long after it began to start.
const START_EVERY: u64 = 5;
const START: Duration = Duration::from_millis(150);

/// No new question for this long after one that brought no answer.
const REST: Duration = Duration::from_millis(5);

/// What the load brought.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    served: AtomicU64,
    /// Answers of which any part of a body came.
    answers: Mutex<Vec<Answer>>,
}

#[test]
fn every_byte_received_is_in_the_record_whenever_the_process_was_killed() -> Result<()> {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let reader = runtime.block_on(employ(&node, "reader", true))?;
    let load = Arc::new(Load::default());
    for n in 0..LINES {
        let load = Arc::clone(&load);
        let slow = n % 12 == 0;
        let mut line = reader.software.line(if slow { Manner::Slow } else { Manner::Brisk });
        runtime.spawn(async move {
            while !load.stop.load(Ordering::Relaxed) {
                let person = u16::from_be_bytes(clock::random()) % 5_000;
                let letters = if slow { "/letters" } else { "" };
                let answer = line.get(&format!("/v1/people/p-{person:04}{letters}")).await;
                if answer.status == 200 && !answer.body.is_empty() {
                    load.served.fetch_add(1, Ordering::Relaxed);
                    load.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                } else {
                    tokio::time::sleep(REST).await;
                }
            }
        });
    }

    for round in 0..ROUNDS {
        let before = load.served.load(Ordering::Relaxed);
        wait(|| Ok((load.served.load(Ordering::Relaxed) > before + 20).then_some(())))
            .with_context(|| format!("no data flows:\n{}", node_log(&node)))?;
        let moment: u32 = u32::from_be_bytes(clock::random());
        std::thread::sleep(ROUND * (moment >> 16) / (1 << 16));
        kill(&mut node)?;
        if round % START_EVERY == 0 {
            kill_at_start(&node, START * (moment & 0xffff) / (1 << 16))?;
        }
        restart(&mut node)?;
    }
    load.stop.store(true, Ordering::Relaxed);
    // Gives the last answers time to end, and ends whatever is still being read.
    runtime.shutdown_timeout(Duration::from_secs(10));
    node.stop()?;

    let data = node.data();
    let audited = said(
        portcullis()
            .args(["verify", "--full"])
            .arg(&data)
            .arg("--key")
            .arg(data.join("keys/log.pub")),
    )?;
    let record = Record::read(&data)?;
    let answers = std::mem::take(&mut *load.answers.lock().unwrap_or_else(PoisonError::into_inner));
    let mut losses = Vec::new();
    for answer in &answers {
        if let Err(loss) = record.holds(answer, &origin) {
            losses.push(format!("{loss:#}"));
        }
    }
    let (partial, bytes) = (
        answers.iter().filter(|answer| !answer.whole).count(),
        answers.iter().map(|answer| answer.body.len()).sum::<usize>(),
    );
    println!(
        "crash: {ROUNDS} kills under load and {} at the start, {} answers received ({partial} in part, {bytes} bytes), {} losses; {audited}",
        ROUNDS / START_EVERY,
        answers.len(),
        losses.len()
    );
    ensure!(losses.is_empty(), "received and not recorded:\n{}", losses.join("\n"));
    ensure!(partial > 0, "no answer was cut in the middle, so the test shows less than it says");
    Ok(())
}

#[test]
fn a_budget_that_was_used_up_stays_used_up_after_a_kill() -> Result<()> {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let reader = runtime.block_on(employ(&node, "reader", false))?;
    let mut line = reader.software.line(Manner::Brisk);
    // In no order, so that nothing but the budget holds it.
    let mut read = |number: u32| {
        let person = number * 1_009 % 5_000;
        let answer = runtime.block_on(line.get(&format!("/v1/people/p-{person}")));
        if answer.status != 0 {
            return answer.status;
        }
        // The connection was of the process before.
        runtime.block_on(line.get(&format!("/v1/people/p-{person}"))).status
    };
    for person in 1..=100 {
        assert_eq!(read(person), 200, "the budget is 100 people a minute");
    }
    assert_eq!(read(101), 429, "one more");
    kill(&mut node)?;
    restart(&mut node)?;
    assert_eq!(read(102), 429, "one more, in the next life of the process");
    assert_eq!(read(3), 200, "who was read already costs nothing more");
    Ok(())
}

/// What the log says of each released request: whose data, and how many bytes.
struct Record {
    released: HashMap<String, (Vec<String>, u64)>,
}

impl Record {
    /// Reads the log of a data directory at rest, with the vault to name the people in it.
    fn read(data: &Path) -> Result<Self> {
        let disk = Arc::new(LocalDisk::new(data)?);
        let key = |name: &str| -> Result<[u8; 32]> {
            let bytes = std::fs::read(data.join("keys").join(name))?;
            bytes.try_into().ok().context("a key has 32 bytes")
        };
        let keys = VaultKeys {
            index: key("vault-index.key")?,
            wrapping: key("vault-wrapping.key")?,
            wrapping_id: 1,
        };
        let vault = Vault::open(&*disk, &keys)?;
        let view = LogView::at_rest(disk as Arc<dyn KeepSynced>)?;
        let (mut released, mut leaves) = (HashMap::new(), HashMap::new());
        for record in view.records_from(0) {
            let record = record?.1.decode()?;
            let quarter = record.header.time.quarter();
            match record.body {
                Body::Access(access) if access.outcome == Outcome::Released => {
                    let mut subjects = Vec::new();
                    for touch in &record.touches {
                        let subject = vault.subject_of(&touch.pseudonym, quarter)?;
                        let subject = subject.context("a touch of nobody whom the vault knows")?;
                        subjects.push(SubjectId::as_str(&subject).to_owned());
                    }
                    let request = access.request.to_string();
                    leaves.insert(record.leaf, request.clone());
                    released.insert(request, (subjects, access.bytes));
                }
                Body::NotReleased { leaf, .. } => {
                    leaves.remove(&leaf).and_then(|request| released.remove(&request));
                }
                Body::Access(_)
                | Body::UnauthenticatedRefusals { .. }
                | Body::Posture { .. }
                | Body::OperatorAction { .. }
                | Body::Vetting { .. }
                | Body::Node(_)
                | Body::Heads(_) => {}
            }
        }
        Ok(Self { released })
    }

    /// Whether an answer's bytes are those of a released record about the person they speak of.
    fn holds(&self, answer: &Answer, origin: &Origin) -> Result<()> {
        let request = &answer.request;
        let Some((subjects, bytes)) = self.released.get(request) else {
            bail!("{request}: {} bytes came and no record says so", answer.body.len());
        };
        let sent = origin.sent(request).context("the origin never sent it")?;
        ensure!(*subjects == [sent.subject], "{request}: recorded about {subjects:?}");
        ensure!(sent.granted.starts_with(&answer.body), "{request}: other bytes than were granted");
        ensure!(*bytes == sent.granted.len() as u64, "{request}: recorded as {bytes} bytes");
        ensure!(!answer.whole || answer.body == sent.granted, "{request}: an end that is none");
        Ok(())
    }
}

fn node_log(node: &Node) -> String {
    std::fs::read_to_string(node.data().with_extension("log")).unwrap_or_default()
}
