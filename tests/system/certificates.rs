//! Certificates that are wrong, shown by a real server: the log names the reason in words to act on,
//! the line keeps trying and works once the cause is gone, and another line does not notice.

use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use crate::harness::{Config, Driver, Mosquitto, eventually, free_port};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// `NAME.pem` and `NAME.key`.
fn issue(folder: &Path, name: &str, by: &Ca, hosts: &[&str], last_year: i32) {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(last_year, 3, 4);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// What is wrong with a line, the words that its log line has, and what an engineer does about it:
/// copies the first file over the second.
struct Case {
    line: &'static str,
    /// Of the listener.
    server: &'static str,
    listener: &'static str,
    tls: &'static str,
    words: &'static [&'static str],
    remedy: Option<(&'static str, &'static str)>,
}

const LOCAL: &str = "ca_file = \"ca.pem\"";

const CASES: &[Case] = &[
    Case {
        line: "wrong-ca",
        server: "good",
        listener: "",
        tls: "ca_file = \"line-ca.pem\"",
        words: &["`CN=good`", "from the CA `CN=Plant CA`", "`ca_file`", "`CN=Other CA`"],
        remedy: Some(("ca.pem", "line-ca.pem")),
    },
    Case {
        line: "expired",
        server: "expired",
        listener: "",
        tls: LOCAL,
        words: &["`CN=expired` expired on 2002-03-04", "days ago", "renew the certificate"],
        remedy: None,
    },
    Case {
        line: "wrong-host",
        server: "elsewhere",
        listener: "",
        tls: LOCAL,
        words: &["`broker.plant.example`", "not for `127.0.0.1`", "`server_name`"],
        remedy: None,
    },
    Case {
        line: "no-client-certificate",
        server: "good",
        listener: "require_certificate true\n",
        tls: LOCAL,
        words: &["requires a client certificate", "`cert_file` and `key_file`"],
        remedy: None,
    },
    Case {
        line: "client-of-another-ca",
        server: "good",
        listener: "require_certificate true\n",
        tls: "ca_file = \"ca.pem\", cert_file = \"stranger.pem\", key_file = \"stranger.key\"",
        words: &["refused the client certificate", "`CN=stranger`", "issued by `CN=Other CA`"],
        remedy: None,
    },
    Case {
        line: "client-expired",
        server: "good",
        listener: "require_certificate true\n",
        tls: "ca_file = \"ca.pem\", cert_file = \"line.pem\", key_file = \"line.key\"",
        words: &["refused the client certificate", "valid until 2002-03-04", "renew"],
        remedy: Some(("pump", "line")),
    },
];

fn make_files(folder: &Path) {
    let (plant, other) = (ca("Plant CA"), ca("Other CA"));
    fs::write(folder.join("ca.pem"), plant.pem()).unwrap();
    fs::write(folder.join("line-ca.pem"), other.pem()).unwrap();
    issue(folder, "good", &plant, &["127.0.0.1"], 2090);
    issue(folder, "expired", &plant, &["127.0.0.1"], 2002);
    issue(folder, "elsewhere", &plant, &["broker.plant.example"], 2090);
    issue(folder, "stranger", &other, &[], 2090);
    issue(folder, "pump", &plant, &[], 2090);
    issue(folder, "line", &plant, &[], 2002);
}

/// A server that speaks TLS 1.1 and nothing newer, as `openssl s_server -tls1_1` answers a client that
/// offers only newer versions: alert, fatal, protocol_version. How often it was asked is counted.
fn start_tls_1_1() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            own.fetch_add(1, Ordering::Relaxed);
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(b"\x15\x03\x02\x00\x02\x02\x46");
        }
    });
    (port, count)
}

/// How often a line has tried: each attempt is a connection of its own to its own port.
fn attempts(broker: &Mosquitto, port: u16) -> usize {
    let own = format!("on port {port}.");
    broker
        .log()
        .lines()
        .filter(|line| line.contains("New connection") && line.contains(&own))
        .count()
}

#[test]
fn what_is_wrong_is_named_and_tried_again_and_no_other_line_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    make_files(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut access = "allow_anonymous true\n".to_owned();
    let mut config = Config::new();
    let mut ports = Vec::new();
    for case in CASES {
        let port = free_port();
        ports.push(port);
        access.push_str(&format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n{}",
            path("ca.pem"),
            path(&format!("{}.pem", case.server)),
            path(&format!("{}.key", case.server)),
            case.listener
        ));
        let tls = case.tls.replace(" = \"", &format!(" = \"{}/", folder.path().display()));
        let keys = format!("servers = [\"mqtts://127.0.0.1:{port}\"]\ntls = {{ {tls} }}");
        let name = case.line;
        config = config.line_named(name, port, &keys).stations(&format!(
            "[[station]]\nname = \"{name}\"\nline = \"{name}\"\naddress = \"plant/text\"\n"
        ));
        config = config.tags(&format!("{name}.data,{name},TxtI,IN_DATA"));
    }
    let broker = Mosquitto::start_with(&access, None);
    let (old_port, old_attempts) = start_tls_1_1();
    let keys = format!(
        "servers = [\"mqtts://127.0.0.1:{old_port}\"]\ntls = {{ ca_file = \"{}\" }}",
        path("ca.pem")
    );
    config = config.line_named("tls-1-1", old_port, &keys).stations(
        "[[station]]\nname = \"tls-1-1\"\nline = \"tls-1-1\"\naddress = \"plant/text\"\n",
    );
    config = config
        .line(broker.port, "")
        .station("text", "plant/text", "out_topic = \"cmd\"\npublish_qos = 2")
        .tags("text.data,text,TxtI,IN_DATA\ntext.out,text,Co,OUT_VALUE");
    let driver = Driver::start(&config);
    driver.up();
    for case in CASES {
        let own = format!("line={} ", case.line);
        let words = [&["WARN", "cannot connect", &own], case.words].concat();
        driver.logs(&words);
        let line = driver.line(case.line);
        assert_eq!(line["state"], "connecting", "{line}");
        let error = line["last_error"]["message"].as_str().unwrap();
        assert!(case.words.iter().all(|word| error.contains(word)), "{error}");
    }
    driver.logs(&["WARN", "cannot connect", "line=tls-1-1 ", "only TLS 1.1 or older"]);
    // It keeps trying, while the line without a fault does its work on its one connection.
    for round in 0..3 {
        let before: Vec<usize> = ports.iter().map(|&port| attempts(&broker, port)).collect();
        let text = format!("round {round}");
        broker.publish("plant/text", &text, 2);
        driver.has("text.data", text, "ok");
        assert_eq!(driver.write("text.out", round)["outcome"], "completed");
        for (place, &port) in ports.iter().enumerate() {
            eventually(&format!("{} tries again", CASES[place].line), || {
                (attempts(&broker, port) > before[place]).then_some(())
            });
        }
    }
    eventually("the line to TLS 1.1 keeps trying", || {
        (old_attempts.load(Ordering::Relaxed) > 3).then_some(())
    });
    // Said once, not with every attempt.
    for case in CASES {
        let own = format!("line={} ", case.line);
        let log = driver.log();
        let said =
            log.lines().filter(|line| line.contains(&own) && line.contains("cannot connect"));
        let count = said.filter(|line| line.contains(case.words[0])).count();
        assert!(count <= 2, "{}: said {count} times", case.line);
    }
    // And not without a pause.
    let before: Vec<usize> = ports.iter().map(|&port| attempts(&broker, port)).collect();
    std::thread::sleep(Duration::from_secs(1));
    for (place, &port) in ports.iter().enumerate() {
        let count = attempts(&broker, port) - before[place];
        assert!(count < 40, "{}: {count} attempts in a second", CASES[place].line);
    }
    // Files are read again at every connect: what is put right works without a restart.
    for case in CASES {
        let Some((from, into)) = case.remedy else { continue };
        match from.ends_with(".pem") {
            true => drop(fs::copy(path(from), path(into)).unwrap()),
            false => {
                for end in ["key", "pem"] {
                    fs::copy(path(&format!("{from}.{end}")), path(&format!("{into}.{end}")))
                        .unwrap();
                }
            }
        }
        driver.line_is(case.line, "up");
        broker.publish("plant/text", case.line, 1);
        driver.has(&format!("{}.data", case.line), case.line, "ok");
    }
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}
