//! A small broker that keeps one client's session as MQTT 3.1.1 demands, over connections that it
//! cuts at chosen bytes. Real brokers have mistakes of their own just there: one in wide use sends
//! PUBLISH again after PUBREC when the connection breaks twice.

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Random;
use super::packet::{self, Packet};

/// Messages in flight towards the client.
const WINDOW: usize = 20;

/// A broker with one topic in, `plant/text`, and whatever the client publishes.
pub struct ModelBroker {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    session: Mutex<Session>,
    steady: AtomicBool,
    stopped: AtomicBool,
    cuts: AtomicUsize,
}

#[derive(Default)]
struct Session {
    exists: bool,
    subscribed: bool,
    queue: VecDeque<(String, u8)>,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
    /// QoS 2 identifiers of the client that are not released.
    received: BTreeSet<u16>,
    commands: Vec<String>,
}

struct InFlight {
    id: u16,
    payload: String,
    qos: u8,
    released: bool,
}

impl ModelBroker {
    /// Each connection ends after up to `bytes` bytes in one of its directions, until
    /// [`ModelBroker::steady`].
    pub fn start(bytes: usize, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            while let Ok((stream, _)) = listener.accept() {
                if own.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
                let limit = random.below(bytes) + 1;
                let steady = own.steady.load(Ordering::Relaxed);
                let out = random.below(2) == 0;
                let limit_of = |this: bool| if this && !steady { limit } else { usize::MAX };
                let connection = Connection {
                    stream,
                    shared: &own,
                    buffer: Vec::new(),
                    may_send: limit_of(out),
                    may_take: limit_of(!out),
                };
                connection.serve();
            }
        });
        Self { port, shared }
    }

    /// Has a message for the client.
    pub fn publish(&self, payload: impl Into<String>, qos: u8) {
        self.session(|session| session.queue.push_back((payload.into(), qos)));
    }

    /// What the client has published, exactly once where it said QoS 2.
    pub fn commands(&self) -> Vec<String> {
        self.session(|session| session.commands.clone())
    }

    /// Whether the client has acknowledged everything.
    pub fn is_drained(&self) -> bool {
        self.session(|session| session.queue.is_empty() && session.in_flight.is_empty())
    }

    /// From here on connections last.
    pub fn steady(&self) {
        self.shared.steady.store(true, Ordering::Relaxed);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    fn session<T>(&self, access: impl FnOnce(&mut Session) -> T) -> T {
        access(&mut self.shared.session.lock().unwrap())
    }
}

impl Drop for ModelBroker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

struct Connection<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    buffer: Vec<u8>,
    may_send: usize,
    may_take: usize,
}

/// The connection is over.
struct Over;

impl Connection<'_> {
    fn serve(mut self) {
        let mut connected = false;
        while !self.shared.stopped.load(Ordering::Relaxed) {
            if self.turn(&mut connected).is_err() {
                return;
            }
        }
    }

    fn turn(&mut self, connected: &mut bool) -> Result<(), Over> {
        self.read()?;
        while let Ok(Some((header, length))) = packet::length_of(&self.buffer) {
            if self.buffer.len() < header + length {
                break;
            }
            let bytes: Vec<u8> = self.buffer.drain(..header + length).collect();
            // Nobody sees a panic of this thread: an illegal packet shows as a connection that
            // ends again and again, which the test does not survive.
            let packet = packet::decode(bytes[0], &bytes[header..]).map_err(|_| Over)?;
            *connected |= matches!(packet, Packet::Connect(_));
            self.take(packet)?;
        }
        if *connected { self.pump() } else { Ok(()) }
    }

    fn read(&mut self) -> Result<(), Over> {
        let mut chunk = [0; 4096];
        let size = chunk.len().min(self.may_take);
        match self.stream.read(&mut chunk[..size]) {
            Ok(0) => self.cut(),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                if self.may_take != usize::MAX {
                    self.may_take -= count;
                }
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(())
            }
            Err(_) => Err(Over),
        }
    }

    /// Nothing more may be taken or sent, or the client has closed.
    fn cut(&mut self) -> Result<(), Over> {
        if self.may_take == 0 || self.may_send == 0 {
            self.shared.cuts.fetch_add(1, Ordering::Relaxed);
        }
        Err(Over)
    }

    fn send(&mut self, packet: &Packet) -> Result<(), Over> {
        let bytes = packet::encode(packet);
        let count = bytes.len().min(self.may_send);
        let _ = self.stream.set_write_timeout(Some(Duration::from_secs(10)));
        self.stream.write_all(&bytes[..count]).map_err(|_| Over)?;
        if self.may_send != usize::MAX {
            self.may_send -= count;
        }
        if self.may_send == 0 { self.cut() } else { Ok(()) }
    }

    fn take(&mut self, packet: Packet) -> Result<(), Over> {
        let shared = self.shared;
        let mut session = shared.session.lock().unwrap();
        let answer = match packet {
            Packet::Connect(_) => {
                let session_present = std::mem::replace(&mut session.exists, true);
                let mut packets = vec![Packet::Connack { session_present, code: 0 }];
                packets.extend(session.in_flight.iter().map(|message| {
                    if message.released {
                        Packet::Pubrel(message.id)
                    } else {
                        packet::again(
                            "plant/text",
                            message.payload.as_str(),
                            message.qos,
                            message.id,
                        )
                    }
                }));
                drop(session);
                return packets.iter().try_for_each(|packet| self.send(packet));
            }
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload).unwrap();
                if publish.qos < 2 || session.received.insert(publish.id) {
                    session.commands.push(payload);
                }
                match publish.qos {
                    0 => None,
                    1 => Some(Packet::Puback(publish.id)),
                    _ => Some(Packet::Pubrec(publish.id)),
                }
            }
            Packet::Pubrel(id) => {
                session.received.remove(&id);
                Some(Packet::Pubcomp(id))
            }
            Packet::Puback(id) | Packet::Pubcomp(id) => {
                session.in_flight.retain(|message| message.id != id);
                None
            }
            Packet::Pubrec(id) => {
                let message = session.in_flight.iter_mut().find(|message| message.id == id);
                if let Some(message) = message {
                    message.released = true;
                }
                Some(Packet::Pubrel(id))
            }
            Packet::Subscribe { id, filters } => {
                session.subscribed = true;
                Some(Packet::Suback { id, codes: filters.iter().map(|(_, qos)| *qos).collect() })
            }
            Packet::Unsubscribe { id, .. } => Some(Packet::Unsuback(id)),
            Packet::Pingreq => Some(Packet::Pingresp),
            _ => return Err(Over),
        };
        drop(session);
        answer.map_or(Ok(()), |answer| self.send(&answer))
    }

    /// Sends what waits, as far as the window allows.
    fn pump(&mut self) -> Result<(), Over> {
        loop {
            let mut session = self.shared.session.lock().unwrap();
            if !session.subscribed || session.in_flight.len() >= WINDOW {
                return Ok(());
            }
            let Some((payload, qos)) = session.queue.pop_front() else { return Ok(()) };
            // Few identifiers, so that each is used again and again.
            let id = (1..=60)
                .map(|step| (session.last_id + step - 1) % 60 + 1)
                .find(|id| session.in_flight.iter().all(|message| message.id != *id))
                .unwrap();
            session.last_id = id;
            let packet = packet::publish("plant/text", payload.as_str(), qos, id);
            session.in_flight.push_back(InFlight { id, payload, qos, released: false });
            drop(session);
            self.send(&packet)?;
        }
    }
}
