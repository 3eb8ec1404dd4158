//! Asking what an address is to this host.

use firewall_common::{
    addresses::{self, BROADCAST, DESTINATION, LOCAL, MULTICAST, Question, Value},
    fetch::argument,
    image::Insn,
    packet::{Field, WORDS},
};

use crate::{
    maps,
    verifier::{self, forget},
    work::Work,
};

/// Loopback's index in every network namespace.
const LOOPBACK: u32 = 1;

/// Puts the type of the packet's address into the register that the instruction names; `false` when it has no such address.
#[inline(always)]
pub fn fetch(work: &mut Work, insn: &Insn) -> bool {
    let found = kind(work, argument(insn.low));
    work.packet.words[insn.extra as usize & (WORDS - 1)] = found;
    found != 0
}

/// Did the packet come in with an address of this host as its source? What the stack gives back to programs that send to a group or
/// to everybody they belong to themselves is left alone.
#[inline(always)]
pub fn is_own_source(work: &mut Work) -> bool {
    if work.packet.get(Field::IifIndex) == LOOPBACK || kind(work, 0) != LOCAL {
        return false;
    }
    let to = kind(work, DESTINATION);
    to != MULTICAST && to != BROADCAST
}

/// The type of one of the packet's addresses, 0 when it has none.
///
/// The question lies in the work area: the stack of four calls within each other has 512 bytes.
#[inline(never)]
fn kind(work: &mut Work, asked: u32) -> u32 {
    verifier::frame();
    let Work { packet, question, hook, .. } = work;
    let copy = maps::ADDRESS_COPY.get(0).map_or(0, forget);
    let look_up = |question: &Question| -> Option<Value> { maps::address(question) };
    addresses::type_of(packet, (asked, *hook, copy), question, look_up).unwrap_or(0)
}
