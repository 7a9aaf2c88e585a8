//! An authorization between its beginning and its code: pushed by the client, shown to a subject, agreed to, redeemed.
//!
//! Each step takes what the one before left and can be made once. All of it is in memory and short-lived: after a restart a client begins
//! again, and nothing that was agreed to is lost, because the consent itself is stored before the code is made.
//!
//! `now` is how long the machine has been up, and no date: so that no step of the clock lengthens the life of a code, or ends it.

use crate::details::Details;
use crate::redirect;
use credential::token::Binding;
use credential::{base64url, sha256};
use model::{ConsentId, Digest, IntegrationId, Micros};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a pushed request waits for the browser. RFC 9126 section 2.2 suggests 5 to 600 seconds, FAPI 2.0 less than 600.
pub const PUSHED_FOR: Micros = Micros::from_secs(60);

/// How long a subject may take to sign in, read and decide.
pub const SHOWN_FOR: Micros = Micros::from_secs(600);

/// How long a code waits for its client: FAPI 2.0 section 5.3.2.1 says 60 seconds at most.
pub const CODE_FOR: Micros = Micros::from_secs(60);

/// How long a redeemed code is remembered, to notice that it comes again.
const REMEMBERED_FOR: Micros = Micros::from_secs(600);

/// Flows kept of one client, and of all: a client that exceeds it is refused, no other is touched.
const OF_ONE_MAX: usize = 512;
const ALL_MAX: usize = 1 << 14;

const URN: &str = "urn:ietf:params:oauth:request_uri:";

/// An authorization request as its client pushed it, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The client.
    pub integration: IntegrationId,
    /// Where the browser goes back to; one of the client's registered addresses.
    pub redirect_uri: String,
    /// Given back as it came.
    pub state: Option<String>,
    /// SHA-256 of the verifier that redeems the code (RFC 7636, S256).
    pub challenge: Digest,
    /// What the subject is asked to agree to.
    pub details: Details,
    /// The key that must redeem the code, if the client named it (RFC 9449 section 10).
    pub key: Option<Binding>,
}

/// Where to send the browser.
#[derive(Clone, PartialEq, Eq)]
pub struct Redirection(pub String);

/// Too many flows of this client, or of all: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many authorizations are under way")]
pub struct Full;

/// There is no such flow, not for this browser, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this authorization is unknown, was used, or took too long")]
pub struct NoFlow;

/// Why a code is not redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// Never made, made for another client, or too old.
    #[error("the code is unknown, another client's, or too old")]
    Unknown,
    /// It came before: what was issued on it has to end.
    #[error("the code was redeemed before")]
    Reused(ConsentId),
    /// `redirect_uri` is not the one of the request.
    #[error("the redirect address is not the one of the request")]
    Redirect,
    /// The verifier does not hash to the challenge, or cannot be one.
    #[error("the code verifier is not the request's")]
    Verifier,
    /// Proved with another key than the request named.
    #[error("the code is bound to another key")]
    Key,
}

struct Inner {
    pushed: BTreeMap<Digest, (Pushed, Micros)>,
    shown: BTreeMap<Digest, (Pushed, Digest, Micros)>,
    codes: BTreeMap<Digest, Coded>,
    /// When what is over was last thrown away.
    swept: Micros,
}

impl Default for Inner {
    fn default() -> Self {
        let (pushed, shown, codes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { pushed, shown, codes, swept: Micros(0) }
    }
}

struct Coded {
    request: Pushed,
    consent: ConsentId,
    until: Micros,
    redeemed: bool,
}

/// The flows under way. One for each node.
#[derive(Default)]
pub struct Flows(Mutex<Inner>);

impl Flows {
    /// Keeps a request until a browser comes with it. `random`: 32 random bytes. Returns the `request_uri`.
    ///
    /// # Errors
    /// [`Full`].
    ///
    /// Source: RFC 9126 section 2.2.
    pub fn push(&self, pushed: Pushed, random: [u8; 32], now: Micros) -> Result<String, Full> {
        let mut inner = self.lock(now);
        let of_one =
            inner.pushed.values().filter(|(other, _)| other.integration == pushed.integration);
        if of_one.count() >= OF_ONE_MAX || inner.pushed.len() >= ALL_MAX {
            return Err(Full);
        }
        //= RFC 9126 section 7.1: a request_uri cannot be guessed
        let handle = base64url::encode(&random);
        //= FAPI 2.0 security profile section 5.3.2.2: a request_uri lives for less than 600 seconds
        inner.pushed.insert(sha256(handle.as_bytes()), (pushed, after(now, PUSHED_FOR)));
        Ok(format!("{URN}{handle}"))
    }

    /// A browser comes with a request. `browser`: SHA-256 of the secret in its cookie; `random`: 32 random bytes. Returns the handle of what
    /// it is shown.
    ///
    /// # Errors
    /// [`NoFlow`], also if the request is another client's or is shown already.
    pub fn show(
        &self,
        request_uri: &str,
        client_id: &str,
        browser: Digest,
        random: [u8; 32],
        now: Micros,
    ) -> Result<String, NoFlow> {
        let handle = request_uri.strip_prefix(URN).ok_or(NoFlow)?;
        let mut inner = self.lock(now);
        let key = sha256(handle.as_bytes());
        let (pushed, _) = inner.pushed.get(&key).filter(|(_, until)| now < *until).ok_or(NoFlow)?;
        //= RFC 9126 section 4: the request_uri is bound to the client that pushed it
        let client = pushed.integration;
        let of_one = inner.shown.values().filter(|(other, _, _)| other.integration == client);
        let full = of_one.count() >= OF_ONE_MAX || inner.shown.len() >= ALL_MAX;
        if client.to_string() != client_id || full {
            return Err(NoFlow);
        }
        //= RFC 9126 section 4: request_uri values are used once
        let (pushed, _) = inner.pushed.remove(&key).ok_or(NoFlow)?;
        let shown = base64url::encode(&random);
        inner.shown.insert(sha256(shown.as_bytes()), (pushed, browser, after(now, SHOWN_FOR)));
        Ok(shown)
    }

    /// What is shown to this browser under `handle`.
    ///
    /// # Errors
    /// [`NoFlow`].
    pub fn shown(&self, handle: &str, browser: &Digest, now: Micros) -> Result<Pushed, NoFlow> {
        let inner = self.lock(now);
        let (pushed, of, until) = inner.shown.get(&sha256(handle.as_bytes())).ok_or(NoFlow)?;
        // Somebody else's browser must not finish what this one began, nor the other way round.
        if of == browser && now < *until { Ok(pushed.clone()) } else { Err(NoFlow) }
    }

    /// A browser was given another secret: what it was shown goes with it.
    pub fn moved(&self, from: &Digest, to: Digest) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, browser, _) in inner.shown.values_mut().filter(|(_, browser, _)| browser == from) {
            *browser = to;
        }
    }

    /// The subject agreed, and its consent is stored: makes the code. `random`: 32 random bytes.
    ///
    /// # Errors
    /// [`NoFlow`]; the consent is then to be ended by whoever stored it.
    pub fn agree(
        &self,
        handle: &str,
        browser: &Digest,
        consent: ConsentId,
        issuer: &str,
        random: [u8; 32],
        now: Micros,
    ) -> Result<Redirection, NoFlow> {
        let mut inner = self.lock(now);
        let request = inner.take_shown(handle, browser, now)?;
        if inner.codes.len() >= ALL_MAX {
            return Err(NoFlow);
        }
        //= RFC 6749 section 10.10: 256 random bits where 128 are demanded
        let code = base64url::encode(&random);
        let to = answer(&request, issuer, &[("code", &code)]);
        let coded = Coded { request, consent, until: after(now, CODE_FOR), redeemed: false };
        inner.codes.insert(sha256(code.as_bytes()), coded);
        Ok(to)
    }

    /// The subject declined, or may not be asked. `error`: of RFC 6749 section 4.1.2.1.
    ///
    /// # Errors
    /// [`NoFlow`].
    pub fn decline(
        &self,
        handle: &str,
        browser: &Digest,
        error: &str,
        issuer: &str,
        now: Micros,
    ) -> Result<Redirection, NoFlow> {
        let request = self.lock(now).take_shown(handle, browser, now)?;
        Ok(answer(&request, issuer, &[("error", error)]))
    }

    /// A client redeems a code. Returns the consent that its tokens rest on.
    ///
    /// # Errors
    /// [`BadCode`]. Whoever has a code and not the rest of it has used it up.
    ///
    /// Source: RFC 6749 section 4.1.3, RFC 7636 section 4.6, RFC 9449 section 10.
    pub fn redeem(
        &self,
        code: &str,
        integration: IntegrationId,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
        proved: &Binding,
        now: Micros,
    ) -> Result<ConsentId, BadCode> {
        let mut inner = self.lock(now);
        let coded = inner.codes.get_mut(&sha256(code.as_bytes())).ok_or(BadCode::Unknown)?;
        // A code that another client was made to send is neither redeemed nor used up by it.
        //= RFC 6749 section 4.1.3: the code was issued to this client
        if coded.request.integration != integration {
            return Err(BadCode::Unknown);
        }
        //= RFC 6749 section 4.1.2: a code that is used more than once is refused, and what was issued on it should be revoked
        if std::mem::replace(&mut coded.redeemed, true) {
            return Err(BadCode::Reused(coded.consent));
        }
        //= FAPI 2.0 security profile section 5.3.2.1: a code lives for 60 seconds at most
        if now >= coded.until {
            return Err(BadCode::Unknown);
        }
        //= RFC 6749 section 4.1.3: redirect_uri is identical with that of the request
        if redirect_uri != Some(coded.request.redirect_uri.as_str()) {
            return Err(BadCode::Redirect);
        }
        //= RFC 7636 section 4.6: the verifier hashes to the challenge of the code
        if challenge_of(verifier.unwrap_or("")) != Some(coded.request.challenge) {
            return Err(BadCode::Verifier);
        }
        //= RFC 9449 section 10: the code is bound to dpop_jkt, and refused with any other key
        if coded.request.key.is_some_and(|key| key != *proved) {
            return Err(BadCode::Key);
        }
        Ok(coded.consent)
    }

    /// Nothing was issued on a code that was redeemed, through no fault of its client's: it may come once more.
    pub fn not_issued(&self, code: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(coded) = inner.codes.get_mut(&sha256(code.as_bytes())) {
            coded.redeemed = false;
        }
    }

    fn lock(&self, now: Micros) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Once a second at most: somebody who only asks must not make us look at everything each time.
        if now >= after(inner.swept, Micros::from_secs(1)) {
            inner.pushed.retain(|_, (_, until)| now < *until);
            inner.shown.retain(|_, (_, _, until)| now < *until);
            inner.codes.retain(|_, code| now < after(code.until, REMEMBERED_FOR));
            inner.swept = now;
        }
        inner
    }
}

impl Inner {
    fn take_shown(
        &mut self,
        handle: &str,
        browser: &Digest,
        now: Micros,
    ) -> Result<Pushed, NoFlow> {
        let key = sha256(handle.as_bytes());
        let (_, of, until) = self.shown.get(&key).ok_or(NoFlow)?;
        if of != browser || now >= *until {
            return Err(NoFlow);
        }
        self.shown.remove(&key).map(|(request, _, _)| request).ok_or(NoFlow)
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flows(..)")
    }
}

fn after(now: Micros, span: Micros) -> Micros {
    Micros(now.0.saturating_add(span.0))
}

/// The challenge that a verifier hashes to; `None` if it cannot be a verifier.
fn challenge_of(verifier: &str) -> Option<Digest> {
    //= RFC 7636 section 4.1: 43 to 128 characters of the unreserved ones
    let fits = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    fits.then(|| sha256(verifier.as_bytes()))
}

fn answer(request: &Pushed, issuer: &str, with: &[(&str, &str)]) -> Redirection {
    let mut parameters = with.to_vec();
    //= RFC 6749 section 4.1.2: state comes back exactly as it came
    if let Some(state) = &request.state {
        parameters.push(("state", state));
    }
    //= RFC 9207 section 2: iss in every authorization response, errors included
    parameters.push(("iss", issuer));
    Redirection(redirect::with_parameters(&request.redirect_uri, &parameters))
}
