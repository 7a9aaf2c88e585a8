//! An API server with people in it. No two of its answers are the same, so that each byte a client gets has one source.

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What a word in every answer says, so that a trace of system calls can be searched for subject data.
pub(crate) const MARK: &str = "subject-data";

/// Length of a person's letters: more than the kernel takes off our hands for a reader that does not read.
const LETTERS_BYTES: usize = 256 * 1024;

/// The origin, and its account of what it sent.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    sent: Arc<Mutex<HashMap<String, Sent>>>,
}

/// One record, as it was sent.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) subject: String,
    /// What of the body the contract and the grant let through.
    pub(crate) granted: Bytes,
}

impl Origin {
    /// Serves on the runtime it is called in, until that ends.
    ///
    /// # Errors
    /// If no loopback port can be had.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, sent) = (listener.local_addr()?, Arc::<Mutex<_>>::default());
        let account = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let account = Arc::clone(&account);
                let service = service_fn(move |request| {
                    let response = answer(&request, &account);
                    async { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(async move {
                    let _nodelay = stream.set_nodelay(true);
                    // The gateway is killed in mid-request; that is its test, not the origin's trouble.
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { address, sent })
    }

    /// How many answers it gave.
    pub(crate) fn answers(&self) -> usize {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was sent for a request, by the id that the gateway gave it.
    pub(crate) fn sent(&self, request: &str) -> Option<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(request).cloned()
    }
}

fn answer(
    request: &Request<Incoming>,
    account: &Mutex<HashMap<String, Sent>>,
) -> Response<Full<Bytes>> {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("");
    let mut path = request.uri().path().split('/').skip(3);
    let subject = path.next().unwrap_or("").to_owned();
    let letters = if path.next() == Some("letters") {
        let letters: String = MARK.chars().chain(" ".chars()).cycle().take(LETTERS_BYTES).collect();
        format!(r#","letters":"{letters}""#)
    } else {
        String::new()
    };
    let granted = format!(r#"{{"id":"{subject}","email":"{id}@{MARK}.example"{letters}}}"#);
    let body = format!(
        r#"{{"id":"{subject}","notes":"not granted","email":"{id}@{MARK}.example"{letters}}}"#
    );
    let sent = Sent { subject, granted: Bytes::from(granted) };
    // Before it is sent, so that nothing is received that is not in the account.
    account.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), sent);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}
