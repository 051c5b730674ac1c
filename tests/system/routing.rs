//! Which station takes a topic.

use serde_json::json;

use crate::harness::{Config, Driver, Mosquitto};

/// Stations by address, each with its last topic, and which of them must take each topic.
#[track_caller]
fn routes(addresses: &[&str], topics: &[(&str, Option<&str>)]) {
    let broker = Mosquitto::start();
    let mut config = Config::new().line(broker.port, "");
    for (number, address) in addresses.iter().enumerate() {
        let name = format!("s{number}");
        config =
            config.station(&name, address, "").tags(&format!("{name}.topic,{name},TxtI,IN_TOPIC"));
    }
    let driver = Driver::start(&config);
    driver.up();
    let mut unrouted = 0;
    for (topic, expected) in topics {
        let before: Vec<u64> =
            (0..addresses.len()).map(|number| messages(&driver, number)).collect();
        broker.publish(topic, "x", 1);
        match expected {
            Some(address) => {
                let number = addresses.iter().position(|known| known == address).unwrap();
                driver.has(&format!("s{number}.topic"), *topic, "ok");
                let after: Vec<u64> =
                    (0..addresses.len()).map(|number| messages(&driver, number)).collect();
                let mut expected = before;
                expected[number] += 1;
                assert_eq!(after, expected, "`{topic}` goes to `{address}` and nowhere else");
            }
            None => {
                unrouted += 1;
                crate::harness::eventually(&format!("`{topic}` is counted as unrouted"), || {
                    let counters = driver.line("plant")["counters"].clone();
                    (counters["messages_unrouted"] == unrouted).then_some(())
                });
                assert_eq!(driver.line("plant")["last_unrouted_topic"], *topic);
            }
        }
    }
}

fn messages(driver: &Driver, number: usize) -> u64 {
    driver.station(&format!("s{number}"))["counters"]["messages"].as_u64().unwrap()
}

#[test]
fn a_station_with_the_address_hash_takes_everything() {
    routes(
        &["#", "plant/a", "plant/.*"],
        &[("plant/a", Some("#")), ("plant/b", Some("#")), ("x", Some("#"))],
    );
}

#[test]
fn exact_comes_before_filters_before_expressions_before_the_rest() {
    routes(
        &[
            ".*",
            "plant/a",
            "filter:plant/+",
            "filter:plant/+/b",
            "filter:plant/#",
            "plant/[a-z]+/deep",
            "plan.*",
            "other/.*",
        ],
        &[
            ("plant/a", Some("plant/a")),
            ("plant/b", Some("filter:plant/+")),
            ("plant/x/b", Some("filter:plant/+/b")),
            ("plant/x/deep", Some("filter:plant/#")),
            ("plant", Some("filter:plant/#")),
            ("planet", Some("plan.*")),
            ("other/x", Some("other/.*")),
            ("nothing", Some(".*")),
        ],
    );
}

#[test]
fn expressions_are_tried_in_descending_order_over_the_whole_topic() {
    routes(
        &["pump/.*", "pump/1.*", "p.*", "tank"],
        &[
            ("pump/1", Some("pump/1.*")),
            ("pump/12", Some("pump/1.*")),
            ("pump/2", Some("pump/.*")),
            ("pumps", Some("p.*")),
            // The whole topic, not a part of it.
            ("my/pump/1", None),
            ("tank/1", None),
        ],
    );
}

#[test]
fn exact_and_regex_allow_only_that_reading() {
    routes(
        &["exact:a.c", "regex:x.z", "exact:a/(b", "a+b"],
        &[
            ("a.c", Some("exact:a.c")),
            ("abc", None),
            ("xyz", Some("regex:x.z")),
            ("a/(b", Some("exact:a/(b")),
            ("aab", Some("a+b")),
        ],
    );
}

#[test]
fn topics_are_compared_byte_by_byte() {
    routes(
        &["plant/a", "plant/A", "/plant/a", "plant/a/", "plant/žluť"],
        &[
            ("plant/A", Some("plant/A")),
            ("/plant/a", Some("/plant/a")),
            ("plant/a/", Some("plant/a/")),
            ("plant/žluť", Some("plant/žluť")),
            ("PLANT/a", None),
        ],
    );
}

#[test]
fn twenty_thousand_stations_are_an_ordinary_configuration() {
    let broker = Mosquitto::start();
    let mut config = Config::new().line(broker.port, "");
    let mut stations = String::new();
    for number in 0..20_000 {
        stations.push_str(&format!(
            "[[station]]\nname = \"s{number}\"\nline = \"plant\"\naddress = \"site/{number}/data\"\n"
        ));
    }
    config = config.stations(&stations).tags("last,s19999,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    driver.up();
    broker.publish_lines(
        "site/19999/data",
        &(1..=1000).map(|n| format!("{n}\n")).collect::<String>(),
        1,
    );
    driver.has("last", "1000", "ok");
    assert_eq!(driver.call("process.status", json!({}))["stations"]["total"], 20_000);
}
