//! Integrations are cut off in the middle of their work, two hundred times.

use crate::origin::{MARK, Origin};
use crate::process::{Employed, employ, sever, start, tell_sever_socket};
use crate::software::{Answer, Line, Manner};
use crate::support::{Node, Transport, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use storage::clock;
use tokio::runtime::Runtime;

/// Connections of load.
const LINES: usize = 64;

/// How many of them read long answers slowly.
const SLOW: usize = 8;

/// Rounds in clear text without anything that slows the node down, with a trace of its system calls, and over TLS.
const ROUNDS: [usize; 3] = [110, 20, 70];

/// No new question for this long after one that brought no data.
const REST: Duration = Duration::from_millis(20);

/// What the load brings. Answers are kept until the round is judged.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    served: AtomicU64,
    /// Long answers that ended, one way or another.
    slow_ended: AtomicU64,
    answers: Mutex<Vec<(Manner, Answer)>>,
}

impl Load {
    fn start(runtime: &Runtime, tool: &Employed, manners: &[Manner]) -> Arc<Self> {
        let load = Arc::new(Self::default());
        for n in 0..LINES {
            let manner = if n < SLOW {
                Manner::Slow
            } else {
                manners.get(n % manners.len()).copied().unwrap_or(Manner::Brisk)
            };
            runtime.spawn(Arc::clone(&load).read(tool.software.line(manner), manner));
        }
        load
    }

    async fn read(self: Arc<Self>, mut line: Line, manner: Manner) {
        while !self.stop.load(Ordering::Relaxed) {
            let person = u16::from_be_bytes(clock::random()) % 5_000;
            let letters = if manner == Manner::Slow { "/letters" } else { "" };
            let answer = line.get(&format!("/v1/people/p-{person:04}{letters}")).await;
            let data = answer.status == 200;
            self.served.fetch_add(u64::from(data), Ordering::Relaxed);
            self.slow_ended.fetch_add(u64::from(manner == Manner::Slow), Ordering::Relaxed);
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((manner, answer));
            if !data {
                tokio::time::sleep(REST).await;
            }
        }
    }

    fn take(&self) -> Vec<(Manner, Answer)> {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the connections are at work.
    fn warm_up(&self) -> Result<()> {
        let served = || self.served.load(Ordering::Relaxed);
        let before = served();
        wait(|| Ok((served() >= before + LINES as u64).then_some(()))).context("no data flows")
    }
}

/// What the rounds of one kind came to.
#[derive(Default)]
struct Outcome {
    rounds: usize,
    acknowledged_after: Vec<Duration>,
    /// Answers with data to questions that were asked before the acknowledgement, and refusals of those asked after it.
    before: usize,
    refused: usize,
    /// Bytes of data for questions that were asked after it.
    late: usize,
    /// Releases in flight that the node says it cut, and answers that ended before their end.
    aborted: u64,
    cut_short: usize,
}

impl Outcome {
    /// Cuts the tool off under load, sees what comes after the acknowledgement, and has two operators restore it.
    fn round(&mut self, node: &Node, load: &Load, target: &str, end: &[u8]) -> Result<()> {
        load.warm_up()?;
        let slow_before = load.slow_ended.load(Ordering::Relaxed);
        let cut = sever(node, target)?;
        // A disk that is busy with other tests may be waited for in vain; the cut holds all the same.
        let not_durable = cut.receipt.get("not_durable").context("the receipt says whether")?;
        let is_busy =
            not_durable.as_str().is_some_and(|why| why.contains("the disk did not keep up"));
        ensure!(not_durable.is_null() || is_busy, "{not_durable}");
        let aborted = cut.receipt.pointer("/nodes/0/aborted").and_then(serde_json::Value::as_u64);
        self.aborted += aborted.context("the receipt says what was aborted")?;
        self.acknowledged_after.push(cut.took);

        let mut answers = load.take();
        let late = |answers: &[(Manner, Answer)]| {
            answers.iter().filter(|(_, answer)| answer.sent > cut.acknowledged).count()
        };
        wait(|| {
            answers.extend(load.take());
            // Every connection has asked again or was ended; a slow reader that was let go on would sit here.
            let slow = load.slow_ended.load(Ordering::Relaxed) - slow_before;
            Ok((late(&answers) >= LINES && slow >= SLOW as u64).then_some(()))
        })
        .context("a connection was not ended")?;
        for (_, answer) in &answers {
            let data = answer.status == 200;
            if answer.sent > cut.acknowledged {
                self.refused += usize::from(!data);
                self.late += if data { answer.body.len() } else { 0 };
            } else {
                self.before += usize::from(data);
                self.cut_short += usize::from(data && !answer.whole);
            }
        }
        tell_sever_socket(node, end)?;
        node.operate(&["restore", target, "--reason", "looked into"])?;
        self.rounds += 1;
        Ok(())
    }

    fn print(&self, kind: &str) -> String {
        let mut took = self.acknowledged_after.clone();
        took.sort();
        let at = |percent: usize| {
            took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)))
        };
        format!(
            "sever, {kind}: {} rounds of {LINES} connections, {} late bytes; acknowledged after {:?} (p50), {:?} (p99); {} answers before, {} refusals after; {} releases aborted, {} answers cut short",
            self.rounds,
            self.late,
            at(50).copied().unwrap_or_default(),
            at(99).copied().unwrap_or_default(),
            self.before,
            self.refused,
            self.aborted,
            self.cut_short,
        )
    }
}

#[test]
fn after_the_acknowledgement_nothing_more_leaves() -> Result<()> {
    let _alone = crate::alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let [plain, traced, encrypted] = ROUNDS;

    let node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "tool", true))?;
    let load = Load::start(&runtime, &tool, &[Manner::Brisk]);
    let outcome = rounds(&node, &load, &tool, plain)?;
    println!("{}", outcome.print("clear text"));
    match Trace::begin(&node) {
        Ok(trace) => {
            let outcome = rounds(&node, &load, &tool, traced)?;
            let writes = trace.end()?.judge(traced)?;
            println!(
                "{}; {writes} writes of data before the acknowledgements at the socket layer, 0 after",
                outcome.print("clear text, traced")
            );
        }
        Err(refused) => {
            println!("sever: no trace of the socket layer, for strace cannot be used: {refused:#}");
            println!("{}", rounds(&node, &load, &tool, traced)?.print("clear text"));
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    drop(node);

    let node = start(None, &origin, Transport::Tls)?;
    let tool = runtime.block_on(employ(&node, "tool", true))?;
    let load = Load::start(&runtime, &tool, &[Manner::Http2, Manner::Http2, Manner::Brisk]);
    let outcome = rounds(&node, &load, &tool, encrypted)?;
    println!("{}", outcome.print("TLS, two thirds of it HTTP/2"));
    load.stop.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// What ends the part of a round in which nothing may be written. It is no command, and the answer says so.
const END_OF_ROUND: &[u8] = b"end of round\n";

fn rounds(node: &Node, load: &Load, tool: &Employed, rounds: usize) -> Result<Outcome> {
    let targets = [
        "integration:tool".to_owned(),
        "vendor:tool-inc".to_owned(),
        format!("grant:{}", tool.grant),
        "network:127.0.0.2/32".to_owned(),
    ];
    let mut outcome = Outcome::default();
    for target in targets.iter().cycle().take(rounds) {
        let round = outcome.rounds;
        outcome
            .round(node, load, target, END_OF_ROUND)
            .with_context(|| format!("in round {round}, of {target}"))?;
    }
    ensure!(outcome.late == 0, "{}", outcome.print("failed"));
    let shown = outcome.aborted > 0 && outcome.cut_short > 0;
    ensure!(shown, "nothing was in flight, or it was let go on: {}", outcome.print("failed"));
    Ok(outcome)
}

/// The system calls by which the node writes to sockets, in the order in which they were made.
struct Trace {
    strace: Child,
    file: PathBuf,
}

/// A finished trace.
struct Traced(String);

impl Trace {
    fn begin(node: &Node) -> Result<Self> {
        let file = node.data().with_extension("strace");
        let strace = Command::new("strace")
            .args(["-f", "-s", "2000", "-e", "trace=write,writev,sendto,sendmsg", "-o"])
            .arg(&file)
            .arg("-p")
            .arg(node.process.id().to_string())
            .stderr(Stdio::null())
            .spawn()?;
        let mut trace = Self { strace, file };
        let begun = Instant::now();
        // The node writes all the time, so a trace that works is not empty for long.
        wait(|| {
            let refused = trace.strace.try_wait()?.is_some();
            ensure!(!refused && begun.elapsed() < Duration::from_secs(10), "it traces nothing");
            Ok((std::fs::metadata(&trace.file).map_or(0, |file| file.len()) > 0).then_some(()))
        })?;
        Ok(trace)
    }

    fn end(mut self) -> Result<Traced> {
        let pid = Pid::from_raw(i32::try_from(self.strace.id())?).context("a process has an id")?;
        kill_process(pid, Signal::INT)?;
        self.strace.wait()?;
        Ok(Traced(read(&self.file)?))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It ends by itself when the node does.
        let _gone = self.strace.kill();
        let _gone = self.strace.wait();
    }
}

impl Traced {
    /// Between the write of an acknowledgement and the end of its round no subject data is written. How many writes of it
    /// there were otherwise.
    fn judge(&self, rounds: usize) -> Result<usize> {
        let (mut acknowledged, mut quiet, mut writes) = (0, false, 0);
        for line in self.0.lines() {
            // The answer on the sever socket itself; that to a restore, on another one, stands further on in its line.
            if line.contains(r#", "{\"schema\":\"portcullis.severed/1"#) {
                (acknowledged, quiet) = (acknowledged + 1, true);
            } else if line.contains(r#"{\"error\":\"#) {
                quiet = false;
            } else if line.contains(MARK) {
                ensure!(!quiet, "written after the acknowledgement: {line}");
                writes += 1;
            }
        }
        ensure!(acknowledged == rounds, "the trace shows {acknowledged} of {rounds} cuts");
        ensure!(writes > 0, "the trace shows no data at all");
        Ok(writes)
    }
}

fn read(path: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}
