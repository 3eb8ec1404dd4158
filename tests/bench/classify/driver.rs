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
    /// When each packet began, if that is noted.
    clock: Option<OwnedFd>,
    /// The kernel empties an array of programs when user space has closed it.
    _programs: OwnedFd,
}

impl Driver {
    /// Walks through frames (a power of two of them) and hands each to the program pinned at `target`; without one, drops it.
    pub(crate) fn new(frames: &[[u8; FRAME]], target: Option<&Path>) -> Self {
        Self::with_clock(frames, target, None)
    }

    /// Likewise, and notes when each packet begins.
    #[allow(dead_code, reason = "for measurements of single packets")]
    pub(crate) fn clocked(frames: &[[u8; FRAME]], target: Option<&Path>) -> Self {
        Self::with_clock(frames, target, Some(bare::map(ARRAY, 8, frames.len() as u32)))
    }

    fn with_clock(frames: &[[u8; FRAME]], target: Option<&Path>, clock: Option<OwnedFd>) -> Self {
        assert!(frames.len().is_power_of_two(), "a mask picks the next one");
        let (state, trace) = (bare::map(ARRAY, 8, 1), bare::map(ARRAY, FRAME as u32, frames.len() as u32));
        for (at, frame) in frames.iter().enumerate() {
            bare::update(&trace, at as u32, frame);
        }
        let programs = bare::map(PROGRAM_ARRAY, 4, 1);
        if let Some(target) = target {
            bare::update(&programs, 0, &bare::pinned(target).as_raw_fd().to_ne_bytes());
        }
        let mut then = clock.as_ref().map_or_else(Vec::new, |clock| note_time(clock.as_raw_fd()));
        if target.is_some() {
            then.extend(tail_call(programs.as_raw_fd()));
        }
        let maps = [&state, &trace].map(AsRawFd::as_raw_fd);
        // `data` of `struct __sk_buff` is at 76, and 2 is `TC_ACT_SHOT`.
        let program = bare::load(SCHED_CLS, &bare::over_next_frame(maps, (frames.len(), FRAME), 76, (&then, 2)));
        Self { program, frames: frames.len() as u32, clock, _programs: programs }
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

    /// From the beginning of each packet of the last run to that of the next one, in nanoseconds.
    #[allow(dead_code, reason = "for measurements of single packets")]
    pub(crate) fn times(&self) -> Vec<u64> {
        let clock = self.clock.as_ref().expect("a driver with a clock");
        let began: Vec<u64> = (0..self.frames).map(|at| bare::word(clock, at)).collect();
        began.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// Writes the time into the frame's place of `clock`; the frame's number is in register 7.
fn note_time(clock: i32) -> Vec<u64> {
    let mut code = vec![insn(0x85, 0, 0, 0, 5), insn(0xbf, 8, 0, 0, 0), insn(0x63, 10, 7, -4, 0)];
    code.extend(load_map(1, clock));
    code.extend([
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0x85, 0, 0, 0, 1),
        insn(0x15, 0, 0, 1, 0),
        insn(0x7b, 0, 8, 0, 0),
    ]);
    code
}

/// Goes on in the first program of the array.
fn tail_call(programs: i32) -> Vec<u64> {
    let mut code = vec![insn(0xbf, 1, 6, 0, 0)];
    code.extend(load_map(2, programs));
    code.extend([insn(0xb7, 3, 0, 0, 0), insn(0x85, 0, 0, 0, 12)]);
    code
}
