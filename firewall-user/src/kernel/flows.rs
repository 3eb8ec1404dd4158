//! Reading the state table: bucket by bucket, so that a million connections need no more memory than one.

use aya::maps::{Array, MapData};
use firewall_common::table::{BUCKET, Entry, Slot, WAYS};

use super::{KernelError, host, maps};

/// A live connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// State and expiry.
    pub slot: Slot,
    /// The rest.
    pub entry: Entry,
}

/// A bucket as the map gives it.
type Words = [u64; BUCKET / 8];

/// All live connections of an instance, in no order. One that moves while it is looked for may be missed, or told of
/// twice.
pub struct Flows {
    table: Array<MapData, Words>,
    now: u32,
    bucket: u32,
    found: Vec<Flow>,
}

impl Flows {
    pub(super) fn open(state: &std::path::Path) -> Result<Self, KernelError> {
        let table = maps::array(state, maps::FLOWS)?;
        Ok(Self { table, now: host::tick(), bucket: 0, found: Vec::with_capacity(WAYS) })
    }

    fn read_bucket(&mut self) -> Result<(), KernelError> {
        let words = self.table.get(&self.bucket, 0).map_err(KernelError::map(maps::FLOWS))?;
        self.bucket += 1;
        for way in 0..WAYS {
            let slot = Slot(words[way]);
            if slot.is_live(self.now) {
                self.found.push(Flow { slot, entry: entry(&words, way) });
            }
        }
        Ok(())
    }
}

/// The entry of a place.
fn entry(words: &Words, way: usize) -> Entry {
    const SIZE: usize = size_of::<Entry>() / 8;
    let mut entry = [0; SIZE];
    entry.copy_from_slice(&words[(way + 1) * SIZE..(way + 2) * SIZE]);
    Entry::from_words(entry)
}

impl Iterator for Flows {
    type Item = Result<Flow, KernelError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.found.is_empty() && self.bucket < self.table.len() {
            if let Err(error) = self.read_bucket() {
                return Some(Err(error));
            }
        }
        self.found.pop().map(Ok)
    }
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Flows").finish_non_exhaustive()
    }
}
