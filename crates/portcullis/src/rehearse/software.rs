//! One process of software, honest or not, that keeps itself in tokens.

use crate::client::{Answer, Vendor};
use anyhow::Result;
use model::{Micros, UnixMicros};
use storage::clock;

/// A token is asked for anew after this; it lives for five minutes.
const TOKEN_AGE: Micros = Micros::from_secs(240);

/// How a request proves who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// The token and a proof by the key at hand.
    Proof,
    /// The token alone.
    Bearer,
    /// Nothing.
    Nothing,
}

/// A process of software.
pub(crate) struct Software {
    pub(crate) vendor: Vendor,
    /// When its token was obtained.
    obtained: UnixMicros,
}

impl Software {
    pub(crate) fn new(vendor: Vendor) -> Self {
        Self { vendor, obtained: UnixMicros(0) }
    }

    /// Asks for a token if the one at hand is old. Keeps the old one if none is given: it is what there is.
    pub(crate) async fn freshen(&mut self) {
        let now = clock::unix_now();
        if (!self.vendor.has_token() || now.since(self.obtained) > TOKEN_AGE)
            && self.vendor.obtain_token().await.is_ok()
        {
            self.obtained = now;
        }
    }

    /// One request; `None` if there is no answer: no token was ever given, or the connection was refused or reset.
    ///
    /// # Errors
    /// If the rehearsal itself is at fault.
    pub(crate) async fn get(&mut self, path: &str, shows: Shows) -> Result<Option<Answer>> {
        if shows != Shows::Nothing && !self.vendor.has_token() {
            return Ok(None);
        }
        match shows {
            Shows::Proof => self.vendor.get(path).await,
            Shows::Bearer => self.vendor.get_as_bearer(path).await,
            Shows::Nothing => self.vendor.get_anonymous(path).await,
        }
    }
}
