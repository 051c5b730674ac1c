//! Every packet that a client may send, chapter 3.
//!
//! What is written goes through a [`Sink`], so that lengths are counted by the code that writes.

use bytes::{BufMut, BytesMut};

use super::property::Property;
use crate::mqtt::bounds::BODY_BYTES_MAX;
use crate::mqtt::error::Unsendable;
use crate::mqtt::frame;
use crate::mqtt::packet::{
    Authentication, Connect, Outbound, Publication, PublishProperties, Subscription, TopicAlias,
    Will,
};
use crate::mqtt::reason;
use crate::qos::Qos;
use crate::topic;

/// Takes bytes, or only counts them.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Count(usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Appends a packet to `buffer`; on an error the buffer is as it was.
pub(in crate::mqtt::codec) fn encode(
    packet: Outbound<'_>,
    buffer: &mut BytesMut,
) -> Result<(), Unsendable> {
    check(&packet)?;
    let body_bytes = body_bytes(&packet);
    if body_bytes > BODY_BYTES_MAX {
        return Err(Unsendable::TooLarge(frame::packet_bytes(body_bytes), BODY_BYTES_MAX + 5));
    }
    buffer.reserve(frame::packet_bytes(body_bytes));
    buffer.put_u8(first(&packet));
    variable(buffer, body_bytes);
    body(&packet, buffer);
    Ok(())
}

/// Size of a packet with its header.
pub(in crate::mqtt::codec) fn packet_bytes(packet: Outbound<'_>) -> usize {
    frame::packet_bytes(body_bytes(&packet))
}

fn body_bytes(packet: &Outbound<'_>) -> usize {
    let mut count = Count(0);
    body(packet, &mut count);
    count.0
}

/// Section 2.1.2 and 2.1.3.
fn first(packet: &Outbound<'_>) -> u8 {
    match packet {
        Outbound::Connect(_) => 0x10,
        Outbound::Publish { publication, dup, .. } => {
            let retain = u8::from(publication.retain);
            0x30 | u8::from(*dup) << 3 | publication.qos.level() << 1 | retain
        }
        Outbound::Puback(_) => 0x40,
        Outbound::Pubrec(_) => 0x50,
        Outbound::Pubrel { .. } => 0x62,
        Outbound::Pubcomp { .. } => 0x70,
        Outbound::Subscribe { .. } => 0x82,
        Outbound::Unsubscribe { .. } => 0xa2,
        Outbound::Pingreq => 0xc0,
        Outbound::Disconnect { .. } => 0xe0,
        Outbound::Auth(_) => 0xf0,
    }
}

fn body(packet: &Outbound<'_>, out: &mut dyn Sink) {
    match *packet {
        Outbound::Connect(packet) => connect(out, packet),
        Outbound::Publish { publication, packet_id, alias, .. } => {
            publish(out, publication, packet_id, alias);
        }
        Outbound::Puback(packet_id) | Outbound::Pubrec(packet_id) => {
            out.put(&packet_id.to_be_bytes());
        }
        Outbound::Pubrel { packet_id, reason } | Outbound::Pubcomp { packet_id, reason } => {
            out.put(&packet_id.to_be_bytes());
            if reason != reason::SUCCESS {
                out.put(&[reason]);
            }
        }
        Outbound::Subscribe { packet_id, filters } => {
            out.put(&packet_id.to_be_bytes());
            out.put(&[0]);
            for subscription in filters {
                text(out, &subscription.filter);
                out.put(&[subscription_options(subscription)]);
            }
        }
        Outbound::Unsubscribe { packet_id, filters } => {
            out.put(&packet_id.to_be_bytes());
            out.put(&[0]);
            for filter in filters {
                text(out, filter);
            }
        }
        Outbound::Pingreq => {}
        Outbound::Disconnect { reason: reason::SUCCESS, text: "" } => {}
        Outbound::Disconnect { reason, text: "" } => out.put(&[reason]),
        Outbound::Disconnect { reason, text } => {
            out.put(&[reason]);
            properties(out, &|out| text_property(out, Property::ReasonString, text));
        }
        Outbound::Auth(packet) => {
            out.put(&[packet.reason.code]);
            properties(out, &|out| authentication(out, packet));
        }
    }
}

/// Section 3.1.
fn connect(out: &mut dyn Sink, connect: &Connect<'_>) {
    const PROTOCOL_VERSION: u8 = 5;
    text(out, "MQTT");
    let mut flags = u8::from(connect.clean_session) << 1;
    if let Some(Will { publication, .. }) = connect.will {
        flags |= 1 << 2 | publication.qos.level() << 3 | u8::from(publication.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6;
    flags |= u8::from(connect.user_name.is_some()) << 7;
    out.put(&[PROTOCOL_VERSION, flags]);
    out.put(&connect.keep_alive.to_be_bytes());
    properties(out, &|out| connect_properties(out, connect));
    text(out, connect.client_id);
    if let Some(Will { publication, delay_s }) = connect.will {
        properties(out, &|out| {
            if *delay_s > 0 {
                number_property(out, Property::WillDelayInterval, &delay_s.to_be_bytes());
            }
            if let Some(properties) = &publication.properties {
                publish_properties(out, properties);
            }
        });
        text(out, &publication.topic);
        binary(out, &publication.payload);
    }
    if let Some(user_name) = connect.user_name {
        text(out, user_name);
    }
    if let Some(password) = connect.password {
        binary(out, password);
    }
}

/// Section 3.1.2.11. What has its default is left out.
fn connect_properties(out: &mut dyn Sink, connect: &Connect<'_>) {
    let configured = connect.properties;
    if connect.session_expiry_s > 0 {
        let expiry = connect.session_expiry_s.to_be_bytes();
        number_property(out, Property::SessionExpiryInterval, &expiry);
    }
    if let Some(receive_maximum) = configured.receive_maximum.filter(|&maximum| maximum > 0) {
        number_property(out, Property::ReceiveMaximum, &receive_maximum.to_be_bytes());
    }
    if connect.maximum_packet_size > 0 {
        let size = connect.maximum_packet_size.to_be_bytes();
        number_property(out, Property::MaximumPacketSize, &size);
    }
    if configured.topic_alias_maximum > 0 {
        let maximum = configured.topic_alias_maximum.to_be_bytes();
        number_property(out, Property::TopicAliasMaximum, &maximum);
    }
    user_properties(out, &configured.user_properties);
    if let Some(packet) = connect.authentication {
        authentication(out, packet);
    }
}

/// Section 3.3.
fn publish(
    out: &mut dyn Sink,
    publication: &Publication,
    packet_id: u16,
    alias: Option<TopicAlias>,
) {
    let is_known = alias.is_some_and(|alias| alias.is_known);
    text(out, if is_known { "" } else { &publication.topic });
    if publication.qos != Qos::AtMostOnce {
        out.put(&packet_id.to_be_bytes());
    }
    properties(out, &|out| {
        if let Some(alias) = alias {
            number_property(out, Property::TopicAlias, &alias.number.to_be_bytes());
        }
        if let Some(properties) = &publication.properties {
            publish_properties(out, properties);
        }
    });
    out.put(&publication.payload);
}

/// Section 3.3.2.3, without subscription identifiers, which only a server sends (MQTT-3.3.4-6).
pub(super) fn publish_properties(out: &mut dyn Sink, properties: &PublishProperties) {
    if let Some(is_text) = properties.payload_is_text {
        number_property(out, Property::PayloadFormatIndicator, &[u8::from(is_text)]);
    }
    if let Some(expiry) = properties.message_expiry_s {
        number_property(out, Property::MessageExpiryInterval, &expiry.to_be_bytes());
    }
    if let Some(content_type) = &properties.content_type {
        text_property(out, Property::ContentType, content_type);
    }
    if let Some(topic) = &properties.response_topic {
        text_property(out, Property::ResponseTopic, topic);
    }
    if let Some(data) = &properties.correlation_data {
        out.put(&[Property::CorrelationData as u8]);
        binary(out, data);
    }
    user_properties(out, &properties.user_properties);
}

/// Section 3.15.2.2.
fn authentication(out: &mut dyn Sink, packet: &Authentication) {
    text_property(out, Property::AuthenticationMethod, &packet.method);
    if !packet.data.is_empty() {
        out.put(&[Property::AuthenticationData as u8]);
        binary(out, &packet.data);
    }
}

/// Section 3.8.3.1.
fn subscription_options(subscription: &Subscription) -> u8 {
    let options = subscription.options;
    // MQTT-3.8.3-4: No Local is not for shared subscriptions.
    let no_local = options.no_local && !subscription.filter.starts_with("$share/");
    subscription.qos.level()
        | u8::from(no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

/// Section 1.5.5.
fn variable(out: &mut dyn Sink, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.put(&[byte]);
        }
        out.put(&[byte | 0x80]);
    }
}

fn binary(out: &mut dyn Sink, bytes: &[u8]) {
    // Longer ones do not pass `check`.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put(&length.to_be_bytes());
    out.put(&bytes[..usize::from(length)]);
}

fn text(out: &mut dyn Sink, text: &str) {
    binary(out, text.as_bytes());
}

/// Properties behind their length.
fn properties(out: &mut dyn Sink, write: &dyn Fn(&mut dyn Sink)) {
    let mut count = Count(0);
    write(&mut count);
    variable(out, count.0);
    write(out);
}

fn number_property(out: &mut dyn Sink, property: Property, value: &[u8]) {
    out.put(&[property as u8]);
    out.put(value);
}

fn text_property(out: &mut dyn Sink, property: Property, value: &str) {
    out.put(&[property as u8]);
    text(out, value);
}

fn user_properties(out: &mut dyn Sink, pairs: &[(String, String)]) {
    for (name, value) in pairs {
        text_property(out, Property::UserProperty, name);
        text(out, value);
    }
}

/// What the encoder could not say.
fn check(packet: &Outbound<'_>) -> Result<(), Unsendable> {
    match packet {
        Outbound::Connect(connect) => check_connect(connect),
        Outbound::Publish { publication, .. } => {
            check_text("topic", &publication.topic)?;
            check_properties(publication)
        }
        Outbound::Subscribe { filters, .. } => {
            filters.iter().try_for_each(|it| check_text("topic filter", &it.filter))
        }
        Outbound::Unsubscribe { filters, .. } => {
            filters.iter().try_for_each(|filter| check_text("topic filter", filter))
        }
        Outbound::Disconnect { text, .. } => check_text("reason string", text),
        Outbound::Auth(packet) => check_authentication(packet),
        _ => Ok(()),
    }
}

fn check_connect(connect: &Connect<'_>) -> Result<(), Unsendable> {
    check_text("client id", connect.client_id)?;
    check_text("user name", connect.user_name.unwrap_or_default())?;
    check_length("password", connect.password.unwrap_or_default())?;
    check_user_properties(&connect.properties.user_properties)?;
    if let Some(packet) = connect.authentication {
        check_authentication(packet)?;
    }
    if let Some(Will { publication, .. }) = connect.will {
        topic::check_name(&publication.topic).map_err(Unsendable::WillTopic)?;
        check_length("will message", &publication.payload)?;
        check_properties(publication)?;
    }
    Ok(())
}

fn check_authentication(packet: &Authentication) -> Result<(), Unsendable> {
    check_text("authentication method", &packet.method)?;
    check_length("authentication data", &packet.data)
}

fn check_properties(publication: &Publication) -> Result<(), Unsendable> {
    let Some(properties) = &publication.properties else { return Ok(()) };
    check_text("content type", properties.content_type.as_deref().unwrap_or_default())?;
    if let Some(topic) = &properties.response_topic {
        topic::check_name(topic).map_err(Unsendable::ResponseTopic)?;
    }
    check_length("correlation data", properties.correlation_data.as_deref().unwrap_or_default())?;
    check_user_properties(&properties.user_properties)
}

fn check_user_properties(pairs: &[(String, String)]) -> Result<(), Unsendable> {
    for (name, value) in pairs {
        check_text("user property", name)?;
        check_text("user property", value)?;
    }
    Ok(())
}

fn check_text(what: &'static str, text: &str) -> Result<(), Unsendable> {
    if text.contains('\0') {
        return Err(Unsendable::Nul(what));
    }
    check_length(what, text.as_bytes())
}

fn check_length(what: &'static str, bytes: &[u8]) -> Result<(), Unsendable> {
    if bytes.len() > usize::from(u16::MAX) {
        return Err(Unsendable::FieldTooLong(what));
    }
    Ok(())
}
