//! One round: everything runs, things are killed, everything comes to rest, and is compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::broker::Broker;
use super::consumer::Consumer;
use super::network::{Network, Trouble};
use super::plan::{Event, Plan};
use super::plant::Plant;
use super::verdict::{Verdict, judge, numbers_of};
use super::writer::Writer;
use super::{NAMES, TOPICS};
use crate::harness::{Config, Driver, Mosquitto, Socket, eventually, free_port};

/// How long a round may take to come to rest: generous, because a busy machine is no defect.
const REST: Duration = Duration::from_secs(90);

/// How often each kind of trouble was made.
pub type Kills = BTreeMap<&'static str, usize>;

/// A broker of either kind.
enum Server {
    Ours(Broker),
    Mosquitto(Box<Mosquitto>, Option<Plant>),
}

/// Runs a round.
pub fn run(plan: &Plan) -> (Verdict, Kills) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = if plan.mosquitto {
        Server::Mosquitto(Box::new(Mosquitto::start()), None)
    } else {
        let port = free_port();
        let messages = plan.messages;
        Server::Ours(Broker::start(
            folder.path(),
            port,
            plan.qos,
            messages,
            plan.flow,
            plan.sabotage,
        ))
    };
    let network = Network::start(server.port(), plan.bytes, plan.seed);
    let mut driver = Driver::prepare(&configuration(network.port, plan));
    driver.spawn();
    let mut starts = 1;
    let socket = driver.socket_path();
    if let Server::Mosquitto(broker, plant) = &mut server {
        // Before it has subscribed, a broker has nothing to keep for it.
        eventually("the driver listens", || Socket::connect(&socket).ok());
        driver.up();
        let devices = Plant::start(broker.port, plan.qos, plan.messages, plan.flow);
        eventually("the devices are subscribed", || {
            devices.state(|state| state.is_ready).then_some(())
        });
        *plant = Some(devices);
    }
    let mut consumer = Consumer::start(folder.path(), &socket);
    let writer = Writer::start(&socket, plan.seed);
    let mut kills = Kills::new();
    let mut verdict = Verdict::default();
    for (pause, event) in &plan.events {
        std::thread::sleep(*pause);
        let kind = make(*event, &mut driver, starts, &mut server, &mut consumer, &network);
        if matches!(event, Event::KillDriver(_) | Event::StopDriver) {
            starts += 1;
        }
        if let Some(kind) = kind {
            *kills.entry(kind).or_default() += 1;
        }
        if let Some(status) = driver.ended() {
            verdict.finding(format!("the driver ended by itself: {status}\n{}", driver.log()));
            return (verdict, kills);
        }
    }
    kills.insert("cut at a byte", network.cuts());
    network.steady();
    let resting = Instant::now();
    while resting.elapsed() < REST && !is_at_rest(plan, &server, &mut consumer) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let outcomes = writer.stop();
    if resting.elapsed() >= REST {
        verdict.finding(format!("not at rest after {REST:?}\n{}", driver.log()));
    } else {
        mark(&driver, &server, &mut verdict);
    }
    let (commands, excused) = match &server {
        Server::Ours(broker) => {
            let record = broker.record();
            record.violations.into_iter().for_each(|why| verdict.finding(why));
            (record.commands, 0)
        }
        Server::Mosquitto(broker, plant) => {
            let plant = plant.as_ref().unwrap();
            let (commands, repeated) =
                plant.state(|state| (state.commands.clone(), state.repeated_by_broker));
            verdict.repeated_by_broker += repeated;
            (commands, begun_again(&broker.log()))
        }
    };
    let seen = consumer.seen();
    seen.complaints.iter().for_each(|why| verdict.finding(why.clone()));
    verdict += judge(NAMES, plan.messages, &seen.messages, &outcomes, &commands, plan.qos, excused);
    if !verdict.is_clean() && plan.sabotage.is_none() {
        let mut told = String::new();
        for (name, outcomes) in NAMES.iter().zip(&outcomes) {
            for (command, outcome) in (1..).zip(outcomes) {
                told.push_str(&format!("cmd/{name} {command} {outcome:?}\n"));
            }
        }
        if let Server::Mosquitto(broker, _) = &server {
            std::fs::write(folder.path().join("mosquitto.txt"), broker.log()).unwrap();
        }
        let commands: String =
            commands.iter().map(|(topic, payload)| format!("{topic} {payload}\n")).collect();
        std::fs::write(folder.path().join("commands.txt"), commands).unwrap();
        std::fs::write(folder.path().join("told.txt"), told).unwrap();
        std::fs::write(folder.path().join("driver.txt"), driver.log()).unwrap();
        let kept = folder.keep();
        verdict.finding(format!("what was written down is in {}", kept.display()));
        eprintln!("seed {}: {:#?}", plan.seed, verdict.findings);
    }
    (verdict, kills)
}

fn configuration(port: u16, plan: &Plan) -> Config {
    let Plan { qos, version, publish_in_flight, .. } = plan;
    let keys = format!(
        "mqtt_version = \"{version}\"\nsubscribe_qos = {qos}\npublish_qos = {qos}\n\
         reply_timeout = \"1s\"\nping_interval = \"400ms\"\ntopic_filter = \"plant/#\"\n\
         publish_in_flight = {publish_in_flight}\n\
         reconnect = {{ min = \"5ms\", max = \"50ms\" }}"
    );
    NAMES.iter().fold(Config::new().line(port, &keys), |config, name| {
        config
            .station(name, &format!("plant/{name}"), &format!("out_topic = \"cmd/{name}\""))
            .tags(&format!("{name}.data,{name},TxtI,IN_DATA\n{name}.out,{name},Co,OUT_VALUE"))
    })
}

/// Makes trouble; what it is called, if there was anything to trouble.
fn make(
    event: Event,
    driver: &mut Driver,
    starts: usize,
    server: &mut Server,
    consumer: &mut Consumer,
    network: &Network,
) -> Option<&'static str> {
    match event {
        Event::KillDriver(away) => {
            driver.kill();
            std::thread::sleep(away);
            driver.spawn();
            Some("driver killed")
        }
        Event::StopDriver => {
            // A process that has not come to listening for signals yet is killed by them.
            let log = driver.folder().join(format!("log-{starts}.txt"));
            eventually("the driver has started", || {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                log.contains("INFO started").then_some(())
            });
            let status = driver.terminate();
            assert!(status.success(), "SIGTERM: {status}");
            driver.spawn();
            Some("driver stopped")
        }
        Event::StopBroker(away) => match server {
            Server::Ours(broker) => {
                broker.kill();
                std::thread::sleep(away);
                broker.start_again();
                Some("broker killed")
            }
            Server::Mosquitto(broker, plant) => {
                // The devices' own messages are not to suffer.
                let plant = plant.as_ref().unwrap();
                while !plant.is_paused() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                broker.stop();
                std::thread::sleep(away);
                broker.start_again();
                plant.go_on();
                Some("mosquitto restarted")
            }
        },
        Event::KillConsumer(away) => {
            consumer.kill();
            std::thread::sleep(away);
            consumer.start_again();
            Some("consumer killed")
        }
        Event::Network(trouble) => network.trouble(trouble).then_some(match trouble {
            Trouble::Cut => "link cut",
            Trouble::Reset => "link reset",
            Trouble::Stall(_) => "link stalled",
            Trouble::HalfOpen => "link half open",
        }),
    }
}

fn is_at_rest(plan: &Plan, server: &Server, consumer: &mut Consumer) -> bool {
    let sent = match server {
        // With a sabotage, one message fewer or more.
        Server::Ours(broker) => broker.record().done + 1 >= plan.messages,
        Server::Mosquitto(_, plant) => {
            plant.as_ref().unwrap().state(|state| state.is_done(plan.messages))
        }
    };
    let seen = consumer.seen();
    sent && (0..TOPICS).all(|topic| {
        let last = numbers_of(topic, plan.messages).last();
        last.is_none_or(|last| seen.messages[topic].contains(&last))
    })
}

/// Commands that come behind all others.
fn mark(driver: &Driver, server: &Server, verdict: &mut Verdict) {
    // It may have been started a moment ago.
    eventually("the driver listens", || Socket::connect(&driver.socket_path()).ok());
    driver.up();
    for name in NAMES {
        let writes = json!([{ "name": format!("{name}.out"), "value": -1 }]);
        let mut socket = driver.socket();
        let id = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 60 }));
        let answer = socket.answer_within(id, REST);
        let outcome = answer.and_then(Result::ok).map(|mut answer| answer["results"][0].take());
        if outcome.as_ref().is_none_or(|outcome| outcome["outcome"] != "completed") {
            verdict.finding(format!("cmd/{name}: the last command ended as {outcome:?}"));
        }
    }
    if let Server::Mosquitto(_, Some(plant)) = server {
        let begun = Instant::now();
        let all = || {
            plant.state(|state| {
                NAMES.iter().all(|name| state.count(&format!("cmd/{name}"), "-1") > 0)
            })
        };
        while !all() && begun.elapsed() < REST {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Server {
    fn port(&self) -> u16 {
        match self {
            Self::Ours(broker) => broker.port,
            Self::Mosquitto(broker, _) => broker.port,
        }
    }
}

/// How often mosquitto sent a QoS 2 message again to the driver after it had got PUBREC for it,
/// which the protocol forbids: its own log says so.
fn begun_again(log: &str) -> usize {
    let mut recorded: BTreeMap<&str, bool> = BTreeMap::new();
    let mut again = 0;
    for line in log.lines() {
        let id = |mark: &str| {
            let (_, rest) = line.split_once(mark)?;
            rest.split([',', ')']).next()
        };
        if line.contains("Received PUBREC from tagline-plant") {
            recorded.extend(id("Mid: ").map(|id| (id, true)));
        } else if line.contains("Received PUBCOMP from tagline-plant") {
            recorded.extend(id("Mid: ").map(|id| (id, false)));
        } else if line.contains("Sending PUBLISH to tagline-plant") {
            let begun = id(", m").is_some_and(|id| recorded.insert(id, false) == Some(true));
            again += usize::from(begun);
        }
    }
    again
}
