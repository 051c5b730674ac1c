//! Packets from the server, and the settlement of its messages.

use std::time::Instant;

use super::{Client, Delivery, Event, Phase};
use crate::mqtt::bounds;
use crate::mqtt::connection::{Gated, Place};
use crate::mqtt::error::Fault;
use crate::mqtt::packet::{Disconnect, Inbound, Outbound, Publish};
use crate::mqtt::planted::{Bug, planted};
use crate::mqtt::repeats;
use crate::mqtt::session::{self, Received, SessionChange};
use crate::mqtt::timer::Timer;
use crate::qos::Qos;

impl Client {
    pub(super) fn on_packet(&mut self, now: Instant, packet: Inbound) -> Result<(), Fault> {
        match packet {
            Inbound::Publish(publish) => self.on_publish(now, publish),
            Inbound::Puback(reply) => self.on_puback(now, &reply),
            Inbound::Pubrec(reply) => self.on_pubrec(now, &reply),
            Inbound::Pubrel(reply) => self.on_pubrel(now, reply.packet_id),
            Inbound::Pubcomp(reply) => self.on_pubcomp(now, &reply),
            Inbound::Connack(connack) if self.phase == Phase::Greeting => {
                self.on_connack(now, *connack)
            }
            Inbound::Connack(_) => Err(Fault::violation("it sent a second CONNACK")),
            Inbound::Suback { packet_id, granted } => self.on_suback(now, packet_id, granted),
            Inbound::Unsuback { packet_id, reasons } => self.on_unsuback(now, packet_id, &reasons),
            Inbound::Disconnect(disconnect) => {
                let Disconnect { reason, server_reference } = *disconnect;
                Err(Fault::Disconnected { reason, server_reference })
            }
            Inbound::Auth(packet) => self.on_auth(now, &packet),
            Inbound::Pingresp => {
                self.connection.ping = None;
                self.timers.clear(Timer::PingReply);
                Ok(())
            }
        }
    }

    fn on_publish(&mut self, now: Instant, publish: Publish) -> Result<(), Fault> {
        let Publish { mut publication, packet_id, dup, topic_alias } = publish;
        let qos = publication.qos;
        if let Some(alias) = topic_alias {
            let maximum = self.options.properties.topic_alias_maximum;
            let aliases = &mut self.connection.inbound_aliases;
            publication.topic = aliases.resolve(alias, publication.topic, maximum)?;
        }
        if qos != Qos::AtMostOnce {
            self.take_place(packet_id, dup)?;
        }
        let mut fingerprint = 0;
        let hand_over = match qos {
            Qos::AtMostOnce => true,
            Qos::AtLeastOnce => {
                self.connection.pubacks.push(packet_id, planted(Bug::AcknowledgeUnsettled));
                true
            }
            Qos::ExactlyOnce => {
                fingerprint = repeats::fingerprint(&publication);
                self.on_publish_qos2(packet_id, dup, fingerprint)
            }
        };
        let owed = self.connection.pubacks.len().max(self.connection.pubrecs.len());
        if owed > bounds::UNACKNOWLEDGED_MAX {
            let what = "it sent more messages than it may leave unacknowledged";
            return Err(Fault::violation(what));
        }
        if hand_over {
            let (epoch, stored) = (self.connection.epoch, self.persistent);
            let delivery = Delivery { epoch, packet_id, qos, stored, fingerprint };
            self.event(Event::Message { delivery, publication, dup });
        }
        if qos == Qos::AtMostOnce { Ok(()) } else { self.send_acknowledgements(now) }
    }

    fn take_place(&mut self, packet_id: u16, dup: bool) -> Result<(), Fault> {
        let Some(maximum) = self.options.properties.receive_maximum else { return Ok(()) };
        match self.connection.window.take(packet_id, dup, maximum) {
            Place::None => Err(Fault::ReceiveMaximum(maximum)),
            Place::Excess { is_first: true } => {
                self.notice(format!(
                    "the server sends more than {maximum} messages without waiting for their \
                     acknowledgement, against `receive_maximum`; they are taken"
                ));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes the arrival of a QoS 2 message; false: it is known and not handed over again, whatever
    /// its DUP flag says (MQTT-4.3.3-2). Every arrival is answered, once it is safe.
    fn on_publish_qos2(&mut self, packet_id: u16, dup: bool, fingerprint: u64) -> bool {
        let known = self.session.received.get(&packet_id).copied();
        match known {
            Some(received) if planted(Bug::HandOverTwice) && !received.settled => {}
            Some(received) => {
                self.connection.pubrecs.push_repeated(packet_id, received.settled);
                return false;
            }
            None => {}
        }
        let epoch = self.connection.epoch;
        let knows = self.session.repeats.knows(packet_id, epoch, fingerprint);
        if dup && knows && !planted(Bug::ForgetEndedExchanges) {
            self.connection.pubrecs.push_repeated(packet_id, true);
            return false;
        }
        if let Some(change) = self.session.repeats.forget(packet_id)
            && self.persistent
        {
            self.record(change);
        }
        let received = Received { epoch, settled: false, released: false, fingerprint };
        self.session.received.insert(packet_id, received);
        self.connection.pubrecs.push(packet_id, false);
        true
    }

    /// A message is safe. What is settled for an earlier connection is answered only if the message
    /// came again on this one: the server would not know the id, or take it for another message's.
    pub(super) fn acknowledge(&mut self, now: Instant, delivery: Delivery) -> Result<(), Fault> {
        let Delivery { epoch, packet_id, qos, .. } = delivery;
        let is_current = self.phase == Phase::Up
            && (epoch == self.connection.epoch || planted(Bug::AcknowledgeAcrossConnections));
        match qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce => {
                if !is_current || !self.connection.pubacks.settle(packet_id) {
                    return Ok(());
                }
            }
            Qos::ExactlyOnce => {
                let received = self.session.received.get_mut(&packet_id);
                let Some(received) = received.filter(|received| received.epoch == epoch) else {
                    // The session it belonged to is gone; so must be the record it left.
                    if delivery.stored {
                        let key = session::received_key(epoch, packet_id);
                        self.record(SessionChange::delete(key));
                    }
                    return Ok(());
                };
                let released = received.released;
                received.settled = true;
                self.connection.pubrecs.settle_repeated(packet_id);
                self.send_acknowledgements(now)?;
                if released {
                    self.release(now, packet_id)?;
                }
                return Ok(());
            }
        }
        self.send_acknowledgements(now)
    }

    /// A message will be safe late.
    pub(super) fn overtake(&mut self, now: Instant, delivery: Delivery) -> Result<(), Fault> {
        let Delivery { epoch, packet_id, qos, .. } = delivery;
        match qos {
            Qos::AtMostOnce => return Ok(()),
            Qos::AtLeastOnce if epoch != self.connection.epoch => return Ok(()),
            Qos::AtLeastOnce => self.connection.pubacks.overtake(packet_id),
            Qos::ExactlyOnce => {
                let received = self.session.received.get(&packet_id);
                if received.is_some_and(|received| received.epoch == epoch && !received.settled) {
                    self.connection.pubrecs.overtake(packet_id);
                }
            }
        }
        if self.phase == Phase::Up { self.send_acknowledgements(now) } else { Ok(()) }
    }

    /// A message is not taken, and not acknowledged on this connection.
    pub(super) fn decline(&mut self, now: Instant, delivery: Delivery) -> Result<(), Fault> {
        self.overtake(now, delivery)?;
        let Delivery { epoch, packet_id, qos, .. } = delivery;
        if qos == Qos::ExactlyOnce
            && let Some(received) = self.session.received.get(&packet_id)
            && received.epoch == epoch
            && !received.settled
        {
            self.session.received.remove(&packet_id);
        }
        Ok(())
    }

    /// PUBACK and PUBREC in the order of what they answer (MQTT-4.6.0-2, MQTT-4.6.0-3).
    fn send_acknowledgements(&mut self, now: Instant) -> Result<(), Fault> {
        if planted(Bug::AcknowledgeOutOfOrder) {
            while let Some(packet_id) = self.connection.pubacks.pop_any() {
                self.send(now, Outbound::Puback(packet_id))?;
            }
        }
        while let Some(packet_id) = self.connection.pubacks.pop() {
            self.send(now, Outbound::Puback(packet_id))?;
            self.connection.window.give_back(packet_id);
        }
        while let Some(packet_id) = self.connection.pubrecs.pop() {
            self.send(now, Outbound::Pubrec(packet_id))?;
        }
        Ok(())
    }

    fn on_pubrel(&mut self, now: Instant, packet_id: u16) -> Result<(), Fault> {
        match self.session.received.get_mut(&packet_id) {
            Some(received) if !received.settled => {
                // Released before we said that we have it: PUBCOMP must still wait until we do.
                received.released = true;
                Ok(())
            }
            Some(_) => self.release(now, packet_id),
            // Perhaps an earlier release whose record is on its way to disk.
            None => {
                let gated = Gated::Pubcomp { packet_id, is_known: false };
                self.pass_gate(now, self.last_seq, gated)
            }
        }
    }

    /// The id of a received message is free for another one, once that is durable.
    fn release(&mut self, now: Instant, packet_id: u16) -> Result<(), Fault> {
        let Some(received) = self.session.received.remove(&packet_id) else { return Ok(()) };
        let Received { epoch, fingerprint, .. } = received;
        let changes = self.session.repeats.remember(packet_id, epoch, fingerprint);
        let mut seq = self.last_seq;
        for change in changes {
            seq = self.record(change);
        }
        self.pass_gate(now, seq, Gated::Pubcomp { packet_id, is_known: true })
    }
}
