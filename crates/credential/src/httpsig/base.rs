//! The signature base: the text that was signed, built anew from the request as we see it (RFC 9421 section 2.5).

use super::fields::{Component, Input, joined, value_of};
use super::{BadSignature, RequestProof};
use sfv::ListSerializer;
use std::borrow::Cow;

/// Fields of one connection, which whoever stands between may change, and `Host`, which is never what a proof is measured by.
const NEVER_COVERED: [&str; 12] = [
    "connection",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Builds the signature base of one signature.
///
/// # Errors
/// [`BadSignature::Component`] for a component that is absent, stands twice, has parameters, or is none that we accept.
pub(crate) fn signature_base(
    proof: &RequestProof<'_>,
    input: &Input<'_>,
) -> Result<String, BadSignature> {
    let target = Target::of(proof.url, proof.query).ok_or(BadSignature::Component)?;
    let mut base = String::with_capacity(4 * 1024);
    for (place, component) in input.covered.iter().enumerate() {
        let before = input.covered.get(..place).unwrap_or_default();
        let name = name_of(component, before)?;
        base.push('"');
        base.push_str(name);
        base.push_str("\": ");
        push_value(&mut base, proof, &target, name)?;
        base.push('\n');
    }
    //= RFC 9421 section 2.3: the value of @signature-params is serialised anew, its parameters in the order received
    base.push_str("\"@signature-params\": ");
    push_params(&mut base, input);
    Ok(base)
}

/// Appends the inner list of covered components and its parameters.
fn push_params(text: &mut String, input: &Input<'_>) {
    let mut list = ListSerializer::with_buffer(text);
    let mut covered = list.inner_list();
    for component in &input.covered {
        let _no_parameters = covered.bare_item(&*component.name);
    }
    let _written =
        covered.finish().parameters(input.parameters.iter().map(|(key, value)| (*key, value)));
}

fn name_of<'a>(
    component: &'a Component<'_>,
    before: &[Component<'_>],
) -> Result<&'a str, BadSignature> {
    let name = component.name.as_str();
    //= RFC 9421 section 2: each component identifier occurs only once among the covered components
    let is_repeated = before.iter().any(|other| other.name.as_str() == name);
    // Parameters give a component another value (`key`, `sf`, `bs`, `tr`, `req`, `name`). None is needed to cover what has to be.
    if is_repeated || component.has_parameters { Err(BadSignature::Component) } else { Ok(name) }
}

fn push_value(
    base: &mut String,
    proof: &RequestProof<'_>,
    target: &Target<'_>,
    name: &str,
) -> Result<(), BadSignature> {
    match name {
        //= RFC 9421 section 2.2.1: the method, in its own case
        "@method" => base.push_str(proof.method),
        "@target-uri" => {
            for part in [target.scheme, "://", &target.authority, target.path] {
                base.push_str(part);
            }
            if let Some(query) = target.query {
                base.push('?');
                base.push_str(query);
            }
        }
        "@authority" => base.push_str(&target.authority),
        "@scheme" => base.push_str(target.scheme),
        "@path" => base.push_str(target.path),
        //= RFC 9421 section 2.2.7: with its leading `?`, which stands alone if there is no query
        "@query" => {
            base.push('?');
            base.push_str(target.query.unwrap_or_default());
        }
        // The very value that the token was taken from, whatever else the fields say.
        "authorization" => push_field(base, joined(proof.authorization.iter().copied())?)?,
        _ => {
            //= RFC 9421 section 2.1: the field name in lower case
            if !name.bytes().all(is_lower_token) || NEVER_COVERED.contains(&name) {
                return Err(BadSignature::Component);
            }
            push_field(base, value_of(proof.fields, name)?)?;
        }
    }
    Ok(())
}

fn is_lower_token(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn push_field(base: &mut String, value: Option<Cow<'_, [u8]>>) -> Result<(), BadSignature> {
    //= RFC 9421 section 2.5: a component without a value fails the base
    let value = value.ok_or(BadSignature::Component)?;
    base.push_str(std::str::from_utf8(&value).map_err(|_| BadSignature::Component)?);
    Ok(())
}

/// What was asked for, by the URL that integrations know us by.
struct Target<'a> {
    scheme: &'a str,
    authority: Cow<'a, str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(url: &'a str, query: Option<&'a str>) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        //= RFC 9421 section 2.2.3: the authority in lower case, without the scheme's own port
        let own_port = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(own_port).unwrap_or(authority);
        let authority = if authority.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(authority.to_ascii_lowercase())
        } else {
            Cow::Borrowed(authority)
        };
        //= RFC 9421 section 2.2.6: an empty path is "/"
        let path = if path.is_empty() { "/" } else { path };
        Some(Self { scheme, authority, path, query })
    }
}
