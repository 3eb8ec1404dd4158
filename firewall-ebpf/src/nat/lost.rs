//! Masquerade follows the addresses of this host: a connection ends with the address that it had
//! (`masq_device_event`, `net/netfilter/nf_nat_masquerade.c`). Programs are not told of addresses that go, so they ask.

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::generated::bpf_fib_lookup};
use firewall_common::{
    nat::{self, Kind},
    packet::Field,
    table::{Entry, Slot},
    verdict::Reason,
};

use super::{is_v4, known::place_of, local_address};
use crate::{
    bucket, emit,
    fib::head_for,
    maps,
    packet::Frame,
    verifier::{self, forget},
    work::Work,
};

/// Notes in the alias of the answers how its connection came by its address.
#[inline(always)]
pub fn note(work: &Work, alias: &mut Entry) {
    alias.mark = u32::from(work.nat_flags & 3 == Kind::Masquerade as u32);
}

/// Has this host the address no more that a masqueraded connection has? Asked once a tick of each.
#[inline(never)]
pub fn is_lost<F: Frame>(frame: &F, work: &mut Work) -> bool {
    verifier::frame();
    let Some((_, alias, _)) = place_of(forget(&work.alias_bucket), forget(&work.alias_place)) else { return false };
    if alias.mark == 0 || alias.created == work.tick {
        return false;
    }
    alias.created = work.tick;
    let out = work.packet.get(Field::OifIndex);
    // Most often it still is the address that would be given now.
    if local_address(frame, work, Field::DestinationAddress, out) == Some(work.translated.addresses[0]) {
        return false;
    }
    !is_own(frame, work)
}

/// Would the stack keep packets to the address?
#[inline(always)]
fn is_own<F: Frame>(frame: &F, work: &mut Work) -> bool {
    let is_v4 = is_v4(work);
    let words = nat::words(work.translated.addresses[0], is_v4).map(u32::to_be);
    let query = &mut work.way_back;
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    *query = unsafe { core::mem::zeroed() };
    query.ifindex = work.packet.get(Field::OifIndex);
    head_for(query, is_v4, words);
    // SAFETY: the structure is ours and its size is given.
    let answer =
        unsafe { bpf_fib_lookup(frame.context(), (&raw mut work.way_back).cast(), size_of::<FibLookup>() as i32, 0) };
    // What is left are answers that name a way out, or that there is none.
    !matches!(answer, 0..=3 | 6..=8)
}

/// Ends the connection: its next packet begins another one. The number of the reason to drop this one.
#[inline(always)]
pub fn end(work: &Work) -> u32 {
    let state = Slot(work.slot).state();
    if !state.is_over() {
        emit::closed(work, state);
    }
    for (bucket, place) in [(&work.alias_bucket, &work.alias_place), (&work.bucket, &work.place)] {
        if let Some(bucket) = maps::bucket(forget(bucket)) {
            // SAFETY: an aligned word of a map value.
            unsafe { verifier::publish(bucket::slot_word(bucket, forget(place)), 0) };
        }
    }
    Reason::NatNoAddress as u32
}
