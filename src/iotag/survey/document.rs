//! JSON documents: the union of what several of them have, and the choices of a person who reads them.

use serde_json::Value as Json;

use super::{Kind, Leaf, Survey, TimeFound, enclosed, of_bytes, time, time_mask_of};
use crate::iotag::PayloadType;
use crate::iotag::time_mask::read_rfc3339;

/// Fields whose text says what a message is.
const KIND_NAMES: [&str; 9] = [
    "cmd",
    "type",
    "msgtype",
    "message_type",
    "messagetype",
    "event",
    "event_type",
    "kind",
    "action",
];
/// Fields whose text says whose message it is.
const OWNER_NAMES: [&str; 14] = [
    "eui",
    "deveui",
    "dev_eui",
    "device_id",
    "deviceid",
    "dev_id",
    "streamid",
    "datapoint",
    "serial",
    "mac",
    "device",
    "sensor",
    "sensor_id",
    "node",
];
/// Fields by which the elements of an array are known.
const KEY_NAMES: [&str; 12] = [
    "id",
    "name",
    "n",
    "key",
    "tag",
    "channel",
    "sensor",
    "datapoint",
    "metric",
    "signal",
    "point",
    "label",
];
/// Fields that hold bytes as text.
const ENVELOPE_NAMES: [&str; 9] = [
    "frm_payload",
    "payload_raw",
    "payloadhex",
    "payload_hex",
    "payload",
    "data",
    "raw",
    "rawdata",
    "raw_payload",
];
/// Words in the names of integers that count or number something.
const COUNTER_WORDS: [&str; 22] = [
    "count", "counter", "cnt", "fcnt", "seq", "seqno", "sequence", "id", "port", "number", "index",
    "cid", "code", "channel", "rev", "version", "priority", "total", "pulses", "errors", "cycles",
    "instance",
];
/// Words in the names of texts that are no numbers, whatever their digits.
const NAME_WORDS: [&str; 12] = [
    "id", "eui", "serial", "mac", "addr", "address", "key", "imei", "iccid", "phone", "uid", "uuid",
];
/// Different kinds, and owners, that one topic may have.
const KINDS_MAX: usize = 8;
const OWNERS_MAX: usize = 200;
/// Elements of an array that are taken by their position.
const ELEMENTS_MAX: usize = 16;
/// Deepest place.
const DEPTH_MAX: usize = 16;
/// Places of one topic.
const LEAVES_MAX: usize = 2000;

/// Messages that have the same texts in the fields that tell them apart: field and text of each.
type Group<'a> = (Vec<(String, String)>, Vec<&'a Json>);

/// A place in documents.
struct Place<'a> {
    path: String,
    /// The path with `[]` in place of keyed and every element.
    scope: String,
    names: Vec<String>,
    values: Vec<&'a Json>,
    /// Documents that could have it.
    of: usize,
    unit: String,
    /// Below an element of an array by its position.
    indexed: bool,
    /// Below keyed elements, or all of an array.
    scoped: bool,
}

/// Surveys documents; `None` when one of them is no object or array.
pub(super) fn survey(texts: &[&str]) -> Option<Survey> {
    let documents: Option<Vec<Json>> = texts
        .iter()
        .map(|text| {
            serde_json::from_str(text).ok().filter(|it: &Json| it.is_object() || it.is_array())
        })
        .collect();
    let documents = documents?;
    let mut survey = Survey::of_type(PayloadType::Json);
    let all: Vec<&Json> = documents.iter().collect();
    survey.time = time_of(&all, &mut survey.notes);
    let batch = survey.time.as_ref().is_some_and(|time| time.field.contains("[]"));
    let envelope = envelope_of(&all);
    let kind = discriminator(&all, &KIND_NAMES, KINDS_MAX);
    let owner = discriminator(&all, &OWNER_NAMES, OWNERS_MAX);
    let mut groups: Vec<Group<'_>> = Vec::new();
    for document in &all {
        let keys: Vec<(String, String)> = [&owner, &kind]
            .into_iter()
            .flatten()
            .map(|name| {
                let value = document.get(name).and_then(Json::as_str).unwrap_or_default();
                (name.clone(), value.to_owned())
            })
            .collect();
        match groups.iter_mut().find(|(known, _)| *known == keys) {
            Some((_, members)) => members.push(document),
            None => groups.push((keys, vec![document])),
        }
    }
    for name in [&owner, &kind].into_iter().flatten() {
        survey.notes.push(format!(
            "messages differ by `{name}`: `when` of a tag says which of them are its own"
        ));
    }
    for (keys, members) in groups {
        let when: Vec<String> =
            keys.iter().map(|(name, value)| format!("{}={}", plain(name), quoted(value))).collect();
        let group: Vec<String> = keys
            .iter()
            .rev()
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
            .collect();
        for place in places(&members, batch) {
            let is_envelope = envelope.as_ref().is_some_and(|(path, _)| *path == place.path);
            let is_time = survey.time.as_ref().is_some_and(|time| {
                time.field == place.path || (place.scoped && time.field == place.scope)
            });
            let is_key = keys.iter().any(|(name, _)| plain(name) == place.path);
            if is_time || (is_key && members.len() < all.len()) {
                continue;
            }
            let mut leaf = leaf(&place);
            leaf.names.extend(group.iter().cloned());
            leaf.when = when.join(" & ");
            if !is_envelope {
                survey.leaves.push(leaf);
                continue;
            }
            let texts: Vec<&str> = place.values.iter().filter_map(|value| value.as_str()).collect();
            let Some((_, bytes)) = enclosed(&texts) else { continue };
            let mut inside = of_bytes(&bytes, &mut survey.notes);
            for value in &mut inside {
                value.when.clone_from(&leaf.when);
                value.names.extend(group.iter().cloned());
                value.optional |= leaf.optional;
            }
            survey.leaves.extend(inside);
        }
    }
    if let Some((path, encoding)) = envelope {
        survey.notes.push(format!(
            "`{path}` holds bytes as {}: `RA=` and `LPP=` read them",
            encoding.as_str()
        ));
        survey.envelope = Some((path, encoding));
    }
    let mut seen = std::collections::BTreeSet::new();
    survey.notes.retain(|note| seen.insert(note.clone()));
    Some(survey)
}

/// Where the time of the messages is: at one place for all of it, or in every element of an array.
fn time_of(documents: &[&Json], notes: &mut Vec<String>) -> Option<TimeFound> {
    let all = places(documents, false);
    let candidates = all.iter().filter_map(|place| {
        let rank = time::rank(place.names.first()?)?;
        let mask =
            time_mask_of(&texts_of(&place.values).iter().map(String::as_str).collect::<Vec<_>>())?;
        Some((place, rank, mask))
    });
    let candidates: Vec<(&Place<'_>, usize, &'static str)> = candidates.collect();
    let order = |(place, rank, _): &&(&Place<'_>, usize, &'static str)| {
        (place.values.len() < place.of, place.names.len(), *rank)
    };
    let found = |field: String, mask, optional| Some(TimeFound { field, mask, optional });
    if let Some((place, _, mask)) =
        candidates.iter().filter(|(place, ..)| !place.indexed && !place.scoped).min_by_key(order)
    {
        return found(place.path.clone(), mask, place.values.len() < place.of);
    }
    if let Some((place, _, mask)) =
        candidates.iter().filter(|(place, ..)| place.scoped).min_by_key(order)
    {
        notes.push("every element has its own time".to_owned());
        return found(place.scope.clone(), mask, false);
    }
    let (place, _, mask) =
        candidates.iter().filter(|(place, ..)| place.indexed).min_by_key(order)?;
    let Some(tail) = place.path.strip_prefix("[1]") else {
        // Somewhere inside: the time of a part, not of the message.
        return None;
    };
    // Elements at different times are a batch, elements at one time are parts of one thing.
    let field = tail.trim_start_matches('.').to_owned();
    let differ = documents.iter().any(|document| {
        let elements = document.as_array().map(Vec::as_slice).unwrap_or_default();
        let times: Vec<_> = elements.iter().filter_map(|element| element.get(&field)).collect();
        times.windows(2).any(|pair| pair[0] != pair[1])
    });
    if differ {
        notes
            .push("the document is a batch: each element is a sample with its own time".to_owned());
        return found(format!("[]{tail}"), mask, false);
    }
    found(place.path.clone(), mask, place.values.len() < place.of)
}

/// The field with bytes as text.
fn envelope_of(documents: &[&Json]) -> Option<(String, crate::iotag::EnvelopeEncoding)> {
    places(documents, false)
        .into_iter()
        .filter(|place| !place.indexed && !place.scoped)
        .filter_map(|place| {
            let name = place.names.first()?.to_lowercase();
            let rank = ENVELOPE_NAMES.iter().position(|known| *known == name)?;
            let texts: Option<Vec<&str>> =
                place.values.iter().map(|value| value.as_str()).collect();
            let texts = texts?;
            let (encoding, _) = enclosed(&texts)?;
            let is_sure = rank < 2;
            // A word of the letters a to f, or of any, is no proof.
            let digit = |it: char| it.is_ascii_digit() || "+/=".contains(it);
            let fits = is_sure
                || texts.iter().all(|text| text.len() >= 4)
                    && texts.iter().any(|text| text.contains(digit));
            fits.then_some((rank, place.path, encoding))
        })
        .min_by_key(|(rank, ..)| *rank)
        .map(|(_, path, encoding)| (path, encoding))
}

/// A field of all documents with several texts.
fn discriminator(documents: &[&Json], names: &[&str], most: usize) -> Option<String> {
    let first = documents.first()?.as_object()?;
    let mut keys: Vec<&String> =
        first.keys().filter(|key| names.contains(&key.to_lowercase().as_str())).collect();
    keys.sort_by_key(|key| names.iter().position(|name| *name == key.to_lowercase()));
    keys.into_iter().find_map(|key| {
        let texts: Option<std::collections::BTreeSet<&str>> =
            documents.iter().map(|document| document.get(key)?.as_str()).collect();
        (2..=most).contains(&texts?.len()).then(|| key.clone())
    })
}

fn places<'a>(documents: &[&'a Json], batch: bool) -> Vec<Place<'a>> {
    let mut walk = Walk { places: Vec::new(), batch };
    let values: Vec<Option<&Json>> = documents.iter().copied().map(Some).collect();
    walk.walk(
        &values,
        &Place {
            path: String::new(),
            scope: String::new(),
            names: Vec::new(),
            values: Vec::new(),
            of: values.len(),
            unit: String::new(),
            indexed: false,
            scoped: false,
        },
    );
    walk.places
}

struct Walk<'a> {
    places: Vec<Place<'a>>,
    /// The root is an array whose elements are samples.
    batch: bool,
}

impl<'a> Walk<'a> {
    fn walk(&mut self, values: &[Option<&'a Json>], at: &Place<'a>) {
        let present: Vec<&Json> = values.iter().flatten().copied().collect();
        let solid: Vec<&Json> = present.iter().copied().filter(|value| !value.is_null()).collect();
        if present.is_empty() || self.places.len() >= LEAVES_MAX {
            return;
        }
        if solid.is_empty() || at.names.len() >= DEPTH_MAX {
            return self.leaf(present, values.len(), at);
        }
        if solid.iter().all(|value| value.is_object()) {
            return self.object(values, &solid, at);
        }
        if solid.iter().all(|value| value.is_array()) {
            return self.array(values, &solid, at);
        }
        self.leaf(present, values.len(), at);
    }

    fn leaf(&mut self, values: Vec<&'a Json>, of: usize, at: &Place<'a>) {
        if !at.path.is_empty() {
            self.places.push(Place { values, of, ..at.again() });
        }
    }

    fn object(&mut self, values: &[Option<&'a Json>], solid: &[&'a Json], at: &Place<'a>) {
        let mut keys: Vec<&String> = Vec::new();
        for key in solid.iter().filter_map(|value| value.as_object()).flat_map(|it| it.keys()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let unit = stated_unit(solid);
        for key in keys {
            let children: Vec<Option<&Json>> =
                values.iter().map(|value| value.and_then(|value| value.get(key))).collect();
            let mut next = at.again();
            next.path = joined(&at.path, &plain(key));
            next.scope = joined(&at.scope, &plain(key));
            next.names.insert(0, key.clone());
            if matches!(key.to_lowercase().as_str(), "value" | "v" | "val") {
                next.unit.clone_from(&unit);
            }
            self.walk(&children, &next);
        }
    }

    fn array(&mut self, values: &[Option<&'a Json>], solid: &[&'a Json], at: &Place<'a>) {
        let arrays: Vec<&Vec<Json>> = solid.iter().filter_map(|value| value.as_array()).collect();
        let elements = || arrays.iter().flat_map(|array| array.iter());
        let shortest = arrays.iter().map(|array| array.len()).min().unwrap_or(0);
        let longest = arrays.iter().map(|array| array.len()).max().unwrap_or(0);
        if elements().next().is_none() {
            return;
        }
        let objects = elements().all(Json::is_object);
        if self.batch && at.path.is_empty() && objects {
            let every: Vec<Option<&Json>> = elements().map(Some).collect();
            let mut next = at.again();
            next.path = "[]".to_owned();
            next.scope = "[]".to_owned();
            next.scoped = true;
            return self.walk(&every, &next);
        }
        if objects && let Some(key) = key_of(&arrays) {
            let mut known: Vec<&Json> = Vec::new();
            for value in elements().filter_map(|element| element.get(key)) {
                if !known.contains(&value) {
                    known.push(value);
                }
            }
            for value in known {
                let own: Vec<Option<&Json>> = values
                    .iter()
                    .map(|array| {
                        (*array)?.as_array()?.iter().find(|element| element.get(key) == Some(value))
                    })
                    .collect();
                let (literal, name) = match value {
                    Json::String(text) => (quoted(text), text.clone()),
                    other => (other.to_string(), other.to_string()),
                };
                let mut next = at.again();
                next.path = format!("{}[{}={literal}]", at.path, plain(key));
                next.scope = format!("{}[]", at.scope);
                next.names.insert(0, name);
                next.scoped = true;
                self.walk(&own, &next);
            }
            // The keys themselves are in the addresses.
            let key_path = format!("].{}", plain(key));
            self.places.retain(|place| {
                !(place.path.starts_with(&format!("{}[{}=", at.path, plain(key)))
                    && place.path.ends_with(&key_path))
            });
            return;
        }
        let scalars = elements().all(|element| !element.is_object() && !element.is_array());
        let most = if scalars { 4 } else { ELEMENTS_MAX };
        if scalars && (shortest != longest || longest > most) {
            let present: Vec<&Json> = values.iter().flatten().copied().collect();
            return self.leaf(present, values.len(), at);
        }
        for index in 0..shortest.min(most) {
            let own: Vec<Option<&Json>> =
                values.iter().map(|array| array.and_then(|array| array.get(index))).collect();
            let mut next = at.again();
            next.path = format!("{}[{}]", at.path, index + 1);
            next.scope = format!("{}[{}]", at.scope, index + 1);
            if longest > 1 {
                next.names.insert(0, (index + 1).to_string());
            }
            next.indexed = true;
            self.walk(&own, &next);
        }
    }
}

impl<'a> Place<'a> {
    fn again(&self) -> Self {
        Self {
            path: self.path.clone(),
            scope: self.scope.clone(),
            names: self.names.clone(),
            values: Vec::new(),
            of: self.of,
            unit: self.unit.clone(),
            ..*self
        }
    }
}

/// The field by which the elements of all these arrays are known.
fn key_of<'j>(arrays: &[&'j Vec<Json>]) -> Option<&'j String> {
    let first = arrays.iter().find_map(|array| array.first())?.as_object()?;
    let mut keys: Vec<&String> =
        first.keys().filter(|key| KEY_NAMES.contains(&key.to_lowercase().as_str())).collect();
    keys.sort_by_key(|key| KEY_NAMES.iter().position(|name| *name == key.to_lowercase()));
    keys.into_iter().find(|key| {
        arrays.iter().all(|array| {
            let mut seen: Vec<&Json> = Vec::new();
            array.iter().all(|element| match element.get(key.as_str()) {
                Some(value @ (Json::String(_) | Json::Number(_))) if !seen.contains(&value) => {
                    seen.push(value);
                    true
                }
                _ => false,
            })
        })
    })
}

fn stated_unit(objects: &[&Json]) -> String {
    let names = ["unit", "units", "uom", "u"];
    names
        .into_iter()
        .find_map(|name| objects.iter().find_map(|object| object.get(name)?.as_str()))
        .filter(|unit| unit.chars().count() <= 12)
        .unwrap_or_default()
        .to_owned()
}

fn texts_of(values: &[&Json]) -> Vec<String> {
    let text = |value: &&Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    values.iter().filter_map(text).collect()
}

fn leaf(place: &Place<'_>) -> Leaf {
    let texts = texts_of(&place.values);
    let name = place.names.first().map_or("", String::as_str);
    let solid = || place.values.iter().filter(|value| !value.is_null());
    let kind = if solid().next().is_none() {
        Kind::Null
    } else if solid().any(|value| value.is_object() || value.is_array()) {
        Kind::Compound
    } else if solid().all(|value| value.is_boolean()) {
        Kind::Logical
    } else if solid().all(|value| value.is_number()) {
        let whole = solid().all(|value| value.is_i64() || value.is_u64());
        let large = solid().any(|value| value.as_f64().is_some_and(|it| it.abs() >= 9.0e15));
        if whole && (large || has_word(name, &COUNTER_WORDS)) {
            Kind::Counter
        } else {
            Kind::Number
        }
    } else {
        kind_of_texts(&texts.iter().map(String::as_str).collect::<Vec<_>>(), name)
    };
    let unit = if place.unit.is_empty() { unit_in_name(name) } else { place.unit.clone() };
    Leaf {
        address: format!("JA={}", place.path),
        names: place.names.clone(),
        kind,
        unit,
        example: texts.last().cloned().unwrap_or_default(),
        optional: place.values.len() < place.of,
        when: String::new(),
    }
}

/// What texts are, when all of them are taken together.
pub(super) fn kind_of_texts(texts: &[&str], name: &str) -> Kind {
    let all =
        |test: &dyn Fn(&str) -> bool| !texts.is_empty() && texts.iter().all(|text| test(text));
    let is_logical = |text: &str| {
        matches!(text.to_lowercase().as_str(), "true" | "false" | "on" | "off" | "yes" | "no")
    };
    let is_number = |text: &str| {
        let digits = text.trim_start_matches(['+', '-']);
        let leading = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
        let plain = digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
        plain && !leading && digits.len() <= 17 && text.parse::<f64>().is_ok_and(f64::is_finite)
    };
    if all(&is_logical) {
        return Kind::Logical;
    }
    if all(&is_number) && !has_word(name, &NAME_WORDS) {
        let whole = all(&|text| text.parse::<i64>().is_ok());
        return if whole && has_word(name, &COUNTER_WORDS) { Kind::Counter } else { Kind::Number };
    }
    if all(&|text| read_rfc3339(text).is_ok()) {
        return Kind::Moment;
    }
    Kind::Text
}

/// Whether one of the words of a name is among these: `f_cnt` has `cnt`, `humidity` has no `id`.
fn has_word(name: &str, words: &[&str]) -> bool {
    let mut parts: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        if !character.is_alphanumeric() || (character.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        was_lower = character.is_lowercase();
        if let Some(last) = parts.last_mut().filter(|_| character.is_alphanumeric()) {
            last.extend(character.to_lowercase());
        }
    }
    parts.iter().any(|part| words.contains(&part.as_str()))
}

/// A unit in brackets behind a name: `Temperature [°C]`.
pub(super) fn unit_in_name(name: &str) -> String {
    let bracketed = |open: char, close: char| {
        let (before, unit) = name.trim_end().strip_suffix(close)?.rsplit_once(open)?;
        let unit = unit.trim();
        // `phase[1]` and `[°C]` alone are names.
        let is_unit = unit.contains(|it: char| !it.is_ascii_digit()) && unit.chars().count() <= 8;
        (is_unit && !before.trim().is_empty()).then(|| unit.to_owned())
    };
    bracketed('[', ']').or_else(|| bracketed('(', ')')).unwrap_or_default()
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name as it stands in an address.
fn plain(name: &str) -> String {
    let special = |character: char| ".[]\"=& \\".contains(character);
    if name.is_empty() || name.contains(special) { quoted(name) } else { name.to_owned() }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
