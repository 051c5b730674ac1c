//! How many messages a second the MQTT client machine takes and gives, one core, no socket.
//!
//! `cargo bench --bench client`

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tagline::mqtt::{
    BytesProgress, Client, ClientOptions, Command, ConnectProperties, Credentials, Event, Input,
    Output, Publication, PublishToken, Session, Version,
};
use tagline::qos::Qos;

const TOPICS: usize = 1000;
const PAYLOAD_BYTES: usize = 90;
const ROUND: usize = 1_000_000;

fn main() {
    for round in 1..=3 {
        println!("round {round}");
        inbound("inbound QoS 0", 0x30);
        inbound("inbound QoS 1", 0x32);
        outbound("outbound QoS 0", Qos::AtMostOnce);
        outbound("outbound QoS 1", Qos::AtLeastOnce);
    }
}

fn client() -> Client {
    let options = ClientOptions {
        version: Version::V311,
        client_id: "bench".to_owned(),
        clean_session: true,
        keep_alive: 60,
        ping_interval: Some(Duration::from_secs(60)),
        reply_timeout: Some(Duration::from_secs(20)),
        will: None,
        subscriptions: vec![],
        publish_in_flight: 100,
        maximum_packet_size: 16 * 1024 * 1024,
        properties: ConnectProperties::default(),
        reconnect_min: Duration::from_secs(1),
        reconnect_max: Duration::from_secs(30),
        servers: 1,
        seed: 1,
    };
    let mut client = Client::new(options, Session::default());
    let now = Instant::now();
    client.handle_command(now, Command::Connect);
    while client.poll_output().is_some() {}
    client.handle_input(now, Input::Connected(Credentials::default()));
    while client.poll_output().is_some() {}
    client.handle_bytes(now, &mut BytesMut::from(&[0x20, 2, 0, 0][..]));
    while client.poll_output().is_some() {}
    assert!(client.is_up());
    client
}

/// Reads of 64 KiB, as a driver makes them; every message is acknowledged in the same turn.
fn inbound(name: &str, first: u8) {
    let mut packets = vec![];
    for number in 0..TOPICS {
        let topic = format!("site/building/station{number:04}/data");
        let id = if first == 0x30 { vec![] } else { (number as u16 + 1).to_be_bytes().to_vec() };
        let length = 2 + topic.len() + id.len() + PAYLOAD_BYTES;
        packets.extend([first, length as u8 | 0x80, (length >> 7) as u8]);
        packets.extend([0, topic.len() as u8]);
        packets.extend(topic.as_bytes());
        packets.extend(id);
        packets.extend(vec![b'7'; PAYLOAD_BYTES]);
    }
    let mut client = client();
    let mut buffer = BytesMut::new();
    let mut stream = packets.chunks(65_536).cycle();
    let (mut messages, mut sent) = (0, 0);
    let start = Instant::now();
    while messages < ROUND {
        buffer.extend_from_slice(stream.next().unwrap());
        let now = Instant::now();
        loop {
            let progress = client.handle_bytes(now, &mut buffer);
            while let Some(output) = client.poll_output() {
                match output {
                    Output::Event(Event::Message { delivery, .. }) => {
                        messages += 1;
                        client.handle_command(now, Command::Acknowledge(delivery));
                    }
                    Output::Transmit(bytes) => sent += bytes.len(),
                    _ => {}
                }
            }
            if progress == BytesProgress::NeedMore {
                break;
            }
        }
    }
    report(name, messages, start.elapsed());
    assert_eq!(sent, if first == 0x30 { 0 } else { messages * 4 });
}

/// QoS 1 is answered in batches of its window.
fn outbound(name: &str, qos: Qos) {
    let mut client = client();
    let payload = Bytes::from(vec![b'7'; PAYLOAD_BYTES]);
    let topics: Vec<std::sync::Arc<str>> =
        (0..TOPICS).map(|number| format!("site/building/station{number:04}/data").into()).collect();
    let mut completed = 0;
    let start = Instant::now();
    let mut number = 0;
    while completed < ROUND {
        let now = Instant::now();
        for _ in 0..100 {
            let publication = Publication {
                topic: topics[number % TOPICS].clone(),
                payload: payload.clone(),
                qos,
                retain: false,
                properties: None,
            };
            let (token, deadline) = (PublishToken(number as u64), now + Duration::from_secs(10));
            client.handle_command(
                now,
                Command::Publish { token, publication, deadline, expires: None },
            );
            number += 1;
        }
        let mut sent = BytesMut::new();
        while let Some(output) = client.poll_output() {
            if let Output::Transmit(bytes) = output {
                sent.extend_from_slice(&bytes);
            }
        }
        let mut acks = BytesMut::new();
        if qos != Qos::AtMostOnce {
            let packet_bytes = sent.len() / 100;
            for packet in sent.chunks(packet_bytes) {
                let id = packet_bytes - PAYLOAD_BYTES - 2;
                acks.extend_from_slice(&[0x40, 2, packet[id], packet[id + 1]]);
            }
        }
        client.handle_input(now, Input::Transmitted(sent.len()));
        client.handle_bytes(now, &mut acks);
        while let Some(output) = client.poll_output() {
            if let Output::Event(Event::Completed { .. }) = output {
                completed += 1;
            }
        }
    }
    report(name, completed, start.elapsed());
}

fn report(name: &str, messages: usize, elapsed: Duration) {
    let each = elapsed.as_nanos() as f64 / messages as f64;
    println!("{name}: {:.2} million a second, {each:.0} ns each", 1e3 / each);
}
