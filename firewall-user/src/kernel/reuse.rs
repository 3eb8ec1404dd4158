//! Programs that serve one ruleset after another.
//!
//! Nearly all the time that loading takes is the verifier's, and what it looks at depends on few things of a ruleset: what
//! its rules use, which hooks have chains. So the generation that was replaced last and can no more be gone back to stays
//! pinned, and when the constants of the next ruleset are the same and it has room, its maps are written anew and it takes
//! a slot again. The generation in force and the one before it are not touched, as with any apply. Where there is none yet,
//! `rampart apply` loads one ahead once its rules are in force ([`Instance::load_ahead`]).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{ProgramInfo, Xdp};
use aya_obj::programs::XdpAttachType;
use firewall_common::{control::Control, start::Start};

use super::{
    Instance, KernelError,
    generation::{ENTRIES, Generation, PROGRAMS, Programs, fill, manifest_chunks, pin},
    maps::{self, Maps},
    object::{self, Shape},
    probe,
};
use crate::compile::Compiled;

/// Memory that may lie idle for the next ruleset. A ruleset that takes more spends its time on other things than the
/// verifier's.
const MOST_IDLE: u64 = 16 << 20;

impl Instance {
    /// The generation that is in no slot and whose programs and maps are all there.
    pub(super) fn spare(&self, control: &Control) -> Result<Option<u32>, KernelError> {
        let mut numbers = self.generation_numbers()?;
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let is_spare = |number: &u32| !control.generation.contains(number) && is_whole(&self.pins.generation(*number));
        Ok(numbers.into_iter().find(is_spare))
    }

    /// A spare generation that this ruleset can be, and what its programs read then.
    fn fitting(
        &self,
        control: &Control,
        shape: &Shape<'_>,
        number: u32,
    ) -> Result<Option<(PathBuf, Start)>, KernelError> {
        // A map of the instance that is not there yet is made by loading.
        if maps::OF_SLOTS.iter().any(|name| !self.pins.state().join(name).exists()) {
            return Ok(None);
        }
        let replaced = self.spare(control)?.map(|spare| self.pins.generation(spare));
        for directory in replaced.into_iter().chain(Some(self.pins.next()).filter(|next| is_whole(next))) {
            if let Some(start) = fitting(&directory, shape, number)? {
                return Ok(Some((directory, start)));
            }
        }
        Ok(None)
    }

    /// Loads programs ahead for the next ruleset that is like this one, which is in force, if there are none and their
    /// maps are small. Packets do not reach them. While the verifier is at it, others may change the instance.
    pub fn load_ahead(&self, compiled: &Compiled) -> Result<(), KernelError> {
        let lock = self.lock()?;
        let control = self.control()?;
        let in_force = control.generation[control.active as usize & 1];
        let shape = Shape::of(compiled, manifest_chunks(&compiled.manifest)?.len(), self.buckets);
        if memory(&self.pins.generation(in_force))? > MOST_IDLE || self.fitting(&control, &shape, 0)?.is_some() {
            return Ok(());
        }
        let mut ebpf = self.load(compiled, 0)?;
        drop(lock);
        self.make_ready(&mut ebpf, compiled)?;
        let _lock = self.lock()?;
        // Was it stopped meanwhile, or made anew? Then the state of these programs is not the one that is there now.
        if self.pins.exists() && self.control()?.secret == control.secret {
            pin(&mut ebpf, &self.pins.next())?;
        }
        Ok(())
    }

    /// Makes the spare generation one of this ruleset, if there is one that fits. Packets do not reach it.
    pub(super) fn reuse(
        &self,
        compiled: &Compiled,
        control: &Control,
        number: u32,
    ) -> Result<Option<Generation>, KernelError> {
        let mut chunks = manifest_chunks(&compiled.manifest)?;
        let shape = Shape::of(compiled, chunks.len(), self.buckets);
        let Some((from, start)) = self.fitting(control, &shape, number)? else { return Ok(None) };
        // No packet is still on its way through it.
        if wait_for_packets().is_err() {
            return Ok(None);
        }
        let directory = self.pins.generation(number);
        fs::rename(&from, &directory).map_err(KernelError::system(directory.display().to_string()))?;
        // What is left of a longer manifest must not be read as a part of this one.
        let room = maps::info(&directory, maps::MANIFEST)?.max_entries() as usize;
        chunks.resize(room, [0; maps::MANIFEST_CHUNK]);
        let mut pinned = Maps::Pinned(&directory);
        fill(&mut pinned, &compiled.image, (&chunks, start))?;
        let program = directory.join(object::GENERATION_XDP);
        let program = Xdp::from_pin(program, XdpAttachType::Interface);
        probe::run(&program.map_err(|error| KernelError::program(object::GENERATION_XDP, &error))?)?;
        self.forget_probes()?;
        pinned.fill(maps::GENERATORS, &vec![0_u64; shape.generators])?;
        let verified_instructions = PROGRAMS.iter().map(|name| verified(&directory.join(name))).sum();
        Ok(Some(Generation { number, programs: Programs::Pinned(directory), verified_instructions }))
    }
}

/// Are all maps and programs of a generation there, and do they take little enough memory to lie idle?
fn is_whole(directory: &Path) -> bool {
    PROGRAMS.iter().chain(&ENTRIES).all(|name| directory.join(name).exists())
        && memory(directory).is_ok_and(|bytes| bytes <= MOST_IDLE)
}

/// What the programs there would have to read, if they have the constants of this ruleset and their maps have room for it.
fn fitting(directory: &Path, shape: &Shape<'_>, number: u32) -> Result<Option<Start>, KernelError> {
    let (theirs, ours) = (maps::start(directory)?, shape.start(number));
    // The count of timer ticks is told apart from the clock to one tick, and so long it does not matter which of two
    // measurements is taken.
    let drift = ours.jiffies_offset.wrapping_sub(theirs.jiffies_offset).cast_signed().unsigned_abs();
    if ours.constants != theirs.constants || drift > u64::from(shape.jiffies.length) {
        return Ok(None);
    }
    for (name, entries) in shape.maps() {
        if (maps::info(directory, name)?.max_entries() as usize) < entries {
            return Ok(None);
        }
    }
    Ok(Some(Start { jiffies_offset: theirs.jiffies_offset, ..ours }))
}

/// Bytes of a generation's maps.
fn memory(directory: &Path) -> Result<u64, KernelError> {
    let one = |name| {
        let info = maps::info(directory, name)?;
        Ok(u64::from(info.max_entries()) * u64::from(info.value_size()))
    };
    maps::OF_GENERATION.into_iter().map(one).sum()
}

fn verified(pin: &Path) -> u32 {
    ProgramInfo::from_pin(pin).ok().and_then(|info| info.verified_instruction_count()).unwrap_or(0)
}

/// Waits until every packet that is in work now has left its program: programs run inside RCU's read-side sections, and
/// this waits for all of those (`membarrier_global`, kernel/sched/membarrier.c, Linux 4.3: `synchronize_rcu`).
#[expect(unsafe_code, reason = "there is no wrapper for this system call")]
fn wait_for_packets() -> io::Result<()> {
    /// `MEMBARRIER_CMD_GLOBAL` (include/uapi/linux/membarrier.h)
    const GLOBAL: libc::c_long = 1;
    // SAFETY: the call takes numbers only.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
