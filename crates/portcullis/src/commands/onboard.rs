//! From a vendor's application to its grants, and back.

use super::bearer::BearerCommand;
use super::registration::{RegistrationCommand, Ticket};
use super::{Listed, Session, certificate, in_days, print};
use crate::keys;
use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use clap::{Args, Subcommand};
use credential::{Algorithm, SigningKey};
use model::{CredentialId, GrantId, IntegrationId, SubjectId, UnixMicros, VendorId};
use std::path::{Path, PathBuf};
use storage::registry::Command;
use storage::registry::command::{Limits, Listing, Scope, SubjectText};

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
    /// Say where it hears of being contained, in place of what was said before (two operators)
    Webhook {
        /// Slug or id
        vendor: String,
        /// An https address that takes a POST
        #[arg(long, required_unless_present = "none")]
        url: Option<String>,
        /// Nowhere
        #[arg(long, conflicts_with = "url")]
        none: bool,
        #[command(flatten)]
        session: Session,
    },
    /// Every vendor
    List(Listed),
}

#[derive(Subcommand)]
pub(crate) enum IntegrationCommand {
    /// Register an integration as applied for
    Apply {
        slug: String,
        /// Slug or id of its vendor
        #[arg(long)]
        vendor: String,
        #[command(flatten)]
        session: Session,
    },
    /// Submit what it is vetted by; the node checks it at once and says what fails
    Evidence {
        /// Slug or id
        integration: String,
        /// What it asks for and why: a `portcullis.application/1` file (docs/operating/vetting.md)
        #[arg(long)]
        application: PathBuf,
        /// Its software bill of materials, CycloneDX 1.4 to 1.7 in JSON
        #[arg(long)]
        sbom: Option<PathBuf>,
        #[command(flatten)]
        session: Session,
    },
    /// Let it into the sandbox, where it reads named subjects only (two operators)
    Review {
        /// Slug or id
        integration: String,
        #[arg(long, default_value_t = 30)]
        days: u64,
        #[command(flatten)]
        session: Session,
    },
    /// Approve it after the sandbox, prolong its approval, or lift a restriction (two operators)
    Approve {
        /// Slug or id
        integration: String,
        #[arg(long)]
        days: u64,
        #[command(flatten)]
        session: Session,
    },
    /// Say where subjects' browsers go back to after they agreed, in place of what was said before (two operators)
    Redirects {
        /// Slug or id
        integration: String,
        /// https, or http to a loopback address with any port; repeat for more, none: subjects cannot connect it
        #[arg(long)]
        uri: Vec<String>,
        #[command(flatten)]
        session: Session,
    },
    /// Print a ticket with which its vendor registers keys and redirect addresses, once; lets nothing be read
    Ticket(Ticket),
    /// What vendors registered themselves, and what of it waits for approval
    #[command(subcommand)]
    Registration(RegistrationCommand),
    /// Take its tokens without proof for a while, or end that: for old tools, with an owner
    #[command(subcommand)]
    BearerException(BearerCommand),
    /// A tenth of its budgets, nothing in bulk, no sensitive classes
    Restrict {
        /// Slug or id
        integration: String,
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        session: Session,
    },
    /// End it for good
    Retire {
        /// Slug or id
        integration: String,
        #[command(flatten)]
        session: Session,
    },
    /// Every integration: stage, tier, until when
    List(Listed),
    /// One integration: its evidence, what each check says, who reviewed it
    Show {
        /// Slug or id
        integration: String,
        #[command(flatten)]
        listed: Listed,
    },
}

#[derive(Subcommand)]
pub(crate) enum CredentialCommand {
    /// Make an Ed25519 key pair to try things with; prints the public JWK
    New {
        /// Where the private key goes (PKCS#8, PEM)
        private: PathBuf,
    },
    /// Register a public key, a certificate, or a CA and which of its certificates (two operators)
    Add(Box<certificate::CredentialAdd>),
    /// Take a key or certificate out of use for good
    Retire {
        credential: CredentialId,
        #[command(flatten)]
        session: Session,
    },
    /// Every credential
    List(Listed),
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
    /// Every grant
    List(Listed),
}

#[derive(Args)]
pub(crate) struct GrantAdd {
    /// Slug or id
    #[arg(long)]
    integration: String,
    /// An operationId of the contract; repeat for more
    #[arg(long, required = true)]
    operation: Vec<String>,
    /// A data class, its children included; repeat for more
    #[arg(long, required = true)]
    class: Vec<String>,
    #[arg(long)]
    purpose: String,
    /// Whose data: `all`, `token` (the token's subject), `only:ID,ID` (these), or `POINTER=VALUE` (an attribute of the record)
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

impl VendorCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::List(listed) => listed.run(Listing::Vendors).await,
            Self::Add { slug, name, session } => {
                let vendor = VendorId::new(now, keys::random()?);
                session.send(Command::VendorAdd { vendor, slug, name }).await?;
                print::line(&vendor.to_string())
            }
            Self::Webhook { vendor, url, none: _, session } => {
                let vendor = session.id(Listing::Vendors, &vendor).await?;
                let answer = session.send(Command::VendorWebhook { vendor, url }).await?;
                print::line(&answer.to_string())
            }
        }
    }
}

impl IntegrationCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        let (session, command) = match self {
            Self::List(listed) => return listed.run(Listing::Integrations).await,
            Self::Ticket(ticket) => return ticket.run(now).await,
            Self::Registration(command) => return command.run(now).await,
            Self::BearerException(command) => return command.run(now).await,
            Self::Show { integration, listed } => return listed.integration(&integration).await,
            Self::Evidence { integration, application, sbom, session } => {
                return submit(&integration, &application, sbom.as_deref(), &session).await;
            }
            Self::Apply { slug, vendor, session } => {
                let vendor = session.id(Listing::Vendors, &vendor).await?;
                let integration = IntegrationId::new(now, keys::random()?);
                session.send(Command::IntegrationApply { integration, slug, vendor }).await?;
                return print::line(&integration.to_string());
            }
            Self::Review { integration, days, session } => {
                let integration = session.integration(&integration).await?;
                (session, Command::IntegrationReview { integration, until: in_days(now, days) })
            }
            Self::Approve { integration, days, session } => {
                let integration = session.integration(&integration).await?;
                (session, Command::IntegrationApprove { integration, until: in_days(now, days) })
            }
            Self::Redirects { integration, uri, session } => {
                let integration = session.integration(&integration).await?;
                let uris = uri.into_iter().collect();
                (session, Command::RedirectsSet { integration, uris })
            }
            Self::Restrict { integration, reason, session } => {
                let integration = session.integration(&integration).await?;
                (session, Command::IntegrationRestrict { integration, reason })
            }
            Self::Retire { integration, session } => {
                let integration = session.integration(&integration).await?;
                (session, Command::IntegrationRetire { integration })
            }
        };
        print::line(&session.send(command).await?.to_string())
    }
}

/// Submits evidence and prints what the checks say.
///
/// # Errors
/// If it cannot be submitted. Checks that fail are no error: the evidence is in, and says what is missing.
async fn submit(
    integration: &str,
    application: &Path,
    sbom: Option<&Path>,
    session: &Session,
) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let application = serde_json::from_slice(&read(application)?)
        .with_context(|| format!("`{}` is not a JSON object", application.display()))?;
    let attachment = sbom.map(read).transpose()?;
    let sbom =
        attachment.as_ref().and_then(|bytes| digest(&SHA256, bytes).as_ref().try_into().ok());
    let integration = session.integration(integration).await?;
    let command = Command::EvidenceAdd { integration, application, sbom };
    print::checks(&session.send_with(command, attachment).await?)
}

impl CredentialCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::List(listed) => listed.run(Listing::Credentials).await,
            Self::New { private } => make_key(&private),
            Self::Add(add) => add.run(now).await,
            Self::Retire { credential, session } => {
                let answer = session.send(Command::CredentialRetire { credential }).await?;
                print::line(&answer.to_string())
            }
        }
    }
}

/// A vendor makes its own keys; this one is for trying things out.
fn make_key(private: &Path) -> Result<()> {
    let der = SigningKey::pkcs8(Algorithm::EdDsa, keys::random()?).context("Ed25519 signs")?;
    let pem = pem(&der);
    keys::write(private, pem.as_bytes())?;
    print::line(SigningKey::from_pkcs8(&der)?.public().canonical_jwk())
}

/// RFC 7468 section 10.
fn pem(der: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    // An Ed25519 key's 64 characters fit into one line.
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(der)
    )
}

impl GrantCommand {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        match self {
            Self::List(listed) => listed.run(Listing::Grants).await,
            Self::Withdraw { grant, session } => {
                let answer = session.send(Command::GrantWithdraw { grant }).await?;
                print::line(&answer.to_string())
            }
            Self::Add(add) => add.run(now).await,
        }
    }
}

impl GrantAdd {
    async fn run(self, now: UnixMicros) -> Result<()> {
        let &[burst, hour, day] = self.budget.as_slice() else {
            bail!("--budget is three numbers, such as 100,1000,5000")
        };
        let grant = GrantId::new(now, keys::random()?);
        let command = Command::GrantAdd {
            grant,
            integration: self.session.integration(&self.integration).await?,
            operations: self.operation.into_iter().collect(),
            classes: self.class.into_iter().collect(),
            purpose: self.purpose,
            scope: scope(&self.subjects)?,
            budget: Limits { burst, hour, day },
            expires: in_days(now, self.days),
        };
        self.session.send(command).await?;
        print::line(&grant.to_string())
    }
}

fn scope(text: &str) -> Result<Scope> {
    match text {
        "all" => return Ok(Scope::All {}),
        "token" => return Ok(Scope::TokenSubject {}),
        _ => {}
    }
    if let Some(ids) = text.strip_prefix("only:") {
        let subject = |id| SubjectId::new(id).map(SubjectText).context("that is not a subject id");
        let subjects = ids.split(',').map(subject).collect::<Result<_>>()?;
        return Ok(Scope::Consenting { subjects });
    }
    let (pointer, value) = text
        .split_once('=')
        .context("--subjects is `all`, `token`, `only:ID,ID` or POINTER=VALUE")?;
    Ok(Scope::Attribute { pointer: pointer.to_owned(), value: value.to_owned() })
}

/// One request as an integration would make it.
#[derive(Args)]
pub(crate) struct Request {
    /// Path and query, such as /v1/accounts/4711
    path: String,
    /// Id of the integration
    #[arg(long)]
    integration: IntegrationId,
    #[arg(long)]
    grant: GrantId,
    /// Its private key: PKCS#8 in PEM, or a private JWK
    #[arg(long)]
    private_key: PathBuf,
    /// The node's configuration file
    #[arg(long, env = "PORTCULLIS_CONFIG", default_value = crate::config::FILE)]
    config: PathBuf,
}

impl Request {
    /// Obtains a token, makes the request and prints the body; what else there is to say goes to standard error.
    ///
    /// # Errors
    /// If no token was given, or the answer is no success.
    pub(crate) async fn run(&self) -> Result<()> {
        let config = crate::config::Config::read(&self.config)?;
        let endpoints =
            crate::client::Endpoints::local(&config, [config.data_plane, config.authority])?;
        let key = std::sync::Arc::new(private_key(&self.private_key)?);
        let from = std::net::Ipv4Addr::LOCALHOST.into();
        let grant = self.grant.to_string();
        let mut vendor =
            crate::client::Vendor::new(&endpoints, self.integration, &grant, key, from);
        vendor.obtain_token().await.context("the authority gave no token")?;
        let answer =
            vendor.get(&self.path).await?.context("the connection was refused or reset")?;
        crate::say(&format!("{} {}", answer.status, answer.request));
        print::line(&String::from_utf8_lossy(&answer.body))?;
        if answer.status >= 400 {
            bail!("the gateway answered {}", answer.status);
        }
        Ok(())
    }
}

/// Reads an integration's private key.
///
/// # Errors
/// If the file is none.
pub(crate) fn private_key(path: &Path) -> Result<SigningKey> {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    use rustls_pki_types::pem::PemObject;
    let text = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let what = || format!("`{}` is neither a PKCS#8 key nor a private JWK", path.display());
    if let Ok(key) = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(&text) {
        return SigningKey::from_pkcs8(key.secret_pkcs8_der()).with_context(what);
    }
    let jwk: serde_json::Value = serde_json::from_slice(&text).with_context(what)?;
    let member = |name: &str| jwk.get(name).and_then(serde_json::Value::as_str);
    let algorithm = match member("crv") {
        Some("Ed25519") => Algorithm::EdDsa,
        Some("P-256") => Algorithm::Es256,
        _ => bail!("{}; Ed25519 and P-256 are taken", what()),
    };
    let secret = BASE64_URL_SAFE_NO_PAD.decode(member("d").unwrap_or("")).with_context(what)?;
    let secret: [u8; 32] = secret.try_into().ok().with_context(what)?;
    let der = SigningKey::pkcs8(algorithm, secret).with_context(what)?;
    SigningKey::from_pkcs8(&der).with_context(what)
}
