//! Instructions made without an assembler.

use super::{Field, Insn, Op, Target};

impl Insn {
    /// An instruction that always goes to `pass`.
    pub const fn always(rule: u32, flags: u8, pass: Target) -> Self {
        Self {
            op: Op::Range as u8,
            field: Field::Zero as u8,
            flags,
            reserved: 0,
            rule,
            mask: 0,
            low: 0,
            high: 0,
            extra: 0,
            pass,
            fail: pass,
        }
    }
}
