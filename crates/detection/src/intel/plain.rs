//! Plain lists: one address or network a line.

use super::{BadList, Level, Reading, Terms};
use crate::networks::read_network;

/// Reads one address or CIDR a line, and behind white space a level if there is one, as ipsum writes them; `#` and `;` start a comment.
///
/// A bad line is left out and reported, so that one of them does not switch a list off.
///
/// # Errors
/// [`BadList::Many`].
pub fn read(text: &str, terms: Terms) -> Result<Reading, BadList> {
    let mut reading = Reading::default();
    for (line, raw) in (1..).zip(text.lines()) {
        let entry = raw.split(['#', ';']).next().unwrap_or_default().trim();
        let mut words = entry.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let level = match (words.next(), words.next()) {
            (None, None) => Some(terms.level),
            (Some(level), None) => level_of(level),
            _ => None,
        };
        match (read_network(first), level) {
            (Some(network), Some(level)) => {
                let mut indicator = terms.bare(network);
                indicator.level = level.min(terms.level);
                reading.push(indicator)?;
            }
            _ => reading.left_out.bad(line, entry),
        }
    }
    Ok(reading)
}

/// A level that a list states; more than the highest is the highest.
pub(super) fn level_of(text: &str) -> Option<Level> {
    Level::new(text.parse::<u8>().ok()?.min(Level::MAX))
}
