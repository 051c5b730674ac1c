//! Consumers that stop reading: what it costs, and that they find no gap.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{self, Packet, publish};
use crate::harness::{Config, Driver, FakeBroker, Link, Next, eventually};

/// Tags of the station, each changed by every message.
const TAGS: usize = 500;

/// Messages of [`TAGS`] changes each: a million changes.
const MESSAGES: usize = 2000;

fn many_tags(broker: &FakeBroker) -> Config {
    let rows: String = (0..TAGS).map(|tag| format!("m.t{tag},m,Ci,JA=t{tag}\n")).collect();
    let station = "payload_type = \"json\"";
    Config::new().line(broker.port, "").station("m", "plant/m", station).tags(&rows)
}

/// Sends the messages at QoS 1, a few unacknowledged at a time.
#[track_caller]
fn send_messages(link: &mut Link) {
    let fields = |number: usize| -> String {
        (0..TAGS).map(|tag| format!("\"t{tag}\":{number},")).collect()
    };
    let id = |number: usize| u16::try_from(number % 60_000 + 1).unwrap();
    for number in 0..MESSAGES {
        let payload = format!("{{{}\"end\":0}}", fields(number));
        link.send(&packet::publish("plant/m", payload, 1, id(number)));
        if let Some(before) = number.checked_sub(50) {
            link.expect(&Packet::Puback(id(before)));
        }
    }
    for number in MESSAGES - 50..MESSAGES {
        link.expect(&Packet::Puback(id(number)));
    }
}

#[test]
fn a_million_changes_while_a_consumer_does_not_read_cost_little_memory_and_no_gap() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&many_tags(&broker));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut stopped = driver.socket();
    stopped.call("tag.subscribe", json!({ "names": ["m.*"], "after": "oldest" }));
    let begun = driver.call("process.status", json!({}))["store"]["last_seq"].as_u64().unwrap();
    let before = driver.resident_bytes();
    send_messages(&mut link);
    let grown = driver.resident_bytes().saturating_sub(before) >> 20;
    println!("1,000,000 changes, resident memory grew by {grown} MiB");
    assert!(grown < 64, "{grown} MiB more");
    // It reads on: every change, in order. Parsing would take longer than all the rest.
    let (mut next, end) = (begun + 1, begun + (TAGS * MESSAGES) as u64);
    while next <= end {
        let line = stopped.next_line().unwrap_or_else(|| panic!("the end came before {next}"));
        assert!(line.contains("\"tag.changed\""), "{line:.300}");
        for (place, mark) in line.match_indices("\"seq\":") {
            let number = &line[place + mark.len()..];
            let number = number.split(['}', ',']).next().unwrap();
            let seq: u64 = number.parse().unwrap();
            assert!(seq < begun + 1 || seq == next, "change {seq} instead of {next}");
            next = next.max(seq + 1);
        }
    }
    let grown = driver.resident_bytes().saturating_sub(before) >> 20;
    println!("when it had read on: {grown} MiB");
    assert!(grown < 64, "{grown} MiB more while it read on");
}

#[test]
fn a_consumer_that_the_journal_has_overtaken_is_told_and_let_go() {
    let broker = FakeBroker::start();
    let config = Config::new()
        .top("[journal]\nmax_entries = 100")
        .line(broker.port, "")
        .station("text", "plant/text", "")
        .tags("text.data,text,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut stopped = driver.socket();
    stopped.call("tag.subscribe", json!({ "names": ["text.data"], "after": null }));
    // More text than is kept in memory, and more changes than the journal holds.
    let filling = "x".repeat(20_000);
    for number in 1..=1500_u16 {
        link.send(&publish("plant/text", format!("{number} {filling}"), 1, number));
        if number > 20 {
            link.expect(&Packet::Puback(number - 20));
        }
    }
    let (mut last, mut count, mut token) = (0, 0, Json::Null);
    let told = loop {
        let notification = stopped.notification_within(Duration::from_secs(30));
        let notification = notification.expect("a word before the end");
        if notification["method"] != "tag.changed" {
            break notification;
        }
        for change in notification["params"]["changes"].as_array().unwrap() {
            let seq = change["seq"].as_u64().unwrap();
            assert!(last == 0 || seq == last + 1, "change {seq} after {last}: a gap");
            (last, count) = (seq, count + 1);
        }
        token = notification["params"]["token"].clone();
    };
    assert!(count > 0 && count < 1500, "{count}");
    assert_eq!(told["method"], "tag.interrupted", "{told}");
    let params = &told["params"];
    assert_eq!((&params["error"]["code"], &params["token"]), (&json!(-32010), &token), "{params}");
    assert_eq!(stopped.next_line(), None, "then the connection ends");
    // Its token is too old by now, and the error says from where it can go on.
    let request = |after: &Json| json!({ "names": ["text.data"], "after": after });
    let refused = driver.socket().refused("tag.subscribe", request(&token));
    assert_eq!(refused.code, -32010);
    let oldest = refused.data["oldest"].clone();
    driver.socket().call("tag.subscribe", request(&oldest));
    // The line has not suffered.
    while let Next::Packet(packet) = link.next_within(Duration::from_millis(200)) {
        assert!(matches!(packet, Packet::Puback(_)), "{packet:?}");
    }
    driver.line_is("plant", "up");
}

#[test]
fn clients_that_come_and_go_by_the_thousand_leave_nothing_behind() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&many_tags(&broker));
    let _link = broker.accept_session(false);
    driver.up();
    let descriptors = || driver.descriptors();
    let before = descriptors();
    let begins: [&[u8]; 6] = [
        b"",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tag.re",
        b"\x00\xff\xfe garbage \x80\n\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tag.subscribe\",\"params\":{\"names\":[\"*\"]}}\n",
        b"[[[[[[[[",
    ];
    for round in 0..3000 {
        let mut socket = driver.socket();
        // The process may have turned it away already.
        let _ = socket.send_bytes(begins[round % begins.len()]);
    }
    eventually("nothing is left of them", || (descriptors() <= before + 2).then_some(()));
    let values = driver.call("tag.read", json!({ "names": ["m.t1"] }));
    assert_eq!(values["values"][0]["name"], "m.t1");
}

#[test]
fn garbage_is_answered_line_by_line_and_the_connection_stays() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&many_tags(&broker));
    let mut socket = driver.socket();
    let garbage: Vec<u8> =
        (0..50_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let lines = garbage.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let lines = lines.count();
    socket.send_bytes(&garbage).unwrap();
    socket.send_bytes(b"\n").unwrap();
    for _ in 0..lines {
        let answer: Json = serde_json::from_str(&socket.next_line().unwrap()).unwrap();
        assert_eq!(answer["error"]["code"], -32700, "{answer}");
        assert_eq!(answer["id"], Json::Null);
    }
    socket.call("process.status", json!({}));
    // A request of nearly 16 MiB is one; a little more is none.
    let padded = |bytes: usize| {
        let request = "{\"jsonrpc\":\"2.0\",\"id\":\"big\",\"method\":\"line.list\"}";
        format!("{request}{}\n", " ".repeat(bytes - request.len() - 1))
    };
    socket.send_bytes(padded((16 << 20) - 1).as_bytes()).unwrap();
    let answer: Json = serde_json::from_str(&socket.next_line().unwrap()).unwrap();
    assert_eq!(answer["id"], "big", "{answer}");
    let _ = socket.send_bytes(padded((16 << 20) + 1).as_bytes());
    let answer: Json = serde_json::from_str(&socket.next_line().unwrap()).unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    assert_eq!(socket.next_line(), None);
}
