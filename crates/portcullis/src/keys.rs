//! The node's secret keys: made once, kept as files that only their owner can read.

use anyhow::{Context, Result, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The 32-byte secrets of a node, by file name.
pub(crate) const NAMES: [&str; 4] =
    ["log.key", "token.key", "vault-index.key", "vault-wrapping.key"];

/// 32 bytes from the operating system.
///
/// # Errors
/// If it has no randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().context("the system has no randomness")?;
    Ok(bytes)
}

/// Writes a secret to a file that did not exist, for its owner only.
///
/// # Errors
/// If it exists, or cannot be written.
pub(crate) fn write(path: &Path, secret: &[u8]) -> Result<()> {
    let what = || format!("cannot write the key `{}`", path.display());
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(path).with_context(what)?;
    file.write_all(secret).and_then(|()| file.sync_all()).with_context(what)
}

/// Reads a secret of 32 bytes.
///
/// # Errors
/// If others can read the file, or it is not 32 bytes long.
pub(crate) fn read(path: &Path) -> Result<[u8; 32]> {
    let secret = read_private(path)?;
    secret
        .try_into()
        .ok()
        .with_context(|| format!("the key `{}` is not 32 bytes long", path.display()))
}

/// Reads the value of an `Authorization` header; a line end behind it is not part of it.
///
/// # Errors
/// If others can read the file, or it holds anything but one line of visible ASCII.
pub(crate) fn read_authorization(path: &Path) -> Result<Vec<u8>> {
    let secret = read_private(path)?;
    let value = secret.trim_ascii();
    //= RFC 9110 section 5.5: visible ASCII and spaces; never a line end, which would begin another field
    if value.is_empty() || !value.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic()) {
        bail!("`{}` is not one line, such as `Bearer ...`", path.display());
    }
    Ok(value.to_vec())
}

/// Reads a secret file of any length.
///
/// # Errors
/// If others can read it.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("cannot read the key `{}`", path.display());
    let mode = std::fs::metadata(path).with_context(what)?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "the key `{}` can be read by others: chmod 600 it, and rotate it if that was so for long",
            path.display()
        );
    }
    std::fs::read(path).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_is_one_line_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, secret: &[u8]| {
            let path = dir.path().join(name);
            write(&path, secret).unwrap();
            read_authorization(&path)
        };
        assert_eq!(read("line", b"Bearer abc\n").unwrap(), b"Bearer abc");
        assert!(read("two", b"Bearer abc\r\nx-role: admin").is_err());
        assert!(read("nothing", b"\n").is_err());
        let open = dir.path().join("open");
        std::fs::write(&open, "Bearer abc").unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        assert!(read_authorization(&open).is_err());
    }
}
