//! Waiting for a descriptor.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor with the runtime. Fails for what cannot be waited for, such as files.
pub(super) fn watch(descriptor: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let own = descriptor.try_clone_to_owned()?;
    #[expect(unsafe_code, reason = "tokio cannot know that a descriptor stays what it is")]
    // SAFETY: the descriptor is open and owned by the value that is returned, which gives nobody the means to close it.
    let watched = unsafe { AsyncFd::register_with_interest(own, interest) };
    Ok(watched?)
}
