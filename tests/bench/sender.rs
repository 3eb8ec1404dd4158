//! Sends frames into a veth pair as fast as a CPU can, which receives them as well.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

use firewall_tests::topology::{INTERFACE, Neighbours, Pair};
use firewall_user::kernel::interface_index;

use super::bare::{self, ARRAY, XDP, insn};

/// Frames that are sent in turns.
pub const FRAMES: usize = 65_536;
/// Bytes of a frame: enough for the headers of all.
pub const FRAME: usize = 64;

/// Sends the frames, one after the other, out of an interface.
pub struct Sender {
    program: OwnedFd,
    empty: Vec<u8>,
    _maps: [OwnedFd; 2],
}

impl Sender {
    pub fn new<const BYTES: usize>(frames: &[[u8; BYTES]], ifindex: u32) -> Self {
        let (state, trace) = (bare::map(ARRAY, 8, 1), bare::map(ARRAY, BYTES as u32, frames.len() as u32));
        for (at, frame) in frames.iter().enumerate() {
            bare::update(&trace, at as u32, frame);
        }
        let maps = [&state, &trace].map(AsRawFd::as_raw_fd);
        let program = bare::load(XDP, &instructions(maps, (frames.len(), BYTES), ifindex));
        Self { program, empty: vec![0; BYTES], _maps: [state, trace] }
    }

    /// Sends so many.
    pub fn send_some(&self, packets: u32) {
        bare::test_run(&self.program, &self.empty, packets, true);
    }

    /// Sends for a while.
    pub fn send(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.send_some(FRAMES as u32);
        }
    }
}

/// A wire whose far end takes every address for its own, and a sender of these frames at the near end.
#[allow(dead_code, reason = "not every measurement has its packets end where they come in")]
pub fn wire<const BYTES: usize>(frames: &[[u8; BYTES]]) -> (Pair, Sender) {
    let pair = Pair::with(Neighbours::Known);
    pair.server.ip("route add local 0.0.0.0/0 dev lo");
    pair.server.ip("-6 route add local ::/0 dev lo");
    for name in ["all", "default", INTERFACE] {
        pair.server.set_parameter(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
        pair.server.set_parameter(&format!("net/ipv4/conf/{name}/accept_local"), "1");
    }
    // Frames that are redirected to a veth need a receiver that polls.
    let gro = pair.server.run(|| Command::new("ethtool").args(["-K", INTERFACE, "gro", "on"]).status());
    assert!(gro.expect("ethtool").success());
    let sender = pair.client.run(|| Sender::new(frames, interface_index(INTERFACE).expect("an interface")));
    (pair, sender)
}

/// Writes the next frame over the packet and redirects it; `data` of `struct xdp_md` is at 0, and 0 is `XDP_ABORTED`.
fn instructions(maps: [i32; 2], (frames, bytes): (usize, usize), ifindex: u32) -> Vec<u64> {
    let redirect =
        [insn(0xb7, 1, 0, 0, ifindex as i32), insn(0xb7, 2, 0, 0, 0), insn(0x85, 0, 0, 0, 23), insn(0x95, 0, 0, 0, 0)];
    bare::over_next_frame(maps, (frames, bytes), 0, (&redirect, 0))
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
