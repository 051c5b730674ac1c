//! One PUBLISH from bytes to tag values and to its PUBACK, without a socket, a store or a clock.
//!
//! This is the journey of `docs/architecture.md` in eighty lines; the driver does the same with real
//! bytes, and with a disk between the values and the acknowledgement.
//!
//!     cargo run --example one_publish

use std::time::{Duration, Instant};

use bytes::BytesMut;
use tagline::config;
use tagline::iotag::mapping::{InMessage, StationPlan};
use tagline::iotag::router::Router;
use tagline::iotag::{StationId, TagId, Timestamp};
use tagline::mqtt::{
    Client, ClientOptions, Command, ConnectProperties, Credentials, Event, Input, Output, Session,
    Subscription, Version,
};
use tagline::qos::Qos;

#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example")]
fn main() {
    // The shipped configuration: stations, their addresses, their tags.
    let config = config::load(env!("CARGO_MANIFEST_DIR").as_ref()).expect("it is shipped");
    let stations = || (0u32..).zip(&config.stations);
    let mut router =
        Router::compile(stations().map(|(id, station)| (StationId(id), &station.address)));

    // The client machine wants a connection, and gets one.
    let now = Instant::now();
    let mut client = Client::new(options(), Session::default());
    client.handle_command(now, Command::Connect);
    while client.poll_output().is_some() {}
    client.handle_input(now, Input::Connected(Credentials::default()));
    print_outputs(&mut client);

    // CONNACK, SUBACK, and a PUBLISH at QoS 1 with packet identifier 7, as a broker sends them.
    let topic = "waterworks/pump1/data";
    let payload = r#"{"t":"2026-11-20T10:00:00Z","speed":1450.5,"flow":181.7,"running":true}"#;
    let length = 2 + topic.len() + 2 + payload.len();
    let mut bytes = BytesMut::from(&[0x20, 2, 0, 0, 0x90, 3, 0, 1, 1, 0x32, length as u8, 0][..]);
    bytes.extend_from_slice(&[topic.len() as u8]);
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&[0, 7]);
    bytes.extend_from_slice(payload.as_bytes());
    client.handle_bytes(now, &mut bytes);

    let outputs: Vec<Output> = std::iter::from_fn(|| client.poll_output()).collect();
    for output in outputs {
        let Output::Event(Event::Message { delivery, publication, .. }) = output else { continue };
        // Topic to station, once and for all.
        let id = router.route(&publication.topic).expect("pump1 takes it");
        let station = &config.stations[id.0 as usize];
        println!("{} goes to station {}", publication.topic, station.name);

        // Payload to tags: the plan walks it once, however many tags there are.
        let tags = (0u32..).zip(&config.tags).map(|(tag, settings)| (TagId(tag), settings));
        let plan = StationPlan::compile(station, tags.filter(|(_, tag)| tag.station == id));
        let message = InMessage {
            topic: &publication.topic,
            payload: &publication.payload,
            packet_id: delivery.packet_id,
            content_type: None,
            received: Timestamp::UNIX_EPOCH,
        };
        let mut updates = Vec::new();
        plan.map(&message, &mut updates);
        for update in &updates {
            let name = &config.tags[update.tag.0 as usize].name;
            println!(
                "  {name}: {:?}, {} {}, {}",
                update.value, update.quality, update.reason, update.time
            );
        }
        // Here the driver commits values and session to the disk. Then, and only then:
        client.handle_command(now, Command::Acknowledge(delivery));
    }
    print_outputs(&mut client);
}

#[expect(clippy::print_stdout, reason = "an example")]
fn print_outputs(client: &mut Client) {
    while let Some(output) = client.poll_output() {
        if let Output::Transmit(bytes) = output {
            println!("to the broker: {bytes:02x?}");
        }
    }
}

fn options() -> ClientOptions {
    ClientOptions {
        version: Version::V311,
        client_id: "one-publish".into(),
        clean_session: true,
        keep_alive: 0,
        ping_interval: None,
        reply_timeout: None,
        will: None,
        subscriptions: vec![Subscription::new("#", Qos::AtLeastOnce)],
        publish_in_flight: 0,
        maximum_packet_size: 1 << 20,
        properties: ConnectProperties::default(),
        reconnect_min: Duration::from_secs(1),
        reconnect_max: Duration::from_secs(30),
        servers: 1,
        seed: 1,
    }
}
