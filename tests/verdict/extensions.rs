//! IPv6 extension headers: walked over to the ports, so many and no more.

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Extension, Frame, Ipv6, Upper},
    topology::{CLIENT6, SERVER6},
};

use super::{
    EVERYTHING, ONLY_SSH,
    support::{
        Firewall, Outcome,
        packets::{cut, syn},
        table::SIDES,
    },
};

fn ipv6(extensions: Vec<Extension>) -> Ipv6 {
    Ipv6::new(CLIENT6, SERVER6).with(extensions)
}

/// A destination options header of the largest size: 2,048 bytes of padding.
fn largest() -> Extension {
    let mut body = vec![0; 2048];
    body[1] = 255;
    Extension { number: 60, body }
}

#[test]
fn ports_are_found_behind_extension_headers() {
    let stacks: [(&str, Vec<Extension>); 9] = [
        ("none", vec![]),
        ("hop-by-hop options", vec![Extension::hop_by_hop()]),
        ("routing", vec![Extension::routing()]),
        ("destination options", vec![Extension::destination_options()]),
        ("a fragment that is the whole", vec![Extension::fragment(0, false, 9)]),
        (
            "each kind",
            vec![
                Extension::hop_by_hop(),
                Extension::destination_options(),
                Extension::routing(),
                Extension::fragment(0, false, 9),
                Extension::destination_options(),
            ],
        ),
        ("eight", vec![Extension::destination_options(); 8]),
        ("one of 2,048 bytes", vec![largest()]),
        ("hop-by-hop options not in front", vec![Extension::routing(), Extension::hop_by_hop()]),
    ];
    let firewall = Firewall::new(ONLY_SSH);
    for side in SIDES {
        firewall.check_frames(
            side,
            stacks.iter().flat_map(|(name, stack)| {
                let frame = |port| Frame::new(ipv6(stack.clone()), syn(port)).bytes();
                [((*name, 22), frame(22), Ok(())), ((*name, 23), frame(23), Err(Reason::Policy))]
            }),
        );
    }
}

#[test]
fn what_cannot_be_walked_over_is_dropped() {
    let firewall = Firewall::new(EVERYTHING);
    let nine = Frame::new(ipv6(vec![Extension::destination_options(); 9]), syn(22));
    let twenty = Frame::new(ipv6(vec![Extension::routing(); 20]), syn(22));
    let one = Frame::new(ipv6(vec![Extension::routing()]), syn(22));
    // An extension header that says it is longer than the packet.
    let mut lies = Extension::destination_options();
    lies.body[1] = 200;
    let lies = Frame::new(ipv6(vec![lies]), syn(22));
    let shorter = |mut frame: Frame, length: usize| {
        if let firewall_tests::packet::Network::Ipv6(ipv6) = &mut frame.network {
            ipv6.payload_length = Some(length as u16 - 54);
        }
        cut(&frame, length)
    };
    let mut rows = vec![
        ("nine".to_owned(), nine.bytes(), Err(Reason::Ipv6TooManyExtensions)),
        ("twenty".to_owned(), twenty.bytes(), Err(Reason::Ipv6TooManyExtensions)),
        ("longer than the packet".to_owned(), lies.bytes(), Err(Reason::Ipv6Truncated)),
        ("the last announces one more".to_owned(), shorter(one.clone(), 54), Err(Reason::Ipv6Truncated)),
    ];
    rows.extend(
        (54..62).map(|length| (format!("cut at {length}"), shorter(one.clone(), length), Err(Reason::Ipv6Truncated))),
    );
    for side in SIDES {
        firewall.check_frames(side, rows.clone());
    }
}

/// As for nftables, an authentication header is what the packet carries, and what follows it is not looked at.
#[test]
fn an_authentication_header_is_the_upper_layer() {
    let behind = || Frame::new(ipv6(vec![Extension::authentication()]), syn(22)).bytes();
    let encrypted = || Frame::new(ipv6(vec![]), Upper::Raw(50, vec![0; 32])).bytes();
    let rules = |rule: &str| {
        format!("table inet t {{ chain c {{ type filter hook input priority 0; policy drop; {rule}; }}; }}")
    };
    let cases: [(&str, Outcome, Outcome); 4] = [
        ("tcp dport 22 accept", Err(Reason::Policy), Err(Reason::Policy)),
        ("meta l4proto ah accept", Ok(()), Err(Reason::Policy)),
        ("meta l4proto esp accept", Err(Reason::Policy), Ok(())),
        ("meta l4proto tcp accept", Err(Reason::Policy), Err(Reason::Policy)),
    ];
    for (rule, ah, esp) in cases {
        let firewall = Firewall::new(&rules(rule));
        firewall.check_frames(SIDES[0], [((rule, "AH"), behind(), ah), ((rule, "ESP"), encrypted(), esp)]);
    }
}
