//! A witness (C2SP tlog-witness) for tests: checks what it is shown as a real one does, and remembers in memory what it cosigned.

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ledger::TreeHead;
use ledger::checkpoint;
use ledger::cosign::Cosigner;
use ledger::merkle::verify_consistency;
use ledger::note::VerifyingKey;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A witness that listens. Dropped, it is down; what it saw is in [`Memory`].
pub(crate) struct Witness {
    pub(crate) address: SocketAddr,
    /// What its cosignatures are checked with.
    pub(crate) key: String,
    _stop: watch::Sender<bool>,
    _runtime: Runtime,
}

/// What a witness cosigned last, by log.
pub(crate) type Memory = Arc<Mutex<BTreeMap<String, TreeHead>>>;

struct Desk {
    cosigner: Cosigner,
    logs: Vec<VerifyingKey>,
    memory: Memory,
}

impl Witness {
    /// Listens on `address`, for logs with these keys.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(
        name: &str,
        address: SocketAddr,
        logs: Vec<VerifyingKey>,
        memory: &Memory,
    ) -> Result<Self> {
        let cosigner = Cosigner::new(name, &[0x57; 32])?;
        let key = cosigner.key()?.to_string();
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk { cosigner, logs, memory: Arc::clone(memory) });
        let runtime = Runtime::new()?;
        let routes = Router::new().route("/w/add-checkpoint", post(add)).with_state(desk);
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            control::listen::serve(listener, None, routes, stopped).await
        });
        Ok(Self { address, key, _stop: stop, _runtime: runtime })
    }
}

async fn add(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let answer = desk.consider(&body);
    answer.unwrap_or_else(|status| status.into_response())
}

impl Desk {
    /// The checks of C2SP tlog-witness, in its order.
    fn consider(&self, body: &[u8]) -> Result<Response, StatusCode> {
        let bad = StatusCode::BAD_REQUEST;
        let text = std::str::from_utf8(body).map_err(|_| bad)?;
        let (head, note) = text.split_once("\n\n").ok_or(bad)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(bad)?;
        let old: u64 = old.parse().map_err(|_| bad)?;
        let proof = lines.map(|line| BASE64.decode(line).ok()?.try_into().ok());
        let proof: Vec<_> = proof.collect::<Option<_>>().ok_or(bad)?;
        let origin = note.split('\n').next().unwrap_or("");
        if !self.logs.iter().any(|key| key.name() == origin) {
            return Err(StatusCode::NOT_FOUND);
        }
        let opened = checkpoint::open(note, &self.logs).map_err(|_| StatusCode::FORBIDDEN)?;
        let tree = opened.tree;
        if old > tree.size || proof.len() > 63 {
            return Err(bad);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = memory.get(origin).copied().unwrap_or(TreeHead::EMPTY);
        if seen.size != old {
            let said = ([(CONTENT_TYPE, "text/x.tlog.size")], format!("{}\n", seen.size));
            return Ok((StatusCode::CONFLICT, said).into_response());
        }
        if old == tree.size && seen.root != tree.root {
            return Err(StatusCode::CONFLICT);
        }
        let consistent = if old == 0 {
            proof.is_empty()
        } else {
            verify_consistency(old, &seen.root, tree.size, &tree.root, &proof).is_ok()
        };
        if !consistent {
            return Err(StatusCode::UNPROCESSABLE_ENTITY);
        }
        memory.insert(origin.to_owned(), tree);
        let now = storage::clock::unix_now().0 / 1_000_000;
        let line = self.cosigner.cosign(note, now).map_err(|_| bad)?;
        Ok(line.into_response())
    }
}
