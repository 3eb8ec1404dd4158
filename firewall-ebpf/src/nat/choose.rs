//! What a translation statement gives a connection.

use aya_ebpf::{
    bindings::{BPF_FIB_LOOKUP_OUTPUT, BPF_FIB_LOOKUP_SRC, bpf_fib_lookup as FibLookup},
    helpers::generated::bpf_fib_lookup,
};
use firewall_common::{
    image::Insn,
    nat::{self, Kind},
    packet::Field,
};

use super::is_v4;
use crate::{fib::head_for, maps, packet::Frame, work::Work};

/// An address of the range that a statement gives: the same for one client and server every time.
#[inline(always)]
pub(super) fn chosen_address(work: &Work, insn: &Insn) -> [u64; 2] {
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
pub(super) fn chosen_ports(work: &Work, insn: &Insn) -> u32 {
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
pub(super) fn local_address<F: Frame>(frame: &F, work: &Work, peer: Field, ifindex: u32) -> Option<[u64; 2]> {
    // SAFETY: all zero bytes are a valid value of this structure of integers.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    query.ifindex = ifindex;
    let is_v4 = is_v4(work);
    let words = [0, 1, 2, 3].map(|index| work.packet.get_at(peer, index).to_be());
    head_for(&mut query, is_v4, words);
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
