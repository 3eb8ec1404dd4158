//! Asking the routing table for the way back.

use core::ffi::c_void;

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::generated::bpf_fib_lookup};
use firewall_common::{
    fib::{self, LOOPBACK, Query},
    image::{Insn, NO_ANSWER, Target},
    mtu,
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6, WORDS},
};

use crate::{verifier, work::Work};

/// Address family numbers of sockets (include/linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Makes a question one for the way to an address, whose words are in network byte order.
#[inline(always)]
pub fn head_for(query: &mut FibLookup, is_v4: bool, destination: [u32; 4]) {
    if is_v4 {
        query.family = AF_INET;
        query.__bindgen_anon_4.ipv4_dst = destination[0];
    } else {
        query.family = AF_INET6;
        query.__bindgen_anon_4.ipv6_dst = destination;
    }
}

/// `BPF_FIB_LOOKUP_MARK` (include/uapi/linux/bpf.h, Linux 6.10): the question has a mark.
const LOOKUP_MARK: u32 = 1 << 5;

/// `BPF_FIB_LOOKUP_SKIP_NEIGH` (Linux 6.4: 31de4105f00d): without a neighbour there would be no MTU in the answer.
const SKIP_NEIGHBOUR: u32 = 1 << 2;

/// The routing table gave no answer.
const UNANSWERED: u32 = u32::MAX;

/// Carries out the instruction.
#[inline(never)]
pub fn run(work: &mut Work, context: *mut c_void, insn: &Insn) {
    verifier::frame();
    let flags = insn.low;
    let named = match fib::answered(&work.packet) {
        Some(interface) => interface,
        None => ask(work, context, flags),
    };
    if named == UNANSWERED {
        work.cursor.at = Target::DROP;
        work.cursor.rule = NO_ANSWER;
        return;
    }
    let result = fib::result(&work.packet, flags, insn.high, named);
    work.packet.words[insn.extra as usize & (WORDS - 1)] = result;
    work.cursor.at = insn.pass;
}

/// The interface that the way leads out by; 0 when there is none.
///
/// `BPF_FIB_LKUP_RET_*` (include/uapi/linux/bpf.h, Linux 6.18): success (0), no neighbour yet (7) and too large (8) name the
/// interface. Blackhole, unreachable and prohibit (1 to 3) lead nowhere, nor does what is not forwarded (4): the source is
/// this host, or there is no route. Forwarding that is off (5) and tunnels (6) are no answers.
///
/// The question lies in the work area: the stack of four calls within each other has 512 bytes.
#[inline(always)]
fn ask(work: &mut Work, context: *mut c_void, flags: u32) -> u32 {
    let (packet, lookup) = (&work.packet, &mut work.way_back);
    let query: Query = fib::query(packet, flags, work.hook);
    let family = packet.get(Field::NfProto);
    if family == NFPROTO_IPV4 {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_2.flowinfo = 0;
        lookup.__bindgen_anon_2.tos = query.tos as u8;
        lookup.__bindgen_anon_3.ipv4_src = query.source.to_be();
        lookup.__bindgen_anon_4.ipv4_dst = query.destination.to_be();
    } else if family == NFPROTO_IPV6 {
        let address = |field: Field| [0, 1, 2, 3].map(|index| packet.get_at(field, index).to_be());
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_2.flowinfo = fib::flow6(packet).to_be();
        lookup.__bindgen_anon_3.ipv6_src =
            if fib::is_host6(packet) { address(Field::DestinationAddress) } else { [0; 4] };
        lookup.__bindgen_anon_4.ipv6_dst = address(Field::SourceAddress);
    } else {
        return UNANSWERED;
    }
    lookup.ifindex = query.ifindex;
    lookup.l4_protocol = query.protocol as u8;
    (lookup.sport, lookup.dport) = (0, 0);
    lookup.__bindgen_anon_1.tot_len = 0;
    lookup.__bindgen_anon_5.tbid = 0;
    // The mark lies where the answer's hardware addresses will.
    let [first, second, third, fourth] = query.mark.to_ne_bytes();
    lookup.smac = [first, second, third, fourth, 0, 0];
    let flags = if query.mark == 0 { 0 } else { LOOKUP_MARK };
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the structure is ours and its size is given.
    let answer = unsafe { bpf_fib_lookup(context, core::ptr::from_mut(lookup).cast(), size, flags) };
    match answer {
        // What IPv6 routes to loopback, and is not there, it refuses (`fib6_is_reject`, net/ipv6/route.c).
        0 | 7 | 8 if family == NFPROTO_IPV6 && lookup.ifindex == LOOPBACK => 0,
        0 | 7 | 8 => lookup.ifindex,
        1..=4 => 0,
        _ => UNANSWERED,
    }
}

/// Carries out [`firewall_common::image::Op::Mtu`].
#[inline(never)]
pub fn segment(work: &mut Work, context: *mut c_void, insn: &Insn) {
    verifier::frame();
    let word = insn.extra as usize & (WORDS - 1);
    if mtu::is_own(&work.packet) {
        work.packet.words[word] = mtu::UNLIMITED;
        work.cursor.at = insn.pass;
        return;
    }
    let forward = mtu_of(work, context, false);
    let back = mtu_of(work, context, true);
    if forward == UNANSWERED || back == UNANSWERED {
        work.cursor.at = Target::DROP;
        work.cursor.rule = NO_ANSWER;
        return;
    }
    work.packet.words[word] = mtu::segment(&work.packet, forward, back);
    work.cursor.at = insn.pass;
}

/// What the route of a packet takes, or that back to its sender; [`mtu::UNLIMITED`] where no route leads.
///
/// The answer has the MTU where the question has a length: one that every route takes.
#[inline(always)]
fn mtu_of(work: &mut Work, context: *mut c_void, is_back: bool) -> u32 {
    let (packet, lookup) = (&work.packet, &mut work.way_back);
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    let address = |field: Field| [0, 1, 2, 3].map(|index| packet.get_at(field, index).to_be());
    let (source, destination) = if is_back {
        ([0; 4], address(Field::SourceAddress))
    } else {
        (address(Field::SourceAddress), address(Field::DestinationAddress))
    };
    lookup.family = if is_v4 { AF_INET } else { AF_INET6 };
    lookup.ifindex = if is_back { LOOPBACK } else { packet.get(Field::IifIndex) };
    (lookup.l4_protocol, lookup.sport, lookup.dport) = (0, 0, 0);
    lookup.__bindgen_anon_1.tot_len = 1;
    lookup.__bindgen_anon_2.flowinfo = 0;
    lookup.__bindgen_anon_3.ipv6_src = source;
    lookup.__bindgen_anon_4.ipv6_dst = destination;
    lookup.__bindgen_anon_5.tbid = 0;
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the structure is ours and its size is given.
    let answer = unsafe { bpf_fib_lookup(context, core::ptr::from_mut(lookup).cast(), size, SKIP_NEIGHBOUR) };
    match answer {
        // SAFETY: a number, which the helper has written.
        0 => u32::from(unsafe { lookup.__bindgen_anon_1.mtu_result }),
        1..=4 => mtu::UNLIMITED,
        _ => UNANSWERED,
    }
}
