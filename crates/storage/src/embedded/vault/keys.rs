//! The files of the vault's wrapping keys: `keys/vault-wrapping.key` is number 1, `keys/vault-wrapping.N.key` every later one.
//!
//! There is one, except while an erasure is under way: the next key is made durable before any row is under it, and the former one is
//! destroyed when no row is. A crash in between leaves two, and the rows say which of them counts.

use super::ROWS_PATH;
use super::row::{self, HEADER_BYTES, ROW_BYTES};
use crate::embedded::disk::KeepSynced;
use crate::embedded::unavailable::OpenFailed;
use crate::secrets::{DIR, Ring};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::io::{self, ErrorKind};
use zeroize::Zeroizing;

/// The name of a wrapping key's file.
fn name(id: u16) -> String {
    if id == 1 { "vault-wrapping.key".to_owned() } else { format!("vault-wrapping.{id}.key") }
}

fn path(id: u16) -> String {
    format!("{DIR}/{}", name(id))
}

/// The number and path of the key that the rows are under, or of the newest one if they are under none.
///
/// # Errors
/// [`OpenFailed::Key`] if there is no such file; [`OpenFailed::Disk`].
pub fn in_use(disk: &dyn KeepSynced) -> Result<(u16, String), OpenFailed> {
    let failed = |path: &str, source| OpenFailed::Disk { path: path.to_owned(), source };
    let there = numbers(disk).map_err(|e| failed(DIR, e))?;
    let used = of_rows(disk).map_err(|e| failed(ROWS_PATH, e))?;
    let id = used.or(there.last().copied()).unwrap_or(1);
    if !there.contains(&id) {
        let what = format!(
            "the rows of the vault are under wrapping key {id}, and `{}` is not there: an erasure destroyed it, or it was not restored. \
             Restore `vault` and `keys` of the same moment, the newest there are",
            path(id)
        );
        return Err(OpenFailed::Key { what });
    }
    Ok((id, path(id)))
}

/// Makes a key, durably, in place of what an erasure that was cut short left under its number.
pub(super) fn make(
    disk: &dyn KeepSynced,
    id: u16,
    random: &SystemRandom,
    ring: &Ring,
) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    random.fill(&mut *key).map_err(|_| io::Error::other("the system gave no random bytes"))?;
    disk.create_dir(DIR)?;
    disk.replace(&path(id), &ring.content(&name(id), &*key)?)?;
    Ok(key)
}

/// Destroys every wrapping key but this one. What a medium may still hold of them is overwritten first.
pub(crate) fn destroy_others(disk: &dyn KeepSynced, id: u16) -> io::Result<()> {
    let others: Vec<u16> = numbers(disk)?.into_iter().filter(|&other| other != id).collect();
    for &other in &others {
        let path = path(other);
        let file = disk.open(&path)?;
        let zeros = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
        file.write_at(0, &zeros)?;
        file.sync_data()?;
        disk.remove(&path)?;
    }
    if others.is_empty() { Ok(()) } else { disk.sync_dir(DIR) }
}

fn numbers(disk: &dyn KeepSynced) -> io::Result<Vec<u16>> {
    let names = match disk.list(DIR) {
        Err(none) if none.kind() == ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let number = |name: &String| {
        let rest = name.strip_prefix("vault-wrapping")?.strip_suffix("key")?;
        if rest == "." { Some(1) } else { rest.strip_prefix('.')?.strip_suffix('.')?.parse().ok() }
    };
    let mut numbers: Vec<u16> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The key that the first row of somebody is under.
fn of_rows(disk: &dyn KeepSynced) -> io::Result<Option<u16>> {
    let file = match disk.open(ROWS_PATH) {
        Err(none) if none.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let (mut at, mut chunk) = (HEADER_BYTES as u64, vec![0; 256 * ROW_BYTES]);
    loop {
        let read = file.read_at(at, &mut chunk)?;
        for row in chunk.get(..read).unwrap_or(&[]).chunks(ROW_BYTES) {
            match row::read(row) {
                Some(header) if !header.erased => return Ok(Some(header.wrapping_key)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        if read < chunk.len() {
            return Ok(None);
        }
        at += read as u64;
    }
}
