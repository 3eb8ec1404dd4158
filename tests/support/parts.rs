//! Options, extension headers, chunks and the headers of rarer protocols, with small numbers in them: what rules that read
//! bytes can find.

use firewall_tests::packet::{Extension, Frame, Network, Upper};

use super::{both::Way, near::Random};

/// Protocols whose headers are made here.
const PROTOCOLS: &[u8] = &[132, 132, 132, 33, 50, 51, 108, 136, 2, 47, 4, 253];

/// The kinds of TCP options, common ones more than once.
const TCP_OPTIONS: &[u8] = &[0, 1, 1, 2, 2, 3, 3, 4, 5, 5, 8, 8, 19, 30, 34, 254];

/// Gives a packet that the kernel takes in parts that it would not have.
pub fn decorate(frame: &mut Frame, way: Way, random: &mut Random) {
    match &mut frame.network {
        // The kernel writes into packets that it sends: they come as it made them.
        Network::Ipv4(ipv4) if way == Way::In && random.one_in(2) => ipv4.options = ip_options(random),
        Network::Ipv6(ipv6) if way == Way::In && random.one_in(2) => ipv6.extensions = extensions(random),
        _ => {}
    }
    if way == Way::In && random.one_in(2) {
        frame.upper = other(random);
    }
    if let Upper::Tcp(tcp) = &mut frame.upper {
        tcp.options = tcp_options(random);
    }
    if let Upper::Icmp(icmp) = &mut frame.upper {
        icmp.rest = u32::from(small(random)) << 16 | u32::from(small(random));
    }
}

/// A byte, seldom a large one.
fn small(random: &mut Random) -> u8 {
    if random.one_in(6) { random.next() as u8 } else { random.below(12) as u8 }
}

fn bytes(count: usize, random: &mut Random) -> Vec<u8> {
    (0..count).map(|_| small(random)).collect()
}

/// Options that `ip_options_compile` lets pass: no source routes.
fn ip_options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    let mut once = vec![0, 1, 2];
    for _ in 0..random.below(4) {
        match random.below(5) {
            0 => options.push(1),
            1 if once.contains(&0) => {
                once.retain(|kind| *kind != 0);
                let slots = 1 + random.below(3);
                let pointer = 4 + 4 * random.below(slots + 2) as u8;
                options.extend([7, 3 + 4 * slots as u8, pointer]);
                options.extend(bytes(4 * slots, random));
            }
            2 if once.contains(&1) => {
                once.retain(|kind| *kind != 1);
                options.extend([68, 8, 5, 0]);
                options.extend(bytes(4, random));
            }
            3 => options.extend([148, 4, 0, random.pick(&[0, 0, 1])]),
            4 => {
                let length = 2 + random.below(4);
                options.extend([158, length as u8]);
                options.extend(bytes(length - 2, random));
            }
            _ => {}
        }
    }
    options.truncate(40);
    // What was cut off would make the rest malformed.
    if whole(&options) { options } else { vec![1, 1, 1, 0] }
}

fn whole(options: &[u8]) -> bool {
    match options {
        [] | [0, ..] => true,
        [1, rest @ ..] => whole(rest),
        [_, length, ..] => options.get(usize::from(*length)..).is_some_and(whole),
        [_] => false,
    }
}

fn extensions(random: &mut Random) -> Vec<Extension> {
    let mut extensions = Vec::new();
    if random.one_in(3) {
        extensions.push(Extension::hop_by_hop());
    }
    for _ in 0..random.below(3) {
        extensions.push(match random.below(3) {
            0 => Extension::destination_options(),
            1 => Extension::routing(),
            _ => {
                let segments = 1 + random.below(2);
                let head = [0, 2 * segments as u8, random.pick(&[0, 4, 253]), 0];
                let body = [&head[..], &bytes(4 + 16 * segments, random)].concat();
                Extension { number: 43, body }
            }
        });
    }
    if random.one_in(6) {
        extensions.push(Extension::authentication());
    }
    extensions
}

fn tcp_options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    while options.len() < 36 && !random.one_in(4) {
        let kind = random.pick(TCP_OPTIONS);
        let usual = match kind {
            0 | 1 => 1,
            2 => 4,
            3 => 3,
            4 => 2,
            5 => 2 + 8 * (1 + random.below(4)),
            8 => 10,
            19 => 18,
            _ => 2 + random.below(8),
        };
        options.push(kind);
        if usual > 1 {
            // Now and then it lies about its length.
            let said = if random.one_in(8) { small(random) } else { usual as u8 };
            options.push(said);
            options.extend(bytes(usual - 2, random));
        }
    }
    options.truncate(40);
    options
}

fn other(random: &mut Random) -> Upper {
    let protocol = random.pick(PROTOCOLS);
    let mut header = bytes(16, random);
    match protocol {
        132 => {
            header.truncate(12);
            for _ in 0..random.below(4) {
                header.extend(chunk(random));
            }
        }
        // GRE: which of its fields are there, and its version.
        47 => header[..2].copy_from_slice(&[random.pick(&[0, 0x80, 0x20, 0x30, 0xb0, 0x40]), random.pick(&[0, 0, 1])]),
        _ => {}
    }
    Upper::Raw(protocol, header)
}

fn chunk(random: &mut Random) -> Vec<u8> {
    let kind = if random.one_in(4) { random.pick(&[128, 192, 193]) } else { random.below(16) as u8 };
    let length = 4 + random.below(20);
    let said = if random.one_in(8) { u16::from(small(random)) } else { length as u16 };
    let mut chunk = vec![kind, small(random)];
    chunk.extend(said.to_be_bytes());
    chunk.extend(bytes(length - 4, random));
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}
