//! Splitting intervals into prefixes, and giving shapes their numbers.

use super::{
    KEY_WORDS, Key, Line, Lines, USED, high, low,
    shapes::{self, MAX_SHAPES},
};

/// Prefixes that one element may be split into.
pub const MAX_PREFIXES: usize = 4096;

/// The prefixes that an interval of numbers of `bits` bits is made of: lowest value and bits that do not count.
pub fn prefixes(mut lowest: u128, highest: u128, bits: u32) -> Vec<(u128, u128)> {
    let max = u128::MAX >> (128 - bits);
    let mut found = Vec::new();
    loop {
        let mut host = if lowest == 0 { max } else { (lowest & lowest.wrapping_neg()) - 1 };
        while host != 0 && (host > max || lowest + host > highest) {
            host >>= 1;
        }
        found.push((lowest, host));
        if lowest + host >= highest {
            return found;
        }
        lowest += host + 1;
    }
}

/// A prefix of a whole key, and its mask.
pub type Prefix = (Key, Key);

/// The prefixes of a key whose parts are these: each a list of words and masks. The first word is left to the shape.
pub fn product(parts: &[Vec<(Vec<u32>, Vec<u32>)>]) -> Option<Vec<Prefix>> {
    let count = parts.iter().try_fold(1_usize, |count, part| count.checked_mul(part.len()))?;
    if count > MAX_PREFIXES {
        return None;
    }
    let mut found: Vec<Prefix> = vec![([0; KEY_WORDS], [0; KEY_WORDS])];
    let mut at = 1;
    for part in parts {
        let width = part.first().map_or(0, |(words, _)| words.len());
        let longer = |(key, mask): &Prefix| -> Vec<Prefix> {
            let one = |(words, masks): &(Vec<u32>, Vec<u32>)| {
                let (mut key, mut mask) = (*key, *mask);
                key[at..at + width].copy_from_slice(words);
                mask[at..at + width].copy_from_slice(masks);
                (key, mask)
            };
            part.iter().map(one).collect()
        };
        found = found.iter().flat_map(longer).collect();
        at += width;
    }
    Some(found)
}

/// The number of a shape that there is.
pub fn known<S: Lines>(set: &S, mask: &Key) -> Option<u32> {
    let (count, first) = shapes::shapes(set)?;
    (0..count).find(|number| set.line(first + number).is_some_and(|line| read(line) == *mask))
}

/// The number of a shape, which is added when there is room and it is new.
pub fn number<S: Lines>(set: &S, mask: &Key) -> Option<u32> {
    if let Some(number) = known(set, mask) {
        return Some(number);
    }
    let (count, first) = shapes::shapes(set)?;
    if count >= MAX_SHAPES {
        return None;
    }
    let line = set.line(first + count)?;
    for pair in 0..KEY_WORDS / 2 {
        line.store(pair, u64::from(mask[pair * 2]) | u64::from(mask[pair * 2 + 1]) << 32);
    }
    set.line(0)?.store(USED, u64::from(count + 1) | u64::from(first) << 32);
    Some(count)
}

/// The mask of a shape.
pub fn mask<S: Lines>(set: &S, number: u32) -> Option<Key> {
    let (_, first) = shapes::shapes(set)?;
    Some(read(set.line(first + number)?))
}

fn read<L: Line>(line: L) -> Key {
    let mut mask = [0; KEY_WORDS];
    for pair in 0..KEY_WORDS / 2 {
        let word = line.load(pair);
        (mask[pair * 2], mask[pair * 2 + 1]) = (low(word), high(word));
    }
    mask
}
