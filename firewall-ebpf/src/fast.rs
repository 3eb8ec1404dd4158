//! The way past the rules and the stack that packets of some connections take (`flow add`): from where they came in to the interface
//! that they leave by. Which packets may is in [`firewall_common::fast`]; what a packet does not meet on this way, in ARCHITECTURE.md.
//!
//! Whatever is not as it should be for that sends the packet to the rules and the stack, unchanged.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM, xdp_md},
    helpers::generated::{bpf_fib_lookup, bpf_redirect, bpf_skb_store_bytes},
};
use firewall_common::{
    bytes::HeaderBytes,
    conntrack::CtState,
    fast::{self, FAST_ALL, IN, OFFLOADED, OUT_TC, OUT_XDP},
    fib,
    image::{Hook, Part, USES_FAST},
    nat::{Editor, words},
    packet::{Field, NFPROTO_IPV4},
    verdict::{Reason, Verdict},
};

use crate::{
    connection::Found,
    count,
    fib::head_for,
    maps, nat,
    packet::{Frame, TcFrame, XdpFrame},
    pipeline::Path,
    verifier::{self, forget},
    work::Work,
};

/// Are there connections with the fast path?
#[inline(always)]
pub fn is_used() -> bool {
    maps::USES.load() & USES_FAST != 0
}

/// A packet that can be sent on by another interface.
pub trait Forward: Frame {
    /// What the interface must be for that, of [`fast::Device::flags`].
    const OUT: u32;
    /// Does nothing of ours see the packet where it leaves?
    const IS_LAST: bool;

    /// Bytes of the largest packet that it will leave as, from the network header on.
    fn largest(&self, work: &Work) -> u32;
    /// Is there a VLAN tag beside the bytes?
    fn is_tagged(&self) -> bool;
    /// Writes `length` bytes that stand at `from`.
    fn overwrite(&self, at: u32, from: *const u8, length: u32) -> bool;
}

impl Forward for XdpFrame {
    const OUT: u32 = OUT_XDP;
    const IS_LAST: bool = true;

    #[inline(always)]
    fn largest(&self, work: &Work) -> u32 {
        work.packet.get(Field::Length)
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        false
    }

    #[inline(always)]
    fn overwrite(&self, at: u32, from: *const u8, length: u32) -> bool {
        for index in 0..length / 2 {
            // SAFETY: the caller has so many bytes.
            let [first, second] = unsafe { [*from.add(2 * index as usize), *from.add(2 * index as usize + 1)] };
            if !self.put16(at + 2 * index, u16::from_be_bytes([first, second])) {
                return false;
            }
        }
        true
    }
}

impl Forward for TcFrame {
    const OUT: u32 = OUT_TC;
    const IS_LAST: bool = false;

    /// A packet that will be segmented leaves as its segments.
    #[inline(always)]
    fn largest(&self, work: &Work) -> u32 {
        let packet = &work.packet;
        // SAFETY: the context is the program's own.
        let segment = unsafe { (*self.context().cast::<__sk_buff>()).gso_size };
        if segment == 0 {
            return packet.get(Field::Length);
        }
        let headers = packet.l4_offset.wrapping_sub(packet.l3_offset);
        headers.wrapping_add(packet.l4_length.wrapping_sub(packet.payload_length)).wrapping_add(segment)
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: the context is the program's own.
        unsafe { (*self.context().cast::<__sk_buff>()).vlan_present != 0 }
    }

    #[inline(always)]
    fn overwrite(&self, at: u32, from: *const u8, length: u32) -> bool {
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
        // SAFETY: the caller has so many bytes; no packet pointer is kept across the call.
        unsafe { bpf_skb_store_bytes(self.context().cast(), at, from.cast(), length, flags) == 0 }
    }
}

/// Carries out [`firewall_common::image::Op::Flow`]: gives the packet's connection the fast path, by the rule that the packet stands in.
/// 0 when it has it already or cannot have it. Looked at once by the verifier, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_add(path: u32, rule: u32) -> u32 {
    verifier::frame();
    let Some(work) = maps::work_of(path) else { return 0 };
    let found = Found::of(work);
    // An error about the connection is none of its packets.
    if forget(&work.place) == 0 || work.packet.get(Field::CtState) == CtState::Invalid as u32 {
        return 0;
    }
    let Some(entry) = found.entry() else { return 0 };
    let offloaded = OFFLOADED | maps::generation();
    if entry.generation == offloaded || !fast::may_be_added(&work.packet, found.slot().state()) {
        return 0;
    }
    // Between these two stores the connection is at worst shown with another rule's number.
    entry.rule = rule;
    entry.generation = offloaded;
    1
}

/// Gives a connection that the chains of forward let pass the fast path, where the settings say that all have it.
#[inline(always)]
pub fn add_any(work: &Work) {
    let is_forwarded = work.path == Path::Ingress as u32 && work.packet.get(Field::OifIndex) != 0;
    if is_used() && maps::tracks(FAST_ALL) && is_forwarded && forget(&work.place) != 0 {
        let _ = flow_add(work.path, work.cursor.rule);
    }
}

/// Sends the packet on if it may take the fast path: [`Verdict::REDIRECTED`], or a drop. [`Verdict::PASS`]: it goes on to the rules.
#[inline(always)]
pub fn forward<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    if !is_used() || work.path != Path::Ingress as u32 || !has_fast_path(work) {
        return Verdict::PASS;
    }
    let verdict = Verdict::stored(frame.forward(work.path));
    verifier::changed(work);
    verdict
}

/// Does the packet's connection have it by the ruleset in force, and is the packet one that may take it?
#[inline(always)]
fn has_fast_path(work: &mut Work) -> bool {
    if work.place == 0
        || work.packet.get(Field::CtState) != CtState::Established as u32
        || !fast::is_plain(&work.packet)
    {
        return false;
    }
    let found = Found::of(work);
    let Some(entry) = found.entry() else { return false };
    let rule = entry.rule;
    if entry.generation != OFFLOADED | maps::generation() || !fast::is_open(found.slot().state()) {
        return false;
    }
    work.cursor.rule = rule;
    true
}

/// The way itself. Functions that the verifier looks at once, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    maps::work_of(path).map_or(0, |work| send(&XdpFrame::of_context(context.cast()), work).number())
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    maps::work_of(path).map_or(0, |work| send(&TcFrame::of_context(context.cast()), work).number())
}

#[inline(always)]
fn send<F: Forward>(frame: &F, work: &mut Work) -> Verdict {
    if F::IS_LAST && maps::has(Part::Egress) {
        // Chains that see what leaves by a device would not see it.
        return Verdict::PASS;
    }
    let Some(device) = maps::DEVICES.get(work.interface) else { return Verdict::PASS };
    let is_in = device.flags & IN != 0 && device.ifindex == work.packet.get(Field::IifIndex);
    if !is_in || !fast::is_for(&work.packet, device) || frame.is_tagged() {
        return Verdict::PASS;
    }
    let length = frame.largest(work);
    if !ask(frame, work, length) {
        return Verdict::PASS;
    }
    let out = work.way_back.ifindex;
    let place = maps::interface(out);
    let can = maps::DEVICES.get(place).is_some_and(|device| device.flags & F::OUT != 0 && device.ifindex == out);
    if !can {
        return Verdict::PASS;
    }
    let verdict = translate(frame, work);
    if !verdict.is_pass() {
        return verdict;
    }
    if !write(frame, work) {
        return Verdict::drop(Reason::Internal);
    }
    work.hook = Hook::Forward as u32;
    work.packet.set(Field::OifIndex, out);
    if F::IS_LAST {
        count::sent_past(work, place);
    }
    // SAFETY: the helper takes numbers.
    unsafe { bpf_redirect(out, 0) };
    Verdict::REDIRECTED
}

/// Where the packet goes, asked as the stack asks for a packet whose destination is translated already and whose source is not
/// yet. `false` whenever the stack would do anything but send it on as it is: there is no such route or it is this host, the
/// neighbour is not known yet, the packet is too large for the way.
#[inline(always)]
fn ask<F: Frame>(frame: &F, work: &mut Work, length: u32) -> bool {
    let is_v4 = work.packet.get(Field::NfProto) == NFPROTO_IPV4;
    let address = |field: Field| [0, 1, 2, 3].map(|index| work.packet.get_at(field, index).to_be());
    let (source, mut destination) = (address(Field::SourceAddress), address(Field::DestinationAddress));
    let mut port = work.packet.get(Field::DestinationPort) as u16;
    if nat::is_used() && forget(&work.nat) & nat::KNOWN != 0 {
        let is_reply = forget(&work.nat) & nat::REPLY != 0;
        let (ends, end) = if is_reply { (&work.original, 0) } else { (&work.translated, 1) };
        destination = words(ends.addresses[end], is_v4).map(u32::to_be);
        port = ends.ports[end] as u16;
    }
    let (packet, lookup) = (&work.packet, &mut work.way_back);
    lookup.ifindex = packet.get(Field::IifIndex);
    lookup.l4_protocol = packet.get(Field::L4Proto) as u8;
    lookup.sport = (packet.get(Field::SourcePort) as u16).to_be();
    lookup.dport = port.to_be();
    lookup.__bindgen_anon_1.tot_len = if length > 0xffff { u16::MAX } else { length as u16 };
    lookup.__bindgen_anon_5.tbid = 0;
    head_for(lookup, is_v4, destination);
    if is_v4 {
        lookup.__bindgen_anon_2.flowinfo = 0;
        lookup.__bindgen_anon_2.tos = packet.get(Field::Tos) as u8;
        lookup.__bindgen_anon_3.ipv4_src = source[0];
    } else {
        lookup.__bindgen_anon_2.flowinfo = fib::flow6(packet).to_be();
        lookup.__bindgen_anon_3.ipv6_src = source;
    }
    let size = size_of::<aya_ebpf::bindings::bpf_fib_lookup>() as i32;
    // SAFETY: the structure is ours and its size is given.
    unsafe { bpf_fib_lookup(frame.context(), core::ptr::from_mut(lookup).cast(), size, 0) == 0 }
}

/// Writes what a translated connection's packet has behind the firewall. Where our program sees it leave, that one writes the
/// source, as for a packet that went through the stack.
#[inline(always)]
fn translate<F: Forward>(frame: &F, work: &mut Work) -> Verdict {
    if !nat::is_used() || forget(&work.nat) & nat::KNOWN == 0 {
        return Verdict::PASS;
    }
    let _ = frame.nat_destination(work.path);
    if F::IS_LAST {
        work.leaves = 1;
        let _ = frame.nat_source(work.path);
    }
    nat::write(frame, work)
}

/// One hop further, and the hardware addresses of the next one.
#[inline(always)]
fn write<F: Forward>(frame: &F, work: &Work) -> bool {
    let at = work.packet.l3_offset;
    let written = if work.packet.get(Field::NfProto) == NFPROTO_IPV4 {
        let Some(header) = frame.header::<12>(at) else { return false };
        let (ttl, check) = fast::one_hop_further(header.be16(8), header.be16(10));
        frame.put16(at + 8, ttl) && frame.put16(at + 10, check)
    } else {
        let Some(header) = frame.header::<8>(at) else { return false };
        let hop_limit = [header.u8(7).wrapping_sub(1), 0];
        let next = u16::from_be_bytes([header.u8(6), hop_limit[0]]);
        frame.put16(at + 6, next)
    };
    let lookup = &work.way_back;
    written && frame.overwrite(0, lookup.dmac.as_ptr(), 6) && frame.overwrite(6, lookup.smac.as_ptr(), 6)
}
