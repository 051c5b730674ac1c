//! What a scenario plays on: its line of the process, its broker, and what holds after all of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Driver, PATIENCE, Socket};
use crate::strict::packet::{ack, message, publish};
use crate::strict::property::Properties;
use crate::strict::{Broker, Connect, Got, Kind, Link, Packet, Transport, Version};

/// A row of the matrix.
pub struct Scenario {
    pub name: &'static str,
    pub versions: &'static [Version],
    pub transports: &'static [Transport],
    pub qos: &'static [u8],
    /// Keys of the line.
    pub keys: &'static str,
    /// Keys of the line in 5.0 only.
    pub keys_5: &'static str,
    pub run: fn(&mut Stage<'_>),
}

pub const BOTH: &[Version] = &[Version::V311, Version::V50];
pub const ONLY_311: &[Version] = &[Version::V311];
pub const ONLY_5: &[Version] = &[Version::V50];
pub const ALL: &[Transport] = &[Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
pub const WEB: &[Transport] = &[Transport::Ws, Transport::Wss];
/// Where what carries the bytes cannot matter, and time is better spent: one plain, one wrapped.
pub const SAMPLE: &[Transport] = &[Transport::Tcp, Transport::Wss];

/// A scenario in both versions, over all transports, once.
pub const fn scenario(name: &'static str, run: fn(&mut Stage<'_>)) -> Scenario {
    Scenario { name, versions: BOTH, transports: ALL, qos: &[1], keys: "", keys_5: "", run }
}

impl Scenario {
    pub const fn qos(self, qos: &'static [u8]) -> Self {
        Self { qos, ..self }
    }

    pub const fn keys(self, keys: &'static str) -> Self {
        Self { keys, ..self }
    }

    pub const fn keys_5(self, keys_5: &'static str) -> Self {
        Self { keys_5, ..self }
    }

    pub const fn over(self, transports: &'static [Transport]) -> Self {
        Self { transports, ..self }
    }

    pub const fn only(self, versions: &'static [Version]) -> Self {
        Self { versions, ..self }
    }
}

pub struct Stage<'a> {
    pub driver: &'a Driver,
    pub broker: Broker,
    /// Of the line, and before the names of its tags.
    pub name: String,
    pub version: Version,
    pub qos: u8,
    /// The connection that the scenario leaves behind.
    pub link: Option<Link>,
    /// QoS of the writes at the end.
    pub last_writes: &'static [u8],
    /// Each: words that one log line of this line must have.
    pub expected_log: Vec<Vec<String>>,
    /// The broker has a session of the client.
    has_session: Cell<bool>,
    socket: Socket,
    /// Answers to writes that have come before they were asked for.
    ended: BTreeMap<u64, Json>,
}

impl<'a> Stage<'a> {
    pub fn new(driver: &'a Driver, broker: Broker, name: String, qos: u8) -> Self {
        Self {
            driver,
            version: broker.version,
            broker,
            name,
            qos,
            link: None,
            last_writes: &[0, 1, 2],
            expected_log: Vec::new(),
            has_session: Cell::new(false),
            socket: driver.socket(),
            ended: BTreeMap::new(),
        }
    }

    pub fn is_5(&self) -> bool {
        self.version.is_5()
    }

    /// The log must say this of the line, when all is over.
    pub fn says(&mut self, words: &[&str]) {
        self.expected_log.push(words.iter().map(|&word| word.to_owned()).collect());
    }

    /// The next connection and its CONNECT.
    #[track_caller]
    pub fn greet(&self) -> (Link, Connect) {
        let mut link = self.broker.accept();
        let connect = link.expect_connect();
        (link, connect)
    }

    /// Accepts the connection, with the session that a server would have.
    #[track_caller]
    pub fn connack(&self, link: &mut Link, connect: &Connect, properties: Properties) {
        let present = self.has_session.get() && !connect.clean;
        self.has_session.set(connect.is_persistent());
        link.connack(present, properties);
    }

    /// Accepts the connection as one without a session.
    #[track_caller]
    pub fn connack_anew(&self, link: &mut Link, connect: &Connect, properties: Properties) {
        self.has_session.set(false);
        self.connack(link, connect, properties);
    }

    /// The next connection, accepted, its filters granted.
    #[track_caller]
    pub fn session(&self) -> Link {
        self.session_with(vec![])
    }

    #[track_caller]
    pub fn session_with(&self, properties: Properties) -> Link {
        let (mut link, connect) = self.greet();
        self.connack(&mut link, &connect, properties);
        link.grant();
        link
    }

    /// The next connection that comes so far; earlier ones may have been given up while the machine
    /// was busy.
    #[track_caller]
    pub fn revive(&self) -> Link {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "the line did not come back");
            let mut link = self.broker.accept();
            let Got::Packet(Packet::Connect(connect)) = link.next_within(PATIENCE) else {
                continue;
            };
            let present = self.has_session.get() && !connect.clean;
            self.has_session.set(connect.is_persistent());
            if link.try_send(&Packet::Connack { present, code: 0, properties: vec![] }) {
                return link;
            }
        }
    }

    /// Tag of the input.
    pub fn input(&self) -> String {
        format!("{}.in", self.name)
    }

    /// Waits until the input has this value.
    #[track_caller]
    pub fn has(&self, text: &str) {
        self.driver.has(&self.input(), text, "ok");
    }

    /// Begins a write of a number.
    pub fn write(&mut self, qos: u8, value: i64) -> u64 {
        self.write_within(qos, value, 30.0)
    }

    pub fn write_within(&mut self, qos: u8, value: i64, timeout_s: f64) -> u64 {
        self.write_tag(&format!("o{qos}"), value, timeout_s)
    }

    pub fn write_tag(&mut self, tag: &str, value: i64, timeout_s: f64) -> u64 {
        let writes = json!([{ "name": format!("{}.{tag}", self.name), "value": value }]);
        self.socket.request("tag.write", json!({ "writes": writes, "timeout_s": timeout_s }))
    }

    /// What became of a write.
    #[track_caller]
    pub fn outcome(&mut self, request: u64) -> String {
        let ended = self.ended.remove(&request);
        let result = ended.unwrap_or_else(|| self.socket.answer(request).unwrap());
        result["results"][0]["outcome"].as_str().unwrap().to_owned()
    }

    /// Whether a write has no outcome within this time.
    #[track_caller]
    pub fn is_open(&mut self, request: u64, time: Duration) -> bool {
        if let Some(answer) = self.socket.answer_within(request, time) {
            self.ended.insert(request, answer.unwrap());
        }
        !self.ended.contains_key(&request)
    }

    /// Sends a message and takes part in its handshake.
    #[track_caller]
    pub fn deliver(&self, link: &mut Link, text: &str, qos: u8, id: u16) {
        link.send(&publish("in", text, qos, id));
        self.take_acks(link, qos, id);
    }

    #[track_caller]
    pub fn take_acks(&self, link: &mut Link, qos: u8, id: u16) {
        match qos {
            0 => {}
            1 => link.expect_ack(Kind::Puback, id),
            _ => {
                link.expect_ack(Kind::Pubrec, id);
                link.send(&ack(Kind::Pubrel, id));
                link.expect_ack(Kind::Pubcomp, id);
            }
        }
    }

    /// Takes a publication of the client and answers it: its text.
    #[track_caller]
    pub fn take_write(&self, link: &mut Link) -> String {
        let publish = link.expect_publish();
        match publish.qos {
            0 => {}
            1 => link.send(&ack(Kind::Puback, publish.id)),
            _ => {
                link.send(&ack(Kind::Pubrec, publish.id));
                link.expect_ack(Kind::Pubrel, publish.id);
                link.send(&ack(Kind::Pubcomp, publish.id));
            }
        }
        publish.text()
    }

    /// Texts of all messages that were applied, up to and including this one.
    #[track_caller]
    pub fn applied(&self, last: &str) -> Vec<String> {
        let mut changes = self.driver.subscribe(&[&self.input()], "oldest");
        changes.until("the last message", |all| {
            all.iter().any(|change| change["value"] == last && change["reason"] == "ok")
        });
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

    /// Messages and writes still go through, whatever the scenario did.
    #[track_caller]
    pub fn works(&mut self) {
        let end = Instant::now() + PATIENCE;
        let mut link = self.link.take();
        let mut open: Vec<u64> = Vec::new();
        let mut is_repeat = false;
        loop {
            assert!(Instant::now() < end, "the last message did not go through");
            let link = link.get_or_insert_with(|| self.revive());
            let last = [message("in", "last", 1, 60_001), message("in", "the last", 2, 60_002)];
            let packets =
                last.map(|one| if is_repeat { one.again() } else { Packet::Publish(one) });
            is_repeat = true;
            if packets.iter().all(|packet| link.try_send(packet))
                && self.serve(link, |packet| {
                    matches!(packet, Packet::Ack(ack) if ack.kind == Kind::Pubcomp && ack.id == 60_002)
                })
            {
                break;
            }
            self.link = None;
        }
        let mut link = link.unwrap();
        self.has("the last");
        for &qos in self.last_writes {
            open.push(self.write(qos, 4711));
        }
        // Completed at QoS 0 once sent, else by our answers.
        while let Some(&request) = open.first() {
            assert!(Instant::now() < end, "the last writes did not go through");
            match self.socket.answer_within(request, Duration::from_millis(2)) {
                Some(answer) => {
                    let result = answer.unwrap();
                    assert_eq!(
                        result["results"][0]["outcome"], "completed",
                        "last write: {result}"
                    );
                    open.remove(0);
                }
                None => match link.next_within(Duration::from_millis(20)) {
                    Got::Packet(packet) => {
                        self.answer(&mut link, &packet);
                    }
                    Got::End => link = self.revive(),
                    Got::Nothing => {}
                },
            }
        }
        self.link = Some(link);
    }

    /// Answers what comes until this packet; false: the connection ended before.
    pub fn serve(&self, link: &mut Link, until: impl Fn(&Packet) -> bool) -> bool {
        loop {
            match link.next_within(PATIENCE) {
                Got::Packet(packet) => {
                    self.answer(link, &packet);
                    if until(&packet) {
                        return true;
                    }
                }
                Got::End | Got::Nothing => return false,
            }
        }
    }

    /// The answer of an ordinary broker.
    pub fn answer(&self, link: &mut Link, packet: &Packet) {
        if link.granted(packet).is_some() {
            return;
        }
        let answer = match packet {
            Packet::Publish(publish) if publish.qos == 1 => ack(Kind::Puback, publish.id),
            Packet::Publish(publish) if publish.qos == 2 => ack(Kind::Pubrec, publish.id),
            Packet::Ack(own) if own.kind == Kind::Pubrec && own.reason < 0x80 => {
                ack(Kind::Pubrel, own.id)
            }
            Packet::Ack(own) if own.kind == Kind::Pubrel => ack(Kind::Pubcomp, own.id),
            _ => return,
        };
        link.try_send(&answer);
    }
}
