//! What people's tools say: the same behind rampart and behind the kernel's `nft`, for the same rules. And packets that a tool gets wrong on
//! purpose: each dropped for its own reason.

use std::{
    thread,
    time::{Duration, Instant},
};

use firewall_common::verdict::Reason;
use firewall_tests::{
    command::{Output, run},
    netns::Namespace,
    sockets::{PATIENTLY, TcpEcho},
    topology::{CLIENT, INTERFACE, Neighbours, Pair, SERVER},
};

use super::{
    answers::{close_door, open_door},
    clients::in_force,
};
use crate::support::Firewall;

const RULES: &str = "table inet t {
    chain c {
        type filter hook input priority 0; policy accept
        tcp dport 1001 reject with tcp reset
        tcp dport 1002 reject
        tcp dport 1003 reject with icmp host-unreachable
        tcp dport 1004 reject with icmp admin-prohibited
        tcp dport 1006 drop
        udp dport 1002 reject
        udp dport 1004 reject with icmp host-prohibited
        udp dport 1006 drop
        icmp type echo-request ip length 228 reject with icmp net-unreachable
        icmp type echo-request ip length 328 drop
    }
}";

/// What a tool says: its exit status and its lines, without times.
fn said(from: &Namespace, program: &str, words: &str) -> (i32, Vec<String>) {
    let words: Vec<&str> = words.split(' ').collect();
    let Output { status, stdout, stderr, .. } = run(Some(from), program, &words, "");
    let is_time = |word: &&str| {
        let number = word.trim_start_matches("time=").trim_start_matches("time").trim_end_matches("ms");
        !number.is_empty() && number.parse::<f64>().is_ok() && (word.contains('.') || word.contains("ms"))
    };
    let line = |line: &str| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ");
    let lines = stdout.lines().chain(stderr.lines()).map(line);
    // Statistics of times; curl says how long it took in words of its own, so its status must do.
    let is_told = |line: &String| program != "curl" && !line.contains("rtt min") && !line.contains("time ");
    (status, lines.filter(is_told).collect())
}

/// All of them.
fn tried(from: &Namespace) -> Vec<(String, (i32, Vec<String>))> {
    let server = SERVER.to_string();
    let mut all = Vec::new();
    let mut try_one = |program: &str, words: String| {
        let words = words.replace("SERVER", &server);
        all.push((format!("{program} {words}"), said(from, program, &words)));
    };
    for port in 1001..=1006 {
        try_one("nc.openbsd", format!("-n -v -z -w 2 SERVER {port}"));
        try_one("curl", format!("-sS --max-time 2 -o /dev/null telnet://SERVER:{port}"));
    }
    for port in [1002, 1004, 1006] {
        try_one("traceroute", format!("-n -q 1 -w 2 -m 2 -U -p {port} SERVER"));
    }
    for port in [1001, 1002, 1004, 1005] {
        try_one("traceroute", format!("-n -q 1 -w 2 -m 2 -T -p {port} SERVER"));
    }
    try_one("traceroute", "-n -q 1 -w 2 -m 2 -I SERVER".to_owned());
    for size in [100, 200, 300] {
        try_one("ping", format!("-n -c 1 -W 2 -s {size} SERVER"));
    }
    all
}

#[test]
fn tools_see_no_difference() {
    let results = [false, true].map(|ours| {
        let pair = Pair::with(Neighbours::Known);
        let _there: Vec<_> = (1001..=1006).map(|port| TcpEcho::start(&pair.server, (SERVER, port))).collect();
        // One error after the other, whatever time tools take.
        pair.server.set_parameter("net/ipv4/icmp_ratelimit", "0");
        open_door(&pair.client);
        let _live = in_force(&pair.server, RULES, ours);
        let tried = tried(&pair.client);
        close_door(&pair.client);
        tried
    });
    let [theirs, ours] = &results;
    for (theirs, ours) in theirs.iter().zip(ours) {
        println!("{theirs:?}");
        assert_eq!(ours, theirs);
    }
    let of = |start: &str| {
        let found = theirs.iter().find(|(line, _)| line.starts_with(start)).unwrap_or_else(|| panic!("{start}"));
        format!("{} {}", found.1.0, found.1.1.join("; "))
    };
    let nc = |port: u16| of(&format!("nc.openbsd -n -v -z -w 2 {SERVER} {port}"));
    assert!(
        nc(1001).contains("refused") && nc(1002).contains("refused") && nc(1005).contains("succeeded"),
        "{}",
        nc(1001)
    );
    assert!(nc(1003).contains("No route to host"), "{}", nc(1003));
    assert!(nc(1006).starts_with('1') && !nc(1006).contains("refused"), "{}", nc(1006));
    assert!(of(&format!("ping -n -c 1 -W 2 -s 200 {SERVER}")).contains("Destination Net Unreachable"));
    assert!(of(&format!("ping -n -c 1 -W 2 -s 300 {SERVER}")).contains("100% packet loss"));
}

/// Rows: a reason, and what makes `hping3` send such a packet.
const MALFORMED: [(Reason, &str); 13] = [
    (Reason::TcpFlags, "-p 80"),
    (Reason::TcpFlags, "-S -F -p 80"),
    (Reason::TcpFlags, "-F -P -U -p 80"),
    (Reason::TcpFlags, "-S -R -p 80"),
    (Reason::TcpDataOffset, "-S -O 3 -p 80"),
    (Reason::TcpDataOffset, "-S -O 15 -p 80"),
    (Reason::Land, "-S -p 80 -a SERVER"),
    (Reason::OwnAddress, "-S -p 80 -a 198.51.100.1"),
    (Reason::Martian, "-S -p 80 -a 127.0.0.1"),
    (Reason::Martian, "-2 -p 53 -a 224.0.0.1"),
    (Reason::SourceRoute, "-S -p 80 --lsrr 192.0.2.9"),
    (Reason::SourceRoute, "-S -p 80 --ssrr 192.0.2.9"),
    (Reason::UpperChecksum, "-S -p 80 -b"),
];

/// The packets that a tool makes wrong: each is dropped for what is wrong with it, and what is right passes.
#[test]
fn what_a_tool_gets_wrong_on_purpose_is_told_apart() {
    let pair = Pair::with(Neighbours::Known);
    pair.client.set_parameter("net/ipv4/conf/all/accept_source_route", "1");
    // A second address of the server's, which is not the one that packets go to.
    pair.server.ip(&format!("address add 198.51.100.1/32 dev {INTERFACE}"));
    let rules = "table inet t { chain c { type filter hook input priority 0; policy accept; }; }";
    let firewall = Firewall::on(pair, rules);
    firewall.apply_set(
        rules,
        "[checks]\ntcp_flags = true\nland = true\nsource_route = true\nmartians = true\nip_checksum = true\nown_addresses = true\n\
         checksums = [\"eth0\"]\n",
    );
    let server = SERVER.to_string();
    let send = |words: &str| {
        let words = format!("-I {INTERFACE} -c 1 -q {} {server}", words.replace("SERVER", &server));
        let words: Vec<&str> = words.split(' ').collect();
        run(Some(&firewall.pair.client), "hping3", &words, "")
    };
    for (reason, words) in MALFORMED {
        let (before, began) = (firewall.dropped(reason), Instant::now());
        let output = send(words);
        while firewall.dropped(reason) == before {
            assert!(began.elapsed() < PATIENTLY, "{words}: not {}: {}{}", reason.name(), output.stdout, output.stderr);
            thread::sleep(Duration::from_millis(20));
        }
    }
    // Fragments of eight bytes: the first one ends within the TCP header.
    let before = firewall.dropped(Reason::FragmentTiny);
    send("-S -p 80 -d 64 -f -m 8");
    assert!(firewall.dropped(Reason::FragmentTiny) > before, "tiny fragments");
    let all: u64 = MALFORMED.iter().map(|(reason, _)| firewall.dropped(*reason)).sum();
    send("-S -p 80");
    send(&format!("-2 -p 53 -a {CLIENT}"));
    assert_eq!(MALFORMED.iter().map(|(reason, _)| firewall.dropped(*reason)).sum::<u64>(), all, "what is right passes");
}
