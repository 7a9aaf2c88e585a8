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
    /// When.
    pub at: BootMicros,
}

impl SignedIn {
    /// Whether that was just now.
    pub fn is_fresh(&self, now: BootMicros) -> bool {
        now.0.saturating_sub(self.at.0) < FRESH
    }
}

struct Session {
    who: SignedIn,
    touched: BootMicros,
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
    pub fn open(&self, cookie: &str, subject: SubjectId, now: BootMicros) {
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
        let who = SignedIn { subject, at: now };
        open.insert(sha256(cookie.as_bytes()), Session { who, touched: now });
    }

    /// Opens a session under another secret than the browser had, so that nobody who knew that one is in it.
    pub(super) fn open_anew(
        &self,
        browser: &Browser,
        subject: SubjectId,
        now: BootMicros,
    ) -> Browser {
        let fresh = Browser::new();
        self.close(browser.secret());
        self.open(fresh.secret(), subject, now);
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
        sessions.open("c", alice.clone(), at(0));
        assert!(sessions.find("c", at(IDLE_LIFE - 1)).is_some());
        assert!(sessions.find("other", at(0)).is_none());
        assert!(sessions.find("c", at(2 * IDLE_LIFE - 1)).is_none(), "idle");
        sessions.open("c", alice.clone(), at(0));
        let mut now = 0;
        while now < SESSION_LIFE {
            assert!(sessions.find("c", at(now)).is_some(), "{now}");
            now += IDLE_LIFE / 2;
        }
        assert!(sessions.find("c", at(SESSION_LIFE)).is_none(), "old");
        for end in [0, 1] {
            sessions.open("c", alice.clone(), at(0));
            if end == 0 {
                sessions.close("c")
            } else {
                sessions.close_all(&alice)
            }
            assert!(sessions.find("c", at(1)).is_none());
        }
    }
}
