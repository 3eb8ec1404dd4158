//! The checksums of TCP, UDP, ICMP and ICMPv6, where packets come in with finished ones.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_loop};
use firewall_common::{
    answer::{self, QUOTE},
    checks::{self, CHUNK, Summing},
    interface::WHOLE,
    packet::Field,
    wire::udp,
};

use crate::{
    answer::Rewrite,
    maps,
    verifier::{self, forget, opaque},
    work::Work,
};

/// What the loop's callback gets.
#[repr(C)]
struct Walk {
    context: *mut c_void,
    path: u32,
}

/// Is the checksum right, or none that is looked at?
#[inline(never)]
pub fn is_right<F: Rewrite>(work: &mut Work, context: *mut c_void) -> bool {
    verifier::frame();
    let is_whole = maps::INTERFACES.get(work.interface).is_some_and(|interface| interface.flags & WHOLE != 0);
    if !is_whole {
        return true;
    }
    let Some((at, length, sum)) = checks::summed(&work.packet) else { return true };
    work.summing = Summing { at, left: length, sum: 0, is_whole: 1 };
    let mut walk = Walk { context, path: work.path };
    // SAFETY: the callback has the signature that the helper calls it with, and the context outlives the call.
    unsafe { bpf_loop(length.div_ceil(CHUNK), add::<F> as *mut c_void, (&raw mut walk).cast(), 0) };
    // A datagram without a checksum.
    if forget(&work.summing.is_whole) == 0 {
        return true;
    }
    answer::fold(sum + u64::from(answer::fold(u64::from(forget(&work.summing.sum))).to_be())) == 0xffff
}

/// Adds up a chunk; 1 ends the loop.
extern "C" fn add<F: Rewrite>(number: u64, walk: *mut c_void) -> i64 {
    verifier::frame();
    // SAFETY: `is_right` passes a `Walk` of its own, and waits for the loop to end.
    let (context, path) = unsafe { ((*walk.cast::<Walk>()).context, (*walk.cast::<Walk>()).path) };
    let (Some(work), Some(room)) = (maps::work_of(path), maps::ANSWER.get_ptr_mut(path & 1)) else { return 1 };
    // SAFETY: this CPU's value, of programs of one kind, in which nothing else is kept before the rules.
    let quote = unsafe { &mut (*room).quote };
    let Summing { at, left, sum, .. } = work.summing;
    // From 1 to 512, as the verifier wants to see it.
    let length = (opaque(if left > CHUNK { CHUNK } else { left } as usize) as u32).wrapping_sub(1) & (CHUNK - 1);
    let length = length + 1;
    if !F::of_context(context).read(at, quote.as_mut_ptr(), length) {
        work.summing.is_whole = 0;
        return 1;
    }
    if number == 0 && work.packet.get(Field::L4Proto) == u32::from(udp::PROTOCOL) && quote[6] | quote[7] == 0 {
        work.summing.is_whole = 0;
        return 1;
    }
    // The helper takes words of 32 bits.
    for index in 0..3 {
        quote[(length as usize + index) & (QUOTE - 1)] = 0;
    }
    // SAFETY: that many bytes lie within the quote's room.
    let all = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, quote.as_mut_ptr().cast(), (length + 3) & !3, sum) };
    work.summing.sum = all as u32;
    work.summing.at = at + length;
    work.summing.left = left - length;
    i64::from(left == length)
}
