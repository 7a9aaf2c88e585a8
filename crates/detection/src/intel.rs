//! Threat intelligence: what others and the operator know of networks, read from the formats it comes in.
//!
//! Each reader ([`plain`], [`csv`], [`stix`]) turns bytes into a [`Reading`]: [`Indicator`]s, and what was left out and why.
//! [`crate::ListedNetworks`] merges readings and is asked on every request. Nothing is fetched here, and whoever wrote the bytes may be
//! hostile: files, counts and texts are bounded, and what cannot be read is counted and left out.
//!
//! Start reading at [`read`].

pub mod csv;
mod pattern;
pub mod places;
pub mod plain;
pub mod standing;
pub mod stix;
pub mod warning;

pub use crate::networks::read_network;

use ipnet::IpNet;
use model::UnixMicros;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Longest file of a list. The largest public lists of addresses are some 10 MiB.
pub const BYTES_MAX: usize = 32 << 20;
/// Most indicators of one list; all of ipsum has 120,430.
pub const INDICATORS_MAX: usize = 250_000;
/// Characters of what is said about an indicator, and of a line that is shown.
const TEXT_MAX: usize = 64;
/// What was left out and is shown; the rest is only counted.
const SHOWN_MAX: usize = 20;

/// How sure a list is, from 1. From [`Level::REFUSES`] on a request is refused; below it a finding weighs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The first level that refuses.
    pub const REFUSES: Self = Self(3);
    /// The highest that only weighs.
    pub const WEIGHS: Self = Self(2);
    /// The highest there is.
    pub const MAX: u8 = 10;

    /// `level`: 1 to [`Level::MAX`].
    pub fn new(level: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&level).then_some(Self(level))
    }

    /// The level of a confidence in per cent; none for 0, which says that nothing is believed of it.
    ///
    /// Source: STIX 2.1 appendix A, the scale none, low, medium, high: 0, 1 to 29, 30 to 69, 70 to 100.
    pub fn of_confidence(confidence: u8) -> Option<Self> {
        match confidence {
            0 => None,
            1..=29 => Some(Self(1)),
            30..=69 => Some(Self(2)),
            _ => Some(Self(3)),
        }
    }

    /// Whether it refuses.
    pub fn refuses(self) -> bool {
        self >= Self::REFUSES
    }

    /// As a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// How far a text may be passed on (FIRST Traffic Light Protocol 2.0; the White of version 1 is Clear).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tlp {
    /// To anybody.
    Clear,
    /// Within the community.
    Green,
    /// Within the organisation and its clients.
    Amber,
    /// Within the organisation.
    AmberStrict,
    /// To nobody: it is acted upon, and only the list's name is ever shown.
    Red,
}

impl Tlp {
    /// As it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Green => "green",
            Self::Amber => "amber",
            Self::AmberStrict => "amber+strict",
            Self::Red => "red",
        }
    }
}

impl FromStr for Tlp {
    type Err = UnknownTlp;

    fn from_str(text: &str) -> Result<Self, UnknownTlp> {
        let text = text.trim().to_ascii_lowercase();
        match text.strip_prefix("tlp:").unwrap_or(&text) {
            "clear" | "white" => Ok(Self::Clear),
            "green" => Ok(Self::Green),
            "amber" => Ok(Self::Amber),
            "amber+strict" => Ok(Self::AmberStrict),
            "red" => Ok(Self::Red),
            _ => Err(UnknownTlp),
        }
    }
}

/// A marking that the protocol does not have.
#[derive(Debug, Error)]
#[error("a TLP marking is clear, green, amber, amber+strict or red")]
pub struct UnknownTlp;

/// A network that a list names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Indicator {
    /// Host bits zero.
    pub network: IpNet,
    /// How sure the list is.
    pub level: Level,
    /// From when on it holds.
    pub from: UnixMicros,
    /// Until before when; [`FOREVER`] if the list does not say.
    pub until: UnixMicros,
    /// How far what is said about it may be passed on.
    pub tlp: Tlp,
    /// What the list says about it: one line, cut.
    pub why: Option<Box<str>>,
}

/// After every moment.
pub const FOREVER: UnixMicros = UnixMicros(u64::MAX);

/// On what terms a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The level of what states none, and the highest for what does.
    pub level: Level,
    /// The strictest marking that is taken.
    pub tlp: Tlp,
}

impl Terms {
    /// An indicator of a list that says nothing but the network.
    fn bare(self, network: IpNet) -> Indicator {
        let (from, until) = (UnixMicros(0), FOREVER);
        Indicator { network, level: self.level, from, until, tlp: Tlp::Clear, why: None }
    }
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One address or network a line.
    Plain,
    /// Comma-separated, with a header.
    Csv,
    /// A STIX 2.1 bundle.
    Stix,
}

impl Kind {
    /// What `text` looks like.
    pub fn guess(text: &str) -> Self {
        let first = text.trim_start_matches('\u{feff}').trim_start();
        if first.starts_with('{') {
            return Self::Stix;
        }
        let mut lines = first.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
        if line.is_some_and(|line| line.contains(',') || line.starts_with('"')) {
            Self::Csv
        } else {
            Self::Plain
        }
    }

    /// As it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Csv => "csv",
            Self::Stix => "stix",
        }
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the order of the file; a network may be named more than once.
    pub indicators: Vec<Indicator>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// What was left out of a list, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Lines or objects that could not be read.
    pub bad: usize,
    /// The first of them.
    pub bad_lines: Vec<BadLine>,
    /// Patterns about something else than networks, or in a form that is not read.
    pub unsupported: usize,
    /// Taken back by whoever said it.
    pub revoked: usize,
    /// Said to be harmless, or not believed at all by the list itself.
    pub doubted: usize,
    /// Marked more strictly than this list is taken for.
    pub too_strict: usize,
}

/// A line that was left out because it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1; of a bundle, the object's place.
    pub line: usize,
    /// What it says, cut, control characters escaped.
    pub text: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}` is not a network that can be listed", self.line, self.text)
    }
}

/// Why a list as a whole is not taken. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadList {
    /// It is too long.
    #[error("it is longer than {} MiB", BYTES_MAX >> 20)]
    Long,
    /// It names too much.
    #[error("it names more than {INDICATORS_MAX} networks")]
    Many,
    /// It is not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// It is not what it was said to be.
    #[error("it is not {0}")]
    Shape(&'static str),
    /// It has content and no network that can be read, so it is something else: an error page, another format.
    #[error("nothing of it is a network")]
    Nothing,
}

/// Reads a list.
///
/// # Errors
/// [`BadList`]. What can be left out alone is left out and counted.
pub fn read(kind: Kind, bytes: &[u8], terms: Terms) -> Result<Reading, BadList> {
    if bytes.len() > BYTES_MAX {
        return Err(BadList::Long);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadList::NotText)?;
    let text = text.trim_start_matches('\u{feff}');
    let reading = match kind {
        Kind::Plain => plain::read(text, terms),
        Kind::Csv => csv::read(text, terms),
        Kind::Stix => stix::Objects::read(text)?.reading(terms),
    }?;
    if reading.indicators.is_empty() && reading.left_out.bad > 0 {
        return Err(BadList::Nothing);
    }
    Ok(reading)
}

impl Reading {
    fn push(&mut self, indicator: Indicator) -> Result<(), BadList> {
        if self.indicators.len() == INDICATORS_MAX {
            return Err(BadList::Many);
        }
        self.indicators.push(indicator);
        Ok(())
    }
}

impl LeftOut {
    fn bad(&mut self, line: usize, text: &str) {
        self.bad += 1;
        if self.bad_lines.len() < SHOWN_MAX {
            let text = text.chars().take(TEXT_MAX).flat_map(char::escape_default).collect();
            self.bad_lines.push(BadLine { line, text });
        }
    }
}

/// One line of somebody else's, fit to be shown: cut, and without what moves a terminal's cursor.
fn line_of(text: &str) -> Option<Box<str>> {
    let shown: String = text.trim().chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    (!shown.is_empty()).then(|| shown.into())
}

/// A timestamp of RFC 3339 in UTC. Digits beyond microseconds are cut.
fn moment(text: &str) -> Option<UnixMicros> {
    let text = text.trim();
    let (whole, fraction) = text.strip_suffix('Z')?.split_once('.').unwrap_or((text, ""));
    if fraction.is_empty() {
        return UnixMicros::parse(text);
    }
    let digits = fraction.len() <= 32 && fraction.bytes().all(|b| b.is_ascii_digit());
    UnixMicros::parse(&format!("{whole}.{}Z", fraction.get(..6).unwrap_or(fraction)))
        .filter(|_| digits)
}

#[cfg(test)]
mod tests;
