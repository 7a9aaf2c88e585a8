//! The golden matrix: integration state x tier x data class x purpose -> outcome, reviewed as a file.

use super::fixture::{CLASSES, LATER, NOW, World, asking, grant_id};
use crate::Refused;
use crate::decide::Asking;
use expect_test::expect_file;
use model::{ClassSet, DataClass, IntegrationState, OperationKind};
use std::fmt::Write as _;

const PURPOSES: [&str; 2] = ["support", "marketing"];

/// A deployment's own rule, so that purposes differ in something.
const OPERATOR_POLICY: &str = r#"
@id("ours.no_phone_for_marketing")
forbid (principal, action, resource in DataClass::"user.contact.phone")
when { context.purpose == Purpose::"marketing" };
"#;

#[test]
fn state_class_and_purpose_give_the_outcomes_of_the_file() {
    let states = [
        ("applied", IntegrationState::Applied),
        ("approved", IntegrationState::Approved { until: LATER }),
        ("approved, ran out", IntegrationState::Approved { until: NOW }),
        ("restricted", IntegrationState::Restricted { until: LATER }),
        ("severed", IntegrationState::Severed),
        ("expired", IntegrationState::Expired),
    ];
    let mut table = String::from(
        "state | tier | class | purpose | read | list | search | count | export | write\n",
    );
    for (name, state) in states {
        for tier in 0..=3 {
            let mut world = World::new();
            world.operator_policies = OPERATOR_POLICY.into();
            world.integration().state = state;
            world.integration().tier = tier;
            for (n, purpose) in (0..).zip(PURPOSES) {
                world.grant(n, &CLASSES, purpose);
            }
            rows(&mut table, &world, name, tier);
        }
    }
    expect_file!["../../testdata/matrix.txt"].assert_eq(&table);
}

fn rows(table: &mut String, world: &World, state: &str, tier: u8) {
    let policies = world.compile();
    for class in CLASSES {
        let number = world.classes.number(&DataClass::new(class).unwrap()).unwrap();
        let classes: ClassSet = [number].into_iter().collect();
        for (n, purpose) in (0..).zip(PURPOSES) {
            let asking = Asking { grant: grant_id(n), ..asking() };
            let outcomes = OperationKind::ALL.map(|kind| {
                match world.decide_with(&policies, &asking, kind, classes) {
                    Ok(_) => "yes".to_owned(),
                    Err(Refused::NothingPermitted { forbidden_by: Some(policy), .. }) => {
                        policy.to_string()
                    }
                    Err(refused) => refused.refusal().code().to_owned(),
                }
            });
            writeln!(table, "{state} | {tier} | {class} | {purpose} | {}", outcomes.join(" | "))
                .unwrap();
        }
    }
}
