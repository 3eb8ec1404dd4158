//! How long a connection lives after its last packet.
//!
//! The clock counts in ticks of 2^28 ns (268 ms): coarse enough for 32 bits to last 36 years and for a busy flow to be
//! written to four times a second at most, fine enough to show seconds.

use super::Phase;
use crate::wire::{icmp, tcp, udp};

/// A tick is `1 << TICK_NS_SHIFT` nanoseconds of `CLOCK_MONOTONIC`.
pub const TICK_NS_SHIFT: u32 = 28;

/// Ticks in so many seconds, rounded up.
pub const fn ticks_of_seconds(seconds: u32) -> u32 {
    let ns = seconds as u64 * 1_000_000_000;
    ns.div_ceil(1 << TICK_NS_SHIFT) as u32
}

/// Which of the lifetimes applies. The defaults are `nf_conntrack`'s (`tcp_timeouts` in `nf_conntrack_proto_tcp.c`,
/// `udp_timeouts`, `nf_ct_icmp_timeout`, `nf_ct_generic_timeout`; Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Timeout {
    /// TCP, SYN seen: 120 s.
    SynSent = 1,
    /// TCP, SYN seen both ways: 120 s.
    SynSent2 = 2,
    /// TCP, SYN and ACK seen: 60 s.
    SynRecv = 3,
    /// TCP, handshake complete: 5 days.
    Established = 4,
    /// TCP, FIN seen: 120 s.
    FinWait = 5,
    /// TCP, FIN acknowledged: 60 s.
    CloseWait = 6,
    /// TCP, FIN seen both ways: 30 s.
    LastAck = 7,
    /// TCP, both FINs acknowledged: 120 s.
    TimeWait = 8,
    /// TCP, RST seen: 10 s.
    Close = 9,
    /// UDP, not a stream: 30 s.
    Udp = 10,
    /// UDP stream: 120 s.
    UdpStream = 11,
    /// ICMP query: 30 s.
    Icmp = 12,
    /// Any other protocol: 600 s.
    Generic = 13,
}

impl Timeout {
    const TICKS: [u32; 16] = [
        0,
        ticks_of_seconds(120),
        ticks_of_seconds(120),
        ticks_of_seconds(60),
        ticks_of_seconds(432_000),
        ticks_of_seconds(120),
        ticks_of_seconds(60),
        ticks_of_seconds(30),
        ticks_of_seconds(120),
        ticks_of_seconds(10),
        ticks_of_seconds(30),
        ticks_of_seconds(120),
        ticks_of_seconds(30),
        ticks_of_seconds(600),
        0,
        0,
    ];

    /// Its length in ticks.
    #[inline(always)]
    pub const fn ticks(self) -> u32 {
        Self::TICKS[self as usize & 15]
    }

    /// That of a TCP connection in phase number `phase`, in ticks: the two enumerations begin with the same numbers.
    ///
    /// By number and not by [`Timeout`], because the compiler knows that a `Timeout` read from a table is a small
    /// number and leaves out the mask, and the verifier does not know it.
    #[inline(always)]
    pub const fn ticks_of_tcp(phase: u8) -> u32 {
        Self::TICKS[phase as usize & 15]
    }

    /// That of a TCP connection in `phase`.
    #[inline(always)]
    pub const fn of_tcp(phase: Phase) -> Self {
        match phase {
            Phase::SynSent => Self::SynSent,
            Phase::SynSent2 => Self::SynSent2,
            Phase::SynRecv => Self::SynRecv,
            Phase::Established => Self::Established,
            Phase::FinWait => Self::FinWait,
            Phase::CloseWait => Self::CloseWait,
            Phase::LastAck => Self::LastAck,
            Phase::TimeWait => Self::TimeWait,
            Phase::Close | Phase::Free | Phase::Open | Phase::Claimed => Self::Close,
        }
    }

    /// That of a connection of a protocol without states.
    #[inline(always)]
    pub const fn of_open(protocol: u8, replied: bool, stream: bool) -> Self {
        match protocol {
            udp::PROTOCOL | udp::PROTOCOL_LITE if replied && stream => Self::UdpStream,
            udp::PROTOCOL | udp::PROTOCOL_LITE => Self::Udp,
            icmp::PROTOCOL | icmp::PROTOCOL_V6 => Self::Icmp,
            tcp::PROTOCOL => Self::Close,
            _ => Self::Generic,
        }
    }
}
