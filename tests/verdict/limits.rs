//! Limits and quotas: what is let through, by the real clock, and what stays from one ruleset to the next.
//!
//! Rates are so low that nothing comes back while a test runs.

use std::{
    thread,
    time::{Duration, Instant},
};

use firewall_common::verdict::Reason;
use firewall_tests::topology::INTERFACE;
use firewall_user::kernel::{Side, interface_index};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::support::{
    Firewall, Outcome,
    packets::{datagram, syn, v4, v6, word},
};

const DROPPED: Outcome = Err(Reason::Policy);

fn input(rules: &str) -> String {
    format!("table inet t {{ chain c {{ type filter hook input priority 0; policy drop; {rules}; }}; }}")
}

/// How many of so many packets pass, in the order passed, not passed.
fn passed(firewall: &Firewall, text: &str, packets: usize) -> usize {
    let outcomes: Vec<bool> = (0..packets).map(|_| firewall.ingress(&word(text)).is_ok()).collect();
    let passed = outcomes.iter().filter(|passed| **passed).count();
    assert!(outcomes[..passed].iter().all(|passed| *passed), "{outcomes:?}");
    passed
}

#[test]
fn a_burst_passes_and_no_more() {
    for (rule, packets) in [
        ("limit rate 1/hour accept", 5),
        ("limit rate 1/day burst 3 packets accept", 3),
        ("limit rate 1/week burst 1 packets accept", 1),
        ("limit rate over 1/hour drop; accept", 5),
        ("limit rate over 1/minute burst 7 packets counter drop; accept", 7),
        ("tcp dport 22 limit rate 1/hour accept", 5),
        ("limit rate 1/hour burst 4 packets limit rate 1/hour burst 9 packets accept", 4),
    ] {
        assert_eq!(passed(&Firewall::new(&input(rule)), "tcp:22", 20), packets, "{rule}");
    }
}

/// Only a packet that comes to the limit costs something.
#[test]
fn a_match_in_front_spares_the_limit() {
    let firewall = Firewall::new(&input("tcp dport 22 limit rate 1/hour burst 2 packets accept"));
    assert_eq!(passed(&firewall, "tcp:23", 10), 0);
    assert_eq!(passed(&firewall, "tcp:22", 10), 2);
}

/// Bytes count from the network header on: an empty datagram has 28 over IPv4, 48 over IPv6.
#[test]
fn bytes_are_limited_by_length() {
    let firewall = Firewall::new(&input("limit rate 100 bytes/week burst 68 bytes accept"));
    // The bucket holds a rate and a burst: 168 bytes.
    let frames = [
        v4(datagram(9)),
        v6(datagram(9)),
        v4(datagram(9)).payload(&[0; 100]),
        v6(datagram(9)),
        v4(datagram(9)),
        v4(datagram(9)),
    ];
    let outcomes = frames.map(|frame| firewall.ingress(&frame));
    assert_eq!(outcomes, [Ok(()), Ok(()), DROPPED, Ok(()), Ok(()), DROPPED]);
}

#[test]
fn a_quota_is_used_up() {
    // Each SYN has 40 bytes.
    for (rule, packets) in [
        ("quota 100 bytes accept", 2),
        ("quota 120 bytes accept", 3),
        ("quota 119 bytes accept", 2),
        ("quota until 200 bytes used 50 bytes accept", 3),
        ("quota over 120 bytes drop; accept", 3),
        ("quota over 119 bytes drop; accept", 2),
        ("quota 0 bytes accept", 0),
    ] {
        assert_eq!(passed(&Firewall::new(&input(rule)), "tcp:22", 10), packets, "{rule}");
    }
}

const NAMED: &str = "table inet t {
    counter total { packets 10 bytes 1000 }
    quota q { 120 bytes }
    limit l { rate 1/hour burst 4 packets; }
    chain c {
        type filter hook input priority 0; policy drop;
        counter name \"total\"
        tcp dport 22 quota name \"q\" accept
        tcp dport 23 quota name \"q\" accept
        tcp dport 80 limit name \"l\" accept
        udp dport 53 counter name \"total\" limit name \"l\" accept
    }
}";

#[test]
fn rules_share_what_has_a_name() {
    let firewall = Firewall::new(NAMED);
    assert_eq!(passed(&firewall, "tcp:22", 2), 2);
    assert_eq!(passed(&firewall, "tcp:23", 5), 1);
    assert_eq!(passed(&firewall, "tcp:22", 5), 0);
    assert_eq!(passed(&firewall, "tcp:80", 3), 3);
    assert_eq!(passed(&firewall, "udp:53", 3), 1);
    assert_eq!(passed(&firewall, "tcp:80", 3), 0);
    let (packets, bytes) = named(&firewall, "total");
    assert_eq!(packets, 10 + 21 + 3);
    assert!(bytes > 1000, "{bytes}");
}

/// Packets and bytes of a named counter.
fn named(firewall: &Firewall, name: &str) -> (u64, u64) {
    firewall.open(|instance| {
        let manifest = instance.manifest().expect("manifest");
        let object = manifest.objects.iter().find(|object| object.name == name).expect("an object of this name");
        let slot = object.counter.as_ref().expect("a counter").slot;
        let counter = instance.rule_counters([slot]).expect("counters")[&slot];
        (counter.packets, counter.bytes)
    })
}

/// What a limit let through and a quota has used up stays so while the rule stays, and is forgotten with it.
#[test]
fn states_stay_with_their_rules() {
    let rules = "tcp dport 22 limit rate 1/hour burst 3 packets accept; udp dport 9 quota 60 bytes accept";
    let firewall = Firewall::new(&input(rules));
    assert_eq!(passed(&firewall, "tcp:22", 2), 2);
    assert_eq!(passed(&firewall, "udp:9", 1), 1);
    firewall.apply(&input(&format!("limit rate 1/hour burst 2 packets tcp dport 80 accept; {rules}")));
    assert_eq!(passed(&firewall, "tcp:80", 5), 2);
    assert_eq!(passed(&firewall, "tcp:22", 5), 1);
    assert_eq!(passed(&firewall, "udp:9", 5), 1);
    firewall.apply(&input(&rules.replace("burst 3", "burst 4")));
    assert_eq!(passed(&firewall, "tcp:22", 6), 4);
    firewall.apply(&input("accept"));
    firewall.apply(&input(rules));
    assert_eq!(passed(&firewall, "udp:9", 5), 2);
    firewall.apply(NAMED);
    assert_eq!(passed(&firewall, "tcp:22", 5), 3);
    firewall.apply(&NAMED.replace("4 packets", "5 packets").replace("120 bytes", "200 bytes"));
    assert_eq!(passed(&firewall, "tcp:80", 9), 5, "another limit");
    assert!(named(&firewall, "total").0 > 10, "the same counter");
}

/// Behind the trees of a long chain, a limit is asked in its turn, and once.
#[test]
fn many_rules_do_not_ask_a_limit_twice() {
    let many: Vec<String> = (1000..1040).map(|port| format!("tcp dport {port} drop; ")).collect();
    let many = many.concat();
    let firewall =
        Firewall::new(&input(&format!("{many} tcp dport 22 limit rate 1/hour burst 6 packets accept; {many}")));
    assert_eq!(passed(&firewall, "tcp:22", 20), 6);
    assert_eq!(firewall.ingress(&v4(syn(1001))), Err(Reason::Rule));
}

/// Two CPUs at one bucket let through what it holds and what came into it, to one part in twenty: a limit of a rule, and that of an
/// element of a set.
#[test]
fn two_cpus_get_what_a_bucket_gives() {
    const RATE: u64 = 20_000;
    let limit = format!("limit rate {RATE}/second burst {RATE} packets");
    let table = |set: &str, rule: &str| {
        format!(
            "table inet t {{ {set}\n chain c {{ type filter hook input priority 0; policy drop; {rule} accept; }}; }}"
        )
    };
    for rules in [
        table("", &limit),
        table("set s { type ipv4_addr; size 100; flags dynamic; }", &format!("add @s {{ ip saddr {limit} }}")),
    ] {
        let firewall = Firewall::new(&rules);
        let (frame, index) = (word("udp:22").bytes(), firewall.pair.server.run(|| interface_index(INTERFACE)));
        let index = index.expect("an interface");
        let began = Instant::now();
        thread::scope(|scope| {
            for cpu in 0..2 {
                let (firewall, frame) = (&firewall, &frame);
                scope.spawn(move || {
                    on_cpu(cpu);
                    firewall.open(|instance| {
                        while began.elapsed() < Duration::from_secs(2) {
                            instance.judge(Side::Xdp, frame, index, 1000).expect("judged");
                        }
                    });
                });
            }
        });
        let elapsed = u64::try_from(began.elapsed().as_micros()).expect("seconds");
        let most = elapsed * RATE / 1_000_000 + RATE;
        let dropped = firewall.dropped(Reason::Policy);
        let passed = firewall.seen().0 - dropped;
        assert!(dropped > RATE, "{dropped} were dropped: it was not asked for more than it gives");
        assert!(passed * 100 >= most * 95 && passed * 100 <= most * 105, "{passed} of {most}: {rules}");
    }
}

/// Lets this thread run on one CPU alone.
fn on_cpu(number: usize) {
    let mut set = CpuSet::new();
    set.set(number).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("the CPU is there");
}
