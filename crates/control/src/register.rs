//! Dynamic registration over HTTP, on the authority's listener (RFC 7591, RFC 7592).
//!
//! Whoever presents no good ticket or token is answered 401 and learns nothing else, not even whether there is such a client.

use crate::desk::Desk;
use crate::desk::registering::{NotTaken, Registered};
use authority::REGISTER_PATH;
use authority::register::BYTES_MAX;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use model::IntegrationId;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::registry::NotRegistered;
use tracing::{debug, error};

/// What the routes need.
pub struct Registration {
    /// Where requests are carried out.
    pub desk: Arc<Desk>,
    /// The authority's issuer, below which the routes are.
    pub issuer: String,
}

/// The routes, relative to the issuer.
pub fn routes(registration: Arc<Registration>) -> Router {
    Router::new()
        .route(REGISTER_PATH, post(register))
        .route(&format!("{REGISTER_PATH}/{{client}}"), get(read).put(replace).delete(end))
        .layer(DefaultBodyLimit::max(BYTES_MAX))
        .with_state(registration)
}

async fn register(
    State(at): State<Arc<Registration>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(ticket) = bearer(&headers) else { return unknown() };
    let desk = Arc::clone(&at.desk);
    //= RFC 7591 section 3.2.1: 201
    at.answer(StatusCode::CREATED, async move { desk.register(&ticket, &body).await }).await
}

async fn read(
    State(at): State<Arc<Registration>>,
    Path(client): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some((client, token)) = presented(&client, &headers) else { return unknown() };
    let desk = Arc::clone(&at.desk);
    at.answer(StatusCode::OK, async move { desk.registration(client, &token).await }).await
}

async fn replace(
    State(at): State<Arc<Registration>>,
    Path(client): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((client, token)) = presented(&client, &headers) else { return unknown() };
    let desk = Arc::clone(&at.desk);
    let replaced = async move { desk.replace_registration(client, &token, &body).await };
    at.answer(StatusCode::OK, replaced).await
}

async fn end(
    State(at): State<Arc<Registration>>,
    Path(client): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some((client, token)) = presented(&client, &headers) else { return unknown() };
    let desk = Arc::clone(&at.desk);
    let ended = tokio::spawn(async move { desk.end_registration(client, &token).await });
    match ended.await {
        //= RFC 7592 section 2.3: 204, and Cache-Control: no-store
        Ok(Ok(())) => (StatusCode::NO_CONTENT, NO_STORE).into_response(),
        Ok(Err(not)) => refusal(&not),
        Err(_) => unavailable(),
    }
}

impl Registration {
    /// Has a request carried out to its end, whether or not the client stays to hear of it.
    async fn answer<F>(&self, status: StatusCode, request: F) -> Response
    where
        F: Future<Output = Result<Registered, NotTaken>> + Send + 'static,
    {
        match tokio::spawn(request).await {
            Ok(Ok(Registered { registration, access })) => {
                let client = registration.integration;
                let (stands, pending) = (&registration.effective, &registration.pending);
                answer(status, &stands.answer(client, pending, &self.issuer, &access))
            }
            Ok(Err(not)) => refusal(&not),
            Err(_) => unavailable(),
        }
    }
}

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    //= RFC 6750 section 2: one way of sending the token, once
    let (Some(value), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.to_owned())
}

fn presented(client: &str, headers: &HeaderMap) -> Option<(IntegrationId, String)> {
    Some((client.parse().ok()?, bearer(headers)?))
}

fn refusal(not: &NotTaken) -> Response {
    match not {
        NotTaken::Not(NotRegistered::Unknown) => unknown(),
        NotTaken::Not(NotRegistered::Bad(bad)) => {
            debug!(reason = %bad, "a registration was refused");
            answer(StatusCode::BAD_REQUEST, &bad.to_json())
        }
        NotTaken::Not(NotRegistered::NotNow) => {
            let why = "nothing can be added to this client at present";
            let body = json!({ "error": "access_denied", "error_description": why });
            answer(StatusCode::FORBIDDEN, &body)
        }
        NotTaken::Not(NotRegistered::Registry(why)) => {
            error!(%why, "a registration could not be kept");
            unavailable()
        }
        NotTaken::NotDone(why) => {
            error!(%why, "a registration was kept, and more of it could not be done");
            unavailable()
        }
    }
}

//= RFC 6750 section 3.1: a request without good authentication is told nothing but the scheme
fn unknown() -> Response {
    (StatusCode::UNAUTHORIZED, NO_STORE, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
}

fn unavailable() -> Response {
    answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "temporarily_unavailable" }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, NO_STORE, json, body.to_string()).into_response()
}
