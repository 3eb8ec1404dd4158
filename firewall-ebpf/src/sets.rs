//! Named sets and maps: how their memory is reached from here. What is done with it is in [`firewall_common::sets`].

use core::{cell::UnsafeCell, ffi::c_void};

use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use firewall_common::{
    conntrack::EVICT_ELEMENTS,
    eval::advance,
    image::{HAS_EXTRAS, HAS_SHAPES, Op, Target, USES_CONNECTIONS, USES_NAMED},
    packet::{Field, WORDS},
    sets::{
        LINE_WORDS, Line, Lines, connections, meter,
        run::{self, Scratch},
    },
    table::{self, OVERFLOWED, Slot, SlotWords, WAYS},
    trail::Explain,
    verdict::Verdict,
};

use crate::{
    bucket::Slots,
    explain, maps,
    verifier::{self, forget},
    work::Work,
};

/// A line of a set's memory.
#[derive(Clone, Copy)]
pub struct SetLine(*mut u64);

impl Line for SetLine {
    #[inline(always)]
    fn load(self, word: usize) -> u64 {
        // SAFETY: a line has eight words. Volatile, because other CPUs and user space write it.
        unsafe { self.0.add(word & (LINE_WORDS - 1)).read_volatile() }
    }

    #[inline(always)]
    fn store(self, word: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.add(word & (LINE_WORDS - 1)).write_volatile(value) };
    }

    #[inline(always)]
    fn exchange(self, word: usize, old: u64, new: u64) -> bool {
        // SAFETY: as above; words are aligned.
        unsafe { verifier::compare_exchange(self.0.add(word & (LINE_WORDS - 1)), old, new) }
    }

    #[inline(always)]
    fn add(self, word: usize, value: u64) {
        // SAFETY: as above.
        unsafe { verifier::add(self.0.add(word & (LINE_WORDS - 1)), value) };
    }

    #[inline(always)]
    fn fetch_add(self, word: usize, value: u64) -> u64 {
        // SAFETY: as above.
        unsafe { verifier::fetch_add(self.0.add(word & (LINE_WORDS - 1)), value) }
    }
}

/// A set: a map in the map of sets.
#[derive(Clone, Copy)]
pub struct Set(*mut c_void);

impl Set {
    /// Set `number`.
    #[inline(always)]
    pub fn get(number: u32) -> Option<Self> {
        // SAFETY: the map of sets is one, and the key is a number.
        let map = unsafe { bpf_map_lookup_elem(maps::sets(), (&raw const number).cast()) };
        if map.is_null() { None } else { Some(Self(map)) }
    }
}

impl Lines for Set {
    type Line = SetLine;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<SetLine> {
        // SAFETY: the map of sets holds arrays of lines.
        let line = unsafe { bpf_map_lookup_elem(self.0, (&raw const index).cast()) };
        if line.is_null() { None } else { Some(SetLine(line.cast())) }
    }

    #[inline(always)]
    fn is_below(&self, last: u32, value: u32) -> u32 {
        verifier::is_below_here(last, value)
    }

    #[inline(always)]
    fn is_live(&self, word: u64, tag: u32, tick: u32) -> u32 {
        verifier::is_live(word, tag, tick)
    }

    #[inline(always)]
    fn evicts(&self) -> bool {
        maps::tracks(EVICT_ELEMENTS)
    }

    #[inline(always)]
    fn forget(&self, value: &u32) -> u32 {
        forget(value)
    }
}

/// What is gathered for sets while a packet is in work.
#[repr(transparent)]
pub struct Gathered(UnsafeCell<Scratch>);

// SAFETY: every CPU has its own, see `crate::work::Work`.
unsafe impl Sync for Gathered {}

impl Gathered {
    /// One packet is in work at a time, and nothing else looks at it meanwhile.
    #[inline(always)]
    pub const fn pointer(&self) -> *mut Scratch {
        self.0.get()
    }
}

// The functions that follow are global ones: the verifier looks at each once, knowing nothing about who calls it.

/// Carries out the [`firewall_common::image::Op::LookUp`] under the cursor, or a part of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn look_up_in_set(path: u32) -> u32 {
    verifier::frame();
    look_up::<false>(path)
}

/// Instructions that [`run_first_look_ups`] runs.
const IN_A_ROW: usize = 8;

/// Runs look-ups in sets without shapes and extras, and the range tests between them, from the instruction under the cursor
/// on: as long as nothing else comes, a bucket is enough, and there is no verdict. The loop over all kinds of instructions
/// costs three calls more for each of them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn run_first_look_ups(path: u32) -> u32 {
    verifier::frame();
    for _ in 0..IN_A_ROW {
        if !run_look_up(path) {
            break;
        }
    }
    0
}

/// One of them; `false` when there is something else to be done.
#[inline(always)]
fn run_look_up(path: u32) -> bool {
    let Some(work) = maps::work_of(path) else { return false };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return false };
    let holds = if insn.op == Op::Range as u8 {
        let value = work.packet.words[insn.field as usize & (WORDS - 1)] & insn.mask;
        value >= insn.low && value <= insn.high
    } else if insn.op == Op::LookUp as u8 && insn.extra & (HAS_EXTRAS | HAS_SHAPES) == 0 {
        match look_up::<false>(path) {
            run::YES => true,
            run::NO => false,
            _ => return false,
        }
    } else {
        return false;
    };
    advance(insn, holds, &mut work.cursor);
    let at = Target(forget(&work.cursor.at.0));
    explain::step(work, at.0);
    !at.is_verdict()
}

/// Is the instruction under the cursor a look-up in a set?
#[inline(always)]
pub fn is_next(work: &Work) -> bool {
    maps::USES.load() & USES_NAMED != 0
        && maps::INSNS.get(forget(&work.cursor.at.0)).is_some_and(|insn| insn.op == Op::LookUp as u8)
}

/// The same in a set with shapes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn look_up_in_shapes(path: u32) -> u32 {
    verifier::frame();
    look_up::<true>(path)
}

#[inline(always)]
fn look_up<const SHAPES: bool>(path: u32) -> u32 {
    let Some(work) = maps::work_of(path) else { return run::BROKEN };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return run::BROKEN };
    // SAFETY: the work area of this packet, of which nothing else is in use here.
    let gathered = unsafe { &mut *work.sets.pointer() };
    let Some(set) = Set::get(insn.low) else { return run::BROKEN };
    gathered.probe.tick = work.tick;
    run::look_up::<_, SHAPES>(&set, insn, &work.packet, gathered)
}

/// Sees to what was found by the instruction under the cursor.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn met_in_set(path: u32) -> u32 {
    verifier::frame();
    if is_shadow() {
        return run::YES;
    }
    let Some(work) = maps::work_of(path) else { return run::BROKEN };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return run::BROKEN };
    // SAFETY: the work area of this packet, of which nothing else is in use here.
    let gathered = unsafe { &mut *work.sets.pointer() };
    let Some(set) = Set::get(insn.low) else { return run::BROKEN };
    run::met(&set, insn, &mut work.packet, gathered)
}

/// Carries out a step of the [`firewall_common::image::Op::Change`] under the cursor.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn change_set(path: u32) -> u32 {
    verifier::frame();
    change::<false>(path)
}

/// The same for steps that look for a place.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_place_in_set(path: u32) -> u32 {
    verifier::frame();
    change::<true>(path)
}

/// Carries out the [`firewall_common::image::Op::Meter`] under the cursor.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn meter_element(path: u32) -> u32 {
    verifier::frame();
    if is_shadow() {
        return run::YES;
    }
    let Some(work) = maps::work_of(path) else { return run::BROKEN };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return run::BROKEN };
    let Some(first) = maps::CONSTANTS.get(insn.mask) else { return run::BROKEN };
    let second = maps::CONSTANTS.get(insn.mask.wrapping_add(1)).unwrap_or(first);
    // SAFETY: the work area of this packet, of which nothing else is in use here.
    let gathered = unsafe { &*work.sets.pointer() };
    let Some(set) = Set::get(insn.low) else { return run::BROKEN };
    // The exact clock, as for limits of rules.
    meter::meter(&set, insn, ([first, second], work.packet.get(Field::Length), maps::exact_ns()), gathered)
}

/// The state table, as those see it who count connections.
struct Connections(u32);

impl connections::Table for Connections {
    #[inline(always)]
    fn is_there(&self, _: &mut Scratch) -> u32 {
        is_connected(self.0)
    }
}

/// Is the connection with the hash that was gathered in the table? Compared by the tag, as all that is kept of it is its
/// hash: of two that have the same in one bucket, one counts as the other.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_connected(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    // SAFETY: the work area of this packet, of which only single words are in use here.
    let hash = unsafe { (*work.sets.pointer()).asked };
    if hash == 0 {
        return 0;
    }
    let mask = maps::BUCKET_MASK.load();
    let tag = table::tag(hash);
    let Some(bucket) = maps::bucket(table::home(hash, mask)) else { return 0 };
    let slots = Slots { bucket, scratch: &raw mut work.scratch };
    if is_in(&slots, tag, work.tick) {
        return 1;
    }
    if slots.load(WAYS) & OVERFLOWED == 0 {
        return 0;
    }
    let Some(bucket) = maps::bucket(table::alternate(hash, mask)) else { return 0 };
    u32::from(is_in(&Slots { bucket, scratch: &raw mut work.scratch }, tag, work.tick))
}

#[inline(always)]
fn is_in(slots: &Slots, tag: u32, tick: u32) -> bool {
    for way in 0..WAYS {
        let slot = Slot(slots.load(way));
        if slot.tag() == tag && slot.is_counted(tick) {
            return true;
        }
    }
    false
}

/// Carries out a part of the [`firewall_common::image::Op::Connections`] under the cursor.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_connections(path: u32) -> u32 {
    verifier::frame();
    if is_shadow() {
        return run::YES;
    }
    let Some(work) = maps::work_of(path) else { return run::BROKEN };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return run::BROKEN };
    // SAFETY: the work area of this packet, of which nothing else is in use here but what `is_connected` reads.
    let gathered = unsafe { &mut *work.sets.pointer() };
    let Some(set) = Set::get(insn.low) else { return run::BROKEN };
    gathered.probe.tick = work.tick;
    // A packet that neither has a connection nor begins one is counted with the others, and forgotten.
    let hash = if work.pending | work.place | work.quoted != 0 { work.hash } else { 0 };
    connections::count(&set, &Connections(path), insn, hash, gathered)
}

/// Nothing was counted for the packet yet.
#[inline(always)]
pub fn begin(work: &Work) {
    if maps::USES.load() & USES_CONNECTIONS != 0 {
        // SAFETY: the work area of this packet, of which nothing else is in use here.
        unsafe { (*work.sets.pointer()).noted = [0; 2] };
    }
}

/// A connection that the packet would have begun counts no more when it is dropped.
#[inline(always)]
pub fn forget_connection(work: &Work) {
    // SAFETY: the work area of this packet, of which nothing else is in use here.
    if maps::USES.load() & USES_CONNECTIONS != 0
        && forget(&work.outcome) != Verdict::PASS.number()
        && forget(unsafe { &(*work.sets.pointer()).noted[0] }) != 0
    {
        take_connection_out(work.path);
    }
}

/// The same.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_connection_out(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    // SAFETY: the work area of this packet, of which nothing else is in use here.
    let [number, which] = unsafe { (*work.sets.pointer()).noted };
    if let Some(set) = Set::get(number.wrapping_sub(1)) {
        let _ = connections::take_out(&set, which, work.hash);
    }
    0
}

/// A shadow answers about packets that nobody sent, and shares the sets of the generation in force: it changes nothing.
#[inline(always)]
fn is_shadow() -> bool {
    maps::EXPLAIN.load() == Explain::Shadow as u32
}

#[inline(always)]
fn change<const PLACES: bool>(path: u32) -> u32 {
    if is_shadow() {
        return run::YES;
    }
    let Some(work) = maps::work_of(path) else { return run::BROKEN };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return run::BROKEN };
    // SAFETY: the work area of this packet, of which nothing else is in use here.
    let gathered = unsafe { &mut *work.sets.pointer() };
    let Some(set) = Set::get(insn.low) else { return run::BROKEN };
    gathered.probe.tick = work.tick;
    let timeout = maps::CONSTANTS.get(insn.mask).map_or(0, |time| u64::from(time[2]) << 32 | u64::from(time[3]));
    run::change::<_, PLACES>(&set, insn, &work.packet, (timeout, gathered))
}
