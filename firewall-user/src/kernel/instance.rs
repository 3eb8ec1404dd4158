//! The instance of a network namespace: its pins, opened.

use std::fs;

use firewall_common::{
    abi::ABI_VERSION,
    answer::Answers,
    control::Control,
    counter::{FlowStats, InterfaceCounters},
    event::Budget,
    flow::Secret,
    interface::Interface as Entry,
    limits::MAX_INTERFACES,
    table::{BUCKET, WAYS},
};

use serde::de::DeserializeOwned;

use super::{
    Attached, Events, Flows, KernelError, Lock, attach, batch, host, interfaces, journal,
    journal::{Applying, Outcome, What},
    maps,
    pins::{self, Pins},
};
use crate::compile::Manifest;

/// Chunks of a manifest that are read in one call: 1 MiB.
const AT_ONCE: usize = 256;

/// The pins of this network namespace.
#[derive(Debug)]
pub struct Instance {
    pub(super) pins: Pins,
    pub(super) buckets: u32,
}

/// What an instance is made with.
#[derive(Clone, Debug, Default)]
pub struct StateOptions {
    /// Connections the state table has room for; by default, 1/256 of the machine's memory is given to it.
    pub flows: Option<u32>,
}

/// What was taken down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Interfaces that were filtered.
    pub interfaces: Vec<String>,
    /// The generation that was in force.
    pub generation: u32,
    /// Connections that were forgotten, where they could be read.
    pub flows: Option<u64>,
}

impl Instance {
    /// The instance of this network namespace.
    pub fn open() -> Result<Self, KernelError> {
        let pins = Pins::here()?;
        if !pins.exists() {
            return Err(KernelError::NotRunning);
        }
        let instance = Self { buckets: check_pins(&pins)?.ok_or(KernelError::NotRunning)?, pins };
        instance.check_version()?;
        Ok(instance)
    }

    /// The instance of this network namespace, or the place for one: nothing is made in the kernel before
    /// [`Instance::apply`].
    pub fn open_or_create(options: &StateOptions) -> Result<Self, KernelError> {
        let pins = Pins::here()?;
        if pins.exists() {
            match Self::open() {
                // Somebody was killed before all maps were made: the rest is made now.
                Err(KernelError::NotRunning) => {}
                other => return other,
            }
        }
        let buckets = match check_pins(&pins)? {
            Some(buckets) => buckets,
            None => choose_buckets(options.flows)?,
        };
        Ok(Self { pins, buckets })
    }

    fn check_version(&self) -> Result<(), KernelError> {
        let found = self.control()?.abi;
        // 0: somebody was killed between making the maps and writing the first control value.
        if found == ABI_VERSION || found == 0 {
            return Ok(());
        }
        Err(KernelError::ForeignPin {
            path: self.pins.state().join(maps::CONTROL),
            difference: format!("layout version {found}, not {ABI_VERSION}"),
        })
    }

    /// Takes the lock that whoever changes the instance holds.
    pub fn lock(&self) -> Result<Lock, KernelError> {
        self.pins.create()?;
        let path = self.pins.lock("lock");
        Lock::take(&path).map_err(|refusal| refusal.into_error(&path, |pid| KernelError::Locked { pid }))
    }

    /// The control value.
    pub fn control(&self) -> Result<Control, KernelError> {
        let control = maps::array(&self.pins.state(), maps::CONTROL)?;
        control.get(&0, 0).map_err(KernelError::map(maps::CONTROL))
    }

    pub(super) fn set_control(&self, value: &Control) -> Result<(), KernelError> {
        let mut control = maps::array::<Control>(&self.pins.state(), maps::CONTROL)?;
        control.set(0, value, 0).map_err(KernelError::map(maps::CONTROL))
    }

    /// The generation in force.
    pub fn generation(&self) -> Result<u32, KernelError> {
        let control = self.control()?;
        match control.generation[control.slot(host::monotonic_ns) as usize & 1] {
            0 => Err(KernelError::NotRunning),
            generation => Ok(generation),
        }
    }

    /// What the generation in force was made of.
    pub fn manifest(&self) -> Result<Manifest, KernelError> {
        self.manifest_of(self.generation()?)
    }

    /// What a generation was made of.
    pub fn manifest_of(&self, generation: u32) -> Result<Manifest, KernelError> {
        self.part_of_manifest(generation)
    }

    /// As much of a generation's manifest as `T` has of it: reading all of a large one takes its time.
    pub fn part_of_manifest<T: DeserializeOwned>(&self, generation: u32) -> Result<T, KernelError> {
        let damaged = |what: &str| KernelError::Damaged(format!("manifest of generation {generation}: {what}"));
        let map = maps::open(&self.pins.generation(generation), maps::MANIFEST)?;
        let chunks = map.info().map_err(KernelError::map(maps::MANIFEST))?.max_entries() as usize;
        let mut bytes = Vec::with_capacity(chunks * maps::MANIFEST_CHUNK);
        for first in (0..chunks).step_by(AT_ONCE) {
            let count = AT_ONCE.min(chunks - first);
            let read: Vec<[u8; maps::MANIFEST_CHUNK]> =
                batch::read(&map, first as u32, count).map_err(KernelError::system(maps::MANIFEST))?;
            bytes.extend_from_slice(read.as_flattened());
        }
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        serde_json::from_slice(&bytes[..length]).map_err(|error| damaged(&error.to_string()))
    }

    /// The interfaces that packets are filtered on, in the order of their places.
    pub fn interfaces(&self) -> Result<Vec<Attached>, KernelError> {
        let here = interfaces::list()?;
        let is_present = |entry: &Entry| here.iter().any(|interface| interface.index == entry.ifindex);
        let entries = self.entries()?;
        Ok(entries.iter().filter_map(|(place, entry)| Attached::of(*place, entry, is_present(entry))).collect())
    }

    /// The entries of the interface map that are in use.
    pub(super) fn entries(&self) -> Result<Vec<(u32, Entry)>, KernelError> {
        let map = maps::array::<Entry>(&self.pins.state(), maps::INTERFACES)?;
        let read = |place| Ok((place, map.get(&place, 0).map_err(KernelError::map(maps::INTERFACES))?));
        let all = (1..MAX_INTERFACES).map(read).collect::<Result<Vec<_>, KernelError>>()?;
        Ok(all.into_iter().filter(|(_, entry)| entry.ifindex != 0).collect())
    }

    /// Packets of the interface in `place`, added up over the CPUs.
    pub fn traffic(&self, place: u32) -> Result<InterfaceCounters, KernelError> {
        let map = maps::per_cpu::<InterfaceCounters>(&self.pins.state(), maps::TRAFFIC)?;
        let values = map.get(&place, 0).map_err(KernelError::map(maps::TRAFFIC))?;
        Ok(values.iter().fold(InterfaceCounters::ZERO, |mut total, one| {
            total.add_up(one);
            total
        }))
    }

    /// What became of refusals at an interface, by its place, added up over the CPUs.
    pub fn answers(&self, place: u32) -> Result<Answers, KernelError> {
        let map = maps::per_cpu::<Answers>(&self.pins.state(), maps::ANSWERS)?;
        let values = map.get(&place, 0).map_err(KernelError::map(maps::ANSWERS))?;
        Ok(values.iter().fold(Answers::default(), |mut total, one| {
            total.add_up(one);
            total
        }))
    }

    /// The live connections.
    pub fn flows(&self) -> Result<Flows, KernelError> {
        Flows::open(&self.pins.state())
    }

    /// What happened to the state table, added up over the CPUs.
    pub fn flow_stats(&self) -> Result<FlowStats, KernelError> {
        let map = maps::per_cpu::<FlowStats>(&self.pins.state(), maps::FLOW_STATS)?;
        let values = map.get(&0, 0).map_err(KernelError::map(maps::FLOW_STATS))?;
        Ok(values.iter().fold(FlowStats::default(), |mut total, one| {
            total.add_up(one);
            total
        }))
    }

    /// Connections the table has room for, spread evenly.
    pub fn flow_capacity(&self) -> u32 {
        self.buckets.saturating_mul(WAYS as u32)
    }

    /// Memory of the table, bytes.
    pub fn flow_memory(&self) -> u64 {
        u64::from(self.buckets) * BUCKET as u64
    }

    /// Begins to read events. One who `follows` a reader that ended reads what it left in the ring.
    pub fn events(&self, follows: bool) -> Result<Events, KernelError> {
        Events::open(self, follows)
    }

    /// Events that were never sent: over the rate, or no room in the ring.
    pub fn lost_events(&self) -> Result<u64, KernelError> {
        let map = maps::per_cpu::<Budget>(&self.pins.state(), maps::BUDGET)?;
        let values = map.get(&0, 0).map_err(KernelError::map(maps::BUDGET))?;
        Ok(values.iter().map(|budget| budget.lost).sum())
    }

    /// Takes everything down: programs off the interfaces, pins removed, state forgotten.
    pub fn stop(self, lock: Lock) -> Result<Stopped, KernelError> {
        let generation = self.generation().unwrap_or(0);
        let flows = self.flows().map_or(0, |flows| flows.flatten().count() as u64);
        let entries = self.entries()?;
        let interfaces = entries.iter().filter_map(|(place, entry)| Attached::of(*place, entry, true));
        let interfaces = interfaces.map(|attached| attached.name).collect();
        for (_, entry) in &entries {
            attach::detach(&self.pins, entry);
        }
        let journal = self.journal();
        pins::remove(&self.pins.root())?;
        wait_until_off(&entries)?;
        // Readers have the file open: they read it before they see that it is gone.
        let _ = journal.tell(What::Apply(Applying::of(Outcome::Stopped)));
        drop(lock);
        for what in ["lock", "events", "events.socket", "addresses"].into_iter().chain(journal::FILES) {
            let _ = fs::remove_file(self.pins.lock(what));
        }
        Ok(Stopped { interfaces, generation, flows: Some(flows) })
    }
}

/// Waits, within reason, until the programs are off the interfaces: the kernel lets go of a link some time after its pin
/// is removed, and an apply right after this must not take our own program for somebody else's.
fn wait_until_off(entries: &[(u32, Entry)]) -> Result<(), KernelError> {
    for _ in 0..200 {
        let here = interfaces::list()?;
        let is_on = |entry: &Entry| here.iter().any(|one| one.index == entry.ifindex && one.xdp.is_some());
        if !entries.iter().any(|(_, entry)| is_on(entry)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// Compares the pins with what this version makes; how many buckets the state table has, if there is one.
fn check_pins(pins: &Pins) -> Result<Option<u32>, KernelError> {
    let mut buckets = None;
    for shape in &maps::STATE {
        let path = pins.state().join(shape.name);
        if path.exists() {
            let entries = shape.check(&path)?;
            if shape.name == maps::FLOWS {
                buckets = Some(entries);
            }
        }
    }
    Ok(buckets)
}

/// Fraction of the machine's memory that the state table takes by default.
const MEMORY_SHARE: u64 = 256;
/// The smallest and the largest table, in buckets: 7 thousand and 7 million connections' places, 1 MiB and 1 GiB.
const BUCKETS: std::ops::RangeInclusive<u32> = 1 << 10..=1 << 20;

/// Buckets for so many connections: a power of two, at most about half full of them on average, so that hardly any
/// two buckets in which a connection may stand are full at once.
fn choose_buckets(flows: Option<u32>) -> Result<u32, KernelError> {
    let wanted = match flows {
        Some(flows) => u64::from(flows) / WAYS as u64 * 2,
        None => memory() / MEMORY_SHARE / BUCKET as u64,
    };
    let largest = u64::from(*BUCKETS.end());
    if flows.is_some() && wanted > largest {
        let most = largest / 2 * WAYS as u64;
        return Err(KernelError::Limit(format!("at most {most} connections can be asked for ({largest} KiB)")));
    }
    let wanted = wanted.clamp(u64::from(*BUCKETS.start()), largest) as u32;
    Ok(if flows.is_some() { wanted.next_power_of_two() } else { 1 << wanted.ilog2() })
}

/// Memory of the machine, bytes.
pub(super) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|number| number.trim().parse::<u64>().ok());
    kib.unwrap_or(1 << 20) * 1024
}

/// Random bits for the hashes of a new instance.
pub(super) fn new_secret() -> Result<Secret, KernelError> {
    let mut bytes = [0_u8; size_of::<Secret>()];
    let random = fs::File::open("/dev/urandom");
    random
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .map_err(KernelError::system("/dev/urandom"))?;
    let mut secret = Secret::default();
    for (key, chunk) in secret.0.iter_mut().zip(bytes.chunks_exact(8)) {
        *key = chunk.iter().fold(0, |key, byte| key << 8 | u64::from(*byte));
    }
    Ok(secret)
}
