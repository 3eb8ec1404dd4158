//! Reading bytes that rules ask for.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::helpers::generated::bpf_loop;
use firewall_common::{
    eval::Cursor,
    image::{Insn, Op, USES_FIB, USES_MTU, USES_OPTIONS, USES_READINGS},
    option::{self, Outcome},
    read::{self, BUFFER, Scan, Source},
};

use crate::{
    edit, fib, maps,
    packet::Frame,
    verifier::{self, opaque},
    work::Work,
};

/// The packet of a context.
struct Bytes<F> {
    context: *mut c_void,
    frame: PhantomData<F>,
}

impl<F: Frame> Source for Bytes<F> {
    #[inline(always)]
    fn copy(&self, at: u32, length: u32, into: &mut [u8; BUFFER]) -> bool {
        // The verifier wants to see a length from 1 to that of the buffer, and LLVM would leave out what it knows already
        // ("R4 invalid zero-sized read", Linux 6.18).
        let length = (opaque(length as usize) as u32).wrapping_sub(1) & (BUFFER as u32 - 1);
        let length = length + 1;
        F::load(self.context, at, length, into)
    }
}

/// Runs the instruction under the cursor if it reads bytes or asks the routing table; says whether it was such a one.
#[inline(always)]
pub fn run<F: Frame>(work: &mut Work, context: *mut c_void) -> bool {
    if maps::USES.load() & (USES_READINGS | USES_FIB | USES_OPTIONS | USES_MTU) == 0 {
        return false;
    }
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return false };
    if maps::USES.load() & USES_FIB != 0 && insn.op == Op::Fib as u8 {
        fib::run(work, context, insn);
        return true;
    }
    if maps::USES.load() & USES_MTU != 0 && insn.op == Op::Mtu as u8 {
        fib::segment(work, context, insn);
        return true;
    }
    if maps::USES.load() & USES_OPTIONS != 0 && insn.op == Op::Option as u8 {
        let goes_on = write::<F>(work, context, insn);
        work.cursor.at = if goes_on { insn.pass } else { insn.fail };
        return true;
    }
    if maps::USES.load() & USES_READINGS == 0 || insn.op != Op::Read as u8 {
        return false;
    }
    let found = read::<F>(work, context, insn);
    let cursor: &mut Cursor = &mut work.cursor;
    cursor.at = if found { insn.pass } else { insn.fail };
    true
}

/// What the loop's callback gets.
#[repr(C)]
struct Walk {
    scan: *mut Scan,
    context: *mut c_void,
}

#[inline(never)]
fn read<F: Frame>(work: &mut Work, context: *mut c_void, insn: &Insn) -> bool {
    verifier::frame();
    let source = Bytes::<F> { context, frame: PhantomData };
    walk(&source, work, insn);
    read::finish(&source, insn, &mut work.packet, &mut work.scanned)
}

/// Walks up to what the instruction names.
#[inline(always)]
fn walk<F: Frame>(source: &Bytes<F>, work: &mut Work, insn: &Insn) {
    let steps = read::begin(source, insn, &work.packet, &mut work.scanned);
    if steps != 0 {
        let mut walk = Walk { scan: &raw mut work.scanned, context: source.context };
        // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
        unsafe { bpf_loop(steps, step::<F> as *mut c_void, (&raw mut walk).cast(), 0) };
    }
}

/// Writes into a TCP option; `false` when the rule ends there.
#[inline(never)]
fn write<F: Frame>(work: &mut Work, context: *mut c_void, insn: &Insn) -> bool {
    verifier::frame();
    walk(&Bytes::<F> { context, frame: PhantomData }, work, insn);
    match option::outcome(insn, &work.packet, &work.scanned) {
        Outcome::Ends => false,
        Outcome::Stays => true,
        Outcome::Written => {
            let frame = F::of_context(context);
            let two = |number| {
                edit::option(&frame, work.packet.l4_offset, option::change(insn, &work.packet, &work.scanned, number))
            };
            two(0) && (insn.high & 0xff != 4 || two(1))
        }
    }
}

/// One option or chunk; 1 ends the loop.
extern "C" fn step<F: Frame>(_: u64, walk: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: `read` passes a `Walk` that points to the work area of this packet and its context, and waits for the loop
    // to end.
    let (scan, context) = unsafe {
        let walk = walk.cast::<Walk>();
        (&mut *(*walk).scan, (*walk).context)
    };
    i64::from(!read::step(&Bytes::<F> { context, frame: PhantomData }, scan))
}
