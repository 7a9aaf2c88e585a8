//! Asks the foreign issuer what the gateway has to know of it: its keys, and what opaque tokens are.
//!
//! It is asked only while somebody waits who needs the answer. However many wait for one, there is one request; and after one in vain there
//! is none for five seconds. Judges nothing: `credential::foreign` does.

use crate::client_proof::ClientProof;
use crate::known::{Document, Known, NotKnown};
use crate::outbound::{BadAddress, NotAsked};
use credential::foreign::{ForeignIssuer, LOOK_AGAIN, Question, keys_of};
use credential::{AccessToken, PublicKey, sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use storage::clock;
use tokio::sync::Mutex;
use tracing::{debug, warn};

/// Questions about tokens that are under way at a time; one more waits for its turn.
const UNDER_WAY_MAX: usize = 16;

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
    // Each held while one token is asked about; which, its hash decides, so that of those who wait for one token the first asks.
    turns: [Mutex<()>; UNDER_WAY_MAX],
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
        Ok(Self { issuer, known, inquirer, turns: Default::default() })
    }

    /// Asks, and has the issuer know the answer; if there is none, it knows what it knew.
    pub async fn ask(&self, question: Question) {
        let asked = match &question {
            Question::Keys => self.ask_keys().await,
            Question::Token(token) => self.ask_about(token).await,
        };
        match asked {
            Ok(()) => {}
            // Said when it happened.
            Err(NotKnown::Lately) => debug!("the foreign issuer did not answer a moment ago"),
            Err(why) => {
                let cause = std::error::Error::source(&why).map(ToString::to_string);
                warn!(reason = %why, cause, "the foreign issuer cannot be used: its tokens are refused");
            }
        }
    }

    async fn ask_keys(&self) -> Result<(), NotKnown> {
        let metadata = self.known.metadata().await?;
        let asked = clock::unix_now();
        // Those who waited behind one that asked take what it brought.
        let keys = self.known.keys_not_older_than(&metadata, LOOK_AGAIN.0).await?;
        self.issuer.learn_keys(BTreeMap::clone(&keys), asked);
        Ok(())
    }

    async fn ask_about(&self, token: &AccessToken) -> Result<(), NotKnown> {
        let Some(Inquirer { client_id, proof }) = &self.inquirer else { return Ok(()) };
        let [first, ..] = sha256(token.expose().as_bytes());
        let Some(turn) = self.turns.get(usize::from(first) % UNDER_WAY_MAX) else { return Ok(()) };
        let _turn = turn.lock().await;
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

impl fmt::Debug for IssuerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerClient({:?})", self.issuer)
    }
}
