//! The subject portal: where subjects sign in, agree to what an integration asks, and see and end what they agreed to.
//!
//! It decides nothing: what may be asked and agreed to is [`Connect`]'s. Pages are HTML that works without JavaScript, but for passkeys,
//! which cannot. Every change is a form of our own page, with the page's token, from our own origin. Start reading at [`routes`].

mod browser;
pub mod pages;
pub mod passkeys;
pub mod provider;
pub mod sessions;

use crate::connect::{Connect, NotConnected};
use crate::listen;
use authority::consent::Ending;
use authority::{AUTHORIZE_PATH, Form};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use browser::Browser;
use model::{ClassSet, ConsentId, DataClass, Micros};
use pages::Pages;
use passkeys::Passkeys;
use provider::Provider;
use sessions::{Sessions, SignedIn};
use std::sync::Arc;
use storage::clock;
use tracing::error;
use vetting::purpose::Sensitivity;

/// A form's bytes at most.
const BODY_BYTES_MAX: usize = 32 * 1024;

/// The portal of a node.
pub struct Portal {
    /// Our origin, as browsers name it, such as `https://connect.example`.
    pub origin: String,
    /// The company's name, as its people know it.
    pub company: String,
    /// What connects an integration.
    pub connect: Arc<Connect>,
    /// How subjects sign in, if the company has no provider of its own.
    pub passkeys: Option<Passkeys>,
    /// The company's own provider, if that is where subjects sign in.
    pub provider: Option<Provider>,
    /// The pages.
    pub pages: Pages,
}

impl Portal {
    fn sessions(&self) -> &Sessions {
        self.connect.consents.sessions()
    }

    fn is_secure(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// The browser and who is signed in with it.
    fn visitor(&self, headers: &HeaderMap) -> (Browser, Option<SignedIn>) {
        let browser = Browser::of(headers, self.is_secure());
        let who = self.sessions().find(browser.secret(), clock::boot_now());
        (browser, who)
    }

    /// Answers a browser with a page.
    fn page(&self, browser: &Browser, status: StatusCode, page: String) -> Response {
        let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
        let mut response = (status, kind, page).into_response();
        browser.remember(&mut response, self.is_secure());
        response
    }

    fn problem(&self, browser: &Browser, status: StatusCode, sentence: &str) -> Response {
        self.page(browser, status, self.pages.problem(self, sentence))
    }

    fn not_connected(&self, browser: &Browser, why: &NotConnected) -> Response {
        let (status, sentence) = match why {
            NotConnected::NoFlow(_) => (
                StatusCode::BAD_REQUEST,
                "This link was used before, is another browser's, or took too long.",
            ),
            NotConnected::NotAdmitted => {
                (StatusCode::FORBIDDEN, "This application cannot be connected at the moment.")
            }
            NotConnected::SignedOut => (StatusCode::FORBIDDEN, "Sign in again."),
            NotConnected::TooMuch => {
                (StatusCode::BAD_REQUEST, "More was ticked than the application asked for.")
            }
            NotConnected::NotStored(error) => {
                error!(%error, "a consent could not be stored");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Your answer could not be stored. Try again in a moment.",
                )
            }
        };
        self.problem(browser, status, sentence)
    }
}

/// The routes of the portal's listener.
pub fn routes(portal: Arc<Portal>) -> Router {
    Router::new()
        .route(AUTHORIZE_PATH, get(authorize))
        .route("/connect/{handle}", get(ask).post(answer))
        .route("/connections", get(connections).post(change))
        .route("/sign-in", get(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/passkeys", post(passkeys::remove))
        .route("/sign-in/challenge", post(passkeys::challenge))
        .route("/sign-in/passkey", post(passkeys::sign_in))
        .route("/sign-in/recovery", post(passkeys::recover))
        .route("/sign-in/provider", post(provider::leave))
        .route(provider::BACK_PATH, get(provider::back))
        .route(provider::ENDED_PATH, post(provider::ended))
        .route("/enrol/{ticket}", get(passkeys::enrol_page))
        .route("/enrol/challenge", post(passkeys::enrol_challenge))
        .route("/enrol", post(passkeys::enrol))
        .route("/passkey.js", get(script))
        .route("/portal.css", get(style))
        .fallback(nothing)
        .layer(from_fn(|request, next| listen::in_time(BODY_BYTES_MAX, request, next)))
        .layer(from_fn_with_state(Arc::clone(&portal), guarded))
        .with_state(portal)
}

/// Refuses a change that another site had the browser make, and puts on every answer what every answer has.
async fn guarded(State(portal): State<Arc<Portal>>, request: Request, next: Next) -> Response {
    // What the provider itself sends is signed, and no browser's.
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path() != provider::ENDED_PATH;
    let mut response = if changes && !browser::is_ours(request.headers(), &portal.origin) {
        let sentence = "Another site sent your browser here. Nothing was done.";
        let page = portal.pages.problem(&portal, sentence);
        // Without a cookie: a form of another site brings none of ours, and a new one would end the session.
        (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    } else {
        next.run(request).await
    };
    let leads_to = response.extensions_mut().remove::<LeadsTo>();
    let leads_to = leads_to.as_ref().map(|LeadsTo(origin)| origin.as_str());
    browser::dress(&mut response, leads_to, portal.is_secure());
    response
}

/// The origin that a page's form may end at.
#[derive(Clone)]
struct LeadsTo(String);

async fn nothing(State(portal): State<Arc<Portal>>, headers: HeaderMap) -> Response {
    let (browser, _) = portal.visitor(&headers);
    portal.problem(&browser, StatusCode::NOT_FOUND, "There is nothing at this address.")
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css")], include_str!("../../../portal/portal.css")).into_response()
}

async fn script() -> Response {
    let kind = [(CONTENT_TYPE, "text/javascript")];
    (kind, include_str!("../../../portal/passkey.js")).into_response()
}

/// A client's browser arrives with a pushed request.
async fn authorize(
    State(portal): State<Arc<Portal>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let bad = |sentence| portal.problem(&browser, StatusCode::BAD_REQUEST, sentence);
    let Some(form) = Form::parse(query.unwrap_or_default().as_bytes()) else {
        return bad("The link is malformed.");
    };
    //= RFC 9126 section 5: require_pushed_authorization_requests; nothing but these two parameters is looked at
    let (Some(client), Some(uri)) = (form.get("client_id"), form.get("request_uri")) else {
        return bad("The application sent an incomplete link.");
    };
    match portal.connect.show(uri, client, browser.digest()) {
        Ok(handle) => portal.lead(&browser, &format!("/connect/{handle}")),
        Err(why) => portal.not_connected(&browser, &why),
    }
}

impl Portal {
    /// Sends a browser on within the portal, or to where an authorization ends.
    fn lead(&self, browser: &Browser, to: &str) -> Response {
        let mut response = see_other(to);
        browser.remember(&mut response, self.is_secure());
        response
    }

    /// Sends a browser back to the application with its answer.
    fn send_back(&self, browser: &Browser, vendor: &str, to: &str) -> Response {
        match nameable(origin_of(to)) {
            Some(_) => self.lead(browser, to),
            // The policy of the page with the form could not name where it leads, so browsers would not follow a redirect.
            None => self.page(browser, StatusCode::OK, self.pages.leave(self, vendor, to)),
        }
    }

    /// Opens a session, in a browser that is given another secret, so that nobody who knew the one before is in it. Returns it.
    fn enter(&self, browser: &Browser, who: SignedIn, of_provider: Option<String>) -> Browser {
        let fresh = self.sessions().open_anew(browser, who, of_provider);
        self.connect.flows.moved(&browser.digest(), fresh.digest());
        fresh
    }

    /// Sends a browser to sign in, and back to `path`.
    fn to_sign_in(&self, browser: &Browser, path: &str, again: bool) -> Response {
        let again = if again { "&again=1" } else { "" };
        self.lead(browser, &format!("/sign-in?next={path}{again}"))
    }
}

fn see_other(to: &str) -> Response {
    //= RFC 9700 section 4.12: 303, so that what was posted is not posted again
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// What a subject is asked.
async fn ask(
    State(portal): State<Arc<Portal>>,
    Path(handle): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (browser, who) = portal.visitor(&headers);
    let now = clock::unix_now();
    // The browser's own flow first: nobody is asked to sign in for a link that leads nowhere.
    let asked = match portal.connect.shown(&handle, &browser.digest(), now) {
        Ok(asked) => asked,
        Err(why) => return portal.not_connected(&browser, &why),
    };
    //= RFC 6749 section 3.1: the subject is identified before it is asked
    if who.is_none() {
        return portal.to_sign_in(&browser, &format!("/connect/{handle}"), false);
    }
    let page = portal.pages.consent(&portal, &browser.csrf(), &asked, now);
    let mut response = portal.page(&browser, StatusCode::OK, page);
    if let Some(origin) = nameable(origin_of(&asked.pushed.redirect_uri)) {
        response.extensions_mut().insert(LeadsTo(origin));
    }
    response
}

/// What the subject answers.
async fn answer(
    State(portal): State<Arc<Portal>>,
    Path(handle): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (browser, who) = portal.visitor(&headers);
    let bad = |sentence| portal.problem(&browser, StatusCode::BAD_REQUEST, sentence);
    let Some(form) = Form::parse(&body) else { return bad("The form is malformed.") };
    if !browser.sent(form.get("csrf")) {
        return bad("The form is not from this browser's page.");
    }
    let (now, digest) = (clock::unix_now(), browser.digest());
    let asked = match portal.connect.shown(&handle, &digest, now) {
        Ok(asked) => asked,
        Err(why) => return portal.not_connected(&browser, &why),
    };
    let path = format!("/connect/{handle}");
    let Some(who) = who else { return portal.to_sign_in(&browser, &path, false) };
    if form.get("decision") != Some("agree") {
        //= RFC 6749 section 10.2: nothing is authorized without its subject agreeing, each time
        return match portal.connect.decline(&handle, &digest) {
            Ok(to) => portal.send_back(&browser, &asked.vendor, &to.0),
            Err(why) => portal.not_connected(&browser, &why),
        };
    }
    let registered = (portal.connect.registered)();
    let mut details = asked.pushed.details.clone();
    let is_ticked = |class: &&String| form.get(&format!("class:{class}")) == Some("on");
    let ticked: Vec<_> = asked.classes.iter().filter(is_ticked).collect();
    let number = |class: &&String| registered.classes.number(&DataClass::new(class)?);
    details.classes = ticked.iter().filter_map(number).collect::<ClassSet>();
    if details.classes.is_empty() && !asked.classes.is_empty() {
        return bad("Nothing was ticked. Decline, if you do not want to share anything.");
    }
    let days = form.get("days").and_then(|days| days.parse::<u64>().ok());
    if let Some(days) = days {
        details.expires = details.expires.min(now + Micros::from_secs(days.min(366) * 86_400));
    }
    if ticked.iter().any(|class| is_sensitive(class)) && !who.is_fresh(clock::boot_now()) {
        return portal.to_sign_in(&browser, &path, true);
    }
    // The subject may have been erased meanwhile; its sessions went first.
    let is_there = || portal.sessions().find(browser.secret(), clock::boot_now()).is_some();
    match portal.connect.agree(&handle, &digest, who.subject, details, is_there, now).await {
        Err(NotConnected::SignedOut) => portal.to_sign_in(&browser, &path, false),
        Ok(to) => portal.send_back(&browser, &asked.vendor, &to.0),
        Err(why) => portal.not_connected(&browser, &why),
    }
}

/// Whether somebody who shares this must have signed in just now.
fn is_sensitive(class: &str) -> bool {
    DataClass::new(class)
        .is_none_or(|class| Sensitivity::of(&class) >= Sensitivity::PaymentOrIdentity)
}

/// What a subject agreed to.
async fn connections(State(portal): State<Arc<Portal>>, headers: HeaderMap) -> Response {
    let (browser, who) = portal.visitor(&headers);
    let Some(who) = who else { return portal.to_sign_in(&browser, "/connections", false) };
    let consents = &portal.connect.consents;
    let kept = async {
        let agreed = consents.of_subject(&who.subject).await?;
        Ok((agreed, consents.store().passkeys_of(&who.subject).await?))
    };
    match kept.await {
        Ok((agreed, passkeys)) => {
            let (csrf, now) = (browser.csrf(), clock::unix_now());
            let page = portal.pages.connections(&portal, &csrf, &agreed, &passkeys, now);
            portal.page(&browser, StatusCode::OK, page)
        }
        Err(error) => portal.not_connected(&browser, &NotConnected::NotStored(error)),
    }
}

/// A subject ends or wakes a connection.
async fn change(State(portal): State<Arc<Portal>>, headers: HeaderMap, body: Bytes) -> Response {
    let (browser, who) = portal.visitor(&headers);
    let bad = |sentence| portal.problem(&browser, StatusCode::BAD_REQUEST, sentence);
    let Some(form) = Form::parse(&body) else { return bad("The form is malformed.") };
    if !browser.sent(form.get("csrf")) {
        return bad("The form is not from this browser's page.");
    }
    let Some(who) = who else { return portal.to_sign_in(&browser, "/connections", false) };
    let id = form.get("consent").and_then(|id| id.parse::<ConsentId>().ok());
    let Some(id) = id else { return bad("There is no such connection.") };
    let (consents, now) = (&portal.connect.consents, clock::unix_now());
    let changed = async {
        // The same answer for another's consent as for none.
        let theirs = consents.find(&id).await?.filter(|consent| consent.subject == who.subject);
        match (theirs, form.get("do")) {
            (Some(_), Some("end")) => consents.end(&id, Ending::Subject, now).await,
            (Some(_), Some("wake")) => consents.wake(&id, now).await,
            _ => Ok(false),
        }
    };
    match changed.await {
        Ok(true) => portal.lead(&browser, "/connections"),
        Ok(false) => bad("There is no such connection, or it is over."),
        Err(error) => portal.not_connected(&browser, &NotConnected::NotStored(error)),
    }
}

async fn sign_in(
    State(portal): State<Arc<Portal>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let form = Form::parse(query.unwrap_or_default().as_bytes());
    let next = form.as_ref().and_then(|form| form.get("next")).unwrap_or("/connections");
    let again = form.as_ref().is_some_and(|form| form.get("again").is_some());
    let page = portal.pages.sign_in(&portal, &browser.csrf(), inside(next), again);
    portal.page(&browser, StatusCode::OK, page)
}

async fn sign_out(State(portal): State<Arc<Portal>>, headers: HeaderMap, body: Bytes) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let form = Form::parse(&body);
    if !form.is_some_and(|form| browser.sent(form.get("csrf"))) {
        return portal.lead(&browser, "/connections");
    }
    portal.sessions().close(browser.secret());
    if let Some(provider) = &portal.provider
        && let Some(to) = provider.end_session(&portal.origin).await
    {
        let page = portal.pages.leave(&portal, provider.name(), &to);
        return portal.page(&Browser::new(), StatusCode::OK, page);
    }
    portal.lead(&Browser::new(), "/sign-in")
}

/// A path of the portal that a sign-in may lead to; anything else leads to the connections.
fn inside(next: &str) -> &str {
    let is_handle = |handle: &str| {
        handle.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    //= RFC 9700 section 4.11.2: the portal leads nowhere but into itself
    if next.strip_prefix("/connect/").is_some_and(is_handle) { next } else { "/connections" }
}

/// An origin, if a content security policy can name it. It cannot name an IPv6 address, which of all redirect addresses is `http://[::1]`
/// (CSP Level 3 section 2.3.1).
fn nameable(origin: String) -> Option<String> {
    (!origin.contains('[')).then_some(origin)
}

/// Scheme, host and port of a registered redirect address.
fn origin_of(uri: &str) -> String {
    let after = uri.find("://").map_or(0, |at| at + 3);
    let end = uri.get(after..).and_then(|rest| rest.find(['/', '?'])).map(|at| at + after);
    uri.get(..end.unwrap_or(uri.len())).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_on_by_303() {
        let response = see_other("/connections");
        assert_eq!(response.status(), 303, "307 would have the form posted again");
        assert_eq!(response.headers()[LOCATION], "/connections");
    }

    #[test]
    fn a_sign_in_leads_nowhere_else() {
        assert_eq!(inside("/connect/aZ_-9"), "/connect/aZ_-9");
        for outside in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/connect/../x",
            "/connect//evil",
            "/connect/a?b",
            "/connect/a#b",
            "connect/a",
            "",
            "javascript:alert(1)",
            "/sign-out",
        ] {
            assert_eq!(inside(outside), "/connections", "{outside}");
        }
    }

    #[test]
    fn a_form_may_end_at_the_applications_origin_only() {
        assert_eq!(origin_of("https://app.example/back?x=1"), "https://app.example");
        assert_eq!(origin_of("https://app.example?x=1"), "https://app.example");
        assert_eq!(origin_of("http://127.0.0.1:51004/cb"), "http://127.0.0.1:51004");
        assert_eq!(origin_of("https://app.example"), "https://app.example");
        let six = origin_of("http://[::1]:51004/cb");
        assert_eq!((&*six, nameable(six.clone())), ("http://[::1]:51004", None));
        assert!(nameable(origin_of("http://127.0.0.1:51004/cb")).is_some());
    }
}
