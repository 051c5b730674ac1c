//! A gate in front of a broker: it ends TLS, lets packets through, and enforces a platform's rules.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::harness::eventually;
use crate::wire::{self, Connect, Publish};

/// What becomes of a packet.
pub enum Verdict {
    Pass,
    /// The platform takes it and forgets it.
    Swallow,
    /// CONNACK with this code; of MQTT 5.0 this reason.
    Refuse(u8),
    /// The connection ends, and what is queued is gone.
    Disconnect,
}

/// The rules of a platform.
pub trait Rules: Send + 'static {
    fn connect(&mut self, _: &Connect) -> Verdict {
        Verdict::Pass
    }

    fn publish(&mut self, _: &Publish) -> Verdict {
        Verdict::Pass
    }

    /// Nothing is looked at.
    fn is_tunnel(&self) -> bool {
        false
    }

    /// How many packets of a client are queued, and how long each takes; what comes beyond is
    /// discarded.
    fn queue(&self) -> Option<(usize, Duration)> {
        None
    }
}

/// Lets everything through.
pub struct NoRules;
impl Rules for NoRules {}

/// What has passed, and what has not.
#[derive(Default)]
pub struct Seen {
    pub connects: Vec<(Instant, Connect)>,
    /// Those that the rules let through.
    pub published: Vec<Publish>,
    pub discarded: usize,
    pub disconnected: usize,
}

pub struct Gate {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    cuts: watch::Sender<u32>,
    _runtime: tokio::runtime::Runtime,
}

type Shared = Arc<Mutex<Box<dyn Rules>>>;

impl Gate {
    /// `upstream`: the broker's port; `tls` is `None` for a plain one.
    pub fn start(upstream: u16, tls: Option<Arc<ServerConfig>>, rules: impl Rules) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let cuts = watch::Sender::new(0);
        let rules: Shared = Arc::new(Mutex::new(Box::new(rules)));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let cut = cuts.subscribe();
        let port = listener.local_addr().unwrap().port();
        let all = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, rules, tls) = (Arc::clone(&all), Arc::clone(&rules), tls.clone());
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    let served = async {
                        match tls {
                            None => serve(stream, upstream, seen, rules).await,
                            Some(config) => {
                                if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                                    serve(stream, upstream, seen, rules).await;
                                }
                            }
                        }
                    };
                    tokio::select! {
                        () = served => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, seen, cuts, _runtime: runtime }
    }

    /// Ends TLS and carries the bytes, whatever they are.
    pub fn tunnel(upstream: u16, tls: Arc<ServerConfig>) -> Self {
        struct Tunnel;
        impl Rules for Tunnel {
            fn is_tunnel(&self) -> bool {
                true
            }
        }
        Self::start(upstream, Some(tls), Tunnel)
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Asks what was seen.
    pub fn seen<T>(&self, ask: impl FnOnce(&Seen) -> T) -> T {
        ask(&self.seen.lock().unwrap())
    }

    /// Waits until the answer is there.
    #[track_caller]
    pub fn eventually<T>(&self, what: &str, mut ask: impl FnMut(&Seen) -> Option<T>) -> T {
        eventually(what, || self.seen(&mut ask))
    }
}

async fn serve<S>(mut client: S, upstream: u16, seen: Arc<Mutex<Seen>>, rules: Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if rules.lock().unwrap().is_tunnel() {
        if let Ok(mut broker) = TcpStream::connect(("127.0.0.1", upstream)).await {
            let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
        }
        return;
    }
    let Some(first) = wire::read(&mut client).await else { return };
    let connect = wire::connect(&first);
    let level = connect.level;
    seen.lock().unwrap().connects.push((Instant::now(), connect.clone()));
    let verdict = rules.lock().unwrap().connect(&connect);
    match verdict {
        Verdict::Pass => {}
        Verdict::Refuse(code) => {
            let answer: &[u8] =
                if level < 5 { &[0x20, 2, 0, code] } else { &[0x20, 3, 0, code, 0] };
            let _ = client.write_all(answer).await;
            let _ = client.shutdown().await;
            return;
        }
        Verdict::Swallow | Verdict::Disconnect => return,
    }
    let Ok(mut broker) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
    broker.set_nodelay(true).unwrap();
    broker.write_all(&first.bytes).await.unwrap();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = broker.into_split();
    let queue = rules.lock().unwrap().queue();
    let (length, pace) = queue.unwrap_or((100_000, Duration::ZERO));
    let (sender, mut receiver) = mpsc::channel(length);
    let reader_seen = Arc::clone(&seen);
    let reader = async move {
        while let Some(packet) = wire::read(&mut from_client).await {
            if packet.kind() == 3 {
                if sender.try_send(packet).is_err() {
                    reader_seen.lock().unwrap().discarded += 1;
                }
            } else if sender.send(packet).await.is_err() {
                return;
            }
        }
    };
    let worker = async move {
        let mut aliases = Vec::new();
        while let Some(packet) = receiver.recv().await {
            if packet.kind() == 3 {
                if !pace.is_zero() {
                    tokio::time::sleep(pace).await;
                }
                let publish = wire::publish(&packet, level, &mut aliases);
                let verdict = rules.lock().unwrap().publish(&publish);
                let mut seen = seen.lock().unwrap();
                match verdict {
                    Verdict::Pass => seen.published.push(publish),
                    Verdict::Swallow => {
                        seen.discarded += 1;
                        continue;
                    }
                    Verdict::Refuse(_) | Verdict::Disconnect => {
                        seen.disconnected += 1;
                        return;
                    }
                }
            }
            if to_broker.write_all(&packet.bytes).await.is_err() {
                return;
            }
        }
    };
    let back = tokio::io::copy(&mut from_broker, &mut to_client);
    tokio::select! {
        () = reader => {}
        () = worker => {}
        _ = back => {}
    }
}
