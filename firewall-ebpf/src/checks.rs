//! What a setting says is wrong with packets, see [`firewall_common::checks`].

use core::ffi::c_void;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use firewall_common::{
    bytes::HeaderBytes,
    checks::{self, CHECKSUMS, HEADER, IP_CHECKSUM, OWN_ADDRESSES, Options, READING, SOURCE_ROUTE},
    packet::{Field, NFPROTO_IPV4},
    verdict::{Reason, Verdict},
    wire::{
        ipv4,
        ipv6::{self, UNIT},
    },
};

use crate::{
    addresses,
    answer::Rewrite,
    checksum, maps,
    packet::{Frame, TcFrame, XdpFrame},
    verifier::{self, forget, opaque},
    work::Work,
};

/// Drops what is wrong.
#[inline(always)]
pub fn run<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    let checks = maps::CHECKS.load();
    if checks == 0 || work.packet.get(Field::NfProto) == 0 {
        return Verdict::PASS;
    }
    work.outcome = checks::packet(&work.packet, checks);
    // Read back: one way to the end for all that can be wrong.
    if forget(&work.outcome) == 0 && checks & READING != 0 {
        work.outcome = frame.check(work.path);
    }
    Verdict::stored(forget(&work.outcome))
}

/// What must be read for it, as a function that the verifier looks at once, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn check_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    check::<XdpFrame>(context.cast(), path)
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn check_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    check::<TcFrame>(context.cast(), path)
}

#[inline(always)]
fn check<F: Rewrite>(context: *mut c_void, path: u32) -> u32 {
    let Some(work) = maps::work_of(path) else { return Reason::Internal as u32 };
    let checks = maps::CHECKS.load();
    if checks & OWN_ADDRESSES != 0 && addresses::is_own_source(work) {
        return Reason::OwnAddress as u32;
    }
    if checks & CHECKSUMS != 0 && !checksum::is_right::<F>(work, context) {
        return Reason::UpperChecksum as u32;
    }
    if work.packet.get(Field::NfProto) == NFPROTO_IPV4 {
        return header::<F>(work, context, checks);
    }
    let fixed = ipv6::HEADER as u32;
    let start = work.packet.l3_offset + fixed;
    if checks & SOURCE_ROUTE != 0 && work.packet.l4_offset > start && has_routing_header(&F::of_context(context), work)
    {
        return Reason::SourceRoute as u32;
    }
    0
}

/// An IPv4 header: its checksum, its options.
#[inline(always)]
fn header<F: Frame>(work: &mut Work, context: *mut c_void, checks: u32) -> u32 {
    let at = work.packet.l3_offset;
    let length = work.packet.l4_offset.wrapping_sub(at);
    let has_options = length > ipv4::HEADER as u32;
    if checks & IP_CHECKSUM == 0 && !has_options {
        return 0;
    }
    work.header = [0; HEADER];
    // From 1 to 64, as the verifier wants to see it.
    let length = (opaque(length as usize) as u32).wrapping_sub(1) & (HEADER as u32 - 1);
    if !F::load(context, at, length + 1, &mut work.header) {
        return Reason::Ipv4Truncated as u32;
    }
    if checks & IP_CHECKSUM != 0 && !checks::has_right_sum(&work.header) {
        return Reason::Ipv4Checksum as u32;
    }
    if checks & SOURCE_ROUTE != 0 && has_options && has_route(work) { Reason::SourceRoute as u32 } else { 0 }
}

#[inline(always)]
fn has_route(work: &mut Work) -> bool {
    let mut options = Options::default();
    options.begin();
    work.options = options;
    for at in ipv4::HEADER as u32..60 {
        let next = forget(&work.options.next);
        work.options.look(at, next, &work.header);
    }
    forget(&work.options.routes) != 0
}

/// Walks over the extension headers once more: there are few such packets.
#[inline(always)]
fn has_routing_header<F: Frame>(frame: &F, work: &mut Work) -> bool {
    let start = work.packet.l3_offset;
    let Some(first) = frame.header::<{ ipv6::HEADER }>(start) else { return false };
    work.options.routes = u32::from(first.u8(6));
    work.options.next = start + ipv6::HEADER as u32;
    for _ in 0..firewall_common::limits::MAX_IPV6_EXTENSIONS {
        let (kind, at) = (forget(&work.options.routes), forget(&work.options.next));
        let is_last =
            !matches!(kind as u8, ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS | ipv6::FRAGMENT);
        if is_last || at >= work.packet.l4_offset {
            return false;
        }
        let Some(header) = frame.header::<UNIT>(at) else { return false };
        if kind as u8 == ipv6::ROUTING && checks::is_source_route(header.u8(2), header.u8(3)) {
            return true;
        }
        let length = if kind as u8 == ipv6::FRAGMENT { 0 } else { u32::from(header.u8(1)) };
        work.options.routes = u32::from(header.u8(0));
        work.options.next = at + (length + 1) * UNIT as u32;
    }
    false
}
