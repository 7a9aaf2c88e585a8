//! Who is signed in to the portal, in which browser, since when. Reads no clock and makes no randomness; lost on restart.
//!
//! A browser has a secret from its first visit, to which an authorization under way is tied. When somebody signs in it gets another one,
//! so that whoever planted the first one is left behind with nobody's session.

use super::browser::Browser;
use credential::sha256;
use model::{Digest, SubjectId};
use sever::BootMicros;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a session lasts without a request, microseconds.
pub const IDLE_LIFE: u64 = 30 * 60 * 1_000_000;

/// How long a session lasts at most, microseconds.
pub const SESSION_LIFE: u64 = 8 * 3_600 * 1_000_000;

/// How long ago somebody may have signed in to share what is sensitive, microseconds.
pub const FRESH: u64 = 5 * 60 * 1_000_000;

/// Sessions open at a time; one more ends the one that was not used for longest.
const SESSIONS_MAX: usize = 1 << 16;

/// Somebody who is signed in.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub subject: SubjectId,
    /// When the session began.
    pub at: BootMicros,
    /// When it last proved who it is, which was earlier if a provider knew it already; none if the provider does not say.
    pub authenticated: Option<BootMicros>,
}

impl SignedIn {
    /// Whether it proved who it is just now.
    pub fn is_fresh(&self, now: BootMicros) -> bool {
        self.authenticated.is_some_and(|at| now.0.saturating_sub(at.0) < FRESH)
    }
}

struct Session {
    who: SignedIn,
    touched: BootMicros,
    /// The name of the session at the provider that it began with, if that has one.
    of_provider: Option<String>,
}

impl Session {
    fn lasts(&self, now: BootMicros) -> bool {
        let since = |then: BootMicros| now.0.saturating_sub(then.0);
        since(self.touched) < IDLE_LIFE && since(self.who.at) < SESSION_LIFE
    }
}

/// The sessions of a node's portal. Only hashes of cookies are kept.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Digest, Session>>);

impl Sessions {
    /// Opens a session. `cookie`: fresh randomness of the browser's new secret.
    pub fn open(&self, cookie: &str, who: SignedIn, of_provider: Option<String>) {
        let now = who.at;
        let mut open = self.lock();
        if open.len() >= SESSIONS_MAX {
            open.retain(|_, session| session.lasts(now));
        }
        if open.len() >= SESSIONS_MAX {
            let stalest = open.iter().min_by_key(|(_, session)| session.touched);
            if let Some(cookie) = stalest.map(|(cookie, _)| *cookie) {
                open.remove(&cookie);
            }
        }
        open.insert(sha256(cookie.as_bytes()), Session { who, touched: now, of_provider });
    }

    /// Opens a session under another secret than the browser had, so that nobody who knew that one is in it.
    pub(super) fn open_anew(
        &self,
        browser: &Browser,
        who: SignedIn,
        of_provider: Option<String>,
    ) -> Browser {
        let fresh = Browser::new();
        self.close(browser.secret());
        self.open(fresh.secret(), who, of_provider);
        fresh
    }

    /// Who is signed in with this cookie.
    pub fn find(&self, cookie: &str, now: BootMicros) -> Option<SignedIn> {
        let mut open = self.lock();
        let key = sha256(cookie.as_bytes());
        let session = open.get_mut(&key)?;
        if session.lasts(now) {
            session.touched = now;
            return Some(session.who.clone());
        }
        open.remove(&key);
        None
    }

    /// Ends a session.
    pub fn close(&self, cookie: &str) {
        self.lock().remove(&sha256(cookie.as_bytes()));
    }

    /// Ends every session of a subject: its way of signing in changed, or it was erased.
    pub fn close_all(&self, subject: &SubjectId) {
        self.lock().retain(|_, session| session.who.subject != *subject);
    }

    /// Ends the sessions that began with this one of the provider.
    pub fn close_of_provider(&self, sid: &str) {
        self.lock().retain(|_, session| session.of_provider.as_deref() != Some(sid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_idle_when_old_and_when_told() {
        let sessions = Sessions::default();
        let alice = SubjectId::new("alice").unwrap();
        let at = |micros| BootMicros(micros);
        let open = || {
            let who = SignedIn { subject: alice.clone(), at: at(0), authenticated: None };
            sessions.open("c", who, Some("s1".to_owned()));
        };
        open();
        assert!(sessions.find("c", at(IDLE_LIFE - 1)).is_some());
        assert!(sessions.find("other", at(0)).is_none());
        assert!(sessions.find("c", at(2 * IDLE_LIFE - 1)).is_none(), "idle");
        open();
        let mut now = 0;
        while now < SESSION_LIFE {
            assert!(sessions.find("c", at(now)).is_some(), "{now}");
            now += IDLE_LIFE / 2;
        }
        assert!(sessions.find("c", at(SESSION_LIFE)).is_none(), "old");
        let ends: [&dyn Fn(); 3] =
            [&|| sessions.close("c"), &|| sessions.close_all(&alice), &|| {
                sessions.close_of_provider("s1")
            }];
        for end in ends {
            open();
            sessions.close_of_provider("s2");
            assert!(sessions.find("c", at(1)).is_some());
            end();
            assert!(sessions.find("c", at(1)).is_none());
        }
    }

    #[test]
    fn a_session_is_as_fresh_as_the_last_proof() {
        let subject = SubjectId::new("alice").unwrap();
        let now = BootMicros(2 * FRESH);
        let fresh = |authenticated| {
            SignedIn { subject: subject.clone(), at: now, authenticated }.is_fresh(now)
        };
        assert!(fresh(Some(now)) && fresh(Some(BootMicros(FRESH + 1))));
        assert!(!fresh(Some(BootMicros(FRESH))), "a provider that knew it already is no proof");
        assert!(!fresh(None));
    }
}
