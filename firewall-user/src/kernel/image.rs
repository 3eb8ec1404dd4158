//! The image of a loaded generation, instruction by instruction.

use std::time::SystemTime;

use aya::{
    maps::{Array, MapData},
    programs::ProgramInfo,
};
use firewall_common::image::Insn;

use super::{Instance, KernelError, maps, object};

/// The instructions of a generation, read when they are asked for.
pub struct LoadedImage(Array<MapData, Insn>);

impl Instance {
    /// The image of a generation.
    pub fn image(&self, generation: u32) -> Result<LoadedImage, KernelError> {
        maps::array(&self.pins.generation(generation), maps::INSNS).map(LoadedImage)
    }
}

impl Instance {
    /// When a generation was loaded, if the kernel says.
    pub fn loaded_at(&self, generation: u32) -> Option<SystemTime> {
        let path = self.pins.generation(generation).join(object::GENERATION_XDP);
        ProgramInfo::from_pin(path).ok()?.loaded_at()
    }
}

impl LoadedImage {
    /// Instruction `index`.
    pub fn insn(&self, index: u32) -> Option<Insn> {
        self.0.get(&index, 0).ok()
    }
}

impl std::fmt::Debug for LoadedImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("LoadedImage").finish()
    }
}
