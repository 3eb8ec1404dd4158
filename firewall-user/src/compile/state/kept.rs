//! What elements of a set keep for themselves, and elements that are joined.

use std::fmt::Write;

use firewall_common::sets::{LINE_WORDS, make::Memory, meter};

use super::{super::slots::fnv1a, StateElement, StateSet};
use crate::language::ruleset::{OfElement, Set, Statement, Table, UpdateOperation};

/// What elements keep for themselves: as the set says, or else as the rules do that make them.
pub(super) fn statements(table: &Table, set: &Set) -> Vec<OfElement> {
    if !set.statements.is_empty() || !set.dynamic {
        return set.statements.clone();
    }
    rule_statements(table, set).first().map(|one| one.to_vec()).unwrap_or_default()
}

/// What the rules say that make elements.
pub(in crate::compile) fn rule_statements<'a>(table: &'a Table, set: &Set) -> Vec<&'a [OfElement]> {
    let statements = table.chains.iter().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let made = statements.filter_map(|statement| match statement {
        Statement::Update(update) => Some(update),
        _ => None,
    });
    let made =
        made.filter(|update| update.operation != UpdateOperation::Delete && table.sets[update.set].name == set.name);
    made.map(|update| &update.statements[..]).collect()
}

/// The words of the limits and quotas of an element that the text has, or a person adds.
pub(super) fn first_cells(statements: &[OfElement], said: &[OfElement], all_have_them: bool) -> Vec<u64> {
    let mut said = said.iter();
    let of = |one: &OfElement| {
        let said = if matches!(one, OfElement::Counter(..)) { None } else { said.next() };
        match (one, said) {
            (OfElement::Limit(_) | OfElement::Quota(_), _) if !all_have_them => Some(meter::NONE),
            (OfElement::Quota(_), Some(OfElement::Quota(quota))) => Some(quota.used),
            (OfElement::Limit(_) | OfElement::Quota(_), _) => Some(0),
            (OfElement::Counter(..) | OfElement::Connections { .. }, _) => None,
        }
    };
    statements.iter().filter_map(of).collect()
}

/// Elements of one part as intervals that are sorted and do not touch.
pub(super) fn joined(elements: &[StateElement]) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = elements.iter().map(|one| (one.parts[0].0 as u32, one.parts[0].1 as u32)).collect();
    all.sort_unstable();
    let mut kept: Vec<(u32, u32)> = Vec::with_capacity(all.len());
    for (low, high) in all {
        match kept.last_mut() {
            Some((_, last)) if low <= last.saturating_add(1) => *last = (*last).max(high),
            Some(_) | None => kept.push((low, high)),
        }
    }
    kept
}

impl StateSet {
    /// The set on the host, for tests.
    pub fn memory(&self) -> Memory {
        // Numbers as random ones are: with small ones keys of little but zeros would all have the same hash.
        let memory = Memory::new(&self.spec(&self.elements), [0x9e37_79b9_7f4a_7c15; LINE_WORDS]);
        let _ = self.fill(&memory.lines(), &self.elements, 10);
        memory
    }

    /// A map to verdicts begins anew with other elements in its text, or other chains: the rules in force go by the old ones
    /// until others are.
    fn verdicts_as_text(&self) -> String {
        let Some(chains) = &self.chains else { return String::new() };
        let mut text = chains.join(" ");
        for element in &self.elements {
            let _ = write!(text, "; {:?} {:?}", element.parts, element.data);
        }
        format!(" verdicts {:x}", fnv1a(&[&text]))
    }

    /// What must stay the same for its elements to stay.
    pub fn declaration(&self) -> String {
        let types = self.types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ");
        let data = self.data.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ");
        let statements = self.statements.iter().map(OfElement::text).collect::<Vec<_>>().join(" ");
        let Self { kind, size, ends, timeout, dynamic, all_have_them, .. } = self;
        let data = data + &self.verdicts_as_text();
        format!("{types} : {data}; {kind:?}; size {size:?}; {ends} {timeout:?}; {statements} {all_have_them} {dynamic}")
    }
}

/// Milliseconds of ticks.
pub(super) const fn milliseconds(ticks: u32) -> u64 {
    ((ticks as u64) << super::TICK_NS_SHIFT) / 1_000_000
}
