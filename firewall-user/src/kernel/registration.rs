//! Interfaces: given a place in the maps, then attached to; and taken off again.

use aya::Ebpf;
use firewall_common::{
    answer::Answers,
    counter::InterfaceCounters,
    interface::{Interface as Entry, WHOLE},
    limits::{MAX_IFINDEX, MAX_INTERFACES},
};

use super::{
    Attached, Instance, KernelError, attach, fast,
    interfaces::{self, Interface},
    maps, object,
};
use crate::config::Config;
use crate::{
    compile,
    language::{self, Options},
};

impl Instance {
    /// Attaches to interfaces that are up now and were not there, or not up, at the last apply.
    pub fn attach_new(&self) -> Result<Vec<Attached>, KernelError> {
        let manifest = self.manifest()?;
        let all = fast::trusted(&manifest)?;
        let entries = self.entries()?;
        let is_attached = |one: &Interface| {
            entries.iter().any(|(_, entry)| entry.ifindex == one.index && entry.flags & attach::NAME_ONLY == 0)
        };
        let is_new = |one: &Interface| one.is_up && one.index < MAX_IFINDEX && one.xdp.is_none() && !is_attached(one);
        let is_taken = |one: &Interface| is_new(one) && interfaces::refuse_vrf(&all, std::slice::from_ref(one)).is_ok();
        let chosen = interfaces::choose(&all, &[]).unwrap_or_default();
        let fresh: Vec<_> =
            chosen.into_iter().filter(is_taken).map(|one| Interface { rewrites: manifest.rewrites(), ..one }).collect();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        // Only the entry programs are used, which find the generation in force by themselves.
        let empty = language::parse_text("empty", "", &Options::default())
            .ok()
            .and_then(|parsed| compile::compile(&parsed.ruleset, None).ok())
            .ok_or_else(|| KernelError::Damaged("no empty ruleset".to_owned()))?;
        let mut ebpf = object::load(&self.pins, &object::Shape::of(&empty, 0, self.buckets))?;
        let attached = self.attach_all(&mut ebpf, &fresh, (&all, &manifest.config))?;
        if manifest.has_fast_path() {
            self.fill_devices_anew(&manifest, &all)?;
        }
        Ok(attached.iter().filter_map(|(place, entry)| Attached::of(*place, entry, true)).collect())
    }

    /// Attaches to all of `fresh`, or to none; their places and entries.
    pub(super) fn attach_all(
        &self,
        ebpf: &mut Ebpf,
        fresh: &[Interface],
        (all, config): (&[Interface], &Config),
    ) -> Result<Vec<(u32, Entry)>, KernelError> {
        let mut done = Vec::new();
        for interface in fresh {
            match self.attach_one(ebpf, interface, (all, config)) {
                Ok(entry) => done.push(entry),
                Err(error) => {
                    self.detach_all(&done)?;
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    /// Leaves what was attached though nobody had asked for it.
    pub(super) fn leave_unasked(&self, entries: &[(u32, Entry)]) -> Result<(), KernelError> {
        let unasked: Vec<_> = entries.iter().filter(|(_, entry)| attach::is_unasked(entry)).copied().collect();
        self.detach_all(&unasked)
    }

    pub(super) fn detach_all(&self, attached: &[(u32, Entry)]) -> Result<(), KernelError> {
        for (place, entry) in attached {
            attach::detach(&self.pins, entry);
            self.forget_interface(*place, entry)?;
        }
        Ok(())
    }

    /// Registers the interface, then attaches: a program must find its counters from the first packet on.
    fn attach_one(
        &self,
        ebpf: &mut Ebpf,
        interface: &Interface,
        (all, config): (&[Interface], &Config),
    ) -> Result<(u32, Entry), KernelError> {
        let mut entry = attach::entry(interface, config);
        let place = self.place_for(interface, all)?;
        self.register(place, &entry)?;
        if let Err(error) = attach::attach(ebpf, &self.pins, interface, &mut entry) {
            attach::detach(&self.pins, &entry);
            self.forget_interface(place, &entry)?;
            return Err(error);
        }
        self.write_entry(place, &entry)?;
        Ok((place, entry))
    }

    /// The place that the interface has, one that none has, or one whose interface is gone.
    fn place_for(&self, interface: &Interface, all: &[Interface]) -> Result<u32, KernelError> {
        let entries = self.entries()?;
        if let Some((place, _)) = entries.iter().find(|(_, entry)| entry.ifindex == interface.index) {
            return Ok(*place);
        }
        let is_free = |place: &u32| entries.iter().all(|(taken, _)| taken != place);
        if let Some(place) = (1..MAX_INTERFACES).find(is_free) {
            return Ok(place);
        }
        let is_gone = |entry: &Entry| all.iter().all(|interface| interface.index != entry.ifindex);
        let gone = entries.iter().find(|(_, entry)| is_gone(entry));
        let full = || KernelError::Limit(format!("at most {} interfaces can be attached to", MAX_INTERFACES - 1));
        let (place, entry) = gone.ok_or_else(full)?;
        attach::detach(&self.pins, entry);
        self.forget_interface(*place, entry)?;
        Ok(*place)
    }

    fn register(&self, place: u32, entry: &Entry) -> Result<(), KernelError> {
        let state = self.pins.state();
        let mut traffic = maps::per_cpu::<InterfaceCounters>(&state, maps::TRAFFIC)?;
        let zero = maps::on_cpus(InterfaceCounters::ZERO, InterfaceCounters::ZERO)?;
        traffic.set(place, zero, 0).map_err(KernelError::map(maps::TRAFFIC))?;
        let mut answers = maps::per_cpu::<Answers>(&state, maps::ANSWERS)?;
        let zero = maps::on_cpus(Answers::default(), Answers::default())?;
        answers.set(place, zero, 0).map_err(KernelError::map(maps::ANSWERS))?;
        self.write_entry(place, entry)?;
        self.point(entry.ifindex, place)
    }

    fn forget_interface(&self, place: u32, entry: &Entry) -> Result<(), KernelError> {
        self.point(entry.ifindex, 0)?;
        self.write_entry(place, &Entry::default())
    }

    fn write_entry(&self, place: u32, entry: &Entry) -> Result<(), KernelError> {
        let mut map = maps::array::<Entry>(&self.pins.state(), maps::INTERFACES)?;
        map.set(place, entry, 0).map_err(KernelError::map(maps::INTERFACES))
    }

    fn point(&self, ifindex: u32, place: u32) -> Result<(), KernelError> {
        let mut map = maps::array::<u32>(&self.pins.state(), maps::IFINDEX)?;
        map.set(ifindex, place, 0).map_err(KernelError::map(maps::IFINDEX))
    }

    /// Writes the names that interfaces have by now, and their zones.
    pub(super) fn rename(
        &self,
        entries: &[(u32, Entry)],
        all: &[Interface],
        config: &Config,
    ) -> Result<(), KernelError> {
        let mut map = maps::array::<Entry>(&self.pins.state(), maps::INTERFACES)?;
        for (place, entry) in entries {
            let Some(interface) = all.iter().find(|interface| interface.index == entry.ifindex) else {
                continue;
            };
            let Entry { name, zone, flags, .. } = attach::entry(interface, config);
            let renamed = Entry { name, zone, flags: entry.flags & !WHOLE | flags & WHOLE, ..*entry };
            if renamed != *entry {
                map.set(*place, renamed, 0).map_err(KernelError::map(maps::INTERFACES))?;
            }
        }
        Ok(())
    }

    /// Makes every interface known by its name: rules about outgoing interfaces ask for those that are not attached to
    /// as well. One that finds no place is not known, and such rules do not match it.
    pub(super) fn name_others(&self, all: &[Interface], config: &Config) -> Result<(), KernelError> {
        let entries = self.entries()?;
        for interface in all.iter().filter(|interface| interface.index < MAX_IFINDEX && !interface.is_loopback) {
            if entries.iter().all(|(_, entry)| entry.ifindex != interface.index) {
                let Ok(place) = self.place_for(interface, all) else { return Ok(()) };
                let entry = attach::entry(interface, config);
                self.register(place, &Entry { flags: entry.flags | attach::NAME_ONLY, ..entry })?;
            }
        }
        Ok(())
    }
}

pub(super) fn check_index(interface: &Interface) -> Result<(), KernelError> {
    if interface.index < MAX_IFINDEX {
        return Ok(());
    }
    let Interface { index, name, .. } = interface;
    Err(KernelError::Limit(format!(
        "interface `{name}` has index {index}; only those below {MAX_IFINDEX} can be attached to"
    )))
}

pub(super) fn is_attached(entries: &[(u32, Entry)], interface: &Interface) -> bool {
    entries.iter().any(|(_, entry)| entry.ifindex == interface.index && entry.flags & attach::NAME_ONLY == 0)
}
