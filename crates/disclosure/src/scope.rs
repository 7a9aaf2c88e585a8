//! Whose records one reply may hold: the permit's subject scope, tested on one record at a time.

use model::{ClassSet, SubjectId, SubjectScope};

/// What one reply may disclose: the part of a permit that the filter needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance<'a> {
    pub(crate) classes: &'a ClassSet,
    pub(crate) scope: &'a SubjectScope,
    pub(crate) token_subject: Option<&'a SubjectId>,
}

impl Allowance<'_> {
    /// Whether a record of `subject` is covered. `attribute`: the record itself holds the value that an attribute scope asks for.
    pub(crate) fn covers(&self, subject: &SubjectId, attribute: bool) -> bool {
        match self.scope {
            SubjectScope::TokenSubject => self.token_subject == Some(subject),
            SubjectScope::Consenting(subjects) => subjects.contains(subject),
            SubjectScope::Attribute { .. } => attribute,
            SubjectScope::All => true,
        }
    }
}
