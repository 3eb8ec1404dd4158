//! Named sets in the kernel: what is in them, and what rules change.

use std::{thread, time::Duration};

use firewall_user::compile::{StateElement, StateSet};

use super::support::{
    Firewall,
    packets::{from, syn},
};

fn passes(firewall: &Firewall, source: &str, port: u16) -> bool {
    firewall.ingress(&from(source, syn(port))).is_ok()
}

fn drops(set: &str, rules: &str) -> Firewall {
    Firewall::new(&format!(
        "table inet t {{
            set s {{ {set} }}
            chain c {{ type filter hook input priority 0; policy accept;
            {rules}
            }}
        }}"
    ))
}

/// The only set, as `rampart set` knows it.
fn state(firewall: &Firewall) -> StateSet {
    firewall.open(|instance| {
        let manifest = instance.manifest().expect("manifest");
        let ruleset = manifest.ruleset().expect("ruleset");
        let table = &ruleset.tables()[0];
        StateSet::of(table, &table.sets[0], manifest.sets[0].slot.expect("it is state"))
    })
}

fn element(values: &[(u128, u128)]) -> StateElement {
    StateElement { parts: values.to_vec(), ..StateElement::default() }
}

fn elements(firewall: &Firewall) -> Vec<StateElement> {
    let state = state(firewall);
    firewall.open(|instance| {
        let memory = instance.set_memory(&state).expect("memory");
        state.elements(&memory.lines(), firewall_user::kernel::tick())
    })
}

const A: u128 = 0xc000_0201;

#[test]
fn elements_change_while_rules_stay() {
    let firewall =
        drops("type ipv4_addr; flags interval; elements = { 192.0.2.1, 198.51.100.0/24 };", "ip saddr @s drop");
    let state = state(&firewall);
    assert!(!passes(&firewall, "192.0.2.1", 80) && !passes(&firewall, "198.51.100.9", 80));
    assert!(passes(&firewall, "192.0.2.2", 80));
    firewall.open(|instance| instance.add_to_set(&state, &[element(&[(A + 1, A + 8)])])).expect("added");
    assert!(!passes(&firewall, "192.0.2.2", 80) && !passes(&firewall, "192.0.2.9", 80));
    assert!(passes(&firewall, "192.0.2.10", 80));
    firewall.open(|instance| instance.remove_from_set(&state, &[element(&[(A, A + 3)])])).expect("removed");
    assert!(passes(&firewall, "192.0.2.1", 80) && !passes(&firewall, "192.0.2.5", 80));
    firewall.open(|instance| instance.replace_set(&state, &[])).expect("flushed");
    assert!(passes(&firewall, "192.0.2.5", 80) && passes(&firewall, "198.51.100.9", 80));
}

#[test]
fn elements_added_meanwhile_survive_an_apply_and_another_declaration_does_not_keep_them() {
    let text = |set: &str| {
        format!(
            "flush ruleset
            table inet t {{
            set s {{ {set} }}
            chain c {{ type filter hook input priority 0; policy accept; ip saddr @s drop
            }}
            }}"
        )
    };
    let firewall = Firewall::new(&text("type ipv4_addr; elements = { 192.0.2.1 };"));
    let state = state(&firewall);
    firewall.open(|instance| instance.add_to_set(&state, &[element(&[(A + 1, A + 1)])])).expect("added");
    firewall.apply(&text("type ipv4_addr; elements = { 192.0.2.3 };"));
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert!(!passes(&firewall, source, 80), "{source}");
    }
    firewall.apply(&text("type ipv4_addr; size 10; elements = { 192.0.2.3 };"));
    assert!(passes(&firewall, "192.0.2.2", 80) && !passes(&firewall, "192.0.2.3", 80));
}

#[test]
fn rules_add_and_delete_elements() {
    let firewall = drops(
        "type ipv4_addr . inet_service; flags dynamic; size 100; counter;",
        "tcp dport 7 delete @s { ip saddr . tcp sport } accept
         tcp dport 22 add @s { ip saddr . tcp sport } accept
         ip saddr . tcp sport @s drop",
    );
    assert!(passes(&firewall, "192.0.2.1", 80));
    assert!(passes(&firewall, "192.0.2.1", 22));
    assert!(!passes(&firewall, "192.0.2.1", 80));
    assert!(passes(&firewall, "192.0.2.2", 80));
    let found = elements(&firewall);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].counter.0, 2, "made by one packet, met by another");
    assert!(passes(&firewall, "192.0.2.1", 7));
    assert!(passes(&firewall, "192.0.2.1", 80));
}

#[test]
fn a_full_set_ends_the_rule() {
    let firewall = drops("type ipv4_addr; flags dynamic; size 2;", "add @s { ip saddr } accept\n drop");
    assert!(passes(&firewall, "192.0.2.1", 80) && passes(&firewall, "192.0.2.2", 80));
    assert!(!passes(&firewall, "192.0.2.3", 80), "there is no room");
    assert!(passes(&firewall, "192.0.2.1", 80), "it is there already");
}

#[test]
fn elements_end_and_updates_keep_them() {
    let firewall = drops(
        "type ipv6_addr; flags dynamic,timeout; timeout 2s;",
        "tcp dport 22 update @s { ip6 saddr } accept\n ip6 saddr @s drop",
    );
    assert!(passes(&firewall, "2001:db8::1", 22));
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(800));
        assert!(passes(&firewall, "2001:db8::1", 22));
        assert!(!passes(&firewall, "2001:db8::1", 80), "it is updated");
    }
    assert!(passes(&firewall, "2001:db8::2", 80));
    let gone = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(200));
        passes(&firewall, "2001:db8::1", 80)
    });
    assert!(gone, "it never ended");
}

#[test]
fn intervals_of_every_kind() {
    let firewall = drops(
        "type ipv6_addr; flags interval; elements = { 2001:db8::/48, 2001:db8:5::7-2001:db8:5::9 };",
        "ip6 saddr @s drop",
    );
    for (source, inside) in [
        ("2001:db8::1", true),
        ("2001:db8:0:ffff::1", true),
        ("2001:db8:1::1", false),
        ("2001:db8:5::6", false),
        ("2001:db8:5::7", true),
        ("2001:db8:5::9", true),
        ("2001:db8:5::a", false),
    ] {
        assert_eq!(!passes(&firewall, source, 80), inside, "{source}");
    }
    let firewall = drops(
        "type ipv4_addr . inet_service; flags interval; counter; elements = { 192.0.2.0/24 . 22-80, 198.51.100.7 . 443 };",
        "ip saddr . tcp dport @s drop",
    );
    for (source, port, inside) in [
        ("192.0.2.9", 22, true),
        ("192.0.2.9", 80, true),
        ("192.0.2.9", 81, false),
        ("192.0.3.9", 22, false),
        ("198.51.100.7", 443, true),
        ("198.51.100.8", 443, false),
    ] {
        assert_eq!(!passes(&firewall, source, port), inside, "{source} {port}");
    }
}
