//! One process at a time changes an instance.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::KernelError;

/// An exclusive lock; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Why a lock was not had.
pub(super) enum Refusal {
    /// By the process of this id, when it wrote one.
    Held(Option<u32>),
    /// The file cannot be opened.
    Failed(std::io::Error),
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(path: &Path) -> Result<Self, Refusal> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(Refusal::Failed)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| match errno {
            Errno::EWOULDBLOCK => Refusal::Held(holder(&mut file)),
            other => Refusal::Failed(other.into()),
        })?;
        // Only for messages: a full disk must not keep anybody from changing a firewall.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// The id that the holder wrote. It has the lock a moment before it writes: it is given that moment.
fn holder(file: &mut File) -> Option<u32> {
    for _ in 0..50 {
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        if let Ok(pid) = text.trim().parse() {
            return Some(pid);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    None
}

impl Refusal {
    /// As an error about the instance.
    pub(super) fn into_error(self, path: &Path, held: impl FnOnce(Option<u32>) -> KernelError) -> KernelError {
        match self {
            Self::Held(pid) => held(pid),
            Self::Failed(error) => KernelError::system(path.display().to_string())(error),
        }
    }
}
