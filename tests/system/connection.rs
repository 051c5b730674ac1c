//! How the client connects, what it says, how long it waits, and what it does when it must not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::packet::{Connect, Packet, Will, publish};
use crate::harness::{
    Config, Driver, FakeBroker, Mosquitto, Next, PATIENCE, SECRET_PASSWORD, SECRET_USER,
    eventually, free_port,
};

fn text_station(config: Config) -> Config {
    config.station("text", "plant/text", "").tags("text.data,text,TxtI,IN_DATA")
}

/// A short patience of the program, so that tests need little.
const QUICK: &str = "reply_timeout = \"300ms\"";

#[test]
fn connect_says_what_is_configured() {
    let broker = FakeBroker::start();
    let keys = "client_id = \"žluť-7\"\nclean_session = false\nkeep_alive = \"17s\"\n\
                user_name = \"operator ž\"\npassword = \"pass ž\"\n\
                will = { topic = \"status/ž\", message = \"gone\", qos = 2, retain = true }";
    let mut driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    driver.secrets.push("pass ž".into());
    let mut link = broker.accept();
    let will = Will { topic: "status/ž".into(), message: b"gone".to_vec(), qos: 2, retain: true };
    let expected = Connect {
        client_id: "žluť-7".into(),
        clean_session: false,
        keep_alive: 17,
        will: Some(will),
        user_name: Some("operator ž".into()),
        password: Some("pass ž".into()),
    };
    assert_eq!(link.expect_connect(), expected);
}

#[test]
fn connect_says_nothing_that_is_not_configured() {
    let broker = FakeBroker::start();
    let keys = "client_id = \"\"\nuser_name = \"\"\npassword = \"\"";
    let _driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept();
    // Without a client identifier there is no session to keep.
    let expected = Connect { clean_session: true, ..Connect::default() };
    assert_eq!(link.expect_connect(), expected);
}

#[test]
fn a_user_name_alone_is_allowed() {
    let broker = FakeBroker::start();
    let keys = "user_name = \"a-token\"\npassword = \"\"";
    let _driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let connect = broker.accept().expect_connect();
    assert_eq!((connect.user_name.as_deref(), connect.password), (Some("a-token"), None));
}

#[test]
fn nothing_is_sent_before_connack_and_connect_only_once() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept();
    link.expect_connect();
    link.expect_silence(Duration::from_millis(300));
    assert_eq!(driver.line("plant")["state"], "connecting");
    link.send(&Packet::Connack { session_present: false, code: 0 });
    assert_eq!(link.grant(), [("#".to_owned(), 1)]);
    driver.up();
}

#[test]
fn subscribe_asks_for_all_filters_at_the_configured_qos() {
    let broker = FakeBroker::start();
    let keys = "topic_filter = [\"a/+\", \"b/#\", \"$share/g/c\"]\nsubscribe_qos = 2";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    let mut filters = link.grant();
    filters.sort();
    let expected = ["$share/g/c", "a/+", "b/#"].map(|filter| (filter.to_owned(), 2));
    assert_eq!(filters, expected);
    driver.up();
}

#[test]
fn every_refusal_is_explained_and_tried_again() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    for (code, word) in [
        (1, "version"),
        (2, "client id"),
        (3, "unavailable"),
        (4, "password"),
        (5, "authori"),
        (6, "6"),
        (255, "255"),
    ] {
        let mut link = broker.accept();
        link.expect_connect();
        link.send(&Packet::Connack { session_present: false, code });
        assert_eq!(link.expect_end(), [], "nothing may be sent after code {code}");
        driver.logs(&["WARN", "cannot connect", word]);
        eventually(&format!("the last error names code {code}"), || {
            let error = driver.line("plant")["last_error"]["message"].clone();
            error.as_str()?.contains(word).then_some(())
        });
    }
    let _link = broker.accept_session(false);
}

#[test]
fn a_wrong_password_is_named_and_shown_nowhere() {
    let broker = Mosquitto::start_for("operator", "the right one", "topic readwrite #");
    let keys = "user_name = \"operator\"";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    driver.logs(&["WARN", "cannot connect", "authori"]);
    let line = driver.line("plant");
    assert_eq!(line["state"], "connecting");
    assert_eq!(line["subscriptions"], serde_json::json!([]));
    assert!(!line.to_string().contains(SECRET_PASSWORD));
}

#[test]
fn a_password_file_is_read_again_at_every_connect() {
    let broker = Mosquitto::start_for("operator", "rotated-93ab", "topic readwrite #");
    let config = Config::new()
        .line(broker.port, "user_name = { env = \"TEST_USER\" }\npassword = { file = \"secret\" }");
    let mut driver = Driver::prepare(&text_station(config));
    driver.secrets.extend(["rotated-93ab".into(), "stale-93ab".into()]);
    driver.set_variable("TEST_USER", "operator");
    std::fs::write(driver.folder().join("secret"), "stale-93ab\n").unwrap();
    driver.restart();
    driver.logs(&["cannot connect", "authori"]);
    std::fs::write(driver.folder().join("secret"), "rotated-93ab\n").unwrap();
    driver.up();
}

#[test]
fn a_secret_that_cannot_be_had_is_named() {
    let port = free_port();
    let keys = "user_name = \"operator\"\npassword = { file = \"no-such-file\" }";
    let driver = Driver::start(&text_station(Config::new().line(port, keys)));
    driver.logs(&["cannot connect", "password", "no-such-file"]);
}

#[test]
fn a_broker_that_accepts_and_never_answers_is_given_up_in_time() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, QUICK)));
    let mut link = broker.accept();
    link.expect_connect();
    let begun = Instant::now();
    assert_eq!(link.expect_end(), []);
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    driver.logs(&["WARN", "did not answer CONNECT"]);
    // It tries again, and this time is luckier.
    let _link = broker.accept_session(false);
    driver.up();
}

#[test]
fn without_suback_the_connection_is_given_up_in_time() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, QUICK)));
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    assert!(matches!(link.next(), Packet::Subscribe { .. }));
    link.expect_end();
    driver.logs(&["WARN", "did not answer SUBSCRIBE"]);
    let _link = broker.accept_session(false);
    driver.up();
}

#[test]
fn without_pingresp_the_connection_is_given_up_in_time() {
    let broker = FakeBroker::start();
    let keys = format!("{QUICK}\nping_interval = \"200ms\"");
    let driver = Driver::start(&text_station(Config::new().line(broker.port, &keys)));
    let mut link = broker.accept_session(false);
    link.answer_pings = false;
    link.send(&publish("plant/text", "last", 0, 0));
    link.expect(&Packet::Pingreq);
    link.expect_end();
    driver.logs(&["WARN", "did not answer PINGREQ"]);
    driver.has("text.data", "last", "line_down");
    let _link = broker.accept_session(true);
    driver.up();
}

#[test]
fn half_a_packet_and_then_silence_is_given_up_in_time() {
    for half in [
        &[0x20, 0x02, 0x00][..],
        &[0x20][..],
        &[0x30, 0x80][..],
        &[0x32, 0x40, 0x00, 0x05, b'a', b'b'][..],
    ] {
        let broker = FakeBroker::start();
        let driver = Driver::start(&text_station(Config::new().line(broker.port, QUICK)));
        let mut link = if half[0] == 0x20 {
            let mut link = broker.accept();
            link.expect_connect();
            link
        } else {
            broker.accept_session(false)
        };
        link.send_bytes(half);
        let begun = Instant::now();
        link.expect_end();
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
        driver.logs(&["WARN", "line=plant", "retry_in"]);
        let _link = broker.accept_session(false);
        driver.up();
    }
}

#[test]
fn a_packet_that_comes_slowly_but_steadily_is_no_fault() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, QUICK)));
    let mut link = broker.accept_session(false);
    let text = "0123456789";
    let bytes = link.will_send(&publish("plant/text", text, 1, 9));
    // Longer altogether than the reply timeout, never as long without a byte.
    for byte in bytes {
        link.send_bytes(&[byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    link.expect(&Packet::Puback(9));
    driver.has("text.data", text, "ok");
}

#[test]
fn ping_interval_is_measured_from_the_last_packet_of_the_server() {
    let broker = FakeBroker::start();
    let keys = "ping_interval = \"400ms\"\nkeep_alive = \"0s\"";
    let _driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    link.answer_pings = false;
    // A server that talks is not asked.
    for round in 0..8 {
        link.send(&publish("elsewhere", format!("{round}"), 0, 0));
        match link.next_within(Duration::from_millis(150)) {
            Next::Nothing => {}
            other => panic!("round {round}: {other:?}"),
        }
    }
    // A silent one is, again and again.
    for _ in 0..3 {
        let begun = Instant::now();
        link.expect(&Packet::Pingreq);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        link.send(&Packet::Pingresp);
    }
}

#[test]
fn keep_alive_is_kept_while_traffic_comes_in_only() {
    let broker = FakeBroker::start();
    let keys = "ping_interval = \"0s\"\nkeep_alive = \"1s\"";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    link.answer_pings = false;
    let mut last = link.record.last().unwrap().0;
    let mut pings = 0;
    let mut number = 0;
    while pings < 3 {
        number += 1;
        link.send(&publish("plant/text", format!("{number}"), 0, 0));
        match link.next_within(Duration::from_millis(50)) {
            Next::Packet(Packet::Pingreq) => {
                let at = link.record.last().unwrap().0;
                // A server closes after one and a half intervals.
                assert!(at - last < Duration::from_millis(1500), "{:?} of silence", at - last);
                last = at;
                pings += 1;
                link.send(&Packet::Pingresp);
            }
            Next::Nothing => {
                assert!(last.elapsed() < Duration::from_millis(1500), "no PINGREQ in time");
            }
            other => panic!("{other:?}"),
        }
    }
    driver.has("text.data", number.to_string(), "ok");
}

#[test]
fn without_ping_interval_and_keep_alive_nobody_pings() {
    let broker = FakeBroker::start();
    let keys = "ping_interval = \"0s\"\nkeep_alive = \"0s\"\nreply_timeout = \"100ms\"";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    link.answer_pings = false;
    link.expect_silence(Duration::from_millis(800));
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn attempts_are_apart_however_the_broker_fails() {
    let keys = "reconnect = { min = \"100ms\", max = \"400ms\" }";
    // It closes after CONNECT.
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let attempts = broker.count_attempts(Duration::from_secs(2));
    assert!((2..=40).contains(&attempts), "{attempts} attempts in two seconds");
    drop(driver);
    // It accepts, and closes at the first SUBSCRIBE: being up for a moment must not reset the pause.
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let end = Instant::now() + Duration::from_secs(2);
    let mut attempts = 0;
    while Instant::now() < end {
        let Some(mut link) = broker.accepted() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        attempts += 1;
        link.expect_connect();
        link.send(&Packet::Connack { session_present: false, code: 0 });
        if let Next::Packet(packet) = link.next_within(Duration::from_secs(1)) {
            assert!(matches!(packet, Packet::Subscribe { .. }), "{packet:?}");
        }
    }
    assert!((2..=40).contains(&attempts), "{attempts} attempts in two seconds");
    drop(driver);
    // Nobody listens: it tries on, and says so once.
    let driver = Driver::start(&text_station(Config::new().line(free_port(), keys)));
    std::thread::sleep(Duration::from_secs(1));
    driver.logs(&["Connection refused"]);
    assert_eq!(driver.count_logged("cannot connect"), 1, "{}", driver.log());
}

#[test]
fn servers_are_tried_in_turn_and_the_next_one_takes_over() {
    let (first, second) = (FakeBroker::start(), FakeBroker::start());
    let dead = free_port();
    let keys = format!(
        "servers = [\"mqtt://127.0.0.1:{dead}\", \"mqtt://127.0.0.1:{}\", \"mqtt://127.0.0.1:{}\"]",
        first.port, second.port
    );
    let driver = Driver::start(&text_station(Config::new().line(first.port, &keys)));
    let mut link = first.accept_session(false);
    driver.up();
    assert_eq!(driver.line("plant")["server"], format!("mqtt://127.0.0.1:{}", first.port));
    link.send(&publish("plant/text", "from the first", 1, 1));
    link.expect(&Packet::Puback(1));
    drop(link);
    drop(first);
    let mut link = second.accept_session(false);
    link.send(&publish("plant/text", "from the second", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "from the second", "ok");
    assert_eq!(driver.line("plant")["server"], format!("mqtt://127.0.0.1:{}", second.port));
}

#[test]
fn a_refused_filter_is_an_error_state_that_names_it() {
    let broker = FakeBroker::start();
    let keys = "topic_filter = [\"good/#\", \"secret/#\"]";
    let config = Config::new()
        .line(broker.port, keys)
        .station("good", "good/a", "")
        .tags("good.data,good,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    match link.next() {
        Packet::Subscribe { id, filters } => {
            let refuse = |(filter, qos): &(String, u8)| {
                if filter == "secret/#" { 0x80 } else { *qos }
            };
            let codes = filters.iter().map(refuse).collect();
            link.send(&Packet::Suback { id, codes });
        }
        other => panic!("{other:?}"),
    }
    let line = driver.line_is("plant", "error");
    assert!(line["last_error"]["message"].as_str().unwrap().contains("secret/#"), "{line}");
    driver.logs(&["ERROR", "secret/#"]);
    // What was granted works.
    link.send(&publish("good/a", "works", 1, 4));
    link.expect(&Packet::Puback(4));
    driver.has("good.data", "works", "ok");
}

#[test]
fn two_processes_with_one_client_id_are_told_so() {
    let broker = Mosquitto::start();
    let keys = "client_id = \"the-same\"";
    let config = text_station(Config::new().line(broker.port, keys));
    let first = Driver::start(&config);
    first.up();
    let second = Driver::start(&config);
    eventually("one of them says why", || {
        let says = |driver: &Driver| {
            driver.log().lines().any(|line| {
                line.contains("WARN") && line.contains("the-same") && line.contains("client id")
            })
        };
        (says(&first) || says(&second)).then_some(())
    });
}

#[test]
fn credentials_are_not_shown_on_the_socket() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept();
    let connect = link.expect_connect();
    assert_eq!(connect.user_name.as_deref(), Some(SECRET_USER));
    assert_eq!(connect.password.as_deref(), Some(SECRET_PASSWORD.as_bytes()));
    link.send(&Packet::Connack { session_present: false, code: 5 });
    driver.logs(&["cannot connect"]);
    for method in ["line.list", "station.list", "process.status"] {
        let shown = driver.call(method, serde_json::json!({})).to_string();
        assert!(!shown.contains("whisper"), "{method}: {shown}");
    }
}

#[test]
fn a_server_that_writes_before_it_reads_is_read() {
    let broker = FakeBroker::start();
    let config = text_station(Config::new().line(broker.port, ""))
        .station("out", "plant/out", "out_topic = \"cmd/out\"")
        .tags("out.value,out,TxtO,OUT_VALUE");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    // More than the buffers of the system and the driver hold: the last one is refused.
    let mut socket = driver.socket();
    let large = "x".repeat(1_000_000);
    let mut last = 0;
    for _ in 0..60 {
        let writes = json!([{ "name": "out.value", "value": large }]);
        last = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 60 }));
    }
    let refused = socket.answer(last).unwrap();
    assert_eq!(refused["results"][0]["outcome"], "failed", "{refused}");
    let mut bytes = Vec::new();
    for number in 0..4000 {
        let payload = format!("{number:05000}");
        bytes.extend(link.will_send(&publish("plant/text", payload, 0, 0)));
    }
    assert!(link.send_within(&bytes, PATIENCE), "the driver waits until it is read");
    driver.has("text.data", format!("{:05000}", 3999), "ok");
}
