//! The devices beyond a real broker: a 3.1.1 client with a session, publishing numbered messages and
//! taking commands. It is not behind the link that breaks.

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{topic_of, wire};

/// Its messages in flight.
const WINDOW: usize = 10;

/// What it has done and seen.
#[derive(Default)]
pub struct State {
    sent: usize,
    /// Identifier, number, whether PUBREC came.
    in_flight: VecDeque<(u16, usize, bool)>,
    received: BTreeSet<u16>,
    subscribed: bool,
    /// The broker keeps commands for it from here on.
    pub is_ready: bool,
    /// Topic and payload of each command, in order.
    pub commands: Vec<(String, String)>,
    /// Commands that the broker sent again, marked as such, after they had been taken.
    pub repeated_by_broker: usize,
}

impl State {
    /// Whether the broker has everything.
    pub fn is_done(&self, messages: usize) -> bool {
        self.sent == messages && self.in_flight.is_empty()
    }

    /// Commands of one topic with this payload.
    pub fn count(&self, topic: &str, payload: &str) -> usize {
        self.commands.iter().filter(|(of, what)| of == topic && what == payload).count()
    }
}

/// The thread.
pub struct Plant {
    shared: Arc<Shared>,
}

struct Shared {
    stop: AtomicBool,
    pause: AtomicBool,
    state: Mutex<State>,
}

impl Plant {
    /// Publishes `messages` messages within about `flow`.
    pub fn start(port: u16, qos: u8, messages: usize, flow: Duration) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let due = || {
                let share = begun.elapsed().as_secs_f64() / flow.as_secs_f64();
                ((share * messages as f64) as usize).min(messages)
            };
            while !own.stop.load(Ordering::Relaxed) {
                let _ = own.converse(port, qos, &due);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { shared }
    }

    /// Holds back further messages; true: none is in flight.
    pub fn is_paused(&self) -> bool {
        self.shared.pause.store(true, Ordering::Relaxed);
        self.state(|state| state.in_flight.is_empty())
    }

    pub fn go_on(&self) {
        self.shared.pause.store(false, Ordering::Relaxed);
    }

    pub fn state<T>(&self, access: impl FnOnce(&mut State) -> T) -> T {
        access(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn converse(&self, port: u16, qos: u8, due: &dyn Fn() -> usize) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(2)))?;
        stream.write_all(&wire::connect("campaign-plant"))?;
        let (mut buffer, mut chunk, mut connected) = (Vec::new(), [0; 8192], false);
        while !self.stop.load(Ordering::Relaxed) {
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => buffer.extend_from_slice(&chunk[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            let mut out = Vec::new();
            let mut state = self.state.lock().unwrap();
            while let Ok(Some((first, from, to))) = wire::split(&buffer) {
                let packet: Vec<u8> = buffer.drain(..to).collect();
                if first == 0x20 {
                    connected = true;
                    for (id, number, released) in &state.in_flight {
                        let (topic, payload) = (topic_of(*number), number.to_string());
                        out.extend(match released {
                            true => wire::answer(6, *id),
                            false => wire::publish(4, &topic, &payload, qos, *id, true),
                        });
                    }
                    if !std::mem::replace(&mut state.subscribed, true) {
                        out.extend(wire::subscribe(9999, "cmd/#", qos));
                    }
                }
                take(&mut state, first, &packet[from..], &mut out);
            }
            let paused = self.pause.load(Ordering::Relaxed);
            while connected && !paused && state.in_flight.len() < WINDOW && state.sent < due() {
                state.sent += 1;
                let number = state.sent;
                let id = u16::try_from(number % 5000 + 1).unwrap();
                state.in_flight.push_back((id, number, false));
                let (topic, payload) = (topic_of(number), number.to_string());
                out.extend(wire::publish(4, &topic, &payload, qos, id, false));
            }
            drop(state);
            stream.write_all(&out)?;
        }
        Ok(())
    }
}

fn take(state: &mut State, first: u8, body: &[u8], out: &mut Vec<u8>) {
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match first >> 4 {
        3 => {
            let (dup, qos) = (first & 8 != 0, first >> 1 & 3);
            let topic_end = 2 + usize::from(number(0));
            let topic = String::from_utf8(body[2..topic_end].to_vec()).unwrap();
            let id = if qos > 0 { number(topic_end) } else { 0 };
            let payload = &body[topic_end + if qos > 0 { 2 } else { 0 }..];
            let payload = String::from_utf8(payload.to_vec()).unwrap();
            let known = qos == 2 && !state.received.insert(id);
            if qos == 2 && !known && dup && state.count(&topic, &payload) > 0 {
                state.repeated_by_broker += 1;
            } else if !known {
                state.commands.push((topic, payload));
            }
            match qos {
                1 => out.extend(wire::answer(4, id)),
                2 => out.extend(wire::answer(5, id)),
                _ => {}
            }
        }
        9 => state.is_ready = true,
        4 | 7 => {
            let id = number(0);
            state.in_flight.retain(|(of, ..)| *of != id);
        }
        5 => {
            let id = number(0);
            if let Some(message) = state.in_flight.iter_mut().find(|(of, ..)| *of == id) {
                message.2 = true;
            }
            out.extend(wire::answer(6, id));
        }
        6 => {
            state.received.remove(&number(0));
            out.extend(wire::answer(7, number(0)));
        }
        _ => {}
    }
}
