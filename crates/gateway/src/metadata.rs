//! What the gateway says of itself to whoever asks (RFC 9728): whose tokens it takes and how possession of their keys is shown.
//!
//! Fixed when the node starts, and nothing of the contract or of any subject. The path is ours, whatever the contract says of it.

use crate::http1::Method;
use crate::node::Node;
use crate::release::Reply;
use crate::request::Request;
use credential::Algorithm;
use model::RequestId;
use serde_json::json;

/// Where it is, after our address, which has no path (RFC 9728 section 3.1).
pub(crate) const PATH: &str = "/.well-known/oauth-protected-resource";

/// Whether a request asks for it.
pub(crate) fn is_asked_for(request: &Request) -> bool {
    matches!(request.method, Method::Get | Method::Head)
        && request.target.path_as_sent() == PATH
        && request.target.query().is_none()
}

/// The address of the document.
pub(crate) fn url(node: &Node) -> String {
    //= RFC 9728 section 3: the well-known path between host and path of the resource, which has none
    format!("{}{PATH}", node.external_url)
}

/// The document.
pub(crate) fn answer(node: &Node, id: RequestId) -> Reply {
    //= RFC 9728 section 2: the resource's identifier, and what has elements
    let document = json!({
        //= RFC 9728 section 3.3: it is the address that the document's own was made from
        "resource": node.external_url,
        "authorization_servers": node.issuers,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": Algorithm::NAMES,
        "tls_client_certificate_bound_access_tokens": node.external_url.starts_with("https://"),
    });
    //= RFC 9728 section 3.2: 200 and application/json
    let headers = vec![
        ("content-type".to_owned(), b"application/json".to_vec()),
        ("cache-control".to_owned(), b"max-age=300".to_vec()),
        ("portcullis-request".to_owned(), id.to_string().into_bytes()),
    ];
    Reply::refusal(200, headers, document.to_string())
}
