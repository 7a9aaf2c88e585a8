//! The file itself: migrations, column types, class numbers, readers beside a writer.

use super::fixture::{GRANT, INTEGRATION, World, table};
use crate::registry::command::Command;
use crate::registry::lifecycle::Stage;
use crate::registry::{Registry, RegistryError};
use model::IntegrationState;

#[tokio::test]
async fn a_registry_is_made_from_nothing_and_found_again() {
    let world = World::with_integration().await;
    let before = world.registry.snapshot().await.unwrap();
    let again = Registry::open(&world.folder.path().join("registry.db")).await.unwrap();
    assert_eq!(again.snapshot().await.unwrap(), before);
    let rows = again.integrations().await.unwrap();
    assert_eq!((rows[0].slug.as_str(), rows[0].vendor.as_str()), ("acme-desk", "acme"));
    assert_eq!((rows[0].id, rows[0].stage), (INTEGRATION, Stage::Approved));
    let grants = again.grants().await.unwrap();
    assert_eq!((grants[0].id, &grants[0].classes[..]), (GRANT, &["user.contact".to_owned()][..]));
}

#[tokio::test]
async fn tables_have_the_four_portable_column_types_only() {
    let world = World::new().await;
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT t.name, c.name, c.type FROM sqlite_master t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
    )
    .fetch_all(&world.registry.pool)
    .await
    .unwrap();
    assert!(columns.len() > 40);
    for (table, column, kind) in columns {
        let portable = ["TEXT", "BIGINT", "DOUBLE PRECISION", "BLOB"].contains(&kind.as_str());
        assert!(portable, "{table}.{column} is {kind}");
    }
}

#[tokio::test]
async fn class_numbers_are_appended_and_never_reused() {
    let world = World::new().await;
    let known = world.registry.snapshot().await.unwrap().classes;
    let mut longer = known.clone();
    longer.intern(&model::DataClass::new("user.device").unwrap()).unwrap();
    world.registry.extend_classes(&longer).await.unwrap();
    world.registry.extend_classes(&longer).await.unwrap();
    assert_eq!(world.registry.snapshot().await.unwrap().classes, longer);
    for shorter_or_moved in [known, table(&["user.name"]), table(&[])] {
        let refused = world.registry.extend_classes(&shorter_or_moved).await;
        assert!(matches!(refused, Err(RegistryError::Invalid(_))));
    }
    assert_eq!(world.registry.snapshot().await.unwrap().classes, longer);
}

#[tokio::test]
async fn a_class_added_below_a_granted_one_is_granted_with_it() {
    let world = World::with_integration().await;
    let mut longer = world.registry.snapshot().await.unwrap().classes;
    let postal = model::DataClass::new("user.contact.postal").unwrap();
    let number = longer.intern(&postal).unwrap();
    world.registry.extend_classes(&longer).await.unwrap();
    assert!(world.registry.directory().await.unwrap().grants[&GRANT].classes.contains(number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_writer_see_one_moment() {
    let world = World::with_integration().await;
    let registry = world.registry.clone();
    let base = registry.directory().await.unwrap().revision;
    let reader = tokio::spawn(async move {
        let mut revisions = vec![base];
        while revisions.last().is_some_and(|&last| last < base + 40) {
            let directory = registry.directory().await.unwrap();
            // The writer below severs at every odd step from `base` and restores at every even one.
            let severed = directory.integrations[&INTEGRATION].state == IntegrationState::Severed;
            assert_eq!(severed, !(directory.revision - base).is_multiple_of(2));
            revisions.push(directory.revision);
        }
        revisions
    });
    let target: crate::registry::Target = "integration:acme-desk".parse().unwrap();
    for _ in 0..20 {
        let reason = String::from("incident");
        world.one(Command::Sever { target: target.clone(), reason: reason.clone() }).await.unwrap();
        world.both(Command::Restore { target: target.clone(), reason }).await.unwrap();
    }
    let revisions = reader.await.unwrap();
    assert!(revisions.is_sorted());
}

#[tokio::test]
async fn a_broken_row_is_corrupt_and_not_guessed_at() {
    let world = World::with_integration().await;
    sqlx::query("UPDATE grants SET purpose = 'Any Thing'")
        .execute(&world.registry.pool)
        .await
        .unwrap();
    assert!(matches!(world.registry.directory().await, Err(RegistryError::Corrupt(_))));
}
