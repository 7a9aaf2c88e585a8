//! Requests to erase, and what the registry forgets.

use super::fixture::{NOW, World, grant_add};
use crate::registry::command::{Command, Scope, SubjectText};
use crate::registry::{ERASE_AFTER, ErasureRow, ErasureState, RegistryError};
use model::SubjectId;

fn subject() -> SubjectText {
    SubjectText(SubjectId::new("erasable-person").unwrap())
}

fn erase() -> Command {
    Command::SubjectErase { subject: subject() }
}

async fn only(world: &World) -> ErasureRow {
    world.registry.erasures().await.unwrap().pop().unwrap()
}

#[tokio::test]
async fn a_request_waits_a_day_and_is_taken_back_by_one() {
    let world = World::new().await;
    assert!(world.one(erase()).await.is_err(), "it takes two");
    world.both(erase()).await.unwrap();
    let row = only(&world).await;
    assert_eq!((row.state, row.due), (ErasureState::Pending, NOW + ERASE_AFTER));
    assert!(matches!(world.both(erase()).await, Err(RegistryError::Taken(_))), "once is enough");
    let cancel = || Command::SubjectEraseCancel { erasure: row.id.clone() };
    world.one(cancel()).await.unwrap();
    let row = only(&world).await;
    assert_eq!((row.state, row.subject), (ErasureState::Cancelled, None));
    assert!(matches!(world.one(cancel()).await, Err(RegistryError::Unknown(_))));
}

#[tokio::test]
async fn what_is_begun_cannot_be_taken_back() {
    let world = World::new().await;
    world.both(erase()).await.unwrap();
    let row = only(&world).await;
    world.registry.begin_erasure(&row.id, NOW).await.unwrap();
    let cancel = Command::SubjectEraseCancel { erasure: row.id.clone() };
    assert!(matches!(world.one(cancel).await, Err(RegistryError::Unknown(_))));
    assert!(world.registry.begin_erasure(&row.id, NOW).await.is_err());
}

#[tokio::test]
async fn who_is_forgotten_is_in_no_file_and_no_command_is_carried_out_twice() {
    let world = World::with_integration().await;
    let Command::GrantAdd {
        grant: _,
        integration,
        operations,
        classes,
        purpose,
        budget,
        expires,
        ..
    } = grant_add(&["user.contact"])
    else {
        unreachable!()
    };
    let scope = Scope::Consenting { subjects: vec![subject()] };
    let grant = model::GrantId::from_bytes([44; 16]);
    let consent = Command::GrantAdd {
        grant,
        integration,
        operations,
        classes,
        purpose,
        scope,
        budget,
        expires,
    };
    world.both(consent).await.unwrap();
    let decoy = Command::HoneyPlant { subject: subject() };
    world.one(decoy).await.unwrap();
    let question = r#"{"subject":"erasable-person"}"#.to_owned();
    world.one(Command::ExposureQuery { question }).await.unwrap();
    world.both(erase()).await.unwrap();
    let found = || {
        let files = std::fs::read_dir(world.folder.path()).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .any(|bytes| bytes.windows(15).any(|window| window == b"erasable-person"))
    };
    assert!(found());
    let before = world.registry.commands(100).await.unwrap();
    world.registry.forget(&only(&world).await, NOW).await.unwrap();
    assert!(!found());
    assert_eq!(only(&world).await.state, ErasureState::Erased);
    let after = world.registry.commands(100).await.unwrap();
    let ids = |rows: &[crate::registry::CommandRow]| -> Vec<_> {
        rows.iter().map(|row| (row.id.clone(), row.operators.clone())).collect()
    };
    assert_eq!(ids(&before), ids(&after), "ids and signers stay");
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(changed, 4);
    assert!(world.registry.snapshot().await.unwrap().honey.is_empty());
}
