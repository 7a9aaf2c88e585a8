//! The map of heads: for every chain, how many entries it has and its last, as a sorted Merkle tree whose nodes carry sums.
//!
//! Its root is in every heads record. A place in it proves a chain's head; two places side by side prove that a chain
//! between them does not exist; the sum at the root proves that no entry of the log is on no chain.

use crate::domain;
use crate::merkle::{EMPTY_ROOT, LEAF_PREFIX, NODE_PREFIX, Path, Side};
use crate::record::Chain;
use crate::record::body::HeadsBody;
use model::Digest;
use std::collections::BTreeMap;

/// How far a chain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many entries it has.
    pub count: u64,
    /// Leaf hash of its last entry.
    pub leaf: Digest,
}

/// A node of the tree: a hash, and how many entries the chains under it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The hash.
    pub hash: Digest,
    /// The sum.
    pub sum: u64,
}

/// The place of one chain in the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which chain.
    pub chain: Chain,
    /// Its head.
    pub head: Head,
    /// Where it stands in the order of chains.
    pub index: u64,
    /// The siblings, from the leaf up.
    pub path: Vec<Node>,
}

/// What the map says of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadProof {
    /// It has entries.
    Present(Place),
    /// It has none: its neighbours stand side by side. At an end of the map there is only one, in an empty map none.
    Absent {
        /// The last chain before it.
        before: Option<Place>,
        /// The first chain after it.
        after: Option<Place>,
    },
}

/// The whole map, to make proofs from.
#[derive(Clone, Debug, Default)]
pub struct HeadMap {
    chains: Vec<(Chain, Head)>,
    rows: Vec<Vec<Node>>,
}

impl HeadMap {
    /// The map of these heads.
    pub fn new(heads: &BTreeMap<Chain, Head>) -> Self {
        let chains: Vec<_> = heads.iter().map(|(chain, head)| (*chain, *head)).collect();
        let mut row: Vec<Node> = chains.iter().map(|(chain, head)| leaf(chain, head)).collect();
        let mut rows = Vec::new();
        while row.len() > 1 {
            let above = row
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => node(left, right),
                    [odd] => Some(*odd),
                    _ => None,
                })
                .collect();
            rows.push(std::mem::replace(&mut row, above));
        }
        rows.push(row);
        Self { chains, rows }
    }

    /// What a heads record says of it.
    pub fn body(&self) -> HeadsBody {
        let root = self.rows.last().and_then(|row| row.first());
        let (root, size) = root.map_or((EMPTY_ROOT, 0), |node| (node.hash, node.sum));
        HeadsBody { root, chains: self.chains.len() as u64, size }
    }

    /// The chains, in order.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().map(|(chain, _)| chain)
    }

    /// The proof of what the map says of `chain`.
    pub fn prove(&self, chain: &Chain) -> HeadProof {
        match self.chains.binary_search_by_key(chain, |(chain, _)| *chain) {
            Ok(index) => match self.place(index) {
                Some(place) => HeadProof::Present(place),
                None => HeadProof::Absent { before: None, after: None },
            },
            Err(index) => HeadProof::Absent {
                before: index.checked_sub(1).and_then(|index| self.place(index)),
                after: self.place(index),
            },
        }
    }

    fn place(&self, index: usize) -> Option<Place> {
        let &(chain, head) = self.chains.get(index)?;
        let mut path = Vec::new();
        let mut at = index;
        for row in &self.rows {
            path.extend(row.get(at ^ 1));
            at >>= 1;
        }
        Some(Place { chain, head, index: index as u64, path })
    }
}

impl HeadProof {
    /// What the map of a heads record says of `chain`: its head, or that it has none; `None` if this does not prove it.
    pub fn verify(&self, chain: &Chain, heads: &HeadsBody) -> Option<Option<Head>> {
        match self {
            Self::Present(place) => {
                (place.chain == *chain && place.is_in(heads)).then_some(Some(place.head))
            }
            Self::Absent { before, after } => {
                let before_holds =
                    before.as_ref().is_none_or(|p| p.chain < *chain && p.is_in(heads));
                let after_holds = after.as_ref().is_none_or(|p| *chain < p.chain && p.is_in(heads));
                let gap_starts = match before {
                    Some(place) => place.index.checked_add(1)?,
                    None => 0,
                };
                let gap_ends = after.as_ref().map_or(heads.chains, |place| place.index);
                let map_is_empty =
                    heads.chains > 0 || (heads.root == EMPTY_ROOT && heads.size == 0);
                (before_holds && after_holds && gap_starts == gap_ends && map_is_empty)
                    .then_some(None)
            }
        }
    }
}

impl Place {
    /// Whether this is the place it says, in the map that `heads` is over, sums included.
    pub fn is_in(&self, heads: &HeadsBody) -> bool {
        if self.index >= heads.chains {
            return false;
        }
        let path = Path::to(self.index, heads.chains);
        if self.path.len() != path.len() {
            return false;
        }
        let mut at = leaf(&self.chain, &self.head);
        for (sibling, side) in self.path.iter().zip(path) {
            let above = match side {
                Side::Left => node(sibling, &at),
                Side::Right => node(&at, sibling),
            };
            let Some(above) = above else { return false };
            at = above;
        }
        at == Node { hash: heads.root, sum: heads.size }
    }
}

fn leaf(chain: &Chain, head: &Head) -> Node {
    let chain = chain.as_bytes();
    let len = [if chain.is_empty() { 0 } else { 16 }];
    let count = head.count.to_be_bytes();
    let hash = domain::sha256_of(&[&[LEAF_PREFIX], domain::HEADS, &len, chain, &count, &head.leaf]);
    Node { hash, sum: head.count }
}

/// `None` if the sum is beyond any log.
fn node(left: &Node, right: &Node) -> Option<Node> {
    let sum = left.sum.checked_add(right.sum)?;
    let (left_sum, right_sum) = (left.sum.to_be_bytes(), right.sum.to_be_bytes());
    let hash = domain::sha256_of(&[
        &[NODE_PREFIX],
        domain::HEADS,
        &left_sum,
        &left.hash,
        &right_sum,
        &right.hash,
    ]);
    Some(Node { hash, sum })
}

#[cfg(test)]
mod tests;
