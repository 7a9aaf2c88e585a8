//! What an integration has in hand if the record of its read is made to disappear.

use crate::alone;
use crate::files::copy;
use crate::origin::Origin;
use crate::process::{employ, kill, log, start};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said, serve, wait};
use anyhow::{Context, Result, ensure};
use std::fs;
use tokio::runtime::Runtime;

/// `portcullis verify` of the node's live log, with `more`.
fn verify(node: &Node, more: &[&str]) -> Result<String> {
    let log = log(node);
    let (_, address) = log.split_once(" log=").context("the node says where its log is")?;
    let address = address.split_whitespace().next().context("an address")?;
    let mut command = portcullis();
    command.args(["verify", &format!("http://{address}"), "--json", "--key"]);
    said(command.arg(node.data().join("keys/log.pub")).args(more))
}

#[test]
fn a_receipt_proves_that_a_read_was_taken_out_of_the_log() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "honest", true))?;
    node.stop()?;
    let ledger = node.data().join("ledger");
    let aside = node.data().join("aside");
    copy(&ledger, &aside)?;
    (node.process, _) = serve(&node.data())?;

    let mut line = tool.software.line(Manner::Brisk);
    let answer = runtime.block_on(line.get("/v1/people/p-0001"));
    ensure!(answer.status == 200 && !answer.receipt.is_empty(), "{answer:?}");
    let receipt = ["--receipt", &*answer.receipt];
    wait(|| Ok(verify(&node, &receipt).ok().filter(|said| said.contains(r#""included""#))))?;
    // From a file too, with the header's name before it, as a program logs it.
    let file = node.data().join("receipt");
    fs::write(&file, format!("Portcullis-Receipt: {}\n", answer.receipt))?;
    let kept = node.data().join("kept");
    let file = ["--receipt", file.to_str().context("text")?, "-o", kept.to_str().context("text")?];
    ensure!(verify(&node, &file)?.contains(r#""included""#));
    let forged = answer.receipt.replacen("index=", "index=1", 1);
    ensure!(verify(&node, &["--receipt", &forged]).is_err(), "a receipt of another place");

    // The operator puts the log back to what it was before the read, and goes on. No witness looks.
    kill(&mut node)?;
    fs::remove_dir_all(&ledger)?;
    copy(&aside, &ledger)?;
    (node.process, _) = serve(&node.data())?;
    let index = answer.receipt.split("index=").nth(1).and_then(|rest| rest.split(',').next());
    let index: u64 = index.context("an index")?.parse()?;
    let caught = wait(|| {
        node.operate(&["freeze", "--reason", "to have something recorded"])?;
        node.operate(&["unfreeze"])?;
        let said = verify(&node, &receipt).err().map(|error| format!("{error:#}"));
        Ok(said.filter(|said| said.contains("OMITTED")))
    })?;
    ensure!(caught.contains(&format!("another record at index {index}")), "{caught}");
    let forked = wait(|| {
        let since = ["--since", kept.to_str().context("text")?];
        let said = verify(&node, &since).err().map(|error| format!("{error:#}"));
        Ok(said.filter(|said| said.contains("two histories")))
    })?;
    ensure!(forked.contains("Keep both"), "{forked}");
    Ok(())
}
