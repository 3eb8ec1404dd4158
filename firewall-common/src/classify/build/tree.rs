//! Which word to ask for, and where to cut it.
//!
//! A node cuts one word at up to seven places, chosen so that the rules on its branches, weighted by how many packets of
//! rules take the branch, are fewest. A rule that spans many branches stands in all of them; where that happens too often,
//! such rules are left to the next tree. Every node has an allowance of leaf entries below it, which its branches share:
//! where it is spent, a leaf stays long. So the arrays are bounded whatever the rules are.

use super::{
    Tuning,
    reach::Item,
    region::{Interval, columns},
};
use crate::{
    classify::{BRANCHES, MAX_DEPTH, TREES},
    limits::MAX_LEAF_ENTRIES,
};

/// Rules by which the cut of a node is chosen, if it has more.
const SAMPLE: usize = 512;

/// Leaf entries of one family at one hook.
const MOST: usize = MAX_LEAF_ENTRIES / 2;

/// How much it counts against a cut that rules stand in several of its branches: as this power of how many times more of
/// them there are below it.
const REPLICATION: f64 = 0.4;

/// A cut must leave less than this share of the rules.
const WORTH: f64 = 0.96;

/// A tree; leaves have places of items, in order.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Leaf(Vec<u32>),
    Node { field: u8, last: Vec<u32>, branches: Vec<Tree> },
}

/// A word, and each item's interval of it.
struct Column {
    field: u8,
    intervals: Vec<Interval>,
}

struct Grower {
    columns: Vec<Column>,
    /// Items that end the search wherever they match.
    is_final: Vec<bool>,
    /// Items that are left to the next tree.
    is_left: Vec<bool>,
    leaves_rules: bool,
    tuning: Tuning,
}

/// Trees that together have all items.
pub(super) fn grow(items: &[Item], tuning: &Tuning) -> Vec<Tree> {
    let mut grower = Grower::new(items, *tuning);
    let all: Vec<u32> = (0..items.len() as u32).collect();
    let mut trees = Vec::new();
    let mut rest = all;
    while !rest.is_empty() && trees.len() < TREES {
        grower.leaves_rules = trees.len() + 1 < TREES;
        // The last one has to take all the rest, which is what stands in many branches.
        let entitled = if grower.leaves_rules { rest.len() } else { items.len() };
        let spent: usize = trees.iter().map(Tree::entries).sum();
        let allowance = (entitled * tuning.allowance).max(tuning.least_allowance).min(MOST.saturating_sub(spent));
        let cell = vec![(0, u32::MAX); grower.columns.len()];
        let mut tree = grower.node(rest.clone(), &cell, allowance, 0);
        let is_left = std::mem::replace(&mut grower.is_left, vec![false; items.len()]);
        tree.retain(&is_left);
        trees.push(tree);
        rest.retain(|item| is_left[*item as usize]);
    }
    trees
}

impl Tree {
    fn entries(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Node { branches, .. } => branches.iter().map(Self::entries).sum(),
        }
    }

    /// Takes out what was left to the next tree.
    fn retain(&mut self, is_left: &[bool]) {
        match self {
            Self::Leaf(items) => items.retain(|item| !is_left[*item as usize]),
            Self::Node { branches, .. } => branches.iter_mut().for_each(|branch| branch.retain(is_left)),
        }
    }
}

/// A cut of a node.
struct Cut {
    column: usize,
    last: Vec<u32>,
    /// The share of the rules that a branch has, by how many rules take it.
    left: f64,
    cost: f64,
}

impl Grower {
    fn new(items: &[Item], tuning: Tuning) -> Self {
        let mut all: Vec<Column> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            for (place, (field, interval)) in columns(&item.region).into_iter().enumerate() {
                if at == 0 {
                    all.push(Column { field, intervals: Vec::with_capacity(items.len()) });
                }
                all[place].intervals.push(interval);
            }
        }
        all.retain(|column| column.intervals.iter().any(|interval| *interval != (0, u32::MAX)));
        let is_final = items.iter().map(|item| item.is_final).collect();
        Self { columns: all, is_final, is_left: vec![false; items.len()], leaves_rules: true, tuning }
    }

    fn covers(&self, item: u32, cell: &[Interval]) -> bool {
        self.columns.iter().zip(cell).all(|(column, (low, high))| {
            let (from, to) = column.intervals[item as usize];
            from <= *low && *high <= to
        })
    }

    fn node(&mut self, mut items: Vec<u32>, cell: &[Interval], allowance: usize, depth: usize) -> Tree {
        // Nothing is found behind a rule that decides on every packet here.
        if let Some(at) = items.iter().position(|item| self.is_final[*item as usize] && self.covers(*item, cell)) {
            items.truncate(at + 1);
        }
        if items.len() <= self.tuning.short || depth == MAX_DEPTH {
            return Tree::Leaf(items);
        }
        let Some(Cut { column, last, .. }) = self.cut(&items, cell) else { return Tree::Leaf(items) };
        let mut parts = self.distribute(&items, column, &last);
        let mut total: usize = parts.iter().map(Vec::len).sum();
        if self.leaves_rules && items.len() > self.tuning.many && total > items.len() + items.len() / 4 {
            self.leave(&items, column, &last, total);
            items.retain(|item| !self.is_left[*item as usize]);
            parts = self.distribute(&items, column, &last);
            total = parts.iter().map(Vec::len).sum();
        }
        if total > allowance {
            return Tree::Leaf(items);
        }
        let mut low = cell[column].0;
        let mut branches = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let high = last.get(at).copied().unwrap_or(cell[column].1);
            let mut cell = cell.to_vec();
            cell[column] = (low, high);
            let share = (allowance * part.len()).div_ceil(total.max(1));
            branches.push(self.node(part, &cell, share, depth + 1));
            low = high.wrapping_add(1);
        }
        Tree::Node { field: self.columns[column].field, last, branches }
    }

    /// The branches an item is in, first and last.
    fn span(&self, item: u32, column: usize, last: &[u32]) -> (usize, usize) {
        let (low, high) = self.columns[column].intervals[item as usize];
        let branch = |value: u32| last.iter().filter(|last| **last < value).count();
        (branch(low), branch(high))
    }

    fn distribute(&self, items: &[u32], column: usize, last: &[u32]) -> Vec<Vec<u32>> {
        let mut parts = vec![Vec::new(); last.len() + 1];
        for item in items {
            let (from, to) = self.span(*item, column, last);
            parts[from..=to].iter_mut().for_each(|part| part.push(*item));
        }
        parts
    }

    /// Leaves the items with the most branches to the next tree, until there are few enough of them.
    fn leave(&mut self, items: &[u32], column: usize, last: &[u32], total: usize) {
        let mut widest: Vec<(usize, u32)> = items
            .iter()
            .map(|item| {
                let (from, to) = self.span(*item, column, last);
                (to - from, *item)
            })
            .filter(|(more, _)| *more > 0)
            .collect();
        widest.sort_unstable_by_key(|(more, item)| (std::cmp::Reverse(*more), *item));
        let (mut total, mut count) = (total, items.len());
        for (more, item) in widest {
            if total <= count + count / 4 {
                break;
            }
            self.is_left[item as usize] = true;
            total -= more + 1;
            count -= 1;
        }
    }

    /// The best cut, if there is one that is worth it.
    fn cut(&self, items: &[u32], cell: &[Interval]) -> Option<Cut> {
        let step = items.len().div_ceil(SAMPLE);
        let sample: Vec<u32> = items.iter().step_by(step).copied().collect();
        let cuts = (0..self.columns.len()).filter_map(|column| self.cut_of(&sample, column, cell[column]));
        cuts.min_by(|a, b| a.cost.total_cmp(&b.cost)).filter(|cut| cut.left < WORTH)
    }

    fn cut_of(&self, sample: &[u32], column: usize, (low, high): Interval) -> Option<Cut> {
        let intervals = &self.columns[column].intervals;
        let mut ends = Vec::with_capacity(2 * sample.len());
        for item in sample {
            let (from, to) = intervals[*item as usize];
            if from > low {
                ends.push(from - 1);
            }
            if to < high {
                ends.push(to);
            }
        }
        if ends.is_empty() {
            return None;
        }
        ends.sort_unstable();
        let last = quantiles(&ends);
        let mut changes = [0_i32; BRANCHES + 1];
        for item in sample {
            let (from, to) = self.span(*item, column, &last);
            changes[from] += 1;
            changes[to + 1] -= 1;
        }
        let (mut total, mut squares, mut count) = (0.0, 0.0, 0);
        for change in &changes[..=last.len()] {
            count += change;
            total += f64::from(count);
            squares += f64::from(count) * f64::from(count);
        }
        let all = f64::from(sample.len() as u32);
        let left = squares / total / all;
        Some(Cut { column, last, left, cost: left * (total / all).powf(REPLICATION) })
    }
}

/// Up to seven different values that part sorted ones evenly.
fn quantiles(ends: &[u32]) -> Vec<u32> {
    let mut distinct = ends.to_vec();
    distinct.dedup();
    if distinct.len() < BRANCHES {
        return distinct;
    }
    let mut last: Vec<u32> = (1..BRANCHES).map(|part| ends[part * ends.len() / BRANCHES]).collect();
    last.dedup();
    last
}
