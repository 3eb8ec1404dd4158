//! What a look-up in a hash map of the kernel's costs here, alone: what the state table is measured against.
//!
//! Keys of 16 bytes (what IPv4 would need) and of 40 (IPv6), values of 64, as many of each as there are connections, looked up
//! in no order by a driver as that of packets; the driver's own time is taken off.

use std::{os::fd::AsRawFd, time::Duration};

use super::{
    RUNS,
    bare::{self, ARRAY, SCHED_CLS, load_map},
    parts::least_of_parts,
};

/// Bytes of a value.
const VALUE: usize = 64;

/// Nanoseconds of a look-up among so many keys of so many bytes.
pub(crate) fn look_up(count: usize, key_size: usize) -> u64 {
    let hash = bare::hash(key_size as u32, VALUE as u32, count as u32);
    let (state, trace) = (bare::map(ARRAY, 8, 1), bare::map(ARRAY, key_size as u32, count as u32));
    for place in 0..count {
        bare::update_hash(&hash, &key(place, key_size), &[0; VALUE]);
        // An odd factor reaches each place of a power of two once.
        bare::update(&trace, place as u32, &key(place.wrapping_mul(0x9e37_79b1) % count, key_size));
    }
    let maps = [&state, &trace].map(AsRawFd::as_raw_fd);
    // The driver leaves the packet's pointer in register 2, where a look-up wants its key.
    let look_up: Vec<_> = load_map(1, hash.as_raw_fd()).into_iter().chain([bare::insn(0x85, 0, 0, 0, 1)]).collect();
    let [with, without] = [&look_up[..], &[]].map(|then| {
        let program = bare::load(SCHED_CLS, &bare::over_next_frame(maps, (count, key_size), 76, (then, 0)));
        move |packets| Duration::from_nanos(bare::test_run(&program, &[0; 80], packets, false))
    });
    least_of_parts((count, RUNS), with, without, || {})
}

/// A key of its own for each number, as spread as addresses and ports are.
fn key(number: usize, size: usize) -> Vec<u8> {
    let mut key = vec![0; size];
    key[..8].copy_from_slice(&(number as u64).to_ne_bytes());
    key
}
