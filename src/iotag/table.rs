//! The table of current tag values: what an update does to a tag, and what a fault of its station
//! and the end of that fault do. It has no clock and no subscribers; its owner is the hub.

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
    /// What is wrong with the station, and makes the tag bad.
    fault: Option<Reason>,
    /// Quality without that fault; of no meaning when there is none.
    own: (Quality, Reason),
    /// Whether an update has come in spite of the fault.
    renewed: bool,
    /// The real value of a tag that shows a simulated one.
    real: Option<Box<TagValue>>,
    /// Whether the real value is the tag's `initial`, which nobody wrote.
    initial: bool,
    /// The configuration does not have the tag any more: nothing happens to it.
    retired: bool,
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
        let mut table = Self::default();
        for (position, tag) in tags.enumerate() {
            let id = TagId(position as u32);
            table.begin(id, tag, stored(id), now);
        }
        table
    }

    /// A tag begins, at the start or later, also one that was retired; its id is the next one at most.
    /// Without `stored` it is as a tag that the store does not know.
    pub fn begin(&mut self, id: TagId, tag: &Tag, stored: Option<TagValue>, now: Timestamp) {
        let current = start_value(tag, stored, now);
        let row = Row {
            initial: tag.tag_type.is_output() && current.reason == Reason::Ok,
            current,
            deadband: tag.deadband,
            fault: None,
            own: (Quality::Bad, Reason::NeverReceived),
            renewed: false,
            real: None,
            retired: false,
        };
        match self.rows.get_mut(id.0 as usize) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
    }

    /// A tag goes on with another configuration; its value stays as it is.
    pub fn reconfigure(&mut self, id: TagId, tag: &Tag) {
        if let Some(row) = self.rows.get_mut(id.0 as usize) {
            row.deadband = tag.deadband;
        }
    }

    /// The configuration does not have a tag any more: nothing happens to it until it begins again.
    /// The answer is its real value.
    pub fn retire(&mut self, id: TagId) -> Option<TagValue> {
        let row = self.rows.get_mut(id.0 as usize)?;
        row.end_simulation();
        row.retired = true;
        Some(row.current.clone())
    }

    /// What is wrong with a tag's station, and makes the tag bad.
    pub fn fault(&self, id: TagId) -> Option<Reason> {
        self.rows.get(id.0 as usize)?.fault
    }

    /// The current value of a tag; `None` when there is no such tag.
    pub fn read(&self, tag: TagId) -> Option<&TagValue> {
        self.rows.get(tag.0 as usize).map(|row| &row.current)
    }

    /// Every current value, in the order of the tags.
    pub fn values(&self) -> impl Iterator<Item = &TagValue> {
        self.rows.iter().filter(|row| !row.retired).map(|row| &row.current)
    }

    /// What an output tag was last written, or has as `initial`; `Some(None)`: null. `None`: it was
    /// never written.
    pub fn written(&self, tag: TagId) -> Option<Option<&Value>> {
        let row = self.rows.get(tag.0 as usize)?;
        let current = row.real.as_deref().unwrap_or(&row.current);
        (current.reason != Reason::NeverReceived).then_some(current.value.as_ref())
    }

    /// Whether somebody has written an output tag: its `initial` is a value, but not written.
    pub fn is_written(&self, tag: TagId) -> bool {
        let initial = self.rows.get(tag.0 as usize).is_none_or(|row| row.initial);
        !initial && self.written(tag).is_some()
    }

    /// When somebody has written an output tag; an `initial` is not written.
    pub fn written_at(&self, tag: TagId) -> Option<Timestamp> {
        let row = self.rows.get(tag.0 as usize).filter(|_| self.is_written(tag))?;
        Some(row.real.as_deref().unwrap_or(&row.current).time)
    }

    /// Number of tags.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no tag.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Applies an update. `None`: no change, because the deadband suppresses it, a simulated value
    /// hides it, or there is no such tag any more. Otherwise every update is a change, of an equal value too.
    ///
    /// While something is wrong with the station the value is taken, and stays bad for that reason.
    ///
    /// The deadband compares with the last value that was a change, and only while the quality
    /// stays good: a small step is never lost with a change of quality.
    pub fn apply(&mut self, update: TagUpdate) -> Option<TagValue> {
        let row = self.live(update.tag)?;
        if row.suppresses(&update) {
            return None;
        }
        let TagUpdate { tag: _, value, quality, reason, time, received } = update;
        let target = row.real.as_deref_mut().unwrap_or(&mut row.current);
        row.initial = false;
        // Without a value, but not bad: an output of a JSON document was written null.
        if value.is_some() || quality != Quality::Bad {
            target.value = value;
        }
        (target.quality, target.reason) = (quality, reason);
        target.time = time;
        target.received = received;
        if let Some(fault) = row.fault {
            row.own = (quality, reason);
            row.renewed = true;
            (target.quality, target.reason) = (Quality::Bad, fault);
        }
        row.real.is_none().then(|| row.current.clone())
    }

    /// Something is wrong with the tag's station: bad, for this reason, with value and times as they
    /// are. What was wrong before is replaced; the quality that the tag had of its own is remembered.
    /// `None`: no change. A line that goes down is no news for a tag that never had a value.
    pub fn invalidate(&mut self, tag: TagId, reason: Reason) -> Option<TagValue> {
        let row = self.live(tag)?;
        let simulated = row.end_simulation();
        if row.fault == Some(reason) {
            return simulated.then(|| row.current.clone());
        }
        if row.fault.replace(reason).is_none() {
            row.own = (row.current.quality, row.current.reason);
            row.renewed = false;
        }
        if reason == Reason::LineDown && row.current.reason == Reason::NeverReceived {
            return simulated.then(|| row.current.clone());
        }
        row.current.quality = Quality::Bad;
        row.current.reason = reason;
        Some(row.current.clone())
    }

    /// Nothing is wrong with the tag's station any more. If no message can have been missed, the tag
    /// takes the quality of its own, and so does one that was renewed meanwhile; otherwise its value
    /// is uncertain/restored until a message renews it. `None`: no change.
    pub fn recover(&mut self, tag: TagId, nothing_missed: bool) -> Option<TagValue> {
        let row = self.live(tag)?;
        let simulated = row.end_simulation();
        if row.fault.take().is_none() {
            return simulated.then(|| row.current.clone());
        }
        let before = (row.current.quality, row.current.reason);
        let keeps = nothing_missed || row.renewed || row.current.value.is_none();
        let after = if keeps { row.own } else { (Quality::Uncertain, Reason::Restored) };
        (row.current.quality, row.current.reason) = after;
        (simulated || before != after).then(|| row.current.clone())
    }

    /// Nothing is wrong with the tag's station any more, and an update of the tag is about to come:
    /// [`Self::recover`] without a change of its own.
    pub fn recover_silently(&mut self, tag: TagId) {
        if let Some(row) = self.live(tag) {
            row.end_simulation();
            row.fault = None;
        }
    }

    /// A simulated value, uncertain/simulated. The real one is kept aside and comes back, with what
    /// has happened to it meanwhile, by [`Self::recover`] or [`Self::invalidate`].
    pub fn simulate(&mut self, tag: TagId, value: Value, now: Timestamp) -> Option<TagValue> {
        let row = self.live(tag)?;
        let simulated = TagValue {
            value: Some(value),
            quality: Quality::Uncertain,
            reason: Reason::Simulated,
            time: now,
            received: now,
        };
        let shown = std::mem::replace(&mut row.current, simulated);
        if row.fault.is_none() {
            row.fault = Some(Reason::Simulated);
            row.own = (shown.quality, shown.reason);
            row.renewed = false;
        }
        row.real.get_or_insert_with(|| Box::new(shown));
        Some(row.current.clone())
    }

    fn live(&mut self, tag: TagId) -> Option<&mut Row> {
        self.rows.get_mut(tag.0 as usize).filter(|row| !row.retired)
    }
}

impl Row {
    /// Shows the real value again; false: it was shown.
    fn end_simulation(&mut self) -> bool {
        match self.real.take() {
            Some(real) => {
                self.current = *real;
                true
            }
            None => false,
        }
    }

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
    // The type of a tag may have been changed since its value was stored; and what was simulated
    // was never received.
    let is_restored = |stored: &TagValue| match &stored.value {
        _ if stored.reason == Reason::Simulated => false,
        Some(value) => value.is_of(tag.tag_type),
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
