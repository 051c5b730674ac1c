//! A message to tag updates: the plan of a station, compiled once from its tags.
//!
//! ```text
//! payload --unpack--> one of the formats --take by its plan--> samples of every address
//!   conditions (`when`) --> for every tag in order: sample --convert--> update
//! ```
//!
//! What a tag of the address IN_TOPIC, IN_DATA, IN_ID or TL says is the message's arrival, so its
//! time is the receive time; the time field is the time of what is inside the payload.

mod compile;

use std::borrow::Cow;

use jiff::SignedDuration;

use super::convert::Conversion;
use super::json_address::Literal;
use super::payload::bytes::BytesPlan;
use super::payload::csv::CsvPlan;
use super::payload::envelope::{self, Enclosed};
use super::payload::influx::InfluxPlan;
use super::payload::json::{self, JsonPlan, Taken};
use super::payload::xml::XmlPlan;
use super::payload::{self, Absence, Datum, Sample, SourceTime, Times, content, excerpt};
use super::{
    EnvelopeEncoding, OnMissing, PayloadType, Quality, Reason, TagId, TagUpdate, Timestamp, Value,
};

/// What a station is given of a message.
#[derive(Clone, Copy, Debug)]
pub struct InMessage<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// MQTT 5.0 Content Type.
    pub content_type: Option<&'a str>,
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
    /// Lines of line protocol, or rows of CSV, that could not be parsed; good ones counted.
    pub bad_lines: u64,
    /// What is wrong with the first of them, with its line.
    pub bad_line: Option<String>,
    /// Samples older than the station's `max_age`, discarded.
    pub discarded: u64,
    /// The station has a time field and the message has none there (and that is not ignored).
    pub time_missing: bool,
    /// The text that was no time under the mask.
    pub time_unreadable: Option<String>,
}

/// Where a tag value comes from, for people: what `tag.explain` shows beside the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The tag.
    pub tag: TagId,
    /// What stood at the tag's address, shortened if it is long; `None`: nothing.
    pub taken: Option<String>,
    /// Where in the payload, unpacked if need be, it stood; `None`: nowhere in one piece.
    pub place: Option<std::ops::Range<usize>>,
    /// Where the source time comes from.
    pub time: TimeOrigin,
}

/// Where a source time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrigin {
    /// It is the receive time: the payload has no time for this tag.
    Received,
    /// The payload says it.
    Payload,
    /// It is the receive time: the time field is absent or null.
    Missing,
    /// It is the receive time: the time field cannot be read.
    Unreadable,
}

/// The tags of a station, compiled.
pub struct StationPlan {
    /// IN_TOPIC, IN_DATA, IN_ID in this order, then the others as configured.
    tags: Vec<PlannedTag>,
    payload_type: PayloadType,
    /// Also what evaluates conditions, whatever the payload's type.
    json: Option<JsonPlan>,
    influx: Option<InfluxPlan>,
    csv: Option<CsvPlan>,
    xml: Option<XmlPlan>,
    bytes: Option<BytesPlan>,
    envelope: Option<EnvelopePlan>,
    /// The different conditions of the tags.
    whens: Vec<Vec<PlannedCondition>>,
    times: Times,
    ignore_missing_time: bool,
    on_missing: OnMissing,
    max_age: Option<SignedDuration>,
}

struct PlannedTag {
    tag: TagId,
    source: Source,
    conversion: Conversion,
    /// Position of its conditions.
    when: Option<usize>,
}

struct PlannedCondition {
    slot: u32,
    literal: Literal,
}

/// Where in a document bytes stand as text; the station's plan for bytes reads those.
struct EnvelopePlan {
    slot: u32,
    encoding: EnvelopeEncoding,
}

/// Where a tag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Topic,
    Data,
    PacketId,
    TopicLevel(usize),
    /// A slot of the plan for payloads of this type.
    Payload(PayloadType, u32),
    /// A slot of the plan for bytes, which stand in an envelope.
    Enclosed(u32),
}

impl StationPlan {
    /// Appends what the message does to the station's tags, in the order IN_TOPIC, IN_DATA, IN_ID,
    /// then the others as configured.
    pub fn map(&self, message: &InMessage<'_>, updates: &mut Vec<TagUpdate>) -> MappingReport {
        self.run(message, updates, None)
    }

    /// As [`Self::map`], and says of every update where it comes from.
    pub fn explain(
        &self,
        message: &InMessage<'_>,
        updates: &mut Vec<TagUpdate>,
        traces: &mut Vec<Trace>,
    ) -> MappingReport {
        self.run(message, updates, Some(traces))
    }

    fn run(
        &self,
        message: &InMessage<'_>,
        updates: &mut Vec<TagUpdate>,
        traces: Option<&mut Vec<Trace>>,
    ) -> MappingReport {
        let mut report = MappingReport::default();
        let unpacked = content::unpacked(message.payload, message.content_type);
        let (payload, effective) = match &unpacked {
            Ok(payload) => (&**payload, self.effective_type(message)),
            Err(_) => (message.payload, self.effective_type(message)),
        };
        let found = match &unpacked {
            Ok(_) => self.take(effective, payload, &mut report),
            Err(error) => Err(error.clone()),
        };
        let whens = self.evaluate_conditions(effective, payload, &found);
        if let Err(error) = &found {
            report.bad_payload = Some(error.clone());
        }
        let mut mapping = Mapping {
            plan: self,
            message,
            payload: unpacked.as_deref().ok(),
            effective,
            updates,
            traces,
            report,
        };
        let taken = found.as_ref().ok().and_then(Option::as_ref);
        let time = match taken {
            Some(Taken::Plain(plain)) => plain.time,
            _ => SourceTime::Unstated,
        };
        let arrival = mapping.stamp(SourceTime::Unstated);
        let opened = self.open(taken);
        let enclosed = self.take_enclosed(&opened, &mut mapping);
        let found = Found { taken, arrival, plain: mapping.stamp(time), enclosed };
        mapping.updates.reserve(self.tags.len());
        for tag in &self.tags {
            if tag.when.is_none_or(|when| whens[when]) {
                mapping.update(tag, &found);
            }
        }
        mapping.report
    }

    /// How this message's payload is read; `None`: no payload tag reads it.
    fn effective_type(&self, message: &InMessage<'_>) -> Option<PayloadType> {
        match self.payload_type {
            PayloadType::Auto => content::payload_type(message.content_type),
            other => Some(other),
        }
    }

    /// `Ok(None)`: there is nothing to take.
    fn take<'a>(
        &'a self,
        payload_type: Option<PayloadType>,
        payload: &'a [u8],
        report: &mut MappingReport,
    ) -> Result<Option<Taken<'a, 'a>>, String> {
        let times = &self.times;
        let found = match payload_type {
            Some(PayloadType::Json) => {
                let taken = self.json.as_ref().map(|plan| plan.take(payload, times, report));
                return taken.transpose();
            }
            Some(PayloadType::Influx) => {
                self.influx.as_ref().map(|plan| plan.take(payload, report)).transpose()
            }
            Some(PayloadType::Csv) => {
                self.csv.as_ref().map(|plan| plan.take(payload, times, report)).transpose()
            }
            Some(PayloadType::Xml) => {
                self.xml.as_ref().map(|plan| plan.take(payload, times, report)).transpose()
            }
            Some(PayloadType::Bytes) => {
                self.bytes.as_ref().map(|plan| plan.take(payload, report)).transpose()
            }
            Some(PayloadType::Text | PayloadType::Auto) | None => Ok(None),
        };
        found.map(|found| found.map(Taken::Found))
    }

    /// What the envelope holds: once, or as often as its address matches.
    fn open(&self, taken: Option<&Taken<'_, '_>>) -> Vec<(Enclosed, SourceTime)> {
        let (Some(EnvelopePlan { slot, encoding }), Some(taken)) = (&self.envelope, taken) else {
            return Vec::new();
        };
        match taken {
            Taken::Plain(plain) => {
                let datum = plain.datum(*slot);
                vec![(envelope::decode(datum.as_ref(), *encoding), plain.time)]
            }
            Taken::Found(found) => {
                let decode = |sample: &Sample<'_>| {
                    (envelope::decode(Some(&sample.datum), *encoding), sample.time)
                };
                let mut opened: Vec<_> = found.of(*slot).map(decode).collect();
                if opened.is_empty()
                    && let Absence::Missing(time) = found.absence(*slot)
                {
                    opened.push((Enclosed::Missing, time));
                }
                opened
            }
        }
    }

    /// The bytes of an open envelope, taken apart.
    fn take_enclosed<'f>(
        &self,
        opened: &'f [(Enclosed, SourceTime)],
        mapping: &mut Mapping<'_, '_>,
    ) -> Vec<(Inside<'f>, Stamp)> {
        let mut inside = Vec::with_capacity(opened.len());
        for (enclosed, time) in opened {
            let taken = match (enclosed, &self.bytes) {
                (Enclosed::Bytes(bytes), Some(plan)) => plan
                    .take(bytes, &mut mapping.report)
                    .map_or_else(|why| mapping.broken(&why), Inside::Found),
                (Enclosed::Broken(why), _) => mapping.broken(why),
                (Enclosed::Null, _) => Inside::Nothing(Reason::Null),
                _ => Inside::Missing,
            };
            inside.push((taken, mapping.stamp(*time)));
        }
        inside
    }

    /// Which conditions hold. Of a payload that is no JSON none does.
    fn evaluate_conditions(
        &self,
        effective: Option<PayloadType>,
        payload: &[u8],
        found: &Result<Option<Taken<'_, '_>>, String>,
    ) -> Vec<bool> {
        if self.whens.is_empty() {
            return Vec::new();
        }
        let own;
        let found = if effective == Some(PayloadType::Json) {
            found.as_ref().ok().and_then(Option::as_ref)
        } else {
            let mut ignored = MappingReport::default();
            own = self.take(Some(PayloadType::Json), payload, &mut ignored);
            own.as_ref().ok().and_then(Option::as_ref)
        };
        let Some(found) = found else { return vec![false; self.whens.len()] };
        let holds = |PlannedCondition { slot, literal }: &PlannedCondition| match found {
            Taken::Plain(plain) => plain.datum(*slot).is_some_and(|datum| datum.equals(literal)),
            Taken::Found(found) => found.of(*slot).any(|sample| sample.datum.equals(literal)),
        };
        self.whens.iter().map(|conditions| conditions.iter().all(holds)).collect()
    }
}

/// One message on its way through a plan.
struct Mapping<'a, 'p> {
    plan: &'a StationPlan,
    message: &'a InMessage<'a>,
    /// Unpacked; `None`: it cannot be.
    payload: Option<&'p [u8]>,
    effective: Option<PayloadType>,
    updates: &'a mut Vec<TagUpdate>,
    traces: Option<&'a mut Vec<Trace>>,
    report: MappingReport,
}

/// What the tags of one message read from.
struct Found<'f> {
    /// `None`: the payload cannot be parsed, or nobody wants it to be.
    taken: Option<&'f Taken<'f, 'f>>,
    /// The time of what says only that the message arrived.
    arrival: Stamp,
    /// The time of all values of a plain payload.
    plain: Stamp,
    /// What stands in the envelope, as often as there is one.
    enclosed: Vec<(Inside<'f>, Stamp)>,
}

/// An envelope's content, taken apart.
enum Inside<'f> {
    Found(payload::Found<'f>),
    /// Nothing is at the envelope's place.
    Missing,
    /// There are no bytes.
    Nothing(Reason),
}

/// The time of updates, and what it makes of their quality.
#[derive(Clone, Copy)]
struct Stamp {
    time: Timestamp,
    origin: TimeOrigin,
    /// The quality of good values.
    good: (Quality, Reason),
    too_old: bool,
}

impl Mapping<'_, '_> {
    fn update(&mut self, tag: &PlannedTag, found: &Found<'_>) {
        let message = self.message;
        let arrival = &found.arrival;
        match tag.source {
            Source::Topic => self.taken(tag, &Datum::Text(Cow::Borrowed(message.topic)), arrival),
            Source::Data => match self.payload {
                Some(payload) => {
                    let text = String::from_utf8_lossy(payload);
                    self.taken(tag, &Datum::Text(text), arrival);
                }
                None => self.push(tag, Err(Reason::BadPayload), arrival, None),
            },
            Source::PacketId => {
                let number = message.packet_id.to_string();
                self.taken(tag, &Datum::Number(Cow::Owned(number)), arrival);
            }
            Source::TopicLevel(level) => match message.topic.split('/').nth(level - 1) {
                Some(text) => self.taken(tag, &Datum::Text(Cow::Borrowed(text)), arrival),
                None => self.missing(tag, arrival),
            },
            Source::Payload(payload_type, slot) if self.effective == Some(payload_type) => {
                self.update_from_payload(tag, slot, found);
            }
            Source::Payload(..) => {}
            Source::Enclosed(slot) => self.update_from_envelope(tag, slot, found),
        }
    }

    fn update_from_envelope(&mut self, tag: &PlannedTag, slot: u32, found: &Found<'_>) {
        if found.taken.is_none() {
            return self.push(tag, Err(Reason::BadPayload), &found.arrival, None);
        }
        for (inside, stamp) in &found.enclosed {
            match inside {
                Inside::Missing => self.missing(tag, stamp),
                Inside::Nothing(reason) => self.push(tag, Err(*reason), stamp, None),
                Inside::Found(samples) => {
                    let mut of_slot = samples.of(slot).peekable();
                    if of_slot.peek().is_none() && samples.absence(slot) != Absence::NotCarried {
                        self.missing(tag, stamp);
                    }
                    for Sample { datum, .. } in of_slot {
                        self.taken(tag, datum, stamp);
                    }
                }
            }
        }
    }

    /// Notes why an envelope holds no bytes.
    fn broken<'f>(&mut self, why: &str) -> Inside<'f> {
        self.report.bad_payload.get_or_insert_with(|| why.to_owned());
        Inside::Nothing(Reason::BadPayload)
    }

    fn update_from_payload(&mut self, tag: &PlannedTag, slot: u32, found: &Found<'_>) {
        match found.taken {
            None => self.push(tag, Err(Reason::BadPayload), &found.arrival, None),
            Some(Taken::Plain(plain)) => match plain.raw(slot) {
                None => self.missing(tag, &found.plain),
                Some(raw) => {
                    if !self.take_short(tag, raw, &found.plain) {
                        self.taken(tag, &json::datum(raw), &found.plain);
                    }
                }
            },
            Some(Taken::Found(samples)) => {
                let mut of_slot = samples.of(slot).peekable();
                if of_slot.peek().is_none()
                    && let Absence::Missing(time) = samples.absence(slot)
                {
                    self.missing(tag, &self.stamp(time));
                }
                for Sample { datum, time } in of_slot {
                    let stamp = self.stamp(*time);
                    let is_taken = match datum {
                        Datum::Number(Cow::Borrowed(raw)) => self.take_short(tag, raw, &stamp),
                        _ => false,
                    };
                    if !is_taken {
                        self.taken(tag, datum, &stamp);
                    }
                }
            }
        }
    }

    /// By far the most values, on a way of their own: see docs/performance.md. False: it is none of
    /// them, and nothing was done.
    #[inline]
    fn take_short(&mut self, tag: &PlannedTag, raw: &str, stamp: &Stamp) -> bool {
        if self.traces.is_some() {
            return false;
        }
        if let Some(real) = tag.conversion.short_real(raw) {
            self.push_good(tag, Value::Real(real), stamp);
        } else if let Some(text) = tag.conversion.short_text(raw) {
            self.push_good(tag, Value::Text(text.into()), stamp);
        } else {
            return false;
        }
        true
    }

    /// What stands at a tag's address.
    fn taken(&mut self, tag: &PlannedTag, datum: &Datum<'_>, stamp: &Stamp) {
        if let Datum::Broken(_) = datum {
            self.report
                .bad_payload
                .get_or_insert_with(|| format!("an escape is no character in {}", excerpt(datum)));
        }
        let times = &self.plan.times;
        let converted = tag.conversion.convert(datum, &times.mask, &times.zone);
        self.push(tag, converted, stamp, Some(datum));
    }

    fn missing(&mut self, tag: &PlannedTag, stamp: &Stamp) {
        if self.plan.on_missing == OnMissing::Bad {
            self.push(tag, Err(Reason::PathMissing), stamp, None);
        }
    }

    fn stamp(&self, time: SourceTime) -> Stamp {
        let received = self.message.received;
        let good = (Quality::Good, Reason::Ok);
        let arrived = |origin| Stamp { time: received, origin, good, too_old: false };
        match time {
            SourceTime::Known(time) => {
                let too_old = |max_age| received.duration_since(time) > max_age;
                let too_old = self.plan.max_age.is_some_and(too_old);
                Stamp { time, origin: TimeOrigin::Payload, good, too_old }
            }
            SourceTime::Unstated => arrived(TimeOrigin::Received),
            SourceTime::Missing => arrived(TimeOrigin::Missing),
            SourceTime::Unreadable => Stamp {
                good: (Quality::Uncertain, Reason::BadTime),
                ..arrived(TimeOrigin::Unreadable)
            },
        }
    }

    /// As [`Self::push`] does with a value when there are no traces: a value of which the kind is
    /// known is written once, not moved through memory.
    #[inline]
    fn push_good(&mut self, tag: &PlannedTag, value: Value, stamp: &Stamp) {
        if self.accepts(stamp) {
            let (quality, reason) = stamp.good;
            self.updates.push(TagUpdate {
                tag: tag.tag,
                value: Some(value),
                quality,
                reason,
                time: stamp.time,
                received: self.message.received,
            });
        }
    }

    /// Whether updates with this time count; notes what there is to note of it.
    #[inline]
    fn accepts(&mut self, stamp: &Stamp) -> bool {
        let is_missing = stamp.origin == TimeOrigin::Missing;
        self.report.time_missing |= is_missing && !self.plan.ignore_missing_time;
        self.report.discarded += u64::from(stamp.too_old);
        !stamp.too_old
    }

    fn push(
        &mut self,
        tag: &PlannedTag,
        converted: Result<Value, Reason>,
        stamp: &Stamp,
        taken: Option<&Datum<'_>>,
    ) {
        if !self.accepts(stamp) {
            return;
        }
        let Stamp { time, origin, good, .. } = *stamp;
        let received = self.message.received;
        let (value, (quality, reason)) = match converted {
            Ok(value) => (Some(value), good),
            Err(reason) => (None, (Quality::Bad, reason)),
        };
        self.updates.push(TagUpdate { tag: tag.tag, value, quality, reason, time, received });
        if let Some(traces) = &mut self.traces {
            let place =
                taken.zip(self.payload).and_then(|(datum, payload)| place_of(datum, payload));
            let taken = taken.map(|datum| excerpt(datum).into_owned());
            traces.push(Trace { tag: tag.tag, taken, place, time: origin });
        }
    }
}

/// Where a datum stands that is a piece of the payload and no copy.
fn place_of(datum: &Datum<'_>, payload: &[u8]) -> Option<std::ops::Range<usize>> {
    let text: &str = match datum {
        Datum::Number(Cow::Borrowed(text))
        | Datum::Text(Cow::Borrowed(text))
        | Datum::Compound(Cow::Borrowed(text))
        | Datum::Broken(text) => text,
        _ => return None,
    };
    let start = text.as_ptr().addr().checked_sub(payload.as_ptr().addr())?;
    let end = start.checked_add(text.len())?;
    (payload.get(start..end)? == text.as_bytes()).then_some(start..end)
}

impl MappingReport {
    /// Counts a bad line and keeps what is wrong with the first.
    pub(super) fn note_bad_line(&mut self, line: usize, error: &str) {
        self.bad_lines += 1;
        self.bad_line.get_or_insert_with(|| format!("line {line}: {error}"));
    }
}

#[cfg(test)]
mod tests;
