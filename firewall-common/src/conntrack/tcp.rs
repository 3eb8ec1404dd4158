//! The TCP state machine of a middlebox.
//!
//! What `nf_conntrack`'s table (`net/netfilter/nf_conntrack_proto_tcp.c`, Linux 6.18) says, written as the transitions
//! that RFC 9293 section 3.3.2 would let an observer conclude. [`transition`] is the readable form; the program uses
//! [`TABLE`], which is computed from it when compiling: one load instead of a tree of branches.

use super::{Change, Direction, Phase, State, Timeout, noted};
use crate::wire::tcp::{ACK, FIN, RST, SYN, URG};

/// What a segment does, by its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Segment {
    /// Flags that no segment of a connection has.
    Odd = 0,
    /// SYN.
    Syn = 1,
    /// SYN and ACK.
    SynAck = 2,
    /// FIN (with ACK).
    Fin = 3,
    /// ACK, with or without data.
    Ack = 4,
    /// RST.
    Rst = 5,
}

const SEGMENTS: [Segment; 6] = [Segment::Odd, Segment::Syn, Segment::SynAck, Segment::Fin, Segment::Ack, Segment::Rst];

/// The segment that flags make; PSH, ECE and CWR say nothing about the connection. The combinations accepted are those
/// of `tcp_valid_flags` in `nf_conntrack_proto_tcp.c`.
const fn segment_of(flags: u8) -> Segment {
    match flags & (FIN | SYN | RST | ACK | URG) {
        SYN | 0x22 => Segment::Syn,
        0x12 => Segment::SynAck,
        RST | 0x14 => Segment::Rst,
        0x11 | 0x31 => Segment::Fin,
        ACK | 0x30 => Segment::Ack,
        _ => Segment::Odd,
    }
}

/// [`segment_of`] for every value of the six low flags.
static SEGMENT: [u8; 64] = {
    let mut table = [0; 64];
    let mut flags = 0;
    while flags < 64 {
        table[flags] = segment_of(flags as u8) as u8;
        flags += 1;
    }
    table
};

/// A step of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To this phase (which may be the one it is in).
    To(Phase),
    /// Accepted, nothing changes.
    Stay,
    /// Not possible here.
    Invalid,
    /// A new connection on an old tuple.
    Reopen,
}

/// What a segment does to a connection in `phase` (`Free`: there is none).
pub(super) const fn transition(direction: Direction, segment: Segment, phase: Phase) -> Step {
    use Phase::{Close, CloseWait, Established, FinWait, Free, LastAck, SynRecv, SynSent, SynSent2, TimeWait};
    match segment {
        Segment::Odd => Step::Invalid,
        Segment::Syn => match (direction, phase) {
            (Direction::Original, Free | SynSent) => Step::To(SynSent),
            (Direction::Original, TimeWait | Close) | (Direction::Reply, TimeWait) => Step::Reopen,
            (Direction::Reply, SynSent | SynSent2) | (Direction::Original, SynSent2) => Step::To(SynSent2),
            (Direction::Original, _) => Step::Stay,
            (Direction::Reply, _) => Step::Invalid,
        },
        Segment::SynAck => match (direction, phase) {
            (Direction::Original, SynRecv | SynSent2) | (Direction::Reply, SynSent | SynSent2) => Step::To(SynRecv),
            (Direction::Original, _) | (Direction::Reply, Free) => Step::Invalid,
            (Direction::Reply, _) => Step::Stay,
        },
        Segment::Fin => match phase {
            SynRecv | Established => Step::To(FinWait),
            FinWait | CloseWait | LastAck => Step::To(LastAck),
            TimeWait => Step::To(TimeWait),
            Close => Step::To(Close),
            _ => Step::Invalid,
        },
        Segment::Ack => match (direction, phase) {
            // Picked up in mid-stream: nf_conntrack's `nf_conntrack_tcp_loose`, which is on by default.
            (Direction::Original, Free | SynRecv) | (_, Established) => Step::To(Established),
            (Direction::Reply, SynRecv) => Step::To(SynRecv),
            (Direction::Reply, SynSent | SynSent2) => Step::Stay,
            (_, FinWait | CloseWait) => Step::To(CloseWait),
            (_, LastAck | TimeWait) => Step::To(TimeWait),
            (_, Close) => Step::To(Close),
            _ => Step::Invalid,
        },
        Segment::Rst => match phase {
            Free => Step::Invalid,
            _ => Step::To(Close),
        },
    }
}

const STAY: u8 = 0x20;
const INVALID: u8 = 0x40;
const REOPEN: u8 = 0x80;

/// [`transition`] as one byte for every direction, segment and phase: `direction << 7 | segment << 4 | phase`.
static TABLE: [u8; 256] = {
    let mut table = [INVALID; 256];
    let phases = [
        Phase::Free,
        Phase::SynSent,
        Phase::SynSent2,
        Phase::SynRecv,
        Phase::Established,
        Phase::FinWait,
        Phase::CloseWait,
        Phase::LastAck,
        Phase::TimeWait,
        Phase::Close,
    ];
    let mut segment = 0;
    while segment < SEGMENTS.len() {
        let mut phase = 0;
        while phase < phases.len() {
            let at = segment << 4 | phases[phase] as usize;
            table[at] = encode(transition(Direction::Original, SEGMENTS[segment], phases[phase]));
            table[0x80 | at] = encode(transition(Direction::Reply, SEGMENTS[segment], phases[phase]));
            phase += 1;
        }
        segment += 1;
    }
    table
};

const fn encode(step: Step) -> u8 {
    match step {
        Step::To(phase) => phase as u8,
        Step::Stay => STAY,
        Step::Invalid => INVALID,
        Step::Reopen => REOPEN,
    }
}

#[inline(always)]
fn look_up(direction: Direction, flags: u8, phase: u8) -> u8 {
    let segment = SEGMENT[usize::from(flags & 63)] as usize;
    let reply = if direction == Direction::Reply { 0x80 } else { 0 };
    TABLE[(reply | segment << 4 | usize::from(phase & 15)) & 0xff]
}

/// The phase that a segment starts a connection in, if it can.
#[inline(always)]
pub(super) fn start(flags: u8) -> Option<Phase> {
    let step = look_up(Direction::Original, flags, Phase::Free as u8);
    if step == Phase::SynSent as u8 {
        Some(Phase::SynSent)
    } else if step == Phase::Established as u8 {
        Some(Phase::Established)
    } else {
        None
    }
}

/// The change that a segment makes to a known connection.
#[inline(always)]
pub(super) fn update(state: State, flags: u8, direction: Direction) -> Change {
    let old = state.phase();
    let step = look_up(direction, flags, old);
    if step & REOPEN != 0 {
        return Change::reopen(state);
    }
    if step & INVALID != 0 {
        return Change::invalid(state);
    }
    let seen = noted(state, direction);
    if step & STAY != 0 {
        return Change::stay(seen);
    }
    let established = Phase::Established as u8;
    if step == Phase::SynSent2 as u8 {
        return Change::to_phase(seen.opened_by_both(), step);
    }
    let step = if acknowledges_both(state, step, flags, direction) { established } else { step };
    if step == Phase::SynSent as u8 && old == step {
        // A SYN that is sent again does not keep the entry: its tuple may have been used anew.
        return Change::to_phase(seen, step).keeping();
    }
    if step == established && !state.is_replied() {
        // Picked up in mid-stream and not answered before: not for days.
        return Change::to(seen.with_phase(step), Timeout::Unacknowledged);
    }
    let completes = step == established && (old == established || old == Phase::SynRecv as u8);
    Change::to_phase(if completes && state.is_replied() { seen.assured() } else { seen }, step)
}

/// Does it complete a handshake that both ends began: the way back acknowledges, whatever the table says?
#[inline(always)]
fn acknowledges_both(state: State, step: u8, flags: u8, direction: Direction) -> bool {
    let received = Phase::SynRecv as u8;
    state.is_opened_by_both()
        && (step, state.phase()) == (received, received)
        && direction == Direction::Reply
        && flags & SYN == 0
}

#[cfg(test)]
mod tests;
