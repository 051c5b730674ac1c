//! What mapping costs: a station with 500 JA tags on one message of 20 kB, against parsing that
//! message alone; and a small message.
//!
//! `cargo bench --bench mapping`. A line is a case: median of rounds, nanoseconds per message.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use serde::de::IgnoredAny;
use tagline::config;
use tagline::iotag::mapping::{InMessage, StationPlan};
use tagline::iotag::{TagId, Timestamp};

const ROUNDS: usize = 15;

fn main() {
    let names = ["temperature", "pressure", "flow", "level", "speed"];
    let mut document = String::from("{\"time\":1744858463");
    let mut tags = String::from("name,station,type,address\n");
    for group in 0..100 {
        let _ = write!(
            document,
            ",\"unit{group:03}\":{{\"description\":\"a unit of the plant, number {group}, as it is\",\"site\":{{\"name\":\"north\",\"row\":{group}}}"
        );
        for (number, name) in names.iter().enumerate() {
            let _ = write!(document, ",\"{name}\":1{group}{number}.25");
            let _ = writeln!(tags, "t{group}.{number},s,Ai,JA=unit{group:03}.{name}");
        }
        document.push('}');
    }
    document.push('}');
    let plan = plan(&tags);
    println!("message of {} bytes, 500 JA tags", document.len());
    let parse = measure(|| {
        black_box(serde_json::from_str::<IgnoredAny>(black_box(&document)).is_ok());
    });
    println!("  one streaming parse (IgnoredAny)   {parse:>8.0} ns");
    let dom = measure(|| {
        black_box(serde_json::from_str::<serde_json::Value>(black_box(&document)).is_ok());
    });
    println!("  a document in memory (Value)       {dom:>8.0} ns");
    let mapped = measure(|| map(&plan, &document, 500));
    println!("  mapping                            {mapped:>8.0} ns, {:.2} parses", mapped / parse);

    let small = r#"{"time":1744858463,"device":"pump 1","value":{"temperature":21.5,"pressure":3.1,"on":true}}"#;
    let plan = self::plan(
        "name,station,type,address\na,s,Ai,JA=value.temperature\nb,s,Ai,JA=value.pressure\nc,s,Di,JA=value.on\nd,s,TxtI,JA=device\n",
    );
    let mapped = measure(|| map(&plan, small, 4));
    println!("message of {} bytes, 4 JA tags and a time: {mapped:.0} ns", small.len());
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

fn measure(mut run: impl FnMut()) -> f64 {
    let mut rounds = [0.0; ROUNDS];
    for round in &mut rounds {
        let begun = Instant::now();
        let mut runs = 0_u32;
        while runs < 16 || begun.elapsed().as_millis() < 20 {
            run();
            runs += 1;
        }
        *round = begun.elapsed().as_nanos() as f64 / f64::from(runs);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}
