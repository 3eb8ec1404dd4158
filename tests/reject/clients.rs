//! What real clients see: the same as with the kernel's `nft`, on the same wires.

use std::net::IpAddr;

use firewall_tests::{
    netns::Namespace,
    referee::Referee,
    sockets::{Outcome, PATIENTLY, TcpEcho, tcp_connect, udp_echo},
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, Pair, Routed, SERVER, SERVER6},
};

use super::answers::{close_door, open_door};
use crate::support::live::Live;

/// Everything that is tried: a port each.
const PORTS: [u16; 6] = [1001, 1002, 1003, 1004, 1005, 1006];

fn rules(hook: &str) -> String {
    format!(
        "table inet t {{ chain c {{
            type filter hook {hook} priority 0; policy accept
            tcp dport 1001 reject with tcp reset
            th dport 1002 meta l4proto {{ tcp, udp }} reject
            tcp dport 1003 reject with icmpx host-unreachable
            tcp dport 1004 reject with icmpx no-route
            tcp dport 1005 reject with icmpx admin-prohibited
        }}\n}}"
    )
    .replace("th dport 1002 meta l4proto { tcp, udp }", "meta l4proto { tcp, udp } th dport 1002")
}

/// What a host sees that tries them all.
fn tried(from: &Namespace, to: [IpAddr; 2]) -> Vec<(IpAddr, u16, Outcome)> {
    let all = to.into_iter().flat_map(|to| PORTS.into_iter().map(move |port| (to, port)));
    all.map(|(to, port)| (to, port, tcp_connect(from, (to, port), PATIENTLY))).collect()
}

/// A server on every port of a host: what is refused is so by the rules.
fn servers(on: &Namespace, addresses: [IpAddr; 2]) -> Vec<TcpEcho> {
    let all = addresses.into_iter().flat_map(|address| PORTS.into_iter().map(move |port| (address, port)));
    all.map(|address| TcpEcho::start(on, address)).collect()
}

fn expected(outcomes: &[(IpAddr, u16, Outcome)]) {
    for (to, port, outcome) in outcomes {
        let as_meant = match port {
            1001 | 1002 => *outcome == Outcome::Refused,
            1006 => *outcome == Outcome::Connected,
            _ => matches!(outcome, Outcome::Unreachable(_)),
        };
        assert!(as_meant, "{to} port {port}: {outcome:?}");
    }
}

/// Both firewalls, one after the other.
fn compared(try_all: impl Fn(bool) -> Vec<(IpAddr, u16, Outcome)>) {
    let theirs = try_all(false);
    expected(&theirs);
    assert_eq!(try_all(true), theirs);
}

#[test]
fn who_comes_in_is_told() {
    compared(|ours| {
        let pair = Pair::new();
        let to: [IpAddr; 2] = [SERVER.into(), SERVER6.into()];
        let _there = servers(&pair.server, to);
        open_door(&pair.client);
        let _live = in_force(&pair.server, &rules("input"), ours);
        let tried = tried(&pair.client, to);
        for to in to {
            assert_eq!(udp_echo(&pair.client, (to, 1002), PATIENTLY), Outcome::Refused, "{to} {ours}");
        }
        close_door(&pair.client);
        tried
    });
}

#[test]
fn who_passes_through_is_told_by_the_router() {
    compared(|ours| {
        let routed = Routed::new();
        let to: [IpAddr; 2] = [FAR_SERVER.into(), FAR_SERVER6.into()];
        let _there = servers(&routed.server, to);
        open_door(&routed.client);
        let _live = in_force(&routed.router, &rules("forward"), ours);
        let tried = tried(&routed.client, to);
        for to in to {
            assert_eq!(udp_echo(&routed.client, (to, 1002), PATIENTLY), Outcome::Refused, "{to} {ours}");
        }
        close_door(&routed.client);
        tried
    });
}

#[test]
fn a_program_of_this_host_is_told() {
    compared(|ours| {
        let pair = Pair::new();
        let to: [IpAddr; 2] = [CLIENT.into(), CLIENT6.into()];
        let _there = servers(&pair.client, to);
        let _live = in_force(&pair.server, &rules("output"), ours);
        tried(&pair.server, to)
    });
}

/// A connection that stands ends when its next segment is refused.
#[test]
fn a_connection_is_reset_in_the_middle() {
    let pair = Pair::new();
    let _there = TcpEcho::start(&pair.server, (SERVER, 1001));
    open_door(&pair.client);
    let mut talk = firewall_tests::sockets::Talk::open(&pair.client, (SERVER, 1001), PATIENTLY).expect("no rules yet");
    assert_eq!(talk.echo(PATIENTLY), Outcome::Connected);
    let _live = in_force(&pair.server, &rules("input"), true);
    assert_eq!(talk.echo(PATIENTLY), Outcome::Refused);
    close_door(&pair.client);
}

pub(super) fn in_force<'a>(namespace: &'a Namespace, rules: &str, ours: bool) -> Option<Live<'a>> {
    if ours {
        return Some(Live::apply(namespace, rules));
    }
    Referee::load(namespace, rules);
    None
}

/// On a bridge, which has generic XDP only: an answer to a program of this host must not be judged as a packet that came in.
#[test]
fn a_bridge_tells_as_well() {
    let pair = Pair::new();
    for change in [
        format!("address flush dev {INTERFACE}"),
        "link add br0 type bridge".to_owned(),
        format!("link set {INTERFACE} master br0"),
        "link set br0 address 02:00:00:00:00:02 up".to_owned(),
        format!("address add {SERVER}/24 dev br0"),
    ] {
        pair.server.ip(&change);
    }
    let _there = [TcpEcho::start(&pair.client, (CLIENT, 1001)), TcpEcho::start(&pair.client, (CLIENT, 1003))];
    let rules = format!(
        "{}\ntable inet u {{ chain c {{ type filter hook input priority 0; policy drop; ct state established,related accept; }}; }}",
        rules("output").replace(
            "chain c {",
            "chain d { type filter hook input priority -5; tcp dport 1001 reject with tcp reset; }\nchain c {"
        )
    );
    let live = Live::apply_with(&pair.server, &rules, &["--interface", "br0"], &[]);
    assert_eq!(live.attachment("br0").0, "generic");
    assert_eq!(tcp_connect(&pair.server, (CLIENT, 1001), PATIENTLY), Outcome::Refused);
    assert!(matches!(tcp_connect(&pair.server, (CLIENT, 1003), PATIENTLY), Outcome::Unreachable(_)));
    assert_eq!(tcp_connect(&pair.client, (SERVER, 1001), PATIENTLY), Outcome::Refused);
    let counters = live.run(&["counters", "--json"]).success().json();
    let answers = &counters["interfaces"]["br0"]["answers"];
    assert_eq!((answers["resets"].as_u64(), answers["icmp_errors"].as_u64()), (Some(2), Some(1)), "{counters}");
    assert!(live.run(&["counters"]).success().stdout.contains("2 TCP resets sent back"));
}
