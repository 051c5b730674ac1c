//! The link between driver and broker: cut at any byte, stalled, half open.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::Random;

/// How a link breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Both ends see the connection end in order.
    Cut,
    /// Both ends get a reset.
    Reset,
    /// Nothing is carried for so long; then everything is.
    Stall(Duration),
    /// The broker's side is gone; the driver's stays open and hears nothing.
    HalfOpen,
}

/// A port that leads to the broker's.
pub struct Network {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    begun: Instant,
    steady: AtomicBool,
    stopped: AtomicBool,
    cuts: AtomicUsize,
    wires: Mutex<Vec<Arc<Wire>>>,
}

/// One connection.
struct Wire {
    driver: TcpStream,
    broker: TcpStream,
    over: AtomicBool,
    half_open: AtomicBool,
    /// Milliseconds since the network began until which nothing is carried.
    stalled_until: AtomicU64,
}

impl Network {
    /// Some of the connections break by themselves after up to `bytes` bytes in one direction.
    pub fn start(broker: u16, bytes: usize, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            steady: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            cuts: AtomicUsize::new(0),
            wires: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            while let Ok((driver, _)) = listener.accept() {
                if own.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let limits = match (random.below(4), random.below(bytes) + 1) {
                    (0, limit) => [Some(limit), None],
                    (1, limit) => [None, Some(limit)],
                    _ => [None, None],
                };
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                let wire = Arc::new(Wire {
                    driver,
                    broker,
                    over: AtomicBool::new(false),
                    half_open: AtomicBool::new(false),
                    stalled_until: AtomicU64::new(0),
                });
                {
                    let mut wires = own.wires.lock().unwrap();
                    wires.retain(|wire| !wire.over.load(Ordering::Relaxed));
                    wires.push(Arc::clone(&wire));
                }
                for (out, limit) in [true, false].into_iter().zip(limits) {
                    let (wire, own) = (Arc::clone(&wire), Arc::clone(&own));
                    std::thread::spawn(move || wire.carry(out, limit, &own));
                }
            }
        });
        Self { port, shared }
    }

    /// Breaks the connections that there are; false: there are none.
    pub fn trouble(&self, trouble: Trouble) -> bool {
        let mut any = false;
        let wires = self.shared.wires.lock().unwrap();
        for wire in wires.iter().filter(|wire| !wire.over.load(Ordering::Relaxed)) {
            any = true;
            match trouble {
                Trouble::Cut => wire.end(false),
                Trouble::Reset => wire.end(true),
                Trouble::Stall(time) => {
                    let until = (self.shared.begun.elapsed() + time).as_millis() as u64;
                    wire.stalled_until.store(until, Ordering::Relaxed);
                }
                Trouble::HalfOpen => {
                    wire.half_open.store(true, Ordering::Relaxed);
                    let _ = wire.broker.shutdown(Shutdown::Both);
                }
            }
        }
        any
    }

    /// From here on connections last; those that suffer end.
    pub fn steady(&self) {
        self.shared.steady.store(true, Ordering::Relaxed);
        self.trouble(Trouble::Cut);
    }

    /// Connections that ended at a chosen byte.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.trouble(Trouble::Cut);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Wire {
    fn end(&self, reset: bool) {
        self.over.store(true, Ordering::Relaxed);
        for stream in [&self.driver, &self.broker] {
            if reset {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Carries what one side says (`out`: the driver) to the other.
    fn carry(&self, out: bool, limit: Option<usize>, shared: &Shared) {
        let (mut from, mut into) =
            if out { (&self.driver, &self.broker) } else { (&self.broker, &self.driver) };
        let _ = into.set_nodelay(true);
        let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
        let mut left = limit.unwrap_or(usize::MAX);
        let mut chunk = [0; 8192];
        while !self.over.load(Ordering::Relaxed) {
            let now = shared.begun.elapsed().as_millis() as u64;
            if self.stalled_until.load(Ordering::Relaxed) > now {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let count = match from.read(&mut chunk) {
                Ok(0) | Err(_) if self.half_open.load(Ordering::Relaxed) && !out => {
                    // The driver is to find out by itself.
                    return;
                }
                Ok(0) => break,
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            if self.half_open.load(Ordering::Relaxed) {
                continue;
            }
            let carried = count.min(left);
            if into.write_all(&chunk[..carried]).is_err() {
                if self.half_open.load(Ordering::Relaxed) {
                    continue;
                }
                break;
            }
            if limit.is_none() || shared.steady.load(Ordering::Relaxed) {
                if into.write_all(&chunk[carried..count]).is_err() {
                    break;
                }
                continue;
            }
            left -= carried;
            if left == 0 {
                shared.cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        self.end(false);
    }
}
