//! How long `rampart apply` takes, by number of rules: the first one, and one that replaces it. The command as a user runs it, in a
//! network namespace with one interface, and beside it `nft -f` with the same file. Of several runs the least.

#[path = "../classifier/rules.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with a test")]
mod rules;

use std::{
    fmt::Write,
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use firewall_tests::{
    command::{self, Rampart, Scratch, rampart_path},
    topology::{INTERFACE, Pair},
};
use rules::{Kind, generate};

const SEED: u64 = 0x5eed;
const RUNS: usize = 5;

fn ruleset(count: usize) -> String {
    let mut text = "flush ruleset\ntable inet t {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\t\tct state established,related accept\n".to_owned();
    for (number, rule) in generate(Kind::Acl, false, count, SEED).iter().enumerate() {
        let verdict = if number % 3 == 0 { "drop" } else { "accept" };
        let _ = writeln!(text, "\t\t{} {verdict}", rule.text());
    }
    text + "\t}\n}\n"
}

/// Wall time of a command, and what it printed.
fn timed(mut command: Command) -> (Duration, String) {
    let started = Instant::now();
    let output = command.stderr(Stdio::inherit()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}");
    (started.elapsed(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Seconds until the rules are in force, and of the whole command.
fn apply(pair: &Pair, file: &str) -> (f64, f64) {
    let mut command = Command::new(rampart_path());
    command.args(["apply", "--json", "-i", INTERFACE, "--netns", pair.server.name(), file]);
    let (whole, json) = timed(command);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    (json["seconds"].as_f64().expect("a number"), whole.as_secs_f64())
}

fn least(one: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    (one.0.min(other.0), one.1.min(other.1))
}

fn main() {
    println!("seconds: in force (whole command); {:>9} {:>16} {:>16} {:>8}", "rules", "first", "replacing", "nft -f");
    for count in [10, 100, 1_000, 10_000] {
        let files = Scratch::new();
        let path = files.write("rules.nft", ruleset(count));
        let file = path.to_string_lossy().into_owned();
        let (mut first, mut next, mut nft) = ((f64::MAX, f64::MAX), (f64::MAX, f64::MAX), f64::MAX);
        for _ in 0..RUNS {
            let pair = Pair::new();
            let rampart = Rampart::on(&pair.server);
            first = least(first, apply(&pair, &file));
            next = least(next, apply(&pair, &file));
            drop(rampart);
            let started = Instant::now();
            command::run(Some(&pair.client), "nft", &["-f", &file], "").check();
            nft = nft.min(started.elapsed().as_secs_f64());
        }
        let show = |(force, whole): (f64, f64)| format!("{force:.3} ({whole:.3})");
        println!("{:34} {count:>9} {:>16} {:>16} {nft:>8.3}", "", show(first), show(next));
        fs::remove_file(&path).expect("it was written");
    }
}
