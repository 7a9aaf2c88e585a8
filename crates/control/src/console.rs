//! The console: one page for operators, on their listener, that shows what is happening and can sever.
//!
//! It decides nothing and knows nothing of its own: what it shows and what it carries out comes from whoever builds
//! [`Console`]. A browser logs in with the link that `portcullis console` prints, `http://127.0.0.1:PORT/console/enter#TOKEN`.
//! What follows `#` is not sent, so the token is in no log and no `Referer`; the page at that address takes it out of the
//! address bar and exchanges it. Start reading at [`routes`], then [`sessions`].

mod guard;
pub mod sessions;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use sessions::{Admitted, Operator, Sessions};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use storage::clock;
use storage::registry::target::Target;

/// An answer that is being made.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Gives what the page shows, `portcullis.console/1`; `operator` and `session_left_s` are filled in here.
pub type StateFn = Arc<dyn Fn() -> Answer<Value> + Send + Sync>;

/// Severs a target for a reason in an operator's name. Gives the receipt, or what the operator should read.
pub type SeverFn =
    Arc<dyn Fn(Operator, String, String) -> Answer<Result<Value, String>> + Send + Sync>;

/// What the console is made of.
pub struct Console {
    /// What the page shows.
    pub state: StateFn,
    /// What its button does.
    pub sever: SeverFn,
    /// Who is logged in.
    pub sessions: Arc<Sessions>,
    /// The port of the listener, which requests must name.
    pub port: u16,
}

/// A request's body at most; a reason is the longest thing a page sends.
const BODY_BYTES_MAX: usize = 8 * 1024;

/// Characters of a reason, without spaces around it: long enough to mean something, and whole in an entry of posture, which
/// takes 1024 bytes.
const REASON_CHARS: std::ops::RangeInclusive<usize> = 3..=256;

/// What the page proves itself with, beside the cookie.
const PAGE: HeaderName = HeaderName::from_static("portcullis-console");

/// There if the operator did something since the request before.
const TOUCHED: HeaderName = HeaderName::from_static("portcullis-touched");

/// The routes under `/console`. The listener is loopback and clear text.
pub fn routes(console: Arc<Console>) -> Router {
    let inside = Router::new()
        .route("/", get(page))
        .route("/enter", get(|| async { html(include_str!("../../../console/enter.html")) }))
        .route("/enter.js", get(|| async { script(include_str!("../../../console/enter.js")) }))
        .route("/console.js", get(|| async { script(include_str!("../../../console/console.js")) }))
        .route(
            "/console.css",
            get(|| async { style(include_str!("../../../console/console.css")) }),
        )
        .route("/state", get(state))
        .route("/session", post(enter))
        .route("/leave", post(leave))
        .route("/sever", post(sever))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&console), guarded))
        .with_state(console);
    Router::new().nest("/console", inside)
}

async fn guarded(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mut response = match guard::check(request.method(), request.headers(), console.port) {
        Ok(()) => next.run(request).await,
        Err(strange) => problem(StatusCode::FORBIDDEN, &strange.to_string()),
    };
    guard::dress(&mut response);
    response
}

async fn page(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let known = cookie(&headers, console.port)
        .is_some_and(|cookie| console.sessions.knows(cookie, clock::boot_now()));
    if known {
        html(include_str!("../../../console/index.html"))
    } else {
        html(include_str!("../../../console/login.html"))
    }
}

async fn state(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let touched = headers.contains_key(TOUCHED);
    let Some(admitted) = console.admit(&headers, touched) else { return no_session() };
    let mut state = (console.state)().await;
    if let Some(members) = state.as_object_mut() {
        members.insert("operator".into(), admitted.operator.name.into());
        members.insert("session_left_s".into(), (admitted.left / 1_000_000).into());
    }
    Json(state).into_response()
}

async fn enter(State(console): State<Arc<Console>>, body: Bytes) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entering {
        token: String,
    }
    let Ok(Entering { token }) = serde_json::from_slice(&body) else {
        return problem(StatusCode::BAD_REQUEST, "not a token");
    };
    let entered =
        console.sessions.enter(&token, clock::boot_now(), clock::random(), clock::random());
    let Some((operator, secrets)) = entered else {
        return problem(StatusCode::FORBIDDEN, "the link was used, or is older than a minute");
    };
    let answer = Json(json!({ "operator": operator.name, "page": secrets.page }));
    with_cookie(answer.into_response(), console.port, &secrets.cookie, "")
}

async fn leave(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let Some(admitted) = console.admit(&headers, true) else { return no_session() };
    console.sessions.leave(&admitted, clock::boot_now());
    with_cookie(StatusCode::NO_CONTENT.into_response(), console.port, "", "; Max-Age=0")
}

async fn sever(State(console): State<Arc<Console>>, headers: HeaderMap, body: Bytes) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Severing {
        target: String,
        reason: String,
    }
    let Some(admitted) = console.admit(&headers, true) else { return no_session() };
    let Ok(Severing { target, reason }) = serde_json::from_slice(&body) else {
        return problem(StatusCode::BAD_REQUEST, "not a target and a reason");
    };
    let target = match target.parse::<Target>() {
        Ok(target) => target.to_string(),
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let reason = reason.trim().to_owned();
    if !REASON_CHARS.contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
        return problem(StatusCode::BAD_REQUEST, "a reason has 3 to 256 characters on one line");
    }
    // A task of its own: a browser that goes away must not leave a cut half made.
    let severing = (console.sever)(admitted.operator, target, reason);
    match tokio::spawn(severing).await {
        Ok(Ok(receipt)) => Json(receipt).into_response(),
        Ok(Err(detail)) => problem(StatusCode::CONFLICT, &detail),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the command was broken off"),
    }
}

impl Console {
    fn admit(&self, headers: &HeaderMap, touched: bool) -> Option<Admitted> {
        let page = guard::only(headers, PAGE).ok()??;
        self.sessions.admit(cookie(headers, self.port)?, page, clock::boot_now(), touched)
    }
}

/// Named by port, so that two nodes on one machine do not end each other's sessions. `__Host-` and `Secure` hold on clear text
/// too, because browsers count a loopback address as trustworthy (tested with Chromium 148; Safari does not, and cannot log in).
fn cookie_name(port: u16) -> String {
    format!("__Host-portcullis-{port}")
}

fn cookie(headers: &HeaderMap, port: u16) -> Option<&str> {
    let name = cookie_name(port);
    let mut values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// `end`: nothing, for as long as the browser runs, or `; Max-Age=0`, which takes the cookie away.
fn with_cookie(mut response: Response, port: u16, value: &str, end: &str) -> Response {
    let name = cookie_name(port);
    let cookie = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{end}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn no_session() -> Response {
    problem(StatusCode::FORBIDDEN, "no session; type `portcullis console` in a terminal")
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "status": status.as_u16(), "detail": detail });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn html(text: &'static str) -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

fn script(text: &'static str) -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], text).into_response()
}

fn style(text: &'static str) -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], text).into_response()
}
