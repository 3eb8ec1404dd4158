//! Counters: what counts a packet, and how many bytes it has.

use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Ipv4, Network, Udp};

use firewall_user::kernel::monotonic_ns;
use nix::time::{ClockId, clock_getres};

use super::support::{
    Firewall,
    packets::{back_v4, datagram, syn, v4, v6, word},
};

#[test]
fn a_counter_counts_what_reached_it() {
    let firewall = Firewall::new(
        "table inet t { chain c {
            type filter hook input priority 0; policy accept;
            counter comment \"all\"
            counter tcp dport 22 comment \"before a match that fails\"
            tcp dport 22 counter comment \"behind it\"
            tcp dport 22 counter ip saddr 198.51.100.1 comment \"between two\"
            tcp dport 22 counter accept comment \"with a verdict\"
            counter comment \"behind the verdict\"
        }
        }",
    );
    for text in ["tcp:22", "tcp:22", "tcp:23", "udp:22", "arp"] {
        assert_eq!(firewall.ingress(&word(text)), Ok(()), "{text}");
    }
    let wanted = [
        ("all", 4),
        ("before a match that fails", 4),
        ("behind it", 2),
        ("between two", 2),
        ("with a verdict", 2),
        ("behind the verdict", 2),
    ];
    for (comment, packets) in wanted {
        assert_eq!(firewall.rule(comment).0, packets, "{comment}");
    }
}

/// As nftables counts: from the network header on, without link header, tags and padding.
#[test]
fn bytes_are_those_of_the_packet() {
    let firewall = Firewall::new(
        "table inet t {
            chain c { type filter hook input priority 0; policy accept; counter comment \"in\"; }
            chain d { type filter hook output priority 0; policy accept; counter comment \"out\"; }
        }",
    );
    let padded = Frame::new(
        Ipv4 {
            total_length: Some(28),
            ..Ipv4::new(firewall_tests::topology::CLIENT, firewall_tests::topology::SERVER)
        },
        Udp { length: Some(8), ..datagram(9) },
    );
    let options = |frame: Frame| match frame.network {
        Network::Ipv4(ipv4) => Frame { network: Ipv4 { options: vec![1; 8], ..ipv4 }.into(), ..frame },
        _ => frame,
    };
    let rows = [
        ("without payload", v4(syn(22)), 40),
        ("with payload", v4(datagram(9)).payload(&[0; 100]), 128),
        ("with options", options(v4(datagram(9))), 36),
        ("IPv6", v6(datagram(9)).payload(&[0; 100]), 148),
        ("behind tags", v4(datagram(9)).tagged(&[5, 6]), 28),
        ("in a padded frame", padded.payload(&[0; 18]), 28),
    ];
    let mut total = 0;
    for (name, frame, bytes) in rows.clone() {
        assert_eq!(firewall.ingress(&frame), Ok(()), "{name}");
        total += bytes;
        assert_eq!(firewall.rule("in").1, total, "{name}");
    }
    for (_, frame, _) in rows {
        assert_eq!(firewall.egress(&frame), Ok(()));
    }
    assert_eq!(firewall.rule("out"), (6, total));
}

/// Every packet is counted once at its interface: as passed, or under its reason. [`Firewall::judge`] sees to it.
#[test]
fn an_interface_counts_each_packet_once() {
    let firewall = Firewall::new(
        "table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; tcp dport 23 drop; }; }",
    );
    let before = firewall.seen();
    for (text, outcome) in [
        ("tcp:22", Ok(())),
        ("tcp:23", Err(Reason::Rule)),
        ("tcp:23", Err(Reason::Rule)),
        ("tcp:24", Err(Reason::Policy)),
        ("arp", Ok(())),
    ] {
        assert_eq!(firewall.ingress(&word(text)), outcome, "{text}");
    }
    assert_eq!(firewall.egress(&back_v4(datagram(9))), Ok(()));
    assert_eq!(firewall.seen(), (before.0 + 5, before.1 + 1));
    assert_eq!((firewall.dropped(Reason::Rule), firewall.dropped(Reason::Policy)), (2, 1));
}

#[test]
fn a_rule_may_have_two_counters_and_a_start() {
    let firewall = Firewall::new(
        "table inet t { chain c { type filter hook input priority 0; policy accept;
            counter packets 5 bytes 500 tcp dport 22 counter comment \"two\"
        }
        }",
    );
    let both = |firewall: &Firewall| {
        firewall.open(|instance| {
            let manifest = instance.manifest().expect("manifest");
            let slots: Vec<_> = manifest.rules[0].counters.iter().map(|counter| counter.slot).collect();
            let counters = instance.rule_counters(slots.clone()).expect("counters");
            slots.iter().map(|slot| (counters[slot].packets, counters[slot].bytes)).collect::<Vec<_>>()
        })
    };
    assert_eq!(both(&firewall), [(5, 500), (0, 0)]);
    firewall.ingress(&word("tcp:22")).expect("it passes");
    firewall.ingress(&word("tcp:23")).expect("it passes");
    assert_eq!(both(&firewall), [(7, 580), (1, 40)]);
}

/// The program tells the time from the number of timer ticks: it is the time that everybody else has.
#[test]
fn a_drop_is_noted_with_the_system_s_time() {
    const RULES: &str = "table inet t { chain i { type filter hook input priority 0; policy drop; }; }";
    let firewall = Firewall::new(RULES);
    let before = monotonic_ns();
    assert_eq!(firewall.ingress(&v4(syn(22))), Err(Reason::Policy));
    let after = monotonic_ns();
    let ledger = firewall.open(|instance| instance.ledger().expect("the ledger"));
    let [noted] = &ledger[..] else { panic!("one source: {ledger:?}") };
    // Each of the two clocks advances by a timer tick, the one just before the other.
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).expect("a resolution").tv_nsec() as u64;
    assert!(noted.last_ns + tick >= before && noted.last_ns <= after + tick, "{before} {noted:?} {after}");
}

#[test]
fn maps_choose_the_object() {
    let firewall = Firewall::new(
        "table inet t {
            counter web { }
            counter rest { }
            quota used { over 1 bytes; }
            chain c {
                type filter hook input priority 0; policy accept;
                counter name tcp dport map { 80-90 : \"web\", 22 : \"rest\" } counter comment \"in the map\"
                counter name udp dport map { 53 : \"web\", * : \"rest\" } counter comment \"udp\"
                quota name ip saddr . udp dport map { 192.0.2.1 . 9 : \"used\" } drop
            }
        }",
    );
    for text in ["tcp:22", "tcp:80", "tcp:90", "tcp:23", "udp:53", "udp:54"] {
        assert_eq!(firewall.ingress(&word(text)), Ok(()), "{text}");
    }
    assert!(firewall.ingress(&word("udp:9")).is_err(), "the quota is used up at once");
    assert_eq!((firewall.rule("in the map").0, firewall.rule("udp").0), (3, 3));
    let named = |name: &str| {
        firewall.open(|instance| {
            let manifest = instance.manifest().expect("a manifest");
            let object = manifest.objects.iter().find(|object| object.name == name).expect("an object");
            let slot = object.counter.as_ref().expect("a counter").slot;
            instance.rule_counters([slot]).expect("counts")[&slot].packets
        })
    };
    assert_eq!((named("web"), named("rest")), (3, 3));
}
