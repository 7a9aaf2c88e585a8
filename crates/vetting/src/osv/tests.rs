use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Log4Shell, as GitHub publishes it, cut to what is read.
pub(crate) fn log4shell() -> Value {
    json!({
        "schema_version": "1.4.0",
        "id": "GHSA-jfh8-c2jp-5v3q",
        "modified": "2025-05-09T13:13:16.169374Z",
        "published": "2021-12-10T00:40:56Z",
        "aliases": ["CVE-2021-44228"],
        "affected": [{
            "package": {"name": "org.apache.logging.log4j:log4j-core", "ecosystem": "Maven", "purl": "pkg:maven/org.apache.logging.log4j/log4j-core"},
            "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "2.13.0"}, {"fixed": "2.15.0"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "2.0-beta9"}, {"fixed": "2.3.1"}]},
            ],
        }],
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H/E:H"}],
        "database_specific": {"severity": "CRITICAL", "cwe_ids": ["CWE-20"]},
    })
}

/// An advisory about `package` with `affected` beside it.
pub(crate) fn advisory(id: &str, ecosystem: &str, name: &str, affected: Value) -> Value {
    let mut entry = affected;
    entry["package"] = json!({"ecosystem": ecosystem, "name": name});
    json!({"id": id, "modified": "2026-03-01T00:00:00Z", "published": "2026-02-01T00:00:00Z", "affected": [entry]})
}

pub(crate) fn read(document: &Value) -> Advisory {
    Advisory::parse(document.to_string().as_bytes()).unwrap()
}

pub(crate) fn component(purl: &str) -> Component {
    let purl = Purl::parse(purl).ok();
    Component { name: "x".to_owned(), version: None, purl, bom_ref: None }
}

/// Whether `purl` is affected, and whether that was compared.
fn found(document: &Value, purl: &str) -> Option<bool> {
    let advisories = Advisories::new([read(document)]);
    advisories.affecting(&component(purl)).first().map(|found| found.compared)
}

const SURE: Option<bool> = Some(true);
const UNSURE: Option<bool> = Some(false);

#[test]
fn a_published_advisory_is_matched_at_each_edge_of_its_ranges() {
    for (version, expected) in [
        ("1.2.17", None),
        ("2.0-beta8", None),
        ("2.0-beta9", SURE),
        ("2.0", SURE),
        ("2.3", SURE),
        ("2.3.1", None),
        ("2.12.4", None),
        ("2.13.0", SURE),
        ("2.14.1", SURE),
        ("2.15.0", None),
        ("2.17.1", None),
    ] {
        let purl = format!("pkg:maven/org.apache.logging.log4j/log4j-core@{version}");
        assert_eq!(found(&log4shell(), &purl), expected, "{version}");
    }
    assert_eq!(found(&log4shell(), "pkg:maven/org.apache.logging.log4j/log4j-api@2.14.1"), None);
    assert_eq!(found(&log4shell(), "pkg:npm/log4j-core@2.14.1"), None);
}

#[test]
fn events_are_evaluated_in_the_order_of_versions_and_not_of_the_file() {
    let document = advisory(
        "GHSA-1",
        "npm",
        "a",
        json!({"ranges": [{"type": "SEMVER", "events": [
            {"fixed": "2.0.5"}, {"introduced": "2.0.0"}, {"fixed": "1.0.3"}, {"introduced": "0"},
        ]}]}),
    );
    for (version, expected) in [
        ("0.0.1-alpha", SURE),
        ("1.0.2", SURE),
        ("1.0.3", None),
        ("1.9.9", None),
        ("2.0.0-rc.1", None),
        ("2.0.4", SURE),
        ("2.0.5", None),
    ] {
        assert_eq!(found(&document, &format!("pkg:npm/a@{version}")), expected, "{version}");
    }
}

#[test]
fn last_affected_includes_its_version_and_a_limit_does_not() {
    let last = advisory(
        "X-1",
        "PyPI",
        "A.b",
        json!({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"last_affected": "1.4"}]}]}),
    );
    assert_eq!(found(&last, "pkg:pypi/a-b@1.4.0"), SURE);
    assert_eq!(found(&last, "pkg:pypi/a-b@1.4.post1"), None);
    assert_eq!(found(&last, "pkg:pypi/a-b@1.0rc1"), None);
    let limited = advisory(
        "X-2",
        "npm",
        "a",
        json!({"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"limit": "2.0.0"}]}]}),
    );
    assert_eq!(found(&limited, "pkg:npm/a@1.9.9"), SURE);
    assert_eq!(found(&limited, "pkg:npm/a@2.0.0"), None);
}

#[test]
fn listed_versions_are_affected_beside_any_range() {
    let document = advisory(
        "X-1",
        "PyPI",
        "a",
        json!({"versions": ["1.0", "odd-one"], "ranges": [{"type": "GIT", "repo": "https://a", "events": [{"introduced": "0"}]}]}),
    );
    assert_eq!(found(&document, "pkg:pypi/a@1.0.0"), SURE);
    assert_eq!(found(&document, "pkg:pypi/a@odd-one"), SURE);
    assert_eq!(found(&document, "pkg:pypi/a@1.1"), None);
}

#[test]
fn what_cannot_be_compared_counts_as_affected_and_says_so() {
    let ranged = advisory(
        "X-1",
        "npm",
        "a",
        json!({"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.0.0"}]}]}),
    );
    assert_eq!(found(&ranged, "pkg:npm/a@latest"), UNSURE);
    assert_eq!(found(&ranged, "pkg:npm/a"), UNSURE);
    let only_commits = advisory(
        "X-2",
        "npm",
        "a",
        json!({"ranges": [{"type": "GIT", "repo": "https://a", "events": [{"introduced": "0"}]}]}),
    );
    assert_eq!(found(&only_commits, "pkg:npm/a@1.0.0"), UNSURE);
    let unordered_event = advisory(
        "X-3",
        "npm",
        "a",
        json!({"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "soon"}]}]}),
    );
    assert_eq!(found(&unordered_event, "pkg:npm/a@1.0.0"), UNSURE);
    let whole_package = advisory("X-4", "npm", "a", json!({}));
    assert_eq!(found(&whole_package, "pkg:npm/a"), SURE);
}

#[test]
fn the_components_own_version_stands_in_for_a_missing_one() {
    let document = advisory("X-1", "npm", "a", json!({"versions": ["1.0.0"]}));
    let advisories = Advisories::new([read(&document)]);
    let component = Component { version: Some("1.0.0".to_owned()), ..component("pkg:npm/a") };
    assert_eq!(advisories.affecting(&component).len(), 1);
}

#[test]
fn a_withdrawn_advisory_is_about_nothing() {
    let mut document = log4shell();
    document["withdrawn"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(found(&document, "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"), None);
}

#[test]
fn critical_is_malicious_or_scored_or_called_so() {
    let base = || advisory("GHSA-1", "npm", "a", json!({}));
    let with = |member: &str, value: Value| {
        let mut document = base();
        document[member] = value;
        read(&document)
    };
    assert!(!read(&base()).critical);
    assert!(with("id", json!("MAL-2024-1")).malicious);
    assert!(with("aliases", json!(["MAL-2024-1"])).critical);
    assert!(with("database_specific", json!({"severity": "CRITICAL"})).critical);
    assert!(!with("database_specific", json!({"severity": "HIGH"})).critical);
    let scored = |vector: &str| with("severity", json!([{"type": "CVSS_V3", "score": vector}]));
    assert_eq!(scored("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N").score_tenths, Some(91));
    assert!(scored("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N").critical);
    assert!(!scored("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H").critical, "8.8");
    let v4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N";
    assert!(with("severity", json!([{"type": "CVSS_V4", "score": v4}])).critical);
    let of_package =
        advisory("X-1", "npm", "a", json!({"severity": [{"type": "CVSS_V4", "score": v4}]}));
    assert!(read(&of_package).critical);
}

#[test]
fn what_is_no_advisory_is_refused() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"id":"X"}"#,
        r#"{"id":"X","modified":"yesterday"}"#,
        r#"{"id":"X","modified":"2026-01-01T00:00:00Z","id":"Y"}"#,
        r#"{"id":"X","modified":"2026-01-01T00:00:00Z","affected":[{"package":{}}]}"#,
    ] {
        assert!(Advisory::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(Advisory::parse(&vec![b' '; BYTES_MAX + 1]), Err(BadAdvisory::TooLarge));
}

proptest! {
    /// Against the definition: a version is affected if the last event at or before it, in order of versions, opened the range.
    #[test]
    fn evaluation_agrees_with_its_definition(events in prop::collection::btree_map(0_u64..12, 0_u8..2, 0..6), version in 0_u64..14) {
        let listed: Vec<Value> = events.iter().rev().map(|(at, kind)| {
            let name = if *kind == 0 { "introduced" } else { "fixed" };
            json!({name: format!("{at}.0.0")})
        }).collect();
        let document = advisory("X-1", "npm", "a", json!({"ranges": [{"type": "SEMVER", "events": listed}]}));
        let expected = events.range(..=version).next_back().is_some_and(|(_, kind)| *kind == 0);
        prop_assert_eq!(found(&document, &format!("pkg:npm/a@{version}.0.0")), expected.then_some(true));
    }

    #[test]
    fn mutated_advisories_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = log4shell().to_string().into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Advisory::parse(&bytes);
    }
}
