//! Real sockets, real wires: what a peer sees of a host behind rampart.

mod support;

#[path = "sockets/devices.rs"]
mod devices;
#[path = "sockets/routers.rs"]
mod routers;
#[path = "sockets/segments.rs"]
mod segments;
#[path = "sockets/tun.rs"]
mod tun;

use std::net::IpAddr;

use firewall_tests::{
    netns::Namespace,
    sockets::{BRIEFLY, Outcome, PATIENTLY, Talk, TcpEcho, UdpEcho, ping, tcp_connect, tcp_echo, udp_echo},
    topology::{CLIENT, CLIENT6, Pair, SERVER, SERVER6},
};
use support::live::Live;

/// Answers and ssh get in, and what IPv6 needs to find a neighbour; everything leaves.
const SERVER_RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport 22 accept
    }
    chain output { type filter hook output priority filter; policy accept; }
}";

/// A way to talk.
#[derive(Clone, Copy, Debug)]
enum What {
    Tcp(u16),
    Udp(u16),
    Ping,
}

/// TCP and UDP servers on some ports of every address of a host.
struct Servers {
    _tcp: Vec<TcpEcho>,
    _udp: Vec<UdpEcho>,
}

impl Servers {
    fn start(on: &Namespace, addresses: &[IpAddr], tcp: &[u16], udp: &[u16]) -> Self {
        let all = |ports: &[u16]| -> Vec<(IpAddr, u16)> {
            addresses.iter().flat_map(|address| ports.iter().map(|port| (*address, *port))).collect()
        };
        Self {
            _tcp: all(tcp).into_iter().map(|address| TcpEcho::start(on, address)).collect(),
            _udp: all(udp).into_iter().map(|address| UdpEcho::start(on, address)).collect(),
        }
    }
}

/// What whoever tries sees. One who is to see nothing waits only briefly.
fn attempt(from: &Namespace, to: IpAddr, what: What, wanted: Outcome) -> Outcome {
    let patience = if wanted == Outcome::TimedOut { BRIEFLY } else { PATIENTLY };
    match what {
        What::Tcp(port) => tcp_echo(from, (to, port), patience),
        What::Udp(port) => udp_echo(from, (to, port), patience),
        What::Ping => ping(from, to, patience),
    }
}

/// Every attempt, to both addresses of the other host.
#[track_caller]
fn check(from: &Namespace, to: [IpAddr; 2], rows: &[(What, Outcome)]) {
    let all = to.into_iter().flat_map(|to| rows.iter().map(move |(what, wanted)| (to, *what, *wanted)));
    support::table::check_rows(all.map(|(to, what, wanted)| ((to, what), wanted, attempt(from, to, what, wanted))));
}

const YES: Outcome = Outcome::Connected;
const NOTHING: Outcome = Outcome::TimedOut;

fn servers() -> [IpAddr; 2] {
    [SERVER.into(), SERVER6.into()]
}

fn clients() -> [IpAddr; 2] {
    [CLIENT.into(), CLIENT6.into()]
}

#[test]
fn a_server_lets_ssh_in_and_answers_to_what_it_asked() {
    let pair = Pair::new();
    let _there = Servers::start(&pair.server, &servers(), &[22, 23], &[53]);
    let _here = Servers::start(&pair.client, &clients(), &[80], &[53]);
    let _live = Live::apply(&pair.server, SERVER_RULES);
    check(
        &pair.client,
        servers(),
        &[
            (What::Tcp(22), YES),
            (What::Tcp(23), NOTHING),
            (What::Tcp(24), NOTHING),
            (What::Udp(53), NOTHING),
            (What::Ping, NOTHING),
        ],
    );
    check(
        &pair.server,
        clients(),
        &[
            (What::Tcp(80), YES),
            (What::Udp(53), YES),
            (What::Ping, YES),
            // Nobody listens: the reset, and the ICMP error, come through as answers.
            (What::Tcp(81), Outcome::Refused),
            (What::Udp(54), Outcome::Refused),
        ],
    );
}

#[test]
fn what_may_not_leave_does_not() {
    let pair = Pair::new();
    let _there = Servers::start(&pair.server, &servers(), &[22], &[]);
    let _here = Servers::start(&pair.client, &clients(), &[80, 25], &[53]);
    let _live = Live::apply(
        &pair.server,
        "table inet filter {
        chain output {
            type filter hook output priority filter; policy drop;
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
            ct state established accept
            tcp dport 80 accept
        }
    }",
    );
    check(
        &pair.server,
        clients(),
        &[(What::Tcp(80), YES), (What::Tcp(25), NOTHING), (What::Udp(53), NOTHING), (What::Ping, NOTHING)],
    );
    // What came in may be answered: there is no chain that would keep it out.
    check(&pair.client, servers(), &[(What::Tcp(22), YES)]);
}

/// No process is needed: connections begin, go on and end while none of ours is there.
#[test]
fn filtering_goes_on_without_a_process() {
    let pair = Pair::new();
    let _there = Servers::start(&pair.server, &servers(), &[22, 23], &[]);
    let _here = Servers::start(&pair.client, &clients(), &[80], &[]);
    let mut before = Talk::open(&pair.server, (CLIENT, 80), PATIENTLY).expect("there are no rules yet");
    assert_eq!(before.echo(PATIENTLY), YES);
    // `rampart apply` runs to its end: its process is gone when this returns.
    let live = Live::apply(&pair.server, SERVER_RULES);
    assert_eq!(before.echo(PATIENTLY), YES, "picked up in the middle");
    let mut talk = Talk::open(&pair.client, (SERVER, 22), PATIENTLY).expect("ssh is open");
    for _ in 0..5 {
        assert_eq!(talk.echo(PATIENTLY), YES);
        assert_eq!(tcp_echo(&pair.server, (CLIENT, 80), PATIENTLY), YES);
        assert_eq!(tcp_connect(&pair.client, (SERVER, 23), BRIEFLY), NOTHING);
    }
    // Nor is it by a process that was killed.
    let monitor = live.run(&["conns", "--count"]);
    monitor.check();
    assert_eq!(talk.echo(PATIENTLY), YES);
}

/// After `stop` everything is as before.
#[test]
fn stopping_opens_everything() {
    let pair = Pair::new();
    let _there = Servers::start(&pair.server, &servers(), &[23], &[]);
    let live = Live::apply(&pair.server, SERVER_RULES);
    check(&pair.client, servers(), &[(What::Tcp(23), NOTHING)]);
    live.run(&["stop"]).check();
    check(&pair.client, servers(), &[(What::Tcp(23), YES)]);
}
