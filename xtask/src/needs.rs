//! Installs what the tests need beyond a Rust toolchain, and says why each thing is needed.

use crate::{run, say};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Debian package, the command that only works once it is installed, why.
const DEBIAN: &[(&str, &[&str], &str)] = &[
    ("gcc", &["cc", "--version"], "a C compiler, for the cryptography library"),
    (
        "nodejs",
        &["node", "--version"],
        "runs the OAuth client and the API server that nobody here wrote",
    ),
    ("npm", &["npm", "--version"], "installs them"),
    (
        "python3-venv",
        &["python3", "-m", "ensurepip", "--version"],
        "runs the mail server, the verifiers, the witness and the query engines that nobody here wrote",
    ),
    ("openssl", &["openssl", "version"], "makes client certificates and connects with them"),
    ("curl", &["curl", "--version"], "shows client certificates"),
    ("chromium", &["chromium", "--version"], "the browser that the console is tested in"),
    (
        "strace",
        &["strace", "--version"],
        "shows that nothing is written to a socket once a cut was acknowledged",
    ),
];

/// Installs whatever is missing. Needs the Debian, npm and crates registries, and root for the first.
pub(crate) fn install(root: &Path) -> Result<()> {
    let mut listed = false;
    for (package, command, why) in DEBIAN {
        if !command.split_first().is_some_and(|(program, args)| is_there(program, args)) {
            say(&format!("installing the Debian package {package}: {why}"));
            if !std::mem::replace(&mut listed, true) {
                // A new machine knows no packages yet.
                run(Command::new("apt-get").args(["update", "--quiet"]))?;
            }
            // Another one may be at work.
            let patient = ["-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=5"];
            run(Command::new("apt-get")
                .args(patient)
                .args(["install", "--yes", "--quiet", package]))
            .with_context(|| format!("install `{package}` by hand, then run this again"))?;
        }
    }
    let foreign = root.join("tests/foreign");
    if foreign.join("package.json").exists() && !is_installed(&foreign)? {
        say(
            "installing npm packages: oauth4webapi and openid-client (OAuth clients), oidc-provider (an OpenID provider and authorization server), \
             @simplewebauthn/server (a verifier of passkeys), prism (an API server made from an OpenAPI document), \
             playwright-core (drives a browser, downloads none), axe-core (finds what keeps people from using a page)",
        );
        run(Command::new("npm").args(["ci", "--no-fund", "--no-audit"]).current_dir(&foreign))?;
    }
    let (venv, wanted) = (foreign.join("venv"), foreign.join("requirements.txt"));
    if wanted.exists() && !is_same(&venv.join("requirements.txt"), &wanted)? {
        say(
            "installing Python packages, a gigabyte of them: aiosmtpd (a mail server), dkimpy (a DKIM verifier), aics-witness and aics-tlog \
             (a witness and a client of transparency logs), proofbundle (a verifier of tlog-proof files), cryptography (for the \
             second verifier of evidence), http-message-signatures (a signer of requests), duckdb and chdb-core (engines that \
             read exported Parquet), ocsf-json-schema and jsonschema (the published schemas of events, and a validator), authlib (an OAuth \
             client and resource server), schemathesis (holds answers against an OpenAPI document)",
        );
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("install the Debian package python3-venv by hand, then run this again")?;
        run(Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&wanted))?;
        // Copied last, so that an installation that was broken off is begun again.
        std::fs::copy(&wanted, venv.join("requirements.txt"))?;
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

/// Whether two files hold the same.
fn is_same(copy: &Path, original: &Path) -> Result<bool> {
    Ok(copy.exists() && std::fs::read(copy)? == std::fs::read(original)?)
}

fn is_there(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}
