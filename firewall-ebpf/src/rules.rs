//! Running the ruleset.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use firewall_common::{
    eval::{Cursor, Store, step},
    image::{Hook, Insn, Interval, POLICY, Target},
    limits::MAX_STEPS,
    packet::{Field, Packet},
    verdict::{Reason, Verdict},
};

use crate::{emit, maps, pipeline, work::Work};

/// The verdict of a hook's chains.
#[inline(always)]
pub fn run(work: &mut Work, hook: Hook) -> Verdict {
    work.hook = hook as u32;
    pipeline::name_interfaces(work, hook);
    let entry = Target(match hook {
        Hook::Input => maps::ENTRY_INPUT.load(),
        Hook::Output => maps::ENTRY_OUTPUT.load(),
        Hook::Prerouting | Hook::Forward | Hook::Postrouting => Target::ACCEPT.0,
    });
    if entry.is_verdict() {
        return Verdict::PASS;
    }
    work.cursor = Cursor::new(entry);
    let mut walk = Walk { work: core::ptr::from_mut(work) };
    // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
    unsafe { bpf_loop(MAX_STEPS, walk_step as *mut c_void, (&raw mut walk).cast(), 0) };
    verdict(work.cursor)
}

#[inline(always)]
fn verdict(cursor: Cursor) -> Verdict {
    if cursor.at == Target::ACCEPT {
        Verdict::PASS
    } else if cursor.at != Target::DROP {
        Verdict::drop(Reason::RulesetTooLong)
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
}

/// One instruction; 1 ends the loop. A broken image ends it too, with a cursor that is no verdict: a drop.
extern "C" fn walk_step(_: u64, context: *mut c_void) -> i64 {
    // SAFETY: `run` passes a `Walk` that points to the work area of this packet, and waits for the loop to end.
    let work = unsafe { &mut *(*context.cast::<Walk>()).work };
    let mut cursor = work.cursor;
    let mut store = MapStore { now_ns: work.now_ns, tick: work.tick, hook: work.hook };
    let moved = step(&mut store, &work.packet, &mut cursor);
    work.cursor = cursor;
    i64::from(moved.is_none() || cursor.at.is_verdict())
}

/// A ruleset image in maps.
struct MapStore {
    now_ns: u64,
    tick: u32,
    hook: u32,
}

impl Store for MapStore {
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
    fn count(&mut self, index: u32, packet: &Packet) {
        if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
            // SAFETY: this CPU's value, which nothing else writes while the program runs.
            unsafe { (*counter).add(packet.get(Field::Length)) };
        }
    }

    #[inline(always)]
    fn log(&mut self, index: u32, rule: u32, packet: &Packet) {
        emit::logged(packet, emit::Moment { now_ns: self.now_ns, tick: self.tick, hook: self.hook }, rule, index);
    }
}
