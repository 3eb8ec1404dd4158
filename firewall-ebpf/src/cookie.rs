//! SYN cookies: a server's answer to a first segment, given here, so that a flood of them costs the host no state.
//!
//! The kernel makes the cookie for the socket that listens (`bpf_tcp_gen_syncookie`), so that the stack knows it when the
//! client's segment brings it back; what brings back another one is dropped (`bpf_tcp_check_syncookie`). Both need
//! `net.ipv4.tcp_syncookies=2` in the network namespace.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock_tuple, tcphdr, xdp_md},
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie},
};
use firewall_common::{
    answer::Answer,
    conntrack::{Phase, State, Timeout},
    cookie::{self, IP, TCP, TUPLE},
    flood::USES_FLOODS,
    image::{Target, USES_SYNPROXY},
    packet::{Field, NFPROTO_IPV6},
    trail::Explain,
    verdict::{Reason, Verdict},
    wire::tcp::SYN,
};

use crate::{
    answer::Rewrite,
    flood, maps,
    packet::{Frame, TcFrame, XdpFrame},
    verifier::{self, forget, opaque},
    work::Work,
};

/// `BPF_TCP_LISTEN` (`include/uapi/linux/bpf.h`).
const LISTEN: u32 = 10;

/// Is the packet one that a rule has the handshake made for?
#[inline(always)]
pub fn is_asked(verdict: Verdict) -> bool {
    maps::USES.load() & (USES_SYNPROXY | USES_FLOODS) != 0 && verdict.number() == Reason::SynAnswered as u32
}

/// What becomes of it.
#[inline(always)]
pub fn verdict<F: Frame>(frame: &F, work: &mut Work) -> Verdict {
    work.outcome = frame.cookie(work.path);
    Verdict::stored(forget(&work.outcome))
}

/// As a function that the verifier looks at once, see [`crate::rules::walk_xdp`]: the number of the reason to drop the packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cookie_xdp(context: *mut xdp_md, path: u32) -> u32 {
    verifier::frame();
    judge::<XdpFrame>(context.cast(), path)
}

/// As above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cookie_tc(context: *mut __sk_buff, path: u32) -> u32 {
    verifier::frame();
    judge::<TcFrame>(context.cast(), path)
}

#[inline(always)]
fn judge<F: Rewrite>(context: *mut c_void, path: u32) -> u32 {
    let (Some(work), Some(answer)) = (maps::work_of(path), maps::ANSWER.get_ptr_mut(path & 1)) else {
        return Reason::Internal as u32;
    };
    // SAFETY: this CPU's value, of programs of one kind.
    let answer = unsafe { &mut *answer };
    let is_syn = work.packet.get(Field::TcpFlags) & u32::from(SYN) != 0;
    if maps::EXPLAIN.load() == Explain::Shadow as u32 {
        return if is_syn { Reason::SynAnswered as u32 } else { 0 };
    }
    let is_v6 = work.packet.get(Field::NfProto) == NFPROTO_IPV6;
    let Some(length) = gather(&F::of_context(context), work, answer, is_v6) else {
        return Reason::CookieWrong as u32;
    };
    let said = ask(context, answer, (is_v6, is_syn, length));
    work.cookie = said as u32;
    let unasked = flood::is_used() && forget(&work.flood) == flood::ASKED;
    if is_syn {
        return promised(work, said, unasked);
    }
    if unasked && (said == NOBODY || said == KNOWN) {
        return 0;
    }
    if said != 0 && said != KNOWN {
        return if unasked { flood::without_cookie() } else { Reason::CookieWrong as u32 };
    }
    if unasked {
        flood::returned(work);
        flood::disguise(work);
    }
    if work.place == 0 {
        // Both ends have been heard: the cookie was in an answer.
        work.pending = u32::from(State::new(Phase::Established).replied().assured().0);
        work.pending_timeout = Timeout::Established as u32;
    }
    0
}

/// What becomes of a first segment: it is answered, unless the stack does so itself, because nobody listens there, or because it has
/// no need of cookies.
#[inline(always)]
fn promised(work: &mut Work, said: i64, unasked: bool) -> u32 {
    if said < 0 {
        return 0;
    }
    work.segment_size = if unasked { flood::segment_size() } else { Target(forget(&work.cursor.at.0)).segment_size() };
    if unasked {
        flood::begun(work);
    }
    Reason::SynAnswered as u32
}

/// Both headers and the addresses as the helpers want them; the length of that of TCP.
#[inline(always)]
fn gather<F: Rewrite>(frame: &F, work: &Work, answer: &mut Answer, is_v6: bool) -> Option<u32> {
    let fixed = if is_v6 { 40 } else { 20 };
    let length = (work.packet.get(Field::TcpWindow) >> 28) * 4;
    // From 20 to 60, as the verifier wants to see it.
    let length = (opaque(length as usize) as u32).wrapping_sub(1) & 63;
    let length = length + 1;
    let is_read = frame.read(work.packet.l3_offset, answer.quote[IP..].as_mut_ptr(), fixed)
        && frame.read(work.packet.l4_offset, answer.quote[TCP..].as_mut_ptr(), length);
    cookie::tuple(&mut answer.quote, &work.packet);
    is_read.then_some(length)
}

/// Nobody has a socket there.
const NOBODY: i64 = i32::MIN as i64;
/// The stack knows the connection.
const KNOWN: i64 = 1;

/// Asks the kernel about the socket that listens: for a SYN its cookie, else 0 for one that it made. Negative: none.
#[inline(always)]
fn ask(context: *mut c_void, answer: &mut Answer, (is_v6, is_syn, length): (bool, bool, u32)) -> i64 {
    let (fixed, size) = if is_v6 { (40, 36) } else { (20, 12) };
    let quote = answer.quote.as_mut_ptr();
    // SAFETY: all of it lies within the quote's room; the socket is released on every way.
    unsafe {
        let tuple = quote.add(TUPLE).cast::<bpf_sock_tuple>();
        let socket = bpf_skc_lookup_tcp(context, tuple, size, u64::MAX, 0);
        if socket.is_null() {
            return NOBODY;
        }
        let (ip, tcp) = (quote.add(IP).cast::<c_void>(), quote.add(TCP).cast::<tcphdr>());
        let is_listening = (*socket).state == LISTEN;
        let said = if is_syn {
            bpf_tcp_gen_syncookie(socket.cast(), ip, fixed, tcp, length)
        } else if !is_listening {
            KNOWN
        } else {
            bpf_tcp_check_syncookie(socket.cast(), ip, fixed, tcp, length) as i64
        };
        bpf_sk_release(socket.cast());
        said
    }
}
