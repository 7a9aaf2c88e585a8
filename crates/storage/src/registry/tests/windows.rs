//! Change windows: inert until two approve them in the words in which they were declared, and never for long.

use super::fixture::{INTEGRATION, NOW, World, payload, signed};
use crate::registry::command::{Change, Command, DeclaredWindow};
use crate::registry::signed::CommandError;
use crate::registry::{CaseRow, RegistryError};
use model::{IncidentId, IntegrationId, Micros, UnixMicros, WindowId};

fn hours(hours: u64) -> UnixMicros {
    NOW + Micros::from_secs(hours * 3_600)
}

fn backfill(n: u8) -> DeclaredWindow {
    DeclaredWindow {
        window: WindowId::from_bytes([n; 16]),
        integration: INTEGRATION,
        change: Change::Backfill {
            operation: "listTickets".into(),
            subjects_max: 500,
            full_scan: false,
        },
        from: NOW,
        to: hours(12),
        reason: "a new index".into(),
    }
}

async fn approved(world: &World) -> Vec<DeclaredWindow> {
    world.registry.snapshot().await.unwrap().windows
}

#[tokio::test]
async fn one_declares_two_approve_every_word_and_one_ends() {
    let world = World::with_integration().await;
    let window = backfill(1);
    world.one(Command::WindowDeclare { window: window.clone() }).await.unwrap();
    assert!(approved(&world).await.is_empty(), "inert");
    let alone = world.one(Command::WindowApprove { window: window.clone() }).await;
    assert!(matches!(
        alone,
        Err(RegistryError::NotAuthorised(CommandError::TooFewKeys { needed: 2, .. }))
    ));
    let wider =
        Change::Backfill { operation: "listTickets".into(), subjects_max: 501, full_scan: false };
    for other in [
        DeclaredWindow { change: wider, ..window.clone() },
        DeclaredWindow { to: hours(13), ..window.clone() },
        DeclaredWindow { from: hours(1), ..window.clone() },
        DeclaredWindow { reason: "another".into(), ..window.clone() },
        backfill(2),
    ] {
        assert!(world.both(Command::WindowApprove { window: other }).await.is_err());
    }
    assert!(approved(&world).await.is_empty());

    world.both(Command::WindowApprove { window: window.clone() }).await.unwrap();
    assert_eq!(approved(&world).await, std::slice::from_ref(&window));
    assert_eq!(world.registry.windows().await.unwrap()[0].state(NOW), "open");
    assert!(world.both(Command::WindowApprove { window: window.clone() }).await.is_err(), "once");
    world.one(Command::WindowEnd { window: window.window }).await.unwrap();
    assert!(approved(&world).await.is_empty());
    assert!(world.one(Command::WindowEnd { window: window.window }).await.is_err());
    let states = |row: &crate::registry::WindowRow| row.state(NOW);
    assert_eq!(
        world.registry.windows().await.unwrap().iter().map(states).collect::<Vec<_>>(),
        ["ended"]
    );
}

/// What was read between the two is read the same after a restart, and nothing beside it.
#[tokio::test]
async fn what_is_published_is_the_time_in_which_it_held() {
    let world = World::with_integration().await;
    let minutes = |n: u64| NOW + Micros::from_secs(n * 60);
    let window = backfill(1);
    world.one(Command::WindowDeclare { window: window.clone() }).await.unwrap();
    let approve = payload(Command::WindowApprove { window: window.clone() });
    let approve = signed(&approve, &[&world.ada, &world.bo]);
    world.send_at(&approve, minutes(1)).await.unwrap();
    let held = DeclaredWindow { from: minutes(1), ..window.clone() };
    assert_eq!(approved(&world).await, std::slice::from_ref(&held));
    let end = signed(&payload(Command::WindowEnd { window: window.window }), &[&world.ada]);
    world.send_at(&end, minutes(3)).await.unwrap();
    assert_eq!(approved(&world).await, [DeclaredWindow { to: minutes(3), ..held }]);
    assert_eq!(world.registry.windows().await.unwrap()[0].declared, window, "in its words");
}

#[tokio::test]
async fn what_is_too_long_too_wide_or_of_nobody_is_not_declared() {
    let world = World::with_integration().await;
    let address = |network: &str| Change::Address { network: network.into() };
    let none =
        Change::Backfill { operation: "listTickets".into(), subjects_max: 0, full_scan: true };
    for wrong in [
        DeclaredWindow { to: hours(14 * 24 + 1), ..backfill(1) },
        DeclaredWindow { to: NOW, ..backfill(1) },
        DeclaredWindow { from: hours(91 * 24), to: hours(91 * 24 + 1), ..backfill(1) },
        DeclaredWindow { reason: " ".into(), ..backfill(1) },
        DeclaredWindow { integration: IntegrationId::from_bytes([22; 16]), ..backfill(1) },
        DeclaredWindow { change: none, ..backfill(1) },
        DeclaredWindow { change: address("0.0.0.0/0"), ..backfill(1) },
        DeclaredWindow { change: address("10.0.0.0/15"), ..backfill(1) },
        DeclaredWindow { change: address("2001:db8::/31"), ..backfill(1) },
        DeclaredWindow { change: address("203.0.113.9/24"), ..backfill(1) },
        DeclaredWindow { change: address("vendor.example"), ..backfill(1) },
    ] {
        let declared = world.one(Command::WindowDeclare { window: wrong.clone() }).await;
        assert!(declared.is_err(), "{wrong:?}");
    }
    for (n, right) in (1..).zip(["203.0.113.0/24", "203.0.113.9/32", "2001:db8::/48"]) {
        let window = DeclaredWindow { change: address(right), ..backfill(n) };
        world.one(Command::WindowDeclare { window }).await.unwrap();
    }
}

/// A rule's cut stands in posture alone, and could not be taken back: the life cycle knew of none.
#[tokio::test]
async fn what_a_rule_contained_can_be_restored() {
    let world = World::with_integration().await;
    let target = format!("integration:{INTEGRATION}").parse().unwrap();
    let restore = Command::Restore { target, reason: "a false alarm".into() };
    let before = world.registry.integrations().await.unwrap();
    world.both(restore).await.unwrap();
    assert_eq!(world.registry.integrations().await.unwrap(), before);
}

#[tokio::test]
async fn a_vendors_webhook_takes_two() {
    let world = World::with_integration().await;
    let vendor = world.registry.directory().await.unwrap().integrations[&INTEGRATION].vendor;
    let set = |url: Option<&str>| Command::VendorWebhook { vendor, url: url.map(str::to_owned) };
    assert!(world.one(set(Some("https://v.example/"))).await.is_err());
    assert!(world.both(set(Some("https://v.example/ x"))).await.is_err());
    assert!(world.both(set(None)).await.is_err(), "there is none");
    world.both(set(Some("https://v.example/"))).await.unwrap();
    world.both(set(Some("https://w.example/"))).await.unwrap();
    let webhooks = world.registry.snapshot().await.unwrap().webhooks;
    assert_eq!(webhooks[&vendor], "https://w.example/");
    world.both(set(None)).await.unwrap();
    assert!(world.registry.snapshot().await.unwrap().webhooks.is_empty());
}

#[tokio::test]
async fn a_case_of_a_rule_is_found_by_what_it_is_about() {
    let world = World::with_integration().await;
    let case = |n: u8| CaseRow {
        id: IncidentId::from_bytes([n; 16]),
        name: format!("honey-{n}"),
        events: vec!["{}".into()],
    };
    let registry = &world.registry;
    assert_eq!(registry.case_of_rule("honey", "int").await.unwrap(), None);
    registry.open_case_by_rule(&case(1), "honey", "int", NOW).await.unwrap();
    registry.open_case_by_rule(&case(2), "honey", "int", hours(1)).await.unwrap();
    registry.open_case_by_rule(&case(3), "honey", "other", hours(2)).await.unwrap();
    assert_eq!(registry.case_of_rule("honey", "int").await.unwrap(), Some(case(2)), "the last");
    assert_eq!(registry.case_of_rule("budget", "int").await.unwrap(), None);
    let again = registry.open_case_by_rule(&case(2), "honey", "int", NOW).await;
    assert!(matches!(again, Err(RegistryError::Taken(_))));
}
