//! Another configuration in the place of the one in force, while everything runs.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::setup::Setup;
use super::stations::{MODES, modes as stored_modes};
use super::writes::WriteError;
use super::{Hub, LinePort, lock};
pub use crate::config::Diagnostic;
pub use crate::config::diff::Summary;
use crate::config::diff::{Aligned, Changes};
use crate::iotag::{Reason, StationId, TagId, TagValue, Timestamp};
use crate::store::{Commit, StoreError};

/// What somebody wants of the configuration on disk.
pub struct ConfigRequest {
    /// To be in force; otherwise it is only looked at.
    pub apply: bool,
    /// Who waits.
    pub reply: oneshot::Sender<Result<Summary, ConfigError>>,
}

/// Everything that has to be read and made before a configuration is in force.
pub struct Prepared {
    next: Setup,
    ports: Vec<LinePort>,
    /// How many tags the store had before.
    known: usize,
    /// What it knows of the others.
    stored: Vec<Option<(u64, TagValue)>>,
}

/// What was in force before; to drop it may take a while.
pub struct Replaced {
    _setup: Arc<Setup>,
}

/// Why the configuration on disk is not in force.
#[derive(Clone, Debug)]
pub enum ConfigError {
    /// It has mistakes; all of them.
    Mistakes(Vec<Diagnostic>),
    /// Something else is in the way; in words.
    Failed(String),
}

/// Requests that wait for the one under way.
const REQUESTS_MAX: usize = 16;

impl Hub {
    /// The other end of [`Self::request_config`]; `None` but for the first caller.
    pub fn config_requests(&self) -> Option<mpsc::Receiver<ConfigRequest>> {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        self.reloader.set(sender).ok().map(|()| receiver)
    }

    /// Asks for the configuration on disk to be checked, and to be in force if `apply`; requests are
    /// served one after the other.
    pub fn request_config(
        &self,
        apply: bool,
    ) -> Result<oneshot::Receiver<Result<Summary, ConfigError>>, WriteError> {
        let (reply, receiver) = oneshot::channel();
        let stopping = || WriteError::new(WriteError::BUSY, "the process is starting or stopping");
        let reloader = self.reloader.get().ok_or_else(stopping)?;
        reloader.try_send(ConfigRequest { apply, reply }).map_err(|error| match error {
            TrySendError::Full(_) => {
                WriteError::new(WriteError::BUSY, "too many reloads wait for the one under way")
            }
            TrySendError::Closed(_) => stopping(),
        })?;
        Ok(receiver)
    }

    /// Says when another configuration is in force.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Number of the configuration in force, and of the last change before it.
    pub fn generation(&self) -> (u64, u64) {
        let setup = self.setup();
        (setup.generation, setup.since_seq)
    }

    /// Gets ready what [`Self::reconfigure`] needs of the disk. Blocks: not for async tasks, and not
    /// twice at a time.
    ///
    /// # Errors
    /// The store cannot be read; nothing has happened then.
    pub fn prepare(&self, aligned: &Aligned) -> Result<Prepared, StoreError> {
        let Aligned { config, diff } = aligned;
        let before = self.setup.load_full();
        let modes = match diff.stations.added.is_empty() {
            true => Vec::new(),
            false => self.store.session(MODES)?,
        };
        let (next, ports) = before.next(Arc::clone(config), diff, &stored_modes(&modes));
        let names: Vec<Arc<str>> = config.tags.iter().map(|tag| Arc::clone(&tag.name)).collect();
        let stored = self.store.add_tags(&names)?;
        Ok(Prepared { next, ports, known: before.config.tags.len(), stored })
    }

    /// Puts the configuration that is prepared in the place of the one in force, and gives the ports
    /// of the lines that begin. From here on, tags that are retired do not change any more, and the
    /// others are as they were. Blocks for a while if there are many tags.
    pub fn reconfigure(
        &self,
        aligned: &Aligned,
        prepared: Prepared,
        now: Timestamp,
    ) -> (Vec<LinePort>, Replaced) {
        let Aligned { config, diff } = aligned;
        let Prepared { mut next, ports, known, mut stored } = prepared;
        // Nobody writes to a station that is moved until what waits for it has been moved, too.
        let moved = diff.stations.replaced.iter();
        let moved: Vec<_> = moved
            .map(|&(before, id)| (before, id, Arc::clone(&next.stations[id.0 as usize].outputs)))
            .collect();
        let moved: Vec<_> =
            moved.iter().map(|(before, id, outputs)| (*before, *id, lock(outputs))).collect();
        let mut state = lock(&self.state);
        let mut commit = Commit::default();
        for id in diff.tags.ended() {
            state.table.retire(id);
        }
        for &id in &diff.tags.changed {
            state.table.reconfigure(id, &config.tags[id.0 as usize]);
        }
        let mut faults: FxHashMap<StationId, Option<Reason>> = FxHashMap::default();
        for (id, earlier) in begun(&diff.tags) {
            let position = id.0 as usize;
            let tag = &config.tags[position];
            // What ran knows better than the disk.
            let value = match earlier.or((position < known).then_some(id)) {
                Some(ran) if state.seqs[ran.0 as usize] == 0 => None,
                Some(ran) => state.table.retire(ran),
                None => {
                    stored.get_mut(position - known).and_then(Option::take).map(|(_, value)| value)
                }
            };
            state.table.begin(id, tag, value, now);
            match state.seqs.get_mut(position) {
                Some(seq) => *seq = 0,
                None => state.seqs.push(0),
            }
            // What is wrong with its station is wrong with the tag.
            let fault = faults.entry(tag.station).or_insert_with(|| {
                let siblings = next.station_tags[tag.station.0 as usize].iter();
                siblings.filter_map(|sibling| state.table.fault(*sibling)).next()
            });
            let restored =
                state.table.read(id).is_some_and(|value| value.reason == Reason::Restored);
            if let Some(reason) = fault.filter(|reason| *reason != Reason::Simulated)
                && !tag.tag_type.is_output()
            {
                state.table.invalidate(id, reason);
            }
            // Who has known it by its name learns what has become of it.
            if (restored || earlier.is_some())
                && let Some(value) = state.table.read(id).cloned()
            {
                state.number(id, value, &mut commit);
            }
        }
        next.since_seq = state.last_seq;
        let generation = next.generation;
        let before = self.setup.swap(Arc::new(next));
        self.queue(state, commit, None);
        self.generation.send_replace(generation);
        for (before, station, mut outputs) in moved {
            self.move_queued(before, station, &mut outputs);
        }
        for &station in &diff.stations.removed {
            self.drop_queued(station);
        }
        (ports, Replaced { _setup: before })
    }
}

/// Tags that begin, in the order of their ids, and which one each replaces.
fn begun(tags: &Changes<TagId>) -> Vec<(TagId, Option<TagId>)> {
    let added = tags.added.iter().map(|id| (*id, None));
    let replaced = tags.replaced.iter().map(|(before, id)| (*id, Some(*before)));
    let mut begun: Vec<_> = added.chain(replaced).collect();
    begun.sort_unstable();
    begun
}
