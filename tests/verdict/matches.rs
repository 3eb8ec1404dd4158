//! Every other thing that a rule can ask about, at the edges of what it names.

use firewall_tests::packet::{Frame, Icmp, Tcp, Udp, flag};
use firewall_user::kernel::Side;
use rstest::rstest;

use super::support::{
    packets::{back_v4, back_v6, datagram, syn, v4, v6, word},
    sequence::flags,
    table::{SIDES, check_matches},
};

const PORTS: &str = "
    set services { type inet_service; elements = { 22, 80, 443 }; }
    set many { type inet_service; flags interval; elements = { 22, 80-90, 60000-65535 }; }";

#[test]
fn destination_ports() {
    let others = "udp:22 sctp:22 icmp:8 icmpv6:128 proto:47";
    let no_tcp22 = &format!("tcp:21 tcp:23 {others}");
    for side in SIDES {
        check_matches(
            side,
            PORTS,
            word,
            &[
                ("tcp dport 22", "tcp:22 tcp6:22", no_tcp22),
                ("tcp dport ssh", "tcp:22", no_tcp22),
                ("tcp dport 0", "tcp:0", "tcp:1 tcp:65535"),
                ("tcp dport 65535", "tcp:65535 tcp6:65535", "tcp:65534 tcp:0 udp:65535"),
                ("udp dport 22", "udp:22 udp6:22", "udp:21 udp:23 tcp:22 sctp:22 icmp:8"),
                ("sctp dport 22", "sctp:22 sctp6:22", "sctp:23 tcp:22 udp:22"),
                (
                    "meta l4proto { tcp, udp, sctp } th dport 22",
                    "tcp:22 udp:22 sctp:22 tcp6:22",
                    "tcp:23 udp:21 icmp:8",
                ),
                ("tcp dport 80-90", "tcp:80 tcp:85 tcp:90", "tcp:79 tcp:91 udp:85"),
                ("tcp dport 1024-65535", "tcp:1024 tcp:65535", "tcp:1023 udp:1024"),
                ("tcp dport 0-1023", "tcp:0 tcp:1023", "tcp:1024 udp:0"),
                ("tcp dport 0-65535", "tcp:0 tcp:65535 tcp6:22", others),
                (
                    "tcp dport { 22, 80, 443 }",
                    "tcp:22 tcp:80 tcp6:443",
                    "tcp:21 tcp:23 tcp:79 tcp:81 tcp:442 tcp:444 udp:80",
                ),
                (
                    "tcp dport { 22, 80-90, 60000-65535 }",
                    "tcp:22 tcp:80 tcp:90 tcp:60000 tcp:65535",
                    "tcp:79 tcp:91 tcp:59999 udp:80",
                ),
                ("tcp dport @services", "tcp:22 tcp:80 tcp6:443", "tcp:21 tcp:81 udp:80 icmp:8"),
                ("udp dport @services", "udp:22 udp:80 udp6:443", "udp:21 tcp:80"),
                (
                    "tcp dport @many",
                    "tcp:22 tcp:80 tcp:90 tcp:60000 tcp:65535",
                    "tcp:21 tcp:79 tcp:91 tcp:59999 udp:80",
                ),
                // Not: of this protocol, and not that port.
                (
                    "tcp dport != 22",
                    "tcp:21 tcp:23 tcp6:80",
                    "tcp:22 tcp6:22 udp:23 udp6:80 sctp:5 icmp:8 icmpv6:128 proto:47",
                ),
                ("tcp dport != 80-90", "tcp:79 tcp:91", "tcp:80 tcp:90 udp:79 icmp:8"),
                ("tcp dport != { 22, 80 }", "tcp:21 tcp:81", "tcp:22 tcp:80 udp:21 icmp:8"),
                ("tcp dport != @services", "tcp:21 tcp:81", "tcp:22 tcp:443 udp:21 icmp:8 proto:47"),
                ("udp dport != 53", "udp:52 udp:54", "udp:53 tcp:52 icmp:8"),
                // Compared as numbers.
                ("tcp dport < 80", "tcp:0 tcp:79", "tcp:80 tcp:65535 udp:79"),
                ("tcp dport <= 80", "tcp:0 tcp:80", "tcp:81 udp:80"),
                ("tcp dport > 80", "tcp:81 tcp:65535", "tcp:80 udp:81 icmp:8 proto:47"),
                ("tcp dport >= 256", "tcp:256 tcp:65535", "tcp:255 tcp:1"),
            ],
        );
    }
}

#[test]
fn source_ports() {
    let packet = |text: &str| {
        let (name, port) = text.split_once(':').expect("name:port");
        let port = port.parse().expect("a port");
        match name {
            "tcp" => v4(Tcp::new(port, 9, flag::SYN)),
            "tcp6" => v6(Tcp::new(port, 9, flag::SYN)),
            "udp" => v4(Udp::new(port, 9)),
            _ => panic!("{text}"),
        }
    };
    check_matches(
        Side::Xdp,
        "",
        packet,
        &[
            ("tcp sport 22", "tcp:22 tcp6:22", "tcp:21 tcp:9 udp:22"),
            ("tcp sport 1024-65535", "tcp:1024 tcp:65535", "tcp:1023 udp:1024"),
            ("tcp sport != 22", "tcp:21 tcp6:23", "tcp:22 udp:21"),
            ("udp sport { 53, 123 }", "udp:53 udp:123", "udp:54 tcp:53"),
            ("meta l4proto { tcp, udp } th sport 53", "udp:53 tcp:53", "udp:54"),
            ("tcp sport 22 tcp dport 9", "tcp:22", "tcp:9 tcp:23"),
        ],
    );
}

#[test]
fn protocols_and_families() {
    check_matches(
        Side::Xdp,
        "",
        word,
        &[
            ("meta l4proto tcp", "tcp:1 tcp6:1", "udp:1 icmp:8 icmpv6:128 proto:47"),
            ("meta l4proto { tcp, udp }", "tcp:1 tcp6:1 udp:1 udp6:1", "sctp:1 icmp:8 proto:47"),
            ("meta l4proto != tcp", "udp:1 icmp:8 icmpv6:128 proto:47", "tcp:1 tcp6:1"),
            ("meta l4proto 47", "proto:47 proto6:47", "proto:48 tcp:47"),
            ("meta l4proto icmp", "icmp:8", "icmpv6:128 tcp:1"),
            ("meta l4proto ipv6-icmp", "icmpv6:128", "icmp:8 tcp6:1"),
            ("ip protocol tcp", "tcp:1", "tcp6:1 udp:1"),
            ("ip protocol != tcp", "udp:1 icmp:8", "tcp:1 tcp6:1 udp6:1"),
            ("meta nfproto ipv4", "tcp:1 icmp:8", "tcp6:1 icmpv6:128"),
            ("meta nfproto ipv6", "tcp6:1 icmpv6:128", "tcp:1 icmp:8"),
        ],
    );
}

#[test]
fn icmp_types() {
    check_matches(
        Side::Xdp,
        "",
        word,
        &[
            ("icmp type echo-request", "icmp:8", "icmp:0 icmp:7 icmp:9 icmpv6:8 icmpv6:128 tcp:8"),
            ("icmp type 8", "icmp:8", "icmp:0 icmpv6:8"),
            ("icmp type 0", "icmp:0", "icmp:1 icmpv6:0 tcp:0"),
            ("icmp type { echo-request, timestamp-request }", "icmp:8 icmp:13", "icmp:9 icmp:14 icmpv6:8"),
            ("icmp type != echo-request", "icmp:0 icmp:255", "icmp:8 icmpv6:128 tcp:1 udp:1"),
            ("icmpv6 type echo-request", "icmpv6:128", "icmpv6:127 icmpv6:129 icmp:128 tcp6:128"),
            (
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }",
                "icmpv6:135 icmpv6:136",
                "icmpv6:134 icmpv6:137 icmp:135",
            ),
            ("icmpv6 type 133-136", "icmpv6:133 icmpv6:136", "icmpv6:132 icmpv6:137"),
            ("icmpv6 type != echo-request", "icmpv6:129", "icmpv6:128 icmp:8 tcp6:1"),
        ],
    );
}

#[test]
fn icmp_codes() {
    let packet = |text: &str| {
        let numbers: Vec<u8> = text[1..].split('/').map(|number| number.parse().expect("a number")).collect();
        if text.starts_with('4') { v4(Icmp::v4(numbers[0], numbers[1])) } else { v6(Icmp::v6(numbers[0], numbers[1])) }
    };
    // The version, type and code: `4` and `3/1` is a host that cannot be reached.
    let packet = |text: &str| packet(text.replacen(',', "", 1).as_str());
    check_matches(
        Side::Xdp,
        "",
        packet,
        &[
            ("icmp code 1", "4,3/1 4,8/1", "4,3/0 4,3/2 6,1/1"),
            ("icmp type destination-unreachable icmp code 1-3", "4,3/1 4,3/3", "4,3/0 4,3/4 4,5/1"),
            ("icmpv6 code 4", "6,1/4", "6,1/3 4,3/4"),
        ],
    );
}

#[test]
fn tcp_flags() {
    let packet = |text: &str| match text.strip_prefix('6') {
        Some(letters) => v6(Tcp::new(1, 2, flags(letters))),
        None if text == "udp" => v4(datagram(2)),
        None => v4(Tcp::new(1, 2, flags(text))),
    };
    check_matches(
        Side::Xdp,
        "",
        packet,
        &[
            ("tcp flags syn", "S SA 6S", "A F . udp"),
            ("tcp flags == syn", "S 6S", "SA A . udp"),
            ("tcp flags & (syn | ack) == syn", "S SF SP", "SA A . udp"),
            ("tcp flags & (fin | syn | rst | ack) == syn", "S SP", "SA SF R . udp"),
            ("tcp flags syn / syn,ack", "S SF", "SA A udp"),
            ("tcp flags != syn", "SA A . F", "S udp"),
            ("tcp flags & syn == 0", "A F .", "S SA udp"),
        ],
    );
}

#[rstest]
#[case::xdp(Side::Xdp, "iif", "oif")]
#[case::tc_ingress(Side::TcIngress, "iif", "oif")]
#[case::tc_egress(Side::TcEgress, "oif", "iif")]
fn interfaces(#[case] side: Side, #[case] of_packet: &str, #[case] other: &str) {
    let rule = |rule: &str| rule.replace("THIS", of_packet).replace("OTHER", other);
    let rules = [
        // It comes in, or leaves, by `eth0`, and has no interface on the other side.
        ("THISname eth0", true),
        ("THISname \"eth0\"", true),
        ("THISname \"eth*\"", true),
        ("THISname \"e*\"", true),
        ("THISname \"eth0*\"", true),
        ("THISname { \"lo\", \"eth0\" }", true),
        ("THISname != \"lo\"", true),
        ("THISname != \"et*s\"", true),
        ("THIS \"eth0\"", true),
        ("THIS != \"lo\"", true),
        ("meta THISname \"eth0\"", true),
        ("THISname \"eth\"", false),
        ("THISname \"eth00\"", false),
        ("THISname \"eth1\"", false),
        ("THISname \"et*h0\"", false),
        ("THISname != \"eth0\"", false),
        ("THISname != \"eth*\"", false),
        ("THISname { \"lo\", \"eth1\" }", false),
        ("THIS \"lo\"", false),
        ("THIS != \"eth0\"", false),
        ("OTHERname \"eth0\"", false),
        ("OTHERname \"eth*\"", false),
        ("OTHERname != \"eth0\"", true),
    ];
    let rules: Vec<_> = rules.iter().map(|(text, hit)| (rule(text), *hit)).collect();
    let both = "tcp:22 tcp6:22";
    let row = |(rule, hit): &'_ (String, bool)| if *hit { (rule.clone(), both, "") } else { (rule.clone(), "", both) };
    let rows: Vec<_> = rules.iter().map(row).collect();
    let rows: Vec<_> = rows.iter().map(|(rule, hits, misses)| (&**rule, *hits, *misses)).collect();
    check_matches(side, "", word, &rows);
}

#[test]
fn several_matches_must_all_hold() {
    check_matches(
        Side::Xdp,
        "",
        word,
        &[
            ("ip saddr 192.0.2.0/24 tcp dport 22", "tcp:22", "tcp:23 udp:22 tcp6:22 198.51.100.1"),
            ("tcp dport 22 ip saddr 192.0.2.0/24", "tcp:22", "tcp:23 udp:22 tcp6:22 198.51.100.1"),
            ("ip6 saddr 2001:db8:1::/64 udp dport 53", "udp6:53", "udp:53 tcp6:53 udp6:54"),
            ("iifname \"eth0\" meta l4proto tcp tcp dport 22 tcp sport 40000", "tcp:22", "tcp:23"),
            ("iifname \"lo\" tcp dport 22", "", "tcp:22"),
            ("tcp dport 22 tcp dport 23", "", "tcp:22 tcp:23"),
            ("tcp dport != 22 tcp dport != 23", "tcp:21 tcp:24", "tcp:22 tcp:23 udp:21"),
        ],
    );
}

#[test]
fn lengths_and_marks() {
    let packet = |text: &str| {
        let size: usize = text.trim_start_matches('6').parse().expect("a length");
        let (frame, header) = if text.starts_with('6') { (v6(datagram(9)), 48) } else { (v4(datagram(9)), 28) };
        frame.payload(&vec![0; size - header])
    };
    check_matches(
        Side::Xdp,
        "",
        packet,
        &[
            ("meta length 100", "100 6100", "99 101"),
            ("meta length 100-200", "100 200 6200", "99 201"),
            ("meta length > 1000", "1001 61001", "1000 100"),
            ("meta mark 0", "100", ""),
            ("meta mark 1", "", "100"),
        ],
    );
}

/// What leaves is matched like what comes in.
#[test]
fn packets_that_leave() {
    let packet = |text: &str| -> Frame {
        match text {
            "tcp" => back_v4(syn(25)),
            "tcp6" => back_v6(syn(25)),
            "udp" => back_v4(datagram(25)),
            _ => panic!("{text}"),
        }
    };
    check_matches(
        Side::TcEgress,
        "",
        packet,
        &[
            ("tcp dport 25", "tcp tcp6", "udp"),
            ("ip daddr 192.0.2.1 tcp dport { 25, 465, 587 }", "tcp", "tcp6 udp"),
            ("ip saddr 192.0.2.2", "tcp udp", "tcp6"),
            ("ct state new", "tcp tcp6 udp", ""),
        ],
    );
}
