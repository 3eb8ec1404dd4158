//! Translation of addresses. What it means is in [`firewall_common::nat`].
//!
//! A destination is written where the packet comes in, before the stack looks for a route; a source where it leaves, since the
//! stack would refuse a packet that comes in with an address of this host's. Rules see each as nftables shows it: the
//! destination translated from prerouting on, the source not before postrouting.
//!
//! The functions that are called are global ones, see [`crate::rules::walk_xdp`].

mod choose;
mod enter;
mod known;
mod local;
mod lost;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use firewall_common::{
    conntrack as tracking,
    flow::Tuple,
    image::{Hook, Insn, Part, USES_NAT},
    nat::{self, HAS_ADDRESS, HAS_PORT, Kind, Quote, Rewrite},
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, NFPROTO_IPV4, Packet},
    parse::tagged,
    verdict::{Reason, Verdict},
    wire::{icmp, sctp, tcp, udp},
};

use self::choose::{chosen_address, chosen_ports, local_address};
pub use self::{
    enter::{free, nat_enter, write_alias},
    known::{JUDGED, QUOTED, how_judged, nat_resolve},
    local::{input, is_turned, output, send},
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

/// What is to become of an end of the packet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Change {
    /// 0 for nothing.
    pub how: u32,
    /// What stands there, and what shall.
    pub old: [u32; 4],
    /// As above.
    pub new: [u32; 4],
    /// Both ports, the old one in the upper half.
    pub ports: u32,
}

/// [`Work::changes`]: the destination's, the source's.
const DESTINATION: usize = 0;
/// As above.
const SOURCE: usize = 1;

/// [`Change::how`]: the address is to be written.
const ADDRESS: u32 = 1;
/// [`Change::how`]: with its port.
const PORT: u32 = 4;
/// [`Change::how`]: and into the packet that an ICMP error quotes.
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

/// Behind the chains of postrouting: the source.
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
    if !is_used() {
        return Verdict::PASS;
    }
    let how = forget(&work.changes[DESTINATION].how) | forget(&work.changes[SOURCE].how);
    if how == 0 {
        return Verdict::PASS;
    }
    if work.packet.get(Field::Fragment) != 0 && how & IN_QUOTE != 0 {
        // The checksum of an error in pieces covers bytes that are not here.
        return Verdict::drop(Reason::NatFragment);
    }
    for end in [DESTINATION, SOURCE] {
        if forget(&work.changes[end].how) != 0 {
            work.writing = end as u32;
            let verdict = Verdict::stored(frame.nat_write(work.path));
            if !verdict.is_pass() {
                return verdict;
            }
        }
    }
    Verdict::PASS
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
    nat_write_xdp, nat_write_tc = write_end;
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
        return local::find_way(frame, work);
    }
    let Some(insn) = wanted(work) else { return 0 };
    begin(work);
    let address = if insn.mask & 3 == Kind::Redirect as u32 && work.path == Path::Egress as u32 {
        local::loopback(is_v4(work))
    } else if insn.mask & 3 == Kind::Redirect as u32 {
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
    local::find_way(frame, work)
}

#[inline(always)]
fn choose_source<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    if work.nat & KNOWN != 0 {
        if work.nat & (REPLY | ERROR) == 0 && work.path == Path::Egress as u32 && lost::is_lost(frame, work) {
            return lost::end(work);
        }
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
        if work.hook == Hook::Input as u32 && local::is_refused_as_source(frame, work, address) {
            return Reason::NatOwnAddress as u32;
        }
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

/// Is this the place where an end is written? The source of a packet that is forwarded is written where it
/// leaves.
#[inline(always)]
fn is_written_here(work: &Work, source: bool) -> bool {
    work.path == Path::Egress as u32 || !source || work.hook == Hook::Input as u32 || work.leaves != 0
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
    if is_written_here(work, source) {
        let change = &mut work.changes[usize::from(source)];
        change.how = IN_QUOTE | ADDRESS | if !has_id || with_id { PORT } else { 0 };
        change.ports = u32::from(port);
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
    let writes = is_written_here(work, source);
    let at = usize::from(source);
    let is_v4 = is_v4(work);
    let words = nat::words(address, is_v4);
    let mut different = false;
    for (index, word) in words.into_iter().enumerate() {
        // Of an IPv4 address only the first word counts.
        let counts = !is_v4 || index == 0;
        let old = if counts { work.packet.get_at(field, index) } else { 0 };
        different |= old != word;
        if writes {
            work.changes[at].old[index] = old;
            work.changes[at].new[index] = word;
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
        work.changes[at].ports = changed;
        work.changes[at].how = ADDRESS | if port_changes { PORT } else { 0 };
    }
}

#[inline(always)]
fn write_end<F: Frame>(frame: &F, work: &mut Work) -> u32 {
    let at = work.writing as usize & 1;
    let Change { how, old, new, ports } = work.changes[at];
    work.changes[at].how = 0;
    let ports = (how & PORT != 0).then_some(((ports >> 16) as u16, ports as u16));
    let change = Rewrite { source: at == SOURCE, old, new, ports };
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
    let verdict = Verdict::stored(frame.nat_source(work.path));
    if verdict.is_pass() { write(frame, work) } else { verdict }
}
