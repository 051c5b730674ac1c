//! Tests of the shipped configuration against everything that the plant says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::plant::{Device, Moment, Order, PlantMessage};
use super::stage::Stage;
use crate::config::{self, Config};
use crate::iotag::mapping::{InMessage, StationPlan};
use crate::iotag::output::{accept_write, compose_text};
use crate::iotag::router::Router;
use crate::iotag::{Quality, Reason, StationId, TagAddress, TagId, TagType, TagUpdate, Value};

fn shipped() -> Config {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    config::load(root).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn ids(config: &Config) -> impl Iterator<Item = StationId> {
    (0..config.stations.len() as u32).map(StationId)
}

fn tags_of(
    config: &Config,
    station: StationId,
) -> impl Iterator<Item = (TagId, &crate::iotag::Tag)> {
    let tags = config.tags.iter().enumerate();
    tags.filter(move |(_, tag)| tag.station == station).map(|(id, tag)| (TagId(id as u32), tag))
}

/// The driver's middle: routes and maps, and keeps the last update of every tag.
struct Driver {
    config: Config,
    router: Router,
    plans: Vec<StationPlan>,
    updates: BTreeMap<String, Vec<TagUpdate>>,
    routed: BTreeSet<String>,
}

impl Driver {
    fn new() -> Self {
        let config = shipped();
        let addresses = ids(&config).zip(config.stations.iter().map(|station| &station.address));
        let router = Router::compile(addresses);
        let plan = |(id, station)| StationPlan::compile(station, tags_of(&config, id));
        let plans = ids(&config).zip(&config.stations).map(plan).collect();
        Self { router, plans, updates: BTreeMap::new(), routed: BTreeSet::new(), config }
    }

    fn take(&mut self, message: &PlantMessage, moment: Moment) {
        let station = self.router.route(&message.topic).expect("every topic has a station");
        self.routed.insert(self.config.stations[station.0 as usize].name.to_string());
        let message = InMessage {
            content_type: None,
            topic: &message.topic,
            payload: message.payload.as_bytes(),
            packet_id: u16::from(message.qos.level()) * 7,
            received: moment.wall,
        };
        let mut updates = Vec::new();
        let report = self.plans[station.0 as usize].map(&message, &mut updates);
        assert_eq!(report.bad_payload, None, "{}", message.topic);
        assert!(!report.time_missing, "{}", message.topic);
        assert_eq!(report.time_unreadable, None, "{}", message.topic);
        for update in updates {
            let tag = &self.config.tags[update.tag.0 as usize];
            assert_eq!(tag.station, station, "{}", tag.name);
            self.updates.entry(tag.name.to_string()).or_default().push(update);
        }
    }

    /// What the plant says in so many milliseconds.
    fn run(&mut self, milliseconds: u64) {
        let begin = "2026-02-03T04:05:06.789Z".parse::<crate::iotag::Timestamp>().unwrap();
        for device in Device::ALL {
            let period = device.period().as_millis() as u64;
            for step in 0..=milliseconds / period {
                let passed = jiff::SignedDuration::from_millis((step * period) as i64);
                let moment = Moment { seed: 1, step, wall: begin + passed };
                for message in device.messages(moment, None) {
                    self.take(&message, moment);
                }
            }
        }
    }
}

/// The incidents that docs/demo.md lists.
const INCIDENTS: [(&str, Reason); 6] = [
    ("activation.power", Reason::Null),
    ("battery.temperature", Reason::PathMissing),
    ("heatpark.flow", Reason::TypeMismatch),
    ("heatpark.pressure", Reason::OutOfRange),
    ("level7.rssi_2", Reason::PathMissing),
    ("pump1.vibration", Reason::Null),
];

#[test]
fn every_station_is_reached_and_every_input_tag_becomes_good() {
    let mut driver = Driver::new();
    driver.run(4_000);
    let names = driver.config.stations.iter().map(|station| station.name.to_string());
    assert_eq!(driver.routed, names.collect());
    for tag in driver.config.tags.iter().filter(|tag| !tag.tag_type.is_output()) {
        let updates = driver.updates.get(&*tag.name).map(Vec::as_slice).unwrap_or_default();
        let good = |update: &TagUpdate| update.quality == Quality::Good && update.value.is_some();
        assert!(updates.iter().any(good), "{} in four seconds: {updates:#?}", tag.name);
    }
}

#[test]
fn only_the_incidents_are_not_good() {
    let mut driver = Driver::new();
    driver.run(20_000);
    let mut seen = BTreeSet::new();
    for (name, updates) in &driver.updates {
        for update in updates.iter().filter(|update| update.quality != Quality::Good) {
            seen.insert((name.as_str(), update.reason.as_str()));
        }
    }
    let expected = INCIDENTS.map(|(name, reason)| (name, reason.as_str()));
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn every_station_changes_while_good_in_any_five_seconds() {
    // Whenever the demo is ended, the last look finds every station alive.
    for end in (5_000..30_000).step_by(500) {
        let mut driver = Driver::new();
        driver.run(end);
        for (id, station) in ids(&driver.config).zip(&driver.config.stations) {
            let alive = tags_of(&driver.config, id).any(|(_, tag)| {
                let updates = driver.updates.get(&*tag.name).map(Vec::as_slice).unwrap_or_default();
                let good = updates.iter().filter(|update| update.quality == Quality::Good);
                let values = good.filter_map(|update| update.value.as_ref()).collect::<Vec<_>>();
                updates.last().is_some_and(|update| update.quality == Quality::Good)
                    && values.windows(2).any(|pair| pair[0] != pair[1])
            });
            assert!(alive, "{} after {end} ms", station.name);
        }
    }
}

#[test]
fn all_types_and_all_kinds_of_addresses_are_shown() {
    let config = shipped();
    for tag_type in TagType::ALL {
        assert!(config.tags.iter().any(|tag| tag.tag_type == tag_type), "{}", tag_type.as_str());
    }
    let kinds: [fn(&TagAddress) -> bool; 7] = [
        |address| matches!(address, TagAddress::InTopic),
        |address| matches!(address, TagAddress::InData),
        |address| matches!(address, TagAddress::InId),
        |address| matches!(address, TagAddress::OutTopic),
        |address| matches!(address, TagAddress::OutValue),
        |address| matches!(address, TagAddress::TopicLevel(_)),
        |address| matches!(address, TagAddress::Json(_)),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        assert!(config.tags.iter().any(|tag| kind(&tag.address)), "{number}");
    }
    for tag in &config.tags {
        assert!(!tag.description.is_empty(), "{} has no description", tag.name);
        let station = &config.stations[tag.station.0 as usize];
        let prefix = format!("{}.", station.name);
        assert!(tag.name.starts_with(&prefix), "{} is not named after {prefix}", tag.name);
    }
}

#[test]
fn commands_go_where_the_devices_listen() {
    let config = shipped();
    let mut topics = BTreeSet::new();
    for (id, station) in ids(&config).zip(&config.stations) {
        topics.extend(station.out_topic.as_deref().map(str::to_owned));
        for (_, tag) in tags_of(&config, id) {
            if let (TagAddress::OutTopic, Some(Value::Text(topic))) = (&tag.address, &tag.initial) {
                topics.insert(topic.to_string());
            }
        }
    }
    let listened = Device::ALL.into_iter().filter_map(Device::command_topic).map(str::to_owned);
    assert_eq!(topics, listened.collect());
}

#[test]
fn devices_show_what_is_written_to_them() {
    let written = [
        (Device::Pump, "pump1.speed_setpoint", "pump1.setpoint_seen", json!(900)),
        (
            Device::Battery,
            "battery.equalize_at",
            "battery.equalize_due",
            json!("2030-01-01T02:00:00Z"),
        ),
        (Device::LevelSensor, "level7.interval", "level7.interval_seen", json!(60)),
        (Device::RoomSensor, "valve_room.valve_command", "valve_room.valve", json!(true)),
        (Device::Filler, "filler.batch_size", "filler.report", json!(24)),
    ];
    let outputs = shipped().tags.into_iter().filter(|tag| tag.address == TagAddress::OutValue);
    let outputs = outputs.map(|tag| tag.name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(outputs, written.iter().map(|(_, output, ..)| (*output).to_owned()).collect());
    for (device, output, mirror, json) in written {
        let mut driver = Driver::new();
        let tag = driver.config.tags.iter().find(|tag| &*tag.name == output).unwrap();
        let station = &driver.config.stations[tag.station.0 as usize];
        let value = accept_write(tag, station, &json).unwrap();
        let payload = String::from_utf8(compose_text(tag, station, &value).unwrap()).unwrap();
        let order = Order { payload, previous: None, step: 4 };
        let wall = "2026-02-03T04:05:06.789Z".parse().unwrap();
        let moment = Moment { seed: 1, step: 4, wall };
        for message in device.messages(moment, Some(&order)) {
            driver.take(&message, moment);
        }
        let shown = driver.updates[mirror].last().unwrap().value.clone().unwrap();
        match shown {
            Value::Text(line) => assert!(line.contains("/24 "), "{line}"),
            shown => assert_eq!(shown, value, "{output}"),
        }
    }
}

#[test]
fn the_stage_loads_as_the_original_does() {
    let parent = tempfile::tempdir().unwrap();
    let stage = Stage::set(parent.path(), 40_113).unwrap();
    let config = config::load(stage.folder()).unwrap();
    let original = shipped();
    assert_eq!(config.tags.len(), original.tags.len());
    assert_eq!(config.stations.len(), original.stations.len());
    let [line] = &config.lines[..] else { panic!("one line") };
    assert_eq!(
        line.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["mqtt://127.0.0.1:40113"]
    );
    assert!(line.keep_alive > 0, "the demo's broker cuts clients without a keep alive");
    assert_eq!(config.socket.path, stage.folder().join("run/tagline.sock"));
    assert_eq!(config.process.data_dir, stage.folder().join("data"));
}
