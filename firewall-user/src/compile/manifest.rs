//! What a compiled ruleset was made of: everything a person asks about it later, in one versioned document.
//!
//! It is kept beside the pinned maps, so that `list`, `why` and the next `apply` need nothing else: not the file that
//! was applied, nor the process that applied it.

use std::collections::HashMap;

use firewall_common::limits::{MAX_CELLS, MAX_RULE_COUNTERS};

use super::{
    CompileError,
    listing::Recorded,
    numbers::Numbers,
    records::{
        CellRecord, ChainRecord, CounterRecord, LogRecord, Manifest, ObjectRecord, QuotaRecord, RuleRecord, SCHEMA,
        SetRecord, SourceRecord, TableRecord,
    },
    slots::{Slots, fnv1a},
};
use crate::language::{
    Ruleset,
    print::{self, Template},
    ruleset::{Chain, ConcatKeys, Content, Data, DataMap, Lookup, Object, Operand, Quota, Rule, Statement, Table},
};

/// What [`build`] makes: the manifest, and the slots that are new.
pub(super) struct Built {
    pub(super) manifest: Manifest,
    pub(super) fresh_counters: Vec<u32>,
    pub(super) fresh_cells: Vec<u32>,
}

/// Describes a ruleset.
pub(super) fn build(ruleset: &Ruleset, previous: Option<&Manifest>) -> Result<Built, CompileError> {
    let known = Known::of(previous);
    let counters = previous.into_iter().flat_map(Manifest::counters).map(|counter| counter.slot).collect();
    let cells = previous.into_iter().flat_map(Manifest::cells).map(|cell| cell.slot).collect();
    let slots = Slots::new(counters, MAX_RULE_COUNTERS, CompileError::TooManyCounters);
    let cells = Slots::new(cells, MAX_CELLS, CompileError::TooManyCells);
    let (numbers, seen) = (Numbers::of(ruleset), HashMap::new());
    let mut builder = Builder { ruleset, numbers, known, slots, cells, seen, logs: 0 };
    let mut manifest = Manifest {
        schema: SCHEMA.to_owned(),
        sources: ruleset
            .files()
            .iter()
            .map(|file| SourceRecord { name: file.name.clone(), text: file.text.clone() })
            .collect(),
        interfaces: ruleset.interfaces().to_vec(),
        flow_devices: ruleset
            .tables()
            .iter()
            .find_map(|table| table.flowtables.first())
            .map(|flowtable| flowtable.devices.clone())
            .unwrap_or_default(),
        ..Manifest::default()
    };
    for number in 0..ruleset.tables().len() {
        builder.table(number, &mut manifest)?;
    }
    let Template { text, holes } = print::template(ruleset);
    manifest.holes = Recorded::new(&manifest, ruleset).holes(&holes);
    manifest.canonical = text;
    Ok(Built { manifest, fresh_counters: builder.slots.fresh, fresh_cells: builder.cells.fresh })
}

/// What the previous ruleset had.
#[derive(Default)]
struct Known<'a> {
    tables: HashMap<(&'a str, &'a str), &'a TableRecord>,
    objects: HashMap<(&'a str, &'a str, &'static str, &'a str), u64>,
    rules: HashMap<&'a str, &'a RuleRecord>,
    named: HashMap<(&'a str, &'a str, &'a str, &'a str), &'a ObjectRecord>,
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
            named: previous
                .objects
                .iter()
                .map(|object| ((&*object.family, &*object.table, &*object.kind, &*object.name), object))
                .collect(),
            next_table: previous.tables.iter().map(|table| table.handle).max().unwrap_or(0) + 1,
        }
    }
}

struct Builder<'a> {
    ruleset: &'a Ruleset,
    numbers: Numbers,
    known: Known<'a>,
    slots: Slots,
    cells: Slots,
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
        for object in &table.objects {
            let record = self.named(&mut described, object)?;
            manifest.objects.push(record);
        }
        for set in &table.sets {
            let handle = self.object(&mut described, "set", &set.name);
            let (family, table) = (family.to_owned(), name.to_owned());
            manifest.sets.push(SetRecord {
                verdicts: Vec::new(),
                family,
                table,
                name: set.name.clone(),
                handle,
                slot: None,
                declaration: String::new(),
            });
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

    fn named(&mut self, described: &mut Described<'_>, object: &Object) -> Result<ObjectRecord, CompileError> {
        let (family, table) = (described.table.family.name(), described.table.name.as_str());
        let kind = object.kind().name();
        let known = self.known.named.get(&(family, table, kind, object.name.as_str())).copied();
        let text = if let Content::Limit(limit) = object.content { limit.text() } else { String::new() };
        let (mut counter, mut cell, mut quota) = (None, None, None);
        match object.content {
            Content::Counter { packets, bytes } => {
                let kept = known.and_then(|known| known.counter.as_ref()).map(|counter| counter.slot);
                let slot = kept.map_or_else(|| self.slots.take(), Ok)?;
                counter = Some(CounterRecord { slot, packets, bytes });
            }
            Content::Quota(Quota { over, bytes, used }) => {
                quota = Some(QuotaRecord { over, bytes });
                cell = Some(self.cell(known.and_then(|known| known.cell.as_ref()), used)?);
            }
            Content::Limit(_) => {
                let known = known.filter(|known| known.text == text);
                cell = Some(self.cell(known.and_then(|known| known.cell.as_ref()), 0)?);
            }
            Content::Synproxy(_) => {}
        }
        let handle = known.map_or_else(|| described.handle(), |known| known.handle);
        let (family, table, kind, name) = (family.to_owned(), table.to_owned(), kind.to_owned(), object.name.clone());
        Ok(ObjectRecord { family, table, kind, name, handle, counter, cell, quota, text })
    }

    /// The cell that was known, or a new one.
    fn cell(&mut self, known: Option<&CellRecord>, first: u64) -> Result<CellRecord, CompileError> {
        let slot = known.map_or_else(|| self.cells.take(), |known| Ok(known.slot))?;
        Ok(CellRecord { slot, first })
    }

    /// The states of a rule's limits and quotas.
    fn cells(&mut self, rule: &Rule, known: Option<&RuleRecord>) -> Result<[Vec<CellRecord>; 2], CompileError> {
        let (mut limits, mut quotas) = (Vec::new(), Vec::new());
        for statement in &rule.statements {
            match statement {
                Statement::Limit(_) => {
                    limits.push(self.cell(known.and_then(|known| known.limits.get(limits.len())), 0)?);
                }
                Statement::Quota(quota) => {
                    quotas.push(self.cell(known.and_then(|known| known.quotas.get(quotas.len())), quota.used)?);
                }
                _ => {}
            }
        }
        Ok([limits, quotas])
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
        let [limits, quotas] = self.cells(rule, known)?;
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
            limits,
            quotas,
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
            if let Statement::Log(log) = statement {
                records.push(LogRecord {
                    number: self.logs,
                    prefix: log.prefix.clone(),
                    level: log.level.unwrap_or("warn").to_owned(),
                    group: log.group,
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
        Statement::Map { .. } | Statement::ObjectMap(..) => true,
        Statement::Assign { target: _, value } => {
            matches!(value, Data::Lookup(Lookup { keys: _, map: DataMap::Listed { .. } }))
        }
        Statement::Nat(nat) => nat.lookups().any(|lookup| matches!(lookup.map, DataMap::Listed { .. })),
        Statement::Concat { keys, .. } | Statement::ConcatMap { keys, .. } => {
            matches!(keys, ConcatKeys::Listed { .. })
        }
        Statement::NamedMap { .. }
        | Statement::Update(_)
        | Statement::Counter { .. }
        | Statement::Log(_)
        | Statement::NoTrack
        | Statement::Limit(_)
        | Statement::Quota(_)
        | Statement::Connections { .. }
        | Statement::Object(_)
        | Statement::Flow(_)
        | Statement::Synproxy(_)
        | Statement::Reject(_)
        | Statement::Verdict(_) => false,
    });
    described.next_handle += sets.count() as u64;
    described.handle()
}
