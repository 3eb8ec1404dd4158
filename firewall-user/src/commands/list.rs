//! `rampart list`.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use firewall_common::counter::Counter;

use super::{Session, Status, open, print, print_json};
use crate::{
    cli::args::List,
    compile::{Manifest, listing},
    kernel::{Instance, KernelError},
    language::Diagnostics,
};

pub(super) fn run(session: &Session<'_>, list: &List) -> Result<Status> {
    let instance = open()?;
    let manifest = instance.manifest()?;
    let counters = counters(&instance, &manifest)?;
    let counts = |slot| counters.get(&slot).map_or((0, 0), |counter| (counter.packets, counter.bytes));
    if session.global.json {
        print_json(&listing::json(&manifest, &counts).map_err(|error| unreadable(&error))?)?;
    } else {
        print(&listing::listing(&manifest, &counts, list.handle).map_err(|error| unreadable(&error))?)?;
    }
    Ok(Status::Done)
}

/// What the rules have counted.
fn counters(instance: &Instance, manifest: &Manifest) -> Result<HashMap<u32, Counter>, KernelError> {
    let slots = manifest.rules.iter().flat_map(|rule| rule.counters.iter().map(|counter| counter.slot));
    instance.rule_counters(slots)
}

fn unreadable(diagnostics: &Diagnostics) -> anyhow::Error {
    let first = diagnostics.iter().next().map_or("no reason given", |diagnostic| &diagnostic.message);
    anyhow!("the ruleset kept in the kernel cannot be read any more: {first}")
}
