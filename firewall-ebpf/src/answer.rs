//! Telling the sender of a refused packet: the packet is rewritten in place and sent back.
//!
//! At XDP that is `XDP_TX`. At tc it is a redirect: out of the interface for a packet that came in, into it for one made
//! here, whose sender is a socket of this host.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, bpf_adj_room_mode, xdp_md},
    helpers::generated::{
        bpf_csum_diff, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
        bpf_xdp_store_bytes,
    },
};
use core::ffi::c_void;
use firewall_common::{
    answer::{self, Answer, Answers, HEADER, LIMITS, LINK, Promise, QUOTE},
    image::{Hook, Target, USES_REJECT},
    interface::{GENERIC, TC_INGRESS},
    limit,
    packet::{Field, NFPROTO_IPV6},
    verdict::{Reason, Verdict},
};

use crate::{
    cookie, maps,
    packet::{Frame, TcFrame, XdpFrame},
    pipeline::Path,
    route,
    verifier::{self, Cell, forget},
    work::Work,
};

/// Loopback's index in every network namespace.
const LOOPBACK: u32 = 1;
/// Length of the header that its packets have.
const ETHERNET: u32 = 14;
/// The longest packet that is looked at for a quote.
const MOST: u32 = QUOTE as u32 - 4;

/// What `answer_*` say.
const SENT: u32 = 1;

/// A packet that can be made into another one.
pub trait Rewrite: Frame {
    /// Copies bytes of the packet.
    fn read(&self, at: u32, to: *mut u8, length: u32) -> bool;
    /// Makes the packet `length` bytes long behind a link header of `link`, of which the first `room` are new.
    fn reshape(&self, link: u32, room: u32, length: u32) -> bool;
    /// Writes bytes of the packet.
    fn store(&self, at: u32, from: *const u8, length: u32) -> bool;
    /// Sends it, unless a code of the program does. `link`: the length of its link header.
    fn send(&self, path: Path, interface: u32, link: u32);
}

impl Rewrite for XdpFrame {
    #[inline(always)]
    fn read(&self, at: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: the context is the program's own, and the caller has checked the room.
        unsafe { bpf_xdp_load_bytes(self.context().cast(), at, to.cast(), length) == 0 }
    }

    #[inline(always)]
    fn reshape(&self, link: u32, room: u32, length: u32) -> bool {
        let context = self.context().cast();
        // SAFETY: the context is the program's own; no packet pointer is kept across these calls.
        unsafe {
            if room != 0 && bpf_xdp_adjust_head(context, -(room as i32)) != 0 {
                return false;
            }
            let there = bpf_xdp_get_buff_len(context) as i32;
            let wanted = (link + length) as i32;
            wanted == there || bpf_xdp_adjust_tail(context, wanted - there) == 0
        }
    }

    #[inline(always)]
    fn store(&self, at: u32, from: *const u8, length: u32) -> bool {
        // SAFETY: as above.
        unsafe { bpf_xdp_store_bytes(self.context().cast(), at, from.cast_mut().cast(), length) == 0 }
    }

    #[inline(always)]
    fn send(&self, _: Path, _: u32, _: u32) {}
}

impl Rewrite for TcFrame {
    #[inline(always)]
    fn read(&self, at: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: as above.
        unsafe { bpf_skb_load_bytes(self.context(), at, to.cast(), length) == 0 }
    }

    #[inline(always)]
    fn reshape(&self, link: u32, room: u32, length: u32) -> bool {
        let skb = self.context().cast::<__sk_buff>();
        // SAFETY: as above. Cut first: that also makes one packet of what was to be segmented.
        unsafe {
            if bpf_skb_change_tail(skb, link + length - room, 0) != 0 {
                return false;
            }
            room == 0 || bpf_skb_adjust_room(skb, room as i32, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, 0) == 0
        }
    }

    #[inline(always)]
    fn store(&self, at: u32, from: *const u8, length: u32) -> bool {
        // SAFETY: as above.
        unsafe { bpf_skb_store_bytes(self.context().cast(), at, from.cast(), length, 0) == 0 }
    }

    #[inline(always)]
    fn send(&self, path: Path, interface: u32, link: u32) {
        if path == Path::Egress && link == 0 && interface == LOOPBACK {
            self.add_link();
        }
        let flags = if path == Path::Egress { u64::from(BPF_F_INGRESS) } else { 0 };
        // SAFETY: the helper takes numbers.
        unsafe { bpf_redirect(interface, flags) };
    }
}

impl TcFrame {
    /// Gives a packet without a link header that of a loopback interface, without which none is let in there.
    #[inline(always)]
    fn add_link(&self) {
        let skb = self.context().cast::<__sk_buff>();
        // SAFETY: the context is the program's own; the protocol is in network byte order, as it stands in the header.
        unsafe {
            let protocol = (*skb).protocol as u16;
            if bpf_skb_change_head(skb, ETHERNET, 0) == 0 {
                bpf_skb_store_bytes(skb.cast(), ETHERNET - 2, (&raw const protocol).cast(), 2, 0);
            }
        }
    }
}

/// Answers what was refused, if anybody is to be told: the verdict, with a note that the packet is to be sent.
#[inline(always)]
pub fn verdict<F: Frame>(frame: &F, work: &Work, verdict: Verdict) -> Verdict {
    let is_rejected = maps::USES.load() & USES_REJECT != 0 && verdict.number() == Reason::Rejected as u32;
    if !(is_rejected || cookie::is_asked(verdict)) || work.interface == 0 {
        return verdict;
    }
    if frame.answer(work.path) == SENT { verdict.answered() } else { verdict }
}

/// A function of its own, looked at once by the verifier, see [`crate::rules::walk_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    answer::<XdpFrame>(context.cast(), path)
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    answer::<TcFrame>(context.cast(), path)
}

#[inline(always)]
fn answer<F: Rewrite>(context: *mut c_void, path: u32) -> u32 {
    let (Some(work), Some(answer)) = (maps::work_of(path), maps::ANSWER.get_ptr_mut(path & 1)) else {
        return 0;
    };
    // SAFETY: this CPU's value, of programs of one kind.
    let answer = unsafe { &mut *answer };
    let frame = F::of_context(context);
    if cookie::is_asked(Verdict::stored(forget(&work.outcome))) {
        return promise(&frame, work, answer, forget(&work.segment_size));
    }
    let at = Target(forget(&work.cursor.at.0));
    let (asked, code) = at.answer();
    let counters = maps::ANSWERS.get_ptr_mut(work.interface);
    let Some(counters) = counters else { return 0 };
    // SAFETY: this CPU's value.
    let counters: &mut Answers = unsafe { &mut *counters };
    let Some(kind) = answer::kind(&work.packet, asked, code) else {
        counters.unanswerable += 1;
        return 0;
    };
    if kind.reset == 0 && path == Path::Ingress as u32 && work.hook != Hook::Ingress as u32 && !is_allowed(work) {
        counters.limited += 1;
        return 0;
    }
    if !fetch(&frame, work, answer, kind.reset) || !source(&frame, work, answer, kind.reset) {
        counters.failed += 1;
        return 0;
    }
    if !answer::is_to_one(answer) {
        counters.unanswerable += 1;
        return 0;
    }
    write(work, answer, kind.reset, kind.code);
    let path = if path == Path::Egress as u32 { Path::Egress } else { Path::Ingress };
    let to = destination(work, answer, path);
    if !put(&frame, answer) {
        counters.failed += 1;
        return 0;
    }
    frame.send(path, to, forget(&answer.link_length));
    if kind.reset == 0 {
        counters.errors += 1
    } else {
        counters.resets += 1
    }
    SENT
}

/// Sends the second segment of a handshake. It is not among those answers that are counted: the reason of the first one is.
#[inline(always)]
fn promise<F: Rewrite>(frame: &F, work: &Work, answer: &mut Answer, mss: u32) -> u32 {
    if !fetch(frame, work, answer, 1) || !source(frame, work, answer, 1) || !answer::is_to_one(answer) {
        return 0;
    }
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    let settings = maps::ANSWERING.load();
    answer.hops = if is_v6 { settings.hop_limit } else { settings.ttl };
    answer::turn(answer);
    let promise = Promise { cookie: work.cookie, mss };
    if is_v6 {
        answer::promise6(answer, &work.packet, promise);
    } else {
        answer::promise(answer, &work.packet, promise);
    }
    let to = destination(work, answer, Path::Ingress);
    if !put(frame, answer) {
        return 0;
    }
    frame.send(Path::Ingress, to, 0);
    SENT
}

/// Reads the link header, and what is quoted.
#[inline(always)]
fn fetch<F: Rewrite>(frame: &F, work: &Work, answer: &mut Answer, reset: u32) -> bool {
    let link = work.packet.l3_offset;
    answer.link_length = link;
    if link > LINK as u32 || (link != 0 && !frame.read(0, answer.link.as_mut_ptr(), link)) {
        return false;
    }
    answer.quote_length = 0;
    if reset != 0 {
        return true;
    }
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    answer.quote_length = answer::quoted(is_v6, work.packet.get(Field::Length));
    let length = forget(&answer.quote_length);
    if length == 0 || length > MOST || !frame.read(link, answer.quote.as_mut_ptr(), length) {
        return false;
    }
    // The checksum goes by words of 16 bits, and its helper by those of 32.
    for index in 0..4 {
        answer.quote[(length as usize + index) & (QUOTE - 1)] = 0;
    }
    true
}

/// The address that the answer comes from: for a packet to this host, and for a reset, the one that it went to; else that of
/// the router, as the routing table has it (`BPF_FIB_LOOKUP_SRC`, Linux 6.7).
#[inline(always)]
fn source<F: Frame>(frame: &F, work: &Work, answer: &mut Answer, reset: u32) -> bool {
    for index in 0..4 {
        answer.source[index] = work.packet.get_at(Field::DestinationAddress, index);
    }
    let hook = work.hook;
    let is_own =
        reset != 0 || hook == Hook::Input as u32 || hook == Hook::Output as u32 || hook == Hook::Ingress as u32;
    if is_own || work.path == Path::Egress as u32 {
        return true;
    }
    route::own_address(frame, work, &mut answer.source)
}

/// As many ICMP errors as the kernel sends: so many to one destination (`icmp_ratelimit`), so many in all
/// (`icmp_msgs_per_sec`).
#[inline(always)]
fn is_allowed(work: &Work) -> bool {
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    let settings = maps::ANSWERING.load();
    let cost = u64::from(if is_v6 { settings.icmp6_interval } else { settings.icmp_interval }) * 1_000_000;
    let now = maps::exact_ns();
    let all = u64::from(settings.spacing);
    take(LIMITS, now, all, all * u64::from(settings.burst))
        && take(answer::limit_of(&work.packet), now, cost, cost * BURST)
}

/// ICMP errors that one destination may get at once (`XRLIM_BURST_FACTOR`, `net/ipv4/icmp.c`).
const BURST: u64 = 6;

#[inline(always)]
fn take(index: u32, now: u64, cost: u64, capacity: u64) -> bool {
    match maps::ANSWER_LIMITS.get_ptr_mut(index) {
        Some(word) => limit::take(&Cell(word), now, cost, capacity),
        None => false,
    }
}

/// Writes the headers.
#[inline(always)]
fn write(work: &Work, answer: &mut Answer, reset: u32, code: u32) {
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    let settings = maps::ANSWERING.load();
    answer.hops = if is_v6 { settings.hop_limit } else { settings.ttl };
    answer::turn(answer);
    if reset != 0 {
        if is_v6 {
            answer::reset6(answer, &work.packet)
        } else {
            answer::reset(answer, &work.packet)
        }
        return;
    }
    let sum = sum(answer);
    if is_v6 {
        answer::error6(answer, &work.packet, code, sum);
    } else {
        answer::error(answer, &work.packet, code, (sum, work.now_ns as u16 | 1));
    }
}

/// Bytes that the checksum helper takes at once (`MAX_BPF_STACK`, `net/core/filter.c`).
const CHUNK: usize = 512;

/// The sum of the quote's words, zeros behind it included.
#[inline(always)]
fn sum(answer: &Answer) -> u16 {
    let rounded = (forget(&answer.quote_length) + 3) & !3;
    let mut sum = 0_u32;
    for index in 0..3 {
        let start = index * CHUNK;
        let left = rounded.saturating_sub(start as u32);
        let length = if left > CHUNK as u32 { CHUNK as u32 } else { left };
        if length == 0 {
            break;
        }
        // SAFETY: the three chunks lie within the quote's room.
        let all = unsafe {
            let from = answer.quote.as_ptr().add(start);
            bpf_csum_diff(core::ptr::null_mut(), 0, from.cast_mut().cast(), length, sum)
        };
        if all < 0 {
            return 0;
        }
        sum = all as u32;
    }
    // The helper sums words as they lie in memory.
    answer::fold(u64::from(sum)).to_be()
}

/// The interface that the answer leaves by, or comes in by.
///
/// An answer to a packet made here comes in by the interface that the packet was to leave by, so that it comes from where
/// answers of that host come from. Where programs of ours would judge it there (generic XDP, tc), by loopback.
#[inline(always)]
fn destination(work: &Work, answer: &mut Answer, path: Path) -> u32 {
    let Some(interface) = maps::INTERFACES.get(work.interface) else { return 0 };
    if path == Path::Egress && interface.flags & (GENERIC | TC_INGRESS) != 0 {
        // A loopback interface's hardware address.
        for at in 0..12 {
            answer.link[at] = 0;
        }
        return LOOPBACK;
    }
    interface.ifindex
}

/// Puts the answer in the packet's place.
#[inline(always)]
fn put<F: Rewrite>(frame: &F, answer: &Answer) -> bool {
    let (link, header) = (forget(&answer.link_length), forget(&answer.header_length));
    if link > LINK as u32 || header == 0 || header > HEADER as u32 {
        return false;
    }
    let quote = forget(&answer.quote_length);
    let room = if quote == 0 { 0 } else { header };
    frame.reshape(link, room, header + quote)
        && (link == 0 || frame.store(0, answer.link.as_ptr(), link))
        && frame.store(link, answer.header.as_ptr(), header)
}
