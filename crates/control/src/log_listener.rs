//! The log for everybody who may read it: `checkpoint` and tiles over HTTP as C2SP tlog-tiles has them, and nothing else.
//!
//! Entries are headers: kind, chain, times, class mask, hashes. Bodies, touches and whatever else stands in the data directory have
//! no path here. What is served is read from the files that the publisher writes, so a copy of `ledger/checkpoint` and
//! `ledger/tile` on any web server is the same log.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ledger::checkpoint;
use ledger::tile::TilePath;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::fs;
use tracing::warn;

/// The newest checkpoint as the publisher wrote it, below the log's directory.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The newest checkpoint that witnesses cosigned, with their lines.
pub(crate) const COSIGNED: &str = "checkpoint.cosigned";

/// How long a newer checkpoint waits for its cosignatures before it is shown without. Receipts allow ten minutes.
const COSIGNATURES_WITHIN: Duration = Duration::from_secs(5);

//= C2SP tlog-tiles: tiles are immutable, the checkpoint is not to be cached beyond a few seconds
const FOR_EVER: &str = "max-age=31536000, immutable";

/// The files of one log.
#[derive(Debug)]
pub struct LogFiles {
    directory: PathBuf,
    /// Size of the largest checkpoint shown: readers never see the log shrink.
    shown: AtomicU64,
}

impl LogFiles {
    /// The log in this directory, `ledger` of a data directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), shown: AtomicU64::new(0) }
    }

    /// The checkpoint to show: the newest one with cosignatures while witnesses keep up, else the newest.
    async fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        let Some((newest, size)) = self.read(CHECKPOINT).await? else { return Ok(None) };
        let cosigned = self.directory.join(COSIGNED);
        let age = fs::metadata(&cosigned).await.and_then(|file| file.modified()).ok();
        let fresh = age.is_some_and(|at| at.elapsed().is_ok_and(|age| age < COSIGNATURES_WITHIN));
        let (note, size) = match self.read(COSIGNED).await? {
            Some((cosigned, at))
                if at == size || (fresh && at >= self.shown.load(Ordering::SeqCst)) =>
            {
                (cosigned, at)
            }
            _ => (newest, size),
        };
        self.shown.fetch_max(size, Ordering::SeqCst);
        Ok(Some(note))
    }

    async fn tile(&self, tile: TilePath) -> io::Result<Option<Vec<u8>>> {
        let published = self.read(CHECKPOINT).await?.map_or(0, |(_, size)| size);
        if tile.entries_needed().is_none_or(|needed| needed > published) {
            return Ok(None);
        }
        there(fs::read(self.directory.join(tile.to_string())).await)
    }

    /// A note of ours and the size in it.
    async fn read(&self, name: &str) -> io::Result<Option<(Vec<u8>, u64)>> {
        let Some(note) = there(fs::read(self.directory.join(name)).await)? else { return Ok(None) };
        let size = std::str::from_utf8(&note).ok().and_then(checkpoint::size_of);
        Ok(size.map(|size| (note, size)))
    }
}

/// The routes of the log's listener.
pub fn routes(files: Arc<LogFiles>) -> Router {
    Router::new().fallback(answer).with_state(files)
}

async fn answer(State(files): State<Arc<LogFiles>>, request: Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = [(ALLOW, "GET, HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "the log is read with GET\n")
            .into_response();
    }
    // The path is compared as it came: an escape or a query is another spelling, and no file has two.
    let uri = request.uri();
    let path = uri.path().strip_prefix('/').filter(|_| uri.query().is_none());
    let (read, kind, cache) = match path.map(|path| (path, TilePath::parse(path))) {
        Some((CHECKPOINT, _)) => {
            (files.checkpoint().await, "text/plain; charset=utf-8", "no-cache")
        }
        Some((_, Some(tile))) => (files.tile(tile).await, "application/octet-stream", FOR_EVER),
        _ => (Ok(None), "", ""),
    };
    match read {
        Ok(Some(bytes)) => {
            let headers =
                [(CONTENT_TYPE, kind), (CACHE_CONTROL, cache), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (headers, bytes).into_response()
        }
        Ok(None) => {
            // What is not there may be there in a second.
            let headers = [(CACHE_CONTROL, "no-store")];
            (StatusCode::NOT_FOUND, headers, "not in the log\n").into_response()
        }
        Err(error) => {
            warn!(%error, "a file of the log cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, "the log cannot be read\n").into_response()
        }
    }
}

fn there(read: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
