//! Tags, from `[[tag]]` tables and CSV rows alike.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Work;
use super::names::Names;
use super::outputs::Outputs;
use super::station::Stations;
use crate::config::document::Written;
use crate::config::problems::Problems;
use crate::config::raw_tag::{Field, RawTag, Scalar, TagKey};
use crate::config::source::Place;
use crate::config::suggest;
use crate::iotag::bytes_address::BytesAddress;
use crate::iotag::json_address::JsonAddress;
use crate::iotag::line_address::LineAddress;
use crate::iotag::lpp_address::LppAddress;
use crate::iotag::when::When;
use crate::iotag::xml_address::XmlAddress;
use crate::iotag::{Number, Station, StationId, Tag, TagAddress, TagType, Value, output};
use crate::topic;

/// The tags of all files, by position, and what is known of them per station.
pub(crate) struct Tags {
    names: Names,
    count: u32,
    pub(crate) tags: Vec<Tag>,
    /// First place of each input address of each station, with its condition.
    inputs: FxHashMap<(u32, Input, Option<When>), Place>,
    pub(crate) outputs: Outputs,
    /// First OUT_TOPIC of each station.
    out_topics: FxHashMap<u32, Place>,
    shared: FxHashMap<Arc<str>, Arc<str>>,
}

/// What an input address means, however it is written: `JA=a."b"` is `JA=a.b`.
#[derive(PartialEq, Eq, Hash)]
enum Input {
    Word(&'static str),
    TopicLevel(usize),
    Json(JsonAddress),
    JsonPath(String),
    Line(LineAddress),
    Column(Arc<str>),
    Xml(XmlAddress),
    Bytes(BytesAddress),
    Lpp(LppAddress),
}

impl Input {
    fn of(address: &TagAddress) -> Self {
        match address {
            TagAddress::InTopic => Self::Word("IN_TOPIC"),
            TagAddress::InData => Self::Word("IN_DATA"),
            TagAddress::InId => Self::Word("IN_ID"),
            TagAddress::AckId => Self::Word("ACK_ID"),
            TagAddress::OutTopic => Self::Word("OUT_TOPIC"),
            TagAddress::OutValue => Self::Word("OUT_VALUE"),
            TagAddress::TopicLevel(level) => Self::TopicLevel(*level),
            TagAddress::Json(address) => Self::Json(address.clone()),
            TagAddress::JsonPath(path) => Self::JsonPath(path.as_str().to_owned()),
            TagAddress::Line(address) => Self::Line(address.clone()),
            TagAddress::Column(column) => Self::Column(Arc::clone(column)),
            TagAddress::Xml(address) => Self::Xml(address.clone()),
            TagAddress::Bytes(address) => Self::Bytes(*address),
            TagAddress::Lpp(address) => Self::Lpp(*address),
        }
    }
}

/// What makes a tag one; complete or not there.
struct Parts {
    name: Arc<str>,
    station: u32,
    tag_type: TagType,
    address: TagAddress,
    address_text: Arc<str>,
    when: Option<When>,
}

impl Tags {
    pub(crate) fn new() -> Self {
        Self {
            names: Names::new("tag"),
            count: 0,
            tags: Vec::new(),
            inputs: FxHashMap::default(),
            outputs: Outputs::default(),
            out_topics: FxHashMap::default(),
            shared: FxHashMap::default(),
        }
    }

    /// Resolves one tag; `stations_known` is false when stations may be missing for another reason.
    pub(crate) fn add(
        &mut self,
        raw: &RawTag<'_>,
        stations: &mut Stations,
        stations_known: bool,
        work: &mut Work,
    ) {
        let name = required(raw, TagKey::Name, &mut work.problems)
            .map(|name| self.names.define(name, self.count, &mut work.problems));
        self.count += 1;
        let station = station_of(raw, stations, stations_known, &mut work.problems);
        let tag_type = tag_type(raw, &mut work.problems);
        let address = address(raw, work);
        let when = when(raw, work);
        if let (Some((written, address)), Some(tag_type)) = (&address, tag_type)
            && let Err(message) = address.check_type(tag_type)
        {
            work.problems.wrong(written.place, message);
        }
        if let (Some(station), Some((written, address))) = (station, &address) {
            let entry = &stations.entries[station as usize];
            let in_envelope = entry.has_envelope && address.reads_bytes();
            if let Some(payload_type) = entry.payload_type
                && !in_envelope
                && let Err(message) = address.check_payload_type(payload_type)
            {
                work.problems.wrong(written.place, message);
            }
            let station_parts = &stations.entries[station as usize].station;
            if let Some(station_parts) = station_parts
                && let Err(message) = address.check_station(station_parts)
            {
                work.problems.wrong(written.place, message);
            }
            // Of a condition with a mistake nobody knows what it sets apart.
            if let Some(when) = &when {
                let input = (Input::of(address), when.clone());
                self.check_address(station, *written, address, input, tag_type, &mut work.problems);
            }
        }
        let entry = station.map(|station| &stations.entries[station as usize]);
        let station_parts = entry.and_then(|entry| entry.station.as_ref());
        let place = address.as_ref().map(|(written, _)| written.place);
        let parts = || {
            let (written, address) = address?;
            Some(Parts {
                name: name?,
                station: station?,
                tag_type: tag_type?,
                address,
                address_text: written.value.into(),
                when: when?,
            })
        };
        let parts = parts();
        let tag = self.tag(raw, tag_type, parts, station_parts, &mut work.problems);
        if let (Some(tag), Some(station), Some(place)) = (&tag, station, place) {
            let position = self.tags.len();
            self.outputs.add(station, (position, tag), place, &mut work.problems);
        }
        self.tags.extend(tag);
    }

    /// Two input tags of a station with one address, and two tags that name its topic, are errors.
    fn check_address(
        &mut self,
        station: u32,
        written: Written<&str>,
        address: &TagAddress,
        (input, when): (Input, Option<When>),
        tag_type: Option<TagType>,
        problems: &mut Problems,
    ) {
        match address {
            // Its topic may be missing: writing it then fails, and says so.
            TagAddress::OutValue => {}
            TagAddress::OutTopic => {
                let first = *self.out_topics.entry(station).or_insert(written.place);
                if first != written.place {
                    problems
                        .wrong(written.place, "a second tag of its station with this address")
                        .first("the first one is", first);
                }
            }
            // Of a tag without a type nobody knows its direction.
            _ if tag_type.is_none_or(TagType::is_output) => {}
            _ => {
                let key = (station, input, when);
                let first = *self.inputs.entry(key).or_insert(written.place);
                if first != written.place {
                    let message = format!(
                        "a second input tag of its station with the address `{}`",
                        written.value
                    );
                    problems.wrong(written.place, message).first("the first one is", first);
                }
            }
        }
    }

    /// The rest of a tag; every field is checked even when there will be no tag.
    fn tag(
        &mut self,
        raw: &RawTag<'_>,
        tag_type: Option<TagType>,
        parts: Option<Parts>,
        station: Option<&Station>,
        problems: &mut Problems,
    ) -> Option<Tag> {
        let description = text(raw, TagKey::Description, problems).map_or("", |text| text.value);
        let unit = text(raw, TagKey::Unit, problems).map_or("", |text| text.value);
        let scale = number(raw, TagKey::Scale, problems);
        let offset = number(raw, TagKey::Offset, problems);
        let deadband = number(raw, TagKey::Deadband, problems);
        let min = number(raw, TagKey::Min, problems);
        let max = number(raw, TagKey::Max, problems);
        let on_text = text(raw, TagKey::OnText, problems).filter(|text| !text.value.is_empty());
        let off_text = text(raw, TagKey::OffText, problems).filter(|text| !text.value.is_empty());
        if let Some(tag_type) = tag_type {
            check_fields(raw, tag_type, problems);
        }
        if let (Some(min), Some(max)) = (min, max)
            && number_above(min.value, max.value)
        {
            problems.wrong(min.place, "`min` is greater than `max`");
        }
        if let Some(deadband) = deadband
            && deadband.value.as_f64() < 0.0
        {
            problems.wrong(deadband.place, "`deadband` is negative");
        }
        if let Some(scale) = scale
            && tag_type.is_some_and(TagType::is_output)
            && scale.value.as_f64() == 0.0
        {
            problems
                .wrong(scale.place, "`scale` 0 of an output cannot be undone")
                .help("what is published is (value - offset) / scale");
        }
        if let (Some(on), Some(off)) = (on_text, off_text)
            && on.value == off.value
        {
            problems.wrong(off.place, "`off_text` is the same text as `on_text`");
        }
        let parts = parts?;
        let value = |number: Option<Written<Number>>| number.map(|number| number.value);
        let mut tag = Tag {
            name: parts.name,
            station: StationId(parts.station),
            tag_type: parts.tag_type,
            address: parts.address,
            address_text: parts.address_text,
            when: parts.when,
            description: description.into(),
            unit: self.share(unit),
            scale: value(scale).unwrap_or(Number::Integer(1)),
            offset: value(offset).unwrap_or(Number::Integer(0)),
            deadband: value(deadband).map(Number::as_f64),
            min: value(min),
            max: value(max),
            initial: None,
            on_text: on_text.map(|text| self.share(text.value)),
            off_text: off_text.map(|text| self.share(text.value)),
        };
        if let (Some(field), Some(station)) = (raw.get(TagKey::Initial), station) {
            tag.initial = initial(&tag, station, field, problems);
        }
        Some(tag)
    }

    /// Units and the texts of states repeat; one copy each is enough.
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.shared.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.shared.insert(Arc::clone(&shared), Arc::clone(&shared));
        shared
    }
}

fn station_of(
    raw: &RawTag<'_>,
    stations: &mut Stations,
    stations_known: bool,
    problems: &mut Problems,
) -> Option<u32> {
    let station = required(raw, TagKey::Station, problems)?;
    let position = stations.names.position(station.value);
    if position.is_none() && stations_known {
        stations.names.report_unknown(station, problems);
    }
    position
}

fn tag_type(raw: &RawTag<'_>, problems: &mut Problems) -> Option<TagType> {
    let written = required(raw, TagKey::Type, problems)?;
    let tag_type = TagType::parse(written.value);
    if tag_type.is_none() {
        let types = TagType::ALL.map(TagType::as_str);
        let problem =
            problems.wrong(written.place, format!("unknown tag type `{}`", written.value));
        match suggest::nearest(written.value, types) {
            Some(likely) => problem.help(format!("did you mean `{likely}`?")),
            None => problem.help(format!("the types are {}", suggest::list(types))),
        };
    }
    tag_type
}

fn address<'r>(raw: &'r RawTag<'_>, work: &mut Work) -> Option<(Written<&'r str>, TagAddress)> {
    let written = required(raw, TagKey::Address, &mut work.problems)?;
    match TagAddress::parse(written.value) {
        Ok(address) => Some((written, address)),
        Err(error) => {
            let content = written.content(&work.sources);
            work.problems.wrong_syntax(written.place, content, error);
            None
        }
    }
}

/// The condition, if there is one; `None` where a mistake has been reported.
fn when(raw: &RawTag<'_>, work: &mut Work) -> Option<Option<When>> {
    let Some(written) = text(raw, TagKey::When, &mut work.problems) else {
        return raw.get(TagKey::When).is_none().then_some(None);
    };
    if written.value.trim().is_empty() {
        return Some(None);
    }
    match When::parse(written.value) {
        Ok(when) => Some(Some(when)),
        Err(error) => {
            let content = written.content(&work.sources);
            work.problems.wrong_syntax(written.place, content, error);
            None
        }
    }
}

/// Fields that mean nothing for the type.
fn check_fields(raw: &RawTag<'_>, tag_type: TagType, problems: &mut Problems) {
    let numeric = matches!(
        tag_type,
        TagType::Ai | TagType::Ao | TagType::Ci | TagType::Co | TagType::TiR | TagType::ToR
    );
    let logical = matches!(tag_type, TagType::Di | TagType::Do | TagType::Qi);
    let mut refuse = |key: TagKey, allowed: &str| {
        if let Some(field) = raw.get(key) {
            let (key, found) = (key.as_str(), tag_type.as_str());
            let message = format!("`{key}` is for {allowed}, not for type {found}");
            problems.wrong(field.place, message);
        }
    };
    if !numeric {
        for key in [TagKey::Scale, TagKey::Offset, TagKey::Deadband, TagKey::Min, TagKey::Max] {
            refuse(key, "numbers and time intervals");
        }
    }
    if !logical {
        refuse(TagKey::OnText, "Di, Do and Qi");
        refuse(TagKey::OffText, "Di, Do and Qi");
    }
    if tag_type.is_output() {
        refuse(TagKey::When, "inputs");
    } else {
        refuse(TagKey::Initial, "outputs");
    }
}

/// A text that must be there.
fn required<'r>(
    raw: &'r RawTag<'_>,
    key: TagKey,
    problems: &mut Problems,
) -> Option<Written<&'r str>> {
    if raw.get(key).is_none() && !raw.lacks(key) {
        let message = format!("a tag needs `{}`", key.as_str());
        match raw.cell_place(key) {
            Some(place) => problems.wrong(place, message),
            None => problems.missing(raw.place, message),
        };
    }
    text(raw, key, problems)
}

fn text<'r>(raw: &'r RawTag<'_>, key: TagKey, problems: &mut Problems) -> Option<Written<&'r str>> {
    let field = raw.get(key)?;
    match &field.value {
        Scalar::Cell(text) | Scalar::Text(text) => {
            Some(Written { value: text.as_ref(), place: field.place })
        }
        other => {
            let key = key.as_str();
            let found = other.kind();
            problems.wrong(field.place, format!("expected a string for `{key}`, found {found}"));
            None
        }
    }
}

fn number(raw: &RawTag<'_>, key: TagKey, problems: &mut Problems) -> Option<Written<Number>> {
    let field = raw.get(key)?;
    let number = match &field.value {
        Scalar::Integer(integer) => Some(Number::Integer(*integer)),
        Scalar::Real(real) => Some(Number::Real(*real)).filter(|_| real.is_finite()),
        Scalar::Cell(text) => parse_number(text),
        _ => None,
    };
    if number.is_none() {
        report_no_number(field, key, problems);
    }
    Some(Written { value: number?, place: field.place })
}

fn report_no_number(field: &Field<'_>, key: TagKey, problems: &mut Problems) {
    let key = key.as_str();
    let Scalar::Cell(text) = &field.value else {
        let found = field.value.kind();
        problems.wrong(field.place, format!("expected a number for `{key}`, found {found}"));
        return;
    };
    let problem =
        problems.wrong(field.place, format!("expected a number for `{key}`, found `{text}`"));
    if parse_number(&text.replace(',', ".")).is_some() {
        problem.help("the decimal separator is a point");
    }
}

/// A number of a CSV cell, exact when it is written without fraction and exponent.
fn parse_number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    if digits.bytes().all(|digit| digit.is_ascii_digit())
        && let Ok(integer) = text.parse()
    {
        return Some(Number::Integer(integer));
    }
    text.parse().ok().filter(|real: &f64| real.is_finite()).map(Number::Real)
}

/// Exact where both are integers.
fn number_above(left: Number, right: Number) -> bool {
    match (left, right) {
        (Number::Integer(left), Number::Integer(right)) => left > right,
        _ => left.as_f64() > right.as_f64(),
    }
}

/// The value that an output tag has at the first start; inputs with one have been reported.
fn initial(
    tag: &Tag,
    station: &Station,
    field: &Field<'_>,
    problems: &mut Problems,
) -> Option<Value> {
    if !tag.tag_type.is_output() {
        return None;
    }
    match output::accept_write(tag, station, &as_written(&field.value)) {
        Ok(value) => {
            if let (TagAddress::OutTopic, Value::Text(name)) = (&tag.address, &value)
                && let Err(error) = topic::check_name(name)
            {
                problems.wrong(field.place, format!("`{name}` is no topic name: {error}"));
            }
            Some(value)
        }
        Err(reason) => {
            let tag_type = tag.tag_type.as_str();
            problems
                .wrong(field.place, format!("`initial` is no value of type {tag_type}: {reason}"));
            None
        }
    }
}

/// An initial value as a client would write it.
fn as_written(scalar: &Scalar<'_>) -> serde_json::Value {
    match scalar {
        Scalar::Cell(text) | Scalar::Text(text) => text.as_ref().into(),
        Scalar::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
            (Ok(integer), _) => integer.into(),
            (_, Ok(integer)) => integer.into(),
            _ => integer.to_string().into(),
        },
        Scalar::Real(real) => (*real).into(),
        Scalar::Logical(logical) => (*logical).into(),
        Scalar::Other(_) => serde_json::Value::Null,
    }
}
