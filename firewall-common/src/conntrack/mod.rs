//! Connection states, and how a packet changes them: pure functions of (state, packet, direction, age).
//!
//! The behaviour is `nf_conntrack`'s (Linux 6.18), whose users rulesets were written for; where it differs the function
//! says so. A TCP segment is judged by its flags first ([`update`]), then by its numbers ([`follow`]).

mod offer;
pub mod sctp;
mod state;
mod tcp;
mod timeout;
mod tracked;
mod window;

pub use offer::{Scan, offer};
pub use state::{CtState, Direction, Phase, State};
pub use timeout::{TICK_NS_SHIFT, Timeout, Timeouts, ticks_of_seconds};
pub use tracked::{Aside, Keep, Segment, Tracked, begin, follow, follow_plain, is_plain, placed, repeated, repeats};
pub use window::{Place, Terms, Window};

use crate::{
    packet::{Field, NFPROTO_IPV4, Packet},
    wire::{
        gre,
        icmp::{self, Query},
        sctp as sctp_wire, tcp as tcp_wire, udp,
    },
};

/// Age from which a UDP flow that goes both ways is a stream: 2 s (`udp_packet`,
/// `net/netfilter/nf_conntrack_proto_udp.c`, Linux 6.18).
const STREAM_AGE: u32 = ticks_of_seconds(2);

/// A way to track connections, load-time constant: a TCP segment in mid-stream may start a connection
/// (`nf_conntrack_tcp_loose`).
pub const LOOSE: u32 = 1;
/// Segments outside the window belong to their connection (`nf_conntrack_tcp_be_liberal`).
pub const LIBERAL: u32 = 2;
/// A new connection that finds no room takes that of the one that `nf_conntrack` would drop early.
pub const EVICT: u32 = 4;
/// Interfaces have zones.
pub const ZONES: u32 = 8;
/// Of sets, beside those of connections: an element that finds no room takes that of one that would end soon.
pub const EVICT_ELEMENTS: u32 = 1 << 17;

/// What becomes of a connection by a packet.
///
/// A structure whose fields always have a value, not an enumeration with them in some variants: the verifier refuses
/// arithmetic on what an undefined register happens to hold ("bitwise operator &= on pointer prohibited").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub effect: Effect,
    /// The state of the connection afterwards.
    pub state: State,
    /// How long it lives from now, a number of [`Timeout`], or [`Change::KEEP`]; meaningful with [`Effect::Move`].
    pub timeout: u32,
}

/// What a packet does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Effect {
    /// The connection takes the state and lives so long from now.
    Move,
    /// The packet belongs to it but changes nothing beyond what the state notes: that it was answered. It lives no
    /// longer for it (a retransmitted handshake segment).
    Stay,
    /// The packet cannot belong to the connection as it is: `ct state invalid`, and the connection stays as it is.
    Invalid,
    /// The packet starts a new connection on the tuple of one that has ended.
    Reopen,
}

impl Change {
    /// [`Self::timeout`]: it lives as long as it would have without the packet.
    pub const KEEP: u32 = 0;

    /// To another state (or again to the same one), to live so long.
    #[inline(always)]
    pub const fn to(state: State, timeout: Timeout) -> Self {
        Self { effect: Effect::Move, state, timeout: timeout as u32 }
    }

    /// To a phase, whose lifetime has its number.
    #[inline(always)]
    pub(crate) const fn to_phase(state: State, phase: u8) -> Self {
        Self { effect: Effect::Move, state: state.with_phase(phase), timeout: phase as u32 }
    }

    /// The connection is forgotten behind this packet, which belongs to it.
    pub const FORGET: Self = Self { effect: Effect::Move, state: State(0), timeout: Self::KEEP };

    /// The same change, but the connection lives no longer for it.
    #[inline(always)]
    #[must_use]
    pub const fn keeping(self) -> Self {
        Self { timeout: Self::KEEP, ..self }
    }

    /// Only noted.
    #[inline(always)]
    pub const fn stay(state: State) -> Self {
        Self { effect: Effect::Stay, state, timeout: Self::KEEP }
    }

    /// Not a packet of this connection, which stays in `state`.
    #[inline(always)]
    pub const fn invalid(state: State) -> Self {
        Self { effect: Effect::Invalid, state, timeout: Self::KEEP }
    }

    /// The end of this connection, which was in `state`, and the start of another.
    #[inline(always)]
    pub const fn reopen(state: State) -> Self {
        Self { effect: Effect::Reopen, state, timeout: Self::KEEP }
    }

    /// Is there more to it for a TCP segment, by its numbers ([`follow`])?
    #[inline(always)]
    pub const fn has_numbers(self) -> bool {
        matches!(self.effect, Effect::Move | Effect::Stay)
    }

    /// The change as one number: what a function of the eBPF program can return.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.timeout as u64) << 32 | (self.state.0 as u64) << 8 | self.effect as u64
    }

    /// The change of a number made by [`Self::word`].
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        let effect = match word as u8 {
            0 => Effect::Move,
            1 => Effect::Stay,
            3 => Effect::Reopen,
            _ => Effect::Invalid,
        };
        Self { effect, state: State((word >> 8) as u8), timeout: (word >> 32) as u32 }
    }
}

/// What a packet is to connection tracking when no connection is known for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// It may start a connection in this state, which then lives so long.
    Start(State, Timeout),
    /// It neither starts nor belongs to one.
    Invalid,
    /// It is never tracked (IPv6 neighbour and multicast listener discovery).
    Untracked,
    /// It quotes another packet, and is related if that one's connection is known.
    Error,
    /// It is SCTP: its chunks say ([`sctp::begin`]).
    Association,
}

/// Judges a packet that no connection is known for. `ways` are those in which connections are tracked ([`LOOSE`]).
#[inline(always)]
pub fn fresh(packet: &Packet, ways: u32) -> Fresh {
    let protocol = packet.get(Field::L4Proto) as u8;
    match protocol {
        tcp_wire::PROTOCOL => match tcp::start(packet.get(Field::TcpFlags) as u8) {
            Some(Phase::SynSent) => Fresh::Start(State::new(Phase::SynSent), Timeout::SynSent),
            // In mid-stream: not for days before somebody answers (`nf_conntrack_tcp_packet`).
            Some(phase) if ways & LOOSE != 0 => Fresh::Start(State::new(phase), Timeout::Unacknowledged),
            Some(_) | None => Fresh::Invalid,
        },
        // Each means something in its own family only; elsewhere it is one more unknown protocol.
        icmp::PROTOCOL if is_v4(packet) => fresh_icmp(packet, icmp::is_error, icmp::query),
        icmp::PROTOCOL_V6 if !is_v4(packet) && icmp::is_untracked_v6(icmp_kind(packet)) => Fresh::Untracked,
        icmp::PROTOCOL_V6 if !is_v4(packet) => fresh_icmp(packet, icmp::is_error_v6, icmp::query_v6),
        sctp_wire::PROTOCOL => Fresh::Association,
        _ => Fresh::Start(State::new(Phase::Open), Timeout::of_open(protocol, false)),
    }
}

#[inline(always)]
fn is_v4(packet: &Packet) -> bool {
    packet.get(Field::NfProto) == NFPROTO_IPV4
}

#[inline(always)]
fn fresh_icmp(packet: &Packet, is_error: fn(u8) -> bool, query: fn(u8) -> Query) -> Fresh {
    let kind = icmp_kind(packet);
    if is_error(kind) {
        return Fresh::Error;
    }
    let query = query(kind);
    if query.is_some() && !query.is_answer() {
        Fresh::Start(State::new(Phase::Open), Timeout::of_open(packet.get(Field::L4Proto) as u8, false))
    } else {
        Fresh::Invalid
    }
}

/// Type of an ICMP or ICMPv6 message.
#[inline(always)]
pub fn icmp_kind(packet: &Packet) -> u8 {
    (packet.get(Field::IcmpType) >> 8) as u8
}

/// Can this packet belong to a connection at all? ICMP messages other than queries and their answers cannot, and are
/// not looked up.
#[inline(always)]
pub fn is_looked_up(packet: &Packet) -> bool {
    match packet.get(Field::L4Proto) as u8 {
        icmp::PROTOCOL if is_v4(packet) => icmp::query(icmp_kind(packet)).is_some(),
        icmp::PROTOCOL_V6 if !is_v4(packet) => icmp::query_v6(icmp_kind(packet)).is_some(),
        _ => true,
    }
}

/// The change that a packet makes to a known connection, `age` ticks after it began.
#[inline(always)]
pub fn update(state: State, packet: &Packet, direction: Direction, age: u32) -> Change {
    let protocol = packet.get(Field::L4Proto) as u8;
    if protocol == tcp_wire::PROTOCOL {
        tcp::update(state, packet.get(Field::TcpFlags) as u8, direction)
    } else {
        update_open(state, protocol, direction, age)
    }
}

#[inline(always)]
fn update_open(state: State, protocol: u8, direction: Direction, age: u32) -> Change {
    // An answer makes a stream of it only from the next packet on, as for `nf_conntrack`.
    let stream = state.is_replied() && is_stream(protocol, age);
    let next = noted(state, direction);
    Change::to(if stream { next.assured() } else { next }, Timeout::of_open(protocol, stream))
}

/// Is a flow that goes both ways taken for a lasting one? UDP and UDP-Lite after a while, GRE at once
/// (`nf_conntrack_gre_packet`); ICMP queries and unknown protocols never.
#[inline(always)]
const fn is_stream(protocol: u8, age: u32) -> bool {
    match protocol {
        udp::PROTOCOL | udp::PROTOCOL_LITE => age >= STREAM_AGE,
        gre::PROTOCOL => true,
        _ => false,
    }
}

/// The state of a connection after a packet that says nothing but which way it went.
#[inline(always)]
pub const fn noted(state: State, direction: Direction) -> State {
    match direction {
        Direction::Original => state,
        Direction::Reply => state.replied(),
    }
}

/// The conntrack state of a packet of a known connection, before the packet changed it (`resolve_normal_ct`,
/// `net/netfilter/nf_conntrack_core.c`).
#[inline(always)]
pub fn seen(state: State, direction: Direction) -> CtState {
    if direction == Direction::Reply || state.is_replied() { CtState::Established } else { CtState::New }
}

#[cfg(test)]
mod tests;
