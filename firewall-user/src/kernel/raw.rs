//! Maps whose types are not known when this is compiled: keys and values as bytes.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use aya::maps::{MapInfo, MapType};
use aya_obj::generated::{bpf_attr, bpf_cmd};

use super::KernelError;

/// A map as bytes.
pub(super) struct RawMap<'a> {
    fd: BorrowedFd<'a>,
    key: usize,
    value: usize,
    entries: u32,
    kind: MapType,
}

impl<'a> RawMap<'a> {
    /// The map behind a descriptor that `info` describes.
    pub(super) fn new(fd: &'a impl AsFd, info: &MapInfo) -> Result<Self, KernelError> {
        let unreadable = |error: aya::maps::MapError| KernelError::Damaged(error.to_string());
        let kind = info.map_type().map_err(unreadable)?;
        let value = info.value_size() as usize;
        let is_per_cpu = matches!(kind, MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash);
        let value = if is_per_cpu { value.next_multiple_of(8) * cpus()? } else { value };
        Ok(Self { fd: fd.as_fd(), key: info.key_size() as usize, value, entries: info.max_entries(), kind })
    }

    /// The value of a key, if there is one.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        let mut value = vec![0; self.value];
        match self.element(bpf_cmd::BPF_MAP_LOOKUP_ELEM, key, value.as_mut_ptr()) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(KernelError::System { what: "reading a map".to_owned(), source }),
        }
    }

    /// Sets the value of a key.
    pub(super) fn set(&self, key: &[u8], value: &mut [u8]) -> Result<(), KernelError> {
        let failed = KernelError::system("writing a map");
        self.element(bpf_cmd::BPF_MAP_UPDATE_ELEM, key, value.as_mut_ptr()).map_err(failed)
    }

    /// Removes a key, if it is there.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), KernelError> {
        match self.element(bpf_cmd::BPF_MAP_DELETE_ELEM, key, std::ptr::null_mut()) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(KernelError::System { what: "writing a map".to_owned(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// All keys. Of an array, those of its places.
    pub(super) fn keys(&self) -> Result<Vec<Vec<u8>>, KernelError> {
        if self.is_array() {
            return Ok((0..self.entries).map(|at| at.to_ne_bytes().to_vec()).collect());
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; self.key];
            let last = keys.last().map_or(std::ptr::null(), Vec::as_ptr);
            match self.next_key(last, next.as_mut_ptr()) {
                Ok(()) => keys.push(next),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
                Err(source) => return Err(KernelError::System { what: "reading a map".to_owned(), source }),
            }
        }
    }

    /// Makes the contents those of `other`, a map of the same kind and sizes.
    pub(super) fn become_like(&self, other: &RawMap<'_>) -> Result<(), KernelError> {
        if !self.is_array() {
            for key in self.keys()? {
                self.remove(&key)?;
            }
        }
        for key in other.keys()? {
            // A key that was removed meanwhile is not there any more.
            if let Some(mut value) = other.get(&key)? {
                self.set(&key, &mut value)?;
            }
        }
        Ok(())
    }

    /// Does every key of it exist all the time?
    fn is_array(&self) -> bool {
        matches!(self.kind, MapType::Array | MapType::PerCpuArray)
    }

    #[expect(unsafe_code, reason = "aya wants the size of a value when it is compiled")]
    fn element(&self, command: bpf_cmd, key: &[u8], value: *mut u8) -> io::Result<()> {
        assert_eq!(key.len(), self.key, "a key of the map's size");
        // SAFETY: all zero bytes are a valid value of this union of integers.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.__bindgen_anon_2.map_fd = self.fd.as_raw_fd() as u32;
        attr.__bindgen_anon_2.key = key.as_ptr() as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = value as u64;
        bpf(command, &mut attr).map(|_| ())
    }

    #[expect(unsafe_code, reason = "aya wants the size of a key when it is compiled")]
    fn next_key(&self, key: *const u8, next: *mut u8) -> io::Result<()> {
        // SAFETY: as above.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.__bindgen_anon_2.map_fd = self.fd.as_raw_fd() as u32;
        attr.__bindgen_anon_2.key = key as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.next_key = next as u64;
        bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr).map(|_| ())
    }
}

fn cpus() -> Result<usize, KernelError> {
    aya::util::nr_cpus().map_err(|(what, source)| KernelError::System { what: what.to_owned(), source })
}

/// The system call, for what no library has a function for.
#[expect(unsafe_code, reason = "there is no wrapper for this system call")]
pub(super) fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes name buffers of the sizes that they say, alive until the call returns.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
