//! Translations as instructions.

use firewall_common::{
    image::{Hook, Insn, Op, Part, USES_LOCAL_NAT, USES_NAT},
    nat::{ADDRESS_COMPUTED, HAS_ADDRESS, HAS_PORT, Kind, PERSISTENT, PORT_COMPUTED, PORT_REGISTER, PREFIX, RANDOM},
    packet::Field,
};

use super::{
    assembler::{Assembler, Place},
    data,
    words::{self, Way},
};
use crate::language::{
    Ruleset,
    ruleset::{Base, ChainType, Nat, NatKind, NatTo, Network, Statement, Table},
};

/// Where a translation is not taken.
pub(super) const MISPLACED: &str =
    "a translation that is reached by a jump from a chain that is not of type nat at its hook";

/// Where a chain is not taken.
const BEHIND: &str = "beside nat chains, a chain at postrouting must come before priority 100, where sources are \
                                 translated";

/// The same at input.
const BEHIND_INPUT: &str =
    "beside `snat` at input, a chain at input must come before priority 100, where sources are translated";

/// Why a part with chains is not taken, if it is not.
pub(super) fn refusal(ruleset: &Ruleset, part: Part) -> Option<&'static str> {
    match part {
        Part::PostroutingLate => Some(BEHIND),
        Part::InputLate if translates_at_input(ruleset) => Some(BEHIND_INPUT),
        _ => None,
    }
}

/// Is there a `snat` that packets for this host can meet?
fn translates_at_input(ruleset: &Ruleset) -> bool {
    let translates = |statement: &Statement| matches!(statement, Statement::Nat(nat) if nat.kind == NatKind::Source);
    let at_input = |base: Base| base.kind == ChainType::Nat && base.hook == Hook::Input;
    ruleset.tables().iter().filter(|table| table.chains.iter().filter_map(|chain| chain.base).any(at_input)).any(
        |table| {
            let mut reached = table.chains.iter().filter(|chain| chain.base.is_none_or(at_input));
            reached.any(|chain| chain.rules.iter().any(|rule| rule.statements.iter().any(translates)))
        },
    )
}

/// Is this where such a translation can stand?
pub(super) fn belongs(nat: &Nat, part: Part) -> bool {
    let is_nat = matches!(part, Part::PreroutingNat | Part::OutputNat | Part::InputNat | Part::PostroutingNat);
    is_nat && nat.kind.hooks().contains(&part.hook())
}

/// What a part with chains makes a ruleset use.
pub(super) const fn uses(part: Part) -> u32 {
    match part {
        Part::PreroutingNat | Part::OutputNat | Part::InputNat | Part::PostroutingNat => USES_NAT,
        _ => 0,
    }
}

/// Writes a translation: then the packet is done with the nat chains of its hook.
pub(super) fn write(out: &mut Assembler, (table, part): (&Table, Part), nat: &Nat, way: Way) {
    out.uses |= USES_NAT;
    if matches!(part, Part::OutputNat | Part::InputNat) {
        out.uses |= USES_LOCAL_NAT;
    }
    if let Some(network) = nat.network {
        let next = out.label();
        words::network_test(out, network, Way { flags: 0, pass: Place::Label(next), ..way });
        out.bind_here(next);
    }
    let run = |to: &Option<NatTo>| match to {
        Some(NatTo::Values(values)) => Some((values.low, values.high)),
        Some(NatTo::Lookup(_)) | None => None,
    };
    let (address, ports) = (run(&nat.address), run(&nat.ports));
    if write_by_state(out, table, nat, way) {
        return;
    }
    if let Some(NatTo::Lookup(lookup)) = &nat.address {
        data::each(out, table, lookup, way, |out, given, _| {
            finish(out, nat, (given.first().copied(), given.get(1).copied().or(ports)), way);
        });
    } else if let Some(NatTo::Lookup(lookup)) = &nat.ports {
        data::each(out, table, lookup, way, |out, given, _| finish(out, nat, (address, given.first().copied()), way));
    } else {
        finish(out, nat, (address, ports), way);
    }
}

/// The same by a map that can change while the ruleset is in force: what it gives goes through registers. `false`: it has none.
fn write_by_state(out: &mut Assembler, table: &Table, nat: &Nat, way: Way) -> bool {
    let Some(lookup) = nat.lookups().next() else { return false };
    let Some((state, map)) = data::in_state(out, table, lookup) else { return false };
    let of_address = nat.address.as_ref().is_some_and(|to| to.lookup().is_some());
    let port = (Field::register(PORT_REGISTER), 1);
    let address = match nat.network {
        Some(Network::Ip6) => (Field::register(PORT_REGISTER - 4), 4),
        Some(Network::Ip) | None => (Field::register(PORT_REGISTER - 1), 1),
    };
    let (parts, flags) = match (of_address, nat.joined) {
        (true, true) => (vec![address, port], HAS_ADDRESS | ADDRESS_COMPUTED | HAS_PORT | PORT_COMPUTED),
        (true, false) => (vec![address], HAS_ADDRESS | ADDRESS_COMPUTED),
        (false, _) => (vec![port], HAS_PORT | PORT_COMPUTED),
    };
    data::look_up_in_state(out, (&state, map), &lookup.keys, &parts, Way { flags: 0, ..way });
    let constant = |to: &Option<NatTo>| match to {
        Some(NatTo::Values(values)) => Some((values.low, values.high)),
        Some(NatTo::Lookup(_)) | None => None,
    };
    finish_with(out, nat, (constant(&nat.address), constant(&nat.ports)), flags, way);
    true
}

/// A run of values: the first and the last one.
type Run = Option<(u128, u128)>;

/// Writes the instruction that translates.
fn finish(out: &mut Assembler, nat: &Nat, to: (Run, Run), way: Way) {
    finish_with(out, nat, to, 0, way);
}

fn finish_with(out: &mut Assembler, nat: &Nat, (address, ports): (Run, Run), more: u32, way: Way) {
    let kind = match nat.kind {
        NatKind::Source => Kind::Source,
        NatKind::Destination => Kind::Destination,
        NatKind::Masquerade => Kind::Masquerade,
        NatKind::Redirect => Kind::Redirect,
    };
    let mut mask = kind as u32 | more;
    let mut insn = Insn { op: Op::Nat as u8, flags: way.flags, rule: way.rule, ..Insn::default() };
    if let Some(run) = address {
        mask |= HAS_ADDRESS;
        insn.low = out.wide_intervals(&[run]);
    }
    if let Some((first, last)) = ports {
        mask |= HAS_PORT;
        insn.high = (last as u32) << 16 | first as u32 & 0xffff;
    }
    let flags = [(nat.random || nat.fully_random, RANDOM), (nat.persistent, PERSISTENT), (nat.prefix, PREFIX)];
    insn.mask = mask | flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum::<u32>();
    out.push(insn, Place::Accept, way.fail);
}
