//! Subjects: the people whose data is read, and the two stand-ins that the record and the budgets use for them.

use std::fmt;

/// The origin's name for a subject: text of 1 to 128 bytes without control characters.
///
/// `Debug` does not print it, so that a subject never reaches a log by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(Box<str>);

impl SubjectId {
    /// Longest subject id, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// `None` if `text` is empty, too long or holds a control character.
    pub fn new(text: &str) -> Option<Self> {
        let valid = !text.is_empty()
            && text.len() <= Self::BYTES_MAX
            && !text.chars().any(char::is_control);
        valid.then(|| Self(text.into()))
    }

    /// The origin's own spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectId(..)")
    }
}

/// HMAC-SHA-256(the subject's seed, quarter), cut to 16 bytes: how a subject stands in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym(pub [u8; 16]);

/// A subject's dense number on this node, given at first sight and never reused. What budgets and the index count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectOrdinal(pub u32);
