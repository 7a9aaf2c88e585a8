//! A subject signs in to the portal at an OpenID provider that nobody here wrote, and connects an application; what a provider, or
//! somebody in its place, must not be believed is refused.

use crate::prism::{Prism, contract, onboard_with};
use crate::scripts::{self, Keys};
use crate::support::{Node, Onboarded, Transport};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

/// As the company registered it at its provider.
const SECRET: &str = "a secret/with+what%has to:be escaped";

#[test]
fn a_subject_signs_in_at_the_companys_provider() -> Result<()> {
    if !scripts::installed("oidc-provider, oauth4webapi and Chromium against the portal") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let mut node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    let keys = Keys::make("ES256")?;
    let classes = ["user.identity", "user.contact"];
    let Onboarded { integration, .. } = onboard_with(&node, "mail-merge", &keys, &classes)?;
    node.operate(&["integration", "redirects", "mail-merge", "--uri", "http://127.0.0.1/back"])?;
    let grant = node.operate(
        &[
            &["grant", "add", "--integration", "mail-merge", "--operation", "get_users_id"][..],
            &["--class", "user.identity", "--class", "user.contact"],
            &["--purpose", "document_management", "--subjects", "token"],
            &["--budget", "100,1000,5000", "--days", "9"],
        ]
        .concat(),
    )?;
    let connected = Onboarded { integration, grant };

    let secret = node.data().join("keys/provider.secret");
    private(&secret, SECRET.as_bytes())?;
    let client = json!({ "client_id": "portcullis:1", "client_secret": SECRET });
    let (portal, provider) = open(&mut node, &client, "client_secret = \"keys/provider.secret\"")?;
    let more = json!({
        "portal": portal,
        "provider": provider.issuer,
        "provider_client": "portcullis:1",
        "path": "/users/11446498",
        "pictures": std::env::var("PORTCULLIS_PICTURES").ok(),
    });
    let came = scripts::run_with("sign-in.mjs", &node, &connected, &keys, &[], &more)
        .with_context(|| {
            std::fs::read_to_string(node.data().with_extension("log")).unwrap_or_default()
        })?;
    assert_eq!(came.pointer("/received/name"), Some(&json!("Aaron Levie")), "{came}");

    // Once more, with a key in place of the secret.
    let jwk = provider_key(&node.data().join("keys/provider.pem"))?;
    let client = json!({
        "client_id": "portcullis:2",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": { "keys": [jwk] },
    });
    let (portal, provider) = open(&mut node, &client, "client_key = \"keys/provider.pem\"")?;
    let more = json!({ "portal": portal, "provider": provider.issuer, "only_sign_in": true });
    scripts::run_with("sign-in.mjs", &node, &connected, &keys, &[], &more).with_context(|| {
        std::fs::read_to_string(node.data().with_extension("log")).unwrap_or_default()
    })?;
    let refused = node.operate(&["subject", "enrol", "11446498"]);
    assert!(refused.is_err_and(|why| why.to_string().contains("passkeys")));
    Ok(())
}

struct Provider {
    process: Child,
    issuer: String,
    /// It would end if nobody could hear what it says.
    _output: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// Starts a provider that knows us as `client`, and the node again with it. `proof`: the line that names our proof.
fn open(node: &mut Node, client: &Value, proof: &str) -> Result<(String, Provider)> {
    let mut provider = None;
    let portal = node.open_portal_with(|portal| {
        let task = json!({ "client": client, "portal": portal });
        let mut process = scripts::node()
            .arg("provider.mjs")
            .arg(task.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut issuer = String::new();
        let mut output = BufReader::new(process.stdout.take().context("no output")?);
        output.read_line(&mut issuer)?;
        let issuer = issuer.trim().to_owned();
        let id = client.pointer("/client_id").and_then(Value::as_str).context("no client_id")?;
        let lines = format!(
            "[portal.provider]\nissuer = \"{issuer}\"\nclient_id = \"{id}\"\nname = \"Example login\"\n{proof}\n"
        );
        provider = Some(Provider { process, issuer, _output: output });
        Ok(lines)
    })?;
    Ok((portal, provider.context("no provider")?))
}

/// Makes the key that proves us, and gives its public half.
fn provider_key(path: &Path) -> Result<Value> {
    let pair = rcgen::KeyPair::generate()?;
    private(path, pair.serialize_pem().as_bytes())?;
    let key = credential::SigningKey::from_pkcs8(&pair.serialize_der())?;
    Ok(serde_json::from_str(key.public().canonical_jwk())?)
}

fn private(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)?;
    Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
}
