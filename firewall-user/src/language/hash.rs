//! `jhash`: a number that depends on values of the packet.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::ruleset::Subject;

/// A hash of values of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    /// The values, together.
    pub keys: Vec<Subject>,
    /// How many numbers there are.
    pub modulus: u32,
    /// What the hash begins with; when it is not written, some number that nobody outside knows.
    pub seed: Option<u32>,
    /// The least number.
    pub offset: u32,
}

/// A hash that is kept as long as the process lives, once for all that are the same, so that a selector is a small thing
/// that can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interned(&'static Hash);

/// Hashes that are kept. More than these, in one process, no ruleset has.
static KEPT: Mutex<BTreeSet<&'static Hash>> = Mutex::new(BTreeSet::new());

/// Different hashes that a process can keep.
const MAX_KEPT: usize = 65_536;

impl Interned {
    /// Keeps a hash; `None` when there are too many.
    pub fn new(hash: Hash) -> Option<Self> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(&hash) {
            return Some(Self(known));
        }
        if kept.len() >= MAX_KEPT {
            return None;
        }
        let hash: &'static Hash = Box::leak(Box::new(hash));
        kept.insert(hash);
        Some(Self(hash))
    }

    /// The hash.
    pub const fn get(self) -> &'static Hash {
        self.0
    }
}
