//! The harness itself: that its namespaces, packets and servers do what the other tests take for granted.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use firewall_tests::{
    command::{self, Background, Scratch},
    inject::{PATIENCE, Wire},
    netns::Namespace,
    packet::{Extension, Frame, Icmp, IcmpVersion, Ipv4, Ipv6, Network, Summary, Tcp, Udp, flag, protocol},
    referee::Referee,
    sockets::{BRIEFLY, Outcome, PATIENTLY, Talk, TcpEcho, UdpEcho, ping, tcp_connect, tcp_echo, udp_echo},
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, INTERFACE, Neighbours, Pair, Routed, SERVER, SERVER6},
};

/// Refuses in every way there is, by port.
const REFUSALS: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        tcp dport 1001 counter drop comment \"silent\"
        tcp dport 1002 reject with tcp reset
        tcp dport 1003 reject with icmpx type host-unreachable
        udp dport 1004 drop
        icmp type echo-request counter drop comment \"no ping\"
    }
}";

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn a_namespace_goes_away_with_its_value() {
    let namespace = Namespace::new("gone");
    let name = namespace.name().to_owned();
    assert!(exists(&name));
    drop(namespace);
    assert!(!exists(&name));
}

#[test]
fn a_namespace_is_entered_by_one_thread_only() {
    let inode = || std::fs::read_link("/proc/thread-self/ns/net").expect("every thread is in a network namespace");
    let (namespace, before) = (Namespace::new("one"), inode());
    assert_ne!(namespace.run(inode), before);
    assert_eq!(inode(), before);
}

#[test]
#[should_panic(expected = "from inside")]
fn a_panic_inside_comes_out() {
    Namespace::new("panic").run(|| panic!("from inside"));
}

#[test]
fn two_hosts_talk_over_both_families() {
    let pair = Pair::new();
    for address in [IpAddr::from(SERVER), SERVER6.into()] {
        let tcp = TcpEcho::start(&pair.server, (address, 0));
        let udp = UdpEcho::start(&pair.server, (address, 0));
        assert_eq!(tcp_echo(&pair.client, tcp.address(), PATIENTLY), Outcome::Connected, "{address}");
        assert_eq!(udp_echo(&pair.client, udp.address(), PATIENTLY), Outcome::Connected, "{address}");
        assert_eq!(ping(&pair.client, address, PATIENTLY), Outcome::Connected, "{address}");
        assert_eq!(tcp.accepted(), 1);
    }
}

#[test]
fn two_hosts_talk_through_a_router() {
    let routed = Routed::with(Neighbours::Known);
    for address in [IpAddr::from(FAR_SERVER), FAR_SERVER6.into()] {
        let tcp = TcpEcho::start(&routed.server, (address, 0));
        assert_eq!(tcp_echo(&routed.client, tcp.address(), PATIENTLY), Outcome::Connected, "{address}");
        assert_eq!(ping(&routed.client, address, PATIENTLY), Outcome::Connected, "{address}");
    }
}

#[test]
fn every_refusal_has_its_outcome_and_the_referee_counts() {
    let pair = Pair::new();
    let referee = Referee::load(&pair.server, REFUSALS);
    let tcp = |port: u16, patience| tcp_connect(&pair.client, (SERVER, port), patience);
    assert_eq!(tcp(1001, BRIEFLY), Outcome::TimedOut);
    assert_eq!(tcp(1002, PATIENTLY), Outcome::Refused);
    assert_eq!(tcp(1003, PATIENTLY), Outcome::Unreachable(ErrorKind::HostUnreachable));
    assert_eq!(tcp(1005, PATIENTLY), Outcome::Refused, "nobody listens there");
    assert_eq!(udp_echo(&pair.client, (SERVER, 1004), BRIEFLY), Outcome::TimedOut);
    assert_eq!(udp_echo(&pair.client, (SERVER, 1005), PATIENTLY), Outcome::Refused);
    assert_eq!(ping(&pair.client, SERVER, BRIEFLY), Outcome::TimedOut);
    let nowhere: SocketAddr = ([203, 0, 113, 1], 80).into();
    assert_eq!(tcp_connect(&pair.client, nowhere, PATIENTLY), Outcome::Unreachable(ErrorKind::NetworkUnreachable));
    assert!(referee.packets("silent") >= 1);
    assert_eq!(referee.packets("no ping"), 1);
    assert_eq!(referee.counted().len(), 2);
}

#[test]
fn the_referee_refuses_what_is_no_ruleset() {
    let namespace = Namespace::new("referee");
    assert!(Referee::check(&namespace, REFUSALS).is_ok());
    let said = Referee::check(&namespace, "table inet filter { chain }").expect_err("this is no ruleset");
    assert!(said.contains("syntax error"), "{said}");
}

#[test]
fn a_connection_can_be_used_again() {
    let pair = Pair::new();
    let server = TcpEcho::start(&pair.server, (SERVER, 0));
    let mut talk = Talk::open(&pair.client, server.address(), PATIENTLY).expect("nothing is in the way");
    assert_eq!(talk.local().ip(), CLIENT);
    for _ in 0..3 {
        assert_eq!(talk.echo(PATIENTLY), Outcome::Connected);
    }
    let referee = Referee::load(&pair.server, "table inet t { chain c { type filter hook input priority 0; drop; }; }");
    assert_eq!(talk.echo(BRIEFLY), Outcome::TimedOut);
    referee.replace("");
    assert_eq!(talk.echo(PATIENTLY), Outcome::Connected, "sent again, as TCP does");
}

/// The kernel is the judge of crafted packets: it answers those whose every checksum and length is right.
#[test]
fn the_kernel_answers_crafted_packets() {
    let pair = Pair::with(Neighbours::Known);
    let wire = Wire::open(&pair.client, INTERFACE);
    let ipv6 = || Ipv6::new(CLIENT6, SERVER6);
    let extended = || ipv6().with([Extension::hop_by_hop(), Extension::destination_options()]);
    let networks: [(Network, IcmpVersion); 4] = [
        (Ipv4::new(CLIENT, SERVER).into(), IcmpVersion::V4),
        (Ipv4 { options: vec![1, 1, 1], ..Ipv4::new(CLIENT, SERVER) }.into(), IcmpVersion::V4),
        (ipv6().into(), IcmpVersion::V6),
        (extended().into(), IcmpVersion::V6),
    ];
    for (network, version) in networks {
        let request = Frame::new(network.clone(), Icmp::echo_request(version, 77, 1)).payload(b"odd");
        let pong = match version {
            IcmpVersion::V4 => (0, 0),
            IcmpVersion::V6 => (129, 0),
        };
        wire.send(&request.bytes());
        let answer = wire.receive(PATIENCE, |frame| Summary::of(frame).is_some_and(|seen| seen.icmp == Some(pong)));
        assert!(answer.is_some(), "no answer to {request:?}");
    }
    for network in [Network::from(Ipv4::new(CLIENT, SERVER)), ipv6().into(), extended().into()] {
        let syn = Frame::new(network, Tcp { options: vec![2, 4, 5, 0xb4], ..Tcp::new(40000, 9, flag::SYN) });
        wire.send(&syn.bytes());
        let reset = |frame: &[u8]| {
            Summary::of(frame)
                .is_some_and(|seen| seen.protocol == protocol::TCP && seen.tcp_flags == Some(flag::RST | flag::ACK))
        };
        assert!(wire.receive(PATIENCE, reset).is_some(), "no reset for {syn:?}");
    }
}

#[test]
fn the_kernel_puts_fragments_together() {
    let pair = Pair::with(Neighbours::Known);
    let wire = Wire::open(&pair.client, INTERFACE);
    for network in [Network::from(Ipv4::new(CLIENT, SERVER)), Ipv6::new(CLIENT6, SERVER6).into()] {
        let server = UdpEcho::start(&pair.server, ([0; 16], 0));
        let datagram = Frame::new(network, Udp::new(40000, server.address().port())).payload(&[7; 100]);
        for fragment in datagram.fragments(1, 48) {
            wire.send(&fragment.bytes());
        }
        let answer =
            |frame: &[u8]| Summary::of(frame).is_some_and(|seen| seen.ports == Some((server.address().port(), 40000)));
        assert!(wire.receive(PATIENCE, answer).is_some(), "no answer to {datagram:?}");
    }
}

#[test]
fn a_broken_checksum_is_not_answered() {
    let pair = Pair::with(Neighbours::Known);
    let wire = Wire::open(&pair.client, INTERFACE);
    let ping = |checksum| {
        let request = Icmp { checksum, ..Icmp::echo_request(IcmpVersion::V4, 78, 1) };
        Frame::new(Ipv4::new(CLIENT, SERVER), request).bytes()
    };
    wire.send(&ping(Some(0x1234)));
    wire.send(&ping(None));
    let pong = |frame: &[u8]| Summary::of(frame).is_some_and(|seen| seen.icmp == Some((0, 0)));
    let pongs = |frames: &[Vec<u8>]| frames.iter().filter(|frame| pong(frame)).count();
    assert_eq!(pongs(&wire.collect(PATIENCE, |frames| pongs(frames) > 0)), 1);
    assert!(wire.receive(BRIEFLY, pong).is_none());
}

#[test]
fn programs_have_status_output_and_input() {
    let output = command::run(None, "sh", &["-c", "cat; echo oops >&2; exit 3"], "{\"a\": 1}");
    assert_eq!((output.status, output.stderr.as_str()), (3, "oops\n"));
    assert_eq!(output.json()["a"], 1);
    let file = Scratch::new().write("gone", "");
    assert!(!file.exists(), "a scratch directory goes away with its value");
}

#[test]
fn a_background_program_is_waited_for_by_line_and_ended() {
    let mut script = std::process::Command::new("sh");
    script.args(["-c", "echo one; echo two; exec sleep 60"]);
    let program = Background::start(script);
    assert_eq!(program.lines_until(PATIENTLY, |line| line == "two"), ["one", "two"]);
    assert!(program.lines_until(Duration::from_millis(10), |_| true).is_empty());
    assert_eq!(program.interrupt(), -1, "ended by the signal");
}
