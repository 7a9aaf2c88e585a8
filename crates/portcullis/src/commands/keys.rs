//! `portcullis keys`: which secrets a node has, another one in place of one, and what they are sealed under.

use super::print::line as print;
use crate::config::{self, Config};
use crate::operator::OperatorKey;
use crate::{generation, keys, node};
use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use clap::{Args, Subcommand};
use comfy_table::Table;
use credential::{Algorithm, SigningKey};
use model::{Micros, UnixMicros};
use rcgen::PublicKeyData;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use storage::clock;
use storage::embedded::lock::DirectoryLock;
use storage::embedded::unavailable::OpenFailed;
use storage::secrets::{DIR, KeyFiles, TokenKeys};
use zeroize::Zeroizing;

const DAY: u64 = 86_400;

/// Longest time between publishing a token key and signing with it.
const OVERLAP_MAX: u32 = 30 * 86_400;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make the key of an auditor or witness, and print its public half
    New {
        /// Best an address without scheme, such as auditor.example/2026
        name: String,
        /// Where the secret key goes
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Every secret of the node: what for, since when, how it is kept; no secret is shown
    List {
        #[command(flatten)]
        of: Of,
        #[arg(long)]
        json: bool,
    },
    /// Put another key in place of one
    Rotate {
        #[command(subcommand)]
        which: Rotated,
    },
    /// Seal what is in the clear under the key that `[secrets]` names
    Seal(Of),
    /// Seal everything under the key that `[secrets]` names instead of that of `[secrets.former]`; the node must be stopped
    Rewrap(Of),
}

#[derive(Subcommand)]
pub(crate) enum Rotated {
    /// Signs access tokens: the next key is published when the node is reloaded, and signs after the overlap
    Token {
        #[command(flatten)]
        of: Of,
        /// How long the next key is published before it signs, such as 90s, 30m, 1h or 1d
        #[arg(long, default_value = "1h", value_parser = seconds)]
        overlap: u32,
        /// Somebody else has the key: the next one signs from the reload on, and no token of the old one is accepted any more
        #[arg(long, conflicts_with = "overlap")]
        stolen: bool,
    },
    /// Signs checkpoints and receipts: first both sign, from the node's next start on; then, with --finish, the new one alone
    Log {
        #[command(flatten)]
        of: Of,
        /// Everybody knows the new key: let it sign alone; the node must be stopped
        #[arg(long)]
        finish: bool,
    },
    /// Finds subjects' rows; cannot be rotated, and this says why
    VaultIndex,
    /// Encrypts subjects' rows; rotated by each erasure, and this says how
    VaultWrapping,
    /// The key of the TLS certificate; yours to rotate, and this says how
    Server,
    /// Who bundles are sealed to; cannot be rotated, and this says why
    Recipients,
}

/// Whose keys.
#[derive(Args)]
pub(crate) struct Of {
    /// The node's configuration file
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
    config: PathBuf,
}

impl Of {
    fn read(&self) -> Result<Config> {
        Config::read(&self.config)
    }
}

impl KeysCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// What cannot be read, written, or rotated, and why.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::New { name, output } => print(&keys::new_cosigner(&output, &name)?.to_string()),
            Self::List { of, json } => list(&of.read()?, json),
            Self::Rotate { which } => which.run(),
            Self::Seal(of) => seal(&of.read()?),
            Self::Rewrap(of) => rewrap(&of.read()?),
        }
    }
}

impl Rotated {
    fn run(self) -> Result<()> {
        match self {
            Self::Token { of, overlap, stolen } => rotate_token(&of.read()?, overlap, stolen),
            Self::Log { of, finish } => rotate_log(&of.read()?, finish),
            Self::VaultIndex => bail!(
                "the index key stays: each subject's row and each Message-ID is found by it, and pseudonyms outlive it. If it was stolen with \
                 `vault/rows`, its thief can tell whether a person is in it; sealing it anew helps nobody"
            ),
            Self::VaultWrapping => bail!(
                "an erasure rotates it: `portcullis subject erase`. All rows are written again under another key and the former is destroyed, \
                 docs/operating/erasure.md"
            ),
            Self::Server => bail!(
                "its certificate names it, so it comes from whoever issues that: put both in keys/server.pem and keys/server.key, run `portcullis \
                 keys seal` if keys are sealed, and reload the node"
            ),
            Self::Recipients => bail!(
                "a recipient has the same names for subjects in every bundle of a quarter: seal to another name, and the key is another"
            ),
        }
    }
}

fn rotate_token(config: &Config, overlap: u32, stolen: bool) -> Result<()> {
    let secret = Zeroizing::new(keys::random::<32>()?);
    let kid = TokenKeys::stage(&*config.secrets.files()?, &secret, overlap, stolen)?;
    if stolen {
        return print(&format!(
            "reload the node now (`systemctl reload portcullis`, or SIGHUP): {kid} signs from then on, and whoever has a token gets another"
        ));
    }
    print(&format!(
        "reload the node (`systemctl reload portcullis`, or SIGHUP): {kid} is published from then on, and signs {overlap} s later; the old key \
         verifies until its last token has ended"
    ))
}

fn rotate_log(config: &Config, finish: bool) -> Result<()> {
    if finish {
        generation::finish_rotation(config)?;
        return print(
            "the new key signs alone from the node's next start on; keys/log.pub has it, and keys/log.retired.pub the old one",
        );
    }
    generation::begin_rotation(config)?;
    print(
        "both keys sign checkpoints from the node's next start on; hand out keys/log.pub, then `portcullis keys rotate log --finish`",
    )
}

fn seal(config: &Config) -> Result<()> {
    let files = config.secrets.files()?;
    let clear = files.clear()?;
    let held = match DirectoryLock::take(&config.data) {
        Ok(held) => Some(held),
        // What the node writes itself it may be writing now; what was put beside that is nobody's but the operator's.
        Err(OpenFailed::Locked { .. }) if !clear.iter().any(|name| is_written_by_node(name)) => {
            None
        }
        Err(failed) => return Err(failed).context("stop the node first"),
    };
    files.seal_all(&clear, &|name| made(&config.data, name))?;
    if held.is_some() {
        files.remove_halves()?;
    }
    print(&format!(
        "sealed: {}. Copies of them in backups and snapshots are in the clear still",
        if clear.is_empty() { "nothing was in the clear".to_owned() } else { clear.join(" ") }
    ))
}

fn rewrap(config: &Config) -> Result<()> {
    let _held = DirectoryLock::take(&config.data).context("stop the node first")?;
    let written = config.secrets.files()?.rewrap()?;
    print(&format!(
        "{written} files are under another key; take `[secrets.former]` out. Older backups need the former key still"
    ))
}

fn is_written_by_node(name: &str) -> bool {
    ["log.", "token.", "vault-", "recipients/"].iter().any(|begin| name.starts_with(begin))
}

/// A file that is in the clear says when it was last written.
fn made(data: &Path, name: &str) -> u64 {
    let found = std::fs::metadata(data.join(DIR).join(name));
    found.map(|found| u64::try_from(found.mtime()).unwrap_or(0)).unwrap_or(0)
}

/// What is said of one file.
struct Row {
    file: String,
    what: &'static str,
    algorithm: String,
    /// Names the public half, if there is one.
    public: Option<String>,
    made: UnixMicros,
    sealed: Option<String>,
    /// Days that it is to be used.
    days: Option<u64>,
}

fn list(config: &Config, as_json: bool) -> Result<()> {
    let files = config.secrets.files()?;
    let now = clock::unix_now();
    let mut rows = Vec::new();
    for name in files.names()? {
        rows.push(row(config, &files, name)?);
    }
    rows.extend(operators(&config.data)?);
    if as_json {
        for row in &rows {
            print(&row.to_json(now).to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.set_header(["file", "for", "algorithm", "public half", "made", "age", "kept", "rotate"]);
    for row in &rows {
        table.add_row(row.to_cells(now));
    }
    print(&table.to_string())
}

fn row(config: &Config, files: &KeyFiles, name: String) -> Result<Row> {
    let header = files.header(&name)?;
    let made = header.map_or_else(|| made(&config.data, &name), |header| header.made);
    let (mut public, mut algorithm, mut days) = (None, String::new(), None);
    let what = match &*name {
        keys::LOG | keys::NEXT_LOG => {
            let key = node::note_key(config, &*files.read_key(&name)?)?;
            (public, algorithm) = (Some(hex(&key.id())), "Ed25519".to_owned());
            days = (name == keys::LOG).then_some(365);
            if name == keys::LOG { "signs checkpoints, receipts" } else { "is to sign checkpoints" }
        }
        "token.key" | "token.next.key" => {
            let secret = files.read(&name)?;
            let seed = Zeroizing::new(*secret.first_chunk::<32>().context("a key")?);
            let der = SigningKey::pkcs8(Algorithm::EdDsa, *seed).map(Zeroizing::new);
            let key = SigningKey::from_pkcs8(&der.context("Ed25519 signs tokens")?)?;
            (public, algorithm) = (Some(key.public().thumbprint_text()), "Ed25519".to_owned());
            days = (name == "token.key").then_some(90);
            if name == "token.key" { "signs access tokens" } else { "is to sign access tokens" }
        }
        keys::MESSAGES => {
            let key = keys::messages(files)?;
            public = Some(key.public().thumbprint_text());
            "Ed25519".clone_into(&mut algorithm);
            "signs pages, vendors' events"
        }
        "token.rotation" => "which token keys verify",
        "vault-index.key" => {
            "HMAC-SHA-256".clone_into(&mut algorithm);
            "finds subjects' rows"
        }
        "server.key" => {
            if let Ok(pair) = pair(&files.read(&name)?) {
                public = Some(fingerprint(&pair.subject_public_key_info()));
                algorithm = format!("{:?}", pair.algorithm());
            }
            "TLS"
        }
        wrapping if wrapping.starts_with("vault-wrapping.") => {
            "AES-256-GCM".clone_into(&mut algorithm);
            "encrypts subjects' rows"
        }
        recipient if recipient.starts_with("recipients/") => {
            "HMAC-SHA-256".clone_into(&mut algorithm);
            "names subjects in sealed evidence"
        }
        _ => "put there by you",
    };
    Ok(Row {
        file: name,
        what,
        algorithm,
        public,
        made: UnixMicros::from_secs(made),
        sealed: header.map(|header| header.key.to_string()),
        days,
    })
}

fn pair(pem: &[u8]) -> Result<rcgen::KeyPair> {
    Ok(rcgen::KeyPair::from_pem(str::from_utf8(pem)?)?)
}

/// The keys of people that lie here. They belong elsewhere, so they are never sealed to this node.
fn operators(data: &Path) -> Result<Vec<Row>> {
    let folder = data.join(DIR).join("operators");
    let Ok(entries) = folder.read_dir() else { return Ok(Vec::new()) };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".key"))
        .map(|name| format!("operators/{name}"))
        .collect();
    names.sort();
    let row = |file: String| {
        let key = OperatorKey::read(&data.join(DIR).join(&file))?.public_key()?;
        let made = UnixMicros::from_secs(made(data, &file));
        let (what, algorithm) = ("an operator's; take it to their machine", "Ed25519".to_owned());
        let public = Some(hex(&key));
        Ok(Row { file, what, algorithm, public, made, sealed: None, days: None })
    };
    names.into_iter().map(row).collect()
}

impl Row {
    fn age(&self, now: UnixMicros) -> u64 {
        now.since(self.made).0 / 1_000_000 / DAY
    }

    fn due(&self) -> Option<UnixMicros> {
        self.days.map(|days| self.made + Micros::from_secs(days * DAY))
    }

    fn to_json(&self, now: UnixMicros) -> serde_json::Value {
        json!({
            "file": self.file,
            "for": self.what,
            "algorithm": self.algorithm,
            "public_half": self.public,
            "made": self.made.to_string(),
            "age_days": self.age(now),
            "sealed_under": self.sealed,
            "rotation_due": self.due().map(|due| due.to_string()),
        })
    }

    fn to_cells(&self, now: UnixMicros) -> [String; 8] {
        let day = |at: UnixMicros| at.to_string().chars().take(10).collect::<String>();
        let rotate = match self.due() {
            None if self.file.starts_with("vault-wrapping.") => "by erasures".to_owned(),
            None => String::new(),
            Some(due) if due <= now => format!("overdue since {}", day(due)),
            Some(due) => format!("by {}", day(due)),
        };
        [
            self.file.clone(),
            self.what.to_owned(),
            self.algorithm.clone(),
            self.public.clone().unwrap_or_default(),
            day(self.made),
            format!("{} d", self.age(now)),
            self.sealed.as_ref().map_or("in the clear".to_owned(), |key| format!("under {key}")),
            rotate,
        ]
    }
}

fn fingerprint(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seconds(text: &str) -> Result<u32> {
    let what = "a number and s, m, h or d, such as 1h, up to 30d";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).context(what)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => bail!(what),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|&seconds| seconds <= OVERLAP_MAX).context(what)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn an_overlap_is_a_number_and_a_unit() {
        let known = [("0s", 0), ("90s", 90), ("30m", 1_800), ("1h", 3_600), ("30d", 2_592_000)];
        assert!(known.iter().all(|(text, wanted)| seconds(text).unwrap() == *wanted));
        assert!(
            ["", "h", "1", "31d", "-1s", "1 h", "9999999999s", "1ä"]
                .iter()
                .all(|wrong| seconds(wrong).is_err())
        );
    }
}
