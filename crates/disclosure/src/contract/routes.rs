//! From method and path to an operation: one router per method.
//!
//! Precedence is OpenAPI's (3.1.0 section 4.8.8.2): a concrete segment goes before a templated one. Two templates that no request can
//! tell apart do not compile. Literal text of a template matches the path as sent, so an escaped spelling of it matches nothing.

use super::document::percent_decode;
use super::operation::{Operation, OperationSubject};
use super::{Contract, ContractError, NoOperation};
use model::SubjectId;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The routers of a contract.
#[derive(Default)]
pub(crate) struct Routes {
    methods: BTreeMap<String, matchit::Router<Route>>,
}

/// What a router finds: the operation's place, and the names of the template's parameters in order.
struct Route {
    operation: usize,
    names: Vec<Box<str>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods.keys()).finish()
    }
}

/// A request's operation with the values of its path parameters.
#[derive(Debug)]
pub struct Match<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// Names and decoded values, in the order of the path.
    pub parameters: Vec<(&'a str, Cow<'a, str>)>,
    pub(crate) contract: &'a Contract,
}

impl Match<'_> {
    /// The subject that the path names as the answer's, if the operation is bound to a parameter.
    ///
    /// `Some(None)`: it is bound, but the value cannot be a subject's id, so nothing will leave.
    pub fn subject(&self) -> Option<Option<SubjectId>> {
        let OperationSubject::Parameter(name) = &self.operation.subject else { return None };
        let value = self.parameters.iter().find(|(known, _)| **known == **name);
        Some(value.and_then(|(_, value)| SubjectId::new(value)))
    }
}

impl Routes {
    pub(crate) fn new(operations: &[Operation]) -> Result<Self, ContractError> {
        let mut routes = Self::default();
        for (place, operation) in operations.iter().enumerate().filter(|(_, o)| o.is_routed()) {
            let template = operation.path();
            let wrong = |reason: &str| ContractError::Template {
                template: template.to_owned(),
                reason: reason.to_owned(),
            };
            let (pattern, names) = pattern_of(template).map_err(wrong)?;
            let router = routes.methods.entry(operation.method().to_owned()).or_default();
            router
                .insert(pattern, Route { operation: place, names })
                .map_err(|error| wrong(&error.to_string()))?;
        }
        Ok(routes)
    }

    pub(crate) fn find<'a>(
        &'a self,
        contract: &'a Contract,
        method: &str,
        path: &'a str,
    ) -> Result<Match<'a>, NoOperation> {
        let Some(found) = self.methods.get(method).and_then(|router| router.at(path).ok()) else {
            let elsewhere = self.methods.values().any(|router| router.at(path).is_ok());
            return Err(if elsewhere { NoOperation::Method } else { NoOperation::Path });
        };
        let route: &Route = found.value;
        let operation = contract.operations.get(route.operation).ok_or(NoOperation::Path)?;
        let parameters = route
            .names
            .iter()
            .zip(found.params.iter())
            .map(|(name, (_, value))| Some((&**name, percent_decode(value)?)))
            .collect::<Option<_>>()
            .ok_or(NoOperation::Malformed)?;
        Ok(Match { operation, parameters, contract })
    }
}

/// The router's spelling of an OpenAPI template, and its parameters. They are renamed `p0`, `p1`, ..., because what a name may hold
/// differs (`{*rest}` would swallow the rest of the path).
fn pattern_of(template: &str) -> Result<(String, Vec<Box<str>>), &'static str> {
    if !template.starts_with('/') {
        return Err("it does not start with `/`");
    }
    if template.contains('?') {
        return Err("it holds a query");
    }
    let mut names: Vec<Box<str>> = Vec::new();
    let mut pattern = String::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a brace is not closed")?;
        if literal.contains('}') || name.is_empty() || name.contains(['{', '/']) {
            return Err("its braces do not pair");
        }
        if names.iter().any(|known| **known == *name) {
            return Err("a parameter stands twice");
        }
        pattern.push_str(literal);
        pattern.push_str(&format!("{{p{}}}", names.len()));
        names.push(name.into());
        rest = after;
    }
    if rest.contains('}') {
        return Err("its braces do not pair");
    }
    pattern.push_str(rest);
    Ok((pattern, names))
}
