use super::*;
use crate::sample;
use proptest::prelude::*;

/// Made by Python's `cryptography` from the documents alone: `testdata/cosignature.py` prints both.
const KNOWN_KEY: &str = "auditor.example/a1+efb1de40+BBl/ayPhbIUyxqvIOPrNXqeJvgx2spIDNAOb+os9No1h";
const KNOWN_TEXT: &str = "test/node-1/1\n2\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n";
const KNOWN_LINE: &str = "\u{2014} auditor.example/a1 77HeQAAAAABqsTuAgZFNmu+4b4ets3050fhKBhuzT0zj5woo+aWjn0NnMDpvaiVOnPJuAS236Jer9DEct2NjnBcYl8cTnpLLiuJfBQ==\n";
const KNOWN_TIME: u64 = 1_790_000_000;

/// A checkpoint of a public log and one of its public witnesses, as they were served: `testdata/SOURCES.md`.
const PUBLIC_KEY: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
const PUBLIC_NOTE: &str = "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n\u{2014} witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==\n\u{2014} remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n";

fn auditor() -> Cosigner {
    Cosigner::new("auditor.example/a1", &[0x2a; 32]).unwrap()
}

fn witness() -> Cosigner {
    Cosigner::new("witness.example/w1", &[0x2b; 32]).unwrap()
}

/// A log's checkpoint with the cosignatures of these.
fn note(by: &[(&Cosigner, u64)]) -> String {
    by.iter().fold(sample::log(&[]).note, |note, (cosigner, time)| {
        let line = cosigner.cosign(&note, *time).unwrap();
        add(&note, &line, &[cosigner.key().unwrap()]).unwrap()
    })
}

fn said(name: &str, time_secs: u64) -> Cosignature {
    Cosignature { name: name.to_owned(), time_secs }
}

#[test]
fn a_foreign_implementations_cosignature_is_ours_byte_for_byte() {
    let note = format!("{KNOWN_TEXT}\n{KNOWN_LINE}");
    assert_eq!(auditor().key().unwrap().to_string(), KNOWN_KEY);
    assert_eq!(auditor().cosign(&note, KNOWN_TIME).unwrap(), KNOWN_LINE);
    let keys = [CosignerKey::parse(KNOWN_KEY).unwrap()];
    assert_eq!(verify(&note, &keys), Ok(vec![said("auditor.example/a1", KNOWN_TIME)]));
}

#[test]
fn a_public_witness_is_read() {
    let keys = [CosignerKey::parse(PUBLIC_KEY).unwrap()];
    assert_eq!(keys[0].to_string(), PUBLIC_KEY);
    assert_eq!(verify(PUBLIC_NOTE, &keys), Ok(vec![said("remora.n621.de", 1_779_573_024)]));
    let other = PUBLIC_NOTE.replace("1432088532", "1432088533");
    assert_eq!(verify(&other, &keys), Err(BadNote::Forged));
}

#[test]
fn a_cosignature_stands_beside_the_logs_own_signature() {
    let keys = [auditor().key().unwrap(), witness().key().unwrap()];
    let both = note(&[(&witness(), 5), (&auditor(), 7)]);
    assert!(crate::checkpoint::open(&both, &sample::keys()).is_ok());
    let (by_auditor, by_witness) = (said("auditor.example/a1", 7), said("witness.example/w1", 5));
    assert_eq!(verify(&both, &keys), Ok(vec![by_auditor.clone(), by_witness]));
    assert_eq!(verify(&both, &keys[..1]), Ok(vec![by_auditor]), "another's line is read over");
    assert_eq!(verify(&note(&[]), &keys), Ok(vec![]));
}

#[test]
fn a_later_cosignature_takes_the_place_of_the_earlier() {
    let key = [auditor().key().unwrap()];
    let twice = note(&[(&auditor(), 5), (&witness(), 5), (&auditor(), 7)]);
    assert_eq!(twice.matches("auditor.example").count(), 1);
    assert_eq!(verify(&twice, &key), Ok(vec![said("auditor.example/a1", 7)]));
    let both_kept = format!("{twice}{}", auditor().cosign(&twice, 6).unwrap());
    assert_eq!(verify(&both_kept, &key), Ok(vec![said("auditor.example/a1", 7)]));
}

#[test]
fn only_lines_that_hold_and_are_of_known_keys_are_added() {
    let bare = note(&[]);
    let (line, foreign) =
        (auditor().cosign(&bare, 5).unwrap(), witness().cosign(&bare, 5).unwrap());
    let key = [auditor().key().unwrap()];
    assert_eq!(add(&bare, &format!("{foreign}{line}"), &key), Ok(format!("{bare}{line}")));
    let of_another_text = auditor().cosign(&bare.replacen("test/", "text/", 1), 5).unwrap();
    assert_eq!(add(&bare, &of_another_text, &key), Err(BadNote::Forged));
    assert!(matches!(add(&bare, "no line", &key), Err(BadNote::Malformed(_))));
}

#[test]
fn keys_of_logs_and_of_cosigners_are_not_taken_for_each_other() {
    let log = sample::keys()[0].to_string();
    assert_eq!(CosignerKey::parse(&log), Err(NotAKey));
    assert_eq!(VerifyingKey::parse(KNOWN_KEY), Err(NotAKey));
    // The same secret under the same name makes two different lines.
    let as_log = SigningKey::new("auditor.example/a1", &[0x2a; 32]).unwrap();
    let signed = as_log.sign_note(KNOWN_TEXT);
    assert_eq!(verify(&signed, &[auditor().key().unwrap()]), Ok(vec![]));
}

#[test]
fn a_time_beyond_63_bits_is_forged() {
    let text = note(&[]);
    let (text, _) = note::split(&text).unwrap();
    let time = 1_u64 << 63;
    let signature = auditor().0.sign(message(time, text).as_bytes());
    let line = auditor().0.line(&[&time.to_be_bytes()[..], &signature].concat());
    let keys = [auditor().key().unwrap()];
    assert_eq!(verify(&format!("{text}\n{line}"), &keys), Err(BadNote::Forged));
}

proptest! {
    #[test]
    fn any_changed_bit_of_a_cosigned_note_is_found(at: proptest::sample::Index, bit in 0_u8..8, time in 0..u64::MAX >> 1) {
        let good = note(&[(&auditor(), time)]);
        let keys = [auditor().key().unwrap()];
        prop_assert_eq!(verify(&good, &keys), Ok(vec![said("auditor.example/a1", time)]));
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
        // The log's own line is not the cosigner's to vouch for, and a line under another name or id is nobody's.
        let (text, changed_text) = (good.rsplit_once("\n\n").unwrap().0, changed.rsplit_once("\n\n").map(|split| split.0));
        if changed_text != Some(text) {
            prop_assert!(verify(&changed, &keys).ok().is_none_or(|found| found.is_empty()));
        }
        let line = |note: &str| note.lines().last().map(str::to_owned);
        if line(&changed) != line(&good) {
            prop_assert!(verify(&changed, &keys).ok().is_none_or(|found| found.is_empty()));
        }
    }
}
