//! `[checks]` of `rampart.toml`: what is dropped that the parser lets pass, and that it passes without the setting.

use std::net::Ipv4Addr;

use firewall_common::verdict::Reason;
use firewall_tests::{
    command::{Rampart, Scratch},
    packet::{Ethernet, Extension, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Tcp, Udp, Upper},
    topology::{CLIENT, CLIENT6, Neighbours, Pair, SERVER, SERVER6},
};
use firewall_user::kernel::Side;

use super::{
    EVERYTHING,
    support::{
        Firewall,
        packets::{between, datagram, from, syn, to, v4, v6},
        sequence::flags,
    },
};

/// With the setting each of `wrong` is dropped for the reason and each of `right` passes; without it all pass. What leaves is
/// not looked at.
#[track_caller]
fn check(setting: &str, reason: Reason, wrong: &[(String, Frame)], right: &[(String, Frame)]) {
    let firewall = Firewall::new(EVERYTHING);
    check_at((&firewall, &[Side::Xdp, Side::TcIngress]), &format!("{setting} = true"), reason, wrong, right);
}

#[track_caller]
fn check_at(
    (firewall, sides): (&Firewall, &[Side]),
    setting: &str,
    reason: Reason,
    wrong: &[(String, Frame)],
    right: &[(String, Frame)],
) {
    for &side in sides {
        let all = wrong.iter().chain(right);
        firewall.check_frames(side, all.map(|(name, frame)| (name, frame.bytes(), Ok(()))));
    }
    firewall.apply_set(EVERYTHING, &format!("[checks]\n{setting}\n"));
    for &side in sides {
        firewall.check_frames(side, wrong.iter().map(|(name, frame)| (name, frame.bytes(), Err(reason))));
        firewall.check_frames(side, right.iter().map(|(name, frame)| (name, frame.bytes(), Ok(()))));
    }
    firewall.check_frames(Side::TcEgress, wrong.iter().map(|(name, frame)| (name, frame.bytes(), Ok(()))));
    assert!(firewall.dropped(reason) >= wrong.len() as u64);
}

fn named(rows: Vec<(&str, Frame)>) -> Vec<(String, Frame)> {
    rows.into_iter().map(|(name, frame)| (name.to_owned(), frame)).collect()
}

#[test]
fn tcp_flags_that_no_segment_has() {
    let segments = |letters: &[&str]| -> Vec<(String, Frame)> {
        let segment = |letters: &&str| Tcp::new(40000, 22, flags(letters));
        let four = letters.iter().map(|letters| (format!("4 {letters}"), v4(segment(letters))));
        four.chain(letters.iter().map(|letters| (format!("6 {letters}"), v6(segment(letters))))).collect()
    };
    check(
        "tcp_flags",
        Reason::TcpFlags,
        &segments(&["", "F", "P", "U", "FPU", "SF", "SR", "FR", "SFA", "SRA", "FSRPAU"]),
        &segments(&["S", "SA", "A", "PA", "FA", "FPA", "R", "RA", "AU"]),
    );
}

#[test]
fn packets_from_where_they_go_to() {
    check(
        "land",
        Reason::Land,
        &named(vec![
            ("4", between(SERVER, SERVER, syn(22)).ethernet(Ethernet::to_server())),
            ("6", between(SERVER6, SERVER6, syn(22)).ethernet(Ethernet::to_server())),
            ("of another host", between(CLIENT, CLIENT, datagram(7))),
        ]),
        &named(vec![("4", v4(syn(22))), ("6", v6(syn(22))), ("near", from("192.0.2.3", syn(22)))]),
    );
}

#[test]
fn options_that_say_by_which_routers() {
    let four = |options: &[u8]| Frame::new(Ipv4 { options: options.to_vec(), ..Ipv4::new(CLIENT, SERVER) }, syn(22));
    // Next header, length, type, segments left, an address.
    let routing = |kind: u8, left: u8| [&[0, 2, kind, left, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8][..], &[0; 12]].concat();
    let options = Extension { number: 60, body: vec![0, 0, 1, 4, 0, 0, 0, 0] };
    let six = |kind: u8, left: u8| {
        let extensions = vec![options.clone(), Extension { number: 43, body: routing(kind, left) }];
        Frame::new(Ipv6 { extensions, ..Ipv6::new(CLIENT6, SERVER6) }, syn(22))
    };
    check(
        "source_route",
        Reason::SourceRoute,
        &named(vec![
            ("loose", four(&[131, 7, 4, 192, 0, 2, 9, 0])),
            ("strict", four(&[137, 7, 4, 192, 0, 2, 9, 0])),
            ("behind others", four(&[1, 1, 7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 192, 0, 2, 9])),
            ("at the end of 60 bytes", four(&[[1; 33].as_slice(), &[137, 7, 4, 192, 0, 2, 9]].concat())),
            ("type 0", six(0, 1)),
        ]),
        &named(vec![
            ("no options", v4(syn(22))),
            ("no operation", four(&[1, 1, 1, 1])),
            ("record route", four(&[7, 7, 4, 131, 137, 131, 137, 0])),
            ("behind the end", four(&[0, 131, 7, 4])),
            ("type 0 at its end", six(0, 0)),
            ("type 2", six(2, 1)),
        ]),
    );
}

#[test]
fn addresses_that_no_packet_on_a_wire_has() {
    let wrong =
        ["127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"];
    let wrong6 = ["::1", "ff02::1", "::ffff:192.0.2.1", "::192.0.2.1"];
    let right =
        ["10.0.0.1", "192.168.1.1", "126.255.255.255", "128.0.0.1", "223.255.255.255", "1.0.0.1", "169.254.1.1"];
    let right6 = ["fe80::1", "fd00::1", "2001:db8::7", "::", "64:ff9b::1"];
    let named = |from_or_to: &str, addresses: &[&str], frame: &dyn Fn(&str) -> Frame| -> Vec<(String, Frame)> {
        addresses.iter().map(|address| (format!("{from_or_to} {address}"), frame(address))).collect()
    };
    let source = |address: &str| from(address, datagram(53));
    let destination = |address: &str| to(address, datagram(53));
    let dhcp = between(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, datagram(67));
    check(
        "martians",
        Reason::Martian,
        &[
            named("from", &wrong, &source),
            named("from", &wrong6, &source),
            named("to", &["127.0.0.1", "0.0.0.1", "250.1.1.1", "::1", "::", "::ffff:192.0.2.2"], &destination),
        ]
        .concat(),
        &[
            named("from", &right, &source),
            named("from", &right6, &source),
            named("to", &["255.255.255.255", "224.0.0.251", "192.0.2.255", "ff02::fb"], &destination),
            vec![("who has no address yet".to_owned(), dhcp)],
        ]
        .concat(),
    );
}

#[test]
fn wrong_checksums_of_ipv4_headers() {
    let with = |checksum, options: &[u8]| {
        Frame::new(Ipv4 { checksum, options: options.to_vec(), ..Ipv4::new(CLIENT, SERVER) }, syn(22))
    };
    check(
        "ip_checksum",
        Reason::Ipv4Checksum,
        &named(vec![
            ("none", with(Some(0), &[])),
            ("wrong", with(Some(0x1234), &[])),
            ("wrong with options", with(Some(0x1234), &[1; 40])),
        ]),
        &named(vec![
            ("right", with(None, &[])),
            ("right with options", with(None, &[1; 8])),
            ("right with all options", with(None, &[1; 40])),
            ("of a transport is not looked at", v4(Tcp { checksum: Some(1), ..syn(22) })),
            ("IPv6 has none", v6(syn(22))),
        ]),
    );
}

/// Sources that are addresses of this host: of IPv4, IPv6 and its links, and loopback's.
#[test]
fn own_addresses_that_come_in() {
    let firewall = Firewall::on(Pair::with(Neighbours::Known), EVERYTHING);
    check_at(
        (&firewall, &[Side::Xdp, Side::TcIngress]),
        "own_addresses = true",
        Reason::OwnAddress,
        &named(vec![
            ("4", between(SERVER, CLIENT, datagram(7)).ethernet(Ethernet::to_server())),
            ("4 to itself", between(SERVER, SERVER, syn(22)).ethernet(Ethernet::to_server())),
            ("6", between(SERVER6, CLIENT6, syn(22)).ethernet(Ethernet::to_server())),
            ("loopback's", from("127.0.0.1", datagram(7))),
            ("all of loopback's", from("127.8.8.8", datagram(7))),
            ("loopback's 6", from("::1", datagram(7))),
        ]),
        &named(vec![
            ("of another", v4(syn(22))),
            ("of another 6", v6(syn(22))),
            ("another host's link address", from("fe80::77", syn(22))),
            ("broadcast as a source is no address of this host", from("192.0.2.255", datagram(7))),
            ("what the stack gives back to a group's members", between(SERVER, group(), datagram(7))),
            ("and to all of a network", between(SERVER, Ipv4Addr::new(192, 0, 2, 255), datagram(7))),
        ]),
    );
}

fn group() -> Ipv4Addr {
    Ipv4Addr::new(224, 0, 0, 251)
}

/// Of TCP, UDP, ICMP and ICMPv6, of every length around the pieces in which bytes are added up.
#[test]
fn wrong_checksums_of_the_upper_layer() {
    let wrong = |name: &str, frame: Frame| -> Vec<(String, Frame)> {
        let lengths = [0, 1, 2, 3, 491, 492, 493, 503, 504, 505, 1003, 1004, 1015, 1016, 1400];
        let of = |length: usize| (format!("{name}, {length} bytes"), frame.clone().payload(&vec![0xa5; length]));
        lengths.into_iter().map(of).collect()
    };
    let kinds = |sum: Option<u16>| {
        let echo = |version| Icmp { checksum: sum, ..Icmp::echo_request(version, 7, 1) };
        [
            wrong("TCP", v4(Tcp { checksum: sum, ..syn(22) })),
            wrong("TCP 6", v6(Tcp { checksum: sum, ..syn(22) })),
            wrong("UDP", v4(Udp { checksum: sum, ..datagram(22) })),
            wrong("UDP 6", v6(Udp { checksum: sum, ..datagram(22) })),
            wrong("ICMP", v4(echo(IcmpVersion::V4))),
            wrong("ICMP 6", v6(echo(IcmpVersion::V6))),
        ]
        .concat()
    };
    let mut right = kinds(None);
    right.extend(named(vec![
        ("UDP without one", v4(Udp { checksum: Some(0), ..datagram(22) })),
        ("a later fragment", Frame::new(later(), Upper::Raw(17, vec![1; 64]))),
        ("another protocol", v4(Upper::Raw(89, vec![1; 64]))),
        ("with IPv4 options", with_options(Tcp { checksum: Some(1), ..syn(22) })),
    ]));
    let firewall = Firewall::new(EVERYTHING);
    check_at((&firewall, &[Side::Xdp]), "checksums = [\"eth*\"]", Reason::UpperChecksum, &kinds(Some(1)), &right);
}

fn later() -> Ipv4 {
    Ipv4 { fragment_offset: 1000, ..Ipv4::new(CLIENT, SERVER) }
}

fn with_options(upper: Tcp) -> Frame {
    Frame::new(Ipv4 { options: vec![1; 8], ..Ipv4::new(CLIENT, SERVER) }, upper)
}

/// At interfaces that are not named nothing is looked at, nor at tc, where an interface that is named is refused.
#[test]
fn checksums_are_looked_at_where_they_are_finished() {
    let bad = [("TCP".to_owned(), v4(Tcp { checksum: Some(1), ..syn(22) }).bytes(), Ok(()))];
    let firewall = Firewall::new(EVERYTHING);
    firewall.apply_set(EVERYTHING, "[checks]\nchecksums = [\"lan0\"]\n");
    firewall.check_frames(Side::Xdp, bad.clone());
    firewall.apply_set(EVERYTHING, "[checks]\nchecksums = [\"eth0\"]\n");
    firewall.check_frames(Side::Xdp, bad.clone().map(|(name, bytes, _)| (name, bytes, Err(Reason::UpperChecksum))));
    firewall.apply_set(EVERYTHING, "");
    firewall.check_frames(Side::Xdp, bad);
    let pair = Pair::new();
    let files = Scratch::new();
    files.write("rampart.toml", "[attach]\ntc = [\"eth0\"]\n[checks]\nchecksums = [\"eth0\"]\n");
    let path = |name: &str| files.path().join(name).display().to_string();
    files.write("rules.nft", EVERYTHING);
    let rampart = Rampart::on(&pair.server);
    let refused = rampart.run(&["--config", &path("rampart.toml"), "apply", &path("rules.nft")]);
    assert!(refused.status != 0 && refused.stderr.contains("attached by tc"), "{}", refused.stderr);
}
