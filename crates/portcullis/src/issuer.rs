//! `[origin.issuer]`: an authorization server that is not ours, whose tokens the gateway takes too.

use crate::provider::ProofFile;
use crate::secrets::Secrets;
use anyhow::{Context, Result, bail};
use control::issuer::{Inquirer, IssuerClient};
use control::outbound::Address;
use credential::foreign::{ForeignIssuer, Mapped, Terms};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::info;

/// As written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerFile {
    issuer: String,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    client_secret: Option<PathBuf>,
    #[serde(default)]
    client_key: Option<PathBuf>,
    #[serde(default)]
    subject_claim: Option<String>,
    client: Vec<ClientFile>,
}

/// A client of the issuer, and what it is here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    client_id: String,
    scope: String,
    integration: String,
    grant: String,
}

/// Who the issuer is, what its tokens are good for, and as whom it is asked about opaque ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuerConfig {
    issuer: String,
    subject_claim: String,
    clients: BTreeMap<String, BTreeMap<String, Mapped>>,
    inquirer: Option<(String, ProofFile)>,
    clear_text: bool,
}

impl IssuerFile {
    /// `clear_text`: whether the node serves in the clear, on loopback, and may ask an issuer there that does.
    pub(crate) fn checked(self, data: &Path, clear_text: bool) -> Result<IssuerConfig> {
        Address::parse(&self.issuer, clear_text)?;
        if self.issuer.contains('?') {
            bail!("`issuer` has no query");
        }
        let inquirer = match (self.client_id, self.client_secret, self.client_key) {
            (None, None, None) => None,
            (Some(client_id), secret, key) => {
                one_line("client_id", &client_id)?;
                Some((client_id, ProofFile::checked(data, secret, key)?))
            }
            _ => bail!("`client_id` goes with `client_secret` or `client_key`"),
        };
        let subject_claim = self.subject_claim.unwrap_or_else(|| "sub".to_owned());
        one_line("subject_claim", &subject_claim)?;
        if self.client.is_empty() {
            bail!(
                "without a `[[origin.issuer.client]]` no token of the issuer is good for anything"
            );
        }
        let mut clients: BTreeMap<String, BTreeMap<String, Mapped>> = BTreeMap::new();
        for ClientFile { client_id, scope, integration, grant } in self.client {
            one_line("client_id", &client_id)?;
            one_line("scope", &scope)?;
            if scope.contains(' ') {
                bail!("`{scope}` is more than one scope: each has an entry of its own");
            }
            let integration = integration.parse();
            let integration = integration.context("`integration` is an id, as it was printed")?;
            let grant = grant.parse().context("`grant` is an id, as it was printed")?;
            let mapped = Mapped { integration, grant };
            if clients.entry(client_id.clone()).or_default().insert(scope.clone(), mapped).is_some()
            {
                bail!("client `{client_id}` with scope `{scope}` stands twice");
            }
        }
        Ok(IssuerConfig { issuer: self.issuer, subject_claim, clients, inquirer, clear_text })
    }
}

fn one_line(key: &str, value: &str) -> Result<()> {
    if value.is_empty() || value.chars().any(char::is_control) {
        bail!("`{key}` is one line of text");
    }
    Ok(())
}

impl IssuerConfig {
    /// Its issuer identifier.
    pub(crate) fn name(&self) -> &str {
        &self.issuer
    }

    /// The issuer, and who asks it. `audience`: the address that integrations know the data plane by.
    ///
    /// # Errors
    /// If the file that proves us cannot be read, or the issuer has our own name.
    pub(crate) fn open(
        &self,
        secrets: &Secrets,
        own_issuer: &str,
        audience: &str,
    ) -> Result<(Arc<ForeignIssuer>, IssuerClient)> {
        if self.issuer == own_issuer {
            bail!("`origin.issuer` is an authorization server that is not this node's own");
        }
        let inquirer = self.inquirer.as_ref().map(|(client_id, proof)| -> Result<_> {
            Ok(Inquirer { client_id: client_id.clone(), proof: proof.open(secrets)? })
        });
        let foreign = Arc::new(ForeignIssuer::new(Terms {
            issuer: self.issuer.clone(),
            audience: audience.to_owned(),
            subject_claim: self.subject_claim.clone(),
            introspects: self.inquirer.is_some(),
            clients: self.clients.clone(),
        }));
        info!(
            issuer = self.issuer,
            audience,
            introspects = self.inquirer.is_some(),
            "tokens of this issuer are taken too"
        );
        let client =
            IssuerClient::new(Arc::clone(&foreign), inquirer.transpose()?, self.clear_text)?;
        Ok((foreign, client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "[[client]]\nclient_id = \"app\"\nscope = \"read\"\nintegration = \"INT\"\ngrant = \"GRT\"\n";

    fn checked(text: &str, clear_text: bool) -> Result<IssuerConfig> {
        let integration = model::IntegrationId::from_bytes([1; 16]).to_string();
        let grant = model::GrantId::from_bytes([2; 16]).to_string();
        let text = text.replace("INT", &integration).replace("GRT", &grant);
        toml::from_str::<IssuerFile>(&text)?.checked(Path::new("d"), clear_text)
    }

    #[test]
    fn an_issuer_is_known_by_its_name_and_by_what_its_clients_are_here() {
        let right = format!("issuer = \"https://as.example/t\"\n{CLIENT}");
        let config = checked(&right, false).unwrap();
        assert_eq!((config.name(), &*config.subject_claim), ("https://as.example/t", "sub"));
        let integration = model::IntegrationId::from_bytes([1; 16]);
        let grant = model::GrantId::from_bytes([2; 16]);
        assert_eq!(config.clients["app"]["read"], Mapped { integration, grant });
        assert_eq!(config.inquirer, None);
        let asked = format!("client_id = \"portcullis\"\nclient_key = \"keys/k\"\n{right}");
        let proof = ProofFile::Key("d/keys/k".into());
        assert_eq!(checked(&asked, false).unwrap().inquirer, Some(("portcullis".into(), proof)));
        let clear = right.replace("https://as.example", "http://localhost:1");
        assert!(checked(&clear, true).is_ok());
        for wrong in [
            clear,
            right.replace("/t", "/t?x"),
            right.replace("as.example", "me@as.example"),
            right.replace("INT", "mail-merge"),
            right.replace("\"read\"", "\"read write\""),
            right.replace("\"app\"", "\"\""),
            format!("{right}{CLIENT}"),
            format!("client_id = \"portcullis\"\n{right}"),
            format!("client_key = \"k\"\n{right}"),
            format!("algorithms = [\"RS256\"]\n{right}"),
            "issuer = \"https://as.example\"\nclient = []\n".to_owned(),
        ] {
            assert!(checked(&wrong, false).is_err(), "{wrong}");
        }
    }
}
