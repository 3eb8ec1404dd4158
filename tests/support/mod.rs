//! A firewall in a namespace of its own, judged without sending anything.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses the part it needs")]

use std::time::Duration;

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::Frame,
    topology::{INTERFACE, Pair},
};
use firewall_user::{
    compile::{Compiled, compile},
    kernel::{Applied, ApplyOptions, Instance, Side, StateOptions, interface_index},
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
    /// Puts `rules` in force on a new pair's server.
    pub fn new(rules: &str) -> Self {
        Self::on(Pair::new(), rules)
    }

    /// Puts `rules` in force on this pair's server.
    pub fn on(pair: Pair, rules: &str) -> Self {
        let firewall = Self { pair };
        firewall.apply(rules);
        firewall
    }

    /// Puts other rules in force.
    pub fn apply(&self, rules: &str) -> Applied {
        self.try_apply(rules, &ApplyOptions::default())
    }

    /// As above, with options.
    pub fn try_apply(&self, rules: &str, options: &ApplyOptions) -> Applied {
        self.pair.server.run(|| {
            let instance = Instance::open_or_create(&StateOptions { flows: Some(FLOWS) }).expect("instance");
            let previous = instance.manifest().ok();
            let compiled = compiled(rules, previous.as_ref());
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
        let (passed, before, after, bytes) = self.open(|instance| {
            let ifindex = interface_index(INTERFACE).expect("interface");
            let place = instance.interfaces().expect("interfaces")[0].place;
            let before = instance.traffic(place).expect("traffic");
            let judgement = instance.judge(side, frame, ifindex, 1).unwrap_or_else(|error| panic!("{error}"));
            (judgement.passed, before, instance.traffic(place).expect("traffic"), judgement.bytes)
        });
        assert_eq!(bytes, frame, "a filter changed the packet");
        let (before, after) = match side {
            Side::Xdp | Side::TcIngress => (before.ingress, after.ingress),
            Side::TcEgress => (before.egress, after.egress),
        };
        let moved: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        let [reason] = moved[..] else { panic!("counters that moved: {moved:?}") };
        assert_eq!(after[reason].packets - before[reason].packets, 1);
        assert_eq!(after[reason].bytes - before[reason].bytes, frame.len() as u64);
        let reason = Reason::from_number(reason as u32).expect("a known reason");
        assert_eq!(passed, reason == Reason::None, "code and counter disagree: {reason:?}");
        if passed { Ok(()) } else { Err(reason) }
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
        self.open(|instance| {
            let manifest = instance.manifest().expect("manifest");
            let is_it = |rule: &&firewall_user::compile::RuleRecord| rule.comment.as_deref() == Some(comment);
            let rule = manifest.rules.iter().find(is_it).unwrap_or_else(|| panic!("no rule `{comment}`"));
            let slot = rule.counters[0].slot;
            let counter = instance.rule_counters([slot]).expect("counters")[&slot];
            (counter.packets, counter.bytes)
        })
    }

    /// The state of the only connection, by name.
    pub fn state(&self) -> Option<&'static str> {
        self.open(|instance| {
            let flows: Vec<_> = instance.flows().expect("flows").map(|flow| flow.expect("flow")).collect();
            assert!(flows.len() <= 1, "{flows:?}");
            flows.first().map(|flow| flow.slot.state().name())
        })
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

/// Compiles rules that must be right.
pub fn compiled(rules: &str, previous: Option<&firewall_user::compile::Manifest>) -> Compiled {
    let interface = |name: &str| interface_index(name);
    let options = Options { interface: &interface, include_directories: Vec::new() };
    let parsed = language::parse_text("rules", rules, &options).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    compile(&parsed.ruleset, previous).unwrap_or_else(|error| panic!("{error}"))
}
