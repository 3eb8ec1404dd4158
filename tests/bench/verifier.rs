//! Loads every program of the object with every feature in use, and shows what the verifier had to do. Fails above the
//! budget: a program that grows past it loads slowly today and not at all on some kernel tomorrow.

#[path = "bare.rs"]
#[allow(dead_code, reason = "shared with other measurements")]
mod bare;
#[path = "verifier/stack.rs"]
mod stack;

use std::{os::fd::AsFd, process::ExitCode, time::Instant};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError},
};
use firewall_common::image::{Part, USES_CELLS, USES_LOG, USES_NAMES, USES_NAT, USES_REJECT, USES_SETS, USES_TREES};
use firewall_user::kernel::embedded_object;

/// Instructions the verifier may process for one program; its own limit is 1,000,000 (`BPF_COMPLEXITY_LIMIT_INSNS`,
/// include/linux/bpf.h).
const BUDGET: u32 = 400_000;

/// Parts of the rules, as a generation has them when there are such chains.
const PARTS: [Part; 12] = [
    Part::Input,
    Part::Forward,
    Part::Output,
    Part::Ingress,
    Part::PreroutingRaw,
    Part::Prerouting,
    Part::OutputRaw,
    Part::Postrouting,
    Part::Egress,
    Part::PreroutingEarly,
    Part::OutputEarly,
    Part::InputLate,
];
const TRANSLATING: [Part; 4] = [Part::PreroutingNat, Part::OutputNat, Part::InputNat, Part::PostroutingNat];

/// Rulesets by what they use: a name, their chains, [`firewall_common::image::Settings::uses`].
const KINDS: [(&str, &[&[Part]], u32); 5] = [
    ("a host's filter", &[PARTS.split_at(3).0], 0),
    ("thousands of rules, sets, logs, limits, refusals", &[PARTS.split_at(3).0], MANY),
    ("the same and translation", &[PARTS.split_at(3).0, &TRANSLATING], MANY | USES_NAT),
    ("everything but translation", &[&PARTS], !USES_NAT),
    ("everything", &[&PARTS, &TRANSLATING], u32::MAX),
];
const MANY: u32 = USES_NAMES | USES_LOG | USES_SETS | USES_TREES | USES_CELLS | USES_REJECT;

fn main() -> ExitCode {
    println!(
        "{:22} {:>12} {:>12} {:>12} {:>16} {:>10}",
        "program", "processed", "instructions", "machine code", "stack: one, all", "load"
    );
    let (mut most, mut refused) = (0, false);
    for (name, parts, uses) in KINDS {
        println!("{name}:");
        for processed in kind(parts, uses) {
            most = most.max(processed.unwrap_or(0));
            refused |= processed.is_none();
        }
    }
    println!("budget: {BUDGET} processed instructions a program; the largest needs {most}");
    if refused || most > BUDGET { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Loads the programs of a ruleset that uses this; how many instructions the verifier processed for each.
fn kind(parts: &[&[Part]], uses: u32) -> Vec<Option<u32>> {
    let mut loader = EbpfLoader::new();
    let parts = parts.iter().copied().flatten().fold(0_u32, |parts, part| parts | 1 << *part as u32);
    let loader = loader.override_global("PARTS", &parts, true).override_global("USES", &uses, true);
    let loader = loader.override_global("TRACKING", &u32::MAX, true).override_global("BUCKET_MASK", &1023_u32, true);
    let mut ebpf = loader.map_max_entries("FLOWS", 1024).load(embedded_object()).expect("the object loads");
    GENERATION.iter().map(|name| show(&mut ebpf, name)).collect()
}

/// The programs that every ruleset has anew; those on the interfaces are always the same few instructions.
const GENERATION: [&str; 3] = ["rampart_xdp", "rampart_tc_ingress", "rampart_tc_egress"];

/// Loads a program and prints its row; how many instructions the verifier processed, `None` when it refused.
fn show(ebpf: &mut Ebpf, name: &str) -> Option<u32> {
    let started = Instant::now();
    let program = ebpf.program_mut(name).expect("a program");
    if let Err(error) = load(program) {
        let text = error.to_string();
        // What the verifier was not content with is in front of its summary.
        let end: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        println!("{name:22} refused: {}", end[end.len().saturating_sub(4)..].join(" | "));
        return None;
    }
    let took = started.elapsed();
    let info = program.info().expect("its description");
    let processed = info.verified_instruction_count().unwrap_or(0);
    let instructions = info.size_translated().unwrap_or(0) / 8;
    let code = info.size_jitted();
    let (frame, chain) = stack::depth(&bare::translated(program.fd().expect("it is loaded").as_fd()));
    println!(
        "{name:22} {processed:>12} {instructions:>12} {code:>10} B {frame:>8} {chain:>5} B {:>7.1} ms",
        took.as_secs_f64() * 1000.0
    );
    Some(processed)
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => panic!("a program of an unexpected kind: {other:?}"),
    }
}
