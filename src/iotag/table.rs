//! The table of current tag values: what an update, a line that goes and a line that comes back do
//! to a tag. It has no clock and no subscribers; its owner is the hub.

use super::{Quality, Reason, Tag, TagId, TagUpdate, TagValue, Timestamp, Value};

/// Every tag's current value; a [`TagId`] is a position.
#[derive(Clone, Debug, Default)]
pub struct TagTable {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    current: TagValue,
    /// Changes not larger than this are suppressed.
    deadband: Option<f64>,
    /// The quality before the line went down, for when it comes back.
    before_line_down: Option<(Quality, Reason)>,
}

impl TagTable {
    /// The tags of a configuration at the start of the process.
    ///
    /// `stored` is what the store has of a tag: such a value is uncertain/restored until a message
    /// renews it. A tag without one is bad/never_received, an output tag with `initial` has that
    /// value, good, as of `now`. None of this is a change.
    pub fn new<'a>(
        tags: impl Iterator<Item = &'a Tag>,
        mut stored: impl FnMut(TagId) -> Option<TagValue>,
        now: Timestamp,
    ) -> Self {
        let rows = tags.enumerate().map(|(position, tag)| Row {
            current: start_value(tag, stored(TagId(position as u32)), now),
            deadband: tag.deadband,
            before_line_down: None,
        });
        Self { rows: rows.collect() }
    }

    /// The current value of a tag; `None` when there is no such tag.
    pub fn read(&self, tag: TagId) -> Option<&TagValue> {
        self.rows.get(tag.0 as usize).map(|row| &row.current)
    }

    /// Every current value, in the order of the tags.
    pub fn values(&self) -> impl Iterator<Item = &TagValue> {
        self.rows.iter().map(|row| &row.current)
    }

    /// What an output tag was last written, or has as `initial`; `Some(None)`: null. `None`: it was
    /// never written.
    pub fn written(&self, tag: TagId) -> Option<Option<&Value>> {
        let current = self.read(tag)?;
        (current.reason != Reason::NeverReceived).then_some(current.value.as_ref())
    }

    /// Number of tags.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no tag.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Applies an update. `None`: no change, because the deadband suppresses it, or there is no
    /// such tag. Otherwise every update is a change, of an equal value too.
    ///
    /// The deadband compares with the last value that was a change, and only while the quality
    /// stays good: a small step is never lost with a change of quality.
    pub fn apply(&mut self, update: TagUpdate) -> Option<TagValue> {
        let row = self.rows.get_mut(update.tag.0 as usize)?;
        if row.suppresses(&update) {
            return None;
        }
        let TagUpdate { tag: _, value, quality, reason, time, received } = update;
        // Good and without a value: an output of a JSON document was written null.
        if value.is_some() || quality == Quality::Good {
            row.current.value = value;
        }
        row.current.quality = quality;
        row.current.reason = reason;
        row.current.time = time;
        row.current.received = received;
        row.before_line_down = None;
        Some(row.current.clone())
    }

    /// The line of a tag is down: bad/line_down, with value and times as they are. `None`: no
    /// change, because it is so already or nothing was ever received.
    pub fn line_down(&mut self, tag: TagId) -> Option<TagValue> {
        let row = self.rows.get_mut(tag.0 as usize)?;
        if matches!(row.current.reason, Reason::LineDown | Reason::NeverReceived) {
            return None;
        }
        row.before_line_down = Some((row.current.quality, row.current.reason));
        row.current.quality = Quality::Bad;
        row.current.reason = Reason::LineDown;
        Some(row.current.clone())
    }

    /// The line of a tag is back. With the session present nothing can have been missed: the tag
    /// takes the quality it had. Without, its value is uncertain/restored until a message renews
    /// it. `None`: no change, because it was not bad by its line.
    pub fn line_up(&mut self, tag: TagId, session_present: bool) -> Option<TagValue> {
        let row = self.rows.get_mut(tag.0 as usize)?;
        if row.current.reason != Reason::LineDown {
            return None;
        }
        let before = row.before_line_down.take();
        (row.current.quality, row.current.reason) = match before {
            Some(before) if session_present || row.current.value.is_none() => before,
            _ if row.current.value.is_none() => (Quality::Bad, Reason::NeverReceived),
            _ => (Quality::Uncertain, Reason::Restored),
        };
        Some(row.current.clone())
    }
}

impl Row {
    fn suppresses(&self, update: &TagUpdate) -> bool {
        let same_quality = update.quality == Quality::Good
            && self.current.quality == Quality::Good
            && update.reason == self.current.reason;
        let (Some(deadband), true) = (self.deadband, same_quality) else { return false };
        match (&update.value, &self.current.value) {
            (Some(Value::Real(new)), Some(Value::Real(last)))
            | (Some(Value::Interval(new)), Some(Value::Interval(last))) => {
                (new - last).abs() <= deadband
            }
            (Some(Value::Integer(new)), Some(Value::Integer(last))) => {
                (new - last).unsigned_abs() as f64 <= deadband
            }
            _ => false,
        }
    }
}

fn start_value(tag: &Tag, stored: Option<TagValue>, now: Timestamp) -> TagValue {
    let fits = |value: &Value| match tag.tag_type {
        super::TagType::Ai | super::TagType::Ao => matches!(value, Value::Real(_)),
        super::TagType::Ci | super::TagType::Co => matches!(value, Value::Integer(_)),
        super::TagType::Di | super::TagType::Do => matches!(value, Value::Logical(_)),
        super::TagType::Qi => matches!(value, Value::FourState(_)),
        super::TagType::TxtI | super::TagType::TxtO => matches!(value, Value::Text(_)),
        super::TagType::TiR | super::TagType::ToR => matches!(value, Value::Interval(_)),
        super::TagType::TiA | super::TagType::ToA => matches!(value, Value::Moment(_)),
    };
    // The type of a tag may have been changed since its value was stored.
    let is_restored = |stored: &TagValue| match &stored.value {
        Some(value) => fits(value),
        None => tag.tag_type.is_output() && stored.reason != Reason::NeverReceived,
    };
    if let Some(mut stored) = stored.filter(is_restored) {
        (stored.quality, stored.reason) = (Quality::Uncertain, Reason::Restored);
        return stored;
    }
    let initial = tag.initial.clone().filter(|_| tag.tag_type.is_output());
    let (quality, reason) = match initial {
        Some(_) => (Quality::Good, Reason::Ok),
        None => (Quality::Bad, Reason::NeverReceived),
    };
    TagValue { value: initial, quality, reason, time: now, received: now }
}

#[cfg(test)]
mod tests;
