//! What people write: addresses, masks, conditions, files; and lines on the local socket.

use std::fs;
use std::sync::LazyLock;

use tagline::api::protocol;
use tagline::config;
use tagline::iotag::json_address::JsonAddress;
use tagline::iotag::json_path::JsonPath;
use tagline::iotag::line_address::LineAddress;
use tagline::iotag::time_mask::{TimeMask, Zone};
use tagline::iotag::when::When;
use tagline::iotag::xml_address::XmlAddress;
use tagline::iotag::{StationAddress, SyntaxError, TagAddress};

/// A mistake lies in the text, on a character's boundary, and is said in words.
fn check<T>(text: &str, read: Result<T, SyntaxError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            assert!(text.is_char_boundary(error.at), "{text:?}: {error:?}");
            assert!(!error.message.is_empty());
            None
        }
    }
}

/// Addresses in JSON documents.
pub fn json_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(address) = check(text, JsonAddress::parse(text)) {
        assert!(!address.steps().is_empty());
        // An address of a tag and one of a time field are the same language.
        assert!(TagAddress::parse(&format!("JA={text}")).is_ok());
    }
    check(text, TagAddress::parse(text));
    check(text, StationAddress::parse(text));
}

/// JSONPath: the query up to a line end, then a document it is put to.
pub fn json_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (query, document) = text.split_once('\n').unwrap_or((text, "{\"a\":[1,{\"b\":2}]}"));
    let Some(path) = check(query, JsonPath::parse(query)) else { return };
    let Ok(selected) = path.select_texts(document) else { return };
    let parsed: Vec<serde_json::Value> =
        selected.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    if path.is_singular() {
        assert!(parsed.len() <= 1);
    }
}

/// Addresses in line protocol.
pub fn line_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check(text, LineAddress::parse(text));
}

/// Paths in XML.
pub fn xml_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check(text, XmlAddress::parse(text));
    if let Some((offset, rest)) = text.split_once(' ') {
        check(offset, tagline::iotag::bytes_address::BytesAddress::parse(offset));
        check(rest, tagline::iotag::bytes_address::BytesAddress::parse(rest));
    }
}

/// A mask, a zone and a time, each on a line: what is written of a time reads as what is written.
pub fn time_mask(data: &[u8]) {
    static ZONES: LazyLock<Vec<Zone>> = LazyLock::new(|| {
        ["UTC", "Europe/Bratislava", "Australia/Lord_Howe", "-03:30", "America/St_Johns"]
            .map(|name| Zone::parse(name).expect("a zone"))
            .to_vec()
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let (mask, zone, time) =
        (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    // Suggesting a name looks at all of them.
    if data.len().is_multiple_of(16) {
        check(zone, Zone::parse(zone));
    }
    let zone = &ZONES[zone.len() % ZONES.len()];
    let Some(mask) = check(mask, TimeMask::parse(mask)) else { return };
    let Ok(read) = mask.read(time, zone) else { return };
    let written = mask.format(read, zone);
    if let Ok(again) = mask.read(&written, zone) {
        assert_eq!(mask.format(again, zone), written);
    }
}

/// Conditions.
pub fn when(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(when) = check(text, When::parse(text)) {
        assert!(!when.conditions().is_empty());
    }
}

/// A configuration, its files parted by NUL: `tagline.toml`, a file of stations, tags as CSV, tags
/// as TOML. Every mistake can be shown.
pub fn config(data: &[u8]) {
    let folder = if std::path::Path::new("/dev/shm").is_dir() {
        tempfile::tempdir_in("/dev/shm")
    } else {
        tempfile::tempdir()
    };
    let folder = folder.expect("a folder");
    let names = ["tagline.toml", "stations/s.toml", "tags/t.csv", "tags/t.toml"];
    for (name, bytes) in names.into_iter().zip(data.splitn(4, |byte| *byte == 0)) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    if let Err(mistakes) = config::load(folder.path()) {
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|mistake| !mistake.message.is_empty()));
        assert!(!config::render(&mistakes, data.len() % 2 == 0).is_empty());
    }
}

/// A line on the local socket.
pub fn protocol(data: &[u8]) {
    const CODES: [i32; 4] = [-32700, -32600, -32601, -32602];
    let (id, error) = match protocol::parse_request(data) {
        Err(error) => (None, Some(error)),
        Ok(request) => (request.id, request.call.err()),
    };
    if let Some(error) = &error {
        assert!(CODES.contains(&error.code), "{error:?}");
    }
    let answer = protocol::answer(id.as_deref(), error.map_or(Ok(1), Err));
    let end = answer.iter().position(|byte| *byte == b'\n');
    assert_eq!(end, Some(answer.len() - 1), "an answer is one line");
    assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
}
