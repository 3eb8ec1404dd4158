//! What a new packet costs with many rules.
//!
//! Measured: the tc egress program over a trace of headers, by `BPF_PROG_TEST_RUN`. A driver of a few instructions (see
//! `driver.rs`) writes the next of 65,536 frames (cold), or of the first 256 of them (warm), over the packet and tail-calls
//! the program; nine of ten headers are drawn from inside a random rule, one from anywhere. All rules drop, so no connection
//! is made and every packet is a new one. The time of the driver alone over the same trace is taken off; what is left is
//! everything from the frame to the verdict: parsing, the look into the (empty) state table, rules, counting. The row
//! `policy` has no rule: the difference to it is what the rules cost.
//!
//! `lines` are the cache lines of nodes and entries that a packet reads, counted by the same walk on the host.
//!
//! Arguments: files of rulesets with a chain at the input hook, each with a trace beside it, to measure instead of generated
//! ones; `--quick` leaves the largest out.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "classify/driver.rs"]
mod driver;
#[path = "../classifier/rules.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with a test")]
mod rules;
#[path = "classify/steps.rs"]
mod steps;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, Instant},
};

use driver::{Driver, FRAME};
use firewall_common::{
    conntrack::CtState,
    image::{Forest, Image},
    packet::{Field, NFPROTO_IPV6, Packet},
    parse::{Start, parse},
};
use firewall_tests::{
    packet::{Frame, Ipv4, Ipv6, Network, Tcp, Udp, Upper, flag::SYN},
    topology::{INTERFACE, Neighbours, Pair},
};
use firewall_user::kernel::{ApplyOptions, Instance, StateOptions};
use rules::{Header, Kind, Rule, generate, trace};
use steps::Steps;
use support::{FLOWS, compiled};

const SEED: u64 = 0x5eed;
const COLD: usize = 65_536;
const WARM: usize = 256;
const RUNS: usize = 5;

fn ruleset(rules: &[Rule]) -> String {
    let mut text = "table inet t {\nchain output {\ntype filter hook output priority 0; policy drop;\n".to_owned();
    for rule in rules {
        let _ = writeln!(text, "{} drop", rule.text());
    }
    text.push_str("}\n}");
    text
}

fn frame(header: &Header) -> [u8; FRAME] {
    let Header { is_v6, source, destination, protocol, source_port, destination_port } = *header;
    let upper: Upper = match protocol {
        6 => Tcp::new(source_port, destination_port, SYN).into(),
        17 => Udp::new(source_port, destination_port).into(),
        other => Upper::Raw(other, vec![0; 20]),
    };
    let network: Network = if is_v6 {
        Ipv6::new(Ipv6Addr::from_bits(source), Ipv6Addr::from_bits(destination)).into()
    } else {
        Ipv4::new(Ipv4Addr::from_bits(source as u32), Ipv4Addr::from_bits(destination as u32)).into()
    };
    let bytes = Frame::new(network, upper).bytes();
    let mut frame = [0; FRAME];
    let length = bytes.len().min(FRAME);
    frame[..length].copy_from_slice(&bytes[..length]);
    frame
}

/// What is known of a ruleset in force.
struct Measured {
    compile: Duration,
    apply: Duration,
    verified: u32,
    memory: usize,
    /// Entries of leaves, nodes.
    size: (usize, usize),
    cold: u64,
    warm: u64,
    /// Cache lines of the trees that a packet reads: mean, and of the hundredth that reads most.
    lines: (u64, u64),
}

/// The lines that the packets of a trace read, by the walk run on the host.
fn lines(image: &Image, frames: &[[u8; FRAME]]) -> (u64, u64) {
    let mut lines: Vec<u64> = frames.iter().map(|frame| lines_of(image, frame)).collect();
    lines.sort_unstable();
    let sum: u64 = lines.iter().sum();
    ((sum + lines.len() as u64 / 2) / lines.len() as u64, lines[lines.len() * 99 / 100])
}

fn lines_of(image: &Image, frame: &[u8; FRAME]) -> u64 {
    let mut packet = Packet::EMPTY;
    // Where the parser stops, as at a frame that was cut to fit, the packet never comes to the rules.
    if parse(&frame[..], Start::ETHERNET, &mut packet).is_err() {
        return 0;
    }
    packet.set(Field::CtState, CtState::New as u32);
    let Steps { nodes, entries } = steps::of(image, &packet);
    let width = if packet.get(Field::NfProto) == NFPROTO_IPV6 { 2 } else { 1 };
    u64::from(nodes) + u64::from(entries) * width
}

/// The pin of the program on interfaces' egress, of the generation in force.
fn pin(instance: &Instance) -> PathBuf {
    let generation = instance.generation().expect("generation");
    PathBuf::from(format!("/run/rampart/bpf/{}/generation/{generation}/enter_tc_egress", bare::namespace_cookie()))
}

fn measure(pair: &Pair, text: &str, headers: &[Header]) -> Measured {
    pair.server.run(|| {
        let started = Instant::now();
        let compiled = compiled(text, None);
        let compile = started.elapsed();
        let instance = Instance::open_or_create(&StateOptions { flows: Some(FLOWS) }).expect("instance");
        let lock = instance.lock().expect("lock");
        let options = ApplyOptions { interfaces: vec![INTERFACE.to_owned()], ..ApplyOptions::default() };
        let applied = instance.apply(&lock, &compiled, &options).unwrap_or_else(|error| panic!("{error}"));
        let Forest { nodes, narrow, wide, .. } = &compiled.image.forest;
        let frames: Vec<[u8; FRAME]> = headers.iter().map(frame).collect();
        let cold = difference(&frames, &instance, 1);
        let warm = difference(&frames[..WARM], &instance, 256);
        instance.stop(lock).expect("stop");
        Measured {
            compile,
            apply: applied.took,
            verified: applied.verified_instructions,
            memory: size_of_val::<[_]>(nodes) + size_of_val::<[_]>(narrow) + size_of_val::<[_]>(wide),
            size: (narrow.len() + wide.len(), nodes.len()),
            cold,
            warm,
            lines: lines(&compiled.image, &frames),
        }
    })
}

/// Nanoseconds of a packet, without the driver's; the least of several runs that take turns.
fn difference(frames: &[[u8; FRAME]], instance: &Instance, times: u32) -> u64 {
    let (with, without) = (Driver::new(frames, Some(&pin(instance))), Driver::new(frames, None));
    let (mut all, mut driver) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        all = all.min(with.run(times));
        driver = driver.min(without.run(times));
    }
    all.saturating_sub(driver).as_nanos() as u64
}

fn row(name: &str, measured: &Measured) {
    let Measured { compile, apply, verified, memory, size: (entries, nodes), cold, warm, lines: (mean, worst) } =
        measured;
    println!(
        "{name:24} {cold:>6} {warm:>6} {mean:>6} {worst:>6} {entries:>9} {nodes:>7} {:>8} {:>9} {:>8} {verified:>9}",
        *memory / 1024,
        compile.as_millis(),
        apply.as_millis()
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let files: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let pair = Pair::with(Neighbours::Known);
    println!(
        "{:24} {:>6} {:>6} {:>6} {:>6} {:>9} {:>7} {:>8} {:>9} {:>8} {:>9}",
        "rules", "cold ns", "warm ns", "lines", "p99", "entries", "nodes", "KiB", "build ms", "swap ms", "verified"
    );
    if !files.is_empty() {
        for file in files {
            measure_file(&pair, file);
        }
        return;
    }
    for is_v6 in [false, true] {
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        for kind in Kind::ALL {
            let smallest = generate(kind, is_v6, 100, SEED);
            row(
                &format!("{family} {} policy", kind.name()),
                &measure(&pair, &ruleset(&[]), &trace(&smallest, COLD, SEED)),
            );
            for count in [100, 1_000, 10_000, 100_000].into_iter().filter(|count| !quick || *count <= 10_000) {
                let rules = generate(kind, is_v6, count, SEED);
                let measured = measure(&pair, &ruleset(&rules), &trace(&rules, COLD, SEED));
                row(&format!("{family} {} {count}", kind.name()), &measured);
            }
        }
    }
}

/// A ruleset and, beside it in `FILE.trace`, lines of `SRC DST PROTO SPORT DPORT`.
fn measure_file(pair: &Pair, file: &str) {
    let text = std::fs::read_to_string(file).expect("a ruleset");
    let text =
        text.replace("hook input", "hook output").replace("chain input", "chain output").replace(" accept ", " drop ");
    let lines = std::fs::read_to_string(format!("{file}.trace")).expect("a trace");
    let headers: Vec<Header> = lines.lines().map(header).collect();
    let headers: Vec<Header> = headers.iter().copied().cycle().take(COLD).collect();
    row(file.rsplit('/').next().unwrap_or(file), &measure(pair, &text, &headers));
}

/// `SRC DST PROTO SPORT DPORT ..`
fn header(line: &str) -> Header {
    let words: Vec<&str> = line.split(' ').collect();
    let address = |text: &str| u128::from(text.parse::<std::net::Ipv4Addr>().expect("an address").to_bits());
    Header {
        is_v6: false,
        source: address(words[0]),
        destination: address(words[1]),
        protocol: words[2].parse().expect("a protocol"),
        source_port: words[3].parse().expect("a port"),
        destination_port: words[4].parse().expect("a port"),
    }
}
