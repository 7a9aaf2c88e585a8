//! Links and sessions: who may look at the console, until when. Reads no clock and makes no randomness.
//!
//! A session begins with a link or with a passkey. The link lets its operator look; what changes anything asks for a passkey just now.
//! A session has two secrets, which change whenever a passkey is shown. The cookie goes to every port of this address, because a cookie knows no port; the page's
//! token is kept by the browser for this port alone. Neither is of use without the other.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use incident::figures::hex;
use model::{Digest, OperatorId};
use sever::BootMicros;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a link can be used, microseconds.
pub const LINK_LIFE: u64 = 60_000_000;

/// How long a session lasts without its operator touching the page, microseconds.
pub const IDLE_LIFE: u64 = 30 * 60 * 1_000_000;

/// How long a session lasts at most, microseconds: a shift.
pub const SESSION_LIFE: u64 = 12 * 3_600 * 1_000_000;

/// How long after a passkey was shown something may be changed, microseconds.
pub const FRESH: u64 = 5 * 60 * 1_000_000;

/// How long after a link was used its operator may add a first passkey, microseconds. The link says that its key file is at hand.
pub const ENROL_LIFE: u64 = 10 * 60 * 1_000_000;

/// Sessions open at a time. One more ends the one that was not used for longest.
pub const SESSIONS_MAX: usize = 16;

/// Links that wait for their use. One more takes the place of the oldest.
pub const LINKS_MAX: usize = 16;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The id in the roster.
    pub id: OperatorId,
    /// The name in the roster, for people.
    pub name: String,
}

/// The two secrets of one session, 256 bits each, as 64 hexadecimal digits. Only their hashes are kept here.
#[derive(PartialEq, Eq)]
pub struct Secrets {
    /// For the cookie.
    pub cookie: String,
    /// For the page, which sends it with every request.
    pub page: String,
}

/// Proof that both secrets of a session were presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whose session it is.
    pub operator: Operator,
    /// How long it lasts if nobody touches the page, microseconds.
    pub left: u64,
    /// How much longer something may be changed without a passkey being shown again, microseconds.
    pub fresh: u64,
    /// Whether it began with a link, just now.
    pub linked: bool,
    cookie: Digest,
}

impl Admitted {
    /// What challenges of this session are kept under.
    pub fn browser(&self) -> Digest {
        self.cookie
    }
}

/// What a session began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Began {
    Link,
    Passkey,
}

/// Every link and session of one listener. Lost on restart, as they should be.
#[derive(Default)]
pub struct Sessions {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    links: Vec<Link>,
    open: Vec<Session>,
}

struct Link {
    token: Digest,
    operator: Operator,
    made: BootMicros,
}

struct Session {
    cookie: Digest,
    page: Digest,
    operator: Operator,
    began: Began,
    opened: BootMicros,
    touched: BootMicros,
    /// When a passkey was last shown.
    verified: Option<BootMicros>,
}

impl Sessions {
    /// Makes the token of a link that opens one session within [`LINK_LIFE`].
    ///
    /// `random`: fresh, from the operating system. Returns it as 64 hexadecimal digits.
    pub fn mint_link(&self, operator: Operator, now: BootMicros, random: [u8; 32]) -> String {
        let token = hex(&random);
        let mut book = self.book(now);
        if book.links.len() >= LINKS_MAX {
            book.links.remove(0);
        }
        book.links.push(Link { token: hashed(&token), operator, made: now });
        token
    }

    /// Uses up a link's token and opens a session, or says nothing about why not.
    ///
    /// `cookie`, `page`: fresh, independent of each other.
    pub fn enter(
        &self,
        token: &str,
        now: BootMicros,
        cookie: [u8; 32],
        page: [u8; 32],
    ) -> Option<(Operator, Secrets)> {
        let mut book = self.book(now);
        let token = hashed(token);
        let found = book.links.iter().position(|link| same(&link.token, &token))?;
        let operator = book.links.remove(found).operator;
        let secrets = Secrets { cookie: hex(&cookie), page: hex(&page) };
        book.begin(&secrets, operator.clone(), Began::Link, now);
        Some((operator, secrets))
    }

    /// Opens a session for an operator who showed a passkey.
    ///
    /// `cookie`, `page`: fresh, independent of each other.
    pub fn open(
        &self,
        operator: Operator,
        now: BootMicros,
        cookie: [u8; 32],
        page: [u8; 32],
    ) -> Secrets {
        let secrets = Secrets { cookie: hex(&cookie), page: hex(&page) };
        self.book(now).begin(&secrets, operator, Began::Passkey, now);
        secrets
    }

    /// Notes that the operator of a session showed a passkey, and changes both secrets, so that nobody who knew them before has more by it.
    /// `alone`: ends the operator's other sessions. Nothing if the session ended meanwhile.
    ///
    /// `cookie`, `page`: fresh, independent of each other.
    pub fn verify(
        &self,
        admitted: &Admitted,
        alone: bool,
        now: BootMicros,
        cookie: [u8; 32],
        page: [u8; 32],
    ) -> Option<Secrets> {
        let mut book = self.book(now);
        let session = book.open.iter_mut().find(|open| same(&open.cookie, &admitted.cookie))?;
        let secrets = Secrets { cookie: hex(&cookie), page: hex(&page) };
        (session.cookie, session.page) = (hashed(&secrets.cookie), hashed(&secrets.page));
        (session.verified, session.touched) = (Some(now), now);
        let (own, id) = (session.cookie, session.operator.id);
        if alone {
            book.open.retain(|session| session.operator.id != id || session.cookie == own);
        }
        Some(secrets)
    }

    /// Whether a cookie belongs to a session. Enough for the page itself, which holds no data.
    pub fn knows(&self, cookie: &str, now: BootMicros) -> bool {
        let cookie = hashed(cookie);
        self.book(now).open.iter().any(|session| same(&session.cookie, &cookie))
    }

    /// Admits a request that presents both secrets.
    ///
    /// `touched`: an operator did something; that the page asked for news is not a reason to keep a session.
    pub fn admit(
        &self,
        cookie: &str,
        page: &str,
        now: BootMicros,
        touched: bool,
    ) -> Option<Admitted> {
        let (cookie, page) = (hashed(cookie), hashed(page));
        let mut book = self.book(now);
        let session = book.open.iter_mut().find(|session| same(&session.cookie, &cookie))?;
        if !same(&session.page, &page) {
            return None;
        }
        if touched {
            session.touched = now;
        }
        let left = session.end().saturating_sub(now.0);
        let fresh = session.verified.map_or(0, |at| (at.0 + FRESH).saturating_sub(now.0));
        let linked = session.began == Began::Link && now.0 < session.opened.0 + ENROL_LIFE;
        Some(Admitted { operator: session.operator.clone(), left, fresh, linked, cookie })
    }

    /// Ends the session that was admitted.
    pub fn leave(&self, admitted: &Admitted, now: BootMicros) {
        self.book(now).open.retain(|session| !same(&session.cookie, &admitted.cookie));
    }

    /// Ends everything of an operator who left the roster: sessions and waiting links.
    pub fn forget(&self, operator: &OperatorId, now: BootMicros) {
        let mut book = self.book(now);
        book.links.retain(|link| link.operator.id != *operator);
        book.open.retain(|session| session.operator.id != *operator);
    }

    /// The book without what has run out. No operation leaves it half changed, so a poisoned lock is still good.
    fn book(&self, now: BootMicros) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.links.retain(|link| now.0 < link.made.0.saturating_add(LINK_LIFE));
        book.open.retain(|session| now.0 < session.end());
        book
    }
}

impl Book {
    fn begin(&mut self, secrets: &Secrets, operator: Operator, began: Began, now: BootMicros) {
        if self.open.len() >= SESSIONS_MAX {
            let stalest = self.open.iter().enumerate().min_by_key(|(_, session)| session.touched);
            if let Some((stalest, _)) = stalest {
                self.open.remove(stalest);
            }
        }
        let (cookie, page) = (hashed(&secrets.cookie), hashed(&secrets.page));
        let verified = (began == Began::Passkey).then_some(now);
        let (opened, touched) = (now, now);
        self.open.push(Session { cookie, page, operator, began, opened, touched, verified });
    }
}

impl Session {
    fn end(&self) -> u64 {
        let idle = self.touched.0.saturating_add(IDLE_LIFE);
        idle.min(self.opened.0.saturating_add(SESSION_LIFE))
    }
}

fn hashed(secret: &str) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

fn same(one: &Digest, other: &Digest) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: BootMicros = BootMicros(7_000_000);

    #[test]
    fn a_link_opens_one_session() {
        let sessions = Sessions::default();
        let token = sessions.mint_link(ana(), START, [1; 32]);
        assert_eq!(token, "01".repeat(32));
        let (operator, secrets) = sessions.enter(&token, START, [2; 32], [3; 32]).unwrap();
        assert_eq!(operator, ana());
        assert!(sessions.enter(&token, START, [4; 32], [5; 32]).is_none());
        let admitted = sessions.admit(&secrets.cookie, &secrets.page, START, false).unwrap();
        assert_eq!(admitted.operator, ana());
    }

    #[test]
    fn a_link_lasts_a_minute() {
        for (after, opens) in [(LINK_LIFE - 1, true), (LINK_LIFE, false)] {
            let sessions = Sessions::default();
            let token = sessions.mint_link(ana(), START, [1; 32]);
            assert_eq!(sessions.enter(&token, at(after), [2; 32], [3; 32]).is_some(), opens);
        }
    }

    #[test]
    fn neither_secret_is_of_use_alone_or_in_the_others_place() {
        let (sessions, secrets) = opened();
        let Secrets { cookie, page } = &secrets;
        for (cookie, page) in [(cookie, cookie), (page, page), (page, cookie)] {
            assert_eq!(sessions.admit(cookie, page, START, true), None);
        }
        assert!(sessions.knows(cookie, START));
        assert!(!sessions.knows(page, START));
    }

    #[test]
    fn secrets_of_two_sessions_do_not_mix() {
        let (sessions, first) = opened();
        let token = sessions.mint_link(ana(), START, [9; 32]);
        let (_, second) = sessions.enter(&token, START, [4; 32], [5; 32]).unwrap();
        assert_eq!(sessions.admit(&first.cookie, &second.page, START, false), None);
        assert_eq!(sessions.admit(&second.cookie, &first.page, START, false), None);
    }

    #[test]
    fn polling_does_not_keep_a_session_and_touching_does() {
        let (sessions, secrets) = opened();
        let admit =
            |after, touched| sessions.admit(&secrets.cookie, &secrets.page, at(after), touched);
        assert_eq!(admit(IDLE_LIFE - 1, false).unwrap().left, 1);
        assert_eq!(admit(IDLE_LIFE - 1, true).unwrap().left, IDLE_LIFE);
        assert_eq!(admit(2 * IDLE_LIFE - 2, false).unwrap().left, 1);
        assert_eq!(admit(2 * IDLE_LIFE - 1, true), None);
    }

    #[test]
    fn a_session_ends_after_a_shift_however_busy() {
        let (sessions, secrets) = opened();
        let admit = |after| sessions.admit(&secrets.cookie, &secrets.page, at(after), true);
        for after in (0..SESSION_LIFE).step_by(60_000_000) {
            assert!(admit(after).is_some());
        }
        assert_eq!(admit(SESSION_LIFE - 1).unwrap().left, 1);
        assert_eq!(admit(SESSION_LIFE), None);
    }

    #[test]
    fn one_session_too_many_ends_the_stalest() {
        let sessions = Sessions::default();
        let opened: Vec<Secrets> = (0..=u8::try_from(SESSIONS_MAX).unwrap())
            .map(|n| {
                let now = at(u64::from(n));
                let token = sessions.mint_link(ana(), now, [n; 32]);
                sessions.enter(&token, now, [n; 32], [n; 32]).unwrap().1
            })
            .collect();
        let open = opened.iter().filter(|secrets| sessions.knows(&secrets.cookie, at(99)));
        assert_eq!(open.count(), SESSIONS_MAX);
        assert!(!sessions.knows(&opened[0].cookie, at(99)));
    }

    #[test]
    fn one_link_too_many_takes_the_place_of_the_oldest() {
        let sessions = Sessions::default();
        let links: Vec<String> = (0..=u8::try_from(LINKS_MAX).unwrap())
            .map(|n| sessions.mint_link(ana(), START, [n; 32]))
            .collect();
        assert!(sessions.enter(&links[0], START, [1; 32], [2; 32]).is_none());
        assert!(sessions.enter(&links[1], START, [1; 32], [2; 32]).is_some());
    }

    #[test]
    fn who_leaves_and_who_is_forgotten_is_out() {
        let (sessions, secrets) = opened();
        let admitted = sessions.admit(&secrets.cookie, &secrets.page, START, false).unwrap();
        sessions.leave(&admitted, START);
        assert!(!sessions.knows(&secrets.cookie, START));

        let (sessions, secrets) = opened();
        let waiting = sessions.mint_link(ana(), START, [8; 32]);
        sessions.forget(&ana().id, START);
        assert!(!sessions.knows(&secrets.cookie, START));
        assert!(sessions.enter(&waiting, START, [1; 32], [2; 32]).is_none());
    }

    #[test]
    fn a_link_shows_no_passkey_and_a_passkey_is_fresh_for_a_while() {
        let (sessions, by_link) = opened();
        let admit = |secrets: &Secrets, after| {
            sessions.admit(&secrets.cookie, &secrets.page, at(after), true).unwrap()
        };
        assert_eq!((admit(&by_link, 0).fresh, admit(&by_link, 0).linked), (0, true));
        assert!(admit(&by_link, ENROL_LIFE - 1).linked);
        assert!(!admit(&by_link, ENROL_LIFE).linked);
        let by_passkey = sessions.open(ana(), START, [4; 32], [5; 32]);
        assert_eq!((admit(&by_passkey, 0).fresh, admit(&by_passkey, 0).linked), (FRESH, false));
        assert_eq!(admit(&by_passkey, FRESH - 1).fresh, 1);
        assert_eq!(admit(&by_passkey, FRESH).fresh, 0);
    }

    #[test]
    fn who_knew_the_secrets_before_a_passkey_was_shown_has_nothing() {
        let (sessions, planted) = opened();
        let admit = |secrets: &Secrets| sessions.admit(&secrets.cookie, &secrets.page, START, true);
        let admitted = admit(&planted).unwrap();
        let other = sessions.open(ana(), START, [8; 32], [9; 32]);
        let fresh = sessions.verify(&admitted, false, START, [4; 32], [5; 32]).unwrap();
        assert!(!sessions.knows(&planted.cookie, START));
        assert_eq!(admit(&planted), None);
        assert_eq!(admit(&fresh).unwrap().fresh, FRESH);
        assert!(sessions.verify(&admitted, false, START, [6; 32], [7; 32]).is_none(), "twice");

        assert!(admit(&other).is_some());
        let admitted = admit(&fresh).unwrap();
        let alone = sessions.verify(&admitted, true, START, [1; 32], [2; 32]).unwrap();
        assert_eq!((admit(&other), admit(&alone).is_some()), (None, true));
    }

    fn opened() -> (Sessions, Secrets) {
        let sessions = Sessions::default();
        let token = sessions.mint_link(ana(), START, [1; 32]);
        let (_, secrets) = sessions.enter(&token, START, [2; 32], [3; 32]).unwrap();
        (sessions, secrets)
    }

    fn ana() -> Operator {
        Operator { id: OperatorId::from_bytes([7; 16]), name: "Ana".into() }
    }

    fn at(after: u64) -> BootMicros {
        BootMicros(START.0 + after)
    }
}
