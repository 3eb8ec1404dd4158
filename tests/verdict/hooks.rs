//! Chains at every hook: who sees what, in which order.

use firewall_common::verdict::Reason;
use firewall_user::kernel::Side;

use super::support::{Firewall, Outcome, packets::word, table::check_rows};

const PASS: Outcome = Ok(());
const RULE: Outcome = Err(Reason::Rule);
const POLICY: Outcome = Err(Reason::Policy);

/// A table of counting chains, each with its priority in front of its name.
fn counting(chains: &[(&str, &str)]) -> String {
    let chain = |(number, (place, name)): (usize, &(&str, &str))| {
        format!("chain c{number} {{ type filter hook {place}; tcp dport 22 counter comment \"{name}\"; }}\n")
    };
    format!("table inet t {{\n{}}}\n", chains.iter().enumerate().map(chain).collect::<String>())
}

#[test]
fn on_the_way_in_chains_run_from_ingress_to_input() {
    let chains = [
        ("input priority -500", "5 input"),
        ("prerouting priority mangle", "4 prerouting"),
        ("prerouting priority raw - 5", "2 before connections"),
        ("prerouting priority -201", "3 still before connections"),
        ("ingress device eth0 priority 400", "1 device"),
        ("output priority raw", "not output"),
        ("forward priority raw", "not forward"),
        ("postrouting priority raw", "not postrouting"),
    ];
    let firewall = Firewall::new(&counting(&chains));
    let seen = firewall.counted_by(Side::Xdp, &[word("tcp:22").bytes(), word("tcp:23").bytes()]);
    let all = ["1 device", "2 before connections", "3 still before connections", "4 prerouting", "5 input"];
    check_rows([("22", all.map(String::from).to_vec(), seen[0].clone()), ("23", Vec::new(), seen[1].clone())]);
}

#[test]
fn on_the_way_out_chains_run_from_output_to_egress() {
    let chains = [
        ("postrouting priority -500", "4 postrouting"),
        ("output priority 500", "3 output"),
        ("output priority raw", "1 before connections"),
        ("output priority -201", "2 still before connections"),
        ("prerouting priority raw", "not prerouting"),
        ("input priority raw", "not input"),
    ];
    let egress = "table netdev d { chain e { type filter hook egress device eth0 priority -500;
        tcp dport 22 counter comment \"5 device\"
        iifname \"eth0\" counter comment \"not a name of where it came in\"; }; }";
    let firewall = Firewall::new(&(counting(&chains) + egress));
    let seen = firewall.counted_by(Side::TcEgress, &[word("tcp:22").bytes()]);
    let all = ["1 before connections", "2 still before connections", "3 output", "4 postrouting", "5 device"];
    check_rows([("22", all.map(String::from).to_vec(), seen[0].clone())]);
}

#[test]
fn a_drop_is_final_at_every_hook() {
    for (hook, side) in [
        ("ingress device eth0", Side::Xdp),
        ("prerouting", Side::Xdp),
        ("prerouting priority raw", Side::Xdp),
        ("input", Side::Xdp),
        ("output", Side::TcEgress),
        ("output priority raw", Side::TcEgress),
        ("postrouting", Side::TcEgress),
    ] {
        let place = if hook.contains("priority") { hook.to_owned() } else { format!("{hook} priority 0") };
        let rules = format!(
            "table inet t {{ chain c {{ type filter hook {place}; policy drop; tcp dport 22 accept; tcp dport 23 drop; }}; }}"
        );
        let firewall = Firewall::new(&rules);
        let rows = [("tcp:22", PASS), ("tcp:23", RULE), ("udp6:24", POLICY)];
        check_rows(rows.map(|(text, wanted)| {
            let got = firewall.judge(side, &word(text).bytes());
            (format!("{hook}: {text}"), wanted, got)
        }));
    }
}

#[test]
fn devices_see_what_is_no_ip_packet() {
    let rules = |rule: &str| {
        format!("table netdev d {{ chain c {{ type filter hook ingress device eth0 priority 0; {rule}; }}; }}")
    };
    // An IPv4 packet before it leaves its words behind.
    for (rule, ip, arp) in [
        ("meta protocol arp drop", PASS, RULE),
        ("ether type arp drop", PASS, RULE),
        ("meta protocol ip drop", RULE, PASS),
        ("ip saddr 0.0.0.0/0 drop", RULE, PASS),
        ("udp dport 0-65535 drop", RULE, PASS),
        ("meta length 28 drop", RULE, RULE),
        ("meta length != 28 drop", PASS, PASS),
    ] {
        let firewall = Firewall::new(&rules(rule));
        assert_eq!(firewall.ingress(&word("udp:53")), ip, "{rule}");
        assert_eq!(firewall.ingress(&word("arp")), arp, "{rule}");
    }
    let both = "table inet d { chain c { type filter hook ingress device eth0 priority 0; policy drop; }; }";
    assert_eq!(Firewall::new(both).ingress(&word("arp")), PASS, "of family inet only IP packets are seen");
}

#[test]
fn chains_of_other_devices_are_passed_over() {
    let rules = "table netdev d {
        chain a { type filter hook ingress devices = { eth1, eth2 } priority 0; policy drop; }
        chain b { type filter hook egress device eth00 priority 0; policy drop; }
        chain c { type filter hook ingress devices = { eth0, eth9 } priority 1; tcp dport 22 drop; }
    }";
    let firewall = Firewall::new(rules);
    assert_eq!(firewall.ingress(&word("tcp:22")), RULE);
    assert_eq!(firewall.ingress(&word("tcp:23")), PASS);
    assert_eq!(firewall.egress(&word("tcp:22")), PASS);
}

#[test]
fn before_connections_every_packet_is_invalid_and_can_be_left_untracked() {
    let rules = "table inet t {
        chain raw {
            type filter hook prerouting priority raw
            ct state != invalid drop
            udp dport 53 notrack
            udp dport 53 ct state != untracked drop
        }
        chain pre {
            type filter hook prerouting priority mangle
            udp dport 53 ct state untracked counter comment \"untracked\"
            udp dport 54 ct state new counter comment \"tracked\"
            udp dport 54 notrack
            udp dport 54 ct state untracked drop
        }
        chain in { type filter hook input priority 0; ct state untracked counter comment \"in\"; }
    }";
    let firewall = Firewall::new(rules);
    assert_eq!(firewall.ingress(&word("udp:53")), PASS);
    assert_eq!(firewall.flows().len(), 0, "an untracked packet starts no connection");
    assert_eq!(firewall.ingress(&word("udp:54")), PASS);
    assert_eq!(firewall.flows().len(), 1);
    let rules = firewall.rules();
    assert_eq!((rules["untracked"].0, rules["tracked"].0, rules["in"].0), (1, 1, 1));
}

#[test]
fn a_packet_that_goes_out_untracked_has_no_connection() {
    let rules = "table inet t {
        chain raw { type filter hook output priority raw; udp dport 53 notrack; }
        chain out { type filter hook postrouting priority 0; ct state untracked counter comment \"untracked\"; }
    }";
    let firewall = Firewall::new(rules);
    assert_eq!(firewall.egress(&word("udp:53")), PASS);
    assert_eq!((firewall.flows().len(), firewall.rule("untracked").0), (0, 1));
}

/// Trees look ahead, and `notrack` changes what they would see.
#[test]
fn notrack_among_many_rules() {
    let more: Vec<String> = (1000..1100).map(|port| format!("udp dport {port} ct state untracked drop")).collect();
    let rules = format!("udp dport 1-2000 notrack\n{}", more.join("\n"));
    let rules = format!("table inet t {{ chain c {{ type filter hook prerouting priority raw;\n{rules}\n }}\n }}");
    let firewall = Firewall::new(&rules);
    firewall.check_ingress([("1050", word("udp:1050"), RULE), ("999", word("udp:999"), PASS)]);
}

#[test]
fn many_rules_at_every_hook() {
    let places = [
        ("ingress device eth0 priority 0", Side::Xdp),
        ("prerouting priority raw", Side::Xdp),
        ("prerouting priority 0", Side::Xdp),
        ("output priority raw", Side::TcEgress),
        ("postrouting priority 0", Side::TcEgress),
    ];
    for (place, side) in places {
        let rules: Vec<String> = (1000..1200).map(|port| format!("tcp dport {port} drop")).collect();
        let rules = rules.join("\n");
        let rules = format!("table inet t {{ chain c {{ type filter hook {place}; policy accept;\n{rules}\n }}\n }}");
        let firewall = Firewall::new(&rules);
        for (text, wanted) in [("tcp:1000", RULE), ("tcp6:1199", RULE), ("tcp:1200", PASS), ("udp:1100", PASS)] {
            assert_eq!(firewall.judge(side, &word(text).bytes()), wanted, "{place}: {text}");
        }
    }
}
