//! Who may do what: the one table from a command to the least role, and the one place where it is applied.
//!
//! A command that is added has to get its row in [`Command::least_role`], or nothing compiles. [`may`] is asked by
//! [`SignedCommand::verify`](super::SignedCommand::verify) for each signer, and by whoever acts for an operator without a signature.

use super::command::{CaseStep, Command, Listing};
use super::signed::CommandError;
use model::{Operator, OperatorId, OperatorKind, Role, UnixMicros};

impl Command {
    /// The least role that each of its signers must have.
    pub const fn least_role(&self) -> Role {
        match self {
            // Who knows the decoys walks around them.
            Self::List { what: Listing::Honey } => Role::Responder,
            Self::ExposureQuery { .. } | Self::List { .. } | Self::ConsoleOpen {} => Role::Viewer,

            Self::Sever { .. }
            | Self::Freeze { .. }
            | Self::IntegrationRestrict { .. }
            | Self::ReviewAll { .. }
            | Self::ConsentsEnd { .. }
            | Self::CredentialRetire { .. }
            | Self::GrantWithdraw { .. }
            | Self::BearerEnd { .. }
            | Self::HoneyPlant { .. }
            // Inert until two others approve it.
            | Self::WindowDeclare { .. }
            | Self::WindowEnd { .. }
            | Self::SignalsAcknowledge { .. }
            // It stops what nothing brings back.
            | Self::SubjectEraseCancel { .. }
            // Names on a list and papers about them: nothing is read until two others approve.
            | Self::VendorAdd { .. }
            | Self::IntegrationApply { .. }
            | Self::EvidenceAdd { .. }
            // What leaves the house with subjects in it is more than looking.
            | Self::Evidence { .. }
            | Self::SubjectExport { .. }
            | Self::IncidentOpen { .. } => Role::Responder,
            Self::IncidentStep { step, .. } => step.least_role(),

            Self::Restore { .. }
            | Self::Unfreeze {}
            | Self::IntegrationReview { .. }
            | Self::IntegrationApprove { .. }
            // It is not a cut: it ends for good what was approved.
            | Self::IntegrationRetire { .. }
            | Self::GrantAdd { .. }
            | Self::WindowApprove { .. }
            | Self::SubjectErase { .. }
            | Self::SubjectEnrol { .. }
            // Data flows again for everybody.
            | Self::ClockAcknowledge {} => Role::Approver,

            Self::OperatorAdd { .. }
            | Self::OperatorRole { .. }
            | Self::OperatorRemove { .. }
            | Self::OperatorPasskeysRemove { .. }
            // Who has these is believed to be the integration.
            | Self::CredentialAdd { .. }
            | Self::CertificateAdd { .. }
            | Self::RegistrationTicket { .. }
            | Self::RegistrationApprove { .. }
            | Self::RedirectsSet { .. }
            | Self::VendorWebhook { .. }
            | Self::BearerException { .. } => Role::Admin,
        }
    }
}

impl CaseStep {
    const fn least_role(&self) -> Role {
        match self {
            Self::Show {} => Role::Viewer,
            Self::Scope { .. }
            | Self::Decide { notify: true, .. }
            | Self::Draft { .. }
            | Self::File { .. }
            | Self::Postmortem { .. }
            | Self::Vendor { .. }
            | Self::Reopen { .. } => Role::Responder,
            Self::Decide { notify: false, .. } | Self::Notify { .. } | Self::Close { .. } => {
                Role::Approver
            }
        }
    }
}

/// Proof that an operator may ask for one command. Minted only by [`may`].
#[derive(Debug)]
pub struct Entitled<'a> {
    operator: &'a Operator,
    command: &'a Command,
}

impl Entitled<'_> {
    /// Who.
    pub fn operator(&self) -> OperatorId {
        self.operator.id
    }

    /// What for.
    pub fn command(&self) -> &Command {
        self.command
    }
}

/// Judges one operator's part in one command. How many operators it takes is another question: [`Command::effect`].
///
/// # Errors
/// [`CommandError::RoleTooLow`], [`CommandError::AutomationEnded`] or [`CommandError::ForPeople`].
pub fn may<'a>(
    operator: &'a Operator,
    command: &'a Command,
    now: UnixMicros,
) -> Result<Entitled<'a>, CommandError> {
    let (name, action) = (|| operator.name.clone(), command.action());
    let mut role = operator.role;
    if let OperatorKind::Automation { until } = operator.kind {
        if now >= until {
            return Err(CommandError::AutomationEnded { name: name(), ended: until });
        }
        if matches!(command, Command::ConsoleOpen {}) {
            return Err(CommandError::ForPeople { name: name(), action });
        }
        // INVARIANT: an automation is never one of two: what takes two operators takes two approvers at least. The registry stores no more
        // than this; it is said here too because this is where it counts.
        role = role.min(Role::AUTOMATION_MAX);
    }
    let needed = command.least_role();
    if role < needed {
        return Err(CommandError::RoleTooLow { role, name: name(), action, needed });
    }
    Ok(Entitled { operator, command })
}

/// `a viewer`, `an admin`.
pub(super) fn with_article(role: Role) -> String {
    match role {
        Role::Viewer | Role::Responder => format!("a {role}"),
        Role::Approver | Role::Admin => format!("an {role}"),
    }
}
