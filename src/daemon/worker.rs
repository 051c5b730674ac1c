//! One thread for the long work of reloads.
//!
//! Always the same one, because the allocator gives every thread memory of its own to take from: with
//! a pool of threads, each reload of a large configuration would take from another one's, and what
//! the last one left behind would be of no use to it.

use std::sync::mpsc;

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after the other; it ends when this is dropped.
pub(super) struct Worker {
    work: mpsc::Sender<Work>,
}

/// The thread is gone, or the work panicked.
#[derive(Debug, thiserror::Error)]
#[error("the thread of reloads has ended")]
pub(super) struct Ended;

impl Worker {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (work, received) = mpsc::channel::<Work>();
        std::thread::Builder::new().name("reload".into()).spawn(move || {
            while let Ok(work) = received.recv() {
                work();
            }
        })?;
        Ok(Self { work })
    }

    /// Does something and gives its result. Begun, it is done, whether anybody waits or not.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (done, result) = oneshot::channel();
        let work = move || {
            // Whoever waited may be gone.
            let _ = done.send(work());
        };
        self.work.send(Box::new(work)).map_err(|_| Ended)?;
        result.await.map_err(|_| Ended)
    }

    /// Drops something that takes a while to drop; nobody waits for it.
    pub(super) fn drop_later(&self, thing: impl Send + 'static) {
        // Without the thread it is dropped here.
        let _ = self.work.send(Box::new(move || drop(thing)));
    }
}
