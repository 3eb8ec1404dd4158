//! What rules write into headers: every byte of the packet, its checksums with it, on both kinds of program.

use firewall_tests::{
    packet::{Ethernet, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Udp, Vlan},
    topology::{CLIENT, CLIENT6, INTERFACE, SERVER, SERVER6},
};
use firewall_user::kernel::{Side, interface_index};

use super::support::{
    Firewall,
    packets::{syn, v4, v6},
    sequence::flags,
};

fn rules(rule: &str) -> String {
    format!(
        "table inet t {{
            map ports {{ type inet_service : inet_service; elements = {{ 22 : 2222, 80 : 8080 }}; }}
            chain p {{ type filter hook prerouting priority -150; {rule}; }}
            chain o {{ type filter hook output priority -150; {rule}; }}
        }}"
    )
}

/// The packet as the program leaves it.
fn edited(firewall: &Firewall, side: Side, frame: &Frame) -> Vec<u8> {
    firewall.open(|instance| {
        let ifindex = interface_index(INTERFACE).expect("interface");
        let judged = instance.judge(side, &frame.bytes(), ifindex, 1).unwrap_or_else(|error| panic!("{error}"));
        assert!(judged.passed);
        judged.bytes
    })
}

/// The rule makes the second packet of the first one.
#[track_caller]
fn check(rule: &str, before: &Frame, after: &Frame) {
    let firewall = Firewall::new(&rules(rule));
    for side in [Side::Xdp, Side::TcIngress, Side::TcEgress] {
        assert_eq!(edited(&firewall, side, before), after.bytes(), "{rule}, {side:?}");
    }
}

fn tcp() -> Tcp {
    Tcp { seq: 0x0102_0304, ack: 0x0506_0708, window: 1000, ..Tcp::new(40000, 22, flags("SA")) }
}

fn ip(change: impl FnOnce(&mut Ipv4)) -> Frame {
    let mut header = Ipv4::new(CLIENT, SERVER);
    change(&mut header);
    Frame::new(header, tcp()).ethernet(Ethernet::to_server()).payload(b"seven b")
}

fn ip6(change: impl FnOnce(&mut Ipv6)) -> Frame {
    let mut header = Ipv6::new(CLIENT6, SERVER6);
    change(&mut header);
    Frame::new(header, tcp()).ethernet(Ethernet::to_server()).payload(b"seven b")
}

fn upper(change: impl FnOnce(&mut Tcp)) -> Frame {
    let mut segment = tcp();
    change(&mut segment);
    v4(segment).payload(b"odd")
}

#[test]
fn fields_of_ipv4() {
    let plain = ip(|_| {});
    let tos = ip(|ip| ip.tos = 0b1011_0110);
    check("ip ttl set 17", &plain, &ip(|ip| ip.ttl = 17));
    check("ip dscp set cs1", &tos, &ip(|ip| ip.tos = 0b0010_0010));
    check("ip ecn set ce", &tos, &ip(|ip| ip.tos = 0b1011_0111));
    check("ip id set 0xabcd", &plain, &ip(|ip| ip.id = 0xabcd));
    check("ip saddr set 203.0.113.7", &plain, &ip(|ip| ip.source = [203, 0, 113, 7].into()));
    check("ip daddr set 203.0.113.255", &plain, &ip(|ip| ip.destination = [203, 0, 113, 255].into()));
    check("ip saddr set ip daddr", &plain, &ip(|ip| ip.source = SERVER));
    check(
        "ip saddr set ip saddr map { 192.0.2.0/24 : 198.51.100.9 }",
        &plain,
        &ip(|ip| ip.source = [198, 51, 100, 9].into()),
    );
    check("ip saddr set ip saddr map { 203.0.113.0/24 : 198.51.100.9 }", &plain, &plain);
    check("ip6 hoplimit set 5", &plain, &plain);
}

#[test]
fn fields_of_ipv6() {
    let plain = ip6(|_| {});
    let class = ip6(|ip| (ip.traffic_class, ip.flow_label) = (0b1011_0110, 0x54321));
    check("ip6 hoplimit set 17", &plain, &ip6(|ip| ip.hop_limit = 17));
    check("ip6 dscp set af11", &class, &ip6(|ip| (ip.traffic_class, ip.flow_label) = (0b0010_1010, 0x54321)));
    check("ip6 ecn set 1", &class, &ip6(|ip| (ip.traffic_class, ip.flow_label) = (0b1011_0101, 0x54321)));
    check("ip6 flowlabel set 0xfedcb", &class, &ip6(|ip| (ip.traffic_class, ip.flow_label) = (0b1011_0110, 0xfedcb)));
    let other = "2001:db8:5:6:7:8:9:a".parse().expect("an address");
    check("ip6 saddr set 2001:db8:5:6:7:8:9:a", &plain, &ip6(|ip| ip.source = other));
    check("ip6 daddr set ip6 saddr", &plain, &ip6(|ip| ip.destination = CLIENT6));
    check(
        "ip6 daddr set ip6 saddr map { 2001:db8::/32 : 2001:db8:5:6:7:8:9:a }",
        &plain,
        &ip6(|ip| ip.destination = other),
    );
}

#[test]
fn fields_of_tcp() {
    let plain = upper(|_| {});
    check("tcp dport set 65535", &plain, &upper(|tcp| tcp.destination = 65535));
    check("tcp sport set 1", &plain, &upper(|tcp| tcp.source = 1));
    check("tcp dport set tcp sport", &plain, &upper(|tcp| tcp.destination = 40000));
    check("tcp dport set tcp dport map { 22 : 2222 }", &plain, &upper(|tcp| tcp.destination = 2222));
    check("tcp dport set tcp dport map @ports", &plain, &upper(|tcp| tcp.destination = 2222));
    check("tcp sequence set 0xfffefdfc", &plain, &upper(|tcp| tcp.seq = 0xfffe_fdfc));
    check("tcp ackseq set 1", &plain, &upper(|tcp| tcp.ack = 1));
    check("tcp window set 77", &plain, &upper(|tcp| tcp.window = 77));
    check("tcp flags set syn", &plain, &upper(|tcp| tcp.flags = flags("S")));
    check("udp dport set 5", &plain, &plain);
}

#[test]
fn fields_of_udp_and_icmp() {
    let datagram = |port| v4(Udp::new(40000, port)).payload(b"odd");
    check("udp dport set 5353", &datagram(53), &datagram(5353));
    let unsummed = |port| v4(Udp { checksum: Some(0), ..Udp::new(40000, port) }).payload(b"odd");
    check("udp dport set 5353", &unsummed(53), &unsummed(5353));
    let six = |port| v6(Udp::new(40000, port)).payload(b"odd");
    check("udp dport set 5353", &six(53), &six(5353));
    let ping = |id, number| v4(Icmp::echo_request(IcmpVersion::V4, id, number));
    check("icmp id set 9", &ping(7, 1), &ping(9, 1));
    check("icmp sequence set 9", &ping(7, 1), &ping(7, 9));
    let ping6 = |id, number| v6(Icmp::echo_request(IcmpVersion::V6, id, number));
    check("icmpv6 id set 9", &ping6(7, 1), &ping6(9, 1));
}

#[test]
fn a_checksum_that_comes_out_as_none_is_written_as_its_other_zero() {
    for port in 0..=u16::MAX {
        let wanted = v4(Udp::new(40000, port));
        let bytes = wanted.bytes();
        if bytes[40..42] == [0xff, 0xff] {
            return check(&format!("udp dport set {port}"), &v4(Udp::new(40000, port ^ 1)), &wanted);
        }
    }
    panic!("some port makes the sum 0xffff");
}

#[test]
fn later_rules_see_what_was_written() {
    let rules = "table inet t {
        chain p {
            type filter hook prerouting priority -150;
            ip ttl set 5 ip ttl 5 counter comment \"ttl\"
            ip dscp set cs1 ip dscp cs1 ip ecn 0 counter comment \"dscp\"
            ip saddr set 203.0.113.7 ip saddr 203.0.113.7 counter comment \"source\"
            tcp dport set 80 tcp dport 80 counter comment \"port\"
            tcp dport 22 counter comment \"old port\"
            tcp flags set fin tcp flags == fin counter comment \"flags\"
            tcp window set 5 tcp window 5 counter comment \"window\"
            udp dport set 80 counter comment \"no such header\"
            ip6 hoplimit set 80 counter comment \"no such network\"
        }
        chain i { type filter hook input priority 0; tcp dport 80 ip saddr 203.0.113.7 counter comment \"another hook\"; }
    }";
    let firewall = Firewall::new(rules);
    let mut counted = firewall.counted_by(Side::Xdp, &[v4(syn(22)).bytes()]).remove(0);
    counted.sort();
    assert_eq!(counted, ["another hook", "dscp", "flags", "port", "source", "ttl", "window"]);
}

#[test]
fn the_rules_of_the_trees_see_what_was_written() {
    use std::fmt::Write;
    let mut chain = String::new();
    for number in 1..60 {
        let _ = write!(chain, "ip saddr 203.0.113.{number} drop; ");
    }
    chain.push_str("tcp dport 22 tcp dport set 23; tcp dport 22 drop; tcp dport 23 counter comment \"seen\"; ");
    for number in 60..120 {
        let _ = write!(chain, "ip saddr 203.0.113.{number} drop; ");
    }
    let rules = format!("table inet t {{ chain p {{ type filter hook prerouting priority 0; {chain} }}; }}");
    let counted = Firewall::new(&rules).counted_by(Side::Xdp, &[v4(syn(22)).bytes()]);
    assert_eq!(counted, [["seen"]]);
}

#[test]
fn addresses_of_the_link_and_its_tag() {
    let plain = v4(syn(22));
    let with = |change: &dyn Fn(&mut Ethernet)| {
        let mut frame = v4(syn(22));
        change(&mut frame.ethernet);
        frame
    };
    let on_the_way_in = |rule: &str, before: &Frame, after: &Frame| {
        let firewall = Firewall::new(&rules(rule));
        for side in [Side::Xdp, Side::TcIngress] {
            assert_eq!(edited(&firewall, side, before), after.bytes(), "{rule}, {side:?}");
        }
        assert_eq!(
            edited(&firewall, Side::TcEgress, before),
            before.bytes(),
            "{rule}: nothing made here has a link yet"
        );
    };
    let card = [0, 0, 0x5e, 0, 0x53, 1];
    on_the_way_in("ether saddr set 00:00:5e:00:53:01", &plain, &with(&|link| link.source = card));
    on_the_way_in("ether daddr set 00:00:5e:00:53:01", &plain, &with(&|link| link.destination = card));
    let tagged = |tci| with(&|link| link.vlans = vec![Vlan { tpid: 0x8100, tci }]);
    let firewall = Firewall::new(&rules("vlan id set 0x123"));
    assert_eq!(edited(&firewall, Side::Xdp, &tagged(0xafff)), tagged(0xa123).bytes());
    let firewall = Firewall::new(&rules("vlan pcp set 2"));
    assert_eq!(edited(&firewall, Side::Xdp, &tagged(0xbfff)), tagged(0x5fff).bytes());
}

#[test]
fn a_later_fragment_keeps_its_ports() {
    let fragment = ip(|ip| (ip.fragment_offset, ip.more_fragments) = (185, false));
    let Network::Ipv4(_) = &fragment.network else { panic!("{fragment:?}") };
    check("tcp dport set 80", &fragment, &fragment);
}
