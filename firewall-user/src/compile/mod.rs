//! A checked ruleset to the image that the programs run.
//!
//! Chains of a hook stand in the order of their priorities. A jump becomes a copy of the chain jumped to that goes on
//! where the jump stands, so at run time there is no call stack and every packet walks forward only. Copies that go
//! on at the same place are shared.

mod assembler;
mod chains;
mod concat;
mod data;
mod fetch;
mod hash;
mod header;
mod manifest;
mod nat;
mod numbers;
mod parts;
mod reading;
mod records;
mod sets;
mod slots;
mod state;
mod stateful;
#[cfg(test)]
mod tests;
pub mod verdicts;
mod words;

pub mod listing;

use firewall_common::{
    classify::build::Tuning,
    image::{Image, Part, USES_FAST},
    limits::{MAX_CELLS, MAX_LEAF_ENTRIES, MAX_RULE_COUNTERS, MAX_SET_STEPS, MAX_STEPS},
    packet::REGISTERS,
};

use self::manifest::Built;
pub use self::records::{
    CellRecord, ChainRecord, CounterRecord, Filling, HoleRecord, LogRecord, Manifest, Needs, ObjectRecord, QuotaRecord,
    RuleRecord, SCHEMA, SetRecord, SourceRecord, TableRecord,
};
pub use self::state::{NoRoom, StateElement, StateSet, neighbours};
use crate::language::Ruleset;

/// Intervals that a lookup can halve down to one.
const MAX_INTERVALS: usize = 1 << MAX_SET_STEPS;

/// What a ruleset becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// What the programs run.
    pub image: Image,
    /// What a person wants to know about it.
    pub manifest: Manifest,
    /// Counter slots that no rule of the previous ruleset had: they must be set to their first values.
    pub fresh_counters: Vec<u32>,
    /// Cells of limits and quotas likewise.
    pub fresh_cells: Vec<u32>,
    /// The sets that are state.
    pub sets: Vec<StateSet>,
}

/// Why a ruleset cannot be compiled. Everything about its meaning was checked before: what is left is size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The jumps make too many copies of chains.
    #[error(
        "chain `{chain}` of table `{table}`: with the chains jumped to, the ruleset has more than {MAX_STEPS} instructions; \
         use sets instead of many rules, or jump to large chains from fewer places"
    )]
    TooLong {
        /// The table.
        table: String,
        /// The chain being written when it became too much.
        chain: String,
    },
    /// A set that a lookup could not search to its end.
    #[error("chain `{chain}` of table `{table}`: a set of more than {MAX_INTERVALS} separate values or ranges")]
    SetTooLarge {
        /// The table.
        table: String,
        /// The chain that looks into the set.
        chain: String,
    },
    /// More values that have to be computed first than there is room for.
    #[error(
        "chain `{chain}` of table `{table}`: a concatenation of more computed values than fit into {REGISTERS} words of 32 bits; \
         write some of them as matches of their own"
    )]
    TooManyValues {
        /// The table.
        table: String,
        /// The chain that has it.
        chain: String,
    },
    /// Rules that overlap in too many ways.
    #[error(
        "the rules overlap in so many ways that their trees have {entries} entries, more than {MAX_LEAF_ENTRIES}; these \
         have the most:\n  {}", .most.join("\n  ")
    )]
    TooManyEntries {
        /// Entries of all leaves.
        entries: usize,
        /// Rules, by place and text.
        most: Vec<String>,
    },
    /// What the programs do not do yet.
    #[error("chain `{chain}` of table `{table}`: {what}")]
    NotEnforced {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// What it asks for, and what to do.
        what: &'static str,
    },
    /// More named sets than there are places.
    #[error("more than {} named sets", firewall_common::sets::MAX_NAMED_SETS)]
    TooManySets,
    /// What the language has and the programs do not do yet.
    #[error("{} `{name}` of table `{table}`: {what} not supported here", .kind)]
    NotYet {
        /// The table.
        table: String,
        /// `set` or `map`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it has.
        what: &'static str,
    },
    /// More counters than there are slots.
    #[error(
        "the ruleset has more than {MAX_RULE_COUNTERS} rules with counters, those of the previous ruleset included"
    )]
    TooManyCounters,
    /// More limits and quotas than there are cells.
    #[error("the ruleset has more than {MAX_CELLS} limits and quotas, those of the previous ruleset included")]
    TooManyCells,
    /// Something that has no data plane yet.
    #[error("{file}:{line}: `{what}` is understood, but cannot be carried out yet: {reason}")]
    NoDataPlane {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// The statement.
        what: String,
        /// Why.
        reason: &'static str,
    },
}

/// Compiles a ruleset. Rules that `previous` has too keep their counter slots and handles.
pub fn compile(ruleset: &Ruleset, previous: Option<&Manifest>) -> Result<Compiled, CompileError> {
    compile_tuned(ruleset, previous, &Tuning::default())
}

/// The same with other trees: for tests and measurements.
pub fn compile_tuned(
    ruleset: &Ruleset,
    previous: Option<&Manifest>,
    tuning: &Tuning,
) -> Result<Compiled, CompileError> {
    let mut sets = sets::states(ruleset, previous)?;
    let Built { mut manifest, fresh_counters, fresh_cells } = manifest::build(ruleset, previous)?;
    sets::record(&sets, &mut manifest);
    sets::counts(ruleset, previous, &mut manifest, &mut sets)?;
    let image = image(ruleset, &mut manifest, &sets, tuning)?;
    manifest.needs = Needs {
        fast_path: image.settings.uses & USES_FAST != 0,
        rewrites: image.rewrites(),
        device_chains: !image.settings.entry[Part::Egress as usize].is_verdict(),
    };
    Ok(Compiled { image, manifest, fresh_counters, fresh_cells, sets })
}

/// The image, and in the manifest which verdicts its rules can carry out that look into maps. Where there would be too much of
/// jumps that no map has, or some chain cannot be jumped to from everywhere, there are only those that maps have.
fn image(
    ruleset: &Ruleset,
    manifest: &mut Manifest,
    sets: &[StateSet],
    tuning: &Tuning,
) -> Result<Image, CompileError> {
    sets::record_verdicts(ruleset, manifest, true);
    let image = chains::image(ruleset, (manifest, sets), tuning);
    if image.is_ok() || !manifest.sets.iter().any(|set| !set.verdicts.is_empty()) {
        return image;
    }
    sets::record_verdicts(ruleset, manifest, false);
    chains::image(ruleset, (manifest, sets), tuning)
}
