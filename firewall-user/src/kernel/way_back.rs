//! What must be so in this network namespace before the routing table can be asked for the way back.

use std::fs;

use firewall_common::image::USES_FIB;
use futures_util::TryStreamExt;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage},
};

use super::KernelError;

/// `bpf_fib_lookup` answers only where forwarding is on, and `fib` asks as if the packet came over loopback.
const FORWARDING: &str = "/proc/sys/net/ipv4/conf/lo/forwarding";

/// Refuses a ruleset whose questions the kernel would not answer, or not as it answers nftables.
pub(super) fn check(uses: u32) -> Result<(), KernelError> {
    if uses & USES_FIB == 0 {
        return Ok(());
    }
    let forwarding = fs::read_to_string(FORWARDING).map_err(KernelError::system(FORWARDING))?;
    if forwarding.trim() == "0" {
        return Err(KernelError::Limit(
            "the ruleset asks for the way back (`fib`), which the kernel tells programs only where forwarding is on: \
             `sysctl -w net.ipv4.conf.lo.forwarding=1` turns it on for the loopback interface alone; nothing is forwarded for it"
                .to_owned(),
        ));
    }
    if routes()?.iter().any(has_several_hops) {
        return Err(KernelError::Limit(
            "the ruleset asks for the way back (`fib`), and this host has a route with several next hops, of which the kernel tells \
             programs only one; nftables would accept a packet from each"
                .to_owned(),
        ));
    }
    Ok(())
}

fn has_several_hops(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::MultiPath(hops) if hops.len() > 1))
}

fn routes() -> Result<Vec<RouteMessage>, KernelError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(KernelError::system("netlink runtime"))?;
    runtime.block_on(ask())
}

async fn ask() -> Result<Vec<RouteMessage>, KernelError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::system("netlink"))?;
    let connection = tokio::spawn(connection);
    let query = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
    let routes = handle.route().get(query).execute().try_collect::<Vec<_>>().await;
    connection.abort();
    routes.map_err(|error| KernelError::system("list of routes")(std::io::Error::other(error)))
}
