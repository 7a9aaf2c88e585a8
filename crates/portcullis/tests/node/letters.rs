//! An incident from its opening to its last letter, against a mail server that nobody here wrote, on a node that is killed
//! again and again while it writes.

use crate::alone;
use crate::origin::Origin;
use crate::process::{Employed, employ, kill, restart, start};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::runtime::Runtime;

/// People who are read.
const READ: usize = 600;

/// How often the node is killed while it writes to them.
const KILLS: usize = 8;

/// The foreign mail server. Dropped, it ends.
pub(crate) struct MailServer {
    process: Child,
    pub(crate) log: PathBuf,
    pub(crate) port: u16,
}

impl MailServer {
    pub(crate) fn start(log: PathBuf) -> Result<Self> {
        let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign");
        let mut process = Command::new(foreign.join("venv/bin/python"))
            .arg(foreign.join("smtpd.py"))
            .arg(json!({ "log": log, "port": 0 }).to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it says its port")?).read_line(&mut line)?;
        Ok(Self { process, log, port: line.trim().parse()? })
    }

    /// How many messages it took for each recipient.
    fn taken(&self) -> BTreeMap<String, usize> {
        let mut taken = BTreeMap::new();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        for message in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let to = message.pointer("/to/0").and_then(Value::as_str).unwrap_or("").to_owned();
            *taken.entry(to).or_default() += 1;
        }
        taken
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// In no order, which detectors would take for counting through.
fn person(n: usize) -> String {
    format!("p-{:04}", (1 + n * 1_009) % 5_000)
}

/// One in a hundred is gone for good, one in fifty is told to come back later.
fn address(n: usize) -> String {
    let kind = if n % 100 == 7 {
        "gone"
    } else if n % 50 == 3 {
        "busy1"
    } else {
        "ok"
    };
    format!("{kind}.{}@mail.example", person(n))
}

fn read_everybody(runtime: &Runtime, tool: &Employed) -> Result<()> {
    let lines: Vec<_> = (0..4)
        .map(|part| {
            let mut line = tool.software.line(Manner::Brisk);
            runtime.spawn(async move {
                for n in (part..READ).step_by(4) {
                    let answer = line.get(&format!("/v1/people/{}", person(n))).await;
                    ensure!(answer.status == 200, "read {n}: {}", answer.status);
                }
                Ok(())
            })
        })
        .collect();
    lines.into_iter().try_for_each(|line| runtime.block_on(line)?)
}

fn show(node: &Node) -> Result<Value> {
    Ok(serde_json::from_str(&node.operate(&["incident", "show", "theft", "--json"])?)?)
}

/// Company, mail server and addresses, as an operator writes them down.
fn configure(node: &Node, server: &MailServer) -> Result<()> {
    let config = node.data().join("portcullis.toml");
    let more = format!(
        "\n[company]\nname = \"Example AG\"\naddress = \"1 Example Street\"\ncountry = \"DE\"\ncontact_name = \"DPO\"\ncontact_email = \"p@c.example\"\n\n[mail]\nfrom = \"p@c.example\"\nsmtp = \"127.0.0.1:{}\"\ntls = \"none\"\n",
        server.port
    );
    std::fs::write(&config, std::fs::read_to_string(&config)? + &more)?;
    let mut people = String::from("subject,email,name,country\n");
    // Two who were read have no address, and one who was not read has one.
    for n in (2..READ).chain([READ + 1]) {
        people.push_str(&format!(
            "{},{},Person {n},{}\n",
            person(n),
            address(n),
            if n % 3 == 0 { "FR" } else { "DE" }
        ));
    }
    let csv = node.data().join("crm.csv");
    std::fs::write(&csv, people)?;
    said(portcullis().args(["directory", "import"]).arg(&csv).arg("--config").arg(&config))?;
    Ok(())
}

#[test]
fn exactly_those_who_were_read_get_one_letter_however_often_the_node_is_killed() -> Result<()> {
    if std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_none_or(|asked| asked != "1") {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: letters to a mail server");
        return Ok(());
    }
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "thief", true))?;
    let folder = tempfile::tempdir()?;
    let server = MailServer::start(folder.path().join("mail.jsonl"))?;
    read_everybody(&runtime, &tool)?;
    configure(&node, &server)?;
    kill(&mut node)?;
    restart(&mut node)?;

    node.operate(&["sever", "integration:thief", "--reason", "it polls"])?;
    node.operate(&[
        "incident",
        "open",
        "theft",
        "--title",
        "the tool was stolen",
        "--signal",
        "it polls",
    ])?;
    node.operate(&["incident", "scope", "theft", "--integration", "thief"])?;
    let narrowed = ["incident", "scope", "theft", "--integration", "thief", "--class", "user.name"];
    ensure!(node.operate(&narrowed).is_err(), "no letter leaves out what else was read");
    let drafts = node.operate(&["incident", "notify", "theft", "--draft", "2"])?;
    ensure!(
        drafts.contains("your e-mail address") && drafts.contains("2 have no address"),
        "{drafts}"
    );
    let alone = portcullis()
        .args(["incident", "notify", "theft", "--detach", "--config"])
        .arg(node.data().join("portcullis.toml"))
        .arg("--key")
        .arg(node.key("first"))
        .output()?;
    ensure!(!alone.status.success(), "one operator alone writes to nobody");
    ensure!(server.taken().is_empty(), "and nobody was written to");

    node.operate(&["incident", "notify", "theft", "--detach"])?;
    for n in 0..KILLS {
        std::thread::sleep(Duration::from_millis(60 + 37 * n as u64));
        kill(&mut node)?;
        restart(&mut node)?;
    }
    let settled = wait_long(|| {
        let case = show(&node)?;
        let count = |name: &str| case.pointer(&format!("/letters/{name}")).and_then(Value::as_u64);
        // Those that the server told to come back wait for a minute: all others are to be out.
        let open = count("queued").unwrap_or(1) + count("sending").unwrap_or(1);
        Ok((open == 0).then_some(case))
    })?;
    let count = |name: &str| -> usize {
        let count = settled.pointer(&format!("/letters/{name}")).and_then(Value::as_u64);
        count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    };
    let taken = server.taken();
    let expected: BTreeSet<String> = (2..READ).map(address).collect();
    let doubled = taken.values().filter(|times| **times > 1).count();
    let strangers = taken.keys().filter(|to| !expected.contains(*to)).count();
    let (gone, busy) =
        (expected.iter().filter(|to| to.starts_with("gone")).count(), count("deferred"));
    // What the node cannot know: at most one letter for each connection and kill, said and not hidden.
    let lost = expected.len() - gone - busy - taken.len().min(expected.len() - gone - busy);
    eprintln!(
        "{KILLS} kills: {} letters taken, {doubled} doubled, {lost} not taken, {} in doubt, {busy} wait",
        taken.len(),
        count("in_doubt")
    );
    ensure!(doubled == 0, "{doubled} people got two letters");
    ensure!(strangers == 0, "{strangers} letters went to people who were not read");
    ensure!(lost <= count("in_doubt"), "{lost} letters are lost, {} in doubt", count("in_doubt"));
    ensure!(count("refused") == gone, "{} refused, {gone} are gone", count("refused"));
    let unreached = settled.pointer("/unreached").and_then(Value::as_array).context("a list")?;
    ensure!(
        unreached.iter().any(|row| row
            .pointer("/reply")
            .is_some_and(|reply| reply.to_string().contains("550"))),
        "the server's words are shown"
    );

    // Operators decide about those in doubt: written to once more, nobody is left without a letter.
    node.operate(&["incident", "notify", "theft", "--resend-in-doubt", "--detach"])?;
    wait_long(|| {
        let case = show(&node)?;
        let count = |name: &str| case.pointer(&format!("/letters/{name}")).and_then(Value::as_u64);
        let open =
            ["queued", "sending", "in_doubt"].iter().filter_map(|name| count(name)).sum::<u64>();
        Ok((open == 0).then_some(()))
    })?;
    let told = server.taken();
    let untold: Vec<_> = expected
        .iter()
        .filter(|to| !to.starts_with("gone") && !to.starts_with("busy") && !told.contains_key(*to))
        .collect();
    ensure!(untold.is_empty(), "{untold:?} were not written to");
    let twice = told.values().filter(|times| **times > 1).count();
    ensure!(twice <= count("in_doubt"), "{twice} got two, and {} were in doubt", count("in_doubt"));

    // Figures, forms and drafts come from the same scope, and an older one is refused.
    let out = tempfile::tempdir()?;
    let folder = out.path().to_str().context("text")?;
    node.operate(&["incident", "file", "theft", "-o", folder])?;
    let filing = std::fs::read_to_string(out.path().join("eu-gdpr-33.scope-1.json"))?;
    let filing: Value = serde_json::from_str(&filing)?;
    ensure!(filing.pointer("/figures/subjects") == Some(&json!(READ)), "{filing}");
    ensure!(
        filing.pointer("/figures/countries/2/subjects") == Some(&json!(2)),
        "two of unknown country"
    );
    let before = "2026-01-01T00:00:00Z";
    let scope_nobody = ["incident", "scope", "theft", "--integration", "thief", "--to", before];
    node.operate(&scope_nobody)?;
    let shown = show(&node)?;
    ensure!(
        shown.pointer("/letters_of_older_scopes") == shown.pointer("/letters/accepted"),
        "who was told of another scope is counted: {shown}"
    );
    let refused =
        node.operate(&["incident", "file", "theft", "-o", folder, "--scope-version", "1"]);
    let refused = format!("{:#}", refused.err().context("an older scope makes no form")?);
    ensure!(refused.contains("replaced by scope 2"), "{refused}");
    node.operate(&["incident", "file", "theft", "-o", folder])?;
    let filing = std::fs::read_to_string(out.path().join("eu-gdpr-33.scope-2.json"))?;
    let filing: Value = serde_json::from_str(&filing)?;
    ensure!(
        filing.pointer("/figures/subjects") == Some(&json!(0)),
        "the other scope has other figures"
    );
    let draft = out.path().join("post-mortem.md");
    node.operate(&["incident", "postmortem", "theft", "-o", draft.to_str().context("text")?])?;
    let draft = std::fs::read_to_string(draft)?;
    ensure!(draft.contains("**0 subjects**") && draft.contains("was severed"), "{draft}");
    // What was handed in is a form that was compiled, after the company was aware and not in the future.
    let hand_in = |at: &str| {
        node.operate(&["incident", "file", "theft", "--submitted", at, "--reference", "AZ-1"])
    };
    ensure!(hand_in("2030-01-01T00:00:00Z").is_err(), "nothing is handed in in the future");
    ensure!(hand_in("2020-01-01T00:00:00Z").is_err(), "nor before anybody was aware");
    // A scope's file that is damaged takes nothing else away, and freezing anew mends it.
    let file = node.data().join("scopes").join("theft.2.json");
    let mut bytes = std::fs::read(&file)?;
    bytes.push(b' ');
    std::fs::write(&file, bytes)?;
    node.operate(&["incident", "list"])?;
    node.operate(&scope_nobody)?;
    let closing = node.operate(&["incident", "close", "theft", "--reason", "over"]);
    ensure!(closing.is_ok(), "nobody is concerned by the second scope: {closing:?}");
    Ok(())
}

/// A vendor whose own store was broken into: everything it was ever given, and its clock.
#[test]
fn a_vendors_breach_asks_what_the_vendor_was_ever_given_and_starts_its_clock() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "keeper", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    for n in 0..5 {
        runtime.block_on(line.get(&format!("/v1/people/{}", person(n + 10))));
    }
    node.operate(&[
        "incident",
        "open",
        "mixpanel-like",
        "--title",
        "the vendor lost its store",
        "--vendor-breach",
        "keeper-inc",
        "--since",
        "2026-01-01T00:00:00Z",
    ])?;
    let case = || -> Result<Value> {
        Ok(serde_json::from_str(&node.operate(&[
            "incident",
            "show",
            "mixpanel-like",
            "--json",
        ])?)?)
    };
    let shown = case()?;
    // Six: one was read in the sandbox.
    ensure!(shown.pointer("/scope/subjects") == Some(&json!(6)), "{shown}");
    let clock = |shown: &Value| -> Result<Value> {
        let clocks = shown.pointer("/clocks").and_then(Value::as_array).context("clocks")?;
        let vendor =
            clocks.iter().find(|row| row.pointer("/regime") == Some(&json!("contract-vendor")));
        Ok(vendor.context("the vendor's clock")?.clone())
    };
    ensure!(clock(&shown)?.pointer("/state") == Some(&json!("running")), "{shown}");
    ensure!(clock(&shown)?.pointer("/left_s").and_then(Value::as_u64) > Some(86_000), "24 hours");
    node.operate(&["incident", "vendor", "mixpanel-like", "--acknowledged", "a list of rows"])?;
    ensure!(clock(&case()?)?.pointer("/state") == Some(&json!("met")), "answered");
    // Who decides against telling anybody says so, and not alone.
    let decide = [
        "incident",
        "decide",
        "mixpanel-like",
        "--regime",
        "eu-gdpr-34",
        "--not-notify",
        "--reason",
        "encrypted",
    ];
    node.operate(&decide)?;
    let events = case()?.pointer("/events").cloned().context("events")?.to_string();
    ensure!(events.contains("decided not to notify under `eu-gdpr-34`: encrypted"), "{events}");
    Ok(())
}

/// As [`wait`], for what takes longer: every look is a process of its own.
fn wait_long<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..3 {
        if let Ok(seen) = wait(&mut look) {
            return Ok(seen);
        }
    }
    wait(look)
}
