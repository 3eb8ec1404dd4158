//! Intervals that are longer than 32 bits, have several parts, or have data, counters or timeouts.
//!
//! Every interval is a few prefixes, and a prefix is a key that ends early: what its bits are compared under is its
//! shape. All prefixes stand in one [`hash`], the number of the shape in front of the bits that count. A packet is looked
//! up once for each shape that there is, with the other bits taken away.

use super::{FORM, Form, KEY_WORDS, Line, Lines, USED, hash, high, low, run::Scratch};

/// Shapes of a set.
pub const MAX_SHAPES: u32 = 256;

/// How many shapes there are, and the line of the first one.
#[inline(always)]
pub fn shapes<S: Lines>(set: &S) -> Option<(u32, u32)> {
    let used = set.line(0)?.load(USED);
    Some((low(used), high(used)))
}

/// Prepares for looking the whole key up; how many shapes there are.
#[inline(always)]
pub fn begin<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<u32> {
    let (count, _) = shapes(set)?;
    (scratch.shape, scratch.looked) = (0, 0);
    scratch.probe.place = hash::NOWHERE;
    scratch.shapes = if count > MAX_SHAPES { MAX_SHAPES } else { count };
    Some(scratch.shapes)
}

/// Looks into one more bucket; `true` when that was the last one that is worth it.
#[inline(always)]
pub fn look<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<bool> {
    if scratch.looked == 0 {
        mask(set, scratch)?;
        hash::begin(set, scratch)?;
    }
    let is_done = hash::look(set, scratch.looked, scratch)?;
    if set.forget(&scratch.probe.place) != hash::NOWHERE {
        return Some(true);
    }
    scratch.looked += 1;
    if is_done || scratch.looked >= hash::MAX_PROBES {
        scratch.looked = 0;
        scratch.shape += 1;
    }
    Some(scratch.shape >= scratch.shapes)
}

/// The whole key as the shape sees it: its number, then the bits that count.
#[inline(always)]
fn mask<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<()> {
    let (_, first) = shapes(set)?;
    let line = set.line(first + scratch.shape)?;
    let words = Form(set.line(0)?.load(FORM)).key_words();
    for pair in 0..KEY_WORDS / 2 {
        if pair as u32 * 2 >= words {
            break;
        }
        let masks = line.load(pair);
        scratch.key[pair * 2] = scratch.whole[pair * 2] & low(masks);
        scratch.key[pair * 2 + 1] = scratch.whole[pair * 2 + 1] & high(masks);
    }
    scratch.key[0] = scratch.shape + 1;
    Some(())
}

/// Finds the prefix that the whole key is in: its place, or [`hash::NOWHERE`], is in `scratch.probe`.
pub fn find<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<()> {
    for _ in 0..begin(set, scratch)? * hash::MAX_PROBES {
        if look(set, scratch)? {
            break;
        }
    }
    Some(())
}
