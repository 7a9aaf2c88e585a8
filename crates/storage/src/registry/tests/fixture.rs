//! A registry in a temporary folder, two operators, and commands signed by them.

use crate::registry::command::{
    CaseStep, Cause, Change, Command, DeclaredWindow, Limits, Listing, Rule, Scope, SubjectText,
};
use crate::registry::signed::{Payload, SignedCommand};
use crate::registry::{Applied, Beside, Checked, Registry, RegistryError};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use model::{
    ClassTable, CredentialId, DataClass, Digest, GrantId, IncidentId, IntegrationId, Micros,
    Operator, OperatorId, OperatorKind, Role, SubjectId, UnixMicros, VendorId, WindowId,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) const NOW: UnixMicros = UnixMicros::from_secs(1_800_000_000);
pub(super) const LATER: UnixMicros = UnixMicros::from_secs(1_810_000_000);
pub(super) const HEAD: Digest = [7; 32];
pub(super) const VENDOR: VendorId = VendorId::from_bytes([1; 16]);
pub(super) const INTEGRATION: IntegrationId = IntegrationId::from_bytes([2; 16]);
pub(super) const CREDENTIAL: CredentialId = CredentialId::from_bytes([3; 16]);
pub(super) const GRANT: GrantId = GrantId::from_bytes([4; 16]);

/// One of our customer's staff and the key file.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) operator: Operator,
    pair: Ed25519KeyPair,
}

impl Person {
    pub(super) fn new(n: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap();
        let public_key = pair.public_key().as_ref().try_into().unwrap();
        let (id, name) = (OperatorId::from_bytes([n; 16]), format!("Operator {n}"));
        let (role, kind) = (Role::Admin, OperatorKind::Person);
        Self { operator: Operator { id, name, public_key, role, kind }, pair }
    }

    pub(super) fn of_role(n: u8, role: Role) -> Self {
        let mut person = Self::new(n);
        person.operator.role = role;
        person
    }

    pub(super) fn automation(n: u8, role: Role, until: UnixMicros) -> Self {
        let mut automation = Self::of_role(n, role);
        automation.operator.kind = OperatorKind::Automation { until };
        automation
    }

    pub(super) fn sign(&self, payload: &[u8]) -> (OperatorId, [u8; 64]) {
        let signature = self.pair.sign(&Payload::message(payload));
        (self.operator.id, signature.as_ref().try_into().unwrap())
    }

    pub(super) fn add(&self) -> Command {
        let Operator { id, name, public_key, role, kind } = self.operator.clone();
        let automation_until = kind.ends();
        Command::OperatorAdd { operator: id, name, public_key, role, automation_until }
    }

    /// The public key as a JWK, for a credential.
    pub(super) fn jwk(&self) -> serde_json::Map<String, serde_json::Value> {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.operator.public_key);
        let jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        jwk.as_object().unwrap().clone()
    }
}

pub(super) fn payload(command: Command) -> Payload {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Payload { id, posture_head: HEAD, issued: NOW, expires: NOW + Micros::from_secs(600), command }
}

pub(super) fn signed(payload: &Payload, by: &[&Person]) -> SignedCommand {
    let payload = payload.to_json().unwrap();
    let signatures = by.iter().map(|person| person.sign(&payload)).collect();
    SignedCommand { payload, signatures, attachment: None }
}

pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) ada: Person,
    pub(super) bo: Person,
    pub(super) folder: tempfile::TempDir,
}

impl World {
    /// Two operators and four classes; nothing else.
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(&folder.path().join("registry.db")).await.unwrap();
        let (ada, bo) = (Person::new(11), Person::new(12));
        registry.found(&ada.operator).await.unwrap();
        let world = Self { registry, ada, bo, folder };
        world.both(world.bo.add()).await.unwrap();
        let names = ["user.contact.email", "user.contact.phone", "user.name", "user.location"];
        world.registry.extend_classes(&table(&names)).await.unwrap();
        world
    }

    /// [`World::new`] and one approved integration with a key and a grant.
    pub(super) async fn with_integration() -> Self {
        let world = Self::new().await;
        world.one(vendor_add()).await.unwrap();
        world.one(apply()).await.unwrap();
        world.one(evidence()).await.unwrap();
        world.both(review()).await.unwrap();
        world.both(approve()).await.unwrap();
        world.both(credential_add(&Person::new(90))).await.unwrap();
        world.both(grant_add(&["user.contact"])).await.unwrap();
        world
    }

    pub(super) async fn one(&self, command: Command) -> Result<Applied, RegistryError> {
        self.send(&signed(&payload(command), &[&self.ada])).await
    }

    pub(super) async fn both(&self, command: Command) -> Result<Applied, RegistryError> {
        self.send(&signed(&payload(command), &[&self.ada, &self.bo])).await
    }

    pub(super) async fn send(&self, command: &SignedCommand) -> Result<Applied, RegistryError> {
        self.send_at(command, NOW).await
    }

    pub(super) async fn send_at(
        &self,
        command: &SignedCommand,
        now: UnixMicros,
    ) -> Result<Applied, RegistryError> {
        let checked = checked();
        let payload: Payload = serde_json::from_slice(&command.payload).unwrap();
        let is_vetting = matches!(
            payload.command,
            Command::EvidenceAdd { .. }
                | Command::IntegrationReview { .. }
                | Command::IntegrationApprove { .. }
        );
        let beside = if is_vetting { Beside::Checked(&checked) } else { Beside::Nothing };
        self.registry.apply_with(command, beside, &HEAD, now).await
    }
}

pub(super) fn table(names: &[&str]) -> ClassTable {
    ClassTable::new(names.iter().map(|name| DataClass::new(name).unwrap()).collect()).unwrap()
}

pub(super) fn vendor_add() -> Command {
    Command::VendorAdd { vendor: VENDOR, slug: "acme".into(), name: "Acme Ltd".into() }
}

pub(super) fn apply() -> Command {
    Command::IntegrationApply { integration: INTEGRATION, slug: "acme-desk".into(), vendor: VENDOR }
}

pub(super) fn approve() -> Command {
    Command::IntegrationApprove { integration: INTEGRATION, until: LATER }
}

pub(super) fn evidence() -> Command {
    let application = serde_json::Map::new();
    Command::EvidenceAdd { integration: INTEGRATION, application, sbom: None }
}

pub(super) fn review() -> Command {
    Command::IntegrationReview { integration: INTEGRATION, until: LATER }
}

pub(super) const INCIDENT: IncidentId = IncidentId::from_bytes([6; 16]);

pub(super) fn case_open() -> Command {
    Command::IncidentOpen {
        incident: INCIDENT,
        name: "acme-theft".into(),
        title: "Acme's token was copied".into(),
        cause: Cause::VendorBreach { vendor: "acme".into(), since: NOW },
        began: None,
        aware: NOW,
    }
}

pub(super) fn case_step(step: CaseStep) -> Command {
    Command::IncidentStep { incident: INCIDENT, step }
}

pub(super) fn decide(notify: bool) -> CaseStep {
    CaseStep::Decide { regime: "eu-gdpr-34".into(), notify, reason: "no high risk".into() }
}

/// Checks that all passed, of tier 2.
pub(super) fn checked() -> Checked {
    Checked {
        application: "{}".into(),
        sbom: Some(b"{}".to_vec()),
        tier: 2,
        passed: true,
        report: "{}".into(),
        contract: [5; 32],
        until_max: LATER,
    }
}

pub(super) fn credential_add(holder: &Person) -> Command {
    Command::CredentialAdd {
        credential: CREDENTIAL,
        integration: INTEGRATION,
        jwk: holder.jwk(),
        until: LATER,
        networks: vec!["203.0.113.0/24".into(), "2001:db8::/32".into()],
    }
}

pub(super) fn grant_add(classes: &[&str]) -> Command {
    Command::GrantAdd {
        grant: GRANT,
        integration: INTEGRATION,
        operations: ["getAccount".into(), "listAccounts".into()].into(),
        classes: classes.iter().map(|&class| class.into()).collect(),
        purpose: "support".into(),
        scope: Scope::Attribute { pointer: "/tenant".into(), value: "7".into() },
        budget: Limits { burst: 10, hour: 100, day: 1_000 },
        expires: LATER,
    }
}

fn certificate_add() -> Command {
    let rule = Rule { kind: "san_dns".into(), value: "a.example".into() };
    Command::CertificateAdd {
        credential: CREDENTIAL,
        integration: INTEGRATION,
        certificate: "AA".into(),
        rule: Some(rule),
        until: LATER,
        networks: vec![],
    }
}

/// One of each, and of each step of a case, with how many keys it needs: what narrows or only looks one; what widens, or decides who
/// decides, two.
pub(super) fn every_command() -> Vec<(Command, usize)> {
    let target = "vendor:acme";
    let reason = String::from("incident");
    let (integration, credential, grant) = (INTEGRATION, CREDENTIAL, GRANT);
    let operator = OperatorId::from_bytes([12; 16]);
    vec![
        (vendor_add(), 1),
        (apply(), 1),
        (evidence(), 1),
        (review(), 2),
        (approve(), 2),
        (Command::ReviewAll { by: LATER, reason: reason.clone() }, 1),
        (Command::IntegrationRestrict { integration, reason: reason.clone() }, 1),
        (Command::IntegrationRetire { integration }, 1),
        (Command::RedirectsSet { integration, uris: BTreeSet::new() }, 2),
        (Command::ConsentsEnd { target: target.parse().unwrap(), reason: reason.clone() }, 1),
        (credential_add(&Person::new(90)), 2),
        (Command::RegistrationTicket { integration, ticket: [1; 32], until: LATER }, 1),
        (
            Command::RegistrationApprove {
                integration,
                keys: Vec::new(),
                redirect_uris: BTreeSet::new(),
                until: LATER,
                networks: Vec::new(),
            },
            2,
        ),
        (
            Command::BearerException {
                integration,
                owner: "Ines".into(),
                reason: reason.clone(),
                until: LATER,
            },
            2,
        ),
        (Command::BearerEnd { integration }, 1),
        (Command::CredentialRetire { credential }, 1),
        (grant_add(&["user.contact"]), 2),
        (Command::GrantWithdraw { grant }, 1),
        (Person::new(13).add(), 2),
        (Command::OperatorRole { operator, role: Role::Viewer }, 2),
        (Command::OperatorRemove { operator }, 2),
        (Command::OperatorPasskeysRemove { operator }, 2),
        (certificate_add(), 2),
        (Command::Freeze { reason: reason.clone() }, 1),
        (Command::Unfreeze {}, 2),
        (Command::Sever { target: target.parse().unwrap(), reason: reason.clone() }, 1),
        (Command::Restore { target: target.parse().unwrap(), reason }, 2),
        (Command::HoneyPlant { subject: SubjectText(SubjectId::new("nobody").unwrap()) }, 1),
        (Command::WindowDeclare { window: window() }, 1),
        (Command::WindowApprove { window: window() }, 2),
        (Command::WindowEnd { window: window().window }, 1),
        (Command::VendorWebhook { vendor: VendorId::from_bytes([1; 16]), url: None }, 2),
        (Command::SignalsAcknowledge { through: 7 }, 1),
        (Command::SubjectErase { subject: SubjectText(SubjectId::new("nobody").unwrap()) }, 2),
        (Command::SubjectEraseCancel { erasure: "07".into() }, 1),
        (Command::ClockAcknowledge {}, 1),
        (Command::ExposureQuery { question: "integration acme-desk".into() }, 1),
        (Command::Evidence { scope: "acme".into() }, 1),
        (Command::SubjectExport { from: UnixMicros(0), to: UnixMicros(1) }, 1),
        (Command::List { what: Listing::Grants }, 1),
        (Command::List { what: Listing::Honey }, 1),
        (Command::SubjectEnrol { subject: SubjectText(SubjectId::new("nobody").unwrap()) }, 2),
        (Command::ConsoleOpen {}, 1),
        (case_open(), 1),
        (case_step(CaseStep::Show {}), 1),
        (case_step(CaseStep::Scope { question: "{}".into() }), 1),
        (case_step(decide(true)), 1),
        (case_step(decide(false)), 2),
        (case_step(CaseStep::Draft { version: 1, show: 3 }), 1),
        (case_step(CaseStep::Notify { version: 1, in_doubt: false }), 2),
        (
            case_step(CaseStep::File {
                regime: "eu-gdpr-33".into(),
                version: 1,
                submitted: Some(NOW),
                reference: None,
            }),
            1,
        ),
        (case_step(CaseStep::Postmortem { version: 1 }), 1),
        (case_step(CaseStep::Vendor { acknowledged: true, words: "seen".into() }), 1),
        (case_step(CaseStep::Close { reason: "done".into() }), 2),
        (case_step(CaseStep::Reopen { reason: "more".into() }), 1),
    ]
}

pub(super) fn window() -> DeclaredWindow {
    let change = Change::Endpoint { operation: "listTickets".into() };
    let window = WindowId::from_bytes([7; 16]);
    let (integration, reason) = (IntegrationId::from_bytes([1; 16]), "announced".into());
    DeclaredWindow { window, integration, change, from: NOW, to: LATER, reason }
}
