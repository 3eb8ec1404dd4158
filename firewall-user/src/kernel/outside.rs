//! What beside rampart decides whether a packet arrives: interfaces, addresses, listeners, other rules in the kernel.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    process::{Command, Stdio},
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use serde_json::Value;

/// The sockets of the network namespace that this thread is in.
const NET: &str = "/proc/thread-self/net";

/// A packet, as far as others look at it.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    /// Upper-layer protocol.
    pub protocol: Option<u8>,
    /// Where it goes.
    pub destination: IpAddr,
    /// To which port.
    pub port: Option<u16>,
    /// Does it come in for this host?
    pub is_input: bool,
    /// Does it come in at all?
    pub is_incoming: bool,
    /// Does the ruleset let it pass?
    pub is_accepted: bool,
}

/// What may be in the way of a packet on this interface, in sentences.
pub fn outside(interface: &str, passing: Option<Passing>) -> Vec<String> {
    let mut lines = Vec::new();
    if is_down(interface) {
        lines.push(format!("interface {interface} is down: nothing comes in or leaves by it"));
    }
    let Some(passing) = passing else { return lines };
    if passing.is_input && !is_here(passing.destination) {
        lines.push(format!(
            "{} is no address of this host and there is no route for it: the network stack will not deliver it",
            passing.destination
        ));
    } else if !passing.is_accepted {
        return lines;
    } else if passing.is_input && !is_listening(&passing) {
        lines.push(no_listener(&passing));
    }
    if !passing.is_input && !is_here(passing.destination) && !has_route(passing.destination) {
        lines.push(format!(
            "there is no route to {0}: the network stack will not send it (`ip route get {0}`)",
            passing.destination
        ));
    }
    if passing.is_accepted {
        lines.extend(other_rules(passing.is_incoming));
    }
    lines
}

fn no_listener(passing: &Passing) -> String {
    let (port, protocol) = (passing.port.unwrap_or(0), passing.protocol);
    if protocol == Some(TCP) {
        format!(
            "no program listens on tcp port {port} of {}: the sender will see \"connection refused\"",
            passing.destination
        )
    } else {
        format!("no program has udp port {port} of {}: the sender will see \"port unreachable\"", passing.destination)
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

fn is_down(interface: &str) -> bool {
    let Ok(all) = getifaddrs() else { return false };
    let mut found = all.filter(|address| address.interface_name == interface).peekable();
    found.peek().is_some() && found.all(|address| !address.flags.contains(InterfaceFlags::IFF_UP))
}

/// Is it an address of this host, or one that many hosts have at once?
fn is_here(address: IpAddr) -> bool {
    let is_shared = match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    };
    let Ok(all) = getifaddrs() else { return true };
    is_shared
        || all.filter_map(|one| one.address).any(|storage| {
            storage.as_sockaddr_in().is_some_and(|one| IpAddr::V4(one.ip()) == address)
                || storage.as_sockaddr_in6().is_some_and(|one| IpAddr::V6(one.ip()) == address)
        })
}

/// Does the kernel know a way there? A socket that is connected asks, and sends nothing.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let Ok(socket) = UdpSocket::bind((any, 0)) else { return true };
    let refused = socket.connect((address, 9)).err().map(|error| error.kind());
    !matches!(refused, Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable))
}

/// Does a program wait for the packet? Of protocols without ports, the kernel itself does.
fn is_listening(passing: &Passing) -> bool {
    let Some(port) = passing.port else { return true };
    let (files, state) = match passing.protocol {
        Some(TCP) => (["tcp", "tcp6"], "0A"),
        Some(UDP) => (["udp", "udp6"], "07"),
        _ => return true,
    };
    files.iter().any(|file| {
        let text = fs::read_to_string(format!("{NET}/{file}")).unwrap_or_default();
        text.lines()
            .skip(1)
            .filter_map(|line| socket(line, state))
            .any(|(address, bound)| bound == port && (address.is_unspecified() || address == passing.destination))
    })
}

/// The local address and port of a line of `/proc/net/tcp` and the like, if the socket is in this state
/// (`tcp4_seq_show`, `net/ipv4/tcp_ipv4.c`).
fn socket(line: &str, wanted: &str) -> Option<(IpAddr, u16)> {
    let mut words = line.split_whitespace();
    let (local, _, state) = (words.nth(1)?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':')?;
    (state == wanted).then_some((address_of(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words in the byte order of the machine.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => word(0).map(|bytes| Ipv4Addr::from(bytes).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            let bytes: [u8; 16] = words.try_into().ok()?;
            let address = Ipv6Addr::from(bytes);
            Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
        }
        _ => None,
    }
}

/// Chains of other rulesets in the kernel that packets of this way meet and that can drop.
pub(super) fn other_rules(is_incoming: bool) -> Vec<String> {
    let mut lines: Vec<String> = nft_chains(is_incoming)
        .into_iter()
        .map(|chain| format!("the kernel's own nftables rules may drop it as well: {chain} (`nft list ruleset`)"))
        .collect();
    for (file, tool) in [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")] {
        let tables = fs::read_to_string(format!("{NET}/{file}")).unwrap_or_default();
        if tables.lines().any(|table| table == "filter") {
            lines.push(format!("rules of {tool} may drop it as well (`{tool} -S`)"));
        }
    }
    lines
}

/// Base chains with a policy or a rule that drops, as `nft` tells them; none where there is no nft.
fn nft_chains(is_incoming: bool) -> BTreeSet<String> {
    let output =
        Command::new("nft").args(["-j", "list", "ruleset"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let listed =
        output.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok()).unwrap_or_default();
    let objects = listed["nftables"].as_array().cloned().unwrap_or_default();
    let hooks: &[&str] =
        if is_incoming { &["ingress", "prerouting", "input", "forward"] } else { &["output", "postrouting", "egress"] };
    let name = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        let is_met = chain["hook"].as_str().is_some_and(|hook| hooks.contains(&hook));
        if is_met && (chain["policy"] == "drop" || has_drop(&objects, chain)) {
            found.insert(format!(
                "chain {} of table {} {}",
                name(chain, "name"),
                name(chain, "family"),
                name(chain, "table")
            ));
        }
    }
    found
}

/// Has the table of a chain a rule that drops or rejects? Whether it is reached is not asked.
fn has_drop(objects: &[Value], chain: &Value) -> bool {
    objects.iter().filter_map(|object| object.get("rule")).any(|rule| {
        let is_of_table = rule["family"] == chain["family"] && rule["table"] == chain["table"];
        let text = rule["expr"].to_string();
        is_of_table && (text.contains("\"drop\"") || text.contains("\"reject\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_as_the_kernel_writes_them() {
        let line = "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1 0";
        let expected: IpAddr =
            if cfg!(target_endian = "little") { [127, 0, 0, 1].into() } else { [1, 0, 0, 127].into() };
        assert_eq!(socket(line, "0A"), Some((expected, 22)));
        assert_eq!(socket(line, "07"), None);
        assert_eq!(address_of("00000000000000000000000000000000"), Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        assert_eq!(address_of("0"), None);
    }
}
