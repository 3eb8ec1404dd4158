//! Connections that ended without a packet: the reader of the ring looks for them in the state table, and takes each out as it tells of it.
//! Programs tell of those whose places were taken before it came by. So each is told of once, by whoever changes its word.

use std::{collections::VecDeque, sync::atomic::Ordering};

use firewall_common::{
    conntrack::State,
    event::{End, Event, untold},
    packet::NO_L4,
    table::{Entry, Slot, WAYS},
};

use super::super::{Forgetter, Instance, KernelError, host};

/// A walk over the state table.
pub(super) struct Ended {
    table: Forgetter,
    buckets: u32,
    /// The next bucket to look at; none: all were, for now.
    at: Option<u32>,
    found: VecDeque<Event>,
}

impl Ended {
    /// Tells of what ends from now on: what has ended before is old news, and is forgotten, unless this reader `follows` another.
    pub(super) fn open(instance: &Instance, follows: bool) -> Result<Self, KernelError> {
        let mut ended =
            Self { table: instance.forgetter()?, buckets: instance.buckets, at: None, found: VecDeque::new() };
        if !follows {
            ended.look();
            while ended.next().is_some() {}
        }
        Ok(ended)
    }

    /// Has all of the table looked at once more, if it is not being looked at.
    pub(super) fn look(&mut self) {
        self.at.get_or_insert(0);
    }

    /// The next connection that has ended.
    pub(super) fn next(&mut self) -> Option<Event> {
        let (tick, now) = (host::tick(), host::monotonic_ns());
        while self.found.is_empty() {
            let bucket = self.at?;
            self.at = Some(bucket + 1).filter(|next| *next < self.buckets);
            for way in 0..WAYS {
                self.found.extend(self.take(bucket, way, (now, tick)));
            }
        }
        self.found.pop_front()
    }

    /// Takes a connection that has ended out of the table.
    fn take(&self, bucket: u32, way: usize, (now, tick): (u64, u32)) -> Option<Event> {
        let word = self.table.word(bucket, way)?;
        let seen = word.load(Ordering::Acquire);
        let end = untold(Slot(seen), tick);
        if end != End::Timeout as u32 && end != End::Killed as u32 {
            return None;
        }
        let entry = self.table.entry(bucket, way)?;
        if entry.is_alias() {
            return None;
        }
        let answers = self.answers(&entry);
        // Its entry is its own as long as its word is.
        let free = Slot::new(0, State(0), tick).0;
        word.compare_exchange(seen, free, Ordering::AcqRel, Ordering::Acquire).ok()?;
        let mut event = Event::default();
        event.set_ended(&entry, Slot(seen), (now, tick));
        if let Some(answers) = answers {
            set_translated(&mut event, &answers);
        }
        Some(event)
    }

    /// Of a translated connection, what its answers were found by.
    fn answers(&self, entry: &Entry) -> Option<Entry> {
        let (bucket, place) = entry.partner();
        let alias = self.table.entry(bucket, (place as usize).checked_sub(1)?)?;
        alias.is_alias_of(&entry.key).then_some(alias)
    }
}

/// Both ends as the other side of a translation has them.
fn set_translated(event: &mut Event, answers: &Entry) {
    let mut behind = Event::default();
    behind.set_ended(answers, Slot(0), (0, 0));
    event.translated = [behind.source, behind.destination];
    if behind.source_port != NO_L4 {
        event.translated_ports = [behind.source_port & 0xffff, behind.destination_port & 0xffff];
    }
}
