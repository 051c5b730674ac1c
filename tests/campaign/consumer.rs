//! A control system that may be killed at any moment: a process that writes down every notification
//! together with its token, in one write, and goes on from the last token that it finds there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{NAMES, TOPICS};

/// Set for the process that is the consumer: socket and file.
pub const VARIABLE: &str = "CAMPAIGN_CONSUMER";

/// The process.
pub struct Consumer {
    socket: PathBuf,
    file: PathBuf,
    child: Option<Child>,
    seen: Seen,
}

impl Consumer {
    pub fn start(folder: &Path, socket: &Path) -> Self {
        let file = folder.join("consumer.txt");
        let mut consumer =
            Self { socket: socket.to_owned(), file, child: None, seen: Seen::default() };
        consumer.start_again();
        consumer
    }

    pub fn start_again(&mut self) {
        let child = Command::new(std::env::current_exe().unwrap())
            .env(VARIABLE, format!("{}\n{}", self.socket.display(), self.file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has so far.
    pub fn seen(&mut self) -> &Seen {
        self.seen.read(&self.file);
        &self.seen
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a consumer has written down.
#[derive(Default)]
pub struct Seen {
    offset: u64,
    last_seq: u64,
    /// Value and receive time of the last good change, by topic.
    last: BTreeMap<usize, (String, String)>,
    /// The numbers of the messages, by topic, as they came.
    pub messages: [Vec<usize>; TOPICS],
    /// What must not be, whatever the QoS.
    pub complaints: Vec<String>,
}

impl Seen {
    fn read(&mut self, path: &Path) {
        let Ok(mut file) = File::open(path) else { return };
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        file.read_to_string(&mut text).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            self.offset += line.len() as u64;
            let Ok(line) = serde_json::from_str::<Json>(line) else {
                self.complaints.push(format!("not JSON: {line}"));
                continue;
            };
            if let Some(complaint) = line["complaint"].as_str() {
                self.complaints.push(complaint.to_owned());
            }
            for change in line["changes"].as_array().into_iter().flatten() {
                self.take(change);
            }
        }
    }

    fn take(&mut self, change: &Json) {
        let seq = change["seq"].as_u64().unwrap();
        if seq <= self.last_seq {
            self.complaints.push(format!("change {seq} came after {}", self.last_seq));
        }
        self.last_seq = seq;
        if change["reason"] != "ok" {
            return;
        }
        let text = |key: &str| change[key].as_str().unwrap().to_owned();
        let topic = NAMES.iter().position(|name| change["name"] == format!("{name}.data"));
        let topic = topic.unwrap();
        // A tag that takes its quality back is a change, but no message.
        let message = (text("value"), text("received"));
        if self.last.get(&topic) != Some(&message) {
            self.messages[topic].push(message.0.parse().unwrap());
            self.last.insert(topic, message);
        }
    }
}

/// Runs as the consumer until killed.
pub fn main(parameters: &str) {
    let (socket, path) = parameters.split_once('\n').unwrap();
    let mut file = File::options().read(true).append(true).create(true).open(path).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    // A line without its end was being written when the process was killed.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    file.set_len(whole as u64).unwrap();
    let last = text[..whole].lines().next_back();
    let last: Option<Json> = last.map(|line| serde_json::from_str(line).unwrap());
    let mut token = last.map_or(json!("oldest"), |last| last["token"].clone());
    loop {
        if let Err(why) = consume(socket, &mut file, &mut token) {
            let line = json!({ "complaint": why, "token": token, "changes": [] });
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes changes until the driver is gone; an error is what must not be.
fn consume(socket: &str, file: &mut File, token: &mut Json) -> Result<(), String> {
    let Ok(mut stream) = UnixStream::connect(socket) else { return Ok(()) };
    let names = NAMES.map(|name| format!("{name}.data"));
    let params = json!({ "names": names, "after": *token });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tag.subscribe", "params": params });
    if stream.write_all(format!("{request}\n").as_bytes()).is_err() {
        return Ok(());
    }
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return Ok(()) };
        // The last line of a driver that was killed may be cut short.
        let Ok(mut object) = serde_json::from_str::<Json>(&line) else { return Ok(()) };
        if !object["error"].is_null() {
            return Err(format!("refused after {token}: {}", object["error"]));
        }
        if object["method"] != "tag.changed" {
            continue;
        }
        let mut params = object["params"].take();
        *token = params["token"].take();
        let line = json!({ "token": *token, "changes": params["changes"] });
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    Ok(())
}
