//! Who must have signed what, for how long, against which posture.

use super::fixture::*;
use crate::registry::command::{Command, Effect};
use crate::registry::signed::{CommandError, PAYLOAD_BYTES_MAX, Payload, SignedCommand};
use crate::registry::{Registry, RegistryError};
use model::{Micros, Operator, OperatorId, Role, UnixMicros};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn people() -> (Person, Person, BTreeMap<OperatorId, Operator>) {
    let (ada, bo) = (Person::new(11), Person::new(12));
    let roster = [&ada, &bo].map(|p| (p.operator.id, p.operator.clone())).into();
    (ada, bo, roster)
}

fn check(command: &SignedCommand, now: UnixMicros) -> Result<(), CommandError> {
    let (_, _, roster) = people();
    command.verify(&roster, now, &HEAD).map(|_| ())
}

#[test]
fn what_widens_needs_two_different_keys() {
    let (ada, bo, _) = people();
    let approve = payload(approve());
    let few =
        |found| Err(CommandError::TooFewKeys { action: "integration_approve", needed: 2, found });
    assert_eq!(check(&signed(&approve, &[]), NOW), few(0));
    assert_eq!(check(&signed(&approve, &[&ada]), NOW), few(1));
    assert_eq!(check(&signed(&approve, &[&ada, &ada]), NOW), few(1));
    assert_eq!(check(&signed(&approve, &[&ada, &bo]), NOW), Ok(()));
}

#[test]
fn one_key_under_two_names_is_one_key() {
    let (ada, _, mut roster) = people();
    let alias = OperatorId::from_bytes([99; 16]);
    roster.insert(alias, Operator { id: alias, ..ada.operator.clone() });
    let mut command = signed(&payload(approve()), &[&ada, &ada]);
    command.signatures[1].0 = alias;
    let refused = command.verify(&roster, NOW, &HEAD).unwrap_err();
    assert!(matches!(refused, CommandError::TooFewKeys { found: 1, .. }), "{refused}");
}

#[test]
fn what_narrows_needs_one_and_any_posture() {
    let (ada, _, roster) = people();
    let freeze = payload(Command::Freeze { reason: "incident".into() });
    assert_eq!(check(&signed(&freeze, &[&ada]), NOW), Ok(()));
    assert!(check(&signed(&freeze, &[]), NOW).is_err());
    assert!(signed(&freeze, &[&ada]).verify(&roster, NOW, &[0; 32]).is_ok());
}

#[test]
fn what_widens_is_bound_to_the_posture_that_was_seen() {
    let (ada, bo, roster) = people();
    let refused = signed(&payload(approve()), &[&ada, &bo]).verify(&roster, NOW, &[0; 32]);
    assert_eq!(
        refused.map(|_| ()),
        Err(CommandError::OtherPosture { action: "integration_approve" })
    );
}

#[test]
fn a_command_lives_from_its_issue_to_its_expiry_and_for_a_week_at_most() {
    let (ada, _, _) = people();
    let at = |issued, expires| {
        let freeze = Command::Freeze { reason: "incident".into() };
        check(&signed(&Payload { issued, expires, ..payload(freeze) }, &[&ada]), NOW)
    };
    let second = Micros::from_secs(1);
    assert_eq!(at(NOW - second, NOW), Err(CommandError::Expired(NOW)));
    assert_eq!(at(NOW - second, NOW + second), Ok(()));
    assert_eq!(at(NOW + Micros::from_secs(60), NOW + Micros::from_secs(61)), Ok(()));
    let early = NOW + Micros::from_secs(61);
    assert_eq!(at(early, LATER), Err(CommandError::NotYet(early)));
    assert_eq!(at(NOW, LATER), Err(CommandError::LivesTooLong));
}

#[test]
fn one_bad_signature_refuses_the_whole() {
    let (ada, bo, _) = people();
    let approve = payload(approve());
    let stranger = Person::new(66);
    assert_eq!(
        check(&signed(&approve, &[&ada, &bo, &stranger]), NOW),
        Err(CommandError::UnknownOperator(stranger.operator.id))
    );
    let mut borrowed = signed(&approve, &[&ada, &stranger]);
    borrowed.signatures[1].0 = bo.operator.id;
    assert_eq!(check(&borrowed, NOW), Err(CommandError::BadSignature(bo.operator.id)));
    let mut changed = signed(&approve, &[&ada, &bo]);
    changed.payload.push(b' ');
    assert_eq!(check(&changed, NOW), Err(CommandError::BadSignature(ada.operator.id)));
}

#[test]
fn payloads_with_anything_unknown_twice_or_missing_are_refused() {
    let (ada, _, _) = people();
    let good = String::from_utf8(payload(Command::Unfreeze {}).to_json().unwrap()).unwrap();
    let malformed = |json: String| {
        let payload = json.into_bytes();
        let signatures = vec![ada.sign(&payload)];
        matches!(
            check(&SignedCommand { payload, signatures, attachment: None }, NOW),
            Err(CommandError::Malformed(_))
        )
    };
    assert!(!malformed(good.clone()));
    assert!(malformed(good.replace(r#""unfreeze""#, r#""unfreeze","x":1"#)));
    assert!(malformed(good.replace(r#""unfreeze""#, r#""thaw""#)));
    assert!(malformed(good.replace(r#""command""#, r#""x":1,"command""#)));
    assert!(malformed(good.replace(r#""issued""#, r#""expires":"2026-01-01T00:00:00Z","issued""#)));
    assert!(malformed(good.replace("07070707", "0707070")));
    assert!(malformed(format!("{good}{good}")));
    assert!(malformed(String::new()));
}

#[test]
fn long_payloads_and_lists_of_signatures_are_not_even_read() {
    let (ada, _, _) = people();
    let large = SignedCommand {
        payload: vec![b' '; PAYLOAD_BYTES_MAX + 1],
        signatures: vec![],
        attachment: None,
    };
    assert_eq!(check(&large, NOW), Err(CommandError::TooLarge));
    let many = signed(&payload(vendor_add()), &[&ada; 9]);
    assert_eq!(check(&many, NOW), Err(CommandError::TooLarge));
}

#[test]
fn a_command_travels_unchanged() {
    let (ada, bo, _) = people();
    let command = signed(&payload(approve()), &[&ada, &bo]);
    let json = command.to_json().unwrap();
    assert_eq!(SignedCommand::from_json(&json), Ok(command));
    let text = String::from_utf8(json).unwrap();
    for broken in [text.replace("payload", "load"), text.replace("opr_", "int_"), text + "x"] {
        let refused = SignedCommand::from_json(broken.as_bytes());
        assert!(matches!(refused, Err(CommandError::Malformed(_))), "{broken}");
    }
}

#[test]
fn every_action_reads_back_as_it_was_written() {
    let reason = String::from("incident");
    for command in [
        vendor_add(),
        approve(),
        apply(),
        credential_add(&Person::new(90)),
        grant_add(&["user.contact"]),
        Person::new(12).add(),
        Command::Sever { target: "vendor:acme".parse().unwrap(), reason: reason.clone() },
        Command::Restore { target: "network:203.0.113.0/24".parse().unwrap(), reason },
        Command::ClockAcknowledge {},
        evidence(),
        review(),
        case_open(),
        case_step(decide(false)),
    ] {
        let written = payload(command);
        let json = written.to_json().unwrap();
        assert_eq!(serde_json::from_slice::<Payload>(&json).unwrap(), written);
        let action = format!(r#""action":"{}""#, written.command.action());
        assert!(String::from_utf8(json).unwrap().contains(&action), "{action}");
    }
}

#[test]
fn every_action_needs_as_many_keys_as_designed() {
    let (ada, bo, _) = people();
    let mut actions = BTreeSet::new();
    for (command, needed) in every_command() {
        let action = command.action();
        let payload = payload(command);
        let enough = [&[][..], &[&ada], &[&ada, &bo]]
            .into_iter()
            .position(|signers| check(&signed(&payload, signers), NOW).is_ok());
        assert_eq!(enough, Some(needed), "{action}");
        actions.insert(format!("`{action}`"));
    }
    // Serde names every action that it reads when it is given another.
    let unknown = serde_json::from_str::<Command>(r#"{"action":"?"}"#).unwrap_err().to_string();
    let (_, known) = unknown.split_once("expected one of ").unwrap();
    let known = known.split(" at line ").next().unwrap().split(", ").map(str::to_owned).collect();
    assert_eq!(actions, known);
}

#[test]
fn looking_is_neither() {
    let question = "integration acme-desk".into();
    assert_eq!(Command::ExposureQuery { question }.effect(), Effect::Looks);
}

#[tokio::test]
async fn a_replayed_command_is_refused() {
    let world = World::new().await;
    let freeze = signed(&payload(Command::Freeze { reason: "incident".into() }), &[&world.ada]);
    world.send(&freeze).await.unwrap();
    world.both(Command::Unfreeze {}).await.unwrap();
    let refused = world.send(&freeze).await.unwrap_err();
    assert!(matches!(refused, RegistryError::AlreadyApplied(_)), "{refused}");
    assert_eq!(world.registry.snapshot().await.unwrap().frozen, None);
}

#[tokio::test]
async fn the_first_operator_and_the_second_together_make_a_roster_of_two() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(&folder.path().join("registry.db")).await.unwrap();
    let (ada, bo, cy) = (Person::new(11), Person::new(12), Person::new(13));
    registry.found(&ada.operator).await.unwrap();
    assert!(matches!(registry.found(&bo.operator).await, Err(RegistryError::Taken(_))));

    let alone = signed(&payload(bo.add()), &[&ada]);
    assert!(registry.apply(&alone, &HEAD, NOW).await.is_err());
    let same_key = Command::OperatorAdd {
        operator: bo.operator.id,
        name: "Ada again".into(),
        public_key: ada.operator.public_key,
        role: Role::Admin,
        automation_until: None,
    };
    let mut twice = signed(&payload(same_key), &[&ada, &ada]);
    twice.signatures[1].0 = bo.operator.id;
    assert!(registry.apply(&twice, &HEAD, NOW).await.is_err());
    registry.apply(&signed(&payload(bo.add()), &[&ada, &bo]), &HEAD, NOW).await.unwrap();

    let own_word = signed(&payload(cy.add()), &[&ada, &cy]);
    let refused = registry.apply(&own_word, &HEAD, NOW).await.unwrap_err();
    assert!(refused.to_string().ends_with("is not an operator"), "{refused}");
}

#[tokio::test]
async fn two_operators_remain_and_a_removed_one_signs_nothing() {
    let world = World::new().await;
    let cy = Person::new(13);
    let remove = |person: &Person| Command::OperatorRemove { operator: person.operator.id };
    assert!(world.both(remove(&world.bo)).await.is_err());
    world.both(cy.add()).await.unwrap();
    world.both(remove(&world.bo)).await.unwrap();
    let refused = world.both(Command::Unfreeze {}).await.unwrap_err();
    assert!(matches!(refused, RegistryError::NotAuthorised(CommandError::UnknownOperator(_))));
    let back = signed(&payload(world.bo.add()), &[&world.ada, &cy]);
    assert!(matches!(world.send(&back).await, Err(RegistryError::Taken(_))));
}

proptest! {
    #[test]
    fn no_payload_panics(payload: Vec<u8>) {
        let _ = SignedCommand::from_json(&payload);
        let signed = SignedCommand { payload, signatures: vec![], attachment: None };
        prop_assert!(check(&signed, NOW).is_err());
    }
}
