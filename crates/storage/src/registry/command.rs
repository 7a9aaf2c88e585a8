//! Operator commands: what an operator can ask for. [`Command::effect`] is the one place that says what narrows and what widens,
//! [`Command::least_role`] the one that says who may; who must have signed is in [`super::signed`].

use super::target::Target;
use super::text;
use model::{
    BadRule, CertificateRule, CredentialId, Digest, GrantId, IncidentId, IntegrationId, OperatorId,
    Role, RuleKind, SubjectId, UnixMicros, VendorId, WindowId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::BTreeSet;

/// What an operator asks for. Ids are chosen by whoever writes the command, so that what is signed is all there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are the words of `model`, which documents them")]
pub enum Command {
    /// Registers a vendor; lets nothing be read.
    VendorAdd {
        #[serde(with = "text::plain")]
        vendor: VendorId,
        slug: String,
        name: String,
    },
    /// Registers an integration as applied for.
    IntegrationApply {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        slug: String,
        #[serde(with = "text::plain")]
        vendor: VendorId,
    },
    /// Submits what an integration is vetted by; lets nothing be read. `application`: `portcullis.application/1`. `sbom`: SHA-256 of
    /// the software bill of materials, which travels beside the command.
    EvidenceAdd {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        application: serde_json::Map<String, serde_json::Value>,
        #[serde(with = "text::maybe_bytes")]
        sbom: Option<Digest>,
    },
    /// Two reviewers let it into the sandbox, until the date.
    IntegrationReview {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        #[serde(with = "text::time")]
        until: UnixMicros,
    },
    /// Approves after the sandbox, prolongs, or lifts a restriction. The tier is computed, not chosen.
    IntegrationApprove {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        #[serde(with = "text::time")]
        until: UnixMicros,
    },
    /// Opens re-certification: no approval of any integration lasts beyond the date unless it is given anew.
    ReviewAll {
        #[serde(with = "text::time")]
        by: UnixMicros,
        reason: String,
    },
    /// A tenth of its budgets, no bulk, no sensitive classes.
    IntegrationRestrict {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        reason: String,
    },
    /// Ends an integration for good.
    IntegrationRetire {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
    },
    /// Says where subjects' browsers are sent back to after they agreed, in place of what was said before; none: subjects cannot connect it.
    RedirectsSet {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        uris: BTreeSet<String>,
    },
    /// Ends every consent that subjects gave an integration, or all of a vendor's.
    ConsentsEnd {
        #[serde(with = "text::plain")]
        target: Target,
        reason: String,
    },
    /// Gives an integration a key.
    CredentialAdd {
        #[serde(with = "text::plain")]
        credential: CredentialId,
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        jwk: serde_json::Map<String, serde_json::Value>,
        #[serde(with = "text::time")]
        until: UnixMicros,
        /// Empty: any network.
        networks: Vec<String>,
    },
    /// Lets an integration prove itself by certificate.
    CertificateAdd {
        #[serde(with = "text::plain")]
        credential: CredentialId,
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        /// DER, base64url: the one certificate, or the CA's if there is a rule.
        certificate: String,
        /// Which certificates of the CA.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<Rule>,
        #[serde(with = "text::time")]
        until: UnixMicros,
        /// Empty: any network.
        networks: Vec<String>,
    },
    /// Lets a vendor ask, once, for keys and redirect addresses of an integration; lets nothing be read. `ticket`: its SHA-256.
    RegistrationTicket {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        #[serde(with = "text::bytes")]
        ticket: Digest,
        #[serde(with = "text::time")]
        until: UnixMicros,
    },
    /// Gives an integration the keys and redirect addresses that its vendor asked for: all of them, and no others.
    RegistrationApprove {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        keys: Vec<ApprovedKey>,
        redirect_uris: BTreeSet<String>,
        /// As for `CredentialAdd`, of every key.
        #[serde(with = "text::time")]
        until: UnixMicros,
        networks: Vec<String>,
    },
    /// Takes an integration's tokens without proof for a while. `owner`: who answers for it.
    BearerException {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        owner: String,
        reason: String,
        #[serde(with = "text::time")]
        until: UnixMicros,
    },
    /// Ends that before its time.
    BearerEnd {
        #[serde(with = "text::plain")]
        integration: IntegrationId,
    },
    /// Takes a key or certificate out of use for good.
    CredentialRetire {
        #[serde(with = "text::plain")]
        credential: CredentialId,
    },
    /// Lets an integration read.
    GrantAdd {
        #[serde(with = "text::plain")]
        grant: GrantId,
        #[serde(with = "text::plain")]
        integration: IntegrationId,
        operations: BTreeSet<String>,
        classes: BTreeSet<String>,
        purpose: String,
        scope: Scope,
        budget: Limits,
        #[serde(with = "text::time")]
        expires: UnixMicros,
    },
    /// Takes a grant back for good.
    GrantWithdraw {
        #[serde(with = "text::plain")]
        grant: GrantId,
    },
    /// Adds an operator to the roster.
    OperatorAdd {
        #[serde(with = "text::plain")]
        operator: OperatorId,
        name: String,
        #[serde(with = "text::bytes")]
        public_key: [u8; 32],
        #[serde(with = "text::plain")]
        role: Role,
        /// When an automation ends; null for people.
        #[serde(with = "text::maybe_time")]
        automation_until: Option<UnixMicros>,
    },
    /// Gives an operator another role.
    OperatorRole {
        #[serde(with = "text::plain")]
        operator: OperatorId,
        #[serde(with = "text::plain")]
        role: Role,
    },
    /// Forgets an operator's passkeys, so that it can add one with a link alone.
    OperatorPasskeysRemove {
        #[serde(with = "text::plain")]
        operator: OperatorId,
    },
    /// Takes an operator off the roster for good.
    OperatorRemove {
        #[serde(with = "text::plain")]
        operator: OperatorId,
    },
    /// No step of any onboarding advances; what runs goes on.
    Freeze { reason: String },
    /// Onboarding goes on.
    Unfreeze {},
    /// Cuts off. Posture does it; here the life cycle follows.
    Sever {
        #[serde(with = "text::plain")]
        target: Target,
        reason: String,
    },
    /// Takes a cut back.
    Restore {
        #[serde(with = "text::plain")]
        target: Target,
        reason: String,
    },
    /// Asks for a link with which a subject adds a passkey, once, within a day.
    SubjectEnrol { subject: SubjectText },
    /// Declares a subject to be a decoy that nobody has reason to read.
    HoneyPlant { subject: SubjectText },
    /// Writes down what a vendor announced. It changes nothing until it is approved.
    WindowDeclare { window: DeclaredWindow },
    /// Approves what was declared, in every word.
    WindowApprove { window: DeclaredWindow },
    /// Ends a window before its time, or drops one that waits.
    WindowEnd {
        #[serde(with = "text::plain")]
        window: WindowId,
    },
    /// Says where a vendor hears of being contained, in place of what was said before; none: nowhere.
    VendorWebhook {
        #[serde(with = "text::plain")]
        vendor: VendorId,
        url: Option<String>,
    },
    /// Says that somebody looked at the signals up to this number.
    SignalsAcknowledge { through: u64 },
    /// Erases a subject, a day from now.
    SubjectErase { subject: SubjectText },
    /// Takes an erasure back that is not carried out yet. `erasure`: the id of the command that asked for it, lower-case hex.
    SubjectEraseCancel { erasure: String },
    /// Accepts the clock after a step; data flows again.
    ClockAcknowledge {},
    /// Asks who was read; changes nothing, and is recorded all the same.
    ExposureQuery { question: String },
    /// Writes an evidence bundle; changes nothing, and is recorded all the same.
    Evidence { scope: String },
    /// Copies the record of a window with its subjects named; changes nothing, and is recorded all the same.
    SubjectExport {
        #[serde(with = "text::time")]
        from: UnixMicros,
        #[serde(with = "text::time")]
        to: UnixMicros,
    },
    /// Lists what is registered; changes nothing.
    List { what: Listing },
    /// Asks for a single-use link to the console; changes nothing.
    ConsoleOpen {},
    /// Opens a case.
    IncidentOpen {
        #[serde(with = "text::plain")]
        incident: IncidentId,
        name: String,
        title: String,
        cause: Cause,
        /// When it began, if that is known.
        #[serde(with = "text::maybe_time")]
        began: Option<UnixMicros>,
        /// When the company became aware: regulators' clocks count from here.
        #[serde(with = "text::time")]
        aware: UnixMicros,
    },
    /// One step of a case.
    IncidentStep {
        #[serde(with = "text::plain")]
        incident: IncidentId,
        step: CaseStep,
    },
}

/// A key that a vendor asked for, and the credential that it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `Command::CredentialAdd`")]
pub struct ApprovedKey {
    #[serde(with = "text::plain")]
    pub credential: CredentialId,
    pub jwk: serde_json::Map<String, serde_json::Value>,
}

/// A change of habits that a vendor announced, and when it is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredWindow {
    /// Its id.
    #[serde(with = "text::plain")]
    pub window: WindowId,
    /// Whose habits change.
    #[serde(with = "text::plain")]
    pub integration: IntegrationId,
    /// What changes.
    pub change: Change,
    /// From when on.
    #[serde(with = "text::time")]
    pub from: UnixMicros,
    /// The first moment after it, at most fourteen days later.
    #[serde(with = "text::time")]
    pub to: UnixMicros,
    /// Why, and who said so.
    pub reason: String,
}

/// What will look unusual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// It reads many subjects that it has not read before.
    Backfill {
        /// Through which operation.
        operation: String,
        /// How many.
        subjects_max: u32,
        /// It reads everybody there is, decoys too: they are withheld, and nobody is cut off for meeting them.
        full_scan: bool,
    },
    /// It comes from another network.
    Address {
        /// Which, without host bits.
        network: String,
    },
    /// It begins to use an operation.
    Endpoint {
        /// Which.
        operation: String,
    },
}

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the glossary's words")]
pub enum Listing {
    Vendors,
    Integrations,
    Credentials,
    Grants,
    Operators,
    Incidents,
    Erasures,
    Registrations,
    Windows,
    Honey,
    Signals,
    Rules,
}

/// What a case was opened for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cause {
    /// A signal, in its own words.
    Signal {
        /// The sentence.
        sentence: String,
    },
    /// Somebody asked who was read, and the answer was a finding.
    Exposure {},
    /// The vendor's own store was broken into: what was it ever given since then?
    VendorBreach {
        /// Slug or id.
        vendor: String,
        /// From when on.
        #[serde(with = "text::time")]
        since: UnixMicros,
    },
}

/// A step of a case, as an operator asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields as in `incident`, which documents them")]
pub enum CaseStep {
    /// Shows it; changes nothing.
    Show {},
    /// Asks the record and freezes the answer as the next version of its scope. `question`: as for [`Command::ExposureQuery`].
    Scope { question: String },
    /// Whether one regime's notification is made, and why.
    Decide { regime: String, notify: bool, reason: String },
    /// Drafts the letters and shows `show` of them; sends none.
    Draft { version: u64, show: u32 },
    /// Writes to everybody in the scope. `in_doubt`: also to those whose letter was under way when the node died.
    Notify { version: u64, in_doubt: bool },
    /// Compiles a filing. `submitted`: it was handed in then, under this reference.
    File {
        regime: String,
        version: u64,
        #[serde(with = "text::maybe_time")]
        submitted: Option<UnixMicros>,
        reference: Option<String>,
    },
    /// Drafts the post-mortem.
    Postmortem { version: u64 },
    /// The vendor was asked, or answered.
    Vendor { acknowledged: bool, words: String },
    /// Closes it.
    Close { reason: String },
    /// Opens it again.
    Reopen { reason: String },
}

/// What a command does to what can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Less, or the same: one operator.
    Narrows,
    /// More, or somebody else decides about more: two operators.
    Widens,
    /// Only looks, or keeps a case: nothing of what can be read changes, and it is recorded who did. One operator.
    Looks,
}

/// Which certificates of a CA, as written: `subject_dn`, `san_dns`, `san_uri`, `san_ip` or `san_email`, and the whole name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `model::CertificateRule`")]
pub struct Rule {
    pub kind: String,
    pub value: String,
}

/// A grant's subject scope, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `model::SubjectScope`")]
pub enum Scope {
    TokenSubject {},
    Consenting { subjects: Vec<SubjectText> },
    Attribute { pointer: String, value: String },
    All {},
}

/// A grant's budget, as written: distinct subjects in 60 seconds, an hour and a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as in `model::Budget`")]
pub struct Limits {
    pub burst: u32,
    pub hour: u32,
    pub day: u32,
}

/// A subject id as written. Like `SubjectId`, it does not print itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectText(pub SubjectId);

impl Command {
    /// Why, where a command says so. Others read it, in terminals too.
    pub(super) fn reason(&self) -> Option<&str> {
        if let Self::ReviewAll { reason, .. }
        | Self::IntegrationRestrict { reason, .. }
        | Self::ConsentsEnd { reason, .. }
        | Self::BearerException { reason, .. }
        | Self::Freeze { reason }
        | Self::Sever { reason, .. }
        | Self::Restore { reason, .. }
        | Self::WindowDeclare { window: DeclaredWindow { reason, .. } } = self
        {
            Some(reason)
        } else {
            None
        }
    }

    /// The value of `action` in the payload.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::VendorAdd { .. } => "vendor_add",
            Self::IntegrationApply { .. } => "integration_apply",
            Self::EvidenceAdd { .. } => "evidence_add",
            Self::IntegrationReview { .. } => "integration_review",
            Self::IntegrationApprove { .. } => "integration_approve",
            Self::ReviewAll { .. } => "review_all",
            Self::IntegrationRestrict { .. } => "integration_restrict",
            Self::IntegrationRetire { .. } => "integration_retire",
            Self::RedirectsSet { .. } => "redirects_set",
            Self::ConsentsEnd { .. } => "consents_end",
            Self::CredentialAdd { .. } => "credential_add",
            Self::CertificateAdd { .. } => "certificate_add",
            Self::RegistrationTicket { .. } => "registration_ticket",
            Self::RegistrationApprove { .. } => "registration_approve",
            Self::BearerException { .. } => "bearer_exception",
            Self::BearerEnd { .. } => "bearer_end",
            Self::CredentialRetire { .. } => "credential_retire",
            Self::GrantAdd { .. } => "grant_add",
            Self::GrantWithdraw { .. } => "grant_withdraw",
            Self::OperatorAdd { .. } => "operator_add",
            Self::OperatorRole { .. } => "operator_role",
            Self::OperatorPasskeysRemove { .. } => "operator_passkeys_remove",
            Self::OperatorRemove { .. } => "operator_remove",
            Self::Freeze { .. } => "freeze",
            Self::Unfreeze {} => "unfreeze",
            Self::Sever { .. } => "sever",
            Self::Restore { .. } => "restore",
            Self::SubjectEnrol { .. } => "subject_enrol",
            Self::HoneyPlant { .. } => "honey_plant",
            Self::WindowDeclare { .. } => "window_declare",
            Self::WindowApprove { .. } => "window_approve",
            Self::WindowEnd { .. } => "window_end",
            Self::VendorWebhook { .. } => "vendor_webhook",
            Self::SignalsAcknowledge { .. } => "signals_acknowledge",
            Self::SubjectErase { .. } => "subject_erase",
            Self::SubjectEraseCancel { .. } => "subject_erase_cancel",
            Self::ClockAcknowledge {} => "clock_acknowledge",
            Self::ExposureQuery { .. } => "exposure_query",
            Self::Evidence { .. } => "evidence",
            Self::SubjectExport { .. } => "subject_export",
            Self::List { .. } => "list",
            Self::ConsoleOpen {} => "console_open",
            Self::IncidentOpen { .. } => "incident_open",
            Self::IncidentStep { .. } => "incident_step",
        }
    }

    /// Whether it takes one operator or two.
    pub const fn effect(&self) -> Effect {
        match self {
            Self::IntegrationReview { .. }
            | Self::IntegrationApprove { .. }
            // Whoever has the link is the subject.
            | Self::SubjectEnrol { .. }
            // A code goes to whoever answers there.
            | Self::RedirectsSet { .. }
            | Self::CredentialAdd { .. }
            | Self::CertificateAdd { .. }
            | Self::RegistrationApprove { .. }
            | Self::BearerException { .. }
            | Self::GrantAdd { .. }
            // The roster decides who decides; taking somebody off it can hand the rest to one person.
            | Self::OperatorAdd { .. }
            | Self::OperatorRole { .. }
            | Self::OperatorRemove { .. }
            // Whoever has the key file is then believed without the passkey.
            | Self::OperatorPasskeysRemove { .. }
            | Self::Unfreeze {}
            | Self::Restore { .. }
            // Detectors let through what it covers.
            | Self::WindowApprove { .. }
            // Whoever is there hears when we look away, and when we do not.
            | Self::VendorWebhook { .. }
            // Nothing brings an erased subject back.
            | Self::SubjectErase { .. }
            // Letters go out in the company's name, and cannot be called back.
            | Self::IncidentStep { step: CaseStep::Notify { .. }, .. }
            // Nobody alone keeps an incident from those it is owed to.
            | Self::IncidentStep {
                step: CaseStep::Decide { notify: false, .. } | CaseStep::Close { .. },
                ..
            } => Effect::Widens,
            // A name on a list: nothing is read until two operators approve.
            Self::VendorAdd { .. }
            | Self::IntegrationApply { .. }
            | Self::EvidenceAdd { .. }
            // Whoever has it asks; what was asked for waits for two.
            | Self::RegistrationTicket { .. }
            | Self::ReviewAll { .. }
            | Self::IntegrationRestrict { .. }
            | Self::IntegrationRetire { .. }
            | Self::ConsentsEnd { .. }
            | Self::BearerEnd { .. }
            | Self::CredentialRetire { .. }
            | Self::GrantWithdraw { .. }
            | Self::Freeze { .. }
            | Self::Sever { .. }
            | Self::HoneyPlant { .. }
            // Nothing goes by it before two approve it.
            | Self::WindowDeclare { .. }
            | Self::WindowEnd { .. }
            | Self::SubjectEraseCancel { .. }
            // Nothing more can be read than before the step.
            | Self::ClockAcknowledge {} => Effect::Narrows,
            Self::ExposureQuery { .. }
            | Self::Evidence { .. }
            | Self::SubjectExport { .. }
            | Self::List { .. }
            | Self::ConsoleOpen {}
            | Self::SignalsAcknowledge { .. }
            | Self::IncidentOpen { .. }
            | Self::IncidentStep { .. } => Effect::Looks,
        }
    }

    /// Whether it may name subjects. The record then holds its hash only, because erasing a subject must erase their name
    /// everywhere; the registry keeps the command itself.
    pub const fn may_name_subjects(&self) -> bool {
        matches!(
            self,
            Self::HoneyPlant { .. }
                | Self::SubjectEnrol { .. }
                | Self::SubjectErase { .. }
                | Self::GrantAdd { scope: Scope::Consenting { .. } | Scope::Attribute { .. }, .. }
                | Self::ExposureQuery { .. }
                | Self::Evidence { .. }
                | Self::IncidentStep { step: CaseStep::Scope { .. }, .. }
        )
    }

    /// Whether a freeze stops it.
    pub const fn is_onboarding(&self) -> bool {
        matches!(
            self,
            Self::IntegrationApply { .. }
                | Self::EvidenceAdd { .. }
                | Self::IntegrationReview { .. }
                | Self::IntegrationApprove { .. }
                | Self::RedirectsSet { .. }
                | Self::SubjectEnrol { .. }
                | Self::CredentialAdd { .. }
                | Self::CertificateAdd { .. }
                | Self::RegistrationTicket { .. }
                | Self::RegistrationApprove { .. }
                | Self::BearerException { .. }
                | Self::GrantAdd { .. }
        )
    }
}

impl Rule {
    /// The rule that is meant.
    ///
    /// # Errors
    /// [`BadRule`].
    pub fn read(&self) -> Result<CertificateRule, BadRule> {
        let kind = RuleKind::parse(&self.kind).ok_or(BadRule("there is no such kind of rule"))?;
        CertificateRule::new(kind, &self.value)
    }
}

impl CaseStep {
    /// The value of `step` in the payload.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Show {} => "show",
            Self::Scope { .. } => "scope",
            Self::Decide { .. } => "decide",
            Self::Draft { .. } => "draft",
            Self::Notify { .. } => "notify",
            Self::File { .. } => "file",
            Self::Postmortem { .. } => "postmortem",
            Self::Vendor { .. } => "vendor",
            Self::Close { .. } => "close",
            Self::Reopen { .. } => "reopen",
        }
    }
}

impl Serialize for SubjectText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for SubjectText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        SubjectId::new(&text).map(Self).ok_or_else(|| D::Error::custom("not a subject id"))
    }
}
