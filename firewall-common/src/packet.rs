//! A parsed packet, as the words that rules are tested against.
//!
//! A rule test is "this word, masked, lies in this range", so everything a rule can ask about is stored once, by the
//! parser, as 32-bit words in host byte order: comparing them as numbers orders them as an administrator would.
//! Values that only mean something together with their protocol carry it in their upper bits: a destination port is
//! `protocol << 16 | port`, so `tcp dport 22` is one test and never matches UDP, and a packet without ports (a later
//! fragment, say) holds [`NO_L4`], which no protocol equals.

/// Words in a [`Packet`]; a power of two so that the verifier sees `index & (WORDS - 1)` as in bounds.
pub const WORDS: usize = 64;

/// Upper half of a word that belongs to a layer-4 header which the packet does not have. No IP protocol number
/// reaches it: they are 8 bits wide.
pub const NO_L4: u32 = 0xffff_0000;

/// Set in [`Field::L4Header`] when the layer-4 header is there: not in a later fragment, not cut short.
pub const L4_PRESENT: u32 = 0x100;

/// What a rule can test: an index into [`Packet::words`].
///
/// The numbers are part of the image format, see [`crate::abi::ABI_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// Always zero: a test of it always passes (or, negated, never).
    Zero = 0,
    /// Network family as nftables counts it (`NFPROTO_IPV4` 2, `NFPROTO_IPV6` 10; 0 for anything else).
    NfProto = 1,
    /// Upper-layer protocol number, after IPv6 extension headers.
    L4Proto = 2,
    /// Upper-layer protocol number, with [`L4_PRESENT`] when its header can be read. What a rule such as
    /// `tcp dport != 22` depends on.
    L4Header = 3,
    /// Source address: IPv4 in the first word, IPv6 in this and the next three, most significant first.
    SourceAddress = 4,
    /// Destination address, stored like the source.
    DestinationAddress = 8,
    /// `protocol << 16 | source port`, or [`NO_L4`].
    SourcePort = 12,
    /// `protocol << 16 | destination port`, or [`NO_L4`].
    DestinationPort = 13,
    /// `protocol << 16 | type << 8 | code` of ICMP or ICMPv6, or [`NO_L4`].
    IcmpType = 14,
    /// One bit: the packet's conntrack state, [`crate::conntrack::CtState`].
    CtState = 15,
    /// Interface index the packet came in by, 0 for packets made here.
    IifIndex = 16,
    /// Interface index the packet leaves by, 0 when it is for this host.
    OifIndex = 17,
    /// Name of the incoming interface: 16 bytes, zero-filled, big-endian words; all zero when there is none.
    IifName = 18,
    /// Name of the outgoing interface, stored like the incoming one.
    OifName = 22,
    /// `protocol << 16 | TCP flags` (low 8 bits: CWR ECE URG ACK PSH RST SYN FIN), or [`NO_L4`].
    TcpFlags = 26,
    /// Length of the packet from the network header on, bytes (`meta length`).
    Length = 27,
    /// Fragmentation: [`FRAGMENT_MORE`], [`FRAGMENT_LATER`].
    Fragment = 28,
    /// Packet mark.
    Mark = 29,
    /// Connection mark.
    CtMark = 30,
    /// EtherType behind any VLAN tags.
    EtherType = 31,
    /// [`VLAN_TAGGED`] and the TCI of the outermost VLAN tag, if there is one; [`LINK_ETHERNET`].
    Vlan = 32,
    /// Time to live, or hop limit.
    Ttl = 33,
    /// Type of service, or traffic class: DSCP in bits 2 to 7.
    Tos = 34,
    /// Hardware address of the receiver: four bytes in this word, two in the upper half of the next one, whose lower
    /// half is not for looking at. Only with [`LINK_ETHERNET`].
    EtherDestination = 35,
    /// Hardware address of the sender, likewise; the lower half of the second word is the EtherType.
    EtherSource = 37,
    /// The second word of [`Field::EtherSource`], for its lower half: the EtherType in front of any VLAN tags.
    OuterEtherType = 38,
    /// The EtherType behind the outermost VLAN tag. Only with [`VLAN_TAGGED`].
    VlanType = 39,
    /// The first four bytes of an IPv4 or IPv6 header.
    NetworkHeader = 40,
    /// The next four bytes.
    NetworkHeaderNext = 41,
    /// Bytes 4 to 7 of a TCP, UDP, ICMP or ICMPv6 header. Only with [`L4_PRESENT`].
    TransportHeader = 42,
    /// Bytes 8 to 11 of a TCP header: acknowledgement number.
    TcpAck = 43,
    /// Bytes 12 to 15 of a TCP header: data offset, flags, window.
    TcpWindow = 44,
    /// Bytes 16 to 19 of a TCP header: checksum, urgent pointer.
    TcpUrgent = 45,
    /// The packet's priority, a traffic class.
    Priority = 46,
    /// Conntrack zone of the interface it crosses.
    CtZone = 52,
    /// The translation that a rule of a nat chain asked for: number of its instruction plus 1, or 0. Not for rules.
    Nat = 54,
    /// [`REGISTERS`] words for what a rule computes: see [`crate::image::Op::Compute`]. They mean something only within
    /// the rule that fills them.
    ///
    /// A value of up to 32 bits is one word. A longer one is four, with its first bits first and zeros behind it, as the
    /// tests of 128 bits want it.
    Register = 56,
    /// The next one.
    Register1 = 57,
    /// The next one.
    Register2 = 58,
    /// The next one.
    Register3 = 59,
    /// The next one.
    Register4 = 60,
    /// The next one.
    Register5 = 61,
    /// The next one.
    Register6 = 62,
    /// The next one.
    Register7 = 63,
}

impl Field {
    /// Register `index`.
    pub const fn register(index: usize) -> Self {
        [
            Self::Register,
            Self::Register1,
            Self::Register2,
            Self::Register3,
            Self::Register4,
            Self::Register5,
            Self::Register6,
            Self::Register7,
        ][index & (REGISTERS - 1)]
    }
}

/// Words from [`Field::Register`] on.
pub const REGISTERS: usize = 8;

/// [`Field::Vlan`]: there is a VLAN tag.
pub const VLAN_TAGGED: u32 = 1 << 16;
/// [`Field::Vlan`]: the frame has an Ethernet header.
pub const LINK_ETHERNET: u32 = 1 << 17;

/// [`Field::Fragment`]: more fragments follow.
pub const FRAGMENT_MORE: u32 = 1;
/// [`Field::Fragment`]: not the first fragment, so there is no layer-4 header.
pub const FRAGMENT_LATER: u32 = 2;

/// `NFPROTO_IPV4` (include/uapi/linux/netfilter.h).
pub const NFPROTO_IPV4: u32 = 2;
/// `NFPROTO_IPV6` (include/uapi/linux/netfilter.h).
pub const NFPROTO_IPV6: u32 = 10;

/// A packet as parsed, in host byte order, with what the later stages need beside the words.
///
/// It lives in a per-CPU map value, not on the 512-byte stack; what is read back from there is an unknown number to
/// the verifier, so the paths through the parser become one path again behind it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Packet {
    /// What rules are tested against, see [`Field`].
    pub words: [u32; WORDS],
    /// Offset of the network header from the start of the frame, bytes.
    pub l3_offset: u32,
    /// Offset of the upper-layer header from the start of the frame, bytes; 0 when there is none.
    pub l4_offset: u32,
    /// Length of the frame, bytes.
    pub frame_length: u32,
    /// Length of what follows the network headers, bytes: upper-layer header and payload.
    pub l4_length: u32,
    /// Length of the upper-layer payload, bytes: what a TCP segment carries.
    pub payload_length: u32,
    /// TCP sequence number.
    pub tcp_seq: u32,
    /// TCP acknowledgement number.
    pub tcp_ack: u32,
    /// TCP window, unscaled.
    pub tcp_window: u32,
    /// ICMP echo identifier.
    pub icmp_id: u32,
    /// IP identification of a fragment (IPv4: 16 bits, IPv6: 32 bits).
    pub fragment_id: u32,
    /// Fragment offset, bytes.
    pub fragment_offset: u32,
}

impl Packet {
    /// A packet of which nothing is known yet.
    pub const EMPTY: Self = Self {
        words: [0; WORDS],
        l3_offset: 0,
        l4_offset: 0,
        frame_length: 0,
        l4_length: 0,
        payload_length: 0,
        tcp_seq: 0,
        tcp_ack: 0,
        tcp_window: 0,
        icmp_id: 0,
        fragment_id: 0,
        fragment_offset: 0,
    };

    /// Index of the interface that the packet is at: where it comes in (`leaves` is false) or leaves. What is forwarded has both
    /// where it comes in.
    #[inline(always)]
    pub fn interface(&self, leaves: bool) -> u32 {
        self.get(if leaves { Field::OifIndex } else { Field::IifIndex })
    }

    /// The word of `field` (the first one of a field of several).
    #[inline(always)]
    pub fn get(&self, field: Field) -> u32 {
        self.words[field as usize & (WORDS - 1)]
    }

    /// Stores the word of `field`.
    #[inline(always)]
    pub fn set(&mut self, field: Field, value: u32) {
        self.words[field as usize & (WORDS - 1)] = value;
    }

    /// Word `index` of a field of several words.
    #[inline(always)]
    pub fn get_at(&self, field: Field, index: usize) -> u32 {
        self.words[(field as usize + index) & (WORDS - 1)]
    }

    /// Stores word `index` of a field of several words.
    #[inline(always)]
    pub fn set_at(&mut self, field: Field, index: usize, value: u32) {
        self.words[(field as usize + index) & (WORDS - 1)] = value;
    }
}

crate::shared!(Packet = 4 * WORDS + 44);
