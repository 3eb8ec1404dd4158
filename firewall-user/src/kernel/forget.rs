//! Taking connections out of the state table while packets use it: a compare-and-swap on the slot word, as the program
//! itself does it, in the map's own memory.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use firewall_common::{
    conntrack::State,
    table::{BUCKET, Slot},
};

use super::{Flow, Instance, KernelError, host, maps};

/// The slot words of the state table, in the kernel's memory.
#[derive(Debug)]
pub struct Forgetter {
    memory: NonNull<AtomicU64>,
    length: usize,
}

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
        let Some(word) = self.word(flow) else { return false };
        let ended = Slot::new(0, State(0), host::tick()).0;
        let mut seen = word.load(Ordering::Acquire);
        // Another state or lifetime is the same connection still; another tag is not.
        while Slot(seen).tag() == flow.slot.tag() && Slot(seen).is_live(host::tick()) {
            match word.compare_exchange(seen, ended, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    fn word(&self, flow: &Flow) -> Option<&AtomicU64> {
        let offset = flow.bucket as usize * BUCKET + flow.way * size_of::<u64>();
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
