//! What the office has of a person besides the registry: letters, an address, and answers that were frozen.

use super::{NoStep, Office, folded, lock};
use incident::people::People;
use model::SubjectId;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

impl Office {
    /// The names of the cases that are open. While there are any, nobody is erased: a case's people must be told, and its evidence kept.
    pub(crate) async fn open_cases(&self) -> Result<Vec<String>, NoStep> {
        let mut open = Vec::new();
        for row in self.registry.cases().await? {
            if folded(&row)?.closed.is_none() {
                open.push(row.name);
            }
        }
        Ok(open)
    }

    /// Forgets a person: letters in the outbox, the row in the directory of addresses, and the id in every frozen answer that no case
    /// holds. A case's own scopes stay as they are, because its documents are proved by their hashes: `docs/operating/erasure.md`.
    pub(crate) async fn forget(&self, subject: &SubjectId) -> Result<(), NoStep> {
        self.outbox.erase(subject).await?;
        let mut held = BTreeSet::new();
        for row in self.registry.cases().await? {
            let scopes = folded(&row)?.scopes;
            held.extend(scopes.iter().map(|scope| format!("{}.{}.json", row.name, scope.version)));
        }
        let (people, scopes, subject) =
            (self.people.clone(), self.archive.scopes.clone(), subject.clone());
        let forgotten = tokio::task::spawn_blocking(move || {
            forget_address(&people, &subject)?;
            forget_in_scopes(&scopes, &held, &subject)
        });
        let failed = |e: io::Error| NoStep::Missing(format!("a subject could not be erased: {e}"));
        forgotten.await.map_err(io::Error::other).and_then(|done| done).map_err(failed)?;
        // Read anew at the next use; what was counted is of the addresses as they were.
        *lock(&self.read) = None;
        lock(&self.counted).clear();
        Ok(())
    }
}

fn forget_address(path: &Path, subject: &SubjectId) -> io::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Err(none) if none.kind() == ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let (people, _) = People::from_csv(&text).map_err(io::Error::other)?;
    if people.get(subject).is_none() {
        return Ok(());
    }
    replace(path, people.without(subject).to_csv().as_bytes())
}

fn forget_in_scopes(folder: &Path, held: &BTreeSet<String>, subject: &SubjectId) -> io::Result<()> {
    let files = match std::fs::read_dir(folder) {
        Err(none) if none.kind() == ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    // As `exposure` writes it: a member that only subjects have, followed by another.
    let id = serde_json::to_string(subject.as_str()).map_err(io::Error::other)?;
    let (named, nobody) = (format!(r#""id":{id},"#), r#""id":"erased","#);
    for file in files {
        let file = file?;
        if held.contains(&*file.file_name().to_string_lossy()) {
            continue;
        }
        let text = std::fs::read_to_string(file.path())?;
        if text.contains(&named) {
            replace(&file.path(), text.replace(&named, nobody).as_bytes())?;
        }
    }
    Ok(())
}

/// Whole or not at all, and durable.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("erasing");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
