//! Parts of the configuration file as they are written, and what they come to once they are checked.

use super::is_loopback;
use crate::node::log_origin;
use crate::provider::{ProviderConfig, ProviderFile};
use anyhow::{Context, Result, bail};
use control::fetch::Site;
use control::outbound::Address;
use control::pages::Destination;
use control::witness::Witness;
use incident::notice::Company;
use ledger::cosign::CosignerKey;
use ledger::note::VerifyingKey;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where subjects connect integrations, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortalFile {
    pub(super) listen: SocketAddr,
    pub(super) url: String,
    company: String,
    #[serde(default)]
    provider: Option<ProviderFile>,
}

/// Where pages go, as written: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageFile {
    #[serde(default)]
    webhook: Option<String>,
    #[serde(default)]
    mail: Option<String>,
}

/// Another node's log, of which copies come into the data directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplicaFile {
    key: String,
}

/// Somebody who cosigns the log's checkpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessFile {
    url: String,
    key: String,
}

/// Who writes letters and filings, as they say it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompanyFile {
    name: String,
    address: String,
    country: String,
    #[serde(default)]
    organisation_number: Option<String>,
    contact_name: String,
    contact_email: String,
    #[serde(default)]
    contact_phone: Option<String>,
    #[serde(default)]
    supervisory_authority: Option<String>,
}

/// How letters leave, as written: to a folder or to a server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailFile {
    from: String,
    #[serde(default)]
    folder: Option<PathBuf>,
    #[serde(default)]
    smtp: Option<String>,
    #[serde(default)]
    tls: MailTls,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<PathBuf>,
    #[serde(default)]
    connections: Option<usize>,
    #[serde(default)]
    letter: Option<PathBuf>,
    #[serde(default)]
    dkim: Option<DkimFile>,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    /// The connection becomes TLS before anything is said (RFC 3207).
    #[default]
    Starttls,
    /// It is TLS from the first byte (RFC 8314).
    Implicit,
    /// Clear text, for a server on loopback only.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DkimFile {
    domain: String,
    selector: String,
    key: PathBuf,
}

/// Where subjects connect integrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortalConfig {
    pub(crate) listen: SocketAddr,
    /// Scheme and authority that browsers know it by.
    pub(crate) url: String,
    /// The company's name, as its people know it.
    pub(crate) company: String,
    /// Where its people sign in, if not here with passkeys.
    pub(crate) provider: Option<ProviderConfig>,
}

/// How letters leave.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// Whom they are from.
    pub(crate) from: String,
    pub(crate) way: MailWay,
    /// A letter's text, in place of the built-in one.
    pub(crate) letter: Option<PathBuf>,
    /// Signing domain, selector, and PEM of the private key.
    pub(crate) dkim: Option<(String, String, PathBuf)>,
}

/// To a folder or to a server.
#[derive(Clone, Debug)]
pub(crate) enum MailWay {
    Folder(PathBuf),
    Smtp {
        host: String,
        port: u16,
        tls: MailTls,
        ca: Option<PathBuf>,
        /// User, and the file with the password.
        login: Option<(String, PathBuf)>,
        connections: usize,
    },
}

impl PortalFile {
    pub(super) fn checked(self, data: &Path, clear_text: bool) -> Result<PortalConfig> {
        let Self { listen, url, company, provider } = self;
        let provider = provider.map(|provider| provider.checked(data, clear_text)).transpose()?;
        Ok(PortalConfig { listen, url, company, provider })
    }
}

impl PageFile {
    pub(super) fn checked(self) -> Result<Destination> {
        match (self.webhook, self.mail) {
            (Some(url), None) => Ok(Destination::Webhook(Address::for_events(&url)?)),
            (None, Some(mailbox)) if incident::people::is_address(&mailbox) => {
                Ok(Destination::Mail(mailbox))
            }
            (None, Some(mailbox)) => bail!("`{mailbox}` is not an address"),
            _ => bail!("give either `webhook` or `mail`"),
        }
    }
}

impl WitnessFile {
    pub(super) fn checked(self) -> Result<Witness> {
        let key = CosignerKey::parse(&self.key)
            .with_context(|| format!("`{}` is not a cosigner's key", self.key))?;
        if !Site::new(&self.url)?.is_private() {
            bail!("`{}` is clear text, which is for loopback addresses only", self.url);
        }
        Ok(Witness { url: self.url, key })
    }
}

/// The logs that are named, generations of one node in order. Each name is a path below `replicas`.
pub(super) fn replicas(
    files: Vec<ReplicaFile>,
    deployment: &str,
) -> Result<Vec<(String, Vec<VerifyingKey>)>> {
    let mut logs: BTreeMap<(String, u64), Vec<VerifyingKey>> = BTreeMap::new();
    let own = log_origin(deployment, 1);
    let own = own.rsplit_once('/').map_or("", |(node, _)| node);
    for file in files {
        let key = VerifyingKey::parse(&file.key)
            .with_context(|| format!("`{}` is not a log's key", file.key))?;
        let name = key.name();
        let part = |part: &str| {
            !part.starts_with('.')
                && !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let generation = name.rsplit_once('/').and_then(|(node, number)| {
            let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
            node.split('/').all(part).then_some((node, number))
        });
        let (node, number) = generation.with_context(|| {
            format!("`{name}` is not the name of a log: deployment, node and generation")
        })?;
        if node == own {
            bail!("`{name}` is this node's own log");
        }
        logs.entry((node.to_owned(), number)).or_default().push(key);
    }
    Ok(logs.into_iter().map(|((node, number), keys)| (format!("{node}/{number}"), keys)).collect())
}

impl CompanyFile {
    pub(super) fn checked(self) -> Result<Company> {
        let company = Company {
            name: self.name,
            address: self.address,
            country: self.country,
            organisation_number: self.organisation_number,
            contact_name: self.contact_name,
            contact_email: self.contact_email,
            contact_phone: self.contact_phone,
            supervisory_authority: self.supervisory_authority,
        };
        let required = [
            ("name", &company.name),
            ("address", &company.address),
            ("contact_name", &company.contact_name),
            ("contact_email", &company.contact_email),
        ];
        for (key, value) in required {
            if value.is_empty() || value.chars().any(char::is_control) {
                bail!("`{key}` is one line of text");
            }
        }
        let country = &company.country;
        if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
            bail!("`country` is two capital letters, such as \"DE\"");
        }
        Ok(company)
    }
}

impl MailFile {
    pub(super) fn checked(self, data: &Path) -> Result<Mail> {
        if !incident::people::is_address(&self.from) {
            bail!("`from` is an address and nothing else, such as privacy@company.example");
        }
        let way = match (self.folder, self.smtp) {
            (Some(folder), None) => MailWay::Folder(data.join(folder)),
            (None, Some(server)) => {
                let (host, port) = server.rsplit_once(':').unwrap_or((&server, "587"));
                let port = port.parse().with_context(|| format!("`{port}` is not a port"))?;
                let host = host.trim_matches(['[', ']']).to_owned();
                let on_loopback =
                    host == "localhost" || host.parse::<IpAddr>().is_ok_and(is_loopback);
                if self.tls == MailTls::None && !on_loopback {
                    bail!("`tls = \"none\"` is for a server on loopback only");
                }
                let login = match (self.user, self.password) {
                    (Some(user), Some(password)) => Some((user, data.join(password))),
                    (None, None) => None,
                    _ => bail!("`user` and `password` go together"),
                };
                MailWay::Smtp {
                    host,
                    port,
                    tls: self.tls,
                    ca: self.ca.map(|path| data.join(path)),
                    login,
                    connections: self.connections.unwrap_or(2).clamp(1, 16),
                }
            }
            _ => bail!("give either `folder` or `smtp`"),
        };
        let dkim = self.dkim.map(|dkim| (dkim.domain, dkim.selector, data.join(dkim.key)));
        let letter = self.letter.map(|path| data.join(path));
        Ok(Mail { from: self.from, way, letter, dkim })
    }
}
