//! The authority's listener: the token endpoint, its metadata and its keys.

use arc_swap::ArcSwap;
use authority::{
    Applicant, JWKS_PATH, METADATA_PATH, Standing, TOKEN_PATH, TokenEndpoint, TokenRequest,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use credential::{ClientCertificate, ClientTrust};
use model::{ClientIp, Directory};
use std::net::SocketAddr;
use std::sync::Arc;
use storage::clock;
use storage::embedded::Keeper;
use tracing::debug;

/// The directory that tokens are issued by, as it stands.
pub type CurrentDirectory = Arc<dyn Fn() -> Directory + Send + Sync>;

/// What the authority's listener serves.
pub struct Tokens {
    /// Issues tokens.
    pub endpoint: TokenEndpoint,
    /// Posture: what is cut off obtains nothing.
    pub keeper: Arc<Keeper>,
    /// Who is registered.
    pub directory: CurrentDirectory,
    /// Which CAs are trusted for client certificates, and what they revoked.
    pub client_trust: Arc<ArcSwap<ClientTrust>>,
}

/// The routes, relative to the issuer.
pub fn routes(tokens: Arc<Tokens>) -> Router {
    Router::new()
        .route(TOKEN_PATH, post(token))
        .route(METADATA_PATH, get(metadata))
        .route(JWKS_PATH, get(jwks))
        .with_state(tokens)
}

async fn metadata(State(tokens): State<Arc<Tokens>>) -> Response {
    Json(tokens.endpoint.metadata()).into_response()
}

async fn jwks(State(tokens): State<Arc<Tokens>>) -> Response {
    Json(tokens.endpoint.jwks()).into_response()
}

async fn token(
    State(tokens): State<Arc<Tokens>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    certificate: Option<Extension<Arc<ClientCertificate>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = form.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let dpop: Vec<&[u8]> =
        headers.get_all("dpop").iter().map(header::HeaderValue::as_bytes).collect();
    let now = clock::unix_now();
    let certificate = certificate.as_ref().map(|Extension(it)| it);
    let shown = certificate.map(|it| it.show(&tokens.client_trust.load(), now));
    let request = TokenRequest {
        body: &body,
        dpop: &dpop,
        network: ClientIp::from_peer(peer.ip()),
        client_certificate: shown.as_ref(),
    };
    let standing = |applicant: &Applicant| standing(&tokens.keeper, applicant);
    let issued =
        tokens.endpoint.token(&request, &(tokens.directory)(), &standing, now, clock::random());
    //= RFC 6749 section 5.1: token responses must not be cached
    let mut response = match issued {
        Ok(token) => with_nonce(
            (StatusCode::OK, token.to_json()).into_response(),
            Some(token.nonce.as_str()),
        ),
        Err(refused) => {
            debug!(reason = %refused, "no token");
            let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
            with_nonce(
                (status, refused.to_json()).into_response(),
                refused.challenge().map(credential::Nonce::as_str),
            )
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn with_nonce(mut response: Response, nonce: Option<&str>) -> Response {
    if let Some(nonce) = nonce.and_then(|nonce| header::HeaderValue::from_str(nonce).ok()) {
        response.headers_mut().insert("dpop-nonce", nonce);
    }
    response
}

/// Whether posture lets an applicant obtain anything at all.
fn standing(keeper: &Keeper, applicant: &Applicant) -> Standing {
    let switch = keeper.switch();
    if !switch.lease.holds(clock::boot_now()) {
        return Standing::Unconfirmed;
    }
    let posture = switch.posture();
    let cut = posture.severed().any(|(target, _)| match target {
        sever::Target::Vendor(id) => *id == applicant.vendor,
        sever::Target::Integration(id) => *id == applicant.integration,
        sever::Target::Credential(id) => *id == applicant.asserted_by || *id == applicant.bound_to,
        sever::Target::Grant(id) => *id == applicant.grant,
        sever::Target::Operation(_) | sever::Target::Network(_) => false,
    });
    if cut { Standing::Cut } else { Standing::Admitted }
}
