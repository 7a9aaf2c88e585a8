//! The questions, how long their answers take, and the answers as numbers.

use super::integration;
use super::traffic::{
    ADDRESSES, DAY, DAYS, HOUR, INTEGRATIONS, NEVER, POLLING, RARE, START, SUSPECT,
};
use anyhow::Result;
use exposure::Question;
use exposure::index::{Index, IndexFile, Subjects, Unreadable};
use model::{ClassNumber, ClassSet, SubjectOrdinal, UnixMicros};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use storage::embedded::workers::workers;

/// A question by name.
pub(super) struct Asked {
    pub(super) name: &'static str,
    kind: Kind,
    from: u64,
    to: u64,
    integrations: Option<Vec<u16>>,
    networks: Option<Vec<String>>,
    class: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Subjects,
    /// Of one subject, which is polled and in every seed's rows.
    Subject,
    Timeline,
    Countries,
    Ever,
    Readers,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) median: Duration,
    min: Duration,
    runs: usize,
    pub(super) cold: Option<Duration>,
    pub(super) rows: Vec<Vec<u32>>,
}

/// The subject that the polling meets first.
const VICTIM: u32 = 0;

/// The figures' questions.
pub(super) fn all() -> Vec<Asked> {
    let ask = |name, kind, from, to| Asked {
        name,
        kind,
        from,
        to,
        integrations: None,
        networks: None,
        class: None,
    };
    let by = |asked: Asked, who: u16| Asked { integrations: Some(vec![who]), ..asked };
    let of = |asked: Asked, class: u32| Asked { class: Some(class), ..asked };
    let end = START + DAYS * DAY;
    let unaligned = START + 21 * DAY + 5 * HOUR + 654_321;
    let networks =
        ADDRESSES.iter().map(|address| format!("{}/32", std::net::Ipv4Addr::from_bits(*address)));
    let before = POLLING.start - 9 * HOUR;
    let first_hour = POLLING.start / HOUR * HOUR - 24 * HOUR;
    vec![
        by(ask("q1", Kind::Subjects, POLLING.start, POLLING.end), SUSPECT),
        by(ask("q1b", Kind::Subjects, START + 30 * DAY, START + 60 * DAY), 0),
        by(ask("q1c", Kind::Subjects, unaligned, unaligned + 44 * DAY), 0),
        ask("q1f", Kind::Subjects, START, end),
        ask("q2", Kind::Subject, START, end),
        Asked {
            networks: Some(networks.collect()),
            ..ask("q3", Kind::Subjects, before, before + DAY)
        },
        Asked {
            networks: Some(vec!["10.0.20.0/24".into()]),
            ..ask("q3vendor", Kind::Subjects, before, before + DAY)
        },
        by(ask("q4", Kind::Timeline, first_hour, first_hour + 48 * HOUR), SUSPECT),
        ask("q4all", Kind::Timeline, first_hour - 3 * DAY, first_hour + 4 * DAY),
        by(ask("q5", Kind::Countries, POLLING.start, POLLING.end), SUSPECT),
        of(ask("q6never", Kind::Ever, 0, u64::MAX), NEVER),
        of(ask("q6ever", Kind::Ever, 0, u64::MAX), RARE),
        of(ask("q6whom", Kind::Readers, 0, u64::MAX), RARE),
    ]
}

impl Asked {
    pub(super) fn to_json(&self) -> Value {
        let kind = match self.kind {
            Kind::Subjects => "subjects",
            Kind::Subject => "subject",
            Kind::Timeline => "timeline",
            Kind::Countries => "countries",
            Kind::Ever => return json!({ "name": self.name, "kind": "ever", "class": self.class }),
            Kind::Readers => {
                return json!({ "name": self.name, "kind": "readers", "class": self.class });
            }
        };
        let mut question =
            json!({ "name": self.name, "kind": kind, "from": self.from, "to": self.to });
        if let Some(members) = question.as_object_mut() {
            match self.kind {
                Kind::Subject => {
                    members.insert("subject".into(), VICTIM.into());
                }
                Kind::Subjects | Kind::Timeline | Kind::Countries | Kind::Ever | Kind::Readers => {
                    members.insert("integrations".into(), json!(self.integrations));
                }
            }
            if let Some(networks) = &self.networks {
                members.insert("networks".into(), json!(networks));
            }
        }
        question
    }

    fn question(&self) -> Question {
        let integrations = self.integrations.as_ref();
        let networks = self.networks.as_ref();
        let class = self.class.and_then(|class| u8::try_from(class).ok()).map(ClassNumber::new);
        Question {
            integrations: integrations.map(|ids| ids.iter().map(|id| integration(*id)).collect()),
            networks: networks.map(|nets| {
                nets.iter().filter_map(|net| net.parse().ok()).collect::<BTreeSet<_>>()
            }),
            classes: class.map(|class| ClassSet::from_iter([class])),
            ..Question::all(UnixMicros(self.from), UnixMicros(self.to))
        }
    }

    /// Asks at least five times with everything in memory, and five times with nothing of the files in memory.
    pub(super) fn measure(
        &self,
        files: &[IndexFile],
        countries: &[u8],
        dir: &Path,
    ) -> Result<Outcome> {
        let question = self.question();
        // The memory of one answer is used for the next, as a server does it.
        let mut reused = Subjects::default();
        let mut ask = || -> Result<(Duration, Vec<Vec<u32>>)> {
            let started = Instant::now();
            let index = Index::new(files, []).with(workers());
            let rows = self.ask(&question, &index, countries, &mut reused)?;
            Ok((started.elapsed(), black_box(rows)))
        };
        let (_, rows) = ask()?;
        let mut warm = Vec::new();
        let began = Instant::now();
        while warm.len() < 5 || (warm.len() < 15 && began.elapsed() < Duration::from_secs(5)) {
            warm.push(ask()?.0);
        }
        let mut cold = Vec::new();
        for _ in 0..5 {
            forget(dir)?;
            cold.push(ask()?.0);
        }
        warm.sort_unstable();
        cold.sort_unstable();
        let median = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default();
        Ok(Outcome {
            median: median(&warm),
            min: warm.first().copied().unwrap_or_default(),
            runs: warm.len(),
            cold: Some(median(&cold)),
            rows: if self.kind == Kind::Subjects { rows_of(&reused) } else { rows },
        })
    }

    fn ask(
        &self,
        question: &Question,
        index: &Index<'_>,
        countries: &[u8],
        reused: &mut Subjects,
    ) -> Result<Vec<Vec<u32>>, Unreadable> {
        Ok(match self.kind {
            // The subjects themselves are the answer; rows are made of them afterwards.
            Kind::Subjects => {
                index.subjects_into(question, reused)?;
                Vec::new()
            }
            Kind::Subject => {
                let history = index.history(SubjectOrdinal(VICTIM), question)?;
                let row = |touched: &exposure::index::Touched| {
                    let record = u32::try_from(touched.record).unwrap_or(u32::MAX);
                    vec![record, number_of(&touched.context.integration), bits(&touched.classes)]
                };
                history.iter().map(row).collect()
            }
            Kind::Timeline => {
                let lines = index.timeline(question)?;
                let mut rows = Vec::new();
                for line in &lines {
                    let hour = u32::try_from(line.hour.0 / HOUR).unwrap_or(u32::MAX);
                    rows.extend(line.classes.iter().map(|(class, subjects)| {
                        let number = u32::try_from(class.index()).unwrap_or(u32::MAX);
                        vec![hour, number, u32::try_from(*subjects).unwrap_or(u32::MAX)]
                    }));
                }
                rows
            }
            Kind::Countries => {
                index.subjects_into(question, reused)?;
                let country =
                    |who: SubjectOrdinal| countries.get(who.0 as usize).copied().unwrap_or(0);
                let counts = reused.by_group(workers(), country);
                let counted = counts.iter().zip(0_u32..).filter(|(count, _)| **count > 0);
                let number = |count: &u64| u32::try_from(*count).unwrap_or(u32::MAX);
                counted.map(|(count, country)| vec![country, number(count)]).collect()
            }
            Kind::Ever => vec![vec![u32::from(!index.classes(question)?.is_empty())]],
            Kind::Readers => {
                let mut rows = Vec::new();
                for number in 0..INTEGRATIONS {
                    let one = Question {
                        integrations: Some(BTreeSet::from([integration(number)])),
                        ..question.clone()
                    };
                    if !index.classes(&one)?.is_empty() {
                        rows.push(vec![u32::from(number)]);
                    }
                }
                rows
            }
        })
    }
}

fn rows_of(subjects: &Subjects) -> Vec<Vec<u32>> {
    let mut last = (ClassSet::EMPTY, 0);
    let row = |(ordinal, classes): (SubjectOrdinal, ClassSet)| {
        if classes != last.0 {
            last = (classes, bits(&classes));
        }
        vec![ordinal.0, last.1]
    };
    subjects.iter().map(row).collect()
}

impl Outcome {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "median_ms": super::millis(self.median),
            "min_ms": super::millis(self.min),
            "runs": self.runs,
            "cold_ms": self.cold.map(super::millis),
            "rows": self.rows.len(),
        })
    }
}

fn number_of(id: &model::IntegrationId) -> u32 {
    let [high, low, ..] = *id.as_bytes();
    u32::from(u16::from_be_bytes([high, low]))
}

fn bits(classes: &ClassSet) -> u32 {
    classes.iter().fold(0, |bits, class| bits | 1 << class.index())
}

/// Takes the index's files out of the page cache.
fn forget(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
