//! A memoised decision is the decision.

use super::fixture::{CLASSES, INTEGRATION, LATER, NOW, World, asking, grant_id, operation_id};
use crate::OperationFacts;
use crate::decide::{Asking, weigh};
use crate::policies::{Question, Standing};
use model::{
    ClassNumber, ClassSet, Grant, GrantId, Integration, IntegrationId, IntegrationState,
    OperationKind, SubjectScope,
};
use proptest::prelude::*;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Step {
    restricted: bool,
    tier: u8,
    grant: u8,
    all_subjects: bool,
    kind: usize,
    classes: u8,
}

fn step() -> impl Strategy<Value = Step> {
    (any::<bool>(), 0_u8..4, 0_u8..2, any::<bool>(), 0_usize..6, 0_u8..64).prop_map(
        |(restricted, tier, grant, all_subjects, kind, classes)| Step {
            restricted,
            tier,
            grant,
            all_subjects,
            kind,
            classes,
        },
    )
}

fn class_set(bits: u8) -> ClassSet {
    (0..8).filter(|n| bits >> n & 1 == 1).map(ClassNumber::new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn memoised_rulings_are_the_fresh_ones(steps in proptest::collection::vec(step(), 1..12)) {
        let mut world = World::new();
        world.grant(1, &CLASSES[..2], "marketing");
        let policies = world.compile();
        for step in steps {
            let mut grant = world.directory.grants[&grant_id(step.grant)].clone();
            if step.all_subjects {
                grant.scope = SubjectScope::All;
            }
            let operation = operation_id(OperationKind::ALL[step.kind]);
            let classes = class_set(step.classes);
            let question = Question {
                integration: grant.integration,
                standing: if step.restricted { Standing::Restricted } else { Standing::Approved },
                tier: step.tier,
                grant: &grant,
                operation: &operation,
                kind: OperationKind::ALL[step.kind],
                candidates: grant.classes.intersection(&classes),
                bare: classes.is_empty(),
            };
            prop_assert_eq!(policies.rule(&question), policies.rule_afresh(&question));
            prop_assert_eq!(policies.rule(&question), policies.rule_afresh(&question));
        }
    }

    #[test]
    fn a_permit_never_exceeds_its_grant_or_its_operation(steps in proptest::collection::vec(step(), 1..12)) {
        let mut world = World::new();
        world.grant(1, &CLASSES[..2], "marketing");
        let policies = world.compile();
        for step in steps {
            let until = LATER;
            world.integration().tier = step.tier;
            world.integration().state = if step.restricted {
                IntegrationState::Restricted { until }
            } else {
                IntegrationState::Approved { until }
            };
            let asking = Asking { grant: grant_id(step.grant), ..asking() };
            let classes = class_set(step.classes);
            let kind = OperationKind::ALL[step.kind];
            if let Ok(permit) = world.decide_with(&policies, &asking, kind, classes) {
                prop_assert!(permit.classes().is_subset(&permit.grant().classes));
                prop_assert!(permit.classes().is_subset(&classes));
                prop_assert_eq!(permit.grant().id, grant_id(step.grant));
            }
        }
    }
}

/// `cargo test --release -p policy -- --ignored --nocapture decision_time`
#[test]
#[ignore = "measures; asserts nothing"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn decision_time() {
    let mut world = World::new();
    for n in 1..10 {
        world.grant(n, &CLASSES, "support");
    }
    let policies = world.compile();
    let id = operation_id(OperationKind::Read);
    let facts = OperationFacts { id: &id, kind: OperationKind::Read, classes: world.all() };
    let fresh = Instant::now();
    weigh(&asking(), &facts, &world.directory, &policies, &world.consents, NOW).unwrap();
    println!("first decision, {} classes: {:?}", CLASSES.len(), fresh.elapsed());
    let rounds = 2_000_000_u32;
    let start = Instant::now();
    for _ in 0..rounds {
        let permit = weigh(&asking(), &facts, &world.directory, &policies, &world.consents, NOW);
        std::hint::black_box(permit.is_ok());
    }
    println!("memoised decision: {:?}", start.elapsed() / rounds);
}

/// `cargo test --release -p policy -- --ignored --nocapture compile_time`
#[test]
#[ignore = "measures; asserts nothing"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn compile_time() {
    let mut world = World::new();
    let grant = world.directory.grants[&grant_id(0)].clone();
    for n in 0..1_000_u32 {
        let mut bytes = [0x80; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let integration = IntegrationId::from_bytes(bytes);
        let like = world.directory.integrations[&INTEGRATION].clone();
        world.directory.integrations.insert(integration, Integration { id: integration, ..like });
        let id = GrantId::from_bytes(bytes);
        world.directory.grants.insert(id, Grant { id, integration, ..grant.clone() });
    }
    let start = Instant::now();
    let policies = world.compile();
    println!("1,000 integrations, one grant of 6 operations each: {:?}", start.elapsed());
    assert_eq!(policies.revision(), 1);
}
