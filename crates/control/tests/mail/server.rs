//! The foreign mail server and the foreign verifier, as processes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Whether the Python packages are there. `what` is left out otherwise, and says so.
pub(crate) fn installed(what: &str) -> bool {
    let asked = std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_some_and(|value| value == "1");
    if !asked {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: {what}");
    }
    asked
}

/// A mail server. Dropped, it is killed.
pub(crate) struct Server {
    process: Child,
    log: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// Starts one that adds what it accepts to `log`. `port`: 0 for any. `more`: see `smtpd.py`.
    pub(crate) fn start(log: &Path, port: u16, more: Value) -> Self {
        let mut task = json!({ "log": log, "port": port });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut process = python("smtpd.py", &task).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("it says its port");
        Self { process, log: log.to_owned(), port }
    }

    /// What it accepted, by recipient.
    pub(crate) fn kept(&self) -> BTreeMap<String, Vec<Value>> {
        let mut kept: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        // The last line may be cut short, if its writer was killed.
        for message in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let to = message["to"].as_array().unwrap();
            assert_eq!(to.len(), 1, "one recipient to a message");
            kept.entry(to[0].as_str().unwrap().to_owned()).or_default().push(message);
        }
        kept
    }

    /// Seconds of processor time it has used.
    pub(crate) fn processor_time(&self) -> f64 {
        processor_time(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What dkimpy says of a message, when `record` is all there is under `name`.
pub(crate) fn verifies(message: &str, name: &str, record: &str) -> bool {
    let task = json!({ "message": message, "name": name, "record": record });
    let output = python("verify_dkim.py", &task).output().unwrap();
    match String::from_utf8_lossy(&output.stdout).trim() {
        "good" => true,
        "bad" => false,
        other => panic!("{other}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Seconds of processor time a process has used.
pub(crate) fn processor_time(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// A PKCS#8 key as PEM.
pub(crate) fn pem(key: &[u8]) -> Vec<u8> {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(key))
        .into_bytes()
}

fn python(script: &str, task: &Value) -> Command {
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/foreign");
    let mut command = Command::new(foreign.join("venv/bin/python"));
    command.arg(foreign.join(script)).arg(task.to_string());
    command
}
