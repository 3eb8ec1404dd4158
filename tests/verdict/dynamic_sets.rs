//! What elements keep for themselves: limits, quotas and counters for each source, and maps that rules fill.

use std::{net::Ipv4Addr, thread, time::Duration};

use firewall_common::verdict::Reason;
use firewall_user::{compile::StateSet, kernel};

use super::support::{
    Firewall,
    packets::{from, syn},
};

fn firewall(table: &str, rules: &str) -> Firewall {
    Firewall::new(&format!(
        "table inet t {{
            {table}
            chain c {{ type filter hook input priority 0; policy accept;
            {rules}
            }}
        }}"
    ))
}

fn passes(firewall: &Firewall, source: &str, port: u16) -> bool {
    firewall.ingress(&from(source, syn(port))).is_ok()
}

/// How many of so many packets pass.
fn passed(firewall: &Firewall, source: &str, packets: usize) -> usize {
    (0..packets).filter(|_| passes(firewall, source, 80)).count()
}

/// Rates are so low that nothing comes back while the test runs.
#[test]
fn each_element_has_a_limit_of_its_own() {
    for (set, rule) in [
        ("size 100; flags dynamic;", "add @s { ip saddr limit rate over 1/hour burst 3 packets } drop"),
        ("size 100; flags dynamic; limit rate over 1/hour burst 3 packets;", "add @s { ip saddr } drop"),
        (
            "size 100; flags dynamic,timeout; timeout 1h;",
            "update @s { ip saddr limit rate 1/hour burst 3 packets } accept\n drop",
        ),
    ] {
        let firewall = firewall(&format!("set s {{ type ipv4_addr; {set} }}"), rule);
        assert_eq!(passed(&firewall, "192.0.2.1", 10), 3, "{rule}");
        assert_eq!(passed(&firewall, "192.0.2.2", 10), 3, "{rule}");
        assert_eq!(passed(&firewall, "192.0.2.1", 5), 0, "{rule}");
    }
}

#[test]
fn a_meter_is_a_set_of_its_rule() {
    let firewall = firewall("", "meter m size 50 { ip saddr limit rate over 1/hour burst 2 packets } drop");
    assert_eq!(passed(&firewall, "192.0.2.1", 5), 2);
    assert_eq!(passed(&firewall, "192.0.2.9", 5), 2);
}

/// Each SYN has 40 bytes.
#[test]
fn each_element_has_a_quota_and_a_counter_of_its_own() {
    let firewall = firewall(
        "set s { type ipv4_addr; size 100; flags dynamic; }",
        "add @s { ip saddr counter quota over 100 bytes } drop",
    );
    assert_eq!(passed(&firewall, "192.0.2.1", 6), 2);
    assert_eq!(passed(&firewall, "192.0.2.2", 6), 2);
}

/// A packet meets an element's statements wherever it meets the element, as in the kernel.
#[test]
fn a_look_up_asks_what_the_element_keeps() {
    let firewall = firewall(
        "set s { type ipv4_addr; limit rate 1/hour burst 2 packets; elements = { 192.0.2.1, 192.0.2.2 }; }",
        "ip saddr @s accept\n ip saddr 192.0.2.0/24 drop",
    );
    assert_eq!(passed(&firewall, "192.0.2.1", 5), 2);
    assert_eq!(passed(&firewall, "192.0.2.2", 5), 2);
    assert_eq!(passed(&firewall, "192.0.2.3", 5), 0);
}

/// An element that no rule made has nothing of what rules give those that they make.
#[test]
fn elements_of_the_text_have_no_limit_of_a_rule() {
    let firewall = firewall(
        "set s { type ipv4_addr; size 10; flags dynamic; elements = { 192.0.2.1 }; }",
        "add @s { ip saddr limit rate 1/hour burst 2 packets } accept\n drop",
    );
    assert_eq!(passed(&firewall, "192.0.2.1", 9), 9);
    assert_eq!(passed(&firewall, "192.0.2.2", 9), 2);
}

/// The example of the nftables wiki: three ports, knocked at in order.
#[test]
fn knocking_at_ports_opens_one() {
    let firewall = firewall(
        "set clients { type ipv4_addr; flags dynamic,timeout; }
         set candidates { type ipv4_addr . inet_service; flags dynamic,timeout; }",
        "tcp dport 10001 add @candidates { ip saddr . 10002 timeout 1h }
         tcp dport 10002 ip saddr . tcp dport @candidates add @candidates { ip saddr . 10003 timeout 1h }
         tcp dport 10003 ip saddr . tcp dport @candidates add @clients { ip saddr timeout 1h } log prefix \"knocked \"
         tcp dport 22 ip saddr @clients counter accept
         tcp dport { 22, 10001-10003 } drop",
    );
    let knock = |source: &str, ports: &[u16]| ports.iter().for_each(|port| assert!(!passes(&firewall, source, *port)));
    knock("192.0.2.1", &[22, 10001, 10003, 10002, 22]);
    knock("192.0.2.1", &[10003]);
    assert!(passes(&firewall, "192.0.2.1", 22));
    assert!(!passes(&firewall, "192.0.2.2", 22));
}

#[test]
fn rules_fill_maps_and_look_into_them() {
    let firewall = firewall(
        "map m { type ipv4_addr : mark; flags dynamic; size 100; elements = { 192.0.2.9 : 9 }; }
         map w { type ipv4_addr : ipv6_addr; flags dynamic; size 10; }",
        "tcp dport 1 add @m { ip saddr : 0x11 } accept
         tcp dport 2 update @m { ip saddr : 0x22 } accept
         tcp dport 3 delete @m { ip saddr : 0x22 } accept
         tcp dport 80 meta mark set ip saddr map @m meta mark 0x11 drop
         tcp dport 80 meta mark 9 drop",
    );
    assert!(passes(&firewall, "192.0.2.1", 80), "it is not in the map");
    assert_eq!(firewall.ingress(&from("192.0.2.9", syn(80))), Err(Reason::Rule));
    assert!(passes(&firewall, "192.0.2.1", 1));
    assert!(!passes(&firewall, "192.0.2.1", 80));
    assert!(passes(&firewall, "192.0.2.1", 2), "what is there stays as it is");
    assert!(!passes(&firewall, "192.0.2.1", 80));
    assert!(passes(&firewall, "192.0.2.1", 3));
    assert!(passes(&firewall, "192.0.2.1", 80));
}

fn flow(source: &str, port: u16) -> firewall_tests::packet::Frame {
    from(source, firewall_tests::packet::Tcp::new(port, 80, firewall_tests::packet::flag::SYN))
}

#[test]
fn connections_are_counted_by_a_rule() {
    let firewall = firewall("", "ct state new ct count over 3 drop");
    let passes = |port: u16| firewall.ingress(&flow("192.0.2.1", port)).is_ok();
    assert_eq!([1001, 1002, 1003, 1004, 1005].map(passes), [true, true, true, false, false]);
    assert!(passes(1001), "it is one of those that are counted");
    firewall.open(|instance| {
        let flows: Vec<_> = instance.flows().expect("flows").map(|flow| flow.expect("flow")).collect();
        assert_eq!(flows.len(), 3);
    });
}

#[test]
fn connections_are_counted_by_source() {
    let firewall = firewall(
        "set s { type ipv4_addr; size 100; flags dynamic; }",
        "ct state new add @s { ip saddr ct count over 2 } drop",
    );
    for source in ["192.0.2.1", "192.0.2.2"] {
        let passes = |port: u16| firewall.ingress(&flow(source, port)).is_ok();
        assert_eq!([1, 2, 3, 4].map(passes), [true, true, false, false], "{source}");
        assert!(passes(2), "{source}");
    }
}

/// Many more sources than a set has room for: with nft's meaning those that find no place go past the rule; with `evict-oldest` each of
/// them is limited, whoever comes all the time stays, and there are never more elements than the size says.
#[test]
fn a_full_set_makes_room_where_settings_say_so() {
    let rules = "table inet t {
        set s { type ipv4_addr; size 200; flags dynamic,timeout; timeout 1h; }
        chain c { type filter hook input priority 0; policy accept;
            update @s { ip saddr limit rate over 1/hour burst 2 packets } drop
        }
    }";
    let source = |number: u32| Ipv4Addr::from_bits(0xc612_0000 | number).to_string();
    for (settings, evicts) in [("", false), ("[sets]\nwhen_full = \"evict-oldest\"\n", true)] {
        let firewall = Firewall::new(rules);
        firewall.apply_set(rules, settings);
        assert_eq!(passed(&firewall, "192.0.2.1", 5), 2);
        // Ends are counted in ticks of 268 ms: of those that came within one, either may be taken for the older one.
        thread::sleep(Duration::from_millis(600));
        for number in 0..700 {
            let limited = evicts || number < 199;
            assert_eq!(passed(&firewall, &source(number), 3), if limited { 2 } else { 3 }, "{number} {settings}");
        }
        let elements = firewall.open(|instance| {
            let manifest = instance.manifest().expect("manifest");
            let ruleset = manifest.ruleset().expect("its own text");
            let table = &ruleset.tables()[0];
            let slot = manifest.sets[0].slot.expect("a set in memory");
            let set = StateSet::of(table, &table.sets[0], slot);
            set.elements(&instance.set_memory(&set).expect("memory").lines(), kernel::tick()).len()
        });
        assert_eq!(elements, 200, "{settings}");
        // The first one did not come again, and is forgotten where others needed its place.
        assert_eq!(passed(&firewall, "192.0.2.1", 5), if evicts { 2 } else { 0 }, "{settings}");
    }
}
