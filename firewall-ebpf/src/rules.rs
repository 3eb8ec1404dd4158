//! Running the ruleset.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::generated::bpf_loop,
};
use firewall_common::{
    classify::{self, Narrow, Node, Root, Wide},
    eval::{Cursor, Store, step, step_counter, step_range},
    image::{
        HAS_EXTRAS, HAS_SHAPES, Insn, Interval, NO_ANSWER, POLICY, Part, Target, USES_SHAPES, USES_SYNPROXY, USES_TREES,
    },
    limit,
    limits::MAX_STEPS,
    packet::{Field, NFPROTO_IPV6, Packet},
    sets::{
        change,
        run::{self, Scratch},
    },
    verdict::{Reason, Verdict},
};

use crate::{
    emit, explain, fast, fetch, maps,
    packet::{Frame, TcFrame, XdpFrame},
    read, sets,
    verifier::{self, forget},
    work::Work,
};

/// The verdict of a part's chains: one that most rulesets have.
#[inline(always)]
pub fn run<F: Frame>(frame: &F, work: &mut Work, part: Part) -> Verdict {
    // Also without chains: it says what became of the packet.
    work.hook = part.hook() as u32;
    if !maps::has(part) {
        return Verdict::PASS;
    }
    begin(work, part, maps::entry(part));
    if !run_ranges(frame, work) && !run_look_ups(work) && !run_trees(frame, work) {
        run_all(frame, work);
    }
    verdict(work.cursor)
}

/// The same for the other parts: one call, and the program is not longer for each of them.
#[inline(always)]
pub fn run_rare<F: Frame>(frame: &F, work: &mut Work, part: Part) -> Verdict {
    if !maps::has(part) {
        return Verdict::PASS;
    }
    begin(work, part, maps::entry(part));
    run_all(frame, work);
    verdict(work.cursor)
}

#[inline(always)]
fn begin(work: &mut Work, part: Part, entry: Target) {
    work.hook = part.hook() as u32;
    work.part = part as u32;
    work.cursor = Cursor::new(entry);
    explain::hook(work, part.hook());
    explain::step(work, entry.0);
}

/// Finds the first rule that matches; `true` when that came to a verdict.
#[inline(always)]
fn run_trees<F: Frame>(frame: &F, work: &mut Work) -> bool {
    if maps::USES.load() & USES_TREES == 0 || !Target(forget(&work.cursor.at.0)).is_next() {
        return false;
    }
    find(frame, work);
    let at = Target(forget(&work.cursor.at.0));
    at.is_verdict() || (!at.is_next() && (run_ranges(frame, work) || run_look_ups(work)))
}

/// Runs the look-ups in sets that come first, if there are any; `true` when they came to a verdict.
#[inline(always)]
fn run_look_ups(work: &mut Work) -> bool {
    if !sets::is_next(work) {
        return false;
    }
    sets::run_first_look_ups(work.path);
    verifier::changed(work);
    Target(forget(&work.cursor.at.0)).is_verdict()
}

#[inline(always)]
fn find<F: Frame>(frame: &F, work: &mut Work) {
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    let Some(root) = maps::ROOTS.get(classify::root_index(work.part, is_v6)) else {
        return;
    };
    let store = MapStore::of(frame, work);
    // A broken image leaves the cursor where it is: the loop finds that out again and drops the packet.
    let _ = classify::start(&store, &work.packet, root, is_v6, &mut work.cursor);
    explain::found(work);
}

/// Range instructions that are run before the general loop is begun.
const RANGES_IN_A_ROW: usize = 8;

/// Runs the range tests that a ruleset begins with, and a counter behind them, without any call; `true` when they came to a verdict.
#[inline(always)]
fn run_ranges<F: Frame>(frame: &F, work: &mut Work) -> bool {
    let mut store = MapStore::of(frame, work);
    for _ in 0..RANGES_IN_A_ROW {
        let mut cursor = work.cursor;
        let moved = step_range(&store, &work.packet, &mut cursor);
        work.cursor = cursor;
        if !moved {
            break;
        }
        explain::step(work, cursor.at.0);
        if cursor.at.is_verdict() {
            return true;
        }
    }
    // Once, not at each step: the verifier would follow every way on from there.
    if !step_counter(&mut store, &work.packet, &mut work.cursor) {
        return false;
    }
    explain::step(work, work.cursor.at.0);
    Target(forget(&work.cursor.at.0)).is_verdict()
}

/// Runs instructions of every kind, as many as there are.
#[inline(always)]
fn run_all<F: Frame>(frame: &F, work: &Work) {
    frame.walk(work.path);
}

/// The walk through the rules as functions that the verifier looks at once, whoever calls them: it knows nothing about
/// their argument but that it is the program's context, and nothing about what they leave behind. (Global functions,
/// Linux 5.6: 51c39bb1d5d1; what makes them global is that they are exported.)
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    walk::<XdpFrame>(context.cast(), path)
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    walk::<TcFrame>(context.cast(), path)
}

#[inline(always)]
fn walk<F: Frame>(context: *mut c_void, path: u32) -> u32 {
    let Some(work) = maps::work_of(path) else {
        return 0;
    };
    let mut walk = Walk { work: core::ptr::from_mut(work), context };
    // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
    unsafe { bpf_loop(MAX_STEPS, walk_step::<F> as *mut c_void, (&raw mut walk).cast(), 0) };
    0
}

#[inline(always)]
fn verdict(cursor: Cursor) -> Verdict {
    if cursor.at == Target::ACCEPT {
        Verdict::PASS
    } else if cursor.at.is_reject() {
        Verdict::drop(Reason::Rejected)
    } else if maps::USES.load() & USES_SYNPROXY != 0 && cursor.at.is_synproxy() {
        Verdict::drop(Reason::SynAnswered)
    } else if cursor.at != Target::DROP {
        Verdict::drop(Reason::RulesetTooLong)
    } else if cursor.rule == NO_ANSWER {
        Verdict::drop(Reason::FibUnanswered)
    } else if cursor.rule & POLICY != 0 {
        Verdict::drop(Reason::Policy)
    } else {
        Verdict::drop(Reason::Rule)
    }
}

/// What the loop's callback gets: a pointer on the caller's stack, as the verifier wants it.
#[repr(C)]
struct Walk {
    work: *mut Work,
    context: *mut c_void,
}

/// One instruction; 1 ends the loop. A broken image ends it too, with a cursor that is no verdict: a drop.
extern "C" fn walk_step<F: Frame>(_: u64, context: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: `run_all` passes a `Walk` that points to the work area and the context of this packet, and waits for the
    // loop to end.
    let (work, frame) = unsafe {
        let walk = context.cast::<Walk>();
        (&mut *(*walk).work, F::of_context((*walk).context))
    };
    let frame = &frame;
    let from = work.cursor.at;
    let moved = if read::run::<F>(work, frame.context()) {
        Some(())
    } else if maps::USES.load() & USES_TREES != 0 && work.cursor.at.is_next() {
        search(frame, work).then_some(())
    } else {
        step(&mut MapStore::of(frame, work), &mut work.packet, &mut work.cursor)
    };
    explain::moved(work, from);
    i64::from(moved.is_none() || work.cursor.at.is_verdict())
}

/// One step towards the next rule that matches. A function of its own, so that what it keeps on the stack is gone when rules
/// read, write or look something up.
#[inline(never)]
fn search<F: Frame>(frame: &F, work: &mut Work) -> bool {
    verifier::frame();
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    let Some(root) = maps::ROOTS.get(classify::root_index(work.part, is_v6)) else { return false };
    let store = MapStore::of(frame, work);
    let found = if is_v6 {
        classify::search::<_, Wide>(&store, &work.packet, root, &mut work.cursor)
    } else {
        classify::search::<_, Narrow>(&store, &work.packet, root, &mut work.cursor)
    };
    found.is_some()
}

/// A ruleset image in maps.
struct MapStore<'a, F> {
    frame: &'a F,
    tick: u32,
    sets: *mut Scratch,
    path: u32,
}

impl<'a, F: Frame> MapStore<'a, F> {
    #[inline(always)]
    fn of(frame: &'a F, work: &Work) -> Self {
        let Work { tick, path, .. } = *work;
        Self { frame, tick, sets: work.sets.pointer(), path }
    }
}

impl<F: Frame> Store for MapStore<'_, F> {
    #[inline(always)]
    fn insn(&self, index: u32) -> Option<&Insn> {
        maps::INSNS.get(index)
    }

    #[inline(always)]
    fn constant(&self, index: u32) -> Option<&[u32; 4]> {
        maps::CONSTANTS.get(index)
    }

    #[inline(always)]
    fn interval(&self, index: u32) -> Option<&Interval> {
        maps::INTERVALS.get(index)
    }

    #[inline(always)]
    fn root(&self, index: u32) -> Option<&Root> {
        maps::ROOTS.get(index)
    }

    #[inline(always)]
    fn node(&self, index: u32) -> Option<&Node> {
        maps::NODES.get(index)
    }

    #[inline(always)]
    fn narrow(&self, index: u32) -> Option<&Narrow> {
        maps::NARROW.get(index)
    }

    #[inline(always)]
    fn wide(&self, index: u32) -> Option<&Wide> {
        maps::WIDE.get(index)
    }

    #[inline(always)]
    fn is_below(&self, last: u32, value: u32) -> u32 {
        verifier::is_below(last, value)
    }

    #[inline(always)]
    fn forget(&self, value: &u32) -> u32 {
        forget(value)
    }

    #[inline(always)]
    fn uses(&self, feature: u32) -> bool {
        maps::USES.load() & feature != 0
    }

    #[inline(always)]
    fn count(&mut self, index: u32, packet: &Packet) {
        if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
            // SAFETY: this CPU's value, which nothing else writes while the program runs.
            unsafe { (*counter).add(packet.get(Field::Length)) };
        }
    }

    #[inline(always)]
    fn take(&mut self, cell: u32, cost: u64, capacity: u64) -> bool {
        match maps::CELLS.get_ptr_mut(cell) {
            // The exact clock: the coarse one would give a fast limit its tokens of a whole timer tick at once.
            Some(word) => limit::take(&verifier::Cell(word), maps::exact_ns(), cost, capacity),
            None => false,
        }
    }

    #[inline(always)]
    fn add(&mut self, cell: u32, amount: u32) -> u64 {
        match maps::CELLS.get_ptr_mut(cell) {
            // SAFETY: an aligned word of a map value.
            Some(word) => unsafe { verifier::fetch_add(word, u64::from(amount)) }.wrapping_add(u64::from(amount)),
            None => u64::MAX,
        }
    }

    #[inline(always)]
    fn log(&mut self, index: u32, rule: u32, _: &Packet) {
        emit::logged(self.path, self.tick, rule, index);
    }

    #[inline(always)]
    fn edit(&mut self, _: &Insn, _: &Packet) -> bool {
        self.frame.edit(self.path) != 0
    }

    #[inline(always)]
    fn flow(&mut self, insn: &Insn, _: &Packet) -> bool {
        fast::flow_add(self.path, insn.rule) != 0
    }

    #[inline(always)]
    fn fetch(&mut self, _: &Insn, _: &mut Packet) -> bool {
        fetch::fetch_value(self.path) != 0
    }

    #[inline(always)]
    fn gather(&mut self, insn: &Insn, packet: &Packet) {
        // SAFETY: the work area of this packet, of which nothing else is in use here.
        unsafe { (*self.sets).gather(insn, packet) };
    }

    #[inline(always)]
    fn look_up(&mut self, insn: &Insn, _: &mut Packet) -> u32 {
        let answer = if maps::USES.load() & USES_SHAPES != 0 && insn.extra & HAS_SHAPES != 0 {
            sets::look_up_in_shapes(self.path)
        } else {
            sets::look_up_in_set(self.path)
        };
        if answer != run::YES || insn.extra & HAS_EXTRAS == 0 {
            return answer;
        }
        sets::met_in_set(self.path)
    }

    #[inline(always)]
    fn change(&mut self, _: &Insn, _: &Packet) -> u32 {
        // SAFETY: the work area of this packet, of which nothing else is in use here.
        if change::looks_for_place(unsafe { (*self.sets).phase }) {
            sets::find_place_in_set(self.path)
        } else {
            sets::change_set(self.path)
        }
    }

    #[inline(always)]
    fn meter(&mut self, _: &Insn, _: &Packet) -> u32 {
        sets::meter_element(self.path)
    }

    #[inline(always)]
    fn connections(&mut self, _: &Insn, _: &Packet) -> u32 {
        sets::count_connections(self.path)
    }
}
