//! Other options for a client at work.

use std::collections::BTreeMap;
use std::time::Instant;

use super::handshake::names;
use super::{Client, ClientOptions, Phase, without_repeats};
use crate::mqtt::codec::Codec;
use crate::mqtt::connection::{Gated, Wanted};
use crate::mqtt::error::Fault;
use crate::mqtt::packet::Subscription;
use crate::mqtt::reconnect::Reconnect;
use crate::mqtt::timer::Timer;

impl Client {
    /// Takes other options: all of them while it is stopped; else those that do not go into CONNECT
    /// and have nothing to do with the servers. A connection goes on with what it has: only filters that
    /// are other than before are subscribed and unsubscribed.
    pub(super) fn reconfigure(&mut self, now: Instant, options: ClientOptions) {
        if self.phase == Phase::Stopped {
            return self.replace_options(options);
        }
        let before = std::mem::take(&mut self.options.subscriptions);
        self.options.subscriptions = without_repeats(options.subscriptions);
        self.options.reply_timeout = options.reply_timeout;
        self.options.publish_in_flight = options.publish_in_flight;
        self.options.reconnect_min = options.reconnect_min;
        self.options.reconnect_max = options.reconnect_max;
        self.reconnect.set_bounds(options.reconnect_min, options.reconnect_max);
        let ping_changed = self.options.ping_interval != options.ping_interval;
        self.options.ping_interval = options.ping_interval;
        if self.phase != Phase::Up {
            return;
        }
        if ping_changed {
            match self.options.ping_interval {
                Some(interval) => {
                    let heard = self.connection.last_received.unwrap_or(now);
                    self.timers.set(Timer::Silence, heard + interval);
                }
                None => self.timers.clear(Timer::Silence),
            }
        }
        self.limit_in_flight();
        let result = self.change_filters(now, &before).and_then(|()| self.pump(now));
        self.fail_on_error(now, result);
    }

    /// As a new client has them. The session goes on if the client id is the same and it is still to
    /// be kept.
    fn replace_options(&mut self, mut options: ClientOptions) {
        options.subscriptions = without_repeats(options.subscriptions);
        let persistent = !options.clean_session && !options.client_id.is_empty();
        let same_id = options.client_id == self.options.client_id;
        let dropped = !same_id || persistent != self.persistent;
        if !same_id {
            self.assigned_client_id = None;
        }
        self.codec = Codec::new(options.version);
        self.reconnect = Reconnect::new(
            options.reconnect_min,
            options.reconnect_max,
            options.servers,
            options.seed,
        );
        self.needs_clean_start = false;
        self.short_lives = 0;
        self.options = options;
        if dropped {
            let why = "the session that it belongs to was given up with another configuration";
            for packet_id in self.session.in_order() {
                self.end_uncertain(packet_id, why);
            }
        }
        // Records of the session that is given up are deleted as those of one that is stored.
        self.persistent = persistent;
        self.adopt_session();
    }

    /// Asks for the filters that are other than before.
    fn change_filters(&mut self, now: Instant, before: &[Subscription]) -> Result<(), Fault> {
        let known: BTreeMap<&str, &Subscription> = before
            .iter()
            .map(|subscription| (subscription.filter.as_str(), subscription))
            .collect();
        let wanted = self.options.subscriptions.iter();
        let added: Vec<Subscription> = wanted
            .filter(|subscription| known.get(subscription.filter.as_str()) != Some(subscription))
            .cloned()
            .collect();
        let names = names(&self.options.subscriptions);
        let unwanted = known.keys().filter(|filter| !names.contains(*filter));
        let removed: Vec<String> = unwanted.map(|&filter| filter.into()).collect();
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        // Requests that have not left yet are for all that is wanted then.
        if let Wanted::Changes { adding, removing } = &mut self.connection.wanted {
            adding.retain(|subscription| !removed.contains(&subscription.filter));
            adding.retain(|old| added.iter().all(|new| new.filter != old.filter));
            removing.retain(|filter| added.iter().all(|new| new.filter != *filter));
            adding.extend(added);
            removing.extend(removed);
        }
        let asked = self.remember_asked();
        let waits = self.connection.gate.iter().any(|(_, gated)| matches!(gated, Gated::Subscribe));
        self.connection.gate.retain(|(_, gated)| !matches!(gated, Gated::Subscribe));
        if (asked || waits) && self.last_seq > self.durable {
            return self.gate_subscribe(now);
        }
        self.subscribe(now)
    }
}
