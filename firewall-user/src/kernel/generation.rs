//! A generation: loaded, filled, verified, probed and pinned, so that one flip can put it in force.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    thread,
};

use aya::Ebpf;
use firewall_common::{
    control::Control,
    counter::{Counter, InterfaceCounters},
    image::{Forest, Image},
    start::Start,
};

use super::{
    Instance, KernelError, Side,
    maps::{self, Maps},
    object, pins, probe,
};
use crate::compile::{Compiled, Manifest};

/// The programs of a generation, in the order of the program arrays XDP, `TC_INGRESS`, `TC_EGRESS`.
pub(super) const PROGRAMS: [&str; 3] =
    [object::GENERATION_XDP, object::GENERATION_TC_INGRESS, object::GENERATION_TC_EGRESS];

/// The programs on interfaces. Every generation has its own, pinned beside it, so that it can be asked about packets;
/// those on the interfaces are of the generation that attached them.
pub(super) const ENTRIES: [&str; 3] = [object::ENTER_XDP, object::ENTER_TC_INGRESS, object::ENTER_TC_EGRESS];

/// A generation that is ready.
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) programs: Programs,
    pub(super) verified_instructions: u32,
}

/// Where its programs are.
pub(super) enum Programs {
    /// Just loaded, and pinned as well.
    Loaded(Box<Ebpf>),
    /// Pinned there by a ruleset before, see [`super::reuse`].
    Pinned(PathBuf),
}

impl Instance {
    /// Loads, fills, verifies, probes and pins a generation. Packets do not reach it.
    pub(super) fn prepare(&self, compiled: &Compiled, number: u32) -> Result<Generation, KernelError> {
        let mut ebpf = self.load(compiled, number)?;
        let verified_instructions = self.make_ready(&mut ebpf, compiled)?;
        pin(&mut ebpf, &self.pins.generation(number))?;
        Ok(Generation { number, programs: Programs::Loaded(Box::new(ebpf)), verified_instructions })
    }

    /// Makes the maps of a generation and fills them.
    pub(super) fn load(&self, compiled: &Compiled, number: u32) -> Result<Ebpf, KernelError> {
        let Compiled { image, manifest, fresh_counters: _, fresh_cells: _, sets: _ } = compiled;
        let chunks = manifest_chunks(manifest)?;
        let shape = object::Shape::of(compiled, chunks.len(), self.buckets);
        let mut ebpf = object::load(&self.pins, &shape)?;
        fill(&mut Maps::Loaded(&mut ebpf), image, (&chunks, shape.start(number)))?;
        Ok(ebpf)
    }

    /// Verifies and probes its programs; how many instructions were looked at.
    pub(super) fn make_ready(&self, ebpf: &mut Ebpf, compiled: &Compiled) -> Result<u32, KernelError> {
        let verified_instructions = verify(ebpf)?;
        probe::run(object::xdp(ebpf, object::GENERATION_XDP)?)?;
        self.forget_probes()?;
        maps::fill(ebpf, maps::GENERATORS, &vec![0_u64; compiled.image.generators()])?;
        Ok(verified_instructions)
    }

    /// Probe packets come in by no registered interface: what is counted there is of them.
    pub(super) fn forget_probes(&self) -> Result<(), KernelError> {
        let mut traffic = maps::per_cpu::<InterfaceCounters>(&self.pins.state(), maps::TRAFFIC)?;
        let zero = maps::on_cpus(InterfaceCounters::ZERO, InterfaceCounters::ZERO)?;
        traffic.set(0, zero, 0).map_err(KernelError::map(maps::TRAFFIC))
    }

    /// Sets counters and cells that no rule had before to what their rules say they start from.
    pub(super) fn start_counters(&self, compiled: &Compiled) -> Result<(), KernelError> {
        let Compiled { image: _, manifest, fresh_counters, fresh_cells, sets: _ } = compiled;
        let fresh: HashSet<_> = fresh_cells.iter().collect();
        let mut map = maps::array::<u64>(&self.pins.state(), maps::CELLS)?;
        for cell in manifest.cells().filter(|cell| fresh.contains(&cell.slot)) {
            map.set(cell.slot, cell.first, 0).map_err(KernelError::map(maps::CELLS))?;
        }
        self.forget_resets(fresh_counters)?;
        let fresh: HashSet<_> = fresh_counters.iter().collect();
        let mut map = maps::per_cpu::<Counter>(&self.pins.state(), maps::COUNTERS)?;
        for counter in manifest.counters() {
            if fresh.contains(&counter.slot) {
                let first = Counter { packets: counter.packets, bytes: counter.bytes };
                let values = maps::on_cpus(first, Counter::default())?;
                map.set(counter.slot, values, 0).map_err(KernelError::map(maps::COUNTERS))?;
            }
        }
        Ok(())
    }

    /// A number that no generation has, whole or left behind.
    pub(super) fn next_generation(&self, control: &Control) -> Result<u32, KernelError> {
        let directories = self.generation_numbers()?;
        Ok(directories.into_iter().chain(control.generation).max().unwrap_or(0) + 1)
    }

    pub(super) fn generation_numbers(&self) -> Result<Vec<u32>, KernelError> {
        let path = self.pins.generations();
        let entries = fs::read_dir(&path).map_err(KernelError::system(path.display().to_string()))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// Removes the pins of generations that are in no slot, those replaced and those of an apply that was killed, but one
    /// whose programs the next ruleset may use.
    pub(super) fn remove_unused_generations(&self) -> Result<(), KernelError> {
        let control = self.control()?;
        let spare = self.spare(&control)?;
        for number in self.generation_numbers()? {
            if !control.generation.contains(&number) && spare != Some(number) {
                pins::remove(&self.pins.generation(number))?;
            }
        }
        Ok(())
    }

    pub(super) fn set_slot(&self, generation: &Generation, slot: u32) -> Result<(), KernelError> {
        let sides = [Side::Xdp, Side::TcIngress, Side::TcEgress];
        for ((map, program), side) in
            [maps::XDP, maps::TC_INGRESS, maps::TC_EGRESS].into_iter().zip(PROGRAMS).zip(sides)
        {
            let fd = match &generation.programs {
                Programs::Loaded(ebpf) => object::descriptor(ebpf, program)?,
                Programs::Pinned(directory) => object::pinned(directory, program, side)?,
            };
            let mut array = maps::programs(&self.pins.state(), map)?;
            array.set(slot, &fd, 0).map_err(KernelError::map(map))?;
        }
        Ok(())
    }
}

/// Pins all maps and programs of a generation.
pub(super) fn pin(ebpf: &mut Ebpf, directory: &Path) -> Result<(), KernelError> {
    pins::remove(directory)?;
    fs::create_dir(directory).map_err(KernelError::system(directory.display().to_string()))?;
    for name in maps::OF_GENERATION {
        let map = ebpf.map(name).ok_or_else(|| KernelError::Damaged(format!("no map {name}")))?;
        map.pin(directory.join(name)).map_err(KernelError::pin(name))?;
    }
    for name in PROGRAMS.into_iter().chain(ENTRIES) {
        let program = ebpf.program_mut(name);
        let program = program.ok_or_else(|| KernelError::Damaged(format!("no program {name}")))?;
        program.pin(directory.join(name)).map_err(KernelError::pin(name))?;
    }
    Ok(())
}

/// The manifest as the values of its map.
pub(super) fn manifest_chunks(manifest: &Manifest) -> Result<Vec<[u8; maps::MANIFEST_CHUNK]>, KernelError> {
    let bytes = serde_json::to_vec(manifest).map_err(|error| KernelError::Damaged(error.to_string()))?;
    let chunk = |bytes: &[u8]| {
        let mut chunk = [0; maps::MANIFEST_CHUNK];
        chunk[..bytes.len()].copy_from_slice(bytes);
        chunk
    };
    Ok(bytes.chunks(maps::MANIFEST_CHUNK).map(chunk).collect())
}

/// Fills the maps of a generation.
pub(super) fn fill(
    maps: &mut Maps<'_>,
    image: &Image,
    (manifest, start): (&[[u8; maps::MANIFEST_CHUNK]], Start),
) -> Result<(), KernelError> {
    let Image { insns, constants, intervals, settings: _, forest } = image;
    maps.fill(maps::INSNS, insns)?;
    maps.fill(maps::CONSTANTS, constants)?;
    maps.fill(maps::INTERVALS, intervals)?;
    let Forest { roots, nodes, narrow, wide } = forest;
    maps.fill(maps::ROOTS, roots)?;
    maps.fill(maps::NODES, nodes)?;
    maps.fill(maps::NARROW, narrow)?;
    maps.fill(maps::WIDE, wide)?;
    maps.fill(maps::MANIFEST, manifest)?;
    maps.fill(maps::START, &[start])
}

/// Loads the generation's programs, all at once: the verifier takes most of the time of an apply, and looks at several
/// programs on several CPUs. How many instructions it looked at.
fn verify(ebpf: &mut Ebpf) -> Result<u32, KernelError> {
    let wanted = ebpf.programs_mut().filter(|(name, _)| PROGRAMS.contains(name) || ENTRIES.contains(name));
    thread::scope(|scope| {
        let loads: Vec<_> =
            wanted.map(|(name, program)| scope.spawn(move || object::load_program(name, program))).collect();
        loads
            .into_iter()
            .try_for_each(|load| load.join().map_err(|_| KernelError::Damaged("a load panicked".to_owned()))?)
    })?;
    let count = |name| {
        let info = ebpf.program(name).and_then(|program| program.info().ok());
        info.and_then(|info| info.verified_instruction_count()).unwrap_or(0)
    };
    Ok(PROGRAMS.map(count).iter().sum())
}
