//! Outputs of a station that are published together: whether they have room in one payload.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::config::problems::Problems;
use crate::config::source::Place;
use crate::iotag::line_address::LineAddress;
use crate::iotag::{Tag, TagAddress, output};

/// Where the addresses of composed outputs stand.
#[derive(Default)]
pub(crate) struct Outputs {
    /// Position and place of the fields of each station's document.
    fields: BTreeMap<u32, Vec<(usize, Place)>>,
    /// First place of each field of a line of each station.
    lines: FxHashMap<(u32, LineAddress), Place>,
}

impl Outputs {
    /// Takes note of a tag by its position.
    pub(super) fn add(
        &mut self,
        station: u32,
        (position, tag): (usize, &Tag),
        place: Place,
        problems: &mut Problems,
    ) {
        // What is wrong with an address by itself has been reported.
        if !tag.tag_type.is_output() || tag.address.check_type(tag.tag_type).is_err() {
            return;
        }
        match &tag.address {
            TagAddress::Json(_) => self.fields.entry(station).or_default().push((position, place)),
            TagAddress::Line(address) => {
                let first = *self.lines.entry((station, address.clone())).or_insert(place);
                if first != place {
                    let address = &tag.address_text;
                    let message =
                        format!("a second output tag of its station with the address `{address}`");
                    problems.wrong(place, message).first("the first one is", first);
                }
            }
            _ => {}
        }
    }

    /// Reports the fields that have no room in their document.
    pub(crate) fn check(&self, tags: &[Tag], problems: &mut Problems) {
        for fields in self.fields.values() {
            let mut fields: Vec<(usize, Place)> = fields.clone();
            loop {
                let outputs = fields.iter().filter_map(|(position, _)| tags.get(*position));
                let Err((taken, message)) = output::check_document(outputs) else { break };
                let (_, place) = fields.remove(taken);
                problems
                    .wrong(place, message)
                    .help("all `JA=` outputs of a station are fields of one document");
            }
        }
    }
}
