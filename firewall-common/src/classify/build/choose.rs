//! The best of several ways to part rules into trees, by what packets would read of them.
//!
//! How readily rules are left to the next tree, and how often one may stand in a tree, has no value that is good for all
//! rulesets: many rules that ask for little do better with few trees and much room. So some are tried, and each is judged by
//! packets drawn from inside the rules.

use std::thread;

use super::{
    Tuning,
    reach::Item,
    region::{Family, Interval, columns},
    tree::{self, Tree},
};
use crate::packet::WORDS;

/// Packets that trees are judged by.
const PACKETS: usize = 512;

/// Ways that are tried, for [`Tuning::many`] and [`Tuning::allowance`], beside the one that was asked for.
const OTHERS: [(usize, usize); 2] = [(96, 24), (150, 32)];

/// Rules below which trees are small whatever is done.
const FEW: usize = 256;

/// Trees that together have all items.
pub(super) fn grow(items: &[Item], tuning: &Tuning) -> Vec<Tree> {
    if !tuning.tries_others || items.len() < FEW {
        return tree::grow(items, tuning);
    }
    let others = OTHERS.map(|(many, allowance)| Tuning { many, allowance, ..*tuning });
    let judge = Judge::new(items);
    let grown = thread::scope(|scope| {
        let grow = |tuning: Tuning| {
            let judge = &judge;
            scope.spawn(move || {
                let trees = tree::grow(items, &tuning);
                (judge.cost(&trees), trees)
            })
        };
        let tries: Vec<_> = std::iter::once(*tuning).chain(others).map(grow).collect();
        tries.into_iter().filter_map(|one| one.join().ok()).collect::<Vec<_>>()
    });
    let best = grown.into_iter().min_by_key(|(cost, _)| *cost);
    best.map_or_else(|| tree::grow(items, tuning), |(_, trees)| trees)
}

/// The words of a packet, by field.
type Words = [u32; WORDS];

struct Judge<'a> {
    items: &'a [Item],
    packets: Vec<Words>,
    /// Cache lines of an entry.
    lines: u64,
}

impl<'a> Judge<'a> {
    fn new(items: &'a [Item]) -> Self {
        let mut random = 0;
        let step = items.len().div_ceil(PACKETS);
        let packets = items.iter().step_by(step).map(|item| inside(item, &mut random)).collect();
        let lines = match items.first().map(|item| item.region.family) {
            Some(Family::V6) => 2,
            Some(Family::V4) | None => 1,
        };
        Self { items, packets, lines }
    }

    /// The cache lines that packets read, as the sum of their squares: a packet that reads very many counts for more.
    fn cost(&self, trees: &[Tree]) -> u64 {
        let of = |packet| {
            let lines = self.lines_of(packet, trees);
            lines * lines
        };
        self.packets.iter().map(of).sum()
    }

    fn lines_of(&self, packet: &Words, trees: &[Tree]) -> u64 {
        let (mut lines, mut least) = (0, u32::MAX);
        for tree in trees {
            let (nodes, leaf) = descend(tree, packet);
            lines += nodes;
            for item in leaf.iter().take_while(|item| **item < least) {
                lines += self.lines;
                if matches(&self.items[*item as usize], packet) {
                    least = *item;
                    break;
                }
            }
        }
        lines
    }
}

/// The nodes on the way to a packet's leaf, and the leaf.
fn descend<'a>(mut tree: &'a Tree, packet: &Words) -> (u64, &'a [u32]) {
    let mut nodes = 0;
    loop {
        match tree {
            Tree::Leaf(items) => return (nodes, items),
            Tree::Node { field, last, branches } => {
                let value = packet[*field as usize % WORDS];
                tree = &branches[last.iter().filter(|last| **last < value).count()];
                nodes += 1;
            }
        }
    }
}

fn matches(item: &Item, packet: &Words) -> bool {
    columns(&item.region).into_iter().all(|(field, (low, high))| (low..=high).contains(&packet[field as usize % WORDS]))
}

/// A packet of an item's region.
fn inside(item: &Item, random: &mut u64) -> Words {
    let mut words = [0; WORDS];
    for (field, interval) in columns(&item.region) {
        words[field as usize % WORDS] = between(interval, random);
    }
    words
}

fn between((low, high): Interval, random: &mut u64) -> u32 {
    let share = u64::from(next(random) as u32) * (u64::from(high - low) + 1);
    low + (share >> 32) as u32
}

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
