use proptest::prelude::*;

use super::*;
use crate::hub::status::PathId;

fn held(epoch: u32, packet_id: u16, qos: Qos, payload: &str) -> Held {
    Held {
        number: 0,
        arrivals: Arrivals::new(
            Receipt {
                path: PathId::FIRST,
                delivery: Delivery { epoch, packet_id, qos, stored: true, fingerprint: 0 },
            },
            now(),
        ),
        publication: Publication {
            topic: "t".into(),
            payload: payload.to_owned().into(),
            qos,
            retain: false,
            properties: None,
        },
        received: Timestamp::UNIX_EPOCH,
        dup: false,
    }
}

fn now() -> Instant {
    crate::clock::now()
}

/// Takes a message and shows it if that is its turn.
fn offer(confirmation: &mut Confirmation, message: Held, redelivers: bool) -> Taken {
    let taken = confirmation.take(message, redelivers);
    if let Taken::Show(held) = &taken {
        confirmation.show(held);
    }
    taken
}

#[test]
fn one_message_is_shown_at_a_time_and_only_its_own_id_confirms_it() {
    let mut station = Confirmation::default();
    assert_eq!(station.confirm(0), Err(Refused::Nothing));
    assert!(matches!(offer(&mut station, held(1, 5, Qos::AtLeastOnce, "a"), true), Taken::Show(_)));
    assert!(matches!(offer(&mut station, held(1, 0, Qos::AtMostOnce, "b"), true), Taken::Waits));
    assert!(station.next().is_none());
    assert_eq!(station.unconfirmed(), 2);
    for wrong in [0, 6, -5, 5 + (1 << 16)] {
        assert_eq!(station.confirm(wrong), Err(Refused::Expected(5)));
    }
    assert_eq!(
        station.confirm(5).map(|released| released.arrivals.first().delivery.packet_id),
        Ok(5)
    );
    let next = station.next().unwrap();
    station.show(&next);
    assert_eq!(next.publication.payload, "b");
    assert_eq!(station.confirm(5), Err(Refused::Expected(0)));
    assert!(station.confirm(0).is_ok());
    assert_eq!(station.unconfirmed(), 0);
}

#[test]
fn without_room_qos_0_is_dropped_and_the_rest_stays_with_a_server_that_sends_again() {
    for redelivers in [false, true] {
        let mut station = Confirmation { waiting_max: 1, ..Confirmation::default() };
        offer(&mut station, held(1, 1, Qos::AtLeastOnce, "a"), redelivers);
        offer(&mut station, held(1, 2, Qos::AtLeastOnce, "b"), redelivers);
        let mut full = |qos| offer(&mut station, held(1, 3, qos, "c"), redelivers);
        assert!(matches!(full(Qos::AtMostOnce), Taken::Dropped));
        assert_eq!(matches!(full(Qos::ExactlyOnce), Taken::Left(_)), redelivers);
        assert!(station.confirm(1).is_ok());
        assert!(!station.wants_redelivery());
        let next = station.next().unwrap();
        station.show(&next);
        // What comes behind one that was left is left too: the order is kept.
        let behind = offer(&mut station, held(1, 4, Qos::AtLeastOnce, "d"), redelivers);
        assert_eq!(matches!(behind, Taken::Left(_)), redelivers);
        assert!(station.confirm(2).is_ok());
        assert_eq!(station.wants_redelivery(), redelivers);
    }
}

#[test]
fn bytes_are_bounded_but_one_message_always_fits() {
    let mut station = Confirmation::default();
    let large = "x".repeat(WAITING_BYTES_MAX);
    offer(&mut station, held(1, 1, Qos::AtLeastOnce, "a"), true);
    let taken = offer(&mut station, held(1, 2, Qos::AtLeastOnce, &large), true);
    assert!(matches!(taken, Taken::Waits));
    let taken = offer(&mut station, held(1, 3, Qos::AtLeastOnce, "b"), true);
    assert!(matches!(taken, Taken::Left(_)));
}

#[test]
fn a_message_that_is_sent_again_while_it_is_shown_is_not_shown_again() {
    let mut station = Confirmation::default();
    offer(&mut station, held(1, 5, Qos::AtLeastOnce, "a"), true);
    offer(&mut station, held(1, 6, Qos::AtLeastOnce, "b"), true);
    station.session_resumed(PathId::FIRST, false);
    let again = offer(&mut station, held(2, 5, Qos::AtLeastOnce, "a"), true);
    assert!(matches!(again, Taken::Known));
    assert!(matches!(offer(&mut station, held(2, 6, Qos::AtLeastOnce, "b"), true), Taken::Waits));
    assert_eq!(station.unconfirmed(), 2);
    assert_eq!(station.confirm(5).map(|released| released.arrivals.first().delivery.epoch), Ok(2));
    // The same identifier with other content is another message.
    let mut station = Confirmation::default();
    offer(&mut station, held(1, 5, Qos::AtLeastOnce, "a"), true);
    assert!(matches!(offer(&mut station, held(2, 5, Qos::AtLeastOnce, "c"), true), Taken::Waits));
}

#[test]
fn a_station_that_is_switched_off_gives_everything_up_in_order() {
    let mut station = Confirmation::default();
    for id in 1..=3 {
        offer(&mut station, held(1, id, Qos::AtLeastOnce, "a"), true);
    }
    let ids: Vec<u16> =
        station.release().map(|released| released.arrivals.first().delivery.packet_id).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!((station.unconfirmed(), station.waiting_bytes), (0, 0));
}

#[test]
fn what_waits_too_long_is_overtaken_once_a_connection() {
    let mut station = Confirmation::default();
    offer(&mut station, held(1, 1, Qos::ExactlyOnce, "a"), true);
    offer(&mut station, held(1, 0, Qos::AtMostOnce, "b"), true);
    offer(&mut station, held(1, 2, Qos::AtLeastOnce, "c"), true);
    let early = now();
    let late = held(1, 3, Qos::AtLeastOnce, "d");
    let arrivals = Arrivals::new(late.arrivals.first(), early + std::time::Duration::from_secs(1));
    let late = Held { arrivals, ..late };
    offer(&mut station, late, true);
    let ids = |station: &mut Confirmation, before| -> Vec<u16> {
        station.overtake(before).iter().map(|receipt| receipt.delivery.packet_id).collect()
    };
    assert_eq!(ids(&mut station, early), [1, 2]);
    assert!(ids(&mut station, early).is_empty());
    // On the next connection the server sends those of QoS 1 again, as messages of their own.
    station.session_resumed(PathId::FIRST, false);
    assert_eq!(ids(&mut station, early), [1]);
}

#[test]
fn a_copy_is_acknowledged_with_its_message() {
    let mut station = Confirmation::default();
    let numbered = |number, id| Held { number, ..held(1, id, Qos::AtLeastOnce, "a") };
    let copy = |epoch, id| Receipt {
        path: PathId::SECOND,
        ..held(epoch, id, Qos::AtLeastOnce, "a").arrivals.first()
    };
    offer(&mut station, numbered(1, 5), true);
    offer(&mut station, numbered(2, 6), true);
    assert!(station.attach(now(), 1, copy(1, 50)));
    assert!(station.attach(now(), 2, copy(1, 60)));
    assert!(!station.attach(now(), 3, copy(1, 70)), "it is done with");
    // The second path is lost; its server sends them again.
    station.session_resumed(PathId::SECOND, true);
    assert!(station.attach(now(), 1, copy(2, 50)));
    let released = station.confirm(5).unwrap();
    let receipts: Vec<Receipt> = released.arrivals.receipts().collect();
    assert_eq!(receipts, [released.arrivals.first(), copy(2, 50)]);
    assert_eq!(station.unconfirmed(), 1);
    let next = station.next().unwrap();
    assert_eq!(next.arrivals.receipts().nth(1), Some(copy(1, 60)));
}

#[test]
fn both_arrivals_of_a_message_that_an_earlier_process_has_shown_are_acknowledged() {
    let mut station = Confirmation::default();
    let of = |path, id| Receipt { path, ..held(1, id, Qos::ExactlyOnce, "a").arrivals.first() };
    station.restore(now(), of(PathId::FIRST, 5));
    station.restore(now(), of(PathId::SECOND, 50));
    let released = station.confirm(5).unwrap();
    let receipts: Vec<Receipt> = released.arrivals.receipts().collect();
    assert_eq!(receipts, [of(PathId::FIRST, 5), of(PathId::SECOND, 50)]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(Qos),
    Confirm,
    Reconnect,
}

/// A server that keeps what is not acknowledged and sends it again on the next connection, and the
/// machine in between, which hands over a QoS 2 message again only after it was declined.
#[derive(Default)]
struct Server {
    epoch: u32,
    last_id: u16,
    /// Identifier, QoS, and whether the machine has it.
    kept: Vec<(u16, Qos, bool)>,
    shown: Vec<(u16, Qos)>,
    confirmed: Vec<u16>,
}

impl Server {
    fn deliver(&mut self, station: &mut Confirmation, id: u16, qos: Qos) {
        let message = held(self.epoch, id, qos, &id.to_string());
        match offer(station, message, true) {
            Taken::Show(_) => self.shown.push((id, qos)),
            Taken::Left(Receipt { delivery, .. }) => {
                assert_eq!(delivery.packet_id, id);
                self.kept.iter_mut().for_each(|kept| kept.2 &= kept.0 != id);
            }
            Taken::Waits | Taken::Known => {}
            Taken::Dropped => panic!("{id} is lost"),
        }
    }

    fn send(&mut self, station: &mut Confirmation, qos: Qos) {
        self.last_id += 1;
        self.kept.push((self.last_id, qos, true));
        self.deliver(station, self.last_id, qos);
    }

    fn confirm(&mut self, station: &mut Confirmation) {
        let Some(&(id, _)) = self.shown.last() else { return };
        let Ok(Released { arrivals, .. }) = station.confirm(i128::from(id)) else { return };
        let delivery = arrivals.first().delivery;
        // An acknowledgement for an earlier connection is inert at QoS 1; the server sends again.
        if delivery.qos == Qos::ExactlyOnce || delivery.epoch == self.epoch {
            self.kept.retain(|kept| kept.0 != id);
            self.confirmed.push(id);
        }
        if let Some(next) = station.next() {
            station.show(&next);
            self.shown.push((
                next.arrivals.first().delivery.packet_id,
                next.arrivals.first().delivery.qos,
            ));
        }
    }

    fn reconnect(&mut self, station: &mut Confirmation) {
        self.epoch += 1;
        station.session_resumed(PathId::FIRST, false);
        if let Some(next) = station.next() {
            station.show(&next);
            self.shown.push((
                next.arrivals.first().delivery.packet_id,
                next.arrivals.first().delivery.qos,
            ));
        }
        for (id, qos, known) in self.kept.clone() {
            if qos == Qos::ExactlyOnce && known {
                continue;
            }
            self.kept.iter_mut().filter(|kept| kept.0 == id).for_each(|kept| kept.2 = true);
            self.deliver(station, id, qos);
        }
    }
}

proptest! {
    /// Small room, connections that break, confirmations whenever: in the end every message was
    /// confirmed, and those of QoS 2 were shown once.
    #[test]
    fn nothing_is_lost(
        steps in proptest::collection::vec(
            prop_oneof![
                3 => Just(Step::Send(Qos::AtLeastOnce)),
                3 => Just(Step::Send(Qos::ExactlyOnce)),
                4 => Just(Step::Confirm),
                1 => Just(Step::Reconnect),
            ],
            0..80,
        ),
        waiting_max in 0..4_usize,
    ) {
        let mut station = Confirmation { waiting_max, ..Confirmation::default() };
        let mut server = Server::default();
        for step in steps {
            match step {
                Step::Send(qos) => server.send(&mut station, qos),
                Step::Confirm => server.confirm(&mut station),
                Step::Reconnect => server.reconnect(&mut station),
            }
        }
        for _ in 0..400 {
            server.confirm(&mut station);
            if station.unconfirmed() == 0 && !server.kept.is_empty() {
                prop_assert!(station.wants_redelivery());
                server.reconnect(&mut station);
            }
        }
        prop_assert!(server.kept.is_empty(), "still with the server: {:?}", server.kept);
        server.confirmed.sort_unstable();
        prop_assert_eq!(server.confirmed, (1..=server.last_id).collect::<Vec<_>>());
        let mut twice: Vec<u16> =
            server.shown.iter().filter(|(_, qos)| *qos == Qos::ExactlyOnce).map(|s| s.0).collect();
        let count = twice.len();
        twice.sort_unstable();
        twice.dedup();
        prop_assert_eq!(twice.len(), count, "a QoS 2 message was shown twice");
    }
}
