//! Following the kernel's table: whoever does holds a lock, so that others can tell.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};

use crate::kernel::{Instance, KernelError, Lock, lock::Refusal};

/// Groups of `RTNLGRP_*` as the bits of the older interface (`RTMGRP_*`, include/uapi/linux/rtnetlink.h): IPv4 addresses, IPv4
/// routes, IPv6 addresses, IPv6 routes, links.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400 | 0x1;

/// Changes come in swarms: so long nothing more must come, or so long at most is waited.
const QUIET: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(500);

/// Where the kernel says that something has changed.
#[derive(Debug)]
pub struct Follower {
    socket: OwnedFd,
}

/// Begins to follow.
pub fn follow() -> io::Result<Follower> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    Ok(Follower { socket })
}

impl Follower {
    /// Waits for a change, and until no more of them come; `false` when there was none within `patience`.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        if !self.is_there(patience)? {
            return Ok(false);
        }
        let began = Instant::now();
        while self.is_there(QUIET)? && began.elapsed() < LONGEST {}
        Ok(true)
    }

    /// Takes one message, if one comes in time. What it says does not matter: all is read again.
    fn is_there(&self, patience: Duration) -> io::Result<bool> {
        let mut one = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if poll(&mut one, patience)? == 0 {
            return Ok(false);
        }
        let mut bytes = [0; 1 << 12];
        match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            // Too many to be kept: something has changed.
            Ok(_) | Err(Errno::ENOBUFS) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Instance {
    /// Is the lock that [`Instance::claim_addresses`] gave still one that others see?
    pub fn is_claim_kept(&self) -> bool {
        self.pins.lock("addresses").exists()
    }

    /// Tells others that the kernel's table is followed, as long as the lock is held; `None` when somebody else follows it.
    pub fn claim_addresses(&self) -> Result<Option<Lock>, KernelError> {
        let path = self.pins.lock("addresses");
        match Lock::take(&path) {
            Ok(lock) => Ok(Some(lock)),
            Err(Refusal::Held(_)) => Ok(None),
            Err(failed @ Refusal::Failed(_)) => Err(failed.into_error(&path, |pid| KernelError::Locked { pid })),
        }
    }
}
