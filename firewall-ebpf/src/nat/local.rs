//! Packets made here whose destination is translated, and packets for this host whose source is.
//!
//! Programs meet both beyond the stack: what leaves has its route already, and what comes in has none yet. So a packet whose
//! destination changes is handed to the interface that the routing table names for it, with the neighbour to be found
//! (`bpf_redirect_neigh`, Linux 5.10), or to loopback when this host has the new destination. It comes by the programs of that
//! interface once more, which know it by a mark that only programs can set. Answers of this host that go by loopback need
//! programs there, as have connections to own addresses.

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::generated::bpf_fib_lookup};
use firewall_common::{
    bytes::HeaderBytes,
    image::{Part, USES_LOCAL_NAT},
    nat,
    packet::Field,
    verdict::{Reason, Verdict},
};

use super::{CLASH, DESTINATION, KNOWN, WANTED, is_used, is_v4};
use crate::{fib::head_for, maps, packet::Frame, pipeline::Path, rules, verifier::forget, work::Work};

/// Loopback's index in every network namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Does the ruleset translate what begins or ends here, at the end that is here?
#[inline(always)]
fn is_local() -> bool {
    maps::USES.load() & USES_LOCAL_NAT != 0
}

/// Was the packet sent here by [`send`], from where it was judged?
#[inline(always)]
pub fn is_turned<F: Frame>(frame: &F, path: Path) -> bool {
    is_local() && path == Path::Egress && frame.was_sent_on()
}

/// Behind the nat chains of output, in the order of nft: the destination.
#[inline(always)]
pub fn output<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    if !is_used() {
        return Verdict::PASS;
    }
    if forget(&work.nat) & CLASH != 0 {
        return Verdict::drop(Reason::NatClash);
    }
    work.packet.set(Field::Nat, 0);
    if work.pending != 0 && maps::has(Part::OutputNat) {
        let verdict = rules::run_rare(frame, work, Part::OutputNat);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    if is_translated(work) { Verdict::stored(frame.nat_destination(work.path)) } else { Verdict::PASS }
}

/// Behind the chains of input: the source.
#[inline(always)]
pub fn input<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    work.packet.set(Field::Nat, 0);
    if work.pending != 0 && maps::has(Part::InputNat) {
        let verdict = rules::run_rare(frame, work, Part::InputNat);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    if is_used() && is_translated(work) { Verdict::stored(frame.nat_source(work.path)) } else { Verdict::PASS }
}

/// Is there something to translate? Most packets from and to this host have nothing.
#[inline(always)]
fn is_translated(work: &Work) -> bool {
    forget(&work.nat) & (KNOWN | WANTED) != 0 || work.packet.get(Field::Nat) != 0
}

/// Where `redirect` leads what is made here (`nf_nat_redirect_ipv4`, net/netfilter/nf_nat_redirect.c).
#[inline(always)]
pub fn loopback(is_v4: bool) -> [u64; 2] {
    if is_v4 { [0x7f00_0001, 0] } else { [0, 1] }
}

/// What the routing table says of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way(u32);

impl Way {
    /// It is this host's.
    const HERE: Self = Self(0);
    /// There is none.
    const NONE: Self = Self(u32::MAX);
}

/// Asks for the way to an address as for a packet that is made here: [`bpf_fib_lookup`] as if it came by loopback, which is how
/// the stack asks. Answers where forwarding is on for `lo`, which `apply` wants.
#[inline(always)]
fn way_to<F: Frame>(frame: &F, work: &mut Work, words: [u32; 4]) -> Way {
    let is_v4 = is_v4(work);
    let source = [0, 1, 2, 3].map(|index| work.packet.get_at(Field::SourceAddress, index).to_be());
    let destination = words.map(u32::to_be);
    let query = &mut work.way_back;
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    *query = unsafe { core::mem::zeroed() };
    query.ifindex = LOOPBACK;
    head_for(query, is_v4, destination);
    if is_v4 {
        query.__bindgen_anon_3.ipv4_src = source[0];
    } else {
        query.__bindgen_anon_3.ipv6_src = source;
    }
    // SAFETY: the structure is ours and its size is given.
    let answer =
        unsafe { bpf_fib_lookup(frame.context(), (&raw mut work.way_back).cast(), size_of::<FibLookup>() as i32, 0) };
    match answer {
        0 | 7 | 8 => Way(forget(&work.way_back.ifindex)),
        4 => Way::HERE,
        _ => Way::NONE,
    }
}

/// The way of a packet made here, when its destination is another one now. The number of the reason to drop it, 0 for none.
#[inline(always)]
pub fn find_way<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    if !is_local() || work.path != Path::Egress as u32 || !is_elsewhere(work) {
        return 0;
    }
    let words = [0, 1, 2, 3].map(|index| work.packet.get_at(Field::DestinationAddress, index));
    let words = if is_v4(work) { [words[0], 0, 0, 0] } else { words };
    let (from, way) = (work.packet.get(Field::OifIndex), way_to(frame, work, words));
    if way == Way::NONE {
        return Reason::NatNoRoute as u32;
    }
    if way == Way::HERE {
        // From an interface to one of its own addresses, the stack would take the packet for a forged one.
        let is_loopback = if is_v4(work) { words[0] >> 24 == 127 } else { words == [0, 0, 0, 1] };
        if from != LOOPBACK && !is_loopback {
            return Reason::NatOwnAddress as u32;
        }
        work.leaves_by = LOOPBACK;
        work.detour = if from == LOOPBACK { 0 } else { LOOPBACK };
        return 0;
    }
    if from == LOOPBACK && is_v4(work) {
        // Answers would have to come in with an address of this host's as their source.
        return Reason::NatOwnAddress as u32;
    }
    work.leaves_by = way.0;
    work.detour = if way.0 == from && is_same_neighbour(frame, work) { 0 } else { way.0 };
    0
}

/// Goes the packet to the new way's neighbour as it is? Always where there are no neighbours.
#[inline(always)]
fn is_same_neighbour<F: Frame>(frame: &F, work: &Work) -> bool {
    let Some(link) = frame.header::<6>(0) else { return false };
    // 0 when the neighbour is not known yet.
    let wanted = work.way_back.dmac;
    let different = (0..6).fold(0, |bits, at| bits | (link.u8(at) ^ wanted[at]));
    work.packet.l3_offset == 0 || different == 0
}

/// Is the destination another one than that which the stack found the way to?
#[inline(always)]
fn is_elsewhere(work: &Work) -> bool {
    let change = &work.changes[DESTINATION];
    let different = (0..4).fold(0, |bits, index| bits | (change.old[index] ^ change.new[index]));
    forget(&change.how) != 0 && different != 0
}

/// Would the stack refuse a packet that comes in with this source, because it is its own?
#[inline(always)]
pub fn is_refused_as_source<F: Frame>(frame: &F, work: &mut Work, address: [u64; 2]) -> bool {
    is_v4(work) && way_to(frame, work, nat::words(address, true)) == Way::HERE
}

/// Sends a packet that passed to where it leaves: the verdict, with a note that it is to be sent.
#[inline(always)]
pub fn send<F: Frame>(frame: &F, work: &Work, path: Path, verdict: Verdict) -> Verdict {
    if !is_local() || path != Path::Egress || !verdict.is_pass() {
        return verdict;
    }
    let by = forget(&work.detour);
    if by == 0 {
        return verdict;
    }
    frame.send_on(by);
    verdict.answered()
}
