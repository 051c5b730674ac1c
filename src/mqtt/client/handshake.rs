//! From the decision to connect to the answer of the last SUBSCRIBE.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Client, Credentials, Event, Output, Phase, PublishOutcome};
use crate::mqtt::bounds;
use crate::mqtt::codec::Codec;
use crate::mqtt::connection::{Connection, Gated, Request};
use crate::mqtt::error::{Fault, Unsendable};
use crate::mqtt::packet::{Connack, Connect, Outbound, Subscription};
use crate::mqtt::planted::{Bug, planted};
use crate::mqtt::session::{self, Session, SessionChange, Stage};
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
        if !Codec::supports(self.options.version) {
            let cause = "this version of MQTT is not supported yet".to_owned();
            self.event(Event::Down { cause, was_up: false, retry_in: None });
            return;
        }
        self.phase = Phase::Opening;
        let server = self.reconnect.server();
        self.outputs.push_back(Output::Connect { server });
    }

    /// The transport is open: CONNECT.
    pub(super) fn greet(&mut self, now: Instant, credentials: &Credentials) {
        self.session.last_epoch = self.session.last_epoch.wrapping_add(1);
        self.connection = Connection { epoch: self.session.last_epoch, ..Connection::default() };
        self.phase = Phase::Greeting;
        // `send` needs the whole client, the packet borrows from its options.
        let options = std::mem::take(&mut self.options.client_id);
        let will = self.options.will.take();
        let connect = Connect {
            client_id: &options,
            clean_session: !self.persistent,
            keep_alive: self.options.keep_alive,
            will: will.as_ref(),
            user_name: credentials.user_name.as_deref(),
            password: credentials.password.as_deref(),
        };
        let result = self.send(now, Outbound::Connect(&connect));
        self.options.client_id = options;
        self.options.will = will;
        if let Some(timeout) = self.options.reply_timeout {
            self.timers.set(Timer::Connack, now + timeout);
        }
        self.fail_on_error(now, result);
    }

    pub(super) fn on_connack(&mut self, now: Instant, connack: Connack) -> Result<(), Fault> {
        if let Some(refusal) = connack.refusal {
            let client_id = self.options.client_id.clone();
            return Err(Fault::Refused { refusal, client_id });
        }
        let session_present = connack.session_present;
        if session_present && !self.persistent {
            let what = "it claims to have kept a session although a clean one was asked for";
            return Err(Fault::violation(what)); // MQTT-3.2.2-1
        }
        self.phase = Phase::Up;
        self.timers.clear(Timer::Connack);
        self.timers.set(Timer::Stable, now + bounds::STABLE_AFTER);
        if let Some(interval) = self.options.ping_interval {
            self.timers.set(Timer::Silence, now + interval);
        }
        let connection = &mut self.connection;
        connection.up_since = Some(now);
        connection.limits = connack.limits;
        let configured = usize::from(self.options.publish_in_flight);
        connection.in_flight_max = match (connection.limits.in_flight_max, configured) {
            (None, 0) => bounds::IN_FLIGHT_MAX,
            (None, configured) => configured,
            (Some(allowed), 0) => allowed,
            (Some(allowed), configured) => allowed.min(configured),
        };
        if self.options.keep_alive > 0 {
            let seconds = u64::from(self.options.keep_alive);
            let keep_alive = std::time::Duration::from_secs(seconds);
            connection.keep_alive = Some(keep_alive);
            // It runs from here, whether anything is sent or not.
            self.timers.set(Timer::KeepAlive, now + keep_alive * 3 / 4);
        }
        let session_expected = self.persistent && self.session.client_id.is_some();
        self.event(Event::Up { session_present, session_expected });
        if self.persistent {
            self.reconcile_session(session_present);
        }
        let asked = self.remember_asked();
        if asked && self.last_seq > self.durable {
            self.timers.set(Timer::SubscribeGate, now + bounds::SUBSCRIBE_GATE_TIME);
            self.pass_gate(now, self.last_seq, Gated::Subscribe)?;
        } else {
            self.subscribe(now)?;
        }
        self.resume(now)
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
            self.end_released();
        }
        if !expected || !session_present {
            self.session.client_id = Some(self.options.client_id.clone());
            let change = self.session.meta_change();
            self.record(change);
        }
    }

    fn say_what_is_lost(&mut self) {
        let session = &self.session;
        let text = format!(
            "the server has lost the session: {} publishes in flight are sent again, {} received \
             messages and {} filters are forgotten",
            session.outgoing.len(),
            session.received.len(),
            session.filters.len()
        );
        self.notice(text);
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

    /// Sends what the session still has in flight: releases at once, they free places; messages as far
    /// as there are places (MQTT-4.4.0-1).
    fn resume(&mut self, now: Instant) -> Result<(), Fault> {
        for packet_id in self.session.in_order() {
            let Some(outgoing) = self.session.outgoing.get(&packet_id) else { continue };
            match outgoing.stage {
                Stage::Release if planted(Bug::NoPubrelOnResume) => {}
                Stage::Release => self.send_outgoing(now, packet_id)?,
                Stage::Publish(_) => self.connection.resend.push_back(packet_id),
            }
        }
        self.pump(now)
    }

    /// UNSUBSCRIBE what the stored session has and nobody wants, SUBSCRIBE all that is wanted.
    pub(super) fn subscribe(&mut self, now: Instant) -> Result<(), Fault> {
        let wanted = std::mem::take(&mut self.options.subscriptions);
        let result = self.request_filters(now, &wanted);
        let skipped = wanted.is_empty();
        self.options.subscriptions = wanted;
        result?;
        if skipped {
            self.event(Event::Subscribed { granted: vec![] });
        }
        if !self.connection.requests.is_empty() {
            self.await_requests(now);
        }
        Ok(())
    }

    fn request_filters(&mut self, now: Instant, wanted: &[Subscription]) -> Result<(), Fault> {
        let names = names(wanted);
        let known = self.session.filters.keys();
        let unwanted: Vec<String> =
            known.filter(|filter| !names.contains(filter.as_str())).cloned().collect();
        for filters in unwanted.chunks(bounds::FILTERS_PER_PACKET) {
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
        for filters in wanted.chunks(bounds::FILTERS_PER_PACKET) {
            let packet_id = self.request_id()?;
            self.send(now, Outbound::Subscribe { packet_id, filters })?;
            let request = Request::Subscribe(filters.to_vec());
            self.connection.requests.insert(packet_id, request);
        }
        Ok(())
    }

    /// Records what is about to be asked for: the server may have it although its answer is never
    /// seen. True: there was something to record.
    fn remember_asked(&mut self) -> bool {
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
        self.connection.request_since = Some(now);
        if let Some(timeout) = self.options.reply_timeout {
            self.timers.set(Timer::SubscribeReply, now + timeout);
        }
    }

    fn on_request_answered(&mut self, now: Instant) {
        if self.connection.requests.is_empty() {
            self.connection.request_since = None;
            self.timers.clear(Timer::SubscribeReply);
        } else {
            self.await_requests(now);
        }
    }

    pub(super) fn on_suback(
        &mut self,
        now: Instant,
        packet_id: u16,
        granted: &[Option<Qos>],
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
        for (subscription, &granted) in asked.into_iter().zip(granted) {
            self.on_granted(&subscription.filter, granted);
            self.connection.granted.push((subscription.filter, granted));
        }
        let mut open = self.connection.requests.values();
        if !open.any(|request| matches!(request, Request::Subscribe(_))) {
            let granted = std::mem::take(&mut self.connection.granted);
            self.event(Event::Subscribed { granted });
        }
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

    pub(super) fn on_unsuback(&mut self, now: Instant, packet_id: u16) {
        let requests = &mut self.connection.requests;
        if !matches!(requests.get(&packet_id), Some(Request::Unsubscribe(_))) {
            self.notice(format!("UNSUBACK for the unknown packet id {packet_id} is ignored"));
            return;
        }
        if let Some(Request::Unsubscribe(filters)) = requests.remove(&packet_id) {
            for filter in filters {
                if self.session.filters.remove(&filter).is_some() {
                    self.record(SessionChange::delete(session::filter_key(&filter)));
                }
            }
        }
        self.on_request_answered(now);
    }
}

fn names(subscriptions: &[Subscription]) -> BTreeSet<&str> {
    subscriptions.iter().map(|subscription| subscription.filter.as_str()).collect()
}

/// The first packet of a server is CONNACK (MQTT-3.2.0-1). What else answers on a port tends to give
/// itself away with its first byte.
pub(super) fn check_greeting(first: u8) -> Result<(), Fault> {
    if first >> 4 == 2 {
        return Ok(());
    }
    let hint = match first {
        b'H' => ": it seems to speak HTTP",
        0x15 => ": it seems to speak TLS",
        _ => "",
    };
    Err(Fault::violation(format!("its first packet is not a CONNACK{hint}")))
}
