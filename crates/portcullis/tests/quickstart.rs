//! The quickstart's commands, run as written.
//!
//! Its ports are fixed, as a reader's are, so it runs in a network namespace of its own; where none can be made it is left out
//! and says so.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every block of shell that is marked to be run.
fn blocks(text: &str) -> String {
    let mut script = String::new();
    let mut within = false;
    for line in text.lines() {
        match line {
            "```sh" => within = true,
            "```" => within = false,
            _ if within => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_quickstart_works_as_written() -> Result<()> {
    let namespace = Command::new("unshare").args(["--net", "true"]).status();
    if !namespace.is_ok_and(|made| made.success()) {
        eprintln!("left out, because no network namespace can be made here: the quickstart");
        return Ok(());
    }
    // A clone of what matters, so that nothing is left in the tree whatever happens.
    let folder = tempfile::tempdir()?;
    let docs = folder.path().join("docs");
    std::fs::create_dir_all(docs.join("quickstart"))?;
    for entry in std::fs::read_dir(root().join("docs/quickstart"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), docs.join("quickstart").join(entry.file_name()))?;
    }
    let script = blocks(&std::fs::read_to_string(root().join("docs/quickstart.md"))?);
    ensure!(script.contains("portcullis init") && script.contains("portcullis sever"), "{script}");
    let binary = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().context("a folder")?;
    let path = format!("{}:{}", binary.display(), std::env::var("PATH")?);
    // A command that fails ends the script, as it would a reader's patience.
    let script = format!("set -e\nip link set lo up\n{script}echo the end\n");
    let output = Command::new("unshare")
        .args(["--net", "bash", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && text.ends_with("the end\n"), "{all}");
    // What a reader is told to see.
    for seen in [
        "every check passed",
        r#"{"id": "acc_000007", "name": "Hana", "email": "hana.7@mail.example"}"#,
        "urn:portcullis:problem:not_found",
        "acc_000007",
        "confirmed",
        "the log is what its checkpoint signs",
    ] {
        ensure!(all.contains(seen), "`{seen}` is missing in:\n{all}");
    }
    // `contract check` names them, and nothing else does.
    let data = text.lines().filter(|line| !line.starts_with("  /components/"));
    let data = data.collect::<Vec<_>>().join("\n");
    ensure!(!data.contains("risk_score") && !data.contains("tenant\":"), "{text}");
    Ok(())
}
