//! What holds for every input.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::client::{AllowList, BadReply, ReplyReader, UpstreamRequest};
use super::super::encode::{self, Content, Framing, ReplyHead};
use super::super::{Authority, BodyDecoder, Decoded, Fields, Method, server};
use super::{DATE, HOST, RULES, check_upstream, serve, target};

/// Requests that are nearly right: each part is mostly valid, sometimes not.
fn near_requests() -> impl Strategy<Value = Vec<u8>> {
    let mostly =
        |good: &'static str, bad: &'static str| prop_oneof![6 => Just(good.to_owned()), 1 => bad];
    let line_end = || mostly("\r\n", "\n|\r|\r\r\n| \r\n|");
    let method = prop_oneof![3 => Just("POST".to_owned()), 2 => Just("GET".to_owned()), 1 => "(HEAD|OPTIONS|get|TRACE|)"];
    let path = mostly("/v1/a?b=c", "(/|\\*|http://gateway.test:8443/x|/%2e%2e|/%41|//|/a b|x)");
    let version = mostly("HTTP/1.1", "(HTTP/1.0|HTTP/2.0|HTTP/1.1 |)");
    let field = prop_oneof![
        3 => Just("Accept: text/plain".to_owned()),
        1 => Just("Content-Length: 5".to_owned()),
        1 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => Just("Connection: close".to_owned()),
        1 => "[A-Za-z :]{0,8}: ?[ -~\t]{0,8}",
        1 => "(Content-Length|Transfer-Encoding|Host|Connection|Upgrade|Expect)[ _]?: ?[a-z0-9, ]{0,6}",
    ];
    let body = prop_oneof![
        Just("hello".to_owned()),
        Just("5\r\nhello\r\n0\r\n\r\n".to_owned()),
        Just(String::new()),
        "[0-5\r\n;a]{0,12}",
    ];
    let fields = prop::collection::vec((field, line_end()), 0..4);
    let stray = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let parts = (method, path, version, line_end(), fields, line_end(), body, stray);
    parts.prop_map(|(method, path, version, end, fields, empty_line, body, stray)| {
        let fields: String = fields.into_iter().map(|(field, end)| field + &end).collect();
        let head = format!("{method} {path} {version}{end}Host: {HOST}\r\n{fields}{empty_line}");
        let mut wire = (head + &body).into_bytes();
        if let Some((at, byte)) = stray {
            *at.get_mut(&mut wire) = byte;
        }
        wire
    })
}

/// Reads fields the obvious way: split at line ends and colons.
fn naive_fields(head: &str) -> Vec<(String, String)> {
    let block = head.split_once("\r\n").unwrap().1.strip_suffix("\r\n\r\n").unwrap();
    block
        .split("\r\n")
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        .collect()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn all_fields(fields: &Fields) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_owned(), latin1(value))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn splits_do_not_matter_and_the_origin_sees_one_request_each(
        requests in prop::collection::vec(near_requests(), 1..3),
        pieces in prop::collection::vec(1_usize..20, 0..40),
    ) {
        let wire = requests.concat();
        let whole = serve(&wire, &[]);
        for request in &whole.requests {
            check_upstream(request);
        }
        prop_assert_eq!(whole.requests.len() + usize::from(whole.refused.is_some()), whole.statuses.len());
        prop_assert_eq!(whole, serve(&wire, &pieces));
    }

    #[test]
    fn arbitrary_bytes_are_answered_or_waited_for(wire in prop::collection::vec(any::<u8>(), 0..400), pieces in prop::collection::vec(1_usize..50, 0..10)) {
        prop_assert_eq!(serve(&wire, &[]), serve(&wire, &pieces));
    }

    #[test]
    fn accepted_fields_are_those_of_a_naive_reading(request in near_requests()) {
        let mut buffer = BytesMut::from(&request[..]);
        let before = buffer.len();
        if let Ok(Some(head)) = server::parse_head(&mut buffer, &RULES) {
            let text = latin1(&request[..before - buffer.len()]);
            prop_assert_eq!(all_fields(head.fields()), naive_fields(&text));
            prop_assert_eq!(text.replace("\r\n", "").find(['\r', '\n', '\0']), None);
        }
    }

    #[test]
    fn what_is_written_to_the_origin_reads_back_the_same(
        method in prop::sample::select(vec![Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete]),
        path in "(/[a-z0-9][a-z0-9._~-]{0,5}){1,3}(\\?[a-z=&]{0,8})?",
        accept in prop::option::of("[!-~]([ -~]{0,10}[!-~])?"),
        ours in prop::option::of("[!-~]{1,20}"),
        body in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let body = if method.may_have_content() { body } else { vec![] };
        let target = target(&path);
        let allow = AllowList::new(["accept"]).unwrap();
        let ours: Vec<(&str, &[u8])> = ours.iter().map(|value| ("X-Caller", value.as_bytes())).collect();
        let inbound: Vec<(&str, &[u8])> = accept.iter().map(|value| ("Accept", value.as_bytes())).collect();
        let request = UpstreamRequest { method, target: &target, host: Authority::parse(b"origin.test").unwrap(), allow: &allow, ours: &ours, body: &body };
        let mut out = Vec::new();
        request.write(inbound.iter().copied(), &mut out).unwrap();

        let mut buffer = BytesMut::from(&out[..]);
        let head = server::parse_head(&mut buffer, &RULES).unwrap().unwrap();
        prop_assert_eq!(head.method(), method);
        prop_assert_eq!(head.target(), &target);
        prop_assert_eq!(head.host(), "origin.test");
        prop_assert_eq!(head.fields().one("x-caller"), ours.first().map(|(_, value)| *value));
        prop_assert_eq!(head.fields().one("accept"), inbound.first().map(|(_, value)| *value));
        let mut decoder = BodyDecoder::new(head.body(), RULES.max_body);
        let mut content = Vec::new();
        while let Decoded::Data(data) = decoder.decode(&mut buffer).unwrap() {
            content.extend_from_slice(&data);
        }
        prop_assert_eq!(content, body);
        prop_assert!(decoder.is_complete() && buffer.is_empty());
    }

    #[test]
    fn replies_we_write_read_back_the_same(
        status in 200_u16..600,
        fields in prop::collection::vec(("x-[a-z]{1,5}", "([!-~]([ -~\t]{0,10}[!-~])?)?"), 0..5),
        body in prop::collection::vec(any::<u8>(), 0..40),
        chunks in prop::option::of(1_usize..10),
        keep_alive in any::<bool>(),
    ) {
        let body = if matches!(status, 204 | 304) { vec![] } else { body };
        let framing = if chunks.is_some() && status != 204 { Framing::Chunked } else { Framing::Length(body.len().try_into().unwrap()) };
        let head = ReplyHead { status, date: DATE, keep_alive, method: Method::Get };
        let pairs = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut wire = Vec::new();
        if encode::reply_head(&mut wire, &head, pairs, framing).unwrap() == Content::Follows {
            match chunks {
                Some(size) => {
                    body.chunks(size).for_each(|data| encode::chunk(&mut wire, data));
                    wire.extend_from_slice(encode::LAST_CHUNK);
                }
                None => wire.extend_from_slice(&body),
            }
        }

        let mut buffer = BytesMut::from(&wire[..]);
        let reply = ReplyReader::new(Method::Get).head(&mut buffer).unwrap().unwrap();
        prop_assert_eq!((reply.status, reply.keep_alive), (status, keep_alive));
        let date = ("Date".to_owned(), latin1(DATE));
        prop_assert_eq!(all_fields(&reply.fields), [vec![date], fields].concat());
        let mut decoder = BodyDecoder::new(reply.body, 64);
        let mut content = Vec::new();
        while let Decoded::Data(data) = decoder.decode(&mut buffer).unwrap() {
            content.extend_from_slice(&data);
        }
        prop_assert_eq!(content, body);
        prop_assert!(decoder.is_complete() && buffer.is_empty());
    }

    #[test]
    fn an_origins_bytes_give_one_outcome_however_they_are_split(
        wire in prop_oneof![
            "(HTTP/1.1 100 C\r\n\r\n){0,2}HTTP/1.[01] [2-5]0[0-4] ?[a-z]{0,3}\r?\n((Content-Length|Connection|X): (5|close|a)\r\n){0,3}\r\n[a-z]{0,6}",
            "(HTTP/1.1 200 OK\r\n)?[ -~\r\n]{0,60}",
        ],
        split in any::<prop::sample::Index>(),
    ) {
        let read = |pieces: &[&[u8]]| {
            let (mut reader, mut buffer) = (ReplyReader::new(Method::Get), BytesMut::new());
            for (n, piece) in pieces.iter().enumerate() {
                buffer.extend_from_slice(piece);
                if let Some(reply) = reader.head(&mut buffer)? {
                    let left = [&buffer[..], &pieces[n + 1..].concat()].concat();
                    return Ok(Some((reply.status, all_fields(&reply.fields), reply.body, reply.keep_alive, left)));
                }
            }
            Ok::<_, BadReply>(None)
        };
        let (first, second) = wire.as_bytes().split_at(split.index(wire.len() + 1));
        prop_assert_eq!(read(&[wire.as_bytes()]), read(&[first, second]));
    }
}
