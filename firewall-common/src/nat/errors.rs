//! ICMP errors about translated connections.
//!
//! An error goes against the packet that it quotes. So what is its destination is the quoted packet's source, and both become
//! what the end is called on the other side; and an end that is hidden behind another address is so too when the error comes
//! from a router before it (`nf_nat_icmp_reply_translation`, `net/netfilter/nf_nat_proto.c`, Linux 6.18).

use super::{Covers, Editor, Rewrite, adjusted, checksum, place_of_address, put_address, rewrite, sum};
use crate::{
    bytes::HeaderBytes,
    packet::{Field, NFPROTO_IPV4, Packet},
    wire::{icmp, sctp, tcp, udp},
};

/// Where the quoted packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where its upper layer's header starts, bytes into the frame.
    pub upper: u32,
    /// Its upper layer.
    pub protocol: u8,
}

/// What changed of what the error's checksum covers, as one's complement sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changed {
    old: u32,
    new: u32,
}

/// Writes an address into an ICMP error, and the same address and a port into the packet that it quotes: with the checksums of
/// both.
#[inline(always)]
pub fn rewrite_error<E: Editor>(editor: &E, packet: &Packet, change: &Rewrite, quote: Quote) -> bool {
    let outer = Rewrite { ports: None, ..*change };
    if !rewrite(editor, packet, &outer) {
        return false;
    }
    let is_v4 = packet.get(Field::NfProto) == NFPROTO_IPV4;
    let inner = packet.l4_offset + icmp::HEADER as u32;
    let at = inner + place_of_address(!change.source, is_v4);
    let Some(sums) = exchange_address(editor, at, &change.new, is_v4) else { return false };
    let mut changed = Changed::default();
    if is_v4 {
        // The header's own checksum makes up for it.
        if !editor.adjust_plain(inner + 10, (sums.old, sums.new), false) {
            return false;
        }
    } else {
        changed = sums;
    }
    let end = packet.l4_offset + packet.l4_length;
    exchange_upper(editor, (quote, end), change, (is_v4, sums), &mut changed)
        && editor.adjust(packet.l4_offset + 2, (changed.old, changed.new), Covers::Header, false)
}

/// Puts an address in the place of another: the sums of both.
#[inline(always)]
fn exchange_address<E: Editor>(editor: &E, at: u32, new: &[u32; 4], is_v4: bool) -> Option<Changed> {
    let old = if is_v4 {
        [editor.header::<4>(at)?.be32(0), 0, 0, 0]
    } else {
        let header = editor.header::<16>(at)?;
        [header.be32(0), header.be32(4), header.be32(8), header.be32(12)]
    };
    put_address(editor, at, new, is_v4).then(|| Changed { old: sum(&old), new: sum(new) })
}

/// What the quoted upper layer says of the end: its port, and the checksum where it has been quoted.
#[inline(always)]
fn exchange_upper<E: Editor>(
    editor: &E,
    (quote, end): (Quote, u32),
    change: &Rewrite,
    (is_v4, addresses): (bool, Changed),
    changed: &mut Changed,
) -> bool {
    let Quote { upper, protocol } = quote;
    let (mut ports, mut port_at) = (Changed::default(), 0);
    if let Some((_, new)) = change.ports
        && protocol != sctp::PROTOCOL
    {
        let is_icmp = matches!(protocol, icmp::PROTOCOL | icmp::PROTOCOL_V6);
        // The quoted packet went the other way.
        port_at = upper + if is_icmp { 4 } else { 2 * u32::from(change.source) };
        let Some(header) = editor.header::<2>(port_at) else { return false };
        ports = Changed { old: u32::from(header.be16(0)), new: u32::from(new) };
    }
    if let Some((place, keeps_zero, with_address)) = quoted_checksum(protocol, is_v4)
        && upper + place.quoted <= end
        && let Some(header) = editor.header::<2>(upper + place.at)
    {
        let old = header.be16(0);
        let sums = if with_address { addresses } else { Changed::default() };
        let now = adjusted(old, sums.old + ports.old, sums.new + ports.new);
        let now = if keeps_zero && now == 0 { 0xffff } else { now };
        if !(keeps_zero && old == 0) {
            changed.old += u32::from(old);
            changed.new += u32::from(now);
            if !editor.put16(upper + place.at, now) {
                return false;
            }
        }
    }
    changed.old += ports.old;
    changed.new += ports.new;
    port_at == 0 || editor.put16(port_at, ports.new as u16)
}

/// A checksum in a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: u32,
    /// Bytes of the header that must have been quoted.
    quoted: u32,
}

/// Where the checksum is; whether it can be left out; whether addresses are part of it. TCP's is beyond what RFC 792 promises
/// of a quote.
#[inline(always)]
const fn quoted_checksum(protocol: u8, is_v4: bool) -> Option<(Place, bool, bool)> {
    match protocol {
        tcp::PROTOCOL => Some((Place { at: 16, quoted: tcp::HEADER as u32 }, false, true)),
        icmp::PROTOCOL if is_v4 => Some((Place { at: 2, quoted: icmp::HEADER as u32 }, false, false)),
        _ => match checksum(protocol, is_v4) {
            Some((at, keeps_zero)) => Some((Place { at, quoted: udp::HEADER as u32 }, keeps_zero, true)),
            None => None,
        },
    }
}
