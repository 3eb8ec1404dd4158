//! Asking what an address is to this host.

use firewall_common::{
    addresses::{self, Question, Value},
    fetch::argument,
    image::Insn,
    packet::WORDS,
};

use crate::{
    maps,
    verifier::{self, forget},
    work::Work,
};

/// Puts the type of the packet's address into the register that the instruction names; `false` when it has no such address.
///
/// The question lies in the work area: the stack of four calls within each other has 512 bytes.
#[inline(never)]
pub fn fetch(work: &mut Work, insn: &Insn) -> bool {
    verifier::frame();
    let Work { packet, question, hook, .. } = work;
    let copy = maps::ADDRESS_COPY.get(0).map_or(0, forget);
    let look_up = |question: &Question| -> Option<Value> { maps::address(question) };
    let Some(found) = addresses::type_of(packet, (argument(insn.low), *hook, copy), question, look_up) else {
        return false;
    };
    packet.words[insn.extra as usize & (WORDS - 1)] = found;
    true
}
