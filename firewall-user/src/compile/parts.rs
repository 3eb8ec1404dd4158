//! Which chains a packet meets in one go, and in which order.

use std::cmp::Reverse;

use firewall_common::{
    image::{CONNTRACK, Hook, NAT_DST, NAT_SRC, Part},
    limits::IFNAMSIZ,
};

use crate::language::{
    Ruleset,
    ruleset::{Base, ChainType},
};

/// A base chain, by the numbers of its table and of itself in it.
#[derive(Clone, Copy)]
pub(super) struct Hung {
    pub(super) table: usize,
    pub(super) chain: usize,
    pub(super) base: Base,
}

/// The chains of a part in the order in which packets meet them. Of those with the same priority the kernel runs the one
/// that was registered last first (`nf_hook_entries_grow`, net/netfilter/core.c, Linux 6.18): so do we.
pub(super) fn chains(ruleset: &Ruleset, part: Part) -> Vec<Hung> {
    let first_nat = first_nat(ruleset);
    let mut found: Vec<_> = hung(ruleset).filter(|hung| part_of(*hung, first_nat) == part).collect();
    found.sort_by_key(|hung| (hung.base.priority, Reverse((hung.table, hung.chain))));
    found
}

fn hung(ruleset: &Ruleset) -> impl Iterator<Item = Hung> {
    // A dormant table's chains hang nowhere.
    ruleset.tables().iter().enumerate().filter(|(_, table)| !table.dormant).flat_map(|(table, content)| {
        let chains = content.chains.iter().enumerate();
        chains.filter_map(move |(chain, content)| Some(Hung { table, chain, base: content.base? }))
    })
}

/// With the first nat chain the kernel starts to translate, at all hooks (`nf_nat_register_fn`,
/// `net/netfilter/nf_nat_core.c`): its place among chains of the same priority is by when that was.
fn first_nat(ruleset: &Ruleset) -> Option<(usize, usize)> {
    hung(ruleset).find(|hung| hung.base.kind == ChainType::Nat).map(|hung| (hung.table, hung.chain))
}

fn part_of(Hung { table, chain, base }: Hung, first_nat: Option<(usize, usize)>) -> Part {
    let Base { kind, hook, priority, drops: _ } = base;
    let is_before =
        |nat: i32| first_nat.is_some_and(|first| priority < nat || (priority == nat && (table, chain) > first));
    let is_behind = |nat: i32| first_nat.is_some() && !is_before(nat);
    match (hook, kind) {
        (Hook::Prerouting, ChainType::Nat) => Part::PreroutingNat,
        (Hook::Output, ChainType::Nat) => Part::OutputNat,
        (Hook::Input, ChainType::Nat) => Part::InputNat,
        (Hook::Postrouting, ChainType::Nat) => Part::PostroutingNat,
        (Hook::Prerouting, _) if priority < CONNTRACK => Part::PreroutingRaw,
        (Hook::Output, _) if priority < CONNTRACK => Part::OutputRaw,
        (Hook::Prerouting, _) if is_before(NAT_DST) => Part::PreroutingEarly,
        (Hook::Output, _) if is_before(NAT_DST) => Part::OutputEarly,
        (Hook::Input, _) if is_behind(NAT_SRC) => Part::InputLate,
        (Hook::Postrouting, _) if is_behind(NAT_SRC) => Part::PostroutingLate,
        (hook, _) => hook.into(),
    }
}

/// An interface's name as the words of a packet have it.
pub(super) fn device_name(name: &str) -> u128 {
    let mut bytes = [0; IFNAMSIZ];
    let length = name.len().min(IFNAMSIZ - 1);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}
