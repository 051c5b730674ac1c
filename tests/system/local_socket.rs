//! The local socket: requests, mistakes, crowds, and clients that do not behave.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, publish};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, Socket, eventually, free_port};

fn two_stations(config: Config) -> Config {
    config
        .station("pump1", "plant/pump1", "payload_type = \"json\"\nout_topic = \"cmd/pump1\"")
        .station("pump2", "plant/pump2", "payload_type = \"json\"")
        .tag_columns("name,station,type,address,unit,description")
        .tags(
            "pump1.flow,pump1,Ai,JA=flow,m³/h,Flow
             pump1.on,pump1,Di,JA=on,,
             pump1.set,pump1,Ao,OUT_VALUE,,
             pump2.flow,pump2,Ai,JA=flow,m³/h,
             pump10.x,pump2,Ai,JA=x,,",
        )
}

/// A driver whose broker does not exist.
fn alone() -> Driver {
    Driver::start(&two_stations(Config::new().line(free_port(), "")))
}

fn names(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn read_takes_names_and_wildcards_and_says_what_is_unknown() {
    let driver = alone();
    let mut socket = driver.socket();
    let mut read =
        |wanted: Json| socket.call("tag.read", json!({ "names": wanted }))["values"].take();
    let values = read(json!(["pump1.flow"]));
    let expected = json!([{
        "name": "pump1.flow", "value": null, "quality": "bad", "reason": "never_received",
        "time": null, "received": null, "seq": 0,
    }]);
    assert_eq!(values, expected);
    assert_eq!(names(&read(json!(["pump?.flow"]))), ["pump1.flow", "pump2.flow"]);
    assert_eq!(
        names(&read(json!(["*"]))),
        ["pump1.flow", "pump1.on", "pump1.set", "pump10.x", "pump2.flow"]
    );
    assert_eq!(read(json!(["nobody*"])), json!([]));
    assert_eq!(read(json!([])), json!([]));
    let values = read(json!(["pump1.on", "nobody", "pump2.flow"]));
    assert_eq!(names(&values), ["pump1.on", "nobody", "pump2.flow"], "in the order of the request");
    assert_eq!(values[1]["error"]["code"], -32001);
    assert!(values[1]["error"]["message"].as_str().unwrap().contains("nobody"));
}

#[test]
fn browse_filters_and_turns_pages() {
    let driver = alone();
    let mut socket = driver.socket();
    let all = socket.call("tag.browse", json!({}));
    assert_eq!(all["tags"].as_array().unwrap().len(), 5);
    assert_eq!(all["next"], Json::Null);
    let expected = json!({
        "name": "pump1.flow", "type": "Ai", "address": "JA=flow", "station": "pump1",
        "line": "plant", "unit": "m³/h", "description": "Flow",
    });
    assert_eq!(all["tags"][0], expected);
    let of_two = socket.call("tag.browse", json!({ "station": "pump2" }));
    assert_eq!(names(&of_two["tags"]), ["pump10.x", "pump2.flow"]);
    let by_pattern = socket.call("tag.browse", json!({ "pattern": "*.flow", "line": "plant" }));
    assert_eq!(names(&by_pattern["tags"]), ["pump1.flow", "pump2.flow"]);
    let mut seen = Vec::new();
    let mut after = Json::Null;
    loop {
        let page = socket.call("tag.browse", json!({ "limit": 2, "after": after }));
        assert!(page["tags"].as_array().unwrap().len() <= 2);
        seen.extend(names(&page["tags"]).iter().map(|name| (*name).to_owned()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, ["pump1.flow", "pump1.on", "pump1.set", "pump10.x", "pump2.flow"]);
    for params in [json!({ "line": "nobody" }), json!({ "station": "nobody" })] {
        assert_eq!(socket.refused("tag.browse", params).code, -32602);
    }
}

#[test]
fn mistakes_have_the_codes_of_the_contract_and_the_connection_stays() {
    let driver = alone();
    let mut socket = driver.socket();
    let mut send = |line: &str| -> Json {
        socket.send_bytes(format!("{line}\n").as_bytes()).unwrap();
        serde_json::from_str(&socket.next_line().expect("the connection stays")).unwrap()
    };
    for (line, code) in [
        ("nonsense", -32700),
        ("{", -32700),
        ("\u{1}\u{2}", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.read","params":{"names":["x"]}"#, -32700),
        ("[]", -32600),
        ("7", -32600),
        (r#"{"id":1,"method":"line.list"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"line.list"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.nothing"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.read"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.read","params":{"names":"x"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.read","params":{"names":[7]}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.read","params":{"name":["x"]}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tag.write","params":{}}"#, -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tag.write","params":{"writes":[],"timeout_s":-1}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tag.unsubscribe","params":{"subscription":9}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tag.subscribe","params":{"names":["nobody"]}}"#,
            -32001,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tag.subscribe","params":{"names":["*"],"after":"x"}}"#,
            -32602,
        ),
    ] {
        let answer = send(line);
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
        assert!(answer["error"]["message"].is_string());
        assert!(answer.get("result").is_none(), "{answer}");
    }
    // Bytes that are no UTF-8 are no JSON either.
    socket.send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xFF\"}\n").unwrap();
    let answer: Json = serde_json::from_str(&socket.next_line().unwrap()).unwrap();
    assert_eq!(answer["error"]["code"], -32700);
    socket.call("process.status", json!({}));
}

#[test]
fn ids_come_back_as_they_were_and_notifications_have_no_answer() {
    let driver = alone();
    let mut socket = driver.socket();
    for id in ["1", "\"text\"", "-7", "1.5", "null", "\"\\u00e9\"", "12345678901234567890"] {
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"line.list\"}}\n");
        socket.send_bytes(line.as_bytes()).unwrap();
        let answer = socket.next_line().unwrap();
        let expected: Json = serde_json::from_str(id).unwrap();
        let answer: Json = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["id"], expected);
        assert!(answer["result"]["lines"].is_array());
    }
    // No id: no answer. The next answer is that of the request behind it.
    socket.send_bytes(b"{\"jsonrpc\":\"2.0\",\"method\":\"line.list\"}\n\n \r\n").unwrap();
    let status = socket.call("process.status", json!({}));
    assert_eq!(status["tags"]["total"], 5);
}

#[test]
fn lines_may_come_in_halves_and_several_at_once() {
    let driver = alone();
    let mut socket = driver.socket();
    let line = b"{\"jsonrpc\":\"2.0\",\"id\":41,\"method\":\"process.status\"}\n";
    for byte in line {
        socket.send_bytes(&[*byte]).unwrap();
    }
    assert!(socket.next_line().unwrap().contains("\"id\":41"));
    socket.send_bytes(&line.repeat(100)).unwrap();
    for _ in 0..100 {
        assert!(socket.next_line().unwrap().contains("\"id\":41"));
    }
    // Half a line and the end: nothing is done, nothing is said.
    socket.send_bytes(&line[..20]).unwrap();
    drop(socket);
    driver.socket().call("process.status", json!({}));
}

#[test]
fn a_line_that_does_not_end_is_refused_at_16_mib() {
    let driver = alone();
    let before = driver.resident_bytes();
    let mut socket = driver.socket();
    let chunk = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while sent < 40 && socket.send_bytes(&chunk).is_ok() {
        sent += 1;
    }
    assert!(sent < 40, "40 MiB without a line end were taken");
    let answer: Json = serde_json::from_str(&socket.next_line().unwrap()).unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("16 MiB"), "{answer}");
    assert_eq!(socket.next_line(), None, "the connection is closed");
    eventually("the memory is given back or bounded", || {
        (driver.resident_bytes() < before + (40 << 20)).then_some(())
    });
    driver.socket().call("process.status", json!({}));
}

#[test]
fn current_values_come_first_then_changes_until_unsubscribed() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&two_stations(Config::new().line(broker.port, "")));
    driver.up();
    broker.publish("plant/pump1", r#"{"flow":1,"on":true}"#, 1);
    driver.has("pump1.on", true, "ok");
    let mut changes = driver.subscribe(&["pump1.*", "pump?.flow"], Json::Null);
    // Tags that nothing has happened to are no change; a tag named twice comes once.
    changes.until("the current values", |all| all.len() >= 2);
    assert_eq!(names(&json!(changes.all)), ["pump1.flow", "pump1.on"]);
    broker.publish("plant/pump2", r#"{"flow":2,"x":3}"#, 1);
    changes.until("a change", |all| all.len() >= 3);
    assert_eq!(changes.all[2]["name"], "pump2.flow", "{:?}", changes.all);
    let last = changes.all[2].clone();
    assert_eq!(driver.read("pump2.flow"), last, "a change is the tag as it is read");
    let number = changes.number;
    changes.socket.call("tag.unsubscribe", json!({ "subscription": number }));
    broker.publish("plant/pump2", r#"{"flow":4}"#, 1);
    driver.has("pump2.flow", 4, "ok");
    driver.durable();
    // The answer comes behind everything that was sent before it.
    changes.socket.call("process.status", json!({}));
    assert!(changes.socket.notification_within(Duration::from_millis(100)).is_none());
    let again = changes.socket.refused("tag.unsubscribe", json!({ "subscription": number }));
    assert_eq!(again.code, -32602);
}

#[test]
fn a_consumer_that_comes_back_with_its_token_misses_nothing() {
    let broker = Mosquitto::start();
    let mut driver = Driver::start(&two_stations(Config::new().line(broker.port, "")));
    driver.up();
    let publish = |from: u32, to: u32| {
        let lines: String = (from..=to).map(|n| format!("{{\"flow\":{n}}}\n")).collect();
        broker.publish_lines("plant/pump1", &lines, 1);
    };
    let mut seen = Vec::new();
    let mut token = json!("oldest");
    for round in 0..4 {
        publish(round * 50 + 1, round * 50 + 50);
        let last = f64::from(round * 50 + 50);
        driver.has("pump1.flow", last, "ok");
        if round == 2 {
            // Over a restart of the driver too.
            driver.durable();
            driver.kill();
            driver.restart();
            driver.up();
        }
        let mut changes = driver.subscribe(&["pump1.flow"], token);
        changes.until("the last of the round", |all| {
            all.last().is_some_and(|change| change["value"] == last)
        });
        let good = changes.all.iter().filter(|change| change["reason"] == "ok");
        seen.extend(good.map(|change| change["value"].as_f64().unwrap()));
        token = changes.token.clone();
    }
    seen.dedup();
    let expected: Vec<f64> = (1..=200).map(f64::from).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_token_that_the_journal_has_lost_is_an_error_with_the_oldest_one() {
    let broker = Mosquitto::start();
    let config = Config::new().top("[journal]\nmax_entries = 100").line(broker.port, "");
    let driver = Driver::start(&two_stations(config));
    driver.up();
    broker.publish("plant/pump1", r#"{"flow":0}"#, 1);
    let mut changes = driver.subscribe(&["pump1.flow"], "oldest");
    changes.until("the first", |all| !all.is_empty());
    let lines: String = (1..=1000).map(|n| format!("{{\"flow\":{n}}}\n")).collect();
    broker.publish_lines("plant/pump1", &lines, 1);
    driver.has("pump1.flow", 1000, "ok");
    driver.durable();
    let params = json!({ "names": ["pump1.flow"], "after": changes.all[0]["seq"].to_string() });
    let mut socket = driver.socket();
    let error = socket.refused("tag.subscribe", params);
    assert_eq!(error.code, -32010, "{error:?}");
    let oldest = error.data["oldest"].clone();
    assert!(error.message.contains(oldest.as_str().unwrap()), "{error:?}");
    let mut changes = driver.subscribe(&["pump1.flow"], oldest);
    changes.until("the last", |all| all.last().is_some_and(|change| change["value"] == 1000.0));
    assert!(changes.all.len() <= 100, "{}", changes.all.len());
}

#[test]
fn many_clients_are_served_and_too_many_are_told_so() {
    let driver = alone();
    let mut sockets: Vec<Socket> = (0..500).map(|_| driver.socket()).collect();
    let requests: Vec<u64> = sockets
        .iter_mut()
        .map(|socket| socket.request("tag.read", json!({ "names": ["*"] })))
        .collect();
    for (socket, request) in sockets.iter_mut().zip(requests) {
        assert_eq!(socket.answer(request).unwrap()["values"].as_array().unwrap().len(), 5);
    }
    // One more than the bound is told so and closed.
    sockets.extend((0..600).map(|_| driver.socket()));
    let told = sockets.last_mut().unwrap().next_line().expect("a word before the end");
    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["code"], -32005, "{told}");
    assert_eq!(sockets.last_mut().unwrap().next_line(), None);
    drop(sockets);
    eventually("there is room again", || {
        let mut socket = driver.socket();
        socket.send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"line.list\"}\n").ok()?;
        socket.next_line()?.contains("result").then_some(())
    });
}

#[test]
fn a_client_that_never_reads_stops_nobody_and_costs_bounded_memory() {
    let broker = FakeBroker::start();
    let config = Config::new()
        .line(broker.port, "")
        .station("text", "plant/text", "")
        .tags("text.data,text,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    // They subscribe, and ask for more, and never read.
    let mut silent: Vec<UnixStream> = Vec::new();
    for _ in 0..20 {
        let mut stream = UnixStream::connect(driver.socket_path()).unwrap();
        stream
            .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tag.subscribe\",\"params\":{\"names\":[\"*\"]}}\n")
            .unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let request = b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tag.browse\"}\n".repeat(20_000);
        let _ = stream.write_all(&request);
        silent.push(stream);
    }
    let mut changes = driver.subscribe(&["text.data"], Json::Null);
    let before = driver.resident_bytes();
    let filling = "x".repeat(10_000);
    for round in 0..50_u16 {
        let packets: Vec<Packet> = (0..50_u16)
            .map(|place| publish("plant/text", format!("{round}.{place} {filling}"), 1, place + 1))
            .collect();
        link.send_all(&packets);
        for place in 0..50_u16 {
            link.expect(&Packet::Puback(place + 1));
        }
        while changes.take_in(Duration::from_millis(1)) {}
    }
    changes.until("every change", |all| all.len() >= 2500);
    let grown = driver.resident_bytes().saturating_sub(before);
    // 25 MB were sent; twenty silent clients must not hold it twenty times.
    assert!(grown < 150 << 20, "{} MiB more", grown >> 20);
}

#[test]
fn a_slow_reader_gets_every_change_in_order() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&two_stations(Config::new().line(broker.port, "")));
    driver.up();
    let mut changes = driver.subscribe(&["pump1.flow"], Json::Null);
    let lines: String = (1..=5000).map(|n| format!("{{\"flow\":{n}}}\n")).collect();
    broker.publish_lines("plant/pump1", &lines, 1);
    driver.has("pump1.flow", 5000, "ok");
    changes.until("all", |all| all.len() >= 5000);
    let values: Vec<f64> = changes.all.iter().map(|c| c["value"].as_f64().unwrap()).collect();
    let expected: Vec<f64> = (1..=5000).map(f64::from).collect();
    assert_eq!(values, expected);
}

#[test]
fn a_client_that_ends_its_sending_still_gets_its_answers() {
    let driver = alone();
    let mut stream = UnixStream::connect(driver.socket_path()).unwrap();
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"line.list\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.contains("\"id\":7"), "{answer}");
}

#[test]
fn the_socket_file_has_its_mode_and_only_a_stale_one_is_replaced() {
    let mut driver = alone();
    let path = driver.socket_path();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o660);
    // Killed: the file stays, nobody answers, the next start replaces it.
    driver.kill();
    assert!(path.exists());
    driver.restart();
    // A live one is left alone: another process with another store and the same socket.
    let mut other = Driver::prepare(&two_stations(Config::new().line(free_port(), "")));
    let output = other.run(["--socket", path.to_str().unwrap(), "run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another process answers"), "{said}");
    driver.call("process.status", json!({}));
    // Something else than a socket is left alone, too.
    std::fs::create_dir_all(other.folder().join("run")).unwrap();
    std::fs::write(other.socket_path(), "precious").unwrap();
    let output = other.run(["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(other.socket_path()).unwrap(), "precious");
    std::fs::remove_file(other.socket_path()).unwrap();
    // Another mode as configured.
    let config = Config::new().top("[socket]\nmode = \"0600\"").line(free_port(), "");
    two_stations(config).write(other.folder());
    other.restart();
    assert_eq!(mode(&other.socket_path()), 0o600);
}

#[test]
fn monstrous_requests_are_mistakes_like_others() {
    let driver = alone();
    let mut socket = driver.socket();
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for (value, codes) in [
        (deep.as_str(), &[-32700, -32600, -32602][..]),
        ("1e400", &[-32700, -32602]),
        ("\"\\ud800\"", &[-32700, -32602]),
    ] {
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tag.write\",\"params\":\
             {{\"writes\":[{{\"name\":\"pump1.set\",\"value\":{value}}}]}}}}\n"
        );
        socket.send_bytes(line.as_bytes()).unwrap();
        let answer: Json = serde_json::from_str(&socket.next_line().unwrap()).unwrap();
        let code = answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}"));
        assert!(codes.contains(&code), "{value:.20}: {answer}");
    }
    // Many names, and a wildcard that other programs take long for.
    let names: Vec<String> = (0..100_000).map(|number| format!("nobody{number}")).collect();
    let values = socket.call("tag.read", json!({ "names": names }));
    assert_eq!(values["values"].as_array().unwrap().len(), 100_000);
    let stars = "*a".repeat(2000);
    assert_eq!(socket.call("tag.read", json!({ "names": [stars] }))["values"], json!([]));
}

#[test]
fn a_client_that_never_reads_does_not_hold_up_the_end() {
    let mut driver = alone();
    let mut stream = UnixStream::connect(driver.socket_path()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tag.browse\"}\n".repeat(20_000);
    let _ = stream.write_all(&request);
    let begun = std::time::Instant::now();
    assert_eq!(driver.terminate().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}
