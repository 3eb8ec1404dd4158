//! Rules: statement by statement, left to right.

use super::{
    Checked, Checker, context::Context, matches::only_values, reading, stateful::checked_log, tables::ChainState,
};
use crate::language::{
    ast::{self, Element, Expr, ExprKind, Given, Left, RulePlace, StatementKind, VerdictKind},
    diagnostic::Diagnostic,
    ruleset::{Comparison, ConcatKeys, Data, MapElement, Origin, Rule, Selector, Statement, Subject, Values, Verdict},
    source::Span,
    types::Type,
};

/// The place of a rule while it is checked.
struct Place {
    table: usize,
    chain: usize,
}

impl Checker<'_> {
    /// Checks a rule and puts it into its chain.
    pub(super) fn rule(&mut self, table: usize, chain: usize, written: &ast::Rule, place: RulePlace) {
        if self.diagnostics.is_full() {
            return;
        }
        self.tables[table].looked_up.borrow_mut().clear();
        let checked = self.checked_rule(&Place { table, chain }, written);
        let mut sets = self.tables[table].looked_up.take();
        self.tables[table].chains[chain].sets.append(&mut sets);
        let placed = checked.and_then(|rule| self.place(table, chain, (rule, written.span), place));
        if let Err(diagnostic) = placed {
            self.report(diagnostic);
        }
    }

    fn place(&mut self, table: usize, chain: usize, (rule, span): (Rule, Span), place: RulePlace) -> Checked<()> {
        let state = &mut self.tables[table].chains[chain];
        match place {
            RulePlace::Last => {}
            RulePlace::First => {
                state.rules.push_front(rule);
                return Ok(());
            }
            RulePlace::Behind(number, span) | RulePlace::Before(number, span) => {
                if state.flushed > 0 {
                    return Err(counted_from_flushed(span));
                }
                if number >= state.rules.len() {
                    return Err(no_such_rule(state, number, span));
                }
                state.rules.insert(number + usize::from(matches!(place, RulePlace::Behind(..))), rule);
                return Ok(());
            }
        }
        let unreachable = state.closed;
        let closes = rule.statements.iter().all(always_goes_on) && rule.statements.last().is_some_and(is_final);
        // One warning a chain is enough.
        state.closed = closes;
        state.rules.push_back(rule);
        if unreachable {
            let warning = Diagnostic::warning(span, "no packet gets here: the rule before decides about every packet");
            self.report(warning);
        }
        Ok(())
    }

    fn checked_rule(&mut self, place: &Place, written: &ast::Rule) -> Checked<Rule> {
        let mut context = Context::new(self.tables[place.table].family);
        let mut statements = Vec::with_capacity(written.statements.len());
        for statement in &written.statements {
            let checked = self.statement(place, statement, &mut context)?;
            statements.extend(context.implied.take().map(Statement::Match));
            statements.push(checked);
        }
        statements.splice(0..0, std::mem::take(&mut context.in_front).into_iter().map(Statement::Match));
        let comment = written.comment.as_ref().map(|comment| comment.text.to_string());
        Ok(Rule { statements, comment, origin: self.origin(written.span) })
    }

    fn origin(&self, span: Span) -> Origin {
        let span = self.diagnostics.sources.written(span);
        let line = self.diagnostics.sources.get(span.source).map_or(0, |source| source.line(span.start));
        Origin { file: span.source, line }
    }

    fn statement(&mut self, place: &Place, written: &ast::Statement, context: &mut Context) -> Checked<Statement> {
        Ok(match &written.kind {
            StatementKind::Match(left, relation, right) if !left.more.is_empty() => {
                self.concat_match(place.table, (left, *relation, right), context)?
            }
            StatementKind::Match(left, relation, right) => {
                Statement::Match(self.a_match(place.table, (left, *relation, right), context)?)
            }
            StatementKind::Flags(left, relation, value, mask) => {
                Statement::Match(self.flag_match((left, *relation, value, mask), context)?)
            }
            StatementKind::Map(left, elements) if !left.more.is_empty() => {
                let (map, mut jumps) = self.concat_map(place.table, (left, elements), context)?;
                let chain = &mut self.tables[place.table].chains[place.chain];
                chain.jumps.append(&mut jumps);
                if let Statement::ConcatMap { keys: ConcatKeys::Named(map), .. } = &map {
                    chain.maps.push(*map);
                }
                map
            }
            StatementKind::Map(left, elements) => self.map(place, left, elements, context)?,
            StatementKind::Update(update) => self.set_update(place.table, update, context)?,
            StatementKind::Assign(target, value) => {
                self.assignment((place.table, place.chain), (target, value), context)?
            }
            StatementKind::Counter(packets, bytes) => Statement::Counter { packets: *packets, bytes: *bytes },
            StatementKind::NoTrack => Statement::NoTrack,
            StatementKind::Log(log) => Statement::Log(checked_log(log, written.span)?),
            StatementKind::Limit(limit) => Statement::Limit(*limit),
            StatementKind::Quota(quota) => Statement::Quota(*quota),
            StatementKind::Connections { over, count } => Statement::Connections { over: *over, count: *count },
            StatementKind::Object(kind, name) => Statement::Object(self.tables[place.table].object(*kind, name)?),
            StatementKind::ObjectMap(kind, key, map) => {
                Statement::ObjectMap(*kind, self.object_map(place.table, *kind, (key, map), context)?)
            }
            StatementKind::Synproxy(proxy) => Statement::Synproxy(*proxy),
            StatementKind::Flow(name) => {
                Statement::Flow(self.tables[place.table].flowtable(place.chain, name, written.span)?)
            }
            StatementKind::Reject(with) => {
                self.tables[place.table].chains[place.chain].rejects.push(written.span);
                Statement::Reject(context.reject(*with, written.span)?)
            }
            StatementKind::Nat(nat) => {
                Statement::Nat(self.nat((place.table, place.chain), nat, context, written.span)?)
            }
            StatementKind::Verdict(verdict) => Statement::Verdict(self.verdict(place, verdict)?),
        })
    }

    fn verdict(&mut self, place: &Place, written: &ast::Verdict) -> Checked<Verdict> {
        let mut jumps = Vec::new();
        let verdict = self.verdict_in(place.table, written, &mut jumps)?;
        self.tables[place.table].chains[place.chain].jumps.append(&mut jumps);
        Ok(verdict)
    }

    /// A verdict, and where it jumps to.
    pub(super) fn verdict_in(
        &self,
        table: usize,
        written: &ast::Verdict,
        jumps: &mut Vec<(usize, Span)>,
    ) -> Checked<Verdict> {
        Ok(match &written.kind {
            VerdictKind::Accept => Verdict::Accept,
            VerdictKind::Drop => Verdict::Drop,
            VerdictKind::Return => Verdict::Return,
            VerdictKind::Continue => Verdict::Continue,
            VerdictKind::Jump(chain) => Verdict::Jump(self.jump(table, chain, jumps)?),
            VerdictKind::Goto(chain) => Verdict::Goto(self.jump(table, chain, jumps)?),
        })
    }

    fn jump(&self, table: usize, name: &ast::Spanned, jumps: &mut Vec<(usize, Span)>) -> Checked<usize> {
        let table = &self.tables[table];
        let target = table.chain(name)?;
        if table.chains[target].base.is_some() {
            let message = format!("`{}` is a base chain: packets come to it from its hook, not by a jump", name.text);
            return Err(Diagnostic::error(name.span, message));
        }
        jumps.push((target, name.span));
        Ok(target)
    }

    fn map(&mut self, place: &Place, left: &Left, elements: &Expr, context: &mut Context) -> Checked<Statement> {
        let (subject, turned) = self.subject(left, context)?;
        only_values(subject, turned, false, left.span)?;
        if let ExprKind::Named(name) = &elements.resolved().kind {
            reading::any_type_told(&subject, left.span)?;
            return self.named_map(place, subject, (name, elements.span));
        }
        let ExprKind::Set(written) = &elements.resolved().kind else { return Err(no_map(elements)) };
        if written.is_empty() {
            return Err(Diagnostic::error(elements.span, "an empty map matches nothing"));
        }
        if subject.mask.is_some() && subject.selector.value_type().bits() > 32 {
            return Err(Diagnostic::error(
                left.span,
                "a masked address of this length can only be compared with one value",
            ));
        }
        self.budget.spend(written.len(), elements.span)?;
        let ty = subject.selector.value_type();
        let mut placed = Vec::with_capacity(written.len());
        for element in written {
            placed.push((self.map_element(place, element, ty)?, element.key.span));
        }
        let elements = arranged(placed)?;
        let keys = elements.iter().filter_map(|element| element.key.as_ref());
        reading::types_told(&subject, (keys, Comparison::Equal), left.span)?;
        Ok(Statement::Map { subject, elements })
    }

    fn named_map(&mut self, place: &Place, subject: Subject, (name, span): (&str, Span)) -> Checked<Statement> {
        let map = self.tables[place.table].set(name, span)?;
        let found = &self.tables[place.table].sets[map].set;
        if !found.gives_verdicts() {
            let what =
                found.data.as_ref().map_or("a set: only a map has verdicts", |_| "a map to data, not to verdicts");
            return Err(Diagnostic::error(span, format!("`{name}` is {what}")));
        }
        self.set_type_fits(place.table, map, subject, span)?;
        self.tables[place.table].chains[place.chain].maps.push(map);
        Ok(Statement::NamedMap { subject, map })
    }

    fn map_element(&mut self, place: &Place, element: &Element, ty: Type) -> Checked<MapElement> {
        super::matches::no_options(element)?;
        let Some(Given::Verdict(verdict)) = &element.given else {
            let span = element.given.as_ref().map_or(element.key.span, Given::span);
            let error = Diagnostic::error(span, "an element of a map needs a verdict");
            return Err(error.help("write `key : accept`"));
        };
        let verdict = self.verdict(place, verdict)?;
        let key = match element.key.kind {
            ExprKind::Any => None,
            _ => Some(self.values(&element.key, ty)?),
        };
        Ok(MapElement { key, verdict })
    }
}

fn counted_from_flushed(span: Span) -> Diagnostic {
    let error = Diagnostic::error(span, "`index` in a chain that this file has flushed");
    error.help("nft still counts the rules that were flushed: write the rules in their order instead")
}

fn no_such_rule(chain: &ChainState, number: usize, span: Span) -> Diagnostic {
    let rules = chain.rules.len();
    let error = Diagnostic::error(span, format!("chain `{}` has no rule {number}", chain.name));
    error.help(format!("the first rule is number 0; so far the file gave this chain {rules}"))
}

fn no_map(elements: &Expr) -> Diagnostic {
    let error = Diagnostic::error(elements.span, "expected `{ key : verdict, .. }` or `@map` after `vmap`");
    error.help("such as `vmap { 22 : accept, 80 : jump web }`")
}

/// Elements in order of their keys, `*` last. A key given twice must say the same twice.
fn arranged(mut placed: Vec<(MapElement, Span)>) -> Checked<Vec<MapElement>> {
    let order = |values: Values| (values.low, values.high);
    placed.sort_by_key(|(element, _)| (element.key.is_none(), element.key.map(order)));
    let mut kept: Vec<(MapElement, Span)> = Vec::with_capacity(placed.len());
    for (element, span) in placed {
        match kept.last() {
            Some((last, _)) if *last == element => {}
            Some((last, other)) if overlaps(*last, element) => {
                let message = "this key overlaps another one of the map";
                return Err(Diagnostic::error(span.max(*other), message));
            }
            Some(_) | None => kept.push((element, span)),
        }
    }
    Ok(kept.into_iter().map(|(element, _)| element).collect())
}

fn overlaps(before: MapElement, after: MapElement) -> bool {
    match (before.key, after.key) {
        (Some(before), Some(after)) => after.low <= before.high,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Does every packet get past this statement, or end at it?
fn always_goes_on(statement: &Statement) -> bool {
    match statement {
        Statement::Match(_)
        | Statement::Map { .. }
        | Statement::NamedMap { .. }
        | Statement::Concat { .. }
        | Statement::ConcatMap { .. }
        | Statement::Update(_)
        | Statement::Limit(_)
        | Statement::Quota(_)
        | Statement::Connections { .. }
        | Statement::Object(_)
        | Statement::ObjectMap(..)
        | Statement::Flow(_)
        | Statement::Synproxy(_) => false,
        // What is read, or the header that is written to, may not be there.
        Statement::Assign { target, value } => {
            let is_there = target.network.is_none() && !matches!(target.selector, Selector::Reading(_));
            is_there && matches!(value, Data::Constant(_))
        }
        Statement::Counter { .. }
        | Statement::Log(_)
        | Statement::NoTrack
        | Statement::Verdict(_)
        | Statement::Reject(_) => true,
        // What a map does not give is not translated to.
        Statement::Nat(nat) => nat.lookups().next().is_none(),
    }
}

fn is_final(statement: &Statement) -> bool {
    match statement {
        Statement::Verdict(verdict) => match verdict {
            Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Goto(_) => true,
            Verdict::Continue | Verdict::Jump(_) => false,
        },
        Statement::Reject(_) => true,
        Statement::Match(_)
        | Statement::Map { .. }
        | Statement::NamedMap { .. }
        | Statement::Concat { .. }
        | Statement::ConcatMap { .. }
        | Statement::Update(_)
        | Statement::Assign { .. }
        | Statement::Counter { .. }
        | Statement::NoTrack
        | Statement::Nat(_)
        | Statement::Limit(_)
        | Statement::Quota(_)
        | Statement::Connections { .. }
        | Statement::Object(_)
        | Statement::ObjectMap(..)
        | Statement::Flow(_)
        | Statement::Synproxy(_)
        | Statement::Log(_) => false,
    }
}
