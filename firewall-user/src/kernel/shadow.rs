//! A shadow of a generation: it answers about packets that nobody sent, and nothing live changes.
//!
//! The same object code is loaded again, with the same constants and the same read-only maps, and with private copies of
//! what the program writes: connections, counters, fragments and whatever else is state. What proves that it is the
//! same: the kernel's tags of both programs, and the bytes of their constants. The one constant that differs is the
//! one that turns the notes on ([`firewall_common::trail`]).

mod constants;
mod seed;

use std::collections::BTreeSet;

use aya::{
    Ebpf,
    maps::{Array, PerCpuArray},
    programs::{ProgramInfo, TestRun, TestRunOptions, TestRunResult},
};
use firewall_common::{
    interface::Interface as Entry,
    limits::{MAX_IFINDEX, MAX_INTERFACES},
    trail::{Explain, SNAP, Trail, TrailFilter, WANTS_STEPS},
};

pub use self::seed::Known;
use super::{
    Instance, KernelError, Side, attach, interfaces,
    judge::{SLACK, context},
    maps::{self, Maps},
    object,
    object::Shape,
};
use crate::{compile::Compiled, config::Config};

/// The maps of an instance that the program only reads: the shadow has the same ones.
const READ_ONLY: [&str; 7] = [
    maps::CONTROL,
    maps::IFINDEX,
    maps::INTERFACES,
    maps::NAMED_SETS,
    maps::GUARD,
    maps::ADDRESSES,
    maps::ADDRESS_COPY,
];

/// State that the program only writes, or that is copied in part: nothing in it is needed for an answer.
const NOT_COPIED: [&str; 14] = [
    maps::XDP,
    maps::TC_INGRESS,
    maps::TC_EGRESS,
    maps::FLOWS,
    maps::COUNTERS,
    maps::ZEROED,
    maps::TRAFFIC,
    maps::CELLS,
    maps::ANSWER_LIMITS,
    maps::ANSWERS,
    maps::EVENTS,
    maps::BUDGET,
    maps::LISTENERS,
    maps::LEDGER,
];

/// Runs until the buckets of the state table that a packet meets are known: one finds out, one confirms, and a packet
/// that takes another way because of what it met may need a few more.
const ROUNDS: usize = 6;

/// A packet that is asked about.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Where it is put in.
    pub side: Side,
    /// The frame.
    pub frame: &'a [u8],
    /// The interface.
    pub ifindex: u32,
    /// What is known of its connection.
    pub known: Known,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The code that the program returned, as the kernel has it.
    pub code: u32,
    /// Did the packet pass?
    pub passed: bool,
    /// The packet as the program left it.
    pub bytes: Vec<u8>,
    /// What it met.
    pub trail: Box<Trail>,
}

/// A loaded shadow.
pub struct Shadow<'a> {
    ebpf: Ebpf,
    /// Where the live state is; none for a ruleset that is not in force.
    live: Option<&'a Instance>,
    generation: u32,
    buckets: u32,
    /// Where the limits and quotas of the ruleset have their states.
    cells: Vec<u32>,
    /// The side that [`Self::passes`] was asked about last.
    side: Option<Side>,
}

impl Instance {
    /// A shadow of a loaded generation.
    pub fn shadow(&self, generation: u32) -> Result<Shadow<'_>, KernelError> {
        let constants = self.constants(generation)?;
        let mut loader = object::loader()?;
        constants.put(&mut loader);
        loader.override_global("EXPLAIN", &(Explain::Shadow as u32), true);
        loader.map_max_entries(maps::FLOWS, self.buckets);
        self.size_like_live(&mut loader)?;
        for name in READ_ONLY {
            loader.map_pin_path(name, self.pins.state().join(name));
        }
        for name in maps::OF_GENERATION {
            loader.map_pin_path(name, self.pins.generation(generation).join(name));
        }
        let ebpf = object::load_with(&mut loader)?;
        let cells = self.manifest_of(generation)?.cells().map(|cell| cell.slot).collect();
        let mut shadow = Shadow { ebpf, live: Some(self), generation, buckets: self.buckets, cells, side: None };
        shadow.watch_everything()?;
        Ok(shadow)
    }

    /// State maps that were made larger or smaller than the object says are so in the shadow.
    fn size_like_live(&self, loader: &mut aya::EbpfLoader<'_>) -> Result<(), KernelError> {
        for shape in maps::STATE.iter().filter(|shape| !NOT_COPIED.contains(&shape.name)) {
            let info = maps::info(&self.pins.state(), shape.name)?;
            loader.map_max_entries(shape.name, info.max_entries());
        }
        Ok(())
    }
}

impl Shadow<'static> {
    /// A ruleset that is not in force, over empty state: what it would say.
    pub fn of_candidate(compiled: &Compiled) -> Result<Self, KernelError> {
        let image = &compiled.image;
        let shape = Shape::of(compiled, 1, CANDIDATE_BUCKETS);
        let mut loader = object::loader()?;
        object::shape(&mut loader, &shape);
        loader.override_global("EXPLAIN", &(Explain::Shadow as u32), true);
        let mut ebpf = object::load_with(&mut loader)?;
        super::generation::fill(&mut Maps::Loaded(&mut ebpf), image, (&[], shape.start(0)))?;
        super::sets::fill(&ebpf, &compiled.sets)?;
        super::addresses::fill(&mut ebpf, compiled)?;
        let (buckets, cells) = (CANDIDATE_BUCKETS, Vec::new());
        let mut shadow = Shadow { ebpf, live: None, generation: 0, buckets, cells, side: None };
        shadow.watch_everything()?;
        shadow.register(&compiled.manifest.config)?;
        Ok(shadow)
    }
}

impl Shadow<'static> {
    /// Makes the interfaces of this network namespace known.
    fn register(&mut self, config: &Config) -> Result<(), KernelError> {
        let all = interfaces::list()?;
        let known = all.iter().filter(|one| one.index < MAX_IFINDEX).take(MAX_INTERFACES as usize - 1);
        let mut entries = vec![Entry::default()];
        let mut places = vec![0_u32; MAX_IFINDEX as usize];
        for interface in known {
            places[interface.index as usize] = entries.len() as u32;
            entries.push(attach::entry(interface, config));
        }
        maps::fill(&mut self.ebpf, maps::INTERFACES, &entries)?;
        let mut map = maps::array_of::<u32>(&mut self.ebpf, maps::IFINDEX)?;
        for (index, place) in places.iter().enumerate().filter(|(_, place)| **place != 0) {
            map.set(index as u32, place, 0).map_err(KernelError::map(maps::IFINDEX))?;
        }
        Ok(())
    }
}

/// Refuses two programs that are not the same but for their notes.
pub(super) fn prove_same(ours: &ProgramInfo, theirs: &ProgramInfo) -> Result<(), KernelError> {
    if ours.tag() != theirs.tag() {
        return Err(KernelError::OtherBuild);
    }
    constants::compare(ours, theirs)
}

/// Room for the connections that a test brings.
const CANDIDATE_BUCKETS: u32 = 1 << 10;

impl Shadow<'_> {
    /// Says what becomes of a packet.
    pub fn ask(&mut self, question: &Question<'_>) -> Result<Answer, KernelError> {
        self.prove(question.side)?;
        let mut seeded = BTreeSet::new();
        for _ in 0..ROUNDS {
            self.restore(&seeded, question)?;
            let answer = self.run(question)?;
            let met: BTreeSet<u32> = answer.trail.kept_buckets().collect();
            if met.is_subset(&seeded) {
                return Ok(answer);
            }
            seeded.extend(met);
        }
        Err(KernelError::Damaged("the packet meets other connections each time it is asked about".to_owned()))
    }

    /// Does a packet pass? For many packets one after another: state is copied before the first one, and what each of them
    /// leaves behind is there for the next.
    pub fn passes(&mut self, question: &Question<'_>) -> Result<bool, KernelError> {
        if self.side != Some(question.side) {
            self.prove(question.side)?;
            self.restore(&BTreeSet::new(), question)?;
            self.side = Some(question.side);
        }
        Ok(self.run(question)?.passed)
    }

    /// Refuses to answer with a program that is not the one in force.
    fn prove(&mut self, side: Side) -> Result<(), KernelError> {
        let name = object::generation_program(side);
        let info = object::program_info(&mut self.ebpf, name, side)?;
        let Some(live) = self.live else { return Ok(()) };
        let path = live.pins.generation(self.generation).join(name);
        let theirs = ProgramInfo::from_pin(path).map_err(|error| KernelError::program(name, &error))?;
        prove_same(&info, &theirs)
    }

    fn watch_everything(&mut self) -> Result<(), KernelError> {
        let filter = TrailFilter { flags: WANTS_STEPS, snap: SNAP as u32, per_tick: u32::MAX, ..Default::default() };
        maps::fill(&mut self.ebpf, maps::TRAIL_FILTER, &[filter])
    }

    /// One run.
    fn run(&mut self, question: &Question<'_>) -> Result<Answer, KernelError> {
        let Question { side, frame, ifindex, known: _ } = *question;
        refuse_too_short(side, frame)?;
        self.clear_trail()?;
        let name = object::generation_program(side);
        let mut bytes = vec![0; frame.len() + SLACK];
        let context = context(side, frame.len(), ifindex);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut bytes),
            ctx_in: Some(&context),
            repeat: 1,
            ..TestRunOptions::new()
        };
        let result = match side {
            Side::Xdp => object::xdp(&mut self.ebpf, name)?.test_run(options),
            Side::TcIngress | Side::TcEgress => object::classifier(&mut self.ebpf, name)?.test_run(options),
        };
        let TestRunResult { return_value: code, data_size_out, .. } =
            result.map_err(|error| KernelError::program(name, &error))?;
        bytes.truncate(data_size_out as usize);
        Ok(Answer { code, passed: code == side.passing(), bytes, trail: Box::new(self.trail()?) })
    }

    fn clear_trail(&mut self) -> Result<(), KernelError> {
        let mut map = self.trails()?;
        let empty = maps::on_cpus(Trail::EMPTY, Trail::EMPTY)?;
        map.set(0, empty, 0).map_err(KernelError::map(maps::TRAIL))
    }

    /// What the run noted, on whichever CPU it was.
    fn trail(&mut self) -> Result<Trail, KernelError> {
        let values = self.trails()?.get(&0, 0).map_err(KernelError::map(maps::TRAIL))?;
        let noted = values.iter().find(|trail| trail.time_ns != 0).copied();
        noted.ok_or_else(|| KernelError::Damaged("the shadow noted nothing of the packet".to_owned()))
    }

    fn trails(&mut self) -> Result<PerCpuArray<&mut aya::maps::MapData, Trail>, KernelError> {
        let map = self.ebpf.map_mut(maps::TRAIL).ok_or_else(|| KernelError::Damaged("no map TRAIL".to_owned()))?;
        PerCpuArray::try_from(map).map_err(KernelError::map(maps::TRAIL))
    }

    fn flows(&mut self) -> Result<Array<&mut aya::maps::MapData, seed::Words>, KernelError> {
        maps::array_of(&mut self.ebpf, maps::FLOWS)
    }
}

/// At tc the kernel runs no frame that ends within its Ethernet or IP header (`bpf_prog_test_run_skb`, Linux 6.18); at XDP none
/// that ends within its Ethernet header. On a wire both are dropped as malformed.
fn refuse_too_short(side: Side, frame: &[u8]) -> Result<(), KernelError> {
    const ETHERNET: usize = 14;
    let network = match frame.get(12..ETHERNET) {
        _ if side == Side::Xdp => 0,
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 0,
    };
    let (least, has) = (ETHERNET + network, frame.len());
    if has >= least {
        return Ok(());
    }
    Err(KernelError::Limit(format!(
        "a frame of {has} bytes ends within its Ethernet or IP header, and the kernel runs none here of less than {least}; on a wire it \
         is dropped as malformed"
    )))
}

impl std::fmt::Debug for Shadow<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shadow").field("generation", &self.generation).finish_non_exhaustive()
    }
}
