//! RFC 9421 appendix B: bases are rebuilt and signatures verified as far as we take their components and algorithms; the rest is named. Then each part alone.

use super::base::signature_base;
use super::{BadSignature, fields};
use crate::{PublicKey, RequestProof};
use model::ClientIp;
use serde_json::Value;

/// What becomes of one case.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Base and signature are right.
    Verified,
    /// The base is right, and the key is of a kind that we do not register.
    BaseOnly,
    Refused(BadSignature),
}

#[test]
fn the_vectors_of_appendix_b_come_out_as_they_should() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../testdata/rfc9421-appendix-b.json")).unwrap();
    let outcomes: Vec<_> = vectors["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (case["section"].as_str().unwrap(), outcome(&vectors, case)))
        .collect();
    let expected = [
        ("B.2.1", Outcome::BaseOnly),
        // `@query-param`
        ("B.2.2", Outcome::Refused(BadSignature::Component)),
        ("B.2.3", Outcome::BaseOnly),
        // a response
        ("B.2.4", Outcome::Refused(BadSignature::Component)),
        ("B.2.5", Outcome::BaseOnly),
        ("B.2.6", Outcome::Verified),
        ("B.3", Outcome::Verified),
    ];
    assert_eq!(outcomes, expected);
}

fn outcome(vectors: &Value, case: &Value) -> Outcome {
    let text = |name: &str| case[name].as_str().unwrap();
    let message = vectors["messages"][text("message")].as_str().unwrap_or(text("message"));
    let (head, body) = message.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let mut request_line = lines.next().unwrap().split(' ');
    let (method, target) = (request_line.next().unwrap(), request_line.next().unwrap());
    let (path, query) = target.split_once('?').unzip();
    let headers: Vec<(&str, &[u8])> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n, v.as_bytes())).collect();
    let host = headers.iter().find(|(name, _)| *name == "Host").map_or(&b"none"[..], |(_, v)| v);
    let url = format!("https://{}{}", std::str::from_utf8(host).unwrap(), path.unwrap_or(target));
    let proof = RequestProof {
        method,
        url: &url,
        query,
        fields: &headers,
        body: body.as_bytes(),
        authorization: &[],
        dpop: &[],
        network: ClientIp::from_peer([192, 0, 2, 7].into()),
        client_certificate: None,
    };
    let inputs = fields::inputs(text("signature_input").as_bytes()).unwrap();
    let [input] = inputs.as_slice() else { panic!("{} inputs", inputs.len()) };
    let base = match signature_base(&proof, input) {
        Ok(base) => base,
        Err(reason) => return Outcome::Refused(reason),
    };
    assert_eq!(base, text("signature_base"));
    let jwk = &vectors["keys"][text("keyid")]["jwk"];
    let ours = ["ed25519", "ecdsa-p256-sha256"].contains(&text("alg"));
    let Some(key) = PublicKey::from_jwk(&jwk.to_string()).ok().filter(|_| ours) else {
        return Outcome::BaseOnly;
    };
    assert_eq!(key.algorithm().signature_name(), Some(text("alg")));
    let signatures = fields::byte_sequences(text("signature").as_bytes()).unwrap();
    assert!(key.verifies(base.as_bytes(), &signatures[0].1));
    assert!(!key.verifies(format!("{base} ").as_bytes(), &signatures[0].1));
    Outcome::Verified
}

#[test]
fn a_key_that_stands_twice_refuses_the_field() {
    for field in [
        "a=(), a=()",
        "a=();x;x",
        "a=();created=1;created=1",
        "a=1",
        "a",
        "a=(b)",
        "a=(:YQ==:)",
        "a=()\tb=()",
        "a=(),",
    ] {
        assert!(fields::inputs(field.as_bytes()).is_err(), "{field}");
    }
    for field in ["a=:YQ==:, a=:YQ==:", "a=YQ==", "a=()", "a=:Y Q==:", "a=:YQ==", "A=:YQ==:"] {
        assert!(fields::byte_sequences(field.as_bytes()).is_err(), "{field}");
    }
    let many: Vec<_> = (0..17).map(|n| format!("a{n}=()")).collect();
    assert!(fields::inputs(many.join(", ").as_bytes()).is_err());
    assert!(fields::inputs(format!("a=({})", r#""b" "#.repeat(33)).as_bytes()).is_err());
    assert!(fields::inputs(many[..16].join(",").as_bytes()).is_ok());
}

#[test]
fn lines_of_one_field_are_one_value() {
    let lines: [(&str, &[u8]); 4] = [("A", b" x\t"), ("b", b"y"), ("a", b""), ("a", b"z, z")];
    assert_eq!(fields::value_of(&lines, "a").unwrap().as_deref(), Some(&b"x, , z, z"[..]));
    assert_eq!(fields::value_of(&lines, "b").unwrap().as_deref(), Some(&b"y"[..]));
    assert_eq!(fields::value_of(&lines, "c"), Ok(None));
    for bad in [&b"x\ny"[..], b"x\0", b"\xc3\xa9", &[b'x'; 9_000]] {
        assert_eq!(fields::value_of(&[("a", bad)], "a"), Err(BadSignature::Malformed));
    }
}

#[test]
fn the_target_is_the_configured_one_and_never_that_of_a_field() {
    let check = |url: &str, query: Option<&str>, expected: [&str; 5]| {
        let proof = RequestProof {
            method: "GET",
            url,
            query,
            fields: &[("Host", b"evil.example"), ("X-Forwarded-Host", b"evil.example")],
            body: &[],
            authorization: &[],
            dpop: &[],
            network: ClientIp::from_peer([192, 0, 2, 7].into()),
            client_certificate: None,
        };
        let names = ["@target-uri", "@scheme", "@authority", "@path", "@query"];
        let list = names.map(|name| format!("\"{name}\"")).join("  ");
        let field = format!("a=( {list} );tag=\"x\"; nonce=\"y\"");
        let base = signature_base(&proof, &fields::inputs(field.as_bytes()).unwrap()[0]).unwrap();
        let mut lines: Vec<_> =
            names.iter().zip(expected).map(|(n, v)| format!("\"{n}\": {v}")).collect();
        let list = list.replace("  ", " ");
        lines.push(format!("\"@signature-params\": ({list});tag=\"x\";nonce=\"y\""));
        assert_eq!(base, lines.join("\n"));
    };
    let expected = ["https://a.example/v1?x=%2f", "https", "a.example", "/v1", "?x=%2f"];
    check("https://a.example/v1", Some("x=%2f"), expected);
    check("https://A.Example:443/v1", Some("x=%2f"), expected);
    check(
        "https://a.example:8443/%7E",
        None,
        ["https://a.example:8443/%7E", "https", "a.example:8443", "/%7E", "?"],
    );
    check("http://[::1]:80", Some(""), ["http://[::1]/?", "http", "[::1]", "/", "?"]);
    check("http://[::80]:443/", None, ["http://[::80]:443/", "http", "[::80]:443", "/", "?"]);
}
