//! ARP: its fields in chains of a device, on the way in and out.

use std::net::Ipv4Addr;

use firewall_tests::{
    packet::{Arp, Frame, Network},
    topology::{CLIENT, CLIENT_MAC, SERVER, SERVER_MAC},
};
use firewall_user::kernel::Side;

use super::support::{
    Firewall,
    packets::{datagram, v4},
    table::check_rows,
};

fn packet(word: &str) -> Frame {
    let request = Arp::request(CLIENT_MAC, CLIENT, SERVER);
    match word {
        "request" => Frame::without_ip(request),
        "reply" => Frame::without_ip(Arp { operation: 2, target_mac: SERVER_MAC, ..request }),
        "other" => Frame::without_ip(Arp { sender: Ipv4Addr::new(203, 0, 113, 9), ..request }),
        "inverse" => Frame::without_ip(Arp { operation: 8, ..request }),
        "tagged" => Frame::without_ip(request).tagged(&[5]),
        // Token Ring and IPv6: 16 bytes for each protocol address.
        "strange" => {
            let head = [0, 6, 0x86, 0xdd, 6, 16, 0, 1];
            Frame::without_ip(Network::Raw(0x0806, [&head[..], &[0; 44]].concat()))
        }
        "udp" => v4(datagram(53)),
        other => panic!("{other}"),
    }
}

const WORDS: [&str; 7] = ["request", "reply", "other", "inverse", "tagged", "strange", "udp"];

#[test]
fn what_arp_asks_and_answers() {
    let all = "request reply other inverse tagged strange";
    let rows = [
        ("arp operation request".to_owned(), "request other tagged strange"),
        ("arp operation != { request, inrequest }".to_owned(), "reply"),
        ("arp operation 2-8".to_owned(), "reply inverse"),
        ("arp htype 1".to_owned(), "request reply other inverse tagged"),
        ("arp ptype != ip".to_owned(), "strange"),
        ("arp hlen 6".to_owned(), all),
        ("arp plen > 4".to_owned(), "strange"),
        (format!("arp saddr ip {CLIENT}"), "request reply inverse tagged"),
        ("arp saddr ip { 203.0.113.0/28, 192.0.2.77 }".to_owned(), "other"),
        (format!("arp daddr ip {SERVER} arp htype 1"), "request reply other inverse tagged"),
        (format!("arp saddr ip . arp operation {{ {CLIENT} . reply }}"), "reply"),
        (format!("arp saddr ether {}", mac(CLIENT_MAC)), "request reply other inverse tagged"),
        (format!("arp daddr ether {}", mac(SERVER_MAC)), "reply"),
        ("arp saddr ether != 00:00:00:00:00:00 arp hlen 6 arp htype 6".to_owned(), ""),
        ("meta protocol arp arp operation request".to_owned(), "request other tagged strange"),
    ];
    for (side, hook) in [(Side::Xdp, "ingress"), (Side::TcIngress, "ingress"), (Side::TcEgress, "egress")] {
        let rules: Vec<_> =
            rows.iter().enumerate().map(|(row, (rule, _))| format!("{rule} counter comment \"{row}\"")).collect();
        let firewall = Firewall::new(&format!(
            "table netdev t {{ chain c {{ type filter hook {hook} device eth0 priority 0;\n{}\n}}\n}}",
            rules.join("\n")
        ));
        let frames: Vec<_> = WORDS.iter().map(|word| packet(word).bytes()).collect();
        let counted = firewall.counted_by(side, &frames);
        let cells = WORDS.iter().zip(&counted).flat_map(|(word, counted)| {
            rows.iter().enumerate().map(move |(row, (rule, hits))| {
                let wanted = hits.split(' ').any(|hit| hit == *word);
                (format!("`{rule}` and {word}"), wanted, counted.contains(&row.to_string()))
            })
        });
        check_rows(cells);
    }
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

#[test]
fn only_answers_for_the_own_gateway_pass() {
    let firewall = Firewall::new(
        "table netdev t { chain c { type filter hook ingress device eth0 priority 0; policy accept;
            arp operation reply arp saddr ip 203.0.113.1 arp saddr ether != 00:00:5e:00:53:01 drop; }; }",
    );
    let answer = |sender_mac| {
        let request = Arp::request(sender_mac, Ipv4Addr::new(203, 0, 113, 1), SERVER);
        Frame::without_ip(Arp { operation: 2, ..request })
    };
    assert_eq!(firewall.ingress(&answer([0, 0, 0x5e, 0, 0x53, 1])), Ok(()));
    assert!(firewall.ingress(&answer([0, 0, 0x5e, 0, 0x53, 2])).is_err());
}
