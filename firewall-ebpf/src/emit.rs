//! Events, for whoever listens: nobody listening costs one load, too many cost a counter.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use firewall_common::{
    conntrack::{Direction, State},
    event::{self, Budget, EVENTS_PER_AUTHOR, Event, Kind, REPEATED_AFTER},
    nat::words,
    packet::{Field, NFPROTO_IPV4, Packet},
    parse::tagged,
    table::{Entry, Slot},
    verdict::{Reason, Verdict},
};

use crate::{
    bucket, conntrack, maps, nat,
    pipeline::Path,
    verifier::{self, forget, forget_u64},
    work::{GONE, Work},
};

/// Tells of a drop. Packets by no registered interface are the probes of an apply, of which nobody wants to know.
#[inline(always)]
pub fn verdict(work: &Work, verdict: Verdict) {
    if !verdict.is_pass() && work.interface != 0 && maps::is_listening(work.tick) {
        tell_drop(work.path);
    }
}

/// Tells of a rule's log statement.
#[inline(always)]
pub fn logged(path: u32, tick: u32, rule: u32, log: u32) {
    emit((path, tick), Kind::Logged, rule, log);
}

/// Tells of a new connection.
#[inline(always)]
pub fn new_flow(work: &Work) {
    emit((work.path, work.tick), Kind::New, work.cursor.rule, 0);
}

/// Tells of a connection that this packet ended, whose place is in the work area.
#[inline(always)]
pub fn closed(work: &Work, state: State) {
    if maps::is_listening(work.tick) {
        tell_closed(work.path, u32::from(state.0));
    }
}

/// Tells of a flood that has begun ([`Kind::FloodOn`]) or is over ([`Kind::FloodOff`]), with the packet that showed it: `work.numbers` has
/// how many were counted, and from how many on it is a flood.
#[inline(always)]
pub fn flood(work: &mut Work, kind: u32, reason: Reason) {
    if maps::is_listening(work.tick) {
        work.told_reason = reason as u32;
        tell(work.path, kind, work.cursor.rule, 0);
    }
}

#[inline(always)]
fn emit((path, tick): (u32, u32), kind: Kind, rule: u32, log: u32) {
    if maps::is_listening(tick) {
        tell(path, kind as u32, rule, log);
    }
}

/// A drop, and what it says of the whole: that there is no room is told once a second.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_drop(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let (outcome, rule) = (work.outcome, work.cursor.rule);
    tell(path, Kind::Dropped as u32, rule, 0);
    let kind = if outcome == Reason::TableFull as u32 {
        Kind::TableFull
    } else if outcome == Reason::NatExhausted as u32 {
        Kind::NatExhausted
    } else {
        return 0;
    };
    if is_due(kind, work.tick) {
        tell(path, kind as u32, rule, 0);
    }
    0
}

/// Was it not told for a second? Of several CPUs that ask at once, one tells.
#[inline(always)]
fn is_due(kind: Kind, tick: u32) -> bool {
    let Some(listeners) = maps::LISTENERS.get_ptr_mut(0) else { return false };
    // SAFETY: aligned words of a map value.
    unsafe {
        let told = if kind as u32 == Kind::TableFull as u32 {
            &raw mut (*listeners).table_full
        } else {
            &raw mut (*listeners).nat_exhausted
        };
        let (before, now) = (told.read_volatile(), u64::from(tick));
        now.wrapping_sub(before) >= REPEATED_AFTER && verifier::compare_exchange(told, before, now)
    }
}

/// Sends an event, if there is room for it. A function that the verifier looks at once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(path: u32, kind: u32, rule: u32, log: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let reason = reason(work, kind);
    let Some((mut record, budget, own)) = reserve(work, event::author(kind, reason, rule), event::is_rare(kind)) else {
        return 0;
    };
    // SAFETY: the record is ours to fill until it is submitted, and every field is written.
    let event = unsafe { &mut *record.as_mut_ptr() };
    event.kind = kind;
    event.generation = maps::generation();
    event.reason = reason;
    event.rule = rule;
    event.log = log;
    let is_flood = kind == Kind::FloodOn as u32 || kind == Kind::FloodOff as u32;
    for index in 0..4 {
        event.numbers[index] = if is_flood { work.numbers[index] } else { 0 };
    }
    event.age = 0;
    event.state = 0;
    fill(event, work);
    if nat::is_used() && kind == Kind::New as u32 && work.nat & nat::WANTED != 0 {
        tell_both_sides(event, work);
    }
    finish(event, budget, own);
    record.submit(0);
    1
}

/// The packet's words are those behind the translation by now; the connection is that of its sender.
#[inline(always)]
fn tell_both_sides(event: &mut Event, work: &Work) {
    let is_v4 = work.packet.get(Field::NfProto) == NFPROTO_IPV4;
    event.source = words(work.original.addresses[0], is_v4);
    event.destination = words(work.original.addresses[1], is_v4);
    event.translated[0] = words(work.translated.addresses[0], is_v4);
    event.translated[1] = words(work.translated.addresses[1], is_v4);
    if nat::has_ports(work) {
        let protocol = work.packet.get(Field::L4Proto) as u8;
        event.source_port = tagged(protocol, work.original.ports[0]);
        event.destination_port = tagged(protocol, work.original.ports[1]);
        event.translated_ports = work.translated.ports;
    }
}

/// What the event gives as the reason.
#[inline(always)]
fn reason(work: &Work, kind: u32) -> u32 {
    if kind == Kind::FloodOn as u32 || kind == Kind::FloodOff as u32 {
        work.told_reason
    } else if kind == Kind::Logged as u32 || kind == Kind::New as u32 {
        0
    } else {
        work.outcome
    }
}

/// Takes an event's worth of the budget of the CPU and of the author.
#[inline(always)]
fn take(work: &Work, author: u32, is_rare: bool) -> Option<(&'static mut Budget, &'static mut Budget)> {
    let (budget, own) = (maps::BUDGET.get_ptr_mut(0)?, maps::AUTHORS.get_ptr_mut(author)?);
    // SAFETY: this CPU's values; an event that is lost between XDP and tc on one CPU costs a count, nothing else.
    let (budget, own) = unsafe { (&mut *budget, &mut *own) };
    if !own.take_of(work.tick, EVENTS_PER_AUTHOR) {
        budget.refuse();
        return None;
    }
    if !is_rare && !budget.take(work.tick) {
        own.refuse();
        return None;
    }
    Some((budget, own))
}

/// Room for an event, and the budgets that it was taken from.
#[inline(always)]
fn reserve(
    work: &Work,
    author: u32,
    is_rare: bool,
) -> Option<(RingBufEntry<Event>, &'static mut Budget, &'static mut Budget)> {
    let (budget, own) = take(work, author, is_rare)?;
    let Some(record) = maps::EVENTS.reserve::<Event>(0) else {
        own.refuse();
        budget.refuse();
        return None;
    };
    Some((record, budget, own))
}

/// How many were not told since one was.
#[inline(always)]
fn finish(event: &mut Event, budget: &mut Budget, own: &mut Budget) {
    event.suppressed = budget.suppressed;
    event.more = own.suppressed;
    budget.suppressed = 0;
    own.suppressed = 0;
}

/// Tells of the end of the connection whose place is in the work area. A function of its own, as [`tell`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_closed(path: u32, state: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let Some(bucket) = maps::bucket(forget(&work.bucket)) else { return 0 };
    // SAFETY: a place of the bucket; that another CPU recycles it meanwhile makes numbers wrong, nothing else.
    let entry = unsafe { &*bucket::entry(bucket, forget(&work.place)) };
    let author = event::author(Kind::Closed as u32, 0, entry.rule);
    let Some((mut record, budget, own)) = reserve(work, author, false) else { return 0 };
    // SAFETY: the record is ours to fill until it is submitted, and every field is written.
    let event = unsafe { &mut *record.as_mut_ptr() };
    event.kind = Kind::Closed as u32;
    event.generation = entry.author();
    event.reason = 0;
    event.rule = entry.rule;
    event.log = 0;
    event.numbers = [entry.packets[0], entry.bytes[0], entry.packets[1], entry.bytes[1]];
    event.age = work.tick.wrapping_sub(entry.created);
    event.state = state;
    fill(event, work);
    if nat::is_used() && work.nat & nat::KNOWN != 0 {
        tell_both_sides(event, work);
    } else if conntrack::direction(work, entry) == Direction::Reply {
        turn(event);
    }
    finish(event, budget, own);
    record.submit(0);
    1
}

/// Keeps what a connection was whose place another one takes, until [`gone`] tells of it: the stack is too short for that where places
/// are taken. Its word is in `work.scratch`.
#[inline(always)]
pub fn keep_gone(work: &mut Work, entry: &Entry) {
    let word = forget_u64(&work.scratch);
    if event::untold(Slot(word), work.tick) != 0 {
        let at = forget(&work.gone_count) as usize & (GONE - 1);
        work.gone[at] = *entry;
        work.gone_words[at] = word;
        work.gone_count += 1;
    }
}

/// Tells of the connections whose places the packet's one took.
#[inline(always)]
pub fn gone(work: &Work) {
    if forget(&work.gone_count) != 0 {
        tell_all_gone(work.path);
    }
}

/// Tells of each, and counts those for which there was no room to be kept.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_all_gone(path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    for at in 0..GONE as u32 {
        if at < forget(&work.gone_count) {
            tell_gone(path, at);
        }
    }
    if let Some(budget) = maps::BUDGET.get_ptr_mut(0) {
        let more = u64::from(forget(&work.gone_count).saturating_sub(GONE as u32));
        // SAFETY: this CPU's value.
        unsafe {
            (*budget).suppressed += more;
            (*budget).lost += more;
        }
    }
    0
}

/// Tells of one of them. A function of its own, as [`tell`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_gone(path: u32, at: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let at = at as usize & (GONE - 1);
    let (entry, word) = (&work.gone[at], Slot(work.gone_words[at]));
    if entry.is_alias() {
        return 0;
    }
    let author = event::author(Kind::Closed as u32, 0, entry.rule);
    let Some((mut record, budget, own)) = reserve(work, author, false) else { return 0 };
    // SAFETY: the record is ours to fill until it is submitted, and every field is written.
    let event = unsafe { &mut *record.as_mut_ptr() };
    event.set_ended(entry, word, (work.now_ns, work.tick));
    finish(event, budget, own);
    record.submit(0);
    1
}

/// A connection is told of as its first packet had it.
#[inline(always)]
fn turn(event: &mut Event) {
    for index in 0..4 {
        let source = event.source[index];
        event.source[index] = event.destination[index];
        event.destination[index] = source;
    }
    let port = event.source_port;
    event.source_port = event.destination_port;
    event.destination_port = port;
}

#[inline(always)]
fn fill(event: &mut Event, work: &Work) {
    let packet: &Packet = &work.packet;
    event.time_ns = work.now_ns;
    event.hook = work.hook;
    event.translated = [[0; 4]; 2];
    event.translated_ports = [0; 2];
    event.ifindex = packet.interface(work.path == Path::Egress as u32);
    event.length = packet.frame_length;
    event.ct_state = packet.get(Field::CtState);
    event.ether_type = packet.get(Field::EtherType);
    for index in 0..4 {
        event.source[index] = packet.get_at(Field::SourceAddress, index);
        event.destination[index] = packet.get_at(Field::DestinationAddress, index);
    }
    event.nfproto = packet.get(Field::NfProto);
    event.protocol = packet.get(Field::L4Proto);
    event.source_port = packet.get(Field::SourcePort);
    event.destination_port = packet.get(Field::DestinationPort);
    event.icmp = packet.get(Field::IcmpType);
    event.tcp_flags = packet.get(Field::TcpFlags);
}
