//! Sends frames into a veth pair as fast as a CPU can, which receives them as well.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

use firewall_tests::topology::{INTERFACE, Pair};

use super::bare::{self, ARRAY, XDP, insn};

/// Frames that are sent in turns.
pub const FRAMES: usize = 65_536;
/// Bytes of a frame: enough for the headers of all.
pub const FRAME: usize = 64;

/// Sends the frames, one after the other, out of an interface.
pub struct Sender {
    program: OwnedFd,
    _maps: [OwnedFd; 2],
}

impl Sender {
    pub fn new(frames: &[[u8; FRAME]], ifindex: u32) -> Self {
        let (state, trace) = (bare::map(ARRAY, 8, 1), bare::map(ARRAY, FRAME as u32, frames.len() as u32));
        for (at, frame) in frames.iter().enumerate() {
            bare::update(&trace, at as u32, frame);
        }
        let maps = [&state, &trace].map(AsRawFd::as_raw_fd);
        let program = bare::load(XDP, &instructions(maps, ifindex));
        Self { program, _maps: [state, trace] }
    }

    /// Sends for a while.
    pub fn send(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            bare::test_run(&self.program, &[0; FRAME], FRAMES as u32, true);
        }
    }
}

/// Writes the next frame over the packet and redirects it; `data` of `struct xdp_md` is at 0, and 0 is `XDP_ABORTED`.
fn instructions(maps: [i32; 2], ifindex: u32) -> Vec<u64> {
    let redirect =
        [insn(0xb7, 1, 0, 0, ifindex as i32), insn(0xb7, 2, 0, 0, 0), insn(0x85, 0, 0, 0, 23), insn(0x95, 0, 0, 0, 0)];
    bare::over_next_frame(maps, (FRAMES, FRAME), 0, (&redirect, 0))
}

/// Packets that the server's interface has received.
pub fn received(pair: &Pair) -> u64 {
    pair.server.run(|| {
        // The file system of the namespace's own interfaces is that of whoever mounts it: netlink tells it of ours.
        let output = Command::new("ip").args(["-j", "-s", "link", "show", "dev", INTERFACE]).output().expect("ip");
        let links: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        links[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
    })
}

/// What drops everything.
pub fn dropping() -> OwnedFd {
    bare::load(XDP, &[insn(0xb7, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)])
}
