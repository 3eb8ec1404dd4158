//! Translations of addresses in a checked ruleset.

use firewall_common::image::Hook;

use super::{
    ruleset::{DataMap, Family, Form, Given, Lookup, MapData, Network, Table, Tuple, Values},
    types::Type,
};

/// How addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// `snat`
    Source,
    /// `dnat`
    Destination,
    /// `masquerade`
    Masquerade,
    /// `redirect`
    Redirect,
}

impl NatKind {
    /// The word nftables uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "snat",
            Self::Destination => "dnat",
            Self::Masquerade => "masquerade",
            Self::Redirect => "redirect",
        }
    }

    /// Where it can stand.
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Source => &[Hook::Postrouting, Hook::Input],
            Self::Destination | Self::Redirect => &[Hook::Prerouting, Hook::Output],
            Self::Masquerade => &[Hook::Postrouting],
        }
    }
}

/// What is translated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatTo {
    /// The same for every packet.
    Values(Values),
    /// What a map gives; nothing is translated when it gives nothing.
    Lookup(Lookup),
}

impl NatTo {
    /// The map, if it is one.
    pub const fn lookup(&self) -> Option<&Lookup> {
        match self {
            Self::Values(_) => None,
            Self::Lookup(lookup) => Some(lookup),
        }
    }
}

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which.
    pub kind: NatKind,
    /// Of which packets only, and what the addresses are.
    pub network: Option<Network>,
    /// `prefix`: the rest of an address stays as it is.
    pub prefix: bool,
    /// To which addresses.
    pub address: Option<NatTo>,
    /// Does the map give ports, too, joined to its addresses?
    pub joined: bool,
    /// To which ports.
    pub ports: Option<NatTo>,
    /// `random`
    pub random: bool,
    /// `fully-random`
    pub fully_random: bool,
    /// `persistent`
    pub persistent: bool,
}

impl Nat {
    /// The maps that it looks into.
    pub fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        [&self.address, &self.ports].into_iter().flatten().filter_map(NatTo::lookup)
    }

    /// The types of what the map of its addresses gives.
    pub(super) const fn data_types(&self) -> &'static [Type] {
        match (self.network, self.joined) {
            (Some(Network::Ip6), false) => &[Type::Ipv6Addr],
            (Some(Network::Ip6), true) => &[Type::Ipv6Addr, Type::InetService],
            (_, false) => &[Type::Ipv4Addr],
            (_, true) => &[Type::Ipv4Addr, Type::InetService],
        }
    }

    /// Is the network named by listings? In tables of both, and where what the map gives is more than an address.
    pub(super) fn names_network(&self, table: &Table) -> bool {
        let is_run = |values: &[Values]| values.iter().any(|one| one.form != Form::Single);
        let of_tuple = |tuple: &Tuple| matches!(&tuple.given, Some(Given::Values(values)) if is_run(values));
        let has_runs = |lookup: &Lookup| match &lookup.map {
            DataMap::Listed { tuples, default } => {
                tuples.iter().any(of_tuple) || default.as_deref().is_some_and(is_run)
            }
            DataMap::Named(set) => matches!(table.sets[*set].data, Some(MapData::Values { interval: true, .. })),
        };
        let lookup = self.address.as_ref().and_then(NatTo::lookup);
        table.family == Family::Inet || lookup.is_some_and(|lookup| self.joined || has_runs(lookup))
    }
}
