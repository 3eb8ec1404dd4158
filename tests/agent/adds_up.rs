//! Nothing is unexplained: what the wire carried is what was counted, whoever is killed; and each drop is an event, or is
//! counted as one that was not told.

use std::{net::UdpSocket, time::Duration};

use firewall_tests::{
    command::{Rampart, Scratch},
    inject::Wire,
    netns::Namespace,
    packet::{Frame, Icmp, IcmpVersion, Ipv4, Tcp, Udp, flag},
    topology::{CLIENT, INTERFACE, Pair, SERVER},
};

use crate::{RULES, get, sum, until};

/// Rules that pass, drop and refuse, so that every outcome is met.
const MIXED: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established accept
        tcp dport < 20000 accept
        tcp dport 20000-40000 reject with tcp reset
        udp dport < 30000 accept
        udp dport > 50000 reject
        icmp type echo-request accept
    }
}";

/// Small numbers that repeat nowhere soon.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A frame of any kind, now and then one that is broken.
fn frame(random: &mut Random) -> Vec<u8> {
    let (source, port) = ((random.next() % 60_000 + 1) as u16, (random.next() % 60_000 + 1) as u16);
    let ip = Ipv4::new(CLIENT, SERVER);
    let frame = match random.next() % 3 {
        0 => Frame::new(ip, Tcp::new(source, port, flag::SYN)),
        1 => Frame::new(ip, Udp::new(source, port)),
        _ => Frame::new(ip, Icmp::echo_request(IcmpVersion::V4, source, port)),
    };
    let mut bytes = frame.bytes();
    if random.next().is_multiple_of(7) {
        let at = 14 + (random.next() % 20) as usize;
        bytes[at] ^= (random.next() % 255 + 1) as u8;
    }
    bytes
}

/// What the kernel counted of an interface: received, sent.
fn counted(namespace: &Namespace) -> (u64, u64) {
    let text = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("the kernel's counts");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("the interface");
    let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    (numbers[1], numbers[9])
}

/// Received, passed and dropped by the metrics.
fn told(rampart: &Rampart<'_>) -> [u64; 3] {
    let metrics = rampart.run(&["metrics"]).success().stdout;
    let of = |family| sum(&metrics, family, &["interface=\"eth0\"", "direction=\"in\""]);
    assert_eq!(sum(&metrics, "rampart_unexplained_packets", &[]), 0, "{metrics}");
    ["rampart_seen_packets_total", "rampart_passed_packets_total", "rampart_dropped_packets_total"].map(of)
}

#[test]
fn every_packet_of_the_wire_is_in_the_sum_whoever_is_killed() {
    const PACKETS: u64 = 4000;
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let rampart = Rampart::on(&pair.server);
    rampart.apply(MIXED).check();
    let agent = rampart.start(&["agent"]);
    until("the agent serves", || get(&pair.server, "/metrics").starts_with("HTTP/1.1 200 OK"));
    let (wire, mut random) = (Wire::open(&pair.client, INTERFACE), Random(0x9e37_79b9_7f4a_7c15));
    // Those that the two hosts send by themselves are in both counts, too; between two looks nothing may come.
    let looked = |wanted: u64| {
        let mut found = ((0, 0), [0; 3]);
        until("a moment in which nothing comes", || {
            let before = counted(&pair.server);
            found = (before, told(&rampart));
            found.1[0] >= wanted && counted(&pair.server).0 == before.0
        });
        found
    };
    let ((before, _), [seen_before, ..]) = looked(0);
    let mut agent = Some(agent);
    for number in 0..PACKETS {
        wire.send(&frame(&mut random));
        if number == PACKETS / 2 {
            agent.take().expect("once").kill();
        }
    }
    let ((after, _), [seen, passed, dropped]) = looked(seen_before + PACKETS);
    assert_eq!(seen - seen_before, after - before, "received by the kernel's own count");
    assert_eq!(seen, passed + dropped);
    let metrics = rampart.run(&["metrics"]).success().stdout;
    for (family, part) in [
        ("rampart_dropped_packets_total", "reason=\"policy\""),
        ("rampart_dropped_packets_total", "reason=\"rejected\""),
        ("rampart_dropped_packets_total", "layer=\"network\""),
        ("rampart_sent_back_packets_total", "tcp_reset"),
        ("rampart_sent_back_packets_total", "icmp_error"),
        ("rampart_untold_packets_total", "limited"),
    ] {
        assert!(sum(&metrics, family, &[part]) > 0, "no {family} {part}: the traffic is too tame\n{metrics}");
    }
}

/// More drops than can be told of: each is an event, or is counted in the event that comes next.
#[test]
fn an_event_is_told_or_counted() {
    const FLOOD: u64 = 100_000;
    let pair = Pair::new();
    pair.server.ip("link set lo up");
    let (rampart, files) = (Rampart::on(&pair.server), Scratch::new());
    rampart.apply(RULES).check();
    let path = files.path().join("events.jsonl");
    let _agent = rampart.start(&[
        "agent",
        "--events-file",
        &path.to_string_lossy(),
        "--filter",
        "dropped",
        "--filter",
        "proto=udp",
    ]);
    let socket = pair.client.run(|| UdpSocket::bind((CLIENT, 0)).expect("a socket"));
    let send = |port: u16| socket.send_to(b"x", (SERVER, port)).is_ok();
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    let mut early = 0;
    until("the first event", || {
        early += u64::from(send(4000));
        std::thread::sleep(Duration::from_millis(200));
        !text().is_empty()
    });
    let (lines, lost) = (
        |text: &str| text.lines().count() as u64,
        |text: &str| {
            let lost = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["lost"].as_u64();
            text.lines().filter_map(lost).sum::<u64>()
        },
    );
    let first = lines(&text());
    assert!(first <= early);
    let sent = (0..FLOOD).filter(|_| send(4001)).count() as u64;
    // What was lost is asked for twice a second, and said with the next event.
    std::thread::sleep(Duration::from_secs(2));
    let mut late = 0;
    until("the last event", || {
        late += u64::from(send(4002));
        std::thread::sleep(Duration::from_millis(200));
        text().contains("\"dport\":4002")
    });
    std::thread::sleep(Duration::from_secs(1));
    let text = text();
    assert!(lost(&text) > 0, "the flood was no flood: {} events of {sent}", lines(&text));
    assert_eq!(lines(&text) - first + lost(&text), sent + late);
}
