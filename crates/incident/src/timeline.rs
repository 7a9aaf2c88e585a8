//! What happened, in order, as a fold over the record: each line with its index in the log, where anybody can look it up.
//!
//! Accesses and refusals are told by the minute, so that an hour of polling is sixty lines and not a million; everything else is told
//! as it was.

use ledger::Record;
use ledger::record::{Body, Chain, NodeEvent};
use model::{IntegrationId, Outcome, Refusal, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};

/// Lines kept; what is left out is counted.
pub const LINES_MAX: usize = 5_000;

const MINUTE: u64 = 60_000_000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// When.
    pub at: UnixMicros,
    /// The record's index in the log; of several, the first. None for what stands in the case only.
    pub index: Option<u64>,
    /// What. Never a subject.
    pub says: String,
}

/// What is told about one minute: when it began to happen, the first record's index, and how often.
#[derive(Clone, Copy, Debug)]
struct Minute {
    at: UnixMicros,
    index: u64,
    count: u64,
    touches: u64,
}

impl Minute {
    const fn new(at: UnixMicros, index: u64) -> Self {
        Self { at, index, count: 0, touches: 0 }
    }
}

/// Takes the records of a window in order.
pub struct Timeline<'a> {
    /// Whose accesses are told; what concerns nobody in particular is told always.
    integrations: BTreeSet<IntegrationId>,
    /// What an integration is called.
    name: &'a dyn Fn(&IntegrationId) -> String,
    /// Turns a posture entry's bytes into a sentence.
    posture: &'a dyn Fn(&[u8]) -> Option<String>,
    reads: BTreeMap<(u64, IntegrationId), Minute>,
    refusals: BTreeMap<(u64, IntegrationId, Refusal), Minute>,
    strangers: BTreeMap<(u64, Refusal), Minute>,
    lines: Vec<Line>,
    left_out: u64,
}

impl<'a> Timeline<'a> {
    /// Starts one.
    pub fn new(
        integrations: BTreeSet<IntegrationId>,
        name: &'a dyn Fn(&IntegrationId) -> String,
        posture: &'a dyn Fn(&[u8]) -> Option<String>,
    ) -> Self {
        Self {
            integrations,
            name,
            posture,
            reads: BTreeMap::new(),
            refusals: BTreeMap::new(),
            strangers: BTreeMap::new(),
            lines: Vec::new(),
            left_out: 0,
        }
    }

    /// Takes the record at `index` of the log.
    pub fn push(&mut self, index: u64, record: &Record) {
        let at = record.header.time;
        let minute = at.0 / MINUTE;
        match (&record.body, record.header.chain) {
            (Body::Access(access), Chain::Integration(id)) => {
                if self.integrations.contains(&id) {
                    match access.outcome {
                        Outcome::Released => {
                            let told = self.reads.entry((minute, id));
                            let told = told.or_insert(Minute::new(at, index));
                            told.count += 1;
                            told.touches += record.touches.len() as u64;
                        }
                        Outcome::Refused(reason) => {
                            let told = self.refusals.entry((minute, id, reason));
                            told.or_insert(Minute::new(at, index)).count += 1;
                        }
                        Outcome::Attempted => {}
                    }
                }
            }
            (Body::UnauthenticatedRefusals { reason, count, .. }, _) => {
                let told = self.strangers.entry((minute, *reason));
                told.or_insert(Minute::new(at, index)).count += count;
            }
            (Body::Posture { entry }, _) => {
                let says = (self.posture)(entry)
                    .unwrap_or_else(|| "posture changed, by an entry that cannot be read".into());
                self.line(at, index, says);
            }
            (Body::OperatorAction { operator, action, .. }, _) => {
                self.line(at, index, format!("{operator}: {action}"));
            }
            (Body::Vetting { integration, step, .. }, _) => {
                if self.integrations.contains(integration) {
                    let says = format!("{}: {step}", (self.name)(integration));
                    self.line(at, index, says);
                }
            }
            (Body::Node(event), _) => self.line(at, index, node_event(event)),
            (Body::Access(_) | Body::NotReleased { .. } | Body::Heads(_), _) => {}
        }
    }

    fn line(&mut self, at: UnixMicros, index: u64, says: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(Line { at, index: Some(index), says });
        } else {
            self.left_out += 1;
        }
    }

    /// All lines in order of time, and how many were left out.
    pub fn finish(mut self) -> (Vec<Line>, u64) {
        let mut told = Vec::new();
        for ((_, id), minute) in &self.reads {
            let Minute { count, touches, .. } = minute;
            let who = (self.name)(id);
            told.push((*minute, format!("{who} was given {touches} records of people in {count} responses within a minute")));
        }
        for ((_, id, reason), minute) in &self.refusals {
            let (who, count, code) = ((self.name)(id), minute.count, reason.code());
            told.push((
                *minute,
                format!("{who} was refused {count} times within a minute: {code}"),
            ));
        }
        for ((_, reason), minute) in &self.strangers {
            let (count, code) = (minute.count, reason.code());
            told.push((
                *minute,
                format!(
                    "{count} requests that were only counted were refused within a minute: {code}"
                ),
            ));
        }
        for (Minute { at, index, .. }, says) in told {
            self.line(at, index, says);
        }
        self.lines.sort();
        (self.lines, self.left_out)
    }
}

fn node_event(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Start { lost_checkpoint: None } => "the node started".to_owned(),
        NodeEvent::Start { lost_checkpoint: Some(_) } => {
            "the node started a new generation: the log before it lost its end".to_owned()
        }
        NodeEvent::Stop => "the node stopped".to_owned(),
        NodeEvent::Gap { requests } => {
            format!("the node may have released {} requests without a lease", requests.len())
        }
        NodeEvent::Clock { step } => format!("the clock was stepped by {step} microseconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, INTEGRATION, T};

    #[test]
    fn a_minute_of_polling_is_one_line_with_the_first_records_index() {
        let name = |_: &IntegrationId| "ledgerly-billing".to_owned();
        let posture = |_: &[u8]| None;
        let mut timeline = Timeline::new([INTEGRATION].into(), &name, &posture);
        for (n, seconds) in (40..).zip([0, 10, 20, 70]) {
            let at = UnixMicros(T.0 + seconds * 1_000_000);
            timeline.push(n, &sample::record(at, &[(1, &[0]), (2, &[0])]));
        }
        let (lines, left_out) = timeline.finish();
        let told: Vec<_> = lines.iter().map(|line| (line.index, line.says.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    Some(40),
                    "ledgerly-billing was given 6 records of people in 3 responses within a minute"
                ),
                (
                    Some(43),
                    "ledgerly-billing was given 2 records of people in 1 responses within a minute"
                ),
            ]
        );
        assert_eq!((left_out, lines[0].at), (0, T));
    }

    #[test]
    fn others_accesses_are_not_told_and_a_flood_of_lines_is_counted() {
        let name = |_: &IntegrationId| String::new();
        let posture = |_: &[u8]| None;
        let mut timeline = Timeline::new(BTreeSet::new(), &name, &posture);
        timeline.push(0, &sample::record(T, &[(1, &[0])]));
        for n in 0..LINES_MAX as u64 + 7 {
            let mut record = sample::record(T, &[]);
            record.header.chain = Chain::System;
            record.body = Body::Posture { entry: Vec::new() };
            timeline.push(n, &record);
        }
        let (lines, left_out) = timeline.finish();
        assert_eq!((lines.len(), left_out), (LINES_MAX, 7));
        assert!(lines[0].says.contains("cannot be read"));
    }
}
