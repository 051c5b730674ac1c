//! Plain TCP.

use std::io;

use tokio::net::TcpStream;

use crate::config::Server;

/// Opens a connection; every address of the host is tried.
pub(super) async fn connect(server: &Server) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(|error| explain(server, &error))?;
    // An acknowledgement must not wait for the next packet (Nagle).
    stream.set_nodelay(true).map_err(|error| explain(server, &error))?;
    Ok(stream)
}

fn explain(server: &Server, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => " (is the broker running, and is this its port?)",
        io::ErrorKind::TimedOut => " (is there a firewall in between?)",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            " (is the network up?)"
        }
        _ => "",
    };
    format!("cannot connect to {server}: {error}{hint}")
}
