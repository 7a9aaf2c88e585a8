//! What an operator types: each subcommand reads key files, signs a command and sends it to the running node.

mod bearer;
mod certificate;
mod consent;
mod contract;
mod export;
mod exposure;
mod honey;
mod incident;
mod intel;
mod keys;
mod log;
mod onboard;
pub(crate) mod print;
mod registration;
mod roster;
mod signals;
mod subject;
mod verify;
mod window;

pub(crate) use intel::IntelCommand;
pub(crate) use keys::KeysCommand;
pub(crate) use log::LogCommand;
pub(crate) use onboard::{Request, private_key};
pub(crate) use print::NobodyReads;
pub(crate) use verify::Verify;

use crate::config::{self, Config};
use crate::operator::{self, OperatorKey};
use crate::say;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use consent::ConsentCommand;
use exposure::{Exposure, Question};
use honey::HoneyCommand;
use incident::IncidentCommand;
use model::{IntegrationId, Micros, UnixMicros};
use onboard::{CredentialCommand, GrantCommand, IntegrationCommand, VendorCommand};
use roster::OperatorCommand;
use serde_json::{Value, json};
use signals::Signals;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use storage::clock;
use storage::registry::Command;
use storage::registry::command::Listing;
use subject::SubjectCommand;
use window::WindowCommand;

/// How to reach the node, and whose keys sign.
#[derive(Args)]
pub(crate) struct Session {
    /// The node's configuration file
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
    config: PathBuf,
    /// An operator's key file; once more where two operators are asked for
    #[arg(long, env = "PORTCULLIS_KEY", required = true)]
    key: Vec<PathBuf>,
}

/// A list, and how it is shown.
#[derive(Args)]
pub(crate) struct Listed {
    #[command(flatten)]
    session: Session,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Session {
    async fn send(&self, command: Command) -> Result<Value> {
        self.send_with(command, None).await
    }

    /// As [`Session::send`], signed by these keys and no others.
    async fn send_signed(&self, command: Command, keys: &[OperatorKey]) -> Result<Value> {
        let config = Config::read(&self.config)?;
        operator::send(config.control, command, &keys.iter().collect::<Vec<_>>()).await
    }

    async fn send_with(&self, command: Command, attachment: Option<Vec<u8>>) -> Result<Value> {
        let keys = self.keys()?;
        let config = Config::read(&self.config)?;
        let keys: Vec<_> = keys.iter().collect();
        operator::send_with(config.control, command, attachment, &keys).await
    }

    fn keys(&self) -> Result<Vec<OperatorKey>> {
        self.key.iter().map(|path| OperatorKey::read(path)).collect()
    }

    /// The id behind a slug or id; slugs are looked up in the node's list.
    async fn id<I: FromStr>(&self, among: Listing, named: &str) -> Result<I> {
        if let Ok(id) = named.parse() {
            return Ok(id);
        }
        let list = self.send(Command::List { what: among }).await?;
        let rows = list.get("rows").and_then(Value::as_array).into_iter().flatten();
        let text = |row: &Value, name: &str| row.get(name)?.as_str().map(str::to_owned);
        let found = rows.filter(|row| {
            ["slug", "name"].iter().any(|key| text(row, key).as_deref() == Some(named))
        });
        let id = found.filter_map(|row| text(row, "id")?.parse().ok()).next();
        id.with_context(|| format!("`{named}` is not registered; the lists show what is"))
    }

    async fn integration(&self, named: &str) -> Result<IntegrationId> {
        self.id(Listing::Integrations, named).await
    }
}

impl Listed {
    async fn run(self, what: Listing) -> Result<()> {
        let list = self.session.send(Command::List { what }).await?;
        if self.json { print::line(&list.to_string()) } else { print::list(&list) }
    }

    /// One row of the integrations, with what stands of its vetting.
    async fn integration(self, named: &str) -> Result<()> {
        let id = self.session.integration(named).await?.to_string();
        let list = self.session.send(Command::List { what: Listing::Integrations }).await?;
        let mut rows = list.get("rows").and_then(Value::as_array).into_iter().flatten();
        let row = rows.find(|row| row.get("id").and_then(Value::as_str) == Some(&id));
        let row = row.with_context(|| format!("`{named}` is not registered"))?;
        if self.json { print::line(&row.to_string()) } else { print::integration(row) }
    }
}

/// Commands to a running node.
#[derive(Subcommand)]
pub(crate) enum Operators {
    /// Add and list vendors
    #[command(subcommand)]
    Vendor(VendorCommand),
    /// Vet, approve, restrict, retire and list integrations
    #[command(subcommand)]
    Integration(IntegrationCommand),
    /// Register, retire and list integrations' keys
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Let an integration read, take that back, list what is granted
    #[command(subcommand)]
    Grant(GrantCommand),
    /// End what subjects agreed to
    #[command(subcommand)]
    Consent(ConsentCommand),
    /// Add and remove operators and automations, say what each may do, list them
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
    /// Re-certify everybody: whoever is not approved anew by the date reads nothing after it
    ReviewAll {
        /// Days from now
        #[arg(long)]
        days: u64,
        #[arg(long)]
        reason: String,
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
    Exposure(Box<Exposure>),
    /// Write a file that proves an exposure to outsiders
    Evidence {
        #[command(flatten)]
        session: Session,
        #[command(flatten)]
        question: Question,
        /// About a scope that `exposure --scope` froze, instead of the filters
        #[arg(long, conflicts_with_all = ["integration", "vendor", "from", "to", "class", "ip"])]
        scope: Option<String>,
        /// Seal it to somebody: subjects are named by tokens of theirs, touches can be opened one by one
        #[arg(long, conflicts_with = "class")]
        recipient: Option<String>,
        /// Write what opens one touch of the sealed bundle: run, sequence number and place, as the bundle has them
        #[arg(long, requires = "recipient", num_args = 3, value_names = ["RUN", "SEQUENCE", "TOUCH"])]
        open: Option<Vec<u64>>,
        /// A checkpoint of this log that an auditor cosigned, to prove it under
        #[arg(long)]
        checkpoint: Option<PathBuf>,
        /// Of a generation of the log before, whose end was lost: a bundle is of one log
        #[arg(long)]
        generation: Option<u64>,
        /// The file to write
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Copy the record into formats that other programs read
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// A case, from signal to letters, filings and post-mortem
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// One person: everything that went out about them, their passkey, their erasure
    #[command(subcommand)]
    Subject(SubjectCommand),
    /// Where subjects are written to
    #[command(subcommand)]
    Directory(incident::DirectoryCommand),
    /// Print a link that opens the console in a browser, once, within a minute
    Console {
        #[command(flatten)]
        session: Session,
    },
    /// Declare subjects that nobody has a reason to read, and list them
    #[command(subcommand)]
    Honey(HoneyCommand),
    /// What detectors found, with the numbers that made it, and who looked at it
    Signals(Box<Signals>),
    /// Changes that vendors announced: what is unusual on purpose, and until when
    #[command(subcommand)]
    Window(WindowCommand),
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
pub(crate) enum PostureCommand {
    /// Every severance and restriction in force
    Show {
        #[arg(long, env = "PORTCULLIS_CONFIG", default_value = config::FILE)]
        config: PathBuf,
        #[arg(long)]
        json: bool,
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

impl Operators {
    /// Carries the command out and prints what came of it.
    ///
    /// # Errors
    /// The node's refusal, or what could not be read or reached.
    pub(crate) async fn run(self) -> Result<()> {
        let now = clock::unix_now();
        let (session, command) = match self {
            Self::Vendor(command) => return command.run(now).await,
            Self::Integration(command) => return command.run(now).await,
            Self::Credential(command) => return command.run(now).await,
            Self::Grant(command) => return command.run(now).await,
            Self::Consent(command) => return command.run().await,
            Self::Export(command) => return command.run(now).await,
            Self::Incident(command) => return command.run(now).await,
            Self::Directory(command) => return command.run().await,
            Self::Subject(command) => return command.run().await,
            Self::Honey(command) => return command.run().await,
            Self::Signals(signals) => return signals.run().await,
            Self::Window(command) => return command.run(now).await,
            Self::Operator(command) => return command.run(now).await,
            Self::Freeze { session, reason } => (session, Command::Freeze { reason }),
            Self::Unfreeze { session } => (session, Command::Unfreeze {}),
            Self::ReviewAll { days, reason, session } => {
                (session, Command::ReviewAll { by: in_days(now, days), reason })
            }
            Self::Restore { target, session, reason } => {
                (session, Command::Restore { target: target.parse()?, reason })
            }
            Self::ClockAcknowledge { session } => (session, Command::ClockAcknowledge {}),
            Self::Sever { target, session, reason } => return sever(&target, &session, reason),
            Self::Posture(PostureCommand::Show { config, json }) => {
                let posture = operator::posture(Config::read(&config)?.control).await?;
                return if json {
                    print::line(&posture.to_string())
                } else {
                    print::posture(&posture)
                };
            }
            Self::Exposure(exposure) => return exposure.run().await,
            Self::Evidence {
                session,
                question,
                scope,
                recipient,
                open,
                checkpoint,
                generation,
                output,
            } => {
                let mut asked =
                    scope.map_or_else(|| question.to_json(), |name| json!({ "scope": name }));
                let checkpoint = checkpoint.map(|file| {
                    std::fs::read_to_string(&file)
                        .with_context(|| format!("cannot read `{}`", file.display()))
                });
                let more = [
                    ("recipient", recipient.map(Value::from)),
                    ("open", open.map(Value::from)),
                    ("generation", generation.map(Value::from)),
                    ("checkpoint", checkpoint.transpose()?.map(Value::from)),
                ];
                if let Some(members) = asked.as_object_mut() {
                    members.extend(
                        more.into_iter()
                            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
                    );
                }
                let (keys, config) = (session.keys()?, Config::read(&session.config)?);
                let keys: Vec<_> = keys.iter().collect();
                return write_bundle(config.control, &asked, &keys, &output).await;
            }
            Self::Console { session } => {
                let answer = session.send(Command::ConsoleOpen {}).await?;
                let link = answer.get("link").and_then(Value::as_str);
                return print::line(link.context("the node gave no link")?);
            }
            Self::Contract(ContractCommand::Check { openapi, overlay, json }) => {
                return contract::check(&openapi, overlay.as_deref(), json);
            }
        };
        print::line(&session.send(command).await?.to_string())
    }
}

fn in_days(now: UnixMicros, days: u64) -> UnixMicros {
    now + Micros::from_secs(days.saturating_mul(86_400))
}

/// Goes down the sever path, which needs neither registry nor ledger. Ends in an error if the cut could not be made durable.
fn sever(target: &str, session: &Session, reason: String) -> Result<()> {
    let keys = session.keys()?;
    // The configuration is not read: no mistake in it stands in the way of a cut.
    let socket = config::directory_of(&session.config).join("run/sever.sock");
    let command = Command::Sever { target: target.parse()?, reason };
    let receipt =
        operator::send_to_sever_socket(&socket, command, &keys.iter().collect::<Vec<_>>())?;
    print::line(&serde_json::to_string(&receipt)?)
        .context("the cut was made, and its receipt cannot be printed")?;
    if receipt.get("known").and_then(Value::as_bool) == Some(false) {
        say(&format!(
            "portcullis: the cut stands, and nothing here is called {target}: is that what was meant?"
        ));
    }
    match receipt.get("not_durable").and_then(Value::as_str) {
        Some(problem) => bail!(
            "the cut holds while the node runs, but could not be stored ({problem}): repeat it after a restart"
        ),
        None => Ok(()),
    }
}

/// Has the node write the evidence for a question, and keeps it in a file.
///
/// # Errors
/// The node's refusal, or that the file cannot be written.
pub(crate) async fn write_bundle(
    control: SocketAddr,
    asked: &Value,
    keys: &[&OperatorKey],
    file: &Path,
) -> Result<()> {
    let command = Command::Evidence { scope: asked.to_string() };
    operator::fetch(control, command, keys, file).await
}
