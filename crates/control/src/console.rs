//! The console: one page for operators, on their listener, that shows what is happening and can sever.
//!
//! It decides nothing and knows nothing of its own: what it shows and what it carries out comes from whoever builds
//! [`Console`]. A browser logs in with the link that `portcullis console` prints, `http://localhost:PORT/console/enter#TOKEN`.
//! What follows `#` is not sent, so the token is in no log and no `Referer`; the page at that address takes it out of the
//! address bar and exchanges it. That lets an operator look, and add a passkey; with a passkey it logs in without a link, and changes
//! something. Start reading at [`routes`], then [`sessions`] and [`passkeys`].

mod guard;
pub mod passkeys;
pub mod sessions;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::{
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use model::{IntegrationId, OperatorId};
use passkeys::Passkeys;
use serde::Deserialize;
use serde_json::{Value, json};
use sessions::{Admitted, Operator, Secrets, Sessions};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use storage::clock;
use storage::registry::target::Target;
use storage::registry::{Command, Registry, RegistryError, roles};

/// An answer that is being made.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Gives what the page shows, `portcullis.console/1`; `operator` and `session_left_s` are filled in here.
pub type StateFn = Arc<dyn Fn() -> Answer<Value> + Send + Sync>;

/// Notes in an operator's name that the signals up to a number were looked at. Gives a receipt, or what the operator should read.
pub type AcknowledgeFn = Arc<dyn Fn(Operator, u64) -> Answer<Result<Value, String>> + Send + Sync>;

/// Severs a target for a reason in an operator's name. Gives the receipt, or what the operator should read.
pub type SeverFn =
    Arc<dyn Fn(Operator, String, String) -> Answer<Result<Value, String>> + Send + Sync>;

/// Puts on record what an operator did here, before it holds: who, what, and more of it.
pub type RecordFn =
    Arc<dyn Fn(OperatorId, &'static str, Value) -> Answer<Result<(), String>> + Send + Sync>;

/// What the console is made of.
pub struct Console {
    /// What the page shows.
    pub state: StateFn,
    /// What its button does.
    pub sever: SeverFn,
    /// What is put on record.
    pub record: RecordFn,
    /// Operators' roles and passkeys.
    pub registry: Registry,
    /// What is asked of authenticators.
    pub passkeys: Passkeys,
    /// What its other button does.
    pub acknowledge: AcknowledgeFn,
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
        .route("/login.js", get(|| async { script(include_str!("../../../console/login.js")) }))
        .route("/passkey.js", get(|| async { script(include_str!("../../../console/passkey.js")) }))
        .route("/session", post(enter))
        .route("/login/challenge", post(passkeys::login_challenge))
        .route("/login", post(passkeys::login))
        .route("/passkey/challenge", post(passkeys::show_challenge))
        .route("/passkey", post(passkeys::show))
        .route("/passkey/new/challenge", post(passkeys::make_challenge))
        .route("/passkey/new", post(passkeys::make))
        .route("/leave", post(leave))
        .route("/sever", post(sever))
        .route("/acknowledge", post(acknowledge))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&console), guarded))
        .with_state(console);
    Router::new().nest("/console", inside)
}

async fn guarded(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mut response = match guard::check(request.method(), request.headers(), console.port) {
        Ok(()) => match at_home(&request, console.port) {
            Some(home) => Redirect::temporary(&home).into_response(),
            None => next.run(request).await,
        },
        Err(strange) => problem(StatusCode::FORBIDDEN, &strange.to_string()),
    };
    guard::dress(&mut response);
    response
}

/// Where a page is that was asked for by number: a number cannot be a relying party, so passkeys are those of `localhost`. What follows `#` goes
/// along (Fetch section 4.4).
fn at_home(request: &Request, port: u16) -> Option<String> {
    let is_page = matches!(request.uri().path(), "/" | "/enter" | "/console" | "/console/enter");
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let is_named = host.split(':').next()?.eq_ignore_ascii_case("localhost");
    let page = if request.uri().path().ends_with("enter") { "/enter" } else { "" };
    (is_page && !is_named).then(|| format!("http://localhost:{port}/console{page}"))
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
        members.insert("session_left_s".into(), (admitted.left / 1_000_000).into());
        // The page shows what is going on all the same if the registry cannot be read.
        if let Ok((role, can_sever, passkeys)) = console.standing(&admitted).await {
            members.insert("role".into(), role.into());
            members.insert("can_sever".into(), can_sever.into());
            members.insert("passkeys".into(), passkeys.into());
            let may_add = passkeys::may_make(&admitted, passkeys).is_ok();
            members.insert("may_add_passkey".into(), may_add.into());
        }
        members.insert("operator".into(), admitted.operator.name.into());
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
    cookie_and_page(&console, &operator, &secrets)
}

/// Gives a browser the two secrets of its session.
fn cookie_and_page(console: &Console, operator: &Operator, secrets: &Secrets) -> Response {
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
        Ok(target) => target,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let reason = reason.trim().to_owned();
    if !REASON_CHARS.contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
        return problem(StatusCode::BAD_REQUEST, "a reason has 3 to 256 characters on one line");
    }
    let named = target.to_string();
    let command = Command::Sever { target, reason: reason.clone() };
    // Whoever severs judges it again; here nobody is asked for a passkey in vain.
    if let Err(refused) = console.may(&admitted, &command).await {
        return refused;
    }
    if admitted.fresh == 0 {
        return step_up();
    }
    // A task of its own: a browser that goes away must not leave a cut half made.
    let severing = (console.sever)(admitted.operator, named, reason);
    match tokio::spawn(severing).await {
        Ok(Ok(receipt)) => Json(receipt).into_response(),
        Ok(Err(detail)) => problem(StatusCode::CONFLICT, &detail),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the command was broken off"),
    }
}

async fn acknowledge(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Acknowledging {
        through: u64,
    }
    let Some(admitted) = console.admit(&headers, true) else { return no_session() };
    let Ok(Acknowledging { through }) = serde_json::from_slice(&body) else {
        return problem(StatusCode::BAD_REQUEST, "not a signal's number");
    };
    if let Err(refused) = console.may(&admitted, &Command::SignalsAcknowledge { through }).await {
        return refused;
    }
    if admitted.fresh == 0 {
        return step_up();
    }
    match tokio::spawn((console.acknowledge)(admitted.operator, through)).await {
        Ok(Ok(receipt)) => Json(receipt).into_response(),
        Ok(Err(detail)) => problem(StatusCode::CONFLICT, &detail),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the command was broken off"),
    }
}

impl Console {
    /// Whether a session's operator may ask for this, by the role it has at this moment.
    async fn may(&self, admitted: &Admitted, command: &Command) -> Result<(), Response> {
        let unread = |_| {
            let what =
                "roles cannot be read; `portcullis sever` in a terminal works without the registry";
            problem(StatusCode::SERVICE_UNAVAILABLE, what)
        };
        let operator = self.registry.operator(admitted.operator.id).await.map_err(unread)?;
        let operator = operator.ok_or_else(no_session)?;
        let judged = roles::may(&operator, command, clock::unix_now());
        judged.map(|_| ()).map_err(|error| problem(StatusCode::FORBIDDEN, &error.to_string()))
    }

    /// Role, whether it may sever, and how many passkeys there are.
    async fn standing(
        &self,
        admitted: &Admitted,
    ) -> Result<(&'static str, bool, usize), RegistryError> {
        let id = admitted.operator.id;
        let operator = self.registry.operator(id).await?;
        let operator = operator.ok_or_else(|| RegistryError::Unknown(id.to_string()))?;
        // Of anything: what is severed is no part of the question.
        let anything = IntegrationId::from_bytes([0; 16]).to_string();
        let target = format!("integration:{anything}").parse::<Target>();
        let can_sever = target.is_ok_and(|target| {
            let sever = Command::Sever { target, reason: String::new() };
            roles::may(&operator, &sever, clock::unix_now()).is_ok()
        });
        let passkeys = self.registry.passkeys_of_operator(id).await?.len();
        Ok((operator.role.name(), can_sever, passkeys))
    }

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

/// What a page answers by asking for the passkey, and then once more.
fn step_up() -> Response {
    let detail =
        "show your passkey first; without one, add one, or type `portcullis sever` in a terminal";
    let status = StatusCode::FORBIDDEN;
    let body = json!({ "type": "about:blank", "status": status.as_u16(), "detail": detail, "step_up": true });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
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
