//! A subject connects an application that nobody here wrote, in a browser that nobody here wrote, with a passkey.

use crate::prism::{Prism, contract, onboard_with};
use crate::scripts::{self, Keys};
use crate::support::{Node, Onboarded, Transport};
use anyhow::{Context, Result};
use serde_json::Value;

#[test]
fn a_subject_connects_an_application_and_ends_it() -> Result<()> {
    if !scripts::installed("oauth4webapi and Chromium against the portal") {
        return Ok(());
    }
    let connecting = Connecting::start("127.0.0.1")?;
    let came = connecting.run("connect.mjs")?;
    assert_eq!(came.pointer("/heading"), Some(&"Connect A vendor?".into()));
    let received = came.pointer("/received").and_then(Value::as_object).context("no body")?;
    assert!(received.contains_key("name"), "{came}");
    assert!(!received.contains_key("login"), "it was not agreed to: {came}");

    // Everything after that is gone at one word, however many there are.
    let vendor = ["consent", "end", "vendor:mail-merge-inc", "--reason", "breach"];
    let ended = connecting.node.operate(&vendor)?;
    assert!(ended.contains("consents"), "{ended}");
    Ok(())
}

#[test]
fn another_client_and_another_verifier_of_passkeys_come_to_the_same() -> Result<()> {
    if !scripts::installed("openid-client, @simplewebauthn/server and Chromium against the portal")
    {
        return Ok(());
    }
    // Its application is at an address that no content policy can name.
    let came = Connecting::start("[::1]")?.run("openid-client.mjs")?;
    for how in ["alone", "received"] {
        let received = came.pointer(&format!("/{how}")).and_then(Value::as_object);
        let received = received.with_context(|| format!("{how}: {came}"))?;
        assert_eq!(received.get("name"), Some(&"Aaron Levie".into()), "{how}");
        assert!(received.contains_key("login"), "{how}");
    }
    Ok(())
}

/// A node with a portal, an integration that subjects may connect, and a subject that may make a passkey.
struct Connecting {
    application: &'static str,
    node: Node,
    keys: Keys,
    /// By the grant that subjects agree to.
    connected: Onboarded,
    /// The one over all subjects.
    own_grant: String,
    portal: String,
    enrol: String,
    /// It answers as long as it lives.
    _prism: Prism,
}

impl Connecting {
    /// `application`: its host, as a URI has it.
    fn start(application: &'static str) -> Result<Self> {
        let prism = Prism::start()?;
        let mut node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
        let portal = node.open_portal()?;
        let keys = Keys::make("ES256")?;
        let classes = ["user.identity", "user.contact"];
        let Onboarded { integration, grant: own_grant } =
            onboard_with(&node, "mail-merge", &keys, &classes)?;
        let uri = format!("http://{application}/back");
        node.operate(&["integration", "redirects", "mail-merge", "--uri", &uri])?;
        let grant = node.operate(
            &[
                &["grant", "add", "--integration", "mail-merge", "--operation", "get_users_id"][..],
                &["--class", "user.identity", "--class", "user.contact"],
                &["--purpose", "document_management", "--subjects", "token"],
                &["--budget", "100,1000,5000", "--days", "9"],
            ]
            .concat(),
        )?;
        let enrol = node.operate(&["subject", "enrol", "11446498"])?;
        let connected = Onboarded { integration, grant };
        Ok(Self { application, node, keys, connected, own_grant, portal, enrol, _prism: prism })
    }

    fn run(&self, script: &str) -> Result<Value> {
        let more = serde_json::json!({
            "application": self.application,
            "portal": self.portal,
            "enrol": self.enrol,
            "own_scope": self.own_grant,
            "path": "/users/11446498",
            "withhold": "user.contact",
            "pictures": std::env::var("PORTCULLIS_PICTURES").ok(),
        });
        scripts::run_with(script, &self.node, &self.connected, &self.keys, &[], &more)
    }
}
