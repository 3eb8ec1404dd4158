//! How many packets a second are forwarded, from one veth pair to another.
//!
//! Measured: one CPU sends a trace of UDP headers as live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) into a veth pair as fast as it can; the
//! same CPU forwards them from there to a second pair, and drops them at its far end (XDP). So a rate is what sending, forwarding
//! and dropping cost together, and what forwarding costs is what is left of a packet's time without sending and dropping, which are
//! measured alone. What arrived is what the interface at the far end counted.
//!
//! Every flow has been answered once before, and packets of the measured direction are met in the state in which they will
//! stay. nft translates with the same rules, without `flow add`: a kernel without `CONFIG_NF_FLOW_TABLE` has no flowtable. Beside
//! them: the kernel's forwarding without rules, and a program that does nothing but redirect.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

use bare::{ARRAY, XDP, insn};
use firewall_common::counter::REDIRECTED;
use firewall_tests::{
    netns::Namespace,
    packet::{Ethernet, Frame, Ipv4, Udp},
    referee::Referee,
    topology::{
        CLIENT_MAC, INTERFACE, Neighbours, ROUTER_MAC, ROUTER_SECOND, ROUTER_SECOND_MAC, Routed, SECOND_INTERFACE,
        SERVER_MAC,
    },
};
use firewall_user::{
    config,
    kernel::{ApplyOptions, Instance, StateOptions, interface_index},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Bytes of a frame that differ from flow to flow.
const HEAD: usize = 64;
/// How long each sends, at least.
const WHILE: Duration = Duration::from_secs(1);
/// Frames sent by one call.
const BATCH: u32 = 65_536;
/// Flows to one destination: each has a port of its own, so that translation can leave it alone.
const TO_ONE: usize = 20_000;
/// Connections that the state table has room for: each has two entries when it is translated.
const ROOM: u32 = 1_500_000;

/// Who forwards.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// Nobody: packets are dropped where they come in.
    Nobody,
    /// A program that redirects.
    Redirect,
    /// The kernel, without rules.
    Kernel,
    /// nft, which translates.
    Nft,
    /// rampart, which translates.
    Stack,
    /// The same with the fast path.
    Fast,
    /// rampart with the fast path, which shares connections out among four servers.
    Balancer,
}

const TRANSLATE: &str = "table ip n {
    chain after {
        type nat hook postrouting priority srcnat
        oifname \"eth1\" masquerade
    }
}";
const THROUGH: &str = "table ip t {
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established accept
        ct state new accept
    }
}";
const FLOWS: &str = "table ip t {
    flowtable f { hook ingress priority filter; devices = { eth0, eth1 }; }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established flow add @f
        ct state established accept
        ct state new accept
    }
}";
const SHARE: &str = "table ip n {
    chain before {
        type nat hook prerouting priority dstnat
        iifname \"eth0\" dnat to jhash ip saddr mod 4 map { 0 : 198.51.100.11, 1 : 198.51.100.12, 2 : 198.51.100.13, 3 : 198.51.100.14 }
    }
}";

const SETTINGS: &str = "[forwarding]\nwhole_checksums = [\"eth0\", \"eth1\"]\n";

/// Addresses and port of a flow: networks for measurements (RFC 2544).
fn flow(number: usize) -> (Ipv4Addr, u16, Ipv4Addr) {
    let source = Ipv4Addr::from_bits(0xc612_0000 | (number as u32 & 0xffff));
    let destination = Ipv4Addr::from_bits(0xc613_0001 | ((number / TO_ONE) as u32) << 8);
    (source, 1024 + (number % TO_ONE) as u16, destination)
}

fn frame(ethernet: ([u8; 6], [u8; 6]), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), size: usize) -> Vec<u8> {
    let ethernet = Ethernet { source: ethernet.0, destination: ethernet.1, ..Ethernet::to_server() };
    let frame = Frame::new(Ipv4::new(from.0, to.0), Udp::new(from.1, to.1));
    frame.ethernet(ethernet).payload(&vec![0; size - 42]).bytes()
}

fn there(number: usize, size: usize) -> Vec<u8> {
    let (source, port, destination) = flow(number);
    frame((CLIENT_MAC, ROUTER_MAC), (source, port), (destination, 2000), size)
}

/// The answer, to the address that the server saw.
fn back(number: usize, by: By) -> Vec<u8> {
    let (source, port, destination) = flow(number);
    let seen = if matches!(by, By::Nft | By::Stack | By::Fast) { ROUTER_SECOND } else { source };
    frame((SERVER_MAC, ROUTER_SECOND_MAC), (destination, 2000), (seen, port), HEAD)
}

/// Sends frames, one after the other, out of an interface.
struct Sender {
    program: OwnedFd,
    _maps: [OwnedFd; 2],
    first: Vec<u8>,
}

impl Sender {
    /// A trace of a power of two of frames, in which `flows` come again and again.
    fn new(flows: usize, of: impl Fn(usize) -> Vec<u8>, ifindex: u32) -> Self {
        let frames = flows.next_power_of_two();
        let (state, trace) = (bare::map(ARRAY, 8, 1), bare::map(ARRAY, HEAD as u32, frames as u32));
        for at in 0..frames {
            bare::update(&trace, at as u32, &of(at % flows)[..HEAD]);
        }
        let maps = [&state, &trace].map(AsRawFd::as_raw_fd);
        let redirect = redirect(ifindex);
        let code = bare::over_next_frame(maps, (frames, HEAD), 0, (&redirect, 0));
        Self { program: bare::load(XDP, &code), _maps: [state, trace], first: of(0) }
    }

    fn send(&self, packets: u32) {
        bare::test_run(&self.program, &self.first, packets, true);
    }
}

/// Instructions that redirect to an interface.
fn redirect(ifindex: u32) -> [u64; 4] {
    [insn(0xb7, 1, 0, 0, ifindex as i32), insn(0xb7, 2, 0, 0, 0), insn(0x85, 0, 0, 0, 23), insn(0x95, 0, 0, 0, 0)]
}

/// Packets that an interface has received.
fn received(host: &Namespace, interface: &str) -> u64 {
    let output =
        host.run(|| Command::new("ip").args(["-j", "-s", "link", "show", "dev", interface]).output().expect("ip"));
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    links[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
}

fn index(host: &Namespace, interface: &str) -> u32 {
    host.run(|| interface_index(interface).expect("an interface"))
}

fn attach(host: &Namespace, interface: &str, code: &[u64]) -> OwnedFd {
    let ifindex = index(host, interface);
    host.run(|| bare::attach_xdp(&bare::load(XDP, code), ifindex))
}

/// `XDP_DROP`
const DROP: [u64; 2] = [insn(0xb7, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)];

/// A router between two hosts that drop whatever they get.
fn topology() -> (Routed, [OwnedFd; 2]) {
    let routed = Routed::with(Neighbours::Known);
    let router = &routed.router;
    router.ip("route add 198.18.0.0/16 via 192.0.2.1");
    router.ip("route add 198.19.0.0/16 via 198.51.100.1");
    for last in 11..15 {
        let mac = SERVER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        router.ip(&format!("neighbour replace 198.51.100.{last} lladdr {mac} dev {SECOND_INTERFACE} nud permanent"));
    }
    for name in ["all", "default", INTERFACE, SECOND_INTERFACE] {
        router.set_parameter(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
    }
    // Frames that are redirected to a veth need a receiver that polls.
    for interface in [INTERFACE, SECOND_INTERFACE] {
        let gro = router.run(|| Command::new("ethtool").args(["-K", interface, "gro", "on"]).status());
        assert!(gro.expect("ethtool").success());
    }
    let drops = [&routed.client, &routed.server].map(|host| attach(host, INTERFACE, &DROP));
    (routed, drops)
}

fn apply(router: &Namespace, rules: &str) {
    router.run(|| {
        let instance = Instance::open_or_create(&StateOptions { flows: Some(ROOM) }).expect("instance");
        let mut compiled = support::compiled(rules, None);
        compiled.manifest.config = config::parse("rampart.toml", SETTINGS.to_owned()).expect("settings");
        let lock = instance.lock().expect("lock");
        instance.apply(&lock, &compiled, &ApplyOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    });
}

fn stop(router: &Namespace) {
    router.run(|| {
        let instance = Instance::open().expect("instance");
        let lock = instance.lock().expect("lock");
        instance.stop(lock).expect("stopped");
    });
}

/// Packets that took the fast path at the router's interface towards the client.
fn redirected(router: &Namespace) -> u64 {
    router.run(|| {
        let instance = Instance::open().expect("instance");
        let interfaces = instance.interfaces().expect("interfaces");
        let near = interfaces.iter().find(|one| one.name == INTERFACE).expect("the interface");
        instance.traffic(near.place).expect("traffic").ingress[REDIRECTED].packets
    })
}

/// Millions of packets a second. Nobody else may drop them: what arrives is nearly all that is sent.
fn rate(by: By, flows: usize, size: usize) -> f64 {
    let (routed, _drops) = topology();
    let router = &routed.router;
    let mut held = Vec::new();
    match by {
        By::Nobody => held.push(attach(router, INTERFACE, &DROP)),
        By::Redirect => held.push(attach(router, INTERFACE, &redirect(index(router, SECOND_INTERFACE)))),
        By::Kernel => {}
        By::Nft => {
            let _ = Referee::load(router, &format!("{THROUGH}\n{TRANSLATE}"));
        }
        By::Stack => apply(router, &format!("{THROUGH}\n{TRANSLATE}")),
        By::Fast => apply(router, &format!("{FLOWS}\n{TRANSLATE}")),
        By::Balancer => apply(router, &format!("{FLOWS}\n{SHARE}")),
    }
    let client = index(&routed.client, INTERFACE);
    let there = routed.client.run(|| Sender::new(flows, |number| there(number, size), client));
    if matches!(by, By::Nft | By::Stack | By::Fast) {
        let server = index(&routed.server, INTERFACE);
        let back = routed.server.run(|| Sender::new(flows, |number| back(number, by), server));
        let all = flows.next_power_of_two() as u32;
        routed.client.run(|| there.send(all));
        routed.server.run(|| back.send(all));
        // Once more, by which they are established, and added.
        routed.client.run(|| there.send(all));
    } else if by == By::Balancer {
        balanced_flows_begin(&routed, &there, flows);
    }
    let at = if by == By::Nobody { (router, INTERFACE) } else { (&routed.server, INTERFACE) };
    let fast_before = if matches!(by, By::Fast | By::Balancer) { redirected(router) } else { 0 };
    let (before, started, mut sent) = (received(at.0, at.1), Instant::now(), 0_u64);
    while started.elapsed() < WHILE {
        routed.client.run(|| there.send(BATCH));
        sent += u64::from(BATCH);
    }
    let took = started.elapsed();
    let arrived = received(at.0, at.1) - before;
    assert!(arrived > sent / 100 * 98, "{arrived} of {sent} packets arrived");
    if matches!(by, By::Fast | By::Balancer) {
        let fast = redirected(router) - fast_before;
        assert!(fast > arrived / 100 * 98, "{fast} of {arrived} packets took the fast path");
    }
    if matches!(by, By::Stack | By::Fast | By::Balancer) {
        stop(router);
    }
    f64::from(u32::try_from(arrived).expect("fewer than 2^32")) / took.as_secs_f64() / 1e6
}

/// The server that a connection was given to is the one that answers; each answers for all, and only the right answers are taken.
fn balanced_flows_begin(routed: &Routed, there: &Sender, flows: usize) {
    let all = flows.next_power_of_two() as u32;
    routed.client.run(|| there.send(all));
    let server = index(&routed.server, INTERFACE);
    for last in 11..15 {
        let of = |number| {
            let (source, port, _) = flow(number);
            let from = (Ipv4Addr::new(198, 51, 100, last), 2000);
            frame((SERVER_MAC, ROUTER_SECOND_MAC), from, (source, port), HEAD)
        };
        let back = routed.server.run(|| Sender::new(flows, of, server));
        routed.server.run(|| back.send(all));
    }
    routed.client.run(|| there.send(all));
}

/// The most connections that nft may have here: more would be dropped.
fn most_of_nft() -> usize {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap_or_default();
    text.trim().parse().unwrap_or(usize::MAX)
}

fn main() {
    let mut cpus = CpuSet::new();
    cpus.set(0).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("one processor");
    balancer();
    println!("millions of packets a second, and nanoseconds of the processor for each that is forwarded");
    println!(
        "{:>5} {:>8} {:>8}  {:>14} {:>14} {:>14} {:>14} {:>14}  {:>9}",
        "bytes", "flows", "no way", "XDP redirect", "kernel", "nft", "rampart", "fast path", "times nft"
    );
    for size in [64, 1400] {
        for flows in [1, 10_000, 500_000] {
            let sending = 1e3 / rate(By::Nobody, flows, size);
            let shown = |rate: f64| format!("{rate:>6.2} {:>5.0} ns", 1e3 / rate - sending);
            let plain = rate(By::Redirect, flows, size);
            let kernel = rate(By::Kernel, flows, size);
            let nft = (flows < most_of_nft()).then(|| rate(By::Nft, flows, size));
            let (stack, fast) = (rate(By::Stack, flows, size), rate(By::Fast, flows, size));
            println!(
                "{size:>5} {flows:>8} {:>8.2}  {:>14} {:>14} {:>14} {:>14} {:>14}  {:>9}",
                1e3 / sending,
                shown(plain),
                shown(kernel),
                nft.map_or_else(|| "too many".to_owned(), shown),
                shown(stack),
                shown(fast),
                nft.map_or_else(String::new, |nft| format!("{:.1}", fast / nft)),
            );
        }
    }
}

/// Connections shared out among servers, beside a program that only redirects.
fn balancer() {
    println!("{:>5} {:>8} {:>14} {:>14}  {:>9}", "bytes", "flows", "XDP redirect", "balancer", "of it");
    for (size, flows) in [(64, 1), (64, 10_000), (1400, 10_000)] {
        let (plain, ours) = (rate(By::Redirect, flows, size), rate(By::Balancer, flows, size));
        println!("{size:>5} {flows:>8} {plain:>14.2} {ours:>14.2}  {:>7.0} %", 100.0 * ours / plain);
    }
}
