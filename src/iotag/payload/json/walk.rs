//! A streaming parser led along the tree of addresses.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{SAMPLES_MAX, too_many};
use super::tree::{Absence, Fields, Keyed, LeadsInto, NodeId, Tree};

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

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.walker.plan.nodes[self.node as usize].raw {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            return self.walker.raw(self.node, raw.get()).map_err(D::Error::custom);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Self { walker, node } = self;
        let plan = walker.plan;
        let here = &plan.nodes[node as usize];
        walker.found(node, Found::Object);
        // A node that is not `raw` has at most one of the three readings.
        if !here.fields.is_empty() {
            return FieldsVisitor { walker, node }.visit_map(map);
        }
        if let Some(every) = here.every {
            let outer = walker.enter_element(node, 0);
            At { walker, node: every }.visit_map(map)?;
            walker.scope = outer;
            return Ok(());
        }
        if let Some(group) = here.keyed.first() {
            let outer = walker.enter_element(node, 0);
            KeyedAt { walker, group }.visit_map(map)?;
            walker.scope = outer;
            return Ok(());
        }
        IgnoredAny.visit_map(map).map(drop)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        ElementsVisitor { walker: self.walker, node: self.node }.visit_seq(elements)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.walker.found(self.node, Found::Scalar);
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.visit_unit()
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
        while let Some(child) = map.next_key_seed(Name { fields })? {
            let Some(child) = child else {
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

/// The child for the next name of an object.
struct Name<'plan> {
    fields: &'plan Fields,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<NodeId>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<NodeId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.fields.find(name))
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
        if here.every.is_none() && here.elements.is_empty() && here.keyed.is_empty() {
            return IgnoredAny.visit_seq(elements).map(drop);
        }
        let mut single = here.elements.iter().peekable();
        for index in 0_usize.. {
            let element = single.next_if(|(wanted, _)| *wanted == index).map(|(_, node)| *node);
            let children = element.into_iter().chain(here.every);
            let outer = walker.enter_element(node, u32::try_from(index).unwrap_or(u32::MAX));
            let readings = children.clone().count() + here.keyed.len();
            let more = if readings == 0 {
                elements.next_element::<IgnoredAny>()?.is_some()
            } else if readings > 1 {
                match elements.next_element::<&RawValue>()? {
                    None => false,
                    Some(raw) => {
                        for child in children {
                            walker.raw(child, raw.get()).map_err(A::Error::custom)?;
                        }
                        for group in &here.keyed {
                            walker.keyed_raw(group, raw.get()).map_err(A::Error::custom)?;
                        }
                        true
                    }
                }
            } else if let Some(group) = here.keyed.first() {
                elements.next_element_seed(KeyedAt { walker: &mut *walker, group })?.is_some()
            } else if let Some(child) = children.into_iter().next() {
                elements.next_element_seed(At { walker: &mut *walker, node: child })?.is_some()
            } else {
                false
            };
            walker.scope = outer;
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// Follows the addresses of keyed elements into one element.
struct KeyedAt<'walk, 'plan, 'de> {
    walker: &'walk mut Walker<'plan, 'de>,
    group: &'plan Keyed,
}

impl<'de> DeserializeSeed<'de> for KeyedAt<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.group.captures.is_none() {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            return self.walker.keyed_raw(self.group, raw.get()).map_err(D::Error::custom);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeyedAt<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    /// The key may come after the values, so the wanted fields are kept until the end.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { walker, group } = self;
        let Some(captures) = &group.captures else { return IgnoredAny.visit_map(map).map(drop) };
        let mut key = None;
        let mut captured: Vec<Option<&'de str>> = vec![None; captures.len()];
        while let Some((is_key, capture)) = map.next_key_seed(KeyedName { group, captures })? {
            if !is_key && capture.is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&RawValue>()?.get();
            if is_key {
                key = Some(raw);
            }
            if let Some(capture) = capture {
                captured[capture as usize] = Some(raw);
            }
        }
        let plan = walker.plan;
        for node in key.map_or(&[][..], |key| group.find(key)) {
            for (capture, child) in &plan.nodes[*node as usize].captured {
                if let Some(raw) = captured[*capture as usize] {
                    walker.raw(*child, raw).map_err(A::Error::custom)?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<(), A::Error> {
        IgnoredAny.visit_seq(elements).map(drop)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Whether the next name of an element is its key's, and the place to keep its value.
struct KeyedName<'plan> {
    group: &'plan Keyed,
    captures: &'plan FxHashMap<Box<str>, u32>,
}

impl<'de> DeserializeSeed<'de> for KeyedName<'_> {
    type Value = (bool, Option<u32>);

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyedName<'_> {
    type Value = (bool, Option<u32>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok((*name == *self.group.field, self.captures.get(name).copied()))
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
        while let Some(is_key) = map.next_key_seed(IsName(self.field))? {
            if is_key {
                *self.key = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct IsName<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
