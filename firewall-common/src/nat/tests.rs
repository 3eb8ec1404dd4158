//! Rewriting, with every checksum computed anew; and what is packed into entries.

use core::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::{bytes::Copied, parse};

/// A frame in memory.
struct Memory(RefCell<Vec<u8>>);

impl PacketBytes for Memory {
    type Header<const N: usize> = Copied<N>;

    fn header<const N: usize>(&self, at: u32) -> Option<Copied<N>> {
        self.0.borrow()[..].header::<N>(at)
    }

    fn length(&self) -> u32 {
        self.0.borrow().len() as u32
    }
}

impl Editor for Memory {
    fn put16(&self, at: u32, value: u16) -> bool {
        let at = at as usize;
        let mut bytes = self.0.borrow_mut();
        let Some(place) = bytes.get_mut(at..at + 2) else { return false };
        place.copy_from_slice(&value.to_be_bytes());
        true
    }

    fn adjust(&self, at: u32, change: (u32, u32), _: Covers, keeps_zero: bool) -> bool {
        self.adjust_plain(at, change, keeps_zero)
    }
}

/// The Internet checksum of bytes (RFC 1071).
fn checksum_of(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A frame with every checksum as it should be; `without`: a UDP datagram without one.
fn frame(
    v4: bool,
    protocol: u8,
    options: usize,
    payload: &[u8],
    addresses: [u128; 2],
    ports: [u16; 2],
    without: bool,
) -> Vec<u8> {
    let mut upper = Vec::new();
    match protocol {
        tcp::PROTOCOL => {
            upper.extend(
                [
                    &ports[0].to_be_bytes()[..],
                    &ports[1].to_be_bytes(),
                    &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0],
                ]
                .concat(),
            );
        }
        udp::PROTOCOL => {
            let length = 8 + payload.len() as u16;
            upper.extend([ports[0].to_be_bytes(), ports[1].to_be_bytes(), length.to_be_bytes(), [0, 0]].concat());
        }
        _ => upper.extend([if v4 { 8 } else { 128 }, 0, 0, 0, (ports[0] >> 8) as u8, ports[0] as u8, 0, 1]),
    }
    upper.extend(payload);
    let bytes =
        |address: u128| if v4 { (address as u32).to_be_bytes().to_vec() } else { address.to_be_bytes().to_vec() };
    let pseudo = [
        bytes(addresses[0]),
        bytes(addresses[1]),
        (upper.len() as u32).to_be_bytes().to_vec(),
        vec![0, 0, 0, protocol],
    ]
    .concat();
    let at = match protocol {
        tcp::PROTOCOL => 16,
        udp::PROTOCOL => 6,
        _ => 2,
    };
    let covered =
        if v4 && protocol == icmp::PROTOCOL { checksum_of(&[&upper]) } else { checksum_of(&[&pseudo, &upper]) };
    let covered = if protocol == udp::PROTOCOL && covered == 0 { 0xffff } else { covered };
    if !(without && v4 && protocol == udp::PROTOCOL) {
        upper[at..at + 2].copy_from_slice(&covered.to_be_bytes());
    }
    let mut network = Vec::new();
    if v4 {
        let header = 20 + options * 4;
        network.extend([0x40 | (header / 4) as u8, 0]);
        network.extend(((header + upper.len()) as u16).to_be_bytes());
        network.extend([0, 7, 0x40, 0, 64, protocol, 0, 0]);
        network.extend(bytes(addresses[0]));
        network.extend(bytes(addresses[1]));
        network.extend(vec![1; options * 4]);
        let sum = checksum_of(&[&network]);
        network[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        let extension: Vec<u8> = if options > 0 { vec![protocol, 0, 1, 4, 0, 0, 0, 0] } else { Vec::new() };
        network.extend([0x60, 0, 0, 0]);
        network.extend(((extension.len() + upper.len()) as u16).to_be_bytes());
        network.extend([if options > 0 { 60 } else { protocol }, 64]);
        network.extend(bytes(addresses[0]));
        network.extend(bytes(addresses[1]));
        network.extend(extension);
    }
    let link = [&[2; 12][..], if v4 { &[8, 0] } else { &[0x86, 0xdd] }].concat();
    [link, network, upper].concat()
}

fn words_of(address: u128, v4: bool) -> [u32; 4] {
    if v4 {
        [address as u32, 0, 0, 0]
    } else {
        [(address >> 96) as u32, (address >> 64) as u32, (address >> 32) as u32, address as u32]
    }
}

proptest! {
    /// What is written is what a sender with the other address and port would have sent; writing it back gives the original.
    #[test]
    fn a_rewritten_packet_is_the_one_its_new_sender_would_have_made(
        v4: bool,
        kind in 0..3_usize,
        options in 0..4_usize,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        addresses: [u128; 2],
        ports: [u16; 2],
        (address, port) in any::<(u128, u16)>(),
        source: bool,
        without: bool,
    ) {
        let protocol = [tcp::PROTOCOL, udp::PROTOCOL, if v4 { icmp::PROTOCOL } else { icmp::PROTOCOL_V6 }][kind];
        // The identifier of a ping is the port of the end that asks.
        let end = if kind == 2 { 0 } else { usize::from(!source) };
        let before = frame(v4, protocol, options, &payload, addresses, ports, without);
        let (mut others, mut other_ports) = (addresses, ports);
        others[usize::from(!source)] = address;
        other_ports[end] = port;
        let after = frame(v4, protocol, options, &payload, others, other_ports, without);
        let mut packet = Packet::EMPTY;
        prop_assert_eq!(parse::parse(&before[..], parse::Start::ETHERNET, &mut packet), Ok(()));
        let change = Rewrite {
            source,
            old: words_of(addresses[usize::from(!source)], v4),
            new: words_of(address, v4),
            ports: Some((ports[end], port)),
        };
        let memory = Memory(RefCell::new(before.clone()));
        prop_assert!(rewrite(&memory, &packet, &change));
        prop_assert_eq!(&*memory.0.borrow(), &after);
        let back = Rewrite { source, old: change.new, new: change.old, ports: Some((port, ports[end])) };
        prop_assert!(rewrite(&memory, &packet, &back));
        prop_assert_eq!(&*memory.0.borrow(), &before);
    }

    #[test]
    fn an_entry_keeps_its_partner_and_what_lies_beside_it(bucket in 0..1_u32 << 28, place in 0..8_u32, from_high: bool, ifindex in 0..0x1_0000_u32) {
        let mut entry = Entry { originator_is_high: u16::from(from_high), ifindex, ..Entry::default() };
        entry.set_partner(bucket, place);
        prop_assert_eq!((entry.partner(), entry.is_from_high(), entry.interface()), ((bucket, place), from_high, ifindex));
        entry.set_partner(0, 0);
        prop_assert_eq!((entry.partner(), entry.is_from_high(), entry.interface()), ((0, 0), from_high, ifindex));
    }

    #[test]
    fn an_alias_knows_the_first_key(low: [u64; 2], high: [u64; 2], tail: u64) {
        let key = FlowKey { low, high, tail };
        let mut entry = Entry { rule: ALIAS, ..Entry::default() };
        entry.set_first_key(&key);
        prop_assert!(entry.is_alias_of(&key));
        let other = FlowKey { tail: tail ^ 1, ..key };
        prop_assert!(!entry.is_alias_of(&other));
        entry.rule = 0;
        prop_assert!(!entry.is_alias_of(&key));
    }

    #[test]
    fn ends_of_a_key_give_the_key(source: ([u64; 2], u16), destination: ([u64; 2], u16)) {
        let end = |(address, port): ([u64; 2], u16)| Endpoint { address, port };
        let tuple = Tuple { source: end(source), destination: end(destination), protocol: 6, family: 2 };
        let (key, from_high) = tuple.key(5);
        let mut ends = Ends::default();
        ends.read_key(&key, from_high);
        prop_assert_eq!(ends, Ends { addresses: [source.0, destination.0], ports: [source.1.into(), destination.1.into()] });
        prop_assert_eq!(ends.key(&key), (key, from_high));
    }
}

/// A frame with so many extension headers in front of what follows; options of IPv4 it has already.
fn with_extensions(frame: &[u8], extensions: usize) -> Vec<u8> {
    // Hop-by-hop options, destination options, a routing header that has done its part (RFC 8200, section 4).
    let bodies = [
        (0, vec![0, 1, 4, 0, 0, 0, 0]),
        (60, vec![1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (43, vec![0, 0, 0, 0, 0, 0, 0]),
    ];
    let (mut network, rest) = (frame[14..54].to_vec(), &frame[54..]);
    let (mut chain, mut last) = (Vec::new(), 6);
    let upper = network[6];
    for (number, body) in &bodies[..extensions] {
        if chain.is_empty() {
            network[last] = *number;
        } else {
            chain[last] = *number;
        }
        last = chain.len();
        chain.push(upper);
        chain.extend(body);
    }
    let length = u16::from_be_bytes([network[4], network[5]]) + chain.len() as u16;
    network[4..6].copy_from_slice(&length.to_be_bytes());
    [&frame[..14], &network, &chain, rest].concat()
}

/// The fragments of a frame (RFC 791, 3.2; RFC 8200, 4.5): the first one with so many units of eight bytes of what the network header is in
/// front of, the second with the rest.
fn fragments(frame: &[u8], v4: bool, units: usize) -> [Vec<u8>; 2] {
    let header = if v4 { usize::from(frame[14] & 15) * 4 } else { 40 };
    let (network, body) = (&frame[14..14 + header], &frame[14 + header..]);
    let cut = (units * 8).min(body.len());
    [(0, &body[..cut], true), (cut, &body[cut..], false)].map(|(offset, bytes, more)| {
        let mut network = network.to_vec();
        let mut extension = Vec::new();
        let place = (offset / 8) as u16;
        if v4 {
            network[2..4].copy_from_slice(&((header + bytes.len()) as u16).to_be_bytes());
            network[6..8].copy_from_slice(&(place | if more { 0x2000 } else { 0 }).to_be_bytes());
            network[10..12].copy_from_slice(&[0, 0]);
            let sum = checksum_of(&[&network]);
            network[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            extension = [&[network[6], 0][..], &(place << 3 | u16::from(more)).to_be_bytes(), &[0, 0, 0, 9]].concat();
            network[6] = 44;
            network[4..6].copy_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
        }
        [&frame[..14], &network, &extension, bytes].concat()
    })
}

proptest! {
    /// The same of fragments and of packets behind extension headers: each becomes what a sender with the other address and port would
    /// have sent, and the original again.
    #[test]
    fn rewritten_fragments_are_those_of_the_rewritten_packet(
        v4: bool,
        kind in 0..3_usize,
        options in 0..4_usize,
        // Odd lengths as well as even ones, with room for two fragments.
        payload in proptest::collection::vec(any::<u8>(), 24..200),
        addresses: [u128; 2],
        ports: [u16; 2],
        (address, port) in any::<(u128, u16)>(),
        (source, without) in any::<(bool, bool)>(),
        units in 3..6_usize,
        is_cut: bool,
    ) {
        let protocol = [tcp::PROTOCOL, udp::PROTOCOL, if v4 { icmp::PROTOCOL } else { icmp::PROTOCOL_V6 }][kind];
        let end = if kind == 2 { 0 } else { usize::from(!source) };
        let (mut others, mut other_ports) = (addresses, ports);
        others[usize::from(!source)] = address;
        other_ports[end] = port;
        let made = |addresses, ports| {
            let whole = frame(v4, protocol, if v4 { options } else { 0 }, &payload, addresses, ports, without);
            match (v4, is_cut) {
                (_, true) => fragments(&whole, v4, units).to_vec(),
                (true, false) => vec![whole],
                (false, false) => vec![with_extensions(&whole, options)],
            }
        };
        let change = Rewrite {
            source,
            old: words_of(addresses[usize::from(!source)], v4),
            new: words_of(address, v4),
            ports: Some((ports[end], port)),
        };
        let back = Rewrite { source, old: change.new, new: change.old, ports: Some((port, ports[end])) };
        for (before, after) in made(addresses, ports).into_iter().zip(made(others, other_ports)) {
            let mut packet = Packet::EMPTY;
            prop_assert_eq!(parse::parse(&before[..], parse::Start::ETHERNET, &mut packet), Ok(()));
            prop_assert_eq!(packet.get(Field::Fragment) != 0, is_cut);
            let memory = Memory(RefCell::new(before.clone()));
            prop_assert!(rewrite(&memory, &packet, &change));
            prop_assert_eq!(&*memory.0.borrow(), &after);
            prop_assert!(rewrite(&memory, &packet, &back));
            prop_assert_eq!(&*memory.0.borrow(), &before);
        }
    }
}

#[test]
fn ports_are_kept_where_they_can_be() {
    assert_eq!(port_within(2005, ports(2000, 2009), 7), 2005);
    assert_eq!(port_within(80, ports(2000, 2009), 7), 2007);
    assert_eq!(port_within(80, ports(8080, 8080), 7), 8080);
    assert_eq!(
        (ports_like(22), ports_like(600), ports_like(40_000)),
        (ports(1, 511), ports(600, 1023), ports(1024, 0xffff))
    );
}

/// An ICMP error about a packet, with every checksum as it should be.
fn error_about(v4: bool, addresses: [u128; 2], quote: &[u8]) -> Vec<u8> {
    let bytes =
        |address: u128| if v4 { (address as u32).to_be_bytes().to_vec() } else { address.to_be_bytes().to_vec() };
    let mut upper = vec![if v4 { 3 } else { 2 }, if v4 { 4 } else { 0 }, 0, 0, 0, 0, 5, 0];
    upper.extend(quote);
    let protocol = if v4 { icmp::PROTOCOL } else { icmp::PROTOCOL_V6 };
    let pseudo = [
        bytes(addresses[0]),
        bytes(addresses[1]),
        (upper.len() as u32).to_be_bytes().to_vec(),
        vec![0, 0, 0, protocol],
    ]
    .concat();
    let sum = if v4 { checksum_of(&[&upper]) } else { checksum_of(&[&pseudo, &upper]) };
    upper[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut network = Vec::new();
    if v4 {
        network.extend([0x45, 0]);
        network.extend(((20 + upper.len()) as u16).to_be_bytes());
        network.extend([0, 9, 0, 0, 64, protocol, 0, 0]);
    } else {
        network.extend([0x60, 0, 0, 0]);
        network.extend((upper.len() as u16).to_be_bytes());
        network.extend([protocol, 64]);
    }
    network.extend(bytes(addresses[0]));
    network.extend(bytes(addresses[1]));
    if v4 {
        let sum = checksum_of(&[&network]);
        network[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let link = [&[2; 12][..], if v4 { &[8, 0] } else { &[0x86, 0xdd] }].concat();
    [link, network, upper].concat()
}

proptest! {
    /// An error about what the packet was made into becomes the error about the packet as it was, whole quotes and cut ones.
    #[test]
    fn an_error_about_the_translated_is_one_about_the_original(
        v4: bool,
        kind in 0..3_usize,
        options in 0..4_usize,
        payload in proptest::collection::vec(any::<u8>(), 0..40),
        addresses: [u128; 2],
        ports: [u16; 2],
        (address, port) in any::<(u128, u16)>(),
        // Whose answer it is: the error's destination is the quoted packet's source, or the error's source is some router.
        (source, without) in any::<(bool, bool)>(),
        router: u128,
        cut in 0..64_usize,
    ) {
        let protocol = [tcp::PROTOCOL, udp::PROTOCOL, if v4 { icmp::PROTOCOL } else { icmp::PROTOCOL_V6 }][kind];
        prop_assume!(kind != 2 || !source);
        let end = usize::from(source);
        let (mut others, mut other_ports) = (addresses, ports);
        others[end] = address;
        other_ports[end] = port;
        let quote = |addresses, ports| {
            let whole = frame(v4, protocol, options, &payload, addresses, ports, without);
            let least = if v4 { 20 + options * 4 } else { 40 + if options > 0 { 8 } else { 0 } } + 8;
            let length = (least + cut).min(whole.len() - 14);
            (whole[14..14 + length].to_vec(), least - 8)
        };
        let ((about_others, header), (about_own, _)) = (quote(others, other_ports), quote(addresses, ports));
        let (from, to) = if source { ([router, others[0]], [addresses[1], others[0]]) } else { ([router, others[0]], [router, addresses[0]]) };
        let (before, after) = (error_about(v4, from, &about_others), error_about(v4, to, &about_own));
        let mut packet = Packet::EMPTY;
        prop_assert_eq!(parse::parse(&before[..], parse::Start::ETHERNET, &mut packet), Ok(()));
        let (old, new) = if source { (router, addresses[1]) } else { (others[0], addresses[0]) };
        let change = Rewrite {
            source,
            old: words_of(old, v4),
            new: words_of(new, v4),
            ports: Some((0, ports[end])),
        };
        let memory = Memory(RefCell::new(before));
        let place = Quote { upper: packet.l4_offset + 8 + header as u32, protocol };
        prop_assert!(rewrite_error(&memory, &packet, &change, place));
        // A TCP header that was cut has no checksum to be brought in line: and what the error says of it differs.
        let is_cut = kind == 0 && about_own.len() < header + 20;
        let written = memory.0.borrow();
        if is_cut && about_own.len() == header + 17 {
            // One half of a checksum is nothing that could be brought in line.
        } else if is_cut && about_own.len() >= header + 18 {
            let check = after.len() - about_own.len() + header + 16;
            prop_assert_eq!(&written[..34], &after[..34]);
            prop_assert_eq!(&written[check + 2..], &after[check + 2..]);
        } else {
            prop_assert_eq!(&*written, &after);
        }
        let whole_sum = if v4 { checksum_of(&[&written[34..]]) } else { 0 };
        prop_assert_eq!(whole_sum, 0);
    }
}
