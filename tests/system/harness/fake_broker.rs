//! A broker that does what a test says, packet by packet, and believes nothing.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::monitor::Monitor;
use super::packet::{self, Connect, Packet};
use super::{PATIENCE, eventually};

/// A listening port and the session of its one client.
pub struct FakeBroker {
    listener: TcpListener,
    pub port: u16,
    monitor: Rc<RefCell<Monitor>>,
}

impl FakeBroker {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port, monitor: Rc::default() }
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Link {
        eventually("the client connects", || self.accepted())
    }

    /// A connection, if one waits.
    pub fn accepted(&self) -> Option<Link> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        self.monitor.borrow_mut().connected();
        Some(Link {
            stream,
            buffer: Vec::new(),
            monitor: Rc::clone(&self.monitor),
            record: Vec::new(),
            answer_pings: true,
            one_byte_writes: false,
        })
    }

    /// The next connection, accepted, its filters granted as asked: ready for messages.
    #[track_caller]
    pub fn accept_session(&self, session_present: bool) -> Link {
        let mut link = self.accept();
        link.expect_connect();
        link.send(&Packet::Connack { session_present, code: 0 });
        link.grant();
        link
    }

    /// How many connections are made within this time; each is closed after its CONNECT.
    pub fn count_attempts(&self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut count = 0;
        while Instant::now() < end {
            match self.accepted() {
                Some(_) => count += 1,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        count
    }
}

/// What comes next on a connection.
#[derive(Debug)]
pub enum Next {
    Packet(Packet),
    /// The client has closed, in order or by a reset.
    End,
    /// Nothing within the time.
    Nothing,
}

/// One connection of the client.
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    monitor: Rc<RefCell<Monitor>>,
    /// Every packet that came, and when.
    pub record: Vec<(Instant, Packet)>,
    /// PINGREQs are answered on the spot and not shown.
    pub answer_pings: bool,
    /// Everything is sent one byte at a time.
    pub one_byte_writes: bool,
}

impl Link {
    /// Sends one packet.
    #[track_caller]
    pub fn send(&mut self, packet: &Packet) {
        self.send_all(std::slice::from_ref(packet));
    }

    /// Sends packets in one write.
    #[track_caller]
    pub fn send_all(&mut self, packets: &[Packet]) {
        let mut bytes = Vec::new();
        for packet in packets {
            self.monitor.borrow_mut().sent(packet);
            bytes.extend(packet::encode(packet));
        }
        self.send_bytes(&bytes);
    }

    /// Sends bytes as they are. The monitor does not learn of them.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send_bytes(bytes), "the client has closed");
    }

    /// Sends bytes; false: the client has closed meanwhile.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let size = if self.one_byte_writes { 1 } else { bytes.len().max(1) };
        bytes.chunks(size).all(|chunk| self.stream.write_all(chunk).is_ok())
    }

    /// Sends bytes; false: the client did not take them all in this time.
    pub fn send_within(&mut self, bytes: &[u8], time: Duration) -> bool {
        self.stream.set_write_timeout(Some(time)).unwrap();
        self.stream.write_all(bytes).is_ok()
    }

    /// Tells the monitor of packets whose bytes are sent by other means.
    pub fn will_send(&mut self, packet: &Packet) -> Vec<u8> {
        self.monitor.borrow_mut().sent(packet);
        packet::encode(packet)
    }

    /// The next packet within this time, checked.
    #[track_caller]
    pub fn next_within(&mut self, wait: Duration) -> Next {
        let end = Instant::now() + wait;
        loop {
            if let Some(packet) = self.take_packet() {
                if packet == Packet::Pingreq && self.answer_pings {
                    self.try_send_bytes(&packet::encode(&Packet::Pingresp));
                    continue;
                }
                return Next::Packet(packet);
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Next::End,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() >= end {
                        return Next::Nothing;
                    }
                }
                Err(_) => return Next::End,
            }
        }
    }

    #[track_caller]
    fn take_packet(&mut self) -> Option<Packet> {
        let (header, length) = match packet::length_of(&self.buffer) {
            Ok(Some(lengths)) => lengths,
            Ok(None) => return None,
            Err(why) => panic!("the client sent an illegal packet: {why}: {:02x?}", self.buffer),
        };
        if self.buffer.len() < header + length {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..header + length).collect();
        let packet = packet::decode(bytes[0], &bytes[header..])
            .unwrap_or_else(|why| panic!("the client sent an illegal packet: {why}: {bytes:02x?}"));
        self.record.push((Instant::now(), packet.clone()));
        if let Err(why) = self.monitor.borrow_mut().received(&packet) {
            panic!("the client broke a rule: {why}: {packet:?}");
        }
        Some(packet)
    }

    /// The next packet.
    #[track_caller]
    pub fn next(&mut self) -> Packet {
        match self.next_within(PATIENCE) {
            Next::Packet(packet) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// The next packet is this one.
    #[track_caller]
    pub fn expect(&mut self, expected: &Packet) {
        let packet = self.next();
        assert_eq!(packet, *expected);
    }

    /// The next packet is a CONNECT.
    #[track_caller]
    pub fn expect_connect(&mut self) -> Connect {
        match self.next() {
            Packet::Connect(connect) => connect,
            other => panic!("expected CONNECT, got {other:?}"),
        }
    }

    /// The next packet is a PUBLISH.
    #[track_caller]
    pub fn expect_publish(&mut self) -> packet::Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The next packet is a SUBSCRIBE; it is granted as asked.
    #[track_caller]
    pub fn grant(&mut self) -> Vec<(String, u8)> {
        match self.next() {
            Packet::Subscribe { id, filters } => {
                let codes = filters.iter().map(|(_, qos)| *qos).collect();
                self.send(&Packet::Suback { id, codes });
                filters
            }
            other => panic!("expected SUBSCRIBE, got {other:?}"),
        }
    }

    /// Nothing but pings comes for so long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        match self.next_within(time) {
            Next::Nothing => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    /// The client closes; what it sends before is given back.
    #[track_caller]
    pub fn expect_end(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match self.next_within(PATIENCE) {
                Next::Packet(packet) => packets.push(packet),
                Next::End => return packets,
                Next::Nothing => panic!("the client did not close within {PATIENCE:?}"),
            }
        }
    }

    /// Waits until the client closes, whatever it sends before: it was told nonsense.
    #[track_caller]
    pub fn expect_end_of_anything(&mut self) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("the client did not close within {PATIENCE:?}")
                }
                Err(_) => return,
            }
        }
    }

    /// Ends our direction; the other stays open.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
