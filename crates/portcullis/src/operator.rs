//! An operator at the command line: signs commands with key files and sends them where they belong.

use crate::keys;
use anyhow::{Context, Result, bail};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Micros, Operator, OperatorId, OperatorKind, Role, UnixMicros};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use storage::clock;
use storage::registry::{Command, Payload, SignedCommand};
use storage::secrets::private;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// How long a signed command may be carried out.
const LIFE: Micros = Micros::from_secs(600);

/// A file that takes no longer to come is fetched without a word.
const SILENT: Duration = Duration::from_secs(2);

/// An operator's key, and who it belongs to.
pub(crate) struct OperatorKey {
    pub(crate) id: OperatorId,
    pub(crate) name: String,
    pair: Ed25519KeyPair,
}

impl OperatorKey {
    /// A new operator with a new key, kept in `path` as `id` and seed in hex.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub(crate) fn create(path: &Path, name: &str) -> Result<Self> {
        let id = OperatorId::new(clock::unix_now(), keys::random()?);
        let seed = Zeroizing::new(keys::random::<32>()?);
        let hex = Zeroizing::new(seed.map(|byte| format!("{byte:02x}")).concat());
        keys::write(path, Zeroizing::new(format!("{id} {name} {}\n", *hex)).as_bytes())?;
        Self::from_parts(id, name, &seed)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// If it is not one, or others can read it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let what = || format!("`{}` is not an operator's key file", path.display());
        let file = private::read(path)?;
        let mut words = str::from_utf8(&file).unwrap_or_default().split_whitespace();
        let (id, name, hex) = (words.next(), words.next(), words.next());
        let (Some(id), Some(name), Some(hex)) = (id, name, hex) else { bail!(what()) };
        let seed: Option<Vec<u8>> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok())
            .collect();
        let seed = seed.and_then(|seed| <[u8; 32]>::try_from(&**Zeroizing::new(seed)).ok());
        let seed = Zeroizing::new(seed.with_context(what)?);
        Self::from_parts(id.parse().with_context(what)?, name, &seed)
    }

    fn from_parts(id: OperatorId, name: &str, seed: &[u8; 32]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok().context("not an Ed25519 seed")?;
        Ok(Self { id, name: name.to_owned(), pair })
    }

    /// The Ed25519 public key.
    ///
    /// # Errors
    /// None in practice: it has 32 bytes.
    pub(crate) fn public_key(&self) -> Result<[u8; 32]> {
        let key = self.pair.public_key();
        key.as_ref().try_into().context("an Ed25519 public key has 32 bytes")
    }

    /// The first operator, as the registry keeps it.
    ///
    /// # Errors
    /// As for [`OperatorKey::public_key`].
    pub(crate) fn founder(&self) -> Result<Operator> {
        let (name, public_key) = (self.name.clone(), self.public_key()?);
        Ok(Operator {
            id: self.id,
            name,
            public_key,
            role: Role::Admin,
            kind: OperatorKind::Person,
        })
    }

    /// The command that puts its holder on the roster. `automation_until`: when it ends, if it is a program.
    ///
    /// # Errors
    /// As for [`OperatorKey::public_key`].
    pub(crate) fn add(&self, role: Role, automation_until: Option<UnixMicros>) -> Result<Command> {
        let (name, public_key) = (self.name.clone(), self.public_key()?);
        Ok(Command::OperatorAdd { operator: self.id, name, public_key, role, automation_until })
    }
}

/// Signs a command with each of `keys` against a posture head.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn sign(
    command: Command,
    head: model::Digest,
    keys: &[&OperatorKey],
) -> Result<SignedCommand> {
    let now = clock::unix_now();
    let payload = Payload {
        id: keys::random()?,
        posture_head: head,
        issued: now,
        expires: now + LIFE,
        command,
    }
    .to_json()?;
    let message = Payload::message(&payload);
    let signature = |key: &&OperatorKey| Ok((key.id, key.pair.sign(&message).as_ref().try_into()?));
    let signatures = keys.iter().map(signature).collect::<Result<_>>()?;
    Ok(SignedCommand { payload, signatures, attachment: None })
}

/// Signs and sends a command to the operators' listener.
///
/// # Errors
/// What the node answered, if it did not carry it out; or that it cannot be reached.
pub(crate) async fn send(
    control: SocketAddr,
    command: Command,
    keys: &[&OperatorKey],
) -> Result<Value> {
    send_with(control, command, None, keys).await
}

/// Sends a command whose answer is a file, and writes that to `file`, whole or not at all. Shows on a terminal how far it is if it
/// takes a while.
///
/// # Errors
/// As for [`send`]; or that the file cannot be written.
pub(crate) async fn fetch(
    control: SocketAddr,
    command: Command,
    keys: &[&OperatorKey],
    file: &Path,
) -> Result<()> {
    let body = sign(command, head(control).await?, keys)?.to_json_with_attachment()?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} {bytes}/{total_bytes}")?);
    let show = || bar.set_draw_target(ProgressDrawTarget::stderr());
    let patience = tokio::time::sleep(SILENT);
    tokio::pin!(patience);
    bar.set_message("the node reads its log");
    let mut asking = std::pin::pin!(request(control, Method::POST, "/v1/commands", body));
    let response = tokio::select! {
        response = &mut asking => response,
        () = &mut patience => {
            show();
            bar.enable_steady_tick(Duration::from_millis(200));
            asking.await
        }
    }?;
    if response.status() != StatusCode::OK {
        let (_, answer) = read(response).await?;
        bail!("refused: {}", detail(&answer));
    }
    bar.set_message("received");
    let length = response.body().size_hint().exact();
    bar.set_length(length.unwrap_or(0));
    let cannot = || format!("cannot write `{}`", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut part =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(cannot)?;
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.context("the answer broke off")?.into_data() else { continue };
        if patience.is_elapsed() {
            show();
        }
        received += bytes.len() as u64;
        bar.set_position(received);
        part.write_all(&bytes).with_context(cannot)?;
    }
    if length.is_some_and(|length| length != received) {
        bail!("the answer broke off");
    }
    part.as_file().sync_all().with_context(cannot)?;
    part.persist(file).with_context(cannot)?;
    bar.finish_and_clear();
    Ok(())
}

/// As [`send`], with what the command names by its hash.
///
/// # Errors
/// As for [`send`].
pub(crate) async fn send_with(
    control: SocketAddr,
    command: Command,
    attachment: Option<Vec<u8>>,
    keys: &[&OperatorKey],
) -> Result<Value> {
    let mut command = sign(command, head(control).await?, keys)?;
    command.attachment = attachment;
    let body = command.to_json_with_attachment()?;
    let (status, answer) = call(control, Method::POST, "/v1/commands", body).await?;
    if status != 200 {
        bail!("refused: {}", detail(&answer));
    }
    Ok(answer)
}

/// Signs a command and sends it down the sever path, which works when registry and ledger do not.
///
/// # Errors
/// What the node answered, if it did not cut; or that it cannot be reached.
pub(crate) fn send_to_sever_socket(
    socket: &Path,
    command: Command,
    keys: &[&OperatorKey],
) -> Result<Value> {
    // What narrows is not bound to a posture head, so none needs to be asked for.
    let line = sign(command, [0; 32], keys)?.to_json()?;
    let stream = UnixStream::connect(socket).with_context(|| {
        format!("no node listens on `{}`: is `portcullis serve` running there?", socket.display())
    })?;
    (&stream).write_all(&line)?;
    (&stream).write_all(b"\n")?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    let answer: Value =
        serde_json::from_str(&answer).context("the node answered nothing readable")?;
    if let Some(reason) = answer.pointer("/error").and_then(Value::as_str) {
        bail!("refused: {reason}");
    }
    Ok(answer)
}

/// Posture as the node shows it.
///
/// # Errors
/// If the node cannot be reached.
pub(crate) async fn posture(control: SocketAddr) -> Result<Value> {
    Ok(call(control, Method::GET, "/v1/posture", Vec::new()).await?.1)
}

/// How far the letters of a case are.
///
/// # Errors
/// If the node cannot be reached, or knows no such case.
pub(crate) async fn letters(control: SocketAddr, incident: &str) -> Result<Value> {
    let (status, answer) =
        call(control, Method::GET, &format!("/v1/letters/{incident}"), Vec::new()).await?;
    if status != 200 {
        bail!("the node knows no letters of {incident}");
    }
    Ok(answer)
}

async fn head(control: SocketAddr) -> Result<model::Digest> {
    let posture = posture(control).await?;
    let hex = posture.pointer("/head").and_then(Value::as_str).unwrap_or("");
    let bytes: Option<Vec<u8>> =
        (0..32).map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).context("the node shows no posture head")
}

fn detail(answer: &Value) -> &str {
    answer.pointer("/detail").and_then(Value::as_str).unwrap_or("no reason given")
}

async fn call(
    control: SocketAddr,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(u16, Value)> {
    read(request(control, method, path, body).await?).await
}

async fn request(
    control: SocketAddr,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>> {
    let stream = TcpStream::connect(control)
        .await
        .with_context(|| format!("no node listens on {control}: is `portcullis serve` running?"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", control.to_string())
        .body(Full::new(Bytes::from(body)))?;
    Ok(sender.send_request(request).await?)
}

async fn read(response: Response<Incoming>) -> Result<(u16, Value)> {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    let answer = serde_json::from_slice(&body)
        .with_context(|| format!("the node answered {status} and nothing readable"))?;
    Ok((status, answer))
}
