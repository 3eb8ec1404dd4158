//! Making a set hold what a list says: only what differs changes.

use std::collections::BTreeMap;

use firewall_common::sets::{Kind, make_shapes};

use super::{Instance, KernelError};
use crate::{
    compile::{StateElement, StateSet},
    kernel::host,
    language::types::Type,
};

/// What became of the elements of a set and of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Were only in the list.
    pub added: usize,
    /// Were only in the set.
    pub removed: usize,
    /// Have another timeout now, or give something else.
    pub changed: usize,
    /// Were in both, and were not touched.
    pub kept: usize,
}

/// What differs between a set and a list.
struct Differences {
    gone: Vec<StateElement>,
    new: Vec<StateElement>,
    kept: Vec<StateElement>,
    said: Synced,
}

type Parts = [(u128, u128)];

impl Differences {
    fn between(there: &[StateElement], wanted: &[StateElement]) -> Self {
        let mut old: BTreeMap<&Parts, &StateElement> = there.iter().map(|one| (&one.parts[..], one)).collect();
        // Of those that the list has twice, the last one counts.
        let wanted: BTreeMap<&Parts, &StateElement> = wanted.iter().map(|one| (&one.parts[..], one)).collect();
        let mut found = Self { gone: Vec::new(), new: Vec::new(), kept: Vec::new(), said: Synced::default() };
        for (parts, one) in wanted {
            match old.remove(parts) {
                None => {
                    found.said.added += 1;
                    found.new.push(one.clone());
                }
                Some(before) if before.data == one.data && before.timeout == one.timeout => {
                    found.said.kept += 1;
                    found.kept.push(before.clone());
                }
                Some(before) => {
                    found.said.changed += 1;
                    found.gone.push(before.clone());
                    // It goes on counting where it was.
                    let StateElement { counter, cells, .. } = before.clone();
                    found.new.push(StateElement { counter, cells, ..one.clone() });
                }
            }
        }
        found.said.removed = old.len();
        found.gone.extend(old.into_values().cloned());
        found
    }

    /// Can elements be taken out and put in one by one? Not when that is as much work as making the set anew, and not when an interval
    /// that goes may have a part in common with one that comes.
    fn are_few(&self, kind: Kind) -> bool {
        let changes = self.gone.len() + self.new.len();
        if kind == Kind::Ranges || changes > 1000 + self.kept.len() / 4 {
            return false;
        }
        if kind == Kind::Hash || self.gone.is_empty() {
            return true;
        }
        let mut taken: Vec<(u128, u128)> = self.gone.iter().map(|one| one.parts[0]).collect();
        taken.sort_unstable();
        let mut furthest = 0;
        for (_, last) in &mut taken {
            furthest = furthest.max(*last);
            *last = furthest;
        }
        // Of those that begin before the end of this one, one may reach its beginning.
        self.new.iter().all(|one| {
            let (first, last) = one.parts[0];
            let before = taken.partition_point(|other| other.0 <= last);
            before == 0 || taken[before - 1].1 < first
        })
    }
}

/// Intervals without what touches others, as a set of plain ranges gives them back.
fn merged(elements: &[StateElement]) -> Vec<StateElement> {
    let mut all = elements.to_vec();
    all.sort_by(|a, b| a.parts.cmp(&b.parts));
    let mut out: Vec<StateElement> = Vec::with_capacity(all.len());
    for one in all {
        match out.last_mut().map(|last| &mut last.parts[0]) {
            Some((_, end)) if one.parts[0].0 <= end.saturating_add(1) => *end = (*end).max(one.parts[0].1),
            _ => out.push(one),
        }
    }
    out
}

/// The prefixes that an interval is kept as, each an element of its own.
fn pieces(types: &[Type], element: &StateElement) -> Vec<StateElement> {
    let mut all = vec![Vec::new()];
    for (ty, (low, high)) in types.iter().zip(&element.parts) {
        let split = make_shapes::prefixes(*low, *high, u32::from(ty.bits()));
        let longer = |parts: Vec<(u128, u128)>| {
            let with = |(start, host): &(u128, u128)| [&parts[..], &[(*start, start | host)]].concat();
            split.iter().map(with).collect::<Vec<_>>()
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all.into_iter().map(|parts| StateElement { parts, ..element.clone() }).collect()
}

impl Instance {
    /// Makes a set hold these elements and no others. Those that it has keep what they counted, their limits and the time that is left
    /// to them. Few changes are made one by one; many, by making the set anew, which takes its place by one step.
    pub fn sync_set(&self, set: &StateSet, wanted: &[StateElement]) -> Result<Synced, KernelError> {
        super::refuse_too_many(set, wanted)?;
        let as_kept = match set.kind {
            Kind::Hash => None,
            Kind::Ranges => Some(merged(wanted)),
            Kind::Shapes => Some(wanted.iter().flat_map(|one| pieces(&set.types, one)).collect()),
        };
        let wanted = as_kept.as_deref().unwrap_or(wanted);
        let there = set.elements(&self.set_memory(set)?.lines(), host::tick());
        let mut found = Differences::between(&there, wanted);
        let said = found.said;
        if found.gone.is_empty() && found.new.is_empty() {
            return Ok(said);
        }
        self.refuse_large(set, wanted)?;
        if found.are_few(set.kind) {
            self.remove_from_set(set, &found.gone)?;
            self.add_to_set(set, &found.new)?;
            return Ok(said);
        }
        if set.kind == Kind::Ranges {
            self.replace_set(set, wanted)?;
            return Ok(said);
        }
        found.kept.append(&mut found.new);
        self.replace_set(set, &found.kept)?;
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(first: u128, last: u128, timeout: Option<u64>, packets: u64) -> StateElement {
        StateElement {
            parts: vec![(first, last)],
            timeout,
            expires: timeout.map(|timeout| timeout / 2),
            counter: (packets, 0),
            data: Vec::new(),
            cells: Vec::new(),
        }
    }

    #[test]
    fn only_differences_are_found() {
        let there = [element(1, 1, None, 5), element(2, 2, Some(60), 6), element(3, 3, None, 7)];
        let wanted =
            [element(1, 1, None, 0), element(2, 2, Some(90), 0), element(4, 4, None, 0), element(4, 4, None, 0)];
        let found = Differences::between(&there, &wanted);
        assert_eq!(found.said, Synced { added: 1, removed: 1, changed: 1, kept: 1 });
        assert_eq!(found.kept, [there[0].clone()]);
        let changed = StateElement { counter: (6, 0), ..wanted[1].clone() };
        assert_eq!(found.new, [changed, wanted[2].clone()]);
        assert_eq!(found.gone, [there[1].clone(), there[2].clone()]);
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let of = |all: &[(u128, u128)]| all.iter().map(|one| element(one.0, one.1, None, 0)).collect::<Vec<_>>();
        assert_eq!(merged(&of(&[(5, 6), (1, 3), (4, 4), (2, 2), (8, 9)])), of(&[(1, 6), (8, 9)]));
    }

    #[test]
    fn intervals_with_a_common_part_are_not_changed_one_by_one() {
        let of = |gone: &[(u128, u128)], new: &[(u128, u128)]| {
            let list = |all: &[(u128, u128)]| all.iter().map(|one| element(one.0, one.1, None, 0)).collect::<Vec<_>>();
            Differences::between(&list(gone), &list(new)).are_few(Kind::Shapes)
        };
        assert!(of(&[(10, 20), (40, 50)], &[(21, 39), (51, 60), (1, 9)]));
        assert!(!of(&[(10, 20)], &[(10, 25)]));
        assert!(!of(&[(10, 20)], &[(20, 25)]));
        assert!(!of(&[(1, 100), (3, 4)], &[(50, 60)]));
        assert!(!of(&[(10, 20)], &[(1, 100)]));
        assert!(of(&[], &[(1, 100)]));
    }
}
