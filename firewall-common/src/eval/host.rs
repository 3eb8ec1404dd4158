//! An image run on the host.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Cursor, Store, step};
use crate::{
    classify::{self, IDLE, Narrow, Node, Root, Wide},
    edit,
    image::{HAS_EXTRAS, HAS_SHAPES, Hook, Image, Insn, Interval, Part, Target},
    limit,
    limits::MAX_STEPS,
    packet::{Field, NFPROTO_IPV6, Packet, WORDS},
    sets::{
        LINE_WORDS, change, connections, meter,
        run::{self, Scratch},
    },
};

/// An image run on the host, with what its statements did.
#[derive(Debug)]
pub struct HostRun<'image> {
    image: &'image Image,
    /// Rule counters that the packet was counted in, in order.
    pub counted: Vec<u32>,
    /// Log statements that the packet met, with their rules, in order.
    pub logged: Vec<(u32, u32)>,
    /// What was written into headers: where ([`crate::edit`]), which bits, and what.
    pub edited: Vec<(u32, u32, u32)>,
    /// What can be fetched, by [`crate::fetch::Fetch`]: the words of each value.
    pub facts: Vec<(u32, Vec<u32>)>,
    /// States of limits and quotas.
    pub cells: BTreeMap<u32, AtomicU64>,
    /// The time for limits, nanoseconds.
    pub now_ns: u64,
    /// The named sets, by their numbers.
    pub sets: Vec<(u32, &'image [[AtomicU64; LINE_WORDS]])>,
    scratch: Scratch,
}

impl<'image> HostRun<'image> {
    /// Nothing run yet.
    pub const fn new(image: &'image Image) -> Self {
        Self {
            image,
            counted: Vec::new(),
            logged: Vec::new(),
            edited: Vec::new(),
            facts: Vec::new(),
            cells: BTreeMap::new(),
            now_ns: 0,
            sets: Vec::new(),
            scratch: Scratch::EMPTY,
        }
    }

    /// Runs a hook's chains over a packet: the verdict and who gave it, or `None` for a broken or endless image.
    pub fn run(&mut self, hook: Hook, packet: &Packet) -> Option<Cursor> {
        self.run_part(hook.into(), &mut packet.clone())
    }

    /// The same with one part of a hook, and what it makes of the packet.
    pub fn run_part(&mut self, part: Part, packet: &mut Packet) -> Option<Cursor> {
        let mut cursor = Cursor::new(self.image.settings.entry[part as usize]);
        for _ in 0..MAX_STEPS {
            if cursor.at.is_verdict() {
                return Some(cursor);
            }
            if cursor.at.is_next() {
                self.search(part, packet, &mut cursor)?;
            } else {
                step(self, packet, &mut cursor)?;
            }
        }
        None
    }

    /// The same without the trees: one rule after the other.
    pub fn run_linear(&mut self, hook: Hook, packet: &Packet) -> Option<Cursor> {
        let packet = &mut { *packet };
        let mut cursor = Cursor::new(self.image.settings.entry[hook as usize]);
        for _ in 0..MAX_STEPS {
            if cursor.at.is_verdict() {
                return Some(cursor);
            }
            if cursor.at.is_next() {
                cursor.at = Target::at(cursor.at.number());
            }
            step(self, packet, &mut cursor)?;
        }
        None
    }

    fn search(&self, part: Part, packet: &Packet, cursor: &mut Cursor) -> Option<()> {
        let is_v6 = packet.get(Field::NfProto) == NFPROTO_IPV6;
        let root = self.root(classify::root_index(part as u32, is_v6))?;
        match (is_v6, cursor.search.tree) {
            (_, IDLE) => classify::start(self, packet, root, is_v6, cursor),
            (false, _) => classify::search::<_, Narrow>(self, packet, root, cursor),
            (true, _) => classify::search::<_, Wide>(self, packet, root, cursor),
        }
    }
}

impl Store for HostRun<'_> {
    fn insn(&self, index: u32) -> Option<&Insn> {
        self.image.insns.get(index as usize)
    }

    fn constant(&self, index: u32) -> Option<&[u32; 4]> {
        self.image.constants.get(index as usize)
    }

    fn interval(&self, index: u32) -> Option<&Interval> {
        self.image.intervals.get(index as usize)
    }

    fn root(&self, index: u32) -> Option<&Root> {
        self.image.forest.roots.get(index as usize)
    }

    fn node(&self, index: u32) -> Option<&Node> {
        self.image.forest.nodes.get(index as usize)
    }

    fn narrow(&self, index: u32) -> Option<&Narrow> {
        self.image.forest.narrow.get(index as usize)
    }

    fn wide(&self, index: u32) -> Option<&Wide> {
        self.image.forest.wide.get(index as usize)
    }

    fn count(&mut self, index: u32, _: &Packet) {
        self.counted.push(index);
    }

    fn take(&mut self, cell: u32, cost: u64, capacity: u64) -> bool {
        limit::take(self.cells.entry(cell).or_default(), self.now_ns, cost, capacity)
    }

    fn add(&mut self, cell: u32, amount: u32) -> u64 {
        let amount = u64::from(amount);
        self.cells.entry(cell).or_default().fetch_add(amount, Ordering::Relaxed).wrapping_add(amount)
    }

    fn log(&mut self, index: u32, rule: u32, _: &Packet) {
        self.logged.push((index, rule));
    }

    /// On the host there are no connections.
    fn flow(&mut self, _: &Insn, _: &Packet) -> bool {
        true
    }

    fn edit(&mut self, insn: &Insn, packet: &Packet) -> bool {
        self.edited.push((insn.low, insn.mask, edit::value(insn, packet)));
        true
    }

    fn fetch(&mut self, insn: &Insn, packet: &mut Packet) -> bool {
        let found = self.facts.iter().find(|(fetch, _)| *fetch == insn.low);
        let Some((_, value)) = found else { return false };
        for (index, word) in value.iter().enumerate() {
            packet.words[(insn.extra as usize + index) & (WORDS - 1)] = *word;
        }
        true
    }

    fn gather(&mut self, insn: &Insn, packet: &Packet) {
        self.scratch.gather(insn, packet);
    }

    fn look_up(&mut self, insn: &Insn, packet: &mut Packet) -> u32 {
        let set = self.sets.iter().find(|(number, _)| *number == insn.low);
        let Some((_, set)) = set else { return run::BROKEN };
        let answer = if insn.extra & HAS_SHAPES != 0 {
            run::look_up::<_, true>(set, insn, packet, &mut self.scratch)
        } else {
            run::look_up::<_, false>(set, insn, packet, &mut self.scratch)
        };
        match answer {
            run::YES if insn.extra & HAS_EXTRAS != 0 => run::met(set, insn, packet, &self.scratch),
            answer => answer,
        }
    }

    fn change(&mut self, insn: &Insn, packet: &Packet) -> u32 {
        let set = self.sets.iter().find(|(number, _)| *number == insn.low);
        let Some((_, set)) = set else { return run::BROKEN };
        if change::looks_for_place(self.scratch.phase) {
            run::change::<_, true>(set, insn, packet, (0, &mut self.scratch))
        } else {
            run::change::<_, false>(set, insn, packet, (0, &mut self.scratch))
        }
    }

    fn meter(&mut self, insn: &Insn, packet: &Packet) -> u32 {
        let set = self.sets.iter().find(|(number, _)| *number == insn.low);
        let (Some((_, set)), Some(numbers)) = (set, self.constant(insn.mask)) else { return run::BROKEN };
        let numbers = [numbers, self.constant(insn.mask + 1).unwrap_or(numbers)];
        meter::meter(set, insn, (numbers, packet.get(Field::Length), self.now_ns), &self.scratch)
    }

    /// The host knows no connections: it is the first one.
    fn connections(&mut self, insn: &Insn, _: &Packet) -> u32 {
        connections::decide(insn, 1)
    }
}
