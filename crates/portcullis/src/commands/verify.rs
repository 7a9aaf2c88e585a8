//! `portcullis verify`: with public keys only. What it is given it tells from the thing itself.

use super::print::line as print;
use crate::keys;
use crate::verify::{self, Keys, Log, Progress, Signed, is_address};
use anyhow::{Context, Result, bail};
use clap::Args;
use ledger::bundle::{Position, Seal};
use ledger::cosign::{self, CosignerKey};
use ledger::growth;
use ledger::proof::{self, Proved};
use ledger::receipt::{self, Standing};
use ledger::record::Kind;
use model::{ClassNumber, UnixMicros};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use storage::clock;

#[derive(Args)]
pub(crate) struct Verify {
    /// A log (its address, a data directory, or a copy of its checkpoint and tiles), or a file: an evidence bundle, a tlog-proof,
    /// a checkpoint. Several bundles, one of each log that a window reaches over, are checked one by one
    #[arg(required = true)]
    what: Vec<String>,
    /// The log's public key, name+id+base64, or a file of it; keys of witnesses and auditors too
    #[arg(long, required = true)]
    key: Vec<String>,
    /// An auditor's public key, of type 04: name+id+base64, or a file that holds it. Whose cosignature is taken for a replay
    #[arg(long)]
    auditor: Vec<String>,
    /// What opens one touch of a sealed bundle
    #[arg(long, conflicts_with = "full")]
    opening: Option<PathBuf>,
    /// A checkpoint of the log that was kept: prove that nothing before it was changed or removed
    #[arg(long, conflicts_with = "receipt")]
    since: Option<PathBuf>,
    /// Replay the whole log of a data directory: every entry on exactly one chain, every sum right
    #[arg(long, conflicts_with_all = ["since", "receipt"])]
    full: bool,
    /// After --full: cosign the checkpoint with this auditor's key file
    #[arg(long, requires = "full")]
    cosign: Option<PathBuf>,
    /// Check that the log kept this Portcullis-Receipt: the header's value, or a file of it
    #[arg(long)]
    receipt: Option<String>,
    /// Where to keep the checkpoint that was checked, for --since
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Checks and prints what was proved.
    ///
    /// # Errors
    /// What is wrong, by name.
    pub(crate) fn run(&self) -> Result<()> {
        let keys = Keys::read(&self.key)?;
        let one = self.what.len() == 1;
        let of_one = [&self.opening, &self.since, &self.output].into_iter().any(Option::is_some);
        if !one && (of_one || self.full || self.receipt.is_some()) {
            bail!(
                "`--opening`, `--since`, `--full`, `--receipt` and `--output` are for one thing at a time"
            );
        }
        self.what.iter().try_for_each(|what| {
            let checked = self.check(what, &keys);
            if one { checked } else { checked.with_context(|| format!("`{what}`")) }
        })
    }

    fn check(&self, what: &str, keys: &Keys) -> Result<()> {
        if let Some(receipt) = &self.receipt {
            return self.receipt(what, receipt, keys);
        }
        if self.full {
            return self.audit(what, keys);
        }
        let path = Path::new(what);
        if is_address(what) || path.is_dir() {
            return self.log(what, keys);
        }
        let bytes = std::fs::read(path).with_context(|| format!("cannot read `{what}`"))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.starts_with(proof::FIRST_LINE) => self.proof(text, keys),
            Ok(text) if text.contains("\n\n\u{2014} ") => {
                let signed = Signed::open(text.to_owned(), keys)?;
                self.say(&signed, json!({ "schema": "portcullis.checkpoint/1" }), &[])
            }
            _ => self.evidence(path, keys),
        }
    }

    /// What a log's files show.
    fn log(&self, what: &str, keys: &Keys) -> Result<()> {
        let log = Log::open(what, keys)?;
        let checkpoint = &log.signed.checkpoint;
        let mut said = Vec::new();
        let mut since = None;
        if let Some(file) = &self.since {
            let earlier = Signed::read(file, keys)?.checkpoint;
            growth::grown(&earlier, checkpoint, &mut log.tiles()?)
                .map_err(|error| log.why(error.into()))?;
            since = Some(earlier.tree.size);
            said.push(format!(
                "it grew from {} records, of which none was changed or removed",
                earlier.tree.size
            ));
        }
        let mut progress = Progress::of(checkpoint.tree.size, "entries read");
        growth::entries_follow(checkpoint, &mut log.tiles()?, |at| progress.at(at))
            .map_err(|error| log.why(error.into()))?;
        let ends = growth::last_header(&mut log.tiles()?)?.map(|header| header.time.to_string());
        drop(progress);
        if let Some(ends) = &ends {
            said.push(format!("every entry follows the one before it on its chain, up to {ends}"));
        }
        let json = json!({ "schema": "portcullis.log/1", "since": since, "ends": ends });
        self.say(&log.signed, json, &said)
    }

    fn audit(&self, what: &str, keys: &Keys) -> Result<()> {
        let directory = Path::new(what);
        if !directory.join("ledger").is_dir() {
            bail!("`--full` takes a data directory: what others are served holds no bodies");
        }
        let Signed { note, checkpoint, .. } = Log::open(what, keys)?.signed;
        let audited = verify::replay(directory, &checkpoint)?;
        let mut note = note;
        if let Some(path) = &self.cosign {
            let auditor = keys::read_cosigner(path)?;
            let key = auditor.key()?;
            let line = auditor.cosign(&note, clock::unix_now().0 / 1_000_000)?;
            note = cosign::add(&note, &line, std::slice::from_ref(&key))?;
        }
        self.keep(&note)?;
        let text = format!(
            "{} records on {} chains, each on exactly one: the log is what its checkpoint signs",
            audited.tree.size, audited.chains
        );
        if self.json {
            let thinned = audited.thinned.map(|thinned| {
                json!({ "records": thinned.records, "first": thinned.first, "last": thinned.last, "until": thinned.until.to_string() })
            });
            let said = json!({ "schema": "portcullis.audited/1", "records": audited.tree.size, "chains": audited.chains, "thinned": thinned, "checkpoint": note });
            return print(&said.to_string());
        }
        print(&text)?;
        if let Some(thinned) = audited.thinned {
            print(&format!(
                "{} of them, from {} to {}, were thinned by retention up to {}, as the log says: entries, places and times were verified, bodies and touches are gone and were not",
                thinned.records, thinned.first, thinned.last, thinned.until
            ))?;
        }
        if self.cosign.is_some() && self.output.is_none() {
            print(&format!("the checkpoint, cosigned:\n\n{note}"))?;
        }
        Ok(())
    }

    fn receipt(&self, what: &str, given: &str, keys: &Keys) -> Result<()> {
        let header = std::fs::read_to_string(given).unwrap_or_else(|_| given.to_owned());
        let header = header.trim();
        let header = match header.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("portcullis-receipt") => value.trim(),
            _ => header,
        };
        let promise = receipt::verify(header, &keys.logs)?;
        let log = Log::open(what, keys)?;
        let checkpoint = &log.signed.checkpoint;
        let now_secs = clock::unix_now().0 / 1_000_000;
        let standing = receipt::stands(&promise, checkpoint, &mut log.tiles()?, now_secs)
            .map_err(|error| log.why(error.into()))?;
        let (index, size) = (promise.index, checkpoint.tree.size);
        let deadline = UnixMicros(promise.deadline_secs.saturating_mul(1_000_000));
        let (word, text) = match standing {
            Standing::Included => {
                ("included", format!("included: record {index} of {size} is the one promised"))
            }
            Standing::NotDue => (
                "not_due",
                format!(
                    "not due: record {index} is not in the {size} records yet, and does not have to be before {deadline}"
                ),
            ),
            Standing::Overdue => bail!(
                "overdue: record {index} was due at {deadline} and the log has shown nothing since, its checkpoint is of {size} records. The next checkpoint proves the one or the other"
            ),
        };
        self.keep(&log.signed.note)?;
        if self.json {
            let said = json!({ "schema": "portcullis.receipt/1", "log": promise.origin, "index": index, "standing": word, "deadline": deadline.to_string(), "tree_size": size });
            return print(&said.to_string());
        }
        print(&text)
    }

    fn proof(&self, text: &str, keys: &Keys) -> Result<()> {
        let Proved { index, header, leaf, .. } = proof::verify(text, &keys.logs)?;
        let signed = Signed::open(proof::note_of(text)?.to_owned(), keys)?;
        let (kind, chain, time) = (word(header.kind), header.chain, header.time);
        let leaf: String = leaf.iter().map(|byte| format!("{byte:02x}")).collect();
        let json = json!({
            "schema": "portcullis.proved/1", "index": index, "kind": kind, "chain": chain.to_string(),
            "sequence": header.sequence, "time": time.to_string(), "leaf": leaf,
        });
        let said = format!(
            "record {index} is in it: {kind}, number {} of chain {chain}, at {time}, leaf {leaf}",
            header.sequence
        );
        self.say(&signed, json, &[said])
    }

    fn evidence(&self, file: &Path, keys: &Keys) -> Result<()> {
        let auditors: Vec<CosignerKey> =
            self.auditor.iter().map(|key| read_auditor(key)).collect::<Result<_>>()?;
        let (verified, opened) = match &self.opening {
            None => (verify::evidence(file, &keys.logs, &auditors)?, None),
            Some(opening) => {
                let (verified, opened) = verify::opening(file, opening, &keys.logs, &auditors)?;
                (verified, Some(opened))
            }
        };
        let level = verified.level.as_str();
        let question = &verified.question;
        let integrations = question
            .integrations
            .as_ref()
            .map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        let records = verified.answer.records;
        let seal = verified.seal.as_ref();
        let subjects = seal.map_or(verified.answer.subjects.len(), |seal| seal.tokens.len());
        if self.json {
            return print(&json!({
                "schema": "portcullis.verified/1",
                "log": verified.origin,
                "level": level,
                "vendor": verified.vendor.map(|vendor| vendor.to_string()),
                "recipient": seal.map(|seal| &seal.recipient),
                "touches": seal.map(Seal::touches),
                "tokens": seal.map(tokens),
                "opened": opened.map(|opened| json!({ "token": hex(&opened.token.0), "classes": opened.classes.iter().map(ClassNumber::index).collect::<Vec<_>>() })),
                "tree_size": verified.tree.size,
                "as_of": verified.as_of.to_string(),
                "from_the_beginning": verified.from_the_beginning,
                "question": { "integrations": integrations, "from": question.from.to_string(), "to": question.to.to_string() },
                "records": records,
                "subjects": subjects,
            }).to_string());
        }
        let whose = integrations.map_or("every integration".to_owned(), |ids| ids.join(", "));
        print(&format!(
            "log {} at {} records, as of {}",
            verified.origin, verified.tree.size, verified.as_of
        ))?;
        print(&format!("asked: what {whose} read from {} to {}", question.from, question.to))?;
        if question.classes.is_some() || question.networks.is_some() {
            print("asked with a filter by class or network; --json has no less")?;
        }
        let first_generation = verified.origin.rsplit('/').next() == Some("1");
        if verified.from_the_beginning && !first_generation {
            print(
                "the window is bounded by the log's beginning, and this log is not the first generation: nothing is said of the time before its first record",
            )?;
        }
        if let Some(vendor) = verified.vendor {
            print(&format!(
                "each record says that they are vendor {vendor}'s; that they are all of its integrations, the operator says"
            ))?;
        }
        let Some(seal) = seal else {
            return print(&format!(
                "proved, {level}: {records} records, {subjects} subjects, and none missing"
            ));
        };
        print(&format!(
            "proved, {level}: {records} records, {} touches, and none missing",
            seal.touches()
        ))?;
        print(&format!(
            "sealed to {}: that the touches are of {subjects} subjects, the operator says",
            seal.recipient
        ))?;
        match opened {
            None => Ok(()),
            Some(opened) => print(&format!(
                "opened: a touch of subject {}, classes {:?} by number",
                hex(&opened.token.0),
                opened.classes
            )),
        }
    }

    /// Prints who signed a checkpoint, what else was proved, and the checkpoint itself, which is what to keep.
    fn say(&self, signed: &Signed, mut json: Value, said: &[String]) -> Result<()> {
        let Signed { note, checkpoint, cosigned } = signed;
        self.keep(note)?;
        let at = |secs: u64| UnixMicros(secs.saturating_mul(1_000_000)).to_string();
        if self.json {
            let by: Vec<_> = cosigned
                .iter()
                .map(|by| json!({ "name": by.name, "time": at(by.time_secs) }))
                .collect();
            if let Some(members) = json.as_object_mut() {
                members.insert("log".into(), checkpoint.origin.clone().into());
                members.insert("tree_size".into(), checkpoint.tree.size.into());
                members.insert("cosigned".into(), by.into());
                members.insert("checkpoint".into(), note.clone().into());
            }
            return print(&json.to_string());
        }
        print(&format!("log {} at {} records", checkpoint.origin, checkpoint.tree.size))?;
        for by in cosigned {
            print(&format!("cosigned by {} at {}", by.name, at(by.time_secs)))?;
        }
        for line in said {
            print(line)?;
        }
        match &self.output {
            Some(_) => Ok(()),
            None => print(&format!("keep this checkpoint, for --since:\n\n{note}")),
        }
    }

    fn keep(&self, note: &str) -> Result<()> {
        let Some(path) = &self.output else { return Ok(()) };
        std::fs::write(path, note).with_context(|| format!("cannot write `{}`", path.display()))
    }
}

/// A kind of record, as JSON and people have it.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Access => "access",
        Kind::Attempt => "attempt",
        Kind::Refusal => "refusal",
        Kind::NotReleased => "not-released",
        Kind::UnauthenticatedRefusals => "unauthenticated refusals",
        Kind::Posture => "posture",
        Kind::OperatorAction => "operator action",
        Kind::Vetting => "vetting",
        Kind::Node => "node",
        Kind::Heads => "heads",
    }
}

/// Where each subject's touches stand: run, sequence number, place in the record.
fn tokens(seal: &Seal) -> Value {
    let positions = |all: &Vec<Position>| -> Vec<[u64; 3]> {
        all.iter().map(|at| [at.run, at.sequence, at.touch]).collect()
    };
    seal.tokens.iter().map(|(token, all)| (hex(&token.0), json!(positions(all)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An auditor's key as typed, or from a file.
fn read_auditor(text: &str) -> Result<CosignerKey> {
    let line = verify::lines_of(text)?;
    CosignerKey::parse(line.trim()).map_err(|_| verify::not_public(text, line.trim()))
}
