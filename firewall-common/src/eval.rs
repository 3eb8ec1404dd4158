//! One step of running a ruleset image over a packet.
//!
//! The same function runs in the kernel, where `bpf_loop` repeats it, and on the host, where it is the reference for
//! tests. What differs is only where instructions and constants come from: [`Store`].

use crate::{
    classify::{Narrow, Node, Root, Search, Wide},
    conntrack::CtState,
    image::{
        DECIDES, Insn, Interval, NEGATE, NO_RULE, Op, Target, USES_CELLS, USES_CHANGES, USES_CONNECTIONS, USES_FAST,
        USES_FETCH, USES_LOG, USES_METERS, USES_NAMED, USES_NAT, USES_NOTRACK, USES_REGISTERS, USES_SETS,
    },
    limit,
    limits::MAX_SET_STEPS,
    packet::{Field, Packet, WORDS},
    sets::run,
};

/// Where an image's parts are, and what its statements do.
pub trait Store {
    /// Instruction `index`.
    fn insn(&self, index: u32) -> Option<&Insn>;
    /// 128-bit constant `index`.
    fn constant(&self, index: u32) -> Option<&[u32; 4]>;
    /// Interval `index` of all 32-bit sets.
    fn interval(&self, index: u32) -> Option<&Interval>;
    /// Root `index` of the trees.
    fn root(&self, index: u32) -> Option<&Root>;
    /// Node `index` of all trees.
    fn node(&self, index: u32) -> Option<&Node>;
    /// IPv4 leaf entry `index`.
    fn narrow(&self, index: u32) -> Option<&Narrow>;
    /// IPv6 leaf entry `index`.
    fn wide(&self, index: u32) -> Option<&Wide>;
    /// Is `last < value`? 1 or 0, found without a branch.
    #[inline(always)]
    fn is_below(&self, last: u32, value: u32) -> u32 {
        u32::from(last < value)
    }
    /// Reads a number that was stored; in the kernel the verifier then knows nothing about it.
    #[inline(always)]
    fn forget(&self, value: &u32) -> u32 {
        *value
    }
    /// Does the ruleset use this, of [`crate::image::Settings::uses`]? In the kernel the answer is a constant that is
    /// known when the program is verified: what is not used is not there.
    #[inline(always)]
    fn uses(&self, feature: u32) -> bool {
        let _ = feature;
        true
    }
    /// Adds the packet to rule counter `index`.
    fn count(&mut self, index: u32, packet: &Packet);
    /// Takes `cost` from the bucket in a cell, if it has that much.
    fn take(&mut self, cell: u32, cost: u64, capacity: u64) -> bool;
    /// Adds to a cell: what it is then.
    fn add(&mut self, cell: u32, amount: u32) -> u64;
    /// Emits log statement `index` for rule `rule`.
    fn log(&mut self, index: u32, rule: u32, packet: &Packet);
    /// Carries out [`Op::Fetch`]: `false` when the packet has no such value.
    fn fetch(&mut self, insn: &Insn, packet: &mut Packet) -> bool;
    /// Carries out [`Op::Edit`]: `false` when the packet has no such bytes.
    fn edit(&mut self, insn: &Insn, packet: &Packet) -> bool;
    /// Carries out [`Op::Flow`]: `false` when the connection has the fast path, or cannot have it.
    fn flow(&mut self, insn: &Insn, packet: &Packet) -> bool;
    /// Carries out [`Op::Key`].
    fn gather(&mut self, insn: &Insn, packet: &Packet);
    /// Carries out [`Op::LookUp`], or a part of it: then it is to be carried out again. [`run::NO`] and so on.
    fn look_up(&mut self, insn: &Insn, packet: &mut Packet) -> u32;
    /// Carries out [`Op::Change`], likewise.
    fn change(&mut self, insn: &Insn, packet: &Packet) -> u32;
    /// Carries out [`Op::Meter`].
    fn meter(&mut self, insn: &Insn, packet: &Packet) -> u32;
    /// Carries out [`Op::Connections`], or a part of it.
    fn connections(&mut self, insn: &Insn, packet: &Packet) -> u32;
}

/// Where a packet stands in a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Cursor {
    /// The next instruction, or the verdict.
    pub at: Target,
    /// The rule or policy that decided last, [`NO_RULE`] before one did.
    pub rule: u32,
    /// How far the trees have been read.
    pub search: Search,
}

crate::shared!(Cursor = 56);

impl Cursor {
    /// At the first instruction of a hook.
    #[inline(always)]
    pub const fn new(entry: Target) -> Self {
        Self { at: entry, rule: NO_RULE, search: Search::NEW }
    }
}

/// Runs the instruction under the cursor if it is a [`Op::Range`], which most are; says whether it was.
///
/// So small that the program can run a number of them in a row without a call, and calls are what is dear there.
#[inline(always)]
pub fn step_range<S: Store>(store: &S, packet: &Packet, cursor: &mut Cursor) -> bool {
    let Some(insn) = store.insn(cursor.at.0) else {
        return false;
    };
    if insn.op != Op::Range as u8 {
        return false;
    }
    let value = packet.words[insn.field as usize & (WORDS - 1)] & insn.mask;
    let holds = value >= insn.low && value <= insn.high;
    if holds == (insn.flags & NEGATE == 0) {
        if insn.flags & DECIDES != 0 {
            cursor.rule = insn.rule;
        }
        cursor.at = insn.pass;
    } else {
        cursor.at = insn.fail;
    }
    true
}

/// Runs the instruction under the cursor if it is a [`Op::Counter`]; says whether it was.
#[inline(always)]
pub fn step_counter<S: Store>(store: &mut S, packet: &Packet, cursor: &mut Cursor) -> bool {
    let at = store.forget(&cursor.at.0);
    let Some(insn) = store.insn(at) else {
        return false;
    };
    if insn.op != Op::Counter as u8 {
        return false;
    }
    let insn = *insn;
    advance(&insn, true, cursor);
    store.count(insn.low, packet);
    true
}

/// Runs the instruction under the cursor and moves the cursor on.
///
/// `None` when the image is broken (an index beyond its end): never with an image that [`Store`] and compiler agree on.
#[inline(always)]
pub fn step<S: Store>(store: &mut S, packet: &mut Packet, cursor: &mut Cursor) -> Option<()> {
    let insn = *store.insn(cursor.at.0)?;
    let Insn { op, field, flags: _, reserved: _, rule, mask, low, high, extra: _, pass: _, fail: _ } = insn;
    let field = field as usize & (WORDS - 1);
    let holds = if op == Op::Range as u8 {
        let value = packet.words[field] & mask;
        value >= low && value <= high
    } else if op == Op::Set32 as u8 && store.uses(USES_SETS) {
        in_intervals(store, packet.words[field] & mask, low, high)?
    } else if op == Op::Masked128 as u8 {
        masked(&wide(packet, field), store.constant(low)?, store.constant(high)?)
    } else if op == Op::Range128 as u8 {
        let value = wide(packet, field);
        !before(&value, store.constant(low)?) && !before(store.constant(high)?, &value)
    } else if op == Op::Set128 as u8 && store.uses(USES_SETS) {
        in_wide_intervals(store, &wide(packet, field), low, high)?
    } else if op == Op::Counter as u8 {
        store.count(low, packet);
        true
    } else if op == Op::Log as u8 && store.uses(USES_LOG) {
        store.log(low, rule, packet);
        true
    } else if op == Op::Compute as u8 && store.uses(USES_REGISTERS) {
        compute(&insn, packet);
        true
    } else if op == Op::Merge as u8 && store.uses(USES_REGISTERS) {
        merge(&insn, packet);
        true
    } else if op == Op::Edit as u8 && store.uses(USES_REGISTERS) {
        store.edit(&insn, packet)
    } else if op == Op::Fetch as u8 && store.uses(USES_FETCH) {
        store.fetch(&insn, packet)
    } else if op == Op::NoTrack as u8 && store.uses(USES_NOTRACK) {
        leave_untracked(packet);
        true
    } else if op == Op::Flow as u8 && store.uses(USES_FAST) {
        store.flow(&insn, packet)
    } else if op >= Op::LimitPackets as u8 && op <= Op::Quota as u8 && store.uses(USES_CELLS) {
        limited(store, &insn, packet)?
    } else if op == Op::Nat as u8 && store.uses(USES_NAT) {
        packet.set(Field::Nat, cursor.at.0 + 1);
        true
    } else if op == Op::LookUp as u8 && store.uses(USES_NAMED) {
        match store.look_up(&insn, packet) {
            run::YES => true,
            run::NO => false,
            run::AGAIN => return Some(()),
            _ => return None,
        }
    } else if op == Op::Key as u8 && store.uses(USES_NAMED) {
        store.gather(&insn, packet);
        true
    } else if op == Op::Change as u8 && store.uses(USES_CHANGES) {
        match store.change(&insn, packet) {
            run::YES => true,
            run::NO => false,
            run::AGAIN => return Some(()),
            _ => return None,
        }
    } else if op == Op::Meter as u8 && store.uses(USES_METERS) {
        match store.meter(&insn, packet) {
            run::YES => true,
            run::NO => false,
            _ => return None,
        }
    } else if op == Op::Connections as u8 && store.uses(USES_CONNECTIONS) {
        match store.connections(&insn, packet) {
            run::YES => true,
            run::NO => false,
            run::AGAIN => return Some(()),
            _ => return None,
        }
    } else {
        return None;
    };
    advance(&insn, holds, cursor);
    Some(())
}

/// [`Op::LimitPackets`], [`Op::LimitBytes`], [`Op::Quota`]
#[inline(always)]
fn limited<S: Store>(store: &mut S, insn: &Insn, packet: &Packet) -> Option<bool> {
    let [high, low, capacity_high, capacity_low] = *store.constant(insn.low)?;
    let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let (first, second) = (long(high, low), long(capacity_high, capacity_low));
    let length = packet.get(Field::Length);
    if insn.op == Op::Quota as u8 {
        return Some(store.add(insn.extra, length) <= second);
    }
    if insn.op == Op::LimitPackets as u8 {
        return Some(store.take(insn.extra, first, second));
    }
    let [high, low, rate_high, rate_low] = *store.constant(insn.low.wrapping_add(1))?;
    let cost = limit::cost_of_bytes(length, long(high, low), long(rate_high, rate_low));
    Some(store.take(insn.extra, cost, second))
}

/// [`Op::Merge`]
#[inline(always)]
fn merge(insn: &Insn, packet: &mut Packet) {
    let value = packet.words[insn.field as usize & (WORDS - 1)] << (insn.high & 31);
    let word = &mut packet.words[insn.extra as usize & (WORDS - 1)];
    *word = *word & !insn.mask | value & insn.mask;
}

/// Moves the cursor on from an instruction that holds or does not.
#[inline(always)]
pub fn advance(insn: &Insn, holds: bool, cursor: &mut Cursor) {
    if holds == (insn.flags & NEGATE == 0) {
        if insn.flags & DECIDES != 0 {
            cursor.rule = insn.rule;
        }
        cursor.at = insn.pass;
    } else {
        cursor.at = insn.fail;
    }
}

/// [`Op::Compute`]
#[inline(always)]
fn compute(insn: &Insn, packet: &mut Packet) {
    let value = u64::from(packet.words[insn.field as usize & (WORDS - 1)] & insn.mask ^ insn.low);
    let (right, left) = (insn.high & 63, insn.high >> 8 & 63);
    packet.words[insn.extra as usize & (WORDS - 1)] = (value >> right << left) as u32;
}

/// Before connections are looked up, a packet has the state of one that belongs to none. One that has a connection keeps
/// it (`nft_notrack_eval`, `net/netfilter/nft_ct.c`).
#[inline(always)]
fn leave_untracked(packet: &mut Packet) {
    if packet.get(Field::CtState) == CtState::Invalid as u32 {
        packet.set(Field::CtState, CtState::Untracked as u32);
    }
}

/// The four words of an address or a name.
#[inline(always)]
fn wide(packet: &Packet, field: usize) -> [u32; 4] {
    [0, 1, 2, 3].map(|offset| packet.words[(field + offset) & (WORDS - 1)])
}

#[inline(always)]
fn masked(value: &[u32; 4], expected: &[u32; 4], mask: &[u32; 4]) -> bool {
    let different = ((value[0] & mask[0]) ^ expected[0])
        | ((value[1] & mask[1]) ^ expected[1])
        | ((value[2] & mask[2]) ^ expected[2])
        | ((value[3] & mask[3]) ^ expected[3]);
    different == 0
}

/// Is `a < b`, as 128-bit numbers, most significant word first?
#[inline(always)]
fn before(a: &[u32; 4], b: &[u32; 4]) -> bool {
    let high = |words: &[u32; 4]| (u64::from(words[0]) << 32) | u64::from(words[1]);
    let low = |words: &[u32; 4]| (u64::from(words[2]) << 32) | u64::from(words[3]);
    high(a) < high(b) || (high(a) == high(b) && low(a) < low(b))
}

/// Is `value` in one of the `count` intervals from `first` on? Finds the last one that starts at or below it.
#[inline(always)]
fn in_intervals<S: Store>(store: &S, value: u32, first: u32, count: u32) -> Option<bool> {
    let (mut low, mut high) = (0, count);
    for _ in 0..=MAX_SET_STEPS {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        if store.interval(first.wrapping_add(middle))?.low <= value {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return Some(false);
    }
    Some(value <= store.interval(first.wrapping_add(low - 1))?.high)
}

/// The same for 128-bit intervals: constant `first + 2 * i` is where interval `i` starts, the next one where it ends.
#[inline(always)]
fn in_wide_intervals<S: Store>(store: &S, value: &[u32; 4], first: u32, count: u32) -> Option<bool> {
    let (mut low, mut high) = (0, count);
    for _ in 0..=MAX_SET_STEPS {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        if before(value, store.constant(first.wrapping_add(2 * middle))?) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if low == 0 {
        return Some(false);
    }
    Some(!before(store.constant(first.wrapping_add(2 * low - 1))?, value))
}

#[cfg(any(test, feature = "user"))]
mod host;

#[cfg(any(test, feature = "user"))]
pub use host::HostRun;

#[cfg(test)]
mod tests;
