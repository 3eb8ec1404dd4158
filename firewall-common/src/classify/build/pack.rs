//! Trees as arrays.

use std::collections::HashMap;

use super::{
    reach::Item,
    region::{Family, PORTS, Region, WORDS},
    tree::Tree,
};
use crate::{
    classify::{BRANCHES, DECIDES_HERE, EMPTY, Head, LAST, LEAF, Narrow, Node, Root, Wide},
    image::{Forest, Image, NO_RULE, POLICY},
};

/// Rules that [`super::TooLarge`] names.
const NAMED: usize = 5;

/// The arrays. What is alike is there once.
#[derive(Default)]
pub(super) struct Packer {
    nodes: Vec<Node>,
    node_index: HashMap<Node, u32>,
    narrow: Vec<Narrow>,
    narrow_index: HashMap<Vec<Narrow>, u32>,
    wide: Vec<Wide>,
    wide_index: HashMap<Vec<Wide>, u32>,
}

impl Packer {
    /// Entries of all leaves.
    pub(super) fn entries(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    /// The rules with the most entries.
    pub(super) fn most(&self, image: &Image) -> Vec<(u32, usize)> {
        let narrow = self.narrow.iter().map(|entry| entry.head.number);
        most(image, narrow.chain(self.wide.iter().map(|entry| entry.head.number)))
    }

    pub(super) fn finish(self, roots: Vec<Root>) -> Forest {
        let Self { nodes, narrow, wide, .. } = self;
        Forest { roots, nodes, narrow, wide }
    }

    /// Adds a tree: what its root is called.
    pub(super) fn add(&mut self, tree: &Tree, items: &[Item]) -> u32 {
        match tree {
            Tree::Leaf(places) => self.leaf(places, items),
            Tree::Node { field, last, branches } => {
                let branches: Vec<u32> = branches.iter().map(|branch| self.add(branch, items)).collect();
                if let Some(only) = branches.first().filter(|only| branches.iter().all(|branch| branch == *only)) {
                    return *only;
                }
                self.node(*field, last, &branches)
            }
        }
    }

    fn node(&mut self, field: u8, last: &[u32], branches: &[u32]) -> u32 {
        let mut node = Node { last: [u32::MAX; BRANCHES - 1], field: field.into(), branches: [EMPTY; BRANCHES] };
        node.last[..last.len()].copy_from_slice(last);
        node.branches[..branches.len()].copy_from_slice(branches);
        *self.node_index.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        })
    }

    fn leaf(&mut self, places: &[u32], items: &[Item]) -> u32 {
        let Some(first) = places.first() else { return EMPTY };
        let leaf = places.iter().map(|place| &items[*place as usize]);
        match items[*first as usize].region.family {
            Family::V4 => {
                let mut entries: Vec<Narrow> = leaf.map(narrow).collect();
                entries.last_mut().expect("not empty").head.flags |= LAST;
                put(&mut self.narrow, &mut self.narrow_index, entries)
            }
            Family::V6 => {
                let mut entries: Vec<Wide> = leaf.map(wide).collect();
                entries.last_mut().expect("not empty").head.flags |= LAST;
                put(&mut self.wide, &mut self.wide_index, entries)
            }
        }
    }
}

/// The rules whose first instructions are there most often.
pub(super) fn most(image: &Image, numbers: impl Iterator<Item = u32>) -> Vec<(u32, usize)> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for number in numbers {
        let rule = image.insns.get(number as usize).map_or(NO_RULE, |insn| insn.rule);
        *counts.entry(rule).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().filter(|(rule, _)| rule & POLICY == 0).collect();
    counts.sort_unstable_by_key(|(rule, count)| (std::cmp::Reverse(*count), *rule));
    counts.truncate(NAMED);
    counts
}

fn put<E: Copy + Eq + std::hash::Hash>(all: &mut Vec<E>, index: &mut HashMap<Vec<E>, u32>, entries: Vec<E>) -> u32 {
    let first = *index.entry(entries).or_insert_with_key(|entries| {
        all.extend(entries);
        (all.len() - entries.len()) as u32
    });
    LEAF | first
}

fn head(item: &Item) -> (Head, [(u32, u32); 2]) {
    let Item { region, number, target, decides, is_final: _ } = item;
    let mut fields = [0; 2];
    let mut more = [(0, u32::MAX); 2];
    for (place, word) in region.more().enumerate() {
        fields[place] = WORDS[word] as u8;
        more[place] = region.words[word];
    }
    let flags = if decides.is_some() { DECIDES_HERE } else { 0 };
    (Head { number: *number, target: target.0, rule: decides.unwrap_or(NO_RULE), fields, flags }, more)
}

fn narrow(item: &Item) -> Narrow {
    let Region { addresses, words, family: _ } = item.region;
    let (head, more) = head(item);
    let addresses = addresses.map(|(low, high)| (low as u32, high as u32));
    let mut entry = Narrow { head, ..Narrow::default() };
    for (place, (low, high)) in addresses.into_iter().chain(words[..PORTS].iter().copied()).chain(more).enumerate() {
        entry.low[place] = low;
        entry.span[place] = high - low;
    }
    entry
}

fn wide(item: &Item) -> Wide {
    let Region { addresses, words, family: _ } = item.region;
    let (head, more) = head(item);
    let mut entry = Wide { head, ..Wide::default() };
    for (which, (low, high)) in addresses.into_iter().enumerate() {
        for (index, shift) in [96, 64, 32, 0].into_iter().enumerate() {
            entry.value[4 * which + index] = (low >> shift) as u32;
            entry.mask[4 * which + index] = !((low ^ high) >> shift) as u32;
        }
    }
    for (place, (low, high)) in words[..PORTS].iter().copied().chain(more).enumerate() {
        entry.low[place] = low;
        entry.span[place] = high - low;
    }
    entry
}
