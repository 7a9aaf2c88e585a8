//! What the authority publishes about its endpoints, held against what they answer, by a program that nobody here wrote.

use crate::prism::{contract, protected};
use crate::scripts;
use crate::support::{Node, Transport, said};
use anyhow::Result;
use std::process::Command;

#[test]
fn every_answer_of_the_authority_is_one_that_its_document_has() -> Result<()> {
    if !scripts::installed("schemathesis against the authority") {
        return Ok(());
    }
    let contract = contract();
    let nowhere = protected("127.0.0.1:9".parse()?, &contract);
    let mut node = Node::start(&nowhere, Transport::ClearText)?;
    node.open_portal()?;
    let python = scripts::directory().join("venv/bin/python");
    let script = scripts::directory().join("openapi.py");
    said(Command::new(python).arg(script).arg(node.issuer()))?;
    Ok(())
}
