//! Registering what an integration proves itself with.

use super::{Session, in_days, print};
use crate::keys;
use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use clap::Args;
use model::{CredentialId, RuleKind, UnixMicros};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use storage::registry::Command;
use storage::registry::command::Rule;

/// What is registered: one of `--jwk`, `--certificate` and `--ca`; with `--ca`, one rule.
#[derive(Args)]
pub(crate) struct CredentialAdd {
    /// Slug or id
    #[arg(long)]
    integration: String,
    #[command(flatten)]
    means: Means,
    #[command(flatten)]
    rule: NameRule,
    #[arg(long)]
    days: u64,
    /// Networks it may be used from; none for any
    #[arg(long)]
    network: Vec<String>,
    #[command(flatten)]
    session: Session,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Means {
    /// File with the public JWK
    #[arg(long)]
    jwk: Option<PathBuf>,
    /// File with one certificate in PEM, self-signed or not: this one and no other
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// File with the certificate of a CA in PEM; the node must name it in `client_ca` too
    #[arg(long)]
    ca: Option<PathBuf>,
}

#[derive(Args)]
#[group(multiple = false, requires = "ca")]
struct NameRule {
    /// Its only URI, such as spiffe://acme.example/sync
    #[arg(long)]
    san_uri: Option<String>,
    /// One of its DNS names, whole
    #[arg(long)]
    san_dns: Option<String>,
    /// One of its mail addresses
    #[arg(long)]
    san_email: Option<String>,
    /// One of its addresses
    #[arg(long)]
    san_ip: Option<String>,
    /// Its subject, as `openssl x509 -noout -subject -nameopt RFC2253,utf8` prints it
    #[arg(long)]
    subject_dn: Option<String>,
}

impl NameRule {
    fn written(self) -> Option<Rule> {
        let rules = [
            (RuleKind::SanUri, self.san_uri),
            (RuleKind::SanDns, self.san_dns),
            (RuleKind::SanEmail, self.san_email),
            (RuleKind::SanIp, self.san_ip),
            (RuleKind::SubjectDn, self.subject_dn),
        ];
        let rule = |(kind, value): (RuleKind, Option<_>)| {
            Some(Rule { kind: kind.name().to_owned(), value: value? })
        };
        rules.into_iter().find_map(rule)
    }
}

impl CredentialAdd {
    pub(super) async fn run(self, now: UnixMicros) -> Result<()> {
        let Self { integration, means, rule, days, network: networks, session } = self;
        let credential = CredentialId::new(now, keys::random()?);
        let until = in_days(now, days);
        let rule = rule.written();
        if let Some(rule) = &rule {
            // The node says so too; here before two operators have signed.
            rule.read()?;
        }
        // Read before the node is asked for anything.
        let (jwk, certificate) = match (means, &rule) {
            (Means { jwk: Some(file), .. }, None) => (Some(read_jwk(&file)?), None),
            (Means { certificate: Some(file), .. }, None)
            | (Means { ca: Some(file), .. }, Some(_)) => (None, Some(read_certificate(&file)?)),
            (Means { ca: Some(_), .. }, None) => {
                bail!(
                    "--ca takes a rule: --san-uri, --san-dns, --san-email, --san-ip or --subject-dn"
                )
            }
            _ => bail!("a rule goes with --ca"),
        };
        let integration = session.integration(&integration).await?;
        let command = match (jwk, certificate) {
            (Some(jwk), _) => {
                Command::CredentialAdd { credential, integration, jwk, until, networks }
            }
            (None, certificate) => {
                let certificate = certificate.unwrap_or_default();
                Command::CertificateAdd {
                    credential,
                    integration,
                    certificate,
                    rule,
                    until,
                    networks,
                }
            }
        };
        session.send(command).await?;
        print::line(&credential.to_string())
    }
}

fn read_jwk(file: &Path) -> Result<serde_json::Map<String, serde_json::Value>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is not a JWK", file.display()))
}

fn read_certificate(file: &Path) -> Result<String> {
    let pem = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found.as_deref() {
        Ok([one]) => Ok(BASE64_URL_SAFE_NO_PAD.encode(one)),
        _ => bail!("`{}` does not hold exactly one certificate in PEM", file.display()),
    }
}
