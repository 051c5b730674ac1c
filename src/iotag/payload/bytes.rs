//! Payloads of bytes.

use std::borrow::Cow;

use super::lpp;
use super::{Absence, Datum, Found, SourceTime};
use crate::iotag::bytes_address::{ByteOrder, BytesAddress, Content, NumberFormat};
use crate::iotag::lpp_address::LppAddress;
use crate::iotag::mapping::MappingReport;

/// The byte addresses of a station; a slot is a position.
#[derive(Default)]
pub(in crate::iotag) struct BytesPlan {
    places: Vec<Place>,
    /// Whether one of them is in a Cayenne LPP frame.
    has_lpp: bool,
}

enum Place {
    Fixed(BytesAddress),
    Lpp(LppAddress),
}

impl BytesPlan {
    pub(in crate::iotag) fn insert(&mut self, address: BytesAddress) -> u32 {
        self.places.push(Place::Fixed(address));
        self.places.len() as u32 - 1
    }

    pub(in crate::iotag) fn insert_lpp(&mut self, address: LppAddress) -> u32 {
        self.has_lpp = true;
        self.places.push(Place::Lpp(address));
        self.places.len() as u32 - 1
    }

    /// Takes a payload apart. Every payload can be; what lies beyond its end is missing. What a
    /// Cayenne LPP frame does not carry it leaves alone; a broken one breaks all that read it.
    pub(in crate::iotag) fn take<'a>(
        &self,
        payload: &'a [u8],
        report: &mut MappingReport,
    ) -> Result<Found<'a>, String> {
        let time = SourceTime::Unstated;
        let mut found = Found::new(self.places.len(), Absence::NotCarried);
        let frame = if self.has_lpp { lpp::values(payload) } else { Ok(Vec::new()) };
        if let Err(why) = &frame {
            report.bad_payload.get_or_insert_with(|| why.clone());
        }
        for (slot, place) in (0..).zip(&self.places) {
            match (place, &frame) {
                (Place::Fixed(address), _) => match datum(payload, address) {
                    Some(datum) => found.push(slot, datum, time)?,
                    None => found.set_absence(slot, Absence::Missing(time)),
                },
                (Place::Lpp(address), Ok(values)) => {
                    for datum in values.iter().filter_map(|value| value.datum(address)) {
                        found.push(slot, datum, time)?;
                    }
                }
                (Place::Lpp(_), Err(_)) => found.push(slot, Datum::Broken(""), time)?,
            }
        }
        Ok(found)
    }
}

fn datum<'a>(payload: &'a [u8], address: &BytesAddress) -> Option<Datum<'a>> {
    let length = match address.content {
        Content::Number(format, _) => format.length(),
        Content::Text(length) => length,
        Content::Bit(_) => 1,
    };
    let bytes = payload.get(address.offset..)?.get(..length)?;
    Some(match address.content {
        Content::Number(format, order) => number(bytes, format, order),
        Content::Text(_) => {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            Datum::Text(String::from_utf8_lossy(&bytes[..end]))
        }
        Content::Bit(bit) => Datum::Boolean(bytes[0] >> bit & 1 == 1),
    })
}

fn number(bytes: &[u8], format: NumberFormat, order: ByteOrder) -> Datum<'static> {
    let mut big = [0; 8];
    let start = big.len() - bytes.len();
    big[start..].copy_from_slice(bytes);
    if order == ByteOrder::Little {
        big[start..].reverse();
    }
    let unsigned = u64::from_be_bytes(big);
    let integer = match format {
        NumberFormat::U8 | NumberFormat::U16 | NumberFormat::U32 | NumberFormat::U64 => {
            i128::from(unsigned)
        }
        NumberFormat::I8 => i128::from(unsigned as u8 as i8),
        NumberFormat::I16 => i128::from(unsigned as u16 as i16),
        NumberFormat::I32 => i128::from(unsigned as u32 as i32),
        NumberFormat::I64 => i128::from(unsigned as i64),
        NumberFormat::F32 => return real(f64::from(f32::from_bits(unsigned as u32))),
        NumberFormat::F64 => return real(f64::from_bits(unsigned)),
    };
    Datum::Number(Cow::Owned(integer.to_string()))
}

/// NaN and infinities have no number; as texts they convert to none.
fn real(real: f64) -> Datum<'static> {
    let text = Cow::Owned(format!("{real:e}"));
    if real.is_finite() { Datum::Number(text) } else { Datum::Text(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iotag::payload::excerpt;

    fn take(payload: &[u8], address: &str) -> String {
        let mut plan = BytesPlan::default();
        plan.insert(BytesAddress::parse(address).unwrap());
        let found = plan.take(payload, &mut MappingReport::default()).unwrap();
        let mut samples = found.of(0);
        samples.next().map_or("missing".to_owned(), |sample| excerpt(&sample.datum).into_owned())
    }

    #[test]
    fn bytes_are_what_their_type_says() {
        let payload = [0x80, 0x01, 0xff, 0xfe, 0x42, 0x48, 0, 0, b'a', 0xff, b'b', 0, 0];
        for (address, expected) in [
            ("0:u8", "128"),
            ("0:i8", "-128"),
            ("0:u16be", "32769"),
            ("0:u16le", "384"),
            ("2:i16be", "-2"),
            ("0:i32le", "-16842368"),
            ("0:u64be", "9223934979330277376"),
            ("0:i64be", "-9222809094379274240"),
            ("4:f32be", "5e1"),
            ("0:bit:7", "true"),
            ("0:bit:0", "false"),
            ("1:bit:0", "true"),
            ("8:text:5", "a\u{fffd}b"),
            ("11:text:2", ""),
            ("12:u16be", "missing"),
            ("9:text:5", "missing"),
            ("13:u8", "missing"),
            ("4000000000:u8", "missing"),
        ] {
            let taken = take(&payload, address);
            assert_eq!(taken, expected, "{address}");
        }
        assert_eq!(take(&f64::NAN.to_be_bytes(), "0:f64be"), "NaN");
        assert_eq!(take(&0.1_f32.to_le_bytes(), "0:f32le"), "1.0000000149011612e-1");
    }
}
