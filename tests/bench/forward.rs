//! How many packets a second are forwarded, from one veth pair to another, and what each costs.
//!
//! Measured: a trace of UDP headers is sent as live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) into a veth pair, 64 at a time. The router's
//! interface is polled by a thread of its own (threaded NAPI) on the same CPU, which runs before whatever else wants to, so after
//! each 64 frames it takes them, forwards them to a second pair and drops them at that one's far end (XDP). What arrived is what
//! the interface at the far end counted. What a packet costs is what that thread used up; the rate is how many a CPU would forward
//! that does nothing else. So neither the sender nor other work on the machine counts, nothing is lost, and no other CPU fights for
//! the memory of frames. Each number is the best of some rounds.
//!
//! Every flow has been answered once before, and packets of the measured direction are met in the state in which they will
//! stay. nft translates with the same rules, without `flow add`: a kernel without `CONFIG_NF_FLOW_TABLE` has no flowtable. Beside
//! them: the kernel's forwarding without rules, and a program that does nothing but redirect.
//!
//! With three words behind `--` (`fast 64 10000`, say) one of them is measured for twelve seconds, for a profiler.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "forward/polling.rs"]
mod polling;
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
use nix::{sched::sched_setaffinity, unistd::Pid};
use polling::{Polling, before_others, only};

/// Bytes of a frame that differ from flow to flow.
const HEAD: usize = 64;
/// Rounds of which the best counts.
const ROUNDS: u32 = 10;
/// Frames of a round.
const ROUND: u32 = 65_536;
/// Flows to one destination: each has a port of its own, so that translation can leave it alone.
const TO_ONE: usize = 20_000;
/// More connections than that get a table of their own size, which has room for so many times as many: each has two entries when it
/// is translated.
const MANY: usize = 10_000;
/// As above.
const TIMES: u32 = 3;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// Nobody: packets are dropped where they come in, and what is measured is sending and dropping.
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

impl By {
    fn named(word: &str) -> Self {
        let all = [Self::Nobody, Self::Redirect, Self::Kernel, Self::Nft, Self::Stack, Self::Fast, Self::Balancer];
        let found = all.into_iter().find(|by| format!("{by:?}").eq_ignore_ascii_case(word));
        found.unwrap_or_else(|| panic!("nobody is called {word}"))
    }
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

/// The answer: to the address that the server saw, or of one of several servers, which see the client's.
fn back(number: usize, server: Option<u8>) -> Vec<u8> {
    let (source, port, destination) = flow(number);
    let (from, seen) = match server {
        Some(last) => (Ipv4Addr::new(198, 51, 100, last), source),
        None => (destination, ROUTER_SECOND),
    };
    frame((SERVER_MAC, ROUTER_SECOND_MAC), (from, 2000), (seen, port), HEAD)
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

fn apply(router: &Namespace, rules: &str, flows: usize) {
    let room = (flows > MANY).then_some(flows as u32 * TIMES);
    router.run(|| {
        let instance = Instance::open_or_create(&StateOptions { flows: room }).expect("instance");
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

/// A router at work.
struct Work {
    by: By,
    routed: Routed,
    there: Sender,
    polling: Polling,
    _held: Vec<OwnedFd>,
}

impl Work {
    fn begin(by: By, flows: usize, size: usize) -> Self {
        let (routed, drops) = topology();
        let router = &routed.router;
        let mut held = Vec::from(drops);
        match by {
            By::Nobody => held.push(attach(router, INTERFACE, &DROP)),
            By::Redirect => held.push(attach(router, INTERFACE, &redirect(index(router, SECOND_INTERFACE)))),
            By::Kernel => {}
            By::Nft => {
                let _ = Referee::load(router, &format!("{THROUGH}\n{TRANSLATE}"));
            }
            By::Stack => apply(router, &format!("{THROUGH}\n{TRANSLATE}"), flows),
            By::Fast => apply(router, &format!("{FLOWS}\n{TRANSLATE}"), flows),
            By::Balancer => apply(router, &format!("{FLOWS}\n{SHARE}"), flows),
        }
        let client = index(&routed.client, INTERFACE);
        let there = routed.client.run(|| Sender::new(flows, |number| there(number, size), client));
        match by {
            By::Nobody | By::Redirect | By::Kernel => {}
            By::Nft | By::Stack | By::Fast => flows_begin(&routed, &there, flows, &[None]),
            By::Balancer => flows_begin(&routed, &there, flows, &[11, 12, 13, 14].map(Some)),
        }
        // Not before: until here who sends goes on when what was sent before has been taken.
        let polling = Polling::start(&routed.router, INTERFACE, PROCESSOR);
        Self { by, routed, there, polling, _held: held }
    }

    /// Packets that have arrived where they end.
    fn arrived(&self) -> u64 {
        match self.by {
            By::Nobody => received(&self.routed.router, INTERFACE),
            _ => received(&self.routed.server, INTERFACE),
        }
    }

    /// Nanoseconds of the router's processor for each packet of a round.
    fn round(&self) -> f64 {
        let is_fast = matches!(self.by, By::Fast | By::Balancer);
        let fast_before = if is_fast { redirected(&self.routed.router) } else { 0 };
        let (used_before, before) = (self.polling.used(), self.arrived());
        self.routed.client.run(|| self.there.send(ROUND));
        let used = self.polling.used() - used_before;
        let arrived = self.arrived() - before;
        assert!(arrived > u64::from(ROUND / 100 * 98), "{:?}: {arrived} of {ROUND} packets arrived", self.by);
        if is_fast {
            let fast = redirected(&self.routed.router) - fast_before;
            assert!(fast > u64::from(ROUND / 100 * 98), "{fast} of {ROUND} packets took the fast path");
        }
        let [used, arrived] = [used, arrived].map(|count| f64::from(u32::try_from(count).expect("a short round")));
        used / arrived
    }

    fn best(&self, rounds: u32) -> f64 {
        (0..rounds).map(|_| self.round()).fold(f64::INFINITY, f64::min)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if matches!(self.by, By::Stack | By::Fast | By::Balancer) {
            stop(&self.routed.router);
        }
    }
}

/// Has all connections begin and be answered: by the server that they were given to, if there are several. Each of these answers for
/// all, and only the right answers are taken.
fn flows_begin(routed: &Routed, there: &Sender, flows: usize, servers: &[Option<u8>]) {
    let all = flows.next_power_of_two() as u32;
    routed.client.run(|| there.send(all));
    let server = index(&routed.server, INTERFACE);
    for last in servers {
        let back = routed.server.run(|| Sender::new(flows, |number| back(number, *last), server));
        routed.server.run(|| back.send(all));
    }
    // Once more, by which they are established, and added.
    routed.client.run(|| there.send(all));
}

fn measured(by: By, flows: usize, size: usize) -> f64 {
    Work::begin(by, flows, size).best(ROUNDS)
}

/// The most connections that nft may have here, with some room: more would be dropped.
fn most_of_nft() -> usize {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap_or_default();
    text.trim().parse::<usize>().map_or(usize::MAX, |most| most / 100 * 95)
}

/// Where all this is.
const PROCESSOR: usize = 0;

fn main() {
    sched_setaffinity(Pid::from_raw(0), &only(PROCESSOR)).expect("one processor");
    before_others(std::process::id() as i32, 1);
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [by, size, flows] = &words[..] {
        let number = |word: &String| word.parse::<usize>().expect("a number");
        let work = Work::begin(By::named(by), number(flows), number(size));
        println!("namespace {}", work.routed.router.run(bare::namespace_cookie));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(12) {
            println!("{:.0} ns", work.best(ROUNDS));
        }
        return;
    }
    println!("millions of packets a second that a processor forwards, and nanoseconds for each");
    println!(
        "{:>5} {:>7} {:>13} {:>13} {:>13} {:>14} {:>13} {:>13} {:>13}  {:>9} {:>12}",
        "bytes",
        "flows",
        "dropped",
        "XDP redirect",
        "kernel",
        "nft",
        "rampart",
        "fast path",
        "balancer",
        "fast path",
        "balancer to"
    );
    println!("{:122} {:>9} {:>12}", "", "to nft", "XDP redirect");
    for size in [64, 1400] {
        for flows in [1, MANY, 500_000] {
            row(size, flows);
        }
    }
    println!("* so many connections as nft may have here (nf_conntrack_max): {}", most_of_nft());
}

fn row(size: usize, flows: usize) {
    let shown = |cost: f64| format!("{:>6.2} {cost:>4.0}ns", 1e3 / cost);
    let of = |by| measured(by, flows, size);
    let [nobody, redirect, kernel] = [By::Nobody, By::Redirect, By::Kernel].map(of);
    let by_nft = flows.min(most_of_nft());
    let nft = measured(By::Nft, by_nft, size);
    let [stack, fast, balancer] = [By::Stack, By::Fast, By::Balancer].map(of);
    println!(
        "{size:>5} {flows:>7} {:>13} {:>13} {:>13} {:>13}{} {:>13} {:>13} {:>13}  {:>9.1} {:>10.0} %",
        shown(nobody),
        shown(redirect),
        shown(kernel),
        shown(nft),
        if by_nft < flows { "*" } else { " " },
        shown(stack),
        shown(fast),
        shown(balancer),
        nft / fast,
        100.0 * redirect / balancer,
    );
}
