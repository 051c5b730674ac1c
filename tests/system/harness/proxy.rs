//! A link between driver and broker that breaks: it cuts connections at chosen bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A fixed sequence of numbers: the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }
}

/// A port that leads to another one for a while.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    steady: AtomicBool,
    stopped: AtomicBool,
    cuts: AtomicUsize,
}

impl Proxy {
    /// Leads to `to`. Each connection ends after up to `bytes` bytes in one of its directions,
    /// anywhere in a packet, until [`Proxy::steady`].
    pub fn start(to: u16, bytes: usize, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            steady: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            cuts: AtomicUsize::new(0),
        });
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            while let Ok((client, _)) = listener.accept() {
                if state.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let steady = state.steady.load(Ordering::Relaxed);
                let out = random.below(2) == 0;
                let limit = random.below(bytes) + 1;
                let limit_of = |this: bool| if steady || !this { None } else { Some(limit) };
                for (from, into, limit) in
                    [(&client, &server, limit_of(out)), (&server, &client, limit_of(!out))]
                {
                    let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    let _ = into.set_nodelay(true);
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || carry(from, into, limit, &state));
                }
            }
        });
        Self { port, shared }
    }

    /// From here on connections last.
    pub fn steady(&self) {
        self.shared.steady.store(true, Ordering::Relaxed);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, limit: Option<usize>, shared: &Shared) {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut chunk = [0; 16_384];
    loop {
        match from.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let carried = count.min(left);
                if into.write_all(&chunk[..carried]).is_err() {
                    break;
                }
                if limit.is_some() {
                    left -= carried;
                }
                // A connection that was to be cut may have become one that lasts.
                if left == 0 && !shared.steady.load(Ordering::Relaxed) {
                    shared.cuts.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                if left == 0 {
                    let _ = into.write_all(&chunk[carried..count]);
                    left = usize::MAX;
                }
            }
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = into.shutdown(Shutdown::Both);
}
