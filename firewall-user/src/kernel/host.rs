//! The process and the machine: network namespace, privileges, clock.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
};

use firewall_common::conntrack::TICK_NS_SHIFT;
use nix::{
    sched::{CloneFlags, setns},
    time::{ClockId, clock_gettime},
};

use super::KernelError;

/// Where `ip netns add` keeps its names.
const NAMED: &str = "/run/netns";

/// Enters the network namespace `name`, as `ip -n NAME` does; a path to a namespace file works too. Only the network
/// namespace changes: pins and files are those of the caller. Call it before any thread is started.
pub fn enter_netns(name: &str) -> Result<(), KernelError> {
    let refused = |source| KernelError::NoNamespace { name: name.to_owned(), source };
    let path = if name.contains('/') { PathBuf::from(name) } else { PathBuf::from(NAMED).join(name) };
    let file = File::open(path).map_err(refused)?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| refused(errno.into()))
}

/// The kernel's number for this network namespace, never used twice until the machine restarts (`SO_NETNS_COOKIE`,
/// Linux 5.14). An inode number would be: a new namespace could inherit the pins of a dead one.
pub(super) fn netns_cookie() -> Result<u64, KernelError> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))
        .or_else(|_| std::net::UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)))
        .map_err(KernelError::system("socket"))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "nix has no wrapper for this option")]
    // SAFETY: value and length point to variables of the sizes that are given.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer == 0 {
        Ok(cookie)
    } else {
        Err(KernelError::system("SO_NETNS_COOKIE (Linux 5.14)")(io::Error::last_os_error()))
    }
}

/// Capabilities that loading, attaching and pinning need, with their bits (include/uapi/linux/capability.h).
const NEEDED: [(&str, u32); 4] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// Checks that the process may do what every command but `check` does.
pub fn require_privileges() -> Result<(), KernelError> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(KernelError::system("/proc/self/status"))?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    let missing: Vec<_> = NEEDED.iter().filter(|(_, bit)| effective & (1 << bit) == 0).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(KernelError::NotPermitted { missing: missing.join(", ") }) }
}

/// Now on the program's clock, ns: `CLOCK_MONOTONIC` as of the last timer tick.
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Now in ticks, as connections count them.
pub fn tick() -> u32 {
    (monotonic_ns() >> TICK_NS_SHIFT) as u32
}
