//! Payloads of every format through the mapping of a station.

use std::io::Write as _;
use std::sync::LazyLock;

use serde::de::IgnoredAny;
use serde_json::Value as Document;
use tagline::iotag::json_address::{JsonAddress, Step};
use tagline::iotag::mapping::MappingReport;
use tagline::iotag::{Reason, TagUpdate, Value};

use crate::station::Station;

/// Addresses of one value each; several lie under one name, some names are escaped in documents.
const SINGLE: [&str; 18] = [
    "a",
    "a.b",
    "a.b.c.d",
    "a[1]",
    "a[2].c",
    "b",
    "\"x y\".z",
    "[1]",
    "[2].a",
    "[3][1]",
    "list[1]",
    "list[3].v",
    "values[1].v",
    "t",
    "é.b",
    "\"q\\\"\"",
    "\"\"",
    "id",
];

/// A document is taken or refused as serde_json does, what stands at an address is what it says,
/// and the scanner, the walk and the two kinds of plans agree.
pub fn json(data: &[u8]) {
    static PLAIN: LazyLock<Station> = LazyLock::new(|| {
        let tags = SINGLE.map(|address| ("TxtI", format!("JA={address}")));
        station("payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"", &tags)
    });
    static GENERAL: LazyLock<Station> = LazyLock::new(|| {
        let more = [
            ("Ai", "JA=list[].v"),
            ("Ci", "JA=values[id=5].v"),
            ("Di", "JA=values[id=\"x\"].b[]"),
            ("TxtI", "JA=a[id=true][].b[a=null]"),
            ("Qi", "JA=[].a"),
            ("TiR", "JA=[][].b"),
            ("TiA", "JP=$..t"),
            ("Ai", "JP=$.values[?@.v > 1 || match(@.id, 'x.*')].v"),
            ("TxtI", "JP=$..['a','b'][-1:]"),
        ];
        let tags: Vec<(&str, String)> = SINGLE
            .map(|address| ("TxtI", format!("JA={address}")))
            .into_iter()
            .chain(more.map(|(tag_type, address)| (tag_type, address.to_owned())))
            .collect();
        station(
            "payload_type = \"json\"\ntime_field_name = \"values[].t\"\ntime_mask = \"UNIXMS\"",
            &tags,
        )
    });
    let (plain, report) = PLAIN.map(data, None);
    let (general, general_report) = GENERAL.map(data, None);
    let text = std::str::from_utf8(data).ok();
    let text = text.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    let is_valid = text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    if !is_valid {
        assert!(refused(&plain, &report) && refused(&general, &general_report));
        return;
    }
    let single = |updates: &[TagUpdate]| -> Vec<(u32, Option<Value>, Reason)> {
        let own = updates.iter().filter(|update| (update.tag.0 as usize) < SINGLE.len());
        let reason = |reason| if reason == Reason::BadTime { Reason::Ok } else { reason };
        own.map(|update| (update.tag.0, update.value.clone(), reason(update.reason))).collect()
    };
    let (plain, general) = (single(&plain), single(&general));
    assert_eq!(plain, general);
    assert_eq!(plain.len(), SINGLE.len());
    let Ok(document) = serde_json::from_str::<Document>(text.unwrap_or_default()) else { return };
    assert_eq!((report.bad_payload, general_report.bad_payload), (None, None));
    for ((_, value, reason), address) in plain.iter().zip(SINGLE) {
        let address = JsonAddress::parse(address).expect("an address");
        check(resolve(&document, address.steps()), value.as_ref(), *reason);
    }
}

fn resolve<'a>(document: &'a Document, steps: &[Step]) -> Option<&'a Document> {
    steps.iter().try_fold(document, |value, step| match step {
        Step::Field(name) => value.as_object()?.get(&**name),
        Step::Element(index) => value.as_array()?.get(*index),
        _ => None,
    })
}

fn check(expected: Option<&Document>, value: Option<&Value>, reason: Reason) {
    let text = match value {
        Some(Value::Text(text)) => Some(&**text),
        _ => None,
    };
    let same = match (expected, text) {
        (None, None) => reason == Reason::PathMissing,
        (Some(Document::Null), None) => reason == Reason::Null,
        (Some(Document::String(expected)), Some(text)) => expected == text,
        (Some(Document::Bool(expected)), Some(text)) => expected.to_string() == text,
        (Some(expected), Some(text)) => {
            serde_json::from_str::<Document>(text).is_ok_and(|own| own == *expected)
        }
        _ => false,
    };
    assert!(same, "{expected:?} became {value:?} {reason}");
}

fn refused(updates: &[TagUpdate], report: &MappingReport) -> bool {
    report.bad_payload.is_some() && updates.iter().all(|update| update.reason == Reason::BadPayload)
}

fn station(keys: &str, tags: &[(&str, String)]) -> Station {
    let tags: Vec<(&str, &str, &str)> =
        tags.iter().map(|(tag_type, address)| (*tag_type, address.as_str(), "")).collect();
    Station::new(keys, &tags)
}

/// Line protocol.
pub fn influx(data: &[u8]) {
    static STATION: LazyLock<Station> = LazyLock::new(|| {
        Station::new(
            "payload_type = \"influx\"",
            &[
                ("Ai", "LP=m", ""),
                ("Ci", "LP=m,a=1 f", ""),
                ("Di", "LP=m,a=1,b=2", ""),
                ("TxtI", "LP=\"a b\",\"k k\"=\"v=v\" \"f f\"", ""),
                ("TiA", "LP=m t", ""),
                ("TxtI", "IN_DATA", ""),
            ],
        )
    });
    let (_, report) = STATION.map(data, None);
    assert_eq!(report.bad_lines > 0, report.bad_line.is_some());
}

/// CSV with and without a header.
pub fn csv(data: &[u8]) {
    static NAMED: LazyLock<Station> = LazyLock::new(|| {
        Station::new(
            "payload_type = \"csv\"\ntime_field_name = \"t\"\ntime_mask = \"yyyy-mm-dd hh:mi:ss\"",
            &[("Ai", "CA=a", ""), ("TxtI", "CA=b c", ""), ("Ci", "CA=1", "")],
        )
    });
    static NUMBERED: LazyLock<Station> = LazyLock::new(|| {
        Station::new(
            "payload_type = \"csv\"\ncsv_header = false\ncsv_delimiter = \";\"",
            &[("Ai", "CA=1", ""), ("TxtI", "CA=2", ""), ("TiR", "CA=9", "")],
        )
    });
    for station in [&*NAMED, &*NUMBERED] {
        let (_, report) = station.map(data, None);
        assert_eq!(report.bad_lines > 0, report.bad_line.is_some());
    }
}

/// XML.
pub fn xml(data: &[u8]) {
    static STATION: LazyLock<Station> = LazyLock::new(|| {
        Station::new(
            "payload_type = \"xml\"\ntime_field_name = \"/a/@t\"\ntime_mask = \"RFC3339\"",
            &[
                ("Ai", "XA=/a/b", ""),
                ("TxtI", "XA=/a/b[2]/@c", ""),
                ("TxtI", "XA=/a", ""),
                ("Ci", "XA=/a/b[3]/d/e", ""),
                ("Di", "XA=/a/@on", "on_text = \"an\""),
            ],
        )
    });
    let (updates, report) = STATION.map(data, None);
    assert!(report.bad_payload.is_none() || refused(&updates, &report));
    if report.bad_payload.is_none() {
        assert_eq!(updates.len(), 5);
    }
}

/// Bytes at fixed places.
pub fn bytes(data: &[u8]) {
    static STATION: LazyLock<Station> = LazyLock::new(|| {
        Station::new(
            "payload_type = \"bytes\"",
            &[
                ("Ci", "RA=0:u8", ""),
                ("Ci", "RA=1:i64be", ""),
                ("Ci", "RA=1:u64le", "scale = 3\noffset = -7\nmin = -100"),
                ("Ai", "RA=0:f32le", "scale = 0.1"),
                ("Ai", "RA=2:f64be", ""),
                ("TxtI", "RA=3:text:9", ""),
                ("Di", "RA=4:bit:7", ""),
                ("Qi", "RA=5:u8", ""),
                ("TiA", "RA=0:u32be", ""),
                ("TiR", "RA=0:i16be", ""),
            ],
        )
    });
    let (updates, report) = STATION.map(data, None);
    assert_eq!((updates.len(), report.bad_payload), (10, None));
}

/// Cayenne LPP, as it is and in an envelope: what is wrong with the encoding concerns what is inside.
pub fn envelope(data: &[u8]) {
    const TAGS: [(&str, &str, &str); 5] = [
        ("Ai", "LPP=temperature_1", ""),
        ("Ci", "LPP=accelerometer_2.y", "scale = 1000"),
        ("Di", "LPP=digital_in_3", ""),
        ("Ai", "LPP=gps_2.latitude", ""),
        ("Ci", "RA=1:u16be", ""),
    ];
    static PLAIN: LazyLock<Station> =
        LazyLock::new(|| Station::new("payload_type = \"bytes\"", &TAGS));
    static HEX: LazyLock<Station> = LazyLock::new(|| {
        let keys = "payload_type = \"json\"\nenvelope_payload = \"d\"\nenvelope_encoding = \"hex\"";
        Station::new(keys, &TAGS)
    });
    static BASE64: LazyLock<Station> = LazyLock::new(|| {
        Station::new("payload_type = \"json\"\nenvelope_payload = \"d[].x\"", &TAGS)
    });
    let (plain, _) = PLAIN.map(data, None);
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(HEX.map(format!("{{\"d\":\"{hex}\"}}").as_bytes(), None).0, plain);
    HEX.map(data, None);
    BASE64.map(data, None);
}

/// Content Types, gzip, and every format under `auto`. The first byte says which Content Type, and
/// whether what follows is to be packed first; up to a line end a Content Type may be written out.
pub fn content(data: &[u8]) {
    static STATION: LazyLock<Station> = LazyLock::new(|| {
        Station::new(
            "payload_type = \"auto\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"",
            &[
                ("TxtI", "IN_DATA", ""),
                ("Ai", "JA=a", ""),
                ("TxtI", "JP=$..b", ""),
                ("Ai", "CA=a", "when = 'a=1 & b[].c=\"x\"'"),
                ("Ci", "RA=0:u16be", ""),
                ("TxtI", "TL=2", "when = \"a=1\""),
            ],
        )
    });
    const TYPES: [&str; 9] = [
        "application/json",
        "text/plain",
        "application/octet-stream",
        "application/xml",
        "text/csv; header=absent",
        "application/gzip",
        "APPLICATION/GZIP;a=b",
        "application/senml+json",
        "",
    ];
    let Some((first, rest)) = data.split_first() else { return };
    let number = usize::from(first & 15);
    let (content_type, payload) = match TYPES.get(number) {
        Some(known) => (Some(*known), rest),
        None if number == 15 => (None, rest),
        None => {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let written = std::str::from_utf8(&rest[..end]).ok();
            (written, rest.get(end + 1..).unwrap_or_default())
        }
    };
    if first & 16 == 0 {
        STATION.map(payload, content_type);
        return;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(payload).expect("memory");
    let packed = encoder.finish().expect("memory");
    let (unpacked, _) = STATION.map(&packed, Some("application/gzip"));
    // The packing says nothing of what is inside: JSON, as without a Content Type.
    assert_eq!(unpacked, STATION.map(payload, None).0);
}
