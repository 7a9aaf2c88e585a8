//! Where lists of threats come from: files and servers of others, fetched when they are due and kept in the data directory.
//!
//! What was fetched last and could be read stays in effect until something better comes, over restarts too: a server that is down, or sends
//! rubbish, or suddenly lists ten times as much, changes nothing but what the operator sees. Nothing here waits on the data path.
//!
//! Start reading at [`refresh`], then [`store`]; [`library`] puts what is kept together.

mod fetch;
pub mod library;
pub mod store;
mod taxii;

use crate::outbound::{Address, NotAsked};
use detection::intel::{self, BadList, Indicator, Kind, Terms};
use detection::{Extent, ListOwner};
use hyper::header::HeaderValue;
use model::{Micros, UnixMicros};
use std::path::PathBuf;
use std::time::Duration;
use store::{State, Store};
use thiserror::Error;
use tokio::time::timeout;

/// How soon a source that failed is tried again, at first; twice as long after each further failure, and never longer than it would be anyway.
const RETRY: Duration = Duration::from_secs(60);

/// How long one refresh may take, however many pages it has.
const PATIENCE: Duration = Duration::from_secs(600);

/// A list that is kept up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// What it is called in refusals and reports, and its file's name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its format; of a TAXII collection, STIX.
    pub kind: Kind,
    /// On what terms it is read.
    pub terms: Terms,
    /// Who vouches for it.
    pub owner: ListOwner,
    /// How often it is asked for.
    pub every: Duration,
    /// File with `user:password`, if it is asked for.
    pub login: Option<PathBuf>,
}

/// Where a list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file that somebody else writes.
    File(PathBuf),
    /// A file on a web server.
    Web(Address, String),
    /// A TAXII 2.1 collection, by its address with a slash at the end.
    Taxii(String),
}

impl Origin {
    /// As the operator wrote it, without what may be a secret in its query.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Web(_, url) | Self::Taxii(url) => {
                url.split('?').next().unwrap_or_default().to_owned()
            }
        }
    }
}

/// Why a list is as it was before.
#[derive(Debug, Error)]
pub enum NotRefreshed {
    /// Nobody gave it.
    #[error(transparent)]
    NotAsked(#[from] NotAsked),
    /// It does not speak TAXII 2.1: 406, or another media type.
    #[error("it does not speak TAXII 2.1")]
    NotTaxii,
    /// It took too long, all pages together.
    #[error("it did not end within {PATIENCE:?}")]
    Late,
    /// It never comes to an end, or is too long.
    #[error("its pages do not end")]
    Endless,
    /// What was given cannot be read.
    #[error("what it sent is not taken")]
    Bad(#[from] BadList),
    /// It grew so much that a person should look before it counts.
    #[error(
        "it grew from {before} to {after} networks, and is held: `portcullis intel accept` takes it"
    )]
    Held {
        /// Networks in effect.
        before: usize,
        /// Networks it would have.
        after: usize,
    },
    /// The file could not be read, or what was fetched not be kept.
    #[error("the file system refused")]
    Disk(#[from] std::io::Error),
}

/// What was fetched.
enum Fetched {
    /// It is as it was.
    Same,
    /// It is this. What to say the next time stands in the state.
    Other(Vec<u8>),
}

/// Brings one list up to date if it is due: fetches it, reads it, and keeps it if it is better than what is kept. True if what is in
/// effect changed. A file is always due.
///
/// What became of it is in the list's state, which is written each time. `anyway`: even if it is not due. `login`: the value of
/// `Authorization`. `jitter`: any number, by which tries of many nodes are spread.
///
/// # Errors
/// If the state cannot be read or written. A list that could not be brought up to date is no error but a problem in its state.
pub async fn refresh(
    feed: &Feed,
    store: &Store,
    login: Option<&HeaderValue>,
    anyway: bool,
    now: UnixMicros,
    jitter: u8,
) -> std::io::Result<bool> {
    // What is known of another origin says nothing of this one.
    let known = store.state(&feed.name)?.filter(|state| state.origin == feed.origin.shown());
    let mut state = known.unwrap_or_else(|| State::new(feed));
    if now < state.due && !anyway && !matches!(feed.origin, Origin::File(_)) {
        return Ok(false);
    }
    let mut next = state.clone();
    let asked = timeout(PATIENCE, fetched(feed, store, &mut next, login, now)).await;
    let done = match asked.unwrap_or(Err(NotRefreshed::Late)) {
        Ok(Fetched::Same) => Ok(false),
        Ok(Fetched::Other(content)) => {
            let (feed, store) = (feed.clone(), store.clone());
            // Long lists are read for longer than a thread that serves requests should be kept.
            let kept = tokio::task::spawn_blocking(move || keep(&feed, &store, content)).await;
            kept.unwrap_or_else(|broken| Err(std::io::Error::other(broken).into()))
        }
        Err(why) => Err(why),
    };
    let (changed, wait) = match done {
        Ok(changed) => {
            state = State { fetched: now, problem: None, failed: 0, ..next };
            (changed, feed.every)
        }
        Err(why) => {
            let since = state.problem.map_or(now, |problem| problem.since);
            let what = chain(&why);
            state.problem = Some(store::Problem { since, what });
            state.failed = state.failed.saturating_add(1);
            let doublings = (state.failed - 1).min(16);
            (false, RETRY.saturating_mul(1 << doublings).min(feed.every))
        }
    };
    // Up to a fifth sooner, so that no server meets all its readers at once.
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    let sooner = micros / 5 * u64::from(jitter) / 255;
    state.due = now + Micros(micros - sooner);
    store.note(&feed.name, &state)?;
    Ok(changed)
}

async fn fetched(
    feed: &Feed,
    store: &Store,
    state: &mut State,
    login: Option<&HeaderValue>,
    now: UnixMicros,
) -> Result<Fetched, NotRefreshed> {
    let has_content = store.content(&feed.name)?.is_some();
    match &feed.origin {
        Origin::File(path) => {
            let content = store::read_bounded(path)?;
            Ok(Fetched::Other(content))
        }
        Origin::Web(address, _) => fetch::web(address, state, login, has_content).await,
        Origin::Taxii(url) => taxii::collection(url, &feed.name, store, state, login, now).await,
    }
}

/// Keeps `content` if it can be read and did not grow out of proportion.
fn keep(feed: &Feed, store: &Store, content: Vec<u8>) -> Result<bool, NotRefreshed> {
    let before = store.content(&feed.name)?;
    if before.as_ref() == Some(&content) {
        return Ok(false);
    }
    let after = in_effect(feed, &content)?;
    let before = before.and_then(|before| in_effect(feed, &before).ok());
    if let Some(before) = before.filter(|_| feed.owner == ListOwner::Feed) {
        let (old, new) = (Extent::of(&before), Extent::of(&after));
        if new.outgrew(&old) {
            store.hold(&feed.name, &content)?;
            return Err(NotRefreshed::Held { before: old.networks, after: new.networks });
        }
    }
    store.keep(&feed.name, &content)?;
    Ok(true)
}

fn in_effect(feed: &Feed, content: &[u8]) -> Result<Vec<Indicator>, BadList> {
    Ok(intel::read(feed.kind, content, feed.terms)?.indicators)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests;
