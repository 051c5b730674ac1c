//! What mapping costs: stations with 500 JA tags on one message of 20 kB, against parsing that message
//! alone; and a small message.
//!
//! `cargo bench --bench mapping`. A line is a case: the best of many rounds, nanoseconds per message,
//! and how many times the streaming parse of the same message that is. The rounds of the cases take
//! turns, so what else runs on the machine troubles all of them alike.
//!
//! `-- CASE COUNT` runs one case COUNT times and nothing else, for tools that count instructions.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use serde::de::IgnoredAny;
use tagline::config;
use tagline::iotag::mapping::{InMessage, StationPlan};
use tagline::iotag::{TagId, Timestamp};

const ROUNDS: usize = 101;

/// What a visitor at least costs that takes the 500 numbers: the names are known when it is compiled.
#[derive(serde::Deserialize)]
struct Unit {
    temperature: f64,
    pressure: f64,
    flow: f64,
    level: f64,
    speed: f64,
}

struct Typed(f64);

impl<'de> serde::Deserialize<'de> for Typed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TypedVisitor)
    }
}

struct TypedVisitor;

impl<'de> serde::de::Visitor<'de> for TypedVisitor {
    type Value = Typed;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Typed, A::Error> {
        let mut sum = 0.0;
        while let Some(name) = map.next_key::<&str>()? {
            if name == "time" {
                sum += map.next_value::<f64>()?;
            } else {
                let unit: Unit = map.next_value()?;
                sum += unit.temperature + unit.pressure + unit.flow + unit.level + unit.speed;
            }
        }
        Ok(Typed(sum))
    }
}

type Case<'a> = (&'a str, Box<dyn Fn() + 'a>);

fn main() {
    let (document, tags) = plant("");
    let (spaced, _) = plant(" ");
    let reals = plan(&tags);
    let texts = plan(&tags.replace(",Ai,", ",TxtI,"));
    let shuffled = {
        let mut rows: Vec<&str> = tags.lines().collect();
        rows[1..].sort_unstable_by_key(|row| row.bytes().rev().collect::<Vec<u8>>());
        plan(&(rows.join("\n") + "\n"))
    };
    let (elements, element_tags) = array();
    let elements_plan = plan(&element_tags);
    let (keyed_plan, every_plan, path_plan) = (
        plan(&keyed_tags()),
        plan("name,station,type,address\nt,s,Ai,JA=d[].value\n"),
        plan("name,station,type,address\nt,s,Ai,JP=$.d[*].value\n"),
    );
    let escaped = document.replacen("description", "d\\u0065scription", 1);
    let small = r#"{"time":1744858463,"device":"pump 1","value":{"temperature":21.5,"pressure":3.1,"on":true}}"#;
    let small_plan = plan(
        "name,station,type,address\na,s,Ai,JA=value.temperature\nb,s,Ai,JA=value.pressure\nc,s,Di,JA=value.on\nd,s,TxtI,JA=device\n",
    );
    let groups: [(&str, &str, Vec<Case<'_>>); 4] = [
        (
            "500 tags, nested objects",
            &document,
            vec![
                ("typed", Box::new(|| typed(&document))),
                ("document", Box::new(|| in_memory(&document))),
                ("mapping", Box::new(|| map(&reals, &document, 500))),
                ("shuffled-tags", Box::new(|| map(&shuffled, &document, 500))),
                ("text-tags", Box::new(|| map(&texts, &document, 500))),
                ("escaped-name", Box::new(|| map(&reals, &escaped, 500))),
            ],
        ),
        ("the same with blanks", &spaced, vec![("blanks", Box::new(|| map(&reals, &spaced, 500)))]),
        (
            "500 tags, elements of an array",
            &elements,
            vec![
                ("elements", Box::new(|| map(&elements_plan, &elements, 500))),
                ("keyed", Box::new(|| map(&keyed_plan, &elements, 500))),
                ("every", Box::new(|| map(&every_plan, &elements, 500))),
                ("json-path", Box::new(|| map(&path_plan, &elements, 500))),
            ],
        ),
        (
            "4 tags and the time, small",
            small,
            vec![("small", Box::new(|| map(&small_plan, small, 4)))],
        ),
    ];
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [wanted, count] = arguments.as_slice() {
        let count: u32 = count.parse().expect("a count");
        let parse = || parsed(&document);
        let all = groups.iter().flat_map(|(_, _, cases)| cases);
        let case = all.into_iter().find(|(name, _)| name == wanted);
        for _ in 0..count {
            case.map_or_else(parse, |(_, run)| run());
        }
        return;
    }
    for (title, document, cases) in groups {
        println!("{title}: message of {} bytes", document.len());
        let mut best = vec![f64::INFINITY; cases.len() + 1];
        for _ in 0..ROUNDS {
            best[0] = best[0].min(measure(&|| parsed(document)));
            for ((_, run), best) in cases.iter().zip(&mut best[1..]) {
                *best = best.min(measure(run));
            }
        }
        println!("  {:<16}{:>8.0} ns", "streaming parse", best[0]);
        for ((name, _), time) in cases.iter().zip(&best[1..]) {
            println!("  {name:<16}{time:>8.0} ns  {:.2}", time / best[0]);
        }
    }
}

/// Units with five measured values each, and what else is in such documents.
fn plant(blank: &str) -> (String, String) {
    let names = ["temperature", "pressure", "flow", "level", "speed"];
    let mut document = format!("{{\"time\":{blank}1744858463");
    let mut tags = String::from("name,station,type,address\n");
    for group in 0..100 {
        let _ = write!(
            document,
            ",{blank}\"unit{group:03}\":{blank}{{\"description\":{blank}\"a unit of the plant, number {group}, as it is\",{blank}\"site\":{blank}{{\"name\":{blank}\"north\",{blank}\"row\":{blank}{group}}}"
        );
        for (number, name) in names.iter().enumerate() {
            let _ = write!(document, ",{blank}\"{name}\":{blank}1{group}{number}.25");
            let _ = writeln!(tags, "t{group}.{number},s,Ai,JA=unit{group:03}.{name}");
        }
        document.push('}');
    }
    document.push('}');
    (document, tags)
}

/// The same as elements of an array.
fn array() -> (String, String) {
    let mut document = String::from("{\"time\":1744858463,\"d\":[");
    let mut tags = String::from("name,station,type,address\n");
    for number in 1..=500 {
        let comma = if number > 1 { "," } else { "" };
        let _ = write!(document, "{comma}{{\"tag\":\"AI{number}\",\"value\":{number}.5}}");
        let _ = writeln!(tags, "t{number},s,Ai,JA=d[{number}].value");
    }
    document.push_str("]}");
    (document, tags)
}

/// The same elements by what stands in them.
fn keyed_tags() -> String {
    let mut tags = String::from("name,station,type,address\n");
    for number in 1..=500 {
        let _ = writeln!(tags, "t{number},s,Ai,JA=d[tag=AI{number}].value");
    }
    tags
}

fn parsed(document: &str) {
    let outcome = serde_json::from_str::<IgnoredAny>(black_box(document));
    assert!(black_box(outcome).is_ok());
}

fn typed(document: &str) {
    black_box(serde_json::from_str::<Typed>(black_box(document)).expect("a plant").0);
}

fn in_memory(document: &str) {
    let document: serde_json::Value = serde_json::from_str(black_box(document)).expect("valid");
    black_box(document);
}

fn map(plan: &StationPlan, document: &str, expected: usize) {
    let message = InMessage {
        topic: "site/pump",
        payload: black_box(document.as_bytes()),
        content_type: None,
        packet_id: 1,
        received: Timestamp::UNIX_EPOCH,
    };
    let mut updates = Vec::with_capacity(expected);
    let report = plan.map(&message, &mut updates);
    assert_eq!((updates.len(), report.bad_payload), (expected, None));
    black_box(updates);
}

fn plan(tags: &str) -> StationPlan {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("tagline.toml", "[[line]]\nname = \"l\"\nservers = [\"mqtt://127.0.0.1\"]\n");
    write(
        "stations/s.toml",
        "[[station]]\nname = \"s\"\nline = \"l\"\naddress = \"#\"\npayload_type = \"json\"\ntime_field_name = \"time\"\ntime_mask = \"UNIX\"\n",
    );
    write("tags/s.csv", tags);
    let config = config::load(folder.path()).expect("a good configuration");
    let tags = (0..).zip(&config.tags).map(|(id, tag)| (TagId(id), tag));
    StationPlan::compile(&config.stations[0], tags)
}

fn measure(run: &dyn Fn()) -> f64 {
    let begun = Instant::now();
    let mut runs = 0_u32;
    while runs < 16 || begun.elapsed().as_micros() < 1000 {
        run();
        runs += 1;
    }
    begun.elapsed().as_nanos() as f64 / f64::from(runs)
}
