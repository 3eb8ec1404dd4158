//! Events, for whoever listens: nobody listening costs one load, too many cost a counter.

use firewall_common::{
    conntrack,
    event::{self, EVENTS_PER_AUTHOR, Event, Kind},
    packet::{Field, Packet},
    verdict::{Reason, Verdict},
};

use crate::{maps, work::Work};

/// When and where an event happens.
#[derive(Clone, Copy)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, ns.
    pub now_ns: u64,
    /// The same in ticks.
    pub tick: u32,
    /// [`firewall_common::image::Hook`].
    pub hook: u32,
}

impl Moment {
    #[inline(always)]
    const fn of(work: &Work) -> Self {
        Self { now_ns: work.now_ns, tick: work.tick, hook: work.hook }
    }
}

/// Tells of a drop. Packets by no registered interface are the probes of an apply, of which nobody wants to know.
#[inline(always)]
pub fn verdict(work: &Work, verdict: Verdict) {
    if !verdict.is_pass() && work.interface != 0 && is_news(work, verdict) {
        emit(&work.packet, Moment::of(work), Kind::Dropped, verdict, work.cursor.rule, 0);
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
pub fn logged(packet: &Packet, moment: Moment, rule: u32, log: u32) {
    emit(packet, moment, Kind::Logged, Verdict::PASS, rule, log);
}

/// Tells of a new connection.
#[inline(always)]
pub fn new_flow(work: &Work) {
    emit(&work.packet, Moment::of(work), Kind::New, Verdict::PASS, work.cursor.rule, 0);
}

#[inline(always)]
fn emit(packet: &Packet, moment: Moment, kind: Kind, verdict: Verdict, rule: u32, log: u32) {
    if !maps::is_listening(moment.tick) {
        return;
    }
    let Some(budget) = maps::BUDGET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's value; an event that is lost between XDP and tc on one CPU costs a count, nothing else.
    let budget = unsafe { &mut *budget };
    let Some(own) = maps::AUTHORS.get_ptr_mut(event::author(kind as u32, verdict.number(), rule)) else {
        return;
    };
    // SAFETY: as above.
    let own = unsafe { &mut *own };
    if !own.take_of(moment.tick, EVENTS_PER_AUTHOR) {
        return budget.refuse();
    }
    if !budget.take(moment.tick) {
        return own.refuse();
    }
    let Some(mut record) = maps::EVENTS.reserve::<Event>(0) else {
        own.refuse();
        return budget.refuse();
    };
    // SAFETY: the record is ours to fill until it is submitted, and every field is written.
    let event = unsafe { &mut *record.as_mut_ptr() };
    event.time_ns = moment.now_ns;
    event.suppressed = budget.suppressed;
    event.more = own.suppressed;
    event.kind = kind as u32;
    event.generation = maps::GENERATION.load();
    event.reason = verdict.number();
    event.rule = rule;
    event.log = log;
    event.hook = moment.hook;
    fill(event, packet);
    budget.suppressed = 0;
    own.suppressed = 0;
    record.submit(0);
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
