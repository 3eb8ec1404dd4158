//! What is left of instances that cannot be opened: of another version, or of a network namespace that is gone.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{
    KernelError, Lock, attach, host, interfaces, journal,
    pins::{self, Pins},
};

/// An instance of which it is only known where it is.
#[derive(Debug)]
pub struct Remains {
    pins: Pins,
}

impl Remains {
    /// Those of this network namespace, if there are any.
    pub fn here() -> Result<Option<Self>, KernelError> {
        let pins = Pins::here()?;
        Ok(pins.root().exists().then_some(Self { pins }))
    }

    /// Takes the lock of the instance.
    pub fn lock(&self) -> Result<Lock, KernelError> {
        let path = self.pins.lock("lock");
        Lock::take(&path).map_err(|refusal| refusal.into_error(&path, |pid| KernelError::Locked { pid }))
    }

    /// Takes the programs off all interfaces and removes the pins, without reading what is in them.
    pub fn remove(self, lock: Lock) -> Result<Vec<String>, KernelError> {
        let indexes: BTreeSet<u32> = link_pins(&self.pins.links()).iter().filter_map(|pin| index_of(pin)).collect();
        let all = interfaces::list()?;
        for interface in &all {
            attach::detach_classifiers(&interface.name);
        }
        pins::remove(&self.pins.root())?;
        drop(lock);
        for what in ["lock", "events", "events.socket"].into_iter().chain(journal::FILES) {
            let _ = fs::remove_file(self.pins.lock(what));
        }
        Ok(all.into_iter().filter(|one| indexes.contains(&one.index)).map(|one| one.name).collect())
    }
}

/// The link pins in a directory.
fn link_pins(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The interface index in the name of a link pin, `3-xdp`.
fn index_of(pin: &Path) -> Option<u32> {
    pin.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// Removes the pins of network namespaces that are gone; how many there were.
///
/// One is gone when no process is in it and no name stands for it, and when it has links and none of them is on an
/// interface any more: what is removed filters nothing.
pub fn remove_dead() -> Result<usize, KernelError> {
    let pins = Pins::here()?;
    let alive = cookies_in_use();
    let mut removed = 0;
    for entry in fs::read_dir(pins.bpffs()).into_iter().flatten().filter_map(Result::ok) {
        let Some(cookie) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else { continue };
        let of = pins.of(cookie);
        if !alive.contains(&cookie) && is_detached(&of.links()) {
            pins::remove(&of.root())?;
            for what in ["lock", "events", "events.socket"].into_iter().chain(journal::FILES) {
                let _ = fs::remove_file(of.lock(what));
            }
            removed += 1;
        }
    }
    Ok(removed)
}

/// Are there links, and is none of them on an interface?
fn is_detached(links: &Path) -> bool {
    let pins = link_pins(links);
    !pins.is_empty() && pins.iter().all(|pin| interface_of(pin) == Some(0))
}

/// The interface that a pinned link is on; 0 when that is gone (`bpf_xdp_link_show_fdinfo`, `tcx_link_fdinfo`; Linux 6.18).
fn interface_of(pin: &Path) -> Option<u32> {
    let link = open_pin(pin).ok()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("ifindex:"))?.trim().parse().ok()
}

/// A descriptor of what is pinned (`BPF_OBJ_GET`, bpf(2)).
fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_long = 7;
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = Attributes { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    #[expect(unsafe_code, reason = "aya opens maps, programs and some links, not any link")]
    // SAFETY: the attributes and the path outlive the call, and the descriptor is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<Attributes>());
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}

/// The cookies of all network namespaces that a process is in or a name stands for.
fn cookies_in_use() -> BTreeSet<u64> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let of_processes = processes.map(|entry| entry.path().join("ns/net"));
    let names = ["/run/netns", "/run/docker/netns"];
    let named = names.iter().flat_map(|directory| fs::read_dir(directory).into_iter().flatten());
    let named = named.filter_map(Result::ok).map(|entry| entry.path());
    let mut seen = BTreeSet::new();
    let files = of_processes.chain(named).filter_map(|path| File::open(path).ok());
    let fresh = files.filter(|file| file.metadata().is_ok_and(|one| seen.insert((one.dev(), one.ino()))));
    let files: Vec<File> = fresh.collect();
    // A thread of its own: it does not come back from where it goes.
    let cookies = || files.iter().filter_map(cookie_of).collect();
    thread::scope(|scope| scope.spawn(cookies).join()).unwrap_or_default()
}

fn cookie_of(namespace: &File) -> Option<u64> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).ok()?;
    host::netns_cookie().ok()
}
