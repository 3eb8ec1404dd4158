//! How many packets a second are dropped, received over a veth pair.
//!
//! Measured: one CPU sends a trace of 65,536 headers as live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) into a veth pair, as fast
//! as it can, and the same CPU receives them: so a rate is what sending and dropping cost together. What was received is what
//! the receiving interface counted. Beside each other, in turns: a program that drops everything, rampart, and the kernel's
//! nft with the same file. Every address is local (a route says so), so every packet comes to the input hook; nine of ten
//! headers are drawn from inside a random rule, all rules drop.
//!
//! Sending is in all of these rates, and is most of what a packet costs where rules are few. So beside them stands what a packet costs
//! beyond one that is dropped by the program that drops everything: what the rules, and the way to them, cost.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "../classifier/rules.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with a test")]
mod rules;
#[path = "sender.rs"]
#[allow(unreachable_pub, reason = "shared with other measurements")]
mod sender;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::Write,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use firewall_tests::{
    packet::{Frame, Ipv4, Network, Tcp, Udp, Upper, flag::SYN},
    referee::Referee,
    topology::{INTERFACE, Pair},
};
use firewall_user::kernel::interface_index;
use rules::{Header, Kind, Rule, generate, trace};
use sender::{FRAME, FRAMES, Sender, dropping, received, wire};
use support::Firewall;

const SEED: u64 = 0x5eed;
const ROUNDS: usize = 3;
/// How long each sends, at least.
const WHILE: Duration = Duration::from_secs(1);

fn ruleset(rules: &[Rule]) -> String {
    let mut text = "table inet t {\nchain c {\ntype filter hook input priority 0; policy drop;\n".to_owned();
    // Counted, so that it is seen that packets come to the rules at all.
    text.push_str("counter comment \"all\"\nct state established,related accept\n");
    for rule in rules {
        let _ = writeln!(text, "{} drop", rule.text());
    }
    text.push_str("}\n}\n");
    text
}

fn frame(header: &Header) -> [u8; FRAME] {
    let Header { is_v6: _, source, destination, protocol, source_port, destination_port } = *header;
    let upper: Upper = match protocol {
        6 => Tcp::new(source_port, destination_port, SYN).into(),
        17 => Udp::new(source_port, destination_port).into(),
        other => Upper::Raw(other, vec![0; 20]),
    };
    let network: Network =
        Ipv4::new(Ipv4Addr::from_bits(source as u32), Ipv4Addr::from_bits(destination as u32)).into();
    let bytes = Frame::new(network, upper).bytes();
    let mut frame = [0; FRAME];
    let length = bytes.len().min(FRAME);
    frame[..length].copy_from_slice(&bytes[..length]);
    frame
}

/// Can a packet of this address come in? The kernel drops others before any rule (RFC 1122, 3.2.1.3).
fn is_unicast(address: u128) -> bool {
    !matches!((address >> 24) as u8, 0 | 127 | 224..)
}

/// Millions of packets a second. `counted` tells how many of them the rules met: nearly all, or something else is measured.
fn rate(pair: &Pair, sender: &Sender, counted: impl Fn() -> Option<u64>) -> f64 {
    let (before, started) = (received(pair), Instant::now());
    pair.client.run(|| sender.send(WHILE));
    let took = started.elapsed();
    let packets = u32::try_from(received(pair) - before).expect("fewer than 2^32");
    if let Some(counted) = counted() {
        assert!(counted > u64::from(packets) / 100 * 99, "{counted} of {packets} packets came to the rules");
    }
    f64::from(packets) / took.as_secs_f64() / 1e6
}

/// A wire, and a sender of packets that the rules decide on.
fn topology(rules: &[Rule]) -> (Pair, Sender) {
    let headers = trace(rules, 4 * FRAMES, SEED);
    let usable = headers.iter().filter(|header| is_unicast(header.source) && is_unicast(header.destination));
    let frames: Vec<_> = usable.map(frame).take(FRAMES).collect();
    assert_eq!(frames.len(), FRAMES, "enough headers that can come in");
    wire(&frames)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>14} {:>12} {:>26} {:>8}",
        "rules", "XDP drop", "rampart", "nft", "of XDP drop", "times nft", "ns beyond: rampart / nft", "times"
    );
    for count in [100, 1_000, 10_000] {
        let rules = generate(Kind::Acl, false, count, SEED);
        let text = ruleset(&rules);
        let (mut nothing, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (pair, sender) = topology(&rules);
            let program = dropping();
            let index = pair.server.run(|| interface_index(INTERFACE).expect("an interface"));
            let link = pair.server.run(|| bare::attach_xdp(&program, index));
            nothing.push(rate(&pair, &sender, || None));
            drop(link);
            let referee = Referee::load(&pair.server, &text);
            theirs.push(rate(&pair, &sender, || Some(referee.packets("all"))));
            referee.replace("flush ruleset");
            let firewall = Firewall::on(pair, &text);
            ours.push(rate(&firewall.pair, &sender, || Some(firewall.rule("all").0)));
        }
        let (nothing, ours, theirs) = (median(nothing), median(ours), median(theirs));
        let beyond = |rate: f64| (1e3 / rate - 1e3 / nothing).max(1.0);
        println!(
            "{count:>10} {nothing:>8.2} M {ours:>8.2} M {theirs:>8.3} M {:>12.0} % {:>12.1} {:>15.0} / {:<8.0} {:>8.1}",
            100.0 * ours / nothing,
            ours / theirs,
            beyond(ours),
            beyond(theirs),
            beyond(theirs) / beyond(ours)
        );
    }
}
