//! Addresses of subjects in a company's own SQLite file, read and never written.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use std::path::Path;

/// One row of the table `people`, as it stands there.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressRow {
    /// The origin's id of the subject.
    pub subject: String,
    /// Where to write to.
    pub email: Option<String>,
    /// How to address them.
    pub name: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

/// The file is not one, or has no table `people` with the columns `subject`, `email`, `name` and `country`.
#[derive(Debug, thiserror::Error)]
#[error("no table `people` with columns subject, email, name and country can be read")]
pub struct NoAddresses(#[from] sqlx::Error);

/// Reads the table `people` of the SQLite file at `path`.
///
/// # Errors
/// [`NoAddresses`]: whoever made the file is at fault.
pub async fn read(path: &Path) -> Result<Vec<AddressRow>, NoAddresses> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let pool = SqlitePool::connect_with(options).await?;
    // As text, whatever the columns are: account numbers are often integers there.
    let rows = sqlx::query(
        "SELECT CAST(subject AS TEXT), CAST(email AS TEXT), CAST(name AS TEXT), CAST(country AS TEXT) FROM people",
    )
    .fetch_all(&pool)
    .await?;
    pool.close().await;
    let row = |row: &sqlx::sqlite::SqliteRow| {
        Ok(AddressRow {
            subject: row.try_get::<Option<String>, _>(0)?.unwrap_or_default(),
            email: row.try_get(1)?,
            name: row.try_get(2)?,
            country: row.try_get(3)?,
        })
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_table_of_people_is_read_as_text_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crm.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        assert!(read(&path).await.is_err());
        for statement in [
            "CREATE TABLE people (subject INTEGER, email TEXT, name TEXT, country TEXT)",
            "INSERT INTO people VALUES (4711, 'a@b.example', NULL, 'DE'), (NULL, NULL, NULL, NULL)",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        let rows = read(&path).await.unwrap();
        assert_eq!((rows[0].subject.as_str(), rows[0].country.as_deref()), ("4711", Some("DE")));
        assert_eq!((rows[1].subject.as_str(), rows.len()), ("", 2));
        std::fs::write(&path, "subject,email\n").unwrap();
        assert!(read(&path).await.is_err());
    }
}
