//! Answers from the record: who was read, and the file that proves it. Both read the log as it is on disk.

use crate::answers::Wanted;
use exposure::index::Counted;
use exposure::{Listed, Question};
use ledger::bundle::{self, CannotProve, Level, Position, Recipient};
use ledger::note::VerifyingKey;
use ledger::record::{Body, Chain, Header};
use model::{
    ClassSet, DataClass, IntegrationId, Outcome, Pseudonym, Refusal, SubjectId, UnixMicros,
    VendorId,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::io::BufWriter;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use storage::embedded::disk::LocalDisk;
use storage::embedded::evidence::{self, NoBundle};
use storage::embedded::view::LogView;
use storage::embedded::{CannotIndex, Logs, Vault};
use storage::registry::{Named, Snapshot};
use storage::secrets::{BadSecret, KeyFiles};

/// The log, the vault and the place for frozen scopes, as questions need them.
pub struct Archive {
    /// Reads records, the live tail included.
    pub view: LogView,
    /// Knows whose a pseudonym is.
    pub vault: Arc<Vault>,
    /// Answers without reading every record, from every log there is.
    pub logs: Arc<Logs>,
    /// Checks the log's own checkpoints.
    pub keys: Vec<VerifyingKey>,
    /// The generations of the log before, by number.
    pub former: BTreeMap<u64, Former>,
    /// Where scopes are kept.
    pub scopes: PathBuf,
    /// The directory of addresses, which says who lives where.
    pub addresses: PathBuf,
    /// Keeps the keys of those to whom bundles are sealed.
    pub secrets: Arc<KeyFiles>,
}

/// A generation of the log before the one in use.
pub struct Former {
    /// The data directory where what was kept of it is.
    pub root: PathBuf,
    /// Checks its checkpoints.
    pub keys: Vec<VerifyingKey>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CannotAnswer {
    /// It cannot be understood; whoever asked is at fault.
    #[error("{0}")]
    Question(String),
    /// The log cannot be read: look at it before anything else.
    #[error("the log cannot be read: {0}")]
    Log(String),
    /// No proof can be made.
    #[error("no evidence can be made: {0}")]
    NoProof(String),
    /// A scope of that name exists, or cannot be kept.
    #[error("the scope cannot be kept: {0}")]
    Scope(String),
    /// The directory of addresses cannot be read.
    #[error("the directory of addresses cannot be read: {0}")]
    Addresses(String),
    /// As many questions as may be are being answered.
    #[error("other questions are being answered; ask again when they are")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

impl From<CannotIndex> for CannotAnswer {
    fn from(error: CannotIndex) -> Self {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Log(format!("{error}{}", source.unwrap_or_default()))
    }
}

/// What an integration did in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Requests that were fit to be answered.
    pub(crate) asked: u64,
    /// Requests for what the contract or its grant does not have, or for a decoy.
    pub(crate) unfit: u64,
}

/// A question as an operator wrote it. Members left out are no filter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    integration: Option<String>,
    vendor: Option<String>,
    credential: Option<String>,
    grant: Option<String>,
    operation: Option<String>,
    network: Option<String>,
    class: Option<String>,
    subject: Option<String>,
    from: Option<String>,
    to: Option<String>,
    scope: Option<String>,
    #[serde(default)]
    answer: Wanted,
    difference: Option<(String, String)>,
    recipient: Option<String>,
    checkpoint: Option<String>,
    generation: Option<u64>,
    open: Option<[u64; 3]>,
}

/// Who was read, and where that is frozen.
pub struct Found {
    /// What was asked, with a subject by every pseudonym.
    pub question: Question,
    /// Who was read.
    pub listed: Listed,
    /// Where it is frozen, if it is to be.
    pub scope: Option<exposure::Scope>,
}

/// A question that can be asked of the log.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// What of it is wanted.
    pub wanted: Wanted,
    pub(crate) subject: Option<SubjectId>,
    /// For [`Wanted::Held`]: how many days each integration's vendor keeps what it read.
    pub(crate) retention: BTreeMap<IntegrationId, u32>,
    /// Two frozen scopes to be held against each other, instead of anything else.
    pub(crate) difference: Option<(String, String)>,
    /// The scope it names: where an exposure is to be frozen, or what evidence is to be about.
    pub scope: Option<String>,
    /// How evidence of it is to be written.
    pub form: Form,
}

/// How evidence is to be written.
#[derive(Debug, Default)]
pub struct Form {
    /// The vendor whose integrations were asked for.
    vendor: Option<VendorId>,
    /// For whom the touches are to be sealed.
    recipient: Option<String>,
    /// The touch of the sealed bundle that is to be opened, instead of the bundle.
    open: Option<Position>,
    /// The checkpoint to prove it under, cosigned by an auditor; the last one published if there is none.
    checkpoint: Option<String>,
    /// The generation before that it is of; of the log in use if there is none.
    generation: Option<u64>,
}

impl Asked {
    /// Reads a question written as JSON; slugs and class names are looked up in `snapshot`. A window without an end ends `now`.
    ///
    /// # Errors
    /// [`CannotAnswer::Question`] says what cannot be understood.
    pub fn read(json: &str, snapshot: &Snapshot, now: UnixMicros) -> Result<Self, CannotAnswer> {
        let written: Written = serde_json::from_str(json)
            .map_err(|error| CannotAnswer::Question(error.to_string()))?;
        let directory = &snapshot.directory;
        let unknown = |what: &str, name: &str| {
            CannotAnswer::Question(format!("{what} `{name}` is not registered"))
        };
        let mut integrations: Option<BTreeSet<IntegrationId>> = None;
        let mut form = Form {
            vendor: None,
            recipient: written.recipient.clone(),
            checkpoint: written.checkpoint.clone(),
            generation: written.generation,
            open: written.open.map(|[run, sequence, touch]| Position { run, sequence, touch }),
        };
        if let Some(name) = &written.integration {
            let id = Named::<IntegrationId>::parse(name).and_then(|named| named.resolve(directory));
            integrations = Some(BTreeSet::from([id.ok_or_else(|| unknown("integration", name))?]));
        }
        if let Some(name) = &written.vendor {
            let id = Named::<VendorId>::parse(name).and_then(|named| named.resolve(directory));
            let id = id.ok_or_else(|| unknown("vendor", name))?;
            form.vendor = Some(id);
            let theirs = directory
                .integrations
                .values()
                .filter(|integration| integration.vendor == id)
                .map(|i| i.id);
            let theirs: BTreeSet<_> = theirs
                .filter(|id| integrations.as_ref().is_none_or(|wanted| wanted.contains(id)))
                .collect();
            integrations = Some(theirs);
        }
        let question = Question {
            integrations,
            credentials: id_set(written.credential.as_deref(), "credential")?,
            grants: id_set(written.grant.as_deref(), "grant")?,
            operations: written
                .operation
                .as_deref()
                .map(operation)
                .transpose()?
                .map(|id| BTreeSet::from([id])),
            networks: written
                .network
                .as_deref()
                .map(network)
                .transpose()?
                .map(|net| BTreeSet::from([net])),
            classes: written.class.as_deref().map(|name| classes(name, snapshot)).transpose()?,
            pseudonyms: None,
            from: time(written.from.as_deref(), UnixMicros(0))?,
            to: time(written.to.as_deref(), now)?,
        };
        if question.from > question.to {
            let (from, to) = (question.from, question.to);
            return Err(CannotAnswer::Question(format!(
                "the window from {from} to {to} ends before it begins"
            )));
        }
        let subject = written.subject.map(|id| {
            SubjectId::new(&id)
                .ok_or_else(|| CannotAnswer::Question("that is not a subject id".into()))
        });
        Ok(Self {
            question,
            wanted: written.answer,
            subject: subject.transpose()?,
            retention: BTreeMap::new(),
            difference: written.difference,
            scope: written.scope,
            form,
        })
    }
}

impl Asked {
    /// Whether its answer leaves something in the data directory: a scope, or a recipient's key.
    pub(crate) const fn leaves_something(&self) -> bool {
        self.scope.is_some() || self.form.recipient.is_some()
    }
}

impl Archive {
    /// Who was read.
    ///
    /// # Errors
    /// [`CannotAnswer`].
    pub fn exposure(&self, asked: &Asked, snapshot: &Snapshot) -> Result<Found, CannotAnswer> {
        let Form { recipient, checkpoint, generation, .. } = &asked.form;
        if recipient.is_some() || checkpoint.is_some() || generation.is_some() {
            let wrong = "an exposure has no recipient, checkpoint and generation; evidence has";
            return Err(CannotAnswer::Question(wrong.into()));
        }
        let question = self.named(asked);
        if asked.scope.is_some()
            && let [gap, ..] = self.gaps(&question)?.as_slice()
        {
            // Letters, filings and evidence would speak of it as if it were whole.
            return Err(CannotAnswer::Scope(format!(
                "the record of this window has a gap, so it is not frozen: {}. Freeze a window without it",
                gap.get("why").and_then(Value::as_str).unwrap_or("?")
            )));
        }
        let listed = self.who(asked)?;
        let scope = asked
            .scope
            .as_deref()
            .map(|name| self.freeze(name, &question, &listed, snapshot))
            .transpose()?;
        Ok(Found { question, listed, scope })
    }

    /// The question that a frozen scope answers: its latest version.
    ///
    /// # Errors
    /// [`CannotAnswer::Scope`] if there is none of that name.
    pub fn question_of(&self, name: &str, snapshot: &Snapshot) -> Result<Asked, CannotAnswer> {
        let missing = || CannotAnswer::Scope(format!("there is no scope `{name}`"));
        let version = self.latest(name)?.ok_or_else(missing)?;
        let file = self.scopes.join(format!("{name}.{version}.json"));
        let frozen = std::fs::read_to_string(file)
            .map_err(|error| CannotAnswer::Scope(error.to_string()))?;
        let frozen: Value = serde_json::from_str(&frozen)
            .map_err(|error| CannotAnswer::Scope(error.to_string()))?;
        let one = |what: &str| -> Result<Option<String>, CannotAnswer> {
            match frozen
                .pointer(&format!("/question/{what}"))
                .and_then(Value::as_array)
                .map(Vec::as_slice)
            {
                None => Ok(None),
                Some([only]) => Ok(only.as_str().map(str::to_owned)),
                Some(_) => Err(CannotAnswer::NoProof(format!(
                    "the scope has several {what}; ask for them one by one"
                ))),
            }
        };
        if frozen.pointer("/question/pseudonyms").is_some_and(Value::is_array) {
            let wrong = "the scope is of one subject, and evidence is of everybody in a window";
            return Err(CannotAnswer::NoProof(wrong.into()));
        }
        let text = |pointer: &str| frozen.pointer(pointer).and_then(Value::as_str);
        let question = json!({
            "credential": one("credentials")?,
            "grant": one("grants")?,
            "operation": one("operations")?,
            "network": one("networks")?,
            "from": text("/window/from"),
            "to": text("/window/to"),
        });
        let mut asked = Asked::read(&question.to_string(), snapshot, storage::clock::unix_now())?;
        let integrations = frozen.pointer("/question/integrations").and_then(Value::as_array);
        asked.question.integrations =
            integrations.map(|ids| ids.iter().filter_map(|id| id.as_str()?.parse().ok()).collect());
        let classes = frozen.pointer("/question/classes").and_then(Value::as_array);
        let number = |name: &Value| {
            let class = DataClass::new(name.as_str()?)?;
            snapshot.classes.number(&class)
        };
        asked.question.classes = classes
            .map(|names| {
                let unknown = || CannotAnswer::Scope("it names a class that nobody knows".into());
                names.iter().map(|name| number(name).ok_or_else(unknown)).collect()
            })
            .transpose()?;
        Ok(asked)
    }

    /// Whether the log's last checkpoint is too old for what is asked: no heads under it are as young as the window's end. Such heads come with
    /// the next record, whenever that is.
    pub(crate) fn ends_too_early(&self, note: Option<&str>, asked: &Asked) -> bool {
        let Form { checkpoint: None, generation: None, .. } = asked.form else { return false };
        let end = || last_time(&self.view, self.records_under(note?)?);
        end().is_none_or(|end| end < asked.question.to)
    }

    /// How many records a checkpoint of this log covers.
    pub(crate) fn records_under(&self, note: &str) -> Option<u64> {
        Some(ledger::checkpoint::open(note, &self.keys).ok()?.tree.size)
    }

    /// The evidence bundle for a question, or the touch of it that is to be opened. `note`: the last checkpoint.
    ///
    /// # Errors
    /// [`CannotAnswer`].
    pub fn evidence(&self, asked: &Asked, note: Option<&str>) -> Result<Vec<u8>, CannotAnswer> {
        let not_provable = || {
            CannotAnswer::NoProof("evidence covers integrations, classes, networks and a window; ask without the other filters".into())
        };
        let question = asked
            .question
            .provable()
            .filter(|_| asked.subject.is_none())
            .ok_or_else(not_provable)?;
        let former = asked.form.generation.map(|number| self.generation(number)).transpose()?;
        let (view, keys, note) = match &former {
            Some((view, keys, note)) => (view, *keys, Some(&**note)),
            None => (&self.view, &self.keys[..], note),
        };
        let cosigned = asked.form.checkpoint.as_deref();
        let note = cosigned.or(note).ok_or_else(|| {
            CannotAnswer::NoProof("there is no checkpoint yet; ask again in a second".into())
        })?;
        let level = match cosigned {
            Some(_) => Level::AuditorCosigned,
            None => Level::OperatorAsserted,
        };
        let recipient = asked.form.recipient.as_deref();
        let recipient = recipient.map(|name| self.recipient(name)).transpose()?;
        let form = bundle::Form { vendor: asked.form.vendor, recipient, level };
        let failed = |error| match error {
            NoBundle::CannotProve(CannotProve::Corrupt(_)) | NoBundle::Log(_) => {
                CannotAnswer::Log(with_source(&error))
            }
            NoBundle::CannotProve(_) | NoBundle::Tiles(_) => {
                let more = match &error {
                    NoBundle::CannotProve(CannotProve::BeforeGeneration { .. }) => {
                        ", and for what was before with `--generation`: a bundle is of one log, one checkpoint. `portcullis verify` takes several".to_owned()
                    }
                    NoBundle::CannotProve(CannotProve::NotYet) if former.is_some() => {
                        last_time(view, view.end().records).map_or_else(String::new, |last| {
                            format!(": that generation ends at {last}, ask for a window up to then")
                        })
                    }
                    NoBundle::CannotProve(_) | NoBundle::Tiles(_) | NoBundle::Log(_) => String::new(),
                };
                CannotAnswer::NoProof(with_source(&error) + &more)
            }
        };
        let Some(position) = asked.form.open else {
            return evidence::build(view, &question, &form, note, keys).map_err(failed);
        };
        let opening =
            evidence::open(view, &question, &form, note, keys, position).map_err(failed)?;
        let nothing = || CannotAnswer::Question("no touch stands there".into());
        Ok(opening.ok_or_else(nothing)?.to_bytes())
    }

    /// A generation before, its keys and its last checkpoint.
    fn generation(&self, number: u64) -> Result<(LogView, &[VerifyingKey], String), CannotAnswer> {
        let none =
            || CannotAnswer::Question(format!("there is no generation {number} before this log"));
        let Former { root, keys } = self.former.get(&number).ok_or_else(none)?;
        let failed = |error: &dyn std::fmt::Display| {
            CannotAnswer::Log(format!("`{}`: {error}", root.display()))
        };
        let note = std::fs::read_to_string(root.join("ledger/checkpoint"));
        let note = note.map_err(|error| failed(&error))?;
        let disk = LocalDisk::new(root).map_err(|error| failed(&error))?;
        let view = LogView::at_rest(Arc::new(disk)).map_err(|error| failed(&error))?;
        Ok((view, keys, note))
    }

    /// Somebody to whom bundles are sealed, with the key that is theirs from the first bundle on.
    fn recipient(&self, name: &str) -> Result<Recipient, CannotAnswer> {
        let name = check_name(name)?.to_owned();
        let failed =
            |error: BadSecret| CannotAnswer::NoProof(format!("no key for `{name}`: {error}"));
        let file = format!("recipients/{name}.key");
        if let Some(key) = self.secrets.read_key_if_there(&file).map_err(failed)? {
            return Ok(Recipient { name, key: *key });
        }
        let key = storage::clock::random();
        // A key that is lost would give its recipient other tokens the next time.
        self.secrets.replace(&file, &key).map_err(failed)?;
        Ok(Recipient { name, key })
    }

    /// The bytes of a frozen scope.
    ///
    /// # Errors
    /// [`CannotAnswer::Scope`] if there is no such file.
    pub(crate) fn frozen(&self, name: &str, version: u64) -> Result<Vec<u8>, CannotAnswer> {
        let file = self.scopes.join(format!("{}.{version}.json", check_name(name)?));
        std::fs::read(file).map_err(|error| CannotAnswer::Scope(error.to_string()))
    }

    /// Hands each record of a window, with its index, to `visit`.
    ///
    /// # Errors
    /// [`CannotAnswer::Log`].
    pub(crate) fn each_record(
        &self,
        from: UnixMicros,
        until: UnixMicros,
        visit: &mut dyn FnMut(u64, &ledger::Record),
    ) -> Result<(), CannotAnswer> {
        let failed = |error: &dyn std::fmt::Display| CannotAnswer::Log(error.to_string());
        for record in self.view.records_since(from) {
            let (index, stored) = record.map_err(|error| failed(&error))?;
            if stored.is_thinned() {
                // Who asks has seen to it that the window does not need it.
                continue;
            }
            let record = stored.decode().map_err(|error| failed(&error))?;
            if record.header.time > until {
                break;
            }
            if record.header.time >= from {
                visit(index, &record);
            }
        }
        Ok(())
    }

    /// What an integration asked for since `since`.
    ///
    /// # Errors
    /// [`CannotAnswer::Log`].
    pub(crate) fn tried(
        &self,
        integration: IntegrationId,
        since: UnixMicros,
    ) -> Result<Tried, CannotAnswer> {
        let failed = |error: &dyn std::fmt::Display| CannotAnswer::Log(error.to_string());
        let mut tried = Tried::default();
        for record in self.view.records_since(since) {
            let record = record.map_err(|error| failed(&error))?.1;
            if record.is_thinned() {
                // Nobody knows any more what it asked for; it counts neither way.
                continue;
            }
            let record = record.decode().map_err(|error| failed(&error))?;
            let theirs = record.header.chain == Chain::Integration(integration);
            let Body::Access(access) = &record.body else { continue };
            if !theirs || record.header.time < since {
                continue;
            }
            match access.outcome {
                // Somebody it may not see looks like nobody: it asked as it should all the same.
                Outcome::Released | Outcome::Refused(Refusal::NotFound) => tried.asked += 1,
                Outcome::Refused(
                    Refusal::UnknownOperation | Refusal::Honey | Refusal::NotPermitted,
                ) => tried.unfit += 1,
                Outcome::Attempted | Outcome::Refused(_) => {}
            }
        }
        Ok(tried)
    }

    /// The question as the answer states it: a subject by every pseudonym it has had.
    fn named(&self, asked: &Asked) -> Question {
        let mut question = asked.question.clone();
        question.pseudonyms =
            asked.subject.as_ref().map(|subject| self.pseudonyms_of(subject, &question));
        question
    }

    fn who(&self, asked: &Asked) -> Result<Listed, CannotAnswer> {
        let counted = match &asked.subject {
            None => self.logs.count(&asked.question)?,
            Some(subject) => match self.vault.ordinal(subject) {
                None => Counted::default(),
                Some(ordinal) => {
                    let history = self.logs.history(ordinal, &asked.question)?;
                    let history: Vec<_> = history.into_iter().map(|(_, touched)| touched).collect();
                    Counted::of_one(ordinal, &history)
                }
            },
        };
        Listed::from_counted(counted, |ordinal| self.vault.subject(ordinal))
            .map_err(|error| CannotAnswer::Log(error.to_string()))
    }

    /// The latest version of a frozen scope; `None` if there is none of that name.
    pub(crate) fn latest(&self, name: &str) -> Result<Option<u64>, CannotAnswer> {
        Ok(self.next_version(check_name(name)?).checked_sub(1).filter(|version| *version > 0))
    }

    fn next_version(&self, name: &str) -> u64 {
        let exists = |version: &u64| self.scopes.join(format!("{name}.{version}.json")).exists();
        (1..).find(|version| !exists(version)).unwrap_or(1)
    }

    /// Every pseudonym a subject had in the quarters of a window.
    fn pseudonyms_of(&self, subject: &SubjectId, question: &Question) -> BTreeSet<Pseudonym> {
        let now = storage::clock::unix_now();
        let (first, last) =
            (question.from.quarter().saturating_sub(1), question.to.min(now).quarter());
        (first..=last).filter_map(|quarter| self.vault.pseudonym_of(subject, quarter)).collect()
    }

    fn freeze(
        &self,
        name: &str,
        question: &Question,
        listed: &Listed,
        snapshot: &Snapshot,
    ) -> Result<exposure::Scope, CannotAnswer> {
        let failed = |error: std::io::Error| CannotAnswer::Scope(error.to_string());
        let name = check_name(name)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.scopes).map_err(failed)?;
        let version = self.next_version(name);
        // Never over another: what was frozen stays. It is on the disk before anything is said about it.
        let path = self.scopes.join(format!("{name}.{version}.json"));
        let file =
            File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let out = BufWriter::new(&file);
        let classes = &snapshot.classes;
        let scope = exposure::Scope::freeze(name, version, question, listed, classes, out);
        let scope = scope.map_err(failed)?;
        let folder = file.sync_all().and_then(|()| File::open(&self.scopes)?.sync_all());
        folder.map_err(failed)?;
        Ok(scope)
    }
}

/// The time of the last of a log's first so many records.
fn last_time(view: &LogView, records: u64) -> Option<UnixMicros> {
    let record = view.records_from(records.checked_sub(1)?).next()?.ok()?.1;
    Header::decode(&record.entry).ok().map(|header| header.time)
}

fn with_source(error: &NoBundle) -> String {
    let source = std::error::Error::source(error).and_then(std::error::Error::source);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn check_name(name: &str) -> Result<&str, CannotAnswer> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let well_named = !name.is_empty() && name.len() <= 64 && name.bytes().all(fits);
    let wrong =
        || CannotAnswer::Question("a scope's name is 1 to 64 letters, digits and `-`".into());
    if well_named { Ok(name) } else { Err(wrong()) }
}

fn id_set<I: std::str::FromStr + Ord>(
    text: Option<&str>,
    what: &str,
) -> Result<Option<BTreeSet<I>>, CannotAnswer> {
    let wrong = |text: &str| CannotAnswer::Question(format!("`{text}` is not the id of a {what}"));
    text.map(|text| text.parse().map(|id| BTreeSet::from([id])).map_err(|_| wrong(text)))
        .transpose()
}

fn operation(text: &str) -> Result<model::OperationId, CannotAnswer> {
    model::OperationId::new(text)
        .ok_or_else(|| CannotAnswer::Question(format!("`{text}` is not an operation")))
}

fn network(text: &str) -> Result<ipnet::IpNet, CannotAnswer> {
    match sever::Target::parse(&format!("network:{text}")) {
        Some(sever::Target::Network(net)) => Ok(net),
        _ => Err(CannotAnswer::Question(format!("`{text}` is not an address or network"))),
    }
}

fn classes(name: &str, snapshot: &Snapshot) -> Result<ClassSet, CannotAnswer> {
    let class = DataClass::new(name);
    let set = class.map(|class| snapshot.classes.covered_by(&class)).unwrap_or_default();
    if set.is_empty() {
        Err(CannotAnswer::Question(format!("no data class is `{name}` or below it")))
    } else {
        Ok(set)
    }
}

fn time(text: Option<&str>, otherwise: UnixMicros) -> Result<UnixMicros, CannotAnswer> {
    let Some(text) = text else { return Ok(otherwise) };
    UnixMicros::parse(text).ok_or_else(|| {
        CannotAnswer::Question(format!("`{text}` is not a time like 2026-03-01T12:00:00Z"))
    })
}
