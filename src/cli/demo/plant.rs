//! What the simulated plant says: every message is a pure function of seed, step, time and the last
//! command. [`super::publisher`] carries the messages to the broker.
//!
//! The shapes are those of the platforms that `stations/` explains. Small incidents (a null, a
//! missing field, a value that is none or out of range) come back every few steps, so that
//! qualities other than good can be seen; each touches one tag of a station that has others.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use crate::iotag::Timestamp;
use crate::qos::Qos;

/// One message of the plant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlantMessage {
    /// Topic name.
    pub(super) topic: String,
    /// Payload, always UTF-8.
    pub(super) payload: String,
    /// QoS it is published with.
    pub(super) qos: Qos,
    /// Retain flag.
    pub(super) retain: bool,
}

/// What a device was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The payload of the command.
    pub(super) payload: String,
    /// The payload before it; `None`: it was the first.
    pub(super) previous: Option<String>,
    /// The device's step when it came.
    pub(super) step: u64,
}

/// The moment of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Same seed, same values.
    pub(super) seed: u64,
    /// Number of the device's turn, from 0.
    pub(super) step: u64,
    /// Wall time, for the time stamps in the payloads.
    pub(super) wall: Timestamp,
}

/// One device: one MQTT client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Device {
    /// JSON with its own time; follows speed setpoints.
    Pump,
    /// Lines of text; takes a batch size.
    Filler,
    /// A JSON array; takes the time of the next equalising charge.
    Battery,
    /// LoRaWAN envelope; takes a reporting interval.
    LevelSensor,
    /// Energydata.dk, single and multi value.
    HeatMeter,
    /// aedifion metadata and SWOP setpoints.
    Building,
    /// Powernaut measurements and activations.
    Flexibility,
    /// akenza uplinks; opens and closes a valve.
    RoomSensor,
    /// Topics that no station names.
    Gateway,
}

impl Device {
    /// Every device.
    pub(super) const ALL: [Self; 9] = [
        Self::Pump,
        Self::Filler,
        Self::Battery,
        Self::LevelSensor,
        Self::HeatMeter,
        Self::Building,
        Self::Flexibility,
        Self::RoomSensor,
        Self::Gateway,
    ];

    /// Its MQTT client identifier.
    pub(super) fn client_id(self) -> &'static str {
        match self {
            Self::Pump => "plant-pump1",
            Self::Filler => "plant-filler",
            Self::Battery => "plant-battery",
            Self::LevelSensor => "plant-level-7",
            Self::HeatMeter => "plant-heatpark",
            Self::Building => "plant-building",
            Self::Flexibility => "plant-resource",
            Self::RoomSensor => "plant-room",
            Self::Gateway => "plant-gateway",
        }
    }

    /// From one turn to the next.
    pub(super) fn period(self) -> Duration {
        Duration::from_millis(match self {
            Self::Battery => 500,
            Self::Pump | Self::RoomSensor => 1_000,
            Self::Filler | Self::HeatMeter => 1_200,
            Self::Flexibility | Self::Gateway => 1_500,
            Self::LevelSensor | Self::Building => 2_000,
        })
    }

    /// The topic that it takes commands from, if it takes any.
    pub(super) fn command_topic(self) -> Option<&'static str> {
        match self {
            Self::Pump => Some("waterworks/pump1/set"),
            Self::Filler => Some("plc/filler/command"),
            Self::Battery => Some("command/battery/equalize"),
            Self::LevelSensor => Some("lorawan/water/devices/level-7/down"),
            Self::RoomSensor => Some("/down/device/id/0004a30b002528d3/valve"),
            Self::HeatMeter | Self::Building | Self::Flexibility | Self::Gateway => None,
        }
    }

    /// What it says in one turn.
    pub(super) fn messages(self, moment: Moment, order: Option<&Order>) -> Vec<PlantMessage> {
        let signals = Signals { device: self, moment };
        match self {
            Self::Pump => pump(signals, order),
            Self::Filler => filler(signals, order),
            Self::Battery => battery(signals, order),
            Self::LevelSensor => level_sensor(signals, order),
            Self::HeatMeter => heat_meter(signals),
            Self::Building => building(signals),
            Self::Flexibility => flexibility(signals),
            Self::RoomSensor => room_sensor(signals, order),
            Self::Gateway => gateway(signals),
        }
    }
}

fn pump(signals: Signals, order: Option<&Order>) -> Vec<PlantMessage> {
    let step = signals.moment.step;
    let setpoint = order.and_then(|order| number(&order.payload)).unwrap_or(PUMP_SPEED);
    let before =
        order.and_then(|order| order.previous.as_deref()).and_then(number).unwrap_or(PUMP_SPEED);
    // The rotor needs a few turns to get there.
    let turns = order.map_or(step, |order| step.saturating_sub(order.step));
    let aim = setpoint + (before - setpoint) * (-(turns as f64) / 2.0).exp();
    let running = setpoint > 0.0;
    let speed = if running { (aim + signals.around(0, 0.0, 6.0)).clamp(0.0, 3000.0) } else { 0.0 };
    let vibration = if signals.every(7, 5) {
        Json::Null
    } else {
        json!(digits(speed / 1450.0 * signals.around(1, 2.1, 0.4), 2))
    };
    let document = json!({
        "t": rfc3339(signals.moment.wall),
        "speed": digits(speed, 1),
        "flow": digits(speed / 1450.0 * signals.around(2, 182.0, 3.0), 1),
        "vibration": vibration,
        "running": running,
        "setpoint": setpoint,
        "counters": { "starts": 4217 + step / 20 },
    });
    vec![message("waterworks/pump1/data", &document, Qos::AtLeastOnce)]
}

fn filler(signals: Signals, order: Option<&Order>) -> Vec<PlantMessage> {
    let step = signals.moment.step;
    let size = order
        .and_then(|order| order.payload.trim().parse::<u64>().ok())
        .filter(|size| (1..=10_000).contains(size))
        .unwrap_or(120);
    let filled = step * 7 + signals.below(0, 5);
    let line = format!(
        "{} BATCH {:04} FILLED {}/{size} OK",
        signals.moment.wall.strftime("%H:%M:%S"),
        1200 + filled / size,
        filled % size,
    );
    vec![text("plc/filler/line", line, Qos::ExactlyOnce)]
}

fn battery(signals: Signals, order: Option<&Order>) -> Vec<PlantMessage> {
    let Moment { step, wall, .. } = signals.moment;
    let time = wall.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    let equalize = order
        .and_then(|order| moment_of(&order.payload))
        .unwrap_or_else(|| later(wall, SignedDuration::from_hours(36)));
    let uptime = 3 * 3600 + step / 2;
    let contactor = match step % 60 {
        48 => "trans",
        49..=52 => "off",
        53 => "trans",
        _ => "on",
    };
    let mut rack = json!({
        "time": time,
        "batt_cell_v_avg": digits(signals.around(0, 3.31, 0.02), 3),
        "batt_soc": 714 + (signals.wave(1, 80) * 90.0) as i64,
        "batt_temp": digits(signals.around(2, 24.6, 0.8), 1),
        "contactor": contactor,
        "uptime": format!("{:02}:{:02}:{:02}", uptime / 3600 % 24, uptime / 60 % 60, uptime % 60),
        "equalize_at": rfc3339(equalize),
    });
    if signals.every(15, 11)
        && let Some(fields) = rack.as_object_mut()
    {
        fields.remove("batt_temp");
    }
    let second = json!({ "batt_cell_v_avg": digits(signals.around(3, 3.29, 0.02), 3) });
    let mut messages = vec![message("status/battery", &json!([rack, second]), Qos::AtMostOnce)];
    if step % 3 == 1 {
        let part = if step % 2 == 0 { "inverter" } else { "cooling" };
        let document = json!({
            "time": time,
            "fan_rpm": digits(signals.around(4, 2300.0, 120.0), 0),
            "ok": !signals.every(21, 16),
        });
        messages.push(message(&format!("status/battery/{part}"), &document, Qos::AtMostOnce));
    }
    messages
}

fn level_sensor(signals: Signals, order: Option<&Order>) -> Vec<PlantMessage> {
    let Moment { step, wall, .. } = signals.moment;
    let interval = order
        .and_then(|order| number(&order.payload))
        .filter(|seconds| *seconds > 0.0)
        .unwrap_or(2.0);
    let mut gateways = vec![json!({
        "gweui": "7276FF002E062CF2",
        "time": rfc3339(wall),
        "rssi": -97 - signals.below(0, 9) as i64,
        "snr": digits(signals.around(1, 7.2, 1.5), 1),
    })];
    if !signals.every(5, 3) {
        let rssi = -112 - signals.below(2, 6) as i64;
        gateways.push(json!({ "gweui": "7276FF002E0623A1", "time": rfc3339(wall), "rssi": rssi }));
    }
    let document = json!({
        "cmd": "rx",
        "EUI": "0004A30B0025AA07",
        "fcnt": 5120 + step,
        "port": 2,
        "rx": { "gwrx": gateways },
        "fields": {
            "level_mm": 2310 + (signals.wave(3, 30) * 220.0) as i64 + signals.below(4, 6) as i64,
            "battery": digits(signals.around(5, 3.6, 0.02), 2),
            "interval": interval,
        },
    });
    vec![message("lorawan/water/devices/level-7/up", &document, Qos::AtLeastOnce)]
}

fn heat_meter(signals: Signals) -> Vec<PlantMessage> {
    let Moment { step, wall, .. } = signals.moment;
    let timestamp = wall.as_millisecond();
    let supply = json!({
        "timestamp": timestamp,
        "value": format!("{:.2}", signals.around(0, 61.3, 1.2)),
    });
    let flow = if signals.every(9, 6) {
        json!("n/a")
    } else {
        json!(digits(signals.around(1, 1.42, 0.06), 3))
    };
    let pressure = if signals.every(13, 9) { 99.9 } else { signals.around(2, 6.1, 0.3) };
    let values = json!({
        "timestamp": timestamp,
        "value": {
            "building7/flow": flow,
            "building7/pressure": digits(pressure, 2),
            "building7/energy": 48_211 + step / 2,
            "building7/mode": if step / 8 % 2 == 0 { "heating" } else { "hot water" },
        },
    });
    vec![
        message("heatpark/building7/supply/temperature", &supply, Qos::AtLeastOnce),
        message("heatpark", &values, Qos::AtLeastOnce),
    ]
}

fn building(signals: Signals) -> Vec<PlantMessage> {
    let step = signals.moment.step;
    let trend_log = json!({
        "name": "PXSite1'AS11-239291_C'Btr06'TRCUMVL-trendLog18",
        "objtype": "trendLog",
        "logInterval": "6000",
        "totalRecordCount": (1_749_433 + step).to_string(),
        "recordsSinceNotification": (step % 80).to_string(),
        "enable": "True",
        "eventState": if step % 6 == 4 { "offnormal" } else { "normal" },
        "statusFlags": "[0, 0, 0, 0]",
        "units": "",
    });
    let setpoint = json!({
        "type": "NEWSPT",
        "swop_version": 0.1,
        "datapoint": "bacnet93-4120-External-Room-Set-Temperature-RTs",
        "value": digits(signals.around(0, 20.3, 1.0), 1),
        "priority": 13,
    });
    vec![
        // A description stays on the broker for whoever comes later.
        PlantMessage {
            retain: true,
            ..message("META/lbg01/waterworks", &trend_log, Qos::AtLeastOnce)
        },
        message("CONTROLS/lbg01/waterworks", &setpoint, Qos::ExactlyOnce),
    ]
}

fn flexibility(signals: Signals) -> Vec<PlantMessage> {
    let Moment { step, wall, .. } = signals.moment;
    let time = wall.as_second();
    let power = (signals.wave(0, 24) * 4200.0) as i64 - 900 + signals.below(1, 80) as i64;
    let resource = json!({
        "value": power,
        "soc": 8150 + (signals.wave(2, 60) * 1500.0) as i64 + signals.below(3, 12) as i64,
        "time": time,
    });
    let site = json!({ "value": power + 3150 + signals.below(4, 300) as i64, "time": time });
    let mut messages = vec![
        message("resource/2f1c0d5e/data", &resource, Qos::AtLeastOnce),
        message("site/9b1deb4d/data", &site, Qos::ExactlyOnce),
    ];
    if step % 2 == 0 {
        let start = later(wall, SignedDuration::from_mins(5));
        let end = later(start, SignedDuration::from_mins(15));
        // Null cancels; 0 would be a setpoint.
        let value = if signals.every(10, 6) {
            Json::Null
        } else {
            json!(500 * (signals.below(5, 24) as i64 - 8))
        };
        let activation = json!({
            "timing": { "start": whole_seconds(start), "end": whole_seconds(end) },
            "value": value,
        });
        let topic = "resource/2f1c0d5e/commands/setpoint";
        messages.push(message(topic, &activation, Qos::ExactlyOnce));
    }
    messages
}

fn room_sensor(signals: Signals, order: Option<&Order>) -> Vec<PlantMessage> {
    let step = signals.moment.step;
    let open = order.is_some_and(|order| {
        ["open", "true", "on", "1"].iter().any(|word| order.payload.eq_ignore_ascii_case(word))
    });
    let document = json!({
        "temperature": digits(signals.around(0, 21.4, 0.5), 2),
        "humidity": digits(signals.around(1, 46.0, 2.5), 1),
        "door": if step / 6 % 2 == 1 { "open" } else { "closed" },
        "valve": if open { "open" } else { "closed" },
    });
    let topic = "/up/device/id/0004a30b002528d3";
    let mut messages = vec![message(topic, &document, Qos::AtMostOnce)];
    if step % 6 == 1 {
        let words = if step / 6 % 2 == 1 { "door open" } else { "door closed" };
        let alert = json!({ "alert": format!("{words}, event {}", 300 + step / 6) });
        messages.push(message(&format!("{topic}/alerts"), &alert, Qos::AtLeastOnce));
    }
    messages
}

fn gateway(signals: Signals) -> Vec<PlantMessage> {
    let step = signals.moment.step;
    let (topic, line) = if step % 3 == 2 {
        ("gateway/gw-2/log", format!("backhaul ok, round trip {} ms", 18 + signals.below(0, 30)))
    } else {
        ("gateway/gw-2/stats", format!("uplinks {}, noise -{} dBm", 900 + step, 116 + step % 4))
    };
    vec![text(topic, line, Qos::AtMostOnce)]
}

fn message(topic: &str, document: &Json, qos: Qos) -> PlantMessage {
    text(topic, document.to_string(), qos)
}

fn text(topic: &str, payload: String, qos: Qos) -> PlantMessage {
    PlantMessage { topic: topic.to_owned(), payload, qos, retain: false }
}

/// The drawn numbers of one device in one turn.
#[derive(Clone, Copy)]
struct Signals {
    device: Device,
    moment: Moment,
}

impl Signals {
    /// Evenly from 0 up to 1, never 1.
    fn drawn(self, channel: u64) -> f64 {
        self.generator(channel).f64()
    }

    /// Evenly from 0 up to `limit`, never `limit`.
    fn below(self, channel: u64, limit: u64) -> u64 {
        self.generator(channel).u64(0..limit)
    }

    /// A slow wave with a little noise, at most `spread` away from `middle`.
    fn around(self, channel: u64, middle: f64, spread: f64) -> f64 {
        let wave = self.wave(channel, 19 + 3 * channel);
        middle + spread * (0.7 * wave + 0.6 * (self.drawn(channel) - 0.5))
    }

    /// A sine of `period` turns, from -1 to 1; the channel and the seed set its phase.
    fn wave(self, channel: u64, period: u64) -> f64 {
        let phase = Self { moment: Moment { step: 0, ..self.moment }, ..self }.drawn(channel);
        let turn = (self.moment.step % period) as f64 / period as f64;
        (std::f64::consts::TAU * (turn + phase)).sin()
    }

    /// Whether this turn is the `at`-th of every `period`.
    fn every(self, period: u64, at: u64) -> bool {
        self.moment.step % period == at
    }

    fn generator(self, channel: u64) -> fastrand::Rng {
        let key = [self.moment.seed, self.device as u64, channel, self.moment.step]
            .into_iter()
            .fold(0_u64, |key, part| {
                (key ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            });
        fastrand::Rng::with_seed(key)
    }
}

fn number(payload: &str) -> Option<f64> {
    payload.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A time with an offset, or the container's own form in UTC.
fn moment_of(payload: &str) -> Option<Timestamp> {
    let text = payload.trim();
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse().ok().or_else(|| Some(civil()?.timestamp()))
}

/// Rounded to so many digits after the point, as devices send it.
fn digits(number: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (number * factor).round() / factor
}

fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn whole_seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// The end of time stays the end of time.
fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(time)
}

/// Speed of the pump without a setpoint, in rpm.
const PUMP_SPEED: f64 = 1450.0;

#[cfg(test)]
mod tests;
