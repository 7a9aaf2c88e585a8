//! Against servers that misbehave. Those that behave are in `tests/mail.rs`.

use super::super::Trust;
use super::super::letter::Content;
use super::*;
use model::{SubjectId, UnixMicros};
use storage::outbox::Outbox;
use tokio::net::TcpListener;

const PATIENCE: Patience = patience(Duration::from_secs(60));
/// Where it is to run out.
const NONE: Patience = patience(Duration::from_millis(400));

const fn patience(all: Duration) -> Patience {
    Patience { connect: all, command: all, content: all }
}

/// Connects to a server that says `script`: to each line it is sent, the next text.
async fn connect(script: &'static [&'static [u8]]) -> Result<Connection, Broken> {
    connect_by(Security::ClearTextToLoopback, PATIENCE, script).await
}

async fn connect_by(
    security: Security,
    patience: Patience,
    script: &'static [&'static [u8]],
) -> Result<Connection, Broken> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Smtp {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        security,
        login: None,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for text in script {
            if stream.write_all(text).await.is_err() {
                return;
            }
            let mut line = String::new();
            stream.read_line(&mut line).await.ok();
        }
        // Silent, but there.
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
    Connection::open(&server, Some(Arc::new(tls)), patience).await
}

#[tokio::test]
async fn what_is_no_reply_breaks_the_connection() {
    for greeting in [
        &b"hello\r\n"[..],
        b"2\r\n",
        b"250\xff\r\n",
        b"999 x\r\n",
        b"220-a\r\n221 b\r\n",
        b"\r\n",
        b"\x00\x01\x02\r\n",
    ] {
        let script: &'static [&'static [u8]] = Box::leak(Box::new([greeting]));
        assert!(matches!(connect(script).await.err(), Some(Broken::Garbage)), "{greeting:?}");
    }
}

#[tokio::test]
async fn lines_and_replies_without_end_are_not_kept() {
    let long: &'static [u8] = Box::leak(vec![b'2'; 4 << 20].into_boxed_slice());
    let script: &'static [&'static [u8]] = Box::leak(Box::new([long]));
    assert!(matches!(connect(script).await.err(), Some(Broken::Garbage)));
    let many: &'static [u8] = Box::leak(b"220-x\r\n".repeat(100_000).into_boxed_slice());
    let script: &'static [&'static [u8]] = Box::leak(Box::new([many]));
    assert!(matches!(connect(script).await.err(), Some(Broken::Garbage)));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let scripts: [&'static [&'static [u8]]; 2] = [&[b""], &[b"220 here\r\n", b"250-half"]];
    for script in scripts {
        let broken = connect_by(Security::ClearTextToLoopback, NONE, script).await.err();
        assert!(matches!(broken, Some(Broken::Slow)), "{broken:?}");
    }
}

#[tokio::test]
async fn a_second_answer_is_not_taken_for_the_next_one() {
    assert!(matches!(
        connect(&[b"220 here\r\n250 to what\r\n", b"250 x\r\n"]).await.err(),
        Some(Broken::Unasked)
    ));
    let mut connection =
        connect(&[b"220 here\r\n", b"250 x\r\n", b"250 ok\r\n250 early\r\n"]).await.unwrap();
    connection.reset().await.unwrap();
    assert!(matches!(connection.data().await.err(), Some(Broken::Unasked)));
}

#[tokio::test]
async fn what_was_said_before_tls_is_not_taken_for_said_through_it() {
    let injected: &[&[u8]] =
        &[b"220 here\r\n", b"250 x\r\n", b"220 go\r\n250-x\r\n250 AUTH PLAIN\r\n"];
    let broken = connect_by(Security::StartTls(Trust::System), PATIENCE, injected).await.err();
    assert!(matches!(broken, Some(Broken::Unasked)), "{broken:?}");
    let refused: &[&[u8]] = &[b"220 here\r\n", b"250 x\r\n", b"502 no\r\n"];
    let broken = connect_by(Security::StartTls(Trust::System), PATIENCE, refused).await.err();
    assert!(matches!(broken, Some(Broken::Answered(_))), "{broken:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_to_the_content_may_have_taken_it() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(&directory.path().join("outbox.db")).await.unwrap();
    let subject = SubjectId::new("s-1").unwrap();
    let people = std::iter::once((subject.clone(), "c@d.example".to_owned()));
    outbox.enqueue("INC-1", 1, people, UnixMicros(1)).await.unwrap();
    let claimed = outbox.claim("INC-1", &subject, None, UnixMicros(2)).await.unwrap().unwrap();
    let letter = Composed::new(&Content {
        from: "a@b.example",
        to: "c@d.example",
        title: "t",
        message_id: "x@b.example",
        date: UnixMicros(0),
        body: "b",
    })
    .unwrap();
    let script: &[&[u8]] = &[b"220 here\r\n", b"250 x\r\n", b"354 go\r\n"];
    let patience = Patience { content: NONE.content, ..PATIENCE };
    let connecting = connect_by(Security::ClearTextToLoopback, patience, script);
    let mut connection = connecting.await.unwrap();
    connection.data().await.unwrap();
    let handed = connection.content(&claimed, &letter).await;
    assert!(matches!(handed, Handed::Unknown(Broken::Slow)));
}

#[tokio::test]
async fn only_354_invites_the_content() {
    let mut connection = connect(&[b"220 here\r\n", b"250 x\r\n", b"250 ok\r\n"]).await.unwrap();
    assert!(matches!(connection.data().await.err(), Some(Broken::Garbage)));
}

#[tokio::test]
async fn a_refusal_at_the_door_is_told() {
    let refused = connect(&[b"554-go\r\n554 away\r\n"]).await.err().unwrap();
    assert_eq!(refused.to_string(), "554 go away");
}

#[test]
fn lines_that_begin_with_a_dot_get_another() {
    assert_eq!(dot_stuffed(b".\r\na.\r\n..b\r\n"), b"..\r\na.\r\n...b\r\n");
}
