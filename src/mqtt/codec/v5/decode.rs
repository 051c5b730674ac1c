//! Every packet that a server may send, chapter 3.

use bytes::Bytes;

use super::property::{self, Places, Properties, Property};
use super::reader::Reader;
use super::reasons;
use crate::mqtt::codec::{TopicCache, check_flags, check_publish_flags};
use crate::mqtt::error::Fault;
use crate::mqtt::frame::{self, Header};
use crate::mqtt::packet::{
    Authentication, Connack, Disconnect, Inbound, Publication, Publish, PublishProperties, Refusal,
    RefusalCause, Reply,
};
use crate::mqtt::reason::{self, Reason};
use crate::qos::Qos;

/// Section 2.1.2 and 2.1.3: type, direction of flow, reserved flags.
pub(in crate::mqtt::codec) fn check_first(first: u8) -> Result<(), Fault> {
    let name = frame::type_name(first);
    let flags = first & 0x0f;
    let wanted = match first >> 4 {
        3 => return check_publish_flags(flags),
        2 | 4 | 5 | 7 | 9 | 11 | 13..=15 => 0,
        6 => 0b0010,
        0 => return Err(Fault::malformed(name, "this packet type is reserved")),
        _ => return Err(Fault::violation(format!("only a client may send a {name}"))),
    };
    check_flags(name, flags, wanted)
}

/// The size of the body, as far as the type fixes it, and of its length (MQTT-1.5.5-1).
pub(in crate::mqtt::codec) fn check_header(header: &Header) -> Result<(), Fault> {
    let length = header.body_bytes;
    if header.packet_bytes() != frame::packet_bytes(length) {
        let what = "its remaining length takes more bytes than it needs";
        return Err(Fault::malformed(header.name(), what));
    }
    let least = match header.first >> 4 {
        13 if length > 0 => {
            let what = format!("its remaining length is {length} where 0 is demanded");
            return Err(Fault::malformed(header.name(), what));
        }
        13..=15 => 0,
        2 | 4 | 5 | 6 | 7 => 2,
        3 => 3,
        _ => 4,
    };
    if length < least {
        let what = format!("its remaining length is {length} where {least} or more is demanded");
        return Err(Fault::malformed(header.name(), what));
    }
    Ok(())
}

/// Decodes one whole packet whose header was accepted.
pub(in crate::mqtt::codec) fn decode(
    header: &Header,
    packet: &Bytes,
    topics: &mut TopicCache,
) -> Result<Inbound, Fault> {
    let body = packet.slice(header.header_bytes..);
    let reader = Reader::new(header.name(), &body);
    Ok(match header.first >> 4 {
        2 => Inbound::Connack(Box::new(connack(reader, &body)?)),
        3 => Inbound::Publish(publish(header.first, reader, &body, topics)?),
        4 => Inbound::Puback(reply(property::PUBACK, reasons::RECEIPT, reader)?),
        5 => Inbound::Pubrec(reply(property::PUBREC, reasons::RECEIPT, reader)?),
        6 => Inbound::Pubrel(reply(property::PUBREL, reasons::RELEASE, reader)?),
        7 => Inbound::Pubcomp(reply(property::PUBCOMP, reasons::RELEASE, reader)?),
        9 => {
            let (packet_id, reasons) = replies(property::SUBACK, reasons::SUBACK, reader)?;
            let granted = reasons.into_iter().map(granted);
            Inbound::Suback { packet_id, granted: granted.collect() }
        }
        11 => {
            let (packet_id, reasons) = replies(property::UNSUBACK, reasons::UNSUBACK, reader)?;
            Inbound::Unsuback { packet_id, reasons }
        }
        13 => Inbound::Pingresp,
        14 => Inbound::Disconnect(Box::new(disconnect(reader)?)),
        15 => Inbound::Auth(Box::new(auth(reader, &body)?)),
        _ => return Err(reader.malformed("it cannot be decoded")),
    })
}

/// Section 3.2.
fn connack(mut reader: Reader<'_>, body: &Bytes) -> Result<Connack, Fault> {
    let flags = reader.byte("acknowledge flags")?;
    if flags & 0xfe != 0 {
        let what = format!("reserved acknowledge flags are set ({flags:08b})");
        return Err(reader.malformed(what));
    }
    let code = reader.byte("reason code")?;
    if reader.is_empty() {
        // Without a length of properties it is a CONNACK of MQTT 3.1.1.
        let refusal = Refusal::new(code, RefusalCause::OnlyOlderProtocol);
        return Ok(Connack { refusal: Some(refusal), ..Connack::default() });
    }
    reasons::check(reader.packet(), reasons::CONNACK, code)?;
    let mut connack =
        Connack { session_present: flags & 1 == 1, limits: super::limits(), ..Connack::default() };
    let (mut method, mut data, mut reference) = (None, None, None);
    let limits = &mut connack.limits;
    let mut properties = Properties::read(property::CONNACK, &mut reader)?;
    while let Some((property, value)) = properties.next()? {
        match property {
            Property::SessionExpiryInterval => connack.session_expiry_s = Some(value.number()),
            Property::ReceiveMaximum => limits.in_flight_max = Some(value.number() as usize),
            Property::MaximumQos if value.logical() => limits.qos_max = Qos::AtLeastOnce,
            Property::MaximumQos => limits.qos_max = Qos::AtMostOnce,
            Property::RetainAvailable => limits.retain = value.logical(),
            Property::MaximumPacketSize => {
                limits.packet_bytes_max = limits.packet_bytes_max.min(value.number() as usize);
            }
            Property::AssignedClientIdentifier => {
                connack.assigned_client_id = Some(value.text().to_owned());
            }
            Property::TopicAliasMaximum => limits.topic_alias_max = value.number() as u16,
            Property::ReasonString => connack.text = Some(value.text().into()),
            Property::WildcardSubscriptionAvailable => limits.wildcard_filters = value.logical(),
            Property::SharedSubscriptionAvailable => limits.shared_filters = value.logical(),
            Property::ServerKeepAlive => connack.server_keep_alive = Some(value.number() as u16),
            Property::ServerReference => reference = Some(value.text().to_owned()),
            Property::AuthenticationMethod => method = Some(value.text().to_owned()),
            Property::AuthenticationData => data = Some(body.slice_ref(value.binary())),
            // We send no subscription identifiers and ask for no response information.
            _ => {}
        }
    }
    reader.end()?;
    connack.authentication = authentication(reader.packet(), method, data)?;
    if code != reason::SUCCESS {
        connack.refusal = Some(Refusal {
            code,
            cause: refusal_cause(code),
            text: connack.text.take(),
            server_reference: reference,
        });
    }
    Ok(connack)
}

fn refusal_cause(code: u8) -> RefusalCause {
    match code {
        0x84 => RefusalCause::OnlyOlderProtocol,
        0x85 => RefusalCause::Identifier,
        0x86 => RefusalCause::Credentials,
        0x87 => RefusalCause::NotAuthorized,
        0x88 => RefusalCause::Unavailable,
        _ => RefusalCause::Named,
    }
}

/// Data without a method is a protocol error (section 3.2.2.3.18).
fn authentication(
    packet: &'static str,
    method: Option<String>,
    data: Option<Bytes>,
) -> Result<Option<(String, Bytes)>, Fault> {
    match (method, data) {
        (Some(method), data) => Ok(Some((method, data.unwrap_or_default()))),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let what = format!("its {packet} has Authentication Data without a method");
            Err(Fault::violation(what))
        }
    }
}

/// Section 3.3.
fn publish(
    first: u8,
    mut reader: Reader<'_>,
    body: &Bytes,
    topics: &mut TopicCache,
) -> Result<Publish, Fault> {
    let name = reader.text("topic")?;
    let qos = Qos::from_level(first >> 1 & 0b11).unwrap_or_default();
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { reader.packet_id()? };
    let mut properties = Properties::read(property::PUBLISH, &mut reader)?;
    let (properties, topic_alias) = publish_properties(&mut properties, body)?;
    let topic = match topic_alias {
        Some(_) if name.is_empty() => topics.nameless(),
        None if name.is_empty() => {
            let what = "its PUBLISH has neither a topic nor a topic alias"; // section 3.3.2.1
            return Err(Fault::violation(what));
        }
        _ => topics
            .intern(name)
            .map_err(|error| reader.malformed(format!("its topic is not valid: {error}")))?,
    };
    let is_plain = properties == PublishProperties::default();
    let publication = Publication {
        topic,
        payload: body.slice_ref(reader.rest()),
        qos,
        retain: first & 1 == 1,
        properties: (!is_plain).then(|| Box::new(properties)),
    };
    Ok(Publish { publication, packet_id, dup: first & 0b1000 != 0, topic_alias })
}

/// Section 3.3.2.3, and the topic alias.
pub(super) fn publish_properties(
    properties: &mut Properties<'_>,
    body: &Bytes,
) -> Result<(PublishProperties, Option<u16>), Fault> {
    let mut found = PublishProperties::default();
    let mut alias = None;
    while let Some((property, value)) = properties.next()? {
        match property {
            Property::PayloadFormatIndicator => found.payload_is_text = Some(value.logical()),
            Property::MessageExpiryInterval => found.message_expiry_s = Some(value.number()),
            Property::ContentType => found.content_type = Some(value.text().to_owned()),
            Property::ResponseTopic => found.response_topic = Some(value.text().to_owned()),
            Property::CorrelationData => {
                found.correlation_data = Some(body.slice_ref(value.binary()));
            }
            Property::SubscriptionIdentifier => found.subscription_ids.push(value.number()),
            Property::UserProperty => found.user_properties.push(value.pair()),
            Property::TopicAlias if value.number() == 0 => {
                return Err(Fault::TopicAlias("it used the topic alias 0".to_owned()));
            }
            Property::TopicAlias => alias = Some(value.number() as u16),
            _ => {}
        }
    }
    Ok((found, alias))
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP; sections 3.4 to 3.7.
fn reply(place: Places, legal: &[u8], mut reader: Reader<'_>) -> Result<Reply, Fault> {
    let packet_id = reader.packet_id()?;
    if reader.is_empty() {
        return Ok(Reply::success(packet_id));
    }
    let code = reasons::check(reader.packet(), legal, reader.byte("reason code")?)?;
    let mut text = None;
    if !reader.is_empty() {
        text = reason_string(place, &mut reader)?;
        reader.end()?;
    }
    Ok(Reply { packet_id, reason: Reason { code, text } })
}

/// The properties of a packet of which only the reason string is of interest.
fn reason_string(place: Places, reader: &mut Reader<'_>) -> Result<Option<Box<str>>, Fault> {
    let mut text = None;
    let mut properties = Properties::read(place, reader)?;
    while let Some((property, value)) = properties.next()? {
        if property == Property::ReasonString {
            text = Some(value.text().into());
        }
    }
    Ok(text)
}

/// SUBACK and UNSUBACK, sections 3.9 and 3.11. The reason string speaks of what was refused.
fn replies(
    place: Places,
    legal: &[u8],
    mut reader: Reader<'_>,
) -> Result<(u16, Vec<Reason>), Fault> {
    let packet_id = reader.packet_id()?;
    let text = reason_string(place, &mut reader)?;
    if reader.is_empty() {
        return Err(reader.malformed("it has no reason code"));
    }
    let mut reasons = Vec::with_capacity(reader.rest().len());
    for &code in reader.rest() {
        let code = reasons::check(reader.packet(), legal, code)?;
        let text = text.clone().filter(|_| code >= 0x80);
        reasons.push(Reason { code, text });
    }
    Ok((packet_id, reasons))
}

fn granted(reason: Reason) -> Result<Qos, Reason> {
    Qos::from_level(reason.code).ok_or(reason)
}

/// Section 3.14.
fn disconnect(mut reader: Reader<'_>) -> Result<Disconnect, Fault> {
    let mut found = Disconnect { reason: Reason::default(), server_reference: None };
    if reader.is_empty() {
        return Ok(found);
    }
    let code = reader.byte("reason code")?;
    found.reason.code = reasons::check(reader.packet(), reasons::DISCONNECT, code)?;
    if reader.is_empty() {
        return Ok(found);
    }
    let mut properties = Properties::read(property::DISCONNECT, &mut reader)?;
    while let Some((property, value)) = properties.next()? {
        match property {
            Property::ReasonString => found.reason.text = Some(value.text().into()),
            Property::ServerReference => found.server_reference = Some(value.text().to_owned()),
            _ => {}
        }
    }
    reader.end()?;
    Ok(found)
}

/// Section 3.15.
fn auth(mut reader: Reader<'_>, body: &Bytes) -> Result<Authentication, Fault> {
    let (mut reason, mut method, mut data) = (Reason::default(), None, None);
    if !reader.is_empty() {
        let code = reader.byte("reason code")?;
        reason.code = reasons::check(reader.packet(), reasons::AUTH, code)?;
        let mut properties = Properties::read(property::AUTH, &mut reader)?;
        while let Some((property, value)) = properties.next()? {
            match property {
                Property::AuthenticationMethod => method = Some(value.text().to_owned()),
                Property::AuthenticationData => data = Some(body.slice_ref(value.binary())),
                Property::ReasonString => reason.text = Some(value.text().into()),
                _ => {}
            }
        }
        reader.end()?;
    }
    match authentication(reader.packet(), method, data)? {
        Some((method, data)) => Ok(Authentication { reason, method, data }),
        None => Err(Fault::violation("its AUTH has no Authentication Method")),
    }
}
