//! What rules set of a packet that the kernel has a place for.

use firewall_common::{image::USES_MARK, packet::Field};

use crate::{maps, packet::Frame, work::Work};

/// Reads the packet's mark, if a rule may look at it.
#[inline(always)]
pub fn read<F: Frame>(frame: &F, work: &mut Work) {
    if maps::USES.load() & USES_MARK != 0 {
        work.mark = frame.mark();
        work.packet.set(Field::Mark, work.mark);
        work.packet.set(Field::Priority, frame.priority());
    }
}

/// Gives the packet the mark and the priority that rules set.
#[inline(always)]
pub fn write<F: Frame>(frame: &F, work: &Work) {
    if maps::USES.load() & USES_MARK == 0 {
        return;
    }
    let (mark, priority) = (work.packet.get(Field::Mark), work.packet.get(Field::Priority));
    if mark != work.mark {
        frame.set_mark(mark);
    }
    if priority != frame.priority() {
        frame.set_priority(priority);
    }
}
