//! Where subjects are written to: a file of addresses in the data directory, taken over from the company's own.

use crate::keys;
use anyhow::{Context, Result, bail};
use incident::people::People;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use storage::addresses::{self, AddressRow};

/// What was taken over.
pub(crate) struct Imported {
    pub(crate) people: usize,
    /// Lines that were left out, each with its reason.
    pub(crate) bad: Vec<String>,
}

/// The file in a data directory.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("mail/people.csv")
}

/// Reads a CSV or SQLite file and puts what is good of it in place of the addresses there were.
///
/// # Errors
/// If the file cannot be read, or nobody in it has a name that a subject can have.
pub(crate) async fn import(file: &Path, data: &Path) -> Result<Imported> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let text = if bytes.starts_with(b"SQLite format 3\0") {
        let rows = addresses::read(file).await;
        csv(&rows.with_context(|| format!("in `{}`", file.display()))?)
    } else {
        String::from_utf8(bytes).with_context(|| format!("`{}` is not text", file.display()))?
    };
    let (people, bad) =
        People::from_csv(&text).with_context(|| format!("in `{}`", file.display()))?;
    if people.is_empty() {
        bail!("`{}` names nobody; what was there stays", file.display());
    }
    let to = path(data);
    let folder = to.parent().context("a folder")?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let beside = to.with_extension("new");
    let _none = std::fs::remove_file(&beside);
    keys::write(&beside, people.to_csv().as_bytes())?;
    std::fs::rename(&beside, &to)?;
    Ok(Imported { people: people.len(), bad: bad.iter().map(ToString::to_string).collect() })
}

fn csv(rows: &[AddressRow]) -> String {
    //= RFC 4180 section 2: a field is quoted, and its quotes doubled
    let field = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut text = String::from("subject,email,name,country\r\n");
    for row in rows {
        let maybe = |value: &Option<String>| field(value.as_deref().unwrap_or(""));
        let fields =
            [field(&row.subject), maybe(&row.email), maybe(&row.name), maybe(&row.country)];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}
