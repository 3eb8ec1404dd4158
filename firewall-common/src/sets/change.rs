//! Changing a set of [`super::hash`]: a machine of small steps, each of which looks at one bucket.

use super::{
    COUNT, FIRST, Form, KEY_WORDS, LINE_WORDS, Line, Lines, SIZES, SWEEP_AT,
    hash::{
        self, HELD, LATEST, MAX_PROBES, NEVER, NOWHERE, PASSED, Probe, STRIDE, WAYS, begin, bucket, free, look,
        pair_of, spread,
    },
    high, low,
    run::Scratch,
};

/// Buckets that are looked through for elements that have ended whenever one is added to a full set.
const SWEPT: u32 = MAX_PROBES;

/// What is done with an element.
pub const ADD: u32 = 0;
/// The same, and one that is there lives as long as a new one.
pub const UPDATE: u32 = 1;
/// It is taken out.
pub const DELETE: u32 = 2;

/// It was not there; when it was added, it is now.
pub const NEW: u32 = 0;
/// It was there.
pub const KNOWN: u32 = 1;
/// There is no room.
pub const FULL: u32 = 2;
/// It is not known yet: go on.
pub const AGAIN: u32 = 3;

/// Parts of a change, each of which looks at one bucket a step.
const START: u32 = 0;
const LOOK: u32 = 1;
const SWEEP: u32 = 2;
const CLAIM: u32 = 3;
const VERIFY: u32 = 4;
const LEAVE: u32 = 5;
const WRITE: u32 = 6;
const END: u32 = 7;

/// A slot.
#[inline(always)]
pub const fn slot_word(tag: u32, expires: u32) -> u64 {
    (tag as u64) << 32 | expires as u64
}

/// One step of adding, updating or deleting what was gathered, until `scratch.probe.expires`. To be called until it
/// answers something else than [`AGAIN`]: loops of its own would need stack, of which programs have little.
///
/// `PLACES`: only those steps that look for a place, see [`looks_for_place`]; else only the others. In the kernel the two
/// are functions of their own, for the same reason.
#[inline(always)]
pub fn change<S: Lines, const PLACES: bool>(set: &S, scratch: &mut Scratch) -> Option<u32> {
    let phase = set.forget(&scratch.phase);
    if PLACES && phase == WRITE {
        write(set, scratch)?;
        publish(set, scratch)?;
    } else if PLACES && phase == LEAVE {
        change_left(set, scratch)?;
    } else if PLACES {
        let is_taken = take_free(set, scratch)?;
        scratch.looked += 1;
        if set.forget(&scratch.phase) == SWEEP {
            change_swept(set, scratch, is_taken)?;
        } else {
            change_claimed(set, scratch, is_taken)?;
        }
    } else if phase == START {
        begin(set, scratch)?;
        scratch.answer = AGAIN;
        go_on(scratch, LOOK);
    } else {
        let is_done = look(set, scratch.looked, scratch)?;
        scratch.looked += 1;
        let is_done = is_done || scratch.looked >= MAX_PROBES;
        if set.forget(&scratch.phase) == LOOK {
            change_looked(set, scratch, is_done)?;
        } else {
            change_verified(set, scratch, is_done)?;
        }
    }
    if set.forget(&scratch.phase) != END {
        return Some(AGAIN);
    }
    scratch.phase = START;
    Some(scratch.answer)
}

/// Is the next step of a change one that looks for a place, or sees to one?
#[inline(always)]
pub const fn looks_for_place(phase: u32) -> bool {
    phase == SWEEP || phase == CLAIM || phase == WRITE || phase == LEAVE
}

/// A whole change.
pub fn change_whole<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<u32> {
    loop {
        let places = looks_for_place(scratch.phase);
        let answer = if places { change::<S, true>(set, scratch)? } else { change::<S, false>(set, scratch)? };
        if answer != AGAIN {
            return Some(answer);
        }
    }
}

#[inline(always)]
const fn go_on(scratch: &mut Scratch, phase: u32) {
    scratch.phase = phase;
    scratch.looked = 0;
}

/// The change is over, but for what must be counted out first.
#[inline(always)]
const fn end(scratch: &mut Scratch, answer: u32) {
    scratch.answer = answer;
    scratch.phase = END;
}

/// What is gone is counted out, then it goes on with `next`.
#[inline(always)]
fn leave<S: Lines>(set: &S, scratch: &mut Scratch, next: u32) -> Option<()> {
    set.line(0)?.add(COUNT, u64::MAX);
    scratch.next = next;
    go_on(scratch, LEAVE);
    Some(())
}

#[inline(always)]
fn change_looked<S: Lines>(set: &S, scratch: &mut Scratch, is_done: bool) -> Option<()> {
    let place = set.forget(&scratch.probe.place);
    if place != NOWHERE {
        return change_known(set, scratch, place);
    }
    if !is_done {
        return Some(());
    }
    if scratch.operation == DELETE {
        end(scratch, NEW);
        return Some(());
    }
    scratch.probe.gone = 0;
    scratch.probe.left = LATEST;
    let head = set.line(0)?;
    if low(head.load(COUNT)) >= high(head.load(SIZES)) {
        go_on(scratch, SWEEP);
    } else {
        head.add(COUNT, 1);
        go_on(scratch, CLAIM);
    }
    Some(())
}

#[inline(always)]
fn change_known<S: Lines>(set: &S, scratch: &mut Scratch, place: u32) -> Option<()> {
    scratch.answer = KNOWN;
    if scratch.operation == DELETE {
        return take(set, place, scratch);
    }
    if scratch.operation == UPDATE {
        renew(set, &scratch.probe)?;
    }
    end(scratch, KNOWN);
    Some(())
}

/// An element that had ended was taken out: a full set gets room that way, without anybody who comes by in the meantime.
/// Where sets evict, it is the one that would end first of those that were looked at, if none had ended.
#[inline(always)]
fn change_swept<S: Lines>(set: &S, scratch: &mut Scratch, is_taken: bool) -> Option<()> {
    let is_taken = is_taken || (scratch.looked >= SWEPT && set.evicts() && evict(set, scratch)?);
    if is_taken {
        // The element that comes takes the place in the count of the one that went.
        set.line(0)?.add(COUNT, 1);
        scratch.probe.place = NOWHERE;
        return leave(set, scratch, CLAIM);
    }
    if scratch.looked >= SWEPT {
        scratch.probe.place = NOWHERE;
        end(scratch, FULL);
    }
    Some(())
}

/// Takes out the element that would end first, unless something has happened to it meanwhile.
#[inline(always)]
fn evict<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<bool> {
    let Probe { place, left, tick, .. } = scratch.probe;
    if set.forget(&place) == NOWHERE {
        return Some(false);
    }
    let line = set.line(FIRST + place / STRIDE)?;
    let slot = (place % STRIDE) as usize & 7;
    let word = line.load(slot);
    if low(word).wrapping_sub(tick).wrapping_sub(1) != left || !line.exchange(slot, word, 0) {
        return Some(false);
    }
    (scratch.probe.gone, scratch.probe.gone_at) = (word, place / STRIDE);
    Some(true)
}

/// A place is held, or the bucket was full.
#[inline(always)]
fn change_claimed<S: Lines>(set: &S, scratch: &mut Scratch, is_taken: bool) -> Option<()> {
    if is_taken {
        go_on(scratch, WRITE);
    } else if scratch.looked >= MAX_PROBES {
        // It went past all buckets, and is gone.
        scratch.probe.gone = slot_word(scratch.probe.tag, NEVER);
        scratch.probe.gone_at = NOWHERE;
        scratch.answer = FULL;
        return leave(set, scratch, END);
    }
    Some(())
}

/// The element that was written into the place that is held is there from now on.
#[inline(always)]
fn publish<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<()> {
    let Probe { tag, expires, place, .. } = scratch.probe;
    let line = set.line(FIRST + place / STRIDE)?;
    line.exchange((place % STRIDE) as usize & 7, slot_word(tag, HELD), slot_word(tag, expires));
    scratch.mine = place;
    scratch.probe.place = NOWHERE;
    if set.forget(&low_of(scratch.probe.gone)) != 0 {
        return leave(set, scratch, VERIFY);
    }
    go_on(scratch, VERIFY);
    Some(())
}

/// The lower half, as something that can be read back.
#[inline(always)]
const fn low_of(word: u64) -> u32 {
    word as u32
}

/// Another CPU may have put the same element into a place that is found first: then that is the one.
#[inline(always)]
fn change_verified<S: Lines>(set: &S, scratch: &mut Scratch, is_done: bool) -> Option<()> {
    let (first, mine) = (set.forget(&scratch.probe.place), scratch.mine);
    if first == NOWHERE && !is_done {
        return Some(());
    }
    if first == NOWHERE || first == mine {
        scratch.probe.place = mine;
        end(scratch, NEW);
        return Some(());
    }
    scratch.answer = KNOWN;
    take(set, mine, scratch)
}

#[inline(always)]
fn change_left<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<()> {
    let is_done = unpass(set, scratch.looked, scratch)?;
    scratch.looked += 1;
    if is_done || scratch.looked >= MAX_PROBES {
        let next = scratch.next;
        go_on(scratch, next);
    }
    Some(())
}

/// Lets an element live as long as a new one, unless something else happens to it meanwhile.
#[inline(always)]
fn renew<S: Lines>(set: &S, probe: &Probe) -> Option<()> {
    let line = set.line(FIRST + probe.place / STRIDE)?;
    let slot = (probe.place % STRIDE) as usize & 7;
    let word = line.load(slot);
    if high(word) == probe.tag && low(word) > probe.tick && low(word) != probe.expires {
        line.exchange(slot, word, slot_word(probe.tag, probe.expires));
    }
    Some(())
}

/// Takes a place of one bucket: a free one or that of an element that has ended, to hold it; when sweeping, only the
/// latter, to leave it free.
#[inline(always)]
fn take_free<S: Lines>(set: &S, scratch: &mut Scratch) -> Option<bool> {
    let Probe { tag, spread, buckets, tick, .. } = scratch.probe;
    let sweeps = scratch.phase == SWEEP;
    // What makes room stands where the new one comes: taken elsewhere, some buckets would run full in time and others empty.
    let at = if sweeps && !set.evicts() { next_swept(set, buckets)? } else { bucket(spread, buckets, scratch.looked) };
    let (least, new) = if sweeps { (HELD + 1, 0) } else { (0, slot_word(tag, HELD)) };
    scratch.probe.gone = 0;
    let line = set.line(FIRST + at)?;
    // Read back, so that what follows is one way, whichever place it is.
    scratch.mine = free(line, tick, least);
    let slot = set.forget(&scratch.mine) & 7;
    let old = line.load(slot as usize);
    let ended = low(old);
    let is_free = slot < WAYS as u32 && ended <= tick && ended != HELD && ended >= least;
    if !is_free || !line.exchange(slot as usize, old, new) {
        if !sweeps {
            line.add(PASSED, 1);
        } else if set.evicts() {
            note_first(set, line, at, scratch);
        }
        return Some(false);
    }
    if ended != 0 {
        (scratch.probe.gone, scratch.probe.gone_at) = (old, at);
    }
    if !sweeps {
        scratch.probe.place = at * STRIDE + slot;
    }
    Some(true)
}

/// Notes the element of a bucket that ends first, if it does so before those that were noted.
#[inline(always)]
fn note_first<S: Lines>(set: &S, line: S::Line, at: u32, scratch: &mut Scratch) {
    let before = set.forget(&scratch.probe.left);
    let (slot, left) = hash::first_to_end(set, line, scratch.probe.tick, before);
    scratch.probe.left = left;
    if set.forget(&left) != before {
        scratch.probe.place = at * STRIDE + slot;
    }
}

/// The bucket that is swept next.
#[inline(always)]
fn next_swept<S: Lines>(set: &S, buckets: u32) -> Option<u32> {
    let head = set.line(0)?;
    let at = low(head.load(SWEEP_AT));
    head.store(SWEEP_AT, u64::from(if at + 1 >= buckets { 0 } else { at + 1 }));
    Some(if at >= buckets { 0 } else { at })
}

/// Writes key and extras of an element whose place is held.
#[inline(always)]
fn write<S: Lines>(set: &S, scratch: &Scratch) -> Option<()> {
    let Probe { form, keys, extras, place, .. } = scratch.probe;
    let form = Form(form);
    if form.has_keys() {
        let (line, first) = form.key(place);
        let line = set.line(keys + line)?;
        for pair in 0..KEY_WORDS / 2 {
            if pair as u32 * 2 >= form.key_words() {
                break;
            }
            line.store((first + pair) & 7, pair_of(&scratch.key, pair, form.key_words()));
        }
    }
    if form.has_extras() {
        let (line, first) = form.extras(place);
        let line = set.line(extras + line)?;
        for word in 0..LINE_WORDS {
            if word as u32 >= form.extra_words() {
                break;
            }
            line.store((first + word) & 7, scratch.extras[word]);
        }
    }
    Some(())
}

/// Counts out of `passed` of one bucket what is gone: it does not stand behind it any more.
#[inline(always)]
fn unpass<S: Lines>(set: &S, number: u32, scratch: &mut Scratch) -> Option<bool> {
    let Probe { gone, gone_at, buckets, .. } = scratch.probe;
    let at = bucket(spread(set.line(0)?, high(gone)), buckets, number);
    if at == gone_at {
        return Some(true);
    }
    set.line(FIRST + at)?.add(PASSED, u64::MAX);
    Some(false)
}

/// Takes the element out of a place, if it is still the one with this hash.
#[inline(always)]
fn take<S: Lines>(set: &S, place: u32, scratch: &mut Scratch) -> Option<()> {
    let line = set.line(FIRST + place / STRIDE)?;
    let slot = (place % STRIDE) as usize & 7;
    let word = line.load(slot);
    if high(word) != scratch.probe.tag || low(word) <= HELD || !line.exchange(slot, word, 0) {
        scratch.phase = END;
        return Some(());
    }
    (scratch.probe.gone, scratch.probe.gone_at) = (word, place / STRIDE);
    leave(set, scratch, END)
}
