//! The decision point's answer: what may leave, whose, how much and until when.

use model::{
    Budget, ClassSet, ConsentId, Grant, IntegrationId, OperationId, Purpose, SubjectId,
    SubjectScope, UnixMicros,
};
use std::sync::Arc;

/// Proof that the rules allow this caller this operation. Minted only by [`crate::decide()`].
///
/// It does not prove that posture still allows it when the bytes leave; that is the passage's part.
#[derive(Clone, Debug)]
pub struct Permit {
    grant: Arc<Grant>,
    operation: OperationId,
    classes: ClassSet,
    token_subject: Option<SubjectId>,
    consent: Option<ConsentId>,
    budget: Budget,
    valid_until: UnixMicros,
}

impl Permit {
    /// The one constructor, for [`crate::decide()`].
    pub(crate) fn mint(
        grant: Arc<Grant>,
        operation: OperationId,
        classes: ClassSet,
        token_subject: Option<SubjectId>,
        consent: Option<ConsentId>,
        budget: Budget,
        valid_until: UnixMicros,
    ) -> Self {
        assert!(classes.is_subset(&grant.classes), "a permit for more than its grant");
        Self { grant, operation, classes, token_subject, consent, budget, valid_until }
    }

    /// Who may read.
    pub fn integration(&self) -> IntegrationId {
        self.grant.integration
    }

    /// The grant it rests on.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// The one operation it is for.
    pub fn operation(&self) -> &OperationId {
        &self.operation
    }

    /// What may leave: within the grant's classes, the operation's, and those that no policy forbids.
    pub fn classes(&self) -> &ClassSet {
        &self.classes
    }

    /// Why.
    pub fn purpose(&self) -> &Purpose {
        &self.grant.purpose
    }

    /// Whose records; tested on each.
    pub fn scope(&self) -> &SubjectScope {
        &self.grant.scope
    }

    /// The subject the token names; always some where [`Permit::scope`] is [`SubjectScope::TokenSubject`].
    pub fn token_subject(&self) -> Option<&SubjectId> {
        self.token_subject.as_ref()
    }

    /// The consent of that subject that it rests on, if it rests on one.
    pub fn consent(&self) -> Option<ConsentId> {
        self.consent
    }

    /// How many distinct subjects: the grant's budget, or a tenth of it while the integration is restricted.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// The first moment at which it no longer holds: the earliest of token, consent, grant and approval running out.
    pub fn valid_until(&self) -> UnixMicros {
        self.valid_until
    }
}
