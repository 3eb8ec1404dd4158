//! ICMP errors: related to the connection whose packet they quote, if it was the receiver who sent it.

use firewall_tests::{
    packet::{Ethernet, Frame, Icmp, Ipv4, Ipv6, Network, Tcp, Udp},
    topology::{CLIENT, CLIENT6, ROUTER, ROUTER6, SERVER, SERVER6},
};
use firewall_user::kernel::Side;

use super::support::{
    Firewall,
    packets::{back_v4, back_v6, between, v4, v6},
    sequence::{STATES, flags},
    table::check_rows,
};

/// What the server sends first: a connection, a question, a ping.
fn sent() -> [(&'static str, Frame); 3] {
    let ping = Icmp::echo_request(firewall_tests::packet::IcmpVersion::V4, 7, 1);
    [
        ("TCP", back_v4(Tcp::new(40000, 80, flags("S")))),
        ("UDP", back_v4(Udp::new(40000, 53)).payload(b"what is it?")),
        ("ping", back_v4(ping)),
    ]
}

fn sent6() -> [(&'static str, Frame); 3] {
    let ping = Icmp::echo_request(firewall_tests::packet::IcmpVersion::V6, 7, 1);
    [
        ("TCP", back_v6(Tcp::new(40000, 80, flags("S")))),
        ("UDP", back_v6(Udp::new(40000, 53)).payload(b"what is it?")),
        ("ping", back_v6(ping)),
    ]
}

/// An error that a router sends to the server about a packet.
fn error(kind: u8, code: u8, about: &Frame) -> Frame {
    Frame::error(Ipv4::new(ROUTER, SERVER), Icmp::v4(kind, code), about).ethernet(Ethernet::to_server())
}

fn error6(kind: u8, code: u8, about: &Frame) -> Frame {
    Frame::error(Ipv6::new(ROUTER6, SERVER6), Icmp::v6(kind, code), about).ethernet(Ethernet::to_server())
}

/// What is quoted must have been sent before.
#[track_caller]
fn check_quoting(sent: &[(&str, Frame)], errors: &[(&str, (u8, u8))], error: impl Fn(u8, u8, &Frame) -> Frame) {
    let firewall = Firewall::new(STATES);
    let states = || {
        let all = sent.iter().flat_map(|sent| errors.iter().map(move |error| (sent, error)));
        let state = |((what, about), (name, (kind, code))): (&(_, Frame), &(_, (u8, u8)))| {
            (format!("{name}, quoting {what}"), firewall.state_of(Side::Xdp, &error(*kind, *code, about)))
        };
        all.map(state).collect::<Vec<_>>()
    };
    check_rows(states().into_iter().map(|(name, state)| (name, "invalid".to_owned(), state)));
    for (what, packet) in sent {
        assert_eq!(firewall.egress(packet), Ok(()), "{what}");
    }
    check_rows(states().into_iter().map(|(name, state)| (name, "related".to_owned(), state)));
    assert_eq!(firewall.flows().len(), sent.len(), "an error is no connection of its own");
}

#[test]
fn an_error_is_related_to_what_it_quotes() {
    let errors = [
        ("network unreachable", (3, 0)),
        ("host unreachable", (3, 1)),
        ("port unreachable", (3, 3)),
        ("fragmentation needed", (3, 4)),
        ("prohibited", (3, 13)),
        ("source quench", (4, 0)),
        ("redirect", (5, 1)),
        ("time exceeded", (11, 0)),
        ("parameter problem", (12, 0)),
    ];
    check_quoting(&sent(), &errors, error);
}

#[test]
fn an_error_of_ipv6_is_related_to_what_it_quotes() {
    let errors =
        [("port unreachable", (1, 4)), ("too big", (2, 0)), ("time exceeded", (3, 0)), ("parameter problem", (4, 1))];
    check_quoting(&sent6(), &errors, error6);
}

/// The server tells a client that nobody listens; a router tells the server that its answer did not arrive.
#[test]
fn errors_about_either_direction_are_related() {
    let firewall = Firewall::new(STATES);
    let question = v4(Udp::new(5000, 9));
    let answer = back_v4(Udp::new(9, 5000));
    assert_eq!(firewall.ingress(&question), Ok(()));
    let refusal = Frame::error(Ipv4::new(SERVER, CLIENT), Icmp::v4(3, 3), &question);
    assert_eq!(firewall.state_of(Side::TcEgress, &refusal), "related");
    assert_eq!(firewall.egress(&answer), Ok(()));
    assert_eq!(firewall.state_of(Side::Xdp, &error(3, 1, &answer)), "related");
    let question = v6(Udp::new(5000, 9));
    assert_eq!(firewall.ingress(&question), Ok(()));
    let refusal = Frame::error(Ipv6::new(SERVER6, CLIENT6), Icmp::v6(1, 4), &question);
    assert_eq!(firewall.state_of(Side::TcEgress, &refusal), "related");
}

#[test]
fn an_error_belongs_to_who_sent_what_it_quotes() {
    let firewall = Firewall::new(STATES);
    let [(_, tcp), (_, udp), (_, ping)] = sent();
    for packet in [&tcp, &udp, &ping] {
        assert_eq!(firewall.egress(packet), Ok(()));
    }
    let unreachable = |about: &Frame| error(3, 1, about);
    let to_other = |about: &Frame| Frame {
        network: Ipv4::new(ROUTER, "192.0.2.9".parse().expect("an address")).into(),
        ..unreachable(about)
    };
    let other_port = back_v4(Tcp::new(40000, 81, flags("S")));
    let turned = v4(Tcp::new(80, 40000, flags("SA")));
    let other_protocol = back_v4(Udp::new(40000, 80));
    let other_ping = back_v4(Icmp::echo_request(firewall_tests::packet::IcmpVersion::V4, 8, 1));
    let rows = [
        ("the connection", unreachable(&tcp), "related"),
        ("sent to another address", to_other(&tcp), "invalid"),
        ("quotes another port", unreachable(&other_port), "invalid"),
        ("quotes another protocol", unreachable(&other_protocol), "invalid"),
        ("quotes another ping", unreachable(&other_ping), "invalid"),
        ("quotes a packet of the other side", unreachable(&turned), "invalid"),
        ("quotes an error", unreachable(&Frame::error(Ipv4::new(SERVER, CLIENT), Icmp::v4(3, 3), &turned)), "invalid"),
        ("quotes from elsewhere", unreachable(&between(ROUTER, CLIENT, Tcp::new(40000, 80, flags("S")))), "invalid"),
    ];
    check_rows(rows.map(|(name, frame, state)| (name, state.to_owned(), firewall.state_of(Side::Xdp, &frame))));
}

#[test]
fn a_quote_that_is_broken_quotes_nothing() {
    let firewall = Firewall::new(STATES);
    let [(_, tcp), ..] = sent();
    assert_eq!(firewall.egress(&tcp), Ok(()));
    let Network::Ipv4(ipv4) = tcp.network.clone() else { panic!("{tcp:?}") };
    let quoting = |ipv4: Ipv4| error(3, 1, &Frame { network: ipv4.into(), ..tcp.clone() });
    let mut rows: Vec<_> = (0..28)
        .map(|length| {
            let mut short = error(3, 1, &tcp);
            short.payload.truncate(length);
            (format!("{length} bytes of it"), short, "invalid")
        })
        .collect();
    rows.extend([
        ("28 bytes of it".to_owned(), error(3, 1, &tcp), "related"),
        ("IHL 4".to_owned(), quoting(Ipv4 { ihl: Some(4), ..ipv4.clone() }), "invalid"),
        ("IHL 15".to_owned(), quoting(Ipv4 { ihl: Some(15), ..ipv4.clone() }), "invalid"),
        ("version 6".to_owned(), quoting(Ipv4 { version: Some(6), ..ipv4.clone() }), "invalid"),
        ("a later fragment".to_owned(), quoting(Ipv4 { fragment_offset: 1, ..ipv4.clone() }), "invalid"),
        ("a first fragment".to_owned(), quoting(Ipv4 { more_fragments: true, ..ipv4.clone() }), "related"),
        ("with options".to_owned(), quoting(Ipv4 { options: vec![1; 8], ..ipv4.clone() }), "related"),
        ("after its last hop".to_owned(), quoting(Ipv4 { ttl: 1, checksum: Some(0), ..ipv4 }), "related"),
    ]);
    check_rows(
        rows.iter().map(|(name, frame, state)| (name, (*state).to_owned(), firewall.state_of(Side::Xdp, frame))),
    );
}

#[test]
fn a_quote_of_ipv6_that_is_broken_quotes_nothing() {
    let firewall = Firewall::new(STATES);
    let [(_, tcp), ..] = sent6();
    assert_eq!(firewall.egress(&tcp), Ok(()));
    // RFC 4443 quotes as much as fits; what connection tracking needs are addresses and ports.
    let rows: Vec<_> = (0..60)
        .filter(|length| !(44..48).contains(length))
        .map(|length| {
            let mut short = error6(1, 0, &tcp);
            short.payload.truncate(length);
            (length, if length < 44 { "invalid" } else { "related" }, short)
        })
        .collect();
    check_rows(rows.iter().map(|(length, state, frame)| {
        (format!("{length} bytes of it"), (*state).to_owned(), firewall.state_of(Side::Xdp, frame))
    }));
}

/// What is no error quotes nothing, whatever follows its header.
#[test]
fn other_messages_do_not_quote() {
    let firewall = Firewall::new(STATES);
    let [(_, tcp), ..] = sent();
    assert_eq!(firewall.egress(&tcp), Ok(()));
    for kind in [1, 2, 6, 7, 9, 10, 19, 30, 40, 255] {
        assert_eq!(firewall.state_of(Side::Xdp, &error(kind, 0, &tcp)), "invalid", "type {kind}");
    }
}

/// ICMPv6 means nothing in an IPv4 packet, nor ICMP in an IPv6 one (`nf_conntrack_handle_icmp` looks at both numbers).
#[test]
fn an_error_of_the_other_family_quotes_nothing() {
    let firewall = Firewall::new(STATES);
    let [(_, tcp), ..] = sent();
    let [(_, tcp6), ..] = sent6();
    assert_eq!((firewall.egress(&tcp), firewall.egress(&tcp6)), (Ok(()), Ok(())));
    let six_in_four = between(ROUTER, SERVER, Icmp::v6(1, 0)).payload(&tcp.packet());
    let four_in_six = between(ROUTER6, SERVER6, Icmp::v4(3, 1)).payload(&tcp6.packet());
    for crossed in [six_in_four, four_in_six] {
        assert_ne!(firewall.state_of(Side::Xdp, &crossed), "related", "{crossed:?}");
    }
}
