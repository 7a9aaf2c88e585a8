use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::path::Path;

/// Every file of the corpus, by name.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cyclonedx-1.6");
    read_folder(&folder)
}

#[expect(clippy::disallowed_methods, reason = "test data is read from files")]
fn read_folder(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_of_the_specifications_own_corpus_is_judged_right() {
    let files = corpus();
    assert_eq!(files.len(), 35);
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        let judged = Sbom::parse(&bytes);
        if judged.is_ok() != name.starts_with("valid-") {
            wrong.push(format!("{name}: {:?}", judged.err()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_refusal_names_the_place_and_the_reason() {
    let refusals: Vec<String> = corpus()
        .iter()
        .filter_map(|(name, bytes)| Some(format!("{name}: {}", Sbom::parse(bytes).err()?)))
        .collect();
    expect![[r#"
        invalid-bomformat-1.6.json: `/bomFormat` "AnotherFormat" is not one of "CycloneDX"
        invalid-component-swid-1.6.json: `/components/0/swid` the member `tagId` is missing
        invalid-dependency-1.6.json: `/dependencies/0` the member `ref` is missing
        invalid-hash-alg-1.6.json: `/components/0/hashes/0/alg` "FOO" is not one of "MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-384", "SHA3-512", "BLAKE2b-256", "BLAKE2b-384", "BLAKE2b-512", "BLAKE3"
        invalid-hash-sha1-1.6.json: `/components/0/hashes/1/content` "foo" is not of the form `^([a-fA-F0-9]{32}|[a-fA-F0-9]{40}|[a-fA-F0-9]{64}|[a-fA-F0-9]{96}|[a-fA-F0-9]{128})$`
        invalid-hash-sha512-1.6.json: `/components/0/hashes/3/content` "foo" is not of the form `^([a-fA-F0-9]{32}|[a-fA-F0-9]{40}|[a-fA-F0-9]{64}|[a-fA-F0-9]{96}|[a-fA-F0-9]{128})$`
        invalid-license-choice-1.6.json: `/components/0/licenses/0/expression` is not a member that belongs here
        invalid-license-encoding-1.6.json: `/components/0/licenses/0/license/text/encoding` "base85" is not one of "base64"
        invalid-license-missing-id-and-name-1.6.json: `/components/0/licenses/0/license` the member `id` is missing
        invalid-metadata-timestamp-1.6.json: `/metadata/timestamp` "2020-04-13" is not an RFC 3339 date and time with an offset
        invalid-patch-type-1.6.json: `/components/0/pedigree/patches/0/type` "foo" is not one of "unofficial", "monkey", "backport", "cherry-pick"
        invalid-scope-1.6.json: `/components/0/scope` "foo" is not one of "required", "optional", "excluded"
        invalid-service-data-1.6.json: `/services/0/data/0/flow` "bar" is not one of "inbound", "outbound", "bi-directional", "unknown""#]].assert_eq(&refusals.join("\n"));
}

#[test]
fn neighbouring_versions_are_judged_by_their_own_schema() {
    let text = |version: &str, member: &str| {
        format!(r#"{{"bomFormat":"CycloneDX","specVersion":"{version}","version":1{member}}}"#)
    };
    for version in ["1.4", "1.5", "1.6", "1.7"] {
        assert_eq!(Sbom::parse(text(version, "").as_bytes()).err(), None, "{version}");
    }
    let since = |member: &str| {
        let versions = ["1.4", "1.5", "1.6", "1.7"];
        versions.into_iter().find(|version| Sbom::parse(text(version, member).as_bytes()).is_ok())
    };
    assert_eq!(since(r#","annotations":[]"#), Some("1.5"));
    assert_eq!(since(r#","declarations":{}"#), Some("1.6"));
    assert_eq!(since(r#","citations":[]"#), Some("1.7"));
    check(&text("1.3", ""), expect!["`/specVersion` is not one of `1.4`, `1.5`, `1.6`, `1.7`"]);
    check(&text("2.0", ""), expect!["`/specVersion` is not one of `1.4`, `1.5`, `1.6`, `1.7`"]);
    check(
        r#"{"bomFormat":"CycloneDX","specVersion":"1.4"}"#,
        expect!["`` the member `version` is missing"],
    );
    check(
        r#"{"bomFormat":"CycloneDX"}"#,
        expect!["`/specVersion` is not one of `1.4`, `1.5`, `1.6`, `1.7`"],
    );
}

#[test]
fn hostile_shapes_are_refused_with_their_place() {
    check(
        &minimal(
            r#""components":[{"type":"library","name":"a","bom-ref":"x"},{"type":"library","name":"b","bom-ref":"x"}]"#,
        ),
        expect!["`/components/1/bom-ref` `x` already refers to something else"],
    );
    check(
        &minimal(r#""components":[{"type":"library","name":"a"},{"name":"a","type":"library"}]"#),
        expect!["`/components/1` stands in the list twice"],
    );
    check(
        &minimal(r#""components":[{"type":"library","name":"a","name":"b"}]"#),
        expect![
            "the SBOM is not acceptable JSON: the member `name` stands twice at line 1 column 94"
        ],
    );
    check(
        &minimal(r#""components":[{"type":"libary","name":"a"}]"#),
        expect![[
            r#"`/components/0/type` "libary" is not one of "application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver", "firmware", "file", "machine-learning-model", "data", 1 more"#
        ]],
    );
    check(
        &minimal(r#""components":[{"type":"library","name":"a","owner":"b"}]"#),
        expect!["`/components/0/owner` is not a member that belongs here"],
    );
    check(
        &minimal(r#""components":[{"type":"library","name":1}]"#),
        expect!["`/components/0/name` must be a string, is a number"],
    );
    check(
        &minimal(
            r#""components":[{"type":"library","name":"a","licenses":[{"license":{"id":"MIT","name":"MIT"}}]}]"#,
        ),
        expect![
            "`/components/0/licenses/0/license` is of two forms at once, of which only one may stand"
        ],
    );
    check(
        &minimal(
            r#""components":[{"type":"library","name":"a","licenses":[{"license":{"id":"Nobody-1.0"}}]}]"#,
        ),
        expect![[
            r#"`/components/0/licenses/0/license/id` "Nobody-1.0" is not one of "0BSD", "3D-Slicer-1.0", "AAL", "Abstyles", "AdaCore-doc", "Adobe-2006", "Adobe-Display-PostScript", "Adobe-Glyph", "Adobe-Utopia", "ADSL", "Advanced-Cryptics-Dictionary", "AFL-1.1", 799 more"#
        ]],
    );
    check(
        &minimal(
            r#""components":[{"type":"library","name":"a","externalReferences":[{"type":"home","url":"https://a"}]}]"#,
        ),
        expect![[
            r#"`/components/0/externalReferences/0/type` "home" is not one of "vcs", "issue-tracker", "website", "advisories", "bom", "mailing-list", "social", "chat", "documentation", "support", "source-distribution", "distribution", 31 more"#
        ]],
    );
    check(
        &minimal(r#""metadata":{"authors":[{"email":"nobody"}]}"#),
        expect![[r#"`/metadata/authors/0/email` "nobody" is not an e-mail address"#]],
    );
    check(
        &minimal(r#""serialNumber":"urn:uuid:3E671687-395B-41F5-A30F-A58921A69B79""#),
        expect![[
            r#"`/serialNumber` "urn:uuid:3E671687-395B-41F5-A30F-A58921A69B79" is not of the form `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`"#
        ]],
    );
    check(
        &minimal(r#""signature":{"algorithm":"ES256"}"#),
        expect!["`/signature/algorithm` is not a member that belongs here"],
    );
    check("[]", expect!["`/specVersion` is not one of `1.4`, `1.5`, `1.6`, `1.7`"]);
    check(
        "",
        expect!["the SBOM is not acceptable JSON: EOF while parsing a value at line 1 column 0"],
    );
}

#[test]
fn size_and_count_are_bounded() {
    assert_eq!(Sbom::parse(&vec![b' '; BYTES_MAX + 1]), Err(BadSbom::TooLarge));
    let list = |from: usize, count: usize| {
        let names = (from..from + count).map(|n| format!(r#"{{"type":"file","name":"{n}"}}"#));
        names.collect::<Vec<_>>().join(",")
    };
    let nested = |inner: usize| {
        let flat = list(0, 50_000);
        let (first, inner) = (r#"{"type":"file","name":"outer","components":["#, list(0, inner));
        minimal(&format!(r#""components":[{flat},{first}{inner}]}}]"#))
    };
    assert_eq!(Sbom::parse(nested(49_999).as_bytes()).unwrap().components.len(), 100_000);
    assert_eq!(Sbom::parse(nested(50_000).as_bytes()), Err(BadSbom::TooManyComponents));
}

#[test]
fn components_at_any_depth_are_found() {
    let sbom = Sbom::parse(
        minimal(
            r#""metadata":{"timestamp":"2026-03-01T12:00:00+01:00","component":{"type":"application","name":"app","bom-ref":"root","components":[{"type":"library","name":"in-app"}]}},
            "components":[{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1","components":[{"type":"library","name":"b"}]}]"#,
        )
        .as_bytes(),
    )
    .unwrap();
    let names: Vec<&str> = sbom.components.iter().map(|component| &*component.name).collect();
    assert_eq!(names, ["app", "in-app", "a", "b"]);
    assert_eq!(sbom.components[0].bom_ref.as_deref(), Some("root"));
    assert_eq!(sbom.components[2].purl, Purl::parse("pkg:npm/a@1").ok());
    assert_eq!(sbom.made.unwrap().to_string(), "2026-03-01T11:00:00.000000Z");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is done to a valid file, reading it ends in an answer.
    #[test]
    fn mutated_files_never_panic(which in 0_usize..35, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..8)) {
        let (_, mut bytes) = corpus().swap_remove(which);
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len().max(1));
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => { bytes.remove(at); }
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        let _ = Sbom::parse(&bytes);
    }
}

/// A 1.6 document with `members`.
fn minimal(members: &str) -> String {
    format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6",{members}}}"#)
}

#[rustfmt::skip]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&Sbom::parse(text.as_bytes()).unwrap_err().to_string());
}
