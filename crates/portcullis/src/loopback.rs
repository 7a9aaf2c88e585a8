//! A whole deployment on loopback, in one temporary folder: an origin in a process of its own, a node, two operators. The demo and
//! rehearsals play on it.

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
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use storage::registry::Command;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

/// Who writes the letters, and the mailbox they go to.
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

/// What a deployment is made with.
pub(crate) struct Setting<'a> {
    /// First part of the log's name.
    pub(crate) deployment: &'a str,
    pub(crate) openapi: &'a str,
    pub(crate) overlay: &'a str,
    /// Addresses on a list of bad ones. Loopback is a /8, so a client can really come from them.
    pub(crate) listed: &'a [IpAddr],
    /// The company's directory of addresses, as CSV.
    pub(crate) directory: &'a str,
}

/// A deployment that runs.
pub(crate) struct Loopback {
    pub(crate) directory: PathBuf,
    pub(crate) config: Config,
    pub(crate) running: Running,
    pub(crate) operators: [OperatorKey; 2],
    pub(crate) endpoints: Endpoints,
    pub(crate) origin_log: PathBuf,
    orders: ChildStdin,
    // Kept for its Drop: the origin ends with the deployment.
    _origin: Child,
    _folder: tempfile::TempDir,
}

/// An integration as it was registered.
#[derive(Clone)]
pub(crate) struct Onboarded {
    pub(crate) integration: IntegrationId,
    pub(crate) grant: GrantId,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) from: IpAddr,
}

impl Loopback {
    /// Starts everything.
    ///
    /// # Errors
    /// Whatever part did not start.
    pub(crate) async fn set(setting: &Setting<'_>) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let directory = folder.path().join("node");
        let origin_log = folder.path().join("origin.log");
        let (origin, orders, origin_address) = start_origin(&origin_log).await?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses { listen: [free; 5], origin: origin_address, clear_text: false };
        init::init(&directory, setting.deployment, "ana", &addresses, None).await?;
        std::fs::write(directory.join("openapi.yaml"), setting.openapi)?;
        std::fs::write(directory.join("overlay.yaml"), setting.overlay)?;
        let listed: Vec<_> = setting.listed.iter().map(IpAddr::to_string).collect();
        std::fs::write(directory.join("bad-networks.txt"), listed.join("\n") + "\n")?;
        let path = directory.join(config::FILE);
        let text = std::fs::read_to_string(&path)?
            .replace("lists = []", r#"lists = ["bad-networks.txt"]"#);
        std::fs::write(&path, text + COMPANY)?;
        let csv = folder.path().join("directory.csv");
        std::fs::write(&csv, setting.directory)?;
        people::import(&csv, &directory).await?;

        let config = Config::read(&path)?;
        let running = node::start(&config).await?;
        let operators =
            onboarding::second_operator(&directory, running.control, "ana", "ben").await?;
        let endpoints = Endpoints::local(&config, [running.data_plane, running.authority])?;
        Ok(Self {
            directory,
            config,
            running,
            operators,
            endpoints,
            origin_log,
            orders,
            _origin: origin,
            _folder: folder,
        })
    }

    /// Takes an integration from nothing to its first grant, with a fresh key.
    ///
    /// # Errors
    /// The node's refusal, with the step it refused.
    pub(crate) async fn onboard(
        &self,
        application: &Application<'_>,
        from: IpAddr,
    ) -> Result<Onboarded> {
        let secret =
            SigningKey::pkcs8(Algorithm::Es256, keys::random()?).context("ES256 signs proofs")?;
        let key = Arc::new(SigningKey::from_pkcs8(&secret)?);
        let parties = Parties {
            control: self.running.control,
            operators: &self.operators,
            endpoints: &self.endpoints,
            key: &key,
            from,
        };
        let (integration, grant) = onboarding::onboard(application, &parties).await?;
        Ok(Onboarded { integration, grant, key, from })
    }

    /// A process of an integration's software, without a token yet.
    pub(crate) fn software(&self, of: &Onboarded) -> Vendor {
        let key = Arc::clone(&of.key);
        Vendor::new(&self.endpoints, of.integration, &of.grant.to_string(), key, of.from)
    }

    /// Makes one in `rate` of the origin's answers somebody else's; 0 ends it.
    ///
    /// # Errors
    /// If the origin has ended.
    pub(crate) async fn mix_up(&mut self, rate: u64) -> Result<()> {
        self.orders.write_all(format!("mixup {rate}\n").as_bytes()).await?;
        self.orders.flush().await?;
        // The order is read by another process; it is in force once an answer shows it, which players look at.
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
