//! What rules ask for beside the packet's words: fetched into registers.

use firewall_common::{
    fetch::{BOTH, DESTINATION, Fetch, V6, what},
    image::{Insn, Op, USES_FETCH, USES_REGISTERS},
};

use super::{
    assembler::{Assembler, Place},
    hash,
    words::{self, CONNECTIONLESS, Way},
};
use crate::language::ruleset::{CtField, End, Generator, Network, Selector, Side, Source};

/// A value that is fetched.
pub(super) struct Wanted {
    fetch: Fetch,
    argument: u32,
    mask: u32,
    high: u32,
    /// How wide it is.
    pub(super) bits: u32,
    /// Does it belong to the packet's connection?
    of_connection: bool,
}

/// How a selector's value is fetched; `None` when it is one of the packet's words.
pub(super) fn wanted(selector: Selector) -> Option<Wanted> {
    let bits = selector.value_type().bits().into();
    let of = |fetch, argument| Wanted { fetch, argument, mask: 0, high: 0, bits, of_connection: false };
    Some(match selector {
        Selector::Cpu => of(Fetch::Cpu, 0),
        Selector::Random => of(Fetch::Random, 0),
        Selector::PktType => of(Fetch::PacketType, 0),
        Selector::Time => of(Fetch::Time, 0),
        Selector::Hour => of(Fetch::Hour, 0),
        Selector::Day => of(Fetch::Day, 0),
        Selector::Generated(Generator { kind, modulus, offset }) => {
            let fetch = match kind {
                Source::Increment => Fetch::Increment,
                Source::Random => Fetch::RandomBelow,
                Source::SymmetricHash => Fetch::SymmetricHash,
            };
            Wanted { mask: modulus, high: offset, ..of(fetch, 0) }
        }
        Selector::Hash(_) => of(Fetch::Hash, 0),
        Selector::Ct(field) => {
            let (fetch, argument) = of_connection(field);
            Wanted { of_connection: true, ..of(fetch, argument) }
        }
        _ => return None,
    })
}

fn of_connection(field: CtField) -> (Fetch, u32) {
    let direction = |side| u32::from(side == Side::Reply);
    let sided = |side: Option<Side>| side.map_or(BOTH, direction);
    let end = |end| if end == End::Destination { DESTINATION } else { 0 };
    match field {
        CtField::Direction => (Fetch::Direction, 0),
        CtField::Status => (Fetch::Status, 0),
        CtField::Zone(_) => (Fetch::Zone, 0),
        CtField::Expiration => (Fetch::Expiration, 0),
        CtField::Bytes(side) => (Fetch::Bytes, sided(side)),
        CtField::Packets(side) => (Fetch::Packets, sided(side)),
        CtField::Average(side) => (Fetch::Average, sided(side)),
        CtField::Id => (Fetch::Id, 0),
        CtField::L3Proto => (Fetch::L3Proto, 0),
        CtField::Protocol => (Fetch::Protocol, 0),
        CtField::Address(side, network, of) => {
            let family = if network == Network::Ip6 { V6 } else { 0 };
            (Fetch::Address, direction(side) | end(of) | family)
        }
        CtField::UnknownAddress(side, of) => (Fetch::Address, direction(side) | end(of)),
        CtField::Port(side, of) => (Fetch::Port, direction(side) | end(of)),
    }
}

/// Fetches what a selector stands for, if it is not there already; a packet that does not have it goes to `way.fail`.
pub(super) fn write(out: &mut Assembler, selector: Selector, way: Way) {
    let Some(mut wanted) = wanted(selector) else { return };
    if let Selector::Hash(hash) = selector {
        (wanted.argument, wanted.mask, wanted.high) = hash::write(out, hash.get(), way);
    }
    let Wanted { fetch, mut argument, mask, high, bits, of_connection } = wanted;
    if of_connection {
        words::step(out, way, words::range(firewall_common::packet::Field::CtState, CONNECTIONLESS, (0, 0)));
    }
    if fetch == Fetch::Increment {
        argument = out.generator(way.rule);
    }
    out.uses |= USES_REGISTERS | USES_FETCH;
    let extra = out.take_register(selector, if bits > 32 { 4 } else { 1 }) as u32;
    let next = out.label();
    let insn =
        Insn { op: Op::Fetch as u8, rule: way.rule, mask, low: what(fetch, argument), high, extra, ..Insn::default() };
    out.push(insn, Place::Label(next), way.fail);
    out.bind_here(next);
}
