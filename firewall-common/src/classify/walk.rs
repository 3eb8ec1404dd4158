//! Finding the next rule that matches. The same code runs in the kernel and on the host.

use super::{DECIDES_HERE, EMPTY, Entry, Head, LAST, LEAF, MAX_DEPTH, Narrow, Node, Root, TREES, Wide};
use crate::{
    eval::{Cursor, Store},
    image::{NO_RULE, Target},
    packet::{Packet, WORDS},
};

/// How far the leaves of a packet have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Search {
    /// For each tree, [`LEAF`] with the next entry to look at; [`EMPTY`] behind the last one.
    pub at: [u32; TREES],
    /// The tree whose leaf is being read; [`IDLE`] before the leaves are found.
    pub tree: u32,
    /// The least number found by [`start`].
    pub least: u32,
    /// And its entry.
    pub found: u32,
    /// Zero.
    pub reserved: u32,
}

crate::shared!(Search = 48);

/// [`Search::tree`]: the leaves are not known yet.
pub const IDLE: u32 = u32::MAX;

/// Entries of a leaf that [`start`] looks at.
const LOOKS: usize = 20;

impl Search {
    /// Nothing found yet.
    pub const NEW: Self = Self { at: [EMPTY; TREES], tree: IDLE, least: u32::MAX, found: EMPTY, reserved: 0 };
}

/// The leaf that a tree has for the packet.
#[inline(always)]
fn descend<S: Store>(store: &S, packet: &Packet, tree: u32) -> Option<u32> {
    let mut at = tree;
    for _ in 0..MAX_DEPTH {
        if at & LEAF != 0 {
            break;
        }
        let Node { last, field, branches } = store.node(at)?;
        let value = packet.words[*field as usize & (WORDS - 1)];
        // Branches that end below the value: counted, because a jump to the right one could not be predicted.
        let mut branch = 0;
        for last in last {
            branch += store.is_below(*last, value);
        }
        at = branches[branch as usize & (branches.len() - 1)];
    }
    (at & LEAF != 0).then_some(at)
}

/// Finds the leaves.
#[inline(always)]
fn find_leaves<S: Store>(store: &S, packet: &Packet, root: &Root, search: &mut Search) -> Option<()> {
    for tree in 0..TREES {
        search.at[tree] = descend(store, packet, root.trees[tree])?;
    }
    search.tree = 0;
    Some(())
}

/// The entry behind one.
#[inline(always)]
const fn behind(at: u32, flags: u16) -> u32 {
    if flags & LAST == 0 { at + 1 } else { EMPTY }
}

/// Goes where an entry says, or to where the root says when there is none.
#[inline(always)]
fn follow<S: Store, E: Entry>(store: &S, root: &Root, found: u32, cursor: &mut Cursor) -> Option<()> {
    cursor.search.tree = 0;
    if found == EMPTY {
        if root.rule != NO_RULE {
            cursor.rule = root.rule;
        }
        cursor.at = Target(root.otherwise);
        return Some(());
    }
    let head = E::get(store, found & !LEAF)?.head();
    if head.flags & DECIDES_HERE != 0 {
        cursor.rule = head.rule;
    }
    cursor.at = Target(head.target);
    Some(())
}

/// Finds the leaves and the first rule, without any call: what most packets need. Where a leaf is long, [`search`] has to
/// go on: then the cursor has not moved.
#[inline(always)]
pub fn start<S: Store>(store: &S, packet: &Packet, root: &Root, is_v6: bool, cursor: &mut Cursor) -> Option<()> {
    find_leaves(store, packet, root, &mut cursor.search)?;
    if is_v6 { first::<S, Wide>(store, packet, root, cursor) } else { first::<S, Narrow>(store, packet, root, cursor) }
}

#[inline(always)]
fn first<S: Store, E: Entry>(store: &S, packet: &Packet, root: &Root, cursor: &mut Cursor) -> Option<()> {
    cursor.search.least = u32::MAX;
    cursor.search.found = EMPTY;
    for tree in 0..TREES {
        if !first_of_tree::<S, E>(store, packet, tree, cursor)? {
            return Some(());
        }
    }
    let found = store.forget(&cursor.search.found);
    follow::<S, E>(store, root, found, cursor)
}

/// Looks for a rule in front of the one found; `false` when the leaf is too long.
#[inline(always)]
fn first_of_tree<S: Store, E: Entry>(store: &S, packet: &Packet, tree: usize, cursor: &mut Cursor) -> Option<bool> {
    let least = store.forget(&cursor.search.least);
    let mut at = store.forget(&cursor.search.at[tree]);
    for _ in 0..LOOKS {
        if at == EMPTY {
            return Some(true);
        }
        let entry = E::get(store, at & !LEAF)?;
        let Head { number, flags, .. } = *entry.head();
        if number >= least {
            return Some(true);
        }
        if entry.matches(packet) && number >= cursor.at.number() {
            cursor.search.at[tree] = at;
            cursor.search.least = number;
            cursor.search.found = at;
            return Some(true);
        }
        at = behind(at, flags);
    }
    // All of these entries have been looked at; the search goes on behind them.
    cursor.search.at[tree] = at;
    Some(at == EMPTY)
}

/// Looks at one more entry; when all trees have been looked at, goes to the rule with the least number.
#[inline(always)]
pub fn search<S: Store, E: Entry>(store: &S, packet: &Packet, root: &Root, cursor: &mut Cursor) -> Option<()> {
    let tree = cursor.search.tree;
    if tree == IDLE {
        return find_leaves(store, packet, root, &mut cursor.search);
    }
    if tree as usize >= TREES {
        return choose::<S, E>(store, root, cursor);
    }
    let place = tree as usize & (TREES - 1);
    let at = cursor.search.at[place];
    if at == EMPTY {
        cursor.search.tree = tree + 1;
        return Some(());
    }
    let entry = E::get(store, at & !LEAF)?;
    if entry.head().number >= cursor.at.number() && entry.matches(packet) {
        cursor.search.tree = tree + 1;
    } else {
        cursor.search.at[place] = behind(at, entry.head().flags);
    }
    Some(())
}

/// Of the trees' next entries, which all match, the one with the least number.
#[inline(always)]
fn choose<S: Store, E: Entry>(store: &S, root: &Root, cursor: &mut Cursor) -> Option<()> {
    let (mut least, mut found) = (u32::MAX, EMPTY);
    for tree in 0..TREES {
        let at = store.forget(&cursor.search.at[tree]);
        if at != EMPTY {
            let number = E::get(store, at & !LEAF)?.head().number;
            if number < least {
                (least, found) = (number, at);
            }
        }
    }
    follow::<S, E>(store, root, found, cursor)
}
