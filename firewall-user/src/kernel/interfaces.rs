//! The interfaces of this network namespace, as the kernel tells them.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};

use super::KernelError;

/// An interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
    /// Do its frames start with an Ethernet header?
    pub(super) has_ethernet: bool,
    /// For a VLAN: the interface below.
    pub(super) vlan_of: Option<u32>,
    /// The interface below it, of whatever is stacked; not the other end of a pair.
    pub(super) below: Option<u32>,
    /// Its hardware address; zeros when it has none of six bytes.
    pub(super) address: [u8; 6],
    /// The interface it is a port of.
    pub(super) controller: Option<u32>,
    /// Is it one whose ports hand their packets to it before the network layer sees them: a bridge, a bond, a team?
    pub(super) has_ports: bool,
    /// Is it a VRF, which has a routing table of its own and hands packets of its ports to itself once more?
    pub(super) is_vrf: bool,
    /// Is it one end of a pair, whose packets come with checksums that the other end left to a network card?
    pub(super) is_pair: bool,
    /// Is it attached though nobody asked for it?
    pub(super) unasked: bool,
    /// Will its packets be rewritten, where a checksum covers them?
    pub(super) rewrites: bool,
    /// Id of the XDP program on it, and whether it is the driver's.
    pub(super) xdp: Option<(u32, bool)>,
}

/// All interfaces, in index order.
pub(super) fn list() -> Result<Vec<Interface>, KernelError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(KernelError::system("netlink runtime"))?;
    let mut interfaces = runtime.block_on(ask())?;
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

async fn ask() -> Result<Vec<Interface>, KernelError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::system("netlink"))?;
    let connection = tokio::spawn(connection);
    let links = handle.link().get().execute().try_collect::<Vec<_>>().await;
    connection.abort();
    let links = links.map_err(|error| KernelError::system("list of interfaces")(std::io::Error::other(error)))?;
    Ok(links.into_iter().filter_map(|link| describe(&link)).collect())
}

fn describe(link: &LinkMessage) -> Option<Interface> {
    let mut interface = Interface {
        index: link.header.index,
        is_up: link.header.flags.contains(LinkFlags::Up),
        is_loopback: link.header.flags.contains(LinkFlags::Loopback),
        has_ethernet: matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback),
        ..Interface::default()
    };
    let mut below = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Address(bytes) => interface.address = bytes[..].try_into().unwrap_or_default(),
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::Controller(index) => interface.controller = Some(*index),
            LinkAttribute::LinkInfo(info) => {
                let is = |kind: InfoKind| info.contains(&LinkInfo::Kind(kind));
                interface.is_pair = is(InfoKind::Veth);
                interface.is_vrf = is(InfoKind::Vrf);
                interface.vlan_of = is(InfoKind::Vlan).then_some(0);
                interface.has_ports =
                    is(InfoKind::Bridge) || is(InfoKind::Bond) || is(InfoKind::Other("team".to_owned()));
            }
            LinkAttribute::Xdp(xdp) => interface.xdp = describe_xdp(xdp),
            _ => {}
        }
    }
    interface.vlan_of = interface.vlan_of.and(below);
    interface.below = below.filter(|_| !interface.is_pair);
    (!interface.name.is_empty()).then_some(interface)
}

fn describe_xdp(attributes: &[LinkXdp]) -> Option<(u32, bool)> {
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let native = attributes.iter().any(|attribute| matches!(attribute, LinkXdp::Attached(XdpAttached::Driver)));
    Some((id, native))
}

/// Hardware address of the interface `name`, if it is Ethernet's.
pub fn hardware_address(name: &str) -> Option<[u8; 6]> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?.filter(|one| one.interface_name == name);
    all.find_map(|one| one.address?.as_link_addr()?.addr())
}

/// Index of the interface `name` in this network namespace.
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// The interfaces that `wanted` names; by default all that are up. When none is up yet, as when a machine starts, those
/// that are down.
pub(super) fn choose(all: &[Interface], wanted: &[String]) -> Result<Vec<Interface>, KernelError> {
    let mut chosen = Vec::new();
    for name in wanted {
        let found = all.iter().find(|interface| interface.name == *name).ok_or_else(|| unknown(all, name))?;
        if !chosen.iter().any(|other: &Interface| other.index == found.index) {
            chosen.push(found.clone());
        }
    }
    if wanted.is_empty() {
        let candidates = || all.iter().filter(|interface| is_default(all, interface));
        let any_is_up = candidates().any(|interface| interface.is_up);
        chosen.extend(candidates().filter(|interface| interface.is_up || !any_is_up).cloned());
    }
    if chosen.is_empty() { Err(KernelError::NoInterfaces) } else { Ok(chosen) }
}

/// Not loopback; not a VLAN, whose packets are judged on the interface below; not a port of a bridge, bond or team: what
/// it hands to this host is judged on the bridge, and what it hands to another port is not for the network layer.
fn is_default(all: &[Interface], interface: &Interface) -> bool {
    let is_port = all.iter().any(|other| other.has_ports && interface.controller == Some(other.index));
    !interface.is_loopback && interface.vlan_of.is_none() && !is_port
}

/// Packets of a VRF's port meet nft's chains twice, as the port's and as the VRF's, and are routed by the VRF's table. Programs see them
/// once, and have never been tried there.
pub(super) fn refuse_vrf(all: &[Interface], chosen: &[Interface]) -> Result<(), KernelError> {
    for interface in chosen {
        let vrf = all.iter().find(|other| other.is_vrf && interface.controller == Some(other.index));
        if let Some(Interface { name: vrf, .. }) = vrf.or((interface.is_vrf).then_some(interface)) {
            return Err(KernelError::Limit(format!(
                "interface `{}` belongs to the VRF `{vrf}`, whose packets nft judges twice, under both names: rampart cannot do that. \
                 Name the other interfaces with `-i`",
                interface.name
            )));
        }
    }
    Ok(())
}

fn unknown(all: &[Interface], name: &str) -> KernelError {
    let alike = |other: &&Interface| {
        other.name.len().abs_diff(name.len()) <= 1
            && other.name.chars().zip(name.chars()).filter(|(a, b)| a != b).count() <= 1
    };
    let suggestion = all.iter().find(alike).map(|interface| interface.name.clone());
    KernelError::NoInterface { name: name.to_owned(), suggestion }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            is_up: true,
            has_ethernet: true,
            address: [2, 0, 0, 0, 0, 1],
            ..Interface::default()
        }
    }

    /// A VRF and its ports are refused by name, what has nothing to do with it is not. (Not every kernel has VRFs to try it with.)
    #[test]
    fn a_vrf_and_its_ports_are_refused() {
        let vrf = Interface { is_vrf: true, ..interface(5, "blue") };
        let port = Interface { controller: Some(5), ..interface(2, "eth1") };
        let bridge = Interface { has_ports: true, ..interface(6, "br0") };
        let bridged = Interface { controller: Some(6), ..interface(3, "eth2") };
        let all = [interface(1, "eth0"), port.clone(), bridged.clone(), vrf.clone(), bridge.clone()];
        assert!(refuse_vrf(&all, &[interface(1, "eth0"), bridged, bridge]).is_ok());
        for refused in [port, vrf] {
            let name = refused.name.clone();
            let error = refuse_vrf(&all, &[interface(1, "eth0"), refused]).expect_err("a VRF").to_string();
            assert!(error.contains(&format!("`{name}` belongs to the VRF `blue`")), "{error}");
        }
    }

    /// The words in which the kernel tells of a VRF.
    #[test]
    fn a_vrf_is_known_by_its_kind() {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName("blue".to_owned()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vrf)]));
        assert!(describe(&link).is_some_and(|found| found.is_vrf));
    }
}
