//! `cargo xtask ci`: everything a change must pass, cheapest first.

use std::process::Command;

use anyhow::Result;

use crate::{
    job::DENY_WARNINGS,
    setup::{self, For},
    shell, tidy,
};

pub(crate) fn run() -> Result<()> {
    shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    setup::run(For::Tests)?;
    clippy()?;
    shell::run(strict(&mut shell::cargo(&["xtask", "test"])))
}

/// Lints every crate but `firewall-ebpf`, which clippy cannot build: its warnings are errors as it is compiled.
fn clippy() -> Result<()> {
    let selection = ["clippy", "--workspace", "--exclude", "firewall-ebpf", "--all-targets", "--", "-D", "warnings"];
    shell::run(strict(&mut shell::cargo(&selection)))
}

/// The same for every step, or the eBPF program would be built twice.
fn strict(command: &mut Command) -> &mut Command {
    command.env(DENY_WARNINGS, "1")
}
