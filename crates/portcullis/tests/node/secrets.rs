//! Keys of a node that runs: another one without a restart, whoever else may read them, and that they are nowhere but in their files.

use crate::alone;
use crate::origin::Origin;
use crate::process::{employ, log, restart, start};
use crate::software::{Line, Manner};
use crate::support::{Node, Protected, Transport, portcullis, said, serve_saying, wait};
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use storage::secrets::{KeyFiles, Ring, SealingKey};
use tokio::runtime::Runtime;

const SEALING: [u8; 32] = *b"\xf1\xe2sealing key of this test 0xf1\xe2";

fn signal(node: &Node, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(node.process.id())?).context("a process has an id")?;
    Ok(kill_process(pid, signal)?)
}

fn reload(node: &Node) -> Result<()> {
    let count = || log(node).matches("portcullis::node: reloaded\n").count();
    let before = count();
    signal(node, Signal::HUP)?;
    wait(|| Ok((count() > before).then_some(())))
}

/// The `kid`s that the authority publishes.
fn published(node: &Node) -> Result<Vec<String>> {
    let address = node.issuer().replace("http://localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(&address)?;
    write!(stream, "GET /jwks.json HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
    let keys: serde_json::Value = serde_json::from_str(body)?;
    let keys = keys.pointer("/keys").and_then(|keys| keys.as_array()).context("keys")?.iter();
    Ok(keys.filter_map(|key| Some(key.get("kid")?.as_str()?.to_owned())).collect())
}

fn keys(node: &Node, arguments: &[&str]) -> Result<String> {
    said(portcullis().arg("keys").args(arguments).current_dir(node.data()))
}

/// The answer to a request, on another connection if the one before was closed behind an answer.
fn reads(runtime: &Runtime, line: &mut Line) -> u16 {
    let mut read = || runtime.block_on(line.get("/v1/people/p-0001")).status;
    match read() {
        0 => read(),
        status => status,
    }
}

#[test]
fn a_token_key_is_rotated_while_tokens_are_in_use() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(None, &origin, Transport::ClearText)?;
    // With the ports in its configuration.
    node.stop()?;
    restart(&mut node)?;
    let tool = runtime.block_on(employ(&node, "early", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    ensure!(reads(&runtime, &mut line) == 200, "it reads");
    let [first] = published(&node)?.try_into().ok().context("one key")?;

    // Published, and nothing more: for an hour, whatever happens to the process.
    let told = keys(&node, &["rotate", "token"])?;
    ensure!(keys(&node, &["rotate", "token"]).is_err(), "one at a time");
    ensure!(published(&node)? == [&*first], "not before the reload");
    reload(&node)?;
    let both = published(&node)?;
    ensure!(both.len() == 2 && both.iter().any(|kid| told.contains(&**kid)), "{told} {both:?}");
    ensure!(reads(&runtime, &mut line) == 200, "by its token");
    let due = log(&node).split_once("signs_from=").map(|(_, rest)| rest[..19].to_owned());
    node.stop()?;
    restart(&mut node)?;
    ensure!(published(&node)? == both, "after a restart");
    ensure!(reads(&runtime, &mut line) == 200, "after a restart");
    ensure!(due.is_some(), "the log says from when on it signs");

    // Stolen: what the first one signed is good no more, on connections that are open too; and nobody waits.
    keys(&node, &["rotate", "token", "--stolen"])?;
    reload(&node)?;
    let [second] = published(&node)?.try_into().ok().context("one key")?;
    ensure!(!both.contains(&second), "neither the first nor the one that was to follow");
    let refused = reads(&runtime, &mut line);
    ensure!(refused == 401, "a token of the stolen key: {refused}");
    let tool = runtime.block_on(employ(&node, "late", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    ensure!(reads(&runtime, &mut line) == 200, "a token of the second key");

    // At once, and what the second one signed is good until it ends.
    keys(&node, &["rotate", "token", "--overlap", "0s"])?;
    reload(&node)?;
    ensure!(published(&node)?.len() == 2, "{:?}", published(&node)?);
    ensure!(reads(&runtime, &mut line) == 200, "a token of the key before");
    node.stop()?;
    restart(&mut node)?;
    ensure!(reads(&runtime, &mut line) == 200, "so it is after a restart");

    // The others say why not.
    for which in ["vault-index", "vault-wrapping", "server", "recipients"] {
        ensure!(keys(&node, &["rotate", which]).is_err(), "{which}");
    }
    Ok(())
}

#[test]
fn keys_that_others_can_read_are_not_used() -> Result<()> {
    let data = tempfile::tempdir()?;
    let node = data.path().join("node");
    said(portcullis().arg("init").arg(&node))?;
    let refused = || -> Result<String> {
        let output = portcullis().arg("serve").current_dir(&node).output()?;
        ensure!(!output.status.success(), "it started");
        Ok(String::from_utf8(output.stderr)?)
    };
    for (path, mode, usual, wanted) in
        [("keys", 0o750, 0o700, "chmod 700"), ("keys/log.key", 0o604, 0o600, "chmod 600")]
    {
        fs::set_permissions(node.join(path), Permissions::from_mode(mode))?;
        let why = refused()?;
        ensure!(why.contains(&format!("{wanted} ./{path}")), "{why}");
        fs::set_permissions(node.join(path), Permissions::from_mode(usual))?;
    }
    fs::rename(node.join("keys/token.key"), node.join("token.key"))?;
    std::os::unix::fs::symlink("../token.key", node.join("keys/token.key"))?;
    let why = refused()?;
    ensure!(why.contains("neither a file nor a directory"), "{why}");
    let operator = node.join("keys/operators/first.key");
    fs::set_permissions(&operator, Permissions::from_mode(0o644))?;
    let mut freeze = portcullis();
    freeze.args(["freeze", "--reason", "a test", "--key"]).arg(&operator).current_dir(&node);
    ensure!(format!("{:#}", said(&mut freeze).unwrap_err()).contains("chmod 600"));
    Ok(())
}

#[test]
fn a_node_is_made_sealed_from_each_source() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let key = directory.path().join("sealing");
    let hex = hex(&SEALING);
    fs::write(&key, &hex)?;
    fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    let file = key.to_str().context("text")?.to_owned();
    let sources: [&[&str]; 3] = [
        &["--key-file", &file],
        &["--key-env", "A_SEALING_KEY"],
        &["--key-command", "cat", "--key-command", &file],
    ];
    for (n, source) in sources.iter().enumerate() {
        let data = directory.path().join(n.to_string());
        let run = || {
            let mut command = portcullis();
            command.env("A_SEALING_KEY", &hex);
            command
        };
        said(run().arg("init").arg(&data).args(*source))?;
        let list = said(run().args(["keys", "list", "--json"]).current_dir(&data))?;
        for line in list.lines().filter(|line| !line.contains("operators/")) {
            ensure!(line.contains("\"sealed_under\":\""), "{line}");
        }
        ensure!(list.lines().count() == 6, "{list}");
        let without = said(portcullis().args(["keys", "list"]).current_dir(&data));
        ensure!(without.is_ok() == (n != 1), "{source:?}");
    }
    Ok(())
}

/// Texts and bytes that something said or wrote, by who it was.
type Said = BTreeMap<String, Vec<u8>>;

#[test]
fn no_secret_is_anywhere_but_in_its_file() -> Result<()> {
    let _alone = alone();
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node"));
    let protected = Protected {
        origin: origin.address,
        credential: Some("Bearer 7kWq-the-origin-asks-for-this"),
        openapi: &folder.join("people-openapi.yaml"),
        overlay: &folder.join("people-overlay.yaml"),
    };
    let mut node = Node::start(&protected, Transport::Tls)?;
    node.stop()?;
    let data = node.data();
    configure_mail(&data)?;
    let mut needles = needles(&data)?;

    // Sealed with the sealing key elsewhere; what was in the clear is not there any more.
    let elsewhere = tempfile::tempdir()?;
    let sealing = elsewhere.path().join("sealing.key");
    fs::write(&sealing, hex(&SEALING))?;
    fs::set_permissions(&sealing, Permissions::from_mode(0o600))?;
    let config = data.join("portcullis.toml");
    let text = fs::read_to_string(&config)? + "\n[secrets]\nkey_file = \"";
    fs::write(&config, text + sealing.to_str().context("text")? + "\"\n")?;
    let mut heard = Said::new();
    let clear = hear(&mut heard, portcullis().arg("serve").current_dir(&data))?;
    ensure!(clear.contains("in the clear") && clear.contains("keys seal"), "{clear}");
    keys(&node, &["seal"])?;
    needles.insert("sealing key".to_owned(), SEALING.to_vec());

    // Everything that says something, at the loudest.
    (node.process, _) = serve_saying(&data, "trace")?;
    let tool = runtime.block_on(employ(&node, "reader", true))?;
    let mut line = tool.software.line(Manner::Brisk);
    ensure!(runtime.block_on(line.get("/v1/people/p-0002")).status == 200, "it reads");
    keys(&node, &["rotate", "token", "--overlap", "0s"])?;
    signal(&node, Signal::HUP)?;
    wait(|| Ok(log(&node).contains("the token keys are others").then_some(())))?;
    let (first, second) = (node.key("first"), node.key("second"));
    let signed =
        ["--key", first.to_str().context("text")?, "--key", second.to_str().context("text")?];
    let bundle = elsewhere.path().join("bundle");
    let bundle = bundle.to_str().context("text")?;
    let asks: [&[&str]; 9] = [
        &["exposure", "--integration", "reader", "--json"],
        &["integration", "list", "--json"],
        &["credential", "list", "--json"],
        &["operator", "list", "--json"],
        &["grant", "list", "--json"],
        &["evidence", "--recipient", "insurer", "--integration", "reader", "-o", bundle],
        &["console"],
        &["vendor", "add", "Not A Slug", "--name", "x"],
        &["sever", "integration:nobody", "--reason", "a typing error"],
    ];
    for ask in asks {
        hear(&mut heard, portcullis().args(ask).args(signed).current_dir(&data))?;
    }
    let asks: [&[&str]; 12] = [
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["keys", "rotate", "token"],
        &["keys", "rotate", "token"],
        &["keys", "rotate", "vault-index"],
        &["keys", "rewrap"],
        &["keys", "seal"],
        &["keys", "rotate", "log"],
        &["keys", "rotate", "log", "--finish"],
        &["posture", "show", "--json"],
        &["serve"],
        &["init", "."],
    ];
    for ask in asks {
        hear(&mut heard, portcullis().args(ask).env("RUST_LOG", "trace").current_dir(&data))?;
    }
    let pid = node.process.id();
    heard.insert("cmdline".to_owned(), fs::read(format!("/proc/{pid}/cmdline"))?);
    heard
        .insert("environ".to_owned(), fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.context("a limit")?.split_whitespace().skip(4).take(2).collect();
    ensure!(core == ["0", "0"], "{core:?}");
    // What was made since.
    let ring = Ring { current: SealingKey::new(&SEALING), former: None };
    let files = KeyFiles::local(&data, ring)?;
    for made in ["token.key", "token.next.key", "log.next.key", "recipients/insurer.key"] {
        let secret = files.read(made)?.first_chunk::<32>().context("32 bytes")?.to_vec();
        ensure!(!needles.values().any(|known| *known == secret), "{made} is another");
        needles.insert(format!("{made}, made since"), secret);
    }
    // It dies as of a bug of its own.
    signal(&node, Signal::ABORT)?;
    let ended = node.process.wait()?;
    ensure!(ended.signal() == Some(6) && !ended.core_dumped(), "{ended:?}");
    heard.insert("the log".to_owned(), fs::read(data.with_extension("log"))?);
    let loud = heard["the log"].windows(7).filter(|b| *b == b" TRACE " || *b == b" DEBUG ").count();
    ensure!(loud > 100, "it was loud: {loud}");

    // The wrong sealing key, in a process that has it in memory.
    let other = elsewhere.path().join("other.key");
    fs::write(&other, hex(&[0x5a; 32]))?;
    fs::set_permissions(&other, Permissions::from_mode(0o600))?;
    let right = fs::read_to_string(&config)?;
    fs::write(&config, right.replace("sealing.key", "other.key"))?;
    needles.insert("other sealing key".to_owned(), vec![0x5a; 32]);
    let wrong = hear(&mut heard, portcullis().arg("serve").current_dir(&data))?;
    ensure!(wrong.contains("is sealed under key") && wrong.contains("keys rewrap"), "{wrong}");

    // The sealing key is another from here on, and the node serves.
    let former = format!("[secrets.former]\nkey_file = \"{}\"\n", sealing.display());
    fs::write(&config, right.replace("sealing.key", "other.key") + &former)?;
    keys(&node, &["rewrap"])?;
    fs::write(&config, right.replace("sealing.key", "other.key"))?;
    restart(&mut node)?;
    ensure!(reads(&runtime, &mut line) == 200, "it reads on");
    node.stop()?;

    written(&data, &data, &mut heard)?;
    heard.insert("the bundle".to_owned(), fs::read(bundle)?);
    search(&heard, &needles)
}

/// Runs a command to its end, whatever that is, and keeps and gives what it said on both.
fn hear(heard: &mut Said, command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    heard.insert(format!("{} {command:?}", heard.len()), both);
    Ok(text)
}

/// Whatever is in the data directory, but for the keys of people, which are not the node's.
fn written(data: &Path, below: &Path, heard: &mut Said) -> Result<()> {
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        let name = path.strip_prefix(data)?.display().to_string();
        if path.is_dir() && name != "keys/operators" {
            written(data, &path, heard)?;
        } else if path.is_file() && !name.ends_with(".private.jwk") {
            heard.insert(name, fs::read(&path)?);
        }
    }
    Ok(())
}

fn configure_mail(data: &Path) -> Result<()> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    for (name, secret) in [
        ("dkim.pem", key.serialize_pem()),
        ("mail.password", "9-a pass word/of mail?\n".to_owned()),
    ] {
        let path = data.join("keys").join(name);
        fs::write(&path, secret)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    }
    let config = data.join("portcullis.toml");
    let mail = "\n[mail]\nfrom = \"p@c.example\"\nsmtp = \"127.0.0.1:1\"\ntls = \"none\"\nuser = \"me\"\n\
                password = \"keys/mail.password\"\n[mail.dkim]\ndomain = \"c.example\"\nselector = \"s\"\nkey = \"keys/dkim.pem\"\n";
    Ok(fs::write(&config, fs::read_to_string(&config)? + mail)?)
}

/// The secret of each file in `keys/`, by name: of a PEM file, the private number in it.
fn needles(data: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut needles = BTreeMap::new();
    for entry in fs::read_dir(data.join("keys"))? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        if path.is_dir() || ["server.pem", "ca.pem", "log.pub"].contains(&&*name) {
            continue;
        }
        let file = fs::read(&path)?;
        let Some(pem) = str::from_utf8(&file).ok().filter(|text| text.starts_with("-----")) else {
            needles.insert(name, file.trim_ascii().to_vec());
            continue;
        };
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(base64)?;
        // The last octets of 32 that are no signature and no point: RFC 5915 and RFC 8410 put them behind 04 20.
        let at = der.windows(2).position(|bytes| bytes == [4, 32]).context("a number")? + 2;
        needles.insert(name, der.get(at..at + 32).context("32 octets")?.to_vec());
    }
    ensure!(needles.len() == 9, "{:?}", needles.keys());
    Ok(needles)
}

/// A secret as it may be written: as it is, in hex, as Rust prints bytes, and in either base64 wherever it begins in a longer text.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), hex(secret).into_bytes()];
    forms.push(hex(secret).to_uppercase().into_bytes());
    forms.push(format!("{secret:?}").trim_matches(['[', ']']).as_bytes().to_vec());
    for engine in [STANDARD, URL_SAFE] {
        for before in 0..3 {
            let text = engine.encode([&vec![0; before][..], secret].concat());
            // The characters that hold bits of the neighbours too are not looked for.
            let text = text.trim_end_matches('=').as_bytes();
            let whole = (before * 8).div_ceil(6)..text.len() - 1;
            forms.extend(text.get(whole).map(<[u8]>::to_vec));
        }
    }
    forms
}

fn search(heard: &Said, needles: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut all = Forms::new();
    for (name, secret) in needles {
        ensure!(secret.len() >= 16, "{name} is too short to be looked for");
        for form in forms(secret) {
            let begins = form.first_chunk().copied().context("a beginning")?;
            let held = [b"x", &form[..], b"y"].concat();
            let one = Forms::from([(begins, vec![(&**name, form.clone())])]);
            ensure!(find(&held, &one).contains(&**name), "what is there is found");
            all.entry(begins).or_default().push((name, form));
        }
    }
    let mut found = BTreeSet::new();
    for (place, said) in heard {
        found.extend(find(said, &all).into_iter().map(|name| format!("{name} in `{place}`")));
    }
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// Forms of secrets and whose they are, by their first two bytes.
type Forms<'a> = HashMap<[u8; 2], Vec<(&'a str, Vec<u8>)>>;

/// What of `forms` is in a text. One pass: there are megabytes of log, and more of empty segments.
fn find<'a>(said: &[u8], forms: &Forms<'a>) -> BTreeSet<&'a str> {
    let begins: BTreeSet<u8> = forms.keys().map(|[first, _]| *first).collect();
    let begins: Vec<bool> = (0..=u8::MAX).map(|byte| begins.contains(&byte)).collect();
    let mut found = BTreeSet::new();
    for (at, &byte) in said.iter().enumerate() {
        if begins.get(usize::from(byte)) == Some(&true) {
            let rest = said.get(at..).unwrap_or_default();
            let like =
                rest.first_chunk().and_then(|begins| forms.get(begins)).into_iter().flatten();
            found.extend(like.filter(|(_, form)| rest.starts_with(form)).map(|(name, _)| *name));
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
