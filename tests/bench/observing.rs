//! What seeing costs a packet, by `BPF_PROG_TEST_RUN`: counters, logs, a trace of another flow, a capture of what is dropped.
//!
//! One packet, warm, a million times over; rulesets and watchers in turn, so that each meets the same noise.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use firewall_common::trail::{ASKED, ONLY_DROPPED, TrailFilter};
use firewall_tests::{
    packet::{
        Frame, Ipv4, Tcp, Udp,
        flag::{ACK, SYN},
    },
    topology::{CLIENT, INTERFACE, SERVER},
};
use firewall_user::kernel::{Instance, Side, interface_index};
use support::Firewall;

const REPEAT: u32 = 1_000_000;
const RUNS: usize = 5;
/// Longer than all runs of one kind take.
const LONG: Duration = Duration::from_mins(1);

/// What the rule says that drops datagrams to port 9, and what that is called.
const RULES: [(&str, &str); 4] = [
    ("udp dport 9 drop", "drop by rule, nothing else"),
    ("udp dport 9 counter drop", "... with a counter"),
    ("udp dport 9 log prefix \"x: \" drop", "... with a log, nobody reads"),
    (
        "udp dport 9 limit rate 10/second log prefix \"x: \"\nudp dport 9 drop",
        "... behind a rule with a log under its limit, used up",
    ),
];

fn ruleset(rule: &str) -> String {
    format!(
        "table inet filter {{
        chain input {{
        type filter hook input priority filter; policy accept;
        ct state established accept
        {rule}
        }}
        }}"
    )
}

fn main() {
    let firewall = Firewall::new(&ruleset(RULES[0].0));
    let datagram = Frame::new(Ipv4::new(CLIENT, SERVER), Udp::new(5, 9)).bytes();
    let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
    for _ in 0..RUNS {
        for (rule, name) in RULES {
            firewall.apply(&ruleset(rule));
            firewall.open(|instance| add(&mut rows, name, cost(instance, &datagram)));
            if rule.contains("log") && !rule.contains("limit") {
                firewall.open(|instance| {
                    let mut events = instance.events(false).expect("events");
                    let cost = cost(instance, &datagram);
                    while events.next().is_some() {}
                    add(&mut rows, "... with a log, `monitor` reads (10,000 a second, the rest counted)", cost);
                });
            }
        }
        firewall.apply(&ruleset(RULES[0].0));
        watched(&firewall, &datagram, &mut rows);
    }
    println!("{:72} {:>8} {:>8}", "nanoseconds a packet", "least", "median");
    for (name, mut times) in rows {
        times.sort_unstable();
        println!("{name:72} {:>8} {:>8}", times[0], times[times.len() / 2]);
    }
}

/// With somebody who watches, and without.
fn watched(firewall: &Firewall, datagram: &[u8], rows: &mut Vec<(String, Vec<u64>)>) {
    let segment = established(firewall);
    firewall.open(|instance| {
        add(rows, "established TCP, nobody watches", cost(instance, &segment));
        add(rows, "drop by rule, nobody watches", cost(instance, datagram));
        let other = TrailFilter { per_tick: 256, destination_port: ASKED | 0xfa0, ..TrailFilter::default() };
        let watch = instance.watch(other, LONG).expect("a trace");
        add(rows, "established TCP, a trace of another flow is armed", cost(instance, &segment));
        add(rows, "drop by rule, a trace of another flow is armed", cost(instance, datagram));
        drop(watch);
        let drops = TrailFilter { per_tick: 2048, snap: 1536, flags: ONLY_DROPPED, ..TrailFilter::default() };
        let mut watch = instance.watch(drops, LONG).expect("a capture");
        let cost = cost(instance, datagram);
        while watch.next().is_some() {}
        add(rows, "drop by rule, all drops are captured (2,048 a tick of 268 ms, the rest counted)", cost);
    });
}

/// A segment of a connection that stands.
fn established(firewall: &Firewall) -> Vec<u8> {
    let frame = |tcp: Tcp, (from, to)| Frame::new(Ipv4::new(from, to), tcp);
    let there = (CLIENT, SERVER);
    // It may stand already.
    let _ = firewall.ingress(&frame(Tcp::new(40000, 22, SYN).at(1000, 0), there));
    let _ = firewall.egress(&frame(Tcp::new(22, 40000, SYN | ACK).at(2000, 1001), (SERVER, CLIENT)));
    let segment = frame(Tcp::new(40000, 22, ACK).at(1001, 2001), there);
    firewall.ingress(&segment).expect("ack");
    segment.bytes()
}

fn cost(instance: &Instance, frame: &[u8]) -> u64 {
    let ifindex = interface_index(INTERFACE).expect("interface");
    instance.judge(Side::Xdp, frame, ifindex, REPEAT).expect("judge").duration.as_nanos() as u64
}

fn add(rows: &mut Vec<(String, Vec<u64>)>, name: &str, cost: u64) {
    match rows.iter_mut().find(|(known, _)| known == name) {
        Some((_, times)) => times.push(cost),
        None => rows.push((name.to_owned(), vec![cost])),
    }
}
