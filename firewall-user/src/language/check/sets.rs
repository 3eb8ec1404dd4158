//! Sets and maps: what they are declared as, and their elements.

use std::collections::HashSet;

use super::{
    Checked, Checker,
    arrange::arranged,
    concat,
    declare::{declaration, same_kind},
};
use crate::language::{
    ast::{self, Element, Expr, ExprKind, Spanned},
    diagnostic::Diagnostic,
    ruleset::{CatchAll, Extras, Given, MapData, OfElement, Set, SetElement, Tuple, Values},
    source::Span,
    types::Type,
};

/// An element with its place.
pub(super) struct Placed {
    pub(super) element: SetElement,
    pub(super) span: Span,
}

/// The ends of a key's parts; empty for `*`.
type Key = Vec<(u128, u128)>;

fn ends(values: Values) -> (u128, u128) {
    (values.low, values.high)
}

/// A set so far. Its elements are put in order once, when all are there: they may come one by one.
pub(super) struct SetState {
    pub(super) set: Set,
    placed: Vec<Placed>,
    tuples: Vec<(Tuple, Span)>,
    /// Where the verdicts of a map jump to.
    pub(super) jumps: Vec<(usize, Span)>,
    /// The part that must be a protocol with ports, because a rule looks for `th` beside it.
    pub(super) protocol_part: Option<usize>,
    /// What its elements' statements start from.
    statements: Vec<OfElement>,
}

impl SetState {
    pub(super) fn finish(self, problems: &mut Vec<Diagnostic>) -> Set {
        let Self { mut set, placed, tuples, jumps: _, protocol_part, statements: _ } = self;
        let last =
            placed.last().map_or_else(|| tuples.last().map_or_else(Span::default, |(_, span)| *span), |one| one.span);
        let has_ports = |(tuple, _): &&(Tuple, Span)| concat::has_ports(tuple, protocol_part);
        if let Some((_, span)) = tuples.iter().find(|one| !has_ports(one)) {
            problems.push(concat::no_ports(*span));
        }
        if let Some(concat) = &mut set.concat {
            let arranged = if set.constant { concat::arranged_for_good } else { concat::arranged };
            match arranged(tuples, &concat.types, set.interval) {
                Ok(arranged) => concat.tuples = arranged,
                Err(problem) => problems.push(problem),
            }
        }
        match arranged(placed, &set) {
            Ok(elements) => set.elements = elements,
            Err(problem) => problems.push(problem),
        }
        let count = set.concat.as_ref().map_or(set.elements.len(), |concat| concat.tuples.len());
        if let Some(size) = set.size.filter(|size| count > *size as usize) {
            let message = format!("{} `{}` is full: {count} elements, size {size}", set.kind(), set.name);
            problems.push(Diagnostic::error(last, message));
        }
        set
    }

    /// The keys of its elements.
    fn keys(&self) -> impl Iterator<Item = Key> {
        let plain = self.placed.iter().map(|one| vec![ends(one.element.values)]);
        let tuples = self.tuples.iter().map(|(tuple, _)| tuple.key.iter().copied().map(ends).collect());
        plain.chain(tuples).chain(self.set.catch_all.iter().map(|_| Vec::new()))
    }

    /// Takes all elements out.
    pub(super) fn flush(&mut self) {
        self.placed.clear();
        self.tuples.clear();
        self.jumps.clear();
        self.set.catch_all = None;
    }
}

impl Checker<'_> {
    /// `set NAME { .. }`: makes a set, or adds to one of the same kind.
    pub(super) fn named_set(&mut self, table: usize, set: &ast::Set) -> Checked<()> {
        let declared = declaration(set)?;
        let known = self.tables[table].set_index.get(&*set.name.text).copied();
        let number = if let Some(number) = known {
            same_kind(&self.tables[table].sets[number].set, &declared, &set.name)?;
            number
        } else {
            let table = &mut self.tables[table];
            table.sets.push(SetState {
                set: declared,
                placed: Vec::new(),
                tuples: Vec::new(),
                jumps: Vec::new(),
                protocol_part: None,
                statements: set.body.statements.iter().map(|(statement, _)| *statement).collect(),
            });
            table.set_index.insert(set.name.text.to_string(), table.sets.len() - 1);
            table.sets.len() - 1
        };
        match &set.body.elements {
            Some(elements) => self.fill(table, number, elements),
            None => Ok(()),
        }
    }

    /// Makes the set of a meter.
    pub(super) fn declare_meter(&mut self, table: usize, set: Set) -> usize {
        let state = &mut self.tables[table];
        state.set_index.insert(set.name.clone(), state.sets.len());
        state.sets.push(SetState {
            set,
            placed: Vec::new(),
            tuples: Vec::new(),
            jumps: Vec::new(),
            protocol_part: None,
            statements: Vec::new(),
        });
        state.sets.len() - 1
    }

    /// `add element TABLE SET { .. }`
    pub(super) fn add_elements(&mut self, table: usize, set: &Spanned, elements: &Expr) -> Checked<()> {
        let number = self.tables[table].set(&set.text, set.span)?;
        self.fill(table, number, elements)
    }

    /// `create element`: none of them may be there.
    pub(super) fn elements_are_new(&mut self, table: usize, set: &Spanned, elements: &Expr) -> Checked<()> {
        let number = self.tables[table].set(&set.text, set.span)?;
        let filling = self.gathered(table, number, elements, true)?;
        let state = &self.tables[table].sets[number];
        let known: HashSet<Key> = state.keys().collect();
        let old = filling.keys().into_iter().find(|(key, _)| known.contains(key));
        match old {
            Some((_, span)) => {
                Err(Diagnostic::error(span, "this element is already there").help("`add` does not mind"))
            }
            None => Ok(()),
        }
    }

    /// `delete element TABLE SET { .. }`: all of them must be there.
    pub(super) fn delete_elements(&mut self, table: usize, set: &Spanned, elements: &Expr) -> Checked<()> {
        let number = self.tables[table].set(&set.text, set.span)?;
        if self.tables[table].sets[number].set.interval {
            let message = "a file cannot take elements out of a set with intervals that it makes itself";
            let error = Diagnostic::error(set.span, message);
            return Err(error.help("nft 1.0.6 takes this and leaves them in; leave them out where they are added"));
        }
        let filling = self.gathered(table, number, elements, false)?;
        let state = &mut self.tables[table].sets[number];
        let known: HashSet<Key> = state.keys().collect();
        let wanted = filling.keys();
        if let Some((_, span)) = wanted.iter().find(|(key, _)| !known.contains(key)) {
            return Err(Diagnostic::error(
                *span,
                format!("this element is not in {} `{}`", state.set.kind(), set.text),
            ));
        }
        if filling.catch_all.is_some() {
            state.set.catch_all = None;
        }
        let gone: HashSet<Key> = wanted.into_iter().map(|(key, _)| key).collect();
        state.placed.retain(|one| !gone.contains(&vec![ends(one.element.values)]));
        state.tuples.retain(|(tuple, _)| !gone.contains(&tuple.key.iter().copied().map(ends).collect::<Key>()));
        Ok(())
    }

    /// `flush set TABLE SET`
    pub(super) fn flush_set(&mut self, table: usize, set: &Spanned) -> Checked<()> {
        let number = self.tables[table].set(&set.text, set.span)?;
        self.tables[table].sets[number].flush();
        Ok(())
    }

    /// Elements by themselves; `complete` when a map's must have their data.
    fn gathered(&mut self, table: usize, number: usize, elements: &Expr, complete: bool) -> Checked<Filling> {
        let mut filling = Filling { complete, ..Filling::new(table, &self.tables[table].sets[number]) };
        self.gather(elements, &mut filling)?;
        Ok(filling)
    }

    fn fill(&mut self, table: usize, number: usize, elements: &Expr) -> Checked<()> {
        let filling = self.gathered(table, number, elements, true)?;
        let Filling { mut placed, mut tuples, mut jumps, catch_all, .. } = filling;
        let state = &mut self.tables[table].sets[number];
        state.placed.append(&mut placed);
        state.tuples.append(&mut tuples);
        state.jumps.append(&mut jumps);
        let Some((catch_all, span)) = catch_all else { return Ok(()) };
        match &state.set.catch_all {
            Some(old) if old.given != catch_all.given => {
                Err(Diagnostic::error(span, "a second `*` in the map, with another verdict or value"))
            }
            Some(_) | None => {
                state.set.catch_all = Some(catch_all);
                Ok(())
            }
        }
    }

    fn gather(&mut self, elements: &Expr, filling: &mut Filling) -> Checked<()> {
        let ExprKind::Set(elements) = &elements.resolved().kind else {
            return Err(Diagnostic::error(elements.span, "expected `{ elements }`"));
        };
        for element in elements {
            self.gather_one(element, filling)?;
        }
        Ok(())
    }

    fn gather_one(&mut self, element: &Element, filling: &mut Filling) -> Checked<()> {
        if element.given.is_none() && matches!(element.key.resolved().kind, ExprKind::Set(_)) {
            return self.gather(&element.key, filling);
        }
        let given = self.given(element, filling)?;
        let extras = filling.extras(element)?;
        self.budget.spend(1, element.key.span)?;
        let span = element.key.span;
        if matches!(element.key.kind, ExprKind::Any) {
            filling.catch_all = Some((CatchAll { given, extras }, span));
            return Ok(());
        }
        if let Some(types) = &filling.types {
            let key = self.tuple(&element.key, types)?;
            filling.tuples.push((Tuple { key, given, extras }, span));
            return Ok(());
        }
        let values = self.values(&element.key, filling.ty)?;
        filling.placed.push(Placed { element: SetElement { values, given, extras }, span });
        Ok(())
    }

    /// What an element of a map gives; an element of a set gives nothing.
    fn given(&mut self, element: &Element, filling: &mut Filling) -> Checked<Option<Given>> {
        let span = element.key.span;
        match (&element.given, &filling.data) {
            (None, None) => Ok(None),
            (None, Some(_)) if !filling.complete => Ok(None),
            (Some(ast::Given::Verdict(verdict)), None) => {
                Err(Diagnostic::error(verdict.span, "verdicts in a set: only a map has them"))
            }
            (Some(ast::Given::Value(value)), None) => {
                Err(Diagnostic::error(value.span, "data in a set: only a map has it")
                    .help("write `map` instead of `set`"))
            }
            (None, Some(MapData::Verdicts)) => {
                Err(Diagnostic::error(span, "an element of a map needs a verdict").help("write `key : accept`"))
            }
            (None, Some(MapData::Values { .. })) => {
                Err(Diagnostic::error(span, "an element of a map needs data").help("write `key : value`"))
            }
            (Some(ast::Given::Verdict(verdict)), Some(MapData::Verdicts)) => {
                Ok(Some(Given::Verdict(self.verdict_in(filling.table, verdict, &mut filling.jumps)?)))
            }
            (Some(ast::Given::Value(value)), Some(MapData::Verdicts)) => {
                let error =
                    Diagnostic::error(value.span, "expected a verdict: accept, drop, jump, goto, return or continue");
                Err(error.help("the map is declared with `: verdict`"))
            }
            (Some(ast::Given::Verdict(verdict)), Some(MapData::Values { types, .. })) => {
                let message = format!("a verdict in a map to {}", concat::type_names(types));
                Err(Diagnostic::error(verdict.span, message))
            }
            (Some(ast::Given::Value(value)), Some(MapData::Values { types, type_of: _, interval })) => {
                self.data(value, types, *interval).map(|values| Some(Given::Values(values)))
            }
        }
    }

    /// Data of a map: a value for each part.
    pub(super) fn data(&mut self, value: &Expr, types: &[Type], interval: bool) -> Checked<Vec<Values>> {
        let values = match types {
            [ty] => vec![super::arrange::shaped(self.values(value, *ty)?, *ty)],
            _ => self.tuple(value, types)?,
        };
        let is_run = |one: &Values| one.low != one.high;
        if !interval && values.iter().any(is_run) {
            let error = Diagnostic::error(value.span, "a range or prefix as data: a packet gets one value");
            return Err(error.help("`: interval ipv4_addr` declares a map to ranges, which NAT takes"));
        }
        Ok(values)
    }
}

/// Elements on their way into a set.
struct Filling {
    table: usize,
    ty: Type,
    /// Of the parts, when keys are concatenations.
    types: Option<Vec<Type>>,
    data: Option<MapData>,
    /// Has the set a timeout of its own; may its elements have one; do they count?
    has_timeout: bool,
    timeouts: bool,
    statements: Vec<OfElement>,
    /// Must elements of a map say what they give?
    complete: bool,
    placed: Vec<Placed>,
    tuples: Vec<(Tuple, Span)>,
    jumps: Vec<(usize, Span)>,
    catch_all: Option<(CatchAll, Span)>,
}

impl Filling {
    fn new(table: usize, state: &SetState) -> Self {
        let set = &state.set;
        Self {
            table,
            ty: set.element_type,
            types: set.concat.as_ref().map(|concat| concat.types.clone()),
            data: set.data.clone(),
            has_timeout: set.timeout.is_some(),
            timeouts: set.timeouts,
            statements: state.statements.clone(),
            complete: true,
            placed: Vec::new(),
            tuples: Vec::new(),
            jumps: Vec::new(),
            catch_all: None,
        }
    }

    /// The elements' keys, and where they stand.
    fn keys(&self) -> Vec<(Key, Span)> {
        let plain = self.placed.iter().map(|one| (vec![ends(one.element.values)], one.span));
        let tuples = self.tuples.iter().map(|(tuple, span)| (tuple.key.iter().copied().map(ends).collect(), *span));
        let any = self.catch_all.iter().map(|(_, span)| (Vec::new(), *span));
        plain.chain(tuples).chain(any).collect()
    }

    /// What an element has behind its key, as far as the set allows it.
    fn extras(&self, element: &Element) -> Checked<Extras> {
        let ast::ElementOptions { statements, timeout, expires, comment } = &element.options;
        let statements = self.statements(statements)?;
        if let Some((_, span)) = timeout.or(*expires).filter(|_| !self.timeouts) {
            let error = Diagnostic::error(span, "a timeout in a set without `flags timeout`");
            return Err(error.help("add `flags timeout`, or a `timeout` for all elements"));
        }
        if let Some((_, span)) = expires.filter(|_| timeout.is_none() && !self.has_timeout) {
            return Err(Diagnostic::error(span, "`expires` on an element without a timeout"));
        }
        if let Some((_, span)) = expires.filter(|(left, _)| timeout.is_some_and(|(time, _)| *left > time)) {
            return Err(Diagnostic::error(span, "this element would expire after its timeout"));
        }
        Ok(Extras {
            counter: statements.iter().find_map(|one| match one {
                OfElement::Counter(packets, bytes) => Some((*packets, *bytes)),
                OfElement::Limit(_) | OfElement::Quota(_) | OfElement::Connections { .. } => None,
            }),
            others: statements.into_iter().filter(|one| !matches!(one, OfElement::Counter(..))).collect(),
            timeout: timeout.map(|(time, _)| time).filter(|time| *time != 0),
            expires: expires.map(|(time, _)| time),
            comment: comment.as_ref().map(|comment| comment.text.to_string()),
        })
    }

    /// What an element keeps for itself: what it says, or what the set says for all.
    fn statements(&self, said: &[(OfElement, Span)]) -> Checked<Vec<OfElement>> {
        let Some((first, span)) = said.first() else { return Ok(self.statements.clone()) };
        let same = |((said, _), set): (&(OfElement, Span), &OfElement)| said.name() == set.name();
        if said.len() == self.statements.len() && said.iter().zip(&self.statements).all(same) {
            return match said.iter().zip(&self.statements).find(|((said, _), set)| said.fresh() != set.fresh()) {
                Some(((_, span), set)) => {
                    let message = format!("elements of this set have `{}`, all of them", set.text());
                    Err(Diagnostic::error(*span, message))
                }
                None => Ok(said.iter().map(|(said, _)| *said).collect()),
            };
        }
        if self.statements.is_empty() {
            let message = format!("`{0}` on an element of a set without `{0}`", first.name());
            let error = Diagnostic::error(*span, message);
            return Err(error.help(format!("write `{}` in the set: then each of its elements has one", first.name())));
        }
        let of_set = self.statements.iter().map(OfElement::name).collect::<Vec<_>>().join(", ");
        Err(Diagnostic::error(*span, format!("elements of this set have these statements, in this order: {of_set}")))
    }
}
