//! A streaming parser led along the tree of addresses.
//!
//! It says what a document means, and what is wrong with one that has none; the quicker ways give
//! up where they are not sure to find the same.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{SAMPLES_MAX, too_many};
use super::tree::{Absence, Keyed, LeadsInto, NodeId, Tree};
use super::unescaped;

/// What a message has at the addresses of a plan.
pub(super) struct Walk<'de> {
    /// In the order of the document; values of fields that were overwritten by a later field of
    /// the same name are among them, not [`Sample::alive`].
    pub(super) samples: Vec<Sample<'de>>,
    pub(super) states: Vec<State>,
}

/// The value at an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'de> {
    pub(super) slot: u32,
    /// Which element of the time field's array it is from; 0: none.
    pub(super) scope: u32,
    /// The JSON text of the value.
    pub(super) raw: &'de str,
    pub(super) alive: bool,
}

/// What the walk knows of a node.
#[derive(Clone, Copy, Default)]
pub(super) struct State {
    /// The last object in which the node's field was seen, and the samples from there.
    pub(super) object: u32,
    start: u32,
    end: u32,
    pub(super) found: Found,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Found {
    #[default]
    Nothing,
    Object,
    Array,
    Scalar,
}

impl Tree {
    /// Walks a document. The error says what is wrong with it, and at which line and column.
    pub(super) fn walk<'de>(&self, text: &'de str) -> Result<Walk<'de>, String> {
        let mut walker = Walker {
            plan: self,
            samples: Vec::with_capacity(self.slot_count()),
            states: vec![State::default(); self.nodes.len()],
            objects: 0,
            scope: 0,
            scopes: FxHashMap::default(),
            inner_failure: None,
        };
        let mut parser = serde_json::Deserializer::from_str(text);
        let outcome = At { walker: &mut walker, node: 0 }
            .deserialize(&mut parser)
            .and_then(|()| parser.end());
        match outcome {
            Ok(()) => Ok(Walk { samples: walker.samples, states: walker.states }),
            Err(error) => Err(walker.explain(text, &error)),
        }
    }
}

impl Walk<'_> {
    /// Whether an address without samples means that its path is missing, rather than that this
    /// message has nothing to say of it.
    pub(super) fn is_missing(&self, plan: &Tree, slot: u32) -> bool {
        let found = |node: NodeId| self.states[node as usize].found;
        match plan.absence(slot) {
            Absence::Missing => true,
            Absence::Every(node) => !matches!(found(*node), Found::Object | Found::Array),
            Absence::Keyed(path) => path.iter().any(|(node, into)| match found(*node) {
                Found::Nothing => false,
                Found::Object => *into == LeadsInto::Element,
                Found::Array => *into == LeadsInto::Field,
                Found::Scalar => true,
            }),
        }
    }
}

struct Walker<'plan, 'de> {
    plan: &'plan Tree,
    samples: Vec<Sample<'de>>,
    states: Vec<State>,
    /// Objects entered so far.
    objects: u32,
    scope: u32,
    /// Scopes inside scopes, by the outer one and the index.
    scopes: FxHashMap<(u32, u32), u32>,
    /// Where an inner parser started that failed, and why: its places count from there.
    inner_failure: Option<(*const u8, serde_json::Error)>,
}

/// Scopes inside scopes have numbers from here on; a scope of the first level is an index + 1.
pub(super) const INNER_SCOPES: u32 = 1 << 31;

impl<'plan, 'de> Walker<'plan, 'de> {
    fn found(&mut self, node: NodeId, found: Found) {
        self.states[node as usize].found = found;
    }

    /// Follows a node into a value of which the text is known.
    fn raw(&mut self, node: NodeId, raw: &'de str) -> Result<(), serde_json::Error> {
        let plan = self.plan;
        let here = &plan.nodes[node as usize];
        if self.samples.len() + here.slots.len() > SAMPLES_MAX {
            return Err(serde_json::Error::custom(too_many()));
        }
        for slot in &here.slots {
            let sample = Sample { slot: *slot, scope: self.scope, raw, alive: true };
            self.samples.push(sample);
        }
        if here.is_leaf() {
            return Ok(());
        }
        match raw.as_bytes().first() {
            Some(b'{') => {
                if !here.fields.is_empty() {
                    self.inner(raw, |walker, parser| {
                        parser.deserialize_map(FieldsVisitor { walker, node })
                    })?;
                }
                self.found(node, Found::Object);
                let outer = self.enter_element(node, 0);
                if let Some(every) = here.every {
                    self.raw(every, raw)?;
                }
                for group in &here.keyed {
                    self.keyed_raw(group, raw)?;
                }
                self.scope = outer;
            }
            Some(b'[') => {
                self.inner(raw, |walker, parser| {
                    parser.deserialize_seq(ElementsVisitor { walker, node })
                })?;
            }
            _ => self.found(node, Found::Scalar),
        }
        Ok(())
    }

    /// Runs a parser over a text inside the document.
    fn inner(
        &mut self,
        raw: &'de str,
        run: impl FnOnce(
            &mut Self,
            &mut serde_json::Deserializer<serde_json::de::StrRead<'de>>,
        ) -> Result<(), serde_json::Error>,
    ) -> Result<(), serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(raw);
        run(self, &mut parser).map_err(|error| {
            let passed_on = serde_json::Error::custom(&error);
            self.inner_failure.get_or_insert((raw.as_ptr(), error));
            passed_on
        })
    }

    fn explain(&self, text: &str, error: &serde_json::Error) -> String {
        let Some((start, inner)) = &self.inner_failure else {
            return error.to_string();
        };
        // Both are places in `text`.
        let offset = (*start as usize).wrapping_sub(text.as_ptr() as usize);
        let (line, column) = super::place(text.as_bytes(), offset);
        let message = inner.to_string();
        let what = message.split(" at line ").next().unwrap_or(&message);
        format!("{what} in the value at line {line} column {column}")
    }

    /// Goes into an element; the result is what `scope` has to become after it.
    fn enter_element(&mut self, node: NodeId, index: u32) -> u32 {
        let outer = self.scope;
        match self.plan.nodes[node as usize].scope_level {
            0 => {}
            1 => self.scope = index.saturating_add(1).min(INNER_SCOPES - 1),
            _ => {
                let next = INNER_SCOPES.saturating_add(self.scopes.len() as u32);
                self.scope = *self.scopes.entry((outer, index)).or_insert(next);
            }
        }
        outer
    }

    /// The field of an object, seen again: what it brought the first time is void.
    fn forget(&mut self, node: NodeId) {
        let State { start, end, .. } = self.states[node as usize];
        for sample in &mut self.samples[start as usize..end as usize] {
            sample.alive = false;
        }
        let plan = self.plan;
        let mut below = vec![node];
        while let Some(node) = below.pop() {
            self.states[node as usize].found = Found::Nothing;
            let node = &plan.nodes[node as usize];
            below.extend(node.fields.nodes().iter().map(|(_, node)| node));
            below.extend(node.elements.iter().map(|(_, node)| node));
            below.extend(node.every);
            below.extend(node.keyed.iter().flat_map(Keyed::nodes));
        }
    }

    fn keyed_raw(&mut self, group: &'plan Keyed, raw: &'de str) -> Result<(), serde_json::Error> {
        if !raw.starts_with('{') {
            return Ok(());
        }
        let mut key = None;
        self.inner(raw, |_, parser| {
            parser.deserialize_map(KeyVisitor { field: &group.field, key: &mut key })
        })?;
        for node in key.map_or(&[][..], |key| group.find(key)) {
            self.raw(*node, raw)?;
        }
        Ok(())
    }
}

/// Follows a node into the next value of the parser.
struct At<'walk, 'plan, 'de> {
    walker: &'walk mut Walker<'plan, 'de>,
    node: NodeId,
}

impl<'de> DeserializeSeed<'de> for At<'_, '_, 'de> {
    type Value = ();

    /// As a piece of text, whatever it is: an address leads through a value without decoding it, so
    /// that what is wrong inside concerns those alone who read it.
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
        self.walker.raw(self.node, raw.get()).map_err(D::Error::custom)
    }
}

/// Follows a node's fields into an object.
struct FieldsVisitor<'walk, 'plan, 'de> {
    walker: &'walk mut Walker<'plan, 'de>,
    node: NodeId,
}

impl<'de> Visitor<'de> for FieldsVisitor<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { walker, node } = self;
        let plan = walker.plan;
        let fields = &plan.nodes[node as usize].fields;
        walker.objects += 1;
        let object = walker.objects;
        while let Some(name) = map.next_key::<&RawValue>()? {
            let Some(child) = unescaped(name.get()).and_then(|name| fields.find(&name)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if walker.states[child as usize].object == object {
                walker.forget(child);
            }
            let start = walker.samples.len() as u32;
            map.next_value_seed(At { walker: &mut *walker, node: child })?;
            let end = walker.samples.len() as u32;
            let state = &mut walker.states[child as usize];
            (state.object, state.start, state.end) = (object, start, end);
        }
        Ok(())
    }
}

/// Follows a node's elements into an array.
struct ElementsVisitor<'walk, 'plan, 'de> {
    walker: &'walk mut Walker<'plan, 'de>,
    node: NodeId,
}

impl<'de> Visitor<'de> for ElementsVisitor<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { walker, node } = self;
        let plan = walker.plan;
        let here = &plan.nodes[node as usize];
        walker.found(node, Found::Array);
        let mut single = here.elements.iter().peekable();
        for index in 0_usize.. {
            let Some(raw) = elements.next_element::<&RawValue>()? else { break };
            let element = single.next_if(|(wanted, _)| *wanted == index).map(|(_, node)| *node);
            let outer = walker.enter_element(node, u32::try_from(index).unwrap_or(u32::MAX));
            for child in element.into_iter().chain(here.every) {
                walker.raw(child, raw.get()).map_err(A::Error::custom)?;
            }
            for group in &here.keyed {
                walker.keyed_raw(group, raw.get()).map_err(A::Error::custom)?;
            }
            walker.scope = outer;
        }
        Ok(())
    }
}

/// Finds the raw value of one field of an object, the last of that name.
struct KeyVisitor<'a, 'de> {
    field: &'a str,
    key: &'a mut Option<&'de str>,
}

impl<'de> Visitor<'de> for KeyVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<&RawValue>()? {
            if unescaped(name.get()).is_some_and(|name| name == self.field) {
                *self.key = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
