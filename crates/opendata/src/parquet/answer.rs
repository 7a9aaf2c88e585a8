//! An exposure answer as one Parquet file.

use super::part::{Column, Same, compressed, signed, write_columns};
use crate::{ExportFailed, whole};
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use model::UnixMicros;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// One subject of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRow {
    /// The subject's id; none if it was erased.
    pub subject: Option<String>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// First time.
    pub first: UnixMicros,
    /// Last time.
    pub last: UnixMicros,
    /// In how many records.
    pub count: u64,
}

/// Writes the rows to `path`, whole or not at all, for its owner alone to read.
///
/// # Errors
/// [`ExportFailed::File`], [`ExportFailed::Parquet`].
pub fn write_answer_parquet(path: &Path, rows: &[AnswerRow]) -> Result<(), ExportFailed> {
    let refused = |source| ExportFailed::Parquet { path: path.display().to_string(), source };
    whole::write(path, |file| write(file, rows).map_err(refused))
}

fn write(file: File, rows: &[AnswerRow]) -> Result<(), ParquetError> {
    let schema = "message portcullis_exposure {
        optional binary subject (STRING);
        required group classes (LIST) { repeated group list { required binary element (STRING); } }
        required int64 first (TIMESTAMP(MICROS,true));
        required int64 last (TIMESTAMP(MICROS,true));
        required int64 count;
    }";
    let metadata =
        KeyValue::new("portcullis.schema".to_owned(), "portcullis.exposure/1".to_owned());
    let properties = compressed().set_key_value_metadata(Some(vec![metadata])).build();
    let mut writer = SerializedFileWriter::new(
        file,
        Arc::new(parse_message_type(schema)?),
        Arc::new(properties),
    )?;
    for rows in rows.chunks(65_536) {
        let mut same = Same::default();
        let subjects = rows.iter().map(|row| row.subject.as_deref().map(ByteArray::from));
        let columns = [
            Column::optional(subjects),
            Column::list(
                rows.iter().map(|row| row.classes.iter().map(|name| same.bytes(name)).collect()),
            ),
            Column::Int64(rows.iter().map(|row| signed(row.first.0)).collect()),
            Column::Int64(rows.iter().map(|row| signed(row.last.0)).collect()),
            Column::Int64(rows.iter().map(|row| signed(row.count)).collect()),
        ];
        write_columns(&mut writer, &columns)?;
    }
    writer.close()?;
    Ok(())
}
