//! The walk of plain plans: every address leads to one value, by names and indexes.
//!
//! Most stations are such, and most of their messages are plain too: valid, no name twice. For these there is a scanner that knows which names to expect and notes where
//! the values are. Whatever it doubts it leaves to the [walk](super::walk) along serde_json, which
//! alone says what a document means and what is wrong with it: a document that is scanned to its end
//! has what that walk finds, and there is no other promise.

use std::sync::atomic::{AtomicU32, Ordering};

use rustc_hash::FxHashMap;

use super::super::{Datum, SAMPLES_MAX, SourceTime};
use super::scan::Scanner;
use super::tree::{NodeId, Tree};
use super::{datum, unescaped};

/// What a message has at the addresses of a plain plan.
pub(in crate::iotag) struct Plain<'plan, 'a> {
    text: &'a str,
    plan: &'plan PlainPlan,
    /// By node; the empty span: nothing is there.
    spans: Vec<Span>,
    /// The time of every value, also of missing ones.
    pub(in crate::iotag) time: SourceTime,
}

/// A part of the document, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// A plain tree, compiled once more: for looking up names in the order in which they come.
pub(super) struct PlainPlan {
    nodes: Vec<PlainNode>,
    /// The nodes of the slots.
    slots: Vec<NodeId>,
}

#[derive(Default)]
struct PlainNode {
    fields: Names,
    /// By index, ascending.
    elements: Vec<(usize, NodeId)>,
}

/// The wanted names of an object.
#[derive(Default)]
struct Names {
    names: Vec<(Box<[u8]>, NodeId)>,
    /// Positions of names, when they are many.
    positions: FxHashMap<Box<[u8]>, u32>,
    /// The name that came after each, at 0 the first one, when they came last. Documents of one
    /// source repeat their order. It is a guess: it costs time when it is wrong, nothing else.
    followers: Vec<AtomicU32>,
    /// No name has to be escaped: they may be compared with what is written.
    is_plain: bool,
}

/// Names are looked up by comparing up to this many, then by hash.
const FEW: usize = 8;
/// Most steps of an address in a plain plan.
const DEPTH_MAX: usize = 64;

impl PlainPlan {
    /// `None` when the tree is not plain.
    pub(super) fn of(tree: &Tree) -> Option<Self> {
        let is_plain = tree.nodes.iter().all(|node| node.every.is_none() && node.keyed.is_empty());
        if !is_plain || tree.slot_count() > SAMPLES_MAX {
            return None;
        }
        let mut plan = Self { nodes: Vec::new(), slots: vec![0; tree.slot_count()] };
        let mut depths = vec![0; tree.nodes.len()];
        for (at, node) in tree.nodes.iter().enumerate() {
            for slot in &node.slots {
                plan.slots[*slot as usize] = at as NodeId;
            }
            let fields = node.fields.nodes();
            let children = fields.iter().map(|(_, child)| child);
            for child in children.chain(node.elements.iter().map(|(_, child)| child)) {
                // Children have higher numbers than their parents.
                depths[*child as usize] = depths[at] + 1;
            }
            plan.nodes
                .push(PlainNode { fields: Names::of(fields), elements: node.elements.clone() });
        }
        depths.into_iter().all(|depth| depth <= DEPTH_MAX).then_some(plan)
    }

    /// Where the values are; `None`: the document is for the general walk.
    pub(super) fn walk<'plan, 'a>(&'plan self, text: &'a str) -> Option<Plain<'plan, 'a>> {
        u32::try_from(text.len()).ok()?;
        let spans = vec![Span::default(); self.nodes.len()];
        let mut walker = Walker { plan: self, text, scanner: Scanner::new(text.as_bytes()), spans };
        walker.scanner.blanks();
        walker.value(0)?;
        walker.scanner.blanks();
        let Walker { scanner, spans, .. } = walker;
        let plain = Plain { text, plan: self, spans, time: SourceTime::Unstated };
        scanner.is_at_end().then_some(plain)
    }
}

impl<'a> Plain<'_, 'a> {
    /// What stands at the address of a slot, as it is written; `None`: nothing, its path is missing.
    #[inline]
    pub(in crate::iotag) fn raw(&self, slot: u32) -> Option<&'a str> {
        let Span { start, end } = self.spans[self.plan.slots[slot as usize] as usize];
        let raw = self.text.get(start as usize..end as usize)?;
        (!raw.is_empty()).then_some(raw)
    }

    /// What stands there.
    pub(in crate::iotag) fn datum(&self, slot: u32) -> Option<Datum<'a>> {
        self.raw(slot).map(datum)
    }
}

impl Names {
    fn of(mut fields: Vec<(&str, NodeId)>) -> Self {
        // In the order of the configuration, as a first guess.
        fields.sort_unstable_by_key(|(_, node)| *node);
        let names: Vec<(Box<[u8]>, NodeId)> =
            fields.into_iter().map(|(name, node)| (name.as_bytes().into(), node)).collect();
        let positions = match names.len() {
            ..=FEW => FxHashMap::default(),
            _ => (0..).zip(&names).map(|(position, (name, _))| (name.clone(), position)).collect(),
        };
        let followers = (0..=names.len() as u32).map(AtomicU32::new).collect();
        let is_plain_byte = |byte: &u8| *byte >= b' ' && !b"\"\\".contains(byte);
        let is_plain = names.iter().all(|(name, _)| name.iter().all(is_plain_byte));
        Self { names, positions, followers, is_plain }
    }

    /// The position after that of the name which is to be expected after this one.
    fn follower(&self, after: usize) -> usize {
        self.followers[after].load(Ordering::Relaxed) as usize
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        if self.names.len() <= FEW {
            return self.names.iter().position(|(known, _)| **known == *name);
        }
        self.positions.get(name).map(|position| *position as usize)
    }
}

struct Walker<'plan, 'a> {
    plan: &'plan PlainPlan,
    text: &'a str,
    scanner: Scanner<'a>,
    spans: Vec<Span>,
}

impl<'plan> Walker<'plan, '_> {
    /// Follows a node into the value that begins here. `None`, here and below: give up.
    fn value(&mut self, node: NodeId) -> Option<()> {
        let here = &self.plan.nodes[node as usize];
        if self.spans[node as usize] != Span::default() {
            // A name for the second time: what the first one brought would be void.
            return None;
        }
        let start = self.scanner.at();
        let (fields, elements) = (!here.fields.names.is_empty(), !here.elements.is_empty());
        match self.scanner.peek() {
            b'{' if fields => self.fields(&here.fields)?,
            b'[' if elements => self.elements(&here.elements)?,
            _ => self.scanner.skip()?,
        }
        self.spans[node as usize] = Span { start: start as u32, end: self.scanner.at() as u32 };
        Some(())
    }

    fn fields(&mut self, fields: &'plan Names) -> Option<()> {
        let mut last = 0;
        self.scanner.eat(b'{')?;
        self.scanner.blanks();
        if self.scanner.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            self.scanner.eat(b'"')?;
            let expected = fields.follower(last);
            let position = match fields.names.get(expected) {
                Some((name, _)) if fields.is_plain && self.scanner.eat_name(name) => Some(expected),
                _ => {
                    let position = self.named(fields)?;
                    if let Some(position) = position {
                        fields.followers[last].store(position as u32, Ordering::Relaxed);
                    }
                    position
                }
            };
            self.scanner.colon()?;
            match position {
                Some(position) => {
                    last = position + 1;
                    self.value(fields.names[position].1)?;
                }
                None => self.scanner.skip()?,
            }
            if self.scanner.comma_or(b'}')? {
                return Some(());
            }
        }
    }

    /// The position of the name that begins here; `Some(None)`: nobody asks for it.
    fn named(&mut self, fields: &Names) -> Option<Option<usize>> {
        let start = self.scanner.at();
        if let Some(name) = self.scanner.name() {
            return Some(fields.find(name));
        }
        // With its opening quote.
        self.scanner.back_to(start - 1);
        self.scanner.text()?;
        // Half a character is in no name that is looked for.
        let name = unescaped(self.text.get(start - 1..self.scanner.at())?);
        Some(name.and_then(|name| fields.find(name.as_bytes())))
    }

    fn elements(&mut self, elements: &'plan [(usize, NodeId)]) -> Option<()> {
        let mut wanted = elements.iter().peekable();
        self.scanner.eat(b'[')?;
        self.scanner.blanks();
        if self.scanner.eat(b']').is_some() {
            return Some(());
        }
        for index in 0_usize.. {
            match wanted.next_if(|(wanted, _)| *wanted == index) {
                Some((_, node)) => self.value(*node)?,
                None => self.scanner.skip()?,
            }
            if self.scanner.comma_or(b']')? {
                return Some(());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
