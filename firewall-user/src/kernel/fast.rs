//! By which interfaces packets may take the fast path ([`firewall_common::fast`]), and why not by the others.

use std::collections::BTreeSet;

use super::{
    Instance, KernelError, attach,
    interfaces::{self, Interface},
    maps,
    netlink::{self, Features},
};
use crate::{
    compile::{Compiled, Manifest},
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

/// All interfaces, with what the settings say of their checksums.
pub(super) fn trusted(manifest: &Manifest) -> Result<Vec<Interface>, KernelError> {
    let mut all = interfaces::list()?;
    trust_checksums(&mut all, &manifest.config);
    Ok(all)
}

/// What each place of an interface says, in order of places.
pub(super) fn devices(manifest: &Manifest, all: &[Interface], entries: &[(u32, Entry)]) -> Vec<Device> {
    let mut devices = vec![Device::default(); MAX_INTERFACES as usize];
    for (place, entry, interface) in ours(manifest, all, entries) {
        let found = Found::of(manifest, all, (interface, entry));
        if let Some(device) = devices.get_mut(place as usize) {
            *device = found.device(interface);
        }
    }
    devices
}

/// Interfaces that programs are attached to, where there is a fast path.
fn ours<'a>(
    manifest: &Manifest,
    all: &'a [Interface],
    entries: &'a [(u32, Entry)],
) -> impl Iterator<Item = (u32, &'a Entry, &'a Interface)> {
    let has_fast_path = manifest.has_fast_path();
    let of =
        |(place, entry): &'a (u32, Entry)| Some((*place, entry, all.iter().find(|one| one.index == entry.ifindex)?));
    entries.iter().filter(move |(_, entry)| has_fast_path && entry.flags & attach::NAME_ONLY == 0).filter_map(of)
}

/// A hardware address as the words of a packet have it.
fn words(address: [u8; 6]) -> [u32; 2] {
    let [first @ .., fifth, sixth] = address;
    [u32::from_be_bytes(first), u32::from_be_bytes([fifth, sixth, 0, 0])]
}

/// What an interface is to the fast path, and if not, why not.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Packets that come in by it take it.
    into: Result<(), String>,
    /// Packets that came in by tc leave by it.
    out_of_tc: Result<(), String>,
    /// And those that came in by XDP.
    out_of_xdp: Result<(), String>,
}

impl Found {
    fn of(manifest: &Manifest, all: &[Interface], (interface, entry): (&Interface, &Entry)) -> Self {
        let out_of_tc = has_hardware_addresses(interface);
        let out_of_xdp = out_of_tc.clone().and_then(|()| takes_frames(manifest, interface));
        let into = out_of_tc.clone().and_then(|()| comes_in(manifest, all, (interface, entry)));
        Self { into, out_of_tc, out_of_xdp }
    }

    fn device(&self, interface: &Interface) -> Device {
        let flag = |result: &Result<(), String>, flag| if result.is_ok() { flag } else { 0 };
        let flags = flag(&self.into, IN) | flag(&self.out_of_tc, OUT_TC) | flag(&self.out_of_xdp, OUT_XDP);
        Device { flags, address: words(interface.address), ifindex: interface.index }
    }
}

fn has_hardware_addresses(interface: &Interface) -> Result<(), String> {
    if interface.has_ethernet && !interface.is_loopback && interface.address != [0; 6] {
        return Ok(());
    }
    Err("it has no hardware address".to_owned())
}

/// Does its driver take frames from XDP, and need nobody see them leave?
fn takes_frames(manifest: &Manifest, interface: &Interface) -> Result<(), String> {
    if manifest.needs.device_chains {
        return Err("chains of hook egress must see what leaves".to_owned());
    }
    let Some(features) = Features::open() else { return Err("only Linux 6.3 and later tell".to_owned()) };
    if features.takes_frames(interface.index) {
        return Ok(());
    }
    // Of a pair whose checksums the settings vouch for nothing says here that it is one.
    Err("its driver takes no frames from XDP now; that of a veth end does while the other end has an XDP program or `gro on`"
        .to_owned())
}

/// Is it by this interface that the stack takes packets, and by nothing above it: a bridge, a bond, a VRF, a VLAN?
fn comes_in(manifest: &Manifest, all: &[Interface], (interface, entry): (&Interface, &Entry)) -> Result<(), String> {
    let named = |index: u32| all.iter().find(|other| other.index == index).map_or("another", |other| &*other.name);
    let is_chosen =
        manifest.config.forwarding.fast_path == FastPath::All || manifest.flow_devices.contains(&interface.name);
    if !is_chosen {
        return Err("the flowtable does not name it".to_owned());
    }
    if let Some(controller) = interface.controller {
        return Err(format!("it is a port of `{}`", named(controller)));
    }
    if let Some(above) = all.iter().find(|other| other.below == Some(interface.index)) {
        return Err(format!("`{}` is above it", above.name));
    }
    // XDP is not told which checksums are whole.
    let is_whole = entry.flags & TC_INGRESS != 0 || !interface.is_pair && entry.flags & GENERIC == 0;
    if is_whole { Ok(()) } else { Err("it is attached by XDP, which is not told which checksums are whole".to_owned()) }
}

/// What the fast path is to an interface, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastWay {
    /// The interface.
    pub name: String,
    /// Why packets that come in by it do not take the fast path.
    pub not_in: Option<String>,
    /// Why packets of the fast path do not leave by it. Asked about those that interfaces of this ruleset give it.
    pub not_out: Option<String>,
    /// It was otherwise at the last apply, and the programs go by that.
    pub has_changed: bool,
}

impl Instance {
    /// What the fast path is to each interface; nothing where the ruleset in force has none.
    pub fn fast_ways(&self, manifest: &Manifest) -> Result<Vec<FastWay>, KernelError> {
        if !manifest.has_fast_path() {
            return Ok(Vec::new());
        }
        let (all, entries) = (trusted(manifest)?, self.entries()?);
        let generation = self.pins.generation(self.generation()?);
        let told = maps::array::<Device>(&generation, maps::DEVICES)?;
        let found: Vec<_> = ours(manifest, &all, &entries)
            .map(|(place, entry, interface)| (place, interface, entry, Found::of(manifest, &all, (interface, entry))))
            .collect();
        let by_xdp = found.iter().any(|(_, _, entry, found)| found.into.is_ok() && entry.flags & TC_INGRESS == 0);
        let way = |(place, interface, _, found): (u32, &Interface, &Entry, Found)| {
            let now = found.device(interface);
            let Found { into, out_of_tc, out_of_xdp } = found;
            let not_out = if by_xdp { out_of_xdp } else { out_of_tc }.err();
            let has_changed = told.get(&place, 0).is_ok_and(|told| told != now);
            FastWay { name: interface.name.clone(), not_in: into.err(), not_out, has_changed }
        };
        Ok(found.into_iter().map(way).collect())
    }

    /// Tells the generation in force of interfaces that it did not know.
    pub(super) fn fill_devices_anew(&self, manifest: &Manifest, all: &[Interface]) -> Result<(), KernelError> {
        let directory = self.pins.generation(self.generation()?);
        maps::Maps::Pinned(&directory).fill(maps::DEVICES, &devices(manifest, all, &self.entries()?))
    }
}
