//! The demo's table as text: pure functions from what is known to what is shown.
//!
//! Nothing is printed here and no terminal is asked; [`super`] does both. Texts that came with a
//! message are stripped of control characters, so that a payload cannot drive the terminal.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::iotag::{Quality, Reason};

/// Everything that one picture shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    /// Name of the line.
    pub(super) line: String,
    /// State of the line in a word, such as `connected`.
    pub(super) line_state: String,
    /// Whether that state is a good one.
    pub(super) line_up: bool,
    /// Address of the broker.
    pub(super) broker: String,
    /// Messages received.
    pub(super) messages: u64,
    /// Time since the start.
    pub(super) elapsed: Duration,
    /// Time to the end; `None`: until Ctrl-C.
    pub(super) remaining: Option<Duration>,
    /// The program as the user calls it.
    pub(super) program: String,
    /// The folder for `--config` of a second terminal; empty: it is of no use any more.
    pub(super) config: String,
    /// The stations, in their order.
    pub(super) stations: Vec<StationView>,
}

/// One station and its tags.
#[derive(Clone, Debug, Default)]
pub(super) struct StationView {
    /// Name.
    pub(super) name: String,
    /// Address as written.
    pub(super) address: String,
    /// Its tags, in their order.
    pub(super) tags: Vec<TagRow>,
}

/// One tag.
#[derive(Clone, Debug)]
pub(super) struct TagRow {
    /// Name.
    pub(super) name: String,
    /// The last value as text; `None`: there was none yet.
    pub(super) value: Option<String>,
    /// Whether the value is a number, which is aligned to the right.
    pub(super) numeric: bool,
    /// Engineering unit.
    pub(super) unit: String,
    /// Quality.
    pub(super) quality: Quality,
    /// Its reason.
    pub(super) reason: Reason,
    /// Time since the value was received.
    pub(super) age: Option<Duration>,
    /// Free text.
    pub(super) description: String,
}

/// What the picture is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paper {
    /// Columns; nothing is wider, but for the line to be copied when there is no height.
    pub(super) width: usize,
    /// Lines; `None`: endless, and no page is turned.
    pub(super) height: Option<usize>,
    /// Whether escape codes for colours are wanted.
    pub(super) colour: bool,
}

impl Paper {
    /// A terminal of that size, or plain text for anything else.
    ///
    /// `size` is columns and lines of the terminal; `no_color` the environment variable `NO_COLOR`,
    /// which counts unless it is empty.
    pub(super) fn new(is_terminal: bool, size: Option<(u16, u16)>, no_color: Option<&str>) -> Self {
        if !is_terminal {
            return Self { width: PLAIN_WIDTH, height: None, colour: false };
        }
        let (width, height) = size.unwrap_or((80, 24));
        Self {
            width: usize::from(width).max(1),
            height: Some(usize::from(height)),
            colour: no_color.is_none_or(str::is_empty),
        }
    }
}

/// The picture: lines without trailing spaces, each ended by a line feed.
pub(super) fn render(screen: &Screen, paper: Paper) -> String {
    let columns = Columns::of(screen, paper);
    let foot = foot(screen, paper);
    let frame_lines = 3 + foot.len();
    let room = paper.height.map(|height| height.saturating_sub(frame_lines).max(2));
    let pages = pages(screen, &columns, room);
    let page = (screen.elapsed.as_secs() / PAGE_SECONDS) as usize % pages.len().max(1);

    let mut text = String::new();
    head(screen, page, pages.len()).print(paper, &mut text);
    text.push('\n');
    for line in pages.get(page).into_iter().flatten() {
        line.print(paper, &mut text);
    }
    text.push('\n');
    for line in foot {
        line.print(paper, &mut text);
    }
    text
}

/// Switches to a screen of its own, so that the user's terminal is as it was afterwards.
pub(super) const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";

/// Undoes [`ENTER`].
pub(super) const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A picture over the last one, without flicker and without scrolling.
pub(super) fn overlay(picture: &str) -> String {
    let lines = picture.trim_end_matches('\n').replace('\n', "\x1b[K\r\n");
    format!("\x1b[H{lines}\x1b[K\x1b[J")
}

/// Columns that every line keeps, whatever the values are, so that the table stands still.
struct Columns {
    name: usize,
    /// Value and unit.
    field: usize,
}

impl Columns {
    fn of(screen: &Screen, paper: Paper) -> Self {
        let tags = || screen.stations.iter().flat_map(|station| &station.tags);
        let widest = |width: fn(&TagRow) -> usize| tags().map(width).max().unwrap_or(0);
        let name = widest(|tag| tag.name.width());
        let others = 2 + name + 2 + 2 + QUALITY_COLUMNS + 2 + AGE_COLUMNS + 2 + DESCRIPTION_COLUMNS;
        let number = VALUE_COLUMNS + 1 + widest(|tag| tag.unit.width());
        let field = paper.width.saturating_sub(others).clamp(TEXT_COLUMNS.0, TEXT_COLUMNS.1);
        Self { name, field: field.max(number) }
    }
}

fn head(screen: &Screen, page: usize, pages: usize) -> Line {
    let state = if screen.line_up { Style::Good } else { Style::Bad };
    let mut time = format!("{} elapsed", duration(screen.elapsed));
    if let Some(remaining) = screen.remaining {
        time.push_str(&format!(", {} to go", duration(remaining)));
    }
    let mut line = Line::default();
    line.add(Style::Strong, "tagline demo");
    if pages > 1 {
        line.add(Style::Faint, &format!("  page {} of {pages}", page + 1));
    }
    line.add(Style::Plain, &format!("  line {} ", screen.line));
    line.add(state, &screen.line_state);
    line.add(Style::Plain, &format!("  broker {}", screen.broker));
    line.add(Style::Plain, &format!("  {} messages", screen.messages));
    line.add(Style::Plain, &format!("  {time}"));
    line
}

/// The command is to be copied: it gets a line of its own before it is cut.
fn foot(screen: &Screen, paper: Paper) -> Vec<Line> {
    if screen.config.is_empty() {
        return Vec::new();
    }
    let words = "query it from a second terminal:";
    let command = format!("{} --config {} read 'pump*'", screen.program, screen.config);
    let line = |style, text: &str| {
        let mut line = Line::default();
        line.add(style, text);
        line
    };
    if paper.height.is_some() && words.width() + 1 + command.width() > paper.width {
        return vec![line(Style::Plain, words), line(Style::Strong, &command)];
    }
    let mut one = line(Style::Plain, words);
    one.add(Style::Plain, " ");
    one.add(Style::Strong, &command);
    vec![one]
}

/// The table in pages of at most `room` lines; a station is split only when it fills a page.
fn pages(screen: &Screen, columns: &Columns, room: Option<usize>) -> Vec<Vec<Line>> {
    let Some(room) = room else {
        let lines = screen.stations.iter().flat_map(|station| {
            let rows = station.tags.iter().map(|tag| row(tag, columns));
            std::iter::once(heading(station)).chain(rows)
        });
        return vec![lines.collect()];
    };
    let mut pages = vec![Vec::new()];
    for station in &screen.stations {
        for rows in station.tags.chunks((room - 1).max(1)) {
            let used = pages.last().map_or(0, Vec::len);
            if used > 0 && used + 1 + rows.len() > room {
                pages.push(Vec::new());
            }
            if let Some(page) = pages.last_mut() {
                page.push(heading(station));
                page.extend(rows.iter().map(|tag| row(tag, columns)));
            }
        }
    }
    pages
}

fn heading(station: &StationView) -> Line {
    let mut line = Line::default();
    line.add(Style::Strong, &station.name);
    line.add(Style::Faint, &format!("  {}", station.address));
    line
}

fn row(tag: &TagRow, columns: &Columns) -> Line {
    let mut line = Line::default();
    line.add(Style::Plain, "  ");
    line.add(Style::Plain, &left(&tag.name, columns.name));
    line.add(Style::Plain, "  ");
    let value =
        tag.value.as_deref().map(|value| if tag.numeric { short(value) } else { value.into() });
    let cell = match value {
        None => right("-", VALUE_COLUMNS),
        Some(value) if tag.numeric && value.width() <= VALUE_COLUMNS => {
            format!("{} {}", right(&value, VALUE_COLUMNS), tag.unit)
        }
        Some(value) => format!("{value} {}", tag.unit),
    };
    let cell = left(&cell, columns.field);
    line.add(Style::Plain, &cell);
    line.add(Style::Plain, "  ");
    let style = match tag.quality {
        Quality::Good => Style::Good,
        Quality::Uncertain => Style::Uncertain,
        Quality::Bad => Style::Bad,
    };
    let quality = match tag.reason {
        Reason::Ok => tag.quality.to_string(),
        reason => format!("{} {reason}", tag.quality),
    };
    line.add(style, &left(&quality, QUALITY_COLUMNS));
    let age = tag.age.map_or_else(|| "-".to_owned(), age);
    line.add(Style::Plain, &format!("  {}  ", right(&age, AGE_COLUMNS)));
    line.add(Style::Faint, &tag.description);
    line
}

/// What happened over a whole demo, for the last line.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    stations: Vec<Vec<TagTally>>,
}

#[derive(Clone, Debug, Default)]
struct TagTally {
    last_good: Option<String>,
    changed: bool,
}

impl Tally {
    /// Takes note of what a screen shows. The stations and tags of all screens are the same.
    pub(super) fn observe(&mut self, screen: &Screen) {
        self.stations.resize_with(screen.stations.len(), Vec::new);
        for (tallies, station) in self.stations.iter_mut().zip(&screen.stations) {
            tallies.resize_with(station.tags.len(), TagTally::default);
            for (tally, tag) in tallies.iter_mut().zip(&station.tags) {
                if tag.quality != Quality::Good || tag.value.is_none() {
                    continue;
                }
                tally.changed |= tally.last_good.is_some() && tally.last_good != tag.value;
                tally.last_good.clone_from(&tag.value);
            }
        }
    }

    /// The sum at the end, of the last screen.
    pub(super) fn summary(&self, last: &Screen) -> Summary {
        let changing =
            |(tally, tag): (&TagTally, &TagRow)| tally.changed && tag.quality == Quality::Good;
        let alive = self
            .stations
            .iter()
            .zip(&last.stations)
            .filter(|(tallies, station)| tallies.iter().zip(&station.tags).any(changing));
        let tags = || last.stations.iter().flat_map(|station| &station.tags);
        Summary {
            stations: last.stations.len(),
            stations_changing: alive.count(),
            tags: tags().count(),
            tags_good: tags().filter(|tag| tag.quality == Quality::Good).count(),
            messages: last.messages,
            elapsed: last.elapsed,
        }
    }
}

/// A demo in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Stations of the configuration.
    pub(super) stations: usize,
    /// Those with a tag that is good at the end and had changed while good.
    pub(super) stations_changing: usize,
    /// Tags of the configuration.
    pub(super) tags: usize,
    /// Those that are good at the end.
    pub(super) tags_good: usize,
    /// Messages received.
    pub(super) messages: u64,
    /// How long it ran.
    pub(super) elapsed: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} stations with good changing values, {} of {} tags good, {} messages in {}",
            self.stations_changing,
            self.stations,
            self.tags_good,
            self.tags,
            self.messages,
            duration(self.elapsed),
        )
    }
}

/// How a piece of a line looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Strong,
    Faint,
    Good,
    Uncertain,
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Uncertain => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// A line in pieces, cut to the paper's width before any escape code is in it.
#[derive(Default)]
struct Line {
    pieces: Vec<(Style, String)>,
}

impl Line {
    fn add(&mut self, style: Style, text: &str) {
        self.pieces.push((style, harmless(text)));
    }

    fn print(&self, paper: Paper, out: &mut String) {
        // Endless paper has no edge to cut the command of the foot at.
        let mut room = if paper.height.is_some() { paper.width } else { usize::MAX };
        let mut line = String::new();
        for (style, text) in &self.pieces {
            let piece = clip(text, room);
            room -= piece.width().min(room);
            if paper.colour && *style != Style::Plain && !piece.trim().is_empty() {
                let trimmed = piece.trim_end_matches(' ');
                line.push_str(style.code());
                line.push_str(trimmed);
                line.push_str("\x1b[0m");
                line.push_str(&" ".repeat(piece.len() - trimmed.len()));
            } else {
                line.push_str(&piece);
            }
        }
        out.push_str(line.trim_end_matches(' '));
        out.push('\n');
    }
}

/// Without characters that move the cursor, colour the text or reverse its direction.
fn harmless(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { '·' } else { c }).collect()
}

/// At most so many columns wide; an ellipsis says that something is cut off.
fn clip(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        clipped.push(c);
    }
    if columns > 0 {
        clipped.push('…');
    }
    clipped
}

fn left(text: &str, columns: usize) -> String {
    let mut cell = clip(&harmless(text), columns);
    cell.push_str(&" ".repeat(columns - cell.width().min(columns)));
    cell
}

fn right(text: &str, columns: usize) -> String {
    let cell = clip(text, columns);
    format!("{}{cell}", " ".repeat(columns - cell.width().min(columns)))
}

/// A number that a scale has given more digits than its column has, rounded for the eye; integers
/// and what rounding does not help stay as they are.
fn short(number: &str) -> Cow<'_, str> {
    let exact = number.len() <= VALUE_COLUMNS || !number.contains('.') || number.contains('e');
    match number.parse::<f64>() {
        Ok(real) if !exact => {
            let rounded = format!("{real:.6}");
            Cow::Owned(rounded.trim_end_matches('0').trim_end_matches('.').to_owned())
        }
        _ => Cow::Borrowed(number),
    }
}

/// Whole seconds and more.
fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// With tenths while they mean something.
fn age(age: Duration) -> String {
    if age < Duration::from_secs(10) {
        format!("{:.1} s", (age.as_millis() / 100) as f64 / 10.0)
    } else {
        duration(age)
    }
}

/// Columns of plain text, where there is no terminal to ask. Nothing is cut there.
const PLAIN_WIDTH: usize = 132;
/// Numbers, aligned to the right.
const VALUE_COLUMNS: usize = 12;
/// Values with their units, which texts use as a whole: least and most.
const TEXT_COLUMNS: (usize, usize) = (22, 46);
/// Left for the description before texts get more than the least.
const DESCRIPTION_COLUMNS: usize = 24;
/// The longest quality with its reason: `bad never_received`.
const QUALITY_COLUMNS: usize = 18;
/// The longest age: `119 min`.
const AGE_COLUMNS: usize = 7;
/// How long a page stays.
const PAGE_SECONDS: u64 = 4;

#[cfg(test)]
mod tests;
