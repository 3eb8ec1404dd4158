//! The program's own debugging output (aya-log), for who works on the program: built in with the feature `debug-log`,
//! printed to standard error while `rampart monitor` runs.

use aya::programs::Xdp;
use aya_log::EbpfLogger;
use aya_obj::programs::XdpAttachType;

use super::{KernelError, object, pins::Pins};

/// Prints what the program says.
struct Printer;

impl log::Log for Printer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("program: {}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// The log of the generation in force.
#[derive(Default)]
pub(super) struct DebugLog {
    generation: u32,
    log: Option<EbpfLogger<Printer>>,
}

impl DebugLog {
    /// Prints what has come since the last time; `generation` is the one in force.
    pub(super) fn flush(&mut self, pins: &Pins, generation: u32) -> Result<(), KernelError> {
        if self.generation != generation || self.log.is_none() {
            self.log = Some(open(pins, generation)?);
            self.generation = generation;
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }
}

fn open(pins: &Pins, generation: u32) -> Result<EbpfLogger<Printer>, KernelError> {
    let name = object::GENERATION_XDP;
    let path = pins.generation(generation).join(name);
    let program = Xdp::from_pin(path, XdpAttachType::Interface).map_err(|error| KernelError::program(name, &error))?;
    let id = program.info().map_err(|error| KernelError::program(name, &error))?.id();
    EbpfLogger::init_from_id_with_logger(id, Printer).map_err(|error| KernelError::Damaged(error.to_string()))
}
