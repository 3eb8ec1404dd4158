//! The packets that a new generation must judge rightly before it is put in force.
//!
//! Whatever the ruleset says, a frame of a link protocol without rules passes and a mangled one does not. A program that
//! loads but does not find its maps, or lets everything through, is found out here.

use aya::programs::{TestRun, TestRunOptions, Xdp};

use super::{KernelError, object};

/// `XDP_DROP` and `XDP_PASS` (include/uapi/linux/bpf.h).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// A name, the EtherType and the first bytes behind it, the code wanted.
const PROBES: [(&str, [u8; 4], u32); 3] = [
    ("LLDP frame", [0x88, 0xcc, 0x00, 0x00], XDP_PASS),
    ("IPv4 header that ends too soon", [0x08, 0x00, 0x45, 0x00], XDP_DROP),
    ("IPv6 header that ends too soon", [0x86, 0xdd, 0x60, 0x00], XDP_DROP),
];

/// Runs the probes through the generation's XDP program.
pub(super) fn run(program: &Xdp) -> Result<(), KernelError> {
    for (probe, bytes, wanted) in PROBES {
        let mut frame = [0_u8; 16];
        frame[12..].copy_from_slice(&bytes);
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        let got = program.test_run(options).map_err(|error| KernelError::program(object::GENERATION_XDP, &error))?;
        if got.return_value != wanted {
            return Err(KernelError::Probe { probe, got: format!("code {}, not {wanted}", got.return_value) });
        }
    }
    Ok(())
}
