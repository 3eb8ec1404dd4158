//! `cargo xtask bench`: what things cost, measured in the kernel of this machine.

use anyhow::Result;

use crate::{
    build,
    setup::{self, For},
    shell,
};

/// What to measure.
#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Nanoseconds a packet, by kind of packet
    Program,
    /// Nanoseconds a new packet, by number of rules
    Classify,
    /// Nanoseconds a packet, by number of connections, and connections a second
    Conntrack,
    /// Look-ups in large sets, changes of one element, seconds to fill one
    Sets,
    /// Seconds until a ruleset is in force
    Apply,
    /// Nanoseconds a packet of counters, logs, traces and captures
    Observing,
    /// Seconds to read a ruleset, beside the kernel's nft
    Reading,
    /// Packets dropped a second over a veth pair: nothing but a drop, rampart, the kernel's nft
    Drops,
    /// Packets forwarded a second over veth pairs: the kernel, nft, rampart, its fast path, a plain redirect
    Forward,
    /// New translated connections a second: no rules, the kernel's nft, rampart
    Nat,
    /// Requests a second and their time while there is a SYN flood: no firewall, the kernel's nft, rampart; and what a packet costs
    Floods,
}

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value = "program")]
    what: What,
    /// What it is to measure, of those that can be told: files, `--quick`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    shell::need_root("measuring in the kernel", "cargo xtask bench")?;
    setup::run(For::Tests)?;
    let name = match arguments.what {
        What::Program => "program",
        What::Classify => "classify",
        What::Conntrack => "conntrack",
        What::Sets => "sets",
        What::Apply => "apply",
        What::Observing => "observing",
        What::Reading => "reading",
        What::Drops => "drops",
        What::Forward => "forward",
        What::Nat => "nat",
        What::Floods => "floods",
    };
    // Some run the command itself, which lies beside them.
    build::rampart(true)?;
    let more = arguments.more.iter().map(String::as_str);
    let all: Vec<&str> = bench_of(name).into_iter().chain(more.clone().next().map(|_| "--")).chain(more).collect();
    shell::run(&mut shell::cargo(&all))
}

/// Runs a measuring program of the tests package.
pub(crate) fn bench(name: &str) -> Result<()> {
    shell::run(&mut shell::cargo(&bench_of(name)))
}

fn bench_of(name: &str) -> [&str; 6] {
    ["bench", "--quiet", "--package", "firewall-tests", "--bench", name]
}
