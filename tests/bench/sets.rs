//! What named sets cost: looking into large ones, changing one element, filling one from a file; and their memory.
//!
//! Look-ups: as `conntrack.rs`, the tc egress program behind a driver that writes the next of 65,536 frames over the packet,
//! in parts of 512 packets of which the least of several runs counts; the driver's own time is taken off. Half of the frames
//! are in the set, each another element of it, in no order. Beside each: the same ruleset without the rule.
//!
//! Changes: the processor's time for adding and for removing one element, over many. Files: `rampart set load`, its
//! processor time and the clock's.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "classify/driver.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod driver;
#[path = "parts.rs"]
mod parts;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use driver::{Driver, FRAME};
use firewall_tests::{
    command::rampart_path,
    packet::{Frame, Tcp, flag},
    topology::{INTERFACE, Neighbours, Pair},
};
use firewall_user::{
    compile::{StateElement, StateSet},
    kernel::{ApplyOptions, Instance, StateOptions},
};
use nix::sys::resource::{UsageWho, getrusage};
use parts::least_of_parts;
use support::{compiled, packets::between};

const RUNS: usize = 7;
const FRAMES: usize = 65_536;
/// Elements added and removed one by one.
const CHANGES: u32 = 10_000;

/// An element as text, and the ends of its parts.
type Element = (String, Vec<(u128, u128)>);

/// A kind of set.
struct Kind {
    name: &'static str,
    declaration: &'static str,
    rule: &'static str,
    count: u32,
    is_v6: bool,
    /// Element number so and so, as text and as the ends of its parts.
    element: fn(u32) -> Element,
    /// An address in it, and a port.
    inside: fn(u32) -> (IpAddr, u16),
}

const V6: u128 = 0x2001_0db8 << 96;

/// Spreads numbers over 2^30 addresses from 64.0.0.0 on; odd factors reach each once.
const fn spread(number: u32) -> u32 {
    0x4000_0000 | (number.wrapping_mul(0x9e37_79b1) & 0x3fff_ffff)
}

fn address6(number: u32) -> u128 {
    V6 | u128::from(number.wrapping_mul(0x9e37_79b1)) << 32 | u128::from(number)
}

/// 500,000 different networks of /24 and shorter hosts' ones, as a blocklist has them.
const fn network(number: u32) -> (u32, u32) {
    let start = 0x4000_0000 | (number.wrapping_mul(0x9e37_79b1) & 0x3fff_ff00);
    (start, start | 0xff >> (number & 3))
}

const KINDS: &[Kind] = &[
    Kind {
        name: "IPv4 addresses",
        declaration: "type ipv4_addr;",
        rule: "ip daddr @s drop",
        count: 1_000_000,
        is_v6: false,
        element: |number| {
            let address = spread(number);
            (Ipv4Addr::from_bits(address).to_string(), vec![(address.into(), address.into())])
        },
        inside: |number| (Ipv4Addr::from_bits(spread(number)).into(), 80),
    },
    Kind {
        name: "IPv6 addresses",
        declaration: "type ipv6_addr;",
        rule: "ip6 daddr @s drop",
        count: 1_000_000,
        is_v6: true,
        element: |number| {
            let address = address6(number);
            (Ipv6Addr::from_bits(address).to_string(), vec![(address, address)])
        },
        inside: |number| (Ipv6Addr::from_bits(address6(number)).into(), 80),
    },
    Kind {
        name: "IPv4 prefixes /24 to /27",
        declaration: "type ipv4_addr; flags interval; auto-merge;",
        rule: "ip daddr @s drop",
        count: 500_000,
        is_v6: false,
        element: |number| {
            let (low, high) = network(number);
            let length = 32 - (high - low + 1).trailing_zeros();
            (format!("{}/{length}", Ipv4Addr::from_bits(low)), vec![(low.into(), high.into())])
        },
        inside: |number| (Ipv4Addr::from_bits(network(number).0 + (number & 15)).into(), 80),
    },
    Kind {
        name: "ports, each second one",
        declaration: "type inet_service;",
        rule: "tcp dport @s drop",
        count: 32_768,
        is_v6: false,
        element: |number| ((number * 2).to_string(), vec![((number * 2).into(), (number * 2).into())]),
        inside: |number| (Ipv4Addr::from_bits(spread(number)).into(), (number * 2) as u16),
    },
    Kind {
        name: "IPv4 prefixes . ranges of ports",
        declaration: "type ipv4_addr . inet_service; flags interval;",
        rule: "ip daddr . tcp dport @s drop",
        count: 4_000,
        is_v6: false,
        element: |number| {
            let low = 0x4000_0000 | number << 8;
            (
                format!("{}/24 . 1024-2047", Ipv4Addr::from_bits(low)),
                vec![(low.into(), (low | 255).into()), (1024, 2047)],
            )
        },
        inside: |number| (Ipv4Addr::from_bits(0x4000_0000 | number << 8 | 7).into(), 1500),
    },
];

fn ruleset(kind: &Kind, rule: &str) -> String {
    format!(
        "table inet t {{ set s {{ {} }}
        chain c {{ type filter hook output priority 0; policy drop;
        {rule}
        }}
        }}",
        kind.declaration
    )
}

/// Half of the frames are in the set.
fn trace(kind: &Kind) -> Vec<[u8; FRAME]> {
    let one = |place: usize| {
        let number = (place as u32 / 2).wrapping_mul(0x85eb_ca6b) % kind.count;
        let (mut to, mut port) = (kind.inside)(number);
        if place % 2 == 1 {
            (to, port) = match to {
                IpAddr::V4(address) => (Ipv4Addr::from_bits(address.to_bits() ^ 0x8000_0000).into(), port | 1),
                IpAddr::V6(address) => (Ipv6Addr::from_bits(address.to_bits() ^ 1 << 90).into(), port),
            };
        }
        let from: IpAddr =
            if kind.is_v6 { Ipv6Addr::from_bits(V6 | 1).into() } else { Ipv4Addr::from_bits(0xc000_0201).into() };
        padded(&between(from, to, Tcp::new(40_000, port, flag::SYN)))
    };
    (0..FRAMES).map(one).collect()
}

fn padded(frame: &Frame) -> [u8; FRAME] {
    let bytes = frame.bytes();
    let mut padded = [0; FRAME];
    padded[..bytes.len()].copy_from_slice(&bytes);
    padded
}

/// An instance with rules.
fn with_rules<T: Send>(pair: &Pair, rules: &str, work: impl FnOnce(&Instance) -> T + Send) -> T {
    pair.server.run(|| {
        let instance = Instance::open_or_create(&StateOptions { flows: Some(4000) }).expect("instance");
        let lock = instance.lock().expect("lock");
        let options = ApplyOptions { interfaces: vec![INTERFACE.to_owned()], ..ApplyOptions::default() };
        instance.apply(&lock, &compiled(rules, None), &options).unwrap_or_else(|error| panic!("{error}"));
        drop(lock);
        let answer = work(&instance);
        let lock = instance.lock().expect("lock");
        instance.stop(lock).expect("stop");
        answer
    })
}

/// Nanoseconds of one packet, without the driver's.
fn least(frames: &[[u8; FRAME]], instance: &Instance) -> u64 {
    let generation = instance.generation().expect("generation");
    let pin =
        PathBuf::from(format!("/run/rampart/bpf/{}/generation/{generation}/enter_tc_egress", bare::namespace_cookie()));
    let (with, without) = (Driver::new(frames, Some(&pin)), Driver::new(frames, None));
    least_of_parts((frames.len(), RUNS), |packets| with.run_some(packets), |packets| without.run_some(packets), || {})
}

fn state(instance: &Instance) -> StateSet {
    let manifest = instance.manifest().expect("manifest");
    let ruleset = manifest.ruleset().expect("ruleset");
    let table = &ruleset.tables()[0];
    StateSet::of(table, &table.sets[0], manifest.sets[0].slot.expect("it is state"))
}

fn processor(whose: UsageWho) -> Duration {
    let usage = getrusage(whose).expect("usage");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// Microseconds of the processor for adding one element, and for removing one.
fn changes(kind: &Kind, instance: &Instance, set: &StateSet) -> (f64, f64) {
    let one = |number: u32| vec![element(kind, kind.count + number)];
    let step = (kind.count / 10).clamp(1, CHANGES);
    let each = |work: &dyn Fn(&[StateElement])| {
        let elements: Vec<_> = (0..step).map(one).collect();
        let before = processor(UsageWho::RUSAGE_SELF);
        for element in &elements {
            work(element);
        }
        processor(UsageWho::RUSAGE_SELF).saturating_sub(before).as_secs_f64() * 1e6 / f64::from(step)
    };
    let add = each(&|element| {
        instance.add_to_set(set, element).expect("added");
    });
    let remove = each(&|element| {
        instance.remove_from_set(set, element).expect("removed");
    });
    (add, remove)
}

fn element(kind: &Kind, number: u32) -> StateElement {
    let number = if kind.name.starts_with("ports") { number % kind.count } else { number };
    StateElement { parts: (kind.element)(number).1, ..StateElement::default() }
}

/// Seconds by the clock and of the processor for `rampart set load`.
fn load(kind: &Kind) -> (f64, f64) {
    let mut text = String::new();
    for number in 0..kind.count {
        let _ = writeln!(text, "{}", (kind.element)(number).0);
    }
    let file = std::env::temp_dir().join(format!("rampart-bench-{}.txt", std::process::id()));
    std::fs::write(&file, text).expect("a file");
    let (before, started) = (processor(UsageWho::RUSAGE_CHILDREN), Instant::now());
    let mut command = Command::new(rampart_path());
    command.args(["set", "load", "s", "--file"]).arg(&file).stdout(Stdio::null());
    assert!(command.status().expect("rampart").success(), "rampart set load");
    let took = started.elapsed().as_secs_f64();
    std::fs::remove_file(&file).expect("the file");
    (took, processor(UsageWho::RUSAGE_CHILDREN).saturating_sub(before).as_secs_f64())
}

fn main() {
    let load_average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine: {}", load_average.trim());
    println!(
        "{:32} {:>9} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "set", "elements", "bytes", "without", "with", "add µs", "remove", "load s", "cpu s"
    );
    for kind in KINDS {
        let pair = Pair::with(Neighbours::Known);
        let frames = trace(kind);
        let without =
            with_rules(&pair, &ruleset(kind, "ip daddr 192.0.2.99 drop"), |instance| least(&frames, instance));
        with_rules(&pair, &ruleset(kind, kind.rule), |instance| {
            let (took, user) = load(kind);
            let set = state(instance);
            let bytes = instance.set_memory(&set).expect("memory").bytes();
            let with = least(&frames, instance);
            let (add, remove) = changes(kind, instance, &set);
            println!(
                "{:32} {:>9} {bytes:>12} {without:>9} {with:>9} {add:>9.1} {remove:>9.1} {took:>9.2} {user:>7.2}",
                kind.name, kind.count
            );
        });
    }
}
