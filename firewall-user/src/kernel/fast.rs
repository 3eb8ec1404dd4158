//! By which interfaces packets may take the fast path ([`firewall_common::fast`]), and why not by the others.

use std::collections::BTreeSet;

use super::{
    KernelError, attach,
    interfaces::Interface,
    netlink::{self, Features},
};
use crate::{
    compile::Compiled,
    config::{Config, FastPath},
};
use firewall_common::{
    fast::{Device, FAST_ALL, IN, OUT_TC, OUT_XDP},
    image::{Image, Part, Target, USES_FAST},
    interface::{GENERIC, Interface as Entry, TC_INGRESS},
    limits::MAX_INTERFACES,
    packet::Field,
};

/// What the ruleset uses, with what the settings add to it.
pub(super) fn uses(compiled: &Compiled) -> u32 {
    let all = compiled.manifest.config.forwarding.fast_path == FastPath::All;
    compiled.image.settings.uses | if all { USES_FAST } else { 0 }
}

/// The same of the ways in which connections are tracked.
pub(super) fn ways(compiled: &Compiled) -> u32 {
    if compiled.manifest.config.forwarding.fast_path == FastPath::All { FAST_ALL } else { 0 }
}

/// Refuses what would send packets elsewhere than the stack does.
pub(super) fn check(compiled: &Compiled) -> Result<(), KernelError> {
    if uses(compiled) & USES_FAST == 0 {
        return Ok(());
    }
    if netlink::ipsec_policies() != 0 {
        return Err(KernelError::Limit(
            "this host has IPsec policies (`ip xfrm policy`), which packets on the fast path (`flow add`, or `fast_path = \"all\"` in the \
             settings) would not be asked for: do without one of them"
                .to_owned(),
        ));
    }
    if sets_marks_before_routing(&compiled.image) {
        return Err(KernelError::Limit(
            "a rule at prerouting sets `meta mark`, by which `ip rule` may choose a route, and packets on the fast path (`flow add`, or \
             `fast_path = \"all\"` in the settings) have no mark: set the mark in chains of forward, or do without the fast path"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Does some chain that packets meet before their route is looked up write the packet's mark?
fn sets_marks_before_routing(image: &Image) -> bool {
    let parts = [Part::Ingress, Part::PreroutingRaw, Part::PreroutingEarly, Part::PreroutingNat, Part::Prerouting];
    let mut left: Vec<Target> = parts.iter().map(|part| image.settings.entry[*part as usize]).collect();
    let mut seen = BTreeSet::new();
    while let Some(target) = left.pop() {
        // Which rule comes next by the trees: one of those from that number on.
        let index = if target.is_next() { target.number() } else { target.0 };
        if target.is_verdict() || !seen.insert(index) {
            continue;
        }
        let Some(insn) = image.insns.get(index as usize) else { continue };
        if insn.written() & 1 << Field::Mark as u64 != 0 {
            return true;
        }
        left.extend([insn.pass, insn.fail]);
    }
    false
}

/// Packets whose checksums are whole by what the settings say need no tc.
pub(super) fn trust_checksums(all: &mut [Interface], config: &Config) {
    for interface in all {
        interface.is_pair &= !config.forwarding.whole_checksums.contains(&interface.name);
    }
}

/// What each place of an interface says, in order of places.
pub(super) fn devices(compiled: &Compiled, all: &[Interface], entries: &[(u32, Entry)]) -> Vec<Device> {
    let mut devices = vec![Device::default(); MAX_INTERFACES as usize];
    if uses(compiled) & USES_FAST == 0 {
        return devices;
    }
    let has_egress_chains = !compiled.image.settings.entry[Part::Egress as usize].is_verdict();
    let features = Features::open();
    for (place, entry) in entries {
        let Some(interface) = all.iter().find(|one| one.index == entry.ifindex) else { continue };
        let mut flags = if is_in(compiled, all, interface, entry) { IN } else { 0 };
        if is_out(interface, entry) {
            flags |= OUT_TC;
            let takes_frames = features.as_ref().is_some_and(|features| features.takes_frames(interface.index));
            flags |= if takes_frames && !has_egress_chains { OUT_XDP } else { 0 };
        }
        if let Some(device) = devices.get_mut(*place as usize) {
            *device = Device { flags, address: words(interface.address), ifindex: entry.ifindex };
        }
    }
    devices
}

/// A hardware address as the words of a packet have it.
fn words(address: [u8; 6]) -> [u32; 2] {
    let [first @ .., fifth, sixth] = address;
    [u32::from_be_bytes(first), u32::from_be_bytes([fifth, sixth, 0, 0])]
}

/// Is it by this interface that the stack takes packets, and by nothing above it: a bridge, a bond, a VRF, a VLAN?
fn is_in(compiled: &Compiled, all: &[Interface], interface: &Interface, entry: &Entry) -> bool {
    let config = &compiled.manifest.config.forwarding;
    let chosen = config.fast_path == FastPath::All || compiled.manifest.flow_devices.contains(&interface.name);
    let has_above = all.iter().any(|other| other.below == Some(interface.index));
    // XDP is not told which checksums are whole.
    let whole = entry.flags & TC_INGRESS != 0 || !interface.is_pair && entry.flags & GENERIC == 0;
    is_out(interface, entry) && chosen && interface.controller.is_none() && !has_above && whole
}

/// Has it hardware addresses, and is our program there to see packets leave?
fn is_out(interface: &Interface, entry: &Entry) -> bool {
    entry.flags & attach::NAME_ONLY == 0
        && interface.has_ethernet
        && !interface.is_loopback
        && interface.address != [0; 6]
}
