//! A table of named deadlines.

use std::time::Instant;

/// What can become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// CONNACK has not come.
    Connack,
    /// Nothing was sent for most of the keep-alive interval.
    KeepAlive,
    /// The server has been silent for the ping interval.
    Silence,
    /// PINGRESP has not come.
    PingReply,
    /// What SUBSCRIBE waits for has not been stored.
    SubscribeGate,
    /// SUBACK or UNSUBACK has not come.
    SubscribeReply,
    /// A packet stays incomplete.
    Incomplete,
    /// The connection has lived long enough to trust it.
    Stable,
    /// The pause before a new attempt is over.
    Reconnect,
}

const ALL: [Timer; 9] = [
    Timer::Connack,
    Timer::KeepAlive,
    Timer::Silence,
    Timer::PingReply,
    Timer::SubscribeGate,
    Timer::SubscribeReply,
    Timer::Incomplete,
    Timer::Stable,
    Timer::Reconnect,
];

/// When each timer is due, if it is armed.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: [Option<Instant>; ALL.len()],
    /// Nothing is due before; the table is asked at every turn, and mostly that is all it has to say.
    earliest: Option<Instant>,
}

impl Timers {
    /// Arms a timer, or moves it.
    pub(super) fn set(&mut self, timer: Timer, due: Instant) {
        self.due[timer as usize] = Some(due);
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
    }

    /// Disarms a timer.
    pub(super) fn clear(&mut self, timer: Timer) {
        self.due[timer as usize] = None;
    }

    /// Whether it is armed.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.due[timer as usize].is_some()
    }

    /// Disarms all.
    pub(super) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// The earliest one.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.iter().flatten().min().copied()
    }

    /// Disarms and returns one that is due, the earliest first.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Timer> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return None;
        }
        let armed = ALL.into_iter().filter_map(|timer| Some((self.due[timer as usize]?, timer)));
        let first = armed.min_by_key(|&(due, _)| due);
        self.earliest = first.map(|(due, _)| due);
        let (due, timer) = first?;
        if due > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant can only be had from the clock")]
    fn timers_expire_in_order_of_time() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        assert_eq!(timers.next_due(), None);
        timers.set(Timer::KeepAlive, after(3));
        timers.set(Timer::Connack, after(5));
        timers.set(Timer::Silence, after(2));
        timers.clear(Timer::Silence);
        assert_eq!(timers.next_due(), Some(after(3)));
        assert_eq!(timers.expired(after(2)), None);
        assert_eq!(timers.expired(after(9)), Some(Timer::KeepAlive));
        assert_eq!(timers.expired(after(9)), Some(Timer::Connack));
        assert_eq!(timers.expired(after(9)), None);
    }
}
