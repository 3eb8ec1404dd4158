//! What rules set of a packet that the kernel has a place for.

use firewall_common::{image::USES_MARK, packet::Field};

use crate::{maps, packet::Frame, work::Work};

/// Reads the packet's mark, if a rule may look at it.
#[inline(always)]
pub fn read<F: Frame>(frame: &F, work: &mut Work) {
    if maps::USES.load() & USES_MARK != 0 {
        work.mark = frame.mark();
        work.packet.set(Field::Mark, work.mark);
    }
}

/// Gives the packet the mark that a rule set.
#[inline(always)]
pub fn write<F: Frame>(frame: &F, work: &Work) {
    if maps::USES.load() & USES_MARK != 0 && work.packet.get(Field::Mark) != work.mark {
        frame.set_mark(work.packet.get(Field::Mark));
    }
}
