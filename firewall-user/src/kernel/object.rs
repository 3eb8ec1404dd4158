//! The eBPF object inside this binary, and how it is loaded.

use std::{
    hash::{DefaultHasher, Hasher as _},
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError, ProgramFd, ProgramInfo, SchedClassifier, Xdp},
};
use aya_obj::programs::XdpAttachType;
use firewall_common::{
    answer::Answering,
    conntrack::Timeouts,
    flood::{Flooding, USES_FLOODS},
    image::{Forest, Image, Settings, USES_ADDRESSES},
    limits::MAX_INTERFACES,
    start::Start,
};

use super::{KernelError, Side, answering, clocks, fast, jiffies::Jiffies, maps, pins::Pins};
use crate::{compile::Compiled, config::Config};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("RAMPART_EBPF_OBJECT"));

/// What built the object.
pub const TOOLCHAIN: &str = env!("RAMPART_EBPF_TOOLCHAIN");

/// The object as it is in the binary; empty when it was built without an eBPF toolchain.
pub fn embedded() -> &'static [u8] {
    OBJECT
}

/// Sizes and constants of one load.
pub(super) struct Shape<'a> {
    /// Constants of the ruleset.
    pub(super) settings: &'a Settings,
    /// What is used, by the ruleset or by settings.
    pub(super) uses: u32,
    /// Entries of the generation's maps.
    pub(super) insns: usize,
    /// As above.
    pub(super) constants: usize,
    /// As above.
    pub(super) intervals: usize,
    /// As above.
    pub(super) forest: &'a Forest,
    /// As above.
    pub(super) generators: usize,
    /// As above, in chunks.
    pub(super) manifest: usize,
    /// Buckets of the state table; a power of two.
    pub(super) buckets: u32,
    /// The same, less one.
    pub(super) mask: u32,
    /// Lifetimes of connections.
    pub(super) timeouts: Timeouts,
    /// How connections are tracked.
    pub(super) tracking: u32,
    /// What is checked beyond what the parser refuses.
    pub(super) checks: u32,
    /// How clocks differ here, see [`clocks`].
    pub(super) atomic_ahead: u32,
    /// As above.
    pub(super) local_ahead: u32,
    /// What timer ticks tell of the time.
    pub(super) jiffies: Jiffies,
    /// When cookies are sent unasked.
    pub(super) flooding: Flooding,
    /// How refused packets are answered.
    pub(super) answering: Answering,
    /// The parts that have chains, one bit each.
    pub(super) parts: u32,
}

impl<'a> Shape<'a> {
    /// What fits a compiled ruleset and its settings.
    pub(super) fn of(compiled: &'a Compiled, manifest: usize, buckets: u32) -> Self {
        let Image { insns, constants, intervals, settings, forest } = &compiled.image;
        let conntrack = &compiled.manifest.config.conntrack;
        Self {
            settings,
            uses: uses(compiled),
            insns: insns.len(),
            constants: constants.len(),
            intervals: intervals.len(),
            forest,
            generators: compiled.image.generators(),
            atomic_ahead: clocks::atomic_ahead(),
            local_ahead: clocks::local_ahead(),
            jiffies: Jiffies::here(),
            manifest,
            buckets,
            mask: buckets - 1,
            timeouts: conntrack.timeouts.ticks(),
            tracking: conntrack.ways() | fast::ways(compiled) | compiled.manifest.config.sets.ways(),
            checks: compiled.manifest.config.checks.bits(),
            flooding: compiled.manifest.config.syn_flood.limits(),
            answering: answering::here(),
            parts: parts(settings),
        }
    }

    /// A hash of the object and of all constants, but the one that is measured anew each time.
    fn constants(&self) -> u64 {
        let Self {
            settings: _,
            uses,
            insns: _,
            constants: _,
            intervals: _,
            forest: _,
            generators: _,
            manifest: _,
            buckets,
            mask,
            timeouts,
            tracking,
            checks,
            atomic_ahead,
            local_ahead,
            jiffies,
            flooding,
            answering,
            parts,
        } = self;
        let constants = format!(
            "{:?}",
            (
                (uses, parts, buckets, mask, timeouts, tracking, checks),
                (atomic_ahead, local_ahead, jiffies.length, flooding, answering)
            )
        );
        let mut hasher = DefaultHasher::new();
        hasher.write(OBJECT);
        hasher.write(constants.as_bytes());
        hasher.finish()
    }

    /// What programs of these constants read when they run.
    pub(super) fn start(&self, generation: u32) -> Start {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Start {
            entry: self.settings.entry,
            generation,
            insns: self.insns as u32,
            reserved: 0,
            constants: self.constants(),
            jiffies_offset: self.jiffies.offset,
            since,
        }
    }

    /// The maps of a generation, with the entries that they must have.
    pub(super) fn maps(&self) -> [(&'static str, usize); maps::OF_GENERATION.len()] {
        let Forest { roots, nodes, narrow, wide } = self.forest;
        [
            (maps::START, 1),
            (maps::INSNS, self.insns),
            (maps::CONSTANTS, self.constants),
            (maps::INTERVALS, self.intervals),
            (maps::ROOTS, roots.len()),
            (maps::NODES, nodes.len()),
            (maps::NARROW, narrow.len()),
            (maps::WIDE, wide.len()),
            (maps::GENERATORS, self.generators),
            (maps::DEVICES, MAX_INTERFACES as usize),
            (maps::MANIFEST, self.manifest),
        ]
    }
}

/// The parts that have chains, one bit each.
fn parts(settings: &Settings) -> u32 {
    let entries = settings.entry.iter().enumerate();
    entries.filter(|(_, entry)| !entry.is_verdict()).fold(0, |parts, (part, _)| parts | 1 << part)
}

/// What a generation uses, by its ruleset or by its settings.
pub(super) fn uses(compiled: &Compiled) -> u32 {
    let Config { syn_flood, checks, .. } = &compiled.manifest.config;
    let floods = if syn_flood.is_on() { USES_FLOODS } else { 0 };
    fast::uses(compiled) | floods | if checks.own_addresses { USES_ADDRESSES } else { 0 }
}

/// The programs of a generation.
pub(super) const GENERATION_XDP: &str = "rampart_xdp";
pub(super) const GENERATION_TC_INGRESS: &str = "rampart_tc_ingress";
pub(super) const GENERATION_TC_EGRESS: &str = "rampart_tc_egress";
/// The programs on the interfaces.
pub(super) const ENTER_XDP: &str = "enter_xdp";
pub(super) const ENTER_TC_INGRESS: &str = "enter_tc_ingress";
pub(super) const ENTER_TC_EGRESS: &str = "enter_tc_egress";

/// Loads the object's maps: state maps from their pins or new and pinned, the others made to measure.
pub(super) fn load(pins: &Pins, measures: &Shape<'_>) -> Result<Ebpf, KernelError> {
    let mut loader = loader()?;
    shape(&mut loader, measures);
    for state in &maps::STATE {
        loader.map_pin_path(state.name, pins.state().join(state.name));
    }
    load_with(&mut loader)
}

/// A loader, if there is something to load.
pub(super) fn loader<'a>() -> Result<EbpfLoader<'a>, KernelError> {
    if OBJECT.is_empty() { Err(KernelError::NoObject) } else { Ok(EbpfLoader::new()) }
}

/// Loads the object as the loader was told to.
pub(super) fn load_with(loader: &mut EbpfLoader<'_>) -> Result<Ebpf, KernelError> {
    loader.load(OBJECT).map_err(|error| KernelError::object(&error))
}

/// Sets constants and sizes of maps.
pub(super) fn shape<'a>(loader: &mut EbpfLoader<'a>, shape: &'a Shape<'_>) {
    let Shape {
        uses,
        mask,
        buckets,
        timeouts,
        tracking,
        checks,
        atomic_ahead,
        local_ahead,
        jiffies,
        flooding,
        answering,
        parts,
        ..
    } = shape;
    loader
        .override_global("USES", uses, true)
        .override_global("PARTS", parts, true)
        .override_global("ATOMIC_AHEAD", atomic_ahead, true)
        .override_global("LOCAL_AHEAD", local_ahead, true)
        .override_global("JIFFY_NS", &jiffies.length, true)
        .override_global("JIFFIES_OFFSET", &jiffies.offset, true)
        .override_global("BUCKET_MASK", mask, true)
        .override_global("TIMEOUTS", timeouts, true)
        .override_global("TRACKING", tracking, true)
        .override_global("CHECKS", checks, true)
        .override_global("FLOODING", flooding, true)
        .override_global("ANSWERING", answering, true)
        .map_max_entries(maps::FLOWS, *buckets);
    for (name, entries) in shape.maps() {
        loader.map_max_entries(name, with_room(name, entries));
    }
}

/// Entries of a map: a quarter more than are needed now, and as many as a ruleset of some hundred rules needs, so that the
/// next ruleset, which is mostly much the same, finds room in it.
fn with_room(name: &str, entries: usize) -> u32 {
    match name {
        maps::START | maps::DEVICES => entries as u32,
        maps::MANIFEST => (entries + entries / 4).max(32) as u32,
        _ => (entries + entries / 4).max(1024) as u32,
    }
}

/// Loads, and loads again when the verifier gave up because a signal was pending (`do_check`, kernel/bpf/verifier.c,
/// Linux 6.18: EAGAIN), as often as libbpf does.
fn again(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const ATTEMPTS: usize = 5;
    for _ in 1..ATTEMPTS {
        match load() {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
    load()
}

/// Loads a program of the object.
pub(super) fn load_program(name: &str, program: &mut Program) -> Result<(), KernelError> {
    let loaded = match program {
        Program::Xdp(program) => again(|| program.load()),
        Program::SchedClassifier(program) => again(|| program.load()),
        _ => return Err(missing(name)),
    };
    loaded.map_err(|error| KernelError::program(name, &error))
}

/// A loaded XDP program of the object.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    let program: &mut Xdp = program.try_into().map_err(|error| KernelError::program(name, &error))?;
    if program.fd().is_err() {
        again(|| program.load()).map_err(|error| KernelError::program(name, &error))?;
    }
    Ok(program)
}

/// A loaded tc program of the object.
pub(super) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    let program: &mut SchedClassifier = program.try_into().map_err(|error| KernelError::program(name, &error))?;
    if program.fd().is_err() {
        again(|| program.load()).map_err(|error| KernelError::program(name, &error))?;
    }
    Ok(program)
}

/// The program of a generation that meets packets on this side.
pub(super) const fn generation_program(side: Side) -> &'static str {
    match side {
        Side::Xdp => GENERATION_XDP,
        Side::TcIngress => GENERATION_TC_INGRESS,
        Side::TcEgress => GENERATION_TC_EGRESS,
    }
}

/// What the kernel says of a program, loaded now if it was not.
pub(super) fn program_info(ebpf: &mut Ebpf, name: &str, side: Side) -> Result<ProgramInfo, KernelError> {
    let info = match side {
        Side::Xdp => xdp(ebpf, name)?.info(),
        Side::TcIngress | Side::TcEgress => classifier(ebpf, name)?.info(),
    };
    info.map_err(|error| KernelError::program(name, &error))
}

/// The descriptor of a loaded program.
pub(super) fn descriptor(ebpf: &Ebpf, name: &str) -> Result<ProgramFd, KernelError> {
    let program = ebpf.program(name).ok_or_else(|| missing(name))?;
    let fd = program.fd().map_err(|error| KernelError::program(name, &error))?;
    fd.try_clone().map_err(KernelError::system(name))
}

/// The same of one that is pinned.
pub(super) fn pinned(directory: &Path, name: &str, side: Side) -> Result<ProgramFd, KernelError> {
    let (path, failed) = (directory.join(name), |error| KernelError::program(name, &error));
    let fd = match side {
        Side::Xdp => Xdp::from_pin(path, XdpAttachType::Interface).map_err(failed)?.fd().map_err(failed)?.try_clone(),
        Side::TcIngress | Side::TcEgress => {
            SchedClassifier::from_pin(path).map_err(failed)?.fd().map_err(failed)?.try_clone()
        }
    };
    fd.map_err(KernelError::system(name))
}

fn missing(name: &str) -> KernelError {
    KernelError::Damaged(format!("the embedded object has no program {name}"))
}
