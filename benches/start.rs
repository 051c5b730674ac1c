//! How long the built binary takes to start with a million tags that all have a stored value: until
//! its socket answers, and what it holds in memory then.
//!
//!     cargo bench --bench start [-- TAGS]
//!
//! `TAGLINE_BINARY` names another build of the driver.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

/// Tags of a station, all in one document.
const STATION_TAGS: usize = 100;

fn main() {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let tags: usize = asked.unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    configure(folder.path(), listener.local_addr().unwrap().port(), tags);

    let (mut process, begun) = (start(folder.path()), Instant::now());
    let mut socket = answer(folder.path());
    println!("{tags} tags, empty store: answers after {:?}, {}", begun.elapsed(), memory(&process));
    fill(&listener, tags);
    loop {
        let store = call(&mut socket, "process.status", &json!({}))["store"].take();
        if store["durable_seq"].as_u64() >= Some(tags as u64)
            && store["durable_seq"] == store["last_seq"]
        {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    println!("every tag has a value: {}", memory(&process));
    process.kill().unwrap();
    process.wait().unwrap();

    for round in 1..=3 {
        let (mut process, begun) = (start(folder.path()), Instant::now());
        let mut socket = answer(folder.path());
        let answered = begun.elapsed();
        let last = format!("s{}.t0", tags / STATION_TAGS - 1);
        let read = call(&mut socket, "tag.read", &json!({ "names": [last] }))["values"][0].take();
        assert_eq!(read["value"], 0.5, "{read}");
        println!(
            "start {round} with {tags} stored values: answers after {answered:?}, {}",
            memory(&process)
        );
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let begun = Instant::now();
    let check = Command::new(binary())
        .args(["check", "--config"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .status();
    assert!(check.unwrap().success());
    println!("reading and checking the configuration alone: {:?}", begun.elapsed());
}

fn binary() -> OsString {
    std::env::var_os("TAGLINE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tagline").into())
}

fn start(folder: &Path) -> Child {
    Command::new(binary())
        .args(["--log", "warn", "run", "--config"])
        .arg(folder)
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The socket, once it answers.
fn answer(folder: &Path) -> BufReader<UnixStream> {
    let path = folder.join("run/tagline.sock");
    loop {
        if let Ok(stream) = UnixStream::connect(&path) {
            let mut socket = BufReader::new(stream);
            call(&mut socket, "process.status", &json!({}));
            return socket;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn call(socket: &mut BufReader<UnixStream>, method: &str, params: &Json) -> Json {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    socket.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    socket.read_line(&mut line).unwrap();
    serde_json::from_str::<Json>(&line).unwrap()["result"].take()
}

fn memory(process: &Child) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    format!("{} MiB resident ({} MiB at most)", mib("VmRSS:"), mib("VmHWM:"))
}

fn configure(folder: &Path, port: u16, tags: usize) {
    let line = format!(
        "[[line]]\nname = \"l\"\nservers = [\"mqtt://127.0.0.1:{port}\"]\nclient_id = \"bench\"\n"
    );
    let mut stations = "line = \"l\"\n".to_owned();
    let mut rows = "name,station,type,address\n".to_owned();
    for station in 0..tags / STATION_TAGS {
        writeln!(
            stations,
            "[[station]]\nname = \"s{station}\"\naddress = \"bench/{station}/data\"\n\
             payload_type = \"json\""
        )
        .unwrap();
        for tag in 0..STATION_TAGS {
            writeln!(rows, "s{station}.t{tag},s{station},Ai,JA=t{tag}").unwrap();
        }
    }
    for (path, text) in
        [("tagline.toml", line), ("stations/all.toml", stations), ("tags/all.csv", rows)]
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// One message to every station; acknowledgements are read away.
fn fill(listener: &TcpListener, tags: usize) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = [0; 4096];
    assert!(stream.read(&mut buffer).unwrap() > 0, "CONNECT");
    stream.write_all(&[0x20, 2, 0, 0]).unwrap();
    assert!(stream.read(&mut buffer).unwrap() > 4, "SUBSCRIBE");
    stream.write_all(&[0x90, 3, buffer[2], buffer[3], 1]).unwrap();
    let mut acknowledgements: TcpStream = stream.try_clone().unwrap();
    thread::spawn(move || while acknowledgements.read(&mut buffer).is_ok_and(|count| count > 0) {});
    let fields: Vec<String> = (0..STATION_TAGS).map(|tag| format!("\"t{tag}\":0.5")).collect();
    let payload = format!("{{{}}}", fields.join(","));
    for station in 0..tags / STATION_TAGS {
        let topic = format!("bench/{station}/data");
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend(u16::try_from(station % 60_000 + 1).unwrap().to_be_bytes());
        body.extend(payload.as_bytes());
        let (low, high) = (body.len() % 128, body.len() / 128);
        assert!(high < 128, "two bytes of remaining length");
        stream.write_all(&[0x32, low as u8 | 0x80, high as u8]).unwrap();
        stream.write_all(&body).unwrap();
    }
    // The connection stays until the process is killed.
    std::mem::forget(stream);
}
