//! A TAXII 2.1 collection: its indicators and markings, page by page, from where the last reading ended.

use super::fetch::{BOUNDS, said};
use super::store::{State, Store};
use super::{Fetched, NotRefreshed};
use crate::outbound::{Address, Answer, NotAsked, Question, encoded, exchange};
use detection::intel::stix::Objects;
use detection::intel::{BYTES_MAX, BadList};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use model::{Micros, UnixMicros};
use std::fmt::Write;

/// What is asked for, and what has to come.
///
/// Source: TAXII 2.1 section 1.6.8.
const MEDIA_TYPE: &str = "application/taxii+json;version=2.1";
/// Objects of a page, of which a server may give fewer.
const LIMIT: usize = 1_000;
/// Most pages of one reading.
const PAGES_MAX: usize = 2_000;
/// Longest `next` that is said back.
const NEXT_MAX: usize = 1_024;
/// After so long the whole collection is read again: what was deleted from it is not told in any other way.
const WHOLE_EVERY: Micros = Micros::from_secs(86_400);

static ADDED_LAST: HeaderName = HeaderName::from_static("x-taxii-date-added-last");

/// Reads what was added to the collection at `url`, and gives all that is in it as a bundle.
pub(super) async fn collection(
    url: &str,
    name: &str,
    store: &Store,
    state: &mut State,
    login: Option<&HeaderValue>,
    now: UnixMicros,
) -> Result<Fetched, NotRefreshed> {
    let kept =
        store.content(name)?.and_then(|kept| Objects::read(str::from_utf8(&kept).ok()?).ok());
    let is_whole =
        kept.is_none() || state.added_after.is_none() || now >= state.whole + WHOLE_EVERY;
    let mut objects = Objects::default();
    let mut place = Place { added_after: None, next: None };
    if let Some(kept) = kept.filter(|_| !is_whole) {
        objects = kept;
        place.added_after.clone_from(&state.added_after);
    }
    let before = objects.clone();
    let mut bytes = 0;
    for _ in 0..PAGES_MAX {
        let Answer { status, headers, body } = page(url, &place, login).await?;
        match status {
            200 => {}
            406 => return Err(NotRefreshed::NotTaxii),
            other => return Err(NotAsked::Status(other).into()),
        }
        if !headers.get(CONTENT_TYPE).is_some_and(is_taxii) {
            return Err(NotRefreshed::NotTaxii);
        }
        bytes += body.len();
        if bytes > BYTES_MAX {
            return Err(NotRefreshed::Endless);
        }
        let text = str::from_utf8(&body).map_err(|_| BadList::NotText)?;
        let read = objects.page(text)?;
        let last = said(&headers, &ADDED_LAST);
        if let Some(last) = &last {
            state.added_after = Some(last.clone());
        }
        if !read.more {
            if is_whole {
                state.whole = now;
            }
            let same = !is_whole && objects == before;
            return Ok(if same {
                Fetched::Same
            } else {
                Fetched::Other(objects.to_bundle().into())
            });
        }
        // `next` continues, the same one as long as the server likes; without it, `added_after` the last object's date does.
        place = match read.next.filter(|next| next.len() <= NEXT_MAX) {
            Some(next) => Place { next: Some(next), ..place },
            None if last.is_some() && last != place.added_after => {
                Place { added_after: last, next: None }
            }
            None => return Err(NotRefreshed::Endless),
        };
    }
    Err(NotRefreshed::Endless)
}

/// Where in a collection a page begins.
struct Place {
    added_after: Option<String>,
    next: Option<String>,
}

async fn page(
    url: &str,
    place: &Place,
    login: Option<&HeaderValue>,
) -> Result<Answer, NotRefreshed> {
    let types = encoded("indicator,marking-definition");
    let mut asked = format!("{url}objects/?limit={LIMIT}&match%5Btype%5D={types}");
    for (name, value) in [("added_after", &place.added_after), ("next", &place.next)] {
        if let Some(value) = value {
            let _infallible = write!(asked, "&{name}={}", encoded(value));
        }
    }
    let address = Address::parse(&asked, true).map_err(NotAsked::from)?;
    let fields = vec![(ACCEPT, HeaderValue::from_static(MEDIA_TYPE))];
    let question = Question { form: None, authorization: login.cloned(), fields };
    Ok(exchange(&address, address.place(), question, BOUNDS).await?)
}

fn is_taxii(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/taxii+json"))
        && parts.all(|part| !part.starts_with("version") || part == "version=2.1")
}
