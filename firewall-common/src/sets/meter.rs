//! What elements keep for themselves: limits, quotas, and counters behind those.

use super::{FORM, Form, Line, Lines, PLACES, high, run, run::Scratch};
use crate::{
    image::{Insn, OVER},
    limit::{self, Word},
};

/// A limit of packets: the constant has cost and capacity, two words each, see [`crate::limit`].
pub const PACKETS: u32 = 0;
/// A limit of bytes: the constant has the capacity in its last two words, the next one nanoseconds and bytes of the rate.
pub const BYTES: u32 = 1;
/// A quota: the constant has the bytes in its last two words.
pub const QUOTA: u32 = 2;
/// A counter.
pub const COUNTER: u32 = 3;

/// The word of a limit or quota that an element does not have: somebody else made it than the rule with the statement.
pub const NONE: u64 = u64::MAX;

/// A word of a line, as a bucket.
struct Cell<L>(L, usize);

impl<L: Line> Word for Cell<L> {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.0.load(self.1)
    }

    #[inline(always)]
    fn replace(&self, old: u64, new: u64) -> bool {
        self.0.exchange(self.1, old, new)
    }
}

/// Carries out [`crate::image::Op::Meter`]: [`run::YES`] or [`run::NO`].
#[inline(always)]
pub fn meter<S: Lines>(
    set: &S,
    insn: &Insn,
    (numbers, length, now): ([&[u32; 4]; 2], u32, u64),
    scratch: &Scratch,
) -> u32 {
    try_meter(set, insn, (numbers, length, now), scratch).map_or(run::BROKEN, u32::from)
}

#[inline(always)]
fn try_meter<S: Lines>(
    set: &S,
    insn: &Insn,
    (numbers, length, now): ([&[u32; 4]; 2], u32, u64),
    scratch: &Scratch,
) -> Option<bool> {
    let head = set.line(0)?;
    let form = Form(head.load(FORM));
    let (line, first) = form.extras(set.forget(&scratch.probe.place));
    let line = set.line(high(head.load(PLACES)) + line)?;
    if insn.high == COUNTER {
        let at = first + form.counter()?;
        line.add(at & 7, 1);
        line.add((at + 1) & 7, u64::from(length));
        return Some(true);
    }
    let at = (first + form.cells()? + (insn.extra & 1) as usize) & 7;
    if line.load(at) == NONE {
        return Some(true);
    }
    let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let [numbers, rate] = numbers;
    let (former, latter) = (long(numbers[0], numbers[1]), long(numbers[2], numbers[3]));
    let is_enough = if insn.high == QUOTA {
        line.fetch_add(at, u64::from(length)).wrapping_add(u64::from(length)) <= latter
    } else if insn.high == PACKETS {
        limit::take(&Cell(line, at), now, former, latter)
    } else {
        let cost = limit::cost_of_bytes(length, long(rate[0], rate[1]), long(rate[2], rate[3]));
        limit::take(&Cell(line, at), now, cost, latter)
    };
    Some(is_enough == (insn.extra & OVER == 0))
}

#[cfg(test)]
mod tests;
