//! `portcullis.toml`: read once, checked once, and handed on as values with nothing left to interpret.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

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
    origin: OriginFile,
    #[serde(default)]
    lists: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenFile {
    data_plane: SocketAddr,
    authority: SocketAddr,
    control: SocketAddr,
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
    /// Serve the data plane and the authority without TLS; loopback only.
    pub(crate) clear_text: bool,
    /// PEM of the CA that client certificates must chain to, if they are asked for.
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) origin: SocketAddr,
    pub(crate) origin_host: String,
    /// File with the value of `Authorization` that the origin knows us by.
    pub(crate) origin_credential: Option<PathBuf>,
    pub(crate) openapi: PathBuf,
    pub(crate) overlay: PathBuf,
    /// Files of listed networks.
    pub(crate) lists: Vec<PathBuf>,
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
        let file: ConfigFile =
            toml::from_str(&text).with_context(|| format!("in `{}`", path.display()))?;
        // The parent of a bare file name is the empty path, which names no directory.
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let data = beside.unwrap_or(Path::new(".")).to_path_buf();
        let listeners = [file.listen.data_plane, file.listen.authority];
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
        let authority = file.external_url.strip_prefix(scheme).unwrap_or("");
        if authority.is_empty() || authority.contains('/') {
            bail!(
                "in `{}`: `external_url` is {scheme} and a host, without a path or a slash at the end",
                path.display()
            );
        }
        Ok(Self {
            deployment: file.deployment,
            external_url: file.external_url,
            data_plane: file.listen.data_plane,
            authority: file.listen.authority,
            control: file.listen.control,
            clear_text: file.clear_text,
            client_ca: file.client_ca.map(|path| data.join(path)),
            origin: file.origin.address,
            origin_host: file.origin.host,
            origin_credential: file.origin.credential.map(|path| data.join(path)),
            openapi: data.join(file.origin.openapi),
            overlay: data.join(file.origin.overlay),
            lists: file.lists.iter().map(|path| data.join(path)).collect(),
            data,
        })
    }

    /// The configuration as text that [`Config::read`] takes.
    pub(crate) fn template(
        deployment: &str,
        clear_text: bool,
        addresses: [SocketAddr; 3],
        origin: SocketAddr,
    ) -> String {
        let [data_plane, authority, control] = addresses;
        let scheme = if clear_text { "http" } else { "https" };
        format!(
            r#"# Paths are relative to this file.
deployment = "{deployment}"
external_url = "{scheme}://localhost:{}"   # how integrations know the data plane; proofs are made for it
clear_text = {clear_text}                  # true only on loopback
lists = []                                 # files of networks to refuse, one address or network a line

[listen]
data_plane = "{data_plane}"
authority = "{authority}"
control = "{control}"

[origin]
address = "{origin}"
host = "{origin}"
# credential = "keys/origin.credential"    # file with the Authorization that the origin asks us for, such as: Bearer ...
openapi = "openapi.yaml"
overlay = "overlay.yaml"
"#,
            data_plane.port()
        )
    }
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
        Config::template("acme", clear_text, [address; 3], address)
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
    }

    #[test]
    fn clear_text_off_loopback_is_refused() {
        let text = template(true).replace("data_plane = \"127.0.0.1", "data_plane = \"0.0.0.0");
        assert!(read(&text).is_err());
    }
}
