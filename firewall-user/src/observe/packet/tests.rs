use super::*;

const V4: u32 = NFPROTO_IPV4;

/// A word of a TCP header, as the program keeps it.
const fn of_tcp(value: u32) -> u32 {
    6 << 16 | value
}

fn tcp(flags: u32) -> Event {
    Event {
        nfproto: V4,
        protocol: 6,
        source: [0xc633_6407, 0, 0, 0],
        destination: [0xcb00_710a, 0, 0, 0],
        source_port: of_tcp(40_000),
        destination_port: of_tcp(443),
        tcp_flags: of_tcp(flags),
        icmp: NO_L4,
        length: 74,
        ..Event::default()
    }
}

fn icmp_event(family: u32, protocol: u32, kind: u32, code: u32) -> Event {
    Event {
        nfproto: family,
        protocol,
        source: [0x2001_0db8, 0, 0, 1],
        destination: [0x2001_0db8, 0, 0, 2],
        icmp: protocol << 16 | kind << 8 | code,
        source_port: NO_L4,
        destination_port: NO_L4,
        tcp_flags: NO_L4,
        length: 98,
        ..Event::default()
    }
}

#[test]
fn a_packet_in_words() {
    let later_fragment = Event { source_port: NO_L4, destination_port: NO_L4, tcp_flags: NO_L4, ..tcp(0) };
    let rows = [
        (tcp(0x02), "tcp 198.51.100.7:40000 -> 203.0.113.10:443 flags S"),
        (tcp(0x12), "tcp 198.51.100.7:40000 -> 203.0.113.10:443 flags SA"),
        (tcp(0), "tcp 198.51.100.7:40000 -> 203.0.113.10:443 flags none"),
        (later_fragment, "tcp 198.51.100.7 -> 203.0.113.10"),
        (icmp_event(V4, 1, 8, 0), "icmp 32.1.13.184 -> 32.1.13.184 echo-request"),
        (icmp_event(V4, 1, 3, 3), "icmp 32.1.13.184 -> 32.1.13.184 destination-unreachable (port-unreachable)"),
        (icmp_event(NFPROTO_IPV6, 58, 135, 0), "icmpv6 2001:db8::1 -> 2001:db8::2 nd-neighbor-solicit"),
        (icmp_event(NFPROTO_IPV6, 58, 200, 7), "icmpv6 2001:db8::1 -> 2001:db8::2 type 200 (code 7)"),
        (Event { length: 13, ..Event::default() }, "frame of 13 bytes"),
        (Event { protocol: 250, ..later_fragment }, "250 198.51.100.7 -> 203.0.113.10"),
    ];
    for (event, text) in rows {
        assert_eq!(Told::of(&event).text(), text);
    }
}

#[test]
fn ports_of_ipv6_addresses_are_set_apart() {
    let address = "2001:db8::1".parse().expect("an address");
    assert_eq!(endpoint(address, 22), "[2001:db8::1]:22");
}

#[test]
fn a_packet_in_json() {
    let json = Told::of(&tcp(0x12)).json();
    let expected = json!({
        "proto": "tcp", "src": "198.51.100.7", "dst": "203.0.113.10", "sport": 40000, "dport": 443,
        "tcp_flags": ["syn", "ack"], "length": 74,
    });
    assert_eq!(json, expected);
    let json = Told::of(&icmp_event(NFPROTO_IPV6, 58, 128, 0)).json();
    assert_eq!((&json["icmp_type"], &json["icmp_code"]), (&json!("echo-request"), &json!(0)));
    assert_eq!(Told::of(&Event::default()).json(), json!({ "length": 0 }));
}
