//! The decision: native predicates of the grant first, then the policies, class by class, from the memo.

use crate::consents::InForce;
use crate::policies::{Question, Ruling, Standing};
use crate::{ConsentBook, OperationFacts, Permit, Policies};
use credential::Caller;
use model::{
    Budget, ClassSet, ConsentId, Directory, Grant, GrantId, Integration, IntegrationId,
    IntegrationState, OperationId, Refusal, SubjectId, SubjectScope, UnixMicros,
};
use std::sync::Arc;

/// Why the rules said no. For the operator; the integration sees [`Refused::refusal`]'s code only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token outlived its integration's registration.
    #[error("integration {0} is not registered")]
    UnknownIntegration(IntegrationId),
    /// The integration may not read in this state.
    #[error("integration {integration} is {state}")]
    NotApproved {
        /// Who asked.
        integration: IntegrationId,
        /// Its state in one word.
        state: &'static str,
    },
    /// The approval ran out.
    #[error("the approval of integration {integration} ran out at {until}")]
    ApprovalExpired {
        /// Who asked.
        integration: IntegrationId,
        /// The first moment without approval.
        until: UnixMicros,
    },
    /// The grant was withdrawn, or never was.
    #[error("grant {0} is not in force")]
    UnknownGrant(GrantId),
    /// The token names a grant of somebody else.
    #[error("grant {grant} does not belong to integration {integration}")]
    GrantOfAnother {
        /// The grant.
        grant: GrantId,
        /// Who asked.
        integration: IntegrationId,
    },
    /// The grant ran out.
    #[error("grant {grant} ran out at {at}")]
    GrantExpired {
        /// The grant.
        grant: GrantId,
        /// The first moment without it.
        at: UnixMicros,
    },
    /// An integration in the sandbox reads named subjects and nobody else.
    #[error(
        "integration {integration} is in the sandbox, and grant {grant} is not of named subjects"
    )]
    SandboxOnly {
        /// Who asked.
        integration: IntegrationId,
        /// The grant.
        grant: GrantId,
    },
    /// The token ran out between authentication and decision.
    #[error("the token ran out at {0}")]
    TokenExpired(UnixMicros),
    /// The subject took its consent back, or it ran out.
    #[error("consent {0} is not in force")]
    ConsentOver(ConsentId),
    /// The subject agreed to less than the grant covers.
    #[error("operation `{operation}` is not in consent {consent}")]
    OperationNotConsented {
        /// The consent.
        consent: ConsentId,
        /// What was asked for.
        operation: OperationId,
    },
    /// The grant does not cover the operation.
    #[error("operation `{operation}` is not in grant {grant}")]
    OperationNotGranted {
        /// The grant.
        grant: GrantId,
        /// What was asked for.
        operation: OperationId,
    },
    /// The grant is for the token's subject, and the token names none.
    #[error("grant {0} needs a token that names a subject")]
    NoTokenSubject(GrantId),
    /// Nothing is left of what the operation returns.
    #[error("nothing of `{operation}` is permitted under grant {grant}{}", by_policy(.forbidden_by))]
    NothingPermitted {
        /// The grant.
        grant: GrantId,
        /// What was asked for.
        operation: OperationId,
        /// The first policy that forbade a class, if one did.
        forbidden_by: Option<Arc<str>>,
    },
    /// A policy failed while it was evaluated. Cedar would skip it, and a skipped `forbid` permits; so nothing leaves.
    #[error("policy `{policy}` failed during the decision on `{operation}`")]
    PolicyFailed {
        /// Its `@id`.
        policy: Arc<str>,
        /// What was asked for.
        operation: OperationId,
    },
}

fn by_policy(id: &Option<Arc<str>>) -> String {
    id.as_ref().map_or(String::new(), |id| format!("; policy `{id}` forbids it"))
}

impl Refused {
    /// What the record says of it.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NotApproved { state: "severed", .. } => Refusal::Severed,
            Self::TokenExpired(_) => Refusal::Unauthenticated,
            Self::PolicyFailed { .. } => Refusal::Unavailable,
            Self::UnknownIntegration(_)
            | Self::NotApproved { .. }
            | Self::ApprovalExpired { .. }
            | Self::UnknownGrant(_)
            | Self::GrantOfAnother { .. }
            | Self::GrantExpired { .. }
            | Self::SandboxOnly { .. }
            | Self::ConsentOver(_)
            | Self::OperationNotConsented { .. }
            | Self::OperationNotGranted { .. }
            | Self::NoTokenSubject(_)
            | Self::NothingPermitted { .. } => Refusal::NotPermitted,
        }
    }
}

/// Decides what `caller` may read through `operation`.
///
/// `directory`: the registry as it stands; `policies`: compiled from this or an earlier reading of it. State, tier,
/// expiry and the grant itself are always taken from `directory`, so a reading newer than the policies narrows at once,
/// and what it widens waits for the next [`Policies::compile`]. Two different readings never have the same revision.
///
/// # Errors
/// Every [`Refused`] ends the request. [`Refused::PolicyFailed`] is our fault, the others the caller's or the rules'.
pub fn decide(
    caller: &Caller,
    operation: &OperationFacts<'_>,
    directory: &Directory,
    policies: &Policies,
    consents: &ConsentBook,
    restricted: bool,
    now: UnixMicros,
) -> Result<Permit, Refused> {
    let asking = Asking {
        restricted,
        integration: caller.integration(),
        grant: caller.grant(),
        subject: caller.subject(),
        consent: caller.consent(),
        token_expires: caller.token_expires(),
    };
    weigh(&asking, operation, directory, policies, consents, now)
}

/// The part of a [`Caller`] that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) integration: IntegrationId,
    pub(crate) grant: GrantId,
    pub(crate) subject: Option<&'a SubjectId>,
    pub(crate) consent: Option<ConsentId>,
    pub(crate) token_expires: UnixMicros,
    /// By posture, whatever the registry says.
    pub(crate) restricted: bool,
}

pub(crate) fn weigh(
    asking: &Asking<'_>,
    operation: &OperationFacts<'_>,
    directory: &Directory,
    policies: &Policies,
    consents: &ConsentBook,
    now: UnixMicros,
) -> Result<Permit, Refused> {
    let integration = directory
        .integrations
        .get(&asking.integration)
        .ok_or(Refused::UnknownIntegration(asking.integration))?;
    let (registered, approved_until) = approval(integration, now)?;
    let standing = if asking.restricted { Standing::Restricted } else { registered };
    let grant = live_grant(asking, directory, now)?;
    let in_sandbox = matches!(integration.state, IntegrationState::Sandbox { .. });
    if in_sandbox && !matches!(grant.scope, SubjectScope::Consenting(_)) {
        return Err(Refused::SandboxOnly { integration: integration.id, grant: grant.id });
    }
    if now >= asking.token_expires {
        return Err(Refused::TokenExpired(asking.token_expires));
    }
    if !grant.operations.contains(operation.id) {
        let operation = operation.id.clone();
        return Err(Refused::OperationNotGranted { grant: grant.id, operation });
    }
    if grant.scope == SubjectScope::TokenSubject && asking.subject.is_none() {
        return Err(Refused::NoTokenSubject(grant.id));
    }

    let consent = consent(asking, operation, consents, now)?;

    let question = Question {
        integration: integration.id,
        standing,
        tier: integration.tier,
        grant,
        operation: operation.id,
        kind: operation.kind,
        candidates: grant.classes.intersection(&operation.classes),
        bare: operation.classes.is_empty(),
    };
    // The rules are asked for the whole grant, and a class at a time, so that their memo serves every consent.
    let classes = permitted(&question, policies.rule(&question))?;
    let classes = match &consent {
        None => classes,
        Some(consent) => consent_to(&question, classes, consent)?,
    };
    let consented_until = consent.map_or(UnixMicros(u64::MAX), |consent| consent.expires);
    Ok(Permit::mint(
        policies.share(grant, directory.revision),
        operation.id.clone(),
        classes,
        asking.subject.cloned(),
        asking.consent,
        budget(grant.budget, standing),
        grant.expires.min(approved_until).min(asking.token_expires).min(consented_until),
    ))
}

/// The consent that the token rests on, if it rests on one: in force, for this integration and grant, and of this operation.
fn consent(
    asking: &Asking<'_>,
    operation: &OperationFacts<'_>,
    consents: &ConsentBook,
    now: UnixMicros,
) -> Result<Option<InForce>, Refused> {
    let Some(id) = asking.consent else { return Ok(None) };
    let consent = consents.in_force(&id, now).ok_or(Refused::ConsentOver(id))?;
    let terms = &consent.terms;
    if terms.integration != asking.integration || terms.grant != asking.grant {
        return Err(Refused::ConsentOver(id));
    }
    if !terms.operations.contains(operation.id) {
        let operation = operation.id.clone();
        return Err(Refused::OperationNotConsented { consent: id, operation });
    }
    Ok(Some(consent))
}

/// What is left of `ruled` under the consent.
fn consent_to(
    question: &Question<'_>,
    ruled: ClassSet,
    consent: &InForce,
) -> Result<ClassSet, Refused> {
    let classes = ruled.intersection(&consent.terms.classes);
    if classes.is_empty() && !question.bare {
        let (grant, operation) = (question.grant.id, question.operation.clone());
        return Err(Refused::NothingPermitted { grant, operation, forbidden_by: None });
    }
    Ok(classes)
}

fn approval(integration: &Integration, now: UnixMicros) -> Result<(Standing, UnixMicros), Refused> {
    let id = integration.id;
    let not_approved = |state| Err(Refused::NotApproved { integration: id, state });
    let (standing, until) = match integration.state {
        IntegrationState::Approved { until } | IntegrationState::Sandbox { until } => {
            (Standing::Approved, until)
        }
        IntegrationState::Restricted { until } => (Standing::Restricted, until),
        IntegrationState::Applied => return not_approved("applied"),
        IntegrationState::Severed => return not_approved("severed"),
        IntegrationState::Expired => return not_approved("expired"),
    };
    if now >= until {
        return Err(Refused::ApprovalExpired { integration: id, until });
    }
    Ok((standing, until))
}

fn live_grant<'d>(
    asking: &Asking<'_>,
    directory: &'d Directory,
    now: UnixMicros,
) -> Result<&'d Grant, Refused> {
    let grant = directory.grants.get(&asking.grant).ok_or(Refused::UnknownGrant(asking.grant))?;
    if grant.integration != asking.integration {
        let integration = asking.integration;
        return Err(Refused::GrantOfAnother { grant: grant.id, integration });
    }
    if now >= grant.expires {
        return Err(Refused::GrantExpired { grant: grant.id, at: grant.expires });
    }
    Ok(grant)
}

fn permitted(question: &Question<'_>, ruling: Ruling) -> Result<ClassSet, Refused> {
    let grant = question.grant.id;
    match ruling {
        Ruling::Failed { policy } => {
            Err(Refused::PolicyFailed { policy, operation: question.operation.clone() })
        }
        Ruling::Allowed(classes) if question.bare || !classes.is_empty() => Ok(classes),
        Ruling::Allowed(_) => {
            let operation = question.operation.clone();
            Err(Refused::NothingPermitted { grant, operation, forbidden_by: None })
        }
        Ruling::Nothing { forbidden_by } => {
            let operation = question.operation.clone();
            Err(Refused::NothingPermitted { grant, operation, forbidden_by })
        }
    }
}

/// A restricted integration keeps a tenth, rounded up, so that a small budget is restricted and not severed.
fn budget(granted: Budget, standing: Standing) -> Budget {
    match standing {
        Standing::Approved => granted,
        Standing::Restricted => Budget {
            burst: granted.burst.div_ceil(10),
            hour: granted.hour.div_ceil(10),
            day: granted.day.div_ceil(10),
        },
    }
}
