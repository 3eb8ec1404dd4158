//! SCTP associations: the chunks of a packet, read and walked through by loops of the kernel's.
//!
//! Few packets are SCTP, so nothing of this is inlined; `firewall_common::conntrack::sctp` says what the chunks mean.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use firewall_common::{
    conntrack::{
        Change, Effect,
        sctp::{self, Association},
    },
    table::{Entry, Slot},
};

use crate::{
    bucket::entry,
    conntrack::direction,
    maps,
    packet::Frame,
    verifier::{self, forget},
    work::Work,
};

/// What an SCTP packet does to its association: sets `work.change`.
#[inline(never)]
pub fn follow<F: Frame>(frame: &F, work: &mut Work) {
    verifier::frame();
    let old = Slot(work.slot).state();
    work.change = Change::invalid(old).word();
    read(frame, work);
    let place = forget(&work.place);
    let Some(bucket) = maps::bucket(forget(&work.bucket)) else {
        return;
    };
    // SAFETY: a place of the bucket; see the head of `conntrack.rs` for what another CPU can do to it meanwhile.
    let entry = unsafe { &mut *entry(bucket, place) };
    let direction = direction(work, entry);
    sctp::follow(&mut work.walk, association(entry), old, &work.chunks, direction);
    walk(frame, work);
    let change = sctp::followed(&work.walk, old);
    work.change = change.word();
    if change.effect != Effect::Invalid {
        keep(entry, &work.walk.association);
    }
}

/// Does an SCTP packet start an association? If so, it is entered if the packet is accepted.
#[inline(never)]
pub fn begin<F: Frame>(frame: &F, work: &mut Work) -> bool {
    verifier::frame();
    read(frame, work);
    sctp::begin(&mut work.walk, &work.chunks);
    walk(frame, work);
    let phase = sctp::began(&work.walk);
    work.pending = phase;
    work.pending_timeout = phase;
    phase != 0
}

/// What is kept of an association stands where TCP has its windows.
#[inline(always)]
fn association(entry: &Entry) -> Association {
    let [original, reply] = &entry.windows;
    Association { tags: [original.end, reply.end], seen: original.max_end }
}

/// Writes what is kept of an association.
#[inline(always)]
pub fn keep(entry: &mut Entry, association: &Association) {
    let Association { tags: [original, reply], seen } = *association;
    entry.windows[0].end = original;
    entry.windows[1].end = reply;
    entry.windows[0].max_end = seen;
}

/// What a loop's callback gets: a pointer on the caller's stack, as the verifier wants it.
#[repr(C)]
struct Here {
    work: *mut Work,
    context: *mut c_void,
}

#[inline(always)]
fn read<F: Frame>(frame: &F, work: &mut Work) {
    sctp::open(frame, &work.packet, &mut work.chunks);
    each(frame, work, read_one::<F>);
    sctp::close(&mut work.chunks);
}

#[inline(always)]
fn walk<F: Frame>(frame: &F, work: &mut Work) {
    each(frame, work, walk_one);
}

#[inline(always)]
fn each<F: Frame>(frame: &F, work: &mut Work, step: extern "C" fn(u64, *mut c_void) -> i64) {
    let mut here = Here { work: core::ptr::from_mut(work), context: frame.context() };
    // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
    unsafe { bpf_loop(sctp::MOST as u32, step as *mut c_void, (&raw mut here).cast(), 0) };
}

extern "C" fn read_one<F: Frame>(_: u64, context: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: `each` passes a `Here` that points to the work area and the context of this packet, and waits for the loop
    // to end.
    let (work, frame) = unsafe {
        let here = context.cast::<Here>();
        (&mut *(*here).work, F::of_context((*here).context))
    };
    i64::from(!sctp::read_one(&frame, &mut work.chunks))
}

extern "C" fn walk_one(_: u64, context: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: as above.
    let work = unsafe { &mut *(*context.cast::<Here>()).work };
    i64::from(!sctp::walk_one(&mut work.walk, &work.chunks))
}
