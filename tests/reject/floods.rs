//! Floods over a real wire: every packet that arrives is counted once, as passed or under the one reason it was dropped for, and
//! whoever was there before goes on.

use std::{
    net::Ipv4Addr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use firewall_common::verdict::Reason;
use firewall_tests::{
    inject::Wire,
    netns::Namespace,
    packet::{Frame, Icmp, IcmpVersion, Ipv4, Tcp, Udp, Upper, flag},
    sockets::{Outcome, PATIENTLY, Talk, TcpEcho, ping, tcp_echo},
    topology::{INTERFACE, Neighbours, Pair, SERVER},
};

use firewall_user::{
    compile::StateSet,
    kernel::{self, Side, interface_index},
};

use super::answers::{close_door, open_door};
use crate::support::Firewall;

const RULES: &str = "table inet t {
    chain c {
        type filter hook input priority 0; policy drop
        ct state established,related accept
        tcp dport 22 accept
        tcp dport 80 counter drop comment \"syn\"
        udp dport 53 counter drop comment \"udp\"
    }
}";

/// Frames of each kind, unless `RAMPART_FLOOD_SECONDS` says for how long each is to be sent.
const FLOOD: u32 = 20_000;

/// How long each kind is sent, if that was asked for.
fn seconds() -> Option<Duration> {
    let text = std::env::var("RAMPART_FLOOD_SECONDS").ok()?;
    Some(Duration::from_secs(text.parse().unwrap_or_else(|_| panic!("RAMPART_FLOOD_SECONDS is `{text}`, no number"))))
}

/// Sends frames of a kind, and does something between every two thousand: how many were sent.
fn flood(wire: &Wire, frame: fn(u32) -> Vec<u8>, mut between: impl FnMut(u32)) -> u32 {
    let (limit, began) = (seconds(), Instant::now());
    let is_over = |number| limit.map_or(number >= FLOOD, |limit| began.elapsed() >= limit);
    let mut number = 0;
    while !is_over(number) {
        for _ in 0..2000 {
            wire.offer(&frame(number));
            number += 1;
        }
        between(number);
    }
    number
}

/// Memory of the kernel for packets, sockets, what waits to become one, routes and peers, KiB. Not all that it has: others work beside.
fn kernel_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/slabinfo").expect("slabinfo");
    let size = |line: &str| {
        // Name, objects in use, objects, bytes of each.
        let words: Vec<&str> = line.split_whitespace().collect();
        let parts = ["skbuff", "tcp", "udp", "raw", "dst", "peer", "conntrack", "sock", "neigh"];
        let name = words.first()?.to_ascii_lowercase();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        parts.iter().any(|part| name.contains(part)).then(|| number(2).zip(number(3)))?
    };
    text.lines().filter_map(size).map(|(objects, bytes)| objects * bytes / 1024).sum()
}

/// Addresses of the benchmarking network (RFC 2544), as many as there are numbers.
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0000 | (number & 0x1_ffff))
}

fn to_server(number: u32) -> Ipv4 {
    Ipv4::new(source(number), SERVER)
}

/// Bytes as no generator of packets makes them, the same in every run.
fn noise(number: u32) -> Vec<u8> {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mut frame = Frame::new(to_server(number), Udp::new(1, 2)).bytes();
    let length = 14 + usize::from(next() % 100);
    frame.truncate(14);
    frame[13] = if next() & 1 == 0 { 0 } else { 0xdd };
    frame[12] = if frame[13] == 0 { 8 } else { 0x86 };
    frame.resize_with(length, next);
    frame
}

type Kind = (&'static str, fn(u32) -> Vec<u8>);

const KINDS: [Kind; 5] = [
    ("SYN", |number| Frame::new(to_server(number), Tcp::new(number as u16, 80, flag::SYN)).bytes()),
    ("UDP", |number| Frame::new(to_server(number), Udp::new(number as u16, 53)).payload(&[0; 64]).bytes()),
    ("ICMP", |number| Frame::new(to_server(number), Icmp::echo_request(IcmpVersion::V4, number as u16, 1)).bytes()),
    ("fragments", |number| {
        let network = Ipv4 { fragment_offset: 1000, id: number as u16, ..to_server(number) };
        Frame::new(network, Upper::Raw(17, vec![0; 64])).bytes()
    }),
    ("noise", noise),
];

/// Packets that an interface of a namespace sent.
fn sent(namespace: &Namespace) -> u64 {
    let output = namespace.run(|| Command::new("ip").args(["-s", "-j", "link", "show", INTERFACE]).output());
    let text = String::from_utf8(output.expect("ip (iproute2) is installed").stdout).expect("text");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    value[0]["stats64"]["tx"]["packets"].as_u64().expect("a number")
}

/// An answer to a frame with VLAN tags has the same ones.
#[test]
fn tags_stay_as_they_were() {
    let pair = Pair::with(Neighbours::Known);
    let firewall = Firewall::on(
        pair,
        "table inet t { chain c { type filter hook input priority 0; policy accept; meta l4proto tcp reject with tcp reset; meta l4proto udp reject; }; }",
    );
    let udp = Frame::new(to_server(9), Udp::new(7, 7));
    let tcp = Frame::new(to_server(9), Tcp::new(7, 7, flag::SYN));
    for (frame, kind, length) in [(tcp, 6, 40), (udp, 1, 56)] {
        for tags in [&[][..], &[7], &[7, 4095]] {
            let sent = frame.clone().tagged(tags).bytes();
            let back = firewall.open(|instance| {
                let ifindex = interface_index(INTERFACE).expect("interface");
                instance.judge(Side::Xdp, &sent, ifindex, 1).expect("judged").bytes
            });
            let link = 14 + 4 * tags.len();
            assert_eq!((&back[..6], &back[6..12]), (&sent[6..12], &sent[..6]), "{tags:?}");
            assert_eq!(back[12..link], sent[12..link], "{tags:?}");
            assert_eq!((back[link + 9], back.len() - link), (kind, length), "{tags:?}");
        }
    }
}

#[test]
fn floods_add_up_and_a_session_goes_on() {
    let pair = Pair::with(Neighbours::Known);
    for namespace in [&pair.client, &pair.server] {
        namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
    }
    let firewall = Firewall::on(pair, RULES);
    let _server = TcpEcho::start(&firewall.pair.server, (SERVER, 22));
    let mut session = Talk::open(&firewall.pair.client, (SERVER, 22), PATIENTLY).expect("a session");
    let wire = Wire::open(&firewall.pair.client, INTERFACE);
    let memory = firewall.flows().len();
    for (name, frame) in KINDS {
        let (sent_before, seen_before) = (sent(&firewall.pair.client), firewall.seen().0);
        flood(&wire, frame, |number| {
            assert_eq!(session.echo(PATIENTLY), Outcome::Connected, "{name} after {number}");
        });
        assert_eq!(session.echo(PATIENTLY), Outcome::Connected, "{name}");
        // What the wire had no room for was not sent; what was sent is in one of the counters. An acknowledgement of the session may be
        // sent between the two looks.
        let difference = || (sent(&firewall.pair.client) - sent_before).abs_diff(firewall.seen().0 - seen_before);
        let deadline = Instant::now() + PATIENTLY;
        while difference() != 0 {
            assert!(Instant::now() < deadline, "{name}: {} packets are not accounted for", difference());
        }
    }
    let counted = |comment| firewall.rule(comment).0;
    assert!(counted("syn") > 0 && counted("udp") > 0);
    assert_eq!(counted("syn") + counted("udp"), firewall.dropped(Reason::Rule), "by rule");
    assert_eq!(firewall.flows().len(), memory, "nothing that was dropped is remembered");
    assert_eq!(ping(&firewall.pair.client, SERVER, Duration::from_millis(200)), Outcome::TimedOut);
    let again = Talk::open(&firewall.pair.client, (SERVER, 22), PATIENTLY);
    assert!(again.is_ok_and(|mut talk| talk.echo(PATIENTLY) == Outcome::Connected), "a new one as well");
}

/// Two packets from each of 131,072 sources, and a set with room for 4,096 of them: each is limited, the first passes and the second does
/// not, and the set takes no more memory and has no more elements than it may.
#[test]
fn sources_without_end_are_limited_in_bounded_memory() {
    const SOURCES: u32 = 1 << 17;
    const SIZE: usize = 4096;
    let rules = format!(
        "table inet t {{
        set seen {{ type ipv4_addr; size {SIZE}; flags dynamic,timeout; timeout 1m; }}
        chain c {{
            type filter hook input priority 0; policy accept
            update @seen {{ ip saddr limit rate over 1/hour burst 1 packets }} counter drop comment \"over\"
            udp dport 53 counter drop comment \"within\"
        }}
    }}"
    );
    let pair = Pair::with(Neighbours::Known);
    for namespace in [&pair.client, &pair.server] {
        namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
    }
    let firewall = Firewall::on(pair, &rules);
    firewall.apply_set(&rules, "[sets]\nwhen_full = \"evict-oldest\"\n");
    let look = || {
        firewall.open(|instance| {
            let manifest = instance.manifest().expect("manifest");
            let ruleset = manifest.ruleset().expect("its own text");
            let table = &ruleset.tables()[0];
            let set = StateSet::of(table, &table.sets[0], manifest.sets[0].slot.expect("a set in memory"));
            let memory = instance.set_memory(&set).expect("memory");
            (memory.bytes(), set.elements(&memory.lines(), kernel::tick()).len())
        })
    };
    let (bytes, _) = look();
    let wire = Wire::open(&firewall.pair.client, INTERFACE);
    for number in 0..SOURCES {
        let frame = Frame::new(to_server(number), Udp::new(number as u16, 53)).bytes();
        for _ in 0..2 {
            while !wire.offer(&frame) {
                thread::yield_now();
            }
        }
    }
    let deadline = Instant::now() + PATIENTLY;
    while firewall.seen().0 < u64::from(SOURCES) * 2 {
        assert!(Instant::now() < deadline, "{} of {} have come", firewall.seen().0, SOURCES * 2);
    }
    assert_eq!((firewall.rule("over").0, firewall.rule("within").0), (SOURCES.into(), SOURCES.into()));
    assert_eq!(look(), (bytes, SIZE));
}

/// First segments to a service, and all other kinds: a session goes on, new connections complete throughout, nothing is left of the
/// flood, and memory stays what it was when the flood had just begun.
#[test]
fn new_connections_complete_in_every_flood() {
    let pair = Pair::with(Neighbours::Known);
    for namespace in [&pair.client, &pair.server] {
        namespace.set_parameter(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
    }
    pair.server.set_parameter("net/ipv4/tcp_syncookies", "2");
    let firewall = Firewall::on(pair, OPEN);
    firewall.apply_set(OPEN, "[syn_flood]\nbegin = 500\nports = [80]\n");
    open_door(&firewall.pair.client);
    let _ssh = TcpEcho::start(&firewall.pair.server, (SERVER, 22));
    let _web = TcpEcho::start(&firewall.pair.server, (SERVER, 80));
    let mut session = Talk::open(&firewall.pair.client, (SERVER, 22), PATIENTLY).expect("a session");
    let wire = Wire::open(&firewall.pair.client, INTERFACE);
    let mut connections = 0;
    for (name, frame) in KINDS {
        let mut memory = None;
        let sent = flood(&wire, frame, |number| {
            assert_eq!(session.echo(PATIENTLY), Outcome::Connected, "{name} after {number}");
            let new = tcp_echo(&firewall.pair.client, (SERVER, 80), PATIENTLY);
            assert_eq!(new, Outcome::Connected, "a new connection in {name} after {number}");
            connections += 1;
            memory.get_or_insert_with(kernel_memory);
        });
        let grown = kernel_memory().saturating_sub(memory.unwrap_or_default());
        // 32 MiB: others work beside. What the kernel keeps for each connection would be more than that in a flood of 30 seconds.
        assert!(grown < 32 * 1024, "{grown} KiB more after {sent} of {name}");
        println!("{sent} of {name}, {connections} new connections until now, {grown} KiB more");
    }
    let flows = firewall.flows().len();
    // Those that clients made are remembered for a while after their end.
    assert!(flows < 2000 + connections, "{flows} connections are known, and clients made {connections}");
    assert!(firewall.dropped(Reason::SynAnswered) > u64::from(FLOOD) / 2, "cookies were sent");
    close_door(&firewall.pair.client);
}

const OPEN: &str = "table inet t {
    chain c {
        type filter hook input priority 0; policy drop
        ct state established,related accept
        tcp dport { 22, 80 } ct state new accept
    }
}";
