//! Time masks: `yyyy-mm-dd hh:mi:ss.mss`, `UNIX`, `UNIXMS`, `RFC3339`. Contract, sections 3 and 7.
//!
//! Tokens are those of D2000: `yyyy rrrr yy rr mm dd hh hb HH mi ss mss tttt ttt tt ZZZ ZZZZZ
//! ZZZZZZ`; everything else stands for itself. Only the first occurrence of a component counts,
//! and of several lengths of one component the longest; the others stand for themselves.

mod read;
mod rfc3339;
mod write;
mod zone;

pub use zone::Zone;

use super::{SyntaxError, Timestamp};
use read::Reading;

/// How a time is read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeMask {
    kind: Kind,
}

/// A text that is no time under a mask, or a local time that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time under the mask")]
pub struct BadTime;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A count since 1970 of units of ten to the minus `digits` seconds.
    Unix {
        digits: u8,
    },
    Rfc3339,
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(Box<str>),
    Part(Part),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year4,
    Year2,
    Month,
    Day,
    Hour,
    TradingHour,
    Minute,
    Second,
    Fraction,
    WeekdayName,
    Weekday3,
    Weekday2,
    OffsetHours,
    OffsetCompact,
    OffsetColon,
}

/// Longest first where one begins another.
const PARTS: [(&str, Part); 18] = [
    ("yyyy", Part::Year4),
    ("rrrr", Part::Year4),
    ("yy", Part::Year2),
    ("rr", Part::Year2),
    ("mss", Part::Fraction),
    ("mm", Part::Month),
    ("mi", Part::Minute),
    ("dd", Part::Day),
    ("hh", Part::Hour),
    ("hb", Part::TradingHour),
    ("HH", Part::TradingHour),
    ("ss", Part::Second),
    ("tttt", Part::WeekdayName),
    ("ttt", Part::Weekday3),
    ("tt", Part::Weekday2),
    ("ZZZZZZ", Part::OffsetColon),
    ("ZZZZZ", Part::OffsetCompact),
    ("ZZZ", Part::OffsetHours),
];

impl Part {
    /// Parts of one component, and how much each says of it.
    fn component(self) -> (u8, u8) {
        match self {
            Self::Year4 => (0, 4),
            Self::Year2 => (0, 2),
            Self::Month => (1, 0),
            Self::Day => (2, 0),
            Self::Hour => (3, 0),
            Self::TradingHour => (4, 0),
            Self::Minute => (5, 0),
            Self::Second => (6, 0),
            Self::Fraction => (7, 0),
            Self::WeekdayName => (8, 4),
            Self::Weekday3 => (8, 3),
            Self::Weekday2 => (8, 2),
            Self::OffsetColon => (9, 6),
            Self::OffsetCompact => (9, 5),
            Self::OffsetHours => (9, 3),
        }
    }
}

impl TimeMask {
    /// Reads a mask.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let kind = match text {
            "UNIX" => Kind::Unix { digits: 0 },
            "UNIXMS" => Kind::Unix { digits: 3 },
            "UNIXUS" => Kind::Unix { digits: 6 },
            "UNIXNS" => Kind::Unix { digits: 9 },
            "RFC3339" => Kind::Rfc3339,
            _ => Kind::Tokens(tokens(text)?),
        };
        Ok(Self { kind })
    }

    /// Reads a time, given as text or as the digits of a number; surrounding blanks are allowed.
    ///
    /// A local time that a change of the zone's offset leaves out is a [`BadTime`]; of one that
    /// occurs twice it is the later, standard time.
    pub fn read(&self, text: &str, zone: &Zone) -> Result<Timestamp, BadTime> {
        let text = text.trim();
        match &self.kind {
            Kind::Unix { digits } => read::unix(text, *digits),
            Kind::Rfc3339 => rfc3339::read(text),
            Kind::Tokens(tokens) => Reading::new(text).run(tokens)?.resolve(zone),
        }
    }

    /// Writes a time. What the mask has no room for is cut off.
    pub fn format(&self, time: Timestamp, zone: &Zone) -> String {
        match &self.kind {
            Kind::Unix { digits } => write::unix(time, *digits).to_string(),
            Kind::Rfc3339 => time.to_string(),
            Kind::Tokens(tokens) => write::tokens(tokens, time, zone),
        }
    }

    /// Whether times are numbers: a JSON document then has them without quotes.
    pub fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Unix { .. })
    }
}

/// Reads an RFC 3339 date and time: `T`, `t` or a blank between them, any case, any number of
/// fraction digits (nine count), second 60 as the second after 59.
pub fn read_rfc3339(text: &str) -> Result<Timestamp, BadTime> {
    rfc3339::read(text.trim())
}

fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let pieces = pieces(text);
    let mut chosen: [Option<usize>; 10] = [None; 10];
    for (position, (_, part)) in pieces.iter().enumerate() {
        let Some(part) = part else { continue };
        let (component, length) = part.component();
        let better =
            |other: usize| pieces[other].1.is_none_or(|other| other.component().1 < length);
        let place = &mut chosen[component as usize];
        if place.is_none_or(better) {
            *place = Some(position);
        }
    }
    check(text, &pieces, &chosen)?;
    let mut tokens = Vec::new();
    let mut literal = String::new();
    for (position, (piece, part)) in pieces.iter().enumerate() {
        match part {
            Some(part) if chosen[part.component().0 as usize] == Some(position) => {
                if !literal.is_empty() {
                    tokens.push(Token::Literal(std::mem::take(&mut literal).into()));
                }
                tokens.push(Token::Part(*part));
            }
            _ => literal.push_str(piece),
        }
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal.into()));
    }
    Ok(tokens)
}

fn pieces(text: &str) -> Vec<(&str, Option<Part>)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let found = PARTS.iter().find(|(token, _)| rest.starts_with(token));
        let (length, part) = match found {
            Some((token, part)) => (token.len(), Some(*part)),
            None => (character.len_utf8(), None),
        };
        pieces.push((&rest[..length], part));
        rest = &rest[length..];
    }
    pieces
}

fn check(
    text: &str,
    pieces: &[(&str, Option<Part>)],
    chosen: &[Option<usize>; 10],
) -> Result<(), SyntaxError> {
    let has = |part: Part| chosen[part.component().0 as usize].is_some();
    for (part, name) in
        [(Part::Year4, "`yyyy` or `yy`"), (Part::Month, "`mm`"), (Part::Day, "`dd`")]
    {
        if !has(part) {
            return Err(not_a_mask(text, name));
        }
    }
    if has(Part::Hour) && has(Part::TradingHour) {
        let at = text.find("HH").or_else(|| text.find("hb")).unwrap_or_default();
        return Err(SyntaxError::new(at, "a time mask has either `hh` or the trading hour `HH`"));
    }
    let months = pieces.iter().filter(|(_, part)| *part == Some(Part::Month)).count();
    if months > 1 && !has(Part::Minute) {
        let at = text.rfind("mm").unwrap_or_default();
        return Err(SyntaxError::new(at, "`mm` stands twice in the time mask")
            .help("`mm` is the month; minutes are `mi`"));
    }
    Ok(())
}

fn not_a_mask(text: &str, missing: &str) -> SyntaxError {
    let special = ["UNIX", "UNIXMS", "UNIXUS", "UNIXNS", "RFC3339"];
    let upper = text.to_ascii_uppercase();
    let near = special
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&upper, word), word))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let error = SyntaxError::new(0, format!("the time mask has no {missing}"));
    match near {
        Some((_, word)) => error.help(format!("did you mean `{word}`?")),
        None => error.help(
            "write `UNIX`, `UNIXMS`, `UNIXUS`, `UNIXNS`, `RFC3339`, or a mask such as \
             `yyyy-mm-dd hh:mi:ss.mss`",
        ),
    }
}

#[cfg(test)]
mod tests;
