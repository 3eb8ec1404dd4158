//! A whole image, as user space has it.

use super::{Insn, Interval, Op, Settings, USES_NAT, USES_OPTIONS};
use crate::{
    edit::{PAYLOAD_SUM, PSEUDO_SUM},
    fetch::{self, Fetch},
    fib,
};

/// A whole compiled ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Instructions of all hooks.
    pub insns: Vec<Insn>,
    /// 128-bit constants, most significant word first.
    pub constants: Vec<[u32; 4]>,
    /// Intervals of 32-bit sets; each set's are sorted and disjoint.
    pub intervals: Vec<Interval>,
    /// Where each hook starts and what the ruleset uses.
    pub settings: Settings,
    /// What finds the rules of hooks with many; empty when there is none.
    pub forest: Forest,
}

/// The trees of all hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forest {
    /// Two for each hook, see [`crate::classify::root_index`]; or none at all.
    pub roots: Vec<crate::classify::Root>,
    /// Nodes of all trees.
    pub nodes: Vec<crate::classify::Node>,
    /// Leaves for IPv4.
    pub narrow: Vec<crate::classify::Narrow>,
    /// Leaves for IPv6.
    pub wide: Vec<crate::classify::Wide>,
}

impl Image {
    /// Does some rule write what a checksum beyond the IPv4 header's covers?
    pub fn rewrites(&self) -> bool {
        let is_covered = |insn: &Insn| insn.op == Op::Edit as u8 && insn.low & (PSEUDO_SUM | PAYLOAD_SUM) != 0;
        self.settings.uses & (USES_NAT | USES_OPTIONS) != 0 || self.insns.iter().any(is_covered)
    }

    /// Does some rule ask for the way back of packets of this family?
    pub fn asks(&self, v6: bool) -> bool {
        self.insns.iter().any(|insn| insn.op == Op::Fib as u8 && (insn.low & fib::V6 != 0) == v6)
    }

    /// Generators of numbers that the image's instructions refer to.
    pub fn generators(&self) -> usize {
        let number = |insn: &Insn| {
            let is_generator = insn.op == Op::Fetch as u8 && insn.low as u8 == Fetch::Increment as u8;
            is_generator.then(|| fetch::argument(insn.low) as usize + 1)
        };
        self.insns.iter().filter_map(number).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use crate::{flood::USES_FLOODS, image::*};

    #[test]
    fn no_two_features_share_a_bit() {
        let all = [
            USES_NAMES,
            USES_LOG,
            USES_SETS,
            USES_TREES,
            USES_REGISTERS,
            USES_CT_MARK,
            USES_MARK,
            USES_FAST,
            USES_NOTRACK,
            USES_FETCH,
            USES_CELLS,
            USES_REJECT,
            USES_SYNPROXY,
            USES_FLOODS,
            USES_READINGS,
            USES_FIB,
            USES_ADDRESSES,
            USES_OPTIONS,
            USES_MTU,
            USES_NAT,
            USES_LOCAL_NAT,
            USES_NAMED,
            USES_CHANGES,
            USES_SHAPES,
            USES_METERS,
            USES_CONNECTIONS,
        ];
        assert_eq!(all.iter().fold(0, |bits, bit| bits | bit).count_ones() as usize, all.len());
    }
}
