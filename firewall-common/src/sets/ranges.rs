//! Plain intervals of up to 32 bits: a directory by the upper 16 bits, and blocks for the lower ones.
//!
//! An entry of the directory is a number of 32 bits: `| line 29 | first 1 | what 2 |`.
//!
//! | what | means |
//! |---|---|
//! | 0 | all 65,536 values are like `first` |
//! | 1 | a line of up to 32 borders of 16 bits, behind each of which it changes between in and out; `first`: what is in front |
//! | 2 | a line of 16 entries, for the next 4 bits |
//! | 3 | eight lines of 4,096 bits, one a value; only below 2 |
//!
//! So a look-up reads two lines, or four where borders are dense; the first is one of 256 KiB for all IPv4 addresses, and
//! mostly in the cache. User space never changes a block that is in use: it writes a new one and then the entry.

use super::{FIRST, Line, Lines, SIZES, high, low};

/// All values are alike.
pub const ALIKE: u32 = 0;
/// A line of borders.
pub const BORDERS: u32 = 1;
/// A line of entries.
pub const ENTRIES: u32 = 2;
/// Lines of bits.
pub const BITS: u32 = 3;
/// Entries of a line.
pub const PER_LINE: u32 = 16;
/// Borders of a line; those that are not needed are [`NO_BORDER`].
pub const MAX_BORDERS: usize = 32;
/// A border that no value is behind.
pub const NO_BORDER: u16 = u16::MAX;

/// The lower 16 bits of each half of a word.
const LANES: u64 = 0x0000_ffff_0000_ffff;

/// Is the value in the set? 1 or 0.
#[inline(always)]
pub fn contains<S: Lines>(set: &S, value: u32) -> Option<u32> {
    let index = value >> 16;
    if index >= low(set.line(0)?.load(SIZES)) {
        return Some(0);
    }
    let mut entry = entry(set.line(FIRST + index / PER_LINE)?, index % PER_LINE);
    if entry & 3 == ENTRIES {
        entry = self::entry(set.line(entry >> 3)?, value >> 12 & 15);
        if entry & 3 == BITS {
            let line = set.line((entry >> 3) + (value >> 9 & 7))?;
            return Some((line.load((value >> 6 & 7) as usize) >> (value & 63)) as u32 & 1);
        }
    }
    let first = entry >> 2 & 1;
    if entry & 3 == BORDERS { Some(first ^ passed(set.line(entry >> 3)?, value & 0xffff)) } else { Some(first) }
}

/// Entry `index` of a line.
#[inline(always)]
pub fn entry<L: Line>(line: L, index: u32) -> u32 {
    (line.load((index / 2) as usize & 7) >> (index % 2 * 32)) as u32
}

/// Is the number of borders in front of a value odd? Four at a time: above each, 0x10000 + value - 1 - border has its
/// seventeenth bit when the border is in front.
#[inline(always)]
fn passed<L: Line>(line: L, value: u32) -> u32 {
    let above = (u64::from(0xffff + value)) * 0x0000_0001_0000_0001;
    let mut odd = 0;
    for word in 0..8 {
        let borders = line.load(word);
        odd ^= above.wrapping_sub(borders & LANES) ^ above.wrapping_sub(borders >> 16 & LANES);
    }
    (low(odd) ^ high(odd)) >> 16 & 1
}
