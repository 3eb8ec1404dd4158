//! Several processes, pipes and signals.

use std::{
    collections::BTreeSet,
    io::Read,
    net::UdpSocket,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use firewall_tests::{
    command::{Background, Output, Rampart, Scratch, rampart_path, run_command},
    sockets::{BRIEFLY, Outcome, PATIENTLY, ping, tcp_connect},
    topology::{CLIENT, Pair, SERVER},
};
use serde_json::Value;

use crate::{OTHER_RULES, RULES, assert_one_line, host, rampart, write};

/// Long enough for anything that is going to happen.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn of_two_at_once_one_waits_or_is_told_who_is_first() {
    let (host, files) = (host(), Scratch::new());
    let _stops = Rampart::on(&host);
    let rules = [write(&files, "rules.nft", RULES), write(&files, "other.nft", OTHER_RULES)];
    let outputs: Vec<Output> = thread::scope(|scope| {
        let apply = |number: usize| {
            let arguments = ["apply", &rules[number % 2], "--netns", host.name()].map(str::to_owned);
            scope.spawn(move || rampart(&arguments.each_ref().map(String::as_str)))
        };
        let started: Vec<_> = (0..4).map(apply).collect();
        started.into_iter().map(|thread| thread.join().expect("a command ends")).collect()
    });
    let done = outputs.iter().filter(|output| output.status == 0).count();
    assert!(done >= 1, "{outputs:?}");
    for output in outputs.iter().filter(|output| output.status != 0) {
        assert_eq!(output.status, 3, "{output:?}");
        assert_one_line(output, &["another rampart process (pid "]);
    }
    let status = rampart(&["status", "--json", "--netns", host.name()]).success().json();
    assert_eq!(status["generation"], done, "each apply that was done is a generation, and no other");
    assert_eq!(status["interfaces"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_read_from_standard_input_is_applied() {
    let host = host();
    let _stops = Rampart::on(&host);
    let mut command = Command::new(rampart_path());
    command.args(["apply", "-", "--netns", host.name()]);
    let output = run_command(None, command, RULES).success();
    assert!(output.stdout.starts_with("stdin: generation 1 in force"), "{}", output.stdout);
}

#[test]
fn a_dry_run_leaves_the_kernel_alone() {
    let (host, files) = (host(), Scratch::new());
    let file = write(&files, "rules.nft", RULES);
    let before = crate::seen(&host);
    let output = rampart(&["apply", "--dry-run", &file, "--netns", host.name()]).success();
    assert!(output.stdout.contains("can be applied"), "{}", output.stdout);
    assert_eq!(crate::seen(&host), before);
}

/// Runs a command whose output nobody reads.
fn into_a_closed_pipe(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(rampart_path());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("rampart starts");
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().expect("it was asked for").read_to_string(&mut errors).expect("text");
    (child.wait().expect("it ends").code(), errors)
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let host = host();
    let rampart = Rampart::on(&host);
    rampart.apply(RULES).check();
    for verb in ["list", "status", "conns", "counters", "monitor"] {
        let (status, errors) = into_a_closed_pipe(&[verb, "--netns", host.name()]);
        assert_eq!(status, Some(0), "{verb}: {errors}");
        assert!(verb == "monitor" || errors.is_empty(), "{verb}: {errors}");
    }
    let (status, errors) = into_a_closed_pipe(&["completions", "bash"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
}

/// Tries until the monitor tells of it: it may have just begun to listen.
fn events_of(monitor: &Background, attempt: impl Fn(), wanted: &str) -> Vec<String> {
    for _ in 0..10 {
        attempt();
        let lines = monitor.lines_until(Duration::from_secs(1), |line| line.contains(wanted));
        if lines.iter().any(|line| line.contains(wanted)) {
            return lines;
        }
    }
    panic!("no event with {wanted}");
}

#[test]
fn a_monitor_follows_from_before_an_apply_to_the_next_firewall() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let monitor = rampart.start(&["monitor", "--json", "--filter", "dropped", "--filter", "dport=23"]);
    let telnet = || {
        assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    };
    for round in ["first", "again", "stopped between"] {
        if round == "stopped between" {
            rampart.run(&["stop"]).check();
        }
        rampart.apply(RULES).check();
        let lines = events_of(&monitor, telnet, "\"dport\":23");
        let event: Value = serde_json::from_str(lines.last().expect("an event")).expect("JSON");
        assert_eq!((&event["event"], &event["reason"]), (&"dropped".into(), &"rule".into()), "{round}: {event}");
        assert_eq!((&event["rule"]["line"], &event["layer"]), (&7.into(), &"ruleset".into()), "{round}: {event}");
        assert_eq!(event["peer_sees"], "connection timed out");
        assert_eq!(event["interface"], "eth0");
    }
    assert_eq!(monitor.interrupt(), 0, "Ctrl-C is how it ends");
}

/// Sends a datagram that no rule lets in: an event with this port.
fn datagram(pair: &Pair, port: u16) {
    pair.client.run(|| {
        let socket = UdpSocket::bind((CLIENT, 0)).expect("a socket");
        socket.send_to(b"x", (SERVER, port)).expect("sent");
    });
}

/// The ports of the events that a monitor told of, until that of `last`.
fn ports(monitor: &Background, last: u16) -> BTreeSet<u64> {
    let wanted = format!("\"dport\":{last},");
    let lines = monitor.lines_until(PATIENCE, |line| line.contains(&wanted));
    let port = |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["packet"]["dport"].as_u64();
    lines.iter().filter_map(port).collect()
}

#[test]
fn several_monitors_see_the_same_and_take_the_place_of_a_killed_one() {
    const FIRST: u16 = 5000;
    const KILLED: u16 = 5100;
    const LAST: u16 = 5200;
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let arguments = ["monitor", "--json", "--filter", "dropped", "--filter", "proto=udp"];
    let [first, second, third] = [4001, 4002, 4003].map(|port| {
        let monitor = rampart.start(&arguments);
        events_of(&monitor, || datagram(&pair, port), &format!("\"dport\":{port},"));
        monitor
    });
    // One with another filter beside them.
    let other = rampart.start(&["monitor", "--json", "--filter", "new"]);
    events_of(&other, || assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected), "echo-request");
    let mut first = Some(first);
    for port in FIRST..=LAST {
        datagram(&pair, port);
        if port == KILLED {
            first.take().expect("once").kill();
        }
    }
    let sent: BTreeSet<u64> = (FIRST..=LAST).map(u64::from).collect();
    for (name, monitor) in [("second", &second), ("third", &third)] {
        let missing: Vec<_> = sent.difference(&ports(monitor, LAST)).copied().collect();
        assert!(missing.is_empty(), "the {name} one misses {missing:?}");
    }
    // The end of the one that reads for the others is not theirs, either.
    assert_eq!(second.interrupt(), 0);
    let fourth = rampart.start(&arguments);
    for (monitor, port) in [(&third, 4004), (&fourth, 4005)] {
        events_of(monitor, || datagram(&pair, port), &format!("\"dport\":{port},"));
    }
}

#[test]
fn a_killed_process_changes_nothing() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let monitor = rampart.start(&["monitor"]);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    drop(monitor);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    let next = rampart.start(&["monitor"]);
    let telnet = || {
        assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
    };
    let lines = events_of(&next, telnet, "\"telnet: \"");
    assert!(!lines.is_empty() && next.lines_until(PATIENCE, |line| line.contains(" dropped ")).len() == 1);
}

#[test]
fn two_namespaces_have_a_firewall_each() {
    let (one, other) = (host(), host());
    let (first, second) = (Rampart::on(&one), Rampart::on(&other));
    first.apply(RULES).check();
    assert_eq!(second.run(&["status"]).status, 1, "the other one has none");
    second.apply(OTHER_RULES).check();
    assert!(first.run(&["list"]).success().stdout.contains("policy drop"));
    assert!(second.run(&["list"]).success().stdout.contains("policy accept"));
    second.run(&["stop"]).check();
    assert_eq!(first.run(&["status"]).status, 0);
}
