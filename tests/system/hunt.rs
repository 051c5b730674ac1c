//! Random sessions: a broker of either version over any transport that keeps its session as the
//! standard demands (each fifth loses it at times), over connections that it ends in every way at any
//! byte, while numbered messages and commands flow at every QoS. What is applied and what arrives must
//! be what the QoS promises, and no rule may be broken on the way.
//!
//! Each seed is a line of one process. `TAGLINE_HUNT=FIRST..LAST` plays other seeds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Config, Driver, PATIENCE, Random, Socket};
use crate::strict::packet::{ack, disconnect, encode, message, publish, refusal};
use crate::strict::property::{self, Properties, Value};
use crate::strict::{
    Broker, Connect, Cut, Got, Kind, Link, Packet, Publish, Transport, Version, certificates, trust,
};

const MESSAGES: usize = 60;
const COMMANDS: usize = 40;
const TRANSPORTS: [Transport; 4] = [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// A message to the client that is not acknowledged.
struct InFlight {
    publish: Publish,
    released: bool,
}

/// A write of the local socket.
struct Command {
    qos: u8,
    outcome: Option<String>,
}

/// What a server keeps of its client, and what the control system has done.
struct Session<'a> {
    name: String,
    driver: &'a Driver,
    random: Random,
    broker: Broker,
    socket: Socket,
    exists: bool,
    sent: usize,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
    /// QoS 2 identifiers of the client that are not released.
    received: BTreeSet<u16>,
    /// What the client has published, without repetitions of QoS 2.
    arrived: Vec<String>,
    commands: Vec<Command>,
    requests: BTreeMap<u64, usize>,
    aliases: BTreeMap<u16, String>,
    /// From here on connections last.
    steady: bool,
    /// It loses the session now and then: what was in flight is lost with it.
    loses: bool,
}

/// The connection is over.
struct Over;

impl<'a> Session<'a> {
    fn new(name: String, driver: &'a Driver, broker: Broker, seed: u64) -> Self {
        Self {
            name,
            driver,
            random: Random::new(seed),
            broker,
            socket: driver.socket(),
            exists: false,
            sent: 0,
            in_flight: VecDeque::new(),
            last_id: 0,
            received: BTreeSet::new(),
            arrived: Vec::new(),
            commands: Vec::new(),
            requests: BTreeMap::new(),
            aliases: BTreeMap::new(),
            steady: false,
            loses: seed.is_multiple_of(5),
        }
    }

    fn chance(&mut self, of: usize) -> bool {
        !self.steady && self.random.below(of) == 0
    }

    fn qos_of(number: usize) -> u8 {
        u8::try_from(number * 7 % 5 % 3).unwrap()
    }

    fn is_done(&self) -> bool {
        self.sent == MESSAGES
            && self.commands.len() == COMMANDS
            && self.in_flight.is_empty()
            && self.commands.iter().all(|command| command.outcome.is_some())
    }

    /// Connections until all is done.
    fn play(&mut self) {
        let end = Instant::now() + PATIENCE * 2;
        let mut connections = 0;
        loop {
            assert!(Instant::now() < end, "it does not come to an end: {}", self.state());
            connections += 1;
            self.steady = connections > 40 || self.sent == MESSAGES && connections > 8;
            let mut link = self.broker.accept();
            let over = self.connection(&mut link, end);
            self.broker.judge.borrow_mut().broken();
            if over.is_ok() {
                return;
            }
            match self.random.below(3) {
                0 => link.carrier.reset(),
                1 => link.carrier.half_close(),
                _ => drop(link),
            }
        }
    }

    fn state(&self) -> String {
        let open = self.commands.iter().filter(|command| command.outcome.is_none()).count();
        format!("{} sent, {} in flight, {open} commands open", self.sent, self.in_flight.len())
    }

    /// One connection, to its end or the end of everything.
    fn connection(&mut self, link: &mut Link, end: Instant) -> Result<(), Over> {
        self.aliases.clear();
        link.cut = match self.random.below(5) {
            0 => Cut::Each(1),
            1 => Cut::Each(1 + self.random.below(9)),
            2 => Cut::Fragments(1 + self.random.below(5)),
            _ => Cut::Whole,
        };
        let Got::Packet(Packet::Connect(connect)) = link.next_within(PATIENCE) else {
            return Err(Over);
        };
        if self.chance(10) {
            return Err(Over);
        }
        self.greet(link, &connect)?;
        let mut steps = if self.steady { usize::MAX } else { self.random.below(60) };
        while steps > 0 {
            steps = steps.saturating_sub(1);
            if self.is_done() && self.steady {
                return Ok(());
            }
            assert!(Instant::now() < end, "it does not come to an end: {}", self.state());
            match self.random.below(4) {
                0 => self.send_next(link)?,
                1 => self.write_next(),
                _ => {}
            }
            self.take_outcomes();
            let wait = Duration::from_millis(self.random.below(4) as u64);
            match link.next_within(wait) {
                Got::Packet(packet) => self.take(link, packet)?,
                Got::End => return Err(Over),
                Got::Nothing => {}
            }
        }
        if self.broker.version.is_5() && self.random.below(3) == 0 {
            self.send(link, &disconnect(0x8B))?;
        }
        Err(Over)
    }

    fn greet(&mut self, link: &mut Link, connect: &Connect) -> Result<(), Over> {
        if self.loses && self.chance(5) {
            self.exists = false;
            self.in_flight.clear();
            self.received.clear();
        }
        let present = self.exists && !connect.clean;
        let is_5 = self.broker.version.is_5();
        if self.chance(12) {
            let code = if is_5 { 0x88 } else { 3 };
            self.send(link, &Packet::Connack { present: false, code, properties: vec![] })?;
            return Err(Over);
        }
        let mut properties = Properties::new();
        if is_5 {
            if self.random.below(2) == 0 {
                let maximum = u16::try_from(1 + self.random.below(6)).unwrap();
                properties.push((property::RECEIVE_MAXIMUM, Value::Two(maximum)));
            }
            let aliases = u16::try_from(self.random.below(4)).unwrap();
            properties.push((property::ALIAS_MAXIMUM, Value::Two(aliases)));
        }
        self.exists = true;
        self.send(link, &Packet::Connack { present, code: 0, properties })?;
        let again: Vec<Packet> = self
            .in_flight
            .iter()
            .map(|one| match one.released {
                true => ack(Kind::Pubrel, one.publish.id),
                false => one.publish.again(),
            })
            .collect();
        again.iter().try_for_each(|packet| self.send(link, packet))
    }

    /// Sends a packet, or a part of it and no more.
    fn send(&mut self, link: &mut Link, packet: &Packet) -> Result<(), Over> {
        if self.chance(60) {
            let bytes = encode(self.broker.version, packet);
            // The judge is told nothing of what is not whole.
            link.send_bytes(&bytes[..self.random.below(bytes.len())]);
            return Err(Over);
        }
        if link.try_send(packet) { Ok(()) } else { Err(Over) }
    }

    fn send_next(&mut self, link: &mut Link) -> Result<(), Over> {
        if self.sent == MESSAGES || self.in_flight.len() > 6 {
            return Ok(());
        }
        let (text, qos) = (format!("m{}", self.sent), Self::qos_of(self.sent));
        self.sent += 1;
        if qos == 0 {
            return self.send(link, &publish("in", text, 0, 0));
        }
        // Few identifiers, so that each is used again and again.
        let used = |id: u16| self.in_flight.iter().any(|one| one.publish.id == id);
        let id = (1..).map(|step| (self.last_id + step) % 12 + 1).find(|&id| !used(id)).unwrap();
        self.last_id = id;
        let publish = message("in", text, qos, id);
        self.in_flight.push_back(InFlight { publish: publish.clone(), released: false });
        self.send(link, &Packet::Publish(publish))
    }

    fn write_next(&mut self) {
        let open = self.commands.iter().filter(|command| command.outcome.is_none()).count();
        if self.commands.len() == COMMANDS || open > 8 {
            return;
        }
        let (number, qos) = (self.commands.len(), Self::qos_of(self.commands.len() + 1));
        let writes = json!([{ "name": format!("{}.o{qos}", self.name), "value": number }]);
        let params = json!({ "writes": writes, "timeout_s": 60 });
        let request = self.socket.request("tag.write", params);
        self.requests.insert(request, number);
        self.commands.push(Command { qos, outcome: None });
    }

    fn take_outcomes(&mut self) {
        let open: Vec<u64> = self.requests.keys().copied().collect();
        for request in open {
            // One look takes all answers in.
            let Some(answer) = self.socket.answer_within(request, Duration::ZERO) else { continue };
            let number = self.requests.remove(&request).unwrap();
            let outcome = match answer {
                Ok(result) => result["results"][0]["outcome"].as_str().unwrap().to_owned(),
                Err(_) => "failed".to_owned(),
            };
            self.commands[number].outcome = Some(outcome);
        }
    }

    fn take(&mut self, link: &mut Link, packet: Packet) -> Result<(), Over> {
        let answer = match packet {
            Packet::Publish(publish) => {
                if publish.qos < 2 || self.received.insert(publish.id) {
                    self.arrived.push(publish.text());
                }
                match publish.qos {
                    0 => return Ok(()),
                    1 => ack(Kind::Puback, publish.id),
                    _ => ack(Kind::Pubrec, publish.id),
                }
            }
            Packet::Ack(one) => match one.kind {
                Kind::Puback | Kind::Pubcomp => {
                    self.in_flight.retain(|open| open.publish.id != one.id);
                    return Ok(());
                }
                Kind::Pubrec => {
                    let open = self.in_flight.iter_mut().find(|open| open.publish.id == one.id);
                    open.expect("an exchange for this PUBREC").released = true;
                    ack(Kind::Pubrel, one.id)
                }
                Kind::Pubrel => {
                    let known = self.received.remove(&one.id);
                    let unknown = self.broker.version.is_5() && !known;
                    refusal(Kind::Pubcomp, one.id, if unknown { 0x92 } else { 0 })
                }
            },
            Packet::Subscribe { id, filters, .. } => {
                Packet::Suback { id, codes: filters.iter().map(|(_, qos)| qos & 3).collect() }
            }
            _ => return Ok(()),
        };
        self.send(link, &answer)
    }

    /// What the QoS promises.
    fn check(&self) -> Vec<String> {
        let mut faults = self.broker.faults();
        let applied = self.applied();
        let count = |all: &[String], text: &str| all.iter().filter(|one| *one == text).count();
        for number in 0..MESSAGES {
            let times = count(&applied, &format!("m{number}"));
            let is_right = match Self::qos_of(number) {
                0 => times <= 1,
                1 => times >= 1 || self.loses,
                _ => times == 1 || self.loses && times == 0,
            };
            if !is_right {
                faults.push(format!("m{number} was applied {times} times"));
            }
        }
        let twos = |all: &[String]| -> Vec<usize> {
            let numbers = all.iter().filter_map(|text| text.strip_prefix('m')?.parse().ok());
            numbers.filter(|&number| Self::qos_of(number) == 2).collect()
        };
        if !twos(&applied).is_sorted() {
            faults.push(format!("QoS 2 out of order: {applied:?}"));
        }
        // What 3.1.1 repeats after the loss is another message for the server (MQTT-4.4.0-1).
        let again = if self.loses && !self.broker.version.is_5() { usize::MAX } else { 1 };
        for (number, command) in self.commands.iter().enumerate() {
            let times = count(&self.arrived, &number.to_string());
            let outcome = command.outcome.as_deref().unwrap_or("open");
            let is_right = match (outcome, command.qos) {
                ("completed", 0) => times <= 1,
                ("completed", 1) => times >= 1,
                ("completed", _) => (1..=again).contains(&times),
                ("failed", _) => times == 0,
                ("uncertain", 2 | 0) => times <= again,
                ("uncertain", _) => true,
                _ => false,
            };
            if !is_right {
                let qos = command.qos;
                faults.push(format!(
                    "command {number} at QoS {qos} {outcome}: arrived {times} times"
                ));
            }
        }
        faults
    }

    fn applied(&self) -> Vec<String> {
        let name = format!("{}.in", self.name);
        self.driver.durable();
        let mut changes = self.driver.subscribe(&[&name], "oldest");
        let is_last = |text: &str| {
            let last = (0..MESSAGES).rev().find(|&number| Self::qos_of(number) > 0).unwrap();
            text == format!("m{last}")
        };
        if !self.loses {
            changes.until("the last message", |all| {
                all.iter().any(|change| change["value"].as_str().is_some_and(is_last))
            });
        }
        while changes.take_in(Duration::from_millis(50)) {}
        let mut before = Json::Null;
        let mut values = Vec::new();
        for change in changes.all.iter().filter(|change| change["reason"] == "ok") {
            let message = json!([change["value"], change["received"]]);
            if message != before {
                values.push(change["value"].as_str().unwrap().to_owned());
            }
            before = message;
        }
        values
    }
}

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("TAGLINE_HUNT").unwrap_or_default();
    let range = given
        .split_once("..")
        .and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    range.unwrap_or(0..24)
}

fn configure(config: Config, name: &str, port: u16, version: Version, over: Transport) -> Config {
    let path = if over.is_web() { "/mqtt" } else { "" };
    let mut keys = format!(
        "servers = [\"{}://127.0.0.1:{port}{path}\"]\nmqtt_version = \"{}\"\nsubscribe_qos = 2\n",
        over.scheme(),
        version.key()
    );
    if over.is_encrypted() {
        keys.push_str(&trust(&certificates().ca_file));
    }
    let mut config = config.line_named(name, port, &keys).stations(&format!(
        "[[station]]\nname = \"{name}.in\"\nline = \"{name}\"\naddress = \"in\"\n"
    ));
    config = config.tags(&format!("{name}.in,{name}.in,TxtI,IN_DATA"));
    for qos in 0..=2 {
        let station = format!("{name}.o{qos}");
        config = config
            .stations(&format!(
                "[[station]]\nname = \"{station}\"\nline = \"{name}\"\naddress = \"o{qos}\"\n\
                 out_topic = \"commands/{qos}\"\npublish_qos = {qos}\n"
            ))
            .tags(&format!("{station},{station},Co,OUT_VALUE"));
    }
    config
}

#[test]
fn random_sessions_keep_what_qos_promises() {
    let mut config = Config::new();
    let mut runs = Vec::new();
    for seed in seeds() {
        let version = if seed % 2 == 0 { Version::V311 } else { Version::V50 };
        let over = TRANSPORTS[usize::try_from(seed / 2 % 4).unwrap()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("seed-{seed}");
        let port = listener.local_addr().unwrap().port();
        config = configure(config, &name, port, version, over);
        runs.push((seed, name, listener, version, over));
    }
    let driver = Driver::start(&config);
    let mut failures: Vec<String> = std::thread::scope(|scope| {
        let driver = &driver;
        let threads: Vec<_> = runs
            .into_iter()
            .map(|(seed, name, listener, version, over)| {
                scope.spawn(move || {
                    let broker = Broker::new(listener, version, over);
                    let mut session = Session::new(name.clone(), driver, broker, seed + 1);
                    let played = std::panic::catch_unwind(AssertUnwindSafe(|| session.play()));
                    let mut faults = match played {
                        Ok(()) => session.check(),
                        Err(_) => vec![format!("it failed, see above; {}", session.state())],
                    };
                    faults.dedup();
                    faults
                        .into_iter()
                        .map(|fault| format!("{name} {over:?} {version:?}: {fault}"))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    failures.sort();
    assert!(failures.is_empty(), "{} faults:\n{}", failures.len(), failures.join("\n"));
}
