//! Passkeys, as the portal and the console take them: what is asked of a browser, and what is believed of its answer.
//!
//! webauthn-rs checks what WebAuthn asks for: challenge, origin, relying party, user verification, signature. Ours is whose passkey it is,
//! that each challenge is answered once and by the browser it was made for, and what a signature counter that went back means: a
//! warning, because passkeys that are synchronised have none that could be trusted. Where passkeys are kept, and what one opens, is for
//! whoever uses this.

use model::Digest;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use storage::clock;
use tracing::{debug, warn};
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, DiscoverableKey, Passkey,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder,
};

/// How long a challenge waits for its answer, microseconds.
const CHALLENGE_LIFE: u64 = 5 * 60 * 1_000_000;

/// One place that passkeys are for.
pub(crate) struct RelyingParty(Webauthn);

/// An address cannot be a relying party; the configuration is at fault.
#[derive(Debug, thiserror::Error)]
#[error(
    "passkeys need a portal address with a host name, such as `https://connect.example` or `http://localhost:8446`"
)]
pub struct NoRelyingParty;

/// A passkey as it is kept.
pub(crate) struct Known<'a> {
    /// Its user, as authenticators know it.
    pub(crate) handle: &'a [u8; 16],
    /// As [`without_counter`] gave it.
    pub(crate) passkey: &'a str,
    /// The highest counter seen.
    pub(crate) counter: u32,
}

impl RelyingParty {
    /// `origin`: as browsers name it. `name`: what authenticators show.
    ///
    /// # Errors
    /// [`NoRelyingParty`] also for an address in place of a host name.
    pub(crate) fn new(origin: &str, name: &str) -> Result<Self, NoRelyingParty> {
        let url = Url::parse(origin).map_err(|_| NoRelyingParty)?;
        let host = url.domain().ok_or(NoRelyingParty)?.to_owned();
        let builder = WebauthnBuilder::new(&host, &url).map_err(|_| NoRelyingParty)?;
        builder.rp_name(name).build().map(Self).map_err(|_| NoRelyingParty)
    }

    /// The options of a sign-in with any passkey of this place, and what its answer is held against.
    pub(crate) fn ask_to_sign_in(&self) -> Option<(Value, DiscoverableAuthentication)> {
        let (mut challenge, asked) = self.0.start_discoverable_authentication().ok()?;
        // The page asks when its button is pressed, not while a field is filled in.
        challenge.mediation = None;
        Some((serde_json::to_value(challenge).ok()?, asked))
    }

    /// The options of a new passkey, and what its answer is held against. `handle`: its user. `exclude`: those the user has.
    pub(crate) fn ask_to_enrol(
        &self,
        handle: Uuid,
        name: &str,
        exclude: Vec<Vec<u8>>,
    ) -> Option<(Value, PasskeyRegistration)> {
        let (challenge, asked) =
            self.0.start_passkey_registration(handle, name, name, Some(exclude)).ok()?;
        let mut challenge = serde_json::to_value(challenge).ok()?;
        // Whoever signs in does not type who it is, so the authenticator has to remember.
        let selection = challenge.pointer_mut("/publicKey/authenticatorSelection")?;
        let members = selection.as_object_mut()?;
        members.insert("residentKey".to_owned(), "required".into());
        members.insert("requireResidentKey".to_owned(), true.into());
        Some((challenge, asked))
    }

    /// The passkey that was made, if it is one for us.
    pub(crate) fn made(
        &self,
        made: &RegisterPublicKeyCredential,
        asked: &PasskeyRegistration,
    ) -> Option<Passkey> {
        //= WebAuthn Level 3 section 7.1 step 10: not in a frame of another origin
        if is_framed(made.response.client_data_json.as_ref()) {
            return None;
        }
        //= WebAuthn Level 3 section 7.1 steps 5 to 25
        let made = self.0.finish_passkey_registration(made, asked);
        let passkey = made.map_err(|why| debug!(%why, "a passkey was not accepted")).ok()?;
        //= WebAuthn Level 3 section 7.1 step 25: at most 1023 bytes, which the library does not look at
        (passkey.cred_id().len() <= 1_023).then_some(passkey)
    }

    /// The counter that the authenticator signed with the passkey that is known, if it holds. One that went back is warned of.
    pub(crate) fn signed_in(
        &self,
        signed: &PublicKeyCredential,
        asked: DiscoverableAuthentication,
        known: &Known<'_>,
    ) -> Option<u32> {
        let (handle, _) = self.0.identify_discoverable_authentication(signed).ok()?;
        //= WebAuthn Level 3 section 7.2 step 6: the credential belongs to the user that the user handle names
        if handle.as_bytes() != known.handle {
            return None;
        }
        let passkey = serde_json::from_str(known.passkey).ok()?;
        let counter = self.verified(signed, asked, passkey)?.counter();
        //= WebAuthn Level 3 section 7.2 step 22: a counter that does not grow is a signal, not proof, of a clone
        if went_back(counter, known.counter) {
            let known = known.counter;
            warn!(counter, known, "a passkey's counter went back: it may have been cloned");
        }
        Some(counter)
    }

    fn verified(
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
        let verified = self.0.finish_discoverable_authentication_v2(signed, asked, passkey);
        let verified = verified.map_err(|why| debug!(%why, "a passkey was not accepted")).ok()?;
        //= WebAuthn Level 3 section 7.2 step 17: user verification, which was required
        verified.user_verified().then_some(verified)
    }
}

/// The passkey as it is kept. Its counter is ours to compare, because webauthn-rs refuses what this standard calls a signal.
pub(crate) fn without_counter(passkey: &Passkey) -> Option<String> {
    let mut json = serde_json::to_value(passkey).ok()?;
    *json.get_mut("cred")?.get_mut("counter")? = 0.into();
    Some(json.to_string())
}

/// Whether a browser says that it ran in a frame of another origin; the library looks at that for no sign-in. What is not JSON is the library's to
/// refuse.
fn is_framed(client_data: &[u8]) -> bool {
    let said: Value = serde_json::from_slice(client_data).unwrap_or_default();
    said.get("crossOrigin").is_some_and(|framed| *framed != Value::Bool(false))
        || said.get("topOrigin").is_some()
}

/// Whether a counter did not grow. Zero is that of an authenticator without one.
fn went_back(counter: u32, known: u32) -> bool {
    counter > 0 && counter <= known
}

/// What browsers were asked and have not answered, by a hash of what only that browser has.
pub(crate) struct Challenges<T> {
    waiting: Mutex<HashMap<Digest, (T, u64)>>,
    /// Challenges that wait at a time; one more throws away those that are over, then it is refused or the oldest forgotten.
    max: usize,
}

impl<T> Challenges<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { waiting: Mutex::default(), max }
    }

    /// In place of what this browser was asked before. False if there are too many.
    pub(crate) fn remember(&self, browser: Digest, asked: T) -> bool {
        let now = clock::boot_now().0;
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.max {
            all.retain(|_, (_, until)| now < *until);
        }
        if all.len() >= self.max {
            return false;
        }
        all.insert(browser, (asked, now + CHALLENGE_LIFE));
        true
    }

    /// As [`Challenges::remember`], for what anybody may be asked: if there are too many, the oldest is forgotten.
    pub(crate) fn remember_newest(&self, browser: Digest, asked: T) {
        let until = clock::boot_now().0 + CHALLENGE_LIFE;
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.max
            && let Some(oldest) = all.iter().min_by_key(|(_, (_, until))| *until)
        {
            let oldest = *oldest.0;
            all.remove(&oldest);
        }
        all.insert(browser, (asked, until));
    }

    /// What this browser was asked, once.
    pub(crate) fn take(&self, browser: &Digest) -> Option<T> {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, until) = all.remove(browser)?;
        (clock::boot_now().0 < until).then_some(asked)
    }
}

#[cfg(test)]
mod tests;
