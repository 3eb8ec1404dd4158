//! `rampart doctor`.

use firewall_tests::command::{Output, Rampart};
use serde_json::Value;

use crate::{RULES, host};

/// The findings about a subject: level and text.
#[track_caller]
fn about(output: &Output, subject: &str) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let json = output.json();
    let findings = json["findings"].as_array().cloned().unwrap_or_default();
    let found = findings.iter().filter(|finding| finding["subject"] == subject);
    found.map(|finding| (word(&finding["level"]), word(&finding["text"]))).collect()
}

#[test]
fn without_rules_nothing_is_wrong() {
    let host = host();
    let rampart = Rampart::on(&host);
    let output = rampart.run(&["doctor", "--json"]).success();
    assert_eq!(about(&output, "kernel")[0].0, "ok");
    assert_eq!(about(&output, "rules")[0].0, "note");
    assert_eq!(about(&output, "eth0"), [("note".to_owned(), "it is up and not attached".to_owned())]);
}

#[test]
fn an_interface_that_came_later_is_found() {
    let host = host();
    let rampart = Rampart::on(&host);
    rampart.apply(RULES).check();
    let output = rampart.run(&["doctor", "--json"]).success();
    assert_eq!(about(&output, "rules")[0].0, "ok");
    assert_eq!(about(&output, "eth0"), [("ok".to_owned(), "in by native XDP, out by tcx".to_owned())]);
    host.ip("link add late type veth peer name wire1");
    host.ip("link set late up");
    let output = rampart.run(&["doctor", "--json"]);
    assert_eq!(output.status, 1, "{}", output.stderr);
    assert_eq!(about(&output, "late")[0].0, "problem");
    let text = rampart.run(&["doctor"]).stdout;
    assert!(text.contains("its packets pass unfiltered") && text.contains("`rampart apply`"), "{text}");
    rampart.apply(RULES).check();
    assert_eq!(rampart.run(&["doctor"]).status, 0);
}

#[test]
fn the_kernels_own_rules_are_named() {
    let host = host();
    let rampart = Rampart::on(&host);
    let rules = "table inet other { chain in { type filter hook input priority 0; policy drop; }; }";
    let referee = firewall_tests::referee::Referee::load(&host, rules);
    let output = rampart.run(&["doctor", "--json"]).success();
    let others = about(&output, "others");
    assert!(others.len() == 1 && others[0].1.contains("chain in of table inet other"), "{others:?}");
    referee.replace("");
    assert!(about(&rampart.run(&["doctor", "--json"]).success(), "others").is_empty());
}
