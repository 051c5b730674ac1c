//! Topic filters as station addresses: a tree of levels.

use rustc_hash::FxHashMap;

use crate::iotag::StationId;

/// Topic filters, the most specific first: at every level a name before `+` before `#`.
pub(super) struct Filters {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    names: FxHashMap<Box<str>, usize>,
    plus: Option<usize>,
    /// The filter that ends with `#` here; it takes this level's parent too.
    hash: Option<StationId>,
    end: Option<StationId>,
}

impl Default for Filters {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Filters {
    pub(super) fn insert(&mut self, filter: &str, station: StationId) {
        let mut at = 0;
        for level in filter.split('/') {
            if level == "#" {
                self.nodes[at].hash = Some(station);
                return;
            }
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match level {
                "+" => *node.plus.get_or_insert(next),
                _ => *node.names.entry(level.into()).or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].end = Some(station);
    }

    pub(super) fn is_empty(&self) -> bool {
        let root = &self.nodes[0];
        self.nodes.len() == 1 && root.hash.is_none()
    }

    pub(super) fn first(&self, topic: &str) -> Option<StationId> {
        let mut found = None;
        self.search(topic, |station| {
            found = Some(station);
            false
        });
        found
    }

    pub(super) fn matches(&self, topic: &str) -> Vec<StationId> {
        let mut found = Vec::new();
        self.search(topic, |station| {
            found.push(station);
            true
        });
        found
    }

    /// Visits matching filters in order until `visit` says no. Without recursion: the depth is the
    /// number of levels, which a topic may have 65,536 of.
    fn search(&self, topic: &str, mut visit: impl FnMut(StationId) -> bool) {
        enum Turn {
            /// At a node, with this many bytes of the topic used; `None`: all levels.
            Node(usize, Option<usize>),
            Found(StationId),
        }
        // MQTT section 4.7.2: a wildcard does not take the first level of `$SYS/...`.
        let reserved = topic.starts_with('$');
        let mut turns = vec![Turn::Node(0, Some(0))];
        while let Some(turn) = turns.pop() {
            let (at, used) = match turn {
                Turn::Node(at, used) => (at, used),
                Turn::Found(station) if visit(station) => continue,
                Turn::Found(_) => return,
            };
            let node = &self.nodes[at];
            let wild = !(reserved && at == 0);
            // Pushed in reverse: the last one is looked at first.
            if wild && let Some(station) = node.hash {
                turns.push(Turn::Found(station));
            }
            let Some(used) = used else {
                turns.extend(node.end.map(Turn::Found));
                continue;
            };
            let rest = &topic[used..];
            let (level, after) = match rest.find('/') {
                Some(length) => (&rest[..length], Some(used + length + 1)),
                None => (rest, None),
            };
            if wild && let Some(next) = node.plus {
                turns.push(Turn::Node(next, after));
            }
            if let Some(next) = node.names.get(level) {
                turns.push(Turn::Node(*next, after));
            }
        }
    }
}
