//! Maps to verdicts that are state: a verdict is a number, and the instructions behind the look-up lead on by that number.
//!
//! A number says the same in every ruleset: a chain is the hash of its name. What numbers a map's rules know is fixed when they are
//! compiled ([`prepared`]): the verdicts in the text of the map, and, in tables of moderate size, jumps to every chain from
//! which nothing leads on into such maps.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::sets::{make_shapes, shapes::MAX_SHAPES};

use super::slots::fnv1a;
use crate::language::{
    ruleset::{ConcatKeys, Set, SetElement, Statement, Table, Tuple, Verdict},
    types::Type,
};

/// So many shapes a map may have of its own: as many again may come.
const MOST_SHAPES: usize = MAX_SHAPES as usize / 2;

/// The lowest bits of a number: what is done; the others are a chain's.
const ACCEPT: u64 = 1;
const DROP: u64 = 2;
const CONTINUE: u64 = 3;
const RETURN: u64 = 4;
const JUMP: u64 = 5;
const GOTO: u64 = 6;
const KINDS: u64 = 7;

/// In tables of so many chains and rules at most, maps can be given jumps to any chain.
const CHAINS: usize = 64;
const RULES: usize = 512;

/// The number of a chain.
fn chain_number(name: &str) -> u64 {
    fnv1a(&[name]) & !KINDS
}

/// The number of a verdict.
pub fn number(table: &Table, verdict: Verdict) -> u64 {
    let chain = |chain: usize| table.chains.get(chain).map_or(0, |chain| chain_number(&chain.name));
    match verdict {
        Verdict::Accept => ACCEPT,
        Verdict::Drop => DROP,
        Verdict::Continue => CONTINUE,
        Verdict::Return => RETURN,
        Verdict::Jump(at) => JUMP | chain(at),
        Verdict::Goto(at) => GOTO | chain(at),
    }
}

/// What a number says, if the chain is one of these.
pub fn text(number: u64, chains: &[String]) -> String {
    let name = || chains.iter().find(|name| chain_number(name) == number & !KINDS).map_or("?", String::as_str);
    match number & KINDS {
        ACCEPT => "accept".to_owned(),
        DROP => "drop".to_owned(),
        CONTINUE => "continue".to_owned(),
        RETURN => "return".to_owned(),
        JUMP => format!("jump {}", name()),
        _ => format!("goto {}", name()),
    }
}

/// The chains of a table that can be jumped to.
pub(super) fn chains(table: &Table) -> Vec<String> {
    table.chains.iter().filter(|chain| chain.base.is_none()).map(|chain| chain.name.clone()).collect()
}

/// The verdicts that rules which look into a map can carry out, by number. `all_chains`: also those that the text does not have.
pub(super) fn prepared(table: &Table, map: usize, all_chains: bool) -> BTreeMap<u64, Verdict> {
    let mut known = BTreeMap::new();
    let mut add = |verdict: Verdict| {
        known.insert(number(table, verdict), verdict);
    };
    [Verdict::Accept, Verdict::Drop, Verdict::Continue, Verdict::Return].into_iter().for_each(&mut add);
    let set = &table.sets[map];
    set.elements.iter().filter_map(SetElement::verdict).for_each(&mut add);
    let tuples = set.concat.iter().flat_map(|concat| &concat.tuples);
    tuples.filter_map(Tuple::verdict).for_each(&mut add);
    let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
    if all_chains && table.chains.len() <= CHAINS && rules <= RULES {
        let others = (0..table.chains.len()).filter(|chain| table.chains[*chain].base.is_none());
        for chain in others.filter(|chain| leads_to_no_map(table, *chain)) {
            add(Verdict::Jump(chain));
            add(Verdict::Goto(chain));
        }
    }
    known
}

/// Does nothing that a packet meets in a chain, or behind it, look into a map to verdicts by name?
fn leads_to_no_map(table: &Table, chain: usize) -> bool {
    let (mut seen, mut waiting) = (BTreeSet::from([chain]), vec![chain]);
    while let Some(chain) = waiting.pop() {
        for statement in table.chains[chain].rules.iter().flat_map(|rule| &rule.statements) {
            if named_map(statement).is_some() {
                return false;
            }
            waiting.extend(targets(statement).into_iter().filter(|target| seen.insert(*target)));
        }
    }
    true
}

/// The map to verdicts that a statement looks into.
const fn named_map(statement: &Statement) -> Option<usize> {
    match statement {
        Statement::NamedMap { map, .. } | Statement::ConcatMap { keys: ConcatKeys::Named(map), .. } => Some(*map),
        _ => None,
    }
}

/// The chains that a statement leads to.
fn targets(statement: &Statement) -> Vec<usize> {
    let target = |verdict: Verdict| match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        Verdict::Accept | Verdict::Drop | Verdict::Return | Verdict::Continue => None,
    };
    match statement {
        Statement::Verdict(verdict) => target(*verdict).into_iter().collect(),
        Statement::Map { elements, .. } => elements.iter().filter_map(|element| target(element.verdict)).collect(),
        Statement::ConcatMap { keys: ConcatKeys::Listed { tuples, default }, .. } => {
            let verdicts = tuples.iter().filter_map(Tuple::verdict).chain(*default);
            verdicts.filter_map(target).collect()
        }
        _ => Vec::new(),
    }
}

/// Can a map to verdicts be state? One whose keys are concatenations of ranges only while it has few shapes, so that there is
/// room for those of elements that come later.
pub(super) fn can_be_state(set: &Set) -> bool {
    let Some(concat) = set.concat.as_ref().filter(|_| set.interval) else { return true };
    let types = set.key_types();
    let mut shapes = BTreeSet::new();
    concat.tuples.iter().all(|tuple| add_shapes(tuple, &types, &mut shapes))
}

/// Notes which combinations of prefix lengths an element is made of; `false` when there come to be too many.
fn add_shapes(tuple: &Tuple, types: &[Type], shapes: &mut BTreeSet<Vec<u128>>) -> bool {
    let mut combined = vec![Vec::new()];
    let mut prefixes = 1;
    for (part, ty) in tuple.key.iter().zip(types) {
        let split = make_shapes::prefixes(part.low, part.high, u32::from(ty.bits()));
        prefixes *= split.len();
        let hosts: BTreeSet<u128> = split.into_iter().map(|(_, host)| host).collect();
        let with = |before: &Vec<u128>| -> Vec<Vec<u128>> {
            hosts.iter().map(|host| before.iter().copied().chain([*host]).collect()).collect()
        };
        if combined.len() * hosts.len() > MOST_SHAPES || prefixes > make_shapes::MAX_PREFIXES {
            return false;
        }
        combined = combined.iter().flat_map(with).collect();
    }
    shapes.extend(combined);
    shapes.len() <= MOST_SHAPES
}
