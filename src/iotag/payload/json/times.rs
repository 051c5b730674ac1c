//! The times of what JSONPath selects.

use super::tape::{Place, Tape};
use super::tree::Tree;
use super::walk::Walk;
use super::{SourceTime, Times, datum};
use crate::iotag::mapping::MappingReport;

/// When values are: all of them at once, or by the element of an array that they are in.
pub(super) enum PathTimes {
    Common(SourceTime),
    Elements(Vec<Element>),
}

/// An element that has a time of its own.
pub(super) struct Element {
    /// Where in the text it begins and ends, in bytes.
    start: usize,
    end: usize,
    time: SourceTime,
}

impl PathTimes {
    /// `common` is the time of the whole message, if the time field has one.
    pub(super) fn of(
        tree: &Tree,
        walk: &Walk<'_>,
        tape: &Tape<'_>,
        common: SourceTime,
        times: &Times,
        report: &mut MappingReport,
    ) -> Self {
        let Some(slot) = tree.time_slot().filter(|_| tree.time_is_scoped()) else {
            return Self::Common(common);
        };
        let place = |place: Place| Element {
            start: tape.offset(place),
            end: tape.end(place),
            time: SourceTime::Missing,
        };
        let mut elements: Vec<Element> =
            tape.follow(tree.time_scope()).into_iter().map(place).collect();
        elements.sort_unstable_by_key(|element| element.start);
        // From the last: of several times in one element the first counts.
        for sample in walk.samples.iter().rev() {
            if sample.slot == slot
                && sample.alive
                && let Some(element) = tape.offset_of(sample.raw).and_then(|offset| {
                    element_at(&elements, offset).and_then(|at| elements.get_mut(at))
                })
            {
                element.time = times.read(&datum(sample.raw), report);
            }
        }
        Self::Elements(elements)
    }

    /// The time of a selected value.
    pub(super) fn of_place(&self, tape: &Tape<'_>, place: Place) -> SourceTime {
        match self {
            Self::Common(time) => *time,
            Self::Elements(elements) => {
                let element = element_at(elements, tape.offset(place));
                let element = element.and_then(|at| elements.get(at));
                element.map_or(SourceTime::Unstated, |element| element.time)
            }
        }
    }

    /// The time of several values that become one text: theirs, if they have the same.
    pub(super) fn common(&self, tape: &Tape<'_>, places: &[Place]) -> SourceTime {
        let mut times = places.iter().map(|place| self.of_place(tape, *place));
        let first = times.next().unwrap_or_default();
        if times.all(|time| time == first) { first } else { SourceTime::Unstated }
    }
}

/// The element around an offset; elements do not overlap.
fn element_at(elements: &[Element], offset: usize) -> Option<usize> {
    let at = elements.partition_point(|element| element.start <= offset).checked_sub(1)?;
    (offset < elements[at].end).then_some(at)
}
