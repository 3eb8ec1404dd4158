//! Many entries of a map in one system call, of which aya has no form.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use aya::{Pod, maps::MapData};

/// `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH` (`include/uapi/linux/bpf.h`, Linux 5.6).
const LOOKUP: libc::c_long = 24;
const UPDATE: libc::c_long = 26;

/// Entries of one call: the kernel copies them one by one between two looks at whether the caller shall end.
const ENTRIES: usize = 4096;

/// `batch` in `union bpf_attr`.
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Writes `values` into an array, from index `first` on.
pub(super) fn write<T: Pod>(map: &MapData, first: u32, values: &[T]) -> io::Result<()> {
    let mut at = first;
    for chunk in values.chunks(ENTRIES) {
        let keys: Vec<u32> = (at..).take(chunk.len()).collect();
        update(map.fd().as_fd(), &keys, chunk)?;
        at += chunk.len() as u32;
    }
    Ok(())
}

/// Sets entries of a map: key by key, each to the value of the same place. What was set before an error stays set.
pub(super) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    let count = keys.len().min(values.len());
    let mut attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: count as u32,
        map: map.as_raw_fd() as u32,
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values of the map's sizes from slices that hold as many.
    unsafe { call(UPDATE, &mut attributes) }
}

/// Reads up to `count` values of an array, from index `first` on; fewer at its end.
pub(super) fn read<T: Pod>(map: &MapData, first: u32, count: usize) -> io::Result<Vec<T>> {
    lookup(map, first, count, 1)
}

/// The same of a per-CPU array: for each index the values of all CPUs. The kernel gives each a multiple of eight bytes.
pub(super) fn read_per_cpu<T: Pod>(map: &MapData, first: u32, count: usize, cpus: usize) -> io::Result<Vec<T>> {
    const { assert!(size_of::<T>().is_multiple_of(8), "a value that the kernel does not pad") };
    lookup(map, first, count, cpus)
}

/// Reads `count` entries of `each` values.
fn lookup<T: Pod>(map: &MapData, first: u32, count: usize, each: usize) -> io::Result<Vec<T>> {
    let mut keys = vec![0_u32; count];
    let mut values: Vec<T> = Vec::with_capacity(count * each);
    let (before, mut next) = (first.wrapping_sub(1), 0_u32);
    let mut attributes = Attributes {
        in_batch: if first == 0 { 0 } else { (&raw const before) as u64 },
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: count as u32,
        map: map.fd().as_fd().as_raw_fd() as u32,
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `count` keys, and as many entries of the map's size, into room for as many.
    let result = unsafe { call(LOOKUP, &mut attributes) };
    match result {
        // The end of the array was met: those before it were read.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
        _ => {}
    }
    // SAFETY: the kernel says how many it wrote, and any bytes are a value of a plain type.
    unsafe { values.set_len((attributes.count as usize).min(count) * each) };
    Ok(values)
}

/// The system call.
///
/// # Safety
///
/// What the attributes point to must be as long as `count` entries of the map.
unsafe fn call(command: libc::c_long, attributes: &mut Attributes) -> io::Result<()> {
    // SAFETY: the attributes are as long as said; the caller answers for what they point to.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
