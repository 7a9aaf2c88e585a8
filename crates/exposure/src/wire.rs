//! `portcullis.exposure/1`: the JSON of an answer. Members in fixed order, lists sorted, no white space.

use crate::{Exposure, Person, Question, Scope, Seen};
use model::{ClassSet, ClassTable};
use serde::Serialize;
use std::fmt::Write as _;

/// The answer as `portcullis exposure --json` prints it.
///
/// `scope`: where it is frozen, if it is. `proof`: name and hash of the evidence bundle's file, if one was written.
pub fn to_json(
    question: &Question,
    exposure: &Exposure,
    classes: &ClassTable,
    scope: Option<&Scope>,
    proof: Option<(&str, &model::Digest)>,
) -> String {
    let scope = scope.map(|scope| ScopeJson {
        name: scope.name().to_owned(),
        version: scope.version(),
        hash: Some(hex(scope.hash())),
    });
    let proof = proof.map(|(file, hash)| ProofJson { file: file.to_owned(), sha256: hex(hash) });
    write(&document(question, exposure, classes, scope, proof))
}

/// What a scope's hash is over: the answer with the scope's name and version, and without a hash or proof.
pub(crate) fn frozen(
    name: &str,
    version: u64,
    question: &Question,
    exposure: &Exposure,
    classes: &ClassTable,
) -> String {
    let scope = ScopeJson { name: name.to_owned(), version, hash: None };
    write(&document(question, exposure, classes, Some(scope), None))
}

/// Serialising strings and numbers into memory does not fail.
fn write(document: &Document) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

fn document(
    question: &Question,
    exposure: &Exposure,
    classes: &ClassTable,
    scope: Option<ScopeJson>,
    proof: Option<ProofJson>,
) -> Document {
    let names = |set: &ClassSet| -> Vec<String> { names(classes, set) };
    let person = |id: String, seen: &Seen| SubjectJson {
        id,
        classes: names(&seen.classes),
        first: seen.first.to_string(),
        last: seen.last.to_string(),
        count: seen.count,
    };
    let totals = &exposure.totals;
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
        subjects: exposure
            .subjects
            .iter()
            .map(|(id, seen)| person(id.as_str().to_owned(), seen))
            .collect(),
        erased: exposure.erased.iter().map(|(who, seen)| person(unnamed(who), seen)).collect(),
        totals: TotalsJson {
            subjects: totals.subjects,
            erased: exposure.erased.len() as u64,
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
        proof,
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
struct Document {
    schema: &'static str,
    scope: Option<ScopeJson>,
    window: WindowJson,
    question: QuestionJson,
    subjects: Vec<SubjectJson>,
    erased: Vec<SubjectJson>,
    totals: TotalsJson,
    proof: Option<ProofJson>,
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
struct SubjectJson {
    id: String,
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
