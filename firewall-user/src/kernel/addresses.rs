//! What addresses are to this host (`fib daddr type`): a copy of the routing table `local` for the programs, see
//! [`firewall_common::addresses`].
//!
//! `apply` makes it, and the agent makes it anew whenever the kernel says that an address or a route has changed.

mod follow;
mod table;

use std::borrow::BorrowMut;

use aya::maps::{Array, LpmTrie, Map, MapData, lpm_trie};
use firewall_common::{
    addresses::{Data, MAX_ADDRESSES, MAY_BE_V6, Value},
    fetch::{self, Fetch},
    image::{Op, USES_ADDRESSES},
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

pub use self::follow::{Follower, follow};
use self::table::{Known, Route};
use super::{Instance, KernelError, Lock, lock::Refusal, maps, object, way_back};
use crate::compile::Compiled;

/// How the copy stands to the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Entries of the copy.
    pub entries: usize,
    /// Is it what the kernel has now?
    pub is_current: bool,
    /// Why the kernel may find something else, if there is a reason.
    pub doubt: Option<String>,
    /// Does an agent follow the kernel's table?
    pub is_followed: bool,
}

type Trie<T> = LpmTrie<T, Data, Value>;

impl Instance {
    /// Fills the copy for a ruleset that is about to be put in force, if it asks.
    pub(super) fn fill_addresses(&self, compiled: &Compiled) -> Result<(), KernelError> {
        if object::uses(compiled) & USES_ADDRESSES == 0 {
            return Ok(());
        }
        let known = known()?;
        refuse_doubts(&known, compiled)?;
        self.put_addresses(&known).map(drop)
    }

    /// Makes the copy what the kernel has now; was it something else?
    pub fn renew_addresses(&self, _lock: &Lock) -> Result<bool, KernelError> {
        self.put_addresses(&known()?)
    }

    /// How the copy stands to the kernel's table.
    pub fn addresses(&self) -> Result<Addresses, KernelError> {
        let mut known = known()?;
        let (trie, copy) = self.address_maps()?;
        let there = entries(&trie, copy.get(&0, 0).map_err(KernelError::map(maps::ADDRESS_COPY))?)?;
        let doubt = known.doubts.iter_mut().find_map(Option::take);
        let is_current = is_same(&there, &known);
        Ok(Addresses { entries: there.len(), is_current, doubt, is_followed: self.is_followed()? })
    }

    /// Does an agent follow the kernel's table?
    pub fn is_followed(&self) -> Result<bool, KernelError> {
        let path = self.pins.lock("addresses");
        match Lock::take(&path) {
            Ok(_) => Ok(false),
            Err(Refusal::Held(_)) => Ok(true),
            Err(failed @ Refusal::Failed(_)) => Err(failed.into_error(&path, |pid| KernelError::Locked { pid })),
        }
    }

    fn address_maps(&self) -> Result<(Trie<MapData>, Array<MapData, u32>), KernelError> {
        let trie = Map::LpmTrie(maps::open(&self.pins.state(), maps::ADDRESSES)?);
        let trie = LpmTrie::try_from(trie).map_err(KernelError::map(maps::ADDRESSES))?;
        Ok((trie, maps::array(&self.pins.state(), maps::ADDRESS_COPY)?))
    }

    /// Writes a new copy beside the one in force and then puts it in its place: a packet meets the one or the other. The old one
    /// stays until the next time, for packets that are looking into it.
    fn put_addresses(&self, known: &Known) -> Result<bool, KernelError> {
        let (mut trie, mut copy) = self.address_maps()?;
        let number = copy.get(&0, 0).map_err(KernelError::map(maps::ADDRESS_COPY))?;
        let keys = trie.keys().collect::<Result<Vec<_>, _>>().map_err(KernelError::map(maps::ADDRESSES))?;
        for key in keys.iter().filter(|key| key.data()[0] != number) {
            trie.remove(key).map_err(KernelError::map(maps::ADDRESSES))?;
        }
        if number != 0 && is_same(&entries(&trie, number)?, known) {
            return Ok(false);
        }
        let next = number.wrapping_add(1).max(1);
        write(&mut trie, next, known)?;
        copy.set(0, next, 0).map_err(KernelError::map(maps::ADDRESS_COPY))?;
        Ok(true)
    }
}

/// Fills the maps of a loaded object that is not in force.
pub(super) fn fill(ebpf: &mut aya::Ebpf, compiled: &Compiled) -> Result<(), KernelError> {
    if object::uses(compiled) & USES_ADDRESSES == 0 {
        return Ok(());
    }
    let known = known()?;
    refuse_doubts(&known, compiled)?;
    let map = ebpf.map_mut(maps::ADDRESSES).ok_or_else(|| KernelError::Damaged("no map ADDRESSES".to_owned()))?;
    let mut trie = Trie::<&mut MapData>::try_from(map).map_err(KernelError::map(maps::ADDRESSES))?;
    write(&mut trie, 1, &known)?;
    maps::fill(ebpf, maps::ADDRESS_COPY, &[1_u32])
}

fn asks_v6(compiled: &Compiled) -> bool {
    let asks = |what: u32| what as u8 == Fetch::AddressType as u8 && fetch::argument(what) & MAY_BE_V6 != 0;
    compiled.manifest.config.checks.own_addresses
        || compiled.image.insns.iter().any(|insn| insn.op == Op::Fetch as u8 && asks(insn.low))
}

fn refuse_doubts(known: &Known, compiled: &Compiled) -> Result<(), KernelError> {
    let [v4, of_v6] = &known.doubts;
    match v4.as_ref().or(of_v6.as_ref().filter(|_| asks_v6(compiled))) {
        None => Ok(()),
        Some(doubt) => Err(KernelError::Limit(format!(
            "the ruleset asks what addresses are (`fib .. type`, or the setting `own_addresses`), and programs cannot tell what the kernel would find here: {doubt}; \
             name the addresses in a set instead"
        ))),
    }
}

fn write<T: BorrowMut<MapData>>(trie: &mut Trie<T>, copy: u32, known: &Known) -> Result<(), KernelError> {
    if known.entries.len() > MAX_ADDRESSES as usize {
        return Err(KernelError::Limit(format!(
            "this host has {} local addresses, more than the {MAX_ADDRESSES} there is room for (`fib .. type`)",
            known.entries.len()
        )));
    }
    for ((bits, [kind, interface, address @ ..]), value) in &known.entries {
        let [first, second, third, fourth] = *address;
        let key = lpm_trie::Key::new(*bits, [copy, *kind, *interface, first, second, third, fourth]);
        trie.insert(&key, value, 0).map_err(KernelError::map(maps::ADDRESSES))?;
    }
    Ok(())
}

/// The entries of a copy.
fn entries(trie: &Trie<MapData>, copy: u32) -> Result<Vec<(table::Key, Value)>, KernelError> {
    let mut found = Vec::new();
    for entry in trie {
        let (key, value) = entry.map_err(KernelError::map(maps::ADDRESSES))?;
        let [number, kind, interface, first, second, third, fourth] = key.data();
        if number == copy {
            found.push(((key.prefix_len(), [kind, interface, first, second, third, fourth]), value));
        }
    }
    Ok(found)
}

fn is_same(there: &[(table::Key, Value)], known: &Known) -> bool {
    there.len() == known.entries.len() && there.iter().all(|(key, value)| known.entries.get(key) == Some(value))
}

/// What the kernel has now.
fn known() -> Result<Known, KernelError> {
    let mut routes = way_back::routes(false)?;
    let v6 = way_back::routes(true)?;
    let has_v6 = !v6.is_empty();
    routes.extend(v6);
    let routes: Vec<Route> = routes.iter().filter_map(Route::of).collect();
    let mut known = table::known(&routes);
    if has_v6 && !way_back::rules(true)?.first().is_some_and(is_local) {
        let doubt = "the first rule (`ip -6 rule`) does not lead to table `local`".to_owned();
        known.doubts[1].get_or_insert(doubt);
    }
    Ok(known)
}

/// Does a rule lead every packet to the table `local`?
fn is_local(rule: &RuleMessage) -> bool {
    let header = &rule.header;
    let is_plain = |attribute: &RuleAttribute| {
        matches!(
            attribute,
            RuleAttribute::Table(255)
                | RuleAttribute::Priority(_)
                | RuleAttribute::Protocol(_)
                | RuleAttribute::SuppressPrefixLen(u32::MAX)
        )
    };
    header.action == RuleAction::ToTable
        && (header.src_len, header.dst_len, header.tos) == (0, 0, 0)
        && header.table == 255
        && rule.attributes.iter().all(is_plain)
}
