//! Records: objects that are about one subject. The subject's id may come after the fields, so a record is judged at its end.

use super::filter::Walk;
use super::keeps::Mark;
use crate::contract::plan::Pointer;
use model::{ClassSet, SubjectId, SubjectScope};

/// A record whose end has not been reached.
#[derive(Debug)]
pub(crate) struct OpenRecord {
    /// Ids still to be found.
    pub(crate) missing: usize,
    /// What the ids found so far say.
    pub(crate) subject: Named,
    /// The attribute that the scope asks for was found with the right value.
    pub(crate) attribute: bool,
    /// Where to return to if it is withheld.
    pub(crate) mark: Mark,
    pub(crate) touches_before: usize,
    pub(crate) masks_before: usize,
    /// The classes kept so far of the record around it.
    pub(crate) outer_classes: ClassSet,
}

/// Whom a record's ids name.
#[derive(Debug)]
pub(crate) enum Named {
    Nobody,
    One(SubjectId),
    /// Its ids name different subjects.
    Several,
    /// One of its ids is not an id, or its variants keep theirs in different places.
    Unclear,
}

impl Named {
    /// Takes one more id into account.
    pub(crate) fn and(&mut self, id: Option<SubjectId>) {
        let joined = match (std::mem::replace(self, Self::Unclear), id) {
            (Self::Nobody, Some(id)) => Self::One(id),
            (Self::One(known), Some(id)) if known == id => Self::One(known),
            (Self::One(_) | Self::Several, Some(_)) => Self::Several,
            (Self::Unclear, _) | (_, None) => Self::Unclear,
        };
        *self = joined;
    }
}

/// A pointer being followed from its record down to a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracker<'a> {
    /// The record's place among the open ones.
    pub(crate) record: usize,
    pub(crate) aim: Aim,
    pub(crate) pointer: &'a Pointer,
    /// Segments already passed.
    pub(crate) passed: usize,
}

/// What the value at the end of a pointer is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Subject,
    Attribute,
}

impl<'a> Walk<'a> {
    /// Opens a record for the object about to be read, or adds its ids to the record that is already open for it.
    /// `pointers`: where its ids are; `None` if that cannot be said. Returns the record if it was opened here.
    pub(super) fn bind(
        &mut self,
        joined: Option<usize>,
        pointers: Option<&'a [Pointer]>,
    ) -> Option<usize> {
        let record = match joined {
            Some(record) => record,
            None => self.open_record(Named::Nobody),
        };
        if let Some(open) = self.records.get_mut(record) {
            match pointers {
                Some(pointers) => open.missing += pointers.len(),
                None => open.subject = Named::Unclear,
            }
        }
        for pointer in pointers.unwrap_or_default() {
            self.trackers.push(Tracker { record, aim: Aim::Subject, pointer, passed: 0 });
        }
        if joined.is_some() { None } else { Some(record) }
    }

    pub(super) fn open_record(&mut self, subject: Named) -> usize {
        self.records.push(OpenRecord {
            missing: 0,
            subject,
            attribute: false,
            mark: self.keeps.mark(),
            touches_before: self.touches.len(),
            masks_before: self.masks.len(),
            outer_classes: std::mem::replace(&mut self.classes, ClassSet::EMPTY),
        });
        self.records.len() - 1
    }

    /// Judges the innermost open record; returns whether it stays.
    pub(super) fn close_record(&mut self) -> bool {
        let Some(record) = self.records.pop() else { return false };
        let classes = std::mem::replace(&mut self.classes, record.outer_classes);
        match record.subject {
            // An expected decoy stays behind without a word.
            Named::One(subject)
                if self.question.honey.expected
                    && self.question.honey.subjects.contains(&subject) => {}
            Named::One(subject) if record.missing == 0 => {
                if self.question.allowance.covers(&subject, record.attribute) {
                    if !classes.is_empty() {
                        self.touches.push((subject, classes));
                    }
                    return true;
                }
                self.findings.foreign = self.findings.foreign.saturating_add(1);
            }
            // The origin mixed two people up: what came is somebody else's.
            Named::Several => self.findings.foreign = self.findings.foreign.saturating_add(1),
            Named::Nobody | Named::One(_) | Named::Unclear => {
                self.findings.unbound = self.findings.unbound.saturating_add(1);
            }
        }
        self.keeps.restore(record.mark);
        self.touches.truncate(record.touches_before);
        self.masks.truncate(record.masks_before);
        false
    }

    /// Lets the trackers of this object that want the member `name` look into its value.
    pub(super) fn follow(&mut self, trackers: usize, name: &[u8]) {
        for place in trackers..self.trackers.len() {
            let Some(tracker) = self.trackers.get(place).copied() else { return };
            let wanted = tracker.pointer.get(tracker.passed);
            if wanted.is_some_and(|wanted| wanted.as_bytes() == name) {
                self.trackers.push(Tracker { passed: tracker.passed + 1, ..tracker });
            }
        }
    }

    /// Hands the scalar `said` to the trackers that lead exactly here. `is_id`: it may be a subject's id.
    pub(super) fn capture(&mut self, trackers: usize, said: &[u8], is_id: bool) {
        for place in trackers..self.trackers.len() {
            let Some(tracker) = self.trackers.get(place).copied() else { return };
            if tracker.passed != tracker.pointer.len() {
                continue;
            }
            let text = std::str::from_utf8(said).ok();
            match tracker.aim {
                Aim::Subject => {
                    let subject = text.filter(|_| is_id).and_then(SubjectId::new);
                    if let Some(subject) = &subject {
                        self.meet(subject);
                    }
                    if let Some(record) = self.records.get_mut(tracker.record) {
                        record.missing = record.missing.saturating_sub(1);
                        record.subject.and(subject);
                    }
                }
                Aim::Attribute => {
                    if let SubjectScope::Attribute { value, .. } = self.question.allowance.scope
                        && let Some(record) = self.records.get_mut(tracker.record)
                    {
                        record.attribute = text == Some(value);
                    }
                }
            }
        }
    }

    fn meet(&mut self, subject: &SubjectId) {
        let honey = self.question.honey;
        self.honey |= !honey.expected && honey.subjects.contains(subject);
    }
}
