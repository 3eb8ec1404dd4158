//! What rules, limits and quotas counted: read many at a time, and set back to nothing without losing a packet.
//!
//! A rule's counter has a value for each CPU, which the program adds to while user space may only write the whole of it:
//! a zero written between its load and its store would be lost, or would lose the packet. So nothing is written there.
//! Where a counter stood when it was set back is kept in `ZEROED`, and what is shown is the difference; metrics, which
//! must never fall, are what was counted in all. A quota's word is one for all CPUs and in memory that is shared with the
//! program: it is exchanged for zero.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use firewall_common::{counter::Counter, limits::MAX_CELLS};

use super::{Instance, KernelError, Lock, batch, maps};

/// Values of one read.
const AT_ONCE: usize = 4096;

impl Instance {
    /// Rule counters since they began, added up over the CPUs.
    pub fn rule_counters(&self, slots: impl IntoIterator<Item = u32>) -> Result<HashMap<u32, Counter>, KernelError> {
        let map = maps::open(&self.pins.state(), maps::COUNTERS)?;
        let cpus = maps::cpus()?;
        let add = |values: &[Counter]| values.iter().fold(Counter::default(), sum);
        read(slots, |first, count| {
            let values: Vec<Counter> = batch::read_per_cpu(&map, first, count, cpus)?;
            Ok(values.chunks(cpus).map(add).collect())
        })
    }

    /// The same since they were last set back.
    pub fn rule_counters_since_reset(
        &self,
        slots: impl IntoIterator<Item = u32> + Clone,
    ) -> Result<HashMap<u32, Counter>, KernelError> {
        // First what they stood at, so that a reset in between shows as a counter that fell, and not as one below zero.
        let before = self.zeroed(slots.clone())?;
        let mut counters = self.rule_counters(slots)?;
        for (slot, counter) in &mut counters {
            *counter = less(*counter, before.get(slot).copied().unwrap_or_default());
        }
        Ok(counters)
    }

    /// What counters stood at when they were last set back. An instance that an older version made has none yet.
    fn zeroed(&self, slots: impl IntoIterator<Item = u32>) -> Result<HashMap<u32, Counter>, KernelError> {
        if !self.pins.state().join(maps::ZEROED).exists() {
            return Ok(HashMap::new());
        }
        let map = maps::open(&self.pins.state(), maps::ZEROED)?;
        read(slots, |first, count| batch::read(&map, first, count))
    }

    /// The words of limits' and quotas' cells.
    pub fn cells(&self, slots: impl IntoIterator<Item = u32>) -> Result<HashMap<u32, u64>, KernelError> {
        let map = maps::open(&self.pins.state(), maps::CELLS)?;
        read(slots, |first, count| batch::read(&map, first, count))
    }

    /// Sets counters back, and says what they had counted since the last time.
    pub fn reset_counters(
        &self,
        _: &Lock,
        slots: impl IntoIterator<Item = u32> + Clone,
    ) -> Result<HashMap<u32, Counter>, KernelError> {
        let before = self.zeroed(slots.clone())?;
        let now = self.rule_counters(slots)?;
        let zeroed = maps::open(&self.pins.state(), maps::ZEROED)?;
        let (keys, values): (Vec<u32>, Vec<Counter>) = now.iter().map(|(slot, counter)| (*slot, *counter)).unzip();
        for (keys, values) in keys.chunks(AT_ONCE).zip(values.chunks(AT_ONCE)) {
            batch::update(zeroed.fd().as_fd(), keys, values).map_err(KernelError::system(maps::ZEROED))?;
        }
        let since = |(slot, counter)| (slot, less(counter, before.get(&slot).copied().unwrap_or_default()));
        Ok(now.into_iter().map(since).collect())
    }

    /// Sets quotas back, and says what had been used of them.
    pub fn reset_cells(
        &self,
        _: &Lock,
        slots: impl IntoIterator<Item = u32>,
    ) -> Result<HashMap<u32, u64>, KernelError> {
        let mut slots = slots.into_iter().peekable();
        if slots.peek().is_none() {
            return Ok(HashMap::new());
        }
        let cells = Cells::map(&maps::open(&self.pins.state(), maps::CELLS)?)?;
        Ok(slots.filter_map(|slot| Some((slot, cells.word(slot)?.swap(0, Ordering::Relaxed)))).collect())
    }

    /// Counters that begin anew have never been set back.
    pub(super) fn forget_resets(&self, slots: &[u32]) -> Result<(), KernelError> {
        let zeroed = maps::open(&self.pins.state(), maps::ZEROED)?;
        for keys in slots.chunks(AT_ONCE) {
            let zeros = vec![Counter::default(); keys.len()];
            batch::update(zeroed.fd().as_fd(), keys, &zeros).map_err(KernelError::system(maps::ZEROED))?;
        }
        Ok(())
    }
}

/// Reads the values of places, in stretches in which there is at least one that is asked for.
fn read<T: Copy>(
    slots: impl IntoIterator<Item = u32>,
    stretch: impl Fn(u32, usize) -> io::Result<Vec<T>>,
) -> Result<HashMap<u32, T>, KernelError> {
    let mut slots: Vec<u32> = slots.into_iter().collect();
    slots.sort_unstable();
    let mut found = HashMap::with_capacity(slots.len());
    let mut rest = &slots[..];
    while let Some(first) = rest.first().copied() {
        let (here, behind) = rest.split_at(rest.partition_point(|slot| (slot - first) < AT_ONCE as u32));
        let last = here.last().map_or(first, |last| *last);
        let values = stretch(first, (last - first) as usize + 1).map_err(KernelError::system("reading counters"))?;
        found.extend(here.iter().filter_map(|slot| Some((*slot, *values.get((slot - first) as usize)?))));
        rest = behind;
    }
    Ok(found)
}

fn sum(total: Counter, one: &Counter) -> Counter {
    Counter { packets: total.packets + one.packets, bytes: total.bytes + one.bytes }
}

fn less(counter: Counter, before: Counter) -> Counter {
    Counter {
        packets: counter.packets.saturating_sub(before.packets),
        bytes: counter.bytes.saturating_sub(before.bytes),
    }
}

/// The words of all cells, in the kernel's memory.
struct Cells(NonNull<AtomicU64>);

/// Bytes of the mapping.
const LENGTH: usize = MAX_CELLS as usize * size_of::<u64>();

impl Cells {
    fn map(map: &MapData) -> Result<Self, KernelError> {
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        #[expect(unsafe_code, reason = "a word that packets add to can only be exchanged in its own memory")]
        // SAFETY: a new mapping of a file, at an address of the kernel's choice.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, access, shared, map.fd().as_fd().as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(KernelError::system("the quotas cannot be mapped")(io::Error::last_os_error()));
        }
        NonNull::new(memory.cast()).map(Self).ok_or_else(|| KernelError::Damaged("an empty mapping".to_owned()))
    }

    fn word(&self, slot: u32) -> Option<&AtomicU64> {
        if slot >= MAX_CELLS {
            return None;
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: within the mapping, which lives as long as `self`, aligned, and changed by others only as an atomic.
        Some(unsafe { self.0.add(slot as usize).as_ref() })
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the mapping that was made, which nobody refers to any more.
        unsafe {
            libc::munmap(self.0.as_ptr().cast(), LENGTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_far_apart_are_read_in_stretches() {
        let asked = std::cell::RefCell::new(Vec::new());
        let found = read([9000, 3, 1, 4096, 4097], |first, count| {
            asked.borrow_mut().push((first, count));
            Ok((first..).take(count).collect())
        });
        let mut found: Vec<_> = found.expect("read").into_iter().collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 1), (3, 3), (4096, 4096), (4097, 4097), (9000, 9000)]);
        assert_eq!(*asked.borrow(), [(1, 4096), (4097, 1), (9000, 1)]);
    }

    #[test]
    fn a_counter_never_falls_below_nothing() {
        let counter = |packets, bytes| Counter { packets, bytes };
        assert_eq!(less(counter(5, 100), counter(2, 40)), counter(3, 60));
        assert_eq!(less(counter(5, 100), counter(6, 40)), counter(0, 60));
    }
}
