//! What is checked natively: state, expiry, grant, scope, budget.

use super::fixture::{INTEGRATION, LATER, NOW, World, asking, grant_id, operation_id, subject};
use crate::decide::{Asking, weigh};
use crate::{OperationFacts, Refused, Terms};
use model::{
    Budget, ClassSet, ConsentId, DataClass, IntegrationId, IntegrationState, Micros, OperationKind,
    Refusal, SubjectScope, UnixMicros,
};
use std::collections::BTreeSet;

#[test]
fn a_live_grant_permits_what_it_covers_until_the_first_thing_runs_out() {
    let mut world = World::new();
    world.directory.grants.get_mut(&grant_id(0)).unwrap().expires = LATER - Micros::from_secs(5);
    let permit = world.decide(OperationKind::Read, world.all()).unwrap();
    assert_eq!(
        world.names(&permit),
        [
            "user.contact.email",
            "user.contact.phone",
            "user.payment.card_number",
            "user.government_id"
        ]
    );
    assert_eq!(permit.valid_until(), LATER - Micros::from_secs(5));
    assert_eq!(permit.purpose().as_str(), "support");
    assert_eq!(permit.budget(), Budget { burst: 60, hour: 301, day: 2_000 });

    world.integration().state = IntegrationState::Approved { until: LATER - Micros::from_secs(7) };
    let permit = world.decide(OperationKind::Read, world.all()).unwrap();
    assert_eq!(permit.valid_until(), LATER - Micros::from_secs(7));

    let short = Asking { token_expires: NOW + Micros::from_secs(300), ..asking() };
    let permit =
        world.decide_with(&world.compile(), &short, OperationKind::Read, world.all()).unwrap();
    assert_eq!(permit.valid_until(), NOW + Micros::from_secs(300));
}

#[test]
fn each_broken_predicate_refuses_by_its_own_name() {
    let refused = |change: &dyn Fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.decide(OperationKind::Read, world.all()).unwrap_err()
    };
    let integration = INTEGRATION;
    let grant = grant_id(0);
    for (state, word) in [
        (IntegrationState::Applied, "applied"),
        (IntegrationState::Severed, "severed"),
        (IntegrationState::Expired, "expired"),
    ] {
        let expected = Refused::NotApproved { integration, state: word };
        assert_eq!(refused(&|world| world.integration().state = state), expected);
    }
    for state in
        [IntegrationState::Approved { until: NOW }, IntegrationState::Restricted { until: NOW }]
    {
        let expected = Refused::ApprovalExpired { integration, until: NOW };
        assert_eq!(refused(&|world| world.integration().state = state), expected);
    }
    assert_eq!(
        refused(&|world| world.directory.integrations.clear()),
        Refused::UnknownIntegration(integration)
    );
    assert_eq!(refused(&|world| world.directory.grants.clear()), Refused::UnknownGrant(grant));
    assert_eq!(
        refused(&|world| world.grant(0, &["user"], "support").expires = NOW),
        Refused::GrantExpired { grant, at: NOW }
    );
    assert_eq!(
        refused(&|world| world.grant(0, &["user"], "support").integration =
            IntegrationId::from_bytes([9; 16])),
        Refused::GrantOfAnother { grant, integration }
    );
    let operation = operation_id(OperationKind::Read);
    assert_eq!(
        refused(&|world| {
            world.grant(0, &["user"], "support").operations.remove(&operation);
        }),
        Refused::OperationNotGranted { grant, operation: operation.clone() }
    );
}

#[test]
fn an_expired_token_is_refused_here_too() {
    let world = World::new();
    let late = Asking { token_expires: NOW, ..asking() };
    let refused = world.decide_with(&world.compile(), &late, OperationKind::Read, world.all());
    assert_eq!(refused.unwrap_err().refusal(), Refusal::Unauthenticated);
}

#[test]
fn a_grant_for_the_tokens_subject_needs_a_token_that_names_one() {
    let mut world = World::new();
    world.grant(0, &["user"], "support").scope = SubjectScope::TokenSubject;
    let refused = world.decide(OperationKind::Read, world.all()).unwrap_err();
    assert_eq!(refused, Refused::NoTokenSubject(grant_id(0)));

    let subject = subject();
    let named = Asking { subject: Some(&subject), ..asking() };
    let permit =
        world.decide_with(&world.compile(), &named, OperationKind::Read, world.all()).unwrap();
    assert_eq!(permit.token_subject(), Some(&subject));
}

#[test]
fn everybodys_data_is_for_the_highest_tier() {
    let mut world = World::new();
    world.grant(0, &["user"], "support").scope = SubjectScope::All;
    let refused = world.decide(OperationKind::Read, world.all()).unwrap_err();
    assert!(
        refused.to_string().ends_with("policy `base.tier_for_all_subjects` forbids it"),
        "{refused}"
    );
    world.integration().tier = 3;
    assert!(world.decide(OperationKind::Read, world.all()).is_ok());
}

#[test]
fn a_restricted_integration_keeps_a_tenth_of_its_budget() {
    let mut world = World::new();
    world.integration().state = IntegrationState::Restricted { until: LATER };
    let permit = world.decide(OperationKind::Read, world.all()).unwrap();
    assert_eq!(permit.budget(), Budget { burst: 6, hour: 31, day: 200 });
    assert_eq!(world.names(&permit), ["user.contact.email", "user.contact.phone"]);
}

#[test]
fn an_operation_without_data_needs_a_permit_all_the_same() {
    let mut world = World::new();
    let permit = world.decide(OperationKind::Export, ClassSet::EMPTY).unwrap();
    assert!(permit.classes().is_empty());
    world.integration().state = IntegrationState::Restricted { until: LATER };
    let refused = world.decide(OperationKind::Export, ClassSet::EMPTY).unwrap_err();
    assert_eq!(refused.refusal(), Refusal::NotPermitted);
}

#[test]
fn an_operation_whose_classes_are_not_granted_is_refused() {
    let mut world = World::new();
    world.grant(0, &["user.contact"], "support");
    let passwords = world.classes.covered_by(&DataClass::new("user.authorization").unwrap());
    let refused = world.decide(OperationKind::Read, passwords).unwrap_err();
    assert!(matches!(refused, Refused::NothingPermitted { forbidden_by: None, .. }), "{refused}");
}

#[test]
fn a_directory_newer_than_the_policies_narrows_at_once_and_widens_later() {
    let mut world = World::new();
    let policies = world.compile();
    let decide =
        |world: &World| world.decide_with(&policies, &asking(), OperationKind::Read, world.all());
    world.directory.revision = 2;
    world.grant(0, &["user.contact.email"], "support").budget.day = 1;
    let permit = decide(&world).unwrap();
    assert_eq!(world.names(&permit), ["user.contact.email"]);
    assert_eq!(permit.budget().day, 1);

    world.grant(0, &CLASSES_WITH_MORE, "marketing");
    assert!(decide(&world).is_err(), "the compiled grant is for another purpose");
    world.directory.grants.clear();
    assert!(decide(&world).is_err());
}

const CLASSES_WITH_MORE: [&str; 2] = ["user.contact", "user.payment"];

#[test]
fn an_operation_that_is_not_compiled_is_refused() {
    let mut world = World::new();
    let policies = world.compile();
    let other = model::OperationId::new("other").unwrap();
    world.grant(0, &["user"], "support").operations.insert(other.clone());
    let facts = OperationFacts { id: &other, kind: OperationKind::Read, classes: world.all() };
    assert!(
        weigh(&asking(), &facts, &world.directory, &policies, &world.consents, UnixMicros(0))
            .is_err()
    );
}

#[test]
fn what_posture_restricts_is_decided_as_what_the_registry_restricts() {
    let mut world = World::new();
    let restricted = Asking { restricted: true, ..asking() };
    let policies = world.compile();
    let by_posture =
        world.decide_with(&policies, &restricted, OperationKind::Read, world.all()).unwrap();
    world.integration().state = IntegrationState::Restricted { until: LATER };
    let by_registry = world.decide(OperationKind::Read, world.all()).unwrap();
    assert_eq!(by_posture.budget(), by_registry.budget());
    assert_eq!(by_posture.classes(), by_registry.classes());
}

#[test]
fn a_consent_narrows_its_grant_and_ends_at_once() {
    let world = World::new();
    let consent = ConsentId::from_bytes([7; 16]);
    let subject = subject();
    let named = Asking { subject: Some(&subject), consent: Some(consent), ..asking() };
    let policies = world.compile();
    let read = |asking: &Asking<'_>| {
        world.decide_with(&policies, asking, OperationKind::Read, world.all())
    };
    let over = Refused::ConsentOver(consent);
    assert_eq!(read(&named).unwrap_err(), over, "one that nobody gave");

    let email = world.classes.covered_by(&DataClass::new("user.contact.email").unwrap());
    let terms = Terms {
        integration: INTEGRATION,
        grant: grant_id(0),
        operations: BTreeSet::from([operation_id(OperationKind::Read)]),
        classes: email,
    };
    let until = LATER - Micros::from_secs(9);
    world.consents.put(consent, terms.clone(), until);
    let permit = read(&named).unwrap();
    assert_eq!(world.names(&permit), ["user.contact.email"]);
    assert_eq!((permit.valid_until(), permit.consent()), (until, Some(consent)));
    let listed = world.decide_with(&policies, &named, OperationKind::List, world.all());
    assert!(matches!(listed.unwrap_err(), Refused::OperationNotConsented { .. }));

    let nothing = Terms { classes: ClassSet::EMPTY, ..terms.clone() };
    world.consents.put(consent, nothing, until);
    assert!(matches!(read(&named).unwrap_err(), Refused::NothingPermitted { .. }));
    let of_another_grant = Terms { grant: grant_id(1), ..terms.clone() };
    world.consents.put(consent, of_another_grant, until);
    assert_eq!(read(&named).unwrap_err(), over, "of another grant");

    world.consents.put(consent, terms.clone(), until);
    world.consents.end_all(IntegrationId::from_bytes([99; 16]));
    assert!(read(&named).is_ok(), "another's");
    world.consents.end_all(INTEGRATION);
    assert_eq!(read(&named).unwrap_err(), over, "ended with all the others");
    let again = ConsentId::from_bytes([8; 16]);
    world.consents.put(again, terms, until);
    let named = Asking { consent: Some(again), ..named };
    assert!(read(&named).is_ok());
    assert!(world.consents.end(&again));
    assert_eq!(read(&named).unwrap_err(), Refused::ConsentOver(again));
}
