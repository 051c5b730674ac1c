//! What the quick requests answer, and `tag.write`.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::protocol::{self, BrowseParams, ReadParams, RpcError, StationSetParams, Vtq};
use crate::clock;
use crate::hub::status::{
    FilterStatus, LineStatus, PathStatus, StationMode, StationStatus, TlsSummary,
};
use crate::hub::writes::WriteError;
use crate::hub::{Hub, Reading};
use crate::iotag::{LineId, StationId, TagId, Timestamp};

/// Tags on one page of `tag.browse` when the client does not say.
const BROWSE_LIMIT: usize = 1000;

/// Tags named by exact names and patterns, in the order of the request.
pub(super) enum Named {
    /// There it is.
    Tag(TagId),
    /// No tag has this name.
    Unknown(String),
}

/// Whether a name is a pattern.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Resolves exact names and patterns. A tag whose name holds a wildcard is found by its exact name.
pub(super) fn resolve(hub: &Hub, names: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    for name in names {
        if let Some(tag) = hub.tag_named(name) {
            found.push(Named::Tag(tag));
        } else if is_pattern(name) {
            found.extend(hub.tags_matching(name).into_iter().map(Named::Tag));
        } else {
            found.push(Named::Unknown(name.clone()));
        }
    }
    found
}

/// The message for a name that no tag has.
pub(super) fn no_such_tag(name: &str) -> RpcError {
    RpcError::new(RpcError::NO_SUCH_TAG, format!("there is no tag `{name}`"))
}

/// `tag.read`.
pub(super) fn read(hub: &Hub, id: Option<&RawValue>, params: &ReadParams) -> Vec<u8> {
    let named = resolve(hub, &params.names);
    let tags: Vec<TagId> = named
        .iter()
        .filter_map(|named| match named {
            Named::Tag(tag) => Some(*tag),
            Named::Unknown(_) => None,
        })
        .collect();
    let readings = hub.read(&tags);
    #[derive(Serialize)]
    struct Answer<'a> {
        values: Values<'a>,
    }
    let values = Values { hub, named: &named, readings: &readings };
    protocol::answer(id, Ok(Answer { values }))
}

struct Values<'a> {
    hub: &'a Hub,
    named: &'a [Named],
    readings: &'a [Reading],
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut readings = self.readings.iter();
        let config = self.hub.config();
        let mut list = serializer.serialize_seq(Some(self.named.len()))?;
        for named in self.named {
            match named {
                Named::Unknown(name) => {
                    let error = no_such_tag(name);
                    list.serialize_element(&json!({ "name": name, "error": error }))?;
                }
                Named::Tag(_) => {
                    let Some(reading) = readings.next() else { break };
                    let name = &config.tags[reading.tag.0 as usize].name;
                    list.serialize_element(&Vtq { name, seq: reading.seq, value: &reading.value })?;
                }
            }
        }
        list.end()
    }
}

/// `tag.browse`.
pub(super) fn browse(hub: &Hub, params: &BrowseParams) -> Result<Json, RpcError> {
    let config = hub.config();
    let line = match &params.line {
        None => None,
        Some(name) => Some(line_named(hub, name)?),
    };
    let station = match &params.station {
        None => None,
        Some(name) => Some(station_named(hub, name)?),
    };
    let limit = params.limit.unwrap_or(BROWSE_LIMIT);
    if limit == 0 {
        return Err(RpcError::new(RpcError::INVALID_PARAMS, "`limit` is 0"));
    }
    let pattern = params.pattern.as_deref().unwrap_or("*");
    let (found, more) = hub.browse(pattern, params.after.as_deref(), limit, |tag| {
        // A tag that a reload has just added is for the next request.
        let Some(tag) = config.tags.get(tag.0 as usize) else { return false };
        station.is_none_or(|station| tag.station == station)
            && line.is_none_or(|line| config.stations[tag.station.0 as usize].line == line)
    });
    let tags: Vec<Json> = found
        .into_iter()
        .map(|id| {
            let tag = &config.tags[id.0 as usize];
            let station = &config.stations[tag.station.0 as usize];
            json!({
                "name": &*tag.name,
                "type": tag.tag_type.as_str(),
                "address": &*tag.address_text,
                "station": &*station.name,
                "line": &*config.lines[station.line.0 as usize].name,
                "unit": &*tag.unit,
                "description": &*tag.description,
            })
        })
        .collect();
    let next = if more { tags.last().map(|tag| tag["name"].clone()) } else { None };
    Ok(json!({ "tags": tags, "next": next }))
}

fn line_named(hub: &Hub, name: &str) -> Result<LineId, RpcError> {
    let config = hub.config();
    config.live_lines().find(|(_, line)| &*line.name == name).map(|(id, _)| id).ok_or_else(|| {
        RpcError::new(RpcError::INVALID_PARAMS, format!("there is no line `{name}`"))
    })
}

fn station_named(hub: &Hub, name: &str) -> Result<StationId, RpcError> {
    let config = hub.config();
    config.live_stations().find(|(_, station)| &*station.name == name).map(|(id, _)| id).ok_or_else(
        || RpcError::new(RpcError::INVALID_PARAMS, format!("there is no station `{name}`")),
    )
}

/// `line.list`.
pub(super) fn lines(hub: &Hub) -> Json {
    let config = hub.config();
    let lines: Vec<Json> = config
        .live_lines()
        .map(|(id, line)| {
            let status: LineStatus = hub.line_status(id, |status| status.clone());
            let path = status.leading();
            let mut shown = json!({
                "name": &*line.name,
                "state": status.state.as_str(),
                "server": path.server,
                "session_present": path.session_present,
                "subscriptions": filters(path),
                "connected_since": time(path.connected_since),
                "next_attempt": time(path.next_attempt),
                "last_message": time(status.last_message),
                "last_error": error(status.last_error()),
                "tls": path.tls.as_ref().map(tls),
            });
            shown["counters"] = json!({
                "connects": status.paths.iter().map(|path| path.connects).sum::<u64>(),
                "messages_received": status.messages_received,
                "duplicates": status.duplicates,
                "bytes_received": status.bytes_received,
                "messages_unrouted": status.messages_unrouted,
                "writes_completed": status.writes_completed,
                "writes_not_completed": status.writes_not_completed,
            });
            if line.redundant.is_some() {
                shown["paths"] = status.paths.iter().map(path_shown).collect();
            }
            shown["last_unrouted_topic"] = json!(status.last_unrouted_topic);
            shown
        })
        .collect();
    json!({ "lines": lines })
}

/// One connection of a redundant line.
fn path_shown(path: &PathStatus) -> Json {
    json!({
        "state": path.state.as_str(),
        "server": path.server,
        "session_present": path.session_present,
        "subscriptions": filters(path),
        "connected_since": time(path.connected_since),
        "next_attempt": time(path.next_attempt),
        "last_error": error(path.last_error.as_ref()),
        "tls": path.tls.as_ref().map(tls),
        "counters": {
            "connects": path.connects,
            "messages_received": path.messages_received,
        },
    })
}

fn filters(path: &PathStatus) -> Json {
    let shown = |filter: &FilterStatus| json!({ "filter": filter.filter, "qos": filter.granted });
    path.filters.iter().map(shown).collect()
}

/// Encryption, and how long its certificates last.
fn tls(tls: &TlsSummary) -> Json {
    let days = |end: Option<Timestamp>| {
        end.map(|end| end.duration_since(clock::wall()).as_hours().div_euclid(24))
    };
    json!({
        "version": tls.version,
        "cipher": tls.cipher,
        "verified": tls.verified,
        "server_certificate": { "expires": time(tls.server_expires), "days": days(tls.server_expires) },
        "client_certificate": tls.client_expires.map(|end| {
            json!({ "expires": time(Some(end)), "days": days(Some(end)) })
        }),
    })
}

/// `station.list`.
pub(super) fn stations(hub: &Hub) -> Json {
    let config = hub.config();
    let stations: Vec<Json> = config
        .live_stations()
        .map(|(id, station)| {
            let status: StationStatus = hub.station_status(id, |status| status.clone());
            json!({
                "name": &*station.name,
                "line": &*config.lines[station.line.0 as usize].name,
                "address": &*station.address_text,
                "mode": status.mode.as_str(),
                "state": status.shown_state().as_str(),
                "reason": status.reason.as_str(),
                "waiting_for_confirmation": status.waiting_for_confirmation,
                "waiting_since": time(status.waiting_since),
                "queued_writes": hub.queued_writes(id),
                "payload": if status.payload_bad { "bad" } else { "ok" },
                "last_message": time(status.last_message),
                "last_error": error(status.last_error.as_ref()),
                "counters": {
                    "messages": status.messages,
                    "messages_ignored": status.messages_ignored,
                    "messages_dropped": status.messages_dropped,
                    "messages_expired": status.messages_expired,
                    "wills": status.wills,
                    "samples_too_old": status.samples_too_old,
                    "cycles_completed": status.cycles_completed,
                    "cycles_not_completed": status.cycles_not_completed,
                    "bad_lines": status.bad_lines,
                    "bad_payloads": status.bad_payloads,
                    "times_missing": status.times_missing,
                    "times_unreadable": status.times_unreadable,
                },
            })
        })
        .collect();
    json!({ "stations": stations })
}

/// `station.set`.
pub(super) async fn set_station(hub: &Hub, params: &StationSetParams) -> Result<Json, RpcError> {
    let station = station_named(hub, &params.name)?;
    let mode = StationMode::parse(&params.mode).ok_or_else(|| {
        let why = format!("`mode` is \"on\", \"off\" or \"simulate\", not \"{}\"", params.mode);
        RpcError::new(RpcError::INVALID_PARAMS, why)
    })?;
    let done = hub
        .start_station_set(station, mode)
        .map_err(|WriteError { code, message }| RpcError::new(code, message))?;
    match done.await {
        Ok(()) => Ok(json!({})),
        Err(_) => Err(RpcError::new(WriteError::LINE_DOWN, "the process is stopping")),
    }
}

/// `process.status`.
pub(super) fn process(hub: &Hub) -> Json {
    let config = hub.config();
    let [lines, stations, tags] = config.counts();
    let up = config
        .live_lines()
        .filter(|(id, _)| hub.line_status(*id, |status| status.leading().connected_since.is_some()))
        .count();
    let [good, uncertain, bad] = hub.count_by_quality();
    let store = hub.store_status();
    let uptime = clock::wall().duration_since(hub.started());
    json!({
        "name": config.process.name,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started": time(Some(hub.started())),
        "uptime_s": uptime.as_secs(),
        "config": config.folder.display().to_string(),
        "lines": { "total": lines, "up": up },
        "stations": { "total": stations },
        "tags": { "total": tags, "good": good, "uncertain": uncertain, "bad": bad },
        "store": {
            "state": if store.error.is_some() { "error" } else { "ok" },
            "error": store.error,
            "quarantined": store.quarantined.map(|(path, why)| json!({
                "path": path.display().to_string(),
                "why": why,
            })),
            "commits": store.commits,
            "waiting": hub.waiting_changes(),
            "lost": store.lost,
            "last_seq": hub.last_seq(),
            "durable_seq": hub.feed().durable_seq(),
        },
    })
}

fn time(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

fn error(error: Option<&(Timestamp, String)>) -> Json {
    match error {
        None => Json::Null,
        Some((time, message)) => json!({ "time": time.to_string(), "message": message }),
    }
}
