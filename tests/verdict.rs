//! Verdict tables: rules, packets in order, what becomes of each; run by the loaded program in the kernel.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_common::verdict::Reason;
use firewall_tests::{
    packet::{Extension, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Tcp, Udp, flag::{ACK, FIN, RST, SYN}},
    topology::{CLIENT, CLIENT6, SERVER, SERVER6},
};
use support::Firewall;

#[test]
fn smoke() {
    let firewall = Firewall::new(
        "table inet filter {
            chain input {
                type filter hook input priority filter; policy drop;
                ct state established,related accept
                tcp dport 22 counter accept comment \"ssh\"
            }
        }",
    );
    let syn = Frame::new(Ipv4::new(CLIENT, SERVER), Tcp::new(40000, 22, SYN));
    assert_eq!(firewall.ingress(&syn), Ok(()));
    assert_eq!(firewall.rule("ssh").0, 1);
    assert_eq!(firewall.state(), Some("SYN_SENT"));
    let other = Frame::new(Ipv4::new(CLIENT, SERVER), Tcp::new(40000, 23, SYN));
    assert_eq!(firewall.ingress(&other), Err(Reason::Policy));
}
