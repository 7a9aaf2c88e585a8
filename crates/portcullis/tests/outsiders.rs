//! What outsiders have of a node: its log over HTTP, proofs of single records, receipts, witnesses; and what becomes of a node whose
//! directory is put back to an older copy.

#[path = "support/files.rs"]
mod files;
#[path = "support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;
#[path = "support/witness.rs"]
mod witness;

use anyhow::{Context, Result, bail, ensure};
use files::copy;
use ledger::note::VerifyingKey;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{Node, Protected, Transport, portcullis, said, serve, wait};
use tempfile::TempDir;
use witness::{Memory, Witness};

/// A node whose log is in use; nobody reads data through it, operators and refusals are enough to fill a log.
fn node() -> Result<Node> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node"));
    let (openapi, overlay) =
        (folder.join("people-openapi.yaml"), folder.join("people-overlay.yaml"));
    let origin = SocketAddr::from(([127, 0, 0, 1], 9));
    let protected = Protected { origin, credential: None, openapi: &openapi, overlay: &overlay };
    Node::start(&protected, Transport::ClearText)
}

/// Where the log is served, as the node said.
fn log_url(node: &Node) -> Result<String> {
    let log = fs::read_to_string(node.data().with_extension("log"))?;
    let (_, address) = log.split_once(" log=").context("the node says where its log is")?;
    Ok(format!("http://{}", address.split_whitespace().next().context("an address")?))
}

/// `portcullis verify` with the node's log key and `more`; its answer as JSON.
fn verify(node: &Node, what: &str, more: &[&str]) -> Result<Value> {
    let key = node.data().join("keys/log.pub");
    let mut command = portcullis();
    command.args(["verify", what, "--json", "--key"]).arg(key).args(more);
    Ok(serde_json::from_str(&said(&mut command)?)?)
}

fn refused(node: &Node, what: &str, more: &[&str]) -> Result<String> {
    match verify(node, what, more) {
        Ok(proved) => bail!("proved: {proved}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn size(said: &Value) -> u64 {
    said["tree_size"].as_u64().unwrap_or(0)
}

/// Has the node record something, and waits until its log shows it.
fn grow(node: &Node) -> Result<Value> {
    let before = size(&verify(node, &log_url(node)?, &[])?);
    node.operate(&["freeze", "--reason", "to have something recorded"])?;
    node.operate(&["unfreeze"])?;
    wait(|| Ok(Some(verify(node, &log_url(node)?, &[])?).filter(|said| size(said) > before)))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("text")
}

fn get(url: &str, path: &str) -> Result<String> {
    let address = url.strip_prefix("http://").context("an address")?;
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_stranger_with_the_log_s_key_checks_everything_that_is_served() -> Result<()> {
    let mut node = node()?;
    let kept = tempfile::tempdir()?;
    let file = |name: &str| kept.path().join(name);
    let url = log_url(&node)?;
    wait(|| Ok(get(&url, "checkpoint")?.starts_with("HTTP/1.1 200").then_some(())))?;

    // A live log, twice: what was kept the first time is the beginning of what is there the second time.
    let (first, second) = (file("first"), file("second"));
    let one = verify(&node, &url, &["-o", text(&first)?])?;
    grow(&node)?;
    let two = verify(&node, &url, &["--since", text(&first)?, "-o", text(&second)?])?;
    ensure!(size(&two) > size(&one) && two["since"].as_u64() == Some(size(&one)), "{two}");
    ensure!(two["ends"].is_string(), "{two}");

    // The other way round the log has shrunk; another log's key opens nothing.
    let shrunk = file("shrunk");
    fs::create_dir(&shrunk)?;
    copy(&node.data().join("ledger/tile"), &shrunk.join("tile"))?;
    fs::copy(&first, shrunk.join("checkpoint"))?;
    let taken_back = refused(&node, text(&shrunk)?, &["--since", text(&second)?])?;
    ensure!(taken_back.contains("records were taken back"), "{taken_back}");
    let stranger =
        ledger::note::SigningKey::new("deployment/node-1/1", &[1; 32])?.verifying_key()?;
    let mut as_stranger = portcullis();
    as_stranger.args(["verify", &url, "--key", &stranger.to_string()]);
    ensure!(said(&mut as_stranger).is_err(), "another key");

    // One record, proved from the live log, checked offline.
    let proof = file("record.tlog-proof");
    let mut prove = portcullis();
    prove.args(["log", "prove", "1", &url, "--key"]).arg(node.data().join("keys/log.pub"));
    said(prove.arg("-o").arg(&proof))?;
    let proved = verify(&node, text(&proof)?, &[])?;
    ensure!(proved["index"] == 1 && proved["kind"].is_string(), "{proved}");
    let elsewhere = fs::read_to_string(&proof)?.replace("index 1\n", "index 2\n");
    fs::write(file("elsewhere"), elsewhere)?;
    let wrong = refused(&node, text(&file("elsewhere"))?, &[])?;
    ensure!(wrong.contains("does not lead from its entry"), "{wrong}");

    // The whole record replays while the node writes to it.
    verify(&node, text(&node.data())?, &["--full"])?;
    ensure!(refused(&node, &url, &["--full"])?.contains("takes a data directory"));

    // Nothing but checkpoint and tiles has a path, whatever is asked for.
    for path in
        ["keys/log.key", "../keys/log.key", "segments/0", "tile/../segments", "%2e%2e/keys/log.key"]
    {
        ensure!(get(&url, path)?.starts_with("HTTP/1.1 404"), "{path}");
    }

    // A copy of the files is the same log, and a changed byte of it is named.
    node.stop()?;
    let copied = file("copied");
    copy(&node.data().join("ledger/tile"), &copied.join("tile"))?;
    fs::copy(node.data().join("ledger/checkpoint"), copied.join("checkpoint"))?;
    let whole = verify(&node, text(&copied)?, &["--since", text(&second)?])?;
    let bundle = copied.join(format!("tile/entries/000.p/{}", size(&whole)));
    let mut bytes = fs::read(&bundle)?;
    *bytes.last_mut().context("bytes")? ^= 1;
    fs::write(&bundle, bytes)?;
    let tampered = refused(&node, text(&copied)?, &[])?;
    ensure!(tampered.contains("does not lead to the checkpoint's root"), "{tampered}");

    // The whole log, replayed and cosigned by an auditor whose key others know.
    let (secret, cosigned) = (file("auditor.key"), file("cosigned"));
    let mut new_key = portcullis();
    new_key.args(["keys", "new", "auditor.example/1", "-o", text(&secret)?]);
    let auditor = said(&mut new_key)?;
    let data = node.data();
    let full = ["--full", "--cosign", text(&secret)?, "-o", text(&cosigned)?];
    let audited = verify(&node, text(&data)?, &full)?;
    ensure!(audited["records"].as_u64() > Some(size(&two)), "{audited}");
    let vouched = verify(&node, text(&cosigned)?, &["--key", &auditor])?;
    ensure!(vouched["cosigned"][0]["name"] == "auditor.example/1", "{vouched}");
    Ok(())
}

#[test]
fn the_log_gets_another_key_and_everybody_can_follow() -> Result<()> {
    let mut node = node()?;
    let data = node.data();
    let kept = tempfile::tempdir()?;
    let rotate = |more: &[&str]| {
        said(portcullis().args(["keys", "rotate", "log"]).args(more).current_dir(&data))
    };
    let key_of = |line: usize| -> Result<String> {
        let keys = fs::read_to_string(data.join("keys/log.pub"))?;
        Ok(keys.lines().nth(line).context("a key")?.to_owned())
    };
    let knows = |key: &str, what: &str| {
        let mut command = portcullis();
        said(command.args(["verify", what, "--key", key, "--json"]))
    };
    let directory = text(&data)?.to_owned();
    node.stop()?;
    let (old, before) = (key_of(0)?, kept.path().join("before"));
    fs::copy(data.join("ledger/checkpoint"), &before)?;
    rotate(&[])?;
    ensure!(rotate(&[]).is_err(), "one at a time");
    ensure!(key_of(0)? == old, "receipts stay with the old key");
    let new = key_of(1)?;
    ensure!(rotate(&["--finish"]).is_err(), "nothing was signed with both yet");
    ensure!(knows(&new, &directory).is_err(), "the new key has signed nothing");

    (node.process, _) = serve(&data)?;
    ensure!(rotate(&["--finish"]).is_err(), "the node runs");
    node.stop()?;
    knows(&old, &directory).context("with the old key")?;
    knows(&new, &directory).context("with the new key")?;

    rotate(&["--finish"])?;
    // Had it been broken off before the file beside was gone, the node would start, and repeating it would end it.
    fs::copy(data.join("keys/log.key"), data.join("keys/log.next.key"))?;
    (node.process, _) = serve(&data)?;
    node.stop()?;
    rotate(&["--finish"])?;
    ensure!(!data.join("keys/log.next.key").exists(), "gone");
    ensure!(key_of(0)? == new && key_of(1).is_err(), "the new key alone");
    ensure!(knows(&old, &directory).is_err(), "the old key signs no more");
    let since = ["--since", text(&before)?];
    ensure!(verify(&node, &directory, &since).is_err(), "of a key that is not known");
    let retired = data.join("keys/log.retired.pub");
    verify(&node, &directory, &[&since[..], &["--key", text(&retired)?]].concat())
        .context("what the old key signed is the beginning")?;
    verify(&node, &directory, &["--full"])?;
    Ok(())
}

/// Writes the witness into the node's configuration.
fn appoint(node: &Node, witness: &Witness) -> Result<()> {
    let path = node.data().join("portcullis.toml");
    let lines = format!(
        "\n[[witness]]\nurl = \"http://{}/w/\"\nkey = \"{}\"\n",
        witness.address, witness.key
    );
    Ok(fs::write(&path, fs::read_to_string(&path)? + &lines)?)
}

/// What a node that does not start says.
fn does_not_start(data: &Path) -> Result<String> {
    let ended = portcullis()
        .arg("serve")
        .current_dir(data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    ensure!(!ended.status.success(), "it started");
    Ok(String::from_utf8_lossy(&ended.stderr).into_owned())
}

fn keys_of(data: &Path) -> Result<Vec<VerifyingKey>> {
    let key = fs::read_to_string(data.join("keys/log.pub"))?;
    Ok(vec![VerifyingKey::parse(key.trim())?])
}

#[test]
fn a_witness_sees_each_checkpoint_and_stops_a_node_that_forgot_some() -> Result<()> {
    let mut node = node()?;
    let data = node.data();
    node.stop()?;
    let memory = Memory::default();
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let witness = Witness::start("witness.example/w1", anywhere, keys_of(&data)?, &memory)?;
    appoint(&node, &witness)?;
    (node.process, _) = serve(&data)?;
    let key = witness.key.clone();
    let trust = ["--key", &*key];
    let cosigned = |node: &Node| {
        wait(|| {
            // A log that has just begun shows no checkpoint yet.
            let said = verify(node, &log_url(node)?, &trust).ok();
            Ok(said.filter(|said| said["cosigned"][0]["name"] == "witness.example/w1"))
        })
    };
    let first = cosigned(&node)?;
    grow(&node)?;
    let later = wait(|| Ok(Some(cosigned(&node)?).filter(|said| size(said) > size(&first))))?;

    // A witness that is down holds nothing up; when it is back it cosigns what it missed.
    let address = witness.address;
    drop(witness);
    let alone = grow(&node)?;
    ensure!(size(&alone) > size(&later), "the log goes on");
    let older = TempDir::new()?;
    copy(&data, older.path())?;
    let witness = Witness::start("witness.example/w1", address, keys_of(&data)?, &memory)?;
    let back = wait(|| Ok(Some(cosigned(&node)?).filter(|said| size(said) >= size(&alone))))?;
    let kept = older.path().join("kept");
    fs::write(&kept, back["checkpoint"].as_str().context("a note")?)?;
    grow(&node)?;
    wait(|| Ok(Some(cosigned(&node)?).filter(|said| size(said) > size(&back))))?;
    node.stop()?;

    // The directory of a while ago, put back: the witness has seen more, and nothing is signed a second time.
    let newest = fs::read_to_string(data.join("ledger/checkpoint"))?;
    fs::remove_dir_all(data.join("ledger"))?;
    copy(&older.path().join("ledger"), &data.join("ledger"))?;
    let restored = fs::read_to_string(data.join("ledger/checkpoint"))?;
    ensure!(restored != newest, "the copy is older");
    let why = does_not_start(&data)?;
    ensure!(
        why.contains("the directory is an older copy") && why.contains("next-generation"),
        "{why}"
    );
    ensure!(fs::read_to_string(data.join("ledger/checkpoint"))? == restored, "nothing was signed");
    // So it is if the log is gone altogether.
    fs::rename(data.join("ledger"), data.join("ledger.aside"))?;
    let why = does_not_start(&data)?;
    ensure!(why.contains("the directory is an older copy"), "{why}");
    ensure!(!data.join("ledger/checkpoint").exists(), "nothing was signed");
    fs::remove_dir_all(data.join("ledger")).ok();
    fs::rename(data.join("ledger.aside"), data.join("ledger"))?;

    // The operator opens the next generation; its first record names what was lost, as the witness has it.
    let lost = data.join("lost");
    fs::write(&lost, &newest)?;
    let next = |more: &[&str]| {
        said(portcullis().args(["log", "next-generation"]).args(more).current_dir(&data))
    };
    // Had it been broken off before the log moved away, repeating it would end it just as well.
    fs::create_dir_all(data.join("generations/1"))?;
    fs::create_dir(data.join("ledger.next"))?;
    next(&["--lost", "lost"])?;
    ensure!(next(&["--lost", "lost"]).is_err(), "once");
    // Had it been broken off halfway, no node would take the directory for a new one, and repeating it would end it.
    fs::rename(data.join("ledger"), data.join("ledger.next"))?;
    ensure!(does_not_start(&data)?.contains("broken off"));
    next(&[])?;
    let former = data.join("generations/1");
    let old_key = {
        let seed: [u8; 32] = fs::read(data.join("keys/log.key"))?.as_slice().try_into()?;
        ledger::note::SigningKey::new("deployment/node-1/1", &seed)?.verifying_key()?.to_string()
    };
    let mut audit = portcullis();
    audit.args(["verify", "--full", "--key", &old_key]).arg(&former);
    said(&mut audit).context("the generation before is kept, and holds")?;
    drop(witness);
    let _both = Witness::start("witness.example/w1", address, keys_of(&data)?, &memory)?;
    (node.process, _) = serve(&data)?;
    let begun = cosigned(&node)?;
    ensure!(begun["log"] == "deployment/node-1/2", "{begun}");
    node.stop()?;
    verify(&node, text(&data)?, &["--full"])?;
    let segment = fs::read_dir(data.join("ledger/segments"))?.next().context("a segment")??.path();
    let lost = newest.lines().nth(2).context("a root")?.as_bytes();
    let named = fs::read(segment)?.windows(lost.len()).any(|bytes| bytes == lost);
    ensure!(named, "the first record names the lost checkpoint");
    Ok(())
}
