//! What the origin is asked: a request written anew from what was admitted, and nothing else of the caller's.

use crate::batches::Batches;
use crate::http1::client::{AllowList, NotForwardable, UpstreamRequest};
use crate::http1::{Authority, BadTarget, Method, RequestTarget};
use crate::node::Node;
use crate::origin::OriginError;
use crate::refuse::Reason;
use crate::request::Request;
use disclosure::{AdmittedRequest, Match, OriginBatch, OriginReply};
use model::RequestId;

/// What the origin sends at a time: a whole reply, or some values of a stream.
#[derive(Debug)]
pub(crate) enum Part {
    Whole(OriginReply),
    Batch(OriginBatch),
}

/// Sends the admitted request to the origin and takes its whole reply; or, of a stream, the first batch and what brings the others.
///
/// The caller's credential, its address and every field that the contract does not declare stay here; conditional and
/// range fields too, so that a cache or a range can never show less or more than was decided on.
///
/// # Errors
/// The origin's, of which the caller sees only that it failed; [`Reason::NotFound`]; [`Reason::CannotStream`].
pub(crate) async fn fetch(
    node: &Node,
    request: &Request,
    matched: &Match<'_>,
    admitted: &AdmittedRequest,
    id: RequestId,
) -> Result<(Part, Option<Batches>), Reason> {
    let target = target(&request.target, admitted.query.as_deref())
        .map_err(|bad| OriginError::from(NotForwardable::Caller(bad.into())))?;
    let host = Authority::parse(node.origin_host.as_bytes())
        .map_err(|bad| OriginError::from(NotForwardable::Caller(bad)))?;
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
    let begun = node.origin.begin(&upstream, []).await?;
    let status = begun.status();
    let is_gone = matches!(status, 404 | 410);
    let headers =
        begun.fields().iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    let stream = matched.stream(status, &headers).filter(|_| begun.has_content() && !is_gone);
    let Some(stream) = stream else {
        let body = begun.whole().await?.body;
        if is_gone {
            return Err(Reason::NotFound);
        }
        return Ok((Part::Whole(OriginReply { status, headers, body }), None));
    };
    if !request.can_stream {
        return Err(Reason::CannotStream);
    }
    let mut rest = Batches::new(stream.clone(), begun.stream()?, node.max_body);
    // A stream without any value still has a head to decide on.
    let values = rest.next().await?.map_or_else(Vec::new, |batch| batch.values);
    Ok((Part::Batch(OriginBatch { stream, headers: Some(headers), values }), Some(rest)))
}

fn target(asked: &RequestTarget, query: Option<&str>) -> Result<RequestTarget, BadTarget> {
    match query {
        None if asked.query().is_none() => Ok(asked.clone()),
        None => RequestTarget::from_path(asked.path().as_bytes()),
        Some(query) => RequestTarget::from_path([asked.path(), "?", query].concat().as_bytes()),
    }
}
