use super::*;
use proptest::prelude::*;

/// RFC 6962 section 2.1, word for word.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// RFC 6962 section 2.1.2, word for word.
fn naive_consistency(old: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let middle = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(middle);
    let mut proof;
    if old <= middle {
        proof = naive_consistency(old, left, whole);
        proof.push(naive_root(right));
    } else {
        proof = naive_consistency(old - middle, right, false);
        proof.push(naive_root(left));
    }
    proof
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

#[test]
fn frontier_and_tree_have_the_root_of_the_definition() {
    let all = leaves(70);
    let mut frontier = Frontier::default();
    for size in 0..=all.len() {
        assert_eq!(frontier.root(), naive_root(&all[..size]));
        assert_eq!(Tree::new(all[..size].to_vec()).root(), naive_root(&all[..size]));
        if let Some(leaf) = all.get(size) {
            frontier.push(*leaf);
        }
    }
}

#[test]
fn every_leaf_of_every_small_tree_is_proved_in_its_place_only() {
    for size in 1..20_u64 {
        let all = leaves(usize::try_from(size).unwrap());
        let tree = Tree::new(all.clone());
        for (leaf, index) in all.iter().zip(0..) {
            let proof = tree.inclusion(index).unwrap();
            for place in 0..=size {
                let holds = verify_inclusion(leaf, place, size, &proof, &tree.root()).is_ok();
                assert_eq!(holds, place == index, "leaf {index} at {place} of {size}");
            }
            let long = [&proof[..], &[[0; 32]]].concat();
            let refused = verify_inclusion(leaf, index, size, &long, &tree.root());
            assert_eq!(
                refused,
                Err(BadProof::Length { found: proof.len() + 1, wanted: proof.len() })
            );
        }
        assert_eq!(tree.inclusion(size), None);
    }
}

#[test]
fn every_tree_begins_with_its_smaller_selves() {
    let all = leaves(40);
    for size in 1..=all.len() {
        for old in 1..=size {
            let proof = naive_consistency(old, &all[..size], true);
            let (old_root, root) = (naive_root(&all[..old]), naive_root(&all[..size]));
            let check = |old_root, root| {
                verify_consistency(old as u64, old_root, size as u64, root, &proof)
            };
            assert_eq!(check(&old_root, &root), Ok(()), "{old} of {size}");
            assert!(check(&[0; 32], &root).is_err(), "{old} of {size}");
            assert!(check(&old_root, &[0; 32]).is_err(), "{old} of {size}");
        }
    }
}

proptest! {
    #[test]
    fn proofs_for_any_claimed_size_never_panic(index: u64, old: u64, size: u64, hashes in proptest::collection::vec(any::<Digest>(), 0..70)) {
        let _ = verify_inclusion(&[0; 32], index, size, &hashes, &[0; 32]);
        let _ = verify_consistency(old, &[0; 32], size, &[0; 32], &hashes);
    }
}
