//! Each case under `must_not_compile` differs from its twin under `compiles` in one line, the one with the missing proof,
//! so that nothing else can be what the compiler refuses. The doc tests of `src/must_not_compile.rs` compile both.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn cases_and_twins_differ_in_one_line() {
    let cases = names("must_not_compile");
    assert_eq!(cases, names("compiles"), "a case without a twin, or a twin without a case");
    assert!(cases.len() >= 19, "a case is gone: {cases:?}");
    for name in &cases {
        let [case, twin] = ["must_not_compile", "compiles"]
            .map(|kind| fs::read_to_string(directory(kind).join(name)).unwrap());
        assert_eq!(case.lines().count(), twin.lines().count(), "{name}");
        let differing = case.lines().zip(twin.lines()).filter(|(case, twin)| case != twin).count();
        assert_eq!(differing, 1, "{name}");
    }
}

#[test]
fn every_case_is_compiled() {
    let listed = include_str!("../src/must_not_compile.rs");
    let (_, list) = listed.split_once("twins! {").unwrap();
    let listed: BTreeSet<_> = list
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, _)| format!("{name}.rs"))
        .collect();
    assert_eq!(listed, names("must_not_compile"));
}

fn names(kind: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory(kind)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn directory(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(kind)
}
