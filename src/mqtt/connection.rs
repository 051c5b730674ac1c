//! What dies with a connection.
//!
//! A lost connection is replaced as a whole, so there is nothing to reset and nothing to forget.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::alias::{InboundAliases, OutboundAliases};
use super::authenticator::Authenticator;
use super::packet::{Limits, Subscription};
use super::session::{ChangeSeq, Waiter};
use crate::qos::Qos;

/// State of one connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Its number within the session's life.
    pub(super) epoch: u32,
    /// What the server allows.
    pub(super) limits: Limits,
    /// Publishes of QoS 1 and 2 in flight at a time, by the server's word and the configuration's.
    pub(super) in_flight_max: usize,
    /// When CONNACK accepted it.
    pub(super) up_since: Option<Instant>,
    /// Keep-alive interval in force; `None`: none.
    pub(super) keep_alive: Option<Duration>,
    /// Packets of this turn, not yet given out.
    pub(super) outbound: BytesMut,
    /// Offset of the end of the last packet encoded.
    pub(super) encoded_bytes: u64,
    /// Offset up to which the transport took our bytes.
    pub(super) transmitted_bytes: u64,
    /// Publishes of QoS 0 whose last byte the transport has not taken.
    pub(super) unsent: VecDeque<Unsent>,
    /// Packets that wait for a record to be durable, in the order of their records.
    pub(super) gate: VecDeque<(ChangeSeq, Gated)>,
    /// Acknowledgements owed for QoS 1.
    pub(super) pubacks: AckQueue,
    /// Acknowledgements owed for QoS 2.
    pub(super) pubrecs: AckQueue,
    /// How many messages the server may send.
    pub(super) window: Window,
    /// What the server's topic aliases stand for.
    pub(super) inbound_aliases: InboundAliases,
    /// Our topic aliases.
    pub(super) outbound_aliases: OutboundAliases,
    /// Enhanced authentication, until CONNACK.
    pub(super) authenticator: Option<Box<dyn Authenticator>>,
    /// What the next SUBSCRIBE and UNSUBSCRIBE are for.
    pub(super) wanted: Wanted,
    /// SUBSCRIBE and UNSUBSCRIBE that are not answered.
    pub(super) requests: BTreeMap<u16, Request>,
    /// Answers to this connection's SUBSCRIBEs so far.
    pub(super) granted: Vec<(String, Result<Qos, String>)>,
    /// Publishes of the session that are to be sent again, in order.
    pub(super) resend: VecDeque<u16>,
    /// Releases of the session that were sent again: the server may have ended them before.
    pub(super) resumed_releases: BTreeSet<u16>,
    /// Publishes of the session that are under way on this connection.
    pub(super) open: usize,
    /// Bytes of this connection seen so far, those left in the buffer included.
    pub(super) seen_bytes: u64,
    /// Of these, bytes of packets that were taken.
    pub(super) taken_bytes: u64,
    /// When the last bytes came.
    pub(super) last_received: Option<Instant>,
    /// When the transport last took bytes of ours.
    pub(super) last_transmitted: Option<Instant>,
    /// The first PINGREQ that is not answered.
    pub(super) ping: Option<Question>,
    /// SUBSCRIBE or UNSUBSCRIBE, awaiting an answer since then without progress.
    pub(super) request: Option<Question>,
    /// What the server has made us say and has not taken.
    pub(super) answers: UnsentAnswers,
}

/// A packet that the server is to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Since when the answer is awaited.
    pub(super) since: Instant,
    /// Offset of its end.
    pub(super) end: u64,
}

impl Question {
    /// The transport takes bytes: time counts from the moment at which it has left, however much
    /// was before it.
    fn on_transmitted(&mut self, now: Instant, from: u64, to: u64) {
        if from < self.end && self.end <= to {
            self.since = now;
        }
    }
}

/// How much of what was encoded and not taken by the transport is no PUBLISH: an upper bound,
/// counted from a packet that has not left yet.
#[derive(Debug, Default)]
pub(super) struct UnsentAnswers {
    /// Offset of the end of that packet.
    mark: u64,
    /// Bytes up to it.
    before: u64,
    /// Bytes behind it.
    behind: u64,
}

impl UnsentAnswers {
    pub(super) fn add(&mut self, size: usize) {
        self.behind += size as u64;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.before + self.behind
    }

    fn on_transmitted(&mut self, transmitted: u64, encoded: u64) {
        if transmitted == encoded {
            *self = Self { mark: encoded, before: 0, behind: 0 };
        } else if transmitted >= self.mark {
            *self = Self { mark: encoded, before: self.behind, behind: 0 };
        }
    }
}

/// A publish of QoS 0 on its way.
#[derive(Debug)]
pub(super) struct Unsent {
    /// Offset of its end.
    pub(super) end: u64,
    /// `None`: the deadline has passed.
    pub(super) waiter: Option<Waiter>,
}

/// A packet that waits for a record.
#[derive(Clone, Debug)]
pub(super) enum Gated {
    /// PUBLISH or PUBREL, whichever the exchange is at. The order tells it from a later exchange
    /// with the same id.
    Outgoing {
        /// Its id.
        packet_id: u16,
        /// Its place in the order.
        order: u64,
    },
    /// PUBCOMP.
    Pubcomp {
        /// Its id.
        packet_id: u16,
        /// Whether it ends an exchange that we know of.
        is_known: bool,
    },
    /// All SUBSCRIBEs: that their filters were asked for is to be known whatever happens.
    Subscribe,
}

/// Filters that are to be asked for.
#[derive(Debug, Default)]
pub(super) enum Wanted {
    /// All that are configured; those that the session has beside them are to go.
    #[default]
    All,
    /// All were asked for; these are other since.
    Changes {
        /// To SUBSCRIBE.
        adding: Vec<Subscription>,
        /// To UNSUBSCRIBE.
        removing: Vec<String>,
    },
}

/// A request for filters.
#[derive(Debug)]
pub(super) enum Request {
    /// SUBSCRIBE.
    Subscribe(Vec<Subscription>),
    /// UNSUBSCRIBE.
    Unsubscribe(Vec<String>),
}

impl Request {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
        }
    }
}

impl Connection {
    /// Bytes that were encoded and not taken by the transport.
    pub(super) fn unsent_bytes(&self) -> u64 {
        self.encoded_bytes - self.transmitted_bytes
    }

    /// The transport has taken bytes.
    pub(super) fn on_transmitted(&mut self, now: Instant, bytes: usize) {
        let from = self.transmitted_bytes;
        let to = (from + bytes as u64).min(self.encoded_bytes);
        self.transmitted_bytes = to;
        self.last_transmitted = Some(now);
        for question in [&mut self.ping, &mut self.request].into_iter().flatten() {
            question.on_transmitted(now, from, to);
        }
        self.answers.on_transmitted(to, self.encoded_bytes);
    }

    /// Forgets what was encoded and not given out.
    pub(super) fn drop_outbound(&mut self) {
        self.encoded_bytes -= self.outbound.len() as u64;
        self.outbound.clear();
    }
}

/// Our receive maximum, MQTT 5.0 section 4.9: how many messages of QoS 1 and 2 the server may send
/// without an answer. We see its count late and from outside, so ours never exceeds it.
///
/// Two mistakes of widespread brokers are borne, because to close the connection would not mend them,
/// but repeat them for ever: what is sent again on a resumed session comes all at once, and each answer
/// makes room for as many messages as the whole window has (mosquitto 2.0.11). The second is borne of
/// servers that give themselves to know as that one does; see [`Window::for_server`].
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Ids of first transmissions of this connection without an answer.
    open: BTreeSet<u16>,
    /// First transmissions of this connection.
    taken: u64,
    /// PUBACKs and PUBCOMPs of this connection.
    answers: u64,
    /// Of these, answers to other exchanges than those in `open`.
    others_answered: usize,
    /// Whether an excess has been told.
    is_told: bool,
    /// Whether a window for each answer is borne.
    is_lenient: bool,
}

/// What becomes of a message by its place in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has one.
    Free,
    /// It is one too many, and taken all the same; to be told the first time.
    Excess { is_first: bool },
    /// It is one too many.
    None,
}

impl Window {
    /// By what the server allows us: those that are borne announce a receive maximum of their own
    /// and topic aliases. A server that announces neither is held to the letter.
    pub(super) fn for_server(limits: &Limits) -> Self {
        let is_lenient = limits.in_flight_max.is_some() && limits.topic_alias_max > 0;
        Self { is_lenient, ..Self::default() }
    }

    /// A message has come.
    pub(super) fn take(&mut self, packet_id: u16, dup: bool, maximum: u16) -> Place {
        if dup {
            return Place::Free;
        }
        self.taken += 1;
        let place = if self.open.len() < usize::from(maximum) + self.others_answered {
            Place::Free
        } else if self.is_lenient && self.taken <= u64::from(maximum) * (1 + self.answers) {
            Place::Excess { is_first: !std::mem::replace(&mut self.is_told, true) }
        } else {
            return Place::None;
        };
        self.open.insert(packet_id);
        place
    }

    /// PUBACK or PUBCOMP has been sent.
    pub(super) fn give_back(&mut self, packet_id: u16) {
        self.answers += 1;
        if !self.open.remove(&packet_id) {
            self.others_answered += 1;
        }
    }
}

/// Acknowledgements owed, in the order of arrival of what they answer (MQTT-4.6.0-2, MQTT-4.6.0-3).
#[derive(Debug, Default)]
pub(super) struct AckQueue {
    owed: VecDeque<Owed>,
    /// Position where the next settlement is expected: they mostly come in order, behind one that is
    /// held back too.
    expected: usize,
    /// Whether an id may be in the queue more than once.
    repeated: bool,
    /// Outside the order: others need not wait for these.
    overtaken: Vec<u16>,
    /// Those of them that may go.
    late: VecDeque<u16>,
}

#[derive(Debug)]
struct Owed {
    packet_id: u16,
    settled: bool,
}

impl AckQueue {
    /// How many are owed.
    pub(super) fn len(&self) -> usize {
        self.owed.len() + self.overtaken.len() + self.late.len()
    }

    /// A message has come.
    pub(super) fn push(&mut self, packet_id: u16, settled: bool) {
        self.owed.push_back(Owed { packet_id, settled });
    }

    /// A message has come that may already be in the queue.
    pub(super) fn push_repeated(&mut self, packet_id: u16, settled: bool) {
        self.repeated = true;
        self.push(packet_id, settled);
    }

    /// Settles every message with this id.
    pub(super) fn settle_repeated(&mut self, packet_id: u16) {
        while self.settle(packet_id) && self.repeated {}
    }

    /// An unsettled message with this id is safe; false: there is none. If the server used an id
    /// twice, it does not matter which: both must be settled before the later one is answered.
    pub(super) fn settle(&mut self, packet_id: u16) -> bool {
        let fits = |owed: &Owed| owed.packet_id == packet_id && !owed.settled;
        let found = match self.owed.get(self.expected) {
            Some(owed) if fits(owed) => Some(self.expected),
            _ => self.owed.iter().position(fits),
        };
        let Some(position) = found else {
            let late = self.overtaken.iter().position(|overtaken| *overtaken == packet_id);
            return late.is_some_and(|late| {
                self.late.push_back(self.overtaken.swap_remove(late));
                true
            });
        };
        self.owed[position].settled = true;
        self.expected = position + 1;
        true
    }

    /// Takes an unsettled message out of the order: younger ones do not wait for it.
    pub(super) fn overtake(&mut self, packet_id: u16) {
        let unsettled = |owed: &Owed| owed.packet_id == packet_id && !owed.settled;
        if let Some(position) = self.owed.iter().position(unsettled) {
            self.owed.remove(position);
            self.expected -= usize::from(position < self.expected);
            self.overtaken.push(packet_id);
        }
    }

    /// The next acknowledgement that may go: nothing older is outstanding, apart from what is
    /// overtaken.
    pub(super) fn pop(&mut self) -> Option<u16> {
        if let Some(late) = self.late.pop_front() {
            return Some(late);
        }
        if !self.owed.front()?.settled {
            return None;
        }
        self.expected = self.expected.saturating_sub(1);
        self.owed.pop_front().map(|owed| owed.packet_id)
    }

    /// Planted bug only: an acknowledgement out of turn.
    pub(super) fn pop_any(&mut self) -> Option<u16> {
        let position = self.owed.iter().position(|owed| owed.settled)?;
        self.expected = 0;
        self.owed.remove(position).map(|owed| owed.packet_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_leave_in_order_of_arrival() {
        let mut queue = AckQueue::default();
        for id in [5, 9, 7] {
            queue.push(id, false);
        }
        assert!(queue.settle(7));
        assert_eq!(queue.pop(), None);
        assert!(queue.settle(9));
        assert!(!queue.settle(8));
        assert_eq!(queue.pop(), None);
        assert!(queue.settle(5));
        assert!([5, 9, 7].into_iter().all(|id| queue.pop() == Some(id)));
        assert_eq!((queue.pop(), queue.len()), (None, 0));
    }

    #[test]
    fn what_is_overtaken_holds_up_nobody_and_is_answered_when_it_is_settled() {
        let mut queue = AckQueue::default();
        for id in [1, 2, 3, 4] {
            queue.push(id, false);
        }
        assert!(queue.settle(2));
        queue.overtake(1);
        assert_eq!((queue.pop(), queue.pop(), queue.len()), (Some(2), None, 3));
        assert!(queue.settle(4));
        assert!(queue.settle(1));
        assert!(!queue.settle(1));
        assert_eq!((queue.pop(), queue.pop()), (Some(1), None));
        queue.overtake(9);
        assert!(queue.settle(3));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(3), Some(4), None));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_id_used_twice_is_answered_twice() {
        let mut queue = AckQueue::default();
        for id in [9, 5, 9] {
            queue.push(id, false);
        }
        assert!(queue.settle(5));
        assert!(queue.settle(9));
        assert!(queue.settle(9));
        assert!(!queue.settle(9));
        assert!([9, 5, 9].into_iter().all(|id| queue.pop() == Some(id)));
        queue.push_repeated(1, false);
        queue.push_repeated(1, false);
        queue.settle_repeated(1);
        assert!([1, 1].into_iter().all(|id| queue.pop() == Some(id)));
    }

    #[test]
    fn a_message_that_is_held_back_does_not_make_settlement_slow_or_wrong() {
        let mut queue = AckQueue::default();
        for id in 1..=1000 {
            queue.push(id, false);
        }
        for id in 2..=1000 {
            assert!(queue.settle(id));
            assert_eq!(queue.pop(), None);
        }
        assert!(queue.settle(1));
        assert!((1..=1000).all(|id| queue.pop() == Some(id)));
    }
}
