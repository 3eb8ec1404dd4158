//! SCTP: the same packets through the loaded program and through `nf_conntrack`.

use std::{
    fs,
    time::{Duration, Instant},
};

use firewall_tests::{
    inject::Wire,
    packet::{Ethernet, Frame, Upper},
    referee::Referee,
    topology::{CLIENT, CLIENT_MAC, FAR_SERVER, INTERFACE, Neighbours, ROUTER_MAC, ROUTER_SECOND_MAC, Routed, SERVER},
};
use firewall_user::kernel::Side;

use super::support::{Firewall, packets::between, sequence::STATES};

const SERVER_PORT: u16 = 5000;

/// Chunk types by name (RFC 9260 section 3.2).
const KINDS: [(&str, u8); 13] = [
    ("data", 0),
    ("init", 1),
    ("init-ack", 2),
    ("sack", 3),
    ("heartbeat", 4),
    ("heartbeat-ack", 5),
    ("abort", 6),
    ("shutdown", 7),
    ("shutdown-ack", 8),
    ("error", 9),
    ("cookie-echo", 10),
    ("cookie-ack", 11),
    ("shutdown-complete", 14),
];

/// `> 9 cookie-echo data`: direction, verification tag, chunks; `init=7` asks for tag 7, `abort!` has the flag T.
fn payload(words: &str, ports: [u16; 2]) -> Vec<u8> {
    let mut words = words.split_whitespace();
    let tag: u32 = words.next().and_then(|tag| tag.parse().ok()).expect("a tag");
    let mut bytes = [ports.map(u16::to_be_bytes).concat(), tag.to_be_bytes().to_vec(), vec![0; 4]].concat();
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let kind = KINDS.iter().find(|(known, _)| *known == name.trim_end_matches('!')).expect("a chunk").1;
        let body = match kind {
            1 | 2 => [&value.parse::<u32>().expect("a tag").to_be_bytes()[..], &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]]
                .concat(),
            0 => vec![0x55; 13],
            _ => Vec::new(),
        };
        bytes.extend([kind, u8::from(name.ends_with('!'))]);
        bytes.extend((4 + body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let sum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

/// The checksum of SCTP (RFC 9260 appendix A), which `nf_conntrack` looks at.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0x82f6_3b78 })
    })
}

const HANDSHAKE: [&str; 4] = ["> 0 init=7", "< 7 init-ack=9", "> 9 cookie-echo data", "< 7 cookie-ack sack"];

/// What follows a handshake; then what has none.
const SCRIPTS: &[(&str, &[&str])] = &[
    ("data and wrong tags", &["> 9 data", "< 7 sack data", "> 8 data", "< 9 data", "> 9 data data sack"]),
    ("closed", &["> 9 shutdown", "< 7 shutdown-ack", "> 9 shutdown-complete", "> 9 data"]),
    ("closed by the other one", &["< 7 shutdown", "> 9 shutdown-ack", "< 7 shutdown-complete"]),
    ("aborted", &["> 9 abort", "< 7 data"]),
    ("aborted with the own tag", &["< 9 abort!"]),
    ("aborted blindly", &["> 7 abort", "< 7 abort!", "> 1234 abort", "> 9 data"]),
    ("heartbeats", &["> 9 heartbeat", "< 7 heartbeat-ack", "< 7 heartbeat", "> 9 heartbeat-ack"]),
    ("a heartbeat of another tag", &["> 5 heartbeat", "< 6 heartbeat-ack", "< 6 data", "> 77 heartbeat", "> 77 data"]),
    ("one that nobody confirms", &["> 5 heartbeat", "> 5 heartbeat-ack", "> 5 data", "> 9 data"]),
    ("chunks that do not go together", &["> 9 data cookie-echo", "> 9 data shutdown-complete", "> 0 init=3 data"]),
    ("INIT within it", &["> 0 init=17", "< 17 init-ack=19", "> 19 cookie-echo", "< 17 cookie-ack", "> 19 data"]),
];

const BEGINNINGS: &[(&str, &[&str])] = &[
    ("INIT again", &["> 0 init=7", "> 0 init=7", "< 7 init-ack=9", "> 9 cookie-echo", "< 7 cookie-ack"]),
    ("INIT with a tag", &["> 5 init=7", "> 0 init=7"]),
    ("answered by somebody else", &["> 0 init=7", "< 8 init-ack=9", "< 7 init-ack=9", "> 8 cookie-echo"]),
    ("refused", &["> 0 init=7", "< 7 abort!", "< 7 abort"]),
    (
        "both begin",
        &["> 0 init=7", "< 0 init=9", "< 7 init-ack=9", "> 9 init-ack=7", "> 9 cookie-echo", "< 7 cookie-ack"],
    ),
    ("a stale cookie", &["> 0 init=7", "< 7 init-ack=9", "> 9 cookie-echo", "< 7 error"]),
    ("another path", &["> 9 heartbeat", "< 7 heartbeat-ack", "> 9 data", "< 7 data"]),
    (
        "out of the blue",
        &["> 9 data", "> 9 abort", "> 9 cookie-ack", "> 9 shutdown-complete", "> 9 cookie-echo", "> 9 sack"],
    ),
    ("a shutdown out of the blue", &["> 9 shutdown-ack", "< 9 shutdown-complete"]),
];

const COUNTING: &str = "table inet t { chain f {
    type filter hook forward priority 0; policy accept;
    ct state new counter comment \"new\"
    ct state established counter comment \"established\"
    ct state invalid counter comment \"invalid\"
}
}";

/// `nf_conntrack` on a router between two silent hosts.
struct NfConntrack {
    routed: Routed,
    client: Wire,
    server: Wire,
}

impl NfConntrack {
    fn new() -> Self {
        let routed = Routed::with(Neighbours::Known);
        for host in [&routed.client, &routed.server] {
            Referee::load(host, "table inet t { chain c { type filter hook output priority 0; policy drop; }; }");
        }
        let (client, server) = (Wire::open(&routed.client, INTERFACE), Wire::open(&routed.server, INTERFACE));
        Self { routed, client, server }
    }

    fn see(&self, referee: &Referee<'_>, row: &str, port: u16) -> (String, String) {
        let before = referee.counted();
        let (forth, frame) = frame(row, port, FAR_SERVER.into());
        let ethernet = if forth {
            Ethernet { source: CLIENT_MAC, destination: ROUTER_MAC, ..Ethernet::to_server() }
        } else {
            Ethernet { destination: ROUTER_SECOND_MAC, ..Ethernet::to_client() }
        };
        let wire = if forth { &self.client } else { &self.server };
        wire.send(&frame.ethernet(ethernet).bytes());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let after = referee.counted();
            let moved = after.iter().zip(&before).find(|(after, before)| after.packets > before.packets);
            if let Some((rule, _)) = moved {
                return (rule.comment.clone(), self.state_of(port));
            }
            assert!(Instant::now() < deadline, "the router counted nothing for {row}");
        }
    }

    fn state_of(&self, port: u16) -> String {
        let list = || fs::read_to_string("/proc/thread-self/net/nf_conntrack");
        let entries = self.routed.router.run(list).expect("the kernel lists its entries");
        let wanted = format!("sport={port} dport={SERVER_PORT} ");
        let line = entries.lines().find(|line| line.contains(&wanted));
        line.and_then(|line| line.split_whitespace().nth(5)).unwrap_or("-").to_owned()
    }
}

/// A row's frame, and whether it goes to the server.
fn frame(row: &str, port: u16, server: std::net::IpAddr) -> (bool, Frame) {
    let (arrow, words) = row.split_once(' ').expect("an arrow");
    let forth = arrow == ">";
    let ports = if forth { [port, SERVER_PORT] } else { [SERVER_PORT, port] };
    let upper = Upper::Raw(132, payload(words, ports));
    let client = std::net::IpAddr::from(CLIENT);
    (forth, if forth { between(client, server, upper) } else { between(server, client, upper) })
}

fn see(firewall: &Firewall, row: &str, port: u16) -> (String, String) {
    let (forth, frame) = frame(row, port, SERVER.into());
    let state = firewall.state_of(if forth { Side::Xdp } else { Side::TcEgress }, &frame);
    let ports = |tail: u64| [(tail >> 48) as u16, (tail >> 32) as u16];
    let flows = firewall.flows();
    let flow = flows.iter().find(|flow| ports(flow.entry.key.tail).contains(&port));
    (state, flow.map_or("-", |flow| flow.slot.state().name()).to_owned())
}

#[test]
fn chunks_are_to_rampart_what_they_are_to_nf_conntrack() {
    let firewall = Firewall::new(STATES);
    let nf_conntrack = NfConntrack::new();
    // Three seconds are what a slow machine may need for a packet.
    let states = [
        "closed",
        "cookie_wait",
        "cookie_echoed",
        "shutdown_sent",
        "shutdown_recd",
        "shutdown_ack_sent",
        "heartbeat_sent",
    ];
    let keys = states.map(|state| format!("sctp_timeout_{state}"));
    let settings: Vec<_> = keys.iter().map(|key| format!("{key} = 600\n")).collect();
    let settings = settings.concat();
    firewall.apply_set(STATES, &format!("[conntrack.timeouts]\n{settings}"));
    let referee = Referee::load(&nf_conntrack.routed.router, COUNTING);
    for key in &keys {
        nf_conntrack.routed.router.set_parameter(&format!("net/netfilter/nf_conntrack_{key}"), "600");
    }
    let scripts = SCRIPTS.iter().map(|script| (&HANDSHAKE[..], script));
    let scripts = scripts.chain(BEGINNINGS.iter().map(|script| (&[][..], script)));
    let mut wrong = Vec::new();
    for (number, (begin, (name, rows))) in scripts.enumerate() {
        let port = 40000 + number as u16;
        for row in begin.iter().chain(rows.iter()) {
            let (ours, theirs) = (see(&firewall, row, port), nf_conntrack.see(&referee, row, port));
            if ours != theirs {
                wrong.push(format!("{name}: {row}: rampart {ours:?}, nf_conntrack {theirs:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} packets:\n{}", wrong.len(), wrong.join("\n"));
}
