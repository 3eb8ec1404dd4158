//! What the program costs a packet, by `BPF_PROG_TEST_RUN`: the kernel runs it a million times over one packet and
//! tells the time of one run, in whole nanoseconds.
//!
//! Everything is warm (one packet, one flow). Runs are interleaved and the smallest and the median of nine are shown:
//! machines are noisy, and the noise only adds.

#[path = "../support/mod.rs"]
mod support;

use aya::{
    EbpfLoader,
    programs::{TestRun, TestRunOptions, Xdp},
};
use firewall_tests::{
    packet::{
        Frame, Ipv4, Ipv6, Tcp, Udp,
        flag::{ACK, SYN},
    },
    topology::{CLIENT, CLIENT6, SERVER, SERVER6},
};
use firewall_user::kernel::{Side, embedded_object};
use support::Firewall;

const REPEAT: u32 = 1_000_000;
const RUNS: usize = 9;

/// What a server's ruleset looks like.
const RULES: &str = "
    table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            ct state established,related accept
            udp dport 9 drop
            tcp dport 22 accept
        }
        chain output {
            type filter hook output priority filter; policy accept;
        }
    }";

struct Case {
    name: &'static str,
    side: Side,
    frame: Frame,
    times: Vec<u64>,
}

fn case(name: &'static str, side: Side, frame: Frame) -> Case {
    Case { name, side, frame, times: Vec::new() }
}

fn main() {
    let firewall = Firewall::new(RULES);
    // Client and server count from 1000 and 2000.
    let from_client = |flags| {
        let tcp = Tcp::new(40000, 22, flags);
        if flags == SYN { tcp.at(1000, 0) } else { tcp.at(1001, 2001) }
    };
    let from_server = |flags| {
        let tcp = Tcp::new(22, 40000, flags);
        if flags == ACK { tcp.at(2001, 1001) } else { tcp.at(2000, 1001) }
    };
    let to_server = |flags| Frame::new(Ipv4::new(CLIENT, SERVER), from_client(flags));
    let to_server6 = |flags| Frame::new(Ipv6::new(CLIENT6, SERVER6), from_client(flags));
    firewall.ingress(&to_server(SYN)).expect("syn");
    firewall.egress(&Frame::new(Ipv4::new(SERVER, CLIENT), from_server(SYN | ACK))).expect("syn ack");
    firewall.ingress(&to_server(ACK)).expect("ack");
    firewall.ingress(&to_server6(SYN)).expect("syn");
    firewall.egress(&Frame::new(Ipv6::new(SERVER6, CLIENT6), from_server(SYN | ACK))).expect("syn ack");
    firewall.ingress(&to_server6(ACK)).expect("ack");
    let mut cases = [
        case("established TCP accept, IPv4, XDP ingress", Side::Xdp, to_server(ACK)),
        case("established TCP accept, IPv6, XDP ingress", Side::Xdp, to_server6(ACK)),
        case(
            "established TCP accept, IPv4, tc egress",
            Side::TcEgress,
            Frame::new(Ipv4::new(SERVER, CLIENT), from_server(ACK)),
        ),
        case(
            "drop by rule (second of three), UDP, IPv4",
            Side::Xdp,
            Frame::new(Ipv4::new(CLIENT, SERVER), Udp::new(5, 9)),
        ),
        case("drop by policy, UDP, IPv4", Side::Xdp, Frame::new(Ipv4::new(CLIENT, SERVER), Udp::new(5, 10))),
        case("drop by policy, UDP, IPv6", Side::Xdp, Frame::new(Ipv6::new(CLIENT6, SERVER6), Udp::new(5, 10))),
    ];
    let mut nothing = Vec::new();
    for _ in 0..RUNS {
        nothing.push(no_op());
        for case in &mut cases {
            case.times.push(firewall.nanoseconds(case.side, &case.frame, REPEAT).as_nanos() as u64);
        }
    }
    println!("{:52} {:>8} {:>8}", "nanoseconds a packet", "least", "median");
    row("a program that does nothing", nothing);
    for Case { name, times, .. } in cases {
        row(name, times);
    }
}

fn row(name: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    println!("{name:52} {:>8} {:>8}", times[0], times[times.len() / 2]);
}

/// The object's own program that does nothing.
fn no_op() -> u64 {
    let mut ebpf = EbpfLoader::new().load(embedded_object()).expect("load");
    let program: &mut Xdp = ebpf.program_mut("nothing").expect("program").try_into().expect("XDP");
    program.load().expect("load");
    let frame = [0; 60];
    let options = TestRunOptions { data_in: Some(&frame), repeat: REPEAT, ..TestRunOptions::new() };
    program.test_run(options).expect("run").duration.as_nanos() as u64
}
