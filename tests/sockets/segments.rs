//! A router that makes the segments of others fit its narrow side (`tcp option maxseg size set`): rampart's and the kernel's own
//! netfilter do the same to the same connections.

use std::net::IpAddr;

use firewall_tests::{
    netns::Namespace,
    referee::Referee,
    topology::{FAR_SERVER, FAR_SERVER6, INTERFACE, Routed, SECOND_INTERFACE},
};

use super::{Servers, What, YES, check};
use crate::support::live::Live;

/// What arrives, by size.
const SIZES: &str = "table inet sizes {
    chain input {
        type filter hook input priority filter;
        tcp flags syn tcp option maxseg size 1220 counter comment \"1220\"
        tcp flags syn tcp option maxseg size 1240 counter comment \"1240\"
        tcp flags syn tcp option maxseg size 1000 counter comment \"1000\"
        tcp flags syn tcp option maxseg size > 1240 counter comment \"larger\"
    }
}";

fn counted(referee: &Referee<'_>) -> Vec<(String, bool)> {
    referee.counted().into_iter().map(|rule| (rule.comment, rule.packets > 0)).collect()
}

/// What came to the server and to the client by the router with these rules, of rampart or of the kernel.
fn sizes(rules: &str, is_ours: bool) -> [Vec<(String, bool)>; 2] {
    let routed = Routed::new();
    routed.router.ip(&format!("link set {SECOND_INTERFACE} mtu 1280"));
    let far: [IpAddr; 2] = [FAR_SERVER.into(), FAR_SERVER6.into()];
    let _far = Servers::start(&routed.server, &far, &[80], &[]);
    let referees = [&routed.server, &routed.client].map(|host: &Namespace| Referee::load(host, SIZES));
    let live = is_ours.then(|| Live::apply(&routed.router, rules));
    let theirs = (!is_ours).then(|| Referee::load(&routed.router, rules));
    check(&routed.client, far, &[(What::Tcp(80), YES)]);
    drop((live, theirs));
    referees.map(|referee| counted(&referee))
}

fn hits(sizes: &[(String, bool)]) -> Vec<&str> {
    sizes.iter().filter(|(_, hit)| *hit).map(|(comment, _)| comment.as_str()).collect()
}

fn forward(rule: &str) -> String {
    format!("table inet t {{ chain c {{ type filter hook forward priority mangle; {rule}; }}; }}")
}

#[test]
fn segments_are_made_to_fit_both_ways() {
    let rules = forward("tcp flags syn tcp option maxseg size set rt mtu");
    let [to_server, to_client] = sizes(&rules, true);
    assert_eq!(hits(&to_server), ["1220", "1240"]);
    assert_eq!(hits(&to_client), ["1220", "1240"]);
    assert_eq!(sizes(&rules, false), [to_server, to_client]);
}

#[test]
fn segments_are_never_made_larger() {
    let rules =
        forward(&format!("iifname {INTERFACE} tcp option maxseg size set 1000; tcp option maxseg size set 9000"));
    let [to_server, to_client] = sizes(&rules, true);
    assert_eq!((hits(&to_server), hits(&to_client)), (vec!["1000"], vec!["larger"]));
    assert_eq!(sizes(&rules, false), [to_server, to_client]);
}

#[test]
fn what_the_kernel_would_not_tell_is_refused() {
    let routed = Routed::new();
    let rules = forward("tcp flags syn tcp option maxseg size set rt mtu");
    let told = |parameter: &str, change: &str| {
        routed.router.set_parameter("net/ipv4/conf/lo/forwarding", parameter);
        if !change.is_empty() {
            routed.router.ip(change);
        }
        Live::refused(&routed.router, &rules)
    };
    assert!(told("0", "").contains("net.ipv4.conf.lo.forwarding=1"));
    assert!(told("1", "route add 203.0.113.0/24 dev eth1 mtu 1300").contains("mtu lock N"));
}
