//! The log as others' programs see it: a witness, a client of tlog-tiles and a verifier of tlog-proof, from PyPI.

use crate::scripts;
use crate::support::{Node, Protected, Transport, portcullis, said, serve, wait};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn program(name: &str) -> PathBuf {
    scripts::directory().join("venv/bin").join(name)
}

#[test]
fn a_foreign_witness_cosigns_and_foreign_clients_verify() -> Result<()> {
    if !scripts::installed("a witness, a tlog-tiles client and a tlog-proof verifier from PyPI") {
        return Ok(());
    }
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node"));
    let (openapi, overlay) =
        (folder.join("people-openapi.yaml"), folder.join("people-overlay.yaml"));
    let origin = SocketAddr::from(([127, 0, 0, 1], 9));
    let protected = Protected { origin, credential: None, openapi: &openapi, overlay: &overlay };
    let mut node = Node::start(&protected, Transport::ClearText)?;
    let data = node.data();
    let key = data.join("keys/log.pub");
    let vkey = fs::read_to_string(&key)?.trim().to_owned();

    // Witness and client want Python 3.12; where there is only an older one, the proof is checked all the same.
    let mut witness = None;
    if program("aics-witness").exists() {
        node.stop()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = data.join("witness.json");
        let run = |arguments: &[&str]| {
            said(Command::new(program("aics-witness")).args(arguments).arg("--config").arg(&config))
        };
        let listen = format!("127.0.0.1:{port}");
        let named = run(&["init", "--name", "witness.example/foreign", "--listen", &listen])?;
        let cosigner = named.lines().last().context("its key")?.trim().to_owned();
        run(&["add-log", "--origin", "deployment/node-1/1", "--vkey", &vkey])?;
        let process = Command::new(program("aics-witness"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = Process(process);
        let path = data.join("portcullis.toml");
        let lines = format!("\n[[witness]]\nurl = \"http://{listen}\"\nkey = \"{cosigner}\"\n");
        fs::write(&path, fs::read_to_string(&path)? + &lines)?;
        wait(|| Ok(std::net::TcpStream::connect(&listen).is_ok().then_some(())))?;
        (node.process, _) = serve(&data)?;
        witness = Some((process, cosigner));
    }
    let log = fs::read_to_string(data.with_extension("log"))?;
    let (_, address) = log.split_once(" log=").context("the node says where its log is")?;
    let url = format!("http://{}", address.split_whitespace().next().context("an address")?);

    let (first, proof) = (data.join("first"), data.join("record.tlog-proof"));
    let trusted = witness.as_ref().map_or(vkey.clone(), |(_, cosigner)| cosigner.clone());
    let cosigned = || {
        let mut verify = portcullis();
        verify.args(["verify", &url, "--json", "--key"]).arg(&key).args(["--key", &trusted]);
        let said: Option<Value> = said(verify.arg("-o").arg(&first))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(said.filter(|said| {
            witness.is_none() || said["cosigned"][0]["name"] == "witness.example/foreign"
        }))
    };
    let before = wait(cosigned)?;

    if let Some((_, cosigner)) = &witness {
        let client = |arguments: &[&str]| {
            let mut client = Command::new(program("aics-tlog"));
            client.args(arguments).args(["--tiles", &format!("{url}/"), "--log-key", &vkey]);
            said(client.args(["--witness-key", cosigner, "--quorum", "1"]))
        };
        let first = first.to_str().context("text")?;
        client(&["verify-checkpoint"]).context("the checkpoint, cosigned")?;
        for _ in 0..3 {
            node.operate(&["freeze", "--reason", "to have something recorded"])?;
            node.operate(&["unfreeze"])?;
        }
        // The witness is shown a second checkpoint, with the proof that it continues the first.
        let grown = |said: &Value| said["tree_size"].as_u64() > before["tree_size"].as_u64();
        let kept = fs::read_to_string(first)?;
        wait(|| Ok(cosigned()?.filter(grown)))?;
        fs::write(first, kept)?;
        client(&["verify-consistency", "--old-checkpoint", first]).context("it only grew")?;
    }

    // One record, by a third program. Its `extra` line is the entry, which is also given by itself.
    let mut prove = portcullis();
    prove.args(["log", "prove", "2", &url, "--key"]).arg(&key).arg("-o").arg(&proof);
    said(&mut prove)?;
    let text = fs::read_to_string(&proof)?;
    let entry =
        text.lines().nth(1).and_then(|line| line.strip_prefix("extra ")).context("entry")?;
    let entry = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, entry)?;
    let leaf = data.join("leaf");
    fs::write(&leaf, &entry)?;
    let check = || {
        let mut check = Command::new(program("proofbundle"));
        check.arg("verify-proof").arg(&proof).arg("--payload-file").arg(&leaf);
        check.args(["--log-vkey", &vkey, "--expected-origin", "deployment/node-1/1"]);
        if let Some((_, cosigner)) = &witness {
            check.args(["--witness-vkey", cosigner, "--threshold", "1"]);
        }
        said(&mut check)
    };
    check().context("the proof")?;
    fs::write(&leaf, [&entry[..], &[0]].concat())?;
    ensure!(check().is_err(), "another entry");
    Ok(())
}
