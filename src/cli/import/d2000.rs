//! Parameters of D2000 KOM to ours.

mod owners;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use self::owners::Owners;
use crate::cli::files::{Files, quoted};

/// What was made of a list.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) files: Files,
    pub(super) lines: usize,
    pub(super) stations: usize,
    pub(super) tags: usize,
    /// What is not in the files as it was in the list.
    pub(super) notes: Vec<String>,
}

/// Where a parameter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Line,
    Station,
    Tag,
}

/// Known columns: their names and keywords, in lower case, and what they are here.
const COLUMNS: &[(Level, &str, &[&str])] = &[
    (Level::Line, "line", &["line", "line name"]),
    (Level::Line, "host", &["host"]),
    (Level::Line, "port", &["port"]),
    (Level::Line, "line_number", &["line number"]),
    (Level::Line, "full_debug", &["full debug", "fd"]),
    (Level::Line, "mqtt_version", &["mqtt version", "mv"]),
    (Level::Line, "user_name", &["user name", "un"]),
    (Level::Line, "password", &["password", "pw"]),
    (Level::Line, "topic_filter", &["topic filter", "tc"]),
    (Level::Line, "subscribe_qos", &["subscribe qos", "sq"]),
    (Level::Line, "client_id", &["client id", "ci"]),
    (Level::Line, "clean_session", &["clean session flag"]),
    (Level::Line, "publish_qos", &["publish qos"]),
    (Level::Line, "publish_retain", &["publish retain"]),
    (Level::Line, "keep_alive", &["keep alive"]),
    (Level::Line, "ping_interval", &["ping interval"]),
    (Level::Line, "payload_type", &["payload type"]),
    (Level::Line, "time_field_name", &["time field name"]),
    (Level::Line, "time_mask", &["time mask"]),
    (Level::Line, "ignore_missing_time", &["ignore missing time"]),
    (Level::Line, "will_flag", &["will flag"]),
    (Level::Line, "will_qos", &["will qos"]),
    (Level::Line, "will_retain", &["will retain"]),
    (Level::Line, "will_topic", &["will topic"]),
    (Level::Line, "will_message", &["will message"]),
    (Level::Line, "topic_alias_maximum", &["topic alias maximum"]),
    (Level::Line, "reply_timeout", &["reply timeout"]),
    (Level::Line, "wait_timeout", &["wait timeout"]),
    (Level::Line, "max_wait_retry", &["max. wait retry", "max wait retry"]),
    (Level::Station, "station", &["station", "station name"]),
    (Level::Station, "address", &["station address"]),
    (Level::Station, "subscribe_address", &["ssa", "subscribe station address"]),
    (Level::Station, "will_topic", &["swt", "station will topic"]),
    (Level::Station, "will_payload", &["swp", "station will payload"]),
    (Level::Station, "payload_type", &["fpt", "station payload type"]),
    (Level::Station, "time_field_name", &["ftf", "station time field name"]),
    (Level::Station, "time_mask", &["ftm", "station time mask"]),
    (Level::Station, "publish_content_type", &["mqtt 5.0 compression"]),
    (Level::Tag, "name", &["tag name", "name", "i/o tag", "tag"]),
    (Level::Tag, "type", &["type", "value type", "tag type"]),
    (Level::Tag, "address", &["address", "tag address"]),
    (Level::Tag, "description", &["description", "title"]),
    (Level::Tag, "unit", &["unit", "tech. unit", "technical unit"]),
    (Level::Tag, "initial", &["start value", "default value", "initial"]),
    (Level::Tag, "on_text", &["on text", "text on"]),
    (Level::Tag, "off_text", &["off text", "text off"]),
];

/// What a column of the list is.
enum Column {
    Known(Level, &'static str),
    Unknown(String),
}

/// Parameters by key, in the order in which they came, with the row of each.
#[derive(Default)]
struct Parameters {
    known: Vec<(&'static str, String, usize)>,
    unknown: Vec<(String, String)>,
}

impl Parameters {
    fn get(&self, key: &str) -> Option<&str> {
        self.known.iter().find(|(known, ..)| *known == key).map(|(_, value, _)| value.as_str())
    }

    /// Takes a value; a second one must be the same.
    fn set(&mut self, key: &'static str, value: &str, row: usize) -> Result<(), String> {
        match self.known.iter().find(|(known, ..)| *known == key) {
            Some((_, other, first)) if other != value => {
                Err(format!("`{value}` is another {key} than `{other}` in row {first}"))
            }
            Some(_) => Ok(()),
            None => {
                self.known.push((key, value.to_owned(), row));
                Ok(())
            }
        }
    }

    fn set_unknown(&mut self, name: &str, value: &str) {
        let pair = (name.to_owned(), value.to_owned());
        if !self.unknown.contains(&pair) {
            self.unknown.push(pair);
        }
    }
}

#[derive(Default)]
struct Station {
    name: String,
    /// The first that is its.
    row: usize,
    parameters: Parameters,
    tags: Vec<Parameters>,
}

#[derive(Default)]
struct Line {
    name: String,
    parameters: Parameters,
    stations: Vec<Station>,
}

/// Converts a list; the mistakes are `row: what`.
pub(super) fn convert(text: &str) -> Result<Imported, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Spreadsheets may say their delimiter in a line before the header.
    let (skipped, text) = match text.split_once('\n') {
        Some((first, rest)) if first.to_lowercase().starts_with("sep=") => (1, rest),
        _ => (0, text),
    };
    let header = text.lines().next().unwrap_or_default();
    let count = |delimiter: char| header.matches(delimiter).count();
    let delimiter =
        [',', ';', '\t'].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter as u8)
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(text.as_bytes());
    let columns: Vec<Column> = match reader.headers() {
        Ok(header) => header.iter().map(column).collect(),
        Err(error) => return Err(vec![format!("1: {error}")]),
    };
    let has = |wanted: (Level, &str)| {
        columns
            .iter()
            .any(|column| matches!(column, Column::Known(level, key) if (*level, *key) == wanted))
    };
    let lacking: Vec<String> = [
        ((Level::Station, "address"), "Station address"),
        ((Level::Tag, "name"), "Tag name"),
        ((Level::Tag, "type"), "Type"),
        ((Level::Tag, "address"), "Address"),
    ]
    .into_iter()
    .filter(|(wanted, _)| !has(*wanted))
    .map(|(_, name)| {
        format!("{}: the list has no column `{name}`{}", skipped + 1, near(name, &columns))
    })
    .collect();
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut mistakes = Vec::new();
    let mut rows = Vec::new();
    for record in reader.records() {
        let line = |position: Option<&csv::Position>| {
            position.map_or(0, |position| position.line() as usize) + skipped
        };
        match record {
            Ok(record) if record.iter().all(str::is_empty) => {}
            Ok(record) => rows.push((line(record.position()), record)),
            Err(error) => mistakes.push(format!("{}: {error}", line(error.position()))),
        }
    }
    let owners = Owners::of(&columns, &rows);
    for (row, record) in &rows {
        if let Err(why) = take_row(&columns, record, *row, &owners, &mut lines) {
            mistakes.push(format!("{row}: {why}"));
        }
    }
    for station in lines.iter().flat_map(|line| &line.stations) {
        if station.parameters.get("address").is_none() {
            mistakes.push(format!("{}: the row has no station address", station.row));
        }
    }
    if lines.is_empty() && mistakes.is_empty() {
        mistakes.push("2: the list has no row".to_owned());
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    write(&lines)
}

fn column(name: &str) -> Column {
    let lower = name.to_lowercase();
    COLUMNS.iter().find(|(_, _, names)| names.contains(&lower.as_str())).map_or_else(
        || Column::Unknown(name.to_owned()),
        |(level, key, _)| Column::Known(*level, key),
    )
}

/// A hint for a column that is missing: a column that is not known and nearly has its name.
fn near(wanted: &str, columns: &[Column]) -> String {
    let unknown = columns.iter().filter_map(|column| match column {
        Column::Unknown(name) => Some(name),
        Column::Known(..) => None,
    });
    let distance =
        |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase());
    let likely = unknown.map(|name| (distance(name), name)).min();
    match likely.filter(|(distance, _)| *distance <= 2) {
        Some((_, name)) => format!(" (hint: is it `{name}`?)"),
        None => String::new(),
    }
}

fn cell<'a>(
    columns: &[Column],
    record: &'a csv::StringRecord,
    wanted: (Level, &str),
) -> Option<&'a str> {
    let mut cells = columns.iter().zip(record.iter());
    let found = cells.find(
        |(column, _)| matches!(column, Column::Known(level, key) if (*level, *key) == wanted),
    );
    found.map(|(_, cell)| cell).filter(|cell| !cell.is_empty())
}

fn take_row(
    columns: &[Column],
    record: &csv::StringRecord,
    row: usize,
    owners: &Owners<'_>,
    lines: &mut Vec<Line>,
) -> Result<(), String> {
    let line_name = owners.line(columns, record)?.to_owned();
    let address = cell(columns, record, (Level::Station, "address"));
    let station_name = match cell(columns, record, (Level::Station, "station")) {
        Some(name) => name,
        None => owners.station(&line_name, address.ok_or("the row has no station address")?),
    };
    let station_name = station_name.to_owned();
    if !lines.iter().any(|line| line.name == line_name) {
        lines.push(Line { name: line_name.clone(), ..Line::default() });
    }
    let line = lines.iter_mut().find(|line| line.name == line_name).ok_or("no line")?;
    if !line.stations.iter().any(|station| station.name == station_name) {
        line.stations.push(Station { name: station_name.clone(), row, ..Station::default() });
    }
    let Line { parameters: of_line, stations, .. } = line;
    let station =
        stations.iter_mut().find(|station| station.name == station_name).ok_or("no station")?;
    let mut tag = Parameters::default();
    for (column, cell) in columns.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty()) {
        match column {
            Column::Known(Level::Line, "line") | Column::Known(Level::Station, "station") => {}
            Column::Known(Level::Line, key) => of_line.set(key, cell, row)?,
            Column::Known(Level::Station, key) => station.parameters.set(key, cell, row)?,
            Column::Known(Level::Tag, key) => tag.set(key, cell, row)?,
            Column::Unknown(name) => tag.set_unknown(name, cell),
        }
    }
    // A row without a tag says something of its station.
    if tag.known.is_empty() {
        for (name, value) in tag.unknown {
            station.parameters.set_unknown(&name, &value);
        }
        return Ok(());
    }
    for (key, what) in [("name", "tag name"), ("type", "type"), ("address", "address")] {
        tag.get(key).ok_or_else(|| format!("the row has no {what}"))?;
    }
    station.tags.push(tag);
    Ok(())
}

/// What a parameter becomes.
enum Becomes {
    Key(String, String),
    Comment(String),
    Nothing,
}

fn yes(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "yes" | "true" | "1" | "áno" | "ano")
}

fn qos(value: &str) -> Result<String, String> {
    let digit = value.to_lowercase().trim_start_matches("qos_").to_owned();
    match digit.as_str() {
        "0" | "1" | "2" => Ok(digit),
        _ => Err(format!("`{value}` is no QoS: QoS_0, QoS_1 or QoS_2")),
    }
}

fn payload_type(value: &str) -> Option<&'static str> {
    match value.to_lowercase().as_str() {
        "text only" | "text" => Some("text"),
        "json" => Some("json"),
        _ => None,
    }
}

/// One parameter of a line or a station; `key` is also the key here unless said otherwise.
fn becomes(key: &str, value: &str) -> Result<Becomes, String> {
    let text = || Becomes::Key(key.to_owned(), quoted(value));
    let logical = || Becomes::Key(key.to_owned(), yes(value).to_string());
    Ok(match key {
        "full_debug"
        | "clean_session"
        | "publish_retain"
        | "ignore_missing_time"
        | "subscribe_address" => logical(),
        "subscribe_qos" | "publish_qos" => Becomes::Key(key.to_owned(), qos(value)?),
        "keep_alive" | "ping_interval" | "reply_timeout" => {
            let seconds: f64 = value
                .replace(',', ".")
                .parse()
                .map_err(|_| format!("`{value}` is no number of seconds"))?;
            Becomes::Key(key.to_owned(), quoted(&format!("{seconds}s")))
        }
        "topic_filter" => {
            let filters: Vec<String> = value.split_whitespace().map(quoted).collect();
            Becomes::Key(key.to_owned(), format!("[{}]", filters.join(", ")))
        }
        "payload_type" if value.eq_ignore_ascii_case("default") => Becomes::Nothing,
        "payload_type" => match payload_type(value) {
            Some(known) => Becomes::Key(key.to_owned(), quoted(known)),
            None => Becomes::Comment(format!("Payload Type = {value}")),
        },
        "mqtt_version" if value.contains('5') => Becomes::Key(key.to_owned(), quoted("5.0")),
        "mqtt_version" => Becomes::Key(key.to_owned(), quoted("3.1.1")),
        "topic_alias_maximum" => Becomes::Key(key.to_owned(), value.to_owned()),
        "client_id" | "time_field_name" | "time_mask" | "address" => text(),
        "will_payload" => text(),
        "publish_content_type" if value.eq_ignore_ascii_case("application/gzip") => text(),
        "publish_content_type" => Becomes::Nothing,
        // Not needed: nothing is read in turns here.
        "wait_timeout" | "max_wait_retry" | "line_number" => Becomes::Nothing,
        _ => Becomes::Nothing,
    })
}

fn variable(line: &str, what: &str) -> String {
    let line: String = line
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_uppercase() } else { '_' })
        .collect();
    format!("{line}_{what}")
}

fn servers(parameters: &Parameters) -> Result<String, String> {
    let host = parameters
        .get("host")
        .ok_or("the list has no `Host` for the line (hint: add a column `Host`, filled in any of its rows)")?;
    let port = parameters.get("port").unwrap_or("1883");
    port.parse::<u16>().map_err(|_| format!("`{port}` is no port"))?;
    let scheme = if port == "8883" { "mqtts" } else { "mqtt" };
    let servers: Vec<String> = host
        .split([',', ';', ' '])
        .filter(|host| !host.is_empty())
        .map(|host| match host.contains(':') && !host.starts_with('[') {
            true => quoted(&format!("{scheme}://[{host}]:{port}")),
            false => quoted(&format!("{scheme}://{host}:{port}")),
        })
        .collect();
    Ok(format!("[{}]", servers.join(", ")))
}

fn write(lines: &[Line]) -> Result<Imported, Vec<String>> {
    let mut main = "# Imported from an address list of D2000 KOM.\n".to_owned();
    let mut mistakes = Vec::new();
    let mut notes = BTreeSet::new();
    let mut files: Files = Vec::new();
    let (mut stations, mut tags) = (0, 0);
    for line in lines {
        let mut add = |result: Result<String, String>| match result {
            Ok(text) => text,
            Err(why) => {
                mistakes.push(format!("line `{}`: {why}", line.name));
                String::new()
            }
        };
        main.push_str(&add(line_table(line, &mut notes)));
        let mut station_text = format!(
            "# Imported from an address list of D2000 KOM.\nline = {}\n",
            quoted(&line.name)
        );
        let mut tag_rows = csv::Writer::from_writer(Vec::new());
        let header = [
            "name",
            "station",
            "type",
            "address",
            "description",
            "unit",
            "initial",
            "on_text",
            "off_text",
        ];
        let mut result = tag_rows.write_record(header);
        for station in &line.stations {
            stations += 1;
            station_text.push_str(&add(station_table(station, &mut notes)));
            for tag in &station.tags {
                let address = tag.get("address").unwrap_or_default();
                let name = tag.get("name").unwrap_or_default();
                for (parameter, value) in &tag.unknown {
                    let _ = writeln!(station_text, "# {name}: {parameter} = {}", one_line(value));
                    notes.insert(format!("`{parameter}` is not known; its values are comments"));
                }
                if address.starts_with("SA=") || address.starts_with("ST=") {
                    let _ = writeln!(
                        station_text,
                        "# {name}: {} {address}",
                        tag.get("type").unwrap_or_default()
                    );
                    notes.insert("Sparkplug addresses are comments".to_owned());
                    continue;
                }
                tags += 1;
                let cell = |key: &str| tag.get(key).unwrap_or_default();
                let initial = with_decimal_point(cell("type"), cell("initial"));
                let row = [
                    name,
                    &station.name,
                    cell("type"),
                    address,
                    cell("description"),
                    cell("unit"),
                    &initial,
                    cell("on_text"),
                    cell("off_text"),
                ];
                result = result.and_then(|()| tag_rows.write_record(row));
            }
        }
        let rows = result
            .map_err(|error| error.to_string())
            .and_then(|()| tag_rows.into_inner().map_err(|error| error.to_string()));
        let rows = add(rows.map(|rows| String::from_utf8_lossy(&rows).into_owned()));
        let file: String = line
            .name
            .chars()
            .map(|it| if it.is_alphanumeric() || it == '-' { it } else { '_' })
            .collect();
        files.push((format!("stations/{file}.toml").into(), station_text));
        files.push((format!("tags/{file}.csv").into(), rows));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    files.insert(0, ("tagline.toml".into(), main));
    Ok(Imported { files, lines: lines.len(), stations, tags, notes: notes.into_iter().collect() })
}

/// Lists of many countries have a decimal comma.
fn with_decimal_point(kind: &str, value: &str) -> String {
    let point = value.replacen(',', ".", 1);
    match kind {
        "Ao" | "ToR" if point.parse::<f64>().is_ok() => point,
        _ => value.to_owned(),
    }
}

fn line_table(line: &Line, notes: &mut BTreeSet<String>) -> Result<String, String> {
    let parameters = &line.parameters;
    let mut text = format!("\n[[line]]\nname = {}\n", quoted(&line.name));
    let _ = writeln!(text, "servers = {}", servers(parameters)?);
    for (key, value, _) in &parameters.known {
        match *key {
            "host" | "port" | "will_flag" | "will_qos" | "will_retain" | "will_topic"
            | "will_message" => {}
            "user_name" | "password" => {
                let name =
                    variable(&line.name, if *key == "password" { "PASSWORD" } else { "USER" });
                let _ = writeln!(text, "{key} = {{ env = {} }}", quoted(&name));
                notes.insert(format!(
                    "`{key}` of line `{}` is taken from the environment: {name}",
                    line.name
                ));
            }
            "wait_timeout" | "max_wait_retry" => {
                notes.insert("`Wait Timeout` and `Max. Wait Retry` are not needed".to_owned());
            }
            "topic_alias_maximum"
                if !parameters.get("mqtt_version").is_some_and(|it| it.contains('5')) => {}
            key => push(becomes(key, value)?, &mut text, notes),
        }
    }
    let topic = parameters.get("will_topic").unwrap_or_default();
    if parameters.get("will_flag").is_some_and(yes) && !topic.is_empty() {
        let _ = writeln!(
            text,
            "will = {{ topic = {}, message = {}, qos = {}, retain = {} }}",
            quoted(topic),
            quoted(parameters.get("will_message").unwrap_or_default()),
            qos(parameters.get("will_qos").unwrap_or("0"))?,
            parameters.get("will_retain").is_some_and(yes),
        );
    }
    Ok(text)
}

fn station_table(station: &Station, notes: &mut BTreeSet<String>) -> Result<String, String> {
    let mut text = format!("\n[[station]]\nname = {}\n", quoted(&station.name));
    for (key, value, _) in &station.parameters.known {
        match *key {
            "will_topic" => {
                let _ = writeln!(text, "will_topic = {}", quoted(value));
            }
            key => push(becomes(key, value)?, &mut text, notes),
        }
    }
    for (name, value) in &station.parameters.unknown {
        push(Becomes::Comment(format!("{name} = {value}")), &mut text, notes);
    }
    Ok(text)
}

fn push(becomes: Becomes, text: &mut String, notes: &mut BTreeSet<String>) {
    match becomes {
        Becomes::Key(key, value) => {
            let _ = writeln!(text, "{key} = {value}");
        }
        Becomes::Comment(what) => {
            let _ = writeln!(text, "# {}", one_line(&what));
            let name = what.split(" = ").next().unwrap_or_default();
            notes.insert(format!("`{name}` is not known; its values are comments"));
        }
        Becomes::Nothing => {}
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests;
