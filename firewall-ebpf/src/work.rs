//! What the stages of one packet tell each other.

use firewall_common::{
    addresses::Question,
    checks,
    conntrack::{
        Scan, Tracked,
        sctp::{Chunks, Walk},
    },
    eval::Cursor,
    flow::FlowKey,
    fragment::Pieces,
    nat::Ends,
    packet::Packet,
    read,
    table::Entry,
};

use crate::{nat::Change, sets::Gathered};

/// Connections that may make room for one: a translated one has up to three places; a power of two.
pub const GONE: usize = 4;

/// The state of one packet on its way through the pipeline: a per-CPU map value, because the stack is 512 bytes and
/// because the verifier forgets what is stored in a map, which keeps its work small.
///
/// XDP and tc have one each, as no program interrupts another one of its kind on its CPU.
#[repr(C)]
pub struct Work {
    /// The packet as parsed.
    pub packet: Packet,
    /// What is gathered for sets.
    pub sets: Gathered,
    /// Key of its connection.
    pub key: FlowKey,
    /// Hash of the key.
    pub hash: u64,
    /// Now, `CLOCK_MONOTONIC` ns.
    pub now_ns: u64,
    /// Slot word of the connection's entry, when it was found.
    pub slot: u64,
    /// For numbers that the verifier shall forget about.
    pub scratch: u64,
    /// What a TCP segment's flags say about its connection, [`firewall_common::conntrack::Change::word`].
    pub change: u64,
    /// A connection of which [`crate::conntrack`] judges a segment's numbers.
    pub tracked: Tracked,
    /// Now, ticks.
    pub tick: u32,
    /// Where the interface's counters and name are: index into the interface maps.
    pub interface: u32,
    /// Is the source of the packet the higher end of the key? 0 or 1.
    pub source_is_high: u32,
    /// Bucket the connection was found in.
    pub bucket: u32,
    /// Place within the bucket, from 1; 0 when it was not found.
    pub place: u32,
    /// State a new connection will be entered with if the packet is accepted; 0 for none.
    pub pending: u32,
    /// Lifetime of that new connection, a number of [`firewall_common::conntrack::Timeout`].
    pub pending_timeout: u32,
    /// The connection that an ICMP error quotes a packet of: its place in the bucket, from 1; 0 for none.
    pub quoted: u32,
    /// Where the upper layer of that packet is, and which one it is.
    pub quoted_upper: u32,
    /// As above.
    pub quoted_protocol: u32,
    /// The packet's mark, before the rules.
    pub mark: u32,
    /// Its connection's mark, before the rules.
    pub ct_mark: u32,
    /// The hook ([`firewall_common::image::Hook`]) whose rules the packet meets; before that, the first one of its way.
    pub hook: u32,
    /// The part of the hook, [`firewall_common::image::Part`].
    pub part: u32,
    /// What became of it: [`firewall_common::verdict::Reason`] as a number, 0 for passed.
    pub outcome: u32,
    /// The place of its source in the drop ledger.
    pub choice: u32,
    /// Where it stands in them.
    pub cursor: Cursor,
    /// Whose work it is, [`crate::pipeline::Path`].
    pub path: u32,
    /// Key of the first entry of a translated connection.
    pub first_key: FlowKey,
    /// Did the packet come from the higher end of it? 0 or 1.
    pub first_from_high: u32,
    /// Both ends as the connection's own packets have them, and as those have them that were translated.
    pub original: Ends,
    /// As above.
    pub translated: Ends,
    /// What is known of the packet's translation, see [`crate::nat`].
    pub nat: u32,
    /// How the source is translated: flags and ports of the statement.
    pub nat_flags: u32,
    /// As above.
    pub nat_ports: u32,
    /// Where the first entry of a translated connection is, and the alias of its answers.
    pub first_bucket: u32,
    /// As above.
    pub first_place: u32,
    /// As above.
    pub alias_bucket: u32,
    /// As above.
    pub alias_place: u32,
    /// What an entry points to that is entered now.
    pub partner: [u32; 2],
    /// Is it an alias? One more than its kind.
    pub alias: u32,
    /// Ports tried, and from which on.
    pub tried: u32,
    /// As above.
    pub random: u32,
    /// Was the connection entered, see [`crate::nat`].
    pub entered: u32,
    /// What is to be written into the packet: its destination, its source.
    pub changes: [Change; 2],
    /// Which of them is written now.
    pub writing: u32,
    /// The interface that the packet leaves by for its translated destination, 0 for where it is.
    pub detour: u32,
    /// The interface that it leaves by as postrouting sees it, 0 for where it is.
    pub leaves_by: u32,
    /// Does the packet leave the firewall without a connection, whatever was said of it? 0 or 1.
    pub left: u32,
    /// How far a SYN's options were read.
    pub scan: Scan,
    /// Does the packet leave from where it came in, so that both of its ends are written there? 0 or 1. Not beside [`Self::left`]: there
    /// an established packet takes 9 ns longer (`cargo xtask bench program`; why was not found).
    pub leaves: u32,
    /// Under which key fragments of the packet are kept.
    pub fragment_key: [u64; 5],
    /// What is kept of a first fragment.
    pub pieces: Pieces,
    /// Chunks of an SCTP packet.
    pub chunks: Chunks,
    /// What is known of its association.
    pub walk: Walk,
    /// What a rule asks the routing table.
    pub way_back: aya_ebpf::bindings::bpf_fib_lookup,
    /// What it asks about an address.
    pub question: Question,
    /// Bytes that a rule asks for, see [`firewall_common::read`].
    pub scanned: read::Scan,
    /// What a first segment is answered with.
    pub cookie: u32,
    /// And the largest segment that its sender is told of.
    pub segment_size: u32,
    /// What is known of the packet's part in a flood, see [`crate::flood`].
    pub flood: u32,
    /// Has a flood begun or ended? Zero, or the kind of event.
    pub turn: u32,
    /// Its TCP flags, while they are not those that rules see.
    pub flags: u32,
    /// When the connection was begun that the packet completed, ticks.
    pub completed: u32,
    /// An IPv4 header, zeros behind it.
    pub header: [u8; checks::HEADER],
    /// A walk over its options.
    pub options: checks::Options,
    /// How far the bytes under its checksum were added up.
    pub summing: checks::Summing,
    /// Is it one of the packets that somebody watches? 0 or 1; meaningful in programs that explain.
    pub watched: u32,
    /// What an event about a flood says, see [`crate::emit::flood`].
    pub numbers: [u64; 4],
    /// As above.
    pub told_reason: u32,
    /// Connections whose places a new one took, see [`crate::emit::keep_gone`].
    pub gone: [Entry; GONE],
    /// The words of their places.
    pub gone_words: [u64; GONE],
    /// How many they are.
    pub gone_count: u32,
    /// What a SYN offers, [`firewall_common::conntrack::Terms`] as a number.
    pub offer: u32,
}

impl Work {
    /// Forgets the packet before.
    #[inline(always)]
    pub fn begin(&mut self, now_ns: u64, tick: u32, interface: u32) {
        self.now_ns = now_ns;
        self.tick = tick;
        self.interface = interface;
        self.place = 0;
        self.pending = 0;
        self.quoted = 0;
        self.left = 0;
        self.leaves = 0;
        self.nat = 0;
        self.changes[0].how = 0;
        self.changes[1].how = 0;
        self.detour = 0;
        self.leaves_by = 0;
        self.alias = 0;
        self.partner = [0; 2];
        self.cursor.rule = firewall_common::image::NO_RULE;
    }
}
