use clap::Parser;
use firewall_common::{
    conntrack::{Phase, TICK_NS_SHIFT, ticks_of_seconds},
    packet::NFPROTO_IPV6,
};

use super::*;
use crate::{
    cli::{Cli, Verb},
    compile::RuleRecord,
};

const NOW: u32 = 100_000;

fn tail(low_port: u64, high_port: u64, protocol: u64, family: u32) -> u64 {
    low_port << 48 | high_port << 32 | protocol << 8 | u64::from(family)
}

fn tcp(originator_is_high: u16) -> Conn {
    let entry = Entry {
        key: FlowKey { low: [0xc000_0201, 0], high: [0xc000_0202, 0], tail: tail(40_000, 22, 6, NFPROTO_IPV4) },
        created: NOW - ticks_of_seconds(12),
        originator_is_high,
        packets: [12, 10],
        bytes: [1234, 5678],
        ..Entry::default()
    };
    let state = State::new(Phase::Established).replied().assured();
    Conn::new(Slot::new(0, state, NOW + ticks_of_seconds(432_000)), &entry, NOW)
}

fn ping6() -> Conn {
    let entry = Entry {
        key: FlowKey {
            low: [0x2001_0db8_0000_0000, 1],
            high: [0x2001_0db8_0000_0000, 2],
            tail: tail(77, 77, 58, NFPROTO_IPV6),
        },
        created: NOW + 1,
        mark: 0x10,
        packets: [1, 0],
        bytes: [64, 0],
        ..Entry::default()
    };
    Conn::new(Slot::new(0, State::new(Phase::Open), NOW - 1), &entry, NOW)
}

fn rule() -> RuleRecord {
    RuleRecord {
        number: 0,
        handle: 7,
        identity: String::new(),
        family: "inet".to_owned(),
        table: "filter".to_owned(),
        chain: "input".to_owned(),
        file: "demo.nft".to_owned(),
        line: 23,
        text: "tcp dport 22 counter accept".to_owned(),
        comment: None,
        counters: Vec::new(),
        logs: Vec::new(),
        limits: Vec::new(),
        quotas: Vec::new(),
    }
}

#[test]
fn a_line_names_the_ends_as_the_first_packet_had_them() {
    let rule = rule();
    assert_eq!(
        tcp(0).line(&Author::Rule(&rule)),
        "tcp    ESTABLISHED 192.0.2.1:40000 -> 192.0.2.2:22  \
         packets 12/10 bytes 1234/5678 age 12s expires 5d demo.nft:23\n"
    );
    assert!(tcp(1).line(&Author::Nobody).contains("192.0.2.2:22 -> 192.0.2.1:40000"));
}

#[test]
fn a_query_has_an_identifier_and_no_ports() {
    // Both clocks are a tick apart: that is no age of 36 years.
    assert_eq!(
        ping6().line(&Author::Forgotten),
        "icmpv6 UNREPLIED   2001:db8::1 -> 2001:db8::2  packets 1/0 bytes 64/0 age 0s expires 0s \
         id 77 mark 0x00000010 a ruleset before\n"
    );
    let json = ping6().json(&Author::Nobody);
    assert_eq!(json["original"], json!({ "src": "2001:db8::1", "dst": "2001:db8::2", "id": 77 }));
}

#[test]
fn the_schema() {
    let rule = rule();
    let json = tcp(0).json(&Author::Rule(&rule));
    assert_eq!(json["proto"], "tcp");
    assert_eq!(json["state"], "ESTABLISHED");
    assert_eq!(json["original"], json!({ "src": "192.0.2.1", "dst": "192.0.2.2", "sport": 40000, "dport": 22 }));
    assert_eq!(json["reply"], json!({ "src": "192.0.2.2", "dst": "192.0.2.1", "sport": 22, "dport": 40000 }));
    assert_eq!(json["packets"], json!({ "original": 12, "reply": 10 }));
    assert_eq!(json["bytes"], json!({ "original": 1234, "reply": 5678 }));
    assert_eq!((&json["age"], &json["expires"]), (&json!(12), &json!(432_000)));
    assert_eq!((&json["rule"]["file"], &json["rule"]["line"]), (&json!("demo.nft"), &json!(23)));
    assert_eq!(TICK_NS_SHIFT, 28, "the ages above are in ticks of this length");
}

#[test]
fn filters() {
    let wanted = |conn: &Conn, filters: &str| {
        let line = format!("rampart conns {filters}");
        let cli = Cli::try_parse_from(line.split_whitespace()).expect(&line);
        let Verb::Conns(wanted) = cli.verb else { panic!("{line}") };
        conn.is_wanted(&wanted.filter)
    };
    let rows = [
        ("", true),
        ("--proto tcp", true),
        ("--proto 17", false),
        ("--state established", true),
        ("--state SYN_SENT", false),
        ("--src 192.0.2.0/24 --dst 192.0.2.2", true),
        ("--src 192.0.2.2", false),
        ("--dst 2001:db8::/32", false),
        ("--sport 40000 --dport 22", true),
        ("--dport 40000", false),
        ("--proto tcp --dport 23", false),
        ("--family ipv4 --zone 0 --mark 0", true),
        ("--family 6", false),
        ("--zone 1", false),
        ("--mark 0x10/0xf0", false),
        ("--mark 0/0xf0", true),
        ("--older-than 11s", true),
        ("--older-than 12s", false),
    ];
    for (filters, expected) in rows {
        assert_eq!(wanted(&tcp(0), filters), expected, "{filters}");
    }
    assert!(wanted(&ping6(), "--proto icmpv6 --src 2001:db8::1 --state unreplied"));
    assert!(wanted(&ping6(), "-f ipv6 --mark 0x10/0xf0") && wanted(&ping6(), "--mark 16"));
    assert!(!wanted(&ping6(), "--sport 77"), "an identifier is no port");
}
