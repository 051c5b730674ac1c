//! XML payloads. Entities other than those of XML itself are not resolved: a document that uses
//! one cannot be parsed, so nothing outside of the payload is ever read.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use rustc_hash::FxHashMap;

use super::{Absence, Datum, Found, SourceTime, Times, place, utf8};
use crate::iotag::mapping::MappingReport;
use crate::iotag::xml_address::{DEPTH_MAX, XmlAddress};

/// The XML addresses of a station as one tree.
pub(in crate::iotag) struct XmlPlan {
    nodes: Vec<Node>,
    slots: u32,
    time: Option<u32>,
}

/// A place in documents.
#[derive(Default)]
struct Node {
    children: FxHashMap<Box<str>, Children>,
    attributes: Vec<(Box<str>, u32)>,
    /// Addresses of the element's text.
    texts: Vec<u32>,
}

/// The children of one name.
struct Children {
    /// Which counter of the parent counts them.
    counter: usize,
    by_index: Vec<(u32, usize)>,
}

impl XmlPlan {
    /// A plan with a time field, if the station has one.
    pub(in crate::iotag) fn new(time_field: Option<&XmlAddress>) -> Self {
        let mut plan = Self { nodes: vec![Node::default()], slots: 0, time: None };
        plan.time = time_field.map(|address| plan.insert(address));
        plan
    }

    pub(in crate::iotag) fn insert(&mut self, address: &XmlAddress) -> u32 {
        let slot = self.slots;
        self.slots += 1;
        let mut at = 0;
        for (name, index) in &address.elements {
            let next = self.nodes.len();
            let children = &mut self.nodes[at].children;
            let counter = children.len();
            let same_name = children
                .entry((**name).into())
                .or_insert_with(|| Children { counter, by_index: Vec::new() });
            let known = same_name.by_index.iter().find(|(known, _)| known == index);
            at = match known {
                Some((_, node)) => *node,
                None => {
                    same_name.by_index.push((*index, next));
                    self.nodes.push(Node::default());
                    next
                }
            };
        }
        let node = &mut self.nodes[at];
        match &address.attribute {
            Some(name) => node.attributes.push(((**name).into(), slot)),
            None => node.texts.push(slot),
        }
        slot
    }

    /// Takes a payload apart. The error says why it cannot be parsed, with line and column.
    pub(in crate::iotag) fn take<'a>(
        &self,
        payload: &'a [u8],
        times: &Times,
        report: &mut MappingReport,
    ) -> Result<Found<'a>, String> {
        let text = utf8(payload)?;
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut walk = Walk { plan: self, frames: Vec::new(), ended: false, taken: Vec::new() };
        let walked = loop {
            match reader.read_event() {
                Ok(Event::Eof) => break walk.finish(),
                Ok(event) => {
                    if let Err(error) = walk.event(event) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        if let Err(error) = walked {
            let offset = reader.buffer_position().max(reader.error_position());
            let (line, column) = place(text.as_bytes(), offset as usize);
            return Err(format!("{error} at line {line} column {column}"));
        }
        self.found(walk.taken, times, report)
    }

    fn found<'a>(
        &self,
        taken: Vec<(u32, Datum<'a>)>,
        times: &Times,
        report: &mut MappingReport,
    ) -> Result<Found<'a>, String> {
        let time = match self.time {
            None => SourceTime::Unstated,
            Some(slot) => match taken.iter().find(|(of, _)| *of == slot) {
                Some((_, datum)) => times.read(datum, report),
                None => SourceTime::Missing,
            },
        };
        let mut found = Found::new(self.slots as usize, Absence::Missing(time));
        for (slot, datum) in taken {
            found.push(slot, datum, time)?;
        }
        Ok(found)
    }
}

/// A document on its way through a plan.
struct Walk<'plan> {
    plan: &'plan XmlPlan,
    /// The elements that are open.
    frames: Vec<Frame>,
    /// The root element has ended.
    ended: bool,
    taken: Vec<(u32, Datum<'static>)>,
}

struct Frame {
    /// The element's place in the plan, if it has one.
    node: Option<usize>,
    /// Children so far, by counter of the node.
    counts: Vec<u32>,
    text: String,
    /// `xsi:nil`.
    nil: bool,
}

impl Walk<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(start) => self.start(&start),
            Event::End(_) => {
                self.end();
                Ok(())
            }
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) if self.frames.is_empty() => {
                self.text(&format!("<{}", text.xml10_content()))
            }
            Event::CData(text) => self.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = resolve(&reference)?;
                self.text(character.encode_utf8(&mut [0; 4]))
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        if self.ended {
            return Err("an element after the root element".to_owned());
        }
        if self.frames.len() == DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} elements inside each other"));
        }
        let node = self.child(start.local_name().as_ref());
        let children = node.map_or(0, |node| self.plan.nodes[node].children.len());
        let mut frame = Frame { node, counts: vec![0; children], text: String::new(), nil: false };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| error.to_string())?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let name = attribute.key.local_name();
            let name: &str = name.as_ref();
            frame.nil |= name == "nil" && matches!(&*value, "true" | "1");
            let wanted = node.map_or(&[][..], |node| &self.plan.nodes[node].attributes);
            for (_, slot) in wanted.iter().filter(|(wanted, _)| **wanted == *name) {
                let text = Cow::Owned(value.trim().to_owned());
                self.taken.push((*slot, Datum::Text(text)));
            }
        }
        self.frames.push(frame);
        Ok(())
    }

    /// The place of the next child of this name.
    fn child(&mut self, name: &str) -> Option<usize> {
        let Some(parent) = self.frames.last_mut() else {
            let roots = self.plan.nodes[0].children.get(name)?;
            return roots.by_index.iter().find(|(index, _)| *index == 1).map(|(_, node)| *node);
        };
        let children = self.plan.nodes[parent.node?].children.get(name)?;
        let count = &mut parent.counts[children.counter];
        *count += 1;
        children.by_index.iter().find(|(index, _)| index == count).map(|(_, node)| *node)
    }

    fn end(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.ended = self.frames.is_empty();
        let Some(node) = frame.node else { return };
        for slot in &self.plan.nodes[node].texts {
            let datum = if frame.nil {
                Datum::Null
            } else {
                Datum::Text(Cow::Owned(frame.text.trim().to_owned()))
            };
            self.taken.push((*slot, datum));
        }
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        match self.frames.last_mut() {
            Some(frame) => {
                let wanted = frame.node.is_some_and(|node| !self.plan.nodes[node].texts.is_empty());
                if wanted {
                    frame.text.push_str(text);
                }
                Ok(())
            }
            None if text.trim().is_empty() => Ok(()),
            None => Err("text outside of the root element".to_owned()),
        }
    }

    fn finish(&self) -> Result<(), String> {
        if self.ended {
            Ok(())
        } else if self.frames.is_empty() {
            Err("there is no element".to_owned())
        } else {
            Err("an element is not closed".to_owned())
        }
    }
}

/// The character of a reference.
fn resolve(reference: &BytesRef<'_>) -> Result<char, String> {
    if reference.is_char_ref() {
        return match reference.resolve_char_ref() {
            Ok(Some(character)) => Ok(character),
            _ => Err("a reference to no character".to_owned()),
        };
    }
    match &*reference.xml10_content() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        name => Err(format!("the entity `{name}` is unknown")),
    }
}

#[cfg(test)]
mod tests;
