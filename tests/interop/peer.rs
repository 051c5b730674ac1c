//! What the matrix has to know of a broker.

use crate::cell::Cell;
use crate::harness::Mosquitto;

/// A broker under the matrix.
pub trait Peer {
    /// The heading of its table.
    fn name(&self) -> &'static str;

    /// mosquitto_pub and mosquitto_sub, connected to it over TCP.
    fn clients(&self) -> &Mosquitto;

    /// Why it cannot take part in this combination.
    fn leaves_out(&self, cell: &Cell) -> Option<&'static str>;

    /// Keys of the line: where and how it connects.
    fn line_keys(&self, cell: &Cell) -> String;

    /// Whether it keeps QoS 0 messages for a session whose client is away.
    fn keeps_qos_0(&self) -> bool;

    /// Whether a message reaches a subscriber at the lower of the two QoS levels, as it must.
    fn lowers_qos(&self) -> bool;

    /// What its own log says of the connections so far; `None`: it has none.
    fn log(&self) -> Option<String>;
}
