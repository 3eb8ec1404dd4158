//! What must be so in this network namespace before handshakes can be made in a server's place.

use std::fs;

use firewall_common::image::USES_SYNPROXY;

use super::KernelError;

/// Whether the stack knows its cookies when they come back: always with 2, with 1 only while its own queue is full. IPv6 has no
/// parameter of its own.
const PARAMETER: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// Does the stack take every cookie that was sent?
pub fn takes_cookies() -> bool {
    fs::read_to_string(PARAMETER).is_ok_and(|value| value.trim() == "2")
}

/// Refuses a ruleset whose handshakes the stack would not complete.
pub(super) fn check(uses: u32) -> Result<(), KernelError> {
    if uses & USES_SYNPROXY == 0 || takes_cookies() {
        return Ok(());
    }
    Err(KernelError::Limit(
        "the ruleset has handshakes made in a server's place (`synproxy`), which the stack completes only with \
         `sysctl -w net.ipv4.tcp_syncookies=2` in this network namespace (for IPv6 too)"
            .to_owned(),
    ))
}
