use super::stix::Objects;
use super::warning::WarningList;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn terms(level: u8, tlp: Tlp) -> Terms {
    Terms { level: Level::new(level).unwrap(), tlp }
}

fn loose() -> Terms {
    terms(10, Tlp::Red)
}

/// Networks with their levels.
fn shown(reading: &Reading) -> Vec<String> {
    reading.indicators.iter().map(|i| format!("{} {}", i.network, i.level.get())).collect()
}

#[test]
fn plain_lines_are_read_as_feeds_write_them() {
    let text = "; Spamhaus style\n# another comment\n\n198.51.100.0/24 ; SBL1\n  203.0.113.77 # one\r\n\
        2001:db8::/32\n::ffff:192.0.2.9\n198.51.100.7/25\n203.0.113.1\t7\n203.0.113.2\t2\n\
        300.1.1.1\n1.2.3.4/33\nexample.com\n203.0.113.3 4 5\n203.0.113.4 many\n203.0.113.5 0\n";
    let reading = read(Kind::Plain, text.as_bytes(), terms(3, Tlp::Red)).unwrap();
    assert_eq!(
        shown(&reading),
        [
            "198.51.100.0/24 3",
            "203.0.113.77/32 3",
            "2001:db8::/32 3",
            "192.0.2.9/32 3",
            "198.51.100.0/25 3",
            "203.0.113.1/32 3",
            "203.0.113.2/32 2"
        ]
    );
    assert_eq!(reading.left_out.bad, 6);
    let said = reading.left_out.bad_lines[0].to_string();
    assert_eq!(said, "line 11: `300.1.1.1` is not a network that can be listed");
}

#[test]
fn rubbish_is_no_list() {
    let page = "\u{7}<html>\n".repeat(10_000);
    assert_eq!(read(Kind::Plain, page.as_bytes(), loose()), Err(BadList::Nothing));
    assert_eq!(read(Kind::Csv, page.as_bytes(), loose()), Err(BadList::Nothing));
    assert_eq!(
        read(Kind::Stix, page.as_bytes(), loose()),
        Err(BadList::Shape("a STIX bundle or envelope"))
    );
    assert_eq!(read(Kind::Plain, &[0xff], loose()), Err(BadList::NotText));
    assert_eq!(read(Kind::Plain, &vec![b'\n'; BYTES_MAX + 1], loose()), Err(BadList::Long));
    let many: String = (0..=INDICATORS_MAX).map(|_| "203.0.113.7\n").collect();
    assert_eq!(read(Kind::Plain, many.as_bytes(), loose()), Err(BadList::Many));
    assert_eq!(read(Kind::Plain, b"# nothing today\n", loose()), Ok(Reading::default()));
}

#[test]
fn csv_columns_are_found_by_name() {
    let text = "\u{feff}# feed of today\nvalid_until,IP,confidence,reason,revoked,tlp\n\
        2026-12-01,203.0.113.1,95,\"scans, and \"\"worse\"\"\nsecond line\",,\n\
        2026-12-01T10:00:00Z,203.0.113.2,40,,false,TLP:AMBER\n\
        2026-12-01 10:00:00,203.0.113.3,,,,\n\
        ,203.0.113.4,0,,,\n,203.0.113.5,,,true,\n,203.0.113.6,,,,red\n\
        soon,203.0.113.7,,,,\n,203.0.113.8,101,,,\n,not a network,,,,\n,203.0.113.9,,,,purple\n";
    let reading = read(Kind::Csv, text.as_bytes(), terms(4, Tlp::Amber)).unwrap();
    assert_eq!(shown(&reading), ["203.0.113.1/32 3", "203.0.113.2/32 2", "203.0.113.3/32 4"]);
    let until = |n: usize| reading.indicators[n].until.to_string();
    assert_eq!(until(0), "2026-12-01T00:00:00.000000Z");
    assert_eq!([until(1), until(2)], ["2026-12-01T10:00:00.000000Z"; 2]);
    assert_eq!(reading.indicators[0].why.as_deref(), Some("scans, and \"worse\"second line"));
    assert_eq!(reading.indicators[1].tlp, Tlp::Amber);
    let LeftOut { bad, doubted, revoked, too_strict, .. } = reading.left_out;
    assert_eq!((bad, doubted, revoked, too_strict), (4, 1, 1, 1));
    assert_eq!(reading.left_out.bad_lines[0].line, 10);
}

#[test]
fn csv_without_a_header_lists_its_first_column() {
    let reading = read(Kind::Csv, b"203.0.113.1,x,y\n\"203.0.113.2\",z\n", loose()).unwrap();
    assert_eq!(shown(&reading), ["203.0.113.1/32 10", "203.0.113.2/32 10"]);
}

#[test]
fn the_format_is_guessed() {
    for (text, kind) in [
        ("# c\n203.0.113.1\n", Kind::Plain),
        ("\u{feff}  {\"type\":\"bundle\"}", Kind::Stix),
        ("# c\nip,level\n", Kind::Csv),
        ("\"ip\"\n", Kind::Csv),
        ("", Kind::Plain),
    ] {
        assert_eq!(Kind::guess(text), kind, "{text}");
    }
}

fn indicator(id: u32, modified: &str, value: &str) -> Value {
    json!({
        "type": "indicator",
        "spec_version": "2.1",
        "id": format!("indicator--{id:08}-0000-4000-8000-000000000000"),
        "created": "2026-01-01T00:00:00.000Z",
        "modified": modified,
        "pattern": format!("[ipv4-addr:value = '{value}']"),
        "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00Z",
    })
}

fn with(mut object: Value, members: &Value) -> Value {
    object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    object
}

fn stix(objects: &[Value], terms: Terms) -> Reading {
    let bundle = json!({ "type": "bundle", "id": "bundle--x", "objects": objects }).to_string();
    read(Kind::Stix, bundle.as_bytes(), terms).unwrap()
}

#[test]
fn the_newest_version_holds_and_a_revoked_one_lists_nothing() {
    let old = indicator(1, "2026-01-01T00:00:00.000Z", "203.0.113.1");
    let new = indicator(1, "2026-01-01T00:00:00.001Z", "203.0.113.2");
    let gone = with(
        indicator(1, "2026-01-01T00:00:00.0011111Z", "203.0.113.2"),
        &json!({ "revoked": true }),
    );
    let same = with(new.clone(), &json!({ "revoked": true }));
    assert_eq!(shown(&stix(&[new.clone(), old.clone()], loose())), ["203.0.113.2/32 10"]);
    for objects in [
        [old.clone(), new.clone(), gone.clone()],
        [gone, new.clone(), old],
        [same.clone(), new.clone(), new.clone()],
        [new.clone(), new, same],
    ] {
        let reading = stix(&objects, loose());
        assert_eq!((shown(&reading), reading.left_out.revoked), (vec![], 1));
    }
}

#[test]
fn confidence_is_a_level_and_the_terms_are_its_highest() {
    let sure = |confidence: Value| {
        with(
            indicator(1, "2026-01-01T00:00:00Z", "203.0.113.1"),
            &json!({ "confidence": confidence }),
        )
    };
    for (confidence, terms_level, expected) in [
        (json!(100), 10, Some(3)),
        (json!(70), 10, Some(3)),
        (json!(69), 10, Some(2)),
        (json!(30), 10, Some(2)),
        (json!(1), 10, Some(1)),
        (json!(0), 10, None),
        (json!(100), 2, Some(2)),
        (json!(null), 3, Some(3)),
    ] {
        let reading = stix(&[sure(confidence.clone())], terms(terms_level, Tlp::Red));
        let level = reading.indicators.first().map(|i| i.level.get());
        assert_eq!(level, expected, "{confidence} {terms_level}");
    }
    let kind = |kinds: Value| {
        with(
            indicator(1, "2026-01-01T00:00:00Z", "203.0.113.1"),
            &json!({ "indicator_types": kinds }),
        )
    };
    assert_eq!(shown(&stix(&[kind(json!(["benign"]))], loose())), Vec::<String>::new());
    assert_eq!(shown(&stix(&[kind(json!(["anonymization"]))], loose())), ["203.0.113.1/32 2"]);
    assert_eq!(
        shown(&stix(&[kind(json!(["anonymization", "malicious-activity"]))], loose())),
        ["203.0.113.1/32 10"]
    );
}

#[test]
fn markings_are_honoured_wherever_they_are_defined() {
    let marked = |id: &str| {
        with(
            indicator(1, "2026-01-01T00:00:00Z", "203.0.113.1"),
            &json!({ "object_marking_refs": [id], "name": "a\u{1b}[2Jname" }),
        )
    };
    let own = |id: &str, members: &Value| {
        with(json!({ "type": "marking-definition", "id": id }), members)
    };
    let old = own(
        "marking-definition--1",
        &json!({ "definition_type": "tlp", "definition": { "tlp": "red" } }),
    );
    let new = own(
        "marking-definition--2",
        &json!({ "extensions": { "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": { "extension_type": "property-extension", "tlp_2_0": "amber+strict" } } }),
    );
    for (id, tlp) in [
        ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Tlp::Red),
        ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", Tlp::Clear),
        ("marking-definition--1", Tlp::Red),
        ("marking-definition--2", Tlp::AmberStrict),
        ("marking-definition--nobody-defined-it", Tlp::AmberStrict),
    ] {
        let objects = [marked(id), old.clone(), new.clone()];
        let reading = stix(&objects, loose());
        assert_eq!(reading.indicators[0].tlp, tlp, "{id}");
        assert_eq!(reading.indicators[0].why.as_deref(), Some("a[2Jname"));
        let reading = stix(&objects, terms(3, Tlp::Amber));
        assert_eq!(reading.left_out.too_strict, usize::from(tlp > Tlp::Amber), "{id}");
    }
}

#[test]
fn what_cannot_be_read_is_counted_and_the_rest_is_read() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let good = indicator(1, "2026-01-01T00:00:00Z", "203.0.113.1");
    let late = with(
        indicator(2, "2026-01-01T00:00:00Z", "203.0.113.2"),
        &json!({ "valid_until": "some day" }),
    );
    let domain = with(
        indicator(3, "2026-01-01T00:00:00Z", ""),
        &json!({ "pattern": "[domain-name:value = 'a.example']" }),
    );
    let sigma = with(
        indicator(4, "2026-01-01T00:00:00Z", "203.0.113.4"),
        &json!({ "pattern_type": "sigma" }),
    );
    let text = format!(
        r#"{{"type":"bundle","objects":[{deep},{{"type":"indicator","id":"x","x":{deep}}},{good},{late},{domain},{sigma},7,{{"type":7}},{{"type":"malware","id":"malware--1"}},{{"type":"indicator","id":"{}"}}]}}"#,
        "i".repeat(500)
    );
    let reading = read(Kind::Stix, text.as_bytes(), loose()).unwrap();
    assert_eq!(shown(&reading), ["203.0.113.1/32 10"]);
    // Deep without end, not an object, not a type, too long an id, and an end that cannot be read.
    assert_eq!((reading.left_out.bad, reading.left_out.unsupported), (5, 3));
}

#[test]
fn pages_of_a_collection_become_a_bundle_of_what_is_read() {
    let page = |objects: &[Value], more: bool| {
        json!({ "more": more, "next": "a b&c", "objects": objects }).to_string()
    };
    let mut objects = Objects::default();
    let first = with(
        indicator(1, "2026-01-01T00:00:00Z", "203.0.113.1"),
        &json!({ "valid_until": "2026-12-01T00:00:00Z", "confidence": 80, "name": "why", "object_marking_refs": ["marking-definition--1"] }),
    );
    let said = objects.page(&page(&[first], true)).unwrap();
    assert_eq!((said.more, said.next.as_deref()), (true, Some("a b&c")));
    let marking = json!({ "type": "marking-definition", "id": "marking-definition--1", "definition": { "tlp": "green" } });
    let gone =
        with(indicator(2, "2026-01-01T00:00:00Z", "203.0.113.2"), &json!({ "revoked": true }));
    assert!(!objects.page(&page(&[marking, gone], false)).unwrap().more);
    assert_eq!(objects.page("{}").unwrap(), stix::Page::default());
    let again = Objects::read(&objects.to_bundle()).unwrap();
    assert_eq!(again.reading(loose()), objects.reading(loose()));
    assert_eq!(again.reading(loose()).unwrap().indicators[0].tlp, Tlp::Green);
    assert_eq!(again.to_bundle(), objects.to_bundle());
    assert!(Objects::read(r#"{"objects":[]}"#).is_err(), "an envelope is no bundle");
}

#[test]
fn a_warninglist_is_read_whole_or_not_at_all() {
    let list =
        WarningList::read("x", br#"{"name":"Cloud","list":["203.0.113.0/24","2001:db8::/32"]}"#);
    assert_eq!(list.unwrap().networks.len(), 2);
    assert!(WarningList::read("x", br#"{"list":["203.0.113.0/24","a.example"]}"#).is_err());
    assert!(WarningList::read("x", b"{}").is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        for kind in [Kind::Plain, Kind::Csv, Kind::Stix] {
            let _any = read(kind, &bytes, loose());
        }
        let _any = WarningList::read("x", &bytes);
        let _any = places::Database::<places::Asn>::read(bytes);
    }

    #[test]
    fn no_text_like_a_list_panics(text in "([0-9a-f.:/,\"#; \n'\\\\\\[\\](){}=]|ip|ipv4-addr:value|ISSUBSET|OR|level|\u{e9})*") {
        for kind in [Kind::Plain, Kind::Csv] {
            let _any = read(kind, text.as_bytes(), loose());
        }
        let _any = pattern::networks(&text);
        let object = json!({ "type": "indicator", "id": text, "pattern": text, "modified": text });
        let bundle = json!({ "type": "bundle", "objects": [object] }).to_string();
        let _any = read(Kind::Stix, bundle.as_bytes(), loose());
    }

    #[test]
    fn the_order_of_objects_changes_nothing(
        versions in proptest::collection::vec((0_u32..3, 0_u32..3, 0_u32..4, any::<bool>()), 0..12),
        seed: u64,
    ) {
        let object = |&(id, modified, value, revoked): &(u32, u32, u32, bool)| with(
            indicator(id, &format!("2026-01-01T00:00:0{modified}Z"), &format!("203.0.113.{value}")),
            &json!({ "revoked": revoked }),
        );
        let mut objects: Vec<Value> = versions.iter().map(object).collect();
        let forth = stix(&objects, loose());
        objects.sort_by_key(|o| o.to_string().bytes().fold(seed, |hash, b| hash.wrapping_mul(31) ^ u64::from(b)));
        prop_assert_eq!(forth, stix(&objects, loose()));
    }
}
