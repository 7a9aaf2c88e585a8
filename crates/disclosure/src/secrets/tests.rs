use super::*;
use proptest::prelude::*;

/// Text and what is left of it. `_` stands for each masked byte. The tokens are made up; where an issuer documents an example, it is that.
fn check(text: &str, left: &str) {
    let mut masked = text.as_bytes().to_vec();
    for span in find(text.as_bytes()) {
        masked[span].fill(b'_');
    }
    assert_eq!(String::from_utf8(masked).unwrap(), left);
}

/// A token of a format, in pieces, so that nobody's scanner takes this file for a leak.
fn token(prefix: &str, alphabet: &str, length: usize) -> String {
    prefix.chars().chain(alphabet.chars().cycle().take(length)).collect()
}

fn samples() -> Vec<String> {
    let mixed = "aB3dE6gH9jK2mN5pQ8sT1vW4xY7z";
    let hex = "0a1b2c3d4e5f6789";
    vec![
        token("AKIA", "IOSFODNN7EXAMPLE", 16),
        token("ghp_", mixed, 36),
        token("github_pat_", mixed, 82),
        token("glpat-", mixed, 20),
        token("sk_live_", mixed, 24),
        token("rk_live_", mixed, 24),
        token("xoxb-", "1234567890-", 40),
        token("https://hooks.slack.com/services/", "T01ABCDEF/B01ABCDEF/", 44),
        token("AIza", mixed, 35),
        token("ya29.", mixed, 60),
        token("GOCSPX-", mixed, 28),
        token("npm_", mixed, 36),
        token("pypi-AgEIcHlwaS5vcmc", mixed, 80),
        token("sk-ant-", mixed, 60),
        token("sk-proj-", mixed, 60),
        token("hf_", mixed, 34),
        token("dop_v1_", hex, 64),
        token("shpat_", hex, 32),
        token("SG.", mixed, 66),
        token("hvs.", mixed, 90),
        token("glsa_", mixed, 41),
        token("eyJhbGciOiJIUzI1NiJ9.", mixed, 40),
        format!("-----BEGIN {} KEY-----\nMII=\n-----END {0} KEY-----", "RSA PRIVATE"),
        format!(
            "-----BEGIN PGP {} KEY BLOCK-----\nMII=\n-----END PGP {0} KEY BLOCK-----",
            "PRIVATE"
        ),
    ]
}

#[test]
fn tokens_of_known_formats_are_found_whole() {
    for sample in samples() {
        let found = find(format!("it is {sample} and works").as_bytes());
        let [span] = &found[..] else { panic!("{sample}: {found:?}") };
        // Of an address only what follows the host.
        let start = if sample.starts_with("https://") { 6 + 8 } else { 6 };
        assert_eq!(*span, start..6 + sample.len(), "{sample}");
        assert_eq!(
            find(format!("word{sample}").as_bytes()).len(),
            usize::from(sample.contains("-----") || sample.contains("://")),
            "inside a word: {sample}"
        );
    }
}

#[test]
fn values_behind_a_name_are_found() {
    check("password=hunter2 ok", "password=_______ ok");
    check(r#"{"password": "hunter2"}"#, r#"{"password": __________"#);
    check("Client_Secret = abc", "Client_Secret = ___");
    check("postgres://app:s3cr:t@db.example/x", "postgres://app:______@db.example/x");
    check(
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE",
        &format!("aws_secret_access_key = {}", "_".repeat(37)),
    );
    check(
        "Authorization: Bearer mF9xB5f41JqMu7Kd.",
        &format!("Authorization: Bearer {}", "_".repeat(17)),
    );
    check("the token: q83HbX0aLm29ZrtVk1 works", &format!("the token: {} works", "_".repeat(18)));
}

#[test]
fn what_people_write_is_left_alone() {
    for text in [
        "the token: expired yesterday, key: none",
        "key=2026-11-29T21:45:00 and token=1234567890123456789",
        "my key is aaaaaaaaaaaaaaaa1111",
        "basic understanding of the bearer of this letter",
        "https://example.com/a:b@c and mailto:someone@example.com",
        "see http://host:8080/path",
        "sk-learn, hf_hub, npm_config_registry, SKU SK1234, key-value",
        "a passwords policy; secretly; apikeys",
    ] {
        check(text, text);
    }
}

proptest! {
    #[test]
    fn a_masked_string_is_valid_json_of_the_same_length_without_the_secret(
        parts in proptest::collection::vec((any::<String>(), any::<prop::sample::Index>()), 0..6),
        escaped in any::<bool>(),
    ) {
        let samples = samples();
        let mut text = String::new();
        for (noise, which) in &parts {
            text.push_str(noise);
            text.push(' ');
            text.push_str(which.get(&samples).as_str());
            text.push(' ');
        }
        let mut json = serde_json::to_string(&text).unwrap();
        if escaped {
            // Every character may be written as an escape.
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            json = format!("\"{}\"", units.collect::<String>());
        }
        let inside = &json.as_bytes()[1..json.len() - 1];
        let spans = find_in_json(inside, inside.contains(&b'\\'));
        prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let mut masked = json.clone().into_bytes();
        for span in spans {
            masked[span.start + 1..span.end + 1].fill(b'*');
        }
        let left: String = serde_json::from_slice(&masked).unwrap();
        for (_, which) in &parts {
            prop_assert!(!left.contains(which.get(&samples).as_str()));
        }
    }
}
