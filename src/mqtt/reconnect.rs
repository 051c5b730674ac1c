//! When to try again, and which server: full jitter, a bound that doubles, a walk over the list.

use std::time::Duration;

use super::bounds;

/// Back-off and the place in the list of servers.
#[derive(Debug)]
pub(super) struct Reconnect {
    min: Duration,
    max: Duration,
    servers: usize,
    server: usize,
    failures: u32,
    random: fastrand::Rng,
}

impl Reconnect {
    /// Starts with the first server and the smallest bound.
    pub(super) fn new(min: Duration, max: Duration, servers: usize, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let min = min.max(bounds::RECONNECT_BOUND_MIN);
        Self { min, max: max.max(min), servers: servers.max(1), server: 0, failures: 0, random }
    }

    /// The server to be tried next.
    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// The connection has been up for a while: its loss would be a new story.
    pub(super) fn on_stable(&mut self) {
        self.failures = 0;
    }

    /// A stable connection was lost: the pause before the same server, which has our session, is
    /// tried again.
    pub(super) fn on_lost(&mut self) -> Duration {
        self.failures = 0;
        self.jitter(self.min)
    }

    /// An attempt failed, or the connection did not last: the pause before the next server.
    pub(super) fn on_failed(&mut self) -> Duration {
        let servers = u32::try_from(self.servers).unwrap_or(u32::MAX);
        let walks = (self.failures / servers).min(31);
        self.failures = self.failures.saturating_add(1);
        self.server = (self.server + 1) % self.servers;
        let bound = self.min.saturating_mul(1 << walks).min(self.max);
        self.jitter(bound)
    }

    fn jitter(&mut self, bound: Duration) -> Duration {
        let nanoseconds = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.u64(0..=nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_the_pause_is_spread_below_it() {
        let mut largest = [Duration::ZERO; 8];
        let mut smallest = [Duration::MAX; 8];
        for seed in 0..500 {
            let mut reconnect = Reconnect::new(seconds(1), seconds(30), 1, seed);
            for attempt in 0..8 {
                let pause = reconnect.on_failed();
                largest[attempt] = largest[attempt].max(pause);
                smallest[attempt] = smallest[attempt].min(pause);
            }
        }
        for (attempt, bound) in [1, 2, 4, 8, 16, 30, 30, 30].into_iter().enumerate() {
            assert!(largest[attempt] <= seconds(bound));
            assert!(largest[attempt] > seconds(bound).mul_f64(0.95));
            assert!(smallest[attempt] < seconds(bound).mul_f64(0.05));
        }
    }

    #[test]
    fn servers_are_tried_in_turn_and_a_walk_is_one_step_of_the_bound() {
        let mut reconnect = Reconnect::new(seconds(1), seconds(30), 3, 7);
        let mut tried = vec![];
        for attempt in 0..7 {
            tried.push(reconnect.server());
            let pause = reconnect.on_failed();
            assert!(pause <= seconds(1 << (attempt / 3)));
        }
        assert_eq!(tried, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_stable_connection_starts_anew_with_the_same_server() {
        let mut reconnect = Reconnect::new(seconds(1), seconds(30), 2, 7);
        for _ in 0..9 {
            reconnect.on_failed();
        }
        assert_eq!(reconnect.server(), 1);
        assert!(reconnect.on_lost() <= seconds(1));
        assert_eq!(reconnect.server(), 1);
        assert!(reconnect.on_failed() <= seconds(1));
        assert_eq!(reconnect.server(), 0);
    }

    #[test]
    fn there_is_a_pause_even_if_none_is_configured() {
        let mut reconnect = Reconnect::new(Duration::ZERO, Duration::ZERO, 1, 7);
        let pauses: Duration = (0..100).map(|_| reconnect.on_failed()).sum();
        assert!(pauses > seconds(3), "{pauses:?}");
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let mut reconnect = Reconnect::new(Duration::MAX, Duration::ZERO, 0, 0);
        for _ in 0..100 {
            reconnect.on_failed();
            assert_eq!(reconnect.server(), 0);
        }
    }
}
