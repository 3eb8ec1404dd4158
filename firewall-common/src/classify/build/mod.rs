//! Building the trees of an image, in user space.

mod choose;
mod pack;
mod reach;
mod region;
mod tree;

use self::{
    pack::Packer,
    reach::Item,
    region::{Family, Region},
};
use super::{EMPTY, Root, TREES};
use crate::{
    image::{Image, NO_RULE, PARTS, Target, USES_TREES},
    limits::MAX_LEAF_ENTRIES,
};

/// A rule in the image. Policies and everything else that stands in line with rules count as rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its first instruction. Its last one is in front of the next rule's first.
    pub index: u32,
    /// The first instruction of the rule that a packet goes on to when this one says nothing and does nothing. Between the two
    /// there may only be chains that this rule jumps to. `None` for one that always says or does something.
    pub next: Option<u32>,
}

/// How trees are built. The numbers are what measurements gave; tests take small ones, so that few rules make many nodes.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Rules of a hook up to which they are run one after the other.
    pub linear: usize,
    /// Rules at the front of a hook that are run before its trees are asked, if they ask for neither addresses nor ports,
    /// as `ct state established accept` does: packets that they decide on are spared the trees.
    pub front: usize,
    /// Entries that a leaf may have without being split.
    pub short: usize,
    /// A node with more rules than this leaves rules to the next tree rather than to have them in many branches.
    pub many: usize,
    /// Leaf entries for each rule.
    pub allowance: usize,
    /// Leaf entries that any number of rules may have.
    pub least_allowance: usize,
    /// Try other values of `many` and `allowance` too, and take what packets read least of.
    pub tries_others: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { linear: 16, front: 4, short: 4, many: 48, allowance: 8, least_allowance: 4096, tries_others: true }
    }
}

/// Instructions that the rules at the front may have.
const MAX_FRONT_INSNS: u32 = 8;

/// Entries that one family at one hook may need before any rule stands in two leaves.
const MOST_ITEMS: usize = MAX_LEAF_ENTRIES / 2;

/// The trees would be too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Entries of leaves they would have.
    pub entries: usize,
    /// The rules with the most, by number and with that many.
    pub most: Vec<(u32, usize)>,
}

/// Gives an image trees. `starts` are the rules of each hook, in order, all of the image's instructions being theirs.
pub fn build(image: &mut Image, starts: &[Vec<Start>; PARTS], tuning: &Tuning) -> Result<(), TooLarge> {
    let mut packer = Packer::default();
    let mut roots =
        vec![Root { trees: [EMPTY; TREES], otherwise: Target::DROP.0, rule: NO_RULE, reserved: [0; 2] }; 2 * PARTS];
    let mut has_trees = false;
    for (hook, starts) in starts.iter().enumerate() {
        if starts.len() <= tuning.linear {
            continue;
        }
        let items = [Family::V4, Family::V6].map(|family| reach::items(image, starts, family));
        for items in &items {
            if items.len() > MOST_ITEMS {
                let numbers = items.iter().map(|item| item.number);
                return Err(TooLarge { entries: items.len(), most: pack::most(image, numbers) });
            }
        }
        let front = front(image, starts, &items, tuning.front);
        if starts.len() - front <= tuning.linear {
            continue;
        }
        has_trees = true;
        for (is_v6, items) in items.into_iter().enumerate() {
            let from = starts[front].index;
            let items: Vec<Item> = items.into_iter().filter(|item| item.number >= from).collect();
            roots[2 * hook + is_v6] = root(items, tuning, &mut packer);
        }
        link(image, (hook, starts), front);
    }
    if packer.entries() > MAX_LEAF_ENTRIES {
        return Err(TooLarge { entries: packer.entries(), most: packer.most(image) });
    }
    if has_trees {
        image.settings.uses |= USES_TREES;
        image.forest = packer.finish(roots);
    }
    Ok(())
}

/// How many rules are run before the trees are asked.
fn front(image: &Image, starts: &[Start], items: &[Vec<Item>; 2], most: usize) -> usize {
    let is_general = |index: u32| {
        items.iter().flatten().filter(|item| item.number == index).all(|item| !item.region.asks_for_ends())
    };
    let goes_on =
        |at: usize| starts[at].next.is_none_or(|next| Some(next) == starts.get(at + 1).map(|next| next.index));
    let first = starts.first().map_or(0, |start| start.index);
    let end = |at: usize| starts.get(at + 1).map_or(image.insns.len() as u32, |next| next.index);
    let fits = |at: &usize| end(*at) - first <= MAX_FRONT_INSNS && goes_on(*at) && is_general(starts[*at].index);
    (0..most.min(starts.len() - 1)).take_while(fits).count()
}

/// Makes every way to a rule behind the front one to whatever rule matches from there on.
fn link(image: &mut Image, (hook, starts): (usize, &[Start]), front: usize) {
    let behind = &starts[front..];
    let link = |target: &mut Target| {
        if !target.is_verdict() && behind.binary_search_by_key(&target.0, |start| start.index).is_ok() {
            *target = Target::next(target.0);
        }
    };
    link(&mut image.settings.entry[hook]);
    let first = starts.first().map_or(0, |start| start.index as usize);
    // Instructions of other hooks have no targets in this one.
    for insn in image.insns.iter_mut().skip(first) {
        link(&mut insn.pass);
        link(&mut insn.fail);
    }
}

/// Puts what a hook does to packets of a family into trees.
fn root(mut items: Vec<Item>, tuning: &Tuning, packer: &mut Packer) -> Root {
    let mut root = Root { trees: [EMPTY; TREES], otherwise: Target::DROP.0, rule: NO_RULE, reserved: [0; 2] };
    // The policy, in most cases: not in every leaf, then.
    if let Some(last) = items.pop_if(|item| item.target.is_verdict() && item.region == Region::all(item.region.family))
    {
        root.otherwise = last.target.0;
        root.rule = last.decides.unwrap_or(NO_RULE);
    }
    for (place, tree) in choose::grow(&items, tuning).into_iter().enumerate() {
        root.trees[place] = packer.add(&tree, &items);
    }
    root
}
