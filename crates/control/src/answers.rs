//! The other questions of the record: when, where, whose history, what is still held, what never left, what two scopes differ in.

use crate::long::{Long, Rows};
use crate::questions::{Archive, Asked, CannotAnswer};
use exposure::{Caveats, Question};
use incident::people::People;
use model::{ClassSet, DataClass, IntegrationId, SubjectId, UnixMicros};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use storage::embedded::logs::{Lack, LogGap, OfNode};
use storage::registry::Snapshot;

/// Country of whoever the directory of addresses gives none.
const UNKNOWN: &str = "unknown";

/// What a question wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Who was read, which classes, when, how often.
    #[default]
    Exposure,
    /// Different subjects by hour and class.
    Timeline,
    /// Different subjects by country.
    Countries,
    /// Which classes left at all.
    Classes,
    /// Every release that one subject's data went out with.
    History,
    /// What vendors still have, by the retention that each integration declared.
    Held,
}

/// An answer: JSON with its schema.
pub(crate) enum Answered {
    /// As it is.
    Short(Value),
    /// Still to be written.
    Long(Box<Long>),
}

impl Archive {
    /// The answer to a question.
    ///
    /// # Errors
    /// [`CannotAnswer`].
    pub(crate) fn answer(
        &self,
        asked: &Asked,
        snapshot: &Snapshot,
    ) -> Result<Answered, CannotAnswer> {
        if let Some((before, after)) = &asked.difference {
            return self.difference((before, after)).map(Answered::Short);
        }
        let question = &asked.question;
        let one = matches!(asked.wanted, Wanted::Exposure | Wanted::History);
        if (asked.subject.is_some() && !one)
            || (asked.scope.is_some() && asked.wanted != Wanted::Exposure)
        {
            let wrong = "hours, countries, classes and what is held are of everybody, and cannot be frozen: leave subject and scope out";
            return Err(CannotAnswer::Question(wrong.into()));
        }
        let answer = match asked.wanted {
            Wanted::Exposure | Wanted::History => return self.long(asked, snapshot),
            Wanted::Timeline => self.timeline(question, snapshot)?,
            Wanted::Countries => self.countries(question)?,
            Wanted::Classes => {
                let classes = self.logs.classes(question)?;
                let read = snapshot.classes.names(&classes);
                // Nothing is said of classes that were not asked for.
                let asked = |class: &&DataClass| {
                    let number = snapshot.classes.number(class);
                    question.classes.is_none_or(|set| number.is_some_and(|n| set.contains(n)))
                };
                let known = snapshot.classes.classes().iter().filter(asked);
                let never = known.map(DataClass::as_str).filter(|name| !read.contains(name));
                json!({ "schema": "portcullis.classes/1", "read": read, "never": never.collect::<Vec<_>>() })
            }
            Wanted::Held => self.held(asked, snapshot)?,
        };
        let caveats = self.caveats(asked, snapshot)?;
        Ok(Answered::Short(with_window(answer, question, caveats)))
    }

    fn long(&self, asked: &Asked, snapshot: &Snapshot) -> Result<Answered, CannotAnswer> {
        let rows = if asked.wanted == Wanted::History {
            self.history(asked)?
        } else {
            Rows::Exposure(Box::new(self.exposure(asked, snapshot)?))
        };
        let long = Long::new(rows, self.caveats(asked, snapshot)?, snapshot.classes.clone());
        Ok(Answered::Long(Box::new(long)))
    }

    fn caveats(&self, asked: &Asked, snapshot: &Snapshot) -> Result<Caveats, CannotAnswer> {
        let Question { from, to, .. } = asked.question;
        let mut gaps = self.gaps(&asked.question)?;
        gaps.extend(self.logs.gaps_of_nodes(from, to)?.iter().map(gap));
        Ok(Caveats { gaps, other_nodes: self.of_nodes(asked, snapshot)? })
    }

    /// Where this node's record of the window may lack something.
    pub(crate) fn gaps(&self, question: &Question) -> Result<Vec<Value>, CannotAnswer> {
        let gaps = self.logs.gaps(question.from, question.to)?;
        Ok(gaps.iter().map(gap).collect())
    }

    /// What other nodes' logs say. Whose their pseudonyms are only their own vaults know.
    fn of_nodes(&self, asked: &Asked, snapshot: &Snapshot) -> Result<Vec<Value>, CannotAnswer> {
        // By subject nothing is found there, and what is held is asked in other windows.
        if asked.subject.is_some() || asked.wanted == Wanted::Held {
            let row = |log: &str| json!({ "log": log, "note": "not asked: ask that node" });
            return Ok(self.logs.replicas.iter().map(|replica| row(replica.origin())).collect());
        }
        let row = |node: OfNode| {
            let OfNode { log, until, counted } = node;
            let classes = counted.totals.classes.keys().copied().collect();
            json!({
                "log": log,
                "until": until.map(|until| until.to_string()),
                "records": counted.totals.records,
                "pseudonyms": counted.totals.subjects,
                "classes": snapshot.classes.names(&classes),
                "note": "not in the sums above: who they are that node's vault alone knows, one person has another pseudonym each quarter, and whoever both nodes read counts at both",
            })
        };
        Ok(self.logs.of_nodes(&asked.question)?.into_iter().map(row).collect())
    }

    fn timeline(&self, question: &Question, snapshot: &Snapshot) -> Result<Value, CannotAnswer> {
        let lines = self.logs.timeline(question)?;
        let rows = lines.iter().map(|line| {
            let classes = line.classes.iter().map(|(class, subjects)| {
                let name = snapshot.classes.names(&ClassSet::from_iter([*class])).concat();
                (name, Value::from(*subjects))
            });
            let classes: serde_json::Map<String, Value> = classes.collect();
            json!({ "hour": line.hour.to_string(), "subjects": line.subjects, "classes": classes })
        });
        let rows: Vec<Value> = rows.collect();
        Ok(json!({ "schema": "portcullis.timeline/1", "hours": rows }))
    }

    fn countries(&self, question: &Question) -> Result<Value, CannotAnswer> {
        let subjects = self.logs.subjects(question)?;
        let text = match std::fs::read_to_string(&self.addresses) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| CannotAnswer::Addresses(error.to_string()))?,
        };
        let people = if text.is_empty() {
            People::nobody()
        } else {
            People::from_csv(&text).map_err(|error| CannotAnswer::Addresses(error.to_string()))?.0
        };
        let mut countries: BTreeMap<&str, u64> = BTreeMap::new();
        for ordinal in subjects.ordinals() {
            let subject = self.vault.subject(ordinal);
            let subject = subject.map_err(|error| CannotAnswer::Log(error.to_string()))?;
            let person = subject.and_then(|subject| people.get(&subject));
            let country = person.and_then(|person| person.country.as_deref()).unwrap_or(UNKNOWN);
            *countries.entry(country).or_default() += 1;
        }
        let rows = countries
            .iter()
            .map(|(country, subjects)| json!({ "country": country, "subjects": subjects }));
        Ok(
            json!({ "schema": "portcullis.countries/1", "countries": rows.collect::<Vec<_>>(), "subjects": subjects.len() }),
        )
    }

    fn history(&self, asked: &Asked) -> Result<Rows, CannotAnswer> {
        let subject = asked
            .subject
            .clone()
            .ok_or_else(|| CannotAnswer::Question("a history is of one subject: name it".into()))?;
        let known = self.vault.ordinal(&subject);
        let releases = match known {
            None => Vec::new(),
            Some(ordinal) => self.logs.history(ordinal, &asked.question)?,
        };
        let window = (asked.question.from, asked.question.to);
        Ok(Rows::History { subject, known: known.is_some(), releases, window })
    }

    /// Each integration in its own window: what it got within the time for which its vendor says that it keeps data.
    fn held(&self, asked: &Asked, snapshot: &Snapshot) -> Result<Value, CannotAnswer> {
        let all = || snapshot.directory.integrations.keys().copied().collect();
        let integrations: BTreeSet<IntegrationId> =
            asked.question.integrations.clone().unwrap_or_else(all);
        let mut everybody = BTreeSet::new();
        let mut rows = Vec::new();
        for integration in integrations {
            let days = asked.retention.get(&integration).copied();
            let kept =
                days.map(|days| model::Micros(u64::from(days).saturating_mul(86_400_000_000)));
            let since = kept.map_or(UnixMicros(0), |kept| asked.question.to - kept);
            let question = Question {
                integrations: Some(BTreeSet::from([integration])),
                from: asked.question.from.max(since),
                ..asked.question.clone()
            };
            let subjects = self.logs.subjects(&question)?;
            let classes = subjects.iter().fold(ClassSet::EMPTY, |all, (_, set)| all.union(&set));
            everybody.extend(subjects.ordinals());
            rows.push(json!({
                "integration": integration.to_string(),
                "retention_days": days,
                "since": question.from.to_string(),
                "subjects": subjects.len(),
                "classes": snapshot.classes.names(&classes),
            }));
        }
        Ok(
            json!({ "schema": "portcullis.held/1", "integrations": rows, "subjects": everybody.len() }),
        )
    }

    /// What the later of two frozen scopes has more, less, and otherwise.
    fn difference(&self, (before, after): (&str, &str)) -> Result<Value, CannotAnswer> {
        let (old, new) = (self.people_of(before)?, self.people_of(after)?);
        let only = |these: &BTreeMap<SubjectId, Value>, those: &BTreeMap<SubjectId, Value>| {
            let missing = these.keys().filter(|id| !those.contains_key(*id));
            missing.map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
        };
        let changed = new
            .iter()
            .filter(|(id, classes)| old.get(*id).is_some_and(|before| before != *classes));
        let changed: Vec<Value> = changed
            .map(|(id, classes)| json!({ "id": id.as_str(), "before": old.get(id), "after": classes }))
            .collect();
        Ok(json!({
            "schema": "portcullis.difference/1",
            "before": before,
            "after": after,
            "added": only(&new, &old),
            "gone": only(&old, &new),
            "changed": changed,
        }))
    }

    /// Subjects and classes of a frozen scope, `NAME` for its latest version or `NAME.VERSION`.
    fn people_of(&self, scope: &str) -> Result<BTreeMap<SubjectId, Value>, CannotAnswer> {
        let unknown = || CannotAnswer::Scope(format!("there is no scope `{scope}`"));
        let (name, version) = match scope.split_once('.') {
            Some((name, version)) => (name, version.parse().map_err(|_| unknown())?),
            None => (scope, self.latest(scope)?.ok_or_else(unknown)?),
        };
        let bytes = self.frozen(name, version).map_err(|_| unknown())?;
        let malformed = |error: serde_json::Error| CannotAnswer::Scope(error.to_string());
        let mut frozen: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        let rows = frozen.get_mut("subjects").and_then(Value::as_array_mut);
        let row = |row: &mut Value| {
            // Whoever was erased since is nobody to be compared.
            let id = row.get("id")?.as_str().filter(|id| *id != "erased")?;
            let id = SubjectId::new(id)?;
            Some((id, row.get_mut("classes")?.take()))
        };
        Ok(rows.into_iter().flatten().filter_map(row).collect())
    }
}

pub(crate) fn window(from: UnixMicros, to: UnixMicros) -> Value {
    json!({ "from": from.to_string(), "to": to.to_string() })
}

/// What may be missing, and what to do about it.
fn gap(LogGap { log, what }: &LogGap) -> Value {
    let (time, record, since, why, advice) = match what {
        Lack::LostEnd { gap, since, damage } => (
            Some(gap.time),
            gap.record,
            *since,
            format!(
                "the log begins here, because the generation before it lost its end{}",
                damage.as_ref().map(|damage| format!(" ({damage})")).unwrap_or_default()
            ),
            match since {
                Some(_) => {
                    "What was kept of that generation is in this answer. Count as read whatever it may have recorded between the last record that is here and this one"
                }
                None => {
                    "Put what was kept of that generation into `generations/`, and it is in the answer. Count as read whatever it may have recorded"
                }
            },
        ),
        Lack::Thinned(thinned) => (
            Some(thinned.until),
            thinned.records.saturating_sub(1),
            None,
            format!("the record up to {} was thinned by retention", thinned.until),
            "Whom somebody read until then is gone for good; ask from a later time on",
        ),
        Lack::Missing(missing) => {
            let end = missing.end.map_or("on".to_owned(), |end| format!("to {}", end - 1));
            (
                missing.until,
                missing.first,
                missing.since,
                format!("records from {} {end} are not here: {}", missing.first, missing.why),
                "Put the files into their places, and the next answer has them",
            )
        }
    };
    let (since, time) = (since.map(|since| since.to_string()), time.map(|time| time.to_string()));
    json!({ "node": log, "since": since, "time": time, "record": record, "why": why, "advice": advice })
}

fn with_window(mut answer: Value, question: &Question, caveats: Caveats) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.entry("window").or_insert(window(question.from, question.to));
        let Caveats { gaps, other_nodes } = caveats;
        if !gaps.is_empty() {
            members.insert("gaps".into(), gaps.into());
        }
        if !other_nodes.is_empty() {
            members.insert("other_nodes".into(), other_nodes.into());
        }
    }
    answer
}
