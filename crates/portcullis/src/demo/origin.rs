//! The origin of demo and rehearsals: a plausible account platform, run as a process of its own with a log of its own.
//!
//! It knows nothing of Portcullis. Its log, one JSON line per answer, is the ground truth that `exposure` is compared
//! with. One fault is built in, that of a response cache whose connections run one answer late: a line `mixup N` on
//! standard input makes one in N answers somebody else's (`mixup 0` ends it).

use super::people::{self, Dice};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Serves until standard input ends. Prints its address as one line first.
///
/// `log`: a file the answers are appended to, a JSON object a line: `request`, `operation`, `asked`, `subjects`.
///
/// # Errors
/// If the log cannot be opened or no loopback port can be had.
pub(crate) async fn run(log: &Path) -> Result<()> {
    let file = std::fs::File::options().create(true).append(true).open(log);
    let platform = Arc::new(Platform {
        log: Mutex::new(
            file.with_context(|| format!("cannot open the origin's log {}", log.display()))?,
        ),
        mixup: AtomicU64::new(0),
        served: AtomicU64::new(0),
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("no loopback port for the origin")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let ended = listen_for_orders(Arc::clone(&platform));
    tokio::select! {
        done = accept(listener, platform) => done,
        _ = ended => Ok(()),
    }
}

struct Platform {
    log: Mutex<std::fs::File>,
    /// One in this many answers is somebody else's; 0 is none.
    mixup: AtomicU64,
    served: AtomicU64,
}

async fn accept(listener: tokio::net::TcpListener, platform: Arc<Platform>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let platform = Arc::clone(&platform);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = platform.answer(&request);
                async move { answer }
            });
            // A connection that ends badly is the gateway's to notice.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Reads orders from standard input on a thread of its own; the returned receiver resolves when it ends.
fn listen_for_orders(platform: Arc<Platform>) -> tokio::sync::oneshot::Receiver<()> {
    let (ended, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(rate) = line.strip_prefix("mixup ").and_then(|rate| rate.parse().ok()) {
                platform.mixup.store(rate, Ordering::Relaxed);
            }
        }
        let _ = ended.send(());
    });
    receiver
}

impl Platform {
    fn answer(&self, request: &Request<Incoming>) -> std::io::Result<Response<Full<Bytes>>> {
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let query = request.uri().query().unwrap_or("");
        let answer = match path.as_slice() {
            ["v1", "accounts"] => list("listAccounts", query),
            ["v1", "exports"] => list("exportAccounts", query),
            ["v1", "accounts", "count"] => Answer::about_nobody(
                "countAccounts",
                serde_json::json!({ "total": people::POPULATION }),
            ),
            ["v1", "schema"] => Answer::about_nobody(
                "describeAccounts",
                serde_json::json!({ "fields": ["id", "name", "email", "plan"] }),
            ),
            ["v1", "lookup"] => {
                let id = query.strip_prefix("id=").unwrap_or("");
                self.one("lookUpAccount", id, people::Person::account)
            }
            // What no contract knows and nobody asks for, and what is still there.
            ["legacy", "accounts", id] => self.one("legacy", id, people::Person::account),
            ["v1", "accounts", id] => self.one("getAccount", id, people::Person::account),
            ["v1", "accounts", id, "conversations"] => {
                self.one("listConversations", id, people::Person::conversations)
            }
            _ => Answer::not_found("unknown", ""),
        };
        let id =
            request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("");
        let line = serde_json::json!({
            "request": id, "operation": answer.operation, "asked": answer.asked, "status": answer.status.as_u16(), "subjects": answer.subjects,
        });
        writeln!(self.log.lock().unwrap_or_else(PoisonError::into_inner), "{line}")?;
        let body = Full::new(Bytes::from(answer.body.to_string()));
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        response
            .headers_mut()
            .insert("content-type", http::HeaderValue::from_static("application/json"));
        response.headers_mut().insert("x-internal-shard", http::HeaderValue::from_static("eu-7"));
        Ok(response)
    }

    fn one(
        &self,
        operation: &'static str,
        id: &str,
        show: fn(&people::Person) -> serde_json::Value,
    ) -> Answer {
        let Some(asked) = people::account_number(id) else {
            return Answer::not_found(operation, id);
        };
        let served = self.served.fetch_add(1, Ordering::Relaxed);
        let mixup = self.mixup.load(Ordering::Relaxed);
        let mixed_up = mixup > 0 && served.is_multiple_of(mixup);
        let shown = if mixed_up { Dice(served).next() } else { u64::from(asked) }
            % u64::from(people::POPULATION);
        let shown = u32::try_from(shown).unwrap_or(asked);
        Answer {
            operation,
            asked: id.to_owned(),
            status: StatusCode::OK,
            subjects: vec![people::account_id(shown)],
            body: show(&people::person(shown)),
        }
    }
}

struct Answer {
    operation: &'static str,
    asked: String,
    status: StatusCode,
    subjects: Vec<String>,
    body: serde_json::Value,
}

impl Answer {
    fn about_nobody(operation: &'static str, body: serde_json::Value) -> Self {
        let (asked, subjects) = (String::new(), Vec::new());
        Self { operation, asked, status: StatusCode::OK, subjects, body }
    }

    fn not_found(operation: &'static str, asked: &str) -> Self {
        let body = serde_json::json!({ "error": "no such account", "asked": asked });
        Self {
            operation,
            asked: asked.to_owned(),
            status: StatusCode::NOT_FOUND,
            subjects: Vec::new(),
            body,
        }
    }
}

/// `?after=acc_000123&limit=20`: at most 100 accounts in order of id.
fn list(operation: &'static str, query: &str) -> Answer {
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let first = value("after").and_then(people::account_number).map_or(0, |number| number + 1);
    let limit = value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20).min(100);
    let people: Vec<_> = (first..people::POPULATION).take(limit).map(people::person).collect();
    let subjects: Vec<_> = people.iter().map(|person| people::account_id(person.number)).collect();
    let body = serde_json::json!({
        "items": people.iter().map(people::Person::account).collect::<Vec<_>>(),
        "next": subjects.last(),
        "total": people::POPULATION,
    });
    Answer { operation, asked: query.to_owned(), status: StatusCode::OK, subjects, body }
}
