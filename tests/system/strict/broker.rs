//! A listening port and its connections.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Cut, Transport};
use super::judge::{Judge, brief};
use super::packet::{self, Connect, Kind, Packet, Publish, Version, ack};
use super::property::Properties;
use crate::harness::PATIENCE;

/// A listening port and the session of its one client.
pub struct Broker {
    listener: TcpListener,
    pub port: u16,
    pub version: Version,
    pub transport: Transport,
    pub judge: Rc<RefCell<Judge>>,
    /// When connections came.
    pub accepted: RefCell<Vec<Instant>>,
}

impl Broker {
    pub fn new(listener: TcpListener, version: Version, transport: Transport) -> Self {
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let judge = Rc::new(RefCell::new(Judge::new(version)));
        Self { listener, port, version, transport, judge, accepted: RefCell::default() }
    }

    /// A connection below everything, if one waits.
    pub fn accept_tcp(&self) -> Option<std::net::TcpStream> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        self.accepted.borrow_mut().push(Instant::now());
        Some(stream)
    }

    /// A connection after its handshakes, if one waits.
    pub fn accept_now(&self) -> Option<Link> {
        let carrier = Carrier::accept(self.accept_tcp()?, self.transport).ok()?;
        self.judge.borrow_mut().connected();
        Some(Link {
            carrier,
            version: self.version,
            buffer: Vec::new(),
            judge: Rc::clone(&self.judge),
            answer_pings: true,
            cut: Cut::Whole,
            pings: 0,
            kept: VecDeque::new(),
        })
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Link {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(link) = self.accept_now() {
                return link;
            }
            assert!(Instant::now() < end, "the client did not connect within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the client did wrong, and whether it came back too fast.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.judge.borrow().faults.clone();
        // The pauses are spread evenly between 0 and 100 ms or more: a dozen of them takes its time.
        for times in self.accepted.borrow().windows(13) {
            let time = times[12] - times[0];
            if time < Duration::from_millis(150) {
                faults.push(format!("a tight loop: 12 connections in {time:?}"));
                break;
            }
        }
        faults
    }
}

/// What comes next on a connection.
#[derive(Debug)]
pub enum Got {
    Packet(Packet),
    /// The client has closed, in order or by a reset.
    End,
    /// Nothing within the time.
    Nothing,
}

/// One connection of the client.
pub struct Link {
    pub carrier: Carrier,
    pub version: Version,
    buffer: Vec<u8>,
    judge: Rc<RefCell<Judge>>,
    /// PINGREQs are answered on the spot and not shown.
    pub answer_pings: bool,
    /// How what is sent is cut.
    pub cut: Cut,
    /// PINGREQs so far.
    pub pings: usize,
    /// Publications that a scenario has read before their turn.
    pub kept: VecDeque<Publish>,
}

impl Link {
    /// Sends one packet.
    #[track_caller]
    pub fn send(&mut self, packet: &Packet) {
        self.send_all(std::slice::from_ref(packet));
    }

    /// Sends packets in one piece.
    #[track_caller]
    pub fn send_all(&mut self, packets: &[Packet]) {
        let bytes = self.note(packets);
        assert!(self.carrier.write(&bytes, self.cut), "the client has closed");
    }

    /// Sends one packet, to a client that may have closed.
    pub fn try_send(&mut self, packet: &Packet) -> bool {
        let bytes = self.note(std::slice::from_ref(packet));
        self.carrier.write(&bytes, self.cut)
    }

    /// Tells the judge of packets whose bytes are sent by other means.
    pub fn note(&mut self, packets: &[Packet]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for packet in packets {
            self.judge.borrow_mut().sent(packet);
            bytes.extend(packet::encode(self.version, packet));
        }
        bytes
    }

    /// Sends bytes as they are, to a client that may close meanwhile. The judge does not learn of
    /// them.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.carrier.write(bytes, self.cut)
    }

    /// The next packet within this time, checked.
    pub fn next_within(&mut self, wait: Duration) -> Got {
        let end = Instant::now() + wait;
        loop {
            if let Some(packet) = self.take_packet() {
                if packet == Packet::Pingreq {
                    self.pings += 1;
                    if self.answer_pings {
                        let answer = packet::encode(self.version, &Packet::Pingresp);
                        self.carrier.write(&answer, Cut::Whole);
                        continue;
                    }
                }
                return Got::Packet(packet);
            }
            let left = end.saturating_duration_since(Instant::now());
            let read = self.carrier.read(left);
            let faults = self.carrier.faults.drain(..);
            self.judge.borrow_mut().faults.extend(faults);
            match read {
                Err(()) => return Got::End,
                Ok(bytes) if bytes.is_empty() => {
                    if Instant::now() >= end {
                        return Got::Nothing;
                    }
                }
                Ok(bytes) => self.buffer.extend(bytes),
            }
        }
    }

    fn take_packet(&mut self) -> Option<Packet> {
        let fault = |why: String| self.judge.borrow_mut().faults.push(why);
        let (header, length) = match packet::length_of(&self.buffer) {
            Ok(lengths) => lengths?,
            Err(why) => {
                fault(format!("{why}: {:02x?}", self.buffer));
                self.buffer.clear();
                return None;
            }
        };
        if self.buffer.len() < header + length {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..header + length).collect();
        match packet::decode(self.version, bytes[0], &bytes[header..]) {
            Ok(packet) => {
                self.judge.borrow_mut().received(&packet, bytes.len());
                Some(packet)
            }
            Err(why) => {
                fault(format!("{why}: {bytes:02x?}"));
                self.take_packet()
            }
        }
    }

    /// The next packet.
    #[track_caller]
    pub fn next(&mut self) -> Packet {
        match self.next_within(PATIENCE) {
            Got::Packet(packet) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// The next packet is this one.
    #[track_caller]
    pub fn expect(&mut self, expected: &Packet) {
        let packet = self.next();
        assert_eq!(brief(&packet), brief(expected));
    }

    /// The next packet is an acknowledgement without a reason.
    #[track_caller]
    pub fn expect_ack(&mut self, kind: Kind, id: u16) {
        self.expect(&ack(kind, id));
    }

    /// The next packet is a CONNECT.
    #[track_caller]
    pub fn expect_connect(&mut self) -> Connect {
        match self.next() {
            Packet::Connect(connect) => *connect,
            other => panic!("expected CONNECT, got {other:?}"),
        }
    }

    /// The next packet is a PUBLISH.
    #[track_caller]
    pub fn expect_publish(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, got {}", brief(&other)),
        }
    }

    /// The next packet is a SUBSCRIBE; it is granted as asked.
    #[track_caller]
    pub fn grant(&mut self) -> Vec<(String, u8)> {
        let packet = self.next();
        self.granted(&packet).unwrap_or_else(|| panic!("expected SUBSCRIBE, got {packet:?}"))
    }

    /// Grants this packet if it is a SUBSCRIBE or UNSUBSCRIBE.
    pub fn granted(&mut self, packet: &Packet) -> Option<Vec<(String, u8)>> {
        match packet {
            Packet::Subscribe { id, filters, .. } => {
                let codes = filters.iter().map(|(_, options)| options & 3).collect();
                self.try_send(&Packet::Suback { id: *id, codes });
                Some(filters.clone())
            }
            Packet::Unsubscribe { id, filters } => {
                self.try_send(&Packet::Unsuback { id: *id, codes: vec![0; filters.len()] });
                Some(vec![])
            }
            _ => None,
        }
    }

    /// Accepts CONNECT.
    #[track_caller]
    pub fn connack(&mut self, present: bool, properties: Properties) {
        let properties = if self.version.is_5() { properties } else { vec![] };
        self.send(&Packet::Connack { present, code: 0, properties });
    }

    /// Nothing but pings comes for so long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        match self.next_within(time) {
            Got::Nothing => {}
            other => panic!("expected silence, got {other:?}"),
        }
    }

    /// The client closes; what it sends before is given back.
    #[track_caller]
    pub fn expect_end(&mut self) -> Vec<Packet> {
        self.expect_end_after("something")
    }

    #[track_caller]
    pub fn expect_end_after(&mut self, what: &str) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match self.next_within(PATIENCE) {
                Got::Packet(packet) => packets.push(packet),
                Got::End => return packets,
                Got::Nothing => panic!("the client did not close after {what}: {packets:?}"),
            }
        }
    }
}
