//! What the origin is asked: a request written anew from what was admitted, and nothing else of the caller's.

use crate::http1::client::{AllowList, NotForwardable, UpstreamRequest};
use crate::http1::{Authority, BadTarget, Method, RequestTarget};
use crate::node::Node;
use crate::origin::OriginError;
use crate::request::Request;
use disclosure::{AdmittedRequest, OriginReply};
use model::RequestId;

/// Sends the admitted request to the origin and takes its whole reply.
///
/// The caller's credential, its address and every field that the contract does not declare stay here; conditional and
/// range fields too, so that a cache or a range can never show less or more than was decided on.
///
/// # Errors
/// [`OriginError`]; the caller sees only that the origin failed.
pub(crate) async fn fetch(
    node: &Node,
    request: &Request,
    admitted: &AdmittedRequest,
    id: RequestId,
) -> Result<OriginReply, OriginError> {
    let target = target(&request.target, admitted.query.as_deref())
        .map_err(|bad| NotForwardable::Caller(bad.into()))?;
    let host = Authority::parse(node.origin_host.as_bytes()).map_err(NotForwardable::Caller)?;
    let nothing = AllowList::default();
    let id = id.to_string();
    let mut ours: Vec<(&str, &[u8])> = vec![("x-request-id", id.as_bytes())];
    ours.extend(node.origin_credential.as_deref().map(|value| ("authorization", value)));
    ours.extend(admitted.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
    // A HEAD is a GET whose body is dropped on the way out, so that the answer is decided on the same way.
    let method = if request.method == Method::Head { Method::Get } else { request.method };
    let upstream = UpstreamRequest {
        method,
        target: &target,
        host,
        allow: &nothing,
        ours: &ours,
        body: &request.body,
    };
    let response = node.origin.fetch(&upstream, []).await?;
    let headers =
        response.fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    Ok(OriginReply { status: response.status, headers, body: response.body })
}

fn target(asked: &RequestTarget, query: Option<&str>) -> Result<RequestTarget, BadTarget> {
    match query {
        None if asked.query().is_none() => Ok(asked.clone()),
        None => RequestTarget::from_path(asked.path().as_bytes()),
        Some(query) => RequestTarget::from_path([asked.path(), "?", query].concat().as_bytes()),
    }
}
