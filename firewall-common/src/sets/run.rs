//! What a rule does with a set: the parts that do not depend on where memory is.

use super::{
    DATA_WORDS, FORM, Form, KEY_WORDS, Key, Kind, LINE_WORDS, Line, Lines, PLACES, change as element,
    hash::{self, NOWHERE, Probe},
    high, low, ranges, shapes,
};
use crate::{
    image::{COUNTS_LATER, Insn},
    packet::{Field, Packet, WORDS},
};

/// What is gathered for a set before it is looked into, and how far that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Scratch {
    /// The key.
    pub key: Key,
    /// For a set with shapes, the key before it is masked.
    pub whole: Key,
    /// What stands beside the key, such as the data of a map: two words in one.
    pub extras: [u64; LINE_WORDS],
    /// Where the look-up stands.
    pub probe: Probe,
    /// The set that is looked into.
    pub set: u32,
    /// The shape that is looked for.
    pub shape: u32,
    /// Buckets that were looked into for it.
    pub looked: u32,
    /// How many shapes there are.
    pub shapes: u32,
    /// Part of the change that is being made.
    pub phase: u32,
    /// What it goes on with.
    pub next: u32,
    /// The place that the element got.
    pub mine: u32,
    /// What is done with the element: [`element::ADD`] and so on.
    pub operation: u32,
    /// What came of it.
    pub answer: u32,
    /// Is a look-up being gone on with?
    pub looking: u32,
    /// The hash of a connection that is asked about.
    pub asked: u64,
    /// Is counting of connections being gone on with?
    pub counting: u32,
    /// Connections that were counted.
    pub counted: u32,
    /// Where there is room for one more, from 1.
    pub vacant: u32,
    /// Was the packet's own connection among them? 0 or 1.
    pub is_member: u32,
    /// Where the packet's own connection was noted though it is not in the table yet: the set, one more than its number,
    /// and which member it is of all.
    pub noted: [u32; 2],
}

crate::shared!(Scratch = 320);

/// Word of [`Scratch`], as [`crate::image::Op::Key`] counts them, where data start.
pub const DATA: u32 = KEY_WORDS as u32;
/// Word of [`Scratch`] where a key of a set with shapes starts: its first word is the shape's.
pub const WHOLE: u32 = 2 * KEY_WORDS as u32 + 1;

impl Scratch {
    /// Nothing gathered.
    pub const EMPTY: Self = Self {
        key: [0; KEY_WORDS],
        whole: [0; KEY_WORDS],
        extras: [0; LINE_WORDS],
        probe: Probe {
            form: 0,
            gone: 0,
            tag: 0,
            spread: 0,
            buckets: 0,
            keys: 0,
            extras: 0,
            place: 0,
            expires: 0,
            tick: 0,
            gone_at: 0,
            left: 0,
        },
        set: 0,
        shape: 0,
        looked: 0,
        shapes: 0,
        phase: 0,
        next: 0,
        mine: 0,
        operation: 0,
        answer: 0,
        looking: 0,
        asked: 0,
        counting: 0,
        counted: 0,
        vacant: 0,
        is_member: 0,
        noted: [0; 2],
    };

    /// Carries out [`crate::image::Op::Key`].
    #[inline(always)]
    pub fn gather(&mut self, insn: &Insn, packet: &Packet) {
        if insn.low == 0 {
            return self.put(insn.extra, insn.mask);
        }
        self.copy(insn, packet, (insn.low, insn.high, insn.extra));
    }

    /// Copies `count` words of the packet, masked and shifted, to word `at`.
    #[inline(always)]
    pub fn copy(&mut self, insn: &Insn, packet: &Packet, (count, shift, at): (u32, u32, u32)) {
        for nth in 0..4 {
            if nth >= count {
                break;
            }
            let word = packet.words[(insn.field as usize + nth as usize) & (WORDS - 1)];
            self.put(at + nth, (word & insn.mask) >> (shift & 31));
        }
    }

    /// A word of the key, of the data or of the whole key.
    #[inline(always)]
    fn put(&mut self, at: u32, value: u32) {
        let index = at as usize & (KEY_WORDS - 1);
        if at < DATA {
            self.key[index] = value;
        } else if at < 2 * DATA {
            let (word, shift) = (index / 2, at % 2 * 32);
            self.extras[word] = self.extras[word] & !(0xffff_ffff << shift) | u64::from(value) << shift;
        } else {
            self.whole[index] = value;
        }
    }
}

/// It is not in the set.
pub const NO: u32 = 0;
/// It is.
pub const YES: u32 = 1;
/// The set is broken.
pub const BROKEN: u32 = 2;
/// It is not known yet: look further.
pub const AGAIN: u32 = 3;

/// Carries out [`crate::image::Op::LookUp`] as far as one bucket goes. Going on is left to whoever runs instructions: a
/// loop of its own would need stack, of which programs have little. What is found must be told to [`met`], if the
/// instruction says [`crate::image::HAS_EXTRAS`]. `SHAPES`: what it says by [`crate::image::HAS_SHAPES`].
#[inline(always)]
pub fn look_up<S: Lines, const SHAPES: bool>(set: &S, insn: &Insn, packet: &Packet, scratch: &mut Scratch) -> u32 {
    let answer = look_further::<S, SHAPES>(set, insn, packet, scratch).unwrap_or(BROKEN);
    scratch.looking = u32::from(answer == AGAIN);
    answer
}

#[inline(always)]
fn look_further<S: Lines, const SHAPES: bool>(
    set: &S,
    insn: &Insn,
    packet: &Packet,
    scratch: &mut Scratch,
) -> Option<u32> {
    if scratch.looking == 0 {
        let words = insn.high & 0xff;
        if words != 0 {
            scratch.copy(insn, packet, (words, insn.high >> 8, insn.extra >> 8 & 0xff));
        }
        scratch.looked = 0;
        if !SHAPES && Form(set.line(0)?.load(FORM)).kind() == Kind::Ranges as u32 {
            return ranges::contains(set, scratch.key[0]);
        }
        if SHAPES {
            shapes::begin(set, scratch)?;
        } else {
            hash::begin(set, scratch)?;
        }
    }
    let is_done = if SHAPES { shapes::look(set, scratch)? } else { hash::look(set, scratch.looked, scratch)? };
    if set.forget(&scratch.probe.place) != NOWHERE {
        return Some(YES);
    }
    if SHAPES {
        return Some(if is_done { NO } else { AGAIN });
    }
    scratch.looked += 1;
    Some(if is_done || scratch.looked >= hash::MAX_PROBES { NO } else { AGAIN })
}

/// What happens with an element that was found: it is counted, and its data go into the packet's words. [`YES`] if it
/// still is the one that was found.
#[inline(always)]
pub fn met<S: Lines>(set: &S, insn: &Insn, packet: &mut Packet, scratch: &Scratch) -> u32 {
    let (to, length) = (insn.extra & 0xff, packet.get(Field::Length));
    match try_met(set, scratch, packet, (to, length, insn.extra & COUNTS_LATER == 0)) {
        None => BROKEN,
        Some(is_still) => u32::from(is_still),
    }
}

#[inline(always)]
fn try_met<S: Lines>(
    set: &S,
    scratch: &Scratch,
    packet: &mut Packet,
    (to, length, insn_counts): (u32, u32, bool),
) -> Option<bool> {
    let head = set.line(0)?;
    let form = Form(head.load(FORM));
    let (line, first) = form.extras(scratch.probe.place);
    let line = set.line(high(head.load(PLACES)) + line)?;
    if let Some(counter) = form.counter().filter(|_| insn_counts) {
        line.add((first + counter) & 7, 1);
        line.add((first + counter + 1) & 7, u64::from(length));
    }
    for pair in 0..DATA_WORDS / 2 {
        if pair as u32 * 2 >= form.data_words() {
            break;
        }
        let data = line.load((first + pair) & 7);
        packet.words[(to as usize + pair * 2) & (WORDS - 1)] = low(data);
        if pair as u32 * 2 + 1 < form.data_words() {
            packet.words[(to as usize + pair * 2 + 1) & (WORDS - 1)] = high(data);
        }
    }
    hash::is_still(set, &scratch.probe)
}

/// Carries out a step of [`crate::image::Op::Change`]: [`YES`], [`NO`] when there is no room, or [`AGAIN`]. `PLACES`: see
/// [`hash::change`].
#[inline(always)]
pub fn change<S: Lines, const PLACES: bool>(
    set: &S,
    insn: &Insn,
    packet: &Packet,
    (timeout, scratch): (u64, &mut Scratch),
) -> u32 {
    if !PLACES && scratch.phase == 0 && begin_change(set, insn, (timeout, scratch)).is_none() {
        return BROKEN;
    }
    match element::change::<S, PLACES>(set, scratch) {
        None => BROKEN,
        Some(element::AGAIN) => AGAIN,
        Some(element::FULL) => NO,
        Some(_) if count_change(set, insn, packet, scratch).is_none() => BROKEN,
        Some(_) => YES,
    }
}

#[inline(always)]
fn begin_change<S: Lines>(set: &S, insn: &Insn, (timeout, scratch): (u64, &mut Scratch)) -> Option<()> {
    let form = Form(set.line(0)?.load(FORM));
    scratch.operation = insn.extra & 3;
    scratch.probe.expires = if insn.high == hash::NEVER { hash::NEVER } else { scratch.probe.tick + insn.high };
    if let Some(counter) = form.counter() {
        scratch.extras[counter & 7] = 0;
        scratch.extras[(counter + 1) & 7] = 0;
    }
    if let Some(at) = form.cells() {
        scratch.extras[at & 7] = 0;
        if at < 7 {
            scratch.extras[(at + 1) & 7] = 0;
        }
    }
    if let Some(at) = form.timeout() {
        scratch.extras[at & 7] = timeout;
    }
    Some(())
}

/// The packet is counted by the element that it made or met.
#[inline(always)]
fn count_change<S: Lines>(set: &S, insn: &Insn, packet: &Packet, scratch: &Scratch) -> Option<()> {
    let head = set.line(0)?;
    let form = Form(head.load(FORM));
    if let Some(counter) =
        form.counter().filter(|_| insn.extra & 3 != element::DELETE && insn.extra & COUNTS_LATER == 0)
    {
        let (line, first) = form.extras(scratch.probe.place);
        let line = set.line(high(head.load(PLACES)) + line)?;
        line.add((first + counter) & 7, 1);
        line.add((first + counter + 1) & 7, u64::from(packet.get(Field::Length)));
    }
    Some(())
}
