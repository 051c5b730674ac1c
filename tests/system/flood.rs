//! 100,000 messages while the consumer of the socket does not read: pings and writes go on, and
//! memory does not grow with them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Config, Driver, PATIENCE, Socket};
use crate::strict::packet::{ack, encode, publish};
use crate::strict::{Broker, Cut, Got, Kind, Link, Packet, Transport, Version};

const MESSAGES: u32 = 100_000;

/// Sent and not acknowledged; less than any receive maximum.
const WINDOW: u32 = 500;

/// A server closes after one and a half intervals.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

fn output(qos: u8) -> String {
    format!("out.{qos}")
}

fn config(port: u16, version: Version) -> Config {
    let keys = format!(
        "mqtt_version = \"{}\"\nkeep_alive = \"2s\"\nping_interval = \"0s\"\nsubscribe_qos = 1",
        version.key()
    );
    let mut config = Config::new()
        .line(port, &keys)
        .station("text", "plant/text", "")
        .tags("text.data,text,TxtI,IN_DATA");
    for qos in 0..=2 {
        let (name, more) = (output(qos), format!("out_topic = \"cmd/{qos}\"\npublish_qos = {qos}"));
        config = config.station(&name, &name, &more).tags(&format!("{name},{name},Co,OUT_VALUE"));
    }
    config
}

/// Writes that go out one after the other, at each QoS in turn, and how long the slowest took.
#[derive(Default)]
struct Writes {
    open: Option<(u64, Instant)>,
    count: u64,
    slowest: Duration,
}

impl Writes {
    fn turn(&mut self, socket: &mut Socket) {
        if let Some((request, since)) = self.open {
            if let Some(answer) = socket.answer_within(request, Duration::ZERO) {
                let result = answer.unwrap();
                assert_eq!(result["results"][0]["outcome"], "completed", "{result}");
                self.slowest = self.slowest.max(since.elapsed());
                self.open = None;
            }
            assert!(since.elapsed() < PATIENCE, "write {} does not end", self.count);
            return;
        }
        let name = output(u8::try_from(self.count % 3).unwrap());
        self.count += 1;
        let writes = json!([{ "name": name, "value": self.count }]);
        let request = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 30 }));
        self.open = Some((request, Instant::now()));
    }
}

/// What the broker has seen.
struct Seen {
    link: Link,
    acknowledged: u32,
    last: Instant,
    longest_silence: Duration,
}

impl Seen {
    /// Takes in what has come and answers it, up to a hundred packets.
    fn take(&mut self) {
        for _ in 0..100 {
            if !self.take_one(Duration::from_millis(1)) {
                return;
            }
        }
    }

    fn take_one(&mut self, wait: Duration) -> bool {
        let Got::Packet(packet) = self.link.next_within(wait) else {
            self.longest_silence = self.longest_silence.max(self.last.elapsed());
            return false;
        };
        self.longest_silence = self.longest_silence.max(self.last.elapsed());
        self.last = Instant::now();
        let answer = match &packet {
            Packet::Ack(one) if one.kind == Kind::Puback => {
                self.acknowledged += 1;
                return true;
            }
            Packet::Publish(one) if one.qos == 1 => ack(Kind::Puback, one.id),
            Packet::Publish(one) if one.qos == 2 => ack(Kind::Pubrec, one.id),
            Packet::Ack(one) if one.kind == Kind::Pubrel => ack(Kind::Pubcomp, one.id),
            Packet::Pingreq => Packet::Pingresp,
            _ => return true,
        };
        self.link.send(&answer);
        true
    }
}

fn play(version: Version) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Broker::new(listener, version, Transport::Tcp);
    let driver = Driver::start(&config(broker.port, version));
    let mut link = broker.accept();
    link.expect_connect();
    link.connack(false, vec![]);
    link.grant();
    link.answer_pings = false;
    driver.up();
    let before = driver.resident_bytes();
    // It has subscribed to everything, and never reads.
    let _stopped = driver.subscribe(&["*"], Json::Null);
    let mut socket = driver.socket();
    let mut writes = Writes::default();
    let mut seen =
        Seen { link, acknowledged: 0, last: Instant::now(), longest_silence: Duration::ZERO };
    let mut sent = 0;
    let mut most = 0;
    while seen.acknowledged < MESSAGES {
        while sent < MESSAGES && sent + 100 <= seen.acknowledged + WINDOW {
            let id = |number: u32| u16::try_from(number % 60_000 + 1).unwrap();
            let batch: Vec<Packet> = (sent..sent + 100)
                .map(|number| publish("plant/text", format!("message {number}"), 1, id(number)))
                .collect();
            seen.link.send_all(&batch);
            sent += 100;
        }
        seen.take();
        writes.turn(&mut socket);
        most = most.max(driver.resident_bytes());
    }
    assert!(writes.count > 20, "{} writes", writes.count);
    assert!(writes.slowest < Duration::from_secs(3), "a write took {:?}", writes.slowest);
    // At QoS 0 nothing is to be answered: the interval is kept by PINGREQ alone.
    while writes.open.is_some() {
        seen.take();
        writes.turn(&mut socket);
    }
    let bytes = encode(version, &publish("plant/text", "at QoS 0", 0, 0)).repeat(50);
    let (pings, begun) = (seen.link.pings, Instant::now());
    while seen.link.pings < pings + 3 {
        assert!(seen.link.carrier.write(&bytes, Cut::Whole), "the client has closed");
        seen.take();
        std::thread::sleep(Duration::from_millis(10));
        assert!(begun.elapsed() < KEEP_ALIVE * 9 / 2, "{} PINGREQs", seen.link.pings - pings);
    }
    let silence = seen.longest_silence;
    assert!(silence < KEEP_ALIVE * 3 / 2, "{silence:?} without a packet of the client");
    most = most.max(driver.resident_bytes());
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 96, "{grown} MiB more");
    driver.has("text.data", "at QoS 0", "ok");
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
    assert_eq!(broker.faults(), [""; 0]);
    if std::env::var_os("TAGLINE_SCENARIO_LOG").is_some() {
        eprintln!("{grown} MiB more, {} writes, slowest {:?}", writes.count, writes.slowest);
    }
}

#[test]
fn with_the_consumer_stopped_pings_and_writes_go_on_in_3_1_1() {
    play(Version::V311);
}

#[test]
fn with_the_consumer_stopped_pings_and_writes_go_on_in_5() {
    play(Version::V50);
}
