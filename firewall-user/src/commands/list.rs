//! `rampart list`.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
};

use anyhow::{Context, Result, anyhow};
use firewall_common::counter::Counter;
use serde::de::DeserializeOwned;

use super::{OUTPUT, Session, Status, open};
use crate::{
    cli::args::List,
    compile::{
        CellRecord,
        listing::{Live, Printed},
    },
    kernel::{Instance, KernelError, Lock},
    language::Diagnostics,
};

/// How often rules and counts are read because other rules were put in force between the two.
const ATTEMPTS: u32 = 8;

/// The same for who sets back what is read: once, under the lock that keeps others from putting rules in force.
pub(super) const fn attempts(reset: bool) -> u32 {
    if reset { 1 } else { ATTEMPTS }
}

pub(super) fn run(session: &Session<'_>, list: &List) -> Result<Status> {
    let instance = open()?;
    let lock = list.reset.then(|| instance.lock()).transpose()?;
    let (printed, counts): (Printed, _) = coherent(&instance, attempts(list.reset), |printed: &Printed| {
        Counts::read(&instance, lock.as_ref(), printed.counters(), printed.quotas())
    })?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = if session.global.json {
        counts.show(|live| printed.write_json(live, &mut out)).map_err(|error| unreadable(&error))?
    } else {
        counts.show(|live| printed.write(live, list.handle, &mut out))
    };
    written.and_then(|()| out.flush()).context(OUTPUT)?;
    Ok(Status::Done)
}

/// The rules in force and what belongs to them: if others were put in force meanwhile, both are read again, `most` times. A counter's
/// place may be another rule's two generations later.
pub(super) fn coherent<T: DeserializeOwned, C>(
    instance: &Instance,
    most: u32,
    read: impl Fn(&T) -> Result<C, KernelError>,
) -> Result<(T, C), KernelError> {
    let mut attempts = 1;
    loop {
        let generation = instance.generation()?;
        let found = instance.part_of_manifest(generation).and_then(|rules| Ok((read(&rules)?, rules)));
        match found {
            // Replaced while it was read.
            _ if instance.generation()? != generation && attempts < most => attempts += 1,
            found => return found.map(|(counts, rules)| (rules, counts)),
        }
    }
}

/// What was counted.
struct Counts {
    counters: HashMap<u32, Counter>,
    quotas: HashMap<u32, u64>,
}

impl Counts {
    /// Reads, and with the lock sets back what was read.
    fn read(
        instance: &Instance,
        reset: Option<&Lock>,
        counters: impl IntoIterator<Item = u32> + Clone,
        quotas: impl IntoIterator<Item = u32>,
    ) -> Result<Self, KernelError> {
        Ok(match reset {
            Some(lock) => {
                Self { counters: instance.reset_counters(lock, counters)?, quotas: instance.reset_cells(lock, quotas)? }
            }
            None => Self { counters: instance.rule_counters_since_reset(counters)?, quotas: instance.cells(quotas)? },
        })
    }

    fn show<T>(&self, show: impl FnOnce(Live<'_>) -> T) -> T {
        let counts = |slot| self.counters.get(&slot).map_or((0, 0), |counter| (counter.packets, counter.bytes));
        let cell = |cell: &CellRecord| self.quotas.get(&cell.slot).copied().unwrap_or(cell.first);
        show(Live { counts: &counts, cell: &cell })
    }
}

fn unreadable(diagnostics: &Diagnostics) -> anyhow::Error {
    let first = diagnostics.iter().next().map_or("no reason given", |diagnostic| &diagnostic.message);
    anyhow!("the ruleset kept in the kernel cannot be read any more: {first}")
}
