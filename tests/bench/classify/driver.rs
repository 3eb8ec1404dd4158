//! Many packets by one `BPF_PROG_TEST_RUN`: a program of a few instructions writes the next frame of a trace over the packet
//! and tail-calls the program that is measured. It is written here in bare instructions, so that nothing of it is in what
//! is shipped.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use super::bare::{self, ARRAY, PROGRAM_ARRAY, SCHED_CLS, insn, load_map};

/// Bytes of a frame.
pub(crate) const FRAME: usize = 80;

/// The frames, and a program that walks through them.
pub(crate) struct Driver {
    program: OwnedFd,
    frames: u32,
    /// The kernel empties an array of programs when user space has closed it.
    _programs: OwnedFd,
}

impl Driver {
    /// Walks through frames (a power of two of them) and hands each to the program pinned at `target`; without one, drops it.
    pub(crate) fn new(frames: &[[u8; FRAME]], target: Option<&Path>) -> Self {
        assert!(frames.len().is_power_of_two(), "a mask picks the next one");
        let (state, trace) = (bare::map(ARRAY, 8, 1), bare::map(ARRAY, FRAME as u32, frames.len() as u32));
        for (at, frame) in frames.iter().enumerate() {
            bare::update(&trace, at as u32, frame);
        }
        let programs = bare::map(PROGRAM_ARRAY, 4, 1);
        if let Some(target) = target {
            bare::update(&programs, 0, &bare::pinned(target).as_raw_fd().to_ne_bytes());
        }
        let maps = [&state, &trace, &programs].map(AsRawFd::as_raw_fd);
        let program = bare::load(SCHED_CLS, &instructions(maps, frames.len() as i32 - 1, target.is_some()));
        Self { program, frames: frames.len() as u32, _programs: programs }
    }

    /// Runs the trace through, `times` times; the time of one packet.
    pub(crate) fn run(&self, times: u32) -> Duration {
        let frame = [0_u8; FRAME];
        Duration::from_nanos(bare::test_run(&self.program, &frame, self.frames * times, false))
    }
}

fn instructions([state, trace, programs]: [i32; 3], mask: i32, calls: bool) -> Vec<u64> {
    let mut code = vec![insn(0xbf, 6, 1, 0, 0), insn(0x62, 10, 0, -4, 0)];
    // The number of the next frame.
    code.extend(load_map(1, state));
    code.extend([insn(0xbf, 2, 10, 0, 0), insn(0x07, 2, 0, 0, -4), insn(0x85, 0, 0, 0, 1)]);
    let no_state = code.len();
    code.push(insn(0x15, 0, 0, 0, 0));
    code.extend([
        insn(0x79, 7, 0, 0, 0),
        insn(0xbf, 1, 7, 0, 0),
        insn(0x07, 1, 0, 0, 1),
        insn(0x7b, 0, 1, 0, 0),
        insn(0x57, 7, 0, 0, mask),
        insn(0x63, 10, 7, -4, 0),
    ]);
    // The frame.
    code.extend(load_map(1, trace));
    code.extend([insn(0xbf, 2, 10, 0, 0), insn(0x07, 2, 0, 0, -4), insn(0x85, 0, 0, 0, 1)]);
    let no_frame = code.len();
    code.push(insn(0x15, 0, 0, 0, 0));
    // Into the packet: `data` and `data_end` of `struct __sk_buff`.
    code.extend([
        insn(0x61, 2, 6, 76, 0),
        insn(0x61, 3, 6, 80, 0),
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, FRAME as i32),
    ]);
    let short = code.len();
    code.push(insn(0x2d, 4, 3, 0, 0));
    for offset in (0..FRAME as i16).step_by(8) {
        code.extend([insn(0x79, 5, 0, offset, 0), insn(0x7b, 2, 5, offset, 0)]);
    }
    if calls {
        code.push(insn(0xbf, 1, 6, 0, 0));
        code.extend(load_map(2, programs));
        code.extend([insn(0xb7, 3, 0, 0, 0), insn(0x85, 0, 0, 0, 12)]);
    }
    let exit = code.len();
    // `TC_ACT_SHOT`.
    code.extend([insn(0xb7, 0, 0, 0, 2), insn(0x95, 0, 0, 0, 0)]);
    for jump in [no_state, no_frame, short] {
        code[jump] |= ((exit - jump - 1) as u64) << 16;
    }
    code
}
