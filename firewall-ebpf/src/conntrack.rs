//! Connections: looked up early, entered late.
//!
//! What can race, and what comes of it. Two CPUs may see packets of one flow at once:
//! - both change its state: each change is one compare-and-swap on the slot word; the loser leaves it
//!   at that, so a change can be lost only to another one made at the same instant;
//! - both enter it as new: two entries may exist for a moment. Both CPUs had accepted the packet; later packets find
//!   the one that stands first, always the same, and the other expires unused;
//! - one recycles the place that the other has just found: the slot word has changed, so the update does not happen;
//!   counters of a dying entry may be added to its successor. Nothing is decided by them;
//! - user space forgets it (`rampart conns kill`, by the same compare-and-swap): as if it had expired at that instant.
//!
//! `tests/conntrack/pressure.rs` has two CPUs enter, use and recycle the same flows while user space forgets some.
//!
//! TCP's windows are plain stores of single words. A plain segment writes its sender's `end`, `max_ack` and `max_win` and
//! what it allows, its receiver's `max_end`; and, when it reaches beyond the window, its receiver's `max_win`, which only
//! grows. So two CPUs with one direction each do not undo each other's work. What can happen:
//! - two CPUs have segments of one direction (a network card that spreads a flow over its queues): a number may stay
//!   behind by one segment, until the next one moves it on. An acknowledgement of that segment is invalid meanwhile, as
//!   if it had been lost on the wire, which TCP lives with;
//! - one of two segments at the same instant is a rare one (SYN, RST, the first of a side), which writes all of both
//!   windows: the other one's numbers may be lost, as above;
//! - a place is recycled while a segment of the old connection is judged, which can only be one that has expired or was
//!   never completed: its numbers may be written into the successor, whose handshake is invalid then until its entry
//!   expires, two minutes at most. Both must come within the same hundred nanoseconds.
//!
//! No number can make anything but a segment's `ct state` wrong: nothing is indexed or bounded by them.

mod enter;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use firewall_common::{
    conntrack::{
        self, Change, CtState, Direction, Effect, Fresh, Keep, LIBERAL, Phase, Place, Segment, State, Terms, Tracked,
        Window, ZONES,
    },
    control::Control,
    flow::{FlowKey, Tuple},
    packet::{FRAGMENT_LATER, Field, L4_PRESENT},
    quoted,
    table::{self, Bucket, Entry, OVERFLOWED, Slot, SlotWords, WAYS},
    wire::{
        icmp, sctp as sctp_wire,
        tcp::{self, SYN},
    },
};

pub use self::enter::{commit, enter};
use crate::{
    association,
    bucket::{Slots, aside, entry, slot_word},
    emit, flood, maps, nat,
    packet::{Frame, TcFrame, XdpFrame},
    pipeline::Path,
    verifier::{self, forget, forget_u64},
    work::Work,
};

/// Finds the packet's connection, updates it, and sets the packet's conntrack state.
#[inline(always)]
pub fn look_up<F: Frame>(frame: &F, work: &mut Work) {
    // A later fragment whose first one was not seen has no ports to be looked up by.
    let has_ports = work.packet.get(Field::L4Header) & L4_PRESENT != 0;
    if has_ports && !maps::is_left_out(work) && conntrack::is_looked_up(&work.packet) {
        let (key, source_is_high) = Tuple::of(&work.packet).key(zone(work));
        aim(work, key, source_is_high);
        find(work);
        if nat::is_used() {
            let _ = nat::nat_resolve(work.path, nat::how_judged(work));
        }
    }
    let place = forget(&work.place);
    let state = if place != 0 {
        update(frame, work, place)
    } else if maps::is_left_out(work) {
        CtState::Untracked
    } else {
        judge_fresh(frame, work)
    };
    work.packet.set(Field::CtState, state as u32);
}

/// The zone of the connection that the packet may belong to.
#[inline(always)]
pub fn zone(work: &Work) -> u16 {
    if maps::tracks(ZONES) { work.packet.get(Field::CtZone) as u16 } else { 0 }
}

/// Sets what is looked for.
#[inline(always)]
pub fn aim(work: &mut Work, key: FlowKey, source_is_high: bool) {
    work.key = key;
    work.source_is_high = u32::from(source_is_high);
    work.hash = maps::CONTROL.get(0).map_or(0, |Control { secret, .. }| key.hash(secret));
}

/// Looks for the key in its home bucket and, if that one ever overflowed, in the alternate one.
#[inline(always)]
pub fn find(work: &mut Work) {
    let mask = maps::BUCKET_MASK.load();
    work.bucket = table::home(work.hash, mask);
    if find_in_bucket(work) {
        find_elsewhere(work);
    }
}

/// Not inlined: few flows live in their alternate bucket, and the search is long when unrolled.
#[inline(never)]
fn find_elsewhere(work: &mut Work) {
    verifier::frame();
    work.bucket = table::alternate(work.hash, maps::BUCKET_MASK.load());
    find_in_bucket(work);
}

/// Sets `place` and `slot` if the key is in the bucket. Is the alternate bucket worth a look?
#[inline(always)]
fn find_in_bucket(work: &mut Work) -> bool {
    let Some(bucket) = maps::bucket(forget(&work.bucket)) else {
        return false;
    };
    let slots = Slots { bucket, scratch: &raw mut work.scratch };
    // SAFETY: entries of the map. One that is being written to is compared word by word like any other; half of one
    // key and half of another differ from both.
    let entries = unsafe { &(*bucket).entries };
    let tag = table::tag(work.hash);
    if find_preferred(work, &slots) {
        return false;
    }
    for way in 0..WAYS {
        let word = slots.load(way);
        if Slot(word).tag() == tag && Slot(word).is_live(work.tick) && entries[way].key == work.key {
            work.place = way as u32 + 1;
            work.slot = word;
            return false;
        }
    }
    slots.load(WAYS) & OVERFLOWED != 0
}

/// Sets `place` and `slot` if the key is in the place of the bucket that it is entered in when that is free.
#[inline(always)]
fn find_preferred(work: &mut Work, slots: &Slots) -> bool {
    let way = table::preferred(work.hash);
    let word = slots.load(way);
    // SAFETY: a place of the bucket, as in `find_in_bucket`.
    let entry = unsafe { &*entry(slots.bucket, way as u32 + 1) };
    // Fetched now, while the other lines are on their way as well, not when windows are looked at.
    // SAFETY: a word of the entry.
    let _ = unsafe { (&raw const entry.windows[1].max_win).read_volatile() };
    let is_it = Slot(word).tag() == table::tag(work.hash) && Slot(word).is_live(work.tick) && entry.key == work.key;
    if is_it {
        work.place = way as u32 + 1;
        work.slot = word;
    }
    is_it
}

/// The packet belongs to a known connection: its state, and what it changes.
#[inline(always)]
fn update<F: Frame>(frame: &F, work: &mut Work, place: u32) -> CtState {
    let Some(bucket) = maps::bucket(forget(&work.bucket)) else {
        return CtState::Invalid;
    };
    // SAFETY: a place of the bucket; see the head of the file for what another CPU can do to it meanwhile.
    let entry = unsafe { &mut *entry(bucket, place) };
    let direction = direction(work, entry);
    let seen = conntrack::seen(Slot(work.slot).state(), direction);
    let change = change(frame, work, entry, direction);
    flood::changes(work, entry, Slot(work.slot).state(), change.state);
    match change.effect {
        Effect::Invalid => return CtState::Invalid,
        Effect::Reopen => {
            // The old connection ends now; the packet is that of a new one.
            let ended = Slot::new(0, State(0), work.tick);
            let is_mine = replace(bucket, place, work.slot, ended);
            work.place = 0;
            if nat::is_used() {
                begin_anew(work, is_mine);
            }
            start(work);
            return CtState::New;
        }
        Effect::Stay => store(work, bucket, place, change.state, Slot(work.slot).expires()),
        Effect::Move if change.timeout == Change::KEEP => {
            store(work, bucket, place, change.state, Slot(work.slot).expires());
        }
        Effect::Move => {
            let expires = work.tick.wrapping_add(maps::ticks(change.timeout));
            store(work, bucket, place, change.state, expires);
        }
    }
    let index = index(work, entry);
    entry.packets[index] += 1;
    entry.bytes[index] += u64::from(work.packet.get(Field::Length));
    if change.state.is_over() && !Slot(work.slot).state().is_over() {
        emit::closed(work, change.state);
    }
    seen
}

/// What is known of the old connection's translation is not the new one's, and who answered there may be who begins. The one who
/// ended the old one ends its alias as well, whose key the new one may need.
#[inline(never)]
fn begin_anew(work: &mut Work, is_mine: bool) {
    verifier::frame();
    if is_mine && forget(&work.nat) & nat::KNOWN != 0 {
        nat::free(forget(&work.alias_bucket), forget(&work.alias_place));
    }
    work.nat = 0;
    let (key, source_is_high) = Tuple::of(&work.packet).key(zone(work));
    aim(work, key, source_is_high);
}

/// The direction as a number, 0 or 1. Computed without a branch: the verifier follows what is behind it once, not once
/// for each direction.
#[inline(always)]
fn index(work: &Work, entry: &Entry) -> usize {
    (forget(&work.source_is_high) ^ u32::from(entry.originator_is_high)) as usize & 1
}

#[inline(always)]
pub fn direction(work: &Work, entry: &Entry) -> Direction {
    if work.source_is_high == u32::from(entry.is_from_high()) { Direction::Original } else { Direction::Reply }
}

#[inline(always)]
fn change<F: Frame>(frame: &F, work: &mut Work, entry: &mut Entry, direction: Direction) -> Change {
    let state = Slot(work.slot).state();
    if work.packet.get(Field::Fragment) & FRAGMENT_LATER != 0 {
        return Change::stay(conntrack::noted(state, direction));
    }
    if work.packet.get(Field::L4Proto) as u8 == sctp_wire::PROTOCOL {
        association::follow(frame, work);
        return Change::of_word(forget_u64(&work.change));
    }
    let age = work.tick.wrapping_sub(entry.created);
    let change = conntrack::update(state, &work.packet, direction, age);
    work.change = change.word();
    if work.packet.get(Field::L4Proto) as u8 == tcp::PROTOCOL && change.has_numbers() {
        judge(frame, work, entry, direction);
    }
    // Read back, so that what follows is verified once and not once for every way to judge.
    Change::of_word(forget_u64(&work.change))
}

/// Judges a segment's numbers: what becomes of `work.change`.
#[inline(always)]
fn judge<F: Frame>(frame: &F, work: &mut Work, entry: &mut Entry, direction: Direction) {
    let segment = Segment::of(&work.packet);
    let index = index(work, entry);
    let terms = terms(entry, index);
    if forget_u64(&work.change) as u8 != Effect::Move as u8 || !conntrack::is_plain(&segment, terms) {
        judge_rare(frame, work);
        return;
    }
    let repeats = conntrack::repeats(&entry.windows[index], &segment);
    let place = advance(entry, index, terms, &segment);
    if place == Place::In && repeats {
        work.change = conntrack::repeated(Change::of_word(work.change)).word();
    } else if place != Place::In {
        let change = Change::of_word(work.change);
        work.change = conntrack::placed(change, place, Slot(work.slot).state(), direction).word();
    }
}

/// What one side of a connection was opened with, and whether it is judged liberally by the settings.
#[inline(always)]
fn terms(entry: &Entry, index: usize) -> Terms {
    let terms = entry.terms[index & 1];
    if maps::tracks(LIBERAL) { terms.with(Terms::LIBERAL) } else { terms }
}

/// Judges a plain segment's numbers, and moves the windows on.
#[inline(always)]
fn advance(entry: &mut Entry, index: usize, terms: Terms, segment: &Segment) -> Place {
    let (sender, receiver) = (entry.windows[index], entry.windows[index ^ 1]);
    let (place, sender_after, receiver_after) = conntrack::follow_plain(&sender, &receiver, terms, segment);
    // Only what a plain segment can change: the other words are the other direction's.
    let Window { end, max_end: _, max_ack, max_win } = sender_after;
    entry.windows[index].end = end;
    entry.windows[index].max_ack = max_ack;
    entry.windows[index].max_win = max_win;
    let window = &mut entry.windows[index ^ 1];
    window.max_end = receiver_after.max_end;
    if receiver_after.max_win != receiver.max_win {
        window.max_win = receiver_after.max_win;
    }
    place
}

/// Judges any segment's numbers. Not inlined: few segments come here, and it is long. All it works on is in the work
/// area: the stack is short.
#[inline(never)]
fn judge_rare<F: Frame>(frame: &F, work: &mut Work) {
    verifier::frame();
    read_offer(frame, work);
    let place = forget(&work.place);
    let Some(bucket) = maps::bucket(forget(&work.bucket)) else {
        return;
    };
    // SAFETY: a place of the bucket, as in `update`.
    let (entry, aside) = unsafe { (&mut *entry(bucket, place), &mut *aside(bucket, place)) };
    let (direction, index) = (direction(work, entry), index(work, entry));
    work.tracked = Tracked {
        sender: entry.windows[index],
        receiver: entry.windows[index ^ 1],
        sender_terms: terms(entry, index),
        receiver_terms: terms(entry, index ^ 1),
        aside: *aside,
        keep: Keep::Nothing,
    };
    let (segment, offer) = (Segment::of(&work.packet), Terms(forget(&work.offer) as u8));
    let (state, change) = (Slot(work.slot).state(), Change::of_word(work.change));
    work.change = conntrack::follow(&mut work.tracked, state, change, (&segment, offer), direction).word();
    match work.tracked.keep {
        Keep::Nothing => {}
        Keep::End => entry.windows[index].end = work.tracked.sender.end,
        Keep::All => {
            entry.windows[index] = work.tracked.sender;
            entry.windows[index ^ 1] = work.tracked.receiver;
            entry.terms[index] = work.tracked.sender_terms;
            entry.terms[index ^ 1] = work.tracked.receiver_terms;
            *aside = work.tracked.aside;
        }
    }
}

/// Reads what a SYN offers. Not inlined: the options are a loop that few packets go through.
#[inline(never)]
fn read_offer<F: Frame>(frame: &F, work: &mut Work) {
    verifier::frame();
    work.offer = 0;
    if work.packet.get(Field::TcpFlags) as u8 & SYN != 0 {
        work.offer = u32::from(conntrack::offer(frame, &work.packet, &mut work.scan).0);
    }
}

/// Writes state and expiry, in one step and only if it says something new.
#[inline(always)]
fn store(work: &Work, bucket: *mut Bucket, place: u32, state: State, expires: u32) {
    let word = if state.phase() == Phase::Free as u8 {
        maps::flow_stats(|stats| stats.forgotten += 1);
        Slot::new(0, state, work.tick)
    } else {
        Slot::new(table::tag(work.hash), state, expires)
    };
    if word.0 != work.slot {
        let _ = replace(bucket, place, work.slot, word);
    }
}

/// Changes a slot word if nobody else did since it was read, and says so; if somebody did, theirs stands.
#[inline(always)]
fn replace(bucket: *mut Bucket, place: u32, old: u64, new: Slot) -> bool {
    // SAFETY: an aligned word of a map value.
    unsafe { verifier::compare_exchange(slot_word(bucket, place), old, new.0) }
}

/// No connection is known: is this the start of one?
#[inline(always)]
fn judge_fresh<F: Frame>(frame: &F, work: &mut Work) -> CtState {
    if work.packet.get(Field::Fragment) & FRAGMENT_LATER != 0 {
        return CtState::Invalid;
    }
    match conntrack::fresh(&work.packet, maps::TRACKING.load()) {
        Fresh::Start(..) => {
            start(work);
            CtState::New
        }
        Fresh::Invalid => CtState::Invalid,
        Fresh::Untracked => CtState::Untracked,
        Fresh::Association if association::begin(frame, work) => CtState::New,
        Fresh::Association => CtState::Invalid,
        Fresh::Error if find_quoted(frame, work) => CtState::Related,
        Fresh::Error => CtState::Invalid,
    }
}

/// Notes the connection that the packet starts if it is accepted.
#[inline(always)]
fn start(work: &mut Work) {
    if let Fresh::Start(state, timeout) = conntrack::fresh(&work.packet, maps::TRACKING.load()) {
        work.pending = u32::from(state.0);
        work.pending_timeout = timeout as u32;
    }
}

/// Does the ICMP error quote a packet of a known connection, one that its receiver sent? Anybody can write an error
/// that quotes somebody else's packet (`nf_conntrack_inet_error`, net/netfilter/nf_conntrack_proto_icmp.c).
#[inline(always)]
pub fn find_quoted<F: Frame>(frame: &F, work: &mut Work) -> bool {
    let quotes = frame.look_for_quoted(work.path) != 0;
    verifier::changed(work);
    if quotes && nat::is_used() {
        let _ =
            nat::nat_resolve(work.path, nat::QUOTED | if work.path == Path::Ingress as u32 { nat::JUDGED } else { 0 });
        verifier::changed(work);
    }
    if !quotes {
        return false;
    }
    work.quoted = forget(&work.place);
    work.place = 0;
    work.quoted != 0
}

/// Looks for the connection of the packet that an ICMP error quotes; 0 if it quotes none that its receiver sent. Functions
/// that the verifier looks at once, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn quoted_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    maps::work_of(path).map_or(0, |work| u32::from(look_for_quoted(&XdpFrame::of_context(context.cast()), work)))
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn quoted_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    maps::work_of(path).map_or(0, |work| u32::from(look_for_quoted(&TcFrame::of_context(context.cast()), work)))
}

#[inline(always)]
fn look_for_quoted<F: Frame>(frame: &F, work: &mut Work) -> bool {
    let at = work.packet.l4_offset + icmp::HEADER as u32;
    let Some(quoted) = quoted::read(frame, at, work.packet.get(Field::NfProto)) else {
        return false;
    };
    if quoted.tuple.source.address != Tuple::of(&work.packet).destination.address {
        return false;
    }
    if nat::is_used() {
        work.quoted_upper = quoted.upper;
        work.quoted_protocol = u32::from(quoted.tuple.protocol);
    }
    let (key, source_is_high) = quoted.tuple.key(zone(work));
    aim(work, key, source_is_high);
    find(work);
    true
}
