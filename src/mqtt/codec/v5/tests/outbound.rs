//! What we send, byte by byte.

use super::*;
use crate::mqtt::reason;

fn connect(properties: &ConnectProperties) -> Connect<'_> {
    Connect {
        client_id: "",
        clean_session: true,
        keep_alive: 0,
        session_expiry_s: 0,
        maximum_packet_size: 0,
        properties,
        authentication: None,
        will: None,
        user_name: None,
        password: None,
    }
}

#[test]
fn connect_with_nothing() {
    let properties = ConnectProperties::default();
    let bytes = encoded(Outbound::Connect(&connect(&properties)));
    assert_eq!(bytes, [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 0b10, 0, 0, 0, 0, 0]);
}

#[test]
fn connect_with_everything() {
    // Section 3.1, the flags of figure 3-3.
    let properties = ConnectProperties {
        session_expiry_s: 10,
        receive_maximum: Some(0x0102),
        topic_alias_maximum: 0x0304,
        user_properties: vec![("k".to_owned(), "v".to_owned())],
    };
    let mut message = publication("w/t", b"gone", 1);
    message.retain = true;
    message.properties = Some(Box::new(all_properties()));
    let will = Will { publication: message, delay_s: 5 };
    let authentication = Authentication {
        reason: Reason::default(),
        method: "SCRAM".to_owned(),
        data: Bytes::from_static(b"n,,"),
    };
    let connect = Connect {
        client_id: "id",
        clean_session: false,
        keep_alive: 300,
        session_expiry_s: 10,
        maximum_packet_size: 0x0010_0000,
        authentication: Some(&authentication),
        will: Some(&will),
        user_name: Some("user"),
        password: Some(b"pw"),
        ..connect(&properties)
    };
    let will_properties = [&[0x18, 0, 0, 0, 5][..], ALL_PROPERTIES].concat();
    let expected = packet(
        0x10,
        &[
            &[0, 4, b'M', b'Q', b'T', b'T', 5, 0b1110_1100, 1, 44],
            &[5 + 3 + 5 + 3 + 7 + 8 + 6],
            &[0x11, 0, 0, 0, 10],            // Session Expiry Interval
            &[0x21, 1, 2],                   // Receive Maximum
            &[0x27, 0, 0x10, 0, 0],          // Maximum Packet Size
            &[0x22, 3, 4],                   // Topic Alias Maximum
            &[0x26, 0, 1, b'k', 0, 1, b'v'], // User Property
            &[0x15, 0, 5, b'S', b'C', b'R', b'A', b'M'], // Authentication Method
            &[0x16, 0, 3, b'n', b',', b','], // Authentication Data
            &[0, 2, b'i', b'd'],             // client id
            &[will_properties.len() as u8],
            &will_properties,
            &[0, 3, b'w', b'/', b't', 0, 4, b'g', b'o', b'n', b'e'], // will topic and payload
            &[0, 4, b'u', b's', b'e', b'r', 0, 2, b'p', b'w'],
        ],
    );
    assert_eq!(encoded(Outbound::Connect(&connect)), expected);
}

#[test]
fn connect_flags_stand_for_what_follows() {
    let properties = ConnectProperties::default();
    let flags = |packet: &Connect<'_>| encoded(Outbound::Connect(packet))[9];
    assert_eq!(flags(&Connect { clean_session: false, ..connect(&properties) }), 0);
    assert_eq!(flags(&Connect { user_name: Some(""), ..connect(&properties) }), 0b1000_0010);
    // Section 3.1.2.9: a password without a user name, which MQTT 3.1.1 forbids.
    assert_eq!(flags(&Connect { password: Some(b"x"), ..connect(&properties) }), 0b0100_0010);
    for level in 0..=2 {
        for retain in [false, true] {
            let publication = Publication { retain, ..publication("t", b"", level) };
            let will = Will { publication, delay_s: 0 };
            let expected = 0b110 | level << 3 | u8::from(retain) << 5;
            assert_eq!(flags(&Connect { will: Some(&will), ..connect(&properties) }), expected);
        }
    }
}

#[test]
fn publish_at_each_qos() {
    let message = publication("a/b", b"x", 0);
    let outbound = |publication, packet_id, dup, alias| {
        encoded(Outbound::Publish { publication, packet_id, dup, alias })
    };
    assert_eq!(outbound(&message, 0, false, None), [0x30, 7, 0, 3, b'a', b'/', b'b', 0, b'x']);
    let message = Publication { retain: true, ..publication("a/b", b"", 1) };
    let expected = [0x33, 8, 0, 3, b'a', b'/', b'b', 0, 10, 0];
    assert_eq!(outbound(&message, 10, false, None), expected);
    let message = publication("a/b", b"", 2);
    let expected = [0x3c, 8, 0, 3, b'a', b'/', b'b', 0xff, 0, 0];
    assert_eq!(outbound(&message, 0xff00, true, None), expected);
}

#[test]
fn publish_names_its_topic_by_an_alias() {
    let message = publication("a/b", b"x", 0);
    let alias = |number, is_known| {
        let alias = Some(TopicAlias { number, is_known });
        encoded(Outbound::Publish { publication: &message, packet_id: 0, dup: false, alias })
    };
    let expected = [0x30, 10, 0, 3, b'a', b'/', b'b', 3, 0x23, 0, 1, b'x'];
    assert_eq!(alias(1, false), expected);
    assert_eq!(alias(0x0102, true), [0x30, 7, 0, 0, 3, 0x23, 1, 2, b'x']);
}

#[test]
fn publish_with_every_property() {
    let mut message = publication("t", b"!", 1);
    message.properties = Some(Box::new(all_properties()));
    let length = [ALL_PROPERTIES.len() as u8];
    let expected = packet(0x32, &[&[0, 1, b't', 0, 7], &length, ALL_PROPERTIES, b"!"]);
    let outbound =
        Outbound::Publish { publication: &message, packet_id: 7, dup: false, alias: None };
    assert_eq!(encoded(outbound), expected);
    // A subscription identifier is the server's to send (MQTT-3.3.4-6).
    let with_ids = PublishProperties { subscription_ids: vec![1], ..all_properties() };
    message.properties = Some(Box::new(with_ids));
    let outbound =
        Outbound::Publish { publication: &message, packet_id: 7, dup: false, alias: None };
    assert_eq!(encoded(outbound), expected);
}

#[test]
fn acknowledgements() {
    assert_eq!(encoded(Outbound::Puback(1)), [0x40, 2, 0, 1]);
    assert_eq!(encoded(Outbound::Pubrec(256)), [0x50, 2, 1, 0]);
    let success = reason::SUCCESS;
    let pubrel = |packet_id, reason| encoded(Outbound::Pubrel { packet_id, reason });
    assert_eq!(pubrel(0xff00, success), [0x62, 2, 0xff, 0]);
    assert_eq!(pubrel(2, 0x92), [0x62, 3, 0, 2, 0x92]);
    let pubcomp = |packet_id, reason| encoded(Outbound::Pubcomp { packet_id, reason });
    assert_eq!(pubcomp(65_535, success), [0x70, 2, 0xff, 0xff]);
    assert_eq!(pubcomp(3, 0x92), [0x70, 3, 0, 3, 0x92]);
    assert_eq!(encoded(Outbound::Pingreq), [0xc0, 0]);
}

#[test]
fn subscribe_and_unsubscribe() {
    // Figure 3-23 of section 3.8.3: a/b at QoS 1, c/d at QoS 2.
    let filters =
        [Subscription::new("a/b", Qos::AtLeastOnce), Subscription::new("c/d", Qos::ExactlyOnce)];
    assert_eq!(
        encoded(Outbound::Subscribe { packet_id: 10, filters: &filters }),
        [0x82, 15, 0, 10, 0, 0, 3, b'a', b'/', b'b', 1, 0, 3, b'c', b'/', b'd', 2]
    );
    let filters = ["a/b".to_owned(), "c/d".to_owned()];
    assert_eq!(
        encoded(Outbound::Unsubscribe { packet_id: 10, filters: &filters }),
        [0xa2, 13, 0, 10, 0, 0, 3, b'a', b'/', b'b', 0, 3, b'c', b'/', b'd']
    );
}

#[test]
fn subscription_options() {
    // Section 3.8.3.1: QoS in bits 0 and 1, No Local 2, Retain As Published 3, Retain Handling 4 and 5.
    let options = |filter: &str, no_local, retain_as_published, retain_handling| {
        let options = SubscribeOptions { no_local, retain_as_published, retain_handling };
        let filters = [Subscription { options, ..Subscription::new(filter, Qos::ExactlyOnce) }];
        *encoded(Outbound::Subscribe { packet_id: 1, filters: &filters }).last().unwrap()
    };
    assert_eq!(options("a", true, false, RetainHandling::Always), 0b0000_0110);
    assert_eq!(options("a", false, true, RetainHandling::IfAbsent), 0b0001_1010);
    assert_eq!(options("a", false, false, RetainHandling::Never), 0b0010_0010);
    // MQTT-3.8.3-4
    assert_eq!(options("$share/g/a", true, false, RetainHandling::Always), 0b0000_0010);
}

#[test]
fn disconnect_with_a_reason() {
    let disconnect = |reason, text| encoded(Outbound::Disconnect { reason, text });
    assert_eq!(disconnect(0, ""), [0xe0, 0]);
    assert_eq!(disconnect(0x82, ""), [0xe0, 1, 0x82]);
    assert_eq!(disconnect(0x81, "no"), [0xe0, 7, 0x81, 5, 0x1f, 0, 2, b'n', b'o']);
}

#[test]
fn auth() {
    let packet = |code, data: &'static [u8]| {
        let data = Bytes::from_static(data);
        let packet = Authentication { reason: Reason::new(code), method: "M".to_owned(), data };
        encoded(Outbound::Auth(&packet))
    };
    assert_eq!(packet(0x18, b"d"), [0xf0, 10, 0x18, 8, 0x15, 0, 1, b'M', 0x16, 0, 1, b'd']);
    assert_eq!(packet(0x19, b""), [0xf0, 6, 0x19, 4, 0x15, 0, 1, b'M']);
}

#[test]
fn what_cannot_be_said() {
    let long = "x".repeat(65_536);
    let none = ConnectProperties::default();
    let connect_error = |connect: &Connect<'_>| refused(Outbound::Connect(connect));
    let publish_error = |properties| {
        let properties = Some(Box::new(properties));
        let publication = Publication { properties, ..publication("t", b"", 0) };
        let outbound =
            Outbound::Publish { publication: &publication, packet_id: 0, dup: false, alias: None };
        refused(outbound)
    };
    let error = connect_error(&Connect { client_id: "a\0", ..connect(&none) });
    assert_eq!(error, Unsendable::Nul("client id"));
    let error = connect_error(&Connect { user_name: Some(&long), ..connect(&none) });
    assert_eq!(error, Unsendable::FieldTooLong("user name"));
    let error = connect_error(&Connect { password: Some(long.as_bytes()), ..connect(&none) });
    assert_eq!(error, Unsendable::FieldTooLong("password"));
    let will = Will { publication: publication("a/+", b"", 0), delay_s: 0 };
    let error = connect_error(&Connect { will: Some(&will), ..connect(&none) });
    assert!(matches!(error, Unsendable::WillTopic(_)));
    let user_properties = vec![("a\0".to_owned(), String::new())];
    let properties = ConnectProperties { user_properties, ..ConnectProperties::default() };
    let error = connect_error(&connect(&properties));
    assert_eq!(error, Unsendable::Nul("user property"));

    let none = PublishProperties::default;
    let content_type = Some(long.clone());
    let error = publish_error(PublishProperties { content_type, ..none() });
    assert_eq!(error, Unsendable::FieldTooLong("content type"));
    // MQTT-3.3.2-14
    let response_topic = Some("a/#".to_owned());
    let error = publish_error(PublishProperties { response_topic, ..none() });
    assert!(matches!(error, Unsendable::ResponseTopic(_)));
    let correlation_data = Some(Bytes::from(vec![0; 65_536]));
    let error = publish_error(PublishProperties { correlation_data, ..none() });
    assert_eq!(error, Unsendable::FieldTooLong("correlation data"));

    let filters = [Subscription::new(long.as_str(), Qos::AtMostOnce)];
    let error = refused(Outbound::Subscribe { packet_id: 1, filters: &filters });
    assert_eq!(error, Unsendable::FieldTooLong("topic filter"));
}
