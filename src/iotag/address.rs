//! Tag addresses: where in a message a tag's value lives. Contract, section 3.

use std::sync::Arc;

use super::bytes_address::BytesAddress;
use super::json_address::{JsonAddress, Step};
use super::json_path::JsonPath;
use super::line_address::LineAddress;
use super::lpp_address::LppAddress;
use super::xml_address::XmlAddress;
use super::{PayloadType, Station, SyntaxError, TagType};

/// Where in a message a tag's value lives, or what writing the tag does.
#[derive(Clone, Debug, PartialEq)]
pub enum TagAddress {
    /// `IN_TOPIC`: the topic of the message.
    InTopic,
    /// `IN_DATA`: its whole payload as text.
    InData,
    /// `IN_ID`: its packet identifier, 0 at QoS 0.
    InId,
    /// `ACK_ID`: writing IN_ID's value here releases the next message.
    AckId,
    /// `OUT_TOPIC`: the topic that `OUT_VALUE` publishes on.
    OutTopic,
    /// `OUT_VALUE`: writing it publishes.
    OutValue,
    /// `TL=n`: the n-th topic level, from 1.
    TopicLevel(usize),
    /// `JA=path`: a place in a JSON document.
    Json(JsonAddress),
    /// `JP=$…`: a JSONPath query on a JSON document.
    JsonPath(JsonPath),
    /// `LP=…`: a field of a series in line protocol.
    Line(LineAddress),
    /// `CA=…`: a CSV column, by header name or number from 1.
    Column(Arc<str>),
    /// `XA=…`: an element or attribute of an XML document.
    Xml(XmlAddress),
    /// `RA=…`: bytes at a place.
    Bytes(BytesAddress),
    /// `LPP=…`: a value of a Cayenne LPP frame.
    Lpp(LppAddress),
}

/// The words that are a whole address, and the letters before `=`.
const WORDS: [&str; 6] = ["IN_TOPIC", "IN_DATA", "IN_ID", "ACK_ID", "OUT_TOPIC", "OUT_VALUE"];
const PREFIXES: [&str; 8] = ["TL", "JA", "JP", "LP", "CA", "XA", "RA", "LPP"];

impl TagAddress {
    /// Reads an address as written in a tag file.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        match text {
            "IN_TOPIC" => return Ok(Self::InTopic),
            "IN_DATA" => return Ok(Self::InData),
            "IN_ID" => return Ok(Self::InId),
            "OUT_TOPIC" => return Ok(Self::OutTopic),
            "OUT_VALUE" => return Ok(Self::OutValue),
            "ACK_ID" => return Ok(Self::AckId),
            _ => {}
        }
        let Some((prefix, rest)) = text.split_once('=') else {
            return Err(unknown(text));
        };
        let parsed = match prefix {
            "TL" => topic_level(rest),
            "JA" => JsonAddress::parse(rest).map(Self::Json),
            "JP" => JsonPath::parse(rest).map(Self::JsonPath),
            "LP" => LineAddress::parse(rest).map(Self::Line),
            "CA" if rest.is_empty() => Err(SyntaxError::new(0, "expected the name of a column")),
            "CA" => Ok(Self::Column(rest.into())),
            "XA" => XmlAddress::parse(rest).map(Self::Xml),
            "RA" => BytesAddress::parse(rest).map(Self::Bytes),
            "LPP" => LppAddress::parse(rest).map(Self::Lpp),
            _ => return Err(unknown(text)),
        };
        parsed.map_err(|error| SyntaxError { at: error.at + prefix.len() + 1, ..error })
    }

    /// Whether a tag of this type may have this address; the error says which types may.
    pub fn check_type(&self, tag_type: TagType) -> Result<(), String> {
        let (name, allowed, types) = match self {
            Self::InTopic => ("IN_TOPIC", tag_type == TagType::TxtI, "TxtI"),
            Self::InData => ("IN_DATA", tag_type == TagType::TxtI, "TxtI"),
            Self::InId => ("IN_ID", tag_type == TagType::Ci, "Ci"),
            Self::OutTopic => ("OUT_TOPIC", tag_type == TagType::TxtO, "TxtO"),
            Self::OutValue => ("OUT_VALUE", tag_type.is_output(), "an output type"),
            Self::TopicLevel(_) => ("TL=", tag_type == TagType::TxtI, "TxtI"),
            Self::AckId => ("ACK_ID", tag_type == TagType::Co, "Co"),
            Self::Json(address) if tag_type.is_output() => return check_output(address),
            Self::Json(_) | Self::Line(_) => return Ok(()),
            Self::JsonPath(_) => ("JP=", !tag_type.is_output(), "an input type"),
            Self::Column(_) => ("CA=", !tag_type.is_output(), "an input type"),
            Self::Xml(_) => ("XA=", !tag_type.is_output(), "an input type"),
            Self::Bytes(_) => ("RA=", !tag_type.is_output(), "an input type"),
            Self::Lpp(_) => ("LPP=", !tag_type.is_output(), "an input type"),
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("a tag with the address `{name}` is of type {types}, not {tag_type}"))
        }
    }

    /// Whether it reads bytes: those of the payload, or those that its envelope holds.
    pub fn reads_bytes(&self) -> bool {
        matches!(self, Self::Bytes(_) | Self::Lpp(_))
    }

    /// Whether payloads of this type have such a place; the error says which have.
    pub fn check_payload_type(&self, payload_type: PayloadType) -> Result<(), String> {
        use PayloadType::{Auto, Bytes, Csv, Influx, Json, Xml};
        let (name, wanted) = match self {
            Self::Json(_) => ("JA=", Json),
            Self::JsonPath(_) => ("JP=", Json),
            Self::Line(_) => ("LP=", Influx),
            Self::Column(_) => ("CA=", Csv),
            Self::Xml(_) => ("XA=", Xml),
            Self::Bytes(_) => ("RA=", Bytes),
            Self::Lpp(_) => ("LPP=", Bytes),
            _ => return Ok(()),
        };
        // No Content Type says line protocol.
        if payload_type == wanted || (payload_type == Auto && wanted != Influx) {
            return Ok(());
        }
        let (wanted, is) = (wanted.as_str(), payload_type.as_str());
        let envelope = if self.reads_bytes() && payload_type == Json {
            ", and it has no `envelope_payload`"
        } else {
            ""
        };
        Err(format!(
            "`{name}` needs `payload_type = \"{wanted}\"`, but the station's is `{is}`{envelope}"
        ))
    }

    /// Whether a tag of a station may have this address, apart from the payload's type: without a
    /// header, CSV columns are numbers.
    pub fn check_station(&self, station: &Station) -> Result<(), String> {
        match self {
            Self::Column(column) if !station.csv_header => match column.parse::<u32>() {
                Ok(1..) => Ok(()),
                _ => Err("without a header, `CA=` names a column by its number from 1".to_owned()),
            },
            _ => Ok(()),
        }
    }
}

/// A document can be composed of single places only.
fn check_output(address: &JsonAddress) -> Result<(), String> {
    /// Elements that a composed array may have.
    const ELEMENTS_MAX: usize = 1000;
    for step in address.steps() {
        match step {
            Step::Every => {
                return Err("`[]` on an output does not say which element is written".to_owned());
            }
            Step::Element(index) if *index >= ELEMENTS_MAX => {
                return Err(format!("an array of outputs has at most {ELEMENTS_MAX} elements"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn topic_level(digits: &str) -> Result<TagAddress, SyntaxError> {
    let number = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<usize>() {
        Ok(0) => Err(SyntaxError::new(0, "topic levels count from 1")
            .help("`TL=1` is what stands before the first `/`")),
        Ok(level) if number => Ok(TagAddress::TopicLevel(level)),
        _ => Err(SyntaxError::new(0, "expected the number of a topic level, from 1")),
    }
}

fn unknown(text: &str) -> SyntaxError {
    let error = SyntaxError::new(0, format!("unknown tag address `{text}`"));
    let upper = text.to_uppercase();
    if let Some((prefix, _)) = upper.split_once(['=', ':'])
        && let Some(known) = nearest(prefix.trim(), &PREFIXES)
    {
        return error.help(format!("did you mean `{known}=…`?"));
    }
    match nearest(upper.trim(), &WORDS) {
        Some(word) => error.help(format!("did you mean `{word}`?")),
        None => error.help(format!(
            "a field of a JSON payload is `JA={text}`; see section \"Tag addresses\" of the manual"
        )),
    }
}

pub(super) fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, word) = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(text, word), *word))
        .min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= word.len() + 1).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(TagAddress::parse("IN_TOPIC"), Ok(TagAddress::InTopic));
        assert_eq!(TagAddress::parse("OUT_VALUE"), Ok(TagAddress::OutValue));
        assert_eq!(TagAddress::parse("TL=3"), Ok(TagAddress::TopicLevel(3)));
        let json = JsonAddress::parse("a=b[1]").unwrap();
        assert_eq!(TagAddress::parse("JA=a=b[1]"), Ok(TagAddress::Json(json)));
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, at, message, help) in [
            ("IN_TOPPIC", 0, "unknown tag address `IN_TOPPIC`", "did you mean `IN_TOPIC`?"),
            ("in_id", 0, "unknown tag address `in_id`", "did you mean `IN_ID`?"),
            ("ja=x", 0, "unknown tag address `ja=x`", "did you mean `JA=…`?"),
            ("TL=0", 3, "topic levels count from 1", "`TL=1`"),
            ("TL=x", 3, "expected the number", ""),
            ("TL=+1", 3, "expected the number", ""),
            ("JA=a[0]", 5, "indexes count from 1", "`[1]`"),
            ("XA=a", 3, "expected `/`", "root element"),
            ("RA=4", 4, "expected `:`", "f32be"),
            ("LPP=gps_1", 9, "expected a part of `gps`", "`latitude`"),
            ("LP=m,", 5, "expected the key", ""),
            ("JP=a", 3, "begins with `$`", "`JA=a`"),
            ("CA=", 3, "expected the name", ""),
            ("temperature", 0, "unknown tag address", "`JA=temperature`"),
        ] {
            let error = TagAddress::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}");
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.help.unwrap_or_default().contains(help), "{text}");
        }
    }

    #[test]
    fn types_are_those_of_the_contract() {
        use TagType::{Ao, Ci, Co, Di, Do, ToA, ToR, TxtI, TxtO};
        let check = |address: &str, tag_type| {
            TagAddress::parse(address).unwrap().check_type(tag_type).is_ok()
        };
        for tag_type in TagType::ALL {
            assert_eq!(check("IN_TOPIC", tag_type), tag_type == TxtI);
            assert_eq!(check("IN_DATA", tag_type), tag_type == TxtI);
            assert_eq!(check("IN_ID", tag_type), tag_type == Ci);
            assert_eq!(check("OUT_TOPIC", tag_type), tag_type == TxtO);
            assert_eq!(check("TL=1", tag_type), tag_type == TxtI);
            let output = matches!(tag_type, Ao | Co | Do | TxtO | ToR | ToA);
            assert_eq!(check("ACK_ID", tag_type), tag_type == Co);
            assert!(check("LP=m", tag_type));
            assert_eq!(check("JP=$.x", tag_type), !output);
            assert_eq!(check("RA=0:u8", tag_type), !output);
            assert_eq!(check("LPP=temperature_1", tag_type), !output);
            assert_eq!(check("JA=x[]", tag_type), !output);
            assert_eq!(check("OUT_VALUE", tag_type), output);
            assert!(check("JA=x[2]", tag_type));
        }
        let error = TagAddress::InId.check_type(Di).unwrap_err();
        assert_eq!(error, "a tag with the address `IN_ID` is of type Ci, not Di");
    }
}
