//! `portcullis.toml`: read once, checked once, and handed on as values with nothing left to interpret.

mod parts;

use crate::intel::{self, FeedFile, IntelFile};
use crate::issuer::{IssuerConfig, IssuerFile};
use crate::secrets::{Secrets, SecretsFile};
use crate::watching::{DetectionConfig, DetectionFile};
use anyhow::{Context, Result, anyhow, bail};
use control::intel::library::Settings;
use control::pages::Destination;
use control::witness::Witness;
use incident::notice::Company;
use ledger::note::VerifyingKey;
use parts::{CompanyFile, MailFile, PageFile, PortalFile, ReplicaFile, WitnessFile};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub(crate) use parts::{Mail, MailTls, MailWay, PortalConfig};

/// The file as written. Unknown keys are refused with their line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    deployment: String,
    external_url: String,
    listen: ListenFile,
    #[serde(default)]
    clear_text: bool,
    #[serde(default)]
    client_ca: Option<PathBuf>,
    #[serde(default)]
    client_crls: Vec<PathBuf>,
    origin: OriginFile,
    #[serde(default)]
    lists: Vec<PathBuf>,
    #[serde(default)]
    intel: IntelFile,
    #[serde(default)]
    feed: Vec<FeedFile>,
    #[serde(default)]
    advisories: Option<PathBuf>,
    #[serde(default)]
    company: Option<CompanyFile>,
    #[serde(default)]
    mail: Option<MailFile>,
    #[serde(default)]
    page: Vec<PageFile>,
    #[serde(default)]
    witness: Vec<WitnessFile>,
    #[serde(default)]
    authority_url: Option<String>,
    #[serde(default)]
    portal: Option<PortalFile>,
    #[serde(default)]
    secrets: Option<SecretsFile>,
    #[serde(default)]
    replica: Vec<ReplicaFile>,
    #[serde(default)]
    record: RecordFile,
    #[serde(default)]
    detection: DetectionFile,
}

/// What is kept of the record.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    #[serde(default)]
    retention_days: Option<u32>,
}

/// Where from people read is watched over thirty days, and a restart reads them back from the record.
const RETENTION_DAYS_MIN: u32 = 31;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenFile {
    data_plane: SocketAddr,
    authority: SocketAddr,
    control: SocketAddr,
    #[serde(default = "log_default")]
    log: SocketAddr,
    #[serde(default)]
    metrics: Option<SocketAddr>,
}

fn log_default() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8448))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginFile {
    address: SocketAddr,
    host: String,
    #[serde(default)]
    credential: Option<PathBuf>,
    openapi: PathBuf,
    overlay: PathBuf,
    #[serde(default)]
    issuer: Option<IssuerFile>,
}

/// What `serve` runs with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The directory that holds everything of this node.
    pub(crate) data: PathBuf,
    /// First part of the log's origin name.
    pub(crate) deployment: String,
    /// Scheme and authority that integrations know the data plane by.
    pub(crate) external_url: String,
    pub(crate) data_plane: SocketAddr,
    pub(crate) authority: SocketAddr,
    pub(crate) control: SocketAddr,
    /// The log, read-only, for outsiders.
    pub(crate) log: SocketAddr,
    /// Who cosigns the log's checkpoints.
    pub(crate) witnesses: Vec<Witness>,
    /// Other nodes' logs, of which copies come into the data directory: each one's name and keys, generations in order.
    pub(crate) replicas: Vec<(String, Vec<VerifyingKey>)>,
    /// Serve the data plane and the authority without TLS; loopback only.
    pub(crate) clear_text: bool,
    /// PEM of the CAs that client certificates may be of, for credentials that name one.
    pub(crate) client_ca: Option<PathBuf>,
    /// Their revocation lists, PEM or DER. Once there is one, every certificate of a chain needs one.
    pub(crate) client_crls: Vec<PathBuf>,
    pub(crate) origin: SocketAddr,
    pub(crate) origin_host: String,
    /// An authorization server that is not ours, whose tokens are good for the origin too.
    pub(crate) issuer: Option<IssuerConfig>,
    /// File with the value of `Authorization` that the origin knows us by.
    pub(crate) origin_credential: Option<PathBuf>,
    pub(crate) openapi: PathBuf,
    pub(crate) overlay: PathBuf,
    /// Lists, feeds and databases about networks.
    pub(crate) intel: Settings,
    /// Metrics and `/healthz`, if anybody is to see them.
    pub(crate) metrics: Option<SocketAddr>,
    /// Rules in shadow, and who has to do with whom.
    pub(crate) detection: DetectionConfig,
    /// Folder of OSV advisories that bills of materials are compared with.
    pub(crate) advisories: Option<PathBuf>,
    /// Who writes letters and filings.
    pub(crate) company: Option<Company>,
    /// How letters leave.
    pub(crate) mail: Option<Mail>,
    /// Where pages go.
    pub(crate) pages: Vec<Destination>,
    /// After how many days records lose their bodies and touches; never, if none.
    pub(crate) retention_days: Option<u32>,
    /// Scheme and authority that clients know the authority by: the issuer. Without it `localhost` and the listener's port.
    pub(crate) authority_url: Option<String>,
    /// Where subjects connect integrations, if they do.
    pub(crate) portal: Option<PortalConfig>,
    /// The secret files, and what they are sealed under.
    pub(crate) secrets: Secrets,
}

/// Name of the configuration file in the data directory.
pub(crate) const FILE: &str = "portcullis.toml";

impl Config {
    /// Reads the file; paths in it are relative to the directory it stands in, which is the data directory.
    ///
    /// # Errors
    /// The operator's: the file is missing, is not TOML, has an unknown key, or asks for clear text off loopback.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read `{}`; `portcullis init DIR` writes one", path.display())
        })?;
        let file: ConfigFile = toml::from_str(&text).map_err(|error| {
            let meant = meant(error.message())
                .map_or(String::new(), |key| format!("did you mean `{key}`?\n"));
            anyhow!("in `{}`: {error}{meant}", path.display())
        })?;
        let data = directory_of(path);
        let mut listeners = vec![file.listen.data_plane, file.listen.authority];
        listeners.extend(file.portal.as_ref().map(|portal| portal.listen));
        //= RFC 6749 section 3.1: TLS for the authorization and token endpoints
        if file.clear_text && !listeners.iter().all(|address| is_loopback(address.ip())) {
            bail!("in `{}`: `clear_text` is for loopback addresses only", path.display());
        }
        if !is_loopback(file.listen.control.ip()) {
            bail!(
                "in `{}`: `control` listens on loopback only; reach it from elsewhere through a tunnel",
                path.display()
            );
        }
        let scheme = if file.clear_text { "http://" } else { "https://" };
        let portal_url = file.portal.as_ref().map(|portal| portal.url.as_str());
        let urls = [
            ("external_url", Some(file.external_url.as_str())),
            ("authority_url", file.authority_url.as_deref()),
            ("portal.url", portal_url),
        ];
        // Browsers write an origin in lower case and without the scheme's own port, and it is compared as they write it.
        let odd = |url: &str| {
            url.bytes().any(|b| b.is_ascii_uppercase())
                || url.ends_with(if file.clear_text { ":80" } else { ":443" })
        };
        if portal_url.is_some_and(odd) {
            bail!(
                "in `{}`: `portal.url` is in lower case and without {scheme}'s own port",
                path.display()
            );
        }
        for (key, url) in urls {
            let host = url.map(|url| url.strip_prefix(scheme).unwrap_or(""));
            if host.is_some_and(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
                bail!(
                    "in `{}`: `{key}` is {scheme} and a host, without a path or a slash at the end",
                    path.display()
                );
            }
        }
        if !is_loopback(file.listen.log.ip()) {
            bail!(
                "in `{}`: `log` listens on loopback only; put a web server before it, or copy its files",
                path.display()
            );
        }
        let witnesses = file.witness.into_iter().map(WitnessFile::checked).collect::<Result<_>>();
        let witnesses =
            witnesses.with_context(|| format!("in `{}`, `[[witness]]`", path.display()))?;
        let replicas = parts::replicas(file.replica, &file.deployment);
        let replicas =
            replicas.with_context(|| format!("in `{}`, `[[replica]]`", path.display()))?;
        let metrics = file.listen.metrics;
        if metrics.is_some_and(|address| !is_loopback(address.ip())) {
            bail!("in `{}`: `metrics` listens on loopback only", path.display());
        }
        let mail = file.mail.map(|mail| mail.checked(&data)).transpose();
        let mail = mail.with_context(|| format!("in `{}`, `[mail]`", path.display()))?;
        let pages = file.page.into_iter().map(PageFile::checked).collect::<Result<Vec<_>>>();
        let pages = pages.with_context(|| format!("in `{}`, `[[page]]`", path.display()))?;
        if mail.is_none() && pages.iter().any(|page| matches!(page, Destination::Mail(_))) {
            bail!("in `{}`: a page by mail needs `[mail]`", path.display());
        }
        let secrets = Secrets::new(&data, file.secrets.as_ref());
        let secrets = secrets.with_context(|| format!("in `{}`, `[secrets]`", path.display()))?;
        let retention_days = file.record.retention_days;
        if retention_days.is_some_and(|days| days < RETENTION_DAYS_MIN) {
            bail!(
                "in `{}`: `record.retention_days` is at least {RETENTION_DAYS_MIN}: detection looks back thirty days",
                path.display()
            );
        }
        Ok(Self {
            metrics,
            retention_days,
            witnesses,
            secrets,
            replicas,
            log: file.listen.log,
            mail,
            pages,
            company: file
                .company
                .map(CompanyFile::checked)
                .transpose()
                .with_context(|| format!("in `{}`, `[company]`", path.display()))?,
            detection: file
                .detection
                .checked(&data)
                .with_context(|| format!("in `{}`, `[detection]`", path.display()))?,
            advisories: file.advisories.map(|path| data.join(path)),
            authority_url: file.authority_url,
            portal: file
                .portal
                .map(|portal| portal.checked(&data, file.clear_text))
                .transpose()
                .with_context(|| format!("in `{}`, `[portal.provider]`", path.display()))?,
            deployment: file.deployment,
            external_url: file.external_url,
            data_plane: file.listen.data_plane,
            authority: file.listen.authority,
            control: file.listen.control,
            clear_text: file.clear_text,
            client_ca: file.client_ca.map(|path| data.join(path)),
            client_crls: file.client_crls.iter().map(|path| data.join(path)).collect(),
            issuer: file
                .origin
                .issuer
                .map(|issuer| issuer.checked(&data, file.clear_text))
                .transpose()
                .with_context(|| format!("in `{}`, `[origin.issuer]`", path.display()))?,
            origin: file.origin.address,
            origin_host: file.origin.host,
            origin_credential: file.origin.credential.map(|path| data.join(path)),
            openapi: data.join(file.origin.openapi),
            overlay: data.join(file.origin.overlay),
            intel: intel::settings(&file.lists, file.intel, file.feed, &data)
                .with_context(|| format!("in `{}`, `[intel]` and `[[feed]]`", path.display()))?,
            data,
        })
    }

    /// The first key that differs from `running` and that only a restart puts into effect.
    pub(crate) fn differs_beyond_reload(&self, running: &Self) -> Option<&'static str> {
        let differs = [
            ("deployment", self.deployment != running.deployment),
            ("external_url", self.external_url != running.external_url),
            ("clear_text", self.clear_text != running.clear_text),
            ("listen.data_plane", self.data_plane != running.data_plane),
            ("listen.authority", self.authority != running.authority),
            ("listen.control", self.control != running.control),
            ("listen.log", self.log != running.log),
            ("authority_url", self.authority_url != running.authority_url),
            ("portal", self.portal != running.portal),
            ("origin.issuer", self.issuer != running.issuer),
            ("witness", self.witnesses != running.witnesses),
            ("replica", self.replicas != running.replicas),
            ("listen.metrics", self.metrics != running.metrics),
            ("record.retention_days", self.retention_days != running.retention_days),
            ("origin.address", self.origin != running.origin),
            ("origin.host", self.origin_host != running.origin_host),
            ("origin.credential", self.origin_credential != running.origin_credential),
            ("secrets", !self.secrets.agrees_with(&running.secrets)),
        ];
        differs.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
    }

    /// The configuration as text that [`Config::read`] takes.
    pub(crate) fn template(
        deployment: &str,
        clear_text: bool,
        addresses: [SocketAddr; 5],
        origin: SocketAddr,
    ) -> String {
        let [data_plane, authority, control, log, metrics] = addresses;
        let scheme = if clear_text { "http" } else { "https" };
        format!(
            r#"# Paths are relative to this file.
deployment = "{deployment}"
external_url = "{scheme}://localhost:{}"   # how integrations know the data plane; proofs are made for it
clear_text = {clear_text}                  # true only on loopback
lists = []                                 # files of networks to refuse, one address or network a line
# client_ca = "client-ca.pem"              # CAs of clients' certificates; docs/operating/client-certificates.md
# client_crls = ["client-ca.crl"]          # their revocation lists; once there is one, each CA needs one

[listen]
data_plane = "{data_plane}"
authority = "{authority}"
control = "{control}"
log = "{log}"                    # checkpoints, tiles and entries for whoever checks them; read-only
metrics = "{metrics}"                # Prometheus metrics and /healthz

[origin]
address = "{origin}"
host = "{origin}"
# credential = "keys/origin.credential"    # file with the Authorization that the origin asks us for, such as: Bearer ...
openapi = "openapi.yaml"
overlay = "overlay.yaml"

# Networks of which nothing good is known: feeds, and databases of countries and anonymisers. docs/operating/threat-intelligence.md
# [intel]
# never = ["198.51.100.0/24"]              # your own egress, and whomever no list may refuse
# warninglists = ["amazon-aws.json"]       # large shared clouds, as MISP publishes them; feeds do not list them
# allow_shared = []                        # what of those feeds may list all the same
# country = "GeoLite2-Country.mmdb"        # and: asn, anonymous
#
# [[feed]]
# name = "drop"
# kind = "plain"                           # plain, csv, stix, taxii
# url = "https://feeds.example/drop.txt"   # or: file = "drop.txt"
# level = 3                                # from 3 on it refuses; below, it weighs in detectors
# every = 60                               # minutes

# Where your users connect applications, and see and end what they agreed to. docs/operating/portal.md
# [portal]
# listen = "127.0.0.1:8446"
# url = "{scheme}://connect.example"
# company = "Example Ltd"
#
# [portal.provider]                        # where they sign in, if not here with passkeys: your OpenID Connect provider
# issuer = "https://login.example"
# client_id = "portcullis"
# client_secret = "keys/provider.secret"   # a file; or client_key: a PEM of a P-256 or Ed25519 key
# name = "Example login"

# An authorization server of yours, whose tokens are good here too. docs/operating/foreign-issuer.md
# [origin.issuer]
# issuer = "https://login.example"
# [[origin.issuer.client]]                 # each of its clients and scopes that stands for a grant here
# client_id = "mail-merge"
# scope = "contacts.read"
# integration = "int_..."
# grant = "grt_..."
# Who has to do with whom, and rules that only tell. docs/operating/detectors.md
# [detection]
# relationships = "relationships.csv"      # lines of integration,subject
# shadow = ["novelty"]

# After so many days records lose for good what was read and of whom. docs/operating/retention.md
# [record]
# retention_days = 400

# Somebody else who sees that the log only grows, and signs it. docs/operating/log.md
# [[witness]]
# url = "https://witness.example/"
# key = "witness.example/w1+0a1b2c3d+B..."

# Another node's log, by its keys/log.pub: a copy of its `ledger` is expected in replicas/NAME/ledger. docs/operating/several-logs.md
# [[replica]]
# key = "example/node-1/1+0a1b2c3d+A..."

# For incidents: who writes to subjects and authorities, and how letters leave. docs/operating/incident.md
# [company]
# name = "Example AG"
# address = "1 Example Street, 12345 Example"
# country = "DE"
# contact_name = "Data protection officer"
# contact_email = "privacy@company.example"
#
# [mail]
# from = "privacy@company.example"
# folder = "mail/letters"                  # or: smtp = "smtp.company.example:587", with user, password (a file), ca, tls

# Who is told at once of what detectors find. docs/operating/pages.md
# [[page]]
# webhook = "https://pager.company.example/portcullis"
#
# [[page]]
# mail = "oncall@company.example"          # by [mail]

# What the files in keys/ are sealed under, kept elsewhere; one of three. Without it they are in the clear. docs/operating/keys.md
# [secrets]
# key_file = "/run/credentials/portcullis.service/sealing"
# key_command = ["vault", "kv", "get", "-field=key", "secret/portcullis"]
# key_env = "PORTCULLIS_SEALING_KEY"       # shows in /proc/PID/environ to root and this user
"#,
            data_plane.port()
        )
    }
}

/// The key that an unknown one was probably meant to be, from the parser's own list of those it expected.
fn meant(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown field"))?;
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .map(|(_, known)| known)
}

/// The node's directory: that of its configuration file.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    // The parent of a bare file name is the empty path, which names no directory.
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    beside.unwrap_or(Path::new(".")).to_path_buf()
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(FILE);
        std::fs::write(&path, text)?;
        Config::read(&path)
    }

    fn template(clear_text: bool) -> String {
        let address = "127.0.0.1:8443".parse().unwrap();
        Config::template("acme", clear_text, [address; 5], address)
    }

    #[test]
    fn the_template_is_a_configuration() {
        assert_eq!(read(&template(false)).unwrap().external_url, "https://localhost:8443");
        assert!(read(&template(true)).unwrap().clear_text);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = format!(
            "{:#}",
            read(&template(false).replace("clear_text =", "cleartext =")).unwrap_err()
        );
        assert!(error.contains("line 4") && error.contains("cleartext"), "{error}");
        assert!(error.contains("did you mean `clear_text`?"), "{error}");
        let nothing_like_it = format!("{:#}", read("quux = 1\n").unwrap_err());
        assert!(!nothing_like_it.contains("did you mean"), "{nothing_like_it}");
    }

    #[test]
    fn letters_go_to_a_folder_or_a_server_and_never_in_the_clear() {
        let mail = |lines: &str| {
            read(&format!("{}\n[mail]\nfrom = \"p@c.example\"\n{lines}", template(false)))
        };
        assert!(mail("folder = \"mail/letters\"").is_ok());
        assert!(mail("smtp = \"smtp.c.example:587\"").is_ok());
        assert!(mail("smtp = \"127.0.0.1:25\"\ntls = \"none\"").is_ok());
        for wrong in [
            "",
            "folder = \"a\"\nsmtp = \"b:25\"",
            "smtp = \"smtp.c.example:587\"\ntls = \"none\"",
            "smtp = \"smtp.c.example:x\"",
            "smtp = \"b:25\"\nuser = \"me\"",
        ] {
            assert!(mail(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_go_to_a_webhook_or_a_mailbox_and_never_in_the_clear() {
        let page = |lines: &str| read(&format!("{}\n[[page]]\n{lines}\n", template(false)));
        assert!(page("webhook = \"https://p.example/x?y\"").is_ok());
        assert!(page("webhook = \"http://127.0.0.1:9/\"").is_ok());
        let mail = "mail = \"o@c.example\"\n[mail]\nfrom = \"p@c.example\"\nfolder = \"letters\"";
        assert_eq!(page(mail).unwrap().pages, [Destination::Mail("o@c.example".to_owned())]);
        for wrong in [
            "",
            "webhook = \"http://p.example/\"",
            "webhook = \"https://p.example/#x\"",
            "mail = \"o@c.example\"",
            "webhook = \"https://p.example/\"\nmail = \"o@c.example\"",
        ] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_witness_is_an_address_and_a_cosigners_key() {
        let key = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
        let witness = |url: &str, key: &str| {
            let lines = format!("[[witness]]\nurl = \"{url}\"\nkey = \"{key}\"\n");
            read(&format!("{}\n{lines}", template(false)))
        };
        assert_eq!(witness("https://w.example/", key).unwrap().witnesses.len(), 1);
        assert!(witness("http://127.0.0.1:1/", key).is_ok());
        assert!(witness("http://w.example/", key).is_err(), "in the clear");
        assert!(witness("w.example", key).is_err());
        assert!(witness("https://w.example/", &key.replace("de+da", "de+db")).is_err());
    }

    #[test]
    fn records_are_kept_for_ever_or_longer_than_detection_looks_back() {
        let days = |days: &str| {
            let lines = format!("[record]\nretention_days = {days}\n");
            read(&format!("{}\n{lines}", template(false)))
        };
        assert_eq!(read(&template(false)).unwrap().retention_days, None);
        assert_eq!(days("31").unwrap().retention_days, Some(31));
        for wrong in ["30", "0", "-1", "\"forever\""] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn clear_text_off_loopback_is_refused() {
        let text = template(true).replace("data_plane = \"127.0.0.1", "data_plane = \"0.0.0.0");
        assert!(read(&text).is_err());
    }
}
