//! One client of the local socket.
//!
//! Requests are read one line at a time; what is quick is answered on the spot, writes are waited
//! for beside, so that answers may come out of order. Everything that goes out passes one short
//! queue: a client that does not read holds up itself and nobody else.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::protocol::{self, Call, REQUEST_BYTES_MAX, Request, RpcError, TapParams};
use super::subscription::Ended;
use super::{config, explain, requests, subscription, tap, writes};
use crate::hub::Hub;
use crate::hub::taps::TapFilter;
use crate::hub::writes::Finishes;

/// Lines that wait to be sent to a client.
const OUTGOING_LINES_MAX: usize = 4;

/// `tag.write` requests of one client under way; one more is refused, `busy`.
const WRITES_MAX: usize = 64;

/// Subscriptions and taps of one client; one more is refused, `busy`.
const SUBSCRIPTIONS_MAX: usize = 256;

/// Where lines to the client go.
pub(super) type Outgoing = mpsc::Sender<Vec<u8>>;

/// Says that there is no room, if the client listens.
pub(super) fn turn_away(stream: &UnixStream) {
    let error = RpcError::new(RpcError::BUSY, "too many clients are connected");
    let _ = stream.try_write(&protocol::answer(None, Err::<(), _>(error)));
}

/// Serves a client until it leaves, or until `stop` is true.
pub(super) async fn serve(stream: UnixStream, hub: Arc<Hub>, mut stop: watch::Receiver<bool>) {
    let (mut reader, writer) = stream.into_split();
    let (outgoing, lines) = mpsc::channel(OUTGOING_LINES_MAX);
    let (finishes, finished) = mpsc::unbounded_channel();
    let (announce, announced) = mpsc::unbounded_channel();
    let mut followers = JoinSet::new();
    followers.spawn(writes::follow(announced, finished, outgoing.clone()));
    let mut client = Client {
        hub,
        stop: stop.clone(),
        outgoing,
        tasks: JoinSet::new(),
        writes: Arc::new(Semaphore::new(WRITES_MAX)),
        finishes,
        announce,
        subscriptions: BTreeMap::new(),
        last_subscription: 0,
    };
    let mut sender = tokio::spawn(send(writer, lines));
    let mut buffer = BytesMut::new();
    // What was looked through without finding the end of a line.
    let mut searched = 0;
    loop {
        let mut end = memchr::memchr(b'\n', &buffer[searched..]).map(|end| searched + end);
        while let Some(length) = end.filter(|end| *end < REQUEST_BYTES_MAX) {
            let line = buffer.split_to(length + 1);
            if client.handle(line.trim_ascii()).await.is_err() {
                return;
            }
            end = memchr::memchr(b'\n', &buffer);
        }
        searched = buffer.len();
        if end.is_some() || buffer.len() >= REQUEST_BYTES_MAX {
            let why = format!("a request is larger than {} MiB", REQUEST_BYTES_MAX >> 20);
            let error = RpcError::new(RpcError::INVALID_REQUEST, why);
            let _ = client.outgoing.send(protocol::answer(None, Err::<(), _>(error))).await;
            break;
        }
        buffer.reserve(4096);
        tokio::select! {
            read = reader.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
            _ = stop.wait_for(|&stop| stop) => break,
            // The client reads no more.
            _ = &mut sender => return,
            Some(ended) = client.tasks.join_next() => {
                // Who cannot be served without a gap comes back with a token, and is told then.
                if matches!(ended, Ok(Ended::Interrupted)) {
                    break;
                }
            }
        }
    }
    // A client may close its sending side and still wait for answers, as `nc -N` does; so it is
    // when the process stops.
    client.unsubscribe_all();
    // But not for what may come tomorrow.
    followers.abort_all();
    let Client { outgoing, mut tasks, .. } = client;
    drop(outgoing);
    while tasks.join_next().await.is_some() {}
    let _ = sender.await;
}

async fn send(mut writer: OwnedWriteHalf, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if writer.write_all(&line).await.is_err() {
            break;
        }
    }
}

struct Client {
    hub: Arc<Hub>,
    /// True when the process stops.
    stop: watch::Receiver<bool>,
    outgoing: Outgoing,
    tasks: JoinSet<Ended>,
    writes: Arc<Semaphore>,
    /// Where the hub says how queued writes have ended.
    finishes: Finishes,
    /// Where it is said that the client knows the numbers of its queued writes.
    announce: mpsc::UnboundedSender<u64>,
    subscriptions: BTreeMap<u64, AbortHandle>,
    last_subscription: u64,
}

/// The client is gone.
struct Gone;

impl Client {
    async fn handle(&mut self, line: &[u8]) -> Result<(), Gone> {
        if line.is_empty() {
            return Ok(());
        }
        let Request { id, call } = match protocol::parse_request(line) {
            Ok(request) => request,
            Err(error) => return self.send(protocol::answer(None, Err::<(), _>(error))).await,
        };
        let id = id.as_deref();
        let hub = &self.hub;
        let answer = match call {
            Err(error) => Some(protocol::answer(id, Err::<(), _>(error))),
            Ok(Call::Read(params)) => Some(requests::read(hub, id, &params)),
            Ok(Call::Browse(params)) => Some(protocol::answer(id, requests::browse(hub, &params))),
            Ok(Call::LineList) => Some(protocol::answer(id, Ok(requests::lines(hub)))),
            Ok(Call::StationList) => Some(protocol::answer(id, Ok(requests::stations(hub)))),
            Ok(Call::ProcessStatus) => Some(protocol::answer(id, Ok(requests::process(hub)))),
            Ok(Call::StationSet(params)) => {
                let result = requests::set_station(hub, &params).await;
                Some(protocol::answer(id, result))
            }
            Ok(Call::Explain(params)) => {
                Some(protocol::answer(id, explain::explain(hub, &params).await))
            }
            Ok(Call::Write(params)) => {
                let id = id.map(ToOwned::to_owned);
                self.start_write(id, params)
            }
            Ok(Call::WriteStatus(params)) => {
                Some(protocol::answer(id, writes::status(hub, &params)))
            }
            Ok(Call::Reload) => {
                self.start(id, |hub| async move { config::reload(&hub).await });
                None
            }
            Ok(Call::ConfigCheck) => {
                self.start(id, |hub| async move { config::check(&hub).await });
                None
            }
            Ok(Call::Subscribe(params)) => {
                match subscription::Subscription::open(hub, params).await {
                    Err(error) => Some(protocol::answer(id, Err::<(), _>(error))),
                    Ok(subscription) => match self.next_subscription() {
                        Err(error) => Some(protocol::answer(id, Err::<(), _>(error))),
                        Ok(number) => {
                            // The answer first, then what it announces.
                            let result = subscription.announce(number);
                            if id.is_some() {
                                self.send(protocol::answer(id, Ok(result))).await?;
                            }
                            let running = subscription.run(number, self.outgoing.clone());
                            self.run_subscription(number, running);
                            None
                        }
                    },
                }
            }
            Ok(Call::Tap(params)) => {
                let TapParams { line, station, topic } = params;
                match self.start_tap(TapFilter { line, station, topic }) {
                    Err(error) => Some(protocol::answer(id, Err::<(), _>(error))),
                    Ok((number, running)) => {
                        if id.is_some() {
                            let result = serde_json::json!({ "subscription": number });
                            self.send(protocol::answer(id, Ok(result))).await?;
                        }
                        self.run_subscription(number, running);
                        None
                    }
                }
            }
            Ok(Call::Unsubscribe(params) | Call::Untap(params)) => {
                let result = match self.subscriptions.remove(&params.subscription) {
                    Some(task) => {
                        task.abort();
                        Ok(serde_json::json!({}))
                    }
                    None => Err(RpcError::new(
                        RpcError::INVALID_PARAMS,
                        format!("there is no subscription {}", params.subscription),
                    )),
                };
                Some(protocol::answer(id, result))
            }
        };
        match answer {
            // A notification has no answer.
            Some(answer) if id.is_some() => self.send(answer).await,
            _ => Ok(()),
        }
    }

    /// Answers later what takes its time.
    fn start<F, A>(&mut self, id: Option<&RawValue>, work: F)
    where
        F: FnOnce(Arc<Hub>) -> A,
        A: Future<Output = Result<serde_json::Value, RpcError>> + Send + 'static,
    {
        let id = id.map(ToOwned::to_owned);
        let outgoing = self.outgoing.clone();
        let work = work(Arc::clone(&self.hub));
        self.tasks.spawn(async move {
            let result = work.await;
            if let Some(id) = id {
                let _ = outgoing.send(protocol::answer(Some(&id), result)).await;
            }
            Ended::InOrder
        });
    }

    fn next_subscription(&mut self) -> Result<u64, RpcError> {
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            let why = format!("{SUBSCRIPTIONS_MAX} subscriptions at most");
            return Err(RpcError::new(RpcError::BUSY, why));
        }
        self.last_subscription += 1;
        Ok(self.last_subscription)
    }

    fn run_subscription(
        &mut self,
        number: u64,
        running: impl Future<Output = Ended> + Send + 'static,
    ) {
        let task = self.tasks.spawn(running);
        self.subscriptions.insert(number, task);
    }

    /// A tap that takes messages from here on.
    fn start_tap(
        &mut self,
        filter: TapFilter,
    ) -> Result<(u64, impl Future<Output = Ended> + Send + 'static), RpcError> {
        let number = self.next_subscription()?;
        let invalid = |why| RpcError::new(RpcError::INVALID_PARAMS, why);
        let tap = self.hub.open_tap(filter).map_err(invalid)?;
        Ok((number, tap::run(tap, number, self.outgoing.clone())))
    }

    fn start_write(
        &mut self,
        id: Option<Box<RawValue>>,
        params: protocol::WriteParams,
    ) -> Option<Vec<u8>> {
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else {
            let why = format!("{WRITES_MAX} writes of this client are under way");
            let error = RpcError::new(RpcError::BUSY, why);
            return Some(protocol::answer(id.as_deref(), Err::<(), _>(error)));
        };
        let timeout = match writes::timeout(params.timeout_s) {
            Ok(timeout) => timeout,
            Err(error) => return Some(protocol::answer(id.as_deref(), Err::<(), _>(error))),
        };
        let started = writes::start(&self.hub, params.writes, timeout, &self.finishes);
        let (outgoing, announce) = (self.outgoing.clone(), self.announce.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let (result, queued) = writes::outcomes(started, stop).await;
            if let Some(id) = id {
                let _ = outgoing.send(protocol::answer(Some(&id), Ok(result))).await;
            }
            // Only then, so that a client that does not read its answers is not given more.
            drop(permit);
            for first in queued {
                let _ = announce.send(first);
            }
            Ended::InOrder
        });
        None
    }

    async fn send(&self, line: Vec<u8>) -> Result<(), Gone> {
        self.outgoing.send(line).await.map_err(|_| Gone)
    }

    fn unsubscribe_all(&mut self) {
        for task in std::mem::take(&mut self.subscriptions).into_values() {
            task.abort();
        }
    }
}
