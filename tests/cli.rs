//! The `rampart` command as a person calls it: what it says, its exit status, and that a failure changes nothing.

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/bans.rs"]
mod bans;
#[path = "cli/conns.rs"]
mod conns;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/processes.rs"]
mod processes;
#[path = "cli/reset.rs"]
mod reset;
#[path = "cli/sets.rs"]
mod sets;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/told.rs"]
mod told;
#[path = "cli/typed.rs"]
mod typed;

use std::process::Command;

use firewall_tests::{
    command::{Output, Scratch, rampart_path, run_command},
    netns::Namespace,
};

/// Lets pings in and telnet not, each with a counter.
const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmp type echo-request counter accept comment \"ping\"
        tcp dport 22 counter accept
        tcp dport 23 counter log prefix \"telnet: \" drop comment \"no telnet\"
    }
}
";

/// Another ruleset, which keeps the ping rule.
const OTHER_RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        icmp type echo-request counter accept comment \"ping\"
    }
}
";

/// Runs `rampart` with exactly these arguments, where the test is.
#[track_caller]
fn rampart(arguments: &[&str]) -> Output {
    rampart_with(arguments, |_| {})
}

/// The same, after `change` had its way with the command.
#[track_caller]
fn rampart_with(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(rampart_path());
    command.args(arguments);
    change(&mut command);
    run_command(None, command, "")
}

/// A namespace with one interface that is up.
fn host() -> Namespace {
    let namespace = Namespace::new("host");
    namespace.ip("link add eth0 type veth peer name wire0");
    namespace.ip("link set eth0 up");
    namespace
}

/// The path of a ruleset file in a scratch directory.
fn write(files: &Scratch, name: &str, text: impl AsRef<[u8]>) -> String {
    files.write(name, text).to_string_lossy().into_owned()
}

/// Everything about rampart that can be seen in a namespace: what is in force, and what is on the interface.
fn seen(namespace: &Namespace) -> (String, String) {
    let status = rampart(&["status", "--netns", namespace.name()]).stdout;
    let link = namespace.run(|| Command::new("ip").args(["-d", "-o", "link", "show", "eth0"]).output());
    let link = String::from_utf8_lossy(&link.expect("ip (iproute2) is installed").stdout).into_owned();
    (status, link)
}

/// One line that begins with `rampart: `, without anything else.
#[track_caller]
fn assert_one_line(output: &Output, parts: &[&str]) {
    assert!(output.stderr.starts_with("rampart: "), "`{}`: {}", output.line, output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "`{}`: {}", output.line, output.stderr);
    for part in parts {
        assert!(output.stderr.contains(part), "`{}`: no {part:?} in {}", output.line, output.stderr);
    }
}
