//! Another configuration while everything runs: only what changed is changed.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, publish};
use crate::harness::{
    Changes, Config, Driver, FakeBroker, ModelBroker, Mosquitto, PATIENCE, eventually,
};

fn pump(config: Config, tags: &str) -> Config {
    config.station("pump", "plant/pump", "payload_type = \"json\"").tags(tags)
}

#[track_caller]
fn reload(driver: &Driver, config: &Config) -> Json {
    config.write(driver.folder());
    driver.call("config.reload", json!({}))
}

fn names(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Waits for the next notification of a method.
#[track_caller]
fn notified(changes: &mut Changes, method: &str) -> Json {
    eventually(method, || {
        let notification = changes.socket.notification_within(Duration::from_millis(20))?;
        (notification["method"] == method).then(|| notification["params"].clone())
    })
}

#[test]
fn the_same_configuration_changes_nothing_and_says_so() {
    let broker = Mosquitto::start();
    let config = pump(Config::new().line(broker.port, ""), "pump.a,pump,Ai,JA=a");
    let driver = Driver::start(&config);
    driver.up();
    let answer = driver.call("config.reload", json!({}));
    assert_eq!(answer["changed"], false);
    assert_eq!(answer["tags"]["counts"], json!({ "added": 0, "removed": 0, "changed": 0 }));
    assert_eq!(answer["lines"]["reconnected"], json!([]));
    assert_eq!(answer["restart_needed"], json!([]));
    let output = driver.run(["reload"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing has changed\n");
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_names_every_mistake() {
    let broker = Mosquitto::start();
    let config = pump(Config::new().line(broker.port, ""), "pump.a,pump,Ai,JA=a");
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/pump", r#"{"a":1}"#, 1);
    driver.has("pump.a", 1, "ok");
    let wrong = pump(
        Config::new().line(broker.port, "keep_alive = \"bad\""),
        "pump.a,pump,Ax,JA=a\npump.b,pomp,Ai,JA=b",
    );
    wrong.write(driver.folder());
    let error = driver.socket().refused("config.reload", json!({}));
    assert_eq!(error.code, -32020, "{error:?}");
    let diagnostics = error.data["diagnostics"].as_array().unwrap().clone();
    assert_eq!(diagnostics.len(), 3, "{diagnostics:#?}");
    assert!(diagnostics[0]["file"].as_str().unwrap().ends_with("tagline.toml"));
    assert!(diagnostics[0]["line"].as_u64().unwrap() > 1);
    assert!(diagnostics.iter().any(|one| one["message"].as_str().unwrap().contains("pomp")));
    driver.logs(&["not reloaded, nothing was changed"]);
    // Looking does the same without a word in the log.
    let answer = driver.call("config.check", json!({}));
    assert_eq!([&answer["ok"], &answer["changes"]], [&json!(false), &Json::Null]);
    assert_eq!(answer["diagnostics"], json!(diagnostics));
    let output = driver.run(["reload"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("3 mistakes") && said.contains("pomp") && said.contains("Ax"), "{said}");
    // Everything is as it was.
    assert_eq!(driver.read("pump.a")["value"], 1.0);
    broker.publish("plant/pump", r#"{"a":2}"#, 1);
    driver.has("pump.a", 2, "ok");
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn a_check_says_what_a_reload_would_change() {
    let broker = Mosquitto::start();
    let line = || Config::new().line(broker.port, "");
    let driver = Driver::start(&pump(line(), "pump.a,pump,Ai,JA=a\npump.b,pump,Ai,JA=b"));
    driver.up();
    pump(line(), "pump.a,pump,Ai,JA=x\npump.c,pump,Ai,JA=c").write(driver.folder());
    let answer = driver.call("config.check", json!({}));
    assert_eq!([&answer["ok"], &answer["diagnostics"]], [&json!(true), &json!([])]);
    let changes = &answer["changes"];
    assert_eq!(names(&changes["tags"]["added"]), ["pump.c"]);
    assert_eq!(names(&changes["tags"]["removed"]), ["pump.b"]);
    assert_eq!(names(&changes["tags"]["changed"]), ["pump.a"]);
    assert_eq!(driver.read("pump.b")["reason"], "never_received");
    assert_eq!(driver.read("pump.c")["error"]["code"], -32001);
    let output = driver.run(["reload", "--check"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 tag added: pump.c"));
    assert_eq!(driver.call("config.reload", json!({})), *changes);
}

#[test]
fn tags_come_and_go_while_others_keep_their_values_and_the_line_its_connection() {
    let broker = Mosquitto::start();
    let line = || Config::new().line(broker.port, "");
    let tags = "pump.a,pump,Ai,JA=a\npump.b,pump,Ai,JA=b\npump.t,pump,Ai,JA=t";
    let driver = Driver::start(&pump(line(), tags));
    driver.up();
    broker.publish("plant/pump", r#"{"a":1,"b":2,"t":3,"new":4}"#, 1);
    driver.has("pump.t", 3, "ok");
    let before = driver.read("pump.a");
    let mut changes = driver.subscribe(&["pump.*"], Json::Null);
    changes.until("current values", |all| all.len() >= 3);

    // `t` becomes a text, `b` goes, `new` comes.
    let tags = "pump.a,pump,Ai,JA=a\npump.t,pump,TxtI,JA=t\npump.new,pump,Ai,JA=new";
    let answer = reload(&driver, &pump(line(), tags));
    assert_eq!(names(&answer["tags"]["changed"]), ["pump.t"]);
    assert_eq!(driver.read("pump.a"), before);
    assert_eq!(driver.read("pump.b")["error"]["code"], -32001);
    assert_eq!(driver.read("pump.new")["reason"], "never_received");
    let retyped = driver.read("pump.t");
    assert_eq!([&retyped["value"], &retyped["reason"]], [&Json::Null, &json!("never_received")]);
    // The subscriber learns of it, and goes on.
    changes.until("the tag of another type", |all| {
        all.last().unwrap()["name"] == "pump.t" && all.last().unwrap()["value"].is_null()
    });
    let told = notified(&mut changes, "subscription.changed");
    assert_eq!(told["subscription"], changes.number);
    assert_eq!([names(&told["added"]), names(&told["removed"])], [["pump.new"], ["pump.b"]]);
    broker.publish("plant/pump", r#"{"a":5,"b":6,"t":7,"new":8}"#, 1);
    driver.has("pump.new", 8, "ok");
    driver.has("pump.t", "7", "ok");
    changes.until("all three", |all| all.len() >= 7);
    let seen: Vec<&Json> = changes.all[4..].iter().map(|change| &change["name"]).collect();
    assert_eq!(seen, ["pump.a", "pump.t", "pump.new"]);

    // What comes back has the value it had, and is not taken for fresh.
    let tags = "pump.a,pump,Ai,JA=a\npump.b,pump,Ai,JA=b";
    reload(&driver, &pump(line(), tags));
    let back = driver.read("pump.b");
    assert_eq!([&back["value"], &back["reason"]], [&json!(2.0), &json!("restored")]);
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn a_tag_that_only_the_store_knows_is_restored() {
    let broker = Mosquitto::start();
    let line = || Config::new().line(broker.port, "");
    let mut driver = Driver::start(&pump(line(), "pump.a,pump,Ai,JA=a\npump.b,pump,TxtI,JA=b"));
    driver.up();
    let long = "x".repeat(5000);
    broker.publish("plant/pump", json!({ "a": 1, "b": long }).to_string(), 1);
    driver.has("pump.b", long.as_str(), "ok");
    driver.durable();
    assert!(driver.terminate().success());
    pump(line(), "").write(driver.folder());
    driver.restart();
    driver.up();
    assert_eq!(driver.read("pump.a")["error"]["code"], -32001);
    let mut changes = driver.subscribe(&["*"], Json::Null);
    reload(&driver, &pump(line(), "pump.a,pump,Ai,JA=a\npump.b,pump,TxtI,JA=b"));
    driver.has("pump.a", 1, "restored");
    driver.has("pump.b", long.as_str(), "restored");
    changes.until("both are told", |all| all.len() == 2);
    assert_eq!(changes.all[0]["reason"], "restored");
    // And the numbers of the store still fit: over another restart, too.
    broker.publish("plant/pump", r#"{"a":2,"b":"y"}"#, 1);
    driver.has("pump.b", "y", "ok");
    driver.durable();
    driver.kill();
    driver.restart();
    assert_eq!(driver.read("pump.b")["value"], "y");
    assert_eq!(driver.read("pump.a")["value"], 2.0);
}

/// Numbers stream in at QoS 1 and 2 while tags, stations and filters come and go.
#[test]
fn no_message_is_lost_or_doubled_while_the_configuration_changes() {
    const COUNT: usize = 3000;
    let broker = Mosquitto::start();
    let with = |more: usize| {
        let mut config = pump(Config::new().line(broker.port, "subscribe_qos = 2"), "")
            .station("one", "plant/one", "")
            .station("two", "plant/two", "")
            .tags("one,one,TxtI,IN_DATA\ntwo,two,TxtI,IN_DATA");
        for n in 0..more {
            config = config
                .station(&format!("s{n}"), &format!("plant/s{n}"), "")
                .tags(&format!("more.{n},pump,Ai,JA=a{n}\none.{n},one,TxtI,TL={}", n + 1));
        }
        config
    };
    let driver = Driver::start(&with(0));
    driver.up();
    let mut changes = driver.subscribe(&["one", "two"], Json::Null);
    let numbers: String = (1..=COUNT).map(|n| format!("{n}\n")).collect();
    std::thread::scope(|scope| {
        for (topic, qos) in [("plant/one", 1), ("plant/two", 2)] {
            let (broker, numbers) = (&broker, &numbers);
            scope.spawn(move || broker.publish_lines(topic, numbers, qos));
        }
        for round in 0..40 {
            reload(&driver, &with(round % 7));
        }
    });
    changes.until("all numbers", |all| all.len() >= 2 * COUNT);
    for tag in ["one", "two"] {
        let values = changes.values_of(tag);
        // This broker does not keep the order of what it queues.
        let mut numbers: Vec<usize> =
            values.iter().map(|value| value.as_str().unwrap().parse().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=COUNT), "{tag}: {} values", values.len());
    }
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

/// One topic from a broker that keeps the order, through tags and stations that come and go; the
/// station itself changes its ways, too.
#[test]
fn the_order_of_messages_is_kept_while_the_configuration_changes() {
    const COUNT: usize = 4000;
    let broker = ModelBroker::start(1, 1);
    broker.steady();
    let with = |round: usize| {
        let keys = ["", "stale_after = \"1h\"", "error_delay = \"9s\"", "max_age = \"9h\""];
        let mut config = Config::new()
            .line(broker.port, ["", "ping_interval = \"9s\""][round / 2 % 2])
            .station("text", "plant/text", keys[round % keys.len()])
            .tags("text,text,TxtI,IN_DATA");
        for n in 0..round % 5 {
            config = config.tags(&format!("level.{n},text,TxtI,TL={}", n + 1));
        }
        config
    };
    let driver = Driver::start(&with(0));
    driver.up();
    let mut changes = driver.subscribe(&["text"], Json::Null);
    for n in 1..=COUNT {
        broker.publish(n.to_string(), 1 + (n % 2) as u8);
    }
    let mut round = 0;
    while !broker.is_drained() {
        round += 1;
        reload(&driver, &with(round));
    }
    assert!(round > 3, "{round}");
    changes.until("all numbers", |all| all.len() >= COUNT);
    let numbers = changes.values_of("text");
    let numbers = numbers.iter().map(|value| value.as_str().unwrap().parse().unwrap());
    let wrong = numbers.zip(1..).find(|(number, expected): &(usize, usize)| number != expected);
    assert_eq!((wrong, changes.all.len()), (None, COUNT));
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn a_consumer_that_comes_back_misses_nothing_of_a_tag_that_was_moved_or_retyped() {
    let broker = Mosquitto::start();
    let config = |line: &str, tag_type: &str| {
        let station = format!(
            "[[station]]\nname = \"pump\"\nline = \"{line}\"\naddress = \"plant/pump\"\npayload_type = \"json\"\n"
        );
        let lines = Config::new().line_named("one", broker.port, "");
        let lines = lines.line_named("two", broker.port, "").stations(&station);
        lines.tags(&format!("pump.speed,pump,{tag_type},JA=speed"))
    };
    for other in [config("two", "TxtI"), config("one", "Ai")] {
        let driver = Driver::start(&config("one", "TxtI"));
        driver.line_is("one", "up");
        let names = json!(["pump.speed"]);
        let place = driver.call("tag.subscribe", json!({ "names": names }))["token"].take();
        for speed in 1..=3 {
            broker.publish("plant/pump", format!("{{\"speed\":{speed}}}"), 1);
        }
        driver.has("pump.speed", "3", "ok");
        driver.durable();
        reload(&driver, &other);
        let mut socket = driver.socket();
        socket.call("tag.subscribe", json!({ "names": names, "after": place }));
        let mut values = Vec::new();
        while values.len() < 4 {
            let mut told = socket.notification_within(PATIENCE).expect("what it has missed");
            assert_eq!(told["method"], "tag.changed", "{told}");
            let changes = told["params"]["changes"].take();
            values.extend(changes.as_array().unwrap().iter().map(|change| change["value"].clone()));
        }
        assert_eq!(values[..3], [json!("1"), json!("2"), json!("3")]);
    }
}

#[test]
fn filters_are_reconciled_on_the_connection_that_there_is() {
    let broker = FakeBroker::start();
    let config = |filters: &str, stations: &[&str]| {
        let config = Config::new().line(broker.port, &format!("topic_filter = {filters}"));
        stations.iter().fold(config, |config, more| {
            let name = more.split(' ').next().unwrap();
            config.station(name, &format!("plant/{name}"), &more[name.len()..])
        })
    };
    let tap = "tap subscribe_address = true";
    let driver = Driver::start(&config("[\"a\", \"b\"]", &["pump", tap]));
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    assert_eq!(link.grant().len(), 3);
    driver.up();
    // `b` and the station's own go; `c` and a will's topic come.
    let will = "pump will_topic = \"plant/gone\"";
    config("[\"a\", \"c\"]", &[will, "tap"]).write(driver.folder());
    let mut socket = driver.socket();
    let asked = socket.request("config.reload", json!({}));
    match link.next() {
        Packet::Unsubscribe { id, filters } => {
            assert_eq!(filters, ["b", "plant/tap"]);
            link.send(&Packet::Unsuback(id));
        }
        other => panic!("expected UNSUBSCRIBE, got {other:?}"),
    }
    let filters: Vec<String> = link.grant().into_iter().map(|(filter, _)| filter).collect();
    assert_eq!(filters, ["c", "plant/gone"]);
    let answer = socket.answer(asked).unwrap();
    assert_eq!(names(&answer["lines"]["changed"]), ["plant"]);
    assert_eq!(answer["lines"]["reconnected"], json!([]));
    let shown = eventually("the filters are shown", || {
        let line = driver.line("plant");
        let filters = line["subscriptions"].as_array().unwrap();
        let filters: Vec<String> =
            filters.iter().map(|one| one["filter"].as_str().unwrap().to_owned()).collect();
        (filters.len() == 3).then_some(filters)
    });
    assert_eq!(shown, ["a", "c", "plant/gone"]);
    // Another QoS is asked for with every filter, and nothing else happens.
    let again = Config::new()
        .line(broker.port, "topic_filter = [\"a\", \"c\"]\nsubscribe_qos = 2")
        .station("pump", "plant/pump", "will_topic = \"plant/gone\"")
        .station("tap", "plant/tap", "");
    again.write(driver.folder());
    let asked = socket.request("config.reload", json!({}));
    let asked_for = link.grant();
    assert_eq!(asked_for.len(), 3);
    assert!(asked_for.iter().all(|(_, qos)| *qos == 2), "{asked_for:?}");
    socket.answer(asked).unwrap();
    link.expect_silence(Duration::from_millis(100));
    assert!(broker.accepted().is_none());
}

#[test]
fn a_changed_line_reconnects_alone_with_its_session() {
    let (first, second) = (FakeBroker::start(), FakeBroker::start());
    let config = |more: &str| {
        Config::new()
            .line_named("one", first.port, more)
            .line_named("two", second.port, "")
            .stations(
                "[[station]]\nname = \"a\"\nline = \"one\"\naddress = \"a\"\n\
                 [[station]]\nname = \"b\"\nline = \"two\"\naddress = \"b\"\n",
            )
            .tags("a,a,TxtI,IN_DATA\nb,b,TxtI,IN_DATA")
    };
    let driver = Driver::start(&config(""));
    let mut link = first.accept_session(false);
    let mut other = second.accept_session(false);
    for line in ["one", "two"] {
        driver.line_is(line, "up");
    }
    link.send(&publish("a", "1", 1, 7));
    link.expect(&Packet::Puback(7));
    let mut changes = driver.subscribe(&["*"], Json::Null);
    config("keep_alive = \"77s\"").write(driver.folder());
    let answer = driver.call("config.reload", json!({}));
    assert_eq!(names(&answer["lines"]["reconnected"]), ["one"]);
    // In order: DISCONNECT, then a connection of the same session.
    assert_eq!(link.expect_end(), [Packet::Disconnect]);
    let mut link = first.accept();
    let connect = link.expect_connect();
    assert_eq!((connect.keep_alive, connect.clean_session), (77, false));
    link.send(&Packet::Connack { session_present: true, code: 0 });
    link.grant();
    link.send(&publish("a", "2", 1, 8));
    link.expect(&Packet::Puback(8));
    other.send(&publish("b", "3", 1, 9));
    other.expect(&Packet::Puback(9));
    // The tags were spared the planned interruption.
    changes.until("both", |all| all.len() >= 3);
    let reasons: Vec<&Json> = changes.all.iter().map(|change| &change["reason"]).collect();
    assert!(reasons.iter().all(|reason| **reason == "ok"), "{:#?}", changes.all);
    assert!(second.accepted().is_none());
}

#[test]
fn another_client_id_is_another_session() {
    let broker = FakeBroker::start();
    let config = |id: &str| {
        pump(Config::new().line(broker.port, &format!("client_id = \"{id}\"")), "p,pump,Ai,JA=a")
    };
    let driver = Driver::start(&config("first"));
    let link = broker.accept_session(false);
    driver.up();
    config("second").write(driver.folder());
    driver.call("config.reload", json!({}));
    drop(link);
    let mut link = broker.accept();
    assert_eq!(link.expect_connect().client_id, "second");
    link.send(&Packet::Connack { session_present: false, code: 0 });
    link.grant();
    driver.up();
    driver.logs(&["the stored session of the client id `first` is dropped"]);
}

#[test]
fn a_line_that_cannot_connect_tries_its_new_server() {
    let broker = FakeBroker::start();
    let nobody = crate::harness::free_port();
    let config = |port: u16| pump(Config::new().line(port, ""), "p,pump,Ai,JA=a");
    let driver = Driver::start(&config(nobody));
    driver.line_is("plant", "connecting");
    config(broker.port).write(driver.folder());
    driver.call("config.reload", json!({}));
    let _link = broker.accept_session(false);
    driver.up();
}

#[test]
fn lines_come_and_go() {
    let broker = Mosquitto::start();
    let line = |name: &str| {
        (
            format!(
                "[[station]]\nname = \"s-{name}\"\nline = \"{name}\"\naddress = \"{name}/in\"\n"
            ),
            format!("{name}.in,s-{name},TxtI,IN_DATA\n"),
        )
    };
    let config = |lines: &[&str]| {
        lines.iter().fold(Config::new(), |config, name| {
            let (station, tag) = line(name);
            config.line_named(name, broker.port, "").stations(&station).tags(&tag)
        })
    };
    let driver = Driver::start(&config(&["one", "two"]));
    for name in ["one", "two"] {
        driver.line_is(name, "up");
    }
    broker.publish("two/in", "1", 1);
    driver.has("two.in", "1", "ok");
    let answer = reload(&driver, &config(&["one", "three"]));
    assert_eq!(names(&answer["lines"]["added"]), ["three"]);
    assert_eq!(names(&answer["lines"]["removed"]), ["two"]);
    let shown = driver.call("line.list", json!({}));
    let shown: Vec<&Json> =
        shown["lines"].as_array().unwrap().iter().map(|line| &line["name"]).collect();
    assert_eq!(shown, ["one", "three"]);
    driver.line_is("three", "up");
    broker.publish("three/in", "2", 1);
    driver.has("three.in", "2", "ok");
    // Its session is still with the broker, and with us: what comes meanwhile comes later.
    broker.publish("two/in", "while away", 1);
    reload(&driver, &config(&["one", "two", "three"]));
    driver.has("two.in", "while away", "ok");
    assert_eq!(driver.line("two")["session_present"], true);
    assert_eq!(driver.line("one")["counters"]["connects"], 1);
    assert_eq!(driver.line("three")["counters"]["connects"], 1);
}

#[test]
fn a_second_connection_comes_and_goes() {
    let (first, second) = (Mosquitto::start(), Mosquitto::start());
    let config = |more: &str| pump(Config::new().line(first.port, more), "pump.a,pump,Ai,JA=a");
    let driver = Driver::start(&config(""));
    driver.up();
    first.publish("plant/pump", r#"{"a":1}"#, 1);
    driver.has("pump.a", 1, "ok");
    let redundant = format!("redundant_servers = [\"mqtt://127.0.0.1:{}\"]", second.port);
    let answer = reload(&driver, &config(&redundant));
    assert_eq!(names(&answer["lines"]["reconnected"]), ["plant"]);
    driver.up();
    // In order if the session that was kept is back first, in doubt if the other connection is.
    let tag = eventually("the line is back", || {
        let tag = driver.read("pump.a");
        (tag["reason"] != "line_down").then_some(tag)
    });
    assert_eq!(tag["value"], 1.0, "{tag}");
    assert!(["ok", "restored"].contains(&tag["reason"].as_str().unwrap()), "{tag}");
    eventually("the second path is up", || {
        second.publish("plant/pump", r#"{"a":2}"#, 1);
        (driver.read("pump.a")["value"] == 2.0).then_some(())
    });
    let answer = reload(&driver, &config(""));
    assert_eq!(names(&answer["lines"]["reconnected"]), ["plant"]);
    driver.up();
    second.publish("plant/pump", r#"{"a":3}"#, 1);
    first.publish("plant/pump", r#"{"a":4}"#, 1);
    driver.has("pump.a", 4, "ok");
}

#[test]
fn timers_are_kept() {
    let broker = FakeBroker::start();
    let config = |pump: &str, tank: &str, tags: &str| {
        Config::new()
            .line(broker.port, "")
            .station("pump", "plant/pump", &format!("stale_after = \"{pump}\""))
            .station("tank", "plant/tank", &format!("stale_after = \"{tank}\""))
            .tags(&format!("pump,pump,TxtI,IN_DATA\ntank,tank,TxtI,IN_DATA\n{tags}"))
    };
    let driver = Driver::start(&config("2s", "1h", ""));
    let mut link = broker.accept_session(false);
    driver.up();
    link.send(&publish("plant/pump", "1", 0, 0));
    link.send(&publish("plant/tank", "1", 0, 0));
    driver.has("tank", "1", "ok");
    let received = driver.read("pump")["received"].as_str().unwrap().to_owned();
    // Reloads in a row neither begin it anew nor end it early.
    let mut rounds = 0;
    let stale = eventually("stale", || {
        let more = format!("more,pump,TxtI,TL={}", rounds % 2 + 1);
        reload(&driver, &config("2s", "1h", &more));
        rounds += 1;
        let tag = driver.read("pump");
        (tag["reason"] == "stale").then_some(tag)
    });
    assert!(rounds > 2, "{rounds}");
    assert_eq!(stale["received"], *received);
    let changes = driver.subscribe(&["pump"], "oldest");
    drop(changes);
    // A shorter time counts from the last message too: it is over.
    reload(&driver, &config("2s", "100ms", ""));
    driver.has("tank", "1", "stale");
    // A longer one makes it good again, but not as if nothing could have been missed.
    reload(&driver, &config("2s", "1h", ""));
    driver.has("tank", "1", "restored");
    assert_eq!(driver.read("pump")["reason"], "stale");
    link.send(&publish("plant/tank", "2", 0, 0));
    driver.has("tank", "2", "ok");
}

#[test]
fn unconfirmed_messages_wait_on_and_are_applied_when_nobody_can_confirm_them() {
    let broker = FakeBroker::start();
    let config = |tags: &str| {
        Config::new()
            .line(broker.port, "subscribe_qos = 2")
            .station("work", "plant/work", "")
            .tags(&format!("work.data,work,TxtI,IN_DATA\nwork.id,work,Ci,IN_ID\n{tags}"))
    };
    let ack = "work.ack,work,Co,ACK_ID";
    let driver = Driver::start(&config(ack));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut changes = driver.subscribe(&["work.data"], Json::Null);
    for (id, text, qos) in [(11, "one", 1), (12, "two", 2), (13, "three", 1)] {
        link.send(&publish("plant/work", text, qos, id));
    }
    eventually("they wait", || {
        (driver.station("work")["waiting_for_confirmation"] == 3).then_some(())
    });
    reload(&driver, &config(&format!("{ack}\nwork.topic,work,TxtI,IN_TOPIC")));
    assert_eq!(driver.station("work")["waiting_for_confirmation"], 3);
    assert_eq!(driver.write("work.ack", 11)["outcome"], "completed");
    link.expect(&Packet::Puback(11));
    driver.has("work.data", "two", "ok");
    // Without ACK_ID they are messages like any.
    reload(&driver, &config(""));
    link.expect(&Packet::Pubrec(12));
    link.send(&Packet::Pubrel(12));
    link.expect(&Packet::Puback(13));
    link.expect(&Packet::Pubcomp(12));
    driver.has("work.data", "three", "ok");
    assert_eq!(driver.station("work")["waiting_for_confirmation"], 0);
    changes.until("each once", |all| all.len() >= 3);
    assert_eq!(changes.values_of("work.data"), ["one", "two", "three"]);
    assert_eq!(driver.write("work.ack", 13)["error"]["code"], -32001);
}

#[test]
fn a_write_in_flight_ends_as_it_would_have() {
    let broker = FakeBroker::start();
    let config = |out: &str| {
        pump(Config::new().line(broker.port, "publish_qos = 1"), "pump.in,pump,Ai,JA=a")
            .station("valve", "plant/valve", "out_topic = \"plant/valve/set\"")
            .tags(out)
    };
    let driver = Driver::start(&config("valve.out,valve,Co,OUT_VALUE"));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "valve.out", "value": 4 }], "timeout_s": 20 });
    let kept = socket.request("tag.write", write.clone());
    let first = link.expect_publish();
    reload(&driver, &config("valve.out,valve,Co,OUT_VALUE\nvalve.more,valve,TxtI,TL=1"));
    link.send(&Packet::Puback(first.id));
    assert_eq!(socket.answer(kept).unwrap()["results"][0]["outcome"], "completed");
    driver.has("valve.out", 4, "ok");
    // Its tag goes while the answer is out; the writer hears what became of the publication.
    let gone = socket.request("tag.write", write.clone());
    let second = link.expect_publish();
    reload(&driver, &config(""));
    link.send(&Packet::Puback(second.id));
    assert_eq!(socket.answer(gone).unwrap()["results"][0]["outcome"], "completed");
    let refused = socket.call("tag.write", write);
    assert_eq!(refused["results"][0]["error"]["code"], -32001);
}

#[test]
fn cyclic_publications_keep_their_phase() {
    let broker = FakeBroker::start();
    let config = |tags: &str| {
        Config::new()
            .line(broker.port, "")
            .station("p", "plant/p", "out_topic = \"out\"\npublish_every = \"500ms\"")
            .tags(&format!("p.out,p,Co,OUT_VALUE\n{tags}"))
    };
    let driver = Driver::start(&config(""));
    let mut link = broker.accept_session(false);
    driver.up();
    assert_eq!(driver.write("p.out", 1)["outcome"], "completed");
    link.expect_publish();
    for round in 0..12 {
        reload(&driver, &config(&format!("p.more,p,TxtI,TL={}", round + 1)));
        link.expect_publish();
    }
    let at: Vec<f64> = link
        .record
        .iter()
        .filter(|(_, packet)| matches!(packet, Packet::Publish(_)))
        .skip(1)
        .map(|(at, _)| at.duration_since(link.record[0].0).as_secs_f64())
        .collect();
    // Each is a whole number of periods behind the first: late by little, never by a reload.
    for time in &at {
        let periods = (time - at[0]) / 0.5;
        assert!((periods - periods.round()).abs() < 0.3, "{at:?}");
    }
    assert!(at.last().unwrap() - at[0] < 9.0, "{at:?}");
}

#[test]
fn sighup_reloads() {
    let broker = Mosquitto::start();
    let line = || Config::new().line(broker.port, "");
    let driver = Driver::start(&pump(line(), "pump.a,pump,Ai,JA=a"));
    driver.up();
    pump(line(), "pump.a,pump,Ai,JA=a\npump.b,pump,Ai,JA=b").write(driver.folder());
    driver.signal("HUP");
    driver.logs(&["configuration reloaded", "tags_added=1"]);
    assert_eq!(driver.read("pump.b")["reason"], "never_received");
    pump(line(), "pump.a,pump,Ai,").write(driver.folder());
    driver.signal("HUP");
    driver.logs(&["not reloaded, nothing was changed"]);
    driver.signal("HUP");
    assert_eq!(driver.read("pump.b")["reason"], "never_received");
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn what_needs_a_restart_is_named_and_waits() {
    let broker = Mosquitto::start();
    let config =
        |top: &str| pump(Config::new().top(top).line(broker.port, ""), "pump.a,pump,Ai,JA=a");
    let driver = Driver::start(&config(""));
    driver.up();
    let top = "[process]\nname = \"site7\"\ndata_dir = \"elsewhere\"\n[socket]\npath = \"s\"\n\
               [journal]\nmax_age = \"1h\"";
    let answer = reload(&driver, &config(top));
    assert_eq!(names(&answer["settings"]), ["process.name"]);
    let waiting = ["process.data_dir", "socket.path", "journal.max_age"];
    assert_eq!(names(&answer["restart_needed"]), waiting);
    assert_eq!(driver.call("process.status", json!({}))["name"], "site7");
    let again = driver.call("config.reload", json!({}));
    assert_eq!(again["changed"], false);
    assert_eq!(names(&again["restart_needed"]), waiting);
}

#[test]
fn stations_switched_off_stay_off_and_new_ones_take_what_is_theirs() {
    let broker = Mosquitto::start();
    let config = |stations: &[(&str, &str)]| {
        stations.iter().fold(Config::new().line(broker.port, ""), |config, (name, address)| {
            config.station(name, address, "").tags(&format!("{name},{name},TxtI,IN_DATA"))
        })
    };
    let driver = Driver::start(&config(&[("all", ".*"), ("off", "plant/off")]));
    driver.up();
    driver.call("station.set", json!({ "name": "off", "mode": "off" }));
    broker.publish("plant/new", "1", 1);
    driver.has("all", "1", "ok");
    // A topic whose station was remembered goes to its new station.
    reload(&driver, &config(&[("all", ".*"), ("off", "plant/off"), ("new", "plant/new")]));
    assert_eq!(driver.station("off")["state"], "StOFF");
    assert_eq!(driver.station("new")["state"], "StON");
    broker.publish("plant/new", "2", 1);
    driver.has("new", "2", "ok");
    assert_eq!(driver.read("all")["value"], "1");
    // Off it stays while it is away, too.
    reload(&driver, &config(&[("all", ".*"), ("new", "plant/new")]));
    reload(&driver, &config(&[("off", "plant/off"), ("new", "plant/new")]));
    assert_eq!(driver.station("off")["mode"], "off");
    assert_eq!(driver.read("all")["error"]["code"], -32001);
    assert_eq!(driver.read("off")["reason"], "station_off");
    // A station may be switched in the moment it is there.
    reload(&driver, &config(&[("new", "plant/new"), ("newer", "plant/newer")]));
    driver.call("station.set", json!({ "name": "newer", "mode": "simulate" }));
    eventually("it is simulated", || (driver.read("newer")["reason"] == "simulated").then_some(()));
}

#[test]
fn reloads_at_the_same_time_are_done_one_after_the_other() {
    let broker = Mosquitto::start();
    let line = || Config::new().line(broker.port, "");
    let driver = Driver::start(&pump(line(), "pump.a,pump,Ai,JA=a"));
    driver.up();
    pump(line(), "pump.a,pump,Ai,JA=a\npump.b,pump,Ai,JA=b").write(driver.folder());
    let mut sockets: Vec<_> = (0..6).map(|_| driver.socket()).collect();
    let asked: Vec<u64> =
        sockets.iter_mut().map(|socket| socket.request("config.reload", json!({}))).collect();
    let answers: Vec<Json> =
        sockets.iter_mut().zip(asked).map(|(socket, id)| socket.answer(id).unwrap()).collect();
    let changed = answers.iter().filter(|answer| answer["changed"] == true).count();
    assert_eq!(changed, 1, "{answers:#?}");
    assert_eq!(driver.read("pump.b")["reason"], "never_received");
}
