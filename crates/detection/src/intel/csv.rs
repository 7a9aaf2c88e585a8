//! Comma-separated lists (RFC 4180), with or without a header.

use super::plain::level_of;
use super::{BadList, Level, Reading, Terms, Tlp, line_of, moment};
use crate::networks::read_network;

/// Most columns that are looked at; a row may have more.
const COLUMNS_MAX: usize = 64;

/// Which column says what.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    network: usize,
    level: Option<usize>,
    confidence: Option<usize>,
    from: Option<usize>,
    until: Option<usize>,
    revoked: Option<usize>,
    tlp: Option<usize>,
    why: Option<usize>,
}

/// Reads rows. The first is a header if it names the column of networks; without one, networks are the first column and nothing else counts.
/// Lines that begin with `#` are comments.
///
/// # Errors
/// [`BadList::Many`].
pub fn read(text: &str, terms: Terms) -> Result<Reading, BadList> {
    let mut reading = Reading::default();
    let mut rows = Rows { rest: text, line: 1 };
    let mut fields = Vec::new();
    let mut columns = None;
    while let Some(line) = rows.next(&mut fields) {
        let Some(columns) = columns else {
            let named = Columns::of(&fields);
            columns = Some(named.unwrap_or_default());
            if named.is_none() {
                row(&mut reading, terms, Columns::default(), &fields, line)?;
            }
            continue;
        };
        row(&mut reading, terms, columns, &fields, line)?;
    }
    Ok(reading)
}

fn row(
    reading: &mut Reading,
    terms: Terms,
    columns: Columns,
    fields: &[String],
    line: usize,
) -> Result<(), BadList> {
    let field = |column: Option<usize>| {
        let text = fields.get(column?)?.trim();
        (!text.is_empty()).then_some(text)
    };
    let address = field(Some(columns.network)).unwrap_or_default();
    let Some(network) = read_network(address) else {
        reading.left_out.bad(line, address);
        return Ok(());
    };
    let mut indicator = terms.bare(network);
    let mut unread = false;
    if let Some(text) = field(columns.level) {
        indicator.level = level_of(text).map_or(terms.level, |level| level.min(terms.level));
        unread |= level_of(text).is_none();
    }
    if let Some(text) = field(columns.confidence) {
        let confidence = text.parse::<u8>().ok().filter(|confidence| *confidence <= 100);
        unread |= confidence.is_none();
        match confidence.map(Level::of_confidence) {
            Some(None) => {
                reading.left_out.doubted += 1;
                return Ok(());
            }
            Some(Some(level)) => indicator.level = level.min(terms.level),
            None => {}
        }
    }
    for (column, time) in
        [(columns.from, &mut indicator.from), (columns.until, &mut indicator.until)]
    {
        if let Some(text) = field(column) {
            let read = when(text);
            unread |= read.is_none();
            *time = read.unwrap_or(*time);
        }
    }
    if let Some(text) = field(columns.tlp) {
        let tlp = text.parse::<Tlp>();
        unread |= tlp.is_err();
        indicator.tlp = tlp.unwrap_or(Tlp::Red);
    }
    // What limits an entry and cannot be read would make more of it than was said.
    if unread {
        reading.left_out.bad(line, &fields.join(","));
        return Ok(());
    }
    if field(columns.revoked)
        .is_some_and(|text| ["true", "yes", "1"].iter().any(|yes| text.eq_ignore_ascii_case(yes)))
    {
        reading.left_out.revoked += 1;
        return Ok(());
    }
    if indicator.tlp > terms.tlp {
        reading.left_out.too_strict += 1;
        return Ok(());
    }
    indicator.why = field(columns.why).and_then(line_of);
    reading.push(indicator)
}

/// A timestamp, or a day, which begins at midnight UTC.
fn when(text: &str) -> Option<model::UnixMicros> {
    let seconds = text.split_once(' ').filter(|(day, _)| day.len() == 10);
    match (text.len(), seconds) {
        (10, _) => moment(&format!("{text}T00:00:00Z")),
        (_, Some((day, time))) => moment(&format!("{day}T{}Z", time.trim_end_matches('Z'))),
        _ => moment(text),
    }
}

impl Columns {
    /// The columns that this row names; none if it is not a header.
    fn of(fields: &[String]) -> Option<Self> {
        let find = |names: &[&str]| {
            fields.iter().take(COLUMNS_MAX).position(|field| {
                let field = field.trim().trim_start_matches('#').trim();
                names.iter().any(|name| field.eq_ignore_ascii_case(name))
            })
        };
        Some(Self {
            network: find(&[
                "network",
                "cidr",
                "ip",
                "ip_address",
                "address",
                "ioc",
                "ioc_value",
                "indicator",
                "value",
                "dst_ip",
            ])?,
            level: find(&["level"]),
            confidence: find(&["confidence", "confidence_level"]),
            from: find(&["valid_from"]),
            until: find(&["valid_until", "expires", "expiration"]),
            revoked: find(&["revoked"]),
            tlp: find(&["tlp"]),
            why: find(&["why", "reason", "description", "comment", "threat", "malware"]),
        })
    }
}

/// What is left of the text, and at which line it begins.
struct Rows<'a> {
    rest: &'a str,
    line: usize,
}

impl Rows<'_> {
    /// Puts the next row that is not empty into `fields` and gives the line it begins at.
    fn next(&mut self, fields: &mut Vec<String>) -> Option<usize> {
        loop {
            fields.clear();
            let line = self.line;
            if self.rest.is_empty() {
                return None;
            }
            if self.rest.starts_with('#') && !self.rest.lines().next().is_some_and(is_header) {
                self.skip_line();
                continue;
            }
            while self.field(fields) {}
            if fields.iter().any(|field| !field.trim().is_empty()) {
                return Some(line);
            }
        }
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.line += 1;
    }

    /// Reads one field; whether another follows in the same row.
    fn field(&mut self, fields: &mut Vec<String>) -> bool {
        let mut text = String::new();
        let trimmed = self.rest.trim_start_matches(' ');
        if let Some(quoted) = trimmed.strip_prefix('"') {
            self.rest = quoted;
            while let Some((part, rest)) = self.rest.split_once('"') {
                text.push_str(part);
                self.line += part.matches('\n').count();
                self.rest = rest;
                //= RFC 4180 section 2: a double quote inside is written twice
                let Some(more) = rest.strip_prefix('"') else { break };
                text.push('"');
                self.rest = more;
            }
        }
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (part, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        text.push_str(part.trim_end_matches('\r'));
        if fields.len() < COLUMNS_MAX {
            fields.push(text);
        }
        let more = rest.starts_with(',');
        self.line += usize::from(rest.starts_with('\n'));
        self.rest = rest.get(1..).unwrap_or("");
        more
    }
}

/// Whether a line that begins with `#` is a header all the same, as some lists write theirs.
fn is_header(line: &str) -> bool {
    let fields: Vec<String> =
        line.split(',').map(|field| field.trim_matches('"').to_owned()).collect();
    fields.len() > 1 && Columns::of(&fields).is_some()
}
