//! `rampart trace` and `rampart capture`: live packets, seen by a twin that judges as the ruleset does.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use firewall_common::{
    trail::{ONLY_DROPPED, TrailFilter, WANTS_BYTES, WANTS_STEPS},
    verdict::Reason,
};
use firewall_tests::{
    command::{Background, Rampart, Scratch, run},
    sockets::{Outcome, PATIENTLY, TcpEcho, tcp_echo},
    topology::{CLIENT, INTERFACE, Pair, SERVER},
};
use firewall_user::kernel::{Instance, Side, Watch, interface_index, tick};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::support::{
    Firewall,
    packets::{syn, v4},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        tcp dport 22 accept comment \"ssh\"
        tcp dport 23 counter drop comment \"telnet\"
    }
}";

/// Until something is seen: loading the twin takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Has the client try these ports, again and again, until the command has seen enough and ends; what it printed.
fn while_tried(pair: &Pair, watching: &Background, ports: &'static [u16]) -> Vec<String> {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let sender = pair.client.spawn(move || {
        while !over.load(Ordering::Relaxed) {
            for port in ports {
                let _ = TcpStream::connect_timeout(&(SERVER, *port).into(), Duration::from_millis(200));
            }
        }
    });
    let lines = watching.lines_until(PATIENCE, |_| false);
    is_over.store(true, Ordering::Relaxed);
    sender.join().expect("the sender");
    lines
}

#[test]
fn a_watched_packet_is_told_rule_by_rule() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let trace = rampart.start(&["trace", "dport=23", "proto=tcp", "--count", "1", "--json", "--for", "2m"]);
    let lines = while_tried(&pair, &trace, &[22, 23]);
    let json: serde_json::Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_eq!((json["verdict"].as_str(), json["reason"].as_str()), (Some("drop"), Some("rule")), "{json}");
    assert_eq!(json["rule"]["comment"], "telnet");
    assert_eq!(json["packet"]["src"], CLIENT.to_string());
    let rules = json["stages"][0]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), 3, "{json}");
    assert_eq!(rules[1]["failed_at"], "destination port");
}

#[test]
fn connections_and_counters_go_on_while_somebody_watches() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    for _ in 0..2 {
        let trace = rampart.start(&["trace", "dport=23", "--count", "1", "--for", "2m"]);
        while_tried(&pair, &trace, &[23]);
        assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    }
    assert_eq!(rampart.run(&["conns", "--count", "--dport", "22"]).success().stdout, "3\n");
    let list = rampart.run(&["list"]).success().stdout;
    let counted = list.lines().find(|line| line.contains("telnet")).expect("the rule");
    assert!(!counted.contains("packets 0 "), "{counted}");
}

#[test]
fn a_capture_opens_in_tshark_with_verdicts_as_comments() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let files = Scratch::new();
    let path = files.path().join("drops.pcapng").to_string_lossy().into_owned();
    let capture = rampart.start(&["capture", "dropped", "-w", &path, "--count", "4", "--for", "2m"]);
    while_tried(&pair, &capture, &[23, 24]);
    let fields = ["frame.comment", "frame.interface_name", "ip.src", "tcp.dstport"];
    let mut arguments = vec!["-r", &path, "-T", "fields"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let shown = run(None, "tshark", &arguments, "").success().stdout;
    let line = |port: &str| {
        let found = shown.lines().find(|line| line.ends_with(&format!("\t{port}")));
        found.unwrap_or_else(|| panic!("no packet to {port}:\n{shown}")).to_owned()
    };
    assert!(line("23").starts_with("drop (rule, ruleset) by rule "), "{shown}");
    assert!(line("24").starts_with("drop (policy, ruleset) by policy drop of chain input"), "{shown}");
    assert!(line("23").contains(&format!("\teth0\t{CLIENT}\t")), "{shown}");
    // For programs the same as JSON, in a custom option.
    let bytes = std::fs::read(&path).expect("the file");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("\"reason\":\"policy\"") && text.contains("\"comment\":\"telnet\""), "{text}");
}

/// Packets to port 23 that follow each other on one CPU, in slices between which what is seen is read; how many were seen.
fn flood(instance: &Instance, watch: &mut Watch<'_>, slices: u32, slice: u32) -> u64 {
    let mut first = CpuSet::new();
    first.set(0).expect("CPU 0");
    sched_setaffinity(Pid::from_raw(0), &first).expect("CPU 0 is there");
    let (ifindex, frame) = (interface_index(INTERFACE).expect("interface"), v4(syn(23)).bytes());
    let mut seen = 0;
    for _ in 0..slices {
        instance.judge(Side::Xdp, &frame, ifindex, slice).expect("judged");
        while watch.next().is_some() {
            seen += 1;
        }
    }
    seen
}

const LONG: Duration = Duration::from_mins(5);

/// However many packets come, a CPU sends so many traces a tick and counts the rest.
#[test]
fn a_trace_is_bounded_and_what_is_over_is_counted() {
    const PER_TICK: u32 = 256;
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        let filter = TrailFilter { flags: WANTS_STEPS, per_tick: PER_TICK, ..TrailFilter::default() };
        let mut watch = instance.watch(filter, LONG).expect("a trace");
        let begun = tick();
        let seen = flood(instance, &mut watch, 500, 100);
        let ticks = u64::from(tick() - begun) + 2;
        assert_eq!(seen + watch.lost().expect("counted"), 50_000, "each is told or counted");
        assert!(seen >= u64::from(PER_TICK) && seen <= ticks * u64::from(PER_TICK), "{seen} in {ticks} ticks");
    });
}

/// All drops of a flood are captured: each packet is judged and counted as without, and is in the capture or counted as lost.
#[test]
fn a_capture_of_a_flood_loses_nothing_but_what_is_counted() {
    let firewall = Firewall::new(RULES);
    firewall.open(|instance| {
        let flags = ONLY_DROPPED | WANTS_BYTES;
        let filter = TrailFilter { flags, per_tick: 2048, snap: 1536, ..TrailFilter::default() };
        let mut watch = instance.watch(filter, LONG).expect("a capture");
        let seen = flood(instance, &mut watch, 250, 2000);
        let lost = watch.lost().expect("counted");
        assert_eq!(seen + lost, 500_000);
        assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    });
    assert_eq!(firewall.dropped(Reason::Rule), 500_000, "none passed and none is missing");
    assert_eq!(firewall.rule("telnet").0, 500_000);
}
