use super::store::{State, Store};
use super::*;
use detection::intel::{Level, Tlp};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const NOW: UnixMicros = UnixMicros(1_795_377_876_000_000);
const TAXII: &str = "content-type: application/taxii+json;version=2.1\r\n";

/// A server that answers requests in turn, the last answer again and again, and keeps their heads. An answer is a status, fields, and a body.
struct Server {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<(u16, String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            let mut left = answers.into_iter();
            let mut answer = left.next().unwrap();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                kept.lock().unwrap().push(String::from_utf8(head).unwrap());
                let (status, fields, body) = &answer;
                let length = body.len();
                let said = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
                );
                let _gone = stream.write_all(said.as_bytes()).await;
                answer = left.next().unwrap_or(answer);
            }
        });
        Self { url, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn answer(status: u16, fields: &str, body: &str) -> (u16, String, String) {
    (status, fields.to_owned(), body.to_owned())
}

fn feed(origin: Origin) -> Feed {
    let kind = if matches!(origin, Origin::Taxii(_)) { Kind::Stix } else { Kind::Plain };
    Feed {
        name: "test".to_owned(),
        origin,
        kind,
        terms: Terms { level: Level::REFUSES, tlp: Tlp::Red },
        owner: ListOwner::Feed,
        every: Duration::from_secs(3_600),
        login: None,
    }
}

fn web(server: &Server) -> Feed {
    let address = Address::parse(&server.url, true).unwrap();
    feed(Origin::Web(address, server.url.clone()))
}

fn store() -> (TempDir, Store) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    (data, store)
}

/// Refreshes though it is not due, and gives whether anything changed and the state.
async fn again(feed: &Feed, store: &Store) -> (bool, State) {
    let changed = refresh(feed, store, None, true, NOW, 0).await.unwrap();
    (changed, store.state("test").unwrap().unwrap())
}

fn content(store: &Store) -> String {
    String::from_utf8(store.content("test").unwrap().unwrap_or_default()).unwrap()
}

fn problem(state: &State) -> &str {
    state.problem.as_ref().map_or("", |problem| &problem.what)
}

#[tokio::test]
async fn a_page_is_asked_for_only_if_it_changed_and_rubbish_changes_nothing() {
    let said = "etag: \"a\"\r\nlast-modified: Sun, 29 Nov 2026 10:00:00 GMT\r\n";
    let server = Server::start(vec![
        answer(200, said, "203.0.113.7\n"),
        answer(304, "", ""),
        answer(200, "", "<html>\n"),
        answer(500, "", "203.0.113.9\n"),
        answer(302, "location: http://169.254.169.254/\r\n", ""),
        answer(200, "", "203.0.113.8\n"),
    ])
    .await;
    let (feed, (_data, store)) = (web(&server), store());
    let (changed, state) = again(&feed, &store).await;
    assert!(changed && state.problem.is_none());
    assert_eq!(state.due, NOW + Micros::from_secs(3_600));
    assert!(!refresh(&feed, &store, None, false, NOW, 0).await.unwrap(), "not due");
    let (changed, state) = again(&feed, &store).await;
    assert!(!changed && state.problem.is_none());
    let heads = server.heads();
    assert_eq!(heads.len(), 2);
    assert!(!heads[0].contains("if-none-match"));
    assert!(heads[1].contains("if-none-match: \"a\"\r\n"), "{}", heads[1]);
    assert!(heads[1].contains("if-modified-since: Sun, 29 Nov 2026 10:00:00 GMT\r\n"));
    for (what, failed) in [
        ("what it sent is not taken: nothing of it is a network", 1),
        ("it answered 500", 2),
        ("it answered 302", 3),
    ] {
        let (changed, state) = again(&feed, &store).await;
        assert_eq!((changed, problem(&state), state.failed), (false, what, failed));
        assert_eq!(state.due, NOW + Micros::from_secs(60 << (failed - 1)));
        assert_eq!(content(&store), "203.0.113.7\n");
    }
    let (changed, state) = again(&feed, &store).await;
    assert!(changed && state.problem.is_none() && state.failed == 0);
    assert_eq!(content(&store), "203.0.113.8\n");
}

#[tokio::test]
async fn a_feed_that_grows_out_of_proportion_waits_for_a_person() {
    let many: String = (0..5_000_u32).map(|n| format!("198.{}.{}.7\n", n / 256, n % 256)).collect();
    let server =
        Server::start(vec![answer(200, "", "203.0.113.7\n"), answer(200, "", &many)]).await;
    let (mut feed, (_data, store)) = (web(&server), store());
    again(&feed, &store).await;
    let (changed, state) = again(&feed, &store).await;
    assert!(!changed && store.is_held("test"));
    assert!(problem(&state).starts_with("it grew from 1 to 5000 networks"), "{}", problem(&state));
    assert_eq!(content(&store), "203.0.113.7\n");
    assert!(store.accept("test").unwrap() && !store.accept("test").unwrap());
    assert_eq!(content(&store), many);
    let (changed, state) = again(&feed, &store).await;
    assert!(!changed && state.problem.is_none(), "it is what was accepted");
    // Of the operator's own nobody has to be asked.
    store.keep("test", b"203.0.113.7\n").unwrap();
    feed.owner = ListOwner::Operator;
    assert!(again(&feed, &store).await.0);
}

fn objects(ids: &[u32], more: &str) -> String {
    let indicators: Vec<String> = ids
        .iter()
        .map(|n| {
            format!(
                r#"{{"type":"indicator","id":"indicator--{n}","modified":"2026-01-01T00:00:00Z","pattern":"[ipv4-addr:value = '203.0.113.{n}']","pattern_type":"stix"}}"#
            )
        })
        .collect();
    format!(r#"{{{more}"objects":[{}]}}"#, indicators.join(","))
}

fn networks(store: &Store, feed: &Feed) -> usize {
    in_effect(feed, content(store).as_bytes()).map_or(0, |indicators| indicators.len())
}

#[tokio::test]
async fn a_collection_is_read_page_by_page_and_from_where_it_ended() {
    let page = |last: &str, body: &str| {
        (200, format!("{TAXII}x-taxii-date-added-last: {last}\r\n"), body.to_owned())
    };
    let server = Server::start(vec![
        page("2026-01-01T00:00:01.000Z", &objects(&[1, 2], r#""more":true,"next":"a b&c","#)),
        // Without `next`, the date of the last object continues.
        page("2026-01-01T00:00:02.000Z", &objects(&[3], r#""more":true,"#)),
        page("2026-01-01T00:00:03.000Z", &objects(&[4], "")),
        answer(200, TAXII, "{}"),
    ])
    .await;
    let (_data, store) = store();
    let feed = feed(Origin::Taxii(server.url.clone()));
    let (changed, state) = again(&feed, &store).await;
    assert!(changed && state.problem.is_none(), "{}", problem(&state));
    assert_eq!(networks(&store, &feed), 4);
    let (changed, state) = again(&feed, &store).await;
    assert!(!changed && state.problem.is_none());
    assert_eq!(networks(&store, &feed), 4);
    let heads = server.heads();
    let target = "GET /objects/?limit=1000&match%5Btype%5D=indicator%2Cmarking-definition";
    let after = |time: &str| format!("&added_after=2026-01-01T00%3A00%3A0{time}.000Z");
    let continued = ["", "&next=a%20b%26c", &after("2"), &after("3")];
    for (head, more) in heads.iter().zip(continued) {
        assert!(head.starts_with(&format!("{target}{more} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("accept: application/taxii+json;version=2.1\r\n"), "{head}");
    }
    assert_eq!(heads.len(), 4);
    // After a day it is read from the beginning.
    let later = NOW + Micros::from_secs(86_400);
    refresh(&feed, &store, None, true, later, 0).await.unwrap();
    assert!(!server.heads()[4].contains("added_after"));
    assert_eq!(networks(&store, &feed), 0, "what was deleted is gone");
}

#[tokio::test]
async fn a_server_that_misbehaves_changes_nothing() {
    let (_data, store) = store();
    let good = format!("{TAXII}x-taxii-date-added-last: 2026-01-01T00:00:01.000Z\r\n");
    let server = Server::start(vec![(200, good.clone(), objects(&[1], ""))]).await;
    again(&feed(Origin::Taxii(server.url)), &store).await;
    let kept = content(&store);
    assert!(kept.contains("indicator--1"));
    for (answers, expected) in [
        (vec![answer(406, TAXII, "")], "it does not speak TAXII 2.1"),
        (
            vec![answer(200, "content-type: application/json\r\n", "{}")],
            "it does not speak TAXII 2.1",
        ),
        (
            vec![answer(200, "content-type: application/taxii+json;version=2.0\r\n", "{}")],
            "it does not speak TAXII 2.1",
        ),
        (vec![answer(401, TAXII, "")], "it answered 401"),
        (vec![answer(200, TAXII, r#"{"more":true}"#)], "its pages do not end"),
        (vec![(200, good.clone(), objects(&[2], r#""more":true,"#))], "its pages do not end"),
        (vec![answer(200, TAXII, r#"{"more":true,"next":"x"}"#)], "its pages do not end"),
        (
            vec![answer(200, TAXII, "[")],
            "what it sent is not taken: it is not a STIX bundle or envelope",
        ),
    ] {
        let server = Server::start(answers).await;
        let (changed, state) = again(&feed(Origin::Taxii(server.url)), &store).await;
        assert_eq!((changed, problem(&state)), (false, expected));
        assert_eq!(content(&store), kept);
    }
}

#[tokio::test]
async fn a_file_is_taken_when_it_is_there_and_kept_when_it_goes() {
    let (data, store) = store();
    let path = data.path().join("list.txt");
    let feed = feed(Origin::File(path.clone()));
    let (changed, state) = again(&feed, &store).await;
    assert!(!changed && problem(&state).starts_with("the file system refused"));
    std::fs::write(&path, "203.0.113.7\n").unwrap();
    assert!(refresh(&feed, &store, None, false, NOW, 0).await.unwrap(), "always due");
    std::fs::remove_file(&path).unwrap();
    assert!(!again(&feed, &store).await.0);
    assert_eq!(content(&store), "203.0.113.7\n");
}

#[test]
fn a_state_survives_its_file_and_a_damaged_one_is_none() {
    let (data, store) = store();
    let terms = Terms { level: Level::new(2).unwrap(), tlp: Tlp::Amber };
    let state = State {
        problem: Some(store::Problem { since: NOW, what: "w".to_owned() }),
        added_after: Some("x".to_owned()),
        failed: 3,
        ..State::imported("f".to_owned(), Kind::Csv, ListOwner::Operator, terms, NOW)
    };
    store.note("test", &state).unwrap();
    assert_eq!(store.state("test").unwrap(), Some(state.clone()));
    assert_eq!(store.imported().unwrap(), [("test".to_owned(), state)]);
    std::fs::write(data.path().join("intel/test.json"), "{").unwrap();
    assert_eq!(store.state("test").unwrap(), None);
    assert!(store.remove("test").unwrap() && !store.remove("test").unwrap());
}
