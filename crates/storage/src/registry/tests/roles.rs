//! Who may do what.

use super::fixture::*;
use crate::registry::command::{CaseStep, Command, Effect, Listing};
use crate::registry::signed::CommandError;
use crate::registry::{MIGRATIONS, Registry, RegistryError};
use crate::sqlite;
use model::{Micros, Operator, OperatorId, OperatorKind, Role, UnixMicros};
use proptest::prelude::*;
use sqlx::sqlite::SqlitePool;
use std::collections::BTreeMap;
use std::path::Path;

/// The design, as people read it. Written beside [`Command::least_role`] and not from it.
const DESIGNED: [(Role, &str); 4] = [
    (Role::Viewer, "exposure_query list console_open incident_show"),
    (
        Role::Responder,
        "sever freeze integration_restrict review_all consents_end credential_retire grant_withdraw bearer_end honey_plant list_honey window_declare window_end signals_acknowledge \
         subject_erase_cancel vendor_add integration_apply evidence_add evidence subject_export incident_open incident_scope \
         incident_decide incident_draft incident_file incident_postmortem incident_vendor incident_reopen",
    ),
    (
        Role::Approver,
        "restore unfreeze integration_review integration_approve integration_retire grant_add window_approve subject_erase subject_enrol \
         clock_acknowledge incident_decide_against incident_notify incident_close",
    ),
    (
        Role::Admin,
        "operator_add operator_role operator_remove operator_passkeys_remove credential_add certificate_add registration_ticket \
         registration_approve redirects_set vendor_webhook bearer_exception",
    ),
];

fn word(command: &Command) -> String {
    if matches!(command, Command::List { what: Listing::Honey }) {
        return "list_honey".to_owned();
    }
    let Command::IncidentStep { step, .. } = command else { return command.action().to_owned() };
    if matches!(step, CaseStep::Decide { notify: false, .. }) {
        return "incident_decide_against".to_owned();
    }
    format!("incident_{}", step.name())
}

fn designed(command: &Command) -> Role {
    let word = word(command);
    let found = DESIGNED.iter().find(|(_, words)| words.split(' ').any(|found| found == word));
    found.unwrap_or_else(|| panic!("nobody designed who may `{word}`")).0
}

#[test]
fn every_command_has_the_role_that_was_designed() {
    for (command, _) in every_command() {
        assert_eq!(command.least_role(), designed(&command), "{}", word(&command));
    }
    let words: usize = DESIGNED.iter().map(|(_, words)| words.split(' ').count()).sum();
    assert_eq!(words, every_command().len());
}

#[test]
fn what_takes_two_takes_two_approvers_at_least() {
    for (command, _) in every_command() {
        let widens = command.effect() == Effect::Widens;
        assert!(!widens || command.least_role() > Role::AUTOMATION_MAX, "{}", word(&command));
    }
}

/// `UPDATE_GOLDEN=1` writes the table anew.
#[test]
fn the_page_for_operators_says_the_same() {
    let mut table = String::from("| action | least role | signatures |\n|---|---|---|\n");
    let mut rows: Vec<_> = every_command()
        .iter()
        .map(|(command, keys)| (command.least_role(), word(command), *keys))
        .collect();
    rows.sort();
    for (role, word, keys) in rows {
        table.push_str(&format!("| `{word}` | {role} | {} |\n", ["", "one", "two"][keys]));
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating/operators.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- roles -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- /roles -->").unwrap();
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        let written = format!("{before}<!-- roles -->\n{table}<!-- /roles -->{after}");
        return std::fs::write(&page, written).unwrap();
    }
    assert_eq!(found, table, "UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn a_refusal_says_whom_to_ask() {
    let (vera, ada) = (Person::of_role(21, Role::Viewer), Person::new(11));
    let roster = roster(&[&vera, &ada]);
    let sever = Command::Sever { target: "vendor:acme".parse().unwrap(), reason: "theft".into() };
    let refused = signed(&payload(sever), &[&vera]).verify(&roster, NOW, &HEAD).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "role `viewer` of `Operator 21` may not `sever`; ask a responder"
    );
    let refused = signed(&payload(approve()), &[&ada, &vera]).verify(&roster, NOW, &HEAD);
    assert!(refused.unwrap_err().to_string().ends_with("; ask an approver"));
}

#[tokio::test]
async fn nothing_is_carried_out_for_a_role_below_its_own() {
    let world = World::new().await;
    let least = |role| {
        let n = 30 + 2 * role as u8;
        [Person::of_role(n, role), Person::of_role(n + 1, role)]
    };
    let people = Role::ALL.map(least);
    for person in people.iter().flatten() {
        world.both(person.add()).await.unwrap();
    }
    for (command, _) in every_command() {
        for (role, [one, other]) in Role::ALL.into_iter().zip(&people) {
            if role >= designed(&command) {
                continue;
            }
            let before = world.registry.snapshot().await.unwrap();
            let carried_out = world.registry.commands(1_000).await.unwrap();
            let admin = &world.ada;
            // Nobody else's signature makes up for it.
            for signers in [&[one][..], &[one, other], &[one, admin], &[admin, &world.bo, one]] {
                let refused = world.send(&signed(&payload(command.clone()), signers)).await;
                assert!(
                    matches!(
                        refused,
                        Err(RegistryError::NotAuthorised(CommandError::RoleTooLow { .. }))
                    ),
                    "{role}: {}",
                    word(&command)
                );
            }
            assert_eq!(world.registry.snapshot().await.unwrap(), before);
            assert_eq!(world.registry.commands(1_000).await.unwrap(), carried_out);
        }
    }
}

#[tokio::test]
async fn a_role_counts_as_it_is_when_the_command_arrives() {
    let world = World::new().await;
    let (cy, di) = (Person::new(13), Person::of_role(14, Role::Approver));
    world.both(cy.add()).await.unwrap();
    world.both(di.add()).await.unwrap();
    let freeze = Command::Freeze { reason: "incident".into() };
    world.one(freeze).await.unwrap();
    let thaw = signed(&payload(Command::Unfreeze {}), &[&cy, &di]);
    let (operator, role) = (di.operator.id, Role::Responder);
    world.both(Command::OperatorRole { operator, role }).await.unwrap();
    let refused = world.send(&thaw).await.unwrap_err();
    assert!(refused.to_string().contains("role `responder` of `Operator 14`"), "{refused}");

    let role = Role::Approver;
    world.both(Command::OperatorRole { operator, role }).await.unwrap();
    world.both(Command::OperatorRemove { operator }).await.unwrap();
    let refused = world.send(&thaw).await.unwrap_err();
    assert!(matches!(refused, RegistryError::NotAuthorised(CommandError::UnknownOperator(_))));
    assert!(world.registry.snapshot().await.unwrap().frozen.is_some());
    let refused = world.both(Command::OperatorRole { operator, role: Role::Admin }).await;
    assert!(matches!(refused, Err(RegistryError::Unknown(_))), "who left is not brought back");
}

#[tokio::test]
async fn two_admins_remain_and_they_are_people() {
    let world = World::new().await;
    let (cy, vera) = (Person::new(13), Person::of_role(21, Role::Viewer));
    world.both(vera.add()).await.unwrap();
    let bo = world.bo.operator.id;
    for command in [
        Command::OperatorRole { operator: bo, role: Role::Approver },
        Command::OperatorRemove { operator: bo },
    ] {
        let refused = world.both(command).await.unwrap_err();
        assert_eq!(refused.to_string(), "two admins must remain");
    }
    world.both(cy.add()).await.unwrap();
    world.both(Command::OperatorRole { operator: bo, role: Role::Viewer }).await.unwrap();
    let refused = world.both(Command::Unfreeze {}).await.unwrap_err();
    assert!(refused.to_string().contains("role `viewer` of `Operator 12`"), "{refused}");
}

#[tokio::test]
async fn the_first_two_are_admins() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(&folder.path().join("registry.db")).await.unwrap();
    let (ada, vera) = (Person::new(11), Person::of_role(21, Role::Viewer));
    assert!(matches!(registry.found(&vera.operator).await, Err(RegistryError::Invalid(_))));
    registry.found(&ada.operator).await.unwrap();
    for second in
        [vera, Person::of_role(22, Role::Approver), Person::automation(23, Role::Viewer, LATER)]
    {
        let add = signed(&payload(second.add()), &[&ada, &second]);
        let refused = registry.apply(&add, &HEAD, NOW).await.unwrap_err();
        assert!(
            matches!(refused, RegistryError::NotAuthorised(CommandError::SecondNotAdmin)),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn an_automation_narrows_and_looks_until_it_ends() {
    let world = World::new().await;
    let until = NOW + Micros::from_secs(365 * 86_400);
    let robot = Person::automation(41, Role::Responder, until);
    world.both(robot.add()).await.unwrap();
    let freeze = || signed(&payload(Command::Freeze { reason: "by rule".into() }), &[&robot]);
    world.send(&freeze()).await.unwrap();
    let roster = world.registry.snapshot().await.unwrap().operators;
    assert_eq!(roster[&robot.operator.id], robot.operator);

    let alone = signed(&payload(Command::ConsoleOpen {}), &[&robot]);
    let refused = world.send(&alone).await.unwrap_err().to_string();
    assert_eq!(refused, "`console_open` is for people, and `Operator 41` is an automation");
    let second = signed(&payload(Command::Unfreeze {}), &[&world.ada, &robot]);
    assert!(world.send(&second).await.is_err(), "never one of two");

    let mut late = payload(Command::Freeze { reason: "by rule".into() });
    (late.issued, late.expires) = (until, until + Micros::from_secs(60));
    let late = signed(&late, &[&robot]);
    let refused = late.verify(&roster, until, &HEAD).unwrap_err();
    assert!(matches!(refused, CommandError::AutomationEnded { .. }), "{refused}");
    assert!(late.verify(&roster, UnixMicros(until.0 - 1), &HEAD).is_ok());
}

#[tokio::test]
async fn an_automation_is_capped_in_role_and_time() {
    let world = World::new().await;
    let year = Micros::from_secs(365 * 86_400);
    for (n, (role, until)) in (50..).zip([
        (Role::Approver, LATER),
        (Role::Admin, LATER),
        (Role::Viewer, NOW),
        (Role::Viewer, UnixMicros((NOW + year).0 + 1)),
    ]) {
        let refused = world.both(Person::automation(n, role, until).add()).await;
        assert!(matches!(refused, Err(RegistryError::Invalid(_))), "{role} until {until}");
    }
    let robot = Person::automation(60, Role::Viewer, LATER);
    world.both(robot.add()).await.unwrap();
    let operator = robot.operator.id;
    for role in [Role::Approver, Role::Admin] {
        let refused = world.both(Command::OperatorRole { operator, role }).await;
        assert!(matches!(refused, Err(RegistryError::Invalid(_))), "{role}");
    }
    world.both(Command::OperatorRole { operator, role: Role::Responder }).await.unwrap();
    // And what is judged is capped, whatever is stored.
    let mut roster = roster(&[&world.ada, &robot]);
    roster.entry(operator).and_modify(|robot| robot.role = Role::Admin);
    let thaw = signed(&payload(Command::Unfreeze {}), &[&world.ada, &robot]);
    assert!(thaw.verify(&roster, NOW, &HEAD).is_err());
}

#[tokio::test]
async fn operators_of_before_there_were_roles_are_admins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let pool = SqlitePool::connect_with(sqlite::options(&path).foreign_keys(true)).await.unwrap();
    MIGRATIONS.run_to(29, &pool).await.unwrap();
    let ada = Person::new(11);
    sqlx::query("INSERT INTO operators (id, name, public_key, removed) VALUES ($1, $2, $3, 0)")
        .bind(ada.operator.id.to_string())
        .bind(&ada.operator.name)
        .bind(ada.operator.public_key.to_vec())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;

    let registry = Registry::open(&path).await.unwrap();
    let roster = registry.snapshot().await.unwrap().operators;
    assert_eq!(roster[&ada.operator.id], ada.operator);
    // One that came in by another way, whose role nobody said, stops everything in place of doing everything.
    sqlx::query(
        "INSERT INTO operators (id, name, public_key, removed) VALUES ('opr_x', 'x', $1, 0)",
    )
    .bind(vec![1_u8; 32])
    .execute(&registry.pool)
    .await
    .unwrap();
    assert!(matches!(registry.snapshot().await, Err(RegistryError::Corrupt(_))));
}

fn roster(people: &[&Person]) -> BTreeMap<OperatorId, Operator> {
    people.iter().map(|person| (person.operator.id, person.operator.clone())).collect()
}

/// Someone of any role, who may be an automation that runs or has ended.
fn anybody(n: u8) -> impl Strategy<Value = Person> {
    let until = prop_oneof![Just(None), Just(Some(NOW)), Just(Some(LATER))];
    (0..Role::ALL.len(), until).prop_map(move |(role, until)| {
        let role = Role::ALL[role];
        until.map_or_else(|| Person::of_role(n, role), |until| Person::automation(n, role, until))
    })
}

proptest! {
    /// No command of a role above its own is ever carried out, whoever else signs, and nothing else is refused.
    #[test]
    fn roles_are_kept(
        people in (anybody(11), anybody(12), anybody(13)),
        signing in prop::collection::vec(0_usize..3, 0..4),
        which in 0..every_command().len(),
    ) {
        let people = [people.0, people.1, people.2];
        let (command, needed) = every_command().swap_remove(which);
        let signers: Vec<_> = signing.iter().map(|&one| &people[one]).collect();
        let roster = roster(&[&people[0], &people[1], &people[2]]);
        let verified = signed(&payload(command.clone()), &signers).verify(&roster, NOW, &HEAD);

        let allowed = |person: &Person| {
            let (role, is_console) = (person.operator.role, command == Command::ConsoleOpen {});
            match person.operator.kind {
                OperatorKind::Person => role >= designed(&command),
                OperatorKind::Automation { until } => {
                    NOW < until && !is_console && role.min(Role::Responder) >= designed(&command)
                }
            }
        };
        let mut distinct = signing.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let expected = signers.iter().all(|person| allowed(person)) && distinct.len() >= needed;
        prop_assert_eq!(verified.is_ok(), expected, "{:?}", verified);
        if let Ok(authorised) = verified {
            prop_assert_eq!(authorised.operators().len(), distinct.len());
        }
    }
}
