//! Tags to a plan.

use crate::iotag::convert::Conversion;
use crate::iotag::payload::Times;
use crate::iotag::payload::bytes::BytesPlan;
use crate::iotag::payload::csv::CsvPlan;
use crate::iotag::payload::influx::InfluxPlan;
use crate::iotag::payload::json::{JsonPlan, JsonSlot};
use crate::iotag::payload::xml::XmlPlan;
use crate::iotag::time_field::TimeField;
use crate::iotag::when::When;
use crate::iotag::{Envelope, PayloadType, Station, Tag, TagAddress, TagId, TagType};

use super::{EnvelopePlan, PlannedCondition, PlannedTag, Source, StationPlan};

impl StationPlan {
    /// Compiles the tags of one station. Tags that read nothing of its payloads are left out.
    pub fn compile<'a>(station: &'a Station, tags: impl Iterator<Item = (TagId, &'a Tag)>) -> Self {
        let mut compiling = Compiling::new(station);
        for (id, tag) in tags {
            compiling.add(id, tag);
        }
        compiling.finish(station)
    }
}

/// The slot of a tag, before the JSON plan is finished.
enum Place {
    Fixed(Source),
    Json(JsonSlot),
}

struct Compiling<'a> {
    payload_type: PayloadType,
    json: JsonPlan,
    influx: InfluxPlan,
    csv: CsvPlan,
    xml: XmlPlan,
    bytes: BytesPlan,
    envelope: Option<&'a Envelope>,
    /// Of the envelope, once a tag reads what is in it.
    envelope_slot: Option<JsonSlot>,
    tags: Vec<(TagId, &'a Tag, Place, Option<usize>)>,
    whens: Vec<(&'a When, Vec<JsonSlot>)>,
}

impl<'a> Compiling<'a> {
    fn new(station: &'a Station) -> Self {
        let field = station.time_field.as_ref();
        let reads =
            |wanted| station.payload_type == wanted || station.payload_type == PayloadType::Auto;
        // The document of a condition beside another format has no time of its own.
        let json_time = field.filter(|_| reads(PayloadType::Json)).and_then(TimeField::json);
        Self {
            payload_type: station.payload_type,
            json: JsonPlan::new(json_time),
            influx: InfluxPlan::default(),
            csv: CsvPlan::new(
                station.csv_delimiter,
                station.csv_header,
                field.map(TimeField::column),
            ),
            xml: XmlPlan::new(field.and_then(TimeField::xml)),
            bytes: BytesPlan::default(),
            envelope: station.envelope.as_ref(),
            envelope_slot: None,
            tags: Vec::new(),
            whens: Vec::new(),
        }
    }

    fn reads(&self, payload_type: PayloadType) -> bool {
        match self.payload_type {
            PayloadType::Auto => payload_type != PayloadType::Influx,
            own => own == payload_type,
        }
    }

    fn add(&mut self, id: TagId, tag: &'a Tag) {
        if tag.tag_type.is_output() {
            return;
        }
        let payload = |payload_type, slot| Place::Fixed(Source::Payload(payload_type, slot));
        let place = match &tag.address {
            TagAddress::InTopic => Place::Fixed(Source::Topic),
            TagAddress::InData => Place::Fixed(Source::Data),
            TagAddress::InId => Place::Fixed(Source::PacketId),
            TagAddress::TopicLevel(level) => Place::Fixed(Source::TopicLevel(*level)),
            TagAddress::Json(address) if self.reads(PayloadType::Json) => {
                Place::Json(self.json.insert(address))
            }
            TagAddress::JsonPath(path) if self.reads(PayloadType::Json) => {
                Place::Json(self.json.insert_path(path, tag.tag_type == TagType::TxtI))
            }
            TagAddress::Line(address) if self.reads(PayloadType::Influx) => {
                payload(PayloadType::Influx, self.influx.insert(address))
            }
            TagAddress::Column(column) if self.reads(PayloadType::Csv) => {
                payload(PayloadType::Csv, self.csv.insert(column))
            }
            TagAddress::Xml(address) if self.reads(PayloadType::Xml) => {
                payload(PayloadType::Xml, self.xml.insert(address))
            }
            TagAddress::Bytes(address) if self.reads_bytes() => {
                let slot = self.bytes.insert(*address);
                self.bytes_place(slot)
            }
            TagAddress::Lpp(address) if self.reads_bytes() => {
                let slot = self.bytes.insert_lpp(*address);
                self.bytes_place(slot)
            }
            _ => return,
        };
        let when = tag.when.as_ref().map(|when| self.when(when));
        self.tags.push((id, tag, place, when));
    }

    fn reads_bytes(&self) -> bool {
        self.envelope.is_some() || self.reads(PayloadType::Bytes)
    }

    fn bytes_place(&mut self, slot: u32) -> Place {
        let Some(envelope) = self.envelope else {
            return Place::Fixed(Source::Payload(PayloadType::Bytes, slot));
        };
        let json = &mut self.json;
        self.envelope_slot.get_or_insert_with(|| json.insert(&envelope.payload));
        Place::Fixed(Source::Enclosed(slot))
    }

    fn when(&mut self, when: &'a When) -> usize {
        if let Some(known) = self.whens.iter().position(|(known, _)| *known == when) {
            return known;
        }
        let conditions = when.conditions().iter();
        let slots = conditions.map(|condition| self.json.insert(&condition.address)).collect();
        self.whens.push((when, slots));
        self.whens.len() - 1
    }

    fn finish(mut self, station: &Station) -> StationPlan {
        self.json.finish();
        let json = self.json;
        let mut tags: Vec<PlannedTag> = self
            .tags
            .into_iter()
            .map(|(id, tag, place, when)| {
                let source = match place {
                    Place::Fixed(source) => source,
                    Place::Json(slot) => Source::Payload(PayloadType::Json, json.slot(slot)),
                };
                PlannedTag { tag: id, source, conversion: Conversion::of(tag), when }
            })
            .collect();
        tags.sort_by_key(|tag| rank(tag.source));
        let whens: Vec<Vec<PlannedCondition>> = self
            .whens
            .into_iter()
            .map(|(when, slots)| {
                let planned = |(condition, slot): (&crate::iotag::when::Condition, JsonSlot)| {
                    PlannedCondition { slot: json.slot(slot), literal: condition.literal.clone() }
                };
                when.conditions().iter().zip(slots).map(planned).collect()
            })
            .collect();
        // Without a tag that reads it, a payload is nobody's to judge.
        let read = |payload_type| {
            tags.iter()
                .any(|tag| matches!(tag.source, Source::Payload(of, _) if of == payload_type))
        };
        let enclosed = self.envelope.zip(self.envelope_slot).map(|(envelope, slot)| EnvelopePlan {
            slot: json.slot(slot),
            encoding: envelope.encoding,
        });
        let needs_json = read(PayloadType::Json) || enclosed.is_some() || !whens.is_empty();
        StationPlan {
            payload_type: station.payload_type,
            json: needs_json.then_some(json),
            influx: read(PayloadType::Influx).then_some(self.influx),
            csv: read(PayloadType::Csv).then_some(self.csv),
            xml: read(PayloadType::Xml).then_some(self.xml),
            bytes: (read(PayloadType::Bytes) || enclosed.is_some()).then_some(self.bytes),
            envelope: enclosed,
            tags,
            whens,
            times: Times { mask: station.time_mask.clone(), zone: station.time_zone.clone() },
            ignore_missing_time: station.ignore_missing_time,
            on_missing: station.on_missing,
            max_age: station.max_age,
        }
    }
}

/// The order of the updates.
fn rank(source: Source) -> u8 {
    match source {
        Source::Topic => 0,
        Source::Data => 1,
        Source::PacketId => 2,
        Source::TopicLevel(_) | Source::Payload(..) | Source::Enclosed(_) => 3,
    }
}
