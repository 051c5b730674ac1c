//! Splits a stream of bytes into packets: fixed header first, then the body, nothing of its meaning.

use bytes::{Bytes, BytesMut};

use super::error::Fault;

/// The fixed header of a packet, MQTT 3.1.1 section 2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Packet type and flags.
    pub first: u8,
    /// Bytes of the fixed header itself, 2 to 5.
    pub header_bytes: usize,
    /// Bytes that follow it.
    pub body_bytes: usize,
}

impl Header {
    /// Size of the whole packet.
    pub fn packet_bytes(&self) -> usize {
        self.header_bytes + self.body_bytes
    }

    /// Reads the header at the front of `buffer`; `None`: it is not complete.
    pub fn read(buffer: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
        let mut body_bytes = 0usize;
        for (position, &byte) in rest.iter().take(4).enumerate() {
            body_bytes |= usize::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(Some(Self { first, header_bytes: position + 2, body_bytes }));
            }
        }
        if rest.len() < 4 {
            return Ok(None);
        }
        Err(Fault::malformed(type_name(first), "its remaining length has more than four bytes"))
    }

    /// Takes the packet off the front of `buffer`; `None`: it is not complete.
    pub fn take(&self, buffer: &mut BytesMut) -> Option<Bytes> {
        if buffer.len() < self.packet_bytes() {
            return None;
        }
        Some(buffer.split_to(self.packet_bytes()).freeze())
    }

    /// The packet's name in the specification.
    pub fn name(&self) -> &'static str {
        type_name(self.first)
    }
}

/// Bytes of a whole packet with a body of this many.
pub fn packet_bytes(body_bytes: usize) -> usize {
    let length_bytes = match body_bytes {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        _ => 4,
    };
    1 + length_bytes + body_bytes
}

/// The name of a packet by its first byte.
pub fn type_name(first: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "packet of the reserved type 0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES[usize::from(first >> 4)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_in_table_2_4() {
        // MQTT 3.1.1 section 2.2.3, table 2.4: first and last value of each size.
        for (bytes, body_bytes, header_bytes) in [
            (&[0x30, 0x00][..], 0, 2),
            (&[0x30, 0x7f], 127, 2),
            (&[0x30, 0x80, 0x01], 128, 3),
            (&[0x30, 0xff, 0x7f], 16_383, 3),
            (&[0x30, 0x80, 0x80, 0x01], 16_384, 4),
            (&[0x30, 0xff, 0xff, 0x7f], 2_097_151, 4),
            (&[0x30, 0x80, 0x80, 0x80, 0x01], 2_097_152, 5),
            (&[0x30, 0xff, 0xff, 0xff, 0x7f], 268_435_455, 5),
        ] {
            let header = Header { first: 0x30, header_bytes, body_bytes };
            assert_eq!(Header::read(bytes), Ok(Some(header)));
            assert_eq!(packet_bytes(body_bytes), header.packet_bytes());
            for short in 0..bytes.len() {
                assert_eq!(Header::read(&bytes[..short]), Ok(None));
            }
        }
    }

    #[test]
    fn a_fifth_length_byte_is_malformed() {
        assert!(Header::read(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
        assert!(Header::read(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }

    #[test]
    fn a_packet_is_taken_when_it_is_whole() {
        let mut buffer = BytesMut::from(&[0xd0, 0x00, 0x40, 0x02, 0x00][..]);
        let header = Header::read(&buffer).unwrap().unwrap();
        assert_eq!(header.take(&mut buffer).as_deref(), Some(&[0xd0, 0x00][..]));
        let header = Header::read(&buffer).unwrap().unwrap();
        assert_eq!(header.take(&mut buffer), None);
        buffer.extend_from_slice(&[0x07]);
        assert_eq!(header.take(&mut buffer).as_deref(), Some(&[0x40, 0x02, 0x00, 0x07][..]));
        assert!(buffer.is_empty());
    }
}
