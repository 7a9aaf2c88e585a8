//! One operation: what it is called, what its request may carry, and which plan each of its answers has.

use super::ContractError;
use super::compile::Compiler;
use super::document::{escape_segment, follow};
use super::plan::{NodeId, Plan};
use super::request::Parameters;
use super::schema::{Schemas, annotation};
use crate::headers::{is_never_released, media_type};
use model::{ClassSet, OperationId, OperationKind};
use policy::OperationFacts;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What may be said of an operation.
const ANNOTATIONS: [&str; 3] =
    ["x-portcullis-operation", "x-portcullis-signature", "x-portcullis-subject"];

/// One operation of the contract.
#[derive(Debug)]
pub struct Operation {
    id: OperationId,
    method: String,
    path: String,
    kind: OperationKind,
    signature_required: bool,
    classes: ClassSet,
    pub(crate) parameters: Parameters,
    pub(crate) responses: Responses,
    pub(crate) subject: OperationSubject,
}

/// Whose its answers are, apart from what their schemas say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OperationSubject {
    /// As the schemas say.
    BySchema,
    /// The subject that this path parameter names.
    Parameter(Box<str>),
    /// Objects outside any record are about no one.
    Free,
}

impl Operation {
    /// The `operationId`, or `method:path` if the document gives none.
    pub fn id(&self) -> &OperationId {
        &self.id
    }

    /// The method, upper case.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path template as written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it does, as annotated; without annotation `GET`, `HEAD` and `OPTIONS` read and everything else writes.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// Whether its requests must be signed so that the proof covers query and content.
    pub fn requires_signature(&self) -> bool {
        self.signature_required
    }

    /// What the decision point needs to know.
    pub fn facts(&self) -> OperationFacts<'_> {
        OperationFacts { id: &self.id, kind: self.kind, classes: self.classes }
    }

    /// Whether a request can ask for it. A path with a fragment (`/files/{id}#add_shared_link`) documents a variant of the path
    /// before it, and no request can name it.
    pub fn is_routed(&self) -> bool {
        !self.path.contains('#')
    }
}

/// The answers of one operation.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    exact: Vec<(u16, Answer)>,
    /// `1XX` to `5XX`.
    ranges: Vec<(u16, Answer)>,
    default: Option<Answer>,
}

/// One declared answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Lower-case media type without parameters, and the plan of its JSON.
    content: Vec<(String, NodeId)>,
    /// Lower-case names of classified headers and what they need.
    pub(crate) headers: Vec<(String, ClassSet)>,
}

impl Responses {
    /// The answer declared for `status`: exact, then its range, then the default.
    pub(crate) fn answer(&self, status: u16) -> Option<&Answer> {
        let of =
            |list: &'_ [(u16, Answer)], code| list.iter().position(|(known, _)| *known == code);
        of(&self.exact, status)
            .and_then(|place| self.exact.get(place))
            .or_else(|| of(&self.ranges, status / 100).and_then(|place| self.ranges.get(place)))
            .map(|(_, answer)| answer)
            .or(self.default.as_ref())
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = NodeId> {
        self.all().flat_map(|answer| answer.content.iter().map(|(_, root)| *root))
    }

    fn all(&self) -> impl Iterator<Item = &Answer> {
        let listed = self.exact.iter().chain(&self.ranges).map(|(_, answer)| answer);
        listed.chain(&self.default)
    }
}

impl Answer {
    /// The plan for a body of `essence` (lower case, no parameters): the declared type itself, then `type/*`, then `*/*`.
    pub(crate) fn plan_for(&self, essence: &str) -> Option<NodeId> {
        let range = essence.split_once('/').map(|(kind, _)| format!("{kind}/*"));
        [Some(essence), range.as_deref(), Some("*/*")].into_iter().flatten().find_map(|wanted| {
            self.content.iter().find(|(known, _)| known == wanted).map(|(_, root)| *root)
        })
    }

    /// The plan for one value of a stream of `essence`: declared by that very name.
    pub(crate) fn stream_plan(&self, essence: &str) -> Option<NodeId> {
        self.content.iter().find(|(known, _)| known == essence).map(|(_, root)| *root)
    }
}

/// Compiles every operation of the document.
pub(crate) fn compile_all(
    document: &Value,
    schemas: Schemas<'_>,
) -> Result<Compiled, ContractError> {
    let mut compiler = Compiler::new(schemas);
    let mut operations = Vec::new();
    let mut ids = BTreeSet::new();
    let no_paths = Map::new();
    let paths = match document.get("paths") {
        Some(Value::Object(paths)) => paths,
        None => &no_paths,
        Some(_) => return Err(wrong("/paths", "not an object")),
    };
    for template in paths.keys().filter(|key| !key.starts_with("x-")) {
        let at = format!("/paths/{}", escape_segment(template));
        let (at, item) = follow(document, at)?;
        for method in METHODS {
            let Some(value) = item.get(method) else { continue };
            let at = format!("{at}/{method}");
            let value = value.as_object().ok_or_else(|| wrong(&at, "not an operation"))?;
            let source = Source { document, at: &at, value, template, method };
            let operation = source.compile(&mut compiler, item)?;
            if !ids.insert(operation.id.clone()) {
                return Err(ContractError::OperationTwice { id: operation.id.to_string() });
            }
            compiler.schemas.read.insert(at);
            operations.push(operation);
        }
    }
    let (plan, read) = compiler.finish()?;
    for operation in &mut operations {
        let mut classes = ClassSet::EMPTY;
        for answer in operation.responses.all() {
            for (_, root) in &answer.content {
                let below = plan.node(*root).map_or(ClassSet::EMPTY, |node| node.below);
                classes = classes.union(&below);
            }
            for (_, needs) in &answer.headers {
                classes = classes.union(needs);
            }
        }
        operation.classes = classes;
    }
    let mut unread = Vec::new();
    find_unread(document, &mut String::new(), &read, &mut unread);
    unread.sort();
    Ok(Compiled { operations, plan, unread })
}

/// Everything the document holds, compiled.
pub(crate) struct Compiled {
    pub(crate) operations: Vec<Operation>,
    pub(crate) plan: Plan,
    /// JSON pointers to annotated objects that no answer and no request leads to.
    pub(crate) unread: Vec<String>,
}

fn find_unread(value: &Value, at: &mut String, read: &BTreeSet<String>, unread: &mut Vec<String>) {
    let length = at.len();
    let mut descend = |segment: &str, child: &Value, at: &mut String| {
        at.push('/');
        at.push_str(segment);
        find_unread(child, at, read, unread);
        at.truncate(length);
    };
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                descend(&escape_segment(key), child, at);
            }
            if map.keys().any(|key| key.starts_with("x-portcullis-")) && !read.contains(at) {
                unread.push(at.clone());
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                descend(&index.to_string(), child, at);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One operation as it stands in the document.
struct Source<'a> {
    document: &'a Value,
    at: &'a str,
    value: &'a Map<String, Value>,
    template: &'a str,
    method: &'a str,
}

impl Source<'_> {
    fn compile(
        &self,
        compiler: &mut Compiler<'_>,
        item: &Value,
    ) -> Result<Operation, ContractError> {
        let id = match self.value.get("operationId").and_then(Value::as_str) {
            Some(id) => OperationId::new(id),
            None => OperationId::new(&format!("{}:{}", self.method, self.template)),
        };
        let id = id.ok_or_else(|| wrong(self.at, "its id is not 1 to 128 visible ASCII"))?;
        let shared = self.at.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parameters = Parameters::compile(
            self.document,
            &[(shared, item.get("parameters")), (self.at, self.value.get("parameters"))],
            self.value.contains_key("requestBody").then(|| format!("{}/requestBody", self.at)),
            &mut compiler.schemas,
        )?;
        Ok(Operation {
            id,
            method: self.method.to_ascii_uppercase(),
            path: self.template.to_owned(),
            kind: self.kind()?,
            signature_required: self.signature_required()?,
            classes: ClassSet::EMPTY,
            responses: self.responses(compiler)?,
            subject: self.subject()?,
            parameters,
        })
    }

    fn kind(&self) -> Result<OperationKind, ContractError> {
        let said = match self.value.get("x-portcullis-operation") {
            None if ["get", "head", "options"].contains(&self.method) => {
                return Ok(OperationKind::Read);
            }
            None => return Ok(OperationKind::Write),
            Some(said) => said.as_str().unwrap_or_default(),
        };
        Ok(match said {
            "read" => OperationKind::Read,
            "list" => OperationKind::List,
            "search" => OperationKind::Search,
            "count" => OperationKind::Count,
            "export" => OperationKind::Export,
            "write" => OperationKind::Write,
            _ => {
                let reason =
                    "an operation is `read`, `list`, `search`, `count`, `export` or `write`";
                return Err(annotation(self.at, reason));
            }
        })
    }

    fn signature_required(&self) -> Result<bool, ContractError> {
        match self.value.get("x-portcullis-signature") {
            None => Ok(false),
            Some(said) if said.as_str() == Some("required") => Ok(true),
            Some(_) => Err(annotation(self.at, "a signature is `required`, or not mentioned")),
        }
    }

    fn subject(&self) -> Result<OperationSubject, ContractError> {
        for key in self.value.keys().filter(|key| key.starts_with("x-portcullis-")) {
            if !ANNOTATIONS.contains(&key.as_str()) {
                let reason = format!("`{key}` means nothing on an operation");
                return Err(annotation(self.at, &reason));
            }
        }
        let Some(said) = self.value.get("x-portcullis-subject") else {
            return Ok(OperationSubject::BySchema);
        };
        if said.as_str() == Some("none") {
            return Ok(OperationSubject::Free);
        }
        let parameter = said
            .as_object()
            .filter(|map| map.len() == 1)
            .and_then(|map| map.get("parameter")?.as_str())
            .ok_or_else(|| {
                annotation(self.at, "an operation's subject is `none` or `parameter: NAME`")
            })?;
        if !self.template.contains(&format!("{{{parameter}}}")) {
            let reason = format!("`{parameter}` is not a parameter of the path");
            return Err(annotation(self.at, &reason));
        }
        Ok(OperationSubject::Parameter(parameter.into()))
    }

    fn responses(&self, compiler: &mut Compiler<'_>) -> Result<Responses, ContractError> {
        let mut responses = Responses::default();
        let Some(declared) = self.value.get("responses").and_then(Value::as_object) else {
            return Ok(responses);
        };
        for status in declared.keys().filter(|key| !key.starts_with("x-")) {
            let at = format!("{}/responses/{}", self.at, escape_segment(status));
            let answer = self.answer(at.clone(), compiler)?;
            if status == "default" {
                responses.default = Some(answer);
            } else if let Some(class) = status.strip_suffix("XX").or(status.strip_suffix("xx")) {
                let class = class.parse().map_err(|_| wrong(&at, "not a status"))?;
                responses.ranges.push((class, answer));
            } else {
                let code = status.parse().map_err(|_| wrong(&at, "not a status"))?;
                responses.exact.push((code, answer));
            }
        }
        Ok(responses)
    }

    fn answer(&self, at: String, compiler: &mut Compiler<'_>) -> Result<Answer, ContractError> {
        let (at, declared) = follow(self.document, at)?;
        let mut answer = Answer::default();
        for (written, media) in
            declared.get("content").and_then(Value::as_object).into_iter().flatten()
        {
            let at = format!("{at}/content/{}", escape_segment(written));
            let Some(essence) = media_type(written.as_bytes()) else {
                return Err(wrong(&at, "not a media type"));
            };
            if media.get("schema").is_some() {
                answer.content.push((essence, compiler.root(&format!("{at}/schema"))?));
            }
        }
        for name in declared.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let name = name.0;
            let at = format!("{at}/headers/{}", escape_segment(name));
            let (at, header) = follow(self.document, at)?;
            let own = header.get("x-portcullis-class");
            let mut needs = match own {
                Some(class) => {
                    Some([compiler.schemas.class(class, &at)?].into_iter().collect::<ClassSet>())
                }
                None => None,
            };
            if header.get("schema").is_some()
                && let Some(said) = compiler.scalar(&format!("{at}/schema"))?
            {
                needs = Some(needs.map_or(said, |needs| needs.union(&said)));
            }
            if let Some(needs) = needs {
                let name = name.to_ascii_lowercase();
                if is_never_released(&name) {
                    return Err(annotation(&at, "this header never leaves"));
                }
                answer.headers.push((name, needs));
            }
        }
        Ok(answer)
    }
}

pub(crate) fn wrong(at: &str, reason: &str) -> ContractError {
    ContractError::Document { at: at.to_owned(), reason: reason.to_owned() }
}
