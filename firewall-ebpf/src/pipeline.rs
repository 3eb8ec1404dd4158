//! The path of a packet, top to bottom.

use aya_ebpf::bindings::__sk_buff;
use firewall_common::{
    conntrack::CtState,
    image::{Hook, Part, USES_NAMES},
    interface::RAW_IP,
    packet::Field,
    parse::{self, Start},
    trail::AT_FAST,
    verdict::{Reason, Verdict},
};

use crate::{
    answer, bans, checks, connection, conntrack, cookie, count, emit, explain, fast, flood, fragment, maps, marks, nat,
    packet::{Frame, TcFrame},
    route, rules, sets,
    verifier::{self, forget},
    work::Work,
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
    sets::begin(work);
    work.outcome = decide(frame, work, path).number();
    let leaves_here = path == Path::Egress && forget(&work.detour) == 0;
    if leaves_here && maps::has(Part::Egress) && forget(&work.outcome) == Verdict::PASS.number() {
        work.outcome = device(frame, work, Part::Egress).number();
        marks::write(frame, work);
    }
    sets::forget_connection(work);
    if fast::is_used() && path == Path::Ingress && forget(&work.outcome) == Verdict::REDIRECTED.number() {
        count::packet(work, path, Verdict::REDIRECTED);
        explain::step(work, AT_FAST);
        explain::end(work, path, Verdict::PASS);
        return Verdict::REDIRECTED;
    }
    // Read back, so that what follows is verified once and not once for every reason to drop.
    let verdict = Verdict::stored(forget(&work.outcome));
    count::packet(work, path, verdict);
    emit::verdict(work, verdict);
    flood::tell(work);
    count::ledger(work, verdict);
    explain::end(work, path, verdict);
    let verdict = answer::verdict(frame, work, verdict);
    nat::send(frame, work, path, verdict)
}

/// The stages, in order.
#[inline(always)]
fn decide<F: Frame>(frame: &F, work: &mut Work, path: Path) -> Verdict {
    if frame.is_forwarded(path) {
        return forwarded(frame, work, nat::is_used());
    }
    if nat::is_turned(frame, path) {
        return forwarded(frame, work, false);
    }
    let verdict = parse(frame, work);
    explain::parsed(frame, work);
    if !verdict.is_pass() {
        return verdict;
    }
    if path == Path::Ingress && bans::is_banned(work) {
        return Verdict::drop(Reason::Banned);
    }
    if path == Path::Ingress {
        let verdict = checks::run(frame, work);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    marks::read(frame, work);
    name_interfaces(work, path);
    if path == Path::Ingress {
        let verdict = device(frame, work, Part::Ingress);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    if work.packet.get(Field::NfProto) == 0 {
        marks::write(frame, work);
        return Verdict::PASS;
    }
    stack(frame, work, path)
}

/// A forwarded packet on its way out has met its chains where it came in; only the device's are left. So has one that was to
/// leave by another interface, and it is translated already.
#[inline(always)]
fn forwarded<F: Frame>(frame: &F, work: &mut Work, is_translated: bool) -> Verdict {
    if !maps::has(Part::Egress) && !is_translated {
        work.packet.frame_length = frame.length();
        return Verdict::PASS;
    }
    let verdict = Verdict::stored(frame.parse_again(work.path));
    if !verdict.is_pass() {
        return verdict;
    }
    marks::read(frame, work);
    name_interfaces(work, Path::Egress);
    if is_translated {
        return Verdict::stored(frame.nat_forwarded(work.path));
    }
    Verdict::PASS
}

/// What crosses the stack is an IP packet and may belong to a connection.
#[inline(always)]
fn stack<F: Frame>(frame: &F, work: &mut Work, path: Path) -> Verdict {
    let verdict = fragment::restore(work);
    if !verdict.is_pass() {
        return verdict;
    }
    fragment::note(work);
    let verdict = before_connections(frame, work, path);
    if !verdict.is_pass() {
        return verdict;
    }
    conntrack::look_up(frame, work);
    let verdict = fast::forward(frame, work);
    if !verdict.is_pass() {
        return verdict;
    }
    connection::read_mark(work);
    let verdict = chains(frame, work, path);
    let verdict = flood::behind(frame, work, verdict);
    connection::write_mark(work);
    if !verdict.is_pass() {
        return verdict;
    }
    fast::add_any(work);
    marks::write(frame, work);
    if work.left == 0 {
        fragment::remember(work);
        let verdict = conntrack::commit(frame, work);
        if !verdict.is_pass() {
            return verdict;
        }
        flood::passed(work, path);
    }
    nat::write(frame, work)
}

/// Chains of devices see everything, and as it is there: no connection yet, padding counted.
#[inline(always)]
fn device<F: Frame>(frame: &F, work: &mut Work, part: Part) -> Verdict {
    if !maps::has(part) {
        return Verdict::PASS;
    }
    let length = work.packet.get(Field::Length);
    // The kernel's data starts behind the link's header on the way in, at it on the way out.
    let start = if part.hook() == Hook::Ingress { work.packet.l3_offset } else { 0 };
    work.packet.set(Field::Length, work.packet.frame_length.wrapping_sub(start));
    let verdict = rules::run_rare(frame, work, part);
    work.packet.set(Field::Length, length);
    verdict
}

/// Chains of priority `raw` and all others that come before connections are looked up.
#[inline(always)]
fn before_connections<F: Frame>(frame: &F, work: &mut Work, path: Path) -> Verdict {
    let part = if path == Path::Ingress { Part::PreroutingRaw } else { Part::OutputRaw };
    if !maps::has(part) {
        return Verdict::PASS;
    }
    // What the kernel says of a packet that has no connection.
    work.packet.set(Field::CtState, CtState::Invalid as u32);
    rules::run_rare(frame, work, part)
}

/// The chains that a packet meets once its connection is known.
#[inline(always)]
fn chains<F: Frame>(frame: &F, work: &mut Work, path: Path) -> Verdict {
    if path == Path::Ingress {
        let verdict = prerouting(frame, work);
        if !verdict.is_pass() {
            return verdict;
        }
    } else {
        let verdict = before_output(frame, work);
        if !verdict.is_pass() {
            return verdict;
        }
    }
    let Some(hook) = route::hook(frame, work, path) else {
        work.left = 1;
        return Verdict::PASS;
    };
    if hook == Hook::Forward {
        name_outgoing(work);
    }
    let verdict = flood::before(frame, work, hook);
    if !verdict.is_pass() {
        return verdict;
    }
    // One copy of the rules' code for all hooks.
    let verdict = rules::run(frame, work, hook.into());
    if cookie::is_asked(verdict) {
        // As with nftables, no further chain sees the packet.
        return if flood::is_done(work) { Verdict::PASS } else { cookie::verdict(frame, work) };
    }
    if !verdict.is_pass() {
        verdict
    } else if forget(&work.hook) != Hook::Input as u32 {
        postrouting(frame, work)
    } else {
        behind_input(frame, work)
    }
}

/// What comes before the chains of output beside nat chains: those of lower priority, then the nat chains.
#[inline(always)]
fn before_output<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let verdict = rules::run_rare(frame, work, Part::OutputEarly);
    if verdict.is_pass() { nat::output(frame, work) } else { verdict }
}

/// And behind those of input.
#[inline(always)]
fn behind_input<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let rule = work.cursor.rule;
    let verdict = nat::input(frame, work);
    if !verdict.is_pass() {
        return verdict;
    }
    work.cursor.rule = rule;
    rules::run_rare(frame, work, Part::InputLate)
}

#[inline(always)]
fn prerouting<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let verdict = rules::run_rare(frame, work, Part::PreroutingEarly);
    if !verdict.is_pass() {
        return verdict;
    }
    let verdict = nat::destination(frame, work);
    if verdict.is_pass() { rules::run_rare(frame, work, Part::Prerouting) } else { verdict }
}

/// The last chains. A connection remembers the rule that let it pass before them.
#[inline(always)]
fn postrouting<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let rule = work.cursor.rule;
    if nat::is_used() && work.leaves_by != 0 {
        work.packet.set(Field::OifIndex, work.leaves_by);
        name_outgoing(work);
    }
    let verdict = rules::run_rare(frame, work, Part::Postrouting);
    if !verdict.is_pass() {
        return verdict;
    }
    let verdict = nat::source(frame, work);
    if verdict.is_pass() {
        work.cursor.rule = rule;
    }
    verdict
}

/// Which interface, and when. A packet that comes in has no outgoing interface yet, one made here no incoming one, as in
/// the kernel.
#[inline(always)]
fn begin<F: Frame>(frame: &F, work: &mut Work, path: Path) {
    explain::begin(work);
    let ifindex = frame.ifindex();
    let interface = maps::interface(ifindex);
    let now = maps::now_ns();
    work.begin(now, (now >> firewall_common::conntrack::TICK_NS_SHIFT) as u32, interface);
    let (hook, iif, oif) = match path {
        Path::Ingress => (Hook::Prerouting, ifindex, 0),
        Path::Egress => (Hook::Output, 0, ifindex),
    };
    work.hook = hook as u32;
    work.path = path as u32;
    work.packet.set(Field::CtState, CtState::Untracked as u32);
    work.packet.set(Field::IifIndex, iif);
    work.packet.set(Field::OifIndex, oif);
    work.packet.set(Field::CtZone, maps::zone(interface));
    flood::begin(work);
}

#[inline(always)]
fn parse<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let start = start(frame, work);
    match parse::parse(frame, start, &mut work.packet) {
        Ok(()) => Verdict::PASS,
        Err(_) if frame.pull() => Verdict::stored(frame.parse_again(work.path)),
        Err(reason) => Verdict::drop(reason),
    }
}

/// The parser as a function of its own: it is most of the program, and few packets need it twice. Looked at once by the
/// verifier, see [`crate::rules::walk_tc`]. The number of the reason to drop, 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else {
        return Reason::Internal as u32;
    };
    let frame = TcFrame::of_context(context.cast());
    let start = start(&frame, work);
    match parse::parse(&frame, start, &mut work.packet) {
        Ok(()) => Reason::None as u32,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn start<F: Frame>(frame: &F, work: &Work) -> Start {
    frame.start(maps::INTERFACES.get(work.interface).is_none_or(|interface| interface.flags & RAW_IP == 0))
}

/// Sets the words of the interfaces' names.
#[inline(always)]
fn name_interfaces(work: &mut Work, path: Path) {
    if maps::USES.load() & USES_NAMES == 0 {
        return;
    }
    let name = maps::interface_name(work.interface);
    let (iif, oif) = if path == Path::Egress { ([0; 4], name) } else { (name, [0; 4]) };
    for index in 0..4 {
        work.packet.set_at(Field::IifName, index, iif[index]);
        work.packet.set_at(Field::OifName, index, oif[index]);
    }
}

/// The same for the interface by which a packet will leave that came in by another one.
#[inline(always)]
fn name_outgoing(work: &mut Work) {
    if maps::USES.load() & USES_NAMES == 0 {
        return;
    }
    let name = maps::interface_name(maps::interface(work.packet.get(Field::OifIndex)));
    for (index, word) in name.into_iter().enumerate() {
        work.packet.set_at(Field::OifName, index, word);
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
