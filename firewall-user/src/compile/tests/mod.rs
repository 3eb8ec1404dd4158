//! Images against a second reading of the ruleset, and what stays the same from one apply to the next.

mod model;
mod random;

use std::fmt::Write;

use firewall_common::{
    eval::HostRun,
    image::{Hook, Target},
};

use self::model::Probe;
use super::{
    CompileError, Compiled, Manifest, compile,
    listing::{self, Live},
};
use crate::language::{self, Options, Ruleset};

pub(super) fn ruleset(text: &str) -> Ruleset {
    let interface = |name: &str| (name == "lo").then_some(1);
    let options = Options { interface: &interface, include_directories: Vec::new() };
    match language::parse_text("test.nft", text, &options) {
        Ok(parsed) => parsed.ruleset,
        Err(diagnostics) => panic!("{}\n{text}", diagnostics.render(false)),
    }
}

fn compiled(text: &str, previous: Option<&Manifest>) -> Compiled {
    compile(&ruleset(text), previous).expect("compiles")
}

/// Is the packet accepted, and which rule or policy decided?
fn verdict(compiled: &Compiled, probe: &Probe) -> (bool, u32) {
    let memory: Vec<_> = compiled.sets.iter().map(|set| (set.slot, set.memory())).collect();
    let mut run = HostRun::new(&compiled.image);
    run.sets = memory.iter().map(|(slot, memory)| (*slot, memory.lines())).collect();
    let cursor = run.run(Hook::Input, &probe.packet()).expect("a whole image");
    (cursor.at == Target::ACCEPT, cursor.rule)
}

const POLICY_0: u32 = firewall_common::image::POLICY;

#[test]
fn the_rule_that_decides_is_remembered() {
    let text = "table inet t {
        chain c {
            type filter hook input priority 0; policy drop;
            tcp dport 22 accept
            udp dport 53 counter accept
        }
    }";
    let compiled = compiled(text, None);
    let tcp = Probe { protocol: 6, destination_port: 22, ..Probe::default() };
    assert_eq!(verdict(&compiled, &tcp), (true, 0));
    let udp = Probe { protocol: 17, destination_port: 53, ..Probe::default() };
    assert_eq!(verdict(&compiled, &udp), (true, 1));
    assert_eq!(verdict(&compiled, &Probe { destination_port: 23, ..tcp }), (false, POLICY_0));
}

#[test]
fn accept_ends_only_its_own_base_chain() {
    let text = "table inet t {
        chain late { type filter hook input priority 10; tcp dport 22 drop; }
        chain early { type filter hook input priority -10; tcp dport 22 accept; }
    }";
    let tcp = Probe { protocol: 6, destination_port: 22, ..Probe::default() };
    assert_eq!(verdict(&compiled(text, None), &tcp), (false, 0));
}

#[test]
fn chains_of_one_priority_run_from_the_last_defined_to_the_first() {
    let text = "table inet t {
        chain first { type filter hook input priority 0; counter drop; }
        chain second { type filter hook input priority 0; counter; }
    }
    table ip u {
        chain third { type filter hook input priority 0; counter; }
    }";
    let compiled = compiled(text, None);
    let mut run = HostRun::new(&compiled.image);
    run.run(Hook::Input, &Probe::default().packet()).expect("a whole image");
    assert_eq!(run.counted, [2, 1, 0]);
}

#[test]
fn a_table_of_one_family_does_not_see_the_other() {
    let text = "table ip t { chain c { type filter hook input priority 0; policy drop; }; }";
    let compiled = compiled(text, None);
    assert!(!verdict(&compiled, &Probe::default()).0);
    assert!(verdict(&compiled, &Probe { v6: true, ..Probe::default() }).0);
}

#[test]
fn no_negation_makes_a_port_match_hold_without_its_header() {
    let text = "table inet t {
        chain c {
            type filter hook input priority 0; policy drop;
            tcp dport != 22 accept
            tcp dport != { 22, 23 } accept
            tcp flags != syn accept
            icmp type != echo-request accept
        }
    }";
    let compiled = compiled(text, None);
    let later_fragment = Probe { protocol: 6, header: false, ..Probe::default() };
    assert!(!verdict(&compiled, &later_fragment).0);
    assert!(!verdict(&compiled, &Probe { protocol: 17, ..Probe::default() }).0);
    assert!(verdict(&compiled, &Probe { protocol: 6, destination_port: 80, ..Probe::default() }).0);
}

#[test]
fn counters_and_handles_stay_with_their_rules() {
    let table = |rules: &str| format!("table inet t {{ chain c {{ type filter hook input priority 0; {rules} }}; }}");
    let old = compiled(&table("tcp dport 22 counter accept; tcp dport 80 counter accept;"), None);
    assert_eq!(old.fresh_counters, [0, 1]);
    let text =
        table("udp dport 53 counter; tcp dport 80 counter packets 5 bytes 6 accept; tcp dport 80 counter accept;");
    let new = compiled(&text, Some(&old.manifest));
    let slots: Vec<u32> = new.manifest.rules.iter().map(|rule| rule.counters[0].slot).collect();
    assert_eq!(slots, [2, 1, 3], "the second of two same rules is another one");
    assert_eq!(new.fresh_counters, [2, 3]);
    assert_eq!(new.manifest.rules[1].handle, old.manifest.rules[1].handle);
    let again = compiled(&text, Some(&new.manifest));
    assert_eq!((&again.manifest, again.fresh_counters.len()), (&new.manifest, 0));
    assert_eq!(again.image, new.image);
}

#[test]
fn the_manifest_alone_gives_the_listing() {
    let text = "table inet t {
        comment \"mine\"
        set s { type ifname; elements = { \"eth0\" }; }
        chain c {
            type filter hook input priority filter - 5; policy drop;
            iif \"lo\" iifname @s counter packets 7 bytes 8 log prefix \"x: \" level info accept comment \"c\"
        }
    }";
    let compiled = compiled(text, None);
    let stored = serde_json::to_string(&compiled.manifest).expect("serializes");
    let manifest: Manifest = serde_json::from_str(&stored).expect("deserializes");
    assert_eq!(manifest, compiled.manifest);
    let listed =
        listing::listing(&manifest, Live { counts: &|slot| (u64::from(slot) + 40, 2), cell: &|cell| cell.first }, true);
    assert!(listed.contains("iif \"lo\" iifname @s counter packets 40 bytes 2 log prefix \"x: \" level info accept comment \"c\" # handle 3"), "{listed}");
    let printed: listing::Printed = serde_json::from_str(&stored).expect("a part of it");
    let mut json = Vec::new();
    let live = Live { counts: &|_| (1, 2), cell: &|cell| cell.first };
    printed.write_json(live, &mut json).expect("is read").expect("memory takes everything");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["nftables"][4]["rule"]["handle"], 3);
    assert_eq!(json["nftables"][4]["rule"]["expr"][2]["counter"]["packets"], 1);
    assert_eq!(manifest.sources[0].text, text);
}

#[test]
fn too_many_copies_of_chains_are_refused_by_name() {
    let mut text = "table inet t {\n chain z { tcp dport 1; tcp dport 2; }\n".to_owned();
    let mut next = "z".to_owned();
    for level in 0..12 {
        let jumps = format!("jump {next}; ").repeat(8);
        let _ = writeln!(text, " chain l{level} {{ {jumps} }}");
        next = format!("l{level}");
    }
    let _ = writeln!(text, " chain c {{ type filter hook input priority 0; jump {next}; }}\n}}");
    let error = compile(&ruleset(&text), None).expect_err("8^12 copies");
    assert!(matches!(&error, CompileError::TooLong { table, .. } if table == "t"), "{error}");
}

#[test]
fn many_rules_beside_translation_have_trees() {
    let rules: Vec<String> = (1..100).map(|port| format!("ip saddr 192.0.2.{port} tcp dport {port} drop")).collect();
    let filter = format!(
        "table ip t {{ chain c {{ type filter hook input priority 0; policy accept;\n{}\n}}\n}}\n",
        rules.join("\n")
    );
    let nat = "table ip n { chain c { type nat hook postrouting priority srcnat; oifname \"eth0\" masquerade; }; }\n";
    let trees = |text: &str| compiled(text, None).image.settings.uses & firewall_common::image::USES_TREES;
    assert_ne!(trees(&filter), 0);
    assert_ne!(trees(&format!("{filter}{nat}")), 0);
}
