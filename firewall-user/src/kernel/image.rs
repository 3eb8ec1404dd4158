//! The image of a loaded generation, instruction by instruction.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aya::maps::{Array, MapData};
use firewall_common::image::{Insn, Interval};

use super::{Instance, KernelError, maps};

/// The instructions of a generation and what they refer to, read when they are asked for.
pub struct LoadedImage {
    insns: Array<MapData, Insn>,
    /// How many there are: the map may have room for more.
    count: usize,
    intervals: Array<MapData, Interval>,
    constants: Array<MapData, [u32; 4]>,
}

impl Instance {
    /// The image of a generation.
    pub fn image(&self, generation: u32) -> Result<LoadedImage, KernelError> {
        let directory = self.pins.generation(generation);
        Ok(LoadedImage {
            insns: maps::array(&directory, maps::INSNS)?,
            count: maps::start(&directory)?.insns as usize,
            intervals: maps::array(&directory, maps::INTERVALS)?,
            constants: maps::array(&directory, maps::CONSTANTS)?,
        })
    }
}

impl Instance {
    /// When a generation was loaded, if that is known.
    pub fn loaded_at(&self, generation: u32) -> Option<SystemTime> {
        let start = maps::start(&self.pins.generation(generation)).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(start.since))
    }
}

impl LoadedImage {
    /// Instruction `index`.
    pub fn insn(&self, index: u32) -> Option<Insn> {
        self.insns.get(&index, 0).ok()
    }

    /// The instructions of a rule.
    pub fn of_rule(&self, rule: u32) -> Vec<Insn> {
        self.insns.iter().take(self.count).flatten().filter(|insn| insn.rule == rule).collect()
    }

    /// An interval of a set.
    pub fn interval(&self, at: u32) -> Option<Interval> {
        self.intervals.get(&at, 0).ok()
    }

    /// A constant.
    pub fn constant(&self, at: u32) -> Option<[u32; 4]> {
        self.constants.get(&at, 0).ok()
    }
}

impl std::fmt::Debug for LoadedImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LoadedImage").finish_non_exhaustive()
    }
}
