//! MQTT 3.1.1: mqttrs behind a guard.
//!
//! mqttrs 0.4.1 panics on bodies that are too short, reads past the end of a packet, accepts what a
//! server must not send, and truncates texts of more than 65,535 bytes. It is therefore given exactly
//! one whole packet whose lengths fit its type, and what it does not look at is checked here. When
//! encoding, every length is checked first and the buffer has exactly the size that is needed.

use bytes::{Bytes, BytesMut};
use mqttrs::{ConnectReturnCode, Error, Packet, Pid, QoS, QosPid};

use super::{TopicCache, check_flags, check_publish_flags};
use crate::mqtt::bounds::BODY_BYTES_MAX;
use crate::mqtt::error::{Fault, Unsendable};
use crate::mqtt::frame::{self, Header};
use crate::mqtt::packet::{
    Connack, Connect, Inbound, Outbound, Publication, Publish, Refusal, RefusalCause, Reply,
};
use crate::mqtt::reason::{self, Reason};
use crate::qos::Qos;
use crate::topic;

/// Section 2.2.1 and 2.2.2, tables 2.1 and 2.2: type, direction of flow, reserved flags.
pub(super) fn check_first(first: u8) -> Result<(), Fault> {
    let name = frame::type_name(first);
    let flags = first & 0x0f;
    let wanted = match first >> 4 {
        3 => return check_publish_flags(flags),
        2 | 4 | 5 | 7 | 9 | 11 | 13 => 0,
        6 => 0b0010,
        0 | 15 => {
            let what = "this packet type is reserved in MQTT 3.1.1";
            return Err(Fault::malformed(name, what));
        }
        _ => return Err(Fault::violation(format!("only a client may send a {name}"))),
    };
    check_flags(name, flags, wanted)
}

/// The size of the body, as far as the type fixes it.
pub(super) fn check_header(header: &Header) -> Result<(), Fault> {
    let length = header.body_bytes;
    let wanted = match header.first >> 4 {
        2 | 4 | 5 | 6 | 7 | 11 if length != 2 => "2",
        13 if length != 0 => "0",
        9 if length < 3 => "3 or more",
        3 if length < 3 => "3 or more",
        _ => return Ok(()),
    };
    let hint = match header.first >> 4 {
        // Properties: the server answers in its own version.
        2 if length > 2 => ": it seems to speak MQTT 5.0 only, set `mqtt_version = \"5.0\"`",
        _ => "",
    };
    let what = format!("its remaining length is {length} where {wanted} is demanded{hint}");
    Err(Fault::malformed(header.name(), what))
}

/// Decodes one whole packet whose header was accepted.
pub(super) fn decode(
    header: &Header,
    packet: &Bytes,
    topics: &mut TopicCache,
) -> Result<Inbound, Fault> {
    let name = header.name();
    let body = &packet[header.header_bytes..];
    match header.first >> 4 {
        2 => return decode_connack(body, packet),
        3 => check_publish_body(header.first, body)?,
        _ => {}
    }
    let decoded = mqttrs::decode_slice(packet).map_err(|error| described(name, error))?;
    Ok(match decoded {
        Some(Packet::Publish(publish)) => Inbound::Publish(neutral(&publish, packet, topics)?),
        Some(Packet::Puback(id)) => Inbound::Puback(Reply::success(id.get())),
        Some(Packet::Pubrec(id)) => Inbound::Pubrec(Reply::success(id.get())),
        Some(Packet::Pubrel(id)) => Inbound::Pubrel(Reply::success(id.get())),
        Some(Packet::Pubcomp(id)) => Inbound::Pubcomp(Reply::success(id.get())),
        Some(Packet::Unsuback(id)) => {
            Inbound::Unsuback { packet_id: id.get(), reasons: Vec::new() }
        }
        Some(Packet::Pingresp) => Inbound::Pingresp,
        Some(Packet::Suback(suback)) => Inbound::Suback {
            packet_id: suback.pid.get(),
            granted: suback.return_codes.iter().map(granted).collect(),
        },
        _ => return Err(Fault::malformed(name, "it cannot be decoded")),
    })
}

/// Section 3.2.2. A return code that mqttrs does not know is a refusal all the same.
fn decode_connack(body: &[u8], packet: &Bytes) -> Result<Inbound, Fault> {
    let flags = body[0];
    if flags & 0xfe != 0 {
        let what = format!("reserved acknowledge flags are set ({flags:08b})");
        return Err(Fault::malformed("CONNACK", what));
    }
    let refusal = match mqttrs::decode_slice(packet) {
        Ok(Some(Packet::Connack(connack))) => match connack.code {
            ConnectReturnCode::Accepted => None,
            ConnectReturnCode::RefusedProtocolVersion => Some(RefusalCause::Protocol),
            ConnectReturnCode::RefusedIdentifierRejected => Some(RefusalCause::Identifier),
            ConnectReturnCode::ServerUnavailable => Some(RefusalCause::Unavailable),
            ConnectReturnCode::BadUsernamePassword => Some(RefusalCause::Credentials),
            ConnectReturnCode::NotAuthorized => Some(RefusalCause::NotAuthorized),
        },
        Err(Error::InvalidConnectReturnCode(_)) => Some(RefusalCause::Unknown),
        _ => return Err(Fault::malformed("CONNACK", "it cannot be decoded")),
    };
    Ok(Inbound::Connack(Box::new(Connack {
        session_present: flags & 1 == 1,
        refusal: refusal.map(|cause| Refusal::new(body[1], cause)),
        ..Connack::default()
    })))
}

/// Topic and packet id must lie within the packet, or mqttrs reads past it.
fn check_publish_body(first: u8, body: &[u8]) -> Result<(), Fault> {
    let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let id_bytes = if first & 0b0110 == 0 { 0 } else { 2 };
    if body.len() < 2 + topic_bytes {
        let what = format!(
            "its topic of {topic_bytes} bytes reaches past its end ({} bytes are left)",
            body.len() - 2
        );
        return Err(Fault::malformed("PUBLISH", what));
    }
    if body.len() < 2 + topic_bytes + id_bytes {
        return Err(Fault::malformed("PUBLISH", "it ends before its packet id"));
    }
    Ok(())
}

fn neutral(
    publish: &mqttrs::Publish<'_>,
    packet: &Bytes,
    topics: &mut TopicCache,
) -> Result<Publish, Fault> {
    let topic = topics
        .intern(publish.topic_name)
        .map_err(|error| Fault::malformed("PUBLISH", format!("its topic is not valid: {error}")))?;
    let (qos, packet_id) = match publish.qospid {
        QosPid::AtMostOnce => (Qos::AtMostOnce, 0),
        QosPid::AtLeastOnce(id) => (Qos::AtLeastOnce, id.get()),
        QosPid::ExactlyOnce(id) => (Qos::ExactlyOnce, id.get()),
    };
    let payload = packet.slice_ref(publish.payload);
    let retain = publish.retain;
    let publication = Publication { topic, payload, qos, retain, properties: None };
    Ok(Publish { publication, packet_id, dup: publish.dup, topic_alias: None })
}

fn granted(code: &mqttrs::SubscribeReturnCodes) -> Result<Qos, Reason> {
    match code {
        mqttrs::SubscribeReturnCodes::Success(QoS::AtMostOnce) => Ok(Qos::AtMostOnce),
        mqttrs::SubscribeReturnCodes::Success(QoS::AtLeastOnce) => Ok(Qos::AtLeastOnce),
        mqttrs::SubscribeReturnCodes::Success(QoS::ExactlyOnce) => Ok(Qos::ExactlyOnce),
        mqttrs::SubscribeReturnCodes::Failure => Err(Reason::new(reason::UNSPECIFIED)),
    }
}

fn described(name: &'static str, error: Error) -> Fault {
    let what = match error {
        Error::InvalidPid => "its packet id is 0".to_owned(),
        Error::InvalidString(error) => format!("its topic is not UTF-8 ({error})"),
        Error::InvalidQos(code) => format!("it has the reserved return code 0x{code:02x}"),
        other => format!("it cannot be decoded ({other})"),
    };
    Fault::malformed(name, what)
}

/// Appends a packet to `buffer`; on an error the buffer is as it was.
pub(super) fn encode(packet: Outbound<'_>, buffer: &mut BytesMut) -> Result<(), Unsendable> {
    let name = packet.name();
    let size = packet_bytes(packet);
    if size > BODY_BYTES_MAX {
        return Err(Unsendable::TooLarge(size, BODY_BYTES_MAX));
    }
    match packet {
        Outbound::Connect(connect) => check_connect(connect)?,
        Outbound::Publish { publication, .. } => {
            check_length("topic", publication.topic.as_bytes())?;
        }
        Outbound::Subscribe { filters, .. } => {
            for subscription in filters {
                check_length("topic filter", subscription.filter.as_bytes())?;
            }
        }
        Outbound::Unsubscribe { filters, .. } => {
            for filter in filters {
                check_length("topic filter", filter.as_bytes())?;
            }
        }
        _ => {}
    }
    let failed = |error: Error| Unsendable::Encoder { packet: name, cause: error.to_string() };
    let packet = foreign(&packet).map_err(failed)?;
    let start = buffer.len();
    buffer.resize(start + size, 0);
    let result = mqttrs::encode_slice(&packet, &mut buffer[start..]);
    let cause = match result {
        Ok(written) if written == size => return Ok(()),
        Ok(written) => format!("{written} bytes written where {size} were expected"),
        Err(error) => error.to_string(),
    };
    buffer.truncate(start);
    Err(Unsendable::Encoder { packet: name, cause })
}

/// Size of a packet with its header.
pub(super) fn packet_bytes(packet: Outbound<'_>) -> usize {
    let body = match packet {
        Outbound::Connect(connect) => connect_body_bytes(connect),
        Outbound::Publish { publication, .. } => {
            let id_bytes = if publication.qos == Qos::AtMostOnce { 0 } else { 2 };
            2 + publication.topic.len() + id_bytes + publication.payload.len()
        }
        Outbound::Puback(_)
        | Outbound::Pubrec(_)
        | Outbound::Pubrel { .. }
        | Outbound::Pubcomp { .. } => 2,
        Outbound::Subscribe { filters, .. } => {
            2 + filters.iter().map(|subscription| 3 + subscription.filter.len()).sum::<usize>()
        }
        Outbound::Unsubscribe { filters, .. } => {
            2 + filters.iter().map(|filter| 2 + filter.len()).sum::<usize>()
        }
        Outbound::Pingreq | Outbound::Disconnect { .. } | Outbound::Auth(_) => 0,
    };
    frame::packet_bytes(body)
}

fn connect_body_bytes(connect: &Connect<'_>) -> usize {
    let field = |bytes: usize| 2 + bytes;
    let will = connect.will.map_or(0, |will| {
        field(will.publication.topic.len()) + field(will.publication.payload.len())
    });
    let user_name = user_name(connect).map_or(0, |text| field(text.len()));
    let password = connect.password.map_or(0, |bytes| field(bytes.len()));
    10 + field(connect.client_id.len()) + will + user_name + password
}

/// MQTT-3.1.2-22: no password without a user name; an empty one says the same.
fn user_name<'a>(connect: &Connect<'a>) -> Option<&'a str> {
    connect.user_name.or(connect.password.map(|_| ""))
}

fn check_connect(connect: &Connect<'_>) -> Result<(), Unsendable> {
    check_text("client id", connect.client_id)?;
    check_text("user name", connect.user_name.unwrap_or_default())?;
    check_length("password", connect.password.unwrap_or_default())?;
    if let Some(will) = connect.will {
        topic::check_name(&will.publication.topic).map_err(Unsendable::WillTopic)?;
        check_length("will message", &will.publication.payload)?;
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

/// The packet as mqttrs has it.
fn foreign<'a>(packet: &Outbound<'a>) -> Result<Packet<'a>, Error> {
    Ok(match *packet {
        Outbound::Connect(connect) => Packet::Connect(mqttrs::Connect {
            protocol: mqttrs::Protocol::MQTT311,
            keep_alive: connect.keep_alive,
            client_id: connect.client_id,
            clean_session: connect.clean_session,
            last_will: connect.will.map(|will| mqttrs::LastWill {
                topic: &will.publication.topic,
                message: &will.publication.payload,
                qos: foreign_qos(will.publication.qos),
                retain: will.publication.retain,
            }),
            username: user_name(connect),
            password: connect.password,
        }),
        Outbound::Publish { publication, packet_id, dup, .. } => Packet::Publish(mqttrs::Publish {
            dup,
            qospid: match publication.qos {
                Qos::AtMostOnce => QosPid::AtMostOnce,
                Qos::AtLeastOnce => QosPid::AtLeastOnce(Pid::try_from(packet_id)?),
                Qos::ExactlyOnce => QosPid::ExactlyOnce(Pid::try_from(packet_id)?),
            },
            retain: publication.retain,
            topic_name: &publication.topic,
            payload: &publication.payload,
        }),
        Outbound::Puback(id) => Packet::Puback(Pid::try_from(id)?),
        Outbound::Pubrec(id) => Packet::Pubrec(Pid::try_from(id)?),
        Outbound::Pubrel { packet_id, .. } => Packet::Pubrel(Pid::try_from(packet_id)?),
        Outbound::Pubcomp { packet_id, .. } => Packet::Pubcomp(Pid::try_from(packet_id)?),
        Outbound::Subscribe { packet_id, filters } => Packet::Subscribe(mqttrs::Subscribe {
            pid: Pid::try_from(packet_id)?,
            topics: filters
                .iter()
                .map(|subscription| mqttrs::SubscribeTopic {
                    topic_path: subscription.filter.clone(),
                    qos: foreign_qos(subscription.qos),
                })
                .collect(),
        }),
        Outbound::Unsubscribe { packet_id, filters } => Packet::Unsubscribe(mqttrs::Unsubscribe {
            pid: Pid::try_from(packet_id)?,
            topics: filters.to_vec(),
        }),
        Outbound::Pingreq => Packet::Pingreq,
        Outbound::Disconnect { .. } => Packet::Disconnect,
        // The machine sends it only when the server has spoken of it; there is no such packet here.
        Outbound::Auth(_) => return Err(Error::InvalidHeader),
    })
}

fn foreign_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests;
