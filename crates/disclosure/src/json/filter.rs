//! The field filter: walks a body once beside its plan and keeps what is classified, granted and about a covered subject.
//!
//! What is kept is kept as spans of the original bytes: a member with the text from its key to its value, and the separator that
//! preceded it if another member was kept before; brackets with the white space before the closing one. So a body of which everything
//! may leave comes out byte for byte, and nothing is ever re-ordered or re-formatted. Objects without data inside become `{}`; list
//! items without data go, because how many there are is a count. A member that has no data left stays only if the permit has a class
//! that stands somewhere below it in the schema: to anyone else, that it is there is news.
//!
//! A record is judged at its end, when its subject is known, and taken back whole if it is not covered. Nothing of the result may
//! be used unless the whole body was valid.

use super::keeps::Keeps;
use super::record::{Aim, Named, OpenRecord, Tracker};
use super::scan::{Invalid, Scanner, Text, unescape};
use crate::contract::plan::{
    Leaf, Node, NodeId, ObjectPlan, Plan, Pointer, SubjectRule, fingerprint,
};
use crate::release::{Findings, Honey};
use crate::scope::Allowance;
use crate::secrets;
use model::{ClassSet, SubjectId};
use std::ops::Range;

/// Deepest nesting of objects and lists; the recursion of the walk is bounded by it. `serde_json` stops at the same depth.
const DEPTH_MAX: usize = 128;

/// Objects with more undeclared keys than this are searched for duplicates by sorting, not by comparing pairs.
const PAIRS_MAX: usize = 16;

/// What the filter is told about one body.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) root: NodeId,
    pub(crate) allowance: &'a Allowance<'a>,
    /// The value of an attribute scope's pointer, split.
    pub(crate) attribute: Option<&'a Pointer>,
    pub(crate) honey: Honey<'a>,
    /// The subject that the request's path names as this response's.
    pub(crate) bound_to: Option<&'a SubjectId>,
    /// Objects outside any record are about no one.
    pub(crate) subject_free: bool,
}

/// What came of one body.
#[derive(Debug)]
pub(crate) struct Filtered {
    /// Whether the body was valid to its end. If not, only `honey` and `findings` mean anything.
    pub(crate) verdict: Result<(), Invalid>,
    pub(crate) keeps: Keeps,
    pub(crate) masks: Vec<Range<usize>>,
    /// One entry per record kept; a subject may stand more than once.
    pub(crate) touches: Vec<(SubjectId, ClassSet)>,
    /// Classes kept outside any record.
    pub(crate) free_classes: ClassSet,
    /// Some scalar was kept, so that what leaves is more than brackets.
    pub(crate) holds_data: bool,
    /// The whole answer is one record, and it was withheld.
    pub(crate) root_withheld: bool,
    /// A record of a honey subject was met.
    pub(crate) honey: bool,
    pub(crate) findings: Findings,
}

impl Filtered {
    /// Nothing was kept, because there was no body to read, or it could not be read.
    pub(crate) fn nothing(verdict: Result<(), Invalid>) -> Self {
        Self {
            verdict,
            keeps: Keeps::default(),
            masks: Vec::new(),
            touches: Vec::new(),
            free_classes: ClassSet::EMPTY,
            holds_data: false,
            root_withheld: false,
            honey: false,
            findings: Findings::default(),
        }
    }

    /// Nothing was kept, because the whole answer is a record of nobody.
    pub(crate) fn withheld_whole() -> Self {
        let findings = Findings { unbound: 1, ..Findings::default() };
        Self { root_withheld: true, findings, ..Self::nothing(Ok(())) }
    }
}

/// Filters `body`.
pub(crate) fn filter(body: &str, question: Question<'_>) -> Filtered {
    let mut walk = Walk {
        scan: Scanner::new(body),
        question,
        keeps: Keeps::default(),
        masks: Vec::new(),
        seen: Vec::new(),
        keys: Vec::new(),
        escaped_keys: Vec::new(),
        trackers: Vec::new(),
        records: Vec::new(),
        classes: ClassSet::EMPTY,
        touches: Vec::new(),
        field: "",
        holds_data: false,
        root_withheld: false,
        honey: false,
        findings: Findings::default(),
    };
    let verdict = walk.body();
    walk.findings.secrets = u32::try_from(walk.masks.len()).unwrap_or(u32::MAX);
    Filtered {
        verdict,
        keeps: walk.keeps,
        masks: walk.masks,
        touches: walk.touches,
        free_classes: walk.classes,
        holds_data: walk.holds_data,
        root_withheld: walk.root_withheld,
        honey: walk.honey,
        findings: walk.findings,
    }
}

/// What is left of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Nothing,
    /// Brackets only.
    Hollow,
    Data,
}

/// Whose the scalars of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Nobody knows; they stay.
    Nobody,
    /// No one's, as the contract says.
    Free,
    /// The innermost open record's.
    Record,
}

pub(super) struct Walk<'a> {
    pub(super) scan: Scanner<'a>,
    pub(super) question: Question<'a>,
    pub(super) keeps: Keeps,
    pub(super) masks: Vec<Range<usize>>,
    /// One bit per declared field, for each open object.
    pub(super) seen: Vec<u64>,
    /// Undeclared keys and their prints, for each open object: those written without escapes, and those with.
    pub(super) keys: Vec<(u64, &'a [u8])>,
    pub(super) escaped_keys: Vec<(u64, Vec<u8>)>,
    pub(super) trackers: Vec<Tracker<'a>>,
    pub(super) records: Vec<OpenRecord>,
    /// Classes kept of the innermost open record.
    pub(super) classes: ClassSet,
    pub(super) touches: Vec<(SubjectId, ClassSet)>,
    /// The declared field being read.
    pub(super) field: &'a str,
    pub(super) holds_data: bool,
    pub(super) root_withheld: bool,
    pub(super) honey: bool,
    pub(super) findings: Findings,
}

impl<'a> Walk<'a> {
    fn body(&mut self) -> Result<(), Invalid> {
        let question = self.question;
        let node = question.plan.node(question.root);
        self.scan.skip_whitespace();
        let before = self.keeps.mark();
        let record = question.bound_to.map(|subject| self.open_record(Named::One(subject.clone())));
        let within = match (record, question.subject_free) {
            (Some(_), _) => Within::Record,
            (None, true) => Within::Free,
            (None, false) => Within::Nobody,
        };
        self.keeps.keep(0, self.scan.at());
        let mut kept = match self.scan.peek() {
            Some(b'{') => self.object(node, within, 0, 0, record)?,
            _ => self.value(node, within, 0, 0)?,
        };
        if record.is_some() && !self.close_record() {
            kept = Kept::Nothing;
            self.root_withheld = true;
        }
        let end = self.scan.at();
        self.scan.end()?;
        self.holds_data = kept == Kept::Data;
        if kept == Kept::Nothing {
            self.keeps.restore(before);
        } else {
            self.keeps.keep(end, self.scan.at());
        }
        Ok(())
    }

    /// Reads one value and keeps what may be kept of it. Trackers from `trackers` on look into it.
    fn value(
        &mut self,
        node: Option<&'a Node>,
        within: Within,
        trackers: usize,
        depth: usize,
    ) -> Result<Kept, Invalid> {
        let start = self.scan.at();
        let leaf = match self.scan.peek() {
            Some(b'"') => {
                let text = self.scan.string()?;
                if trackers < self.trackers.len() {
                    let raw = self.scan.inside(text);
                    if text.escaped {
                        self.capture(trackers, &unescape(raw, |_, _| {}), true);
                    } else {
                        self.capture(trackers, raw, true);
                    }
                }
                let kept = self.scalar(node, node.map(|node| node.string), within, start);
                if kept == Kept::Data && node.is_some_and(|node| node.free_text) {
                    self.mask(text);
                }
                return Ok(kept);
            }
            Some(b'{') => return self.object(node, within, trackers, depth, None),
            Some(b'[') => return self.array(node, within, depth),
            Some(b't' | b'f') => {
                let word: &[u8] = if self.scan.peek() == Some(b't') { b"true" } else { b"false" };
                self.scan.literal(word)?;
                self.capture(trackers, word, false);
                node.map(|node| node.boolean)
            }
            Some(b'n') => {
                self.scan.literal(b"null")?;
                // A null where a structure is declared is an absence, not a mismatch.
                match node.map(|node| node.null) {
                    Some(Leaf::Undeclared) => return Ok(Kept::Nothing),
                    leaf => leaf,
                }
            }
            Some(_) => {
                let canonical = self.scan.number()?;
                if trackers < self.trackers.len() {
                    let said = self.scan.slice(start, self.scan.at());
                    self.capture(trackers, said, canonical);
                }
                node.map(|node| node.number)
            }
            None => return Err(Invalid::Truncated),
        };
        Ok(self.scalar(node, leaf, within, start))
    }

    /// Keeps the scalar between `start` and here if its leaf is granted.
    fn scalar(
        &mut self,
        node: Option<&'a Node>,
        leaf: Option<Leaf>,
        within: Within,
        start: usize,
    ) -> Kept {
        let Some(leaf) = leaf else { return Kept::Nothing };
        if leaf == Leaf::Undeclared && node.is_some() {
            self.mismatch();
        }
        match self.question.plan.needs(leaf) {
            Some(needs)
                if within != Within::Nobody && needs.is_subset(self.question.allowance.classes) =>
            {
                self.classes = self.classes.union(needs);
                self.keeps.keep(start, self.scan.at());
                Kept::Data
            }
            _ => Kept::Nothing,
        }
    }

    /// Reads one object. `joined`: the open record that this object, the root, is the record of.
    fn object(
        &mut self,
        node: Option<&'a Node>,
        within: Within,
        trackers: usize,
        depth: usize,
        joined: Option<usize>,
    ) -> Result<Kept, Invalid> {
        if depth >= DEPTH_MAX {
            return Err(Invalid::TooDeep);
        }
        let plan = node.and_then(|node| self.question.plan.object(node));
        if let (Some(node), None) = (node, plan) {
            if node.takes_scalar() {
                return Err(Invalid::StructureForScalar);
            }
            self.mismatch();
        }
        let own_trackers = self.trackers.len();
        let (within, record) = match plan.map(|plan| &plan.subject) {
            None | Some(SubjectRule::Inherit) => (within, None),
            Some(SubjectRule::Free) if within == Within::Nobody => (Within::Free, None),
            Some(SubjectRule::Free) => (within, None),
            Some(SubjectRule::Ambiguous) => (Within::Record, self.bind(joined, None)),
            Some(SubjectRule::Pointers(pointers)) => {
                (Within::Record, self.bind(joined, Some(pointers)))
            }
        };
        if let (Some(pointer), Some(record)) = (self.question.attribute, joined.or(record)) {
            self.trackers.push(Tracker { record, aim: Aim::Attribute, pointer, passed: 0 });
        }
        let kept = self.members(plan, within, trackers, depth)?;
        self.trackers.truncate(own_trackers);
        if record.is_some() && !self.close_record() {
            if depth == 0 {
                self.root_withheld = true;
            }
            return Ok(Kept::Nothing);
        }
        Ok(kept)
    }

    fn members(
        &mut self,
        plan: Option<&'a ObjectPlan>,
        within: Within,
        trackers: usize,
        depth: usize,
    ) -> Result<Kept, Invalid> {
        let seen = self.seen.len();
        let (keys, escaped_keys) = (self.keys.len(), self.escaped_keys.len());
        self.seen.resize(seen + plan.map_or(0, |plan| plan.fields().len().div_ceil(64)), 0);
        let start = self.scan.at();
        self.scan.expect(b'{')?;
        let mut resume = self.scan.at();
        if plan.is_some() {
            self.keeps.keep(start, resume);
        }
        let mut kept_any = false;
        let mut kept = if plan.is_some() { Kept::Hollow } else { Kept::Nothing };
        loop {
            let gap = self.scan.at();
            self.scan.skip_whitespace();
            if gap == start + 1 && self.scan.peek() == Some(b'}') {
                break;
            }
            let key = self.scan.string()?;
            let decoded = key.escaped.then(|| unescape(self.scan.inside(key), |_, _| {}));
            let name = decoded.as_deref().unwrap_or_else(|| self.scan.inside(key));
            self.scan.skip_whitespace();
            self.scan.expect(b':')?;
            self.scan.skip_whitespace();
            let inner_trackers = self.trackers.len();
            if trackers < inner_trackers {
                self.follow(trackers, name);
            }
            let print = fingerprint(name);
            match self.declared(plan, seen, name, print)? {
                None => {
                    match decoded {
                        Some(name) => self.escaped_keys.push((print, name)),
                        None => self.keys.push((print, self.scan.inside(key))),
                    }
                    self.value(None, Within::Nobody, inner_trackers, depth + 1)?;
                    // Inside something undeclared already, only the outermost name counts.
                    if plan.is_some() {
                        self.findings.undeclared = self.findings.undeclared.saturating_add(1);
                    }
                }
                Some((field, child)) => {
                    self.field = field;
                    let before = self.keeps.mark();
                    self.keeps.keep(if kept_any { resume } else { gap }, self.scan.at());
                    match self.value(Some(child), within, inner_trackers, depth + 1)? {
                        Kept::Data => {
                            kept_any = true;
                            kept = Kept::Data;
                        }
                        Kept::Hollow if self.grants_some_of(child) => kept_any = true,
                        Kept::Hollow | Kept::Nothing => {
                            self.keeps.restore(before);
                            self.findings.withheld = self.findings.withheld.saturating_add(1);
                        }
                    }
                }
            }
            self.trackers.truncate(inner_trackers);
            resume = self.scan.at();
            self.scan.skip_whitespace();
            if self.scan.peek() != Some(b',') {
                break;
            }
            self.scan.expect(b',')?;
        }
        self.scan.expect(b'}')?;
        if plan.is_some() {
            self.keeps.keep(resume, self.scan.at());
        }
        self.refuse_duplicates(keys, escaped_keys)?;
        self.keys.truncate(keys);
        self.escaped_keys.truncate(escaped_keys);
        self.seen.truncate(seen);
        Ok(kept)
    }

    /// Whether the permit has a class that stands at or below `node`.
    fn grants_some_of(&self, node: &Node) -> bool {
        !node.below.intersection(self.question.allowance.classes).is_empty()
    }

    fn array(
        &mut self,
        node: Option<&'a Node>,
        within: Within,
        depth: usize,
    ) -> Result<Kept, Invalid> {
        if depth >= DEPTH_MAX {
            return Err(Invalid::TooDeep);
        }
        let items = node.and_then(|node| node.items);
        if let (Some(node), None) = (node, items) {
            if node.takes_scalar() {
                return Err(Invalid::StructureForScalar);
            }
            self.mismatch();
        }
        let item = items.and_then(|items| self.question.plan.node(items));
        let field = self.field;
        let start = self.scan.at();
        self.scan.expect(b'[')?;
        let mut resume = self.scan.at();
        if item.is_some() {
            self.keeps.keep(start, resume);
        }
        let mut kept = if item.is_some() { Kept::Hollow } else { Kept::Nothing };
        loop {
            let gap = self.scan.at();
            self.scan.skip_whitespace();
            if gap == start + 1 && self.scan.peek() == Some(b']') {
                break;
            }
            let before = self.keeps.mark();
            if item.is_some() {
                self.field = field;
                self.keeps.keep(if kept == Kept::Data { resume } else { gap }, self.scan.at());
            }
            match self.value(item, within, self.trackers.len(), depth + 1)? {
                Kept::Data => kept = Kept::Data,
                Kept::Hollow | Kept::Nothing => {
                    self.keeps.restore(before);
                    if item.is_some() {
                        self.findings.withheld = self.findings.withheld.saturating_add(1);
                    }
                }
            }
            resume = self.scan.at();
            self.scan.skip_whitespace();
            if self.scan.peek() != Some(b',') {
                break;
            }
            self.scan.expect(b',')?;
        }
        self.scan.expect(b']')?;
        if item.is_some() {
            self.keeps.keep(resume, self.scan.at());
        }
        Ok(kept)
    }

    /// The declared field called `name`, if there is one. `print` is the name's fingerprint.
    fn declared(
        &mut self,
        plan: Option<&'a ObjectPlan>,
        seen: usize,
        name: &[u8],
        print: u64,
    ) -> Result<Option<(&'a str, &'a Node)>, Invalid> {
        let Some((plan, (index, node))) =
            plan.and_then(|plan| plan.find(name, print).map(|found| (plan, found)))
        else {
            return Ok(None);
        };
        let bit = 1 << (index % 64);
        if let Some(word) = self.seen.get_mut(seen + index / 64) {
            if *word & bit != 0 {
                return Err(Invalid::DuplicateKey);
            }
            *word |= bit;
        }
        let field = plan.fields().get(index).map_or("", |(name, _)| name);
        Ok(self.question.plan.node(node).map(|node| (field, node)))
    }

    /// Refuses if two undeclared keys from `first` and `first_escaped` on are equal. Sorting, not hashing: no input makes it
    /// quadratic, and no random seed is needed to say so.
    fn refuse_duplicates(&mut self, first: usize, first_escaped: usize) -> Result<(), Invalid> {
        let escaped = self.escaped_keys.get(first_escaped..).unwrap_or_default();
        let keys = self.keys.get_mut(first..).unwrap_or_default();
        let twice = if !escaped.is_empty() {
            let escaped = escaped.iter().map(|(print, key)| (*print, key.as_slice()));
            let mut all: Vec<(u64, &[u8])> = keys.iter().copied().chain(escaped).collect();
            all.sort_unstable();
            has_equal_neighbours(&all)
        } else if keys.len() <= PAIRS_MAX {
            keys.iter().enumerate().any(|(index, key)| {
                keys.iter().take(index).any(|other| other.0 == key.0 && other.1 == key.1)
            })
        } else {
            keys.sort_unstable();
            has_equal_neighbours(keys)
        };
        if twice { Err(Invalid::DuplicateKey) } else { Ok(()) }
    }

    fn mismatch(&mut self) {
        if !self.findings.out_of_contract.contains(self.field) {
            self.findings.out_of_contract.insert(self.field.into());
        }
    }

    /// Marks the secrets in a kept string.
    fn mask(&mut self, text: Text) {
        let inside = text.start + 1;
        let raw = self.scan.slice(inside, text.end - 1);
        for secret in secrets::find_in_json(raw, text.escaped) {
            self.masks.push(inside + secret.start..inside + secret.end);
        }
    }
}

fn has_equal_neighbours(keys: &[(u64, &[u8])]) -> bool {
    keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}
