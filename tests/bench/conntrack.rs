//! What connections cost: packets of many of them, new ones, refused ones; and how many a second programs can make.
//!
//! Packets: as `classify.rs`, by a driver that writes the next frame of a trace over the packet and tail-calls the tc egress
//! program, in parts of 512 packets, of which the least of five runs counts; the driver's own time is taken off. The trace goes through the connections in no order, one
//! packet each. Beside them: `conntrack/hash.rs`. Connections a second: `conntrack/rate.rs`. `-- --rate` measures those alone.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "classify/driver.rs"]
mod driver;
#[path = "conntrack/hash.rs"]
mod hash;
#[path = "parts.rs"]
mod parts;
#[path = "conntrack/rate.rs"]
mod rate;
#[path = "../support/mod.rs"]
mod support;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use driver::{Driver, FRAME};
use firewall_tests::{
    command::rampart_path,
    packet::{Frame, Tcp, flag},
    topology::{INTERFACE, Neighbours, Pair, SERVER, SERVER6},
};
use firewall_user::kernel::{ApplyOptions, Instance, StateOptions};
use parts::least_of_parts;
use support::{compiled, packets::between};

const RUNS: usize = 5;

const ACCEPT: &str = "table inet t { chain c {
    type filter hook output priority 0; policy drop;
    ct state established accept
    tcp dport 443 accept
}
}";
const DROP: &str = "table inet t { chain c {
    type filter hook output priority 0; policy drop;
    ct state established accept
    tcp dport 444 accept
}
}";

/// Which way a segment goes, and what it is.
#[derive(Clone, Copy)]
enum Way {
    Syn,
    Forth,
    Back,
}

/// The stranger of a number: 131,072 addresses of `198.18.0.0/15` or `2001:db8::/32`, a port for each further round.
fn stranger(number: usize, is_v6: bool) -> (IpAddr, u16) {
    let (low, port) = ((number & 0x1_ffff) as u32, 1024 + (number >> 17) as u16);
    let address = if is_v6 {
        IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + (7 << 64) + u128::from(low)))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + low))
    };
    (address, port)
}

/// One frame of each connection, in no order.
fn trace(numbers: std::ops::Range<usize>, is_v6: bool, way: Way) -> Vec<[u8; FRAME]> {
    let count = numbers.len();
    let server = if is_v6 { IpAddr::from(SERVER6) } else { IpAddr::from(SERVER) };
    let one = |place: usize| {
        // An odd factor reaches each place of a power of two once.
        let number = numbers.start + place.wrapping_mul(0x9e37_79b1) % count;
        let (address, port) = stranger(number, is_v6);
        let frame = match way {
            Way::Syn => between(address, server, Tcp::new(port, 443, flag::SYN).at(1000, 0)),
            Way::Forth => between(address, server, Tcp::new(port, 443, flag::ACK).at(1001, 5001)),
            Way::Back => between(server, address, Tcp::new(443, port, flag::ACK).at(5001, 1001)),
        };
        padded(&frame)
    };
    (0..count).map(one).collect()
}

fn padded(frame: &Frame) -> [u8; FRAME] {
    let bytes = frame.bytes();
    let mut padded = [0; FRAME];
    padded[..bytes.len()].copy_from_slice(&bytes);
    padded
}

fn pin(instance: &Instance) -> PathBuf {
    let generation = instance.generation().expect("generation");
    PathBuf::from(format!("/run/rampart/bpf/{}/generation/{generation}/enter_tc_egress", bare::namespace_cookie()))
}

/// An instance with rules and so much room.
fn with_rules<T>(pair: &Pair, rules: &str, flows: u32, work: impl FnOnce(&Instance) -> T + Send) -> T
where
    T: Send,
{
    pair.server.run(|| {
        let instance = Instance::open_or_create(&StateOptions { flows: Some(flows) }).expect("instance");
        let lock = instance.lock().expect("lock");
        let options = ApplyOptions { interfaces: vec![INTERFACE.to_owned()], ..ApplyOptions::default() };
        instance.apply(&lock, &compiled(rules, None), &options).unwrap_or_else(|error| panic!("{error}"));
        let answer = work(&instance);
        instance.stop(lock).expect("stop");
        answer
    })
}

/// Nanoseconds of one packet, without the driver's: of each part of the trace the least of several runs, and of those the mean.
fn least(frames: &[[u8; FRAME]], instance: &Instance, between_runs: impl Fn()) -> u64 {
    let (with, without) = (Driver::new(frames, Some(&pin(instance))), Driver::new(frames, None));
    least_of_parts(
        (frames.len(), RUNS),
        |packets| with.run_some(packets),
        |packets| without.run_some(packets),
        between_runs,
    )
}

/// Makes connections of all the strangers, both ways.
fn establish(numbers: std::ops::Range<usize>, is_v6: bool, instance: &Instance) {
    for way in [Way::Forth, Way::Back, Way::Forth] {
        Driver::new(&trace(numbers.clone(), is_v6, way), Some(&pin(instance))).run(1);
    }
}

fn established(pair: &Pair, count: usize, is_v6: bool) -> u64 {
    with_rules(pair, ACCEPT, count as u32, |instance| {
        establish(0..count, is_v6, instance);
        let there = instance.flows().expect("flows").count();
        assert!(there * 100 >= count * 99, "{there} of {count} are there");
        let nanoseconds = least(&trace(0..count, is_v6, Way::Forth), instance, || {});
        if count == MANY && !is_v6 {
            list(pair, there);
        }
        nanoseconds
    })
}

/// Connections of which a listing is timed.
const MANY: usize = 1 << 20;

/// How long `rampart conns` takes to list what is there, in an address space that has no room for all of it.
fn list(pair: &Pair, there: usize) {
    const MIB: u32 = 64;
    for how in ["conns", "conns --json", "conns --by state"] {
        let mut command = Command::new("sh");
        let line =
            format!("ulimit -v {}; exec {} {how} --netns {}", MIB << 10, rampart_path().display(), pair.server.name());
        command.args(["-c", &line]).stdout(Stdio::null());
        let started = Instant::now();
        assert!(command.status().expect("rampart runs").success(), "{line}");
        let took = started.elapsed().as_secs_f64();
        println!("`rampart {how}` of {there} connections, with {MIB} MiB of address space: {took:.1} s");
    }
}

fn forget_all(instance: &Instance) {
    let forgetter = instance.forgetter().expect("the table");
    for flow in instance.flows().expect("flows") {
        forgetter.forget(&flow.expect("flow"));
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--rate") {
        return rate::compare();
    }
    let pair = Pair::with(Neighbours::Known);
    println!("{:44} {:>8} {:>8}", "nanoseconds a packet", "IPv4", "IPv6");
    for count in [1 << 10, 1 << 16, MANY] {
        let both = [false, true].map(|is_v6| established(&pair, count, is_v6));
        println!("{:44} {:>8} {:>8}", format!("established, of {count} connections"), both[0], both[1]);
        let hash = [16, 40].map(|key_size| hash::look_up(count, key_size));
        println!("{:44} {:>8} {:>8}", format!("a hash map's look-up alone, of {count}"), hash[0], hash[1]);
    }
    let new = [false, true].map(|is_v6| {
        let frames = trace(0..1 << 16, is_v6, Way::Syn);
        let entered = with_rules(&pair, ACCEPT, 1 << 16, |instance| least(&frames, instance, || forget_all(instance)));
        let dropped = with_rules(&pair, DROP, 1 << 16, |instance| least(&frames, instance, || {}));
        (entered, dropped)
    });
    println!("{:44} {:>8} {:>8}", "new and entered (65,536 of them)", new[0].0, new[1].0);
    println!("{:44} {:>8} {:>8}", "new and dropped by the rules", new[0].1, new[1].1);
    let refused = [false, true].map(|is_v6| {
        with_rules(&pair, ACCEPT, 4000, |instance| {
            // More than there is room for, so that every bucket is full of connections that stand.
            establish(0..1 << 17, is_v6, instance);
            least(&trace(1 << 17..(1 << 17) + (1 << 16), is_v6, Way::Syn), instance, || {})
        })
    });
    println!("{:44} {:>8} {:>8}", "new and refused by a full table", refused[0], refused[1]);
    rate::compare();
}
