//! Values that are computed from a packet: what statements get, and what matches look at when it is more than a word.

use super::ruleset::{Subject, Tuple, Values};

/// A computed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The same for every packet.
    Constant(u128),
    /// What a packet has, with something done to it.
    Computed(Computed),
    /// What a map gives for something that a packet has; nothing when no element has it.
    Lookup(Lookup),
}

/// A look into a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// What is looked up, together.
    pub keys: Vec<Subject>,
    /// In which map.
    pub map: DataMap,
}

/// A map to data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataMap {
    /// In the rule: no two elements overlap.
    Listed {
        /// The elements.
        tuples: Vec<Tuple>,
        /// The data of `*`.
        default: Option<Vec<Values>>,
    },
    /// One of the table's, by its index in [`super::ruleset::Table::sets`].
    Named(usize),
}

/// What a packet has, and what is done to it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// What the packet has: without a mask and without set bits, which are steps.
    pub subject: Subject,
    /// What is done to it.
    pub steps: Vec<Step>,
}

/// Something done to a value: nftables' bitwise expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `value & mask ^ xor`
    Bits {
        /// The bits that are kept.
        mask: u128,
        /// The bits that are turned over then.
        xor: u128,
    },
    /// `value << by`
    Left(u8),
    /// `value >> by`
    Right(u8),
}

impl Data {
    /// What the packet has, as it is.
    pub const fn of(subject: Subject) -> Self {
        Self::Computed(Computed { subject, steps: Vec::new() })
    }
}

impl Step {
    /// As nftables prints it: `&` with these bits, `^` with these, `|` with these, of a value of so many bits.
    pub const fn as_operators(mask: u128, xor: u128, max: u128) -> (Option<u128>, u128, u128) {
        let or = xor & !mask;
        let kept = mask | or;
        (if kept == max { None } else { Some(kept) }, xor & mask, or)
    }
}
