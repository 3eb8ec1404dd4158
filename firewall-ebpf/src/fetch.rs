//! What rules ask for beside the words of the packet.
//!
//! Every value is written into registers at once, so that nothing of how it was found is left for the verifier to follow.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_tai_ns};
use firewall_common::{
    conntrack::TICK_NS_SHIFT,
    fetch::{self, BOTH, DESTINATION, Fetch, V6, argument, status},
    flow::Tuple,
    image::{Insn, USES_ADDRESSES},
    packet::{Field, NFPROTO_IPV4, NFPROTO_IPV6, Packet, WORDS},
    table::Entry,
    wire::icmp,
};

use crate::{addresses, connection::Found, maps, verifier};

const NS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// 1970 began on a Thursday.
const FIRST_DAY: u64 = 4;
/// The first byte of a hardware address that many listen to has this bit.
const GROUP: u32 = 1 << 24;

/// `PACKET_HOST`, `PACKET_BROADCAST`, `PACKET_MULTICAST` (`include/uapi/linux/if_packet.h`).
const PACKET_HOST: u32 = 0;
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;

/// Fetches what the [`firewall_common::image::Op::Fetch`] under the cursor asks for; 0 when the packet does not have it. Few rules ask: a function that
/// the verifier looks at once, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn fetch_value(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return 0 };
    if maps::USES.load() & USES_ADDRESSES != 0 && insn.low as u8 == Fetch::AddressType as u8 {
        return u32::from(addresses::fetch(work, insn));
    }
    let found = Found::of(work);
    u32::from(fetch(&found, work.tick, insn, &mut work.packet))
}

#[inline(always)]
fn fetch(found: &Found, tick: u32, insn: &Insn, packet: &mut Packet) -> bool {
    if insn.low as u8 >= Fetch::Direction as u8 {
        return of_connection(found, tick, insn, packet);
    }
    let value = match insn.low as u8 {
        // SAFETY: the helper has no arguments.
        fetch if fetch == Fetch::Cpu as u8 => unsafe { bpf_get_smp_processor_id() }.into(),
        fetch if fetch == Fetch::Random as u8 => random().into(),
        fetch if fetch == Fetch::RandomBelow as u8 => below(random(), insn).into(),
        fetch if fetch == Fetch::Increment as u8 => increment(insn).into(),
        fetch if fetch == Fetch::SymmetricHash as u8 => below(symmetric_hash(packet), insn).into(),
        fetch if fetch == Fetch::PacketType as u8 => packet_type(packet).into(),
        fetch if fetch == Fetch::Hash as u8 => hash(packet, insn).into(),
        fetch if fetch == Fetch::Time as u8 => return put_wide(packet, insn, now_ns()),
        fetch if fetch == Fetch::Hour as u8 => {
            (now_ns() / NS_PER_SECOND).wrapping_add(i64::from(maps::LOCAL_AHEAD.load() as i32) as u64) % SECONDS_PER_DAY
        }
        fetch if fetch == Fetch::Day as u8 => (now_ns() / NS_PER_SECOND / SECONDS_PER_DAY + FIRST_DAY) % 7,
        _ => return false,
    };
    put(packet, insn, value as u32)
}

#[inline(always)]
fn put(packet: &mut Packet, insn: &Insn, value: u32) -> bool {
    packet.words[insn.extra as usize & (WORDS - 1)] = value;
    true
}

/// 64 bits: two words, and two that are empty.
#[inline(always)]
fn put_wide(packet: &mut Packet, insn: &Insn, value: u64) -> bool {
    put_words(packet, insn, [(value >> 32) as u32, value as u32, 0, 0])
}

#[inline(always)]
fn put_words(packet: &mut Packet, insn: &Insn, words: [u32; 4]) -> bool {
    for index in 0..4 {
        packet.words[(insn.extra as usize + index) & (WORDS - 1)] = words[index];
    }
    true
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// A number below `mask`, plus `high`, as the kernel scales them (`reciprocal_scale`, include/linux/kernel.h).
#[inline(always)]
fn below(value: u32, insn: &Insn) -> u32 {
    (((u64::from(value) * u64::from(insn.mask)) >> 32) as u32).wrapping_add(insn.high)
}

/// The words that an instruction says, hashed as the kernel does it.
#[inline(always)]
fn hash(packet: &Packet, insn: &Insn) -> u32 {
    let Some([seed, modulus, offset, own]) = maps::CONSTANTS.get(insn.high).copied() else {
        return 0;
    };
    let secret = maps::CONTROL.get(0).map_or(0, |control| control.secret.0[0] as u32);
    let seed = if own == 0 { seed } else { secret };
    let word = |at: usize| packet.words[(insn.mask as usize + at) & (WORDS - 1)];
    let value = fetch::hash(argument(insn.low), word, seed);
    ((u64::from(value) * u64::from(modulus)) >> 32) as u32 + offset
}

/// One after the other, whichever CPUs they are for.
#[inline(always)]
fn increment(insn: &Insn) -> u32 {
    let Some(generator) = maps::GENERATORS.get_ptr_mut(argument(insn.low)) else {
        return 0;
    };
    // SAFETY: an aligned word of a map value.
    let before = unsafe { verifier::fetch_add(generator, 1) };
    (before.checked_rem(u64::from(insn.mask)).unwrap_or(0) as u32).wrapping_add(insn.high)
}

/// Of addresses, ports and protocol, whichever end is which.
#[inline(always)]
fn symmetric_hash(packet: &Packet) -> u32 {
    let mut tuple = Tuple::of(packet);
    if tuple.protocol == icmp::PROTOCOL || tuple.protocol == icmp::PROTOCOL_V6 {
        // What identifies a ping is no port.
        tuple.source.port = 0;
        tuple.destination.port = 0;
    }
    maps::CONTROL.get(0).map_or(0, |control| (tuple.key(0).0.hash(&control.secret) >> 32) as u32)
}

/// The kernel drops frames for other hosts before it asks any rule: what is for one host is for this one.
#[inline(always)]
fn packet_type(packet: &Packet) -> u32 {
    let (first, second) = (packet.get(Field::EtherDestination), packet.get_at(Field::EtherDestination, 1) >> 16);
    if packet.get(Field::IifIndex) <= 1 || first & GROUP == 0 {
        PACKET_HOST
    } else if first == u32::MAX && second == 0xffff {
        PACKET_BROADCAST
    } else {
        PACKET_MULTICAST
    }
}

/// The time of day: the only clock of that kind that a program can ask is that of International Atomic Time.
#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_ktime_get_tai_ns() }.wrapping_sub(u64::from(maps::ATOMIC_AHEAD.load()) * NS_PER_SECOND)
}

/// What the packet's connection has: one in the table, or the one that the packet starts.
#[inline(always)]
fn of_connection(found: &Found, tick: u32, insn: &Insn, packet: &mut Packet) -> bool {
    let Some(entry) = found.entry() else {
        return of_new_connection(found.hash as u32, insn, packet);
    };
    let what = insn.low as u8;
    let side = argument(insn.low);
    let slot = found.slot();
    if what == Fetch::Bytes as u8 || what == Fetch::Packets as u8 || what == Fetch::Average as u8 {
        let (packets, bytes) = (of_side(&entry.packets, side), of_side(&entry.bytes, side));
        return put_wide(packet, insn, counted(what, packets, bytes));
    }
    if what == Fetch::Address as u8 || what == Fetch::Port as u8 {
        return end_of_entry(entry, insn, packet);
    }
    let value = if what == Fetch::Direction as u8 {
        found.way(entry)
    } else if what == Fetch::Status as u8 {
        let (replied, assured) = (u32::from(slot.state().is_replied()), u32::from(slot.state().is_assured()));
        status::CONFIRMED | replied * status::SEEN_REPLY | assured * status::ASSURED
    } else if what == Fetch::Zone as u8 {
        u32::from(entry.key.zone())
    } else if what == Fetch::Expiration as u8 {
        (u64::from(slot.expires().wrapping_sub(tick)) << TICK_NS_SHIFT).wrapping_div(1_000_000) as u32
    } else if what == Fetch::Id as u8 {
        found.hash as u32
    } else if what == Fetch::L3Proto as u8 {
        u32::from(entry.key.family())
    } else {
        u32::from(entry.key.protocol())
    };
    put(packet, insn, value)
}

#[inline(always)]
const fn of_side(numbers: &[u64; 2], side: u32) -> u64 {
    if side == BOTH { numbers[0].wrapping_add(numbers[1]) } else { numbers[side as usize & 1] }
}

#[inline(always)]
fn counted(what: u8, packets: u64, bytes: u64) -> u64 {
    if what == Fetch::Bytes as u8 {
        bytes
    } else if what == Fetch::Packets as u8 {
        packets
    } else {
        bytes.checked_div(packets).unwrap_or(0)
    }
}

/// An address or port of an entry: of the packets of one direction, where they come from or go to.
#[inline(always)]
fn end_of_entry(entry: &Entry, insn: &Insn, packet: &mut Packet) -> bool {
    let asked = argument(insn.low);
    // The reply goes where the first packet came from.
    let originator = (asked & 1 != 0) == (asked & DESTINATION != 0);
    let is_high = originator == (entry.originator_is_high & 1 != 0);
    let (address, port) =
        if is_high { (entry.key.high, entry.key.high_port()) } else { (entry.key.low, entry.key.low_port()) };
    if insn.low as u8 == Fetch::Port as u8 {
        return put(packet, insn, port.into());
    }
    let family = u32::from(entry.key.family());
    put_address(packet, insn, family, address)
}

#[inline(always)]
fn put_address(packet: &mut Packet, insn: &Insn, family: u32, address: [u64; 2]) -> bool {
    let wanted = if argument(insn.low) & V6 == 0 { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
    if family != wanted {
        return false;
    }
    if family == NFPROTO_IPV4 {
        return put(packet, insn, address[0] as u32);
    }
    let words = [address[0] >> 32, address[0], address[1] >> 32, address[1]].map(|word| word as u32);
    put_words(packet, insn, words)
}

/// The packet is the only one of its connection yet.
#[inline(always)]
fn of_new_connection(hash: u32, insn: &Insn, packet: &mut Packet) -> bool {
    let what = insn.low as u8;
    let asked = argument(insn.low);
    let length = u64::from(packet.get(Field::Length));
    if what == Fetch::Bytes as u8 || what == Fetch::Packets as u8 || what == Fetch::Average as u8 {
        let is_seen = u64::from(asked != 1);
        return put_wide(packet, insn, counted(what, is_seen, is_seen * length));
    }
    let tuple = Tuple::of(packet);
    let is_source = (asked & 1 != 0) == (asked & DESTINATION != 0);
    let end = if is_source { tuple.source } else { tuple.destination };
    if what == Fetch::Address as u8 {
        return put_address(packet, insn, u32::from(tuple.family), end.address);
    }
    let value = if what == Fetch::Port as u8 {
        u32::from(end.port)
    } else if what == Fetch::Zone as u8 {
        packet.get(Field::CtZone)
    } else if what == Fetch::Id as u8 {
        hash
    } else if what == Fetch::L3Proto as u8 {
        u32::from(tuple.family)
    } else if what == Fetch::Protocol as u8 {
        u32::from(tuple.protocol)
    } else {
        // Original direction, nothing seen, no time yet.
        0
    };
    put(packet, insn, value)
}
