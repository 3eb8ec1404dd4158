//! Fragments: a later one has no ports of its own and takes those of the first.
//!
//! The kernel's netfilter sees packets put together again; here each fragment is judged as the whole would be, once
//! its first fragment was accepted. Fragments that overtake their first one, or come long after it, are judged as
//! fragments: without ports, `ct state invalid`.

use firewall_common::{
    conntrack::Timeout,
    fragment::{Fit, Pieces},
    packet::{FRAGMENT_LATER, FRAGMENT_MORE, Field},
    verdict::{Reason, Verdict},
};

use crate::{
    maps,
    verifier::{self, forget},
    work::Work,
};

/// Gives a later fragment what its first one had. A drop where its bytes cannot be.
#[inline(always)]
pub fn restore(work: &mut Work) -> Verdict {
    if work.packet.get(Field::Fragment) & FRAGMENT_LATER == 0 {
        return Verdict::PASS;
    }
    let _ = fragment_join(work.path);
    verifier::changed(work);
    Verdict::stored(forget(&work.outcome))
}

/// Few packets are fragments, and it is long when unrolled: looked at once by the verifier, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn fragment_join(path: u32) -> u32 {
    verifier::frame();
    if let Some(work) = maps::work_of(path) {
        work.outcome = Verdict::PASS.number();
        join(work);
    }
    0
}

#[inline(always)]
fn join(work: &mut Work) {
    set_key(work);
    let pieces = maps::FRAGMENTS.get_ptr_mut(&work.fragment_key);
    // SAFETY: a value of the map. Being overwritten meanwhile, or used by two CPUs at once, is the price of a map without
    // locks: an overlap may be missed then, and who puts the packet together finds it.
    let pieces = pieces.and_then(|pieces| unsafe { pieces.as_mut() }).filter(|pieces| pieces.is_alive(work.tick));
    let Some(pieces) = pieces else {
        maps::flow_stats(|stats| stats.fragments_early += 1);
        return;
    };
    let verdict = match pieces.note(&work.packet) {
        Fit::Fits => Verdict::PASS,
        Fit::Overlaps => Verdict::drop(Reason::FragmentOverlap),
        Fit::Scattered => Verdict::drop(Reason::FragmentScattered),
    };
    pieces.lend(&mut work.packet);
    work.outcome = verdict.number();
}

/// Notes of a first fragment what later ones will need, before its addresses are translated: theirs are not yet either.
#[inline(always)]
pub fn note(work: &mut Work) {
    if work.packet.get(Field::Fragment) == FRAGMENT_MORE {
        let _ = fragment_note(work.path);
    }
}

/// As [`fragment_join`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn fragment_note(path: u32) -> u32 {
    verifier::frame();
    if let Some(work) = maps::work_of(path) {
        set_key(work);
        let expires = work.tick.wrapping_add(maps::ticks(Timeout::Fragment as u32));
        work.pieces = Pieces::of_first(&work.packet, expires);
    }
    0
}

/// Keeps it, once the packet was accepted.
#[inline(always)]
pub fn remember(work: &mut Work) {
    if work.packet.get(Field::Fragment) == FRAGMENT_MORE {
        let _ = fragment_keep(work.path);
    }
}

/// As [`fragment_join`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn fragment_keep(path: u32) -> u32 {
    verifier::frame();
    if let Some(work) = maps::work_of(path) {
        // The map forgets its oldest entry when it is full, so this cannot fail for want of room; if it fails, later
        // fragments are judged as fragments.
        let _ = maps::FRAGMENTS.insert(&work.fragment_key, &work.pieces, 0);
    }
    0
}

/// Addresses, protocol, zone and identification (RFC 791 section 3.2, RFC 8200 section 4.5); and the way: between the two
/// the addresses may have been translated.
#[inline(always)]
fn set_key(work: &mut Work) {
    let half = |work: &Work, field, at| {
        u64::from(work.packet.get_at(field, at)) << 32 | u64::from(work.packet.get_at(field, at + 1))
    };
    let is_v4 = work.packet.get(Field::NfProto) == firewall_common::packet::NFPROTO_IPV4;
    let wide = |work: &Work, field, at| if is_v4 { u64::from(work.packet.get(field)) } else { half(work, field, at) };
    let protocol = u64::from(work.packet.get(Field::L4Proto)) << 32;
    let zone = u64::from(crate::conntrack::zone(work)) << 40;
    let way = u64::from(work.path) << 56;
    work.fragment_key[0] = wide(work, Field::SourceAddress, 0);
    work.fragment_key[1] = wide(work, Field::SourceAddress, 2);
    work.fragment_key[2] = wide(work, Field::DestinationAddress, 0);
    work.fragment_key[3] = wide(work, Field::DestinationAddress, 2);
    work.fragment_key[4] = way | zone | protocol | u64::from(work.packet.fragment_id);
}
