//! SYN cookies: where headers lie for the kernel's helpers, and the answer to a first segment.

use crate::{
    answer::QUOTE,
    packet::{Field, NFPROTO_IPV6, Packet},
};

/// Where the addresses lie in the quote's room (`struct bpf_sock_tuple`, `include/uapi/linux/bpf.h`).
pub const TUPLE: usize = 0;
/// Where the network header lies.
pub const IP: usize = 64;
/// Where TCP's lies.
pub const TCP: usize = 128;

/// Writes the packet's addresses and ports, in network byte order.
#[inline(always)]
pub fn tuple(room: &mut [u8; QUOTE], packet: &Packet) {
    let is_v6 = packet.get(Field::NfProto) == NFPROTO_IPV6;
    let words = if is_v6 { 4 } else { 1 };
    for index in 0..4 {
        if index < words {
            put(room, index * 4, packet.get_at(Field::SourceAddress, index));
            put(room, (words + index) * 4, packet.get_at(Field::DestinationAddress, index));
        }
    }
    let ports = packet.get(Field::SourcePort) << 16 | packet.get(Field::DestinationPort) & 0xffff;
    put(room, words * 8, ports);
}

#[inline(always)]
fn put(room: &mut [u8; QUOTE], at: usize, value: u32) {
    for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
        room[(TUPLE + at + index) & (QUOTE - 1)] = byte;
    }
}
