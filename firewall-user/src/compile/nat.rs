//! Translations as instructions.

use firewall_common::{
    image::{Hook, Insn, Op, Part, USES_NAT},
    nat::{HAS_ADDRESS, HAS_PORT, Kind, PERSISTENT, RANDOM},
};

use super::{
    assembler::{Assembler, Place},
    words::{self, Way},
};
use crate::language::{
    Ruleset,
    ruleset::{Base, ChainType, Nat, NatKind, Statement},
};

/// Where a translation is not taken.
pub(super) const MISPLACED: &str =
    "a translation that is reached by a jump from a chain that is not of type nat at its hook";

/// Where a chain is not taken.
pub(super) const BEHIND: &str = "beside nat chains, a chain at postrouting must come before priority 100, where sources are \
                                 translated";

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

/// What the programs do not do about a chain, if anything.
pub(super) fn refusal(ruleset: &Ruleset, base: Base) -> Option<&'static str> {
    if base.kind == ChainType::Nat {
        return match base.hook {
            Hook::Output if has(ruleset, base, true) => {
                Some("dnat and redirect of packets made here are not carried out yet: their route is chosen before")
            }
            Hook::Input if has(ruleset, base, false) => Some("snat of packets for this host is not carried out yet"),
            _ => None,
        };
    }
    None
}

/// Does some chain of this hook translate?
fn has(ruleset: &Ruleset, base: Base, destination: bool) -> bool {
    let translates = |statement: &Statement| match statement {
        Statement::Nat(nat) => matches!(nat.kind, NatKind::Destination | NatKind::Redirect) == destination,
        _ => false,
    };
    let chains = ruleset.tables().iter().flat_map(|table| &table.chains);
    let mut of_hook = chains.filter(|chain| chain.base.is_none_or(|other| other.hook == base.hook));
    of_hook.any(|chain| chain.rules.iter().any(|rule| rule.statements.iter().any(translates)))
}

/// Writes a translation: then the packet is done with the nat chains of its hook.
pub(super) fn write(out: &mut Assembler, nat: &Nat, way: Way) {
    let Nat { kind, network, address, ports, random, fully_random, persistent } = nat;
    out.uses |= USES_NAT;
    if let Some(network) = network {
        let next = out.label();
        words::network_test(out, *network, Way { flags: 0, pass: Place::Label(next), ..way });
        out.bind_here(next);
    }
    let kind = match kind {
        NatKind::Source => Kind::Source,
        NatKind::Destination => Kind::Destination,
        NatKind::Masquerade => Kind::Masquerade,
        NatKind::Redirect => Kind::Redirect,
    };
    let mut mask = kind as u32;
    let mut insn = Insn { op: Op::Nat as u8, flags: way.flags, rule: way.rule, ..Insn::default() };
    if let Some(values) = address {
        mask |= HAS_ADDRESS;
        insn.low = out.wide_intervals(&[(values.low, values.high)]);
    }
    if let Some((first, last)) = ports {
        mask |= HAS_PORT;
        insn.high = u32::from(*last) << 16 | u32::from(*first);
    }
    if *random || *fully_random {
        mask |= RANDOM;
    }
    if *persistent {
        mask |= PERSISTENT;
    }
    insn.mask = mask;
    out.push(insn, Place::Accept, way.fail);
}
