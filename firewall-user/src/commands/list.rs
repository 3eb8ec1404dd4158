//! `rampart list`.

use anyhow::{Result, anyhow};

use super::{Session, Status, open, print, print_json};
use crate::{
    cli::args::List,
    compile::{
        CellRecord,
        listing::{self, Live},
    },
    language::Diagnostics,
};

pub(super) fn run(session: &Session<'_>, list: &List) -> Result<Status> {
    let instance = open()?;
    let manifest = instance.manifest()?;
    let counters = instance.rule_counters(manifest.counters().map(|counter| counter.slot))?;
    let cells = instance.cells(manifest.cells().map(|cell| cell.slot))?;
    let counts = |slot| counters.get(&slot).map_or((0, 0), |counter| (counter.packets, counter.bytes));
    let cell = |cell: &CellRecord| cells.get(&cell.slot).copied().unwrap_or(cell.first);
    let live = Live { counts: &counts, cell: &cell };
    if session.global.json {
        print_json(&listing::json(&manifest, live).map_err(|error| unreadable(&error))?)?;
    } else {
        print(&listing::listing(&manifest, live, list.handle).map_err(|error| unreadable(&error))?)?;
    }
    Ok(Status::Done)
}

fn unreadable(diagnostics: &Diagnostics) -> anyhow::Error {
    let first = diagnostics.iter().next().map_or("no reason given", |diagnostic| &diagnostic.message);
    anyhow!("the ruleset kept in the kernel cannot be read any more: {first}")
}
