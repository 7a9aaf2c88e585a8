//! The pool against origins that misbehave. Each origin is a script: what it does on its first, second, ... connection.

use super::*;
use crate::http1::client::AllowList;
use crate::http1::{Authority, RequestTarget};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What an origin does on one connection, in order; then it closes.
#[derive(Clone, Copy)]
enum Act {
    /// Waits for a whole request without content.
    Hear,
    /// Writes this.
    Say(&'static str),
    /// Never says anything again and keeps the connection.
    Hang,
}
use Act::{Hang, Hear, Say};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi";

struct World {
    origin: Origin,
    /// One message for each request an origin heard: the number of its connection.
    heard: mpsc::UnboundedReceiver<usize>,
    /// One message for each script that ended.
    ended: mpsc::UnboundedReceiver<usize>,
}

async fn world(scripts: &'static [&'static [Act]]) -> World {
    patient_world(scripts, Duration::from_secs(60)).await
}

async fn patient_world(scripts: &'static [&'static [Act]], response_timeout: Duration) -> World {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (hear, heard) = mpsc::unbounded_channel();
    let (end, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for (number, script) in scripts.iter().enumerate() {
            let (stream, _) = listener.accept().await.unwrap();
            let (hear, end) = (hear.clone(), end.clone());
            tokio::spawn(async move {
                play(stream, script, number, hear).await;
                end.send(number).unwrap();
            });
        }
    });
    let config = OriginConfig {
        address,
        body_max: 64,
        connect_timeout: Duration::from_secs(5),
        response_timeout,
        idle_max: 2,
    };
    World { origin: Origin::new(config), heard, ended }
}

async fn play(
    mut stream: TcpStream,
    script: &[Act],
    number: usize,
    hear: mpsc::UnboundedSender<usize>,
) {
    for act in script {
        match act {
            Hear => {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = hear.send(number);
            }
            Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Hang => std::future::pending().await,
        }
    }
}

impl World {
    async fn fetch(&self, method: Method) -> Result<OriginResponse, OriginError> {
        let target = RequestTarget::from_path(b"/a").unwrap();
        let allow = AllowList::new([]).unwrap();
        let host = Authority::parse(b"origin").unwrap();
        let request =
            UpstreamRequest { method, target: &target, host, allow: &allow, ours: &[], body: &[] };
        self.origin.fetch(&request, []).await
    }

    /// Which connections the requests came on.
    fn heard(&mut self) -> Vec<usize> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    fn idle(&self) -> usize {
        self.origin.idle.lock().unwrap().len()
    }
}

async fn body(world: &World, method: Method) -> Result<String, OriginError> {
    world.fetch(method).await.map(|response| String::from_utf8(response.body).unwrap())
}

#[tokio::test]
async fn requests_share_a_connection_one_after_the_other() {
    let mut world = world(&[&[Hear, Say(OK), Hear, Say(OK), Hear, Say(OK), Hang]]).await;
    for method in [Method::Get, Method::Delete, Method::Get] {
        let response = world.fetch(method).await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"hi"[..]));
        assert_eq!(response.fields.iter().collect::<Vec<_>>(), [("X-A", &b"b"[..])]);
        assert_eq!(world.idle(), 1);
    }
    assert_eq!(world.heard(), [0, 0, 0]);
}

#[tokio::test]
async fn content_is_read_however_it_is_framed_and_split() {
    for (wire, kept) in [
        (
            &[
                Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh"),
                Say("\r\n1\r\ni\r\n0\r\n\r\n"),
            ][..],
            1,
        ),
        (&[Say("HTTP/1.1 200 OK\r\nConte"), Say("nt-Length: 2\r\n\r\nh"), Say("i")], 1),
        (&[Say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")], 1),
        (&[Say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")], 0),
        (&[Say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nh"), Say("i")], 0),
    ] {
        let script: &'static [Act] = [&[Hear], wire].concat().leak();
        let world = world(vec![script].leak()).await;
        assert_eq!(body(&world, Method::Get).await.unwrap(), "hi");
        assert_eq!(world.idle(), kept);
    }
}

#[tokio::test]
async fn a_doubtful_connection_carries_no_second_request() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let script: &'static [Act] = vec![Hear, Say(wire), Hang].leak();
        let mut world = world(vec![script, &[Hear, Say(OK), Hang]].leak()).await;
        assert_eq!(body(&world, Method::Get).await.unwrap(), "hi");
        assert_eq!(world.idle(), 0);
        assert_eq!(body(&world, Method::Get).await.unwrap(), "hi");
        assert_eq!(world.heard(), [0, 1]);
    }
}

#[tokio::test]
async fn what_is_said_on_an_unused_connection_answers_nobody() {
    let late = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
    let script: &'static [Act] = vec![Hear, Say(OK), Say(late)].leak();
    let mut world = world(vec![script, &[Hear, Say(OK), Hang]].leak()).await;
    assert_eq!(body(&world, Method::Get).await.unwrap(), "hi");
    assert_eq!(world.ended.recv().await, Some(0));
    assert_eq!(body(&world, Method::Post).await.unwrap(), "hi");
    assert_eq!(world.heard(), [0, 1]);
}

#[tokio::test]
async fn a_safe_request_is_repeated_once_if_a_kept_connection_ends_without_reply() {
    let mut world = world(&[&[Hear, Say(OK), Hear], &[Hear, Say(OK), Hear], &[]]).await;
    assert_eq!(body(&world, Method::Get).await.unwrap(), "hi");
    assert_eq!(body(&world, Method::Get).await.unwrap(), "hi", "repeated on a fresh connection");
    assert_eq!(world.heard(), [0, 0, 1]);
    assert!(
        matches!(body(&world, Method::Get).await, Err(OriginError::Ended(_))),
        "the fresh one ends too"
    );
}

#[tokio::test]
async fn an_unsafe_request_is_never_repeated() {
    let mut world = world(&[&[Hear, Say(OK), Hear], &[Hear, Say(OK)]]).await;
    assert_eq!(body(&world, Method::Post).await.unwrap(), "hi");
    assert!(matches!(body(&world, Method::Post).await, Err(OriginError::Ended(_))));
    assert_eq!(world.heard(), [0, 0]);
}

#[tokio::test]
async fn nothing_is_repeated_once_a_reply_has_begun() {
    let mut world = world(&[&[Hear, Say(OK), Hear, Say("HTTP/1.1 2")], &[Hear, Say(OK)]]).await;
    assert_eq!(body(&world, Method::Get).await.unwrap(), "hi");
    assert!(matches!(body(&world, Method::Get).await, Err(OriginError::Ended(_))));
    assert_eq!(world.heard(), [0, 0]);
}

#[tokio::test]
async fn a_reply_that_is_cut_short_or_too_long_is_no_reply() {
    let too_long = "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n";
    let truncated = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi";
    for (wire, expected) in [
        (too_long, BadBody::TooLong),
        (truncated, BadBody::Truncated),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", BadBody::Truncated),
    ] {
        let script: &'static [Act] = vec![Hear, Say(wire)].leak();
        let world = world(vec![script].leak()).await;
        let failure = world.fetch(Method::Get).await.unwrap_err();
        assert!(
            matches!(failure, OriginError::BadReply(BadReply::Body(bad)) if bad == expected),
            "{failure:?}"
        );
        assert_eq!(world.idle(), 0);
    }
}

#[tokio::test]
async fn waiting_has_an_end_and_closes_the_connection() {
    let script: &[&[Act]] = &[&[Hear, Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh"), Hang]];
    let world = patient_world(script, Duration::from_millis(300)).await;
    assert!(matches!(world.fetch(Method::Get).await, Err(OriginError::TimedOut)));
    assert_eq!(world.idle(), 0);
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut world = world(&[]).await;
    world.origin.config.address = address;
    assert!(matches!(world.fetch(Method::Get).await, Err(OriginError::Unreachable(_))));
}

#[tokio::test]
async fn no_more_than_the_allowed_connections_are_kept() {
    let script: &[Act] = &[Hear, Say(OK), Hang];
    let world = Arc::new(world(vec![script; 4].leak()).await);
    let fetches: Vec<_> = (0..4)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { body(&world, Method::Get).await.unwrap() })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), "hi");
    }
    assert!((1..=2).contains(&world.idle()), "{}", world.idle());
}
