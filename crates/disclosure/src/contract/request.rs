//! What of a request reaches the origin: declared parameters and a body of a declared type, nothing else.

use super::document::{escape_segment, follow, percent_decode};
use super::operation::{Operation, wrong};
use super::schema::{Schemas, annotation};
use super::{ContractError, NoOperation};
use crate::headers::{is_never_forwarded, media_type};
use model::ClassSet;
use serde_json::Value;

/// A request as the origin will see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedRequest {
    /// The query to forward, rebuilt from the admitted parameters, without `?`; `None` if there are none.
    pub query: Option<String>,
    /// The headers to forward: declared ones, plus `accept` and, with a body, `content-type`. Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The classes of the parameters it uses. Who may not read a class may not search by it either: they must be granted.
    pub classes: ClassSet,
    /// How many classified parameter values it carries; each one is a probe.
    pub probes: u32,
}

impl Operation {
    /// Checks `query` (as sent, without `?`) and `headers` (names in any case) against the contract.
    ///
    /// Undeclared headers are dropped, undeclared query parameters refused: a caller sends headers without meaning to, but never a
    /// parameter. Values are forwarded as sent.
    ///
    /// # Errors
    /// [`NoOperation`], the caller's fault in every case.
    pub fn admit_request<'h>(
        &self,
        query: Option<&str>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        has_body: bool,
    ) -> Result<AdmittedRequest, NoOperation> {
        let mut admitted = AdmittedRequest {
            query: None,
            headers: vec![("accept".to_owned(), b"application/json".to_vec())],
            classes: ClassSet::EMPTY,
            probes: 0,
        };
        let mut query_seen = vec![false; self.parameters.query.len()];
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            self.parameters.admit_pair(pair, &mut query_seen, &mut admitted)?;
        }
        let mut header_seen = vec![false; self.parameters.headers.len()];
        let mut content_type = None;
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("content-type") {
                content_type = Some(value);
                continue;
            }
            let place =
                self.parameters.headers.iter().position(|p| p.name.eq_ignore_ascii_case(name));
            if let Some((declared, seen)) =
                place.and_then(|i| self.parameters.headers.get(i).zip(header_seen.get_mut(i)))
            {
                if std::mem::replace(seen, true) {
                    return Err(NoOperation::Malformed);
                }
                declared.count(&mut admitted);
                admitted.headers.push((declared.name.clone(), value.to_vec()));
            }
        }
        let missing = |declared: &[Parameter], seen: &[bool]| {
            declared.iter().zip(seen).any(|(parameter, seen)| parameter.required && !seen)
        };
        if missing(&self.parameters.query, &query_seen)
            || missing(&self.parameters.headers, &header_seen)
        {
            return Err(NoOperation::ParameterMissing);
        }
        if has_body {
            let essence = content_type.and_then(media_type).ok_or(NoOperation::BodyType)?;
            let value = content_type.unwrap_or_default();
            if !self.parameters.bodies.contains(&essence) {
                return Err(NoOperation::BodyType);
            }
            admitted.headers.push(("content-type".to_owned(), value.to_vec()));
        }
        Ok(admitted)
    }
}

/// What an operation's request may carry.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    query: Vec<Parameter>,
    headers: Vec<Parameter>,
    /// Media types of the body; none if it takes no body.
    bodies: Vec<String>,
}

#[derive(Debug)]
struct Parameter {
    /// As declared; header names in lower case.
    name: String,
    required: bool,
    /// May stand more than once.
    repeats: bool,
    /// `name[key]=value` for any key (`style: deepObject`).
    deep: bool,
    classes: ClassSet,
}

impl Parameter {
    fn count(&self, admitted: &mut AdmittedRequest) {
        if !self.classes.is_empty() {
            admitted.classes = admitted.classes.union(&self.classes);
            admitted.probes = admitted.probes.saturating_add(1);
        }
    }
}

impl Parameters {
    /// Reads `parameters` of the path item and of the operation (which go before) and the media types of the body.
    pub(crate) fn compile(
        document: &Value,
        lists: &[(&str, Option<&Value>)],
        body: Option<String>,
        schemas: &mut Schemas<'_>,
    ) -> Result<Self, ContractError> {
        let mut parameters = Self::default();
        for (owner, list) in lists {
            let count = list.and_then(Value::as_array).map_or(0, Vec::len);
            for index in 0..count {
                let (at, value) = follow(document, format!("{owner}/parameters/{index}"))?;
                parameters.declare(value, &at, schemas)?;
            }
        }
        if let Some(body) = body {
            let (at, body) = follow(document, body)?;
            for written in body.get("content").and_then(Value::as_object).into_iter().flatten() {
                let at = format!("{at}/content/{}", escape_segment(written.0));
                let essence = media_type(written.0.as_bytes());
                parameters.bodies.push(essence.ok_or_else(|| wrong(&at, "not a media type"))?);
            }
        }
        Ok(parameters)
    }

    fn declare(
        &mut self,
        value: &Value,
        at: &str,
        schemas: &mut Schemas<'_>,
    ) -> Result<(), ContractError> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| wrong(at, "a parameter without a name"))?;
        let class = value.get("x-portcullis-class");
        let list = match text("in") {
            Some("query") => &mut self.query,
            Some("header") if !is_never_forwarded(&name.to_ascii_lowercase()) => &mut self.headers,
            // The path is matched by its template; cookies and our own headers never reach the origin.
            _ => {
                if class.is_some() && text("in") != Some("path") {
                    return Err(annotation(at, "this parameter is never forwarded"));
                }
                return Ok(());
            }
        };
        let name = match text("in") {
            Some("header") => name.to_ascii_lowercase(),
            _ => name.to_owned(),
        };
        let classes = match class {
            Some(class) => [schemas.class(class, at)?].into_iter().collect(),
            None => ClassSet::EMPTY,
        };
        let explodes = value.get("explode").and_then(Value::as_bool);
        let style = text("style").unwrap_or("form");
        let is_list = schemas.takes_list(&format!("{at}/schema"))?;
        let parameter = Parameter {
            required: value.get("required").and_then(Value::as_bool).unwrap_or(false),
            //= OpenAPI 3.1.0 section 4.8.12.2: `explode` is true by default for style `form`
            repeats: is_list && explodes.unwrap_or(style == "form"),
            deep: style == "deepObject",
            classes,
            name,
        };
        match list.iter_mut().find(|known| known.name == parameter.name) {
            Some(known) => *known = parameter,
            None => list.push(parameter),
        }
        Ok(())
    }

    fn admit_pair(
        &self,
        pair: &str,
        seen: &mut [bool],
        admitted: &mut AdmittedRequest,
    ) -> Result<(), NoOperation> {
        if !is_query_text(pair) {
            return Err(NoOperation::Malformed);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode(name).ok_or(NoOperation::Malformed)?;
        let is_called = |declared: &Parameter| {
            let key = name.strip_prefix(&declared.name).filter(|_| declared.deep);
            declared.name == name
                || key.is_some_and(|key| key.starts_with('[') && key.ends_with(']'))
        };
        let place = self.query.iter().position(is_called).ok_or(NoOperation::QueryUnknown)?;
        let (Some(declared), Some(seen)) = (self.query.get(place), seen.get_mut(place)) else {
            return Err(NoOperation::QueryUnknown);
        };
        if std::mem::replace(seen, true) && !declared.repeats && !declared.deep {
            return Err(NoOperation::QueryRepeated);
        }
        declared.count(admitted);
        let query = admitted.query.get_or_insert_default();
        if !query.is_empty() {
            query.push('&');
        }
        // The name is written anew, so that no two spellings of it reach the origin.
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~[]".contains(&byte) {
                query.push(char::from(byte));
            } else {
                query.push_str(&format!("%{byte:02X}"));
            }
        }
        if pair.contains('=') {
            query.push('=');
            query.push_str(value);
        }
        Ok(())
    }
}

/// Whether every byte may stand in a query and every escape is whole.
///
/// Source: RFC 3986 section 3.4; brackets are let through besides, because `deepObject` is written with them everywhere.
fn is_query_text(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?[]%".contains(&b);
    text.bytes().all(plain) && percent_decode(text).is_some_and(|t| !t.contains(char::is_control))
}
