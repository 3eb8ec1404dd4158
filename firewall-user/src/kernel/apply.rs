//! A new generation: loaded, probed, put in force by one flip, and the old one retired.
//!
//! The order is that of safety. Until the control value flips, packets take the old generation and whatever was made
//! for the new one is unreachable; a process killed on the way leaves pins that the next apply removes. Once it has
//! flipped, the new generation is whole. New interfaces are attached before the flip, so that a failure to attach
//! leaves the old rules in force; only the first ruleset must be in force before anything is attached.

use std::{
    fs,
    time::{Duration, Instant},
};

use aya::Ebpf;
use firewall_common::{
    abi::ABI_VERSION,
    control::Control,
    counter::{Counter, InterfaceCounters},
    image::{Forest, Image, Settings},
    interface::Interface as Entry,
    limits::{MAX_IFINDEX, MAX_INTERFACES},
};

use super::{
    Attached, Instance, KernelError, Lock, attach, host, instance,
    interfaces::{self, Interface},
    maps, object, pins, probe,
};
use crate::compile::{Compiled, Manifest};

/// How to apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// Interfaces to attach to beside those that are attached already; none: all that are up, but loopback.
    pub interfaces: Vec<String>,
    /// Go back to the ruleset before unless confirmed within this time.
    pub confirm: Option<Duration>,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The generation that is in force now.
    pub generation: u32,
    /// Interfaces attached by this apply.
    pub attached: Vec<Attached>,
    /// Interfaces that were attached before.
    pub kept: usize,
    /// Instructions the verifier looked at, of the three programs together.
    pub verified_instructions: u32,
    /// How long it took.
    pub took: Duration,
    /// How much time there is to confirm.
    pub confirm_by: Option<Duration>,
}

impl Instance {
    /// Puts a compiled ruleset in force. On an error the kernel is as it was before.
    pub fn apply(&self, _lock: &Lock, compiled: &Compiled, options: &ApplyOptions) -> Result<Applied, KernelError> {
        let started = Instant::now();
        let is_new = !self.pins.exists();
        let result = self.try_apply(compiled, options);
        if result.is_err() {
            if is_new {
                pins::remove(&self.pins.root())?;
            } else {
                self.remove_unused_generations()?;
            }
        }
        result.map(|applied| Applied { took: started.elapsed(), ..applied })
    }

    fn try_apply(&self, compiled: &Compiled, options: &ApplyOptions) -> Result<Applied, KernelError> {
        let all = interfaces::list()?;
        let chosen = interfaces::choose(&all, &options.interfaces)?;
        let control = self.begin()?;
        refuse_unconfirmed(&control)?;
        let entries = self.entries_or_none()?;
        let (fresh, kept): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| !is_attached(&entries, one));
        for interface in &fresh {
            attach::refuse_foreign(interface)?;
            check_index(interface)?;
        }
        let mut generation = self.prepare(compiled, self.next_generation(&control)?)?;
        self.start_counters(compiled)?;
        self.rename(&entries, &all)?;
        self.name_others(&all)?;
        let control = self.install_fallback(control, options)?;
        let attached = if control.generation[control.active as usize & 1] == 0 {
            // The entry programs drop what no generation judges: there must be one before they are attached.
            self.put_in_force(&generation, control, options)?;
            self.attach_all(&mut generation.ebpf, &fresh, &all)?
        } else {
            let attached = self.attach_all(&mut generation.ebpf, &fresh, &all)?;
            if let Err(error) = self.put_in_force(&generation, control, options) {
                self.detach_all(&attached)?;
                return Err(error);
            }
            attached
        };
        self.remove_unused_generations()?;
        Ok(Applied {
            generation: generation.number,
            attached: attached.iter().filter_map(|(place, entry)| Attached::of(*place, entry, true)).collect(),
            kept: kept.len(),
            verified_instructions: generation.verified_instructions,
            took: Duration::ZERO,
            confirm_by: options.confirm,
        })
    }

    /// The control value to start from, in an instance that may be new.
    fn begin(&self) -> Result<Control, KernelError> {
        self.pins.create()?;
        let mut control = if self.pins.exists() { self.control()? } else { Control::default() };
        if control.abi == 0 {
            control = Control { abi: ABI_VERSION, secret: instance::new_secret()?, ..Control::default() };
        }
        // An unconfirmed generation past its deadline has lost its place: make that so in the slot number as well.
        let in_force = control.slot(host::monotonic_ns);
        if in_force != control.active {
            control.active = in_force;
            self.set_control(&control)?;
        }
        Ok(control)
    }

    fn entries_or_none(&self) -> Result<Vec<(u32, Entry)>, KernelError> {
        if self.pins.state().join(maps::INTERFACES).exists() { self.entries() } else { Ok(Vec::new()) }
    }

    /// A number that no generation has, whole or left behind.
    fn next_generation(&self, control: &Control) -> Result<u32, KernelError> {
        let directories = self.generation_numbers()?;
        Ok(directories.into_iter().chain(control.generation).max().unwrap_or(0) + 1)
    }

    fn generation_numbers(&self) -> Result<Vec<u32>, KernelError> {
        let path = self.pins.generations();
        let entries = fs::read_dir(&path).map_err(KernelError::system(path.display().to_string()))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// Loads, fills, verifies, probes and pins a generation. Packets do not reach it.
    fn prepare(&self, compiled: &Compiled, number: u32) -> Result<Generation, KernelError> {
        let Compiled { image, manifest, fresh_counters: _ } = compiled;
        let manifest = manifest_chunks(manifest)?;
        let shape = object::Shape {
            settings: &image.settings,
            insns: image.insns.len(),
            constants: image.constants.len(),
            intervals: image.intervals.len(),
            forest: &image.forest,
            manifest: manifest.len(),
            buckets: self.buckets,
            generation: number,
        };
        let mut ebpf = object::load(&self.pins, &shape)?;
        fill(&mut ebpf, image, &manifest)?;
        let verified_instructions = verify(&mut ebpf)?;
        probe::run(&mut ebpf)?;
        self.forget_probes()?;
        let mut generation = Generation { number, ebpf, verified_instructions };
        self.pin(&mut generation)?;
        Ok(generation)
    }

    /// Probe packets come in by no registered interface: what is counted there is of them.
    fn forget_probes(&self) -> Result<(), KernelError> {
        let mut traffic = maps::per_cpu::<InterfaceCounters>(&self.pins.state(), maps::TRAFFIC)?;
        let zero = maps::on_cpus(InterfaceCounters::ZERO, InterfaceCounters::ZERO)?;
        traffic.set(0, zero, 0).map_err(KernelError::map(maps::TRAFFIC))
    }

    fn pin(&self, generation: &mut Generation) -> Result<(), KernelError> {
        let directory = self.pins.generation(generation.number);
        pins::remove(&directory)?;
        fs::create_dir(&directory).map_err(KernelError::system(directory.display().to_string()))?;
        for name in maps::OF_GENERATION {
            let map = generation.ebpf.map(name).ok_or_else(|| KernelError::Damaged(format!("no map {name}")))?;
            map.pin(directory.join(name)).map_err(KernelError::pin(name))?;
        }
        for name in PROGRAMS.into_iter().chain(ENTRIES) {
            let program = generation.ebpf.program_mut(name);
            let program = program.ok_or_else(|| KernelError::Damaged(format!("no program {name}")))?;
            program.pin(directory.join(name)).map_err(KernelError::pin(name))?;
        }
        Ok(())
    }

    /// Sets counters that no rule had before to what their rules say they start from.
    fn start_counters(&self, compiled: &Compiled) -> Result<(), KernelError> {
        let Compiled { image: _, manifest, fresh_counters } = compiled;
        let fresh: std::collections::HashSet<_> = fresh_counters.iter().collect();
        let mut map = maps::per_cpu::<Counter>(&self.pins.state(), maps::COUNTERS)?;
        for counter in manifest.rules.iter().flat_map(|rule| &rule.counters) {
            if fresh.contains(&counter.slot) {
                let first = Counter { packets: counter.packets, bytes: counter.bytes };
                let values = maps::on_cpus(first, Counter::default())?;
                map.set(counter.slot, values, 0).map_err(KernelError::map(maps::COUNTERS))?;
            }
        }
        Ok(())
    }

    /// Writes the names that interfaces have by now.
    fn rename(&self, entries: &[(u32, Entry)], all: &[Interface]) -> Result<(), KernelError> {
        let mut map = maps::array::<Entry>(&self.pins.state(), maps::INTERFACES)?;
        for (place, entry) in entries {
            let Some(interface) = all.iter().find(|interface| interface.index == entry.ifindex) else {
                continue;
            };
            let renamed = Entry { name: attach::entry(interface).name, ..*entry };
            if renamed != *entry {
                map.set(*place, renamed, 0).map_err(KernelError::map(maps::INTERFACES))?;
            }
        }
        Ok(())
    }

    /// Makes every interface known by its name: rules about outgoing interfaces ask for those that are not attached to
    /// as well. One that finds no place is not known, and such rules do not match it.
    fn name_others(&self, all: &[Interface]) -> Result<(), KernelError> {
        let entries = self.entries()?;
        for interface in all.iter().filter(|interface| interface.index < MAX_IFINDEX && !interface.is_loopback) {
            if entries.iter().all(|(_, entry)| entry.ifindex != interface.index) {
                let Ok(place) = self.place_for(interface, all) else { return Ok(()) };
                let entry = attach::entry(interface);
                self.register(place, &Entry { flags: entry.flags | attach::NAME_ONLY, ..entry })?;
            }
        }
        Ok(())
    }

    /// What an unconfirmed first ruleset hands back to: one that lets everything pass, as it was before.
    fn install_fallback(&self, mut control: Control, options: &ApplyOptions) -> Result<Control, KernelError> {
        if options.confirm.is_none() || control.generation[control.active as usize & 1] != 0 {
            return Ok(control);
        }
        let image = Image {
            insns: Vec::new(),
            constants: Vec::new(),
            intervals: Vec::new(),
            settings: Settings::EMPTY,
            forest: Forest::default(),
        };
        let empty = crate::language::parse_text("empty", "", &crate::language::Options::default());
        let manifest = empty
            .ok()
            .and_then(|parsed| crate::compile::compile(&parsed.ruleset, None).ok())
            .map(|compiled| compiled.manifest)
            .unwrap_or_default();
        let compiled = Compiled { image, manifest, fresh_counters: Vec::new() };
        let generation = self.prepare(&compiled, self.next_generation(&control)?)?;
        self.set_slot(&generation, control.active)?;
        control.generation[control.active as usize & 1] = generation.number;
        self.set_control(&control)?;
        Ok(control)
    }

    /// The flip.
    fn put_in_force(
        &self,
        generation: &Generation,
        mut control: Control,
        options: &ApplyOptions,
    ) -> Result<(), KernelError> {
        let target = control.active ^ 1;
        let at = target as usize & 1;
        self.set_slot(generation, target)?;
        control.generation[at] = generation.number;
        control.unconfirmed[at] = u32::from(options.confirm.is_some());
        let wait = options.confirm.map_or(0, |wait| wait.as_nanos() as u64);
        control.deadline_ns[at] = host::monotonic_ns().saturating_add(wait);
        self.set_control(&control)?;
        control.active = target;
        self.set_control(&control)
    }

    fn set_slot(&self, generation: &Generation, slot: u32) -> Result<(), KernelError> {
        for (map, program) in [maps::XDP, maps::TC_INGRESS, maps::TC_EGRESS].into_iter().zip(PROGRAMS) {
            let fd = object::descriptor(&generation.ebpf, program)?;
            let mut array = maps::programs(&self.pins.state(), map)?;
            array.set(slot, &fd, 0).map_err(KernelError::map(map))?;
        }
        Ok(())
    }

    /// Attaches to all of `fresh`, or to none; their places and entries.
    fn attach_all(
        &self,
        ebpf: &mut Ebpf,
        fresh: &[Interface],
        all: &[Interface],
    ) -> Result<Vec<(u32, Entry)>, KernelError> {
        let mut done = Vec::new();
        for interface in fresh {
            match self.attach_one(ebpf, interface, all) {
                Ok(entry) => done.push(entry),
                Err(error) => {
                    self.detach_all(&done)?;
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    fn detach_all(&self, attached: &[(u32, Entry)]) -> Result<(), KernelError> {
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
        all: &[Interface],
    ) -> Result<(u32, Entry), KernelError> {
        let mut entry = attach::entry(interface);
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

    /// Removes the pins of generations that are in no slot: those replaced, and those of an apply that was killed.
    fn remove_unused_generations(&self) -> Result<(), KernelError> {
        let control = self.control()?;
        for number in self.generation_numbers()? {
            if !control.generation.contains(&number) {
                pins::remove(&self.pins.generation(number))?;
            }
        }
        Ok(())
    }

    /// Makes an unconfirmed generation stay.
    pub fn confirm(&self, _lock: &Lock) -> Result<u32, KernelError> {
        let mut control = self.control()?;
        let at = control.active as usize & 1;
        if control.unconfirmed[at] == 0 {
            return Err(KernelError::NothingTo("nothing waits to be confirmed"));
        }
        if control.slot(host::monotonic_ns) != control.active {
            return Err(KernelError::NothingTo("the time to confirm has passed: the ruleset before is in force again"));
        }
        control.unconfirmed[at] = 0;
        self.set_control(&control)?;
        Ok(control.generation[at])
    }

    /// Puts the generation before in force again.
    pub fn rollback(&self, _lock: &Lock) -> Result<u32, KernelError> {
        let mut control = self.control()?;
        let in_force = control.slot(host::monotonic_ns);
        let other = in_force ^ 1;
        let generation = control.generation[other as usize & 1];
        if in_force != control.active || generation == 0 {
            return Err(KernelError::NothingTo("there is no ruleset to go back to"));
        }
        control.unconfirmed[other as usize & 1] = 0;
        control.active = other;
        self.set_control(&control)?;
        Ok(generation)
    }
}

/// The programs of a generation, in the order of the program arrays XDP, `TC_INGRESS`, `TC_EGRESS`.
const PROGRAMS: [&str; 3] = [object::GENERATION_XDP, object::GENERATION_TC_INGRESS, object::GENERATION_TC_EGRESS];

/// The programs on interfaces. Every generation has its own, pinned beside it, so that it can be asked about packets;
/// those on the interfaces are of the generation that attached them.
const ENTRIES: [&str; 3] = [object::ENTER_XDP, object::ENTER_TC_INGRESS, object::ENTER_TC_EGRESS];

/// A loaded generation.
struct Generation {
    number: u32,
    ebpf: Ebpf,
    verified_instructions: u32,
}

/// A ruleset that waits for confirmation would be what a third one falls back to: nobody has seen it work.
fn refuse_unconfirmed(control: &Control) -> Result<(), KernelError> {
    if control.unconfirmed[control.active as usize & 1] == 0 {
        return Ok(());
    }
    Err(KernelError::NothingTo("a ruleset waits to be confirmed: `rampart confirm` or `rampart rollback` it first"))
}

fn is_attached(entries: &[(u32, Entry)], interface: &Interface) -> bool {
    entries.iter().any(|(_, entry)| entry.ifindex == interface.index && entry.flags & attach::NAME_ONLY == 0)
}

fn check_index(interface: &Interface) -> Result<(), KernelError> {
    if interface.index < MAX_IFINDEX {
        return Ok(());
    }
    let Interface { index, name, .. } = interface;
    Err(KernelError::Limit(format!(
        "interface `{name}` has index {index}; only those below {MAX_IFINDEX} can be attached to"
    )))
}

/// The manifest as the values of its map.
fn manifest_chunks(manifest: &Manifest) -> Result<Vec<[u8; maps::MANIFEST_CHUNK]>, KernelError> {
    let bytes = serde_json::to_vec(manifest).map_err(|error| KernelError::Damaged(error.to_string()))?;
    let chunk = |bytes: &[u8]| {
        let mut chunk = [0; maps::MANIFEST_CHUNK];
        chunk[..bytes.len()].copy_from_slice(bytes);
        chunk
    };
    Ok(bytes.chunks(maps::MANIFEST_CHUNK).map(chunk).collect())
}

fn fill(ebpf: &mut Ebpf, image: &Image, manifest: &[[u8; maps::MANIFEST_CHUNK]]) -> Result<(), KernelError> {
    let Image { insns, constants, intervals, settings: _, forest } = image;
    maps::fill(ebpf, maps::INSNS, insns)?;
    maps::fill(ebpf, maps::CONSTANTS, constants)?;
    maps::fill(ebpf, maps::INTERVALS, intervals)?;
    let Forest { roots, nodes, narrow, wide } = forest;
    maps::fill(ebpf, maps::ROOTS, roots)?;
    maps::fill(ebpf, maps::NODES, nodes)?;
    maps::fill(ebpf, maps::NARROW, narrow)?;
    maps::fill(ebpf, maps::WIDE, wide)?;
    maps::fill(ebpf, maps::MANIFEST, manifest)
}

/// Loads the generation's programs; how many instructions the verifier looked at.
fn verify(ebpf: &mut Ebpf) -> Result<u32, KernelError> {
    object::xdp(ebpf, object::GENERATION_XDP)?;
    object::classifier(ebpf, object::GENERATION_TC_INGRESS)?;
    object::classifier(ebpf, object::GENERATION_TC_EGRESS)?;
    object::xdp(ebpf, object::ENTER_XDP)?;
    object::classifier(ebpf, object::ENTER_TC_INGRESS)?;
    object::classifier(ebpf, object::ENTER_TC_EGRESS)?;
    let count = |name| {
        let info = ebpf.program(name).and_then(|program| program.info().ok());
        info.and_then(|info| info.verified_instruction_count()).unwrap_or(0)
    };
    Ok(PROGRAMS.map(count).iter().sum())
}
