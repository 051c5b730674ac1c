//! The local socket: JSON-RPC 2.0, one object per line, over a Unix stream socket. Contract, section 5.
//!
//! It knows the hub and nothing of MQTT.

pub mod client;
mod config;
mod connection;
mod explain;
pub mod protocol;
mod requests;
mod subscription;
mod tap;
mod writes;

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::hub::Hub;

/// Clients connected at the same time; one more is told so and closed.
pub const CLIENTS_MAX: usize = 1024;

/// How long clients may wait for the outcomes of their writes when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that listens.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("socket {path}: {why}")]
pub struct BindError {
    path: PathBuf,
    why: String,
}

impl Server {
    /// Makes the socket file with its mode and listens. A socket file that a dead process left is
    /// replaced, one that somebody answers on is not.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let fail = |why: String| BindError { path: path.to_owned(), why };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| fail(format!("cannot make the folder: {error}")))?;
        }
        remove_stale(path).map_err(fail)?;
        let listen = || -> io::Result<UnixListener> {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            // Before anybody can connect.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket.into())
        };
        let listener = listen().map_err(|error| {
            fail(match error.kind() {
                io::ErrorKind::InvalidInput => {
                    "the path is too long for a socket (107 bytes at most)".to_owned()
                }
                _ => format!("cannot listen: {error}"),
            })
        })?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves clients until `stop` is true; then no request is taken any more, and those under way
    /// are answered.
    pub async fn run(self, hub: Arc<Hub>, mut stop: watch::Receiver<bool>) {
        let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => break,
                Some(_) = clients.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                        tracing::warn!("a client was turned away: {CLIENTS_MAX} are connected");
                        connection::turn_away(&stream);
                        continue;
                    };
                    let (hub, stop) = (Arc::clone(&hub), stop.clone());
                    clients.spawn(async move {
                        connection::serve(stream, hub, stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // For instance no file descriptors left: do not spin.
                    tracing::warn!(%error, "cannot accept a client");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        let _ = std::fs::remove_file(&self.path);
        drop(self.listener);
        let answered = async { while clients.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, answered).await.is_err() {
            tracing::warn!(clients = clients.len(), "stopped before all clients were answered");
        }
        clients.shutdown().await;
    }
}

fn remove_stale(path: &Path) -> Result<(), String> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !kind.is_socket() {
        return Err("something else than a socket is there; it is left alone".into());
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err("another process answers there".into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("cannot replace it: {error}"))
        }
        Err(error) => Err(format!("cannot tell whether another process uses it: {error}")),
    }
}
