//! What rules ask for beside the words of the packet.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id};
use firewall_common::{
    fetch::Fetch,
    image::Insn,
    packet::{Packet, WORDS},
};

use crate::packet::Frame;

/// Fetches what an instruction asks for; `false` when the packet does not have it. Not inlined: few rules ask.
#[inline(never)]
pub fn fetch<F: Frame>(_frame: &F, insn: &Insn, packet: &mut Packet) -> bool {
    let value = if insn.low == Fetch::Cpu as u32 {
        // SAFETY: the helper has no arguments.
        unsafe { bpf_get_smp_processor_id() as u32 }
    } else if insn.low == Fetch::Random as u32 {
        // SAFETY: the helper has no arguments.
        unsafe { bpf_get_prandom_u32() }
    } else {
        return false;
    };
    packet.words[insn.extra as usize & (WORDS - 1)] = value;
    true
}
