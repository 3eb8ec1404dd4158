//! What the verbs print: text for people, JSON whose keys stay.

use std::time::Duration;

use firewall_tests::{
    command::{Rampart, Scratch},
    sockets::{BRIEFLY, Outcome, PATIENTLY, TcpEcho, ping, tcp_connect, tcp_echo},
    topology::{CLIENT, Pair, SERVER},
};
use serde_json::{Value, json};

use crate::{OTHER_RULES, RULES, host, rampart, write};

/// One ping and one connection that get through, one that does not.
fn traffic(pair: &Pair) {
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
    assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), Outcome::TimedOut);
}

#[track_caller]
fn keys(value: &Value, expected: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for key in expected {
        assert!(object.contains_key(*key), "no {key} in {value}");
    }
}

#[test]
fn every_verb_shows_the_same_traffic() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let applied = rampart.apply(RULES).success().stdout;
    assert!(applied.contains("generation 1 in force, 4 rules in 1 chain"), "{applied}");
    assert!(applied.contains("attached to eth0: in by native XDP"), "{applied}");
    traffic(&pair);

    let list = rampart.run(&["list"]).success().stdout;
    assert!(list.contains("icmp type echo-request counter packets 1 bytes 84 accept comment \"ping\"\n"), "{list}");
    let handles = rampart.run(&["list", "-a"]).success().stdout;
    assert!(handles.contains("table inet filter { # handle 1\n"), "{handles}");

    let conns = rampart.run(&["conns"]).success().stdout;
    let line = conns.lines().find(|line| line.starts_with("tcp")).unwrap_or_else(|| panic!("no TCP in {conns}"));
    assert!(line.contains(&format!("{CLIENT}:")) && line.contains(&format!("-> {SERVER}:22 ")), "{line}");
    assert!(line.contains("ruleset.nft:6"), "the rule that let it in: {line}");
    for (filters, count) in [
        (&["--proto", "tcp", "--dport", "22"][..], "1\n"),
        (&["--proto", "tcp", "--dport", "23"], "0\n"),
        (&["--src", "192.0.2.0/24", "--proto", "icmp"], "1\n"),
        (&["--src", "198.51.100.0/24"], "0\n"),
    ] {
        let arguments: Vec<_> = ["conns", "--count"].into_iter().chain(filters.iter().copied()).collect();
        assert_eq!(rampart.run(&arguments).success().stdout, count, "{filters:?}");
    }

    let counters = rampart.run(&["counters", "-i", "eth0"]).success().stdout;
    assert!(counters.starts_with("eth0\n  received "), "{counters}");
    assert!(counters.contains("rule (ruleset): a rule said drop"), "{counters}");
    assert!(!counters.contains("ipv4_truncated"), "only reasons that happened: {counters}");
    assert_eq!(rampart.run(&["counters", "-i", "eth7"]).status, 1);

    let status = rampart.run(&["status"]).success().stdout;
    assert!(status.contains("generation  1\n") && status.contains("eth0: in by native XDP, out by tcx"), "{status}");
}

/// `[attach]` has tc meet what XDP would, and says so.
#[test]
fn settings_choose_tc() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let files = Scratch::new();
    let (file, settings) = (write(&files, "rules.nft", RULES), write(&files, "r.toml", "[attach]\ntc = [\"eth*\"]\n"));
    let applied = rampart.run(&["--config", &settings, "apply", &file]).success().stdout;
    assert!(applied.contains("in by tc, out by tcx (the settings want it ([attach], tc))"), "{applied}");
    traffic(&pair);
    let status = rampart.run(&["status", "--json"]).success().json();
    assert_eq!(
        (&status["interfaces"][0]["ingress"], &status["settings"]["attach"]["tc"][0]),
        (&json!("tc"), &json!("eth*"))
    );
}

#[test]
fn the_schemas() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let files = Scratch::new();
    let file = write(&files, "rules.nft", RULES);
    let applied = rampart.run(&["apply", "--json", &file]).success().json();
    keys(&applied, &["schema", "generation", "rules", "attached", "kept", "verified_instructions", "seconds"]);
    traffic(&pair);

    let status = rampart.run(&["status", "--json"]).success().json();
    assert_eq!((&status["schema"], &status["generation"]), (&json!("rampart/1"), &json!(1)));
    let interface = &status["interfaces"][0];
    assert_eq!((&interface["name"], &interface["ingress"]), (&json!("eth0"), &json!("native")));
    assert!(["tcx", "clsact"].contains(&interface["egress"].as_str().unwrap_or("")), "{interface}");

    let conns = rampart.run(&["conns", "--json", "--proto", "tcp"]).success().json();
    assert_eq!(conns["schema"], "rampart/1");
    let conn = &conns["conns"][0];
    keys(conn, &["proto", "state", "original", "reply", "packets", "bytes", "age", "expires", "rule"]);
    assert_eq!((&conn["original"]["src"], &conn["reply"]["dst"]), (&json!(CLIENT), &json!(CLIENT)));
    assert_eq!((&conn["original"]["dport"], &conn["rule"]["line"]), (&json!(22), &json!(6)));
    assert!(conn["packets"]["original"].as_u64() > Some(2), "{conn}");

    let counters = rampart.run(&["counters", "--json"]).success().json();
    let eth0 = &counters["interfaces"]["eth0"];
    keys(eth0, &["received", "received_bytes", "passed", "dropped", "egress"]);
    let dropped = eth0["dropped"].as_object().expect("an object");
    let sum: u64 = dropped.values().filter_map(Value::as_u64).sum();
    let total = |key: &str| eth0[key].as_u64().expect("a number");
    assert!(dropped.contains_key("rule"), "{eth0}");
    assert_eq!(total("received"), total("passed") + sum, "every packet is counted once: {eth0}");

    let list = rampart.run(&["list", "--json"]).success().json();
    keys(&list["nftables"][0], &["metainfo"]);
    assert!(list.to_string().contains(r#""counter":{"packets":1,"bytes":84}"#), "{list}");

    let stopped = rampart.run(&["stop", "--json"]).success().json();
    assert_eq!((&stopped["was_running"], &stopped["interfaces"]), (&json!(true), &json!(["eth0"])));
    let again = rampart.run(&["stop", "--json"]).success().json();
    assert_eq!(again["was_running"], false);
}

#[test]
fn what_list_prints_can_be_applied_and_counts_are_kept() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    assert_eq!(ping(&pair.client, SERVER, PATIENTLY), Outcome::Connected);
    let listed = rampart.run(&["list"]).success().stdout;
    rampart.apply(&listed).check();
    assert_eq!(rampart.run(&["list"]).success().stdout, listed);
    rampart.apply(OTHER_RULES).check();
    let other = rampart.run(&["list"]).success().stdout;
    assert!(other.contains("counter packets 1 bytes 84 accept comment \"ping\""), "{other}");
}

#[test]
fn verbs_say_when_nothing_is_in_force() {
    let host = host();
    for verb in ["list", "conns", "counters", "confirm", "rollback"] {
        let output = rampart(&[verb, "--netns", host.name()]);
        assert_eq!((output.status, output.stdout.as_str()), (3, ""), "`{}`", output.line);
        crate::assert_one_line(&output, &[verb, "no ruleset is applied"]);
    }
    let stop = rampart(&["stop", "--netns", host.name()]).success();
    assert_eq!(stop.stdout, "nothing was in force here\n");
}

#[test]
fn an_unconfirmed_ruleset_goes_by_itself() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    let files = Scratch::new();
    let other = write(&files, "other.nft", OTHER_RULES);
    rampart.apply(RULES).check();
    let said = rampart.run(&["apply", &other, "--confirm", "2s"]).success().stdout;
    assert!(said.contains("say `rampart confirm` within 2s"), "{said}");
    let status = rampart.run(&["status", "--json"]).success().json();
    assert_eq!((&status["generation"], &status["trial"]["state"]), (&json!(2), &json!("waiting")));
    let expired = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        rampart.run(&["status", "--json"]).success().json()["trial"]["state"] == "expired"
    });
    assert!(expired, "the time to confirm passes");
    assert_eq!(rampart.run(&["status", "--json"]).success().json()["generation"], 1);
    assert!(rampart.run(&["list"]).success().stdout.contains("policy drop"), "the rules before are shown");
    let late = rampart.run(&["confirm"]);
    assert_eq!(late.status, 3, "{}", late.stderr);
    crate::assert_one_line(&late, &["confirm", "has passed"]);

    rampart.run(&["apply", &other, "--confirm", "1h"]).check();
    rampart.run(&["confirm"]).check();
    assert_eq!(rampart.run(&["status", "--json"]).success().json()["trial"], Value::Null);
    rampart.run(&["rollback"]).check();
    assert!(rampart.run(&["list"]).success().stdout.contains("policy drop"));
}
