//! A twin of the generation in force: the same code and constants, rules and state, and it notes what packets meet.
//!
//! While somebody watches, the twin stands in the generation's slot, and the generation again afterwards; so watching
//! costs nothing when nobody does. A watcher that is killed leaves the twin in the slot until the next apply: it stops
//! noting at the time that was agreed, and judges as before.

use std::{thread, time::Duration};

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray, RingBuf},
    programs::{ProgramFd, ProgramInfo},
};
use firewall_common::trail::{Explain, TRAIL_HEAD, Trail, TrailFilter};

use super::{Instance, KernelError, Lock, Side, host, maps, object, shadow};

/// Room for trails that wait to be read: a few hundred.
const RING: u32 = 1 << 21;
/// Tries to get the lock for putting the generation back.
const TRIES: u32 = 50;

/// The programs of a generation, with the arrays whose slots they stand in.
const PROGRAMS: [(&str, &str, Side); 3] = [
    (maps::XDP, object::GENERATION_XDP, Side::Xdp),
    (maps::TC_INGRESS, object::GENERATION_TC_INGRESS, Side::TcIngress),
    (maps::TC_EGRESS, object::GENERATION_TC_EGRESS, Side::TcEgress),
];

/// Somebody watches: until this is dropped.
pub struct Watch<'a> {
    instance: &'a Instance,
    generation: u32,
    slot: u32,
    ring: RingBuf<MapData>,
    ebpf: Ebpf,
}

impl Instance {
    /// Begins to watch packets that fit the filter, for so long at most.
    pub fn watch(&self, filter: TrailFilter, time: Duration) -> Result<Watch<'_>, KernelError> {
        let lock = self.lock()?;
        let generation = self.generation()?;
        let slot = self.control()?.slot(host::monotonic_ns);
        let mut ebpf = self.twin(generation)?;
        for (_, name, side) in PROGRAMS {
            let ours = object::program_info(&mut ebpf, name, side)?;
            let path = self.pins.generation(generation).join(name);
            let theirs = ProgramInfo::from_pin(path).map_err(|error| KernelError::program(name, &error))?;
            shadow::prove_same(&ours, &theirs)?;
        }
        let until = host::tick().wrapping_add(ticks(time)).max(1);
        maps::fill(&mut ebpf, maps::TRAIL_FILTER, &[TrailFilter { until, ..filter.aimed() }])?;
        let missing = || KernelError::Damaged("no map TRAILS".to_owned());
        let Map::RingBuf(data) = ebpf.take_map(maps::TRAILS).ok_or_else(missing)? else { return Err(missing()) };
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(KernelError::map(maps::TRAILS))?;
        let watch = Watch { instance: self, generation, slot, ring, ebpf };
        for (array, name, _) in PROGRAMS {
            let fd = object::descriptor(&watch.ebpf, name)?;
            self.put(&lock, array, slot, &fd)?;
        }
        Ok(watch)
    }

    fn twin(&self, generation: u32) -> Result<Ebpf, KernelError> {
        let constants = self.constants(generation)?;
        let mut loader = object::loader()?;
        constants.put(&mut loader);
        loader.override_global("EXPLAIN", &(Explain::Twin as u32), true);
        loader.map_max_entries(maps::TRAILS, RING);
        for shape in &maps::STATE {
            loader.map_pin_path(shape.name, self.pins.state().join(shape.name));
        }
        for name in maps::OF_GENERATION {
            loader.map_pin_path(name, self.pins.generation(generation).join(name));
        }
        object::load_with(&mut loader)
    }

    fn put(&self, _: &Lock, array: &'static str, slot: u32, program: &ProgramFd) -> Result<(), KernelError> {
        let mut array_map = maps::programs(&self.pins.state(), array)?;
        array_map.set(slot, program, 0).map_err(KernelError::map(array))
    }
}

fn ticks(time: Duration) -> u32 {
    let ticks = time.as_nanos() >> firewall_common::conntrack::TICK_NS_SHIFT;
    u32::try_from(ticks).unwrap_or(u32::MAX / 2).saturating_add(1)
}

impl Watch<'_> {
    /// The next trail, if there is one.
    #[expect(clippy::should_implement_trait, reason = "an iterator ends; this may have more later")]
    pub fn next(&mut self) -> Option<Box<Trail>> {
        loop {
            let item = self.ring.next()?;
            if item.len() >= TRAIL_HEAD {
                return Some(trail(&item));
            }
        }
    }

    /// Trails that were not sent: over the rate, or no room.
    pub fn lost(&self) -> Result<u64, KernelError> {
        let map = self.ebpf.map(maps::TRAIL).ok_or_else(|| KernelError::Damaged("no map TRAIL".to_owned()))?;
        let map = PerCpuArray::<_, Trail>::try_from(map).map_err(KernelError::map(maps::TRAIL))?;
        let values = map.get(&0, 0).map_err(KernelError::map(maps::TRAIL))?;
        Ok(values.iter().map(|trail| trail.lost).sum())
    }

    /// Is what is watched still in force?
    pub fn is_in_force(&self) -> bool {
        self.instance.generation().is_ok_and(|generation| generation == self.generation)
    }

    /// The generation that is watched.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    fn put_back(&self) -> Result<(), KernelError> {
        let mut lock = self.instance.lock();
        for _ in 0..TRIES {
            if lock.is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
            lock = self.instance.lock();
        }
        let lock = lock?;
        // An apply may have put another generation there meanwhile, and that one stays.
        if self.instance.control()?.generation[self.slot as usize & 1] != self.generation {
            return Ok(());
        }
        for (array, name, side) in PROGRAMS {
            let fd = object::pinned(&self.instance.pins.generation(self.generation), name, side)?;
            self.instance.put(&lock, array, self.slot, &fd)?;
        }
        Ok(())
    }
}

impl Drop for Watch<'_> {
    /// Puts the generation back. If that cannot be done, the twin stays, which judges the same.
    fn drop(&mut self) {
        let _ = self.put_back();
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// A trail of the bytes of its record, which may be without the steps.
fn trail(bytes: &[u8]) -> Box<Trail> {
    let mut trail = Box::new(Trail::EMPTY);
    let length = bytes.len().min(size_of::<Trail>());
    #[expect(unsafe_code, reason = "a record of the kernel's becomes a value")]
    // SAFETY: `Trail` is made of integers only, every bit pattern of which is valid, and no more than its size is copied.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), std::ptr::from_mut(&mut *trail).cast::<u8>(), length);
    }
    if length <= TRAIL_HEAD {
        trail.step_count = 0;
    }
    trail
}
