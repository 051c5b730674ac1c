//! Values in Cayenne LPP frames: `temperature_1`, `gps_3.latitude`. The names are those under which
//! The Things Stack shows them: the kind of value, `_`, the channel, and for a point its part.

use super::SyntaxError;

/// A value of a Cayenne LPP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LppAddress {
    /// The sensor's number in the device.
    pub channel: u8,
    /// Type byte of the frame.
    pub code: u8,
    /// Position among the parts of the type; 0 when it has only one.
    pub part: u8,
}

/// A kind of value of the format.
#[derive(Debug, PartialEq, Eq)]
pub struct LppType {
    /// Type byte.
    pub code: u8,
    /// Name before the channel.
    pub name: &'static str,
    /// Unit of the value; empty: none, or different ones.
    pub unit: &'static str,
    /// Its numbers, in order, the highest byte first.
    pub parts: &'static [LppPart],
}

/// A number of a frame: value = integer × `multiplier` / 10^`decimals`.
#[derive(Debug, PartialEq, Eq)]
pub struct LppPart {
    /// Name after the dot; empty when the type has only one.
    pub name: &'static str,
    /// Bytes.
    pub length: u8,
    /// Two's complement.
    pub signed: bool,
    /// See the type.
    pub multiplier: u8,
    /// See the type.
    pub decimals: u8,
}

const fn part(name: &'static str, length: u8, signed: bool, decimals: u8) -> LppPart {
    LppPart { name, length, signed, multiplier: 1, decimals }
}

const fn lpp(
    code: u8,
    name: &'static str,
    unit: &'static str,
    parts: &'static [LppPart],
) -> LppType {
    LppType { code, name, unit, parts }
}

const BYTE: &[LppPart] = &[part("", 1, false, 0)];
const HUNDREDTHS: &[LppPart] = &[part("", 2, true, 2)];
const WORD: &[LppPart] = &[part("", 2, false, 0)];
const LONG: &[LppPart] = &[part("", 4, false, 0)];
const THOUSANDTHS: &[LppPart] = &[part("", 4, false, 3)];
const HALVES: &[LppPart] =
    &[LppPart { name: "", length: 1, signed: false, multiplier: 5, decimals: 1 }];

/// The types of the format, and those that its libraries have added since. A frame with another one
/// cannot be read: nobody knows where its value ends.
pub const LPP_TYPES: &[LppType] = &[
    lpp(0, "digital_in", "", BYTE),
    lpp(1, "digital_out", "", BYTE),
    lpp(2, "analog_in", "", HUNDREDTHS),
    lpp(3, "analog_out", "", HUNDREDTHS),
    lpp(100, "generic", "", LONG),
    lpp(101, "luminosity", "lx", WORD),
    lpp(102, "presence", "", BYTE),
    lpp(103, "temperature", "°C", &[part("", 2, true, 1)]),
    lpp(104, "relative_humidity", "%", HALVES),
    lpp(
        113,
        "accelerometer",
        "g",
        &[part("x", 2, true, 3), part("y", 2, true, 3), part("z", 2, true, 3)],
    ),
    lpp(115, "barometric_pressure", "hPa", &[part("", 2, false, 1)]),
    lpp(116, "voltage", "V", &[part("", 2, false, 2)]),
    lpp(117, "current", "A", &[part("", 2, false, 3)]),
    lpp(118, "frequency", "Hz", LONG),
    lpp(120, "percentage", "%", BYTE),
    lpp(121, "altitude", "m", &[part("", 2, true, 0)]),
    lpp(125, "concentration", "ppm", WORD),
    lpp(128, "power", "W", WORD),
    lpp(130, "distance", "m", THOUSANDTHS),
    lpp(131, "energy", "kWh", THOUSANDTHS),
    lpp(132, "direction", "°", WORD),
    lpp(133, "time", "s", LONG),
    lpp(
        134,
        "gyrometer",
        "°/s",
        &[part("x", 2, true, 2), part("y", 2, true, 2), part("z", 2, true, 2)],
    ),
    lpp(
        135,
        "colour",
        "",
        &[part("r", 1, false, 0), part("g", 1, false, 0), part("b", 1, false, 0)],
    ),
    lpp(
        136,
        "gps",
        "",
        &[
            part("latitude", 3, true, 4),
            part("longitude", 3, true, 4),
            part("altitude", 3, true, 2),
        ],
    ),
    lpp(142, "switch", "", BYTE),
];

impl LppType {
    /// The type with this byte.
    pub fn of(code: u8) -> Option<&'static Self> {
        LPP_TYPES.iter().find(|known| known.code == code)
    }

    /// Bytes of its value.
    pub fn length(&self) -> usize {
        self.parts.iter().map(|part| usize::from(part.length)).sum()
    }
}

impl LppAddress {
    /// Reads the part after `LPP=`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let (value, part) = match text.split_once('.') {
            Some((value, part)) => (value, Some(part)),
            None => (text, None),
        };
        let (name, channel) = value.rsplit_once('_').ok_or_else(|| {
            SyntaxError::new(value.len(), "expected `_` and the channel").help(EXAMPLE)
        })?;
        let kind = LPP_TYPES.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names: Vec<&str> = LPP_TYPES.iter().map(|kind| kind.name).collect();
            let error = SyntaxError::new(0, format!("`{name}` is no type of Cayenne LPP"));
            match super::address::nearest(name, &names) {
                Some(likely) => error.help(format!("did you mean `{likely}`?")),
                None => error.help(format!("the types are `{}`", names.join("`, `"))),
            }
        })?;
        let digits = !channel.is_empty() && channel.bytes().all(|byte| byte.is_ascii_digit());
        let channel = channel.parse().ok().filter(|_| digits).ok_or_else(|| {
            SyntaxError::new(name.len() + 1, "expected the channel, 0 to 255").help(EXAMPLE)
        })?;
        let position = match part {
            None if kind.parts.len() == 1 => Some(0),
            None => None,
            Some(part) => kind.parts.iter().position(|known| known.name == part),
        };
        let position = position.ok_or_else(|| {
            let names: Vec<&str> = kind.parts.iter().map(|part| part.name).collect();
            let at = part.map_or(text.len(), |_| value.len() + 1);
            match kind.parts {
                [_] => SyntaxError::new(at, format!("`{name}` has no parts"))
                    .help(format!("leave out what begins with the dot: `LPP={value}`")),
                _ => SyntaxError::new(at, format!("expected a part of `{name}`"))
                    .help(format!("after a dot one of `{}`", names.join("`, `"))),
            }
        })?;
        Ok(Self { channel, code: kind.code, part: position as u8 })
    }
}

const EXAMPLE: &str = "as in `LPP=temperature_1` or `LPP=gps_3.latitude`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, channel, code, part) in [
            ("temperature_1", 1, 103, 0),
            ("relative_humidity_255", 255, 104, 0),
            ("gps_3.latitude", 3, 136, 0),
            ("gps_3.altitude", 3, 136, 2),
            ("accelerometer_0.z", 0, 113, 2),
            ("digital_in_07", 7, 0, 0),
        ] {
            assert_eq!(LppAddress::parse(text), Ok(LppAddress { channel, code, part }), "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, at, message, help) in [
            ("", 0, "expected `_`", "LPP=temperature_1"),
            ("temperature", 11, "expected `_`", ""),
            ("temprature_1", 0, "`temprature` is no type", "did you mean `temperature`?"),
            ("xyzzy_1", 0, "is no type", "the types are `digital_in`"),
            ("temperature_256", 12, "0 to 255", ""),
            ("temperature_+1", 12, "0 to 255", ""),
            ("temperature_", 12, "0 to 255", ""),
            ("gps_1", 5, "expected a part of `gps`", "`latitude`, `longitude`, `altitude`"),
            ("gps_1.x", 6, "expected a part of `gps`", ""),
            ("temperature_1.x", 14, "has no parts", "`LPP=temperature_1`"),
        ] {
            let error = LppAddress::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.help.unwrap_or_default().contains(help), "{text}");
        }
    }

    #[test]
    fn the_table_is_in_order_and_names_are_unique() {
        assert!(LPP_TYPES.is_sorted_by(|left, right| left.code < right.code));
        let mut names: Vec<&str> = LPP_TYPES.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LPP_TYPES.len());
        assert!(
            LPP_TYPES.iter().all(|kind| kind.parts.len() == 1 || !kind.parts[0].name.is_empty())
        );
    }
}
