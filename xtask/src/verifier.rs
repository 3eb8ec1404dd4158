//! `cargo xtask verifier`: what the kernel's verifier has to do for the largest configuration, and that it stays within
//! the budget.

use anyhow::Result;

use crate::{
    bench,
    setup::{self, For},
    shell,
};

/// Nothing to say.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments) -> Result<()> {
    shell::need_root("loading the programs", "cargo xtask verifier")?;
    setup::run(For::Tests)?;
    bench::bench("verifier")
}
