//! A message to tag updates: the plan of a station, compiled once from its tags.
//!
//! What a tag of the address IN_TOPIC, IN_DATA, IN_ID or TL says is the message's arrival, so its
//! time is the receive time; the time field is the time of what is inside the payload.

use std::borrow::Cow;

use super::convert::Conversion;
use super::payload::Datum;
use super::payload::json::{self, JsonPlan, Sample};
use super::time_mask::{TimeMask, Zone};
use super::{
    OnMissing, PayloadType, Quality, Reason, Station, Tag, TagAddress, TagId, TagUpdate, Timestamp,
    Value,
};

/// What a station is given of a message.
#[derive(Clone, Copy, Debug)]
pub struct InMessage<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// Wall time of its arrival.
    pub received: Timestamp,
}

/// What went wrong in one message, for counters and one log line per change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingReport {
    /// Why the payload could not be parsed, with line and column; at most one.
    pub bad_payload: Option<String>,
    /// The station has a time field and the message has none there (and that is not ignored).
    pub time_missing: bool,
    /// The text that was no time under the mask.
    pub time_unreadable: Option<String>,
}

/// The tags of a station, compiled.
pub struct StationPlan {
    /// IN_TOPIC, IN_DATA, IN_ID in this order, then the others as configured.
    tags: Vec<PlannedTag>,
    json: Option<JsonPlan>,
    time_mask: TimeMask,
    time_zone: Zone,
    ignore_missing_time: bool,
    on_missing: OnMissing,
}

struct PlannedTag {
    tag: TagId,
    source: Source,
    conversion: Conversion,
}

/// The order of the variants is the order of the updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Topic,
    Data,
    PacketId,
    TopicLevel(usize),
    Json { slot: u32 },
}

impl Source {
    fn rank(self) -> u8 {
        match self {
            Self::Topic => 0,
            Self::Data => 1,
            Self::PacketId => 2,
            Self::TopicLevel(_) | Self::Json { .. } => 3,
        }
    }
}

impl StationPlan {
    /// Compiles the tags of one station.
    pub fn compile<'a>(station: &Station, tags: impl Iterator<Item = (TagId, &'a Tag)>) -> Self {
        let mut json = match station.payload_type {
            PayloadType::Json => Some(JsonPlan::new(station.time_field.as_ref())),
            PayloadType::Text => None,
        };
        let mut planned = Vec::new();
        for (id, tag) in tags {
            let source = match (&tag.address, &mut json) {
                (TagAddress::InTopic, _) => Source::Topic,
                (TagAddress::InData, _) => Source::Data,
                (TagAddress::InId, _) => Source::PacketId,
                (TagAddress::TopicLevel(level), _) => Source::TopicLevel(*level),
                (TagAddress::Json(address), Some(json)) if !tag.tag_type.is_output() => {
                    Source::Json { slot: json.insert(address) }
                }
                _ => continue,
            };
            planned.push(PlannedTag { tag: id, source, conversion: Conversion::of(tag) });
        }
        planned.sort_by_key(|planned| planned.source.rank());
        // Without a tag that reads it, a payload is nobody's to judge.
        if !planned.iter().any(|planned| matches!(planned.source, Source::Json { .. })) {
            json = None;
        }
        if let Some(json) = &mut json {
            json.finish();
        }
        Self {
            tags: planned,
            json,
            time_mask: station.time_mask.clone(),
            time_zone: station.time_zone.clone(),
            ignore_missing_time: station.ignore_missing_time,
            on_missing: station.on_missing,
        }
    }

    /// Appends what the message does to the station's tags, in the order IN_TOPIC, IN_DATA, IN_ID,
    /// then the others as configured.
    pub fn map(&self, message: &InMessage<'_>, updates: &mut Vec<TagUpdate>) -> MappingReport {
        let mut mapping = Mapping {
            plan: self,
            message,
            updates,
            report: MappingReport::default(),
            samples: Samples::default(),
        };
        if let Some(json) = &self.json {
            mapping.walk(json);
        }
        for tag in &self.tags {
            mapping.update(tag);
        }
        mapping.report
    }
}

/// One message on its way through a plan.
struct Mapping<'a> {
    plan: &'a StationPlan,
    message: &'a InMessage<'a>,
    updates: &'a mut Vec<TagUpdate>,
    report: MappingReport,
    samples: Samples<'a>,
}

/// The samples of a JSON payload by slot, and the times of its time field.
#[derive(Default)]
struct Samples<'a> {
    /// `None`: the payload cannot be parsed.
    walk: Option<json::Walk<'a>>,
    /// By slot: where the first and the last sample are.
    ends: Vec<Option<(u32, u32)>>,
    /// By sample: where the next one of its slot is.
    next: Vec<u32>,
    /// The time of the whole message.
    message_time: SourceTime,
    /// By scope, ascending, when the time field has a time for every sample.
    scoped_times: Vec<(u32, SourceTime)>,
}

/// What a time field says.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum SourceTime {
    /// There is none, or `null`.
    #[default]
    Missing,
    Known(Timestamp),
    Unreadable,
}

const NO_SAMPLE: u32 = u32::MAX;

impl<'a> Mapping<'a> {
    fn walk(&mut self, json: &'a JsonPlan) {
        let walked = json::text(self.message.payload).and_then(|text| json.walk(text));
        let walk = match walked {
            Ok(walk) => walk,
            Err(error) => {
                self.report.bad_payload = Some(error);
                return;
            }
        };
        let mut ends: Vec<Option<(u32, u32)>> = vec![None; json.slot_count()];
        let mut next = vec![NO_SAMPLE; walk.samples.len()];
        for (position, sample) in walk.samples.iter().enumerate() {
            if !sample.alive {
                continue;
            }
            let position = position as u32;
            match &mut ends[sample.slot as usize] {
                Some((_, last)) => {
                    next[*last as usize] = position;
                    *last = position;
                }
                none => *none = Some((position, position)),
            }
        }
        self.samples = Samples { walk: Some(walk), ends, next, ..Samples::default() };
        if let Some(slot) = json.time_slot() {
            self.read_times(json, slot);
        }
    }

    fn read_times(&mut self, json: &JsonPlan, slot: u32) {
        if json.time_is_scoped() {
            let mut times = Vec::new();
            for sample in self.samples.of(slot) {
                let time = self.read_time(&sample);
                times.push((sample.scope, time));
            }
            times.sort_by_key(|(scope, _)| *scope);
            self.samples.scoped_times = times;
        } else {
            let first = self.samples.of(slot).next();
            self.samples.message_time =
                first.map_or(SourceTime::Missing, |sample| self.read_time(&sample));
            if self.samples.message_time == SourceTime::Missing {
                self.note_missing_time();
            }
        }
    }

    fn note_missing_time(&mut self) {
        self.report.time_missing |= !self.plan.ignore_missing_time;
    }

    fn read_time(&mut self, sample: &Sample<'_>) -> SourceTime {
        let read = match json::datum(sample.raw) {
            Ok(Datum::Null) => return SourceTime::Missing,
            Ok(Datum::Number(text) | Datum::Text(text)) => {
                self.plan.time_mask.read(&text, &self.plan.time_zone).ok()
            }
            _ => None,
        };
        match read {
            Some(time) => SourceTime::Known(time),
            None => {
                self.report.time_unreadable.get_or_insert_with(|| excerpt(sample.raw));
                SourceTime::Unreadable
            }
        }
    }

    fn update(&mut self, tag: &PlannedTag) {
        let message = self.message;
        match tag.source {
            Source::Topic => self.arrived(tag, Datum::Text(Cow::Borrowed(message.topic))),
            Source::Data => {
                let text = String::from_utf8_lossy(message.payload);
                self.arrived(tag, Datum::Text(text));
            }
            Source::PacketId => {
                let number = message.packet_id.to_string();
                self.arrived(tag, Datum::Number(Cow::Owned(number)));
            }
            Source::TopicLevel(level) => match message.topic.split('/').nth(level - 1) {
                Some(text) => self.arrived(tag, Datum::Text(Cow::Borrowed(text))),
                None => self.missing(tag.tag, message.received),
            },
            Source::Json { slot } => self.update_from_json(tag, slot),
        }
    }

    /// A fact of the message's arrival.
    fn arrived(&mut self, tag: &PlannedTag, datum: Datum<'_>) {
        let converted = self.convert(tag, &datum);
        self.push(tag.tag, converted, SourceTime::Known(self.message.received));
    }

    fn update_from_json(&mut self, tag: &PlannedTag, slot: u32) {
        let Some(json) = &self.plan.json else { return };
        let Some(walk) = &self.samples.walk else {
            let received = SourceTime::Known(self.message.received);
            return self.push(tag.tag, Err(Reason::BadPayload), received);
        };
        let Some((first, _)) = self.samples.ends[slot as usize] else {
            if walk.is_missing(json, slot) {
                let time = match (json.is_timed(slot), self.samples.message_time) {
                    (true, SourceTime::Known(time)) => time,
                    _ => self.message.received,
                };
                self.missing(tag.tag, time);
            }
            return;
        };
        let mut position = first;
        while position != NO_SAMPLE {
            let Some((sample, next)) = self.samples.at(position) else { return };
            let time = self.time_of(json, &sample);
            let converted = match json::datum(sample.raw) {
                Ok(datum) => self.convert(tag, &datum),
                Err(error) => {
                    self.report.bad_payload.get_or_insert_with(|| {
                        format!("{} in {}", first_words(&error), excerpt(sample.raw))
                    });
                    Err(Reason::BadPayload)
                }
            };
            self.push(tag.tag, converted, time);
            position = next;
        }
    }

    fn time_of(&mut self, json: &JsonPlan, sample: &Sample<'_>) -> SourceTime {
        let received = SourceTime::Known(self.message.received);
        if !json.is_timed(sample.slot) {
            return received;
        }
        let time = if json.time_is_scoped() {
            let times = &self.samples.scoped_times;
            match times.binary_search_by_key(&sample.scope, |(scope, _)| *scope) {
                Ok(found) => times[found].1,
                Err(_) => SourceTime::Missing,
            }
        } else {
            self.samples.message_time
        };
        if time == SourceTime::Missing {
            self.note_missing_time();
            return received;
        }
        time
    }

    fn convert(&self, tag: &PlannedTag, datum: &Datum<'_>) -> Result<Value, Reason> {
        tag.conversion.convert(datum, &self.plan.time_mask, &self.plan.time_zone)
    }

    fn missing(&mut self, tag: TagId, time: Timestamp) {
        if self.plan.on_missing == OnMissing::Bad {
            self.push(tag, Err(Reason::PathMissing), SourceTime::Known(time));
        }
    }

    fn push(&mut self, tag: TagId, converted: Result<Value, Reason>, time: SourceTime) {
        let received = self.message.received;
        let (time, good) = match time {
            SourceTime::Known(time) => (time, (Quality::Good, Reason::Ok)),
            SourceTime::Missing => (received, (Quality::Good, Reason::Ok)),
            SourceTime::Unreadable => (received, (Quality::Uncertain, Reason::BadTime)),
        };
        let (value, (quality, reason)) = match converted {
            Ok(value) => (Some(value), good),
            Err(reason) => (None, (Quality::Bad, reason)),
        };
        self.updates.push(TagUpdate { tag, value, quality, reason, time, received });
    }
}

impl<'a> Samples<'a> {
    /// A sample, and the position of the next one of its slot.
    fn at(&self, position: u32) -> Option<(Sample<'a>, u32)> {
        let sample = self.walk.as_ref()?.samples.get(position as usize)?;
        Some((*sample, self.next[position as usize]))
    }

    /// The samples of a slot, in the order of the document.
    fn of(&self, slot: u32) -> std::vec::IntoIter<Sample<'a>> {
        let mut position = self.ends[slot as usize].map_or(NO_SAMPLE, |(first, _)| first);
        let mut samples = Vec::new();
        while let Some((sample, next)) = self.at(position) {
            samples.push(sample);
            position = next;
        }
        samples.into_iter()
    }
}

/// A raw value for a report: its beginning, when it is long.
fn excerpt(raw: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    match raw.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &raw[..end]),
        None => raw.to_owned(),
    }
}

/// An inner parser's error without its place, which counts from the value it was given.
fn first_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
