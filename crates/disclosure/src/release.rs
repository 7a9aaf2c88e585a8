//! From an origin's reply to what may leave of it. Only [`disclose`], for a whole reply, and [`disclose_batch`], for some values of a
//! stream, make a [`Disclosed`].
//!
//! They ask three questions of its surroundings through ports: how a subject stands in the record, whether the budget still allows these
//! subjects, and who is a honey subject. They neither record nor send.

pub use crate::encoding::Undecodable;
pub use crate::json::scan::Invalid;

use crate::contract::Match;
use crate::contract::document::split_pointer;
use crate::contract::operation::OperationSubject;
use crate::contract::plan::{NodeId, Pointer};
use crate::encoding;
use crate::headers;
use crate::json::filter::{Filtered, Question, filter};
use crate::scope::Allowance;
use crate::stream::OriginBatch;
use model::{ClassSet, OperationKind, Pseudonym, SubjectId, SubjectOrdinal, SubjectScope, Touch};
use policy::Permit;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Names and values, in order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// What the origin answered, as received: body still in its content coding, headers in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginReply {
    /// The HTTP status.
    pub status: u16,
    /// Names in any case, values as bytes.
    pub headers: Headers,
    /// The whole body, transfer coding removed.
    pub body: Vec<u8>,
}

/// Gives subjects their stand-ins. A row that is handed out is durable before the record that names it.
pub trait KnowSubjects {
    /// The stand-ins of `id`, made at first sight.
    ///
    /// # Errors
    /// [`Unavailable`] if the vault cannot answer; nothing is released.
    fn row(&mut self, id: &SubjectId) -> Result<(SubjectOrdinal, Pseudonym), Unavailable>;
}

/// The exposure budget of the permit's grant.
pub trait ChargeBudget {
    /// Charges every one of `subjects` (sorted, each once) or none, before anything is released. Called at most once per reply or batch,
    /// never with an empty list.
    ///
    /// # Errors
    /// [`OverBudget`] if they do not all fit; nothing is released.
    fn charge(&mut self, subjects: &[SubjectOrdinal]) -> Result<(), OverBudget>;
}

/// The subject vault could not answer; we fail closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// The exposure budget does not allow these subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget;

/// What a disclosure asks of its surroundings.
pub struct Guards<'a> {
    /// The subject vault.
    pub subjects: &'a mut dyn KnowSubjects,
    /// The exposure budget.
    pub budget: &'a mut dyn ChargeBudget,
    /// Subjects that nobody has a reason to read.
    pub honey: Honey<'a>,
}

/// Decoys, and what becomes of an answer with one.
#[derive(Clone, Copy, Debug)]
pub struct Honey<'a> {
    /// Whose records are decoys.
    pub subjects: &'a BTreeSet<SubjectId>,
    /// Whether the caller was allowed to read everybody there is: what is a decoy's then stays behind, as if it were not there, and the rest
    /// goes. It leaves nothing of a decoy either way.
    pub expected: bool,
}

/// What detectors need to know about one reply. Counts and names from the contract; never a value, never a name the contract
/// does not know, because a key of the origin's making may itself be someone's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records of subjects that the permit does not cover, and records that name two subjects.
    pub foreign: u32,
    /// Records whose subject is missing, not an id, or cannot be known.
    pub unbound: u32,
    /// Declared fields and list items that stayed.
    pub withheld: u32,
    /// Fields that the contract does not declare; they stayed.
    pub undeclared: u32,
    /// Declared fields that held another type than declared; they stayed.
    pub out_of_contract: BTreeSet<Box<str>>,
    /// Secrets masked in free text.
    pub secrets: u32,
}

impl Findings {
    fn add(&mut self, more: Self) {
        let Self { foreign, unbound, withheld, undeclared, out_of_contract, secrets } = more;
        self.foreign = self.foreign.saturating_add(foreign);
        self.unbound = self.unbound.saturating_add(unbound);
        self.withheld = self.withheld.saturating_add(withheld);
        self.undeclared = self.undeclared.saturating_add(undeclared);
        self.out_of_contract.extend(out_of_contract);
        self.secrets = self.secrets.saturating_add(secrets);
    }
}

/// The part of a reply that may leave, and whose data it is.
#[derive(Debug)]
pub struct Disclosed {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    touches: Vec<Touch>,
    classes: ClassSet,
    findings: Findings,
}

impl Disclosed {
    /// The origin's status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Released headers, names in lower case, with `content-type` if there is a body. No framing headers. None for a later batch of a
    /// stream.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The released body; empty, or valid JSON, or values of a stream in its form.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whose data leaves: sorted by pseudonym, each once, with the classes of theirs that leave.
    pub fn touches(&self) -> &[Touch] {
        &self.touches
    }

    /// Every class that leaves, those that are about no one included.
    pub fn classes(&self) -> ClassSet {
        self.classes
    }

    /// What was noticed.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Status, headers and body, for the one place that turns them into bytes.
    pub fn into_parts(self) -> (u16, Headers, Vec<u8>) {
        (self.status, self.headers, self.body)
    }
}

/// Nothing of a reply leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Why.
    pub because: WithheldBecause,
    /// What was noticed up to there.
    pub findings: Findings,
}

/// Why nothing of a reply leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithheldBecause {
    /// A record of a honey subject was in the answer. Goes before every other reason.
    Honey,
    /// The answer is about a subject that the permit does not cover, or about nobody knows whom. To the caller this is the same as
    /// "does not exist".
    NotYours,
    /// The exposure budget does not allow it.
    OverBudget,
    /// The body is not what the contract says.
    OutOfContract(BadBody),
    /// The subject vault could not answer.
    Unavailable,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Its content coding.
    #[error(transparent)]
    Coding(#[from] Undecodable),
    /// Its text.
    #[error(transparent)]
    Json(#[from] Invalid),
    /// A `content-type` or `content-encoding` that stands twice.
    #[error("a header that describes the body stands twice")]
    Headers,
    /// Not a final HTTP status.
    #[error("the status is not a final one")]
    Status,
    /// A line or an event that is too long, or an event with a line that two readers would end in two places.
    #[error("a value of the stream is too long or cannot be told from the next")]
    StreamValue,
}

/// Takes from `reply` what `permit` allows of it.
///
/// Only bodies of a declared JSON media type, under a declared status, leave anything; of them only fields that are classified, granted,
/// and part of a record of a covered subject (or of an object that the contract marks as about no one). All subjects are
/// charged to the budget before this returns.
///
/// # Errors
/// [`Withheld`]; nothing of the reply may leave, and nothing was charged.
///
/// # Panics
/// If `permit` was given for another operation than the matched one: our own bug, and what it permits is unknown.
pub fn disclose(
    reply: OriginReply,
    matched: &Match<'_>,
    permit: &Permit,
    guards: &mut Guards<'_>,
) -> Result<Disclosed, Withheld> {
    disclose_within(reply, matched, &allowance(permit, matched), guards)
}

/// Takes from some values of a stream what `permit` allows of them: [`disclose`], with a line or an event in the place of the body.
///
/// Each value is judged as an item of a list is: one of a subject that is not covered vanishes with its line, and so does one of which no
/// data is left. One that is not valid JSON withholds the whole batch. The first batch also answers for the reply: if it has nothing of
/// the caller's where a whole reply would be "not yours", it is too.
///
/// # Errors
/// [`Withheld`]; nothing of the batch may leave, nor of what follows it, and nothing was charged for it.
///
/// # Panics
/// If `permit` or the stream is of another operation than the matched one: our own bug.
pub fn disclose_batch(
    batch: OriginBatch,
    matched: &Match<'_>,
    permit: &Permit,
    guards: &mut Guards<'_>,
) -> Result<Disclosed, Withheld> {
    disclose_batch_within(batch, matched, &allowance(permit, matched), guards)
}

fn allowance<'a>(permit: &'a Permit, matched: &Match<'_>) -> Allowance<'a> {
    assert_eq!(permit.operation(), matched.operation.id(), "permit of another operation");
    Allowance {
        classes: permit.classes(),
        scope: permit.scope(),
        token_subject: permit.token_subject(),
    }
}

/// [`disclose`] without a permit around the allowance.
pub(crate) fn disclose_within(
    reply: OriginReply,
    matched: &Match<'_>,
    allowance: &Allowance<'_>,
    guards: &mut Guards<'_>,
) -> Result<Disclosed, Withheld> {
    let bound = matched.subject();
    if let Some(because) = asks_for_honey(&bound, reply.status, guards.honey) {
        return Err(withheld(because, Findings::default()));
    }
    let opened = open(reply, matched)
        .map_err(|bad| withheld(WithheldBecause::OutOfContract(bad), Findings::default()))?;
    let filtered =
        filter_value(&opened.body, opened.root, matched, allowance, &bound, guards.honey);
    let mut findings = filtered.findings;
    if filtered.honey {
        return Err(withheld(WithheldBecause::Honey, findings));
    }
    if let Err(invalid) = filtered.verdict {
        let because = WithheldBecause::OutOfContract(BadBody::Json(invalid));
        return Err(withheld(because, findings));
    }
    let reads_one = matched.operation.kind() == OperationKind::Read;
    let nothing_theirs = findings.foreign > 0 && filtered.touches.is_empty();
    if filtered.root_withheld || (reads_one && nothing_theirs) {
        return Err(withheld(WithheldBecause::NotYours, findings));
    }
    // Without a body no record was judged, and the subject that the path names has yet to be.
    let whose = match &bound {
        None => None,
        Some(Some(subject)) if opened.root.is_some() || allowance.covers(subject, false) => {
            Some(subject)
        }
        Some(_) => {
            findings.foreign = findings.foreign.saturating_add(1);
            return Err(withheld(WithheldBecause::NotYours, findings));
        }
    };

    let Opened { status, headers, mut body, answer, root, essence } = opened;
    mask(&mut body, &filtered.masks);
    filtered.keeps.apply(&mut body);
    let about_someone_known =
        whose.is_some() || matched.operation.subject == OperationSubject::Free;
    let (mut headers, header_classes) = match answer {
        Some(answer) if about_someone_known => {
            headers::released(headers, answer, allowance.classes)
        }
        _ => (Vec::new(), ClassSet::EMPTY),
    };
    if !body.is_empty() && root.is_some() {
        headers.push(("content-type".to_owned(), essence.into_bytes()));
    }

    let by_header = whose.filter(|_| !header_classes.is_empty());
    let touches =
        filtered.touches.into_iter().chain(by_header.map(|whose| (whose.clone(), header_classes)));
    let free_classes = filtered.free_classes.union(&header_classes);
    let leaving = Leaving { status, headers, body, free_classes, findings };
    settle(leaving, touches, allowance, guards)
}

/// [`disclose_batch`] without a permit around the allowance.
pub(crate) fn disclose_batch_within(
    batch: OriginBatch,
    matched: &Match<'_>,
    allowance: &Allowance<'_>,
    guards: &mut Guards<'_>,
) -> Result<Disclosed, Withheld> {
    let OriginBatch { stream, headers, values } = batch;
    let bound = matched.subject();
    if let Some(because) = asks_for_honey(&bound, stream.status, guards.honey) {
        return Err(withheld(because, Findings::default()));
    }
    let root = stream.plan(matched);
    assert!(root.is_some(), "a batch of another operation's stream");
    let coded = headers.as_ref().map_or(Ok(()), is_uncoded);
    coded.map_err(|bad| withheld(WithheldBecause::OutOfContract(bad), Findings::default()))?;

    let is_empty = values.is_empty();
    let mut body = Vec::new();
    let mut all = Filtered::nothing(Ok(()));
    for mut value in values {
        let filtered = filter_value(&value, root, matched, allowance, &bound, guards.honey);
        all.findings.add(filtered.findings);
        if filtered.honey {
            return Err(withheld(WithheldBecause::Honey, all.findings));
        }
        if let Err(invalid) = filtered.verdict {
            let because = WithheldBecause::OutOfContract(BadBody::Json(invalid));
            return Err(withheld(because, all.findings));
        }
        all.touches.extend(filtered.touches);
        all.free_classes = all.free_classes.union(&filtered.free_classes);
        // How many values there are without data is a count.
        if filtered.holds_data {
            mask(&mut value, &filtered.masks);
            filtered.keeps.apply(&mut value);
            stream.form.write(&value, &mut body);
        }
    }

    let mut released = Vec::new();
    if headers.is_some() {
        let reads_one = bound.is_some() || matched.operation.kind() == OperationKind::Read;
        let uncovered = match &bound {
            Some(Some(subject)) => is_empty && !allowance.covers(subject, false),
            Some(None) => true,
            None => false,
        };
        all.findings.foreign = all.findings.foreign.saturating_add(u32::from(uncovered));
        if uncovered || (reads_one && all.findings.foreign > 0 && all.touches.is_empty()) {
            return Err(withheld(WithheldBecause::NotYours, all.findings));
        }
    }
    if let Some(headers) = headers {
        let whose = bound.flatten();
        let answer = matched.operation.responses.answer(stream.status);
        let mut header_classes = ClassSet::EMPTY;
        if let Some(answer) = answer
            && (whose.is_some() || matched.operation.subject == OperationSubject::Free)
        {
            (released, header_classes) = headers::released(headers, answer, allowance.classes);
        }
        all.free_classes = all.free_classes.union(&header_classes);
        let by_header = whose.filter(|_| !header_classes.is_empty());
        all.touches.extend(by_header.map(|subject| (subject, header_classes)));
        released.push(("content-type".to_owned(), stream.essence.into_bytes()));
    }
    let leaving = Leaving {
        status: stream.status,
        headers: released,
        body,
        free_classes: all.free_classes,
        findings: all.findings,
    };
    settle(leaving, all.touches.into_iter(), allowance, guards)
}

/// What leaves if the budget allows it.
struct Leaving {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    /// Classes that leave and are about no one, or about whom the touches say.
    free_classes: ClassSet,
    findings: Findings,
}

/// The one place that makes a [`Disclosed`]: after all of its subjects were charged.
fn settle(
    leaving: Leaving,
    touches: impl Iterator<Item = (SubjectId, ClassSet)>,
    allowance: &Allowance<'_>,
    guards: &mut Guards<'_>,
) -> Result<Disclosed, Withheld> {
    let Leaving { status, headers, body, free_classes, findings } = leaving;
    let mut subjects: BTreeMap<SubjectId, ClassSet> = BTreeMap::new();
    let mut classes = free_classes;
    for (subject, kept) in touches {
        classes = classes.union(&kept);
        let all = subjects.entry(subject).or_default();
        *all = all.union(&kept);
    }
    assert!(classes.is_subset(allowance.classes), "a class leaves that is not granted");
    match charge(&subjects, guards) {
        Ok(touches) => Ok(Disclosed { status, headers, body, touches, classes, findings }),
        Err(because) => Err(withheld(because, findings)),
    }
}

fn asks_for_honey(
    bound: &Option<Option<SubjectId>>,
    status: u16,
    honey: Honey<'_>,
) -> Option<WithheldBecause> {
    let Some(Some(subject)) = bound else { return None };
    if !(200..300).contains(&status) || !honey.subjects.contains(subject) {
        return None;
    }
    Some(if honey.expected { WithheldBecause::NotYours } else { WithheldBecause::Honey })
}

fn mask(body: &mut [u8], masks: &[Range<usize>]) {
    for span in masks {
        if let Some(secret) = body.get_mut(span.clone()) {
            secret.fill(b'*');
        }
    }
}

/// A stream is read as it comes, so it is never decoded.
fn is_uncoded(headers: &Headers) -> Result<(), BadBody> {
    let coding = headers::only(headers, "content-encoding").map_err(|()| BadBody::Headers)?;
    match coding.map(<[u8]>::trim_ascii) {
        None | Some(b"" | b"identity") => Ok(()),
        Some(_) => Err(BadBody::Coding(Undecodable::Coding)),
    }
}

/// A reply with its body decoded and its plan found.
struct Opened<'a> {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// Empty unless `root` is there.
    body: Vec<u8>,
    answer: Option<&'a crate::contract::operation::Answer>,
    root: Option<NodeId>,
    /// The body's media type; empty if it has none.
    essence: String,
}

fn open<'a>(reply: OriginReply, matched: &Match<'a>) -> Result<Opened<'a>, BadBody> {
    let OriginReply { status, headers, body } = reply;
    if !(200..600).contains(&status) {
        return Err(BadBody::Status);
    }
    let answer = matched.operation.responses.answer(status);
    let essence = headers::only(&headers, "content-type")
        .map_err(|()| BadBody::Headers)?
        .and_then(headers::media_type)
        .unwrap_or_default();
    let root = answer
        .filter(|_| !body.is_empty() && headers::is_json(&essence))
        .and_then(|answer| answer.plan_for(&essence));
    let body = match root {
        None => Vec::new(),
        Some(_) => {
            let coding =
                headers::only(&headers, "content-encoding").map_err(|()| BadBody::Headers)?;
            encoding::decode(body, coding)?
        }
    };
    Ok(Opened { status, headers, body, answer, root, essence })
}

/// Filters one JSON text by the plan at `root`; without one, there is none to filter.
fn filter_value(
    text: &[u8],
    root: Option<NodeId>,
    matched: &Match<'_>,
    allowance: &Allowance<'_>,
    bound: &Option<Option<SubjectId>>,
    honey: Honey<'_>,
) -> Filtered {
    let Some(root) = root else { return Filtered::nothing(Ok(())) };
    let Ok(text) = std::str::from_utf8(text) else {
        return Filtered::nothing(Err(Invalid::NotUtf8));
    };
    if matches!(bound, Some(None)) {
        return Filtered::withheld_whole();
    }
    let attribute: Option<Pointer> = match allowance.scope {
        // A pointer that is none covers nobody: no record will hold the attribute.
        SubjectScope::Attribute { pointer, .. } => split_pointer(pointer).map(Into::into),
        SubjectScope::TokenSubject | SubjectScope::Consenting(_) | SubjectScope::All => None,
    };
    let question = Question {
        plan: matched.contract.plan(),
        root,
        allowance,
        attribute: attribute.as_ref(),
        honey,
        bound_to: bound.as_ref().and_then(Option::as_ref),
        subject_free: matched.operation.subject == OperationSubject::Free,
    };
    filter(text, question)
}

/// Looks every subject up, then charges all of them at once.
fn charge(
    subjects: &BTreeMap<SubjectId, ClassSet>,
    guards: &mut Guards<'_>,
) -> Result<Vec<Touch>, WithheldBecause> {
    let mut touches = Vec::with_capacity(subjects.len());
    let mut ordinals = Vec::with_capacity(subjects.len());
    for (subject, classes) in subjects {
        let (ordinal, pseudonym) =
            guards.subjects.row(subject).map_err(|Unavailable| WithheldBecause::Unavailable)?;
        ordinals.push(ordinal);
        touches.push(Touch { pseudonym, classes: *classes });
    }
    ordinals.sort_unstable();
    touches.sort_unstable();
    // Two subjects under one ordinal or pseudonym would be counted and told as one.
    assert!(ordinals.windows(2).all(|pair| pair.first() < pair.last()), "an ordinal stands twice");
    assert!(
        touches
            .windows(2)
            .all(|pair| pair.first().map(|t| t.pseudonym) < pair.last().map(|t| t.pseudonym)),
        "a pseudonym stands twice"
    );
    if !ordinals.is_empty() {
        guards.budget.charge(&ordinals).map_err(|OverBudget| WithheldBecause::OverBudget)?;
    }
    Ok(touches)
}

fn withheld(because: WithheldBecause, findings: Findings) -> Withheld {
    Withheld { because, findings }
}
