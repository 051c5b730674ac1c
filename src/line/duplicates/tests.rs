use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::hub::bounds::DUPLICATE_NOTES_LOGGED_MIN;
use crate::mqtt::Delivery;

const WINDOW: Duration = Duration::from_secs(10);

fn publication(topic: &str, payload: &str) -> Publication {
    Publication {
        topic: topic.into(),
        payload: payload.to_owned().into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    }
}

fn receipt(path: PathId, epoch: u32, packet_id: u16) -> Receipt {
    let qos = if packet_id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    Receipt { path, delivery: Delivery { epoch, packet_id, qos, stored: true, fingerprint: 0 } }
}

/// A line and its time.
struct Line {
    duplicates: Duplicates,
    start: Instant,
    now: Instant,
}

const ONE: PathId = PathId::FIRST;
const TWO: PathId = PathId::SECOND;

impl Line {
    /// Both paths are up, with nothing that could have been missed.
    fn both_up() -> Self {
        let start = clock::now();
        let mut line = Self { duplicates: Duplicates::new(WINDOW, true), start, now: start };
        line.up(ONE, false);
        line.up(TWO, false);
        line.at(60.0);
        line
    }

    fn at(&mut self, seconds: f64) -> &mut Self {
        self.now = self.start + Duration::from_secs_f64(seconds);
        self
    }

    fn up(&mut self, path: PathId, session_present: bool) {
        self.duplicates.came_up(self.now, path, session_present);
    }

    fn down(&mut self, path: PathId) {
        self.duplicates.went_away(path);
    }

    fn verdict(&mut self, receipt: Receipt, publication: &Publication, dup: bool) -> Verdict {
        self.duplicates.heard(self.now, receipt.path);
        self.duplicates.take(self.now, receipt, publication, dup)
    }

    /// Whether a message at QoS 0 is the first.
    fn is_first(&mut self, path: PathId, payload: &str) -> bool {
        let verdict = self.verdict(receipt(path, 1, 0), &publication("t", payload), false);
        matches!(verdict, Verdict::First(_))
    }
}

#[test]
fn each_message_cancels_one_copy_and_equal_ones_of_one_path_are_kept() {
    let mut line = Line::both_up();
    assert!(line.is_first(ONE, "1"));
    assert!(line.is_first(ONE, "1"));
    assert!(!line.is_first(TWO, "1"));
    assert!(!line.is_first(TWO, "1"));
    assert!(line.is_first(TWO, "1"));
    assert!(!line.is_first(ONE, "1"));
}

#[test]
fn a_topic_is_part_of_what_a_message_is() {
    let mut line = Line::both_up();
    let of = |topic: &str, payload: &str| publication(topic, payload);
    for (path, message) in [(ONE, of("a", "bc")), (TWO, of("ab", "c"))] {
        assert!(matches!(line.verdict(receipt(path, 1, 0), &message, false), Verdict::First(_)));
    }
}

#[test]
fn while_both_are_up_a_copy_comes_within_the_window() {
    let mut line = Line::both_up();
    assert!(line.at(100.0).is_first(ONE, "a"));
    assert!(!line.at(109.9).is_first(TWO, "a"));
    assert!(line.at(200.0).is_first(ONE, "b"));
    assert!(line.at(210.0).is_first(TWO, "b"));
}

#[test]
fn a_path_that_returns_with_its_session_does_not_take_values_back() {
    let mut line = Line::both_up();
    line.down(TWO);
    for number in 0..1000 {
        assert!(line.at(100.0 + f64::from(number)).is_first(ONE, &number.to_string()));
    }
    line.at(2000.0).up(TWO, true);
    for number in 0..1000 {
        // It pairs, and so it goes on catching up.
        let at = 2000.0 + f64::from(number) * 0.5;
        assert!(!line.at(at).is_first(TWO, &number.to_string()), "{number}");
    }
    // Level again: what nobody brought is new.
    assert!(line.is_first(TWO, "5"));
}

#[test]
fn a_path_that_returns_without_its_session_has_nothing_of_before() {
    let mut line = Line::both_up();
    line.down(TWO);
    assert!(line.at(100.0).is_first(ONE, "a"));
    assert!(line.at(199.0).is_first(ONE, "b"));
    line.at(200.0).up(TWO, false);
    assert!(line.is_first(TWO, "a"));
    assert!(!line.is_first(TWO, "b"), "that is within the window");
}

#[test]
fn what_was_kept_is_dropped_once_nothing_of_it_is_paired_any_more() {
    let mut line = Line::both_up();
    line.down(TWO);
    for _ in 0..100 {
        assert!(line.at(100.0).is_first(ONE, "1"));
    }
    line.at(200.0).up(TWO, true);
    assert!(!line.at(201.0).is_first(TWO, "1"));
    assert!(!line.at(210.5).is_first(TWO, "1"), "the last pairing counts");
    assert!(line.at(220.6).is_first(TWO, "1"));
}

#[test]
fn without_the_other_path_catching_up_is_not_prolonged() {
    let mut line = Line::both_up();
    line.down(TWO);
    for _ in 0..100 {
        assert!(line.at(100.0).is_first(ONE, "1"));
    }
    line.at(200.0).up(TWO, true);
    assert!(!line.at(205.0).is_first(TWO, "1"));
    line.down(ONE);
    assert!(!line.at(214.0).is_first(TWO, "1"));
    assert!(line.at(215.1).is_first(TWO, "1"), "nobody else brings it: it must not be lost");
}

#[test]
fn what_came_before_a_path_was_found_dead_is_kept_too() {
    let mut line = Line::both_up();
    line.duplicates.heard(line.start + Duration::from_secs(100), TWO);
    for number in 0..80 {
        assert!(line.at(100.5 + f64::from(number)).is_first(ONE, &number.to_string()));
    }
    // Only then is it found that nothing came for 80 seconds.
    line.at(181.0).down(TWO);
    line.at(190.0).up(TWO, true);
    for number in 0..80 {
        assert!(!line.is_first(TWO, &number.to_string()), "{number}");
    }
}

#[test]
fn a_message_that_the_server_sends_again_is_known_by_its_identifier() {
    let mut line = Line::both_up();
    let message = publication("t", "v");
    let first = line.verdict(receipt(TWO, 1, 7), &message, false);
    let Verdict::First(number) = first else { panic!("{first:?}") };
    assert_eq!(line.verdict(receipt(ONE, 1, 9), &message, false), Verdict::Copy(number));
    line.down(TWO);
    line.up(TWO, true);
    // Its own and the copy's, however often.
    for epoch in [2, 3] {
        assert_eq!(line.verdict(receipt(TWO, epoch, 7), &message, true), Verdict::Copy(number));
        assert_eq!(line.verdict(receipt(ONE, epoch, 9), &message, true), Verdict::Copy(number));
    }
    // Another message with its identifier, and one that is not marked, are new.
    let other = line.verdict(receipt(TWO, 4, 7), &publication("t", "w"), true);
    assert!(matches!(other, Verdict::First(_)));
    assert!(matches!(line.verdict(receipt(TWO, 5, 7), &message, false), Verdict::First(_)));
    // So is one of a session that the server has lost.
    line.down(ONE);
    line.at(90.0).up(ONE, false);
    assert!(matches!(line.verdict(receipt(ONE, 6, 9), &message, true), Verdict::First(_)));
}

#[test]
fn what_was_not_taken_is_no_copy_when_it_comes_again() {
    let mut line = Line::both_up();
    let message = publication("t", "v");
    let first = line.verdict(receipt(ONE, 1, 7), &message, false);
    let Verdict::First(number) = first else { panic!("{first:?}") };
    line.duplicates.forget(number);
    assert!(matches!(line.verdict(receipt(ONE, 2, 7), &message, true), Verdict::First(_)));
}

#[test]
fn retained_messages_of_a_new_subscription_do_not_disturb() {
    let mut line = Line::both_up();
    let live = publication("t", "new");
    assert!(line.is_first(ONE, "new"));
    let retained = |payload: &str, topic: &str| {
        let mut message = publication(topic, payload);
        message.retain = true;
        message
    };
    line.down(TWO);
    line.at(300.0).up(TWO, false);
    let of = |line: &mut Line, message: &Publication| {
        matches!(line.verdict(receipt(TWO, 2, 0), message, false), Verdict::First(_))
    };
    assert!(!of(&mut line, &retained("new", "t")));
    assert!(!of(&mut line, &retained("old", "t")), "an older broker does not take it back");
    assert!(of(&mut line, &retained("value", "other")), "the first of its topic is news");
    assert!(!of(&mut line, &retained("value", "other")));
    assert!(of(&mut line, &retained("more", "other")));
    // It is no pair for a live one, and a flag that comes later is no replay.
    assert!(line.is_first(ONE, "new"));
    assert!(!of(&mut line, &live));
    line.at(400.0);
    assert!(of(&mut line, &retained("new", "t")));
    // After both were away it is news again.
    line.down(ONE);
    line.down(TWO);
    line.at(500.0).up(TWO, false);
    assert!(of(&mut line, &retained("new", "t")));
}

#[test]
fn a_server_that_sets_the_flag_on_everything_loses_nothing_for_long() {
    let mut line = Line::both_up();
    line.at(100.0).up(ONE, false);
    let mut message = publication("t", "v");
    message.retain = true;
    let mut lost = 0;
    for number in 0..200 {
        line.at(100.0 + f64::from(number));
        let verdict = line.verdict(receipt(ONE, 1, 0), &message, false);
        lost += u32::from(matches!(verdict, Verdict::Copy(_)));
    }
    assert_eq!(lost, 59, "of a minute");
    line.duplicates.replays = false;
    line.at(400.0).up(ONE, false);
    line.duplicates.sides[0].replay = None;
    assert!(matches!(line.verdict(receipt(ONE, 1, 0), &message, false), Verdict::First(_)));
}

#[test]
fn memory_is_bounded_and_the_oldest_goes() {
    let mut line = Line::both_up();
    line.down(TWO);
    for number in 0..DUPLICATES_KEPT_MAX + 10 {
        let (topic, payload) = (format!("t/{number}"), "v");
        let taken = line.verdict(
            receipt(ONE, 1, (number % 60_000 + 1) as u16),
            &publication(&topic, payload),
            false,
        );
        assert!(matches!(taken, Verdict::First(_)));
    }
    assert!(line.duplicates.take_overflow() && !line.duplicates.take_overflow());
    let side = &line.duplicates.sides[0];
    assert_eq!(
        (side.unpaired.len(), side.by_print.len()),
        (DUPLICATES_KEPT_MAX, DUPLICATES_KEPT_MAX)
    );
    assert!(side.taken.len() <= REDELIVERIES_KNOWN_MAX);
    assert!(side.taken_order.len() <= REDELIVERIES_KNOWN_MAX);
    assert_eq!(line.duplicates.topics.last.len(), DUPLICATES_TOPICS_MAX);
}

/// A process that is killed and started again, with the records of its log.
struct Process {
    line: Line,
    log: Log,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Process {
    fn start(records: BTreeMap<Vec<u8>, Vec<u8>>, now: Instant) -> Self {
        let stored = records.clone().into_iter().collect();
        let (log, notes) = Log::restore("plant", stored, clock::wall());
        let mut line = Line { duplicates: Duplicates::new(WINDOW, true), start: now, now };
        line.duplicates.restore(now, notes.into_iter());
        Self { line, log, records }
    }

    fn take(&mut self, receipt: Receipt, message: &Publication, dup: bool) -> Verdict {
        let verdict = self.line.verdict(receipt, message, dup);
        if let Verdict::First(number) = verdict {
            self.line.duplicates.applied(number);
        }
        verdict
    }

    fn commit(&mut self) {
        let notes: Vec<Note> = self.line.duplicates.take_notes().collect();
        notes.into_iter().for_each(|note| self.log.note(note));
        for record in self.log.take_records(clock::wall()) {
            assert_eq!(&*record.line, "\u{3}plant");
            match record.value {
                Some(value) => self.records.insert(record.key, value),
                None => self.records.remove(&record.key),
            };
        }
    }

    fn kill(self) -> Self {
        Self::start(self.records, self.line.now)
    }
}

#[test]
fn a_copy_and_a_repetition_are_known_over_a_restart() {
    let mut process = Process::start(BTreeMap::new(), clock::now());
    process.line.up(ONE, false);
    let (paired, single) = (publication("t", "paired"), publication("t", "single"));
    let lost = publication("t", "lost");
    assert!(matches!(process.take(receipt(ONE, 1, 1), &paired, false), Verdict::First(_)));
    assert!(matches!(process.take(receipt(ONE, 1, 2), &single, false), Verdict::First(_)));
    process.line.up(TWO, false);
    assert!(matches!(process.take(receipt(TWO, 1, 1), &paired, false), Verdict::Copy(_)));
    process.commit();
    assert!(matches!(process.take(receipt(ONE, 1, 3), &lost, false), Verdict::First(_)));
    let mut process = process.kill();
    process.line.up(TWO, true);
    // Our PUBACKs were not seen.
    assert!(matches!(process.take(receipt(TWO, 2, 1), &paired, true), Verdict::Copy(_)));
    assert!(matches!(process.take(receipt(TWO, 2, 2), &single, false), Verdict::Copy(_)));
    assert!(matches!(process.take(receipt(TWO, 2, 3), &lost, false), Verdict::First(_)));
    process.line.up(ONE, true);
    assert!(matches!(process.take(receipt(ONE, 2, 1), &paired, true), Verdict::Copy(_)));
    assert!(matches!(process.take(receipt(ONE, 2, 2), &single, true), Verdict::Copy(_)));
    assert!(matches!(process.take(receipt(ONE, 2, 3), &lost, true), Verdict::Copy(_)));
}

#[test]
fn the_log_keeps_what_is_needed_and_no_more() {
    let mut process = Process::start(BTreeMap::new(), clock::now());
    process.line.up(ONE, false);
    process.line.up(TWO, false);
    let mut most = 0;
    for number in 0..5_000u32 {
        let message = publication("t", &number.to_string());
        for path in PathId::all() {
            process.take(receipt(path, 1, 0), &message, false);
        }
        process.commit();
        most = most.max(process.records.len());
    }
    assert!(most <= DUPLICATE_NOTES_LOGGED_MIN + 1, "{most}");
    // One that awaits its copy holds what is behind it.
    process.line.down(TWO);
    for number in 0..5000u32 {
        process.take(receipt(ONE, 1, 0), &publication("t", &number.to_string()), false);
        process.commit();
    }
    assert!(process.records.len() >= 5000);
    let mut process = process.kill();
    process.line.up(TWO, true);
    for number in 0..5000u32 {
        let message = publication("t", &number.to_string());
        assert!(matches!(process.take(receipt(TWO, 2, 0), &message, false), Verdict::Copy(_)));
        process.commit();
    }
    // So many are not deleted at one time.
    process.line.up(ONE, true);
    for number in 0..30u32 {
        for path in PathId::all() {
            process.take(receipt(path, 2, 0), &publication("later", &number.to_string()), false);
        }
        process.commit();
    }
    let left = process.records.len();
    assert!(left <= DUPLICATE_NOTES_LOGGED_MIN + 1, "{left}");
}

#[test]
fn a_log_that_makes_no_sense_is_read_as_far_as_it_does() {
    for value in [vec![], vec![0; 8], vec![0, 0, 0, 0, 0, 0, 0, 0, 9, 9], vec![1; 30]] {
        let records = vec![(1u64.to_be_bytes().to_vec(), value), (vec![1], vec![])];
        let (_, notes) = Log::restore("plant", records, clock::wall());
        assert!(notes.is_empty());
    }
}

/// What the test may do to the two paths.
#[derive(Clone, Debug)]
enum Act {
    /// The path brings so many messages of its queue.
    Deliver(PathId, usize),
    /// It is lost; of so many messages the server has not seen the acknowledgement, if it asks for
    /// any.
    Lose(PathId, usize),
    Return(PathId),
    Wait(u64),
    Kill,
}

fn path() -> impl Strategy<Value = PathId> {
    prop::bool::ANY.prop_map(|first| if first { ONE } else { TWO })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (path(), 0usize..40).prop_map(|(path, count)| Act::Deliver(path, count)),
        2 => (path(), 0usize..5).prop_map(|(path, unseen)| Act::Lose(path, unseen)),
        3 => path().prop_map(Act::Return),
        2 => (0u64..3).prop_map(Act::Wait),
        1 => Just(Act::Kill),
    ]
}

/// A server with a session: its place in the stream, and what comes again.
struct Server {
    next: usize,
    again: VecDeque<usize>,
    up: bool,
    epoch: u32,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Both servers send the same stream, each at its own pace and with outages of any length, and
    /// send again what they have no acknowledgement of. What comes out is the stream, once and in
    /// order, as long as a path that is up is never behind by more than the window.
    #[test]
    fn the_stream_comes_out_once_and_in_order(
        stream in prop::collection::vec((0usize..3, 0u8..4), 1..120),
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut process = Process::start(BTreeMap::new(), clock::now());
        let mut servers: Vec<Server> = (0..2)
            .map(|_| Server { next: 0, again: VecDeque::new(), up: false, epoch: 0 })
            .collect();
        let mut out = Vec::new();
        let message = |(topic, payload): (usize, u8)| {
            publication(&format!("t/{topic}"), &payload.to_string())
        };
        let deliver = |process: &mut Process, server: &mut Server, path, out: &mut Vec<_>| {
            let (position, dup) = match server.again.pop_front() {
                Some(position) => (position, true),
                None if server.next < stream.len() => {
                    server.next += 1;
                    (server.next - 1, false)
                }
                None => return,
            };
            let receipt = receipt(path, server.epoch, position as u16 + 1);
            if let Verdict::First(_) = process.take(receipt, &message(stream[position]), dup) {
                out.push(stream[position]);
            }
            process.commit();
        };
        let bring_back = |process: &mut Process, server: &mut Server, path| {
            if !server.up {
                (server.up, server.epoch) = (true, server.epoch + 1);
                process.line.up(path, true);
            }
        };
        let lose = |process: &mut Process, server: &mut Server, path, unseen: usize| {
            if server.up {
                server.up = false;
                server.again = (server.next.saturating_sub(unseen)..server.next).collect();
                process.line.down(path);
            }
        };
        for act in acts {
            match act {
                Act::Deliver(path, count) if servers[index(path)].up => {
                    for _ in 0..count {
                        deliver(&mut process, &mut servers[index(path)], path, &mut out);
                    }
                }
                Act::Deliver(..) => {}
                Act::Lose(path, unseen) => lose(&mut process, &mut servers[index(path)], path, unseen),
                Act::Return(path) => bring_back(&mut process, &mut servers[index(path)], path),
                Act::Wait(hours) => {
                    // A path that is up does not stay behind for long.
                    for path in PathId::all() {
                        let behind = servers.iter().map(|server| server.next).max().unwrap_or(0);
                        while servers[index(path)].up
                            && (servers[index(path)].next < behind
                                || !servers[index(path)].again.is_empty())
                        {
                            deliver(&mut process, &mut servers[index(path)], path, &mut out);
                        }
                    }
                    process.line.now += Duration::from_secs(hours * 3600 + 1);
                }
                Act::Kill => {
                    for (path, server) in PathId::all().into_iter().zip(&mut servers) {
                        lose(&mut process, server, path, 3);
                    }
                    process = process.kill();
                }
            }
        }
        for path in PathId::all() {
            bring_back(&mut process, &mut servers[index(path)], path);
            while servers[index(path)].next < stream.len() || !servers[index(path)].again.is_empty() {
                deliver(&mut process, &mut servers[index(path)], path, &mut out);
            }
        }
        prop_assert_eq!(out, stream);
    }
}
