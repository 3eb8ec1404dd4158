//! What became of fragmented packets behind rampart: it judges each fragment, the kernel puts packets together.

use std::fs;

/// Counters of the network namespace that this thread is in.
const V4: &str = "/proc/thread-self/net/snmp";
const V6: &str = "/proc/thread-self/net/snmp6";

/// Packets that were given up because some fragment never came (`IPSTATS_MIB_REASMTIMEOUT`, counted by `ip_expire` and
/// `ip6frag_expire_frag_queue`), both families, since the namespace was made.
pub fn never_completed() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    of_columns(&read(V4), "Ip:", "ReasmTimeout") + of_lines(&read(V6), "Ip6ReasmTimeout")
}

/// A number of `snmp`: each protocol has a line of names and one of numbers.
fn of_columns(text: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let found = names.split_whitespace().zip(numbers.split_whitespace()).find(|(found, _)| *found == name);
    found.and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// A number of `snmp6`: one line each.
fn of_lines(text: &str, name: &str) -> u64 {
    let found = text.lines().filter_map(|line| line.split_once(char::is_whitespace)).find(|(found, _)| *found == name);
    found.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let snmp = "Ip: Forwarding DefaultTTL ReasmTimeout ReasmReqds\nIp: 1 64 7 9\nIcmp: InMsgs\nIcmp: 3\n";
        assert_eq!(of_columns(snmp, "Ip:", "ReasmTimeout"), 7);
        assert_eq!(of_columns(snmp, "Ip:", "ReasmOKs"), 0);
        assert_eq!(of_lines("Ip6InReceives   \t5\nIp6ReasmTimeout   \t3\n", "Ip6ReasmTimeout"), 3);
        assert_eq!(of_lines("", "Ip6ReasmTimeout"), 0);
    }
}
