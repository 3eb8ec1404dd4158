//! The kernel's parameters for answers to refused packets.

use std::fs;

use firewall_common::answer::Answering;

/// What they are in this network namespace; what cannot be read is what the kernel starts with.
pub(super) fn here() -> Answering {
    let Answering { ttl, hop_limit, icmp_interval, icmp6_interval, spacing, burst } = Answering::DEFAULT;
    let per_second = parameter("ipv4/icmp_msgs_per_sec").map(|number| 1_000_000_000 / number.max(1));
    Answering {
        ttl: parameter("ipv4/ip_default_ttl").unwrap_or(ttl),
        hop_limit: parameter("ipv6/conf/default/hop_limit").unwrap_or(hop_limit),
        icmp_interval: parameter("ipv4/icmp_ratelimit").unwrap_or(icmp_interval),
        icmp6_interval: parameter("ipv6/icmp/ratelimit").map_or(icmp6_interval, |interval| interval / 4),
        spacing: per_second.unwrap_or(spacing),
        burst: parameter("ipv4/icmp_msgs_burst").unwrap_or(burst),
    }
}

fn parameter(name: &str) -> Option<u32> {
    fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().parse().ok()
}
