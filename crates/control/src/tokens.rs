//! The authority's listener: its endpoints for clients, its metadata and its keys. What browsers see is elsewhere, because this listener
//! may ask for client certificates.

use crate::connect::Connect;
use crate::listen;
use authority::{
    INTROSPECT_PATH, JWKS_PATH, METADATA_PATH, OPENAPI_PATH, PUSH_PATH, REVOKE_PATH, TOKEN_PATH,
    TokenError, TokenRequest,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use credential::ClientCertificate;
use credential::certificate::Shown;
use model::{ClassTable, ClientIp, Directory, UnixMicros};
use std::net::SocketAddr;
use std::sync::Arc;
use storage::clock;
use storage::registry::Snapshot;
use tracing::debug;

/// What the authority knows of the registry, in one consistent reading. Replaced whole when any of it changes.
pub struct Registered {
    /// Who is registered.
    pub directory: Directory,
    /// The deployment's data classes.
    pub classes: ClassTable,
    /// Whether onboarding is frozen: nothing new is connected then.
    pub frozen: bool,
}

impl Registered {
    /// What the authority needs of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            directory: snapshot.directory.clone(),
            classes: snapshot.classes.clone(),
            frozen: snapshot.frozen.is_some(),
        }
    }
}

/// Longest form: of an assertion, its parameters and a token.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// The routes, relative to the issuer.
pub fn routes(connect: Arc<Connect>) -> Router {
    let clients = Router::new()
        .route(TOKEN_PATH, post(token))
        .route(INTROSPECT_PATH, post(introspect))
        .route(REVOKE_PATH, post(revoke))
        .route(METADATA_PATH, get(metadata))
        .route(JWKS_PATH, get(jwks))
        .route(OPENAPI_PATH, get(openapi));
    let clients = match connect.portal {
        Some(_) => clients.route(PUSH_PATH, post(push)),
        None => clients,
    };
    let in_time = from_fn(|request, next| listen::in_time(FORM_BYTES_MAX, request, next));
    clients.layer(in_time).with_state(connect)
}

async fn metadata(State(connect): State<Arc<Connect>>) -> Response {
    Json(connect.endpoint.metadata(connect.portal.as_deref())).into_response()
}

async fn jwks(State(connect): State<Arc<Connect>>) -> Response {
    Json(connect.endpoint.jwks()).into_response()
}

async fn openapi(State(connect): State<Arc<Connect>>) -> Response {
    Json(connect.endpoint.openapi(connect.portal.is_some())).into_response()
}

async fn token(State(connect): State<Arc<Connect>>, posted: Posted) -> Response {
    let now = clock::unix_now();
    let shown = posted.shown(&connect, now);
    match connect.token(&posted.request(&posted.dpop(), shown.as_ref()), now).await {
        Ok(token) => with_nonce(json(StatusCode::OK, token.to_json()), Some(token.nonce.as_str())),
        Err(refused) => refusal(&refused),
    }
}

async fn push(State(connect): State<Arc<Connect>>, posted: Posted) -> Response {
    let now = clock::unix_now();
    let shown = posted.shown(&connect, now);
    match connect.push(&posted.request(&posted.dpop(), shown.as_ref()), now) {
        //= RFC 9126 section 2.2: 201 with request_uri and expires_in
        Ok(pushed) => json(StatusCode::CREATED, pushed.to_string()),
        Err(refused) => refusal(&refused),
    }
}

async fn introspect(State(connect): State<Arc<Connect>>, posted: Posted) -> Response {
    let now = clock::unix_now();
    let shown = posted.shown(&connect, now);
    match connect.introspect(&posted.request(&posted.dpop(), shown.as_ref()), now).await {
        Ok(described) => json(StatusCode::OK, described.to_string()),
        Err(refused) => refusal(&refused),
    }
}

async fn revoke(State(connect): State<Arc<Connect>>, posted: Posted) -> Response {
    let now = clock::unix_now();
    let shown = posted.shown(&connect, now);
    match connect.revoke(&posted.request(&posted.dpop(), shown.as_ref()), now).await {
        //= RFC 7009 section 2.2: 200, also for a token that is not known
        Ok(()) => (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response(),
        Err(refused) => refusal(&refused),
    }
}

/// A form that was posted, with what its connection proves.
struct Posted {
    peer: SocketAddr,
    certificate: Option<Arc<ClientCertificate>>,
    headers: HeaderMap,
    body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let form = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let essence = form.unwrap_or("").split(';').next().unwrap_or("").trim();
        //= RFC 6749 section 3.2: parameters are a form in the body of a POST
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response());
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let Some(ConnectInfo(peer)) = peer.copied() else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let certificate = request.extensions().get::<Arc<ClientCertificate>>().cloned();
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(IntoResponse::into_response)?;
        Ok(Self { peer, certificate, headers, body })
    }
}

impl Posted {
    fn dpop(&self) -> Vec<&[u8]> {
        self.headers.get_all("dpop").iter().map(HeaderValue::as_bytes).collect()
    }

    /// The connection's certificate, under the trust of the moment.
    fn shown(&self, connect: &Connect, now: UnixMicros) -> Option<Shown<'_>> {
        let trust = connect.client_trust.load();
        self.certificate.as_ref().map(|certificate| certificate.show(&trust, now))
    }

    fn request<'a>(
        &'a self,
        dpop: &'a [&'a [u8]],
        shown: Option<&'a Shown<'a>>,
    ) -> TokenRequest<'a> {
        TokenRequest {
            body: &self.body,
            dpop,
            network: ClientIp::from_peer(self.peer.ip()),
            client_certificate: shown,
        }
    }
}

fn refusal(refused: &TokenError) -> Response {
    debug!(reason = %refused, "refused");
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    //= RFC 9449 section 8: the nonce is in a DPoP-Nonce header
    let nonce = refused.challenge().map(credential::Nonce::as_str);
    with_nonce(json(status, refused.to_json()), nonce)
}

//= RFC 6749 section 5.1: token responses must not be cached
fn json(status: StatusCode, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

fn with_nonce(mut response: Response, nonce: Option<&str>) -> Response {
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
        response.headers_mut().insert("dpop-nonce", nonce);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use authority::Reason;
    use credential::NonceKey;
    use model::UnixMicros;

    async fn is_read(content_type: Option<&str>) -> bool {
        let mut request = Request::new("a=b".into());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        Posted::from_request(request, &()).await.is_ok()
    }

    #[tokio::test]
    async fn only_a_form_is_read() {
        assert!(is_read(Some("application/x-www-form-urlencoded")).await);
        assert!(is_read(Some("Application/X-WWW-Form-Urlencoded; charset=utf-8")).await);
        for other in [None, Some("application/json"), Some("multipart/form-data; boundary=x")] {
            assert!(!is_read(other).await, "{other:?}");
        }
    }

    #[test]
    fn answers_with_tokens_are_not_cached() {
        let nonce = NonceKey::new([7; 32]).current(UnixMicros(0));
        let text = nonce.as_str().to_owned();
        let challenge = TokenError { reason: Reason::NonceNeeded(nonce), integration: None };
        let answers = [json(StatusCode::OK, "{}".to_owned()), refusal(&challenge)];
        for answer in &answers {
            let field = |name: &str| answer.headers().get(name).map(HeaderValue::as_bytes);
            assert_eq!(field("cache-control"), Some(&b"no-store"[..]));
            assert_eq!(field("content-type"), Some(&b"application/json"[..]));
        }
        let [_, challenged] = answers;
        assert_eq!(challenged.status(), StatusCode::BAD_REQUEST);
        let nonces: Vec<_> = challenged.headers().get_all("dpop-nonce").iter().collect();
        assert_eq!(nonces, [text.as_str()]);
    }
}
