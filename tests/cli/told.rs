//! What commands do, told to every monitor and to the agent's sinks; and what programs tell of besides drops.

use std::{fs, time::Duration};

use firewall_tests::{
    command::{Background, Rampart, Scratch},
    sockets::{Outcome, PATIENTLY, TcpEcho, tcp_echo},
    topology::{Pair, SERVER},
};
use serde_json::Value;

use crate::{OTHER_RULES, RULES, host, rampart, write};

const PATIENCE: Duration = Duration::from_secs(10);

/// The events of a monitor, until one of this kind has come.
#[track_caller]
fn until(monitor: &Background, kind: &str) -> Value {
    let wanted = format!("\"event\":\"{kind}\"");
    let lines = monitor.lines_until(PATIENCE, |line| line.contains(&wanted));
    let last = lines.last().filter(|line| line.contains(&wanted));
    serde_json::from_str(last.unwrap_or_else(|| panic!("no {kind} in {lines:?}"))).expect("JSON")
}

/// Starts monitors and waits until each has begun: a ban of somebody is told of by all that have.
fn monitors<'a>(rampart: &'a Rampart<'a>, all: &[&[&str]]) -> Vec<Background> {
    let started: Vec<Background> = all.iter().map(|arguments| rampart.start(arguments)).collect();
    for monitor in &started {
        let mut number = 0;
        while !monitor
            .lines_until(Duration::from_millis(300), |line| line.contains("203.0.113."))
            .iter()
            .any(|line| line.contains("\"ban\"") || line.contains(" ban "))
        {
            number += 1;
            assert!(number < 50, "a monitor never begins");
            rampart.run(&["ban", &format!("203.0.113.{number}"), "--for", "1m"]).check();
        }
    }
    started
}

#[test]
fn a_change_of_rules_is_told_to_everybody() {
    let (host, files) = (host(), Scratch::new());
    let rampart_here = Rampart::on(&host);
    let monitor = rampart_here.start(&["monitor", "--json"]);
    // There is no instance yet, and what is wrong is told all the same.
    let bad = write(&files, "bad.nft", "table inet t { chain c { no such thing } }");
    let refused = loop {
        assert_eq!(rampart(&["apply", &bad, "--netns", host.name()]).status, 1);
        let lines = monitor.lines_until(Duration::from_millis(500), |line| line.contains("refused"));
        if let Some(line) = lines.iter().find(|line| line.contains("refused")) {
            break serde_json::from_str::<Value>(line).expect("JSON");
        }
    };
    assert_eq!((&refused["apply"]["result"], &refused["generation"]), (&"refused".into(), &0.into()), "{refused}");
    let good = write(&files, "good.nft", RULES);
    rampart(&["apply", &good, "--netns", host.name()]).check();
    let applied = loop {
        let event = until(&monitor, "apply");
        if event["apply"]["result"] != "refused" {
            break event;
        }
    };
    assert_eq!((&applied["apply"]["result"], &applied["generation"]), (&"applied".into(), &1.into()), "{applied}");
    assert_eq!((&applied["apply"]["rules"], &applied["apply"]["file"]), (&4.into(), &good.into()));
    assert!(applied["by"].is_string() && applied["packet"].is_null() && applied["schema"] == "rampart/1", "{applied}");
    let other = write(&files, "other.nft", OTHER_RULES);
    for (arguments, result, generation) in [
        (&["apply", &other, "--confirm", "60s"][..], "applied", 2),
        (&["rollback"], "rolled_back", 1),
        (&["apply", &other, "--confirm", "60s"], "applied", 3),
        (&["confirm"], "confirmed", 3),
        (&["stop"], "stopped", 0),
    ] {
        rampart(&[arguments, &["--netns", host.name()]].concat()).check();
        let event = until(&monitor, "apply");
        assert_eq!((&event["apply"]["result"], &event["generation"]), (&result.into(), &generation.into()), "{event}");
    }
}

#[test]
fn bans_reach_every_monitor_and_every_sink() {
    let (pair, files) = (Pair::new(), Scratch::new());
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let file = files.path().join("events.jsonl").to_string_lossy().into_owned();
    let _agent = rampart.start(&["agent", "--events-file", &file, "--filter", "ban", "--filter", "unban"]);
    let started = monitors(&rampart, &[&["monitor", "--json"], &["monitor"]]);
    let only_unban = rampart.start(&["monitor", "--json", "--filter", "unban", "--filter", "src=198.51.100.0/24"]);
    rampart.run(&["ban", "198.51.100.66", "--for", "10m", "--reason", "scans"]).check();
    let event = loop {
        let event = until(&started[0], "ban");
        if event["ban"]["source"] == "198.51.100.66" {
            break event;
        }
    };
    assert_eq!(
        (&event["ban"]["seconds"], &event["ban"]["reason"], &event["ban"]["new"]),
        (&600.into(), &"scans".into(), &true.into())
    );
    let lines = started[1].lines_until(PATIENCE, |line| line.contains("198.51.100.66"));
    assert!(
        lines
            .last()
            .is_some_and(|line| line.contains(" ban     198.51.100.66 for 10m, by ") && line.ends_with(": scans")),
        "{lines:?}"
    );
    // Whoever has begun by now is told, and a filter holds for these events as well.
    let mut lifted = Vec::new();
    for _ in 0..20 {
        rampart.run(&["ban", "198.51.100.66"]).check();
        rampart.run(&["unban", "198.51.100.66"]).check();
        rampart.run(&["unban", "--all"]).check();
        lifted = only_unban.lines_until(Duration::from_millis(500), |line| line.contains("unban"));
        if !lifted.is_empty() {
            break;
        }
    }
    assert!(!lifted.is_empty() && lifted.iter().all(|line| line.contains("198.51.100.66")), "{lifted:?}");
    let mut told = String::new();
    for _ in 0..100 {
        told = fs::read_to_string(&file).unwrap_or_default();
        if told.contains("\"event\":\"unban\"") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().any(|event| event["ban"]["reason"] == "scans"), "{told}");
    assert!(events.iter().any(|event| event["event"] == "unban"), "{told}");
}

#[test]
fn a_connection_that_ends_is_told_with_what_it_carried() {
    let pair = Pair::new();
    let rampart = Rampart::on(&pair.server);
    rampart.apply(RULES).check();
    let server = TcpEcho::start(&pair.server, (SERVER, 22));
    let monitor = rampart.start(&["monitor", "--json", "--filter", "closed", "--filter", "dport=22"]);
    let closed = (0..10).find_map(|_| {
        assert_eq!(tcp_echo(&pair.client, server.address(), PATIENTLY), Outcome::Connected);
        let lines = monitor.lines_until(Duration::from_secs(1), |line| line.contains("closed"));
        lines.first().map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
    });
    let closed = closed.expect("an event");
    assert_eq!((&closed["event"], &closed["packet"]["dport"]), (&"closed".into(), &22.into()), "{closed}");
    assert!(matches!(closed["closed"]["state"].as_str(), Some("TIME_WAIT" | "CLOSE")), "{closed}");
    for way in ["original", "reply"] {
        assert!(closed["closed"]["packets"][way].as_u64().is_some_and(|packets| packets >= 3), "{closed}");
        assert!(closed["closed"]["bytes"][way].as_u64().is_some_and(|bytes| bytes >= 150), "{closed}");
    }
    assert_eq!(closed["rule"]["line"], 6, "the rule that let it in: {closed}");
}

/// Bans and rulesets whose time is over: nobody gives a command, and it is told all the same.
#[test]
fn what_ends_by_itself_is_told() {
    let pair = Pair::new();
    let (rampart, files) = (Rampart::on(&pair.server), Scratch::new());
    rampart.apply(RULES).check();
    let started =
        monitors(&rampart, &[&["monitor", "--json"], &["monitor", "--json", "--filter", "ban", "--filter", "unban"]]);
    rampart.run(&["ban", "198.51.100.66", "--for", "4s"]).check();
    rampart.run(&["ban", "198.51.100.67", "--for", "1h"]).check();
    rampart.run(&["unban", "198.51.100.67"]).check();
    for monitor in &started {
        let (mut lifted, mut over) = (0, 0);
        while over == 0 || lifted == 0 {
            let event = until(monitor, "unban");
            match event["ban"]["source"].as_str() {
                Some("198.51.100.66") => over += u32::from(event["by"].is_null()),
                Some("198.51.100.67") => lifted += u32::from(event["by"].is_string()),
                other => panic!("{other:?} has an hour left: {event}"),
            }
        }
        assert_eq!((lifted, over), (1, 1));
    }
    let other = write(&files, "other.nft", OTHER_RULES);
    rampart.run(&["apply", &other, "--confirm", "2s"]).check();
    let event = loop {
        let event = until(&started[0], "apply");
        if event["apply"]["result"] != "applied" {
            break event;
        }
    };
    assert_eq!((&event["apply"]["result"], &event["generation"]), (&"rolled_back".into(), &1.into()), "{event}");
    assert!(event["by"].is_null() && event["apply"]["rules"] == 4, "{event}");
    let metrics = rampart.run(&["metrics"]).success().stdout;
    assert!(metrics.contains("rampart_last_apply_result{result=\"rolled_back\"} 1\n"), "{metrics}");
    assert!(metrics.contains("rampart_unconfirmed 0\n"), "{metrics}");
}
