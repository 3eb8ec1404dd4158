//! SCTP associations as a middlebox sees them.
//!
//! The states, their transitions by chunk and direction, and the checks of verification tags are those of
//! `nf_conntrack` (`sctp_conntracks`, `do_basic_checks`, `sctp_new`, `nf_conntrack_sctp_packet` in
//! `net/netfilter/nf_conntrack_proto_sctp.c`, Linux 6.18). A packet's chunks are read one by one ([`open`], [`read_one`],
//! [`close`]), then walked through one by one ([`begin`] or [`follow`], [`walk_one`], [`began`] or [`followed`]): the program has
//! a loop of the kernel's for either, because the verifier follows what is in one of its own again for each round.
//!
//! Where it differs from `nf_conntrack`:
//! - sixteen chunks of a packet are read. Those that change an association come before its data (RFC 9260 section 6.10);
//! - a packet with one chunk that cannot be changes nothing; there, the chunks before that one have their effect;
//! - the checksum is not looked at.

use super::{Change, Direction, Phase, State};
use crate::{
    bytes::{HeaderBytes, PacketBytes},
    packet::Packet,
    wire::sctp::HEADER,
};

/// Chunk types (RFC 9260 section 3.2).
mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const HEARTBEAT_ACK: u8 = 5;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const ERROR: u8 = 9;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
    /// Any other type: it changes nothing.
    pub(super) const OTHER: u8 = 15;
}

use chunk::{
    ABORT, COOKIE_ACK, COOKIE_ECHO, DATA, ERROR, HEARTBEAT, HEARTBEAT_ACK, INIT, INIT_ACK, OTHER, SHUTDOWN,
    SHUTDOWN_ACK, SHUTDOWN_COMPLETE,
};

/// Chunks of a packet that are read, at most. A power of two.
pub const MOST: usize = 16;

/// Length of a chunk's header: type, flags, length.
const CHUNK_HEADER: u32 = 4;

/// Length of the fixed part of INIT and INIT ACK (RFC 9260 section 3.3.2).
const INIT_LENGTH: usize = 20;

/// The chunks of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Chunks {
    /// Their types, in order.
    kinds: [u8; MOST],
    /// How many there are.
    count: u32,
    /// Where the next one begins.
    at: u32,
    /// Where the packet ends.
    end: u32,
    /// A bit for each type there is.
    present: u32,
    /// A bit for each chunk that has the flag T: its tag is the sender's own (RFC 9260 section 8.5.1).
    reflected: u32,
    /// They cannot stand like that.
    malformed: u32,
    /// Verification tag of the packet.
    tag: u32,
    /// The tag that INIT or INIT ACK asks for.
    initiate: u32,
}

impl Chunks {
    const fn has(&self, kind: u8) -> bool {
        self.present & 1 << kind != 0
    }
}

/// What is kept of an association, in the words of its entry's [`super::Window`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Association {
    /// Verification tag of each direction, original and reply.
    pub tags: [u32; 2],
    /// What else was seen of it.
    pub seen: u32,
}

/// [`Association::seen`]: INIT of the direction, original and reply.
const INITS: [u32; 2] = [1, 2];
/// [`Association::seen`]: a HEARTBEAT had another tag; of the original direction, of the reply direction.
const STRAY: [u32; 2] = [4, 8];

/// Begins to read the chunks of a parsed packet.
#[inline(always)]
pub fn open<P: PacketBytes + ?Sized>(bytes: &P, packet: &Packet, chunks: &mut Chunks) {
    const TAG: usize = 4;
    *chunks = Chunks {
        at: packet.l4_offset + HEADER as u32,
        end: packet.l4_offset + packet.l4_length,
        tag: bytes.header::<HEADER>(packet.l4_offset).map_or(0, |header| header.be32(TAG)),
        ..Chunks::default()
    };
}

/// Reads one chunk; `false` behind the last one.
#[inline(always)]
pub fn read_one<P: PacketBytes + ?Sized>(bytes: &P, chunks: &mut Chunks) -> bool {
    let (at, end) = (bytes.settled(&chunks.at), bytes.settled(&chunks.end));
    if at + CHUNK_HEADER > end {
        return false;
    }
    let Some(header) = bytes.header::<{ CHUNK_HEADER as usize }>(at) else {
        return false;
    };
    let (kind, length) = (header.u8(0), u32::from(header.be16(2)));
    let kind = if kind < OTHER { kind } else { OTHER };
    let index = bytes.settled(&chunks.count);
    // COOKIE ECHO and COOKIE ACK come first; INIT, INIT ACK and SHUTDOWN COMPLETE alone (RFC 9260 section 6.10).
    let alone = 1 << INIT | 1 << INIT_ACK | 1 << SHUTDOWN_COMPLETE;
    let first = alone | 1 << COOKIE_ECHO | 1 << COOKIE_ACK;
    let present = bytes.settled(&chunks.present);
    let misplaced = index != 0 && (1_u32 << kind & first != 0 || present & alone != 0);
    if misplaced || length == 0 {
        chunks.malformed = 1;
    }
    if kind == INIT || kind == INIT_ACK {
        match bytes.header::<INIT_LENGTH>(at) {
            Some(header) if at + INIT_LENGTH as u32 <= end => chunks.initiate = header.be32(4),
            _ => chunks.malformed = 1,
        }
    }
    chunks.kinds[index as usize % MOST] = kind;
    chunks.present = present | 1 << kind;
    chunks.reflected |= u32::from(header.u8(1) & 1) << (index % 32);
    chunks.count = index + 1;
    chunks.at = at + ((length + 3) & !3);
    length != 0
}

/// All chunks have been read.
#[inline(always)]
pub fn close(chunks: &mut Chunks) {
    if chunks.count == 0 {
        chunks.malformed = 1;
    }
}

/// What a chunk does to an association in `phase` ([`Phase::Free`]: there is none); `None` where it cannot be.
#[expect(clippy::match_same_arms, reason = "a first match decides, so the order of the arms means something")]
pub(super) const fn transition(direction: Direction, kind: u8, phase: Phase) -> Option<Phase> {
    use Phase::{
        Free, SctpClosed as Closed, SctpCookieEchoed as CookieEchoed, SctpCookieWait as CookieWait,
        SctpEstablished as Established, SctpHeartbeatSent as HeartbeatSent, SctpShutdownAckSent as ShutdownAckSent,
        SctpShutdownRecd as ShutdownRecd, SctpShutdownSent as ShutdownSent,
    };
    let original = matches!(direction, Direction::Original);
    if !matches!(
        kind,
        INIT | INIT_ACK
            | ABORT
            | SHUTDOWN
            | SHUTDOWN_ACK
            | ERROR
            | COOKIE_ECHO
            | COOKIE_ACK
            | SHUTDOWN_COMPLETE
            | HEARTBEAT
            | HEARTBEAT_ACK
    ) {
        // Data and the like.
        return Some(phase);
    }
    Some(match (phase, kind) {
        (Free | HeartbeatSent, HEARTBEAT) if original => HeartbeatSent,
        (Free | HeartbeatSent, SHUTDOWN_ACK) if original => ShutdownAckSent,
        (Free, _) if original => Closed,
        (HeartbeatSent, INIT) if original => CookieWait,
        (HeartbeatSent, HEARTBEAT_ACK) if original => HeartbeatSent,
        (HeartbeatSent, _) if original => Closed,
        (HeartbeatSent, HEARTBEAT) => HeartbeatSent,
        (HeartbeatSent, HEARTBEAT_ACK) => Established,
        (Free | HeartbeatSent, _) => return None,
        (_, ABORT) => Closed,
        (Closed, INIT_ACK) if !original => CookieWait,
        (Closed, _) => Closed,
        (CookieWait, COOKIE_ECHO) => CookieEchoed,
        (CookieEchoed, COOKIE_ACK) => Established,
        (CookieEchoed, ERROR) if !original => Closed,
        (Established, SHUTDOWN) if original => ShutdownSent,
        (Established, SHUTDOWN) => ShutdownRecd,
        (ShutdownSent | ShutdownRecd, INIT) if original => Closed,
        (ShutdownSent | ShutdownRecd | ShutdownAckSent, SHUTDOWN_ACK) => ShutdownAckSent,
        (ShutdownAckSent, SHUTDOWN_COMPLETE) => Closed,
        (phase, _) => phase,
    })
}

/// [`transition`] as one byte for every direction, chunk type and phase: 0 where it cannot be. Phases count from that
/// of [`Phase::SctpClosed`], with 8 for none.
static TABLE: [u8; 512] = {
    let mut table = [0; 512];
    let phases = [
        Phase::SctpClosed,
        Phase::SctpCookieWait,
        Phase::SctpCookieEchoed,
        Phase::SctpEstablished,
        Phase::SctpShutdownSent,
        Phase::SctpShutdownRecd,
        Phase::SctpShutdownAckSent,
        Phase::SctpHeartbeatSent,
        Phase::Free,
    ];
    let mut kind = 0;
    while kind < 16 {
        let mut phase = 0;
        while phase < phases.len() {
            let at = kind << 4 | phase;
            table[at] = number(transition(Direction::Original, kind as u8, phases[phase]));
            table[256 | at] = number(transition(Direction::Reply, kind as u8, phases[phase]));
            phase += 1;
        }
        kind += 1;
    }
    table
};

const fn number(phase: Option<Phase>) -> u8 {
    match phase {
        // Free stays free: a packet of data begins nothing.
        Some(phase) => phase as u8,
        None => 0,
    }
}

#[inline(always)]
fn look_up(reply: bool, kind: u8, phase: u8) -> u8 {
    let phase = if phase == Phase::Free as u8 { 8 } else { phase.wrapping_sub(Phase::SctpClosed as u8) & 7 };
    TABLE[usize::from(reply) << 8 | usize::from(kind & 15) << 4 | usize::from(phase)]
}

/// A walk through the chunks of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Walk {
    /// What is known of the association so far.
    pub association: Association,
    /// Its phase so far, a number.
    phase: u32,
    /// The packet goes the way of the answers.
    reply: u32,
    /// The next chunk.
    at: u32,
    /// Each chunk must be one that can begin an association.
    begins: u32,
    /// The association lives no longer for this packet.
    keeps: u32,
    /// Some chunk cannot be.
    wrong: u32,
}

/// Begins a walk of which it is not known whether it starts an association.
#[inline(always)]
pub fn begin(walk: &mut Walk, chunks: &Chunks) {
    // Out of the blue, these are nobody's (RFC 9260 section 8.4).
    let impossible = chunks.present & (1 << ABORT | 1 << SHUTDOWN_COMPLETE | 1 << COOKIE_ACK) != 0;
    let tags = match chunks.kinds[0] {
        INIT => [0, chunks.initiate],
        HEARTBEAT => [chunks.tag, 0],
        _ => [0, chunks.tag],
    };
    set_out(walk, chunks, Association { tags, seen: 0 }, Phase::Free as u8, Direction::Original);
    walk.begins = 1;
    if impossible || chunks.has(INIT) && chunks.tag != 0 {
        walk.wrong = 1;
    }
}

/// The phase that an association begins in, as a number; 0 when none does.
#[inline(always)]
pub const fn began(walk: &Walk) -> u32 {
    if walk.wrong != 0 { 0 } else { walk.phase }
}

/// Begins a walk through a packet of an association in state `old`.
#[inline(always)]
pub fn follow(walk: &mut Walk, association: Association, old: State, chunks: &Chunks, direction: Direction) {
    set_out(walk, chunks, association, old.phase(), direction);
}

/// What the packet did to the association, which was in state `old`.
#[inline(always)]
pub fn followed(walk: &Walk, old: State) -> Change {
    if walk.wrong != 0 {
        return Change::invalid(old);
    }
    let phase = walk.phase as u8;
    let seen = if walk.reply != 0 { old.replied() } else { old };
    let stands = phase == Phase::SctpEstablished as u8 && old.phase() != phase;
    let change = Change::to_phase(if stands { seen.assured() } else { seen }, phase);
    if walk.keeps != 0 { change.keeping() } else { change }
}

/// Types whose packets need not have the tag of the association (RFC 9260 section 8.5.1), or are checked one by one.
const OWN_RULES: u32 = 1 << INIT
    | 1 << SHUTDOWN_COMPLETE
    | 1 << COOKIE_ECHO
    | 1 << ABORT
    | 1 << SHUTDOWN_ACK
    | 1 << HEARTBEAT
    | 1 << HEARTBEAT_ACK;

#[inline(always)]
fn set_out(walk: &mut Walk, chunks: &Chunks, association: Association, phase: u8, direction: Direction) {
    let reply = matches!(direction, Direction::Reply);
    let tag = association.tags[usize::from(reply)];
    let is_ours = chunks.present & OWN_RULES != 0 || chunks.tag == tag;
    *walk = Walk {
        association,
        phase: phase.into(),
        reply: reply.into(),
        wrong: u32::from(chunks.malformed != 0 || !is_ours),
        ..Walk::default()
    };
}

/// Walks on by one chunk; `false` behind the last one, or behind one that cannot be.
#[inline(always)]
pub fn walk_one(walk: &mut Walk, chunks: &Chunks) -> bool {
    if walk.at >= chunks.count || walk.at >= MOST as u32 || walk.wrong != 0 {
        return false;
    }
    let at = walk.at as usize % MOST;
    walk.at += 1;
    let kind = chunks.kinds[at];
    let index = walk.reply as usize & 1;
    let phase = walk.phase as u8;
    let begins = walk.begins == 0 || look_up(false, kind, Phase::Free as u8) != Phase::Free as u8;
    match check(&mut walk.association, chunks, at, index) {
        Tag::Right if begins => {}
        Tag::Stray => {
            walk.keeps = 1;
            return true;
        }
        Tag::Right | Tag::Wrong => walk.wrong = 1,
    }
    let next = look_up(index == 1, kind, phase);
    let is_first = kind == INIT || kind == INIT_ACK;
    if next == 0 || is_first && !initiate(&mut walk.association, chunks, kind, index) {
        walk.wrong = 1;
    }
    // One that is sent again does not keep the entry.
    if kind == INIT && phase == Phase::SctpClosed as u8 && next == phase {
        walk.keeps = 1;
    }
    walk.phase = next.into();
    true
}

/// What a chunk's verification tag is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// Right.
    Right,
    /// Another one, of a HEARTBEAT: noted, in case the other side confirms it.
    Stray,
    /// Wrong.
    Wrong,
}

/// Looks at the tag of the packet, as the chunk asks for it (RFC 9260 section 8.5.1).
#[inline(always)]
fn check(association: &mut Association, chunks: &Chunks, at: usize, index: usize) -> Tag {
    let (own, peer) = (association.tags[index], association.tags[index ^ 1]);
    let is_right = match chunks.kinds[at] {
        INIT => chunks.tag == 0,
        ABORT | SHUTDOWN_COMPLETE if chunks.reflected & 1 << at != 0 => chunks.tag == peer,
        ABORT | SHUTDOWN_COMPLETE | COOKIE_ECHO => chunks.tag == own,
        COOKIE_ACK => {
            association.seen &= !(INITS[0] | INITS[1]);
            true
        }
        HEARTBEAT | HEARTBEAT_ACK => return heartbeat(association, chunks, chunks.kinds[at], index),
        _ => true,
    };
    if is_right { Tag::Right } else { Tag::Wrong }
}

/// A path that is not known yet tells its tag by its heartbeats.
#[inline(always)]
fn heartbeat(association: &mut Association, chunks: &Chunks, kind: u8, index: usize) -> Tag {
    let stray = association.seen & (STRAY[0] | STRAY[1]);
    if association.tags[index] == 0 {
        association.tags[index] = chunks.tag;
        return Tag::Right;
    }
    if association.tags[index] == chunks.tag {
        association.seen &= !stray;
        return Tag::Right;
    }
    if chunks.has(DATA) {
        return Tag::Wrong;
    }
    if kind == HEARTBEAT {
        association.seen = association.seen & !stray | STRAY[index];
        return Tag::Stray;
    }
    // The answer to a HEARTBEAT of another tag: the ends agree on new ones.
    if stray != STRAY[index ^ 1] {
        return Tag::Wrong;
    }
    association.seen &= !stray;
    association.tags[index] = chunks.tag;
    association.tags[index ^ 1] = 0;
    Tag::Right
}

/// INIT and INIT ACK say which tag the other direction is to have.
#[inline(always)]
fn initiate(association: &mut Association, chunks: &Chunks, kind: u8, index: usize) -> bool {
    let (own, peer) = (INITS[index], INITS[index ^ 1]);
    let both = association.seen & (own | peer) == own | peer;
    if kind == INIT {
        if both {
            association.seen &= !peer;
        }
        association.seen |= own;
    } else {
        let known = association.tags[index ^ 1];
        let unasked = association.seen & peer == 0 && known != 0;
        if (unasked || both) && known != chunks.initiate {
            return false;
        }
    }
    association.tags[index ^ 1] = chunks.initiate;
    true
}

#[cfg(test)]
mod tests;
