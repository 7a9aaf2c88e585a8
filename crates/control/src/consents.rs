//! Consents in both places they live in: the file that survives a restart, and the book that the data path decides by.
//!
//! The order is the point. What is given is stored before it is in the book; what ends leaves the book first, so that nobody waits for a disk
//! to stop reading, and whoever asked is answered when both are done.

use crate::portal::sessions::Sessions;
use authority::consent::{Consent, Ending, Refresh};
use credential::token::Facts;
use credential::{base64url, sha256};
use model::{ConsentId, Digest, IntegrationId, Micros, SubjectId, UnixMicros};
use policy::{ConsentBook, Terms};
use std::sync::Arc;
use storage::clock;
use storage::consents::{Consents, ConsentsError};
use storage::embedded::Keeper;

/// Has the data path refuse an access token, by its SHA-256, until it runs out.
pub type RevokeToken = Arc<dyn Fn(Digest, UnixMicros) + Send + Sync>;

/// The consents of a node. Clones share them.
#[derive(Clone)]
pub struct Kept {
    store: Consents,
    book: Arc<ConsentBook>,
    /// Whose gates abort what is in flight.
    keeper: Arc<Keeper>,
    /// Who is signed in to the portal.
    sessions: Arc<Sessions>,
    revoke: RevokeToken,
}

impl Kept {
    /// Reads what is in force into the book, and has the data path refuse what was given back.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn open(
        store: Consents,
        book: Arc<ConsentBook>,
        keeper: Arc<Keeper>,
        revoke: RevokeToken,
        now: UnixMicros,
    ) -> Result<Self, ConsentsError> {
        for (token, until) in store.revoked_tokens(now).await? {
            revoke(token, until);
        }
        let kept = Self { store, book, keeper, sessions: Arc::default(), revoke };
        let book = &kept.book;
        kept.store
            .each_in_force(now, |consent| {
                if consent.refresh.is_some() {
                    put(book, &consent);
                }
            })
            .await?;
        Ok(kept)
    }

    /// Stores what a subject agreed to. Nothing is decided by it before [`Kept::redeem`].
    ///
    /// # Errors
    /// [`ConsentsError`]; the subject has agreed to nothing then.
    pub async fn give(&self, consent: &Consent) -> Result<(), ConsentsError> {
        self.store.give(consent).await
    }

    /// Removes a consent that was given and not redeemed, as if it had never been.
    ///
    /// # Errors
    /// [`ConsentsError`]; the row is still there, and in force nowhere.
    pub async fn take_back(&self, id: &ConsentId) -> Result<(), ConsentsError> {
        self.store.take_back(id).await
    }

    /// One consent.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn find(&self, id: &ConsentId) -> Result<Option<Consent>, ConsentsError> {
        self.store.find(id).await
    }

    /// A subject's consents, latest first.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn of_subject(&self, subject: &SubjectId) -> Result<Vec<Consent>, ConsentsError> {
        self.store.of_subject(subject).await
    }

    /// Stores the first refresh token and puts the consent in force. False if it was redeemed before or has ended.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn redeem(&self, consent: &Consent, first: &Refresh) -> Result<bool, ConsentsError> {
        let redeemed = self.store.redeem(&consent.id, first).await?;
        if redeemed {
            put(&self.book, consent);
            // It may have ended after it was stored and before it was put.
            let again = self.store.find(&consent.id).await?;
            if again.is_none_or(|consent| consent.ended.is_some()) {
                self.book.end(&consent.id);
                return Ok(false);
            }
        }
        Ok(redeemed)
    }

    /// Replaces a refresh token. False if another request was first.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn rotate(
        &self,
        id: &ConsentId,
        from: &Digest,
        to: &Digest,
        now: UnixMicros,
    ) -> Result<bool, ConsentsError> {
        self.store.rotate(id, from, to, now).await
    }

    /// Ends a consent: its tokens read nothing any more, whatever becomes of the file.
    ///
    /// # Errors
    /// [`ConsentsError`]: it is over until a restart, and has to be ended again.
    pub async fn end(
        &self,
        id: &ConsentId,
        why: Ending,
        now: UnixMicros,
    ) -> Result<bool, ConsentsError> {
        self.leave(id);
        self.store.end(id, why, now).await
    }

    /// Takes a consent out of force. When this returns nothing is read on it, and nothing in flight goes on.
    fn leave(&self, id: &ConsentId) {
        self.book.end(id);
        // Whoever ended it a moment ago may not have got so far yet.
        self.keeper.switch().abort(|bearing| bearing.consent == Some(*id));
    }

    /// Ends all consents to some integrations, whenever they were given: no clock is asked. Returns how many.
    ///
    /// # Errors
    /// As for [`Kept::end`].
    pub async fn end_all(
        &self,
        integrations: &[IntegrationId],
        now: UnixMicros,
    ) -> Result<u64, ConsentsError> {
        let leave_all = || {
            for integration in integrations {
                self.book.end_all(*integration);
            }
            self.keeper.switch().abort(|bearing| {
                bearing.consent.is_some() && integrations.contains(&bearing.integration)
            });
        };
        leave_all();
        let mut ended = 0;
        for integration in integrations {
            ended += self.store.end_all(integration, Ending::Operator, now).await?;
        }
        // What was being redeemed meanwhile, and was put in force before the file said that it had ended.
        leave_all();
        self.book.tidy(now);
        Ok(ended)
    }

    /// Wakes a consent that its subject wants to keep.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn wake(&self, id: &ConsentId, now: UnixMicros) -> Result<bool, ConsentsError> {
        self.store.wake(id, now).await
    }

    /// Forgets an erased subject.
    ///
    /// # Errors
    /// [`ConsentsError`]; the rows are still there.
    pub async fn erase(&self, subject: &SubjectId) -> Result<(), ConsentsError> {
        // Before the rows go and after: whoever agrees meanwhile finds out that the session is gone, and takes it back.
        self.sessions.close_all(subject);
        for consent in self.store.of_subject(subject).await? {
            self.leave(&consent.id);
        }
        for id in self.store.erase(subject).await? {
            self.leave(&id);
        }
        self.sessions.close_all(subject);
        Ok(())
    }

    /// Who is signed in to the portal.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Refuses an access token from here on, also after a restart.
    ///
    /// # Errors
    /// [`ConsentsError`]: it is refused until a restart.
    pub async fn revoke(&self, token: Digest, facts: &Facts) -> Result<(), ConsentsError> {
        (self.revoke)(token, facts.expires);
        self.store.revoke_token(&token, facts.expires).await
    }

    /// Whether an access token was given back.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn is_revoked(&self, token: &Digest, now: UnixMicros) -> Result<bool, ConsentsError> {
        self.store.is_revoked(token, now).await
    }

    /// A ticket with which a subject adds a passkey, good once, for a day.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn enrol(
        &self,
        subject: &SubjectId,
        now: UnixMicros,
    ) -> Result<String, ConsentsError> {
        let ticket = base64url::encode(&clock::random::<32>());
        let until = now + Micros::from_secs(86_400);
        self.store.add_enrolment(&sha256(ticket.as_bytes()), subject, false, until).await?;
        Ok(ticket)
    }

    /// The file itself, for what only signs subjects in.
    pub fn store(&self) -> &Consents {
        &self.store
    }

    /// Deletes what nobody used for long. Called once an hour.
    ///
    /// # Errors
    /// [`ConsentsError`].
    pub async fn forget(&self, now: UnixMicros) -> Result<u64, ConsentsError> {
        self.book.tidy(now);
        self.store.forget(now).await
    }
}

fn put(book: &ConsentBook, consent: &Consent) {
    let details = &consent.details;
    let terms = Terms {
        integration: consent.integration,
        grant: details.grant,
        operations: details.operations.clone(),
        classes: details.classes,
    };
    book.put(consent.id, terms, details.expires);
}
