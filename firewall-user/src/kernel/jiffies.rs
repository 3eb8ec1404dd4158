//! How the kernel's count of timer ticks relates to `CLOCK_MONOTONIC`.
//!
//! Programs read `jiffies64` without a call (the verifier writes it in line); a call of the clock is what an established packet
//! would pay most for. The count advances by that clock, one step for each resolution of `CLOCK_MONOTONIC_COARSE`
//! (`tick_do_update_jiffies64`, kernel/time/tick-sched.c), so two numbers tell the time from it for as long as the machine runs.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_type};
use nix::time::{ClockId, clock_getres};

use super::{host, raw::bpf};

/// `now = jiffies64 * length + offset`, nanoseconds, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Jiffies {
    /// Nanoseconds of one; 0: they are not to be used.
    pub(super) length: u32,
    /// See above.
    pub(super) offset: u64,
}

/// Numbers are read again until no timer tick came in between; with so many tries some tick is missed for sure.
const TRIES: usize = 100;

impl Jiffies {
    /// Those of this machine; not to be used when they cannot be had.
    pub(super) fn here() -> Self {
        Self::measured().unwrap_or_default()
    }

    fn measured() -> Option<Self> {
        let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
        let length = u32::try_from(resolution.tv_nsec()).ok().filter(|length| *length != 0)?;
        let [low, high] = [program(false).ok()?, program(true).ok()?];
        (0..TRIES).find_map(|_| {
            let before = host::monotonic_ns();
            let (upper, count) = (run(&high).ok()?, run(&low).ok()?);
            let same = host::monotonic_ns() == before && run(&high).ok()? == upper;
            let jiffies = u64::from(upper) << 32 | u64::from(count);
            same.then(|| Self { length, offset: before.wrapping_sub(jiffies.wrapping_mul(length.into())) })
        })
    }
}

/// A program that returns one half of `jiffies64`.
fn program(upper: bool) -> io::Result<OwnedFd> {
    /// `call bpf_jiffies64` (118, include/uapi/linux/bpf.h), `r0 >>= 32`, `exit`.
    const INSNS: [u64; 3] = [118 << 32 | 0x85, 32 << 32 | 0x77, 0x95];
    let insns = if upper { INSNS.to_vec() } else { vec![INSNS[0], INSNS[2]] };
    // SAFETY: all zero bytes are a valid value of this union of integers.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
    attr.__bindgen_anon_3.insn_cnt = insns.len() as u32;
    attr.__bindgen_anon_3.insns = insns.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the program returns.
fn run(program: &OwnedFd) -> io::Result<u32> {
    let packet = [0_u8; 64];
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.test.prog_fd = program.as_raw_fd() as u32;
    attr.test.data_size_in = packet.len() as u32;
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.repeat = 1;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { attr.test.retval })
}
