//! Tags as written, from `[[tag]]` tables and from CSV rows.

use std::borrow::Cow;

use toml::de::DeValue;

use super::cells::{Cell, Rows};
use super::document::{Section, Written, kind_of};
use super::keys::SectionKind;
use super::problems::Problems;
use super::resolve::Work;
use super::source::{FileId, Place};
use super::{quantity, suggest, unsupported};

/// The keys of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagKey {
    Name,
    Station,
    Type,
    Address,
    Description,
    Unit,
    Scale,
    Offset,
    Deadband,
    Min,
    Max,
    Initial,
    OnText,
    OffText,
    When,
}

impl TagKey {
    pub(super) const ALL: [Self; 15] = [
        Self::Name,
        Self::Station,
        Self::Type,
        Self::Address,
        Self::Description,
        Self::Unit,
        Self::Scale,
        Self::Offset,
        Self::Deadband,
        Self::Min,
        Self::Max,
        Self::Initial,
        Self::OnText,
        Self::OffText,
        Self::When,
    ];
    const REQUIRED: [Self; 4] = [Self::Name, Self::Station, Self::Type, Self::Address];

    /// As in a header row or a table; [`SectionKind::Tag`] lists them in the same order.
    pub(super) fn as_str(self) -> &'static str {
        SectionKind::Tag.keys()[self as usize]
    }
}

/// A value as written.
pub(super) enum Scalar<'a> {
    /// Of a CSV file, which knows no types.
    Cell(Cow<'a, str>),
    Text(Cow<'a, str>),
    Integer(i128),
    Real(f64),
    Logical(bool),
    /// A date, a list or a table.
    Other(&'static str),
}

impl Scalar<'_> {
    /// For messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Cell(_) => "a cell",
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a float",
            Self::Logical(_) => "a boolean",
            Self::Other(kind) => kind,
        }
    }
}

/// A value and its place.
pub(super) type Field<'a> = Written<Scalar<'a>>;

/// A tag as written.
pub(super) struct RawTag<'a> {
    /// Its table or row.
    pub(super) place: Place,
    fields: [Option<Field<'a>>; TagKey::ALL.len()],
    /// Where the cells of a row are, empty ones too.
    cells: [Option<Place>; TagKey::ALL.len()],
    /// Keys whose absence has been reported: a missing column, a misspelt key.
    lacking: [bool; TagKey::ALL.len()],
}

impl<'a> RawTag<'a> {
    fn new(place: Place) -> Self {
        Self {
            place,
            fields: Default::default(),
            cells: [None; TagKey::ALL.len()],
            lacking: [false; TagKey::ALL.len()],
        }
    }

    /// A value, unless it is absent or an empty cell.
    pub(super) fn get(&self, key: TagKey) -> Option<&Field<'a>> {
        self.fields[key as usize].as_ref()
    }

    /// Whether the whole file lacks a key.
    pub(super) fn lacks(&self, key: TagKey) -> bool {
        self.lacking[key as usize]
    }

    /// Where the cell of a row is, be it empty.
    pub(super) fn cell_place(&self, key: TagKey) -> Option<Place> {
        self.cells[key as usize]
    }

    /// A `[[tag]]` table.
    pub(super) fn from_table(section: &Section<'a>) -> Self {
        let mut raw = Self::new(section.place);
        for key in TagKey::ALL {
            raw.lacking[key as usize] =
                section.get(key.as_str()).is_none() && !section.lacks(key.as_str());
            raw.fields[key as usize] = section
                .get(key.as_str())
                .map(|item| Written { value: scalar(item.value), place: item.place });
        }
        raw
    }
}

fn scalar<'a>(value: &'a DeValue<'a>) -> Scalar<'a> {
    match value {
        DeValue::String(text) => Scalar::Text(Cow::Borrowed(text)),
        DeValue::Integer(integer) => match quantity::integer(value) {
            Some(integer) => Scalar::Integer(integer),
            // Beyond 128 bits; as a real number it is still what was meant.
            None => integer.as_str().parse().map_or(Scalar::Other("an integer"), Scalar::Real),
        },
        DeValue::Float(float) => {
            float.as_str().parse().map_or(Scalar::Other("a float"), Scalar::Real)
        }
        DeValue::Boolean(logical) => Scalar::Logical(*logical),
        other => Scalar::Other(kind_of(other)),
    }
}

/// What a column holds.
enum Column {
    Known(TagKey),
    /// A key that does not work yet: its cells must ask for nothing.
    Later(&'static unsupported::Row),
    /// Reported in the header, with what was probably meant.
    Unknown(Option<TagKey>),
}

/// Reads a CSV file row by row.
pub(super) fn each_row<'a>(
    file: FileId,
    text: &'a str,
    work: &mut Work,
    mut take: impl FnMut(RawTag<'a>, &mut Work),
) {
    let mut rows = Rows::new(file, text);
    let mut cells = Vec::new();
    let columns = match rows.next(&mut cells) {
        Some(Ok(())) => header(&cells, &mut work.problems),
        Some(Err(error)) => {
            work.problems.syntax(error.place, error.message).help(error.help);
            return;
        }
        None => {
            work.problems
                .file(file, "the file is empty, expected a header row")
                .help("for example `name,station,type,address`");
            return;
        }
    };
    let mut lacking = [false; TagKey::ALL.len()];
    for key in TagKey::REQUIRED {
        let is_key = |column: &Column| matches!(column, Column::Known(known) if *known == key);
        lacking[key as usize] = !columns.iter().any(is_key);
    }
    while let Some(result) = rows.next(&mut cells) {
        match result {
            Ok(()) => {
                if let Some(mut raw) = row(&mut cells, &columns, &mut work.problems) {
                    raw.lacking = lacking;
                    take(raw, work);
                }
            }
            Err(error) => {
                work.problems.syntax(error.place, error.message).help(error.help);
            }
        }
    }
}

fn header(cells: &[Cell<'_>], problems: &mut Problems) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::with_capacity(cells.len());
    for (position, cell) in cells.iter().enumerate() {
        let name = cell.text.as_ref();
        let twin = cells[..position].iter().find(|other| other.text == cell.text);
        if let Some(twin) = twin {
            problems
                .wrong(cell.place, format!("a second column `{name}`"))
                .first("the first one is", twin.place);
            columns.push(Column::Unknown(None));
            continue;
        }
        columns.push(column(cell, problems));
    }
    let all = Place { end: cells.last().map_or(0, |cell| cell.place.end), ..cells[0].place };
    if let [cell] = cells
        && cell.text.contains([';', '\t'])
    {
        problems
            .wrong(all, "expected commas between the columns")
            .help("save the file with commas as separators; numbers have a decimal point");
        return columns;
    }
    for key in TagKey::REQUIRED {
        let is_key = |column: &Column| match column {
            Column::Known(known) | Column::Unknown(Some(known)) => *known == key,
            _ => false,
        };
        if !columns.iter().any(is_key) {
            problems.missing(all, format!("the header has no column `{}`", key.as_str()));
        }
    }
    columns
}

fn column(cell: &Cell<'_>, problems: &mut Problems) -> Column {
    let name = cell.text.as_ref();
    if let Some(key) = TagKey::ALL.into_iter().find(|key| key.as_str() == name) {
        return Column::Known(key);
    }
    if let Some(row) = unsupported::find(SectionKind::Tag, name) {
        return Column::Later(row);
    }
    if name.contains([';', '\t']) {
        // One message about the separator says it all.
        return Column::Unknown(None);
    }
    if name.is_empty() {
        problems
            .wrong(cell.place, "a column without a name")
            .help("remove the comma that is too many");
        return Column::Unknown(None);
    }
    let keys = TagKey::ALL.map(TagKey::as_str);
    let problem = problems.wrong(cell.place, format!("unknown column `{name}`"));
    let likely = suggest::nearest(name, keys);
    match likely {
        Some(likely) => problem.help(format!("did you mean `{likely}`?")),
        None => problem.help(format!("the columns are {}", suggest::list(keys))),
    };
    Column::Unknown(TagKey::ALL.into_iter().find(|key| Some(key.as_str()) == likely))
}

/// A row; `None` when its cells cannot be told apart.
fn row<'a>(
    cells: &mut Vec<Cell<'a>>,
    columns: &[Column],
    problems: &mut Problems,
) -> Option<RawTag<'a>> {
    let place = Place { end: cells.last().map_or(0, |cell| cell.place.end), ..cells[0].place };
    if cells.len() != columns.len() {
        let at = cells.get(columns.len()).map_or(place, |surplus| surplus.place);
        let count =
            |count: usize| if count == 1 { "1 cell".into() } else { format!("{count} cells") };
        let message =
            format!("the row has {}, the header has {}", count(cells.len()), columns.len());
        let problem = problems.syntax(at, message);
        if cells.len() > columns.len() {
            problem.help("a cell with a comma stands in quotes");
        }
        return None;
    }
    let mut raw = RawTag::new(place);
    for (cell, column) in cells.drain(..).zip(columns) {
        match column {
            Column::Known(key) => {
                raw.cells[*key as usize] = Some(cell.place);
                if !cell.text.is_empty() {
                    raw.fields[*key as usize] =
                        Some(Written { value: Scalar::Cell(cell.text), place: cell.place });
                }
            }
            Column::Later(row) => {
                if !cell.text.is_empty() && !row.neutral.accepts(&DeValue::String(cell.text)) {
                    problems
                        .wrong(cell.place, format!("`{}` is not supported yet", row.key))
                        .help("leave the cell empty");
                }
            }
            Column::Unknown(_) => {}
        }
    }
    Some(raw)
}
