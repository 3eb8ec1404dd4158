//! What a new packet costs with many rules, here and in the kernel's nft.
//!
//! Measured: the tc egress program over a trace of headers, by `BPF_PROG_TEST_RUN`. A driver of a few instructions (see
//! `driver.rs`) writes the next of 65,536 frames (cold), or of the first 256 of them (warm), over the packet and tail-calls
//! the program; nine of ten headers are drawn from inside a random rule, one from anywhere. All rules drop, so no connection
//! is made and every packet is a new one. The time of the driver alone over the same trace is taken off; what is left is
//! everything from the frame to the verdict: parsing, the look into the (empty) state table, rules, counting. The row
//! `policy` has no rule: the difference to it is what the rules cost, `rules`, and again in look-ups of a hash map of the kernel's
//! (`hash`), which is what to compare with another machine. `median` and `p99` are of packets: the cold trace again, with a clock read before each,
//! of each packet the least of several runs, with what the clock and the driver take taken off.
//!
//! `lines` are the cache lines of nodes and entries that a packet reads, counted by the same walk on the host: mean, and of the
//! hundredth that reads most; there every packet (of 100,000 rules, one in six) must be decided on by the rule that a linear scan finds. `nft` is what the same rules cost in the kernel's nft for the same packets, see `kernel.rs`.
//!
//! Arguments: files of filters of `ClassBench`, named `KIND_COUNT`, to measure instead of generated rules, as they are and in the form of
//! IPv6; `--quick` leaves the largest generated ones out.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "classify/driver.rs"]
mod driver;
#[path = "classify/filters.rs"]
mod filters;
#[path = "conntrack/hash.rs"]
mod hash;
#[path = "classify/kernel.rs"]
mod kernel;
#[path = "parts.rs"]
mod parts;
#[path = "../classifier/rules.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with a test")]
mod rules;
#[path = "sender.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other measurements")]
mod sender;
#[path = "classify/steps.rs"]
mod steps;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use driver::{Driver, FRAME};
use firewall_common::{
    conntrack::CtState,
    image::{Forest, Image, POLICY},
    packet::{Field, Packet},
    parse::{Start, parse},
};
use firewall_tests::{
    packet::{Frame, Ipv4, Ipv6, Network, Tcp, Udp, Upper, flag::SYN},
    topology::{INTERFACE, Neighbours, Pair},
};
use firewall_user::kernel::{ApplyOptions, Instance, StateOptions};
use kernel::Wire;
use rules::{Header, Kind, Rule, first_match, generate, trace};
use steps::Steps;
use support::{FLOWS, compiled};

const SEED: u64 = 0x5eed;
const COLD: usize = 65_536;
const WARM: usize = 256;
const RUNS: usize = 5;
/// Rules times packets that are scanned one by one.
const SCANNED: usize = 1 << 30;

/// The rules at a hook, behind whatever stands first.
fn ruleset(rules: &[Rule], hook: &str, first: &str) -> String {
    let mut text = format!("table inet t {{\nchain c {{\ntype filter hook {hook} priority 0; policy drop;\n{first}\n");
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

/// Can a packet of this address come in? The kernel drops others before any rule (RFC 1122, 3.2.1.3; RFC 4291, 2.7).
fn can_come_in(header: &Header) -> bool {
    [header.source, header.destination].into_iter().all(|address| {
        if header.is_v6 { address >> 125 == 1 } else { !matches!((address >> 24) as u8, 0 | 127 | 224..) }
    })
}

/// Headers that meet the rules.
fn headers(rules: &[Rule]) -> Vec<Header> {
    let mut headers: Vec<Header> = trace(rules, 4 * COLD, SEED).into_iter().filter(can_come_in).collect();
    assert!(headers.len() >= COLD, "enough headers that can come in");
    headers.truncate(COLD);
    headers
}

/// What is known of a ruleset in force.
struct Measured {
    compile: Duration,
    /// The first ruleset, and one that replaces it.
    apply: (Duration, Duration),
    memory: usize,
    cold: u64,
    warm: u64,
    /// Of packets: the median, and of the hundredth that takes longest.
    times: (u64, u64),
    /// Cache lines of the trees that a packet reads: mean, and of the hundredth that reads most.
    lines: (u64, u64),
    nft: u64,
}

/// The lines that the packets of a trace read, by the walk run on the host. It must decide as a linear scan does.
fn lines(image: &Image, rules: &[Rule], packets: (&[Header], &[[u8; FRAME]])) -> (u64, u64) {
    // Where rules are very many, a scan for each packet would take minutes.
    let step = (rules.len() * COLD / SCANNED).max(1);
    let one = |(at, (header, frame)): (usize, (&Header, &[u8; FRAME]))| {
        let steps = steps_of(image, frame)?;
        if at % step == 0 {
            let found = first_match(rules, header).map_or(POLICY, |rule| rule as u32);
            assert_eq!(steps.rule, found, "{header:?}");
        }
        let width = if header.is_v6 { 2 } else { 1 };
        Some(u64::from(steps.nodes) + u64::from(steps.entries) * width)
    };
    let mut lines: Vec<u64> = packets.0.iter().zip(packets.1).enumerate().filter_map(one).collect();
    lines.sort_unstable();
    let sum: u64 = lines.iter().sum();
    ((sum + lines.len() as u64 / 2) / lines.len() as u64, lines[lines.len() * 99 / 100])
}

/// What a packet looked at; `None` where the parser stops, as at a frame that was cut to fit: it never comes to the rules.
fn steps_of(image: &Image, frame: &[u8; FRAME]) -> Option<Steps> {
    let mut packet = Packet::EMPTY;
    parse(&frame[..], Start::ETHERNET, &mut packet).ok()?;
    packet.set(Field::CtState, CtState::New as u32);
    Some(steps::of(image, &packet))
}

/// The pin of the program on interfaces' egress, of the generation in force.
fn pin(instance: &Instance) -> PathBuf {
    let generation = instance.generation().expect("generation");
    PathBuf::from(format!("/run/rampart/bpf/{}/generation/{generation}/enter_tc_egress", bare::namespace_cookie()))
}

fn measure(pair: &Pair, rules: &[Rule], (headers, frames): (&[Header], &[[u8; FRAME]]), nft: u64) -> Measured {
    let text = ruleset(rules, "output", "");
    pair.server.run(|| {
        let started = Instant::now();
        let compiled = compiled(&text, None);
        let compile = started.elapsed();
        let instance = Instance::open_or_create(&StateOptions { flows: Some(FLOWS) }).expect("instance");
        let options = ApplyOptions { interfaces: vec![INTERFACE.to_owned()], ..ApplyOptions::default() };
        let apply = || {
            let lock = instance.lock().expect("lock");
            instance.apply(&lock, &compiled, &options).unwrap_or_else(|error| panic!("{error}")).took
        };
        // As the command does it: programs are loaded ahead once the rules are in force.
        let first = apply();
        instance.load_ahead(&compiled).expect("programs for the next ruleset");
        let apply = (first, apply());
        let Forest { nodes, narrow, wide, .. } = &compiled.image.forest;
        let cold = difference(frames, &instance, 1);
        let warm = difference(&frames[..WARM], &instance, 256);
        let times = by_packet(frames, &instance);
        let lock = instance.lock().expect("lock");
        instance.stop(lock).expect("stop");
        Measured {
            compile,
            apply,
            memory: size_of_val::<[_]>(nodes) + size_of_val::<[_]>(narrow) + size_of_val::<[_]>(wide),
            cold,
            warm,
            times,
            lines: lines(&compiled.image, rules, (headers, frames)),
            nft,
        }
    })
}

/// Median and 99th percentile of packets' times.
fn by_packet(frames: &[[u8; FRAME]], instance: &Instance) -> (u64, u64) {
    let least = |target: Option<&Path>| {
        let driver = Driver::clocked(frames, target);
        let mut least = vec![u64::MAX; frames.len() - 1];
        for _ in 0..RUNS {
            driver.run(1);
            for (least, time) in least.iter_mut().zip(driver.times()) {
                *least = (*least).min(time);
            }
        }
        least.sort_unstable();
        least
    };
    let (with, without) = (least(Some(&pin(instance))), least(None));
    let driver = without[without.len() / 2];
    let at = |hundredths: usize| with[with.len() * hundredths / 100].saturating_sub(driver);
    (at(50), at(99))
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

/// The price of nothing: a program that ends at once.
fn nothing() -> u64 {
    let program = bare::load(bare::SCHED_CLS, &[bare::insn(0xb7, 0, 0, 0, 2), bare::insn(0x95, 0, 0, 0, 0)]);
    (0..RUNS).map(|_| bare::test_run(&program, &[0; FRAME], 1 << 20, false)).min().unwrap_or(0)
}

/// What numbers are compared with: the policy alone, and a look-up in a hash.
struct Units {
    hash: u64,
}

impl Units {
    fn row(&self, name: &str, measured: &Measured, policy: Option<&Measured>) {
        let Measured { compile, apply, memory, cold, warm, times: (median, p99), lines: (mean, worst), nft } = measured;
        let beyond = |of: fn(&Measured) -> u64| of(measured).saturating_sub(policy.map_or(0, of));
        let (rules, warm_rules, nft_rules) = (beyond(|m| m.cold), beyond(|m| m.warm), beyond(|m| m.nft));
        let difference = policy.map_or_else(String::new, |_| {
            let times = |more: u64, less: u64| f64::from(more as u32) / f64::from(less.max(1) as u32);
            let (hash, nft) = (times(rules, self.hash), times(nft_rules, rules));
            format!("{rules:>5} / {warm_rules:<4} {hash:>5.1} {nft_rules:>8} {nft:>7.1}")
        });
        println!(
            "{name:16} {cold:>5} {median:>6} {p99:>5} {warm:>5} {difference:34} {nft:>8} {mean:>5} {worst:>5} {:>7} {:>8} {:>8} {:>7}",
            memory / 1024,
            compile.as_millis(),
            apply.0.as_millis(),
            apply.1.as_millis(),
        );
    }
}

/// Rulesets of one kind, by how many rules they have.
type Sets = Vec<(usize, Vec<Rule>)>;

/// Measures rulesets of one kind.
fn measure_kind(pair: &Pair, name: &str, units: &Units, sets: Sets) {
    let mut policy = None;
    for (count, rules) in sets {
        let headers = headers(&rules);
        let frames: Vec<[u8; FRAME]> = headers.iter().map(frame).collect();
        let packets = (&headers[..], &frames[..]);
        let wire = Wire::new(&frames);
        if policy.is_none() {
            let measured = measure(pair, &[], packets, wire.nanoseconds(&[]));
            units.row(&format!("{name} policy"), &measured, None);
            policy = Some(measured);
        }
        let measured = measure(pair, &rules, packets, wire.nanoseconds(&rules));
        units.row(&format!("{name} {count}"), &measured, policy.as_ref());
    }
}

/// Files of one kind, by their names, the smallest first.
fn kinds(files: &[&String]) -> Vec<(String, Sets)> {
    let mut kinds: Vec<(String, Sets)> = Vec::new();
    for file in files {
        let path = Path::new(file);
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let kind = name.split(['_', '.']).next().unwrap_or_default().to_owned();
        let rules = filters::read(path);
        match kinds.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, sets)) => sets.push((rules.len(), rules)),
            None => kinds.push((kind, vec![(rules.len(), rules)])),
        }
    }
    for (_, sets) in &mut kinds {
        sets.sort_by_key(|(count, _)| *count);
    }
    kinds
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let files: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let units = Units { hash: hash::look_up(COLD, 16) };
    println!("a program that does nothing: {} ns (taken off below)", nothing());
    println!("a look-up in a hash map of {COLD} keys of 16 bytes, alone: {} ns (`hash`)", units.hash);
    println!(
        "{:16} {:>5} {:>6} {:>5} {:>5} {:>5} / {:<4} {:>5} {:>8} {:>7} {:>8} {:>5} {:>5} {:>7} {:>8} {:>8} {:>7}",
        "ns a packet",
        "cold",
        "median",
        "p99",
        "warm",
        "rules",
        "warm",
        "hash",
        "nft",
        "times",
        "nft all",
        "lines",
        "p99",
        "KiB",
        "build ms",
        "first ms",
        "swap ms"
    );
    let pair = Pair::with(Neighbours::Known);
    for (name, sets) in kinds(&files) {
        let wide = sets.iter().map(|(count, rules)| (*count, filters::wide(rules))).collect();
        measure_kind(&pair, &name, &units, sets);
        measure_kind(&pair, &format!("{name} IPv6"), &units, wide);
    }
    if !files.is_empty() {
        return;
    }
    for is_v6 in [false, true] {
        for kind in Kind::ALL {
            let counts = [100, 1_000, 10_000, 100_000].into_iter().filter(|count| !quick || *count <= 10_000);
            let sets = counts.map(|count| (count, generate(kind, is_v6, count, SEED))).collect();
            let family = if is_v6 { "IPv6" } else { "IPv4" };
            measure_kind(&pair, &format!("{family} {}", kind.name()), &units, sets);
        }
    }
}
