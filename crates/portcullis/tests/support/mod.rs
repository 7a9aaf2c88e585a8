//! A node as its user has one: a directory that `portcullis init` made, a process that `portcullis serve` is, and commands
//! typed by two operators. Nothing here reaches into the node; what a test knows it read from sockets, files and output.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a process may take to start or to stop, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at something that another process does.
const GLANCE: Duration = Duration::from_millis(20);

/// How integrations reach the node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    ClearText,
    Tls,
}

/// What a node protects, and by which contract.
pub(crate) struct Protected<'a> {
    pub(crate) origin: SocketAddr,
    /// The value of `Authorization` that the origin asks for.
    pub(crate) credential: Option<&'a str>,
    pub(crate) openapi: &'a Path,
    pub(crate) overlay: &'a Path,
}

/// A node that serves. Dropped, its process ends and its directory goes.
pub(crate) struct Node {
    directory: TempDir,
    /// `portcullis serve`. A test that kills it starts the next one with [`serve`].
    pub(crate) process: Child,
    pub(crate) ports: [u16; 3],
    transport: Transport,
}

/// What an integration may do, as the options of `grant add` say it.
pub(crate) struct Application<'a> {
    pub(crate) slug: &'a str,
    /// File with the public JWK.
    pub(crate) jwk: &'a Path,
    pub(crate) operations: &'a [&'a str],
    pub(crate) classes: &'a [&'a str],
    pub(crate) purpose: &'a str,
    /// What its software does in the sandbox; without it, it asks for so little that nobody wants to see it there.
    pub(crate) trial: Option<Trial<'a>>,
}

/// A request in the sandbox.
pub(crate) struct Trial<'a> {
    /// Who is there.
    pub(crate) subject: &'a str,
    /// Makes it, as the integration's software does.
    pub(crate) read: &'a dyn Fn(&Onboarded) -> Result<()>,
}

/// An integration that may read. The ids are as `portcullis` printed them.
pub(crate) struct Onboarded {
    pub(crate) integration: String,
    pub(crate) grant: String,
}

impl Node {
    /// `portcullis init`, `portcullis serve`, and a second operator.
    ///
    /// # Errors
    /// What a command said, or that the node did not listen in time.
    pub(crate) fn start(protected: &Protected<'_>, transport: Transport) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, protected, transport)
    }

    /// As [`Node::start`], with the data directory at `node` in `directory`.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) fn start_in(
        directory: TempDir,
        protected: &Protected<'_>,
        transport: Transport,
    ) -> Result<Self> {
        let data = data(&directory);
        let origin = protected.origin.to_string();
        said(portcullis().arg("init").arg(&data).args(["--origin", &origin]))?;
        std::fs::copy(protected.openapi, data.join("openapi.yaml"))?;
        std::fs::copy(protected.overlay, data.join("overlay.yaml"))?;
        // Free ports: the node takes what the system gives it and says which; then the file says so too, for the operators.
        configure(&data, [8443, 8444, 8445], [0; 3], transport)?;
        if let Some(credential) = protected.credential {
            present(&data, credential)?;
        }
        let (process, ports) = serve(&data)?;
        let node = Self { directory, process, ports, transport };
        configure(&node.data(), [0; 3], ports, transport)?;
        let second = node.key("second");
        said(
            portcullis()
                .args(["operator", "add", "second", "--role", "admin", "--new-key"])
                .arg(second)
                .arg("--key")
                .arg(node.key("first"))
                .arg("--config")
                .arg(node.config()),
        )?;
        Ok(node)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        data(&self.directory)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.data().join("portcullis.toml")
    }

    /// The key file of `first` or `second`.
    pub(crate) fn key(&self, operator: &str) -> PathBuf {
        self.data().join(format!("keys/operators/{operator}.key"))
    }

    /// Scheme and authority of the data plane, as integrations know it.
    pub(crate) fn url(&self) -> String {
        let [data_plane, ..] = self.ports;
        self.at(data_plane)
    }

    /// The issuer of tokens.
    pub(crate) fn issuer(&self) -> String {
        let [_, authority, _] = self.ports;
        self.at(authority)
    }

    fn at(&self, port: u16) -> String {
        let scheme = if self.transport == Transport::Tls { "https" } else { "http" };
        format!("{scheme}://localhost:{port}")
    }

    /// Types a command that both operators sign, and gives what it printed.
    ///
    /// # Errors
    /// What it said, if it did not end with 0.
    pub(crate) fn operate(&self, arguments: &[&str]) -> Result<String> {
        let mut command = portcullis();
        command.args(arguments).arg("--config").arg(self.config());
        said(command.arg("--key").arg(self.key("first")).arg("--key").arg(self.key("second")))
    }

    /// Vendor, integration, its evidence and key, its trial in the sandbox, and a grant over all subjects, for ten days.
    ///
    /// # Errors
    /// What the command that was refused said.
    pub(crate) fn onboard(&self, application: &Application<'_>) -> Result<Onboarded> {
        let Application { slug, jwk, operations, classes, purpose, trial } = application;
        let evidence = self.data().join(format!("{slug}.application.json"));
        let sbom = self.data().join(format!("{slug}.sbom.json"));
        std::fs::write(&evidence, application.evidence()?.to_string())?;
        let at = storage::clock::unix_now().to_string();
        let materials = json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": { "timestamp": at }, "components": [] });
        std::fs::write(&sbom, materials.to_string())?;
        let (evidence, sbom) = (text_of(&evidence)?, text_of(&sbom)?);
        let jwk = text_of(jwk)?;
        let vendor_slug = format!("{slug}-inc");
        let vendor = self.operate(&["vendor", "add", &vendor_slug, "--name", "A vendor"])?;
        let integration = self.operate(&["integration", "apply", slug, "--vendor", &vendor])?;
        self.operate(&[
            "integration",
            "evidence",
            slug,
            "--application",
            evidence,
            "--sbom",
            sbom,
        ])?;
        self.operate(&["integration", "review", slug])?;
        let of = ["--integration", &*integration, "--days", "10"];
        self.operate(&[&["credential", "add", "--jwk", jwk], &of[..]].concat())?;
        let grant = |subjects: &str| {
            let mut grant = vec!["grant", "add", "--purpose", purpose, "--subjects", subjects];
            grant.extend(["--budget", "100,1000,5000"]);
            grant.extend(operations.iter().flat_map(|operation| ["--operation", operation]));
            grant.extend(classes.iter().flat_map(|class| ["--class", class]));
            grant.extend(of);
            self.operate(&grant)
        };
        if let Some(Trial { subject, read }) = trial {
            let named = grant(&format!("only:{subject}"))?;
            let in_sandbox = Onboarded { integration: integration.clone(), grant: named };
            read(&in_sandbox)?;
            self.operate(&["grant", "withdraw", &in_sandbox.grant])?;
        }
        self.operate(&["integration", "approve", slug, "--days", "10"])?;
        let grant = grant("all")?;
        Ok(Onboarded { integration, grant })
    }

    /// Restarts the node with a portal on a free port, and gives the portal's origin.
    ///
    /// # Errors
    /// If it does not stop or start.
    pub(crate) fn open_portal(&mut self) -> Result<String> {
        self.open_portal_with(|_| Ok(String::new()))
    }

    /// As [`Node::open_portal`], with what `more` says of the portal at this origin.
    ///
    /// # Errors
    /// Likewise, or if `more` fails.
    pub(crate) fn open_portal_with(
        &mut self,
        more: impl FnOnce(&str) -> Result<String>,
    ) -> Result<String> {
        self.stop()?;
        // Browsers are told the address beforehand, so it is chosen here and not by the system.
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let origin = self.at(free);
        let path = self.config();
        let text = std::fs::read_to_string(&path)?;
        let portal = format!(
            "[portal]\nlisten = \"127.0.0.1:{free}\"\nurl = \"{origin}\"\ncompany = \"Example Ltd\"\n"
        );
        let (text, more) = (text.split("\n[portal]\n").next().unwrap_or(""), more(&origin)?);
        std::fs::write(&path, format!("{text}\n{portal}{more}"))?;
        (self.process, self.ports) = serve(&self.data())?;
        Ok(origin)
    }

    /// Stops the node as an init system does; what is asked of its files is asked afterwards.
    ///
    /// # Errors
    /// If it did not end in time, or not with 0.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.process.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("a process has an id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = wait(|| Ok(self.process.try_wait()?))?;
        if !ended.success() {
            bail!("`portcullis serve` ended with {ended}:\n{}", log(&self.data()));
        }
        Ok(())
    }
}

impl Application<'_> {
    /// Everything in order: each document that the tier asks for, and a fresh key.
    fn evidence(&self) -> Result<Value> {
        let day = |days: u64| {
            let at = storage::clock::unix_now() + model::Micros::from_secs(days * 86_400);
            at.to_string().chars().take(10).collect::<String>()
        };
        let (today, next_year) = (day(0), day(365));
        let kinds = ["mvsp", "soc2", "pen_test", "dpa", "external_test", "key_attestation"];
        let documents =
            kinds.map(|kind| json!({ "kind": kind, "issued": today, "expires": next_year }));
        let (reach, mode) = match self.trial {
            Some(_) => ("all", "bulk"),
            None => ("own_users", "user_present"),
        };
        let jwk: Value = serde_json::from_slice(&std::fs::read(self.jwk)?)?;
        Ok(json!({
            "schema": "portcullis.application/1",
            "purpose": self.purpose,
            "operations": self.operations,
            "classes": self.classes,
            "reach": reach,
            "mode": mode,
            "credential": "bound",
            "redirect_uris": [],
            "documents": documents,
            "retention_days": 30,
            "subprocessors": [],
            "keys": [{ "created": today, "jwk": jwk }],
        }))
    }
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// The binary under test.
pub(crate) fn portcullis() -> Command {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
}

/// Runs a command to its end and gives its standard output without the last line end.
///
/// # Errors
/// What it said on standard error, if it did not end with 0.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}: {}", String::from_utf8_lossy(&stderr));
    }
    Ok(String::from_utf8(stdout)?.trim_end().to_owned())
}

/// Looks until there is something to see.
///
/// # Errors
/// If there was nothing in time, or the look failed.
pub(crate) fn wait<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        std::thread::sleep(GLANCE);
    }
    bail!("nothing came within {PATIENCE:?}")
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("node")
}

fn log(data: &Path) -> String {
    std::fs::read_to_string(data.with_extension("log")).unwrap_or_default()
}

/// Edits `portcullis.toml` as its comments say.
fn configure(data: &Path, from: [u16; 3], to: [u16; 3], transport: Transport) -> Result<()> {
    let path = data.join("portcullis.toml");
    let mut text = std::fs::read_to_string(&path)?;
    if transport == Transport::ClearText {
        text =
            text.replace("https://", "http://").replace("clear_text = false", "clear_text = true");
    }
    for ((name, from), to) in ["data_plane", "authority", "control"].iter().zip(from).zip(to) {
        let line = |port| format!("{name} = \"127.0.0.1:{port}\"");
        text = text.replace(&line(from), &line(to));
    }
    text = text.replace("metrics = \"127.0.0.1:9464\"", "metrics = \"127.0.0.1:0\"");
    text = text.replace("log = \"127.0.0.1:8448\"", "log = \"127.0.0.1:0\"");
    let ([from, ..], [to, ..]) = (from, to);
    let text = text.replace(&format!("//localhost:{from}\""), &format!("//localhost:{to}\""));
    Ok(std::fs::write(path, text)?)
}

/// Gives the node what the origin asks it for.
fn present(data: &Path, credential: &str) -> Result<()> {
    let (config, secret) = (data.join("portcullis.toml"), data.join("keys/origin.credential"));
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(config, text.replace("# credential =", "credential ="))?;
    std::fs::write(&secret, credential)?;
    Ok(std::fs::set_permissions(secret, Permissions::from_mode(0o600))?)
}

/// Starts the process and waits for the line that names its addresses.
///
/// # Errors
/// What the node said before it ended, or that it said nothing in time.
pub(crate) fn serve(data: &Path) -> Result<(Child, [u16; 3])> {
    serve_saying(data, "info")
}

/// As [`serve`], trusting the CAs in this file and no others where it connects to others.
///
/// # Errors
/// Likewise.
pub(crate) fn serve_trusting(data: &Path, cas: &Path) -> Result<(Child, [u16; 3])> {
    let mut command = portcullis();
    serve_by(command.env("RUST_LOG", "info").env("SSL_CERT_FILE", cas), data)
}

/// As [`serve`], with a log of this level.
///
/// # Errors
/// Likewise.
pub(crate) fn serve_saying(data: &Path, level: &str) -> Result<(Child, [u16; 3])> {
    let mut command = portcullis();
    serve_by(command.env("RUST_LOG", level), data)
}

fn serve_by(command: &mut Command, data: &Path) -> Result<(Child, [u16; 3])> {
    let mut process = command
        // Where `init` says to: in the directory, with nothing named.
        .arg("serve")
        .current_dir(data)
        .stderr(std::fs::File::create(data.with_extension("log"))?)
        .spawn()?;
    let ports = wait(|| {
        let log = log(data);
        if let Some(line) = log.lines().find(|line| line.contains(" serving ")) {
            return ports(line).map(Some);
        }
        if let Some(status) = process.try_wait()? {
            bail!("`portcullis serve` ended with {status}:\n{log}");
        }
        Ok(None)
    });
    if ports.is_err() {
        process.kill()?;
        process.wait()?;
    }
    Ok((process, ports?))
}

fn ports(line: &str) -> Result<[u16; 3]> {
    let port = |name: &str| -> Result<u16> {
        let (_, address) = line.split_once(name).with_context(|| format!("no {name} in {line}"))?;
        let address = address.split_whitespace().next().unwrap_or("");
        Ok(address.parse::<SocketAddr>()?.port())
    };
    Ok([port("data_plane=")?, port("authority=")?, port("control=")?])
}
