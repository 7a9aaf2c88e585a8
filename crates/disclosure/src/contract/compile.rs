//! From shapes to the arena: gives every place that can be reached a node, and checks that subject pointers lead somewhere.

use super::ContractError;
use super::plan::{Leaf, Node, NodeId, ObjectPlan, Plan, SubjectRule};
use super::schema::{Claim, Key, Schemas, Shape};
use model::ClassSet;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Most nodes one contract may have; the largest public document at hand (`discord.json`) needs under a tenth of it.
const NODES_MAX: usize = 200_000;

/// Builds one [`Plan`] out of many roots.
pub(crate) struct Compiler<'a> {
    pub(crate) schemas: Schemas<'a>,
    plan: Plan,
    numbers: BTreeMap<Key, NodeId>,
    unfinished: Vec<Key>,
    sets: BTreeMap<ClassSet, u16>,
    /// Where each object plan came from, for errors.
    places: Vec<String>,
    declarations: BTreeMap<Rc<str>, u32>,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(schemas: Schemas<'a>) -> Self {
        Self {
            schemas,
            plan: Plan::default(),
            numbers: BTreeMap::new(),
            unfinished: Vec::new(),
            sets: BTreeMap::new(),
            places: Vec::new(),
            declarations: BTreeMap::new(),
        }
    }

    /// The node for the schema at `pointer` of the document.
    pub(crate) fn root(&mut self, pointer: &str) -> Result<NodeId, ContractError> {
        let root = self.number(Key::At(pointer.into()))?;
        while let Some(key) = self.unfinished.pop() {
            let shape = self.schemas.shape(&key)?;
            let node = self.node(shape, &key)?;
            if let Some(id) = self.numbers.get(&key)
                && let Ok(place) = usize::try_from(id.0)
                && let Some(slot) = self.plan.nodes.get_mut(place)
            {
                *slot = node;
            }
        }
        Ok(root)
    }

    /// What a header or other lone scalar at `pointer` needs.
    pub(crate) fn scalar(&mut self, pointer: &str) -> Result<Option<ClassSet>, ContractError> {
        match self.schemas.shape(&Key::At(pointer.into()))?.string {
            Claim::Classes(classes) => Ok(Some(classes)),
            Claim::Undeclared | Claim::Unclassified => Ok(None),
        }
    }

    /// The finished plan, and where annotations were read.
    pub(crate) fn finish(mut self) -> Result<(Plan, BTreeSet<String>), ContractError> {
        mark_below(&mut self.plan);
        for (object, place) in self.plan.objects.iter().zip(&self.places) {
            if let SubjectRule::Pointers(pointers) = &object.subject {
                for pointer in pointers {
                    if !leads_to_id(&self.plan, object, pointer) {
                        return Err(ContractError::SubjectPointer {
                            at: place.clone(),
                            pointer: pointer.iter().map(|part| format!("/{part}")).collect(),
                        });
                    }
                }
            }
        }
        let mut declared: Vec<_> = self.declarations.into_iter().collect();
        declared.sort_unstable_by_key(|(_, number)| *number);
        self.plan.declared_at = declared.into_iter().map(|(at, _)| at.to_string()).collect();
        Ok((self.plan, self.schemas.read))
    }

    fn number(&mut self, key: Key) -> Result<NodeId, ContractError> {
        if let Some(id) = self.numbers.get(&key) {
            return Ok(*id);
        }
        let id = u32::try_from(self.plan.nodes.len())
            .ok()
            .filter(|_| self.plan.nodes.len() < NODES_MAX)
            .ok_or(ContractError::TooComplex)?;
        self.plan.nodes.push(Node {
            null: Leaf::Undeclared,
            boolean: Leaf::Undeclared,
            number: Leaf::Undeclared,
            string: Leaf::Undeclared,
            free_text: false,
            object: None,
            items: None,
            below: ClassSet::EMPTY,
        });
        let mut declarations = Vec::new();
        for pointer in key.property_declarations() {
            let next = u32::try_from(self.declarations.len()).unwrap_or(u32::MAX);
            declarations.push(*self.declarations.entry(pointer).or_insert(next));
        }
        self.plan.declarations.push(declarations.into());
        self.numbers.insert(key.clone(), NodeId(id));
        self.unfinished.push(key);
        Ok(NodeId(id))
    }

    fn node(&mut self, shape: Shape, key: &Key) -> Result<Node, ContractError> {
        let object = match shape.fields {
            None => None,
            Some(fields) => {
                let mut numbered = Vec::with_capacity(fields.len());
                for (name, key) in fields {
                    numbered.push((name.into_boxed_str(), self.number(key)?));
                }
                let index = u32::try_from(self.plan.objects.len()).ok();
                self.plan.objects.push(ObjectPlan::new(numbered, shape.subject));
                self.places.push(key.place());
                index
            }
        };
        let items = shape.items.map(|key| self.number(key)).transpose()?;
        // A null says "no value of the declared type", so it needs what such a value would need.
        let said: Vec<Claim> = [shape.boolean, shape.number, shape.string]
            .into_iter()
            .filter(|claim| *claim != Claim::Undeclared)
            .collect();
        let null = if said.is_empty() { shape.null } else { needs_of_all(&said) };
        Ok(Node {
            null: self.leaf(null)?,
            boolean: self.leaf(shape.boolean)?,
            number: self.leaf(shape.number)?,
            string: self.leaf(shape.string)?,
            free_text: shape.free_text,
            object,
            items,
            below: ClassSet::EMPTY,
        })
    }

    fn leaf(&mut self, claim: Claim) -> Result<Leaf, ContractError> {
        Ok(match claim {
            Claim::Undeclared => Leaf::Undeclared,
            Claim::Unclassified => Leaf::Unclassified,
            Claim::Classes(set) => Leaf::Needs(match self.sets.get(&set) {
                Some(number) => *number,
                None => {
                    let number = u16::try_from(self.plan.class_sets.len())
                        .map_err(|_| ContractError::TooComplex)?;
                    self.plan.class_sets.push(set);
                    self.sets.insert(set, number);
                    number
                }
            }),
        })
    }
}

fn needs_of_all(claims: &[Claim]) -> Claim {
    let mut all = ClassSet::EMPTY;
    for claim in claims {
        match claim {
            Claim::Classes(set) => all = all.union(set),
            Claim::Undeclared | Claim::Unclassified => return Claim::Unclassified,
        }
    }
    Claim::Classes(all)
}

/// Sets every node's `below`. Repeats until nothing changes, because a node may lie below itself.
fn mark_below(plan: &mut Plan) {
    let mut changed = true;
    while changed {
        changed = false;
        for place in (0..plan.nodes.len()).rev() {
            let Some(node) = plan.nodes.get(place) else { continue };
            let leaves = [node.null, node.boolean, node.number, node.string];
            let needs = leaves.into_iter().filter_map(|leaf| plan.needs(leaf));
            let fields = plan.object(node).map(ObjectPlan::fields).unwrap_or_default();
            let children = node.items.into_iter().chain(fields.iter().map(|(_, id)| *id));
            let children = children.filter_map(|id| plan.node(id)).map(|child| &child.below);
            let below = needs.chain(children).fold(node.below, |all, some| all.union(some));
            if below != node.below
                && let Some(node) = plan.nodes.get_mut(place)
            {
                node.below = below;
                changed = true;
            }
        }
    }
}

/// Whether `pointer` passes through declared objects to a declared string or number.
fn leads_to_id(plan: &Plan, object: &ObjectPlan, pointer: &[Box<str>]) -> bool {
    let Some((last, way)) = pointer.split_last() else { return false };
    let child = |object: &ObjectPlan, name: &str| {
        object.fields().iter().find(|(field, _)| **field == *name).map(|(_, id)| *id)
    };
    let mut object = Some(object);
    for name in way {
        object = object
            .and_then(|object| child(object, name))
            .and_then(|id| plan.node(id))
            .and_then(|node| plan.object(node));
    }
    object
        .and_then(|object| child(object, last))
        .and_then(|id| plan.node(id))
        .is_some_and(|node| node.string != Leaf::Undeclared || node.number != Leaf::Undeclared)
}
