//! A second reading of the specification, made of other code: whether bytes are a legal packet of a
//! server. It knows no reasons, only yes and no, so it stays small enough to be checked by eye.

/// One row of table 2-4: identifier, type, packets that a server may send it in, legal numbers.
/// Types: `b` byte, `2` and `4` integers, `v` variable, `s` text, `d` binary, `p` pair, `t` topic.
/// Packets by the upper half of their first byte.
pub(super) const TABLE: &[(u32, u8, &[u8], std::ops::RangeInclusive<u32>)] = &[
    (1, b'b', &[3], 0..=1),
    (2, b'4', &[3], 0..=u32::MAX),
    (3, b's', &[3], 0..=0),
    (8, b't', &[3], 0..=0),
    (9, b'd', &[3], 0..=0),
    (11, b'v', &[3], 1..=u32::MAX),
    (17, b'4', &[2], 0..=u32::MAX),
    (18, b's', &[2], 0..=0),
    (19, b'2', &[2], 0..=u32::MAX),
    (21, b's', &[2, 15], 0..=0),
    (22, b'd', &[2, 15], 0..=0),
    (23, b'b', &[], 0..=1),
    (24, b'4', &[], 0..=u32::MAX),
    (25, b'b', &[], 0..=1),
    (26, b's', &[2], 0..=0),
    (28, b's', &[2, 14], 0..=0),
    (31, b's', &[2, 4, 5, 6, 7, 9, 11, 14, 15], 0..=0),
    (33, b'2', &[2], 1..=u32::MAX),
    (34, b'2', &[2], 0..=u32::MAX),
    (35, b'2', &[3], 1..=u32::MAX),
    (36, b'b', &[2], 0..=1),
    (37, b'b', &[2], 0..=1),
    (38, b'p', &[2, 3, 4, 5, 6, 7, 9, 11, 14, 15], 0..=0),
    (39, b'4', &[2], 1..=u32::MAX),
    (40, b'b', &[2], 0..=1),
    (41, b'b', &[2], 0..=1),
    (42, b'b', &[2], 0..=1),
];

fn cut<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front)
}

fn number(bytes: &mut &[u8], width: usize) -> Option<u32> {
    Some(cut(bytes, width)?.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
}

fn variable(bytes: &mut &[u8]) -> Option<u32> {
    let length = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let digits = cut(bytes, length)?;
    let value = digits.iter().rev().fold(0, |value, &byte| value << 7 | u32::from(byte & 0x7f));
    (length == 1 || digits[length - 1] != 0).then_some(value)
}

fn binary<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(bytes, 2)?;
    cut(bytes, length as usize)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    str::from_utf8(binary(bytes)?).ok().filter(|text| !text.contains('\0'))
}

/// The properties behind their length; the identifiers that occurred.
fn properties(bytes: &mut &[u8], packet: u8) -> Option<Vec<u32>> {
    let length = variable(bytes)?;
    let mut own = cut(bytes, length as usize)?;
    let mut seen = vec![];
    while !own.is_empty() {
        let identifier = variable(&mut own)?;
        let (_, kind, packets, legal) = TABLE.iter().find(|row| row.0 == identifier)?;
        let repeats = seen.contains(&identifier) && !matches!(identifier, 11 | 38);
        if repeats || !packets.contains(&packet) {
            return None;
        }
        seen.push(identifier);
        let value = match kind {
            b'b' => number(&mut own, 1)?,
            b'2' => number(&mut own, 2)?,
            b'4' => number(&mut own, 4)?,
            b'v' => variable(&mut own)?,
            b'd' => binary(&mut own).map(|_| 0)?,
            b's' => text(&mut own).map(|_| 0)?,
            b't' => {
                let topic = text(&mut own)?;
                (!topic.is_empty() && !topic.contains(['+', '#'])).then_some(0)?
            }
            _ => text(&mut own).and_then(|_| text(&mut own)).map(|_| 0)?,
        };
        if !legal.contains(&value) {
            return None;
        }
    }
    Some(seen)
}

fn packet_id(bytes: &mut &[u8]) -> Option<()> {
    number(bytes, 2).filter(|&id| id > 0).map(drop)
}

fn codes(packet: u8) -> &'static [u8] {
    match packet {
        2 => {
            b"\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f"
        }
        4 | 5 => b"\x00\x10\x80\x83\x87\x90\x91\x97\x99",
        6 | 7 => b"\x00\x92",
        9 => b"\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2",
        11 => b"\x00\x11\x80\x83\x87\x8f\x91",
        14 => {
            b"\x00\x80\x81\x82\x83\x87\x89\x8b\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\
              \x9c\x9d\x9e\x9f\xa0\xa1\xa2"
        }
        _ => b"\x00\x18",
    }
}

/// Whether these are exactly one legal packet of a server.
pub(super) fn is_legal(bytes: &[u8]) -> bool {
    inner(bytes).is_some()
}

fn inner(mut bytes: &[u8]) -> Option<()> {
    let first = number(&mut bytes, 1)? as u8;
    let (packet, flags) = (first >> 4, first & 15);
    if variable(&mut bytes)? as usize != bytes.len() {
        return None;
    }
    let code =
        |bytes: &mut &[u8]| number(bytes, 1).filter(|&code| codes(packet).contains(&(code as u8)));
    let body = &mut bytes;
    match (packet, flags) {
        (2, 0) => {
            number(body, 1).filter(|&flags| flags < 2)?;
            if body.len() == 1 {
                return Some(()); // MQTT 3.1.1
            }
            code(body)?;
            let seen = properties(body, 2)?;
            (!seen.contains(&22) || seen.contains(&21)).then_some(())?;
        }
        (3, _) => {
            let qos = flags >> 1 & 3;
            if qos == 3 || qos == 0 && flags & 8 != 0 {
                return None;
            }
            let topic = text(body)?;
            if qos > 0 {
                packet_id(body)?;
            }
            let seen = properties(body, 3)?;
            if topic.contains(['+', '#']) || topic.is_empty() && !seen.contains(&35) {
                return None;
            }
            return Some(());
        }
        (4 | 5 | 7, 0) | (6, 2) => {
            packet_id(body)?;
            if !body.is_empty() {
                code(body)?;
            }
            if !body.is_empty() {
                properties(body, packet)?;
            }
        }
        (9 | 11, 0) => {
            packet_id(body)?;
            properties(body, packet)?;
            code(body)?;
            while !body.is_empty() {
                code(body)?;
            }
        }
        (13, 0) => {}
        (14, 0) => {
            if !body.is_empty() {
                code(body)?;
            }
            if !body.is_empty() {
                properties(body, packet)?;
            }
        }
        (15, 0) => {
            code(body)?;
            properties(body, packet)?.contains(&21).then_some(())?;
        }
        _ => return None,
    }
    body.is_empty().then_some(())
}
