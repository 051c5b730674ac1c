use proptest::prelude::*;

use super::*;
use crate::cli::demo::broker::Broker;

#[test]
fn frames_are_cut_where_they_end() {
    let mut buffer = BytesMut::from(&[0x40, 2, 0, 1, 0xd0, 0, 0x40, 2, 0][..]);
    assert_eq!(take_frame(&mut buffer), Ok(Some(Bytes::from_static(&[0x40, 2, 0, 1]))));
    assert_eq!(take_frame(&mut buffer), Ok(Some(Bytes::from_static(&[0xd0, 0]))));
    assert_eq!(take_frame(&mut buffer), Ok(None));
    assert_eq!(&buffer[..], &[0x40, 2, 0]);
}

#[test]
fn oversized_and_endless_lengths_are_refused() {
    assert!(take_frame(&mut BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..])).is_err());
    assert!(take_frame(&mut BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0xff][..])).is_err());
}

#[test]
fn short_bodies_are_refused() {
    for frame in [&[0x40, 0][..], &[0x20, 0], &[0x20, 1, 0], &[0x30, 2, 0, 9], &[0x32, 3, 0, 1, 97]]
    {
        assert!(decode(&Bytes::copy_from_slice(frame)).is_err(), "{frame:02x?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(frame)) = take_frame(&mut buffer) {
            let _ = decode(&frame);
        }
    }

    #[test]
    fn no_short_packet_panics(first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut frame = vec![first, body.len() as u8];
        frame.extend(body);
        let _ = decode(&Bytes::from(frame));
    }

    #[test]
    fn packets_survive_the_wire(topic in "[a-z/]{1,20}", payload in "[a-z]{0,300}", id in 1_u16..) {
        let pid = Pid::try_from(id).unwrap();
        let packet = Packet::Publish(Publish {
            dup: false,
            qospid: QosPid::ExactlyOnce(pid),
            retain: true,
            topic_name: &topic,
            payload: payload.as_bytes(),
        });
        let mut buffer = vec![0; encoded_bytes_max(&packet)];
        let length = encode_slice(&packet, &mut buffer).unwrap();
        let mut inbound = BytesMut::from(&buffer[..length]);
        let frame = take_frame(&mut inbound).unwrap().unwrap();
        prop_assert_eq!(decode(&frame), Ok(packet));
        prop_assert!(inbound.is_empty());
    }
}

/// A second client, as the driver would be.
struct Observer {
    wire: Wire,
}

impl Observer {
    async fn start(port: u16, qos: QoS) -> Self {
        let mut wire = Wire::open(port).await.unwrap();
        wire.send(&Packet::Connect(Connect {
            protocol: Protocol::MQTT311,
            keep_alive: 30,
            client_id: "observer",
            clean_session: true,
            last_will: None,
            username: None,
            password: None,
        }))
        .await
        .unwrap();
        let topics = vec![SubscribeTopic { topic_path: "#".to_owned(), qos }];
        wire.send(&Packet::Subscribe(Subscribe { pid: Pid::new(), topics })).await.unwrap();
        Self { wire }
    }

    /// Topic and payload of the next message.
    async fn message(&mut self) -> (String, String) {
        loop {
            let frame = self.wire.frame().await.unwrap();
            match decode(&frame).unwrap() {
                Packet::Publish(publish) => {
                    let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                    let message = (publish.topic_name.to_owned(), payload);
                    match publish.qospid {
                        QosPid::AtMostOnce => {}
                        QosPid::AtLeastOnce(pid) => {
                            self.wire.send(&Packet::Puback(pid)).await.unwrap();
                        }
                        QosPid::ExactlyOnce(pid) => {
                            self.wire.send(&Packet::Pubrec(pid)).await.unwrap();
                        }
                    }
                    return message;
                }
                Packet::Pubrel(pid) => self.wire.send(&Packet::Pubcomp(pid)).await.unwrap(),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn every_device_is_heard_and_takes_commands() {
    let broker = Broker::start().unwrap();
    let mut observer = Observer::start(broker.port(), QoS::ExactlyOnce).await;
    let plant = Plant::start(broker.port(), 1);

    let wall = clock::wall();
    let mut expected = Device::ALL
        .into_iter()
        .flat_map(|device| device.messages(Moment { seed: 1, step: 0, wall }, None))
        .map(|message| message.topic)
        .collect::<std::collections::BTreeSet<_>>();
    while !expected.is_empty() {
        let (topic, _) = observer.message().await;
        expected.remove(&topic);
    }

    observer
        .wire
        .send(&Packet::Publish(Publish {
            dup: false,
            qospid: QosPid::ExactlyOnce(Pid::try_from(9).unwrap()),
            retain: false,
            topic_name: "waterworks/pump1/set",
            payload: b"777",
        }))
        .await
        .unwrap();
    observer.wire.send(&Packet::Pubrel(Pid::try_from(9).unwrap())).await.unwrap();
    loop {
        let (topic, payload) = observer.message().await;
        if topic == "waterworks/pump1/data" && payload.contains("\"setpoint\":777.0") {
            break;
        }
    }
    plant.stop().await;
    broker.stop();
}

#[tokio::test]
async fn the_broker_closes_port_and_connections_when_stopped() {
    let broker = Broker::start().unwrap();
    let port = broker.port();
    let mut observer = Observer::start(port, QoS::AtMostOnce).await;
    for _ in 0..2 {
        observer.wire.frame().await.unwrap();
    }
    broker.stop();
    assert!(observer.wire.frame().await.is_err());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let again = Broker::start().unwrap();
    drop(again);
}

#[tokio::test]
async fn the_broker_takes_large_payloads_and_keeps_retained_ones() {
    let broker = Broker::start().unwrap();
    let mut sender = Observer::start(broker.port(), QoS::AtLeastOnce).await;
    let payload = vec![b'x'; 200_000];
    sender
        .wire
        .send(&Packet::Publish(Publish {
            dup: false,
            qospid: QosPid::AtLeastOnce(Pid::try_from(3).unwrap()),
            retain: true,
            topic_name: "large",
            payload: &payload,
        }))
        .await
        .unwrap();
    assert_eq!(sender.message().await.1.len(), payload.len());
    drop(sender);
    let mut later = Observer::start(broker.port(), QoS::AtLeastOnce).await;
    assert_eq!(later.message().await.1.len(), payload.len());
}
