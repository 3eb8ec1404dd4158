//! Floods of first segments: SYN cookies that no rule asks for, see [`firewall_common::flood`].
//!
//! When handshakes that are not completed become too many, first segments that the rules accept are answered with a cookie, and
//! segments of no known connection must bring one back. What brings one back is judged by the rules as the first segment
//! that it stands for.

use firewall_common::{
    conntrack::{CtState, Phase, State},
    event::Kind,
    flood::{self, Flooding, Floods, SLOTS, USES_FLOODS},
    image::Hook,
    packet::Field,
    table::Entry,
    trail::Explain,
    verdict::{Reason, Verdict},
};

use crate::{
    cookie, emit, maps, nat,
    packet::Frame,
    pipeline::Path,
    verifier::{self, Cell, forget},
    work::Work,
};

/// The packet has nothing to do with a flood.
const NOTHING: u32 = 0;
/// It is to be answered with a cookie, or must bring one back.
pub const ASKED: u32 = 1;
/// It has brought one back.
pub const RETURNED: u32 = 2;

/// Do settings ask for it?
#[inline(always)]
pub fn is_used() -> bool {
    maps::USES.load() & USES_FLOODS != 0
}

/// Forgets the packet before, and sees once a second whether a flood has ended.
#[inline(always)]
pub fn begin(work: &mut Work) {
    if !is_used() {
        return;
    }
    work.flood = NOTHING;
    work.completed = 0;
    work.turn = 0;
    let Some(floods) = maps::FLOODS.get(0) else { return };
    if flood::is_on(floods.state) && floods.judged != flood::second(work.tick) {
        let _ = flood_watch(work.path);
    }
}

/// Before the rules: what brings no cookie back ends here, while there is a flood.
#[inline(always)]
pub fn before<F: Frame>(frame: &F, work: &mut Work, hook: Hook) -> Verdict {
    if !is_used() || hook as u32 != Hook::Input as u32 || forget(&work.place) != 0 || work.interface == 0 {
        return Verdict::PASS;
    }
    let awaited = maps::FLOODS.get(0).is_some_and(|floods| flood::is_awaited(floods.state, work.tick));
    if !awaited || flood_meets(work.path) == 0 {
        return Verdict::PASS;
    }
    verifier::changed(work);
    if flood::is_first(&work.packet) {
        return Verdict::PASS;
    }
    let verdict = cookie::verdict(frame, work);
    verifier::changed(work);
    verdict
}

/// Behind the rules: gives the packet its own flags back, and answers it if it is to be.
#[inline(always)]
pub fn behind<F: Frame>(frame: &F, work: &mut Work, verdict: Verdict) -> Verdict {
    if !is_used() {
        return verdict;
    }
    let flood = forget(&work.flood);
    if flood == RETURNED {
        work.packet.set(Field::TcpFlags, work.flags);
    }
    if flood == ASKED && verdict.is_pass() && flood::is_first(&work.packet) {
        return cookie::verdict(frame, work);
    }
    verdict
}

/// A rule wants the handshake made; was it, by a cookie that nobody's rule sent? Otherwise the rule has its way.
#[inline(always)]
pub fn is_done(work: &mut Work) -> bool {
    if !is_used() {
        return false;
    }
    if forget(&work.flood) == RETURNED {
        return true;
    }
    work.flood = NOTHING;
    false
}

/// The packet changes its connection: does that complete a handshake, or end it otherwise?
#[inline(always)]
pub fn changes(work: &mut Work, entry: &Entry, before: State, after: State) {
    let is_handshake = |state: State| state.phase().wrapping_sub(1) < Phase::SynRecv as u8;
    if is_used() && is_handshake(before) && !is_handshake(after) && entry.ifindex != 0 {
        work.completed = entry.created | 1;
    }
}

/// The packet goes on: what that says of handshakes with this host.
#[inline(always)]
pub fn passed(work: &Work, path: Path) {
    if !is_used() || work.packet.get(Field::L4Proto) as u8 != firewall_common::wire::tcp::PROTOCOL {
        return;
    }
    let begins = path == Path::Ingress && work.pending != 0 && flood::is_first(&work.packet);
    let is_here = forget(&work.hook) == if path == Path::Ingress { Hook::Input as u32 } else { Hook::Output as u32 };
    if (begins || forget(&work.completed) != 0) && is_here {
        let _ = flood_count(work.path, u32::from(begins));
    }
}

/// Tells that a flood has begun or ended, if this packet showed it. At the end, where the stack has room for it.
#[inline(always)]
pub fn tell(work: &mut Work) {
    if is_used() && forget(&work.turn) != 0 {
        let turn = forget(&work.turn);
        emit::flood(work, turn, Reason::SynAnswered);
    }
}

/// Sees whether a flood has ended. Functions that the verifier looks at once, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flood_watch(path: u32) -> u32 {
    verifier::frame();
    if let (Some(work), Some(floods)) = (maps::work_of(path), maps::FLOODS.get_ptr_mut(0)) {
        judge(work, floods);
    }
    0
}

/// Does the packet have to do with cookies? Notes it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flood_meets(path: u32) -> u32 {
    verifier::frame();
    let (Some(work), Some(floods)) = (maps::work_of(path), maps::FLOODS.get(0)) else { return 0 };
    let is_asked =
        if flood::is_first(&work.packet) { flood::is_on(floods.state) } else { flood::is_second(&work.packet) };
    let is_translated = nat::is_used() && forget(&work.nat) & nat::WANTED != 0;
    if !is_asked || is_translated || maps::is_left_out(work) || !is_protected(work.packet.get(Field::DestinationPort)) {
        return 0;
    }
    work.flood = ASKED;
    1
}

/// Counts a handshake that begins, or one that is complete.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flood_count(path: u32, begins: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let port = if path == Path::Ingress as u32 { Field::DestinationPort } else { Field::SourcePort };
    if work.interface == 0 || !is_protected(work.packet.get(port)) {
        return 0;
    }
    if begins != 0 {
        begun(work);
        return 0;
    }
    let second = flood::second(work.completed);
    if let (Some(floods), false) = (maps::FLOODS.get_ptr_mut(0), is_supposed()) {
        flood::completed(&word(floods, second), second);
    }
    0
}

/// A handshake begins, or a cookie is sent.
#[inline(always)]
pub fn begun(work: &mut Work) {
    let Some(floods) = maps::FLOODS.get_ptr_mut(0) else { return };
    if is_supposed() {
        return;
    }
    let now = flood::second(work.tick);
    flood::begun(&word(floods, now), now);
    // SAFETY: aligned words of a map value.
    let (state, judged) = unsafe { ((&raw const (*floods).state).read_volatile(), (*floods).judged) };
    if !flood::is_on(state) || judged != now {
        judge(work, floods);
    }
}

/// A cookie was brought back. When it was sent it does not tell; hardly ever long ago.
#[inline(always)]
pub fn returned(work: &Work) {
    let Some(floods) = maps::FLOODS.get_ptr_mut(0) else { return };
    if is_supposed() {
        return;
    }
    let now = flood::second(work.tick);
    if !flood::completed(&word(floods, now), now) {
        let before = now.wrapping_sub(1);
        flood::completed(&word(floods, before), before);
    }
    // SAFETY: an aligned word of a map value.
    unsafe { verifier::add(&raw mut (*floods).returned, 1) };
}

/// What rules see of a segment that has brought a cookie back: the first one of its connection.
#[inline(always)]
pub fn disguise(work: &mut Work) {
    work.flood = RETURNED;
    work.flags = work.packet.get(Field::TcpFlags);
    work.packet.set(Field::TcpFlags, flood::first_flags(work.flags));
    work.packet.set(Field::CtState, CtState::New as u32);
}

/// What becomes of one that has not.
#[inline(always)]
pub fn without_cookie() -> u32 {
    let is_on = maps::FLOODS.get(0).is_some_and(|floods| flood::is_on(floods.state));
    if is_on { Reason::CookieWrong as u32 } else { 0 }
}

/// The largest segment that clients are told of.
#[inline(always)]
pub fn segment_size() -> u32 {
    // SAFETY: `Global` is transparent; volatile, as user space wrote it before the program was loaded.
    unsafe { (&raw const (*flooding()).mss).read_volatile() }
}

/// Is it only asked what would be?
#[inline(always)]
fn is_supposed() -> bool {
    maps::EXPLAIN.load() == Explain::Shadow as u32
}

#[inline(always)]
fn flooding() -> *const Flooding {
    (&raw const maps::FLOODING).cast()
}

/// `port` is a word with its protocol.
#[inline(always)]
fn is_protected(port: u32) -> bool {
    let mut is_within = false;
    for at in 0..flood::PORTS {
        // SAFETY: as in `segment_size`.
        let range = unsafe { (&raw const (*flooding()).ports[at]).read_volatile() };
        is_within |= flood::is_within(range, port & 0xffff);
    }
    is_within
}

#[inline(always)]
fn word(floods: *mut Floods, second: u32) -> Cell {
    // SAFETY: a word of the map value.
    Cell(unsafe { (&raw mut (*floods).open).cast::<u64>().add(flood::place(second)) })
}

/// Has a flood begun, or ended? One CPU finds out first, and tells.
#[inline(always)]
fn judge(work: &mut Work, floods: *mut Floods) {
    use firewall_common::limit::Word;
    let now = flood::second(work.tick);
    let mut open = 0_u32;
    for at in 0..SLOTS {
        open = open.saturating_add(flood::recent(word(floods, at as u32).load(), now));
    }
    // SAFETY: words of the map value; the constants as in `segment_size`.
    let (begin, end, state, flips) = unsafe {
        (*floods).judged = now;
        let begin = (&raw const (*flooding()).begin).read_volatile();
        let end = (&raw const (*flooding()).end).read_volatile();
        (begin, end, (&raw const (*floods).state).read_volatile(), Cell(&raw mut (*floods).state))
    };
    let is_on = flood::is_on(state);
    let goes_on = flood::goes_on(is_on, open, begin, end);
    if goes_on == is_on || !flips.replace(state, flood::state(goes_on, work.tick)) {
        return;
    }
    // SAFETY: as above; who changed the word is alone here for a second.
    unsafe {
        (*floods).changed_ns = work.now_ns;
        (*floods).begun += u64::from(goes_on);
    }
    let kind = if goes_on { Kind::FloodOn } else { Kind::FloodOff };
    work.numbers = [open.into(), begin.into(), 0, 0];
    work.turn = kind as u32;
}
