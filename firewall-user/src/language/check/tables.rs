//! Tables while commands are carried out on them.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
};

use super::{Checked, Checker, sets::SetState};
use crate::language::{
    ast::{RulePlace, Spanned, TableBody, TableName},
    diagnostic::Diagnostic,
    names,
    ruleset::{Base, Chain, Family, Flowtable, Object, ObjectKind, Rule, Statement, Table},
    source::Span,
};

/// A table so far.
pub(super) struct TableState {
    pub(super) family: Family,
    pub(super) name: String,
    pub(super) dormant: bool,
    pub(super) comment: Option<String>,
    /// Sets that were looked up since this was last emptied: the rule that is checked uses them.
    pub(super) looked_up: RefCell<Vec<usize>>,
    pub(super) sets: Vec<SetState>,
    pub(super) set_index: HashMap<String, usize>,
    pub(super) objects: Vec<Object>,
    pub(super) object_index: HashMap<(ObjectKind, String), usize>,
    pub(super) flowtables: Vec<Flowtable>,
    pub(super) chains: Vec<ChainState>,
    pub(super) chain_index: HashMap<String, usize>,
}

/// A chain so far.
pub(super) struct ChainState {
    pub(super) name: String,
    pub(super) base: Option<Base>,
    pub(super) devices: Vec<String>,
    /// Was its policy written down?
    pub(super) policy: Option<bool>,
    pub(super) comment: Option<String>,
    pub(super) rules: VecDeque<Rule>,
    /// Jumps out of it: where to, and where they stand.
    pub(super) jumps: Vec<(usize, Span)>,
    /// Where its rules reject.
    pub(super) rejects: Vec<Span>,
    /// Where they ask what a route takes.
    pub(super) mtus: Vec<Span>,
    /// Named maps in its rules.
    pub(super) maps: Vec<usize>,
    /// Sets and maps that its rules use.
    pub(super) sets: Vec<usize>,
    /// Rules that were flushed: nft goes on counting them.
    pub(super) flushed: usize,
    /// Does its last rule decide about every packet, so that no packet gets to the next one?
    pub(super) closed: bool,
}

impl ChainState {
    pub(super) fn new(name: String) -> Self {
        let (rules, jumps, maps, sets, devices) = (VecDeque::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (rejects, mtus) = (Vec::new(), Vec::new());
        Self {
            name,
            base: None,
            devices,
            policy: None,
            comment: None,
            rules,
            jumps,
            rejects,
            mtus,
            maps,
            sets,
            flushed: 0,
            closed: false,
        }
    }

    pub(super) fn flush(&mut self) {
        self.flushed += self.rules.len();
        self.rules.clear();
        self.jumps.clear();
        self.rejects.clear();
        self.mtus.clear();
        self.maps.clear();
        self.sets.clear();
        self.closed = false;
    }

    fn finish(self) -> Chain {
        let Self {
            name,
            base,
            devices,
            policy: _,
            comment,
            rules,
            jumps: _,
            rejects: _,
            mtus: _,
            maps: _,
            sets: _,
            flushed: _,
            closed: _,
        } = self;
        Chain { name, base, devices, comment, rules: rules.into() }
    }
}

impl TableState {
    fn new(name: &TableName, comment: Option<&Spanned>) -> Self {
        Self {
            family: name.family,
            name: name.name.text.to_string(),
            dormant: false,
            looked_up: RefCell::default(),
            comment: comment.map(|comment| comment.text.to_string()),
            sets: Vec::new(),
            set_index: HashMap::new(),
            objects: Vec::new(),
            object_index: HashMap::new(),
            flowtables: Vec::new(),
            chains: Vec::new(),
            chain_index: HashMap::new(),
        }
    }

    pub(super) fn flush(&mut self) {
        self.chains.iter_mut().for_each(ChainState::flush);
    }

    /// A chain that must be there.
    pub(super) fn chain(&self, name: &Spanned) -> Checked<usize> {
        self.chain_index.get(&*name.text).copied().ok_or_else(|| {
            let message = format!("there is no chain `{}` in table `{} {}`", name.text, self.family.name(), self.name);
            near(Diagnostic::error(name.span, message).following(), &name.text, self.chain_index.keys())
        })
    }

    /// Is there a rule with such a statement?
    pub(super) fn any_statement(&self, is_it: &dyn Fn(&Statement) -> bool) -> bool {
        self.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements).any(is_it)
    }

    /// A set that must be there.
    pub(super) fn set(&self, name: &str, span: Span) -> Checked<usize> {
        let known = self.set_index.get(name).copied();
        self.looked_up.borrow_mut().extend(known);
        known.ok_or_else(|| {
            let message = format!("there is no set `{name}` in table `{} {}`", self.family.name(), self.name);
            near(Diagnostic::error(span, message).following(), name, self.set_index.keys())
        })
    }

    pub(super) fn finish(self, problems: &mut Vec<Diagnostic>) -> Table {
        let Self {
            family,
            name,
            dormant,
            comment,
            looked_up: _,
            sets,
            set_index: _,
            objects,
            object_index: _,
            flowtables,
            chains,
            chain_index: _,
        } = self;
        let sets = sets.into_iter().map(|set| set.finish(problems)).collect();
        let chains = chains.into_iter().map(ChainState::finish).collect();
        Table { family, name, dormant, comment, sets, objects, flowtables, chains }
    }
}

pub(super) fn near<'a>(error: Diagnostic, word: &str, known: impl Iterator<Item = &'a String>) -> Diagnostic {
    let mut known: Vec<&str> = known.map(String::as_str).collect();
    known.sort_unstable();
    match names::nearest(word, known) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    }
}

impl Checker<'_> {
    /// `table inet filter { .. }`: chains, then sets, then rules, so that rules find both.
    pub(super) fn table_block(&mut self, name: &TableName, body: TableBody) {
        let at = self.open_table(name, body.comment.as_ref());
        self.sleeps(at, name, &body);
        let mut rules = Vec::new();
        for mut chain in body.chains {
            let written = std::mem::take(&mut chain.body.rules);
            match self.declare_chain(at, &chain) {
                Ok(number) => rules.push((number, written)),
                Err(diagnostic) => self.report(diagnostic),
            }
        }
        for object in body.objects {
            self.declare_object(at, &object);
        }
        for flowtable in &body.flowtables {
            if let Err(diagnostic) = self.declare_flowtable(at, flowtable) {
                self.report(diagnostic);
            }
        }
        for set in body.sets {
            if let Err(diagnostic) = self.named_set(at, &set) {
                self.report(diagnostic);
            }
        }
        for (chain, written) in rules {
            for rule in &written {
                self.rule(at, chain, rule, RulePlace::Last);
            }
        }
    }

    /// As in nftables, each mention of a table says anew whether it sleeps. Waking one would hang its chains up behind
    /// those that were made since, which is more than the file says to who reads it.
    fn sleeps(&mut self, table: usize, name: &TableName, body: &TableBody) {
        let dormant = body.flags.iter().any(|flag| &*flag.text == "dormant");
        let state = &mut self.tables[table];
        if std::mem::replace(&mut state.dormant, dormant) && !dormant {
            let message = format!(
                "this would wake table `{} {}`, which has `flags dormant` above",
                state.family.name(),
                state.name
            );
            let error = Diagnostic::error(name.name.span, message);
            self.report(error.help("repeat `flags dormant` here, or leave it out above"));
        }
    }

    /// A new table, or the one that is there: then its comment stays, as in nftables.
    fn open_table(&mut self, name: &TableName, comment: Option<&Spanned>) -> usize {
        let key = (name.family, name.name.text.to_string());
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        self.tables.push(TableState::new(name, comment));
        self.index.insert(key, self.tables.len() - 1);
        self.tables.len() - 1
    }
}
