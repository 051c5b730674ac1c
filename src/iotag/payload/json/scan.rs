//! A scanner of JSON tokens that gives up at the first doubt.
//!
//! It accepts a part of RFC 8259: values nested not too deep, and names without escapes where names
//! are asked for. Every method that returns an `Option` says `None` when it gives up.

/// A place in a document; the text is UTF-8, which is not looked at again.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Deepest nesting of skipped values.
const DEPTH_MAX: u32 = 64;
/// One in every byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of every byte of a word.
const HIGHS: u64 = ONES << 7;

/// Whether two texts of one length are the same; short ones without a call.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
        one.first_chunk::<N>() == other.first_chunk() && one.last_chunk::<N>() == other.last_chunk()
    }
    match one.len() {
        8..=16 => ends::<8>(one, other),
        4..=7 => ends::<4>(one, other),
        2..=3 => ends::<2>(one, other),
        _ => one == other,
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes to a place, where it was before.
    #[inline]
    pub(super) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next byte; at the end 0, which begins nothing.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek() == byte).then(|| self.at += 1)
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// The colon after a name, and the blanks around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Option<()> {
        self.blanks();
        self.eat(b':')?;
        self.blanks();
        Some(())
    }

    /// What follows a value inside a container, and the blanks around it: whether it is the end.
    #[inline]
    pub(super) fn comma_or(&mut self, end: u8) -> Option<bool> {
        self.blanks();
        let is_end = self.peek() == end;
        if !is_end {
            self.eat(b',')?;
            self.blanks();
        } else {
            self.at += 1;
        }
        Some(is_end)
    }

    /// Eats a name and its closing quote if it is this one, which has nothing to be escaped.
    #[inline]
    pub(super) fn eat_name(&mut self, name: &[u8]) -> bool {
        // Most other names have another length.
        let end = self.at + name.len();
        let is_it = self.bytes.get(end) == Some(&b'"') && same(&self.bytes[self.at..end], name);
        if is_it {
            self.at = end + 1;
        }
        is_it
    }

    /// A name without escapes, and its closing quote.
    pub(super) fn name(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.plain_text();
        let name = &self.bytes[start..self.at];
        self.eat(b'"')?;
        Some(name)
    }

    /// Skips a value.
    #[inline]
    pub(super) fn skip(&mut self) -> Option<()> {
        self.skip_at(0)
    }

    #[inline]
    fn skip_at(&mut self, depth: u32) -> Option<()> {
        match self.peek() {
            b'0'..=b'9' | b'-' => self.number(),
            b'"' => self.text(),
            b'{' | b'[' => self.container(depth),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn container(&mut self, depth: u32) -> Option<()> {
        if depth == DEPTH_MAX {
            return None;
        }
        let is_object = self.peek() == b'{';
        let end = if is_object { b'}' } else { b']' };
        self.at += 1;
        self.blanks();
        if self.eat(end).is_some() {
            return Some(());
        }
        loop {
            if is_object {
                self.text()?;
                self.colon()?;
            }
            self.skip_at(depth + 1)?;
            if self.comma_or(end)? {
                return Some(());
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    #[inline]
    fn number(&mut self) -> Option<()> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        // After a leading zero a digit is a mistake: neither a comma nor an end.
        Some(())
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// A text with its quotes. An escape that is half a character is one here: whoever wants the
    /// text finds out.
    pub(super) fn text(&mut self) -> Option<()> {
        self.eat(b'"')?;
        loop {
            self.plain_text();
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Option<()> {
        match *self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    /// Goes on to the next quote, backslash or control character, or to the end.
    #[inline]
    fn plain_text(&mut self) {
        while let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            let word = u64::from_le_bytes(*word);
            // The lowest byte that is marked is one of them; above it there may be false marks.
            let zero = |word: u64| word.wrapping_sub(ONES) & !word;
            let quote = zero(word ^ (ONES * b'"' as u64));
            let backslash = zero(word ^ (ONES * b'\\' as u64));
            let control = word.wrapping_sub(ONES * 0x20) & !word;
            let marks = (quote | backslash | control) & HIGHS;
            if marks != 0 {
                self.at += marks.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.bytes.get(self.at).is_some_and(|byte| *byte >= b' ' && !b"\"\\".contains(byte)) {
            self.at += 1;
        }
    }
}
