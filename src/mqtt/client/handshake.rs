//! From the decision to connect to the answer of the last SUBSCRIBE.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Client, Credentials, Event, Output, Phase, PublishOutcome};
use crate::mqtt::bounds;
use crate::mqtt::connection::{Connection, Gated, Question, Request, Wanted, Window};
use crate::mqtt::error::{Fault, Unsendable};
use crate::mqtt::packet::{Connack, Connect, Outbound, RefusalCause, Subscription};
use crate::mqtt::planted::{Bug, planted};
use crate::mqtt::reason::Reason;
use crate::mqtt::session::{self, Outgoing, Session, SessionChange, Stage};
use crate::mqtt::timer::Timer;
use crate::qos::Qos;

impl Client {
    /// Decides what becomes of the session that was stored.
    pub(super) fn adopt_session(&mut self) {
        let stored_id = self.session.client_id.as_deref();
        let foreign = stored_id.is_some_and(|id| id != self.options.client_id);
        if (!self.persistent || foreign) && !self.session.is_empty() {
            if foreign {
                let id = stored_id.unwrap_or_default();
                self.notice(format!("the stored session of the client id `{id}` is dropped"));
            }
            // An epoch is not used twice, or a record of the old session could pass for a new one.
            let last_epoch = self.session.last_epoch;
            self.session = Session::after(last_epoch);
            self.last_seq.0 += 1;
            let (seq, change) = (self.last_seq, SessionChange::delete_all());
            self.event(Event::Session { seq, change });
        }
        for key in std::mem::take(&mut self.session.stale) {
            self.record(SessionChange::delete(key));
        }
    }

    /// Asks for a transport.
    pub(super) fn open(&mut self) {
        self.phase = Phase::Opening;
        let server = self.reconnect.server();
        self.outputs.push_back(Output::Connect { server });
    }

    /// The client id in use; empty as long as the server is to assign one.
    pub(super) fn client_id(&self) -> &str {
        match &self.assigned_client_id {
            Some(id) if self.options.client_id.is_empty() => id,
            _ => &self.options.client_id,
        }
    }

    /// The transport is open: CONNECT.
    pub(super) fn greet(&mut self, now: Instant, credentials: Credentials) {
        let Credentials { user_name, password, authenticator } = credentials;
        self.session.last_epoch = self.session.last_epoch.wrapping_add(1);
        let aliases = std::mem::take(&mut self.connection.outbound_aliases);
        self.connection = Connection {
            epoch: self.session.last_epoch,
            limits: self.codec.limits(),
            ..Connection::default()
        };
        if planted(Bug::KeepAliases) {
            self.connection.outbound_aliases = aliases;
        }
        self.phase = Phase::Greeting;
        let authentication = match self.start_authentication(authenticator) {
            Ok(authentication) => authentication,
            Err(fault) => return self.fail(now, &fault),
        };
        // `send` needs the whole client, the packet borrows from it.
        let client_id = self.client_id().to_owned();
        let will = self.options.will.take();
        let properties = std::mem::take(&mut self.options.properties);
        let connect = Connect {
            client_id: &client_id,
            clean_session: self.starts_clean(),
            keep_alive: self.options.keep_alive,
            session_expiry_s: if self.persistent { properties.session_expiry_s } else { 0 },
            maximum_packet_size: self.options.maximum_packet_size,
            properties: &properties,
            authentication: authentication.as_ref(),
            will: will.as_ref(),
            user_name: user_name.as_deref(),
            password: password.as_deref(),
        };
        let result = self.send(now, Outbound::Connect(&connect));
        self.options.properties = properties;
        self.options.will = will;
        if let Some(timeout) = self.options.reply_timeout {
            self.timers.set(Timer::Connack, now + timeout);
        }
        self.fail_on_error(now, result);
    }

    fn starts_clean(&self) -> bool {
        !self.persistent || self.needs_clean_start
    }

    pub(super) fn on_connack(&mut self, now: Instant, connack: Connack) -> Result<(), Fault> {
        if let Some(refusal) = connack.refusal {
            let client_id = self.client_id().to_owned();
            if refusal.cause == RefusalCause::Identifier {
                self.assigned_client_id = None;
            }
            return Err(Fault::Refused { refusal, client_id });
        }
        self.finish_authentication(connack.authentication.as_ref())?;
        let session_present = connack.session_present;
        if session_present && self.starts_clean() {
            let what = "it claims to have kept a session although a clean one was asked for";
            return Err(Fault::violation(what)); // MQTT-3.2.2-1
        }
        let session_expected = self.persistent && self.session.client_id.is_some();
        if session_present && !session_expected && connack.limits.session_must_be_known {
            self.needs_clean_start = true;
            let what = "it has a session of ours that we know nothing of; the next connection \
                        starts a new one";
            return Err(Fault::violation(what)); // MQTT-3.2.2-4 of 5.0
        }
        self.needs_clean_start = false;
        self.phase = Phase::Up;
        self.timers.clear(Timer::Connack);
        self.timers.set(Timer::Stable, now + bounds::STABLE_AFTER);
        if let Some(interval) = self.options.ping_interval {
            self.timers.set(Timer::Silence, now + interval);
        }
        self.take_limits(now, &connack);
        self.event(Event::Up { session_present, session_expected });
        self.say_what_differs(&connack);
        self.assigned_client_id = connack.assigned_client_id.or(self.assigned_client_id.take());
        if self.persistent {
            self.reconcile_session(session_present);
        }
        let asked = self.remember_asked();
        if asked && self.last_seq > self.durable {
            self.gate_subscribe(now)?;
        } else {
            self.subscribe(now)?;
        }
        self.resume(now)
    }

    /// SUBSCRIBE and UNSUBSCRIBE wait until it is on disk what is asked for, but not for ever.
    pub(super) fn gate_subscribe(&mut self, now: Instant) -> Result<(), Fault> {
        self.timers.set(Timer::SubscribeGate, now + bounds::SUBSCRIBE_GATE_TIME);
        self.pass_gate(now, self.last_seq, Gated::Subscribe)
    }

    /// What is in force on this connection: the server's word, and ours where it allows more.
    fn take_limits(&mut self, now: Instant, connack: &Connack) {
        let connection = &mut self.connection;
        connection.up_since = Some(now);
        connection.limits = connack.limits.clone();
        connection.window = Window::for_server(&connection.limits);
        self.limit_in_flight();
        let connection = &mut self.connection;
        if planted(Bug::IgnorePacketSize) {
            connection.limits.packet_bytes_max = usize::MAX;
        }
        let wanted = connack.server_keep_alive.filter(|_| !planted(Bug::IgnoreServerKeepAlive));
        let keep_alive_s = wanted.unwrap_or(self.options.keep_alive); // MQTT-3.2.2-21 of 5.0
        if keep_alive_s > 0 {
            let keep_alive = Duration::from_secs(u64::from(keep_alive_s));
            connection.keep_alive = Some(keep_alive);
            // It runs from here, whether anything is sent or not.
            self.timers.set(Timer::KeepAlive, now + keep_alive * 3 / 4);
        }
    }

    /// How many publishes may be in flight, by the server's word and the configuration's.
    pub(super) fn limit_in_flight(&mut self) {
        let configured = usize::from(self.options.publish_in_flight);
        let connection = &mut self.connection;
        connection.in_flight_max = match (connection.limits.in_flight_max, configured) {
            (None, 0) => bounds::IN_FLIGHT_MAX,
            (None, configured) => configured,
            (Some(allowed), 0) => allowed.min(bounds::IN_FLIGHT_SERVER_MAX),
            (Some(allowed), configured) => allowed.min(configured),
        };
    }

    /// What the server grants other than asked, as far as nobody would notice otherwise.
    fn say_what_differs(&mut self, connack: &Connack) {
        let asked = self.options.properties.session_expiry_s;
        if let Some(kept) = connack.session_expiry_s.filter(|&kept| self.persistent && kept < asked)
        {
            self.notice(format!(
                "the server keeps the session for {kept} s where {asked} s were asked for"
            ));
        }
        if let Some(id) = &connack.assigned_client_id {
            self.notice(format!("the server assigned the client id `{}`", id.escape_debug()));
        }
        if let Some(text) = &connack.text {
            self.notice(format!("the server says: {}", text.escape_debug()));
        }
    }

    /// Brings the session in line with what the server says of it.
    fn reconcile_session(&mut self, session_present: bool) {
        let expected = self.session.client_id.is_some();
        if !session_present {
            if expected {
                self.say_what_is_lost();
            }
            let wanted = names(&self.options.subscriptions);
            let is_wanted = |filter: &str| wanted.contains(filter);
            for change in self.session.on_lost(self.connection.epoch, is_wanted) {
                self.record(change);
            }
            self.end_given_up();
            if self.connection.limits.resend_without_session {
                self.end_released();
            } else {
                self.start_anew();
            }
        }
        if !expected || !session_present {
            self.session.client_id = Some(self.options.client_id.clone());
            let change = self.session.meta_change();
            self.record(change);
        }
    }

    fn say_what_is_lost(&mut self) {
        let session = &self.session;
        let again = session.outgoing.values().filter(|it| self.is_sent_again(it)).count();
        let (messages, filters) = (session.received.len(), session.filters.len());
        let text = format!(
            "the server has lost the session: {again} publishes in flight are sent again, \
             {messages} received messages and {filters} filters are forgotten",
        );
        self.notice(text);
    }

    /// Without the session the server does not know the ids of exchanges that were given up.
    fn end_given_up(&mut self) {
        for packet_id in self.session.in_order() {
            let stage = self.session.outgoing.get(&packet_id).map(|outgoing| &outgoing.stage);
            if matches!(stage, Some(Stage::GivenUp)) {
                self.end_uncertain(packet_id, "the server lost the session");
            }
        }
    }

    /// QoS 2 exchanges that had reached PUBREL: the server had the message, and nobody can say any
    /// more what it did with it. The exchange itself goes on (MQTT-4.4.0-1).
    fn end_released(&mut self) {
        let mut waiters = vec![];
        for outgoing in self.session.outgoing.values_mut() {
            if matches!(outgoing.stage, Stage::Release) {
                waiters.push(outgoing.waiter.take());
            }
        }
        for waiter in waiters {
            let text = "the server lost the session before it confirmed the end of the exchange";
            self.complete(waiter, PublishOutcome::Uncertain(text.to_owned()));
        }
    }

    /// Whether a publish in flight goes on although the server has lost the session. MQTT 5.0 drops
    /// the state of both sides (MQTT-3.2.2-5); what is not lost for us is what may be submitted anew
    /// without doing anything twice.
    fn is_sent_again(&self, outgoing: &Outgoing) -> bool {
        if self.connection.limits.resend_without_session {
            return true;
        }
        match &outgoing.stage {
            Stage::Release | Stage::GivenUp => false,
            Stage::Publish(_) if outgoing.is_unwanted => false,
            Stage::Publish(_) if planted(Bug::ResubmitAfterLostSession) => true,
            Stage::Publish(message) => message.qos != Qos::ExactlyOnce || !outgoing.left,
        }
    }

    /// The exchanges that were in flight do not exist for the server's new session. A message of QoS 1,
    /// and one that has not left, starts a new exchange: a first transmission, in the old order, with
    /// an id that is free at the server. A message of QoS 2 that may have arrived is not repeated:
    /// nobody can say what became of it.
    fn start_anew(&mut self) {
        for packet_id in self.session.in_order() {
            let Some(outgoing) = self.session.outgoing.get(&packet_id) else { continue };
            if self.is_sent_again(outgoing) {
                if let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) {
                    outgoing.is_resubmitted = !planted(Bug::ResendAfterLostSession);
                }
                continue;
            }
            let text = "the server lost the session: it may have been delivered, or not";
            self.end_uncertain(packet_id, text);
        }
    }

    /// Sends what the session still has in flight: releases at once, they free places; messages as far
    /// as there are places (MQTT-4.4.0-1).
    fn resume(&mut self, now: Instant) -> Result<(), Fault> {
        for packet_id in self.session.in_order() {
            let Some(outgoing) = self.session.outgoing.get(&packet_id) else { continue };
            match outgoing.stage {
                Stage::Release if planted(Bug::NoPubrelOnResume) => {}
                Stage::Release => {
                    self.connection.resumed_releases.insert(packet_id);
                    self.send_outgoing(now, packet_id)?;
                }
                Stage::Publish(_) if self.is_fatal(packet_id) => self.abandon_fatal(packet_id),
                Stage::Publish(_) => self.connection.resend.push_back(packet_id),
                // The server may know its id, and is told nothing more of it.
                Stage::GivenUp => {}
            }
        }
        self.pump(now)
    }

    /// UNSUBSCRIBE what the stored session has and nobody wants, SUBSCRIBE all that is wanted; once
    /// that was asked for on this connection, only what is other since.
    pub(super) fn subscribe(&mut self, now: Instant) -> Result<(), Fault> {
        let changes = Wanted::Changes { adding: vec![], removing: vec![] };
        match std::mem::replace(&mut self.connection.wanted, changes) {
            Wanted::All => {
                let wanted = std::mem::take(&mut self.options.subscriptions);
                let names = names(&wanted);
                let known = self.session.filters.keys();
                let unwanted: Vec<String> =
                    known.filter(|filter| !names.contains(filter.as_str())).cloned().collect();
                let result = self.request_filters(now, &wanted, &unwanted);
                self.options.subscriptions = wanted;
                result?;
            }
            Wanted::Changes { adding, removing } => {
                self.request_filters(now, &adding, &removing)?;
            }
        }
        self.tell_granted();
        if !self.connection.requests.is_empty() {
            self.await_requests(now);
        }
        Ok(())
    }

    fn request_filters(
        &mut self,
        now: Instant,
        wanted: &[Subscription],
        unwanted: &[String],
    ) -> Result<(), Fault> {
        for filters in self.parts(unwanted, String::as_str) {
            if planted(Bug::NoUnsubscribe) {
                break;
            }
            let packet_id = self.request_id()?;
            self.send(now, Outbound::Unsubscribe { packet_id, filters })?;
            let request = Request::Unsubscribe(filters.to_vec());
            self.connection.requests.insert(packet_id, request);
        }
        if planted(Bug::SubscribeOnce) && self.connection.epoch > 1 {
            return Ok(());
        }
        let mut possible = Vec::with_capacity(wanted.len());
        for subscription in wanted {
            match self.why_not(&subscription.filter) {
                None => possible.push(subscription.clone()),
                Some(why) => {
                    self.on_granted(&subscription.filter, None);
                    let filter = subscription.filter.clone();
                    self.connection.granted.push((filter, Err(why.to_owned())));
                }
            }
        }
        for filters in self.parts(&possible, |subscription| &subscription.filter) {
            let packet_id = self.request_id()?;
            self.send(now, Outbound::Subscribe { packet_id, filters })?;
            let request = Request::Subscribe(filters.to_vec());
            self.connection.requests.insert(packet_id, request);
        }
        Ok(())
    }

    /// Why the server would not take a filter, sections 3.2.2.3.11 to 3.2.2.3.13 of MQTT 5.0.
    fn why_not(&self, filter: &str) -> Option<&'static str> {
        let limits = &self.connection.limits;
        if filter.starts_with("$share/") && !limits.shared_filters {
            return Some("the server has no shared subscriptions");
        }
        if filter.contains(['+', '#']) && !limits.wildcard_filters {
            return Some("the server takes no wildcards in topic filters");
        }
        if filter.len() + REQUEST_BYTES > limits.packet_bytes_max {
            return Some("it is longer than the packets that the server takes");
        }
        None
    }

    /// Filters in parts that fit into a packet; one that fits into none is left out.
    fn parts<'a, T>(&self, items: &'a [T], filter: impl Fn(&T) -> &str) -> Vec<&'a [T]> {
        let room = self.connection.limits.packet_bytes_max.saturating_sub(REQUEST_BYTES);
        let mut parts = vec![];
        let (mut start, mut bytes) = (0, 0);
        for (position, item) in items.iter().enumerate() {
            let more = filter(item).len() + FILTER_BYTES;
            let full = position - start == bounds::FILTERS_PER_PACKET || bytes + more > room;
            if full && position > start {
                parts.push(&items[start..position]);
                (start, bytes) = (position, 0);
            }
            if more > room + FILTER_BYTES {
                start = position + 1;
                continue;
            }
            bytes += more;
        }
        if start < items.len() {
            parts.push(&items[start..]);
        }
        parts
    }

    /// Tells what became of the filters once no answer is awaited.
    fn tell_granted(&mut self) {
        let mut open = self.connection.requests.values();
        if !open.any(|request| matches!(request, Request::Subscribe(_))) {
            let granted = std::mem::take(&mut self.connection.granted);
            self.event(Event::Subscribed { granted });
        }
    }

    /// Records what is about to be asked for: the server may have it although its answer is never
    /// seen. True: there was something to record.
    pub(super) fn remember_asked(&mut self) -> bool {
        if !self.persistent {
            return false;
        }
        let mut changes = vec![];
        for subscription in &self.options.subscriptions {
            let filter = &subscription.filter;
            if !self.session.filters.contains_key(filter) {
                self.session.filters.insert(filter.clone(), None);
                changes.push(session::filter_change(filter, None));
            }
        }
        let some = !changes.is_empty();
        for change in changes {
            self.record(change);
        }
        some
    }

    /// All kinds of packets share one space of ids (MQTT-2.3.1-2).
    fn request_id(&mut self) -> Result<u16, Fault> {
        let requests = &self.connection.requests;
        let id = self.session.free_id(|id| requests.contains_key(&id));
        id.ok_or(Fault::Unsendable(Unsendable::NoPacketId))
    }

    fn await_requests(&mut self, now: Instant) {
        let end = self.connection.encoded_bytes;
        self.connection.request = Some(Question { since: now, end });
        if let Some(timeout) = self.options.reply_timeout {
            self.timers.set(Timer::SubscribeReply, now + timeout);
        }
    }

    fn on_request_answered(&mut self, now: Instant) {
        if self.connection.requests.is_empty() {
            self.connection.request = None;
            self.timers.clear(Timer::SubscribeReply);
        } else {
            self.await_requests(now);
        }
    }

    pub(super) fn on_suback(
        &mut self,
        now: Instant,
        packet_id: u16,
        granted: Vec<Result<Qos, Reason>>,
    ) -> Result<(), Fault> {
        let Some(Request::Subscribe(asked)) = self.connection.requests.get(&packet_id) else {
            self.notice(format!("SUBACK for the unknown packet id {packet_id} is ignored"));
            return Ok(());
        };
        if asked.len() != granted.len() {
            let what = format!(
                "it answers {} filters where {} were asked for",
                granted.len(),
                asked.len()
            );
            return Err(Fault::malformed("SUBACK", what));
        }
        let Some(Request::Subscribe(asked)) = self.connection.requests.remove(&packet_id) else {
            return Ok(());
        };
        for (subscription, granted) in asked.into_iter().zip(granted) {
            self.on_granted(&subscription.filter, granted.as_ref().ok().copied());
            let granted = granted.map_err(|reason| reason.to_string());
            self.connection.granted.push((subscription.filter, granted));
        }
        self.tell_granted();
        self.on_request_answered(now);
        Ok(())
    }

    fn on_granted(&mut self, filter: &str, granted: Option<Qos>) {
        if !self.persistent
            || self.session.filters.get(filter) == Some(&granted) && granted.is_some()
        {
            return;
        }
        if granted.is_some() {
            self.session.filters.insert(filter.to_owned(), granted);
            self.record(session::filter_change(filter, granted));
        } else if self.session.filters.remove(filter).is_some() {
            self.record(SessionChange::delete(session::filter_key(filter)));
        }
    }

    pub(super) fn on_unsuback(
        &mut self,
        now: Instant,
        packet_id: u16,
        reasons: &[Reason],
    ) -> Result<(), Fault> {
        let requests = &mut self.connection.requests;
        let Some(Request::Unsubscribe(asked)) = requests.get(&packet_id) else {
            self.notice(format!("UNSUBACK for the unknown packet id {packet_id} is ignored"));
            return Ok(());
        };
        if !reasons.is_empty() && reasons.len() != asked.len() {
            let (count, asked) = (reasons.len(), asked.len());
            let what = format!("it answers {count} filters where {asked} were asked for");
            return Err(Fault::malformed("UNSUBACK", what));
        }
        if let Some(Request::Unsubscribe(filters)) = requests.remove(&packet_id) {
            for (position, filter) in filters.into_iter().enumerate() {
                if let Some(reason) = reasons.get(position).filter(|reason| reason.is_failure()) {
                    self.notice(format!("the server keeps the topic filter `{filter}`: {reason}"));
                } else if self.session.filters.remove(&filter).is_some() {
                    self.record(SessionChange::delete(session::filter_key(&filter)));
                }
            }
        }
        self.on_request_answered(now);
        Ok(())
    }
}

/// Bytes of a SUBSCRIBE or UNSUBSCRIBE besides its filters, and of a filter besides its text.
const REQUEST_BYTES: usize = 5 + 2 + 1 + FILTER_BYTES;
const FILTER_BYTES: usize = 3;

/// The filters of subscriptions.
pub(super) fn names(subscriptions: &[Subscription]) -> BTreeSet<&str> {
    subscriptions.iter().map(|subscription| subscription.filter.as_str()).collect()
}

/// The first packet of a server is CONNACK (MQTT-3.2.0-1), or AUTH if we have asked for that. What
/// else answers on a port tends to give itself away with its first byte.
pub(super) fn check_greeting(first: u8, authenticates: bool) -> Result<(), Fault> {
    if first >> 4 == 2 || first >> 4 == 15 && authenticates {
        return Ok(());
    }
    let hint = match first {
        b'H' => ": it seems to speak HTTP",
        0x15 => ": it seems to speak TLS",
        _ => "",
    };
    Err(Fault::violation(format!("its first packet is not a CONNACK{hint}")))
}
