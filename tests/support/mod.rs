//! A firewall in a namespace of its own, judged without sending anything.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses the part it needs")]

pub mod both;
pub mod live;
pub mod near;
pub mod packets;
pub mod parts;
pub mod sequence;
pub mod table;

use std::{collections::BTreeMap, os::fd::AsRawFd, time::Duration};

use firewall_common::{counter::Counter, verdict::Reason};
use firewall_tests::{
    packet::Frame,
    topology::{INTERFACE, Neighbours, Pair},
};
use firewall_user::{
    compile::{Compiled, Manifest, RuleRecord, compile},
    config::{self, Config},
    kernel::{Applied, ApplyOptions, Flow, Instance, Side, StateOptions, interface_index},
    language::{self, Options},
};

/// A ruleset in force on the server of a pair.
pub struct Firewall {
    pub pair: Pair,
}

/// The outcome of a packet: passed, or the reason it was dropped for, told by the counter that moved.
pub type Outcome = Result<(), Reason>;

/// Connections the tables of tests have room for.
pub const FLOWS: u32 = 4000;

impl Firewall {
    /// Puts `rules` in force on a new pair's server. Nothing is on the wire: an interface with IPv6 would tell which
    /// multicast groups it is in, and be counted.
    pub fn new(rules: &str) -> Self {
        let pair = Pair::with(Neighbours::Known);
        for namespace in [&pair.client, &pair.server] {
            namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
        }
        Self::on(pair, rules)
    }

    /// Puts `rules` in force on this pair's server.
    pub fn on(pair: Pair, rules: &str) -> Self {
        let firewall = Self { pair };
        firewall.apply(rules);
        firewall
    }

    /// The same with room for so many connections.
    pub fn with_room(pair: Pair, rules: &str, flows: u32) -> Self {
        Self::with_settings(pair, rules, &Config::default(), flows)
    }

    /// And with these settings.
    pub fn with_settings(pair: Pair, rules: &str, config: &Config, flows: u32) -> Self {
        let firewall = Self { pair };
        let applied = firewall.apply_all(rules, &ApplyOptions::default(), config, flows);
        drop(applied);
        firewall
    }

    /// Puts other rules in force.
    pub fn apply(&self, rules: &str) -> Applied {
        self.try_apply(rules, &ApplyOptions::default())
    }

    /// Puts rules in force with these settings, as `rampart.toml` has them.
    pub fn apply_set(&self, rules: &str, settings: &str) -> Applied {
        let config = config::parse("rampart.toml", settings.to_owned());
        let config = config.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        self.apply_all(rules, &ApplyOptions::default(), &config, FLOWS)
    }

    /// As above, with options.
    pub fn try_apply(&self, rules: &str, options: &ApplyOptions) -> Applied {
        self.apply_all(rules, options, &Config::default(), FLOWS)
    }

    fn apply_all(&self, rules: &str, options: &ApplyOptions, config: &Config, flows: u32) -> Applied {
        self.pair.server.run(|| {
            let instance = Instance::open_or_create(&StateOptions { flows: Some(flows) }).expect("instance");
            let previous = instance.manifest().ok();
            let mut compiled = compiled(rules, previous.as_ref());
            compiled.manifest.config = config.clone();
            let lock = instance.lock().expect("lock");
            instance.apply(&lock, &compiled, options).unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// A packet that comes in.
    pub fn ingress(&self, frame: &Frame) -> Outcome {
        self.judge(Side::Xdp, &frame.bytes())
    }

    /// A packet that leaves.
    pub fn egress(&self, frame: &Frame) -> Outcome {
        self.judge(Side::TcEgress, &frame.bytes())
    }

    /// Runs the program over a frame, and sees which counter it moved. Exactly one counter must move, by one packet.
    pub fn judge(&self, side: Side, frame: &[u8]) -> Outcome {
        self.judge_all(side, &[frame.to_vec()])[0]
    }

    /// The same for many frames, in order.
    pub fn judge_all(&self, side: Side, frames: &[Vec<u8>]) -> Vec<Outcome> {
        self.open(|instance| {
            let ifindex = interface_index(INTERFACE).expect("interface");
            let place = place(instance);
            frames.iter().map(|frame| judge(instance, side, frame, (ifindex, place))).collect()
        })
    }

    /// Does something with a judge that says whether a frame passed and does not look at what was counted: for floods.
    pub fn judging<T: Send>(&self, work: impl FnOnce(&dyn Fn(Side, &Frame) -> bool) -> T + Send) -> T {
        self.open(|instance| {
            let ifindex = interface_index(INTERFACE).expect("interface");
            work(&|side, frame| {
                instance.judge(side, &frame.bytes(), ifindex, 1).unwrap_or_else(|error| panic!("{error}")).passed
            })
        })
    }

    /// Nanoseconds for one run, of many.
    pub fn nanoseconds(&self, side: Side, frame: &Frame, repeat: u32) -> Duration {
        let bytes = frame.bytes();
        self.open(|instance| {
            let ifindex = interface_index(INTERFACE).expect("interface");
            instance.judge(side, &bytes, ifindex, repeat).expect("judge").duration
        })
    }

    /// Does something with the instance, inside its namespace.
    pub fn open<T: Send>(&self, work: impl FnOnce(&Instance) -> T + Send) -> T {
        self.pair.server.run(|| work(&Instance::open().unwrap_or_else(|error| panic!("{error}"))))
    }

    /// Packets and bytes of the counter in the rule with this comment.
    pub fn rule(&self, comment: &str) -> (u64, u64) {
        *self.rules().get(comment).unwrap_or_else(|| panic!("no rule with a counter and the comment `{comment}`"))
    }

    /// Packets and bytes of the first counter of every rule that has one and a comment, by comment.
    pub fn rules(&self) -> BTreeMap<String, (u64, u64)> {
        self.open(|instance| counts(instance, &named_rules(instance)))
    }

    /// For every frame, in order: the comments of the rules that counted it.
    pub fn counted_by(&self, side: Side, frames: &[Vec<u8>]) -> Vec<Vec<String>> {
        self.open(|instance| {
            let ifindex = interface_index(INTERFACE).expect("interface");
            let rules = named_rules(instance);
            let mut before = counts(instance, &rules);
            let one = |frame: &Vec<u8>| {
                instance.judge(side, frame, ifindex, 1).unwrap_or_else(|error| panic!("{error}"));
                let after = counts(instance, &rules);
                let moved = after.iter().filter(|(comment, count)| before[*comment] != **count);
                let moved = moved.map(|(comment, _)| comment.clone()).collect();
                before = after;
                moved
            };
            frames.iter().map(one).collect()
        })
    }

    /// Packets that came in and that left, passed or not, by the interface's counters.
    pub fn seen(&self) -> (u64, u64) {
        self.open(|instance| {
            let traffic = instance.traffic(place(instance)).expect("traffic");
            let packets = |counters: &[Counter]| counters.iter().map(|counter| counter.packets).sum();
            (packets(&traffic.ingress), packets(&traffic.egress))
        })
    }

    /// Packets that came in and were dropped for this reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.open(|instance| instance.traffic(place(instance)).expect("traffic").ingress[reason as usize].packets)
    }

    /// The same of packets that were about to leave.
    pub fn dropped_leaving(&self, reason: Reason) -> u64 {
        self.open(|instance| instance.traffic(place(instance)).expect("traffic").egress[reason as usize].packets)
    }

    /// All live connections.
    pub fn flows(&self) -> Vec<Flow> {
        self.open(|instance| instance.flows().expect("flows").map(|flow| flow.expect("flow")).collect())
    }

    /// The state of the only connection, by name.
    pub fn state(&self) -> Option<&'static str> {
        let flows = self.flows();
        assert!(flows.len() <= 1, "{flows:?}");
        flows.first().map(|flow| flow.slot.state().name())
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        self.pair.server.run(|| {
            if let Ok(instance) = Instance::open()
                && let Ok(lock) = instance.lock()
            {
                let _ = instance.stop(lock);
            }
        });
    }
}

/// The place of the interface that packets of tests come in by.
fn place(instance: &Instance) -> u32 {
    let interfaces = instance.interfaces().expect("interfaces");
    let found = interfaces.iter().find(|one| one.name == INTERFACE);
    found.unwrap_or_else(|| panic!("attached to {interfaces:?}")).place
}

fn judge(instance: &Instance, side: Side, frame: &[u8], (ifindex, place): (u32, u32)) -> Outcome {
    let before = instance.traffic(place).expect("traffic");
    let judgement = instance.judge(side, frame, ifindex, 1).unwrap_or_else(|error| panic!("{error}"));
    let after = instance.traffic(place).expect("traffic");
    assert_eq!(judgement.bytes, frame, "a filter changed the packet");
    let (before, after) = match side {
        Side::Xdp | Side::TcIngress => (before.ingress, after.ingress),
        Side::TcEgress => (before.egress, after.egress),
    };
    let moved: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    let [reason] = moved[..] else { panic!("counters that moved: {moved:?}") };
    assert_eq!(after[reason].packets - before[reason].packets, 1);
    assert_eq!(after[reason].bytes - before[reason].bytes, frame.len() as u64);
    let reason = Reason::from_number(reason as u32).expect("a known reason");
    assert_eq!(judgement.passed, reason == Reason::None, "code and counter disagree: {reason:?}");
    if judgement.passed { Ok(()) } else { Err(reason) }
}

/// The comments of rules that have one and a counter, with the first counter's slot.
fn named_rules(instance: &Instance) -> Vec<(String, u32)> {
    let manifest = instance.manifest().expect("manifest");
    let named = |rule: &RuleRecord| Some((rule.comment.clone()?, rule.counters.first()?.slot));
    manifest.rules.iter().filter_map(named).collect()
}

/// Packets and bytes that they counted.
fn counts(instance: &Instance, rules: &[(String, u32)]) -> BTreeMap<String, (u64, u64)> {
    let counters = instance.rule_counters(rules.iter().map(|(_, slot)| *slot)).expect("counters");
    let count = |slot: &u32| (counters[slot].packets, counters[slot].bytes);
    rules.iter().map(|(comment, slot)| (comment.clone(), count(slot))).collect()
}

/// Compiles rules that must be right.
pub fn compiled(rules: &str, previous: Option<&Manifest>) -> Compiled {
    let interface = |name: &str| interface_index(name);
    let options = Options { interface: &interface, include_directories: Vec::new() };
    let parsed =
        language::parse_text("rules", rules, &options).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    compile(&parsed.ruleset, previous).unwrap_or_else(|error| panic!("{error}"))
}

/// The kernel's number for the calling thread's network namespace, by which pins are kept (`SO_NETNS_COOKIE`).
pub fn cookie() -> u64 {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let (mut cookie, mut length) = (0_u64, size_of::<u64>() as libc::socklen_t);
    #[expect(unsafe_code, reason = "nix has no wrapper for this option")]
    // SAFETY: value and length point to variables of the sizes that are given.
    let answer = unsafe {
        let (value, length) = ((&raw mut cookie).cast(), &raw mut length);
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, value, length)
    };
    assert_eq!(answer, 0, "SO_NETNS_COOKIE: {}", std::io::Error::last_os_error());
    cookie
}
