//! Chains and rules as instructions.

mod devices;
mod routing;
mod state;
mod verdicts;

mod named;

use std::collections::HashMap;

use firewall_common::{
    classify::build::{self, TooLarge, Tuning},
    image::{DECIDES, Hook, Image, Insn, NO_RULE, Op, PARTS, POLICY, Part, USES_LOG, USES_NOTRACK},
    limits::MAX_STEPS,
};

use self::state::{Ending, Nth, does_something, grouped, split};
use super::{
    CompileError, MAX_INTERVALS, Manifest, StateSet,
    assembler::{Assembler, Begun, Label, Place},
    concat, data, header, nat,
    numbers::Numbers,
    parts::{self, Hung},
    stateful,
    words::{self, Way},
};
use crate::language::{
    Ruleset,
    ruleset::{
        Chain, Comparison, ConcatKeys, Family, MapElement, Match, Network, Operand, Rule, Statement, Subject, Table,
        Verdict,
    },
};

/// Compiles all hooks.
pub(super) fn image(
    ruleset: &Ruleset,
    manifest: (&Manifest, &[StateSet]),
    tuning: &Tuning,
) -> Result<Image, CompileError> {
    match written(ruleset, manifest, Some(tuning)) {
        // Too many jumps to give each its own copy: then the rules are run one by one.
        Err(CompileError::TooLong { .. }) => written(ruleset, manifest, None),
        result => result,
    }
}

/// How chains that are jumped to are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Behind the rule that jumps, one copy for every jump, so that rules stand in the order in which packets meet them:
    /// what trees need.
    Met,
    /// Behind the chain, one copy for all jumps that go on at the same place.
    Shared,
}

fn written(
    ruleset: &Ruleset,
    (manifest, states): (&Manifest, &[StateSet]),
    trees: Option<&Tuning>,
) -> Result<Image, CompileError> {
    let order = if trees.is_some() { Order::Met } else { Order::Shared };
    let numbers = Numbers::of(ruleset);
    let mut writer = Writer {
        ruleset,
        manifest,
        states,
        numbers,
        order,
        part: Part::Prerouting,
        out: Assembler::with(states),
        copies: HashMap::new(),
        waiting: Vec::new(),
        begun: Vec::new(),
        misplaced: false,
    };
    let mut entry = [Place::Accept; PARTS];
    let mut rules = [const { Vec::new() }; PARTS];
    for part in Part::ALL {
        writer.part = part;
        entry[part as usize] = writer.part(part)?;
        let begun = std::mem::take(&mut writer.begun);
        // Trees know IPv4 and IPv6: what crosses a device can be something else.
        let at_device = matches!(part.hook(), Hook::Ingress | Hook::Egress);
        if !at_device {
            rules[part as usize] = begun;
        }
    }
    let (mut image, starts) = writer.out.finish(entry, &rules);
    if let Some(tuning) = trees {
        build::build(&mut image, &starts, tuning).map_err(|error| too_large(&error, manifest))?;
    }
    Ok(image)
}

fn too_large(error: &TooLarge, manifest: &Manifest) -> CompileError {
    let named = |(number, entries): &(u32, usize)| {
        let rule = manifest.rule(*number)?;
        Some(format!("{}:{}: {entries} entries: {}", rule.file, rule.line, rule.text))
    };
    CompileError::TooManyEntries { entries: error.entries, most: error.most.iter().filter_map(named).collect() }
}

/// A chain's copy: which chain, where its `accept` leads, and where its end leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Copy {
    table: usize,
    chain: usize,
    accept: Place,
    end: Place,
}

struct Writer<'a> {
    ruleset: &'a Ruleset,
    manifest: &'a Manifest,
    /// The sets that are state.
    states: &'a [StateSet],
    numbers: Numbers,
    out: Assembler,
    copies: HashMap<Copy, Label>,
    /// Copies that are jumped to and not written yet.
    waiting: Vec<(Copy, Label)>,
    order: Order,
    /// The part being written.
    part: Part,
    /// Rules of this hook that are written.
    begun: Vec<Begun>,
    /// Was a translation met that does not belong there?
    misplaced: bool,
}

/// What a rule's statements need to know.
struct Frame<'a> {
    copy: Copy,
    table: &'a Table,
    number: u32,
    /// The rule behind it, or the chain's end.
    next: Place,
}

impl<'a> Writer<'a> {
    fn part(&mut self, part: Part) -> Result<Place, CompileError> {
        let chains = parts::chains(self.ruleset, part);
        if let Some(first) = chains.first() {
            self.out.uses |= nat::uses(part);
            if let Some(what) = nat::refusal(self.ruleset, part) {
                let table = &self.ruleset.tables()[first.table];
                let (table, chain) = (table.name.clone(), table.chains[first.chain].name.clone());
                return Err(CompileError::NotEnforced { table, chain, what });
            }
        }
        let labels: Vec<Label> = chains.iter().map(|_| self.out.label()).collect();
        let entry = |at: usize| labels.get(at).map_or(Place::Accept, |label| Place::Label(*label));
        for (at, hung) in chains.iter().enumerate() {
            self.out.bind_here(labels[at]);
            let asked = std::mem::take(&mut self.out.uses);
            let first = self.out.written().len();
            self.base_chain(*hung, entry(at + 1))?;
            self.write_waiting()?;
            self.may_ask(hung)?;
            self.may_ask_types(hung, first)?;
            self.out.uses |= asked;
        }
        Ok(entry(0))
    }

    fn base_chain(&mut self, Hung { table, chain, base }: Hung, after: Place) -> Result<(), CompileError> {
        let policy = self.out.label();
        let attribution = POLICY | self.numbers.chain(table, chain);
        self.devices((table, chain), base, Way { rule: attribution, flags: 0, pass: after, fail: after });
        let network = match self.ruleset.tables()[table].family {
            Family::Ip => Some(Network::Ip),
            Family::Ip6 => Some(Network::Ip6),
            Family::Inet | Family::Netdev => None,
        };
        if let Some(network) = network {
            let start = self.out.label();
            let way = Way { rule: attribution, flags: 0, pass: Place::Label(start), fail: after };
            self.begin(Some(Place::Label(start)));
            words::network_test(&mut self.out, network, way);
            self.out.bind_here(start);
        }
        self.rules(Copy { table, chain, accept: after, end: Place::Label(policy) })?;
        self.out.bind_here(policy);
        self.begin(None);
        let verdict = if base.drops { Place::Drop } else { after };
        self.always(attribution, DECIDES, verdict);
        Ok(())
    }

    /// The next instruction is a rule's first.
    fn begin(&mut self, next: Option<Place>) {
        self.begun.push(Begun { index: self.out.len() as u32, next });
    }

    /// Writes the chains that the rule before jumps to, and those that they jump to.
    fn write_jumps(&mut self, next: Place) -> Result<(), CompileError> {
        let jumps = std::mem::take(&mut self.waiting);
        let count = jumps.len();
        for (at, (copy, label)) in jumps.into_iter().enumerate() {
            self.copies.clear();
            self.out.bind_here(label);
            self.rules(copy)?;
            if at + 1 < count || copy.end != next {
                self.begin(None);
                self.always(NO_RULE, 0, copy.end);
            }
        }
        self.copies.clear();
        Ok(())
    }

    /// Writes the chains that were jumped to, and those that they jump to.
    fn write_waiting(&mut self) -> Result<(), CompileError> {
        while let Some((copy, label)) = self.waiting.pop() {
            self.out.bind_here(label);
            let before = self.out.len();
            self.rules(copy)?;
            if self.out.len() == before {
                self.always(NO_RULE, 0, copy.end);
            }
        }
        Ok(())
    }

    fn rules(&mut self, copy: Copy) -> Result<(), CompileError> {
        let table: &'a Table = &self.ruleset.tables()[copy.table];
        let chain = &table.chains[copy.chain];
        let rules: Vec<_> = chain.rules.iter().enumerate().filter(|(_, rule)| does_something(rule)).collect();
        for (at, (number, rule)) in rules.iter().enumerate() {
            // Where copies stand in the order of packets, a chain's end is where its last rule ends.
            let label = (at + 1 < rules.len() || self.order == Order::Met).then(|| self.out.label());
            let next = label.map_or(copy.end, Place::Label);
            let number = self.numbers.rule(copy.table, copy.chain, *number);
            self.begin(Some(next));
            self.rule(&Frame { copy, table, number, next }, rule)?;
            if self.order == Order::Met {
                self.write_jumps(next)?;
            }
            if let Some(label) = label {
                self.out.bind_here(label);
            }
            self.within_limits(table, chain)?;
        }
        Ok(())
    }

    fn within_limits(&self, table: &Table, chain: &Chain) -> Result<(), CompileError> {
        let names = || (table.name.clone(), chain.name.clone());
        if self.misplaced {
            let (table, chain) = names();
            return Err(CompileError::NotEnforced { table, chain, what: nat::MISPLACED });
        }
        if self.out.len() > MAX_STEPS as usize {
            let (table, chain) = names();
            return Err(CompileError::TooLong { table, chain });
        }
        if self.out.too_few_registers {
            let (table, chain) = names();
            return Err(CompileError::TooManyValues { table, chain });
        }
        if self.out.largest_set > MAX_INTERVALS {
            let (table, chain) = names();
            return Err(CompileError::SetTooLarge { table, chain });
        }
        Ok(())
    }

    fn rule(&mut self, frame: &Frame<'_>, rule: &Rule) -> Result<(), CompileError> {
        self.out.begin_rule(frame.number);
        let (statements, verdict) = split(rule);
        let (end, flags) = match verdict {
            Some(Ending::Verdict(verdict)) => self.verdict(frame, verdict, frame.next),
            Some(Ending::Reject(reject)) => self.reject(reject),
            None => (frame.next, 0),
        };
        let Some((last, before)) = statements.split_last() else {
            self.always(frame.number, flags, end);
            return Ok(());
        };
        let mut nth = Nth::default();
        for statement in before {
            let next = self.out.label();
            let way = Way { rule: frame.number, flags: 0, pass: Place::Label(next), fail: frame.next };
            self.statement(frame, statement, way, &mut nth)?;
            self.out.bind_here(next);
        }
        let way = Way { rule: frame.number, flags, pass: end, fail: frame.next };
        self.statement(frame, last, way, &mut nth)
    }

    fn statement(
        &mut self,
        frame: &Frame<'_>,
        statement: &Statement,
        way: Way,
        nth: &mut Nth,
    ) -> Result<(), CompileError> {
        let record = &self.manifest.rules[frame.number as usize];
        self.out.begin_statement();
        match statement {
            Statement::Match(Match { subject, comparison, operand: Operand::Named(set) })
                if self.state(frame.table, *set).is_some() =>
            {
                self.look_up(frame, (&[*subject], *comparison == Comparison::NotEqual, *set), way)?;
            }
            Statement::Concat { subjects, negated, keys: ConcatKeys::Named(set) }
                if self.state(frame.table, *set).is_some() =>
            {
                self.look_up(frame, (subjects, *negated, *set), way)?;
            }
            Statement::NamedMap { subject, map } if self.state(frame.table, *map).is_some() => {
                self.look_up_verdict(frame, (&[*subject], *map), way)?;
            }
            Statement::ConcatMap { subjects, keys: ConcatKeys::Named(map) }
                if self.state(frame.table, *map).is_some() =>
            {
                self.look_up_verdict(frame, (subjects, *map), way)?;
            }
            Statement::Update(update) => self.update(frame, update, way)?,
            Statement::Match(held) => {
                let test = (held.subject, held.comparison, &held.operand);
                words::write_match(&mut self.out, frame.table, test, way);
            }
            Statement::Map { subject, elements } => self.map(frame, *subject, elements, way),
            Statement::Concat { subjects, negated, keys } => self.concat(frame, (subjects, *negated, keys), way),
            Statement::ConcatMap { subjects, keys } => self.concat(frame, (subjects, false, keys), way),
            Statement::NamedMap { subject, map } => {
                self.map(frame, *subject, &frame.table.sets[*map].map_elements(), way);
            }
            Statement::Assign { target, value } => {
                if let Some(what) = header::not_here(target.selector, self.part.hook()) {
                    let chain = &frame.table.chains[frame.copy.chain];
                    let (table, chain) = (frame.table.name.clone(), chain.name.clone());
                    return Err(CompileError::NotEnforced { table, chain, what });
                }
                data::assign(&mut self.out, frame.table, (*target, value), way);
            }
            Statement::Counter { .. } => {
                let slot = record.counters[Nth::next(&mut nth.counter)].slot;
                self.act(Op::Counter, slot, way);
            }
            Statement::Log(_) => {
                let number = record.logs[Nth::next(&mut nth.log)].number;
                self.out.uses |= USES_LOG;
                self.act(Op::Log, number, way);
            }
            Statement::Nat(translation) => {
                self.misplaced |= !nat::belongs(translation, self.part);
                nat::write(&mut self.out, (frame.table, self.part), translation, way);
            }
            Statement::NoTrack => {
                self.out.uses |= USES_NOTRACK;
                self.act(Op::NoTrack, 0, way);
            }
            Statement::Limit(limit) => {
                stateful::limit(&mut self.out, limit, record.limits[Nth::next(&mut nth.limit)].slot, way);
            }
            Statement::Quota(quota) => {
                stateful::quota(&mut self.out, quota, record.quotas[Nth::next(&mut nth.quota)].slot, way);
            }
            Statement::Object(object) => self.object(frame, *object, way)?,
            Statement::ObjectMap(_, lookup) => self.object_map(frame, lookup, way)?,
            Statement::Connections { over, count } => {
                let nth = Nth::next(&mut nth.connections);
                self.connections((&record.identity, nth), (*over, *count), way);
            }
            Statement::Synproxy(proxy) => self.synproxy(frame, *proxy, way)?,
            Statement::Flow(at) => self.flow(frame, *at, way)?,
            // Taken off the rule's end, or says nothing.
            Statement::Verdict(_) | Statement::Reject(_) => {}
        }
        Ok(())
    }

    fn act(&mut self, op: Op, operand: u32, way: Way) {
        let insn = Insn { op: op as u8, flags: way.flags, rule: way.rule, low: operand, ..Insn::default() };
        self.out.push(insn, way.pass, way.pass);
    }

    /// One test for each verdict: keys are disjoint, so their order does not matter.
    fn map(&mut self, frame: &Frame<'_>, subject: Subject, elements: &[MapElement], way: Way) {
        words::write_preconditions(&mut self.out, subject, Way { flags: 0, ..way });
        if elements.is_empty() {
            // A named map that nothing is in yet.
            return words::write_keys(&mut self.out, subject, Vec::new(), way);
        }
        let mut left = grouped(elements);
        let any = elements.iter().find(|element| element.key.is_none()).map(|element| element.verdict);
        let last = left.pop();
        for (verdict, keys) in left {
            let next = self.out.label();
            self.keys(frame, subject, (verdict, keys), Way { fail: Place::Label(next), ..way });
            self.out.bind_here(next);
        }
        let rest = any.map(|any| (any, self.out.label()));
        if let Some(group) = last {
            let fail = rest.map_or(way.fail, |(_, label)| Place::Label(label));
            self.keys(frame, subject, group, Way { fail, ..way });
        }
        if let Some((verdict, label)) = rest {
            self.out.bind_here(label);
            let (pass, flags) = self.element_verdict(frame, verdict, way);
            words::write_any(&mut self.out, subject, Way { flags, pass, ..way });
        }
    }

    /// Alternatives of conjunctions: elements that differ in their first part only are one alternative.
    fn concat(&mut self, frame: &Frame<'_>, (subjects, negated, keys): (&[Subject], bool, &ConcatKeys), way: Way) {
        for subject in subjects {
            words::write_preconditions(&mut self.out, *subject, Way { flags: 0, ..way });
        }
        let (tuples, default) = match keys {
            ConcatKeys::Listed { tuples, default } => (&tuples[..], *default),
            ConcatKeys::Named(set) => {
                let set = &frame.table.sets[*set];
                (set.concat.as_ref().map_or(&[][..], |concat| &concat.tuples), set.default_verdict())
            }
        };
        for subject in subjects.iter().filter(|_| negated || default.is_some()) {
            words::write_presence(&mut self.out, *subject, way);
        }
        for (verdict, parts) in concat::alternatives(tuples) {
            let next = self.out.label();
            let (place, flags) = match verdict {
                Some(verdict) => self.element_verdict(frame, verdict, way),
                None if negated => (way.fail, 0),
                None => (way.pass, way.flags),
            };
            let found = Way { pass: place, flags, fail: Place::Label(next), ..way };
            concat::write(&mut self.out, subjects, parts, found);
            self.out.bind_here(next);
        }
        let (place, flags) = match default {
            Some(verdict) => self.element_verdict(frame, verdict, way),
            None if negated => (way.pass, way.flags),
            None => (way.fail, 0),
        };
        self.always(way.rule, flags, place);
    }

    fn keys(&mut self, frame: &Frame<'_>, subject: Subject, (verdict, keys): (Verdict, Vec<(u128, u128)>), way: Way) {
        let (pass, flags) = self.element_verdict(frame, verdict, way);
        words::write_keys(&mut self.out, subject, keys, Way { flags, pass, ..way });
    }

    /// `continue` in a map goes on with the rule, behind the map.
    fn element_verdict(&mut self, frame: &Frame<'_>, verdict: Verdict, way: Way) -> (Place, u8) {
        match verdict {
            Verdict::Continue => (way.pass, way.flags),
            Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Jump(_) | Verdict::Goto(_) => {
                self.verdict(frame, verdict, frame.next)
            }
        }
    }

    /// Where a verdict leads, and whether it decides.
    fn verdict(&mut self, frame: &Frame<'_>, verdict: Verdict, next: Place) -> (Place, u8) {
        let Copy { table, accept, end, chain: _ } = frame.copy;
        match verdict {
            Verdict::Accept => (accept, DECIDES),
            Verdict::Drop => (Place::Drop, DECIDES),
            Verdict::Return => (end, 0),
            Verdict::Continue => (next, 0),
            Verdict::Jump(chain) => (self.copy(Copy { table, chain, accept, end: next }), 0),
            Verdict::Goto(chain) => (self.copy(Copy { table, chain, accept, end }), 0),
        }
    }

    fn copy(&mut self, copy: Copy) -> Place {
        if let Some(label) = self.copies.get(&copy) {
            return Place::Label(*label);
        }
        let label = self.out.label();
        self.copies.insert(copy, label);
        self.waiting.push((copy, label));
        Place::Label(label)
    }
}
