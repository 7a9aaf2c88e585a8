//! `portcullis init DIR`: a data directory with configuration, keys, a local CA and the first operators.

use crate::config::{self, Config};
use crate::keys;
use crate::node;
use crate::operator::OperatorKey;
use crate::secrets::{Secrets, SecretsFile};
use anyhow::{Context, Result, bail};
use ledger::note;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use storage::registry::Registry;
use storage::secrets::KeyFiles;
use zeroize::Zeroizing;

/// Where the listeners and the origin are to be.
pub(crate) struct Addresses {
    /// Data plane, authority, control, log, metrics.
    pub(crate) listen: [SocketAddr; 5],
    pub(crate) origin: SocketAddr,
    pub(crate) clear_text: bool,
}

/// Makes the directory. `first`: the name of the first operator, whose key goes to `keys/operators/NAME.key`. `secrets`: what the other
/// keys are sealed under; without it they are in the clear.
///
/// # Errors
/// If the directory exists and is not empty, or cannot be written.
pub(crate) async fn init(
    directory: &Path,
    deployment: &str,
    first: &str,
    addresses: &Addresses,
    secrets: Option<&SecretsFile>,
) -> Result<()> {
    if directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("`{}` is not empty; nothing was changed", directory.display());
    }
    let made = fill(directory, deployment, first, addresses, secrets).await;
    if made.is_err() {
        // So that it can be tried again. Nothing was in it before.
        for entry in directory.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let _left =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
    made
}

async fn fill(
    directory: &Path,
    deployment: &str,
    first: &str,
    addresses: &Addresses,
    secrets: Option<&SecretsFile>,
) -> Result<()> {
    let private = |path: &Path| {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("cannot make `{}`", path.display()))
    };
    private(directory)?;
    private(&directory.join("keys/operators"))?;
    let files = Secrets::new(directory, secrets)?.files()?;
    for name in keys::NAMES {
        files.replace(name, &*Zeroizing::new(keys::random::<32>()?))?;
    }
    certificates(&directory.join("keys"), &files)?;
    let log = note::SigningKey::new(&node::log_origin(deployment, 1), &*files.read_key(keys::LOG)?);
    let log = log
        .and_then(|key| key.verifying_key())
        .context("`--deployment` takes visible ASCII without `+`, `\"` and `\\`")?;
    public(&directory.join("keys/log.pub"), &format!("{log}\n"))?;
    let mut template =
        Config::template(deployment, addresses.clear_text, addresses.listen, addresses.origin);
    if let Some(secrets) = secrets {
        template.push_str(&secrets.to_toml()?);
    }
    public(&directory.join(config::FILE), &template)?;
    let operator =
        OperatorKey::create(&directory.join(format!("keys/operators/{first}.key")), first)?;
    let registry = Registry::open(&directory.join("registry.db")).await?;
    registry.found(&operator.founder()?).await?;
    Ok(())
}

/// Writes what anybody may read and only its owner may change, whatever the umask.
fn public(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o644).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// A CA of our own and a certificate for `localhost`, for trying things out; real deployments replace `server.pem` and `server.key`.
fn certificates(directory: &Path, files: &KeyFiles) -> Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Portcullis local CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let server_key = KeyPair::generate()?;
    let server = CertificateParams::new(vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ])?;
    let server = server.signed_by(&server_key, &Issuer::new(ca, ca_key))?;
    public(&directory.join("ca.pem"), &ca_pem)?;
    public(&directory.join("server.pem"), &server.pem())?;
    let pem = Zeroizing::new(server_key.serialize_pem());
    Ok(files.replace("server.key", pem.as_bytes())?)
}
