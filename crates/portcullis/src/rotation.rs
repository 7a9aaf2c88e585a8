//! Carries the rotation of token keys to where they are used: the authority that signs, the gateway that verifies.

use authority::TokenEndpoint;
use gateway::node::Node;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use storage::clock;
use storage::secrets::{BadSecret, InUse, TokenKeys};
use tracing::{error, info};

/// How late a step may come.
const EVERY: Duration = Duration::from_secs(2);

/// The node's token keys, and who uses them.
pub(crate) struct Rotation {
    keys: Mutex<TokenKeys>,
    endpoint: Arc<TokenEndpoint>,
    node: Arc<Node>,
}

impl Rotation {
    /// Of keys that both use already.
    pub(crate) fn new(keys: TokenKeys, endpoint: Arc<TokenEndpoint>, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { keys: Mutex::new(keys), endpoint, node })
    }

    /// Publishes a key that was staged, if one was.
    ///
    /// # Errors
    /// [`BadSecret`]; what was in use is in use.
    pub(crate) fn take_over(&self) -> Result<(), BadSecret> {
        let mut keys = self.keys();
        let now = clock::unix_now();
        let taken = keys.take_over(now);
        if let (Ok(true), Some((kid, from))) = (&taken, keys.next()) {
            info!(%kid, signs_from = %from, "a token key is published");
        }
        let advanced = keys.advance(now);
        self.apply(&keys);
        taken.and(advanced).map(drop)
    }

    fn advance(&self) -> Result<(), BadSecret> {
        let mut keys = self.keys();
        let advanced = keys.advance(clock::unix_now());
        // Also after an error: a step that was half done may have changed what a restart would use.
        self.apply(&keys);
        advanced.map(drop)
    }

    /// Whoever verifies knows a key before it signs, and until it has ceased to.
    fn apply(&self, keys: &TokenKeys) {
        let InUse { signing, published } = keys.in_use();
        let kid = signing.public().thumbprint_text();
        let known = self.endpoint.issuer_keys();
        if self.endpoint.kid() == kid && known.keys().eq(published.keys()) {
            return;
        }
        let both: BTreeMap<_, _> = known.into_iter().chain(published.clone()).collect();
        self.node.verifier.replace_issuer_keys(both);
        self.endpoint.replace_keys(signing, published.clone());
        let verify: Vec<_> = published.keys().cloned().collect();
        self.node.verifier.replace_issuer_keys(published);
        info!(signs = %kid, verify = verify.join(" "), "the token keys are others");
    }

    fn keys(&self) -> MutexGuard<'_, TokenKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what is due. Ends with the node.
pub(crate) async fn advance_when_due(rotation: Weak<Rotation>) {
    let mut said = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(rotation) = rotation.upgrade() else { return };
        let advanced = tokio::task::spawn_blocking(move || rotation.advance()).await;
        let failed = match advanced {
            Ok(Ok(())) => None,
            Ok(Err(bad)) => Some(format!("{:#}", anyhow::Error::from(bad))),
            Err(broken) => Some(broken.to_string()),
        };
        if let Some(reason) = failed.as_ref().filter(|_| said != failed) {
            error!(%reason, "the token key cannot be rotated, and it is tried again");
        }
        said = failed;
    }
}
