//! The fast path, seen: `why` and `trace` say that a packet takes it, events name where it came in, and every packet is in the sum.

use std::{net::UdpSocket, time::Duration};

use firewall_tests::{
    command::Rampart,
    topology::{CLIENT, FAR_SERVER, INTERFACE, Routed, SECOND_INTERFACE},
};
use serde_json::Value;

use super::{At, BOTH, FAST, PATIENCE, Talk, apply, prepare, settings, ways};

fn routed(at: At) -> Routed {
    let routed = Routed::new();
    prepare(at, &[&routed.client, &routed.server]);
    routed
}

/// A question and its answer again and again, so that they take the fast path; both ends.
fn datagrams(routed: &Routed) -> (UdpSocket, UdpSocket) {
    let far = routed.server.run(|| UdpSocket::bind((FAR_SERVER, 5000)).expect("bound"));
    let near = routed.client.run(|| UdpSocket::bind((CLIENT, 4000)).expect("bound"));
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }
    for _ in 0..5 {
        near.send_to(b"there", (FAR_SERVER, 5000)).expect("sent");
        far.recv_from(&mut [0; 5]).expect("it comes");
        far.send_to(b"back", (CLIENT, 4000)).expect("sent");
        near.recv_from(&mut [0; 4]).expect("it comes");
    }
    (near, far)
}

#[test]
fn why_and_trace_follow_it() {
    for at in BOTH {
        let routed = routed(at);
        let live = apply(&routed.router, FAST, settings(at));
        let (near, far) = datagrams(&routed);
        let ask = |words: &[&str]| live.run(&[&["why", "udp", "192.0.2.1:4000"], words].concat()).success();
        let known = ["198.51.100.1:5000", "--in", INTERFACE];
        let text = ask(&known).stdout;
        assert!(text.contains("  fast path   past rules and stack") && text.contains(" \"added\"\n"), "{text}");
        let json = ask(&[&known[..], &["--json"]].concat()).json();
        let of =
            |json: &Value| (json["fast_path"] == true, json["verdict"] == "accept", json["rule"]["comment"].clone());
        assert_eq!(of(&json), (true, true, "added".into()), "{json}");
        let other = ask(&["198.51.100.1:5001", "--in", INTERFACE, "--json"]).json();
        assert_eq!(of(&other), (false, true, Value::Null), "{other}");

        let trace = Rampart::on(&routed.router);
        let watching = trace.start(&["trace", "dport=5000", "--count", "1", "--for", "2m", "--json"]);
        let mut lines = Vec::new();
        for _ in 0..600 {
            near.send_to(b"there", (FAR_SERVER, 5000)).expect("sent");
            far.recv_from(&mut [0; 5]).expect("it comes");
            lines = watching.lines_until(Duration::from_millis(100), |line| line.starts_with('{'));
            if !lines.is_empty() {
                break;
            }
        }
        let json: Value = serde_json::from_str(lines.last().expect("a packet")).expect("JSON");
        assert_eq!(of(&json), (true, true, "added".into()), "{json}");
        assert_eq!((&json["interface"], &json["direction"]), (&INTERFACE.into(), &"in".into()), "{json}");
        std::mem::forget(trace);
    }
}

/// What is forwarded has an interface that it leaves by; an event names the one it came in by.
#[test]
fn a_forwarded_packet_is_told_of_where_it_came_in() {
    let routed = Routed::new();
    let rampart = Rampart::on(&routed.router);
    rampart.apply("table ip t { chain c { type filter hook forward priority 0; udp dport 9 drop; }; }").check();
    let monitor = rampart.start(&["monitor", "--json", "--filter", "dropped", "--filter", "dport=9"]);
    for (from, to, interface) in [(&routed.client, FAR_SERVER, INTERFACE), (&routed.server, CLIENT, SECOND_INTERFACE)] {
        let socket = from.run(|| UdpSocket::bind(("0.0.0.0", 0)).expect("bound"));
        let lines = (0..30).find_map(|_| {
            socket.send_to(b"x", (to, 9)).expect("sent");
            let wanted = format!("\"dst\":\"{to}\"");
            let lines = monitor.lines_until(Duration::from_secs(1), |line| line.contains(&wanted));
            lines.into_iter().find(|line| line.contains(&wanted))
        });
        let event: Value = serde_json::from_str(&lines.expect("an event")).expect("JSON");
        assert_eq!((&event["interface"], &event["hook"]), (&interface.into(), &"forward".into()), "{event}");
    }
}

/// Transfers on the fast path while the agent is killed: every packet is in one of the outcomes of its interface, and counted as redirected.
#[test]
fn every_packet_is_in_the_sum_whoever_is_killed() {
    for at in BOTH {
        let routed = routed(at);
        let live = apply(&routed.router, FAST, settings(at));
        let rampart = Rampart::on(&routed.router);
        let mut agent = Some(rampart.start(&["agent"]));
        let mut talk = Talk::begin(&routed.client, &routed.server, FAR_SERVER.into());
        for round in 0..6 {
            talk.exchange(200_000);
            if round == 2 {
                agent.take().expect("once").kill();
            }
            // These compare the sum of all outcomes with what was seen.
            let (fast, ..) = ways(&live, INTERFACE);
            assert!(fast > 0, "{at:?}");
            let metrics = live.run(&["metrics"]).success().stdout;
            let of = |family: &str| -> u64 {
                let lines = metrics.lines().filter(|line| {
                    line.starts_with(&format!("{family}{{")) && line.contains("\"eth0\"") && line.contains("\"in\"")
                });
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
            };
            let [seen, passed, redirected, dropped] =
                ["seen", "passed", "redirected", "dropped"].map(|name| of(&format!("rampart_{name}_packets_total")));
            assert!(redirected > 0, "{metrics}");
            assert_eq!(seen, passed + redirected + dropped, "{metrics}");
            assert!(
                metrics
                    .lines()
                    .filter(|line| line.starts_with("rampart_unexplained_packets{"))
                    .all(|line| line.ends_with(" 0"))
            );
        }
        std::mem::forget(rampart);
    }
}
