//! How far a packet walks through the trees, counted on the host by the same walk that the kernel runs.

use std::cell::Cell;

use firewall_common::{
    classify::{self, IDLE, Narrow, Node, Root, Wide},
    eval::{Cursor, Store, step},
    image::{Hook, Image, Insn, Interval},
    limits::MAX_STEPS,
    packet::{Field, NFPROTO_IPV6, Packet},
};

/// What one packet looked at: each node and each IPv4 entry is one cache line, an IPv6 entry two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    /// Nodes of trees.
    pub(crate) nodes: u32,
    /// Entries of leaves.
    pub(crate) entries: u32,
    /// The rule that decided, or the policy.
    pub(crate) rule: u32,
}

struct Counting<'image> {
    image: &'image Image,
    nodes: Cell<u32>,
    entries: Cell<u32>,
}

/// The steps of a packet at the output hook.
pub(crate) fn of(image: &Image, packet: &Packet) -> Steps {
    let mut store = Counting { image, nodes: Cell::new(0), entries: Cell::new(0) };
    let mut packet = *packet;
    let mut cursor = Cursor::new(image.settings.entry[Hook::Output as usize]);
    for _ in 0..MAX_STEPS {
        if cursor.at.is_verdict() {
            break;
        }
        if cursor.at.is_next() {
            search(&store, &packet, &mut cursor).expect("a whole image");
        } else {
            step(&mut store, &mut packet, &mut cursor).expect("a whole image");
        }
    }
    Steps { nodes: store.nodes.get(), entries: store.entries.get(), rule: cursor.rule }
}

fn search(store: &Counting<'_>, packet: &Packet, cursor: &mut Cursor) -> Option<()> {
    let is_v6 = packet.get(Field::NfProto) == NFPROTO_IPV6;
    let root = store.root(classify::root_index(Hook::Output as u32, is_v6))?;
    match (is_v6, cursor.search.tree) {
        (_, IDLE) => classify::start(store, packet, root, is_v6, cursor),
        (false, _) => classify::search::<_, Narrow>(store, packet, root, cursor),
        (true, _) => classify::search::<_, Wide>(store, packet, root, cursor),
    }
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

impl Store for Counting<'_> {
    /// Nothing is handed past the rules here.
    fn flow(&mut self, _: &Insn, _: &Packet) -> bool {
        false
    }

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
        count(&self.nodes);
        self.image.forest.nodes.get(index as usize)
    }

    fn narrow(&self, index: u32) -> Option<&Narrow> {
        count(&self.entries);
        self.image.forest.narrow.get(index as usize)
    }

    fn wide(&self, index: u32) -> Option<&Wide> {
        count(&self.entries);
        self.image.forest.wide.get(index as usize)
    }

    fn count(&mut self, _: u32, _: &Packet) {}

    fn take(&mut self, _: u32, _: u64, _: u64) -> bool {
        true
    }

    fn add(&mut self, _: u32, _: u32) -> u64 {
        0
    }

    fn log(&mut self, _: u32, _: u32, _: &Packet) {}

    fn edit(&mut self, _: &Insn, _: &Packet) -> bool {
        false
    }

    fn gather(&mut self, _: &Insn, _: &Packet) {}

    fn look_up(&mut self, _: &Insn, _: &mut Packet) -> u32 {
        firewall_common::sets::run::NO
    }

    fn change(&mut self, _: &Insn, _: &Packet) -> u32 {
        firewall_common::sets::run::NO
    }

    fn meter(&mut self, _: &Insn, _: &Packet) -> u32 {
        firewall_common::sets::run::YES
    }

    fn connections(&mut self, _: &Insn, _: &Packet) -> u32 {
        firewall_common::sets::run::YES
    }

    fn fetch(&mut self, _: &Insn, _: &mut Packet) -> bool {
        false
    }
}
