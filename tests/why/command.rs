//! `rampart why` as a person calls it.

use firewall_tests::{
    command::{Rampart, run},
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, tcp_connect, tcp_echo},
    topology::{CLIENT, Pair, SERVER},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        tcp dport { 22, 80 } accept
        ip saddr 203.0.113.0/24 drop
    }
}";

fn packet(port: u16) -> (String, String) {
    (format!("{CLIENT}:40000"), format!("{SERVER}:{port}"))
}

#[test]
fn a_drop_is_explained_with_what_would_let_it_through() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let (from, to) = packet(443);
    let text = rampart.run(&["why", "tcp", &from, &to, "--in", "eth0"]).success().stdout;
    for part in [
        "conntrack   new\n",
        "ruleset.nft:5  tcp dport { 22, 80 } accept  [no match: destination port]",
        "verdict     drop (policy, ruleset) by policy drop of chain input in table inet filter",
        "the sender sees: connection timed out",
        "nearest: ",
        "tcp dport 443 accept` in chain input would let it through",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let output = rampart.run(&["why", "tcp", &from, &to, "--json", "--exit-code"]);
    assert_eq!(output.status, 1);
    let json = output.json();
    assert_eq!((json["verdict"].as_str(), json["layer"].as_str()), (Some("drop"), Some("ruleset")));
    assert_eq!((json["reason"].as_str(), json["hook"].as_str()), (Some("policy"), Some("input")));
    assert_eq!(json["conntrack"]["state"], "new");
    let by_rule = rampart.run(&["why", "udp", "203.0.113.5:1", &to, "--json"]).success().json();
    assert_eq!((by_rule["reason"].as_str(), by_rule["rule"]["line"].as_u64()), (Some("rule"), Some(6)));
}

#[test]
fn what_passes_may_find_nobody() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let (from, to) = packet(80);
    let text = rampart.run(&["why", "tcp", &from, &to]).success().stdout;
    assert!(text.contains("verdict     accept by rule ") && text.contains("ruleset.nft:5"), "{text}");
    assert!(text.contains("no program listens on tcp port 80"), "{text}");
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    let (from, to) = packet(22);
    let text = rampart.run(&["why", "tcp", &from, &to]).success().stdout;
    assert!(!text.contains("no program listens"), "{text}");
    let elsewhere = rampart.run(&["why", "tcp", &from, "203.0.113.77:22"]).success().stdout;
    assert!(elsewhere.contains("203.0.113.77 is no address of this host"), "{elsewhere}");
    let other = "add table inet other; add chain inet other in { type filter hook input priority 5; policy drop; }";
    run(Some(&pair.server), "nft", &[other], "").check();
    let text = rampart.run(&["why", "tcp", &from, &to]).success().stdout;
    assert!(text.contains("chain in of table inet other"), "{text}");
    drop(server);
}

/// What is in the way that is not rampart's, each said.
#[test]
fn what_else_is_in_the_way() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    let (from, to) = packet(22);
    let why = |words: &[&str]| {
        let json = rampart.run(&[&["why"], words, &["--json"]].concat()).success().json();
        let lines = json["outside"].as_array().cloned().unwrap_or_default();
        lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let incoming = ["tcp", &from, &to, "--in", "eth0"];
    let outgoing = ["tcp", &to, "203.0.113.77:80", "--out", "eth0"];
    assert_eq!(why(&incoming), [""; 0]);
    assert_eq!(why(&["tcp", &from, "203.0.113.77:22"]).len(), 1, "no route");
    assert!(why(&outgoing).iter().any(|line| line.contains("no route to 203.0.113.77")), "{:?}", why(&outgoing));
    assert_eq!(why(&["tcp", &to, &from, "--out", "eth0"]), [""; 0]);
    let other = "add table ip other; add chain ip other out { type filter hook output priority 5; policy drop; }";
    run(Some(&pair.server), "nft", &[other], "").check();
    assert_eq!(why(&incoming), [""; 0], "it is of another hook");
    let lines = why(&["tcp", &to, &from, "--out", "eth0"]);
    assert!(lines.iter().any(|line| line.contains("chain out of table ip other")), "{lines:?}");
    pair.server.ip("link set eth0 down");
    let lines = why(&incoming);
    assert!(lines.contains(&"interface eth0 is down: nothing comes in or leaves by it".to_owned()), "{lines:?}");
    drop(server);
}

/// A chain's policy is told of where a packet comes to it, behind the rules, and not where the chain begins.
#[test]
fn a_policy_stands_behind_the_rules() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart
        .apply(
            "table ip n {
                chain pre { type nat hook prerouting priority dstnat; policy accept; tcp dport 8080 dnat to 192.0.2.9:80; }
            }
            table ip f {
                chain i { type filter hook input priority 0; policy drop; tcp dport 22 accept; }
            }",
        )
        .check();
    let (from, to) = packet(22);
    let json = rampart.run(&["why", "tcp", &from, &to, "--json"]).success().json();
    let stages = json["stages"].as_array().expect("stages");
    let told = |stage: &serde_json::Value| -> Vec<String> {
        let rules = stage["rules"].as_array().expect("rules");
        rules.iter().map(|one| if one["policy"].is_null() { "rule".to_owned() } else { "policy".to_owned() }).collect()
    };
    let told: Vec<Vec<String>> = stages.iter().map(told).collect();
    assert_eq!(told, [vec!["rule", "policy"], vec!["rule"]], "{json:#}");
}

#[test]
fn a_connection_is_met_as_it_is_or_as_it_is_supposed() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let (from, to) = packet(443);
    let state = |arguments: &[&str]| {
        let all = [&["why", "tcp", &from, &to, "--json"], arguments].concat();
        let json = rampart.run(&all).success().json();
        (
            json["conntrack"]["state"].as_str().unwrap_or("?").to_owned(),
            json["verdict"].as_str().unwrap_or("?").to_owned(),
        )
    };
    assert_eq!(state(&[]), ("new".to_owned(), "drop".to_owned()));
    assert_eq!(state(&["--state", "established"]), ("established".to_owned(), "accept".to_owned()));
    assert_eq!(state(&["--state", "reply"]), ("established".to_owned(), "accept".to_owned()));
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    let conns = rampart.run(&["conns", "--proto", "tcp", "--json"]).success().json();
    let original = &conns["conns"][0]["original"];
    let from = format!("{CLIENT}:{}", original["sport"]);
    let known =
        rampart.run(&["why", "tcp", &from, &format!("{SERVER}:22"), "--flags", "ack", "--json"]).success().json();
    assert_ne!(known["conntrack"]["connection"], serde_json::Value::Null, "{known}");
    let before = rampart.run(&["counters", "--json"]).success().json();
    rampart.run(&["why", "tcp", &from, &to]).check();
    assert_eq!(rampart.run(&["counters", "--json"]).success().json(), before);
}

#[test]
fn frames_come_as_digits_and_the_ledger_remembers() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let cut = rampart.run(&["why", "--hex", "020000000002 020000000001 0800 4500", "--json"]).success().json();
    assert_eq!((cut["reason"].as_str(), cut["layer"].as_str()), (Some("ipv4_truncated"), Some("network")));
    assert_eq!(rampart.run(&["why", "--last", &CLIENT.to_string()]).status, 1);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 443), BRIEFLY), Outcome::TimedOut);
    let last = rampart.run(&["why", "--last", &CLIENT.to_string(), "--json"]).success().json();
    assert_eq!(last["dropped"]["reason"], "policy");
    assert_eq!(last["dropped"]["to"], "tcp port 443");
    assert!(last["dropped"]["packets"].as_u64().is_some_and(|packets| packets >= 1), "{last}");
    let text = rampart.run(&["why", "--last", &CLIENT.to_string()]).success().stdout;
    assert!(text.contains("policy drop of chain input"), "{text}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    for (arguments, wanted) in [
        (&["why", "tcp", "192.0.2.1"][..], "where it goes to is missing"),
        (&["why", "tcp", "192.0.2.1", "192.0.2.2:22", "--in", "eth9"], "not attached to an interface `eth9`"),
        (&["why", "--hex", "00"], "a frame of 1 bytes cannot be asked about"),
        (&["why", "tcp", "192.0.2.1", "192.0.2.2:22", "--state", "odd"], "cannot be supposed"),
    ] {
        let output = rampart.run(arguments);
        assert_ne!(output.status, 0, "{arguments:?}");
        assert!(output.stderr.contains(wanted), "{arguments:?}: {}", output.stderr);
    }
    // At tc the kernel runs no frame that is cut short in its header.
    rampart.run(&["stop"]).check();
    rampart.apply("table ip t { chain p { type nat hook postrouting priority srcnat; masquerade; }; }").check();
    let output = rampart.run(&["why", "--hex", "ffffffffffff0a0000000001080045000028000100004006"]);
    assert!(output.stderr.contains("a frame of 24 bytes ends within its Ethernet or IP header"), "{}", output.stderr);
}

#[test]
fn a_reject_says_what_the_sender_is_told() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart
        .apply(
            "table inet filter {
                chain input {
                    type filter hook input priority filter; policy accept;
                    tcp dport 25 reject with tcp reset
                    udp dport 53 reject
                }
            }",
        )
        .check();
    let told = |protocol: &str, port: u16| {
        let (from, to) = packet(port);
        let json = rampart.run(&["why", protocol, &from, &to, "--json"]).success().json();
        (json["verdict"].as_str().unwrap_or("?").to_owned(), json["peer_sees"].as_str().unwrap_or("?").to_owned())
    };
    assert_eq!(told("tcp", 25), ("reject".to_owned(), "connection refused".to_owned()));
    assert_eq!(told("udp", 53), ("reject".to_owned(), "port unreachable (connection refused)".to_owned()));
}
