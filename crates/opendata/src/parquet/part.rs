//! One file: the rows of one segment, day and integration, column by column.

use super::day_name;
use super::facts::{Fact, NameSubjects};
use crate::ExportFailed;
use crate::classes::ClassNames;
use crate::taken_back::TakenBack;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::{ByteArray, FixedLenByteArray};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use model::{ClassSet, IntegrationId, Outcome, Pseudonym, Touch};
use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

/// The name and version of what the columns mean.
pub(super) const SCHEMA: &str = "portcullis.open-data/1";

/// Rows of a row group: what an engine skips by statistics or Bloom filter at once. A busy integration's hour is a few of them.
const GROUP_ROWS: usize = 65_536;
/// Rows of a page: what it skips inside one.
const PAGE_ROWS: usize = 4_096;

/// Columns in order. The day and the integration are in the path, and only there: several engines refuse a column that is in both.
const COLUMNS: &str = "
    required int64 time (TIMESTAMP(MICROS,true));
    required binary log (STRING);
    required int64 record;
    required int32 touch;
    required binary request (STRING);
    required binary vendor (STRING);
    required binary credential (STRING);
    optional binary grant_id (STRING);
    optional binary operation (STRING);
    required binary network (STRING);
    required fixed_len_byte_array(16) network_bytes;
    required binary outcome (STRING);
    optional binary reason (STRING);
    required int64 bytes;
    optional binary pseudonym (STRING);
    required group classes (LIST) { repeated group list { required binary element (STRING); } }
    required binary class_bits;
";

/// The file, before it is written.
pub(super) struct Part<'a> {
    pub(super) log: &'a str,
    pub(super) day: u64,
    pub(super) integration: IntegrationId,
    pub(super) facts: &'a [Fact],
    /// Has settled all of them.
    pub(super) taken: &'a TakenBack,
}

/// One subject in one record, or one record in which nobody was read.
#[derive(Clone, Copy)]
struct Row<'a> {
    fact: &'a Fact,
    outcome: &'static str,
    /// Its place among the record's rows.
    nth: i32,
    touch: Option<&'a Touch>,
}

impl Fact {
    /// The record's rows. Whoever was read by nothing that left is not named: a refusal, an attempt and a release that was taken back
    /// are one row each, without subject and classes.
    fn rows(&self, taken_back: bool) -> impl Iterator<Item = Row<'_>> {
        let outcome = match self.outcome {
            Outcome::Released if taken_back => "not_released",
            Outcome::Released => "released",
            Outcome::Attempted => "attempted",
            Outcome::Refused(_) => "refused",
        };
        let touches: &[Touch] = if outcome == "released" { &self.touches } else { &[] };
        let row = move |nth, touch| Row { fact: self, outcome, nth, touch };
        let nobody = touches.is_empty().then(|| row(0, None));
        (0..).zip(touches).map(move |(nth, touch)| row(nth, Some(touch))).chain(nobody)
    }
}

impl Part<'_> {
    /// How many rows it has.
    pub(super) fn count(&self) -> usize {
        self.rows().count()
    }

    /// In order of time.
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.facts
            .iter()
            .flat_map(|fact| fact.rows(self.taken.has(fact.leaf, self.integration, fact.time)))
    }

    /// Writes the file's bytes.
    ///
    /// # Errors
    /// [`ExportFailed::ClassTable`], [`ExportFailed::Subjects`], [`ExportFailed::Parquet`].
    pub(super) fn write(
        &self,
        file: File,
        classes: &ClassNames,
        subjects: Option<&NameSubjects<'_>>,
    ) -> Result<(), ExportFailed> {
        let path = format!("the part of {} on {}", self.integration, day_name(self.day));
        let refused = |source| ExportFailed::Parquet { path: path.clone(), source };
        let subject = if subjects.is_some() { "optional binary subject (STRING);" } else { "" };
        let schema = format!("message portcullis_access {{ {COLUMNS} {subject} }}");
        let schema = Arc::new(parse_message_type(&schema).map_err(refused)?);
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(self.properties()))
            .map_err(refused)?;
        let mut all = self.rows();
        loop {
            let rows: Vec<Row<'_>> = all.by_ref().take(GROUP_ROWS).collect();
            if rows.is_empty() {
                break;
            }
            let group = columns(self.log, &rows, classes, subjects)?;
            write_columns(&mut writer, &group).map_err(refused)?;
        }
        writer.close().map_err(refused)?;
        Ok(())
    }

    fn properties(&self) -> WriterProperties {
        let metadata = [
            ("portcullis.schema", SCHEMA.to_owned()),
            ("portcullis.log", self.log.to_owned()),
            ("portcullis.day", day_name(self.day)),
            ("portcullis.integration", self.integration.to_string()),
        ];
        let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec();
        let ascending =
            |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
        let people = self.count().clamp(1, GROUP_ROWS) as u64;
        let mut properties = compressed()
            .set_key_value_metadata(Some(metadata))
            .set_sorting_columns(Some(vec![ascending(0), ascending(2), ascending(3)]))
            .set_data_page_row_count_limit(PAGE_ROWS)
            // The writer looks at the limit between batches only.
            .set_write_batch_size(PAGE_ROWS / 4);
        for column in ["time", "record", "bytes"] {
            properties = properties
                .set_column_dictionary_enabled(column.into(), false)
                .set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED);
        }
        for column in ["pseudonym", "subject"] {
            properties = properties
                .set_column_bloom_filter_enabled(column.into(), true)
                .set_column_bloom_filter_max_ndv(column.into(), people)
                .set_column_bloom_filter_fpp(column.into(), 0.01);
        }
        properties.build()
    }
}

/// What every file of ours is written with.
pub(super) fn compressed() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(SCHEMA.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
}

/// One column of a row group: values without the nulls, and for each row whether it has one.
pub(super) enum Column {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Fixed(Vec<FixedLenByteArray>),
    Bytes(Vec<ByteArray>),
    Optional(Vec<ByteArray>, Vec<i16>),
    /// Definition levels (0: the list is empty) and repetition levels (0: another row begins).
    List(Vec<ByteArray>, Vec<i16>, Vec<i16>),
}

/// The columns of one row group, in the order of the schema.
fn columns(
    log: &str,
    rows: &[Row<'_>],
    classes: &ClassNames,
    subjects: Option<&NameSubjects<'_>>,
) -> Result<Vec<Column>, ExportFailed> {
    let mut same = Same::default();
    let mut columns = vec![
        Column::Int64(rows.iter().map(|row| signed(row.fact.time.0)).collect()),
        Column::Bytes(rows.iter().map(|_| same.bytes(log)).collect()),
        Column::Int64(rows.iter().map(|row| signed(row.fact.index)).collect()),
        Column::Int32(rows.iter().map(|row| row.nth).collect()),
        Column::Bytes(rows.iter().map(|row| same.bytes(&row.fact.request.to_string())).collect()),
        Column::Bytes(rows.iter().map(|row| same.bytes(&row.fact.vendor.to_string())).collect()),
        Column::Bytes(
            rows.iter().map(|row| same.bytes(&row.fact.credential.to_string())).collect(),
        ),
        Column::optional(rows.iter().map(|row| Some(same.bytes(&row.fact.grant?.to_string())))),
        Column::optional(
            rows.iter().map(|row| Some(same.bytes(row.fact.operation.as_ref()?.as_str()))),
        ),
        Column::Bytes(rows.iter().map(|row| same.bytes(&row.fact.network.to_string())).collect()),
        Column::Fixed(rows.iter().map(|row| address(row.fact.network)).collect()),
        Column::Bytes(rows.iter().map(|row| same.bytes(row.outcome)).collect()),
        Column::optional(rows.iter().map(|row| match row.fact.outcome {
            Outcome::Refused(reason) => Some(same.bytes(reason.code())),
            Outcome::Released | Outcome::Attempted => None,
        })),
        Column::Int64(rows.iter().map(|row| signed(row.fact.bytes)).collect()),
        Column::optional(rows.iter().map(|row| Some(hex(&row.touch?.pseudonym)))),
    ];
    let mut names = Vec::with_capacity(rows.len());
    for row in rows {
        let set = row.touch.map_or(ClassSet::EMPTY, |touch| touch.classes);
        let known = classes.of(&row.fact.class_table, &set);
        // A record without classes needs no table.
        let known = if set.is_empty() { Some(known.unwrap_or_default()) } else { known };
        names.push(known.ok_or(ExportFailed::ClassTable { index: row.fact.index })?);
    }
    columns.push(Column::list(
        names.iter().map(|names| names.iter().map(|name| same.bytes(name)).collect()),
    ));
    let bits = |row: &Row<'_>| row.touch.map(|touch| touch.classes.to_bytes()).unwrap_or_default();
    columns.push(Column::Bytes(rows.iter().map(|row| bits(row).into()).collect()));
    if let Some(subject_of) = subjects {
        let mut people = Vec::with_capacity(rows.len());
        for row in rows {
            let quarter = row.fact.time.quarter();
            let subject =
                row.touch.map(|touch| subject_of(&touch.pseudonym, quarter)).transpose()?;
            people.push(subject.flatten().map(|subject| ByteArray::from(subject.as_str())));
        }
        columns.push(Column::optional(people.into_iter()));
    }
    Ok(columns)
}

impl Column {
    pub(super) fn optional(values: impl Iterator<Item = Option<ByteArray>>) -> Self {
        let (mut present, mut levels) = (Vec::new(), Vec::new());
        for value in values {
            levels.push(i16::from(value.is_some()));
            present.extend(value);
        }
        Self::Optional(present, levels)
    }

    pub(super) fn list(lists: impl Iterator<Item = Vec<ByteArray>>) -> Self {
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for list in lists {
            let length = list.len();
            defined.extend(std::iter::repeat_n(i16::from(length > 0), length.max(1)));
            repeated.extend((0..length.max(1)).map(|nth| i16::from(nth > 0)));
            values.extend(list);
        }
        Self::List(values, defined, repeated)
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        match (self, writer) {
            (Self::Int32(values), ColumnWriter::Int32ColumnWriter(to)) => {
                to.write_batch(values, None, None)?
            }
            (Self::Int64(values), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(values, None, None)?
            }
            (Self::Fixed(values), ColumnWriter::FixedLenByteArrayColumnWriter(to)) => {
                to.write_batch(values, None, None)?
            }
            (Self::Bytes(values), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(values, None, None)?
            }
            (Self::Optional(values, defined), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(values, Some(defined), None)?
            }
            (Self::List(values, defined, repeated), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(values, Some(defined), Some(repeated))?
            }
            _ => {
                return Err(ParquetError::General(
                    "the columns are not those of the schema".into(),
                ));
            }
        };
        Ok(())
    }
}

/// Writes one row group; the columns are in the order of the schema.
pub(super) fn write_columns(
    writer: &mut SerializedFileWriter<File>,
    columns: &[Column],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    let mut columns = columns.iter();
    while let Some(mut into) = group.next_column()? {
        let column = columns.next();
        let column = column.ok_or_else(|| ParquetError::General("a column is missing".into()))?;
        column.write(into.untyped())?;
        into.close()?;
    }
    group.close()?;
    Ok(())
}

/// Texts that stand in many rows share one allocation.
#[derive(Default)]
pub(super) struct Same(HashMap<String, ByteArray>);

impl Same {
    pub(super) fn bytes(&mut self, text: &str) -> ByteArray {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let bytes = ByteArray::from(text.as_bytes().to_vec());
        self.0.insert(text.to_owned(), bytes.clone());
        bytes
    }
}

fn hex(pseudonym: &Pseudonym) -> ByteArray {
    let text: String = pseudonym.0.iter().map(|byte| format!("{byte:02x}")).collect();
    ByteArray::from(text.into_bytes())
}

/// IPv4 as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), so that addresses of both kinds have one order and a network is a range.
fn address(network: IpAddr) -> FixedLenByteArray {
    let bytes = match network {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    FixedLenByteArray::from(bytes.to_vec())
}

/// Parquet's plain integers are signed. Times, indexes and byte counts are far below 2^63.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
