//! Operators' passkeys: logging in with one, showing one again before something is changed, adding one.
//!
//! A link lets its operator look, and add a first passkey for a few minutes. From then on only a passkey adds another or changes anything; who lost theirs
//! has two admins forget them. Each of these is on record before it holds.

use super::sessions::{Admitted, Operator, Secrets};
use super::{Console, cookie_and_page, no_session, problem};
use crate::passkeys::{Challenges, Known, NoRelyingParty, RelyingParty, without_counter};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Json, Response};
use credential::{base64url, sha256};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::clock;
use storage::registry::{OPERATOR_PASSKEYS_MAX, OperatorPasskey, RegistryError};
use tracing::error;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Uuid,
};

/// Challenges of logins that wait at a time, of everybody on this machine, and as many of sessions, which strangers' logins take no room of.
const CHALLENGES_MAX: usize = 256;

/// Passkeys of one console.
pub struct Passkeys {
    relying_party: RelyingParty,
    /// By the session's cookie.
    asked: Challenges<Asked>,
    /// By the name of a login under way.
    logins: Challenges<DiscoverableAuthentication>,
}

enum Asked {
    Show(Box<DiscoverableAuthentication>),
    Make { registration: Box<PasskeyRegistration>, handle: Uuid, had: usize },
}

impl Passkeys {
    /// `port`: of the console, which browsers name `localhost`: a number cannot be a relying party. `deployment`: what authenticators show.
    ///
    /// # Errors
    /// None in practice: `localhost` is a name.
    pub fn new(port: u16, deployment: &str) -> Result<Self, NoRelyingParty> {
        let name = format!("Portcullis {deployment}");
        let relying_party = RelyingParty::new(&format!("http://localhost:{port}"), &name)?;
        let (asked, logins) = (Challenges::new(CHALLENGES_MAX), Challenges::new(CHALLENGES_MAX));
        Ok(Self { relying_party, asked, logins })
    }
}

/// Why a step with a passkey was not taken.
pub(super) enum Refused {
    Session,
    Malformed,
    Passkey,
    /// There is none, or it has to be shown again.
    Show,
    Enrol,
    Busy,
    Store(RegistryError),
    NotRecorded(String),
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Session => no_session(),
            Self::Malformed => problem(StatusCode::BAD_REQUEST, "not what was asked for"),
            Self::Passkey => problem(StatusCode::FORBIDDEN, "this passkey was not accepted"),
            Self::Show => problem(StatusCode::FORBIDDEN, "show your passkey again first"),
            Self::Enrol => problem(
                StatusCode::FORBIDDEN,
                "a first passkey is added within ten minutes of using a link; type `portcullis console` for another. If you have one that \
                 is lost, two admins have it forgotten: `portcullis operator forget-passkeys`",
            ),
            Self::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, "try again in a moment"),
            Self::Store(error) => {
                error!(%error, "operators' passkeys cannot be read or written");
                problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "passkeys cannot be read or written; `portcullis sever` in a terminal works without them",
                )
            }
            Self::NotRecorded(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
        }
    }
}

/// The answer to a challenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    /// Of a login under way; a session needs no other name.
    #[serde(default)]
    login: Option<String>,
    credential: Value,
}

/// Challenges a browser without a session to log in with any passkey of this console.
pub(super) async fn login_challenge(
    State(console): State<Arc<Console>>,
) -> Result<Response, Refused> {
    let passkeys = &console.passkeys;
    let (options, asked) = passkeys.relying_party.ask_to_sign_in().ok_or(Refused::Busy)?;
    // Only the page that asked can read it, and it is no cookie, so nobody can plant one.
    let login = base64url::encode(&clock::random::<32>());
    passkeys.logins.remember_newest(sha256(login.as_bytes()), asked);
    Ok(Json(json!({ "login": login, "options": options })).into_response())
}

/// Opens a session for who shows a passkey.
pub(super) async fn login(
    State(console): State<Arc<Console>>,
    body: Bytes,
) -> Result<Response, Refused> {
    let shown: Shown = serde_json::from_slice(&body).map_err(|_| Refused::Malformed)?;
    let login = shown.login.ok_or(Refused::Malformed)?;
    //= WebAuthn Level 3 section 7.2 step 11: the challenge of this page, once
    let asked = console.passkeys.logins.take(&sha256(login.as_bytes()));
    let kept = console.shown(shown.credential, asked.ok_or(Refused::Passkey)?).await?;
    let operator = console.registry.operator(kept.operator).await?.ok_or(Refused::Passkey)?;
    let operator = Operator { id: operator.id, name: operator.name };
    console.record(&operator, "console_login", &kept.credential).await?;
    let (now, cookie, page) = (clock::boot_now(), clock::random(), clock::random());
    let secrets = console.sessions.open(operator.clone(), now, cookie, page);
    Ok(cookie_and_page(&console, &operator, &secrets))
}

/// Challenges a session's operator to show one of its passkeys.
pub(super) async fn show_challenge(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let admitted = console.admit(&headers, true).ok_or(Refused::Session)?;
    let own = console.registry.passkeys_of_operator(admitted.operator.id).await?;
    if own.is_empty() {
        return Err(Refused::Enrol);
    }
    let passkeys = &console.passkeys;
    let (mut options, asked) = passkeys.relying_party.ask_to_sign_in().ok_or(Refused::Busy)?;
    if let Some(allowed) = options.pointer_mut("/publicKey/allowCredentials") {
        let named = own.iter().map(|passkey| base64url::encode(&passkey.credential));
        *allowed = named.map(|id| json!({ "type": "public-key", "id": id })).collect();
    }
    if !passkeys.asked.remember(admitted.browser(), Asked::Show(Box::new(asked))) {
        return Err(Refused::Busy);
    }
    Ok(Json(options).into_response())
}

/// Notes that a session's operator showed one of its passkeys.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let admitted = console.admit(&headers, true).ok_or(Refused::Session)?;
    let shown: Shown = serde_json::from_slice(&body).map_err(|_| Refused::Malformed)?;
    //= WebAuthn Level 3 section 7.2 step 11: the challenge of this session, once
    let Some(Asked::Show(asked)) = console.passkeys.asked.take(&admitted.browser()) else {
        return Err(Refused::Passkey);
    };
    let kept = console.shown(shown.credential, *asked).await?;
    //= WebAuthn Level 3 section 7.2 step 6: of the operator whose session it is
    if kept.operator != admitted.operator.id {
        return Err(Refused::Passkey);
    }
    console.record(&admitted.operator, "console_passkey", &kept.credential).await?;
    console.verified(&admitted, false)
}

/// Challenges a session's operator to make a passkey.
pub(super) async fn make_challenge(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let admitted = console.admit(&headers, true).ok_or(Refused::Session)?;
    let own = console.registry.passkeys_of_operator(admitted.operator.id).await?;
    may_make(&admitted, own.len())?;
    let handle = own.first().map_or_else(clock::random, |passkey| passkey.handle);
    let (handle, had) = (Uuid::from_bytes(handle), own.len());
    let exclude = own.into_iter().map(|passkey| passkey.credential).collect();
    let (passkeys, name) = (&console.passkeys, &admitted.operator.name);
    let asked = passkeys.relying_party.ask_to_enrol(handle, name, exclude);
    let (options, registration) = asked.ok_or(Refused::Busy)?;
    let registration = Box::new(registration);
    let asked = Asked::Make { registration, handle, had };
    if !passkeys.asked.remember(admitted.browser(), asked) {
        return Err(Refused::Busy);
    }
    Ok(Json(options).into_response())
}

/// Adds the passkey that was made, and ends the operator's other sessions.
pub(super) async fn make(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let admitted = console.admit(&headers, true).ok_or(Refused::Session)?;
    let shown: Shown = serde_json::from_slice(&body).map_err(|_| Refused::Malformed)?;
    //= WebAuthn Level 3 section 7.1 step 8: the challenge of this session, once
    let asked = console.passkeys.asked.take(&admitted.browser());
    let Some(Asked::Make { registration, handle, had }) = asked else {
        return Err(Refused::Passkey);
    };
    may_make(&admitted, had)?;
    let made: RegisterPublicKeyCredential =
        serde_json::from_value(shown.credential).map_err(|_| Refused::Malformed)?;
    let made = console.passkeys.relying_party.made(&made, &registration);
    let passkey = made.ok_or(Refused::Passkey)?;
    let stored = OperatorPasskey {
        credential: passkey.cred_id().to_vec(),
        handle: *handle.as_bytes(),
        operator: admitted.operator.id,
        passkey: without_counter(&passkey).ok_or(Refused::Passkey)?,
        counter: 0,
        added: clock::unix_now(),
    };
    console.record(&admitted.operator, "console_passkey_add", &stored.credential).await?;
    //= WebAuthn Level 3 section 7.1 step 26: of nobody else
    if !console.registry.add_operator_passkey(&stored, had).await? {
        return Err(Refused::Passkey);
    }
    console.verified(&admitted, true)
}

/// A first passkey is added by who has the key file at hand; every other one by who showed one. `had`: how many there are.
pub(super) fn may_make(admitted: &Admitted, had: usize) -> Result<(), Refused> {
    match had {
        0 if admitted.linked => Ok(()),
        0 => Err(Refused::Enrol),
        _ if admitted.fresh == 0 => Err(Refused::Show),
        OPERATOR_PASSKEYS_MAX.. => Err(Refused::Passkey),
        _ => Ok(()),
    }
}

impl Console {
    /// The passkey that was shown, if it holds.
    async fn shown(
        &self,
        signed: Value,
        asked: DiscoverableAuthentication,
    ) -> Result<OperatorPasskey, Refused> {
        let signed: PublicKeyCredential =
            serde_json::from_value(signed).map_err(|_| Refused::Malformed)?;
        let kept = self.registry.operator_passkey(signed.get_credential_id()).await?;
        let kept = kept.ok_or(Refused::Passkey)?;
        let known = Known { handle: &kept.handle, passkey: &kept.passkey, counter: kept.counter };
        let counter = self.passkeys.relying_party.signed_in(&signed, asked, &known);
        let counter = counter.ok_or(Refused::Passkey)?;
        //= WebAuthn Level 3 section 7.2 step 24: the counter is kept
        // It may have gone with its operator while the signature was checked.
        let now = clock::unix_now();
        let is_kept = self.registry.operator_passkey_used(&kept.credential, counter, now).await?;
        if is_kept { Ok(kept) } else { Err(Refused::Passkey) }
    }

    fn verified(&self, admitted: &Admitted, alone: bool) -> Result<Response, Refused> {
        let (now, cookie, page) = (clock::boot_now(), clock::random(), clock::random());
        let secrets: Secrets =
            self.sessions.verify(admitted, alone, now, cookie, page).ok_or(Refused::Session)?;
        Ok(cookie_and_page(self, &admitted.operator, &secrets))
    }

    async fn record(
        &self,
        operator: &Operator,
        action: &'static str,
        credential: &[u8],
    ) -> Result<(), Refused> {
        let detail =
            json!({ "console": operator.id.to_string(), "passkey": base64url::encode(credential) });
        (self.record)(operator.id, action, detail).await.map_err(Refused::NotRecorded)
    }
}
