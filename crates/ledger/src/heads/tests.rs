use super::*;
use model::IntegrationId;
use proptest::prelude::*;

fn chain(n: u8) -> Chain {
    if n == 0 { Chain::System } else { Chain::Integration(IntegrationId::from_bytes([n; 16])) }
}

fn map_of(counts: &BTreeMap<u8, u64>) -> HeadMap {
    let head = |(&n, &count): (&u8, &u64)| (chain(n), Head { count, leaf: [n; 32] });
    HeadMap::new(&counts.iter().map(head).collect())
}

#[test]
fn sums_beyond_any_log_are_no_place() {
    let map = map_of(&[(1, 1), (2, 1)].into());
    let HeadProof::Present(mut place) = map.prove(&chain(1)) else { panic!() };
    place.path[0].sum = u64::MAX;
    assert!(!place.is_in(&map.body()));
}

#[test]
fn the_map_of_an_empty_log_proves_that_nothing_is_there() {
    let map = HeadMap::default();
    let map = HeadMap::new(&map.chains().map(|c| (*c, Head { count: 0, leaf: [0; 32] })).collect());
    let proof = map.prove(&chain(1));
    assert_eq!(proof.verify(&chain(1), &map.body()), Some(None));
    let lie = HeadsBody { chains: 0, ..map_of(&[(1, 1)].into()).body() };
    assert_eq!(proof.verify(&chain(1), &lie), None);
}

proptest! {
    #[test]
    fn every_chain_is_proved_present_with_its_head_or_absent(counts in proptest::collection::btree_map(0_u8..20, 1_u64..1000, 0..12)) {
        let map = map_of(&counts);
        let body = map.body();
        prop_assert_eq!(body.size, counts.values().sum::<u64>());
        for n in 0..20 {
            let wanted = counts.get(&n).map(|&count| Head { count, leaf: [n; 32] });
            prop_assert_eq!(map.prove(&chain(n)).verify(&chain(n), &body), Some(wanted));
        }
    }

    #[test]
    fn no_proof_holds_for_another_chain_count_or_map(
        counts in proptest::collection::btree_map(0_u8..20, 1_u64..1000, 1..12), asked in 0_u8..20, other in 0_u8..20, at: usize
    ) {
        let map = map_of(&counts);
        let body = map.body();
        let proof = map.prove(&chain(asked));
        // An absence proof also proves the absence of others in the same gap; nothing else carries over.
        let truth = counts.get(&other).map(|&count| Head { count, leaf: [other; 32] });
        prop_assert!(proof.verify(&chain(other), &body).is_none_or(|said| said == truth));
        for lie in [
            HeadsBody { size: body.size + 1, ..body },
            HeadsBody { root: [0; 32], ..body },
        ] {
            prop_assert_eq!(proof.verify(&chain(asked), &lie), None);
        }
        if let HeadProof::Present(place) = proof {
            let mut lie = place.clone();
            lie.head.count += 1;
            prop_assert!(!lie.is_in(&body));
            // Moving entries from this chain to a sibling keeps the sum and still fails: children's sums are hashed.
            if !lie.path.is_empty() {
                let at = at % lie.path.len();
                prop_assume!(lie.path[at].sum > 0);
                lie.path[at].sum -= 1;
                prop_assert!(!lie.is_in(&body));
            }
        }
    }
}
