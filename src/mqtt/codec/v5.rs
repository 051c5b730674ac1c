//! MQTT 5.0: our own codec, as strict as the specification.
//!
//! Sections named in `v5` are those of the OASIS Standard of 7 March 2019.
//!
//! | module | what |
//! |---|---|
//! | [`reader`] | the data types of section 1.5 off the front of a body |
//! | [`property`] | the table of all properties, section 2.2.2 |
//! | [`reasons`] | which reason codes each packet may carry, section 2.4 |
//! | [`mod@decode`] | every packet that a server may send |
//! | [`mod@encode`] | every packet that a client may send |

mod decode;
mod encode;
mod property;
mod reader;
mod reasons;

pub(super) use decode::{check_first, check_header, decode};
pub(super) use encode::{encode, packet_bytes};

use bytes::{Bytes, BytesMut};

use crate::mqtt::error::Fault;
use crate::mqtt::packet::{Limits, PublishProperties};

/// What a connection allows before CONNACK has said more.
pub(super) fn limits() -> Limits {
    Limits {
        resend_without_session: false,
        session_must_be_known: true,
        reasons: true,
        ..Limits::default()
    }
}

/// The properties of a message as its PUBLISH has them.
pub(super) fn properties_to_bytes(properties: &PublishProperties) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode::publish_properties(&mut bytes, properties);
    bytes.to_vec()
}

/// The other way round.
pub(super) fn properties_from_bytes(bytes: &[u8]) -> Result<PublishProperties, Fault> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut properties = property::Properties::new("PUBLISH", property::PUBLISH, &bytes);
    Ok(decode::publish_properties(&mut properties, &bytes)?.0)
}

#[cfg(test)]
mod tests;
