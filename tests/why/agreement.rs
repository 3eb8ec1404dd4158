//! Thousands of random packets, to the shadow first and then to the live program.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::verdict::Reason;
use firewall_tests::{packet::Frame, topology::INTERFACE};
use firewall_user::kernel::{Answer, Instance, Known, Question, Side, interface_index};

use crate::support::{
    Firewall,
    both::Way,
    near::{Random, Values},
};

/// What a ruleset of every kind of part looks like; with more than sixteen rules, so that trees are in use.
const RULES: &str = "table inet filter {
    set blocked { type ipv4_addr; flags interval; elements = { 192.0.2.0/28, 203.0.113.64/26 }; }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related counter accept
        ct state invalid counter drop
        ip saddr @blocked counter drop
        icmp type echo-request counter accept
        tcp dport vmap { 22 : jump ssh, 80 : accept, 443 : accept }
        udp dport { 53, 123, 5000-5010 } counter accept
        ip6 saddr 2001:db8::/64 tcp dport 8080 accept
        tcp flags syn tcp dport 1000-2000 drop
    }
    chain ssh {
        ip saddr 198.51.100.0/24 counter accept
        counter
        ip saddr 203.0.113.0/24 tcp sport > 1023 accept
    }
    chain output {
        type filter hook output priority filter; policy accept;
        udp dport 5353 counter drop
        tcp sport 23 drop
    }
}";

const PACKETS: usize = 2000;

/// One rule for each of so many ports, so that the hook has trees.
fn many_rules() -> String {
    let rule = |n: u32| format!("ip saddr 198.51.100.{n} tcp dport {} counter accept", 20 + n);
    let rules = (0..200).map(rule).collect::<Vec<_>>().join("\n");
    format!(
        "table inet filter {{ chain input {{ type filter hook input priority 0; policy drop;
        ct state established accept
        {rules}
        }}
        }}"
    )
}

#[test]
fn the_shadow_and_the_live_program_agree() {
    agree(RULES);
}

#[test]
fn they_agree_where_trees_find_the_rules() {
    agree(&many_rules());
}

fn agree(rules: &str) {
    let firewall = Firewall::new(rules);
    let (values, mut random) = (Values::of(rules), Random::new(7));
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    firewall.open(|instance| {
        let ifindex = interface_index(INTERFACE).expect("interface");
        let mut shadow = instance.shadow(instance.generation().expect("generation")).expect("a shadow");
        let mut sent = Vec::new();
        for number in 0..PACKETS {
            let (way, frame) = packet(&values, &mut random, &sent);
            sent.push((way, frame.clone()));
            let side = if way == Way::In { Side::Xdp } else { Side::TcEgress };
            let bytes = frame.bytes();
            let question = Question { side, frame: &bytes, ifindex, known: Known::Live };
            let before = (number % 50 == 0).then(|| state(instance));
            let answer = shadow.ask(&question).unwrap_or_else(|error| panic!("{error}"));
            if let Some(before) = before {
                let after = state(instance);
                // A connection may come to its end meanwhile; none may begin or change.
                assert!(after.0.is_subset(&before.0), "asking about packet {number} changed a connection");
                assert!(after.1 == before.1, "asking about packet {number} changed a map");
            }
            let reason = live(instance, side, &bytes, ifindex);
            assert_eq!(answer.trail.verdict, reason, "packet {number}: {frame:?}\n{answer:?}");
            assert_eq!(answer.passed, reason == 0);
            check_path(&answer);
            *outcomes.entry(format!("{:?}", Reason::from_number(reason))).or_default() += 1;
        }
    });
    assert!(outcomes.len() >= 2, "the packets were too much alike: {outcomes:?}");
}

/// A new packet, or one that was sent before, so that connections are met again.
fn packet(values: &Values, random: &mut Random, sent: &[(Way, Frame)]) -> (Way, Frame) {
    if !sent.is_empty() && random.one_in(3) {
        return sent[random.below(sent.len())].clone();
    }
    let way = if random.one_in(4) { Way::Out } else { Way::In };
    (way, values.packet(way, random))
}

/// A packet that came to a hook has a way through its rules that ends with a verdict.
fn check_path(answer: &Answer) {
    let (steps, is_cut) = answer.trail.kept_steps();
    let steps: Vec<_> = steps.collect();
    assert!(!is_cut);
    if let Some(last) = steps.last() {
        assert!(last & 0x8000_0000 != 0, "{steps:x?}");
    }
}

/// The number of the reason that the live program counted the packet under.
fn live(instance: &Instance, side: Side, frame: &[u8], ifindex: u32) -> u32 {
    let place = instance.interfaces().expect("interfaces")[0].place;
    let before = instance.traffic(place).expect("traffic");
    instance.judge(side, frame, ifindex, 1).expect("judge");
    let after = instance.traffic(place).expect("traffic");
    let (before, after) = match side {
        Side::Xdp | Side::TcIngress => (before.ingress, after.ingress),
        Side::TcEgress => (before.egress, after.egress),
    };
    (0..before.len()).find(|at| before[*at] != after[*at]).expect("a counter moved") as u32
}

/// Everything live that could change: connections; counters of rules and interfaces, the drop ledger.
fn state(instance: &Instance) -> (BTreeSet<String>, String) {
    let flows = instance.flows().expect("flows").map(|flow| format!("{:?}", flow.expect("a flow"))).collect();
    let slots = instance.manifest().expect("manifest").rules;
    let slots = slots.iter().flat_map(|rule| rule.counters.iter().map(|counter| counter.slot)).collect::<Vec<_>>();
    let counters: BTreeMap<_, _> = instance.rule_counters(slots).expect("counters").into_iter().collect();
    let traffic: Vec<_> = instance
        .interfaces()
        .expect("interfaces")
        .iter()
        .map(|attached| instance.traffic(attached.place).expect("traffic"))
        .map(|traffic| (traffic.ingress.to_vec(), traffic.egress.to_vec()))
        .collect();
    let ledger = instance.ledger().expect("ledger");
    (flows, format!("{counters:?} {traffic:?} {ledger:?} {}", instance.lost_events().expect("lost")))
}
