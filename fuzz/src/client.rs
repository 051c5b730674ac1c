//! The client as a whole: the bytes are a script of what happens around it.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use tagline::mqtt::{
    BytesProgress, ChangeSeq, Client, ClientOptions, Command, ConnectProperties, Credentials,
    Delivery, Endpoint, Event, Input, Output, Publication, PublishToken, Session, SessionChange,
    Subscription, Version,
};
use tagline::qos::Qos;

/// What the script has led to.
struct Stage {
    client: Client,
    now: Instant,
    buffer: BytesMut,
    deliveries: Vec<Delivery>,
    last_seq: ChangeSeq,
    records: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    open_tokens: std::collections::BTreeSet<u64>,
    unsent: usize,
    has_transport: bool,
}

/// Whatever happens, in whatever order: no panic, no outcome twice, no bytes without a transport, no
/// timer that does not go away, and a stored session can be restored at any moment.
pub fn client(data: &[u8]) {
    act(Version::V311, data);
}

/// The same in MQTT 5.0.
pub fn client_v5(data: &[u8]) {
    act(Version::V5, data);
}

fn act(version: Version, data: &[u8]) {
    let Some((&setting, mut script)) = data.split_first() else { return };
    let mut stage = Stage::new(version, setting);
    stage.command(Command::Connect);
    let mut token = 0;
    while let Some((&action, rest)) = script.split_first() {
        script = rest;
        match action {
            0..=15 => stage.input(Input::Connected(Credentials::default())),
            16..=19 => stage.input(Input::ConnectFailed(String::new())),
            20..=23 => stage.input(Input::Closed(String::new())),
            24..=39 => {
                let count = stage.unsent.min(usize::from(action - 23));
                stage.unsent -= count;
                stage.input(Input::Transmitted(count));
            }
            40..=55 => {
                let seq = ChangeSeq(stage.last_seq.0.saturating_sub(u64::from(action - 40)));
                stage.input(Input::Durable(seq));
            }
            56..=71 => stage.wait(Duration::from_millis(250 << (action - 56))),
            72..=87 => {
                token += 1;
                stage.publish(token, action);
            }
            88..=103 => stage.acknowledge(usize::from(action - 88)),
            104 => stage.command(Command::Disconnect),
            105..=107 => stage.command(Command::Connect),
            108..=110 => stage.restore(),
            _ => {
                let count = script.len().min(usize::from(action - 110) / 4);
                let (bytes, rest) = script.split_at(count);
                script = rest;
                stage.receive(bytes);
            }
        }
    }
}

impl Stage {
    fn new(version: Version, setting: u8) -> Self {
        let options = ClientOptions {
            version,
            client_id: if setting & 1 == 0 { "fuzz".to_owned() } else { String::new() },
            clean_session: setting & 2 != 0,
            keep_alive: u16::from(setting >> 2 & 3),
            ping_interval: (setting & 16 != 0).then_some(Duration::from_secs(1)),
            reply_timeout: (setting & 32 != 0).then_some(Duration::from_secs(2)),
            will: None,
            subscriptions: vec![Subscription::new("#", Qos::ExactlyOnce)],
            publish_in_flight: u16::from(setting >> 6),
            maximum_packet_size: 100,
            properties: match version {
                Version::V311 => ConnectProperties::default(),
                Version::V5 => ConnectProperties {
                    session_expiry_s: 60,
                    receive_maximum: Some(5),
                    topic_alias_maximum: 3,
                    user_properties: vec![],
                },
            },
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(1),
            servers: 2,
            seed: u64::from(setting),
        };
        Self {
            client: Client::new(options, Session::default()),
            now: start(),
            buffer: BytesMut::new(),
            deliveries: vec![],
            last_seq: ChangeSeq(0),
            records: Default::default(),
            open_tokens: Default::default(),
            unsent: 0,
            has_transport: false,
        }
    }

    fn input(&mut self, input: Input) {
        // The contract of the driver: it reports of a transport only what it has.
        match input {
            Input::Connected(_) if self.has_transport => return,
            Input::Connected(_) => {
                self.unsent = 0;
                self.has_transport = true;
            }
            Input::Closed(_) => self.has_transport = false,
            _ => {}
        }
        self.client.handle_input(self.now, input);
        self.perform();
    }

    fn command(&mut self, command: Command) {
        self.client.handle_command(self.now, command);
        self.perform();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while self.client.handle_bytes(self.now, &mut self.buffer) == BytesProgress::More {
            self.perform();
        }
        self.perform();
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration.min(Duration::from_secs(100));
        let mut wakes = 0;
        while let Some(due) = self.client.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.input(Input::Timeout);
            wakes += 1;
            assert!(wakes < 10_000, "a timer does not go away");
        }
        self.now = end;
    }

    fn publish(&mut self, token: u64, action: u8) {
        let publication = Publication {
            topic: ["t", "", "a/b", "#"][usize::from(action >> 2 & 3)].into(),
            payload: vec![b'x'; usize::from(action)].into(),
            qos: Qos::from_level(action % 3).unwrap_or_default(),
            retain: false,
            properties: None,
        };
        self.open_tokens.insert(token);
        let deadline = self.now + Duration::from_secs(u64::from(action & 7));
        self.command(Command::Publish { token: PublishToken(token), publication, deadline, expires: None });
    }

    fn acknowledge(&mut self, position: usize) {
        if position < self.deliveries.len() {
            let delivery = self.deliveries.remove(position);
            if let Some(SessionChange { key, value: Some(value) }) = delivery.session_change() {
                self.records.insert(key, value);
            }
            self.command(Command::Acknowledge(delivery));
        }
    }

    fn restore(&self) {
        assert!(Session::restore(self.records.clone()).is_ok());
    }

    fn perform(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { server: Endpoint::Listed(server) } => assert!(server < 2),
                Output::Connect { server: Endpoint::Referred(server) } => assert!(server.by < 2),
                Output::Transmit(bytes) => {
                    assert!(self.has_transport && !bytes.is_empty());
                    self.unsent += bytes.len();
                }
                Output::Close => self.has_transport = false,
                Output::Event(event) => self.on_event(event),
            }
        }
        assert_eq!(self.client.unfinished(), self.open_tokens.len());
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Session { seq, change } => {
                assert!(seq > self.last_seq);
                self.last_seq = seq;
                match change.value {
                    Some(value) => drop(self.records.insert(change.key, value)),
                    None if change.key.is_empty() => self.records.clear(),
                    None => drop(self.records.remove(&change.key)),
                }
            }
            Event::Completed { token, .. } => assert!(self.open_tokens.remove(&token.0)),
            Event::Message { delivery, .. } => self.deliveries.push(delivery),
            Event::Down { .. } => self.buffer.clear(),
            Event::Up { .. }
            | Event::Subscribed { .. }
            | Event::InFlight { .. }
            | Event::Notice(_) => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only the distance from the start is used")]
fn start() -> Instant {
    Instant::now()
}
