//! Each operator does what its role allows and nothing more, on every way into the node; so does an automation, until it ends.

use crate::alone;
use crate::authenticator::{Authenticator, Says};
use crate::origin::Origin;
use crate::process::{kill, log, restart, start_configured};
use crate::support::{Node, Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use tokio::runtime::Runtime;

/// Types a command that these sign.
fn by(node: &Node, signers: &[&str], arguments: &[&str]) -> Result<String> {
    let mut command = portcullis();
    command.args(arguments).arg("--config").arg(node.config());
    for signer in signers {
        command.arg("--key").arg(node.key(signer));
    }
    said(&mut command)
}

/// The word of refusal, or what it came to in place of one.
fn refused(outcome: Result<String>) -> String {
    match outcome {
        Ok(done) => format!("carried out: {done}"),
        Err(refusal) => refusal.to_string(),
    }
}

/// Adds an operator, with more arguments if it is an automation, and gives its id.
fn add(node: &Node, name: &str, role: &str, more: &[&str]) -> Result<String> {
    let key = node.key(name);
    let key = key.to_str().context("a path is text")?;
    node.operate(&[&["operator", "add", name, "--role", role, "--new-key", key], more].concat())
}

const SEVER: [&str; 4] = ["sever", "vendor:acme", "--reason", "theft"];
const RESTORE: [&str; 4] = ["restore", "vendor:acme", "--reason", "over"];

#[test]
fn each_operator_does_what_its_role_allows_and_no_more() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start_configured(&origin, Transport::ClearText)?;
    add(&node, "vera", "viewer", &[])?;
    add(&node, "rosa", "responder", &[])?;
    let aldo = add(&node, "aldo", "approver", &[])?;
    add(&node, "alma", "approver", &[])?;
    by(&node, &["rosa"], &["vendor", "add", "acme", "--name", "Acme Ltd"])?;

    // Looks, and nothing else.
    ensure!(by(&node, &["vera"], &["vendor", "list"])?.contains("Acme Ltd"));
    ensure!(by(&node, &["vera"], &["console"])?.contains("/console/enter#"));
    for (way, outcome) in [
        ("the sever path", by(&node, &["vera"], &SEVER)),
        ("the listener", by(&node, &["vera"], &["freeze", "--reason", "theft"])),
    ] {
        let said = refused(outcome);
        ensure!(said.contains("role `viewer` of `vera` may not"), "{way}: {said}");
        ensure!(said.contains("ask a responder"), "{way}: {said}");
    }
    // Somebody who may does not make up for somebody who may not.
    let said = refused(by(&node, &["first", "vera"], &SEVER));
    ensure!(said.contains("role `viewer` of `vera`"), "{said}");

    // Cuts, and does not restore, not even as the second of two.
    by(&node, &["rosa"], &SEVER)?;
    for signers in [&["rosa", "aldo"], &["vera", "first"]] {
        let said = refused(by(&node, signers, &RESTORE));
        ensure!(said.contains("may not `restore`; ask an approver"), "{said}");
    }
    let said = refused(by(&node, &["aldo"], &RESTORE));
    ensure!(said.contains("needs the signatures of 2 different keys"), "{said}");
    by(&node, &["aldo", "alma"], &RESTORE)?;

    // Decides nothing about who decides.
    let promote = ["operator", "role", &*aldo, "admin"];
    let said = refused(by(&node, &["aldo", "alma"], &promote));
    ensure!(said.contains("may not `operator_role`; ask an admin"), "{said}");
    node.operate(&["operator", "role", &aldo, "viewer"])?;
    let said = refused(by(&node, &["aldo", "alma"], &RESTORE));
    ensure!(said.contains("role `viewer` of `aldo`"), "demoted: {said}");
    let said = refused(by(&node, &["aldo"], &SEVER));
    ensure!(said.contains("role `viewer` of `aldo`"), "demoted, on the sever path: {said}");

    // After a restart as before, and by what is in memory while the registry cannot be used.
    kill(&mut node)?;
    restart(&mut node)?;
    let held = runtime.block_on(hold(&node.data().join("registry.db")))?;
    let said = refused(by(&node, &["rosa"], &["freeze", "--reason", "theft"]));
    ensure!(said.contains("the registry cannot be used"), "{said}");
    let said = refused(by(&node, &["vera"], &SEVER));
    ensure!(said.contains("role `viewer` of `vera` may not `sever`"), "{said}");
    by(&node, &["rosa"], &SEVER)?;
    drop(held);
    Ok(())
}

/// Holds the registry so that nothing can be written to it.
async fn hold(path: &Path) -> Result<SqliteConnection> {
    let mut registry = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut registry).await?;
    Ok(registry)
}

#[test]
fn an_automation_signs_for_itself_and_is_never_one_of_two() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start_configured(&origin, Transport::ClearText)?;
    for (role, days, why) in [
        ("approver", "9", "an automation is viewer or responder"),
        ("admin", "9", "an automation is viewer or responder"),
        ("viewer", "366", "365 days at most"),
    ] {
        let said = refused(add(&node, "wide", role, &["--automation", "--expires", days]));
        ensure!(said.contains(why), "{role}: {said}");
    }
    ensure!(add(&node, "endless", "viewer", &["--automation"]).is_err(), "it has an end");
    let robot = add(&node, "soar", "responder", &["--automation", "--expires", "9"])?;

    node.operate(&["vendor", "add", "acme", "--name", "Acme Ltd"])?;
    by(&node, &["soar"], &SEVER)?;
    let said = refused(by(&node, &["first", "soar"], &RESTORE));
    ensure!(said.contains("role `responder` of `soar` may not `restore`"), "{said}");
    let said = refused(by(&node, &["soar"], &["console"]));
    ensure!(said.contains("is for people"), "{said}");
    let said = refused(node.operate(&["operator", "role", &robot, "approver"]));
    ensure!(said.contains("an automation is viewer or responder"), "{said}");

    let rows: Value = serde_json::from_str(&node.operate(&["operator", "list", "--json"])?)?;
    let rows = rows.pointer("/rows").and_then(Value::as_array).context("rows")?;
    let row = rows.iter().find(|row| row["id"] == *robot).context("it is listed")?;
    ensure!(row["kind"] == "automation" && row["role"] == "responder", "{row}");
    ensure!(row["ends_in_days"] == 8, "{row}");
    let people = rows.iter().filter(|row| row["kind"] == "person" && row["until"].is_null());
    ensure!(people.count() == 2, "{rows:?}");

    // Somebody hears of its end beforehand.
    kill(&mut node)?;
    restart(&mut node)?;
    wait(|| {
        let log = log(&node);
        let line = log.lines().find(|line| line.contains("ends soon") && line.contains("soar"));
        Ok(line.filter(|line| line.contains("WARN")).map(|_| ()))
    })?;
    node.operate(&["operator", "remove", &robot])?;
    let said = refused(by(&node, &["soar"], &SEVER));
    ensure!(said.contains("is not an operator"), "{said}");
    Ok(())
}

/// A browser with the console open.
struct Browser {
    port: u16,
    cookie: String,
    page: String,
}

impl Browser {
    fn new(node: &Node) -> Self {
        let [.., port] = node.ports;
        Self { port, cookie: String::new(), page: String::new() }
    }

    fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Sends what a page of the console sends. Secrets that are given are kept.
    fn post(&mut self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let (origin, body) = (self.origin(), body.to_string());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "POST /console/{path} HTTP/1.1\r\nhost: localhost:{}\r\norigin: {origin}\r\ncookie: {}\r\nportcullis-console: {}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            self.cookie,
            self.page,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        if let Some(cookie) = cookie.and_then(|cookie| cookie.split(';').next()) {
            self.cookie = cookie.to_owned();
        }
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        if let Some(page) = body.get("page").and_then(Value::as_str) {
            self.page = page.to_owned();
        }
        Ok((status, body))
    }

    /// Follows the link that the command prints.
    fn follow(&mut self, link: &str) -> Result<u16> {
        let (page, token) = link.split_once('#').context("a token")?;
        ensure!(page == format!("{}/console/enter", self.origin()), "{page}");
        Ok(self.post("session", &json!({ "token": token }))?.0)
    }

    fn add_passkey(&mut self, device: &mut Authenticator, id: u8) -> Result<u16> {
        let (status, asked) = self.post("passkey/new/challenge", &json!({}))?;
        if status != 200 {
            return Ok(status);
        }
        let says = Says { id: vec![id; 16], ..Says::honest("webauthn.create", &self.origin()) };
        let credential = device.made(&asked, &says);
        Ok(self.post("passkey/new", &json!({ "credential": credential }))?.0)
    }

    fn log_in(&mut self, device: &Authenticator, id: u8) -> Result<u16> {
        let (_, asked) = self.post("login/challenge", &json!({}))?;
        let says = Says { id: vec![id; 16], ..Says::honest("webauthn.get", &self.origin()) };
        let part = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let credential = device.signed(&part("options"), &says);
        Ok(self.post("login", &json!({ "login": part("login"), "credential": credential }))?.0)
    }

    fn sever(&mut self) -> Result<(u16, Value)> {
        self.post("sever", &json!({ "target": "vendor:acme", "reason": "theft" }))
    }
}

#[test]
fn the_console_changes_something_for_a_passkey_and_a_role_only() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start_configured(&origin, Transport::ClearText)?;
    node.operate(&["vendor", "add", "acme", "--name", "Acme Ltd"])?;
    let vera = add(&node, "vera", "viewer", &[])?;
    let rosa = add(&node, "rosa", "responder", &[])?;

    let (mut hers, mut device) = (Browser::new(&node), Authenticator::new());
    let link = by(&node, &["vera"], &["console"])?;
    ensure!(hers.follow(&link)? == 200);
    ensure!(hers.follow(&link)? == 403, "a link twice");
    ensure!(hers.follow(&by(&node, &["vera"], &["console"])?)? == 200);
    ensure!(hers.add_passkey(&mut device, 1)? == 200);
    let (status, said) = hers.sever()?;
    ensure!(status == 403 && said.to_string().contains("ask a responder"), "{said}");

    let (mut browser, mut phone) = (Browser::new(&node), Authenticator::new());
    ensure!(browser.follow(&by(&node, &["rosa"], &["console"])?)? == 200);
    let (status, said) = browser.sever()?;
    ensure!(status == 403 && said["step_up"] == true, "{said}");
    ensure!(browser.add_passkey(&mut phone, 2)? == 200);

    // It outlasts a restart, which ends sessions; and is of no use for what it may not.
    kill(&mut node)?;
    restart(&mut node)?;
    let mut browser = Browser::new(&node);
    ensure!(browser.log_in(&phone, 1)? == 403, "somebody else's passkey");
    ensure!(browser.log_in(&phone, 2)? == 200);
    let (status, said) = browser.sever()?;
    ensure!(status == 200, "{said}");
    let posture = by(&node, &[], &["posture", "show", "--json"])?;
    ensure!(posture.contains(&rosa), "{posture}");
    let logged = || by(&node, &["first"], &["operator", "list", "--json"]);
    ensure!(logged()?.contains("\"passkeys\":1"), "the list says who has one");

    // Forgotten by two admins: the session ends, the passkey opens nothing, and a link lets another be added.
    let forget = ["operator", "forget-passkeys", &*rosa];
    ensure!(by(&node, &["rosa", "vera"], &forget).is_err());
    node.operate(&forget)?;
    ensure!(browser.sever()?.0 == 403, "the session");
    ensure!(browser.log_in(&phone, 2)? == 403, "the passkey");
    ensure!(browser.follow(&by(&node, &["rosa"], &["console"])?)? == 200);
    ensure!(browser.add_passkey(&mut phone, 3)? == 200);
    node.operate(&["operator", "remove", &vera])?;
    ensure!(Browser::new(&node).log_in(&device, 1)? == 403, "who left");
    Ok(())
}
