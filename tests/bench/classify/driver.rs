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
        let program = bare::load(SCHED_CLS, &instructions(maps, frames.len(), target.is_some()));
        Self { program, frames: frames.len() as u32, _programs: programs }
    }

    /// Runs the next `packets` of the trace through; the time of one of them.
    #[allow(dead_code, reason = "for measurements on a machine that does other work as well")]
    pub(crate) fn run_some(&self, packets: u32) -> Duration {
        let frame = [0_u8; FRAME];
        Duration::from_nanos(bare::test_run(&self.program, &frame, packets, false))
    }

    /// Runs the trace through, `times` times; the time of one packet.
    pub(crate) fn run(&self, times: u32) -> Duration {
        let frame = [0_u8; FRAME];
        Duration::from_nanos(bare::test_run(&self.program, &frame, self.frames * times, false))
    }
}

/// `data` of `struct __sk_buff` is at 76, and 2 is `TC_ACT_SHOT`.
fn instructions([state, trace, programs]: [i32; 3], frames: usize, calls: bool) -> Vec<u64> {
    let mut call = Vec::new();
    if calls {
        call.push(insn(0xbf, 1, 6, 0, 0));
        call.extend(load_map(2, programs));
        call.extend([insn(0xb7, 3, 0, 0, 0), insn(0x85, 0, 0, 0, 12)]);
    }
    bare::over_next_frame([state, trace], (frames, FRAME), 76, (&call, 2))
}
