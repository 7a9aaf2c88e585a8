//! A node in service: reloaded under load, stopped in the middle of an answer, asked how it is.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, log, start, start_configured};
use crate::software::{Answer, Manner, new_key};
use crate::support::{Node, Transport, portcullis, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Reloads while requests run.
const RELOADS: usize = 20;

/// Sends the node's process a signal.
///
/// # Errors
/// The system's.
pub(crate) fn signal(node: &Node, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(node.process.id())?).context("a process has an id")?;
    Ok(kill_process(pid, signal)?)
}

/// Sends SIGHUP and waits until the node has said `what` once more.
///
/// # Errors
/// If it did not say it in time.
pub(crate) fn reload(node: &Node, what: &str) -> Result<()> {
    let said = || Ok::<_, anyhow::Error>(log(node).matches(what).count());
    let before = said()?;
    signal(node, Signal::HUP)?;
    wait(|| Ok((said()? > before).then_some(())))
}

/// One request to the metrics listener, without a library.
///
/// # Errors
/// The socket's.
pub(crate) fn ask(node: &Node, path: &str) -> Result<String> {
    let log = log(node);
    let (_, address) = log.split_once("metrics=").context("the node says where it is measured")?;
    let address = address.split_whitespace().next().context("an address")?;
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn nothing_is_given_to_an_integration_that_it_was_not_vetted_for() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let _tool = runtime.block_on(employ(&node, "vetted", false))?;
    let grant = |to: &str, purpose: &str| {
        let what = ["--operation", "getPerson", "--class", "user.unique_id", "--subjects", "all"];
        let how = ["--integration", to, "--purpose", purpose, "--budget", "1,1,1", "--days", "9"];
        node.operate(&[&["grant", "add"], &what[..], &how[..]].concat())
    };
    ensure!(grant("vetted", "support").is_ok(), "what it applied for");
    ensure!(grant("vetted", "marketing").is_err(), "what it did not apply for");
    let stranger = node.data().join("stranger.jwk");
    new_key(&stranger)?;
    let stranger = stranger.to_str().context("text")?;
    let key = ["credential", "add", "--jwk", stranger, "--integration", "vetted", "--days", "9"];
    ensure!(node.operate(&key).is_err(), "a key that nobody checked");
    // Before there is evidence nobody knows what it asks for.
    node.operate(&["vendor", "add", "early-inc", "--name", "Early"])?;
    node.operate(&["integration", "apply", "early", "--vendor", "early-inc"])?;
    ensure!(grant("early", "support").is_err(), "a grant before evidence");
    Ok(())
}

#[test]
fn a_reload_takes_over_lists_contract_and_certificate_and_drops_no_request() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start_configured(&origin, Transport::Tls)?;
    let tool = runtime.block_on(employ(&node, "steady", true))?;

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let lines: Vec<_> = (0..8)
        .map(|n| {
            let manner = if n % 2 == 0 { Manner::Brisk } else { Manner::Http2 };
            let (mut line, stop, asked) =
                (tool.software.line(manner), Arc::clone(&stop), Arc::clone(&asked));
            runtime.spawn(async move {
                let mut unlike = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // In no order, which detectors would take for counting through.
                    let n = asked.fetch_add(1, Ordering::Relaxed) * 1_009 % 5_000;
                    let answer = line.get(&format!("/v1/people/p-{n:04}")).await;
                    if answer.status != 200 || !answer.whole {
                        unlike.push((answer.status, answer.whole));
                    }
                }
                unlike
            })
        })
        .collect();
    for n in 0..RELOADS {
        let list = format!("203.0.113.{n}\n");
        std::fs::write(node.data().join("listed.txt"), list)?;
        let config = node.data().join("portcullis.toml");
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(config, text.replace("lists = []", "lists = [\"listed.txt\"]"))?;
        reload(&node, " reloaded\n")?;
    }
    stop.store(true, Ordering::Relaxed);
    for line in lines {
        let unlike = runtime.block_on(line)?;
        ensure!(unlike.is_empty(), "not answered as before: {unlike:?}");
    }
    ensure!(asked.load(Ordering::Relaxed) > RELOADS, "requests ran meanwhile");

    // What the overlay no longer classifies stays from the reload on.
    let email = |answer: &Answer| String::from_utf8_lossy(&answer.body).contains("email");
    let mut line = tool.software.line(Manner::Brisk);
    let before = runtime.block_on(line.get("/v1/people/p-0001"));
    ensure!(email(&before), "the e-mail address is granted");
    let overlay = node.data().join("overlay.yaml");
    let text = std::fs::read_to_string(&overlay)?;
    let at =
        text.find("  - target: $.components.schemas.Person.properties.email").context("email")?;
    let end = text[at + 4..].find("  - target").map_or(text.len(), |end| at + 4 + end);
    std::fs::write(&overlay, format!("{}{}", &text[..at], &text[end..]))?;
    reload(&node, " reloaded\n")?;
    let after = runtime.block_on(line.get("/v1/people/p-0001"));
    ensure!(after.status == 200 && !email(&after), "the new contract withholds it");
    // It is not the contract that the tool was approved under, so the tool has a tenth of everything until it is approved anew.
    let list = node.operate(&["integration", "list"])?;
    ensure!(list.contains("restricted"), "{list}");

    // What does not compile changes nothing.
    std::fs::write(&overlay, "overlay: 1.0.0\nactions: [")?;
    reload(&node, "not reloaded")?;
    ensure!(runtime.block_on(line.get("/v1/people/p-0002")).status == 200, "served as before");
    std::fs::write(&overlay, text)?;

    // A list that holds the caller refuses it at once, on the connection it has.
    std::fs::write(node.data().join("listed.txt"), "127.0.0.2\n")?;
    reload(&node, " reloaded\n")?;
    ensure!(runtime.block_on(line.get("/v1/people/p-0003")).status == 403, "listed, so refused");
    std::fs::write(node.data().join("listed.txt"), "")?;

    // A certificate of another authority is shown to whoever connects after the reload.
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    std::fs::write(node.data().join("keys/server.pem"), certificate.pem())?;
    std::fs::write(node.data().join("keys/server.key"), key.serialize_pem())?;
    reload(&node, " reloaded\n")?;
    ensure!(
        runtime.block_on(line.get("/v1/people/p-0004")).status == 200,
        "open connections go on"
    );
    let mut stranger = tool.software.line(Manner::Brisk);
    ensure!(runtime.block_on(stranger.get("/v1/people/p-0005")).status == 0, "another certificate");
    Ok(())
}

#[test]
fn a_stop_finishes_the_answer_that_is_under_way() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "slow", true))?;
    let mut line = tool.software.line(Manner::Slow);
    let answer = runtime.spawn(async move { line.get("/v1/people/p-0001/letters").await });
    wait(|| Ok((origin.answers() > 0).then_some(())))?;
    // By now the first of many sips is taken.
    std::thread::sleep(Duration::from_millis(300));
    node.stop()?;
    let answer = runtime.block_on(answer)?;
    ensure!(
        answer.status == 200 && answer.whole,
        "the answer came to its end: {}",
        answer.body.len()
    );
    let sent = origin.sent(&answer.request).context("the origin sent it")?;
    ensure!(sent.granted == answer.body, "all of what was granted");
    let mut verify = portcullis();
    verify
        .arg("verify")
        .arg(node.data())
        .arg("--full")
        .arg("--key")
        .arg(node.data().join("keys/log.pub"));
    crate::support::said(&mut verify)?;
    Ok(())
}

#[test]
fn health_and_metrics_say_what_happened_and_name_nobody() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "metered", true))?;
    ensure!(ask(&node, "/healthz")?.starts_with("HTTP/1.1 200"), "it is well");
    let mut line = tool.software.line(Manner::Brisk);
    for n in 0..5 {
        runtime.block_on(line.get(&format!("/v1/people/p-{n:04}")));
    }
    runtime.block_on(line.get("/v1/nothing"));
    let page = ask(&node, "/metrics")?;
    let value = |name: &str| -> Result<f64> {
        let line = page.lines().find(|line| line.starts_with(name));
        let (_, value) = line.and_then(|line| line.rsplit_once(' ')).context(name.to_owned())?;
        Ok(value.parse()?)
    };
    ensure!(value("portcullis_releases_total{integration=\"metered\"}")? >= 5.0, "{page}");
    ensure!(value("portcullis_request_duration_seconds_count")? >= 6.0, "{page}");
    ensure!(value("portcullis_ledger_records")? > 5.0, "{page}");
    ensure!(value("portcullis_data_flows")? == 1.0, "{page}");
    ensure!(page.contains("reason=\"unknown_operation\""), "{page}");
    for nobody in ["p-0001", "crd_", "127.0.0.2", "/v1/"] {
        ensure!(!page.contains(nobody), "`{nobody}` stands in the metrics");
    }
    Ok(())
}
