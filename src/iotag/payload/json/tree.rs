//! The addresses of a station as one tree.

use rustc_hash::FxHashMap;

use crate::iotag::decimal::canonical;
use crate::iotag::json_address::{JsonAddress, Literal, Step};

pub(super) type NodeId = u32;

/// The addresses of a station, compiled. Addresses are known by their slot: equal ones share it.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    slots: Vec<Slot>,
    addresses: FxHashMap<JsonAddress, u32>,
    time: Option<TimeSlot>,
}

/// A place in documents.
#[derive(Default)]
pub(super) struct Node {
    /// Addresses that end here.
    pub(super) slots: Vec<u32>,
    pub(super) fields: Fields,
    /// Children for single elements, by index.
    pub(super) elements: Vec<(usize, NodeId)>,
    pub(super) every: Option<NodeId>,
    pub(super) keyed: Vec<Keyed>,
    /// Which of the time field's `[]` applies to the elements here, from 1; 0: none.
    pub(super) scope_level: u8,
}

/// Children by name.
pub(super) enum Fields {
    Few(Vec<(Box<str>, NodeId)>),
    Many(FxHashMap<Box<str>, NodeId>),
}

/// The elements `[field=…]` of one node and one field.
pub(super) struct Keyed {
    pub(super) field: Box<str>,
    literals: FxHashMap<Literal, NodeId>,
    texts: FxHashMap<Box<str>, Vec<NodeId>>,
    others: FxHashMap<Box<str>, Vec<NodeId>>,
}

/// An address, and what it means when a message has nothing there.
struct Slot {
    absence: Absence,
    timed: bool,
}

/// When an address has nothing in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// Every step leads to one value: the path is missing.
    Missing,
    /// `[]` comes first among the steps to several values: missing unless this node was there.
    Every(NodeId),
    /// `[name=…]` comes first: the element is not carried, unless one of these nodes has something
    /// that the address does not lead into.
    Keyed(Vec<(NodeId, LeadsInto)>),
}

/// What a step leads into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeadsInto {
    /// Objects only.
    Field,
    /// Arrays only.
    Element,
    /// Both.
    Any,
}

struct TimeSlot {
    slot: u32,
    /// The time field's steps up to its last `[]`; empty: one time for the whole message.
    scope: Vec<Step>,
}

/// Fields are looked up by comparing up to this many, then by hash.
const FEW: usize = 8;

impl Default for Fields {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Fields {
    pub(super) fn find(&self, name: &str) -> Option<NodeId> {
        match self {
            Self::Few(fields) => {
                fields.iter().find(|(known, _)| **known == *name).map(|(_, node)| *node)
            }
            Self::Many(fields) => fields.get(name).copied(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Few(fields) if fields.is_empty())
    }

    fn insert(&mut self, name: &str, node: NodeId) {
        match self {
            Self::Few(fields) if fields.len() < FEW => fields.push((name.into(), node)),
            Self::Few(fields) => {
                let mut many: FxHashMap<Box<str>, NodeId> = fields.drain(..).collect();
                many.insert(name.into(), node);
                *self = Self::Many(many);
            }
            Self::Many(fields) => {
                fields.insert(name.into(), node);
            }
        }
    }

    /// In the order of their names.
    pub(super) fn nodes(&self) -> Vec<(&str, NodeId)> {
        let mut nodes: Vec<(&str, NodeId)> = match self {
            Self::Few(fields) => fields.iter().map(|(name, node)| (&**name, *node)).collect(),
            Self::Many(fields) => fields.iter().map(|(name, node)| (&**name, *node)).collect(),
        };
        nodes.sort_unstable();
        nodes
    }
}

impl Node {
    /// Whether no address goes on from here.
    pub(super) fn is_leaf(&self) -> bool {
        self.fields.is_empty()
            && self.elements.is_empty()
            && self.every.is_none()
            && self.keyed.is_empty()
    }
}

impl Keyed {
    fn new(field: &str) -> Self {
        Self {
            field: field.into(),
            literals: FxHashMap::default(),
            texts: FxHashMap::default(),
            others: FxHashMap::default(),
        }
    }

    /// The children for an element whose field has this raw value.
    pub(super) fn find(&self, raw: &str) -> &[NodeId] {
        let found = match raw.as_bytes().first() {
            Some(b'"') => super::unescaped(raw).and_then(|text| self.texts.get(&*text)),
            Some(b'{' | b'[') | None => None,
            Some(_) if self.others.is_empty() => None,
            Some(_) => match self.others.get(raw) {
                None => canonical(raw).and_then(|key| self.others.get(&*key)),
                found => found,
            },
        };
        found.map_or(&[], Vec::as_slice)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.texts.values().flatten().copied()
    }

    /// The child of a literal; `next` if there is none yet.
    fn child(&mut self, literal: &Literal, next: NodeId) -> NodeId {
        let child = *self.literals.entry(literal.clone()).or_insert(next);
        if child == next {
            self.texts.entry((*literal.text).into()).or_default().push(child);
            if !literal.quoted {
                let key = canonical(&literal.text).unwrap_or_else(|| literal.text.to_string());
                self.others.entry(key.into()).or_default().push(child);
            }
        }
        child
    }
}

fn leads_into(step: &Step) -> LeadsInto {
    match step {
        Step::Field(_) => LeadsInto::Field,
        Step::Element(_) => LeadsInto::Element,
        Step::Every | Step::Keyed { .. } => LeadsInto::Any,
    }
}

impl Tree {
    /// A tree with a time field, if the station has one.
    pub(super) fn new(time_field: Option<&JsonAddress>) -> Self {
        let mut plan = Self {
            nodes: vec![Node::default()],
            slots: Vec::new(),
            addresses: FxHashMap::default(),
            time: None,
        };
        if let Some(address) = time_field {
            let steps = address.steps();
            let last = steps.iter().rposition(|step| *step == Step::Every);
            let scope = last.map_or_else(Vec::new, |last| steps[..=last].to_vec());
            plan.time = Some(TimeSlot { slot: 0, scope });
            // A tag with the same address has a slot of its own: times are read differently.
            plan.insert_new(address);
        }
        plan
    }

    /// The slot of an address.
    pub(super) fn insert(&mut self, address: &JsonAddress) -> u32 {
        if let Some(slot) = self.addresses.get(address) {
            return *slot;
        }
        let slot = self.insert_new(address);
        self.addresses.insert(address.clone(), slot);
        slot
    }

    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// The slot of the time field.
    pub(super) fn time_slot(&self) -> Option<u32> {
        self.time.as_ref().map(|time| time.slot)
    }

    /// Whether the time field has one time for every sample of an array.
    pub(super) fn time_is_scoped(&self) -> bool {
        self.time.as_ref().is_some_and(|time| !time.scope.is_empty())
    }

    /// The time field's steps up to its last `[]`.
    pub(super) fn time_scope(&self) -> &[Step] {
        self.time.as_ref().map_or(&[], |time| &time.scope)
    }

    /// Whether the time field says the time of this address.
    pub(super) fn is_timed(&self, slot: u32) -> bool {
        self.slots[slot as usize].timed
    }

    pub(super) fn absence(&self, slot: u32) -> &Absence {
        &self.slots[slot as usize].absence
    }

    fn insert_new(&mut self, address: &JsonAddress) -> u32 {
        let slot = self.slots.len() as u32;
        let scope_length = self.time.as_ref().map_or(0, |time| time.scope.len());
        let mut along = 0;
        let mut level = 0;
        let mut node: NodeId = 0;
        let mut path = Vec::new();
        let mut absence = Absence::Missing;
        for (position, step) in address.steps().iter().enumerate() {
            if position == along && along < scope_length {
                let enters = self.follows_time(position, step);
                along += usize::from(enters.is_some());
                if enters == Some(true) {
                    level += 1;
                    self.nodes[node as usize].scope_level = level;
                }
            }
            path.push((node, leads_into(step)));
            if step.is_fan_out() && absence == Absence::Missing {
                absence = match step {
                    Step::Every => Absence::Every(node),
                    _ => Absence::Keyed(path.clone()),
                };
            }
            node = self.child(node, step);
        }
        self.nodes[node as usize].slots.push(slot);
        let timed = self.time.is_some() && along == scope_length;
        self.slots.push(Slot { absence, timed });
        slot
    }

    /// Whether a step runs along the time field's: `Some(true)` at its `[]`, `None` when it leaves.
    fn follows_time(&self, position: usize, step: &Step) -> Option<bool> {
        let wanted = &self.time.as_ref()?.scope[position];
        match (wanted, step) {
            (Step::Every, Step::Field(_)) => None,
            (Step::Every, _) => Some(true),
            _ => (wanted == step).then_some(false),
        }
    }

    fn child(&mut self, at: NodeId, step: &Step) -> NodeId {
        let next = self.nodes.len() as NodeId;
        let node = &mut self.nodes[at as usize];
        let child = match step {
            Step::Field(name) => node.fields.find(name).unwrap_or_else(|| {
                node.fields.insert(name, next);
                next
            }),
            Step::Element(index) => {
                match node.elements.binary_search_by_key(index, |(index, _)| *index) {
                    Ok(position) => node.elements[position].1,
                    Err(position) => {
                        node.elements.insert(position, (*index, next));
                        next
                    }
                }
            }
            Step::Every => *node.every.get_or_insert(next),
            Step::Keyed { field, literal } => {
                let known = node.keyed.iter().position(|keyed| *keyed.field == **field);
                let position = known.unwrap_or_else(|| {
                    node.keyed.push(Keyed::new(field));
                    node.keyed.len() - 1
                });
                node.keyed[position].child(literal, next)
            }
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }
}
