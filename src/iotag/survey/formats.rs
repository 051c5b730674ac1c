//! Texts that are no JSON: XML, line protocol, CSV, single words and numbers.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::document::{kind_of_texts, unit_in_name};
use super::{CsvFound, Kind, Leaf, Survey, TimeFound, time, time_mask_of};
use crate::iotag::PayloadType;
use crate::iotag::payload::influx;

/// A place and the texts that stood there.
struct Place {
    address: String,
    names: Vec<String>,
    texts: Vec<String>,
}

fn note(places: &mut Vec<Place>, address: String, names: Vec<String>, text: String) {
    match places.iter_mut().find(|place| place.address == address) {
        Some(place) => place.texts.push(text),
        None => places.push(Place { address, names, texts: vec![text] }),
    }
}

/// Places to leaves, but for the one that is the time.
fn leaves(places: Vec<Place>, prefix: &str, payloads: usize, survey: &mut Survey) {
    let mut best: Option<(usize, usize, &'static str)> = None;
    for (position, place) in places.iter().enumerate() {
        let rank = place.names.first().and_then(|name| time::rank(name));
        let texts: Vec<&str> = place.texts.iter().map(String::as_str).collect();
        if let (Some(rank), Some(mask)) = (rank, time_mask_of(&texts))
            && best.is_none_or(|(_, best, _)| rank < best)
        {
            best = Some((position, rank, mask));
        }
    }
    if let Some((position, _, mask)) = best {
        let place = &places[position];
        let optional = place.texts.len() < payloads;
        survey.time = Some(TimeFound { field: place.address.clone(), mask, optional });
    }
    for (position, place) in places.into_iter().enumerate() {
        if best.is_some_and(|(time, ..)| time == position) {
            continue;
        }
        let texts: Vec<&str> = place.texts.iter().map(String::as_str).collect();
        let name = place.names.first().map_or("", String::as_str);
        survey.leaves.push(Leaf {
            address: format!("{prefix}{}", place.address),
            kind: kind_of_texts(&texts, name),
            unit: unit_in_name(name),
            example: place.texts.last().cloned().unwrap_or_default(),
            optional: place.texts.len() < payloads,
            names: place.names,
            when: String::new(),
        });
    }
}

/// XML documents: elements with text, and attributes.
pub(super) fn xml(texts: &[&str]) -> Option<Survey> {
    let mut places = Vec::new();
    for text in texts {
        if !text.trim_start().starts_with('<') {
            return None;
        }
        xml_document(text, &mut places)?;
    }
    let mut survey = Survey::of_type(PayloadType::Xml);
    leaves(places, "XA=", texts.len(), &mut survey);
    (!survey.leaves.is_empty()).then_some(survey)
}

/// An element that is open: its step, and how often each child's name has come.
struct Open {
    name: String,
    step: String,
    children: Vec<(String, u32)>,
    text: String,
}

fn xml_document(text: &str, places: &mut Vec<Place>) -> Option<()> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Open> = vec![Open {
        name: String::new(),
        step: String::new(),
        children: Vec::new(),
        text: String::new(),
    }];
    loop {
        match reader.read_event().ok()? {
            event @ (Event::Start(_) | Event::Empty(_)) => {
                let (start, is_empty) = match &event {
                    Event::Start(start) => (start, false),
                    Event::Empty(start) => (start, true),
                    _ => return None,
                };
                let name = start.local_name().as_ref().to_owned();
                let parent = open.last_mut()?;
                let index = match parent.children.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, count)) => {
                        *count += 1;
                        *count
                    }
                    None => {
                        parent.children.push((name.clone(), 1));
                        1
                    }
                };
                let step = if index == 1 { name.clone() } else { format!("{name}[{index}]") };
                open.push(Open { name, step, children: Vec::new(), text: String::new() });
                for attribute in start.attributes() {
                    let attribute = attribute.ok()?;
                    let key = attribute.key.local_name();
                    let key = key.as_ref().to_owned();
                    let value = attribute.value.trim().to_owned();
                    if attribute.key.as_ref().starts_with("xmlns") {
                        continue;
                    }
                    let (path, mut names) = path(&open);
                    names.insert(0, key.clone());
                    note(places, format!("{path}/@{key}"), names, value);
                }
                if is_empty {
                    close(&mut open, places)?;
                }
            }
            Event::Text(text) => {
                let text = text.trim().to_owned();
                open.last_mut()?.text.push_str(&text);
            }
            Event::End(_) => close(&mut open, places)?,
            Event::Eof => return (open.len() == 1).then_some(()),
            _ => {}
        }
    }
}

fn close(open: &mut Vec<Open>, places: &mut Vec<Place>) -> Option<()> {
    let (path, names) = path(open);
    let element = open.pop()?;
    if element.children.is_empty() && !element.text.is_empty() {
        note(places, path, names, element.text);
    }
    Some(())
}

fn path(open: &[Open]) -> (String, Vec<String>) {
    let path: String = open[1..].iter().map(|element| format!("/{}", element.step)).collect();
    (path, open[1..].iter().rev().map(|element| element.name.clone()).collect())
}

/// Line protocol: every field of every series.
pub(super) fn influx(texts: &[&str]) -> Option<Survey> {
    let mut survey = Survey::of_type(PayloadType::Influx);
    let mut places: Vec<(String, Vec<String>, Vec<influx::SeriesField>)> = Vec::new();
    for text in texts {
        let fields = influx::series(text.as_bytes()).ok()?;
        for field in fields {
            let address = field.address();
            match places.iter_mut().find(|(known, ..)| *known == address) {
                Some((.., seen)) => seen.push(field),
                None => places.push((address, field.names(), vec![field])),
            }
        }
    }
    if places.is_empty() {
        return None;
    }
    for (address, names, seen) in places {
        let texts: Vec<&str> = seen.iter().map(|field| field.value.as_str()).collect();
        let kind = match seen[0].kind {
            "integer" if seen.iter().all(|field| field.kind == "integer") => Kind::Counter,
            "boolean" => Kind::Logical,
            "text" => Kind::Text,
            _ => Kind::Number,
        };
        survey.leaves.push(Leaf {
            address,
            unit: names.first().map(|name| unit_in_name(name)).unwrap_or_default(),
            names,
            kind,
            example: texts.last().map(|text| (*text).to_owned()).unwrap_or_default(),
            optional: true,
            when: String::new(),
        });
    }
    survey.notes.push("each line has its own time".to_owned());
    Some(survey)
}

/// CSV: several cells in every row, as many in each.
pub(super) fn csv(texts: &[&str]) -> Option<Survey> {
    [',', ';', '\t', '|'].into_iter().find_map(|delimiter| csv_with(texts, delimiter))
}

fn csv_with(texts: &[&str], delimiter: char) -> Option<Survey> {
    let mut payloads: Vec<Vec<Vec<String>>> = Vec::new();
    for text in texts {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(delimiter as u8)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let rows: Result<Vec<Vec<String>>, _> = reader
            .records()
            .map(|row| row.map(|row| row.iter().map(str::to_owned).collect()))
            .collect();
        payloads.push(rows.ok()?);
    }
    let width = payloads.first()?.first()?.len();
    let is_number = |cell: &String| cell.parse::<f64>().is_ok();
    let rows = || payloads.iter().flatten();
    if width < 2 || rows().any(|row| row.len() != width) {
        return None;
    }
    let first = &payloads[0][0];
    let header = payloads.iter().all(|rows| rows.len() > 1 && rows[0] == *first)
        && !first.iter().any(|cell| cell.is_empty() || is_number(cell));
    // A sentence with commas is no table.
    if !header && !rows().all(|row| row.iter().any(is_number)) {
        return None;
    }
    let mut survey = Survey::of_type(PayloadType::Csv);
    survey.csv = Some(CsvFound { delimiter, header });
    let mut places = Vec::new();
    for rows in &payloads {
        for row in &rows[usize::from(header)..] {
            for (column, cell) in row.iter().enumerate() {
                let name = match header {
                    true => first[column].clone(),
                    false => (column + 1).to_string(),
                };
                let shown = if header { name.clone() } else { format!("column_{name}") };
                if !cell.is_empty() {
                    note(&mut places, name, vec![shown], cell.clone());
                }
            }
        }
    }
    leaves(places, "CA=", 0, &mut survey);
    for leaf in &mut survey.leaves {
        leaf.optional = false;
    }
    (!survey.leaves.is_empty()).then_some(survey)
}

/// One word or number: read as a table of one cell, which converts what JSON does not know, such as
/// `on` and `+5`.
pub(super) fn word(texts: &[&str]) -> Option<Survey> {
    let cells: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
    if cells.iter().any(|cell| cell.is_empty() || cell.contains(['\n', '\r', '"', '\u{1f}'])) {
        return None;
    }
    let kind = kind_of_texts(&cells, "");
    if !matches!(kind, Kind::Logical | Kind::Number | Kind::Counter | Kind::Moment) {
        return None;
    }
    let mut survey = Survey::of_type(PayloadType::Csv);
    // A delimiter that no payload has.
    survey.csv = Some(CsvFound { delimiter: '\u{1f}', header: false });
    survey.notes.push("the payload is one value: a table of one cell".to_owned());
    survey.leaves.push(Leaf {
        address: "CA=1".to_owned(),
        names: vec!["value".to_owned()],
        kind,
        unit: String::new(),
        example: cells.last().map(|cell| (*cell).to_owned()).unwrap_or_default(),
        optional: false,
        when: String::new(),
    });
    Some(survey)
}
