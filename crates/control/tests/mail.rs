//! Letters against a mail server that nobody here wrote: Python's aiosmtpd, in `tests/foreign/smtpd.py`.
//!
//! `cargo xtask test` installs it; without that these tests leave themselves out.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "mail/server.rs"]
mod server;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::Ed25519KeyPair;
use control::mail::dkim::Signer;
use control::mail::{
    BadLetter, Composed, Content, Login, Mailer, Patience, Security, Settings, Smtp, Transport,
    Trust,
};
use model::{SubjectId, UnixMicros};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use server::{Server, installed, verifies};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::clock::{random, unix_now};
use storage::outbox::{Letter, LetterState, Outbox, Progress};
use tempfile::TempDir;
use tokio::sync::watch;

const INCIDENT: &str = "INC-1";

/// Set for the process that is killed: where its outbox is, and the server's port.
const SENDER: &str = "PORTCULLIS_MAIL_SENDER";

/// A directory with an outbox.
struct Case {
    directory: TempDir,
    outbox: Outbox,
}

impl Case {
    async fn new(addresses: impl Iterator<Item = String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(&directory.path().join("outbox.db")).await.unwrap();
        let people = addresses
            .map(|address| (SubjectId::new(address.split('@').next().unwrap()).unwrap(), address));
        outbox.enqueue(INCIDENT, 1, people, unix_now()).await.unwrap();
        Self { directory, outbox }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn server(&self, more: serde_json::Value) -> Server {
        Server::start(&self.path("server.jsonl"), 0, more)
    }

    async fn run(&self, mailer: Mailer) -> Progress {
        let (_keep, stop) = watch::channel(false);
        let run = Arc::new(mailer);
        let run = run.run(&self.outbox, INCIDENT, compose, |_| {}, stop);
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends").unwrap()
    }

    /// What the server said about the letters that did not arrive, by subject.
    async fn refusals(&self) -> BTreeMap<String, (LetterState, String)> {
        let refusals = self.outbox.refusals(INCIDENT, None, 10_000).await.unwrap();
        refusals
            .into_iter()
            .map(|refusal| (refusal.subject.as_str().to_owned(), (refusal.state, refusal.reply)))
            .collect()
    }
}

fn compose(letter: &Letter) -> Result<Composed, BadLetter> {
    let message_id = format!("{INCIDENT}.{}@company.example", letter.subject.as_str());
    Composed::new(&Content {
        from: "notices@company.example",
        to: &letter.address,
        title: "Was von Ihnen gelesen wurde – what was read of yours",
        message_id: &message_id,
        date: UnixMicros(1_795_377_876_500_000),
        body: "Guten Tag,\n\n.\nGrüße\n",
    })
}

fn settings() -> Settings {
    Settings {
        connections: 2,
        pauses: vec![Duration::from_millis(30); 12],
        patience: Patience {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(10),
            content: Duration::from_secs(10),
        },
    }
}

fn clear_text(port: u16) -> Smtp {
    Smtp { host: "127.0.0.1".into(), port, security: Security::ClearTextToLoopback, login: None }
}

fn mailer(server: Smtp, signer: Option<Signer>) -> Mailer {
    Mailer::new(Transport::Smtp(server), signer, settings()).unwrap()
}

fn addresses(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("person-{n}@mail.example"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_letter_is_accepted_once_whatever_its_server_does() {
    if !installed("letters to aiosmtpd") {
        return;
    }
    let odd = ["gone.a", "full.b", "busy3.c", "drop1.d", "mute1.e", "busy99.f"];
    let odd = odd.iter().map(|name| format!("{name}@mail.example"));
    let case = Case::new(addresses(300).chain(odd)).await;
    let server = case.server(json!({}));
    let progress = case.run(mailer(clear_text(server.port), None)).await;

    let want =
        Progress { accepted: 302, refused: 2, given_up: 1, in_doubt: 1, ..Progress::default() };
    assert_eq!(progress, want);
    let refusals = case.refusals().await;
    assert_eq!(refusals["gone.a"], (LetterState::Refused, "550 5.1.1 no such person".into()));
    assert_eq!(refusals["full.b"], (LetterState::Refused, "552 5.2.2 the mailbox is full".into()));
    assert_eq!(refusals["busy99.f"], (LetterState::GivenUp, "451 4.7.1 come back later".into()));
    assert_eq!(refusals["mute1.e"].0, LetterState::InDoubt);
    let kept = server.kept();
    assert_eq!(kept.len(), 303, "the accepted ones and the one in doubt");
    assert!(kept.values().all(|messages| messages.len() == 1), "none twice");
    let message = &kept["person-7@mail.example"][0];
    assert_eq!(message["from"], "notices@company.example");
    assert!(
        message["message"]
            .as_str()
            .unwrap()
            .contains("Message-ID: <INC-1.person-7@company.example>\r\n")
    );

    // Nothing is left to do, and another run does nothing.
    assert_eq!(case.run(mailer(clear_text(server.port), None)).await, progress);
    assert_eq!(server.kept().len(), 303);
    // An operator decides about the one in doubt: it goes out under the same id.
    assert_eq!(case.outbox.requeue_in_doubt(INCIDENT, unix_now()).await.unwrap(), 1);
    assert_eq!(case.run(mailer(clear_text(server.port), None)).await.accepted, 303);
    let twice = &server.kept()["mute1.e@mail.example"];
    assert_eq!(twice[0]["message"], twice[1]["message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_through_tls_after_a_login() {
    if !installed("TLS and AUTH at aiosmtpd") {
        return;
    }
    for (implicit, without) in [(false, json!([])), (true, json!([])), (false, json!(["PLAIN"]))] {
        let case = Case::new(addresses(5)).await;
        let ca = certificates(case.directory.path());
        let server = case.server(json!({
            "certificate": case.path("server.pem"), "key": case.path("server.key"),
            "implicit": implicit, "user": "portcullis", "password": "s e c r e t", "without": without,
        }));
        let at = |trust| Smtp {
            host: "localhost".into(),
            port: server.port,
            security: if implicit { Security::Tls(trust) } else { Security::StartTls(trust) },
            login: Login::new("portcullis", b"s e c r e t\n"),
        };
        let progress = case.run(mailer(at(Trust::Only(ca)), None)).await;
        assert_eq!(progress.accepted, 5);
        let kept = server.kept();
        assert!(kept.values().all(|m| m[0]["tls"] == true && m[0]["user"] == "portcullis"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_trusted_gets_nothing() {
    if !installed("wrong certificates and passwords at aiosmtpd") {
        return;
    }
    let case = Case::new(addresses(1)).await;
    let other = tempfile::tempdir().unwrap();
    let (ca, other_ca) = (certificates(case.directory.path()), certificates(other.path()));
    let server = case.server(json!({
        "certificate": case.path("server.pem"), "key": case.path("server.key"),
        "user": "portcullis", "password": "right",
    }));
    let plain = Server::start(&case.path("plain.jsonl"), 0, json!({}));
    let login = Login::new("portcullis", b"wrong");
    let at = |host: &str, port, trust, login: &Option<Login>| Smtp {
        host: host.into(),
        port,
        security: Security::StartTls(trust),
        login: login.clone(),
    };
    for (server, why) in [
        (at("localhost", server.port, Trust::Only(other_ca), &None), "invalid peer certificate: "),
        (at("localhost", server.port, Trust::System, &None), "invalid peer certificate: "),
        (
            at("127.0.0.1", server.port, Trust::Only(ca.clone()), &None),
            "invalid peer certificate: certificate not valid for name",
        ),
        (at("localhost", server.port, Trust::Only(ca.clone()), &login), "535 "),
        (at("localhost", plain.port, Trust::Only(ca), &None), "454 "),
    ] {
        let case = Case::new(addresses(1)).await;
        let run = Arc::new(mailer(server, None));
        let (stop, stopped) = watch::channel(false);
        let outbox = case.outbox.clone();
        let run =
            tokio::spawn(async move { run.run(&outbox, INCIDENT, compose, |_| {}, stopped).await });
        let started = Instant::now();
        while case.outbox.progress(INCIDENT).await.unwrap().deferred == 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "it was not deferred: {why}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send_replace(true);
        let progress = run.await.unwrap().unwrap();
        assert_eq!(progress.deferred, 1, "{why}");
        let letter = &case.outbox.due(INCIDENT, UnixMicros(u64::MAX), 1).await.unwrap()[0];
        assert_eq!(letter.attempts, 0, "the server's fault is not the letter's: {why}");
        let (_, reply) = &case.refusals().await["person-0"];
        assert!(reply.contains(why), "{reply} is not {why}");
    }
    assert!(server.kept().is_empty() && plain.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_verify_elsewhere() {
    if !installed("DKIM signatures at dkimpy") {
        return;
    }
    let ed25519 = Ed25519KeyPair::generate().unwrap().to_pkcs8().unwrap().as_ref().to_vec();
    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let rsa: Vec<u8> =
        AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref().to_vec();
    for (key, algorithm) in [(ed25519, "a=ed25519-sha256"), (rsa, "a=rsa-sha256")] {
        let signer = || Signer::new("company.example", "notices", &server::pem(&key)).unwrap();
        let case = Case::new(addresses(1)).await;
        let server = case.server(json!({}));
        case.run(mailer(clear_text(server.port), Some(signer()))).await;
        let message =
            server.kept()["person-0@mail.example"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(algorithm));
        // `from` twice: dkimpy refuses a second one by itself, others do not.
        assert!(message.contains("h=from:from:to:subject:date:message-id;"));
        let record = signer().record();
        let verifies =
            |message: &str| verifies(message, "notices._domainkey.company.example", &record);
        assert!(verifies(&message));
        assert!(!verifies(&message.replace("To: <person-0", "To: <person-1")));
        assert!(!verifies(&format!("From: <other@company.example>\r\n{message}")));
        assert!(!verifies(&message.replacen("\r\n\r\n", "\r\n\r\nIA==", 1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_commands_reach_no_server() {
    if !installed("hostile addresses at aiosmtpd") {
        return;
    }
    let hostile = [
        "a@mail.example>\r\nRCPT TO:<victim@mail.example",
        "b@mail.example\r\nDATA\r\n",
        "c@mail.example\nBcc: victim@mail.example",
        "d@mail.example> SIZE=1",
    ];
    let directory = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(&directory.path().join("outbox.db")).await.unwrap();
    let people = hostile
        .iter()
        .enumerate()
        .map(|(n, address)| (SubjectId::new(&n.to_string()).unwrap(), (*address).to_owned()));
    outbox.enqueue(INCIDENT, 1, people, unix_now()).await.unwrap();
    let case = Case { directory, outbox };
    let server = case.server(json!({}));
    assert_eq!(case.run(mailer(clear_text(server.port), None)).await.refused, 4);
    assert!(server.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_gets_every_letter() {
    if !installed("killing aiosmtpd") {
        return;
    }
    let case = Case::new(addresses(1_000)).await;
    let server = case.server(json!({}));
    let port = server.port;
    let run = Arc::new(mailer(clear_text(port), None));
    let (_keep, stop) = watch::channel(false);
    let outbox = case.outbox.clone();
    let run = tokio::spawn(async move { run.run(&outbox, INCIDENT, compose, |_| {}, stop).await });
    let mut server = Some(server);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        drop(server.take());
        tokio::time::sleep(Duration::from_millis(100)).await;
        server = Some(Server::start(&case.path("server.jsonl"), port, json!({})));
    }
    let progress = run.await.unwrap().unwrap();
    account(&case, &progress, &server.unwrap(), 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_killed_loses_nothing_and_doubles_nothing() {
    if !installed("killing the sender before aiosmtpd") {
        return;
    }
    let case = Case::new(addresses(2_000)).await;
    let server = case.server(json!({}));
    let mut rounds = 0;
    loop {
        let mut sender = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sender", "--nocapture"])
            .env(SENDER, format!("{} {}", server.port, case.directory.path().display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let [after] = random::<1>();
        // Longer each time, so that a slow machine gets somewhere.
        tokio::time::sleep(Duration::from_millis(80 + u64::from(after) + 5 * rounds)).await;
        if let Some(status) = sender.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        sender.kill().unwrap();
        sender.wait().unwrap();
        rounds += 1;
        assert!(rounds < 200, "it gets nowhere");
    }
    eprintln!("the sender was killed {rounds} times");
    assert!(rounds > 2, "it was killed in the middle");
    let progress = case.outbox.progress(INCIDENT).await.unwrap();
    account(&case, &progress, &server, 2_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_filed_once_whatever_is_repeated() {
    let case = Case::new(addresses(20).chain(["no address".into()])).await;
    let folder = case.path("mail");
    let mailer = || Mailer::new(Transport::Folder(folder.clone()), None, settings()).unwrap();
    // Filed by a run that was killed before it could say so.
    let first = SubjectId::new("person-0").unwrap();
    case.outbox.claim(INCIDENT, &first, None, unix_now()).await.unwrap().unwrap();
    assert_eq!(case.outbox.recover(unix_now()).await.unwrap(), 1);
    let progress = case.run(mailer()).await;
    assert_eq!(progress, Progress { accepted: 19, refused: 1, in_doubt: 1, ..Progress::default() });
    case.outbox.requeue_in_doubt(INCIDENT, unix_now()).await.unwrap();
    assert_eq!(case.run(mailer()).await.accepted, 20);
    let filed = || std::fs::read_dir(folder.join("new")).unwrap().count();
    assert_eq!(filed(), 20);

    // Another outbox that does not know of it, and the same letters.
    let again = Case::new(addresses(20)).await;
    assert_eq!(again.run(mailer()).await.accepted, 20);
    assert_eq!(filed(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_costs_no_letter_an_attempt() {
    let case = Case::new(addresses(3)).await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let (stop, stopped) = watch::channel(false);
    let outbox = case.outbox.clone();
    let run = Arc::new(mailer(clear_text(port), None));
    let run =
        tokio::spawn(async move { run.run(&outbox, INCIDENT, compose, |_| {}, stopped).await });
    let started = Instant::now();
    while case.outbox.progress(INCIDENT).await.unwrap().deferred < 3 {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing was tried");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send_replace(true);
    let progress = run.await.unwrap().unwrap();
    assert_eq!(
        progress,
        Progress { deferred: 3, next_attempt: progress.next_attempt, ..Progress::default() }
    );
    let due = case.outbox.due(INCIDENT, UnixMicros(u64::MAX), 10).await.unwrap();
    assert!(due.iter().all(|letter| letter.attempts == 0));
}

/// The process that is killed above; as a test of its own it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn sender() {
    let Ok(task) = std::env::var(SENDER) else { return };
    let (port, directory) = task.split_once(' ').unwrap();
    let outbox = Outbox::open(&Path::new(directory).join("outbox.db")).await.unwrap();
    outbox.recover(unix_now()).await.unwrap();
    let (_keep, stop) = watch::channel(false);
    let mailer = Arc::new(mailer(clear_text(port.parse().unwrap()), None));
    mailer.run(&outbox, INCIDENT, compose, |_| {}, stop).await.unwrap();
}

/// Every letter is accepted and was kept once, or is in doubt and was kept once at most; and an operator can end the doubts.
async fn account(case: &Case, progress: &Progress, server: &Server, letters: u64) {
    let doubts = case.refusals().await;
    let kept = server.kept();
    let times = |n: u64| kept.get(&format!("person-{n}@mail.example")).map_or(0, Vec::len);
    let in_doubt = |n: u64| doubts.contains_key(&format!("person-{n}"));
    let count = |which: &dyn Fn(u64) -> bool| (0..letters).filter(|&n| which(n)).count();
    let lost = count(&|n| times(n) == 0 && !in_doubt(n));
    let doubled = count(&|n| times(n) > 1);
    let doubts_kept = count(&|n| times(n) == 1 && in_doubt(n));
    eprintln!(
        "{lost} lost, {doubled} doubled, {} in doubt of which {doubts_kept} had arrived",
        doubts.len()
    );
    assert_eq!(lost, 0);
    assert_eq!(doubled, 0);
    assert!(doubts.values().all(|(state, _)| *state == LetterState::InDoubt));
    assert_eq!(progress.accepted + progress.in_doubt, letters);

    case.outbox.requeue_in_doubt(INCIDENT, unix_now()).await.unwrap();
    let progress = case.run(mailer(clear_text(server.port), None)).await;
    assert_eq!(progress.accepted, letters);
    let kept = server.kept();
    assert_eq!(kept.len() as u64, letters);
    // A server that drops doubles by their id has each letter once.
    assert!(
        kept.values()
            .all(|messages| messages.iter().all(|m| m["message"] == messages[0]["message"]))
    );
}

/// Prints letters a second, and whose processor time it was.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed() {
    const LETTERS: usize = 3_000;
    for connections in [1, 2, 4, 8] {
        let case = Case::new(addresses(LETTERS)).await;
        let server = case.server(json!({}));
        let settings = Settings { connections, ..settings() };
        let transport = Transport::Smtp(clear_text(server.port));
        let (ours, theirs) = (server::processor_time(std::process::id()), server.processor_time());
        let start = Instant::now();
        let progress = case.run(Mailer::new(transport, None, settings).unwrap()).await;
        let took = start.elapsed();
        assert_eq!(progress.accepted, LETTERS as u64);
        eprintln!(
            "aiosmtpd, {connections} connections: {:.0} letters/s; processor: ours {:.2} s, the server's {:.2} s, of {:.2} s",
            LETTERS as f64 / took.as_secs_f64(),
            server::processor_time(std::process::id()) - ours,
            server.processor_time() - theirs,
            took.as_secs_f64(),
        );
    }
    for connections in [1, 2, 4] {
        let case = Case::new(addresses(LETTERS)).await;
        let settings = Settings { connections, ..settings() };
        let mailer = Mailer::new(Transport::Folder(case.path("mail")), None, settings).unwrap();
        let start = Instant::now();
        assert_eq!(case.run(mailer).await.accepted, LETTERS as u64);
        eprintln!(
            "folder, {connections} at a time: {:.0} letters/s",
            LETTERS as f64 / start.elapsed().as_secs_f64()
        );
        assert_eq!(std::fs::read_dir(case.path("mail/new")).unwrap().count(), LETTERS);
    }
    let case = Case::new(addresses(LETTERS)).await;
    let start = Instant::now();
    let mut before = None;
    for n in 0..LETTERS {
        let subject = SubjectId::new(&format!("person-{n}")).unwrap();
        case.outbox.claim(INCIDENT, &subject, before.as_ref(), unix_now()).await.unwrap().unwrap();
        before = Some(storage::outbox::Settled {
            subject,
            outcome: storage::outbox::Outcome::Accepted,
            reply: "250 kept".into(),
        });
    }
    eprintln!("the outbox alone: {:.0} letters/s", LETTERS as f64 / start.elapsed().as_secs_f64());
}

/// A certificate authority's file, and `server.pem` and `server.key` for `localhost` beside it.
fn certificates(directory: &Path) -> PathBuf {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    write("server.pem", server.pem());
    write("server.key", server_key.serialize_pem());
    write("ca.pem", ca.pem())
}
