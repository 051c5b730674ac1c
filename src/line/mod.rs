//! One task per line: drives one `mqtt::Client`, and is the only place where `mqtt` and `iotag` meet.
//!
//! ```text
//!   transport bytes ─▶ Client ─▶ Message ─▶ Stations (router, plan) ─▶ Batch ─▶ hub
//!   hub: batch is on disk ─▶ Client: acknowledge ─▶ transport
//!   hub: LineCommand ─▶ Client: publish ─▶ transport … Completed ─▶ hub
//! ```
//!
//! Nothing in the loop waits for anything but the next event, so that neither a slow store nor a
//! slow socket can hold up a PINGRESP.

mod attendance;
mod confirmation;
mod credentials;
mod cycle;
mod jwt;
mod life;
mod recent;
mod renewal;
mod settlement;
mod stations;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::clock;
use crate::config::{self, Line};
use crate::hub::status::{FilterStatus, LineState, TlsSummary};
use crate::hub::writes::WriteError;
use crate::hub::{BatchId, Hub, LineCommand, LinePort, Publish, WriteOutcome};
use crate::iotag::LineId;
use crate::mqtt::{
    BytesProgress, Client, ClientOptions, Command, ConnectProperties, Endpoint, Event, Input,
    Output, Publication, PublishOutcome, PublishProperties, PublishToken, Session, Subscription,
    Version, Will,
};
use crate::qos::Qos;
use crate::transport::{self, Progress, Transport};
use attendance::Attendance;
use credentials::Fresh;
use cycle::Cycles;
use renewal::{Renew, Renewal, Watched};
use settlement::Settlement;
use stations::Stations;

/// How long a connection may take to open when the line has no reply timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the last bytes may take to leave before the transport is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long writes and unsettled messages may take to end when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Different failures remembered as said; then all may be said again.
const FAILURES_SAID_MAX: usize = 64;

/// Outgoing bytes beyond which nothing more is read: the peer does not take our acknowledgements.
const OUTBOUND_BYTES_MAX: usize = 4 << 20;

type Opened = Result<(Transport, Fresh), String>;
type Opening = Pin<Box<dyn Future<Output = Opened> + Send>>;

/// The transport's side of the line.
enum Link {
    Closed,
    Opening(Opening),
    Open(Transport),
    /// Everything that is to be sent leaves, then it is dropped.
    Closing(Transport, Instant),
}

/// One line at work.
pub struct LineTask {
    id: LineId,
    hub: Arc<Hub>,
    config: Line,
    client: Client,
    stations: Stations,
    attendance: Attendance,
    settlement: Settlement,
    cycles: Cycles,
    /// Publications whose end is not known yet.
    publishing: FxHashMap<PublishToken, Publish>,
    last_token: u64,
    link: Link,
    inbound: BytesMut,
    outbound: VecDeque<Bytes>,
    outbound_bytes: usize,
    subscriptions: usize,
    /// Failed attempts that the log has, each server and cause once until the line is up.
    failures_said: BTreeSet<(String, String)>,
    /// Ends when the open connection is to be replaced.
    renewal: Option<Renewal>,
    renew: Renew,
}

impl LineTask {
    /// A line that continues a stored session.
    pub fn new(id: LineId, hub: Arc<Hub>, mut session: Session) -> Self {
        let config = hub.config().lines[id.0 as usize].clone();
        let stations = Stations::new(id, hub.config());
        let options = client_options(&config, &stations.subscriptions(hub.config()));
        let subscriptions = options.subscriptions.len();
        let attendance = Attendance::new(id, &hub, &mut session);
        Self {
            id,
            client: Client::new(options, session),
            cycles: Cycles::new(clock::now(), id, hub.config()),
            settlement: Settlement::new(id, Arc::clone(&config.name)),
            stations,
            attendance,
            publishing: FxHashMap::default(),
            last_token: 0,
            link: Link::Closed,
            inbound: BytesMut::new(),
            outbound: VecDeque::new(),
            outbound_bytes: 0,
            subscriptions,
            failures_said: BTreeSet::new(),
            renewal: None,
            renew: Renew::No,
            config,
            hub,
        }
    }

    /// Works until `stop` is true, then ends in order.
    pub async fn run(mut self, mut port: LinePort, mut stop: watch::Receiver<bool>) {
        let mut drain_until: Option<Instant> = None;
        let mut disconnected = false;
        self.begin(clock::now());
        if !self.rest(clock::now()) {
            self.client.handle_command(clock::now(), Command::Connect);
        }
        loop {
            self.perform();
            let now = clock::now();
            if drain_until.is_none() && (self.rest(now) || self.renew(now)) {
                continue;
            }
            if let Some(until) = drain_until {
                let drained = self.publishing.is_empty() && self.settlement.is_settled();
                if !disconnected && (drained || now >= until) {
                    disconnected = true;
                    if matches!(self.link, Link::Opening(_)) {
                        self.drop_link();
                    }
                    self.client.handle_command(now, Command::Disconnect);
                    continue;
                }
                if disconnected && matches!(self.link, Link::Closed) {
                    break;
                }
            }
            let mut wake = earliest(self.client.deadline(), self.attendance.deadline());
            wake = earliest(wake, self.cycles.deadline());
            if let Link::Closing(_, until) = self.link {
                wake = earliest(wake, Some(until));
            }
            if let Renew::Wanted(_, until) | Renew::Returning(until) = self.renew
                && drain_until.is_none()
            {
                wake = earliest(wake, Some(until));
            }
            if !disconnected {
                wake = earliest(wake, drain_until);
            }
            if wake.is_some_and(|wake| wake <= now) {
                self.on_time(now);
                continue;
            }
            // When stopping, read only for the sake of outcomes that are still awaited.
            let read = self.settlement.has_room()
                && self.outbound_bytes <= OUTBOUND_BYTES_MAX
                && (drain_until.is_none() || !self.publishing.is_empty());
            let Self { link, outbound, inbound, renewal, .. } = &mut self;
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop), if drain_until.is_none() => {
                    drain_until = Some(clock::now() + DRAIN_TIMEOUT);
                }
                settled = port.settled.changed() => {
                    if settled.is_err() {
                        break;
                    }
                    let settled = *port.settled.borrow_and_update();
                    self.on_settled(settled);
                }
                Some(command) = port.commands.recv() => self.on_command(command),
                event = link_event(link, outbound, inbound, read) => match event {
                    LinkEvent::Opened(opened) => self.on_opened(opened),
                    LinkEvent::Io(Ok(Progress::Wrote(count))) => {
                        self.outbound_bytes -= count;
                        self.client.handle_input(clock::now(), Input::Transmitted(count));
                    }
                    LinkEvent::Io(Ok(Progress::Read(_))) => self.on_bytes(&mut port),
                    LinkEvent::Io(Ok(Progress::PeerClosed)) => {
                        self.on_peer_closed();
                    }
                    LinkEvent::Io(Err(error)) => {
                        self.on_closed(format!("the connection broke: {error}"));
                    }
                    LinkEvent::Flushed => self.drop_link(),
                },
                why = renewal::due(renewal) => {
                    self.renewal = None;
                    self.renew = Renew::wanted(why, clock::now());
                }
                () = sleep_until(wake) => {}
            }
        }
        for (_, publish) in self.publishing.drain() {
            let error = WriteError::new(WriteError::PUBLICATION, "the process stopped");
            self.hub.publication_ended(&publish, WriteOutcome::Uncertain(error), |_| {});
        }
        self.hub.line_status(self.id, |status| status.state = LineState::Off);
    }

    fn on_time(&mut self, now: Instant) {
        if let Link::Closing(_, until) = self.link
            && until <= now
        {
            self.drop_link();
        }
        if self.client.deadline().is_some_and(|deadline| deadline <= now) {
            self.client.handle_input(now, Input::Timeout);
        }
        self.attend(now);
        self.publish_cycles(now);
    }

    fn on_opened(&mut self, opened: Opened) {
        let now = clock::now();
        match opened {
            Ok((transport, Fresh { credentials, renew_at, .. })) => {
                let watched = Watched {
                    line: self.config.name.to_string(),
                    files: transport.tls_files().cloned(),
                    token: renew_at,
                };
                self.renewal = watched.start();
                let tls = transport.tls_status();
                self.warn_of_expiry(tls.as_ref());
                self.hub.line_status(self.id, |status| {
                    status.tls = tls.map(|tls| TlsSummary {
                        version: tls.version,
                        cipher: tls.cipher,
                        verified: tls.verified,
                        server_expires: tls.server_expires,
                        client_expires: tls.client_expires,
                    });
                });
                self.link = Link::Open(transport);
                self.client.handle_input(now, Input::Connected(credentials));
            }
            Err(why) => {
                self.link = Link::Closed;
                self.client.handle_input(now, Input::ConnectFailed(why));
            }
        }
    }

    /// Whole packets, ten messages at a time, so that writes get their turn in a flood.
    fn on_bytes(&mut self, port: &mut LinePort) {
        loop {
            let now = clock::now();
            let progress = self.client.handle_bytes(now, &mut self.inbound);
            self.drain_outputs();
            if progress == BytesProgress::NeedMore {
                break;
            }
            while let Ok(command) = port.commands.try_recv() {
                self.on_command(command);
            }
            if self.client.deadline().is_some_and(|deadline| deadline <= now) {
                self.client.handle_input(now, Input::Timeout);
                self.drain_outputs();
            }
            if !matches!(self.link, Link::Open(_)) {
                break;
            }
        }
    }

    fn on_peer_closed(&mut self) {
        let mut why = "the server closed the connection".to_owned();
        if let Link::Open(transport) = &self.link
            && let Some(hint) = transport.closed_hint()
        {
            why = format!("{why} {hint}");
        }
        self.on_closed(why);
    }

    fn on_closed(&mut self, why: String) {
        let closing = matches!(self.link, Link::Closing(..));
        self.drop_link();
        if !closing {
            self.client.handle_input(clock::now(), Input::Closed(why));
        }
    }

    fn drop_link(&mut self) {
        self.link = Link::Closed;
        self.renewal = None;
        self.inbound.clear();
        self.outbound.clear();
        self.outbound_bytes = 0;
    }

    fn on_settled(&mut self, settled: BatchId) {
        let now = clock::now();
        while let Some(batch) = self.settlement.next_settled(settled) {
            if let Some(seq) = batch.durable {
                self.client.handle_input(now, Input::Durable(seq));
            }
            for delivery in batch.deliveries {
                self.client.handle_command(now, Command::Acknowledge(delivery));
            }
        }
    }

    fn on_command(&mut self, command: LineCommand) {
        let publish = match command {
            LineCommand::Publish(publish) => publish,
            LineCommand::Confirm(confirm) => return self.on_confirm(confirm),
            LineCommand::Explain { tag, reply } => {
                if let Some(explained) = self.explain(tag) {
                    let _ = reply.send(explained);
                }
                return;
            }
            LineCommand::Mode { station, mode, reply } => {
                self.on_mode(station, mode);
                let _ = reply.send(());
                return;
            }
        };
        self.last_token += 1;
        let token = PublishToken(self.last_token);
        let publication = Publication {
            topic: publish.topic.as_str().into(),
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.content_type.as_deref().map(with_content_type),
        };
        if self.config.full_debug {
            tracing::info!(
                line = %self.config.name,
                topic = %publish.topic,
                payload = %String::from_utf8_lossy(&publish.payload),
                "publishing"
            );
        }
        let deadline = publish.deadline;
        self.publishing.insert(token, publish);
        let command = Command::Publish { token, publication, deadline };
        self.client.handle_command(clock::now(), command);
        self.drain_outputs();
    }

    /// Does what the machine wants, and hands the turn's batch to the hub.
    fn perform(&mut self) {
        self.drain_outputs();
        self.settlement.submit(&self.hub);
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { server } => self.open(&server),
                Output::Transmit(bytes) => {
                    self.outbound_bytes += bytes.len();
                    self.outbound.push_back(bytes);
                }
                Output::Close => self.close(),
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn open(&mut self, endpoint: &Endpoint) {
        let outbound = std::mem::take(&mut self.outbound);
        let left = match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Closing(transport, until) => Some((transport, outbound, until)),
            _ => None,
        };
        self.drop_link();
        let Some(server) = self.server(endpoint) else { return };
        self.hub.line_status(self.id, |status| {
            status.server = server.to_string();
            status.state = LineState::Connecting;
            status.next_attempt = None;
        });
        tracing::debug!(line = %self.config.name, %server, "connecting");
        let line = self.config.clone();
        if !server.scheme.is_tls() && line.tls.ca_file.is_some() {
            tracing::warn!(
                line = %self.config.name, %server,
                "`tls` is of no use with this address: nothing is encrypted"
            );
        }
        self.link = Link::Opening(Box::pin(async move {
            if let Some((transport, outbound, until)) = left {
                take_leave(transport, outbound, until).await;
            }
            // The secret first: it may take a while, and a server waits only so long for CONNECT.
            let fresh = credentials::read(&line).await?;
            let options = transport::Options {
                key_passphrase: fresh.key_passphrase.clone(),
                maximum_packet_size: line.maximum_packet_size,
                limit: line.reply_timeout.unwrap_or(CONNECT_TIMEOUT),
                tls: line.tls,
            };
            let transport = Transport::connect(&server, &options).await?;
            Ok((transport, fresh))
        }));
    }

    /// A server that another one referred us to is reached as that one is.
    fn server(&self, endpoint: &Endpoint) -> Option<config::Server> {
        match endpoint {
            Endpoint::Listed(position) => self.config.servers.get(*position).cloned(),
            Endpoint::Referred(referred) => {
                let by = self.config.servers.get(referred.by)?.clone();
                let port = referred.port.unwrap_or(by.scheme.default_port());
                Some(config::Server { host: referred.host.clone(), port, ..by })
            }
        }
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Open(transport) => {
                self.link = Link::Closing(transport, clock::now() + CLOSE_TIMEOUT);
            }
            _ => self.drop_link(),
        }
        self.inbound.clear();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Message { delivery, publication, dup } => {
                if self.config.full_debug {
                    tracing::info!(
                        line = %self.config.name,
                        topic = %publication.topic,
                        qos = publication.qos.level(),
                        retain = publication.retain,
                        dup,
                        payload = %String::from_utf8_lossy(&publication.payload),
                        "received"
                    );
                }
                self.on_message(delivery, publication, dup);
            }
            Event::Session { seq, change } => self.settlement.session(seq, change),
            Event::Completed { token, outcome } => self.on_completed(token, outcome),
            Event::Up { session_present, session_expected } => {
                self.on_up(session_present, session_expected);
            }
            Event::Down { cause, was_up, retry_in } => self.on_down(&cause, was_up, retry_in),
            Event::Subscribed { granted } => self.on_subscribed(&granted),
            Event::Notice(text) => tracing::warn!(line = %self.config.name, "{text}"),
        }
    }

    fn on_up(&mut self, session_present: bool, session_expected: bool) {
        let now = clock::wall();
        self.failures_said.clear();
        if matches!(self.renew, Renew::Returning(_)) && !session_present {
            // Messages may have been missed: the values are as doubtful as after any interruption.
            self.renewal_failed();
        }
        self.renew = Renew::No;
        let server = self.hub.line_status(self.id, |status| {
            status.state = LineState::Up;
            status.session_present = Some(session_present);
            status.connected_since = Some(now);
            status.next_attempt = None;
            status.connects += 1;
            status.server.clone()
        });
        tracing::info!(
            line = %self.config.name, %server, session_present,
            "connected"
        );
        if session_expected && !session_present {
            tracing::warn!(
                line = %self.config.name, %server,
                "the server has lost the session: messages that it kept for us are gone"
            );
        }
        self.stations_up(session_present);
    }

    fn on_down(&mut self, cause: &str, was_up: bool, retry_in: Option<Duration>) {
        let now = clock::wall();
        if self.attendance.rests() {
            return self.rested();
        }
        if matches!(self.renew, Renew::Leaving) && retry_in.is_none() {
            self.hub.line_status(self.id, |status| {
                status.state = LineState::Connecting;
                status.connected_since = None;
                status.filters.clear();
            });
            return;
        }
        let server = self.hub.line_status(self.id, |status| {
            status.state = if retry_in.is_some() { LineState::Connecting } else { LineState::Off };
            status.connected_since = None;
            status.filters.clear();
            status.next_attempt = retry_in.and_then(|pause| now.checked_add(pause).ok());
            if retry_in.is_some() {
                status.last_error = Some((now, cause.to_owned()));
            }
            status.server.clone()
        });
        let retry_in = retry_in.map(|pause| tracing::field::display(format!("{pause:.1?}")));
        if retry_in.is_none() {
            tracing::info!(line = %self.config.name, %server, "disconnected: {cause}");
        } else if was_up {
            tracing::warn!(line = %self.config.name, %server, retry_in, "connection lost: {cause}");
        } else if self.is_news(&server, cause) {
            tracing::warn!(line = %self.config.name, %server, retry_in, "cannot connect: {cause}");
        } else {
            tracing::debug!(line = %self.config.name, %server, retry_in, "cannot connect: {cause}");
        }
        if matches!(self.renew, Renew::Returning(_)) {
            self.renewal_failed();
        } else if was_up {
            self.stations_down();
        }
    }

    /// Whether the log does not have this failure yet: an attempt every second for a weekend is
    /// worth one line, and a new cause another.
    fn is_news(&mut self, server: &str, cause: &str) -> bool {
        if self.failures_said.len() >= FAILURES_SAID_MAX {
            self.failures_said.clear();
        }
        self.failures_said.insert((server.to_owned(), cause.to_owned()))
    }

    fn on_subscribed(&mut self, granted: &[(String, Result<Qos, String>)]) {
        let refused: Vec<(&str, &str)> = granted
            .iter()
            .filter_map(|(filter, qos)| Some((filter.as_str(), qos.as_ref().err()?.as_str())))
            .collect();
        let now = clock::wall();
        self.hub.line_status(self.id, |status| {
            status.filters.extend(granted.iter().map(|(filter, qos)| FilterStatus {
                filter: filter.clone(),
                granted: qos.as_ref().ok().map(|qos| qos.level()),
            }));
            if !refused.is_empty() {
                status.state = LineState::Error;
                let refused = refused.iter().map(|(filter, why)| format!("`{filter}` ({why})"));
                let refused = refused.collect::<Vec<_>>().join(", ");
                let text = format!("the server refused topic filter {refused}");
                status.last_error = Some((now, text));
            }
        });
        for (filter, why) in refused {
            tracing::error!(
                line = %self.config.name, filter, why,
                "the server refused the topic filter: no message of it will arrive"
            );
        }
        tracing::debug!(line = %self.config.name, filters = self.subscriptions, "subscribed");
        self.stations_subscribed(granted);
    }

    fn on_completed(&mut self, token: PublishToken, outcome: PublishOutcome) {
        // A publication that an earlier process began has nobody who waits.
        let Some(publish) = self.publishing.remove(&token) else { return };
        let completed = outcome == PublishOutcome::Completed;
        self.hub.line_status(self.id, |status| {
            if completed {
                status.writes_completed += 1;
            } else {
                status.writes_not_completed += 1;
            }
        });
        let error = |why| WriteError::new(WriteError::PUBLICATION, why);
        let outcome = match outcome {
            PublishOutcome::Completed => WriteOutcome::Completed,
            PublishOutcome::Failed(why) => WriteOutcome::Failed(error(why)),
            PublishOutcome::Uncertain(why) => WriteOutcome::Uncertain(error(why)),
        };
        if let WriteOutcome::Failed(error) | WriteOutcome::Uncertain(error) = &outcome
            && !publish.cyclic
        {
            tracing::warn!(
                line = %self.config.name, topic = %publish.topic, "write not completed: {}", error.message
            );
        }
        // Read-your-writes: the value is in the table before the client learns of it.
        let Self { hub, settlement, .. } = self;
        hub.publication_ended(&publish, outcome, |mut updates| {
            settlement.updates().append(&mut updates);
            settlement.submit(hub);
        });
    }
}

enum LinkEvent {
    Opened(Opened),
    Io(std::io::Result<Progress>),
    Flushed,
}

/// The next thing that happens to the transport. Cancel-safe.
async fn link_event(
    link: &mut Link,
    outbound: &mut VecDeque<Bytes>,
    inbound: &mut BytesMut,
    read: bool,
) -> LinkEvent {
    match link {
        Link::Closed => std::future::pending().await,
        Link::Opening(opening) => LinkEvent::Opened(opening.await),
        Link::Open(transport) => LinkEvent::Io(transport.io(outbound, inbound, read).await),
        Link::Closing(transport, _) if outbound.is_empty() && transport.is_flushed() => {
            // Whether the peer hears it or not, it is over.
            let _ = transport.close().await;
            LinkEvent::Flushed
        }
        Link::Closing(transport, _) => LinkEvent::Io(transport.io(outbound, inbound, false).await),
    }
}

/// The last words of a connection leave before the next one begins, however short the pause between
/// them is: the server learns why, and in this order.
async fn take_leave(mut transport: Transport, mut outbound: VecDeque<Bytes>, until: Instant) {
    let leave = async {
        let mut unread = BytesMut::new();
        while !outbound.is_empty() || !transport.is_flushed() {
            if transport.io(&mut outbound, &mut unread, false).await.is_err() {
                return;
            }
        }
        let _ = transport.close().await;
    };
    let _ = tokio::time::timeout_at(until.into(), leave).await;
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// What a message of MQTT 5.0 says of its payload.
fn with_content_type(content_type: &str) -> Box<PublishProperties> {
    let content_type = Some(content_type.to_owned());
    Box::new(PublishProperties { content_type, ..PublishProperties::default() })
}

fn client_options(line: &Line, subscriptions: &[Subscription]) -> ClientOptions {
    ClientOptions {
        version: match line.mqtt_version {
            config::MqttVersion::V311 => Version::V311,
            config::MqttVersion::V5 => Version::V5,
        },
        client_id: line.client_id.clone(),
        clean_session: line.clean_session,
        keep_alive: line.keep_alive,
        ping_interval: line.ping_interval,
        reply_timeout: line.reply_timeout,
        will: line.will.as_ref().map(|will| Will {
            publication: Publication {
                topic: will.topic.as_str().into(),
                payload: will.message.clone().into_bytes().into(),
                qos: will.qos,
                retain: will.retain,
                properties: will.content_type.as_deref().map(with_content_type),
            },
            delay_s: will.delay_s,
        }),
        subscriptions: subscriptions.to_vec(),
        publish_in_flight: line.publish_in_flight,
        maximum_packet_size: line.maximum_packet_size,
        properties: match line.mqtt_version {
            config::MqttVersion::V311 => ConnectProperties::default(),
            config::MqttVersion::V5 => ConnectProperties {
                session_expiry_s: line.mqtt5.session_expiry_s,
                receive_maximum: Some(line.mqtt5.receive_maximum),
                topic_alias_maximum: line.mqtt5.topic_alias_maximum,
                user_properties: line.mqtt5.user_properties.clone(),
            },
        },
        reconnect_min: line.reconnect_min,
        reconnect_max: line.reconnect_max,
        servers: line.servers.len(),
        seed: fastrand::u64(..),
    }
}
