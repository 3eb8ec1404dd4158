//! Packets on their way through two routers, ours and nft's.

use std::sync::{Mutex, PoisonError};

use firewall_tests::packet::{Frame, Network};
use proptest::{
    prelude::any,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use crate::{
    compare, grammar, seed,
    support::{
        both::{Both, WRITES, Way},
        near::{Random, Values},
    },
    taken,
};

/// What the stack takes off the time to live before the forward hook is off at all hooks behind.
const LIVES: &str = "table ip t {
    chain before { type filter hook prerouting priority -150; ip ttl 64 counter; ip ttl 63 counter; ip ttl < 3 counter; }
    chain within {
        type filter hook forward priority 0; policy drop;
        ip ttl 64 counter
        ip ttl 63 counter
        ip ttl { 1, 2, 254 } counter
        ip ttl > 63 counter
        oifname \"beyond\" tcp dport 1-1000 counter accept
        meta l4proto { udp, icmp } counter accept
    }
    chain behind { type filter hook postrouting priority 0; ip ttl 63 counter; ip ttl != 63 counter; iifname \"eth0\" counter; }
}
";

/// A packet to somebody beyond, for every number.
fn packets(ruleset: &str, seed: u64, count: usize) -> Vec<(Way, Frame)> {
    let (values, mut random) = (Values::of(ruleset), Random::new(seed));
    let mut all = Vec::new();
    while all.len() < count {
        let mut frame = values.packet(Way::In, &mut random);
        let Network::Ipv4(ipv4) = &mut frame.network else { continue };
        ipv4.destination = std::net::Ipv4Addr::new(192, 0, 2, 130 + random.below(100) as u8);
        (ipv4.ttl, ipv4.options) = (random.pick(&[1, 2, 3, 63, 64, 65, 255]), Vec::new());
        let number = all.len();
        all.push((Way::In, frame.payload(&vec![0; number])));
    }
    all
}

#[test]
fn a_time_to_live_is_what_the_stack_has_left_of_it() {
    let mut both = Both::new();
    both.forward();
    compare(&mut both, LIVES, &packets(LIVES, seed(), 200)).unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn random_routers_mean_what_they_mean_to_nft() {
    let seed = seed();
    println!("seed {seed} (RAMPART_SEED={seed} repeats it)");
    let (plain, by_tc) = (Mutex::new(Both::new()), Mutex::new(Both::by_tc()));
    for (both, first) in [(&plain, ""), (&by_tc, WRITES)] {
        let mut both = both.lock().unwrap_or_else(PoisonError::into_inner);
        both.forward();
        both.replace(first);
    }
    let config = Config { cases: 15, max_shrink_iters: 20, failure_persistence: None, ..Config::default() };
    let bytes: [u8; 32] = std::array::from_fn(|at| seed.to_le_bytes()[at % 8]);
    let runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = { runner }.run(&(grammar::router(), any::<u64>()), |(ruleset, seed)| {
        let ruleset = taken(&ruleset);
        let both = if Both::is_by_tc(&ruleset) { &by_tc } else { &plain };
        let mut both = both.lock().unwrap_or_else(PoisonError::into_inner);
        both.replace("");
        compare(&mut both, &ruleset, &packets(&ruleset, seed, 150)).map_err(TestCaseError::fail)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
