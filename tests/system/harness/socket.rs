//! A client of the local socket that shares no code with the program's own.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::PATIENCE;

/// An error of JSON-RPC.
#[derive(Debug)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    pub data: Json,
}

/// A connection to the socket.
pub struct Socket {
    stream: UnixStream,
    buffer: Vec<u8>,
    notifications: VecDeque<Json>,
    answers: Vec<Json>,
    last_id: u64,
    /// Everything that came in, for the search after secrets.
    pub seen: String,
}

/// What a read gave.
enum Got {
    Line(String),
    End,
    Nothing,
}

impl Socket {
    pub fn connect(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            stream: UnixStream::connect(path)?,
            buffer: Vec::new(),
            notifications: VecDeque::new(),
            answers: Vec::new(),
            last_id: 0,
            seen: String::new(),
        })
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.write_all(bytes)
    }

    /// The next line as text; `None`: the other side has closed.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<String> {
        match self.read_line(PATIENCE) {
            Got::Line(line) => Some(line),
            Got::End => None,
            Got::Nothing => panic!("nothing came on the socket within {PATIENCE:?}"),
        }
    }

    /// Sends a request and gives its number.
    pub fn request(&mut self, method: &str, params: Json) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send_bytes(format!("{request}\n").as_bytes()).unwrap();
        id
    }

    /// The answer to a request; what else comes is kept.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> Result<Json, RpcError> {
        let answer = self.answer_within(id, PATIENCE);
        answer.unwrap_or_else(|| panic!("no answer to request {id} within {PATIENCE:?}"))
    }

    /// The answer to a request if it has come, or comes within this time.
    #[track_caller]
    pub fn answer_within(&mut self, id: u64, wait: Duration) -> Option<Result<Json, RpcError>> {
        let end = Instant::now() + wait;
        loop {
            if let Some(place) = self.answers.iter().position(|answer| answer["id"] == id) {
                let mut answer = self.answers.swap_remove(place);
                assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
                let error = answer["error"].take();
                if error.is_null() {
                    return Some(Ok(answer["result"].take()));
                }
                return Some(Err(RpcError {
                    code: error["code"].as_i64().unwrap(),
                    message: error["message"].as_str().unwrap().to_owned(),
                    data: error["data"].clone(),
                }));
            }
            if !self.take_in(end) {
                return None;
            }
        }
    }

    /// Sends a request and waits for its result or error.
    #[track_caller]
    pub fn try_call(&mut self, method: &str, params: Json) -> Result<Json, RpcError> {
        let id = self.request(method, params);
        self.answer(id)
    }

    /// Sends a request that must succeed.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Json) -> Json {
        match self.try_call(method, params) {
            Ok(result) => result,
            Err(error) => panic!("{method}: {error:?}"),
        }
    }

    /// Sends a request that must be refused.
    #[track_caller]
    pub fn refused(&mut self, method: &str, params: Json) -> RpcError {
        match self.try_call(method, params) {
            Ok(result) => panic!("{method} is not refused: {result}"),
            Err(error) => error,
        }
    }

    /// The next notification, if one comes within this time.
    #[track_caller]
    pub fn notification_within(&mut self, wait: Duration) -> Option<Json> {
        let end = Instant::now() + wait;
        loop {
            if let Some(notification) = self.notifications.pop_front() {
                return Some(notification);
            }
            if !self.take_in(end) {
                return None;
            }
        }
    }

    /// Subscribes to changes.
    #[track_caller]
    pub fn subscribe(mut self, names: &[&str], after: Json) -> Changes {
        let result = self.call("tag.subscribe", json!({ "names": names, "after": after }));
        Changes {
            number: result["subscription"].as_u64().unwrap(),
            token: result["token"].clone(),
            socket: self,
            all: Vec::new(),
        }
    }

    /// Sorts one line in; false: none came.
    #[track_caller]
    fn take_in(&mut self, end: Instant) -> bool {
        match self.read_line(end.saturating_duration_since(Instant::now())) {
            Got::Line(line) => {
                let object: Json = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
                if object["method"].is_string() {
                    self.notifications.push_back(object);
                } else {
                    self.answers.push(object);
                }
                true
            }
            Got::End => panic!("the process closed the socket"),
            Got::Nothing => false,
        }
    }

    fn read_line(&mut self, wait: Duration) -> Got {
        let end = Instant::now() + wait;
        let mut searched = 0;
        loop {
            if let Some(found) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=searched + found).collect();
                let line = String::from_utf8(line).expect("the socket speaks UTF-8");
                if self.seen.len() < 1 << 20 {
                    self.seen.push_str(&line);
                }
                return Got::Line(line.trim_end().to_owned());
            }
            searched = self.buffer.len();
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Got::End,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() >= end {
                        return Got::Nothing;
                    }
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Got::End,
                Err(error) => panic!("cannot read the socket: {error}"),
            }
        }
    }
}

/// A subscription and everything it has brought.
pub struct Changes {
    pub number: u64,
    /// The token of the last notification.
    pub token: Json,
    pub socket: Socket,
    pub all: Vec<Json>,
}

impl Changes {
    /// Takes changes in until the condition holds for all there are.
    #[track_caller]
    pub fn until(&mut self, what: &str, condition: impl Fn(&[Json]) -> bool) -> &[Json] {
        let end = Instant::now() + PATIENCE;
        while !condition(&self.all) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.take_in(left) {
                let last = self.all.iter().rev().take(5).collect::<Vec<_>>();
                let count = self.all.len();
                panic!("not within {PATIENCE:?}: {what}; {count} changes, the last are {last:#?}");
            }
        }
        &self.all
    }

    /// Takes one notification in; false: none came within this time.
    #[track_caller]
    pub fn take_in(&mut self, wait: Duration) -> bool {
        let Some(mut notification) = self.socket.notification_within(wait) else { return false };
        assert_eq!(notification["method"], "tag.changed", "{notification}");
        let params = &mut notification["params"];
        assert_eq!(params["subscription"], self.number, "{params}");
        self.token = params["token"].take();
        let Json::Array(changes) = params["changes"].take() else { panic!("no list of changes") };
        assert!(!changes.is_empty(), "a notification without changes");
        self.all.extend(changes);
        true
    }

    /// The values of one tag, in order.
    pub fn values_of(&self, name: &str) -> Vec<Json> {
        let own = self.all.iter().filter(|change| change["name"] == name);
        own.map(|change| change["value"].clone()).collect()
    }
}
