//! The stations of a line: which one takes a message, and what it makes of it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::options::subscribe_options;
use super::recent::Recent;
use crate::config::Config;
use crate::config::diff::Diff;
use crate::hub::Hub;
use crate::iotag::mapping::{InMessage, MappingReport, StationPlan};
use crate::iotag::router::{Contest, Router};
use crate::iotag::{LineId, StationId, TagId, TagUpdate, Timestamp};
use crate::mqtt::{Publication, Subscription};
use crate::topic;

/// How a message came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// 0 at QoS 0.
    pub(super) packet_id: u16,
    pub(super) received: Timestamp,
    pub(super) dup: bool,
}

/// Router and plans of one line.
pub(super) struct Stations {
    line: LineId,
    /// What router and plans were made of.
    config: Arc<Config>,
    router: Router,
    plans: FxHashMap<StationId, Planned>,
    wills: Wills,
    /// For who asks where a value comes from.
    pub(super) recent: Recent,
}

/// Who watches a topic for a will.
type Wills = FxHashMap<Arc<str>, Vec<Watcher>>;

/// A station that watches a topic, and the payload that makes a message its will; `None`: any.
type Watcher = (StationId, Option<Arc<str>>);

struct Planned {
    plan: StationPlan,
    /// What was last said in the log, so that it is said once per change.
    payload_bad: bool,
    bad_lines: bool,
    too_old: bool,
    time_missing: bool,
    time_unreadable: bool,
}

/// What is other for a line in another configuration, compiled.
pub(super) struct OtherStations {
    config: Arc<Config>,
    /// `None`: stations and addresses are as they were.
    router: Option<Router>,
    wills: Wills,
    /// Stations that begin, end, or map in another way, in order.
    affected: Vec<StationId>,
    /// Plans of those that there are.
    plans: Vec<(StationId, StationPlan)>,
}

/// What a line has no use for any more.
pub struct Replaced {
    _plans: Vec<Planned>,
    _router: Option<Router>,
    _wills: Wills,
    _config: Arc<Config>,
}

impl OtherStations {
    /// Takes a while.
    pub(super) fn compile(line: LineId, config: &Arc<Config>, diff: &Diff) -> Self {
        let is_own = |id: &StationId| config.stations[id.0 as usize].line == line;
        let affected: Vec<StationId> = diff.affected.iter().copied().filter(is_own).collect();
        let is_live = |id: &StationId| !config.is_retired_station(*id);
        let plans = plans(config, &affected.iter().copied().filter(is_live).collect::<Vec<_>>());
        let of_diff = diff.stations.begun().chain(diff.stations.ended());
        let routed = of_diff.chain(diff.stations.changed.iter().copied()).any(|id| is_own(&id));
        Self {
            config: Arc::clone(config),
            router: routed.then(|| router(line, config)),
            wills: wills(line, config),
            affected,
            plans,
        }
    }
}

impl Stations {
    pub(super) fn new(line: LineId, config: &Arc<Config>) -> Self {
        let own: Vec<StationId> = config.stations_of(line).map(|(id, _)| id).collect();
        let plans = plans(config, &own).into_iter().map(|(id, plan)| (id, plan.into())).collect();
        Self {
            line,
            config: Arc::clone(config),
            router: router(line, config),
            plans,
            wills: wills(line, config),
            recent: Recent::new(line, config),
        }
    }

    /// Maps by another configuration from here on. What is as it was stays; what is replaced is given
    /// back, because to drop it may take a while.
    pub(super) fn reconfigure(&mut self, others: OtherStations) -> Replaced {
        let OtherStations { config, router, wills, affected, plans } = others;
        self.recent.reconfigure(self.line, &config, &affected);
        let replaced = Replaced {
            _plans: affected.iter().filter_map(|station| self.plans.remove(station)).collect(),
            _router: router.map(|router| std::mem::replace(&mut self.router, router)),
            _wills: std::mem::replace(&mut self.wills, wills),
            _config: std::mem::replace(&mut self.config, config),
        };
        self.plans.extend(plans.into_iter().map(|(id, plan)| (id, plan.into())));
        replaced
    }

    /// What messages are mapped by.
    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Name of a station.
    pub(super) fn name(&self, station: StationId) -> &Arc<str> {
        &self.config.stations[station.0 as usize].name
    }

    /// Whether a station has been, and is no more.
    pub(super) fn has_retired(&self, station: StationId) -> bool {
        self.config.is_retired_station(station)
    }

    /// The line's filters and those of stations that subscribe to their own address, each once; and
    /// the topics of wills that none of them brings.
    pub(super) fn subscriptions(&self) -> Vec<Subscription> {
        subscriptions(self.line, &self.config)
    }

    /// Which station takes messages of a topic.
    pub(super) fn station_of(&mut self, topic: &Arc<str>) -> Option<StationId> {
        self.router.route(topic)
    }

    /// Which station takes a message; counted.
    pub(super) fn route(
        &mut self,
        hub: &Hub,
        publication: &Publication,
        received: Timestamp,
    ) -> Option<StationId> {
        let station = self.router.route(&publication.topic);
        hub.line_status(self.line, |status| {
            status.messages_received += 1;
            status.bytes_received += publication.payload.len() as u64;
            status.last_message = Some(received);
            if station.is_none() {
                status.messages_unrouted += 1;
                status.last_unrouted_topic = Some(publication.topic.to_string());
            }
        });
        if station.is_none() {
            tracing::debug!(topic = %publication.topic, "no station takes this topic");
        }
        station
    }

    /// The stations whose will message this is, whatever the routing.
    pub(super) fn wills(&self, publication: &Publication) -> Vec<StationId> {
        if self.wills.is_empty() {
            return Vec::new();
        }
        let watched = self.wills.get(&*publication.topic).into_iter().flatten();
        watched
            .filter(|(_, payload)| {
                payload.as_ref().is_none_or(|payload| payload.as_bytes() == publication.payload)
            })
            .map(|(station, _)| *station)
            .collect()
    }

    /// Appends what a message does to its station's tags.
    pub(super) fn map(
        &mut self,
        hub: &Hub,
        station: StationId,
        publication: &Publication,
        arrival: Arrival,
        updates: &mut Vec<TagUpdate>,
    ) {
        let Some(planned) = self.plans.get_mut(&station) else { return };
        let name = &self.config.stations[station.0 as usize].name;
        let message = InMessage {
            topic: &publication.topic,
            payload: &publication.payload,
            content_type: publication.content_type(),
            packet_id: arrival.packet_id,
            received: arrival.received,
        };
        let before = updates.len();
        let report = planned.plan.map(&message, updates);
        planned.account(hub, (station, name), &publication.topic, arrival.received, report);
        if updates.len() > before {
            self.recent.keep(station, publication, arrival);
        }
    }

    /// The plan of a station of this line.
    pub(super) fn plan(&self, station: StationId) -> Option<&StationPlan> {
        self.plans.get(&station).map(|planned| &planned.plan)
    }

    /// How the stations contest for a topic.
    pub(super) fn contest(&self, topic: &str) -> Contest {
        self.router.explain(topic)
    }
}

/// The plans of some stations.
fn plans(config: &Config, stations: &[StationId]) -> Vec<(StationId, StationPlan)> {
    let mut tags: FxHashMap<StationId, Vec<TagId>> =
        stations.iter().map(|station| (*station, Vec::new())).collect();
    for (id, tag) in config.live_tags() {
        if let Some(own) = tags.get_mut(&tag.station) {
            own.push(id);
        }
    }
    let plan = |id: &StationId| {
        let own = tags.get(id).into_iter().flatten();
        let own = own.map(|&tag| (tag, &config.tags[tag.0 as usize]));
        (*id, StationPlan::compile(&config.stations[id.0 as usize], own))
    };
    stations.iter().map(plan).collect()
}

fn router(line: LineId, config: &Config) -> Router {
    Router::compile(config.stations_of(line).map(|(id, station)| (id, &station.address)))
}

fn wills(line: LineId, config: &Config) -> Wills {
    let mut wills = Wills::default();
    for (id, station) in config.stations_of(line) {
        if let Some(topic) = &station.will_topic {
            let watcher = (id, station.will_payload.clone());
            wills.entry(Arc::clone(topic)).or_default().push(watcher);
        }
    }
    wills
}

/// See [`Stations::subscriptions`].
pub(super) fn subscriptions(id: LineId, config: &Config) -> Vec<Subscription> {
    let line = &config.lines[id.0 as usize];
    let own = config
        .stations_of(id)
        .filter(|(_, station)| station.subscribe_address)
        .filter_map(|(_, station)| station.address.as_filter());
    let mut filters: Vec<&str> = line.topic_filters.iter().map(String::as_str).collect();
    filters.extend(own);
    let covered = |topic: &str| filters.iter().any(|filter| brings(filter, topic));
    let wills: Vec<&str> = config
        .stations_of(id)
        .filter_map(|(_, station)| station.will_topic.as_deref())
        .filter(|topic| !covered(topic))
        .collect();
    filters.extend(wills);
    let mut wanted: Vec<Subscription> = Vec::with_capacity(filters.len());
    let mut seen = rustc_hash::FxHashSet::default();
    for filter in filters {
        if seen.insert(filter) {
            let options = subscribe_options(line, filter);
            wanted.push(Subscription { options, ..Subscription::new(filter, line.subscribe_qos) });
        }
    }
    wanted
}

/// Whether a subscription to this filter, shared or not, brings messages of this topic.
pub(super) fn brings(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or(shared, |(_, filter)| filter),
        None => filter,
    };
    topic::matches(filter, topic)
}

impl From<StationPlan> for Planned {
    fn from(plan: StationPlan) -> Self {
        Self {
            plan,
            payload_bad: false,
            bad_lines: false,
            too_old: false,
            time_missing: false,
            time_unreadable: false,
        }
    }
}

impl Planned {
    /// Counters, and one log line per change.
    fn account(
        &mut self,
        hub: &Hub,
        (station, name): (StationId, &str),
        topic: &str,
        received: Timestamp,
        report: MappingReport,
    ) {
        hub.station_status(station, |status| {
            status.messages += 1;
            status.last_message = Some(received);
            status.samples_too_old += report.discarded;
            status.bad_lines += report.bad_lines;
            if let Some(why) = &report.bad_line {
                status.last_error = Some((received, format!("topic `{topic}`: {why}")));
            }
            status.payload_bad = report.bad_payload.is_some();
            if let Some(why) = &report.bad_payload {
                status.bad_payloads += 1;
                status.last_error = Some((received, format!("topic `{topic}`: {why}")));
            }
            if report.time_missing {
                status.times_missing += 1;
            }
            if let Some(text) = &report.time_unreadable {
                status.times_unreadable += 1;
                let why = format!("topic `{topic}`: `{text}` is no time under the time mask");
                status.last_error = Some((received, why));
            }
        });
        if let Some(why) = &report.bad_payload
            && !self.payload_bad
        {
            tracing::warn!(station = %name, topic, "payload cannot be parsed: {why}");
        } else if self.payload_bad && report.bad_payload.is_none() {
            tracing::info!(station = %name, topic, "payloads can be parsed again");
        }
        if let Some(why) = &report.bad_line
            && !self.bad_lines
        {
            let bad_lines = report.bad_lines;
            tracing::warn!(station = %name, topic, bad_lines, "lines cannot be parsed: {why}");
        }
        if report.discarded > 0 && !self.too_old {
            let samples = report.discarded;
            tracing::warn!(station = %name, topic, samples, "older than `max_age`, discarded");
        }
        if report.time_missing && !self.time_missing {
            tracing::warn!(station = %name, topic, "no time in the payload; the receive time is taken");
        }
        if let Some(text) = &report.time_unreadable
            && !self.time_unreadable
        {
            tracing::warn!(
                station = %name, topic,
                "`{text}` is no time under the time mask; the receive time is taken"
            );
        }
        self.payload_bad = report.bad_payload.is_some();
        self.bad_lines = report.bad_lines > 0;
        self.too_old = report.discarded > 0;
        self.time_missing = report.time_missing;
        self.time_unreadable = report.time_unreadable.is_some();
    }
}
