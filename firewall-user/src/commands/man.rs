//! `rampart man`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};

use super::{Status, print};
use crate::cli::{Cli, args::Man};

/// Of the manual: commands for administrators.
const SECTION: &str = "8";

pub(super) fn run(man: &Man) -> Result<Status> {
    let mut command = Cli::command();
    command.build();
    match &man.dir {
        Some(directory) => write_all(&command, directory)?,
        None => print(&String::from_utf8_lossy(&page(&command)?))?,
    }
    Ok(Status::Done)
}

/// A page for rampart and one for each verb: `rampart.8`, `rampart-apply.8` and so on.
fn write_all(command: &Command, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for page_of in std::iter::once(command).chain(command.get_subcommands()) {
        if page_of.get_name() == "help" {
            continue;
        }
        let name = page_of.get_display_name().unwrap_or_else(|| page_of.get_name());
        let path = directory.join(format!("{name}.{SECTION}"));
        fs::write(&path, page(page_of)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).section(SECTION).manual("rampart").render(&mut page)?;
    Ok(page)
}
