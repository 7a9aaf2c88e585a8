//! Cedar skips a policy whose evaluation errors. We do not.

use super::fixture::World;
use crate::Refused;
use model::{OperationKind, Refusal};

/// Valid for the strict validator, and overflows for every tier from 1 up.
const OVERFLOWS: &str = r#"
@id("ours.overflows")
forbid (principal, action, resource)
when { resource in DataClass::"user.payment" && context.tier + 9223372036854775807 > 0 };
"#;

#[test]
fn a_forbid_that_errors_refuses_the_request() {
    let mut world = World::new();
    world.operator_policies = OVERFLOWS.into();
    let refused = world.decide(OperationKind::Read, world.all()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"policy `ours.overflows` failed during the decision on `read"Accounts\`"#
    );
    assert!(matches!(refused, Refused::PolicyFailed { .. }));
    assert_eq!(refused.refusal(), Refusal::Unavailable);
}

#[test]
fn it_does_so_from_the_memo_too() {
    let mut world = World::new();
    world.operator_policies = OVERFLOWS.into();
    let policies = world.compile();
    for _ in 0..3 {
        let asking = super::fixture::asking();
        let refused = world.decide_with(&policies, &asking, OperationKind::Read, world.all());
        assert!(matches!(refused, Err(Refused::PolicyFailed { .. })));
    }
}

#[test]
fn a_request_that_the_policy_does_not_err_on_goes_on() {
    let mut world = World::new();
    world.operator_policies = OVERFLOWS.into();
    world.grant(0, &["user.contact"], "support");
    assert!(world.decide(OperationKind::Read, world.all()).is_ok());
}
