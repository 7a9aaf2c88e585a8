//! The keys of our tokens: one signs, and all that are published verify.

use crate::TokenEndpoint;
use credential::{PublicKey, SigningKey};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Replaced as a whole, so that nobody sees a key sign that is not published.
pub(crate) struct Keys(RwLock<Arc<Set>>);

struct Set {
    signing: Arc<SigningKey>,
    kid: String,
    published: BTreeMap<String, PublicKey>,
}

impl Keys {
    pub(crate) fn new(signing: Arc<SigningKey>) -> Self {
        Self(RwLock::new(Arc::new(Set::new(signing, BTreeMap::new()))))
    }

    /// What signs, and its `kid`.
    pub(crate) fn signing(&self) -> (Arc<SigningKey>, String) {
        let set = self.set();
        (Arc::clone(&set.signing), set.kid.clone())
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Set {
    fn new(signing: Arc<SigningKey>, mut published: BTreeMap<String, PublicKey>) -> Self {
        let kid = signing.public().thumbprint_text();
        published.insert(kid.clone(), signing.public().clone());
        Self { signing, kid, published }
    }
}

impl TokenEndpoint {
    /// The public keys of our tokens by `kid`, as [`credential::Verifier::new`] takes them.
    pub fn issuer_keys(&self) -> BTreeMap<String, PublicKey> {
        self.keys.set().published.clone()
    }

    /// The `kid` of the key that signs.
    pub fn kid(&self) -> String {
        self.keys.set().kid.clone()
    }

    /// Signs with this key from here on, and publishes these and it. Whoever verifies is told of a key before it signs, and forgets one
    /// only after it ceased to.
    pub fn replace_keys(&self, signing: Arc<SigningKey>, published: BTreeMap<String, PublicKey>) {
        let set = Arc::new(Set::new(signing, published));
        *self.keys.0.write().unwrap_or_else(PoisonError::into_inner) = set;
    }
}
