//! Writing into packets.

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::generated::{bpf_l4_csum_replace, bpf_skb_store_bytes},
};
use firewall_common::{
    bytes::PacketBytes,
    nat::{Covers, Editor},
};

use super::{TcFrame, Window, XdpFrame};
use crate::verifier::write_u16;

impl Editor for XdpFrame {
    #[inline(always)]
    fn put16(&self, at: u32, value: u16) -> bool {
        let Some(Window(address)) = self.header::<2>(at) else { return false };
        // SAFETY: two bytes that were checked to be there.
        unsafe { write_u16(address, value.to_be()) };
        true
    }

    /// Packets of a network card: what the card left to do to a checksum, it has done. Where it may not have, ingress is tc.
    #[inline(always)]
    fn adjust(&self, at: u32, change: (u32, u32), _: Covers, keeps_zero: bool) -> bool {
        self.adjust_plain(at, change, keeps_zero)
    }
}

impl Editor for TcFrame {
    #[inline(always)]
    fn put16(&self, at: u32, value: u16) -> bool {
        let bytes = value.to_be();
        // SAFETY: two bytes of the stack.
        unsafe { bpf_skb_store_bytes(self.skb, at, (&raw const bytes).cast(), 2, 0) == 0 }
    }

    #[inline(always)]
    fn put32(&self, at: u32, value: u32) -> bool {
        let bytes = value.to_be();
        // SAFETY: four bytes of the stack.
        unsafe { bpf_skb_store_bytes(self.skb, at, (&raw const bytes).cast(), 4, 0) == 0 }
    }

    /// The kernel knows whether the card will finish the checksum: then it holds the pseudo header's part only.
    #[inline(always)]
    fn adjust(&self, at: u32, (old, new): (u32, u32), covers: Covers, keeps_zero: bool) -> bool {
        let pseudo = if covers == Covers::Pseudo { u64::from(BPF_F_PSEUDO_HDR) } else { 0 };
        let zero = if keeps_zero { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let difference = firewall_common::nat::difference(old, new).to_be();
        // SAFETY: no packet pointer is kept across the call.
        unsafe { bpf_l4_csum_replace(self.skb, at, 0, u64::from(difference), pseudo | zero) == 0 }
    }
}
