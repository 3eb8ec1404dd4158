//! The only file with packet pointers, with what is below it.

mod editor;
mod window;

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{
        bpf_redirect_neigh, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use firewall_common::{bytes::PacketBytes, nat::Editor, parse::Start, read::BUFFER, verdict::Reason, wire::ethernet};

pub use window::Window;
use window::window;

use crate::{
    act::Act,
    answer, checks, conntrack, cookie,
    edit::{self, Edit},
    fast, nat,
    pipeline::{self, Path},
    rules,
    verifier::{forget, load_packet_pointer},
};

/// Bytes that are made readable when a packet's headers are not in the linear part of its buffer.
const PULL: u32 = 256;

/// `skb->tc_index` of a packet that was judged and handed on: 16 bits that programs alone write, but for a queueing discipline that
/// Linux has no more (`dsmark`, removed in 6.3).
const SENT_ON: u32 = 0x7261;

/// A packet in one of the kernel's contexts.
pub trait Frame: PacketBytes + Editor + Act + Edit {
    /// The packet of a context that [`Self::context`] gave.
    fn of_context(context: *mut core::ffi::c_void) -> Self;
    /// The interface the program runs on.
    fn ifindex(&self) -> u32;
    /// What the frame starts with.
    fn start(&self, has_ethernet: bool) -> Start;
    /// Was this packet received by another interface before it came to leave by this one?
    fn is_forwarded(&self, path: Path) -> bool;
    /// Makes the headers readable if they are not; `true` when it is worth parsing again.
    fn pull(&self) -> bool;
    /// The packet's mark; none at XDP, where the kernel has no place for one yet.
    fn mark(&self) -> u32;
    /// Gives the packet a mark.
    fn set_mark(&self, mark: u32);
    /// The packet's priority, a traffic class; none at XDP.
    fn priority(&self) -> u32;
    /// Gives the packet a priority.
    fn set_priority(&self, priority: u32);
    /// Parses it once more, [`crate::pipeline::parse_tc`]: the number of the reason to drop it.
    fn parse_again(&self, path: u32) -> u32;
    /// Runs the rules from where the packet stands in them: [`crate::rules::walk_xdp`] and its like.
    fn walk(&self, path: u32);
    /// Copies `length` bytes that start `at` bytes into the frame to the start of the buffer, wherever in the packet's
    /// buffers they are; `false` when the frame ends before.
    fn load(context: *mut core::ffi::c_void, at: u32, length: u32, into: &mut [u8; BUFFER]) -> bool;
    /// Looks for what settings say is wrong, [`crate::checks`]: the number of the reason to drop it.
    fn check(&self, path: u32) -> u32;
    /// Looks for the connection that an ICMP error is about, [`crate::conntrack::quoted_xdp`]: 0 when there is none.
    fn look_for_quoted(&self, path: u32) -> u32;
    /// Makes a handshake in a server's place, [`crate::cookie`]: the number of the reason to drop the packet.
    fn cookie(&self, path: u32) -> u32;
    /// Answers a refused packet, [`crate::answer`]: was an answer sent?
    fn answer(&self, path: u32) -> u32;
    /// Writes what the rule under the cursor says into a header, [`crate::edit`]: 0 when it is not there.
    fn edit(&self, path: u32) -> u32;
    /// Chooses or finds its translated destination, [`crate::nat`]: the number of the reason to drop it.
    fn nat_destination(&self, path: u32) -> u32;
    /// The same with the source.
    fn nat_source(&self, path: u32) -> u32;
    /// Finds and writes its translated source when it was judged where it came in.
    fn nat_forwarded(&self, path: u32) -> u32;
    /// Hands the packet to another interface, whose neighbour is to be found, with a note that it was judged.
    fn send_on(&self, by: u32);
    /// Is there such a note? It is taken off.
    fn was_sent_on(&self) -> bool;
    /// Writes what was found.
    fn nat_write(&self, path: u32) -> u32;
    /// Sends it on by the fast path, [`crate::fast`]: a verdict's number.
    fn forward(&self, path: u32) -> u32;
    /// The context, for helpers that want it.
    fn context(&self) -> *mut core::ffi::c_void;
    /// Copies the first `length` bytes to `to`, which has room for them; `false` if the packet is shorter.
    fn copy(&self, to: *mut u8, length: u32) -> bool;
}

/// A packet at XDP.
pub struct XdpFrame {
    ctx: XdpContext,
}

impl XdpFrame {
    /// The packet of this context.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { ctx: XdpContext::new(ctx.ctx) }
    }
}

impl PacketBytes for XdpFrame {
    type Header<const N: usize> = Window<N>;

    #[inline(always)]
    fn header<const N: usize>(&self, at: u32) -> Option<Window<N>> {
        // SAFETY: the context is the program's own.
        let (data, data_end) = unsafe {
            (
                load_packet_pointer::<{ offset_of!(xdp_md, data) }>(self.context()),
                load_packet_pointer::<{ offset_of!(xdp_md, data_end) }>(self.context()),
            )
        };
        window(data, data_end, at)
    }

    #[inline(always)]
    fn settled(&self, stored: &u32) -> u32 {
        forget(stored)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe {
            let data = load_packet_pointer::<{ offset_of!(xdp_md, data) }>(self.context());
            let data_end = load_packet_pointer::<{ offset_of!(xdp_md, data_end) }>(self.context());
            data_end.wrapping_sub(data) as u32
        }
    }

    /// All fragments of a multi-buffer frame together (`bpf_xdp_get_buff_len`, Linux 5.18).
    #[inline(always)]
    fn whole_length(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as u32 }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn of_context(context: *mut core::ffi::c_void) -> Self {
        Self { ctx: XdpContext::new(context.cast()) }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { (*self.ctx.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn start(&self, has_ethernet: bool) -> Start {
        let _ = has_ethernet;
        Start::ETHERNET
    }

    #[inline(always)]
    fn is_forwarded(&self, _: Path) -> bool {
        false
    }

    #[inline(always)]
    fn pull(&self) -> bool {
        false
    }

    /// `bpf_xdp_load_bytes`, Linux 5.18.
    #[inline(always)]
    fn load(context: *mut core::ffi::c_void, at: u32, length: u32, into: &mut [u8; BUFFER]) -> bool {
        // SAFETY: the context is the program's own, and the buffer has room for `length` bytes.
        unsafe { bpf_xdp_load_bytes(context.cast(), at, into.as_mut_ptr().cast(), length) == 0 }
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn set_mark(&self, _: u32) {}

    #[inline(always)]
    fn priority(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn set_priority(&self, _: u32) {}

    #[inline(always)]
    fn parse_again(&self, _: u32) -> u32 {
        Reason::Internal as u32
    }

    #[inline(always)]
    fn edit(&self, path: u32) -> u32 {
        edit::edit_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn look_for_quoted(&self, path: u32) -> u32 {
        conntrack::quoted_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn nat_destination(&self, path: u32) -> u32 {
        nat::nat_destination_xdp(self.ctx.ctx, path)
    }

    /// Nothing leaves by XDP.
    #[inline(always)]
    fn nat_forwarded(&self, _: u32) -> u32 {
        0
    }

    #[inline(always)]
    fn send_on(&self, _: u32) {}

    #[inline(always)]
    fn was_sent_on(&self) -> bool {
        false
    }

    #[inline(always)]
    fn nat_source(&self, path: u32) -> u32 {
        nat::nat_source_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn nat_write(&self, path: u32) -> u32 {
        nat::nat_write_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn forward(&self, path: u32) -> u32 {
        fast::forward_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn walk(&self, path: u32) {
        let _ = rules::walk_xdp(self.ctx.ctx, path);
    }

    #[inline(always)]
    fn check(&self, path: u32) -> u32 {
        checks::check_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn cookie(&self, path: u32) -> u32 {
        cookie::cookie_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn answer(&self, path: u32) -> u32 {
        answer::answer_xdp(self.ctx.ctx, path)
    }

    #[inline(always)]
    fn context(&self) -> *mut core::ffi::c_void {
        self.ctx.as_ptr()
    }

    /// Fragments of a multi-buffer frame too (`bpf_xdp_load_bytes`, Linux 5.18).
    #[inline(always)]
    fn copy(&self, to: *mut u8, length: u32) -> bool {
        // SAFETY: the context is the program's own, and the room was checked by the caller.
        unsafe { bpf_xdp_load_bytes(self.ctx.ctx, 0, to.cast(), length) == 0 }
    }
}

/// A packet at tc.
pub struct TcFrame {
    skb: *mut __sk_buff,
}

impl TcFrame {
    /// The packet of this context.
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self { skb: ctx.skb.skb }
    }
}

impl PacketBytes for TcFrame {
    type Header<const N: usize> = Window<N>;

    #[inline(always)]
    fn header<const N: usize>(&self, at: u32) -> Option<Window<N>> {
        // SAFETY: the context is the program's own.
        let (data, data_end) = unsafe {
            (
                load_packet_pointer::<{ offset_of!(__sk_buff, data) }>(self.context()),
                load_packet_pointer::<{ offset_of!(__sk_buff, data_end) }>(self.context()),
            )
        };
        window(data, data_end, at)
    }

    #[inline(always)]
    fn settled(&self, stored: &u32) -> u32 {
        forget(stored)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).len }
    }
}

impl Frame for TcFrame {
    #[inline(always)]
    fn of_context(context: *mut core::ffi::c_void) -> Self {
        Self { skb: context.cast() }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn start(&self, has_ethernet: bool) -> Start {
        if has_ethernet {
            return Start::ETHERNET;
        }
        // SAFETY: as above.
        let protocol = u16::from_be(unsafe { (*self.skb).protocol } as u16);
        Start::network(if ethernet::is_tag(protocol) { 0 } else { protocol })
    }

    #[inline(always)]
    fn is_forwarded(&self, path: Path) -> bool {
        // SAFETY: as above.
        path == Path::Egress && unsafe { (*self.skb).ingress_ifindex } != 0
    }

    #[inline(always)]
    fn pull(&self) -> bool {
        // SAFETY: as above; no packet pointer is kept across the call.
        unsafe {
            let linear = (*self.skb).data_end - (*self.skb).data;
            let wanted = if (*self.skb).len < PULL { (*self.skb).len } else { PULL };
            linear < wanted && bpf_skb_pull_data(self.skb, wanted) == 0
        }
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).mark }
    }

    #[inline(always)]
    fn set_mark(&self, mark: u32) {
        // SAFETY: as above.
        unsafe { (*self.skb).mark = mark };
    }

    #[inline(always)]
    fn priority(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb).priority }
    }

    #[inline(always)]
    fn set_priority(&self, priority: u32) {
        // SAFETY: as above.
        unsafe { (*self.skb).priority = priority };
    }

    #[inline(always)]
    fn parse_again(&self, path: u32) -> u32 {
        pipeline::parse_tc(self.skb, path)
    }

    #[inline(always)]
    fn edit(&self, path: u32) -> u32 {
        edit::edit_tc(self.skb, path)
    }

    #[inline(always)]
    fn look_for_quoted(&self, path: u32) -> u32 {
        conntrack::quoted_tc(self.skb, path)
    }

    #[inline(always)]
    fn nat_destination(&self, path: u32) -> u32 {
        nat::nat_destination_tc(self.skb, path)
    }

    #[inline(always)]
    fn nat_forwarded(&self, path: u32) -> u32 {
        nat::nat_forwarded_tc(self.skb, path)
    }

    #[inline(always)]
    fn send_on(&self, by: u32) {
        // SAFETY: as above; the helper takes numbers, and no parameters.
        unsafe {
            (*self.skb).tc_index = SENT_ON;
            bpf_redirect_neigh(by, core::ptr::null_mut(), 0, 0);
        }
    }

    #[inline(always)]
    fn was_sent_on(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            let sent_on = (*self.skb).tc_index == SENT_ON;
            if sent_on {
                (*self.skb).tc_index = 0;
            }
            sent_on
        }
    }

    #[inline(always)]
    fn nat_source(&self, path: u32) -> u32 {
        nat::nat_source_tc(self.skb, path)
    }

    #[inline(always)]
    fn nat_write(&self, path: u32) -> u32 {
        nat::nat_write_tc(self.skb, path)
    }

    #[inline(always)]
    fn forward(&self, path: u32) -> u32 {
        fast::forward_tc(self.skb, path)
    }

    #[inline(always)]
    fn walk(&self, path: u32) {
        let _ = rules::walk_tc(self.skb, path);
    }

    #[inline(always)]
    fn check(&self, path: u32) -> u32 {
        checks::check_tc(self.skb, path)
    }

    #[inline(always)]
    fn cookie(&self, path: u32) -> u32 {
        cookie::cookie_tc(self.skb, path)
    }

    #[inline(always)]
    fn answer(&self, path: u32) -> u32 {
        answer::answer_tc(self.skb, path)
    }

    #[inline(always)]
    fn load(context: *mut core::ffi::c_void, at: u32, length: u32, into: &mut [u8; BUFFER]) -> bool {
        // SAFETY: as above, and the buffer has room for `length` bytes.
        unsafe { bpf_skb_load_bytes(context.cast_const(), at, into.as_mut_ptr().cast(), length) == 0 }
    }

    #[inline(always)]
    fn context(&self) -> *mut core::ffi::c_void {
        self.skb.cast()
    }

    #[inline(always)]
    fn copy(&self, to: *mut u8, length: u32) -> bool {
        // SAFETY: as above, and the room was checked by the caller.
        unsafe { bpf_skb_load_bytes(self.skb.cast(), 0, to.cast(), length) == 0 }
    }
}
