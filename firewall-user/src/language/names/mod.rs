//! Names that stand for numbers: ports, protocols, ICMP types, flags, states, priorities, log levels.

mod protocols;
mod services;

/// Names and numbers of one kind. Of several names for a number the first one is printed.
pub type Names = &'static [(&'static str, u16)];

/// Ports.
pub const SERVICES: Names = services::SERVICES;
/// IP protocols.
pub const PROTOCOLS: Names = protocols::PROTOCOLS;

/// Protocols above Ethernet.
pub const ETHER_TYPES: Names =
    &[("ip", 0x0800), ("arp", 0x0806), ("ip6", 0x86dd), ("8021q", 0x8100), ("8021ad", 0x88a8), ("vlan", 0x8100)];

/// Network families (`NFPROTO_*`, `include/uapi/linux/netfilter.h`).
pub const NF_PROTOS: Names = &[("ipv4", 2), ("ipv6", 10)];

/// Differentiated services (RFC 2474, 2597, 3246, 5865, 8622), as nftables lists them.
#[rustfmt::skip]
pub const DSCPS: Names = &[
    ("cs0", 0x00), ("cs1", 0x08), ("cs2", 0x10), ("cs3", 0x18), ("cs4", 0x20), ("cs5", 0x28), ("cs6", 0x30), ("cs7", 0x38),
    ("df", 0x00), ("be", 0x00), ("lephb", 0x01), ("af11", 0x0a), ("af12", 0x0c), ("af13", 0x0e), ("af21", 0x12),
    ("af22", 0x14), ("af23", 0x16), ("af31", 0x1a), ("af32", 0x1c), ("af33", 0x1e), ("af41", 0x22), ("af42", 0x24),
    ("af43", 0x26), ("va", 0x2c), ("ef", 0x2e),
];

/// Explicit congestion notification (RFC 3168).
pub const ECNS: Names = &[("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)];

/// TCP flags, lowest bit first.
pub const TCP_FLAGS: Names = &[
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ecn", 0x40),
    ("cwr", 0x80),
];

/// Connection states: `NF_CT_STATE_BIT` of `enum ip_conntrack_info`
/// (`include/uapi/linux/netfilter/nf_conntrack_common.h`), in the order nftables prints them.
pub const CT_STATES: Names = &[("invalid", 1), ("established", 2), ("related", 4), ("new", 8), ("untracked", 64)];

/// Directions of a connection (`enum ip_conntrack_dir`, `include/uapi/linux/netfilter/nf_conntrack_tuple_common.h`).
pub const CT_DIRECTIONS: Names = &[("original", 0), ("reply", 1)];

/// What has been seen of a connection (`enum ip_conntrack_status`,
/// `include/uapi/linux/netfilter/nf_conntrack_common.h`).
pub const CT_STATUSES: Names = &[
    ("expected", 1),
    ("seen-reply", 2),
    ("assured", 4),
    ("confirmed", 8),
    ("snat", 0x10),
    ("dnat", 0x20),
    ("dying", 0x200),
];

/// Whom a frame is for (`include/uapi/linux/if_packet.h`).
pub const PACKET_TYPES: Names = &[("host", 0), ("unicast", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)];

/// Days of the week, as the kernel counts them.
pub const DAYS: Names =
    &[("Sunday", 0), ("Monday", 1), ("Tuesday", 2), ("Wednesday", 3), ("Thursday", 4), ("Friday", 5), ("Saturday", 6)];

/// ICMP types (RFC 792, 950, 1256).
pub const ICMP_TYPES: Names = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// ICMP codes: those of "destination unreachable" (RFC 792, 1812).
pub const ICMP_CODES: Names = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];

/// `icmpv6` types (RFC 4443, 4861, 2710, 3810, 2894, 3122).
pub const ICMPV6_TYPES: Names = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];

/// `icmpv6` codes: those of "destination unreachable" (RFC 4443).
pub const ICMPV6_CODES: Names = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];

/// Whether something is there.
pub const PRESENCES: Names = &[("missing", 0), ("exists", 1)];

/// DCCP packet types (RFC 4340 section 5.1).
pub const DCCP_TYPES: Names = &[
    ("request", 0),
    ("response", 1),
    ("data", 2),
    ("ack", 3),
    ("dataack", 4),
    ("closereq", 5),
    ("close", 6),
    ("reset", 7),
    ("sync", 8),
    ("syncack", 9),
];

/// IGMP types (RFC 1112, 2236, 3376).
pub const IGMP_TYPES: Names = &[
    ("membership-query", 0x11),
    ("membership-report-v1", 0x12),
    ("membership-report-v2", 0x16),
    ("membership-report-v3", 0x22),
    ("leave-group", 0x17),
];

/// ARP operations (RFC 826, 903, 2390, 1577).
pub const ARP_OPERATIONS: Names =
    &[("request", 1), ("reply", 2), ("rrequest", 3), ("rreply", 4), ("inrequest", 8), ("inreply", 9), ("nak", 10)];

/// Mobility header types (RFC 6275, 5568, 5096, 5142).
pub const MH_TYPES: Names = &[
    ("binding-refresh-request", 0),
    ("home-test-init", 1),
    ("careof-test-init", 2),
    ("home-test", 3),
    ("careof-test", 4),
    ("binding-update", 5),
    ("binding-acknowledgement", 6),
    ("binding-error", 7),
    ("fast-binding-update", 8),
    ("fast-binding-acknowledgement", 9),
    ("fast-binding-advertisement", 10),
    ("experimental-mobility-header", 11),
    ("home-agent-switch-message", 12),
];

/// What the routing table says an address is (`RTN_*`, `include/uapi/linux/rtnetlink.h`).
pub const FIB_TYPES: Names = &[
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];

/// Chain priorities by name (`enum nf_ip_hook_priorities`, `include/uapi/linux/netfilter_ipv4.h`).
pub const PRIORITIES: &[(&str, i32)] =
    &[("raw", -300), ("mangle", -150), ("dstnat", -100), ("filter", 0), ("security", 50), ("srcnat", 100)];

/// Log levels; `warn` is what `log` alone means. `audit` is another thing altogether: it feeds the audit daemon.
pub const LOG_LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

/// The number of a name.
pub fn number(names: Names, name: &str) -> Option<u16> {
    names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of a number.
pub fn name(names: Names, number: u128) -> Option<&'static str> {
    names.iter().find(|(_, known)| u128::from(*known) == number).map(|(name, _)| *name)
}

/// The known word nearest to `word`, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 32 {
        return None;
    }
    let limit = if word.len() < 4 { 1 } else { 2 };
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, a swap of neighbours counted as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
