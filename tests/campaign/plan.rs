//! What happens in a round: all of it follows from the round's seed.

use std::time::Duration;

use super::broker::Sabotage;
use super::network::Trouble;
use crate::harness::Random;

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub qos: u8,
    /// `3.1.1` or `5.0`.
    pub version: &'static str,
    /// Debian's mosquitto instead of our own broker.
    pub mosquitto: bool,
    pub messages: usize,
    /// How long messages keep coming.
    pub flow: Duration,
    /// Connections that break by themselves do so after up to this many bytes.
    pub bytes: usize,
    /// 0: as many as the server allows.
    pub publish_in_flight: usize,
    pub sabotage: Option<Sabotage>,
    /// When, since the last one, what.
    pub events: Vec<(Duration, Event)>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGKILL; how long it stays away.
    KillDriver(Duration),
    /// SIGTERM: it must end in order.
    StopDriver,
    /// SIGKILL of our own broker, SIGTERM of mosquitto, which then saves its sessions.
    StopBroker(Duration),
    KillConsumer(Duration),
    Network(Trouble),
}

/// What the rounds are chosen from.
#[derive(Clone, Debug)]
pub struct Choice {
    pub qos: Option<u8>,
    pub version: Option<&'static str>,
    pub mosquitto: Option<bool>,
}

impl Plan {
    pub fn new(seed: u64, choice: &Choice) -> Self {
        let mut random = Random::new(seed.wrapping_add(1));
        // Neighbouring seeds begin alike.
        (0..10).for_each(|_| _ = random.below(2));
        let mut millis =
            |from: usize, to: usize| Duration::from_millis((from + random.below(to - from)) as u64);
        let flow = millis(800, 1800);
        let mut events = Vec::new();
        let mut total = Duration::ZERO;
        while total < flow {
            let pause = millis(20, 250);
            total += pause;
            let away = millis(0, 120);
            let stall = millis(50, 1400);
            let event = match millis(0, 16).as_millis() {
                0..5 => Event::KillDriver(away),
                5 => Event::StopDriver,
                6..9 => Event::StopBroker(away),
                9..12 => Event::KillConsumer(away),
                12 => Event::Network(Trouble::Cut),
                13 => Event::Network(Trouble::Reset),
                14 => Event::Network(Trouble::Stall(stall)),
                _ => Event::Network(Trouble::HalfOpen),
            };
            events.push((pause, event));
        }
        Self {
            seed,
            qos: choice.qos.unwrap_or(1 + (seed % 2) as u8),
            version: choice.version.unwrap_or(["3.1.1", "5.0"][(seed / 2 % 2) as usize]),
            mosquitto: choice.mosquitto.unwrap_or(seed / 4 % 4 == 3),
            messages: 200 + random.below(1300),
            flow,
            bytes: [300, 3000, 30_000][random.below(3)],
            publish_in_flight: [0, 1, 0, 7][random.below(4)],
            sabotage: None,
            events,
        }
    }
}
