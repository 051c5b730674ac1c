//! The data types of section 1.5, off the front of a body.

use crate::mqtt::error::Fault;

/// What is left of a body.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    packet: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the body of a packet with this name.
    pub(super) fn new(packet: &'static str, body: &'a [u8]) -> Self {
        Self { packet, rest: body }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Name of the packet.
    pub(super) fn packet(&self) -> &'static str {
        self.packet
    }

    pub(super) fn malformed(&self, what: impl Into<String>) -> Fault {
        Fault::malformed(self.packet, what)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.malformed(format!("{} bytes follow its end", self.rest.len())))
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Fault> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.malformed(format!(
                "its {what} of {count} bytes reaches past its end ({} bytes are left)",
                self.rest.len()
            )));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self, what: &str) -> Result<u8, Fault> {
        Ok(self.take(1, what)?[0])
    }

    /// Section 1.5.2.
    pub(super) fn two_bytes(&mut self, what: &str) -> Result<u16, Fault> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Section 1.5.3.
    pub(super) fn four_bytes(&mut self, what: &str) -> Result<u32, Fault> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Section 1.5.5, with the fewest bytes possible (MQTT-1.5.5-1).
    pub(super) fn variable(&mut self, what: &str) -> Result<u32, Fault> {
        let mut value = 0;
        for position in 0..4 {
            let byte = self.byte(what)?;
            value |= u32::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                if byte == 0 && position > 0 {
                    let text = format!("its {what} takes more bytes than it needs");
                    return Err(self.malformed(text));
                }
                return Ok(value);
            }
        }
        Err(self.malformed(format!("its {what} has more than four bytes")))
    }

    /// Section 1.5.6.
    pub(super) fn binary(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let length = self.two_bytes(what)?;
        self.take(usize::from(length), what)
    }

    /// Section 1.5.4.
    pub(super) fn text(&mut self, what: &str) -> Result<&'a str, Fault> {
        let bytes = self.binary(what)?;
        let text = str::from_utf8(bytes)
            .map_err(|error| self.malformed(format!("its {what} is not UTF-8 ({error})")))?;
        if text.contains('\0') {
            let text = format!("its {what} contains the character U+0000"); // MQTT-1.5.4-2
            return Err(self.malformed(text));
        }
        Ok(text)
    }

    /// A packet id, which is not 0 (MQTT-2.2.1-3).
    pub(super) fn packet_id(&mut self) -> Result<u16, Fault> {
        match self.two_bytes("packet id")? {
            0 => Err(self.malformed("its packet id is 0")),
            id => Ok(id),
        }
    }

    /// A part of the body with its length in front.
    pub(super) fn part(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let length = self.variable(what)?;
        self.take(length as usize, what)
    }
}
