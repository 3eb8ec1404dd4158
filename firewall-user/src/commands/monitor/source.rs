//! Where events come from: the instance of this network namespace, when there is one, and the next when it is gone.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    io,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Result};
use firewall_common::flow::Secret;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Follower, lapses::Lapses, watch::watch};
use crate::{
    commands::OUTPUT,
    compile::Manifest,
    kernel::{self, Events, Instance, KernelError, Tales},
    observe::{clock::Clock, events::Seen},
};

/// Events shown before signals are looked for again.
const AT_ONCE: usize = 1024;
/// Generations whose rules are remembered: events of one may be read after it was replaced.
const REMEMBERED: usize = 4;
/// Pulses for which an instance may be there in part: somebody is just making or removing it.
const PATIENCE: u32 = 4;

/// The events of an instance, or the wait for one.
#[derive(Default)]
pub(in crate::commands) struct Source {
    open: Option<Open>,
    /// What commands tell of, whether there is an instance or not.
    journal: Option<Journal>,
    has_said_waiting: bool,
    failures: u32,
    /// Did one end that events were read along with? Then what is in the ring is news.
    follows: bool,
}

/// What commands and the agent tell of.
struct Journal {
    tales: Tales,
    /// Readable when there may be something.
    watched: Option<AsyncFd<OwnedFd>>,
}

/// The events of an instance.
struct Open {
    instance: Instance,
    /// What tells it from another instance in its place.
    secret: Secret,
    events: Events,
    lapses: Lapses,
    /// Readable when there are events.
    ring: AsyncFd<OwnedFd>,
    /// Were there more events than are shown at once?
    has_more: bool,
    manifests: BTreeMap<u32, Manifest>,
    names: HashMap<u32, String>,
    lost: u64,
}

impl Source {
    /// To be called at every pulse: says that somebody listens, and looks whether the instance is still there.
    pub(in crate::commands) fn renew(&mut self, show: &mut dyn Follower) -> Result<()> {
        show.now(Clock::new(kernel::monotonic_ns()));
        if self.journal.is_none() {
            self.journal = Some(Journal::new()?);
        }
        if let Some(open) = &mut self.open {
            if open.is_in_force() {
                return open.renew(show);
            }
            open.drain(show)?;
            self.open = None;
        }
        self.begin(show)
    }

    /// Opens what there is.
    fn begin(&mut self, show: &mut dyn Follower) -> Result<()> {
        match Open::new(self.follows) {
            Ok(open) => {
                self.open = Some(open);
                self.failures = 0;
                self.follows = false;
                self.has_said_waiting = false;
            }
            Err(KernelError::NotRunning) if self.has_said_waiting => {}
            Err(KernelError::NotRunning) => {
                self.has_said_waiting = true;
                show.note("no ruleset is in force here: waiting for one");
            }
            // Taken, and not to be read along with: whoever has it has just begun, or has just ended.
            Err(
                KernelError::Map { .. }
                | KernelError::System { .. }
                | KernelError::Damaged(_)
                | KernelError::EventsTaken { .. },
            ) if self.failures < PATIENCE => {
                self.failures += 1;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Returns when there are events.
    pub(in crate::commands) async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            result = self.ring_is_readable() => result,
            result = self.journal_is_readable() => result,
        }
    }

    async fn ring_is_readable(&self) -> io::Result<()> {
        match &self.open {
            Some(open) if open.has_more => {
                tokio::task::yield_now().await;
                Ok(())
            }
            // Forgotten before they are read: one that comes in between wakes us again.
            Some(open) => open.ring.readable().await.map(|mut guard| guard.clear_ready()),
            None => std::future::pending().await,
        }
    }

    async fn journal_is_readable(&self) -> io::Result<()> {
        match self.journal.as_ref().and_then(|journal| journal.watched.as_ref()) {
            Some(watched) => watched.readable().await.map(|mut guard| guard.clear_ready()),
            None => std::future::pending().await,
        }
    }

    /// Shows the events there are.
    pub(in crate::commands) fn drain(&mut self, show: &mut dyn Follower) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.drain(show)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.drain(show)?;
        // At once: the ring holds what comes until somebody reads it again, but not for long.
        if open.events.has_ended() {
            open.count_lost(show)?;
            self.open = None;
            self.follows = true;
            self.begin(show)?;
        }
        Ok(())
    }

    /// Adds what was lost since the last time it was asked.
    pub(in crate::commands) fn count_lost(&mut self, show: &mut dyn Follower) -> Result<()> {
        self.open.as_mut().map_or(Ok(()), |open| open.count_lost(show))
    }
}

impl Journal {
    fn new() -> Result<Self, KernelError> {
        let tales = kernel::Journal::here()?.reader();
        let watched = tales.watched().and_then(|descriptor| watch(descriptor, Interest::READABLE).ok());
        Ok(Self { tales, watched })
    }

    fn drain(&mut self, show: &mut dyn Follower) -> Result<()> {
        while let Some(happening) = self.tales.next() {
            show.event(&happening).context(OUTPUT)?;
        }
        show.lost(self.tales.lost());
        show.flush().context(OUTPUT)
    }
}

impl Open {
    fn new(follows: bool) -> Result<Self, KernelError> {
        let instance = Instance::open()?;
        let secret = instance.control()?.secret;
        let lost = instance.lost_events()?;
        let generation = instance.generation()?;
        let manifest = instance.manifest_of(generation)?;
        let events = instance.events(follows)?;
        let lapses = Lapses::of(&instance)?;
        let ring = watch(events.as_fd(), Interest::READABLE);
        let ring = ring.map_err(|source| KernelError::System { what: "waiting for events".to_owned(), source })?;
        let manifests = BTreeMap::from([(generation, manifest)]);
        Ok(Self { instance, secret, events, lapses, ring, has_more: false, manifests, names: HashMap::new(), lost })
    }

    fn is_in_force(&self) -> bool {
        let secret = Instance::open().and_then(|instance| instance.control()).map(|control| control.secret);
        secret.is_ok_and(|secret| secret == self.secret)
    }

    fn renew(&mut self, show: &mut dyn Follower) -> Result<()> {
        self.events.keep_listening()?;
        // Learned while it is there: it may be replaced before its events are read.
        if let Ok(generation) = self.instance.generation() {
            learn(&mut self.manifests, &self.instance, generation);
            while self.manifests.len() > REMEMBERED {
                self.manifests.pop_first();
            }
        }
        self.names.clear();
        // Somebody may just be changing it; what has ended is found at the next look.
        for happening in self.lapses.look(&self.instance).unwrap_or_default() {
            show.event(&happening).context(OUTPUT)?;
        }
        self.count_lost(show)
    }

    fn count_lost(&mut self, show: &mut dyn Follower) -> Result<()> {
        let lost = self.instance.lost_events()?;
        show.lost(lost.saturating_sub(self.lost) + self.events.missed());
        self.lost = lost;
        Ok(())
    }

    fn drain(&mut self, show: &mut dyn Follower) -> Result<()> {
        let Self { instance, events, has_more, manifests, names, .. } = self;
        *has_more = true;
        for _ in 0..AT_ONCE {
            let Some(event) = events.next() else {
                *has_more = false;
                break;
            };
            let manifest = learn(manifests, instance, event.generation);
            let name = names.entry(event.ifindex).or_insert_with(|| interface_name(event.ifindex));
            if let Some(seen) = Seen::new(&event, name, manifest) {
                show.event(&seen).context(OUTPUT)?;
            }
        }
        show.flush().context(OUTPUT)
    }
}

/// What a generation is made of, remembered. One that is not there yet may be soon.
fn learn<'a>(manifests: &'a mut BTreeMap<u32, Manifest>, instance: &Instance, generation: u32) -> Option<&'a Manifest> {
    match manifests.entry(generation) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(place) => instance.manifest_of(generation).ok().map(|manifest| &*place.insert(manifest)),
    }
}

/// The name of an interface, or its number when it is gone.
pub(in crate::commands) fn interface_name(index: u32) -> String {
    let name = nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    let name = name.filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("interface {index}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_gone_has_a_number() {
        assert_eq!(interface_name(u32::MAX), format!("interface {}", u32::MAX));
    }
}
