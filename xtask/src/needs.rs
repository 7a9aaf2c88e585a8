//! Installs what the tests need beyond a Rust toolchain, and says why each thing is needed.

use crate::{run, say};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Debian package, the program whose presence shows it is installed, why.
const DEBIAN: &[(&str, &str, &str)] = &[
    ("gcc", "cc", "a C compiler, for the cryptography library"),
    ("nodejs", "node", "runs the OAuth client and the API server that nobody here wrote"),
    ("npm", "npm", "installs them"),
    ("strace", "strace", "shows that nothing is written to a socket once a cut was acknowledged"),
];

/// Installs whatever is missing. Needs the Debian, npm and crates registries, and root for the first.
pub(crate) fn install(root: &Path) -> Result<()> {
    for (package, program, why) in DEBIAN {
        if !is_there(program, &["--version"]) {
            say(&format!("installing the Debian package {package}: {why}"));
            run(Command::new("apt-get").args(["install", "--yes", "--quiet", package]))
                .with_context(|| format!("install `{package}` by hand, then run this again"))?;
        }
    }
    let foreign = root.join("tests/foreign");
    if foreign.join("package.json").exists() && !is_installed(&foreign)? {
        say(
            "installing npm packages: oauth4webapi (an OAuth client), prism (an API server made from an OpenAPI document)",
        );
        run(Command::new("npm").args(["ci", "--no-fund", "--no-audit"]).current_dir(&foreign))?;
    }
    if !is_there("cargo", &["deny", "--version"]) {
        say(
            "installing cargo-deny: licences, sources and banned crates are checked; this compiles for some minutes",
        );
        run(Command::new("cargo").args([
            "install",
            "cargo-deny",
            "--locked",
            "--version",
            "0.20.2",
        ]))?;
    }
    Ok(())
}

/// npm leaves a copy of the lock it installed; while both say the same there is nothing to do.
fn is_installed(foreign: &Path) -> Result<bool> {
    let installed = foreign.join("node_modules/.package-lock.json");
    if !installed.exists() {
        return Ok(false);
    }
    let age = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
    Ok(age(&installed)? >= age(&foreign.join("package-lock.json"))?)
}

fn is_there(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}
