//! One subscription: a place in the order of changes, and the tags that count.
//!
//! A subscription owns nothing but its place. Changes come from the feed's memory, or from the
//! journal when the client has fallen behind it; the next ones are fetched when the client has
//! taken the last ones. Changes that the disk does not take are sent with `"durable": false` and the
//! token of the last one that is on disk: `docs/decisions/0015-disk-full.md`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::connection::Outgoing;
use super::protocol::{self, After, RpcError, SubscribeParams, Vtq};
use super::requests::{Named, no_such_tag, resolve};
use crate::hub::bounds::FEED_READ_MAX;
use crate::hub::feed::{Block, FeedRead};
use crate::hub::{Hub, Reading};
use crate::iotag::{TagId, TagValue, Value};
use crate::store::StoreError;

/// Changes in one notification.
const NOTIFICATION_CHANGES_MAX: usize = 500;

/// Names in one notification.
const NAMES_MAX: usize = 1000;

/// Bytes of text in one notification, unless a single value has more.
const NOTIFICATION_BYTES_MAX: usize = 1 << 20;

/// A subscription that is about to run.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    /// As the client gave them: a reload may give them other tags.
    names: Vec<String>,
    /// Generation of the configuration that they were looked up in.
    generation: u64,
    /// Tags whose changes count, those that are retired too: there may be some on the way.
    wanted: TagSet,
    /// Tags that have the names now.
    present: TagSet,
    /// What the client is to learn of a reload once it has all changes before it.
    told: Option<Listed>,
    /// Current values that come first, as they were when the client asked: every change since is
    /// sent.
    first: Vec<Reading>,
    /// Number of the last change that those values contain.
    after_snapshot: u64,
    /// The last change on disk that the client has.
    place: u64,
    /// The last change that was looked at before it was on disk.
    shown: u64,
    /// Whether a change was sent whose token is still to come.
    owes_token: bool,
}

/// How a task of a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// As it should, or with its client.
    InOrder,
    /// A subscription cannot go on without a gap; the client has been told.
    Interrupted,
}

/// Tags that a subscription has gained and lost.
struct Listed {
    /// Number of the last change before.
    since_seq: u64,
    added: BTreeSet<Arc<str>>,
    removed: BTreeSet<Arc<str>>,
}

#[derive(Clone, Default)]
struct TagSet(Vec<u64>);

impl TagSet {
    fn new(tags: &[TagId]) -> Self {
        let mut set = Self::default();
        for tag in tags {
            let word = tag.0 as usize / 64;
            if set.0.len() <= word {
                set.0.resize(word + 1, 0);
            }
            set.0[word] |= 1 << (tag.0 % 64);
        }
        set
    }

    fn contains(&self, tag: TagId) -> bool {
        self.0.get(tag.0 as usize / 64).is_some_and(|bits| bits >> (tag.0 % 64) & 1 == 1)
    }

    fn extend(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(bits, more)| *bits |= more);
    }

    /// Tags that are here and not there.
    fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = TagId> + 'a {
        let words = (0u32..)
            .zip(&self.0)
            .map(|(word, bits)| (word, bits & !other.0.get(word as usize).copied().unwrap_or(0)));
        words.filter(|(_, bits)| *bits != 0).flat_map(|(word, bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| TagId(word * 64 + bit))
        })
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
    pub(super) async fn open(hub: &Arc<Hub>, params: SubscribeParams) -> Result<Self, RpcError> {
        let SubscribeParams { names, after } = params;
        // Before the look: a reload during it is looked at again.
        let (generation, _) = hub.generation();
        let mut tags = Vec::new();
        for named in resolve(hub, &names) {
            match named {
                Named::Tag(tag) => tags.push(tag),
                Named::Unknown(name) => return Err(no_such_tag(&name)),
            }
        }
        let present = TagSet::new(&tags);
        // What a tag was before a reload moved it or gave it another type has changes of its name, too.
        let former = hub.former_tags().into_iter();
        let former: Vec<TagId> =
            former.filter(|(_, tag)| present.contains(*tag)).map(|(former, _)| former).collect();
        let mut wanted = present.clone();
        wanted.extend(&TagSet::new(&former));
        // By place, and each once, however many patterns name it.
        tags.sort_unstable();
        tags.dedup();
        let place = match after {
            After::Now => hub.feed().durable_seq(),
            After::Oldest => lost_until(hub).await?,
            After::Token(token) => {
                check_token(hub, token).await?;
                token
            }
        };
        let (first, seq) = match after {
            After::Now => hub.snapshot(&tags),
            After::Oldest | After::Token(_) => (Vec::new(), place),
        };
        // Values may be ahead of the disk, the token never is: the changes up to `seq` are in the
        // values and are not repeated, but the token stays behind until they are durable.
        let after_snapshot = seq.max(place);
        Ok(Self {
            hub: Arc::clone(hub),
            names,
            generation,
            wanted,
            present,
            told: None,
            first,
            after_snapshot,
            place,
            shown: 0,
            owes_token: false,
        })
    }

    /// The answer to the request.
    pub(super) fn announce(&self, number: u64) -> serde_json::Value {
        serde_json::json!({ "subscription": number, "token": protocol::token(self.place) })
    }

    /// Sends changes until the client is gone, or some of them are.
    pub(super) async fn run(mut self, number: u64, outgoing: Outgoing) -> Ended {
        let interruption = match self.serve(number, &outgoing).await {
            Ok(()) | Err(Stop::Gone) => return Ended::InOrder,
            Err(Stop::Interrupted(error)) => error,
        };
        #[derive(Serialize)]
        struct Params {
            subscription: u64,
            token: String,
            error: RpcError,
        }
        tracing::warn!("a subscriber cannot be served any more: {}", interruption.message);
        let token = protocol::token(self.place);
        let params = Params { subscription: number, token, error: interruption };
        let _ = outgoing.send(protocol::notification("tag.interrupted", params)).await;
        Ended::Interrupted
    }

    async fn serve(&mut self, number: u64, outgoing: &Outgoing) -> Result<(), Stop> {
        // Wakes are seen from here on, so that none falls between a look and a wait.
        let mut durable = self.hub.feed().watch();
        let mut generations = self.hub.generations();
        let current: Vec<Changed> = std::mem::take(&mut self.first)
            .into_iter()
            // A tag that nothing has happened to is no change.
            .filter(|reading| reading.seq > 0)
            .map(|reading| Changed { tag: reading.tag, seq: reading.seq, value: reading.value })
            .collect();
        self.send(number, outgoing, &current, Token::At(self.place)).await?;
        loop {
            durable.borrow_and_update();
            generations.borrow_and_update();
            let read = self.hub.feed().read_after(self.place, self.seen(), FEED_READ_MAX);
            // Behind the read: whatever it has of tags that a reload added is recognised.
            self.follow_reload();
            let (changes, place) = match read {
                FeedRead::UpToDate => {
                    self.tell(number, outgoing).await?;
                    let woken = tokio::select! {
                        woken = durable.changed() => woken,
                        woken = generations.changed() => woken,
                    };
                    woken.map_err(|_| Stop::Gone)?;
                    continue;
                }
                FeedRead::Missing(last) => {
                    return Err(Stop::Interrupted(missing(self.seen(), last)));
                }
                FeedRead::Provisional(blocks) => {
                    let changes = self.wanted_of(&blocks);
                    self.shown = last_of(&blocks).unwrap_or(self.shown);
                    self.owes_token |= !changes.is_empty();
                    self.send(number, outgoing, &changes, Token::Provisional(self.place)).await?;
                    continue;
                }
                FeedRead::Blocks(blocks) => (self.wanted_of(&blocks), last_of(&blocks)),
                FeedRead::TooOld => self.read_journal().await?,
            };
            self.place = place.unwrap_or(self.place).max(self.place);
            self.send(number, outgoing, &changes, Token::OfLast).await?;
            if self.owes_token && self.place >= self.shown {
                self.owes_token = false;
                if changes.is_empty() {
                    self.send_token(number, outgoing).await?;
                }
            }
            self.tell(number, outgoing).await?;
        }
    }

    /// The last change that the client has, or that is not meant for it.
    fn seen(&self) -> u64 {
        self.after_snapshot.max(self.place).max(self.shown)
    }

    fn wanted_of(&self, blocks: &[Block]) -> Vec<Changed> {
        let seen = self.seen();
        let changes = blocks.iter().flat_map(|block| block.iter());
        let wanted = changes.filter(|change| change.seq > seen && self.wanted.contains(change.tag));
        wanted.map(|it| Changed { tag: it.tag, seq: it.seq, value: it.value.clone() }).collect()
    }

    /// Looks the names up again if another configuration is in force.
    fn follow_reload(&mut self) {
        let (generation, since_seq) = self.hub.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let named = resolve(&self.hub, &self.names).into_iter().filter_map(|named| match named {
            Named::Tag(tag) => Some(tag),
            // It may come back.
            Named::Unknown(_) => None,
        });
        let present = TagSet::new(&named.collect::<Vec<_>>());
        let config = self.hub.config();
        let name = |tag: TagId| Arc::clone(&config.tags[tag.0 as usize].name);
        let added: BTreeSet<Arc<str>> = present.without(&self.present).map(name).collect();
        let removed: BTreeSet<Arc<str>> = self.present.without(&present).map(name).collect();
        self.wanted.extend(&present);
        self.present = present;
        // What has another type has another id, but for the client it is the same tag.
        let gained = added.difference(&removed).cloned();
        let lost = removed.difference(&added).cloned();
        let mut told = self.told.take().unwrap_or(Listed {
            since_seq,
            added: BTreeSet::new(),
            removed: BTreeSet::new(),
        });
        told.since_seq = since_seq;
        for name in gained {
            if !told.removed.remove(&name) {
                told.added.insert(name);
            }
        }
        for name in lost {
            if !told.added.remove(&name) {
                told.removed.insert(name);
            }
        }
        self.told = Some(told).filter(|told| !told.added.is_empty() || !told.removed.is_empty());
    }

    /// Says what a reload has made of the subscription, behind the last change before it.
    async fn tell(&mut self, number: u64, outgoing: &Outgoing) -> Result<(), Stop> {
        let Some(Listed { added, removed, .. }) =
            self.told.take_if(|told| told.since_seq <= self.place.max(self.shown))
        else {
            return Ok(());
        };
        #[derive(Serialize)]
        struct Params<'a> {
            subscription: u64,
            added: &'a [Arc<str>],
            removed: &'a [Arc<str>],
        }
        let (added, removed): (Vec<_>, Vec<_>) =
            (added.into_iter().collect(), removed.into_iter().collect());
        let (mut added, mut removed) = (&added[..], &removed[..]);
        while !added.is_empty() || !removed.is_empty() {
            let (now_added, later_added) = added.split_at(added.len().min(NAMES_MAX));
            let (now_removed, later_removed) = removed.split_at(removed.len().min(NAMES_MAX));
            let params = Params { subscription: number, added: now_added, removed: now_removed };
            let line = protocol::notification("subscription.changed", params);
            outgoing.send(line).await.map_err(|_| Stop::Gone)?;
            (added, removed) = (later_added, later_removed);
        }
        Ok(())
    }

    /// The next changes from disk, and the place behind them.
    async fn read_journal(&self) -> Result<(Vec<Changed>, Option<u64>), Stop> {
        let hub = Arc::clone(&self.hub);
        let place = self.place;
        // Before the look: whatever is durable by now is found by it.
        let durable = hub.feed().durable_seq();
        let read = tokio::task::spawn_blocking(move || {
            let entries = hub.journal_after(place, FEED_READ_MAX)?;
            // Behind the look: what is removed during it counts as removed.
            Ok::<_, StoreError>((entries, hub.journal_oldest()?))
        });
        let read = read.await.map_err(|error| error.to_string());
        let read = read.and_then(|read| read.map_err(|error| error.to_string()));
        let internal = |why| Stop::Interrupted(RpcError::new(RpcError::INTERNAL, why));
        let (mut entries, oldest) = read.map_err(internal)?;
        let follows = entries.first().is_some_and(|entry| entry.seq == place + 1);
        let lost_until = oldest.map_or(durable, |oldest| oldest - 1);
        if !follows && lost_until > place {
            return Err(Stop::Interrupted(too_old(place, lost_until)));
        }
        let seen = self.seen();
        // Gaps are known before the changes behind them are durable.
        if let Some(gap) = self.hub.feed().gap_after(seen)
            && gap.first <= entries.last().map_or(durable, |last| last.seq)
        {
            entries.retain(|entry| entry.seq < gap.first);
            if entries.is_empty() {
                return Err(Stop::Interrupted(missing(seen, gap.last)));
            }
        }
        // Numbers are skipped at a restart: an empty journal is no reason to look again.
        let place = entries.last().map_or(durable, |last| last.seq);
        let changes = entries
            .into_iter()
            .filter(|entry| entry.seq > seen)
            .filter_map(|entry| {
                let tag = self.hub.tag_ever_named(&entry.name)?;
                let wanted = self.wanted.contains(tag);
                wanted.then_some(Changed { tag, seq: entry.seq, value: entry.value })
            })
            .collect();
        Ok((changes, Some(place)))
    }

    /// Says that all that was sent is on disk.
    async fn send_token(&self, number: u64, outgoing: &Outgoing) -> Result<(), Stop> {
        self.notify(number, outgoing, &[], self.place, true).await
    }

    /// Sends changes in notifications of bounded size.
    async fn send(
        &self,
        number: u64,
        outgoing: &Outgoing,
        changes: &[Changed],
        token: Token,
    ) -> Result<(), Stop> {
        let mut rest = changes;
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
            let (place, durable) = match token {
                Token::OfLast => (part.last().map_or(0, |change| change.seq), true),
                Token::At(place) => (place, true),
                Token::Provisional(place) => (place, false),
            };
            self.notify(number, outgoing, part, place, durable).await?;
        }
        Ok(())
    }

    async fn notify(
        &self,
        number: u64,
        outgoing: &Outgoing,
        changes: &[Changed],
        place: u64,
        durable: bool,
    ) -> Result<(), Stop> {
        #[derive(Serialize)]
        struct Params<'a> {
            subscription: u64,
            token: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            durable: Option<bool>,
            changes: Changes<'a>,
        }
        let params = Params {
            subscription: number,
            token: protocol::token(place),
            durable: (!durable).then_some(false),
            changes: Changes { hub: &self.hub, changes },
        };
        let line = protocol::notification("tag.changed", params);
        outgoing.send(line).await.map_err(|_| Stop::Gone)
    }
}

/// Why a subscription ends.
enum Stop {
    /// The client is gone, or the process stops.
    Gone,
    /// Changes are missing.
    Interrupted(RpcError),
}

/// Which token a notification has.
#[derive(Clone, Copy)]
enum Token {
    /// That of its last change.
    OfLast,
    /// This one, whatever is sent.
    At(u64),
    /// This one; the changes are not on disk.
    Provisional(u64),
}

fn last_of(blocks: &[Block]) -> Option<u64> {
    blocks.last().and_then(|block| block.last()).map(|last| last.seq)
}

/// Whether every change since a token can still be had.
async fn check_token(hub: &Arc<Hub>, token: u64) -> Result<(), RpcError> {
    if token > hub.last_seq() {
        return Err(RpcError::new(
            RpcError::INVALID_PARAMS,
            format!("token {token} was not given out by this process"),
        ));
    }
    if let Some(gap) = hub.feed().gap_after(token).filter(|gap| gap.first <= token + 1) {
        return Err(missing(token, gap.last));
    }
    if token >= hub.feed().durable_seq() {
        return Ok(());
    }
    let lost_until = trimmed_until(hub).await?;
    if token >= lost_until {
        return Ok(());
    }
    Err(too_old(token, lost_until))
}

fn too_old(token: u64, lost_until: u64) -> RpcError {
    let oldest = protocol::token(lost_until);
    RpcError {
        code: RpcError::TOKEN_TOO_OLD,
        message: format!(
            "the journal no longer reaches back to {token}; its oldest token is {oldest}"
        ),
        data: Some(serde_json::json!({ "oldest": oldest })),
    }
}

fn missing(seen: u64, last: u64) -> RpcError {
    let oldest = protocol::token(last);
    RpcError {
        code: RpcError::TOKEN_TOO_OLD,
        message: format!(
            "the disk took nothing for too long: changes after {seen} are missing in the journal; it is complete \
             after token {oldest}"
        ),
        data: Some(serde_json::json!({ "oldest": oldest })),
    }
}

async fn oldest(hub: &Arc<Hub>) -> Result<Option<u64>, RpcError> {
    let hub = Arc::clone(hub);
    let internal = |why: String| RpcError::new(RpcError::INTERNAL, why);
    tokio::task::spawn_blocking(move || hub.journal_oldest())
        .await
        .map_err(|error| internal(error.to_string()))?
        .map_err(|error| internal(error.to_string()))
}

/// Changes up to this number are no longer in the journal, or some of them are missing.
async fn lost_until(hub: &Arc<Hub>) -> Result<u64, RpcError> {
    let complete_from = hub.feed().complete_from();
    Ok(trimmed_until(hub).await?.max(complete_from))
}

/// Changes up to this number are no longer in the journal.
async fn trimmed_until(hub: &Arc<Hub>) -> Result<u64, RpcError> {
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
        let config = self.hub.config();
        let mut list = serializer.serialize_seq(Some(self.changes.len()))?;
        for change in self.changes {
            let name = &config.tags[change.tag.0 as usize].name;
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
