//! The words for states: of a packet ([`CtState`]), of a connection ([`State`]).

/// What a packet is to connection tracking: the values of `ct state`, with the kernel's bits
/// (`NF_CT_STATE_BIT`, `include/uapi/linux/netfilter/nf_conntrack_common.h`, Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum CtState {
    /// It belongs to no connection and starts none.
    Invalid = 1,
    /// It belongs to a connection that was answered.
    Established = 2,
    /// It is an ICMP error about a packet of a known connection.
    Related = 4,
    /// It starts a connection, or repeats a start that was not answered.
    New = 8,
    /// It is not tracked.
    Untracked = 64,
}

impl CtState {
    /// All states, in nftables' order of listing.
    pub const ALL: [Self; 5] = [Self::Invalid, Self::Established, Self::Related, Self::New, Self::Untracked];

    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Established => "established",
            Self::Related => "related",
            Self::New => "new",
            Self::Untracked => "untracked",
        }
    }

    /// The state of a bit that came from the kernel.
    pub fn from_bit(bit: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u32 == bit)
    }
}

/// Which way a packet goes within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The way of the first packet.
    Original,
    /// The way back.
    Reply,
}

/// Where a connection is in its life. TCP by the names of RFC 9293 section 3.3.2 as `nf_conntrack` uses them: the state
/// that a middlebox can know, not that of either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// The place in the table was never used, or was given back.
    Free = 0,
    /// SYN seen.
    SynSent = 1,
    /// SYN seen both ways: simultaneous open.
    SynSent2 = 2,
    /// SYN and ACK seen.
    SynRecv = 3,
    /// The handshake is complete.
    Established = 4,
    /// FIN seen.
    FinWait = 5,
    /// FIN acknowledged.
    CloseWait = 6,
    /// FIN seen both ways.
    LastAck = 7,
    /// Both FINs acknowledged.
    TimeWait = 8,
    /// RST seen.
    Close = 9,
    /// A protocol without states of its own: UDP, ICMP queries, the rest.
    Open = 16,
    /// SCTP, reset or at its end, or not begun by INIT.
    SctpClosed = 17,
    /// SCTP, INIT seen.
    SctpCookieWait = 18,
    /// SCTP, COOKIE ECHO seen.
    SctpCookieEchoed = 19,
    /// SCTP, COOKIE ACK seen: the association stands.
    SctpEstablished = 20,
    /// SCTP, SHUTDOWN seen from the one who began.
    SctpShutdownSent = 21,
    /// SCTP, SHUTDOWN seen from the other one.
    SctpShutdownRecd = 22,
    /// SCTP, SHUTDOWN ACK seen.
    SctpShutdownAckSent = 23,
    /// SCTP, HEARTBEAT seen where no association was known: another path of one that is.
    SctpHeartbeatSent = 24,
    /// The place is being written to by some CPU; readers pass over it.
    Claimed = 31,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 20] = [
        Self::Free,
        Self::SynSent,
        Self::SynSent2,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::Open,
        Self::SctpClosed,
        Self::SctpCookieWait,
        Self::SctpCookieEchoed,
        Self::SctpEstablished,
        Self::SctpShutdownSent,
        Self::SctpShutdownRecd,
        Self::SctpShutdownAckSent,
        Self::SctpHeartbeatSent,
        Self::Claimed,
    ];

    /// The phase of a number that came from a table.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| *phase as u8 == number)
    }
}

/// State of a connection, in one byte: the phase, and what has been seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct State(pub u8);

const PHASE: u8 = 0x1f;
const BOTH: u8 = 0x20;
const REPLIED: u8 = 0x40;
const ASSURED: u8 = 0x80;

impl State {
    /// A place that is being written to. With all flags, so that it is kept like the most valuable connection.
    pub const CLAIMED: Self = Self(Phase::Claimed as u8 | REPLIED | ASSURED);

    /// A connection of which one packet has been seen.
    #[inline(always)]
    pub const fn new(phase: Phase) -> Self {
        Self(phase as u8)
    }

    /// Has the connection ended, and is only remembered for what may still be under way?
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        let phase = self.phase();
        phase == Phase::TimeWait as u8
            || phase == Phase::Close as u8
            || phase == Phase::SctpClosed as u8
            || phase == Phase::Free as u8
    }

    /// The phase as a number, see [`Phase`].
    #[inline(always)]
    pub const fn phase(self) -> u8 {
        self.0 & PHASE
    }

    /// The same connection in another phase.
    #[inline(always)]
    #[must_use]
    pub const fn with_phase(self, phase: u8) -> Self {
        Self(self.0 & !PHASE | phase & PHASE)
    }

    /// Has it been answered?
    #[inline(always)]
    pub const fn is_replied(self) -> bool {
        self.0 & REPLIED != 0
    }

    /// The same connection, answered.
    #[inline(always)]
    #[must_use]
    pub const fn replied(self) -> Self {
        Self(self.0 | REPLIED)
    }

    /// Is it worth keeping when room is short: a completed handshake, a stream?
    #[inline(always)]
    pub const fn is_assured(self) -> bool {
        self.0 & ASSURED != 0
    }

    /// The same connection, assured.
    #[inline(always)]
    #[must_use]
    pub const fn assured(self) -> Self {
        Self(self.0 | ASSURED)
    }

    /// Did both ends open it at once (RFC 9293 section 3.5, figure 7)? Then either end's acknowledgement may complete the
    /// handshake (`IP_CT_TCP_SIMULTANEOUS_OPEN`, `nf_conntrack_proto_tcp.c`, Linux 6.18).
    #[inline(always)]
    pub const fn is_opened_by_both(self) -> bool {
        self.0 & BOTH != 0
    }

    /// The same connection, opened by both ends at once.
    #[inline(always)]
    #[must_use]
    pub const fn opened_by_both(self) -> Self {
        Self(self.0 | BOTH)
    }

    /// May a new connection take its place? True for what anybody can make many of with forged packets: a TCP
    /// handshake that is not complete (SCTP's too), a datagram that was not answered.
    #[inline(always)]
    pub const fn is_embryonic(self) -> bool {
        if self.phase() == Phase::Open as u8 { !self.is_replied() } else { !self.is_assured() }
    }

    /// Is it only remembered: both ends have closed it, or one has reset it?
    #[inline(always)]
    pub const fn has_ended(self) -> bool {
        let phase = self.phase();
        phase == Phase::TimeWait as u8 || phase == Phase::Close as u8
    }

    /// May it be given up for a new connection when the settings say so? True for what `nf_conntrack` drops early
    /// (`early_drop_list`, `tcp_can_early_drop`, `sctp_can_early_drop`; Linux 6.18): what is not assured, and what is being
    /// closed.
    #[inline(always)]
    pub const fn ends_early(self) -> bool {
        let phase = self.phase();
        let tcp_closes = phase >= Phase::FinWait as u8 && phase <= Phase::Close as u8;
        let sctp_closes = phase >= Phase::SctpShutdownSent as u8 && phase <= Phase::SctpShutdownAckSent as u8;
        (!self.is_assured() || tcp_closes || sctp_closes) && phase != Phase::Claimed as u8
    }

    /// The word for people, as `conntrack -L` and `ss` have it.
    pub fn name(self) -> &'static str {
        match Phase::from_number(self.phase()) {
            Some(Phase::Free) => "FREE",
            Some(Phase::SynSent) => "SYN_SENT",
            Some(Phase::SynSent2) => "SYN_SENT2",
            Some(Phase::SynRecv) => "SYN_RECV",
            Some(Phase::Established | Phase::SctpEstablished) => "ESTABLISHED",
            Some(Phase::FinWait) => "FIN_WAIT",
            Some(Phase::CloseWait) => "CLOSE_WAIT",
            Some(Phase::LastAck) => "LAST_ACK",
            Some(Phase::TimeWait) => "TIME_WAIT",
            Some(Phase::Close) => "CLOSE",
            Some(Phase::Open) if self.is_assured() => "STREAM",
            Some(Phase::Open) if self.is_replied() => "REPLIED",
            Some(Phase::Open) => "UNREPLIED",
            Some(Phase::SctpClosed) => "CLOSED",
            Some(Phase::SctpCookieWait) => "COOKIE_WAIT",
            Some(Phase::SctpCookieEchoed) => "COOKIE_ECHOED",
            Some(Phase::SctpShutdownSent) => "SHUTDOWN_SENT",
            Some(Phase::SctpShutdownRecd) => "SHUTDOWN_RECD",
            Some(Phase::SctpShutdownAckSent) => "SHUTDOWN_ACK_SENT",
            Some(Phase::SctpHeartbeatSent) => "HEARTBEAT_SENT",
            Some(Phase::Claimed) | None => "BUSY",
        }
    }
}
