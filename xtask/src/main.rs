//! Everything that is done to rampart rather than by it. `cargo xtask --help` lists it.

mod bench;
mod build;
mod ci;
mod demo;
#[path = "../../firewall-user/build/frames.rs"]
mod frames;
mod fuzz;
#[path = "../../firewall-user/build/job.rs"]
mod job;
mod setup;
mod shell;
mod test;
mod tidy;
#[path = "../../firewall-user/build/toolchain.rs"]
mod toolchain;
mod verifier;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything that is done to rampart rather than by it")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what building and testing needs: eBPF compiler, bpf-linker, test tools
    Setup,
    /// Build the `rampart` binary, or with --ebpf the eBPF object alone
    Build(build::Arguments),
    /// Run the tests: the host's, then (as root) those in the kernel
    Test(test::Arguments),
    /// Show rampart at work between two network namespaces (as root)
    Demo,
    /// Measure what a packet costs (as root)
    Bench(bench::Arguments),
    /// Read changed rulesets without end, to find those that are read wrongly
    Fuzz(fuzz::Arguments),
    /// Load the programs and report what the verifier says about them (as root)
    Verifier(verifier::Arguments),
    /// Everything a change must pass: format, lints, house rules, all tests
    Ci,
    /// Check the house rules that no compiler knows
    Tidy,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(setup::For::Tests).map(|_| ()),
        Task::Build(arguments) => build::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Demo => demo::run(),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Verifier(arguments) => verifier::run(&arguments),
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
