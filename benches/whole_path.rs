//! The whole durable path: a stand-in broker streams QoS 1 messages at the built binary, which maps
//! each to three tags, commits them to disk and acknowledges. Baselines in the same run: mosquitto_sub,
//! which receives, acknowledges and prints to nowhere; and as a ceiling a client that only splits the
//! stream into packets and acknowledges: no topic, no payload, no disk.
//!
//!     cargo bench --bench whole_path [-- MESSAGES]

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Topics, stations; three tags each.
const STATIONS: usize = 334;
/// Messages that the stand-in leaves unacknowledged.
const WINDOW: usize = 60_000;
/// Messages in one write.
const CHUNK: usize = 1000;

fn main() {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let messages: usize = asked.unwrap_or(600_000);
    let chunks = chunks(messages);
    for round in 1..=3 {
        let mosquitto_sub = mosquitto_sub(&chunks, messages);
        let ceiling = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = thread::spawn(move || receive_and_acknowledge(port, messages));
            let rate = stream(&listener, &chunks, messages);
            client.join().unwrap();
            rate
        };
        let (rate, memory) = driver(&chunks, messages);
        println!(
            "round {round}: {:.0} thousand messages/s durable ({:.1} million tag changes/s), \
             {:.1} times mosquitto_sub ({:.0} thousand/s), ceiling {:.0} thousand/s, \
             peak memory {memory} MiB",
            rate / 1e3,
            rate * 3.0 / 1e6,
            rate / mosquitto_sub,
            mosquitto_sub / 1e3,
            ceiling / 1e3,
        );
    }
}

fn mosquitto_sub(chunks: &[Vec<u8>], messages: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut process = Command::new("mosquitto_sub")
        .args(["-V", "311", "-h", "127.0.0.1", "-p", &port, "-t", "bench/#", "-q", "1"])
        .stdout(Stdio::null())
        .spawn()
        .expect("mosquitto_sub is installed by scripts/test");
    let rate = stream(&listener, chunks, messages);
    process.kill().unwrap();
    process.wait().unwrap();
    rate
}

fn driver(chunks: &[Vec<u8>], messages: usize) -> (f64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    configure(folder.path(), port);
    let mut process = Command::new(env!("CARGO_BIN_EXE_tagline"))
        .args(["--log", "warn", "run", "--config"])
        .arg(folder.path())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let rate = stream(&listener, chunks, messages);
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    (rate, peak / 1024)
}

fn configure(folder: &std::path::Path, port: u16) {
    let line = format!(
        "[[line]]\nname = \"l\"\nservers = [\"mqtt://127.0.0.1:{port}\"]\nclient_id = \"bench\"\n"
    );
    let mut stations = "line = \"l\"\n".to_owned();
    let mut tags = "name,station,type,address\n".to_owned();
    for number in 0..STATIONS {
        stations.push_str(&format!(
            "[[station]]\nname = \"s{number}\"\naddress = \"bench/{number}/data\"\n\
             payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"RFC3339\"\n"
        ));
        for (field, tag_type) in [("v", "Ai"), ("n", "Ci"), ("on", "Di")] {
            tags.push_str(&format!("s{number}.{field},s{number},{tag_type},JA={field}\n"));
        }
    }
    for (path, text) in
        [("tagline.toml", line), ("stations/all.toml", stations), ("tags/all.csv", tags)]
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Messages a second from the first byte sent to the last acknowledgement.
fn stream(listener: &TcpListener, chunks: &[Vec<u8>], messages: usize) -> f64 {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    assert!(stream.read(&mut buffer).unwrap() > 0, "CONNECT");
    stream.write_all(&[0x20, 2, 0, 0]).unwrap();
    assert!(stream.read(&mut buffer).unwrap() > 4, "SUBSCRIBE");
    stream.write_all(&[0x90, 3, buffer[2], buffer[3], 1]).unwrap();
    thread::sleep(Duration::from_millis(300));

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let reader = {
        let (mut stream, acknowledged) = (stream.try_clone().unwrap(), Arc::clone(&acknowledged));
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            let mut bytes = 0;
            while bytes < messages * 4 {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "the client left");
                bytes += count;
                acknowledged.store(bytes / 4, Ordering::Release);
            }
            Instant::now()
        })
    };
    let begun = Instant::now();
    for (sent, chunk) in chunks.iter().enumerate() {
        while sent * CHUNK > acknowledged.load(Ordering::Acquire) + WINDOW {
            thread::sleep(Duration::from_micros(200));
        }
        stream.write_all(chunk).unwrap();
    }
    let ended = reader.join().unwrap();
    messages as f64 / (ended - begun).as_secs_f64()
}

fn chunks(messages: usize) -> Vec<Vec<u8>> {
    let numbers: Vec<usize> = (0..messages).collect();
    let encode = |part: &[usize]| part.iter().flat_map(|&number| publish(number)).collect();
    numbers.chunks(CHUNK).map(encode).collect()
}

fn publish(number: usize) -> Vec<u8> {
    let topic = format!("bench/{}/data", number % STATIONS);
    let payload = format!(
        "{{\"t\":\"2026-11-20T10:00:00Z\",\"v\":{}.{:03},\"n\":{number},\"on\":true}}",
        10_000 + number / 1000,
        number % 1000
    );
    let length = u8::try_from(2 + topic.len() + 2 + payload.len()).unwrap();
    assert!(length < 128, "one byte of remaining length");
    let mut packet = vec![0x32, length, 0, u8::try_from(topic.len()).unwrap()];
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(&u16::try_from(number % 65_535 + 1).unwrap().to_be_bytes());
    packet.extend_from_slice(payload.as_bytes());
    packet
}

/// The baseline: frames in, PUBACKs out, all of one read in one write.
fn receive_and_acknowledge(port: u16, messages: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'b']).unwrap();
    let mut buffer = vec![0; 64 << 10];
    assert_eq!(stream.read(&mut buffer).unwrap(), 4);
    stream.write_all(&[0x82, 6, 0, 1, 0, 1, b'#', 1]).unwrap();
    assert_eq!(stream.read(&mut buffer).unwrap(), 5);
    let (mut filled, mut received) = (0, 0);
    let mut acknowledgements = Vec::new();
    while received < messages {
        let count = stream.read(&mut buffer[filled..]).unwrap();
        assert!(count > 0, "the stand-in left");
        filled += count;
        let mut at = 0;
        while filled - at >= 2 && filled - at >= 2 + usize::from(buffer[at + 1]) {
            let topic = usize::from(buffer[at + 3]);
            acknowledgements.extend([0x40, 2, buffer[at + 4 + topic], buffer[at + 5 + topic]]);
            at += 2 + usize::from(buffer[at + 1]);
            received += 1;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        stream.write_all(&acknowledgements).unwrap();
        acknowledgements.clear();
    }
}
