//! Entering a connection whose first packet was accepted.

use firewall_common::{
    conntrack::{self, EVICT, Segment, State, Terms, Window},
    packet::{Field, L4_PRESENT},
    table::{self, Entry, OVERFLOWED, Slot, Victim, WAYS},
    verdict::{Reason, Verdict},
    wire::{sctp as sctp_wire, tcp},
};

use super::read_offer;
use crate::{
    association,
    bucket::{Slots, entry, slot_word},
    emit, maps, nat,
    packet::Frame,
    verifier::{self, forget},
    work::Work,
};

/// Enters the connection of an accepted packet, if it starts one.
#[inline(always)]
pub fn commit<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    if work.pending == 0 {
        return Verdict::PASS;
    }
    if work.packet.get(Field::L4Header) == u32::from(tcp::PROTOCOL) | L4_PRESENT {
        read_offer(frame, work);
    }
    work.gone_count = 0;
    work.outcome = if nat::is_used() && forget(&work.nat) & nat::WANTED != 0 {
        nat::nat_enter(work.path)
    } else if enter(work) {
        Verdict::PASS.number()
    } else {
        Reason::TableFull as u32
    };
    emit::gone(work);
    // Read back, so that it is one way for the verifier.
    let verdict = Verdict::stored(forget(&work.outcome));
    if verdict.is_pass() {
        emit::new_flow(work);
    }
    verdict
}

/// Enters the connection; `false` when there is no room. Tried twice, because another CPU may take the same place at the same
/// instant.
#[inline(always)]
pub fn enter(work: &mut Work) -> bool {
    if try_to_enter(work) {
        return true;
    }
    let entered = try_to_enter(work);
    maps::flow_stats(|stats| {
        stats.retried += u64::from(entered);
        stats.refused += u64::from(!entered);
    });
    entered
}

/// Finds room for the connection and writes it there; `false` when there is no room, or another CPU took it.
#[inline(never)]
fn try_to_enter(work: &mut Work) -> bool {
    verifier::frame();
    let mask = maps::BUCKET_MASK.load();
    let (home, alternate) = (table::home(work.hash, mask), table::alternate(work.hash, mask));
    let (Some(home), Some(alternate)) = (maps::bucket(home), maps::bucket(alternate)) else {
        return false;
    };
    let scratch = &raw mut work.scratch;
    let (home_slots, alternate_slots) = (Slots { bucket: home, scratch }, Slots { bucket: alternate, scratch });
    let (preferred, terms) = (table::preferred(work.hash), (work.tick, maps::tracks(EVICT)));
    let Some(claim) = table::claim(&home_slots, &alternate_slots, preferred, terms) else {
        return false;
    };
    work.place = claim.way as u32 + 1;
    work.scratch = claim.word.0;
    maps::flow_stats(|stats| {
        stats.entered += 1;
        stats.evicted_embryonic += u64::from(claim.victim == Victim::Embryonic);
        stats.evicted_answered += u64::from(claim.victim == Victim::Answered);
    });
    if claim.elsewhere {
        // From now on the alternate bucket must be looked at too.
        // SAFETY: an aligned word of a map value.
        unsafe { verifier::set_bits(slot_word(home, WAYS as u32 + 1), OVERFLOWED) };
    }
    let place = forget(&work.place);
    let bucket = if claim.elsewhere { alternate } else { home };
    if nat::is_used() && claim.elsewhere {
        work.bucket = table::alternate(work.hash, mask);
    } else if nat::is_used() {
        work.bucket = table::home(work.hash, mask);
    }
    // SAFETY: the place is claimed: no other CPU writes to it, and readers pass over it.
    let entry = unsafe { &mut *entry(bucket, place) };
    if maps::is_listening(work.tick) {
        emit::keep_gone(work, entry);
    }
    write(work, entry);
    let expires = work.tick.wrapping_add(maps::ticks(forget(&work.pending_timeout)));
    let word = Slot::new(table::tag(work.hash), State(work.pending as u8), expires);
    // SAFETY: an aligned word of a map value.
    unsafe { verifier::publish(slot_word(bucket, place), word.0) };
    true
}

#[inline(always)]
fn write(work: &Work, entry: &mut Entry) {
    entry.key = work.key;
    entry.created = work.tick;
    entry.originator_is_high = work.source_is_high as u16;
    entry.packets = [1, 0];
    entry.bytes = [u64::from(work.packet.get(Field::Length)), 0];
    entry.rule = work.cursor.rule;
    entry.generation = maps::generation();
    entry.mark = work.packet.get(Field::CtMark);
    entry.ifindex = work.packet.get(Field::IifIndex);
    if nat::is_used() {
        entry.set_partner(work.partner[0], work.partner[1]);
        if work.alias != 0 {
            nat::write_alias(work, entry);
            return;
        }
    }
    if work.packet.get(Field::L4Proto) as u8 == sctp_wire::PROTOCOL {
        association::keep(entry, &work.walk.association);
    }
    if work.packet.get(Field::L4Proto) as u8 == tcp::PROTOCOL {
        let (window, original, reply) = conntrack::begin(&Segment::of(&work.packet), Terms(forget(&work.offer) as u8));
        entry.windows = [window, Window::default()];
        entry.terms = [original, reply];
    }
}
