//! A person who went through everything is erased, and looked for in every file.

use crate::alone;
use crate::files::{copy, files};
use crate::origin::Origin;
use crate::process::{employ, log, restart, start};
use crate::software::Manner;
use crate::support::{Node, Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

const ZEROS: [u8; 4_096] = [0; 4_096];
const PERSON: &str = "p-planted-7431907";

/// Whoever looks for the id in a file finds it in one of these spellings.
fn spellings() -> Vec<Vec<u8>> {
    let hex: String = PERSON.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut found =
        vec![PERSON.into(), PERSON.to_uppercase().into(), hex.to_uppercase().into(), hex.into()];
    let utf16 = |order: fn(u16) -> [u8; 2]| PERSON.encode_utf16().flat_map(order).collect();
    found.extend([utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)]);
    // Base64 of a text that has it anywhere: without the characters that its neighbours have a part in.
    for before in 0..3 {
        let text = [&vec![b'x'; before], PERSON.as_bytes()].concat();
        for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
            let whole = before * 8 / 6 + 1..text.len() * 8 / 6 - 1;
            found.push(encoded.get(whole).unwrap_or_default().into());
        }
    }
    found
}

/// The files under `folder` in which the person is found.
fn found_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let spellings = spellings();
    let mut found = Vec::new();
    for (path, bytes) in files(folder)? {
        // Segments are zeros for the most part.
        let bytes: Vec<u8> = bytes
            .chunks(4_096)
            .filter(|page| !ZEROS.starts_with(page))
            .flatten()
            .copied()
            .collect();
        let holds = |spelling: &Vec<u8>| {
            bytes.windows(spelling.len()).any(|window| window == spelling.as_slice())
        };
        if spellings.iter().any(holds) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A day passes for whoever waits to be erased.
fn a_day_later(runtime: &Runtime, node: &Node) -> Result<()> {
    runtime.block_on(async {
        let path = node.data().join("registry.db");
        let mut registry =
            SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
        sqlx::query("UPDATE erasures SET due = 0").execute(&mut registry).await?;
        Ok(registry.close().await?)
    })
}

/// A decoy that was declared before nodes asked whether somebody had been read.
fn plant_all_the_same(runtime: &Runtime, node: &Node) -> Result<()> {
    runtime.block_on(async {
        let path = node.data().join("registry.db");
        let mut registry =
            SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
        let plant = sqlx::query("INSERT INTO honey_subjects (subject) VALUES ($1)");
        plant.bind(PERSON).execute(&mut registry).await?;
        Ok(registry.close().await?)
    })
}

#[test]
fn who_is_erased_is_in_no_file_and_comes_back_with_no_backup() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "reader", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    let mut read =
        |person: &str| runtime.block_on(line.get(&format!("/v1/people/{person}"))).status;
    for person in [PERSON, "p-0002", "p-0003"] {
        ensure!(read(person) == 200, "{person} is read");
    }

    // Through everything: a consent, a decoy, questions, a frozen answer, an address.
    let only = format!("only:{PERSON}");
    let mut grant = vec!["grant", "add", "--integration", "reader", "--subjects", &only];
    grant.extend(["--purpose", "support", "--operation", "getPerson", "--class", "user.unique_id"]);
    grant.extend(["--budget", "1,1,1", "--days", "9"]);
    node.operate(&grant)?;
    ensure!(node.operate(&["honey", "plant", PERSON]).is_err(), "who was read is no decoy");
    plant_all_the_same(&runtime, &node)?;
    node.operate(&["exposure", "--subject", PERSON])?;
    let asked =
        node.operate(&["exposure", "--integration", "reader", "--scope", "look", "--json"])?;
    ensure!(asked.contains(PERSON), "{asked}");
    let crm = node.data().with_extension("csv");
    fs::write(
        &crm,
        format!("subject,email,name,country\n{PERSON},a@b.example,A,DE\np-0002,b@b.example,B,DE\n"),
    )?;
    let config = node.data().join("portcullis.toml");
    said(portcullis().args(["directory", "import"]).arg(&crm).arg("--config").arg(&config))?;
    ensure!(found_in(&node.data())?.len() >= 3, "planted: {:?}", found_in(&node.data())?);

    // Two operators, and one of them takes it back.
    let mut alone = portcullis();
    alone.args(["subject", "erase", PERSON, "--key"]).arg(node.key("first"));
    let alone = alone.arg("--config").arg(&config).output()?;
    ensure!(!alone.status.success(), "one operator alone erases nobody");
    let erasure = node.operate(&["subject", "erase", PERSON])?;
    ensure!(node.operate(&["subject", "erase", PERSON]).is_err(), "once is enough");
    let mut back = portcullis();
    back.args(["subject", "cancel-erase", &erasure, "--key"]).arg(node.key("first"));
    said(back.arg("--config").arg(&config))?;
    let held = ["incident", "open", "theft", "--title", "a theft", "--signal", "it polls"];
    node.operate(&held)?;
    let asked: Value =
        serde_json::from_str(&node.operate(&["subject", "erase", PERSON, "--json"])?)?;
    ensure!(asked["held_by"] == serde_json::json!(["theft"]), "{asked}");

    // Due, and held while the case is open.
    node.stop()?;
    a_day_later(&runtime, &node)?;
    restart(&mut node)?;
    wait(|| Ok(log(&node).contains("erasures that are due are held").then_some(())))?;
    let backup = node.data().with_extension("backup");
    for part in ["vault", "keys"] {
        copy(&node.data().join(part), &backup.join(part))?;
    }
    let before = "2026-01-01T00:00:00Z";
    node.operate(&["incident", "scope", "theft", "--integration", "reader", "--to", before])?;
    node.operate(&["incident", "close", "theft", "--reason", "nobody was read"])?;
    node.stop()?;
    restart(&mut node)?;
    wait(|| Ok(log(&node).contains("erased subjects=1").then_some(())))
        .with_context(|| log(&node))?;
    ensure!(found_in(&node.data())? == Vec::<PathBuf>::new(), "{:?}", found_in(&node.data())?);
    ensure!(!node.data().join("keys/vault-wrapping.key").exists(), "the former key is gone");
    let people = fs::read_to_string(node.data().join("mail/people.csv"))?;
    ensure!(people.contains("p-0002"), "who is not erased stays");
    let answer = |node: &Node| node.operate(&["exposure", "--integration", "reader"]);
    ensure!(answer(&node)?.contains("1 of them erased"), "{}", answer(&node)?);
    let states = node.operate(&["subject", "erasures"])?;
    ensure!(states.contains("cancelled") && states.contains("erased"), "{states}");
    node.stop()?;
    ensure!(found_in(&node.data())? == Vec::<PathBuf>::new(), "{:?}", found_in(&node.data())?);
    let mut verify = portcullis();
    verify.args(["verify", "--full"]).arg(node.data()).arg("--key");
    said(verify.arg(node.data().join("keys/log.pub")))?;

    // The vault and its key as they were before: the log says who went.
    fs::remove_file(node.data().join("keys/vault-wrapping.2.key"))?;
    for part in ["vault", "keys"] {
        copy(&backup.join(part), &node.data().join(part))?;
    }
    restart(&mut node)?;
    ensure!(answer(&node)?.contains("1 of them erased"), "{}", answer(&node)?);
    wait(|| Ok((!node.data().join("keys/vault-wrapping.key").exists()).then_some(())))?;
    ensure!(answer(&node)?.contains("p-0003"), "everybody else is there");
    // Whoever is seen again is somebody new.
    let mut line = tool.software.line(Manner::Brisk);
    ensure!(runtime.block_on(line.get(&format!("/v1/people/{PERSON}"))).status == 200, "no decoy");
    ensure!(answer(&node)?.contains(PERSON), "{}", answer(&node)?);
    Ok(())
}
