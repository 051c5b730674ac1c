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
use super::payload::influx::InfluxPlan;
use super::payload::json::JsonPlan;
use super::payload::xml::XmlPlan;
use super::payload::{Absence, Datum, Found, Sample, SourceTime, Times, content, excerpt};
use super::{OnMissing, PayloadType, Quality, Reason, TagId, TagUpdate, Timestamp, Value};

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

/// Where a tag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Topic,
    Data,
    PacketId,
    TopicLevel(usize),
    /// A slot of the plan for payloads of this type.
    Payload(PayloadType, u32),
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
            found: found.ok().flatten(),
            updates,
            traces,
            report,
        };
        mapping.updates.reserve(self.tags.len());
        for tag in &self.tags {
            if tag.when.is_none_or(|when| whens[when]) {
                mapping.update(tag);
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
        &self,
        payload_type: Option<PayloadType>,
        payload: &'a [u8],
        report: &mut MappingReport,
    ) -> Result<Option<Found<'a>>, String> {
        let times = &self.times;
        match payload_type {
            Some(PayloadType::Json) => {
                self.json.as_ref().map(|plan| plan.take(payload, times, report)).transpose()
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
                self.bytes.as_ref().map(|plan| plan.take(payload)).transpose()
            }
            Some(PayloadType::Text | PayloadType::Auto) | None => Ok(None),
        }
    }

    /// Which conditions hold. Of a payload that is no JSON none does.
    fn evaluate_conditions(
        &self,
        effective: Option<PayloadType>,
        payload: &[u8],
        found: &Result<Option<Found<'_>>, String>,
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
        let holds = |condition: &PlannedCondition| {
            found.of(condition.slot).any(|sample| sample.datum.equals(&condition.literal))
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
    /// `None`: it cannot be parsed, or nobody wants it to be.
    found: Option<Found<'p>>,
    updates: &'a mut Vec<TagUpdate>,
    traces: Option<&'a mut Vec<Trace>>,
    report: MappingReport,
}

impl Mapping<'_, '_> {
    fn update(&mut self, tag: &PlannedTag) {
        let message = self.message;
        match tag.source {
            Source::Topic => self.arrived(tag, &Datum::Text(Cow::Borrowed(message.topic))),
            Source::Data => match self.payload {
                Some(payload) => {
                    let text = String::from_utf8_lossy(payload);
                    self.arrived(tag, &Datum::Text(text));
                }
                None => self.push(tag, Err(Reason::BadPayload), SourceTime::Unstated, None),
            },
            Source::PacketId => {
                let number = message.packet_id.to_string();
                self.arrived(tag, &Datum::Number(Cow::Owned(number)));
            }
            Source::TopicLevel(level) => match message.topic.split('/').nth(level - 1) {
                Some(text) => self.arrived(tag, &Datum::Text(Cow::Borrowed(text))),
                None => self.missing(tag, SourceTime::Unstated),
            },
            Source::Payload(payload_type, slot) if self.effective == Some(payload_type) => {
                self.update_from_payload(tag, slot);
            }
            Source::Payload(..) => {}
        }
    }

    /// A fact of the message's arrival.
    fn arrived(&mut self, tag: &PlannedTag, datum: &Datum<'_>) {
        let converted = self.convert(tag, datum);
        self.push(tag, converted, SourceTime::Unstated, Some(datum));
    }

    fn update_from_payload(&mut self, tag: &PlannedTag, slot: u32) {
        let Some(found) = self.found.take() else {
            return self.push(tag, Err(Reason::BadPayload), SourceTime::Unstated, None);
        };
        let mut samples = found.of(slot).peekable();
        if samples.peek().is_none()
            && let Absence::Missing(time) = found.absence(slot)
        {
            self.missing(tag, time);
        }
        for Sample { datum, time } in samples {
            if let Datum::Broken(_) = datum {
                self.report.bad_payload.get_or_insert_with(|| {
                    format!("an escape is no character in {}", excerpt(datum))
                });
            }
            let converted = self.convert(tag, datum);
            self.push(tag, converted, *time, Some(datum));
        }
        self.found = Some(found);
    }

    fn convert(&self, tag: &PlannedTag, datum: &Datum<'_>) -> Result<Value, Reason> {
        tag.conversion.convert(datum, &self.plan.times.mask, &self.plan.times.zone)
    }

    fn missing(&mut self, tag: &PlannedTag, time: SourceTime) {
        if self.plan.on_missing == OnMissing::Bad {
            self.push(tag, Err(Reason::PathMissing), time, None);
        }
    }

    fn push(
        &mut self,
        tag: &PlannedTag,
        converted: Result<Value, Reason>,
        time: SourceTime,
        taken: Option<&Datum<'_>>,
    ) {
        let received = self.message.received;
        let mut good = (Quality::Good, Reason::Ok);
        let (time, origin) = match time {
            SourceTime::Known(time) => {
                let too_old = |max_age| received.duration_since(time) > max_age;
                if self.plan.max_age.is_some_and(too_old) {
                    self.report.discarded += 1;
                    return;
                }
                (time, TimeOrigin::Payload)
            }
            SourceTime::Unstated => (received, TimeOrigin::Received),
            SourceTime::Missing => {
                self.report.time_missing |= !self.plan.ignore_missing_time;
                (received, TimeOrigin::Missing)
            }
            SourceTime::Unreadable => {
                good = (Quality::Uncertain, Reason::BadTime);
                (received, TimeOrigin::Unreadable)
            }
        };
        let (value, (quality, reason)) = match converted {
            Ok(value) => (Some(value), good),
            Err(reason) => (None, (Quality::Bad, reason)),
        };
        self.updates.push(TagUpdate { tag: tag.tag, value, quality, reason, time, received });
        if let Some(traces) = &mut self.traces {
            let taken = taken.map(|datum| excerpt(datum).into_owned());
            traces.push(Trace { tag: tag.tag, taken, time: origin });
        }
    }
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
