//! Sources that are banned for a time: asked about right behind the parser, see [`firewall_common::guard`].

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use firewall_common::{
    guard,
    packet::{Field, Packet},
    sets::{
        FORM, Form, Line, Lines,
        hash::{self, NOWHERE},
        run::Scratch,
        shapes,
    },
    trail::Explain,
};

use crate::{
    maps,
    sets::Set,
    verifier::{self, forget},
    work::Work,
};

/// Is the packet's source banned? One load where nobody is.
#[inline(always)]
pub fn is_banned(work: &Work) -> bool {
    let nfproto = work.packet.get(Field::NfProto);
    let family = guard::family(nfproto);
    let until = maps::GUARD.get(0).map_or(0, |guard| guard.bans_until[family as usize & 1]);
    nfproto != 0 && until > work.tick && look_up_ban(work.path) != 0
}

/// What the loop's callback gets.
#[repr(C)]
struct Look {
    set: Set,
    scratch: *mut Scratch,
}

/// The look-up as a function of its own: the verifier looks at it once, and it has a stack frame only while it runs.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn look_up_ban(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let Some(set) = Set::get(guard::slot(guard::family(work.packet.get(Field::NfProto)))) else { return 0 };
    let scratch = work.sets.pointer();
    {
        // SAFETY: the work area of this packet, of which nothing else is in use here.
        let scratch = unsafe { &mut *scratch };
        scratch.probe.tick = work.tick;
        guard::gather(&work.packet, scratch);
        if shapes::begin(&set, scratch).is_none() {
            return 0;
        }
    }
    let mut look = Look { set, scratch };
    // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
    unsafe { bpf_loop(guard::MAX_LOOKS, look_step as *mut c_void, (&raw mut look).cast(), 0) };
    // SAFETY: as above.
    let scratch = unsafe { &mut *scratch };
    if forget(&scratch.probe.place) == NOWHERE {
        return 0;
    }
    if maps::EXPLAIN.load() != Explain::Shadow as u32 {
        count(&set, &work.packet, scratch);
    }
    1
}

/// One bucket; 1 ends the loop.
extern "C" fn look_step(_: u64, context: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: `look_up_ban` passes a `Look` with the scratch area of this packet, and waits for the loop to end.
    let (set, scratch) = unsafe {
        let look = context.cast::<Look>();
        ((*look).set, &mut *(*look).scratch)
    };
    i64::from(guard::look(&set, scratch).unwrap_or(true))
}

/// A ban counts what it stops, unless its place went to another one meanwhile.
#[inline(always)]
fn count(set: &Set, packet: &Packet, scratch: &Scratch) -> Option<()> {
    if !hash::is_still(set, &scratch.probe)? {
        return None;
    }
    let form = Form(set.line(0)?.load(FORM));
    let (line, first) = form.extras(scratch.probe.place);
    let line = set.line(firewall_common::sets::extras_at(set)? + line)?;
    let counter = form.counter()?;
    line.add((first + counter) & 7, 1);
    line.add((first + counter + 1) & 7, u64::from(packet.get(Field::Length)));
    Some(())
}
