//! The keys that a line has for its stations and a station may override.

use super::Work;
use crate::config::document::Section;
use crate::iotag::time_field::TimeField;
use crate::iotag::time_mask::{TimeMask, Zone};
use crate::iotag::{PayloadType, SyntaxError};
use crate::qos::Qos;

/// Payload, time and publication; `None` where a mistake has been reported.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) payload_type: Option<PayloadType>,
    pub(crate) time_field: Option<Option<TimeField>>,
    pub(crate) time_mask: Option<TimeMask>,
    pub(crate) time_zone: Option<Zone>,
    pub(crate) ignore_missing_time: bool,
    pub(crate) publish_qos: Qos,
    pub(crate) publish_retain: bool,
}

const PAYLOAD_TYPES: &[(&str, PayloadType)] = &[
    ("text", PayloadType::Text),
    ("json", PayloadType::Json),
    ("influx", PayloadType::Influx),
    ("csv", PayloadType::Csv),
    ("xml", PayloadType::Xml),
    ("bytes", PayloadType::Bytes),
    ("auto", PayloadType::Auto),
];

impl Settings {
    /// What holds where nothing is written.
    pub(crate) fn default() -> Self {
        Self {
            payload_type: Some(PayloadType::Text),
            time_field: Some(None),
            time_mask: TimeMask::parse("yyyy-mm-dd hh:mi:ss.mss").ok(),
            time_zone: Zone::parse("UTC").ok(),
            ignore_missing_time: false,
            publish_qos: Qos::AtMostOnce,
            publish_retain: false,
        }
    }

    /// What a table says, and for the rest what holds around it.
    pub(crate) fn read(section: &Section<'_>, around: &Self, work: &mut Work) -> Self {
        let mut settings = around.clone();
        if section.get("payload_type").is_some() {
            settings.payload_type =
                section.choice("payload_type", PAYLOAD_TYPES, &mut work.problems);
        }
        if section.get("time_field_name").is_some() {
            let payload_type = settings.payload_type;
            let parse = |text: &str| {
                let field = (!text.is_empty()).then(|| TimeField::new(text));
                if let Some(field) = &field {
                    // Of a type with a mistake the likeliest is taken.
                    let likely =
                        if text.starts_with('/') { PayloadType::Xml } else { PayloadType::Json };
                    field.check(payload_type.unwrap_or(likely))?;
                }
                Ok(field)
            };
            settings.time_field = parsed(section, "time_field_name", parse, work);
        } else if let (Some(item), Some(payload_type), Some(Some(field))) =
            (section.get("payload_type"), settings.payload_type, &settings.time_field)
            && let Err(error) = field.check(payload_type)
        {
            let message =
                format!("the line's `time_field_name` is no place in such payloads: {error}");
            work.problems.wrong(item.place, message);
        }
        if section.get("time_mask").is_some() {
            settings.time_mask = parsed(section, "time_mask", TimeMask::parse, work);
        }
        if section.get("time_zone").is_some() {
            settings.time_zone = parsed(section, "time_zone", Zone::parse, work);
        }
        let problems = &mut work.problems;
        if let Some(ignore) = section.logical("ignore_missing_time", problems) {
            settings.ignore_missing_time = ignore;
        }
        if let Some(qos) = section.qos("publish_qos", problems) {
            settings.publish_qos = qos;
        }
        if let Some(retain) = section.logical("publish_retain", problems) {
            settings.publish_retain = retain;
        }
        settings
    }
}

/// A text with a syntax of its own.
pub(super) fn parsed<T>(
    section: &Section<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, SyntaxError>,
    work: &mut Work,
) -> Option<T> {
    let text = section.text(key, &mut work.problems)?;
    match parse(text.value) {
        Ok(value) => Some(value),
        Err(error) => {
            let content = text.content(&work.sources);
            work.problems.wrong_syntax(text.place, content, error);
            None
        }
    }
}
