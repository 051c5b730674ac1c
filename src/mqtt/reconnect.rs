//! When to try again, and which server: full jitter, a bound that doubles, a walk over the list.

use std::collections::VecDeque;
use std::time::Duration;

use super::bounds;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Position in the driver's list of servers.
    Listed(usize),
    /// A server that another one referred us to.
    Referred(Referred),
}

/// One server of a Server Reference, MQTT 5.0 section 4.11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referred {
    /// Name or IP address, IPv6 without brackets.
    pub host: String,
    /// `None`: the usual one.
    pub port: Option<u16>,
    /// Position of the listed server that we came from: how to connect is taken over from it.
    pub by: usize,
}

/// Back-off and the place in the list of servers.
#[derive(Debug)]
pub(super) struct Reconnect {
    min: Duration,
    max: Duration,
    servers: usize,
    server: usize,
    failures: u32,
    random: fastrand::Rng,
    /// Servers that we were referred to; the first one is tried next.
    referred: VecDeque<Referred>,
    /// Whether they have just been named, so that the first one has not failed.
    is_referral_fresh: bool,
}

impl Reconnect {
    /// Starts with the first server and the smallest bound.
    pub(super) fn new(min: Duration, max: Duration, servers: usize, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let min = min.max(bounds::RECONNECT_BOUND_MIN);
        Self {
            min,
            max: max.max(min),
            servers: servers.max(1),
            server: 0,
            failures: 0,
            random,
            referred: VecDeque::new(),
            is_referral_fresh: false,
        }
    }

    /// Other bounds for the pauses to come.
    pub(super) fn set_bounds(&mut self, min: Duration, max: Duration) {
        self.min = min.max(bounds::RECONNECT_BOUND_MIN);
        self.max = max.max(self.min);
    }

    /// The server to be tried next.
    pub(super) fn server(&self) -> Endpoint {
        match self.referred.front() {
            Some(referred) => Endpoint::Referred(referred.clone()),
            None => Endpoint::Listed(self.server),
        }
    }

    /// The server names others that are to be tried next; when all of them fail, the list is walked
    /// on. The usual pause comes first, so servers that refer to each other make no tight loop.
    pub(super) fn refer(&mut self, reference: &str) {
        let servers = reference.split([' ', ',']).filter_map(host_and_port);
        let servers = servers.map(|(host, port)| Referred { host, port, by: self.server });
        let servers: VecDeque<Referred> = servers.take(bounds::REFERRED_MAX).collect();
        if !servers.is_empty() {
            self.referred = servers;
            self.is_referral_fresh = true;
        }
    }

    /// The connection has been up for a while: its loss would be a new story.
    pub(super) fn on_stable(&mut self) {
        self.failures = 0;
    }

    /// A connection was up for this long: if no pause is longer, beginning with the shortest one again
    /// makes no loop that is tighter.
    pub(super) fn on_life(&mut self, life: Duration) {
        if life >= self.max {
            self.failures = 0;
        }
    }

    /// A stable connection was lost: the pause before the same server, which has our session, is
    /// tried again.
    pub(super) fn on_lost(&mut self) -> Duration {
        self.failures = 0;
        self.is_referral_fresh = false;
        self.jitter(self.min)
    }

    /// An attempt failed, or the connection did not last: the pause before the next server.
    pub(super) fn on_failed(&mut self) -> Duration {
        let servers = u32::try_from(self.servers).unwrap_or(u32::MAX);
        let walks = (self.failures / servers).min(31);
        self.failures = self.failures.saturating_add(1);
        if !std::mem::take(&mut self.is_referral_fresh) && self.referred.pop_front().is_none() {
            self.server = (self.server + 1) % self.servers;
        }
        let bound = self.min.saturating_mul(1 << walks).min(self.max);
        self.jitter(bound)
    }

    fn jitter(&mut self, bound: Duration) -> Duration {
        let nanoseconds = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.u64(0..=nanoseconds))
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port`, as in section 4.11.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            match port {
                "" => (host, None),
                _ => (host, Some(port.strip_prefix(':')?)),
            }
        }
        None => match text.split_once(':') {
            // Several colons: an IPv6 address without a port.
            Some((_, port)) if port.contains(':') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || host.len() > 255 || !host.chars().all(is_host) {
        return None;
    }
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|&port| port > 0)?),
        None => None,
    };
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_in_the_specification() {
        for (text, host, port) in [
            ("myserver.xyz.org", "myserver.xyz.org", None),
            ("myserver.xyz.org:8883", "myserver.xyz.org", Some(8883)),
            ("10.10.151.22:8883", "10.10.151.22", Some(8883)),
            ("[fe80::9610:3eff:fe1c]:1883", "fe80::9610:3eff:fe1c", Some(1883)),
            ("[::1]", "::1", None),
            ("fe80::1", "fe80::1", None),
        ] {
            assert_eq!(host_and_port(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":1", "[::1", "[::1]x", "a:0", "a:65536", "a b", "mqtt://a", "a/b", "a\n"]
        {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }

    #[test]
    fn a_referral_is_tried_before_the_list_and_given_up_when_it_fails() {
        let mut reconnect = Reconnect::new(seconds(1), seconds(30), 2, 7);
        reconnect.on_failed();
        reconnect.refer("a ? b:1884");
        let referred =
            |host: &str, port| Endpoint::Referred(Referred { host: host.to_owned(), port, by: 1 });
        reconnect.on_failed();
        assert_eq!(reconnect.server(), referred("a", None));
        reconnect.on_lost();
        assert_eq!(reconnect.server(), referred("a", None));
        reconnect.on_failed();
        assert_eq!(reconnect.server(), referred("b", Some(1884)));
        reconnect.on_failed();
        assert_eq!(reconnect.server(), Endpoint::Listed(1));
        reconnect.on_failed();
        assert_eq!(reconnect.server(), Endpoint::Listed(0));
        reconnect.refer("?");
        reconnect.on_failed();
        assert_eq!(reconnect.server(), Endpoint::Listed(1));
    }

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
        assert_eq!(tried, [0, 1, 2, 0, 1, 2, 0].map(Endpoint::Listed));
    }

    #[test]
    fn a_stable_connection_starts_anew_with_the_same_server() {
        let mut reconnect = Reconnect::new(seconds(1), seconds(30), 2, 7);
        for _ in 0..9 {
            reconnect.on_failed();
        }
        assert_eq!(reconnect.server(), Endpoint::Listed(1));
        assert!(reconnect.on_lost() <= seconds(1));
        assert_eq!(reconnect.server(), Endpoint::Listed(1));
        assert!(reconnect.on_failed() <= seconds(1));
        assert_eq!(reconnect.server(), Endpoint::Listed(0));
    }

    #[test]
    fn a_life_as_long_as_the_longest_pause_starts_anew() {
        let mut reconnect = Reconnect::new(seconds(1), seconds(4), 2, 7);
        for _ in 0..9 {
            reconnect.on_failed();
        }
        reconnect.on_life(Duration::from_millis(3999));
        assert!((0..50).any(|_| reconnect.on_failed() > seconds(1)));
        reconnect.on_life(seconds(4));
        assert!(reconnect.on_failed() <= seconds(1));
        assert!(reconnect.on_failed() <= seconds(1));
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
            assert_eq!(reconnect.server(), Endpoint::Listed(0));
        }
    }
}
