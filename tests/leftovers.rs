//! What a process that was killed left behind does not get in anybody's way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use firewall_tests::{
    command::{Scratch, rampart_path},
    netns::Namespace,
};

const RULES: &str = "
    table inet filter {
        chain input { type filter hook input priority filter; policy drop; }
    }";

/// `rampart` with pins in a directory of its own, so that they can be found.
struct Apart {
    namespace: Namespace,
    scratch: Scratch,
    rules: PathBuf,
}

impl Apart {
    fn new() -> Self {
        let namespace = Namespace::new("apart");
        namespace.ip("link add eth0 type veth peer name eth1");
        namespace.ip("link set eth0 up");
        let scratch = Scratch::new();
        let rules = scratch.path().join("rules.nft");
        fs::write(&rules, RULES).expect("rules");
        Self { namespace, scratch, rules }
    }

    fn rampart(&self, verb: &str, more: &[&Path]) -> Output {
        Command::new(rampart_path())
            .arg(verb)
            .args(more)
            .args(["--netns", self.namespace.name()])
            .env("RAMPART_RUN_DIR", self.scratch.path())
            .output()
            .expect("rampart")
    }

    fn apply(&self) -> Output {
        self.rampart("apply", &[&self.rules])
    }

    /// The directory of the only instance.
    fn instance(&self) -> PathBuf {
        let mut directories = fs::read_dir(self.scratch.path().join("bpf")).expect("pins");
        directories.next().expect("an instance").expect("an entry").path()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.rampart("stop", &[]);
        let _ = nix::mount::umount(&self.scratch.path().join("bpf"));
    }
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn maps_that_were_not_made_yet_are_made_by_the_next_apply() {
    let apart = Apart::new();
    assert_success(&apart.apply());
    assert_success(&apart.rampart("stop", &[]));
    assert_success(&apart.apply());
    // As if it had been killed after the first few maps: no table, no programs, nothing attached.
    for missing in ["FLOWS", "EVENTS", "XDP"] {
        fs::remove_file(apart.instance().join("state").join(missing)).expect(missing);
    }
    assert_eq!(apart.rampart("status", &[]).status.code(), Some(1), "nothing can be in force");
    assert_success(&apart.apply());
    assert_success(&apart.rampart("status", &[]));
}

#[test]
fn generations_in_no_slot_are_removed_by_the_next_apply() {
    let apart = Apart::new();
    assert_success(&apart.apply());
    let generations = apart.instance().join("generation");
    fs::create_dir(generations.join("7")).expect("a generation that was never put in force");
    assert_success(&apart.apply());
    let mut left: Vec<_> =
        fs::read_dir(&generations).expect("generations").map(|entry| entry.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["1", "8"], "the one in force, and the one before");
}
