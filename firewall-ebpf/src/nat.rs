//! Translation of addresses. What it means is in [`firewall_common::nat`].
//!
//! A destination is written where the packet comes in, before the stack looks for a route; a source where it leaves, since the
//! stack would refuse a packet that comes in with an address of this host's. Rules see each as nftables shows it: the
//! destination translated from prerouting on, the source not before postrouting.
//!
//! The functions that are called are global ones, see [`crate::rules::walk_xdp`].

mod enter;
mod known;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_FIB_LOOKUP_OUTPUT, BPF_FIB_LOOKUP_SRC, bpf_fib_lookup as FibLookup, xdp_md},
    helpers::generated::bpf_fib_lookup,
};
use firewall_common::{
    conntrack as tracking,
    flow::Tuple,
    image::{Insn, Part, USES_NAT},
    nat::{self, HAS_ADDRESS, HAS_PORT, Kind, Quote, Rewrite},
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, NFPROTO_IPV4, Packet},
    parse::tagged,
    verdict::{Reason, Verdict},
    wire::{icmp, sctp, tcp, udp},
};

pub use self::{
    enter::{nat_enter, write_alias},
    known::{JUDGED, QUOTED, nat_resolve},
};
use crate::{
    conntrack, fragment, maps,
    packet::{Frame, TcFrame, XdpFrame},
    pipeline::Path,
    rules,
    verifier::{self, forget},
    work::Work,
};

/// [`Work::nat`]: the connection is a translated one.
pub const KNOWN: u32 = 1;
/// [`Work::nat`]: the packet is an answer of it.
pub const REPLY: u32 = 2;
/// [`Work::nat`]: a rule said so of the new connection.
pub const WANTED: u32 = 4;
/// [`Work::nat`]: the connection of that key is another one.
pub const CLASH: u32 = 8;

/// [`Work::nat`]: the packet is an ICMP error about it.
pub const ERROR: u32 = 16;

/// [`Work::rewrite`]: the destination is to be written.
const DESTINATION: u32 = 1;
/// [`Work::rewrite`]: the source is to be written.
const SOURCE: u32 = 2;
/// [`Work::rewrite`]: with its port.
const PORT: u32 = 4;
/// [`Work::rewrite`]: and into the packet that an ICMP error quotes.
const IN_QUOTE: u32 = 8;

/// Ports that are tried for a connection before it is refused.
const TRIES: u32 = 128;

/// Does the ruleset translate addresses?
#[inline(always)]
pub fn is_used() -> bool {
    maps::USES.load() & USES_NAT != 0
}

/// Behind prerouting: the destination, of a known connection or as the rules want it.
#[inline(always)]
pub fn destination<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    if !is_used() {
        return Verdict::PASS;
    }
    if forget(&work.nat) & CLASH != 0 {
        return Verdict::drop(Reason::NatClash);
    }
    // What another packet, or the other end of this one, asked for is not taken for it.
    work.packet.set(Field::Nat, 0);
    if work.pending != 0 && maps::has(Part::PreroutingNat) {
        let verdict = rules::run_rare(frame, work, Part::PreroutingNat);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    Verdict::stored(frame.nat_destination(work.path))
}

/// Behind postrouting: the source.
#[inline(always)]
pub fn source<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    if !is_used() {
        return Verdict::PASS;
    }
    work.packet.set(Field::Nat, 0);
    if work.pending != 0 && maps::has(Part::PostroutingNat) {
        let verdict = rules::run_rare(frame, work, Part::PostroutingNat);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    Verdict::stored(frame.nat_source(work.path))
}

/// Writes into the packet what was decided.
#[inline(always)]
pub fn write<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    if !is_used() || forget(&work.rewrite) == 0 {
        return Verdict::PASS;
    }
    if work.packet.get(Field::Fragment) != 0 && work.rewrite & IN_QUOTE != 0 {
        // The checksum of an error in pieces covers bytes that are not here.
        return Verdict::drop(Reason::NatFragment);
    }
    Verdict::stored(frame.nat_write(work.path))
}

/// The work at each stage as functions for each kind of program. Each gives back the number of the reason to drop the packet,
/// 0 for none.
macro_rules! stages {
    ($($xdp:ident, $tc:ident = $stage:ident;)+) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $xdp(context: *mut xdp_md, path: u32) -> u32 {
                verifier::frame();
                maps::work_of(path).map_or(Reason::Internal as u32, |work| {
                    $stage(&XdpFrame::of_context(context.cast()), work)
                })
            }

            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $tc(context: *mut __sk_buff, path: u32) -> u32 {
                verifier::frame();
                maps::work_of(path).map_or(Reason::Internal as u32, |work| {
                    $stage(&TcFrame::of_context(context.cast()), work)
                })
            }
        )+
    };
}

stages! {
    nat_destination_xdp, nat_destination_tc = choose_destination;
    nat_source_xdp, nat_source_tc = choose_source;
    nat_write_xdp, nat_write_tc = write_ends;
}

/// The instruction that a rule of a nat chain left behind.
#[inline(always)]
fn wanted(work: &Work) -> Option<&'static Insn> {
    let index = work.packet.get(Field::Nat);
    if work.pending == 0 || index == 0 { None } else { maps::INSNS.get(index - 1) }
}

#[inline(always)]
fn is_v4(work: &Work) -> bool {
    work.packet.get(Field::NfProto) == NFPROTO_IPV4
}

/// Notes both ends of a new connection as its first packet has them.
#[inline(always)]
fn begin(work: &mut Work) {
    if work.nat == 0 {
        work.nat = WANTED;
        work.original.read_key(&work.key, work.source_is_high != 0);
        work.translated.read_key(&work.key, work.source_is_high != 0);
    }
}

#[inline(always)]
fn choose_destination<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    if work.nat & KNOWN != 0 {
        put_known(work, false);
        return 0;
    }
    let Some(insn) = wanted(work) else { return 0 };
    begin(work);
    let address = if insn.mask & 3 == Kind::Redirect as u32 {
        match local_address(frame, work, Field::SourceAddress, work.packet.get(Field::IifIndex)) {
            Some(address) => address,
            None => return Reason::NatNoAddress as u32,
        }
    } else if insn.mask & HAS_ADDRESS != 0 {
        chosen_address(work, insn)
    } else {
        work.translated.addresses[1]
    };
    let old = work.translated.ports[1] as u16;
    let port = if insn.mask & HAS_PORT != 0 && has_ports(work) {
        nat::port_within(old, chosen_ports(work, insn), work.hash as u32 >> 3)
    } else {
        old
    };
    work.translated.addresses[1] = address;
    work.translated.ports[1] = u32::from(port);
    put(work, false, address, port, false);
    0
}

#[inline(always)]
fn choose_source<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    if work.nat & KNOWN != 0 {
        put_known(work, true);
        return 0;
    }
    if let Some(insn) = wanted(work) {
        begin(work);
        let address = if insn.mask & 3 == Kind::Masquerade as u32 {
            match local_address(frame, work, Field::DestinationAddress, work.packet.get(Field::OifIndex)) {
                Some(address) => address,
                None => return Reason::NatNoAddress as u32,
            }
        } else if insn.mask & HAS_ADDRESS != 0 {
            chosen_address(work, insn)
        } else {
            work.translated.addresses[0]
        };
        work.translated.addresses[0] = address;
        work.nat_flags = insn.mask;
        work.nat_ports = if insn.mask & HAS_PORT != 0 { chosen_ports(work, insn) } else { 0 };
    } else {
        work.nat_flags = 0;
        work.nat_ports = 0;
    }
    0
}

/// Do the connection's packets have ports that can be changed?
#[inline(always)]
pub fn has_ports(work: &Work) -> bool {
    matches!(
        work.packet.get(Field::L4Proto) as u8,
        tcp::PROTOCOL | udp::PROTOCOL | udp::PROTOCOL_LITE | sctp::PROTOCOL_DCCP
    )
}

#[inline(always)]
fn is_ping(work: &Work) -> bool {
    matches!(work.packet.get(Field::L4Proto) as u8, icmp::PROTOCOL | icmp::PROTOCOL_V6)
}

/// An address of the range that a statement gives: the same for one client and server every time.
#[inline(always)]
fn chosen_address(work: &Work, insn: &Insn) -> [u64; 2] {
    if insn.mask & nat::ADDRESS_COMPUTED != 0 {
        let register = |number| work.packet.get(Field::register(nat::PORT_REGISTER - number));
        return if is_v4(work) {
            [u64::from(register(1)), 0]
        } else {
            nat::address([register(4), register(3), register(2), register(1)], false)
        };
    }
    let (Some(first), Some(last)) = (maps::CONSTANTS.get(insn.low), maps::CONSTANTS.get(insn.low + 1)) else {
        return [0; 2];
    };
    if insn.mask & nat::PREFIX != 0 {
        let end = usize::from(insn.mask & 3 == Kind::Destination as u32);
        let (first, last) = (constant(first, is_v4(work)), constant(last, is_v4(work)));
        return nat::mapped(work.translated.addresses[end], first, last);
    }
    // An IPv4 address is the last word of a constant.
    if is_v4(work) {
        let count = u64::from(last[3].wrapping_sub(first[3])) + 1;
        return [u64::from(first[3]) + mixed(work, insn) % count, 0];
    }
    let low = u64::from(first[2]) << 32 | u64::from(first[3]);
    let high = u64::from(first[0]) << 32 | u64::from(first[1]);
    let until = u64::from(last[2]) << 32 | u64::from(last[3]);
    let more = until.wrapping_sub(low);
    let more = mixed(work, insn) % ((more & 0xffff_ffff) + 1);
    [high, low.wrapping_add(more)]
}

/// The ports that a statement gives, as one number.
#[inline(always)]
fn chosen_ports(work: &Work, insn: &Insn) -> u32 {
    if insn.mask & nat::PORT_COMPUTED == 0 {
        return insn.high;
    }
    let port = work.packet.get(Field::register(nat::PORT_REGISTER)) & 0xffff;
    port << 16 | port
}

/// An address that an instruction gives.
#[inline(always)]
const fn constant(words: &[u32; 4], is_v4: bool) -> [u64; 2] {
    if is_v4 { [words[3] as u64, 0] } else { nat::address(*words, false) }
}

#[inline(always)]
fn mixed(work: &Work, insn: &Insn) -> u64 {
    let (client, server) = (work.original.addresses[0], work.original.addresses[1]);
    let server = if insn.mask & nat::PERSISTENT != 0 { 0 } else { server[0] ^ server[1] };
    ((client[0] ^ client[1] ^ server.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 33
}

/// The address that this host has towards another one (`BPF_FIB_LOOKUP_SRC`, Linux 6.7: dab4e1f06cab).
#[inline(always)]
fn local_address<F: Frame>(frame: &F, work: &Work, peer: Field, ifindex: u32) -> Option<[u64; 2]> {
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    query.ifindex = ifindex;
    let is_v4 = is_v4(work);
    let words = [0, 1, 2, 3].map(|index| work.packet.get_at(peer, index).to_be());
    if is_v4 {
        query.family = 2;
        query.__bindgen_anon_4.ipv4_dst = words[0];
    } else {
        query.family = 10;
        query.__bindgen_anon_4.ipv6_dst = words;
    }
    let flags = BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SRC;
    // SAFETY: the structure is ours and its size is given.
    let answer =
        unsafe { bpf_fib_lookup(frame.context(), (&raw mut query).cast(), size_of::<FibLookup>() as i32, flags) };
    if !matches!(answer, 0 | 7 | 8) {
        return None;
    }
    // SAFETY: as asked for.
    let words = unsafe {
        if is_v4 {
            [u32::from_be(query.__bindgen_anon_3.ipv4_src), 0, 0, 0]
        } else {
            query.__bindgen_anon_3.ipv6_src.map(u32::from_be)
        }
    };
    (words != [0; 4]).then(|| nat::address(words, is_v4))
}

/// Puts an end of a known connection into the packet's words, as it is behind the translation.
#[inline(always)]
fn put_known(work: &mut Work, source: bool) {
    let is_reply = work.nat & REPLY != 0;
    let end = usize::from(source == is_reply);
    let from = if is_reply { &work.original } else { &work.translated };
    let (address, port) = (from.addresses[end], from.ports[end] as u16);
    // The identifier of a ping is the port of the end that asks.
    let with_id = end == 0;
    if work.nat & ERROR == 0 {
        put(work, source, address, port, with_id);
    } else if is_other(work, end) {
        put_quoted(work, source, address, port, with_id);
    }
}

/// Is this end of the connection translated?
#[inline(always)]
fn is_other(work: &Work, end: usize) -> bool {
    let (original, translated) = (&work.original, &work.translated);
    let counts = end == 0 || !is_ping_protocol(work.key.protocol());
    original.addresses[end] != translated.addresses[end] || (counts && original.ports[end] != translated.ports[end])
}

#[inline(always)]
const fn is_ping_protocol(protocol: u8) -> bool {
    matches!(protocol, icmp::PROTOCOL | icmp::PROTOCOL_V6)
}

/// The same of an ICMP error: what it quotes has the port, and what stands there will be found when it is written.
#[inline(always)]
fn put_quoted(work: &mut Work, source: bool, address: [u64; 2], port: u16, with_id: bool) {
    let has_id = is_ping_protocol(work.key.protocol());
    put(work, source, address, 0, false);
    if (work.path == Path::Egress as u32) == source {
        work.rewrite = IN_QUOTE | if source { SOURCE } else { DESTINATION } | if !has_id || with_id { PORT } else { 0 };
        work.ports = u32::from(port);
    }
}

/// Puts an end into the packet's words, for the rules behind, and notes that it is to be written.
#[inline(always)]
fn put(work: &mut Work, source: bool, address: [u64; 2], port: u16, with_id: bool) {
    let (field, ports) = if source {
        (Field::SourceAddress, Field::SourcePort)
    } else {
        (Field::DestinationAddress, Field::DestinationPort)
    };
    // The source of a packet that is judged where it comes in is written where it leaves.
    let writes = (work.path == Path::Egress as u32) == source;
    let is_v4 = is_v4(work);
    let words = nat::words(address, is_v4);
    let mut different = false;
    for (index, word) in words.into_iter().enumerate() {
        // Of an IPv4 address only the first word counts.
        let counts = !is_v4 || index == 0;
        let old = if counts { work.packet.get_at(field, index) } else { 0 };
        different |= old != word;
        if writes {
            work.old[index] = old;
            work.new[index] = word;
        }
        if counts {
            work.packet.set_at(field, index, word);
        }
    }
    let mut changed = 0;
    if has_ports(work) {
        changed = work.packet.get(ports) << 16 | u32::from(port);
        work.packet.set(ports, tagged(work.packet.get(Field::L4Proto) as u8, u32::from(port)));
    } else if is_ping(work) && with_id {
        changed = work.packet.icmp_id << 16 | u32::from(port);
        work.packet.icmp_id = u32::from(port);
    }
    let port_changes = changed >> 16 != changed & 0xffff;
    if writes && (different || port_changes) {
        work.ports = changed;
        work.rewrite = if source { SOURCE } else { DESTINATION } | if port_changes { PORT } else { 0 };
    }
}

#[inline(always)]
fn write_ends<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    let how = work.rewrite;
    work.rewrite = 0;
    let ports = (how & PORT != 0).then_some(((work.ports >> 16) as u16, work.ports as u16));
    let change = Rewrite { source: how & SOURCE != 0, old: work.old, new: work.new, ports };
    let written = if how & IN_QUOTE != 0 {
        let quote = Quote { upper: work.quoted_upper, protocol: work.quoted_protocol as u8 };
        nat::rewrite_error(frame, &work.packet, &change, quote)
    } else {
        nat::rewrite(frame, &work.packet, &change)
    };
    if written { 0 } else { Reason::NatUnwritable as u32 }
}

/// Is the packet an ICMP error?
#[inline(always)]
fn is_error(packet: &Packet) -> bool {
    let kind = tracking::icmp_kind(packet);
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    match packet.get(Field::L4Proto) as u8 {
        icmp::PROTOCOL => is_v4 && icmp::is_error(kind),
        icmp::PROTOCOL_V6 => !is_v4 && icmp::is_error_v6(kind),
        _ => false,
    }
}

/// A packet that was judged where it came in, about to leave: the source. The number of the reason to drop it, 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_forwarded_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    maps::work_of(path)
        .map_or(Reason::Internal as u32, |work| forwarded(&TcFrame::of_context(context.cast()), work).number())
}

#[inline(always)]
fn forwarded<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let verdict = fragment::restore(work);
    if !verdict.is_pass() {
        return verdict;
    }
    if work.packet.get(Field::Fragment) & FRAGMENT_LATER != 0 && work.packet.get(Field::L4Header) & L4_PRESENT == 0 {
        // Whose it is cannot be told, and it must not leave with an address that is not for there.
        return Verdict::drop(Reason::NatFragment);
    }
    fragment::note(work);
    fragment::remember(work);
    if work.packet.get(Field::NfProto) == 0 || work.packet.get(Field::L4Header) & L4_PRESENT == 0 {
        return Verdict::PASS;
    }
    if is_error(&work.packet) && work.packet.get(Field::Fragment) & FRAGMENT_LATER == 0 {
        let _ = conntrack::find_quoted(frame, work);
    } else {
        let (key, source_is_high) = Tuple::of(&work.packet).key(conntrack::zone(work));
        conntrack::aim(work, key, source_is_high);
        conntrack::find(work);
        let _ = nat_resolve(work.path, 0);
    }
    if forget(&work.nat) & KNOWN == 0 {
        return Verdict::PASS;
    }
    let _ = frame.nat_source(work.path);
    write(frame, work)
}
