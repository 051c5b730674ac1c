//! The walk of any plan along the scanner.
//!
//! It finds what the [walk](super::walk) along serde_json finds, in a fraction of the time, or gives
//! up: at a name that stands twice, at many levels, and at everything that is no JSON. As the scanner
//! can go back, several readings of one value follow one after the other; nothing is kept for them.

use rustc_hash::FxHashMap;

use super::super::SAMPLES_MAX;
use super::scan::Scanner;
use super::tree::{Fields, Keyed, NodeId, Tree};
use super::unescaped;
use super::walk::{Found, INNER_SCOPES, Sample, State, Walk};

/// Deepest nesting of values that addresses lead into.
const DEPTH_MAX: u32 = 64;

impl Tree {
    /// Walks a document; `None`: it is for the walk along serde_json.
    pub(super) fn quick_walk<'de>(&self, text: &'de str) -> Option<Walk<'de>> {
        let mut walker = Walker {
            plan: self,
            text,
            scanner: Scanner::new(text.as_bytes()),
            samples: Vec::with_capacity(self.slot_count()),
            states: vec![State::default(); self.nodes.len()],
            objects: 0,
            scope: 0,
            scopes: FxHashMap::default(),
            depth: 0,
        };
        walker.scanner.blanks();
        walker.value(0)?;
        walker.scanner.blanks();
        let Walker { scanner, samples, states, .. } = walker;
        scanner.is_at_end().then_some(Walk { samples, states })
    }
}

struct Walker<'plan, 'de> {
    plan: &'plan Tree,
    text: &'de str,
    scanner: Scanner<'de>,
    samples: Vec<Sample<'de>>,
    states: Vec<State>,
    /// Objects entered so far.
    objects: u32,
    scope: u32,
    /// Scopes inside scopes, by the outer one and the index.
    scopes: FxHashMap<(u32, u32), u32>,
    depth: u32,
}

impl<'plan, 'de> Walker<'plan, 'de> {
    /// Follows a node into the value that begins here. `None`, here and below: give up.
    fn value(&mut self, node: NodeId) -> Option<()> {
        let plan = self.plan;
        let here = &plan.nodes[node as usize];
        let start = self.scanner.at();
        if here.is_leaf() {
            self.scanner.skip()?;
        } else {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return None;
            }
            match self.scanner.peek() {
                b'{' => self.object(node)?,
                b'[' => self.array(node)?,
                _ => {
                    self.scanner.skip()?;
                    self.states[node as usize].found = Found::Scalar;
                }
            }
            self.depth -= 1;
        }
        if here.slots.is_empty() {
            return Some(());
        }
        let raw = self.text.get(start..self.scanner.at())?;
        if self.samples.len() + here.slots.len() > SAMPLES_MAX {
            return None;
        }
        for slot in &here.slots {
            self.samples.push(Sample { slot: *slot, scope: self.scope, raw, alive: true });
        }
        Some(())
    }

    fn object(&mut self, node: NodeId) -> Option<()> {
        let plan = self.plan;
        let here = &plan.nodes[node as usize];
        self.states[node as usize].found = Found::Object;
        let start = self.scanner.at();
        let mut end = None;
        if !here.fields.is_empty() {
            self.fields(&here.fields)?;
            end = Some(self.scanner.at());
        }
        let outer = self.enter_element(node, 0);
        if let Some(every) = here.every {
            self.scanner.back_to(start);
            self.value(every)?;
            end = Some(self.scanner.at());
        }
        for group in &here.keyed {
            self.scanner.back_to(start);
            self.keyed(group)?;
            end = Some(self.scanner.at());
        }
        self.scope = outer;
        match end {
            Some(end) => self.scanner.back_to(end),
            None => self.scanner.skip()?,
        }
        Some(())
    }

    fn fields(&mut self, fields: &'plan Fields) -> Option<()> {
        self.objects += 1;
        let object = self.objects;
        self.scanner.eat(b'{')?;
        self.scanner.blanks();
        if self.scanner.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            match self.name(|name| fields.find(name))? {
                Some(child) => {
                    let state = &mut self.states[child as usize];
                    if state.object == object {
                        return None;
                    }
                    state.object = object;
                    self.value(child)?;
                }
                None => self.scanner.skip()?,
            }
            if self.scanner.comma_or(b'}')? {
                return Some(());
            }
        }
    }

    /// The next name of an object, and the colon after it.
    fn name<T>(&mut self, find: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
        let start = self.scanner.at();
        self.scanner.eat(b'"')?;
        let found = if self.scanner.name().is_some() {
            find(self.text.get(start + 1..self.scanner.at() - 1)?)
        } else {
            self.scanner.back_to(start);
            self.scanner.text()?;
            // Half a character is in no name that is looked for.
            unescaped(self.text.get(start..self.scanner.at())?).and_then(|name| find(&name))
        };
        self.scanner.colon()?;
        Some(found)
    }

    fn array(&mut self, node: NodeId) -> Option<()> {
        let plan = self.plan;
        let here = &plan.nodes[node as usize];
        self.states[node as usize].found = Found::Array;
        if here.every.is_none() && here.elements.is_empty() && here.keyed.is_empty() {
            return self.scanner.skip();
        }
        self.scanner.eat(b'[')?;
        self.scanner.blanks();
        if self.scanner.eat(b']').is_some() {
            return Some(());
        }
        let mut wanted = here.elements.iter().peekable();
        for index in 0_usize.. {
            let element = wanted.next_if(|(wanted, _)| *wanted == index).map(|(_, node)| *node);
            let outer = self.enter_element(node, u32::try_from(index).ok()?);
            let start = self.scanner.at();
            let mut is_past = false;
            for child in element.into_iter().chain(here.every) {
                self.scanner.back_to(start);
                self.value(child)?;
                is_past = true;
            }
            for group in &here.keyed {
                self.scanner.back_to(start);
                self.keyed(group)?;
                is_past = true;
            }
            if !is_past {
                self.scanner.skip()?;
            }
            self.scope = outer;
            if self.scanner.comma_or(b']')? {
                return Some(());
            }
        }
        None
    }

    /// An element that a field of its own tells from the others.
    fn keyed(&mut self, group: &'plan Keyed) -> Option<()> {
        if self.scanner.peek() != b'{' {
            return self.scanner.skip();
        }
        let start = self.scanner.at();
        let key = self.key(&group.field)?;
        let end = self.scanner.at();
        for node in key.map_or(&[][..], |key| group.find(key)) {
            self.scanner.back_to(start);
            self.value(*node)?;
        }
        self.scanner.back_to(end);
        Some(())
    }

    /// The raw value of the last field of this name.
    fn key(&mut self, field: &str) -> Option<Option<&'de str>> {
        let mut key = None;
        self.scanner.eat(b'{')?;
        self.scanner.blanks();
        if self.scanner.eat(b'}').is_some() {
            return Some(None);
        }
        loop {
            let is_key = self.name(|name| (name == field).then_some(()))?.is_some();
            let start = self.scanner.at();
            self.scanner.skip()?;
            if is_key {
                key = Some(self.text.get(start..self.scanner.at())?);
            }
            if self.scanner.comma_or(b'}')? {
                return Some(key);
            }
        }
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
}
