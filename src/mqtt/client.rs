//! The client: session, connection and reconnect in one machine.
//!
//! ```text
//!             Connect                  Connected              CONNACK
//!   Stopped ----------> Opening ------------------> Greeting ---------> Up
//!      ^                 |   ^                          |                |
//!      |   ConnectFailed v   | pause over               | fault, Closed  |
//!      +------------- Pausing <-------------------------+----------------+
//!        Disconnect (from anywhere)
//! ```
//!
//! The contract of its driver (`line/path.rs`), whose words are in `api`:
//! - After one or more `handle_…` calls drain [`Client::poll_output`] to `None`. What is to be sent
//!   is gathered until then, so the acknowledgements of one turn leave in one [`Output::Transmit`].
//! - Call again at [`Client::deadline`] with [`Input::Timeout`]; time never goes back.
//! - Report [`Input::Transmitted`] before [`Input::Closed`]; after [`Output::Close`] report nothing
//!   more of that connection. A peer that takes no bytes must not hold up a close for long.
//! - Session changes are committed in the order of their events. A delivery's own change is committed
//!   with the values of its message, before [`Command::Acknowledge`].
//!
//! What needs a stored record first (PUBLISH, PUBREL and PUBCOMP of a session that is kept) waits at
//! the *gate* of the connection for [`Input::Durable`]; all else passes by.

mod api;
mod authentication;
mod fatal;
mod handshake;
mod inbound;
mod publish;
mod reconfigure;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::bounds;
use super::codec::Codec;
use super::connection::{Connection, Gated};
use super::error::{Fault, Unsendable};
use super::frame::Header;
use super::packet::{Inbound, Outbound, Subscription};
use super::planted::{Bug, planted};
use super::reason;
use super::reconnect::Reconnect;
use super::session::{ChangeSeq, Sending, Session, SessionChange};
use super::timer::{Timer, Timers};
pub use api::{
    BytesProgress, ClientOptions, Command, Credentials, Delivery, Event, Input, Output,
    PublishOutcome, PublishToken, Version,
};
use publish::{Awaited, Retracted, Waiting};

/// The whole protocol surface.
pub struct Client {
    options: ClientOptions,
    /// Whether the session outlives the connection, here and at the server.
    persistent: bool,
    /// Client id that the server has given us because we have none.
    assigned_client_id: Option<String>,
    /// The server has a session that we know nothing of: the next connection starts a new one.
    needs_clean_start: bool,
    codec: Codec,
    session: Session,
    phase: Phase,
    connection: Connection,
    reconnect: Reconnect,
    timers: Timers,
    /// Connections in a row that the server closed before they were stable.
    short_lives: u32,
    /// Publishes that have no place in flight, in order.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Publishes whose failure is told once their records are gone.
    retracted: VecDeque<Retracted>,
    /// Removal of the last record whose message must not come back behind later ones.
    last_retraction: ChangeSeq,
    /// When the outcome of a publish is due, with a serial number that makes it unique.
    deadlines: BTreeMap<(Instant, u64), Awaited>,
    last_serial: u64,
    /// Last session change made.
    last_seq: ChangeSeq,
    /// Last session change on disk.
    durable: ChangeSeq,
    outputs: VecDeque<Output>,
}

/// Where the client is on its way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for [`Command::Connect`].
    Stopped,
    /// Waits for the next attempt.
    Pausing,
    /// The driver opens a transport.
    Opening,
    /// CONNECT is sent.
    Greeting,
    /// CONNACK has accepted the connection.
    Up,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndedBy {
    Peer,
    Fault,
    Request,
}

impl Client {
    /// A client that waits for [`Command::Connect`].
    ///
    /// A stored session of another client id, or one that is not wanted any more, is dropped.
    pub fn new(mut options: ClientOptions, session: Session) -> Self {
        let persistent = !options.clean_session && !options.client_id.is_empty();
        options.subscriptions = without_repeats(std::mem::take(&mut options.subscriptions));
        let reconnect = Reconnect::new(
            options.reconnect_min,
            options.reconnect_max,
            options.servers,
            options.seed,
        );
        let codec = Codec::new(options.version);
        let mut client = Self {
            options,
            persistent,
            assigned_client_id: None,
            needs_clean_start: false,
            codec,
            session,
            phase: Phase::Stopped,
            connection: Connection::default(),
            reconnect,
            timers: Timers::default(),
            short_lives: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            retracted: VecDeque::new(),
            last_retraction: ChangeSeq(0),
            deadlines: BTreeMap::new(),
            last_serial: 0,
            last_seq: ChangeSeq(0),
            durable: ChangeSeq(0),
            outputs: VecDeque::new(),
        };
        client.adopt_session();
        client
    }

    /// Takes whole packets off the front of `buffer`, ten messages at most.
    pub fn handle_bytes(&mut self, now: Instant, buffer: &mut BytesMut) -> BytesProgress {
        // A flood of packets must not keep a PINGREQ from going out in time.
        self.on_time(now);
        if !matches!(self.phase, Phase::Greeting | Phase::Up) {
            buffer.clear();
            return BytesProgress::NeedMore;
        }
        self.on_bytes_seen(now, buffer.len());
        let available = buffer.len();
        match self.take_packets(now, buffer) {
            Ok(progress) => {
                self.connection.taken_bytes += (available - buffer.len()) as u64;
                if progress == BytesProgress::More || buffer.is_empty() {
                    self.timers.clear(Timer::Incomplete);
                }
                progress
            }
            Err(fault) => {
                self.fail(now, &fault);
                buffer.clear();
                BytesProgress::NeedMore
            }
        }
    }

    /// Something happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.on_time(now);
        match input {
            Input::Connected(credentials) if self.phase == Phase::Opening => {
                self.greet(now, credentials);
            }
            Input::ConnectFailed(cause) if self.phase == Phase::Opening => {
                self.end_connection(now, cause, EndedBy::Peer);
            }
            Input::Closed(cause)
                if matches!(self.phase, Phase::Opening | Phase::Greeting | Phase::Up) =>
            {
                self.end_connection(now, cause, EndedBy::Peer);
            }
            Input::Transmitted(bytes) => self.on_transmitted(now, bytes),
            Input::Durable(seq) => self.on_durable(now, seq),
            Input::Connected(_) | Input::ConnectFailed(_) | Input::Closed(_) | Input::Timeout => {}
        }
    }

    /// Somebody wants something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.on_time(now);
        match command {
            Command::Publish { token, publication, deadline, expires } => {
                self.publish(now, token, publication, (deadline, expires));
            }
            Command::Acknowledge(delivery) => {
                let result = self.acknowledge(now, delivery);
                self.fail_on_error(now, result);
            }
            Command::Overtake(delivery) => {
                let result = self.overtake(now, delivery);
                self.fail_on_error(now, result);
            }
            Command::Decline(delivery) => {
                let result = self.decline(now, delivery);
                self.fail_on_error(now, result);
            }
            Command::Withdraw(token) => self.withdraw(now, token),
            Command::Disconnect => self.disconnect(now),
            Command::Connect if self.phase == Phase::Stopped => self.open(),
            Command::Connect => {}
            Command::Reconfigure(options) => self.reconfigure(now, *options),
        }
    }

    /// The next output, if there is one.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.flush();
        }
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_input`] with [`Input::Timeout`] at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.deadlines.first_key_value().map(|(&(due, _), _)| due);
        self.timers.next_due().into_iter().chain(first).min()
    }

    /// Whether CONNACK has accepted the connection.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether it waits for [`Command::Connect`].
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Bytes of packets other than PUBLISH that the transport has not taken, or a few more: what a
    /// server makes us say and does not read.
    pub fn unsent_answers(&self) -> u64 {
        self.connection.answers.bytes()
    }

    /// Publishes whose outcome is open.
    pub fn unfinished(&self) -> usize {
        self.deadlines.len()
    }
}

impl Client {
    /// Encodes a packet for the current connection; the offset of its end.
    fn send(&mut self, now: Instant, packet: Outbound<'_>) -> Result<u64, Fault> {
        let connection = &mut self.connection;
        let before = connection.outbound.len();
        let is_answer = !matches!(packet, Outbound::Publish { .. });
        self.codec.encode(packet, &mut connection.outbound)?;
        let size = connection.outbound.len() - before;
        let allowed = connection.limits.packet_bytes_max;
        if size > allowed {
            connection.outbound.truncate(before);
            return Err(Unsendable::TooLarge(size, allowed).into()); // MQTT-3.2.2-15 of 5.0
        }
        connection.encoded_bytes += size as u64;
        if is_answer {
            connection.answers.add(size);
        }
        // MQTT-3.1.2-23: the interval counts from the last packet sent.
        if let Some(keep_alive) = connection.keep_alive {
            self.timers.set(Timer::KeepAlive, now + keep_alive * 3 / 4);
        }
        Ok(self.connection.encoded_bytes)
    }

    /// Gives out what was encoded.
    fn flush(&mut self) {
        if !self.connection.outbound.is_empty() {
            let bytes = self.connection.outbound.split().freeze();
            self.outputs.push_back(Output::Transmit(bytes));
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn notice(&mut self, text: impl Into<String>) {
        self.event(Event::Notice(text.into()));
    }

    /// Makes a session change; what depends on it waits until it is durable. A session that is not
    /// kept has none.
    fn record(&mut self, change: SessionChange) -> ChangeSeq {
        if !self.persistent {
            return ChangeSeq(0);
        }
        self.last_seq.0 += 1;
        self.event(Event::Session { seq: self.last_seq, change });
        self.last_seq
    }

    /// Sends what is gated when its record is durable, or lets it wait.
    fn pass_gate(&mut self, now: Instant, seq: ChangeSeq, gated: Gated) -> Result<(), Fault> {
        let skips = match gated {
            Gated::Pubcomp { .. } => planted(Bug::PubcompBeforeDurable),
            _ => false,
        };
        if seq <= self.durable || skips {
            self.send_gated(now, &gated)
        } else {
            self.connection.gate.push_back((seq, gated));
            Ok(())
        }
    }

    fn on_durable(&mut self, now: Instant, seq: ChangeSeq) {
        self.durable = self.durable.max(seq);
        self.complete_retracted();
        while let Some((_, gated)) =
            self.connection.gate.pop_front_if(|(needed, _)| *needed <= self.durable)
        {
            let result = self.send_gated(now, &gated);
            self.fail_on_error(now, result);
        }
        // One that could not be sent after all has left its place.
        let result = self.pump(now);
        self.fail_on_error(now, result);
    }

    fn send_gated(&mut self, now: Instant, gated: &Gated) -> Result<(), Fault> {
        match *gated {
            Gated::Outgoing { packet_id, order } => {
                let waits = self.session.outgoing.get(&packet_id).is_some_and(|outgoing| {
                    outgoing.order == order && outgoing.sending == Sending::Gated
                });
                if waits && self.is_behind_retraction(packet_id) {
                    self.connection.gate.push_front((self.last_retraction, gated.clone()));
                } else if waits {
                    self.transmit_outgoing(now, packet_id)?;
                }
            }
            Gated::Pubcomp { packet_id, is_known } => {
                let reason = if is_known { reason::SUCCESS } else { reason::PACKET_ID_NOT_FOUND };
                self.send(now, Outbound::Pubcomp { packet_id, reason })?;
                self.connection.window.give_back(packet_id);
            }
            Gated::Subscribe => {
                self.timers.clear(Timer::SubscribeGate);
                self.subscribe(now)?;
            }
        }
        Ok(())
    }

    /// Takes packets until one is incomplete or the share of this turn is used up.
    fn take_packets(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
    ) -> Result<BytesProgress, Fault> {
        let mut publishes = 0;
        for _ in 0..bounds::PACKETS_PER_TURN {
            let Some(&first) = buffer.first() else { return Ok(BytesProgress::NeedMore) };
            if self.phase == Phase::Greeting {
                let authenticates = self.connection.authenticator.is_some();
                handshake::check_greeting(first, authenticates)?;
            }
            self.codec.check_first(first)?;
            let Some(header) = Header::read(buffer)? else { return Ok(BytesProgress::NeedMore) };
            self.codec.check_header(&header)?;
            self.check_size(&header)?;
            let Some(packet) = header.take(buffer) else {
                if planted(Bug::DropPartialPacket) {
                    buffer.clear();
                }
                return Ok(BytesProgress::NeedMore);
            };
            let inbound = self.codec.decode(&header, &packet)?;
            publishes += usize::from(matches!(inbound, Inbound::Publish(_)));
            self.on_packet(now, inbound)?;
            if publishes == bounds::PUBLISHES_PER_TURN {
                break;
            }
        }
        Ok(BytesProgress::More)
    }

    fn check_size(&self, header: &Header) -> Result<(), Fault> {
        let allowed = self.options.maximum_packet_size as usize;
        if header.packet_bytes() <= allowed {
            return Ok(());
        }
        let size = header.packet_bytes();
        Err(Fault::TooLarge { packet: header.name(), size, allowed })
    }

    /// Looks for bytes that were not there before: the server is alive, and a packet goes on.
    fn on_bytes_seen(&mut self, now: Instant, buffered: usize) {
        let connection = &mut self.connection;
        let seen = connection.taken_bytes + buffered as u64;
        if seen > connection.seen_bytes {
            connection.seen_bytes = seen;
            connection.last_received = Some(now);
            if let Some(timeout) = self.options.reply_timeout {
                self.timers.set(Timer::Incomplete, now + timeout);
            }
        }
    }

    fn on_transmitted(&mut self, now: Instant, bytes: usize) {
        self.connection.on_transmitted(now, bytes);
        let taken = self.connection.transmitted_bytes;
        while let Some(unsent) = self.connection.unsent.pop_front_if(|unsent| unsent.end <= taken) {
            self.complete(unsent.waiter, PublishOutcome::Completed);
        }
        if !self.waiting.is_empty() || !self.connection.resend.is_empty() {
            let result = self.pump(now);
            self.fail_on_error(now, result);
        }
    }

    fn fail_on_error<T>(&mut self, now: Instant, result: Result<T, Fault>) {
        if let Err(fault) = result {
            self.fail(now, &fault);
        }
    }

    /// Closes the connection because of a fault. Where DISCONNECT has no reason it is not sent: it
    /// would suppress the will.
    fn fail(&mut self, now: Instant, fault: &Fault) {
        if matches!(self.phase, Phase::Greeting | Phase::Up) {
            match fault.reason_code() {
                Some(reason) if self.connection.limits.reasons => self.say_why(now, reason, fault),
                Some(_) => {}
                // The server has ended it: what is not given out yet need not be sent.
                None => self.connection.drop_outbound(),
            }
            if let Some(servers) = fault.referral() {
                self.reconnect.refer(servers);
            }
            self.flush();
            self.outputs.push_back(Output::Close);
            self.end_connection(now, fault.to_string(), EndedBy::Fault);
        }
    }

    /// DISCONNECT with a reason, section 4.13 of MQTT 5.0. The words are left out where they might be
    /// too long (MQTT-3.14.2-3), and before the server has accepted us.
    fn say_why(&mut self, now: Instant, reason: u8, fault: &Fault) {
        let words = fault.to_string();
        let packet = Outbound::Disconnect { reason, text: &words };
        let allowed = self.connection.limits.packet_bytes_max;
        let fits = self.phase == Phase::Up && self.codec.packet_bytes(packet) <= allowed;
        let text = if fits { words.as_str() } else { "" };
        // If even this cannot be sent, the connection ends without it.
        let _ = self.send(now, Outbound::Disconnect { reason, text });
    }

    /// The connection, or the attempt to get one, is over; another attempt will follow.
    fn end_connection(&mut self, now: Instant, cause: String, by: EndedBy) {
        let was_up = self.phase == Phase::Up;
        let up_since = self.connection.up_since;
        let stable = up_since.is_some_and(|since| now >= since + bounds::STABLE_AFTER);
        self.suspect(by, stable);
        if let Some(since) = up_since {
            self.reconnect.on_life(now - since);
        }
        self.on_connection_lost(by);
        let aliases = std::mem::take(&mut self.connection.outbound_aliases);
        self.connection = Connection::default();
        if planted(Bug::KeepAliases) {
            self.connection.outbound_aliases = aliases;
        }
        self.timers.clear_all();
        let retry_in = if by == EndedBy::Request {
            self.phase = Phase::Stopped;
            None
        } else {
            let mut pause =
                if stable { self.reconnect.on_lost() } else { self.reconnect.on_failed() };
            if planted(Bug::NoBackOff) {
                pause = Duration::ZERO;
            }
            self.phase = Phase::Pausing;
            self.timers.set(Timer::Reconnect, now + pause);
            Some(pause)
        };
        self.event(Event::Down { cause, was_up, retry_in });
        if was_up && !stable {
            self.look_for_takeover(by);
        }
    }

    /// A server ends a connection when another client comes with the same id; that client will be back
    /// as we will, so this goes on for ever.
    fn look_for_takeover(&mut self, by: EndedBy) {
        if by != EndedBy::Peer {
            self.short_lives = 0;
            return;
        }
        self.short_lives += 1;
        let is_explained = self.session.outgoing.values().any(|outgoing| outgoing.fatal > 1);
        if self.short_lives.is_multiple_of(bounds::TAKEN_OVER_TIMES) && !is_explained {
            let id = self.client_id();
            self.notice(format!(
                "the server has closed the connection soon after accepting it {} times in a row: \
                 another client probably uses the client id `{id}`",
                self.short_lives
            ));
        }
    }

    fn disconnect(&mut self, now: Instant) {
        match self.phase {
            Phase::Stopped => return,
            Phase::Pausing => {}
            Phase::Opening => self.outputs.push_back(Output::Close),
            Phase::Greeting | Phase::Up => {
                // MQTT-3.14.4-2: nothing follows it.
                let packet = Outbound::Disconnect { reason: reason::SUCCESS, text: "" };
                let result = self.send(now, packet);
                debug_assert!(result.is_ok());
                self.flush();
                self.outputs.push_back(Output::Close);
            }
        }
        self.fail_waiting("the line was disconnected before it left");
        self.end_connection(now, "disconnected on request".to_owned(), EndedBy::Request);
    }
}

/// The first of several subscriptions to one filter counts.
fn without_repeats(subscriptions: Vec<Subscription>) -> Vec<Subscription> {
    let mut seen = std::collections::BTreeSet::new();
    subscriptions
        .into_iter()
        .filter(|subscription| seen.insert(subscription.filter.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
