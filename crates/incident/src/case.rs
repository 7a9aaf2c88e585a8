//! A case as a fold over what happened in it.
//!
//! Events are this crate's stored format, `portcullis.case/1`: appended, never changed. [`Case::fold`] reads them all;
//! [`Case::after`] is the one place that says which may follow which.

use model::UnixMicros;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Something that happened in a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, UTC.
    #[serde(with = "moment")]
    pub at: UnixMicros,
    /// Operators who signed for it, as ids; empty if it happened by itself.
    pub by: Vec<String>,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are said with the variants")]
pub enum What {
    /// The case was opened. `began`: when the incident did, if known. `aware`: when the company was reasonably certain.
    Opened {
        name: String,
        title: String,
        cause: Cause,
        #[serde(with = "maybe_moment")]
        began: Option<UnixMicros>,
        #[serde(with = "moment")]
        aware: UnixMicros,
    },
    /// Nothing more could leave, from `since` on. `how`: in one sentence.
    Contained {
        #[serde(with = "moment")]
        since: UnixMicros,
        how: String,
    },
    /// The record was asked and the answer frozen. `hash`: SHA-256 of the answer, hex.
    ScopeFrozen { version: u64, hash: String, subjects: u64, records: u64 },
    /// Whether one regime's notification is made.
    Decided { regime: String, notify: bool, reason: String },
    /// Letters were queued, for this version of the scope. `people`: digest of the addresses, hex.
    NotifyingStarted { version: u64, letters: u64, without_address: u64, people: String },
    /// Letters are settled as far as they can be.
    Notified { accepted: u64, refused: u64, given_up: u64, in_doubt: u64 },
    /// A form was compiled. `document`: SHA-256 of its JSON, hex. `submitted`: it was handed in then.
    Filed {
        regime: String,
        version: u64,
        document: String,
        #[serde(with = "maybe_moment")]
        submitted: Option<UnixMicros>,
        reference: Option<String>,
    },
    /// The post-mortem was drafted.
    PostmortemDrafted { version: u64, document: String },
    /// The vendor was asked for its account.
    VendorAsked { words: String },
    /// It answered.
    VendorAcknowledged { words: String },
    /// Closed.
    Closed { reason: String },
    /// Opened again.
    Reopened { reason: String },
}

/// What a case was opened for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are said with the variants")]
pub enum Cause {
    /// A signal, in its own words.
    Signal { sentence: String },
    /// Somebody asked who was read.
    Exposure {},
    /// The vendor's own store was broken into. `since`: from when on.
    VendorBreach {
        vendor: String,
        #[serde(with = "moment")]
        since: UnixMicros,
    },
}

/// Where a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Found; something may still leave.
    Detected,
    /// Nothing more can leave; who was read is not established.
    Contained,
    /// Who was read is established.
    Scoped,
    /// Letters are under way.
    Notifying,
    /// Letters are settled, and a form was handed in.
    Reported,
    /// Over.
    Closed,
}

/// One frozen answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRef {
    /// Counts up.
    pub version: u64,
    /// SHA-256 of its bytes, hex.
    pub hash: String,
    /// How many subjects.
    pub subjects: u64,
    /// In how many records.
    pub records: u64,
    /// When it was frozen.
    pub at: UnixMicros,
}

/// What was decided about one regime, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: UnixMicros,
    /// By whom.
    pub by: Vec<String>,
    /// Whether its notification is made.
    pub notify: bool,
    /// Why.
    pub reason: String,
}

/// What was filed under one regime, last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    /// When it was compiled.
    pub at: UnixMicros,
    /// From which scope.
    pub version: u64,
    /// SHA-256 of its JSON, hex.
    pub document: String,
    /// When it was handed in.
    pub submitted: Option<UnixMicros>,
    /// The authority's reference.
    pub reference: Option<String>,
}

/// Letters of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "one field for each state of a letter")]
pub struct Letters {
    /// The scope that they tell of.
    pub version: Option<u64>,
    pub started: Option<UnixMicros>,
    pub settled: Option<UnixMicros>,
    pub queued: u64,
    pub without_address: u64,
    pub accepted: u64,
    pub refused: u64,
    pub given_up: u64,
    pub in_doubt: u64,
}

impl Letters {
    /// Whether the mail server took a letter to everybody.
    pub const fn all_told(&self) -> bool {
        self.settled.is_some()
            && self.without_address + self.refused + self.given_up + self.in_doubt == 0
    }
}

/// A case, as its events make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What operators call it.
    pub name: String,
    /// One line.
    pub title: String,
    /// What it was opened for.
    pub cause: Cause,
    /// When the incident began, if known.
    pub began: Option<UnixMicros>,
    /// When the case was opened.
    pub opened: UnixMicros,
    /// When the company became aware.
    pub aware: UnixMicros,
    /// When nothing more could leave, and how.
    pub contained: Option<(UnixMicros, String)>,
    /// Every frozen answer, oldest first.
    pub scopes: Vec<ScopeRef>,
    /// By regime.
    pub decisions: BTreeMap<String, Decision>,
    /// By regime.
    pub filings: BTreeMap<String, Filed>,
    /// Letters, once they were started.
    pub letters: Letters,
    /// When the vendor was first asked.
    pub vendor_asked: Option<UnixMicros>,
    /// When it answered.
    pub vendor_acknowledged: Option<UnixMicros>,
    /// Why it is closed, if it is.
    pub closed: Option<String>,
    /// Everything, oldest first.
    pub events: Vec<Event>,
}

/// An event that cannot follow what happened; whoever asked for it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFromHere {
    /// A case begins by being opened, once.
    #[error("a case is opened once, and first")]
    NotOpened,
    /// It is closed.
    #[error("the case is closed; `portcullis incident reopen` opens it again")]
    Closed,
    /// It is not closed.
    #[error("the case is not closed")]
    NotClosed,
    /// There is no scope.
    #[error("the case has no scope yet; `portcullis incident scope` freezes one")]
    NoScope,
    /// A document of an older scope.
    #[error("scope {asked} was replaced by scope {current}: make the document from that one")]
    Outdated {
        /// The version asked for.
        asked: u64,
        /// The version in force.
        current: u64,
    },
    /// There never was such a version.
    #[error("the case has no scope {0}")]
    NoSuchScope(u64),
    /// A scope's version must count up.
    #[error("scope {0} is not newer than the one there is")]
    NotNewer(u64),
}

impl Case {
    /// The case that these events make.
    ///
    /// # Errors
    /// [`NotFromHere`] if one could not have followed the one before: the store is damaged.
    pub fn fold(events: impl IntoIterator<Item = Event>) -> Result<Self, NotFromHere> {
        let mut events = events.into_iter();
        let first = events.next().ok_or(NotFromHere::NotOpened)?;
        let mut case = Self::opened(first)?;
        for event in events {
            case = case.after(event)?;
        }
        Ok(case)
    }

    fn opened(event: Event) -> Result<Self, NotFromHere> {
        let What::Opened { name, title, cause, began, aware } = event.what.clone() else {
            return Err(NotFromHere::NotOpened);
        };
        Ok(Self {
            name,
            title,
            cause,
            began,
            opened: event.at,
            aware,
            contained: None,
            scopes: Vec::new(),
            decisions: BTreeMap::new(),
            filings: BTreeMap::new(),
            letters: Letters::default(),
            vendor_asked: None,
            vendor_acknowledged: None,
            closed: None,
            events: vec![event],
        })
    }

    /// The case after one event more.
    ///
    /// # Errors
    /// [`NotFromHere`] if it cannot follow.
    pub fn after(mut self, event: Event) -> Result<Self, NotFromHere> {
        // Letters that were under way settle whatever else happens to the case.
        let by_itself = matches!(event.what, What::Notified { .. } | What::Reopened { .. });
        if self.closed.is_some() && !by_itself {
            return Err(NotFromHere::Closed);
        }
        let at = event.at;
        match event.what.clone() {
            What::Opened { .. } => return Err(NotFromHere::NotOpened),
            What::Contained { since, how } => self.contained = Some((since, how)),
            What::ScopeFrozen { version, hash, subjects, records } => {
                if self.scopes.last().is_some_and(|last| version <= last.version) {
                    return Err(NotFromHere::NotNewer(version));
                }
                self.scopes.push(ScopeRef { version, hash, subjects, records, at });
            }
            What::Decided { regime, notify, reason } => {
                let by = event.by.clone();
                self.decisions.insert(regime, Decision { at, by, notify, reason });
            }
            What::NotifyingStarted { version, letters, without_address, .. } => {
                self.current(version)?;
                self.letters.started.get_or_insert(at);
                self.letters.settled = None;
                self.letters.version = Some(version);
                (self.letters.queued, self.letters.without_address) = (letters, without_address);
            }
            What::Notified { accepted, refused, given_up, in_doubt } => {
                let letters = self.letters;
                let settled = Some(at);
                self.letters =
                    Letters { settled, accepted, refused, given_up, in_doubt, ..letters };
            }
            What::Filed { regime, version, document, submitted, reference } => {
                let before = self.filings.get(&regime);
                // What was handed in is what was compiled, whatever scope is in force by now.
                let same = before.is_some_and(|before| before.document == document);
                if submitted.is_none() || !same {
                    self.current(version)?;
                }
                let submitted = submitted.or(before.and_then(|before| before.submitted));
                let reference = reference.or(before.and_then(|before| before.reference.clone()));
                self.filings.insert(regime, Filed { at, version, document, submitted, reference });
            }
            What::PostmortemDrafted { version, .. } => {
                self.current(version)?;
            }
            What::VendorAsked { .. } => {
                self.vendor_asked.get_or_insert(at);
            }
            What::VendorAcknowledged { .. } => {
                self.vendor_acknowledged.get_or_insert(at);
            }
            What::Closed { reason } => self.closed = Some(reason),
            What::Reopened { .. } => {
                if self.closed.take().is_none() {
                    return Err(NotFromHere::NotClosed);
                }
            }
        }
        self.events.push(event);
        Ok(self)
    }

    /// The scope in force.
    pub fn scope(&self) -> Option<&ScopeRef> {
        self.scopes.last()
    }

    /// The scope of this version, which documents may be made from only while it is the one in force.
    ///
    /// # Errors
    /// [`NotFromHere::Outdated`] if another one replaced it.
    pub fn current(&self, version: u64) -> Result<&ScopeRef, NotFromHere> {
        let current = self.scope().ok_or(NotFromHere::NoScope)?;
        if current.version == version {
            return Ok(current);
        }
        match self.scopes.iter().any(|scope| scope.version == version) {
            true => Err(NotFromHere::Outdated { asked: version, current: current.version }),
            false => Err(NotFromHere::NoSuchScope(version)),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        let submitted = self.filings.values().any(|filed| filed.submitted.is_some());
        if self.closed.is_some() {
            State::Closed
        } else if submitted && self.letters.settled.is_some() {
            State::Reported
        } else if self.letters.started.is_some() {
            State::Notifying
        } else if self.scope().is_some() {
            State::Scoped
        } else if self.contained.is_some() {
            State::Contained
        } else {
            State::Detected
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detected => "detected",
            Self::Contained => "contained",
            Self::Scoped => "scope frozen",
            Self::Notifying => "notifying",
            Self::Reported => "reported",
            Self::Closed => "closed",
        })
    }
}

impl What {
    /// One sentence, for a timeline. It never names a subject.
    pub fn sentence(&self) -> String {
        match self {
            Self::Opened { title, .. } => format!("the case was opened: {title}"),
            Self::Contained { since, how } => format!("contained since {since}: {how}"),
            Self::ScopeFrozen { version, subjects, records, .. } => {
                format!("scope {version} was frozen: {subjects} subjects in {records} records")
            }
            Self::Decided { regime, notify: true, reason } => {
                format!("it was decided to notify under `{regime}`: {reason}")
            }
            Self::Decided { regime, notify: false, reason } => {
                format!("it was decided not to notify under `{regime}`: {reason}")
            }
            Self::NotifyingStarted { version, letters, without_address, .. } => format!(
                "{letters} letters about scope {version} were queued; {without_address} subjects have no address"
            ),
            Self::Notified { accepted, refused, given_up, in_doubt } => format!(
                "letters settled: {accepted} accepted, {refused} refused, {given_up} given up, {in_doubt} in doubt"
            ),
            Self::Filed { regime, version, submitted: None, .. } => {
                format!("the form of `{regime}` was compiled from scope {version}")
            }
            Self::Filed { regime, submitted: Some(at), .. } => {
                format!("the form of `{regime}` was handed in at {at}")
            }
            Self::PostmortemDrafted { version, .. } => {
                format!("the post-mortem was drafted from scope {version}")
            }
            Self::VendorAsked { words } => format!("the vendor owes its account: {words}"),
            Self::VendorAcknowledged { words } => format!("the vendor answered: {words}"),
            Self::Closed { reason } => format!("the case was closed: {reason}"),
            Self::Reopened { reason } => format!("the case was opened again: {reason}"),
        }
    }
}

/// `#[serde(with = "moment")]`: RFC 3339 in UTC.
mod moment {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &UnixMicros, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixMicros, D::Error> {
        let text = String::deserialize(from)?;
        UnixMicros::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time in UTC"))
    }
}

/// As [`moment`], or null.
mod maybe_moment {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        at: &Option<UnixMicros>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<UnixMicros>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let at = UnixMicros::parse(&text);
        at.map(Some).ok_or_else(|| D::Error::custom("not an RFC 3339 time in UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMicros = UnixMicros::from_secs(1_795_000_000);

    fn event(what: What) -> Event {
        Event { at: T, by: vec!["opr_a".into()], what }
    }

    fn opened() -> Case {
        let (name, title) = ("acme".to_owned(), "Acme polled accounts".to_owned());
        let what = What::Opened { name, title, cause: Cause::Exposure {}, began: None, aware: T };
        Case::fold([event(what)]).unwrap()
    }

    fn frozen(version: u64) -> What {
        What::ScopeFrozen { version, hash: format!("{version:064}"), subjects: 2, records: 3 }
    }

    fn filed(version: u64, submitted: Option<UnixMicros>) -> What {
        let (regime, document) = ("eu-gdpr-33".to_owned(), "00".to_owned());
        What::Filed { regime, version, document, submitted, reference: None }
    }

    #[test]
    fn a_case_goes_from_detected_to_closed_and_back() {
        let mut case = opened();
        let notifying = What::NotifyingStarted {
            version: 1,
            letters: 2,
            without_address: 0,
            people: "00".into(),
        };
        let notified = What::Notified { accepted: 2, refused: 0, given_up: 0, in_doubt: 0 };
        for (what, state) in [
            (What::Contained { since: T, how: "severed".into() }, State::Contained),
            (frozen(1), State::Scoped),
            (notifying, State::Notifying),
            (notified, State::Notifying),
            (filed(1, Some(T)), State::Reported),
            (What::Closed { reason: "done".into() }, State::Closed),
            (What::Reopened { reason: "more".into() }, State::Reported),
        ] {
            case = case.after(event(what)).unwrap();
            assert_eq!(case.state(), state);
        }
        assert_eq!(Case::fold(case.events.clone()).unwrap(), case);
    }

    #[test]
    fn no_document_is_made_without_a_scope_or_from_an_older_one() {
        let case = opened();
        assert_eq!(case.clone().after(event(filed(1, None))), Err(NotFromHere::NoScope));
        let case = case.after(event(frozen(1))).unwrap().after(event(frozen(3))).unwrap();
        let outdated = case.clone().after(event(filed(1, None))).unwrap_err();
        assert_eq!(outdated, NotFromHere::Outdated { asked: 1, current: 3 });
        assert_eq!(case.current(2), Err(NotFromHere::NoSuchScope(2)));
        assert_eq!(case.current(3).unwrap().hash, format!("{:064}", 3));
        assert_eq!(case.after(event(frozen(3))), Err(NotFromHere::NotNewer(3)));
    }

    #[test]
    fn a_closed_case_takes_nothing_but_letters_that_settle() {
        let case = opened().after(event(What::Closed { reason: "a false alarm".into() })).unwrap();
        assert_eq!(case.clone().after(event(frozen(1))), Err(NotFromHere::Closed));
        let settled = What::Notified { accepted: 1, refused: 0, given_up: 0, in_doubt: 0 };
        assert_eq!(case.after(event(settled)).unwrap().state(), State::Closed);
    }

    #[test]
    fn what_was_handed_in_stays_so_when_the_form_is_compiled_again() {
        let case = opened().after(event(frozen(1))).unwrap();
        let case = case.after(event(filed(1, Some(T)))).unwrap();
        let case = case.after(event(filed(1, None))).unwrap();
        assert_eq!(case.filings["eu-gdpr-33"].submitted, Some(T));
    }

    #[test]
    fn an_event_reads_back_as_it_was_stored() {
        for event in opened().events.into_iter().chain([event(frozen(1)), event(filed(1, Some(T)))])
        {
            let stored = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&stored).unwrap(), event, "{stored}");
        }
        let unknown = r#"{"at":"2026-11-24T00:00:00Z","by":[],"what":{"event":"forgotten"}}"#;
        assert!(serde_json::from_str::<Event>(unknown).is_err());
    }
}
