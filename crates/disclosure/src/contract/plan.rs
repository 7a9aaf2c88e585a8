//! The compiled field plan: an arena of nodes, each saying what one place in a body may hold and what must be granted for it to leave.
//!
//! Nodes name each other by number, so a recursive schema is a cycle in the arena and needs no special case in the filter.
//! The plan knows nothing of permits; `json::filter` walks it with one.

use model::ClassSet;

/// A node's place in [`Plan`]'s arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// What a scalar of one JSON type needs in order to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// The schema does not allow this type here.
    Undeclared,
    /// Allowed, but without a class: never leaves.
    Unclassified,
    /// Leaves if every class of this set is granted.
    Needs(u16),
}

/// One place in a body.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) null: Leaf,
    pub(crate) boolean: Leaf,
    pub(crate) number: Leaf,
    pub(crate) string: Leaf,
    /// Kept strings are searched for secrets.
    pub(crate) free_text: bool,
    /// What an object here may hold; `None` if the schema allows no object.
    pub(crate) object: Option<u32>,
    /// What the items of an array here may be; `None` if the schema allows no array.
    pub(crate) items: Option<NodeId>,
    /// Every class that some scalar at or below this node needs.
    pub(crate) below: ClassSet,
}

impl Node {
    /// Whether some scalar is declared here.
    pub(crate) fn takes_scalar(&self) -> bool {
        [self.null, self.boolean, self.number, self.string]
            .iter()
            .any(|leaf| *leaf != Leaf::Undeclared)
    }
}

/// A JSON pointer (RFC 6901), unescaped and split. Never empty.
pub(crate) type Pointer = Box<[Box<str>]>;

/// Whose record an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubjectRule {
    /// Part of the record around it, or nobody's.
    Inherit,
    /// Part of the record around it; outside any record its fields are about no one.
    Free,
    /// A record of its own. Every pointer must give an id and all must agree.
    Pointers(Box<[Pointer]>),
    /// The schema's variants bind their subjects in different ways: a record whose subject cannot be known.
    Ambiguous,
}

/// The fields an object may hold.
#[derive(Clone, Debug)]
pub(crate) struct ObjectPlan {
    fields: Box<[(Box<str>, NodeId)]>,
    /// Open addressing, `field index + 1`, 0 = empty; a power of two, at most half full, so a search always ends.
    table: Box<[u32]>,
    pub(crate) subject: SubjectRule,
}

impl ObjectPlan {
    pub(crate) fn new(fields: Vec<(Box<str>, NodeId)>, subject: SubjectRule) -> Self {
        let size = (fields.len() * 4).next_power_of_two().max(4);
        let mut table = vec![0_u32; size].into_boxed_slice();
        for (index, (name, _)) in fields.iter().enumerate() {
            let mut slot = slot_of(fingerprint(name.as_bytes()), size);
            while table.get(slot).is_some_and(|&taken| taken != 0) {
                slot = (slot + 1) & (size - 1);
            }
            if let (Some(entry), Ok(index)) = (table.get_mut(slot), u32::try_from(index)) {
                *entry = index + 1;
            }
        }
        Self { fields: fields.into(), table, subject }
    }

    pub(crate) fn fields(&self) -> &[(Box<str>, NodeId)] {
        &self.fields
    }

    /// The position and node of the field called `key`. `print` is the key's [`fingerprint`].
    pub(crate) fn find(&self, key: &[u8], print: u64) -> Option<(usize, NodeId)> {
        let mut slot = slot_of(print, self.table.len());
        loop {
            let index = usize::try_from(*self.table.get(slot)?).ok()?.checked_sub(1)?;
            let (name, node) = self.fields.get(index)?;
            if name.as_bytes() == key {
                return Some((index, *node));
            }
            slot = (slot + 1) & (self.table.len() - 1);
        }
    }
}

fn slot_of(print: u64, size: usize) -> usize {
    usize::try_from(print >> 32).unwrap_or(0) & (size - 1)
}

/// A cheap 64-bit digest of a key: its length and its first and last eight bytes. Equal keys have equal prints; the reverse is not promised.
pub(crate) fn fingerprint(key: &[u8]) -> u64 {
    let (head, tail) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (Some(head), Some(tail)) => {
                (u64::from(u32::from_le_bytes(*head)), u64::from(u32::from_le_bytes(*tail)))
            }
            _ => (key.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)), 0),
        },
    };
    let length = u64::try_from(key.len()).unwrap_or(0);
    (head ^ tail.rotate_left(29) ^ length.rotate_left(57)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The whole arena of a contract.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) objects: Vec<ObjectPlan>,
    pub(crate) class_sets: Vec<ClassSet>,
    /// For each node, the numbers of the property declarations it stands for. For counting only.
    pub(crate) declarations: Vec<Box<[u32]>>,
    /// Where each of those is declared, as a JSON pointer.
    pub(crate) declared_at: Vec<String>,
}

impl Plan {
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::try_from(id.0).ok()?)
    }

    pub(crate) fn object(&self, node: &Node) -> Option<&ObjectPlan> {
        self.objects.get(usize::try_from(node.object?).ok()?)
    }

    /// The classes that a leaf needs; `None` if it never leaves.
    pub(crate) fn needs(&self, leaf: Leaf) -> Option<&ClassSet> {
        match leaf {
            Leaf::Undeclared | Leaf::Unclassified => None,
            Leaf::Needs(set) => self.class_sets.get(usize::from(set)),
        }
    }

    /// Calls `see` once for each node at or below `root`.
    pub(crate) fn visit(&self, root: NodeId, see: &mut dyn FnMut(NodeId, &Node)) {
        let mut seen = vec![false; self.nodes.len()];
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let place = usize::try_from(id.0).unwrap_or(usize::MAX);
            let (Some(node), Some(seen)) = (self.nodes.get(place), seen.get_mut(place)) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            see(id, node);
            open.extend(node.items);
            if let Some(object) = self.object(node) {
                open.extend(object.fields().iter().map(|(_, child)| *child));
            }
        }
    }
}
