//! Where secrets may be seen: nowhere. Every driver of every other test is checked too, at its end.

use serde_json::json;

use crate::harness::packet::{Packet, publish};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, SECRET_PASSWORD, SECRET_USER};

#[test]
fn secrets_are_not_in_the_fullest_log_nor_on_the_socket() {
    let broker = FakeBroker::start();
    let keys = "full_debug = true\nwill = { topic = \"w\", message = \"gone\" }";
    let config = Config::new()
        .top("[process]\nlog = \"trace\"")
        .line(broker.port, keys)
        .station("text", "plant/text", "out_topic = \"cmd/text\"")
        .tags("text.data,text,TxtI,IN_DATA\ntext.out,text,TxtO,OUT_VALUE");
    let driver = Driver::start(&config);
    for code in [4, 5] {
        let mut link = broker.accept();
        let connect = link.expect_connect();
        assert_eq!(connect.user_name.as_deref(), Some(SECRET_USER));
        assert_eq!(connect.password.as_deref(), Some(SECRET_PASSWORD.as_bytes()));
        link.send(&Packet::Connack { session_present: false, code });
        link.expect_end();
    }
    let mut link = broker.accept_session(false);
    driver.up();
    link.send(&publish("plant/text", "value", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "value", "ok");
    driver.write("text.out", "command");
    link.send_bytes(&[0x20, 0x00]);
    link.expect_end_of_anything();
    driver.logs(&["connection lost"]);
    // full_debug shows values, never secrets; the log is checked at the driver's end.
    assert!(driver.log().contains("value"));
    let mut socket = driver.socket();
    for (method, params) in [
        ("line.list", json!({})),
        ("station.list", json!({})),
        ("process.status", json!({})),
        ("tag.browse", json!({})),
        ("tag.read", json!({ "names": ["*"] })),
    ] {
        socket.call(method, params);
    }
    assert!(!socket.seen.contains("whisper"), "{}", socket.seen);
    for arguments in [&["status"][..], &["--json", "status"], &["check"], &["--json", "check"]] {
        let output = driver.run(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("whisper"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_mistake_beside_a_secret_does_not_show_it() {
    for (keys, what) in [
        ("password = [\"oops-93ab-whisper\"]", "type"),
        ("password = { envv = \"oops-93ab-whisper\" }", "key"),
        ("password = { file = 7, command = [\"oops-93ab-whisper\"] }", "two"),
        ("user_name = \"oops-93ab-whisper\"\nuser_name = \"oops-93ab-whisper\"", "twice"),
        ("password = \"oops-93ab-whisper", "open string"),
        ("password = \"oops-93ab-whisper\" trailing", "trailing"),
        ("servers = [\"mqtt://user:oops-93ab-whisper@127.0.0.1\"]", "in the server"),
    ] {
        let mut driver = Driver::prepare(&Config::new().line(1883, keys));
        driver.secrets.push("oops-93ab".into());
        for arguments in [&["check"][..], &["--json", "check"], &["run"]] {
            let output = driver.run(arguments);
            assert_eq!(output.status.code(), Some(2), "{what} {arguments:?}");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(!said.contains("oops-93ab"), "{what} {arguments:?}: {said}");
            assert!(said.contains("tagline.toml"), "{what} {arguments:?}: {said}");
        }
    }
}

#[test]
fn a_command_that_fails_does_not_show_what_it_printed() {
    let broker = Mosquitto::start();
    let keys = "user_name = \"operator\"\n\
                password = { command = [\"sh\", \"-c\", \"echo oops-93ab-out; echo oops-93ab-err >&2; exit 3\"] }";
    let config = Config::new().line(broker.port, keys);
    let mut driver = Driver::prepare(&config);
    driver.secrets.push("oops-93ab".into());
    driver.restart();
    driver.logs(&["cannot connect", "password", "exit status: 3"]);
    let line = driver.line("plant").to_string();
    assert!(!line.contains("oops-93ab"), "{line}");
}

#[test]
fn a_command_that_works_gives_its_first_line() {
    let broker = FakeBroker::start();
    let keys = "user_name = \"operator\"\n\
                password = { command = [\"printf\", \"first-93ab\\\\nsecond-93ab\\\\n\"] }";
    let mut driver = Driver::start(&Config::new().line(broker.port, keys));
    driver.secrets.push("-93ab".into());
    let connect = broker.accept().expect_connect();
    assert_eq!(connect.password.as_deref(), Some(&b"first-93ab"[..]));
}
