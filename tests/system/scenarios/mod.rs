//! Hundreds of scenarios under the eyes of a strict broker: each in 3.1.1 and 5.0, over TCP, TLS,
//! WebSocket and WebSocket over TLS, at each QoS where it matters.
//!
//! A process has one line for each scenario of its version and transport; all of them are played at
//! once. Afterwards each line must still take a message and complete writes, must have broken no rule
//! of the standard (`crate::strict`), and must not have connected in a tight loop; and the log must
//! say what the scenario expects it to.
//!
//! | module | what happens |
//! |---|---|
//! | `inbound` | messages of the server, repeated, cut, coalesced, out of place |
//! | `outbound` | commands, and acknowledgements that are missing, doubled, wrong or refusals |
//! | `silence` | answers that never come |
//! | `illegal` | packets that no server may send |
//! | `limits` | what a server of 5.0 allows |
//! | `sessions` | kept, lost and unexpected sessions |
//! | `ends` | refusals, disconnects, referrals, resets |
//! | `web` | what only WebSocket can do wrong |

mod ends;
mod illegal;
mod inbound;
mod limits;
mod outbound;
mod sessions;
mod silence;
mod stage;
mod web;

use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Config, Driver};
use crate::strict::{Broker, Got, Packet, Transport, Version, certificates, trust};
use stage::{Scenario, Stage};

/// The whole matrix.
fn all() -> impl Iterator<Item = &'static Scenario> {
    let tables = [
        inbound::SCENARIOS,
        outbound::SCENARIOS,
        silence::SCENARIOS,
        illegal::SCENARIOS,
        limits::SCENARIOS,
        sessions::SCENARIOS,
        ends::SCENARIOS,
        web::SCENARIOS,
    ];
    tables.into_iter().flatten()
}

/// A scenario with its place in the process.
struct Run {
    scenario: &'static Scenario,
    name: String,
    qos: u8,
    listener: TcpListener,
}

/// The keys of a line, the stations and the tags of one run.
fn configure(config: Config, run: &Run, version: Version, transport: Transport) -> Config {
    let name = &run.name;
    let port = run.listener.local_addr().unwrap().port();
    let given = |key: &str| {
        let keys = [run.scenario.keys, run.scenario.keys_5];
        keys.iter().any(|keys| keys.lines().any(|line| line.starts_with(key)))
    };
    let path = if transport.is_web() { "/mqtt" } else { "" };
    let mut keys = format!(
        "servers = [\"{}://127.0.0.1:{port}{path}\"]\nmqtt_version = \"{}\"\n",
        transport.scheme(),
        version.key()
    );
    if transport.is_encrypted() {
        keys.push_str(&trust(&certificates().ca_file));
    }
    if !given("subscribe_qos") {
        keys.push_str("subscribe_qos = 2\n");
    }
    keys.push_str(run.scenario.keys);
    keys.push('\n');
    if version.is_5() {
        keys.push_str(run.scenario.keys_5);
    }
    let mut stations = String::new();
    let mut tags = format!("{name}.in,{name}.in,TxtI,IN_DATA\n");
    let mut station = |short: &str, more: &str| {
        stations.push_str(&format!(
            "[[station]]\nname = \"{name}.{short}\"\nline = \"{name}\"\naddress = \"{short}\"\n{more}\n"
        ));
    };
    station("in", "");
    for qos in 0..=2 {
        let keys = format!("out_topic = \"commands/{qos}\"\npublish_qos = {qos}");
        station(&format!("o{qos}"), &keys);
        tags.push_str(&format!("{name}.o{qos},{name}.o{qos},Co,OUT_VALUE\n"));
    }
    station("or", "out_topic = \"commands/retained\"\npublish_qos = 1\npublish_retain = true");
    tags.push_str(&format!("{name}.or,{name}.or,Co,OUT_VALUE\n"));
    config.line_named(name, port, &keys).stations(&stations).tags(&tags)
}

/// Plays all scenarios of one version over one transport.
fn play(version: Version, transport: Transport) {
    // For one that is being written: a part of the name of what is to be played.
    let wanted = std::env::var("TAGLINE_SCENARIO").unwrap_or_default();
    let mut runs = Vec::new();
    for scenario in all() {
        let fits = scenario.versions.contains(&version) && scenario.transports.contains(&transport);
        if !fits || !scenario.name.contains(&wanted) {
            continue;
        }
        for &qos in scenario.qos {
            let name = match scenario.qos {
                [_] => scenario.name.to_owned(),
                _ => format!("{}-q{qos}", scenario.name),
            };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            runs.push(Run { scenario, name, qos, listener });
        }
    }
    let mut config = Config::new();
    for run in &runs {
        config = configure(config, run, version, transport);
    }
    let mut driver = Driver::start(&config);
    let finale = Finale::default();
    let mut failures: Vec<String> = std::thread::scope(|scope| {
        let count = runs.len();
        let threads: Vec<_> = runs
            .into_iter()
            .map(|run| {
                let (driver, finale) = (&driver, &finale);
                let name = run.name.clone();
                let play = move || play_one(driver, run, version, transport, finale);
                (name.clone(), std::thread::Builder::new().name(name).spawn_scoped(scope, play))
            })
            .collect();
        finale.begin(&driver, count);
        let ends = threads.into_iter().map(|(name, thread)| (name, thread.unwrap().join()));
        ends.flat_map(|(name, end)| match end {
            Ok(failures) => failures,
            Err(_) => vec![format!("{name}: it failed, see above")],
        })
        .collect()
    });
    if std::env::var_os("TAGLINE_SCENARIO_LOG").is_some() {
        eprintln!("{}", driver.log());
    }
    let status = driver.wait();
    if !status.success() {
        failures.push(format!("the process ended with {status}"));
    }
    failures.sort();
    let count = failures.len();
    assert!(
        count == 0,
        "{count} faults over {transport:?} in {version:?}:\n{}",
        failures.join("\n")
    );
}

/// When all scenarios are over the process is stopped, under the eyes of their brokers.
#[derive(Default)]
struct Finale {
    ready: AtomicUsize,
    is_stopped: AtomicBool,
}

impl Finale {
    /// Waits for all of them and stops the process.
    fn begin(&self, driver: &Driver, count: usize) {
        while self.ready.load(Ordering::Acquire) < count {
            std::thread::sleep(Duration::from_millis(5));
        }
        driver.signal("TERM");
        self.is_stopped.store(true, Ordering::Release);
    }

    /// The client takes leave in order: DISCONNECT is the last packet, a close frame the last of
    /// WebSocket.
    fn play(&self, stage: &mut Stage<'_>, transport: Transport) {
        self.ready.fetch_add(1, Ordering::Release);
        let Some(mut link) = stage.link.take() else { return };
        let mut packets = Vec::new();
        while !self.is_stopped.load(Ordering::Acquire) {
            // Pings go on meanwhile.
            if let Got::Packet(packet) = link.next_within(Duration::from_millis(5)) {
                packets.push(packet);
            }
        }
        packets.extend(link.expect_end_after("the end of the process"));
        let is_right = matches!(packets.last(), Some(Packet::Disconnect { reason: 0, .. }));
        assert!(is_right, "no DISCONNECT at the end: {packets:?}");
        assert!(!transport.is_web() || link.carrier.closed().is_some(), "no close frame");
    }
}

/// Plays one scenario; what went wrong.
fn play_one(
    driver: &Driver,
    run: Run,
    version: Version,
    transport: Transport,
    finale: &Finale,
) -> Vec<String> {
    let Run { scenario, name, qos, listener } = run;
    let broker = Broker::new(listener, version, transport);
    let mut stage = Stage::new(driver, broker, name.clone(), qos);
    let begun = std::time::Instant::now();
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        (scenario.run)(&mut stage);
        stage.works();
    }));
    if std::env::var_os("TAGLINE_SCENARIO_LOG").is_some() {
        eprintln!("{version:?} {transport:?} {name}: {:?}", begun.elapsed());
    }
    if played.is_err() {
        stage.link = None;
    }
    let left = std::panic::catch_unwind(AssertUnwindSafe(|| finale.play(&mut stage, transport)));
    let mut failures = Vec::new();
    for why in [played, left].into_iter().filter_map(Result::err) {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(|&text| text.to_owned()));
        failures.push(format!("{name}: {}", text.unwrap_or_default()));
    }
    failures.extend(stage.broker.faults().into_iter().map(|fault| format!("{name}: {fault}")));
    let log = driver.log();
    let own = format!("line={name} ");
    // Fields stand at the end of a line of the log.
    let is_own = |line: &str| format!("{line} ").contains(&own);
    for words in &stage.expected_log {
        let fits = |line: &str| is_own(line) && words.iter().all(|word| line.contains(word));
        if !log.lines().any(fits) {
            failures.push(format!("{name}: no log line with {words:?}"));
        }
    }
    if !failures.is_empty() {
        failures
            .extend(log.lines().filter(|line| is_own(line)).map(|line| format!("{name}| {line}")));
    }
    failures
}

#[test]
fn mqtt_3_1_1_over_tcp() {
    play(Version::V311, Transport::Tcp);
}

#[test]
fn mqtt_3_1_1_over_tls() {
    play(Version::V311, Transport::Tls);
}

#[test]
fn mqtt_3_1_1_over_web_socket() {
    play(Version::V311, Transport::Ws);
}

#[test]
fn mqtt_3_1_1_over_web_socket_and_tls() {
    play(Version::V311, Transport::Wss);
}

#[test]
fn mqtt_5_over_tcp() {
    play(Version::V50, Transport::Tcp);
}

#[test]
fn mqtt_5_over_tls() {
    play(Version::V50, Transport::Tls);
}

#[test]
fn mqtt_5_over_web_socket() {
    play(Version::V50, Transport::Ws);
}

#[test]
fn mqtt_5_over_web_socket_and_tls() {
    play(Version::V50, Transport::Wss);
}
