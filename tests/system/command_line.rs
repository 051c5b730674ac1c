//! Commands, what they print, and their exit codes: 0 done, 1 failed or missing, 2 usage or
//! configuration, 3 the process cannot be reached.

use std::io::{BufRead, BufReader};
use std::process::Output;

use serde_json::{Value as Json, json};

use crate::harness::{Config, Driver, Mosquitto, free_port};

fn plant(config: Config) -> Config {
    config.station("pump", "plant/pump", "payload_type = \"json\"\nout_topic = \"cmd/pump\"").tags(
        "pump.flow,pump,Ai,JA=flow
             pump.name,pump,TxtI,JA=name
             pump.set,pump,Ao,OUT_VALUE",
    )
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn read_write_browse_and_status_work_and_say_it_in_json_too() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&plant(Config::new().line(broker.port, "publish_qos = 1")));
    driver.up();
    let live = broker.subscribe("cmd/#", 1);
    broker.publish("plant/pump", r#"{"flow":12.5,"name":"P-1"}"#, 1);
    driver.has("pump.flow", 12.5, "ok");

    let output = driver.run(["read", "pump.flow", "pump.name"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let table = stdout(&output);
    assert!(table.contains("12.5") && table.contains("P-1") && table.contains("good"), "{table}");

    let output = driver.run(["--json", "read", "pump.*"]);
    assert_eq!(code(&output), 0);
    let read: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(read["values"][0]["value"], 12.5);

    let output = driver.run(["write", "pump.set", "40.5"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("completed"), "{}", stdout(&output));
    assert_eq!(live.wait_for(1)[0].payload, "40.5");
    let output = driver.run(["--json", "write", "pump.set", "--", "-5"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let written: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(written["results"][0]["outcome"], "completed");
    assert_eq!(live.wait_for(2)[1].payload, "-5");

    let output = driver.run(["browse", "pump.*"]);
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).contains("JA=flow"), "{}", stdout(&output));
    let output = driver.run(["--json", "browse", "--station", "pump"]);
    let browsed: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(browsed["tags"].as_array().unwrap().len(), 3);

    let output = driver.run(["status"]);
    assert_eq!(code(&output), 0);
    let shown = stdout(&output);
    assert!(shown.contains("plant") && shown.contains("up") && shown.contains("pump"), "{shown}");
    let output = driver.run(["--json", "status"]);
    let status: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(status["lines"][0]["state"], "up");
    assert_eq!(status["process"]["tags"]["total"], 3);
}

#[test]
fn watch_prints_current_values_and_changes_and_ends_in_time() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&plant(Config::new().line(broker.port, "")));
    driver.up();
    broker.publish("plant/pump", r#"{"flow":1}"#, 1);
    driver.has("pump.flow", 1, "ok");
    let mut watch = driver.spawn_command(["--json", "watch", "pump.flow"]);
    let mut values = Vec::new();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for number in 1..6 {
        if number > 1 {
            broker.publish("plant/pump", format!("{{\"flow\":{number}}}"), 1);
        }
        // Each is printed before the next one comes: nothing waits in a buffer.
        let params: Json = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        values.extend(params["changes"].as_array().unwrap().iter().map(|c| c["value"].clone()));
    }
    let _ = watch.kill();
    let _ = watch.wait();
    assert_eq!(json!(values), json!([1.0, 2.0, 3.0, 4.0, 5.0]));
    let output = driver.run(["watch", "pump.flow", "--for", "100ms"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("pump.flow"), "{}", stdout(&output));
}

#[test]
fn what_is_missing_or_fails_is_exit_code_1() {
    let driver = Driver::start(&plant(Config::new().line(free_port(), "")));
    for arguments in [
        &["read", "nobody"][..],
        &["read", "pump.flow", "nobody"],
        &["read", "nobody*"],
        &["--json", "read", "nobody"],
        &["write", "nobody", "1"],
        &["write", "pump.flow", "1"],
        &["write", "pump.set", "much"],
        // The line is down.
        &["write", "pump.set", "1"],
        &["--json", "write", "pump.set", "1"],
        &["browse", "nobody*"],
        &["browse", "--station", "nobody"],
        &["watch", "nobody"],
    ] {
        let output = driver.run(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.starts_with("error: "), "{arguments:?}: {said}");
    }
    let output = driver.run(["read", "pump.flow", "nobody"]);
    assert!(stdout(&output).contains("pump.flow"), "what is there is printed all the same");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let driver = Driver::prepare(&plant(Config::new().line(free_port(), "")));
    for arguments in [
        &["nonsense"][..],
        &["read"],
        &["write", "pump.set"],
        &["--nonsense", "status"],
        &["watch", "x", "--for", "soon"],
        &["write", "x", "1", "--timeout", "-1"],
        &["run", "extra"],
    ] {
        let output = driver.run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
    }
    let output = driver.run(["--log", "=nonsense=", "run"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    for arguments in [&["--help"][..], &["--version"], &["read", "--help"]] {
        assert_eq!(code(&driver.run(arguments)), 0, "{arguments:?}");
    }
}

#[test]
fn a_process_that_is_not_there_is_exit_code_3() {
    let driver = Driver::prepare(&plant(Config::new().line(free_port(), "")));
    for arguments in [
        &["read", "pump.flow"][..],
        &["write", "pump.set", "1"],
        &["watch", "pump.flow"],
        &["browse"],
        &["status"],
        &["--json", "status"],
    ] {
        let output = driver.run(arguments);
        assert_eq!(code(&output), 3, "{arguments:?}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("tagline run") && said.contains("tagline.sock"), "{said}");
    }
}

#[test]
fn check_says_ok_or_all_that_is_wrong_with_its_place() {
    let driver = Driver::prepare(&plant(Config::new().line(1883, "")));
    let output = driver.run(["check"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("1 line, 1 station, 3 tags"), "{}", stdout(&output));
    let output = driver.run(["--json", "check"]);
    let checked: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&checked["ok"], &checked["diagnostics"]), (&json!(true), &json!([])));

    // Mistakes in three files at once.
    plant(Config::new().line(1883, "subscribe_qso = 1\npublish_qos = 3"))
        .station("pump", "plant/other", "payload_type = \"jsno\"")
        .tags("pump.x,pmup,Ai,JA=x\npump.y,pump,Aj,JA=y\npump.z,pump,Ai,JA=a[0]\npump.w,pump,TxtI,OUT_VALUE")
        .write(driver.folder());
    let output = driver.run(["check"]);
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    for words in [
        &["tagline.toml:", "subscribe_qso", "subscribe_qos"][..],
        &["tagline.toml:", "publish_qos"],
        &["stations/all.toml:", "pump"],
        &["stations/all.toml:", "jsno", "json"],
        &["tags/all.csv:", "pmup", "pump"],
        &["tags/all.csv:", "Aj", "Ai"],
        &["tags/all.csv:", "indexes count from 1"],
        &["tags/all.csv:", "OUT_VALUE"],
    ] {
        let found = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?} in\n{said}");
    }
    let output = driver.run(["--json", "check"]);
    assert_eq!(code(&output), 2);
    let checked: Json = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(checked["ok"], false);
    let diagnostics = checked["diagnostics"].as_array().unwrap();
    assert!(diagnostics.len() >= 8, "{checked}");
    for diagnostic in diagnostics {
        assert!(diagnostic["line"].as_u64().unwrap() > 0, "{diagnostic}");
        assert!(diagnostic["column"].as_u64().unwrap() > 0, "{diagnostic}");
    }
    // The process does not start with it.
    let output = driver.run(["run"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("subscribe_qso"), "{}", stderr(&output));
}

#[test]
fn a_key_of_the_contract_works_or_is_said_to_come_and_is_never_unknown() {
    let line = |keys: &str| plant(Config::new().line(1883, keys));
    let station = |keys: &str| {
        Config::new().line(1883, "").station("s", "a/b", keys).tags("s.data,s,TxtI,IN_DATA")
    };
    let tag = |station: &str, row: &str| {
        Config::new().line(1883, "").station("s", "a/b", station).tags(row)
    };
    let configurations = [
        plant(Config::new().top("[http]\nlisten = \"127.0.0.1:0\"").line(1883, "")),
        line("mqtt_version = \"5.0\""),
        line("redundant_servers = [\"mqtt://127.0.0.1:1884\"]"),
        line("servers = [\"ws://127.0.0.1:8080/mqtt\", \"wss://127.0.0.1\"]"),
        line("servers = [\"mqtts://127.0.0.1:8883\"]\ntls = { min_version = \"1.3\" }"),
        line("mqtt_version = \"5.0\"\nsession_expiry = \"2d\""),
        line("mqtt_version = \"5.0\"\nreceive_maximum = 10"),
        line("mqtt_version = \"5.0\"\ntopic_alias_maximum = 10"),
        line("mqtt_version = \"5.0\"\nuser_properties = { a = \"b\" }"),
        line("payload_type = \"auto\""),
        station("payload_type = \"influx\""),
        station("payload_type = \"csv\"\ncsv_delimiter = \";\"\ncsv_header = false"),
        station("payload_type = \"xml\""),
        station("payload_type = \"bytes\""),
        station("will_topic = \"a/state\"\nwill_payload = \"gone\""),
        station("error_delay = \"5s\""),
        station("stale_after = \"5m\""),
        station("max_age = \"1h\""),
        station("out_topic = \"c\"\npublish_every = \"10s\"\npublish_on_write = false"),
        station("publish_content_type = \"application/json\""),
        station("write_when_offline = \"queue\"\nwrite_expiry = \"2h\""),
        tag("", "s.ack,s,Co,ACK_ID\ns.id,s,Ci,IN_ID"),
        tag("payload_type = \"json\"", "s.x,s,Ai,JP=$.a[*].b"),
        tag("payload_type = \"json\"\nout_topic = \"c\"", "s.x,s,Ao,JA=a.b"),
        tag("payload_type = \"influx\"", "s.x,s,Ai,\"LP=m,host=a value\""),
        tag("payload_type = \"csv\"", "s.x,s,Ai,CA=flow"),
        tag("payload_type = \"xml\"", "s.x,s,Ai,XA=/a/b[1]/@c"),
        tag("payload_type = \"bytes\"", "s.x,s,Ai,RA=0:u16be"),
    ];
    for (number, config) in configurations.iter().enumerate() {
        let driver = Driver::prepare(config);
        let output = driver.run(["check"]);
        let said = stderr(&output);
        match code(&output) {
            0 => {}
            2 => {
                for mistake in said.lines().skip(1) {
                    assert!(mistake.contains("not supported yet"), "{number}: {mistake}");
                }
            }
            other => panic!("{number}: exit code {other}: {said}"),
        }
    }
}

#[test]
fn missing_files_and_folders_are_named() {
    let driver = Driver::prepare(&plant(Config::new().line(1883, "")));
    std::fs::remove_file(driver.folder().join("tagline.toml")).unwrap();
    for command in ["check", "run", "read"] {
        let arguments: &[&str] = if command == "read" { &["read", "x"] } else { &[command] };
        let output = driver.run(arguments);
        assert_eq!(code(&output), 2, "{command}: {}", stderr(&output));
        assert!(stderr(&output).contains("tagline.toml"), "{command}: {}", stderr(&output));
    }
    for key in ["stations", "tags"] {
        let top = format!("[process]\n{key} = \"no-such-folder\"");
        let driver = Driver::prepare(&plant(Config::new().top(&top).line(1883, "")));
        let output = driver.run(["check"]);
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains("no-such-folder"), "{}", stderr(&output));
    }
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    // Below a regular file nobody can make a folder, root neither.
    for (top, word) in [
        ("[process]\ndata_dir = \"file/data\"", "file/data"),
        ("[socket]\npath = \"file/run/x.sock\"", "file/run"),
    ] {
        let driver = Driver::prepare(&plant(Config::new().top(top).line(free_port(), "")));
        std::fs::write(driver.folder().join("file"), "").unwrap();
        let output = driver.run(["run"]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(word) && !said.contains("panicked"), "{said}");
    }
    // A socket path that no system takes.
    let top = format!("[socket]\npath = \"{}/x.sock\"", "long".repeat(30));
    let driver = Driver::prepare(&plant(Config::new().top(&top).line(free_port(), "")));
    let output = driver.run(["run"]);
    assert_ne!(code(&output), 0);
    assert!(stderr(&output).contains("too long"), "{}", stderr(&output));
}

#[test]
fn the_configuration_may_be_named_as_a_file() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&plant(Config::new().line(broker.port, "")));
    driver.up();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tagline"))
        .arg("--config")
        .arg(driver.folder().join("tagline.toml"))
        .args(["read", "pump.flow"])
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // And the working directory is the default.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tagline"))
        .args(["read", "pump.flow"])
        .current_dir(driver.folder())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let driver = Driver::start(&plant(Config::new().line(free_port(), "")));
    let script = format!(
        "{} --config {} browse | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_tagline"),
        driver.folder().display()
    );
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn the_demo_shows_good_changing_values_and_ends_by_itself() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tagline"))
        .args(["demo", "--for", "6s"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(shown.contains("read"), "it says how to query it: {shown}");
    let last = shown.lines().rfind(|line| !line.is_empty()).unwrap();
    assert!(last.contains("stations with good changing values"), "{last}");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}
