//! A bucket of the state table, as it lies in the map: where its parts are, and its slot words.

use firewall_common::{
    conntrack::Aside,
    table::{Bucket, Entry, SlotWords},
};

use crate::verifier;

/// The entry in a place of a bucket. The place counts from 1, so that any three bits are within the bucket.
#[inline(always)]
pub fn entry(bucket: *mut Bucket, place: u32) -> *mut Entry {
    const SIZE: usize = size_of::<Entry>();
    bucket.cast::<u8>().wrapping_add((place as usize & 7) * SIZE).cast()
}

/// Where the slot word of a place is, which counts from 1: one of the eight words at the start of the bucket.
#[inline(always)]
pub fn slot_word(bucket: *mut Bucket, place: u32) -> *mut u64 {
    bucket.cast::<u64>().wrapping_add(place.wrapping_sub(1) as usize & 7)
}

/// The slot words of a bucket in the map, and a word of the work area to settle numbers in.
pub struct Slots {
    /// The bucket.
    pub bucket: *mut Bucket,
    /// The word of the work area.
    pub scratch: *mut u64,
}

impl SlotWords for Slots {
    #[inline(always)]
    fn load(&self, way: usize) -> u64 {
        // SAFETY: a word of the bucket; volatile, because other CPUs write to it.
        unsafe { slot_word(self.bucket, way as u32 + 1).read_volatile() }
    }

    #[inline(always)]
    fn compare_exchange(&self, way: usize, old: u64, new: u64) -> bool {
        // SAFETY: an aligned word of a map value.
        unsafe { verifier::compare_exchange(slot_word(self.bucket, way as u32 + 1), old, new) }
    }

    #[inline(always)]
    fn note(&self, value: u64) {
        // SAFETY: a word of the work area that nothing else uses meanwhile.
        unsafe { self.scratch.write_volatile(value) };
    }

    #[inline(always)]
    fn noted(&self) -> u64 {
        // SAFETY: as above.
        unsafe { self.scratch.read_volatile() }
    }
}

/// Where the aside of a place is, which counts from 1.
#[inline(always)]
pub fn aside(bucket: *mut Bucket, place: u32) -> *mut Aside {
    const LINE: usize = core::mem::offset_of!(Bucket, asides);
    let index = place.wrapping_sub(1) as usize & 7;
    bucket.cast::<u8>().wrapping_add(LINE + index * size_of::<Aside>()).cast()
}
