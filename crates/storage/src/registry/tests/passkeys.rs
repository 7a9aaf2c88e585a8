//! Operators' passkeys as they are kept.

use super::fixture::*;
use crate::registry::OPERATOR_PASSKEYS_MAX;
use crate::registry::OperatorPasskey;
use crate::registry::command::Command;
use model::Role;

fn passkey(of: &Person, n: u8) -> OperatorPasskey {
    let (operator, passkey) = (of.operator.id, "{}".to_owned());
    OperatorPasskey {
        credential: vec![n],
        handle: [of.operator.public_key[0]; 16],
        operator,
        passkey,
        counter: 0,
        added: NOW,
    }
}

#[tokio::test]
async fn a_passkey_is_one_operators_and_goes_with_it() {
    let world = World::new().await;
    let (registry, cy) = (&world.registry, Person::new(13));
    world.both(cy.add()).await.unwrap();
    let first = passkey(&cy, 1);
    assert!(registry.add_operator_passkey(&first, 0).await.unwrap());
    assert_eq!(registry.operator_passkey(&[1]).await.unwrap(), Some(first));
    assert!(!registry.add_operator_passkey(&passkey(&world.ada, 1), 0).await.unwrap(), "taken");
    // Two enrolments that both began when there was none: one is the first.
    assert!(!registry.add_operator_passkey(&passkey(&cy, 2), 0).await.unwrap());
    assert!(registry.add_operator_passkey(&passkey(&cy, 2), 1).await.unwrap());
    assert!(registry.add_operator_passkey(&passkey(&world.ada, 3), 0).await.unwrap());

    world.both(Command::OperatorPasskeysRemove { operator: cy.operator.id }).await.unwrap();
    assert_eq!(registry.passkeys_of_operator(cy.operator.id).await.unwrap(), []);
    assert_eq!(registry.passkeys_of_operator(world.ada.operator.id).await.unwrap().len(), 1);

    assert!(registry.add_operator_passkey(&passkey(&cy, 4), 0).await.unwrap());
    world.both(Command::OperatorRemove { operator: cy.operator.id }).await.unwrap();
    assert_eq!(registry.operator_passkey(&[4]).await.unwrap(), None);
    assert!(!registry.add_operator_passkey(&passkey(&cy, 5), 0).await.unwrap(), "it has left");
    let robot = Person::automation(41, Role::Viewer, LATER);
    world.both(robot.add()).await.unwrap();
    assert!(!registry.add_operator_passkey(&passkey(&robot, 6), 0).await.unwrap(), "a program");
}

#[tokio::test]
async fn passkeys_are_bounded_and_their_counters_never_fall() {
    let world = World::new().await;
    let registry = &world.registry;
    for n in 0..OPERATOR_PASSKEYS_MAX {
        let passkey = passkey(&world.ada, u8::try_from(n).unwrap());
        assert!(registry.add_operator_passkey(&passkey, n).await.unwrap());
    }
    let one_more = passkey(&world.ada, 99);
    assert!(!registry.add_operator_passkey(&one_more, OPERATOR_PASSKEYS_MAX).await.unwrap());
    for (counter, kept) in [(7, 7), (3, 7), (8, 8)] {
        assert!(registry.operator_passkey_used(&[0], counter, NOW).await.unwrap());
        assert_eq!(registry.operator_passkey(&[0]).await.unwrap().unwrap().counter, kept);
    }
    assert!(!registry.operator_passkey_used(&[99], 1, NOW).await.unwrap());
}
