//! Enhanced authentication, MQTT 5.0 section 4.12: the method is pluggable, the exchange is ours.

/// The client's side of one method, for one connection.
pub trait Authenticator: std::fmt::Debug + Send {
    /// Authentication Method.
    fn method(&self) -> &str;

    /// Authentication Data of CONNECT.
    fn start(&mut self) -> Result<Vec<u8>, String>;

    /// The server asks on (AUTH 0x18): the data of our answer.
    fn proceed(&mut self, data: &[u8]) -> Result<Vec<u8>, String>;

    /// The server is content (CONNACK): whether we are, too.
    fn finish(&mut self, data: &[u8]) -> Result<(), String>;
}
