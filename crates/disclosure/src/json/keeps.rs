//! The kept parts of a body as spans of the original bytes, so that a decision can be taken back until the end.

use std::ops::Range;

/// Kept spans, in order, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keeps {
    spans: Vec<Range<usize>>,
}

/// A moment to return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    count: usize,
    last_end: usize,
}

impl Keeps {
    /// Keeps `start..end`; `start` is not before the end of what is already kept.
    pub(crate) fn keep(&mut self, start: usize, end: usize) {
        match self.spans.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.spans.push(start..end),
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { count: self.spans.len(), last_end: self.spans.last().map_or(0, |last| last.end) }
    }

    /// Forgets everything kept since `mark`.
    pub(crate) fn restore(&mut self, mark: Mark) {
        self.spans.truncate(mark.count);
        if let Some(last) = self.spans.last_mut() {
            last.end = mark.last_end;
        }
    }

    /// Moves the kept bytes of `body` together and drops the rest.
    pub(crate) fn apply(&self, body: &mut Vec<u8>) {
        let mut length = 0;
        for span in &self.spans {
            // A span outside the body can only be our own bug, and what would leave is unknown.
            assert!(span.start >= length && span.end <= body.len(), "a kept span is out of order");
            body.copy_within(span.clone(), length);
            length += span.len();
        }
        body.truncate(length);
    }
}
