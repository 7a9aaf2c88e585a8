use super::*;
use expect_test::{Expect, expect};
use serde_json::json;

/// RFC 8037 appendix A.2.
const ED25519: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// An application with nothing wrong in it, as JSON.
pub(crate) fn document() -> Value {
    json!({
        "schema": "portcullis.application/1",
        "purpose": "support",
        "operations": ["listTickets", "getCustomer"],
        "classes": ["user.contact.email", "user.name"],
        "reach": "under_100k",
        "mode": "scheduled",
        "credential": "bound",
        "redirect_uris": ["https://helpdesk.example/callback"],
        "documents": [{"kind": "mvsp", "issued": "2026-01-10", "expires": "2027-01-09"}],
        "retention_days": 30,
        "subprocessors": ["Cloud Example Ltd"],
        "keys": [{"created": "2026-02-01", "jwk": serde_json::from_str::<Value>(ED25519).unwrap()}],
    })
}

/// The same, read.
pub(crate) fn application() -> Evidence {
    read(&document()).unwrap()
}

pub(crate) fn read(document: &Value) -> Result<Evidence, BadEvidence> {
    Evidence::parse(document.to_string().as_bytes())
}

/// [`document`] with the member at `pointer` replaced.
pub(crate) fn with(pointer: &str, value: Value) -> Value {
    let mut document = document();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

#[test]
fn an_application_is_read_whole() {
    let evidence = application();
    assert_eq!(evidence.purpose.as_str(), "support");
    assert_eq!(evidence.operations.len(), 2);
    assert_eq!(evidence.reach, Reach::Under100k);
    assert_eq!(evidence.mode, Mode::Scheduled);
    assert_eq!(evidence.credential, CredentialKind::Bound);
    assert_eq!(evidence.documents[0].kind, DocumentKind::Mvsp);
    assert_eq!(evidence.keys[0].read.as_ref().unwrap().algorithm, Algorithm::EdDsa);
    assert_eq!(evidence.sbom_sha256, None);
    let mut with_sbom = document();
    with_sbom["sbom_sha256"] = json!("0f".repeat(32));
    assert_eq!(read(&with_sbom).unwrap().sbom_sha256, Some([15; 32]));
}

#[test]
fn everything_is_read_so_that_a_check_can_refuse_it() {
    for name in ["ALL", "all", "*", ""] {
        let evidence = read(&with("/classes", json!(["user.name", name]))).unwrap();
        assert_eq!(evidence.classes, AskedClasses::Everything, "{name}");
    }
    let evidence = read(&with("/classes", json!([]))).unwrap();
    assert_eq!(evidence.classes, AskedClasses::Named(BTreeSet::new()));
}

#[test]
fn a_key_that_is_not_accepted_is_read_so_that_a_check_can_refuse_it() {
    let evidence =
        read(&with("/keys/0/jwk", json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"})))
            .unwrap();
    assert_eq!(evidence.keys[0].read, Err(BadKey::Unsupported));
}

#[test]
fn an_error_names_the_member() {
    let over = |n: usize| json!(vec!["a"; n]);
    check(
        &with("/schema", json!("portcullis.application/2")),
        expect!["`/schema` is not `portcullis.application/1`"],
    );
    check(
        &with("/purpose", json!("Support!")),
        expect!["`/purpose` `Support!` is not well formed"],
    );
    check(
        &with("/purpose", json!(1)),
        expect!["`/purpose` is not acceptable: invalid type: integer `1`, expected a string"],
    );
    check(
        &with("/operations/1", json!("a b")),
        expect!["`/operations/1` `a b` is not well formed"],
    );
    check(&with("/operations", over(257)), expect!["`/operations` has more than 256 entries"]);
    check(
        &with("/classes/0", json!("user.*")),
        expect!["`/classes/0` `user.*` is not well formed"],
    );
    check(
        &with("/reach", json!("everyone")),
        expect![
            "`/reach` is not acceptable: unknown variant `everyone`, expected one of `own_users`, `under_1k`, `under_100k`, `all`"
        ],
    );
    check(
        &with("/mode", json!("sometimes")),
        expect![
            "`/mode` is not acceptable: unknown variant `sometimes`, expected one of `user_present`, `scheduled`, `bulk`, `write`"
        ],
    );
    check(
        &with("/credential", json!(null)),
        expect!["`/credential` is not acceptable: invalid type: null, expected string or map"],
    );
    check(
        &with("/redirect_uris/0", json!("")),
        expect!["`/redirect_uris/0` `` is not well formed"],
    );
    check(
        &with("/documents/0/kind", json!("diploma")),
        expect![
            "`/documents/0/kind` is not acceptable: unknown variant `diploma`, expected one of `soc2`, `iso27001`, `pen_test`, `dpa`, `mvsp`, `insurance`, `external_test`, `key_attestation`"
        ],
    );
    check(
        &with("/documents/0/issued", json!("2026-02-30")),
        expect!["`/documents/0/issued` `2026-02-30` is not well formed"],
    );
    check(
        &with("/documents/0/expires", json!("2026-01-09")),
        expect!["`/documents/0/expires` is before `issued`"],
    );
    check(
        &with("/retention_days", json!(-1)),
        expect!["`/retention_days` is not acceptable: invalid value: integer `-1`, expected u32"],
    );
    check(
        &with("/retention_days", json!(4_294_967_296_u64)),
        expect![
            "`/retention_days` is not acceptable: invalid value: integer `4294967296`, expected u32"
        ],
    );
    check(
        &with("/subprocessors/0", json!("a\nb")),
        expect![[r#"`/subprocessors/0` `a\nb` is not well formed"#]],
    );
    check(
        &with("/keys/0/created", json!("yesterday")),
        expect!["`/keys/0/created` `yesterday` is not well formed"],
    );
    check(
        &with(
            "/keys/0/jwk",
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "AA"}),
        ),
        expect!["`/keys/0/jwk` is not acceptable: the JWK holds private key material"],
    );
    let mut document = document();
    document["sbom_sha256"] = json!("0F".repeat(32));
    check(
        &document,
        expect![
            "`/sbom_sha256` `0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F` is not well formed"
        ],
    );
    document["colour"] = json!("red");
    check(
        &document,
        expect![
            "the application is not of the form `portcullis.application/1`: unknown field `colour`, expected one of `schema`, `purpose`, `operations`, `classes`, `reach`, `mode`, `credential`, `redirect_uris`, `documents`, `retention_days`, `subprocessors`, `sbom_sha256`, `keys`"
        ],
    );
    document.as_object_mut().unwrap().remove("colour");
    document.as_object_mut().unwrap().remove("purpose");
    check(
        &document,
        expect![
            "the application is not of the form `portcullis.application/1`: missing field `purpose`"
        ],
    );
}

#[test]
fn size_and_repetition_are_refused() {
    assert_eq!(Evidence::parse(&vec![b' '; BYTES_MAX + 1]), Err(BadEvidence::TooLarge));
    let twice = document().to_string().replacen('{', r#"{"mode":"bulk","#, 1);
    assert!(matches!(Evidence::parse(twice.as_bytes()), Err(BadEvidence::NotJson(_))));
}

#[test]
fn the_next_expiry_is_the_earliest_that_nothing_outlives() {
    let date = |text: &str| Date::parse(text).unwrap();
    let key_dies = date("2026-02-01").start() + days(91);
    assert_eq!(next_expiry(&application()), Some(key_dies));

    let mut evidence = application();
    evidence.keys.clear();
    assert_eq!(next_expiry(&evidence), Some(date("2027-01-09").end()));

    evidence.documents.push(Document {
        kind: DocumentKind::Mvsp,
        issued: date("2027-01-01"),
        expires: date("2028-01-01"),
    });
    assert_eq!(next_expiry(&evidence), Some(date("2028-01-01").end()), "renewed");

    evidence.documents.clear();
    assert_eq!(next_expiry(&evidence), None);
}

#[test]
fn a_penetration_test_is_worth_a_year_whatever_it_says() {
    let test = Document {
        kind: DocumentKind::PenTest,
        issued: Date::parse("2025-03-01").unwrap(),
        expires: Date::parse("2030-01-01").unwrap(),
    };
    assert!(test.is_valid(Date::parse("2026-03-01").unwrap().start()));
    assert!(!test.is_valid(Date::parse("2026-03-02").unwrap().start()));
    assert!(!test.is_valid(Date::parse("2025-02-28").unwrap().start()), "not issued yet");
}

#[rustfmt::skip]
fn check(document: &Value, expected: Expect) {
    expected.assert_eq(&read(document).unwrap_err().to_string());
}
