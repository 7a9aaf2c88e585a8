//! The node's own certificate, the CAs of clients' certificates and what they revoked: read together, replaced together.

use crate::config::Config;
use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use control::expiry::{self, Configured, Said};
use credential::ClientTrust;
use credential::certificate::{Certificate, Ending};
use gateway::node::Node;
use gateway::sever_listener::Roster;
use gateway::tls::{self, Configs};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::clock;

/// What the files say, checked.
pub(crate) struct Material {
    /// None in clear text.
    pub(crate) configs: Option<Configs>,
    pub(crate) trust: ClientTrust,
    pub(crate) ends: Configured,
}

/// What listeners take at each connection, and the alarms look at.
#[derive(Clone)]
pub(crate) struct Current {
    /// Of data plane, authority and portal; none in clear text.
    pub(crate) listeners: Option<[Arc<ArcSwap<ServerConfig>>; 3]>,
    pub(crate) trust: Arc<ArcSwap<ClientTrust>>,
    pub(crate) ends: Arc<ArcSwap<Configured>>,
}

impl Material {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// The operator's: a file that cannot be read or does not hold what it should.
    pub(crate) fn read(config: &Config) -> Result<Self> {
        let mut server = Vec::new();
        let configs = if config.clear_text {
            None
        } else {
            let of = |name: &str| read(&config.data.join("keys").join(name));
            let certificates = of("server.pem")?;
            for der in tls::chain(&certificates, "server certificate")? {
                server.push(ending(&der)?);
            }
            let key = config.secrets.files()?.read("server.key")?;
            Some(tls::configs(&certificates, &key)?)
        };
        let cas = match &config.client_ca {
            None => Vec::new(),
            Some(path) => tls::chain(&read(path)?, "client CA")?,
        };
        let mut lists = Vec::new();
        for path in &config.client_crls {
            let found = revocation_lists(&read(path)?);
            let found = found.filter(|found| !found.is_empty());
            let what = || format!("`{}` holds no revocation list in PEM or DER", path.display());
            lists.extend(found.with_context(what)?);
        }
        let trust = ClientTrust::new(&cas, &lists).context("in `client_ca` or `client_crls`")?;
        let ends =
            Configured { server, cas: trust.cas().collect(), lists: trust.lists().collect() };
        Ok(Self { configs, trust, ends })
    }
}

impl Current {
    /// Starts with `material`; the node has its trust already.
    pub(crate) fn new(configs: Option<Configs>, ends: Configured, node: &Node) -> Self {
        let listeners = configs.map(|configs| {
            [configs.data_plane, configs.http1, configs.browsers]
                .map(|config| Arc::new(ArcSwap::new(config)))
        });
        let ends = Arc::new(ArcSwap::from_pointee(ends));
        Self { listeners, trust: Arc::clone(&node.client_trust), ends }
    }

    /// Connections that are open go on; their requests are judged by what is new.
    pub(crate) fn replace(&self, material: Material) {
        let Material { configs, trust, ends } = material;
        if let (Some([data_plane, authority, portal]), Some(configs)) = (&self.listeners, configs) {
            data_plane.store(configs.data_plane);
            authority.store(configs.http1);
            portal.store(configs.browsers);
        }
        self.trust.store(Arc::new(trust));
        self.ends.store(Arc::new(ends));
    }
}

/// Says what ends soon, at start and then each hour what was not said that day.
pub(crate) async fn say_what_ends(
    node: Weak<Node>,
    roster: Arc<ArcSwap<Roster>>,
    ends: Arc<ArcSwap<Configured>>,
) {
    let mut every = tokio::time::interval(Duration::from_secs(3_600));
    let mut said = Said::default();
    loop {
        every.tick().await;
        let Some(node) = node.upgrade() else { return };
        let now = clock::unix_now();
        let (view, roster) = (node.view(), roster.load());
        said.say(&expiry::alarms(&view.directory, &roster.operators, &ends.load(), now), now);
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn ending(der: &CertificateDer<'_>) -> Result<Ending> {
    let read = Certificate::parse(der)?;
    Ok(Ending { name: read.subject().unwrap_or("?").to_owned(), ends: read.ends() })
}

/// All lists of a PEM file, or the one that is the file: distribution points serve DER.
fn revocation_lists(bytes: &[u8]) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    const DER_SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Some(vec![bytes.to_vec().into()]);
    }
    CertificateRevocationListDer::pem_slice_iter(bytes).collect::<Result<_, _>>().ok()
}
