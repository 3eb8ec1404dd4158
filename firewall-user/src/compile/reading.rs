//! Matches of what is read from bytes: an instruction that reads, then tests of the registers.

use firewall_common::{
    addresses::{DESTINATION, MAY_BE_V6, ON_IIF, ON_OIF},
    fetch::{Fetch, what},
    fib::{ONLY_IIF, PRESENCE, V6, WITH_MARK},
    image::{Insn, Op, USES_ADDRESSES, USES_FETCH, USES_FIB, USES_READINGS, USES_REGISTERS},
    packet::{FRAGMENT_LATER, Field, L4_PRESENT},
    parse::tagged,
    read::{Part, Read},
};

use super::{
    assembler::Assembler,
    words::{self, Way, Word},
};
use crate::language::{
    reading::{Base, Fib, FibResult, Place, Reading, Side, Span, Whole},
    ruleset::Selector,
};

/// Writes what must hold before it is read, and the instruction that reads.
pub(super) fn write(out: &mut Assembler, reading: Reading, way: Way) {
    for test in tests(reading) {
        words::step(out, way, test);
    }
    if let Reading::Fib(fib) = reading {
        return if fib.result == FibResult::Type { ask_type(out, fib, way) } else { ask(out, fib, way) };
    }
    let Some(span) = reading.span() else { return };
    out.uses |= USES_REGISTERS | USES_READINGS;
    let extra = out.take_register(Selector::Reading(reading), if span.bytes > 4 { 4 } else { 1 }) as u32;
    let read = Read { part: part(span), first: span.first, bytes: span.bytes, presence: span.presence };
    words::step(out, way, Insn { op: Op::Read as u8, extra, ..read.operands() });
}

/// Asks for the way back.
fn ask(out: &mut Assembler, fib: Fib, way: Way) {
    out.uses |= USES_REGISTERS | USES_FIB;
    let extra = out.take_register(Selector::Reading(Reading::Fib(fib)), 1) as u32;
    let with_mark = if fib.mark { WITH_MARK } else { 0 };
    let only_iif = if fib.interface == Some(Side::In) { ONLY_IIF } else { 0 };
    let family = if fib.v6 { V6 } else { 0 };
    let high = if fib.result == FibResult::Exists { PRESENCE } else { 0 };
    words::step(
        out,
        way,
        Insn { op: Op::Fib as u8, extra, low: with_mark | only_iif | family, high, ..Insn::default() },
    );
}

/// Asks what an address is.
fn ask_type(out: &mut Assembler, fib: Fib, way: Way) {
    out.uses |= USES_REGISTERS | USES_FETCH | USES_ADDRESSES;
    let extra = out.take_register(Selector::Reading(Reading::Fib(fib)), 1) as u32;
    let address = if fib.destination { DESTINATION } else { 0 };
    let interface = match fib.interface {
        Some(Side::In) => ON_IIF,
        Some(Side::Out) => ON_OIF,
        None => 0,
    };
    let family = if fib.v6 { MAY_BE_V6 } else { 0 };
    let low = what(Fetch::AddressType, address | interface | family);
    words::step(out, way, Insn { op: Op::Fetch as u8, extra, low, ..Insn::default() });
}

fn part(span: Span) -> Part {
    match span.of {
        Whole::Header(Base::Link) => Part::Link,
        Whole::Header(Base::Network) => Part::Network,
        Whole::Header(Base::Transport) => Part::Transport,
        Whole::Header(Base::Inner) => Part::Inner,
        Whole::Extension(kind) => Part::Extension(kind),
        Whole::IpOption(kind) => Part::IpOption(kind),
        Whole::TcpOption(kind) => Part::TcpOption(kind),
        Whole::Chunk(kind) => Part::Chunk(kind),
    }
}

/// EtherType of ARP.
const ARP: u32 = 0x0806;

/// What nftables tests first. The network layer is tested elsewhere, where nothing else has said it.
fn tests(reading: Reading) -> Vec<Insn> {
    let upper = |protocol: u8| {
        let header = u32::from(protocol) | L4_PRESENT;
        // A later fragment takes ports and types of the first one, but has none of the rest.
        vec![
            words::range(Field::L4Header, u32::MAX, (header, header)),
            words::range(Field::Fragment, FRAGMENT_LATER, (0, 0)),
        ]
    };
    match reading.place() {
        Some(Place::Arp) => vec![words::range(Field::EtherType, u32::MAX, (ARP, ARP))],
        Some(Place::Upper(protocol)) => upper(protocol),
        Some(Place::Message(protocol, kind)) => {
            let kind = tagged(protocol, u32::from(kind) << 8);
            let mut tests = upper(protocol);
            tests.push(words::range(Field::IcmpType, 0xffff_ff00, (kind, kind)));
            tests
        }
        Some(Place::Ip | Place::Extension(_) | Place::IpOption(_) | Place::TcpOption(_) | Place::Chunk(_)) | None => {
            Vec::new()
        }
    }
}

/// How what was read lies in its registers.
pub(super) fn word(out: &Assembler, reading: Reading) -> Word {
    let register = out.loaded(Selector::Reading(reading));
    if let Reading::Fib(_) = reading {
        return Word::Plain(register, u32::MAX.into());
    }
    let bits = u32::from(reading.value_type().bits());
    match reading.span() {
        Some(span) if span.presence => Word::Part(register, 0, 0xff),
        Some(span) if span.bytes <= 4 => Word::Part(register, span.shift, reading.value_type().max() as u32),
        Some(_) if bits == 128 => Word::Wide(register),
        Some(_) | None => Word::Left(register, 128 - bits),
    }
}
