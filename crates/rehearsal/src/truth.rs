//! Who was really read: what the origin logged, joined with what clients received. The gateway has no word in it.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// One answer, as the origin logged it. Members beside these are the origin's own business.
#[derive(Debug, Deserialize)]
struct Line {
    request: String,
    status: u16,
    subjects: Vec<String>,
}

/// What clients saw of the requests they made, by the gateway's request id.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Requests answered with data.
    pub data: BTreeSet<String>,
    /// Requests answered with anything else.
    pub refused: BTreeSet<String>,
}

/// Who was read, and in how many answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// By subject, answers that somebody received.
    pub received: BTreeMap<String, u64>,
    /// By subject, answers that the origin gave and whose request no client heard of again: cut off under way. They may have been read, and
    /// count as read.
    pub in_doubt: BTreeMap<String, u64>,
}

/// What a scope is off by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeError {
    /// Subjects that were read, or read more often than the scope says.
    pub missing: u64,
    /// Subjects that were not read, or less often than the scope says.
    pub surplus: u64,
}

impl ScopeError {
    /// Both together; 0 is exact: precision and recall are 1.
    pub const fn sum(self) -> u64 {
        self.missing + self.surplus
    }
}

/// A line of the origin's log that is not what it should be. The rehearsal is at fault.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the origin's log: {reason}")]
pub struct BadLine {
    line: usize,
    reason: serde_json::Error,
}

impl Truth {
    /// Joins the origin's log, a JSON object a line, with what the clients in question saw. `all`: what every client saw, so that
    /// requests of others are not in doubt.
    ///
    /// # Errors
    /// [`BadLine`].
    pub fn join(log: &str, seen: &Seen, all: &Seen) -> Result<Self, BadLine> {
        let mut truth = Self::default();
        for (at, line) in log.lines().enumerate() {
            let line: Line =
                serde_json::from_str(line).map_err(|reason| BadLine { line: at + 1, reason })?;
            if line.status != 200 {
                continue;
            }
            let heard = all.data.contains(&line.request) || all.refused.contains(&line.request);
            let into = if seen.data.contains(&line.request) {
                &mut truth.received
            } else if heard {
                continue;
            } else {
                &mut truth.in_doubt
            };
            for subject in line.subjects {
                *into.entry(subject).or_default() += 1;
            }
        }
        Ok(truth)
    }

    /// How far a scope, answers by subject, is from it.
    pub fn error_of(&self, scope: &BTreeMap<String, u64>) -> ScopeError {
        let everybody: BTreeSet<&String> = self.received.keys().chain(scope.keys()).collect();
        let count = |of: &BTreeMap<String, u64>, id| of.get(id).copied().unwrap_or(0);
        let mut error = ScopeError::default();
        for id in everybody {
            let (least, said) = (count(&self.received, id), count(scope, id));
            error.missing += u64::from(said < least);
            error.surplus += u64::from(said > least + count(&self.in_doubt, id));
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"request":"r1","status":200,"subjects":["a","b"],"asked":"x"}
{"request":"r2","status":200,"subjects":["a"]}
{"request":"r3","status":404,"subjects":[]}
{"request":"r4","status":200,"subjects":["c"]}
{"request":"r5","status":200,"subjects":["d"]}"#;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect()
    }

    #[test]
    fn received_is_what_the_origin_gave_and_a_client_got() {
        let seen = Seen { data: set(&["r1", "r2"]), refused: set(&["r3", "r4"]) };
        let truth = Truth::join(LOG, &seen, &seen).unwrap();
        assert_eq!(truth.received, counts(&[("a", 2), ("b", 1)]));
        assert_eq!(truth.in_doubt, counts(&[("d", 1)]));
        let error = |scope: &[(&str, u64)]| {
            let ScopeError { missing, surplus } = truth.error_of(&counts(scope));
            (missing, surplus)
        };
        assert_eq!(error(&[("a", 2), ("b", 1)]), (0, 0));
        assert_eq!(error(&[("a", 2), ("b", 1), ("d", 1)]), (0, 0), "in doubt counts as read");
        assert_eq!(error(&[("a", 1), ("b", 1)]), (1, 0));
        assert_eq!(error(&[("a", 2), ("b", 1), ("c", 1)]), (0, 1));
        assert_eq!(error(&[]), (2, 0));
    }

    #[test]
    fn requests_of_others_are_not_in_doubt() {
        let (seen, all) =
            (Seen::default(), Seen { data: set(&["r1", "r2", "r4", "r5"]), ..Seen::default() });
        assert_eq!(Truth::join(LOG, &seen, &all).unwrap(), Truth::default());
        assert!(Truth::join("{}", &seen, &all).unwrap_err().to_string().contains("line 1"));
    }
}
