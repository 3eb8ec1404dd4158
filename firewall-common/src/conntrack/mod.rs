//! Connection states, and how a packet changes them: pure functions of (state, packet, direction, age).
//!
//! The behaviour is `nf_conntrack`'s (Linux 6.18), whose users rulesets were written for; where it differs the function
//! says so. A TCP segment is judged by its flags first ([`update`]), then by its numbers ([`follow`]).

mod offer;
mod state;
mod tcp;
mod timeout;
mod tracked;
mod window;

pub use offer::{Scan, offer};
pub use state::{CtState, Direction, Phase, State};
pub use timeout::{TICK_NS_SHIFT, Timeout, ticks_of_seconds};
pub use tracked::{Aside, Keep, Segment, Tracked, begin, follow, follow_plain, is_plain, placed};
pub use window::{Place, Terms, Window};

use crate::{
    packet::{Field, NFPROTO_IPV4, Packet},
    wire::{
        icmp::{self, Query},
        tcp as tcp_wire,
    },
};

/// Age from which a UDP flow that goes both ways is a stream: 2 s (`udp_packet`,
/// `net/netfilter/nf_conntrack_proto_udp.c`, Linux 6.18).
const STREAM_AGE: u32 = ticks_of_seconds(2);

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
    /// How long it lives from now, ticks; meaningful with [`Effect::Move`].
    pub ticks: u32,
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
    /// To another state (or again to the same one), to live so many ticks.
    #[inline(always)]
    pub const fn to(state: State, ticks: u32) -> Self {
        Self { effect: Effect::Move, state, ticks }
    }

    /// Only noted.
    #[inline(always)]
    pub const fn stay(state: State) -> Self {
        Self { effect: Effect::Stay, state, ticks: 0 }
    }

    /// Not a packet of this connection, which stays in `state`.
    #[inline(always)]
    pub const fn invalid(state: State) -> Self {
        Self { effect: Effect::Invalid, state, ticks: 0 }
    }

    /// The end of this connection, which was in `state`, and the start of another.
    #[inline(always)]
    pub const fn reopen(state: State) -> Self {
        Self { effect: Effect::Reopen, state, ticks: 0 }
    }

    /// Is there more to it for a TCP segment, by its numbers ([`follow`])?
    #[inline(always)]
    pub const fn has_numbers(self) -> bool {
        matches!(self.effect, Effect::Move | Effect::Stay)
    }

    /// The change as one number: what a function of the eBPF program can return.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.ticks as u64) << 32 | (self.state.0 as u64) << 8 | self.effect as u64
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
        Self { effect, state: State((word >> 8) as u8), ticks: (word >> 32) as u32 }
    }
}

/// What a packet is to connection tracking when no connection is known for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// It may start a connection in this state, which then lives so many ticks.
    Start(State, u32),
    /// It neither starts nor belongs to one.
    Invalid,
    /// It is never tracked (IPv6 neighbour and multicast listener discovery).
    Untracked,
    /// It quotes another packet, and is related if that one's connection is known.
    Error,
}

/// Judges a packet that no connection is known for.
#[inline(always)]
pub fn fresh(packet: &Packet) -> Fresh {
    let protocol = packet.get(Field::L4Proto) as u8;
    match protocol {
        tcp_wire::PROTOCOL => match tcp::start(packet.get(Field::TcpFlags) as u8) {
            Some(phase) => Fresh::Start(State::new(phase), Timeout::of_tcp(phase).ticks()),
            None => Fresh::Invalid,
        },
        // Each means something in its own family only; elsewhere it is one more unknown protocol.
        icmp::PROTOCOL if is_v4(packet) => fresh_icmp(packet, icmp::is_error, icmp::query),
        icmp::PROTOCOL_V6 if !is_v4(packet) && icmp::is_untracked_v6(icmp_kind(packet)) => Fresh::Untracked,
        icmp::PROTOCOL_V6 if !is_v4(packet) => fresh_icmp(packet, icmp::is_error_v6, icmp::query_v6),
        _ => Fresh::Start(State::new(Phase::Open), Timeout::of_open(protocol, false, false).ticks()),
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
        Fresh::Start(State::new(Phase::Open), Timeout::Icmp.ticks())
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
    let replied = state.is_replied() || direction == Direction::Reply;
    let stream = replied && has_streams(protocol) && age >= STREAM_AGE;
    let next = if stream {
        state.replied().assured()
    } else if replied {
        state.replied()
    } else {
        state
    };
    Change::to(next, Timeout::of_open(protocol, replied, stream).ticks())
}

/// UDP and UDP-Lite flows that go both ways for a while are taken for lasting ones; so are SCTP, DCCP and unknown
/// protocols, whose states are not followed yet: their flows must not be the first to go when the table is full.
#[inline(always)]
const fn has_streams(protocol: u8) -> bool {
    protocol != icmp::PROTOCOL && protocol != icmp::PROTOCOL_V6
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
