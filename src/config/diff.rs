//! PURE: what a reload changes, and the new configuration under the ids of the old one.
//!
//! An id means one thing for the life of the process: a line is its name, a station its name on its
//! line, a tag its name and type at its station. So whatever is on its way while the configuration
//! changes (a batch of updates, a write in flight, a subscriber's place) never means anything else.
//! What the new configuration does not have keeps its id, *retired*; it gets it back when it comes
//! back. What comes for the first time gets the next free id.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use super::{Config, Journal, Line, Mqtt5, Process, Socket};
use crate::iotag::{LineId, Station, StationId, Tag, TagId, TagType};

/// Names of one kind in a [`Summary`]; more are counted only.
pub const NAMES_SHOWN_MAX: usize = 1000;

/// A configuration whose ids continue those of another one, and how they differ.
#[derive(Clone, Debug)]
pub struct Aligned {
    /// To be in force. What cannot be changed in a running process is as it was.
    pub config: Arc<Config>,
    /// How it differs.
    pub diff: Diff,
}

/// How two configurations with common ids differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Lines.
    pub lines: Changes<LineId>,
    /// Of the changed lines, those whose connection is no longer the one described.
    pub reconnected: Vec<LineId>,
    /// Of the changed lines, those that have to begin anew as a whole; not among `reconnected`.
    pub restarted: Vec<LineId>,
    /// Stations.
    pub stations: Changes<StationId>,
    /// Tags.
    pub tags: Changes<TagId>,
    /// Stations that map messages in another way than before, or whose outputs are others: in one of
    /// the lists above, or one of their tags is. In order.
    pub affected: Vec<StationId>,
    /// Keys outside of lines, stations and tags that take effect at once.
    pub settings: Vec<&'static str>,
    /// Keys whose new values wait for a restart.
    pub restart_needed: Vec<&'static str>,
}

/// What becomes of the things of one kind; each list in the order of the ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<I> {
    /// They were not there.
    pub added: Vec<I>,
    /// They are retired.
    pub removed: Vec<I>,
    /// They go on, with another content.
    pub changed: Vec<I>,
    /// What has their name cannot go on as it was: the first is retired, the second is in its place.
    pub replaced: Vec<(I, I)>,
}

impl<I> Default for Changes<I> {
    fn default() -> Self {
        Self { added: vec![], removed: vec![], changed: vec![], replaced: vec![] }
    }
}

impl<I: Copy + Ord> Changes<I> {
    /// Whether nothing is in any list.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.replaced.is_empty()
    }

    /// Ids that begin.
    pub fn begun(&self) -> impl Iterator<Item = I> + '_ {
        self.added.iter().copied().chain(self.replaced.iter().map(|(_, id)| *id))
    }

    /// Ids that are retired.
    pub fn ended(&self) -> impl Iterator<Item = I> + '_ {
        self.removed.iter().copied().chain(self.replaced.iter().map(|(id, _)| *id))
    }

    fn sort(&mut self) {
        self.added.sort_unstable();
        self.removed.sort_unstable();
        self.changed.sort_unstable();
        self.replaced.sort_unstable();
    }
}

impl Diff {
    /// Whether the configurations are the same, as far as a running process can follow.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
            && self.stations.is_empty()
            && self.tags.is_empty()
            && self.settings.is_empty()
    }
}

/// What a reload changes, by name, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Whether it changes anything.
    pub changed: bool,
    /// Lines.
    pub lines: LineNames,
    /// Stations.
    pub stations: Names,
    /// Tags.
    pub tags: Names,
    /// Other keys that take effect at once.
    pub settings: Vec<&'static str>,
    /// Keys whose new values wait for a restart.
    pub restart_needed: Vec<&'static str>,
    /// Whether names were left out, [`NAMES_SHOWN_MAX`] of a list being shown.
    pub shortened: bool,
}

/// Names of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LineNames {
    /// The lists of every kind.
    #[serde(flatten)]
    pub names: Names,
    /// Of the changed ones, those that are connected anew.
    pub reconnected: Vec<Arc<str>>,
}

/// Names of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// They were not there.
    pub added: Vec<Arc<str>>,
    /// They are gone.
    pub removed: Vec<Arc<str>>,
    /// They are other than before.
    pub changed: Vec<Arc<str>>,
    /// How many of each.
    pub counts: Counts,
}

/// How many names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Of `added`.
    pub added: usize,
    /// Of `removed`.
    pub removed: usize,
    /// Of `changed`.
    pub changed: usize,
}

impl Aligned {
    /// The difference by name.
    pub fn summary(&self) -> Summary {
        let Self { config, diff } = self;
        let mut shortened = false;
        let lines = names(&diff.lines, |id| &config.lines[id.0 as usize].name, &mut shortened);
        let stations =
            names(&diff.stations, |id| &config.stations[id.0 as usize].name, &mut shortened);
        let tags = names(&diff.tags, |id| &config.tags[id.0 as usize].name, &mut shortened);
        let mut reconnected = [&diff.reconnected[..], &diff.restarted[..]].concat();
        reconnected.sort_unstable();
        let reconnected = reconnected.iter().take(NAMES_SHOWN_MAX);
        let reconnected = reconnected.map(|id| Arc::clone(&config.lines[id.0 as usize].name));
        Summary {
            changed: !diff.is_empty(),
            lines: LineNames { names: lines, reconnected: reconnected.collect() },
            stations,
            tags,
            settings: diff.settings.clone(),
            restart_needed: diff.restart_needed.clone(),
            shortened,
        }
    }
}

fn names<'a, I: Copy + Ord>(
    changes: &Changes<I>,
    name: impl Fn(I) -> &'a Arc<str>,
    shortened: &mut bool,
) -> Names {
    let mut list = |ids: &mut dyn Iterator<Item = I>| {
        let mut names: Vec<Arc<str>> = ids.map(|id| Arc::clone(name(id))).collect();
        let count = names.len();
        names.sort_unstable();
        names.truncate(NAMES_SHOWN_MAX);
        *shortened |= count > names.len();
        (names, count)
    };
    let (added, added_count) = list(&mut changes.added.iter().copied());
    let (removed, removed_count) = list(&mut changes.removed.iter().copied());
    let replaced = changes.replaced.iter().map(|(_, id)| *id);
    let (changed, changed_count) = list(&mut changes.changed.iter().copied().chain(replaced));
    let counts = Counts { added: added_count, removed: removed_count, changed: changed_count };
    Names { added, removed, changed, counts }
}

/// Gives a loaded configuration the ids of the one in force.
pub fn align(old: &Config, loaded: Config) -> Aligned {
    let Config { folder, path, process, socket, journal, lines, stations, tags, retired: _ } =
        loaded;
    let mut diff = Diff::default();
    let mut retired = Retired::default();

    let same_line = |_: &Line, _: &Line| true;
    let known = Known::new(&old.lines, |id| old.is_retired_line(LineId(id)), |line| &line.name);
    let aligned = known.align(
        lines,
        same_line,
        |old, new| *old == *new,
        |old, new| {
            new.name = Arc::clone(&old.name);
        },
    );
    diff.lines = aligned.changes(LineId);
    for &id in &diff.lines.changed {
        let (old, new) = (&old.lines[id.0 as usize], &aligned.things[id.0 as usize]);
        if pairs_otherwise(old, new) {
            diff.restarted.push(id);
        } else if connects_otherwise(old, new) {
            diff.reconnected.push(id);
        }
    }
    retired.lines = aligned.retired;
    let (line_ids, lines) = (aligned.ids, aligned.things);

    let mut stations = stations;
    for station in &mut stations {
        station.line = LineId(line_ids[station.line.0 as usize]);
    }
    let is_retired = |id| old.is_retired_station(StationId(id));
    let known = Known::new(&old.stations, is_retired, |station| &station.name);
    let aligned = known.align(
        stations,
        |old, new| old.line == new.line,
        same_station,
        |old, new| new.name = Arc::clone(&old.name),
    );
    diff.stations = aligned.changes(StationId);
    retired.stations = aligned.retired;
    let (station_ids, stations) = (aligned.ids, aligned.things);

    let mut tags = tags;
    for tag in &mut tags {
        tag.station = StationId(station_ids[tag.station.0 as usize]);
    }
    let known = Known::new(&old.tags, |id| old.is_retired_tag(TagId(id)), |tag| &tag.name);
    let identity = |tag: &Tag| -> (StationId, TagType) { (tag.station, tag.tag_type) };
    let aligned = known.align(
        tags,
        |old, new| identity(old) == identity(new),
        same_tag,
        |old, new| new.name = Arc::clone(&old.name),
    );
    diff.tags = aligned.changes(TagId);
    retired.tags = aligned.retired;
    let tags = aligned.things;

    let mut affected: BTreeSet<StationId> = diff.stations.begun().collect();
    affected.extend(diff.stations.ended());
    affected.extend(&diff.stations.changed);
    let of_tags = diff.tags.begun().chain(diff.tags.ended()).chain(diff.tags.changed.clone());
    affected.extend(of_tags.map(|id| tags[id.0 as usize].station));
    diff.affected = affected.into_iter().collect();

    let process = settled_process(&old.process, process, &mut diff);
    let socket = settled_socket(&old.socket, &socket, &mut diff);
    let journal = settled_journal(&old.journal, &journal, &mut diff);
    let config = Config { folder, path, process, socket, journal, lines, stations, tags, retired };
    Aligned { config: Arc::new(config), diff }
}

/// Ids that a reload has left behind: what had them is in no list and takes no part, but what is on
/// its way may still name it.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired {
    pub(super) lines: FxHashSet<u32>,
    pub(super) stations: FxHashSet<u32>,
    pub(super) tags: FxHashSet<u32>,
}

/// The things of one kind in the configuration in force.
struct Known<'a, T> {
    things: &'a [T],
    live: FxHashMap<&'a str, u32>,
    retired: FxHashMap<&'a str, Vec<u32>>,
}

/// Things under their ids.
struct AlignedThings<T> {
    /// The id of each loaded thing, by its position.
    ids: Vec<u32>,
    /// By id.
    things: Vec<T>,
    retired: FxHashSet<u32>,
    added: Vec<u32>,
    removed: Vec<u32>,
    changed: Vec<u32>,
    replaced: Vec<(u32, u32)>,
}

impl<'a, T: Clone> Known<'a, T> {
    fn new(
        things: &'a [T],
        is_retired: impl Fn(u32) -> bool,
        name: impl Fn(&'a T) -> &'a Arc<str>,
    ) -> Self {
        let mut live = FxHashMap::default();
        let mut retired: FxHashMap<&str, Vec<u32>> = FxHashMap::default();
        for (id, thing) in (0u32..).zip(things) {
            if is_retired(id) {
                retired.entry(name(thing)).or_default().push(id);
            } else {
                live.insert(&**name(thing), id);
            }
        }
        Self { things, live, retired }
    }

    /// `goes_on`: of two things of one name, whether the later one is the earlier one still.
    fn align(
        &self,
        loaded: Vec<T>,
        goes_on: impl Fn(&T, &T) -> bool,
        same: impl Fn(&T, &T) -> bool,
        adopt: impl Fn(&T, &mut T),
    ) -> AlignedThings<T>
    where
        T: Named,
    {
        let mut placed: Vec<Option<T>> = Vec::with_capacity(self.things.len().max(loaded.len()));
        placed.resize_with(self.things.len(), || None);
        let mut aligned = AlignedThings {
            ids: Vec::with_capacity(loaded.len()),
            things: Vec::new(),
            retired: FxHashSet::default(),
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            replaced: Vec::new(),
        };
        let mut replaced = FxHashSet::default();
        for mut thing in loaded {
            let live = self.live.get(thing.name()).copied();
            let before = live.map(|id| (id, &self.things[id as usize]));
            let id = match before {
                Some((id, before)) if goes_on(before, &thing) => {
                    adopt(before, &mut thing);
                    if !same(before, &thing) {
                        aligned.changed.push(id);
                    }
                    id
                }
                other => {
                    let revived = self.retired.get(thing.name()).and_then(|ids| {
                        ids.iter().copied().find(|id| goes_on(&self.things[*id as usize], &thing))
                    });
                    let id = revived.unwrap_or(u32::try_from(placed.len()).unwrap_or(u32::MAX));
                    match other {
                        Some((before, _)) => {
                            replaced.insert(before);
                            aligned.replaced.push((before, id));
                        }
                        None => aligned.added.push(id),
                    }
                    id
                }
            };
            aligned.ids.push(id);
            match placed.get_mut(id as usize) {
                Some(place) => *place = Some(thing),
                None => placed.push(Some(thing)),
            }
        }
        for (id, place) in (0u32..).zip(placed) {
            match place {
                Some(thing) => aligned.things.push(thing),
                None => {
                    let gone = &self.things[id as usize];
                    aligned.retired.insert(id);
                    let was_live = self.live.get(gone.name()) == Some(&id);
                    if was_live && !replaced.contains(&id) {
                        aligned.removed.push(id);
                    }
                    aligned.things.push(gone.clone());
                }
            }
        }
        aligned
    }
}

impl<T> AlignedThings<T> {
    fn changes<I: Copy + Ord + Hash>(&self, id: impl Fn(u32) -> I) -> Changes<I> {
        let ids = |list: &[u32]| list.iter().map(|&position| id(position)).collect();
        let mut changes = Changes {
            added: ids(&self.added),
            removed: ids(&self.removed),
            changed: ids(&self.changed),
            replaced: self.replaced.iter().map(|&(old, new)| (id(old), id(new))).collect(),
        };
        changes.sort();
        changes
    }
}

trait Named {
    fn name(&self) -> &str;
}

impl Named for Line {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Station {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Tag {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Whether a connection made for one line would be made in another way for the other. Whoever adds a
/// key has to decide here; the others take effect on the connection that there is.
fn connects_otherwise(old: &Line, new: &Line) -> bool {
    let Line {
        name: _,
        servers,
        redundant,
        mqtt_version,
        mqtt5,
        client_id,
        clean_session,
        user_name,
        password,
        tls,
        topic_filters: _,
        subscribe_qos: _,
        publish_in_flight: _,
        keep_alive,
        ping_interval: _,
        reply_timeout: _,
        reconnect_min: _,
        reconnect_max: _,
        will,
        maximum_packet_size,
        full_debug: _,
    } = old;
    *servers != new.servers
        || *redundant != new.redundant
        || *mqtt_version != new.mqtt_version
        || greets_otherwise(mqtt5, &new.mqtt5)
        || *client_id != new.client_id
        || *clean_session != new.clean_session
        || *user_name != new.user_name
        || *password != new.password
        || *tls != new.tls
        || *keep_alive != new.keep_alive
        || *will != new.will
        || *maximum_packet_size != new.maximum_packet_size
}

/// As [`connects_otherwise`], of what MQTT 5.0 adds.
fn greets_otherwise(old: &Mqtt5, new: &Mqtt5) -> bool {
    let Mqtt5 {
        session_expiry_s,
        receive_maximum,
        topic_alias_maximum,
        user_properties,
        authentication_method,
        no_local: _,
        retain_as_published: _,
        retain_handling: _,
    } = old;
    *session_expiry_s != new.session_expiry_s
        || *receive_maximum != new.receive_maximum
        || *topic_alias_maximum != new.topic_alias_maximum
        || *user_properties != new.user_properties
        || *authentication_method != new.authentication_method
}

/// Whether what one line knows of its connections together is of no use to the other.
fn pairs_otherwise(old: &Line, new: &Line) -> bool {
    let window = |line: &Line| line.redundant.as_ref().map(|second| second.duplicate_window);
    window(old) != window(new)
}

fn same_station(old: &Station, new: &Station) -> bool {
    let Station {
        name,
        line,
        // What it means follows from its text.
        address: _,
        address_text,
        payload_type,
        envelope,
        time_field,
        time_mask,
        time_zone,
        ignore_missing_time,
        csv_delimiter,
        csv_header,
        max_age,
        subscribe_address,
        will_topic,
        will_payload,
        error_delay,
        stale_after,
        on_missing,
        out_topic,
        publish_every,
        publish_on_write,
        publish_qos,
        publish_retain,
        publish_content_type,
        queues_writes,
        write_expiry,
    } = old;
    *name == new.name
        && *line == new.line
        && *address_text == new.address_text
        && *payload_type == new.payload_type
        && *envelope == new.envelope
        && *time_field == new.time_field
        && *time_mask == new.time_mask
        && *time_zone == new.time_zone
        && *ignore_missing_time == new.ignore_missing_time
        && *csv_delimiter == new.csv_delimiter
        && *csv_header == new.csv_header
        && *max_age == new.max_age
        && *subscribe_address == new.subscribe_address
        && *will_topic == new.will_topic
        && *will_payload == new.will_payload
        && *error_delay == new.error_delay
        && *stale_after == new.stale_after
        && *on_missing == new.on_missing
        && *out_topic == new.out_topic
        && *publish_every == new.publish_every
        && *publish_on_write == new.publish_on_write
        && *publish_qos == new.publish_qos
        && *publish_retain == new.publish_retain
        && *publish_content_type == new.publish_content_type
        && *queues_writes == new.queues_writes
        && *write_expiry == new.write_expiry
}

fn same_tag(old: &Tag, new: &Tag) -> bool {
    let Tag {
        name,
        station,
        tag_type,
        address: _,
        address_text,
        when,
        description,
        unit,
        scale,
        offset,
        deadband,
        min,
        max,
        initial,
        on_text,
        off_text,
    } = old;
    *name == new.name
        && *station == new.station
        && *tag_type == new.tag_type
        && *address_text == new.address_text
        && *when == new.when
        && *description == new.description
        && *unit == new.unit
        && *scale == new.scale
        && *offset == new.offset
        && *deadband == new.deadband
        && *min == new.min
        && *max == new.max
        && *initial == new.initial
        && *on_text == new.on_text
        && *off_text == new.off_text
}

/// The new section, but with the old values of what needs a restart.
fn settled_process(old: &Process, new: Process, diff: &mut Diff) -> Process {
    let Process { name, data_dir, stations, tags, log } = new;
    // Where the files are was of use while they were loaded.
    if name != old.name {
        diff.settings.push("process.name");
    }
    if data_dir != old.data_dir {
        diff.restart_needed.push("process.data_dir");
    }
    if log != old.log {
        diff.restart_needed.push("process.log");
    }
    Process { name, data_dir: old.data_dir.clone(), stations, tags, log: old.log.clone() }
}

fn settled_socket(old: &Socket, new: &Socket, diff: &mut Diff) -> Socket {
    let Socket { path, mode } = new;
    if *path != old.path {
        diff.restart_needed.push("socket.path");
    }
    if *mode != old.mode {
        diff.restart_needed.push("socket.mode");
    }
    old.clone()
}

fn settled_journal(old: &Journal, new: &Journal, diff: &mut Diff) -> Journal {
    let Journal { max_entries, max_age } = new;
    if *max_entries != old.max_entries {
        diff.restart_needed.push("journal.max_entries");
    }
    if *max_age != old.max_age {
        diff.restart_needed.push("journal.max_age");
    }
    old.clone()
}

#[cfg(test)]
mod tests;
