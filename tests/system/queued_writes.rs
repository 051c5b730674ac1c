//! Writes of stations that queue: kept while their line is down, sent in order when it is back, never
//! twice, over restarts of everything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, Publish};
use crate::harness::{
    Config, Driver, FakeBroker, Link, ModelBroker, Mosquitto, Next, PATIENCE, Random, Socket,
    Subscriber, eventually,
};

/// A station `valve` with one OUT_VALUE that queues.
fn plant(port: u16, qos: u8, line: &str, station: &str) -> Config {
    Config::new()
        .line(port, &format!("publish_qos = {qos}\n{line}"))
        .station(
            "valve",
            "status/valve",
            &format!("out_topic = \"cmd/valve\"\nwrite_when_offline = \"queue\"\n{station}"),
        )
        .tags("valve.value,valve,Co,OUT_VALUE")
}

/// Writes a value that must be queued: its number.
#[track_caller]
fn queue(socket: &mut Socket, name: &str, value: impl Into<Json>) -> u64 {
    let writes = json!([{ "name": name, "value": value.into() }]);
    let result = socket.call("tag.write", json!({ "writes": writes }))["results"][0].take();
    assert_eq!(result["outcome"], "queued", "{result}");
    assert_eq!(result["name"], name);
    assert!(result["error"].is_null() && result["elapsed_ms"].is_u64(), "{result}");
    result["write"].as_u64().expect("a number")
}

/// Starts the broker again, with somebody who listens before the driver is back.
fn listening(driver: &Driver, broker: &mut Mosquitto, qos: u8) -> Subscriber {
    driver.frozen(|| {
        broker.start_again();
        broker.subscribe("cmd/#", qos)
    })
}

#[track_caller]
fn status(driver: &Driver, write: u64) -> Json {
    let result = driver.call("write.status", json!({ "writes": [write] }))["results"][0].take();
    assert_eq!(result["write"], write, "{result}");
    result
}

/// Waits until a queued write has ended like this.
#[track_caller]
fn ends(driver: &Driver, write: u64, outcome: &str) -> Json {
    let ended = eventually("the queued write ends", || {
        let status = status(driver, write);
        (status["outcome"] != "queued").then_some(status)
    });
    assert_eq!(ended["outcome"], outcome, "{ended}");
    ended
}

/// The next connection that lives; those that a killed process left behind are passed over.
#[track_caller]
fn live_session(broker: &FakeBroker, session_present: bool) -> Link {
    loop {
        let mut link = broker.accept();
        let Next::Packet(Packet::Connect(_)) = link.next_within(PATIENCE) else { continue };
        let connack = link.will_send(&Packet::Connack { session_present, code: 0 });
        if !link.try_send_bytes(&connack) {
            continue;
        }
        // Without a session SUBSCRIBE is the first packet.
        let Next::Packet(Packet::Subscribe { id, filters }) = link.next_within(PATIENCE) else {
            continue;
        };
        let codes = filters.iter().map(|(_, qos)| *qos).collect();
        let suback = link.will_send(&Packet::Suback { id, codes });
        if link.try_send_bytes(&suback) {
            return link;
        }
    }
}

#[test]
fn queued_writes_go_out_in_order_when_the_line_is_back() {
    for qos in 0..=2 {
        let mut broker = Mosquitto::start();
        let driver = Driver::start(&plant(broker.port, qos, "", ""));
        driver.up();
        assert_eq!(driver.write("valve.value", 0)["outcome"], "completed");
        broker.stop();
        driver.line_is("plant", "connecting");
        let mut socket = driver.socket();
        let writes: Vec<u64> =
            (1..=30).map(|value| queue(&mut socket, "valve.value", value)).collect();
        assert!(writes.is_sorted_by(|one, next| one < next), "{writes:?}");
        assert_eq!(driver.read("valve.value")["value"], 0, "not current until completed");
        assert_eq!(driver.station("valve")["queued_writes"], 30);
        assert_eq!(status(&driver, writes[0])["outcome"], "queued");
        let wakes = broker.port;
        let live = listening(&driver, &mut broker, 2);
        let received = live.wait_for(30);
        let payloads: Vec<String> = received.into_iter().map(|m| m.payload).collect();
        let all: Vec<String> = (1..=30).map(|value| value.to_string()).collect();
        assert_eq!(payloads, all, "QoS {qos}, port {wakes}");
        driver.has("valve.value", 30, "ok");
        // The client hears of each end, once, in order.
        for (write, value) in writes.iter().zip(1..) {
            let told = socket.notification_within(Duration::from_secs(30)).expect("an end");
            assert_eq!(told["method"], "write.finished", "{told}");
            let params = &told["params"];
            assert_eq!(params["write"], *write, "value {value}");
            assert_eq!(
                (&params["name"], &params["outcome"]),
                (&json!("valve.value"), &json!("completed"))
            );
            assert!(params["error"].is_null());
            ends(&driver, *write, "completed");
        }
        assert_eq!(driver.station("valve")["queued_writes"], 0);
        assert_eq!(driver.write("valve.value", 31)["outcome"], "completed");
    }
}

#[test]
fn queued_writes_outlive_kills_with_their_order_and_numbers() {
    for qos in 0..=2 {
        let mut broker = Mosquitto::start();
        let mut driver = Driver::start(&plant(broker.port, qos, "", ""));
        driver.up();
        broker.stop();
        driver.line_is("plant", "connecting");
        let mut writes = Vec::new();
        for round in 0..3 {
            let mut socket = driver.socket();
            let values = round * 10 + 1..=round * 10 + 10;
            writes.extend(values.map(|value| queue(&mut socket, "valve.value", value)));
            driver.kill();
            driver.restart();
            assert_eq!(driver.station("valve")["queued_writes"], writes.len());
        }
        assert!(writes.is_sorted_by(|one, next| one < next), "never reused: {writes:?}");
        assert_eq!(status(&driver, writes[0])["name"], "valve.value");
        let live = listening(&driver, &mut broker, 2);
        let received = live.wait_for(30);
        let payloads: Vec<String> = received.into_iter().map(|m| m.payload).collect();
        let all: Vec<String> = (1..=30).map(|value| value.to_string()).collect();
        assert_eq!(payloads, all, "QoS {qos}");
        for write in &writes {
            ends(&driver, *write, "completed");
        }
        driver.has("valve.value", 30, "ok");
        // Ends are known over a restart, too.
        driver.kill();
        driver.restart();
        ends(&driver, writes[29], "completed");
        assert!(status(&driver, writes[29] + 1)["error"]["code"].is_i64());
        assert_eq!(live.received().len(), 30);
    }
}

#[test]
fn what_was_in_flight_at_a_kill_is_finished_by_the_session_and_sets_its_tag() {
    // A direct write, and one that was queued before.
    for queued in [false, true] {
        for qos in [1, 2] {
            let broker = FakeBroker::start();
            let station = if queued { "" } else { "publish_retain = false" };
            let mut config = plant(broker.port, qos, "", station);
            if !queued {
                config = Config::new()
                    .line(broker.port, &format!("publish_qos = {qos}"))
                    .station("valve", "status/valve", "out_topic = \"cmd/valve\"")
                    .tags("valve.value,valve,Co,OUT_VALUE");
            }
            let mut driver = Driver::start(&config);
            let mut write = None;
            if queued {
                write = Some(queue(&mut driver.socket(), "valve.value", 7));
            }
            let mut link = broker.accept_session(false);
            if !queued {
                driver.up();
                let writes = json!([{ "name": "valve.value", "value": 7 }]);
                driver.socket().request("tag.write", json!({ "writes": writes }));
            }
            let first = link.expect_publish();
            assert_eq!((first.dup, first.qos), (false, qos));
            driver.kill();
            drop(link);
            driver.spawn();
            let mut link = broker.accept_session(true);
            let again = link.expect_publish();
            assert_eq!(again, Publish { dup: true, ..first.clone() }, "by the session only");
            eventually("the socket answers", || Socket::connect(&driver.socket_path()).ok());
            assert_ne!(driver.read("valve.value")["value"], 7, "not before it is completed");
            if qos == 1 {
                link.send(&Packet::Puback(first.id));
            } else {
                link.send(&Packet::Pubrec(first.id));
                link.expect(&Packet::Pubrel(first.id));
                link.send(&Packet::Pubcomp(first.id));
            }
            let tag = driver.has("valve.value", 7, "ok");
            assert_eq!(tag["quality"], "good");
            driver.logs(&["INFO", "earlier process", "Completed"]);
            link.expect_silence(Duration::from_millis(200));
            if let Some(write) = write {
                ends(&driver, write, "completed");
            }
        }
    }
}

#[test]
fn documents_carry_what_was_in_flight_at_a_kill() {
    let broker = FakeBroker::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station("doc", "status/doc", "payload_type = \"json\"\nout_topic = \"cmd/doc\"")
        .tags("doc.a,doc,Co,JA=a\ndoc.b,doc,Co,JA=b");
    let mut driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let write = |name: &str, value: i64| json!({ "writes": [{ "name": name, "value": value }] });
    driver.socket().request("tag.write", write("doc.a", 1));
    link.expect_publish();
    driver.kill();
    drop(link);
    driver.restart();
    let mut link = broker.accept_session(true);
    driver.up();
    let again = link.expect_publish();
    assert!(again.dup);
    let mut socket = driver.socket();
    socket.request("tag.write", write("doc.b", 2));
    let second = link.expect_publish();
    let document: Json = serde_json::from_slice(&second.payload).unwrap();
    assert_eq!((&document["a"], &document["b"]), (&json!(1), &json!(2)), "{document}");
    link.send_all(&[Packet::Puback(again.id), Packet::Puback(second.id)]);
    driver.has("doc.a", 1, "ok");
    driver.has("doc.b", 2, "ok");
}

#[test]
fn a_write_expires_in_the_queue_and_over_a_restart() {
    let broker = FakeBroker::start();
    let mut driver = Driver::start(&plant(broker.port, 1, "", "write_expiry = \"300ms\""));
    let mut socket = driver.socket();
    let write = queue(&mut socket, "valve.value", 1);
    let told = socket.notification_within(Duration::from_secs(30)).expect("an end");
    let params = &told["params"];
    assert_eq!((&params["write"], &params["outcome"]), (&json!(write), &json!("failed")), "{told}");
    assert!(params["error"]["message"].as_str().unwrap().contains("expired"), "{told}");
    let ended = ends(&driver, write, "failed");
    assert!(ended["error"]["message"].as_str().unwrap().contains("expired"), "{ended}");
    driver.logs(&["WARN", "valve", "expired"]);
    let second = queue(&mut socket, "valve.value", 2);
    driver.kill();
    std::thread::sleep(Duration::from_millis(300));
    driver.restart();
    ends(&driver, second, "failed");
    let mut link = live_session(&broker, false);
    driver.up();
    link.expect_silence(Duration::from_millis(300));
    assert_eq!(driver.read("valve.value")["reason"], "never_received");
    assert_eq!(driver.station("valve")["queued_writes"], 0);
}

#[test]
fn a_later_write_does_not_overtake_those_that_are_queued_or_uncertain() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&plant(broker.port, 1, "", ""));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "valve.value", "value": 1 }], "timeout_s": 0.3 });
    let first = socket.request("tag.write", write);
    let sent = link.expect_publish();
    drop(link);
    let result = socket.answer(first).unwrap()["results"][0].take();
    assert_eq!(result["outcome"], "uncertain", "{result}");
    driver.line_is("plant", "connecting");
    queue(&mut socket, "valve.value", 2);
    queue(&mut socket, "valve.value", 3);
    // The server takes its time with the filters: nothing but what the session has goes out before.
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: true, code: 0 });
    let mut packets = vec![link.next(), link.next()];
    link.expect_silence(Duration::from_millis(200));
    let position = packets.iter().position(|packet| matches!(packet, Packet::Subscribe { .. }));
    let Packet::Subscribe { id, filters } = packets.remove(position.expect("SUBSCRIBE")) else {
        unreachable!()
    };
    let Packet::Publish(again) = packets.remove(0) else { panic!("expected PUBLISH") };
    assert_eq!(again, Publish { dup: true, ..sent });
    // While some are queued, one more goes behind them.
    queue(&mut socket, "valve.value", 4);
    link.send(&Packet::Suback { id, codes: filters.iter().map(|(_, qos)| *qos).collect() });
    link.send(&Packet::Puback(again.id));
    let payloads: Vec<Vec<u8>> = (0..3).map(|_| link.expect_publish().payload).collect();
    assert_eq!(payloads, [b"2", b"3", b"4"]);
}

#[test]
fn publish_in_flight_holds_for_queued_writes() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&plant(broker.port, 2, "publish_in_flight = 1", ""));
    let mut socket = driver.socket();
    for value in 1..=3 {
        queue(&mut socket, "valve.value", value);
    }
    let mut link = broker.accept_session(false);
    for value in ["1", "2", "3"] {
        let publish = link.expect_publish();
        assert_eq!(publish.payload, value.as_bytes());
        link.expect_silence(Duration::from_millis(100));
        link.send(&Packet::Pubrec(publish.id));
        link.expect(&Packet::Pubrel(publish.id));
        link.send(&Packet::Pubcomp(publish.id));
    }
    driver.has("valve.value", 3, "ok");
}

#[test]
fn several_tags_of_one_request_are_one_document_and_have_a_number_each() {
    let mut broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station(
            "doc",
            "status/doc",
            "payload_type = \"json\"\nout_topic = \"cmd/doc\"\nwrite_when_offline = \"queue\"",
        )
        .station("other", "status/other", "out_topic = \"cmd/other\"")
        .tags("doc.a,doc,Co,JA=a\ndoc.b,doc,Co,JA=b\nother.value,other,Co,OUT_VALUE");
    let driver = Driver::start(&config);
    driver.up();
    broker.stop();
    driver.line_is("plant", "connecting");
    let mut socket = driver.socket();
    let writes = json!([
        { "name": "doc.a", "value": 1 },
        { "name": "other.value", "value": 5 },
        { "name": "doc.b", "value": 2 },
    ]);
    let results = socket.call("tag.write", json!({ "writes": writes }))["results"].take();
    let outcomes: Vec<&str> =
        results.as_array().unwrap().iter().map(|r| r["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["queued", "failed", "queued"], "{results}");
    assert_eq!(results[1]["error"]["code"], -32004);
    let numbers = [results[0]["write"].as_u64().unwrap(), results[2]["write"].as_u64().unwrap()];
    assert_ne!(numbers[0], numbers[1]);
    // A later document carries what is queued, and is frozen as it was written.
    queue(&mut socket, "doc.a", 3);
    let live = listening(&driver, &mut broker, 1);
    let received = live.wait_for(2);
    let documents: Vec<Json> =
        received.iter().map(|message| serde_json::from_str(&message.payload).unwrap()).collect();
    assert_eq!((&documents[0]["a"], &documents[0]["b"]), (&json!(1), &json!(2)));
    assert_eq!((&documents[1]["a"], &documents[1]["b"]), (&json!(3), &json!(2)));
    let mut told: Vec<(u64, String)> = (0..3)
        .map(|_| {
            let told = socket.notification_within(Duration::from_secs(30)).expect("an end");
            assert_eq!(told["params"]["outcome"], "completed", "{told}");
            let name = told["params"]["name"].as_str().unwrap().to_owned();
            (told["params"]["write"].as_u64().unwrap(), name)
        })
        .collect();
    told.sort();
    assert_eq!(told[..2], [(numbers[0], "doc.a".into()), (numbers[1], "doc.b".into())]);
    driver.has("doc.a", 3, "ok");
    driver.has("doc.b", 2, "ok");
}

#[test]
fn a_station_that_is_switched_off_keeps_its_queued_writes() {
    let broker = FakeBroker::start();
    let mut config = plant(broker.port, 1, "", "");
    let other = "out_topic = \"cmd/other\"\nwrite_when_offline = \"queue\"";
    config = config.station("other", "status/other", other).tags("other.value,other,Co,OUT_VALUE");
    let mut driver = Driver::start(&config);
    queue(&mut driver.socket(), "valve.value", 1);
    driver.call("station.set", json!({ "name": "valve", "mode": "off" }));
    // What is queued is on disk, and what came before it.
    queue(&mut driver.socket(), "other.value", 9);
    let refused = driver.write("valve.value", 2);
    assert_eq!(
        (&refused["outcome"], &refused["error"]["code"]),
        (&json!("failed"), &json!(-32003))
    );
    driver.kill();
    driver.restart();
    let mut link = live_session(&broker, false);
    driver.up();
    let publish = link.expect_publish();
    assert_eq!(publish.topic, "cmd/other");
    link.send(&Packet::Puback(publish.id));
    link.expect_silence(Duration::from_millis(200));
    assert_eq!(driver.station("valve")["queued_writes"], 1);
    driver.call("station.set", json!({ "name": "valve", "mode": "on" }));
    let publish = link.expect_publish();
    assert_eq!(publish.payload, b"1");
    link.send(&Packet::Puback(publish.id));
    driver.has("valve.value", 1, "ok");
}

/// Two lines; `valve` is on the one named.
fn two_lines(ports: &[(&str, u16)], line: &str, station: &str) -> Config {
    let config = ports.iter().fold(Config::new(), |config, (name, port)| {
        config.line_named(name, *port, "publish_qos = 1")
    });
    let stations = format!(
        "[[station]]\nname = \"valve\"\nline = \"{line}\"\naddress = \"status/valve\"\nout_topic = \"cmd/valve\"\n{station}\n"
    );
    config.stations(&stations).tags("valve.value,valve,Co,OUT_VALUE")
}

#[test]
fn queued_writes_go_with_their_station_to_another_line() {
    let mut old = Mosquitto::start();
    let new = Mosquitto::start();
    let queues = "write_when_offline = \"queue\"";
    let ports = [("old", old.port), ("new", new.port)];
    // With the line that it comes from, and without it.
    for rest in [&ports[..], &ports[1..]] {
        let driver = Driver::start(&two_lines(&ports, "old", queues));
        driver.line_is("old", "up");
        old.stop();
        driver.line_is("old", "connecting");
        driver.line_is("new", "up");
        let mut socket = driver.socket();
        let writes: Vec<u64> =
            (1..=3).map(|value| queue(&mut socket, "valve.value", value)).collect();
        let live = new.subscribe("cmd/#", 2);
        two_lines(rest, "new", queues).write(driver.folder());
        driver.call("config.reload", json!({}));
        let last = driver.write("valve.value", 4);
        assert!(["completed", "queued"].contains(&last["outcome"].as_str().unwrap()), "{last}");
        let payloads: Vec<String> =
            live.wait_for(4).into_iter().map(|message| message.payload).collect();
        assert_eq!(payloads, ["1", "2", "3", "4"]);
        for write in writes {
            let told = socket.notification_within(PATIENCE).expect("an end");
            assert_eq!(
                (&told["method"], &told["params"]["write"]),
                (&json!("write.finished"), &json!(write))
            );
            ends(&driver, write, "completed");
        }
        driver.has("valve.value", 4, "ok");
        old.start_again();
        let stray = old.subscribe("cmd/#", 2);
        old.publish("cmd/last", "last", 1);
        let stray: Vec<String> =
            stray.wait_for(1).into_iter().map(|message| message.payload).collect();
        assert_eq!(stray, ["last"], "nothing of it goes to the line before");
        assert_eq!(driver.station("valve")["queued_writes"], 0);
    }
}

#[test]
fn queued_writes_end_when_their_station_goes_and_go_on_when_it_queues_no_more() {
    let broker = FakeBroker::start();
    let ports = [("plant", broker.port)];
    let config = |queues| two_lines(&ports, "plant", queues);
    let queues = "write_when_offline = \"queue\"";
    let driver = Driver::start(&config(queues));
    let mut socket = driver.socket();
    let dropped = queue(&mut socket, "valve.value", 1);
    Config::new()
        .line(broker.port, "publish_qos = 1")
        .station("other", "status/other", "")
        .tags("other.in,other,TxtI,IN_DATA")
        .write(driver.folder());
    driver.call("config.reload", json!({}));
    let ended = ends(&driver, dropped, "failed");
    assert!(ended["error"]["message"].as_str().unwrap().contains("not configured"), "{ended}");
    config(queues).write(driver.folder());
    driver.call("config.reload", json!({}));
    let kept = queue(&mut socket, "valve.value", 2);
    config("").write(driver.folder());
    driver.call("config.reload", json!({}));
    assert_eq!(driver.write("valve.value", 3)["error"]["code"], -32004, "it queues no more");
    let mut link = live_session(&broker, false);
    let first = link.expect_publish();
    assert_eq!(first.payload, b"2");
    link.send(&Packet::Puback(first.id));
    ends(&driver, kept, "completed");
    let writes = json!([{ "name": "valve.value", "value": 4 }]);
    socket.request("tag.write", json!({ "writes": writes }));
    let next = link.expect_publish();
    assert_eq!(next.payload, b"4");
    link.send(&Packet::Puback(next.id));
    driver.has("valve.value", 4, "ok");
}

#[test]
fn an_orderly_end_leaves_queued_and_unfinished_writes_to_the_next_process() {
    let broker = FakeBroker::start();
    let mut driver =
        Driver::start(&plant(broker.port, 1, "publish_in_flight = 1", "write_expiry = \"0s\""));
    let mut socket = driver.socket();
    let writes: Vec<u64> = (1..=2).map(|value| queue(&mut socket, "valve.value", value)).collect();
    let mut link = live_session(&broker, false);
    let first = link.expect_publish();
    driver.signal("TERM");
    link.expect_end();
    drop(link);
    assert!(driver.wait().success());
    driver.restart();
    for write in &writes {
        assert_eq!(status(&driver, *write)["outcome"], "queued");
    }
    let mut link = broker.accept_session(true);
    let again = link.expect_publish();
    assert_eq!(again, Publish { dup: true, ..first });
    link.send(&Packet::Puback(again.id));
    let second = link.expect_publish();
    assert_eq!((second.dup, &second.payload[..]), (false, &b"2"[..]));
    link.send(&Packet::Puback(second.id));
    for write in &writes {
        ends(&driver, *write, "completed");
    }
}

#[test]
fn the_command_line_says_the_number_and_waits_for_the_end_if_asked_to() {
    let mut broker = Mosquitto::start();
    let driver = Driver::start(&plant(broker.port, 1, "", ""));
    driver.up();
    broker.stop();
    driver.line_is("plant", "connecting");
    let output = driver.run(["write", "valve.value", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("queued as write 1"), "{said}");
    let output = driver.run(["status"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("QUEUED"));
    let output = driver.run(["write", "--wait", "50ms", "valve.value", "2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("still queued"));
    let waiting = driver.spawn_command(["write", "--wait", "30s", "valve.value", "3"]);
    eventually("it is queued", || (driver.station("valve")["queued_writes"] == 3).then_some(()));
    broker.start_again();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("queued as write 3") && said.contains("completed in"), "{said}");
}

#[test]
fn a_write_that_cannot_be_stored_fails_and_never_comes_late() {
    let broker = FakeBroker::start();
    let config = plant(broker.port, 1, "", "")
        .station("text", "plant/text", "")
        .tags("text.data,text,TxtI,IN_DATA");
    let mut driver = Driver::prepare(&config);
    driver.file_limit = Some(6 * 1024);
    driver.restart();
    let mut socket = driver.socket();
    let filling = "x".repeat(400_000);
    // Fill the disk with queued writes of a station that has text.
    let mut stored = Vec::new();
    for value in 1.. {
        let writes = json!([{ "name": "valve.value", "value": value }]);
        let result = socket.call("tag.write", json!({ "writes": writes }))["results"][0].take();
        if result["outcome"] == "queued" {
            stored.push(value);
        } else {
            assert_eq!(result["outcome"], "failed", "{result}");
            assert_eq!(result["error"]["code"], -32004, "{result}");
            break;
        }
        assert!(value < 60, "{result}");
        if value == 3 {
            break;
        }
    }
    let mut link = broker.accept_session(false);
    for value in &stored {
        let publish = link.expect_publish();
        assert_eq!(publish.payload, value.to_string().into_bytes());
        link.send(&Packet::Puback(publish.id));
    }
    // Messages fill it up; then the line goes down.
    let mut id = 0;
    loop {
        id += 1;
        link.send(&crate::harness::packet::publish("plant/text", format!("{id} {filling}"), 1, id));
        if driver.call("process.status", json!({}))["store"]["state"] == "error" {
            break;
        }
        let _ = link.next_within(Duration::from_millis(50));
        assert!(id < 200, "the disk never got full");
    }
    drop(link);
    driver.line_is("plant", "connecting");
    let result = driver.write("valve.value", 99);
    assert_eq!(result["outcome"], "failed", "{result}");
    assert_eq!(result["error"]["code"], -32004, "{result}");
    driver.lift_file_limit();
    eventually("the store is good again", || {
        let store = driver.call("process.status", json!({}))["store"].take();
        (store["state"] == "ok").then_some(())
    });
    queue(&mut driver.socket(), "valve.value", 100);
    driver.kill();
    driver.restart();
    let mut link = live_session(&broker, false);
    let publish = loop {
        match link.next() {
            Packet::Publish(publish) => break publish,
            Packet::Subscribe { .. } | Packet::Puback(_) | Packet::Pingreq => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(publish.payload, b"100", "the one that failed must not come late");
    link.send(&Packet::Puback(publish.id));
    if let Next::Packet(Packet::Publish(publish)) = link.next_within(Duration::from_millis(200)) {
        panic!("{publish:?}");
    }
}

#[test]
fn the_server_is_told_how_long_a_write_is_good_for() {
    let mut broker = Mosquitto::start();
    let line = "mqtt_version = \"5.0\"";
    let config = plant(broker.port, 1, line, "write_expiry = \"60s\"")
        .station("plain", "status/plain", "out_topic = \"cmd/plain\"")
        .tags("plain.value,plain,Co,OUT_VALUE");
    let driver = Driver::start(&config);
    driver.up();
    broker.stop();
    driver.line_is("plant", "connecting");
    let write = queue(&mut driver.socket(), "valve.value", 1);
    std::thread::sleep(Duration::from_millis(1100));
    broker.start_again();
    let mut child = std::process::Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-V", "5", "-t", "cmd/#"])
        .args(["-q", "1", "-F", "%p %E", "-C", "3", "-W", "30"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    ends(&driver, write, "completed");
    eventually("somebody listens", || {
        driver.write("valve.value", 2);
        driver.write("plain.value", 3);
        child.try_wait().unwrap()
    });
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    for line in lines.lines() {
        match line.split_once(' ').unwrap() {
            ("1", left) => assert!((57..=59).contains(&left.parse().unwrap()), "{lines}"),
            ("2", left) => assert!((59..=60).contains(&left.parse().unwrap()), "{lines}"),
            ("3", left) => assert!(left.is_empty(), "{lines}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What a client was told of its writes, by value.
#[derive(Default)]
struct Told {
    outcomes: BTreeMap<i64, String>,
    queued: BTreeMap<i64, u64>,
}

impl Told {
    /// Writes one value and waits for the outcome.
    fn write(&mut self, socket: &mut Socket, value: i64) {
        let writes = json!([{ "name": "valve.value", "value": value }]);
        let result = socket.call("tag.write", json!({ "writes": writes, "timeout_s": 1 }));
        let result = &result["results"][0];
        if let Some(write) = result["write"].as_u64() {
            self.queued.insert(value, write);
        }
        self.outcomes.insert(value, result["outcome"].as_str().unwrap().to_owned());
    }

    /// Asks how the queued ones have ended, and holds it all against what arrived.
    #[track_caller]
    fn check(mut self, driver: &Driver, arrived: &[String], qos: u8) {
        let mut numbers: Vec<u64> = self.queued.values().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), self.queued.len(), "a number was given twice");
        for (value, write) in &self.queued {
            let ended = eventually("the queued write ends", || {
                let status = status(driver, *write);
                (status["outcome"] != "queued").then_some(status)
            });
            let outcome = ended["outcome"].as_str().unwrap_or_else(|| panic!("{ended}"));
            self.outcomes.insert(*value, outcome.to_owned());
        }
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        let mut firsts: Vec<i64> = Vec::new();
        for payload in arrived {
            let value = payload.parse().unwrap();
            let count = counts.entry(value).or_default();
            *count += 1;
            if *count == 1 {
                firsts.push(value);
            }
        }
        assert!(firsts.is_sorted(), "QoS {qos}: out of order: {firsts:?}");
        for (value, outcome) in &self.outcomes {
            let count = counts.get(value).copied().unwrap_or(0);
            match outcome.as_str() {
                // At QoS 0 the bytes were handed over, and may be lost with their connection.
                "completed" if qos == 0 => {}
                "completed" => assert!(count >= 1, "{value} was completed and never arrived"),
                "failed" => assert_eq!(count, 0, "{value} failed and arrived"),
                "uncertain" => {}
                other => panic!("{value}: {other}"),
            }
            assert!(qos == 1 || count <= 1, "QoS {qos}: {value} arrived {count} times");
        }
        let queued_uncertain =
            self.queued.keys().filter(|value| self.outcomes[value] == "uncertain").count();
        assert!(qos == 0 || queued_uncertain == 0, "{queued_uncertain} queued ones are uncertain");
    }
}

#[test]
fn kills_and_cuts_lose_no_queued_write_and_double_none() {
    for (seed, qos) in [(11, 2), (12, 1), (13, 0), (14, 2)] {
        let broker = ModelBroker::start(1200, seed);
        let mut random = Random::new(seed);
        let line = "reply_timeout = \"2s\"\nreconnect = { min = \"5ms\", max = \"40ms\" }";
        let mut driver = Driver::start(&plant(broker.port, qos, line, ""));
        let mut told = Told::default();
        let mut next = 1;
        let begun = Instant::now();
        let mut rounds = 0;
        // A machine that is quick to connect takes more rounds until a write finds the line down.
        while rounds < 8 || told.queued.is_empty() && begun.elapsed() < PATIENCE {
            rounds += 1;
            let end = Instant::now() + Duration::from_millis(random.below(300) as u64 + 20);
            let mut socket = driver.socket();
            while Instant::now() < end {
                told.write(&mut socket, next);
                next += 1;
            }
            // One more, whose outcome nobody lives to see.
            let writes = json!([{ "name": "valve.value", "value": next }]);
            socket.request("tag.write", json!({ "writes": writes }));
            told.outcomes.insert(next, "uncertain".into());
            next += 1;
            driver.kill();
            driver.restart();
        }
        broker.steady();
        driver.up();
        let mut socket = driver.socket();
        told.write(&mut socket, next);
        eventually("the queue is empty", || {
            (driver.station("valve")["queued_writes"] == 0).then_some(())
        });
        let queued = told.queued.len();
        assert!(queued > 0, "seed {seed}: none was queued");
        told.check(&driver, &broker.commands(), qos);
    }
}
