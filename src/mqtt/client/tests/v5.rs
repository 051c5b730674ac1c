//! What MQTT 5.0 adds. Bytes are typed from its specification.

use super::*;
use crate::mqtt::packet::{PublishProperties, Will};

mod authentication;
mod expiry;
mod limits;
mod session;

/// CONNACK that grants everything.
const CONNACK_5: &[u8] = &[0x20, 3, 0, 0, 0];
const CONNACK_5_PRESENT: &[u8] = &[0x20, 3, 1, 0, 0];

fn options_5() -> ClientOptions {
    let properties = ConnectProperties { receive_maximum: Some(10), ..Default::default() };
    ClientOptions { version: Version::V5, properties, ..options() }
}

fn persistent_5() -> ClientOptions {
    let mut options = ClientOptions { clean_session: false, ..options_5() };
    options.properties.session_expiry_s = 3600;
    options
}

/// A PUBLISH of topic `t` and payload `1`.
fn publish_5(first: u8, packet_id: u16) -> Vec<u8> {
    let mut bytes = vec![first, 5, 0, 1, b't', 0, b'1'];
    if first & 0b110 != 0 {
        bytes[1] = 7;
        bytes.splice(5..5, packet_id.to_be_bytes());
    }
    bytes
}

/// CONNACK with these properties.
fn connack(properties: &[u8]) -> Vec<u8> {
    let length = properties.len() as u8;
    [&[0x20, 3 + length, 0, 0, length], properties].concat()
}

impl Harness {
    /// A client that is up with these properties of CONNACK.
    fn up_5(options: ClientOptions, properties: &[u8]) -> Self {
        let mut harness = Self::new(options);
        harness.connect();
        harness.receive(&connack(properties));
        assert!(harness.client.is_up(), "{}", harness.cause());
        harness.durable();
        harness.transmitted();
        harness.forget();
        harness
    }

    /// Up, and all that follows is durable at once.
    fn publish_5(&mut self, token: u64, topic: &str, level: u8) {
        self.publish(token, topic, level);
        self.durable();
        self.transmitted();
    }

    /// What was sent ends with DISCONNECT of this reason, and the connection is closed.
    fn assert_disconnects(&mut self, reason: u8) {
        let sent = self.take_sent();
        let disconnect = sent.iter().rposition(|&byte| byte == 0xe0).map(|at| &sent[at..]);
        let disconnect = disconnect.unwrap_or_else(|| panic!("{sent:02x?}"));
        assert_eq!(disconnect[2], reason, "{sent:02x?}");
        assert_eq!(usize::from(disconnect[1]) + 2, disconnect.len());
        assert_eq!(self.closes, 1);
        assert!(!self.client.is_up());
    }

    fn last_outcome(&mut self) -> PublishOutcome {
        self.outcomes().pop().expect("an outcome").1
    }
}

#[test]
fn connect_carries_the_configuration() {
    let mut options = persistent_5();
    options.properties.topic_alias_maximum = 7;
    options.properties.user_properties = vec![("a".to_owned(), "b".to_owned())];
    options.maximum_packet_size = 0x1000;
    options.keep_alive = 60;
    let mut message = publication("gone", 1);
    message.properties =
        Some(Box::new(PublishProperties { payload_is_text: Some(true), ..Default::default() }));
    options.will = Some(Will { publication: message, delay_s: 9 });
    let mut harness = Harness::new(options);
    harness.connect();
    let expected = [
        &[0x10, 62, 0, 4, b'M', b'Q', b'T', b'T', 5, 0b0000_1100, 0, 60][..],
        &[23, 0x11, 0, 0, 14, 16, 0x21, 0, 10, 0x27, 0, 0, 16, 0, 0x22, 0, 7],
        &[0x26, 0, 1, b'a', 0, 1, b'b'],
        &[0, 5, b'p', b'u', b'm', b'p', b's'],
        &[7, 0x18, 0, 0, 0, 9, 0x01, 1],
        &[0, 4, b'g', b'o', b'n', b'e', 0, 1, b'1'],
    ]
    .concat();
    assert_eq!(harness.take_sent()[2..], expected[2..]);
}

#[test]
fn a_clean_session_has_no_expiry() {
    let mut harness = Harness::new(ClientOptions { clean_session: true, ..persistent_5() });
    harness.connect();
    let sent = harness.take_sent();
    assert_eq!(sent[9], 0b10);
    assert_eq!(sent[12..16], [8, 0x21, 0, 10]);
}

#[test]
fn refusals_are_told_in_words_and_answered_by_nothing() {
    for (bytes, words) in [
        (&[0x20, 3, 0, 0x87, 0][..], "not authorized"),
        (&[0x20, 3, 0, 0x86, 0], "wrong user name or password"),
        (&[0x20, 3, 0, 0x8a, 0], "refused the connection: banned (CONNACK reason 0x8a, 138)"),
        (&[0x20, 7, 0, 0x97, 4, 0x1f, 0, 1, b'x'], "quota exceeded (CONNACK reason 0x97, 151): x"),
        (&[0x20, 2, 0, 1], "speaks MQTT 3.1.1 only: set `mqtt_version = \"3.1.1\"`"),
        (&[0x20, 2, 0, 0], "speaks MQTT 3.1.1 only"),
        (&[0x20, 3, 0, 0x84, 0], "speaks MQTT 3.1.1 only"),
    ] {
        let mut harness = Harness::new(options_5());
        harness.connect();
        harness.take_sent();
        harness.receive(bytes);
        assert!(harness.cause().contains(words), "{}", harness.cause());
        assert_eq!((harness.closes, harness.take_sent().len()), (1, 0));
        harness.wait_for_connect();
    }
}

#[test]
fn the_servers_disconnect_is_told_and_answered_by_nothing() {
    for (bytes, words) in [
        (&[0xe0, 0][..], "the server disconnected: success (0x00)"),
        (&[0xe0, 1, 0x8b], "server shutting down (0x8b)"),
        (&[0xe0, 1, 0x8e], "session taken over (0x8e); another client has connected"),
        (&[0xe0, 6, 0x98, 4, 0x1f, 0, 1, b'!'], "administrative action (0x98): !"),
    ] {
        let mut harness = Harness::up_5(options_5(), &[]);
        harness.receive(&[bytes, &publish_5(0x30, 0)].concat());
        assert!(harness.cause().contains(words), "{}", harness.cause());
        assert_eq!((harness.closes, harness.take_sent().len()), (1, 0));
        assert!(harness.deliveries().is_empty());
        harness.wait_for_connect();
    }
}

#[test]
fn faults_are_told_to_the_server_by_their_reason() {
    for (bytes, reason) in [
        (&[0x36, 7, 0, 1, b't', 0, 1, 0, b'1'][..], 0x81), // QoS 3
        (&[0x31, 5, 0, 1, 0xff, 0, b'1'], 0x81),           // ill-formed UTF-8
        (&[0x20, 3, 0, 0, 0], 0x82),                       // a second CONNACK
        (&[0xc0, 0], 0x82),                                // only a client pings
        (&[0xf0, 6, 0x18, 4, 0x15, 0, 1, b'M'], 0x82),     // AUTH that was not asked for
        (&[0x30, 8, 0, 1, b't', 3, 0x23, 0, 0, b'1'], 0x94), // topic alias 0
        (&[0x30, 8, 0, 1, b't', 3, 0x23, 0, 1, b'1'], 0x94), // topic alias above 0
        (&[0x30, 0xff, 0xff, 0x7f], 0x95),                 // too large
    ] {
        let mut harness =
            Harness::up_5(ClientOptions { maximum_packet_size: 1000, ..options_5() }, &[]);
        harness.receive(bytes);
        harness.assert_disconnects(reason);
        harness.wait_for_connect();
    }
}

#[test]
fn the_words_of_a_disconnect_are_left_out_where_they_do_not_fit() {
    let mut harness = Harness::up_5(options_5(), &[]);
    harness.receive(&[0xc0, 0]);
    assert!(harness.take_sent().len() > 20);
    let mut harness = Harness::up_5(options_5(), &[0x27, 0, 0, 0, 20]);
    harness.receive(&[0xc0, 0]);
    assert_eq!(harness.take_sent(), [0xe0, 1, 0x82]);
    // Before CONNACK the server has not said how much it takes.
    let mut harness = Harness::new(options_5());
    harness.connect();
    harness.take_sent();
    harness.receive(&publish_5(0x30, 0));
    assert_eq!(harness.take_sent(), [0xe0, 1, 0x82]);
}

#[test]
fn a_normal_end_has_no_reason() {
    let mut harness = Harness::up_5(options_5(), &[]);
    harness.command(Command::Disconnect);
    assert_eq!(harness.take_sent(), [0xe0, 0]);
}

#[test]
fn what_a_message_carries_reaches_the_driver() {
    let mut harness = Harness::up_5(options_5(), &[]);
    let properties = [
        &[0x01, 1, 0x02, 0, 0, 0, 60, 0x03, 0, 1, b'j', 0x08, 0, 1, b'r'][..],
        &[0x09, 0, 1, 9, 0x0b, 1, 0x0b, 2, 0x26, 0, 1, b'a', 0, 1, b'b'],
    ]
    .concat();
    let length = properties.len() as u8;
    let bytes = [&[0x30, 5 + length, 0, 1, b't', length], &properties[..], b"1"].concat();
    harness.receive(&bytes);
    let Some(Event::Message { publication, .. }) = harness.events.pop() else { panic!() };
    assert_eq!(publication.content_type(), Some("j"));
    let properties = publication.properties.unwrap();
    assert_eq!(properties.message_expiry_s, Some(60));
    assert_eq!(properties.response_topic.as_deref(), Some("r"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&[9][..]));
    assert_eq!(properties.subscription_ids, [1, 2]);
    assert_eq!(properties.user_properties, [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn an_assigned_client_id_is_kept_for_the_process() {
    let options = ClientOptions { client_id: String::new(), ..persistent_5() };
    let mut harness = Harness::new(options);
    harness.connect();
    assert!(harness.take_sent().ends_with(&[0, 0]));
    harness.receive(&connack(&[0x12, 0, 3, b'x', b'y', b'z']));
    assert!(harness.has_notice("assigned the client id `xyz`"));
    harness.lose();
    harness.wait_for_connect();
    harness.forget();
    harness.opened();
    assert!(harness.take_sent().ends_with(&[0, 3, b'x', b'y', b'z']));
    // A server that does not like it is asked for another.
    harness.receive(&[0x20, 3, 0, 0x85, 0]);
    assert!(harness.cause().contains("`xyz`"), "{}", harness.cause());
    harness.wait_for_connect();
    harness.forget();
    harness.opened();
    assert!(harness.take_sent().ends_with(&[0, 0]));
}

#[test]
fn a_referral_is_followed() {
    let refused = [&[0x20, 11, 0, 0x9c, 8, 0x1c, 0, 5][..], b"b:188"].concat();
    let mut harness = Harness::new(ClientOptions { servers: 2, ..options_5() });
    harness.connect();
    harness.receive(&refused);
    let before = harness.referred.len();
    while harness.referred.len() == before {
        harness.now = harness.client.deadline().expect("another attempt");
        harness.input(Input::Timeout);
    }
    assert_eq!(harness.referred, [Referred { host: "b".to_owned(), port: Some(188), by: 0 }]);
    harness.opened();
    harness.receive(CONNACK_5);
    // It moves on in its turn, without a name: the list is walked on.
    harness.receive(&[0xe0, 1, 0x9d]);
    harness.wait_for_connect();
    assert_eq!(harness.connects, [0, 0]);
    // A reference with another reason means nothing.
    harness.opened();
    harness.receive(&[0xe0, 6, 0x8b, 4, 0x1c, 0, 1, b'c']);
    harness.wait_for_connect();
    assert_eq!((harness.connects.as_slice(), harness.referred.len()), (&[0, 0, 1][..], 1));
}
