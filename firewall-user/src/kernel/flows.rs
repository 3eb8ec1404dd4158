//! Reading the state table: a few buckets at a time, so that a million connections need no more memory than a thousand.

use aya::maps::MapData;
use firewall_common::table::{BUCKET, Entry, Slot, WAYS};

use super::{KernelError, batch, host, maps};

/// A live connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// State and expiry.
    pub slot: Slot,
    /// The rest.
    pub entry: Entry,
    /// Of a translated connection, what its answers are found by.
    pub answers: Option<Entry>,
    /// Where it is: the bucket, and which place of it.
    pub(super) bucket: u32,
    pub(super) way: usize,
}

/// A bucket as the map gives it.
type Words = [u64; BUCKET / 8];

/// Buckets of one read: 128 KiB.
const AT_ONCE: usize = 128;

/// All live connections of an instance, in no order. One that moves while it is looked for may be missed, or told of
/// twice.
pub struct Flows {
    table: MapData,
    buckets: u32,
    now: u32,
    bucket: u32,
    found: Vec<Flow>,
}

impl Flows {
    pub(super) fn open(state: &std::path::Path) -> Result<Self, KernelError> {
        let table = maps::open(state, maps::FLOWS)?;
        let buckets = table.info().map_err(KernelError::map(maps::FLOWS))?.max_entries();
        Ok(Self { table, buckets, now: host::tick(), bucket: 0, found: Vec::new() })
    }

    fn read_buckets(&mut self) -> Result<(), KernelError> {
        let buckets: Vec<Words> =
            batch::read(&self.table, self.bucket, AT_ONCE).map_err(KernelError::system(maps::FLOWS))?;
        let first = self.bucket;
        // An empty answer would be the end.
        self.bucket = if buckets.is_empty() { self.buckets } else { self.bucket + buckets.len() as u32 };
        for (bucket, words) in (first..).zip(&buckets) {
            let live = (0..WAYS).map(|way| (way, Slot(words[way]))).filter(|(_, slot)| slot.is_live(self.now));
            let flows = live.map(|(way, slot)| Flow { slot, entry: entry(words, way), answers: None, bucket, way });
            // What a translated connection is found by elsewhere is no connection of its own.
            self.found.extend(flows.filter(|flow| !flow.entry.is_alias()));
        }
        for at in 0..self.found.len() {
            let flow = self.found[at];
            self.found[at].answers = self.answers(&flow.entry, (first, &buckets))?;
        }
        Ok(())
    }

    /// What the answers of a translated connection are found by. It may be in another part of the table.
    fn answers(&self, flow: &Entry, (first, read): (u32, &[Words])) -> Result<Option<Entry>, KernelError> {
        let (bucket, place) = flow.partner();
        if place == 0 || bucket >= self.buckets {
            return Ok(None);
        }
        let is_of_it = |alias: &Entry| alias.is_alias_of(&flow.key);
        let way = place as usize - 1;
        if let Some(words) = bucket.checked_sub(first).and_then(|at| read.get(at as usize)) {
            return Ok(Some(entry(words, way)).filter(is_of_it));
        }
        let bucket: Vec<Words> = batch::read(&self.table, bucket, 1).map_err(KernelError::system(maps::FLOWS))?;
        Ok(bucket.first().map(|words| entry(words, way)).filter(is_of_it))
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
        while self.found.is_empty() && self.bucket < self.buckets {
            if let Err(error) = self.read_buckets() {
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
