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
use firewall_user::kernel::embedded_object;

/// Instructions the verifier may process for one program; its own limit is 1,000,000 (`BPF_COMPLEXITY_LIMIT_INSNS`,
/// include/linux/bpf.h).
const BUDGET: u32 = 250_000;

/// Stack that a program's calls may take together, bytes: `MAX_BPF_STACK` (include/linux/filter.h).
const STACK: u32 = 512;

/// Constants that put every feature to use: each hook has chains, every instruction occurs.
const ENTRIES: [&str; 16] = [
    "ENTRY_INGRESS",
    "ENTRY_PREROUTING_RAW",
    "ENTRY_PREROUTING",
    "ENTRY_INPUT",
    "ENTRY_FORWARD",
    "ENTRY_OUTPUT_RAW",
    "ENTRY_OUTPUT",
    "ENTRY_POSTROUTING",
    "ENTRY_EGRESS",
    "ENTRY_PREROUTING_EARLY",
    "ENTRY_OUTPUT_EARLY",
    "ENTRY_INPUT_LATE",
    "ENTRY_PREROUTING_NAT",
    "ENTRY_OUTPUT_NAT",
    "ENTRY_INPUT_NAT",
    "ENTRY_POSTROUTING_NAT",
];

fn main() -> ExitCode {
    let mut loader = EbpfLoader::new();
    for entry in ENTRIES {
        loader.override_global(entry, &0_u32, true);
    }
    loader.override_global("USES", &u32::MAX, true).override_global("TRACKING", &u32::MAX, true).override_global(
        "BUCKET_MASK",
        &1023_u32,
        true,
    );
    let mut ebpf = loader.map_max_entries("FLOWS", 1024).load(embedded_object()).expect("the object loads");
    println!(
        "{:22} {:>12} {:>12} {:>12} {:>16} {:>10}",
        "program", "processed", "instructions", "machine code", "stack: one, all", "load"
    );
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    let mut most = 0;
    for name in names {
        most = most.max(show(&mut ebpf, &name));
    }
    println!("budget: {BUDGET} processed instructions a program; the largest needs {most}");
    if most > BUDGET { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Loads a program and prints its row; how many instructions the verifier processed.
fn show(ebpf: &mut Ebpf, name: &str) -> u32 {
    let started = Instant::now();
    let program = ebpf.program_mut(name).expect("a program");
    load(program).unwrap_or_else(|error| panic!("{name}: {error}"));
    let took = started.elapsed();
    let info = program.info().expect("its description");
    let processed = info.verified_instruction_count().unwrap_or(0);
    let instructions = info.size_translated().unwrap_or(0) / 8;
    let code = info.size_jitted();
    let (frame, chain) = stack::depth(&bare::translated(program.fd().expect("it is loaded").as_fd()));
    assert!(chain <= STACK, "{name}: the verifier would have refused a chain of {chain} bytes: it is read off wrongly");
    println!(
        "{name:22} {processed:>12} {instructions:>12} {code:>10} B {frame:>8} {chain:>5} B {:>7.1} ms",
        took.as_secs_f64() * 1000.0
    );
    processed
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => panic!("a program of an unexpected kind: {other:?}"),
    }
}
