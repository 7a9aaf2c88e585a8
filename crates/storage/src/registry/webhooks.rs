//! Where vendors hear of being contained.

use super::{RegistryError, apply, read};
use model::VendorId;
use sqlx::SqliteConnection;
use std::collections::BTreeMap;

/// Longest address.
const URL_BYTES_MAX: usize = 2_048;

/// [`Command::VendorWebhook`](super::Command). Whether the address may be asked is judged each time it is.
pub(super) async fn set(
    tx: &mut SqliteConnection,
    vendor: VendorId,
    url: Option<&str>,
) -> Result<(), RegistryError> {
    let Some(url) = url else {
        let done = sqlx::query("DELETE FROM vendor_webhooks WHERE vendor = $1")
            .bind(vendor.to_string())
            .execute(tx)
            .await?;
        return apply::known(done.rows_affected(), &format!("a webhook of {vendor}"));
    };
    if url.len() > URL_BYTES_MAX || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(RegistryError::Invalid("a webhook is one address".into()));
    }
    let vendors: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM vendors WHERE id = $1")
        .bind(vendor.to_string())
        .fetch_one(&mut *tx)
        .await?;
    apply::known(u64::try_from(vendors).unwrap_or(0), &vendor)?;
    sqlx::query(
        "INSERT INTO vendor_webhooks (vendor, url) VALUES ($1, $2)
         ON CONFLICT (vendor) DO UPDATE SET url = $2",
    )
    .bind(vendor.to_string())
    .bind(url)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn all(
    tx: &mut SqliteConnection,
) -> Result<BTreeMap<VendorId, String>, RegistryError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT vendor, url FROM vendor_webhooks").fetch_all(tx).await?;
    rows.into_iter().map(|(vendor, url)| Ok((read::parse(&vendor)?, url))).collect()
}
