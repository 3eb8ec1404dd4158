//! Is a packet for this host, or on its way through?

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::generated::bpf_fib_lookup};
use firewall_common::{
    image::{Hook, Part},
    packet::{Field, NFPROTO_IPV4},
};

use crate::{fib::head_for, maps, nat, packet::Frame, pipeline::Path, verifier, work::Work};

/// The hook whose rules the packet meets; `None` for one that none meets.
///
/// While there are no chains for packets on their way through, these pass and are not tracked, and one of a known
/// connection needs no look at the routes: only connections that begin or end here are in the table then.
#[inline(always)]
pub fn hook<F: Frame>(frame: &F, work: &mut Work, path: Path) -> Option<Hook> {
    if path == Path::Egress {
        return Some(Hook::Output);
    }
    let has_chains =
        nat::is_used() || maps::has(Part::Forward) || maps::has(Part::Postrouting) || maps::has(Part::Prerouting);
    if !has_chains && work.place != 0 {
        return Some(Hook::Input);
    }
    match route(frame, work, has_chains) {
        Route::LOCAL => Some(Hook::Input),
        out if has_chains && out != Route::REFUSED && !is_last_hop(work) => {
            work.packet.set(Field::OifIndex, if out == Route::TUNNEL { 0 } else { out.0 });
            // Chains see what the stack has left of it: it is taken off before the forward hook, in both functions.
            work.packet.set(Field::Ttl, work.packet.get(Field::Ttl) - 1);
            Some(Hook::Forward)
        }
        _ => None,
    }
}

/// The stack answers "time exceeded" before the forward hook (`ip_forward`, net/ipv4/ip_forward.c; `ip6_forward`,
/// net/ipv6/ip6_output.c): no rule is asked.
#[inline(always)]
fn is_last_hop(work: &Work) -> bool {
    work.packet.get(Field::Ttl) <= 1
}

/// What the stack will do with a packet: the index of the interface it will be sent out by, or one of the constants.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Route(u32);

impl Route {
    /// It is for this host.
    const LOCAL: Self = Self(0);
    /// It will leave by a tunnel of the route (lightweight encapsulation), whose interface the lookup does not tell:
    /// rules that ask for an outgoing interface do not match.
    const TUNNEL: Self = Self(u32::MAX - 1);
    /// It will be refused for its route, before any rule could.
    const REFUSED: Self = Self(u32::MAX);
}

/// An answer of the routing table, kept for the rest of the tick (268 ms): the question costs more than everything else
/// that happens to a packet that is dropped. So a change of addresses or routes takes effect within a tick.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Remembered {
    destination: [u32; 4],
    source: [u32; 4],
    ifindex: u32,
    tick: u32,
    family: u32,
    route: u32,
}

/// Places for answers; a power of two.
pub const REMEMBERED: u32 = 256;

/// What will the stack do with the packet? The source only matters when it matters where the packet leaves by
/// (`ip rule from`).
#[inline(always)]
fn route<F: Frame>(frame: &F, work: &Work, with_source: bool) -> Route {
    let destination = address(work, Field::DestinationAddress);
    let source = if with_source { address(work, Field::SourceAddress) } else { [0; 4] };
    let family = work.packet.get(Field::NfProto);
    let ifindex = work.packet.get(Field::IifIndex);
    let mixed = destination[0] ^ destination[1] ^ destination[2] ^ destination[3] ^ source[3] ^ source[0] ^ ifindex;
    let place = (mixed ^ mixed >> 16 ^ mixed >> 8) & (REMEMBERED - 1);
    let Some(remembered) = maps::ROUTES.get_ptr_mut(place) else {
        return ask(frame, work);
    };
    // SAFETY: this CPU's value.
    let remembered = unsafe { &mut *remembered };
    let known = remembered.tick == work.tick
        && remembered.destination == destination
        && remembered.source == source
        && remembered.ifindex == ifindex
        && remembered.family == family;
    if !known {
        let route = ask(frame, work).0;
        *remembered = Remembered { destination, source, ifindex, tick: work.tick, family, route };
    }
    Route(remembered.route)
}

/// Asks the kernel's routing table what it will do with the packet, so it cannot be of another opinion.
///
/// `BPF_FIB_LKUP_RET_*` (include/uapi/linux/bpf.h, Linux 6.18): success (0), no neighbour yet (7) and too large (8)
/// name the interface; a tunnel (6) does not; blackhole, unreachable and prohibit (1 to 3) are refusals. `NOT_FWDED`
/// (4) is a local, broadcast or multicast destination, `FWD_DISABLED` (5) a host that is no router; a negative number,
/// a packet that the lookup cannot judge: all these stay here.
#[inline(never)]
fn ask<F: Frame>(frame: &F, work: &Work) -> Route {
    verifier::frame();
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    let ifindex = work.packet.get(Field::IifIndex);
    query.ifindex = ifindex;
    let (source, destination) = (address(work, Field::SourceAddress), address(work, Field::DestinationAddress));
    let is_v4 = work.packet.get(Field::NfProto) == NFPROTO_IPV4;
    head_for(&mut query, is_v4, destination.map(u32::to_be));
    if is_v4 {
        query.__bindgen_anon_3.ipv4_src = source[0].to_be();
    } else {
        query.__bindgen_anon_3.ipv6_src = source.map(u32::to_be);
    }
    // SAFETY: the structure is ours and its size is given.
    let answer = unsafe { bpf_fib_lookup(frame.context(), (&raw mut query).cast(), size_of::<FibLookup>() as i32, 0) };
    match answer {
        0 | 7 | 8 => Route(query.ifindex),
        1..=3 => Route::REFUSED,
        6 => Route::TUNNEL,
        _ => Route::LOCAL,
    }
}

/// The address of this host that a packet to the sender of this one would come from (`BPF_FIB_LOOKUP_SRC`, Linux 6.7:
/// dab4e1f06cab); `false` when there is none, or the kernel does not know the question.
#[inline(always)]
pub fn own_address<F: Frame>(frame: &F, work: &Work, own: &mut [u32; 4]) -> bool {
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    query.ifindex = work.packet.get(Field::IifIndex);
    let is_v4 = work.packet.get(Field::NfProto) == NFPROTO_IPV4;
    let sender = address(work, Field::SourceAddress);
    head_for(&mut query, is_v4, sender.map(u32::to_be));
    let flags = BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC;
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the structure is ours and its size is given.
    let answer = unsafe { bpf_fib_lookup(frame.context(), (&raw mut query).cast(), size, flags) };
    // SAFETY: integers, of which one or four were written.
    let found =
        unsafe { if is_v4 { [query.__bindgen_anon_3.ipv4_src, 0, 0, 0] } else { query.__bindgen_anon_3.ipv6_src } };
    *own = found.map(u32::from_be);
    answer == 0 && found != [0; 4]
}

/// [`bpf_fib_lookup`] without the neighbour (Linux 6.4), and with the address to send from.
const BPF_FIB_LOOKUP_SKIP_NEIGH: u32 = 4;
const BPF_FIB_LOOKUP_SRC: u32 = 16;

/// An address as four words; an IPv4 address is the first, and what the packet before left in the others is not taken.
#[inline(always)]
fn address(work: &Work, field: Field) -> [u32; 4] {
    let words = [0, 1, 2, 3].map(|index| work.packet.get_at(field, index));
    if work.packet.get(Field::NfProto) == NFPROTO_IPV4 { [words[0], 0, 0, 0] } else { words }
}
