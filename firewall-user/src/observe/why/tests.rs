use firewall_common::{
    image::POLICY,
    trail::{AT_HOOK, AT_POLICY, AT_RULE},
};

use super::*;
use crate::{
    compile::compile,
    language::{Options, parse_text},
    packets::Spec,
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        tcp dport 22 accept
        ip saddr 192.0.2.0/24 tcp dport 23 drop
    }
}";

fn manifest() -> Manifest {
    let parsed = parse_text("web.nft", RULES, &Options::default()).expect("a ruleset");
    compile(&parsed.ruleset, None).expect("compiled").manifest
}

fn trail(packet: &str, verdict: Reason, rule: u32, steps: &[u32]) -> Trail {
    let mut trail = Trail::EMPTY;
    let frame = Spec::parse(&packet.split(' ').collect::<Vec<_>>()).expect("a packet").frame();
    parse(&frame[..], Start::ETHERNET, &mut trail.packet).expect("well-formed");
    trail.packet.set(Field::CtState, CtState::New as u32);
    trail.verdict = verdict as u32;
    trail.rule = rule;
    trail.steps[..steps.len()].copy_from_slice(steps);
    trail.step_count = steps.len() as u32;
    trail
}

#[test]
fn a_policy_names_what_is_missing() {
    let manifest = manifest();
    let policy = AT_RULE | AT_POLICY;
    let trail = trail("tcp 198.51.100.7 203.0.113.10:443", Reason::Policy, POLICY, &[AT_HOOK | 1, policy]);
    let report = Report::new(&trail, &manifest, &|_| None, "eth0");
    let text = report.text();
    assert!(text.contains("in eth0 tcp 198.51.100.7:40000 -> 203.0.113.10:443"), "{text}");
    assert!(text.contains("verdict     drop (policy, ruleset) by policy drop of chain input"), "{text}");
    assert!(text.contains("the sender sees: connection timed out"), "{text}");
    assert!(text.contains("no rule in chain input accepts tcp 443 from 198.51.100.7"), "{text}");
    assert!(text.contains("`ip saddr 198.51.100.7 tcp dport 443 accept` in chain input"), "{text}");
    let json = report.json();
    assert_eq!((&json["verdict"], &json["reason"], &json["hook"]), (&"drop".into(), &"policy".into(), &"input".into()));
    assert_eq!(json["rule"], Value::Null);
    assert_eq!(json["policy"]["chain"], "input");
    assert_eq!(json["conntrack"]["state"], "new");
}

#[test]
fn a_rule_is_named_by_file_and_line() {
    let manifest = manifest();
    let trail = trail("tcp 192.0.2.7 203.0.113.10:23", Reason::Rule, 1, &[AT_HOOK | 1, AT_RULE | 1]);
    let report = Report::new(&trail, &manifest, &|_| None, "eth0");
    assert!(report.text().contains("web.nft:5  ip saddr 192.0.2.0/24 tcp dport 23 drop  [match]"), "{}", report.text());
    assert!(report.text().contains("in front of web.nft:5 (chain input)"), "{}", report.text());
    assert_eq!(report.json()["stages"][0]["rules"][0]["rule"]["line"], 5);
}

#[test]
fn an_answer_to_the_sender_is_a_reject() {
    let manifest = manifest();
    let trail = trail("tcp 192.0.2.7:5 203.0.113.10:23", Reason::Rule, 1, &[AT_HOOK | 1, AT_RULE | 1]);
    let mut report = Report::new(&trail, &manifest, &|_| None, "eth0");
    assert_eq!(report.outcome(), Outcome::Drop);
    let reset = Spec::parse(&["tcp", "203.0.113.10:23", "192.0.2.7:5", "flags", "rst,ack"]).expect("a packet").frame();
    report.left = Some(&reset);
    assert_eq!((report.outcome(), report.peer_sees()), (Outcome::Reject, "connection refused"));
}

#[test]
fn a_packet_that_is_translated_says_into_what() {
    let manifest = manifest();
    let trail = trail("tcp 192.0.2.7:5 203.0.113.10:22", Reason::None, 0, &[AT_HOOK | 1, AT_RULE]);
    let mut report = Report::new(&trail, &manifest, &|_| None, "eth0");
    let left = Spec::parse(&["tcp", "192.0.2.7:5", "203.0.113.99:2222"]).expect("a packet").frame();
    report.left = Some(&left);
    assert!(report.text().contains("translated  tcp 192.0.2.7:5 -> 203.0.113.99:2222"), "{}", report.text());
    assert_eq!(report.json()["nat"]["dst"], "203.0.113.99");
}

#[test]
fn a_malformed_packet_is_not_the_rules_fault() {
    let manifest = manifest();
    let trail = trail("tcp 192.0.2.7:5 203.0.113.10:22", Reason::TcpDataOffset, NO_RULE, &[]);
    let report = Report::new(&trail, &manifest, &|_| None, "eth0");
    assert!(report.text().contains("drop (tcp_data_offset, transport): the TCP data offset"), "{}", report.text());
    assert!(report.advice()[0].contains("malformed"));
}
