//! A client of the local socket, for the command line: blocking, one request at a time.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

/// How long the process may take to answer beyond what the request itself allows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot reach the process on {path}: {cause}")]
    Unreachable {
        /// Path of the socket.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// The connection broke.
    #[error("the process closed the connection: {0}")]
    Closed(String),
    /// The process answered with an error.
    #[error("{message}")]
    Refused {
        /// Code of the contract.
        code: i64,
        /// In words.
        message: String,
        /// What a program may need; null: nothing.
        data: Json,
    },
}

/// A connection to the process.
pub struct Client {
    reader: BufReader<UnixStream>,
    last_id: u64,
}

impl Client {
    /// Connects.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| ClientError::Unreachable {
            path: path.display().to_string(),
            cause: match error.kind() {
                io::ErrorKind::NotFound => "there is no such socket".into(),
                io::ErrorKind::ConnectionRefused => "the process is not running".into(),
                _ => error.to_string(),
            },
        })?;
        Ok(Self { reader: BufReader::new(stream), last_id: 0 })
    }

    /// Sends a request and waits for its result; notifications that come before are dropped.
    /// `patience` is what the request itself may take.
    pub fn call(
        &mut self,
        method: &str,
        params: Json,
        patience: Duration,
    ) -> Result<Json, ClientError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let mut line = request.to_string();
        line.push('\n');
        let closed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Closed("no answer in time".into())
            }
            _ => ClientError::Closed(error.to_string()),
        };
        self.reader.get_mut().set_read_timeout(Some(ANSWER_TIMEOUT + patience)).map_err(closed)?;
        self.reader.get_mut().write_all(line.as_bytes()).map_err(closed)?;
        loop {
            let mut answer = self.next_line().map_err(closed)?;
            if answer["id"] != id && !(answer["id"].is_null() && answer["error"].is_object()) {
                continue;
            }
            if answer["error"].is_object() {
                return Err(ClientError::Refused {
                    code: answer["error"]["code"].as_i64().unwrap_or_default(),
                    message: answer["error"]["message"].as_str().unwrap_or_default().to_owned(),
                    data: answer["error"]["data"].take(),
                });
            }
            return Ok(answer["result"].take());
        }
    }

    /// Waits for the next notification, at most so long; `None`: none came.
    pub fn next_notification(
        &mut self,
        wait: Option<Duration>,
    ) -> Result<Option<Json>, ClientError> {
        let closed = |error: io::Error| ClientError::Closed(error.to_string());
        let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
        self.reader.get_mut().set_read_timeout(wait).map_err(closed)?;
        // A time-out in the middle of a line would lose its beginning: wait for the first byte only.
        match self.reader.fill_buf() {
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(closed(error)),
        }
        self.reader.get_mut().set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(closed)?;
        self.next_line().map(Some).map_err(closed)
    }

    fn next_line(&mut self) -> io::Result<Json> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "end of stream"));
        }
        serde_json::from_str(&line).map_err(io::Error::from)
    }
}
