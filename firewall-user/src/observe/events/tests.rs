use firewall_common::{
    image::POLICY,
    packet::{NFPROTO_IPV4, NO_L4},
};

use super::*;
use crate::{
    compile,
    language::{self, Options},
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        tcp dport 22 accept
        tcp dport 23 counter log prefix \"telnet: \" level info drop comment \"no telnet\"
    }
}";

const CLOCK: Clock = Clock::since(1_700_000_000_000_000_000);

fn manifest() -> Manifest {
    let parsed = language::parse_text("demo.nft", RULES, &Options::default()).expect("the rules are right");
    compile::compile(&parsed.ruleset, None).expect("and small").manifest
}

/// A word of a TCP header, as the program keeps it.
const fn of_tcp(value: u32) -> u32 {
    6 << 16 | value
}

fn syn(kind: Kind, reason: Reason, rule: u32) -> Event {
    Event {
        time_ns: 1_500_000_000,
        kind: kind as u32,
        generation: 3,
        reason: reason as u32,
        rule,
        hook: Hook::Input as u32,
        length: 74,
        ct_state: CtState::New as u32,
        nfproto: NFPROTO_IPV4,
        protocol: 6,
        source: [0xc633_6407, 0, 0, 0],
        destination: [0xcb00_710a, 0, 0, 0],
        source_port: of_tcp(40_000),
        destination_port: of_tcp(23),
        tcp_flags: of_tcp(0x02),
        icmp: NO_L4,
        ..Event::default()
    }
}

fn line(event: &Event, manifest: Option<&Manifest>) -> String {
    Seen::new(event, "eth0", manifest).expect("known numbers").line(CLOCK)
}

#[test]
fn a_drop_names_rule_layer_and_what_the_sender_sees() {
    let manifest = manifest();
    assert_eq!(
        line(&syn(Kind::Dropped, Reason::Rule, 1), Some(&manifest)),
        "22:13:21.500Z dropped in eth0 tcp 198.51.100.7:40000 -> 203.0.113.10:23 flags S ct new, \
         rule (ruleset): rule demo.nft:5 \"no telnet\"; the sender sees: connection timed out"
    );
    assert_eq!(
        line(&syn(Kind::Dropped, Reason::Policy, POLICY), Some(&manifest)),
        "22:13:21.500Z dropped in eth0 tcp 198.51.100.7:40000 -> 203.0.113.10:23 flags S ct new, \
         policy (ruleset): policy drop of chain input in table inet filter; the sender sees: connection timed out"
    );
    let forgotten = line(&syn(Kind::Dropped, Reason::Rule, 1), None);
    assert!(forgotten.contains("rule (ruleset): a rule of a ruleset before;"), "{forgotten}");
}

#[test]
fn a_malformed_packet_is_explained_without_rules() {
    let event = Event {
        kind: Kind::Dropped as u32,
        reason: Reason::EthernetTruncated as u32,
        rule: firewall_common::image::NO_RULE,
        length: 13,
        ..Event::default()
    };
    assert_eq!(
        line(&event, Some(&manifest())),
        "22:13:20.000Z dropped in eth0 frame of 13 bytes, ethernet_truncated (link): \
         the frame ends inside the Ethernet header; the sender sees: no answer"
    );
}

#[test]
fn log_statements_and_new_connections() {
    let manifest = manifest();
    assert_eq!(
        line(&syn(Kind::Logged, Reason::None, 1), Some(&manifest)),
        "22:13:21.500Z logged  \"telnet: \" in eth0 tcp 198.51.100.7:40000 -> 203.0.113.10:23 flags S ct new, \
         rule demo.nft:5 \"no telnet\""
    );
    let outgoing = Event { hook: Hook::Output as u32, ..syn(Kind::New, Reason::None, 0) };
    assert_eq!(
        line(&outgoing, Some(&manifest)),
        "22:13:21.500Z new     out eth0 tcp 198.51.100.7:40000 -> 203.0.113.10:23 flags S ct new, rule demo.nft:4"
    );
}

#[test]
fn how_many_more_there_were_is_told() {
    let event = Event { more: 412_006, ..syn(Kind::Dropped, Reason::Banned, 0) };
    let line = line(&event, None);
    assert!(line.ends_with(" (412,006 more)"), "{line}");
}

#[test]
fn the_schema() {
    let manifest = manifest();
    let event = Event { suppressed: 4, more: 3, ..syn(Kind::Dropped, Reason::Rule, 1) };
    let json = Seen::new(&event, "eth0", Some(&manifest)).expect("known numbers").json(CLOCK);
    let expected = [
        ("schema", json!("rampart/1")),
        ("event", json!("dropped")),
        ("time", json!("2023-11-14T22:13:21.500Z")),
        ("generation", json!(3)),
        ("hook", json!("input")),
        ("interface", json!("eth0")),
        ("reason", json!("rule")),
        ("layer", json!("ruleset")),
        ("peer_sees", json!("connection timed out")),
        ("policy", Value::Null),
        ("log", Value::Null),
        ("ct_state", json!("new")),
        ("suppressed", json!(4)),
        ("more", json!(3)),
    ];
    for (key, value) in expected {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(json["rule"]["line"], 5);
    assert_eq!(json["packet"]["dport"], 23);
    let json = Seen::new(&syn(Kind::Logged, Reason::None, 1), "eth0", Some(&manifest)).expect("known").json(CLOCK);
    assert_eq!(json["log"], json!({ "prefix": "telnet: ", "level": "info" }));
    assert_eq!((&json["reason"], &json["peer_sees"]), (&Value::Null, &Value::Null));
    let event = syn(Kind::Dropped, Reason::Policy, POLICY);
    let json = Seen::new(&event, "eth0", Some(&manifest)).expect("known numbers").json(CLOCK);
    assert_eq!(json["policy"]["chain"], "input");
}

#[test]
fn filters_of_a_kind_add_up_and_kinds_must_all_hold() {
    let event = syn(Kind::Dropped, Reason::Policy, POLICY);
    let seen = Seen::new(&event, "eth0", None).expect("known numbers");
    let rows: [(&[&str], bool); 10] = [
        (&[], true),
        (&["dropped"], true),
        (&["new", "logged"], false),
        (&["new", "dropped"], true),
        (&["dport=22", "dport=23"], true),
        (&["dropped", "dport=22"], false),
        (&["host=203.0.113.0/24", "port=40000", "proto=tcp"], true),
        (&["src=203.0.113.0/24"], false),
        (&["reason=policy", "layer=ruleset", "hook=input", "interface=eth0"], true),
        (&["interface=eth1"], false),
    ];
    for (texts, expected) in rows {
        let filters: Vec<EventFilter> = texts.iter().map(|text| text.parse().expect(text)).collect();
        assert_eq!(seen.is_wanted(&filters), expected, "{texts:?}");
    }
}

#[test]
fn numbers_of_another_version_are_passed_over() {
    let manifest = manifest();
    for event in [
        Event { kind: 99, ..syn(Kind::New, Reason::None, 0) },
        Event { reason: 99, ..syn(Kind::Dropped, Reason::Rule, 0) },
        Event { hook: 99, ..syn(Kind::New, Reason::None, 0) },
    ] {
        assert!(Seen::new(&event, "eth0", Some(&manifest)).is_none());
    }
    let beyond = syn(Kind::Dropped, Reason::Rule, 1000);
    assert!(line(&beyond, Some(&manifest)).contains("a rule of a ruleset before"));
}

#[test]
fn a_new_connection_shows_both_sides_of_its_translation() {
    let plain = syn(Kind::New, Reason::None, 0);
    let event = Event {
        translated: [[0xcb00_7101, 0, 0, 0], [0xc000_0201, 0, 0, 0]],
        translated_ports: [40_001, 8443],
        ..plain
    };
    let text = line(&event, None);
    assert!(
        text.contains("198.51.100.7:40000 -> 203.0.113.10:23 flags S nat 203.0.113.1:40001 -> 192.0.2.1:8443 ct new"),
        "{text}"
    );
    let json = |event: &Event| Seen::new(event, "eth0", None).expect("known numbers").json(CLOCK)["nat"].clone();
    assert_eq!(
        json(&event),
        serde_json::json!({ "src": "203.0.113.1", "dst": "192.0.2.1", "sport": 40_001, "dport": 8443 })
    );
    // Of a ping no ports are told.
    let ping = Event { translated_ports: [0; 2], ..event };
    assert_eq!(json(&ping), serde_json::json!({ "src": "203.0.113.1", "dst": "192.0.2.1" }));
    // A rule that gives a connection what it has changes nothing.
    let same = Event { translated: [plain.source, plain.destination], translated_ports: [40_000, 23], ..plain };
    assert_eq!((json(&same), json(&plain)), (serde_json::Value::Null, serde_json::Value::Null));
}
