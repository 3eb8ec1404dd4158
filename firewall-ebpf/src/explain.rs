//! Notes of what a packet meets: in programs that were loaded to explain, and nowhere else.
//!
//! Everything here is behind the load-time constant `EXPLAIN`, so that the verifier takes it out of a generation in
//! force. The notes are one value a CPU: XDP and tc do not interrupt each other.

use firewall_common::{
    eval::Cursor,
    image::{Hook, NO_RULE, POLICY, Target},
    packet::WORDS,
    trail::{
        AT_HOOK, AT_POLICY, AT_RULE, BUCKETS, Explain, SNAP, STEPS, TRAIL_HEAD, Trail, TrailFilter, WANTS_BYTES,
        WANTS_STEPS,
    },
    verdict::Verdict,
};

use crate::{
    maps,
    packet::Frame,
    pipeline::Path,
    verifier::{self, forget},
    work::Work,
};

/// Was the program loaded to explain?
#[inline(always)]
pub fn is_on() -> bool {
    maps::EXPLAIN.load() != Explain::Off as u32
}

#[inline(always)]
fn trail() -> Option<&'static mut Trail> {
    let pointer = maps::TRAIL.get_ptr_mut(0)?;
    // SAFETY: this CPU's value, which nothing else writes while the program runs.
    Some(unsafe { &mut *pointer })
}

/// Do the notes of the packet's buckets matter? Only a shadow's connections are copied for it.
#[inline(always)]
fn is_shadow() -> bool {
    maps::EXPLAIN.load() == Explain::Shadow as u32
}

/// A packet begins its way.
#[inline(always)]
pub fn begin(work: &mut Work) {
    if !is_on() {
        return;
    }
    work.watched = 0;
    if !is_shadow() {
        return;
    }
    if let Some(trail) = trail() {
        trail.active = 0;
        trail.step_count = 0;
        trail.bucket_count = 0;
    }
}

/// The packet was read: is it one of those asked for? Most are not, which a compare or two tell without a call.
#[inline(always)]
pub fn parsed<F: Frame>(frame: &F, work: &mut Work) {
    if is_on() && maps::TRAIL_FILTER.get(0).is_some_and(|filter| filter.may_match(&work.packet)) {
        work.watched = choose(frame, work);
    }
}

/// Not inlined: it is not on the way of packets that nobody watches.
#[inline(never)]
fn choose<F: Frame>(frame: &F, work: &Work) -> u32 {
    verifier::frame();
    let (Some(trail), Some(filter)) = (trail(), maps::TRAIL_FILTER.get(0)) else {
        return 0;
    };
    let is_over = filter.until != 0 && filter.until.wrapping_sub(work.tick) as i32 <= 0;
    if is_over || !filter.matches(&work.packet) {
        return 0;
    }
    trail.active = 1;
    trail.step_count = 0;
    trail.captured = 0;
    if filter.flags & WANTS_BYTES != 0 {
        capture(frame, trail, filter);
    }
    1
}

/// Copies the frame as it came, before anything changes it.
#[inline(always)]
fn capture<F: Frame>(frame: &F, trail: &mut Trail, filter: &TrailFilter) {
    trail.captured = frame.whole_length();
    if trail.captured > filter.snap {
        trail.captured = filter.snap;
    }
    // Read back: the verifier wants the bounds on the number that is passed.
    let length = forget(&trail.captured);
    if length == 0 || length > SNAP as u32 {
        return;
    }
    if !frame.copy(trail.bytes.as_mut_ptr(), length) {
        trail.captured = 0;
    }
}

/// The packet comes to a hook.
#[inline(always)]
pub fn hook(work: &Work, hook: Hook) {
    step(work, AT_HOOK | hook as u32);
}

/// The packet stands at this place in the image, or has this verdict.
#[inline(always)]
pub fn step(work: &Work, at: u32) {
    if !is_on() || forget(&work.watched) == 0 {
        return;
    }
    if let Some(trail) = trail() {
        trail.steps[forget(&trail.step_count) as usize & (STEPS - 1)] = at;
        trail.step_count = trail.step_count.wrapping_add(1);
    }
}

/// The packet went on from there. Steps within trees lead nowhere but the last one.
#[inline(always)]
pub fn moved(work: &Work, from: Target) {
    if !from.is_next() {
        step(work, work.cursor.at.0);
    } else if from != work.cursor.at {
        found(work);
    }
}

/// A tree led here: to an instruction, or to the verdict of a rule that needs none.
#[inline(always)]
pub fn found(work: &Work) {
    let cursor: &Cursor = &work.cursor;
    if is_on() && cursor.at.is_verdict() && cursor.rule != NO_RULE {
        let policy = if cursor.rule & POLICY != 0 { AT_POLICY } else { 0 };
        step(work, AT_RULE | policy | (cursor.rule & (AT_POLICY - 1)));
    }
    step(work, cursor.at.0);
}

/// A bucket of the state table is looked at.
#[inline(always)]
pub fn bucket(index: u32) {
    if !is_shadow() {
        return;
    }
    if let Some(trail) = trail() {
        trail.buckets[forget(&trail.bucket_count) as usize & (BUCKETS - 1)] = index;
        trail.bucket_count = trail.bucket_count.wrapping_add(1);
    }
}

/// The packet's way ends with this verdict.
#[inline(always)]
pub fn end(work: &Work, path: Path, verdict: Verdict) {
    if is_on() && forget(&work.watched) != 0 {
        close(work, path as u32, verdict.number());
    }
}

#[inline(never)]
fn close(work: &Work, path: u32, verdict: u32) {
    verifier::frame();
    let (Some(trail), Some(filter)) = (trail(), maps::TRAIL_FILTER.get(0)) else {
        return;
    };
    if !filter.wants(verdict) {
        return;
    }
    write(trail, work, path, verdict);
    if maps::EXPLAIN.load() == Explain::Twin as u32 {
        send(trail, filter, work.tick);
    }
}

#[inline(always)]
fn write(trail: &mut Trail, work: &Work, path: u32, verdict: u32) {
    trail.time_ns = work.now_ns;
    trail.slot = if work.place == 0 { 0 } else { work.slot };
    trail.path = path;
    trail.verdict = verdict;
    trail.rule = work.cursor.rule;
    trail.hook = work.hook;
    trail.generation = maps::generation();
    trail.interface = work.interface;
    trail.bucket = work.bucket;
    trail.place = work.place;
    trail.pending = work.pending;
    for index in 0..WORDS {
        trail.packet.words[index] = work.packet.words[index];
    }
    trail.packet.l3_offset = work.packet.l3_offset;
    trail.packet.l4_offset = work.packet.l4_offset;
    trail.packet.frame_length = work.packet.frame_length;
    trail.packet.l4_length = work.packet.l4_length;
    trail.packet.payload_length = work.packet.payload_length;
    trail.packet.tcp_seq = work.packet.tcp_seq;
    trail.packet.tcp_ack = work.packet.tcp_ack;
    trail.packet.tcp_window = work.packet.tcp_window;
    trail.packet.icmp_id = work.packet.icmp_id;
    trail.packet.fragment_id = work.packet.fragment_id;
    trail.packet.fragment_offset = work.packet.fragment_offset;
}

/// Hands the trail to whoever watches, as often as was agreed.
#[inline(always)]
fn send(trail: &mut Trail, filter: &TrailFilter, tick: u32) {
    if trail.tick != tick {
        trail.tick = tick;
        trail.spent = 0;
    }
    if trail.spent >= filter.per_tick {
        trail.lost += 1;
        return;
    }
    trail.spent += 1;
    let bytes: *const u8 = core::ptr::from_ref(trail).cast();
    let sent = if filter.flags & WANTS_STEPS != 0 {
        maps::send_trail(bytes, size_of::<Trail>() as u64)
    } else {
        maps::send_trail(bytes, TRAIL_HEAD as u64)
    };
    if !sent {
        trail.lost += 1;
    }
}
