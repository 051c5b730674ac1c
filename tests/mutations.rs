//! Payloads of every format, mutated at random, through the mapping of a station that has every kind
//! of address: nothing panics, every tag that is touched ends in a value or a reason, what a message
//! may cost is bounded, and the next good message makes good what the mutated ones spoilt.
//!
//! `TAGLINE_MUTATIONS=1000000 cargo test --release --test mutations` runs a million for each format
//! instead of twenty thousand; `TAGLINE_MUTATIONS_SEED` begins elsewhere. What was run is in
//! `fuzz/README.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own files fails")]
#![allow(clippy::print_stderr, reason = "a long run says where it is")]

use std::fmt::Write as _;
use std::fs;
use std::sync::Mutex;

use tagline::config::{self, Config};
use tagline::iotag::mapping::{InMessage, MappingReport, StationPlan};
use tagline::iotag::table::TagTable;
use tagline::iotag::{Quality, Reason, TagId, TagUpdate, Timestamp, output};

/// The tests of this file measure the memory of the process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Mutations of each format without `TAGLINE_MUTATIONS`.
const MUTATIONS: u64 = 20_000;
/// Growth of the process, in bytes, that is no leak: what the allocator keeps.
const GROWTH_MAX: u64 = 24 << 20;

struct Format {
    name: &'static str,
    /// Keys of the station.
    keys: &'static str,
    /// Type, address and further keys of each tag.
    tags: &'static [(&'static str, &'static str, &'static str)],
    /// Good payloads with their Content Types.
    payloads: &'static [(&'static str, Option<&'static str>)],
    /// Whether payloads are packed, and mutated before and after.
    packed: bool,
}

const ARRIVAL: [(&str, &str, &str); 4] =
    [("TxtI", "IN_TOPIC", ""), ("TxtI", "IN_DATA", ""), ("Ci", "IN_ID", ""), ("TxtI", "TL=2", "")];

const JSON_TAGS: &[(&str, &str, &str)] = &[
    ("Ai", "JA=a", "scale = 0.5\noffset = -3\nmin = -1e6\nmax = 1e6"),
    ("Ci", "JA=big", "scale = 2\noffset = 1"),
    ("Di", "JA=on", "on_text = \"an\"\noff_text = \"aus\""),
    ("Qi", "JA=state", ""),
    ("TxtI", "JA=o", ""),
    ("TxtI", "JA=\"dotted.key\"", ""),
    ("TiR", "JA=took", "deadband = 0.5"),
    ("TiA", "JA=at", ""),
    ("Ai", "JA=list[2]", ""),
    ("Ai", "JA=values[].v", ""),
    ("Ci", "JA=values[id=\"x\"].n", ""),
    ("TxtI", "JA=values[id=5].o[1][]", ""),
    ("Ai", "JA=o.p.q", "when = 'kind=A & values[].id=\"x\"'"),
    ("Ai", "JP=$.values[*].v", ""),
    ("TxtI", "JP=$..id", ""),
    ("Ai", "JP=$.values[?@.n > 1 && match(@.id, '[a-z]+')].v", ""),
    ("TxtI", "JP=$.list[-2:]", ""),
];

const JSON: &str = r#"{"t":1744858463.25,"kind":"A","a":21.5,"big":9007199254740993,"on":"an","state":2,"o":{"p":{"q":"7"},"z":[1,{"y":null}]},"dotted.key":"x\u00e9\n\ud834\udd1e","took":"01:02:03.5","at":1744858463,"list":[1,2.5e3,-3],"values":[{"id":"x","v":1.5,"n":3,"t":1744858463},{"v":null,"id":5,"o":[[1,2],[]],"n":18446744073709551615},{"id":"y","v":true}]}"#;
const SMALL: &str =
    r#"{"a":1,"values":{"id":"x","v":"4","n":-9223372036854775808,"t":5},"list":[]}"#;

const LPP_TAGS: &[(&str, &str, &str)] = &[
    ("Ai", "LPP=temperature_1", ""),
    ("Ci", "LPP=accelerometer_2.y", "scale = 1000"),
    ("Di", "LPP=digital_in_3", ""),
    ("Ai", "LPP=gps_2.latitude", ""),
    ("Ci", "RA=1:u16be", ""),
];

const FORMATS: &[Format] = &[
    Format {
        name: "json",
        keys: "payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"\nmax_age = \"100000h\"",
        tags: JSON_TAGS,
        payloads: &[(JSON, None), (SMALL, None), ("[1,[2,{\"a\":3}]]", None)],
        packed: false,
    },
    Format {
        name: "json with element times",
        keys: "payload_type = \"json\"\ntime_field_name = \"values[].t\"\ntime_mask = \"UNIX\"\non_missing = \"keep\"",
        tags: JSON_TAGS,
        payloads: &[(JSON, None), (SMALL, None)],
        packed: false,
    },
    Format {
        name: "plain json",
        keys: "payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"RFC3339\"",
        tags: &[
            ("Ai", "JA=a", ""),
            ("Ci", "JA=o.n[2].m", ""),
            ("TxtI", "JA=o", ""),
            ("TxtI", "JA=o.s", ""),
            ("Di", "JA=list[3]", ""),
        ],
        payloads: &[
            (
                r#"{"t":"2026-01-02T03:04:05.678Z","a":1.25,"o":{"n":[{},{"m":77}],"s":"text \"q\""},"list":[0,1,true]}"#,
                None,
            ),
            (r#"{ "o" : { "s" : null } , "a" : "12" }"#, None),
        ],
        packed: false,
    },
    Format {
        name: "text",
        keys: "payload_type = \"text\"",
        tags: &[("TxtI", "TL=1", "when = \"a=1\"")],
        payloads: &[("21.5 °C", None), ("{\"a\":1}", None), ("", None)],
        packed: false,
    },
    Format {
        name: "influx",
        keys: "payload_type = \"influx\"",
        tags: &[
            ("Ai", "LP=weather,location=us temperature", ""),
            ("Ci", "LP=m f", ""),
            ("Ci", "LP=m u", ""),
            ("Di", "LP=m on", ""),
            ("TxtI", "LP=\"a b\",\"k k\"=\"v=v\" \"f f\"", ""),
            ("TxtI", "LP=m s", "when = \"x=1\""),
            ("Ai", "LP=RoomTemperature", ""),
        ],
        payloads: &[
            (
                "weather,location=us,season=summer temperature=82,humidity=71i 1465839830100400200\nm f=-3i,u=18446744073709551615u,on=t,s=\"a \\\"q\\\" \\\\ b\nc\"\n",
                None,
            ),
            ("a\\ b,k\\ k=v\\=v f\\ f=\"x\" 1\r\n# note\n\nm on=FALSE,s=\"\"", None),
            ("\"RoomTemperature\" value=21.5", None),
        ],
        packed: false,
    },
    Format {
        name: "csv",
        keys: "payload_type = \"csv\"\ntime_field_name = \"t\"\ntime_mask = \"yyyy-mm-dd hh:mi:ss.mss\"\ntime_zone = \"Europe/Bratislava\"",
        tags: &[
            ("Ai", "CA=a", ""),
            ("TxtI", "CA=b c", ""),
            ("Qi", "CA=state", ""),
            ("Ci", "CA=none", ""),
        ],
        payloads: &[
            (
                "t,a,b c,state\n2026-03-29 02:30:00.5,1.5,\"x, \"\"y\"\"\nz\",on\n2026-10-25 02:30:00,,plain,3\n",
                None,
            ),
            ("a;b c\r\n1;2\r\n", None),
        ],
        packed: false,
    },
    Format {
        name: "csv without header",
        keys: "payload_type = \"csv\"\ncsv_header = false\ncsv_delimiter = \";\"\ntime_field_name = \"1\"\ntime_mask = \"UNIXMS\"",
        tags: &[("Ai", "CA=2", ""), ("TxtI", "CA=3", ""), ("TiR", "CA=9", "")],
        payloads: &[("1744858463000;1.5;\"a;b\"\n1744858463001;;x\n", None)],
        packed: false,
    },
    Format {
        name: "xml",
        keys: "payload_type = \"xml\"\ntime_field_name = \"/a/@t\"\ntime_mask = \"RFC3339\"",
        tags: &[
            ("Ai", "XA=/a/b", ""),
            ("TxtI", "XA=/a/b[2]/@c", ""),
            ("TxtI", "XA=/a/n", ""),
            ("Ci", "XA=/a/b[3]/d/e", ""),
            ("Di", "XA=/a/@on", ""),
        ],
        payloads: &[
            (
                "<?xml version=\"1.0\"?><!-- c --><n:a xmlns:n='urn:x' t=\"2026-01-02T03:04:05Z\" on='yes'><b>1.5</b><b c=\"&quot;&#x41;\">x &amp; y</b><b><d><e> 7 </e></d></b><n:n><![CDATA[<&>]]></n:n><z/></n:a>",
                None,
            ),
            ("<a><b xsi:nil=\"true\"/></a>", None),
        ],
        packed: false,
    },
    Format {
        name: "bytes",
        keys: "payload_type = \"bytes\"",
        tags: &[
            ("Ci", "RA=0:u8", ""),
            ("Ci", "RA=1:i64be", ""),
            ("Ci", "RA=1:u64le", "scale = 3\noffset = -7"),
            ("Ai", "RA=0:f32le", ""),
            ("Ai", "RA=2:f64be", "scale = 1e300"),
            ("TxtI", "RA=3:text:9", ""),
            ("Di", "RA=4:bit:7", ""),
            ("Qi", "RA=5:u8", ""),
            ("TiA", "RA=0:u32be", ""),
            ("TiR", "RA=0:i16be", ""),
        ],
        payloads: &[("\u{1}\u{2}\u{3}\u{4}abcdefghijkl\0\0", None), ("\0", None)],
        packed: false,
    },
    Format {
        name: "lpp",
        keys: "payload_type = \"bytes\"",
        tags: LPP_TAGS,
        payloads: &[("\u{1}g\u{1}\u{10}\u{2}q\0\u{1}\0\u{2}\0\u{3}\u{3}\0\u{1}", None)],
        packed: false,
    },
    Format {
        name: "json with an envelope",
        keys: "payload_type = \"json\"\nenvelope_payload = \"up.data\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"",
        tags: LPP_TAGS,
        payloads: &[
            (r#"{"t":1744858463,"up":{"data":"AWcBEAVnAP8="}}"#, None),
            (r#"{"up":{"data":"AWcBEA","port":2}}"#, None),
        ],
        packed: false,
    },
    Format {
        name: "gzip over json",
        keys: "payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"",
        tags: JSON_TAGS,
        payloads: &[(JSON, Some("application/gzip")), (SMALL, Some("Application/GZIP; x=y"))],
        packed: true,
    },
    Format {
        name: "auto",
        keys: "payload_type = \"auto\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"",
        tags: &[
            ("Ai", "JA=a", ""),
            ("TxtI", "JP=$..id", ""),
            ("Ai", "CA=a", "when = \"a=1\""),
            ("TxtI", "CA=b c", ""),
            ("Ci", "RA=0:u16be", ""),
            ("Di", "RA=0:bit:0", ""),
        ],
        payloads: &[
            (JSON, None),
            (JSON, Some("application/json; charset=utf-8")),
            ("a,b c\n1,x\n", Some("text/csv")),
            ("<a><b>1</b></a>", Some("application/xml")),
            ("\u{1}\u{2}\u{3}", Some("application/octet-stream")),
            ("plain", Some("text/plain")),
            ("{}", Some("image/png")),
        ],
        packed: false,
    },
];

/// A station of a format, with its tags in a table of current values.
struct Station {
    config: Config,
    plan: StationPlan,
    table: TagTable,
}

impl Station {
    fn new(format: &Format) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("tagline.toml", "[[line]]\nname = \"l\"\nservers = [\"mqtt://127.0.0.1\"]\n");
        let station = "[[station]]\nname = \"s\"\nline = \"l\"\naddress = \"#\"\n";
        write("stations/s.toml", &format!("{station}{}\n", format.keys));
        let mut text = String::new();
        for (number, (tag_type, address, more)) in format.tags.iter().chain(&ARRIVAL).enumerate() {
            writeln!(
                text,
                "[[tag]]\nname = \"t{number}\"\nstation = \"s\"\ntype = \"{tag_type}\"\naddress = '''{address}'''\n{more}"
            )
            .unwrap();
        }
        write("tags/t.toml", &text);
        let config = match config::load(folder.path()) {
            Ok(config) => config,
            Err(mistakes) => panic!("{}", config::render(&mistakes, false)),
        };
        let tags = (0..).map(TagId).zip(&config.tags);
        let plan = StationPlan::compile(&config.stations[0], tags);
        let table = TagTable::new(config.tags.iter(), |_| None, Timestamp::UNIX_EPOCH);
        Self { config, plan, table }
    }

    /// Maps a message and holds what becomes of it to what every result must be.
    fn arrive(
        &mut self,
        payload: &[u8],
        content_type: Option<&str>,
        updates: &mut Vec<TagUpdate>,
    ) -> MappingReport {
        updates.clear();
        let received = "2026-06-01T00:00:00Z".parse().unwrap();
        let message = InMessage { topic: "a/b", payload, content_type, packet_id: 7, received };
        let report = self.plan.map(&message, updates);
        // No more than so many samples of each tag: one for every three bytes, the shortest element.
        let bound = self.config.tags.len() * (payload.len().max(64) + 64) * 8;
        assert!(updates.len() <= bound, "{} updates", updates.len());
        for update in updates.iter() {
            let tag = &self.config.tags[update.tag.0 as usize];
            let is_sound = match &update.value {
                Some(value) => {
                    value.is_of(tag.tag_type)
                        && matches!(
                            (update.quality, update.reason),
                            (Quality::Good, Reason::Ok) | (Quality::Uncertain, Reason::BadTime)
                        )
                }
                None => {
                    update.quality == Quality::Bad
                        && matches!(
                            update.reason,
                            Reason::PathMissing
                                | Reason::Null
                                | Reason::TypeMismatch
                                | Reason::OutOfRange
                                | Reason::BadPayload
                        )
                }
            };
            assert!(is_sound, "{update:?}");
            self.table.apply(update.clone());
        }
        report
    }
}

/// Reproducible chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// What stands in payloads of any format and means something there.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-",
    b".",
    b"e999",
    b"1e400",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"0.1e-400",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\\u0000",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"=",
    b"#",
    b";",
    b"\"\"",
    b"<",
    b">",
    b"/>",
    b"</a>",
    b"<![CDATA[",
    b"]]>",
    b"&amp;",
    b"&x;",
    b"&#0;",
    b"<!DOCTYPE a [<!ENTITY x \"y\">]>",
    b"<!--",
    b"-->",
    b"<?",
    b"i",
    b"u",
    b"NaN",
    b"inf",
    b"0x1f",
    b"+1",
    b"00",
    b"1_0",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":",
    b"2026-02-30 25:61:61",
    b"9999-12-31T23:59:60Z",
    b"253402300800",
    b"-62135596801",
];

/// Values of every kind, to stand in for others: what comes of it is mostly a payload still.
const SCALARS: &[&[u8]] = &[
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1.5e3",
    b"18446744073709551615",
    b"1e400",
    b"\"\"",
    b"\"x\"",
    b"\"on\"",
    b"\"12.5\"",
    b"\"\\ud83d\"",
    b"\"2026-01-02T03:04:05Z\"",
    b"[]",
    b"{}",
    b"[1,{\"v\":2}]",
    b"{\"id\":\"x\",\"v\":3}",
    b"9t",
    b"7i",
    b"\"PT1M\"",
];

/// Puts another value in the place of a number or a word.
fn replace_value(payload: &mut Vec<u8>, chance: &mut Chance) {
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+\"".contains(byte);
    let from = chance.below(payload.len() + 1);
    // After a comma there may be a name, which no other value can stand for.
    let marks: &[u8] = if chance.below(6) > 0 { b":[=>" } else { b",; " };
    let Some(start) = payload[from..].iter().position(|byte| marks.contains(byte)) else {
        return;
    };
    let start = from + start + 1;
    let length = payload[start..].iter().take_while(|byte| is_inside(byte)).count();
    let scalar = SCALARS[chance.below(SCALARS.len())];
    payload.splice(start..start + length, scalar.iter().copied());
}

fn mutate(payload: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    if chance.below(3) > 0 {
        for _ in 0..=chance.below(3) {
            replace_value(payload, chance);
        }
        return;
    }
    for _ in 0..=chance.below(4) {
        let length = payload.len();
        let at = chance.below(length + 1);
        let end = (at + 1 + chance.below(12)).min(length);
        match chance.below(9) {
            0 if at < length => payload[at] ^= 1 << chance.below(8),
            1 if at < length => payload[at] = chance.next() as u8,
            2 if at < end => drop(payload.drain(at..end)),
            3 => {
                let token = TOKENS[chance.below(TOKENS.len())];
                payload.splice(at..at, token.iter().copied());
            }
            4 if at < end => {
                let token = TOKENS[chance.below(TOKENS.len())];
                payload.splice(at..end, token.iter().copied());
            }
            5 if at < end => {
                let copied = payload[at..end].to_vec();
                let to = chance.below(length);
                payload.splice(to..to, copied);
            }
            6 => payload.truncate(at),
            7 => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len() + 1);
                payload.truncate(at);
                payload.extend_from_slice(&other[from..]);
            }
            _ => {
                let other = chance.below(length + 1);
                if at < length && other < length {
                    payload.swap(at, other);
                }
            }
        }
    }
}

#[test]
fn mutated_payloads_end_in_a_value_or_a_reason() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let mutations = number("TAGLINE_MUTATIONS").unwrap_or(MUTATIONS);
    let seed = number("TAGLINE_MUTATIONS_SEED").unwrap_or(1);
    for format in FORMATS {
        let mut station = Station::new(format);
        let mut updates = Vec::new();
        let payloads: Vec<Vec<u8>> =
            format.payloads.iter().map(|(payload, _)| payload.as_bytes().to_vec()).collect();
        let expected = good(format, &mut station, &mut updates);
        let mut chance = Chance(seed);
        let (mut refused, mut at_half) = (0_u64, None);
        for round in 0..mutations {
            if round == mutations / 2 {
                at_half = resident_bytes();
            }
            let chosen = chance.below(payloads.len());
            let mut payload = payloads[chosen].clone();
            mutate(&mut payload, &payloads, &mut chance);
            if format.packed {
                payload = output::packed(&payload).unwrap();
                if chance.below(2) == 0 {
                    let packed = [payload.clone()];
                    mutate(&mut payload, &packed, &mut chance);
                }
            }
            let report = station.arrive(&payload, format.payloads[chosen].1, &mut updates);
            refused += u64::from(report.bad_payload.is_some());
            if round % 1024 == 0 {
                let again = good(format, &mut station, &mut updates);
                assert_eq!(again, expected, "{}: round {round}", format.name);
            }
        }
        let grown = resident_bytes().zip(at_half).map(|(end, half)| end.saturating_sub(half));
        let grown = grown.unwrap_or(0);
        eprintln!(
            "{}: {mutations} mutations, {refused} no payload, {grown} bytes more",
            format.name
        );
        assert!(grown <= GROWTH_MAX, "{}: {grown} bytes more than at half time", format.name);
    }
}

/// What the good payloads bring.
fn good(format: &Format, station: &mut Station, updates: &mut Vec<TagUpdate>) -> Vec<TagUpdate> {
    let mut all = Vec::new();
    for (payload, content_type) in format.payloads {
        let packed = format.packed.then(|| output::packed(payload.as_bytes()).unwrap());
        let payload = packed.as_deref().unwrap_or(payload.as_bytes());
        let report = station.arrive(payload, *content_type, updates);
        assert_eq!(report.bad_payload, None, "{}", format.name);
        all.append(updates);
    }
    all
}

/// What the process has in memory, in bytes; `None` where the system does not say.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Documents that are meant to hurt, larger than a case in a folder would be.
#[test]
fn hostile_documents_end_in_a_value_or_a_reason() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let format = &FORMATS[0];
    let mut station = Station::new(format);
    let mut updates = Vec::new();
    let megabytes = 16 << 20;
    let text = "x".repeat(megabytes);
    let element = "{\"id\":\"x\",\"v\":1,\"n\":2},";
    for (name, document, is_json) in [
        ("levels, open", "[".repeat(megabytes), false),
        ("levels", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), true),
        (
            "levels in a wanted value",
            format!("{{\"o\":{}1{}}}", "[".repeat(9999), "]".repeat(9999)),
            true,
        ),
        (
            "objects in objects",
            format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000)),
            true,
        ),
        ("a long text", format!("{{\"a\":1,\"o\":\"{text}\"}}"), true),
        ("a long text of escapes", format!("{{\"o\":\"{}\"}}", "\\n".repeat(megabytes / 2)), true),
        ("a long name", format!("{{\"{text}\":1}}"), true),
        (
            "a long number",
            format!("{{\"a\":1{},\"big\":0.{}}}", "0".repeat(1 << 20), "1".repeat(1 << 20)),
            true,
        ),
        (
            "a far exponent",
            "{\"a\":1e99999999999999999999,\"big\":1e-99999999999999999999,\"t\":1e999}".to_owned(),
            true,
        ),
        (
            "half a character",
            "{\"o\":\"\\ud800\",\"dotted.key\":\"\\udfff\\ud800\"}".to_owned(),
            true,
        ),
        ("one name many times", format!("{{{}\"a\":2}}", "\"a\":1,".repeat(1 << 18)), true),
        (
            "many names",
            {
                let names: Vec<String> =
                    (0..200_000).map(|name| format!("\"k{name}\":0")).collect();
                format!("{{{}}}", names.join(","))
            },
            true,
        ),
        ("many elements", format!("{{\"values\":[{}{{}}]}}", element.repeat(100_000)), true),
        (
            "more values than are taken",
            format!("{{\"values\":[{}{{}}]}}", "{\"v\":1},".repeat(1_100_000)),
            false,
        ),
        ("blanks", format!("{{{}\"a\"{}:1}}", " ".repeat(megabytes), "\n".repeat(1000)), true),
        ("cut off", format!("{{\"a\":1,\"o\":\"{text}"), false),
        ("a byte order mark twice", "\u{feff}\u{feff}{\"a\":1}".to_owned(), false),
        ("nothing", String::new(), false),
    ] {
        let report = station.arrive(document.as_bytes(), None, &mut updates);
        let whole = updates.iter().filter(|update| update.tag.0 < 4);
        let refused = whole.clone().count() == 4
            && whole.clone().all(|update| update.reason == Reason::BadPayload);
        assert_eq!(refused, !is_json, "{name}: {report:?}");
    }
    for bytes in
        [&b"{\"a\":1,\"o\":\"\xff\"}"[..], b"\xfe\xff\0{", b"{\"a\":1}\xc0\x80", b"\xed\xa0\x80"]
    {
        let report = station.arrive(bytes, None, &mut updates);
        assert!(report.bad_payload.is_some_and(|what| what.starts_with("not UTF-8")));
    }
    good(format, &mut station, &mut updates);
}
