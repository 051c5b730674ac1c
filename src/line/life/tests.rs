use proptest::prelude::*;

use super::*;

const STATION: StationId = StationId(4);

fn origin() -> Instant {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(crate::clock::now);
    *ORIGIN
}

fn at(millisecond: u64) -> Instant {
    origin() + Duration::from_millis(millisecond)
}

fn options(error_delay: u64, stale_after: u64) -> LifeOptions {
    LifeOptions {
        error_delay: Duration::from_millis(error_delay),
        stale_after: (stale_after > 0).then(|| Duration::from_millis(stale_after)),
        mode: StationMode::On,
    }
}

fn lives(options: LifeOptions) -> Lives {
    let mut lives = Lives::new(at(0), std::iter::once((STATION, options)));
    shown(&mut lives);
    lives
}

/// What has been said since, in words.
fn shown(lives: &mut Lives) -> String {
    let mut words = Vec::new();
    while let Some(change) = lives.poll_change() {
        assert_eq!(change.station, STATION);
        let effect = match change.effect {
            None => String::new(),
            Some(StationEffect::Invalidate(reason)) => format!(" bad/{reason}"),
            Some(StationEffect::Simulate) => " simulate".to_owned(),
            Some(StationEffect::Recover { nothing_missed: true }) => " as before".to_owned(),
            Some(StationEffect::Recover { nothing_missed: false }) => " restored".to_owned(),
        };
        words.push(format!("{}{effect}", change.state.as_str()));
    }
    words.join(", ")
}

const LIVE: StationEvent = StationEvent::Message { retained: false };
const RETAINED: StationEvent = StationEvent::Message { retained: true };

#[test]
fn an_error_of_the_line_is_soft_first() {
    let mut lives = Lives::new(at(0), std::iter::once((STATION, options(1000, 0))));
    // Nothing is lost before the first connection.
    assert_eq!(shown(&mut lives), "StCOMERR");
    lives.on_time(at(1000));
    assert_eq!(shown(&mut lives), "StHARDERR");
    lives.line_up(at(2000), false);
    assert_eq!(shown(&mut lives), "StON");
    lives.line_down(at(3000));
    assert_eq!(shown(&mut lives), "StCOMERR bad/line_down");
    // Attempts that fail do not start it anew.
    lives.line_down(at(3900));
    assert_eq!(lives.deadline(), Some(at(4000)));
    lives.on_time(at(4000));
    assert_eq!(shown(&mut lives), "StHARDERR");
    lives.line_up(at(5000), true);
    assert_eq!(shown(&mut lives), "StON as before");
    lives.line_down(at(6000));
    lives.line_up(at(6500), false);
    assert_eq!(shown(&mut lives), "StCOMERR bad/line_down, StON restored");
    lives.on_time(at(9000));
    assert_eq!(shown(&mut lives), "");
}

#[test]
fn without_a_delay_an_error_is_hard_at_once() {
    let mut lives = lives(options(0, 0));
    lives.line_up(at(1), false);
    lives.line_down(at(2));
    assert_eq!(shown(&mut lives), "StON, StHARDERR bad/line_down");
}

#[test]
fn a_will_lasts_until_the_next_live_message() {
    let mut lives = lives(options(500, 0));
    lives.line_up(at(1), true);
    lives.handle(at(2), STATION, StationEvent::Will);
    assert_eq!(shown(&mut lives), "StON, StHARDERR bad/station_will");
    lives.handle(at(3), STATION, RETAINED);
    assert_eq!(shown(&mut lives), "");
    lives.line_down(at(4));
    assert_eq!(shown(&mut lives), "StHARDERR bad/line_down");
    lives.line_up(at(5), true);
    assert_eq!(shown(&mut lives), "StHARDERR bad/station_will");
    lives.handle(at(6), STATION, LIVE);
    assert_eq!(shown(&mut lives), "StON restored");
}

#[test]
fn silence_makes_stale_and_replays_do_not_end_it() {
    let mut lives = lives(options(0, 1000));
    assert_eq!(lives.deadline(), None, "the clock starts when the line is up");
    lives.line_up(at(100), true);
    lives.handle(at(600), STATION, RETAINED);
    lives.on_time(at(1099));
    assert_eq!(shown(&mut lives), "StON");
    lives.on_time(at(1100));
    assert_eq!(shown(&mut lives), "StON bad/stale");
    lives.handle(at(1200), STATION, RETAINED);
    assert_eq!(shown(&mut lives), "");
    lives.line_down(at(1300));
    lives.line_up(at(1400), true);
    assert_eq!(shown(&mut lives), "StHARDERR bad/line_down, StON bad/stale");
    lives.handle(at(1500), STATION, LIVE);
    assert_eq!(shown(&mut lives), "StON restored");
    lives.handle(at(2400), STATION, LIVE);
    lives.on_time(at(2500));
    assert_eq!((shown(&mut lives), lives.deadline()), (String::new(), Some(at(3400))));
    // While the line is down no clock runs.
    lives.line_down(at(3000));
    lives.on_time(at(9000));
    lives.line_up(at(9000), true);
    assert_eq!(shown(&mut lives), "StHARDERR bad/line_down, StON as before");
    lives.on_time(at(10_000));
    assert_eq!(shown(&mut lives), "StON bad/stale");
}

#[test]
fn a_station_that_is_switched_remembers_whether_it_missed_anything() {
    let mut lives = lives(options(0, 0));
    let mode = StationEvent::Mode;
    lives.line_up(at(1), true);
    lives.handle(at(2), STATION, mode(StationMode::Off));
    assert!(!lives.line_is_wanted() && !lives.is_on(STATION));
    lives.line_down(at(3));
    lives.handle(at(4), STATION, mode(StationMode::On));
    lives.line_up(at(5), true);
    assert_eq!(
        shown(&mut lives),
        "StON, StOFF bad/station_off, StHARDERR bad/line_down, StON as before"
    );
    lives.handle(at(6), STATION, mode(StationMode::Simulate));
    lives.handle(at(7), STATION, LIVE);
    lives.handle(at(8), STATION, mode(StationMode::Off));
    lives.handle(at(9), STATION, mode(StationMode::On));
    assert_eq!(shown(&mut lives), "StSIMUL simulate, StOFF bad/station_off, StON restored");
    assert!(lives.line_is_wanted());
}

#[test]
fn a_station_that_nothing_can_reach_is_in_error() {
    let mut lives = lives(options(1000, 0));
    lives.line_up(at(0), true);
    lives.handle(at(1), STATION, StationEvent::Reachable(false));
    assert_eq!(shown(&mut lives), "StON, StCOMERR bad/comm_error");
    lives.on_time(at(1001));
    assert_eq!(shown(&mut lives), "StHARDERR");
    lives.handle(at(1002), STATION, LIVE);
    assert_eq!(shown(&mut lives), "StON restored");
}

#[test]
fn a_hundred_thousand_stations_do_not_make_a_message_slow() {
    let ids = (0..100_000).map(StationId);
    let mut lives = Lives::new(at(0), ids.map(|id| (id, options(0, 1000))));
    lives.line_up(at(0), true);
    while lives.poll_change().is_some() {}
    for millisecond in 1..=100_000 {
        lives.handle(at(1 + millisecond / 200), StationId(millisecond as u32 % 100_000), LIVE);
    }
    // One timer a station at most, whatever its messages.
    assert_eq!(lives.timers.len(), 100_000);
    lives.on_time(at(1000));
    assert!(!lives.has_changes());
    assert_eq!(lives.timers.len(), 100_000);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Up(bool),
    Down,
    Station(StationEvent),
    Wait(u64),
    /// Another configuration: with the same delays, or with others.
    Reload(Option<(u64, u64)>),
}

fn step() -> impl Strategy<Value = Step> {
    let mode =
        prop_oneof![Just(StationMode::On), Just(StationMode::Off), Just(StationMode::Simulate)];
    prop_oneof![
        2 => any::<bool>().prop_map(Step::Up),
        2 => Just(Step::Down),
        4 => any::<bool>().prop_map(|retained| Step::Station(StationEvent::Message { retained })),
        2 => Just(Step::Station(StationEvent::Will)),
        1 => any::<bool>().prop_map(|yes| Step::Station(StationEvent::Reachable(yes))),
        2 => mode.prop_map(|mode| Step::Station(StationEvent::Mode(mode))),
        6 => (0..40_u64).prop_map(Step::Wait),
        2 => (0..50_u64, 0..50_u64).prop_map(|(delay, stale)| Step::Reload(Some((delay, stale)))),
        2 => Just(Step::Reload(None)),
    ]
}

/// The rules read off the whole history, millisecond by millisecond, without a timer.
struct Reference {
    options: LifeOptions,
    up: bool,
    mode: StationMode,
    will: bool,
    unreachable: bool,
    stale: bool,
    /// Milliseconds in error without a break.
    in_error: Option<u64>,
    /// Milliseconds of silence while the line is up and the station on.
    silent: u64,
    /// Milliseconds since that began to be counted.
    since: u64,
}

impl Reference {
    fn step(&mut self, step: Step) {
        match step {
            Step::Up(_) => {
                self.up = true;
                (self.silent, self.in_error, self.unreachable) = (0, None, false);
                self.since = 0;
            }
            Step::Down => {
                self.up = false;
                self.unreachable = false;
                self.in_error.get_or_insert(0);
            }
            Step::Station(StationEvent::Message { retained: true }) => {}
            Step::Station(StationEvent::Message { retained: false }) => {
                (self.will, self.stale, self.unreachable, self.silent) = (false, false, false, 0);
                self.since = 0;
                if self.up {
                    self.in_error = None;
                }
            }
            Step::Station(StationEvent::Will) => self.will = true,
            Step::Station(StationEvent::Reachable(yes)) if self.up => {
                self.unreachable = !yes;
                if yes {
                    self.in_error = None;
                } else {
                    self.in_error.get_or_insert(0);
                }
            }
            Step::Station(StationEvent::Reachable(_)) => {}
            Step::Station(StationEvent::Mode(mode)) => {
                if self.mode != StationMode::On && mode == StationMode::On {
                    (self.silent, self.since, self.stale) = (0, 0, false);
                }
                self.mode = mode;
            }
            Step::Wait(milliseconds) => (0..milliseconds).for_each(|_| self.millisecond()),
            Step::Reload(None) => {}
            Step::Reload(Some((error_delay, stale_after))) => {
                let before = self.options.stale_after;
                self.options = options(error_delay, stale_after);
                let since = Duration::from_millis(self.since);
                if self.options.stale_after != before {
                    self.stale &= self.options.stale_after.is_some_and(|after| since >= after);
                }
            }
        }
        self.judge();
    }

    fn millisecond(&mut self) {
        self.since += 1;
        if let Some(in_error) = &mut self.in_error {
            *in_error += 1;
        }
        if self.up && self.mode == StationMode::On {
            self.silent += 1;
        }
        self.judge();
    }

    fn judge(&mut self) {
        let silent = Duration::from_millis(self.silent);
        if self.up && self.mode == StationMode::On {
            self.stale |= self.options.stale_after.is_some_and(|after| silent >= after);
        }
    }

    fn expected(&self) -> (StationState, Reason) {
        let delay = self.options.error_delay.as_millis() as u64;
        let error = match self.in_error {
            Some(in_error) if in_error >= delay => StationState::HardError,
            _ => StationState::CommError,
        };
        match (self.mode, self.up) {
            (StationMode::Off, _) => (StationState::Off, Reason::StationOff),
            (StationMode::Simulate, _) => (StationState::Simulated, Reason::Simulated),
            (_, false) if self.will => (StationState::HardError, Reason::LineDown),
            (_, false) => (error, Reason::LineDown),
            _ if self.will => (StationState::HardError, Reason::StationWill),
            _ if self.unreachable => (error, Reason::CommError),
            _ if self.stale => (StationState::On, Reason::Stale),
            _ => (StationState::On, Reason::Ok),
        }
    }
}

#[test]
fn stations_come_and_go_while_others_wait_on() {
    let (first, second) = (StationId(1), StationId(9));
    let mut lives = Lives::new(at(0), [(STATION, options(0, 1000))].into_iter());
    lives.line_up(at(0), false);
    shown(&mut lives);
    lives.reconfigure(
        at(400),
        [(first, options(0, 500)), (STATION, options(0, 1000)), (second, options(0, 0))]
            .into_iter(),
    );
    // What comes is told of, and what goes on is not.
    let mut told = Vec::new();
    while let Some(change) = lives.poll_change() {
        told.push((change.station, change.state, change.effect));
    }
    assert_eq!(told, [(first, StationState::On, None), (second, StationState::On, None)]);
    assert_eq!(lives.deadline(), Some(at(900)));
    lives.reconfigure(at(600), [(STATION, options(0, 1000))].into_iter());
    assert_eq!(lives.deadline(), Some(at(1000)));
    assert!(!lives.knows(first) && lives.line_is_wanted());
    lives.on_time(at(1000));
    assert_eq!(shown(&mut lives), "StON bad/stale");
}

#[test]
fn a_line_that_begins_anew_was_connected_before() {
    let mut lives = Lives::resumed(at(0), std::iter::once((STATION, options(0, 0))));
    assert_eq!(shown(&mut lives), "StHARDERR bad/line_down");
    lives.line_up(at(10), true);
    assert_eq!(shown(&mut lives), "StON as before");
}

proptest! {
    /// Whatever happens, and however late timers are looked at within their deadline, the state is
    /// the one that the history says; and the tags follow it.
    #[test]
    fn the_state_is_what_the_history_says(
        steps in proptest::collection::vec(step(), 1..60),
        error_delay in 0..50_u64,
        stale_after in 0..50_u64,
    ) {
        let options = self::options(error_delay, stale_after);
        let mut lives = Lives::new(at(0), std::iter::once((STATION, options)));
        let mut reference = Reference {
            options,
            up: false,
            mode: StationMode::On,
            will: false,
            unreachable: false,
            stale: false,
            in_error: Some(0),
            silent: 0,
            since: 0,
        };
        let (mut now, mut was_up) = (0, false);
        // What the last change said, and what the tags show.
        let (mut said, mut fault) = (None, None);
        for step in steps {
            match step {
                Step::Up(session_present) => {
                    was_up = true;
                    lives.line_up(at(now), session_present);
                }
                Step::Down => lives.line_down(at(now)),
                Step::Station(event) => lives.handle(at(now), STATION, event),
                Step::Reload(other) => {
                    let other = other.map_or(reference.options, |(delay, stale)| self::options(delay, stale));
                    lives.reconfigure(at(now), std::iter::once((STATION, other)));
                }
                Step::Wait(milliseconds) => {
                    let until = now + milliseconds;
                    while let Some(due) = lives.deadline().filter(|due| *due <= at(until)) {
                        lives.on_time(due);
                        prop_assert!(lives.deadline().is_none_or(|next| next > due));
                    }
                    now = until;
                }
            }
            reference.step(step);
            while let Some(change) = lives.poll_change() {
                said = Some((change.state, change.reason));
                match change.effect {
                    None => {}
                    Some(StationEffect::Invalidate(reason)) => fault = Some(reason),
                    Some(StationEffect::Simulate) => fault = Some(Reason::Simulated),
                    Some(StationEffect::Recover { .. }) => fault = None,
                }
            }
            let (state, reason) = reference.expected();
            prop_assert_eq!(said, Some((state, reason)), "at {} ms after {:?}", now, step);
            let expected = Some(reason).filter(|reason| *reason != Reason::Ok);
            if was_up || fault.is_some() {
                prop_assert_eq!(fault, expected);
            }
            let wanted = reference.mode == StationMode::On;
            prop_assert_eq!(lives.line_is_wanted(), wanted);
            prop_assert_eq!(lives.is_on(STATION), wanted);
        }
    }
}
