//! `tagline demo`: a broker, a plant and the driver in one process, and a table of what it sees.
//!
//! The journey, in order; the end is its reverse:
//!
//! 1. [`broker::Broker::start`]: a broker on a free port of the loopback interface.
//! 2. [`stage::Stage::set`]: the shipped configuration in a folder of its own, with that port.
//! 3. The driver, as `tagline run` starts it, on that folder.
//! 4. [`publisher::Plant::start`]: the devices connect and talk ([`plant`] is what they say).
//! 5. [`show::show`]: pictures ([`screen`]) of the hub's values until time or Ctrl-C.
//!
//! The driver meets the plant over TCP alone: what the demo shows is what a real plant would do.

mod broker;
mod plant;
mod publisher;
mod screen;
mod show;
mod stage;

#[cfg(test)]
mod shipped;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Demo, Global};
use super::check;
use super::exit::Failure;
use super::run::runtime;
use crate::api::protocol::JsonValue;
use crate::clock;
use crate::daemon::Daemon;
use crate::hub::Hub;
use crate::hub::status::LineState;
use crate::iotag::{LineId, StationId, TagId, Timestamp, Value};
use crate::logging;
use screen::{Paper, Screen, StationView, TagRow};

/// What the plant's values hang on.
const SEED: u64 = 7;

/// `tagline demo`.
pub(super) fn demo(global: &Global, options: &Demo) -> Result<(), Failure> {
    // The table is the news; who wants log lines as well asks for them.
    let asked = global.log.as_ref().map(|filter| format!("{filter},{}", broker::LOG_DIRECTIVE));
    logging::start(asked.as_deref(), &format!("error,{}", broker::LOG_DIRECTIVE))
        .map_err(Failure::Configuration)?;
    runtime()?.block_on(run(global, options))
}

async fn run(global: &Global, options: &Demo) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = broker::Broker::start().map_err(Failure::Failed)?;
    let stage = stage::Stage::set(&std::env::temp_dir(), broker.port()).map_err(Failure::Failed)?;
    let on_stage = Global {
        config: Some(stage.folder().to_owned()),
        socket: None,
        log: None,
        json: global.json,
    };
    let config = check::load(&on_stage)?;
    let daemon = Daemon::start(config).map_err(Failure::Failed)?;
    let plant = publisher::Plant::start(broker.port(), SEED);
    let view = View { hub: Arc::clone(daemon.hub()), folder: stage.folder().display().to_string() };
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let mut last = Screen::default();
    let picture = |elapsed, remaining| {
        last = view.picture(elapsed, remaining);
        last.clone()
    };
    let shown = if global.json {
        let paper = || Paper::new(false, None, None);
        show::show(&mut std::io::sink(), options.duration, stop, paper, picture).await
    } else {
        show::show(&mut std::io::stdout(), options.duration, stop, paper, picture).await
    };
    plant.stop().await;
    daemon.stop().await;
    broker.stop();
    drop(stage);
    let summary = shown?;
    if global.json {
        writeln!(std::io::stdout(), "{}", to_json(&last, summary))?;
    }
    Ok(())
}

/// The last picture, for scripts.
fn to_json(screen: &Screen, summary: screen::Summary) -> serde_json::Value {
    let tags = screen.stations.iter().flat_map(|station| {
        station.tags.iter().map(|tag| {
            json!({
                "name": tag.name,
                "station": station.name,
                "value": tag.value,
                "unit": tag.unit,
                "quality": tag.quality.as_str(),
                "reason": tag.reason.as_str(),
            })
        })
    });
    json!({
        "stations": summary.stations,
        "stations_changing": summary.stations_changing,
        "tags_good": summary.tags_good,
        "messages": summary.messages,
        "elapsed_s": summary.elapsed.as_secs_f64(),
        "tags": tags.collect::<Vec<_>>(),
    })
}

fn paper() -> Paper {
    let size = terminal_size::terminal_size().map(|(width, height)| (width.0, height.0));
    let no_color = std::env::var("NO_COLOR").ok();
    Paper::new(std::io::stdout().is_terminal(), size, no_color.as_deref())
}

/// The hub as the screen shows it.
struct View {
    hub: Arc<Hub>,
    folder: String,
}

impl View {
    fn picture(&self, elapsed: Duration, remaining: Option<Duration>) -> Screen {
        let config = self.hub.config();
        let now = clock::wall();
        let (state, broker, messages) = self.hub.line_status(LineId(0), |status| {
            (status.state, status.leading().server.clone(), status.messages_received)
        });
        let mut stations: BTreeMap<StationId, StationView> = config
            .live_stations()
            .map(|(id, station)| {
                let view = StationView {
                    name: station.name.to_string(),
                    address: station.address_text.to_string(),
                    tags: Vec::new(),
                };
                (id, view)
            })
            .collect();
        let ids: Vec<TagId> = config.live_tags().map(|(id, _)| id).collect();
        for reading in self.hub.read(&ids) {
            let tag = &config.tags[reading.tag.0 as usize];
            let Some(station) = stations.get_mut(&tag.station) else { continue };
            station.tags.push(TagRow {
                name: tag.name.to_string(),
                numeric: matches!(
                    reading.value.value,
                    Some(Value::Real(_) | Value::Integer(_) | Value::Interval(_))
                ),
                value: reading.value.value.as_ref().map(value_text),
                unit: tag.unit.to_string(),
                quality: reading.value.quality,
                reason: reading.value.reason,
                age: (reading.seq > 0).then(|| age(reading.value.received, now)),
                description: tag.description.to_string(),
            });
        }
        Screen {
            line: config.lines.first().map(|line| line.name.to_string()).unwrap_or_default(),
            line_state: if state == LineState::Up { "connected" } else { state.as_str() }.into(),
            line_up: state == LineState::Up,
            broker: broker.trim_start_matches("mqtt://").to_owned(),
            messages,
            elapsed,
            remaining,
            program: std::env::args().next().unwrap_or_else(|| "tagline".into()),
            config: self.folder.clone(),
            stations: stations.into_values().collect(),
        }
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        value => serde_json::to_string(&JsonValue(value))
            .map(|text| text.trim_matches('"').to_owned())
            .unwrap_or_default(),
    }
}

fn age(received: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(received).try_into().unwrap_or(Duration::ZERO)
}
