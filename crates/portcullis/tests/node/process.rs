//! The node's process and its operators: killed, started again, given vendors, told to cut.

use crate::origin::Origin;
use crate::software::{Reach, Software, new_key};
use crate::support::{
    Application, Node, Onboarded, Protected, Transport, Trial, portcullis, said, serve,
};
use anyhow::{Context, Result, bail};
use aws_lc_rs::signature::Ed25519KeyPair;
use model::Micros;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::clock;
use storage::registry::{Command, Payload, SignedCommand};
use tempfile::TempDir;

/// A node in front of `origin`, with its data directory at `node` in `directory` if one is given.
///
/// # Errors
/// What [`Node::start`] says.
pub(crate) fn start(
    directory: Option<TempDir>,
    origin: &Origin,
    transport: Transport,
) -> Result<Node> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node"));
    let (openapi, overlay) =
        (folder.join("people-openapi.yaml"), folder.join("people-overlay.yaml"));
    let protected = Protected {
        origin: origin.address,
        credential: None,
        openapi: &openapi,
        overlay: &overlay,
    };
    match directory {
        None => Node::start(&protected, transport),
        Some(directory) => Node::start_in(directory, &protected, transport),
    }
}

/// Ends the process as a failing machine does: at once and without a word.
///
/// # Errors
/// The system's.
pub(crate) fn kill(node: &mut Node) -> Result<()> {
    node.process.kill()?;
    node.process.wait()?;
    Ok(())
}

/// A node whose configuration names the ports that it runs with, as one has them that was started before.
///
/// # Errors
/// What the node said.
pub(crate) fn start_configured(origin: &Origin, transport: Transport) -> Result<Node> {
    let mut node = start(None, origin, transport)?;
    kill(&mut node)?;
    restart(&mut node)?;
    Ok(node)
}

/// Starts another process in place of one that was killed, and kills that too after a while, wherever it stands then.
///
/// # Errors
/// The system's.
pub(crate) fn kill_at_start(node: &Node, after: Duration) -> Result<()> {
    let serve = portcullis().arg("serve").current_dir(node.data()).stderr(Stdio::null()).spawn();
    let mut process = serve?;
    std::thread::sleep(after);
    process.kill()?;
    process.wait()?;
    Ok(())
}

/// Starts it again, on the ports it had.
///
/// # Errors
/// What the node said.
pub(crate) fn restart(node: &mut Node) -> Result<()> {
    let (process, _) = serve(&node.data())?;
    node.process = process;
    Ok(())
}

/// An integration that may read, and its software with a token.
pub(crate) struct Employed {
    pub(crate) grant: String,
    pub(crate) software: Arc<Software>,
}

/// More than any test reads.
const AMPLE: &str = "100000,100000,100000";

/// Takes an integration on, with a budget of 100 people a minute, or an `ample` one.
///
/// # Errors
/// Whatever step was refused.
pub(crate) async fn employ(node: &Node, slug: &str, ample: bool) -> Result<Employed> {
    let jwk = node.data().join(format!("{slug}.jwk"));
    let key = new_key(&jwk)?;
    let (operations, classes) =
        (["getPerson", "getLetters"], ["user.unique_id", "user.contact.email", "user.content"]);
    let private = jwk.with_extension("private.jwk");
    let read = |by: &Onboarded| request(node, by, &private, "/v1/people/p-0001").map(drop);
    let trial = Trial { subject: "p-0001", read: &read };
    let application = Application {
        slug,
        jwk: &jwk,
        operations: &operations,
        classes: &classes,
        purpose: "support",
        trial: Some(trial),
    };
    let mut onboarded = node.onboard(&application)?;
    if ample {
        let mut grant = vec!["grant", "add", "--purpose", "support", "--subjects", "all"];
        grant.extend(["--integration", &onboarded.integration, "--days", "10", "--budget", AMPLE]);
        grant.extend(operations.iter().flat_map(|operation| ["--operation", operation]));
        grant.extend(classes.iter().flat_map(|class| ["--class", class]));
        onboarded.grant = node.operate(&grant)?;
    }
    let tls = node.url().starts_with("https");
    let ca = tls.then(|| node.data().join("keys/ca.pem"));
    let reach = Reach { url: node.url(), issuer: node.issuer(), ca };
    let software = Software::install(&reach, key, &onboarded.integration, &onboarded.grant).await?;
    Ok(Employed { grant: onboarded.grant, software })
}

/// What the node said so far.
pub(crate) fn log(node: &Node) -> String {
    std::fs::read_to_string(node.data().with_extension("log")).unwrap_or_default()
}

/// Makes one request with `portcullis request`, and gives the body.
fn request(node: &Node, by: &Onboarded, private: &Path, path: &str) -> Result<String> {
    let mut command = portcullis();
    command.args(["request", path, "--integration", &by.integration, "--grant", &by.grant]);
    command.arg("--private-key").arg(private);
    said(command.arg("--config").arg(node.data().join("portcullis.toml")))
}

/// What the sever path answered, and when that had arrived.
pub(crate) struct Cut {
    pub(crate) receipt: Value,
    pub(crate) took: Duration,
    pub(crate) acknowledged: Instant,
}

/// Sends one operator's signed command down the sever path, without the time that a process takes to start.
///
/// # Errors
/// The node's refusal.
pub(crate) fn sever(node: &Node, target: &str) -> Result<Cut> {
    let now = clock::unix_now();
    let command = Command::Sever { target: target.parse()?, reason: "it polls".to_owned() };
    let payload = Payload {
        id: clock::random(),
        posture_head: [0; 32],
        issued: now,
        expires: now + Micros::from_secs(60),
        command,
    };
    let payload = payload.to_json()?;
    let text = std::fs::read_to_string(node.key("first"))?;
    let words: Vec<_> = text.split_whitespace().collect();
    let [operator, _, seed] = words[..] else { bail!("not an operator's key file") };
    let seed: Vec<u8> = (0..seed.len() / 2)
        .map(|at| u8::from_str_radix(&seed[at * 2..at * 2 + 2], 16))
        .collect::<Result<_, _>>()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("an Ed25519 seed")?;
    let signature = pair.sign(&Payload::message(&payload)).as_ref().try_into()?;
    let signed = SignedCommand {
        payload,
        signatures: vec![(operator.parse()?, signature)],
        attachment: None,
    };
    let mut line = signed.to_json()?;
    line.push(b'\n');

    let started = Instant::now();
    let answer = tell_sever_socket(node, &line)?;
    let acknowledged = Instant::now();
    let receipt: Value = serde_json::from_str(&answer)?;
    if let Some(refused) = receipt.get("error") {
        bail!("not severed: {refused}");
    }
    Ok(Cut { receipt, took: acknowledged - started, acknowledged })
}

/// Sends one line to the sever socket and gives the line that comes back.
///
/// # Errors
/// The socket's.
pub(crate) fn tell_sever_socket(node: &Node, line: &[u8]) -> Result<String> {
    let stream = UnixStream::connect(node.data().join("run/sever.sock"))?;
    (&stream).write_all(line)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    Ok(answer)
}
