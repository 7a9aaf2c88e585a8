//! Http11Probe, smuggler's Transfer-Encoding mutants, and the cases of Http11Probe that its files build in code.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{HOST, Served, check_upstream, serve, serve_counting};

/// Facts about what a connection did, as words: the status of its only reply (`400`, also as `2xx`), `silent` for none,
/// `close`, `echo`, `allow`, `date`, `no-length`, `not-101`, `dropped` (the origin got only fields we chose).
fn facts(served: &Served) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    let text = String::from_utf8_lossy(&served.replies);
    assert!(served.statuses.len() <= 1, "a single request was answered more than once");
    match served.statuses.first() {
        Some(status) => facts.extend([status.to_string(), format!("{}xx", status / 100)]),
        None => drop(facts.insert("silent".to_owned())),
    }
    facts.insert(if served.statuses.contains(&101) { "101" } else { "not-101" }.to_owned());
    if served.closed {
        facts.insert("close".to_owned());
    }
    for (word, line) in
        [("allow", "\r\nAllow: GET, "), ("date", "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n")]
    {
        if text.contains(line) {
            facts.insert(word.to_owned());
        }
    }
    if !text.contains("Content-Length") {
        facts.insert("no-length".to_owned());
    }
    for request in &served.requests {
        check_upstream(request);
        facts.insert("dropped".to_owned());
        if !request.body.is_empty() && served.replies.ends_with(&request.body) {
            facts.insert("echo".to_owned());
        }
    }
    facts
}

/// Whether one of the alternatives in `accepted` (each a list of facts, separated by spaces) holds; byte by byte too.
fn behaves(wire: &[u8], accepted: &[String]) -> bool {
    let served = serve(wire, &[]);
    assert_eq!(
        served,
        serve(wire, &vec![1; wire.len()]),
        "splits mattered: {}",
        wire.escape_ascii()
    );
    let facts = facts(&served);
    accepted.iter().any(|all| all.split(' ').all(|fact| facts.contains(fact)))
}

#[derive(Deserialize)]
struct Probe {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    expected: Option<String>,
    expected_note: Option<String>,
    raw: String,
}

#[derive(Deserialize)]
struct Exception {
    accepted: Vec<String>,
    reason: String,
}

#[test]
fn http11probe_cases_behave_as_expected() {
    let probe: Probe = serde_json::from_str(include_str!(
        "../../../testdata/http1/http1-smuggling-http11probe.json"
    ))
    .unwrap();
    let notes: BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("../../../testdata/http1/expectations.json")).unwrap();
    let exceptions: BTreeMap<String, Exception> =
        serde_json::from_str(include_str!("../../../testdata/http1/exceptions.json")).unwrap();
    let mut unexpected = BTreeSet::new();
    let mut notes_used = BTreeSet::new();
    for case in &probe.cases {
        let accepted = match (case.expected.as_deref(), &case.expected_note) {
            (Some("Exact(400)"), _) => vec!["400 close".to_owned()],
            (Some("Range2xx"), _) => vec!["2xx".to_owned()],
            (None, Some(note)) => {
                notes_used.insert(note);
                notes[note].clone()
            }
            other => panic!("{}: expectation {other:?} is not understood", case.id),
        };
        let wire: Vec<u8> =
            case.raw.replace("@@HOST@@", HOST).chars().map(|c| u8::try_from(c).unwrap()).collect();
        if behaves(&wire, &accepted) {
            continue;
        }
        let Some(exception) = exceptions.get(&case.id) else {
            panic!("{}: expected {accepted:?}, did {:?}", case.id, facts(&serve(&wire, &[])));
        };
        assert!(!exception.reason.is_empty());
        assert!(behaves(&wire, &exception.accepted), "{}: not even as its exception says", case.id);
        unexpected.insert(case.id.as_str());
    }
    assert_eq!(probe.cases.len(), 72);
    assert_eq!(unexpected.len(), 2, "{unexpected:?}");
    assert_eq!(
        unexpected,
        exceptions.keys().map(String::as_str).collect(),
        "an exception is no longer one"
    );
    assert_eq!(notes_used, notes.keys().collect(), "a note that no case has");
}

#[derive(Deserialize)]
struct Mutants {
    mutants: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    id: String,
    te_header_bytes_latin1: String,
}

#[test]
fn no_mutated_transfer_encoding_beside_a_length_makes_a_second_request() {
    let corpus: Mutants =
        serde_json::from_str(include_str!("../../../testdata/http1/te-mutants-smuggler.json"))
            .unwrap();
    assert_eq!(corpus.mutants.len(), 334);
    // A reader of the coding sees the content end at once and a second request after it.
    let body = format!("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let length = format!("Content-Length: {}", body.len());
    for mutant in &corpus.mutants {
        let coding: Vec<u8> =
            mutant.te_header_bytes_latin1.chars().map(|c| u8::try_from(c).unwrap()).collect();
        for (first, second) in [(length.as_bytes(), &coding[..]), (&coding[..], length.as_bytes())]
        {
            let head = format!("POST /victim HTTP/1.1\r\nHost: {HOST}\r\n");
            let wire =
                [head.as_bytes(), first, b"\r\n", second, b"\r\n\r\n", body.as_bytes()].concat();
            let served = serve(&wire, &[]);
            assert_eq!(
                served,
                serve(&wire, &vec![1; wire.len()]),
                "{}: splits mattered",
                mutant.id
            );
            assert!(served.refused.is_some(), "{} has a meaning", mutant.id);
            assert_eq!(
                (served.statuses.as_slice(), served.closed),
                (&[400][..], true),
                "{}",
                mutant.id
            );
            assert!(served.requests.is_empty(), "{} reached the origin", mutant.id);
        }
    }
}

/// The cases that Http11Probe builds in code, written after their descriptions, and ours.
#[test]
fn cases_built_in_code_behave_as_expected() {
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{rest}\r\n").into_bytes();
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{rest}").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: {HOST}\r\n\r\n").into_bytes();
    let long = |n: usize| "A".repeat(n);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let garbage: Vec<u8> = (0..=255_u8).map(|n| n.wrapping_mul(151).wrapping_add(83)).collect();
    let refused = "400 close";
    let probe: [(&str, Vec<u8>, &str); 27] = [
        (
            "SMUG-CL-TE-BOTH",
            post(
                "Content-Length: 23\r\nTransfer-Encoding: chunked\r\n\r\nD\r\nhello-bananas\r\n0\r\n\r\n",
            ),
            refused,
        ),
        ("SMUG-CHUNK-EXT-CTRL", post(&format!("{chunked}5;a\0b\r\nhello\r\n0\r\n\r\n")), refused),
        ("SMUG-CHUNK-EXT-CR", post(&format!("{chunked}5;a\rb\r\nhello\r\n0\r\n\r\n")), refused),
        (
            "SMUG-TE-VTAB",
            post("Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\nhello"),
            refused,
        ),
        (
            "SMUG-TE-FORMFEED",
            post("Transfer-Encoding: \x0cchunked\r\nContent-Length: 5\r\n\r\nhello"),
            refused,
        ),
        (
            "SMUG-TE-NULL",
            post("Transfer-Encoding: chunked\0\r\nContent-Length: 5\r\n\r\nhello"),
            refused,
        ),
        ("SMUG-CL-LEADING-ZEROS-OCTAL", post("Content-Length: 0200\r\n\r\nhello"), refused),
        ("SMUG-CHUNK-BARE-CR-TERM", post(&format!("{chunked}5\rhello\r\n0\r\n\r\n")), refused),
        ("RFC9112-7.1-MISSING-HOST", b"GET / HTTP/1.1\r\n\r\n".to_vec(), refused),
        ("RFC9112-2.3-HTTP09-REQUEST", b"GET /\r\n".to_vec(), refused),
        (
            "COMP-METHOD-CONNECT",
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".to_vec(),
            "405 close allow",
        ),
        ("COMP-HTTP10-NO-HOST", b"GET / HTTP/1.0\r\n\r\n".to_vec(), refused),
        ("COMP-LONG-URL-OK", line(&format!("GET /{} HTTP/1.1", long(7900))), "2xx"),
        ("MAL-BINARY-GARBAGE", garbage, refused),
        ("MAL-LONG-URL", line(&format!("GET /{} HTTP/1.1", long(100_000))), "414 close"),
        ("MAL-LONG-HEADER-VALUE", get(&format!("X-Big: {}\r\n", long(100_000))), "431 close"),
        ("MAL-MANY-HEADERS", get(&"X-H: value\r\n".repeat(10_000)), "431 close"),
        ("MAL-NUL-IN-URL", line("GET /\0test HTTP/1.1"), refused),
        ("MAL-CONTROL-CHARS-HEADER", get("X-Test: abc\x07\x08\x0bdef\r\n"), refused),
        (
            "MAL-INCOMPLETE-REQUEST",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Test: value").into_bytes(),
            "silent",
        ),
        ("MAL-EMPTY-REQUEST", Vec::new(), "silent"),
        ("MAL-LONG-HEADER-NAME", get(&format!("{}: val\r\n", long(100_000))), "431 close"),
        ("MAL-LONG-METHOD", line(&format!("{} / HTTP/1.1", long(100_000))), refused),
        ("MAL-NON-ASCII-HEADER-NAME", get("X-Tëst: value\r\n"), refused),
        ("MAL-NON-ASCII-URL", line("GET /café HTTP/1.1"), refused),
        ("MAL-CL-OVERFLOW", post("Content-Length: 99999999999999999999\r\n\r\n"), refused),
        ("MAL-WHITESPACE-ONLY-LINE", b"   \r\n\r\n".to_vec(), refused),
    ];
    let ours: Vec<(&str, Vec<u8>, &str)> = vec![
        // Two raw texts of the corpus begin with their body, as extraction joined the strings in the wrong order.
        (
            "SMUG-CLTE-PIPELINE",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            refused,
        ),
        ("SMUG-CHUNK-EXT-LF", post(&format!("{chunked}5;\nhello\r\n0\r\n\r\n")), refused),
        (
            "coding repeated, equal",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            refused,
        ),
        (
            "coding listed twice",
            post("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            refused,
        ),
        ("coding in capitals", post("Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"), refused),
        ("coding after a tab", post("Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"), refused),
        (
            "coding with a trailing space",
            post("Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
            refused,
        ),
        (
            "coding in HTTP/1.0",
            format!("POST / HTTP/1.0\r\nHost: {HOST}\r\n{chunked}0\r\n\r\n").into_bytes(),
            refused,
        ),
        (
            "lengths repeated, equal",
            post("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            refused,
        ),
        ("length after two spaces", post("Content-Length:  5\r\n\r\nhello"), refused),
        ("length is empty", post("Content-Length:\r\n\r\n"), refused),
        ("length without space", post("Content-Length:5\r\n\r\nhello"), "200 echo"),
        ("content of GET", get("Content-Length: 5\r\n"), refused),
        (
            "content of DELETE, chunked",
            format!("DELETE / HTTP/1.1\r\nHost: {HOST}\r\n{chunked}0\r\n\r\n").into_bytes(),
            refused,
        ),
        ("length 0 of GET", get("Content-Length: 0\r\n"), "200"),
        (
            "bare LF after the request line",
            format!("GET / HTTP/1.1\nHost: {HOST}\r\n\r\n").into_bytes(),
            refused,
        ),
        (
            "bare LF after a field",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\nX: y\r\n\r\n").into_bytes(),
            refused,
        ),
        (
            "bare LF as the empty line",
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\n").into_bytes(),
            refused,
        ),
        ("bare CR inside a value", get("X: a\rTransfer-Encoding: chunked\r\n"), refused),
        ("space before the colon", get("X : y\r\n"), refused),
        ("folded line", get("X: y\r\n\tz\r\n"), refused),
        (
            "whitespace before the first field",
            format!("GET / HTTP/1.1\r\n Host: {HOST}\r\n\r\n").into_bytes(),
            refused,
        ),
        ("empty name", get(": y\r\n"), refused),
        ("two hosts, equal", get(&format!("Host: {HOST}\r\n")), refused),
        ("host with user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".to_vec(), refused),
        ("host is empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n".to_vec(), refused),
        ("host is a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_vec(), refused),
        ("absolute form, other host", line("GET http://other.test/ HTTP/1.1"), refused),
        ("absolute form, other port", line("GET http://gateway.test/ HTTP/1.1"), refused),
        ("absolute form, other scheme", line(&format!("GET https://{HOST}/ HTTP/1.1")), refused),
        (
            "absolute form, user information",
            line(&format!("GET http://a@{HOST}/ HTTP/1.1")),
            refused,
        ),
        ("absolute form, unserved scheme", line(&format!("GET ftp://{HOST}/ HTTP/1.1")), refused),
        (
            "absolute form, backslash in authority",
            line(&format!("GET http://{HOST}\\@other/ HTTP/1.1")),
            refused,
        ),
        ("absolute form, letter case", line("GET HTTP://Gateway.Test:8443/a?b HTTP/1.1"), "200"),
        ("absolute form, empty path", line(&format!("GET http://{HOST}?a HTTP/1.1")), "200"),
        ("asterisk with GET", line("GET * HTTP/1.1"), refused),
        ("asterisk with OPTIONS", line("OPTIONS * HTTP/1.1"), "204 allow no-length"),
        ("authority form without CONNECT", line("GET example.com:443 HTTP/1.1"), refused),
        ("encoded slash", line("GET /v1%2faccounts HTTP/1.1"), refused),
        ("encoded backslash", line("GET /v1%5Caccounts HTTP/1.1"), refused),
        ("dot segment", line("GET /v1/../admin HTTP/1.1"), refused),
        ("encoded dot segment", line("GET /v1/%2e%2E/admin HTTP/1.1"), refused),
        ("half-encoded dot segment", line("GET /v1/.%2e/admin HTTP/1.1"), refused),
        ("doubly encoded dot segment", line("GET /v1/%252e%252e/admin HTTP/1.1"), refused),
        ("dot segment with parameter", line("GET /v1/..;/admin HTTP/1.1"), refused),
        ("overlong slash", line("GET /v1/..%c0%afadmin HTTP/1.1"), refused),
        ("empty segment", line("GET /v1//admin HTTP/1.1"), refused),
        ("network-path reference", line("GET //other.test/admin HTTP/1.1"), refused),
        ("fragment", line("GET /v1#x HTTP/1.1"), refused),
        ("TRACE", line("TRACE / HTTP/1.1"), "405 close allow"),
        ("unknown method", line("BREW / HTTP/1.1"), "501 close"),
        ("method in lower case", line("get / HTTP/1.1"), "501 close"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "505 close"),
        ("version in lower case", line("GET / http/1.1"), refused),
        ("TLS on a clear port", b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), refused),
        ("tab in the request line", line("GET\t/ HTTP/1.1"), refused),
        ("HTTP/1.0 closes", line("GET / HTTP/1.0"), "200 close"),
        (
            "HTTP/1.0 cannot keep alive",
            format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n")
                .into_bytes(),
            "200 close",
        ),
        (
            "expectation unknown",
            post("Content-Length: 5\r\nExpect: 200-ok\r\n\r\nhello"),
            "417 close",
        ),
        (
            "h2c upgrade",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            refused,
        ),
        (
            "early upgrade with a request behind it",
            [get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), get("")].concat(),
            refused,
        ),
        ("connection option upgrade alone", get("Connection: upgrade\r\n"), refused),
        ("connection names the credential", get("Connection: close, Authorization\r\n"), refused),
        (
            "connection close among others",
            get("Connection: TE, Close\r\nTE: trailers\r\n"),
            "200 close",
        ),
        ("chunked content too long", post(&format!("{chunked}10001\r\n")), "413 close"),
    ];
    for (id, wire, accepted) in probe.iter().chain(&ours) {
        assert!(
            behaves(wire, &[(*accepted).to_owned()]),
            "{id}: expected {accepted}, did {:?}",
            serve(wire, &[]).refused
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_until_one_is_refused() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let post = format!(
        "POST /b HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let wire = [get("/a"), post, get("/c"), get("//"), get("/d")].concat();
    let served = serve(wire.as_bytes(), &[]);
    let targets: Vec<_> = served.requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/a", "/b", "/c"]);
    assert_eq!(served.statuses, [200, 200, 200, 400]);
    assert!(served.closed);
}

#[test]
fn a_waiting_client_is_told_to_go_on_once() {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    );
    let wire = format!("{head}hello");
    assert_eq!(serve_counting(wire.as_bytes(), &[head.len()]).continued, 1);
    assert_eq!(serve_counting(wire.as_bytes(), &[head.len(), 1, 1]).continued, 1);
    assert_eq!(serve_counting(wire.as_bytes(), &[]).continued, 0);
}
