//! An apply that is killed between any two steps, or in which any step fails: what was in force stays in force, whole.
//!
//! `strace` sends the signal as the process makes its Nth system call of those that change something, or lets that call
//! fail as the kernel would: no memory, a program that the verifier refuses, an interface that has vanished.

mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use firewall_tests::{
    command::{Scratch, rampart_path},
    sockets::{Outcome, PATIENTLY, tcp_connect},
    topology::{INTERFACE, Neighbours, Pair, SERVER},
};
use firewall_user::kernel::{ApplyOptions, Side};
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
    std::iter::successors(Some(1), |at| Some(at + 1 + at / 8))
}

/// Which of the two rulesets is in force, by what happens to packets; both at once would be none.
fn in_force(firewall: &Firewall) -> &'static str {
    let passes = firewall.judging(|judge| ["tcp:22", "tcp:23"].map(|to| judge(Side::Xdp, &word(to))));
    match passes {
        [true, false] => OLD,
        [false, true] => NEW,
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

/// Runs `rampart apply` with its `at`th call of the kernel's BPF failing. Did it say that the rules are in force? `None` when it
/// makes fewer calls than that.
fn failing(pair: &Pair, files: &Scratch, rules: &Path, (error, at): (&str, u32)) -> Option<bool> {
    let log = files.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-e", "trace=bpf", "-e", &format!("inject=bpf:error={error}:when={at}"), "-o"]).arg(&log);
    command.arg(rampart_path()).args(["apply", "-i", INTERFACE]).arg(rules);
    let output = pair.server.run(|| command.output()).expect("strace is installed");
    assert!(output.status.code().is_some(), "{output:?}");
    let was_injected = fs::read_to_string(&log).expect("the calls").contains("(INJECTED)");
    assert!(output.status.success() || was_injected, "{output:?}");
    // Past the flip nothing fails that matters to packets, and what does says that the rules are in force.
    let says = String::from_utf8_lossy(&output.stderr).contains("the new rules are in force");
    was_injected.then_some(output.status.success() || says)
}

/// How many generations are pinned, and which are in the slots.
fn generations(firewall: &Firewall) -> (usize, [u32; 2]) {
    let cookie = firewall.pair.server.run(support::cookie);
    let pinned = fs::read_dir(format!("/run/rampart/bpf/{cookie}/generation")).expect("generations").count();
    (pinned, firewall.open(|instance| instance.control().expect("control").generation))
}

#[test]
fn a_step_that_fails_leaves_the_old_ruleset_whole() {
    let firewall = Firewall::on(Pair::with(Neighbours::Known), OLD);
    let files = Scratch::new();
    let rules = files.write("new.nft", NEW);
    let mut failures = 0;
    for (at, error) in steps().zip(["ENOMEM", "EACCES", "ENODEV"].into_iter().cycle()) {
        let (counted, (_, slots)) = (firewall.rule("ssh"), generations(&firewall));
        let Some(succeeded) = failing(&firewall.pair, &files, &rules, (error, at)) else { break };
        let now = in_force(&firewall);
        assert_eq!(now == NEW, succeeded, "{error} at step {at}: what is said is what is so");
        if succeeded {
            firewall.apply(OLD);
            continue;
        }
        failures += 1;
        assert_eq!(firewall.rule("ssh").0, counted.0 + 1, "{error} at step {at}: the count goes on");
        let (pinned, still) = generations(&firewall);
        assert_eq!(still, slots, "{error} at step {at}");
        assert!(
            pinned <= 3,
            "{error} at step {at}: two in the slots, and one whose programs wait for the next ruleset"
        );
    }
    assert!(failures > 20, "{failures}");
    firewall.apply(NEW);
    assert_eq!(in_force(&firewall), NEW);
}

/// Says that it is over when it goes, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An interface that comes and goes while rules are applied to it.
#[test]
fn an_interface_that_vanishes_takes_nothing_with_it() {
    let firewall = Firewall::on(Pair::with(Neighbours::Known), OLD);
    let files = Scratch::new();
    let rules = files.write("new.nft", NEW);
    let is_over = AtomicBool::new(false);
    let (mut applied, mut failed) = (0, 0);
    let only = ApplyOptions { interfaces: vec![INTERFACE.to_owned()], ..ApplyOptions::default() };
    thread::scope(|scope| {
        let _ends = Ends(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for change in ["link add gone type veth peer name away", "link set gone up", "link del gone"] {
                    firewall.pair.server.ip(change);
                    thread::sleep(Duration::from_millis(15));
                }
            }
        });
        for attempt in 0..30 {
            let mut command = Command::new(rampart_path());
            command.args(["apply", "-i", INTERFACE, "-i", "gone"]).arg(&rules);
            let output = firewall.pair.server.run(|| command.output()).expect("rampart");
            let now = in_force(&firewall);
            assert_eq!(now == NEW, output.status.success(), "attempt {attempt}: {output:?}");
            if now == NEW {
                applied += 1;
                firewall.try_apply(OLD, &only);
            } else {
                failed += 1;
            }
        }
    });
    assert_eq!(applied + failed, 30);
    firewall.try_apply(NEW, &only);
    assert_eq!(in_force(&firewall), NEW);
}
