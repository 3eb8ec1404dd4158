//! What the machine offers, and what stands in the way: the facts that `rampart doctor` tells.

use std::{fs, path::Path};

use nix::sys::utsname::uname;

use super::{
    KernelError, host,
    interfaces::{self, Interface},
    outside,
};

/// The oldest kernel that has everything the programs use: XDP with fragments (Linux 5.18).
const OLDEST: (u32, u32) = (5, 18);

/// The kernel, as far as the programs depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// Is it new enough? Unknown when the release does not begin with two numbers.
    pub is_new_enough: Option<bool>,
    /// Does it describe its types (`CONFIG_DEBUG_INFO_BTF`)?
    pub has_btf: bool,
    /// Are programs compiled to machine code? Unknown when the kernel always does it.
    pub compiles: Option<bool>,
    /// Is it locked down so far that programs may not read packets (`lockdown=confidentiality`)?
    pub is_locked_down: bool,
    /// Capabilities that this process does not have.
    pub missing_capabilities: Option<String>,
}

impl Machine {
    /// The one that this process runs on.
    pub fn here() -> Self {
        let release = uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
        Self {
            is_new_enough: version(&release).map(|version| version >= OLDEST),
            release,
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            compiles: read("/proc/sys/net/core/bpf_jit_enable").map(|value| value != "0"),
            is_locked_down: read("/sys/kernel/security/lockdown")
                .is_some_and(|text| text.contains("[confidentiality]")),
            missing_capabilities: match host::require_privileges() {
                Err(KernelError::NotPermitted { missing }) => Some(missing),
                _ => None,
            },
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Major and minor version of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// An interface that `rampart apply` would attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Is there an XDP program on it, whoever's?
    pub has_xdp: bool,
}

/// The interfaces that are up and would be attached to when none is named.
pub fn candidates() -> Result<Vec<Candidate>, KernelError> {
    let all = interfaces::list()?;
    let chosen = match interfaces::choose(&all, &[]) {
        Err(KernelError::NoInterfaces) => Vec::new(),
        chosen => chosen?,
    };
    let candidate = |Interface { index, name, xdp, .. }| Candidate { ifindex: index, name, has_xdp: xdp.is_some() };
    Ok(chosen.into_iter().filter(|interface| interface.is_up).map(candidate).collect())
}

/// Rulesets of others in this network namespace that can drop packets as well, in sentences.
pub fn other_rulesets() -> Vec<String> {
    let mut lines = outside::other_rules(true);
    lines.extend(outside::other_rules(false));
    lines.sort();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.18-rc3+"), Some((5, 18)));
        assert_eq!(version("6"), None);
        assert_eq!(version("generic"), None);
    }
}
