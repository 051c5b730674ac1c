//! One test a rule. Bytes are typed, so that they do not depend on the codec.

mod conformance;
mod inbound;
mod link;
mod outbound;
mod property;
mod reconfigure;
mod resume;
mod v5;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::mqtt::packet::{ConnectProperties, Publication, Subscription};
use crate::mqtt::reconnect::{Endpoint, Referred};
use crate::qos::Qos;

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const CONNACK_PRESENT: &[u8] = &[0x20, 2, 1, 0];

/// The client, a clock, and what it said since it was last asked.
struct Harness {
    client: Client,
    now: Instant,
    sent: Vec<u8>,
    connects: Vec<usize>,
    referred: Vec<Referred>,
    closes: usize,
    events: Vec<Event>,
}

fn options() -> ClientOptions {
    ClientOptions {
        version: Version::V311,
        client_id: "pumps".to_owned(),
        clean_session: true,
        keep_alive: 0,
        ping_interval: None,
        reply_timeout: Some(seconds(20)),
        will: None,
        subscriptions: vec![],
        publish_in_flight: 0,
        maximum_packet_size: 16 * 1024 * 1024,
        properties: ConnectProperties::default(),
        reconnect_min: seconds(1),
        reconnect_max: seconds(30),
        servers: 1,
        seed: 7,
    }
}

fn persistent() -> ClientOptions {
    ClientOptions { clean_session: false, ..options() }
}

fn subscribed(filters: &[&str]) -> Vec<Subscription> {
    let subscription = |filter: &&str| Subscription::new(*filter, Qos::AtLeastOnce);
    filters.iter().map(subscription).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn publication(topic: &str, level: u8) -> Publication {
    let qos = Qos::from_level(level).unwrap();
    let payload = Bytes::from_static(b"1");
    Publication { topic: topic.into(), payload, qos, retain: false, properties: None }
}

/// A PUBLISH of topic `t` and payload `1`.
fn publish(first: u8, packet_id: u16) -> Vec<u8> {
    let mut bytes = vec![first, 4, 0, 1, b't', b'1'];
    if first & 0b110 != 0 {
        bytes[1] = 6;
        bytes.splice(5..5, packet_id.to_be_bytes());
    }
    bytes
}

fn ack(first: u8, packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [first, 2, high, low]
}

impl Harness {
    #[expect(clippy::disallowed_methods, reason = "an instant can only be had from the clock")]
    fn new(options: ClientOptions) -> Self {
        Self::restored(options, Session::default(), Instant::now())
    }

    fn restored(options: ClientOptions, session: Session, now: Instant) -> Self {
        let client = Client::new(options, session);
        let mut harness = Self {
            client,
            now,
            sent: vec![],
            connects: vec![],
            referred: vec![],
            closes: 0,
            events: vec![],
        };
        harness.drain();
        harness
    }

    /// A client that is up; what it said on the way is forgotten.
    fn up(options: ClientOptions) -> Self {
        let mut harness = Self::new(options);
        harness.connect();
        harness.receive(CONNACK);
        assert!(harness.client.is_up());
        harness.forget();
        harness
    }

    fn connect(&mut self) {
        self.command(Command::Connect);
        self.opened();
    }

    fn opened(&mut self) {
        self.input(Input::Connected(Credentials::default()));
    }

    /// Waits for the next attempt, opens it, and answers.
    fn reconnect(&mut self, connack: &[u8]) {
        self.wait_for_connect();
        self.opened();
        self.forget();
        self.receive(connack);
    }

    fn wait_for_connect(&mut self) {
        let before = self.connects.len();
        while self.connects.len() == before {
            self.now = self.client.deadline().expect("another attempt").max(self.now);
            self.input(Input::Timeout);
        }
    }

    fn lose(&mut self) {
        self.input(Input::Closed("cut".to_owned()));
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.client.deadline().filter(|&due| due <= end) {
            self.now = due.max(self.now);
            self.input(Input::Timeout);
        }
        self.now = end;
        self.input(Input::Timeout);
    }

    fn input(&mut self, input: Input) {
        self.client.handle_input(self.now, input);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        self.client.handle_command(self.now, command);
        self.drain();
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut buffer = BytesMut::from(bytes);
        while self.client.handle_bytes(self.now, &mut buffer) == BytesProgress::More {
            self.drain();
        }
        self.drain();
    }

    fn publish(&mut self, token: u64, topic: &str, level: u8) {
        let deadline = self.now + seconds(10);
        let (token, publication) = (PublishToken(token), publication(topic, level));
        self.command(Command::Publish { token, publication, deadline, expires: None });
    }

    /// Every transmit is taken at once, unless a test says otherwise.
    fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { server: Endpoint::Listed(server) } => self.connects.push(server),
                Output::Connect { server: Endpoint::Referred(server) } => {
                    self.referred.push(server);
                }
                Output::Transmit(bytes) => self.sent.extend_from_slice(&bytes),
                Output::Close => self.closes += 1,
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// The transport takes all.
    fn transmitted(&mut self) {
        self.input(Input::Transmitted(usize::MAX / 2));
    }

    fn durable(&mut self) {
        let seq = self.client.last_seq;
        self.input(Input::Durable(seq));
    }

    fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    fn forget(&mut self) {
        self.sent.clear();
        self.events.clear();
    }

    fn outcomes(&mut self) -> Vec<(u64, PublishOutcome)> {
        let events = std::mem::take(&mut self.events);
        let outcome = |event| match event {
            Event::Completed { token, outcome } => Some((token.0, outcome)),
            _ => None,
        };
        events.into_iter().filter_map(outcome).collect()
    }

    fn deliveries(&mut self) -> Vec<Delivery> {
        let events = std::mem::take(&mut self.events);
        let delivery = |event| match event {
            Event::Message { delivery, .. } => Some(delivery),
            _ => None,
        };
        events.into_iter().filter_map(delivery).collect()
    }

    /// Cause of the last Down.
    fn cause(&self) -> String {
        let cause = |event: &Event| match event {
            Event::Down { cause, .. } => Some(cause.clone()),
            _ => None,
        };
        self.events.iter().rev().find_map(cause).unwrap_or_default()
    }

    fn has_notice(&self, text: &str) -> bool {
        let found = |event: &Event| matches!(event, Event::Notice(notice) if notice.contains(text));
        self.events.iter().any(found)
    }

    /// The records as a store would have them after all changes.
    fn store(&self, records: &mut std::collections::BTreeMap<Vec<u8>, Vec<u8>>) {
        for event in &self.events {
            if let Event::Session { change, .. } = event {
                match &change.value {
                    Some(value) => drop(records.insert(change.key.clone(), value.clone())),
                    None if change.key.is_empty() => records.clear(),
                    None => drop(records.remove(&change.key)),
                }
            }
        }
    }
}
