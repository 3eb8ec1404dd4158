//! Every maximum, with the reason for its value.

/// VLAN tags that are looked behind: one 802.1Q tag inside one 802.1ad tag (IEEE 802.1ad-2005). A third tag makes the
/// packet a "too many tags" drop, so that tags can never carry a packet past the rules.
pub const MAX_VLAN_TAGS: usize = 2;

/// IPv6 extension headers that are walked before the upper-layer header is given up on.
///
/// RFC 8200 section 4.1 lists six kinds that may each appear once (destination options twice): seven in all, eight
/// leaves one to spare. The verifier unrolls the walk, so the bound must be small.
pub const MAX_IPV6_EXTENSIONS: usize = 8;

/// Rule instructions that one packet may run through before it is dropped with
/// [`crate::verdict::Reason::RulesetTooLong`].
///
/// `bpf_loop` allows at most 1 << 23 iterations (`BPF_MAX_LOOPS`, `kernel/bpf/bpf_iter.c`, Linux 5.17); the compiler of
/// rulesets refuses what could exceed this.
pub const MAX_STEPS: u32 = 1 << 20;

/// Halvings of a binary search in an interval set: 2^20 intervals.
pub const MAX_SET_STEPS: u32 = 20;

/// Interfaces an instance can be attached to; each has a block of per-CPU counters of 2 KiB.
pub const MAX_INTERFACES: u32 = 256;

/// Interface indexes that are found by one array lookup; a larger index (a host that made and removed 65,536
/// interfaces since boot) is refused when attaching.
pub const MAX_IFINDEX: u32 = 65_536;

/// Rule counters of an instance, over all generations that are alive. 16 bytes a counter and CPU.
pub const MAX_RULE_COUNTERS: u32 = 131_072;

/// States of limits and quotas of an instance, over all generations that are alive. 8 bytes each.
pub const MAX_CELLS: u32 = 65_536;

/// Length of an interface name with its terminating zero (`IFNAMSIZ`, include/uapi/linux/if.h).
pub const IFNAMSIZ: usize = 16;

/// Bytes of a log prefix that an event carries: nftables accepts 127 characters (`NF_LOG_PREFIXLEN` is 128); the text
/// stays in user space, events carry the rule's number.
pub const MAX_LOG_PREFIX: usize = 127;

/// Entries in the leaves of all trees: 64 MiB of IPv4 entries, 128 MiB of IPv6 ones. One family at one hook takes at most
/// half: its trees are given that much and no more.
pub const MAX_LEAF_ENTRIES: usize = 1 << 20;
