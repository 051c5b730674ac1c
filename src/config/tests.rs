use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::iotag::{Number, OnMissing, PayloadType, StationId, TagAddress, TagType};

/// Writes files into a folder of their own and loads it.
fn load_files(files: &[(&str, &str)]) -> Result<Config, Vec<Diagnostic>> {
    let folder = write(files);
    let result = load(folder.path());
    if let Err(diagnostics) = &result {
        check_places(folder.path(), diagnostics);
    }
    result
}

fn write(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Every diagnostic names a file below the folder and a line and column that it has.
pub(super) fn check_places(folder: &Path, diagnostics: &[Diagnostic]) {
    assert!(!diagnostics.is_empty());
    for diagnostic in diagnostics {
        assert!(diagnostic.file.starts_with(folder), "{diagnostic}");
        let one_line = diagnostic.to_string();
        assert!(!one_line.contains(char::is_control), "{one_line:?}");
        if diagnostic.line == 0 {
            continue;
        }
        let bytes = fs::read(&diagnostic.file).unwrap();
        let text = source::decode(bytes).unwrap().text;
        let line = text.split('\n').nth(diagnostic.line - 1);
        let line = line.unwrap_or_else(|| panic!("no such line: {diagnostic}"));
        let is_last = diagnostic.line == text.split('\n').count();
        assert!(!(is_last && line.is_empty() && text.len() > 1), "behind the end: {diagnostic}");
        assert!((1..=line.chars().count() + 1).contains(&diagnostic.column), "{diagnostic}");
    }
}

fn messages(files: &[(&str, &str)]) -> Vec<String> {
    let diagnostics = load_files(files).expect_err("there are mistakes");
    diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
}

/// The contract's sample without `[http]` and the keys of MQTT 5.0.
const SAMPLE: &str = r##"
[process]                     # all optional
name     = "tagline"
data_dir = "data"             # sled lives here
stations = "stations"         # folder of *.toml
tags     = "tags"             # folder of *.csv and *.toml
log      = "info"             # tracing filter

[socket]
path = "run/tagline.sock"
mode = "0660"

[journal]
max_entries = 1_000_000
max_age     = "7d"

[[line]]
name         = "plant"
servers      = ["mqtt://127.0.0.1:1883"]
redundant_servers = []
mqtt_version = "3.1.1"
client_id    = "tagline"
clean_session = false
user_name    = ""
password     = ""
topic_filter = ["#"]
subscribe_qos = 1
publish_qos   = 0
publish_retain = false
publish_in_flight = 0
keep_alive    = "0s"
ping_interval = "60s"
reply_timeout = "20s"
reconnect     = { min = "1s", max = "30s" }
payload_type  = "text"
time_field_name = ""
time_mask     = "yyyy-mm-dd hh:mi:ss.mss"
time_zone     = "UTC"
ignore_missing_time = false
will          = { topic = "", message = "", qos = 0, retain = false }
tls           = { ca_file = "", cert_file = "", key_file = "", server_name = "", min_version = "1.2", alpn = [], insecure_skip_verify = false }
maximum_packet_size = "16MiB"
full_debug    = false
"##;

const SAMPLE_STATION: &str = r#"
line = "plant"
[[station]]
name    = "pump1"
line    = "plant"
address = "site/pump1/data"
payload_type = "json"
subscribe_address = false
will_topic   = ""
will_payload = ""
error_delay  = "0s"
on_missing = "bad"
stale_after  = "0s"
max_age      = "0s"
out_topic    = ""
publish_every = "0s"
publish_on_write = true
publish_qos = 0
publish_content_type = ""
write_when_offline = "fail"
write_expiry = "1h"
"#;

fn sample() -> Config {
    let tag = "[[tag]]\nname = \"t\"\nstation = \"pump1\"\ntype = \"Ai\"\naddress = \"JA=v\"\n";
    load_files(&[
        ("tagline.toml", SAMPLE),
        ("stations/a.toml", SAMPLE_STATION),
        ("tags/a.toml", tag),
    ])
    .expect("the sample is right")
}

#[test]
fn the_sample_of_the_contract_is_what_holds_without_it() {
    let written = sample();
    let station = "[[station]]\nname = \"pump1\"\nline = \"plant\"\naddress = \"site/pump1/data\"\n\
                   payload_type = \"json\"\n";
    let short = load_files(&[
        ("tagline.toml", "[[line]]\nname = \"plant\"\nservers = \"127.0.0.1\""),
        ("stations/a.toml", station),
        ("tags/a.csv", "type,name,address,station\nAi,t,JA=v,pump1\n"),
    ])
    .expect("the short form is right");
    assert_eq!(short.lines, written.lines);
    let shown = |config: &Config| {
        let folder = config.folder.display().to_string();
        let all = (&config.process, &config.socket, &config.journal);
        format!("{all:?} {:?} {:?}", config.stations, config.tags).replace(&folder, "FOLDER")
    };
    assert_eq!(shown(&short), shown(&written));
}

#[test]
fn values_arrive_where_they_belong() {
    let config = sample();
    assert_eq!(config.process.data_dir, config.folder.join("data"));
    assert_eq!(config.process.stations, config.folder.join("stations"));
    assert_eq!(config.socket.path, config.folder.join("run/tagline.sock"));
    assert_eq!(config.socket.mode, 0o660);
    assert_eq!(config.journal.max_age, Duration::from_secs(604_800));
    let line = &config.lines[0];
    assert_eq!(line.servers[0].to_string(), "mqtt://127.0.0.1:1883");
    assert_eq!((line.keep_alive, line.ping_interval), (0, Some(Duration::from_secs(60))));
    assert_eq!((&line.user_name, &line.password, &line.will), (&None, &None, &None));
    assert_eq!(line.topic_filters, ["#"]);
    assert_eq!(line.maximum_packet_size, 16 << 20);
    assert!(!line.clean_session);
    let station = &config.stations[0];
    assert_eq!(station.payload_type, PayloadType::Json);
    assert_eq!(station.on_missing, OnMissing::Bad);
    assert_eq!(station.out_topic, None);
    let tag = &config.tags[0];
    assert_eq!((tag.station, tag.tag_type), (StationId(0), TagType::Ai));
    assert!(matches!(tag.address, TagAddress::Json(_)));
    assert_eq!((tag.scale, tag.offset), (Number::Integer(1), Number::Integer(0)));
}

#[test]
fn other_values_than_the_defaults_arrive_too() {
    let config = load_files(&[
        (
            "tagline.toml",
            r#"
[process]
data_dir = "/var/lib/tagline"
stations = "st"
[[line]]
name = "plant"
servers = "a,b:1884;[::1]"
client_id = ""
user_name = { env = "USER" }
password = { file = "secret/password" }
topic_filter = "site/#"
subscribe_qos = 2
publish_qos = 1
publish_retain = true
publish_in_flight = 1
keep_alive = 30
ping_interval = 0
reply_timeout = "0s"
reconnect = { min = "250ms" }
payload_type = "json"
time_field_name = "t"
time_mask = "UNIXMS"
time_zone = "+01:00"
ignore_missing_time = true
will = { topic = "tagline/state", message = "gone", qos = 1, retain = true }
maximum_packet_size = 1024
full_debug = true
"#,
        ),
        (
            "st/a.toml",
            r#"
line = "plant"
[[station]]
name = "a"
address = "filter:site/+"
subscribe_address = true
on_missing = "keep"
out_topic = "x/y"
[[station]]
name = "b"
address = ".*"
payload_type = "text"
publish_qos = 0
publish_retain = false
"#,
        ),
        (
            "tags/a.csv",
            "name,station,type,address,scale,offset,deadband,min,max,unit,description,on_text,off_text\n\
             x,a,Ai,JA=x,0.1,-5,0.5,-1e3,18446744073709551616,m³,\"a, b\",,\n\
             y,a,Di,JA=y,,,,,,,,open,closed\n\
             z,a,Ao,OUT_VALUE,,,,,,,,,\n",
        ),
    ])
    .expect("nothing is wrong");
    assert_eq!(config.process.data_dir, Path::new("/var/lib/tagline"));
    let line = &config.lines[0];
    let servers: Vec<String> = line.servers.iter().map(Server::to_string).collect();
    assert_eq!(servers, ["mqtt://a:1883", "mqtt://b:1884", "mqtt://[::1]:1883"]);
    assert!(line.clean_session, "without a client identifier there is no session");
    assert_eq!(line.user_name, Some(Secret::Env("USER".to_owned())));
    assert_eq!(line.password, Some(Secret::File(config.folder.join("secret/password"))));
    assert_eq!((line.keep_alive, line.ping_interval, line.reply_timeout), (30, None, None));
    assert_eq!(line.reconnect_min, Duration::from_millis(250));
    assert_eq!(line.reconnect_max, Duration::from_secs(30));
    assert_eq!(line.will.as_ref().map(|will| will.message.as_str()), Some("gone"));
    assert_eq!((line.publish_in_flight, line.maximum_packet_size), (1, 1024));
    let (a, b) = (&config.stations[0], &config.stations[1]);
    assert_eq!((a.publish_qos.level(), a.publish_retain, a.ignore_missing_time), (1, true, true));
    assert_eq!((b.publish_qos.level(), b.publish_retain), (0, false));
    assert_eq!((a.payload_type, b.payload_type), (PayloadType::Json, PayloadType::Text));
    assert_eq!(a.time_mask, b.time_mask);
    assert!(a.time_field.is_some() && a.subscribe_address);
    assert_eq!(a.out_topic.as_deref(), Some("x/y"));
    let tag = &config.tags[0];
    assert_eq!((tag.scale, tag.offset), (Number::Real(0.1), Number::Integer(-5)));
    assert_eq!((tag.deadband, tag.min), (Some(0.5), Some(Number::Real(-1e3))));
    assert_eq!(tag.max, Some(Number::Integer(18_446_744_073_709_551_616)));
    assert_eq!((&*tag.unit, &*tag.description), ("m³", "a, b"));
    assert_eq!(config.tags[1].on_text.as_deref(), Some("open"));
}

#[test]
fn a_file_may_be_named_instead_of_its_folder() {
    let folder = write(&[("plant.toml", "[[line]]\nname = \"a\"\nservers = \"a\"\ncolor = 1")]);
    let path = folder.path().join("plant.toml");
    let diagnostics = load(&path).unwrap_err();
    assert_eq!(diagnostics[0].file, path);
    assert_eq!(diagnostics[0].line, 4);
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = write(&[]);
    let diagnostics = load(folder.path()).unwrap_err();
    assert_eq!(diagnostics[0].file, folder.path().join("tagline.toml"));
    assert_eq!(diagnostics[0].message, "there is no such file");
    let nowhere = folder.path().join("nowhere");
    assert_eq!(load(&nowhere).unwrap_err()[0].message, "there is no such file or folder");
    fs::create_dir(folder.path().join("tagline.toml")).unwrap();
    let diagnostics = load(folder.path()).unwrap_err();
    assert_eq!(diagnostics[0].message, "cannot be read: it is not a file");
}

#[test]
fn editors_leave_files_that_are_not_read() {
    let main = "[[line]]\nname = \"a\"\nservers = \"a\"";
    for name in ["stations/.#a.toml", "stations/a.toml~", "stations/README.md", "tags/.x.csv"] {
        load_files(&[("tagline.toml", main), (name, "nonsense")]).expect(name);
    }
    for name in ["stations/A.TOML", "tags/a.CSV"] {
        assert!(load_files(&[("tagline.toml", main), (name, "nonsense")]).is_err(), "{name}");
    }
}

#[test]
fn an_empty_file_is_a_process_without_lines() {
    let config = load_files(&[("tagline.toml", "")]).expect("nothing is wrong");
    assert_eq!(config.process.name, "tagline");
    assert!(config.lines.is_empty());
}

#[test]
fn passwords_are_in_no_message() {
    let main = "[[line]]\nname = \"a\"\nservers = [\"mqtt://me:hunter2@b\", \"hunter2@b\"]\n\
                password = \"hunter2\"\npasswort = \"hunter2\"\nuser-name = [\"hunter2\"]\n\
                password = \"hunter2\nuser_name = 'hunter2\n";
    let folder = write(&[("tagline.toml", main)]);
    let diagnostics = load(folder.path()).unwrap_err();
    assert!(diagnostics.len() >= 5, "{diagnostics:?}");
    assert!(!format!("{diagnostics:?}").contains("hunter2"), "{diagnostics:?}");
    let shown = render(&diagnostics, false);
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    let config = load_files(&[(
        "tagline.toml",
        "[[line]]\nname = \"a\"\nservers = \"a\"\nuser_name = \"u\"\npassword = \"hunter2\"",
    )])
    .expect("nothing is wrong");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_missing_elsewhere_is_no_consequence_of_a_syntax_error() {
    let station = "line = \"plant\"\n[[station]]\nname = \"s\"\naddress = \"a\"\n";
    let tags = "name,station,type,address\nt,s,TxtI,IN_DATA\nu,s,Ao,OUT_VALUE\n";
    let broken = [
        ("tagline.toml", "[[line]\nname = \"plant\"\nservers = \"a\"\n"),
        ("stations/a.toml", station),
        ("tags/a.csv", tags),
    ];
    let found = messages(&broken);
    assert!(found.iter().all(|message| !message.contains("unknown line")), "{found:?}");
    assert!(found.iter().all(|message| !message.contains("no topic")), "{found:?}");
    let broken = [
        ("tagline.toml", "[[line]]\nname = \"plant\"\nservers = \"a\"\n"),
        ("stations/a.toml", "line = \"plant\"\n[[station]\nname = \"s\"\naddress = \"a\"\n"),
        ("tags/a.csv", tags),
    ];
    let found = messages(&broken);
    assert!(found.iter().all(|message| !message.contains("unknown station")), "{found:?}");
}

#[test]
fn a_million_wrong_references_are_not_compared_with_everything() {
    let main = "[[line]]\nname = \"plant\"\nservers = \"a\"\n";
    let mut stations = "line = \"plant\"\n".to_owned();
    for number in 0..2000 {
        stations += &format!("[[station]]\nname = \"s{number}\"\naddress = \"exact:{number}\"\n");
    }
    let mut tags = "name,station,type,address\n".to_owned();
    for number in 0..20_000 {
        tags += &format!("t{number},missing{number},TxtI,IN_DATA\n");
    }
    let files = [("tagline.toml", main), ("stations/a.toml", &stations), ("tags/a.csv", &tags)];
    let folder = write(&files);
    assert_eq!(load(folder.path()).unwrap_err().len(), 20_000);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Damage to a text: what is put in place of which part.
    fn damage() -> impl Strategy<Value = (usize, prop::sample::Index, usize, Vec<u8>)> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            prop::sample::select(vec![
                "\"",
                "'",
                "\n",
                "=",
                "[",
                "]",
                "{",
                "}",
                ",",
                "#",
                "[[line]]",
                "name",
                "\"\"\"",
                "-1",
                "1e400",
                "99999999999999999999999999999999999999999999",
                "nan",
                "\u{feff}",
                "é",
                "\\u0000",
                "\\",
                "::",
                "*",
                "(",
                "true",
                "1979-05-27",
                "a.b.c = 1\n",
            ])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        ];
        (0..3_usize, any::<prop::sample::Index>(), 0..6_usize, piece)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn damaged_files_give_diagnostics_inside_them(damages in prop::collection::vec(damage(), 1..4)) {
            let tags = "name,station,type,address,scale,description\n\
                        t,pump1,Ai,JA=a.b[1],0.5,\"x, y\"\nu,pump1,Di,JA=c,,\n";
            let mut texts =
                [SAMPLE.as_bytes().to_vec(), SAMPLE_STATION.as_bytes().to_vec(), tags.into()];
            for (file, index, length, piece) in damages {
                let text = &mut texts[file];
                let start = index.index(text.len() + 1).min(text.len());
                let end = (start + length).min(text.len());
                text.splice(start..end, piece);
            }
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in ["tagline.toml", "stations/a.toml", "tags/a.csv"].iter().zip(&texts) {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            if let Err(diagnostics) = load(folder.path()) {
                check_places(folder.path(), &diagnostics);
                render(&diagnostics, false);
            }
        }

        #[test]
        fn random_bytes_give_diagnostics_inside_them(
            main in prop::collection::vec(any::<u8>(), 0..80),
            tags in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("tags")).unwrap();
            fs::write(folder.path().join("tagline.toml"), &main).unwrap();
            fs::write(folder.path().join("tags/a.csv"), &tags).unwrap();
            let diagnostics = load(folder.path()).expect_err("a header row is hardly random");
            check_places(folder.path(), &diagnostics);
            render(&diagnostics, false);
        }
    }
}
