//! A configuration folder made of strings.

use std::path::Path;

use super::{SECRET_PASSWORD, SECRET_USER};

/// What is written to the folder of a driver.
#[derive(Clone, Default)]
pub struct Config {
    top: String,
    lines: String,
    stations: String,
    tags: String,
    tag_columns: Option<&'static str>,
}

impl Config {
    pub fn new() -> Self {
        Self::default()
    }

    /// Text for the top of `tagline.toml`, for instance a `[journal]`.
    pub fn top(mut self, text: &str) -> Self {
        self.top.push_str(text);
        self.top.push('\n');
        self
    }

    /// A line called `plant` to this loopback port, quick to come back; `more` holds further keys.
    pub fn line(self, port: u16, more: &str) -> Self {
        self.line_named("plant", port, more)
    }

    /// As [`Self::line`], with a name; the client identifier is `tagline-` and the name.
    pub fn line_named(mut self, name: &str, port: u16, more: &str) -> Self {
        let default = |key: &str, value: String| {
            let given = more.lines().any(|line| line.trim_start().starts_with(key));
            if given { String::new() } else { format!("{key} = {value}\n") }
        };
        let text = [
            format!("[[line]]\nname = \"{name}\"\n"),
            default("servers", format!("[\"mqtt://127.0.0.1:{port}\"]")),
            default("client_id", format!("\"tagline-{name}\"")),
            default("user_name", format!("\"{SECRET_USER}\"")),
            default("password", format!("\"{SECRET_PASSWORD}\"")),
            default("reconnect", "{ min = \"20ms\", max = \"200ms\" }".into()),
            more.to_owned(),
            "\n\n".to_owned(),
        ];
        self.lines.extend(text);
        self
    }

    /// Text for the station file.
    pub fn stations(mut self, text: &str) -> Self {
        self.stations.push_str(text);
        self.stations.push('\n');
        self
    }

    /// A station of line `plant`.
    pub fn station(self, name: &str, address: &str, more: &str) -> Self {
        self.stations(&format!(
            "[[station]]\nname = \"{name}\"\nline = \"plant\"\naddress = '{address}'\n{more}\n"
        ))
    }

    /// Columns of the tag rows that follow; otherwise `name,station,type,address`.
    pub fn tag_columns(mut self, columns: &'static str) -> Self {
        self.tag_columns = Some(columns);
        self
    }

    /// Rows of the tag file.
    pub fn tags(mut self, rows: &str) -> Self {
        for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
            self.tags.push_str(row);
            self.tags.push('\n');
        }
        self
    }

    /// Writes it all to a folder.
    pub fn write(&self, folder: &Path) {
        let top = format!("{}\n{}", self.top, self.lines);
        std::fs::write(folder.join("tagline.toml"), top).unwrap();
        for (name, file, text) in [
            ("stations", "all.toml", self.stations.clone()),
            (
                "tags",
                "all.csv",
                format!(
                    "{}\n{}",
                    self.tag_columns.unwrap_or("name,station,type,address"),
                    self.tags
                ),
            ),
        ] {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), text).unwrap();
        }
    }
}
