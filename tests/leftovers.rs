//! What a process that was killed left behind does not get in anybody's way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use firewall_tests::{
    command::{Scratch, rampart_path, run},
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
    assert_eq!(left, ["1", "8", "next"], "the one in force, the one before, and the programs for the next");
}

/// What another version left is taken down on demand, without being read.
#[test]
fn the_state_of_another_version_is_removed_on_demand() {
    let apart = Apart::new();
    assert!(apart.apply().status.success());
    // A map of another shape under the right name is what another version's would be.
    let state = apart.instance().join("state");
    fs::remove_file(state.join("FLOWS")).expect("a pin");
    fs::rename(state.join("LISTENERS"), state.join("FLOWS")).expect("a pin");
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for verb in ["stop", "status", "conns"] {
        let refused = apart.rampart(verb, &[]);
        assert_eq!(refused.status.code(), Some(3), "{verb}");
        assert!(text(&refused).contains("`rampart stop --yes` detaches it"), "{}", text(&refused));
    }
    let link = || run(Some(&apart.namespace), "ip", &["link", "show", "eth0"], "").success().stdout;
    assert!(link().contains("xdp"), "{}", link());
    let stopped = apart.rampart("stop", &[Path::new("--yes")]);
    let said = String::from_utf8_lossy(&stopped.stdout).into_owned();
    assert_eq!(said, "detached from eth0; all connections forgotten; every packet passes now\n", "{}", text(&stopped));
    assert!(!state.exists());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while link().contains("xdp") {
        assert!(std::time::Instant::now() < deadline, "the program stays on the interface: {}", link());
    }
    assert!(apart.apply().status.success(), "a new one can be applied");
}

/// The pins of a namespace that is gone go; those of one that is there stay.
#[test]
fn dead_namespaces_are_swept_out() {
    let alive = Apart::new();
    assert!(alive.apply().status.success());
    let pins = alive.instance();
    let dead = Namespace::new("dead");
    dead.ip("link add eth0 type veth peer name eth1");
    dead.ip("link set eth0 up");
    let rampart_in = |namespace: &Namespace, arguments: &[&str]| {
        let mut command = Command::new(rampart_path());
        command.args(arguments).args(["--netns", namespace.name()]).env("RAMPART_RUN_DIR", alive.scratch.path());
        command.output().expect("rampart")
    };
    assert!(rampart_in(&dead, &["apply", &alive.rules.to_string_lossy()]).status.success());
    // The file system has files of its own, too.
    let is_cookie = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().parse::<u64>().is_ok();
    let count = || {
        let entries = fs::read_dir(alive.scratch.path().join("bpf")).expect("pins");
        entries.filter(|entry| entry.as_ref().is_ok_and(is_cookie)).count()
    };
    assert_eq!(count(), 2);
    assert!(rampart_in(&alive.namespace, &["stop", "--dead"]).status.success());
    assert_eq!(count(), 2, "both are there");
    drop(dead);
    // The kernel takes a namespace down behind its last user's back.
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while count() == 2 {
        assert!(std::time::Instant::now() < deadline, "what is left of it stays");
        assert!(rampart_in(&alive.namespace, &["stop", "--dead"]).status.success());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(count(), 1);
    assert!(pins.join("state/CONTROL").exists(), "the one that is alive stays");
    assert!(alive.rampart("status", &[]).status.success());
}
