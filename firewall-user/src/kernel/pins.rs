//! Where everything is pinned.
//!
//! ```text
//! /run/rampart/bpf/                 a BPF file system of our own
//!   COOKIE/                         the instance of one network namespace
//!     state/MAP                     what outlives a ruleset
//!     generation/N/{MAP, PROGRAM}   one compiled ruleset
//!     generation/next/..            programs for the next one
//!     link/IFINDEX-{xdp,ingress,egress}
//! /run/rampart/COOKIE.lock          held while an instance is changed
//! ```
//!
//! Not `/sys/fs/bpf`: `ip netns exec` gives each command a fresh `/sys`, in which those pins are gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{KernelError, host};

/// Names another place for the pins, for tests and for machines without `/run`.
const RUN_DIR_VARIABLE: &str = "RAMPART_RUN_DIR";
const RUN_DIR: &str = "/run/rampart";

/// The places of one instance.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    run: PathBuf,
    cookie: u64,
}

impl Pins {
    /// The places of this network namespace's instance, which may not exist yet.
    pub(super) fn here() -> Result<Self, KernelError> {
        let run = std::env::var_os(RUN_DIR_VARIABLE).map_or_else(|| PathBuf::from(RUN_DIR), PathBuf::from);
        Ok(Self { run, cookie: host::netns_cookie()? })
    }

    /// The places of another network namespace's instance.
    pub(super) fn of(&self, cookie: u64) -> Self {
        Self { run: self.run.clone(), cookie }
    }

    /// Where the BPF file system is mounted.
    pub(super) fn bpffs(&self) -> PathBuf {
        self.run.join("bpf")
    }

    /// The instance.
    pub(super) fn root(&self) -> PathBuf {
        self.bpffs().join(self.cookie.to_string())
    }

    /// Its state maps.
    pub(super) fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// All its generations.
    pub(super) fn generations(&self) -> PathBuf {
        self.root().join("generation")
    }

    /// One generation.
    pub(super) fn generation(&self, number: u32) -> PathBuf {
        self.generations().join(number.to_string())
    }

    /// Programs that were loaded ahead, for the next ruleset.
    pub(super) fn next(&self) -> PathBuf {
        self.generations().join("next")
    }

    /// Its links.
    pub(super) fn links(&self) -> PathBuf {
        self.root().join("link")
    }

    /// A lock file of the instance.
    pub(super) fn lock(&self, what: &str) -> PathBuf {
        self.run.join(format!("{}.{what}", self.cookie))
    }

    /// Is there an instance?
    pub(super) fn exists(&self) -> bool {
        self.state().join("CONTROL").exists()
    }

    /// Makes the directories, and mounts the BPF file system if it is not there.
    pub(super) fn create(&self) -> Result<(), KernelError> {
        let path = self.bpffs();
        let refused = |reason: String| KernelError::NoBpffs { path: path.clone(), reason };
        fs::create_dir_all(&path).map_err(|error| refused(error.to_string()))?;
        if !is_bpffs(&path) {
            if !shares_mounts_with_init() {
                return Err(refused(
                    "this process has mounts of its own (`ip netns exec` does that), so what is pinned here would be \
                     lost when it ends; run rampart outside and name the namespace with `--netns`"
                        .to_owned(),
                ));
            }
            mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .map_err(|errno| refused(format!("mount: {}", errno.desc())))?;
        }
        for directory in [self.state(), self.generations(), self.links()] {
            fs::create_dir_all(&directory).map_err(|error| refused(error.to_string()))?;
        }
        Ok(())
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// Would a mount made here be seen by others? If the answer cannot be had, it is taken for yes.
fn shares_mounts_with_init() -> bool {
    match (fs::read_link("/proc/1/ns/mnt"), fs::read_link("/proc/self/ns/mnt")) {
        (Ok(init), Ok(ours)) => init == ours,
        _ => true,
    }
}

/// Removes a directory of pins and all in it; a missing one is fine.
pub(super) fn remove(directory: &Path) -> Result<(), KernelError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::system(format!("remove {}", directory.display()))(error))
        }
        _ => Ok(()),
    }
}
