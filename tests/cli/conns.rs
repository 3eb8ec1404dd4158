//! `rampart conns`: shown, counted, watched, forgotten, reset.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use firewall_tests::{
    command::Rampart,
    sockets::PATIENTLY,
    topology::{CLIENT, CLIENT6, Pair, SERVER, SERVER6},
};

use crate::rampart;

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport { 22, 443 } accept
    }
}
";

/// An open connection: the client's end and the server's.
fn connection(pair: &Pair, server: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = pair.server.run(|| TcpListener::bind(server)).expect("a listener");
    let client = pair.client.run(|| TcpStream::connect_timeout(&server, PATIENTLY)).expect("a connection");
    let (mut there, _) = listener.accept().expect("the other end");
    let mut here = client;
    for stream in [&here, &there] {
        stream.set_read_timeout(Some(PATIENTLY)).expect("a timeout");
    }
    // Both have said something: both directions are known.
    here.write_all(b"hello").expect("it is open");
    there.read_exact(&mut [0; 5]).expect("it is open");
    there.write_all(b"hello").expect("it is open");
    here.read_exact(&mut [0; 5]).expect("it is open");
    (here, there)
}

#[test]
fn connections_are_filtered_and_counted() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let _ssh = connection(&pair, (SERVER, 22).into());
    let _https = connection(&pair, (SERVER6, 443).into());
    let count = |filters: &[&str]| {
        let arguments = [&["conns", "--proto", "tcp", "--count"], filters].concat();
        rampart.run(&arguments).success().stdout.trim().to_owned()
    };
    for (filters, expected) in [
        (&[][..], "2"),
        (&["--family", "ipv4"], "1"),
        (&["--family", "ip6", "--src", "2001:db8::/32"], "1"),
        (&["--family", "ipv4", "--dport", "443"], "0"),
        (&["--zone", "0", "--mark", "0"], "2"),
        (&["--zone", "7"], "0"),
        (&["--older-than", "1h"], "0"),
    ] {
        assert_eq!(count(filters), expected, "{filters:?}");
    }
    let by = |what: &str| rampart.run(&["conns", "--proto", "tcp", "--by", what]).success().stdout;
    assert_eq!(by("state"), "2 tcp ESTABLISHED\n");
    assert_eq!(by("port"), "1 tcp 22\n1 tcp 443\n");
    assert_eq!(by("source"), format!("1 {CLIENT}\n1 {CLIENT6}\n"));
    assert_eq!(by("destination"), format!("1 {SERVER}\n1 {SERVER6}\n"));
    let json = rampart.run(&["conns", "--by", "port", "--proto", "tcp", "--json"]).success().json();
    assert_eq!(json["counts"][0]["what"], "tcp 22");
}

/// Both ends of the connection learn at once that it is over, and nothing of it is left.
#[track_caller]
fn check_reset(server: SocketAddr) {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let (mut here, mut there) = connection(&pair, server);
    let (other, mut other_there) = connection(&pair, (SERVER, 443).into());
    let killed = rampart.run(&["conns", "kill", "--proto", "tcp", "--dport", "22", "--reset"]).success().stdout;
    assert_eq!(killed, "1 connection forgotten, 1 of them reset at both ends\n");
    for stream in [&mut here, &mut there] {
        let error = stream.read(&mut [0; 1]).expect_err("it is over");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let count = rampart.run(&["conns", "--proto", "tcp", "--dport", "22", "--count"]).success().stdout;
    assert_eq!(count, "0\n");
    // The other one goes on.
    (&other).write_all(b"x").expect("it is open");
    other_there.read_exact(&mut [0; 1]).expect("it is open");
}

#[test]
fn a_connection_is_reset_at_both_ends() {
    check_reset((SERVER, 22).into());
}

#[test]
fn a_connection_of_ipv6_is_reset_at_both_ends() {
    check_reset((SERVER6, 22).into());
}

#[test]
fn connections_are_forgotten() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let (mut here, there) = connection(&pair, (SERVER, 22).into());
    let _https = connection(&pair, (SERVER, 443).into());
    for (arguments, complaint) in [
        (&["conns", "flush"][..], "--all says so"),
        (&["conns", "flush", "--all", "--proto", "tcp"], "contradict"),
        (&["conns", "kill"], "a filter must say which"),
    ] {
        let refused = rampart.run(arguments);
        assert_eq!(refused.status, 2, "{arguments:?}");
        assert!(refused.stderr.contains(complaint), "{}", refused.stderr);
    }
    let flushed = rampart.run(&["conns", "flush", "--proto", "tcp", "--dport", "22", "--json"]).success().json();
    assert_eq!((&flushed["forgotten"], &flushed["reset"]), (&1.into(), &0.into()));
    // What the client says now is the middle of an unknown connection: new, and port 22 is open to what is new.
    drop(there);
    here.write_all(b"y").expect("it goes out");
    let all = rampart.run(&["conns", "flush", "--all"]).success().stdout;
    assert!(all.ends_with("forgotten\n"), "{all}");
    here.shutdown(Shutdown::Both).ok();
}

#[test]
fn connections_are_watched() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let first = connection(&pair, (SERVER, 443).into());
    let watch = rampart.start(&["conns", "--watch", "--proto", "tcp", "--dport", "22"]);
    // Whether it has looked already cannot be seen: one connection after another begins until one is told of.
    let deadline = Instant::now() + PATIENTLY;
    let mut streams = vec![first];
    loop {
        streams.push(connection(&pair, (SERVER, 22).into()));
        let lines = watch.lines_until(Duration::from_secs(1), |line| line.starts_with("[NEW]"));
        if let Some(line) = lines.iter().find(|line| line.starts_with("[NEW]")) {
            assert!(line.contains("tcp") && line.contains(&format!("-> {SERVER}:22")), "{line}");
            break;
        }
        assert!(Instant::now() < deadline, "nothing new is told");
    }
    drop(streams);
    let lines = watch.lines_until(PATIENTLY, |line| line.starts_with("[UPDATE]"));
    assert!(lines.iter().any(|line| line.starts_with("[UPDATE]")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(":443")), "{lines:?}");
    rampart.run(&["conns", "flush", "--all"]).check();
    let lines = watch.lines_until(PATIENTLY, |line| line.starts_with("[DESTROY]"));
    assert!(lines.iter().any(|line| line.starts_with("[DESTROY]")), "{lines:?}");
}

#[test]
fn settings_are_read_and_shown() {
    let pair = Pair::new();
    let rampart_there = Rampart::on(&pair.server);
    let files = firewall_tests::command::Scratch::new();
    let rules = files.write("rules.nft", RULES);
    let settings =
        files.write("rampart.toml", "[conntrack]\nmax = 20_000\n[conntrack.timeouts]\nudp_timeout = \"5s\"\n");
    let wrong = files.write("wrong.toml", "[conntrack]\ntcp_lose = true\n");
    let [rules, settings, wrong] = [&rules, &settings, &wrong].map(|path| path.to_string_lossy().into_owned());
    for verb in ["check", "apply"] {
        let refused = rampart_there.run(&["--config", &wrong, verb, &rules]);
        assert_eq!(refused.status, 1, "{verb}");
        assert!(refused.stderr.contains(":2:1: error: unknown field `tcp_lose`"), "{}", refused.stderr);
    }
    let missing = rampart(&["--config", "/nowhere/rampart.toml", "check", &rules]);
    assert!(missing.stderr.contains("no such file"), "{}", missing.stderr);
    rampart_there.run(&["--config", &settings, "apply", &rules]).check();
    let status = rampart_there.run(&["status", "--json"]).success().json();
    assert_eq!(status["settings"]["conntrack"]["timeouts"]["udp_timeout"], 5);
    assert_eq!(status["timeouts"]["tcp_timeout_established"], 432_000);
    assert!(status["connections"]["capacity"].as_u64().is_some_and(|capacity| capacity >= 20_000), "{status}");
    let timeouts = rampart_there.run(&["conns", "--timeouts"]).success().stdout;
    assert!(timeouts.contains("udp_timeout                              5s  UDP"), "{timeouts}");
    assert!(timeouts.contains("(by default 30s)"), "{timeouts}");
}

/// Rules that would not let a connection begin do not end it, unless told so.
#[test]
fn connections_are_looked_at_again_with_new_rules() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let _ssh = connection(&pair, (SERVER, 22).into());
    let _https = connection(&pair, (SERVER, 443).into());
    let files = firewall_tests::command::Scratch::new();
    let stricter = files.write("stricter.nft", RULES.replace("{ 22, 443 }", "22"));
    let stricter = stricter.to_string_lossy().into_owned();
    let refused = || rampart.run(&["conns", "--refused", "--proto", "tcp", "--by", "port"]).success().stdout;
    assert_eq!(refused(), "");
    let counter = |stdout: &str| stdout.contains("1 connection would not be let begin by these rules, and live on");
    let told = rampart.run(&["apply", &stricter]).success().stdout;
    assert!(counter(&told) && told.contains("`rampart conns --refused` shows them") && !told.contains("-> "), "{told}");
    let skipped = rampart.run(&["apply", "--reevaluate=skip", &stricter]).success().stdout;
    assert!(!skipped.contains("connection"), "{skipped}");
    let listed = rampart.run(&["apply", "--reevaluate=list", &stricter]).success().stdout;
    assert!(counter(&listed) && listed.contains(&format!("-> {SERVER}:443 ")), "{listed}");
    assert_eq!(refused(), "1 tcp 443\n");
    let dropped = rampart.run(&["apply", "--reevaluate", &stricter]).success().stdout;
    assert!(dropped.contains("1 connection that these rules would not let begin forgotten"), "{dropped}");
    assert_eq!(refused(), "");
    let left = rampart.run(&["conns", "--proto", "tcp", "--by", "port"]).success().stdout;
    assert_eq!(left, "1 tcp 22\n");
}
