//! A list on a web server, asked for only if it changed.

use super::store::State;
use super::{Fetched, NotRefreshed};
use crate::outbound::{Address, Answer, Bounds, NotAsked, Question, exchange};
use detection::intel::BYTES_MAX;
use hyper::header::{
    ACCEPT, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use std::time::Duration;

/// Nobody waits for a list.
pub(super) const BOUNDS: Bounds =
    Bounds { patience: Duration::from_secs(60), bytes_max: BYTES_MAX };

/// Longest entity tag or date that is said back.
const VALIDATOR_MAX: usize = 256;

/// Asks for the list. `has_content`: whether what the server said last time is still here.
pub(super) async fn web(
    address: &Address,
    state: &mut State,
    login: Option<&HeaderValue>,
    has_content: bool,
) -> Result<Fetched, NotRefreshed> {
    let mut fields = vec![(ACCEPT, HeaderValue::from_static("*/*"))];
    // RFC 9110 section 13.1.3: If-Modified-Since is ignored where there is an If-None-Match, so both may be sent
    for (name, known) in [(IF_NONE_MATCH, &state.etag), (IF_MODIFIED_SINCE, &state.last_modified)] {
        let value = known.as_deref().filter(|_| has_content);
        let value = value.and_then(|value| HeaderValue::from_str(value).ok());
        fields.extend(value.map(|value| (name, value)));
    }
    let question = Question { form: None, authorization: login.cloned(), fields };
    let answer = exchange(address, address.place(), question, BOUNDS).await?;
    let Answer { status, headers, body } = answer;
    match status {
        304 if has_content => Ok(Fetched::Same),
        200 => {
            state.etag = said(&headers, &ETAG);
            state.last_modified = said(&headers, &LAST_MODIFIED);
            Ok(Fetched::Other(body.into()))
        }
        other => Err(NotAsked::Status(other).into()),
    }
}

/// A short field's value.
pub(super) fn said(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= VALIDATOR_MAX).then(|| value.to_owned())
}
