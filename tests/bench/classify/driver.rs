//! Many packets by one `BPF_PROG_TEST_RUN`: a program of a few instructions writes the next frame of a trace over the packet
//! and tail-calls the program that is measured. It is written here in bare instructions, so that nothing of it is in what
//! is shipped.

#![expect(unsafe_code, reason = "the bpf system call, of which aya has no form for a program without an object file")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

/// Bytes of a frame.
pub(crate) const FRAME: usize = 80;

const MAP_CREATE: i64 = 0;
const MAP_UPDATE: i64 = 2;
const PROG_LOAD: i64 = 5;
const OBJECT_GET: i64 = 7;
const TEST_RUN: i64 = 10;

const ARRAY: u32 = 2;
const PROGRAM_ARRAY: u32 = 3;
const SCHED_CLS: u32 = 3;

/// What the kernel calls this network namespace (`SO_NETNS_COOKIE`, Linux 5.14): the name of the instance's directory.
pub(crate) fn namespace_cookie() -> u64 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let (mut cookie, mut length) = (0_u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: the value is as long as said.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, 71, (&raw mut cookie).cast(), &raw mut length)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    cookie
}

/// One `bpf` system call; the attributes as words of 8 bytes, as they lie in `union bpf_attr`.
fn bpf(command: i64, attributes: &mut [u64]) -> io::Result<i64> {
    // SAFETY: the attributes are as long as said; what they point to lives as long as the caller's borrow.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val::<[u64]>(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(number: i64) -> OwnedFd {
    // SAFETY: the kernel has just made it, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(number as i32) }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

fn map(kind: u32, value_size: u32, entries: u32) -> OwnedFd {
    let mut attributes = [pair(kind, 4), pair(value_size, entries), 0, 0, 0, 0, 0, 0, 0];
    descriptor(bpf(MAP_CREATE, &mut attributes).expect("a map"))
}

fn update(map: &OwnedFd, key: u32, value: &[u8]) {
    let mut attributes = [map.as_raw_fd() as u64, (&raw const key) as u64, value.as_ptr() as u64, 0];
    bpf(MAP_UPDATE, &mut attributes).expect("an entry");
}

/// One instruction: operation, registers, offset, immediate.
const fn insn(op: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    op as u64 | ((from << 4 | to) as u64) << 8 | (offset as u16 as u64) << 16 | (immediate as u32 as u64) << 32
}

const fn load_map(to: u8, map: i32) -> [u64; 2] {
    [insn(0x18, to, 1, 0, map), 0]
}

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
        let (state, trace) = (map(ARRAY, 8, 1), map(ARRAY, FRAME as u32, frames.len() as u32));
        for (at, frame) in frames.iter().enumerate() {
            update(&trace, at as u32, frame);
        }
        let programs = map(PROGRAM_ARRAY, 4, 1);
        if let Some(target) = target {
            update(&programs, 0, &pinned(target).as_raw_fd().to_ne_bytes());
        }
        let maps = [&state, &trace, &programs].map(AsRawFd::as_raw_fd);
        let program = load(&instructions(maps, frames.len() as i32 - 1, target.is_some()));
        Self { program, frames: frames.len() as u32, _programs: programs }
    }

    /// Runs the trace through, `times` times; the time of one packet.
    pub(crate) fn run(&self, times: u32) -> Duration {
        let frame = [0_u8; FRAME];
        let mut attributes = [0_u64; 10];
        attributes[0] = self.program.as_raw_fd() as u64;
        attributes[1] = pair(FRAME as u32, 0);
        attributes[2] = frame.as_ptr() as u64;
        attributes[4] = pair(self.frames * times, 0);
        bpf(TEST_RUN, &mut attributes).expect("a test run");
        Duration::from_nanos(attributes[4] >> 32)
    }
}

fn pinned(path: &Path) -> OwnedFd {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    descriptor(bpf(OBJECT_GET, &mut [path.as_ptr() as u64, 0]).expect("a pinned program"))
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

fn load(code: &[u64]) -> OwnedFd {
    let mut log = vec![0_u8; 1 << 16];
    let mut attributes = [0_u64; 16];
    attributes[0] = pair(SCHED_CLS, code.len() as u32);
    attributes[1] = code.as_ptr() as u64;
    attributes[2] = c"GPL".as_ptr() as u64;
    attributes[3] = pair(1, log.len() as u32);
    attributes[4] = log.as_mut_ptr() as u64;
    match bpf(PROG_LOAD, &mut attributes) {
        Ok(number) => descriptor(number),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&log)),
    }
}
