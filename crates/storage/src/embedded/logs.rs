//! Every log that a question is asked of: the one in use, the generations before it, and copies of other nodes' logs.
//!
//! The logs of this node share its vault, so that their answers are one: whoever is in two of them counts once. Another node has another
//! vault, and what its log says stands beside the answer, under pseudonyms. Each log is asked by itself, as of the moment it is asked.

use crate::embedded::beside::{Beside, Missing};
use crate::embedded::index::{CannotIndex, ExposureIndex};
use crate::embedded::view::Thinned;
use exposure::Question;
use exposure::index::{Counted, Gap, HourLine, Index, OfLog, Subjects, Touched, Unreadable};
use ledger::bundle::TAKEN_BACK_WITHIN;
use model::{ClassSet, SubjectOrdinal, UnixMicros};
use std::sync::Arc;

/// Where the indexes of the logs beside the one in use lie in the data directory.
pub const INDEXES_DIR: &str = "indexes";

/// Where copies of other nodes' logs come to in the data directory, each as `NAME/ledger`.
pub const REPLICAS_DIR: &str = "replicas";

/// The logs of one data directory.
pub struct Logs {
    /// The name of the log in use.
    pub origin: String,
    /// Its index.
    pub current: Arc<ExposureIndex>,
    /// The generations before it that are here, oldest first.
    pub former: Vec<Beside>,
    /// Copies of other nodes' logs.
    pub replicas: Vec<Beside>,
}

/// Where the record of a window may lack something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGap {
    /// Which log says so, or lacks it.
    pub log: String,
    /// What is lacking.
    pub what: Lack,
}

/// What a log may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The end of the generation before.
    LostEnd {
        /// The first record of this one, which says so.
        gap: Gap,
        /// The time of the last record of the one before, if any is here.
        since: Option<UnixMicros>,
        /// What is wrong behind it, if it did not just end.
        damage: Option<String>,
    },
    /// Bodies and touches that retention took.
    Thinned(Thinned),
    /// Records that are not here.
    Missing(Missing),
}

/// What another node's log says.
#[derive(Clone, Debug)]
pub struct OfNode {
    /// Its name.
    pub log: String,
    /// The time of the last of its records that is here.
    pub until: Option<UnixMicros>,
    /// Who was read, by pseudonyms, of which one person has one each quarter.
    pub counted: Counted,
}

impl Logs {
    /// Who was read, when and how often.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn count(&self, question: &Question) -> Result<Counted, CannotIndex> {
        Ok(Counted::unite(self.each(|index| index.count(question))?))
    }

    /// Who was read, and which classes.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn subjects(&self, question: &Question) -> Result<Subjects, CannotIndex> {
        match &self.own()?[..] {
            [(_, only)] => only.ask(|index| index.subjects(question)),
            logs => {
                let answers =
                    logs.iter().map(|(_, index)| index.ask(|index| index.of_log(question)));
                Ok(Subjects::unite(answers.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Which classes were read at all.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn classes(&self, question: &Question) -> Result<ClassSet, CannotIndex> {
        let classes = self.each(|index| index.classes(question))?;
        Ok(classes.iter().fold(ClassSet::EMPTY, |all, set| all.union(set)))
    }

    /// Different subjects by hour and class.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn timeline(&self, question: &Question) -> Result<Vec<HourLine>, CannotIndex> {
        const HOUR: u64 = 3_600_000_000;
        let logs: Vec<Arc<ExposureIndex>> =
            self.own()?.into_iter().map(|(_, index)| index).collect();
        let lines = logs.iter().map(|index| index.ask(|index| index.timeline(question)));
        let lines = lines.collect::<Result<_, _>>()?;
        HourLine::unite(lines, |log, hour| {
            let question = Question {
                from: question.from.max(hour),
                to: question.to.min(UnixMicros(hour.0 + HOUR)),
                ..question.clone()
            };
            let index = logs.get(log).map(|index| index.ask(|index| index.of_log(&question)));
            index.unwrap_or_else(|| Ok(OfLog::default()))
        })
    }

    /// Every release that one subject's data went out with, each with the log that has it, in order of time.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn history(
        &self,
        ordinal: SubjectOrdinal,
        question: &Question,
    ) -> Result<Vec<(String, Touched)>, CannotIndex> {
        let mut all = Vec::new();
        for (log, index) in self.own()? {
            let history = index.ask(|index| index.history(ordinal, question))?;
            all.extend(history.into_iter().map(|touched| (log.to_owned(), touched)));
        }
        // Generations follow each other in time, so of one moment the earlier one stands first.
        all.sort_by_key(|(_, touched)| touched.time);
        Ok(all)
    }

    /// What other nodes' logs say, as far as they are here.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn of_nodes(&self, question: &Question) -> Result<Vec<OfNode>, CannotIndex> {
        let of_node = |replica: &Beside| {
            let stretches = replica.look()?.stretches;
            let until = stretches.last().map(|stretch| stretch.until);
            let counted =
                stretches.iter().map(|stretch| stretch.index.ask(|index| index.count(question)));
            let counted = Counted::unite(counted.collect::<Result<_, _>>()?);
            Ok(OfNode { log: replica.origin().to_owned(), until, counted })
        };
        self.replicas.iter().map(of_node).collect()
    }

    /// Where this node's record of a window may lack something, log by log.
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn gaps(&self, from: UnixMicros, to: UnixMicros) -> Result<Vec<LogGap>, CannotIndex> {
        let (mut gaps, end_before) = gaps_of(&self.former, (from, to))?;
        gaps.extend(recorded(&self.origin, &self.current, end_before, (from, to))?);
        Ok(gaps)
    }

    /// Where what is here of other nodes' logs lacks something. That they go on behind what is here is no gap: [`OfNode::until`].
    ///
    /// # Errors
    /// [`CannotIndex`].
    pub fn gaps_of_nodes(
        &self,
        from: UnixMicros,
        to: UnixMicros,
    ) -> Result<Vec<LogGap>, CannotIndex> {
        Ok(gaps_of(&self.replicas, (from, to))?.0)
    }

    /// Has every index take in what is there, and write its files.
    ///
    /// # Errors
    /// [`CannotIndex`]: the first of them; the others did.
    pub fn catch_up(&self) -> Result<(), CannotIndex> {
        let mut done = self.current.catch_up();
        for beside in self.former.iter().chain(&self.replicas) {
            let caught_up = beside.look().and_then(|found| {
                found.stretches.iter().try_for_each(|stretch| stretch.index.catch_up())
            });
            done = done.and(caught_up);
        }
        done
    }

    /// As [`ExposureIndex::forget`], of all logs of this node. No other node's index has an ordinal of its vault.
    ///
    /// # Errors
    /// Those of the file system: call again.
    pub fn forget(&self) -> Result<(), CannotIndex> {
        self.current.forget()?;
        self.former.iter().try_for_each(Beside::forget)
    }

    /// Asks each stretch of this node's logs.
    fn each<T>(
        &self,
        answer: impl Fn(&Index<'_>) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, CannotIndex> {
        self.own()?.iter().map(|(_, index)| index.ask(&answer)).collect()
    }

    /// This node's logs, in order of time, piece by piece.
    fn own(&self) -> Result<Vec<(&str, Arc<ExposureIndex>)>, CannotIndex> {
        let mut own = Vec::new();
        for former in &self.former {
            let stretches = former.look()?.stretches.into_iter();
            own.extend(stretches.map(|stretch| (former.origin(), stretch.index)));
        }
        own.push((&self.origin, Arc::clone(&self.current)));
        Ok(own)
    }
}

/// What logs lack, in order, and the last one's name and end.
fn gaps_of(
    logs: &[Beside],
    (from, to): (UnixMicros, UnixMicros),
) -> Result<(Vec<LogGap>, Option<End>), CannotIndex> {
    let (mut gaps, mut end_before) = (Vec::new(), None);
    for beside in logs {
        let found = beside.look()?;
        let log = beside.origin();
        let missing = found.missing.iter().filter(|missing| missing.touches(from, to));
        let missing = missing.cloned().map(Lack::Missing);
        gaps.extend(missing.map(|what| LogGap { log: log.to_owned(), what }));
        for stretch in &found.stretches {
            gaps.extend(recorded(log, &stretch.index, end_before.take(), (from, to))?);
        }
        let until = found.stretches.last().map(|last| last.until);
        end_before = Some(End { log: log.to_owned(), until, damage: found.end });
    }
    Ok((gaps, end_before))
}

/// Where a log ends here.
struct End {
    log: String,
    until: Option<UnixMicros>,
    damage: Option<String>,
}

/// What retention took, and the gaps that a log itself recorded. `end_before`: of the log before it.
fn recorded(
    log: &str,
    index: &ExposureIndex,
    end_before: Option<End>,
    (from, to): (UnixMicros, UnixMicros),
) -> Result<Vec<LogGap>, CannotIndex> {
    let gaps = index.ask(|index| Ok(index.gaps(from)))?;
    let lack = |gap: Gap| {
        let before = end_before.as_ref().filter(|before| precedes(&before.log, log));
        let since = before.and_then(|before| before.until);
        let damage = before.and_then(|before| before.damage.clone());
        // What was lost may take back what was released in the minute before.
        let touched = since.is_none_or(|since| since < to + TAKEN_BACK_WITHIN);
        touched.then_some(Lack::LostEnd { gap, since, damage })
    };
    let thinned = index.thinned_in(from, to).map(Lack::Thinned);
    let gaps = thinned.into_iter().chain(gaps.into_iter().filter_map(lack));
    Ok(gaps.map(|what| LogGap { log: log.to_owned(), what }).collect())
}

/// Whether two names are of generations of which one follows the other.
fn precedes(before: &str, after: &str) -> bool {
    let parts = |name: &str| {
        let (node, generation) = name.rsplit_once('/')?;
        Some((node.to_owned(), generation.parse::<u64>().ok()?))
    };
    match (parts(before), parts(after)) {
        (Some((a, before)), Some((b, after))) => a == b && before.checked_add(1) == Some(after),
        _ => false,
    }
}
