//! When a stream ends: on Ctrl-C, when asked to terminate, when nobody reads it any more.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
};

use super::watch::watch;

/// Waits for the end.
pub(in crate::commands) struct Until {
    interrupt: Signal,
    terminate: Signal,
    /// Standard output, where the system can tell that its other end was closed.
    reader: Option<AsyncFd<OwnedFd>>,
}

impl Until {
    /// The same, whatever becomes of standard output.
    pub(in crate::commands) fn signals() -> Result<Self> {
        Self::new().map(|until| Self { reader: None, ..until })
    }

    /// From now on signals do not end the process.
    pub(in crate::commands) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            reader: watch(io::stdout().as_fd(), Interest::ERROR).ok(),
        })
    }

    /// Returns when it is time.
    pub(in crate::commands) async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = closed(self.reader.as_ref()) => {}
        }
    }
}

async fn closed(reader: Option<&AsyncFd<OwnedFd>>) {
    match reader {
        // An error here means that it cannot be told: writing will.
        Some(reader) if reader.ready(Interest::ERROR).await.is_ok() => {}
        Some(_) | None => std::future::pending().await,
    }
}
