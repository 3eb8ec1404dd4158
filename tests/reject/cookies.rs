//! `synproxy`: handshakes that are made in a server's place, with real clients and the real stack behind.

use std::net::IpAddr;

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Tcp, flag},
    sockets::{Outcome, PATIENTLY, TcpEcho, tcp_connect, tcp_echo},
    topology::{Pair, SERVER, SERVER6},
};
use firewall_user::kernel::Side;

use super::answers::{close_door, open_door};
use crate::support::{
    Firewall,
    live::Live,
    packets::{from, syn, v4, v6},
};

const RULES: &str = "table inet t {
    chain c {
        type filter hook input priority 0; policy accept
        tcp dport 80 ct state != established synproxy mss 1460 wscale 7 sack-perm
        tcp dport 80 counter accept comment \"through\"
    }
}";

fn served() -> Firewall {
    let pair = Pair::new();
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
    Firewall::on(pair, RULES)
}

/// The answer to a SYN, as far as headers go.
struct Answer {
    seq: u32,
    ack: u32,
    flags: u8,
    mss: u16,
}

/// Has a SYN answered, as a frame that leaves.
fn answered(firewall: &Firewall, frame: &firewall_tests::packet::Frame, network: usize) -> Answer {
    let sent = frame.bytes();
    let bytes = firewall.open(|instance| {
        let ifindex = firewall_user::kernel::interface_index(firewall_tests::topology::INTERFACE).expect("interface");
        instance.judge(Side::Xdp, &sent, ifindex, 1).expect("judged").bytes
    });
    assert_eq!((&bytes[..6], &bytes[6..12]), (&sent[6..12], &sent[..6]), "it goes back");
    let tcp = &bytes[14 + network..];
    let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(tcp.len(), 24);
    assert_eq!((tcp[20], tcp[21]), (2, 4), "the only option");
    Answer { seq: word(4), ack: word(8), flags: tcp[13], mss: u16::from_be_bytes([tcp[22], tcp[23]]) }
}

/// A SYN leaves nothing behind; only who brings back what it was answered has a connection.
#[test]
fn a_cookie_is_sent_and_asked_for() {
    for (address, network) in [(IpAddr::from(SERVER), 20), (SERVER6.into(), 40)] {
        let firewall = served();
        let _server = TcpEcho::start(&firewall.pair.server, (address, 80));
        let frame = |tcp: Tcp| if network == 20 { v4(tcp) } else { v6(tcp) };
        let before = firewall.dropped(Reason::SynAnswered);
        let answer = answered(&firewall, &frame(syn(80).at(1000, 0)), network);
        assert_eq!((answer.ack, answer.flags, answer.mss), (1001, flag::SYN | flag::ACK, 1460));
        assert_eq!(firewall.dropped(Reason::SynAnswered), before + 1);
        assert_eq!(firewall.flows().len(), 0);
        let segment = |ack: u32| frame(Tcp::new(40000, 80, flag::ACK).at(1001, ack));
        assert_eq!(firewall.ingress(&segment(answer.seq.wrapping_add(7777))), Err(Reason::CookieWrong));
        assert_eq!(firewall.flows().len(), 0);
        assert_eq!(firewall.ingress(&segment(answer.seq.wrapping_add(1))), Ok(()));
        assert_eq!(firewall.state(), Some("ESTABLISHED"));
    }
}

/// Clients do not notice, in both families.
#[test]
fn clients_connect_through_it() {
    let firewall = served();
    open_door(&firewall.pair.client);
    for address in [IpAddr::from(SERVER), SERVER6.into()] {
        let server = TcpEcho::start(&firewall.pair.server, (address, 80));
        for nth in 1..=5 {
            assert_eq!(tcp_echo(&firewall.pair.client, (address, 80), PATIENTLY), Outcome::Connected, "{address}");
            assert_eq!(server.accepted(), nth);
        }
        drop(server);
    }
    assert!(firewall.dropped(Reason::SynAnswered) >= 10);
    assert!(firewall.rule("through").0 >= 10);
    close_door(&firewall.pair.client);
}

/// Where nobody listens the stack says so itself.
#[test]
fn a_closed_port_is_refused() {
    let firewall = served();
    open_door(&firewall.pair.client);
    assert_eq!(tcp_connect(&firewall.pair.client, (SERVER, 80), PATIENTLY), Outcome::Refused);
    assert_eq!(firewall.dropped(Reason::SynAnswered), 0);
    close_door(&firewall.pair.client);
}

/// Half a million of them leave nothing, and who means it connects meanwhile.
#[test]
fn a_flood_leaves_nothing_and_keeps_nobody_out() {
    let firewall = served();
    open_door(&firewall.pair.client);
    let _server = TcpEcho::start(&firewall.pair.server, (SERVER, 80));
    let before = firewall.seen().0;
    for part in 0..4_u32 {
        firewall.judging(|judge| {
            for nth in 0..FLOOD {
                let source = format!("198.18.{}.{}", nth / 250, nth % 250 + 1);
                assert!(!judge(Side::Xdp, &from(&source, syn(80).at(part, 0))), "{source}");
            }
        });
        assert_eq!(tcp_echo(&firewall.pair.client, (SERVER, 80), PATIENTLY), Outcome::Connected);
    }
    let answered = firewall.dropped(Reason::SynAnswered);
    assert!(answered >= 4 * u64::from(FLOOD) + 4, "{answered}");
    assert!(firewall.seen().0 - before >= answered);
    assert!(firewall.flows().len() <= 4, "{}", firewall.flows().len());
    close_door(&firewall.pair.client);
}

/// First segments of each part of the flood.
const FLOOD: u32 = 5000;

/// What the stack would not complete is not begun.
#[test]
fn a_stack_that_takes_no_cookies_is_told_of() {
    let pair = Pair::new();
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "1");
    let refused = Live::refused(&pair.server, RULES);
    assert!(refused.contains("sysctl -w net.ipv4.tcp_syncookies=2"), "{refused}");
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
    let live = Live::apply(&pair.server, RULES);
    let doctor = live.run(&["doctor"]).stdout;
    assert!(doctor.contains("ok       cookies"), "{doctor}");
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "1");
    let doctor = live.run(&["doctor"]).stdout;
    assert!(doctor.contains("problem  cookies") && doctor.contains("tcp_syncookies=2"), "{doctor}");
}

/// What cannot be done is refused with its reason, not done in part.
#[test]
fn what_is_not_there_is_refused() {
    let pair = Pair::new();
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
    let rows = [
        ("forward", "synproxy mss 1460", "only what this host serves itself has its handshakes made"),
        ("input", "synproxy mss 1460 wscale 7 timestamp sack-perm", "by how much it shifts timestamps"),
    ];
    for (hook, statement, part) in rows {
        let rules =
            format!("table inet t {{ chain c {{ type filter hook {hook} priority 0; tcp dport 80 {statement}; }}; }}");
        let refused = Live::refused(&pair.server, &rules);
        assert!(refused.contains(part), "{refused}");
    }
}
