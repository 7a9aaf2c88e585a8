//! Sets the demo's stage: an origin, a node, two operators, three vendors, all on loopback and in one temporary folder.

use super::answer;
use crate::client::{Endpoints, Vendor};
use crate::config::Config;
use crate::init::{self, Addresses};
use crate::node::{self, Running};
use crate::onboarding::{self, Application, Parties};
use crate::operator::{self, OperatorKey};
use crate::{config, keys, people};
use anyhow::{Context, Result};
use credential::{Algorithm, SigningKey};
use model::{GrantId, IntegrationId};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use storage::registry::Command;
use storage::registry::command::Limits;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

/// Who writes the demo's letters, and the mailbox they go to.
const COMPANY: &str = r#"
[company]
name = "Example Accounts AG"
address = "1 Example Street, 12345 Example"
country = "DE"
contact_name = "Data protection officer"
contact_email = "privacy@company.example"

[mail]
from = "privacy@company.example"
folder = "mail/letters"
"#;

const OPENAPI: &str = include_str!("../../assets/demo-openapi.yaml");
const OVERLAY: &str = include_str!("../../assets/demo-overlay.yaml");

/// The address that the demo's list of bad networks holds. Loopback is a /8, so a client can really come from there.
pub(crate) const BAD_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 6, 6));

/// Everything the acts play with.
pub(crate) struct Stage {
    pub(crate) directory: PathBuf,
    pub(crate) config: Config,
    pub(crate) running: Running,
    pub(crate) operators: [OperatorKey; 2],
    pub(crate) billing: Registered,
    pub(crate) support: Registered,
    pub(crate) insights: Registered,
    pub(crate) endpoints: Endpoints,
    pub(crate) origin_log: PathBuf,
    orders: ChildStdin,
    // Kept for its Drop: the origin ends with the stage.
    _origin: Child,
    _folder: tempfile::TempDir,
}

/// One vendor's integration, as registered.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    pub(crate) integration: IntegrationId,
    pub(crate) grant: GrantId,
    pub(crate) key: Arc<SigningKey>,
    /// The fields its grant lets out, as paths in a record.
    pub(crate) fields: &'static [&'static str],
    pub(crate) from: IpAddr,
}

/// What is asked for a vendor.
struct Plan {
    application: Application<'static>,
    fields: &'static [&'static str],
    from: [u8; 4],
}

const BILLING: Plan = Plan {
    application: Application {
        slug: "ledgerly-billing",
        vendor: "Ledgerly GmbH",
        operations: &["getAccount"],
        classes: &[
            "user.unique_id",
            "user.contact.email",
            "user.account.plan",
            "user.financial.card_last_four",
        ],
        purpose: "billing",
        budget: Limits { burst: 400, hour: 2_000, day: 5_000 },
        sandbox: ("/v1/accounts/acc_000001", "acc_000001"),
    },
    fields: &["id", "email", "plan", "card", "card.last4"],
    from: [127, 10, 1, 1],
};
const SUPPORT: Plan = Plan {
    application: Application {
        slug: "helpnine-desk",
        vendor: "Help Nine Inc.",
        operations: &["getAccount", "listConversations"],
        classes: &["user.unique_id", "user.name", "user.contact.email", "user.content"],
        purpose: "support",
        budget: Limits { burst: 50_000, hour: 100_000, day: 100_000 },
        sandbox: ("/v1/accounts/acc_000001/conversations", "acc_000001"),
    },
    fields: &[
        "id",
        "name",
        "email",
        "account_id",
        "items",
        "items.id",
        "items.account_id",
        "items.title",
        "items.text",
    ],
    from: [127, 10, 2, 1],
};
const INSIGHTS: Plan = Plan {
    application: Application {
        slug: "trendline-insights",
        vendor: "Trendline SAS",
        operations: &["listAccounts"],
        classes: &["user.location.country", "user.account.plan"],
        purpose: "analytics",
        budget: Limits { burst: 2_000, hour: 10_000, day: 50_000 },
        sandbox: ("/v1/accounts?limit=1&after=acc_000000", "acc_000001"),
    },
    fields: &["items", "items.country", "items.plan"],
    from: [127, 10, 3, 1],
};

impl Stage {
    /// Starts everything. `widen`: let the contract classify a field that no vendor was promised, as a careless edit would.
    ///
    /// # Errors
    /// Whatever part did not start.
    pub(crate) async fn set(widen: bool) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let directory = folder.path().join("node");
        let origin_log = folder.path().join("origin.log");
        let (origin, orders, origin_address) = start_origin(&origin_log).await?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { listen: [free; 5], origin: origin_address, clear_text: false };
        init::init(&directory, "demo", "ana", &addresses, None).await?;
        std::fs::write(directory.join("openapi.yaml"), OPENAPI)?;
        let overlay = if widen { widened() } else { OVERLAY.to_owned() };
        std::fs::write(directory.join("overlay.yaml"), overlay)?;
        std::fs::write(
            directory.join("bad-networks.txt"),
            format!("# the demo's list\n{BAD_ADDRESS}\n"),
        )?;
        let path = directory.join(config::FILE);
        let text = std::fs::read_to_string(&path)?
            .replace("lists = []", r#"lists = ["bad-networks.txt"]"#);
        std::fs::write(&path, text + COMPANY)?;
        people::import(&answer::directory(folder.path())?, &directory).await?;

        let config = Config::read(&path)?;
        let running = node::start(&config).await?;
        let operators =
            onboarding::second_operator(&directory, running.control, "ana", "ben").await?;
        let endpoints = Endpoints::local(&config, [running.data_plane, running.authority])?;
        let control = running.control;
        let billing = register(&BILLING, control, &operators, &endpoints).await?;
        let support = register(&SUPPORT, control, &operators, &endpoints).await?;
        let insights = register(&INSIGHTS, control, &operators, &endpoints).await?;
        Ok(Self {
            directory,
            config,
            running,
            operators,
            billing,
            support,
            insights,
            endpoints,
            origin_log,
            orders,
            _origin: origin,
            _folder: folder,
        })
    }

    /// A process of a vendor's software that already has a token.
    ///
    /// # Errors
    /// If it is given none.
    pub(crate) async fn client(&self, of: &Registered) -> Result<Vendor> {
        let mut vendor = Vendor::new(
            &self.endpoints,
            of.integration,
            &of.grant.to_string(),
            Arc::clone(&of.key),
            of.from,
        );
        vendor.obtain_token().await.with_context(|| format!("{} got no token", of.name))?;
        Ok(vendor)
    }

    /// Makes one in `rate` of the origin's answers somebody else's; 0 ends it.
    ///
    /// # Errors
    /// If the origin has ended.
    pub(crate) async fn mix_up(&mut self, rate: u64) -> Result<()> {
        self.orders.write_all(format!("mixup {rate}\n").as_bytes()).await?;
        self.orders.flush().await?;
        // The order is read by another process; it is in force once an answer shows it, which the acts look at.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Ok(())
    }

    /// Signs a command with one operator's key, or with both, and has it carried out.
    ///
    /// # Errors
    /// The node's refusal.
    pub(crate) async fn command(&self, command: Command, both: bool) -> Result<Value> {
        let [ana, ben] = &self.operators;
        let keys: &[&OperatorKey] = if both { &[ana, ben] } else { &[ana] };
        operator::send(self.running.control, command, keys).await
    }
}

/// The overlay with one line more, of the kind that slips through a review.
fn widened() -> String {
    format!(
        "{OVERLAY}  - target: $.components.schemas.Account.properties.phone\n    update: {{ x-portcullis-class: user.contact.email }}\n"
    )
}

async fn start_origin(log: &Path) -> Result<(Child, ChildStdin, SocketAddr)> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .arg("demo-origin")
        .arg(log)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the origin did not start")?;
    let orders = child.stdin.take().context("the origin takes orders")?;
    let stdout = child.stdout.take().context("the origin says where it is")?;
    let line =
        BufReader::new(stdout).lines().next_line().await?.context("the origin ended at once")?;
    Ok((child, orders, line.parse()?))
}

async fn register(
    plan: &Plan,
    control: SocketAddr,
    operators: &[OperatorKey; 2],
    endpoints: &Endpoints,
) -> Result<Registered> {
    let secret =
        SigningKey::pkcs8(Algorithm::Es256, keys::random()?).context("ES256 signs proofs")?;
    let key = Arc::new(SigningKey::from_pkcs8(&secret)?);
    let from = IpAddr::from(plan.from);
    let parties = Parties { control, operators, endpoints, key: &key, from };
    let (integration, grant) = onboarding::onboard(&plan.application, &parties).await?;
    let name = plan.application.slug;
    Ok(Registered { name, integration, grant, key, fields: plan.fields, from })
}
