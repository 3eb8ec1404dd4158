//! What changes while connections are on the fast path: routes, neighbours, interfaces; and what decides about routes.

use std::net::IpAddr;

use firewall_tests::{
    netns::Namespace,
    topology::{INTERFACE, Routed, SECOND_INTERFACE},
};

use super::{
    At, BOTH, FAST, PATIENCE, Talk, apply, prepare, refused, set_feature, settings, support::live::Live, ways,
};

/// An address that the server has, and that can be reached by either of two wires.
const BEHIND: &str = "203.0.113.1";

fn behind() -> IpAddr {
    BEHIND.parse().expect("an address")
}

/// A router with a second wire to the server, `eth2`.
fn two_wires(at: At) -> Routed {
    let routed = Routed::new();
    let (router, server) = (&routed.router, &routed.server);
    router.ip(&format!("link add eth2 type veth peer name eth1 netns {}", server.name()));
    for (namespace, interface, number) in [(router, "eth2", 254), (server, "eth1", 1)] {
        set_feature(namespace, interface, ["tx", if at == At::Tc { "on" } else { "off" }]);
        namespace.ip(&format!("address add 198.18.0.{number}/24 dev {interface}"));
        namespace.ip(&format!("link set {interface} up"));
        namespace.set_parameter(&format!("net/ipv4/conf/{interface}/rp_filter"), "0");
    }
    server.ip(&format!("address add {BEHIND}/32 dev lo"));
    router.ip(&format!("route add {BEHIND}/32 via 198.51.100.1"));
    prepare(at, &[&routed.client, server]);
    if at == At::Xdp {
        set_feature(server, "eth1", ["gro", "on"]);
    }
    routed
}

/// [`FAST`] with the second wire.
fn rules() -> String {
    FAST.replace("eth0, eth1", "eth0, eth1, eth2")
}

/// Packets that an interface of the router sent.
fn sent(router: &Namespace, interface: &str) -> u64 {
    let output =
        router.run(|| std::process::Command::new("ip").args(["-j", "-s", "link", "show", "dev", interface]).output());
    let links: serde_json::Value = serde_json::from_slice(&output.expect("ip").stdout).expect("JSON");
    links[0]["stats64"]["tx"]["packets"].as_u64().expect("a number")
}

/// Exchanges bytes: packets that left by each wire.
fn by_wires(routed: &Routed, talk: &mut Talk) -> (u64, u64) {
    let before = [SECOND_INTERFACE, "eth2"].map(|interface| sent(&routed.router, interface));
    talk.exchange(500_000);
    let after = [SECOND_INTERFACE, "eth2"].map(|interface| sent(&routed.router, interface));
    (after[0] - before[0], after[1] - before[1])
}

#[test]
fn a_route_that_changes_is_followed() {
    for at in BOTH {
        let routed = two_wires(at);
        let live = apply(&routed.router, &rules(), settings(at));
        let mut talk = Talk::begin(&routed.client, &routed.server, behind());
        let (first, second) = by_wires(&routed, &mut talk);
        assert!(first > 10 && second < 10, "{at:?}: {first}, {second}");
        routed.router.ip(&format!("route replace {BEHIND}/32 via 198.18.0.1"));
        let (first, second) = by_wires(&routed, &mut talk);
        assert!(first < 10 && second > 10, "{at:?}: {first}, {second}");
        let (fast, slow, _) = ways(&live, INTERFACE);
        assert!(fast > slow, "{at:?}: {fast} fast, {slow} slow");
    }
}

#[test]
fn a_neighbour_that_changes_is_followed() {
    for at in BOTH {
        let routed = Routed::new();
        prepare(at, &[&routed.client, &routed.server]);
        let _live = apply(&routed.router, FAST, settings(at));
        let mut talk = Talk::begin(&routed.client, &routed.server, "198.51.100.1".parse().expect("an address"));
        talk.exchange(300_000);
        // Another card, as it were, that tells its address as hosts do.
        routed.server.set_parameter("net/ipv4/conf/eth0/arp_notify", "1");
        routed.router.set_parameter("net/ipv4/conf/eth1/arp_accept", "1");
        routed.server.ip(&format!("link set {INTERFACE} address 02:00:00:00:00:77"));
        routed.router.ip(&format!("neighbour flush dev {SECOND_INTERFACE}"));
        talk.exchange(300_000);
    }
}

#[test]
fn an_interface_that_goes_down_and_comes_back() {
    for at in BOTH {
        let routed = two_wires(at);
        let _live = apply(&routed.router, &rules(), settings(at));
        routed.router.ip(&format!("route add {BEHIND}/32 via 198.18.0.1 metric 100"));
        let mut talk = Talk::begin(&routed.client, &routed.server, behind());
        let (first, _) = by_wires(&routed, &mut talk);
        assert!(first > 10, "{at:?}: {first}");
        routed.router.ip(&format!("link set {SECOND_INTERFACE} down"));
        routed.server.ip("route add 192.0.2.0/24 via 198.18.0.254");
        let (_, second) = by_wires(&routed, &mut talk);
        assert!(second > 10, "{at:?}: {second}");
    }
}

/// `ip rule` decides about fast packets as about others.
#[test]
fn policy_rules_are_honoured() {
    for at in BOTH {
        let routed = two_wires(at);
        routed.router.ip("rule add from 192.0.2.1 iif eth0 lookup 100");
        routed.router.ip(&format!("route add {BEHIND}/32 via 198.18.0.1 table 100"));
        let live = apply(&routed.router, &rules(), settings(at));
        let mut talk = Talk::begin(&routed.client, &routed.server, behind());
        let (first, second) = by_wires(&routed, &mut talk);
        assert!(first < 10 && second > 10, "{at:?}: {first}, {second}");
        let (fast, slow, _) = ways(&live, INTERFACE);
        assert!(fast > slow, "{at:?}: {fast} fast, {slow} slow");
    }
}

/// A mark that could choose a route is set where fast packets would not meet it.
#[test]
fn marks_before_routing_are_refused() {
    let routed = Routed::new();
    let marking = "table inet m {
        chain early {
            type filter hook prerouting priority mangle
            tcp dport 80 meta mark set 5
        }
    }";
    let why = refused(&routed.router, &format!("{FAST}\n{marking}"), "");
    assert!(why.contains("sets `meta mark`") && why.contains("flow add"), "{why}");
    let why = refused(&routed.router, marking, "[forwarding]\nfast_path = \"all\"\n");
    assert!(why.contains("sets `meta mark`"), "{why}");
    // Behind the route it is nobody's business but the packet's.
    let behind = marking.replace("prerouting", "forward");
    drop(apply(&routed.router, &format!("{FAST}\n{behind}"), ""));
    drop(apply(&routed.router, marking, ""));
}

/// What `IPsec` would encrypt must not leave past it.
#[test]
fn ipsec_policies_are_refused() {
    let routed = Routed::new();
    routed.router.ip("xfrm policy add src 192.0.2.0/24 dst 198.51.100.0/24 dir fwd tmpl proto esp mode tunnel");
    let why = refused(&routed.router, FAST, "");
    assert!(why.contains("IPsec policies"), "{why}");
    routed.router.ip("xfrm policy flush");
    drop(apply(&routed.router, FAST, ""));
}

#[test]
fn flowtables_with_different_interfaces_are_refused() {
    let routed = Routed::new();
    let rules = FAST
        .replace("chain through {", "flowtable g { hook ingress priority 0; devices = { eth0 }; }\nchain through {");
    let why = refused(&routed.router, &rules, "");
    assert!(why.contains("flowtables with other interfaces"), "{why}");
}

/// What `status` and `doctor` say of the fast path by each interface.
fn said(live: &Live<'_>) -> String {
    let status = live.run(&["status"]).success().stdout;
    let doctor = live.run(&["doctor"]).stdout;
    let lines: Vec<_> = status.lines().skip_while(|line| !line.starts_with("fast path ")).take(2).collect();
    for line in &lines {
        let (name, way) = line.trim_start_matches("fast path").trim().split_once(": ").expect("an interface");
        assert!(
            doctor.lines().any(|said| said.contains(name) && said.contains(&format!("fast path: {way}"))),
            "{doctor}"
        );
    }
    lines.join("\n")
}

/// The device that packets leave by stops taking frames, and an interface that no flowtable names: both are said, with why.
#[test]
fn why_an_interface_has_no_fast_path_is_said() {
    let routed = Routed::new();
    prepare(At::Xdp, &[&routed.client, &routed.server]);
    let live = apply(&routed.router, FAST, settings(At::Xdp));
    assert_eq!(said(&live), "fast path   eth0: in and out\n            eth1: in and out");
    set_feature(&routed.server, INTERFACE, ["gro", "off"]);
    let text = said(&live);
    assert!(text.contains("eth1: in only: its driver takes no frames from XDP now"), "{text}");
    assert!(text.contains("was otherwise when the rules were put in force"), "{text}");
    let live = apply(&routed.router, &FAST.replace("eth0, eth1", "eth1"), "");
    let text = said(&live);
    assert!(text.contains("eth0: out only: the flowtable does not name it"), "{text}");
    assert!(
        text.contains("eth1: out only: it is attached by XDP, which is not told which checksums are whole"),
        "{text}"
    );
    let live = apply(&routed.router, &FAST.replace("ct state established flow add @f", "ct state established"), "");
    assert!(!live.run(&["status"]).success().stdout.contains("fast path"), "nothing is said where there is none");
}

/// An interface that appears later has the fast path as if it had been there before.
#[test]
fn an_interface_that_appears_later_has_it() {
    let routed = Routed::new();
    prepare(At::Tc, &[&routed.client, &routed.server]);
    routed.router.ip(&format!("link set {SECOND_INTERFACE} down"));
    let live = apply(&routed.router, FAST, "");
    let rampart = firewall_tests::command::Rampart::on(&routed.router);
    let agent = rampart.start(&["agent", "--follow-interfaces"]);
    routed.router.ip(&format!("link set {SECOND_INTERFACE} up"));
    let deadline = std::time::Instant::now() + PATIENCE;
    while !live.run(&["status"]).success().stdout.contains("eth1: in and out") {
        assert!(std::time::Instant::now() < deadline, "{}", live.run(&["status"]).stdout);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(live.attachment(SECOND_INTERFACE).0, "tc", "its packets are rewritten");
    let mut talk = Talk::begin(&routed.client, &routed.server, "198.51.100.1".parse().expect("an address"));
    talk.exchange(300_000);
    let (fast, ..) = ways(&live, SECOND_INTERFACE);
    assert!(fast > 10, "{fast} answers");
    drop(agent);
}
