//! What happens to a packet, and the one reason a dropped one was dropped for.

/// The layer a packet was refused at, in the user's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Ethernet and VLAN tags.
    Link,
    /// IPv4, IPv6, ARP.
    Network,
    /// TCP, UDP, ICMP.
    Transport,
    /// The ruleset: the packet was well-formed and was refused on purpose.
    Ruleset,
    /// rampart itself: a table was full, a bound was met.
    Internal,
}

impl Layer {
    /// The word used in output and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Network => "network",
            Self::Transport => "transport",
            Self::Ruleset => "ruleset",
            Self::Internal => "internal",
        }
    }
}

/// Declares the drop reasons once: number, name, layer and meaning, so that counters, events, metrics and
/// documentation cannot disagree.
macro_rules! reasons {
    ($($variant:ident = $number:literal, $name:literal, $layer:ident, $meaning:literal;)+) => {
        /// Why a packet was dropped. A number is never reused and never renumbered; [`Reason::None`] is "it was not".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason {
            /// Not dropped.
            None = 0,
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Reason {
            /// Every reason to drop, in number order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason of a number that came from the kernel.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    0 => Some(Self::None),
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The word used in output and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$variant => $name,)+
                }
            }

            /// Where the packet was refused.
            pub const fn layer(self) -> Layer {
                match self {
                    Self::None => Layer::Ruleset,
                    $(Self::$variant => Layer::$layer,)+
                }
            }

            /// One sentence for a person.
            pub const fn meaning(self) -> &'static str {
                match self {
                    Self::None => "not dropped",
                    $(Self::$variant => $meaning,)+
                }
            }
        }
    };
}

reasons! {
    Rule = 1, "rule", Ruleset, "a rule said drop";
    Policy = 2, "policy", Ruleset, "no rule decided and the chain's policy is drop";
    TableFull = 3, "conntrack_table_full", Internal, "the place in the state table for a new connection is taken by established ones";
    RulesetTooLong = 4, "ruleset_too_long", Internal, "the packet met more rule instructions than a packet may";
    NoGeneration = 5, "no_generation", Internal, "no ruleset is loaded behind the attached program";
    Internal = 6, "internal_error", Internal, "the program met a state that should not exist";
    EthernetTruncated = 10, "ethernet_truncated", Link, "the frame ends inside the Ethernet header";
    VlanTruncated = 11, "vlan_truncated", Link, "the frame ends inside a VLAN tag";
    VlanTooManyTags = 12, "vlan_too_many_tags", Link, "more than two VLAN tags";
    ArpTruncated = 20, "arp_truncated", Network, "the frame ends inside the ARP header";
    Ipv4Truncated = 30, "ipv4_truncated", Network, "the frame ends inside the IPv4 header";
    Ipv4Version = 31, "ipv4_version", Network, "EtherType IPv4 but the version field is not 4";
    Ipv4HeaderLength = 32, "ipv4_header_length", Network, "IHL below 5: the header would be shorter than its fixed part";
    Ipv4TotalLength = 33, "ipv4_total_length", Network, "the total length is below the header's or beyond the frame's end";
    Ipv4FragmentOverrun = 34, "ipv4_fragment_overrun", Network, "the fragment ends beyond 65,535 bytes";
    Ipv6Truncated = 40, "ipv6_truncated", Network, "the frame ends inside the IPv6 header or an extension header";
    Ipv6Version = 41, "ipv6_version", Network, "EtherType IPv6 but the version field is not 6";
    Ipv6PayloadLength = 42, "ipv6_payload_length", Network, "the payload length is beyond the frame's end";
    Ipv6TooManyExtensions = 43, "ipv6_too_many_extensions", Network, "more than eight IPv6 extension headers";
    FragmentTiny = 44, "fragment_tiny", Network, "the first fragment ends inside the layer-4 header, or a later one would overwrite it (RFC 3128)";
    FibUnanswered = 45, "fib_unanswered", Internal, "a rule asks for the way back and the routing table does not answer: forwarding of `lo` was turned off, or the way is a tunnel's";
    Ipv4Checksum = 46, "ipv4_checksum", Network, "the checksum of the IPv4 header is wrong (setting `ip_checksum`)";
    Land = 47, "land", Network, "its source is its destination (setting `land`)";
    SourceRoute = 48, "source_route", Network, "its options say by which routers it goes: LSRR, SSRR, IPv6 routing type 0 (setting `source_route`)";
    Martian = 49, "martian", Network, "an address that no packet on a wire has, such as 127.0.0.1 or a multicast source (setting `martians`)";
    FragmentOverlap = 50, "fragment_overlap", Network, "a fragment with bytes that an earlier one of its packet had, or one behind such a one (RFC 5722)";
    FragmentScattered = 51, "fragment_scattered", Network, "the fragments of its packet come in too wild an order: more than eight pieces with gaps between them";
    TcpTruncated = 60, "tcp_truncated", Transport, "the packet ends inside the TCP header";
    TcpDataOffset = 61, "tcp_data_offset", Transport, "the TCP data offset is below 5 or beyond the packet's end";
    TcpFlags = 62, "tcp_flags", Transport, "TCP flags that no segment has, such as none, SYN and FIN (setting `tcp_flags`)";
    UdpTruncated = 70, "udp_truncated", Transport, "the packet ends inside the UDP header";
    UdpLength = 71, "udp_length", Transport, "the UDP length is below 8 or beyond the packet's end";
    IcmpTruncated = 80, "icmp_truncated", Transport, "the packet ends inside the ICMP header";
    Icmpv6Truncated = 81, "icmpv6_truncated", Transport, "the packet ends inside the ICMPv6 header";
    SctpTruncated = 82, "sctp_truncated", Transport, "the packet ends inside the SCTP common header";
    NatClash = 90, "nat_clash", Internal, "the packet's addresses and ports are those of a translated connection it does not belong to";
    NatNoAddress = 91, "nat_no_address", Internal, "masquerade or redirect, and this host has no address there, or not any more that of the connection, which has ended";
    NatExhausted = 92, "nat_exhausted", Internal, "no port was free for a translated connection";
    NatUnwritable = 93, "nat_unwritable", Internal, "the packet's addresses could not be written";
    NatFragment = 94, "nat_fragment", Internal, "a fragment of a packet whose addresses are translated";
    NatOwnAddress = 95, "nat_own_address", Internal, "with its translated address the packet, or its answer, would have both ends at this host, which the stack refuses";
    NatNoRoute = 96, "nat_no_route", Internal, "a packet made here, and there is no route to its translated destination";
    Rejected = 100, "rejected", Ruleset, "a rule refused it, and its sender is told as far as senders are";
    Banned = 102, "banned", Ruleset, "its source is banned for a time (`rampart bans`)";
    SynAnswered = 103, "syn_answered", Ruleset, "the first segment of a connection was answered with a SYN cookie (`synproxy`)";
    CookieWrong = 104, "cookie_wrong", Ruleset, "it does not bring back a SYN cookie that was sent (`synproxy`)";
    OwnAddress = 105, "own_address", Network, "it came in with an address of this host as its source (setting `own_addresses`)";
    UpperChecksum = 106, "upper_checksum", Transport, "the checksum of TCP, UDP, ICMP or ICMPv6 is wrong (setting `checksums`)";
}

/// One more than the highest reason number: the size of tables indexed by reason.
pub const REASONS: usize = 128;

const _: () = {
    let mut at = 0;
    while at < Reason::ALL.len() {
        assert!((Reason::ALL[at] as usize) < REASONS);
        at += 1;
    }
};

/// What is decided about a packet: the number of the reason to drop it, 0 to let it pass. One function in the eBPF
/// crate turns it into the kernel's code; a verdict that is not used is a compile error.
///
/// A number and not an enumeration, because it is stored and read back on its way: the verifier would otherwise follow
/// every reason separately to the end of the program.
#[must_use = "a verdict that is not acted on lets the packet pass"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Verdict(u32);

impl Verdict {
    /// The packet goes on to the network stack, or out of the interface.
    pub const PASS: Self = Self(Reason::None as u32);

    /// The packet ends here.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self(reason as u32)
    }

    /// The packet is dropped, and what is in its place by now is sent to its sender.
    #[inline(always)]
    pub const fn answered(self) -> Self {
        Self(self.0 | Self::ANSWERED)
    }

    /// The packet leaves by another interface, past the stack. The lower bits are where it is counted.
    pub const REDIRECTED: Self = Self(1 << 30 | crate::counter::REDIRECTED as u32);

    /// Is it [`Verdict::REDIRECTED`]?
    #[inline(always)]
    pub const fn is_redirected(self) -> bool {
        self.0 == Self::REDIRECTED.0
    }

    /// Is something sent in its place?
    #[inline(always)]
    pub const fn is_answered(self) -> bool {
        self.0 & Self::ANSWERED != 0
    }

    const ANSWERED: u32 = 1 << 31;

    /// A verdict that was stored as its number.
    #[inline(always)]
    pub const fn stored(number: u32) -> Self {
        Self(number)
    }

    /// The number of the reason, 0 for [`Verdict::PASS`].
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Does the packet go on?
    #[inline(always)]
    pub const fn is_pass(self) -> bool {
        self.0 == Self::PASS.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_order_are_unique() {
        for pair in Reason::ALL.windows(2) {
            assert!((pair[0] as u32) < pair[1] as u32, "{pair:?} out of order");
        }
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(*reason as u32), Some(*reason));
            assert!(Reason::ALL[index + 1..].iter().all(|other| other.name() != reason.name()), "{reason:?}");
        }
        assert_eq!(Reason::from_number(9), None);
    }
}
