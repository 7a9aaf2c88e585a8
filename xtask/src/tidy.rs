//! Checks on the tree itself: which crate may lean on which, that core crates do no I/O, that nothing stray lies about.

use crate::standards::{self, Sources, Tally};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// For each crate, the crates of this workspace it may depend on. A crate that is not listed may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("credential", &["model"]),
    ("policy", &["model", "credential"]),
    ("disclosure", &["model", "policy"]),
    ("authority", &["model", "credential"]),
    ("sever", &["model"]),
    ("ledger", &["model"]),
    ("detection", &["model"]),
    ("exposure", &["model", "ledger"]),
    ("incident", &["model", "ledger"]),
    ("vetting", &["model", "credential"]),
    ("rehearsal", &["model", "detection"]),
    ("storage", CORE),
    ("opendata", CORE_AND_STORAGE),
    ("gateway", CORE_AND_STORAGE),
    ("control", CORE_AND_STORAGE),
    ("simulation", CORE_AND_STORAGE),
    (
        "portcullis",
        &[
            "model",
            "credential",
            "policy",
            "disclosure",
            "authority",
            "sever",
            "ledger",
            "detection",
            "exposure",
            "incident",
            "incident",
            "vetting",
            "storage",
            "gateway",
            "control",
            "opendata",
            "rehearsal",
        ],
    ),
    ("xtask", &[]),
];

const CORE: &[&str] = &[
    "model",
    "credential",
    "policy",
    "disclosure",
    "authority",
    "sever",
    "ledger",
    "detection",
    "exposure",
    "incident",
    "vetting",
];
const CORE_AND_STORAGE: &[&str] = &[
    "model",
    "credential",
    "policy",
    "disclosure",
    "authority",
    "sever",
    "ledger",
    "detection",
    "exposure",
    "incident",
    "vetting",
    "storage",
];

/// Crates that do I/O, keep time or spawn: never in a core crate's normal dependencies.
const SHELL_ONLY: &[&str] =
    &["tokio", "hyper", "axum", "sqlx", "rustls", "nix", "socket2", "rand", "tracing"];

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

/// Runs every check and reports all that is wrong at once.
///
/// # Errors
/// If anything is wrong, or `cargo metadata` or `git` cannot be run.
pub(crate) fn check(root: &Path) -> Result<Tally> {
    let mut wrong = Vec::new();
    let depends = dependencies(root)?;
    direction(&depends, &mut wrong);
    core_purity(root, &depends, &mut wrong);
    let rules = std::fs::read_to_string(root.join("clippy.toml")).unwrap_or_default();
    if !rules.contains(r#"path = "storage::clock::leap""#) {
        wrong.push("clippy.toml does not ban `storage::clock::leap` (decision 0033)".to_owned());
    }
    let sources = sources(root)?;
    files(&sources, &mut wrong);
    let tally = standards::check(root, &sources, &mut wrong)?;
    if wrong.is_empty() {
        return Ok(tally);
    }
    bail!("the tree is not tidy:\n  {}", wrong.join("\n  "))
}

/// Normal dependencies of each crate of the workspace, by name.
fn dependencies(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(root)
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)))?;
    let mut depends = BTreeMap::new();
    for package in
        metadata.pointer("/packages").and_then(|packages| packages.as_array()).into_iter().flatten()
    {
        let name = package
            .pointer("/name")
            .and_then(|name| name.as_str())
            .context("a package has a name")?;
        let normal =
            package.pointer("/dependencies").and_then(|list| list.as_array()).into_iter().flatten();
        let normal = normal.filter(|dependency| {
            dependency.pointer("/kind").is_some_and(serde_json::Value::is_null)
        });
        let names = normal
            .filter_map(|dependency| dependency.pointer("/name")?.as_str().map(str::to_owned));
        depends.insert(name.to_owned(), names.collect());
    }
    Ok(depends)
}

fn direction(depends: &BTreeMap<String, BTreeSet<String>>, wrong: &mut Vec<String>) {
    for (name, on) in depends {
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == name) else {
            wrong.push(format!(
                "crate `{name}` is not in the dependency rules of xtask/src/tidy.rs"
            ));
            continue;
        };
        for other in on
            .iter()
            .filter(|other| depends.contains_key(*other) && !allowed.contains(&other.as_str()))
        {
            wrong.push(format!("crate `{name}` must not depend on `{other}`"));
        }
    }
}

fn core_purity(root: &Path, depends: &BTreeMap<String, BTreeSet<String>>, wrong: &mut Vec<String>) {
    for name in CORE.iter().filter(|name| depends.contains_key(**name)) {
        for banned in SHELL_ONLY
            .iter()
            .filter(|banned| depends.get(*name).is_some_and(|on| on.contains(**banned)))
        {
            wrong.push(format!("core crate `{name}` must not depend on `{banned}`"));
        }
        let rules = std::fs::read_to_string(root.join("crates").join(name).join("clippy.toml"))
            .unwrap_or_default();
        for banned in
            ["SystemTime::now", "Instant::now", "thread::spawn", "fs::File", "net::TcpStream"]
        {
            if !rules.contains(banned) {
                wrong.push(format!("crates/{name}/clippy.toml does not ban `{banned}`"));
            }
        }
    }
}

/// The Rust files of the tree that are not ignored.
fn sources(root: &Path) -> Result<Sources> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    let output = Command::new("git").args(list).current_dir(root).output()?;
    let mut sources = Sources::new();
    for path in String::from_utf8(output.stdout)?.lines() {
        // What git lists and was deleted is as good as not listed.
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        sources.insert(path.to_owned(), text);
    }
    Ok(sources)
}

fn files(sources: &Sources, wrong: &mut Vec<String>) {
    for (path, text) in sources {
        let name = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
        if EMPTY_NAMES.contains(&name) {
            wrong.push(format!("{path}: the name says nothing about what is in it"));
        }
        if path.starts_with("crates/") && path.contains("/src/") {
            let is_tests = path.ends_with("tests.rs") || path.contains("/tests/");
            if !is_tests && !text.starts_with("//!") {
                wrong.push(format!("{path}: starts with no `//!` line that says what it is for"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        check(&crate::root().unwrap()).unwrap();
    }

    #[test]
    fn a_forbidden_dependency_is_named() {
        let mut wrong = Vec::new();
        let names =
            |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let depends = BTreeMap::from([
            ("ledger".to_owned(), names(&["model", "gateway"])),
            ("gateway".to_owned(), names(&[])),
            ("model".to_owned(), names(&[])),
        ]);
        direction(&depends, &mut wrong);
        assert_eq!(wrong, ["crate `ledger` must not depend on `gateway`"]);
    }
}
