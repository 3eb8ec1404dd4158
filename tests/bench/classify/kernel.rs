//! The same rules and packets in the kernel's nft.
//!
//! One CPU sends the frames into a veth pair (`BPF_F_TEST_XDP_LIVE_FRAMES`) and receives them, where the rules are at the input
//! hook; every address is local there. What rules cost is the time of a packet with them less that with a policy alone, as it is on our
//! side.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use firewall_tests::{referee::Referee, topology::Pair};

use super::{
    driver::FRAME,
    rules::Rule,
    ruleset,
    sender::{self, Sender, received},
};

const RUNS: usize = 2;
/// Rules times packets of a run: nft goes through rules one by one.
const WORK: usize = 1 << 25;

/// A wire with rules at its far end.
pub(crate) struct Wire {
    pair: Pair,
    sender: Sender,
    frames: usize,
}

impl Wire {
    pub(crate) fn new(frames: &[[u8; FRAME]]) -> Self {
        let (pair, sender) = sender::wire(frames);
        Self { pair, sender, frames: frames.len() }
    }

    /// Nanoseconds of a packet from its sender to its drop by nft, the least of several runs.
    pub(crate) fn nanoseconds(&self, rules: &[Rule]) -> u64 {
        let text = ruleset(rules, "input", "counter name seen");
        let _referee = Referee::load(&self.pair.server, &text.replacen('{', "{\ncounter seen {}\n", 1));
        let packets = self.frames.min(WORK / rules.len().max(1)) as u32;
        (0..RUNS).map(|_| self.one(packets)).min().map_or(0, |least| least.as_nanos() as u64)
    }

    fn one(&self, packets: u32) -> Duration {
        let (before, met, started) = (received(&self.pair), self.met(), Instant::now());
        self.pair.client.run(|| self.sender.send_some(packets));
        let took = started.elapsed();
        let (came, met) = ((received(&self.pair) - before) as u32, self.met() - met);
        assert!(met > u64::from(came) / 100 * 99, "{met} of {came} packets came to the rules");
        took / came.max(1)
    }

    /// Packets that came to the rules.
    fn met(&self) -> u64 {
        let list = || Command::new("nft").args(["list", "counter", "inet", "t", "seen"]).output().expect("nft");
        let text = String::from_utf8_lossy(&self.pair.server.run(list).stdout).into_owned();
        let behind = text.split("packets ").nth(1).and_then(|text| text.split(' ').next());
        behind.and_then(|number| number.parse().ok()).expect("a counter")
    }
}
