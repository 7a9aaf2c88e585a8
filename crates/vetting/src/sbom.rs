//! Software bills of materials in CycloneDX JSON 1.4 to 1.7: checked against the published schema, then reduced to what matching needs.
//!
//! The schemas are compiled in, without their descriptions; `testdata/SOURCES.md` says where they are from. A signature is checked
//! for its form only, not for what it signs.

use crate::date;
use crate::json;
use crate::purl::Purl;
use crate::schema::{Fault, Schema};
use model::{Digest, UnixMicros};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Most bytes of one SBOM.
pub const BYTES_MAX: usize = 16 << 20;

/// Most components of one SBOM, nested ones included.
pub const COMPONENTS_MAX: usize = 100_000;

/// A valid SBOM: what an integration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sbom {
    /// Every component at any depth, in the document's order; the described software itself comes first, if it is named.
    pub components: Vec<Component>,
    /// When it was made, if it says so.
    pub made: Option<UnixMicros>,
    /// SHA-256 of the document's bytes.
    pub sha256: Digest,
}

/// One piece of software in an SBOM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name, without its group.
    pub name: String,
    /// Its version, as written.
    pub version: Option<String>,
    /// Its package URL, if it has one that can be read.
    pub purl: Option<Purl>,
    /// How the rest of the document refers to it.
    pub bom_ref: Option<String>,
}

/// A document that is not an SBOM we accept. Whoever submitted it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSbom {
    /// Longer than [`BYTES_MAX`].
    #[error("the SBOM is larger than 16 MiB")]
    TooLarge,
    /// Not JSON, nested too deeply, a member twice, or too many values; the text says which and where.
    #[error("the SBOM is not acceptable JSON: {0}")]
    NotJson(String),
    /// No `specVersion` of a version we read.
    #[error("`/specVersion` is not one of `1.4`, `1.5`, `1.6`, `1.7`")]
    UnknownVersion,
    /// Differs from the schema of its version.
    #[error("`{pointer}` {says}")]
    Invalid {
        /// The place, as a JSON pointer (RFC 6901); empty for the whole document.
        pointer: String,
        /// What is wrong there.
        says: String,
    },
    /// More than [`COMPONENTS_MAX`] components.
    #[error("the SBOM has more than 100,000 components")]
    TooManyComponents,
    /// A schema we ship does not compile: ours to repair. Nothing is accepted.
    #[error("our own schema is broken: {0}")]
    BrokenSchema(String),
}

impl Sbom {
    /// Reads and checks one CycloneDX JSON document.
    ///
    /// # Errors
    /// [`BadSbom`]; all but [`BadSbom::BrokenSchema`] mean that whoever submitted it is at fault.
    ///
    /// Source: CycloneDX 1.4 to 1.7, JSON schemas; and of their text, that every `bom-ref` is unique within the document.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSbom> {
        if bytes.len() > BYTES_MAX {
            return Err(BadSbom::TooLarge);
        }
        let document = json::read(bytes).map_err(BadSbom::NotJson)?;
        let schema = match document.get("specVersion").and_then(Value::as_str) {
            Some("1.4") => &SCHEMA_1_4,
            Some("1.5") => &SCHEMA_1_5,
            Some("1.6") => &SCHEMA_1_6,
            Some("1.7") => &SCHEMA_1_7,
            _ => return Err(BadSbom::UnknownVersion),
        };
        let schema = schema.as_ref().map_err(|says| BadSbom::BrokenSchema(says.clone()))?;
        schema.check(&document)?;
        references_are_unique(&document)?;

        let metadata = document.get("metadata");
        let mut components = Vec::new();
        if let Some(main) = metadata.and_then(|metadata| metadata.get("component")) {
            collect(main, &mut components)?;
        }
        collect_all(&document, &mut components)?;
        let made = metadata.and_then(|metadata| metadata.get("timestamp")?.as_str());
        Ok(Self { components, made: made.and_then(date::moment), sha256: sha256(bytes) })
    }
}

impl Component {
    /// Whether advisories could name it: it has a package URL of a type that they speak of.
    pub fn can_be_matched(&self) -> bool {
        self.purl.as_ref().is_some_and(|purl| purl.package().is_some())
    }

    /// The version in its package URL, else the one beside it.
    pub fn version_in_use(&self) -> Option<&str> {
        let in_purl = self.purl.as_ref().and_then(|purl| purl.version.as_deref());
        in_purl.or(self.version.as_deref()).filter(|version| !version.is_empty())
    }
}

impl From<Fault> for BadSbom {
    fn from(fault: Fault) -> Self {
        Self::Invalid { pointer: fault.pointer(), says: fault.says }
    }
}

/// The SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

fn collect_all(parent: &Value, into: &mut Vec<Component>) -> Result<(), BadSbom> {
    let children = parent.get("components").and_then(Value::as_array).into_iter().flatten();
    children.into_iter().try_for_each(|child| collect(child, into))
}

/// Adds `component` and what is nested in it. The document's depth bounds the recursion.
fn collect(component: &Value, into: &mut Vec<Component>) -> Result<(), BadSbom> {
    if into.len() >= COMPONENTS_MAX {
        return Err(BadSbom::TooManyComponents);
    }
    let text = |member| component.get(member).and_then(Value::as_str);
    into.push(Component {
        name: text("name").unwrap_or_default().to_owned(),
        version: text("version").map(str::to_owned),
        purl: text("purl").and_then(|purl| Purl::parse(purl).ok()),
        bom_ref: text("bom-ref").map(str::to_owned),
    });
    collect_all(component, into)
}

/// Checks that no two things in `document` have the same `bom-ref`.
///
/// `formulation` is left out: the specification's own valid examples name one workspace there more than once, and nothing that
/// is matched stands in it.
fn references_are_unique(document: &Value) -> Result<(), BadSbom> {
    let mut seen = BTreeSet::new();
    for (name, member) in document.as_object().into_iter().flatten() {
        if name != "formulation" {
            unique_below(member, &mut vec![Token::Member(name)], &mut seen)?;
        }
    }
    Ok(())
}

fn unique_below<'a>(
    value: &'a Value,
    path: &mut Vec<Token<'a>>,
    seen: &mut BTreeSet<&'a str>,
) -> Result<(), BadSbom> {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                path.push(Token::Member(name));
                if name == "bom-ref"
                    && let Some(reference) = member.as_str()
                    && !seen.insert(reference)
                {
                    let pointer = path.iter().map(Token::text).collect();
                    let says = format!("`{reference}` already refers to something else");
                    return Err(BadSbom::Invalid { pointer, says });
                }
                unique_below(member, path, seen)?;
                path.pop();
            }
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                path.push(Token::Item(position));
                unique_below(item, path, seen)?;
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

/// One step of a JSON pointer.
enum Token<'a> {
    Member(&'a str),
    Item(usize),
}

impl Token<'_> {
    fn text(&self) -> String {
        match self {
            Self::Member(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            Self::Item(position) => format!("/{position}"),
        }
    }
}

type Compiled = LazyLock<Result<Schema, String>>;
const SHARED: &str = include_str!("../schemas/cyclonedx-shared.json");
static SCHEMA_1_4: Compiled =
    LazyLock::new(|| Schema::compile(include_str!("../schemas/cyclonedx-1.4.json"), SHARED));
static SCHEMA_1_5: Compiled =
    LazyLock::new(|| Schema::compile(include_str!("../schemas/cyclonedx-1.5.json"), SHARED));
static SCHEMA_1_6: Compiled =
    LazyLock::new(|| Schema::compile(include_str!("../schemas/cyclonedx-1.6.json"), SHARED));
static SCHEMA_1_7: Compiled =
    LazyLock::new(|| Schema::compile(include_str!("../schemas/cyclonedx-1.7.json"), SHARED));

#[cfg(test)]
mod tests;
