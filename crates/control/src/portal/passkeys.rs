//! Passkeys of subjects: how one adds one with a link, signs in with it, and gets back in with a recovery code.

use super::browser::Browser;
use super::sessions::SignedIn;
use super::{Portal, inside};
use crate::passkeys::{Challenges, Known, NoRelyingParty, RelyingParty, without_counter};
use authority::Form;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use credential::{base64url, sha256};
use model::{Digest, Micros, SubjectId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::clock;
use storage::consents::{ConsentsError, StoredPasskey};
use tracing::error;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Uuid,
};

/// Challenges that wait at a time.
const CHALLENGES_MAX: usize = 1 << 14;

/// Recovery codes given with a passkey, and for how long they are good.
const CODES: usize = 8;
const CODES_FOR: Micros = Micros::from_secs(2 * 365 * 86_400);

/// How long a ticket is good that a recovery code was exchanged for.
const RECOVERED_FOR: Micros = Micros::from_secs(600);

/// Passkeys of one portal.
pub struct Passkeys {
    relying_party: RelyingParty,
    /// By the hash of the browser's secret.
    asked: Challenges<Asked>,
}

enum Asked {
    ToSignIn(Box<DiscoverableAuthentication>),
    ToEnrol {
        registration: Box<PasskeyRegistration>,
        ticket: Digest,
        subject: SubjectId,
        handle: Uuid,
    },
}

impl Passkeys {
    /// `origin`: of the portal, as browsers name it. `company`: what authenticators show.
    ///
    /// # Errors
    /// If it is no host name: an address neither.
    pub fn new(origin: &str, company: &str) -> Result<Self, NoRelyingParty> {
        let relying_party = RelyingParty::new(origin, company)?;
        Ok(Self { relying_party, asked: Challenges::new(CHALLENGES_MAX) })
    }
}

/// What a page sends: its token, and what the authenticator said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    csrf: String,
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    credential: Option<Value>,
}

/// Why a step with a passkey was not taken. The browser is told nothing that tells subjects apart.
pub(super) enum Refused {
    Page,
    Passkey,
    Ticket,
    Busy,
    Store(ConsentsError),
}

impl From<ConsentsError> for Refused {
    fn from(error: ConsentsError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, sentence) = match self {
            Self::Page => (StatusCode::BAD_REQUEST, "Load the page again."),
            Self::Passkey => (StatusCode::FORBIDDEN, "This passkey was not accepted. Try again."),
            Self::Ticket => (
                StatusCode::FORBIDDEN,
                "This link was used before or is too old. Ask for another one.",
            ),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment."),
            Self::Store(error) => {
                error!(%error, "passkeys cannot be read or written");
                (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment.")
            }
        };
        (status, Json(json!({ "sentence": sentence }))).into_response()
    }
}

impl Portal {
    fn said(&self, headers: &HeaderMap, body: &[u8]) -> Result<(Browser, Said), Refused> {
        let browser = Browser::of(headers, self.is_secure());
        let said: Said = serde_json::from_slice(body).map_err(|_| Refused::Page)?;
        if browser.sent(Some(&said.csrf)) { Ok((browser, said)) } else { Err(Refused::Page) }
    }

    fn passkeys(&self) -> Result<&Passkeys, Refused> {
        self.passkeys.as_ref().ok_or(Refused::Page)
    }

    /// A session for `subject`, who proved itself just now.
    fn open_session(&self, browser: &Browser, subject: SubjectId, to: &str) -> Response {
        let now = clock::boot_now();
        let who = SignedIn { subject, at: now, authenticated: Some(now) };
        let fresh = self.enter(browser, who, None);
        let mut response = Json(json!({ "next": to })).into_response();
        fresh.remember(&mut response, self.is_secure());
        response
    }
}

/// Challenges a browser to sign in with any passkey of this portal.
pub(super) async fn challenge(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let (browser, _) = portal.said(&headers, &body)?;
    let passkeys = portal.passkeys()?;
    let (challenge, asked) = passkeys.relying_party.ask_to_sign_in().ok_or(Refused::Busy)?;
    if !passkeys.asked.remember(browser.digest(), Asked::ToSignIn(Box::new(asked))) {
        return Err(Refused::Busy);
    }
    Ok(Json(challenge).into_response())
}

/// Signs in with what the authenticator signed.
pub(super) async fn sign_in(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let (browser, said) = portal.said(&headers, &body)?;
    let passkeys = portal.passkeys()?;
    //= WebAuthn Level 3 section 7.2 step 11: the challenge of this browser, once
    let Some(Asked::ToSignIn(asked)) = passkeys.asked.take(&browser.digest()) else {
        return Err(Refused::Passkey);
    };
    let signed: PublicKeyCredential = said
        .credential
        .and_then(|signed| serde_json::from_value(signed).ok())
        .ok_or(Refused::Passkey)?;
    let store = portal.connect.consents.store();
    let kept = store.passkey(signed.get_credential_id()).await?.ok_or(Refused::Passkey)?;
    let known = Known { handle: &kept.handle, passkey: &kept.passkey, counter: kept.counter };
    let counter = passkeys.relying_party.signed_in(&signed, *asked, &known);
    let counter = counter.ok_or(Refused::Passkey)?;
    //= WebAuthn Level 3 section 7.2 step 24: the counter is kept
    // It may have gone with its subject while the signature was checked.
    if !store.passkey_used(&kept.credential, counter, clock::unix_now()).await? {
        return Err(Refused::Passkey);
    }
    let next = said.next.unwrap_or_default();
    Ok(portal.open_session(&browser, kept.subject, inside(&next)))
}

/// The page that an enrolment link leads to.
pub(super) async fn enrol_page(
    State(portal): State<Arc<Portal>>,
    Path(ticket): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let store = portal.connect.consents.store();
    match store.enrolment(&sha256(ticket.as_bytes()), clock::unix_now()).await {
        Ok(Some(_)) => {
            let page = portal.pages.enrol(&portal, &browser.csrf(), &ticket);
            portal.page(&browser, StatusCode::OK, page)
        }
        Ok(None) => portal.problem(
            &browser,
            StatusCode::FORBIDDEN,
            "This link was used before or is too old. Ask for another one.",
        ),
        Err(error) => {
            error!(%error, "enrolments cannot be read");
            portal.problem(&browser, StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment.")
        }
    }
}

/// Challenges a browser to make a passkey.
pub(super) async fn enrol_challenge(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let (browser, said) = portal.said(&headers, &body)?;
    let passkeys = portal.passkeys()?;
    let ticket = sha256(said.ticket.unwrap_or_default().as_bytes());
    let store = portal.connect.consents.store();
    let subject = store.enrolment(&ticket, clock::unix_now()).await?.ok_or(Refused::Ticket)?;
    let known = store.passkeys_of(&subject).await?;
    // Authenticators keep the handle beside the key: random, so that it says nothing of the subject, and the same for all its keys.
    let handle = known.first().map_or_else(
        || Uuid::from_bytes(clock::random()),
        |passkey| Uuid::from_bytes(passkey.handle),
    );
    let exclude = known.into_iter().map(|passkey| passkey.credential).collect();
    let asked = passkeys.relying_party.ask_to_enrol(handle, &portal.company, exclude);
    let (challenge, registration) = asked.ok_or(Refused::Busy)?;
    let registration = Box::new(registration);
    let asked = Asked::ToEnrol { registration, ticket, subject, handle };
    if !passkeys.asked.remember(browser.digest(), asked) {
        return Err(Refused::Busy);
    }
    Ok(Json(challenge).into_response())
}

/// Adds the passkey that was made, and signs in. The answer holds the recovery codes, which are shown once.
pub(super) async fn enrol(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let (browser, said) = portal.said(&headers, &body)?;
    let passkeys = portal.passkeys()?;
    //= WebAuthn Level 3 section 7.1 step 8: the challenge of this browser, once
    let Some(Asked::ToEnrol { registration, ticket, subject, handle }) =
        passkeys.asked.take(&browser.digest())
    else {
        return Err(Refused::Passkey);
    };
    let made: RegisterPublicKeyCredential = said
        .credential
        .and_then(|made| serde_json::from_value(made).ok())
        .ok_or(Refused::Passkey)?;
    let passkey = passkeys.relying_party.made(&made, &registration).ok_or(Refused::Passkey)?;
    let stored = StoredPasskey {
        credential: passkey.cred_id().to_vec(),
        handle: *handle.as_bytes(),
        subject: subject.clone(),
        passkey: without_counter(&passkey).ok_or(Refused::Passkey)?,
        counter: 0,
        added: clock::unix_now(),
    };
    let codes: [String; CODES] = std::array::from_fn(|_| base64url::encode(&clock::random::<16>()));
    let hashes: Vec<Digest> = codes.iter().map(|code| sha256(code.as_bytes())).collect();
    let (store, now) = (portal.connect.consents.store(), clock::unix_now());
    //= WebAuthn Level 3 section 7.1 step 26: of nobody else
    if !store.add_passkey(&ticket, &stored, &hashes, now + CODES_FOR, now).await? {
        return Err(Refused::Ticket);
    }
    // Whoever was signed in as this subject before may be whom it locks out.
    portal.sessions().close_all(&subject);
    let opened = portal.open_session(&browser, subject, "/connections");
    let (parts, _) = opened.into_parts();
    let body = Json(json!({ "next": "/connections", "codes": codes })).into_response().into_body();
    Ok(Response::from_parts(parts, body))
}

/// Removes a passkey, of a device that was lost say, and ends the subject's other sessions: one of them may be that device's.
pub(super) async fn remove(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (browser, who) = portal.visitor(&headers);
    let bad = |sentence| portal.problem(&browser, StatusCode::BAD_REQUEST, sentence);
    let Some(form) = Form::parse(&body).filter(|form| browser.sent(form.get("csrf"))) else {
        return bad("The form is not from this browser's page.");
    };
    let fresh = who.as_ref().filter(|who| who.is_fresh(clock::boot_now()));
    let Some(who) = fresh else { return portal.to_sign_in(&browser, "/connections", true) };
    let credential = form.get("passkey").and_then(|id| base64url::decode(id.as_bytes()));
    let store = portal.connect.consents.store();
    match store.remove_passkey(&who.subject, &credential.unwrap_or_default()).await {
        Ok(true) => {
            portal.sessions().close_all(&who.subject);
            portal.to_sign_in(&browser, "/connections", false)
        }
        Ok(false) => bad("There is no such passkey."),
        Err(error) => {
            error!(%error, "passkeys cannot be written");
            bad("Try again in a moment.")
        }
    }
}

/// Exchanges a recovery code for an enrolment link. It signs nobody in: who comes back makes a passkey first.
pub(super) async fn recover(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let bad = |sentence| portal.problem(&browser, StatusCode::FORBIDDEN, sentence);
    let Some(form) = Form::parse(&body).filter(|form| browser.sent(form.get("csrf"))) else {
        return bad("The form is not from this browser's page.");
    };
    let code = sha256(form.get("code").unwrap_or("").trim().as_bytes());
    let ticket = base64url::encode(&clock::random::<32>());
    let (store, now) = (portal.connect.consents.store(), clock::unix_now());
    let hash = sha256(ticket.as_bytes());
    match store.recover(&code, &hash, now + RECOVERED_FOR, now).await {
        Ok(Some(_)) => portal.lead(&browser, &format!("/enrol/{ticket}")),
        Ok(None) => bad("This code was used before, or is none."),
        Err(error) => {
            error!(%error, "recovery codes cannot be read");
            bad("Try again in a moment.")
        }
    }
}
