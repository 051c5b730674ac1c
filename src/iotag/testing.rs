//! Stations and tags for tests.

use super::time_field::TimeField;
use super::time_mask::{TimeMask, Zone};
use super::{
    LineId, Number, OnMissing, PayloadType, Station, StationAddress, StationId, Tag, TagAddress,
    TagType,
};
use crate::qos::Qos;

pub(super) fn station(payload_type: PayloadType) -> Station {
    Station {
        name: "s".into(),
        line: LineId(0),
        address: StationAddress::All,
        address_text: "#".into(),
        payload_type,
        time_field: None,
        time_mask: TimeMask::parse("yyyy-mm-dd hh:mi:ss.mss").unwrap(),
        time_zone: Zone::parse("UTC").unwrap(),
        ignore_missing_time: false,
        csv_delimiter: b',',
        csv_header: true,
        envelope: None,
        max_age: None,
        subscribe_address: false,
        will_topic: None,
        will_payload: None,
        error_delay: std::time::Duration::ZERO,
        stale_after: None,
        on_missing: OnMissing::Bad,
        out_topic: None,
        publish_every: None,
        publish_on_write: true,
        publish_qos: Qos::AtMostOnce,
        publish_retain: false,
        publish_content_type: None,
        queues_writes: false,
        write_expiry: None,
    }
}

pub(super) fn timed(payload_type: PayloadType, field: &str, mask: &str) -> Station {
    Station {
        time_field: Some(TimeField::new(field)),
        time_mask: TimeMask::parse(mask).unwrap(),
        ..station(payload_type)
    }
}

pub(super) fn tag(tag_type: TagType, address: &str) -> Tag {
    Tag {
        name: address.into(),
        station: StationId(0),
        tag_type,
        address: TagAddress::parse(address).unwrap(),
        address_text: address.into(),
        when: None,
        description: "".into(),
        unit: "".into(),
        scale: Number::Integer(1),
        offset: Number::Integer(0),
        deadband: None,
        min: None,
        max: None,
        initial: None,
        on_text: None,
        off_text: None,
    }
}
