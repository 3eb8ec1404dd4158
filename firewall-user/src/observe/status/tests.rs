use firewall_common::flow::Secret;

use super::*;
use crate::{compile::SourceRecord, kernel::Egress};

const SECOND: u64 = 1_000_000_000;

fn control(unconfirmed: u32) -> Control {
    Control {
        abi: 1,
        active: 1,
        generation: [6, 7],
        unconfirmed: [0, unconfirmed],
        deadline_ns: [0, 100 * SECOND],
        secret: Secret::default(),
    }
}

fn attached(ingress: Ingress, note: Option<&str>) -> Attached {
    Attached {
        place: 1,
        ifindex: 2,
        name: "eth0".to_owned(),
        ingress,
        egress: Egress::Tcx,
        present: true,
        note: note.map(str::to_owned),
    }
}

#[test]
fn a_trial_waits_and_then_has_expired() {
    assert_eq!(Trial::of(&control(0), 500 * SECOND), Trial::None);
    assert_eq!(Trial::of(&control(1), 40 * SECOND + 1), Trial::Waiting(60));
    assert_eq!(Trial::of(&control(1), 101 * SECOND), Trial::Expired(7));
}

#[test]
fn a_step_down_has_its_reason() {
    assert_eq!(attachment(&attached(Ingress::Native, None)), "eth0: in by native XDP, out by tcx");
    let generic = attached(Ingress::Generic, Some("the driver has no native XDP"));
    assert_eq!(attachment(&generic), "eth0: in by generic XDP, out by tcx (the driver has no native XDP)");
    let gone = Attached { present: false, ..attached(Ingress::Tc, None) };
    assert_eq!(attachment(&gone), "eth0: in by tc, out by tcx, but the interface is gone");
}

#[test]
fn why_there_is_no_fast_path() {
    let way = |not_in: Option<&str>, not_out: Option<&str>, has_changed| {
        let [not_in, not_out] = [not_in, not_out].map(|why| why.map(str::to_owned));
        fast_way(&FastWay { name: "eth0".to_owned(), not_in, not_out, has_changed })
    };
    assert_eq!(way(None, None, false), "eth0: in and out");
    assert_eq!(way(Some("a"), Some("a"), false), "eth0: none: a");
    assert_eq!(way(Some("a"), Some("b"), false), "eth0: none: not in, a; not out, b");
    assert_eq!(way(Some("a"), None, false), "eth0: out only: a");
    assert!(way(None, Some("b"), true).starts_with("eth0: in only: b (it was otherwise"));
}

fn report<'a>(manifest: &'a Manifest, interfaces: &'a [Attached], trial: Trial) -> Report<'a> {
    let flows = FlowUse {
        live: 12,
        capacity: 7168,
        memory: 1 << 20,
        stats: FlowStats { refused: 3, ..FlowStats::default() },
        never_completed: 0,
    };
    Report { generation: 7, manifest, trial, interfaces, fast_ways: &[], flows, floods: None, lost_events: 0 }
}

#[test]
fn the_text() {
    let sources = vec![SourceRecord { name: "demo.nft".to_owned(), text: String::new() }];
    let manifest = Manifest { sources, ..Manifest::default() };
    let interfaces = [attached(Ingress::Native, None)];
    assert_eq!(
        report(&manifest, &interfaces, Trial::None).text(),
        "generation  7\n\
         ruleset     demo.nft, 0 rules in 0 chains\n\
         connections 12 of 7168, in 1.0 MiB\n\
         \x20           3 refused for want of room\n\
         interfaces  eth0: in by native XDP, out by tcx\n"
    );
    let text = report(&manifest, &[], Trial::Waiting(60)).text();
    assert!(text.contains("comes back in 1m, unless"), "{text}");
    assert!(text.contains("none: nothing is filtered"), "{text}");
}

#[test]
fn the_schema() {
    let manifest = Manifest::default();
    let interfaces = [attached(Ingress::Generic, Some("why"))];
    let json = report(&manifest, &interfaces, Trial::Expired(8)).json();
    assert_eq!(
        (&json["schema"], &json["running"], &json["generation"]),
        (&json!("rampart/1"), &json!(true), &json!(7))
    );
    let interface = &json["interfaces"][0];
    assert_eq!((&interface["name"], &interface["ingress"]), (&json!("eth0"), &json!("generic")));
    assert_eq!((&interface["egress"], &interface["note"]), (&json!("tcx"), &json!("why")));
    assert_eq!(json["trial"], json!({ "state": "expired", "generation": 8 }));
    let connections = &json["connections"];
    assert_eq!((&connections["live"], &connections["capacity"]), (&json!(12), &json!(7168)));
    assert_eq!((&connections["memory_bytes"], &connections["stats"]["refused"]), (&json!(1 << 20), &json!(3)));
    assert_eq!(json["settings"]["conntrack"]["when_full"], "refuse");
    assert_eq!(json["timeouts"]["tcp_timeout_established"], 432_000);
}

#[test]
fn settings_that_are_not_the_default_are_told() {
    let text = "[conntrack]\nwhen_full = \"evict-lru\"\ntcp_loose = false\n[conntrack.timeouts]\nudp_timeout = 5\n\
                [conntrack.zones]\neth0 = 3\n";
    let config = crate::config::parse("rampart.toml", text.to_owned()).expect("settings");
    let manifest = Manifest { config, ..Manifest::default() };
    let text = report(&manifest, &[], Trial::None).text();
    let told = "udp_timeout 5s, when full: evict-lru, TCP from its SYN on only, zone 3 on eth0";
    assert!(text.contains(told), "{text}");
}
