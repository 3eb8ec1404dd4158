//! Ways to be attached: generic XDP and clsact filter like native XDP and tcx.

use firewall_tests::topology::{INTERFACE, Pair};

use super::{NOTHING, SERVER_RULES, Servers, What, YES, check, clients, servers};
use crate::support::live::Live;

/// Both directions of [`SERVER_RULES`].
#[track_caller]
fn check_server(pair: &Pair) {
    check(&pair.client, servers(), &[(What::Tcp(22), YES), (What::Tcp(23), NOTHING), (What::Ping, NOTHING)]);
    check(&pair.server, clients(), &[(What::Tcp(80), YES), (What::Ping, YES)]);
}

#[test]
fn native_xdp_and_tcx() {
    let pair = Pair::new();
    let _servers = (
        Servers::start(&pair.server, &servers(), &[22, 23], &[]),
        Servers::start(&pair.client, &clients(), &[80], &[]),
    );
    let live = Live::apply(&pair.server, SERVER_RULES);
    assert_eq!(live.attachment(INTERFACE), ("native".to_owned(), "tcx".to_owned()));
    check_server(&pair);
}

/// Before Linux 6.6 there was no tcx.
#[test]
fn clsact() {
    let pair = Pair::new();
    let _servers = (
        Servers::start(&pair.server, &servers(), &[22, 23], &[]),
        Servers::start(&pair.client, &clients(), &[80, 25], &[]),
    );
    let rules = SERVER_RULES.replace("policy accept; }", "policy accept; tcp dport 25 drop; }");
    let live = Live::apply_with(&pair.server, &rules, &[], &[("RAMPART_FORCE_CLSACT", "1")]);
    assert_eq!(live.attachment(INTERFACE), ("native".to_owned(), "clsact".to_owned()));
    check_server(&pair);
    check(&pair.server, clients(), &[(What::Tcp(25), NOTHING)]);
    live.run(&["stop"]).check();
    check(&pair.server, clients(), &[(What::Tcp(25), YES)]);
    check(&pair.client, servers(), &[(What::Tcp(23), YES)]);
}

/// A bridge has no XDP of its own.
#[test]
fn generic_xdp() {
    let pair = Pair::new();
    for change in [
        format!("address flush dev {INTERFACE}"),
        "link add br0 type bridge".to_owned(),
        format!("link set {INTERFACE} master br0"),
        format!("link set br0 address {} up", "02:00:00:00:00:02"),
    ] {
        pair.server.ip(&change);
    }
    pair.server.set_parameter("net/ipv6/conf/br0/accept_dad", "0");
    for address in servers() {
        let length = if address.is_ipv4() { 24 } else { 64 };
        let nodad = if address.is_ipv4() { "" } else { " nodad" };
        pair.server.ip(&format!("address add {address}/{length} dev br0{nodad}"));
    }
    let _servers = (
        Servers::start(&pair.server, &servers(), &[22, 23], &[]),
        Servers::start(&pair.client, &clients(), &[80], &[]),
    );
    let live = Live::apply_with(&pair.server, SERVER_RULES, &["--interface", "br0"], &[]);
    assert_eq!(live.attachment("br0"), ("generic".to_owned(), "tcx".to_owned()));
    check_server(&pair);
}
