//! A client of Tagline's local socket: the standard library and `serde_json`.
//!
//!     client run/tagline.sock watch pump1.token 'pump1.*'
//!     client run/tagline.sock write pump1.speed_setpoint 900
//!
//! `watch` prints every change as one line of JSON and goes on where it was after any kill, of itself
//! or of the driver: the token of the last notification is stored after its changes have been processed.
//! Who is killed in between gets that notification once more: a change is known by its `seq`. Who must
//! not see it twice stores the token in the same transaction as what he makes of the changes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const TOKEN_TOO_OLD: i64 = -32010;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &words[..] {
        [socket, "watch", state, names @ ..] if !names.is_empty() => {
            watch(socket, Path::new(state), names)
        }
        [socket, "write", name, value] => write(socket, name, value),
        _ => {
            eprintln!("usage: client SOCKET watch STATE NAME… | client SOCKET write NAME VALUE");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// One connection: a JSON object per line, both ways.
struct Connection {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    last_id: u64,
    notifications: VecDeque<Value>,
}

/// How a call fails.
enum CallError {
    /// The connection is gone, and nobody knows what became of the request.
    Lost(io::Error),
    /// The driver says no.
    Refused { code: i64, message: String, data: Value },
}

impl Connection {
    fn open(path: &str) -> io::Result<Self> {
        let writer = UnixStream::connect(path)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { writer, reader, last_id: 0, notifications: VecDeque::new() })
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if !line.ends_with('\n') {
            // What has no line end was cut off.
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the driver closed the socket"));
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The result of a request; notifications that come before it are kept.
    fn call(&mut self, method: &str, params: &Value) -> Result<Value, CallError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.writer.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut message = self.receive()?;
            if message["id"] != id {
                self.notifications.push_back(message);
                continue;
            }
            let error = message["error"].take();
            if error.is_null() {
                return Ok(message["result"].take());
            }
            return Err(CallError::Refused {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].to_string(),
                data: error["data"].clone(),
            });
        }
    }

    fn notification(&mut self) -> io::Result<Value> {
        self.notifications.pop_front().map_or_else(|| self.receive(), Ok)
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

fn load_token(state: &Path) -> io::Result<Value> {
    match fs::read_to_string(state) {
        Ok(text) => Ok(Value::String(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(json!("oldest")),
        Err(error) => Err(error),
    }
}

/// Replaces the file so that it is the old or the new one, whatever happens.
fn store_token(state: &Path, token: &Value) -> io::Result<()> {
    let draft = state.with_extension("draft");
    let mut file = fs::File::create(&draft)?;
    writeln!(file, "{}", token.as_str().unwrap_or_default())?;
    file.sync_all()?;
    fs::rename(&draft, state)
}

/// What a control system does with changes. Here: print them.
fn process(changes: &Value, durable: bool) -> io::Result<()> {
    let mut out = String::new();
    for change in changes.as_array().into_iter().flatten() {
        let mut change = change.clone();
        change["durable"] = json!(durable);
        out.push_str(&format!("{change}\n"));
    }
    io::stdout().write_all(out.as_bytes())?;
    io::stdout().flush()
}

/// Takes changes until the connection ends.
fn follow(connection: &mut Connection, state: &Path, names: &[&str]) -> Result<(), CallError> {
    let mut token = load_token(state)?;
    let params = |token: &Value| json!({ "names": names, "after": token });
    match connection.call("tag.subscribe", &params(&token)) {
        Err(CallError::Refused { code: TOKEN_TOO_OLD, message, data }) => {
            // We were away for longer than the journal reaches back: say so, and go on with what
            // it has.
            eprintln!("changes are missing: {message}");
            token = data["oldest"].clone();
            connection.call("tag.subscribe", &params(&token))?;
        }
        other => drop(other?),
    }
    loop {
        let message = connection.notification()?;
        let params = &message["params"];
        if message["method"] == "tag.interrupted" {
            // We read too slowly. The connection ends; the next one is told what can still be had.
            eprintln!("interrupted: {}", params["error"]["message"]);
        } else if message["method"] == "tag.changed" {
            process(&params["changes"], params["durable"] != json!(false))?;
            if params["token"] != token {
                token = params["token"].clone();
                store_token(state, &token)?;
            }
        }
    }
}

fn watch(socket: &str, state: &Path, names: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
    let mut pause = first;
    loop {
        match Connection::open(socket) {
            Ok(mut connection) => {
                pause = first;
                match follow(&mut connection, state, names) {
                    Err(CallError::Refused { message, .. }) => return Err(message.into()),
                    Err(CallError::Lost(error)) => eprintln!("connection lost: {error}"),
                    Ok(()) => {}
                }
            }
            Err(error) => eprintln!("{socket}: {error}; next attempt in {pause:?}"),
        }
        thread::sleep(pause);
        pause = longest.min(pause * 2);
    }
}

fn write(socket: &str, name: &str, value: &str) -> Result<ExitCode, Box<dyn Error>> {
    // JSON, or else a text.
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    let params = json!({ "writes": [{ "name": name, "value": value }], "timeout_s": 10 });
    let outcome = match Connection::open(socket)?.call("tag.write", &params) {
        Ok(mut result) => result["results"][0].take(),
        // It was on its way: never take that for a failure.
        Err(CallError::Lost(error)) => {
            json!({ "outcome": "uncertain", "error": { "message": error.to_string() } })
        }
        Err(CallError::Refused { message, .. }) => return Err(message.into()),
    };
    match outcome["error"]["message"].as_str() {
        None => println!("{}", outcome["outcome"].as_str().unwrap_or_default()),
        Some(why) => println!("{}: {why}", outcome["outcome"].as_str().unwrap_or_default()),
    }
    let done = outcome["outcome"] == "completed" || outcome["outcome"] == "queued";
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
