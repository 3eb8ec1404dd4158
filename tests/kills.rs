//! An apply that is killed between any two steps: what was in force stays in force, whole.
//!
//! `strace` sends the signal as the process makes its Nth system call of those that change something.

mod support;

use std::{path::Path, process::Command};

use firewall_common::verdict::Reason;
use firewall_tests::{
    command::{Scratch, rampart_path},
    sockets::{Outcome, PATIENTLY, tcp_connect},
    topology::{INTERFACE, Neighbours, Pair, SERVER},
};
use support::{Firewall, packets::word};

/// Lets port 22 in, and not 23.
const OLD: &str = "table inet t { chain c { type filter hook input priority 0; policy drop
    tcp dport 22 counter accept comment \"ssh\"
    ip saddr { 198.51.100.1, 198.51.100.7, 198.51.100.9, 203.0.113.3, 203.0.113.5 } drop
}
}";
/// Lets port 23 in, and not 22.
const NEW: &str = "table inet t { chain c { type filter hook input priority 0; policy drop
    tcp dport 23 counter accept comment \"telnet\"
    ip saddr { 198.51.100.2, 198.51.100.7, 198.51.100.9, 203.0.113.3, 203.0.113.5 } drop
}
}";

/// What changes something: maps, programs, links and pins; directories; the mount.
const CALLS: &str = "bpf,mkdir,unlink,rmdir,mount,rename";

/// Runs `rampart apply`, killed as it makes its `at`th such call. Was it, or was it done before?
fn killed(pair: &Pair, rules: &Path, at: u32) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={CALLS}")]);
    command.args(["-e", &format!("inject={CALLS}:signal=KILL:when={at}")]);
    command.arg(rampart_path()).args(["apply", "-i", INTERFACE]).arg(rules);
    let output = pair.server.run(|| command.output()).expect("strace is installed");
    assert!(output.status.code().is_none() || output.status.success(), "{output:?}");
    output.status.code().is_none()
}

/// The steps that are tried: every one of the first, then ever fewer of them.
fn steps() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(1), |at| Some(at + 1 + at / 12))
}

/// Which of the two rulesets is in force, by what happens to packets; both at once would be none.
fn in_force(firewall: &Firewall) -> &'static str {
    match ["tcp:22", "tcp:23"].map(|to| firewall.ingress(&word(to))) {
        [Ok(()), Err(Reason::Policy)] => OLD,
        [Err(Reason::Policy), Ok(())] => NEW,
        other => panic!("neither ruleset says this: {other:?}"),
    }
}

#[test]
fn the_old_ruleset_stays_whole() {
    let firewall = Firewall::on(Pair::with(Neighbours::Known), OLD);
    let files = Scratch::new();
    let rules = files.write("new.nft", NEW);
    let mut kills = 0;
    for at in steps() {
        let before = firewall.rule("ssh");
        let was_killed = killed(&firewall.pair, &rules, at);
        let now = in_force(&firewall);
        assert!(was_killed || now == NEW, "step {at}: it is done, and the new one is not in force");
        if now == NEW {
            // Past the flip: what is left to do is to tidy up. Put the old one back as anybody would.
            firewall.apply(OLD);
        } else {
            assert_eq!(firewall.rule("ssh").0, before.0 + 1, "step {at}: the count goes on");
        }
        if !was_killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 20, "{kills}");
    firewall.apply(NEW);
    assert_eq!(in_force(&firewall), NEW);
}

#[test]
fn a_first_apply_that_is_killed_can_be_done_again() {
    let pair = Pair::with(Neighbours::Known);
    let files = Scratch::new();
    let rules = files.write("old.nft", OLD);
    let mut kills = 0;
    for at in steps() {
        let was_killed = killed(&pair, &rules, at);
        if !was_killed {
            break;
        }
        kills += 1;
        // The old way or the new one, port 22 answers: no program is there without a ruleset behind it.
        assert_eq!(tcp_connect(&pair.client, (SERVER, 22), PATIENTLY), Outcome::Refused, "step {at}");
        rampart(&pair, &["apply", "-i", INTERFACE, &rules.to_string_lossy()], at);
        rampart(&pair, &["stop"], at);
    }
    assert!(kills > 20, "{kills}");
}

fn rampart(pair: &Pair, arguments: &[&str], at: u32) {
    let output = pair.server.run(|| Command::new(rampart_path()).args(arguments).output()).expect("rampart");
    assert!(output.status.success(), "step {at}: {arguments:?}: {output:?}");
}
