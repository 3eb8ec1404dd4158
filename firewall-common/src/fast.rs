//! The way past the rules and the stack that connections can be given (`flow add`): which packets may take it.
//!
//! What may is what `nft_flow_offload` and `nf_flow_table` take (`net/netfilter/nft_flow_offload.c`,
//! `net/netfilter/nf_flow_table_ip.c`, Linux 6.18), or less: a packet that does not take it goes through the stack and the rules.

use crate::{
    conntrack::{Phase, State},
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, NFPROTO_IPV4, Packet, VLAN_TAGGED},
    table::Entry,
    wire::{
        ethernet, ipv4, ipv6,
        tcp::{self, FIN, RST, SYN},
        udp,
    },
};

/// What the program knows about an interface that packets may take the fast path by, in the place that the interface has among
/// [`crate::interface::Interface`]s. Of a generation, because its rules name the interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Device {
    /// [`IN`], [`OUT_XDP`], [`OUT_TC`].
    pub flags: u32,
    /// Its hardware address, as in [`Field::EtherDestination`]: what is sent to another one is not for this host.
    pub address: [u32; 2],
    /// Its index: of an interface that has its place now, but had it not when this was written, nothing is known.
    pub ifindex: u32,
}

crate::shared!(Device = 16);

/// [`Device::flags`]: packets that come in by it may take the fast path.
pub const IN: u32 = 1;
/// [`Device::flags`]: its driver takes frames from XDP.
pub const OUT_XDP: u32 = 2;
/// [`Device::flags`]: it has an Ethernet header and our program at tc egress.
pub const OUT_TC: u32 = 4;

/// A bit beside those of [`crate::conntrack::LOOSE`] and its like: all connections that the chains of forward let pass have the fast path.
pub const FAST_ALL: u32 = 1 << 16;

/// [`Entry::generation`]: a rule of that generation gave the connection the fast path, and it is [`Entry::rule`].
pub const OFFLOADED: u32 = 1 << 31;

impl Entry {
    /// The generation that [`Entry::rule`] belongs to.
    #[inline(always)]
    pub const fn author(&self) -> u32 {
        self.generation & !OFFLOADED
    }

    /// Was it given the fast path, by whatever ruleset?
    #[inline(always)]
    pub const fn is_offloaded(&self) -> bool {
        self.generation & OFFLOADED != 0
    }
}

/// Is the packet one of those that may take the fast path, as far as its headers go?
#[inline(always)]
pub fn is_plain(packet: &Packet) -> bool {
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    let network = if is_v4 { ipv4::HEADER } else { ipv6::HEADER } as u32;
    let header = packet.get(Field::L4Header);
    let has_tcp = header == u32::from(tcp::PROTOCOL) | L4_PRESENT;
    let has_udp = header == u32::from(udp::PROTOCOL) | L4_PRESENT;
    packet.l3_offset == ethernet::HEADER as u32
        && packet.get(Field::Vlan) & VLAN_TAGGED == 0
        // No options and no extension headers.
        && packet.l4_offset.wrapping_sub(packet.l3_offset) == network
        && packet.get(Field::Fragment) == 0
        && packet.get(Field::Ttl) > 1
        && (has_udp || has_tcp && packet.get(Field::TcpFlags) & u32::from(SYN | FIN | RST) == 0)
}

/// Is the packet addressed to the hardware address of the interface that it came in by?
#[inline(always)]
pub fn is_for(packet: &Packet, device: &Device) -> bool {
    let word = |index| packet.get_at(Field::EtherDestination, index);
    ((word(0) ^ device.address[0]) | ((word(1) ^ device.address[1]) & 0xffff_0000)) == 0
}

/// May the connection be given the fast path with this packet, by what `flow add` asks of it? `state` is the connection's
/// behind the packet.
#[inline(always)]
pub fn may_be_added(packet: &Packet, state: State) -> bool {
    let header = packet.get(Field::L4Header);
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    let has_options = is_v4 && packet.l4_offset.wrapping_sub(packet.l3_offset) != ipv4::HEADER as u32;
    if has_options || packet.get(Field::Fragment) & FRAGMENT_LATER != 0 {
        return false;
    }
    if header == u32::from(tcp::PROTOCOL) | L4_PRESENT {
        let ends = packet.get(Field::TcpFlags) & u32::from(FIN | RST) != 0;
        return !ends && is_open(state);
    }
    header == u32::from(udp::PROTOCOL) | L4_PRESENT
}

/// Is the connection in the state in which its packets take the fast path?
#[inline(always)]
pub const fn is_open(state: State) -> bool {
    let phase = state.phase();
    phase == Phase::Established as u8 || phase == Phase::Open as u8
}

/// The bytes of an IPv4 header from its time to live on, one router further: time to live and protocol, checksum (RFC 1624,
/// equation 3; the same as `ip_decrease_ttl`, include/net/ip.h, makes).
#[inline(always)]
pub const fn one_hop_further(ttl_and_protocol: u16, check: u16) -> (u16, u16) {
    let next = ttl_and_protocol.wrapping_sub(0x100);
    (next, crate::nat::adjusted(check, ttl_and_protocol as u32, next as u32))
}

#[cfg(test)]
mod tests;
