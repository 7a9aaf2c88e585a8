//! What becomes of a signal: a page that is not lost, a case, what the vendor hears, and people who take it back.

use crate::alone;
use crate::letters::MailServer;
use crate::origin::Origin;
use crate::process::{Employed, employ, kill, restart, start, start_configured};
use crate::receiver::{Message, Receiver};
use crate::retention::commands;
use crate::software::{Answer, Manner};
use crate::support::{Node, Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ledger::Draft;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::runtime::Runtime;

/// A node that pages `receiver`, with its ports in its configuration.
fn paging(origin: &Origin, receiver: &Receiver) -> Result<Node> {
    let mut node = start(None, origin, Transport::ClearText)?;
    kill(&mut node)?;
    let config = node.config();
    let more = format!(
        "\n[[page]]\nwebhook = \"http://127.0.0.1:{}/page\"\n\n[company]\nname = \"Example AG\"\naddress = \"1 Example Street\"\ncountry = \"DE\"\ncontact_name = \"DPO\"\ncontact_email = \"p@c.example\"\n",
        receiver.port
    );
    std::fs::write(&config, std::fs::read_to_string(&config)? + &more)?;
    restart(&mut node)?;
    Ok(node)
}

fn read(runtime: &Runtime, tool: &Employed, person: &str) -> Answer {
    runtime.block_on(tool.software.line(Manner::Brisk).get(&format!("/v1/people/{person}")))
}

fn problem(answer: &Answer) -> Result<Value> {
    Ok(serde_json::from_slice(&answer.body)?)
}

fn rows(node: &Node, what: &[&str]) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&node.operate(&[what, &["--json"]].concat())?)?;
    list.get("rows").and_then(Value::as_array).cloned().context("rows")
}

/// As one operator.
fn alone_operates(node: &Node, arguments: &[&str]) -> Result<String> {
    let mut command = portcullis();
    command.args(arguments).arg("--config").arg(node.config()).arg("--key").arg(node.key("first"));
    said(&mut command)
}

fn pages(receiver: &Receiver) -> Vec<Message> {
    receiver.messages("/page")
}

fn taken(messages: &[Message]) -> usize {
    messages.iter().filter(|message| message.status == 200).count()
}

#[test]
fn a_decoy_severs_pages_opens_a_case_and_tells_the_vendor_until_two_people_lift_it() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let receiver = Receiver::start()?;
    let mut node = paging(&origin, &receiver)?;
    let tool = runtime.block_on(employ(&node, "nosy", false))?;
    let other = runtime.block_on(employ(&node, "good", false))?;
    let url = format!("http://127.0.0.1:{}/vendor", receiver.port);
    let register = ["vendor", "webhook", "nosy-inc", "--url", &url];
    ensure!(alone_operates(&node, &register).is_err(), "it takes two");
    node.operate(&register)?;

    // Decoys look like everybody else, and somebody who was read is none.
    ensure!(read(&runtime, &tool, "p-0001").status == 200);
    let planted = alone_operates(&node, &["honey", "plant", "p-0001"]);
    ensure!(planted.is_err(), "who was read is no decoy: {planted:?}");
    let like = ["--like", "p-4410", "--like", "p-9036", "--like", "p-2718"];
    let made = alone_operates(&node, &[&["honey", "plant", "--count", "3"], &like[..]].concat())?;
    let decoys: Vec<_> = made.lines().collect();
    ensure!(decoys.len() == 3 && decoys.iter().all(|id| id.len() == 6 && id.starts_with("p-")));
    let listed = rows(&node, &["honey", "list"])?;
    ensure!(listed.len() == 3, "{listed:?}");

    // The receiver is out of order at first; the page comes again under the same key, also over a restart.
    receiver.answer(&[503, 503, 503, 503]);
    let nobody = read(&runtime, &tool, decoys[0]);
    ensure!(nobody.status == 404 && problem(&nobody)?["code"] == "not_found", "looks like nobody");
    wait(|| Ok((!pages(&receiver).is_empty()).then_some(())))?;
    kill(&mut node)?;
    let plants = commands(&node.data())?.into_iter().filter(
        |draft| matches!(draft, Draft::OperatorAction { action, .. } if action == "honey_plant"),
    );
    ensure!(plants.count() == 4, "three that were made, and the one that asked who was read");
    receiver.answer(&[]);
    restart(&mut node)?;
    wait(|| Ok((taken(&pages(&receiver)) > 0).then_some(())))?;
    let came = pages(&receiver);
    let page = came.last().context("a page")?;
    ensure!(
        came.iter().all(|again| again.fields["idempotency-key"] == page.fields["idempotency-key"])
    );
    ensure!(page.body["schema"] == "portcullis.page/1", "{}", page.body);
    let signal = &page.body["signals"][0];
    ensure!(signal["rule"] == "honey", "{signal}");
    ensure!(
        signal["contained"][0].as_str().is_some_and(|what| what.starts_with("sever int_")),
        "{signal}"
    );
    ensure!(signal["evidence"]["operation"] == "getPerson", "{signal}");
    for message in &came {
        ensure!(!message.body.to_string().contains(decoys[0]), "names nobody");
        let input = &message.fields["signature-input"];
        ensure!(
            input.contains("\"content-digest\"") && input.contains("tag=\"portcullis-page\""),
            "{input}"
        );
    }

    // The integration is told in which state it is and whom to write to; not by which rule.
    let refused = wait(|| {
        let answer = read(&runtime, &tool, "p-0002");
        Ok((answer.status == 403).then_some(answer))
    })?;
    let said = problem(&refused)?;
    ensure!(said["code"] == "severed" && said["appeal"] == "p@c.example", "{said}");
    ensure!(said["since"].is_string() && !said.to_string().contains("honey"), "{said}");
    ensure!(read(&runtime, &other, "p-0002").status == 200, "nobody else is cut");
    let events = wait(|| {
        let events = receiver.messages("/vendor");
        Ok((!events.is_empty()).then_some(events))
    })?;
    let event = &events[0];
    ensure!(
        event.body["state"] == "severed" && event.body["integration"] == "nosy",
        "{}",
        event.body
    );
    ensure!(event.body["appeal"] == "p@c.example", "{}", event.body);
    ensure!(!event.body.to_string().contains("honey"), "{}", event.body);
    ensure!(event.fields["signature-input"].contains("portcullis-vendor-event"));

    // One case is open, with the signal as its first event.
    let cases = wait(|| {
        let cases = rows(&node, &["incident", "list"])?;
        Ok((!cases.is_empty()).then_some(cases))
    })?;
    ensure!(cases.len() == 1, "{cases:?}");
    let name = cases[0]["name"].as_str().context("a name")?;
    ensure!(name.starts_with("honey-"), "{name}");
    let shown = node.operate(&["incident", "show", name, "--json"])?;
    ensure!(shown.contains("asked for a decoy"), "{shown}");

    // Two people lift it; the vendor hears that too, the tally counts it, and it is not cut again at once.
    let signals = rows(&node, &["signals"])?;
    let honey = signals.iter().find(|signal| signal["rule"] == "honey").context("the signal")?;
    ensure!(honey["acknowledged"].is_null() && honey["pages"] == true, "{honey}");
    let through = honey["number"].as_u64().context("a number")?.to_string();
    alone_operates(&node, &["signals", "--acknowledge", &through])?;
    let signals = rows(&node, &["signals"])?;
    ensure!(signals.iter().all(|signal| signal["acknowledged"].is_string()), "{signals:?}");
    let restore = ["restore", "integration:nosy", "--reason", "their tester"];
    ensure!(alone_operates(&node, &restore).is_err(), "it takes two");
    node.operate(&restore)?;
    ensure!(read(&runtime, &tool, "p-0003").status == 200, "it reads again");
    wait(|| {
        let events = receiver.messages("/vendor");
        Ok(events.iter().any(|event| event.body["state"] == "restored").then_some(()))
    })?;
    let rules = rows(&node, &["signals", "--rules"])?;
    let row = rules.iter().find(|row| row["rule"] == "honey").context("a row")?;
    ensure!(row["signals"] == 1 && row["contained"] == 1 && row["reversed"] == 1, "{row}");

    // While the case is open, the same finding about the same integration opens no other.
    ensure!(read(&runtime, &tool, decoys[1]).status == 404);
    wait(|| {
        let signals = rows(&node, &["signals"])?;
        Ok((signals.iter().filter(|signal| signal["rule"] == "honey").count() > 1).then_some(()))
    })?;
    ensure!(rows(&node, &["incident", "list"])?.len() == 1);
    Ok(())
}

/// The receiver that checks signatures with somebody else's program.
struct Checker {
    process: Child,
    log: PathBuf,
    port: u16,
}

impl Checker {
    fn start(node: &Node, log: PathBuf) -> Result<Self> {
        let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign");
        let keys = format!("{}/.well-known/http-message-signatures-directory", node.issuer());
        let mut process = Command::new(foreign.join("venv/bin/python"))
            .arg(foreign.join("receiver.py"))
            .arg(json!({ "log": log, "keys": keys }).to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it says its port")?).read_line(&mut line)?;
        Ok(Self { process, log, port: line.trim().parse()? })
    }

    /// What came under a tag.
    fn kept(&self, tag: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["tag"] == tag || line["error"].is_string()).collect()
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

#[test]
fn a_foreign_verifier_and_a_foreign_mail_server_take_pages() -> Result<()> {
    if std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_none_or(|asked| asked != "1") {
        eprintln!(
            "left out without PORTCULLIS_FOREIGN_TESTS=1: pages to a verifier and a mail server"
        );
        return Ok(());
    }
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let folder = tempfile::tempdir()?;
    let checker = Checker::start(&node, folder.path().join("pages.jsonl"))?;
    let mail = MailServer::start(folder.path().join("mail.jsonl"))?;
    kill(&mut node)?;
    let config = node.config();
    let more = format!(
        "\n[[page]]\nwebhook = \"http://localhost:{}/page?of=us\"\n\n[[page]]\nmail = \"oncall@c.example\"\n\n[mail]\nfrom = \"p@c.example\"\nsmtp = \"127.0.0.1:{}\"\ntls = \"none\"\n",
        checker.port, mail.port
    );
    std::fs::write(&config, std::fs::read_to_string(&config)? + &more)?;
    restart(&mut node)?;
    let tool = runtime.block_on(employ(&node, "nosy", false))?;
    let url = format!("http://127.0.0.1:{}/vendor", checker.port);
    node.operate(&["vendor", "webhook", "nosy-inc", "--url", &url])?;
    alone_operates(&node, &["honey", "plant", "p-4711"])?;
    ensure!(read(&runtime, &tool, "p-4711").status == 404);
    for tag in ["portcullis-page", "portcullis-vendor-event"] {
        let kept = wait(|| {
            let kept = checker.kept(tag);
            Ok((!kept.is_empty()).then_some(kept))
        })?;
        let said = &kept[0];
        ensure!(said["error"].is_null(), "{said}");
        ensure!(said["changed"] == json!([true, true, true, true, true]), "{said}");
    }
    let message = wait(|| {
        let log = std::fs::read_to_string(&mail.log).unwrap_or_default();
        Ok(log.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()))
    })?;
    ensure!(message["to"] == json!(["oncall@c.example"]), "{message}");
    let text = message["message"].as_str().context("text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("a head")?;
    let body = STANDARD.decode(body.replace("\r\n", ""))?;
    let body = String::from_utf8(body)?;
    ensure!(head.contains("Auto-Submitted: auto-generated"), "{head}");
    ensure!(body.contains("asked for a decoy") && body.contains("contained: sever"), "{body}");
    ensure!(!text.contains("p-4711") && !body.contains("p-4711"), "names nobody");
    Ok(())
}

#[test]
fn a_window_is_inert_until_two_approve_it_and_a_full_scan_meets_decoys_without_a_cut() -> Result<()>
{
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start_configured(&origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "scanner", false))?;
    let declare = |what: &[&str]| {
        let begin = ["window", "declare", "scanner", "--reason", "the vendor moves its index"];
        alone_operates(&node, &[&begin[..], what].concat())
    };
    for wrong in [
        &["--backfill", "getPerson", "--subjects", "500", "--hours", "337"][..],
        &["--backfill", "noSuchOperation", "--subjects", "500", "--hours", "1"],
        &["--backfill", "getPerson", "--subjects", "0", "--hours", "1"],
        &["--backfill", "getPerson", "--hours", "1"],
        &["--address", "203.0.113.0/24", "--subjects", "4", "--hours", "1"],
        &["--endpoint", "getPerson", "--full-scan", "--hours", "1"],
        &["--address", "203.0.113.0/24", "--endpoint", "getPerson", "--hours", "1"],
        &["--hours", "1"],
        &["--address", "0.0.0.0/0", "--hours", "1"],
        &["--address", "203.0.113.9/24", "--hours", "1"],
        &["--endpoint", "getPerson", "--hours", "1", "--from", "2020-01-01T00:00:00Z"],
    ] {
        ensure!(declare(wrong).is_err(), "{wrong:?}");
    }
    declare(&["--address", "203.0.113.0/24", "--hours", "1"])?;
    let scan = ["--backfill", "getPerson", "--subjects", "500", "--full-scan", "--hours", "2"];
    let window = declare(&scan)?;
    let state = |window: &str| -> Result<Value> {
        let rows = rows(&node, &["window", "list"])?;
        let row = rows.iter().find(|row| row["id"] == window);
        Ok(row.context("the window")?["state"].clone())
    };
    ensure!(state(&window)? == "declared");
    ensure!(alone_operates(&node, &["window", "approve", &window]).is_err(), "it takes two");
    ensure!(state(&window)? == "declared");
    node.operate(&["window", "approve", &window])?;
    ensure!(state(&window)? == "open");
    ensure!(node.operate(&["window", "approve", &window]).is_err(), "once");

    alone_operates(&node, &["honey", "plant", "p-4999", "p-4998"])?;
    ensure!(read(&runtime, &tool, "p-4999").status == 404, "withheld");
    ensure!(read(&runtime, &tool, "p-0002").status == 200, "and not cut off");
    alone_operates(&node, &["window", "end", &window])?;
    ensure!(state(&window)? == "ended");
    ensure!(read(&runtime, &tool, "p-4998").status == 404, "looks the same");
    wait(|| Ok((read(&runtime, &tool, "p-0003").status == 403).then_some(())))?;
    let exposure = node.operate(&["exposure", "--integration", "scanner", "--json"])?;
    ensure!(!exposure.contains("p-499"), "decoys are in no exposure: {exposure}");
    Ok(())
}
