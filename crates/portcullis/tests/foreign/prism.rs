//! In front of an API server that nobody here wrote: Prism mocks Box from its published document, all of it, whatever the grant.

use crate::scripts::{self, Keys};
use crate::support::{Application, Node, Onboarded, Protected, Transport, Trial, wait};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const IDENTITY: &str = "user.identity";
const CONTACT: &str = "user.contact";
const CONTENT: &str = "user.content";

/// The fields of a user, each with its class: `box-three-classes.overlay.yaml` as a person reads it.
const USER: &[(&str, &str)] = &[
    ("id", IDENTITY),
    ("type", IDENTITY),
    ("name", IDENTITY),
    ("job_title", IDENTITY),
    ("login", CONTACT),
    ("phone", CONTACT),
    ("address", CONTACT),
    ("notification_email/email", CONTACT),
];

const USERS: &[(&str, &str)] = &[
    ("entries/*/id", IDENTITY),
    ("entries/*/type", IDENTITY),
    ("entries/*/name", IDENTITY),
    ("entries/*/job_title", IDENTITY),
    ("entries/*/login", CONTACT),
    ("entries/*/phone", CONTACT),
    ("entries/*/address", CONTACT),
    ("entries/*/notification_email/email", CONTACT),
];

/// The fields of a file, and of the users that stand in one.
const FILE: &[(&str, &str)] = &[
    ("id", CONTENT),
    ("type", CONTENT),
    ("name", CONTENT),
    ("description", CONTENT),
    ("size", CONTENT),
    ("created_at", CONTENT),
    ("modified_at", CONTENT),
    ("tags/*", CONTENT),
    ("created_by/id", IDENTITY),
    ("created_by/type", IDENTITY),
    ("created_by/name", IDENTITY),
    ("created_by/login", CONTACT),
    ("modified_by/id", IDENTITY),
    ("modified_by/type", IDENTITY),
    ("modified_by/name", IDENTITY),
    ("modified_by/login", CONTACT),
    ("owned_by/id", IDENTITY),
    ("owned_by/type", IDENTITY),
    ("owned_by/name", IDENTITY),
    ("owned_by/login", CONTACT),
    ("lock/created_by/id", IDENTITY),
    ("lock/created_by/type", IDENTITY),
    ("lock/created_by/name", IDENTITY),
    ("lock/created_by/login", CONTACT),
];

const READ: [(&str, &[(&str, &str)]); 4] =
    [("/users/me", USER), ("/users/11446498", USER), ("/users", USERS), ("/files/12345", FILE)];

#[test]
fn an_integration_receives_exactly_the_fields_of_its_classes() -> Result<()> {
    if !scripts::installed("Prism behind the gateway") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    for (slug, classes) in [
        ("all-three", &[IDENTITY, CONTACT, CONTENT][..]),
        ("who", &[IDENTITY]),
        ("reach", &[CONTACT]),
        ("keeps", &[CONTENT]),
    ] {
        let (integration, keys) = onboard(&node, slug, classes)?;
        let paths = READ.map(|(path, _)| path);
        let read = scripts::run("read.mjs", &node, &integration, &keys, &paths)?;
        let replies = array(&read, "/replies")?;
        assert_eq!(replies.len(), READ.len());
        for ((path, fields), reply) in READ.iter().zip(replies) {
            let original = serde_json::from_str(&prism.ask(path)?)?;
            check(reply, only(&original, fields, classes).as_ref())
                .with_context(|| format!("{slug} at {path}"))?;
        }
        let exposure = node.operate(&["exposure", "--json", "--integration", slug])?;
        let exposure: Value = serde_json::from_str(&exposure)?;
        let subjects = array(&exposure, "/subjects")?;
        let [subject] = subjects.as_slice() else { bail!("not one subject: {exposure}") };
        assert_eq!(subject.pointer("/id"), Some(&"11446498".into()));
        let read: BTreeSet<_> =
            array(subject, "/classes")?.iter().filter_map(Value::as_str).collect();
        assert_eq!(read, classes.iter().copied().collect());
    }
    Ok(())
}

#[test]
fn what_the_origin_answers_about_somebody_else_never_leaves() -> Result<()> {
    if !scripts::installed("Prism answering with another user than the one asked for") {
        return Ok(());
    }
    let prism = Prism::start()?;
    let node = Node::start(&prism.protected(&contract()), Transport::ClearText)?;
    let (integration, keys) = onboard(&node, "mixed-up", &[IDENTITY, CONTACT, CONTENT])?;
    // Whoever is asked for, Prism answers with its one example, 11446498.
    let (before, in_sandbox) = (prism.requests()?, node.operate(&["exposure", "--json"])?);
    let read = scripts::run("read.mjs", &node, &integration, &keys, &["/users/11446499"])?;
    prism.wait_for(before + 1)?;
    let [reply] = array(&read, "/replies")?.as_slice() else { bail!("not one reply: {read}") };
    assert_eq!(reply.pointer("/status"), Some(&404.into()));
    let body = reply.pointer("/body").and_then(Value::as_str).context("no body")?;
    let problem: Value = serde_json::from_str(body)?;
    assert_eq!(problem.pointer("/code"), Some(&"not_found".into()));
    assert!(!body.contains("1144649"), "{body}");
    let totals = |answer: &str| -> Result<Value> {
        let exposure: Value = serde_json::from_str(answer)?;
        Ok(exposure.pointer("/totals").context("no totals")?.clone())
    };
    assert_eq!(totals(&node.operate(&["exposure", "--json"])?)?, totals(&in_sandbox)?);
    Ok(())
}

/// Headers of an answer with data, and of a refusal. Neither has one of the origin's, which sends five more.
const HEADERS: [&[&str]; 2] = [
    &["content-length", "content-type", "date", "portcullis-receipt", "portcullis-request"],
    &["cache-control", "content-length", "content-type", "date", "portcullis-request"],
];

/// `expected`: what the classes leave of what the origin answered; `None` if no class of the operation is granted.
fn check(reply: &Value, expected: Option<&Value>) -> Result<()> {
    let body = reply.pointer("/body").and_then(Value::as_str).context("no body")?;
    let body: Value = serde_json::from_str(body)?;
    let headers = reply.pointer("/headers").and_then(Value::as_object).context("no headers")?;
    let headers: Vec<_> = headers.keys().map(String::as_str).collect();
    let [with_data, of_refusal] = HEADERS;
    if let Some(expected) = expected {
        assert_eq!(reply.pointer("/status"), Some(&200.into()));
        assert_eq!(&body, expected);
        assert_eq!(headers, with_data);
    } else {
        assert_eq!(reply.pointer("/status"), Some(&403.into()));
        assert_eq!(body.pointer("/code"), Some(&"not_permitted".into()));
        assert_eq!(headers, of_refusal);
    }
    Ok(())
}

/// The naive twin of the filter: what `classes` leave of `original`, by `fields` alone. `None` if they leave nothing.
///
/// An object or a list stays if the classes cover a field somewhere below it, empty if need be; but an item of a list goes
/// without data in it, because how many there are is a count.
fn only(original: &Value, fields: &[(&str, &str)], classes: &[&str]) -> Option<Value> {
    let left = below(original, "", &|path| {
        let below = format!("{path}/");
        let mut covered = fields.iter().filter(|(_, class)| classes.contains(class));
        covered.any(|(field, _)| *field == path || field.starts_with(&below))
    });
    left.filter(holds_data)
}

/// `stays`: of a path, whether something at or below it may leave.
fn below(value: &Value, path: &str, stays: &dyn Fn(&str) -> bool) -> Option<Value> {
    let step = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
    };
    if !path.is_empty() && !stays(path) {
        return None;
    }
    Some(match value {
        Value::Object(members) => members
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), below(value, &step(name), stays)?)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| below(item, &step("*"), stays).filter(holds_data))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    })
}

fn holds_data(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(holds_data),
        Value::Array(items) => items.iter().any(holds_data),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Registers an integration with a key of its own for the four operations that are read here.
///
/// # Errors
/// What a command said.
pub(crate) fn onboard(node: &Node, slug: &str, classes: &[&str]) -> Result<(Onboarded, Keys)> {
    let keys = Keys::make("ES256")?;
    Ok((onboard_with(node, slug, &keys, classes)?, keys))
}

/// As [`onboard`], with a key that is there.
///
/// # Errors
/// What a command said.
pub(crate) fn onboard_with(
    node: &Node,
    slug: &str,
    keys: &Keys,
    classes: &[&str],
) -> Result<Onboarded> {
    // What is asked for in the sandbox has something of these classes.
    let path = if classes == [CONTENT] { "/files/12345" } else { "/users/11446498" };
    let read = |by: &Onboarded| scripts::run("read.mjs", node, by, keys, &[path]).map(drop);
    node.onboard(&Application {
        slug,
        jwk: &keys.public(),
        operations: &["get_users_me", "get_users_id", "get_users", "get_files_id"],
        classes,
        purpose: "document_management",
        trial: Some(Trial { subject: "11446498", read: &read }),
    })
}

/// An array of what a program printed.
///
/// # Errors
/// If there is none.
pub(crate) fn array<'a>(printed: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    printed
        .pointer(pointer)
        .and_then(Value::as_array)
        .with_context(|| format!("{pointer} of {printed}"))
}

/// Box's document and the overlay that annotates it.
pub(crate) fn contract() -> [PathBuf; 2] {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../disclosure/testdata");
    ["box.json", "box-three-classes.overlay.yaml"].map(|file| directory.join(file))
}

/// Whatever answers at `origin`, by the contract of Box.
pub(crate) fn protected(origin: SocketAddr, [openapi, overlay]: &[PathBuf; 2]) -> Protected<'_> {
    Protected { origin, credential: None, openapi, overlay }
}

/// Prism, a process of its own. It insists on an `Authorization`, as Box does.
pub(crate) struct Prism {
    process: Child,
    log: TempDir,
    address: SocketAddr,
}

const CREDENTIAL: &str = "Bearer of-the-gateway";

impl Prism {
    /// Starts it with the examples of the document.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub(crate) fn start() -> Result<Self> {
        let log = tempfile::tempdir()?;
        let written = std::fs::File::create(log.path().join("log"))?;
        let [openapi, _] = contract();
        let process = Command::new(scripts::directory().join("node_modules/.bin/prism"))
            .args(["mock", "--host", "127.0.0.1", "--port", "0"])
            .arg(openapi)
            .stdin(Stdio::null())
            .stderr(written.try_clone()?)
            .stdout(written)
            .spawn()
            .context("cannot start Prism")?;
        let mut prism = Self { process, log, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        prism.address = wait(|| {
            let log = prism.log()?;
            if let Some(status) = prism.process.try_wait()? {
                bail!("Prism ended with {status}:\n{log}");
            }
            let after = log.split_once("Prism is listening on http://");
            let address = after.and_then(|(_, rest)| rest.split_once('\n'));
            Ok(address.map(|(address, _)| address.trim().parse()).transpose()?)
        })?;
        Ok(prism)
    }

    /// What the gateway is told of it.
    pub(crate) fn protected<'a>(&self, contract: &'a [PathBuf; 2]) -> Protected<'a> {
        Protected { credential: Some(CREDENTIAL), ..protected(self.address, contract) }
    }

    /// What it answers to somebody with nothing between.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn ask(&self, path: &str) -> Result<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {CREDENTIAL}\r\nconnection: close\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no head")?;
        Ok(body.to_owned())
    }

    /// How many requests it received.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub(crate) fn requests(&self) -> Result<usize> {
        Ok(self.log()?.matches("Request received").count())
    }

    /// Waits until the log says that it got so many requests, and no more than that.
    ///
    /// # Errors
    /// If there were more, or it stays at fewer.
    pub(crate) fn wait_for(&self, requests: usize) -> Result<()> {
        let seen = wait(|| Ok(Some(self.requests()?).filter(|seen| *seen >= requests)))?;
        ensure!(seen == requests, "{seen} requests, not {requests}");
        Ok(())
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log.path().join("log"))?)
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}
