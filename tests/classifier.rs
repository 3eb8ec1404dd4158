//! With a thousand rules, every packet is decided on by the rule that a plain linear scan finds.

#[path = "classifier/rules.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the benchmark")]
mod rules;
mod support;

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use firewall_tests::{
    packet::{Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Udp, Upper, flag::SYN},
    topology::INTERFACE,
};
use firewall_user::kernel::{Side, interface_index};
use rules::{Header, Kind, Rule, first_match, generate, trace};
use support::Firewall;

const SEED: u64 = 0x5eed;

/// Every third rule also counts without deciding, and every fifth is in a chain of its own that is jumped to: as the rules
/// are in one table, both change nothing about which rule decides.
fn ruleset(rules: &[Rule]) -> String {
    let mut chains = String::new();
    let mut base = String::new();
    for (number, rule) in rules.iter().enumerate() {
        let matches = rule.text();
        if number % 3 == 0 {
            let _ = writeln!(base, "{matches} counter comment \"before {number}\"");
        }
        if number % 5 == 0 {
            let _ = writeln!(base, "{matches} jump c{number}");
            let _ = writeln!(chains, "chain c{number} {{\n{matches} counter drop comment \"{number}\"\n}}");
        } else {
            let _ = writeln!(base, "{matches} counter drop comment \"{number}\"");
        }
    }
    format!(
        "table inet t {{\n{chains}chain output {{\ntype filter hook output priority 0; policy drop;\n{base}counter \
         comment \"none\"\n}}\n}}"
    )
}

fn frame(header: &Header) -> Frame {
    let Header { is_v6, source, destination, protocol, source_port, destination_port } = *header;
    let upper: Upper = match protocol {
        6 => Tcp::new(source_port, destination_port, SYN).into(),
        17 => Udp::new(source_port, destination_port).into(),
        1 if !is_v6 => Icmp::echo_request(IcmpVersion::V4, 7, 1).into(),
        58 if is_v6 => Icmp::echo_request(IcmpVersion::V6, 7, 1).into(),
        other => Upper::Raw(other, vec![0; 20]),
    };
    let network: Network = if is_v6 {
        Ipv6::new(Ipv6Addr::from_bits(source), Ipv6Addr::from_bits(destination)).into()
    } else {
        Ipv4::new(Ipv4Addr::from_bits(source as u32), Ipv4Addr::from_bits(destination as u32)).into()
    };
    Frame::new(network, upper)
}

fn check(kind: Kind, count: usize) {
    let mut rules = generate(kind, false, count, SEED);
    for (number, rule) in generate(kind, true, count / 2, SEED).into_iter().enumerate() {
        rules.insert(number * 3 % rules.len(), rule);
    }
    let firewall = Firewall::new(&ruleset(&rules));
    let headers = trace(&rules, 3000, SEED + 1);
    let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let wrong: Vec<String> = firewall.open(|instance| {
        let ifindex = interface_index(INTERFACE).expect("interface");
        let manifest = instance.manifest().expect("manifest");
        let slots: BTreeMap<String, u32> = manifest
            .rules
            .iter()
            .filter_map(|rule| Some((rule.comment.clone()?, rule.counters.first()?.slot)))
            .collect();
        let count = |slot: u32| instance.rule_counters([slot]).expect("counter")[&slot].packets;
        let judged = headers.iter().filter_map(|header| {
            let bytes = frame(header).bytes();
            let found = first_match(&rules, header);
            let name = found.map_or_else(|| "none".to_owned(), |rule| rule.to_string());
            for (before, rule) in rules.iter().enumerate().take(found.map_or(rules.len(), |found| found + 1)) {
                if before % 3 == 0 && rule.matches(header) {
                    expected.entry(format!("before {before}")).or_default().0 += 1;
                }
            }
            expected.entry(name.clone()).or_default().0 += 1;
            let before = count(slots[&name]);
            let judgement = instance.judge(Side::TcEgress, &bytes, ifindex, 1).expect("judge");
            let after = count(slots[&name]);
            (judgement.passed || after != before + 1).then(|| format!("rule {name}: {header:?}"))
        });
        judged.collect()
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), headers.len(), wrong[..wrong.len().min(5)].join("\n"));
    let counted: BTreeMap<String, u64> = firewall
        .rules()
        .into_iter()
        .filter(|(_, (packets, _))| *packets > 0)
        .map(|(name, (packets, _))| (name, packets))
        .collect();
    let expected: BTreeMap<String, u64> = expected.into_iter().map(|(name, (packets, _))| (name, packets)).collect();
    assert_eq!(counted, expected);
}

#[test]
fn access_lists() {
    check(Kind::Acl, 800);
}

#[test]
fn rules_with_many_wildcards() {
    check(Kind::Fw, 800);
}

#[test]
fn rules_of_both_kinds() {
    check(Kind::Ipc, 800);
}
