//! The path of a packet, top to bottom.

use firewall_common::{
    conntrack::CtState,
    image::{Hook, USES_NAMES},
    interface::RAW_IP,
    packet::Field,
    parse::{self, Start},
    verdict::{Reason, Verdict},
};

use crate::{
    conntrack, count, emit, explain, fragment, maps, marks, packet::Frame, route, rules, verifier::forget, work::Work,
};

/// Which way a packet crosses the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Path {
    /// It comes in.
    Ingress = 0,
    /// It leaves.
    Egress = 1,
}

/// Everything that happens to a packet.
#[inline(always)]
pub fn run<F: Frame>(frame: &F, path: Path) -> Verdict {
    let Some(work) = maps::work(path) else {
        return Verdict::drop(Reason::Internal);
    };
    begin(frame, work, path);
    work.outcome = decide(frame, work, path).number();
    // Read back, so that what follows is verified once and not once for every reason to drop.
    let verdict = Verdict::stored(forget(&work.outcome));
    count::packet(work, path, verdict);
    emit::verdict(work, verdict);
    count::ledger(work, verdict);
    explain::end(work, path, verdict);
    verdict
}

/// The stages, in order.
#[inline(always)]
fn decide<F: Frame>(frame: &F, work: &mut Work, path: Path) -> Verdict {
    if frame.is_forwarded(path) {
        work.packet.frame_length = frame.length();
        return Verdict::PASS;
    }
    if let Err(reason) = parse(frame, work) {
        explain::parsed(frame, work);
        return Verdict::drop(reason);
    }
    explain::parsed(frame, work);
    if work.packet.get(Field::NfProto) == 0 {
        return Verdict::PASS;
    }
    fragment::restore(work);
    marks::read(frame, work);
    conntrack::look_up(frame, work);
    let Some(hook) = route::hook(frame, work, path) else {
        return Verdict::PASS;
    };
    conntrack::read_mark(work);
    let verdict = rules::run(frame, work, hook);
    conntrack::write_mark(work);
    if !verdict.is_pass() {
        return verdict;
    }
    marks::write(frame, work);
    fragment::remember(work);
    conntrack::commit(frame, work)
}

/// Which interface, and when.
#[inline(always)]
fn begin<F: Frame>(frame: &F, work: &mut Work, path: Path) {
    explain::begin();
    let ifindex = frame.ifindex();
    let interface = maps::interface(ifindex);
    let now = maps::now_ns();
    work.begin(now, (now >> firewall_common::conntrack::TICK_NS_SHIFT) as u32, interface);
    work.hook = if path == Path::Egress { Hook::Output } else { Hook::Prerouting } as u32;
    work.packet.set(Field::CtState, CtState::Untracked as u32);
    work.packet.set(Field::IifIndex, ifindex);
    work.packet.set(Field::OifIndex, 0);
    work.packet.set(Field::CtZone, maps::zone(interface));
}

#[inline(always)]
fn parse<F: Frame>(frame: &F, work: &mut Work) -> Result<(), Reason> {
    let start = start(frame, work);
    let first = parse::parse(frame, start, &mut work.packet);
    if first.is_err() && frame.pull() {
        return parse_again(frame, start, work);
    }
    first
}

/// Not inlined: the parser is most of the program, and few packets need it twice.
#[inline(never)]
fn parse_again<F: Frame>(frame: &F, start: Start, work: &mut Work) -> Result<(), Reason> {
    parse::parse(frame, start, &mut work.packet)
}

#[inline(always)]
fn start<F: Frame>(frame: &F, work: &Work) -> Start {
    frame.start(maps::INTERFACES.get(work.interface).is_none_or(|interface| interface.flags & RAW_IP == 0))
}

/// Sets the interface words for a hook: a packet for this host has no outgoing interface, one made here no incoming
/// one, as in the kernel.
#[inline(always)]
pub fn name_interfaces(work: &mut Work, hook: Hook) {
    let ifindex = work.packet.get(Field::IifIndex);
    if hook == Hook::Output {
        work.packet.set(Field::OifIndex, ifindex);
        work.packet.set(Field::IifIndex, 0);
    }
    if maps::USES.load() & USES_NAMES == 0 {
        return;
    }
    let name = maps::interface_name(work.interface);
    let (iif, oif) = match hook {
        Hook::Output => ([0; 4], name),
        Hook::Forward => (name, maps::interface_name(maps::interface(work.packet.get(Field::OifIndex)))),
        Hook::Prerouting | Hook::Input | Hook::Postrouting => (name, [0; 4]),
    };
    for index in 0..4 {
        work.packet.set_at(Field::IifName, index, iif[index]);
        work.packet.set_at(Field::OifName, index, oif[index]);
    }
}

/// An attached program found no generation to hand the packet to. It cannot happen while pins are left alone, and it
/// must not let anything pass that a ruleset might have dropped.
#[inline(always)]
pub fn no_generation<F: Frame>(frame: &F, path: Path) -> Verdict {
    let verdict = Verdict::drop(Reason::NoGeneration);
    if let Some(work) = maps::work(path) {
        begin(frame, work, path);
        work.packet.frame_length = frame.length();
        count::packet(work, path, verdict);
    }
    verdict
}
