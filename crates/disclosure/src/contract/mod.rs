//! The contract: an origin's OpenAPI 3.0 or 3.1 document and the overlay that annotates it, compiled to routes and field plans.
//!
//! Whatever the two documents do not say stays withheld. Whatever they say that has no effect is an error here, so that nobody
//! believes in an annotation that does nothing. What each annotation means is in `docs/contract.md`. References are followed
//! inside the document only; nothing is fetched.

pub mod request;

pub(crate) mod document;
pub(crate) mod operation;
pub(crate) mod plan;

mod compile;
pub(crate) mod overlay;
mod routes;
mod schema;

pub use operation::Operation;
pub use routes::Match;

use crate::contract::operation::Compiled;
use crate::contract::overlay::Overlay;
use crate::contract::plan::{Leaf, Node, NodeId, Plan};
use crate::contract::routes::Routes;
use crate::contract::schema::Schemas;
use model::{ClassSet, ClassTable, Digest, OperationId, OperationKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Why a contract does not compile. Whoever wrote the two documents must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Not YAML or JSON.
    #[error("the {document} is neither YAML nor JSON: {reason}")]
    Syntax {
        /// `OpenAPI document` or `overlay`.
        document: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Not a version that is understood.
    #[error("`openapi: {found}` is neither 3.0.x nor 3.1.x")]
    Version {
        /// What stood there.
        found: String,
    },
    /// Not an Overlay 1.0 document, or an update that does not fit.
    #[error("overlay: {reason}")]
    Overlay {
        /// What is wrong.
        reason: String,
    },
    /// The annotation would have gone nowhere.
    #[error("overlay target `{target}` selects nothing")]
    TargetMatchesNothing {
        /// The JSONPath as written.
        target: String,
    },
    /// An annotation that means nothing where it stands.
    #[error("at `{at}`: {reason}")]
    Annotation {
        /// JSON pointer into the annotated document.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// A subject pointer that leads to no declared string or number.
    #[error("at `{at}`: subject pointer `{pointer}` leads to no declared string or number")]
    SubjectPointer {
        /// Where the annotated object is declared.
        at: String,
        /// The pointer as written.
        pointer: String,
    },
    /// Only references inside the document are followed.
    #[error("reference `{reference}` leaves the document")]
    ExternalReference {
        /// The reference as written.
        reference: String,
    },
    /// A reference to nothing.
    #[error("nothing is at `{pointer}`")]
    DanglingReference {
        /// JSON pointer into the annotated document.
        pointer: String,
    },
    /// A schema or reference that is defined by itself with no property or item in between.
    #[error("`{at}` is defined by itself")]
    SchemaCycle {
        /// JSON pointer into the annotated document.
        at: String,
    },
    /// Part of the document is missing or of the wrong shape.
    #[error("at `{at}`: {reason}")]
    Document {
        /// JSON pointer into the annotated document.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// A path template that cannot be routed, or two that cannot be told apart.
    #[error("path `{template}` cannot be routed: {reason}")]
    Template {
        /// The template as written.
        template: String,
        /// Why.
        reason: String,
    },
    /// Two operations of one name.
    #[error("operation id `{id}` stands twice")]
    OperationTwice {
        /// The id.
        id: String,
    },
    /// The deployment's class table is full.
    #[error("a deployment cannot have more than 256 data classes")]
    TooManyClasses,
    /// More distinct places than the compiler accepts.
    #[error("the contract describes too many distinct places")]
    TooComplex,
}

/// Why a request does not fit the contract. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOperation {
    /// No path template matches.
    #[error("no such path")]
    Path,
    /// The path is known, but not with this method.
    #[error("no such method on this path")]
    Method,
    /// A query parameter is not declared.
    #[error("a query parameter is not in the contract")]
    QueryUnknown,
    /// A query parameter stands more than once.
    #[error("a query parameter stands more than once")]
    QueryRepeated,
    /// A required query or header parameter is missing.
    #[error("a required parameter is missing")]
    ParameterMissing,
    /// Malformed percent-encoding or a byte that a URI cannot hold.
    #[error("a parameter is malformed")]
    Malformed,
    /// The body's content type is not declared, or none is.
    #[error("the request body is not of a declared content type")]
    BodyType,
}

/// One origin's compiled contract. Immutable; share it.
#[derive(Debug)]
pub struct Contract {
    hash: Digest,
    plan: Plan,
    operations: Vec<Operation>,
    routes: Routes,
    unread: Vec<String>,
}

impl Contract {
    /// Compiles `openapi` (3.0 or 3.1, YAML or JSON) annotated by `overlay` (Overlay 1.0, YAML or JSON; empty for none).
    ///
    /// Classes that `classes` does not know get the next free numbers, in an order that depends on the documents only.
    ///
    /// # Errors
    /// The author of one of the documents must act; the error says where.
    pub fn compile(
        openapi: &str,
        overlay: &str,
        classes: &mut ClassTable,
    ) -> Result<Self, ContractError> {
        let mut document = document::parse(openapi, "OpenAPI document")?;
        if !overlay.trim().is_empty() {
            Overlay::read(&document::parse(overlay, "overlay")?)?.apply(&mut document)?;
        }
        let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
        let is_3_0 = version.starts_with("3.0.");
        if !is_3_0 && !version.starts_with("3.1.") {
            return Err(ContractError::Version { found: version.to_owned() });
        }
        let schemas = Schemas::new(&document, is_3_0, classes);
        let Compiled { operations, plan, unread } = operation::compile_all(&document, schemas)?;
        let routes = Routes::new(&operations)?;
        Ok(Self { hash: hash(openapi, overlay), plan, operations, routes, unread })
    }

    /// SHA-256 over both documents as they were given: what vetting approves and every access record names.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The operation that `method` and `path` ask for.
    ///
    /// `path`: as sent, still percent-encoded, without the query; known to hold no encoded slash and no dot segments. `servers` of the
    /// document play no part.
    ///
    /// # Errors
    /// [`NoOperation::Path`] and [`NoOperation::Method`]; [`NoOperation::Malformed`] for bad percent-encoding in a parameter.
    pub fn operation<'a>(&'a self, method: &str, path: &'a str) -> Result<Match<'a>, NoOperation> {
        self.routes.find(self, method, path)
    }

    /// Every operation, in the order of paths and methods in the document.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter()
    }

    /// What `portcullis contract check` shows.
    pub fn describe(&self) -> Description {
        let mut roots: BTreeSet<NodeId> = BTreeSet::new();
        let rows = self.operations.iter().map(|operation| {
            let own: Vec<NodeId> = operation.responses.roots().collect();
            roots.extend(&own);
            let (classified, unclassified) = count(&self.properties(own.into_iter()));
            OperationRow {
                id: operation.id().clone(),
                method: operation.method().to_owned(),
                path: operation.path().to_owned(),
                kind: operation.kind(),
                classes: operation.facts().classes,
                classified,
                unclassified,
            }
        });
        let operations: Vec<OperationRow> = rows.collect();
        let properties = self.properties(roots.into_iter());
        let (classified, unclassified) = count(&properties);
        let lacking = properties.iter().filter(|(_, classified)| !**classified);
        let at = |number: u32| self.plan.declared_at.get(usize::try_from(number).ok()?).cloned();
        let mut withheld: Vec<String> = lacking.filter_map(|(number, _)| at(*number)).collect();
        withheld.sort_unstable();
        Description { operations, classified, unclassified, withheld, unread: self.unread.clone() }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The numbers of the property declarations at or below `roots` that may hold a scalar, and whether each has a class wherever it is used.
    fn properties(&self, roots: impl Iterator<Item = NodeId>) -> BTreeMap<u32, bool> {
        let mut declared: BTreeMap<u32, bool> = BTreeMap::new();
        for root in roots {
            self.plan.visit(root, &mut |id, node| {
                let Some(classified) = self.is_classified(node) else { return };
                let place = usize::try_from(id.0).unwrap_or(usize::MAX);
                for declaration in self.plan.declarations.get(place).into_iter().flatten() {
                    *declared.entry(*declaration).or_insert(true) &= classified;
                }
            });
        }
        declared
    }

    /// Whether a field's scalars, or those of the list it is, have a class; `None` if it holds no scalar.
    fn is_classified(&self, node: &Node) -> Option<bool> {
        let scalar = |node: &Node| {
            node.takes_scalar().then(|| {
                [node.boolean, node.number, node.string, node.null]
                    .iter()
                    .any(|leaf| matches!(leaf, Leaf::Needs(_)))
            })
        };
        let own = if node.object.is_none() { scalar(node) } else { None };
        own.filter(|_| node.items.is_none())
            .or_else(|| node.items.and_then(|items| self.plan.node(items)).and_then(scalar))
    }
}

/// How many have a class, and how many have none.
fn count(properties: &BTreeMap<u32, bool>) -> (usize, usize) {
    let classified = properties.values().filter(|classified| **classified).count();
    (classified, properties.len() - classified)
}

/// A contract in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// One row per operation.
    pub operations: Vec<OperationRow>,
    /// Declared response properties that hold scalars and have a class wherever they are used.
    pub classified: usize,
    /// Those that lack one somewhere, and never leave there.
    pub unclassified: usize,
    /// JSON pointers to these, in order.
    pub withheld: Vec<String>,
    /// JSON pointers to annotated objects that no answer and no request leads to: annotations without effect.
    pub unread: Vec<String>,
}

/// One operation in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRow {
    /// Its id.
    pub id: OperationId,
    /// Its method, upper case.
    pub method: String,
    /// Its path template.
    pub path: String,
    /// What it does.
    pub kind: OperationKind,
    /// All classes its responses can hold.
    pub classes: ClassSet,
    /// Declared properties of its responses that have a class.
    pub classified: usize,
    /// Those that lack one.
    pub unclassified: usize,
}

fn hash(openapi: &str, overlay: &str) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(b"portcullis contract 1\n");
    for text in [openapi, overlay] {
        context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
