//! Single keys: buckets of one cache line.
//!
//! ```text
//! bucket, 64 bytes:   | 7 slots | passed |
//! slot, 64 bits:      | tag 32 | expires 32 |
//! ```
//!
//! A key of one word is its own tag: such an element without data is nothing but its slot. Longer keys have a hash as
//! their tag, and stand in a line of their own, as data, counters and timeouts do.
//!
//! An element stands in its home bucket or, when that is full, in one of the next ones. `passed` says how many
//! elements went past a bucket: while it is zero, which it mostly is, nobody looks further.
//!
//! `expires` is 0 for a free place, 1 for one that is being written, [`NEVER`] for an element without an end. It
//! decides whether there is an element: nobody has to come and remove what has ended.

use super::{FACTOR, FIRST, FORM, Form, KEY_WORDS, Key, Line, Lines, PLACES, SIZES, high, low, reduce, run::Scratch};

/// Places of a bucket.
pub const WAYS: usize = 7;
/// The word behind them.
pub const PASSED: usize = 7;
/// Places are numbered as if a bucket had a power of two.
pub const STRIDE: u32 = 8;
/// Buckets in which an element may stand.
pub const MAX_PROBES: u32 = 8;
/// The end of what has none.
pub const NEVER: u32 = u32::MAX;
/// A place that is being written.
pub const HELD: u32 = 1;
/// No place.
pub const NOWHERE: u32 = u32::MAX;

/// An odd number with bits everywhere (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a look-up stands. In programs it lies in a map value, so that the verifier forgets what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Probe {
    /// What the set is.
    pub form: u64,
    /// The slot of an element that was taken out, or whose place was taken.
    pub gone: u64,
    /// The upper half of the key's slot.
    pub tag: u32,
    /// Where it is at home, see [`reduce`].
    pub spread: u32,
    /// Buckets of the set.
    pub buckets: u32,
    /// The line where keys start.
    pub keys: u32,
    /// The line where extras start.
    pub extras: u32,
    /// The place that was found, or [`NOWHERE`].
    pub place: u32,
    /// The end of what is put there.
    pub expires: u32,
    /// Now, ticks.
    pub tick: u32,
    /// The bucket in which what is gone stood.
    pub gone_at: u32,
    /// In a full set: when the element at `place` ends that makes room, ticks from now.
    pub left: u32,
}

crate::shared!(Probe = 56);

/// Prepares for a key: what the set is, and the key's hash. Both of the hash's steps are universal over the set's secret
/// numbers, so nobody can choose keys that collide.
#[inline(always)]
pub fn begin<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<()> {
    let head = set.line(0)?;
    let form = Form(head.load(FORM));
    let places = head.load(PLACES);
    let tag = if form.has_keys() { sum(set.line(1)?, &scratch.key, form.key_words()) } else { scratch.key[0] };
    let probe = &mut scratch.probe;
    probe.form = form.0;
    probe.buckets = low(head.load(SIZES));
    (probe.keys, probe.extras) = (low(places), high(places));
    probe.tag = tag;
    probe.spread = spread(head, tag);
    probe.place = NOWHERE;
    Some(())
}

#[inline(always)]
fn sum<L: Line>(secret: L, key: &Key, words: u32) -> u32 {
    let mut sum = 0_u64;
    for pair in 0..KEY_WORDS / 2 {
        if pair as u32 * 2 >= words {
            break;
        }
        let (numbers, both) = (secret.load(pair), pair_of(key, pair, words));
        let (a, b) = (low(both).wrapping_add(low(numbers)), high(both).wrapping_add(high(numbers)));
        sum = sum.wrapping_add(u64::from(a).wrapping_mul(u64::from(b)));
    }
    high((sum ^ (sum >> 31)).wrapping_mul(SPREAD))
}

/// Where what has this tag is at home: multiply-shift with a secret factor.
#[inline(always)]
pub(super) fn spread<L: Line>(head: L, tag: u32) -> u32 {
    let mixed = u64::from(tag).wrapping_mul(head.load(FACTOR) | 1);
    high((mixed ^ (mixed >> 29)).wrapping_mul(SPREAD))
}

/// Bucket number `number` behind the home.
#[inline(always)]
pub(super) fn bucket(spread: u32, buckets: u32, number: u32) -> u32 {
    let at = reduce(spread, buckets) + number;
    if at >= buckets { at - buckets } else { at }
}

/// The bucket where a key of one word is at home.
#[cfg(test)]
pub(super) fn home<L: Line>(head: L, tag: u32) -> u32 {
    reduce(spread(head, tag), low(head.load(SIZES)))
}

/// Finds the key that was gathered: its place, or [`NOWHERE`], is in `scratch.probe`.
pub fn find<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<()> {
    begin(set, scratch)?;
    for number in 0..MAX_PROBES {
        if look(set, number, scratch)? {
            break;
        }
    }
    Some(())
}

/// Looks into one bucket.
#[inline(always)]
pub(super) fn look<S: Lines>(set: &S, number: u32, scratch: &mut Scratch) -> Option<bool> {
    let Probe { form, tag, spread, buckets, keys, tick, .. } = scratch.probe;
    let form = Form(form);
    let at = bucket(spread, buckets, number);
    let line = set.line(FIRST + at)?;
    let mut found = matching(set, line, tag, tick);
    // One has the tag, or none; several only by a coincidence of hashes.
    for _ in 0..CANDIDATES {
        if found == 0 {
            break;
        }
        let place = at * STRIDE + lowest(set, found);
        if !form.has_keys() || is_key(set, (&scratch.key, form, keys), place)? {
            scratch.probe.place = place;
            return Some(true);
        }
        found &= found - 1;
    }
    Some(low(line.load(PASSED)) == 0)
}

/// Places of a bucket whose key is compared.
const CANDIDATES: u32 = 2;

/// The number of the lowest of seven bits that is set, found without a branch.
#[inline(always)]
fn lowest<S: Lines>(set: &S, bits: u32) -> u32 {
    let bit = bits & bits.wrapping_neg();
    set.is_below(0, bit & 0b010_1010) | set.is_below(0, bit & 0b100_1100) << 1 | set.is_below(0, bit & 0b111_0000) << 2
}

/// The places of a bucket with this tag whose elements have not ended, as bits.
#[inline(always)]
pub fn matching<S: Lines>(set: &S, line: S::Line, tag: u32, tick: u32) -> u32 {
    let mut found = 0;
    for slot in 0..WAYS {
        found |= set.is_live(line.load(slot), tag, tick) << slot;
    }
    found
}

/// A place of a bucket that is free or has ended, but is not held: `least` is what counts as ended. [`WAYS`] for none.
#[inline(always)]
pub(super) fn free<L: Line>(line: L, tick: u32, least: u32) -> u32 {
    for slot in 0..WAYS {
        let expires = low(line.load(slot));
        if expires <= tick && expires != HELD && expires >= least {
            return slot as u32;
        }
    }
    WAYS as u32
}

/// Elements that end later than this many ticks from now (18 years) never make room.
pub(super) const LATEST: u32 = 1 << 31;

/// Which of a bucket's elements ends first, and when, ticks from now; those before it that were found elsewhere, `best`, included:
/// then the place is [`WAYS`]. Elements that never end are not among them. Without a branch, see [`Lines::is_below`].
#[inline(always)]
pub(super) fn first_to_end<S: Lines>(set: &S, line: S::Line, tick: u32, best: u32) -> (u32, u32) {
    let (mut at, mut least) = (WAYS as u32, best);
    for slot in 0..WAYS {
        let left = low(line.load(slot)).wrapping_sub(tick).wrapping_sub(1);
        let is_less = 0_u32.wrapping_sub(set.is_below(left, least));
        least = least & !is_less | left & is_less;
        at = at & !is_less | slot as u32 & is_less;
    }
    (at, least)
}

/// Is this the key in a place?
#[inline(always)]
pub fn is_key<S: Lines>(set: &S, (key, form, keys): (&Key, Form, u32), place: u32) -> Option<bool> {
    let (line, first) = form.key(place);
    let line = set.line(keys + line)?;
    let mut different = 0;
    for pair in 0..KEY_WORDS / 2 {
        if pair as u32 * 2 >= form.key_words() {
            break;
        }
        different |= line.load((first + pair) & 7) ^ pair_of(key, pair, form.key_words());
    }
    Some(different == 0)
}

/// Two words of a key as they are stored.
#[inline(always)]
pub(super) fn pair_of(key: &Key, pair: usize, words: u32) -> u64 {
    let second = if pair as u32 * 2 + 1 < words { key[(pair * 2 + 1) & 15] } else { 0 };
    u64::from(key[(pair * 2) & 15]) | u64::from(second) << 32
}

/// Is the element that was found still there? Asked after its data were read: the place may have gone to another one
/// meanwhile.
#[inline(always)]
pub fn is_still<S: Lines>(set: &S, probe: &Probe) -> Option<bool> {
    let word = set.line(FIRST + probe.place / STRIDE)?.load((probe.place % STRIDE) as usize & 7);
    Some(high(word) == probe.tag && low(word) > probe.tick)
}
