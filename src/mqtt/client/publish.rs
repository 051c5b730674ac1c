//! Publishes of ours, from the command to the outcome.

use std::time::Instant;

use super::{Client, EndedBy, Event, Phase, PublishOutcome, PublishToken};
use crate::mqtt::bounds;
use crate::mqtt::connection::{Gated, Unsent};
use crate::mqtt::error::Fault;
use crate::mqtt::packet::{Outbound, Publication, Reply, TopicAlias};
use crate::mqtt::planted::{Bug, planted};
use crate::mqtt::reason::{self, Reason};
use crate::mqtt::session::{self, ChangeSeq, Outgoing, Sending, SessionChange, Stage, Waiter};
use crate::qos::Qos;
use crate::topic;

/// A publish without a place in flight.
#[derive(Debug)]
pub(super) struct Waiting {
    publication: Publication,
    waiter: Waiter,
    expires: Option<Instant>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.publication.topic.len() + self.publication.payload.len()
    }
}

/// Where a publish is whose outcome is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited {
    /// QoS 0, encoded; its end is at this offset of the current connection.
    Unsent(u64),
    /// Without a place in flight.
    Waiting,
    /// In flight.
    Outgoing(u16),
    /// Taken back; its record is to be removed from disk.
    Retracted,
}

/// A publish that was in flight, has not left and was taken back: it has not happened only when its
/// record is gone from disk, or it would be sent after a crash.
#[derive(Debug)]
pub(super) struct Retracted {
    removal: ChangeSeq,
    waiter: Waiter,
    reason: String,
}

impl Client {
    pub(super) fn publish(
        &mut self,
        now: Instant,
        token: PublishToken,
        mut publication: Publication,
        (deadline, expires): (Instant, Option<Instant>),
    ) {
        if self.phase != Phase::Up {
            let outcome = PublishOutcome::Unsent("the line is down".to_owned());
            return self.event(Event::Completed { token, outcome });
        }
        Self::say_expiry(&mut publication, expires, now);
        let result = match self.check_publication(&publication) {
            Err(reason) => Err(reason),
            Ok(()) if is_over(expires, now) => Err(EXPIRED.to_owned()),
            Ok(()) if deadline <= now => Err(NOT_IN_TIME.to_owned()),
            Ok(()) if publication.qos == Qos::AtMostOnce => {
                self.publish_unacknowledged(now, token, &publication, deadline)
            }
            Ok(()) => self.enqueue(token, publication, (deadline, expires)),
        };
        match result {
            Ok(()) => {
                let result = self.pump(now);
                self.fail_on_error(now, result);
            }
            Err(reason) => {
                let outcome = PublishOutcome::Failed(reason);
                self.event(Event::Completed { token, outcome });
            }
        }
    }

    /// Why it cannot be published, if it cannot.
    fn check_publication(&self, publication: &Publication) -> Result<(), String> {
        topic::check_name(&publication.topic)
            .map_err(|error| format!("the topic is not valid: {error}"))?;
        self.check_limits(publication).map(drop)
    }

    /// Whether the server takes such a message on this connection; its size as a packet.
    fn check_limits(&self, publication: &Publication) -> Result<usize, String> {
        let limits = &self.connection.limits;
        if publication.qos > limits.qos_max {
            let highest = limits.qos_max.level();
            return Err(format!("the server takes no message above QoS {highest}")); // MQTT-3.2.2-11
        }
        if publication.retain && !limits.retain {
            return Err("the server retains no messages".to_owned()); // MQTT-3.2.2-14
        }
        let packet_id = u16::from(publication.qos != Qos::AtMostOnce);
        let packet = Outbound::Publish { publication, packet_id, dup: false, alias: None };
        let size = self.codec.packet_bytes(packet);
        let allowed = limits.packet_bytes_max;
        if size > allowed && !planted(Bug::IgnorePacketSize) {
            return Err(format!("the packet of {size} bytes is larger than {allowed} bytes"));
        }
        Ok(size)
    }

    /// Message Expiry Interval: what is left at this moment, in whole seconds, and never 0, which some
    /// servers take for no end at all. MQTT 3.1.1 has no word for it.
    fn say_expiry(publication: &mut Publication, expires: Option<Instant>, now: Instant) {
        let Some(expires) = expires else { return };
        let left = expires.saturating_duration_since(now);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
        publication.properties.get_or_insert_default().message_expiry_s = Some(seconds);
    }

    /// Whether a publish of this QoS would get its place in flight at once, behind no other.
    pub fn has_room(&self, qos: Qos) -> bool {
        let free = match qos {
            Qos::AtMostOnce => self.connection.unsent_bytes() <= bounds::UNSENT_BYTES_MAX,
            Qos::AtLeastOnce | Qos::ExactlyOnce => self.has_free_place(),
        };
        self.phase == Phase::Up
            && free
            && self.waiting.is_empty()
            && self.connection.resend.is_empty()
    }

    /// Takes up a publish that the restored session has in flight: its end comes as
    /// [`Event::Completed`], at this deadline at the latest. False: the session does not have it.
    pub fn adopt(
        &mut self,
        packet_id: u16,
        token: PublishToken,
        (deadline, expires): (Option<Instant>, Option<Instant>),
    ) -> bool {
        if !self.session.outgoing.contains_key(&packet_id) {
            return false;
        }
        let waiter = match deadline {
            Some(deadline) => self.await_outcome(token, deadline, Awaited::Outgoing(packet_id)),
            None => Waiter { token, due: None },
        };
        if let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) {
            outgoing.waiter = Some(waiter);
            outgoing.expires = expires;
        }
        true
    }

    /// How a first transmission names its topic. A resend never depends on what this connection has
    /// seen before, so that its order among others does not matter.
    fn choose_alias(&mut self, publication: &Publication, size: usize) -> Option<TopicAlias> {
        // An alias takes three bytes, and may lengthen the length of the properties by one.
        const ALIAS_BYTES: usize = 4;
        let connection = &mut self.connection;
        let maximum = connection.limits.topic_alias_max;
        if size + ALIAS_BYTES > connection.limits.packet_bytes_max {
            return None;
        }
        connection.outbound_aliases.choose(&publication.topic, maximum)
    }

    fn publish_unacknowledged(
        &mut self,
        now: Instant,
        token: PublishToken,
        publication: &Publication,
        deadline: Instant,
    ) -> Result<(), String> {
        if self.connection.unsent_bytes() > bounds::UNSENT_BYTES_MAX {
            return Err("the server does not take our bytes fast enough".to_owned());
        }
        let size = self.check_limits(publication)?;
        let alias = self.choose_alias(publication, size);
        let packet = Outbound::Publish { publication, packet_id: 0, dup: false, alias };
        let end = self.send(now, packet).map_err(|fault| fault.to_string())?;
        let waiter = self.await_outcome(token, deadline, Awaited::Unsent(end));
        self.connection.unsent.push_back(Unsent { end, waiter: Some(waiter) });
        Ok(())
    }

    fn enqueue(
        &mut self,
        token: PublishToken,
        publication: Publication,
        (deadline, expires): (Instant, Option<Instant>),
    ) -> Result<(), String> {
        let full = self.waiting.len() >= bounds::WAITING_MAX
            || self.waiting_bytes + publication.payload.len() > bounds::WAITING_BYTES_MAX;
        if full {
            return Err("too many publishes wait for the server".to_owned());
        }
        let waiter = self.await_outcome(token, deadline, Awaited::Waiting);
        let waiting = Waiting { publication, waiter, expires };
        self.waiting_bytes += waiting.bytes();
        self.waiting.push_back(waiting);
        Ok(())
    }

    fn await_outcome(
        &mut self,
        token: PublishToken,
        deadline: Instant,
        awaited: Awaited,
    ) -> Waiter {
        self.last_serial += 1;
        let due = (deadline, self.last_serial);
        self.deadlines.insert(due, awaited);
        Waiter { token, due: Some(due) }
    }

    /// Tells the outcome of a publish, if somebody still waits for it.
    pub(super) fn complete(&mut self, waiter: Option<Waiter>, outcome: PublishOutcome) {
        if let Some(Waiter { token, due }) = waiter {
            if let Some(due) = due {
                self.deadlines.remove(&due);
            }
            self.event(Event::Completed { token, outcome });
        }
    }

    /// Fills the free places in flight: first what is to be sent again, then what waits, in order.
    pub(super) fn pump(&mut self, now: Instant) -> Result<(), Fault> {
        if self.phase != Phase::Up {
            return Ok(());
        }
        while self.has_free_place() {
            if let Some(packet_id) = self.connection.resend.pop_front() {
                let outgoing = self.session.outgoing.get(&packet_id);
                if outgoing.is_some_and(|outgoing| outgoing.sending == Sending::Idle) {
                    self.send_outgoing(now, packet_id)?;
                }
                continue;
            }
            let Some(waiting) = self.waiting.pop_front() else { break };
            let requests = &self.connection.requests;
            let free_id = self.session.free_id(|id| requests.contains_key(&id));
            let Some(packet_id) = free_id else {
                self.waiting.push_front(waiting);
                break;
            };
            self.waiting_bytes -= waiting.bytes();
            self.start_exchange(now, packet_id, waiting)?;
        }
        Ok(())
    }

    fn has_free_place(&self) -> bool {
        let connection = &self.connection;
        let limited =
            connection.open >= connection.in_flight_max && !planted(Bug::IgnoreInFlightLimit);
        !limited && connection.unsent_bytes() <= bounds::UNSENT_BYTES_MAX
    }

    fn start_exchange(
        &mut self,
        now: Instant,
        packet_id: u16,
        waiting: Waiting,
    ) -> Result<(), Fault> {
        let Waiting { publication, waiter, expires } = waiting;
        if let Some(due) = waiter.due {
            self.deadlines.insert(due, Awaited::Outgoing(packet_id));
        }
        let mut outgoing = Outgoing {
            order: self.session.next_order(),
            stage: Stage::Publish(publication),
            record: ChangeSeq(0),
            left: false,
            is_resubmitted: false,
            is_unwanted: false,
            sending: Sending::Idle,
            waiter: Some(waiter),
            fatal: 0,
            expires,
        };
        if self.persistent {
            outgoing.record = self.record(session::outgoing_change(packet_id, &outgoing));
            self.event(Event::InFlight { token: waiter.token, packet_id });
        }
        self.session.outgoing.insert(packet_id, outgoing);
        self.send_outgoing(now, packet_id)
    }

    /// Sends PUBLISH or PUBREL of an exchange that has sent nothing on this connection, as soon as its
    /// record is durable.
    pub(super) fn send_outgoing(&mut self, now: Instant, packet_id: u16) -> Result<(), Fault> {
        let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) else { return Ok(()) };
        let skips = match outgoing.stage {
            Stage::Publish(_) => planted(Bug::PublishBeforeDurable),
            Stage::Release => planted(Bug::PubrelBeforeDurable),
            Stage::GivenUp => return Ok(()),
        };
        if outgoing.sending == Sending::Idle {
            self.connection.open += 1;
        }
        outgoing.sending = Sending::Gated;
        let seq = if skips { self.durable } else { outgoing.record };
        let gated = Gated::Outgoing { packet_id, order: outgoing.order };
        // Its own record first, always: what has left without one has an id that a restart gives away.
        let behind = self.is_behind_retraction(packet_id);
        let seq = if behind { seq.max(self.last_retraction) } else { seq };
        self.pass_gate(now, seq, gated)
    }

    /// Whether a message has to wait until the record of one before it, which was taken back, is gone:
    /// after a crash that one would be sent again, behind this one.
    pub(super) fn is_behind_retraction(&self, packet_id: u16) -> bool {
        let outgoing = self.session.outgoing.get(&packet_id);
        let publishes = outgoing.is_some_and(|it| matches!(it.stage, Stage::Publish(_)));
        publishes && self.last_retraction > self.durable && !planted(Bug::PublishBeforeDurable)
    }

    pub(super) fn transmit_outgoing(&mut self, now: Instant, packet_id: u16) -> Result<(), Fault> {
        let Some(outgoing) = self.session.outgoing.get(&packet_id) else { return Ok(()) };
        let end = match &outgoing.stage {
            Stage::Release => {
                self.send(now, Outbound::Pubrel { packet_id, reason: reason::SUCCESS })?
            }
            Stage::GivenUp => return Ok(()),
            Stage::Publish(publication) => {
                // MQTT-3.3.1-1: DUP says that it may have been sent before.
                let dup = outgoing.is_known() && !planted(Bug::ResendWithoutDup)
                    || planted(Bug::DupOnFirstSend);
                if is_over(outgoing.expires, now) && !outgoing.left {
                    self.abandon(now, packet_id, EXPIRED.to_owned());
                    return Ok(());
                }
                let mut publication = publication.clone();
                let expires = outgoing.expires;
                Self::say_expiry(&mut publication, expires, now);
                let size = match self.check_limits(&publication) {
                    Ok(size) => size,
                    Err(reason) => {
                        // This server, or this connection, allows less than the one before.
                        self.give_up(now, packet_id, reason);
                        return Ok(());
                    }
                };
                let fresh = !dup || planted(Bug::ResendWithAlias);
                let alias = if fresh { self.choose_alias(&publication, size) } else { None };
                let publication = &publication;
                self.send(now, Outbound::Publish { publication, packet_id, dup, alias })?
            }
        };
        if let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) {
            outgoing.sending = Sending::Given(end);
        }
        Ok(())
    }

    pub(super) fn on_puback(&mut self, now: Instant, reply: &Reply) -> Result<(), Fault> {
        let packet_id = reply.packet_id;
        if !self.awaits(packet_id, Qos::AtLeastOnce) {
            self.notice(format!("PUBACK for the unknown packet id {packet_id} is ignored"));
            return Ok(());
        }
        if reply.reason.is_failure() && !planted(Bug::CompleteRefused) {
            self.refused(now, packet_id, &reply.reason);
        } else {
            self.finish(packet_id, PublishOutcome::Completed);
        }
        self.pump(now)
    }

    /// The server has answered that it does not take a message: that is the end of the exchange
    /// (MQTT-4.4.0-2 of 5.0).
    fn refused(&mut self, now: Instant, packet_id: u16, reason: &Reason) {
        self.abandon(now, packet_id, format!("the server refused it: {reason}"));
        if planted(Bug::LeakPlace) {
            self.connection.open += 1;
        }
    }

    /// A message cannot be sent on this connection. Of QoS 2 the server may have begun the exchange:
    /// then its id is not free before the session ends (section 4.3.3 of 5.0).
    fn give_up(&mut self, now: Instant, packet_id: u16, reason: String) {
        let begun = self.session.outgoing.get_mut(&packet_id).filter(|outgoing| {
            let twice = |message: &Publication| message.qos == Qos::ExactlyOnce;
            outgoing.is_known() && matches!(&outgoing.stage, Stage::Publish(it) if twice(it))
        });
        let Some(outgoing) = begun else { return self.abandon(now, packet_id, reason) };
        outgoing.stage = Stage::GivenUp;
        let waiter = outgoing.waiter.take();
        if std::mem::replace(&mut outgoing.sending, Sending::Idle) != Sending::Idle {
            self.connection.open = self.connection.open.saturating_sub(1);
        }
        let change = session::outgoing_change(packet_id, outgoing);
        self.last_retraction = self.record(change);
        let reason = format!("{reason}, {SENT_BEFORE}");
        self.complete(waiter, PublishOutcome::Uncertain(reason));
    }

    /// Ends an exchange that cannot go on. If an earlier transmission may have arrived, that one may
    /// have been taken.
    fn abandon(&mut self, now: Instant, packet_id: u16, reason: String) {
        let left = self.session.outgoing.get(&packet_id).is_some_and(|outgoing| outgoing.left);
        if left {
            let reason = format!("{reason}, {SENT_BEFORE}");
            self.last_retraction = self.finish(packet_id, PublishOutcome::Uncertain(reason));
        } else {
            self.retract(now, packet_id, reason);
        }
    }

    pub(super) fn on_pubrec(&mut self, now: Instant, reply: &Reply) -> Result<(), Fault> {
        let packet_id = reply.packet_id;
        let failed = reply.reason.is_failure() && !planted(Bug::ReleaseRefused);
        if self.awaits(packet_id, Qos::ExactlyOnce) {
            if failed {
                self.refused(now, packet_id, &reply.reason);
                return self.pump(now);
            }
            return self.start_release(now, packet_id);
        }
        match self.session.outgoing.get(&packet_id) {
            Some(Outgoing { stage: Stage::Release, .. }) if failed => {
                let text = format!("the server took it and refused it then: {}", reply.reason);
                self.finish(packet_id, PublishOutcome::Uncertain(text));
                self.pump(now)
            }
            // MQTT-4.3.3-4 of 5.0: PUBREL answers it, and says that the id is unknown.
            None if self.connection.limits.reasons && !failed => {
                let reason = reason::PACKET_ID_NOT_FOUND;
                self.send(now, Outbound::Pubrel { packet_id, reason })?;
                Ok(())
            }
            // MQTT-4.3.3-1: PUBREL answers PUBREC, also a second one.
            Some(Outgoing { stage: Stage::Release, sending: Sending::Given(_), .. }) => {
                self.transmit_outgoing(now, packet_id)
            }
            Some(Outgoing { stage: Stage::Release, .. }) => Ok(()),
            _ => {
                self.notice(format!("PUBREC for the unknown packet id {packet_id} is ignored"));
                Ok(())
            }
        }
    }

    /// The server has the message: it is dropped here, and its release takes its place. Releases keep
    /// the order of the PUBRECs (MQTT-4.6.0-4).
    fn start_release(&mut self, now: Instant, packet_id: u16) -> Result<(), Fault> {
        let order = self.session.next_order();
        let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) else { return Ok(()) };
        outgoing.order = order;
        outgoing.stage = Stage::Release;
        outgoing.left = true;
        let early = if planted(Bug::CompleteAtPubrec) { outgoing.waiter.take() } else { None };
        if self.persistent {
            let change = session::outgoing_change(packet_id, outgoing);
            let seq = self.record(change);
            if let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) {
                outgoing.record = seq;
            }
        }
        self.complete(early, PublishOutcome::Completed);
        self.send_outgoing(now, packet_id)
    }

    pub(super) fn on_pubcomp(&mut self, now: Instant, reply: &Reply) -> Result<(), Fault> {
        let packet_id = reply.packet_id;
        let outgoing = self.session.outgoing.get(&packet_id);
        if !outgoing.is_some_and(|outgoing| matches!(outgoing.stage, Stage::Release)) {
            self.notice(format!("PUBCOMP for the unknown packet id {packet_id} is ignored"));
            return Ok(());
        }
        // A release that is sent again may have been answered before: then the id is unknown.
        let known = self.connection.resumed_releases.remove(&packet_id);
        let outcome = if reply.reason.is_failure() && !known {
            let text =
                format!("the server does not know the end of the exchange: {}", reply.reason);
            PublishOutcome::Uncertain(text)
        } else {
            PublishOutcome::Completed
        };
        self.finish(packet_id, outcome);
        self.pump(now)
    }

    /// Whether a message of this id and QoS may be at the server and is not answered.
    fn awaits(&self, packet_id: u16, qos: Qos) -> bool {
        self.session.outgoing.get(&packet_id).is_some_and(|outgoing| {
            let fits = matches!(&outgoing.stage, Stage::Publish(message) if message.qos == qos);
            fits && (outgoing.is_known() || matches!(outgoing.sending, Sending::Given(_)))
        })
    }

    /// The exchange is over, its id free; the change that removes its record.
    fn finish(&mut self, packet_id: u16, outcome: PublishOutcome) -> ChangeSeq {
        let Some(outgoing) = self.session.outgoing.remove(&packet_id) else {
            return ChangeSeq(0);
        };
        if outgoing.sending != Sending::Idle {
            self.connection.open = self.connection.open.saturating_sub(1);
        }
        let removal = self.record(SessionChange::delete(session::outgoing_key(packet_id)));
        self.complete(outgoing.waiter, outcome);
        removal
    }

    /// An exchange is over, and nobody can say how it ended.
    pub(super) fn end_uncertain(&mut self, packet_id: u16, reason: &str) {
        self.finish(packet_id, PublishOutcome::Uncertain(reason.to_owned()));
    }

    /// The outcome of a publish is wanted at this moment.
    pub(super) fn on_publish_due(&mut self, now: Instant, awaited: Awaited) {
        match awaited {
            Awaited::Unsent(end) => {
                let unsent = &mut self.connection.unsent;
                let found = unsent.binary_search_by_key(&end, |unsent| unsent.end);
                let waiter = found.ok().and_then(|position| unsent[position].waiter.take());
                self.complete(waiter, PublishOutcome::Uncertain(STILL_LEAVING.to_owned()));
            }
            Awaited::Waiting => self.drop_overdue(now),
            Awaited::Outgoing(packet_id) => {
                let Some(outgoing) = self.session.outgoing.get_mut(&packet_id) else { return };
                if outgoing.left || matches!(outgoing.sending, Sending::Given(_)) {
                    let waiter = outgoing.waiter.take();
                    self.complete(waiter, PublishOutcome::Uncertain(UNANSWERED.to_owned()));
                } else if outgoing.expires.is_some_and(|expires| expires > now) {
                    // Those behind it would overtake one that is taken back to be sent later.
                    let waiter = outgoing.waiter.take();
                    self.complete(waiter, PublishOutcome::Uncertain(STILL_THERE.to_owned()));
                } else {
                    let over = is_over(outgoing.expires, now);
                    let why = if over { EXPIRED } else { NOT_IN_TIME };
                    self.retract(now, packet_id, why.to_owned());
                    let result = self.pump(now);
                    self.fail_on_error(now, result);
                }
            }
            Awaited::Retracted => self.drop_unremoved(now),
        }
    }

    /// Takes back a publish that has not left, or that the server has refused.
    fn retract(&mut self, now: Instant, packet_id: u16, reason: String) {
        let waiter = self.session.outgoing.get_mut(&packet_id).and_then(|it| it.waiter.take());
        let removal = self.finish(packet_id, PublishOutcome::Completed);
        self.last_retraction = removal;
        let Some(Waiter { token, due }) = waiter else { return };
        // Its id may be another message's by then.
        if let Some(due) = due {
            self.deadlines.remove(&due);
        }
        let waiter = self.await_outcome(token, now + bounds::REMOVAL_TIME, Awaited::Retracted);
        self.retracted.push_back(Retracted { removal, waiter, reason });
        self.complete_retracted();
    }

    /// A publish is not wanted any more.
    pub(super) fn withdraw(&mut self, now: Instant, token: PublishToken) {
        let waits = |waiting: &Waiting| waiting.waiter.token == token;
        if let Some(position) = self.waiting.iter().position(waits) {
            let Some(waiting) = self.waiting.remove(position) else { return };
            self.waiting_bytes -= waiting.bytes();
            let outcome = PublishOutcome::Failed(WITHDRAWN.to_owned());
            return self.complete(Some(waiting.waiter), outcome);
        }
        let is_it =
            |outgoing: &Outgoing| outgoing.waiter.is_some_and(|waiter| waiter.token == token);
        let found = self.session.outgoing.iter_mut().find(|(_, outgoing)| is_it(outgoing));
        let Some((&packet_id, outgoing)) = found else { return };
        outgoing.is_unwanted = true;
        if !outgoing.left && !matches!(outgoing.sending, Sending::Given(_)) {
            self.retract(now, packet_id, WITHDRAWN.to_owned());
            let result = self.pump(now);
            self.fail_on_error(now, result);
        }
    }

    /// Publishes that were taken back and whose records are gone have not happened.
    pub(super) fn complete_retracted(&mut self) {
        let durable = self.durable;
        while let Some(retracted) = self.retracted.pop_front_if(|it| it.removal <= durable) {
            let outcome = PublishOutcome::Failed(retracted.reason);
            self.complete(Some(retracted.waiter), outcome);
        }
    }

    fn drop_unremoved(&mut self, now: Instant) {
        while let Some(retracted) = self.retracted.pop_front_if(|it| it.waiter.is_due(now)) {
            let text = format!("{}, {NOT_REMOVED}", retracted.reason);
            let outcome = PublishOutcome::Uncertain(text);
            self.complete(Some(retracted.waiter), outcome);
        }
    }

    /// Removes all that wait and are overdue.
    fn drop_overdue(&mut self, now: Instant) {
        let mut overdue = vec![];
        self.waiting.retain(|waiting| {
            let keep = !waiting.waiter.is_due(now);
            if !keep {
                self.waiting_bytes -= waiting.bytes();
                overdue.push(waiting.waiter);
            }
            keep
        });
        for waiter in overdue {
            self.complete(Some(waiter), PublishOutcome::Failed(NOT_IN_TIME.to_owned()));
        }
    }

    /// What waits never left.
    pub(super) fn fail_waiting(&mut self, reason: &str) {
        self.waiting_bytes = 0;
        for waiting in std::mem::take(&mut self.waiting) {
            self.complete(Some(waiting.waiter), PublishOutcome::Unsent(reason.to_owned()));
        }
    }

    /// Takes stock of the publishes in flight when their connection is gone. With a session that is
    /// kept they wait for the next one, else they end.
    pub(super) fn on_connection_lost(&mut self, by: EndedBy) {
        // What the transport has not taken is lost with it, but when we close, it is still sent.
        let gone = match by {
            EndedBy::Peer => self.connection.transmitted_bytes,
            EndedBy::Fault | EndedBy::Request => self.connection.encoded_bytes,
        };
        for unsent in std::mem::take(&mut self.connection.unsent) {
            let outcome = match by {
                EndedBy::Peer => PublishOutcome::Unsent(CUT_OFF.to_owned()),
                EndedBy::Fault | EndedBy::Request => PublishOutcome::Uncertain(CLOSING.to_owned()),
            };
            self.complete(unsent.waiter, outcome);
        }
        for outgoing in self.session.outgoing.values_mut() {
            if matches!(outgoing.sending, Sending::Given(end) if end <= gone) {
                outgoing.left = true;
                outgoing.is_resubmitted = false;
            }
            outgoing.sending = Sending::Idle;
        }
        for received in self.session.received.values_mut() {
            // The server will release it again on the next connection.
            received.released = false;
        }
        if planted(Bug::ForgetReceivedOnDisconnect) {
            self.session.received.clear();
        }
        if self.persistent && !planted(Bug::DropInFlightOnDisconnect) {
            return;
        }
        for packet_id in self.session.in_order() {
            let left = self.session.outgoing.get(&packet_id).is_some_and(|outgoing| outgoing.left);
            let reason = "the connection was lost, and with it the session".to_owned();
            self.finish(
                packet_id,
                match left {
                    true => PublishOutcome::Uncertain(reason),
                    false => PublishOutcome::Unsent(reason),
                },
            );
        }
        self.session.received.clear();
        self.fail_waiting("the connection was lost before it left");
    }
}

/// Whether the time in which it may leave is over.
fn is_over(expires: Option<Instant>, now: Instant) -> bool {
    expires.is_some_and(|expires| expires <= now)
}

const EXPIRED: &str = "it expired before it left";
const STILL_THERE: &str = "it has not left in time, and the session will still send it";
const NOT_IN_TIME: &str = "it did not leave in time";
const SENT_BEFORE: &str = "but it was sent before, which may have happened";
const WITHDRAWN: &str = "the connection ended before it left";
const NOT_REMOVED: &str = "but its record is still on disk: a restart may send it";
const STILL_LEAVING: &str = "it has not left completely in time, and may still do so";
const CUT_OFF: &str = "the connection ended before it was sent";
const CLOSING: &str = "the connection was closed while it was being sent";
const UNANSWERED: &str = "it left, and the server did not confirm it in time";
