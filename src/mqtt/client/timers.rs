//! Time that passes: pings, answers that do not come, attempts that are due.

use std::time::Instant;

use super::{Client, Phase};
use crate::mqtt::bounds;
use crate::mqtt::connection::{Gated, Question};
use crate::mqtt::error::Fault;
use crate::mqtt::packet::Outbound;
use crate::mqtt::planted::{Bug, planted};
use crate::mqtt::timer::Timer;

impl Client {
    /// Everything that is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            self.on_timer(now, timer);
        }
        while let Some(entry) = self.deadlines.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let awaited = entry.remove();
            self.on_publish_due(now, awaited);
        }
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        let timeout = self.options.reply_timeout.unwrap_or_default();
        match timer {
            Timer::Connack => self.fail(now, &Fault::NoReply { awaited: "CONNECT", timeout }),
            Timer::KeepAlive => {
                if !planted(Bug::NeverPing) {
                    self.ping(now);
                }
            }
            Timer::Silence => self.on_silence(now),
            Timer::PingReply => match self.connection.ping.and_then(|ping| self.grace(now, ping)) {
                Some(until) => self.timers.set(Timer::PingReply, until),
                None => self.fail(now, &Fault::NoReply { awaited: "PINGREQ", timeout }),
            },
            Timer::SubscribeGate => {
                self.connection.gate.retain(|(_, gated)| !matches!(gated, Gated::Subscribe));
                self.notice("session records are not stored in time, subscribing without them");
                let result = self.subscribe(now);
                self.fail_on_error(now, result);
            }
            Timer::SubscribeReply => {
                match self.connection.request.and_then(|request| self.grace(now, request)) {
                    Some(until) => self.timers.set(Timer::SubscribeReply, until),
                    None => {
                        let first = self.connection.requests.values().next();
                        let awaited = first.map_or("SUBSCRIBE", |request| request.name());
                        self.fail(now, &Fault::NoReply { awaited, timeout });
                    }
                }
            }
            Timer::Incomplete => self.fail(now, &Fault::Incomplete(timeout)),
            Timer::Stable => {
                self.reconnect.on_stable();
                self.short_lives = 0;
            }
            Timer::Reconnect => self.open(),
        }
    }

    /// An answer is overdue. Packets that came in the meantime show that the server is alive, and the
    /// answer may stand behind them in the stream; so they buy time, but not for ever. While the server
    /// takes what stands before the question in our stream, it cannot know of it.
    fn grace(&self, now: Instant, question: Question) -> Option<Instant> {
        let timeout = self.options.reply_timeout?;
        let connection = &self.connection;
        let latest = question.since + timeout * bounds::REPLY_GRACE_FACTOR;
        let alive = connection.last_received.map(|heard| (heard + timeout).min(latest));
        let has_left = connection.transmitted_bytes >= question.end;
        let leaving = connection.last_transmitted.filter(|_| !has_left).map(|last| last + timeout);
        let until =
            [alive, leaving].into_iter().flatten().fold(question.since + timeout, Instant::max);
        (until > now).then_some(until)
    }

    /// The ping interval may be over: it counts from the last bytes received.
    fn on_silence(&mut self, now: Instant) {
        let Some(interval) = self.options.ping_interval else { return };
        let heard = self.connection.last_received.unwrap_or(now);
        let due = heard + interval;
        if due > now {
            self.timers.set(Timer::Silence, due);
            return;
        }
        if !self.timers.is_set(Timer::PingReply) {
            self.ping(now);
        }
        self.timers.set(Timer::Silence, now + interval);
    }

    pub(super) fn ping(&mut self, now: Instant) {
        if self.phase != Phase::Up {
            return;
        }
        let result = self.send(now, Outbound::Pingreq);
        self.fail_on_error(now, result);
        if self.connection.ping.is_none() {
            self.connection.ping =
                Some(Question { since: now, end: self.connection.encoded_bytes });
            if let Some(timeout) = self.options.reply_timeout {
                self.timers.set(Timer::PingReply, now + timeout);
            }
        }
    }
}
