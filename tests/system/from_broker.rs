//! Messages of Debian's mosquitto on their way to tags.

use serde_json::{Value as Json, json};

use crate::harness::{Config, Driver, Mosquitto};

/// A text station with all that describes the message.
fn text_station(config: Config) -> Config {
    config.station("text", "plant/text", "payload_type = \"text\"").tags(
        "text.topic,text,TxtI,IN_TOPIC
         text.data,text,TxtI,IN_DATA
         text.id,text,Ci,IN_ID
         text.level,text,TxtI,TL=2",
    )
}

#[test]
fn messages_of_every_qos_arrive_with_topic_data_and_id() {
    let broker = Mosquitto::start();
    let config = text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let driver = Driver::start(&config);
    driver.up();
    for qos in 0..=2 {
        broker.publish("plant/text", format!("at QoS {qos}"), qos);
        driver.has("text.data", format!("at QoS {qos}"), "ok");
        let id = driver.read("text.id")["value"].as_u64().unwrap();
        assert_eq!(id == 0, qos == 0, "IN_ID is 0 at QoS 0 only, it is {id} at QoS {qos}");
        assert_eq!(driver.read("text.topic")["value"], "plant/text");
        assert_eq!(driver.read("text.level")["value"], "text");
    }
    let tag = driver.read("text.data");
    assert_eq!(tag["quality"], "good");
    assert_eq!(tag["time"], tag["received"], "without a time field the receive time counts");
    assert_eq!(driver.line("plant")["counters"]["messages_received"], 3);
    assert_eq!(driver.station("text")["counters"]["messages"], 3);
    assert_eq!(driver.station("text")["state"], "StON");
}

#[test]
fn topic_data_and_id_change_in_this_order() {
    let broker = Mosquitto::start();
    let config = text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let driver = Driver::start(&config);
    driver.up();
    let mut changes = driver.subscribe(&["text.*"], Json::Null);
    broker.publish_lines("plant/text", "one\ntwo\n", 2);
    changes
        .until("both messages", |all| all.iter().filter(|c| c["name"] == "text.data").count() == 2);
    changes.until("all tags of both", |all| all.len() == 8);
    let names: Vec<&str> = changes.all.iter().map(|c| c["name"].as_str().unwrap()).collect();
    let once = ["text.topic", "text.data", "text.id", "text.level"];
    assert_eq!(names, [once, once].concat());
    let seqs: Vec<u64> = changes.all.iter().map(|c| c["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
}

#[test]
fn a_json_station_fills_tags_of_every_input_type_with_the_time_of_its_field() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "subscribe_qos = 2")
        .station(
            "meter",
            "plant/meter",
            "payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"RFC3339\"",
        )
        .tags(
            r#"m.ai,meter,Ai,JA=a.real
               m.ci,meter,Ci,JA=a.count
               m.di,meter,Di,JA=list[2].on
               m.qi,meter,Qi,JA=state
               m.txt,meter,TxtI,"JA=""dotted.key"""
               m.tir,meter,TiR,JA=span
               m.tia,meter,TiA,JA=due
               m.whole,meter,TxtI,IN_DATA"#,
        );
    let driver = Driver::start(&config);
    driver.up();
    for qos in 0..=2u8 {
        let count = 9_007_199_254_740_993_u64 + u64::from(qos);
        let payload = format!(
            r#"{{"t":"2025-03-04T05:06:07.12345678{qos}+01:00","a":{{"real":-12.5e-1,"count":{count}}},
               "list":[{{"on":false}},{{"on":true}}],"state":"trans","dotted.key":"žluťoučký kůň",
               "span":"01:02:03.5","due":"2030-01-01T00:00:00Z"}}"#
        );
        broker.publish("plant/meter", &payload, qos);
        let ci = driver.has("m.ci", count, "ok");
        let time = format!("2025-03-04T04:06:07.12345678{qos}");
        assert_eq!(ci["time"], format!("{}Z", time.trim_end_matches('0')));
        assert_eq!(driver.read("m.whole")["value"], payload);
    }
    for (name, value) in [
        ("m.ai", json!(-1.25)),
        ("m.di", json!(true)),
        ("m.qi", json!("trans")),
        ("m.txt", json!("žluťoučký kůň")),
        ("m.tir", json!(3723.5)),
        ("m.tia", json!("2030-01-01T00:00:00Z")),
    ] {
        let tag = driver.read(name);
        assert_eq!(tag["value"], value, "{tag}");
        assert_eq!(tag["quality"], "good");
    }
}

#[test]
fn a_retained_message_arrives_at_the_first_connect() {
    let broker = Mosquitto::start();
    broker.publish_retained("plant/text", "kept", 1);
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    driver.has("text.data", "kept", "ok");
}

#[test]
fn an_empty_payload_is_an_empty_text() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    driver.up();
    assert_eq!(driver.read("text.data")["reason"], "never_received");
    broker.publish("plant/text", "", 1);
    driver.has("text.data", "", "ok");
}

#[test]
fn every_message_is_a_change_even_with_an_equal_value() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    driver.up();
    let mut changes = driver.subscribe(&["text.data"], Json::Null);
    broker.publish_lines("plant/text", &"same\n".repeat(50), 1);
    changes.until("fifty changes", |all| all.len() >= 50);
    assert_eq!(changes.values_of("text.data"), vec![json!("same"); 50]);
}

#[test]
fn several_lines_work_side_by_side() {
    let (first, second) = (Mosquitto::start(), Mosquitto::start());
    let station = |name: &str, line: &str| {
        format!("[[station]]\nname = \"{name}\"\nline = \"{line}\"\naddress = \"plant/text\"\n")
    };
    let config = Config::new()
        .line_named("one", first.port, "")
        .line_named("two", second.port, "")
        .stations(&(station("a", "one") + &station("b", "two")))
        .tags("a.data,a,TxtI,IN_DATA\nb.data,b,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    driver.line_is("one", "up");
    driver.line_is("two", "up");
    first.publish("plant/text", "first", 1);
    second.publish("plant/text", "second", 1);
    driver.has("a.data", "first", "ok");
    driver.has("b.data", "second", "ok");
    drop(second);
    driver.has("b.data", "second", "line_down");
    first.publish("plant/text", "still there", 1);
    driver.has("a.data", "still there", "ok");
}

#[test]
fn a_station_may_subscribe_to_its_own_address() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "topic_filter = \"nothing/at/all\"")
        .station("own", "plant/own", "subscribe_address = true")
        .station("other", "plant/other", "")
        .tags("own.data,own,TxtI,IN_DATA\nother.data,other,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/other", "not subscribed", 1);
    broker.publish("plant/own", "subscribed", 1);
    driver.has("own.data", "subscribed", "ok");
    assert_eq!(driver.read("other.data")["reason"], "never_received");
    let filters = driver.line("plant")["subscriptions"].clone();
    assert_eq!(
        filters,
        json!([{ "filter": "nothing/at/all", "qos": 1 }, { "filter": "plant/own", "qos": 1 }])
    );
}
