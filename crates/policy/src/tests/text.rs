//! What operators may write, and what compiling tells them.

use super::fixture::{CLASSES, INTEGRATION, VENDOR, World, operation_id};
use crate::{OperationFacts, Policies, PolicyError};
use model::OperationKind;

fn compile(operator_policies: &str) -> Result<Policies, PolicyError> {
    let world = World::new();
    let id = operation_id(OperationKind::Read);
    let facts = OperationFacts { id: &id, kind: OperationKind::Read, classes: world.all() };
    Policies::compile(&[facts], &world.classes, &world.directory, operator_policies)
}

#[test]
fn mistakes_are_found_when_compiling() {
    let error = |text| compile(text).unwrap_err();
    assert!(matches!(error("forbid ("), PolicyError::Unreadable(_)));
    assert_eq!(
        error(
            r#"@id("a") forbid (principal, action, resource) when { context.tier < 1 };
                 forbid (principal, action, resource);"#
        ),
        PolicyError::NoId { position: 2 }
    );
    assert_eq!(
        error(r#"@id("a") permit (principal, action, resource);"#),
        PolicyError::Permits("a".into())
    );
    assert_eq!(
        error(r#"@id("base.state") forbid (principal, action, resource);"#),
        PolicyError::SameId("base.state".into())
    );
    assert_eq!(
        error(r#"@id("a") forbid (principal == ?principal, action, resource);"#),
        PolicyError::Template
    );
    assert_eq!(
        error(r#"@id("a") forbid (principal, action, resource in DataClass::"user.contcat");"#),
        PolicyError::UnknownName {
            policy: "a".into(),
            name: r#"DataClass::"user.contcat""#.into()
        }
    );
    for invalid in [
        r#"@id("a") forbid (principal, action == Action::"nothing", resource);"#,
        r#"@id("a") forbid (principal, action, resource) when { context.teir < 1 };"#,
        r#"@id("a") forbid (principal, action, resource) when { context.tier == "1" };"#,
        r#"@id("a") forbid (principal, action, resource) when { context.kind == Kind::"reed" };"#,
        r#"@id("a") forbid (principal, action, resource) when { false };"#,
    ] {
        assert!(matches!(error(invalid), PolicyError::Invalid(_)), "{invalid}");
    }
}

#[test]
fn scopes_of_operator_policies_reach_those_they_name_and_nobody_else() {
    let forbidden = |scope: &str| {
        let mut world = World::new();
        world.operator_policies = format!("@id(\"a\") forbid ({scope});");
        world.decide(OperationKind::Read, world.all()).is_err()
    };
    assert!(forbidden(&format!("principal == Integration::\"{INTEGRATION}\", action, resource")));
    assert!(forbidden(&format!("principal in Vendor::\"{VENDOR}\", action, resource")));
    assert!(forbidden(&format!(
        "principal is Integration in Vendor::\"{VENDOR}\", action, resource"
    )));
    assert!(forbidden(r#"principal, action == Action::"read\"Accounts\\", resource"#));
    assert!(!forbidden(r#"principal, action == Action::"list\"Accounts\\", resource"#));
    assert!(forbidden(r#"principal, action, resource in DataClass::"user""#));
}

#[test]
fn a_parent_class_covers_its_children() {
    let mut world = World::new();
    world.operator_policies =
        r#"@id("a") forbid (principal, action, resource in DataClass::"user.contact");"#.into();
    let permit = world.decide(OperationKind::Read, world.all()).unwrap();
    assert_eq!(world.names(&permit), ["user.payment.card_number", "user.government_id"]);
}

#[test]
fn the_hash_follows_every_part_of_the_rules() {
    let world = World::new();
    let hash = |change: &dyn Fn(&mut World)| {
        let mut changed = world.clone();
        change(&mut changed);
        changed.compile().hash()
    };
    let same = hash(&|_| ());
    assert_eq!(same, world.compile().hash());
    assert_ne!(same, hash(&|w| w.operator_policies.push(' ')));
    assert_ne!(
        same,
        hash(&|w| {
            w.grant(1, &CLASSES, "support");
        })
    );
    assert_ne!(
        same,
        hash(&|w| {
            w.grant(0, &CLASSES, "billing");
        })
    );
}

#[test]
fn a_contract_without_operations_compiles_to_nothing() {
    let world = World::new();
    assert!(Policies::compile(&[], &world.classes, &world.directory, "").is_ok());
}
