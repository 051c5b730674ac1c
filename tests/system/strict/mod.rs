//! A broker that speaks 3.1.1 and 5.0 over every transport, does what a scenario says, and believes
//! nothing: every byte of the client is checked against the standard, over all connections of its
//! session. It shares no line with the program.
//!
//! | module | what it has |
//! |---|---|
//! | `property` | properties of 5.0, and where each may stand |
//! | `packet` | packets of both versions, and the faults of single packets |
//! | `syntax` | topics and filters |
//! | `judge` | the faults that take more than one packet to see |
//! | `carrier` | TCP, TLS, WebSocket and both, down to the frame |
//! | `broker` | a listening port and its connections |

mod broker;
pub mod carrier;
mod judge;
pub mod packet;
pub mod property;
mod syntax;

pub use broker::{Broker, Got, Link};
pub use carrier::{Cut, Transport, certificates, trust};

pub use packet::{Ack, Connect, Kind, Packet, Publish, Version};
