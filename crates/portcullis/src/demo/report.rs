//! What the acts showed, promise by promise: judged by what sockets delivered and what stands in files, by nothing else.

use super::acts::{Abuse, Cut, MixUp, Read, beyond};
use super::stage::{BAD_ADDRESS, Stage};
use crate::{node, verify};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use storage::registry::Command;

/// What the demo's answer is frozen as.
const SCOPE: &str = "abuse-from-inside";

/// Tells the story as it happens, each line with the time since the beginning.
pub(crate) struct Story {
    started: Instant,
}

impl Story {
    pub(crate) fn begin() -> Self {
        Self { started: Instant::now() }
    }

    /// A new scene.
    pub(crate) fn scene(&self, title: &str, what: &str) {
        self.print(&format!("\n{title}"));
        self.line(what);
    }

    /// One line of it.
    pub(crate) fn line(&self, what: &str) {
        self.print(&format!("  {:>5.1}s  {what}", self.started.elapsed().as_secs_f64()));
    }

    fn print(&self, text: &str) {
        // With nobody to read the story it still ends in an exit code.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Leaves everything running for a person to look around, until interrupted.
    ///
    /// # Errors
    /// If the interrupt cannot be waited for.
    pub(crate) async fn wait(&self, stage: &Stage) -> Result<()> {
        let link = stage.loopback.command(Command::ConsoleOpen {}, false).await?;
        let link = link.get("link").and_then(Value::as_str).unwrap_or("").to_owned();
        self.print(&format!(
            "\nStill running, until you press Ctrl-C. The console, open once within a minute:\n\n  {link}\n\nAnother link, and more to try, in another terminal:\n\n  portcullis console --config {config} --key {key}\n  portcullis incident show ledgerly-abuse --config {config} --key {key}\n  portcullis exposure --integration {billing} --config {config} --key {key}\n",
            config = stage.loopback.directory.join(crate::config::FILE).display(),
            billing = stage.billing.name,
            key = stage.loopback.directory.join("keys/operators/ana.key").display(),
        ));
        Ok(tokio::signal::ctrl_c().await?)
    }
}

/// The promises that were put to the test, and whether each held.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    promise: &'static str,
    claim: String,
    held: bool,
}

impl Report {
    /// Adds one line to the verdict.
    pub(super) fn judge(&mut self, promise: &'static str, held: bool, claim: String) {
        self.rows.push(Row { promise, claim, held });
    }

    /// Honest software works, and gets exactly the fields of its grant.
    pub(crate) fn honest(
        &mut self,
        story: &Story,
        stage: &Stage,
        reads: &BTreeMap<&'static str, Vec<Read>>,
    ) {
        story.scene("Honest traffic", "each vendor's software reads what it needs, with a token bound to its key and a proof for each request");
        let mut surplus = Vec::new();
        let (mut served, mut asked) = (0, 0);
        for of in [&stage.billing, &stage.support, &stage.insights] {
            let theirs = reads.get(of.name).map_or(&[][..], Vec::as_slice);
            let with_data = theirs.iter().filter(|read| read.data().is_some()).count();
            asked += theirs.len();
            served += with_data;
            story.line(&format!("{:<20} {with_data} of {} reads served", of.name, theirs.len()));
            surplus.extend(
                beyond(of, theirs).into_iter().map(|field| format!("{}: {field}", of.name)),
            );
        }
        let what = if surplus.is_empty() {
            "no other field".to_owned()
        } else {
            format!("also {}", surplus.join(", "))
        };
        self.judge(
            "P2 least data",
            surplus.is_empty(),
            format!("{served} honest answers held the fields of their grants and {what}"),
        );
        self.judge(
            "P1 verified sender",
            served == asked && asked > 0,
            format!("{served} of {asked} honest requests were served"),
        );
    }

    /// A copied token reads nobody.
    pub(crate) async fn stolen_token(
        &mut self,
        story: &Story,
        stage: &Stage,
        reads: &[Read],
    ) -> Result<()> {
        story.scene("1  A copied token", &format!("the billing vendor's token is used from {BAD_ADDRESS} (listed) and 127.77.1.1, without its key, and with an overheard proof"));
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        reads.iter().for_each(|read| *statuses.entry(read.status()).or_default() += 1);
        let shown: Vec<_> =
            statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        story.line(&format!("answers: {}", shown.join(", ")));
        let subjects: BTreeSet<_> = reads.iter().flat_map(Read::subjects).collect();
        let recorded = exposure(stage, json!({ "network": BAD_ADDRESS.to_string() })).await?;
        let recorded = total(&recorded);
        story.line(&format!(
            "subjects read: {} on the thief's sockets, {recorded} in the record",
            subjects.len()
        ));
        let data = reads.iter().filter(|read| read.data().is_some()).count();
        self.judge(
            "P1 verified sender",
            data == 0 && recorded == 0 && !reads.is_empty(),
            format!("a copied token read {} subjects in {} attempts", subjects.len(), reads.len()),
        );
        Ok(())
    }

    /// Abuse from inside is bounded by the budget and contained in seconds.
    pub(crate) fn inside(&mut self, story: &Story, stage: &Stage, abuse: &Abuse) {
        story.scene("2  Abuse from inside", "the billing tool itself reads every account in turn, with its own key, on 16 connections");
        let served: Vec<_> = abuse.reads.iter().filter(|read| read.data().is_some()).collect();
        let subjects: BTreeSet<_> = served.iter().flat_map(|read| read.subjects()).collect();
        let held = abuse.reads.iter().filter(|read| read.status() == 429).count();
        let limit = stage
            .loopback
            .running
            .node
            .view()
            .directory
            .grants
            .get(&stage.billing.grant)
            .map_or(0, |grant| grant.budget.burst);
        story.line(&format!(
            "{} requests: {} subjects read, {held} answers held by the budget of {limit} a minute",
            abuse.reads.len(),
            subjects.len()
        ));
        let contained = abuse.contained_after.map_or("never contained".to_owned(), |after| {
            format!("contained {} ms after the first hold", after.as_millis())
        });
        story.line(&format!("{contained}: throttled to a tenth, and an operator is paged"));
        let limit = usize::try_from(limit).unwrap_or(0);
        self.judge(
            "P5 bounded loss",
            subjects.len() <= limit && held > 0,
            format!("{} subjects read under a budget of {limit}", subjects.len()),
        );
        let in_seconds = abuse.contained_after.is_some_and(|after| after < Duration::from_secs(5));
        self.judge("P5 bounded loss", in_seconds, contained);
    }

    /// Nobody receives somebody else's record.
    pub(crate) fn mixed_up(&mut self, story: &Story, stage: &Stage, mixed_up: &MixUp) {
        story.scene(
            "3  The origin mixes people up",
            "its cache answers one connection late: one answer in four is somebody else's",
        );
        let foreign = mixed_up
            .reads
            .iter()
            .filter(|read| read.subjects().iter().any(|subject| *subject != read.asked))
            .count();
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        mixed_up.reads.iter().for_each(|read| *statuses.entry(read.status()).or_default() += 1);
        let shown: Vec<_> =
            statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        story.line(&format!(
            "{} reads by {}: {}; {foreign} foreign records released",
            mixed_up.reads.len(),
            stage.support.name,
            shown.join(", ")
        ));
        let withheld = mixed_up.reads.iter().any(|read| read.status() == 404);
        self.judge(
            "P3 right subject",
            foreign == 0 && withheld,
            format!(
                "{foreign} foreign records were released, {} answers withheld",
                statuses.get(&404).unwrap_or(&0)
            ),
        );
        story.line(if mixed_up.suspended { "the operation was suspended by rule; two operators restored it once the origin was mended" } else { "the operation was never suspended" });
        let restored = mixed_up.restored.data().is_some();
        self.judge(
            "P3 right subject",
            mixed_up.suspended && restored && mixed_up.alone_refused,
            "the operation was suspended by rule; one signature did not restore it, two did"
                .to_owned(),
        );
    }

    /// Severed means severed.
    pub(crate) async fn cut(&mut self, story: &Story, stage: &Stage, cut: &Cut) -> Result<()> {
        story.scene(
            "4  The cut",
            &format!("one operator severs {} while it reads at full speed", stage.support.name),
        );
        let number =
            |pointer: &str| cut.receipt.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        story.line(&format!(
            "acknowledged after {:.1} ms: posture entry {}, {} connections looked at, {} releases aborted, settled: {}",
            cut.acknowledged_after.as_secs_f64() * 1e3,
            number("/entry"),
            number("/nodes/0/connections"),
            number("/nodes/0/aborted"),
            cut.receipt.pointer("/nodes/0/settled").and_then(Value::as_str).unwrap_or("?"),
        ));
        story.line(&format!(
            "{} answers before it; after it {} refused and {} served",
            cut.before, cut.refused, cut.late
        ));
        let settled =
            cut.receipt.pointer("/nodes/0/settled").and_then(Value::as_str) == Some("confirmed");
        let durable = cut.receipt.get("not_durable").is_some_and(Value::is_null);
        let shown = cut.late == 0 && cut.before > 0 && cut.refused > 0;
        self.judge(
            "P6 severed means severed",
            shown && settled && durable,
            format!("{} answers came for requests sent after the acknowledgement", cut.late),
        );
        let token = stage.client(&stage.support).await.is_ok();
        self.judge(
            "P6 severed means severed",
            !token,
            "a severed integration obtains no token".to_owned(),
        );
        Ok(())
    }

    /// Who was read is known, equals what the origin saw, and is proved; and the whole log holds.
    pub(crate) async fn proof(
        &mut self,
        story: &Story,
        stage: &Stage,
        abuse: &Abuse,
    ) -> Result<()> {
        story.scene(
            "5  Who was read, exactly",
            &format!("asked of the record: whom did {} read during the abuse?", stage.billing.name),
        );
        let question = json!({ "integration": stage.billing.name, "from": abuse.from.to_string(), "to": abuse.to.to_string(), "scope": SCOPE });
        let started = Instant::now();
        // A log that was tampered with may be unreadable: then there is no answer, and the story goes on to say why.
        let answer = exposure(stage, question).await;
        let took = started.elapsed();
        let recorded = answer.as_ref().map(subjects).unwrap_or_default();
        match answer {
            Ok(_) => {
                let truth = ground_truth(stage, abuse)?;
                story.line(&format!(
                    "{} subjects, answered in {:.1} ms; the origin's log and the vendor's sockets say {}",
                    recorded.len(),
                    took.as_secs_f64() * 1e3,
                    truth.len()
                ));
                let (missing, extra) =
                    (truth.difference(&recorded).count(), recorded.difference(&truth).count());
                self.judge(
                    "P7 exact and complete",
                    missing == 0 && extra == 0 && !recorded.is_empty(),
                    format!(
                        "exposure equals the origin's log: {missing} missing, {extra} too many"
                    ),
                );
            }
            Err(error) => {
                self.judge("P7 exact and complete", false, format!("no answer: {error:#}"))
            }
        }

        let keys = [node::log_key(&stage.loopback.config)?];
        let file = stage.loopback.directory.join("evidence.pcl");
        let evidence = match write_evidence(stage, &file).await {
            Ok(()) => verify::evidence(&file, &keys, &[]),
            Err(error) => Err(error),
        };
        match evidence {
            Ok(verified) => {
                let bytes = std::fs::metadata(&file).map_or(0, |meta| meta.len());
                story.line(&format!("evidence of {bytes} bytes, checked with the log's public key alone: {} records, {} subjects, none missing", verified.answer.records, verified.answer.subjects.len()));
                self.judge(
                    "P7 exact and complete",
                    verified.answer.subjects.len() == recorded.len(),
                    "the evidence bundle proves the same answer offline".to_owned(),
                );
            }
            Err(error) => {
                self.judge("P7 exact and complete", false, format!("no evidence: {error:#}"))
            }
        }
        match verify::whole_log(&stage.loopback.directory, &keys) {
            Ok(audited) => {
                story.line(&format!("the whole log replayed: {} records on {} chains, each on exactly one, under a signed checkpoint", audited.tree.size, audited.chains));
                self.judge(
                    "P8 nothing rewritten",
                    true,
                    format!("{} records replay to the signed checkpoint", audited.tree.size),
                );
            }
            Err(error) => self.judge(
                "P8 nothing rewritten",
                false,
                format!("the log does not hold: {error:#}"),
            ),
        }
        let named = holds_a_subject(stage, &recorded)?;
        self.judge(
            "P10 the log is no breach",
            !named,
            "no subject's id stands in the ledger's files".to_owned(),
        );
        Ok(())
    }

    /// Prints the verdict; true if every promise held.
    pub(crate) fn print(&self, story: &Story) -> bool {
        let all = self.rows.iter().all(|row| row.held);
        story.print("\nWhat was promised, and whether it held");
        for row in &self.rows {
            story.print(&format!(
                "  {}  {:<24}  {}",
                if row.held { "held  " } else { "BROKEN" },
                row.promise,
                row.claim
            ));
        }
        let broken: BTreeSet<_> =
            self.rows.iter().filter(|row| !row.held).map(|row| row.promise).collect();
        let verdict = if all {
            "Every promise held.".to_owned()
        } else {
            format!("Broken: {}.", broken.into_iter().collect::<Vec<_>>().join(", "))
        };
        story.print(&format!("\n{verdict} ({:.1} s)", story.started.elapsed().as_secs_f64()));
        all
    }
}

async fn exposure(stage: &Stage, question: Value) -> Result<Value> {
    stage.loopback.command(Command::ExposureQuery { question: question.to_string() }, false).await
}

async fn write_evidence(stage: &Stage, file: &std::path::Path) -> Result<()> {
    let [ana, _] = &stage.loopback.operators;
    let asked = json!({ "scope": SCOPE });
    crate::commands::write_bundle(stage.loopback.running.control, &asked, &[ana], file).await
}

fn subjects(exposure: &Value) -> BTreeSet<String> {
    let rows = exposure.get("subjects").and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(|row| row.get("id")?.as_str().map(str::to_owned)).collect()
}

fn total(exposure: &Value) -> u64 {
    exposure.pointer("/totals/subjects").and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// Who was read according to those who made the traffic: the subjects that the origin logged for requests which a client
/// of the vendor saw answered with data.
pub(super) fn ground_truth(stage: &Stage, abuse: &Abuse) -> Result<BTreeSet<String>> {
    let answered: BTreeSet<&str> = abuse
        .reads
        .iter()
        .filter(|read| read.status() == 200)
        .filter_map(|read| Some(read.answer.as_ref()?.request.as_str()))
        .collect();
    let log = std::fs::read_to_string(&stage.loopback.origin_log)
        .context("cannot read the origin's log")?;
    let mut truth = BTreeSet::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).context("the origin's log is JSON lines")?;
        if line.get("request").and_then(Value::as_str).is_some_and(|id| answered.contains(id)) {
            let subjects = line.get("subjects").and_then(Value::as_array).into_iter().flatten();
            truth.extend(subjects.filter_map(|subject| subject.as_str().map(str::to_owned)));
        }
    }
    Ok(truth)
}

/// Whether any file of the ledger holds a subject's id in clear text.
fn holds_a_subject(stage: &Stage, subjects: &BTreeSet<String>) -> Result<bool> {
    let mut folders = vec![stage.loopback.directory.join("ledger")];
    let prefix = b"acc_";
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path)?;
            for at in bytes
                .windows(prefix.len())
                .enumerate()
                .filter(|(_, window)| window == prefix)
                .map(|(at, _)| at)
            {
                let id = bytes.get(at..at + 10).map(String::from_utf8_lossy);
                if id.is_some_and(|id| subjects.contains(id.as_ref())) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Changes one byte in the middle of what the ledger holds.
pub(crate) fn flip_a_ledger_byte(stage: &Stage) -> Result<()> {
    let folder = stage.loopback.directory.join("ledger/segments");
    let mut segments: Vec<_> =
        std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    segments.sort();
    let Some(first) = segments.first() else { bail!("there is no segment to damage") };
    let bytes = std::fs::read(first)?;
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
    let file = std::fs::File::options().write(true).open(first)?;
    let at = used / 2;
    let byte = bytes.get(at).copied().unwrap_or(0);
    Ok(file.write_all_at(&[byte ^ 1], at as u64)?)
}

/// Drops the line of the origin's log that belongs to a request of the abuse.
pub(crate) fn drop_a_line(stage: &Stage, abuse: &Abuse) -> Result<()> {
    let request = abuse
        .reads
        .iter()
        .find(|read| read.status() == 200)
        .and_then(|read| Some(read.answer.as_ref()?.request.clone()));
    let request = request.context("the abuse read somebody")?;
    let log = std::fs::read_to_string(&stage.loopback.origin_log)?;
    let kept: Vec<&str> = log.lines().filter(|line| !line.contains(&request)).collect();
    Ok(std::fs::write(&stage.loopback.origin_log, kept.join("\n") + "\n")?)
}
