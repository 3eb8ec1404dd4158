//! `rampart completions`.

use anyhow::Result;
use clap::CommandFactory;

use super::{Status, print};
use crate::cli::{Cli, args::Completions};

pub(super) fn run(completions: &Completions) -> Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "rampart", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Status::Done)
}
