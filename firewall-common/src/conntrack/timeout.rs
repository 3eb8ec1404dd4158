//! How long a connection lives after its last packet.
//!
//! The clock counts in ticks of 2^28 ns (268 ms): coarse enough for 32 bits to last 36 years and for a busy flow to be
//! written to four times a second at most, fine enough to show seconds.
//!
//! What a packet does to a connection ([`super::update`]) says *which* lifetime applies, as a number; [`Timeouts`] says
//! how long that is. They are settings, constants of a generation.

use super::Phase;
use crate::wire::{gre, icmp, tcp, udp};

/// A tick is `1 << TICK_NS_SHIFT` nanoseconds of `CLOCK_MONOTONIC`.
pub const TICK_NS_SHIFT: u32 = 28;

/// Ticks in so many seconds, rounded up.
pub const fn ticks_of_seconds(seconds: u32) -> u32 {
    let ns = seconds as u64 * 1_000_000_000;
    ns.div_ceil(1 << TICK_NS_SHIFT) as u32
}

/// Declares the lifetimes once: number, key in `rampart.toml`, default in seconds, meaning.
macro_rules! timeouts {
    ($($variant:ident = $number:literal, $key:literal, $seconds:literal, $meaning:literal;)+) => {
        /// Which of the lifetimes applies. Keys and defaults are those of `nf_conntrack`, by its names in
        /// `/proc/sys/net/netfilter` without `nf_conntrack_` (`tcp_timeouts` in `nf_conntrack_proto_tcp.c`,
        /// `sctp_timeouts` in `nf_conntrack_proto_sctp.c`, `udp_timeouts`, `gre_timeouts`, `nf_ct_icmp_timeout`,
        /// `nf_ct_icmpv6_timeout`, `nf_ct_generic_timeout`; all in `net/netfilter`, Linux 6.18).
        ///
        /// The lifetime of a connection whose phase has a name has the number of that phase.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Timeout {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Timeout {
            /// Every lifetime, in number order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its key in the settings.
            pub const fn key(self) -> &'static str {
                match self {
                    $(Self::$variant => $key,)+
                }
            }

            /// What it is, for a person.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }

            /// Its length unless something else is set, seconds.
            pub const fn default_seconds(self) -> u32 {
                match self {
                    $(Self::$variant => $seconds,)+
                }
            }
        }
    };
}

timeouts! {
    SynSent = 1, "tcp_timeout_syn_sent", 120, "TCP, SYN seen";
    SynSent2 = 2, "tcp_timeout_syn_sent2", 120, "TCP, SYN seen both ways";
    SynRecv = 3, "tcp_timeout_syn_recv", 60, "TCP, SYN and ACK seen";
    Established = 4, "tcp_timeout_established", 432_000, "TCP, handshake complete";
    FinWait = 5, "tcp_timeout_fin_wait", 120, "TCP, FIN seen";
    CloseWait = 6, "tcp_timeout_close_wait", 60, "TCP, FIN acknowledged";
    LastAck = 7, "tcp_timeout_last_ack", 30, "TCP, FIN seen both ways";
    TimeWait = 8, "tcp_timeout_time_wait", 120, "TCP, both FINs acknowledged";
    Close = 9, "tcp_timeout_close", 10, "TCP, RST seen";
    Udp = 10, "udp_timeout", 30, "UDP and UDP-Lite, not a stream";
    UdpStream = 11, "udp_timeout_stream", 120, "UDP and UDP-Lite, both ways for more than two seconds";
    Icmp = 12, "icmp_timeout", 30, "ICMP query";
    Icmpv6 = 13, "icmpv6_timeout", 30, "ICMPv6 query";
    Generic = 14, "generic_timeout", 600, "any other protocol";
    Gre = 15, "gre_timeout", 30, "GRE, one way";
    GreStream = 16, "gre_timeout_stream", 180, "GRE, both ways";
    SctpClosed = 17, "sctp_timeout_closed", 10, "SCTP, ABORT or SHUTDOWN COMPLETE seen, or not begun by INIT";
    SctpCookieWait = 18, "sctp_timeout_cookie_wait", 3, "SCTP, INIT or INIT ACK seen";
    SctpCookieEchoed = 19, "sctp_timeout_cookie_echoed", 3, "SCTP, COOKIE ECHO seen";
    SctpEstablished = 20, "sctp_timeout_established", 210, "SCTP, COOKIE ACK seen";
    SctpShutdownSent = 21, "sctp_timeout_shutdown_sent", 3, "SCTP, SHUTDOWN seen from the one who began";
    SctpShutdownRecd = 22, "sctp_timeout_shutdown_recd", 3, "SCTP, SHUTDOWN seen from the other one";
    SctpShutdownAckSent = 23, "sctp_timeout_shutdown_ack_sent", 3, "SCTP, SHUTDOWN ACK seen";
    SctpHeartbeatSent = 24, "sctp_timeout_heartbeat_sent", 30, "SCTP, HEARTBEAT seen where nothing was known";
    MaxRetrans = 25, "tcp_timeout_max_retrans", 300, "TCP, what was sent last is sent again and not acknowledged";
    Unacknowledged = 26, "tcp_timeout_unacknowledged", 300, "TCP, picked up in mid-stream and not answered";
    Fragment = 27, "frag_timeout", 30, "a fragmented packet, after its first fragment";
}

impl Timeout {
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
            _ => Self::Close,
        }
    }

    /// That of a connection of a protocol without states; `stream` when it has gone both ways for long enough.
    #[inline(always)]
    pub const fn of_open(protocol: u8, stream: bool) -> Self {
        match protocol {
            udp::PROTOCOL | udp::PROTOCOL_LITE if stream => Self::UdpStream,
            udp::PROTOCOL | udp::PROTOCOL_LITE => Self::Udp,
            icmp::PROTOCOL => Self::Icmp,
            icmp::PROTOCOL_V6 => Self::Icmpv6,
            gre::PROTOCOL if stream => Self::GreStream,
            gre::PROTOCOL => Self::Gre,
            tcp::PROTOCOL => Self::Close,
            _ => Self::Generic,
        }
    }
}

/// The length of every lifetime, in ticks, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Timeouts(pub [u32; Self::ENTRIES]);

crate::shared!(Timeouts = 128);

impl Timeouts {
    /// Numbers there may be: a power of two, so that a mask keeps an index within.
    pub const ENTRIES: usize = 32;

    /// Those of `nf_conntrack`.
    pub const DEFAULT: Self = {
        let mut ticks = [0; Self::ENTRIES];
        let mut at = 0;
        while at < Timeout::ALL.len() {
            let timeout = Timeout::ALL[at];
            ticks[timeout as usize] = ticks_of_seconds(timeout.default_seconds());
            at += 1;
        }
        Self(ticks)
    };

    /// The length of the lifetime of a number.
    #[inline(always)]
    pub const fn ticks(&self, number: u32) -> u32 {
        self.0[number as usize % Self::ENTRIES]
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}
