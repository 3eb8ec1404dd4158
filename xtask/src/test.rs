//! `cargo xtask test`: every rung of tests, and one line at the end that says how it went.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{
    build,
    setup::{self, For},
    shell,
};

/// Which tests to run.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Only tests that need neither root nor an eBPF toolchain
    #[arg(long, conflicts_with = "kernel")]
    host: bool,
    /// Only tests that run in the kernel
    #[arg(long)]
    kernel: bool,
    /// Passed to `cargo test`: a filter, `--test NAME` and the like
    #[arg(allow_hyphen_values = true)]
    filter: Vec<String>,
    /// Passed to the test programs
    #[arg(last = true)]
    options: Vec<String>,
}

/// Tests counted, over all test programs.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// Test programs that could not be built or did not get to their end.
    broken: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut tally = Tally::default();
    if !arguments.host {
        shell::need_root("running tests in the kernel (all but `cargo xtask test --host`)", "cargo xtask test")?;
        setup::run(For::Tests)?;
    }
    if !arguments.kernel {
        cargo_test(&[], arguments, &mut tally)?;
    }
    if !arguments.host {
        build::rampart(false)?;
        cargo_test(&["--package", "firewall-tests"], arguments, &mut tally)?;
    }
    tally.report()
}

/// Runs `cargo test`, passes on what it prints and counts.
fn cargo_test(selection: &[&str], arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let mut command = shell::cargo(&["test", "--no-fail-fast"]);
    command.args(selection).args(&arguments.filter).stdout(Stdio::piped());
    if !arguments.options.is_empty() {
        command.arg("--").args(&arguments.options);
    }
    let line = shell::show(&command);
    let before = tally.failed;
    let mut child = command.spawn().with_context(|| format!("cannot run `{line}`"))?;
    let output = child.stdout.take().context("the output was asked for")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("reading what cargo test prints")?;
        println!("{line}");
        tally.add(&line);
    }
    let status = child.wait().with_context(|| format!("waiting for `{line}`"))?;
    if !status.success() && tally.failed == before {
        tally.broken.push(format!("`{line}`: {status}"));
    }
    Ok(())
}

impl Tally {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ..`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result:").and_then(|rest| rest.split_once(". ")) else { return };
        for count in counts.1.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    fn report(&self) -> Result<()> {
        for broken in &self.broken {
            println!("did not finish: {broken}");
        }
        println!("\n{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed > 0 || !self.broken.is_empty() {
            bail!("not all tests passed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_cargo_test_says() {
        let mut tally = Tally::default();
        tally.add("test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.01s");
        tally.add("test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tally.add("test something::passed ... ok");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (7, 1, 2));
    }
}
