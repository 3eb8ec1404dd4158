//! The document that describes a compiled ruleset, record by record.

use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, FastPath},
    language::{
        self, Diagnostics, Options, Ruleset,
        ruleset::{Object, Table},
    },
};

/// Version of the document.
pub const SCHEMA: &str = "rampart/1";

/// A compiled ruleset, described.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The texts it was read from, first the one that includes the others.
    pub sources: Vec<SourceRecord>,
    /// The ruleset as canonical text.
    pub canonical: String,
    /// Where in it what is live stands, in order.
    #[serde(default)]
    pub holes: Vec<HoleRecord>,
    /// Interfaces that `iif` and `oif` named, with their indexes at that time.
    pub interfaces: Vec<(u32, String)>,
    /// Its tables, in order.
    pub tables: Vec<TableRecord>,
    /// Its named sets, in order of tables.
    pub sets: Vec<SetRecord>,
    /// Where rules count connections for themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<SetRecord>,
    /// Its named counters, quotas and the like, in order of tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRecord>,
    /// Its chains, in order of tables.
    pub chains: Vec<ChainRecord>,
    /// Its rules, in order of chains.
    pub rules: Vec<RuleRecord>,
    /// Interfaces of the flowtable that rules add connections to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flow_devices: Vec<String>,
    /// What of it decides how interfaces are attached.
    #[serde(default)]
    pub needs: Needs,
    /// The settings it was put in force with.
    #[serde(default)]
    pub config: Config,
}

/// What of a ruleset decides how interfaces are attached, and by which packets may take the fast path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Some rule gives connections the fast path.
    pub fast_path: bool,
    /// Some rule writes what a checksum covers.
    pub rewrites: bool,
    /// Some chain of a device sees packets leave.
    pub device_chains: bool,
}

impl Manifest {
    /// May packets take the fast path, by rules or by settings?
    pub fn has_fast_path(&self) -> bool {
        self.needs.fast_path || self.config.forwarding.fast_path == FastPath::All
    }

    /// Are packets written to, so that their checksums must be whole?
    pub fn rewrites(&self) -> bool {
        self.needs.rewrites || self.has_fast_path()
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its path.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// `inet`, `ip` or `ip6`.
    pub family: String,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// The next handle in it that was never given.
    pub next_handle: u64,
}

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRecord {
    /// Its table's family.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// Its number in the map of sets, when it is state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// What must stay the same for its elements to stay.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub declaration: String,
    /// The verdicts that it can give, as [`super::verdicts::number`] has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<u64>,
}

/// A named counter, quota or the like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its table's family.
    pub family: String,
    /// Its table.
    pub table: String,
    /// `counter`, `quota` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// Where it counts, for a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<CounterRecord>,
    /// Where its state is, for a quota or a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellRecord>,
    /// What it allows, for a quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaRecord>,
    /// What it says, where that makes it another object with a state of its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A place in the canonical text: where it starts and ends, and what a listing has there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleRecord(pub u32, pub u32, pub Filling);

/// What a listing has at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filling {
    /// A handle.
    #[serde(rename = "h")]
    Handle(u64),
    /// What the counter in this slot counted.
    #[serde(rename = "c")]
    Counter(u32),
    /// What is used of a quota, and what it allows.
    #[serde(rename = "q")]
    Quota(CellRecord, QuotaRecord),
}

/// What a quota allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRecord {
    /// Does it match what is over it?
    pub over: bool,
    /// Bytes.
    pub bytes: u64,
}

/// The state of a limit or quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellRecord {
    /// Where it is.
    pub slot: u32,
    /// What it starts from, when the slot is fresh.
    pub first: u64,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// Its number: in an instruction that carries out its policy.
    pub number: u32,
    /// Its handle.
    pub handle: u64,
    /// Its table's family.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its hook, for a base chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// Its priority, for a base chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// `accept` or `drop`, for a base chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its number, as in the image's instructions and in events.
    pub number: u32,
    /// Its handle.
    pub handle: u64,
    /// What makes it the same rule in another ruleset: hash of table, chain, text, and which of several same ones.
    pub identity: String,
    /// Its table's family.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The file it was written in.
    pub file: String,
    /// The line there.
    pub line: u32,
    /// Its canonical text, counters without numbers.
    pub text: String,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its counters, left to right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<CounterRecord>,
    /// Its log statements, left to right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogRecord>,
    /// States of its limits, left to right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<CellRecord>,
    /// States of its quotas, left to right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<CellRecord>,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRecord {
    /// Where it counts.
    pub slot: u32,
    /// Packets to start from, when the slot is fresh.
    pub packets: u64,
    /// Bytes to start from, when the slot is fresh.
    pub bytes: u64,
}

/// A log statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its number, as in the image's instructions and in events.
    pub number: u32,
    /// Its prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Its level.
    pub level: String,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u16>,
}

/// A ruleset from text that a manifest has, with the interfaces that it knew.
pub(super) fn parsed(text: &str, interfaces: &[(u32, String)]) -> Result<Ruleset, Diagnostics> {
    let interface = |name: &str| interfaces.iter().find(|(_, known)| known == name).map(|(index, _)| *index);
    let options = Options { interface: &interface, include_directories: Vec::new() };
    language::parse_text("manifest", text, &options).map(|parsed| parsed.ruleset)
}

impl Manifest {
    /// The ruleset, from its canonical text. Fails only when the document was changed by someone.
    pub fn ruleset(&self) -> Result<Ruleset, Diagnostics> {
        parsed(&self.canonical, &self.interfaces)
    }

    /// The map to verdicts of the same name, if there was one that is state.
    pub fn map_to_verdicts(&self, other: &super::StateSet) -> Option<super::StateSet> {
        let record = self.sets.iter().find(|one| {
            (&one.family, &one.table, &one.name) == (&other.family, &other.table, &other.name)
                && !one.verdicts.is_empty()
        })?;
        let ruleset = self.ruleset().ok()?;
        let mut tables = ruleset.tables().iter();
        let table = tables.find(|table| table.family.name() == other.family && table.name == other.table)?;
        let set = table.sets.iter().find(|set| set.name == other.name)?;
        Some(super::StateSet::of(table, set, record.slot?))
    }

    /// Does some rule (`fib daddr type`) or setting ask what an address is to this host?
    pub fn asks_addresses(&self) -> bool {
        self.config.checks.own_addresses
            || self.rules.iter().any(|rule| rule.text.contains("fib ") && rule.text.contains(" type "))
    }

    /// All counters: those of rules and those with a name.
    pub fn counters(&self) -> impl Iterator<Item = &CounterRecord> {
        let named = self.objects.iter().filter_map(|object| object.counter.as_ref());
        self.rules.iter().flat_map(|rule| &rule.counters).chain(named)
    }

    /// The states of all limits and quotas.
    pub fn cells(&self) -> impl Iterator<Item = &CellRecord> {
        let named = self.objects.iter().filter_map(|object| object.cell.as_ref());
        self.rules.iter().flat_map(|rule| rule.limits.iter().chain(&rule.quotas)).chain(named)
    }

    /// The states of all quotas.
    pub fn quotas(&self) -> impl Iterator<Item = &CellRecord> {
        let named = self.objects.iter().filter(|object| object.quota.is_some());
        self.rules.iter().flat_map(|rule| &rule.quotas).chain(named.filter_map(|object| object.cell.as_ref()))
    }

    /// The record of a table's object.
    pub fn object(&self, table: &Table, object: &Object) -> Option<&ObjectRecord> {
        let wanted = (table.family.name(), &*table.name, object.kind().name(), &*object.name);
        self.objects.iter().find(|known| (&*known.family, &*known.table, &*known.kind, &*known.name) == wanted)
    }

    /// A rule by its number.
    pub fn rule(&self, number: u32) -> Option<&RuleRecord> {
        self.rules.get(number as usize)
    }

    /// A chain by its number.
    pub fn chain(&self, number: u32) -> Option<&ChainRecord> {
        self.chains.get(number as usize)
    }

    /// A log statement by its number, with its rule.
    pub fn log(&self, number: u32) -> Option<(&RuleRecord, &LogRecord)> {
        // Numbers rise with the rules: the last rule that starts at or below it.
        let logging = |rule: &&RuleRecord| rule.logs.iter().any(|log| log.number == number);
        let rule = self.rules.iter().find(logging)?;
        rule.logs.iter().find(|log| log.number == number).map(|log| (rule, log))
    }
}
