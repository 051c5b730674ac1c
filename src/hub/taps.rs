//! Taps: messages of brokers as they come, for people who look for one.
//!
//! A line offers every message while anybody taps; nobody does, mostly, and then it costs one look at
//! a counter. A tap that is not emptied in time loses messages, and counts them: it never holds up a
//! line and never takes more memory than its bound.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::bounds::TAP_BYTES_MAX;
use super::{Hub, lock};
use crate::iotag::Timestamp;
use crate::topic;

/// Which messages are wanted; `None`: any.
#[derive(Clone, Debug, Default)]
pub struct TapFilter {
    /// Name of the line.
    pub line: Option<String>,
    /// Name of the station that takes the message.
    pub station: Option<String>,
    /// Topic filter.
    pub topic: Option<String>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapMessage {
    /// Name of the line.
    pub line: Arc<str>,
    /// Name of the station that takes it; `None`: none does.
    pub station: Option<Arc<str>>,
    /// Topic name.
    pub topic: Arc<str>,
    /// Payload.
    pub payload: Box<[u8]>,
    /// QoS, 0 to 2.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// When it arrived.
    pub received: Timestamp,
    /// What MQTT 5.0 says of it.
    pub properties: Option<Box<TapProperties>>,
}

/// What MQTT 5.0 says of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapProperties {
    /// Payload Format Indicator: whether the payload is UTF-8 text.
    pub payload_is_text: Option<bool>,
    /// Message Expiry Interval that is left, in seconds.
    pub message_expiry_s: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Vec<u8>>,
    /// User Properties in their order.
    pub user_properties: Vec<(String, String)>,
}

impl TapMessage {
    fn weight(&self) -> usize {
        let of_properties = |properties: &TapProperties| {
            let pairs = properties.user_properties.iter();
            let pairs: usize = pairs.map(|(name, value)| name.len() + value.len() + 64).sum();
            let texts = [&properties.content_type, &properties.response_topic];
            let texts: usize = texts.into_iter().flatten().map(String::len).sum();
            pairs + texts + properties.correlation_data.as_ref().map_or(0, Vec::len)
        };
        let properties = self.properties.as_deref().map_or(0, of_properties);
        256 + self.topic.len() + self.payload.len() + properties
    }
}

/// All taps.
#[derive(Debug, Default)]
pub struct Taps {
    open: AtomicUsize,
    taps: Mutex<Vec<Arc<Queue>>>,
}

#[derive(Debug)]
struct Queue {
    filter: TapFilter,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// With how many were lost before each.
    messages: VecDeque<(Arc<TapMessage>, u64)>,
    bytes: usize,
    dropped: u64,
}

/// One tap; it ends when this is dropped.
pub struct Tap {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
}

impl Taps {
    /// Whether anybody taps.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// A message has come; it is made only if somebody wants it.
    pub fn offer(
        &self,
        line: &str,
        station: Option<&str>,
        topic: &str,
        make: impl FnOnce() -> TapMessage,
    ) {
        let taps = lock(&self.taps);
        let mut wanting =
            taps.iter().filter(|tap| tap.filter.takes(line, station, topic)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let message = Arc::new(make());
        let weight = message.weight();
        for tap in wanting {
            tap.push(&message, weight);
        }
    }
}

impl TapFilter {
    fn takes(&self, line: &str, station: Option<&str>, topic: &str) -> bool {
        self.line.as_deref().is_none_or(|wanted| wanted == line)
            && self.station.as_deref().is_none_or(|wanted| station == Some(wanted))
            && self.topic.as_deref().is_none_or(|wanted| topic::matches(wanted, topic))
    }
}

impl Queue {
    fn push(&self, message: &Arc<TapMessage>, weight: usize) {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes + weight > TAP_BYTES_MAX && !waiting.messages.is_empty() {
            waiting.dropped += 1;
            return;
        }
        let dropped = std::mem::take(&mut waiting.dropped);
        waiting.bytes += weight;
        waiting.messages.push_back((Arc::clone(message), dropped));
        drop(waiting);
        self.news.notify_one();
    }

    fn pop(&self) -> Option<(Arc<TapMessage>, u64)> {
        let mut waiting = lock(&self.waiting);
        let taken = waiting.messages.pop_front()?;
        waiting.bytes -= taken.0.weight();
        Some(taken)
    }
}

impl Tap {
    /// The next message, and how many were lost before it. Cancel-safe.
    pub async fn next(&self) -> (Arc<TapMessage>, u64) {
        loop {
            if let Some(taken) = self.queue.pop() {
                return taken;
            }
            self.queue.news.notified().await;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let taps = &self.hub.taps;
        let mut open = lock(&taps.taps);
        open.retain(|tap| !Arc::ptr_eq(tap, &self.queue));
        taps.open.store(open.len(), Ordering::Relaxed);
    }
}

impl Hub {
    /// All taps, for the lines.
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Begins to tap. The error says in words what there is not.
    pub fn open_tap(self: &Arc<Self>, filter: TapFilter) -> Result<Tap, String> {
        let config = self.config();
        if let Some(line) = &filter.line
            && !config.live_lines().any(|(_, known)| *known.name == **line)
        {
            return Err(format!("there is no line `{line}`"));
        }
        if let Some(station) = &filter.station
            && !config.live_stations().any(|(_, known)| *known.name == **station)
        {
            return Err(format!("there is no station `{station}`"));
        }
        if let Some(topic) = &filter.topic
            && let Err(error) = topic::check_filter(topic)
        {
            return Err(format!("`{topic}` is no topic filter: {error}"));
        }
        let queue = Queue { filter, waiting: Mutex::default(), news: Notify::new() };
        let queue = Arc::new(queue);
        let mut open = lock(&self.taps.taps);
        open.push(Arc::clone(&queue));
        self.taps.open.store(open.len(), Ordering::Relaxed);
        drop(open);
        Ok(Tap { hub: Arc::clone(self), queue })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, bytes: usize) -> TapMessage {
        TapMessage {
            line: "plant".into(),
            station: None,
            topic: topic.into(),
            payload: vec![0; bytes].into(),
            qos: 1,
            retain: false,
            dup: false,
            packet_id: 1,
            received: Timestamp::UNIX_EPOCH,
            properties: None,
        }
    }

    fn queue(filter: TapFilter) -> Arc<Queue> {
        Arc::new(Queue { filter, waiting: Mutex::default(), news: Notify::new() })
    }

    #[test]
    fn a_tap_gets_what_its_filter_takes() {
        let text = |text: &str| Some(text.to_owned());
        let all = TapFilter::default();
        assert!(all.takes("plant", None, "a/b"));
        let of_line = TapFilter { line: text("plant"), ..TapFilter::default() };
        assert!(of_line.takes("plant", None, "a") && !of_line.takes("cell", None, "a"));
        let of_station = TapFilter { station: text("pump1"), ..TapFilter::default() };
        assert!(of_station.takes("plant", Some("pump1"), "a"));
        assert!(!of_station.takes("plant", None, "a"));
        let of_topic = TapFilter { topic: text("a/+/c"), ..TapFilter::default() };
        assert!(of_topic.takes("plant", None, "a/b/c") && !of_topic.takes("plant", None, "a/b"));
    }

    #[test]
    fn what_nobody_takes_away_is_lost_and_counted() {
        let queue = queue(TapFilter::default());
        let large = Arc::new(message("a", TAP_BYTES_MAX / 2));
        let weight = large.weight();
        for _ in 0..5 {
            queue.push(&large, weight);
        }
        assert!(lock(&queue.waiting).bytes <= TAP_BYTES_MAX);
        assert_eq!(queue.pop().unwrap().1, 0);
        queue.push(&large, weight);
        assert_eq!(queue.pop().unwrap().1, 4);
        assert!(queue.pop().is_none());
        // One that is larger than all room comes alone.
        let huge = Arc::new(message("a", 2 * TAP_BYTES_MAX));
        queue.push(&huge, huge.weight());
        queue.push(&large, weight);
        assert_eq!(queue.pop().unwrap().0, huge);
        assert!(queue.pop().is_none());
        assert_eq!(lock(&queue.waiting).bytes, 0);
    }

    #[test]
    fn a_message_that_nobody_wants_is_not_made() {
        let taps = Taps::default();
        let filter = TapFilter { topic: Some("a/#".to_owned()), ..TapFilter::default() };
        let queue = queue(filter);
        lock(&taps.taps).push(Arc::clone(&queue));
        taps.offer("plant", None, "b", || panic!("nobody wants it"));
        taps.offer("plant", None, "a/b", || message("a/b", 1));
        assert_eq!(&*queue.pop().unwrap().0.topic, "a/b");
    }
}
