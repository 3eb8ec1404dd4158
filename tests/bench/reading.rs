//! What reading a ruleset costs: parse, check and compile, beside the kernel's `nft` on the same file.
//!
//! Arguments: ruleset files to read instead of generated ones; `--quick` leaves 100,000 rules out. `nft -c -f` runs in a
//! network namespace of its own, and has the kernel check the ruleset, too: that is how it is asked.

#[path = "../classifier/rules.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with a test")]
mod rules;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use firewall_user::{
    compile::compile,
    language::{Options, parse_text},
};
use rules::{Kind, generate};

const SEED: u64 = 0x5eed;
const RUNS: usize = 5;

/// Seconds for each step.
struct Cost {
    read: Duration,
    compile: Duration,
}

fn ruleset(kind: Kind, count: usize) -> String {
    let mut text = "table inet t {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n".to_owned();
    for (number, rule) in generate(kind, false, count, SEED).iter().enumerate() {
        let verdict = if number % 3 == 0 { "drop" } else { "accept" };
        let _ = writeln!(text, "\t\t{} {verdict} comment \"{number}\"", rule.text());
    }
    text + "\t}\n}\n"
}

/// The least of several runs: the machine does other things, too.
fn ours(text: &str) -> Cost {
    let run = || {
        let start = Instant::now();
        let parsed = parse_text("bench.nft", text, &Options::default()).expect("accepted");
        let read = start.elapsed();
        let compiled = compile(&parsed.ruleset, None).expect("small enough");
        let compile = start.elapsed().saturating_sub(read);
        assert!(!compiled.image.insns.is_empty());
        Cost { read, compile }
    };
    (0..RUNS).map(|_| run()).min_by_key(|cost| cost.read + cost.compile).expect("a run")
}

fn theirs(path: &Path) -> Duration {
    let run = || {
        let start = Instant::now();
        let done =
            Command::new("unshare").args(["-n", "nft", "-c", "-f"]).arg(path).status().expect("unshare is there");
        assert!(done.success());
        start.elapsed()
    };
    (0..RUNS.min(3)).map(|_| run()).min().expect("a run")
}

fn row(name: &str, text: &str, path: &Path) {
    let rules = text.lines().filter(|line| line.contains("comment \"")).count();
    let (Cost { read, compile }, nft) = (ours(text), theirs(path));
    let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
    let both = seconds(read + compile);
    println!("{name:<14}{rules:>8}{:>10}{:>10}{both:>10}{:>10}", seconds(read), seconds(compile), seconds(nft));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let files: Vec<PathBuf> = arguments.iter().filter(|name| !name.starts_with("--")).map(PathBuf::from).collect();
    println!("{:<14}{:>8}{:>10}{:>10}{:>10}{:>10}", "seconds", "rules", "read", "compile", "both", "nft -c -f");
    for path in &files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        row(&name, &fs::read_to_string(path).expect("readable"), path);
    }
    if !files.is_empty() {
        return;
    }
    let scratch = std::env::temp_dir().join(format!("rampart-reading-{}.nft", std::process::id()));
    let counts: &[usize] =
        if arguments.iter().any(|word| word == "--quick") { &[1000, 10_000] } else { &[1000, 10_000, 100_000] };
    for kind in Kind::ALL {
        for count in counts {
            let text = ruleset(kind, *count);
            fs::write(&scratch, &text).expect("a temporary file");
            row(kind.name(), &text, &scratch);
        }
    }
    fs::remove_file(&scratch).expect("removable");
}
