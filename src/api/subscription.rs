//! One subscription: a place in the order of changes, and the tags that count.
//!
//! A subscription owns nothing but its place. Changes come from the feed's memory, or from the
//! journal when the client has fallen behind it; the next ones are fetched when the client has
//! taken the last ones.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::connection::Outgoing;
use super::protocol::{self, After, RpcError, SubscribeParams, Vtq};
use super::requests::{Named, no_such_tag, resolve};
use crate::hub::bounds::FEED_READ_MAX;
use crate::hub::feed::FeedRead;
use crate::hub::{Hub, Reading};
use crate::iotag::{TagId, TagValue, Value};

/// Changes in one notification.
const NOTIFICATION_CHANGES_MAX: usize = 500;

/// Bytes of text in one notification, unless a single value has more.
const NOTIFICATION_BYTES_MAX: usize = 1 << 20;

/// A subscription that is about to run.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    wanted: TagSet,
    /// Current values that come first, as they were when the client asked: every change since is
    /// sent.
    first: Vec<Reading>,
    /// Number of the last change that those values contain.
    after_snapshot: u64,
    /// The last change that the client has.
    place: u64,
}

struct TagSet(Vec<u64>);

impl TagSet {
    fn new(tags: &[TagId], all: usize) -> Self {
        let mut bits = vec![0; all.div_ceil(64)];
        for tag in tags {
            bits[tag.0 as usize / 64] |= 1 << (tag.0 % 64);
        }
        Self(bits)
    }

    fn contains(&self, tag: TagId) -> bool {
        self.0.get(tag.0 as usize / 64).is_some_and(|bits| bits >> (tag.0 % 64) & 1 == 1)
    }
}

/// One change of a notification.
struct Changed {
    tag: TagId,
    seq: u64,
    value: TagValue,
}

impl Subscription {
    /// Checks the request and finds its place.
    pub(super) async fn open(hub: &Arc<Hub>, params: &SubscribeParams) -> Result<Self, RpcError> {
        let mut tags = Vec::new();
        for named in resolve(hub, &params.names) {
            match named {
                Named::Tag(tag) => tags.push(tag),
                Named::Unknown(name) => return Err(no_such_tag(&name)),
            }
        }
        let wanted = TagSet::new(&tags, hub.config().tags.len());
        // By place, and each once, however many patterns name it.
        tags.sort_unstable();
        tags.dedup();
        let place = match params.after {
            After::Now => hub.feed().durable_seq(),
            After::Oldest => lost_until(hub).await?,
            After::Token(token) => {
                check_token(hub, token).await?;
                token
            }
        };
        let (first, seq) = match params.after {
            After::Now => hub.snapshot(&tags),
            After::Oldest | After::Token(_) => (Vec::new(), place),
        };
        // Values may be ahead of the disk, the token never is: the changes up to `seq` are in the
        // values and are not repeated, but the token stays behind until they are durable.
        let after_snapshot = seq.max(place);
        Ok(Self { hub: Arc::clone(hub), wanted, first, after_snapshot, place })
    }

    /// The answer to the request.
    pub(super) fn announce(&self, number: u64) -> serde_json::Value {
        serde_json::json!({ "subscription": number, "token": protocol::token(self.place) })
    }

    /// Sends changes until the client is gone.
    pub(super) async fn run(mut self, number: u64, outgoing: Outgoing) {
        // Wakes are seen from here on, so that none falls between a look and a wait.
        let mut durable = self.hub.feed().watch();
        let after_snapshot = self.after_snapshot;
        let current: Vec<Changed> = std::mem::take(&mut self.first)
            .into_iter()
            // A tag that nothing has happened to is no change.
            .filter(|reading| reading.seq > 0)
            .map(|reading| Changed { tag: reading.tag, seq: reading.seq, value: reading.value })
            .collect();
        if self.send(number, &outgoing, current, Some(self.place)).await.is_err() {
            return;
        }
        loop {
            durable.borrow_and_update();
            let read = self.hub.feed().read_after(self.place, FEED_READ_MAX);
            let (changes, place) = match read {
                FeedRead::UpToDate => {
                    if durable.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                FeedRead::Blocks(blocks) => {
                    let place = blocks.last().and_then(|block| block.last()).map(|last| last.seq);
                    let changes = blocks
                        .iter()
                        .flat_map(|block| block.iter())
                        .filter(|change| change.seq > after_snapshot.max(self.place))
                        .filter(|change| self.wanted.contains(change.tag))
                        .map(|change| Changed {
                            tag: change.tag,
                            seq: change.seq,
                            value: change.value.clone(),
                        })
                        .collect();
                    (changes, place)
                }
                FeedRead::TooOld => match self.read_journal(after_snapshot).await {
                    Some(found) => found,
                    None => return,
                },
            };
            self.place = place.unwrap_or(self.place).max(self.place);
            if self.send(number, &outgoing, changes, None).await.is_err() {
                return;
            }
        }
    }

    /// The next changes from disk, and the place behind them; `None`: the journal cannot be read.
    async fn read_journal(&self, after_snapshot: u64) -> Option<(Vec<Changed>, Option<u64>)> {
        let hub = Arc::clone(&self.hub);
        let place = self.place;
        // Before the look: whatever is durable by now is found by it.
        let durable = hub.feed().durable_seq();
        let read =
            tokio::task::spawn_blocking(move || hub.journal_after(place, FEED_READ_MAX)).await;
        let entries = match read {
            Ok(Ok(entries)) => entries,
            Ok(Err(error)) => {
                tracing::error!(%error, "a subscriber cannot be served from the journal");
                return None;
            }
            Err(_) => return None,
        };
        // Numbers are skipped at a restart: an empty journal is no reason to look again.
        let place = entries.last().map_or(durable, |last| last.seq);
        let changes = entries
            .into_iter()
            .filter(|entry| entry.seq > after_snapshot.max(self.place))
            .filter_map(|entry| {
                let tag = self.hub.tag_named(&entry.name)?;
                let wanted = self.wanted.contains(tag);
                wanted.then_some(Changed { tag, seq: entry.seq, value: entry.value })
            })
            .collect();
        Some((changes, Some(place)))
    }

    /// Sends changes in notifications of bounded size; the token of each is its last change, unless
    /// one is given.
    async fn send(
        &self,
        number: u64,
        outgoing: &Outgoing,
        changes: Vec<Changed>,
        token: Option<u64>,
    ) -> Result<(), ()> {
        let mut rest = &changes[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let within = rest
                .iter()
                .take(NOTIFICATION_CHANGES_MAX)
                .take_while(|change| {
                    let first = bytes == 0;
                    bytes += 1 + text_bytes(&change.value);
                    first || bytes <= NOTIFICATION_BYTES_MAX
                })
                .count();
            let (part, later) = rest.split_at(within);
            rest = later;
            let last = part.last().map_or(0, |change| change.seq);
            #[derive(Serialize)]
            struct Params<'a> {
                subscription: u64,
                token: String,
                changes: Changes<'a>,
            }
            let params = Params {
                subscription: number,
                token: protocol::token(token.unwrap_or(last)),
                changes: Changes { hub: &self.hub, changes: part },
            };
            let line = protocol::notification("tag.changed", params);
            outgoing.send(line).await.map_err(|_| ())?;
        }
        Ok(())
    }
}

/// Whether every change since a token can still be had.
async fn check_token(hub: &Arc<Hub>, token: u64) -> Result<(), RpcError> {
    if token > hub.last_seq() {
        return Err(RpcError::new(
            RpcError::INVALID_PARAMS,
            format!("token {token} was not given out by this process"),
        ));
    }
    if token >= hub.feed().durable_seq() {
        return Ok(());
    }
    let lost_until = lost_until(hub).await?;
    if token >= lost_until {
        return Ok(());
    }
    let oldest = protocol::token(lost_until);
    Err(RpcError {
        code: RpcError::TOKEN_TOO_OLD,
        message: format!(
            "the journal no longer reaches back to {token}; its oldest token is {oldest}"
        ),
        data: Some(serde_json::json!({ "oldest": oldest })),
    })
}

async fn oldest(hub: &Arc<Hub>) -> Result<Option<u64>, RpcError> {
    let hub = Arc::clone(hub);
    let internal = |why: String| RpcError::new(RpcError::INTERNAL, why);
    tokio::task::spawn_blocking(move || hub.journal_oldest())
        .await
        .map_err(|error| internal(error.to_string()))?
        .map_err(|error| internal(error.to_string()))
}

/// Changes up to this number are no longer in the journal.
async fn lost_until(hub: &Arc<Hub>) -> Result<u64, RpcError> {
    // Before the look: what becomes durable during it is not lost.
    let durable = hub.feed().durable_seq();
    Ok(oldest(hub).await?.map_or(durable, |oldest| oldest - 1))
}

struct Changes<'a> {
    hub: &'a Hub,
    changes: &'a [Changed],
}

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.changes.len()))?;
        for change in self.changes {
            let name = &self.hub.config().tags[change.tag.0 as usize].name;
            list.serialize_element(&Vtq { name, seq: change.seq, value: &change.value })?;
        }
        list.end()
    }
}

fn text_bytes(value: &TagValue) -> usize {
    match &value.value {
        Some(Value::Text(text)) => text.len(),
        _ => 0,
    }
}
