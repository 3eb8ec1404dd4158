//! Reading the ring of events.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Array, MapData, RingBuf};
use firewall_common::{conntrack::ticks_of_seconds, event::Event};

use super::{KernelError, Lock, host, maps, pins::Pins};

/// How long the program sends events after the last sign of a listener, seconds. A listener that is killed is
/// forgotten after that.
const LISTEN_SECONDS: u32 = 5;

/// The reader of an instance's events. There is one at a time: a record that was read is gone for others.
pub struct Events {
    ring: RingBuf<MapData>,
    listeners: Array<MapData, u32>,
    _lock: Lock,
    #[cfg(feature = "debug-log")]
    debug_log: (Pins, super::debug_log::DebugLog),
}

impl Events {
    pub(super) fn open(pins: &Pins) -> Result<Self, KernelError> {
        let path = pins.lock("events");
        let lock =
            Lock::take(&path).map_err(|refusal| refusal.into_error(&path, |pid| KernelError::EventsTaken { pid }))?;
        let mut events = Self {
            ring: maps::ring(&pins.state())?,
            listeners: maps::array(&pins.state(), maps::LISTENERS)?,
            _lock: lock,
            #[cfg(feature = "debug-log")]
            debug_log: (pins.clone(), super::debug_log::DebugLog::default()),
        };
        // What an earlier reader left behind is old news.
        while events.ring.next().is_some() {}
        events.keep_listening()?;
        Ok(events)
    }

    /// Says that somebody listens, for the next seconds. To be called once a second.
    pub fn keep_listening(&mut self) -> Result<(), KernelError> {
        #[cfg(feature = "debug-log")]
        self.print_debug_log()?;
        // Zero means nobody; the clock takes that value once in 36 years.
        let until = host::tick().wrapping_add(ticks_of_seconds(LISTEN_SECONDS)).max(1);
        self.listeners.set(0, until, 0).map_err(KernelError::map(maps::LISTENERS))
    }

    #[cfg(feature = "debug-log")]
    fn print_debug_log(&mut self) -> Result<(), KernelError> {
        let (pins, log) = &mut self.debug_log;
        log.flush(pins, super::Instance::open()?.generation()?)
    }

    /// The next event, if there is one.
    #[expect(clippy::should_implement_trait, reason = "an iterator ends; this may have more later")]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if let Some(event) = Event::from_bytes(&item) {
                return Some(event);
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.listeners.set(0, 0, 0);
    }
}

impl AsFd for Events {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}
