//! Sets: elements sorted, and what nftables does with those that overlap.

use super::{Checked, Checker, arrange::arranged, concat};
use crate::language::{
    ast::{self, Element, Expr, ExprKind, SetBody, SetKey, Spanned},
    diagnostic::Diagnostic,
    names,
    ruleset::{Concat, Selector, Set, SetElement, Tuple, Verdict},
    source::Span,
    types::Type,
};

/// An element with its place.
pub(super) struct Placed {
    pub(super) element: SetElement,
    pub(super) span: Span,
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
}

impl SetState {
    pub(super) fn finish(self, problems: &mut Vec<Diagnostic>) -> Set {
        let Self { mut set, placed, tuples, jumps: _, protocol_part } = self;
        let last =
            placed.last().map_or_else(|| tuples.last().map_or_else(Span::default, |(_, span)| *span), |one| one.span);
        let has_ports = |(tuple, _): &&(Tuple, Span)| concat::has_ports(tuple, protocol_part);
        if let Some((_, span)) = tuples.iter().find(|one| !has_ports(one)) {
            problems.push(concat::no_ports(*span));
        }
        if let Some(concat) = &mut set.concat {
            match concat::arranged(tuples, &concat.types, set.interval) {
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
            let kind = if set.is_map { "map" } else { "set" };
            let message = format!("{kind} `{}` is full: {count} elements, size {size}", set.name);
            problems.push(Diagnostic::error(last, message));
        }
        set
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
            });
            table.set_index.insert(set.name.text.to_string(), table.sets.len() - 1);
            table.sets.len() - 1
        };
        match &set.body.elements {
            Some(elements) => self.fill(table, number, elements),
            None => Ok(()),
        }
    }

    /// `add element TABLE SET { .. }`
    pub(super) fn add_elements(&mut self, table: usize, set: &Spanned, elements: &Expr) -> Checked<()> {
        let number = self.tables[table].set(&set.text, set.span)?;
        self.fill(table, number, elements)
    }

    fn fill(&mut self, table: usize, number: usize, elements: &Expr) -> Checked<()> {
        let set = &self.tables[table].sets[number].set;
        let types = set.concat.as_ref().map(|concat| concat.types.clone());
        let mut filling = Filling { table, ty: set.element_type, types, is_map: set.is_map, ..Filling::default() };
        self.gather(elements, &mut filling)?;
        let Filling { mut placed, mut tuples, mut jumps, default, .. } = filling;
        let state = &mut self.tables[table].sets[number];
        state.placed.append(&mut placed);
        state.tuples.append(&mut tuples);
        state.jumps.append(&mut jumps);
        match (default, state.set.default) {
            (Some((verdict, span)), Some(old)) if verdict != old => {
                return Err(Diagnostic::error(span, "a second `*` in the map, with another verdict"));
            }
            (Some((verdict, _)), _) => state.set.default = Some(verdict),
            (None, _) => {}
        }
        Ok(())
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
        if element.verdict.is_none() && matches!(element.key.resolved().kind, ExprKind::Set(_)) {
            return self.gather(&element.key, filling);
        }
        let verdict = match &element.verdict {
            Some(verdict) if !filling.is_map => {
                return Err(Diagnostic::error(verdict.span, "verdicts in a set: only a map has them"));
            }
            None if filling.is_map => {
                let error = Diagnostic::error(element.key.span, "an element of a map needs a verdict");
                return Err(error.help("write `key : accept`"));
            }
            Some(verdict) => Some(self.verdict_in(filling.table, verdict, &mut filling.jumps)?),
            None => None,
        };
        self.budget.spend(1, element.key.span)?;
        let span = element.key.span;
        if matches!(element.key.kind, ExprKind::Any) {
            let any = verdict.filter(|_| element.comment.is_none());
            filling.default = Some((any.ok_or_else(|| plain_any(span, filling.is_map))?, span));
            return Ok(());
        }
        let comment = element.comment.as_ref().map(|comment| comment.text.to_string());
        if let Some(types) = &filling.types {
            let key = self.tuple(&element.key, types)?;
            filling.tuples.push((Tuple { key, verdict, comment }, span));
            return Ok(());
        }
        let values = self.values(&element.key, filling.ty)?;
        filling.placed.push(Placed { element: SetElement { values, verdict, comment }, span });
        Ok(())
    }
}

/// Elements on their way into a set.
struct Filling {
    table: usize,
    ty: Type,
    /// Of the parts, when keys are concatenations.
    types: Option<Vec<Type>>,
    is_map: bool,
    placed: Vec<Placed>,
    tuples: Vec<(Tuple, Span)>,
    jumps: Vec<(usize, Span)>,
    /// The verdict of `*`.
    default: Option<(Verdict, Span)>,
}

impl Default for Filling {
    fn default() -> Self {
        let (placed, tuples, jumps) = (Vec::new(), Vec::new(), Vec::new());
        Self { table: 0, ty: Type::Mark, types: None, is_map: false, placed, tuples, jumps, default: None }
    }
}

fn plain_any(span: Span, is_map: bool) -> Diagnostic {
    let what = if is_map { "a comment on `*`" } else { "`*` as an element of a set" };
    Diagnostic::error(span, format!("{what} is not supported yet"))
}

fn declaration(set: &ast::Set) -> Checked<Set> {
    let SetBody { key, verdicts, flags, auto_merge, size, policy, comment, elements: _ } = &set.body;
    let (types, selectors) = key_types(key.as_ref(), set.name.span)?;
    let (element_type, type_of) = (types[0], selectors.first().copied());
    let concat = (types.len() > 1).then(|| Concat { types, type_of: selectors, tuples: Vec::new() });
    let flag = |name: &str| flags.iter().any(|flag| &*flag.text == name);
    let size = match size {
        Some((size, span)) => Some(u32::try_from(*size).map_err(|_| Diagnostic::error(*span, "a size has 32 bits"))?),
        None => None,
    };
    Ok(Set {
        name: set.name.text.to_string(),
        element_type,
        type_of,
        constant: flag("constant"),
        interval: flag("interval"),
        auto_merge: *auto_merge,
        // The size of a constant set is that of its elements: nftables forgets the one that was written.
        size: size.filter(|_| !flag("constant")),
        saves_memory: policy.as_ref().map(saves_memory).transpose()?.unwrap_or(false),
        is_map: *verdicts,
        default: None,
        comment: comment.as_ref().map(|comment| comment.text.to_string()),
        elements: Vec::new(),
        concat,
    })
}

/// `policy`: how the kernel should choose a structure, which has no meaning here and is kept.
fn saves_memory(policy: &Spanned) -> Checked<bool> {
    match &*policy.text {
        "performance" => Ok(false),
        "memory" => Ok(true),
        other => {
            let error = Diagnostic::error(policy.span, format!("unknown policy `{other}`"));
            Err(error.help("policies of sets: performance, memory"))
        }
    }
}

/// The types of the parts, and what they were declared by; at least one.
fn key_types(key: Option<&SetKey>, span: Span) -> Checked<(Vec<Type>, Vec<Selector>)> {
    match key {
        Some(SetKey::TypeOf(selectors)) => {
            Ok((selectors.iter().map(|selector| selector.value_type()).collect(), selectors.clone()))
        }
        Some(SetKey::Type(names)) => {
            let known = |name: &Spanned| Type::ALL.iter().find(|known| known.name() == &*name.text).copied();
            let types = names.iter().map(|name| known(name).ok_or_else(|| unknown_type(name)));
            Ok((types.collect::<Checked<_>>()?, Vec::new()))
        }
        None => {
            let error = Diagnostic::error(span, "the set has no type").following();
            Err(error.help("say what it holds: `type ipv4_addr`"))
        }
    }
}

fn unknown_type(name: &Spanned) -> Diagnostic {
    let known = Type::ALL.iter().map(|known| known.name());
    let error = Diagnostic::error(name.span, format!("unknown set type `{}`", name.text));
    match names::nearest(&name.text, known.clone()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("supported types: {}", known.collect::<Vec<_>>().join(", "))),
    }
}

fn same_kind(old: &Set, new: &Set, name: &Spanned) -> Checked<()> {
    let types = |set: &Set| set.concat.as_ref().map(|concat| concat.types.clone());
    let kind = |set: &Set| (set.element_type, types(set), set.interval, set.constant, set.is_map);
    if kind(old) == kind(new) {
        return Ok(());
    }
    let message = format!("set `{}` is already defined with another type or other flags", name.text);
    Err(Diagnostic::error(name.span, message))
}
