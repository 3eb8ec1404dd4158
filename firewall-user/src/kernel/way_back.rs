//! What must be so in this network namespace before the routing table can be asked: for the way back, and for what a route
//! takes.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use firewall_common::image::{Image, USES_LOCAL_NAT, USES_MTU};
use futures_util::TryStreamExt;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric},
    packet_route::rule::RuleMessage,
};

use super::KernelError;

/// `bpf_fib_lookup` answers only where forwarding is on, and `fib` asks as if the packet came over loopback.
///
/// Refuses a ruleset whose questions the kernel would not answer, or not as it answers nftables.
pub(super) fn check(image: &Image) -> Result<(), KernelError> {
    if image.settings.uses & USES_MTU != 0 {
        check_mtu()?;
    }
    if image.settings.uses & USES_LOCAL_NAT != 0 {
        check_local_nat()?;
    }
    if image.asks(false) {
        check_v4()?;
    }
    if image.asks(true) { check_v6() } else { Ok(()) }
}

fn check_v4() -> Result<(), KernelError> {
    if !is_on(Path::new("/proc/sys/net/ipv4/conf/lo/forwarding")) {
        return Err(KernelError::Limit(
            "the ruleset asks for the way back (`fib`), which the kernel tells programs only where forwarding is on: \
             `sysctl -w net.ipv4.conf.lo.forwarding=1` turns it on for the loopback interface alone; nothing is forwarded for it"
                .to_owned(),
        ));
    }
    if routes(false)?.iter().any(has_several_hops) {
        return Err(KernelError::Limit(
            "the ruleset asks for the way back (`fib`), and this host has a route with several next hops, of which the kernel tells \
             programs only one; nftables would accept a packet from each"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The same of IPv6. There nftables prefers, of several routes to one network, that of the interface with the packet's
/// destination (`rt6_device_match`, net/ipv6/route.c, Linux 6.18), and programs are told the first.
fn check_v6() -> Result<(), KernelError> {
    if !is_on(Path::new("/proc/sys/net/ipv6/conf/lo/forwarding")) {
        return Err(KernelError::Limit(
            "the ruleset asks for the way back of IPv6 packets (`fib`), which the kernel tells programs only where forwarding is on: \
             `sysctl -w net.ipv6.conf.lo.forwarding=1` turns it on for the loopback interface alone; nothing is forwarded for it, \
             but routes learnt from advertisements go until the next one, unless `accept_ra` is 2"
                .to_owned(),
        ));
    }
    let mut seen = HashSet::new();
    for route in routes(true)? {
        if has_several_hops(&route) || network(&route).is_some_and(|network| !seen.insert(network)) {
            return Err(KernelError::Limit(
                "the ruleset asks for the way back of IPv6 packets (`fib`), and this host has several routes to one network, of which \
                 the kernel tells programs only one; nftables may take another"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

/// Table and network of a route; `None` where every interface has one of its own: link-local and multicast addresses.
fn network(route: &RouteMessage) -> Option<(u32, Ipv6Addr, u8)> {
    let attribute = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(*address),
        _ => None,
    };
    let table = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    };
    let address = route.attributes.iter().find_map(attribute).unwrap_or(Ipv6Addr::UNSPECIFIED);
    let table = route.attributes.iter().find_map(table).unwrap_or(route.header.table.into());
    let is_of_a_link = address.is_multicast() || address.is_unicast_link_local();
    (!is_of_a_link).then_some((table, address, route.header.destination_prefix_length))
}

/// Refuses where a route's size would be known to nftables and not to programs.
fn check_mtu() -> Result<(), KernelError> {
    for family in ["ipv4", "ipv6"] {
        let interfaces = format!("/proc/sys/net/{family}/conf");
        let loopback = format!("{interfaces}/lo/forwarding");
        if is_on(Path::new(&loopback)) || !forwards(Path::new(&interfaces)) {
            continue;
        }
        return Err(KernelError::Limit(format!(
            "the ruleset asks what routes take (`rt mtu`), which the kernel tells programs only where forwarding is on, also for \
             the way back: `sysctl -w net.{family}.conf.lo.forwarding=1` turns it on for the loopback interface; nothing is \
             forwarded for it"
        )));
    }
    for is_v6 in [false, true] {
        if routes(is_v6)?.iter().any(has_own_mtu) {
            return Err(KernelError::Limit(
                "the ruleset asks what routes take (`rt mtu`), and this host has a route with an `mtu` of its own, which programs \
                 are told only where it is locked: `ip route change .. mtu lock N`"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

/// What is made here and goes elsewhere than its sender said needs a way that the stack did not look for; and what the stack is
/// handed comes with an address that the wire it came by may not have.
fn check_local_nat() -> Result<(), KernelError> {
    for family in ["ipv4", "ipv6"] {
        let parameter = format!("/proc/sys/net/{family}/conf/lo/forwarding");
        if Path::new(&parameter).exists() && !is_on(Path::new(&parameter)) {
            return Err(KernelError::Limit(format!(
                "the ruleset translates destinations of packets made here, or sources of packets for this host, and the kernel tells \
                 programs the way to an address only where forwarding is on: `sysctl -w net.{family}.conf.lo.forwarding=1` turns it on \
                 for the loopback interface alone; nothing is forwarded for it"
            )));
        }
    }
    let Ok(interfaces) = fs::read_dir("/proc/sys/net/ipv4/conf") else { return Ok(()) };
    let is_strict = |path: &Path| fs::read_to_string(path).is_ok_and(|value| value.trim() == "1");
    match interfaces.filter_map(Result::ok).find(|one| is_strict(&one.path().join("rp_filter"))) {
        Some(strict) => Err(KernelError::Limit(format!(
            "the ruleset translates destinations of packets made here, or sources of packets for this host, and with \
             `net.ipv4.conf.{}.rp_filter=1` the stack would refuse packets whose translated source has another way back: 2 or 0 does not",
            strict.file_name().to_string_lossy()
        ))),
        None => Ok(()),
    }
}

/// A parameter that is not there is off: a kernel without IPv6, for instance.
fn is_on(parameter: &Path) -> bool {
    fs::read_to_string(parameter).is_ok_and(|value| value.trim() != "0")
}

/// Does any interface forward packets?
fn forwards(interfaces: &Path) -> bool {
    let Ok(entries) = fs::read_dir(interfaces) else { return false };
    entries.filter_map(Result::ok).any(|interface| is_on(&interface.path().join("forwarding")))
}

/// The number of `mtu` among the metrics (`RTAX_MTU`, include/uapi/linux/rtnetlink.h).
const MTU: u32 = 2;

fn has_own_mtu(route: &RouteMessage) -> bool {
    let metrics = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    let has = |wanted: fn(&RouteMetric) -> bool| metrics.is_some_and(|metrics| metrics.iter().any(wanted));
    has(|metric| matches!(metric, RouteMetric::Mtu(_)))
        && !has(|metric| matches!(metric, RouteMetric::Lock(locked) if locked & 1 << MTU != 0))
}

fn has_several_hops(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::MultiPath(hops) if hops.len() > 1))
}

/// All routes of a family, of every table.
pub(super) fn routes(is_v6: bool) -> Result<Vec<RouteMessage>, KernelError> {
    runtime()?.block_on(ask(is_v6))
}

/// All rules of a family, in their order.
pub(super) fn rules(is_v6: bool) -> Result<Vec<RuleMessage>, KernelError> {
    runtime()?.block_on(ask_rules(is_v6))
}

fn runtime() -> Result<tokio::runtime::Runtime, KernelError> {
    tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(KernelError::system("netlink runtime"))
}

async fn ask(is_v6: bool) -> Result<Vec<RouteMessage>, KernelError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::system("netlink"))?;
    let connection = tokio::spawn(connection);
    let query = if is_v6 {
        RouteMessageBuilder::<Ipv6Addr>::new().build()
    } else {
        RouteMessageBuilder::<Ipv4Addr>::new().build()
    };
    let routes = handle.route().get(query).execute().try_collect::<Vec<_>>().await;
    connection.abort();
    routes.map_err(|error| KernelError::system("list of routes")(std::io::Error::other(error)))
}

async fn ask_rules(is_v6: bool) -> Result<Vec<RuleMessage>, KernelError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::system("netlink"))?;
    let connection = tokio::spawn(connection);
    let version = if is_v6 { IpVersion::V6 } else { IpVersion::V4 };
    let rules = handle.rule().get(version).execute().try_collect::<Vec<_>>().await;
    connection.abort();
    rules.map_err(|error| KernelError::system("list of rules")(std::io::Error::other(error)))
}
