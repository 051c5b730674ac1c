//! `[[station]]`: what topics are routed to.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use rustc_hash::FxHashMap;

use super::Work;
use super::line::Lines;
use super::names::Names;
use super::out_topic::{self, Fields};
use super::settings::{Settings, parsed};
use crate::config::document::{Section, Written};
use crate::config::keys::SectionKind;
use crate::config::problems::Problems;
use crate::config::source::Place;
use crate::iotag::json_address::JsonAddress;
use crate::iotag::router::Claim;
use crate::iotag::{
    Envelope, EnvelopeEncoding, LineId, OnMissing, PayloadType, Station, StationAddress,
};
use crate::topic;

/// The stations of all files, by position.
pub(crate) struct Stations {
    pub(crate) names: Names,
    pub(crate) entries: Vec<Entry>,
    /// First place of each claim to the topics of a line.
    claims: FxHashMap<(LineId, Claim), Place>,
}

/// A station; parts with a mistake are `None`.
pub(crate) struct Entry {
    pub(crate) station: Option<Station>,
    pub(crate) payload_type: Option<PayloadType>,
    /// Whether it says where bytes stand in its documents.
    pub(crate) has_envelope: bool,
}

/// Longest `max_age`.
const MAX_AGE_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Longest text, MQTT 5.0 section 1.5.4.
const CONTENT_TYPE_BYTES_MAX: usize = 65_535;
/// Longest `error_delay` and `stale_after`.
const TIMER_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Shortest and longest `publish_every`.
const PUBLISH_EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(366 * 86_400);
const ENVELOPE_ENCODINGS: &[(&str, EnvelopeEncoding)] =
    &[("base64", EnvelopeEncoding::Base64), ("hex", EnvelopeEncoding::Hex)];
/// `write_expiry` when it is not given, and the shortest and the longest: whole seconds of 32 bits in MQTT 5.0.
const WRITE_EXPIRY: Duration = Duration::from_secs(3600);
const WRITE_EXPIRY_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(366 * 86_400);
const WHEN_OFFLINE: &[(&str, bool)] = &[("fail", false), ("queue", true)];
const ON_MISSING: &[(&str, OnMissing)] = &[("bad", OnMissing::Bad), ("keep", OnMissing::Keep)];

impl Stations {
    pub(crate) fn new() -> Self {
        Self { names: Names::new("station"), entries: Vec::new(), claims: FxHashMap::default() }
    }

    /// Resolves one file; `lines_known` is false when lines may be missing for another reason.
    pub(crate) fn add_file(
        &mut self,
        top: &Section<'_>,
        lines: &mut Lines,
        lines_known: bool,
        work: &mut Work,
    ) {
        let default = top.text("line", &mut work.problems);
        if let Some(line) = default
            && lines_known
            && lines.names.position(line.value).is_none()
        {
            lines.names.report_unknown(line, &mut work.problems);
        }
        for section in top.tables("station", SectionKind::Station, &mut work.problems) {
            let known = (default, !top.lacks("line"));
            let line = self.line_of(&section, known, lines, lines_known, &mut work.problems);
            let entry = self.station(&section, line, lines, work);
            self.entries.push(entry);
        }
    }

    /// The line that a station names, or its file.
    fn line_of(
        &self,
        section: &Section<'_>,
        (default, stated): (Option<Written<&str>>, bool),
        lines: &mut Lines,
        lines_known: bool,
        problems: &mut Problems,
    ) -> Option<LineId> {
        let own = section.text("line", problems);
        let Some(line) = own.or(default) else {
            if section.lacks("line") && !stated {
                problems
                    .missing(section.place, "`[[station]]` needs the key `line`")
                    .help("or `line` at the top of the file, for all its stations");
            }
            return None;
        };
        let position = lines.names.position(line.value);
        // An unknown line at the top of the file has been reported there.
        if position.is_none() && own.is_some() && lines_known {
            lines.names.report_unknown(line, problems);
        }
        position.map(LineId)
    }

    fn station(
        &mut self,
        section: &Section<'_>,
        line: Option<LineId>,
        lines: &Lines,
        work: &mut Work,
    ) -> Entry {
        let position = self.entries.len() as u32;
        let name = section
            .required_text("name", &mut work.problems)
            .map(|name| self.names.define(name, position, &mut work.problems));
        let address_text = section.required_text("address", &mut work.problems);
        let address = parsed(section, "address", StationAddress::parse, work);
        if let (Some(line), Some(text), Some(address)) = (line, address_text, &address) {
            self.check_address(line, text, address, &mut work.problems);
        }
        let around = line.and_then(|line| lines.settings.get(line.0 as usize));
        let settings = match around {
            Some(around) => Settings::read(section, around, work),
            None => Settings::read(section, &Settings::default(), work),
        };
        let problems = &mut work.problems;
        let subscribe_address = section.logical("subscribe_address", problems).unwrap_or(false);
        if let (true, Some(text), Some(address)) = (subscribe_address, address_text, &address) {
            check_subscription(text, address, problems);
        }
        let on_missing = section.choice("on_missing", ON_MISSING, problems);
        let of_line = line.and_then(|line| lines.lines.get(line.0 as usize));
        let fields = Fields { station: name.as_deref(), line: of_line.map(|line| &*line.name) };
        let out_topic = out_topic::read(section, &fields, &work.sources, problems);
        let publish_every = publish_every(section, problems);
        let publish_on_write = section.logical("publish_on_write", problems).unwrap_or(true);
        let csv_delimiter = csv_delimiter(section, problems).unwrap_or(b',');
        let has_envelope = section.get("envelope_payload").is_some();
        let envelope = envelope(section, settings.payload_type, work);
        let problems = &mut work.problems;
        let max_age = section
            .duration("max_age", MAX_AGE_MAX, problems)
            .filter(|age| !age.is_zero())
            .and_then(|age| SignedDuration::try_from(age).ok());
        let (will_topic, will_payload) = will(section, problems);
        let error_delay = section.duration("error_delay", TIMER_MAX, problems).unwrap_or_default();
        let stale_after =
            section.duration("stale_after", TIMER_MAX, problems).filter(|after| !after.is_zero());
        let csv_header = section.logical("csv_header", problems).unwrap_or(true);
        let publish_content_type = content_type(section, problems);
        let queues_writes = section.choice("write_when_offline", WHEN_OFFLINE, problems);
        let queues_writes = queues_writes.unwrap_or(false);
        let write_expiry = write_expiry(section, problems);
        let payload_type = match (line, section.get("payload_type")) {
            // Of a line that is unknown nothing is known.
            (None, None) => None,
            _ => settings.payload_type,
        };
        let station = || {
            Some(Station {
                name: name?,
                line: line?,
                address: address?,
                address_text: address_text?.value.into(),
                payload_type: settings.payload_type?,
                time_field: settings.time_field?,
                time_mask: settings.time_mask?,
                time_zone: settings.time_zone?,
                ignore_missing_time: settings.ignore_missing_time,
                csv_delimiter,
                csv_header,
                envelope,
                max_age,
                will_topic,
                will_payload,
                error_delay,
                stale_after,
                subscribe_address,
                on_missing: on_missing.unwrap_or(OnMissing::Bad),
                out_topic,
                publish_every,
                publish_on_write,
                publish_qos: settings.publish_qos,
                publish_retain: settings.publish_retain,
                publish_content_type,
                queues_writes,
                write_expiry,
            })
        };
        Entry { station: station(), payload_type, has_envelope }
    }

    /// Two stations of a line with one address: an error (contract, section 2).
    fn check_address(
        &mut self,
        line: LineId,
        written: Written<&str>,
        address: &StationAddress,
        problems: &mut Problems,
    ) {
        let mut other = None;
        for claim in address.claims() {
            let first = *self.claims.entry((line, claim)).or_insert(written.place);
            if first != written.place {
                other = Some(first);
            }
        }
        if let Some(first) = other {
            let message =
                format!("a second station of its line with the address `{}`", written.value);
            problems
                .wrong(written.place, message)
                .first("the first one is", first)
                .help("a message goes to exactly one station");
        }
    }
}

/// Empty: none. MQTT 3.1.1 has no property for it, so that it only says what to compress.
fn content_type(section: &Section<'_>, problems: &mut Problems) -> Option<Arc<str>> {
    let text = section.text("publish_content_type", problems)?;
    let text = Some(text).filter(|text| !text.value.is_empty())?;
    if text.value.len() > CONTENT_TYPE_BYTES_MAX || text.value.contains('\0') {
        let message = "`publish_content_type` cannot be sent: too long, or with U+0000";
        problems.wrong(text.place, message);
    }
    Some(text.value.into())
}

/// Where bytes stand as text; only JSON documents have such a place.
fn envelope(
    section: &Section<'_>,
    payload_type: Option<PayloadType>,
    work: &mut Work,
) -> Option<Envelope> {
    let encoding = section.choice("envelope_encoding", ENVELOPE_ENCODINGS, &mut work.problems);
    if let Some(item) = section.get("envelope_encoding")
        && section.lacks("envelope_payload")
    {
        let message = "`envelope_encoding` needs an `envelope_payload`";
        work.problems.wrong(item.place, message);
    }
    let payload = parsed(section, "envelope_payload", JsonAddress::parse, work)?;
    if let (Some(item), Some(payload_type)) = (section.get("envelope_payload"), payload_type)
        && payload_type != PayloadType::Json
    {
        let is = payload_type.as_str();
        let message = format!(
            "`envelope_payload` needs `payload_type = \"json\"`, but the station's is `{is}`"
        );
        work.problems.wrong(item.place, message);
    }
    Some(Envelope { payload, encoding: encoding.unwrap_or(EnvelopeEncoding::Base64) })
}

/// Only topics and filters can be subscribed to.
fn check_subscription(written: Written<&str>, address: &StationAddress, problems: &mut Problems) {
    let filter = match address {
        StationAddress::All => "#",
        StationAddress::Exact(text)
        | StationAddress::Plain(text, _)
        | StationAddress::Filter(text) => text,
        StationAddress::Regex(..) | StationAddress::Fallback => {
            problems
                .wrong(written.place, "a regular expression cannot be subscribed to")
                .help("leave out `subscribe_address` and extend the line's `topic_filter`");
            return;
        }
    };
    if let Err(error) = topic::check_filter(filter) {
        let message = format!("`{filter}` cannot be subscribed to: {error}");
        problems
            .wrong(written.place, message)
            .help("leave out `subscribe_address` and extend the line's `topic_filter`");
    }
}

/// One ASCII character that is neither a quote nor a line end.
fn csv_delimiter(section: &Section<'_>, problems: &mut Problems) -> Option<u8> {
    let delimiter = section.text("csv_delimiter", problems)?;
    match delimiter.value.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => Some(*byte),
        _ => {
            let message = "`csv_delimiter` must be one character, such as `,`, `;` or a tab";
            problems.wrong(delimiter.place, message);
            None
        }
    }
}

/// Topic and payload of the device's will.
fn will(section: &Section<'_>, problems: &mut Problems) -> (Option<Arc<str>>, Option<Arc<str>>) {
    let given = |written: &Written<&str>| !written.value.is_empty();
    let topic = section.text("will_topic", problems).filter(given);
    let payload = section.text("will_payload", problems).filter(given);
    if let Some(topic) = topic
        && let Err(error) = topic::check_name(topic.value)
    {
        let message = format!("`{}` is no topic name: {error}", topic.value);
        problems.wrong(topic.place, message);
    }
    if let Some(payload) = payload
        && section.lacks("will_topic")
    {
        problems.wrong(payload.place, "`will_payload` needs a `will_topic`");
    }
    (topic.map(|topic| topic.value.into()), payload.map(|payload| payload.value.into()))
}

/// How long a queued write is good for; 0 is for ever.
fn write_expiry(section: &Section<'_>, problems: &mut Problems) -> Option<Duration> {
    let given = section.duration("write_expiry", *WRITE_EXPIRY_RANGE.end(), problems);
    let expiry = given.unwrap_or(WRITE_EXPIRY);
    if !expiry.is_zero() && expiry < *WRITE_EXPIRY_RANGE.start() {
        if let Some(item) = section.get("write_expiry") {
            problems.wrong(item.place, "`write_expiry` must be `0s` or at least `100ms`");
        }
        return None;
    }
    (!expiry.is_zero()).then_some(expiry)
}

/// How far apart cyclic publications are; 0 is none.
fn publish_every(section: &Section<'_>, problems: &mut Problems) -> Option<Duration> {
    let every = section.duration("publish_every", *PUBLISH_EVERY.end(), problems)?;
    if !every.is_zero() && every < *PUBLISH_EVERY.start() {
        if let Some(item) = section.get("publish_every") {
            problems.wrong(item.place, "`publish_every` must be `0s` or at least `10ms`");
        }
        return None;
    }
    (!every.is_zero()).then_some(every)
}
