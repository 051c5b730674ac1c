//! Addresses in payloads of bytes: `4:f32be`, `0:bit:3`, `8:text:16`. Contract, sections 3 and 7.

use super::SyntaxError;

/// Bytes of a payload, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BytesAddress {
    /// The first byte, from 0.
    pub offset: usize,
    /// What stands there.
    pub content: Content,
}

/// What bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A number.
    Number(NumberFormat, ByteOrder),
    /// UTF-8 of so many bytes, without trailing NULs.
    Text(usize),
    /// One bit of the byte; 0 is the lowest.
    Bit(u8),
}

/// How a number is written, apart from the order of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the letter is the kind, the number the bits")]
pub enum NumberFormat {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The highest byte first.
    Big,
    /// The lowest byte first.
    Little,
}

const FORMATS: [(&str, NumberFormat); 10] = [
    ("u8", NumberFormat::U8),
    ("i8", NumberFormat::I8),
    ("u16", NumberFormat::U16),
    ("i16", NumberFormat::I16),
    ("u32", NumberFormat::U32),
    ("i32", NumberFormat::I32),
    ("u64", NumberFormat::U64),
    ("i64", NumberFormat::I64),
    ("f32", NumberFormat::F32),
    ("f64", NumberFormat::F64),
];

impl BytesAddress {
    /// Reads the part after `RA=`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let Some((offset, content)) = text.split_once(':') else {
            return Err(SyntaxError::new(text.len(), "expected `:` and a type after the offset")
                .help("as in `RA=4:f32be`, `RA=0:bit:3` or `RA=8:text:16`"));
        };
        let after = offset.len() + 1;
        let offset = number(offset)
            .ok_or_else(|| SyntaxError::new(0, "expected an offset in bytes, from 0"))?;
        let content = match content.split_once(':') {
            Some(("text", length)) => {
                let length = number(length).filter(|length| *length > 0).ok_or_else(|| {
                    SyntaxError::new(after + 5, "expected the length of the text in bytes")
                })?;
                Content::Text(length)
            }
            Some(("bit", bit)) => {
                let bit = number(bit).filter(|bit| *bit < 8).ok_or_else(|| {
                    SyntaxError::new(after + 4, "expected the number of a bit, 0 to 7")
                })?;
                Content::Bit(bit as u8)
            }
            _ => number_format(content).ok_or_else(|| unknown(content, after))?,
        };
        Ok(Self { offset, content })
    }
}

impl NumberFormat {
    /// Length in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

fn number_format(text: &str) -> Option<Content> {
    let (name, order) = match (text.strip_suffix("be"), text.strip_suffix("le")) {
        (Some(name), _) => (name, Some(ByteOrder::Big)),
        (_, Some(name)) => (name, Some(ByteOrder::Little)),
        _ => (text, None),
    };
    let (_, format) = FORMATS.into_iter().find(|(known, _)| *known == name)?;
    match order {
        None if format.length() > 1 => None,
        Some(_) if format.length() == 1 => None,
        order => Some(Content::Number(format, order.unwrap_or(ByteOrder::Big))),
    }
}

fn unknown(text: &str, at: usize) -> SyntaxError {
    let error = SyntaxError::new(at, format!("unknown type `{text}`"));
    match text {
        "text" => error.help("with its length in bytes: `text:16`"),
        "bit" => error.help("with its number, 0 is the lowest: `bit:0`"),
        _ if number_format(&format!("{text}be")).is_some() => {
            error.help(format!("with the order of its bytes: `{text}be` or `{text}le`"))
        }
        _ => error.help(
            "the types are u8 i8, u16 i16 u32 i32 u64 i64 f32 f64 with `be` or `le`, text:LENGTH \
             and bit:NUMBER",
        ),
    }
}

fn number(digits: &str) -> Option<usize> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u32>().ok()?;
    plain.then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, offset, content) in [
            ("0:u8", 0, Content::Number(NumberFormat::U8, ByteOrder::Big)),
            ("4:f32be", 4, Content::Number(NumberFormat::F32, ByteOrder::Big)),
            ("12:i64le", 12, Content::Number(NumberFormat::I64, ByteOrder::Little)),
            ("8:text:16", 8, Content::Text(16)),
            ("0:bit:7", 0, Content::Bit(7)),
        ] {
            assert_eq!(BytesAddress::parse(text), Ok(BytesAddress { offset, content }), "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, at) in [
            ("", 0),
            ("4", 1),
            (":u8", 0),
            ("-1:u8", 0),
            ("x:u8", 0),
            ("4:u16", 2),
            ("4:u8be", 2),
            ("4:text", 2),
            ("4:text:0", 7),
            ("4:bit:8", 6),
            ("4:u16be:1", 2),
            ("99999999999:u8", 0),
        ] {
            let error = BytesAddress::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }
}
