//! Passkeys: how a subject adds one with a link, signs in with it, and gets back in with a recovery code.
//!
//! webauthn-rs checks what WebAuthn asks for: challenge, origin, relying party, user verification, signature. Ours is whose passkey it is,
//! that each challenge is answered once and by the browser it was made for, and what a signature counter that went back means: a
//! warning, because passkeys that are synchronised have none that could be trusted.

use super::browser::Browser;
use super::sessions::SignedIn;
use super::{Portal, inside};
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
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use storage::clock;
use storage::consents::{ConsentsError, StoredPasskey};
use tracing::{debug, error, warn};
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, DiscoverableKey, Passkey,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder,
};

/// How long a challenge waits for its answer, microseconds.
const CHALLENGE_LIFE: u64 = 5 * 60 * 1_000_000;

/// Challenges that wait at a time; one more throws away those that are over, or is refused.
const CHALLENGES_MAX: usize = 1 << 14;

/// Recovery codes given with a passkey, and for how long they are good.
const CODES: usize = 8;
const CODES_FOR: Micros = Micros::from_secs(2 * 365 * 86_400);

/// How long a ticket is good that a recovery code was exchanged for.
const RECOVERED_FOR: Micros = Micros::from_secs(600);

/// Passkeys of one portal.
pub struct Passkeys {
    webauthn: Webauthn,
    /// By the hash of the browser's secret: what it was last asked.
    asked: Mutex<HashMap<Digest, (Asked, u64)>>,
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

/// The portal's address cannot be a relying party; the configuration is at fault.
#[derive(Debug, thiserror::Error)]
#[error(
    "passkeys need a portal address with a host name, such as `https://connect.example` or `http://localhost:8446`"
)]
pub struct NoRelyingParty;

impl Passkeys {
    /// `origin`: of the portal, as browsers name it. `company`: what authenticators show.
    ///
    /// # Errors
    /// [`NoRelyingParty`] also for an address in place of a host name.
    pub fn new(origin: &str, company: &str) -> Result<Self, NoRelyingParty> {
        let url = Url::parse(origin).map_err(|_| NoRelyingParty)?;
        let host = url.domain().ok_or(NoRelyingParty)?.to_owned();
        let builder = WebauthnBuilder::new(&host, &url).map_err(|_| NoRelyingParty)?;
        let webauthn = builder.rp_name(company).build().map_err(|_| NoRelyingParty)?;
        Ok(Self { webauthn, asked: Mutex::default() })
    }

    fn remember(&self, browser: Digest, asked: Asked) -> bool {
        let now = clock::boot_now().0;
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CHALLENGES_MAX {
            all.retain(|_, (_, until)| now < *until);
        }
        if all.len() >= CHALLENGES_MAX {
            return false;
        }
        all.insert(browser, (asked, now + CHALLENGE_LIFE));
        true
    }

    /// The passkey that was made, if it is one for us.
    fn made(
        &self,
        made: &RegisterPublicKeyCredential,
        asked: &PasskeyRegistration,
    ) -> Option<Passkey> {
        //= WebAuthn Level 3 section 7.1 step 10: not in a frame of another origin
        if is_framed(made.response.client_data_json.as_ref()) {
            return None;
        }
        //= WebAuthn Level 3 section 7.1 steps 5 to 25
        let made = self.webauthn.finish_passkey_registration(made, asked);
        let passkey = made.map_err(|why| debug!(%why, "a passkey was not accepted")).ok()?;
        //= WebAuthn Level 3 section 7.1 step 25: at most 1023 bytes, which the library does not look at
        (passkey.cred_id().len() <= 1_023).then_some(passkey)
    }

    /// What the authenticator signed with `passkey`, if it holds.
    fn signed_in(
        &self,
        signed: &PublicKeyCredential,
        asked: DiscoverableAuthentication,
        passkey: Passkey,
    ) -> Option<AuthenticationResult> {
        //= WebAuthn Level 3 section 7.2 step 13: not in a frame of another origin
        if is_framed(signed.response.client_data_json.as_ref()) {
            return None;
        }
        let passkey = DiscoverableKey::from(passkey);
        //= WebAuthn Level 3 section 7.2 steps 8 to 21
        let verified = self.webauthn.finish_discoverable_authentication_v2(signed, asked, passkey);
        let verified = verified.map_err(|why| debug!(%why, "a passkey was not accepted")).ok()?;
        //= WebAuthn Level 3 section 7.2 step 17: user verification, which was required
        verified.user_verified().then_some(verified)
    }

    /// What the browser was asked, once.
    fn take(&self, browser: &Digest) -> Option<Asked> {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, until) = all.remove(browser)?;
        (clock::boot_now().0 < until).then_some(asked)
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
    let (mut challenge, state) =
        passkeys.webauthn.start_discoverable_authentication().map_err(|_| Refused::Busy)?;
    // The page asks when its button is pressed, not while a field is filled in.
    challenge.mediation = None;
    if !passkeys.remember(browser.digest(), Asked::ToSignIn(Box::new(state))) {
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
    let Some(Asked::ToSignIn(state)) = passkeys.take(&browser.digest()) else {
        return Err(Refused::Passkey);
    };
    let signed: PublicKeyCredential = said
        .credential
        .and_then(|signed| serde_json::from_value(signed).ok())
        .ok_or(Refused::Passkey)?;
    let (handle, id) = passkeys
        .webauthn
        .identify_discoverable_authentication(&signed)
        .map_err(|_| Refused::Passkey)?;
    let store = portal.connect.consents.store();
    let kept = owned(store.passkey(id).await?, &handle)?;
    let passkey: Passkey = serde_json::from_str(&kept.passkey).map_err(|_| Refused::Passkey)?;
    let verified = passkeys.signed_in(&signed, *state, passkey).ok_or(Refused::Passkey)?;
    //= WebAuthn Level 3 section 7.2 step 22: a counter that does not grow is a signal, not proof, of a clone
    if went_back(verified.counter(), kept.counter) {
        warn!(
            counter = verified.counter(),
            known = kept.counter,
            "a passkey's counter went back: it may have been cloned"
        );
    }
    //= WebAuthn Level 3 section 7.2 step 24: the counter is kept
    // It may have gone with its subject while the signature was checked.
    if !store.passkey_used(&kept.credential, verified.counter(), clock::unix_now()).await? {
        return Err(Refused::Passkey);
    }
    let next = said.next.unwrap_or_default();
    Ok(portal.open_session(&browser, kept.subject, inside(&next)))
}

/// Whether a browser says that it ran in a frame of another origin; the library looks at that for no sign-in. What is not JSON is the library's to
/// refuse.
fn is_framed(client_data: &[u8]) -> bool {
    let said: Value = serde_json::from_slice(client_data).unwrap_or_default();
    said.get("crossOrigin").is_some_and(|framed| *framed != Value::Bool(false))
        || said.get("topOrigin").is_some()
}

/// The passkey that is kept, if it is of the user that the authenticator says it is.
fn owned(kept: Option<StoredPasskey>, handle: &Uuid) -> Result<StoredPasskey, Refused> {
    //= WebAuthn Level 3 section 7.2 step 6: the credential belongs to the user that the user handle names
    kept.filter(|kept| kept.handle == *handle.as_bytes()).ok_or(Refused::Passkey)
}

/// Whether a counter did not grow. Zero is that of an authenticator without one.
fn went_back(counter: u32, known: u32) -> bool {
    counter > 0 && counter <= known
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
    let name = &portal.company;
    let (challenge, registration) = passkeys
        .webauthn
        .start_passkey_registration(handle, name, name, Some(exclude))
        .map_err(|_| Refused::Busy)?;
    let mut challenge = serde_json::to_value(challenge).map_err(|_| Refused::Busy)?;
    // A subject signs in without typing who it is, so the authenticator has to remember.
    let selection = challenge.pointer_mut("/publicKey/authenticatorSelection");
    if let Some(members) = selection.and_then(Value::as_object_mut) {
        members.insert("residentKey".to_owned(), "required".into());
        members.insert("requireResidentKey".to_owned(), true.into());
    }
    let registration = Box::new(registration);
    let asked = Asked::ToEnrol { registration, ticket, subject, handle };
    if !passkeys.remember(browser.digest(), asked) {
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
        passkeys.take(&browser.digest())
    else {
        return Err(Refused::Passkey);
    };
    let made: RegisterPublicKeyCredential = said
        .credential
        .and_then(|made| serde_json::from_value(made).ok())
        .ok_or(Refused::Passkey)?;
    let passkey = passkeys.made(&made, &registration).ok_or(Refused::Passkey)?;
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

/// The passkey as it is kept. Its counter is ours to compare, because webauthn-rs refuses what this standard calls a signal.
fn without_counter(passkey: &Passkey) -> Option<String> {
    let mut json = serde_json::to_value(passkey).ok()?;
    *json.get_mut("cred")?.get_mut("counter")? = 0.into();
    Some(json.to_string())
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

#[cfg(test)]
mod tests;
