//! `[checks]` of `rampart.toml`: what is dropped that the parser lets pass, and that it passes without the setting.

use std::net::Ipv4Addr;

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Ethernet, Extension, Frame, Ipv4, Ipv6, Tcp},
    topology::{CLIENT, CLIENT6, SERVER, SERVER6},
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
    let sides = [Side::Xdp, Side::TcIngress];
    for side in sides {
        let all = wrong.iter().chain(right);
        firewall.check_frames(side, all.map(|(name, frame)| (name, frame.bytes(), Ok(()))));
    }
    firewall.apply_set(EVERYTHING, &format!("[checks]\n{setting} = true\n"));
    for side in sides {
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
