//! What goes wrong, each said with its place, and the kernel as it was before.

use std::{fs, path::PathBuf, process::Command};

use aya::{
    Ebpf, EbpfLoader,
    maps::Map,
    programs::{ProgramError, Xdp, XdpMode},
};
use firewall_tests::{
    command::{Output, Rampart, Scratch, rampart_path, run_command},
    netns::Namespace,
};

use crate::{RULES, assert_one_line, host, rampart, rampart_with, seen, write};

/// Rulesets that are none: name, content, and what is said about them.
fn bad_rulesets() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let long_line = format!("table inet t {{ chain c {{ {} }} }}", "ip saddr 192.0.2.1 ".repeat(550_000));
    vec![
        ("empty.nft", Vec::new(), "empty.nft: no chain in it"),
        ("comment.nft", b"# nothing yet\n".to_vec(), "comment.nft: no chain in it"),
        ("binary.nft", (0..=255).cycle().take(4096).collect(), "binary.nft:1: zero byte at byte 0"),
        ("latin1.nft", b"# caf\xe9\n".to_vec(), "latin1.nft:1: invalid UTF-8 at byte 5"),
        ("long.nft", long_line.into_bytes(), "long.nft:1:"),
        ("cut.nft", RULES.as_bytes()[..RULES.len() - 60].to_vec(), "cut.nft:7:"),
        (
            "unknown.nft",
            RULES.replace("tcp dport 22", "iif \"nosuch0\" tcp dport 22").into_bytes(),
            "unknown.nft:6:13:",
        ),
    ]
}

#[test]
fn a_ruleset_that_is_none_changes_nothing() {
    let (host, files) = (host(), Scratch::new());
    let before = seen(&host);
    let running = self::host();
    let rampart_there = Rampart::on(&running);
    rampart_there.apply(RULES).check();
    let running_before = seen(&running);
    for (name, content, said) in bad_rulesets() {
        let file = write(&files, name, &content);
        for (verb, namespace) in [("check", &host), ("apply", &host), ("apply", &running)] {
            let output = rampart(&[verb, &file, "--netns", namespace.name()]);
            assert_eq!(output.status, 1, "`{}`: {}", output.line, output.stderr);
            assert!(output.stderr.contains(said), "`{}`: no {said:?} in {}", output.line, output.stderr);
            assert!(output.stderr.len() < 10_000, "`{}`: {} bytes of errors", output.line, output.stderr.len());
            assert_eq!(output.stdout, "", "`{}`", output.line);
        }
    }
    assert_eq!(seen(&host), before);
    assert_eq!(seen(&running), running_before);
}

/// Each rule has 32 entries in the trees, one for each of its ports: together more than trees may have.
#[test]
fn too_many_rules_name_those_that_cost_the_most() {
    let (host, files) = (host(), Scratch::new());
    let _stops = Rampart::on(&host);
    let rules = write(&files, "rules.nft", RULES);
    rampart(&["apply", &rules, "--netns", host.name()]).check();
    let before = seen(&host);
    let ports = |first: u32| {
        let ports: Vec<String> = (0..32).map(|nth| (first + 2 * nth).to_string()).collect();
        format!("tcp dport {{ {} }} drop\n", ports.join(", "))
    };
    let many: String = (0..17_000).map(|rule| ports(1 + rule)).collect();
    let text = format!("table inet t {{ chain c {{ type filter hook input priority 0;\n{many}}}\n}}\n");
    let file = write(&files, "many.nft", text);
    let output = rampart(&["apply", &file, "--netns", host.name()]);
    assert_ne!(output.status, 0);
    for said in ["the rules overlap in so many ways", "more than 1048576", "many.nft:2", "tcp dport { 1, 3, 5, "] {
        assert!(output.stderr.contains(said), "no {said:?} in {}", output.stderr);
    }
    assert_eq!(seen(&host), before);
}

#[test]
fn a_file_that_cannot_be_read_is_named_on_one_line() {
    let (host, files) = (host(), Scratch::new());
    let missing = files.path().join("missing.nft").to_string_lossy().into_owned();
    let directory = files.path().to_string_lossy().into_owned();
    let before = seen(&host);
    for verb in ["apply"] {
        for (file, said) in [(&missing, "missing.nft: no such file"), (&directory, ": is a directory")] {
            let output = rampart(&[verb, file, "--netns", host.name()]);
            assert_eq!(output.status, 1, "`{}`: {}", output.line, output.stderr);
            assert_one_line(&output, &[verb, said]);
        }
    }
    assert_eq!(seen(&host), before);
}

/// Applies the good rules with more arguments.
fn apply(namespace: &Namespace, more: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let files = Scratch::new();
    let file = write(&files, "rules.nft", RULES);
    let arguments: Vec<_> =
        ["apply", &file, "--netns", namespace.name()].into_iter().chain(more.iter().copied()).collect();
    rampart_with(&arguments, change)
}

#[test]
fn an_unknown_interface_is_named() {
    let host = host();
    let before = seen(&host);
    for interfaces in [&["-i", "eth9"][..], &["-i", "eth0", "-i", "eth9"]] {
        let output = apply(&host, interfaces, |_| {});
        assert_eq!(output.status, 3, "{}", output.stderr);
        assert_one_line(&output, &["apply", "no interface `eth9`", "did you mean `eth0`"]);
    }
    assert_eq!(seen(&host), before);
}

#[test]
fn an_unprivileged_user_is_told_which_capabilities_are_missing() {
    let (host, files) = (host(), Scratch::new());
    let file = write(&files, "rules.nft", RULES);
    let before = seen(&host);
    let program = rampart_path();
    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(&program).args(arguments);
        run_command(Some(&host), command, "")
    };
    for verb in [&["apply", &file][..], &["status"], &["list"], &["conns"], &["counters"], &["monitor"], &["stop"]] {
        let output = unprivileged(verb);
        assert_eq!(output.status, 3, "`{}`: {}", output.line, output.stderr);
        assert_one_line(&output, &[verb[0], "CAP_NET_ADMIN", "CAP_BPF"]);
    }
    unprivileged(&["check", &file]).check();
    unprivileged(&["apply", "--dry-run", &file]).check();
    assert_eq!(seen(&host), before);
}

#[test]
fn without_a_place_for_pins_nothing_is_applied() {
    let (host, files) = (host(), Scratch::new());
    let before = seen(&host);
    let no_directory = files.write("file", "");
    let output = apply(&host, &[], |command| {
        command.env("RAMPART_RUN_DIR", &no_directory);
    });
    assert_eq!(output.status, 3, "{}", output.stderr);
    assert_one_line(&output, &["apply", "BPF file system", &no_directory.to_string_lossy()]);
    assert_eq!(seen(&host), before);
}

/// Somebody's programs and maps: rampart's own object, loaded by the test.
fn somebodys() -> Ebpf {
    EbpfLoader::new().load(firewall_user::kernel::embedded_object()).expect("the object loads")
}

fn attach(ebpf: &mut Ebpf) -> Result<(), ProgramError> {
    let program: &mut Xdp = ebpf.program_mut("nothing").expect("a program that does nothing").try_into()?;
    program.load()?;
    program.attach("eth0", XdpMode::default()).map(drop)
}

#[test]
fn another_xdp_program_is_named_and_left_alone() {
    let host = host();
    let _somebodys = host.run(|| {
        let mut ebpf = somebodys();
        attach(&mut ebpf).expect("nothing is attached yet");
        ebpf
    });
    let before = seen(&host);
    assert!(before.1.contains("xdp"), "{}", before.1);
    let output = apply(&host, &[], |_| {});
    assert_eq!(output.status, 3, "{}", output.stderr);
    assert_one_line(&output, &["apply", "eth0", "`nothing`", "not rampart's"]);
    assert_eq!(seen(&host), before);
}

/// A directory for pins of its own, unmounted when dropped.
struct RunDirectory(Scratch);

impl RunDirectory {
    /// Where the one instance in it keeps a state map.
    fn pin(&self, map: &str) -> PathBuf {
        let mut instances = fs::read_dir(self.0.path().join("bpf")).expect("a BPF file system");
        let instance = instances.find_map(Result::ok).expect("an instance");
        instance.path().join("state").join(map)
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // What is left goes when the machine restarts.
        let _ = nix::mount::umount(&self.0.path().join("bpf"));
    }
}

#[test]
fn a_pin_of_another_size_is_named_and_left_alone() {
    let (host, run) = (host(), RunDirectory(Scratch::new()));
    let here = |command: &mut Command| {
        command.env("RAMPART_RUN_DIR", run.0.path());
    };
    apply(&host, &[], here).check();
    let filtered = seen(&host).1;
    let pin = run.pin("CONTROL");
    fs::remove_file(&pin).expect("a pin is a file");
    let mut other = somebodys();
    let Some(Map::PerCpuArray(map)) = other.map_mut("BUDGET") else { panic!("a map of another size") };
    map.pin(&pin).expect("the place is free");
    for verb in ["status", "list", "stop"] {
        let output = rampart_with(&[verb, "--netns", host.name()], here);
        assert_eq!(output.status, 3, "`{}`: {}", output.line, output.stderr);
        assert_one_line(&output, &[verb, &pin.to_string_lossy(), "not one of this version"]);
    }
    let output = apply(&host, &[], here);
    assert_eq!(output.status, 3, "{}", output.stderr);
    assert_one_line(&output, &["apply", &pin.to_string_lossy(), "not one of this version"]);
    assert_eq!(seen(&host).1, filtered, "what is attached stays attached");
}
