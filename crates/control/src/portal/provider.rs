//! Signing in at the company's own OpenID Connect provider, in place of passkeys.
//!
//! Authorization code with PKCE, state and nonce. What was begun is tied to the browser it was begun in, taken once, and ends in a new
//! secret of that browser, as every sign-in does. `credential` judges the ID token; `known` asks the provider for documents and keys.
//!
//! Source: OpenID Connect Core 1.0, RFC 7636, RFC 9207, RFC 9700 sections 2.1 and 4; RP-Initiated and Back-Channel Logout 1.0.

use super::browser::Browser;
use super::sessions::{SESSION_LIFE, SignedIn};
use super::{Portal, inside};
use crate::client_proof::{ClientProof, form_of};
use crate::known::{Document, Known, Metadata, NotKnown};
use crate::outbound::{BadAddress, NotAsked, ask};
use authority::Form;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Response};
use credential::id_token::{self, BadIdToken, Identity, Parties, ProviderKeys, SignIn};
use credential::{base64url, sha256};
use model::{Digest, Micros};
use serde::Deserialize;
use sever::BootMicros;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use storage::clock;
use tracing::{debug, info, warn};

/// Where the provider sends browsers back to; to be registered there, after our origin.
pub const BACK_PATH: &str = "/sign-in/back";

/// Where the provider says that somebody left; to be registered there as the address for back-channel logout.
pub const ENDED_PATH: &str = "/sign-in/ended";

/// How long somebody may take at the provider, microseconds.
const BEGUN_LIFE: u64 = 10 * 60 * 1_000_000;

/// Sign-ins under way at a time; one more throws away those that are over, or is refused.
const BEGUN_MAX: usize = 1 << 14;

/// A token endpoint's answer names no more than this of an error.
const ERROR_MAX: usize = 40;

/// Who the provider is, and who we are to it.
pub struct Settings {
    /// Its issuer identifier, byte for byte as it writes it.
    pub issuer: String,
    /// The name it knows us by.
    pub client_id: String,
    /// How we prove that we are that client.
    pub proof: ClientProof,
    /// What the company calls it.
    pub name: String,
    /// The claim whose value is the subject's id at the origin.
    pub subject_claim: String,
    /// Whether it may be asked in the clear, which is then for loopback only.
    pub clear_text: bool,
}

/// The company's provider.
pub struct Provider {
    settings: Settings,
    known: Known<ProviderKeys>,
    /// By the hash of `state`.
    begun: Mutex<HashMap<Digest, Begun>>,
}

/// A sign-in that a browser left for.
struct Begun {
    browser: Digest,
    nonce: String,
    verifier: String,
    next: String,
    /// Whether the provider was asked to authenticate its user again.
    again: bool,
    until: u64,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
enum NotSignedIn {
    #[error("no sign-in of this browser is under way")]
    NoFlow,
    #[error("too many sign-ins are under way")]
    Busy,
    #[error("the answer is another provider's, or does not say whose it is")]
    OtherProvider,
    #[error("the provider answered `{0}`")]
    Declined(String),
    #[error("the provider cannot be asked")]
    Down(#[from] NotAsked),
    #[error("what the provider says of itself cannot be used: {0}")]
    Documents(&'static str),
    #[error(transparent)]
    Token(#[from] BadIdToken),
}

impl From<NotKnown> for NotSignedIn {
    fn from(why: NotKnown) -> Self {
        match why {
            NotKnown::Down(why) => Self::Down(why),
            NotKnown::Documents(what) => Self::Documents(what),
            NotKnown::Lately => Self::Documents("it did not answer a moment ago"),
        }
    }
}

impl Provider {
    /// The provider that the operator configured. It is asked nothing until somebody signs in.
    ///
    /// # Errors
    /// [`BadAddress`] if the issuer is not an https:// address without query.
    pub fn new(settings: Settings) -> Result<Self, BadAddress> {
        let Settings { issuer, clear_text, .. } = &settings;
        let known = Known::new(issuer, &[Document::OpenId], *clear_text, ProviderKeys::from_jwks)?;
        Ok(Self { settings, known, begun: Mutex::default() })
    }

    /// What the company calls it.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    fn parties(&self) -> Parties<'_> {
        let Settings { issuer, client_id, subject_claim, .. } = &self.settings;
        Parties { issuer, client_id, subject_claim }
    }

    /// Where a browser is sent to sign in.
    async fn begin(
        &self,
        portal: &str,
        browser: &Browser,
        next: &str,
        again: bool,
    ) -> Result<String, NotSignedIn> {
        let metadata = self.known.metadata().await?;
        let [state, nonce, verifier] =
            std::array::from_fn(|_| base64url::encode(&clock::random::<32>()));
        //= RFC 7636 section 4.2: S256
        let challenge = base64url::encode(&sha256(verifier.as_bytes()));
        let redirect_uri = format!("{portal}{BACK_PATH}");
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", &*self.settings.client_id),
            ("redirect_uri", &*redirect_uri),
            ("scope", "openid"),
            ("state", &*state),
            ("nonce", &*nonce),
            ("code_challenge", &*challenge),
            ("code_challenge_method", "S256"),
        ];
        //= OpenID Connect Core section 3.1.2.1: with max_age the ID token says when its user was authenticated
        let max_age = (SESSION_LIFE / 1_000_000).to_string();
        if again {
            parameters.extend([("prompt", "login"), ("max_age", "0")]);
        } else {
            parameters.push(("max_age", &*max_age));
        }
        let endpoint = metadata.authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or(NotSignedIn::Documents("no `authorization_endpoint`"))?;
        let url = with_query(endpoint, &parameters);
        let until = clock::boot_now().0 + BEGUN_LIFE;
        let (browser, next) = (browser.digest(), next.to_owned());
        let begun = Begun { browser, nonce, verifier, next, again, until };
        self.remember(sha256(state.as_bytes()), begun)?;
        Ok(url)
    }

    fn remember(&self, state: Digest, begun: Begun) -> Result<(), NotSignedIn> {
        let now = clock::boot_now().0;
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= BEGUN_MAX {
            all.retain(|_, begun| now < begun.until);
        }
        if all.len() >= BEGUN_MAX {
            return Err(NotSignedIn::Busy);
        }
        all.insert(state, begun);
        Ok(())
    }

    /// The sign-in of a state, once, and to nobody but the browser that began it.
    fn take(&self, state: &str, browser: &Digest) -> Option<Begun> {
        let state = sha256(state.as_bytes());
        let mut all = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        // Another browser with this state does not use it up for the one whose it is.
        all.get(&state).filter(|begun| begun.browser == *browser)?;
        all.remove(&state).filter(|begun| clock::boot_now().0 < begun.until)
    }

    /// Who it was, and where that browser was going. `answer`: the parameters that the browser came back with.
    async fn finish(
        &self,
        portal: &str,
        browser: &Digest,
        answer: &Form,
    ) -> Result<(Identity, String), NotSignedIn> {
        let state = answer.get("state").ok_or(NotSignedIn::NoFlow)?;
        let begun = self.take(state, browser).ok_or(NotSignedIn::NoFlow)?;
        let metadata = self.known.metadata().await?;
        //= RFC 9207 section 2.4: compared also in an error response; missing only from who does not announce it
        match answer.get("iss") {
            Some(iss) if iss == self.settings.issuer => {}
            None if !metadata.names_itself => {}
            _ => return Err(NotSignedIn::OtherProvider),
        }
        let code = match (answer.get("code"), answer.get("error")) {
            (Some(code), None) => code,
            (_, error) => return Err(NotSignedIn::Declined(code_of(error.unwrap_or("nothing")))),
        };
        let token = self.redeem(&metadata, portal, code, &begun.verifier).await?;
        // Whoever was authenticated since leaving here was so in time, however long the provider's other questions took.
        let away = (clock::boot_now().0 + BEGUN_LIFE).saturating_sub(begun.until);
        let within = Micros(if begun.again { away } else { SESSION_LIFE + away });
        let sign_in =
            SignIn { nonce: &begun.nonce, authenticated_within: within, fresh: begun.again };
        let judge = |keys: &ProviderKeys| {
            id_token::verify(&token, keys, &self.parties(), &sign_in, clock::unix_now())
        };
        let identity = match judge(&*self.known.keys(&metadata).await?) {
            //= OpenID Connect Core section 10.1.1: keys change; look once more when one is not known
            Err(BadIdToken::UnknownKey) => judge(&*self.known.changed_keys(&metadata).await?),
            judged => judged,
        }?;
        Ok((identity, begun.next))
    }

    /// The ID token that a code is good for.
    async fn redeem(
        &self,
        metadata: &Metadata,
        portal: &str,
        code: &str,
        verifier: &str,
    ) -> Result<String, NotSignedIn> {
        let redirect_uri = format!("{portal}{BACK_PATH}");
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", verifier),
        ];
        let Settings { issuer, client_id, proof, .. } = &self.settings;
        let question = proof.question(&parameters, issuer, client_id, metadata.takes_basic);
        let question = question.ok_or(NotSignedIn::Documents("the client secret"))?;
        let endpoint = metadata.token_endpoint.as_ref();
        let endpoint = endpoint.ok_or(NotSignedIn::Documents("no `token_endpoint`"))?;
        let asked = ask(endpoint, self.known.place(), question).await;
        //= RFC 6749 section 5.2: 400 for a code that is not this client's, or was not begun with this verifier
        if let Err(NotAsked::Status(400)) = asked {
            return Err(NotSignedIn::Declined("400 at its token endpoint".to_owned()));
        }
        let body = asked?;
        /// An access token comes along, and is thrown away: nothing is read at the provider.
        #[derive(Deserialize)]
        struct Answer {
            id_token: String,
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| NotSignedIn::Documents("its token answer"))?;
        Ok(answer.id_token)
    }

    /// Where a browser is sent that signs out, if the provider ends sessions and can be asked where.
    ///
    /// The ID token is not sent along: it names the subject, and would stand in the browser's history.
    pub(super) async fn end_session(&self, portal: &str) -> Option<String> {
        let metadata = self.known.metadata().await.ok()?;
        let home = format!("{portal}/sign-in");
        //= OpenID Connect RP-Initiated Logout section 2: client_id in place of id_token_hint
        let parameters =
            [("client_id", &*self.settings.client_id), ("post_logout_redirect_uri", &*home)];
        Some(with_query(metadata.end_session_endpoint.as_deref()?, &parameters))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({} as {})", self.settings.issuer, self.settings.client_id)
    }
}

/// Sends a browser to the provider.
pub(super) async fn leave(
    State(portal): State<Arc<Portal>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let Some(form) = Form::parse(&body).filter(|form| browser.sent(form.get("csrf"))) else {
        let sentence = "The form is not from this browser's page.";
        return portal.problem(&browser, StatusCode::BAD_REQUEST, sentence);
    };
    let Some(provider) = &portal.provider else { return nothing(&portal, &browser) };
    let next = inside(form.get("next").unwrap_or("/connections"));
    let again = form.get("again").is_some();
    match provider.begin(&portal.origin, &browser, next, again).await {
        Ok(to) => {
            let page = portal.pages.leave(&portal, provider.name(), &to);
            portal.page(&browser, StatusCode::OK, page)
        }
        Err(why) => not_signed_in(&portal, &browser, provider, &why),
    }
}

/// A browser comes back from the provider.
pub(super) async fn back(
    State(portal): State<Arc<Portal>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (browser, _) = portal.visitor(&headers);
    let Some(provider) = &portal.provider else { return nothing(&portal, &browser) };
    let answer = Form::parse(query.unwrap_or_default().as_bytes());
    let finished = match &answer {
        Some(answer) => provider.finish(&portal.origin, &browser.digest(), answer).await,
        None => Err(NotSignedIn::NoFlow),
    };
    match finished {
        Ok((identity, next)) => {
            let now = clock::boot_now();
            let ago = |at| clock::unix_now().since(at).0;
            let authenticated =
                identity.authenticated.map(|at| BootMicros(now.0.saturating_sub(ago(at))));
            let who = SignedIn { subject: identity.subject, at: now, authenticated };
            let fresh = portal.enter(&browser, who, identity.sid);
            portal.lead(&fresh, &next)
        }
        Err(why) => not_signed_in(&portal, &browser, provider, &why),
    }
}

/// The provider says that somebody left. The request is its own, signed, and no browser's.
pub(super) async fn ended(State(portal): State<Arc<Portal>>, body: Bytes) -> Response {
    let Some(provider) = &portal.provider else { return StatusCode::NOT_FOUND.into_response() };
    let form = Form::parse(&body);
    let Some(token) = form.as_ref().and_then(|form| form.get("logout_token")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let judge = |keys: &ProviderKeys| {
        id_token::verify_logout(token, keys, &provider.parties(), clock::unix_now())
    };
    let judged = async {
        let metadata = provider.known.metadata().await?;
        Ok::<_, NotSignedIn>(match judge(&*provider.known.keys(&metadata).await?) {
            Err(BadIdToken::UnknownKey) => judge(&*provider.known.changed_keys(&metadata).await?),
            judged => judged,
        }?)
    };
    match judged.await {
        Ok(left) => {
            match (&left.sid, &left.subject) {
                (Some(sid), _) => portal.sessions().close_of_provider(sid),
                (None, Some(subject)) => portal.sessions().close_all(subject),
                (None, None) => {}
            }
            StatusCode::OK.into_response()
        }
        Err(why) => {
            warn!(reason = %why, "a logout token was not accepted");
            StatusCode::BAD_REQUEST.into_response()
        }
    }
}

fn nothing(portal: &Portal, browser: &Browser) -> Response {
    portal.problem(browser, StatusCode::NOT_FOUND, "There is nothing at this address.")
}

fn not_signed_in(
    portal: &Portal,
    browser: &Browser,
    provider: &Provider,
    why: &NotSignedIn,
) -> Response {
    let name = provider.name();
    let (status, sentence) = match why {
        NotSignedIn::NoFlow => {
            debug!(reason = %why, "nobody is signed in");
            let sentence = "This sign-in was used before, is another browser's, or took too long.";
            (StatusCode::BAD_REQUEST, sentence.to_owned())
        }
        NotSignedIn::Declined(_) => {
            info!(reason = %why, "nobody is signed in");
            (StatusCode::FORBIDDEN, format!("{name} did not sign you in."))
        }
        NotSignedIn::OtherProvider | NotSignedIn::Token(_) => {
            warn!(reason = %why, "an answer of the provider was not accepted");
            (StatusCode::FORBIDDEN, format!("The answer of {name} was not accepted."))
        }
        NotSignedIn::Busy | NotSignedIn::Down(_) | NotSignedIn::Documents(_) => {
            let cause = std::error::Error::source(why).map(ToString::to_string);
            warn!(reason = %why, cause, "the provider cannot be used");
            let sentence =
                format!("{name} cannot be reached at the moment. Try again in a moment.");
            (StatusCode::SERVICE_UNAVAILABLE, sentence)
        }
    };
    portal.problem(browser, status, &sentence)
}

/// An error code as a log may hold it: it came with a link that anybody can make.
fn code_of(error: &str) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "_-.".contains(*letter);
    error.chars().filter(plain).take(ERROR_MAX).collect()
}

/// An endpoint that may have a query already, and parameters.
fn with_query(endpoint: &str, parameters: &[(&str, &str)]) -> String {
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{joint}{}", form_of(parameters))
}

#[cfg(test)]
mod tests;
