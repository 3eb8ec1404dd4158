//! What rules ask of a packet's connection, and its mark.

use firewall_common::{
    image::USES_CT_MARK,
    packet::Field,
    table::{Entry, Slot},
};

use crate::{
    bucket::{entry, slot_word},
    maps,
    work::Work,
};

/// Where the packet's connection is, and what else is asked of it.
#[derive(Clone, Copy)]
pub struct Found {
    bucket: u32,
    /// Its place in the bucket, from 1; 0 when it is not in the table. To an ICMP error it is that of the packet it quotes.
    place: u32,
    /// Is it the connection of a packet that the ICMP error quotes? 0 or 1.
    is_quoted: u32,
    source_is_high: u32,
    /// Its key's hash.
    pub hash: u64,
}

impl Found {
    /// What the look-up found.
    #[inline(always)]
    pub fn of(work: &Work) -> Self {
        let Work { bucket, place, quoted, source_is_high, hash, .. } = *work;
        Self { bucket, place: place | quoted, is_quoted: u32::from(quoted != 0), source_is_high, hash }
    }

    /// The entry, if it is in the table.
    #[inline(always)]
    pub fn entry(&self) -> Option<&'static mut Entry> {
        if self.place == 0 {
            return None;
        }
        let bucket = maps::bucket(self.bucket)?;
        // SAFETY: a place of the bucket, as in `update`.
        Some(unsafe { &mut *entry(bucket, self.place) })
    }

    /// The slot word of an entry as it is now.
    #[inline(always)]
    pub fn slot(&self) -> Slot {
        // SAFETY: a word of the bucket, as in `Slots::load`.
        Slot(maps::bucket(self.bucket).map_or(0, |bucket| unsafe { slot_word(bucket, self.place).read_volatile() }))
    }

    /// Does the packet go the way of its connection's first one? 0 if so, else 1. An ICMP error goes against the packet it
    /// quotes.
    #[inline(always)]
    pub const fn way(&self, entry: &Entry) -> u32 {
        (self.source_is_high ^ entry.originator_is_high as u32 ^ self.is_quoted) & 1
    }
}

/// Reads the connection's mark, if a rule may look at it. A new connection has none yet.
#[inline(always)]
pub fn read_mark(work: &mut Work) {
    if maps::USES.load() & USES_CT_MARK != 0 {
        work.ct_mark = Found::of(work).entry().map_or(0, |entry| entry.mark);
        work.packet.set(Field::CtMark, work.ct_mark);
    }
}

/// Gives the connection the mark that a rule set, whatever becomes of the packet. A new one gets it when it is entered.
#[inline(always)]
pub fn write_mark(work: &Work) {
    if maps::USES.load() & USES_CT_MARK != 0
        && work.packet.get(Field::CtMark) != work.ct_mark
        && let Some(entry) = Found::of(work).entry()
    {
        entry.mark = work.packet.get(Field::CtMark);
    }
}
