//! What the project does to itself: installs what the tests need, runs every check, keeps the tree tidy.

mod needs;
mod standards;
mod tidy;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const USAGE: &str = "\
cargo xtask test     install what the tests need, then run every test and check
cargo xtask tidy     only the checks on the tree itself: dependency direction, core purity, stray files, tables of standards
cargo xtask standards  each demand of a standard with the lines that meet it and the tests, then what is not met
cargo xtask needs    only install what the tests need, saying what and why

`cargo test` alone passes with nothing installed; it leaves out the tests against foreign clients and servers.";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let root = root()?;
    match words.as_slice() {
        ["test"] => test(&root),
        ["tidy"] => tidy::check(&root).map(|tally| say(&tally.summary())),
        ["standards"] => {
            let tally = tidy::check(&root)?;
            tally.met.iter().chain(&tally.not_met).for_each(|row| say(row));
            say(&tally.summary());
            Ok(())
        }
        ["needs"] => needs::install(&root),
        _ => bail!("{USAGE}"),
    }
}

/// Cheap checks first, so that a slip is known before the long ones run.
fn test(root: &Path) -> Result<()> {
    let started = Instant::now();
    say(&tidy::check(root)?.summary());
    cargo(root, &["fmt", "--all", "--check"], &[])?;
    needs::install(root)?;
    cargo(root, &["deny", "--locked", "check", "bans", "licenses", "sources"], &[])?;
    cargo(
        root,
        &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &[],
    )?;
    cargo(
        root,
        &["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    cargo(root, &["test", "--locked", "--workspace", "--no-run"], &[])?;
    // A node refuses while its disk stands still for two seconds, as one does that still takes in what was built.
    run(&mut Command::new("sync"))?;
    cargo(
        root,
        &["test", "--locked", "--workspace", "--no-fail-fast"],
        &[("PORTCULLIS_FOREIGN_TESTS", "1")],
    )?;
    say(&format!("every check passed in {} s", started.elapsed().as_secs()));
    Ok(())
}

fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    run(Command::new("cargo").args(args).envs(env.iter().copied()).current_dir(root))
}

/// Runs a command to its end, showing it and how long it took.
fn run(command: &mut Command) -> Result<()> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let line = words.join(std::ffi::OsStr::new(" ")).to_string_lossy().into_owned();
    say(&format!("$ {line}"));
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    say(&format!("  {} s", started.elapsed().as_secs()));
    Ok(())
}

fn say(line: &str) {
    use std::io::Write;
    // Progress is for a person; with nobody to read it there is nothing to do about it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(Path::to_path_buf).context("xtask stands in the workspace root")
}
