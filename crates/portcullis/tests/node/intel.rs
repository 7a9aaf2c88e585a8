//! Threat intelligence: a list that is imported, one that is fetched, a TAXII collection that nobody here serves, and databases that are damaged.
//! The integrations' software comes from 127.0.0.2, which only a list of the operator's own may hold.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, kill, log, restart, start, start_configured};
use crate::service::{ask, reload, signal};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use model::{Micros, UnixMicros};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use storage::clock;
use tokio::runtime::Runtime;

fn intel(node: &Node, arguments: &[&str]) -> Result<Value> {
    let mut command = portcullis();
    command.arg("intel").args(arguments).arg("--json").arg("--config").arg(node.config());
    Ok(serde_json::from_str(&said(&mut command)?)?)
}

/// The one list there is.
fn list(node: &Node) -> Result<Value> {
    intel(node, &["list"])?.pointer("/lists/0").cloned().context("a list")
}

fn indicator(id: u32, modified: &str, pattern: &str, more: &Value) -> Value {
    let mut object = json!({
        "type": "indicator",
        "spec_version": "2.1",
        "id": format!("indicator--{id:08}-0000-4000-8000-000000000000"),
        "created": "2026-01-01T00:00:00.000Z",
        "modified": modified,
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00.000Z",
    });
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
    object
}

fn configure(node: &Node, lines: &str) -> Result<()> {
    let text = std::fs::read_to_string(node.config())?;
    Ok(std::fs::write(node.config(), format!("{text}\n{lines}\n"))?)
}

#[test]
fn an_imported_list_refuses_until_it_is_over() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start_configured(&origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "visited", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    let mut status = || runtime.block_on(line.get("/v1/people/p-0001")).status;
    ensure!(status() == 200, "nothing is listed");

    let file = node.data().join("bundle.json");
    let bundle = |until: UnixMicros| {
        let red = json!({
            "valid_until": until.to_string(),
            "name": "a friend said so",
            "object_marking_refs": ["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"],
        });
        let here = "[ipv4-addr:value ISSUBSET '127.0.0.0/30']";
        let objects = [
            indicator(1, "2026-01-01T00:00:00.000Z", here, &red),
            indicator(
                2,
                "2026-01-01T00:00:00.000Z",
                "[url:value = 'http://a.example/']",
                &json!({}),
            ),
        ];
        std::fs::write(
            &file,
            json!({ "type": "bundle", "id": "bundle--1", "objects": objects }).to_string(),
        )
    };
    bundle(clock::unix_now() + Micros::from_secs(3_600))?;
    let text = file.to_str().context("text")?;
    let import = ["import", text, "--name", "friends"];
    let tried = intel(&node, &[&import[..], &["--dry-run"]].concat())?;
    ensure!(
        tried.pointer("/networks") == Some(&json!(0)),
        "a feed lists no private space: {tried}"
    );
    ensure!(tried.pointer("/left_out/private") == Some(&json!(1)), "{tried}");
    ensure!(tried.pointer("/left_out/unsupported") == Some(&json!(1)), "{tried}");
    ensure!(intel(&node, &["list"])?.pointer("/lists/0").is_none(), "nothing was changed");

    let ours = [&import[..], &["--owner", "operator"]].concat();
    let taken = intel(&node, &ours)?;
    ensure!(taken.pointer("/networks") == Some(&json!(1)), "{taken}");
    let mode = std::fs::metadata(node.data().join("intel/friends.list"))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    reload(&node, " reloaded\n")?;
    ensure!(status() == 403, "listed, so refused");
    let checked = intel(&node, &["check", "127.0.0.2"])?;
    ensure!(checked.pointer("/refused") == Some(&json!(true)), "{checked}");
    ensure!(checked.pointer("/list") == Some(&json!("friends")), "{checked}");
    ensure!(!checked.to_string().contains("said so"), "TLP:RED is shown to nobody: {checked}");
    ensure!(!log(&node).contains("said so"), "nor logged");

    // It ends by itself, without a reload. Until then it may be in effect for a moment or already be over, on a slow machine.
    bundle(clock::unix_now() + Micros::from_secs(3))?;
    intel(&node, &ours)?;
    reload(&node, " reloaded\n")?;
    wait(|| Ok((status() == 200).then_some(())))?;
    let checked = intel(&node, &["check", "127.0.0.2"])?;
    ensure!(checked.pointer("/refused") == Some(&json!(false)), "{checked}");
    Ok(())
}

/// A web server with one page, which says how often it was asked, and how often with what it said before.
struct Page {
    port: u16,
    body: Arc<Mutex<String>>,
    asked: Arc<Mutex<(usize, usize)>>,
}

impl Page {
    fn start(body: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let body = Arc::new(Mutex::new(body.to_owned()));
        let asked = Arc::new(Mutex::new((0, 0)));
        let (page, count) = (Arc::clone(&body), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), Ok(body), Ok(mut count)) = (stream, page.lock(), count.lock())
                else {
                    return;
                };
                let head = head_of(&mut stream);
                let etag = format!("\"{}\"", body.len());
                count.0 += 1;
                let known = head.contains(&format!("if-none-match: {etag}\r\n"));
                count.1 += usize::from(known);
                let answer = if known {
                    "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_owned()
                } else {
                    format!(
                        "HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    )
                };
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        Ok(Self { port, body, asked })
    }

    fn say(&self, body: &str) {
        if let Ok(mut page) = self.body.lock() {
            body.clone_into(&mut page);
        }
    }

    /// Has the node ask, and waits until it has asked once more.
    fn have_asked(&self, node: &Node) -> Result<()> {
        let asked = || self.asked.lock().map_or(0, |asked| asked.0);
        let before = asked();
        signal(node, Signal::HUP)?;
        wait(|| Ok((asked() > before).then_some(())))
    }
}

fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

#[test]
fn a_fetched_list_stays_as_it_was_until_something_better_comes() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let page = Page::start("127.0.0.2\n")?;
    let url = format!("http://127.0.0.1:{}/list.txt", page.port);
    let tool = runtime.block_on(employ(&node, "fetched", true))?;
    configure(
        &node,
        &format!(
            "[[feed]]\nname = \"page\"\nkind = \"plain\"\nowner = \"operator\"\nurl = \"{url}\"\n"
        ),
    )?;
    kill(&mut node)?;
    restart(&mut node)?;
    let status = || {
        let mut line = tool.software.line(Manner::Brisk);
        runtime.block_on(line.get("/v1/people/p-0001")).status
    };
    wait(|| Ok((status() == 403).then_some(())))?;
    ensure!(list(&node)?.pointer("/networks") == Some(&json!(1)), "{}", list(&node)?);

    // Asked again, and it is the same.
    page.have_asked(&node)?;
    wait(|| Ok(page.asked.lock().is_ok_and(|asked| asked.1 > 0).then_some(())))?;
    // Then an error page comes in place of the list.
    page.say("<html>Please sign in</html>\n");
    page.have_asked(&node)?;
    let failed = |is: &str| {
        let line = format!("portcullis_list_failed{{list=\"page\"}} {is}\n");
        wait(|| Ok(ask(&node, "/metrics")?.contains(&line).then_some(())))
    };
    failed("1")?;
    ensure!(status() == 403, "what was read last is in effect");
    let problem = list(&node)?.pointer("/problem/what").cloned().unwrap_or_default();
    ensure!(
        problem.as_str().is_some_and(|what| what.contains("nothing of it is a network")),
        "{problem}"
    );
    // Then the list again, of somebody else.
    page.say("203.0.113.77\n203.0.113.78\n");
    page.have_asked(&node)?;
    failed("0")?;
    wait(|| Ok((status() == 200).then_some(())))?;
    // A start without the server knows what was fetched last.
    page.say("127.0.0.0/30\n");
    page.have_asked(&node)?;
    wait(|| Ok((status() == 403).then_some(())))?;
    kill(&mut node)?;
    let text = std::fs::read_to_string(node.config())?.replace(&url, "http://127.0.0.1:9/list.txt");
    std::fs::write(
        node.config(),
        text.replace("owner = \"operator\"", "owner = \"operator\"\nevery = 7"),
    )?;
    restart(&mut node)?;
    ensure!(status() == 403, "kept over a restart");
    Ok(())
}

/// The foreign TAXII server. Dropped, it ends.
struct Taxii {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl Taxii {
    fn start() -> Result<Self> {
        let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign");
        let mut process = Command::new(foreign.join("venv/bin/python"))
            .arg(foreign.join("taxii.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asks = process.stdin.take().context("it is told what to add")?;
        let answers = BufReader::new(process.stdout.take().context("it says where it is")?);
        let mut taxii = Self { process, asks, answers, url: String::new() };
        taxii.url = taxii.line()?;
        Ok(taxii)
    }

    fn add(&mut self, objects: &[Value]) -> Result<()> {
        writeln!(self.asks, "{}", json!(objects))?;
        let status = self.line()?;
        ensure!(status == "202", "the server refused: {status}");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Taxii {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

#[test]
fn an_indicator_of_a_taxii_collection_refuses_until_it_is_revoked() -> Result<()> {
    if std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_none_or(|value| value != "1") {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: a TAXII server");
        return Ok(());
    }
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "collected", true))?;
    let mut taxii = Taxii::start()?;
    let first = "2026-01-01T00:00:00.000Z";
    let of = |n: u32| format!("[ipv4-addr:value = '203.0.113.{n}']");
    let objects: Vec<_> = (1..=5).map(|n| indicator(n, first, &of(n), &json!({}))).collect();
    taxii.add(&objects)?;
    let login = node.data().join("keys/taxii.login");
    std::fs::write(&login, "reader:a word:of many\n")?;
    std::fs::set_permissions(&login, Permissions::from_mode(0o600))?;
    configure(
        &node,
        &format!(
            "[[feed]]\nname = \"collection\"\nkind = \"taxii\"\nowner = \"operator\"\nlogin = \"keys/taxii.login\"\nurl = \"{}\"\n",
            taxii.url
        ),
    )?;
    kill(&mut node)?;
    restart(&mut node)?;
    let status = || {
        let mut line = tool.software.line(Manner::Brisk);
        runtime.block_on(line.get("/v1/people/p-0001")).status
    };
    // Three pages of two objects each.
    let networks = |expected: usize| {
        wait(|| Ok((list(&node)?.pointer("/networks") == Some(&json!(expected))).then_some(())))
            .with_context(|| format!("{:?}\n{}", list(&node), log(&node)))
    };
    networks(5)?;
    ensure!(status() == 200, "not among them");
    let here = "[ipv4-addr:value ISSUBSET '127.0.0.0/30']";
    taxii.add(&[indicator(9, first, here, &json!({ "confidence": 85 }))])?;
    signal(&node, Signal::HUP)?;
    wait(|| Ok((status() == 403).then_some(())))?;
    networks(6)?;
    // Only what was added since was asked for: the state says from where on.
    let state: Value =
        serde_json::from_slice(&std::fs::read(node.data().join("intel/collection.json"))?)?;
    ensure!(state.pointer("/added_after").is_some_and(Value::is_string), "{state}");
    taxii.add(&[indicator(9, "2026-01-02T00:00:00.000Z", here, &json!({ "revoked": true }))])?;
    signal(&node, Signal::HUP)?;
    wait(|| Ok((status() == 200).then_some(())))?;
    networks(5)?;
    ensure!(list(&node)?.pointer("/left_out/revoked") == Some(&json!(1)), "{}", list(&node)?);
    drop(taxii);
    signal(&node, Signal::HUP)?;
    wait(|| Ok(list(&node)?.pointer("/problem/what").is_some().then_some(())))?;
    networks(5)
}

#[test]
fn a_damaged_database_is_refused_and_the_last_good_one_stays() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let samples =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../detection/testdata/maxmind"));
    let place = node.data().join("asn.mmdb");
    std::fs::copy(samples.join("GeoLite2-ASN-Test.mmdb"), &place)?;
    configure(&node, "[intel]\nasn = \"asn.mmdb\"\nnever = [\"203.0.113.7\"]\n")?;
    kill(&mut node)?;
    restart(&mut node)?;
    ensure!(log(&node).contains("database read"), "{}", log(&node));
    let asn =
        || Ok::<_, anyhow::Error>(intel(&node, &["check", "1.128.0.0"])?.pointer("/asn").cloned());
    ensure!(asn()? == Some(json!(1221)));
    std::fs::copy(samples.join("bad/bad-cyclic-data-structure.mmdb"), &place)?;
    reload(&node, "a database is not taken")?;
    ensure!(asn()? == Some(json!(1221)), "the copy");
    let databases = intel(&node, &["list"])?;
    let problem = databases.pointer("/databases/0/problem").and_then(Value::as_str);
    ensure!(
        problem.is_some_and(|why| why.contains("the last good one is in effect")),
        "{databases}"
    );
    kill(&mut node)?;
    restart(&mut node)?;
    ensure!(log(&node).contains("a database is not taken"), "it starts all the same");
    ensure!(intel(&node, &["check", "1.128.0.0"])?.pointer("/asn") == Some(&json!(1221)));
    Ok(())
}
