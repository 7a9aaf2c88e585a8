use super::*;
use crate::date::Date;
use crate::evidence::next_expiry;
use crate::evidence::tests::{document, read, with};
use crate::osv::tests::{advisory, log4shell, read as read_advisory};
use crate::sbom::sha256;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

const LODASH: &str = "pkg:npm/lodash@4.17.21";

fn now() -> UnixMicros {
    UnixMicros::parse("2026-03-01T12:00:00Z").unwrap()
}

fn day(text: &str) -> UnixMicros {
    Date::parse(text).unwrap().start()
}

fn operation(id: &str, classes: &[&str], unclassified: u64, known: bool) -> AskedOperation {
    AskedOperation {
        id: OperationId::new(id).unwrap(),
        classes: classes.iter().map(|name| DataClass::new(name).unwrap()).collect(),
        unclassified,
        known,
    }
}

fn contract() -> Vec<AskedOperation> {
    vec![
        operation("listTickets", &["user.id", "user.contact.email"], 0, true),
        operation("getCustomer", &["user.id", "user.name", "user.financial.card"], 0, true),
        operation("exportAll", &["user.content"], 7, true),
    ]
}

/// An SBOM made on the first of March 2026 from `purls`.
fn sbom_bytes(made: &str, purls: &[&str]) -> Vec<u8> {
    let components: Vec<Value> = purls
        .iter()
        .enumerate()
        .map(|(n, purl)| json!({"type": "library", "name": format!("part{n}"), "bom-ref": n.to_string(), "purl": purl}))
        .collect();
    json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"timestamp": made}, "components": components})
        .to_string()
        .into_bytes()
}

/// The report on `application` with a fresh SBOM of `purls`, whose hash it names.
fn report(application: &Value, purls: &[&str], advisories: &[Value]) -> Report {
    let bytes = sbom_bytes("2026-03-01T00:00:00Z", purls);
    let mut evidence = read(application).unwrap();
    evidence.sbom_sha256 = Some(sha256(&bytes));
    let advisories = Advisories::new(advisories.iter().map(read_advisory));
    check(&evidence, Some(&Sbom::parse(&bytes)), &advisories, &contract(), now())
}

/// What `id` says of `report`: `passed: ...` or `failed: ...`.
fn said(report: &Report, id: CheckId) -> String {
    let finding = report.findings.iter().find(|finding| finding.check == id).unwrap();
    format!(
        "{:?}{}: {}",
        finding.verdict,
        if finding.urgent { " urgent" } else { "" },
        finding.says
    )
}

#[test]
fn an_application_with_nothing_wrong_passes_every_check() {
    let report = report(&document(), &[LODASH, "pkg:generic/own@1"], &[log4shell()]);
    assert!(report.passed());
    expect![[r#"
        tier 1: 5 = data class 2 + reach 2 + mode 1 + credential 0
        A3 passed: 1 key accepted and not older than 90 days
        A4 passed: 1 redirect URI exact
        A5 passed: nothing is asked for beyond the purpose
        A6 passed: every field of the asked operations has a class
        A7 passed: 2 components read, nothing critical in 1 advisory; 1 without a package that advisories name
        A13 passed: what tier 1 takes is there and valid"#]].assert_eq(&report.to_string());
}

#[test]
fn a_careless_application_is_told_all_that_is_wrong_at_once() {
    let mut application = document();
    application["purpose"] = json!("analytics");
    application["operations"] = json!(["listTickets", "exportAll", "deleteEverything"]);
    application["classes"] =
        json!(["user.contact.email", "user.content", "user.health_and_medical"]);
    application["reach"] = json!("all");
    application["mode"] = json!("bulk");
    application["credential"] = json!("bearer");
    application["redirect_uris"] =
        json!(["https://*.helpdesk.example/callback", "http://localhost/"]);
    application["documents"] =
        json!([{"kind": "soc2", "issued": "2024-01-01", "expires": "2025-01-01"}]);
    application["keys"][0]["created"] = json!("2025-11-01");
    let malware = advisory("MAL-2026-7", "npm", "lodahs", json!({}));
    let report = report(
        &application,
        &["pkg:npm/lodahs@1.0.0", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"],
        &[log4shell(), malware],
    );
    assert!(!report.passed());
    expect![[r#"
        tier 3: 11 = data class 4 + reach 3 + mode 2 + credential 2; everybody is reached
        A3 failed: tier 3 takes credentials bound to a key only, not bearer tokens; key 1 of 2025-11-01 is older than 90 days
        A4 failed: `https://*.helpdesk.example/callback` holds a wildcard; `http://localhost/` is `http`, which only a loopback address may be
        A5 failed: operations not in the contract: deleteEverything; classes that none of the asked operations returns: user.health_and_medical; classes not needed for the purpose `analytics`: user.contact.email, user.content, user.health_and_medical
        A6 noted: withheld, because nobody classified them, are fields of: exportAll (7)
        A7 failed: components that must not be there: part0 1.0.0 (MAL-2026-7, malicious), part1 2.14.1 (GHSA-jfh8-c2jp-5v3q, critical for more than 14 days)
        A13 failed: tier 3 takes a valid MVSP self-assessment; tier 3 takes a valid penetration test or SOC 2 report or ISO 27001 certificate; tier 3 takes a valid data processing agreement; tier 3 takes a valid external security test; tier 3 takes a valid key attestation; expired documents: SOC 2 report of 2024-01-01"#]].assert_eq(&report.to_string());
}

#[test]
fn a3_a_key_is_of_an_accepted_kind_and_at_most_ninety_days_old() {
    let created = |date: &str| {
        said(&report(&with("/keys/0/created", json!(date)), &[LODASH], &[]), CheckId::A3)
    };
    expect!["Passed: 1 key accepted and not older than 90 days"].assert_eq(&created("2025-12-01"));
    expect!["Failed urgent: key 1 of 2025-11-30 is older than 90 days"]
        .assert_eq(&created("2025-11-30"));
    expect!["Failed: key 1 of 2026-03-03 is from the future"].assert_eq(&created("2026-03-03"));
    let p384 = with("/keys/0/jwk", json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}));
    expect!["Failed: key 1 is not accepted: the key is of a kind or size that is not accepted"]
        .assert_eq(&said(&report(&p384, &[LODASH], &[]), CheckId::A3));
    // 1024 bits: RSA starts at 2048.
    let short_rsa =
        with("/keys/0/jwk", json!({"kty": "RSA", "n": "sf".repeat(85) + "sQ", "e": "AQAB"}));
    expect!["Failed: key 1 is not accepted: the key is of a kind or size that is not accepted"]
        .assert_eq(&said(&report(&short_rsa, &[LODASH], &[]), CheckId::A3));
    let mut twice = document();
    twice["keys"] = json!([document()["keys"][0], document()["keys"][0]]);
    expect!["Failed: key 2 is the same as another"]
        .assert_eq(&said(&report(&twice, &[LODASH], &[]), CheckId::A3));
    expect!["Failed: no key is named"]
        .assert_eq(&said(&report(&with("/keys", json!([])), &[LODASH], &[]), CheckId::A3));
}

#[test]
fn a3_bearer_tokens_are_an_exception_of_tier_two() {
    let mut application = with("/credential", json!("bearer"));
    application["keys"] = json!([]);
    let at_tier_2 = report(&application, &[LODASH], &[]);
    assert_eq!(at_tier_2.tier, Tier::T2);
    expect!["Passed: bearer token, which tier 2 takes as an exception for at most 30 days"]
        .assert_eq(&said(&at_tier_2, CheckId::A3));
    application["reach"] = json!("own_users");
    let at_tier_1 = report(&application, &[LODASH], &[]);
    assert_eq!(at_tier_1.tier, Tier::T1);
    expect!["Failed: tier 1 takes credentials bound to a key only, not bearer tokens"]
        .assert_eq(&said(&at_tier_1, CheckId::A3));
}

#[test]
fn a4_redirect_uris_are_exact() {
    let uris =
        |uris: Value| said(&report(&with("/redirect_uris", uris), &[LODASH], &[]), CheckId::A4);
    expect!["NotApplicable: no redirect URI is named"].assert_eq(&uris(json!([])));
    expect!["Failed: `https://*.example/c` holds a wildcard"]
        .assert_eq(&uris(json!(["https://a.example/c", "https://*.example/c"])));
}

#[test]
fn a5_asks_for_nothing_beyond_contract_and_purpose() {
    let a5 = |pointer: &str, value: Value| {
        said(&report(&with(pointer, value), &[LODASH], &[]), CheckId::A5)
    };
    expect!["Failed: operations not in the contract: dropTables"]
        .assert_eq(&a5("/operations", json!(["listTickets", "getCustomer", "dropTables"])));
    expect!["Failed: no operation is asked for; classes that none of the asked operations returns: user.contact.email, user.name"].assert_eq(&a5("/operations", json!([])));
    expect!["Failed: all classes are asked for, which no purpose needs"]
        .assert_eq(&a5("/classes", json!(["ALL"])));
    expect!["Failed: all classes are asked for, which no purpose needs"]
        .assert_eq(&a5("/classes", json!(["*", "user.name"])));
    expect!["Failed: no class is asked for"].assert_eq(&a5("/classes", json!([])));
    expect!["Failed: classes that none of the asked operations returns: user.contact.phone"]
        .assert_eq(&a5("/classes", json!(["user.contact.phone"])));
    expect!["Failed: classes not needed for the purpose `support`: user.financial.card"]
        .assert_eq(&a5("/classes", json!(["user.financial.card"])));
    expect![
        "Failed: classes not needed for the purpose `astrology`: user.contact.email, user.name"
    ]
    .assert_eq(&a5("/purpose", json!("astrology")));
    assert!(
        a5("/classes", json!(["user.contact"])).starts_with("Passed"),
        "a parent of what is returned"
    );
}

#[test]
fn a5_an_operation_the_contract_says_it_does_not_know_returns_nothing() {
    let evidence = read(&document()).unwrap();
    let mut contract = contract();
    contract[0].known = false;
    let report = check(&evidence, None, &Advisories::default(), &contract, now());
    expect!["Failed: operations not in the contract: listTickets; classes that none of the asked operations returns: user.contact.email"].assert_eq(&said(&report, CheckId::A5));
}

#[test]
fn a6_an_unclassified_field_in_an_asked_operation_is_noted_and_fails_nothing() {
    let report = report(&with("/operations", json!(["exportAll", "listTickets"])), &[LODASH], &[]);
    expect!["Noted: withheld, because nobody classified them, are fields of: exportAll (7)"]
        .assert_eq(&said(&report, CheckId::A6));
}

#[test]
fn a7_an_sbom_is_needed_from_tier_one() {
    let a7 = |application: &Value, sbom: Option<&Result<Sbom, BadSbom>>| {
        said(
            &check(&read(application).unwrap(), sbom, &Advisories::default(), &contract(), now()),
            CheckId::A7,
        )
    };
    expect!["Failed: no SBOM was submitted"].assert_eq(&a7(&document(), None));
    expect![
        "Failed: the SBOM cannot be read: `/specVersion` is not one of `1.4`, `1.5`, `1.6`, `1.7`"
    ]
    .assert_eq(&a7(&document(), Some(&Sbom::parse(b"{}"))));
    let fresh = Sbom::parse(&sbom_bytes("2026-03-01T00:00:00Z", &[]));
    expect!["Passed: 0 components read, nothing critical in 0 advisories; 0 without a package that advisories name"].assert_eq(&a7(&document(), Some(&fresh)));
    let mut other = document();
    other["sbom_sha256"] = json!("0f".repeat(32));
    expect!["Failed: the SBOM is not the one whose hash the application names"]
        .assert_eq(&a7(&other, Some(&fresh)));
    let mut tier_0 = with("/reach", json!("own_users"));
    tier_0["mode"] = json!("user_present");
    expect!["NotApplicable: tier 0 takes no SBOM"].assert_eq(&a7(&tier_0, None));
}

#[test]
fn a7_an_sbom_is_at_most_thirty_days_old() {
    let made = |made: &str| {
        let bytes = sbom_bytes(made, &[LODASH]);
        let mut evidence = read(&document()).unwrap();
        evidence.sbom_sha256 = Some(sha256(&bytes));
        said(
            &check(
                &evidence,
                Some(&Sbom::parse(&bytes)),
                &Advisories::default(),
                &contract(),
                now(),
            ),
            CheckId::A7,
        )
    };
    assert!(made("2026-01-30T12:00:00Z").starts_with("Passed"));
    expect!["Failed: the SBOM is older than 30 days"].assert_eq(&made("2026-01-30T11:59:59Z"));
    expect!["Failed: the SBOM is from the future"].assert_eq(&made("2026-03-03T00:00:00Z"));
}

#[test]
fn a7_a_critical_vulnerability_has_fourteen_days_and_malware_none() {
    let a7 = |advisory: Value| said(&report(&document(), &[LODASH], &[advisory]), CheckId::A7);
    let critical = |published: Option<&str>| {
        let mut document = advisory("GHSA-1", "npm", "lodash", json!({}));
        document["database_specific"] = json!({"severity": "CRITICAL"});
        document["published"] = json!(published);
        document
    };
    assert!(a7(critical(Some("2026-02-15T12:00:00Z"))).starts_with("Passed"));
    expect!["Failed urgent: components that must not be there: part0 4.17.21 (GHSA-1, critical for more than 14 days)"]
    .assert_eq(&a7(critical(Some("2026-02-15T11:59:59Z"))));
    expect!["Failed urgent: components that must not be there: part0 4.17.21 (GHSA-1, critical for more than 14 days)"]
    .assert_eq(&a7(critical(None)));
    let mut malware = advisory("MAL-2026-1", "npm", "lodash", json!({"versions": ["4.17.21"]}));
    malware["published"] = json!("2026-03-01T11:00:00Z");
    expect![
        "Failed urgent: components that must not be there: part0 4.17.21 (MAL-2026-1, malicious)"
    ]
    .assert_eq(&a7(malware));
    let mut high = advisory("GHSA-2", "npm", "lodash", json!({}));
    high["database_specific"] = json!({"severity": "HIGH"});
    assert!(a7(high).starts_with("Passed"));
    let mut unordered = critical(Some("2020-01-01T00:00:00Z"));
    unordered["affected"][0]["ranges"] =
        json!([{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "soon"}]}]);
    expect!["Failed urgent: components that must not be there: part0 4.17.21 (GHSA-1, critical for more than 14 days, version could not be compared)"].assert_eq(&a7(unordered));
}

#[test]
fn a13_each_tier_takes_its_documents_and_none_may_be_expired() {
    let valid = |kind: &str| json!({"kind": kind, "issued": "2026-01-01", "expires": "2026-12-31"});
    let a13 = |reach: &str, documents: Vec<Value>| {
        let mut application = with("/documents", json!(documents));
        application["reach"] = json!(reach);
        application["mode"] = json!("bulk");
        application["classes"] = json!(["user.name"]);
        said(&report(&application, &[LODASH], &[]), CheckId::A13)
    };
    expect!["Failed: tier 1 takes a valid MVSP self-assessment"]
        .assert_eq(&a13("own_users", vec![]));
    expect!["Passed: what tier 1 takes is there and valid"]
        .assert_eq(&a13("own_users", vec![valid("mvsp")]));
    expect!["Failed: tier 2 takes a valid penetration test or SOC 2 report or ISO 27001 certificate; tier 2 takes a valid data processing agreement"].assert_eq(&a13("under_100k", vec![valid("mvsp")]));
    for kind in ["pen_test", "soc2", "iso27001"] {
        let documents = vec![valid("mvsp"), valid("dpa"), valid(kind)];
        assert!(a13("under_100k", documents).starts_with("Passed"), "{kind}");
    }
    let expired = json!({"kind": "insurance", "issued": "2025-01-01", "expires": "2026-02-28"});
    expect!["Failed urgent: expired documents: insurance policy of 2025-01-01"]
        .assert_eq(&a13("own_users", vec![valid("mvsp"), expired.clone()]));
    assert!(
        a13("own_users", vec![valid("mvsp"), expired, valid("insurance")]).starts_with("Passed"),
        "renewed"
    );
    let last_day = json!({"kind": "mvsp", "issued": "2025-01-01", "expires": "2026-03-01"});
    assert!(a13("own_users", vec![last_day]).starts_with("Passed"), "valid through its last day");
    let future = json!({"kind": "mvsp", "issued": "2026-03-02", "expires": "2027-03-01"});
    expect!["Failed: tier 1 takes a valid MVSP self-assessment"]
        .assert_eq(&a13("own_users", vec![future]));
}

#[test]
fn an_active_integration_is_restricted_by_the_first_thing_that_ran_out() {
    let evidence = read(&document()).unwrap();
    let clean = report(&document(), &[LODASH], &[]);
    let because = |report: &Report, current: &Digest, now| {
        restrict_because(&evidence, report, &[1; 32], current, now)
    };
    assert_eq!(because(&clean, &[1; 32], now()), None);
    assert_eq!(
        because(&clean, &[2; 32], now()).as_deref(),
        Some("the contract is not the one that was approved")
    );
    assert_eq!(
        because(&clean, &[1; 32], day("2026-05-03")).as_deref(),
        Some("a key of 2026-02-01 is older than 90 days")
    );
    assert_eq!(
        because(&clean, &[1; 32], day("2027-01-10")).as_deref(),
        Some("the MVSP self-assessment has expired")
    );
    let malware = advisory("MAL-2026-1", "npm", "lodash", json!({}));
    let dirty = report(&document(), &[LODASH], &[malware]);
    expect!["components that must not be there: part0 4.17.21 (MAL-2026-1, malicious)"]
        .assert_eq(&because(&dirty, &[1; 32], now()).unwrap());
}

#[test]
fn a_finding_that_only_stands_in_the_way_of_approval_restricts_nothing() {
    let evidence = read(&with("/classes", json!(["*"]))).unwrap();
    let report = check(&evidence, None, &Advisories::default(), &contract(), now());
    assert!(!report.passed());
    assert_eq!(restrict_because(&evidence, &report, &[1; 32], &[1; 32], now()), None);
}

#[test]
fn restriction_begins_exactly_at_the_next_expiry() {
    let evidence = read(&document()).unwrap();
    let clean = report(&document(), &[LODASH], &[]);
    let expiry = next_expiry(&evidence).unwrap();
    let because = |now| restrict_because(&evidence, &clean, &[1; 32], &[1; 32], now);
    assert_eq!(because(UnixMicros(expiry.0 - 1)), None);
    assert!(because(expiry).is_some());
}

#[test]
fn a_long_list_is_named_in_part_and_counted() {
    let names: Vec<String> = ('a'..='h').map(String::from).collect();
    check_complaint(&names, expect!["odd: a, b, c, d, e and 3 more"]);
    check_complaint(&names[..5], expect!["odd: a, b, c, d, e"]);
}

fn check_complaint(names: &[String], expected: Expect) {
    expected.assert_eq(&complaint("odd", names.iter()).unwrap());
}
