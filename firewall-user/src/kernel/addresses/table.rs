//! What every address is, from the routes of a network namespace.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use firewall_common::addresses::{self, ANYCAST, BEFORE, BROADCAST, LOCAL, MULTICAST, UNICAST, Value};
use firewall_common::fib::LOOPBACK;
use rtnetlink::packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteType},
};

/// Routing tables (`enum rt_class_t`, include/uapi/linux/rtnetlink.h).
const MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// What is looked up: bits that count, and all of [`addresses::Data`] behind the number of the copy.
pub(super) type Key = (u32, [u32; 6]);

/// A route, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) is_v6: bool,
    pub(super) table: u32,
    /// Its network: an IPv4 address in the lowest bits.
    pub(super) network: u128,
    pub(super) length: u8,
    pub(super) kind: RouteType,
    pub(super) interface: u32,
    pub(super) has_gateway: bool,
    /// Did the kernel make it?
    pub(super) is_kernels: bool,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) entries: HashMap<Key, Value>,
    /// Why IPv4 addresses, and why those of IPv6, cannot be told for certain.
    pub(super) doubts: [Option<String>; 2],
}

impl Route {
    /// What a message says; `None` for a route that is not followed now, or not by every packet.
    pub(super) fn of(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.flags.contains(RouteFlags::Dead) || header.tos != 0 {
            return None;
        }
        let is_v6 = header.address_family == AddressFamily::Inet6;
        let mut route = Self {
            is_v6,
            table: header.table.into(),
            network: 0,
            length: header.destination_prefix_length,
            kind: header.kind,
            interface: 0,
            has_gateway: false,
            is_kernels: header.protocol == RouteProtocol::Kernel,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => route.network = address.to_bits().into(),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => route.network = address.to_bits(),
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Oif(interface) => route.interface = *interface,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => route.has_gateway = true,
                RouteAttribute::MultiPath(hops) => {
                    if hops.iter().all(|hop| hop.flags.contains(RouteNextHopFlags::Dead)) {
                        return None;
                    }
                    route.interface = hops.first().map_or(0, |hop| hop.interface_index);
                    route.has_gateway |= is_v6;
                }
                _ => {}
            }
        }
        Some(route)
    }

    const fn bits(&self) -> u8 {
        if self.is_v6 { 128 } else { 32 }
    }

    fn contains(&self, address: u128) -> bool {
        let behind = u32::from(self.bits() - self.length);
        let network = |address: u128| address.checked_shr(behind).unwrap_or(0);
        network(address) == network(self.network)
    }

    /// The type that the kernel gives to an address that it finds by this route (`fib_props`, `net/ipv4/fib_semantics.c`): where a
    /// route refuses, nothing is found.
    const fn value(&self) -> u32 {
        match self.kind {
            RouteType::Local => LOCAL,
            // What IPv6 routes to loopback it refuses (`fib6_is_reject`), but for its own addresses.
            _ if self.is_v6 && self.interface == LOOPBACK && self.network != 1 => 0,
            RouteType::Broadcast => BROADCAST,
            // Of IPv6 only the kernel's own are (`rtm_to_fib6_config`, net/ipv6/route.c): others lack `RTF_ANYCAST`.
            RouteType::Anycast if self.is_v6 && !self.is_kernels => UNICAST,
            RouteType::Anycast => ANYCAST,
            RouteType::Multicast => MULTICAST,
            RouteType::Unicast => UNICAST,
            _ if self.is_v6 => 0,
            _ => UNICAST,
        }
    }

    const fn leads(&self) -> bool {
        self.value() != 0
    }

    fn name(&self) -> String {
        let address = if self.is_v6 {
            Ipv6Addr::from_bits(self.network).to_string()
        } else {
            Ipv4Addr::from_bits(self.network as u32).to_string()
        };
        format!("{address}/{}", self.length)
    }
}

/// What all addresses are.
pub(super) fn known(routes: &[Route]) -> Known {
    let mut known = Known::default();
    let of = |is_v6: bool, table: u32| -> Vec<&Route> {
        routes.iter().filter(|route| route.is_v6 == is_v6 && route.table == table).collect()
    };
    let (local4, main4) = (of(false, TABLE_LOCAL), of(false, MAIN));
    for route in &local4 {
        let key = (BEFORE + u32::from(route.length), data(addresses::V4, 0, route));
        known.entries.entry(key).or_insert([route.value(), route.interface]);
    }
    let (local6, main6) = (of(true, TABLE_LOCAL), of(true, MAIN));
    for route in &local6 {
        known.add(route, u32::from(route.length), route.value());
        if route.kind == RouteType::Local && route.is_kernels && route.length == 128 {
            let key = (BEFORE + 128, data(addresses::V6_OF_INTERFACE, route.interface, route));
            known.entries.insert(key, [LOCAL, route.interface]);
        }
    }
    for route in local6.iter().filter(|route| is_subnet(route) && is_best(route, &local6)) {
        known.add(route, 128, ANYCAST);
    }
    for route in main6.iter().filter(|route| is_subnet(route) && is_best(route, &main6)) {
        if best(route.network, route.interface, &local6).is_none() {
            known.add(route, 128, ANYCAST);
        }
    }
    known.doubts = [doubt4(&local4, &main4), doubt6(routes)];
    known
}

impl Known {
    /// An address of one link is found by its interface, and by packets that have none yet.
    fn add(&mut self, route: &Route, length: u32, value: u32) {
        let first = (route.network >> 96) as u32;
        let of_link = addresses::is_of_link(first) || addresses::is_multicast(first);
        for interface in [0].into_iter().chain(of_link.then_some(route.interface)) {
            let key = (BEFORE + length, data(addresses::V6, interface, route));
            self.entries.entry(key).or_insert([value, route.interface]);
        }
    }
}

fn data(kind: u32, interface: u32, route: &Route) -> [u32; 6] {
    let word = |at: u32| ((route.network >> (96 - 32 * at)) as u32).to_be();
    if route.is_v6 {
        [kind, interface, word(0), word(1), word(2), word(3)]
    } else {
        [kind, interface, word(3), 0, 0, 0]
    }
}

/// Is the first address of its network that of whichever router is there (`ipv6_anycast_destination`, `include/net/ip6_route.h`)?
fn is_subnet(route: &Route) -> bool {
    route.length < 127 && !route.has_gateway && route.leads()
}

/// Does a route say about the first address of its network?
fn is_best(route: &Route, routes: &[&Route]) -> bool {
    best(route.network, route.interface, routes).is_some_and(|best| best.length == route.length && is_subnet(best))
}

/// The route to an address; on a link only those of its interface.
fn best<'a>(address: u128, interface: u32, routes: &[&'a Route]) -> Option<&'a Route> {
    let of_link = addresses::is_of_link((address >> 96) as u32);
    let fits = |route: &&Route| route.contains(address) && (!of_link || route.interface == interface);
    let mut best: Option<&Route> = None;
    for route in routes.iter().copied().filter(fits) {
        if best.is_none_or(|best| route.length > best.length) {
            best = Some(route);
        }
    }
    best
}

/// As long as nobody has made a rule, the kernel keeps `main` and `local` in one trie (`fib_trie_table`), and then a longer prefix
/// of `main` counts. Whether it does cannot be asked: it is refused where it would make a difference.
fn doubt4(local: &[&Route], main: &[&Route]) -> Option<String> {
    let is_special = |route: &&&Route| route.value() != UNICAST;
    if let Some(route) = main.iter().find(is_special) {
        return Some(format!("the route to {} is in table `main` and not in `local`", route.name()));
    }
    for wide in local.iter().filter(|route| route.length < 32 && route.value() != UNICAST) {
        let is_within = |route: &&&Route| route.length > wide.length && wide.contains(route.network);
        if let Some(route) = main.iter().find(is_within) {
            return Some(format!("the route to {} is within that to {} of table `local`", route.name(), wide.name()));
        }
    }
    None
}

/// Where rules lead to other tables, what those say of an address counts too.
fn doubt6(routes: &[Route]) -> Option<String> {
    let is_other = |route: &&Route| route.is_v6 && !matches!(route.table, TABLE_LOCAL | MAIN);
    let counts = |route: &&Route| matches!(route.value(), LOCAL | ANYCAST) || (route.length > 0 && is_subnet(route));
    let route = routes.iter().filter(is_other).find(counts)?;
    Some(format!("the route to {} is in table {}, beside `local` and `main`", route.name(), route.table))
}

#[cfg(test)]
mod tests;
