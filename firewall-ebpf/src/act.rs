//! The one place where a verdict becomes a code that the kernel understands.

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use firewall_common::verdict::Verdict;

use crate::packet::{TcFrame, XdpFrame};

/// A context whose program answers with a code.
pub trait Act {
    /// The code of a verdict.
    fn act(verdict: Verdict) -> i32;
}

impl Act for XdpFrame {
    #[inline(always)]
    fn act(verdict: Verdict) -> i32 {
        if verdict.is_answered() {
            return xdp_action::XDP_TX as i32;
        }
        if verdict.is_redirected() {
            return xdp_action::XDP_REDIRECT as i32;
        }
        if verdict.is_pass() { xdp_action::XDP_PASS as i32 } else { xdp_action::XDP_DROP as i32 }
    }
}

impl Act for TcFrame {
    /// Passing means "not decided here": programs that others attached behind this one still see the packet.
    #[inline(always)]
    fn act(verdict: Verdict) -> i32 {
        if verdict.is_answered() || verdict.is_redirected() {
            return TC_ACT_REDIRECT as i32;
        }
        if verdict.is_pass() { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
    }
}
