//! The eBPF object inside this binary, and how it is loaded.

use std::io;

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError, ProgramFd, ProgramInfo, SchedClassifier, Xdp},
};
use firewall_common::{
    answer::Answering,
    conntrack::Timeouts,
    flood::{Flooding, USES_FLOODS},
    image::{Forest, Image, PARTS, Settings},
};

use super::{KernelError, Side, answering, clocks, fast, jiffies::Jiffies, maps, pins::Pins};
use crate::compile::Compiled;

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
    /// Number of the generation.
    pub(super) generation: u32,
}

impl<'a> Shape<'a> {
    /// What fits a compiled ruleset and its settings.
    pub(super) fn of(compiled: &'a Compiled, manifest: usize, buckets: u32, generation: u32) -> Self {
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
            tracking: conntrack.ways() | fast::ways(compiled),
            checks: compiled.manifest.config.checks.bits(),
            flooding: compiled.manifest.config.syn_flood.limits(),
            answering: answering::here(),
            generation,
        }
    }
}

/// What a generation uses, by its ruleset or by its settings.
pub(super) fn uses(compiled: &Compiled) -> u32 {
    let floods = compiled.manifest.config.syn_flood.is_on();
    fast::uses(compiled) | if floods { USES_FLOODS } else { 0 }
}

/// The programs of a generation.
pub(super) const GENERATION_XDP: &str = "rampart_xdp";
pub(super) const GENERATION_TC_INGRESS: &str = "rampart_tc_ingress";
pub(super) const GENERATION_TC_EGRESS: &str = "rampart_tc_egress";
/// The programs on the interfaces.
pub(super) const ENTER_XDP: &str = "enter_xdp";
pub(super) const ENTER_TC_INGRESS: &str = "enter_tc_ingress";
pub(super) const ENTER_TC_EGRESS: &str = "enter_tc_egress";

/// The constants of [`Settings::entry`], in the order of [`firewall_common::image::Part`].
const ENTRIES: [&str; PARTS] = [
    "ENTRY_PREROUTING",
    "ENTRY_INPUT",
    "ENTRY_FORWARD",
    "ENTRY_OUTPUT",
    "ENTRY_POSTROUTING",
    "ENTRY_INGRESS",
    "ENTRY_EGRESS",
    "ENTRY_PREROUTING_RAW",
    "ENTRY_OUTPUT_RAW",
    "ENTRY_PREROUTING_EARLY",
    "ENTRY_OUTPUT_EARLY",
    "ENTRY_INPUT_LATE",
    "ENTRY_POSTROUTING_LATE",
    "ENTRY_PREROUTING_NAT",
    "ENTRY_OUTPUT_NAT",
    "ENTRY_INPUT_NAT",
    "ENTRY_POSTROUTING_NAT",
];

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
        settings,
        uses,
        insns,
        constants,
        intervals,
        forest,
        generators,
        manifest,
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
        generation,
    } = shape;
    for (name, entry) in ENTRIES.iter().zip(&settings.entry) {
        loader.override_global(name, &entry.0, true);
    }
    loader
        .override_global("USES", uses, true)
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
        .override_global("GENERATION", generation, true)
        .map_max_entries(maps::FLOWS, *buckets)
        .map_max_entries(maps::INSNS, at_least_one(*insns))
        .map_max_entries(maps::CONSTANTS, at_least_one(*constants))
        .map_max_entries(maps::INTERVALS, at_least_one(*intervals))
        .map_max_entries(maps::ROOTS, at_least_one(forest.roots.len()))
        .map_max_entries(maps::NODES, at_least_one(forest.nodes.len()))
        .map_max_entries(maps::NARROW, at_least_one(forest.narrow.len()))
        .map_max_entries(maps::WIDE, at_least_one(forest.wide.len()))
        .map_max_entries(maps::GENERATORS, at_least_one(*generators))
        .map_max_entries(maps::MANIFEST, at_least_one(*manifest));
}

/// A map cannot have no entries.
fn at_least_one(entries: usize) -> u32 {
    entries.max(1) as u32
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

fn missing(name: &str) -> KernelError {
    KernelError::Damaged(format!("the embedded object has no program {name}"))
}
