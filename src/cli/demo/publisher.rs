//! Carries the plant's messages to the broker: one MQTT 3.1.1 connection for every device.
//!
//! A device needs little of MQTT, and being independent of `crate::mqtt` it notices when that is
//! wrong. Nothing is repeated: what a broken connection swallows is made good by the next message.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mqttrs::{
    Connect, ConnectReturnCode, Packet, Pid, Protocol, Publish, QoS, QosPid, Subscribe,
    SubscribeTopic, decode_slice, encode_slice,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::plant::{Device, Moment, Order, PlantMessage};
use crate::clock;
use crate::qos::Qos;

/// The running plant. Dropping it breaks its connections off; [`Plant::stop`] takes leave.
pub(super) struct Plant {
    stop: watch::Sender<bool>,
    devices: JoinSet<()>,
}

impl Plant {
    /// Starts every device against a broker at 127.0.0.1. Must be called within a tokio runtime.
    pub(super) fn start(port: u16, seed: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut devices = JoinSet::new();
        for device in Device::ALL {
            let worker = Worker { device, port, seed, step: 0, order: None, packet_id: Pid::new() };
            devices.spawn(worker.run(stopped.clone()));
        }
        Self { stop, devices }
    }

    /// Disconnects every device and returns when all are gone.
    pub(super) async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.devices.join_next().await.is_some() {}
    }
}

/// One device and what it remembers over its connections.
struct Worker {
    device: Device,
    port: u16,
    seed: u64,
    step: u64,
    order: Option<Order>,
    packet_id: Pid,
}

impl Worker {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            if let Err(cause) = self.connection(&mut stopped).await {
                tracing::debug!(device = self.device.client_id(), cause, "plant connection lost");
            }
            tokio::select! {
                () = stop_requested(&mut stopped) => return,
                () = tokio::time::sleep(RECONNECT_PAUSE) => {}
            }
        }
    }

    /// One connection, from CONNECT to DISCONNECT; an error when it breaks before.
    async fn connection(&mut self, stopped: &mut watch::Receiver<bool>) -> Result<(), String> {
        let mut wire = tokio::select! {
            () = stop_requested(stopped) => return Ok(()),
            wire = self.connect() => wire?,
        };
        let mut turns = tokio::time::interval(self.device.period());
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop_requested(stopped) => return wire.send(&Packet::Disconnect).await,
                frame = wire.frame() => self.on_frame(&frame?, &mut wire).await?,
                _ = turns.tick() => self.turn(&mut wire).await?,
            }
        }
    }

    async fn connect(&mut self) -> Result<Wire, String> {
        let mut wire = tokio::time::timeout(REPLY_PATIENCE, Wire::open(self.port))
            .await
            .map_err(|_| "the broker cannot be reached".to_owned())??;
        wire.send(&Packet::Connect(Connect {
            protocol: Protocol::MQTT311,
            // It speaks at least every two seconds and needs no PINGREQ.
            keep_alive: 30,
            client_id: self.device.client_id(),
            clean_session: true,
            last_will: None,
            username: None,
            password: None,
        }))
        .await?;
        let frame = tokio::time::timeout(REPLY_PATIENCE, wire.frame())
            .await
            .map_err(|_| "the broker does not answer CONNECT".to_owned())??;
        match decode(&frame)? {
            Packet::Connack(answer) if answer.code == ConnectReturnCode::Accepted => {}
            other => return Err(format!("the broker answers CONNECT with {other:?}")),
        }
        if let Some(topic) = self.device.command_topic() {
            let topics =
                vec![SubscribeTopic { topic_path: topic.to_owned(), qos: QoS::AtLeastOnce }];
            let pid = self.next_packet_id();
            wire.send(&Packet::Subscribe(Subscribe { pid, topics })).await?;
        }
        Ok(wire)
    }

    async fn turn(&mut self, wire: &mut Wire) -> Result<(), String> {
        let moment = Moment { seed: self.seed, step: self.step, wall: clock::wall() };
        self.step += 1;
        for message in self.device.messages(moment, self.order.as_ref()) {
            let qospid = match message.qos {
                Qos::AtMostOnce => QosPid::AtMostOnce,
                Qos::AtLeastOnce => QosPid::AtLeastOnce(self.next_packet_id()),
                Qos::ExactlyOnce => QosPid::ExactlyOnce(self.next_packet_id()),
            };
            let PlantMessage { topic, payload, retain, .. } = &message;
            wire.send(&Packet::Publish(Publish {
                dup: false,
                qospid,
                retain: *retain,
                topic_name: topic,
                payload: payload.as_bytes(),
            }))
            .await?;
        }
        Ok(())
    }

    async fn on_frame(&mut self, frame: &Bytes, wire: &mut Wire) -> Result<(), String> {
        match decode(frame)? {
            Packet::Pubrec(pid) => wire.send(&Packet::Pubrel(pid)).await,
            Packet::Pubrel(pid) => wire.send(&Packet::Pubcomp(pid)).await,
            Packet::Publish(command) => {
                self.on_command(&String::from_utf8_lossy(command.payload));
                match command.qospid {
                    QosPid::AtMostOnce => {}
                    QosPid::AtLeastOnce(pid) => wire.send(&Packet::Puback(pid)).await?,
                    QosPid::ExactlyOnce(pid) => wire.send(&Packet::Pubrec(pid)).await?,
                }
                // Whoever writes wants to see it.
                self.turn(wire).await
            }
            _ => Ok(()),
        }
    }

    fn on_command(&mut self, payload: &str) {
        // The same command again is no second step: the pump does not ramp once more.
        if self.order.as_ref().is_some_and(|order| order.payload == payload) {
            return;
        }
        let previous = self.order.take().map(|order| order.payload);
        self.order = Some(Order { payload: payload.to_owned(), previous, step: self.step });
    }

    fn next_packet_id(&mut self) -> Pid {
        let pid = self.packet_id;
        self.packet_id = pid + 1;
        pid
    }
}

/// Whole packets over a stream.
struct Wire {
    stream: TcpStream,
    inbound: BytesMut,
    /// Frames that were read together with another one.
    frames: VecDeque<Bytes>,
}

impl Wire {
    async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, inbound: BytesMut::new(), frames: VecDeque::new() })
    }

    async fn send(&mut self, packet: &Packet<'_>) -> Result<(), String> {
        let mut buffer = vec![0; encoded_bytes_max(packet)];
        let length = encode_slice(packet, &mut buffer).map_err(|error| error.to_string())?;
        let outbound = buffer.get(..length).unwrap_or(&buffer);
        self.stream.write_all(outbound).await.map_err(|error| error.to_string())
    }

    /// The next whole frame. Cancel-safe: what was read stays in the buffer.
    async fn frame(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            let read = self.stream.read_buf(&mut self.inbound).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Err("the broker closed the connection".to_owned());
            }
            while let Some(frame) = take_frame(&mut self.inbound)? {
                self.frames.push_back(frame);
            }
        }
    }
}

/// Also when the plant is dropped.
async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn encoded_bytes_max(packet: &Packet<'_>) -> usize {
    let body = match packet {
        Packet::Publish(publish) => publish.topic_name.len() + publish.payload.len(),
        Packet::Subscribe(subscribe) => {
            subscribe.topics.iter().map(|topic| topic.topic_path.len() + 3).sum()
        }
        Packet::Connect(connect) => connect.client_id.len(),
        _ => 0,
    };
    // Fixed header, packet identifier and length fields of the packets above.
    body + 32
}

/// Takes one whole packet off the front, MQTT 3.1.1 section 2.2; `None`: it is not all there.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let mut remaining = 0_usize;
    for position in 0..4 {
        let Some(&byte) = buffer.get(1 + position) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            if remaining > FRAME_BYTES_MAX {
                return Err(format!("a packet of {remaining} bytes is too large"));
            }
            let length = 2 + position + remaining;
            if buffer.len() < length {
                return Ok(None);
            }
            return Ok(Some(buffer.split_to(length).freeze()));
        }
    }
    Err("a packet has a remaining length of more than four bytes".to_owned())
}

/// Decodes one whole frame. mqttrs reads past short bodies, so their lengths are checked first.
fn decode(frame: &Bytes) -> Result<Packet<'_>, String> {
    let malformed = || "a packet is malformed".to_owned();
    let mut body = frame.clone();
    let first = body.try_get_u8().map_err(|_| malformed())?;
    while body.try_get_u8().map_err(|_| malformed())? & 0x80 != 0 {}
    let fits = match first >> 4 {
        CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | UNSUBACK => body.len() == 2,
        PUBLISH => {
            let packet_id = if first & 0b110 == 0 { 0 } else { 2 };
            body.try_get_u16().is_ok_and(|topic| body.len() >= usize::from(topic) + packet_id)
        }
        SUBACK => body.len() >= 3,
        PINGRESP => body.is_empty(),
        // What a server does not send.
        _ => false,
    };
    if !fits {
        return Err(malformed());
    }
    decode_slice(frame).map_err(|error| error.to_string())?.ok_or_else(malformed)
}

// Packet types that a server sends, MQTT 3.1.1 section 2.2.1.
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBACK: u8 = 9;
const UNSUBACK: u8 = 11;
const PINGRESP: u8 = 13;

/// Pause before a device connects again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// For the connection and for CONNACK.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);
/// Largest packet a device takes; commands are short.
const FRAME_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests;
