//! Named sets as memory: their elements, and how these become words.

mod kept;
pub mod neighbours;

use firewall_common::sets::{
    FORM, Form, KEY_WORDS, Key, Kind, LINE_WORDS, Line, Lines, change,
    hash::{self, NEVER},
    make::{self, Memory, Spec},
    make_ranges, make_shapes, meter,
    run::Scratch,
    shapes,
};

pub(super) use self::kept::rule_statements;
use self::kept::{first_cells, joined, milliseconds, statements};
use super::verdicts;
use crate::language::{
    ruleset::{Extras, Given, OfElement, Set, Table, Values},
    types::Type,
};

const TICK_NS_SHIFT: u32 = firewall_common::conntrack::TICK_NS_SHIFT;
/// What a verdict is as data.
const VERDICT: Type = Type::Integer(64);
/// Room that a set gets beyond its elements, when it does not say its size.
const MIN_ROOM: usize = 64;

/// An element as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateElement {
    /// The ends of its parts.
    pub parts: Vec<(u128, u128)>,
    /// Its timeout, milliseconds.
    pub timeout: Option<u64>,
    /// How much of it is left, milliseconds.
    pub expires: Option<u64>,
    /// Packets and bytes.
    pub counter: (u64, u64),
    /// What a map gives: a value for each part.
    pub data: Vec<u128>,
    /// Its limits and quotas: their words, see [`firewall_common::limit`] and [`meter::NONE`].
    pub cells: Vec<u64>,
}

/// A set that is state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSet {
    /// Its number in the map of sets.
    pub slot: u32,
    /// Its table's family.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The types of its keys' parts.
    pub types: Vec<Type>,
    /// What it is.
    pub kind: Kind,
    /// At most so many elements.
    pub size: Option<u32>,
    /// May its elements end?
    pub ends: bool,
    /// When they end that do not say when, milliseconds.
    pub timeout: Option<u64>,
    /// Do they count?
    pub counts: bool,
    /// Do rules change it?
    pub dynamic: bool,
    /// What elements keep for themselves, in order.
    pub statements: Vec<OfElement>,
    /// Does every element have them? Else only those that rules make.
    pub all_have_them: bool,
    /// Is it no set at all, but what a rule counts?
    pub alone: bool,
    /// The types of what a map gives.
    pub data: Vec<Type>,
    /// Of a map to verdicts, which are its data: the chains that can be jumped to.
    pub chains: Option<Vec<String>>,
    /// Its elements in the text.
    pub elements: Vec<StateElement>,
}

/// A set cannot take an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// It has its size.
    #[error("the set is full")]
    Full,
    /// Too many shapes.
    #[error("the intervals of the set have more than 256 different combinations of prefix lengths")]
    Shapes,
    /// Too many prefixes.
    #[error("the element is more than 4096 prefixes: write fewer ranges in one element")]
    Prefixes,
}

/// Words of a value.
const fn width(ty: Type) -> usize {
    match ty.bits() {
        0..=32 => 1,
        33..=64 => 2,
        _ => 4,
    }
}

pub(super) fn key_width(types: &[Type]) -> usize {
    types.iter().map(|ty| width(*ty)).sum()
}

/// A value as its words.
pub(super) fn value_words(ty: Type, value: u128) -> Vec<u32> {
    match width(ty) {
        1 => vec![value as u32],
        2 => {
            let high = (value << (64 - u32::from(ty.bits()))) as u64;
            vec![(high >> 32) as u32, high as u32]
        }
        _ => (0..4).rev().map(|at| (value >> (at * 32)) as u32).collect(),
    }
}

/// The value that words stand for.
fn words_value(ty: Type, words: &[u32]) -> u128 {
    let all = words.iter().fold(0_u128, |all, word| all << 32 | u128::from(*word));
    if width(ty) == 2 { all >> (64 - u32::from(ty.bits())) } else { all }
}

impl StateSet {
    /// What a set of the ruleset is as state.
    pub fn of(table: &Table, set: &Set, slot: u32) -> Self {
        let types = set.key_types();
        let statements = statements(table, set);
        let is_verdicts = set.gives_verdicts();
        let data = if is_verdicts { vec![VERDICT] } else { set.data_types().to_vec() };
        let plain = !set.timeouts && statements.is_empty() && !set.dynamic && data.is_empty() && types.len() == 1;
        let bits = types[0].bits();
        let kind = match set.interval {
            // Ranges do not know how many elements they were.
            false if plain && bits <= 16 && set.size.is_none() => Kind::Ranges,
            false => Kind::Hash,
            true if plain && bits <= 32 => Kind::Ranges,
            true => Kind::Shapes,
        };
        let all_have_them = !set.statements.is_empty();
        let element = |parts: Vec<Values>, given: Option<&Given>, extras: &Extras| StateElement {
            parts: parts.iter().map(|part| (part.low, part.high)).collect(),
            timeout: extras.timeout.or(set.timeout),
            expires: extras.expires,
            counter: extras.counter.unwrap_or_default(),
            data: match given {
                Some(Given::Values(values)) => values.iter().map(|value| value.low).collect(),
                Some(Given::Verdict(verdict)) => vec![verdicts::number(table, *verdict).into()],
                None => Vec::new(),
            },
            cells: first_cells(&statements, &extras.others, all_have_them),
        };
        let mut elements: Vec<_> =
            set.elements.iter().map(|one| element(vec![one.values], one.given.as_ref(), &one.extras)).collect();
        let tuples = set.concat.iter().flat_map(|concat| &concat.tuples);
        elements.extend(tuples.map(|tuple| element(tuple.key.clone(), tuple.given.as_ref(), &tuple.extras)));
        Self {
            slot,
            family: table.family.name().to_owned(),
            table: table.name.clone(),
            name: set.name.clone(),
            types,
            kind,
            size: set.size,
            ends: set.timeouts,
            timeout: set.timeout,
            counts: statements.iter().any(|one| matches!(one, OfElement::Counter(..))),
            dynamic: set.dynamic,
            statements,
            all_have_them,
            alone: false,
            data,
            chains: is_verdicts.then(|| verdicts::chains(table)),
            elements,
        }
    }

    /// The same without its elements.
    pub(super) fn without_elements(&self) -> Self {
        Self {
            elements: Vec::new(),
            family: self.family.clone(),
            table: self.table.clone(),
            name: self.name.clone(),
            types: self.types.clone(),
            statements: self.statements.clone(),
            data: self.data.clone(),
            chains: self.chains.clone(),
            ..*self
        }
    }

    /// What a rule's own `ct count` is.
    pub(super) fn of_rule(table: &Table, name: String, (over, count): (bool, u32)) -> Self {
        Self {
            slot: 0,
            family: table.family.name().to_owned(),
            table: table.name.clone(),
            name,
            types: Vec::new(),
            kind: Kind::Hash,
            size: None,
            ends: false,
            timeout: None,
            counts: false,
            dynamic: false,
            statements: vec![OfElement::Connections { over, count }],
            all_have_them: true,
            alone: true,
            data: Vec::new(),
            chains: None,
            elements: Vec::new(),
        }
    }

    /// Memory for so many elements.
    pub fn spec(&self, elements: &[StateElement]) -> Spec {
        let limit = self.size.unwrap_or(u32::MAX);
        let count = match self.kind {
            Kind::Hash => elements.len(),
            Kind::Ranges => make_ranges::plan(self.directory(), &joined(elements)).1.lines.len(),
            Kind::Shapes => elements.iter().map(|one| self.prefixes(one).map_or(0, |all| all.len())).sum(),
        };
        let room = if self.dynamic { self.size.unwrap_or(MIN_ROOM as u32) as usize } else { count + count / 4 };
        Spec {
            kind: self.kind,
            key_words: match self.kind {
                Kind::Hash => key_width(&self.types) as u32,
                Kind::Shapes => key_width(&self.types) as u32 + 1,
                Kind::Ranges => self.directory(),
            },
            data_words: key_width(&self.data) as u32,
            counts: self.counts,
            ends: self.ends,
            cells: self.cells(),
            connections: self.connections(),
            room: if self.alone { 0 } else { room.max(count + MIN_ROOM) as u32 },
            // Prefixes are not elements: those are counted when they are added.
            limit: if self.kind == Kind::Shapes { u32::MAX } else { limit },
        }
    }

    /// Limits and quotas of an element.
    fn cells(&self) -> u32 {
        self.statements.iter().filter(|one| matches!(one, OfElement::Limit(_) | OfElement::Quota(_))).count() as u32
    }

    /// Connections of an element that must be known: one more than the limit, and one that comes.
    fn connections(&self) -> u32 {
        let count = |one: &OfElement| match one {
            OfElement::Connections { over: _, count } => Some(count.saturating_add(2)),
            OfElement::Counter(..) | OfElement::Limit(_) | OfElement::Quota(_) => None,
        };
        self.statements.iter().find_map(count).unwrap_or(0)
    }

    /// What stands beside the key takes more words than there are.
    pub fn is_too_much(&self) -> bool {
        let spec = self.spec(&[]);
        self.kind != Kind::Ranges && spec.extra_words() > LINE_WORDS as u64
    }

    /// What a map gives for an element.
    fn data_of(&self, found: &make::Found) -> Vec<u128> {
        let mut at = 0;
        let value = |ty: &Type| {
            let from = at;
            at += width(*ty);
            words_value(*ty, &found.data[from..at])
        };
        self.data.iter().map(value).collect()
    }

    fn directory(&self) -> u32 {
        (self.types[0].max() >> 16) as u32 + 1
    }

    /// Fills memory that was just made.
    pub fn fill<S: Lines>(&self, set: &S, elements: &[StateElement], tick: u32) -> Result<(), NoRoom> {
        if self.kind == Kind::Ranges {
            let (directory, planned) = make_ranges::plan(self.directory(), &joined(elements));
            return make_ranges::write(set, &directory, &planned).ok_or(NoRoom::Full);
        }
        elements.iter().try_for_each(|element| self.add(set, element, tick).map(|_| ()))
    }

    /// Adds an element; `false` when it was there.
    pub fn add<S: Lines>(&self, set: &S, element: &StateElement, tick: u32) -> Result<bool, NoRoom> {
        let mut is_new = false;
        let mut cells = element.cells.clone();
        cells.resize(self.cells() as usize, if self.all_have_them { 0 } else { meter::NONE });
        let data: Vec<u32> =
            self.data.iter().zip(&element.data).flat_map(|(ty, value)| value_words(*ty, *value)).collect();
        for key in self.keys(set, element, true)? {
            let mut scratch = self.scratch(key, element, tick);
            scratch.extras = make::extras(
                Form(set.line(0).map_or(0, |head| Line::load(head, FORM))),
                (&data, &cells),
                element.counter,
                (element.timeout.unwrap_or(0), 0),
            );
            match change::change_whole(set, &mut scratch) {
                Some(change::NEW) => is_new = true,
                Some(change::KNOWN) => {}
                _ => return Err(NoRoom::Full),
            }
        }
        Ok(is_new)
    }

    /// Removes an element; `false` when it was not there.
    pub fn remove<S: Lines>(&self, set: &S, element: &StateElement, tick: u32) -> Result<bool, NoRoom> {
        let mut was_there = false;
        for key in self.keys(set, element, false)? {
            let mut scratch = self.scratch(key, element, tick);
            scratch.operation = change::DELETE;
            was_there |= change::change_whole(set, &mut scratch) == Some(change::KNOWN);
        }
        Ok(was_there)
    }

    /// Adds elements; how many are new.
    pub fn add_all<S: Lines>(&self, set: &S, elements: &[StateElement], tick: u32) -> Result<usize, NoRoom> {
        if self.kind == Kind::Ranges {
            return Self::assign(set, elements, true);
        }
        elements.iter().try_fold(0, |count, element| Ok(count + usize::from(self.add(set, element, tick)?)))
    }

    /// Removes elements; how many were there.
    pub fn remove_all<S: Lines>(&self, set: &S, elements: &[StateElement], tick: u32) -> Result<usize, NoRoom> {
        if self.kind == Kind::Ranges {
            return Self::assign(set, elements, false);
        }
        elements.iter().try_fold(0, |count, element| Ok(count + usize::from(self.remove(set, element, tick)?)))
    }

    /// Puts intervals in or takes them out; how many that changed.
    fn assign<S: Lines>(set: &S, elements: &[StateElement], inside: bool) -> Result<usize, NoRoom> {
        let mut room = make_ranges::Rest::of(set);
        let mut changed = 0;
        for element in elements {
            let (low, high) = (element.parts[0].0 as u32, element.parts[0].1 as u32);
            if make_ranges::is_all(set, (low, high), inside) {
                continue;
            }
            make_ranges::assign(set, &mut room, (low, high), inside).map_err(|_| NoRoom::Full)?;
            changed += 1;
        }
        Ok(changed)
    }

    /// Elements, how many there are by the set's own count.
    pub fn count(&self, elements: &[StateElement]) -> usize {
        if self.kind == Kind::Ranges { joined(elements).len() } else { elements.len() }
    }

    /// Elements of a set of ranges without others; how many of those were there.
    pub fn without(&self, elements: Vec<StateElement>, gone: &[StateElement]) -> (Vec<StateElement>, usize) {
        let memory = StateSet { elements, ..self.clone() }.roomy(gone.len());
        let count = Self::assign(&memory.lines(), gone, false).unwrap_or(0);
        (self.elements(&memory.lines(), 10), count)
    }

    /// On the host, with much room for so many changes.
    fn roomy(&self, changes: usize) -> Memory {
        /// Lines that one change may take: in two blocks, one of entries and bits for all values.
        const MOST: usize = 2 * (1 + 65_536 / 512);
        let mut spec = self.spec(&self.elements);
        spec.room = spec.room * 2 + (changes + 1).saturating_mul(MOST).min(1_000_000) as u32;
        let memory = Memory::new(&spec, [5; LINE_WORDS]);
        let _ = self.fill(&memory.lines(), &self.elements, 10);
        memory
    }

    /// Would a packet with this value be in the set? Ranges are, when they are elements themselves.
    pub fn covers<S: Lines>(&self, set: &S, element: &StateElement, tick: u32) -> bool {
        if self.kind != Kind::Shapes || element.parts.iter().any(|(low, high)| low != high) {
            return self.contains(set, element, tick);
        }
        let mut scratch = self.scratch([0; KEY_WORDS], element, tick);
        let words = self.types.iter().zip(&element.parts).flat_map(|(ty, (low, _))| value_words(*ty, *low));
        scratch.whole[1..].iter_mut().zip(words).for_each(|(to, word)| *to = word);
        shapes::find(set, &mut scratch).is_some() && scratch.probe.place != hash::NOWHERE
    }

    /// Is it an element of the set?
    pub fn contains<S: Lines>(&self, set: &S, element: &StateElement, tick: u32) -> bool {
        if self.kind == Kind::Ranges {
            let (low, high) = element.parts[0];
            return make_ranges::is_all(set, (low as u32, high as u32), true);
        }
        let keys = self.keys(set, element, false).unwrap_or_default();
        !keys.is_empty()
            && keys.into_iter().all(|key| {
                let mut scratch = self.scratch(key, element, tick);
                hash::find(set, &mut scratch).is_some() && scratch.probe.place != hash::NOWHERE
            })
    }

    fn scratch(&self, key: Key, element: &StateElement, tick: u32) -> Scratch {
        let mut scratch = Scratch { key, operation: change::ADD, ..Scratch::EMPTY };
        scratch.probe.tick = tick;
        let left = element.expires.or(element.timeout).filter(|_| self.ends);
        scratch.probe.expires = left.map_or(NEVER, |left| tick.saturating_add(ticks(left)));
        scratch
    }

    /// The keys that an element is made of; with `adds`, shapes that are new get a number.
    fn keys<S: Lines>(&self, set: &S, element: &StateElement, adds: bool) -> Result<Vec<Key>, NoRoom> {
        if self.kind == Kind::Hash {
            let words = self.types.iter().zip(&element.parts).flat_map(|(ty, (low, _))| value_words(*ty, *low));
            let mut key = [0; KEY_WORDS];
            key.iter_mut().zip(words).for_each(|(to, word)| *to = word);
            return Ok(vec![key]);
        }
        let mut keys = Vec::new();
        for (mut key, mask) in self.prefixes(element).ok_or(NoRoom::Prefixes)? {
            let number = if adds { make_shapes::number(set, &mask) } else { make_shapes::known(set, &mask) };
            let Some(number) = number else {
                if adds {
                    return Err(NoRoom::Shapes);
                }
                continue;
            };
            key[0] = number + 1;
            keys.push(key);
        }
        Ok(keys)
    }

    fn prefixes(&self, element: &StateElement) -> Option<Vec<make_shapes::Prefix>> {
        let part = |(ty, (low, high)): (&Type, &(u128, u128))| {
            let split = make_shapes::prefixes(*low, *high, u32::from(ty.bits()));
            let words =
                |(start, host): &(u128, u128)| (value_words(*ty, *start), value_words(*ty, Type::max(*ty) & !host));
            split.iter().map(words).collect::<Vec<_>>()
        };
        make_shapes::product(&self.types.iter().zip(&element.parts).map(part).collect::<Vec<_>>())
    }

    /// The elements that are in it.
    pub fn elements<S: Lines>(&self, set: &S, tick: u32) -> Vec<StateElement> {
        if self.kind == Kind::Ranges {
            let intervals = make_ranges::intervals(set).unwrap_or_default();
            let one = |(low, high): &(u32, u32)| StateElement {
                parts: vec![(u128::from(*low), u128::from(*high))],
                timeout: None,
                expires: None,
                counter: (0, 0),
                data: Vec::new(),
                cells: Vec::new(),
            };
            return intervals.iter().map(one).collect();
        }
        let found = make::elements(set, tick);
        found.iter().filter_map(|one| self.element(set, one, tick)).collect()
    }

    fn element<S: Lines>(&self, set: &S, found: &make::Found, tick: u32) -> Option<StateElement> {
        let shapes = self.kind == Kind::Shapes;
        let mask = if shapes { make_shapes::mask(set, found.key[0].checked_sub(1)?)? } else { [u32::MAX; KEY_WORDS] };
        let mut at = usize::from(shapes);
        let mut parts = Vec::with_capacity(self.types.len());
        for ty in &self.types {
            let end = at + width(*ty);
            let low = words_value(*ty, &found.key[at..end]);
            let host = if shapes { Type::max(*ty) & !words_value(*ty, &mask[at..end]) } else { 0 };
            parts.push((low, low | host));
            at = end;
        }
        let left = |expires: u32| milliseconds(expires.saturating_sub(tick));
        Some(StateElement {
            parts,
            timeout: Some(found.timeout).filter(|time| *time != 0),
            // Ticks are longer than the timeout that they stand for.
            expires: (found.expires != NEVER).then(|| left(found.expires).min(found.timeout.max(1))),
            counter: found.counter.unwrap_or_default(),
            data: self.data_of(found),
            cells: found.cells[..self.cells() as usize].to_vec(),
        })
    }
}

/// Ticks that last at least so many milliseconds, from any moment of the present one on.
pub(super) fn ticks(milliseconds: u64) -> u32 {
    let nanoseconds = u128::from(milliseconds) * 1_000_000;
    ((nanoseconds >> TICK_NS_SHIFT) as u32).saturating_add(2)
}
