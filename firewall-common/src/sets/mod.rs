//! Named sets and maps: memory that packets and user space share.
//!
//! A set is an array of lines of 64 bytes, one cache line each. User space makes it to measure, maps it into its own
//! memory and changes single words of it; programs look keys up and, where rules say so, change it too. The same
//! functions run on both sides: what differs is only how a word is reached, [`Line`].
//!
//! ```text
//! line 0         what the set is, how many elements it has
//! line 1         secret numbers of the hash
//! line 4..       hash:   buckets | keys | extras
//!                ranges: directory | blocks
//! ```
//!
//! [`hash`] holds single keys, with timeouts, counters and data; [`ranges`] holds plain intervals of up to 32 bits;
//! [`shapes`] holds all other intervals: as prefixes in a hash, looked up once for each shape that prefixes have.
//!
//! **What may race.** Every change takes effect by one store or one compare-and-swap of one word. A reader sees the
//! element or does not see it; data and key are written before the word that publishes them and never change after.
//! A place that is given to another element while it is read is noticed by its word, which is read again.

pub mod change;
pub mod connections;
pub mod hash;
pub mod meter;
pub mod ranges;
pub mod run;
pub mod shapes;

/// Words of a key: 60 bytes, and one for the shape.
pub const KEY_WORDS: usize = 16;
/// Words of a line.
pub const LINE_WORDS: usize = 8;
/// Bytes of a line.
pub const LINE: usize = LINE_WORDS * 8;
/// Sets that an instance has room for, those included that no ruleset names ([`crate::guard`]).
pub const MAX_SETS: u32 = 1024;
/// Sets that rulesets have room for.
pub const MAX_NAMED_SETS: u32 = MAX_SETS - 2;
/// Where a set's contents start.
pub const FIRST: u32 = 4;
/// Words of data that a map gives at most.
pub const DATA_WORDS: usize = 8;

/// A key: its words, the rest zero.
pub type Key = [u32; KEY_WORDS];

/// One line. Words are read and written whole.
pub trait Line: Copy {
    /// A word.
    fn load(self, word: usize) -> u64;
    /// Stores a word that nobody else writes, or whose writers do not mind.
    fn store(self, word: usize, value: u64);
    /// Stores a word if it is `old`; says whether it was. A full barrier.
    fn exchange(self, word: usize, old: u64, new: u64) -> bool;
    /// Adds to a word.
    fn add(self, word: usize, value: u64);
    /// The same; what it was before.
    fn fetch_add(self, word: usize, value: u64) -> u64;
}

/// A set's lines.
pub trait Lines {
    /// How one is reached.
    type Line: Line;
    /// Line `index`, if there is such a one.
    fn line(&self, index: u32) -> Option<Self::Line>;
    /// Is `last < value`? 1 or 0, found without a branch.
    #[inline(always)]
    fn is_below(&self, last: u32, value: u32) -> u32 {
        u32::from(last < value)
    }
    /// Is the upper half of a slot the tag, and does its element end after the tick? 1 or 0.
    #[inline(always)]
    fn is_live(&self, word: u64, tag: u32, tick: u32) -> u32 {
        u32::from(high(word) == tag && low(word) > tick)
    }
    /// Does an element that has an end make room for another one when the set is full?
    #[inline(always)]
    fn evicts(&self) -> bool {
        false
    }
    /// Reads a number that was stored; in the kernel the verifier then knows nothing about it.
    #[inline(always)]
    fn forget(&self, value: &u32) -> u32 {
        *value
    }
}

/// Word 0 of line 0: buckets (or entries of the directory, or shapes), and how many elements there may be.
pub const SIZES: usize = 0;
/// Word 1 of line 0: the line where keys start, and where extras start.
pub const PLACES: usize = 1;
/// Word 2 of line 0: [`Form`].
pub const FORM: usize = 2;
/// Word 3 of line 0: elements, those that have ended and were not yet removed included.
pub const COUNT: usize = 3;
/// Word 4 of line 0: the bucket that is looked through next for elements that have ended.
pub const SWEEP_AT: usize = 4;
/// Word 5 of line 0: lines in use (ranges), or buckets of the shapes' hash.
pub const USED: usize = 5;
/// Word 6 of line 0: the line where the connections of elements start, and how many lines each element has.
pub const MEMBERS: usize = 6;
/// Word 7 of line 0: the secret factor by which tags are spread over buckets. It stands here, so that a look-up for a key of
/// one word does not read line 1.
pub const FACTOR: usize = 7;

/// What a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`hash`]
    Hash = 1,
    /// [`ranges`]
    Ranges = 2,
    /// [`shapes`]
    Shapes = 3,
}

/// What a set is and what its elements have, in one word.
///
/// | bits | what |
/// |---|---|
/// | 0..8 | [`Kind`] |
/// | 8..13 | words of a key |
/// | 16..18 | a key takes 1 << n words of 64 bits |
/// | 18 | keys have lines of their own: else the key is in the slot |
/// | 24..26 | extras take 1 << n words of 64 bits |
/// | 26 | there are extras |
/// | 32..37 | words of data, at the start of the extras |
/// | 40..43, 43 | where the counter is among the extras; is there one |
/// | 44..47, 47 | where the timeout is; is there one |
/// | 48..51, 51 | where the first limit or quota is; is there one |
/// | 52..55, 55 | where the number of the interval is; is there one |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form(pub u64);

impl Form {
    #[inline(always)]
    const fn bits(self, from: u32, count: u32) -> u32 {
        (self.0 >> from) as u32 & ((1 << count) - 1)
    }

    /// [`Kind`] as a number.
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        self.bits(0, 8)
    }

    /// Words of a key.
    #[inline(always)]
    pub const fn key_words(self) -> u32 {
        self.bits(8, 5)
    }

    /// Do keys have lines of their own?
    #[inline(always)]
    pub const fn has_keys(self) -> bool {
        self.bits(18, 1) != 0
    }

    /// Line and word of the key in `place`.
    #[inline(always)]
    pub const fn key(self, place: u32) -> (u32, usize) {
        within(place, self.bits(16, 2))
    }

    /// Are there extras?
    #[inline(always)]
    pub const fn has_extras(self) -> bool {
        self.bits(26, 1) != 0
    }

    /// Line and first word of the extras in `place`.
    #[inline(always)]
    pub const fn extras(self, place: u32) -> (u32, usize) {
        within(place, self.bits(24, 2))
    }

    /// Words that the extras of one element take.
    #[inline(always)]
    pub const fn extra_words(self) -> u32 {
        1 << self.bits(24, 2)
    }

    /// Words of data.
    #[inline(always)]
    pub const fn data_words(self) -> u32 {
        self.bits(32, 5)
    }

    /// Where the counter is among the extras.
    #[inline(always)]
    pub const fn counter(self) -> Option<usize> {
        self.at(40)
    }

    /// Where the timeout is among the extras, milliseconds.
    #[inline(always)]
    pub const fn timeout(self) -> Option<usize> {
        self.at(44)
    }

    /// Where the first limit or quota is among the extras.
    #[inline(always)]
    pub const fn cells(self) -> Option<usize> {
        self.at(48)
    }

    /// Where the number of the interval is among the extras that a prefix is part of.
    #[inline(always)]
    pub const fn interval(self) -> Option<usize> {
        self.at(52)
    }

    #[inline(always)]
    const fn at(self, from: u32) -> Option<usize> {
        if self.bits(from + 3, 1) != 0 { Some(self.bits(from, 3) as usize) } else { None }
    }
}

/// Line and word of the entry with number `place` when each takes `1 << log` words.
#[inline(always)]
const fn within(place: u32, log: u32) -> (u32, usize) {
    let first = (place as u64) << log;
    ((first >> 3) as u32, (first & 7) as usize)
}

/// Multiplies a hash into a range, without a division.
#[inline(always)]
pub(crate) const fn reduce(hash: u32, range: u32) -> u32 {
    ((hash as u64 * range as u64) >> 32) as u32
}

/// The line where extras start.
#[inline(always)]
pub fn extras_at<S: Lines>(set: &S) -> Option<u32> {
    Some(high(set.line(0)?.load(PLACES)))
}

/// The lower half of a word.
#[inline(always)]
pub(crate) const fn low(word: u64) -> u32 {
    word as u32
}

/// The upper half of a word.
#[inline(always)]
pub(crate) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(any(test, feature = "user"))]
pub mod make;
#[cfg(any(test, feature = "user"))]
pub mod make_ranges;
#[cfg(any(test, feature = "user"))]
pub mod make_shapes;
#[cfg(test)]
mod tests;
