//! A consent as it is kept: who agreed to what, for whom, and the refresh token that goes with it.
//!
//! Pure: what is stored comes in, what is to be stored goes out. Whoever stores it compares and swaps, so that of two requests with
//! one refresh token one is answered.

use crate::details::Details;
use credential::token::Binding;
use credential::{base64url, sha256};
use model::{ConsentId, Digest, IntegrationId, Micros, SubjectId, UnixMicros};
use std::fmt;

/// A consent that was not used for so long sleeps: its subject has to wake it.
pub const SLEEPS_AFTER: Micros = Micros::from_secs(30 * 86_400);

/// A consent that was not used for so long is deleted.
pub const FORGOTTEN_AFTER: Micros = Micros::from_secs(90 * 86_400);

/// How long the refresh token before the present one may come once more without ending the consent: an answer can be lost on its way.
pub const LOST_ANSWER: Micros = Micros::from_secs(10);

/// A consent as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Its id; the tokens that rest on it name it.
    pub id: ConsentId,
    /// Whom it allows.
    pub integration: IntegrationId,
    /// Whose data.
    pub subject: SubjectId,
    /// What it allows.
    pub details: Details,
    /// When it was given.
    pub given: UnixMicros,
    /// When a token was last issued on it; at first, when it was given.
    pub used: UnixMicros,
    /// The refresh token, once the code was redeemed.
    pub refresh: Option<Refresh>,
    /// When and why it ended.
    pub ended: Option<(UnixMicros, Ending)>,
}

/// What is kept of a refresh token. The token itself is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The key that redeemed the code; each refresh has to prove it.
    pub bound_to: Binding,
    /// SHA-256 of the present one.
    pub current: Digest,
    /// SHA-256 of the one before.
    pub before: Option<Digest>,
    /// When the present one was issued.
    pub issued: UnixMicros,
}

/// Why a consent ended before its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Its subject took it back.
    Subject,
    /// The integration gave it back (RFC 7009).
    Integration,
    /// An operator ended it, with others or alone.
    Operator,
    /// An authorization code or a refresh token came twice: somebody else has it.
    Reused,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 4] = [Self::Subject, Self::Integration, Self::Operator, Self::Reused];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Integration => "integration",
            Self::Operator => "operator",
            Self::Reused => "reused",
        }
    }

    /// Reads what [`Ending::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == word)
    }
}

/// A refresh token as it is sent: the consent's id and 32 random bytes. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// A fresh one. `random`: 32 random bytes.
    pub fn new(consent: &ConsentId, random: [u8; 32]) -> Self {
        Self(base64url::encode(&[&consent.as_bytes()[..], &random].concat()))
    }

    /// As it stands in the token response. The only way to read it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        sha256(self.0.as_bytes())
    }

    /// The consent that a refresh token names, whoever made it. `None` if it is none of ours.
    pub fn consent_of(text: &str) -> Option<ConsentId> {
        let bytes = base64url::decode(text.as_bytes())?;
        let id: [u8; 48] = bytes.try_into().ok()?;
        let (id, _) = id.split_first_chunk::<16>()?;
        Some(ConsentId::from_bytes(*id))
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(..)")
    }
}

/// What becomes of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token is the present one: replace it.
    Rotate,
    /// Refused, and nothing changes.
    Refuse(NotRefreshed),
    /// Refused, and the consent ends.
    End(Ending),
}

/// Why a refresh is refused while the consent stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRefreshed {
    /// Another client's.
    #[error("the refresh token is another client's")]
    AnotherClient,
    /// Proved with another key than the one that redeemed the code.
    #[error("the refresh token is bound to another key")]
    AnotherKey,
    /// The consent ended or ran out, or its code was never redeemed.
    #[error("the consent is over")]
    Over,
    /// It was not used for thirty days.
    #[error("the consent sleeps, because it was not used for thirty days; its subject can wake it")]
    Asleep,
    /// It was replaced a moment ago: the answer that brought the next one may have been lost.
    #[error("the refresh token was replaced a moment ago")]
    JustReplaced,
}

impl Consent {
    /// Whether anything can be read by it at `now`, asleep or not.
    pub fn is_over(&self, now: UnixMicros) -> bool {
        self.ended.is_some() || now >= self.details.expires
    }

    /// Whether its subject has to wake it before a token is issued on it.
    pub fn sleeps(&self, now: UnixMicros) -> bool {
        now.since(self.used) >= SLEEPS_AFTER
    }

    /// Weighs a refresh: `presented` is the SHA-256 of the token, `proved` the key or certificate that came with it.
    ///
    /// The key is asked for before the token is looked at, so that somebody with a token and without its key cannot end a consent.
    ///
    /// Source: RFC 9700 section 4.14.2, RFC 9449 section 5.
    pub fn weigh(
        &self,
        presented: &Digest,
        integration: IntegrationId,
        proved: &Binding,
        now: UnixMicros,
    ) -> Verdict {
        //= RFC 6749 section 10.4: the binding between refresh token and client is checked
        if self.integration != integration {
            return Verdict::Refuse(NotRefreshed::AnotherClient);
        }
        let Some(refresh) = self.refresh.filter(|_| !self.is_over(now)) else {
            return Verdict::Refuse(NotRefreshed::Over);
        };
        //= RFC 9449 section 5: a refresh token is bound to the key it was issued with
        if refresh.bound_to != *proved {
            return Verdict::Refuse(NotRefreshed::AnotherKey);
        }
        if refresh.current == *presented {
            let asleep = self.sleeps(now);
            return if asleep { Verdict::Refuse(NotRefreshed::Asleep) } else { Verdict::Rotate };
        }
        let lost = refresh.before == Some(*presented) && now.since(refresh.issued) < LOST_ANSWER;
        //= RFC 9700 section 4.14.2: a refresh token that was replaced and comes again ends what it was issued for
        if lost {
            Verdict::Refuse(NotRefreshed::JustReplaced)
        } else {
            Verdict::End(Ending::Reused)
        }
    }
}
