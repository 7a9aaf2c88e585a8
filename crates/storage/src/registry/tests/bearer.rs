//! Bearer exceptions: who starts one, for how long, and who ends it.

use super::fixture::{INTEGRATION, NOW, World};
use crate::registry::RegistryError;
use crate::registry::command::Command;
use crate::registry::signed::CommandError;
use model::{IntegrationId, Micros, UnixMicros};

const DAY: Micros = Micros::from_secs(86_400);

fn begin(integration: IntegrationId, until: UnixMicros) -> Command {
    let (owner, reason) = ("Ines of Support".to_owned(), "the old importer".to_owned());
    Command::BearerException { integration, owner, reason, until }
}

fn after(days: u64) -> UnixMicros {
    NOW + Micros(DAY.0 * days)
}

async fn runs(world: &World, now: UnixMicros) -> bool {
    world.registry.directory().await.unwrap().bears(&INTEGRATION, now)
}

#[tokio::test]
async fn two_operators_start_one_for_thirty_days_at_most_and_one_ends_it() {
    let world = World::with_integration().await;
    let alone = world.one(begin(INTEGRATION, after(1))).await;
    assert!(matches!(
        alone,
        Err(RegistryError::NotAuthorised(CommandError::TooFewKeys { needed: 2, .. }))
    ));
    for wrong in [
        begin(INTEGRATION, after(31)),
        begin(INTEGRATION, NOW),
        Command::BearerException {
            integration: INTEGRATION,
            owner: String::new(),
            reason: "x".into(),
            until: after(1),
        },
        Command::BearerException {
            integration: INTEGRATION,
            owner: "Ines".into(),
            reason: " ".into(),
            until: after(1),
        },
        begin(IntegrationId::from_bytes([22; 16]), after(1)),
    ] {
        assert!(world.both(wrong).await.is_err());
    }
    assert!(!runs(&world, NOW).await);

    world.both(begin(INTEGRATION, after(30))).await.unwrap();
    let directory = world.registry.directory().await.unwrap();
    assert!(directory.bears(&INTEGRATION, NOW));
    assert!(directory.bears(&INTEGRATION, UnixMicros(after(30).0 - 1)));
    assert!(!directory.bears(&INTEGRATION, after(30)), "by the clock alone");
    assert!(!directory.bears(&IntegrationId::from_bytes([22; 16]), NOW), "nobody else's");
    assert_eq!(directory.bearer[&INTEGRATION].owner, "Ines of Support");

    world.one(Command::BearerEnd { integration: INTEGRATION }).await.unwrap();
    assert!(!runs(&world, NOW).await);
    assert!(world.one(Command::BearerEnd { integration: INTEGRATION }).await.is_err());
}

#[tokio::test]
async fn a_freeze_starts_none_and_ends_none() {
    let world = World::with_integration().await;
    world.both(begin(INTEGRATION, after(2))).await.unwrap();
    world.one(Command::Freeze { reason: "incident".into() }).await.unwrap();
    assert!(world.both(begin(INTEGRATION, after(3))).await.is_err());
    assert!(runs(&world, NOW).await);
    world.one(Command::BearerEnd { integration: INTEGRATION }).await.unwrap();
    assert!(!runs(&world, NOW).await);
}
