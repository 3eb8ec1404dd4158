//! What must be so in this network namespace, and in the kernel, before handshakes can be made in a server's place.

use std::fs;

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use firewall_common::{flood::USES_FLOODS, image::USES_SYNPROXY};

use super::KernelError;

/// Whether the stack knows its cookies when they come back: always with 2, with 1 only while its own queue is full. IPv6 has no
/// parameter of its own.
const PARAMETER: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// What the programs call for it, and the version of Linux that it came with (for XDP and tc alike).
const HELPERS: [(BpfHelper, &str, &str); 3] = [
    (BpfHelper::BPF_FUNC_skc_lookup_tcp, "bpf_skc_lookup_tcp", "5.2"),
    (BpfHelper::BPF_FUNC_tcp_check_syncookie, "bpf_tcp_check_syncookie", "5.2"),
    (BpfHelper::BPF_FUNC_tcp_gen_syncookie, "bpf_tcp_gen_syncookie", "5.4"),
];

/// Does the stack take every cookie that was sent?
pub fn takes_cookies() -> bool {
    fs::read_to_string(PARAMETER).is_ok_and(|value| value.trim() == "2")
}

/// Has the kernel this helper for XDP programs? When it cannot be asked, the verifier will tell.
fn has(helper: BpfHelper) -> bool {
    is_helper_supported(ProgramType::Xdp, helper).unwrap_or(true)
}

/// Refuses what this kernel cannot do, or what the stack would not complete.
pub(super) fn check(uses: u32) -> Result<(), KernelError> {
    if uses & (USES_SYNPROXY | USES_FLOODS) == 0 {
        return Ok(());
    }
    refusal(has, takes_cookies).map_or(Ok(()), |text| Err(KernelError::Limit(text)))
}

/// Why it cannot be, by what the kernel says of its helpers and the stack of its cookies.
fn refusal(has: impl Fn(BpfHelper) -> bool, takes_cookies: impl FnOnce() -> bool) -> Option<String> {
    let made = "handshakes are to be made in a server's place (`synproxy`, or `[syn_flood]` in the settings)";
    let missing = HELPERS.iter().rev().find(|(helper, ..)| !has(*helper));
    if let Some((_, name, version)) = missing {
        return Some(format!(
            "{made}, for which this kernel lacks `{name}`: Linux {version} or later has it, with CONFIG_SYN_COOKIES"
        ));
    }
    (!takes_cookies()).then(|| {
        format!(
            "{made}, which the stack completes only with `sysctl -w net.ipv4.tcp_syncookies=2` in this network namespace \
             (for IPv6 too)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The latest one that is missing tells which kernel is needed.
    #[test]
    fn a_kernel_without_the_helper_is_told_which_one_has_it() {
        let lacks = |lacking: &[&str]| {
            let name = |helper| HELPERS.iter().find(|one| one.0 == helper).map_or("", |one| one.1);
            refusal(|helper| !lacking.contains(&name(helper)), || true)
        };
        let text = lacks(&["bpf_skc_lookup_tcp", "bpf_tcp_gen_syncookie"]).expect("refused");
        assert!(text.contains("lacks `bpf_tcp_gen_syncookie`: Linux 5.4 or later"), "{text}");
        let text = lacks(&["bpf_skc_lookup_tcp"]).expect("refused");
        assert!(text.contains("lacks `bpf_skc_lookup_tcp`: Linux 5.2 or later"), "{text}");
        assert_eq!(lacks(&[]), None);
    }

    #[test]
    fn a_stack_that_does_not_take_them_is_told_of() {
        let text = refusal(|_| true, || false).expect("refused");
        assert!(text.contains("sysctl -w net.ipv4.tcp_syncookies=2"), "{text}");
    }
}
