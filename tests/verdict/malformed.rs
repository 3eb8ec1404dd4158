//! One broken field, one reason; and what looks broken and is not.

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Frame, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Udp, Upper},
    topology::{CLIENT, CLIENT6, SERVER, SERVER6},
};

use super::{
    EVERYTHING, ONLY_SSH,
    support::{
        Firewall, Outcome,
        packets::{datagram, ping, syn, v4, v6},
        table::SIDES,
    },
};

fn ipv4() -> Ipv4 {
    Ipv4::new(CLIENT, SERVER)
}

fn ipv6() -> Ipv6 {
    Ipv6::new(CLIENT6, SERVER6)
}

fn row(name: impl Into<String>, network: impl Into<Network>, upper: impl Into<Upper>, outcome: Outcome) -> Row {
    (name.into(), Frame::new(network, upper), outcome)
}

type Row = (String, Frame, Outcome);

/// What is malformed is dropped for its own reason, whatever the rules say, on every side.
#[track_caller]
fn check(rules: &str, rows: &[Row]) {
    let firewall = Firewall::new(rules);
    for side in SIDES {
        firewall.check_frames(side, rows.iter().map(|(name, frame, outcome)| (name, frame.bytes(), *outcome)));
    }
}

#[test]
fn an_ipv4_header_is_as_long_as_it_says() {
    let with = |options: &[u8]| Ipv4 { options: options.to_vec(), ..ipv4() };
    let too_short = Err(Reason::Ipv4HeaderLength);
    // Where a reader of 20 bytes would see a source port and the destination port 22, or 23.
    let (like_22, like_23) = ([0x9c, 0x40, 0, 22], [0x9c, 0x40, 0, 23]);
    let mut rows: Vec<_> =
        (0..5).map(|ihl| row(format!("IHL {ihl}"), Ipv4 { ihl: Some(ihl), ..ipv4() }, syn(22), too_short)).collect();
    rows.extend([
        row("IHL 5, port 22", ipv4(), syn(22), Ok(())),
        row("IHL 5, port 23", ipv4(), syn(23), Err(Reason::Policy)),
        row("IHL 6, port 22 behind an option", with(&[1, 1, 1, 0]), syn(22), Ok(())),
        row("IHL 6, port 23 behind an option like port 22", with(&like_22), syn(23), Err(Reason::Policy)),
        row("IHL 6, port 22 behind an option like port 23", with(&like_23), syn(22), Ok(())),
        row("IHL 15, port 22 behind options", with(&[1; 40]), syn(22), Ok(())),
        row("IHL 15, port 23 behind options like port 22", with(&like_22.repeat(10)), syn(23), Err(Reason::Policy)),
        row("IHL 15 in a packet of 40 bytes", Ipv4 { ihl: Some(15), ..ipv4() }, syn(22), Err(Reason::Ipv4TotalLength)),
    ]);
    check(ONLY_SSH, &rows);
}

#[test]
fn an_ipv4_packet_is_as_long_as_it_says() {
    let length = |length| Ipv4 { total_length: Some(length), ..ipv4() };
    let wrong = Err(Reason::Ipv4TotalLength);
    let mut padded = Frame::new(length(40), syn(22));
    padded.payload = vec![0; 6];
    check(
        ONLY_SSH,
        &[
            row("total length 0", length(0), syn(22), wrong),
            row("below the header", length(19), syn(22), wrong),
            row("the header alone", length(20), syn(22), Err(Reason::TcpTruncated)),
            row("one byte short", length(39), syn(22), Err(Reason::TcpTruncated)),
            row("right", length(40), syn(22), Ok(())),
            ("right, in a frame padded to 60 bytes".to_owned(), padded, Ok(())),
            row("one byte beyond the frame", length(41), syn(22), wrong),
            row("65,535", length(0xffff), syn(22), wrong),
        ],
    );
}

#[test]
fn the_version_is_that_of_the_ether_type() {
    let rows = (0..16).flat_map(|version| {
        let (v4, v6) = (Ipv4 { version: Some(version), ..ipv4() }, Ipv6 { version: Some(version), ..ipv6() });
        let outcome = |right, reason| if version == right { Ok(()) } else { Err(reason) };
        [
            row(format!("IPv4 with version {version}"), v4, syn(22), outcome(4, Reason::Ipv4Version)),
            row(format!("IPv6 with version {version}"), v6, syn(22), outcome(6, Reason::Ipv6Version)),
        ]
    });
    check(ONLY_SSH, &rows.collect::<Vec<_>>());
}

#[test]
fn an_ipv6_packet_is_as_long_as_it_says() {
    let length = |length| Ipv6 { payload_length: Some(length), ..ipv6() };
    check(
        ONLY_SSH,
        &[
            row(
                "payload length 0: a segment larger than any packet",
                length(0),
                syn(22),
                Err(Reason::Ipv6PayloadLength),
            ),
            row("one byte short", length(19), syn(22), Err(Reason::TcpTruncated)),
            row("right", length(20), syn(22), Ok(())),
            ("right, in a padded frame".to_owned(), Frame::new(length(20), syn(22)).payload(&[0; 6]), Ok(())),
            row("one byte beyond the frame", length(21), syn(22), Err(Reason::Ipv6PayloadLength)),
            row("65,535", length(0xffff), syn(22), Err(Reason::Ipv6PayloadLength)),
        ],
    );
}

#[test]
fn a_tcp_header_is_as_long_as_it_says() {
    let offset = |offset| Tcp { data_offset: Some(offset), ..syn(22) };
    let wrong = Err(Reason::TcpDataOffset);
    let mut rows = Vec::new();
    for network in [Network::from(ipv4()), ipv6().into()] {
        rows.extend((0..5).map(|short| row(format!("data offset {short}"), network.clone(), offset(short), wrong)));
        rows.extend([
            row("data offset 5", network.clone(), offset(5), Ok(())),
            row("data offset 6, beyond the end", network.clone(), offset(6), wrong),
            row("data offset 15, beyond the end", network.clone(), offset(15), wrong),
            row("options of 40 bytes", network.clone(), Tcp { options: vec![1; 40], ..syn(22) }, Ok(())),
        ]);
    }
    check(ONLY_SSH, &rows);
}

#[test]
fn a_datagram_is_as_long_as_it_says() {
    let length = |length| Udp { length: Some(length), ..datagram(53) };
    let wrong = Err(Reason::UdpLength);
    let mut rows = Vec::new();
    for network in [Network::from(ipv4()), ipv6().into()] {
        let mut row = |name: &str, udp, outcome| {
            rows.push((name.to_owned(), Frame::new(network.clone(), udp).payload(b"four"), outcome));
        };
        for short in 0..8 {
            row("below the header", length(short), wrong);
        }
        row("the header alone", length(8), Ok(()));
        row("right", length(12), Ok(()));
        row("one byte beyond the packet", length(13), wrong);
        row("65,535", length(0xffff), wrong);
    }
    check(EVERYTHING, &rows);
}

#[test]
fn wrong_checksums_are_left_to_the_kernel() {
    check(
        EVERYTHING,
        &[
            row("IPv4", Ipv4 { checksum: Some(1), ..ipv4() }, syn(22), Ok(())),
            row("TCP", ipv4(), Tcp { checksum: Some(1), ..syn(22) }, Ok(())),
            row("UDP", ipv6(), Udp { checksum: Some(1), ..datagram(22) }, Ok(())),
        ],
    );
}

#[test]
fn protocols_without_ports_meet_the_rules_as_well() {
    let rows = |outcome: Outcome| {
        let mut rows = Vec::new();
        for protocol in [0_u8, 2, 4, 41, 47, 50, 51, 59, 89, 103, 112, 255] {
            // A payload that reads like the ports of ssh.
            let upper = Upper::Raw(protocol, [0x9c, 0x40, 0, 22].repeat(8));
            rows.push(row(format!("IPv4 protocol {protocol}"), ipv4(), upper.clone(), outcome));
            if protocol != 0 {
                rows.push(row(format!("IPv6 next header {protocol}"), ipv6(), upper, outcome));
            }
        }
        rows.extend([
            ("ping".to_owned(), v4(ping(IcmpVersion::V4)), outcome),
            ("ping, IPv6".to_owned(), v6(ping(IcmpVersion::V6)), outcome),
            ("a ping of the other family".to_owned(), v4(ping(IcmpVersion::V6)), outcome),
        ]);
        rows
    };
    check(ONLY_SSH, &rows(Err(Reason::Policy)));
    check(EVERYTHING, &rows(Ok(())));
}
