//! `cargo xtask fuzz`: the tests' own changes to rulesets, for as long as one likes.

use anyhow::Result;
use clap::Args;

use crate::shell;

#[derive(Args)]
pub(crate) struct Arguments {
    /// So many changed rulesets; half a million take about ten minutes
    #[arg(long, default_value_t = 500_000)]
    cases: u32,
    /// Build with debug assertions: slower, and arithmetic that overflows is an error
    #[arg(long)]
    debug: bool,
}

/// Runs the fuzz test in a release build. It ends at the first find, with the text made as short as it gets.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut words = vec!["test", "-p", "firewall-tests", "--test", "ruleset_fuzz"];
    if !arguments.debug {
        words.push("--release");
    }
    words.extend(["any_text", "--", "--nocapture"]);
    println!(
        "{} changed rulesets; a find goes to tests/data/fuzz under a name that says what was wrong",
        arguments.cases
    );
    let mut command = shell::cargo(&words);
    shell::run(command.env("PROPTEST_CASES", arguments.cases.to_string()))
}
