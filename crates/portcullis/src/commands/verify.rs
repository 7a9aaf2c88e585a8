//! `portcullis verify`: offline, with public keys only.

use super::print::line as print;
use crate::verify;
use anyhow::{Context, Result};
use clap::Args;
use ledger::bundle::{Position, Seal};
use ledger::cosign::CosignerKey;
use ledger::note::VerifyingKey;
use model::ClassNumber;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Verify {
    /// An evidence bundle; or, with --full, a data directory
    path: PathBuf,
    /// The log's public key: name+id+base64, or a file that holds it
    #[arg(long, required = true)]
    key: Vec<String>,
    /// An auditor's public key, of type 04: name+id+base64, or a file that holds it. Whose cosignature is taken for a replay
    #[arg(long)]
    auditor: Vec<String>,
    /// What opens one touch of a sealed bundle
    #[arg(long, conflicts_with = "full")]
    opening: Option<PathBuf>,
    /// Replay the whole log: every entry on exactly one chain, every sum right
    #[arg(long)]
    full: bool,
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Checks and prints what was proved.
    ///
    /// # Errors
    /// What is wrong, by name.
    pub(crate) fn run(&self) -> Result<()> {
        let keys: Vec<VerifyingKey> =
            self.key.iter().map(|key| read_key(key)).collect::<Result<_>>()?;
        if self.full {
            let audited = verify::whole_log(&self.path, &keys)?;
            let said = json!({ "schema": "portcullis.audited/1", "records": audited.tree.size, "chains": audited.chains });
            let text = format!(
                "{} records on {} chains, each on exactly one: the log is what its checkpoint signs",
                audited.tree.size, audited.chains
            );
            return print(&if self.json { said.to_string() } else { text });
        }
        let auditors: Vec<CosignerKey> =
            self.auditor.iter().map(|key| read_auditor(key)).collect::<Result<_>>()?;
        let (verified, opened) = match &self.opening {
            None => (verify::evidence(&self.path, &keys, &auditors)?, None),
            Some(opening) => {
                let (verified, opened) = verify::opening(&self.path, opening, &keys, &auditors)?;
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
    let text = std::fs::read_to_string(text).unwrap_or_else(|_| text.to_owned());
    CosignerKey::parse(text.trim()).with_context(|| format!("`{}`", text.trim()))
}

/// A key as typed, or from a file.
fn read_key(text: &str) -> Result<VerifyingKey> {
    let text = std::fs::read_to_string(text).unwrap_or_else(|_| text.to_owned());
    VerifyingKey::parse(text.trim()).with_context(|| format!("`{}`", text.trim()))
}
