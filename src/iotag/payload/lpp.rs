//! Cayenne LPP frames: channel, type, value, and again.

use std::borrow::Cow;

use super::Datum;
use crate::iotag::lpp_address::{LppAddress, LppPart, LppType};

/// A value of a frame, where it stands.
pub(in crate::iotag) struct LppValue<'a> {
    pub(in crate::iotag) channel: u8,
    pub(in crate::iotag) kind: &'static LppType,
    bytes: &'a [u8],
}

/// Takes a frame apart. The error says what is wrong at which byte.
pub(in crate::iotag) fn values(frame: &[u8]) -> Result<Vec<LppValue<'_>>, String> {
    let mut values = Vec::new();
    let mut rest = frame;
    while let [channel, after @ ..] = rest {
        let at = frame.len() - rest.len();
        let Some((code, after)) = after.split_first() else {
            return Err(format!("Cayenne LPP: nothing follows the channel at byte {at}"));
        };
        let Some(kind) = LppType::of(*code) else {
            return Err(format!("Cayenne LPP: unknown type {code} at byte {}", at + 1));
        };
        let Some((bytes, after)) = after.split_at_checked(kind.length()) else {
            return Err(format!(
                "Cayenne LPP: the frame ends inside of the {} at byte {at}",
                kind.name
            ));
        };
        values.push(LppValue { channel: *channel, kind, bytes });
        rest = after;
    }
    Ok(values)
}

impl LppValue<'_> {
    /// What an address takes of it.
    pub(in crate::iotag) fn datum(&self, address: &LppAddress) -> Option<Datum<'static>> {
        if (self.channel, self.kind.code) != (address.channel, address.code) {
            return None;
        }
        let position = usize::from(address.part);
        let part = self.kind.parts.get(position)?;
        let before = self.kind.parts[..position].iter().map(|part| usize::from(part.length)).sum();
        let bytes = self.bytes.get(before..before + usize::from(part.length))?;
        Some(Datum::Number(Cow::Owned(number(bytes, part))))
    }
}

impl LppValue<'_> {
    /// Its parts with their names, as numbers.
    pub(in crate::iotag) fn parts(&self) -> Vec<(&'static str, String)> {
        let mut rest = self.bytes;
        let mut parts = Vec::with_capacity(self.kind.parts.len());
        for part in self.kind.parts {
            let Some((own, after)) = rest.split_at_checked(usize::from(part.length)) else { break };
            parts.push((part.name, number(own, part)));
            rest = after;
        }
        parts
    }
}

/// A number as it would be written, exactly.
fn number(bytes: &[u8], part: &LppPart) -> String {
    let unsigned = bytes.iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    let bits = 8 * bytes.len() as u32;
    let negative = part.signed && bytes.first().is_some_and(|first| first & 0x80 != 0);
    let integer = if negative { unsigned - (1_i64 << bits) } else { unsigned };
    let scaled = integer * i64::from(part.multiplier);
    if part.decimals == 0 {
        return scaled.to_string();
    }
    let places = usize::from(part.decimals);
    let power = 10_u64.pow(u32::from(part.decimals));
    let sign = if scaled < 0 { "-" } else { "" };
    let (whole, fraction) = (scaled.unsigned_abs() / power, scaled.unsigned_abs() % power);
    format!("{sign}{whole}.{fraction:0places$}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::iotag::lpp_address::LPP_TYPES;

    fn read(frame: &[u8], address: &str) -> Option<String> {
        let address = LppAddress::parse(address).unwrap();
        let values = values(frame).unwrap();
        let datum = values.iter().find_map(|value| value.datum(&address))?;
        let Datum::Number(text) = datum else { panic!("{datum:?}") };
        Some(text.into_owned())
    }

    #[test]
    fn the_examples_of_the_format() {
        let two = [3, 0x67, 1, 0x10, 5, 0x67, 0, 0xFF];
        assert_eq!(read(&two, "temperature_3").unwrap(), "27.2");
        assert_eq!(read(&two, "temperature_5").unwrap(), "25.5");
        assert_eq!(read(&two, "temperature_4"), None);
        let cold = [1, 0x67, 0xFF, 0xD7];
        assert_eq!(read(&cold, "temperature_1").unwrap(), "-4.1");
        let accelerometer = [6, 0x71, 0x04, 0xD2, 0xFB, 0x2E, 0, 0];
        assert_eq!(read(&accelerometer, "accelerometer_6.x").unwrap(), "1.234");
        assert_eq!(read(&accelerometer, "accelerometer_6.y").unwrap(), "-1.234");
        assert_eq!(read(&accelerometer, "accelerometer_6.z").unwrap(), "0.000");
        let gps = [1, 0x88, 0x06, 0x76, 0x5F, 0xF2, 0x96, 0x0A, 0x00, 0x03, 0xE8];
        assert_eq!(read(&gps, "gps_1.latitude").unwrap(), "42.3519");
        assert_eq!(read(&gps, "gps_1.longitude").unwrap(), "-87.9094");
        assert_eq!(read(&gps, "gps_1.altitude").unwrap(), "10.00");
    }

    #[test]
    fn every_type_has_its_resolution() {
        for (frame, address, expected) in [
            (&[1, 0, 1][..], "digital_in_1", "1"),
            (&[1, 1, 255], "digital_out_1", "255"),
            (&[1, 2, 0xFF, 0xFF], "analog_in_1", "-0.01"),
            (&[1, 3, 0x80, 0], "analog_out_1", "-327.68"),
            (&[1, 101, 0xFF, 0xFF], "luminosity_1", "65535"),
            (&[1, 102, 1], "presence_1", "1"),
            (&[1, 104, 0x61], "relative_humidity_1", "48.5"),
            (&[1, 115, 0x27, 0x10], "barometric_pressure_1", "1000.0"),
            (&[1, 116, 0x01, 0x4A], "voltage_1", "3.30"),
            (&[1, 131, 0xFF, 0xFF, 0xFF, 0xFF], "energy_1", "4294967.295"),
            (&[1, 134, 0xFF, 0x9C, 0, 1, 0, 0], "gyrometer_1.x", "-1.00"),
            (&[1, 135, 1, 2, 3], "colour_1.b", "3"),
        ] {
            assert_eq!(read(frame, address).as_deref(), Some(expected), "{address}");
        }
    }

    #[test]
    fn frames_that_cannot_be_read_say_where() {
        let error = |frame: &[u8]| values(frame).err().unwrap();
        assert!(error(&[1]).contains("nothing follows the channel at byte 0"));
        assert!(error(&[1, 0, 1, 1, 99, 0]).contains("unknown type 99 at byte 4"));
        assert!(error(&[1, 0, 1, 2, 0x67, 0]).contains("inside of the temperature at byte 3"));
        assert!(values(&[]).unwrap().is_empty());
    }

    proptest! {
        /// What is written by the format's rules is read back, whatever stands around it.
        #[test]
        fn written_frames_are_read_back(
            entries in prop::collection::vec((any::<u8>(), 0..LPP_TYPES.len(), any::<[u8; 9]>()), 0..12),
        ) {
            let mut frame = Vec::new();
            for (channel, kind, bytes) in &entries {
                frame.extend([*channel, LPP_TYPES[*kind].code]);
                frame.extend(&bytes[..LPP_TYPES[*kind].length()]);
            }
            let read = values(&frame).unwrap();
            prop_assert_eq!(read.len(), entries.len());
            for (value, (channel, kind, bytes)) in read.iter().zip(&entries) {
                prop_assert_eq!((value.channel, value.kind), (*channel, &LPP_TYPES[*kind]));
                prop_assert_eq!(value.bytes, &bytes[..value.kind.length()]);
            }
        }

        #[test]
        fn any_bytes_are_survived(frame in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = values(&frame);
        }
    }
}
