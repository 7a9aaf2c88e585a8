//! The one weaker thing: while two operators say so, one integration's tokens are taken without proof, and nobody else's.

use crate::alone;
use crate::origin::Origin;
use crate::process::{Employed, employ, kill, log, restart, start_configured};
use crate::software::{Manner, Software};
use crate::support::{Node, Transport, wait};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use tokio::runtime::Runtime;

/// The status of a request with nothing but the token, and the answer.
fn read_as_bearer(node: &Node, software: &Software) -> Result<(u16, String)> {
    let address = node.url().replace("http://localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(&address)?;
    let (host, token) = (node.url().replace("http://", ""), software.last_token());
    write!(
        stream,
        "GET /v1/people/p-0001 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok((answer.split(' ').nth(1).context("a status")?.parse()?, answer))
}

/// One number of the metrics page.
fn measured(node: &Node, line: &str) -> Result<Option<u64>> {
    let log = log(node);
    let (_, address) = log.rsplit_once("metrics=").context("the node says where it is measured")?;
    let address = address.split_whitespace().next().context("an address")?;
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let found = page.lines().find_map(|found| found.strip_prefix(line));
    Ok(found.map(|number| number.trim().parse()).transpose()?)
}

#[test]
fn tokens_of_one_integration_are_taken_without_proof_while_two_operators_say_so() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start_configured(&origin, Transport::ClearText)?;
    let old = runtime.block_on(employ(&node, "old", false))?;
    let other = runtime.block_on(employ(&node, "other", false))?;
    let bearer = |node: &Node, tool: &Employed| read_as_bearer(node, &tool.software);
    let (status, answer) = bearer(&node, &old)?;
    ensure!(status == 401, "there is no bearer mode: {answer}");

    let begin = ["integration", "bearer-exception", "start", "old", "--owner", "Ines"];
    let begin = |days: &str| {
        node.operate(&[&begin[..], &["--reason", "the old importer", "--days", days]].concat())
    };
    ensure!(begin("31").is_err(), "thirty days at most");
    ensure!(bearer(&node, &old)?.0 == 401);
    begin("2")?;
    let (status, answer) = bearer(&node, &old)?;
    ensure!(status == 200, "{answer}");
    ensure!(bearer(&node, &other)?.0 == 401, "another integration's");
    let mut line = old.software.line(Manner::Brisk);
    ensure!(runtime.block_on(line.get("/v1/people/p-0001")).status == 200, "a proof is as good");
    let counted = "portcullis_bearer_requests_total{integration=\"old\"}";
    ensure!(measured(&node, counted)? == Some(1), "each is counted");
    for list in ["integration", "credential", "grant"] {
        let rows = node.operate(&[list, "list", "--json"])?;
        ensure!(rows.matches(", Ines\"").count() >= 1, "{rows}");
        ensure!(rows.contains("\"bearer\":null"), "{rows}");
    }

    // It is cut like everything else, and comes back with what is restored.
    node.operate(&["sever", "integration:old", "--reason", "incident"])?;
    ensure!(bearer(&node, &old)?.0 == 403, "while it is cut off");
    node.operate(&["restore", "integration:old", "--reason", "over"])?;
    ensure!(bearer(&node, &old)?.0 == 200, "as before");

    // Somebody hears of it at each start; at its end it is over, at once.
    kill(&mut node)?;
    restart(&mut node)?;
    wait(|| {
        let log = log(&node);
        let line = log.lines().find(|line| line.contains("its tokens are taken without proof"));
        Ok(line.filter(|line| line.contains("WARN") && line.contains("Ines")).map(|_| ()))
    })?;
    ensure!(bearer(&node, &old)?.0 == 200, "it outlasts a restart");
    node.operate(&["integration", "bearer-exception", "end", "old"])?;
    let (status, answer) = bearer(&node, &old)?;
    ensure!(status == 401, "{answer}");
    ensure!(
        runtime.block_on(old.software.line(Manner::Brisk).get("/v1/people/p-0001")).status == 200
    );
    Ok(())
}
