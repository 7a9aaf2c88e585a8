//! `[portal.provider]`: the company's own OpenID Connect provider, where subjects sign in.

use crate::secrets::Secrets;
use anyhow::{Context, Result, bail};
use control::client_proof::ClientProof;
use control::outbound::Address;
use control::portal::provider::{BACK_PATH, ENDED_PATH, Provider, Settings};
use credential::SigningKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tracing::info;
use zeroize::Zeroizing;

/// As written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderFile {
    issuer: String,
    client_id: String,
    #[serde(default)]
    client_secret: Option<PathBuf>,
    #[serde(default)]
    client_key: Option<PathBuf>,
    name: String,
    #[serde(default)]
    subject_claim: Option<String>,
}

/// Who the provider is, and the file with what proves us to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderConfig {
    issuer: String,
    client_id: String,
    proof: ProofFile,
    name: String,
    subject_claim: String,
    clear_text: bool,
}

/// The file with what proves us to somebody else's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProofFile {
    Secret(PathBuf),
    Key(PathBuf),
}

impl ProofFile {
    /// One of the two, in the data directory.
    pub(crate) fn checked(
        data: &Path,
        secret: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Self> {
        match (secret, key) {
            (Some(secret), None) => Ok(Self::Secret(data.join(secret))),
            (None, Some(key)) => Ok(Self::Key(data.join(key))),
            _ => bail!("give either `client_secret` or `client_key`, a file"),
        }
    }

    /// What the file holds.
    ///
    /// # Errors
    /// If it cannot be read, or holds no key.
    pub(crate) fn open(&self, secrets: &Secrets) -> Result<ClientProof> {
        match self {
            Self::Secret(path) => {
                let bytes = secrets.read(path)?;
                let text = std::str::from_utf8(bytes.trim_ascii()).ok().filter(|t| !t.is_empty());
                let text = text.with_context(|| format!("no secret in `{}`", path.display()))?;
                Ok(ClientProof::Secret(Zeroizing::new(text.to_owned())))
            }
            Self::Key(path) => {
                let pem = secrets.read(path)?;
                let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).ok();
                let key = key.and_then(|der| SigningKey::from_pkcs8(der.secret_pkcs8_der()).ok());
                let key = key.with_context(|| {
                    format!("`{}` is not a PEM of a PKCS#8 key, P-256 or Ed25519", path.display())
                })?;
                info!(
                    jwk = key.public().canonical_jwk(),
                    "somebody else's server proves us by this key"
                );
                Ok(ClientProof::Key(Box::new(key)))
            }
        }
    }
}

impl ProviderFile {
    /// `clear_text`: whether the node serves in the clear, on loopback, and may ask a provider there that does.
    pub(crate) fn checked(self, data: &Path, clear_text: bool) -> Result<ProviderConfig> {
        Address::parse(&self.issuer, clear_text)?;
        if self.issuer.contains('?') {
            bail!("`issuer` has no query");
        }
        let proof = ProofFile::checked(data, self.client_secret, self.client_key)?;
        let subject_claim = self.subject_claim.unwrap_or_else(|| "sub".to_owned());
        for (key, value) in [
            ("client_id", &self.client_id),
            ("name", &self.name),
            ("subject_claim", &subject_claim),
        ] {
            if value.is_empty() || value.chars().any(char::is_control) {
                bail!("`{key}` is one line of text");
            }
        }
        let Self { issuer, client_id, name, .. } = self;
        Ok(ProviderConfig { issuer, client_id, proof, name, subject_claim, clear_text })
    }
}

impl ProviderConfig {
    /// The provider, with what its file holds. `portal`: our origin, as browsers name it.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no key.
    pub(crate) fn open(&self, secrets: &Secrets, portal: &str) -> Result<Provider> {
        let proof = self.proof.open(secrets)?;
        info!(
            issuer = self.issuer,
            redirect_uri = format!("{portal}{BACK_PATH}"),
            backchannel_logout_uri = format!("{portal}{ENDED_PATH}"),
            post_logout_redirect_uri = format!("{portal}/sign-in"),
            "subjects sign in at the company's provider, where these are to be registered"
        );
        Ok(Provider::new(Settings {
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            proof,
            name: self.name.clone(),
            subject_claim: self.subject_claim.clone(),
            clear_text: self.clear_text,
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_an_issuer_and_one_proof() {
        let checked = |text: &str, clear_text| {
            let file: ProviderFile = toml::from_str(&format!("client_id = \"c\"\n{text}"))?;
            file.checked(Path::new("d"), clear_text)
        };
        let right = "issuer = \"https://login.example\"\nname = \"Example login\"\n";
        let config = checked(&format!("{right}client_secret = \"keys/s\""), false).unwrap();
        assert_eq!(config.subject_claim, "sub");
        assert_eq!(config.proof, ProofFile::Secret("d/keys/s".into()));
        assert!(checked(&format!("{right}client_key = \"keys/k\""), false).is_ok());
        let clear = right.replace("https://login.example", "http://localhost:1");
        assert!(checked(&format!("{clear}client_key = \"k\""), true).is_ok());
        for wrong in [
            right.to_owned(),
            format!("{right}client_secret = \"s\"\nclient_key = \"k\""),
            format!("{right}client_secret = \"s\"\nsubject_claim = \"\""),
            format!("{right}client_secret = \"s\"\nscope = \"x\""),
            format!("{}client_secret = \"s\"", right.replace("example\"", "example?a\"")),
            format!("{}client_secret = \"s\"", right.replace("Example login", "")),
            format!("{clear}client_secret = \"s\""),
        ] {
            assert!(checked(&wrong, false).is_err(), "{wrong}");
        }
    }
}
