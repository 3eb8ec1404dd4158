//! Counting: every packet once, by interface, way and outcome.

use firewall_common::verdict::{REASONS, Verdict};

use crate::{maps, pipeline::Path, work::Work};

/// Counts the packet under its outcome.
#[inline(always)]
pub fn packet(work: &Work, path: Path, verdict: Verdict) {
    let Some(traffic) = maps::TRAFFIC.get_ptr_mut(work.interface) else {
        return;
    };
    // SAFETY: this CPU's value; an interface's packets of one way are counted by programs of one kind.
    let traffic = unsafe { &mut *traffic };
    let counters = match path {
        Path::Ingress => &mut traffic.ingress,
        Path::Egress => &mut traffic.egress,
    };
    counters[verdict.number() as usize & (REASONS - 1)].add(work.packet.frame_length);
}
