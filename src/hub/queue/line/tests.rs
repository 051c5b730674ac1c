use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::iotag::Timestamp;
use crate::qos::Qos;

fn message(bytes: usize) -> Arc<Message> {
    Arc::new(Message {
        topic: String::new(),
        payload: Bytes::from(vec![0; bytes]),
        qos: Qos::AtLeastOnce,
        retain: false,
        content_type: None,
        written: Timestamp::UNIX_EPOCH,
        expiry: None,
    })
}

fn entry(waits: Waits, deadline: Instant, expires: Option<Instant>) -> Entry {
    Entry { waits, message: message(1), deadline, expires }
}

const ONE: StationId = StationId(1);
const TWO: StationId = StationId(2);

#[test]
fn writes_leave_in_the_order_of_their_numbers_and_come_back_to_their_place() {
    let later = clock::now() + Duration::from_secs(60);
    let mut queue = LineQueue::default();
    queue.open();
    for (station, number) in [(ONE, 1), (TWO, 2), (ONE, 3)] {
        assert!(!queue.stores(station));
        queue.push(station, number, entry(Waits::Direct, later, None));
    }
    let (station, number, first) = queue.take().unwrap();
    assert_eq!((station, number), (ONE, 1));
    assert_eq!(queue.take().unwrap().1, 2);
    assert!(queue.is_waiting(TWO), "it was taken, and has not been given");
    queue.given(TWO, 2);
    assert!(!queue.is_waiting(TWO));
    queue.push(ONE, 1, first);
    assert_eq!(queue.take().unwrap().1, 1);
    assert_eq!(queue.take().unwrap().1, 3);
    assert!(queue.take().is_none());
}

#[test]
fn one_that_is_not_on_disk_holds_up_those_behind_it_and_no_other_station() {
    let later = clock::now() + Duration::from_secs(60);
    let mut queue = LineQueue::default();
    assert!(queue.stores(ONE), "the line is down");
    queue.push(ONE, 1, entry(Waits::Storing, later, None));
    queue.push(ONE, 2, entry(Waits::Storing, later, None));
    queue.push(TWO, 3, entry(Waits::Storing, later, None));
    queue.stored(ONE, 2);
    queue.stored(TWO, 3);
    queue.open();
    assert!(queue.stores(ONE), "earlier ones are queued");
    assert_eq!(queue.take().unwrap().1, 3);
    assert!(queue.take().is_none());
    queue.stored(ONE, 1);
    assert_eq!(queue.take().unwrap().1, 1);
    assert_eq!(queue.take().unwrap().1, 2);
}

#[test]
fn a_station_that_is_not_on_keeps_its_writes() {
    let later = clock::now() + Duration::from_secs(60);
    let mut queue = LineQueue::default();
    queue.hold(ONE, true);
    queue.push(ONE, 1, entry(Waits::Stored, later, None));
    queue.push(TWO, 2, entry(Waits::Stored, later, None));
    assert_eq!(queue.take().unwrap().1, 2);
    assert!(queue.take().is_none());
    queue.hold(ONE, false);
    assert_eq!(queue.take().unwrap().1, 1);
}

#[test]
fn time_stores_what_a_client_waits_for_and_drops_what_expires() {
    let now = clock::now();
    let at = |ms| now + Duration::from_millis(ms);
    let mut queue = LineQueue::default();
    queue.open();
    queue.push(ONE, 1, entry(Waits::Direct, at(10), Some(at(30))));
    queue.push(ONE, 2, entry(Waits::Direct, at(50), Some(at(20))));
    assert_eq!(queue.deadline(), Some(at(10)));
    assert_eq!(queue.take_due(at(9)), Due::default());
    assert_eq!(queue.take_due(at(10)).to_store, [(ONE, 1)]);
    assert!(queue.take().is_none(), "it is not on disk yet");
    assert_eq!(queue.take_due(at(20)).expired, [(ONE, 2)]);
    assert_eq!(queue.deadline(), None, "nobody may end it before the store has answered");
    queue.stored(ONE, 1);
    assert_eq!(queue.take_due(at(30)).expired, [(ONE, 1)]);
    assert!(queue.stations.is_empty() && queue.ready.is_empty() && queue.bytes == 0);
}

#[test]
fn bounds_hold_for_a_station_and_for_a_line() {
    let later = clock::now() + Duration::from_secs(60);
    let mut queue = LineQueue::default();
    for number in 0..QUEUED_WRITES_MAX as u64 {
        assert_eq!(queue.refuses(ONE, 1), None);
        queue.push(ONE, number, entry(Waits::Stored, later, None));
    }
    assert!(queue.refuses(ONE, 1).is_some());
    assert!(queue.refuses(TWO, QUEUED_BYTES_MAX + 1).is_some());
    assert_eq!(queue.refuses(TWO, QUEUED_BYTES_MAX), None);
    for station in 0..(QUEUED_BYTES_LINE_MAX / QUEUED_BYTES_MAX) as u32 {
        let message = message(QUEUED_BYTES_MAX - QUEUED_WRITES_MAX);
        let large = Entry { waits: Waits::Stored, message, deadline: later, expires: None };
        queue.push(StationId(100 + station), 1_000_000 + u64::from(station), large);
    }
    assert!(queue.refuses(TWO, QUEUED_BYTES_MAX).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u32),
    Take,
    PutBack,
    Give,
    Stored,
    Open(bool),
    Hold(u32, bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..3).prop_map(Step::Write),
        4 => Just(Step::Take),
        1 => Just(Step::PutBack),
        3 => Just(Step::Give),
        4 => Just(Step::Stored),
        1 => any::<bool>().prop_map(Step::Open),
        1 => (0u32..3, any::<bool>()).prop_map(|(station, held)| Step::Hold(station, held)),
        2 => (1u64..40).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, each station's writes are given in their order, each once, none before it is
    /// safe, and none after it has expired.
    #[test]
    fn order_is_kept_whatever_happens(steps in prop::collection::vec(step(), 1..120)) {
        let begin = clock::now();
        let (mut now, mut open, mut last) = (begin, false, 0u64);
        let mut queue = LineQueue::default();
        let mut storing: Vec<(StationId, u64)> = Vec::new();
        let mut taken: Vec<(StationId, u64, Entry)> = Vec::new();
        let mut given: Vec<(StationId, u64)> = Vec::new();
        let (mut written, mut expired) = (0, 0);
        for step in steps {
            match step {
                Step::Write(station) => {
                    let station = StationId(station);
                    last += 1;
                    written += 1;
                    let stores = queue.stores(station);
                    prop_assert!(stores || open);
                    let waits = if stores { Waits::Storing } else { Waits::Direct };
                    let deadline = now + Duration::from_millis(15);
                    let expires = (last % 3 != 0).then(|| now + Duration::from_millis(60));
                    queue.push(station, last, entry(waits, deadline, expires));
                    if stores {
                        storing.push((station, last));
                    }
                }
                Step::Take if open => {
                    let due = queue.take_due(now);
                    storing.extend(due.to_store);
                    expired += due.expired.len();
                    if let Some((station, number, entry)) = queue.take() {
                        prop_assert!(entry.waits != Waits::Storing);
                        prop_assert!(entry.expires.is_none_or(|expires| expires > now));
                        taken.push((station, number, entry));
                    }
                }
                Step::Take => {}
                // As a line does when its connection ends: all at once, stored first.
                Step::PutBack | Step::Open(false) => {
                    open = false;
                    storing.extend(queue.close());
                    for (station, number, mut entry) in taken.drain(..) {
                        if entry.waits == Waits::Direct {
                            entry.waits = Waits::Storing;
                            storing.push((station, number));
                        }
                        queue.push(station, number, entry);
                    }
                }
                Step::Open(true) => {
                    open = true;
                    queue.open();
                }
                Step::Give => {
                    if !taken.is_empty() {
                        let (station, number, _) = taken.remove(0);
                        queue.given(station, number);
                        given.push((station, number));
                    }
                }
                Step::Stored => {
                    if !storing.is_empty() {
                        let (station, number) = storing.remove(0);
                        queue.stored(station, number);
                    }
                }
                Step::Hold(station, held) => queue.hold(StationId(station), held),
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    let due = queue.take_due(now);
                    storing.extend(due.to_store);
                    expired += due.expired.len();
                }
            }
        }
        // All that is left goes out in the end.
        (0..3).for_each(|station| queue.hold(StationId(station), false));
        storing.drain(..).for_each(|(station, number)| queue.stored(station, number));
        given.extend(taken.drain(..).map(|(station, number, _)| (station, number)));
        given.iter().for_each(|(station, number)| queue.given(*station, *number));
        while let Some((station, number, _)) = queue.take() {
            queue.given(station, number);
            given.push((station, number));
        }
        for station in (0..3).map(StationId) {
            let own: Vec<u64> =
                given.iter().filter(|(of, _)| *of == station).map(|(_, number)| *number).collect();
            prop_assert!(own.is_sorted_by(|one, next| one < next), "{:?}: {:?}", station, own);
        }
        prop_assert_eq!(given.len() + expired, written);
        prop_assert!(queue.stations.is_empty() && queue.due.is_empty() && queue.bytes == 0);
    }
}
