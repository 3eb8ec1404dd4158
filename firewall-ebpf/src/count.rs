//! Counting: every packet once, by interface, way and outcome.

use firewall_common::{
    counter::REDIRECTED,
    ledger::{self, By, PLACES},
    verdict::{REASONS, Verdict},
};

use crate::{
    maps,
    pipeline::Path,
    verifier::{self, forget},
    work::Work,
};

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

/// Counts a packet that leaves by another interface without a program there.
#[inline(always)]
pub fn sent_past(work: &Work, place: u32) {
    if let Some(traffic) = maps::TRAFFIC.get_ptr_mut(place) {
        // SAFETY: this CPU's value; at egress programs run with interrupts of this kind held back.
        unsafe { (*traffic).egress[REDIRECTED].add(work.packet.frame_length) };
    }
}

/// Notes a drop under its source, see [`ledger`]. The probes of an apply are nobody's.
#[inline(always)]
pub fn ledger(work: &mut Work, verdict: Verdict) {
    if !verdict.is_pass() && work.interface != 0 {
        note_drop(work);
    }
}

#[inline(never)]
fn note_drop(work: &mut Work) {
    verifier::frame();
    let Some(source) = ledger::source(&work.packet) else {
        return;
    };
    let Some(set) = maps::LEDGER.get_ptr_mut(ledger::set(&source)) else {
        return;
    };
    // SAFETY: this CPU's value; a drop that is lost between XDP and tc on one CPU costs a count, nothing else.
    let set = unsafe { &mut *set };
    work.choice = set.place(&source) as u32;
    // Read back, so that the four places are one way for the verifier.
    let place = forget(&work.choice) as usize & (PLACES - 1);
    let ifindex = work.packet.interface(work.path == Path::Egress as u32);
    let by = By { now_ns: work.now_ns, rule: work.cursor.rule, generation: maps::generation(), ifindex };
    set.places[place].note(&source, &work.packet, Verdict::stored(work.outcome), by);
}
