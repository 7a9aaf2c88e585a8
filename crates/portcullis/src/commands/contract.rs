//! `portcullis contract`: an origin's contract, looked at offline.

use super::print::line as print;
use anyhow::{Context, Result};
use comfy_table::Table;
use serde_json::json;
use std::path::Path;

/// Unclassified properties that are shown; JSON has all.
const WITHHELD_SHOWN: usize = 50;

/// Compiles and shows it.
///
/// # Errors
/// What is wrong with the documents, and where.
pub(super) fn check(openapi: &Path, overlay: Option<&Path>, json: bool) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let overlay = overlay.map(read).transpose()?.unwrap_or_default();
    let mut classes = model::ClassTable::default();
    let contract = disclosure::Contract::compile(&read(openapi)?, &overlay, &mut classes)?;
    let description = contract.describe();
    if json {
        let rows: Vec<_> = description.operations.iter().map(|row| {
            json!({ "id": row.id.as_str(), "method": row.method, "path": row.path, "kind": row.kind.as_str(), "classes": classes.names(&row.classes), "classified": row.classified, "unclassified": row.unclassified })
        }).collect();
        return print(&json!({ "schema": "portcullis.contract/1", "operations": rows, "classified": description.classified, "unclassified": description.unclassified, "withheld": description.withheld }).to_string());
    }
    let mut table = Table::new();
    table.set_header(["operation", "", "path", "classes", "classified", "unclassified"]);
    for row in &description.operations {
        table.add_row([
            row.id.as_str().to_owned(),
            row.kind.as_str().to_owned(),
            format!("{} {}", row.method, row.path),
            classes.names(&row.classes).join(" "),
            row.classified.to_string(),
            row.unclassified.to_string(),
        ]);
    }
    print(&table.to_string())?;
    print(&format!(
        "operations: {}; properties classified: {}, unclassified and so withheld: {}",
        description.operations.len(),
        description.classified,
        description.unclassified
    ))?;
    for pointer in description.withheld.iter().take(WITHHELD_SHOWN) {
        print(&format!("  {pointer}"))?;
    }
    match description.withheld.len().checked_sub(WITHHELD_SHOWN) {
        Some(more @ 1..) => print(&format!("  and {more} more: --json has all")),
        Some(0) | None => Ok(()),
    }
}
