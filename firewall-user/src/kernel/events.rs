//! Reading events.

mod ended;
mod hub;

use std::{
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData, RingBuf};
use firewall_common::{
    conntrack::ticks_of_seconds,
    event::{Event, Listeners},
};

use self::{
    ended::Ended,
    hub::{Along, Hub},
};
use super::{Instance, KernelError, Lock, host, lock::Refusal, maps};

/// How long the program sends events after the last sign of a listener, seconds. A listener that is killed is
/// forgotten after that.
const LISTEN_SECONDS: u32 = 5;

/// How long the ring is left alone by one who takes the place of another: those who read along come back meanwhile.
const HAND_OVER: Duration = Duration::from_millis(300);
/// How often a reader tries to find its place.
const ATTEMPTS: u32 = 30;

/// A reader of an instance's events: of the ring, or of what the one who reads the ring passes on.
pub struct Events(From);

enum From {
    Ring(Box<Ring>),
    Along(Along),
}

/// The ring. There is one reader at a time.
struct Ring {
    map: RingBuf<MapData>,
    listeners: Array<MapData, Listeners>,
    hub: Hub,
    ended: Ended,
    /// Not read before; none when it was read already.
    begins: Option<Instant>,
    _lock: Lock,
    #[cfg(feature = "debug-log")]
    debug_log: (super::pins::Pins, super::debug_log::DebugLog),
}

impl Events {
    /// Reads the ring, or along with who does. What is in the ring already is old news, unless this reader `follows` one
    /// that it read along with.
    pub(super) fn open(instance: &Instance, follows: bool) -> Result<Self, KernelError> {
        // Who has the lock may just have begun, or may just be ending.
        for _ in 1..ATTEMPTS {
            if let Some(events) = Self::try_open(instance, follows, false)? {
                return Ok(events);
            }
            thread::sleep(HAND_OVER / ATTEMPTS / 2);
        }
        Self::try_open(instance, follows, true)?.ok_or(KernelError::EventsTaken { pid: None })
    }

    fn try_open(instance: &Instance, follows: bool, is_last: bool) -> Result<Option<Self>, KernelError> {
        let (path, socket) = (instance.pins.lock("events"), instance.pins.lock("events.socket"));
        match Lock::take(&path) {
            Ok(lock) => {
                let hub = Hub::open(&socket).map_err(KernelError::system(socket.display().to_string()))?;
                Ring::open(instance, lock, hub, follows).map(|ring| Some(Self(From::Ring(Box::new(ring)))))
            }
            Err(refusal @ Refusal::Held(_)) => match Along::open(&socket) {
                Ok(along) => Ok(Some(Self(From::Along(along)))),
                Err(_) if is_last => Err(refusal.into_error(&path, |pid| KernelError::EventsTaken { pid })),
                Err(_) => Ok(None),
            },
            Err(refusal) => Err(refusal.into_error(&path, |pid| KernelError::EventsTaken { pid })),
        }
    }

    /// Says that somebody listens, for the next seconds. To be called once a second.
    pub fn keep_listening(&mut self) -> Result<(), KernelError> {
        match &mut self.0 {
            From::Ring(ring) => ring.keep_listening(),
            From::Along(_) => Ok(()),
        }
    }

    /// The next event, if there is one.
    #[expect(clippy::should_implement_trait, reason = "an iterator ends; this may have more later")]
    pub fn next(&mut self) -> Option<Event> {
        match &mut self.0 {
            From::Ring(ring) => ring.next(),
            From::Along(along) => along.next(),
        }
    }

    /// Has the one ended that passed events on? Then this reader has to begin again.
    pub fn has_ended(&self) -> bool {
        match &self.0 {
            From::Ring(_) => false,
            From::Along(along) => along.has_ended(),
        }
    }

    /// Events that were not passed on to this reader because it was slow, since it was last asked.
    pub fn missed(&mut self) -> u64 {
        match &mut self.0 {
            From::Ring(_) => 0,
            From::Along(along) => along.lost(),
        }
    }
}

impl Ring {
    fn open(instance: &Instance, lock: Lock, hub: Hub, follows: bool) -> Result<Self, KernelError> {
        let pins = &instance.pins;
        let mut ring = Self {
            map: maps::ring(&pins.state())?,
            listeners: maps::array(&pins.state(), maps::LISTENERS)?,
            hub,
            ended: Ended::open(instance, follows)?,
            begins: Some(Instant::now() + if follows { HAND_OVER } else { Duration::ZERO }),
            _lock: lock,
            #[cfg(feature = "debug-log")]
            debug_log: (pins.clone(), super::debug_log::DebugLog::default()),
        };
        if !follows {
            while ring.map.next().is_some() {}
        }
        ring.keep_listening()?;
        Ok(ring)
    }

    fn keep_listening(&mut self) -> Result<(), KernelError> {
        #[cfg(feature = "debug-log")]
        self.print_debug_log()?;
        self.hub.tend();
        self.ended.look();
        // Zero means nobody; the clock takes that value once in 36 years.
        let until = host::tick().wrapping_add(ticks_of_seconds(LISTEN_SECONDS)).max(1);
        self.listen(until).map_err(KernelError::map(maps::LISTENERS))
    }

    /// Programs write beside it: what they told at this instant they may tell once more.
    fn listen(&mut self, until: u32) -> Result<(), aya::maps::MapError> {
        let listeners = self.listeners.get(&0, 0)?;
        self.listeners.set(0, Listeners { until, ..listeners }, 0)
    }

    #[cfg(feature = "debug-log")]
    fn print_debug_log(&mut self) -> Result<(), KernelError> {
        let (pins, log) = &mut self.debug_log;
        log.flush(pins, super::Instance::open()?.generation()?)
    }

    fn next(&mut self) -> Option<Event> {
        if let Some(begins) = self.begins {
            // Those who came back meanwhile are let in before the first record is passed on, or they would miss it.
            let has_begun = Instant::now() >= begins;
            self.hub.tend();
            if !has_begun {
                return None;
            }
            self.begins = None;
        }
        while let Some(item) = self.map.next() {
            self.hub.pass(&item);
            if let Some(event) = Event::from_bytes(&item) {
                return Some(event);
            }
        }
        self.hub.tend();
        let event = self.ended.next()?;
        self.hub.pass(&event.to_bytes());
        Some(event)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.hub.tend();
        // Those who read along go on where this one ends.
        if !self.hub.has_readers() {
            let _ = self.listen(0);
        }
    }
}

impl AsFd for Events {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            From::Ring(ring) => ring.map.as_fd(),
            From::Along(along) => along.as_fd(),
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}
