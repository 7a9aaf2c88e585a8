//! Asks the foreign issuer what the gateway has to know of it: its keys, and what opaque tokens are.
//!
//! It is asked only while somebody waits who needs the answer. However many wait for one, there is one request; and after one in vain there
//! is none for five seconds. Judges nothing: `credential::foreign` does.

use crate::client_proof::ClientProof;
use crate::known::{Document, Known, NotKnown};
use crate::outbound::{BadAddress, NotAsked};
use credential::foreign::{ForeignIssuer, LOOK_AGAIN, Question, keys_of};
use credential::{AccessToken, PublicKey, sha256};
use model::CredentialId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::clock;
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use tracing::{debug, warn};

/// Questions about tokens that are under way at a time; one more waits for its turn.
const UNDER_WAY_MAX: usize = 16;

/// Turns of credentials; of those that share one, one question is under way at a time.
const TURNS: usize = 1_024;

/// Where its metadata is looked for: some servers are OpenID providers and publish only that document.
const DOCUMENTS: [Document; 2] = [Document::OAuth, Document::OpenId];

/// As whom it is asked about opaque tokens.
pub struct Inquirer {
    /// The name it knows us by.
    pub client_id: String,
    /// How we prove that we are that client.
    pub proof: ClientProof,
}

/// The foreign issuer, as it is asked.
pub struct IssuerClient {
    issuer: Arc<ForeignIssuer>,
    known: Known<BTreeMap<String, PublicKey>>,
    inquirer: Option<Inquirer>,
    turns: Turns,
    /// When it was last said that the issuer cannot be used.
    said: AtomicU64,
}

impl IssuerClient {
    /// The issuer that the operator configured. It is asked nothing until somebody shows a token of its. `clear_text`: whether it may be asked
    /// in the clear, which is then for loopback only.
    ///
    /// # Errors
    /// [`BadAddress`] if the issuer is not an https:// address without query.
    pub fn new(
        issuer: Arc<ForeignIssuer>,
        inquirer: Option<Inquirer>,
        clear_text: bool,
    ) -> Result<Self, BadAddress> {
        let known = Known::new(&issuer.terms().issuer, &DOCUMENTS, clear_text, keys_of)?;
        let (turns, said) = (Turns::default(), AtomicU64::new(0));
        Ok(Self { issuer, known, inquirer, turns, said })
    }

    /// Asks, and has the issuer know the answer; if there is none, it knows what it knew.
    pub async fn ask(&self, question: Question) {
        let asked = match &question {
            Question::Keys => self.ask_keys().await,
            Question::Token { token, sender } => self.ask_about(token, *sender).await,
        };
        match asked {
            Ok(()) => {}
            // Said when it happened.
            Err(NotKnown::Lately) => debug!("the foreign issuer did not answer a moment ago"),
            Err(why) if !self.is_due() => {
                debug!(reason = %why, "the foreign issuer cannot be used")
            }
            Err(why) => {
                let cause = std::error::Error::source(&why).map(ToString::to_string);
                warn!(reason = %why, cause, "the foreign issuer cannot be used: its tokens are refused");
            }
        }
    }

    /// Whether it is to be said that the issuer cannot be used: who sends odd tokens must not be able to drown the log.
    fn is_due(&self) -> bool {
        let (now, said) = (clock::boot_now().0, self.said.load(Ordering::Relaxed));
        let is_due = said == 0 || now.saturating_sub(said) >= LOOK_AGAIN.0;
        is_due
            && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    async fn ask_keys(&self) -> Result<(), NotKnown> {
        let metadata = self.known.metadata().await?;
        let asked = clock::unix_now();
        // Those who waited behind one that asked take what it brought.
        let keys = self.known.keys_not_older_than(&metadata, LOOK_AGAIN.0).await?;
        self.issuer.learn_keys(BTreeMap::clone(&keys), asked);
        Ok(())
    }

    async fn ask_about(&self, token: &AccessToken, sender: CredentialId) -> Result<(), NotKnown> {
        let Some(Inquirer { client_id, proof }) = &self.inquirer else { return Ok(()) };
        let _turn = self.turns.of(sender).await;
        if self.issuer.knows(token, clock::unix_now()) {
            return Ok(());
        }
        let metadata = self.known.metadata().await?;
        let endpoint = metadata.introspection_endpoint.as_ref();
        let endpoint = endpoint.ok_or(NotKnown::Documents("no `introspection_endpoint`"))?;
        //= RFC 7662 section 2.1: the token, by POST
        let parameters = [("token", token.expose()), ("token_type_hint", "access_token")];
        let issuer = &self.issuer.terms().issuer;
        let question = proof.question(&parameters, issuer, client_id, metadata.takes_basic);
        let question = question.ok_or(NotKnown::Documents("the client secret"))?;
        let asked = clock::unix_now();
        let answer = match self.known.ask(endpoint, question).await {
            // Of some texts servers do not say that they are not active, but that they are no tokens; or that we are no client of theirs.
            Err(NotKnown::Down(NotAsked::Status(400))) => {
                debug!("the foreign issuer answered 400 to a question about a token");
                br#"{"active":false}"#.to_vec()
            }
            answered => answered?,
        };
        self.issuer.learn_token(token, &answer, asked);
        Ok(())
    }
}

/// Whose question about a token is next.
struct Turns {
    // Each held while one token of a credential is asked about, so that whoever sends many waits for themself, and of those who wait for one
    // token the first asks.
    of_senders: Box<[Mutex<()>]>,
    under_way: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        let of_senders = (0..TURNS).map(|_| Mutex::default()).collect();
        Self { of_senders, under_way: Semaphore::new(UNDER_WAY_MAX) }
    }
}

impl Turns {
    /// Waits for the sender's turn, which ends when what is given is dropped.
    async fn of(
        &self,
        sender: CredentialId,
    ) -> (Option<MutexGuard<'_, ()>>, Option<SemaphorePermit<'_>>) {
        let [first, second, ..] = sha256(sender.to_string().as_bytes());
        let of_sender = usize::from(u16::from_be_bytes([first, second])) % TURNS;
        // There are so many, and the semaphore is never closed.
        let turn = match self.of_senders.get(of_sender) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        (turn, self.under_way.acquire().await.ok())
    }
}

impl fmt::Debug for IssuerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerClient({:?})", self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn one_question_of_a_credential_is_under_way_and_holds_up_no_other() {
        let turns = Turns::default();
        let of = |sender: u8| turns.of(CredentialId::from_bytes([sender; 16]));
        let mut context = Context::from_waker(Waker::noop());
        let first = pin!(of(1)).poll(&mut context);
        assert!(first.is_ready());
        let mut more: Vec<_> = (0..100).map(|_| Box::pin(of(1))).collect();
        assert!(more.iter_mut().all(|turn| turn.as_mut().poll(&mut context).is_pending()));
        let Poll::Ready(others) = pin!(of(2)).poll(&mut context) else { panic!("held up") };
        drop(others);
        drop(first);
        let ready = more.iter_mut().filter_map(|turn| match turn.as_mut().poll(&mut context) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        });
        assert_eq!(ready.collect::<Vec<_>>().len(), 1);
    }
}
