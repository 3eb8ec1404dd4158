//! `cargo xtask demo`: rampart at work between two network namespaces.

use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    bail!("not there yet")
}
