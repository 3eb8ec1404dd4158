//! Instructions with names for places that are not known yet.

use std::collections::HashMap;

use firewall_common::{
    classify::build::Start,
    image::{Forest, Image, Insn, Interval, PARTS, Settings, Target, USES_CT_MARK, USES_MARK},
    packet::{Field, REGISTERS},
};

use super::StateSet;
use crate::language::ruleset::Selector;

/// A place in the image, known or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The packet passes the hook.
    Accept,
    /// The packet is dropped.
    Drop,
    /// The packet is dropped and answered, see [`Target::reject`].
    Reject(u8, u8),
    /// The handshake is made in the server's place, see [`Target::synproxy`].
    Synproxy(u16),
    /// Wherever this label will be bound.
    Label(Label),
}

/// A rule that was written, and the one behind it, see [`Start`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) index: u32,
    pub(super) next: Option<Place>,
}

/// The name of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(u32);

/// A label's instruction targets, until they are known: verdicts have the top bit, these the next one.
const LABEL_BIT: u32 = 0x4000_0000;

impl Place {
    fn encode(self) -> Target {
        match self {
            Self::Accept => Target::ACCEPT,
            Self::Drop => Target::DROP,
            Self::Reject(kind, code) => Target::reject(kind, code),
            Self::Synproxy(mss) => Target::synproxy(mss),
            Self::Label(Label(number)) => Target(LABEL_BIT | number),
        }
    }
}

/// An image being written.
#[derive(Default)]
pub(super) struct Assembler {
    insns: Vec<Insn>,
    /// Where labels are bound, encoded.
    labels: Vec<Option<Target>>,
    constants: Vec<[u32; 4]>,
    constant_index: HashMap<[u32; 4], u32>,
    wide_sets: HashMap<Vec<[u32; 4]>, u32>,
    intervals: Vec<Interval>,
    sets: HashMap<Vec<(u32, u32)>, u32>,
    pub(super) uses: u32,
    /// Values that are in registers, since the statement began.
    in_registers: Vec<(Selector, Field)>,
    /// Registers that are taken.
    registers: usize,
    /// Some statement needs more registers than there are.
    pub(super) too_few_registers: bool,
    /// Generators of numbers, by rule and which of the rule's: a rule that is copied has one of each.
    generators: HashMap<(u32, u32), u32>,
    /// Generators in this copy of a rule.
    generators_met: (u32, u32),
    /// How many intervals the largest set has.
    pub(super) largest_set: usize,
    /// The sets and maps that are state, without their elements.
    pub(super) states: Vec<StateSet>,
}

impl Assembler {
    /// Nothing written yet.
    pub(super) fn with(states: &[StateSet]) -> Self {
        Self { states: states.iter().map(StateSet::without_elements).collect(), ..Self::default() }
    }

    /// The instructions so far.
    pub(super) fn written(&self) -> &[Insn] {
        &self.insns
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// The label is the next instruction.
    pub(super) fn bind_here(&mut self, label: Label) {
        self.labels[label.0 as usize] = Some(Target::at(self.insns.len() as u32));
    }

    /// A rule looks at this: what the program has to find out for it.
    pub(super) fn note_use(&mut self, selector: Selector) {
        match selector {
            Selector::Mark | Selector::Priority => self.uses |= USES_MARK,
            Selector::CtMark => self.uses |= USES_CT_MARK,
            _ => {}
        }
    }

    /// A statement begins: what is in registers is not needed any more.
    pub(super) fn begin_statement(&mut self) {
        self.in_registers.clear();
        self.registers = 0;
    }

    /// A copy of a rule begins.
    pub(super) fn begin_rule(&mut self, rule: u32) {
        self.generators_met = (rule, 0);
    }

    /// Takes so many registers for a value.
    pub(super) fn take_register(&mut self, selector: Selector, count: usize) -> Field {
        let field = self.take_registers(count);
        self.in_registers.push((selector, field));
        field
    }

    /// Takes so many registers. The last one is left for what a statement computes.
    pub(super) fn take_registers(&mut self, count: usize) -> Field {
        let field = Field::register(self.registers);
        self.registers += count;
        self.too_few_registers |= self.registers >= REGISTERS;
        field
    }

    /// The register that a value was put into.
    pub(super) fn loaded(&self, selector: Selector) -> Field {
        let found = self.in_registers.iter().rev().find(|(known, _)| *known == selector);
        debug_assert!(found.is_some(), "{selector:?} is in no register");
        found.map_or(Field::Register, |(_, field)| *field)
    }

    /// The number of a rule's next generator.
    pub(super) fn generator(&mut self, rule: u32) -> u32 {
        let (_, nth) = self.generators_met;
        self.generators_met = (rule, nth + 1);
        let next = self.generators.len() as u32;
        *self.generators.entry((rule, nth)).or_insert(next)
    }

    pub(super) fn len(&self) -> usize {
        self.insns.len()
    }

    /// Writes an instruction; its targets are the places given.
    pub(super) fn push(&mut self, insn: Insn, pass: Place, fail: Place) {
        self.insns.push(Insn { pass: pass.encode(), fail: fail.encode(), ..insn });
    }

    /// The number of a constant.
    pub(super) fn constant(&mut self, value: u128) -> u32 {
        let words = words(value);
        *self.constant_index.entry(words).or_insert_with(|| {
            self.constants.push(words);
            self.constants.len() as u32 - 1
        })
    }

    /// Where constants stand one behind the other.
    pub(super) fn constants(&mut self, values: &[u128]) -> u32 {
        let flat: Vec<[u32; 4]> = values.iter().map(|value| words(*value)).collect();
        if let [only] = values {
            return self.constant(*only);
        }
        if let Some(known) = self.wide_sets.get(&flat) {
            return *known;
        }
        let start = self.constants.len() as u32;
        self.constants.extend(flat.iter());
        self.wide_sets.insert(flat, start);
        start
    }

    /// Where the intervals of a 32-bit set start.
    pub(super) fn intervals(&mut self, set: &[(u32, u32)]) -> u32 {
        self.largest_set = self.largest_set.max(set.len());
        if let Some(known) = self.sets.get(set) {
            return *known;
        }
        let start = self.intervals.len() as u32;
        self.intervals.extend(set.iter().map(|(low, high)| Interval { low: *low, high: *high }));
        self.sets.insert(set.to_vec(), start);
        start
    }

    /// Where the intervals of a 128-bit set start: two constants each.
    pub(super) fn wide_intervals(&mut self, set: &[(u128, u128)]) -> u32 {
        self.largest_set = self.largest_set.max(set.len());
        let flat: Vec<[u32; 4]> = set.iter().flat_map(|(low, high)| [words(*low), words(*high)]).collect();
        if let Some(known) = self.wide_sets.get(&flat) {
            return *known;
        }
        let start = self.constants.len() as u32;
        self.constants.extend(flat.iter());
        self.wide_sets.insert(flat, start);
        start
    }

    /// Puts every label's place in: the image, and where each hook's rules are.
    pub(super) fn finish(mut self, entry: [Place; PARTS], rules: &[Vec<Begun>; PARTS]) -> (Image, [Vec<Start>; PARTS]) {
        for at in 0..self.insns.len() {
            let Insn { pass, fail, .. } = self.insns[at];
            self.insns[at].pass = self.resolve(pass);
            self.insns[at].fail = self.resolve(fail);
        }
        let settings = Settings { entry: entry.map(|place| self.resolve(place.encode())), uses: self.uses };
        let starts = rules.each_ref().map(|rules| rules.iter().map(|rule| self.start(*rule)).collect());
        let Self { insns, constants, intervals, .. } = self;
        (Image { insns, constants, intervals, settings, forest: Forest::default() }, starts)
    }

    fn start(&self, Begun { index, next }: Begun) -> Start {
        let next = next.map(|next| self.resolve(next.encode())).filter(|next| !next.is_verdict());
        Start { index, next: next.map(|next| next.0) }
    }

    /// An unbound label would be an error of the compiler: such a packet is dropped, never passed.
    fn resolve(&self, target: Target) -> Target {
        if target.is_verdict() || target.0 & LABEL_BIT == 0 {
            return target;
        }
        let bound = self.labels.get((target.0 & !LABEL_BIT) as usize).copied().flatten();
        debug_assert!(bound.is_some(), "label without a place");
        bound.unwrap_or(Target::DROP)
    }
}

/// A 128-bit number as the image has it: most significant word first.
pub(super) const fn words(value: u128) -> [u32; 4] {
    [(value >> 96) as u32, (value >> 64) as u32, (value >> 32) as u32, value as u32]
}
