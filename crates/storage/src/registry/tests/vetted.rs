//! Vetting by evidence, re-certification of everybody, and cases.

use super::fixture::*;
use crate::registry::command::{CaseStep, Command};
use crate::registry::lifecycle::Stage;
use crate::registry::{Beside, Checked, Registry, RegistryError};
use model::{IntegrationState, Micros, UnixMicros};

async fn send(world: &World, command: Command, checked: Checked) -> Result<(), RegistryError> {
    let command = signed(&payload(command), &[&world.ada, &world.bo]);
    world.registry.apply_with(&command, Beside::Checked(&checked), &HEAD, NOW).await.map(drop)
}

async fn stage(world: &World) -> Stage {
    world.registry.integrations().await.unwrap().remove(0).stage
}

async fn applied() -> World {
    let world = World::new().await;
    world.one(vendor_add()).await.unwrap();
    world.one(apply()).await.unwrap();
    world
}

#[tokio::test]
async fn from_application_to_approval_no_step_can_be_left_out() {
    let world = applied().await;
    for early in [review(), approve()] {
        assert!(matches!(world.both(early).await, Err(RegistryError::NotFromHere(_))));
    }
    world.one(evidence()).await.unwrap();
    assert_eq!(stage(&world).await, Stage::Evidence);
    assert!(matches!(world.both(approve()).await, Err(RegistryError::NotFromHere(_))));
    world.both(review()).await.unwrap();
    assert_eq!(stage(&world).await, Stage::Sandbox);
    let row = world.registry.vetting(INTEGRATION).await.unwrap().unwrap();
    assert_eq!(row.reviewers.split(' ').count(), 2);
    assert_eq!((row.sandboxed, row.approved), (Some(NOW), None));
    let directory = world.registry.directory().await.unwrap();
    assert_eq!(
        directory.integrations[&INTEGRATION].state,
        IntegrationState::Sandbox { until: LATER }
    );

    // What was reviewed is not what it submits after that.
    world.one(evidence()).await.unwrap();
    assert_eq!(stage(&world).await, Stage::Evidence);
    world.both(review()).await.unwrap();
    world.both(approve()).await.unwrap();
    assert_eq!(stage(&world).await, Stage::Approved);
    let row = world.registry.vetting(INTEGRATION).await.unwrap().unwrap();
    assert_eq!(row.approved, Some([5; 32]));
}

#[tokio::test]
async fn nothing_is_reviewed_or_approved_whose_checks_fail() {
    let world = applied().await;
    let failing = || Checked { passed: false, ..checked() };
    send(&world, evidence(), failing()).await.unwrap();
    let refused = send(&world, review(), failing()).await.unwrap_err();
    assert!(refused.to_string().contains("not all checks pass"), "{refused}");
    send(&world, review(), checked()).await.unwrap();
    assert!(send(&world, approve(), failing()).await.is_err());
    assert_eq!(stage(&world).await, Stage::Sandbox);
    let unchecked = signed(&payload(approve()), &[&world.ada, &world.bo]);
    assert!(world.registry.apply(&unchecked, &HEAD, NOW).await.is_err());
}

#[tokio::test]
async fn the_tier_is_computed_and_bounds_how_long_an_approval_lasts() {
    let world = World::with_integration().await;
    let short = Checked { tier: 3, until_max: UnixMicros(LATER.0 - 1), ..checked() };
    assert!(send(&world, approve(), short).await.is_err());
    assert_eq!(world.registry.directory().await.unwrap().integrations[&INTEGRATION].tier, 2);
    send(&world, approve(), Checked { tier: 3, ..checked() }).await.unwrap();
    assert_eq!(world.registry.directory().await.unwrap().integrations[&INTEGRATION].tier, 3);
}

#[tokio::test]
async fn a_rule_restricts_an_approved_integration_and_touches_no_other() {
    let world = World::with_integration().await;
    assert!(world.registry.restrict_by_rule(INTEGRATION).await.unwrap());
    assert!(!world.registry.restrict_by_rule(INTEGRATION).await.unwrap());
    assert_eq!(stage(&world).await, Stage::Restricted);
    world.one(evidence()).await.unwrap();
    assert_eq!(stage(&world).await, Stage::Restricted);
    world.both(approve()).await.unwrap();
    assert_eq!(stage(&world).await, Stage::Approved);
}

#[tokio::test]
async fn review_all_ends_every_approval_that_is_not_given_anew() {
    let world = World::with_integration().await;
    let by = NOW + Micros::from_secs(86_400);
    world.one(Command::ReviewAll { by, reason: "acme".into() }).await.unwrap();
    let state =
        || async { world.registry.directory().await.unwrap().integrations[&INTEGRATION].state };
    assert_eq!(state().await, IntegrationState::Approved { until: by });
    let campaign = world.registry.campaign().await.unwrap().unwrap();
    assert_eq!((campaign.due, &campaign.open[..]), (by, &["acme-desk".to_owned()][..]));

    world.both(approve()).await.unwrap();
    assert_eq!(state().await, IntegrationState::Approved { until: LATER });
    let campaign = world.registry.campaign().await.unwrap().unwrap();
    assert_eq!((campaign.open.len(), campaign.approved.len()), (0, 1));
    // A later one does not lengthen what is short already.
    let past = Command::ReviewAll { by: NOW, reason: "acme".into() };
    assert!(world.one(past).await.is_err());
}

#[tokio::test]
async fn a_freeze_stops_evidence_and_review_too() {
    let world = applied().await;
    world.one(Command::Freeze { reason: "acme".into() }).await.unwrap();
    for step in [evidence(), review()] {
        assert!(matches!(world.both(step).await, Err(RegistryError::Frozen { .. })));
    }
    world.one(Command::ReviewAll { by: LATER, reason: "acme".into() }).await.unwrap();
}

#[tokio::test]
async fn a_case_keeps_its_events_in_order_and_nobody_writes_past_another() {
    let world = applied().await;
    let events = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let send = async |command: Command, known: usize, names: &[&str]| {
        let command = signed(&payload(command), &[&world.ada]);
        let events = events(names);
        let beside = Beside::Case { known, events: &events };
        world.registry.apply_with(&command, beside, &HEAD, NOW).await
    };
    send(case_open(), 0, &["opened"]).await.unwrap();
    assert!(matches!(send(case_open(), 0, &["opened"]).await, Err(RegistryError::Taken(_))));
    let step = || case_step(CaseStep::Postmortem { version: 1 });
    send(step(), 1, &["scoped", "drafted"]).await.unwrap();
    let refused = send(step(), 1, &["drafted"]).await.unwrap_err();
    assert!(refused.to_string().contains("changed meanwhile"), "{refused}");
    world.registry.append_to_case(INCIDENT, 3, &events(&["mailed"])).await.unwrap();
    let case = world.registry.case(INCIDENT).await.unwrap();
    assert_eq!(case.events, ["opened", "scoped", "drafted", "mailed"]);
    assert_eq!(case.name, "acme-theft");
}

/// A registry of the version before evidence opens with every row in place.
#[tokio::test]
async fn a_registry_without_evidence_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .foreign_keys(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let first = sqlx::migrate::Migrator {
        migrations: crate::registry::MIGRATIONS.migrations[..1].to_vec().into(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    first.run(&pool).await.unwrap();
    for statement in [
        "INSERT INTO vendors VALUES ('ven_00000000000000000000000001', 'acme', 'Acme')",
        "INSERT INTO integrations VALUES ('int_00000000000000000000000001', 'acme-desk', 'ven_00000000000000000000000001', 1, 'approved', NULL, 7)",
        "INSERT INTO credentials VALUES ('crd_00000000000000000000000001', 'int_00000000000000000000000001', zeroblob(32), '{}', 7, 0)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let registry = Registry::open(&path).await.unwrap();
    let rows = registry.integrations().await.unwrap();
    assert_eq!((rows[0].slug.as_str(), rows[0].stage), ("acme-desk", Stage::Approved));
    assert_eq!(registry.directory().await.unwrap().credentials.len(), 1);
    assert!(registry.vettings().await.unwrap().is_empty());
}
