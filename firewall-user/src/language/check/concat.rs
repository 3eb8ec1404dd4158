//! Concatenations: values that are looked up together.

use firewall_common::packet::REGISTERS;

use super::{Checked, Checker, arrange, context::Context, matches::no_options, reading};
use crate::language::{
    ast::{Expr, ExprKind, Given, Left, Relation},
    diagnostic::Diagnostic,
    reading::Reading,
    ruleset::{self, ConcatKeys, Extras, Form, Selector, Statement, Subject, Transport, Tuple, Values, Verdict},
    source::Span,
    types::Type,
};

/// Elements of a concatenation's set in a rule, where each becomes tests of its own.
const MAX_TUPLES: usize = 4096;

/// Elements of which each is compared with all others.
const FEW: usize = 256;

/// Pairs of elements that are compared at most.
const MAX_PAIRS: usize = 1 << 26;

impl Checker<'_> {
    /// `ip saddr . tcp dport { .. }`
    pub(super) fn concat_match(
        &mut self,
        table: usize,
        (left, relation, right): (&Left, Relation, &Expr),
        context: &mut Context,
    ) -> Checked<Statement> {
        let negated = match relation {
            Relation::Implicit | Relation::Equal => false,
            Relation::NotEqual => true,
            _ => return Err(Diagnostic::error(left.span, "a set can only be compared by `==` and `!=`")),
        };
        let mut subjects = self.concat_subjects(left, context)?;
        let (keys, _) = self.concat_keys(table, &subjects, right, false)?;
        self.know_ports(table, &mut subjects, (&keys, negated));
        Ok(Statement::Concat { subjects, negated, keys })
    }

    /// `ip saddr . tcp dport vmap { .. }`, and where the verdicts jump to.
    pub(super) fn concat_map(
        &mut self,
        table: usize,
        (left, right): (&Left, &Expr),
        context: &mut Context,
    ) -> Checked<(Statement, Vec<(usize, Span)>)> {
        let mut subjects = self.concat_subjects(left, context)?;
        let (keys, jumps) = self.concat_keys(table, &subjects, right, true)?;
        self.know_ports(table, &mut subjects, (&keys, false));
        Ok((Statement::ConcatMap { subjects, keys }, jumps))
    }

    /// The parts of a concatenation.
    pub(super) fn concat_subjects(&mut self, left: &Left, context: &mut Context) -> Checked<Vec<Subject>> {
        let first = Left { more: Vec::new(), ..left.clone() };
        let mut subjects = Vec::with_capacity(left.more.len() + 1);
        for part in [&first].into_iter().chain(&left.more) {
            let ty = part.selector.value_type();
            if ty.is_bit_field() && part.selector != Selector::VlanId {
                let message = "fields of less than whole bytes cannot be part of a concatenation";
                return Err(Diagnostic::error(part.span, message).help("nft 1.0.6 reads them shifted"));
            }
            let (subject, turned) = self.subject(part, context)?;
            reading::any_type_told(&subject, part.span)?;
            if subject.or != 0 || turned != 0 || (subject.mask.is_some() && ty.bits() > 32) {
                return Err(Diagnostic::error(
                    part.span,
                    "only `&` with 32 bits at most is supported in a concatenation",
                ));
            }
            subjects.push(subject);
        }
        let registers: usize = subjects.iter().map(registers).sum();
        if registers > REGISTERS {
            let message =
                "this concatenation reads too much: eight values of up to 32 bits, of which a longer one takes four";
            return Err(Diagnostic::error(left.span, message).help("write one match after the other"));
        }
        Ok(subjects)
    }

    fn concat_keys(
        &mut self,
        table: usize,
        subjects: &[Subject],
        right: &Expr,
        is_map: bool,
    ) -> Checked<(ConcatKeys, Vec<(usize, Span)>)> {
        let types: Vec<Type> = subjects.iter().map(|subject| subject.selector.value_type()).collect();
        match &right.resolved().kind {
            ExprKind::Named(name) => {
                let set = self.tables[table].set(name, right.resolved().span)?;
                self.concat_fits(table, set, (&types, is_map), right.span)?;
                Ok((ConcatKeys::Named(set), Vec::new()))
            }
            ExprKind::Set(_) => self.listed(table, &types, right, is_map),
            _ => {
                let error = Diagnostic::error(right.span, "a concatenation is compared with a set");
                Err(error.help("write `{ 192.0.2.1 . 22 }`, or one match after the other"))
            }
        }
    }

    fn concat_fits(&self, table: usize, set: usize, (types, is_map): (&[Type], bool), span: Span) -> Checked<()> {
        let found = &self.tables[table].sets[set].set;
        if is_map && !found.data_types().is_empty() {
            return Err(Diagnostic::error(span, "this is a map to data, expected one to verdicts"));
        }
        if found.data.is_some() != is_map {
            let (found, expected) = if is_map { ("a set", "a map") } else { ("a map", "a set") };
            return Err(Diagnostic::error(span, format!("this is {found}, expected {expected}")));
        }
        let held = found.key_types();
        if held == types {
            return Ok(());
        }
        let message = format!("expected a set of type {}, this one holds {}", type_names(types), type_names(&held));
        Err(Diagnostic::error(span, message))
    }

    fn listed(
        &mut self,
        table: usize,
        types: &[Type],
        right: &Expr,
        is_map: bool,
    ) -> Checked<(ConcatKeys, Vec<(usize, Span)>)> {
        let found = self.concat_elements(table, types, right, is_map)?;
        let (tuples, jumps, default) = found;
        if tuples.is_empty() && default.is_none() {
            return Err(Diagnostic::error(right.span, "an empty set matches nothing"));
        }
        let interval = tuples.iter().any(|(tuple, _)| tuple.key.iter().any(|part| part.form != Form::Single));
        let tuples = arranged_for_good(tuples, types, interval)?;
        Ok((ConcatKeys::Listed { tuples, default }, jumps))
    }

    /// The values of each part of an element.
    pub(super) fn tuple(&mut self, key: &Expr, types: &[Type]) -> Checked<Vec<Values>> {
        let parts = match &key.resolved().kind {
            ExprKind::Concat(parts) => &parts[..],
            _ => std::slice::from_ref(key),
        };
        if parts.len() != types.len() {
            let message = format!("expected {} values with ` . ` between them: {}", types.len(), type_names(types));
            return Err(Diagnostic::error(key.span, message));
        }
        let mut values = Vec::with_capacity(parts.len());
        for (part, ty) in parts.iter().zip(types) {
            let run = self.values(part, *ty)?;
            if run.form != Form::Single && matches!(ty, Type::Mark | Type::IfIndex | Type::CtState) {
                let message = format!("a range or prefix of {} cannot be part of a concatenation", ty.name());
                return Err(
                    Diagnostic::error(part.span, message).help("nft 1.0.6 reads it in the machine's byte order")
                );
            }
            values.push(arrange::shaped(run, *ty));
        }
        Ok(values)
    }
}

/// Words that a part is read into.
fn registers(subject: &Subject) -> usize {
    match subject.selector {
        Selector::Reading(reading) if reading.value_type().bits() > 32 => 4,
        Selector::Reading(_) => 1,
        _ => 0,
    }
}

/// Types as they are written.
pub(super) fn type_names(types: &[Type]) -> String {
    types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ")
}

/// Elements of a set that cannot change, in nftables' order.
pub(super) fn arranged_for_good(tuples: Vec<(Tuple, Span)>, types: &[Type], interval: bool) -> Checked<Vec<Tuple>> {
    let is_listed = interval || !tuples.iter().all(|(tuple, _)| tuple.key.iter().all(is_single));
    if let Some((_, span)) = tuples.get(MAX_TUPLES).filter(|_| is_listed) {
        let message = format!("more than {MAX_TUPLES} elements in a set of concatenations that cannot change");
        return Err(Diagnostic::error(*span, message)
            .help("declare a set without `constant`, and name it in the rule: `@NAME`"));
    }
    arranged(tuples, types, interval)
}

/// Elements in nftables' order: those without ranges sorted, others as written. None may overlap another.
pub(super) fn arranged(mut tuples: Vec<(Tuple, Span)>, types: &[Type], interval: bool) -> Checked<Vec<Tuple>> {
    let runs = |(tuple, _): &&(Tuple, Span)| !tuple.key.iter().all(is_single);
    let first_run = tuples.iter().find(runs).map(|(_, span)| *span);
    if !interval && tuples.len() > FEW && first_run.is_none() {
        return single(tuples, types);
    }
    if let Some(span) = first_run.filter(|_| !interval) {
        return Err(Diagnostic::error(span, "prefixes and ranges need a set with `flags interval`"));
    }
    let again = again(&tuples)?;
    let mut at = 0..tuples.len();
    tuples.retain(|_| at.next().is_some_and(|at| !again[at]));
    if !interval {
        tuples.sort_by_cached_key(|(tuple, _)| sort_key(&tuple.key, types));
    }
    Ok(tuples.into_iter().map(|(tuple, _)| tuple).collect())
}

/// Which elements are there a second time. An element that overlaps another one is refused.
///
/// Those that overlap in one of the parts are compared, of all parts the one in which the fewest do.
fn again(tuples: &[(Tuple, Span)]) -> Checked<Vec<bool>> {
    let part = |part: usize| move |at: &usize| tuples[*at].0.key[part];
    let parts = tuples.first().map_or(0, |(tuple, _)| tuple.key.len());
    let Some((pairs, best)) = (0..parts).map(|one| (pairs(tuples, one), one)).min() else {
        return Ok(Vec::new());
    };
    if let Some((_, span)) = tuples.last().filter(|_| pairs > MAX_PAIRS) {
        let message =
            format!("of {} elements too many overlap in each of their parts alone to tell which overlap", tuples.len());
        return Err(Diagnostic::error(*span, message).help("split the set by its first part"));
    }
    let mut order: Vec<usize> = (0..tuples.len()).collect();
    order.sort_by_key(|at| (part(best)(at).low, *at));
    let (mut again, mut near): (Vec<bool>, Vec<usize>) = (vec![false; tuples.len()], Vec::new());
    let mut wrong: Option<usize> = None;
    for at in order {
        near.retain(|other| part(best)(other).high >= part(best)(&at).low);
        let (tuple, _) = &tuples[at];
        for other in near.iter().copied().filter(|other| overlap(&tuples[*other].0.key, &tuple.key)) {
            let later = at.max(other);
            let other = &tuples[other].0;
            if (&other.key, &other.given) == (&tuple.key, &tuple.given) {
                again[later] = true;
            } else {
                wrong = Some(wrong.map_or(later, |wrong| wrong.min(later)));
            }
        }
        near.push(at);
    }
    match wrong {
        Some(wrong) => Err(Diagnostic::error(tuples[wrong].1, "this element overlaps another one of the set")),
        None => Ok(again),
    }
}

/// How many pairs of elements overlap in a part.
fn pairs(tuples: &[(Tuple, Span)], part: usize) -> usize {
    let ends = |end: fn(&Values) -> u128| {
        let mut ends: Vec<u128> = tuples.iter().map(|(tuple, _)| end(&tuple.key[part])).collect();
        ends.sort_unstable();
        ends
    };
    let (lows, highs) = (ends(|values| values.low), ends(|values| values.high));
    let mut ended = 0;
    let near = lows.iter().enumerate().map(|(begun, low)| {
        ended += highs[ended..].iter().take_while(|high| *high < low).count();
        begun - ended
    });
    near.sum()
}

fn is_single(part: &Values) -> bool {
    part.form == Form::Single
}

/// The same for many single values, of which each is compared with its neighbours only.
fn single(mut tuples: Vec<(Tuple, Span)>, types: &[Type]) -> Checked<Vec<Tuple>> {
    tuples.sort_by_cached_key(|(tuple, _)| sort_key(&tuple.key, types));
    let other = |(a, b): (&(Tuple, Span), &(Tuple, Span))| a.0.key == b.0.key && a.0.given != b.0.given;
    if let Some((_, second)) = tuples.iter().zip(tuples.iter().skip(1)).find(|(a, b)| other((a, b))) {
        return Err(Diagnostic::error(second.1, "this element overlaps another one of the set"));
    }
    tuples.dedup_by(|(a, _), (b, _)| a.key == b.key);
    Ok(tuples.into_iter().map(|(tuple, _)| tuple).collect())
}

fn overlap(a: &[Values], b: &[Values]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.low <= b.high && b.low <= a.high)
}

/// Where an element stands: the kernel's bytes, compared from the last to the first.
fn sort_key(key: &[Values], types: &[Type]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (part, ty) in key.iter().zip(types) {
        let whole = part.low.to_be_bytes();
        let own = &whole[16 - usize::from(ty.bits().div_ceil(8))..];
        match ty {
            Type::Mark | Type::IfIndex | Type::CtState => bytes.extend(own.iter().rev()),
            _ => bytes.extend(own),
        }
    }
    bytes.reverse();
    bytes
}

type Elements = (Vec<(Tuple, Span)>, Vec<(usize, Span)>, Option<Verdict>);

impl Checker<'_> {
    /// The elements of a set in a rule, where the verdicts jump to, and the verdict of `*`.
    fn concat_elements(&mut self, table: usize, types: &[Type], set: &Expr, is_map: bool) -> Checked<Elements> {
        let ExprKind::Set(elements) = &set.resolved().kind else {
            return Err(Diagnostic::error(set.span, "expected `{ elements }`"));
        };
        let (mut tuples, mut jumps, mut default) = (Vec::new(), Vec::new(), None);
        for element in elements {
            let span = element.key.span;
            self.budget.spend(1, span)?;
            no_options(element)?;
            let verdict = match &element.given {
                Some(Given::Verdict(verdict)) if is_map => Some(self.verdict_in(table, verdict, &mut jumps)?),
                Some(given) if is_map => return Err(Diagnostic::error(given.span(), "expected a verdict")),
                Some(given) => {
                    return Err(Diagnostic::error(given.span(), "verdicts in a set: only a map has them"));
                }
                None if is_map => return Err(Diagnostic::error(span, "an element of a map needs a verdict")),
                None => None,
            };
            if matches!(element.key.kind, ExprKind::Any) {
                if verdict.is_none() || default.is_some() {
                    return Err(Diagnostic::error(span, "`*` is for maps, once"));
                }
                default = verdict;
                continue;
            }
            let key = self.tuple(&element.key, types)?;
            let given = verdict.map(ruleset::Given::Verdict);
            tuples.push((Tuple { key, given, extras: Extras::default() }, span));
        }
        Ok((tuples, jumps, default))
    }

    /// `th` among the parts is a port where another part says that the protocol has ports; else the two bytes that stand
    /// there.
    fn know_ports(&mut self, table: usize, subjects: &mut [Subject], (keys, negated): (&ConcatKeys, bool)) {
        let is_th = |subject: &Subject| matches!(subject.selector, Selector::Reading(Reading::AnyPort(_)));
        let says = |subject: &Subject| {
            matches!(subject.selector, Selector::L4Proto | Selector::IpProtocol | Selector::Ip6NextHdr)
                && subject.mask.is_none()
        };
        let protocol = subjects.iter().position(says).filter(|_| !negated);
        if protocol.is_none() || !subjects.iter().any(is_th) {
            return;
        }
        let known = match keys {
            ConcatKeys::Listed { tuples, default: None } => tuples.iter().all(|tuple| has_ports(tuple, protocol)),
            ConcatKeys::Listed { .. } => false,
            ConcatKeys::Named(set) => {
                let state = &mut self.tables[table].sets[*set];
                let has_default = state.set.catch_all.is_some();
                if !has_default {
                    // Its elements are looked at when all are there.
                    state.protocol_part = protocol;
                }
                !has_default
            }
        };
        for subject in subjects.iter_mut().filter(|_| known) {
            subject.selector = match subject.selector {
                Selector::Reading(Reading::AnyPort(false)) => Selector::SourcePort(Transport::Any),
                Selector::Reading(Reading::AnyPort(true)) => Selector::DestinationPort(Transport::Any),
                other => other,
            };
        }
    }
}

/// Is this part a protocol with ports, if it must be?
pub(super) fn has_ports(tuple: &Tuple, part: Option<usize>) -> bool {
    part.is_none_or(|at| tuple.key[at].form == Form::Single && super::context::has_ports(tuple.key[at].low as u8))
}

pub(super) fn no_ports(span: Span) -> Diagnostic {
    let message = "`th` in a concatenation needs a protocol with ports beside it, in every element";
    Diagnostic::error(span, message).help("write `meta l4proto . th dport { tcp . 22, udp . 53 }`")
}
