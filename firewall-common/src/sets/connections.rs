//! Counting connections: `ct count`, for a rule or for each element of a set.
//!
//! The kernel keeps a list of connections for each count, and throws those out that are over whenever it walks through it
//! (`nf_conncount`, `net/netfilter/nf_conncount.c`, Linux 6.18). So it is here, but the list is an array with room for one
//! more than the limit: more need not be known. A member is two words:
//!
//! ```text
//! | hash of the connection 64 | element 32, not over before 32 |
//! ```
//!
//! Whether a connection is there is asked of the state table. One that is new comes into it when its packet has met all
//! rules: until then it is counted for two ticks, unless its packet is dropped.

use super::{Line, Lines, MEMBERS, high, low, run, run::Scratch};
use crate::image::{ALONE, Insn, OVER};

/// Members of a line.
pub const PER_LINE: u32 = 4;
/// Ticks for which a connection is counted that is not in the table yet.
const GRACE: u32 = 2;

/// What is known of connections.
pub trait Table {
    /// Is the connection with the hash `scratch.asked` in the table, and not over? 0 or 1.
    fn is_there(&self, scratch: &mut Scratch) -> u32;
}

/// Does the instruction hold when there are so many?
#[inline(always)]
pub const fn decide(insn: &Insn, count: u32) -> u32 {
    ((count > insn.high) == (insn.extra & OVER != 0)) as u32
}

/// Carries out a part of [`crate::image::Op::Connections`]: looks at one line. `hash` is that of the packet's connection, 0
/// when it has none.
#[inline(always)]
pub fn count<S: Lines, T: Table>(set: &S, table: &T, insn: &Insn, hash: u64, scratch: &mut Scratch) -> u32 {
    try_count(set, table, insn, hash, scratch).unwrap_or(run::BROKEN)
}

#[inline(always)]
fn try_count<S: Lines, T: Table>(set: &S, table: &T, insn: &Insn, hash: u64, scratch: &mut Scratch) -> Option<u32> {
    let members = set.line(0)?.load(MEMBERS);
    let (place, element) = if insn.extra & ALONE != 0 { (0, 0) } else { (scratch.probe.place, scratch.probe.tag) };
    if scratch.counting == 0 {
        (scratch.counting, scratch.counted, scratch.vacant, scratch.is_member, scratch.looked) = (1, 0, 0, 0, 0);
    }
    let first = low(members) + place * high(members);
    let at = first + set.forget(&scratch.looked);
    for nth in 0..PER_LINE {
        member(set, table, (at, nth), (hash, element), scratch)?;
    }
    scratch.looked += 1;
    if scratch.looked < high(members) && scratch.counted <= insn.high {
        return Some(run::AGAIN);
    }
    scratch.counting = 0;
    if scratch.is_member == 0 && set.forget(&scratch.vacant) != 0 && hash != 0 {
        note(set, insn, (hash, element), scratch)?;
    }
    Some(decide(insn, scratch.counted + 1))
}

/// Looks at one member.
#[inline(always)]
fn member<S: Lines, T: Table>(
    set: &S,
    table: &T,
    (at, nth): (u32, u32),
    (hash, element): (u64, u32),
    scratch: &mut Scratch,
) -> Option<()> {
    let line = set.line(at)?;
    let (known, word) = (line.load(nth as usize * 2), line.load(nth as usize * 2 + 1));
    let is_ours = known != 0 && high(word) == element;
    if is_ours && known == hash {
        scratch.is_member = 1;
        return Some(());
    }
    scratch.asked = known;
    let is_there = is_ours && (low(word) > scratch.probe.tick || table.is_there(scratch) != 0);
    scratch.counted += u32::from(is_there);
    if !is_there {
        scratch.vacant = at * PER_LINE + nth + 1;
    }
    Some(())
}

/// Notes the packet's connection where there is room. Another CPU may have been there first: then it is not noted.
#[inline(always)]
fn note<S: Lines>(set: &S, insn: &Insn, (hash, element): (u64, u32), scratch: &mut Scratch) -> Option<()> {
    let which = scratch.vacant - 1;
    let line = set.line(which / PER_LINE)?;
    let word = (which % PER_LINE) as usize * 2;
    let old = line.load(word);
    line.store(word + 1, u64::from(element) << 32 | u64::from(scratch.probe.tick + GRACE));
    if line.exchange(word, old, hash) {
        scratch.noted = [insn.low + 1, which];
    }
    Some(())
}

/// Takes the packet's connection out again, because it will not be.
#[inline(always)]
pub fn take_out<S: Lines>(set: &S, which: u32, hash: u64) -> Option<()> {
    let word = (which % PER_LINE) as usize * 2;
    set.line(which / PER_LINE)?.exchange(word, hash, 0);
    Some(())
}

#[cfg(test)]
mod tests;
