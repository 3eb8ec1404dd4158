//! IPv4 options, all of them: one that is malformed makes the kernel find none (`ipv4_find_option`,
//! `net/netfilter/nft_exthdr.c`; `__ip_options_compile`, `net/ipv4/ip_options.c`, Linux 6.18).

use super::Scan;

const END: u32 = 0;
const NO_OPERATION: u32 = 1;
const RECORD_ROUTE: u32 = 7;
const TIMESTAMP: u32 = 68;
const LOOSE_SOURCE_ROUTE: u32 = 131;
const SECURITY_LABEL: u32 = 134;
const STRICT_SOURCE_ROUTE: u32 = 137;
const ROUTER_ALERT: u32 = 148;

/// [`Scan::seen`]
const SEEN_TIMESTAMP: u32 = 1;
const SEEN_LABEL: u32 = 2;
const SEEN_STRICT: u32 = 4;

/// Looks at one option; `false` when the walk is over.
#[inline(always)]
pub(super) fn step_ip_option(scan: &mut Scan) -> bool {
    let at = scan.at;
    if at >= scan.end || scan.byte(at) == END {
        return done(scan);
    }
    if scan.byte(at) == NO_OPERATION {
        scan.at = at + 1;
        return true;
    }
    let (left, length) = (scan.end - at, scan.byte(at + 1));
    if left < 2 || length < 2 || length > left || !is_right(scan, at, length) {
        return scan.finish(false, 0);
    }
    scan.at = at + length;
    true
}

/// What was looked for, once all options are known to be right.
#[inline(always)]
fn done(scan: &mut Scan) -> bool {
    let (options, wanted) = (scan.place, scan.wanted);
    let is_strict = scan.seen & SEEN_STRICT != 0;
    if wanted == RECORD_ROUTE {
        scan.finish(scan.record_route != 0, options.wrapping_add(scan.record_route.wrapping_sub(1)))
    } else if wanted == ROUTER_ALERT {
        scan.finish(scan.alert != 0, options.wrapping_add(scan.alert.wrapping_sub(1)))
    } else {
        let is_it = scan.source_route != 0 && is_strict == (wanted == STRICT_SOURCE_ROUTE);
        scan.finish(is_it, options.wrapping_add(scan.source_route.wrapping_sub(1)))
    }
}

/// Is the option right? Takes note of it.
#[inline(always)]
fn is_right(scan: &mut Scan, at: u32, length: u32) -> bool {
    let kind = scan.byte(at);
    let pointer = scan.byte(at + 2);
    if kind == STRICT_SOURCE_ROUTE || kind == LOOSE_SOURCE_ROUTE {
        let is_right = scan.source_route == 0 && length >= 7 && pointer == 4 && length % 4 == 3;
        scan.source_route = at + 1;
        if kind == STRICT_SOURCE_ROUTE {
            scan.seen |= SEEN_STRICT;
        }
        return is_right;
    }
    if kind == RECORD_ROUTE {
        let is_right = scan.record_route == 0 && length >= 3 && pointer >= 4;
        scan.record_route = at + 1;
        return is_right && (pointer > length || pointer + 3 <= length);
    }
    if kind == TIMESTAMP {
        return is_timestamp(scan, at, length);
    }
    if kind == ROUTER_ALERT {
        if length >= 4 && scan.be16(at + 2) == 0 {
            scan.alert = at + 1;
        }
        return length >= 4;
    }
    if kind == SECURITY_LABEL {
        let is_first = scan.seen & SEEN_LABEL == 0;
        scan.seen |= SEEN_LABEL;
        return is_first;
    }
    true
}

#[inline(always)]
fn is_timestamp(scan: &mut Scan, at: u32, length: u32) -> bool {
    let (pointer, flags) = (scan.byte(at + 2), scan.byte(at + 3));
    let is_first = scan.seen & SEEN_TIMESTAMP == 0;
    scan.seen |= SEEN_TIMESTAMP;
    if !is_first || length < 4 || pointer < 5 {
        return false;
    }
    let (with_address, prescribed) = (flags & 0xf == 1, flags & 0xf == 3);
    if pointer > length {
        return prescribed || flags >> 4 != 15;
    }
    let room = if with_address || prescribed { 7 } else { 3 };
    pointer + room <= length
}
