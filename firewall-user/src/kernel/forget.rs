//! Taking connections out of the state table while packets use it: a compare-and-swap on the slot word, as the program
//! itself does it, in the map's own memory. What is forgotten is left to be told of, see [`super::Events`].

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use firewall_common::{
    conntrack::State,
    event::killed,
    table::{BUCKET, Bucket, Entry, Slot, WAYS},
};

use super::{Flow, Instance, KernelError, host, maps};

/// The slot words of the state table, in the kernel's memory.
#[derive(Debug)]
pub struct Forgetter {
    memory: NonNull<AtomicU64>,
    length: usize,
}

#[expect(unsafe_code, reason = "as below")]
// SAFETY: the mapping belongs to the process, not to a thread, and its words are atomics.
unsafe impl Send for Forgetter {}

impl Instance {
    /// Maps the state table, to take connections out of it.
    pub fn forgetter(&self) -> Result<Forgetter, KernelError> {
        let map = maps::open(&self.pins.state(), maps::FLOWS)?;
        let length = self.buckets as usize * BUCKET;
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        #[expect(unsafe_code, reason = "the state table can only be changed word by word in its own memory")]
        // SAFETY: a new mapping of a file, at an address of the kernel's choice.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), length, access, shared, map.fd().as_fd().as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(KernelError::system("the state table cannot be mapped")(io::Error::last_os_error()));
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| KernelError::Damaged("an empty mapping".to_owned()))?;
        Ok(Forgetter { memory, length })
    }
}

impl Forgetter {
    /// Forgets a connection; `false` when it is not what it was any more: it has changed its state, or is gone.
    ///
    /// A busy connection's word changes when a packet makes it live longer, so this is tried again by who wants it gone.
    pub fn forget(&self, flow: &Flow) -> bool {
        let Some(word) = self.word(flow.bucket, flow.way) else { return false };
        let mut seen = word.load(Ordering::Acquire);
        // Another state or lifetime is the same connection still; another tag is not.
        while Slot(seen).tag() == flow.slot.tag() && Slot(seen).is_live(host::tick()) {
            let ended = if Slot(seen).state().is_over() {
                Slot::new(0, State(0), host::tick())
            } else {
                killed(Slot(seen), host::tick())
            };
            match word.compare_exchange(seen, ended.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// The slot word of a place.
    pub(super) fn word(&self, bucket: u32, way: usize) -> Option<&AtomicU64> {
        (way < WAYS).then(|| self.at(bucket, way * size_of::<u64>())).flatten()
    }

    /// The entry of a place, which may be being written to.
    pub(super) fn entry(&self, bucket: u32, way: usize) -> Option<Entry> {
        const WORDS: usize = size_of::<Entry>() / size_of::<u64>();
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            let offset = std::mem::offset_of!(Bucket, entries) + way * size_of::<Entry>() + index * size_of::<u64>();
            *word = self.at(bucket, offset).filter(|_| way < WAYS)?.load(Ordering::Relaxed);
        }
        Some(Entry::from_words(words))
    }

    /// A word of a bucket.
    fn at(&self, bucket: u32, offset: usize) -> Option<&AtomicU64> {
        let offset = bucket as usize * BUCKET + offset;
        if offset + size_of::<u64>() > self.length {
            return None;
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: within the mapping, which lives as long as `self`, aligned, and changed by others only as an atomic.
        Some(unsafe { self.memory.byte_add(offset).as_ref() })
    }
}

impl Drop for Forgetter {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the mapping that was made, which nobody refers to any more.
        unsafe {
            libc::munmap(self.memory.as_ptr().cast(), self.length);
        }
    }
}
