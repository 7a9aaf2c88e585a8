//! `portcullis bench exposure`: rows into the index's own files, and the questions that `bench/exposure` asks of the peers, too.

mod questions;
mod traffic;

use anyhow::{Context as _, Result, ensure};
use exposure::index::{
    Context, IndexFile, Indexer, Leveler, Release, RowMark, Sealer, Sizes, Span,
};
use indicatif::{ProgressBar, ProgressStyle};
use model::{
    ClassNumber, ClassSet, ClientIp, CredentialId, IntegrationId, OperationId, SubjectOrdinal,
    UnixMicros, VendorId,
};
use questions::{Asked, Outcome};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::embedded::index;
use traffic::{Read, Traffic};

/// Options of `portcullis bench exposure`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows, one for each subject in each record
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Where rows, index and answers go; what is there of the same rows and seed is used again
    #[arg(long)]
    dir: PathBuf,
    /// Other rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave out the columns that the peers are loaded from, 30 bytes a row
    #[arg(long)]
    no_columns: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Generates, builds, asks and prints.
///
/// # Errors
/// If the directory cannot be written, or a file of the index cannot be read.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rows >= 1_000, "too few rows to ask about: at least 1000");
    let traffic = Traffic::new(options.rows, options.seed);
    let countries = traffic.countries();
    let dir = options.dir.join("index");
    let made = Made::read(options)?;
    let made = match made {
        Some(made) => made,
        None => generate(options, traffic, &countries)?,
    };
    let files = open_all(&dir)?;
    let mut sizes = Sizes::default();
    files.iter().for_each(|file| sizes += file.sizes());
    let asked = questions::all();
    fs::write(
        options.dir.join("questions.json"),
        serde_json::to_vec_pretty(&asked.iter().map(Asked::to_json).collect::<Vec<_>>())?,
    )?;
    fs::create_dir_all(options.dir.join("answers"))?;
    let mut ours = serde_json::Map::new();
    ours.insert(
        "_index".into(),
        json!({ "bytes": sizes.runs, "touches": sizes.touches, "postings": sizes.postings }),
    );
    let bar = bar(asked.len() as u64, "questions");
    for question in &asked {
        let outcome = question.measure(&files, &countries, &dir)?;
        let answer = options.dir.join("answers").join(format!("{}.bin", question.name));
        let bytes: Vec<u8> = outcome.rows.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
        fs::write(answer, bytes)?;
        ours.insert(question.name.into(), outcome.to_json());
        bar.inc(1);
        if !options.json {
            print(question, &outcome)?;
        }
    }
    bar.finish_and_clear();
    fs::write(options.dir.join("ours.json"), serde_json::to_vec_pretty(&ours)?)?;
    let rows = made.rows;
    let per_row = |bytes: u64| ratio(bytes, rows);
    let document = json!({
        "schema": "portcullis.bench/1",
        "name": "exposure",
        "rows": rows,
        "records": made.records,
        "build_rows_per_second": made.build_rows_per_second,
        "bytes_per_row": { "runs": per_row(sizes.runs), "touches": per_row(sizes.touches), "postings": per_row(sizes.postings) },
        "resident_peak_kib": peak_kib(),
        "questions": ours,
    });
    if options.json {
        return crate::commands::print::line(&document.to_string());
    }
    crate::commands::print::line(&format!(
        "{rows} rows, {} records; built at {:.1} million rows/s of processor time; bytes a row: runs {:.2}, touches {:.2}, postings {:.2}; {} MiB resident at most",
        made.records,
        ratio(made.build_rows_per_second, 1_000_000),
        per_row(sizes.runs),
        per_row(sizes.touches),
        per_row(sizes.postings),
        peak_kib() / 1024,
    ))
}

fn print(question: &Asked, outcome: &Outcome) -> Result<()> {
    let cold = outcome.cold.map_or("-".to_owned(), |cold| format!("{:.2}", millis(cold)));
    crate::commands::print::line(&format!(
        "{:<8} {:>10.3} ms warm {:>10} ms cold {:>10} rows",
        question.name,
        millis(outcome.median),
        cold,
        outcome.rows.len()
    ))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What was made, and how fast.
struct Made {
    rows: u64,
    records: u64,
    build_rows_per_second: u64,
}

impl Made {
    fn read(options: &Options) -> Result<Option<Self>> {
        let Ok(text) = fs::read(options.dir.join("made.json")) else { return Ok(None) };
        let made: serde_json::Value = serde_json::from_slice(&text)?;
        let number = |name: &str| made.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let same = number("asked") == options.rows && number("seed") == options.seed;
        let columns = options.no_columns || options.dir.join("columns").exists();
        Ok((same && columns).then(|| Self {
            rows: number("rows"),
            records: number("records"),
            build_rows_per_second: number("build_rows_per_second"),
        }))
    }
}

/// The identities that stand for the traffic's numbers.
fn context(read: &Read<'_>) -> Context {
    Context {
        integration: integration(read.integration),
        vendor: VendorId::from_bytes([1; 16]),
        credential: CredentialId::from_bytes(bytes_of(read.credential)),
        grant: None,
        operation: OperationId::new(&format!("operation{}", read.operation)),
    }
}

pub(super) fn integration(number: u16) -> IntegrationId {
    IntegrationId::from_bytes(bytes_of(number))
}

fn bytes_of(number: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    if let Some(first) = bytes.first_chunk_mut() {
        *first = number.to_be_bytes();
    }
    bytes
}

fn class_set(bits: u16) -> ClassSet {
    (0..16).filter(|bit| bits >> bit & 1 == 1).map(ClassNumber::new).collect()
}

fn generate(options: &Options, traffic: Traffic, countries: &[u8]) -> Result<Made> {
    let dir = options.dir.join("index");
    for old in ["index", "columns", "answers"] {
        match fs::remove_dir_all(options.dir.join(old)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    fs::create_dir_all(&dir)?;
    fs::create_dir_all(options.dir.join("subjects"))?;
    fs::write(options.dir.join("subjects/country.u8"), countries)?;
    let mut columns =
        (!options.no_columns).then(|| Columns::new(&options.dir.join("columns"))).transpose()?;
    let bar = bar(options.rows, "rows");
    let mut builder = Builder {
        dir: &dir,
        indexer: Indexer::default(),
        sealer: Sealer::default(),
        files: Vec::new(),
        record: 0,
        spent: Duration::ZERO,
    };
    let (mut record, mut rows) = (0_u32, 0_u64);
    let mut batch = Batch::default();
    let sets: Vec<ClassSet> = (0..=u16::MAX).map(class_set).collect();
    traffic.run(|read| -> Result<()> {
        let set = |classes: u16| sets.get(usize::from(classes)).copied().unwrap_or_default();
        let touches = read.touches.iter().map(|(id, classes)| (SubjectOrdinal(*id), set(*classes)));
        batch.touches.extend(touches);
        let network = ClientIp::from_peer(std::net::Ipv4Addr::from_bits(read.network).into());
        batch.reads.push((UnixMicros(read.time), context(read), network, batch.touches.len()));
        if let Some(columns) = &mut columns {
            columns.write(read, record)?;
        }
        record += 1;
        rows += read.touches.len() as u64;
        if batch.reads.len() == BATCH {
            builder.take(&mut batch)?;
            bar.set_position(rows);
        }
        Ok(())
    })?;
    builder.take(&mut batch)?;
    builder.end()?;
    let Builder { mut files, spent, .. } = builder;
    let mut building = spent;
    let started = processor_time();
    let mut leveler = Leveler::default();
    // The last week and month are complete when there is a part of a later day: pretend that there is.
    for span in [Span::Week, Span::Month] {
        let days = if span == Span::Week { 7 } else { 30 };
        let first = u32::try_from(traffic::START / traffic::DAY)?;
        let end = first + u32::try_from(traffic::DAYS)?;
        for day in
            (first..end).step_by(days).filter(|day| day + u32::try_from(days).unwrap_or(0) <= end)
        {
            bar.set_message("weeks and months");
            let level = index::write_level(&dir, (span, day), &files, &mut leveler)?;
            files.push(Arc::new(level));
        }
    }
    building += processor_time().saturating_sub(started);
    bar.finish_and_clear();
    if let Some(columns) = columns {
        columns.finish()?;
    }
    let build_rows_per_second = per_second(rows, building);
    let made = json!({ "asked": options.rows, "seed": options.seed, "rows": rows, "records": record, "build_rows_per_second": build_rows_per_second });
    fs::write(options.dir.join("made.json"), made.to_string())?;
    Ok(Made { rows, records: u64::from(record), build_rows_per_second })
}

/// Records that are taken in together, so that the clock is read seldom.
const BATCH: usize = 4_096;

#[derive(Default)]
struct Batch {
    /// When, who, from where, and where its touches end.
    reads: Vec<(UnixMicros, Context, ClientIp, usize)>,
    touches: Vec<(SubjectOrdinal, ClassSet)>,
}

/// Builds the index, and counts the processor time of that alone.
struct Builder<'a> {
    dir: &'a Path,
    indexer: Indexer,
    sealer: Sealer,
    files: Vec<Arc<IndexFile>>,
    record: u64,
    spent: Duration,
}

impl Builder<'_> {
    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        let started = processor_time();
        let mut from = 0;
        for (time, context, network, end) in &batch.reads {
            self.indexer.push_release(&Release {
                record: self.record,
                leaf: [0; 32],
                time: *time,
                context,
                network: *network,
                touches: batch.touches.get(from..*end).unwrap_or_default(),
            });
            self.record += 1;
            from = *end;
        }
        self.seal()?;
        self.spent += processor_time().saturating_sub(started);
        batch.reads.clear();
        batch.touches.clear();
        Ok(())
    }

    /// A record of the day after, so that the last day is settled.
    fn end(&mut self) -> Result<()> {
        let after = traffic::START + (traffic::DAYS + 1) * traffic::DAY;
        let started = processor_time();
        self.indexer.pass(self.record, [0; 32], UnixMicros(after));
        self.seal()?;
        self.spent += processor_time().saturating_sub(started);
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        while let Some(table) = self.indexer.settled() {
            let mark = RowMark::default();
            self.files.push(Arc::new(index::write_part(self.dir, &table, mark, &mut self.sealer)?));
        }
        Ok(())
    }
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or(0),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}

fn per_second(count: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

fn open_all(dir: &Path) -> Result<Vec<IndexFile>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    paths
        .iter()
        .map(|path| index::open(path).with_context(|| format!("`{}`", path.display())))
        .collect()
}

fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::new(length).with_message(what);
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

/// The most memory this process had at once.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// The rows, column by column, as `bench/exposure/README.md` says.
struct Columns {
    files: [BufWriter<File>; 8],
}

impl Columns {
    fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let create = |name: &str| -> Result<BufWriter<File>> {
            Ok(BufWriter::with_capacity(1 << 18, File::create(dir.join(name))?))
        };
        Ok(Self {
            files: [
                create("time.u64")?,
                create("integration.u16")?,
                create("credential.u16")?,
                create("operation.u16")?,
                create("network.u32")?,
                create("subject.u32")?,
                create("classes.u32")?,
                create("record.u32")?,
            ],
        })
    }

    fn write(&mut self, read: &Read<'_>, record: u32) -> Result<()> {
        let [times, integrations, credentials, operations, networks, subjects, classes, records] =
            &mut self.files;
        for (subject, bits) in read.touches {
            times.write_all(&read.time.to_le_bytes())?;
            integrations.write_all(&read.integration.to_le_bytes())?;
            credentials.write_all(&read.credential.to_le_bytes())?;
            operations.write_all(&read.operation.to_le_bytes())?;
            networks.write_all(&read.network.to_le_bytes())?;
            subjects.write_all(&subject.to_le_bytes())?;
            classes.write_all(&u32::from(*bits).to_le_bytes())?;
            records.write_all(&record.to_le_bytes())?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for file in self.files {
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        }
        Ok(())
    }
}
