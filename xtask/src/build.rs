//! `cargo xtask build`: the `rampart` binary with the eBPF program inside, or that program alone.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    frames,
    job::Job,
    setup::{self, For},
    shell,
    toolchain::Toolchain,
};

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build for debugging, not for use
    #[arg(long)]
    debug: bool,
    /// Build the eBPF object alone, with the compiler's messages as they come
    #[arg(long, conflicts_with = "debug")]
    ebpf: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let toolchain = setup::run(For::Builds)?;
    if arguments.ebpf {
        return object(&toolchain);
    }
    rampart(!arguments.debug)
}

/// Builds the `rampart` binary.
pub(crate) fn rampart(release: bool) -> Result<()> {
    let mut command = shell::cargo(&["build", "--package", "firewall-user"]);
    if release {
        command.arg("--release");
    }
    shell::run(&mut command)?;
    let profile = if release { "release" } else { "debug" };
    println!("built       target/{profile}/rampart");
    Ok(())
}

/// Builds the eBPF object.
fn object(toolchain: &Toolchain) -> Result<()> {
    let job = Job { workspace: shell::root(), target: shell::root().join("target/ebpf"), debug_log: false };
    shell::run(&mut job.command(toolchain).context("preparing the eBPF build")?)?;
    let object = job.object();
    let mut bytes = fs::read(&object).with_context(|| object.display().to_string())?;
    frames::whole(&mut bytes).map_err(anyhow::Error::msg)?;
    fs::write(&object, bytes).with_context(|| object.display().to_string())?;
    println!("built       {}", object.strip_prefix(shell::root()).unwrap_or(&object).display());
    Ok(())
}
