//! The picture, on a terminal that is none.

use firewall_common::{image::NO_RULE, verdict::REASONS};
use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    compile::compile,
    language::{Options, parse_text},
    observe::clock::Clock,
};

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        tcp dport 22 counter accept comment \"ssh\"
        udp dport 53 counter accept
        tcp dport 23 counter drop
    }
}";

fn counter(packets: u64, bytes: u64) -> Counter {
    Counter { packets, bytes }
}

/// `eth0` at a second: it received so many packets that passed, so many that a rule dropped, and one was malformed.
fn sample(second: u64, passed: u64, dropped: u64) -> Sample {
    let mut eth0 = InterfaceCounters { ingress: [Counter::default(); REASONS], egress: [Counter::default(); REASONS] };
    eth0.ingress[PASSED] = counter(passed, passed * 125);
    eth0.ingress[Reason::Rule as usize] = counter(dropped, dropped * 60);
    eth0.ingress[Reason::TcpFlags as usize] = counter(1, 60);
    eth0.ingress[Reason::Rejected as usize] = counter(2, 60);
    eth0.egress[PASSED] = counter(passed / 2, passed * 10);
    let connection = |port: u64, state, source: [u8; 4], bytes| Connection {
        id: (FlowKey { low: [port, 0], ..FlowKey::default() }, 7),
        state,
        source: source.into(),
        destination: [203, 0, 113, 10].into(),
        counted: counter(bytes / 100, bytes),
    };
    let drop = |last: u8, reason, port: u32| Dropped {
        source: [0xc633_6400 | u32::from(last), 0, 0, 0],
        nfproto: 2,
        first_ns: 1,
        last_ns: 5_000_000_000,
        packets: u64::from(last),
        reason: reason as u32,
        rule: if reason == Reason::Rule { 2 } else { NO_RULE },
        generation: 3,
        destination_port: 6 << 16 | port,
        ifindex: 2,
    };
    Sample {
        at_ns: second * 1_000_000_000,
        interfaces: vec![("eth0".to_owned(), eth0)],
        rules: [(0, counter(passed, 0)), (1, counter(0, 0)), (2, counter(dropped, 0))].into(),
        connections: Some(vec![
            connection(1, "ESTABLISHED", [198, 51, 100, 7], passed * 100),
            connection(2, "ESTABLISHED", [198, 51, 100, 8], 500),
            connection(3, "SYN_SENT", [198, 51, 100, 9], 40),
        ]),
        capacity: 100,
        drops: vec![drop(7, Reason::Rule, 23), drop(8, Reason::TcpFlags, 80), drop(9, Reason::Rule, 23)],
        lost: 0,
    }
}

/// After ten seconds: 1,000 packets a second pass and 100 are dropped.
fn model() -> Model {
    let parsed = parse_text("/etc/r.nft", RULES, &Options::default()).expect("a ruleset");
    let mut model = Model::default();
    model.put_in_force(3, compile(&parsed.ruleset, None).expect("compiles").manifest);
    for second in 1..=10 {
        model.take(sample(second, 1000 * second, 100 * second));
    }
    model
}

fn screen(model: &Model, view: &View, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let look = Look { colour: true, clock: Clock::since(0) };
    terminal.draw(|frame| draw(frame, model, view, look)).expect("drawn");
    terminal.backend().to_string()
}

fn press(view: &mut View, model: &Model, keys: impl IntoIterator<Item = Press>) -> Action {
    keys.into_iter().fold(Action::Stay, |_, key| view.press(key, &reasons(model, view)))
}

fn typed(text: &str) -> impl Iterator<Item = Press> {
    text.chars().map(Press::Character)
}

#[test]
fn the_overview_has_some_of_everything_in_80_by_24() {
    let screen = screen(&model(), &View::default(), (80, 24));
    for part in [
        "rampart  generation 3, 3 rules  00:00:10.000Z",
        " 1 Overview   2 Rules   3 Hosts   4 Drops   5 Connections  by packets/s",
        "eth0            in  passed     1.0k   1.0Mb       10000",
        "eth0            in  dropped     100    48kb        1001",
        "eth0            in  rejected      0      0b           2",
        "eth0            out passed      500    80kb        5000",
        "ruleset   rule",
        "transport tcp_flags",
        "2 ESTABLISHED",
        "1 SYN_SENT",
        "table 3 of 100 3.0% [",
        "  1.0k 4: ssh",
        "   100 6: tcp dport 23 counter drop",
        "from 198.51.100.7",
        "to   203.0.113.10",
        "Enter last drops  q quit",
    ] {
        assert!(screen.contains(part), "no `{part}` in\n{screen}");
    }
    assert!(screen.contains("█████████\""), "a curve at the right edge of its column\n{screen}");
}

#[test]
fn every_page_fits_a_small_and_a_tiny_terminal() {
    let model = model();
    for tab in Tab::ALL {
        for size in [(80, 24), (40, 10), (10, 3), (1, 1), (250, 70)] {
            let view = View { tab, ..View::default() };
            screen(&model, &view, size);
            screen(&Model::default(), &view, size);
        }
    }
}

#[test]
fn a_reason_leads_to_its_last_packets() {
    let (model, mut view) = (model(), View::default());
    press(&mut view, &model, typed("4"));
    press(&mut view, &model, [Press::Enter]);
    let dropped = screen(&model, &view, (80, 24));
    assert!(dropped.contains("Last drops by source: rule (ruleset): a rule said drop"), "{dropped}");
    assert!(dropped.contains("00:00:05.000Z 198.51.100.7 "), "{dropped}");
    assert!(dropped.contains("tcp port 23 ") && dropped.contains("/etc/r.nft:6"), "{dropped}");
    assert!(!dropped.contains("198.51.100.8 "), "that one was malformed\n{dropped}");
    press(&mut view, &model, [Press::Escape, Press::Down, Press::Down, Press::Enter]);
    let malformed = screen(&model, &view, (80, 24));
    assert!(malformed.contains("tcp_flags (transport)") && malformed.contains("198.51.100.8 "), "{malformed}");
    assert!(!malformed.contains("198.51.100.7 "), "{malformed}");
    view.reason = Some(Reason::Rejected as u32);
    let none = screen(&model, &view, (80, 24));
    assert!(none.contains("none: of each source the last drop is kept"), "{none}");
}

#[test]
fn rows_are_sorted_turned_over_and_filtered() {
    let (model, mut view) = (model(), View::default());
    let order = |view: &View| {
        let screen = screen(&model, view, (80, 24));
        let at = |part: &str| screen.find(part).unwrap_or(usize::MAX);
        (at("tcp dport 22"), at("udp dport 53"), at("tcp dport 23"))
    };
    press(&mut view, &model, typed("2"));
    let (ssh, dns, telnet) = order(&view);
    assert!(ssh < telnet && telnet < dns, "by packets a second");
    press(&mut view, &model, typed("r"));
    let (ssh, dns, telnet) = order(&view);
    assert!(dns < telnet && telnet < ssh, "turned over");
    press(&mut view, &model, typed("rsss"));
    let (ssh, dns, telnet) = order(&view);
    assert!(ssh < dns && dns < telnet, "by line");
    press(&mut view, &model, typed("/UDP"));
    assert!(screen(&model, &view, (80, 24)).contains("only rows with: UDP_"));
    press(&mut view, &model, [Press::Enter]);
    let (ssh, dns, telnet) = order(&view);
    assert!(dns != usize::MAX && ssh == telnet && ssh == usize::MAX, "one is left");
    press(&mut view, &model, [Press::Escape]);
    assert_ne!(order(&view).0, usize::MAX, "all again");
}

#[test]
fn it_stands_still_and_ends_when_told() {
    let (model, mut view) = (model(), View::default());
    press(&mut view, &model, typed("p"));
    assert!(view.paused && screen(&model, &view, (80, 24)).contains("paused"));
    assert_eq!(press(&mut view, &model, typed("p")), Action::Stay);
    assert!(!view.paused);
    assert_eq!(press(&mut view, &model, typed("/q")), Action::Stay, "a letter of the filter");
    assert_eq!(press(&mut view, &model, [Press::Interrupt]), Action::Quit);
    assert_eq!(press(&mut View::default(), &model, typed("q")), Action::Quit);
}

#[test]
fn keys_are_read_as_terminals_send_them() {
    use Press::{Backspace, Character, Down, Enter, Escape, Interrupt, Next, Previous, Up};
    for (bytes, keys) in [
        (&b"q/"[..], &[Character('q'), Character('/')][..]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D\t\x1b[Z", &[Up, Down, Next, Previous, Next, Previous]),
        (b"\x1b", &[Escape]),
        (b"\x1bq", &[Escape, Character('q')]),
        (b"\r\x7f\x03", &[Enter, Backspace, Interrupt]),
        ("ä".as_bytes(), &[Character('ä')]),
        (b"\x1b[1;5A\x1b[3~x", &[Up, Character('x')]),
        (b"\x01", &[]),
    ] {
        assert_eq!(Press::read(bytes), keys, "{bytes:?}");
    }
    assert!(Press::is_cut(b"a\x1b") && Press::is_cut(b"\x1b[") && !Press::is_cut(b"\x1b[A"));
}

#[test]
fn what_somebody_else_wrote_is_safe_for_the_terminal() {
    let mut model = model();
    model.manifest.rules[0].comment = Some("a\u{1b}[31mb".to_owned());
    assert!(screen(&model, &View::default(), (80, 24)).contains("a?[31mb"));
}

#[test]
fn the_same_as_json() {
    let json = model().json(2);
    assert_eq!(json["interfaces"][0]["rate"]["packets_per_second"], 1000.0);
    assert_eq!(json["interfaces"][0]["rate"]["bits_per_second"], 1_000_000.0);
    assert_eq!(json["drops"][0]["reason"], "rule");
    assert_eq!(json["drops"][0]["last_sources"], serde_json::json!(["198.51.100.7", "198.51.100.9"]));
    assert_eq!(json["rules"][0]["line"], 4);
    assert_eq!(json["rules"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["sources"][0]["address"], "198.51.100.7");
    assert_eq!(json["connections"]["ESTABLISHED"], 2);
}
