use super::*;
use crate::embedded::journal::JournalSizes;
use crate::embedded::recorder::{self, Opening};
use crate::embedded::vault::VaultKeys;
use credential::token::LIFETIME;
use model::{Micros, UnixMicros};
use proptest::prelude::*;
use std::fs;
use std::time::Duration;

const NAME: &str = "token.key";
const NOW: UnixMicros = UnixMicros::from_secs(1_790_000_000);

fn key(byte: u8) -> SealingKey {
    SealingKey::new(&[byte; 32]).unwrap()
}

fn ring(current: u8, former: Option<u8>) -> Ring {
    Ring { current: Some(key(current)), former: former.map(key) }
}

fn files(data: &Path, ring: Ring) -> Arc<KeyFiles> {
    Arc::new(KeyFiles::local(data, ring).unwrap())
}

fn why(read: Result<Zeroizing<Vec<u8>>, BadSecret>) -> NotOpened {
    match read {
        Err(BadSecret::NotOpened { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn a_sealed_file_opens_as_it_was_and_not_with_any_byte_changed(
        secret in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<proptest::sample::Index>(),
        bits in 1..=u8::MAX,
        cut in any::<proptest::sample::Index>(),
    ) {
        let ring = ring(1, None);
        let file = ring.content_made(NAME, 5, &secret).unwrap();
        prop_assert_eq!(&**ring.open(NAME, file.to_vec()).unwrap(), &*secret);
        prop_assert_eq!(header(&file).unwrap().unwrap().made, 5);
        if secret.len() >= 8 {
            prop_assert!(!file.windows(8).any(|bytes| secret.windows(8).any(|s| s == bytes)));
        }
        let mut changed = file.to_vec();
        changed[at.index(file.len())] ^= bits;
        prop_assert!(ring.open(NAME, changed).is_err());
        prop_assert!(ring.open(NAME, file[..cut.index(file.len())].to_vec()).is_err());
        prop_assert_eq!(ring.open("log.key", file.to_vec()), Err(NotOpened::Changed));
    }
}

/// The format is for ever. Made with Python's `cryptography` 48.0.0 and `hmac`, from `docs/key-files.md`: sealing key 00 to 1f, made
/// 1790000000, nonce 40 to 4b.
#[test]
fn a_file_of_another_implementation_opens() {
    let hex = concat!(
        "50434b455900000116c2dcf0ade61c51000000006ab13b80404142434445464748494a4b0781cd9df0573207c33a858c",
        "e78ab41df692aebaa4f7f512b183bf81992d617debcfad171e2c9b5cc6048b23bbec4c1a",
    );
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    let file: Vec<u8> = (0..hex.len() / 2).map(byte).collect();
    let secret: Vec<u8> = (0..32).collect();
    let key = SealingKey::new(&secret.try_into().unwrap()).unwrap();
    assert_eq!(header(&file).unwrap().unwrap(), Header { key: key.id(), made: 1_790_000_000 });
    let ring = Ring { current: Some(key), former: None };
    let opened = ring.open("recipients/insurer.key", file).unwrap();
    assert_eq!(**opened, *b"thirty-two bytes of some secret!");
}

#[test]
fn the_wrong_key_says_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    files(data.path(), ring(1, None)).replace(NAME, &[7; 32]).unwrap();
    let bytes = fs::read(data.path().join("keys/token.key")).unwrap();
    assert_eq!(bytes.len(), 36 + 32 + 16);

    let none = why(files(data.path(), Ring::default()).read(NAME));
    assert_eq!(none, NotOpened::NoKey(key(1).id()));
    assert!(none.to_string().contains("`[secrets]`"), "{none}");
    let other = why(files(data.path(), ring(2, None)).read(NAME));
    assert_eq!(other, NotOpened::OtherKey { sealed: key(1).id(), given: key(2).id() });
    assert!(other.to_string().contains("keys rewrap"), "{other}");
    assert_eq!(**files(data.path(), ring(2, Some(1))).read(NAME).unwrap(), [7; 32]);

    // Another file under its name, and one that somebody put there in the clear.
    fs::copy(data.path().join("keys/token.key"), data.path().join("keys/log.key")).unwrap();
    assert_eq!(why(files(data.path(), ring(1, None)).read("log.key")), NotOpened::Changed);
    fs::write(data.path().join("keys/log.key"), [9; 32]).unwrap();
    assert_eq!(why(files(data.path(), ring(1, None)).read("log.key")), NotOpened::Clear);
    let later = [&b"PCKEY\0\0\x02"[..], &bytes[8..]].concat();
    fs::write(data.path().join("keys/log.key"), later).unwrap();
    assert_eq!(why(files(data.path(), ring(1, None)).read("log.key")), NotOpened::Form);
}

#[test]
fn sealing_leaves_what_is_public_and_what_is_peoples() {
    let data = tempfile::tempdir().unwrap();
    let keys = data.path().join(DIR);
    fs::create_dir_all(keys.join("operators")).unwrap();
    fs::create_dir_all(keys.join("recipients")).unwrap();
    let certificate = "-----BEGIN CERTIFICATE-----";
    let dkim = "-----BEGIN PRIVATE KEY-----\nMIIE";
    for (name, content) in [
        ("token.key", "k"),
        ("origin.credential", "Bearer x"),
        ("recipients/insurer.key", "r"),
        ("dkim.pem", dkim),
        ("server.pem", certificate),
        ("log.pub", "log"),
        ("operators/first.key", "id first seed"),
        ("vault-wrapping.2.key.tmp", "half"),
    ] {
        fs::write(keys.join(name), content).unwrap();
    }
    let files = files(data.path(), ring(1, None));
    let clear = files.clear().unwrap();
    assert_eq!(clear, ["dkim.pem", "origin.credential", "token.key", "recipients/insurer.key"]);
    files.seal_all(&clear, &|_| 9).unwrap();
    files.remove_halves().unwrap();
    assert_eq!(files.clear().unwrap(), [""; 0]);
    assert_eq!(**files.read("dkim.pem").unwrap(), *dkim.as_bytes());
    assert_eq!(files.header(NAME).unwrap().unwrap().made, 9);
    assert_eq!(fs::read_to_string(keys.join("operators/first.key")).unwrap(), "id first seed");
    assert_eq!(fs::read_to_string(keys.join("server.pem")).unwrap(), certificate);
    assert!(!keys.join("vault-wrapping.2.key.tmp").exists(), "a half of a secret");
    assert!(!keys.join(SEALING).exists());

    assert_eq!(self::files(data.path(), ring(2, Some(1))).rewrap().unwrap(), 4);
    let files = self::files(data.path(), ring(2, None));
    assert_eq!(files.rewrap().unwrap(), 0, "once");
    assert_eq!(**files.read("recipients/insurer.key").unwrap(), *b"r");
    assert_eq!(files.header(NAME).unwrap().unwrap().made, 9, "it is as old as it was");
}

#[test]
fn the_key_that_an_erasure_makes_is_sealed_as_the_others_are() {
    let data = tempfile::tempdir().unwrap();
    let files = files(data.path(), ring(1, None));
    files.replace("vault-wrapping.key", &[2; 32]).unwrap();
    let open = |wrapping, wrapping_id| {
        let key = ledger::note::SigningKey::new("test/node/1", &[3; 32]).unwrap();
        let vault = VaultKeys { index: [1; 32], wrapping, wrapping_id };
        let sizes = JournalSizes { segment_bytes: 1 << 20, reserve_bytes: 64 << 10 };
        let wait_max = Duration::from_secs(60);
        let ring = Arc::clone(files.ring());
        let opening = Opening { ring, sizes, wait_max, ..Opening::standard(key, vault) };
        recorder::open(data.path(), opening).unwrap()
    };
    let subject = model::SubjectId::new("p-0001").unwrap();
    let opened = open([2; 32], 1);
    opened.vault.row(&subject, NOW).unwrap();
    opened.recorder.append_blocking(ledger::Draft::Posture { entry: vec![1] }).unwrap();
    opened.eraser.erase().unwrap();
    drop(opened);
    assert!(!files.exists("vault-wrapping.key").unwrap());
    assert!(files.header("vault-wrapping.2.key").unwrap().is_some());
    let opened = open(*files.read_key("vault-wrapping.2.key").unwrap(), 2);
    assert!(opened.vault.ordinal(&subject).is_some(), "the rows are under it");
}

fn kid(byte: u8) -> String {
    let der = credential::SigningKey::pkcs8(credential::Algorithm::EdDsa, [byte; 32]).unwrap();
    credential::SigningKey::from_pkcs8(&der).unwrap().public().thumbprint_text()
}

fn signs(keys: &TokenKeys) -> String {
    keys.in_use().signing.public().thumbprint_text()
}

fn verify(keys: &TokenKeys) -> Vec<String> {
    keys.in_use().published.into_keys().collect()
}

fn sorted(bytes: &[u8]) -> Vec<String> {
    let mut kids: Vec<_> = bytes.iter().map(|byte| kid(*byte)).collect();
    kids.sort();
    kids
}

#[test]
fn a_token_key_is_published_then_signs_then_verifies_then_goes() {
    for ring in [Ring::default, || ring(1, None)] {
        let data = tempfile::tempdir().unwrap();
        let files = files(data.path(), ring());
        files.replace(NAME, &[1; 32]).unwrap();
        // A restart at any moment changes nothing.
        let open = |now| TokenKeys::open(Arc::clone(&files), now).unwrap();
        let hour = Micros::from_secs(3_600);
        let mut keys = open(NOW);
        assert!(!keys.take_over(NOW).unwrap(), "nothing was staged");
        assert_eq!(TokenKeys::stage(&files, &[2; 32], 3_600, false).unwrap(), kid(2));
        assert!(TokenKeys::stage(&files, &[3; 32], 0, false).is_err(), "one at a time");
        assert_eq!(verify(&keys), sorted(&[1]), "not before the node takes it over");
        assert!(keys.take_over(NOW).unwrap());
        assert!(!keys.take_over(NOW).unwrap(), "once");

        let switched = NOW + hour + Micros::from_secs(5);
        for now in [NOW, NOW + Micros::from_secs(3_599)] {
            assert!(!keys.advance(now).unwrap());
            for keys in [&keys, &open(now)] {
                assert_eq!((signs(keys), verify(keys)), (kid(1), sorted(&[1, 2])));
            }
        }
        assert!(keys.advance(switched).unwrap());
        assert!(!data.path().join("keys/token.next.key").exists());
        let last_token_ends = switched + LIFETIME;
        assert!(!keys.advance(last_token_ends).unwrap());
        for keys in [&keys, &open(switched), &open(last_token_ends)] {
            assert_eq!((signs(keys), verify(keys)), (kid(2), sorted(&[1, 2])));
        }
        let over = last_token_ends + Micros::from_secs(60);
        assert_eq!(verify(&open(over)), sorted(&[2]));
        keys.advance(over).unwrap();
        assert_eq!((signs(&keys), verify(&keys)), (kid(2), sorted(&[2])));
    }
}

#[test]
fn a_stolen_token_key_verifies_nothing_from_the_reload_on() {
    let data = tempfile::tempdir().unwrap();
    let files = files(data.path(), ring(1, None));
    files.replace(NAME, &[1; 32]).unwrap();
    TokenKeys::stage(&files, &[2; 32], 3_600, false).unwrap();
    let mut keys = TokenKeys::open(Arc::clone(&files), NOW).unwrap();
    assert_eq!(verify(&keys), sorted(&[1, 2]));
    // Also while another rotation is under way, whose key may be known as well.
    TokenKeys::stage(&files, &[3; 32], 0, true).unwrap();
    assert!(keys.take_over(NOW).unwrap());
    assert!(keys.advance(NOW).unwrap());
    for keys in [&keys, &TokenKeys::open(Arc::clone(&files), NOW).unwrap()] {
        assert_eq!((signs(keys), verify(keys)), (kid(3), sorted(&[3])));
    }
}

#[test]
fn nothing_that_holds_a_secret_prints_it() {
    let data = tempfile::tempdir().unwrap();
    let files = files(data.path(), Ring::default());
    files.replace(NAME, &[0xab; 32]).unwrap();
    let keys = TokenKeys::open(Arc::clone(&files), NOW).unwrap();
    let printed =
        format!("{:?} {:?} {:?} {keys:?}", key(0xab), ring(0xab, Some(0xab)), keys.in_use());
    for form in ["171, 171", "abab", "q6ur", &format!("{:?}", [0xab_u8; 4])] {
        assert!(!printed.contains(form), "{printed}");
    }
}
