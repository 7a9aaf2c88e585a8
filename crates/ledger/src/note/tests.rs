use super::*;
use proptest::prelude::*;

fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::new(name, &[seed; 32]).unwrap()
}

fn check(note: &str, keys: &[&SigningKey], wanted: Result<&str, BadNote>) {
    let keys: Vec<_> = keys.iter().map(|key| key.verifying_key().unwrap()).collect();
    assert_eq!(open(note, &keys).map(|opened| opened.text), wanted, "{note:?}");
}

/// The signature line of `key` over `text`.
fn line(key: &SigningKey, text: &str) -> String {
    key.sign_note(text).rsplit_once("\n\n").unwrap().1.to_owned()
}

#[test]
fn a_signed_text_opens_with_its_key_only() {
    let (ours, other) = (key("log", 1), key("log", 2));
    let note = ours.sign_note("text\n");
    check(&note, &[&ours], Ok("text\n"));
    check(&note, &[&other, &ours], Ok("text\n"));
    check(&note, &[&other], Err(BadNote::NotSigned));
    check(&note, &[], Err(BadNote::NotSigned));
}

#[test]
fn the_last_blank_line_ends_the_text() {
    let ours = key("log", 1);
    let text = "a\n\n\u{2014} log AAAAAAAA\n\nb\n";
    let note = format!("{text}\n{}", line(&ours, text));
    check(&note, &[&ours], Ok(text));
}

#[test]
fn lines_of_unknown_keys_are_read_over_and_known_ones_must_hold() {
    let (ours, other) = (key("log", 1), key("witness", 2));
    let note = ours.sign_note("text\n");
    let both = format!("{}{}", note, line(&other, "text\n"));
    let spoiled = format!("{}{}", note, line(&other, "another\n"));
    check(&both, &[&ours], Ok("text\n"));
    check(&both, &[&ours, &other], Ok("text\n"));
    check(&spoiled, &[&ours], Ok("text\n"));
    check(&spoiled, &[&ours, &other], Err(BadNote::Forged));
    let many = format!("{note}{}", line(&other, "text\n").repeat(16));
    check(&many, &[&ours], Ok("text\n"));
}

#[test]
fn a_key_of_the_same_name_and_another_id_is_unknown() {
    let (ours, namesake) = (key("log", 1), key("log", 2));
    let note = format!("{}{}", ours.sign_note("text\n"), line(&namesake, "another\n"));
    check(&note, &[&ours], Ok("text\n"));
}

#[test]
fn malformed_notes_are_refused() {
    let ours = key("log", 1);
    let good = ours.sign_note("text\n");
    for (note, why) in [
        (good.trim_end().to_owned(), "no line feed at the end"),
        (good.replace("\n\n", "\n"), "no blank line"),
        (good.replace('\n', "\r\n"), "it holds a control character"),
        (good.replace("text", "te\txt"), "it holds a control character"),
        (format!("{good}\n"), "no line feed at the end"),
        (good.replace('\u{2014}', "-"), "a signature line is not `\u{2014} name base64`"),
        (format!("{good}\u{2014} other !!\n"), "a signature line is not `\u{2014} name base64`"),
        (format!("{good}\u{2014} other AAAA\n"), "a signature line is not `\u{2014} name base64`"),
        (
            format!("{good}\u{2014} o+r AAAAAAAA\n"),
            "a signature line is not `\u{2014} name base64`",
        ),
        (
            format!("{good}{}", "\u{2014} other AAAAAAAA\n".repeat(SIGNATURES_MAX)),
            "too many signatures",
        ),
        (ours.sign_note(&format!("{}\n", "a".repeat(BYTES_MAX))), "it is too long"),
    ] {
        check(&note, &[&ours], Err(BadNote::Malformed(why)));
    }
}

#[test]
fn keys_are_read_as_they_are_printed_and_only_so() {
    let text = key("deploy/node/1", 1).verifying_key().unwrap().to_string();
    assert_eq!(VerifyingKey::parse(&text).unwrap().to_string(), text);
    for wrong in [
        text.replace("node", "edon"),
        text.replace("deploy/", "dep loy/"),
        text.replace('+', "-"),
        text.to_uppercase(),
        format!("{text}="),
        String::new(),
    ] {
        assert_eq!(VerifyingKey::parse(&wrong), Err(NotAKey), "{wrong}");
    }
    for name in ["", "a b", "a+b", "a\"b", "a\\b", "\u{e9}"] {
        assert!(SigningKey::new(name, &[0; 32]).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn any_clean_text_opens_and_any_other_does_not(text in "[^\\x00-\\x1f]{0,40}(\n[^\\x00-\\x1f]{0,40}){0,5}\n", at: usize) {
        let ours = key("log", 1);
        let note = ours.sign_note(&text);
        let keys = [ours.verifying_key().unwrap()];
        prop_assert_eq!(open(&note, &keys).map(|opened| opened.text.to_owned()), Ok(text));
        let mut bytes = note.into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(open(&changed, &keys).is_err());
        }
    }
}
