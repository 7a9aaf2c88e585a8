//! The node's secret keys: made once, kept as files that only their owner can read.

use anyhow::{Context, Result, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use credential::{Algorithm, SigningKey};
use ledger::cosign::{Cosigner, CosignerKey};
use ledger::note;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use storage::secrets::{KeyFiles, private};
use zeroize::Zeroizing;

/// The 32-byte secrets of a node, by file name below `keys/`.
pub(crate) const NAMES: [&str; 4] =
    ["log.key", "token.key", "vault-index.key", "vault-wrapping.key"];

/// The log's key.
pub(crate) const LOG: &str = "log.key";

/// The key that is to follow it, while it is being rotated: checkpoints are signed with both.
pub(crate) const NEXT_LOG: &str = "log.next.key";

/// Signs what we send to receivers elsewhere: pages, and events to vendors.
pub(crate) const MESSAGES: &str = "messages.key";

/// The key that messages are signed with, made when it is first wanted: directories of older versions have none.
///
/// # Errors
/// If its file cannot be read or written.
pub(crate) fn messages(files: &KeyFiles) -> Result<SigningKey> {
    let seed = match files.read_key_if_there::<32>(MESSAGES)? {
        Some(seed) => seed,
        None => {
            let seed = Zeroizing::new(random::<32>()?);
            files.replace(MESSAGES, &*seed)?;
            seed
        }
    };
    let pkcs8 = SigningKey::pkcs8(Algorithm::EdDsa, *seed).map(Zeroizing::new);
    SigningKey::from_pkcs8(&pkcs8.unwrap_or_default()).context("`keys/messages.key` is no key")
}

/// Type of an Ed25519 key in C2SP signed-note.
const NOTE_ED25519: u8 = 0x01;

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

/// Makes the key of an auditor or witness and keeps it in `path`. `name`: best an address without scheme, such as
/// `auditor.example/2026`.
///
/// The file has the form that other signed-note tools read: `PRIVATE+KEY+name+id+base64(0x01 and seed)`.
///
/// # Errors
/// If the file exists or cannot be written, or the name cannot stand in a note.
pub(crate) fn new_cosigner(path: &Path, name: &str) -> Result<CosignerKey> {
    let seed = Zeroizing::new(random::<32>()?);
    let key = Cosigner::new(name, &seed).and_then(|cosigner| cosigner.key());
    let key = key.with_context(|| format!("`{name}` cannot be a key's name"))?;
    let id = note::SigningKey::new(name, &seed)?.id().map(|byte| format!("{byte:02x}")).concat();
    let secret = Zeroizing::new([&[NOTE_ED25519][..], &seed[..]].concat());
    let secret = Zeroizing::new(BASE64.encode(&secret));
    let file = Zeroizing::new(format!("PRIVATE+KEY+{name}+{id}+{}\n", *secret));
    write(path, file.as_bytes())?;
    Ok(key)
}

/// Reads what [`new_cosigner`] wrote, or another signed-note tool.
///
/// # Errors
/// If others can read the file, or it is not one Ed25519 key.
pub(crate) fn read_cosigner(path: &Path) -> Result<Cosigner> {
    let file = private::read(path)?;
    let what = || format!("`{}` is not the key of an auditor or witness", path.display());
    parse_cosigner(str::from_utf8(&file).unwrap_or_default().trim()).with_context(what)
}

fn parse_cosigner(text: &str) -> Option<Cosigner> {
    let mut parts = text.strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
    let (name, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let secret = Zeroizing::new(BASE64.decode(secret).ok()?);
    let (&NOTE_ED25519, seed) = secret.split_first()? else { return None };
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).ok()?);
    let found = note::SigningKey::new(name, &seed).ok()?.id().map(|byte| format!("{byte:02x}"));
    if found.concat() != id {
        return None;
    }
    Cosigner::new(name, &seed).ok()
}

/// The value of an `Authorization` header, from the content of its file; a line end behind it is not part of it.
///
/// # Errors
/// If it is anything but one line of visible ASCII.
pub(crate) fn authorization(secret: &[u8]) -> Result<Vec<u8>> {
    let value = secret.trim_ascii();
    //= RFC 9110 section 5.5: visible ASCII and spaces; never a line end, which would begin another field
    if value.is_empty() || !value.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic()) {
        bail!("the origin's credential is not one line, such as `Bearer ...`");
    }
    Ok(value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosigners_keys_are_those_of_other_tools() {
        // From the tests of transparency-dev/formats (Apache-2.0): made by golang.org/x/mod/sumdb/note.
        let foreign = "PRIVATE+KEY+Wit1+55ee4561+AeadRiG7XM4XiieCHzD8lxysXMwcViy5nYsoXURWGrlE";
        let key = parse_cosigner(foreign).unwrap().key().unwrap().to_string();
        // The public half in its vkey there is the same, under the type of logs.
        let public = BASE64.decode("AVhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk").unwrap();
        let ours = BASE64.decode(key.splitn(3, '+').nth(2).unwrap()).unwrap();
        assert_eq!((ours[0], &ours[1..]), (4, &public[1..]));
        for wrong in
            ["", &foreign[1..], &foreign.replace("55ee", "55ef"), &foreign.replace("+Ae", "+Be")]
        {
            assert!(parse_cosigner(wrong).is_none(), "{wrong}");
        }

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auditor.key");
        let public = new_cosigner(&path, "auditor.example/1").unwrap();
        assert_eq!(read_cosigner(&path).unwrap().key().unwrap(), public);
        assert!(new_cosigner(&path, "auditor.example/1").is_err(), "never over another");
    }

    #[test]
    fn an_authorization_is_one_line() {
        assert_eq!(authorization(b"Bearer abc\n").unwrap(), b"Bearer abc");
        assert!(authorization(b"Bearer abc\r\nx-role: admin").is_err());
        assert!(authorization(b"\n").is_err());
    }
}
