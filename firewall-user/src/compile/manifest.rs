//! What a compiled ruleset was made of: everything a person asks about it later, in one versioned document.
//!
//! It is kept beside the pinned maps, so that `list`, `why` and the next `apply` need nothing else: not the file that
//! was applied, nor the process that applied it.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{
    CompileError,
    numbers::Numbers,
    slots::{Slots, fnv1a},
};
use crate::config::Config;
use crate::language::{
    self, Diagnostics, Options, Ruleset, print,
    ruleset::{Chain, ConcatKeys, Operand, Rule, Statement, Table},
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
    /// Interfaces that `iif` and `oif` named, with their indexes at that time.
    pub interfaces: Vec<(u32, String)>,
    /// Its tables, in order.
    pub tables: Vec<TableRecord>,
    /// Its named sets, in order of tables.
    pub sets: Vec<SetRecord>,
    /// Its chains, in order of tables.
    pub chains: Vec<ChainRecord>,
    /// Its rules, in order of chains.
    pub rules: Vec<RuleRecord>,
    /// The settings it was put in force with.
    #[serde(default)]
    pub config: Config,
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
}

impl Manifest {
    /// The ruleset, from its canonical text. Fails only when the document was changed by someone.
    pub fn ruleset(&self) -> Result<Ruleset, Diagnostics> {
        let interface = |name: &str| self.interfaces.iter().find(|(_, known)| known == name).map(|(index, _)| *index);
        let options = Options { interface: &interface, include_directories: Vec::new() };
        language::parse_text("manifest", &self.canonical, &options).map(|parsed| parsed.ruleset)
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

/// Describes a ruleset; the slots that are new come beside.
pub(super) fn build(ruleset: &Ruleset, previous: Option<&Manifest>) -> Result<(Manifest, Vec<u32>), CompileError> {
    let known = Known::of(previous);
    let slots = Slots::new(known.slots.clone());
    let mut builder = Builder { ruleset, numbers: Numbers::of(ruleset), known, slots, seen: HashMap::new(), logs: 0 };
    let mut manifest = Manifest {
        schema: SCHEMA.to_owned(),
        sources: ruleset
            .files()
            .iter()
            .map(|file| SourceRecord { name: file.name.clone(), text: file.text.clone() })
            .collect(),
        canonical: print::text(ruleset),
        interfaces: ruleset.interfaces().to_vec(),
        ..Manifest::default()
    };
    for number in 0..ruleset.tables().len() {
        builder.table(number, &mut manifest)?;
    }
    Ok((manifest, builder.slots.fresh))
}

/// What the previous ruleset had.
#[derive(Default)]
struct Known<'a> {
    tables: HashMap<(&'a str, &'a str), &'a TableRecord>,
    objects: HashMap<(&'a str, &'a str, &'static str, &'a str), u64>,
    rules: HashMap<&'a str, &'a RuleRecord>,
    slots: HashSet<u32>,
    next_table: u64,
}

impl<'a> Known<'a> {
    fn of(previous: Option<&'a Manifest>) -> Self {
        let Some(previous) = previous else { return Self { next_table: 1, ..Self::default() } };
        let sets = previous.sets.iter().map(|set| ((&*set.family, &*set.table, "set", &*set.name), set.handle));
        let chains =
            previous.chains.iter().map(|chain| ((&*chain.family, &*chain.table, "chain", &*chain.name), chain.handle));
        Self {
            tables: previous.tables.iter().map(|table| ((&*table.family, &*table.name), table)).collect(),
            objects: sets.chain(chains).collect(),
            rules: previous.rules.iter().map(|rule| (&*rule.identity, rule)).collect(),
            slots: previous.rules.iter().flat_map(|rule| rule.counters.iter().map(|counter| counter.slot)).collect(),
            next_table: previous.tables.iter().map(|table| table.handle).max().unwrap_or(0) + 1,
        }
    }
}

struct Builder<'a> {
    ruleset: &'a Ruleset,
    numbers: Numbers,
    known: Known<'a>,
    slots: Slots,
    /// How often a rule of this hash was met.
    seen: HashMap<u64, u32>,
    logs: u32,
}

/// The table that is described.
struct Described<'a> {
    number: usize,
    table: &'a Table,
    next_handle: u64,
}

impl Described<'_> {
    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle - 1
    }
}

impl Builder<'_> {
    fn table(&mut self, number: usize, manifest: &mut Manifest) -> Result<(), CompileError> {
        let table = &self.ruleset.tables()[number];
        let (family, name) = (table.family.name(), table.name.as_str());
        let known = self.known.tables.get(&(family, name)).copied();
        let handle = known.map_or(self.known.next_table, |known| known.handle);
        self.known.next_table += u64::from(known.is_none());
        let mut described = Described { number, table, next_handle: known.map_or(1, |known| known.next_handle) };
        // The kernel gives handles in this order too: chains, sets, then rules.
        for (at, chain) in table.chains.iter().enumerate() {
            let record = self.chain(&mut described, at, chain);
            manifest.chains.push(record);
        }
        for set in &table.sets {
            let handle = self.object(&mut described, "set", &set.name);
            let (family, table) = (family.to_owned(), name.to_owned());
            manifest.sets.push(SetRecord { family, table, name: set.name.clone(), handle });
        }
        for (at, chain) in table.chains.iter().enumerate() {
            for (rule_at, rule) in chain.rules.iter().enumerate() {
                let record = self.rule(&mut described, (at, rule_at), rule)?;
                manifest.rules.push(record);
            }
        }
        let (family, name) = (family.to_owned(), name.to_owned());
        manifest.tables.push(TableRecord { family, name, handle, next_handle: described.next_handle });
        Ok(())
    }

    fn object(&self, described: &mut Described<'_>, kind: &'static str, name: &str) -> u64 {
        let key = (described.table.family.name(), described.table.name.as_str(), kind, name);
        self.known.objects.get(&key).copied().unwrap_or_else(|| described.handle())
    }

    fn chain(&self, described: &mut Described<'_>, at: usize, chain: &Chain) -> ChainRecord {
        let base = chain.base.as_ref();
        ChainRecord {
            number: self.numbers.chain(described.number, at),
            handle: self.object(described, "chain", &chain.name),
            family: described.table.family.name().to_owned(),
            table: described.table.name.clone(),
            name: chain.name.clone(),
            hook: base.map(|base| base.hook.name().to_owned()),
            priority: base.map(|base| base.priority),
            policy: base.map(|base| if base.drops { "drop" } else { "accept" }.to_owned()),
        }
    }

    fn rule(
        &mut self,
        described: &mut Described<'_>,
        (chain, at): (usize, usize),
        rule: &Rule,
    ) -> Result<RuleRecord, CompileError> {
        let table = described.table;
        let text = print::rule_text(self.ruleset, table, rule);
        let chain_name = &table.chains[chain].name;
        let identity = self.identity(&[table.family.name(), &table.name, chain_name, &text]);
        let known = self.known.rules.get(identity.as_str()).copied();
        let handle = known.map_or_else(|| fresh_handle(described, rule), |known| known.handle);
        let slots = known.map_or(&[][..], |known| &known.counters[..]);
        let counters = self.counters(rule, slots)?;
        Ok(RuleRecord {
            number: self.numbers.rule(described.number, chain, at),
            handle,
            identity,
            family: table.family.name().to_owned(),
            table: table.name.clone(),
            chain: chain_name.clone(),
            file: self
                .ruleset
                .files()
                .get(rule.origin.file as usize)
                .map_or_else(String::new, |file| file.name.clone()),
            line: rule.origin.line,
            text,
            comment: rule.comment.clone(),
            counters,
            logs: self.log_records(rule),
        })
    }

    fn identity(&mut self, parts: &[&str]) -> String {
        let hash = fnv1a(parts);
        let seen = self.seen.entry(hash).or_insert(0);
        *seen += 1;
        if *seen == 1 { format!("{hash:016x}") } else { format!("{hash:016x}.{}", *seen) }
    }

    fn counters(&mut self, rule: &Rule, known: &[CounterRecord]) -> Result<Vec<CounterRecord>, CompileError> {
        let mut records = Vec::new();
        for statement in &rule.statements {
            if let Statement::Counter { packets, bytes } = statement {
                let slot = match known.get(records.len()) {
                    Some(kept) => kept.slot,
                    None => self.slots.take()?,
                };
                records.push(CounterRecord { slot, packets: *packets, bytes: *bytes });
            }
        }
        Ok(records)
    }

    fn log_records(&mut self, rule: &Rule) -> Vec<LogRecord> {
        let mut records = Vec::new();
        for statement in &rule.statements {
            if let Statement::Log { prefix, level } = statement {
                records.push(LogRecord {
                    number: self.logs,
                    prefix: prefix.clone(),
                    level: level.unwrap_or("warn").to_owned(),
                });
                self.logs += 1;
            }
        }
        records
    }
}

/// A rule's handle; its anonymous sets have theirs before it, as in the kernel.
fn fresh_handle(described: &mut Described<'_>, rule: &Rule) -> u64 {
    let sets = rule.statements.iter().filter(|statement| match statement {
        Statement::Match(held) => matches!(held.operand, Operand::Set(_)),
        Statement::Map { .. } => true,
        Statement::Concat { keys, .. } | Statement::ConcatMap { keys, .. } => {
            matches!(keys, ConcatKeys::Listed { .. })
        }
        Statement::NamedMap { .. }
        | Statement::Update(_)
        | Statement::Assign { .. }
        | Statement::Counter { .. }
        | Statement::Log { .. }
        | Statement::NoTrack
        | Statement::Verdict(_) => false,
    });
    described.next_handle += sets.count() as u64;
    described.handle()
}
