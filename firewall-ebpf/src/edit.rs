//! What rules write into headers.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, xdp_md},
    helpers::generated::{bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_store_bytes},
};
use firewall_common::{
    bytes::HeaderBytes,
    edit::{self, HEADER_SUM, HEADER_SUM_AT, NETWORK, PAYLOAD_SUM, PSEUDO_SUM, TRANSPORT},
    image::Insn,
    option,
    packet::{FRAGMENT_LATER, Field, L4_PRESENT, Packet},
};

use crate::{
    maps,
    packet::{Frame, TcFrame, XdpFrame},
    verifier,
};

/// What is to be written over two bytes.
#[derive(Clone, Copy)]
pub struct Change {
    at: u32,
    old: u16,
    new: u16,
}

/// UDP over IPv4 may do without a checksum, and then has none afterwards.
const UDP: u32 = 17;

/// A packet that can be written to.
pub trait Edit {
    /// Writes two bytes; `false` when they are not there.
    fn write_two(&self, change: Change) -> bool;
    /// Brings the checksum of the IPv4 header in line.
    fn fix_header_sum(&self, at: u32, change: Change) -> bool;
    /// Brings the upper layer's checksum in line. One of 0 is none when `may_be_none`.
    fn fix_sum(&self, at: u32, change: Change, is_pseudo: bool, may_be_none: bool) -> bool;
}

/// Carries out the [`firewall_common::image::Op::Edit`] under the cursor; 0 when the bytes are not there. Few rules write: functions that the verifier
/// looks at once, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn edit_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    u32::from(at_cursor(&XdpFrame::of_context(context.cast()), path))
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn edit_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    u32::from(at_cursor(&TcFrame::of_context(context.cast()), path))
}

#[inline(always)]
fn at_cursor<F: Frame>(frame: &F, path: u32) -> bool {
    let Some(work) = maps::work_of(path) else { return false };
    let Some(insn) = maps::INSNS.get(work.cursor.at.0) else { return false };
    edit(frame, insn, &work.packet)
}

#[inline(always)]
fn edit<F: Frame>(frame: &F, insn: &Insn, packet: &Packet) -> bool {
    let start = if insn.low & NETWORK != 0 {
        packet.l3_offset
    } else if insn.low & TRANSPORT != 0 {
        packet.l4_offset
    } else {
        0
    };
    let at = start + (insn.low & 0xffff);
    let Some(bytes) = frame.header::<2>(at) else {
        return false;
    };
    let old = bytes.be16(0);
    let mask = insn.mask as u16;
    let change = Change { at, old, new: old & !mask | edit::value(insn, packet) as u16 & mask };
    if change.old == change.new {
        return true;
    }
    if insn.low & HEADER_SUM != 0 && !frame.fix_header_sum(packet.l3_offset + HEADER_SUM_AT, change) {
        return false;
    }
    let protocol = packet.get(Field::L4Header);
    let is_covered =
        insn.low & PAYLOAD_SUM != 0 || (insn.low & PSEUDO_SUM != 0 && edit::has_pseudo_header(protocol & !L4_PRESENT));
    // A later fragment has the ports of the first one and no checksum.
    let has_sum = protocol & L4_PRESENT != 0 && packet.get(Field::Fragment) & FRAGMENT_LATER == 0;
    if is_covered
        && has_sum
        && let Some(sum_at) = edit::sum_at(protocol & !L4_PRESENT)
        && !frame.fix_sum(packet.l4_offset + sum_at, change, insn.low & PSEUDO_SUM != 0, protocol & !L4_PRESENT == UDP)
    {
        return false;
    }
    frame.write_two(change)
}

/// Where a TCP header has its checksum.
const TCP_SUM_AT: u32 = 16;

/// Writes two bytes of a TCP option, and what the checksum makes of them.
#[inline(never)]
pub fn option<F: Frame>(frame: &F, header: u32, change: option::Change) -> bool {
    verifier::frame();
    let (old, new) = change.summed();
    let summed = Change { at: change.at, old, new };
    if change.old == change.new {
        return true;
    }
    frame.fix_sum(header + TCP_SUM_AT, summed, false, false)
        && frame.write_two(Change { at: change.at, old: change.old, new: change.new })
}

/// Two bytes of the frame at an address.
#[inline(always)]
fn two_bytes(context: *mut core::ffi::c_void, at: u32) -> Option<usize> {
    const REACH: u32 = 0x7fff;
    if at > REACH {
        return None;
    }
    // SAFETY: the context is the program's own.
    let (data, end) = unsafe {
        (
            verifier::load_packet_pointer::<{ offset_of!(xdp_md, data) }>(context),
            verifier::load_packet_pointer::<{ offset_of!(xdp_md, data_end) }>(context),
        )
    };
    let address = verifier::opaque(data + at as usize);
    if address + 2 > end { None } else { Some(address) }
}

impl Edit for XdpFrame {
    #[inline(always)]
    fn write_two(&self, change: Change) -> bool {
        let Some(address) = two_bytes(self.context(), change.at) else {
            return false;
        };
        // SAFETY: both bytes were checked to be there.
        unsafe { verifier::write_u16(address, change.new.to_be()) };
        true
    }

    #[inline(always)]
    fn fix_header_sum(&self, at: u32, change: Change) -> bool {
        self.fix_sum(at, change, false, false)
    }

    #[inline(always)]
    fn fix_sum(&self, at: u32, change: Change, _: bool, may_be_none: bool) -> bool {
        let Some(address) = two_bytes(self.context(), at) else {
            return false;
        };
        // SAFETY: both bytes were checked to be there.
        let sum = u16::from_be(unsafe { verifier::load_u16(address) });
        if may_be_none && sum == 0 {
            return true;
        }
        let updated = edit::updated(sum, change.old, change.new);
        // What would read as none is written as its other zero (RFC 768).
        let updated = if may_be_none && updated == 0 { 0xffff } else { updated };
        // SAFETY: as above.
        unsafe { verifier::write_u16(address, updated.to_be()) };
        true
    }
}

impl Edit for TcFrame {
    #[inline(always)]
    fn write_two(&self, change: Change) -> bool {
        let bytes = change.new.to_be();
        // SAFETY: two bytes of the stack; no packet pointer is kept across the call.
        unsafe {
            bpf_skb_store_bytes(self.context().cast::<__sk_buff>(), change.at, (&raw const bytes).cast(), 2, 0) == 0
        }
    }

    #[inline(always)]
    fn fix_header_sum(&self, at: u32, change: Change) -> bool {
        let (old, new) = (u64::from(change.old.to_be()), u64::from(change.new.to_be()));
        // SAFETY: as above.
        unsafe { bpf_l3_csum_replace(self.context().cast::<__sk_buff>(), at, old, new, 2) == 0 }
    }

    /// The kernel knows whether the card will finish the checksum: then it holds the pseudo header's part only.
    #[inline(always)]
    fn fix_sum(&self, at: u32, change: Change, is_pseudo: bool, may_be_none: bool) -> bool {
        let (old, new) = (u64::from(change.old.to_be()), u64::from(change.new.to_be()));
        let pseudo = if is_pseudo { u64::from(BPF_F_PSEUDO_HDR) } else { 0 };
        let none = if may_be_none { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        // SAFETY: as above.
        unsafe { bpf_l4_csum_replace(self.context().cast::<__sk_buff>(), at, old, new, pseudo | none | 2) == 0 }
    }
}
