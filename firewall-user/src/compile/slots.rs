//! Which slots a rule has for its counters, limits and quotas. A rule that stays keeps them, and with them its counts.

use std::collections::HashSet;

use super::CompileError;

/// Slots that are free, lowest first.
pub(super) struct Slots {
    taken: HashSet<u32>,
    next: u32,
    /// How many there are, and what to say when that is not enough.
    all: u32,
    full: CompileError,
    /// Those given out.
    pub(super) fresh: Vec<u32>,
}

impl Slots {
    /// All but those of the previous ruleset: it goes on counting in them until the new one is in place, and after a
    /// rollback.
    pub(super) fn new(taken: HashSet<u32>, all: u32, full: CompileError) -> Self {
        Self { taken, next: 0, all, full, fresh: Vec::new() }
    }

    pub(super) fn take(&mut self) -> Result<u32, CompileError> {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        if self.next >= self.all {
            return Err(self.full.clone());
        }
        self.fresh.push(self.next);
        self.next += 1;
        Ok(self.next - 1)
    }
}

/// 64-bit FNV-1a: stable over versions and machines, unlike the standard library's hash.
pub(super) fn fnv1a(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for part in parts {
        part.bytes().for_each(&mut add);
        add(0);
    }
    hash
}
