//! What an operator types: each subcommand reads key files, signs a command and sends it to the running node.

use crate::config::{self, Config};
use crate::operator::{self, OperatorKey};
use crate::{keys, verify};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use ledger::note::VerifyingKey;
use model::{CredentialId, GrantId, IntegrationId, Micros, UnixMicros, VendorId};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use storage::clock;
use storage::registry::Command;
use storage::registry::command::{Limits, Scope, SubjectText};

/// How to reach the node, and whose keys sign.
#[derive(Args)]
pub(crate) struct Session {
    /// The node's configuration file
    #[arg(long, default_value = config::FILE)]
    config: PathBuf,
    /// An operator's key file; twice for what takes two operators
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
}

impl Session {
    async fn send(&self, command: Command) -> Result<Value> {
        let keys: Vec<OperatorKey> =
            self.key.iter().map(|path| OperatorKey::read(path)).collect::<Result<_>>()?;
        let config = Config::read(&self.config)?;
        operator::send(config.control, command, &keys.iter().collect::<Vec<_>>()).await
    }
}

/// Commands to a running node.
#[derive(Subcommand)]
pub(crate) enum Operators {
    /// Add vendors
    #[command(subcommand)]
    Vendor(VendorCommand),
    /// Apply for, approve, restrict or retire integrations
    #[command(subcommand)]
    Integration(IntegrationCommand),
    /// Register or retire an integration's keys
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Let an integration read, or take that back
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Add or remove operators
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Stop every step of every onboarding; what runs goes on
    Freeze {
        #[command(flatten)]
        session: Session,
        #[arg(long)]
        reason: String,
    },
    /// Let onboarding go on (two operators)
    Unfreeze {
        #[command(flatten)]
        session: Session,
    },
    /// Cut something off, now: vendor, integration, credential, grant, operation or network
    Sever {
        /// Such as integration:acme-desk, grant:grt_..., operation:getAccount, network:203.0.113.0/24
        target: String,
        #[command(flatten)]
        session: Session,
        #[arg(long)]
        reason: String,
    },
    /// Lift what is in force on exactly this target (two operators)
    Restore {
        /// As given to `sever`
        target: String,
        #[command(flatten)]
        session: Session,
        #[arg(long)]
        reason: String,
    },
    /// Show what is cut off or restricted
    #[command(subcommand)]
    Posture(PostureCommand),
    /// Who was read: exact, from the record
    Exposure(Exposure),
    /// Write a file that proves an exposure to outsiders
    Evidence {
        #[command(flatten)]
        session: Session,
        #[command(flatten)]
        question: Question,
        /// About a scope that `exposure --scope` froze, instead of the filters
        #[arg(long, conflicts_with_all = ["integration", "vendor", "from", "to", "class", "ip"])]
        scope: Option<String>,
        /// The file to write
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Declare subjects that nobody has a reason to read
    #[command(subcommand)]
    Honey(HoneyCommand),
    /// Accept the clock after a step; data flows again
    ClockAcknowledge {
        #[command(flatten)]
        session: Session,
    },
    /// Check an origin's contract, offline
    #[command(subcommand)]
    Contract(ContractCommand),
}

#[derive(Subcommand)]
pub(crate) enum VendorCommand {
    /// Register a vendor; lets nothing be read
    Add {
        slug: String,
        #[arg(long)]
        name: String,
        #[command(flatten)]
        session: Session,
    },
}

#[derive(Subcommand)]
pub(crate) enum IntegrationCommand {
    /// Register an integration as applied for
    Apply {
        slug: String,
        /// Id of its vendor
        #[arg(long)]
        vendor: VendorId,
        #[command(flatten)]
        session: Session,
    },
    /// Approve it, prolong its approval, or lift a restriction (two operators)
    Approve {
        integration: IntegrationId,
        #[arg(long)]
        days: u64,
        /// 0 (harmless) to 3 (highest)
        #[arg(long)]
        tier: u8,
        #[command(flatten)]
        session: Session,
    },
    /// A tenth of its budgets, nothing in bulk, no sensitive classes
    Restrict {
        integration: IntegrationId,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
    /// End it for good
    Retire {
        integration: IntegrationId,
        #[command(flatten)]
        session: Session,
    },
}

#[derive(Subcommand)]
pub(crate) enum CredentialCommand {
    /// Register a public key (two operators)
    Add {
        #[arg(long)]
        integration: IntegrationId,
        /// File with the public JWK
        #[arg(long)]
        jwk: PathBuf,
        #[arg(long)]
        days: u64,
        /// Networks it may be used from; none for any
        #[arg(long)]
        network: Vec<String>,
        #[command(flatten)]
        session: Session,
    },
    /// Take a key out of use for good
    Retire {
        credential: CredentialId,
        #[command(flatten)]
        session: Session,
    },
}

#[derive(Subcommand)]
pub(crate) enum GrantCommand {
    /// Let an integration read (two operators)
    Add(Box<GrantAdd>),
    /// Take a grant back for good
    Withdraw {
        grant: GrantId,
        #[command(flatten)]
        session: Session,
    },
}

#[derive(Args)]
pub(crate) struct GrantAdd {
    #[arg(long)]
    integration: IntegrationId,
    /// An operationId of the contract; repeat for more
    #[arg(long, required = true)]
    operation: Vec<String>,
    /// A data class, its children included; repeat for more
    #[arg(long, required = true)]
    class: Vec<String>,
    #[arg(long)]
    purpose: String,
    /// Whose data: `all`, `token` (the token's subject), or `POINTER=VALUE` (an attribute of the record)
    #[arg(long)]
    subjects: String,
    /// Distinct subjects in a minute, an hour and a day, such as 100,1000,5000
    #[arg(long, value_delimiter = ',', required = true)]
    budget: Vec<u32>,
    #[arg(long)]
    days: u64,
    #[command(flatten)]
    session: Session,
}

#[derive(Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make a key file for a new operator and add it (signed by an operator and by the new key while there is only one)
    Add {
        name: String,
        /// Where the new key goes; a key of that name that is there already is added as it is
        #[arg(long)]
        new_key: PathBuf,
        #[command(flatten)]
        session: Session,
    },
    /// Take an operator off the roster for good (two operators)
    Remove {
        operator: model::OperatorId,
        #[command(flatten)]
        session: Session,
    },
}

#[derive(Subcommand)]
pub(crate) enum PostureCommand {
    /// Every severance and restriction in force
    Show {
        #[arg(long, default_value = config::FILE)]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum HoneyCommand {
    /// Declare one
    Plant {
        subject: String,
        #[command(flatten)]
        session: Session,
    },
}

#[derive(Subcommand)]
pub(crate) enum ContractCommand {
    /// Compile a contract and show what of it is classified
    Check {
        openapi: PathBuf,
        /// The overlay that annotates it
        #[arg(long)]
        overlay: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },
}

/// What is asked of the record. Filters hold together; one that is left out is no filter.
#[derive(Args)]
pub(crate) struct Question {
    /// Slug or id of an integration
    #[arg(long)]
    integration: Option<String>,
    /// Slug or id of a vendor: all its integrations
    #[arg(long)]
    vendor: Option<String>,
    /// From this moment, such as 2026-03-01T12:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Up to, but not at, this moment; now, if left out
    #[arg(long)]
    to: Option<String>,
    /// A data class, its children included
    #[arg(long)]
    class: Option<String>,
    /// An address or network
    #[arg(long, alias = "network")]
    ip: Option<String>,
}

impl Question {
    fn to_json(&self) -> Value {
        let named = [
            ("integration", &self.integration),
            ("vendor", &self.vendor),
            ("from", &self.from),
            ("to", &self.to),
            ("class", &self.class),
            ("network", &self.ip),
        ];
        let given = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
        Value::Object(given.collect())
    }
}

#[derive(Args)]
pub(crate) struct Exposure {
    #[command(flatten)]
    session: Session,
    #[command(flatten)]
    question: Question,
    /// With this key only
    #[arg(long)]
    credential: Option<String>,
    /// Under this grant only
    #[arg(long)]
    grant: Option<String>,
    /// Of this operation only
    #[arg(long)]
    operation: Option<String>,
    /// This subject only
    #[arg(long)]
    subject: Option<String>,
    /// Freeze the answer under this name
    #[arg(long)]
    scope: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// As --format json
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// An evidence bundle; or, with --full, a data directory
    path: PathBuf,
    /// The log's public key: name+id+base64, or a file that holds it
    #[arg(long, required = true)]
    key: Vec<String>,
    /// Replay the whole log: every entry on exactly one chain, every sum right
    #[arg(long)]
    full: bool,
    #[arg(long)]
    json: bool,
}

impl Operators {
    /// Carries the command out and prints what came of it.
    ///
    /// # Errors
    /// The node's refusal, or what could not be read or reached.
    pub(crate) async fn run(self) -> Result<()> {
        let now = clock::unix_now();
        let (session, command) = match self {
            Self::Vendor(VendorCommand::Add { slug, name, session }) => (
                session,
                Command::VendorAdd { vendor: VendorId::new(now, keys::random()?), slug, name },
            ),
            Self::Integration(command) => command.signed(now)?,
            Self::Credential(command) => command.signed(now)?,
            Self::Grant(GrantCommand::Add(add)) => add.signed(now)?,
            Self::Grant(GrantCommand::Withdraw { grant, session }) => {
                (session, Command::GrantWithdraw { grant })
            }
            Self::Operator(OperatorCommand::Remove { operator, session }) => {
                (session, Command::OperatorRemove { operator })
            }
            Self::Operator(OperatorCommand::Add { name, new_key, session }) => {
                return add_operator(&name, &new_key, &session).await;
            }
            Self::Freeze { session, reason } => (session, Command::Freeze { reason }),
            Self::Unfreeze { session } => (session, Command::Unfreeze {}),
            Self::Restore { target, session, reason } => {
                (session, Command::Restore { target: target.parse()?, reason })
            }
            Self::Honey(HoneyCommand::Plant { subject, session }) => {
                let subject =
                    model::SubjectId::new(&subject).context("that is not a subject id")?;
                (session, Command::HoneyPlant { subject: SubjectText(subject) })
            }
            Self::ClockAcknowledge { session } => (session, Command::ClockAcknowledge {}),
            Self::Sever { target, session, reason } => return sever(&target, &session, reason),
            Self::Posture(PostureCommand::Show { config, json }) => {
                return show_posture(&config, json).await;
            }
            Self::Exposure(exposure) => return exposure.run().await,
            Self::Evidence { session, question, scope, output } => {
                let asked =
                    scope.map_or_else(|| question.to_json(), |name| json!({ "scope": name }));
                let answer = session.send(Command::Evidence { scope: asked.to_string() }).await?;
                return write_bundle(&answer, &output);
            }
            Self::Contract(ContractCommand::Check { openapi, overlay, json }) => {
                return check_contract(&openapi, overlay.as_deref(), json);
            }
        };
        let id = given_id(&command);
        let answer = session.send(command).await?;
        // After the answer, and alone: `$(portcullis vendor add ...)` is an id that the node knows, or nothing.
        print(&id.unwrap_or_else(|| answer.to_string()))
    }
}

type Signed = (Session, Command);

impl IntegrationCommand {
    fn signed(self, now: UnixMicros) -> Result<Signed> {
        Ok(match self {
            Self::Apply { slug, vendor, session } => (
                session,
                Command::IntegrationApply {
                    integration: IntegrationId::new(now, keys::random()?),
                    slug,
                    vendor,
                },
            ),
            Self::Approve { integration, days, tier, session } => (
                session,
                Command::IntegrationApprove { integration, until: in_days(now, days), tier },
            ),
            Self::Restrict { integration, reason, session } => {
                (session, Command::IntegrationRestrict { integration, reason })
            }
            Self::Retire { integration, session } => {
                (session, Command::IntegrationRetire { integration })
            }
        })
    }
}

impl CredentialCommand {
    fn signed(self, now: UnixMicros) -> Result<Signed> {
        Ok(match self {
            Self::Add { integration, jwk, days, network, session } => {
                let text = std::fs::read_to_string(&jwk)
                    .with_context(|| format!("cannot read `{}`", jwk.display()))?;
                let jwk = serde_json::from_str(&text)
                    .with_context(|| format!("`{}` is not a JWK", jwk.display()))?;
                let credential = CredentialId::new(now, keys::random()?);
                (
                    session,
                    Command::CredentialAdd {
                        credential,
                        integration,
                        jwk,
                        until: in_days(now, days),
                        networks: network,
                    },
                )
            }
            Self::Retire { credential, session } => {
                (session, Command::CredentialRetire { credential })
            }
        })
    }
}

impl GrantAdd {
    fn signed(self, now: UnixMicros) -> Result<Signed> {
        let scope = match self.subjects.as_str() {
            "all" => Scope::All {},
            "token" => Scope::TokenSubject {},
            attribute => {
                let (pointer, value) = attribute
                    .split_once('=')
                    .context("--subjects is `all`, `token` or POINTER=VALUE")?;
                Scope::Attribute { pointer: pointer.to_owned(), value: value.to_owned() }
            }
        };
        let &[burst, hour, day] = self.budget.as_slice() else {
            bail!("--budget is three numbers, such as 100,1000,5000")
        };
        let command = Command::GrantAdd {
            grant: GrantId::new(now, keys::random()?),
            integration: self.integration,
            operations: self.operation.into_iter().collect(),
            classes: self.class.into_iter().collect(),
            purpose: self.purpose,
            scope,
            budget: Limits { burst, hour, day },
            expires: in_days(now, self.days),
        };
        Ok((self.session, command))
    }
}

fn in_days(now: UnixMicros, days: u64) -> UnixMicros {
    now + Micros::from_secs(days.saturating_mul(86_400))
}

/// The id a command gives, which later commands name.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other commands give none")]
fn given_id(command: &Command) -> Option<String> {
    match command {
        Command::VendorAdd { vendor, .. } => Some(vendor.to_string()),
        Command::IntegrationApply { integration, .. } => Some(integration.to_string()),
        Command::CredentialAdd { credential, .. } => Some(credential.to_string()),
        Command::GrantAdd { grant, .. } => Some(grant.to_string()),
        _ => None,
    }
}

async fn add_operator(name: &str, new_key: &Path, session: &Session) -> Result<()> {
    // The key is on disk before the node knows it, so that no operator is ever added without one. What was refused or did not
    // arrive is repeated with the same key.
    let new = if new_key.exists() {
        OperatorKey::read(new_key)?
    } else {
        OperatorKey::create(new_key, name)?
    };
    let operator = new.operator()?;
    if operator.name != name {
        bail!("`{}` is the key of `{}`, not of `{name}`", new_key.display(), operator.name);
    }
    let command = Command::OperatorAdd {
        operator: operator.id,
        name: operator.name,
        public_key: operator.public_key,
    };
    let mut signers: Vec<OperatorKey> =
        session.key.iter().map(|path| OperatorKey::read(path)).collect::<Result<_>>()?;
    // While there is one operator the new one signs as the second; after that two who are on the roster do.
    if signers.len() == 1 {
        signers.push(new);
    }
    let config = Config::read(&session.config)?;
    operator::send(config.control, command, &signers.iter().collect::<Vec<_>>()).await?;
    print(&operator.id.to_string())
}

/// Goes down the sever path, which needs neither registry nor ledger. Ends in an error if the cut could not be made durable.
fn sever(target: &str, session: &Session, reason: String) -> Result<()> {
    let keys: Vec<OperatorKey> =
        session.key.iter().map(|path| OperatorKey::read(path)).collect::<Result<_>>()?;
    let config = Config::read(&session.config)?;
    let command = Command::Sever { target: target.parse()?, reason };
    let receipt = operator::send_to_sever_socket(
        &config.data.join("run/sever.sock"),
        command,
        &keys.iter().collect::<Vec<_>>(),
    )?;
    print(&serde_json::to_string(&receipt)?)?;
    match receipt.get("not_durable").and_then(Value::as_str) {
        Some(problem) => bail!(
            "the cut holds while the node runs, but could not be stored ({problem}): repeat it after a restart"
        ),
        None => Ok(()),
    }
}

async fn show_posture(config: &Path, json: bool) -> Result<()> {
    let posture = operator::posture(Config::read(config)?.control).await?;
    if json {
        return print(&posture.to_string());
    }
    let mut table = Table::new();
    table.set_header(["", "target", "since", "reason", "by"]);
    for kind in ["severed", "restricted"] {
        for row in posture.get(kind).and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            table.add_row([
                kind.to_owned(),
                text("target"),
                text("since"),
                text("reason"),
                text("by"),
            ]);
        }
    }
    print(&table.to_string())
}

impl Exposure {
    async fn run(self) -> Result<()> {
        let mut question = self.question.to_json();
        let more = [
            ("credential", self.credential),
            ("grant", self.grant),
            ("operation", self.operation),
            ("subject", self.subject),
            ("scope", self.scope),
        ];
        if let Some(members) = question.as_object_mut() {
            members.extend(
                more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))),
            );
        }
        let answer =
            self.session.send(Command::ExposureQuery { question: question.to_string() }).await?;
        match if self.json { Format::Json } else { self.format } {
            Format::Json => print(&answer.to_string()),
            Format::Csv => print_csv(&answer),
            Format::Table => print_table(&answer),
        }
    }
}

/// One subject as the rows show it: id, classes, first, last, count.
fn subject_row(row: &Value) -> [String; 5] {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let classes = row.get("classes").and_then(Value::as_array).into_iter().flatten();
    let classes: Vec<_> = classes.filter_map(Value::as_str).collect();
    let count = row.get("count").and_then(Value::as_u64).unwrap_or(0);
    [text("id"), classes.join(" "), text("first"), text("last"), count.to_string()]
}

fn print_table(answer: &Value) -> Result<()> {
    let mut table = Table::new();
    table.set_header(["subject", "classes", "first", "last", "times"]);
    for row in answer.get("subjects").and_then(Value::as_array).into_iter().flatten() {
        table.add_row(subject_row(row));
    }
    print(&table.to_string())?;
    let total = |name: &str| {
        answer.pointer(&format!("/totals/{name}")).and_then(Value::as_u64).unwrap_or(0)
    };
    print(&format!(
        "{} subjects in {} records, {} of them erased",
        total("subjects"),
        total("records"),
        total("erased")
    ))
}

fn print_csv(answer: &Value) -> Result<()> {
    // A field is quoted, and its quotes doubled (RFC 4180 section 2), because a subject's id may hold a comma.
    let line = |fields: &[String]| {
        fields
            .iter()
            .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
            .collect::<Vec<_>>()
            .join(",")
    };
    print("subject,classes,first,last,count")?;
    for row in answer.get("subjects").and_then(Value::as_array).into_iter().flatten() {
        print(&line(&subject_row(row)))?;
    }
    Ok(())
}

/// Writes the bundle of an answer to `evidence`.
///
/// # Errors
/// If the answer holds none, or the file cannot be written.
pub(crate) fn write_bundle(answer: &Value, file: &Path) -> Result<()> {
    let hex = answer.get("bundle").and_then(Value::as_str).context("the node sent no bundle")?;
    let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok())
        .collect();
    std::fs::write(file, bytes.context("the bundle is not hex")?)
        .with_context(|| format!("cannot write `{}`", file.display()))
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
        let verified = verify::evidence(&self.path, &keys)?;
        let question = &verified.question;
        let integrations = question
            .integrations
            .as_ref()
            .map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        let (records, subjects) = (verified.answer.records, verified.answer.subjects.len());
        if self.json {
            return print(&json!({
                "schema": "portcullis.verified/1",
                "log": verified.origin,
                "level": "operator-asserted",
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
        print(&format!(
            "proved, operator-asserted: {records} records, {subjects} subjects, and none missing"
        ))
    }
}

/// A key as typed, or from a file.
fn read_key(text: &str) -> Result<VerifyingKey> {
    let text = std::fs::read_to_string(text).unwrap_or_else(|_| text.to_owned());
    VerifyingKey::parse(text.trim()).with_context(|| format!("`{}`", text.trim()))
}

fn check_contract(openapi: &Path, overlay: Option<&Path>, json: bool) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let overlay = overlay.map(read).transpose()?.unwrap_or_default();
    let mut classes = model::ClassTable::default();
    let contract = disclosure::Contract::compile(&read(openapi)?, &overlay, &mut classes)?;
    let description = contract.describe();
    if json {
        let rows: Vec<_> = description.operations.iter().map(|row| {
            json!({ "id": row.id.as_str(), "method": row.method, "path": row.path, "kind": row.kind.as_str(), "classes": classes.names(&row.classes), "classified": row.classified, "unclassified": row.unclassified })
        }).collect();
        return print(&json!({ "schema": "portcullis.contract/1", "operations": rows, "classified": description.classified, "unclassified": description.unclassified }).to_string());
    }
    let mut table = Table::new();
    table.set_header(["operation", "", "path", "classes", "classified", "unclassified"]);
    for row in &description.operations {
        table.add_row([
            row.id.as_str().to_owned(),
            row.kind.as_str().to_owned(),
            format!("{} {}", row.method, row.path),
            classes.names(&row.classes).join(" "),
            row.classified.to_string(),
            row.unclassified.to_string(),
        ]);
    }
    print(&table.to_string())?;
    print(&format!(
        "{} operations; {} properties classified, {} unclassified and so withheld",
        description.operations.len(),
        description.classified,
        description.unclassified
    ))
}

fn print(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
