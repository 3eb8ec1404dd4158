//! Events, for whoever listens: nobody listening costs one load, too many cost a counter.

use firewall_common::{
    conntrack,
    event::{self, EVENTS_PER_AUTHOR, Event, Kind},
    nat::words,
    packet::{Field, NFPROTO_IPV4, Packet},
    parse::tagged,
    verdict::{Reason, Verdict},
};

use crate::{maps, nat, verifier, work::Work};

/// Tells of a drop. Packets by no registered interface are the probes of an apply, of which nobody wants to know.
#[inline(always)]
pub fn verdict(work: &Work, verdict: Verdict) {
    if !verdict.is_pass() && work.interface != 0 && is_news(work, verdict) {
        emit((work.path, work.tick), Kind::Dropped, work.cursor.rule, 0);
    }
}

/// That there is no room is told once a second at most; a table that is full is full for every packet.
#[inline(always)]
fn is_news(work: &Work, verdict: Verdict) -> bool {
    const SECOND: u64 = conntrack::ticks_of_seconds(1) as u64;
    if verdict != Verdict::drop(Reason::TableFull) || !maps::is_listening(work.tick) {
        return true;
    }
    let mut news = false;
    maps::flow_stats(|stats| {
        let now = u64::from(work.tick);
        news = now.wrapping_sub(stats.told) >= SECOND;
        if news {
            stats.told = now;
        }
    });
    news
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

#[inline(always)]
fn emit((path, tick): (u32, u32), kind: Kind, rule: u32, log: u32) {
    if maps::is_listening(tick) {
        tell(path, kind as u32, rule, log);
    }
}

/// Sends an event, if there is room for it. A function that the verifier looks at once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(path: u32, kind: u32, rule: u32, log: u32) -> u32 {
    verifier::frame();
    let (Some(work), Some(budget)) = (maps::work_of(path), maps::BUDGET.get_ptr_mut(0)) else { return 0 };
    let reason = if kind == Kind::Dropped as u32 { work.outcome } else { 0 };
    let Some(own) = maps::AUTHORS.get_ptr_mut(event::author(kind, reason, rule)) else { return 0 };
    // SAFETY: this CPU's values; an event that is lost between XDP and tc on one CPU costs a count, nothing else.
    let (budget, own) = unsafe { (&mut *budget, &mut *own) };
    if !own.take_of(work.tick, EVENTS_PER_AUTHOR) {
        budget.refuse();
        return 0;
    }
    if !budget.take(work.tick) {
        own.refuse();
        return 0;
    }
    let Some(mut record) = maps::EVENTS.reserve::<Event>(0) else {
        own.refuse();
        budget.refuse();
        return 0;
    };
    // SAFETY: the record is ours to fill until it is submitted, and every field is written.
    let event = unsafe { &mut *record.as_mut_ptr() };
    event.time_ns = work.now_ns;
    event.suppressed = budget.suppressed;
    event.more = own.suppressed;
    event.kind = kind;
    event.generation = maps::GENERATION.load();
    event.reason = reason;
    event.rule = rule;
    event.log = log;
    event.hook = work.hook;
    fill(event, &work.packet);
    event.translated = [[0; 4]; 2];
    event.translated_ports = [0; 2];
    if nat::is_used() && kind == Kind::New as u32 && work.nat & nat::WANTED != 0 {
        tell_both_sides(event, work);
    }
    budget.suppressed = 0;
    own.suppressed = 0;
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

#[inline(always)]
fn fill(event: &mut Event, packet: &Packet) {
    event.ifindex = packet.get(Field::IifIndex) | packet.get(Field::OifIndex);
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
