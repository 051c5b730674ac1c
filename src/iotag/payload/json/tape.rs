//! A document in memory as one list of its values, each a piece of the text: nothing is rounded,
//! reordered or copied. For JSONPath, which looks at values more than once.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::scan::Scanner;
use super::{datum, place, unescaped};
use crate::iotag::json_address::{Literal, Step};
use crate::iotag::payload::Datum;

/// Position of a value in its [`Tape`].
pub(in crate::iotag) type Place = u32;

/// Most levels of arrays and objects.
const LEVELS_MAX: u32 = 128;
/// Members are compared with each other up to this many, then by hash.
const FEW: usize = 8;

/// The values of a document, parents before children, in the order of the text.
pub(in crate::iotag) struct Tape<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    /// The name with its quotes; empty: it is no member of an object.
    name: Span,
    value: Span,
    /// The position after the last value inside.
    after: Place,
    /// A later member of the same name counts in its place.
    is_overwritten: bool,
}

/// A part of the text, in bytes.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl<'a> Tape<'a> {
    /// The error says why there is no list of this text, which is known to be JSON.
    pub(in crate::iotag) fn of(text: &'a str) -> Result<Self, String> {
        if u32::try_from(text.len()).is_err() {
            return Err("more than 4 GiB".to_owned());
        }
        let mut building = Building { scanner: Scanner::new(text.as_bytes()), text, nodes: vec![] };
        building.scanner.blanks();
        match building.value(Span::default(), 0) {
            Some(()) => Ok(Self { text, nodes: building.nodes }),
            None => {
                let (line, column) = place(text.as_bytes(), building.scanner.at());
                let what = format!("more than {LEVELS_MAX} levels of arrays and objects");
                Err(format!("{what} at line {line} column {column}"))
            }
        }
    }

    /// The value of the whole document.
    pub(in crate::iotag) fn root(&self) -> Place {
        0
    }

    /// A value as it is written.
    pub(in crate::iotag) fn raw(&self, place: Place) -> &'a str {
        slice(self.text, self.nodes[place as usize].value)
    }

    /// What a value is.
    pub(in crate::iotag) fn datum(&self, place: Place) -> Datum<'a> {
        datum(self.raw(place))
    }

    /// Where a value begins in the text, in bytes.
    pub(in crate::iotag) fn offset(&self, place: Place) -> usize {
        self.nodes[place as usize].value.start as usize
    }

    /// Where it ends.
    pub(in crate::iotag) fn end(&self, place: Place) -> usize {
        self.nodes[place as usize].value.end as usize
    }

    /// Where a piece of the text begins in it.
    pub(in crate::iotag) fn offset_of(&self, piece: &str) -> Option<usize> {
        let offset = piece.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        (offset < self.text.len()).then_some(offset)
    }

    pub(in crate::iotag) fn is_array(&self, place: Place) -> bool {
        self.raw(place).starts_with('[')
    }

    pub(in crate::iotag) fn is_object(&self, place: Place) -> bool {
        self.raw(place).starts_with('{')
    }

    /// The elements of an array, the values of an object that no later one overwrites.
    pub(in crate::iotag) fn children(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        let end = self.nodes[place as usize].after;
        let mut next = place + 1;
        std::iter::from_fn(move || {
            while next < end {
                let child = next;
                let node = &self.nodes[child as usize];
                next = node.after;
                if !node.is_overwritten {
                    return Some(child);
                }
            }
            None
        })
    }

    /// A value and all that are inside it, parents before children.
    pub(in crate::iotag) fn descendants(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        let end = self.nodes[place as usize].after;
        let mut next = place;
        std::iter::from_fn(move || {
            while next < end {
                let here = next;
                let node = &self.nodes[here as usize];
                if node.is_overwritten && here != place {
                    next = node.after;
                    continue;
                }
                next += 1;
                return Some(here);
            }
            None
        })
    }

    /// The value of an object's member; `None` also when it is no object.
    pub(in crate::iotag) fn member(&self, place: Place, name: &str) -> Option<Place> {
        if !self.is_object(place) {
            return None;
        }
        self.children(place).find(|child| self.name(*child).is_some_and(|own| own == name))
    }

    /// The name of a member; `None`: it is no member, or its name has half a character.
    pub(in crate::iotag) fn name(&self, place: Place) -> Option<Cow<'a, str>> {
        let name = slice(self.text, self.nodes[place as usize].name);
        if name.is_empty() { None } else { unescaped(name) }
    }

    /// Where the steps of an address lead to.
    pub(in crate::iotag) fn follow(&self, steps: &[Step]) -> Vec<Place> {
        let mut places = vec![self.root()];
        for step in steps {
            places = places.into_iter().flat_map(|place| self.step(place, step)).collect();
        }
        places
    }

    fn step(&self, place: Place, step: &Step) -> Vec<Place> {
        let elements = || match self.is_array(place) {
            true => self.children(place).collect(),
            // Of one object `[]` and `[name=…]` are that object.
            false if self.is_object(place) => vec![place],
            false => Vec::new(),
        };
        match step {
            Step::Field(name) => self.member(place, name).into_iter().collect(),
            Step::Element(index) if self.is_array(place) => {
                self.children(place).nth(*index).into_iter().collect()
            }
            Step::Element(_) => Vec::new(),
            Step::Every => elements(),
            Step::Keyed { field, literal } => {
                let is_keyed = |place: &Place| self.has_key(*place, field, literal);
                elements().into_iter().filter(is_keyed).collect()
            }
        }
    }

    fn has_key(&self, place: Place, field: &str, literal: &Literal) -> bool {
        self.member(place, field).is_some_and(|key| self.datum(key).equals(literal))
    }
}

fn slice(text: &str, span: Span) -> &str {
    text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

struct Building<'a> {
    scanner: Scanner<'a>,
    text: &'a str,
    nodes: Vec<Node>,
}

impl Building<'_> {
    /// The value that begins here; `None`: too many levels.
    fn value(&mut self, name: Span, levels: u32) -> Option<()> {
        let place = self.nodes.len();
        let start = self.scanner.at() as u32;
        let value = Span { start, end: start };
        self.nodes.push(Node { name, value, after: 0, is_overwritten: false });
        match self.scanner.peek() {
            b'{' | b'[' if levels == LEVELS_MAX => return None,
            b'{' => self.members(levels)?,
            b'[' => self.elements(levels)?,
            _ => self.scanner.skip()?,
        }
        let after = self.nodes.len() as Place;
        let node = &mut self.nodes[place];
        node.value.end = self.scanner.at() as u32;
        node.after = after;
        Some(())
    }

    fn elements(&mut self, levels: u32) -> Option<()> {
        self.scanner.eat(b'[')?;
        self.scanner.blanks();
        if self.scanner.eat(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(Span::default(), levels + 1)?;
            if self.scanner.comma_or(b']')? {
                return Some(());
            }
        }
    }

    fn members(&mut self, levels: u32) -> Option<()> {
        self.scanner.eat(b'{')?;
        self.scanner.blanks();
        if self.scanner.eat(b'}').is_some() {
            return Some(());
        }
        let mut members = Vec::new();
        loop {
            let start = self.scanner.at() as u32;
            self.scanner.text()?;
            let name = Span { start, end: self.scanner.at() as u32 };
            self.scanner.colon()?;
            members.push(self.nodes.len() as Place);
            self.value(name, levels + 1)?;
            if self.scanner.comma_or(b'}')? {
                break;
            }
        }
        self.overwrite(&members);
        Some(())
    }

    /// Of members with one name the last counts.
    fn overwrite(&mut self, members: &[Place]) {
        let name = |member: Place| unescaped(slice(self.text, self.nodes[member as usize].name));
        let mut overwritten = Vec::new();
        if members.len() <= FEW {
            let names: Vec<Option<Cow<'_, str>>> = members.iter().map(|at| name(*at)).collect();
            for (position, own) in names.iter().enumerate() {
                if own.is_some() && names[position + 1..].contains(own) {
                    overwritten.push(members[position]);
                }
            }
        } else {
            let mut last: FxHashMap<Cow<'_, str>, Place> = FxHashMap::default();
            for member in members {
                let earlier = name(*member).and_then(|name| last.insert(name, *member));
                overwritten.extend(earlier);
            }
        }
        for member in overwritten {
            self.nodes[member as usize].is_overwritten = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raws(tape: &Tape<'_>, places: impl Iterator<Item = Place>) -> Vec<String> {
        places.map(|place| tape.raw(place).to_owned()).collect()
    }

    #[test]
    fn values_are_pieces_of_the_text() {
        let tape = Tape::of(" {\"a\" : [1.50, {\"b\":null}] ,\"c\":\"x\"} ").unwrap();
        assert_eq!(raws(&tape, tape.children(0)), ["[1.50, {\"b\":null}]", "\"x\""]);
        let all = ["{\"a\" : [1.50, {\"b\":null}] ,\"c\":\"x\"}", "[1.50, {\"b\":null}]", "1.50"];
        assert_eq!(raws(&tape, tape.descendants(0))[..3], all);
        assert_eq!(tape.descendants(0).count(), 6);
        assert_eq!(tape.name(1).as_deref(), Some("a"));
        assert_eq!((tape.offset(5), tape.end(5)), (32, 35));
    }

    #[test]
    fn of_members_with_one_name_the_last_counts() {
        for filler in ["", r#""f1":0,"f2":0,"f3":0,"f4":0,"f5":0,"f6":0,"f7":0,"f8":0,"#] {
            let text = format!(r#"{{{filler}"a":{{"b":1}},"c":2,"\u0061":3}}"#);
            let tape = Tape::of(&text).unwrap();
            assert_eq!(tape.member(0, "a").map(|place| tape.raw(place)), Some("3"));
            assert!(raws(&tape, tape.descendants(0)).iter().all(|raw| raw != "1"));
        }
    }

    #[test]
    fn levels_are_bounded() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Tape::of(&nested(128)).is_ok());
        let error = Tape::of(&nested(129)).err();
        assert_eq!(
            error.as_deref(),
            Some("more than 128 levels of arrays and objects at line 1 column 129")
        );
    }
}
