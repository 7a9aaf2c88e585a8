//! `portcullis.exposure/1`: the JSON of an answer. Members in fixed order, lists sorted, no white space.

use crate::{Listed, Person, Question, Scope, Seen};
use model::{ClassSet, ClassTable};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// What an answer says of itself. Members that are empty are left out.
#[derive(Clone, Debug, Default)]
pub struct Caveats {
    /// Where the record of the window may lack something.
    pub gaps: Vec<Value>,
    /// What other nodes' logs say, which is in none of its sums.
    pub other_nodes: Vec<Value>,
}

/// Writes the answer as `portcullis exposure --json` prints it, row by row.
///
/// `scope`: where it is frozen, if it is. `proof`: name and hash of the evidence bundle's file, if one was written.
///
/// # Errors
/// Those of `out`.
pub fn write_json(
    out: impl io::Write,
    question: &Question,
    listed: &Listed,
    classes: &ClassTable,
    scope: Option<&Scope>,
    proof: Option<(&str, &model::Digest)>,
    caveats: &Caveats,
) -> io::Result<()> {
    let scope = scope.map(|scope| ScopeJson {
        name: scope.name().to_owned(),
        version: scope.version(),
        hash: Some(hex(scope.hash())),
    });
    let proof = proof.map(|(file, hash)| ProofJson { file: file.to_owned(), sha256: hex(hash) });
    let Caveats { gaps, other_nodes } = caveats;
    let document = document(question, listed, classes, scope);
    let document = Document { proof, gaps, other_nodes, ..document };
    Ok(serde_json::to_writer(out, &document)?)
}

/// What a scope's hash is over: the answer with the scope's name and version, and without a hash or proof.
pub(crate) fn freeze(
    out: impl io::Write,
    (name, version): (&str, u64),
    question: &Question,
    listed: &Listed,
    classes: &ClassTable,
) -> io::Result<()> {
    let scope = ScopeJson { name: name.to_owned(), version, hash: None };
    Ok(serde_json::to_writer(out, &document(question, listed, classes, Some(scope)))?)
}

fn document<'a>(
    question: &Question,
    listed: &'a Listed,
    classes: &'a ClassTable,
    scope: Option<ScopeJson>,
) -> Document<'a> {
    let names = |set: &ClassSet| -> Vec<String> { names(classes, set) };
    let totals = listed.totals();
    Document {
        schema: "portcullis.exposure/1",
        scope,
        window: WindowJson { from: question.from.to_string(), to: question.to.to_string() },
        question: QuestionJson {
            integrations: texts(question.integrations.as_ref()),
            credentials: texts(question.credentials.as_ref()),
            grants: texts(question.grants.as_ref()),
            operations: texts(question.operations.as_ref()),
            networks: texts(question.networks.as_ref()),
            classes: question.classes.as_ref().map(names),
            pseudonyms: question
                .pseudonyms
                .as_ref()
                .map(|wanted| wanted.iter().map(|pseudonym| hex(&pseudonym.0)).collect()),
        },
        subjects: Subjects { listed, classes },
        erased: Erased { listed, classes },
        totals: TotalsJson {
            subjects: totals.subjects,
            erased: listed.erased().count() as u64,
            records: totals.records,
            classes: totals
                .classes
                .iter()
                .map(|(class, total)| ClassJson {
                    class: names(&ClassSet::from_iter([*class])).concat(),
                    subjects: total.subjects,
                    records: total.records,
                })
                .collect(),
            integrations: totals
                .integrations
                .iter()
                .map(|(integration, total)| IntegrationJson {
                    integration: integration.to_string(),
                    records: total.records,
                    classes: names(&total.classes),
                    first: total.first.to_string(),
                    last: total.last.to_string(),
                })
                .collect(),
            hours: totals
                .hours
                .iter()
                .map(|(hour, total)| HourJson {
                    hour: hour.to_string(),
                    records: total.records,
                    touches: total.touches,
                })
                .collect(),
        },
        proof: None,
        gaps: &[],
        other_nodes: &[],
    }
}

fn row<'a>(id: Cow<'a, str>, seen: &Seen, classes: &ClassTable) -> SubjectJson<'a> {
    SubjectJson {
        id,
        classes: names(classes, &seen.classes),
        first: seen.first.to_string(),
        last: seen.last.to_string(),
        count: seen.count,
    }
}

impl Serialize for Subjects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let subjects = self.listed.subjects();
        serializer.collect_seq(subjects.map(|(id, seen)| row(id.into(), seen, self.classes)))
    }
}

impl Serialize for Erased<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let erased = self.listed.erased();
        serializer
            .collect_seq(erased.map(|(who, seen)| row(unnamed(who).into(), seen, self.classes)))
    }
}

/// How somebody without a name stands in an answer.
fn unnamed(person: &Person) -> String {
    match person {
        Person::Nameless(pseudonym) => hex(&pseudonym.0),
        Person::Known(ordinal) => format!("subject number {}", ordinal.0),
    }
}

/// A class that the table does not name, which can only be of a later table, keeps its number.
fn names(classes: &ClassTable, set: &ClassSet) -> Vec<String> {
    set.iter()
        .map(|class| {
            classes
                .name(class)
                .map_or_else(|| format!("class {}", class.index()), ToString::to_string)
        })
        .collect()
}

fn texts<'a, T: ToString + 'a>(
    filter: Option<impl IntoIterator<Item = &'a T>>,
) -> Option<Vec<String>> {
    filter.map(|filter| filter.into_iter().map(ToString::to_string).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    scope: Option<ScopeJson>,
    window: WindowJson,
    question: QuestionJson,
    subjects: Subjects<'a>,
    erased: Erased<'a>,
    totals: TotalsJson,
    proof: Option<ProofJson>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    gaps: &'a [Value],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    other_nodes: &'a [Value],
}

/// A row for each, made when it is written.
struct Subjects<'a> {
    listed: &'a Listed,
    classes: &'a ClassTable,
}

struct Erased<'a> {
    listed: &'a Listed,
    classes: &'a ClassTable,
}

#[derive(Serialize)]
struct ScopeJson {
    name: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

#[derive(Serialize)]
struct WindowJson {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct QuestionJson {
    integrations: Option<Vec<String>>,
    credentials: Option<Vec<String>>,
    grants: Option<Vec<String>>,
    operations: Option<Vec<String>>,
    networks: Option<Vec<String>>,
    classes: Option<Vec<String>>,
    pseudonyms: Option<Vec<String>>,
}

#[derive(Serialize)]
struct SubjectJson<'a> {
    id: Cow<'a, str>,
    classes: Vec<String>,
    first: String,
    last: String,
    count: u64,
}

#[derive(Serialize)]
struct TotalsJson {
    subjects: u64,
    erased: u64,
    records: u64,
    classes: Vec<ClassJson>,
    integrations: Vec<IntegrationJson>,
    hours: Vec<HourJson>,
}

#[derive(Serialize)]
struct ClassJson {
    class: String,
    subjects: u64,
    records: u64,
}

#[derive(Serialize)]
struct IntegrationJson {
    integration: String,
    records: u64,
    classes: Vec<String>,
    first: String,
    last: String,
}

#[derive(Serialize)]
struct HourJson {
    hour: String,
    records: u64,
    touches: u64,
}

#[derive(Serialize)]
struct ProofJson {
    file: String,
    sha256: String,
}
