//! The constants of a loaded generation, read from the kernel and given to its shadow.

use std::collections::BTreeMap;

use aya::{EbpfLoader, maps::MapInfo, programs::ProgramInfo};
use object::{Object, ObjectSection, ObjectSymbol};

use crate::kernel::{Instance, KernelError, object as our_object, raw::RawMap};

/// What is kept apart: it is what makes a shadow a shadow.
const EXPLAIN: &str = "EXPLAIN";

/// Where constants are.
const SECTION: &str = ".rodata";

/// A constant in the object: its name, where it is in the section, its size.
struct Symbol {
    name: &'static str,
    at: usize,
    size: usize,
}

/// The constants of the object in this binary.
fn symbols() -> Result<Vec<Symbol>, KernelError> {
    let unreadable = |error: object::Error| KernelError::Damaged(format!("the embedded object: {error}"));
    let file = object::File::parse(our_object::embedded()).map_err(unreadable)?;
    let Some(section) = file.section_by_name(SECTION) else {
        return Err(KernelError::Damaged("the embedded object has no constants".to_owned()));
    };
    let mut symbols = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
        let name = symbol.name().map_err(unreadable)?;
        if symbol.size() != 0 && symbol.is_global() {
            symbols.push(Symbol { name, at: symbol.address() as usize, size: symbol.size() as usize });
        }
    }
    Ok(symbols)
}

/// The bytes of each constant of a loaded program.
pub(in crate::kernel) struct Constants(BTreeMap<&'static str, Vec<u8>>);

impl Constants {
    /// Gives the constants to a load.
    pub(in crate::kernel) fn put<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for (name, bytes) in &self.0 {
            loader.override_global(name, &bytes[..], true);
        }
    }
}

impl Instance {
    /// The constants that a generation was loaded with, but the one that turns notes on.
    pub(in crate::kernel) fn constants(&self, generation: u32) -> Result<Constants, KernelError> {
        let path = self.pins.generation(generation).join(our_object::GENERATION_XDP);
        let info =
            ProgramInfo::from_pin(path).map_err(|error| KernelError::program(our_object::GENERATION_XDP, &error))?;
        let bytes = bytes_of(&info)?;
        let mut constants = BTreeMap::new();
        for Symbol { name, at, size } in symbols()?.into_iter().filter(|symbol| symbol.name != EXPLAIN) {
            let value = bytes.get(at..at + size).ok_or(KernelError::OtherBuild)?;
            constants.insert(name, value.to_vec());
        }
        Ok(Constants(constants))
    }
}

/// The section of constants as a loaded program has it.
fn bytes_of(program: &ProgramInfo) -> Result<Vec<u8>, KernelError> {
    let damaged = |error: &dyn std::fmt::Display| KernelError::Damaged(format!("constants of the program: {error}"));
    let ids = program.map_ids().map_err(|error| damaged(&error))?.unwrap_or_default();
    for id in ids {
        let info = MapInfo::from_id(id).map_err(|error| damaged(&error))?;
        if info.name_as_str().is_some_and(|name| name.ends_with(SECTION)) {
            let fd = info.fd().map_err(|error| damaged(&error))?;
            let map = RawMap::new(&fd, &info)?;
            return map.get(&0_u32.to_ne_bytes())?.ok_or_else(|| damaged(&"they are empty"));
        }
    }
    Err(damaged(&"there are none"))
}

/// Are the constants of two programs the same, but for the one that turns notes on?
pub(super) fn compare(ours: &ProgramInfo, theirs: &ProgramInfo) -> Result<(), KernelError> {
    let (mut ours, mut theirs) = (bytes_of(ours)?, bytes_of(theirs)?);
    for Symbol { name: _, at, size } in symbols()?.into_iter().filter(|symbol| symbol.name == EXPLAIN) {
        for bytes in [&mut ours, &mut theirs] {
            bytes.get_mut(at..at + size).ok_or(KernelError::OtherBuild)?.fill(0);
        }
    }
    if ours == theirs { Ok(()) } else { Err(KernelError::OtherBuild) }
}
