//! The `bpf` system call in its bare form: maps and programs of a few instructions, so that nothing of what measures is in
//! what is shipped.

#![expect(unsafe_code, reason = "the bpf system call, of which aya has no form for a program without an object file")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

const MAP_CREATE: i64 = 0;
const MAP_LOOK_UP: i64 = 1;
const MAP_UPDATE: i64 = 2;
const PROG_LOAD: i64 = 5;
const OBJECT_GET: i64 = 7;
const TEST_RUN: i64 = 10;

const HASH: u32 = 1;
/// An array.
pub(crate) const ARRAY: u32 = 2;
/// An array of programs.
pub(crate) const PROGRAM_ARRAY: u32 = 3;
const PROG_INFO: i64 = 15;
const LINK_CREATE: i64 = 28;

/// `BPF_F_TEST_XDP_LIVE_FRAMES` (`include/uapi/linux/bpf.h`, Linux 5.18).
const LIVE_FRAMES: u64 = 2;
/// `BPF_XDP`, the attach type.
const ATTACH_XDP: u32 = 37;
/// `XDP_FLAGS_DRV_MODE` (`include/uapi/linux/if_link.h`).
const NATIVE: u32 = 1 << 2;

/// A program at tc.
pub(crate) const SCHED_CLS: u32 = 3;
/// A program at XDP.
pub(crate) const XDP: u32 = 6;

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

/// Two 32-bit attributes as a word.
pub(crate) const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// A map with keys of 4 bytes.
pub(crate) fn map(kind: u32, value_size: u32, entries: u32) -> OwnedFd {
    create(pair(kind, 4), pair(value_size, entries))
}

/// A hash.
pub(crate) fn hash(key_size: u32, value_size: u32, entries: u32) -> OwnedFd {
    create(pair(HASH, key_size), pair(value_size, entries))
}

fn create(kind_and_key: u64, value_and_entries: u64) -> OwnedFd {
    let mut attributes = [kind_and_key, value_and_entries, 0, 0, 0, 0, 0, 0, 0];
    descriptor(bpf(MAP_CREATE, &mut attributes).expect("a map"))
}

/// Sets an entry.
pub(crate) fn update(map: &OwnedFd, key: u32, value: &[u8]) {
    update_hash(map, &key.to_ne_bytes(), value);
}

/// Sets an entry whose key is so many bytes.
pub(crate) fn update_hash(map: &OwnedFd, key: &[u8], value: &[u8]) {
    let mut attributes = [map.as_raw_fd() as u64, key.as_ptr() as u64, value.as_ptr() as u64, 0];
    bpf(MAP_UPDATE, &mut attributes).expect("an entry");
}

/// An entry of 8 bytes.
pub(crate) fn word(map: &OwnedFd, key: u32) -> u64 {
    let (key, mut value) = (key.to_ne_bytes(), 0_u64);
    let mut attributes = [map.as_raw_fd() as u64, key.as_ptr() as u64, (&raw mut value) as u64, 0];
    bpf(MAP_LOOK_UP, &mut attributes).expect("an entry");
    value
}

/// One instruction: operation, registers, offset, immediate.
pub(crate) const fn insn(op: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    op as u64 | ((from << 4 | to) as u64) << 8 | (offset as u16 as u64) << 16 | (immediate as u32 as u64) << 32
}

/// The two instructions that put a map into a register.
pub(crate) const fn load_map(to: u8, map: i32) -> [u64; 2] {
    [insn(0x18, to, 1, 0, map), 0]
}

/// A pinned program.
pub(crate) fn pinned(path: &Path) -> OwnedFd {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    descriptor(bpf(OBJECT_GET, &mut [path.as_ptr() as u64, 0]).expect("a pinned program"))
}

/// Loads a program of a kind.
pub(crate) fn load(kind: u32, code: &[u64]) -> OwnedFd {
    let mut attributes = [0_u64; 16];
    attributes[0] = pair(kind, code.len() as u32);
    attributes[1] = code.as_ptr() as u64;
    attributes[2] = c"GPL".as_ptr() as u64;
    if let Ok(number) = bpf(PROG_LOAD, &mut attributes) {
        return descriptor(number);
    }
    // Once more, to hear why: the log of a program that is accepted might be longer than the buffer, which is an error.
    let mut log = vec![0_u8; 1 << 16];
    attributes[3] = pair(1, log.len() as u32);
    attributes[4] = log.as_mut_ptr() as u64;
    let result = bpf(PROG_LOAD, &mut attributes);
    panic!("{result:?}: {}", String::from_utf8_lossy(&log));
}

/// Runs a program over `frame`, `times` times; with `live`, what it redirects is really sent. The time of one run, nanoseconds.
pub(crate) fn test_run(program: &OwnedFd, frame: &[u8], times: u32, live: bool) -> u64 {
    let mut attributes = [0_u64; 10];
    attributes[0] = program.as_raw_fd() as u64;
    attributes[1] = pair(frame.len() as u32, 0);
    attributes[2] = frame.as_ptr() as u64;
    attributes[4] = pair(times, 0);
    attributes[8] = if live { LIVE_FRAMES } else { 0 };
    bpf(TEST_RUN, &mut attributes).expect("a test run");
    attributes[4] >> 32
}

/// Attaches an XDP program in native mode, as long as the link is held.
pub(crate) fn attach_xdp(program: &OwnedFd, ifindex: u32) -> OwnedFd {
    let mut attributes = [pair(program.as_raw_fd() as u32, ifindex), pair(ATTACH_XDP, NATIVE), 0, 0, 0];
    descriptor(bpf(LINK_CREATE, &mut attributes).expect("a link"))
}

/// The instructions of a loaded program as the verifier left them (`struct bpf_prog_info`, `include/uapi/linux/bpf.h`).
pub(crate) fn translated(program: BorrowedFd<'_>) -> Vec<u64> {
    /// Words of the structure up to the pointer to the instructions: type, id, tag, lengths, pointers.
    const WORDS: usize = 5;
    let mut info = [0_u64; WORDS];
    let ask = |info: &mut [u64; WORDS]| {
        let size = size_of_val(info) as u32;
        bpf(PROG_INFO, &mut [pair(program.as_raw_fd() as u32, size), info.as_mut_ptr() as u64]).expect("a description");
    };
    ask(&mut info);
    let bytes = (info[2] >> 32) as usize;
    let mut code = vec![0_u64; bytes / 8];
    info = [0, 0, pair(0, bytes as u32), 0, code.as_mut_ptr() as u64];
    ask(&mut info);
    code
}

/// The start of a program that walks through frames: it writes the next one of `trace` over the packet, whose pointers are
/// at `data` and the word behind it in the context, and keeps the context in register 6. What is to follow is `then`; where
/// something is missing, the program ends with `otherwise`.
pub(crate) fn over_next_frame(
    [state, trace]: [i32; 2],
    (frames, bytes): (usize, usize),
    data: i16,
    (then, otherwise): (&[u64], i32),
) -> Vec<u64> {
    let mut code = vec![insn(0xbf, 6, 1, 0, 0), insn(0x62, 10, 0, -4, 0)];
    let mut ends = Vec::new();
    // The number of the next frame.
    code.extend(load_map(1, state));
    code.extend([insn(0xbf, 2, 10, 0, 0), insn(0x07, 2, 0, 0, -4), insn(0x85, 0, 0, 0, 1)]);
    ends.push(code.len());
    code.push(insn(0x15, 0, 0, 0, 0));
    code.extend([
        insn(0x79, 7, 0, 0, 0),
        insn(0xbf, 1, 7, 0, 0),
        insn(0x07, 1, 0, 0, 1),
        insn(0x7b, 0, 1, 0, 0),
        insn(0x57, 7, 0, 0, frames as i32 - 1),
        insn(0x63, 10, 7, -4, 0),
    ]);
    // The frame.
    code.extend(load_map(1, trace));
    code.extend([insn(0xbf, 2, 10, 0, 0), insn(0x07, 2, 0, 0, -4), insn(0x85, 0, 0, 0, 1)]);
    ends.push(code.len());
    code.push(insn(0x15, 0, 0, 0, 0));
    // Into the packet.
    code.extend([
        insn(0x61, 2, 6, data, 0),
        insn(0x61, 3, 6, data + 4, 0),
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, bytes as i32),
    ]);
    ends.push(code.len());
    code.push(insn(0x2d, 4, 3, 0, 0));
    for offset in (0..bytes as i16).step_by(8) {
        code.extend([insn(0x79, 5, 0, offset, 0), insn(0x7b, 2, 5, offset, 0)]);
    }
    code.extend(then);
    let exit = code.len();
    code.extend([insn(0xb7, 0, 0, 0, otherwise), insn(0x95, 0, 0, 0, 0)]);
    for jump in ends {
        code[jump] |= ((exit - jump - 1) as u64) << 16;
    }
    code
}
