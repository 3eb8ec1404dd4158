//! What a segment's numbers add to what its flags say: windows, resets, connections that are out of step.
//!
//! [`super::tcp`] says what a segment with such flags does to a connection; [`follow`] says what becomes of that when
//! its numbers are looked at, as `nf_conntrack_tcp_packet` does (`net/netfilter/nf_conntrack_proto_tcp.c`, Linux 6.18).
//! Almost every segment is plain ([`is_plain`]), and for those [`follow_plain`] says the same in fewer instructions.
//!
//! Where it differs from `nf_conntrack`:
//! - a segment out of the window changes nothing. `nf_conntrack` learns a side's numbers from its first segment before
//!   it judges that segment, so that one forged answer to a SYN stands in the way of the right one;
//! - a reset behind everything that its sender sent ends an established connection. `nf_conntrack` wants the segment
//!   before it to have been the sender's last one;
//! - windows stop growing at 2^30 bytes; `nf_conntrack`'s can be made to grow without end;
//! - fragments: `nf_conntrack` sees segments put together again. Here the length of a fragmented one is not known, and
//!   the connection is judged liberally from then on;
//! - what was sent and is not acknowledged shortens a connection's life when it is sent again, at the first time;
//!   `nf_conntrack` shortens it (to 300 s as well) while anything is unacknowledged, and when something was sent three
//!   times. Of a peer that died while data was under way both forget the connection five minutes behind the last try;
//! - a window of zero does not shorten it;
//! - a SYN on a connection that was reset begins a new one, and rules see it as `new`, whoever sent the reset.
//!   `nf_conntrack` takes it for part of the dead connection (`established`) when the other side did.

use super::{
    Change, Direction, Effect, Phase, State, Timeout, noted,
    window::{Numbers, Place, Terms, Window, advance, before, place},
};
use crate::{
    packet::{FRAGMENT_MORE, Field, Packet},
    wire::tcp::{ACK, FIN, RST, SYN},
};

/// A segment, by what matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Sequence number behind its last byte; SYN and FIN count as one each (RFC 9293 section 3.4).
    pub end: u32,
    /// Acknowledgement number, whether or not it counts.
    pub ack: u32,
    /// Window, as on the wire.
    pub window: u32,
    /// Flags, the low 8 bits.
    pub flags: u8,
    /// Is it the first of several fragments, so that where it ends is not known?
    pub is_cut: bool,
}

impl Segment {
    /// The segment of a parsed TCP packet.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        let flags = packet.get(Field::TcpFlags) as u8;
        let phantom = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Self {
            seq: packet.tcp_seq,
            end: packet.tcp_seq.wrapping_add(packet.payload_length).wrapping_add(phantom),
            ack: packet.tcp_ack,
            window: packet.tcp_window,
            flags,
            is_cut: packet.get(Field::Fragment) & FRAGMENT_MORE != 0,
        }
    }

    #[inline(always)]
    const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Its numbers, the window scaled: that of a SYN never is (RFC 7323 section 2.2).
    #[inline(always)]
    const fn numbers(&self, terms: Terms) -> Numbers {
        let scale = if self.has(SYN) { 0 } else { terms.scale() };
        Numbers { seq: self.seq, end: self.end, ack: self.ack, window: self.window << scale }
    }
}

/// What was noted of a segment that was let through without being believed, because the firewall may be out of step
/// with both ends: `window << 48 | terms << 40 | kind << 32 | number`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Aside(pub u64);

impl Aside {
    /// Nothing.
    pub const NONE: Self = Self(0);
    const SYN: u8 = 1;
    const ACK: u8 = 2;

    /// A SYN within a connection that stands.
    const fn syn(segment: &Segment, offer: Terms) -> Self {
        Self((segment.window as u64) << 48 | (offer.0 as u64) << 40 | (Self::SYN as u64) << 32 | segment.end as u64)
    }

    /// An acknowledgement that answers a SYN: the other side still has an old connection.
    const fn ack(segment: &Segment) -> Self {
        Self((Self::ACK as u64) << 32 | segment.ack as u64)
    }

    const fn kind(self) -> u8 {
        (self.0 >> 32) as u8
    }

    const fn number(self) -> u32 {
        self.0 as u32
    }

    const fn terms(self) -> Terms {
        Terms((self.0 >> 40) as u8)
    }

    const fn window(self) -> u32 {
        (self.0 >> 48) as u32
    }
}

/// What of [`Tracked`] is to be kept behind a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Keep {
    /// Nothing: the connection is as it was.
    #[default]
    Nothing = 0,
    /// The sender's `end`: the segment was sent, and says nothing else.
    End = 1,
    /// All of it.
    All = 2,
}

/// What is kept of a connection, seen from a segment of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tracked {
    /// Of the side that sends the segment.
    pub sender: Window,
    /// Of the other side.
    pub receiver: Window,
    /// What was noted; meaningful with [`Terms::NOTED`].
    pub aside: Aside,
    /// Terms of the side that sends the segment.
    pub sender_terms: Terms,
    /// Terms of the other side.
    pub receiver_terms: Terms,
    /// What of all this is to be kept: set by [`follow`].
    pub keep: Keep,
}

/// What is known of the side that begins a connection, after its first segment; of the other side, its terms.
///
/// A SYN says where its sender begins and what it offers. Anything else is a connection picked up in mid-stream (the
/// `loose` of `nf_conntrack`): how windows are scaled was said before, so both sides are judged liberally for good.
#[inline(always)]
pub const fn begin(segment: &Segment, offer: Terms) -> (Window, Terms, Terms) {
    let max_win = at_least_one(segment.window);
    if segment.has(SYN) {
        let sender = Window { end: segment.end, max_end: segment.end, max_ack: 0, max_win };
        (sender, if segment.is_cut { offer.with(Terms::LIBERAL) } else { offer }, Terms::NONE)
    } else {
        let max_end = segment.end.wrapping_add(max_win);
        (Window { end: segment.end, max_end, max_ack: 0, max_win }, Terms::LIBERAL, Terms::LIBERAL)
    }
}

const fn at_least_one(window: u32) -> u32 {
    if window == 0 { 1 } else { window }
}

/// Is a segment one of which [`follow_plain`] knows all: not SYN, not RST, whole, from a side that has acknowledged
/// something before, in a connection of which nothing is noted?
#[inline(always)]
pub const fn is_plain(segment: &Segment, terms: Terms) -> bool {
    segment.flags & (SYN | RST | ACK) == ACK
        && !segment.is_cut
        && terms.0 & (Terms::ACKED.0 | Terms::NOTED.0) == Terms::ACKED.0
}

/// [`follow`] for a plain segment: where it lies, and the sender's and the receiver's window behind it.
#[inline(always)]
pub const fn follow_plain(
    sender: &Window,
    receiver: &Window,
    terms: Terms,
    segment: &Segment,
) -> (Place, Window, Window) {
    let numbers = segment.numbers(terms);
    let place = place(sender, receiver, &numbers);
    if let Place::In = place {
        let (sender, receiver) = advance(sender, receiver, &numbers);
        return (place, sender, receiver);
    }
    let end = if let Place::Over = place { segment.end } else { sender.end };
    let place = if terms.has(Terms::LIBERAL) { Place::In } else { place };
    (place, Window { end, ..*sender }, *receiver)
}

/// Does a segment in the window repeat data that its sender has sent before? The connection lives
/// [`Timeout::MaxRetrans`] then, until the other side is heard of.
#[inline(always)]
pub const fn repeats(sender: &Window, segment: &Segment) -> bool {
    segment.seq != segment.end && sender.max_win != 0 && !before(sender.end, segment.end)
}

/// The change of a plain segment that repeats data: to the same phase, for a shorter time.
#[inline(always)]
pub const fn repeated(change: Change) -> Change {
    if change.timeout == Timeout::Established as u32 {
        Change { timeout: Timeout::MaxRetrans as u32, ..change }
    } else {
        change
    }
}

/// What becomes of a change when the segment's place is known.
#[inline(always)]
pub const fn placed(change: Change, place: Place, old: State, direction: Direction) -> Change {
    match place {
        Place::In => change,
        Place::Over | Place::Under => Change::stay(noted(old, direction)),
        Place::Out => Change::invalid(old),
    }
}

/// What a segment does to a connection in state `old`, of which its flags alone say `change`. A SYN offers `offer`.
/// [`Tracked::keep`] says what of `tracked` is worth keeping.
#[inline(always)]
pub fn follow(
    tracked: &mut Tracked,
    old: State,
    change: Change,
    (segment, offer): (&Segment, Terms),
    direction: Direction,
) -> Change {
    tracked.keep = Keep::Nothing;
    match change.effect {
        Effect::Invalid | Effect::Reopen => change,
        Effect::Stay => let_through(tracked, old, change, (segment, offer), direction),
        Effect::Move if segment.has(RST) => reset(tracked, old, change, segment, direction),
        Effect::Move if is_challenge(tracked, old, segment, direction) => {
            note(tracked, Aside::NONE);
            Change::stay(noted(old, direction))
        }
        Effect::Move => {
            let place = locate(tracked, old.phase(), (segment, offer), direction);
            placed(change, place, old, direction)
        }
    }
}

/// Segments that are let through without being believed (`nf_conntrack`'s `sIG`): the connection may be gone at both
/// ends, and then they agree on a new one while the firewall still has the old one.
#[inline(always)]
fn let_through(
    tracked: &mut Tracked,
    old: State,
    change: Change,
    (segment, offer): (&Segment, Terms),
    direction: Direction,
) -> Change {
    match segment.flags & (SYN | ACK) {
        SYN => note(tracked, Aside::syn(segment, offer)),
        ACK => note(tracked, Aside::ack(segment)),
        _ if is_kind(tracked, Aside::SYN) && segment.ack == tracked.aside.number() => {
            return in_step_again(tracked, old, (segment, offer), direction);
        }
        _ => note(tracked, Aside::NONE),
    }
    change
}

/// A SYN and ACK answers the SYN that was let through: both ends have a new connection, on the tuple of the old one.
#[inline(always)]
fn in_step_again(
    tracked: &mut Tracked,
    old: State,
    (segment, offer): (&Segment, Terms),
    direction: Direction,
) -> Change {
    let aside = tracked.aside;
    let end = aside.number();
    let receiver = Window { end, max_end: end, max_ack: 0, max_win: at_least_one(aside.window()) };
    *tracked = Tracked { receiver, receiver_terms: aside.terms(), ..Tracked::default() };
    let phase = Phase::SynRecv as u8;
    let place = locate(tracked, Phase::SynSent as u8, (segment, offer), direction);
    placed(Change::to_phase(noted(old, direction), phase), place, old, direction)
}

/// An ACK that answers a SYN in a connection that stands says where the connection is (RFC 5961 section 4). In the phase
/// `LAST_ACK` it must not be taken for the last one.
#[inline(always)]
const fn is_challenge(tracked: &Tracked, old: State, segment: &Segment, direction: Direction) -> bool {
    let answers = old.phase() == Phase::LastAck as u8 && segment.flags & (FIN | ACK) == ACK;
    answers && is_kind(tracked, Aside::SYN) && matches!(direction, Direction::Reply)
}

#[inline(always)]
const fn is_kind(tracked: &Tracked, kind: u8) -> bool {
    tracked.receiver_terms.has(Terms::NOTED) && tracked.aside.kind() == kind
}

/// Something is noted, or nothing any more. Either way all that is tracked is to be kept.
#[inline(always)]
fn note(tracked: &mut Tracked, aside: Aside) {
    tracked.keep = Keep::All;
    tracked.aside = aside;
    let terms = [&mut tracked.sender_terms, &mut tracked.receiver_terms];
    for terms in terms {
        *terms = if aside == Aside::NONE { terms.without(Terms::NOTED) } else { terms.with(Terms::NOTED) };
    }
}

/// A reset, and what becomes of a connection that nobody had answered: it is forgotten, as by `nf_conntrack`. A refused
/// SYN leaves nothing behind.
#[inline(always)]
fn reset(tracked: &mut Tracked, old: State, change: Change, segment: &Segment, direction: Direction) -> Change {
    let change = believe_reset(tracked, old, change, segment, direction);
    if matches!(change.effect, Effect::Move) && !old.is_replied() { Change::FORGET } else { change }
}

/// Resets (RFC 5961 section 3). In an established connection only one that is exactly where its receiver expects it
/// ends it; one elsewhere in the window is let through, for its receiver to answer, and shortens the connection's life
/// until that answer. One before the window is nobody's.
///
/// A connection that is being closed takes any: its tuple may have been used again by then.
#[inline(always)]
fn believe_reset(tracked: &mut Tracked, old: State, change: Change, segment: &Segment, direction: Direction) -> Change {
    let phase = old.phase();
    if phase >= Phase::FinWait as u8 {
        note(tracked, Aside::NONE);
        return change;
    }
    let established = phase == Phase::Established as u8;
    let mut change = change;
    let dated = is_kind(tracked, Aside::SYN) || (segment.seq == 0 && !established);
    if tracked.receiver_terms.has(Terms::ACKED) && !dated {
        if before(segment.seq, tracked.receiver.max_ack) {
            return Change::invalid(old);
        }
        let exact = segment.seq == tracked.receiver.max_ack || segment.seq == tracked.sender.end;
        if established && !exact {
            change = Change::to(noted(old, direction), Timeout::Close);
        }
    }
    // It answers what was let through: an old connection is gone.
    let refuses = is_kind(tracked, Aside::SYN) && old.is_replied() && segment.ack == tracked.aside.number();
    let disowns = is_kind(tracked, Aside::ACK)
        && phase == Phase::SynSent as u8
        && matches!(direction, Direction::Original)
        && segment.seq == tracked.aside.number();
    if refuses || disowns {
        note(tracked, Aside::NONE);
        return change;
    }
    let place = locate(tracked, phase, (segment, Terms::NONE), direction);
    placed(change, place, old, direction)
}

/// Where a segment lies, whatever it is; if it belongs there, the windows take it in. If not, `tracked` is only worth
/// what [`Tracked::keep`] says.
#[inline(always)]
fn locate(tracked: &mut Tracked, phase: u8, (segment, offer): (&Segment, Terms), direction: Direction) -> Place {
    if learn(tracked, phase, (segment, offer), direction) {
        accept(tracked, segment);
        return Place::In;
    }
    let mut numbers = segment.numbers(tracked.sender_terms);
    let acknowledges = segment.has(ACK) && !(segment.has(RST) && segment.ack == 0);
    if !acknowledges {
        // As if it acknowledged all there is.
        numbers.ack = tracked.receiver.end;
    }
    if segment.has(RST) && segment.seq == 0 && phase == Phase::SynSent as u8 {
        // A refused SYN: the one who refuses has no numbers.
        (numbers.seq, numbers.end) = (tracked.sender.end, tracked.sender.end);
    }
    let place = place(&tracked.sender, &tracked.receiver, &numbers);
    if place != Place::In {
        return outside(tracked, segment, place);
    }
    let max_ack = tracked.sender.max_ack;
    let is_first = !tracked.sender_terms.has(Terms::ACKED);
    (tracked.sender, tracked.receiver) = advance(&tracked.sender, &tracked.receiver, &numbers);
    if !segment.has(ACK) {
        tracked.sender.max_ack = max_ack;
    } else if is_first {
        tracked.sender.max_ack = numbers.ack;
        tracked.sender_terms = tracked.sender_terms.with(Terms::ACKED);
    }
    accept(tracked, segment);
    Place::In
}

/// A segment outside the window is let pass in a connection that is judged liberally, and changes nothing in any other.
#[inline(always)]
fn outside(tracked: &mut Tracked, segment: &Segment, place: Place) -> Place {
    if matches!(place, Place::Over) {
        tracked.sender.end = segment.end;
        tracked.keep = Keep::End;
    }
    if !tracked.sender_terms.has(Terms::LIBERAL) {
        return place;
    }
    accept(tracked, segment);
    Place::In
}

/// A segment was believed: what was noted before is settled; what cannot be known of a cut one is forgiven from now on.
#[inline(always)]
fn accept(tracked: &mut Tracked, segment: &Segment) {
    note(tracked, Aside::NONE);
    if segment.is_cut {
        tracked.sender_terms = tracked.sender_terms.with(Terms::LIBERAL);
        tracked.receiver_terms = tracked.receiver_terms.with(Terms::LIBERAL);
    }
}

/// Learns what the first segment of a side tells of it. `true` when there is no more to it: a SYN that opens from the
/// other side (simultaneous open) answers nothing.
#[inline(always)]
fn learn(tracked: &mut Tracked, phase: u8, (segment, offer): (&Segment, Terms), direction: Direction) -> bool {
    let handshake = phase == Phase::SynSent as u8 || phase == Phase::SynRecv as u8;
    if tracked.sender.max_win == 0 && !segment.has(SYN) {
        join(tracked, segment);
        return false;
    }
    // A SYN with other numbers than the one before: its sender has begun anew.
    let again = segment.has(SYN) && handshake && before(tracked.sender.end, segment.end);
    if tracked.sender.max_win != 0 && !again {
        return false;
    }
    let first = tracked.sender.max_win == 0;
    open(tracked, segment, offer, direction);
    !segment.has(ACK) && (first || matches!(direction, Direction::Reply))
}

/// A SYN says where its sender begins. Windows are scaled only when both sides offered it (RFC 7323 section 2.2).
#[inline(always)]
fn open(tracked: &mut Tracked, segment: &Segment, offer: Terms, direction: Direction) {
    let Segment { end, window, .. } = *segment;
    let kept = Terms(tracked.sender_terms.0 & Terms::LIBERAL.0);
    tracked.sender = Window { end, max_end: end, max_ack: 0, max_win: at_least_one(window) };
    tracked.sender_terms = offer.with(kept);
    let both = offer.has(Terms::SCALES) && tracked.receiver_terms.has(Terms::SCALES);
    if matches!(direction, Direction::Reply) && !both {
        tracked.sender_terms = tracked.sender_terms.unscaled();
        tracked.receiver_terms = tracked.receiver_terms.unscaled();
    }
}

/// The first segment seen of a side is not a SYN: its numbers are taken for what they are.
#[inline(always)]
fn join(tracked: &mut Tracked, segment: &Segment) {
    let max_win = at_least_one(segment.window << tracked.sender_terms.scale());
    let max_end = segment.end.wrapping_add(max_win);
    tracked.sender = Window { end: segment.end, max_end, max_ack: tracked.sender.max_ack, max_win };
    let receiver = &mut tracked.receiver;
    if receiver.max_win == 0 {
        (receiver.end, receiver.max_end) = (segment.ack, segment.ack);
    } else if segment.ack == receiver.end.wrapping_add(1) {
        // It answers a keep-alive, whose byte lies behind the last one that was acknowledged.
        receiver.end = segment.ack;
    }
}

#[cfg(test)]
mod tests;
