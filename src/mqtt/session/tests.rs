use super::*;
use crate::mqtt::packet::PublishProperties;

fn publication(level: u8) -> Publication {
    Publication {
        topic: "site/valve".into(),
        payload: Bytes::from_static(&[0, 255, 1]),
        qos: Qos::from_level(level).unwrap(),
        retain: level == 2,
        properties: (level == 1).then(|| {
            Box::new(PublishProperties {
                content_type: Some("text/plain".to_owned()),
                message_expiry_s: Some(60),
                correlation_data: Some(Bytes::from_static(&[0, 1])),
                user_properties: vec![("a".to_owned(), "b".to_owned())],
                ..PublishProperties::default()
            })
        }),
    }
}

fn outgoing(order: u64, stage: Stage) -> Outgoing {
    let (record, sending) = (ChangeSeq(0), Sending::Idle);
    Outgoing {
        order,
        stage,
        record,
        left: false,
        is_resubmitted: false,
        is_unwanted: false,
        sending,
        waiter: None,
        fatal: 0,
        expires: None,
    }
}

fn records(changes: impl IntoIterator<Item = SessionChange>) -> Vec<(Vec<u8>, Vec<u8>)> {
    changes.into_iter().map(|change| (change.key, change.value.unwrap())).collect()
}

fn delivery(epoch: u32, packet_id: u16) -> Delivery {
    Delivery { epoch, packet_id, qos: Qos::ExactlyOnce, stored: true, fingerprint: 77 }
}

#[test]
fn a_session_is_restored_from_its_records() {
    let session =
        Session { client_id: Some("pumps".to_owned()), start_epoch: 3, ..Session::default() };
    let restored = Session::restore(records([
        received_change(&delivery(5, 700)),
        outgoing_change(9, &outgoing(4, Stage::Publish(publication(1)))),
        filter_change("a/#", Some(Qos::AtLeastOnce)),
        outgoing_change(2, &outgoing(7, Stage::Publish(publication(2)))),
        outgoing_change(3, &outgoing(6, Stage::Release)),
        outgoing_change(5, &outgoing(3, Stage::GivenUp)),
        filter_change("b/+", None),
        session.meta_change(),
    ]))
    .unwrap();
    assert_eq!(restored.client_id.as_deref(), Some("pumps"));
    assert_eq!((restored.start_epoch, restored.last_epoch), (3, 5));
    assert_eq!(restored.in_order(), [5, 9, 3, 2]);
    let received = Received { epoch: 5, settled: true, released: false, fingerprint: 77 };
    assert_eq!(restored.received[&700], received);
    assert_eq!(restored.filters["a/#"], Some(Qos::AtLeastOnce));
    assert_eq!(restored.filters["b/+"], None);
    let messages: Vec<_> =
        restored.unfinished().into_iter().map(|unfinished| unfinished.publication).collect();
    assert_eq!(messages, [Some(publication(1)), None, Some(publication(2))]);
    assert!(restored.outgoing.values().all(|outgoing| outgoing.left));
}

#[test]
fn received_ids_of_an_older_session_are_stale() {
    let session = Session { client_id: Some(String::new()), start_epoch: 4, ..Session::default() };
    let restored = Session::restore(records([
        session.meta_change(),
        received_change(&delivery(3, 1)),
        received_change(&delivery(4, 2)),
        received_change(&delivery(6, 3)),
        received_change(&delivery(5, 3)),
    ]))
    .unwrap();
    assert_eq!(restored.received.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(restored.received[&3].epoch, 6);
    assert_eq!(restored.stale, [received_key(3, 1), received_key(5, 3)]);
    assert_eq!(restored.last_epoch, 6);
}

#[test]
fn a_record_that_makes_no_sense_is_named() {
    for (key, value) in [
        (&b"x"[..], &b""[..]),
        (b"m", b""),
        (b"m", b"\x02\0\0\0\0a"),
        (b"m", b"\x01\0\0\0\0\xff"),
        (b"o\0\x01", b""),
        (b"o\0\0", b"\0\0\0\0\0\0\0\x01\x03"),
        (b"o\0\x01", b"\0\0\0\0\0\0\0\x01\x05"),
        (b"o\0\x01", b"\0\0\0\0\0\0\0\x01\x04\0"),
        (b"o\0\x01", b"\0\0\0\0\0\0\0\x01\x01\0\0\x05abc"),
        (b"r\0\0\0\x01", b"\x01"),
        (b"sa", b"\x03"),
        (b"s\xff", b"\x01"),
        (b"", b""),
    ] {
        let error = Session::restore([(key.to_vec(), value.to_vec())]).unwrap_err();
        assert!(error.contains(&hex(key)), "{error}");
    }
}

#[test]
fn ids_come_from_absence() {
    let mut session = Session::default();
    session.outgoing.insert(1, outgoing(1, Stage::Release));
    session.outgoing.insert(3, outgoing(2, Stage::Release));
    assert_eq!(session.free_id(|id| id == 2), Some(4));
    session.last_id = u16::MAX;
    assert_eq!(session.free_id(|id| id == 2), Some(4));
    assert_eq!(session.free_id(|_| true), None);
}
