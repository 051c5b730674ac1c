//! One connection of a line: its client, its transport, and how they are renewed.
//!
//! ```text
//!   transport bytes ─▶ Client ─▶ Path::poll_event ─▶ the line
//!   the line ─▶ Path::command ─▶ Client ─▶ transport
//! ```
//!
//! A path knows its server and how its connection is doing; messages, publications and stations are
//! the line's matter.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::link::{self, Link, LinkEvent, Opened};
use super::options::{client_options, servers};
use super::renewal::{self, Renew, Renewal, Watched};
use crate::clock;
use crate::config::{Line, Server};
use crate::hub::Hub;
use crate::hub::status::{FilterStatus, LineState, PathId, PathStatus, TlsSummary};
use crate::iotag::LineId;
use crate::mqtt::{
    BytesProgress, Client, ClientOptions, Command, Endpoint, Event, Input, Output, Session,
    Subscription,
};
use crate::qos::Qos;
use crate::transport::Progress;

/// How long the last bytes may take to leave before the transport is dropped.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Different failures remembered as said; then all may be said again.
const FAILURES_SAID_MAX: usize = 64;

/// Unsent answers, in bytes, beyond which nothing more is read: the peer does not take our
/// acknowledgements. Publications do not count: a peer that writes before it reads would wait for us
/// while we wait for it.
const UNSENT_ANSWERS_MAX: u64 = 4 << 20;

/// One connection at work.
pub(super) struct Path {
    id: PathId,
    line: LineId,
    pub(super) config: Arc<Line>,
    hub: Arc<Hub>,
    pub(super) client: Client,
    pub(super) link: Link,
    inbound: BytesMut,
    pub(super) outbound: VecDeque<Bytes>,
    /// Failed attempts that the log has, each server and cause once until the path is up.
    failures_said: BTreeSet<(String, String)>,
    /// Ends when the open connection is to be replaced.
    renewal: Option<Renewal>,
    pub(super) renew: Renew,
    /// What the server said to each topic filter; `None`: it has not answered.
    granted: Option<Vec<(String, bool)>>,
    /// How the next connection is to be made, if otherwise than the present one.
    next: Option<(Arc<Line>, Box<ClientOptions>)>,
}

/// What happened to a path from outside.
pub(super) enum PathEvent {
    Link(LinkEvent),
    /// The connection is to be replaced, for this reason.
    RenewalDue(String),
}

impl Path {
    /// A path that continues a stored session, and stays closed until [`Command::Connect`].
    pub(super) fn new(
        (line, id): (LineId, PathId),
        hub: &Arc<Hub>,
        config: &Arc<Line>,
        subscriptions: &[Subscription],
        session: Session,
    ) -> Self {
        Self {
            id,
            line,
            client: Client::new(client_options(config, id, subscriptions), session),
            config: Arc::clone(config),
            hub: Arc::clone(hub),
            link: Link::Closed,
            inbound: BytesMut::new(),
            outbound: VecDeque::new(),
            failures_said: BTreeSet::new(),
            renewal: None,
            renew: Renew::No,
            granted: None,
            next: None,
        }
    }

    /// Which path of its line.
    pub(super) fn id(&self) -> PathId {
        self.id
    }

    /// Tells the client what is wanted of it.
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        self.client.handle_command(now, command);
    }

    /// Connects, as is configured by then.
    pub(super) fn connect(&mut self, now: Instant) {
        if let Some((config, options)) = self.next.take() {
            self.config = config;
            self.failures_said.clear();
            self.client.handle_command(now, Command::Reconfigure(options));
        }
        self.client.handle_command(now, Command::Connect);
    }

    /// Another configuration of the line. `reconnect`: a connection of its own is to be made, in
    /// order; otherwise the present one follows.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        config: &Arc<Line>,
        subscriptions: &[Subscription],
        reconnect: bool,
    ) {
        let options = Box::new(client_options(config, self.id, subscriptions));
        if reconnect || self.next.is_some() {
            let why = "its configuration was changed";
            self.next = Some((Arc::clone(config), options));
            match self.renew {
                _ if self.client.is_stopped() => {}
                Renew::Leaving | Renew::Resetting => {}
                Renew::Returning(_) => {
                    self.renew = Renew::Leaving;
                    self.disconnect(now);
                }
                _ if self.is_up() => self.renew = Renew::wanted(why.to_owned(), now),
                Renew::No | Renew::Wanted(..) => self.reset(now),
            }
            return;
        }
        self.config = Arc::clone(config);
        self.client.handle_command(now, Command::Reconfigure(options));
        let wanted: BTreeSet<&str> =
            subscriptions.iter().map(|wanted| wanted.filter.as_str()).collect();
        let is_wanted = |filter: &str| wanted.contains(filter);
        if let Some(granted) = &mut self.granted {
            granted.retain(|(filter, _)| is_wanted(filter));
        }
        self.status(|status| {
            status.filters.retain(|filter| is_wanted(&filter.filter));
            if status.state == LineState::Error
                && status.filters.iter().all(|filter| filter.granted.is_some())
            {
                status.state = LineState::Up;
            }
        });
    }

    /// Begins anew a connection that is not up.
    pub(super) fn reset(&mut self, now: Instant) {
        self.renew = Renew::Resetting;
        self.disconnect(now);
    }

    /// Whether the next connection is to be made otherwise than the present one.
    pub(super) fn is_outdated(&self) -> bool {
        self.next.is_some()
    }

    /// Tells the client what happened.
    pub(super) fn input(&mut self, now: Instant, input: Input) {
        self.client.handle_input(now, input);
    }

    /// Whether the server has accepted the connection.
    pub(super) fn is_up(&self) -> bool {
        self.client.is_up()
    }

    /// Whether stations count on it: it is up, or will be at once after a planned reconnect.
    pub(super) fn serves(&self) -> bool {
        self.is_up() || matches!(self.renew, Renew::Leaving | Renew::Returning(_))
    }

    /// Whether there is no transport.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Whether bytes can come.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.link, Link::Open(_))
    }

    /// What the server said to the topic filters, if it has.
    pub(super) fn granted(&self) -> Option<&[(String, bool)]> {
        self.granted.as_deref().filter(|_| self.is_up())
    }

    /// When to call [`Self::on_time`], or [`Self::renew`], at the latest.
    pub(super) fn deadline(&self, stopping: bool) -> Option<Instant> {
        let closing = match self.link {
            Link::Closing(_, until) => Some(until),
            _ => None,
        };
        let renew = match self.renew {
            Renew::Wanted(_, until) | Renew::Returning(until) if !stopping => Some(until),
            _ => None,
        };
        [self.client.deadline(), closing, renew].into_iter().flatten().min()
    }

    /// Fires what is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        if let Link::Closing(_, until) = self.link
            && until <= now
        {
            self.drop_link();
        }
        if self.client.deadline().is_some_and(|deadline| deadline <= now) {
            self.client.handle_input(now, Input::Timeout);
        }
    }

    /// The next thing that happens outside. Cancel-safe.
    pub(super) async fn event(&mut self, read: bool) -> PathEvent {
        let read = read && self.client.unsent_answers() <= UNSENT_ANSWERS_MAX;
        let Self { link, outbound, inbound, renewal, .. } = self;
        tokio::select! {
            biased;
            event = link.event(outbound, inbound, read) => PathEvent::Link(event),
            why = renewal::due(renewal) => PathEvent::RenewalDue(why),
        }
    }

    /// Takes what happened outside. True: bytes have come, for [`Self::take_bytes`].
    pub(super) fn on_event(&mut self, event: PathEvent) -> bool {
        match event {
            PathEvent::Link(LinkEvent::Opened(opened)) => self.on_opened(opened),
            PathEvent::Link(LinkEvent::Io(Ok(Progress::Wrote(count)))) => {
                self.client.handle_input(clock::now(), Input::Transmitted(count));
            }
            PathEvent::Link(LinkEvent::Io(Ok(Progress::Read(_)))) => return true,
            PathEvent::Link(LinkEvent::Io(Ok(Progress::PeerClosed))) => self.on_peer_closed(),
            PathEvent::Link(LinkEvent::Io(Err(error))) => {
                self.on_closed(format!("the connection broke: {error}"));
            }
            PathEvent::Link(LinkEvent::Flushed) => self.drop_link(),
            PathEvent::RenewalDue(why) => {
                self.renewal = None;
                if matches!(self.renew, Renew::No) {
                    self.renew = Renew::wanted(why, clock::now());
                }
            }
        }
        false
    }

    /// Takes whole packets off what has come, ten messages at most.
    pub(super) fn take_bytes(&mut self, now: Instant) -> BytesProgress {
        self.client.handle_bytes(now, &mut self.inbound)
    }

    /// Does what the client wants of its transport; the next event that is the line's matter.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { server } => self.open(&server),
                Output::Transmit(bytes) => self.outbound.push_back(bytes),
                Output::Close => self.close(),
                Output::Event(event) => return Some(event),
            }
        }
        None
    }

    fn on_opened(&mut self, opened: Opened) {
        let now = clock::now();
        match opened {
            Ok((transport, fresh)) => {
                let watched = Watched {
                    line: self.config.name.to_string(),
                    files: transport.tls_files().cloned(),
                    token: fresh.renew_at,
                };
                self.renewal = watched.start();
                let tls = transport.tls_status();
                self.warn_of_expiry(tls.as_ref());
                self.status(|status| {
                    status.tls = tls.map(|tls| TlsSummary {
                        version: tls.version,
                        cipher: tls.cipher,
                        verified: tls.verified,
                        server_expires: tls.server_expires,
                        client_expires: tls.client_expires,
                    });
                });
                self.link = Link::Open(transport);
                self.client.handle_input(now, Input::Connected(fresh.credentials));
            }
            Err(why) => {
                self.link = Link::Closed;
                self.client.handle_input(now, Input::ConnectFailed(why));
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

    pub(super) fn drop_link(&mut self) {
        self.link = Link::Closed;
        self.renewal = None;
        self.inbound.clear();
        self.outbound.clear();
    }

    fn open(&mut self, endpoint: &Endpoint) {
        let outbound = std::mem::take(&mut self.outbound);
        let left = match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Closing(transport, until) => Some((transport, outbound, until)),
            _ => None,
        };
        self.drop_link();
        let Some(server) = self.server(endpoint) else { return };
        self.status(|status| {
            status.server = server.to_string();
            status.state = LineState::Connecting;
            status.next_attempt = None;
        });
        tracing::debug!(line = %self.config.name, %server, "connecting");
        if !server.scheme.is_tls() && self.config.tls.ca_file.is_some() {
            tracing::warn!(
                line = %self.config.name, %server,
                "`tls` is of no use with this address: nothing is encrypted"
            );
        }
        self.link = Link::Opening(Box::pin(link::open(left, Arc::clone(&self.config), server)));
    }

    /// A server that another one referred us to is reached as that one is.
    fn server(&self, endpoint: &Endpoint) -> Option<Server> {
        let servers = servers(&self.config, self.id);
        match endpoint {
            Endpoint::Listed(position) => servers.get(*position).cloned(),
            Endpoint::Referred(referred) => {
                let by = servers.get(referred.by)?.clone();
                let port = referred.port.unwrap_or(by.scheme.default_port());
                Some(Server { host: referred.host.clone(), port, ..by })
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

    /// DISCONNECT, and closed until [`Command::Connect`].
    pub(super) fn disconnect(&mut self, now: Instant) {
        if matches!(self.link, Link::Opening(_)) {
            self.drop_link();
        }
        self.client.handle_command(now, Command::Disconnect);
    }

    /// The server has accepted the connection.
    pub(super) fn came_up(&mut self, session_present: bool, session_expected: bool) {
        let now = clock::wall();
        self.failures_said.clear();
        self.renew = Renew::No;
        let server = self.status(|status| {
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
    }

    /// The connection is over as it was asked to be; the state says why.
    pub(super) fn left(&mut self, state: LineState) {
        self.granted = None;
        self.status(|status| {
            status.state = state;
            status.connected_since = None;
            status.next_attempt = None;
            status.filters.clear();
        });
    }

    /// The connection is over, or an attempt failed.
    pub(super) fn went_down(&mut self, cause: &str, was_up: bool, retry_in: Option<Duration>) {
        let now = clock::wall();
        self.granted = None;
        let server = self.status(|status| {
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
    }

    /// Whether the log does not have this failure yet: an attempt every second for a weekend is
    /// worth one line, and a new cause another.
    fn is_news(&mut self, server: &str, cause: &str) -> bool {
        if self.failures_said.len() >= FAILURES_SAID_MAX {
            self.failures_said.clear();
        }
        self.failures_said.insert((server.to_owned(), cause.to_owned()))
    }

    /// The server has answered the topic filters.
    pub(super) fn subscribed(&mut self, granted: &[(String, Result<Qos, String>)]) {
        let refused: Vec<(&str, &str)> = granted
            .iter()
            .filter_map(|(filter, qos)| Some((filter.as_str(), qos.as_ref().err()?.as_str())))
            .collect();
        let now = clock::wall();
        let is_again = |filter: &str| granted.iter().any(|(other, _)| other == filter);
        self.status(|status| {
            status.filters.retain(|known| !is_again(&known.filter));
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
        tracing::debug!(line = %self.config.name, filters = granted.len(), "subscribed");
        let answers = granted.iter().map(|(filter, qos)| (filter.clone(), qos.is_ok()));
        let all = self.granted.get_or_insert_default();
        all.retain(|(filter, _)| !is_again(filter));
        all.extend(answers);
    }

    /// Something worth a log line.
    pub(super) fn notice(&self, text: &str) {
        let server = self.status(|status| status.server.clone());
        tracing::warn!(line = %self.config.name, %server, "{text}");
    }

    fn status<T>(&self, access: impl FnOnce(&mut PathStatus) -> T) -> T {
        self.hub.path_status(self.line, self.id, access)
    }
}
