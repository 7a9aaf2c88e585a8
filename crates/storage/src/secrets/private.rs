//! Whether secret files are their owner's alone: checked before any is read, and never mended silently. A secret that others could read
//! may have been read.

use super::DIR;
use rustix::process::geteuid;
use std::fs::{Metadata, OpenOptions, read_dir, symlink_metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret file.
const BYTES_MAX: usize = 1 << 20;

/// Why a file is not taken for a secret. The operator has to act.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// The file system refused.
    #[error("cannot read the secret `{path}`")]
    Disk {
        /// Which.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Others can read it, or could put another in its place.
    #[error(
        "`{path}` is open to others (mode {mode:04o}): chmod {wanted} {path}, and change the secrets in it if that was so for long"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// As it is.
        mode: u32,
        /// As it should be.
        wanted: &'static str,
    },
    /// It is somebody else's.
    #[error(
        "`{path}` is of user {owner}, and this runs as user {we}: run it as the owner, or chown it if it should be yours"
    )]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
        /// Who asks.
        we: u32,
    },
    /// A link or a device.
    #[error("`{0}` is neither a file nor a directory: put the file itself there")]
    Kind(PathBuf),
    /// Too long for a secret.
    #[error("`{0}` is longer than a secret")]
    Long(PathBuf),
}

/// Checks `keys/` of a data directory and everything in it: ours, directories 0700, files 0600 unless they are public, no links.
///
/// # Errors
/// [`NotPrivate`], for the first that is not.
pub fn check_directory(data: &Path) -> Result<(), NotPrivate> {
    check_below(&data.join(DIR))
}

fn check_below(path: &Path) -> Result<(), NotPrivate> {
    let failed = |source| NotPrivate::Disk { path: path.to_owned(), source };
    let found = symlink_metadata(path).map_err(failed)?;
    if found.is_dir() {
        owned(path, &found)?;
        closed(path, &found, 0o077, "700")?;
        for entry in read_dir(path).map_err(failed)? {
            match check_below(&entry.map_err(failed)?.path()) {
                // The node that runs has given it its name meanwhile.
                Err(NotPrivate::Disk { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                checked => checked?,
            }
        }
        return Ok(());
    }
    if !found.is_file() {
        return Err(NotPrivate::Kind(path.to_owned()));
    }
    owned(path, &found)?;
    let forbidden = if may_be_public(path) { 0o022 } else { 0o077 };
    closed(path, &found, forbidden, "600")
}

/// Reads a secret that the configuration names, wherever it is. It may be a link, and root's: secrets that a service manager hands over are.
///
/// # Errors
/// [`NotPrivate`].
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, NotPrivate> {
    let failed = |source| NotPrivate::Disk { path: path.to_owned(), source };
    // Opening a pipe would wait for who writes to it.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file =
        OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(NotPrivate::Kind(path.to_owned()));
    }
    if found.uid() == 0 && !geteuid().is_root() {
        // Root's is given to a service through its group, or through a list that shows as the group's rights.
        closed(path, &found, 0o037, "440")?;
    } else {
        owned(path, &found)?;
        closed(path, &found, 0o077, "600")?;
    }
    let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
    if length > BYTES_MAX {
        return Err(NotPrivate::Long(path.to_owned()));
    }
    // Of this size from the beginning: a buffer that grows leaves copies behind.
    let mut secret = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut secret).map_err(failed)?;
    Ok(secret)
}

fn owned(path: &Path, found: &Metadata) -> Result<(), NotPrivate> {
    let (owner, we) = (found.uid(), geteuid().as_raw());
    if owner == we { Ok(()) } else { Err(NotPrivate::Owner { path: path.to_owned(), owner, we }) }
}

fn closed(
    path: &Path,
    found: &Metadata,
    forbidden: u32,
    wanted: &'static str,
) -> Result<(), NotPrivate> {
    let mode = found.mode() & 0o7777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(NotPrivate::Open { path: path.to_owned(), mode, wanted })
}

/// By its name; [`super::KeyFiles::names`] looks inside. One that turns out to hold a private key is refused when it is read.
fn may_be_public(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    end.is_some_and(|end| super::PUBLIC_ENDS.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn whatever_is_open_to_others_is_refused_with_what_to_type() {
        let data = tempfile::tempdir().unwrap();
        let keys = data.path().join(DIR);
        fs::create_dir_all(keys.join("recipients")).unwrap();
        let set = |path: &str, mode| {
            let path = keys.join(path);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for file in ["token.key", "recipients/a.key", "log.pub", "dkim.pem"] {
            fs::write(keys.join(file), "secret").unwrap();
        }
        let said = || check_directory(data.path()).map_err(|bad| bad.to_string());
        let usual = [
            ("", 0o700),
            ("recipients", 0o700),
            ("token.key", 0o600),
            ("recipients/a.key", 0o400),
            ("log.pub", 0o644),
            ("dkim.pem", 0o600),
        ];
        let mend = || usual.into_iter().for_each(|(path, mode)| set(path, mode));
        mend();
        assert_eq!(said(), Ok(()));
        for (path, mode, wanted) in [
            ("", 0o755, "700"),
            ("recipients", 0o710, "700"),
            ("token.key", 0o640, "600"),
            ("token.key", 0o602, "600"),
            ("recipients/a.key", 0o604, "600"),
            ("log.pub", 0o666, "600"),
        ] {
            set(path, mode);
            let why = said().unwrap_err();
            let typed = format!("chmod {wanted} {}", keys.join(path).display());
            assert!(why.contains(typed.trim_end_matches('/')), "{why}");
            mend();
        }
        set("dkim.pem", 0o644);
        assert_eq!(said(), Ok(()), "it could be a certificate");
        assert!(matches!(read(&keys.join("dkim.pem")), Err(NotPrivate::Open { .. })), "it is not");

        symlink(keys.join("token.key"), keys.join("linked.key")).unwrap();
        assert!(matches!(check_directory(data.path()), Err(NotPrivate::Kind(_))));
        assert_eq!(**read(&keys.join("linked.key")).unwrap(), *b"secret", "as configured");
        fs::remove_file(keys.join("linked.key")).unwrap();
        assert!(matches!(read(&keys), Err(NotPrivate::Kind(_))));
        assert!(matches!(read(&keys.join("none")), Err(NotPrivate::Disk { .. })));
    }
}
