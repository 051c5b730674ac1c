//! Redundant lines: two connections at a time, each message once, each write on both.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{self, Packet, again, publish, retained};
use crate::harness::{
    Config, Driver, FakeBroker, Link, Mosquitto, Next, Proxy, Socket, eventually,
};

/// A line to two ports, and what both have in common.
fn line(config: Config, ports: [u16; 2], more: &str) -> Config {
    let [first, second] = ports;
    let second = format!("redundant_servers = [\"mqtt://127.0.0.1:{second}\"]");
    config.line(first, &format!("{second}\nsubscribe_qos = 2\n{more}"))
}

fn text(config: Config) -> Config {
    config.station("text", "plant/text", "").tags("text.data,text,TxtI,IN_DATA")
}

fn output(config: Config, qos: u8) -> Config {
    config
        .station("out", "status/out", &format!("out_topic = \"cmd\"\npublish_qos = {qos}"))
        .tags("out.value,out,TxtO,OUT_VALUE")
}

/// Two brokers and a driver that is connected to both.
struct Pair {
    brokers: [FakeBroker; 2],
    driver: Driver,
    links: [Link; 2],
}

impl Pair {
    #[track_caller]
    fn start(more: &str, rest: impl FnOnce(Config) -> Config) -> Self {
        let brokers = [FakeBroker::start(), FakeBroker::start()];
        let ports = [brokers[0].port, brokers[1].port];
        let driver = Driver::start(&rest(line(Config::new(), ports, more)));
        let links = [brokers[0].accept_session(false), brokers[1].accept_session(false)];
        paths_are(&driver, ["up", "up"]);
        Self { brokers, driver, links }
    }
}

/// Waits until the paths are in these states.
#[track_caller]
fn paths_are(driver: &Driver, states: [&str; 2]) -> Json {
    let answered = |path: &Json| {
        path["state"] != "up" || path["subscriptions"].as_array().is_some_and(|all| !all.is_empty())
    };
    eventually(&format!("the paths are {states:?}; log:\n{}", driver.log()), || {
        let line = driver.line("plant");
        let paths = line["paths"].as_array().unwrap();
        let fits = paths.iter().zip(states).all(|(path, state)| path["state"] == state);
        (fits && paths.iter().all(answered)).then_some(line)
    })
}

/// A session that continues.
#[track_caller]
fn resume(broker: &FakeBroker) -> Link {
    broker.accept_session(true)
}

/// Texts from the journal up to the last one, each as often as it was applied.
#[track_caller]
fn applied(driver: &Driver, last: &str) -> Vec<String> {
    let mut changes = driver.subscribe(&["text.data"], "oldest");
    changes.until(&format!("`{last}`"), |all| {
        all.iter().any(|change| change["value"] == last && change["reason"] == "ok")
    });
    let mut texts: Vec<(String, String)> = Vec::new();
    for change in changes.all.iter().filter(|change| change["reason"] == "ok") {
        let of = |key: &str| change[key].as_str().unwrap().to_owned();
        // A value that recovers its quality is the same message.
        if texts.last() != Some(&(of("value"), of("received"))) {
            texts.push((of("value"), of("received")));
        }
    }
    texts.into_iter().map(|(value, _)| value).collect()
}

#[track_caller]
fn deliver(link: &mut Link, payload: &str, id: u16) {
    link.send(&publish("plant/text", payload, 1, id));
    link.expect(&Packet::Puback(id));
}

#[test]
fn each_message_is_applied_once_and_every_copy_acknowledged() {
    let Pair { driver, mut links, .. } = Pair::start("", text);
    let [one, two] = &mut links;
    deliver(one, "a", 1);
    deliver(two, "a", 11);
    // Equal messages that follow each other are messages.
    deliver(two, "b", 12);
    deliver(two, "b", 13);
    deliver(one, "b", 2);
    deliver(one, "b", 3);
    one.send(&publish("plant/text", "c", 2, 4));
    one.expect(&Packet::Pubrec(4));
    two.send(&publish("plant/text", "c", 2, 14));
    two.expect(&Packet::Pubrec(14));
    for (link, id) in [(&mut *one, 4), (&mut *two, 14)] {
        link.send(&Packet::Pubrel(id));
        link.expect(&Packet::Pubcomp(id));
    }
    deliver(one, "end", 5);
    assert_eq!(applied(&driver, "end"), ["a", "b", "b", "c", "end"]);
    let line = driver.line("plant");
    assert_eq!(line["counters"]["messages_received"], 5);
    assert_eq!(line["counters"]["duplicates"], 4);
    assert_eq!(line["paths"][1]["counters"]["messages_received"], 4);
}

#[test]
fn both_paths_are_to_be_seen_and_have_client_ids_of_their_own() {
    let brokers = [FakeBroker::start(), FakeBroker::start()];
    let ports = [brokers[0].port, brokers[1].port];
    let will = "will = { topic = \"gone\", message = \"now\" }\nredundant_client_id = \"other\"";
    let driver = Driver::start(&text(line(Config::new(), ports, will)));
    let mut one = brokers[0].accept();
    assert_eq!(one.expect_connect().client_id, "tagline-plant");
    let mut two = brokers[1].accept();
    assert_eq!(two.expect_connect().client_id, "other");
    two.send(&Packet::Connack { session_present: false, code: 0 });
    two.grant();
    one.send(&Packet::Connack { session_present: false, code: 3 });
    // The line is up with one of them.
    let line = driver.line_is("plant", "up");
    assert_eq!(line["server"], format!("mqtt://127.0.0.1:{}", ports[1]));
    let line = eventually("the first says what is wrong", || {
        Some(driver.line("plant")).filter(|line| line["paths"][0]["last_error"].is_object())
    });
    assert_eq!(line["state"], "up");
    assert_eq!(line["paths"][0]["server"], format!("mqtt://127.0.0.1:{}", ports[0]));
    assert!(line["paths"][1]["connected_since"].is_string());
    let output = driver.run(["status"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    for port in ports {
        assert!(shown.contains(&format!("mqtt://127.0.0.1:{port}")), "{shown}");
    }
}

#[test]
fn a_backlog_of_one_path_does_not_take_values_back() {
    let Pair { brokers, driver, links: [mut one, two] } = Pair::start("", text);
    drop(two);
    paths_are(&driver, ["up", "connecting"]);
    for number in 1..=100u16 {
        deliver(&mut one, &number.to_string(), number);
    }
    let mut two = resume(&brokers[1]);
    for number in 1..=100u16 {
        deliver(&mut two, &number.to_string(), number + 200);
    }
    // Nobody else has brought this.
    deliver(&mut two, "7", 400);
    deliver(&mut one, "end", 300);
    let expected: Vec<String> =
        (1..=100).map(|number| number.to_string()).chain(["7".into(), "end".into()]).collect();
    assert_eq!(applied(&driver, "end"), expected);
}

#[test]
fn a_copy_that_is_sent_again_is_a_copy_still() {
    let Pair { brokers, driver, links: [mut one, mut two] } = Pair::start("", text);
    deliver(&mut one, "a", 1);
    deliver(&mut two, "a", 11);
    deliver(&mut one, "b", 2);
    drop(two);
    // It has not seen our PUBACK.
    let mut two = resume(&brokers[1]);
    two.send(&again("plant/text", "a", 1, 11));
    two.expect(&Packet::Puback(11));
    deliver(&mut two, "b", 12);
    deliver(&mut one, "end", 3);
    assert_eq!(applied(&driver, "end"), ["a", "b", "end"]);
}

#[test]
fn a_copy_is_known_over_a_kill() {
    let Pair { brokers, mut driver, links: [mut one, mut two] } = Pair::start("", text);
    one.send(&publish("plant/text", "a", 2, 5));
    one.expect(&Packet::Pubrec(5));
    deliver(&mut one, "b", 6);
    deliver(&mut two, "x", 50);
    driver.kill();
    driver.restart();
    let mut two = resume(&brokers[1]);
    two.send(&publish("plant/text", "a", 2, 51));
    two.expect(&Packet::Pubrec(51));
    deliver(&mut two, "b", 52);
    // That it has not seen our PUBACK is no reason either.
    two.send(&again("plant/text", "x", 1, 50));
    two.expect(&Packet::Puback(50));
    let mut one = resume(&brokers[0]);
    one.send(&again("plant/text", "a", 2, 5));
    one.expect(&Packet::Pubrec(5));
    one.send(&again("plant/text", "b", 1, 6));
    one.expect(&Packet::Puback(6));
    deliver(&mut one, "x", 7);
    deliver(&mut one, "end", 8);
    assert_eq!(applied(&driver, "end"), ["a", "b", "x", "end"]);
}

#[test]
fn stations_are_without_a_line_only_when_both_paths_are() {
    let Pair { brokers, driver, links: [mut one, two] } = Pair::start("", text);
    deliver(&mut one, "a", 1);
    driver.has("text.data", "a", "ok");
    drop(two);
    paths_are(&driver, ["up", "connecting"]);
    assert_eq!(driver.read("text.data")["reason"], "ok");
    assert_eq!(driver.station("text")["state"], "StON");
    // The other comes back without its session while this one is up: nothing was missed.
    let two = brokers[1].accept_session(false);
    paths_are(&driver, ["up", "up"]);
    assert_eq!(driver.read("text.data")["reason"], "ok");
    drop((one, two));
    driver.has("text.data", "a", "line_down");
    assert_eq!(driver.station("text")["reason"], "line_down");
    // What one server has kept is enough to have missed nothing.
    let two = resume(&brokers[1]);
    driver.has("text.data", "a", "ok");
    drop(two);
    driver.has("text.data", "a", "line_down");
    let _one = brokers[0].accept_session(false);
    driver.has("text.data", "a", "restored");
}

#[test]
fn retained_messages_of_a_path_that_returns_are_no_news() {
    let Pair { brokers, driver, links: [mut one, two] } = Pair::start("", text);
    deliver(&mut one, "old", 1);
    deliver(&mut one, "new", 2);
    drop(two);
    paths_are(&driver, ["up", "connecting"]);
    let mut two = brokers[1].accept_session(false);
    for (id, payload) in [(1, "old"), (2, "new")] {
        two.send(&retained("plant/text", payload, 1, id));
        two.expect(&Packet::Puback(id));
    }
    deliver(&mut two, "end", 3);
    assert_eq!(applied(&driver, "end"), ["old", "new", "end"]);
}

#[test]
fn a_write_goes_out_on_both_and_is_done_when_either_acknowledges() {
    for (qos, silent) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let Pair { driver, links, .. } = Pair::start("", |config| output(config, qos));
        let mut links = Vec::from(links);
        let mut socket = driver.socket();
        let writes = json!([{ "name": "out.value", "value": "go" }]);
        let asked = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 10 }));
        let ids: Vec<u16> = links
            .iter_mut()
            .map(|link| {
                let published = link.expect_publish();
                assert_eq!((published.payload.as_slice(), published.qos), (&b"go"[..], qos));
                published.id
            })
            .collect();
        assert!(socket.answer_within(asked, Duration::from_millis(100)).is_none());
        let (link, id) = (&mut links[1 - silent], ids[1 - silent]);
        if qos == 1 {
            link.send(&Packet::Puback(id));
        } else {
            link.send(&Packet::Pubrec(id));
            link.expect(&Packet::Pubrel(id));
            link.send(&Packet::Pubcomp(id));
        }
        let results = socket.answer(asked).unwrap()["results"].clone();
        assert_eq!(results[0]["outcome"], "completed", "{results}");
        assert_eq!(driver.read("out.value")["value"], "go");
    }
}

#[test]
fn a_write_at_qos_0_needs_one_path_and_fails_without_any() {
    let Pair { driver, links: [one, mut two], .. } = Pair::start("", |config| output(config, 0));
    drop(one);
    paths_are(&driver, ["connecting", "up"]);
    assert_eq!(driver.write("out.value", "go")["outcome"], "completed");
    assert_eq!(two.expect_publish().payload, b"go");
    drop(two);
    paths_are(&driver, ["connecting", "connecting"]);
    let result = driver.write("out.value", "more");
    assert_eq!([&result["outcome"], &result["error"]["code"]], [&json!("failed"), &json!(-32004)]);
}

#[test]
fn a_path_that_is_away_gets_no_late_copies() {
    let Pair { brokers, driver, links: [mut one, mut two] } =
        Pair::start("publish_in_flight = 1", |config| output(config, 1));
    let mut socket = driver.socket();
    let ask = |socket: &mut Socket, value: &str| {
        let writes = json!([{ "name": "out.value", "value": value }]);
        socket.request("tag.write", json!({ "writes": writes, "timeout_s": 30 }))
    };
    // The first server takes the first one and says nothing: the second one waits behind it.
    let asked = [ask(&mut socket, "first"), ask(&mut socket, "second")];
    let unanswered = one.expect_publish();
    assert_eq!(unanswered.payload, b"first");
    for expected in [b"first".as_slice(), b"second"] {
        let published = two.expect_publish();
        assert_eq!(published.payload, expected);
        two.send(&Packet::Puback(published.id));
    }
    for asked in asked {
        let results = socket.answer(asked).unwrap()["results"].clone();
        assert_eq!(results[0]["outcome"], "completed", "{results}");
    }
    drop(one);
    paths_are(&driver, ["connecting", "up"]);
    let asked = ask(&mut socket, "third");
    let published = two.expect_publish();
    two.send(&Packet::Puback(published.id));
    assert_eq!(socket.answer(asked).unwrap()["results"][0]["outcome"], "completed");
    let mut one = resume(&brokers[0]);
    // What has left must be sent again (MQTT-4.4.0-1); nothing else is.
    let resent = one.expect_publish();
    assert_eq!(
        (resent.id, resent.dup, resent.payload.as_slice()),
        (unanswered.id, true, &b"first"[..])
    );
    one.send(&Packet::Puback(resent.id));
    one.expect_silence(Duration::from_millis(300));
}

#[test]
fn a_write_whose_path_dies_is_what_the_other_path_makes_of_it() {
    let Pair { driver, links: [mut one, mut two], .. } =
        Pair::start("", |config| output(config, 1));
    let mut socket = driver.socket();
    let writes = json!([{ "name": "out.value", "value": "go" }]);
    let asked = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 30 }));
    one.expect_publish();
    let published = two.expect_publish();
    drop(one);
    paths_are(&driver, ["connecting", "up"]);
    assert!(socket.answer_within(asked, Duration::from_millis(100)).is_none());
    two.send(&Packet::Puback(published.id));
    let results = socket.answer(asked).unwrap()["results"].clone();
    assert_eq!(results[0]["outcome"], "completed", "{results}");
}

#[test]
fn a_write_that_nobody_acknowledges_is_uncertain() {
    let Pair { driver, mut links, .. } = Pair::start("", |config| output(config, 1));
    let writes = json!([{ "name": "out.value", "value": "go" }]);
    let results = driver.call("tag.write", json!({ "writes": writes, "timeout_s": 0.3 }));
    assert_eq!(results["results"][0]["outcome"], "uncertain", "{results}");
    for link in &mut links {
        link.expect_publish();
    }
}

#[test]
fn a_copy_for_confirmation_is_acknowledged_with_its_message() {
    let work = |config: Config| {
        config
            .station("work", "plant/work", "")
            .tags("work.data,work,TxtI,IN_DATA\nwork.id,work,Ci,IN_ID\nwork.ack,work,Co,ACK_ID")
    };
    let Pair { brokers, driver, links: [mut one, mut two] } = Pair::start("", work);
    let confirm = |id: u64| {
        let result = driver.write("work.ack", id);
        assert_eq!(result["outcome"], "completed", "{result}");
    };
    one.send(&publish("plant/work", "first", 1, 1));
    driver.has("work.data", "first", "ok");
    one.send(&publish("plant/work", "second", 2, 2));
    eventually("the second one waits", || {
        (driver.station("work")["waiting_for_confirmation"] == 2).then_some(())
    });
    two.send_all(&[publish("plant/work", "first", 1, 11), publish("plant/work", "second", 2, 12)]);
    eventually("the copies came", || {
        (driver.line("plant")["counters"]["duplicates"] == 2).then_some(())
    });
    one.expect_silence(Duration::from_millis(100));
    two.expect_silence(Duration::from_millis(100));
    // The second path is made again before anybody confirms.
    drop(two);
    let mut two = resume(&brokers[1]);
    two.send_all(&[again("plant/work", "first", 1, 11), again("plant/work", "second", 2, 12)]);
    eventually("the copies came again", || {
        (driver.line("plant")["counters"]["duplicates"] == 3).then_some(())
    });
    confirm(1);
    one.expect(&Packet::Puback(1));
    two.expect(&Packet::Puback(11));
    assert_eq!(driver.read("work.data")["value"], "second");
    confirm(2);
    one.expect(&Packet::Pubrec(2));
    two.expect(&Packet::Pubrec(12));
    assert_eq!(driver.station("work")["waiting_for_confirmation"], 0);
    // A copy that comes later is acknowledged at once.
    one.send(&publish("plant/work", "third", 1, 3));
    driver.has("work.data", "third", "ok");
    confirm(3);
    one.expect(&Packet::Puback(3));
    two.send(&publish("plant/work", "third", 1, 13));
    two.expect(&Packet::Puback(13));
    assert_eq!(driver.station("work")["waiting_for_confirmation"], 0);
}

#[test]
fn both_paths_leave_in_order() {
    let Pair { brokers, mut driver, mut links } = Pair::start("", text);
    driver.call("station.set", json!({ "name": "text", "mode": "off" }));
    for link in &mut links {
        assert_eq!(link.expect_end(), [Packet::Disconnect]);
    }
    assert_eq!(paths_are(&driver, ["off", "off"])["state"], "off");
    for broker in &brokers {
        assert!(matches!(broker.count_attempts(Duration::from_millis(300)), 0));
    }
    driver.call("station.set", json!({ "name": "text", "mode": "on" }));
    let mut links = [resume(&brokers[0]), resume(&brokers[1])];
    paths_are(&driver, ["up", "up"]);
    driver.signal("TERM");
    for link in &mut links {
        assert_eq!(link.expect_end(), [Packet::Disconnect]);
    }
    assert!(driver.wait().success());
}

#[test]
fn a_line_that_is_redundant_no_longer_forgets_its_second_session() {
    let brokers = [FakeBroker::start(), FakeBroker::start()];
    let ports = [brokers[0].port, brokers[1].port];
    let redundant = output(line(Config::new(), ports, ""), 1);
    let mut driver = Driver::start(&redundant);
    let mut links = [brokers[0].accept_session(false), brokers[1].accept_session(false)];
    paths_are(&driver, ["up", "up"]);
    let writes = json!([{ "name": "out.value", "value": "go" }]);
    let params = json!({ "writes": writes, "timeout_s": 0.1 });
    assert_eq!(driver.call("tag.write", params)["results"][0]["outcome"], "uncertain");
    for link in &mut links {
        link.expect_publish();
    }
    driver.kill();
    let single = output(Config::new().line(ports[0], "subscribe_qos = 2"), 1);
    single.write(driver.folder());
    driver.restart();
    let mut one = resume(&brokers[0]);
    let resent = one.expect_publish();
    one.send(&Packet::Puback(resent.id));
    driver.durable();
    // First, so that it does not connect once more: that would be taken for the next process.
    driver.terminate();
    drop(one);
    // An old command does not come back with the second path.
    redundant.write(driver.folder());
    driver.restart();
    let _one = resume(&brokers[0]);
    let mut two = brokers[1].accept_session(false);
    two.expect_silence(Duration::from_millis(300));
}

#[test]
fn two_brokers_over_cuts_and_kills_give_the_stream_once_and_in_order() {
    const COUNT: usize = 400;
    for version in ["3.1.1", "5.0"] {
        let brokers = [Mosquitto::start(), Mosquitto::start()];
        let proxies =
            [Proxy::start(brokers[0].port, 3000, 1), Proxy::start(brokers[1].port, 4000, 2)];
        let ports = [proxies[0].port, proxies[1].port];
        let version = format!("mqtt_version = \"{version}\"");
        let mut driver = Driver::start(&text(line(Config::new(), ports, &version)));
        paths_are(&driver, ["up", "up"]);
        // Each text twice in a row.
        let texts: Vec<String> = (0..COUNT).map(|number| format!("{:03}", number / 2)).collect();
        let lines = texts.join("\n");
        std::thread::scope(|scope| {
            for broker in &brokers {
                scope.spawn(|| broker.publish_lines("plant/text", &lines, 2));
            }
            for place in [20, 60, 110] {
                let reached = format!("{place:03}");
                eventually("the stream goes on", || {
                    let value = driver.read("text.data")["value"].clone();
                    value.as_str().is_some_and(|text| text >= reached.as_str()).then_some(())
                });
                driver.kill();
                driver.restart();
            }
        });
        proxies.iter().for_each(Proxy::steady);
        for broker in &brokers {
            broker.publish("plant/text", "end", 2);
        }
        let mut expected = texts;
        expected.push("end".into());
        assert_eq!(applied(&driver, "end"), expected, "{version}");
    }
}

#[test]
fn a_broker_that_is_killed_and_started_again_is_not_noticed() {
    let mut brokers = [Mosquitto::start(), Mosquitto::start()];
    let ports = [brokers[0].port, brokers[1].port];
    let driver = Driver::start(&output(text(line(Config::new(), ports, "")), 1));
    paths_are(&driver, ["up", "up"]);
    let mut expected = Vec::new();
    for round in 0..4 {
        let away = round % 2;
        brokers[away].stop();
        let states = if away == 0 { ["connecting", "up"] } else { ["up", "connecting"] };
        paths_are(&driver, states);
        let text = format!("round {round}");
        brokers[1 - away].publish("plant/text", &text, 2);
        driver.has("text.data", text.as_str(), "ok");
        expected.push(text);
        assert_eq!(driver.write("out.value", round.to_string())["outcome"], "completed");
        brokers[away].start_again();
        paths_are(&driver, ["up", "up"]);
    }
    brokers[0].publish("plant/text", "end", 2);
    brokers[1].publish("plant/text", "end", 2);
    expected.push("end".into());
    assert_eq!(applied(&driver, "end"), expected);
}

#[test]
fn a_server_that_withholds_everything_does_not_hold_up_the_other_path() {
    let Pair { driver, links: [mut one, two], .. } = Pair::start("", text);
    // The second one sends half a packet and falls silent.
    let mut two = two;
    let half = packet::encode(&publish("plant/text", "half", 1, 9));
    two.send_bytes(&half[..half.len() - 2]);
    for number in 1..=200u16 {
        deliver(&mut one, &number.to_string(), number);
    }
    driver.has("text.data", "200", "ok");
    assert!(matches!(two.next_within(Duration::from_millis(10)), Next::Nothing));
}
