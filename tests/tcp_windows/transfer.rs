//! Real TCP: nothing of it is invalid.

use std::process::Command;

use firewall_tests::{
    command::{self, Background},
    netns::Namespace,
    referee::Referee,
    sockets::PATIENTLY,
    topology::{INTERFACE, Pair, SERVER, SERVER6},
};
use rstest::rstest;

use super::support::Firewall;

const RULES: &str = "table inet t {
    chain input {
        type filter hook input priority 0; policy accept;
        ct state invalid counter drop comment \"invalid in\"
        ct state established counter comment \"in\"
    }
    chain output {
        type filter hook output priority 0; policy accept;
        ct state invalid counter drop comment \"invalid out\"
        ct state established counter comment \"out\"
    }
}";

const PORT: &str = "5201";

fn iperf3(namespace: &Namespace, arguments: &[&str]) -> Background {
    let mut command = Command::new("iperf3");
    command.args(arguments);
    namespace.run(|| Background::start(command))
}

/// With segmentation offload, as a server has it, or without.
fn offload(namespace: &Namespace, switch: &str) {
    let arguments = ["-K", INTERFACE, "tx", switch, "tso", switch, "gso", switch];
    command::run(Some(namespace), "ethtool", &arguments, "").check();
}

#[rstest]
#[case::to_the_server(&[])]
#[case::from_the_server(&["--reverse"])]
#[case::both_ways(&["--bidir"])]
#[case::many_at_once(&["--parallel", "8"])]
#[case::in_small_pieces(&["--set-mss", "600", "--window", "32K"])]
fn a_large_transfer_has_nothing_invalid(#[case] how: &[&str], #[values("on", "off")] switch: &str) {
    let firewall = Firewall::on(Pair::new(), RULES);
    offload(&firewall.pair.server, switch);
    offload(&firewall.pair.client, switch);
    for (server, ipv6) in [(SERVER.to_string(), false), (SERVER6.to_string(), true)] {
        let listener = iperf3(&firewall.pair.server, &["-s", "-1", "--forceflush", "-p", PORT]);
        listener.lines_until(PATIENTLY, |line| line.contains("listening"));
        let arguments = [&["-c", &server, "-p", PORT, "-n", "64M", "--json"][..], how].concat();
        let done = command::run(Some(&firewall.pair.client), "iperf3", &arguments, "").success().json();
        let bytes = done["end"]["sum_received"]["bytes"].as_u64().unwrap_or_default();
        assert!(bytes > 10_000_000, "{bytes} bytes over IPv{}", if ipv6 { 6 } else { 4 });
    }
    let counted = firewall.rules();
    assert!(counted["in"].0 > 100 && counted["out"].0 > 100, "{counted:?}");
    assert_eq!((counted["invalid in"], counted["invalid out"]), ((0, 0), (0, 0)), "{counted:?}");
}

/// What is lost comes again, and SACK blocks tell of the rest: all of it belongs to the connection.
#[test]
fn a_transfer_with_loss_has_nothing_invalid() {
    const LOSS: &str = "table netdev t {
    chain in { type filter hook ingress device eth0 priority 0; numgen random mod 50 0 counter drop; }
    }";
    let firewall = Firewall::on(Pair::new(), RULES);
    for namespace in [&firewall.pair.server, &firewall.pair.client] {
        offload(namespace, "off");
    }
    Referee::load(&firewall.pair.client, LOSS);
    let listener = iperf3(&firewall.pair.server, &["-s", "-1", "--forceflush", "-p", PORT]);
    listener.lines_until(PATIENTLY, |line| line.contains("listening"));
    let server = SERVER.to_string();
    let arguments = ["-c", &server, "-p", PORT, "-n", "8M", "--json", "--reverse"];
    let done = command::run(Some(&firewall.pair.client), "iperf3", &arguments, "").success().json();
    let end = &done["end"];
    assert!(end["sum_received"]["bytes"].as_u64() > Some(7_000_000), "{end}");
    assert!(end["sum_sent"]["retransmits"].as_u64() > Some(0), "something was lost: {end}");
    let counted = firewall.rules();
    assert_eq!((counted["invalid in"], counted["invalid out"]), ((0, 0), (0, 0)), "{counted:?}");
}
