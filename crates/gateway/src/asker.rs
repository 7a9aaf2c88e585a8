//! A request whose sender was proved, as guards and detectors see it.

use crate::request::Request;
use credential::Caller;
use detection::{Asked, Inner, KeyedHash, Observation};
use disclosure::Operation;
use model::{ClassSet, OperationKind, UnixMicros};
use sever::Bearing;

/// Whose request it is, and what it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) bearing: Bearing,
    /// Whether nothing but its token speaks for it.
    pub(crate) is_bearer: bool,
    /// A hash of the consent or the subject that the token speaks for.
    pub(crate) token: Option<u64>,
    /// Whether it comes from a network with a bad name, which was not bad enough to refuse it.
    is_doubtful: bool,
    kind: OperationKind,
    /// A hash of what it asked for: path and query.
    probe: u64,
}

impl Asker {
    pub(crate) fn of(
        caller: &Caller,
        operation: &Operation,
        request: &Request,
        hash: KeyedHash,
        is_doubtful: bool,
    ) -> Self {
        let consent = caller.consent().map(|consent| hash.of(consent.as_bytes()));
        let subject = || caller.subject().map(|subject| hash.of(subject.as_str().as_bytes()));
        let target = [request.target.path(), request.target.query().unwrap_or_default()];
        Self {
            bearing: Bearing {
                vendor: caller.vendor(),
                integration: caller.integration(),
                credential: caller.credential(),
                grant: caller.grant(),
                operation: operation.id().clone(),
                network: caller.network(),
                consent: caller.consent(),
            },
            is_bearer: caller.is_bearer(),
            token: consent.or_else(subject),
            is_doubtful,
            kind: operation.kind(),
            probe: hash.of(target.join("?").as_bytes()),
        }
    }

    /// What detectors are told of it.
    pub(crate) fn observed<'a>(
        &'a self,
        outcome: Inner,
        subjects: &'a [Asked],
        at: UnixMicros,
    ) -> Observation<'a> {
        Observation {
            at,
            integration: self.bearing.integration,
            credential: self.bearing.credential,
            grant: self.bearing.grant,
            network: self.bearing.network,
            token: self.token,
            is_bearer: self.is_bearer,
            is_doubtful: self.is_doubtful,
            names_subjects: false,
            operation: &self.bearing.operation,
            kind: self.kind,
            outcome,
            subjects,
            classes: ClassSet::EMPTY,
            probe: Some(self.probe),
        }
    }
}
